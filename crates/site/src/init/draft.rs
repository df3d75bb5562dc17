//! The text of a drafted site file.
//!
//! Names and paths that were found are not under our control: each is quoted as TOML, and what the site file cannot
//! express (a path that is not UTF-8) becomes a comment. So the draft is always a valid site file (tested).

use std::collections::BTreeSet;
use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};

use super::{Findings, PostgresFound, SqliteFound, UnitFound};

/// Where the set goes by default: the first that is apart from all that was found.
const DESTINATIONS: [&str; 3] = ["/var/backups/stillpoint", "/backup/stillpoint", "/mnt/stillpoint"];

/// The folder with the settings of the machine, which every site has.
const SETTINGS: &str = "/etc";

/// A commented site file for what was found. Always valid, but a draft: a person must read it.
pub fn draft(findings: &Findings) -> String {
    let mut draft = Draft { text: String::new(), names: BTreeSet::new() };
    let trees = trees(findings);
    draft.head(findings, &sources(findings, &trees));
    if !findings.units.is_empty() {
        draft.comment("Services. They are held for the milliseconds of the cut (quiet = \"freeze\").");
        draft.comment("With quiet = \"stop\" nothing is under way in them at the cut, and the set is of a better grade.");
    }
    for unit in &findings.units {
        draft.unit(unit);
    }
    if !findings.other_units.is_empty() {
        draft.comment(format!("Also running, and left alone: {}.", findings.other_units.join(", ")));
    }
    for postgres in &findings.postgres {
        draft.postgres(postgres);
    }
    for sqlite in &findings.sqlite {
        draft.sqlite(sqlite);
    }
    for tree in &trees {
        draft.tree(tree, &findings.sqlite);
    }
    if let Some(command) = &findings.package_list {
        draft.packages(command);
    }
    draft.tail(findings);
    draft.text
}

/// The folders to back up: the web roots that can be written down, and the settings of the machine.
fn trees(findings: &Findings) -> Vec<PathBuf> {
    let mut trees: Vec<PathBuf> = Vec::new();
    for root in findings.web_roots.iter().map(PathBuf::as_path).chain([Path::new(SETTINGS)]) {
        if expressible(root).is_some() && !trees.iter().any(|tree| tree == root) {
            trees.push(root.to_path_buf());
        }
    }
    trees
}

/// All paths that the drafted components read.
fn sources(findings: &Findings, trees: &[PathBuf]) -> Vec<PathBuf> {
    let databases = findings.sqlite.iter().map(|sqlite| sqlite.path.clone());
    let clusters = findings.postgres.iter().filter_map(|postgres| postgres.data.clone());
    let all = trees.iter().cloned().chain(databases).chain(clusters);
    all.filter(|path| expressible(path).is_some()).collect()
}

/// A folder that neither lies in a source nor holds one.
fn destination(sources: &[PathBuf]) -> String {
    let apart = |place: &String| {
        let place = Path::new(place);
        !sources.iter().any(|source| source.starts_with(place) || place.starts_with(source))
    };
    let usual = DESTINATIONS.iter().map(|place| (*place).to_owned());
    // There are fewer sources than numbers, so one of these is apart.
    let others = (1..).map(|number| format!("/stillpoint-backup-{number}"));
    usual.chain(others).find(apart).unwrap_or_default()
}

/// The path as a site file can say it: UTF-8, absolute, without empty, `.` or `..` parts, and not `/`.
fn expressible(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    let parts = text.strip_prefix('/')?;
    let plain = parts.split('/').all(|part| !matches!(part, "" | "." | ".."));
    (plain && !text.contains('\0')).then_some(text)
}

/// `text` as a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

struct Draft {
    text: String,
    names: BTreeSet<String>,
}

impl Draft {
    /// One line. Writing to a String cannot fail.
    fn line(&mut self, line: impl Display) {
        let _ = writeln!(self.text, "{line}");
    }

    /// A comment on one line, whatever is in it.
    fn comment(&mut self, comment: impl Display) {
        let plain = |character: char| if character.is_control() { '\u{fffd}' } else { character };
        let comment: String = comment.to_string().chars().map(plain).collect();
        self.line(format_args!("# {comment}"));
    }

