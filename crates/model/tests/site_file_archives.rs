//! The tables `[[archive]]`: right ones are read, wrong ones are answered, and no secret is shown.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use stillpoint_model::site_file::{self, ArchiveLocation, Keep, Mistake, SecretSource, SiteFile};

const SITE: &str = r#"
[site]
code = "P01"
name = "Head office"
[destination]
folder = "/var/backup"
[[component]]
name = "content"
type = "files"
path = "/srv/shop"
"#;

fn mistakes(archives: &str) -> Vec<Mistake> {
    let text = format!("{SITE}{archives}");
    match site_file::parse(&text) {
        Ok(file) => panic!("was taken: {file:?}"),
        Err(mistakes) => mistakes,
    }
}

fn parse(archives: &str) -> SiteFile {
    let text = format!("{SITE}{archives}");
    site_file::parse(&text)
        .unwrap_or_else(|mistakes| panic!("{}", site_file::render("site.toml", &text, &mistakes)))
}

const TWO: &str = r#"
[[archive]]
name = "disk"
location = "/mnt/disk/p01"
key = { file = "/etc/stillpoint/disk.key" }

[[archive]]
name = "offsite"
location = "s3:https://s3.example.org:8333/backups/p01"
region = "eu-central-1"
ca = "/etc/stillpoint/ca.pem"
append_only = true
verify_every = "2w"
[archive.key]
command = ["/usr/bin/pass", "show", "p01"]
[archive.access]
credential = "s3-access"
"#;

#[test]
fn several_archives_are_read_with_their_defaults() {
    let file = parse(TWO);
    let [disk, offsite] = file.archives.as_slice() else { panic!("{file:?}") };
    assert_eq!(disk.location, ArchiveLocation::Local("/mnt/disk/p01".into()));
    assert_eq!(disk.key, SecretSource::File("/etc/stillpoint/disk.key".into()));
    assert_eq!((disk.append_only, disk.verify_every.to_string().as_str()), (false, "30d"));
    assert!(disk.keep.is_empty() && disk.access.is_none());
    assert_eq!(offsite.location.to_string(), "s3:https://s3.example.org:8333/backups/p01");
    assert_eq!(
        offsite.key,
        SecretSource::Command(["/usr/bin/pass", "show", "p01"].map(str::to_owned).into())
    );
    assert_eq!(offsite.access, Some(SecretSource::Credential("s3-access".into())));
    assert_eq!((offsite.append_only, offsite.verify_every.to_string().as_str()), (true, "14d"));
}

#[test]
fn every_rule_and_every_source_is_read_and_shown_again() {
    let rules =
        "keep = { last = 1, hourly = 2, daily = 3, weekly = 4, monthly = 5, yearly = 6, within = \"36h\" }";
    let keep = Keep {
        last: Some(1),
        hourly: Some(2),
        daily: Some(3),
        weekly: Some(4),
        monthly: Some(5),
        yearly: Some(6),
        within: "36h".parse().ok(),
    };
    for source in
        ["{ file = \"/k\" }", "{ command = [\"/k\"] }", "{ descriptor = 3 }", "{ credential = \"k\" }"]
    {
        let text = format!("[[archive]]\nname = \"a\"\nlocation = \"/mnt/a\"\nkey = {source}\n{rules}\n");
        let file = parse(&text);
        assert_eq!(file.archives[0].keep, keep);
        let shown = site_file::effective(&file);
        assert_eq!(site_file::parse(&shown), Ok(file), "{shown}");
    }
    let shown = site_file::effective(&parse(TWO));
    assert!(shown.contains("append_only = false") && shown.contains("verify_every = \"30d\""), "{shown}");
}

/// What an archive is called that has a wrong line, the line, and how each mistake begins; `|` is between two.
const NONSENSE: &[(&str, &str)] = &[
    ("", "archive[0].key: `key` is missing in archive a"),
    ("key = {}", "archive[0].key: nothing says where `key` of archive a comes from"),
    (
        "key = { file = \"/k\", descriptor = 3 }",
        "archive[0].key.descriptor: `file` and `descriptor` both say where",
    ),
    ("key = { file = \"k\" }", "archive[0].key.file: `file` is not an absolute path"),
    ("key = { fiel = \"/k\" }", "archive[0].key.fiel: unknown key `fiel`|archive[0].key: nothing says"),
    ("key = { command = [\"pass\"] }", "archive[0].key.command: `command` at place 1 is not an absolute"),
    ("key = { descriptor = 2 }", "archive[0].key.descriptor: `descriptor` must be from 3"),
    ("key = { credential = \"../k\" }", "archive[0].key.credential: `credential` is not the name"),
    ("key = { file = \"/k\" }\nkeep = {}", "archive[0].keep: `keep` of archive a has no rule"),
    ("key = { file = \"/k\" }\nkeep = 7", "archive[0].keep: `keep` of archive a must be a table"),
    ("key = { file = \"/k\" }\nkeep = { last = 0 }", "archive[0].keep.last: `last` must be from 1"),
    ("key = { file = \"/k\" }\nkeep = { within = \"1y\" }", "archive[0].keep.within: `within` is wrong"),
    ("key = { file = \"/k\" }\nkeep = { dayly = 7 }", "archive[0].keep.dayly: unknown key `dayly`"),
    (
        "key = { file = \"/k\" }\nkeep = { last = 7 }\nappend_only = true",
        "archive[0].keep: `keep` has no effect with append_only",
    ),
    (
        "key = { file = \"/k\" }\naccess = { descriptor = 4 }",
        "archive[0].access: `access` has no effect with this kind of location",
    ),
    ("key = { file = \"/k\" }\nca = \"/ca\"", "archive[0].ca: `ca` has no effect"),
    ("key = { file = \"/k\" }\nregion = \"x\"", "archive[0].region: `region` has no effect"),
    (
        "key = { file = \"/k\" }\n[[archive]]\nname = \"a\"\nlocation = \"/mnt/a/\"\nkey = { file = \"/k\" }",
        "archive[1].name: two archives have the name \"a\"|archive[1].location: two archives lie at /mnt/a",
    ),
];

