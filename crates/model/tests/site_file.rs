//! Site files as people write them: right ones are read, wrong ones are answered with all their mistakes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use stillpoint_model::site_file::{self, ComponentKind, Mistake, PostgresMethod, SiteFile};

const GOOD: &str = r#"
[site]
code = "p01"
name = "Head office"

[destination]
folder = "/var/backup/"

[[component]]
name = "shop"
type = "service"
quiet = "stop"
unit = "shop.service"

[[component]]
name = "orders"
type = "postgres"

[[component]]
name = "content"
type = "files"
path = "/srv/shop"
exclude = ["*.tmp"]
"#;

fn mistakes(text: &str) -> Vec<Mistake> {
    match site_file::parse(text) {
        Ok(file) => panic!("was taken: {file:?}"),
        Err(mistakes) => mistakes,
    }
}

fn parse(text: &str) -> SiteFile {
    site_file::parse(text)
        .unwrap_or_else(|mistakes| panic!("{}", site_file::render("site.toml", text, &mistakes)))
}

#[test]
fn a_plain_site_file_is_read_with_its_defaults() {
    let file = parse(GOOD);
    assert_eq!(file.site.code.as_str(), "P01");
    assert_eq!(file.destination.folder.as_deref(), Some("/var/backup".as_ref()));
    assert_eq!(file.deadlines.window.to_string(), "20s");
    let ComponentKind::Postgres(postgres) = &file.components[1].kind else { panic!("{file:?}") };
    assert_eq!((postgres.method, postgres.port), (PostgresMethod::BaseBackup, 5432));
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_place_and_remedy() {
    let text = r#"
[site]
code = "P0001"
nmae = "Head office"
type = "secundary"

[destination]
folder = "backup"
compress = true

[task]
minimun_grade = "frozen"
keep_free_percent = 100

[[component]]
name = "shop"
type = "service"
quiet = "freeze"
unit = 7
thaw_command = "systemctl start shop"

[[component]]
name = "shop"
type = "files"
path = "/srv/../etc"
include = ["a", 5, ""]

[[component]]
type = "file"
path = "/srv"

[[probe]]
name = "web"
run = ["curl", "http://localhost"]
timeout = "10"
"#;
    let found: Vec<(usize, usize, String, String)> =
        mistakes(text).into_iter().map(|m| (m.line, m.column, m.key_path, m.remedy)).collect();
    let wanted = [
        (3, 8, "site.code", "write three letters or digits, such as \"P01\""),
        (4, 1, "site.nmae", "did you mean `name`?"),
        (5, 8, "site.type", "did you mean \"secondary\"?"),
        (8, 10, "destination.folder", "write the whole path, from / on"),
        (
            9,
            1,
            "destination.compress",
            "remove it; the keys here are: folder, share, files, databases, staging",
        ),
        (12, 1, "task.minimun_grade", "did you mean `minimum_grade`?"),
        (13, 21, "task.keep_free_percent", "write a number from 0 to 99"),
        (19, 8, "component[0].unit", "write for example unit = \"nginx.service\""),
        (
            20,
            16,
            "component[0].thaw_command",
            "no shell is used: write thaw_command = [\"/usr/bin/true\", \"argument\"]",
        ),
        (20, 16, "component[0].thaw_command", "remove it, or write quiet = \"command\""),
        (23, 8, "component[1].name", "give each its own name: it is the name of its folder in the set"),
        (25, 8, "component[1].path", "write the path that is meant, without `..`"),
        (26, 17, "component[1].include", "write each in quotes"),
        (28, 1, "component[2].name", "write for example name = \"web-content\""),
        (29, 8, "component[2].type", "did you mean \"files\"?"),
        (34, 8, "probe[0].run", "write the whole path, from / on"),
        (35, 11, "probe[0].timeout", "write a number with its unit, such as \"10s\""),
    ];
    let wanted: Vec<_> =
        wanted.map(|(line, column, key, remedy)| (line, column, key.to_owned(), remedy.to_owned())).into();
    assert_eq!(found, wanted, "\n{}", site_file::render("site.toml", text, &mistakes(text)));
}

/// The sample with its defaults no longer commented out.
fn sample_with_defaults() -> String {
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|first: char| first.is_ascii_lowercase()) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    site_file::sample().lines().map(uncommented).collect()
}

