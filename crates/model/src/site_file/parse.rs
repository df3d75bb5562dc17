//! From text to a [`SiteFile`], or to all its mistakes.
//!
//! Nothing is taken from a file with any mistake in it: what a half-read file leaves out would silently not be backed up.

use toml::de::{DeTable, Error};

use super::archives::{ArchiveParts, check_archives, read_archive};
use super::checks;
use super::components::{ComponentParts, read_component};
use super::leaf::{Choice, Command, FilePath, Folder, Label, Percent};
use super::mistake::{Findings, Mistake};
use super::reader::{Spans, TableReader};
use super::{Deadlines, Destination, Hook, Probe, Site, SiteFile, SiteType, Task, Wait};

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

fn read_file(document: &DeTable<'_>, whole: bool, findings: &mut Findings) -> Option<SiteFile> {
    let mut root = TableReader::root(document);
    let site = root.table("site", true, findings).map(|table| read_site(table, findings));
    let destination =
        root.table("destination", true, findings).map(|table| read_destination(table, findings));
    let task = root.table("task", false, findings).map(|table| read_task(table, findings));
    let deadlines = root.table("deadlines", false, findings).map(|table| read_deadlines(table, findings));
    let hook = root.table("hook", false, findings).map(|table| read_hook(table, findings));
    let components: Vec<Placed<ComponentParts>> = root
        .tables("component", true, findings)
        .into_iter()
        .map(|table| read_component(table, findings))
        .collect();
    let archives: Vec<Placed<ArchiveParts>> = root
        .tables("archive", false, findings)
        .into_iter()
        .map(|table| read_archive(table, findings))
        .collect();
    let probes: Vec<Placed<ProbeParts>> =
        root.tables("probe", false, findings).into_iter().map(|table| read_probe(table, findings)).collect();
    root.finish(findings);

    checks::unique_names(&components, &probes, findings);
    checks::sources(&components, findings);
    if let Some(destination) = &destination {
        checks::destination(destination, !archives.is_empty(), &components, findings);
    }
    check_archives(
        &archives,
        destination.as_ref().map(|(destination, _)| destination),
        &components,
        findings,
    );
    let deadlines = deadlines.unwrap_or_default();
    let task = task.unwrap_or_default();
    if whole {
        checks::deadlines(&deadlines, &components, findings);
        checks::reachable_grade(&task, &components, findings);
    }

    Some(SiteFile {
        site: site??,
        destination: destination?.0,
        task: task.0,
        deadlines: deadlines.0,
        hook: hook.unwrap_or_default(),
        components: components.into_iter().map(|(parts, _)| parts.whole()).collect::<Option<_>>()?,
        archives: archives.into_iter().map(|(parts, _)| parts.whole()).collect::<Option<_>>()?,
        probes: probes.into_iter().map(|((_, probe), _)| probe).collect::<Option<_>>()?,
    })
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