#[test]
fn what_makes_no_sense_in_an_archive_is_told() {
    for (lines, wanted) in NONSENSE {
        let text = format!("[[archive]]\nname = \"a\"\nlocation = \"/mnt/a\"\n{lines}\n");
        let found: Vec<String> =
            mistakes(&text).into_iter().map(|m| format!("{}: {}", m.key_path, m.message)).collect();
        let wanted: Vec<&str> = wanted.split('|').collect();
        assert_eq!(found.len(), wanted.len(), "{lines}: {found:#?}");
        for wanted in wanted {
            assert!(
                found.iter().any(|it| it.starts_with(wanted)),
                "{lines}: wanted {wanted}, found {found:#?}"
            );
        }
    }
}

#[test]
fn an_archive_lies_apart_from_the_site_and_from_its_destination() {
    for (location, wanted) in [
        ("/srv/shop/archive", "/srv/shop, which is backed up, lie in each other"),
        ("/srv", "/srv/shop, which is backed up, lie in each other"),
        ("/var/backup/archive", "the destination /var/backup lie in each other"),
        ("archive", "is neither an absolute path nor an address"),
        ("b2:x", "begins with \"b2\", which is not known"),
    ] {
        let found = mistakes(&format!(
            "[[archive]]\nname = \"a\"\nlocation = {location:?}\nkey = {{ file = \"/k\" }}\n"
        ));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].key_path == "archive[0].location" && found[0].message.contains(wanted),
            "{found:#?}"
        );
    }
}

#[test]
fn a_secret_in_the_site_file_is_a_mistake_and_is_never_shown() {
    for line in [
        "location = \"rest:https://me:hunter2@host/\"\nkey = { file = \"/k\" }",
        "location = \"sftp:me:hunter2@host:/a\"\nkey = { file = \"/k\" }",
        "location = \"/mnt/a\"\nkey = \"hunter2\"",
        "location = \"/mnt/a\"\nkey = \"\"\"\nhunter2\"\"\"",
        "location = \"rest:https://host/\"\nkey = { file = \"/k\" }\naccess = \"me:hunter2\"",
    ] {
        let text = format!("{SITE}[[archive]]\nname = \"a\"\n{}\n", line);
        let found = site_file::parse(&text).unwrap_err();
        assert_eq!(found.len(), 1, "{found:#?}");
        let shown = site_file::render("site.toml", &text, &found);
        let json = serde_json::to_string(&found).unwrap();
        assert!(!shown.contains("hunter2") && !json.contains("hunter2"), "{shown}\n{json}\n{found:#?}");
    }
}

#[test]
fn a_site_without_a_folder_has_an_archive_and_a_place_for_work() {
    let archive = "[[archive]]\nname = \"a\"\nlocation = \"/mnt/a\"\nkey = { file = \"/k\" }\n";
    let neither = SITE.replace("folder = \"/var/backup\"", "");
    let found = site_file::parse(&format!("{neither}{archive}")).unwrap_err();
    assert!(found.len() == 1 && found[0].message.contains("nothing says where"), "{found:#?}");
    let staging = SITE.replace("folder = \"/var/backup\"", "staging = \"/var/work\"");
    let found = site_file::parse(&staging).unwrap_err();
    assert!(
        found.len() == 1 && found[0].message.contains("go into an archive, and there is none"),
        "{found:#?}"
    );
    let site = site_file::parse(&format!("{staging}{archive}")).unwrap();
    assert_eq!(site.destination.staging.as_deref(), Some(std::path::Path::new("/var/work")));
    let both = SITE.replace("folder = \"/var/backup\"", "staging = \"/var/work\"\nfolder = \"/b\"");
    let found = site_file::parse(&format!("{both}{archive}")).unwrap_err();
    assert!(found.len() == 1 && found[0].message.contains("more than one destination"), "{found:#?}");
}
