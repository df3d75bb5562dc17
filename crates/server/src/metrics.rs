//! Metrics in the text format of Prometheus (exposition format 0.0.4). They are made from the history each time, so they survive
//! a restart, and a run that was killed is a failed one.

use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use jiff::Timestamp;
use stillpoint_alerts::AlertSeverity;
use stillpoint_history::{Run, Task};
use stillpoint_model::Outcome;

use crate::standing::Standing;
use crate::web::{App, Problem};

/// The tasks that have metrics.
const TASKS: [Task; 3] = [Task::Backup, Task::Verify, Task::Retention];

struct Page {
    site: String,
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP stillpoint_{name} {help}\n# TYPE stillpoint_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let _ = write!(self.text, "stillpoint_{name}{{site=\"{}\"", self.site);
        for (label, value) in labels {
            let _ = write!(self.text, ",{label}=\"{}\"", escaped(value));
        }
        let _ = writeln!(self.text, "}} {value}");
    }

    /// One gauge for each task that has a value.
    fn of_tasks(&mut self, name: &str, help: &str, value: impl Fn(Task) -> Option<f64>) {
        self.family(name, "gauge", help);
        for task in TASKS {
            if let Some(value) = value(task) {
                self.sample(name, &[("task", task.as_str())], value);
            }
        }
    }

    fn one(&mut self, name: &str, help: &str, value: Option<f64>) {
        self.family(name, "gauge", help);
        if let Some(value) = value {
            self.sample(name, &[], value);
        }
    }
}

/// A value of a label as the format wants it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

fn took(run: &Run) -> Option<f64> {
    run.ended.map(|ended| ended.duration_since(run.started).as_secs_f64())
}

/// All metrics of a site.
pub fn metrics(standing: &Standing) -> String {
    let facts = &standing.facts;
    let runs = |task| match task {
        Task::Backup => &facts.backup,
        Task::Verify => &facts.verify,
        _ => &facts.retention,
    };
    let under_way = |task| standing.under_way.iter().find(|run| run.task == task);
    let planned = |task| standing.planned.iter().find(|it| it.timed.task == task);
    let last_good = facts.backup.last_good.as_ref();
    let mut page = Page { site: escaped(standing.site.as_str()), text: String::new() };
    page.of_tasks("last_attempt_timestamp_seconds", "When the last run began, however it went.", |task| {
        let last = under_way(task).or(runs(task).last_ended.as_ref());
        last.map(|run| seconds(run.started))
    });
    page.of_tasks(
        "last_success_timestamp_seconds",
        "When the last run began that did what it is for.",
        |task| runs(task).last_good.as_ref().map(|run| seconds(run.started)),
    );
    page.of_tasks(
        "last_status",
        "How the last run ended: 0 complete, 1 incomplete, 2 failed; -1 while one is under way.",
        |task| match under_way(task) {
            Some(_) => Some(-1.0),
            None => runs(task).last_ended.as_ref().and_then(|run| run.outcome).map(status),
        },
    );
    page.of_tasks("run_duration_seconds", "How long the last run took.", |task| {
        runs(task).last_ended.as_ref().and_then(took)
    });
    page.of_tasks(
        "expected_interval_seconds",
        "The longest time between two due times of the schedule.",
        |task| planned(task).and_then(|it| it.interval).map(|interval| interval.as_secs_f64()),
    );
    page.of_tasks("next_run_timestamp_seconds", "When the task begins next.", |task| {
        planned(task).and_then(crate::standing::Planned::next).map(seconds)
    });
    page.one(
        "freeze_duration_seconds",
        "How long the site stood still in the last good backup.",
        last_good.and_then(|run| run.window_us).map(|us| us as f64 / 1e6),
    );
    page.one("set_bytes", "Bytes in the last set.", last_good.map(|run| run.bytes as f64));
    page.one("set_files", "Files in the last set.", last_good.map(|run| run.files as f64));
    let room = last_good.filter(|run| run.size_bytes.is_some());
    page.one(
        "destination_free_bytes",
        "Bytes that were free at the destination after the last good backup.",
        room.and_then(|run| run.free_bytes).map(|bytes| bytes as f64),
    );
    page.one(
        "destination_size_bytes",
        "Bytes that the destination has in all.",
        room.and_then(|run| run.size_bytes).map(|bytes| bytes as f64),
    );
    let retention = facts.expected.change_retention.as_secs_f64();
    page.one(
        "change_retention_seconds",
        "For how long the changes around the site can be made up for.",
        Some(retention),
    );
    rest(&mut page, standing);
    page.text
}

fn rest(page: &mut Page, standing: &Standing) {
    page.family("archive_behind", "gauge", "Whether the archive lacks the newest set.");
    let newest = standing.facts.backup.last_good.as_ref().and_then(|run| run.epoch);
    for archive in &standing.facts.archives {
        let has = archive.newest.map(|(epoch, _)| epoch);
        page.sample("archive_behind", &[("archive", &archive.name)], f64::from(u8::from(has < newest)));
    }
    page.family("runs_total", "counter", "Runs that ended.");
    for (task, outcome, count) in &standing.totals {
        let labels = [("task", task.as_str()), ("outcome", &outcome.to_string())];
        page.sample("runs_total", &labels, *count as f64);
    }
    page.family("alerts_active", "gauge", "Conditions that a person must know of.");
    for (severity, name) in [
        (AlertSeverity::Info, "info"),
        (AlertSeverity::Warning, "warning"),
        (AlertSeverity::Critical, "critical"),
    ] {
        let count = standing.conditions.iter().filter(|condition| condition.severity == severity).count();
        page.sample("alerts_active", &[("severity", name)], count as f64);
    }
}

/// `GET /metrics`.
pub(crate) async fn page(State(app): State<App>) -> Result<impl IntoResponse, Problem> {
    let service = app.service.clone();
    let text = app
        .service
        .with_history(move |history| Standing::of_service(&service, history, Timestamp::now()))
        .await
        .map(|standing| metrics(&standing))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

fn status(outcome: Outcome) -> f64 {
    match outcome {
        Outcome::Complete => 0.0,
        Outcome::Incomplete => 1.0,
        Outcome::Failed => 2.0,
    }
}
