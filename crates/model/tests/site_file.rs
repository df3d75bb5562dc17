//! Site files as people write them: right ones are read, wrong ones are answered with all their mistakes.

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
        (9, 1, "destination.compress", "remove it; the keys here are: folder, share, files, databases"),
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

/// Every table of the schema: what the sample calls it, and its keys.
fn tables_of_schema() -> Vec<(String, Vec<String>)> {
    let schema: serde_json::Value = serde_json::from_str(&site_file::schema()).unwrap();
    let keys = |table: &serde_json::Value| table["properties"].as_object().unwrap().keys().cloned().collect();
    let mut tables: Vec<(String, Vec<String>)> = Vec::new();
    for one in schema["$defs"]["Component"]["oneOf"].as_array().unwrap() {
        tables.push((one["properties"]["type"]["const"].as_str().unwrap().to_owned(), keys(one)));
    }
    for (name, value) in schema["properties"].as_object().unwrap() {
        let target = value["$ref"].as_str().or(value["items"]["$ref"].as_str()).unwrap();
        if name != "component" {
            tables.push((name.clone(), keys(schema.pointer(target.trim_start_matches('#')).unwrap())));
        }
    }
    assert_eq!(tables.len(), 11, "{tables:?}");
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
        for key in keys.iter().filter(|key| !matches!(key.as_str(), "name" | "level" | "type")) {
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
        let is_component = ["service", "files", "postgres", "sqlite", "command"].contains(&table.as_str());
        let text = match (is_component, table.as_str()) {
            (true, _) => format!("[[component]]\ntype = {table:?}\nxyzzyxyzzyxyzzy = 1\n"),
            (false, "probe") => "[[probe]]\nxyzzyxyzzyxyzzy = 1\n".to_owned(),
            _ => format!("[{table}]\nxyzzyxyzzyxyzzy = 1\n"),
        };
        let unknown = mistakes(&text).into_iter().find(|mistake| mistake.message.contains("xyzzy")).unwrap();
        let listed = unknown.remedy.split_once("are: ").unwrap().1;
        let mut known: Vec<&str> = listed.split(", ").collect();
        known.sort_unstable();
        assert_eq!(known, keys, "{table}");
    }
}
