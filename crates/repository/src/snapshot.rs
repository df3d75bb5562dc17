//! Snapshots: the versions of an archive (`doc/design.rst`, "Snapshots").

use serde::{Deserialize, Serialize};
use stillpoint_model::ErrorKind;

use crate::error::RepositoryError;
use crate::id::Id;
use crate::repository::Repository;
use crate::store::FileKind;
use crate::time::Moment;

/// The tag of a version that is held: nothing retires it.
pub const HOLD_TAG: &str = "hold";

/// A snapshot file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The moment of which it is.
    pub time: Moment,
    /// The version that it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Id>,
    /// The blob of its top folder.
    pub tree: Id,
    /// What was saved.
    pub paths: Vec<String>,
    /// The machine; for us, the site.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// The user who saved it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The number of that user.
    #[serde(default)]
    pub uid: u32,
    /// The number of that user's group.
    #[serde(default)]
    pub gid: u32,
    /// What was left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excludes: Vec<String>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The name of the snapshot that this one was made from, by another choice of tags or by a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Id>,
    /// What wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program_version: String,
    /// Figures, for restic's lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// The figures in a snapshot, since restic 0.17.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// When the work began.
    pub backup_start: Moment,
    /// When it ended.
    pub backup_end: Moment,
    /// Files that the version before did not have.
    pub files_new: u64,
    /// Files that are not as they were in it.
    pub files_changed: u64,
    /// Files that are as they were.
    pub files_unmodified: u64,
    /// Folders that the version before did not have.
    pub dirs_new: u64,
    /// Folders that are not as they were.
    pub dirs_changed: u64,
    /// Folders that are as they were.
    pub dirs_unmodified: u64,
    /// New blobs of files.
    pub data_blobs: u64,
    /// New blobs of folders.
    pub tree_blobs: u64,
    /// Bytes of new blobs, before compression.
    pub data_added: u64,
    /// Bytes of new blobs as stored.
    pub data_added_packed: u64,
    /// All files.
    pub total_files_processed: u64,
    /// Their bytes.
    pub total_bytes_processed: u64,
}

impl Default for Summary {
    fn default() -> Self {
        let epoch = Moment::of_file(stillpoint_tree::Timestamp::default());
        Self {
            backup_start: epoch,
            backup_end: epoch,
            files_new: 0,
            files_changed: 0,
            files_unmodified: 0,
            dirs_new: 0,
            dirs_changed: 0,
            dirs_unmodified: 0,
            data_blobs: 0,
            tree_blobs: 0,
            data_added: 0,
            data_added_packed: 0,
            total_files_processed: 0,
            total_bytes_processed: 0,
        }
    }
}

impl Snapshot {
    /// The value of a tag of the form `name=value`.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.tags.iter().find_map(|tag| tag.strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether it is held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.tags.iter().any(|tag| tag == HOLD_TAG)
    }
}

impl Repository {
    /// All versions, oldest first.
    ///
    /// # Errors
    ///
    /// The store fails, or a snapshot file is damaged.
    pub fn snapshots(&self) -> Result<Vec<(Id, Snapshot)>, RepositoryError> {
        let mut snapshots = Vec::new();
        for (id, _) in self.list(FileKind::Snapshot)? {
            match self.load_json(FileKind::Snapshot, id) {
                Ok(snapshot) => snapshots.push((id, snapshot)),
                // Forgotten since it was named.
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error),
            }
        }
        snapshots.sort_by_key(|(id, snapshot): &(Id, Snapshot)| (snapshot.time, *id));
        Ok(snapshots)
    }

    /// The version with this name, beginning of a name, or `latest`.
    ///
    /// # Errors
    ///
    /// There is none or more than one (`Usage`), or the store fails.
    pub fn find_snapshot(&self, wanted: &str) -> Result<(Id, Snapshot), RepositoryError> {
        let refused = |text: String| {
            RepositoryError::new(ErrorKind::Usage, text)
                .with_hint("`stillpoint archive list` shows the versions.")
        };
        let mut fitting = self.snapshots()?;
        if fitting.is_empty() {
            return Err(refused(format!("{} has no version yet", self.store().name())));
        }
        if wanted == "latest" {
            return fitting.pop().ok_or_else(|| refused("there is no version".into()));
        }
        fitting.retain(|(id, _)| !wanted.is_empty() && id.to_string().starts_with(wanted));
        match (fitting.pop(), fitting.len()) {
            (Some(found), 0) => Ok(found),
            (Some(_), more) => {
                Err(refused(format!("{} versions have a name that begins with {wanted}", more + 1)))
            }
            (None, _) => Err(refused(format!("{} has no version {wanted}", self.store().name()))),
        }
    }

    /// Stores a snapshot: with it, what it names is a version.
    pub(crate) fn save_snapshot(&self, snapshot: &Snapshot) -> Result<Id, RepositoryError> {
        self.save_json(FileKind::Snapshot, snapshot)
    }
}
