//! What must hold between the tables of a site file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::components::ComponentParts;
use super::mistake::Findings;
use super::parse::{Placed, ProbeParts};
use super::reader::Spans;
use super::{
    AlertSettings, ComponentKind, Deadlines, Destination, HistorySettings, PostgresMethod, PostgresSettings,
    Quiet, ScheduleSettings, Site, SiteType, Task,
};
use crate::Grade;

type Components = [Placed<ComponentParts>];

/// What the components are called, their kinds and their places, as far as they could be read.
fn readable(components: &Components) -> impl Iterator<Item = (&str, &ComponentKind, &Spans)> {
    components.iter().filter_map(|(parts, spans)| Some((parts.called(), parts.kind.as_ref()?, spans)))
}

/// Type and parent of the site fit each other.
pub(super) fn site(site: &Site, spans: &Spans, findings: &mut Findings) {
    match (site.site_type, &site.parent) {
        (SiteType::Secondary, _) => spans.wrong(
            findings,
            "type",
            "a secondary site has no backup of its own: it is rebuilt from its parent",
            "back up the parent site; after a loss install the secondary site anew from there",
        ),
        (SiteType::Central, Some(_)) => spans.wrong(
            findings,
            "parent",
            "a central site has no parent: it is the top of its hierarchy",
            "remove `parent`, or write type = \"primary\"",
        ),
        (_, Some(parent)) if *parent == site.code => spans.wrong(
            findings,
            "parent",
            "the site is its own parent",
            "write the site code of the parent, or remove `parent`",
        ),
        _ => {}
    }
}

/// No name is used twice.
pub(super) fn unique_names(components: &Components, probes: &[Placed<ProbeParts>], findings: &mut Findings) {
    let mut seen = BTreeMap::new();
    for (name, spans) in components.iter().filter_map(|(parts, spans)| Some((parts.name.as_ref()?, spans))) {
        if seen.insert(name.as_str(), ()).is_some() {
            let message = format!("two components have the name {:?}", name.as_str());
            spans.wrong(
                findings,
                "name",
                message,
                "give each its own name: it is the name of its folder in the set",
            );
        }
    }
    let mut seen = BTreeMap::new();
    for (name, spans) in probes.iter().filter_map(|((name, _), spans)| Some((name.as_ref()?, spans))) {
        if seen.insert(name.as_str(), ()).is_some() {
            let message = format!("two probes have the name {name:?}");
            spans.wrong(
                findings,
                "name",
                message,
                "give each its own name, so that people can tell which one failed",
            );
        }
    }
}

/// Nothing is backed up, or brought to rest, twice.
pub(super) fn sources(components: &Components, findings: &mut Findings) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let mut clusters: Vec<(&PostgresSettings, &str)> = Vec::new();
    for (name, kind, spans) in readable(components) {
        let (key, source) = match kind {
            ComponentKind::Files(files) => ("path", format!("file tree {}", files.path.display())),
            ComponentKind::Sqlite(sqlite) => ("path", format!("database {}", sqlite.path.display())),
            ComponentKind::Service(service) => match (&service.unit, &service.cgroup) {
                (Some(unit), _) => ("unit", format!("unit {unit}")),
                (None, Some(cgroup)) => ("cgroup", format!("cgroup {}", cgroup.display())),
                (None, None) => continue,
            },
            ComponentKind::Postgres(postgres) => {
                if let Some((_, other)) = clusters.iter().find(|(other, _)| overlap(postgres, other)) {
                    let key = if spans.has("databases") { "databases" } else { "type" };
                    let message =
                        format!("component {other} already holds what this one holds of the same server");
                    spans.wrong(findings, key, message, "remove one of the two, or name other databases");
                }
                clusters.push((postgres, name));
                continue;
            }
            ComponentKind::Command(_) => continue,
        };
        if let Some(other) = seen.get(&source) {
            let message = format!("the {source} is already in component {other}");
            spans.wrong(findings, key, message, "remove one of the two components, or join them");
        } else {
            seen.insert(source, name);
        }
    }
}