#[test]
fn the_sample_is_a_site_file_and_its_defaults_are_the_defaults() {
    let uncommented = sample_with_defaults();
    assert!(uncommented.contains("\nwindow = "));
    assert_eq!(parse(site_file::sample()), parse(&uncommented));
}

#[test]
fn what_is_shown_as_effective_reads_back_as_the_same_and_has_the_defaults() {
    for text in [GOOD, site_file::sample()] {
        let file = parse(text);
        let shown = site_file::effective(&file);
        assert_eq!(parse(&shown), file, "{shown}");
        for default in ["window = \"20s\"", "minimum_grade = \"crash\"", "timeout = \"1h\"", "port = 5432"] {
            assert!(shown.contains(default), "{default} is not in {shown}");
        }
    }
}

#[test]
fn what_is_shown_as_effective_has_the_level_of_each_component_and_the_hook_that_would_run() {
    let file = parse(GOOD);
    let shown = site_file::effective(&file);
    let levels =
        shown.lines().filter(|line| line.starts_with("# level: ") || line.starts_with("level = ")).count();
    assert_eq!(levels, file.components.len(), "{shown}");
    let mut file = file;
    file.hook.program = None;
    assert!(site_file::effective(&file).contains("# program: after-backup beside the site file"), "{shown}");
    // A text that looks like a table is not broken by it.
    let command =
        "[[component]]\nname = \"c\"\ntype = \"command\"\nrun = [\"/bin/x\", \"a\\n[[component]]\\nb\"]\n";
    let file = parse(&format!("{GOOD}\n{command}"));
    assert_eq!(parse(&site_file::effective(&file)), file);
}

/// Every table of the schema: what the sample calls it, and its keys.
fn tables_of_schema() -> Vec<(String, Vec<String>)> {
    let schema: serde_json::Value = serde_json::from_str(&site_file::schema()).unwrap();
    let keys = |table: &serde_json::Value| table["properties"].as_object().unwrap().keys().cloned().collect();
    let mut tables: Vec<(String, Vec<String>)> = Vec::new();
    for list in ["Component", "Channel"] {
        for one in schema["$defs"][list]["oneOf"].as_array().unwrap() {
            tables.push((one["properties"]["type"]["const"].as_str().unwrap().to_owned(), keys(one)));
        }
    }
    for (name, value) in schema["properties"].as_object().unwrap() {
        let target = value["$ref"].as_str().or(value["items"]["$ref"].as_str()).unwrap();
        if !matches!(name.as_str(), "component" | "channel") {
            tables.push((name.clone(), keys(schema.pointer(target.trim_start_matches('#')).unwrap())));
        }
    }
    assert_eq!(tables.len(), 23, "{tables:?}");
    tables
}

#[test]
fn every_key_of_the_schema_is_in_the_sample_and_in_the_document() {
    let document = site_file::site_file_document();
    for (table, keys) in tables_of_schema() {
        let marker = format!("type = \"{table}\"\n");
        let text = site_file::sample();
        let start =
            text.find(&format!("[{table}]")).or(text.find(&marker)).unwrap_or_else(|| panic!("no {table}"));
        let rest = &text[start..];
        let end = rest.find("\n\n").unwrap_or(rest.len());
        let shared = |key: &str| matches!(key, "name" | "level" | "type" | "minimum_severity");
        for key in keys.iter().filter(|key| !shared(key)) {
            let shown = rest[..end]
                .lines()
                .any(|line| line.trim_start_matches(['#', ' ']).starts_with(&format!("{key} = ")));
            assert!(shown, "{key} of {table} is not in the sample");
            assert!(document.contains(&format!("| `{key}` |")), "{key} of {table} is not in the document");
        }
    }
}

