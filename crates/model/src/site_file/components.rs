//! Reading the tables `[[component]]`: each type has its own keys.

use serde::Deserialize;

use super::choice::Choice;
use super::leaf::{Command, FileName, FilePath, Folder, Host, Label, Labels, Patterns, Port, Unit};
use super::mistake::Findings;
use super::parse::Placed;
use super::reader::{Spans, TableReader};
use super::settings::{default_host, default_output, default_port, default_timeout, default_user};
use super::{
    CommandSettings, Component, ComponentKind, FilesSettings, PostgresMethod, PostgresSettings, Quiet,
    ServiceSettings, SqliteSettings,
};
use crate::{ComponentName, Level};

/// The words of the key `type`. A test compares them with [`ComponentKind`].
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ComponentType {
    Service,
    Files,
    Postgres,
    Sqlite,
    Command,
}

/// What could be read of a component: also of one with a mistake, so that what it has in common with others is seen.
pub(super) struct ComponentParts {
    pub name: Option<ComponentName>,
    level: Option<Level>,
    /// Nothing when a key that the type needs is missing or wrong.
    pub kind: Option<ComponentKind>,
}

impl ComponentParts {
    /// What it is called in messages.
    pub fn called(&self) -> &str {
        self.name.as_ref().map_or("without a name", ComponentName::as_str)
    }

    /// The whole component, if nothing of it is missing.
    pub fn whole(self) -> Option<Component> {
        Some(Component { name: self.name?, level: self.level, kind: self.kind? })
    }
}

/// Reads one component.
pub(super) fn read_component(mut table: TableReader<'_>, findings: &mut Findings) -> Placed<ComponentParts> {
    let name: Option<ComponentName> = table.required("name", findings);
    let level: Option<Level> = table.optional("level", findings).map(|Choice(level)| level);
    let Some(Choice(kind)) = table.required::<Choice<ComponentType>>("type", findings) else {
        return (ComponentParts { name, level, kind: None }, table.finish_untyped(findings));
    };
    let called = name.as_ref().map_or("a component".to_owned(), |name| format!("component {name}"));
    table.rename(format!("{called} of type {}", format!("{kind:?}").to_lowercase()));
    let kind = match kind {
        ComponentType::Service => read_service(&mut table, findings).map(ComponentKind::Service),
        ComponentType::Files => read_files(&mut table, findings).map(ComponentKind::Files),
        ComponentType::Postgres => read_postgres(&mut table, findings).map(ComponentKind::Postgres),
        ComponentType::Sqlite => read_sqlite(&mut table, findings).map(ComponentKind::Sqlite),
        ComponentType::Command => read_command(&mut table, findings).map(ComponentKind::Command),
    };
    let spans = table.finish(findings);
    match &kind {
        Some(ComponentKind::Service(service)) => check_service(service, &spans, findings),
        Some(ComponentKind::Postgres(postgres)) => check_postgres(postgres, &spans, findings),
        Some(ComponentKind::Files(files)) => check_files(files, &spans, findings),
        _ => {}
    }
    (ComponentParts { name, level, kind }, spans)
}

fn read_service(table: &mut TableReader<'_>, findings: &mut Findings) -> Option<ServiceSettings> {
    let quiet = table.required("quiet", findings).map(|Choice(quiet)| quiet);
    let unit = table.optional("unit", findings).map(|Unit(unit)| unit);
    let cgroup = table.optional("cgroup", findings).map(|Folder(path)| path);
    let mut command = |key| table.optional(key, findings).map(|Command(run)| run);
    let freeze_command = command("freeze_command");
    let thaw_command = command("thaw_command");
    let running_command = command("running_command");
    Some(ServiceSettings { quiet: quiet?, unit, cgroup, freeze_command, thaw_command, running_command })
}

fn read_files(table: &mut TableReader<'_>, findings: &mut Findings) -> Option<FilesSettings> {
    let path = table.required("path", findings).map(|Folder(path)| path);
    let include = table.optional("include", findings).map(|Patterns(patterns)| patterns).unwrap_or_default();
    let exclude = table.optional("exclude", findings).map(|Patterns(patterns)| patterns).unwrap_or_default();
    let provider = table.optional("provider", findings).map(|Choice(provider)| provider);
    Some(FilesSettings { path: path?, include, exclude, provider })
}

fn read_postgres(table: &mut TableReader<'_>, findings: &mut Findings) -> Option<PostgresSettings> {
    Some(PostgresSettings {
        method: table.optional("method", findings).map(|Choice(method)| method).unwrap_or_default(),
        host: table.optional("host", findings).map_or_else(default_host, |Host(host)| host),
        port: table.optional("port", findings).map_or_else(default_port, |Port(port)| port),
        user: table.optional("user", findings).map_or_else(default_user, |Label(user)| user),
        password_file: table.optional("password_file", findings).map(|FilePath(path)| path),
        databases: table.optional("databases", findings).map(|Labels(names)| names).unwrap_or_default(),
        bin: table.optional("bin", findings).map(|Folder(path)| path),
        data: table.optional("data", findings).map(|Folder(path)| path),
    })
}

