//! Verifying an archive, a share of its data each time. How far it came is kept in the state folder of the site: so it works as
//! well where the key may not change anything in the archive.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stillpoint_coordinator::StateFolder;
use stillpoint_model::{ArchiveName, ErrorKind, SiteCode};
use stillpoint_repository::{CheckOptions, CheckReport, DataShare, Id, ReadState, Watcher, check};

use super::open::{LOCK_PATIENCE, OpenArchive};
use crate::SiteError;

/// How much of the data is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyScope {
    /// None of it.
    Structure,
    /// So much that all is read in the time that the site file says.
    Share,
    /// All of it.
    All,
}

/// What is kept between two times.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// Of which repository: another one at the same place begins anew.
    repository: Option<Id>,
    read: ReadState,
}

impl OpenArchive {
    /// Verifies the archive. How far the reading came is kept also when it ends early.
    pub fn verify(
        &self,
        scope: VerifyScope,
        state_root: &Path,
        site: &SiteCode,
        watcher: &dyn Watcher,
    ) -> Result<(CheckReport, ReadState), SiteError> {
        let path = state_path(state_root, site, &self.settings.name)?;
        let mut kept = read_state(&path, self.repository.id());
        let data = match scope {
            VerifyScope::Structure => DataShare::Nothing,
            VerifyScope::Share => DataShare::Nights(self.nights()),
            VerifyScope::All => DataShare::All,
        };
        let options = CheckOptions { data, wait: LOCK_PATIENCE, ..CheckOptions::default() };
        let report = check(&self.repository, &options, &mut kept.read, watcher);
        if scope != VerifyScope::Structure {
            write_state(&path, &kept)?;
        }
        Ok((report.map_err(|error| self.error(error))?, kept.read))
    }

    /// In how many nights all is to be read.
    fn nights(&self) -> u32 {
        let days = self.settings.verify_every.duration().as_secs() / (24 * 3600);
        u32::try_from(days).unwrap_or(u32::MAX).max(1)
    }
}

fn state_path(state_root: &Path, site: &SiteCode, archive: &ArchiveName) -> Result<PathBuf, SiteError> {
    let folder = StateFolder::open(state_root, site)?;
    Ok(folder.path().join(format!("archive-{archive}-verified.json")))
}

/// A file that is missing, damaged or of another repository only means that the reading begins anew.
fn read_state(path: &Path, repository: Id) -> Kept {
    let kept = std::fs::read(path).ok().and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
    let kept = kept.filter(|kept| kept.repository == Some(repository)).unwrap_or_default();
    Kept { repository: Some(repository), ..kept }
}

fn write_state(path: &Path, kept: &Kept) -> Result<(), SiteError> {
    let failed = |error: std::io::Error| {
        let text = format!("how far the verify came cannot be written to {}", path.display());
        SiteError::new(ErrorKind::Environment, text).because(error)
    };
    let text = serde_json::to_vec(kept).map_err(|error| failed(error.into()))?;
    let aside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)
        .map_err(failed)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&aside, path).map_err(failed)
}
