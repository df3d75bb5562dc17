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
