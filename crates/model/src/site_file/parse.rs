//! From text to a [`SiteFile`], or to all its mistakes.
//!
//! Nothing is taken from a file with any mistake in it: what a half-read file leaves out would silently not be backed up.

use toml::de::{DeTable, Error};

use super::alerts::read_alerts;
use super::archives::{ArchiveParts, check_archives, read_archive};
use super::channels::{ChannelParts, check_channels, read_channel};
use super::checks;
use super::choice::Choice;
use super::components::{ComponentParts, read_component};
use super::console::read_console;
use super::leaf::{Command, FilePath, Folder, Label, Percent};

use super::mistake::{Findings, Mistake};
use super::reader::{Spans, TableReader};
use super::schedule::{check_retention, read_history, read_schedule};
use super::{
    AlertSettings, ConsoleSettings, Deadlines, Destination, HistorySettings, Hook, Probe, ScheduleSettings,
    Site, SiteFile, SiteType, Task, Wait,
};

/// A table that was read, and where it stands.
pub(super) type Placed<T> = (T, Spans);

/// The name and the whole of a probe, each as far as it could be read.
pub(super) type ProbeParts = (Option<String>, Option<Probe>);

/// Reads a site file. The text is taken as it is: no variables, no tokens, no other files. The error is the list of all
/// mistakes, in the order of the text, and never empty.
pub fn parse(text: &str) -> Result<SiteFile, Vec<Mistake>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut findings = Findings::default();
    note_syntax(text, &errors, &mut findings);
    if !findings.is_empty() {
        note_around(text, &errors, &mut findings);
        return Err(findings.into_mistakes(text));
    }
    let file = read_file(document.get_ref(), true, &mut findings);
    match file {
        Some(file) if findings.is_empty() => Ok(file),
        _ => {
            if findings.is_empty() {
                findings.add(
                    0..0,
                    "",
                    "this is not a site file",
                    "`stillpoint init` writes a commented sample",
                );
            }
            Err(findings.into_mistakes(text))
        }
    }
}

/// Notes one mistake for each line: after a first error the parser often stumbles again on the same line.
fn note_syntax(text: &str, errors: &[Error], findings: &mut Findings) {
    let mut lines = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let line = text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count();
        if lines.contains(&line) {
            continue;
        }
        lines.push(line);
        let what = error.message().trim().replace('\n', "; ");
        let remedy = if what.contains("duplicate key") {
            "remove one of the two"
        } else {
            "mend this line; docs/site-file.md shows how each key is written"
        };
        findings.add(span, "", format!("wrong syntax: {what}"), remedy);
    }
}

