//! What the tests of the archive share: a temporary destination and source, undos kept on disk, runs that publish.

#![allow(dead_code, missing_docs, reason = "each test crate uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests use it")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use stillpoint_archive::{ArchiveError, BackupSet, Kit, Place, SetBuilder, SetFacts, heal};
use stillpoint_model::site_file::Destination;
use stillpoint_model::*;
use tempfile::TempDir;

/// Unmounts `$1`. A process that is just being started somewhere may hold it for a moment, so it is tried for a while.
const UNMOUNT: &str =
    "for _ in $(seq 100); do umount \"$1\" 2>/dev/null && exit 0; sleep 0.1; done; exec umount \"$1\"";

/// A folder for one test, removed with all that is in it, mounts included.
pub struct Ground {
    pub top: TempDir,
    mounts: Vec<PathBuf>,
    loops: Vec<String>,
}

impl Ground {
    pub fn new() -> Self {
        let top = tempfile::Builder::new().prefix("stillpoint-archive-").tempdir().unwrap();
        Self { top, mounts: Vec::new(), loops: Vec::new() }
    }

    /// In memory where there is such a place: for tests that sync often and whose faults are those of processes.
    pub fn in_memory() -> Self {
        let shared = Path::new("/dev/shm");
        let place = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
        let top = tempfile::Builder::new().prefix("stillpoint-archive-").tempdir_in(place).unwrap();
        Self { top, mounts: Vec::new(), loops: Vec::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    /// A private folder.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    /// A small file system of its own, private.
    pub fn tmpfs(&mut self, name: &str, options: &str) -> PathBuf {
        let path = self.folder(name);
        run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", path.to_str().unwrap()]);
        self.mounts.push(path.clone());
        path
    }

    /// Shows a folder under another name as well.
    pub fn bind(&mut self, folder: &Path, target: &Path) {
        run("mount", &["--bind", folder.to_str().unwrap(), target.to_str().unwrap()]);
        self.mounts.push(target.to_owned());
    }

    /// A loop-mounted file system made by `mkfs`, private.
    pub fn image(&mut self, name: &str, mkfs: &[&str], megabytes: u64) -> PathBuf {
        let path = self.folder(name);
        let image = self.path(&format!("{name}.img"));
        fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        let mut argv = mkfs[1..].to_vec();
        argv.push(image.to_str().unwrap());
        run(mkfs[0], &argv);
        self.mount_image(&image, &path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    /// Mounts an image at a folder.
    pub fn mount_image(&mut self, image: &Path, path: &Path) {
        let device = run("losetup", &["-f", "--show", image.to_str().unwrap()]).trim().to_owned();
        self.loops.push(device.clone());
        run("mount", &[&device, path.to_str().unwrap()]);
        self.mounts.push(path.to_owned());
    }

    /// Unmounts the last image that was mounted.
    pub fn unmount_image(&mut self) {
        run("sh", &["-c", UNMOUNT, "umount", self.mounts.pop().unwrap().to_str().unwrap()]);
        run("losetup", &["-d", &self.loops.pop().unwrap()]);
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for path in self.mounts.iter().rev() {
            let _ = Command::new("sh").args(["-c", UNMOUNT, "umount"]).arg(path).status();
        }
        for device in &self.loops {
            let _ = Command::new("losetup").args(["-d", device]).status();
        }
    }
}

/// Runs a program that must succeed and gives what it wrote.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?} (this test needs root and loop mounts): {text}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Undos in a file, as a journal keeps them.
pub struct Undos {
    pub path: PathBuf,
    next: AtomicU64,
}

impl Undos {
    pub fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, next: AtomicU64::new(1) })
    }

    /// Does every undo in the file, as a reconcile does: a folder is removed only when its marker names the run.
    pub fn reconcile(path: &Path) {
        let text = fs::read_to_string(path).unwrap_or_default();
        for line in text.lines() {
            let Undo::RemoveTree { path, run } = serde_json::from_str(line).unwrap() else {
                panic!("{line}")
            };
            if fs::read_to_string(path.join(Undo::MARKER)).is_ok_and(|found| found.trim() == run) {
                fs::remove_dir_all(&path).unwrap();
            }
        }
    }
}

impl UndoLog for Undos {
    fn intend(&self, undo: Undo) -> Result<Ticket, UndoError> {
        let Undo::RemoveTree { path, .. } = &undo else { panic!("{undo}") };
        assert!(!path.exists(), "the undo of {} comes after its creation", path.display());
        let mut file = fs::OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
        writeln!(file, "{}", serde_json::to_string(&undo).unwrap()).unwrap();
        Ok(Ticket(self.next.fetch_add(1, Ordering::Relaxed)))
    }

