//! The versions in an archive, as people are shown them, and which of them stay.

use jiff::Timestamp;
use serde::Serialize;
use stillpoint_model::site_file::{Archive, Keep};
use stillpoint_repository::retention::{Candidate, KeepRules, Verdict, judge};
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

    fn candidate(&self) -> Candidate {
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
}

/// The rules of an archive.
pub fn keep_rules(archive: &Archive) -> KeepRules {
    let Keep { last, hourly, daily, weekly, monthly, yearly, within } = archive.keep.clone();
    let within = within.map(|wait| wait.duration());
    KeepRules { last, hourly, daily, weekly, monthly, yearly, within }
}

/// Which versions of a site stay in the archive and which may go. Those of other sites, and those that somebody else made,
/// are not judged.
pub fn judge_versions(
    archive: &Archive,
    site: &str,
    versions: &[VersionFacts],
    now: Timestamp,
) -> Vec<(VersionFacts, Verdict)> {
    let own: Vec<VersionFacts> =
        versions.iter().filter(|version| version.ours && version.site == site).cloned().collect();
    let candidates: Vec<Candidate> = own.iter().map(VersionFacts::candidate).collect();
    let verdicts = judge(&keep_rules(archive), &candidates, now);
    own.into_iter().zip(verdicts).collect()
}
