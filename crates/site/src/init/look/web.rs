//! Folders with web content: the usual ones, and those that the settings of web servers name.

use std::path::{Path, PathBuf};

use super::text_of;

/// The usual places.
const USUAL: [&str; 3] = ["var/www", "srv/www", "srv/http"];
/// Where web servers keep their settings.
const SETTINGS: [&str; 7] = [
    "etc/nginx",
    "etc/nginx/conf.d",
    "etc/nginx/sites-enabled",
    "etc/apache2/sites-enabled",
    "etc/apache2/conf-enabled",
    "etc/httpd/conf",
    "etc/httpd/conf.d",
];
const SETTINGS_FILES_MAX: usize = 500;
const TEXT_MAX: u64 = 1 << 20;

/// The folders below `top` (`/`, but for tests), none inside another. Package defaults under `/usr` and what lies in a
/// database's own folder (`not_in`) are passed over.
pub(super) fn find(top: &Path, not_in: &[PathBuf]) -> Vec<PathBuf> {
    let files = SETTINGS
        .iter()
        .flat_map(|folder| std::fs::read_dir(top.join(folder)).into_iter().flatten().flatten());
    let named = files
        .take(SETTINGS_FILES_MAX)
        .filter_map(|file| text_of(&file.path(), TEXT_MAX))
        .flat_map(|text| roots(&text));
    let mut folders: Vec<PathBuf> = USUAL.iter().map(PathBuf::from).chain(named).collect();
    folders.retain(|folder| {
        let whole = Path::new("/").join(folder);
        !whole.starts_with("/usr")
            && whole != Path::new("/")
            && !not_in.iter().any(|data| whole.starts_with(data))
            && has_content(&top.join(folder))
    });
    folders.sort();
    let mut outermost: Vec<PathBuf> = Vec::new();
    for folder in folders {
        if !outermost.iter().any(|outer| folder.starts_with(outer)) {
            outermost.push(folder);
        }
    }
    outermost.into_iter().map(|folder| Path::new("/").join(folder)).collect()
}

fn has_content(folder: &Path) -> bool {
    std::fs::symlink_metadata(folder).is_ok_and(|facts| facts.is_dir())
        && std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// The folders that a settings file names with `root` (nginx) or `DocumentRoot` (Apache), relative to the top.
fn roots(text: &str) -> Vec<PathBuf> {
    let of_line = |line: &str| {
        let (word, value) = line.trim().split_once(char::is_whitespace)?;
        if word != "root" && !word.eq_ignore_ascii_case("DocumentRoot") {
            return None;
        }
        let path = value.trim().trim_end_matches(';').trim_matches(['"', '\'']).trim_end_matches('/');
        let inside = path.strip_prefix('/')?;
        let plain = inside.split('/').all(|part| !matches!(part, "" | "." | "..")) && !inside.contains('$');
        plain.then(|| PathBuf::from(inside))
    };
    text.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_roots_are_the_usual_ones_and_those_that_settings_name_each_once() {
        let top = tempfile::tempdir().unwrap();
        let make = |folder: &str| {
            std::fs::create_dir_all(top.path().join(folder)).unwrap();
            std::fs::write(top.path().join(folder).join("index.html"), "x").unwrap();
        };
        for folder in ["var/www/html", "opt/shop/public", "opt/intra net", "usr/share/nginx/html"] {
            make(folder);
        }
        std::fs::create_dir_all(top.path().join("srv/www")).unwrap();
        std::fs::create_dir_all(top.path().join("etc/nginx/sites-enabled")).unwrap();
        std::fs::create_dir_all(top.path().join("etc/apache2/sites-enabled")).unwrap();
        let nginx = "server {\n  root /opt/shop/public/;\n  root /var/www/html;\n  root $x/y;\n  root /usr/share/nginx/html;\n root /absent;\n}";
        std::fs::write(top.path().join("etc/nginx/sites-enabled/shop"), nginx).unwrap();
        std::fs::write(
            top.path().join("etc/apache2/sites-enabled/a.conf"),
            "documentroot \"/opt/intra net\"\n#root /etc\n",
        )
        .unwrap();
        let wanted = ["/opt/intra net", "/opt/shop/public", "/var/www"].map(PathBuf::from);
        assert_eq!(find(top.path(), &[]), wanted);
        assert_eq!(find(top.path(), &[PathBuf::from("/var/www")]), &wanted[..2]);
    }
}
