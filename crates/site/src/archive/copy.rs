//! Versions from one archive of the site to another.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use stillpoint_repository::retention::{Candidate, judge};
use stillpoint_repository::{CopyReport, Id, Snapshot, Watcher, copy};

use super::open::{LOCK_PATIENCE, OpenArchive};
use super::retain::keep_rules;
use super::versions::{RUN, VersionFacts};
use crate::SiteError;

/// What tells that two versions in two archives are the same: the run, or for one of somebody else the name that it had first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Same {
    Run(String, String),
    Name(Id),
}

fn sameness(id: Id, snapshot: &Snapshot) -> Same {
    match snapshot.tag(RUN) {
        Some(run) => Same::Run(snapshot.hostname.clone(), run.to_owned()),
        None => Same::Name(snapshot.original.unwrap_or(id)),
    }
}

impl OpenArchive {
    /// The instant of the newest version of the site, but for this one.
    pub fn newest_before(&self, site: &str, but_for: Option<Id>) -> Result<Option<Timestamp>, SiteError> {
        let asked =
            |version: &VersionFacts| version.ours && version.site == site && Some(version.id) != but_for;
        Ok(self.versions()?.into_iter().filter(asked).map(|version| version.time).max())
    }

    /// The versions of the site that the other archive has, this one has not, and the rules of this one would keep. With
    /// `after`, only those that are later.
    pub fn missing_from(
        &self,
        other: &OpenArchive,
        site: &str,
        after: Option<Timestamp>,
    ) -> Result<Vec<VersionFacts>, SiteError> {
        let mine = self.repository.snapshots().map_err(|error| self.error(error))?;
        let theirs = other.repository.snapshots().map_err(|error| other.error(error))?;
        let known: BTreeSet<Same> = mine.iter().map(|(id, snapshot)| sameness(*id, snapshot)).collect();
        let own = |version: &VersionFacts| version.ours && version.site == site;
        let missing: Vec<VersionFacts> = theirs
            .iter()
            .filter(|(id, snapshot)| !known.contains(&sameness(*id, snapshot)))
            .map(|(id, snapshot)| VersionFacts::of(*id, snapshot))
            .filter(|version| own(version) && after.is_none_or(|after| version.time > after))
            .collect();
        // All together, as they would stand in this archive.
        let here = mine.iter().map(|(id, snapshot)| VersionFacts::of(*id, snapshot)).filter(own);
        let all: Vec<Candidate> = here
            .map(|version| version.candidate())
            .chain(missing.iter().map(VersionFacts::candidate))
            .collect();
        let verdicts = judge(&keep_rules(&self.settings), &all, Timestamp::now());
        let retired: BTreeSet<Id> = verdicts.iter().filter(|it| it.retires()).map(|it| it.id).collect();
        Ok(missing.into_iter().filter(|version| !retired.contains(&version.id)).collect())
    }

    /// Copies these versions of the other archive into this one.
    pub fn copy_from(
        &self,
        other: &OpenArchive,
        versions: &[Id],
        watcher: &Arc<dyn Watcher>,
    ) -> Result<CopyReport, SiteError> {
        copy(&other.repository, &self.repository, versions, LOCK_PATIENCE, &**watcher)
            .map_err(|error| self.error(error))
    }
}
