//! The table `[schedule]`: when the tasks run by themselves; and `[history]`: how long is kept what they did.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stillpoint_schedule::{
    Calendar, ClockTime, Cron, Day, Expression, Missed, Schedule, Window, WrongSchedule, Zone,
};
use toml::Spanned;
use toml::de::DeValue;

use super::Wait;
use super::archives::ArchiveParts;
use super::choice::{Choice, Choices};
use super::leaf::{Leaf, Wrong, number, text_leaf, wrong};
use super::mistake::Findings;
use super::parse::Placed;
use super::reader::{Spans, TableReader};

/// When the backup task runs by itself: exactly one of `window`, `cron` or `calendar`. Without this table nothing does. A time that
/// does not exist on the day on which clocks go forward is the first instant after the gap; of one that exists twice, the first
/// counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSettings {
    /// The time zone, by its IANA name, such as `Europe/Berlin` or `UTC`.
    pub zone: Zone,
    /// A window of the day in which the task begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// A cron expression: minute, hour, day of the month, month, day of the week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<Cron>,
    /// A systemd calendar expression, as for `OnCalendar=`, without a time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<Expression>,
    /// What happens to a time at which the task could not begin, because the machine was off or the service did not run.
    #[serde(default)]
    pub missed: Missed,
    /// How often a backup that failed by an error that may pass is tried again.
    #[serde(default = "default_retries")]
    #[schemars(range(max = 100))]
    pub retries: u32,
    /// How long after a failure it is tried again.
    #[serde(default = "default_retry_after")]
    pub retry_after: Wait,
    /// How long the site can do without a newer backup: databases that keep what changed for others keep it so long. A backup that is
    /// older is an alert.
    #[serde(default = "default_change_retention")]
    pub change_retention: Wait,
    /// What happens to a run when the service is stopped.
    #[serde(default)]
    pub on_stop: OnStop,
    /// When `stillpoint verify` and `stillpoint archive verify` run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<SideSchedule>,
    /// When old versions are retired in the archives, and what only they needed is pruned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<SideSchedule>,
}

/// When a task beside the backup runs: exactly one of `cron` or `calendar`, in the zone of `[schedule]`, with its `missed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SideSchedule {
    /// A cron expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<Cron>,
    /// A systemd calendar expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<Expression>,
}

/// What happens to a run when the service is stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnStop {
    /// It is cancelled: everything is thawed, and the last good set stays.
    #[default]
    Cancel,
    /// It goes on to its end, and the service waits for it.
    Finish,
}

/// How long is kept what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HistorySettings {
    /// How long runs and their messages are kept.
    pub keep: Wait,
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self { keep: Wait::days(400) }
    }
}

fn default_retries() -> u32 {
    3
}

fn default_retry_after() -> Wait {
    Wait::seconds(600)
}

fn default_change_retention() -> Wait {
    Wait::days(5)
}

impl ScheduleSettings {
    /// When the backup task is due. Nothing when no form is there, which no site file that was parsed has.
    pub fn backup(&self) -> Option<Schedule> {
        let window = self.window.clone().map(Calendar::Window);
        let calendar = window.or_else(|| one_of(&self.cron, &self.calendar));
        self.schedule(calendar)
    }

    /// When the stored data is verified, if by itself.
    pub fn verify(&self) -> Option<Schedule> {
        self.side(self.verify.as_ref())
    }

    /// When old versions are let go, if by itself.
    pub fn retention(&self) -> Option<Schedule> {
        self.side(self.retention.as_ref())
    }

    fn side(&self, side: Option<&SideSchedule>) -> Option<Schedule> {
        self.schedule(side.and_then(|side| one_of(&side.cron, &side.calendar)))
    }

    fn schedule(&self, calendar: Option<Calendar>) -> Option<Schedule> {
        Some(Schedule { calendar: calendar?, zone: self.zone.clone(), missed: self.missed })
    }
}

fn one_of(cron: &Option<Cron>, expression: &Option<Expression>) -> Option<Calendar> {
    cron.clone().map(Calendar::Cron).or_else(|| expression.clone().map(Calendar::Expression))
}

fn told(error: WrongSchedule) -> Wrong {
    wrong(error.message, error.remedy)
}

text_leaf!(Zone, "a text", "\"Europe/Berlin\"", |text: &str| text.parse().map_err(told));
text_leaf!(Cron, "a text", "\"30 2 * * *\"", |text: &str| text.parse().map_err(told));
text_leaf!(Expression, "a text", "\"*-*-* 02:30\"", |text: &str| text.parse().map_err(told));
text_leaf!(ClockTime, "a time of day in quotes", "\"02:00\"", |text: &str| text.parse().map_err(told));

/// How often something is tried again.
struct Retries(u32);