/// Whether two components hold the same databases by the same method.
fn overlap(one: &PostgresSettings, other: &PostgresSettings) -> bool {
    let same_server = one.host == other.host && one.port == other.port && one.method == other.method;
    let all = one.databases.is_empty() || other.databases.is_empty();
    let shared = one.databases.iter().any(|name| other.databases.contains(name));
    same_server && (one.method == PostgresMethod::BaseBackup || all || shared)
}

/// There is one destination, and it is apart from what is backed up. Only the texts are compared: symbolic links and
/// mounts are looked at by the preflight of each run.
pub(super) fn destination(
    (destination, spans): &Placed<Destination>,
    has_archive: bool,
    components: &Components,
    findings: &mut Findings,
) {
    one_destination(spans, has_archive, findings);
    if destination.files.is_some() && destination.files == destination.databases {
        let remedy = "write `folder` with that path instead of the two";
        spans.wrong(findings, "databases", "`files` and `databases` are the same folder", remedy);
    }
    let places = [
        ("folder", &destination.folder),
        ("share", &destination.share),
        ("files", &destination.files),
        ("databases", &destination.databases),
        ("staging", &destination.staging),
    ];
    for (key, place) in places.into_iter().filter_map(|(key, place)| Some((key, place.as_ref()?))) {
        for (name, source) in sources_of(components) {
            apart(key, place, (name, source), spans, findings);
        }
    }
}

fn one_destination(spans: &Spans, has_archive: bool, findings: &mut Findings) {
    let remedy = "write exactly one of: `folder`, `share`, `files` together with `databases`, or `staging`";
    let pair = spans.has("files") || spans.has("databases");
    let options = [spans.has("folder"), spans.has("share"), spans.has("staging"), pair];
    if spans.has("staging") && !has_archive {
        let message = "without a folder the sets go into an archive, and there is none";
        spans.wrong(findings, "staging", message, "add a table [[archive]], or write `folder` instead");
    }
    match options.into_iter().filter(|there| *there).count() {
        0 => spans.wrong(findings, "", "nothing says where the backup set goes", remedy),
        1 => {
            for (key, other) in [("files", "databases"), ("databases", "files")] {
                if spans.has(key) && !spans.has(other) {
                    spans.wrong(
                        findings,
                        key,
                        format!("`{key}` goes with `{other}`, which is missing"),
                        remedy,
                    );
                }
            }
        }
        _ => {
            let last = ["databases", "files", "share", "staging"]
                .into_iter()
                .find(|key| spans.has(key))
                .unwrap_or("share");
            spans.wrong(findings, last, "there is more than one destination", remedy);
        }
    }
}

/// What components are called and the paths that they read, as far as they could be read.
pub(super) fn sources_of(components: &Components) -> impl Iterator<Item = (&str, &PathBuf)> {
    readable(components).filter_map(|(name, kind, _)| Some((name, source(kind)?)))
}

/// The path that a component reads, if it is a path.
fn source(kind: &ComponentKind) -> Option<&PathBuf> {
    match kind {
        ComponentKind::Files(files) => Some(&files.path),
        ComponentKind::Sqlite(sqlite) => Some(&sqlite.path),
        ComponentKind::Postgres(postgres) => postgres.data.as_ref(),
        ComponentKind::Service(_) | ComponentKind::Command(_) => None,
    }
}

fn apart(key: &str, place: &Path, (name, source): (&str, &Path), spans: &Spans, findings: &mut Findings) {
    if place.starts_with(source) {
        let message = format!(
            "the destination lies in {}, which component {name} backs up: a set would hold itself",
            source.display()
        );
        spans.wrong(findings, key, message, "choose a destination outside of the site, best on another disk");
    } else if source.starts_with(place) {
        let message =
            format!("{}, which component {name} backs up, lies in the destination", source.display());
        spans.wrong(findings, key, message, "choose a destination that holds nothing of the site");
    }
}

