//! Reading a site file from disk.

use std::path::{Path, PathBuf};

use stillpoint_model::ErrorKind;
use stillpoint_model::site_file::{self, SiteFile};

use crate::SiteError;

/// A site file that was read and found valid.
#[derive(Debug, Clone)]
pub struct LoadedSite {
    /// Where it was read from, absolute.
    pub path: PathBuf,
    /// Its text, as it was read.
    pub text: String,
    /// What it says.
    pub file: SiteFile,
}

/// Reads the site file at `path`. All mistakes in it come in one error.
pub fn load(path: &Path) -> Result<LoadedSite, SiteError> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let bytes = std::fs::read(&absolute).map_err(|error| {
        SiteError::new(ErrorKind::Config, format!("cannot read the site file {}", absolute.display()))
            .hint("name it with --config, or make one with `stillpoint init`")
            .because(error)
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        SiteError::new(ErrorKind::Config, format!("the site file {} is not UTF-8 text", absolute.display()))
            .hint("save it as UTF-8")
            .because(error)
    })?;
    match site_file::parse(&text) {
        Ok(file) => Ok(LoadedSite { path: absolute, text, file }),
        Err(mistakes) => {
            let listed = site_file::render(&absolute.display().to_string(), &text, &mistakes);
            Err(SiteError::new(
                ErrorKind::Config,
                format!("the site file is not valid\n{}", listed.trim_end()),
            ))
        }
    }
}