impl Leaf for Retries {
    const WANTED: &'static str = "a whole number";
    const EXAMPLE: &'static str = "3";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        number(value, 0, 100).map(|number| Self(number as u32))
    }
}

/// Reads `[schedule]`.
pub(super) fn read_schedule(
    mut table: TableReader<'_>,
    findings: &mut Findings,
) -> Placed<Option<ScheduleSettings>> {
    let zone = table.required("zone", findings);
    let window = read_window(&mut table, findings);
    let cron = table.optional("cron", findings);
    let calendar = table.optional("calendar", findings);
    let missed = table.optional("missed", findings).map_or_else(Missed::default, |Choice(missed)| missed);
    let retries =
        table.optional("retries", findings).map_or_else(default_retries, |Retries(retries)| retries);
    let retry_after = table.optional("retry_after", findings);
    let change_retention =
        table.optional("change_retention", findings).unwrap_or_else(default_change_retention);
    let on_stop = table.optional("on_stop", findings).map_or_else(OnStop::default, |Choice(on_stop)| on_stop);
    let verify = read_side(&mut table, "verify", findings);
    let retention = read_side(&mut table, "retention", findings);
    let spans = table.finish(findings);
    one_form(&spans, &["window", "cron", "calendar"], findings);
    // The default shows among the settings in effect.
    if retries == 0 && retry_after.is_some_and(|wait| wait != default_retry_after()) {
        spans.wrong(
            findings,
            "retry_after",
            "`retry_after` has no effect with retries = 0",
            "remove one of the two",
        );
    }
    let settings = (|| {
        Some(ScheduleSettings {
            zone: zone?,
            window,
            cron,
            calendar,
            missed,
            retries,
            retry_after: retry_after.unwrap_or_else(default_retry_after),
            change_retention,
            on_stop,
            verify,
            retention,
        })
    })();
    (settings, spans)
}

fn read_window(table: &mut TableReader<'_>, findings: &mut Findings) -> Option<Window> {
    let remedy = "write for example window = { begin = \"02:00\", latest = \"05:00\" }";
    let mut window = table.inner("window", "`window` of [schedule]".to_owned(), None, remedy, findings)?;
    let days = window.optional("days", findings).map(|Choices(days)| days);
    let begin = window.required("begin", findings);
    let latest = window.required("latest", findings);
    let spans = window.finish(findings);
    let days = if spans.is_certain("days") { days.unwrap_or_else(Day::all) } else { Day::all() };
    let key = if days.is_empty() { "days" } else { "latest" };
    Window::new(days, begin?, latest?)
        .map_err(|error| spans.wrong(findings, key, format!("the window {}", error.message), error.remedy))
        .ok()
}

fn read_side(
    table: &mut TableReader<'_>,
    key: &'static str,
    findings: &mut Findings,
) -> Option<SideSchedule> {
    let remedy = format!("write [schedule.{key}] on a line of its own, and `cron` or `calendar` below it");
    let mut side = table.inner(key, format!("[schedule.{key}]"), None, &remedy, findings)?;
    let schedule =
        SideSchedule { cron: side.optional("cron", findings), calendar: side.optional("calendar", findings) };
    one_form(&side.finish(findings), &["cron", "calendar"], findings);
    Some(schedule)
}

/// Exactly one of the forms in which a time can be given is there.
fn one_form(spans: &Spans, forms: &[&str], findings: &mut Findings) {
    let quoted: Vec<String> = forms.iter().map(|form| format!("`{form}`")).collect();
    let remedy = format!("write exactly one of {}", quoted.join(", "));
    let there: Vec<&&str> = forms.iter().filter(|form| spans.has(form)).collect();
    match there.as_slice() {
        [_] => {}
        [] => spans.wrong(findings, "", format!("nothing says when: {} has no time", spans.title()), remedy),
        [first, .., last] => {
            spans.wrong(findings, last, format!("`{first}` and `{last}` both say when"), remedy);
        }
    }
}

/// A retention that would find nothing to do is a mistake.
pub(super) fn check_retention(spans: &Spans, archives: &[Placed<ArchiveParts>], findings: &mut Findings) {
    if spans.has("retention") && archives.iter().all(|(archive, _)| archive.is_append_only()) {
        let message = "[schedule.retention] has no effect: there is no archive of which this machine may remove something";
        spans.wrong(
            findings,
            "retention",
            message,
            "remove it, or add an archive without append_only = true",
        );
    }
}

/// Reads `[history]`.
pub(super) fn read_history(mut table: TableReader<'_>, findings: &mut Findings) -> Placed<HistorySettings> {
    let history =
        HistorySettings { keep: table.optional("keep", findings).unwrap_or(HistorySettings::default().keep) };
    (history, table.finish(findings))
}