    /// The head of a component, with a name like `wanted` that no other one has.
    fn component(&mut self, wanted: &str, kind: &str) {
        let mut name: String = wanted
            .chars()
            .map(
                |character| {
                    if character.is_ascii_alphanumeric() { character.to_ascii_lowercase() } else { '-' }
                },
            )
            .collect();
        name = name.trim_matches('-').chars().take(50).collect();
        if name.is_empty() {
            name = kind.to_owned();
        }
        let first = name.clone();
        let mut number = 1;
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{first}-{number}");
        }
        self.line(format_args!("\n[[component]]\nname = {}\ntype = {}", quoted(&name), quoted(kind)));
    }

    fn head(&mut self, findings: &Findings, sources: &[PathBuf]) {
        self.comment("A draft of a site file, from what was found running. Read it and put it right.");
        self.comment("Every key with its default: `stillpoint init --sample`. What is in effect: `stillpoint config show`.");
        for note in &findings.notes {
            self.comment(format_args!("Not seen: {note}"));
        }
        let name = if findings.host.trim().is_empty() { "This site" } else { findings.host.trim() };
        let name: String =
            name.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
        self.line("\n[site]");
        self.comment("Three letters or digits; the set will be the folder <code>Backup in the destination.");
        self.line(format_args!("code = \"P01\"\nname = {}", quoted(&name)));
        self.line("\n[destination]");
        self.comment(
            "Best on another disk than the site. Or, for a mounted share: share = \"/mnt/backup/p01\"",
        );
        self.line(format_args!("folder = {}", quoted(&destination(sources))));
        self.line("\n[task]");
        self.comment("\"frozen\" demands that every application was at rest at the cut.");
        self.line("minimum_grade = \"crash\"\n");
        self.comment(
            "When it is backed up, by `stillpoint serve`. Take the marks away, and put your time zone.",
        );
        for line in ["[schedule]", "zone = \"UTC\"", "window = { begin = \"02:00\", latest = \"05:00\" }"] {
            self.comment(line);
        }
        self.comment("Who is told when something is the matter (docs/alerts.md has the other channels):");
        for line in [
            "[[channel]]",
            "name = \"admin\"",
            "type = \"sendmail\"",
            "from = \"stillpoint@example.org\"",
            "to = [\"admin@example.org\"]",
        ] {
            self.comment(line);
        }
    }

    fn unit(&mut self, unit: &UnitFound) {
        let wanted = unit.name.strip_suffix(".service").unwrap_or(&unit.name);
        self.component(wanted, "service");
        if !unit.description.trim().is_empty() {
            self.comment(&unit.description);
        }
        self.line(format_args!("quiet = \"freeze\"\nunit = {}", quoted(&unit.name)));
    }

    fn postgres(&mut self, postgres: &PostgresFound) {
        let Some(folder) = expressible(&postgres.socket_folder) else {
            self.comment(format_args!(
                "Left out: a PostgreSQL server at {}",
                postgres.socket_folder.display()
            ));
            return;
        };
        self.component(&format!("postgres-{}", postgres.port), "postgres");
        self.comment("The whole cluster: all databases, roles and sequences.");
        self.line(format_args!("host = {}\nport = {}", quoted(folder), postgres.port));
        self.comment("Role to connect as: a superuser. Without password_file: ~/.pgpass or trust.");
        self.line("user = \"postgres\"");
        if let Some(data) = postgres.data.as_deref().and_then(expressible) {
            self.line(format_args!("data = {}", quoted(data)));
        }
    }

    fn sqlite(&mut self, sqlite: &SqliteFound) {
        let Some(path) = expressible(&sqlite.path) else {
            self.comment(format_args!(
                "Left out, its name cannot be written here: {}",
                sqlite.path.display()
            ));
            return;
        };
        let stem =
            sqlite.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        self.component(&stem, "sqlite");
        self.comment(format_args!("Open in: {}", sqlite.program));
        self.line(format_args!("path = {}", quoted(path)));
    }

    /// A file tree, without the databases in it that are components of their own.
    fn tree(&mut self, tree: &Path, databases: &[SqliteFound]) {
        let Some(path) = expressible(tree) else { return };
        let wanted = if path == SETTINGS { "settings".to_owned() } else { path.replace('/', "-") };
        self.component(&wanted, "files");
        self.line(format_args!("path = {}", quoted(path)));
        let inside: Vec<String> = databases
            .iter()
            .filter_map(|sqlite| expressible(&sqlite.path)?.strip_prefix(path)?.strip_prefix('/'))
            .filter(|inside| !inside.contains(['*', '?', '[', ']', '{', '}', '\\', '!']))
            .flat_map(|inside| ["", "-wal", "-shm", "-journal"].map(|end| quoted(&format!("/{inside}{end}"))))
            .collect();
        if !inside.is_empty() {
            self.comment("Databases in it are components of their own.");
            self.line(format_args!("exclude = [{}]", inside.join(", ")));
        }
    }

    fn packages(&mut self, command: &[String]) {
        self.component("packages", "command");
        self.comment("Which packages are installed: to build the machine again.");
        let arguments: Vec<String> = command.iter().map(|argument| quoted(argument)).collect();
        self.line(format_args!("run = [{}]\noutput = \"packages.txt\"", arguments.join(", ")));
    }

    fn tail(&mut self, findings: &Findings) {
        self.line("");
        self.comment("How to see that the site works, after a recovery: a command that ends with status 0. For example:");
        self.comment("[[probe]]");
        self.comment("name = \"the site answers\"");
        self.comment("run = [\"/usr/bin/curl\", \"--fail\", \"--silent\", \"http://localhost/\"]");
        if findings.postgres.is_empty() && findings.sqlite.is_empty() {
            self.line("");
            self.comment(
                "No database was found. Add each as a component: `stillpoint init --sample` shows how.",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use stillpoint_model::site_file::{self, ComponentKind, SiteFile};

    use super::*;

    fn parsed(findings: &Findings) -> SiteFile {
        let text = draft(findings);
        site_file::parse(&text)
            .unwrap_or_else(|mistakes| panic!("{}\n{text}", site_file::render("draft", &text, &mistakes)))
    }

    fn found() -> Findings {
        Findings {
            host: "web1".into(),
            postgres: vec![PostgresFound {
                socket_folder: "/var/run/postgresql".into(),
                port: 5433,
                data: Some("/var/lib/postgresql/15/main".into()),
            }],
            sqlite: vec![
                SqliteFound { path: "/srv/www/shop.db".into(), program: "shop".into() },
                SqliteFound { path: "/opt/shop.db".into(), program: "shop".into() },
            ],
            units: vec![UnitFound { name: "shop.service".into(), description: "The shop".into() }],
            web_roots: vec!["/srv/www".into()],
            ..Findings::default()
        }
    }

    #[test]
    fn what_was_found_is_in_the_draft_and_a_database_in_a_tree_is_excluded_from_the_tree() {
        let file = parsed(&found());
        let names: Vec<&str> = file.components.iter().map(|component| component.name.as_str()).collect();
        assert_eq!(names, ["shop", "postgres-5433", "shop-2", "shop-3", "srv-www", "settings"]);
        let ComponentKind::Files(tree) = &file.components[4].kind else { panic!("{file:?}") };
        assert_eq!(tree.exclude, ["/shop.db", "/shop.db-wal", "/shop.db-shm", "/shop.db-journal"]);
        let ComponentKind::Postgres(postgres) = &file.components[1].kind else { panic!("{file:?}") };
        assert_eq!(postgres.port, 5433);
    }

    #[test]
    fn a_machine_on_which_nothing_was_found_still_gives_a_valid_draft() {
        let file = parsed(&Findings::default());
        assert_eq!(file.components.len(), 1);
    }

    #[test]
    fn hostile_names_never_break_the_draft() {
        use std::os::unix::ffi::OsStringExt;
        let odd = [
            "/a\"b\\c",
            "/a\nb = 1",
            "/ä ö",
            "/x/../y",
            "relative",
            "/",
            "//a",
            "/b/'''",
            "/c/{x}[y]*",
            "/var/backups/stillpoint/x",
            "/backup",
            "/mnt",
            "/#",
        ];
        let bytes = PathBuf::from(std::ffi::OsString::from_vec(b"/a\xff".to_vec()));
        let paths: Vec<PathBuf> = odd.iter().map(PathBuf::from).chain([bytes]).collect();
        let findings = Findings {
            host: "a\nb\"".into(),
            postgres: paths
                .iter()
                .map(|path| PostgresFound {
                    socket_folder: path.clone(),
                    port: 5432,
                    data: Some(path.clone()),
                })
                .collect(),
            sqlite: paths
                .iter()
                .map(|path| SqliteFound { path: path.join("d.db"), program: "p\nq".into() })
                .collect(),
            units: vec![UnitFound { name: "a\\x2db@c.service".into(), description: "x\ny = \u{7}".into() }],
            other_units: vec!["x\ny".into()],
            web_roots: paths.clone(),
            package_list: Some(vec!["/usr/bin/x".into(), "\"\n".into()]),
            notes: vec!["a\nb".into()],
        };
        let file = parsed(&findings);
        assert_eq!(file.destination.folder.as_deref(), Some(Path::new("/stillpoint-backup-1")));
    }
}