/// The waits fit into each other.
pub(super) fn deadlines(
    (deadlines, spans): &Placed<Deadlines>,
    components: &Components,
    findings: &mut Findings,
) {
    let window = deadlines.window;
    for (key, wait) in
        [("freeze", deadlines.freeze), ("snapshot", deadlines.snapshot), ("thaw", deadlines.thaw)]
    {
        if wait > window && spans.is_certain(key) && spans.is_certain("window") {
            let key_at_fault = if spans.has(key) { key } else { "window" };
            let message =
                format!("`{key}` ({wait}) is longer than `window` ({window}), which it is a part of");
            let remedy = format!("write window = \"{wait}\" or longer, or a shorter `{key}`");
            spans.wrong(findings, key_at_fault, message, remedy);
        }
    }
    for (_, kind, component_spans) in readable(components) {
        let ComponentKind::Command(command) = kind else { continue };
        let certain = spans.is_certain("window") && component_spans.is_certain("timeout");
        if certain && command.in_freeze && component_spans.has("timeout") && command.timeout > window {
            let message = format!(
                "the command runs in the freeze, and its `timeout` ({}) is longer than the `window` ({window}) of [deadlines]",
                command.timeout
            );
            component_spans.wrong(
                findings,
                "timeout",
                message,
                "write a shorter `timeout`, or in_freeze = false",
            );
        }
    }
}

/// What the rules of alerts look at is kept long enough.
pub(super) fn history(
    (history, spans): &Placed<HistorySettings>,
    (alerts, alert_spans): &Placed<AlertSettings>,
    schedule: Option<&Placed<Option<ScheduleSettings>>>,
    findings: &mut Findings,
) {
    let retention = schedule
        .filter(|(_, spans)| spans.is_certain("change_retention"))
        .and_then(|(schedule, _)| Some(schedule.as_ref()?.change_retention));
    let verify = Some(alerts.verify_within).filter(|_| alert_spans.is_certain("verify_within"));
    let success = alerts.no_success_for;
    for (key, wait) in
        [("change_retention", retention), ("verify_within", verify), ("no_success_for", success)]
    {
        if let Some(wait) = wait.filter(|wait| *wait > history.keep)
            && spans.is_certain("keep")
        {
            let of_key =
                schedule.map(|(_, spans)| spans).filter(|_| key == "change_retention").unwrap_or(alert_spans);
            let at_fault = if spans.has("keep") { (spans, "keep") } else { (of_key, key) };
            let message = format!("what happened is kept for {} and `{key}` looks back {wait}", history.keep);
            at_fault.0.wrong(
                findings,
                at_fault.1,
                message,
                format!("write keep = \"{wait}\" or longer in [history]"),
            );
        }
    }
}

/// The minimum grade can be reached at all: a service that is only held leaves its files as a power cut would.
pub(super) fn reachable_grade(
    (task, spans): &Placed<Task>,
    components: &Components,
    findings: &mut Findings,
) {
    if task.minimum_grade != Grade::Frozen {
        return;
    }
    let held = readable(components).find(
        |(_, kind, _)| matches!(kind, ComponentKind::Service(service) if service.quiet == Quiet::Freeze),
    );
    let tree = readable(components).any(|(_, kind, _)| matches!(kind, ComponentKind::Files(_)));
    if let (Some((name, ..)), true) = (held, tree) {
        let message = format!(
            "the grade \"frozen\" cannot be reached: service {name} is only held (quiet = \"freeze\"), so file trees are as \
             a power cut would leave them"
        );
        let remedy = "quiet the service with \"stop\" or \"command\", or write minimum_grade = \"crash\"";
        spans.wrong(findings, "minimum_grade", message, remedy);
    }
}