fn read_sqlite(table: &mut TableReader<'_>, findings: &mut Findings) -> Option<SqliteSettings> {
    let path = table.required("path", findings).map(|FilePath(path)| path);
    Some(SqliteSettings { path: path? })
}

fn read_command(table: &mut TableReader<'_>, findings: &mut Findings) -> Option<CommandSettings> {
    let run = table.required("run", findings).map(|Command(run)| run);
    let output = table.optional("output", findings).map_or_else(default_output, |FileName(name)| name);
    let timeout = table.optional("timeout", findings).unwrap_or_else(default_timeout);
    let in_freeze = table.optional("in_freeze", findings).unwrap_or_default();
    Some(CommandSettings { run: run?, output, timeout, in_freeze })
}

/// Each way to quiet a service has its own keys. A key that would have no effect is a mistake: whoever wrote it counts
/// on it.
fn check_service(service: &ServiceSettings, spans: &Spans, findings: &mut Findings) {
    let by_command = spans.has("freeze_command") || spans.has("thaw_command");
    match service.quiet {
        Quiet::Freeze => {
            let remedy = "for quiet = \"freeze\" write `unit`, or `cgroup` for a service without systemd, and not both";
            exactly_one(["unit", "cgroup"], spans, findings, remedy);
            for key in ["freeze_command", "thaw_command", "running_command"] {
                no_effect(key, "freeze", "remove it, or write quiet = \"command\"", spans, findings);
            }
        }
        Quiet::Stop => {
            no_effect("cgroup", "stop", "remove it, or write quiet = \"freeze\"", spans, findings);
            if spans.has("unit") {
                no_effect(
                    "running_command",
                    "stop",
                    "remove it: systemd tells whether the unit runs",
                    spans,
                    findings,
                );
            }
            if by_command && spans.has("unit") {
                let remedy = "write `unit`, or `freeze_command` with `thaw_command`, and not both";
                spans.wrong(
                    findings,
                    "unit",
                    "`unit` and commands are two ways to stop the same service",
                    remedy,
                );
            } else if by_command {
                both_commands("stop", spans, findings);
            } else if !spans.has("unit") {
                let remedy = "for quiet = \"stop\" write `unit`, or `freeze_command` with `thaw_command`";
                let message = format!("nothing says how {} is stopped", spans.title());
                spans.wrong(findings, "", message, remedy);
            }
        }
        Quiet::Command => {
            no_effect("cgroup", "command", "remove it, or write quiet = \"freeze\"", spans, findings);
            both_commands("command", spans, findings);
        }
    }
}

fn exactly_one(keys: [&str; 2], spans: &Spans, findings: &mut Findings, remedy: &str) {
    match keys.map(|key| spans.has(key)) {
        [true, true] => {
            spans.wrong(findings, keys[1], format!("`{}` and `{}` are both there", keys[0], keys[1]), remedy);
        }
        [false, false] => {
            let message = format!("neither `{}` nor `{}` is there in {}", keys[0], keys[1], spans.title());
            spans.wrong(findings, "", message, remedy);
        }
        _ => {}
    }
}

fn no_effect(key: &str, quiet: &str, remedy: &str, spans: &Spans, findings: &mut Findings) {
    if spans.has(key) {
        spans.wrong(findings, key, format!("`{key}` has no effect with quiet = {quiet:?}"), remedy);
    }
}

fn both_commands(quiet: &str, spans: &Spans, findings: &mut Findings) {
    for key in ["freeze_command", "thaw_command"] {
        if !spans.has(key) {
            let message = format!("`{key}` is missing in {}, and quiet = {quiet:?} needs it", spans.title());
            spans.wrong(
                findings,
                "",
                message,
                format!("write {key} = [\"/absolute/program\", \"argument\"]"),
            );
        }
    }
}

fn check_postgres(postgres: &PostgresSettings, spans: &Spans, findings: &mut Findings) {
    if postgres.method == PostgresMethod::BaseBackup && spans.has("databases") {
        let message = "`databases` has no effect with method = \"base-backup\": it holds the whole cluster";
        spans.wrong(findings, "databases", message, "remove it, or write method = \"view\"");
    }
    for (number, name) in postgres.databases.iter().enumerate() {
        if postgres.databases[..number].contains(name) {
            let key = format!("databases[{number}]");
            spans.wrong(findings, &key, format!("the database {name:?} is named twice"), "name it once");
        }
    }
}

/// A pattern that is written as an absolute path under `path` would never match.
fn check_files(files: &FilesSettings, spans: &Spans, findings: &mut Findings) {
    for (key, patterns) in [("include", &files.include), ("exclude", &files.exclude)] {
        for (number, pattern) in patterns.iter().enumerate() {
            let Ok(inside) = std::path::Path::new(pattern).strip_prefix(&files.path) else { continue };
            let message =
                format!("patterns are relative to `path`, and this is an absolute path: {pattern:?}");
            let remedy = format!("write {:?}", format!("/{}", inside.display()));
            spans.wrong(findings, &format!("{key}[{number}]"), message, remedy);
        }
    }
}