#[test]
fn the_parser_knows_exactly_the_keys_of_the_schema() {
    for (table, keys) in tables_of_schema() {
        // A table with only an unknown key in it: the answer lists the keys that the parser knows.
        let text = match table.as_str() {
            "service" | "files" | "postgres" | "sqlite" | "command" => {
                format!("[[component]]\ntype = {table:?}\nxyzzyxyzzyxyzzy = 1\n")
            }
            "mail" | "sendmail" | "webhook" | "ntfy" | "ping" | "alertmanager" | "program" => {
                format!("[[channel]]\ntype = {table:?}\nxyzzyxyzzyxyzzy = 1\n")
            }
            "probe" | "archive" => format!("[[{table}]]\nxyzzyxyzzyxyzzy = 1\n"),
            _ => format!("[{table}]\nxyzzyxyzzyxyzzy = 1\n"),
        };
        let unknown = mistakes(&text).into_iter().find(|mistake| mistake.message.contains("xyzzy")).unwrap();
        let listed = unknown.remedy.split_once("are: ").unwrap().1;
        let mut known: Vec<&str> = listed.split(", ").collect();
        known.sort_unstable();
        assert_eq!(known, keys, "{table}");
    }
}

/// The messages of the mistakes in the good file with `from` replaced by `to`.
fn messages_after(from: &str, to: &str) -> Vec<String> {
    assert!(GOOD.contains(from), "{from:?} is not in the good file");
    mistakes(&GOOD.replace(from, to)).into_iter().map(|m| format!("{}: {}", m.key_path, m.message)).collect()
}

