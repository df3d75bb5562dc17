//! The kinds of conditions that a person must know of. `docs/alerts.md` has the same table; a test compares them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What is the matter with a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The last run of a task failed.
    RunFailed,
    /// The last backup left something out.
    RunIncomplete,
    /// There was no good backup for too long.
    NoSuccess,
    /// The last good backup is nearly, or quite, older than what can be made up for.
    ChangeRetention,
    /// There is little room left at the destination.
    DestinationFull,
    /// An archive does not have the last backup.
    ArchiveBehind,
    /// The last verify found damage, or could not be done.
    VerifyFailed,
    /// What is stored was not verified for too long.
    VerifyOverdue,
    /// The hook of the last good backup failed.
    HookFailed,
    /// The site was left frozen.
    SiteFrozen,
    /// A run died or hung, and what it left was healed.
    SiteReconciled,
    /// The site file has mistakes.
    SiteFileBad,
    /// The schedule cannot keep to the change retention.
    ScheduleTooSparse,
    /// The clock of the machine was set.
    ClockJumped,
    /// A channel does not take notices.
    ChannelFailing,
}

impl Kind {
    /// All of them, in the order of `docs/alerts.md`.
    pub const ALL: [Kind; 15] = [
        Kind::SiteFrozen,
        Kind::RunFailed,
        Kind::RunIncomplete,
        Kind::NoSuccess,
        Kind::ChangeRetention,
        Kind::ScheduleTooSparse,
        Kind::DestinationFull,
        Kind::ArchiveBehind,
        Kind::VerifyFailed,
        Kind::VerifyOverdue,
        Kind::HookFailed,
        Kind::SiteReconciled,
        Kind::SiteFileBad,
        Kind::ClockJumped,
        Kind::ChannelFailing,
    ];

