//! Checks of the destination, on real file systems.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use stillpoint_archive::{Finding, SetBuilder, check_destination};
use stillpoint_model::site_file::Destination;
use support::*;

fn fatal(destination: &Destination, sources: &[PathBuf]) -> Vec<String> {
    let findings = check_destination(destination, &code(), sources);
    for Finding { text, remedy, .. } in &findings {
        assert!(!remedy.is_empty(), "{text} has no remedy");
    }
    findings.into_iter().filter(|finding| finding.fatal).map(|finding| finding.text).collect()
}

fn only(found: &[String], words: &str) {
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(words), "{found:?} does not say {words:?}");
}

#[test]
fn a_destination_must_be_one_of_three_forms_and_absolute() {
    only(&fatal(&Destination::default(), &[]), "not one of its forms");
    only(
        &fatal(&Destination { files: Some("/a".into()), ..Destination::default() }, &[]),
        "not one of its forms",
    );
    let both = Destination { folder: Some("/a".into()), share: Some("/b".into()), ..Destination::default() };
    only(&fatal(&both, &[]), "not one of its forms");
    only(&fatal(&one_folder(Path::new("backup")), &[]), "not an absolute path");
    only(&fatal(&one_folder(Path::new("")), &[]), "not an absolute path");
}

#[test]
fn a_private_folder_passes_and_is_left_as_it_was() {
    let ground = Ground::new();
    let folder = ground.folder("with ümlaut and space");
    assert_eq!(fatal(&one_folder(&folder), &[]), Vec::<String>::new());
    assert_eq!(names_in(&folder), Vec::<String>::new());
}

#[test]
fn a_missing_folder_passes_when_it_can_be_created_and_is_then_private() {
    let ground = Ground::new();
    let folder = ground.path("new/below");
    assert_eq!(fatal(&one_folder(&folder), &[]), Vec::<String>::new());
    assert!(!ground.path("new").exists(), "the check left its folder");
    let run = TestRun::begin(ground.top.path(), &one_folder(&folder), 1).unwrap();
    for path in [&folder, &run.builder.folder()] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o700, "{}", path.display());
    }
}

#[test]
fn a_file_is_no_destination() {
    let ground = Ground::new();
    fs::write(ground.path("file"), b"").unwrap();
    only(&fatal(&one_folder(&ground.path("file")), &[]), "is not a folder");
    only(&fatal(&one_folder(&ground.path("file/below")), &[]), "cannot be");
}

#[test]
fn a_folder_that_is_open_to_others_is_refused() {
    let ground = Ground::new();
    let folder = ground.folder("open");
    for mode in [0o755, 0o750, 0o740, 0o701] {
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        only(&fatal(&one_folder(&folder), &[]), &format!("is open to group or others (mode {mode:04o})"));
    }
}

#[test]
fn a_folder_where_nothing_can_be_created_is_refused() {
    let mut ground = Ground::new();
    let folder = ground.tmpfs("read only", "ro,mode=700");
    only(&fatal(&one_folder(&folder), &[]), "cannot create in the destination");
    only(&fatal(&one_folder(&folder.join("below")), &[]), "cannot be created");
}

#[test]
fn a_folder_where_nothing_can_be_written_is_refused() {
    let mut ground = Ground::new();
    let folder = ground.tmpfs("full", "size=64k,mode=700");
    let mut filler = fs::File::create(folder.join("filler")).unwrap();
    while std::io::Write::write(&mut filler, &[1; 4096]).is_ok() {}
    only(&fatal(&one_folder(&folder), &[]), "cannot write in the destination");
    assert_eq!(names_in(&folder), ["filler"]);
}

#[test]
fn a_folder_where_nothing_can_be_deleted_is_refused() {
    let mut ground = Ground::new();
    let mount = ground.image("append", &["mkfs.ext4", "-q"], 16);
    let folder = mount.join("backup");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    run("chattr", &["+a", folder.to_str().unwrap()]);
    let found = fatal(&one_folder(&folder), &[]);
    run("chattr", &["-a", folder.to_str().unwrap()]);
    only(&found, "cannot delete in the destination");
}

