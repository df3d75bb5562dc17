//! What the tests of providers share: file systems on loop devices, a context that records, and a comparison of what a
//! provider delivered with an independent copy.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stillpoint_model::{
    Cancel, Context, Deadline, Event, Grade, Monitor, RunId, StoredPrevious, Ticket, TreeCut, TreeRequest,
    TreeSource, Undo, UndoError, UndoLog,
};
use stillpoint_tree::{Entry, Filter, IndexReader, Kind, RelPath, Walk, hash_file};

/// Unmounts `$1`. A process that is just being started somewhere may hold it for a moment, so it is tried for a while.
pub const UNMOUNT: &str =
    "for _ in $(seq 100); do umount \"$1\" 2>/dev/null && exit 0; sleep 0.1; done; exec umount \"$1\"";

/// Runs a program that must succeed; returns what it wrote.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A file system on a loop device, unmounted and removed at the end.
pub struct Disk {
    folder: tempfile::TempDir,
    device: String,
    pub mount: PathBuf,
}

impl Disk {
    /// Makes one; needs root, loop devices and the mkfs of its kind.
    pub fn new(kind: &str, size: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("stillpoint-disk-").tempdir().unwrap();
        let image = folder.path().join("image");
        let mount = folder.path().join("mount");
        fs::create_dir(&mount).unwrap();
        run("truncate", &["-s", size, text(&image)]);
        let options: &[&str] = match kind {
            "xfs" => &["-q", "-m", "reflink=1"],
            "ext4" => &["-q", "-F"],
            _ => &["-q"],
        };
        run(&format!("mkfs.{kind}"), &[options, &[text(&image)]].concat());
        let device = run("losetup", &["-f", "--show", text(&image)]);
        run("mount", &["-t", kind, &device, text(&mount)]);
        Self { folder, device, mount }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("sh")
            .args(["-c", UNMOUNT, "umount"])
            .arg(&self.mount)
            .status()
            .is_ok_and(|s| s.success());
        let detached = Command::new("losetup").args(["-d", &self.device]).status().is_ok_and(|s| s.success());
        if !std::thread::panicking() {
            assert!(unmounted && detached, "{} could not be taken down", self.mount.display());
        }
    }
}

/// Records undos, and checks that each is registered before its act.
#[derive(Default)]
pub struct Undos {
    state: Mutex<(u64, BTreeMap<u64, Undo>, Vec<Undo>)>,
}

impl Undos {
    /// Undos that are registered and not settled.
    pub fn open(&self) -> Vec<Undo> {
        self.state.lock().unwrap().1.values().cloned().collect()
    }

    /// All that ever were.
    pub fn all(&self) -> Vec<Undo> {
        self.state.lock().unwrap().2.clone()
    }
}

impl UndoLog for Undos {
    fn intend(&self, undo: Undo) -> Result<Ticket, UndoError> {
        if let Undo::DeleteSubvolume { path } | Undo::RemoveTree { path, .. } = &undo {
            assert!(!path.exists(), "{undo} was registered after the act");
        }
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        let number = state.0;
        state.1.insert(number, undo.clone());
        state.2.push(undo);
        Ok(Ticket(number))
    }

    fn settle(&self, ticket: Ticket) {
        assert!(self.state.lock().unwrap().1.remove(&ticket.0).is_some(), "{ticket:?} was settled twice");
    }
}

/// Records problems.
#[derive(Default)]
pub struct Problems(Mutex<Vec<String>>);

impl Problems {
    pub fn list(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Monitor for Problems {
    fn emit(&self, event: Event) {
        if let Event::Problem(problem) = event {
            self.0.lock().unwrap().push(format!("{}: {}", problem.path.unwrap_or_default(), problem.text));
        }
    }
}

/// One run's surroundings.
pub struct Run {
    pub context: Context,
    pub undos: Arc<Undos>,
    pub problems: Arc<Problems>,
}

/// The surroundings of run `number`, with a fresh workspace in `parent`.
pub fn surroundings(parent: &Path, number: u32, previous: Option<StoredPrevious>) -> Run {
    let workspace = parent.join(format!("workspace-{number}"));
    fs::create_dir(&workspace).unwrap();
    let (undos, problems) = (Arc::new(Undos::default()), Arc::new(Problems::default()));
    let context = Context {
        site: "P01".parse().unwrap(),
        run: format!("20261122T020000Z-{number}").parse::<RunId>().unwrap(),
        component: "web".parse().unwrap(),
        workspace,
        previous,
        undos: undos.clone(),
        monitor: problems.clone(),
        cancel: Cancel::default(),
    };
    Run { context, undos, problems }
}

pub fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(120))
}

pub fn request(source: &Path) -> TreeRequest {
    TreeRequest { source: source.to_path_buf(), include: Vec::new(), exclude: Vec::new() }
}

/// Prepares and poises.
pub fn up_to_the_freeze(cut: &mut dyn TreeCut, context: &Context) {
    cut.prepare(context, soon()).unwrap_or_else(|e| panic!("prepare: {e:?}"));
    cut.poise(context, soon()).unwrap_or_else(|e| panic!("poise: {e:?}"));
}

