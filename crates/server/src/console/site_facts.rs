//! What the pages need of the site file.

use std::path::Path;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use stillpoint_model::site_file::{ChannelKind, ComponentKind, SiteFile, effective};
use stillpoint_schedule::{Missed, Schedule};
use stillpoint_site::SiteCheck;

use super::components::Configured;
use super::schedule::{Planned, ScheduleData};
use super::settings::SettingsData;

/// For how long other sites keep what changed, where the site file has no `[schedule]` that says it.
const CHANGE_RETENTION: SignedDuration = SignedDuration::from_hours(5 * 24);
/// How many times of a schedule are shown.
const TIMES: usize = 10;

/// The zone in which times are shown: that of the schedule, or else that of the machine.
pub fn zone(site: &SiteFile) -> TimeZone {
    site.schedule
        .as_ref()
        .map_or_else(TimeZone::system, |schedule| schedule.zone.at(Timestamp::UNIX_EPOCH).time_zone().clone())
}

/// For how long other sites keep what changed.
pub fn change_retention(site: &SiteFile) -> SignedDuration {
    let said = site.schedule.as_ref().map(|schedule| schedule.change_retention.duration());
    said.map_or(CHANGE_RETENTION, |said| SignedDuration::try_from(said).unwrap_or(SignedDuration::MAX))
}

/// The schedules. `old_because` says why the site file is not the one in force.
pub fn schedule(site: &SiteFile, old_because: Option<String>, now: Timestamp) -> ScheduleData {
    let settings = site.schedule.as_ref();
    let backup = settings.and_then(|it| it.backup());
    let longest_gap = backup.as_ref().and_then(|it| it.longest_gap(now));
    let all = [
        ("backup", backup),
        ("verify", settings.and_then(|it| it.verify())),
        ("retention", settings.and_then(|it| it.retention())),
    ];
    let planned = all.into_iter().filter_map(|(task, schedule)| Some(planned(task, &schedule?, now)));
    ScheduleData {
        planned: planned.collect(),
        change_retention: change_retention(site),
        longest_gap: longest_gap.and_then(|gap| SignedDuration::try_from(gap).ok()),
        old_because,
    }
}

fn planned(task: &str, schedule: &Schedule, now: Timestamp) -> Planned {
    let first = schedule.next(now).map(|due| due.begin);
    let next = std::iter::successors(first, |at| schedule.next(*at).map(|due| due.begin));
    Planned {
        task: task.to_owned(),
        words: schedule.calendar.describe(),
        zone: schedule.zone.name().to_owned(),
        missed: match schedule.missed {
            Missed::CatchUp => "it is caught up at once, once for all that were missed".to_owned(),
            Missed::Wait => "it waits for the next time".to_owned(),
        },
        next: next.take(TIMES).collect(),
    }
}

/// The components of the site file.
pub fn configured(site: &SiteFile) -> Vec<Configured> {
    let one = |kind: &ComponentKind| match kind {
        ComponentKind::Service(it) => {
            ("service", it.unit.clone().or(it.freeze_command.as_ref().map(|words| words.join(" "))))
        }
        ComponentKind::Files(it) => ("files", Some(it.path.display().to_string())),
        ComponentKind::Postgres(it) => ("postgres", Some(format!("{}, port {}", it.host, it.port))),
        ComponentKind::Sqlite(it) => ("sqlite", Some(it.path.display().to_string())),
        ComponentKind::Command(it) => ("command", it.run.first().cloned()),
    };
    let components = site.components.iter().map(|component| {
        let (kind, source) = one(&component.kind);
        Configured {
            name: component.name.as_str().to_owned(),
            kind: kind.to_owned(),
            source: source.unwrap_or_default(),
        }
    });
    components.collect()
}