/// What is replaced in the good file, by what, and how each mistake begins; `|` is between two.
const NONSENSE: &[(&str, &str, &str)] = &[
    (
        "name = \"Head office\"",
        "name = \"x\"\ntype = \"secondary\"\nparent = \"C01\"",
        "site.type: a secondary site has no backup of its own",
    ),
    ("name = \"Head office\"", "name = \"x\"\nparent = \"P01\"", "site.parent: the site is its own parent"),
    (
        "name = \"Head office\"",
        "name = \"x\"\ntype = \"central\"\nparent = \"C01\"",
        "site.parent: a central site has no parent",
    ),
    ("name = \"Head office\"", "name = \" \"", "site.name: `name` is empty"),
    ("folder = \"/var/backup/\"", "", "destination: nothing says where"),
    (
        "folder = \"/var/backup/\"",
        "folder = \"/b\"\nshare = \"/c\"",
        "destination.share: there is more than one destination",
    ),
    ("folder = \"/var/backup/\"", "files = \"/b\"", "destination.files: `files` goes with `databases`"),
    (
        "folder = \"/var/backup/\"",
        "files = \"/b\"\ndatabases = \"/b\"",
        "destination.databases: `files` and `databases` are the same",
    ),
    (
        "folder = \"/var/backup/\"",
        "folder = \"/\"",
        "destination.folder: `folder` is the root of the whole system",
    ),
    (
        "folder = \"/var/backup/\"",
        "folder = \"/var//backup\"",
        "destination.folder: `folder` has an empty part",
    ),
    (
        "folder = \"/var/backup/\"",
        "folder = \"$BACKUP/x\"",
        "destination.folder: `folder` is not an absolute path",
    ),
    ("folder = \"/var/backup/\"", "folder = \"\"", "destination.folder: `folder` is empty"),
    (
        "folder = \"/var/backup/\"",
        "folder = \"/a\\u0000b\"",
        "destination.folder: `folder` holds a NUL character",
    ),
    (
        "folder = \"/var/backup/\"",
        "folder = \"/srv/shop/backup\"",
        "destination.folder: the destination lies in /srv/shop",
    ),
    (
        "folder = \"/var/backup/\"",
        "folder = \"/srv\"",
        "destination.folder: /srv/shop, which component content backs up, lies in",
    ),
    ("name = \"orders\"", "name = \"shop\"", "component[1].name: two components have the name \"shop\""),
    (
        "quiet = \"stop\"",
        "quiet = \"command\"",
        "component[0]: `freeze_command` is missing|component[0]: `thaw_command` is missing",
    ),
    (
        "quiet = \"stop\"",
        "quiet = \"freeze\"\ncgroup = \"/sys/fs/cgroup/x\"",
        "component[0].cgroup: `unit` and `cgroup` are both there",
    ),
    (
        "unit = \"shop.service\"",
        "",
        "component[0]: nothing says how component shop of type service is stopped",
    ),
    ("unit = \"shop.service\"", "unit = \"-f\"", "component[0].unit: `unit` is not the name of a unit"),
    (
        "unit = \"shop.service\"",
        "unit = \"a\"\nrunning_command = [\"/bin/true\"]",
        "component[0].running_command: `running_command` has no effect",
    ),
    (
        "type = \"postgres\"",
        "type = \"postgres\"\ndatabases = [\"a\"]",
        "component[1].databases: `databases` has no effect",
    ),
    (
        "type = \"postgres\"",
        "type = \"postgres\"\nmethod = \"view\"\ndatabases = [\"a\", \"a\"]",
        "component[1].databases[1]: the database \"a\" is named twice",
    ),
    (
        "type = \"postgres\"",
        "type = \"postgres\"\nport = 0",
        "component[1].port: `port` must be from 1 to 65535",
    ),
    (
        "type = \"postgres\"",
        "type = \"postgres\"\ndata = \"/var/backup/pg\"",
        "destination.folder: /var/backup/pg, which",
    ),
    (
        "type = \"postgres\"",
        "type = \"files\"\npath = \"/srv/shop\"",
        "component[2].path: the file tree /srv/shop is already in component orders",
    ),
    (
        "type = \"postgres\"",
        "type = \"postgres\"\n[[component]]\nname = \"b\"\ntype = \"postgres\"\n",
        "component[2].type: component orders already holds",
    ),
    ("type = \"postgres\"", "type = \"command\"\nrun = []", "component[1].run: `run` is empty"),
    (
        "type = \"postgres\"",
        "type = \"command\"\nrun = [\"/bin/a\"]\noutput = \"../x\"",
        "component[1].output: `output` is not a plain file name",
    ),
    (
        "type = \"postgres\"",
        "type = \"command\"\nrun = [\"/bin/a\"]\nin_freeze = true\ntimeout = \"1m\"",
        "component[1].timeout: the command runs in the freeze",
    ),
    (
        "exclude = [\"*.tmp\"]",
        "exclude = [\"/srv/shop/x\"]",
        "component[2].exclude[0]: patterns are relative",
    ),
    ("exclude = [\"*.tmp\"]", "exclude = [\"a[b\"]", "component[2].exclude: `exclude` at place 1 has a `[`"),
    (
        "exclude = [\"*.tmp\"]",
        "exclude = [\"!a\"]",
        "component[2].exclude: `exclude` at place 1 begins with `!`",
    ),
    ("exclude = [\"*.tmp\"]", "provider = \"lvm\"", "component[2].provider: `provider` cannot be \"lvm\""),
    (
        "[[component]]\nname = \"shop\"",
        "[deadlines]\nfreeze = \"30s\"\n[[component]]\nname = \"shop\"",
        "deadlines.freeze: `freeze` (30s) is longer than `window` (20s)",
    ),
    (
        "[[component]]\nname = \"shop\"",
        "[deadlines]\nwindow = \"5s\"\n[[component]]\nname = \"shop\"",
        "deadlines.window: `freeze` (10s)|deadlines.window: `snapshot` (10s)|deadlines.window: `thaw` (10s)",
    ),
    (
        "[[component]]\nname = \"shop\"",
        "[hook]\nprogram = \"after-backup\"\n[[component]]\nname = \"shop\"",
        "hook.program: `program` is not an absolute path",
    ),
    (
        "quiet = \"stop\"",
        "quiet = \"freeze\"\n[task]\nminimum_grade = \"frozen\"\n[[component]]\nname = \"b\"\ntype = \"service\"\nquiet = \"stop\"",
        "component[0]: neither `unit` nor `cgroup`|task.minimum_grade: the grade \"frozen\" cannot be reached",
    ),
];