    fn settle(&self, _ticket: Ticket) {}
}

/// Keeps what it is told.
#[derive(Default)]
pub struct Ear(pub Mutex<Vec<Event>>);

impl Ear {
    pub fn problems(&self) -> Vec<Problem> {
        let events = self.0.lock().unwrap();
        events
            .iter()
            .filter_map(
                |event| if let Event::Problem(problem) = event { Some(problem.clone()) } else { None },
            )
            .collect()
    }
}

impl Monitor for Ear {
    fn emit(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

pub fn code() -> SiteCode {
    "P01".parse().unwrap()
}

pub fn name(text: &str) -> ComponentName {
    text.parse().unwrap()
}

pub fn run_id(number: u64) -> RunId {
    format!("20261122T02000{number}Z-{number}").parse().unwrap()
}

pub fn one_folder(folder: &Path) -> Destination {
    Destination { folder: Some(folder.to_owned()), ..Destination::default() }
}

pub fn two_folders(files: &Path, databases: &Path) -> Destination {
    Destination {
        files: Some(files.to_owned()),
        databases: Some(databases.to_owned()),
        ..Destination::default()
    }
}

/// One run at a destination: what a coordinator does with the archive.
pub struct TestRun {
    pub builder: SetBuilder,
    pub run: RunId,
    pub ear: Arc<Ear>,
    pub undos: Arc<Undos>,
    pub previous: Option<BackupSet>,
    pub cancel: Cancel,
    components: Vec<(ComponentName, Place)>,
    kit: Kit,
}

impl TestRun {
    pub fn begin(ground: &Path, destination: &Destination, number: u64) -> Result<Self, ArchiveError> {
        let run = run_id(number);
        let undos = Undos::new(ground.join("undos"));
        let root = destination.folder.as_ref().or(destination.share.as_ref()).or(destination.files.as_ref());
        // How full the disk of the tests is, is not what they ask.
        let builder = SetBuilder::create(destination, &code(), &run, &*undos)?.keep_free_percent(0);
        let previous = BackupSet::open(&root.unwrap().join("P01Backup")).ok();
        let program = ground.join("program");
        if !program.exists() {
            fs::write(&program, b"#!/bin/sh\necho stillpoint\n").unwrap();
        }
        let site_file = "[site]\ncode = \"P01\"\n".into();
        let kit = Kit { program, site_file, recover: "# Recover\n".into() };
        let cancel = Cancel::default();
        let (ear, components) = (Arc::default(), Vec::new());
        Ok(Self { builder, run, ear, undos, previous, cancel, components, kit })
    }

    pub fn context(&mut self, component: &str, place: Place) -> Context {
        let component = name(component);
        if !self.components.contains(&(component.clone(), place)) {
            self.components.push((component.clone(), place));
        }
        Context {
            site: code(),
            run: self.run.clone(),
            workspace: self.builder.workspace(place, &component).unwrap(),
            previous: self.previous.as_ref().and_then(|set| set.previous(&component)),
            component,
            undos: self.undos.clone(),
            monitor: self.ear.clone(),
            cancel: self.cancel.clone(),
        }
    }

    pub fn tree(
        &mut self,
        component: &str,
        place: Place,
        folder: &str,
        source: TreeSource,
    ) -> Result<(), SinkError> {
        let context = self.context(component, place);
        self.builder.sink(place, &context.component).tree(&context, folder, source)
    }

    pub fn stream(
        &mut self,
        component: &str,
        place: Place,
        file: &str,
        content: &[u8],
    ) -> Result<u64, SinkError> {
        let context = self.context(component, place);
        self.builder.sink(place, &context.component).stream(&context, file, &mut &content[..])
    }

    pub fn facts(&self) -> SetFacts {
        let words = |component: &ComponentName| {
            (
                Description {
                    writer: "files".into(),
                    level: Level::System,
                    quieting: None,
                    estimate_bytes: Some(1),
                    sources: vec![PathBuf::from("/srv")],
                    facts: serde_json::json!({"component": component.as_str()}),
                },
                Captured { grade: Grade::Crash, facts: serde_json::json!({"lsn": "0/1"}) },
            )
        };
        let components = self.components.iter().map(|(component, place)| {
            let (description, captured) = words(component);
            (component.clone(), *place, description, captured)
        });
        SetFacts {
            site: code(),
            name: "Test site".into(),
            run: self.run.clone(),
            epoch: EpochNumber(7),
            cut_at: "2026-11-22T02:00:03Z".parse().unwrap(),
            window_us: 12_345,
            grade: Some(Grade::Crash),
            outcome: Outcome::Complete,
            problems: Vec::new(),
            tools: BTreeMap::from([("stillpoint".to_owned(), "0.1.0".to_owned())]),
            components: components.collect(),
        }
    }

    pub fn kit(&self) -> &Kit {
        &self.kit
    }

    pub fn monitor(&self) -> Arc<dyn Monitor> {
        self.ear.clone()
    }

    pub fn publish(self) -> Result<BackupSet, ArchiveError> {
        let (facts, monitor) = (self.facts(), self.monitor());
        self.builder.publish(facts, &self.kit, &monitor)
    }
}

/// A tree that is walked.
pub fn walked(root: &Path) -> TreeSource {
    TreeSource { root: root.to_owned(), index: None, owned: false, include: Vec::new(), exclude: Vec::new() }
}

/// Makes a small tree with names of every odd kind.
pub fn plant_source(root: &Path, version: &str) {
    fs::create_dir_all(root.join("folder/empty")).unwrap();
    for name in odd_names() {
        fs::write(root.join(OsStr::from_bytes(&name)), [b"content ", &name[..], version.as_bytes()].concat())
            .unwrap();
    }
    fs::write(root.join("folder/big"), version.repeat(100_000)).unwrap();
    fs::write(root.join("folder/none"), b"").unwrap();
    let _ = fs::remove_file(root.join("folder/other name"));
    fs::hard_link(root.join("folder/big"), root.join("folder/other name")).unwrap();
    let _ = fs::remove_file(root.join("pointer"));
    std::os::unix::fs::symlink("folder/big", root.join("pointer")).unwrap();
}

pub fn odd_names() -> Vec<Vec<u8>> {
    [
        &b"plain"[..],
        b"two words",
        b"new\nline",
        b"return\rhere",
        b"back\\slash",
        b"\xff\xfe invalid",
        "größe 大".as_bytes(),
        b" lead",
        b"*",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

/// A whole run with one file tree and one database dump.
pub fn publish_version(
    ground: &Path,
    destination: &Destination,
    number: u64,
) -> Result<BackupSet, ArchiveError> {
    fill_version(ground, destination, number)?.publish()
}

/// The same up to the publish.
pub fn fill_version(ground: &Path, destination: &Destination, number: u64) -> Result<TestRun, ArchiveError> {
    let source = ground.join("source");
    fs::create_dir_all(&source).unwrap();
    plant_source(&source, &format!("version {number}"));
    let mut run = TestRun::begin(ground, destination, number)?;
    run.tree("web", Place::SiteServer, "", walked(&source)).unwrap();
    run.stream("ledger", Place::SiteDbServer, "dump.sql", format!("dump {number}").as_bytes()).unwrap();
    Ok(run)
}

/// Verifies a set and says what is damaged.
pub fn damage(set: &BackupSet) -> Vec<String> {
    let monitor: Arc<dyn Monitor> = Arc::new(NoMonitor);
    let report = set.verify(&monitor, &Cancel::default()).unwrap();
    report
        .damage
        .into_iter()
        .map(|problem| format!("{}: {}", problem.path.unwrap_or_default(), problem.text))
        .collect()
}

/// Heals a destination.
pub fn mend(destination: &Destination) -> Vec<String> {
    heal(destination, &code()).unwrap()
}

/// The names in a folder, sorted.
pub fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
