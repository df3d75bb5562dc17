//! Which versions stay, as the rules of the archive say, and letting the others go.

use jiff::Timestamp;
use stillpoint_model::ErrorKind;
use stillpoint_model::site_file::{Archive, Keep};
use stillpoint_repository::retention::{Fate, KeepRules, Reason, Verdict, judge};
use stillpoint_repository::{Id, PruneOptions, PruneReport, Watcher, forget, prune, set_hold};

use super::open::{LOCK_PATIENCE, OpenArchive};
use super::versions::VersionFacts;
use crate::SiteError;

/// What becomes of one version, and why.
#[derive(Debug, Clone)]
pub struct Retention {
    /// The version.
    pub version: VersionFacts,
    /// What becomes of it.
    pub fate: Fate,
}

impl Retention {
    /// Whether it may go.
    pub fn retires(&self) -> bool {
        matches!(self.fate, Fate::Retire(_))
    }

    /// The reasons in words.
    pub fn words(&self) -> String {
        match &self.fate {
            Fate::Keep(reasons) => {
                let words: Vec<String> = reasons.iter().map(Reason::to_string).collect();
                words.join(", ")
            }
            Fate::Retire(why) => why.to_string(),
        }
    }

    /// Why a person should look at it, if a clock was wrong.
    pub fn doubt(&self) -> Option<String> {
        let Fate::Keep(reasons) = &self.fate else { return None };
        reasons.iter().find(|reason| reason.is_doubt()).map(Reason::to_string)
    }
}

/// What becomes of the versions of a site, oldest first. Those of others in the same archive are not judged.
#[derive(Debug, Clone)]
pub struct RetentionPlan {
    /// One each.
    pub versions: Vec<Retention>,
}

impl RetentionPlan {
    /// Those that may go.
    pub fn retired(&self) -> impl Iterator<Item = &Retention> {
        self.versions.iter().filter(|one| one.retires())
    }
}

/// The rules of an archive.
pub(super) fn keep_rules(archive: &Archive) -> KeepRules {
    let Keep { last, hourly, daily, weekly, monthly, yearly, within } = archive.keep.clone();
    let within = within.map(|wait| wait.duration());
    KeepRules { last, hourly, daily, weekly, monthly, yearly, within }
}

impl OpenArchive {
    /// What the rules of the archive say of each version of this site now.
    pub fn retention(&self, site: &str) -> Result<RetentionPlan, SiteError> {
        let own = |version: &VersionFacts| version.ours && version.site == site;
        let versions: Vec<VersionFacts> = self.versions()?.into_iter().filter(own).collect();
        let candidates: Vec<_> = versions.iter().map(VersionFacts::candidate).collect();
        let verdicts = judge(&keep_rules(&self.settings), &candidates, Timestamp::now());
        let one = |(version, Verdict { fate, .. })| Retention { version, fate };
        Ok(RetentionPlan { versions: versions.into_iter().zip(verdicts).map(one).collect() })
    }

    /// Lets these versions go, and returns those that went. What only they needed is removed by a prune.
    pub fn forget(&self, versions: &[Id], watcher: &dyn Watcher) -> Result<Vec<Id>, SiteError> {
        self.refuse_append_only("lets no version go")?;
        forget(&self.repository, versions, LOCK_PATIENCE, watcher).map_err(|error| self.error(error))
    }

    /// Removes what no version needs, or says what would be removed.
    pub fn prune(&self, dry_run: bool, watcher: &dyn Watcher) -> Result<PruneReport, SiteError> {
        if !dry_run {
            self.refuse_append_only("removes nothing")?;
        }
        let options = PruneOptions { dry_run, wait: LOCK_PATIENCE, ..PruneOptions::default() };
        prune(&self.repository, &options, watcher).map_err(|error| self.error(error))
    }

    /// Puts a version on hold, or releases it. Returns the name that it has from now on.
    pub fn hold(&self, version: Id, hold: bool, watcher: &dyn Watcher) -> Result<Id, SiteError> {
        // The file of the version is replaced.
        self.refuse_append_only("holds and releases nothing")?;
        set_hold(&self.repository, version, hold, LOCK_PATIENCE, watcher).map_err(|error| self.error(error))
    }

    pub(super) fn refuse_append_only(&self, what: &str) -> Result<(), SiteError> {
        if !self.settings.append_only {
            return Ok(());
        }
        let text = format!("archive {} is append_only here: this machine {what}", self.settings.name);
        Err(SiteError::new(ErrorKind::Usage, text).hint(
            "do it on the machine that has the key with all rights, with a site file without append_only",
        ))
    }
}
