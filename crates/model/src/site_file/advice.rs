//! What is no mistake and yet should be known: the advice that `stillpoint config check` and the service give.

use std::time::Duration;

use jiff::Timestamp;

use super::{SiteFile, Wait};

/// What the longest time between two due times may be exceeded by until a missing backup is an alert: it has to run, too.
const SUCCESS_MARGIN: Duration = Duration::from_secs(2 * 3600);

impl SiteFile {
    /// How long there may be no successful backup: what the site file says, or else two hours more than the longest time that the
    /// schedule allows between two of them, as seen from `now`. Nothing without a schedule, and for one that comes to an end.
    pub fn no_success_for(&self, now: Timestamp) -> Option<Duration> {
        let stated = self.alerts.no_success_for.map(Wait::duration);
        stated.or_else(|| Some(self.longest_time_between(now)? + SUCCESS_MARGIN))
    }

    /// The longest time from the begin of a backup to the latest begin of the next, in the 400 days after `now`.
    fn longest_time_between(&self, now: Timestamp) -> Option<Duration> {
        let schedule = self.schedule.as_ref()?.backup()?;
        let gap = schedule.longest_gap(now)?;
        let window = schedule.next(now).and_then(|due| Some(due.latest?.duration_since(due.begin)));
        let window = window.and_then(|length| Duration::try_from(length).ok());
        Some(gap + window.unwrap_or_default())
    }

    /// What a person should know of a site file that is right: each a sentence with its remedy. `now` is from when on the schedule is
    /// looked at, for 400 days.
    pub fn advice(&self, now: Timestamp) -> Vec<String> {
        let mut advice = Vec::new();
        if let Some(settings) = &self.schedule {
            let retention = settings.change_retention;
            match self.longest_time_between(now) {
                None => advice.push(
                    "[schedule] comes to an end: after its last time nothing is backed up any more; write one that goes on"
                        .to_owned(),
                ),
                Some(longest) if longest > retention.duration() => advice.push(format!(
                    "[schedule] leaves up to {} between two backups, which is more than `change_retention` ({retention}); write a \
                     schedule that runs more often",
                    rounded(longest)
                )),
                Some(_) => {}
            }
            if self.channels.is_empty() {
                advice.push(
                    "there is no [[channel]]: nobody is told when a backup fails; add one, such as type = \"mail\"".to_owned(),
                );
            }
            let within = self.alerts.verify_within;
            match settings.verify().map(|verify| verify.longest_gap(now)) {
                None => advice.push(format!(
                    "there is no [schedule.verify]: unless somebody runs `stillpoint verify`, an alert comes after {within}; add it"
                )),
                Some(gap) if gap.is_none_or(|gap| gap > within.duration()) => advice.push(format!(
                    "[schedule.verify] runs more seldom than `verify_within` of [alerts] ({within}) asks for; change one of the two"
                )),
                Some(_) => {}
            }
        }
        let (alert, limit) = (self.alerts.destination_free_percent, self.task.keep_free_percent);
        if alert != 0 && alert <= limit {
            advice.push(format!(
                "`destination_free_percent` of [alerts] ({alert}) is not above `keep_free_percent` of [task] ({limit}): backups fail \
                 before the alert comes; write a greater number"
            ));
        }
        advice
    }
}

/// A length of time to the minute.
fn rounded(duration: Duration) -> Wait {
    Wait::seconds(duration.as_secs().div_ceil(60).max(1) * 60)
}