/// The channels of the site file with their kinds.
pub fn channels(site: &SiteFile) -> Vec<(String, String)> {
    let kind = |kind: &ChannelKind| match kind {
        ChannelKind::Mail(_) => "mail",
        ChannelKind::Sendmail(_) => "sendmail",
        ChannelKind::Webhook(_) => "webhook",
        ChannelKind::Ntfy(_) => "ntfy",
        ChannelKind::Ping(_) => "ping",
        ChannelKind::Alertmanager(_) => "alertmanager",
        ChannelKind::Program(_) => "program",
    };
    let channels = site.channels.iter();
    channels.map(|channel| (channel.name.as_str().to_owned(), kind(&channel.kind).to_owned())).collect()
}

/// Reads the site file at `path` again and says what is wrong with it; `in_force` is what is in effect.
pub fn settings(path: &Path, in_force: &SiteFile, now: Timestamp) -> SettingsData {
    let (mistakes, unreadable) = match stillpoint_site::check(path) {
        Ok(SiteCheck::Valid(_)) => (Vec::new(), None),
        Ok(SiteCheck::Wrong { mistakes, .. }) => (mistakes, None),
        Err(error) => (Vec::new(), Some(error.text)),
    };
    SettingsData {
        file: path.display().to_string(),
        checked: now,
        mistakes,
        unreadable,
        effective: effective(in_force),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = r#"
[site]
code = "P01"
name = "Head office"
type = "primary"
[destination]
folder = "/srv/backup"
[[component]]
name = "shop"
type = "service"
quiet = "freeze"
unit = "shop.service"
[[component]]
name = "ledger"
type = "files"
path = "/srv/ledger"
[schedule]
zone = "Europe/Berlin"
window = { begin = "02:00", latest = "05:00" }
change_retention = "3d"
missed = "wait"
[schedule.verify]
cron = "0 12 * * 0"
"#;

    #[test]
    fn the_schedule_is_that_of_the_site_file() {
        let site = stillpoint_model::site_file::parse(SITE).unwrap();
        let now: Timestamp = "2026-10-24T09:00:00Z".parse().unwrap();
        let data = schedule(&site, None, now);
        let [backup, verify] = data.planned.as_slice() else { panic!("{:?}", data.planned) };
        assert_eq!(
            (backup.task.as_str(), backup.zone.as_str(), backup.next.len()),
            ("backup", "Europe/Berlin", 10)
        );
        // In the night in between, clocks go back.
        let shown: Vec<String> = backup.next.iter().take(2).map(ToString::to_string).collect();
        assert_eq!(shown, ["2026-10-25T00:00:00Z", "2026-10-26T01:00:00Z"]);
        assert_eq!(verify.next[0].to_string(), "2026-10-25T11:00:00Z");
        assert!(backup.words.contains("02:00") && backup.missed.contains("waits"), "{backup:?}");
        assert_eq!(data.change_retention, SignedDuration::from_hours(72));
        assert_eq!(data.longest_gap, Some(SignedDuration::from_hours(25)));
        assert_eq!(zone(&site).iana_name(), Some("Europe/Berlin"));
    }

    #[test]
    fn a_site_file_is_checked_again_and_what_is_in_force_is_shown() {
        let site = stillpoint_model::site_file::parse(SITE).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.toml");
        let now = Timestamp::UNIX_EPOCH;
        assert!(settings(&path, &site, now).unreadable.is_some());
        std::fs::write(&path, SITE).unwrap();
        let valid = settings(&path, &site, now);
        assert!(
            valid.mistakes.is_empty() && valid.unreadable.is_none() && valid.effective.contains("Berlin")
        );
        std::fs::write(&path, SITE.replace("folder", "fodler")).unwrap();
        let wrong = settings(&path, &site, now);
        assert!(wrong.mistakes.iter().any(|it| it.key_path == "destination.fodler"), "{:?}", wrong.mistakes);
        let names: Vec<(String, String)> =
            configured(&site).into_iter().map(|it| (it.kind, it.source)).collect();
        assert_eq!(names[0], ("service".into(), "shop.service".into()));
        assert_eq!(names[1], ("files".into(), "/srv/ledger".into()));
    }
}
