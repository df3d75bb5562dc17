//! What is known of each kind of alert. `docs/alerts.md` has the same words; a test compares them.

use stillpoint_model::site_file::AlertKind;

/// When an alert of this kind begins, and how much it matters, in a sentence.
pub fn begins(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::RunFailed => {
            "The last backup or retention run failed, and no further try of it is planned. Critical for a backup; a warning for one that was cancelled, and for retention."
        }
        AlertKind::RunIncomplete => "The last backup was published with problems. A warning.",
        AlertKind::NoSuccess => {
            "There was no good backup for as long as the site file says (`no_success_for`), however that came about. Critical."
        }
        AlertKind::ChangeRetention => {
            "The last good backup is older than 80 % of the change retention (a warning), or than all of it (critical)."
        }
        AlertKind::DestinationFilling => {
            "Less of the destination is free than `destination_free_percent` says (a warning), or less than half of that (critical)."
        }
        AlertKind::ArchiveBehind => {
            "The last good backup is not in an archive. A warning; critical when the newest version in it is older than the change retention, or there is none for that long."
        }
        AlertKind::VerifyFailed => {
            "The last verify found damage or could not be done (critical), or had problems (a warning)."
        }
        AlertKind::VerifyOverdue => {
            "What is stored was not verified within the time that the site file says (`verify_within`). A warning."
        }
        AlertKind::HookFailed => {
            "The hook of the last good backup failed or could not be started. A warning."
        }
        AlertKind::SiteFrozen => {
            "A run could not put the site back to work (status message 5102). Critical, and told whatever else is planned."
        }
        AlertKind::SiteReconciled => {
            "A run died and what it left was healed (5100): for information. The guard had to let the site go on (5101): a warning."
        }
        AlertKind::SiteFile => {
            "The site file was changed and has mistakes; the service goes on with the schedule that it had. A warning."
        }
        AlertKind::ScheduleTooSparse => {
            "The longest time between two backups of the schedule is longer than the change retention. A warning."
        }
        AlertKind::ClockJumped => {
            "The service saw that the clock was set (status message 5176), or the last run began in the future. A warning."
        }
        AlertKind::ChannelFailed => {
            "A channel failed three times in a row. A warning; told by the other channels."
        }
    }
}

/// When it clears by itself, in a sentence.
pub fn clears(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::RunFailed => "With the next run of the task that does not fail.",
        AlertKind::RunIncomplete => {
            "With the next complete backup; when the next one fails, it is `run-failed`."
        }
        AlertKind::NoSuccess | AlertKind::ChangeRetention => {
            "With the next good backup, complete or incomplete."
        }
        AlertKind::DestinationFilling => {
            "When there is room again, as measured by the service or by the next backup."
        }
        AlertKind::ArchiveBehind => "When the archive has the last good backup.",
        AlertKind::VerifyFailed => "With the next complete verify.",
        AlertKind::VerifyOverdue => "With the next verify that could be done, complete or incomplete.",
        AlertKind::HookFailed => "With the next good backup whose hook does not fail.",
        AlertKind::SiteFrozen => {
            "With the next good backup, or when `stillpoint reconcile` has healed what was left (5100)."
        }
        AlertKind::SiteReconciled => "24 hours after it.",
        AlertKind::SiteFile => "When the site file is right again.",
        AlertKind::ScheduleTooSparse => "When schedule or change retention are changed so that they fit.",
        AlertKind::ClockJumped => "24 hours after the jump, and no run lies in the future.",
        AlertKind::ChannelFailed => "When the channel takes a notice, a ping or a test.",
    }
}

/// What a person does about it.
pub fn remedy(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::RunFailed => {
            "Look at the run in the console or with `stillpoint status`, mend what it names, and start it again. The last good set is untouched."
        }
        AlertKind::RunIncomplete => {
            "Look at the problems of the run: mend what they name, or leave it out in the site file."
        }
        AlertKind::NoSuccess => {
            "See that the service or the timer runs and what the last runs failed of, then start a backup."
        }
        AlertKind::ChangeRetention => {
            "Make a backup now: what the sites around this one changed longer ago than the change retention cannot be caught up with after a recovery."
        }
        AlertKind::DestinationFilling => {
            "Make room at the destination or make it larger; let old versions go with `stillpoint archive`. A set is built beside the last one, so there must be room for both."
        }
        AlertKind::ArchiveBehind => {
            "See that the archive can be reached and has room. The next backup copies what was missed, where another archive has it."
        }
        AlertKind::VerifyFailed => {
            "Look at the run: if the set is damaged, make a backup now and check the disks; if an archive is, see `stillpoint archive` for check and repair. Then verify again."
        }
        AlertKind::VerifyOverdue => {
            "See that the service runs and is not held up by other tasks, then start a verify."
        }
        AlertKind::HookFailed => {
            "The backup is whole; what the hook does afterwards may not have been done. Look at what it wrote in the run, and start it by hand."
        }
        AlertKind::SiteFrozen => {
            "Look at the site now and do what the text names by hand, then run `stillpoint reconcile`."
        }
        AlertKind::SiteReconciled => "The site works. See why the run died or was held up.",
        AlertKind::SiteFile => "Mend the lines that are named; the change is taken up at once.",
        AlertKind::ScheduleTooSparse => {
            "Let the schedule run more often, or raise `change_retention` if the sites around this one keep their changes for longer."
        }
        AlertKind::ClockJumped => {
            "See that the machine keeps its time (NTP). When the clock went back, the order of runs may be wrong for a while."
        }
        AlertKind::ChannelFailed => {
            "Mend what the error names, then try with `stillpoint alert test`. What it has yet to be told is tried again until it works."
        }
    }
}
