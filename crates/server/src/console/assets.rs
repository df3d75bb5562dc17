//! The static files: in the binary, each under a name with the hash of its content, so that a browser may keep it for ever.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// One static file.
#[derive(Debug)]
pub struct Asset {
    /// Where it is served, such as `/static/console-0123456789abcdef.css`.
    pub path: String,
    /// Its media type.
    pub media_type: &'static str,
    /// Its bytes.
    pub content: &'static [u8],
}

/// How long a browser may keep a static file: as long as it likes, because a changed one has another name.
pub const CACHE_CONTROL: &str = "public, max-age=31536000, immutable";

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    asset("console", "css", "text/css; charset=utf-8", include_bytes!("assets/console.css"))
});
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    asset("console", "js", "text/javascript; charset=utf-8", include_bytes!("assets/console.js"))
});
static MARK: LazyLock<Asset> =
    LazyLock::new(|| asset("mark", "svg", "image/svg+xml", include_bytes!("assets/mark.svg")));

fn asset(name: &str, ending: &str, media_type: &'static str, content: &'static [u8]) -> Asset {
    let hash = Sha256::digest(content);
    let short: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Asset { path: format!("/static/{name}-{short}.{ending}"), media_type, content }
}

/// All of them.
pub fn all() -> [&'static Asset; 3] {
    [&STYLE, &SCRIPT, &MARK]
}

/// The file that is served at this path, if one is.
pub fn find(path: &str) -> Option<&'static Asset> {
    all().into_iter().find(|asset| asset.path == path)
}

pub(super) fn style() -> &'static str {
    &STYLE.path
}

pub(super) fn script() -> &'static str {
    &SCRIPT.path
}

pub(super) fn mark() -> &'static str {
    &MARK.path
}