#[test]
fn a_destination_inside_a_source_or_around_one_is_refused_however_it_is_reached() {
    let ground = Ground::new();
    let source = ground.folder("site/data");
    let inside = ground.folder("site/data/backup");
    let link = ground.path("link");
    std::os::unix::fs::symlink(&inside, &link).unwrap();
    let source_link = ground.path("source link");
    std::os::unix::fs::symlink(ground.path("site"), &source_link).unwrap();
    for destination in [&inside, &link, &source, &link.join("not yet")] {
        only(&fatal(&one_folder(destination), std::slice::from_ref(&source)), "lies inside");
    }
    only(&fatal(&one_folder(&inside), &[source_link.join("data")]), "lies inside");
    let around = ground.folder("site");
    only(
        &fatal(&one_folder(&around), &[source_link.join("data/file not yet")]),
        "which is backed up, lies inside the destination",
    );
}

#[test]
fn a_destination_inside_a_source_is_found_through_a_bind_mount() {
    let mut ground = Ground::new();
    let source = ground.folder("site");
    fs::create_dir(source.join("backup")).unwrap();
    let other = ground.tmpfs("elsewhere", "size=64k,mode=700");
    ground.bind(&source.join("backup"), &other);
    fs::set_permissions(&other, fs::Permissions::from_mode(0o700)).unwrap();
    only(&fatal(&one_folder(&other), &[source]), "lies inside");
}

#[test]
fn the_same_volume_as_a_source_is_a_warning() {
    let mut ground = Ground::new();
    let (folder, source) = (ground.folder("backup"), ground.folder("site"));
    let findings = check_destination(&one_folder(&folder), &code(), std::slice::from_ref(&source));
    assert!(
        findings.iter().any(|finding| !finding.fatal && finding.text.contains("same volume")),
        "{findings:?}"
    );
    let apart = ground.tmpfs("apart", "size=64k,mode=700");
    assert!(check_destination(&one_folder(&apart), &code(), &[source]).is_empty());
}

#[test]
fn a_share_must_be_mounted() {
    let mut ground = Ground::new();
    let share = |path: &Path| Destination { share: Some(path.to_owned()), ..Destination::default() };
    let away = ground.folder("share");
    let root = Command::new("findmnt").args(["-n", "-o", "TARGET", "-T"]).arg(&away).output().unwrap();
    assert_eq!(root.stdout, b"/\n", "this test needs a temporary folder on the root file system");
    for path in [away.clone(), away.join("not/yet")] {
        only(&fatal(&share(&path), &[]), "is not mounted");
        let refused =
            SetBuilder::create(&share(&path), &code(), &run_id(1), &*Undos::new(ground.path("undos")));
        assert!(refused.err().unwrap().text.contains("is not mounted"));
    }
    assert!(names_in(&away).is_empty());
    let mounted = ground.tmpfs("share", "size=64k,mode=700");
    for path in [mounted.clone(), mounted.join("not/yet")] {
        assert_eq!(fatal(&share(&path), &[]), Vec::<String>::new());
    }
}

#[test]
fn what_is_no_set_of_this_site_is_never_replaced() {
    let ground = Ground::new();
    let folder = ground.folder("backup");
    let published = folder.join("P01Backup");
    fs::create_dir(&published).unwrap();
    fs::write(published.join("thesis.txt"), b"years").unwrap();
    only(&fatal(&one_folder(&folder), &[]), "is not a backup set");
    fs::remove_dir_all(&published).unwrap();
    publish_version(ground.top.path(), &one_folder(&folder), 1).unwrap();
    assert_eq!(fatal(&one_folder(&folder), &[]), Vec::<String>::new());
    fs::rename(&published, folder.join("X99Backup")).unwrap();
    let other = check_destination(&one_folder(&folder), &"X99".parse().unwrap(), &[]);
    assert!(other.iter().any(|finding| finding.fatal && finding.text.contains("of site P01")), "{other:?}");
    fs::rename(folder.join("X99Backup"), &published).unwrap();
    fs::write(published.join("manifest.json"), b"{").unwrap();
    let damaged = check_destination(&one_folder(&folder), &code(), &[]);
    assert!(damaged.len() == 1 && !damaged[0].fatal, "a damaged set of ours is replaced: {damaged:?}");
}

#[test]
fn files_and_databases_must_be_apart() {
    let ground = Ground::new();
    let folder = ground.folder("backup");
    assert!(fatal(&two_folders(&folder, &folder), &[]).iter().any(|text| text.contains("the same folder")));
    let within = folder.join("P01Backup/db");
    assert!(
        fatal(&two_folders(&folder, &within), &[]).iter().any(|text| text.contains("lies inside the set"))
    );
    assert_eq!(fatal(&two_folders(&folder, &ground.folder("db")), &[]), Vec::<String>::new());
}