/// The list of an image; walked when the image has none.
pub fn list_of(source: &TreeSource) -> Vec<Entry> {
    match &source.index {
        Some(index) => IndexReader::open(index).unwrap().map(Result::unwrap).collect(),
        None => {
            let filter = Filter::new(&source.include, &source.exclude).unwrap();
            Walk::new(&source.root, filter).unwrap().filter_map(Result::ok).collect()
        }
    }
}

/// An independent copy of a tree.
pub fn copy_aside(tree: &Path, to: &Path) {
    run("cp", &["-a", "--sparse=always", text(tree), text(to)]);
}

/// Asserts that an image is equal to an independent copy: names, kinds, content, metadata, hard links, and that the shadow
/// holds nothing else.
pub fn assert_equal(source: &TreeSource, copy: &Path) {
    let listed: BTreeMap<RelPath, Entry> =
        list_of(source).into_iter().map(|entry| (entry.path.clone(), entry)).collect();
    let expected: BTreeMap<RelPath, Entry> = Walk::new(copy, Filter::default())
        .unwrap()
        .map(|entry| entry.unwrap_or_else(|p| panic!("the copy is not whole: {p:?}")))
        .map(|entry| (entry.path.clone(), entry))
        .collect();
    let mut differences = Vec::new();
    for path in listed.keys().chain(expected.keys()).collect::<BTreeSet<_>>() {
        match (listed.get(path), expected.get(path)) {
            (Some(listed), Some(expected)) => differences.extend(differ(source, copy, listed, expected)),
            (Some(_), None) => differences.push(format!("{path}: should not be there")),
            (None, _) => differences.push(format!("{path}: is missing")),
        }
    }
    if source.index.is_some() {
        for entry in Walk::new(&source.root, Filter::default()).unwrap().map(Result::unwrap) {
            match listed.get(&entry.path) {
                Some(known) if known.hard_link.is_none() => {
                    let kinds = (std::mem::discriminant(&known.kind), std::mem::discriminant(&entry.kind));
                    if kinds.0 != kinds.1 {
                        differences.push(format!("{}: stored as another kind", entry.path));
                    }
                }
                known => differences.push(format!(
                    "{}: stored as {entry:?}, listed as {known:?}, should be {:?}",
                    entry.path,
                    expected.get(&entry.path)
                )),
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences, such as:\n{}",
        differences.len(),
        first_of(&differences)
    );
}

fn first_of(lines: &[String]) -> String {
    lines.iter().take(12).cloned().collect::<Vec<_>>().join("\n")
}

fn differ(source: &TreeSource, copy: &Path, listed: &Entry, expected: &Entry) -> Option<String> {
    let path = &expected.path;
    let facts = |e: &Entry| (e.mode, e.uid, e.gid, e.mtime, e.xattrs.clone(), e.hard_link.clone());
    if facts(listed) != facts(expected) {
        return Some(format!("{path}: {:?} instead of {:?}", facts(listed), facts(expected)));
    }
    match (&listed.kind, &expected.kind) {
        (Kind::File(listed_file), Kind::File(_)) => {
            let right = hash_file(&path.under(copy)).unwrap();
            if listed.hard_link.is_some() {
                return (listed_file.size != right.size).then(|| format!("{path}: size of a later name"));
            }
            let stored =
                hash_file(&path.under(&source.root)).map_err(|e| format!("{path}: not stored: {e:?}"));
            match stored {
                Err(text) => Some(text),
                Ok(stored) if stored != right => {
                    Some(format!("{path}: stored {stored:?} instead of {right:?}"))
                }
                Ok(_) if source.index.is_some() && *listed_file != right => {
                    Some(format!("{path}: listed {listed_file:?} instead of {right:?}"))
                }
                Ok(_) => None,
            }
        }
        (one, other) if one == other => None,
        (one, other) => Some(format!("{path}: {one:?} instead of {other:?}")),
    }
}

/// Everything below a folder with inode and size, to see that nothing was left behind.
pub fn names_below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut names = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
            names.insert(entry.path());
        }
    }
    names
}

/// The inode of each file below a folder.
pub fn inodes_below(folder: &Path) -> HashMap<PathBuf, u64> {
    let inode = |path: PathBuf| fs::symlink_metadata(&path).map(|m| (path, m.ino())).unwrap();
    names_below(folder).into_iter().map(inode).collect()
}

/// Which grade an image must have, and what it says.
pub fn assert_frozen(grade: Grade, run: &Run) {
    assert_eq!(grade, Grade::Frozen, "problems: {:?}", run.problems.list());
    assert_eq!(run.problems.list(), Vec::<String>::new());
}

/// A small tree with one of everything.
pub fn plant_small_tree(tree: &Path) {
    fs::create_dir_all(tree.join("folder/inner")).unwrap();
    fs::write(tree.join("folder/a file"), "content").unwrap();
    fs::write(tree.join(std::ffi::OsStr::from_bytes(b"not utf-8 \xff\nand two lines")), "strange").unwrap();
    fs::hard_link(tree.join("folder/a file"), tree.join("second name")).unwrap();
    std::os::unix::fs::symlink("folder/a file", tree.join("link")).unwrap();
    run("mkfifo", &[text(&tree.join("pipe"))]);
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 3_000_000).unwrap();
}
