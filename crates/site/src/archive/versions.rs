//! The versions in an archive, as people are shown them and as they name them.

use jiff::Timestamp;
use serde::Serialize;
use stillpoint_model::ErrorKind;
use stillpoint_repository::retention::Candidate;
use stillpoint_repository::{Id, Snapshot};

use super::open::{OpenArchive, about};
use crate::SiteError;

/// The tag that says whether the run was complete.
pub(super) const OUTCOME: &str = "outcome";
/// The tag with the site code.
pub(super) const SITE: &str = "site";
/// The tag with the number of the epoch.
pub(super) const EPOCH: &str = "epoch";
/// The tag with the run.
pub(super) const RUN: &str = "run";

/// A version.
#[derive(Debug, Clone, Serialize)]
pub struct VersionFacts {
    /// Its name.
    pub id: Id,
    /// The instant of its epoch.
    pub time: Timestamp,
    /// The site, or for a version of somebody else the machine.
    pub site: String,
    /// The number of its epoch.
    pub epoch: Option<u64>,
    /// The run that made it.
    pub run: Option<String>,
    /// Whether the run was complete. What says nothing of it was made by somebody else, and counts as complete.
    pub complete: bool,
    /// Whether it is on hold.
    pub held: bool,
    /// Whether Stillpoint made it, for a site.
    pub ours: bool,
    /// Files in it, if it says.
    pub files: Option<u64>,
    /// Their bytes.
    pub bytes: Option<u64>,
    /// Bytes that it added to the archive.
    pub added_bytes: Option<u64>,
    /// What wrote it.
    pub program: String,
}

impl VersionFacts {
    /// What a snapshot file says.
    pub fn of(id: Id, snapshot: &Snapshot) -> Self {
        let site = snapshot.tag(SITE);
        let summary = snapshot.summary.as_ref();
        Self {
            id,
            time: snapshot.time.timestamp(),
            site: site.unwrap_or(&snapshot.hostname).to_owned(),
            epoch: snapshot.tag(EPOCH).and_then(|text| text.parse().ok()),
            run: snapshot.tag(RUN).map(str::to_owned),
            complete: snapshot.tag(OUTCOME).is_none_or(|outcome| outcome == "complete"),
            held: snapshot.is_held(),
            ours: site.is_some(),
            files: summary.map(|summary| summary.total_files_processed),
            bytes: summary.map(|summary| summary.total_bytes_processed),
            added_bytes: summary.map(|summary| summary.data_added_packed),
            program: snapshot.program_version.clone(),
        }
    }

    /// What retention knows of it.
    pub(super) fn candidate(&self) -> Candidate {
        let Self { id, time, epoch, complete, held, .. } = self.clone();
        Candidate { id, time, epoch, complete, held, needed: false }
    }
}

impl OpenArchive {
    /// All versions, oldest first.
    pub fn versions(&self) -> Result<Vec<VersionFacts>, SiteError> {
        let snapshots = self.repository.snapshots().map_err(|error| about(&self.settings, error))?;
        Ok(snapshots.iter().map(|(id, snapshot)| VersionFacts::of(*id, snapshot)).collect())
    }

    /// The version that is meant: its name or the beginning of it, also the name that it had before it was put on hold;
    /// `latest`, the newest of this site; or `epoch=17`.
    pub fn find_version(&self, site: &str, wanted: &str) -> Result<(Id, Snapshot), SiteError> {
        let refused = |text: String| {
            SiteError::new(ErrorKind::Usage, format!("archive {}: {text}", self.settings.name))
                .hint("`stillpoint archive list` shows the versions")
        };
        let snapshots = self.repository.snapshots().map_err(|error| about(&self.settings, error))?;
        let of_site = |(_, snapshot): &(Id, Snapshot)| snapshot.tag(SITE) == Some(site);
        let mut fitting: Vec<(Id, Snapshot)> = match (wanted, wanted.strip_prefix("epoch=")) {
            ("latest", _) => snapshots.into_iter().rfind(of_site).into_iter().collect(),
            (_, Some(epoch)) => {
                let fits = |one: &(Id, Snapshot)| of_site(one) && one.1.tag(EPOCH) == Some(epoch);
                snapshots.into_iter().filter(fits).collect()
            }
            _ => {
                let named = |id: &Id| !wanted.is_empty() && id.to_string().starts_with(wanted);
                let fits = |(id, snapshot): &(Id, Snapshot)| {
                    named(id) || snapshot.original.as_ref().is_some_and(named)
                };
                snapshots.into_iter().filter(fits).collect()
            }
        };
        match (fitting.pop(), fitting.len()) {
            (Some(found), 0) => Ok(found),
            (Some(_), others) => Err(refused(format!("{} versions are meant by {wanted}", others + 1))),
            (None, _) if wanted == "latest" => {
                Err(refused(format!("there is no version of site {site} yet")))
            }
            (None, _) => Err(refused(format!("there is no version {wanted}"))),
        }
    }
}
