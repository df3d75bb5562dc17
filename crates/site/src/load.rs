//! Reading a site file from disk.

use std::path::{Path, PathBuf};

use stillpoint_model::ErrorKind;
use stillpoint_model::site_file::{self, Mistake, SiteFile};

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
    match check(path)? {
        SiteCheck::Valid(site) => Ok(*site),
        SiteCheck::Wrong { path, text, mistakes } => {
            let listed = site_file::render(&path.display().to_string(), &text, &mistakes);
            Err(SiteError::new(
                ErrorKind::Config,
                format!("the site file is not valid\n{}", listed.trim_end()),
            ))
        }
    }
}

/// As [`load`], with the text that a copy of the file at `path` has.
pub fn load_copy(path: &Path, copy: &Path) -> Result<LoadedSite, SiteError> {
    let site = load(copy)?;
    Ok(LoadedSite { path: std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()), ..site })
}

/// What a look at a site file found.
#[derive(Debug)]
pub enum SiteCheck {
    /// It is valid.
    Valid(Box<LoadedSite>),
    /// It has mistakes.
    Wrong {
        /// Where it was read from, absolute.
        path: PathBuf,
        /// Its text.
        text: String,
        /// All of them, in the order of the text.
        mistakes: Vec<Mistake>,
    },
}

/// Reads the site file at `path` and keeps its mistakes apart. An error means that it cannot be read.
pub fn check(path: &Path) -> Result<SiteCheck, SiteError> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let bytes = std::fs::read(&path).map_err(|error| {
        SiteError::new(ErrorKind::Config, format!("cannot read the site file {}", path.display()))
            .hint(how_to_read(&error))
            .because(error)
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let text =
            format!("the site file {} is not UTF-8 text: line {line} holds other bytes", path.display());
        SiteError::new(ErrorKind::Config, text).hint("save it as UTF-8").because(error)
    })?;
    Ok(match site_file::parse(&text) {
        Ok(file) => SiteCheck::Valid(Box::new(LoadedSite { path, text, file })),
        Err(mistakes) => SiteCheck::Wrong { path, text, mistakes },
    })
}

fn how_to_read(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "run it as the user that may read the file, such as root",
        std::io::ErrorKind::IsADirectory => "name the file itself with --config, not its folder",
        std::io::ErrorKind::NotFound => "name it with --config, or make one with `stillpoint init`",
        _ => "name another with --config, or see what is wrong with the file and its disk",
    }
}
