//! The manifest: the file that makes a set exist. Written last, with a checksum of its own beside it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stillpoint_model::{
    ComponentName, EpochNumber, ErrorKind, Grade, Outcome, Problem, RunId, SiteCode, Undo,
};

use crate::layout::{KIT, LISTS, MANIFEST, MANIFEST_SUM, SUMS, WRITERS};
use crate::{ArchiveError, Place, disk};

/// The version of the format that this program writes.
pub(crate) const FORMAT: u32 = 1;

/// What every version of the format has.
#[derive(Debug, Deserialize)]
struct Header {
    format: u32,
    min_reader: u32,
}

/// `manifest.json`. Fields are only ever added within a format version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// The lowest format version that a reader must know to read this set.
    pub min_reader: u32,
    pub site: SiteCode,
    pub name: String,
    pub run: RunId,
    pub epoch: EpochNumber,
    pub cut_at: jiff::Timestamp,
    /// Freeze window in microseconds.
    pub window_us: u64,
    pub outcome: Outcome,
    /// The lowest grade of what counts for the set.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grade: Option<Grade>,
    pub problems: Vec<Problem>,
    pub tools: BTreeMap<String, String>,
    pub components: Vec<ManifestComponent>,
    /// The separate folder with the databases, if they have one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub databases: Option<DatabasesPart>,
    /// The files of the recovery kit.
    pub kit: Vec<StoredFile>,
    /// The list for `sha256sum -c`.
    pub sums: StoredFile,
}

/// A component in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManifestComponent {
    pub name: ComponentName,
    pub place: Place,
    pub grade: Grade,
    /// Regular files, each counted once whatever its number of names.
    pub files: u64,
    /// Bytes of those, holes included.
    pub bytes: u64,
    pub list: StoredList,
    pub writer: StoredFile,
}

/// A list of entries in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredList {
    /// Relative to the top of the set.
    pub path: String,
    pub sha256: String,
    /// Lines.
    pub entries: u64,
}

/// Another file of the set in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredFile {
    /// Relative to the top of the set (or of the part with the databases).
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
}

/// The separate folder with the databases: named by the manifest, and saying of itself to whom it belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DatabasesPart {
    /// Where it was published, absolute.
    pub folder: PathBuf,
    /// Its `part.json`.
    pub part: StoredFile,
}

/// `part.json` in the separate folder with the databases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub format: u32,
    pub min_reader: u32,
    pub site: SiteCode,
    pub run: RunId,
    pub epoch: EpochNumber,
    /// Where the set that it belongs to was published, absolute.
    pub set: PathBuf,
    pub components: Vec<ComponentName>,
    /// The list for `sha256sum -c` in this folder.
    pub sums: StoredFile,
}

impl StoredFile {
    /// Hashes the file `path` below `top`.
    pub fn of(top: &Path, path: String) -> Result<Self, ArchiveError> {
        let full = top.join(&path);
        let (sha256, bytes) =
            disk::hash_whole(&full).map_err(|error| ArchiveError::io("read", &full, error))?;
        Ok(Self { path, bytes, sha256: disk::hex(&sha256) })
    }

    /// What is wrong with the file below `top`, if something is.
    pub fn trouble(&self, top: &Path) -> Option<String> {
        match disk::hash_whole(&top.join(&self.path)) {
            Ok((_, bytes)) if bytes != self.bytes => {
                Some(format!("has {bytes} bytes instead of {}", self.bytes))
            }
            Ok((sha256, _)) if disk::hex(&sha256) != self.sha256 => Some("its content changed".into()),
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some("is missing".into()),
            Err(error) => Some(format!("cannot be read: {error}")),
        }
    }
}

impl ManifestComponent {
    /// The folder of the component, relative to the top of the set or of the part with the databases.
    pub fn folder(&self) -> PathBuf {
        Path::new(self.place.folder()).join(self.name.as_str())
    }
}

impl Manifest {
    /// Writes the manifest and its checksum into `folder`, durably; the manifest itself is the last name to appear.
    pub fn write(&self, folder: &Path) -> Result<(), ArchiveError> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| ArchiveError {
            source: Some(Box::new(error)),
            ..ArchiveError::new(ErrorKind::Bug, "the manifest cannot be written as JSON")
        })?;
        text.push(b'\n');
        let sum = format!("{}  {MANIFEST}\n", disk::hex(&Sha256::digest(&text)));
        disk::write_durably(&folder.join(MANIFEST_SUM), sum.as_bytes())?;
        disk::write_durably(&folder.join(MANIFEST), &text)
    }

    /// Reads the manifest of the set at `folder`, checked against its checksum, and refuses a format that this program
    /// does not know.
    pub fn read(folder: &Path) -> Result<Self, ArchiveError> {
        let path = folder.join(MANIFEST);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing(folder)),
            other => other.map_err(|error| ArchiveError::io("read", &path, error))?,
        };
        check_sum(folder, &text)?;
        let damaged = |error: serde_json::Error| ArchiveError {
            source: Some(Box::new(error)),
            ..ArchiveError::damaged(format!("{} is not a manifest", path.display()))
        };
        let header: Header = serde_json::from_slice(&text).map_err(damaged)?;
        if header.min_reader > FORMAT {
            let text = format!(
                "{} has format {}, and this program reads up to {FORMAT}",
                folder.display(),
                header.format
            );
            return Err(ArchiveError::new(ErrorKind::Environment, text)
                .with_hint(format!("use the program that the set brings along: {KIT}/stillpoint")));
        }
        serde_json::from_slice(&text).map_err(damaged)
    }
}

/// The checksum is in a file of its own, whose form is the same in every version of the format.
fn check_sum(folder: &Path, text: &[u8]) -> Result<(), ArchiveError> {
    let path = folder.join(MANIFEST_SUM);
    let line = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ArchiveError::damaged(format!("{} is missing", path.display())));
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
        other => other.map_err(|error| ArchiveError::io("read", &path, error))?,
    };
    if line.split_ascii_whitespace().next() == Some(disk::hex(&Sha256::digest(text)).as_str()) {
        return Ok(());
    }
    Err(ArchiveError::damaged(format!("{} does not fit its checksum", folder.join(MANIFEST).display())))
}

/// Why there is no manifest: never was one, not yet, or lost.
fn missing(folder: &Path) -> ArchiveError {
    let name = folder.display();
    if folder.join(Undo::MARKER).exists() {
        return ArchiveError::new(ErrorKind::Usage, format!("{name} is a half-built set"))
            .with_hint("it is what an interrupted run left; `stillpoint reconcile` removes it");
    }
    if [MANIFEST_SUM, SUMS, LISTS, WRITERS].iter().any(|part| folder.join(part).exists()) {
        return ArchiveError::damaged(format!("{name} is a backup set whose {MANIFEST} is missing"));
    }
    ArchiveError::new(ErrorKind::Usage, format!("{name} is not a backup set: it has no {MANIFEST}"))
        .with_hint("name the folder of a set, such as P01Backup, or the destination folder that holds it")
}