#[test]
fn what_makes_no_sense_together_is_told() {
    for (from, to, wanted) in NONSENSE {
        let found = messages_after(from, to);
        let wanted: Vec<&str> = wanted.split('|').collect();
        assert_eq!(found.len(), wanted.len(), "{to:?}: {found:#?}");
        for wanted in wanted {
            assert!(
                found.iter().any(|found| found.starts_with(wanted)),
                "{to:?}: wanted {wanted:?}, found {found:#?}"
            );
        }
    }
}

#[test]
fn wrong_syntax_is_told_with_its_line_and_nothing_is_guessed_from_the_rest() {
    let found =
        mistakes(&GOOD.replace("code = \"p01\"", "code = \"p01").replace("type = \"files\"", "type = = 1"));
    let lines: Vec<usize> = found.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [3, 21], "{found:#?}");
    assert!(found.iter().all(|mistake| mistake.message.starts_with("wrong syntax: ")));
    let twice = mistakes(&GOOD.replace("code = \"p01\"", "code = \"p01\"\ncode = \"p02\""));
    assert_eq!((twice[0].line, twice[0].remedy.as_str()), (4, "remove one of the two"));
}

#[test]
fn an_empty_file_is_answered_with_every_table_that_is_missing() {
    let found: Vec<String> = mistakes("").into_iter().map(|mistake| mistake.key_path).collect();
    assert_eq!(found, ["site", "destination", "component"]);
}

#[test]
fn any_unicode_and_spaces_are_fine_in_a_path() {
    let file = parse(&GOOD.replace("/srv/shop", "/srv/Bücher und 写真"));
    let ComponentKind::Files(files) = &file.components[2].kind else { panic!("{file:?}") };
    assert_eq!(files.path.to_str(), Some("/srv/Bücher und 写真"));
}

#[test]
fn what_a_component_with_a_mistake_has_in_common_with_others_is_told_too() {
    let text = GOOD.to_owned()
        + "[[component]]\nname = \"orders\"\ntype = \"command\"\nrun = \"uname\"\n"
        + "[[component]]\nname = \"bad name\"\ntype = \"files\"\npath = \"/srv/shop\"\n"
        + "[[probe]]\nname = \"up\"\nrun = [\"/bin/true\"]\n[[probe]]\nname = \"up\"\nrun = []\n";
    let told: Vec<String> = mistakes(&text).into_iter().map(|it| it.message).collect();
    let told = told.join("\n");
    for words in ["two components have the name \"orders\"", "already in component content", "two probes"] {
        assert!(told.contains(words), "{words} is missing in\n{told}");
    }
}

#[test]
fn wrong_syntax_in_one_table_does_not_hide_the_mistakes_in_others() {
    let broken = GOOD.replace("unit = \"shop.service\"", "unit = \"shop.service");
    let text = broken.replace("path = \"/srv/shop\"", "path = \"srv/shop\"").replace("\"p01\"", "\"p0001\"");
    let told = mistakes(&text);
    let paths: Vec<&str> = told.iter().map(|it| it.key_path.as_str()).collect();
    assert_eq!(paths, ["site.code", "", "component[2].path"], "{told:#?}");
    // Behind a wrong header nothing is certain.
    let text = text.replace("[[component]]\nname = \"orders\"", "[[component\nname = \"orders\"");
    let told = mistakes(&text);
    assert!(told.iter().all(|it| it.key_path != "component[2].path"), "{told:#?}");
    assert!(told.iter().any(|it| it.key_path == "site.code"), "{told:#?}");
}

#[test]
fn a_wrong_value_has_no_follow_up_and_what_is_missing_names_its_component() {
    let text = GOOD.to_owned()
        + "[deadlines]\nfreeze = \"1 fortnight\"\nwindow = \"5s\"\nsnapshot = \"1s\"\nthaw = \"1s\"\n";
    let told = mistakes(&text);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0].key_path, "deadlines.freeze");
    let text = GOOD.replace("unit = \"shop.service\"\n", "");
    for quiet in ["stop", "freeze", "command"] {
        let told = mistakes(&text.replace("quiet = \"stop\"", &format!("quiet = {quiet:?}")));
        assert!(told.iter().all(|it| it.message.contains("component shop")), "{told:#?}");
    }
}