/// Notes the mistakes in the tables that have no wrong syntax. The others are blanked out: of these, of what is missing
/// from the whole, and of what depends on defaults, nothing can be said for certain.
fn note_around(text: &str, errors: &[Error], findings: &mut Findings) {
    let mut starts = vec![0];
    starts.extend(text.match_indices("\n[").map(|(place, _)| place + 1));
    let mut rest = text.as_bytes().to_vec();
    let mut blanked = Vec::new();
    for error in errors {
        let place = error.span().map_or(0, |span| span.start).min(text.len());
        let table = starts.partition_point(|start| *start <= place) - 1;
        let (begin, header_end) = (starts[table], text[starts[table]..].find('\n').unwrap_or(text.len()));
        let header_end = (begin + header_end).min(text.len());
        // Behind a wrong header it is not known where anything belongs.
        let broken_header = place <= header_end;
        let end =
            if broken_header { text.len() } else { starts.get(table + 1).copied().unwrap_or(text.len()) };
        let from = if broken_header { begin } else { header_end };
        rest[from..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        blanked.push(begin..end);
    }
    let Ok(rest) = String::from_utf8(rest) else { return };
    let (document, errors) = DeTable::parse_recoverable(&rest);
    if !errors.is_empty() {
        return;
    }
    let mut around = Findings::default();
    read_file(document.get_ref(), false, &mut around);
    around.retain(|span| *span != (0..0) && !blanked.iter().any(|table| table.contains(&span.start)));
    findings.append(around);
}

/// The tables of a site file, each as far as it could be read.
struct Tables {
    site: Option<Option<Site>>,
    destination: Option<Placed<Destination>>,
    task: Placed<Task>,
    deadlines: Placed<Deadlines>,
    hook: Hook,
    components: Vec<Placed<ComponentParts>>,
    archives: Vec<Placed<ArchiveParts>>,
    probes: Vec<Placed<ProbeParts>>,
    schedule: Option<Placed<Option<ScheduleSettings>>>,
    history: Placed<HistorySettings>,
    alerts: Placed<AlertSettings>,
    channels: Vec<Placed<ChannelParts>>,
    console: Placed<ConsoleSettings>,
}

fn read_file(document: &DeTable<'_>, whole: bool, findings: &mut Findings) -> Option<SiteFile> {
    let tables = read_tables(document, findings);
    check_tables(&tables, whole, findings);
    Some(SiteFile {
        site: tables.site??,
        destination: tables.destination?.0,
        task: tables.task.0,
        deadlines: tables.deadlines.0,
        hook: tables.hook,
        components: tables.components.into_iter().map(|(parts, _)| parts.whole()).collect::<Option<_>>()?,
        archives: tables.archives.into_iter().map(|(parts, _)| parts.whole()).collect::<Option<_>>()?,
        probes: tables.probes.into_iter().map(|((_, probe), _)| probe).collect::<Option<_>>()?,
        schedule: match tables.schedule {
            Some((schedule, _)) => Some(schedule?),
            None => None,
        },
        history: tables.history.0,
        alerts: tables.alerts.0,
        channels: tables.channels.into_iter().map(|((_, channel), _)| channel).collect::<Option<_>>()?,
        console: tables.console.0,
    })
}

fn read_tables(document: &DeTable<'_>, findings: &mut Findings) -> Tables {
    let mut root = TableReader::root(document);
    let tables = Tables {
        site: root.table("site", true, findings).map(|table| read_site(table, findings)),
        destination: root.table("destination", true, findings).map(|table| read_destination(table, findings)),
        task: one(&mut root, "task", read_task, findings),
        deadlines: one(&mut root, "deadlines", read_deadlines, findings),
        hook: root.table("hook", false, findings).map(|table| read_hook(table, findings)).unwrap_or_default(),
        components: list(&mut root, "component", true, read_component, findings),
        archives: list(&mut root, "archive", false, read_archive, findings),
        probes: list(&mut root, "probe", false, read_probe, findings),
        schedule: root.table("schedule", false, findings).map(|table| read_schedule(table, findings)),
        history: one(&mut root, "history", read_history, findings),
        alerts: one(&mut root, "alerts", read_alerts, findings),
        channels: list(&mut root, "channel", false, read_channel, findings),
        console: one(&mut root, "console", read_console, findings),
    };
    root.finish(findings);
    tables
}

/// The table `key`, or its defaults.
fn one<T: Default>(
    root: &mut TableReader<'_>,
    key: &'static str,
    read: impl Fn(TableReader<'_>, &mut Findings) -> Placed<T>,
    findings: &mut Findings,
) -> Placed<T> {
    root.table(key, false, findings).map(|table| read(table, findings)).unwrap_or_default()
}

/// The tables of the list `key`.
fn list<T>(
    root: &mut TableReader<'_>,
    key: &'static str,
    needed: bool,
    read: impl Fn(TableReader<'_>, &mut Findings) -> Placed<T>,
    findings: &mut Findings,
) -> Vec<Placed<T>> {
    root.tables(key, needed, findings).into_iter().map(|table| read(table, findings)).collect()
}

/// What must hold between the tables; some of it only when none of them was left out.
fn check_tables(tables: &Tables, whole: bool, findings: &mut Findings) {
    let Tables { components, archives, .. } = tables;
    checks::unique_names(components, &tables.probes, findings);
    checks::sources(components, findings);
    if let Some(destination) = &tables.destination {
        checks::destination(destination, !archives.is_empty(), components, findings);
    }
    let destination = tables.destination.as_ref().map(|(destination, _)| destination);
    check_archives(archives, destination, components, findings);
    check_channels(&tables.channels, findings);
    if whole {
        checks::deadlines(&tables.deadlines, components, findings);
        checks::reachable_grade(&tables.task, components, findings);
        checks::history(&tables.history, &tables.alerts, tables.schedule.as_ref(), findings);
        if let Some((_, spans)) = &tables.schedule {
            check_retention(spans, archives, findings);
        }
    }
}

fn read_site(mut table: TableReader<'_>, findings: &mut Findings) -> Option<Site> {
    let code = table.required("code", findings);
    let name = table.required("name", findings).map(|Label(name)| name);
    let site_type = table.optional("type", findings).map_or(SiteType::Primary, |Choice(site_type)| site_type);
    let parent = table.optional("parent", findings);
    let spans = table.finish(findings);
    let site = Site { code: code?, name: name?, site_type, parent };
    checks::site(&site, &spans, findings);
    Some(site)
}

fn read_destination(mut table: TableReader<'_>, findings: &mut Findings) -> Placed<Destination> {
    let mut folder = |key| table.optional(key, findings).map(|Folder(path)| path);
    let destination = Destination {
        folder: folder("folder"),
        share: folder("share"),
        files: folder("files"),
        databases: folder("databases"),
        staging: folder("staging"),
    };
    (destination, table.finish(findings))
}

fn read_task(mut table: TableReader<'_>, findings: &mut Findings) -> Placed<Task> {
    let default = Task::default();
    let task = Task {
        minimum_grade: table
            .optional("minimum_grade", findings)
            .map_or(default.minimum_grade, |Choice(grade)| grade),
        keep_free_percent: table
            .optional("keep_free_percent", findings)
            .map_or(default.keep_free_percent, |Percent(percent)| percent),
    };
    (task, table.finish(findings))
}

fn read_deadlines(mut table: TableReader<'_>, findings: &mut Findings) -> Placed<Deadlines> {
    let default = Deadlines::default();
    let mut wait = |key, default: Wait| table.optional(key, findings).unwrap_or(default);
    let deadlines = Deadlines {
        identify: wait("identify", default.identify),
        prepare: wait("prepare", default.prepare),
        freeze: wait("freeze", default.freeze),
        snapshot: wait("snapshot", default.snapshot),
        thaw: wait("thaw", default.thaw),
        window: wait("window", default.window),
        capture: wait("capture", default.capture),
    };
    (deadlines, table.finish(findings))
}

fn read_hook(mut table: TableReader<'_>, findings: &mut Findings) -> Hook {
    let hook = Hook {
        program: table.optional("program", findings).map(|FilePath(path)| path),
        timeout: table.optional("timeout", findings).unwrap_or(Hook::default().timeout),
    };
    table.finish(findings);
    hook
}

fn read_probe(mut table: TableReader<'_>, findings: &mut Findings) -> Placed<ProbeParts> {
    let name = table.required("name", findings).map(|Label(name)| name);
    let run = table.required("run", findings).map(|Command(run)| run);
    let timeout = table.optional("timeout", findings).unwrap_or_else(super::settings::default_probe_timeout);
    let spans = table.finish(findings);
    let probe = name.clone().zip(run).map(|(name, run)| Probe { name, run, timeout });
    ((name, probe), spans)
}