    /// Its name in the site file, in notices and in the history.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::RunFailed => "run-failed",
            Kind::RunIncomplete => "run-incomplete",
            Kind::NoSuccess => "no-success",
            Kind::ChangeRetention => "change-retention",
            Kind::DestinationFull => "destination-full",
            Kind::ArchiveBehind => "archive-behind",
            Kind::VerifyFailed => "verify-failed",
            Kind::VerifyOverdue => "verify-overdue",
            Kind::HookFailed => "hook-failed",
            Kind::SiteFrozen => "site-frozen",
            Kind::SiteReconciled => "site-reconciled",
            Kind::SiteFileBad => "site-file-bad",
            Kind::ScheduleTooSparse => "schedule-too-sparse",
            Kind::ClockJumped => "clock-jumped",
            Kind::ChannelFailing => "channel-failing",
        }
    }

    /// When it begins, in a sentence.
    pub fn begins(self) -> &'static str {
        match self {
            Kind::RunFailed => {
                "The last backup or retention run failed, and no further try of it is planned. Critical for a backup, else a warning."
            }
            Kind::RunIncomplete => "The last backup was published with problems. A warning.",
            Kind::NoSuccess => {
                "There was no good backup for as long as the site file says (`no_success_for`), however that came about. Critical."
            }
            Kind::ChangeRetention => {
                "The last good backup is older than 80 % of the change retention (a warning), or than all of it (critical)."
            }
            Kind::DestinationFull => {
                "Less of the destination is free than `destination_free_percent` says (a warning), or less than half of that (critical)."
            }
            Kind::ArchiveBehind => {
                "The last good backup is not in an archive. A warning; critical when the newest version in it is older than the change retention, or there is none for that long."
            }
            Kind::VerifyFailed => {
                "The last verify found damage or could not be done (critical), or had problems (a warning)."
            }
            Kind::VerifyOverdue => {
                "What is stored was not verified within the time that the site file says (`verify_within`). A warning."
            }
            Kind::HookFailed => "The hook of the last good backup failed or could not be started. A warning.",
            Kind::SiteFrozen => {
                "A run could not put the site back to work (status message 5102). Critical, and told whatever else is planned."
            }
            Kind::SiteReconciled => {
                "A run died and what it left was healed (5100): for information. The guard had to let the site go on (5101): a warning."
            }
            Kind::SiteFileBad => {
                "The site file was changed and has mistakes; the service goes on with the schedule that it had. A warning."
            }
            Kind::ScheduleTooSparse => {
                "The longest time between two backups of the schedule is longer than the change retention. A warning."
            }
            Kind::ClockJumped => {
                "The clock was set forward or back by more than a minute, or the last run began in the future. A warning."
            }
            Kind::ChannelFailing => {
                "A channel failed three times in a row. A warning; told by the other channels."
            }
        }
    }

    /// When it clears by itself, in a sentence.
    pub fn clears(self) -> &'static str {
        match self {
            Kind::RunFailed => "With the next run of the task that does not fail.",
            Kind::RunIncomplete => {
                "With the next complete backup; when the next one fails, it is `run-failed`."
            }
            Kind::NoSuccess | Kind::ChangeRetention => "With the next good backup, complete or incomplete.",
            Kind::DestinationFull => {
                "When there is room again, as measured by the service or by the next backup."
            }
            Kind::ArchiveBehind => "When the archive has the last good backup.",
            Kind::VerifyFailed => "With the next complete verify.",
            Kind::VerifyOverdue => "With the next verify that could be done, complete or incomplete.",
            Kind::HookFailed => "With the next good backup whose hook does not fail.",
            Kind::SiteFrozen => {
                "With the next good backup, or when `stillpoint reconcile` has healed what was left (5100)."
            }
            Kind::SiteReconciled => "24 hours after it.",
            Kind::SiteFileBad => "When the site file is right again.",
            Kind::ScheduleTooSparse => "When schedule or change retention are changed so that they fit.",
            Kind::ClockJumped => "24 hours after the jump, and no run lies in the future.",
            Kind::ChannelFailing => "When the channel takes a notice, a ping or a test.",
        }
    }

    /// What a person does about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Kind::RunFailed => {
                "Look at the run in the console or with `stillpoint status`, mend what it names, and start it again. The last good set is untouched."
            }
            Kind::RunIncomplete => {
                "Look at the problems of the run: mend what they name, or leave it out in the site file."
            }
            Kind::NoSuccess => {
                "See that the service or the timer runs and what the last runs failed of, then start a backup."
            }
            Kind::ChangeRetention => {
                "Make a backup now: what the sites around this one changed longer ago than the change retention cannot be caught up with after a recovery."
            }
            Kind::DestinationFull => {
                "Make room at the destination or make it larger; let old versions go with `stillpoint archive`. A set is built beside the last one, so there must be room for both."
            }
            Kind::ArchiveBehind => {
                "See that the archive can be reached and has room. The next backup copies what was missed, where another archive has it."
            }
            Kind::VerifyFailed => {
                "Look at the run: if the set is damaged, make a backup now and check the disks; if an archive is, see `stillpoint archive` for check and repair. Then verify again."
            }
            Kind::VerifyOverdue => {
                "See that the service runs and is not held up by other tasks, then start a verify."
            }
            Kind::HookFailed => {
                "The backup is whole; what the hook does afterwards may not have been done. Look at what it wrote in the run, and start it by hand."
            }
            Kind::SiteFrozen => {
                "Look at the site now and do what the text names by hand, then run `stillpoint reconcile`."
            }
            Kind::SiteReconciled => "The site works. See why the run died or was held up.",
            Kind::SiteFileBad => "Mend the lines that are named; the change is taken up at once.",
            Kind::ScheduleTooSparse => {
                "Let the schedule run more often, or raise `change_retention` if the sites around this one keep their changes for longer."
            }
            Kind::ClockJumped => {
                "See that the machine keeps its time (NTP). When the clock went back, the order of runs may be wrong for a while."
            }
            Kind::ChannelFailing => {
                "Mend what the error names, then try with `stillpoint alert test`. What it has yet to be told is tried again until it works."
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
            format!("there is no kind of alert {text:?}; there are {}", names.join(", "))
        })
    }
}
