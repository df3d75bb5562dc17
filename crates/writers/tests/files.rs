//! File trees with a small real provider, which copies the tree in the cut; the real ones are tested with their own crate.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use common::{Kept, Surroundings, soon};
use stillpoint_model::site_file::FilesSettings;
use stillpoint_model::{
    Captured, Context, Deadline, EpochNumber, Grade, Level, Provider, ProviderError, ProviderKind,
    RestoreOptions, Restorer, StoredComponent, StoredPrevious, Suitability, TreeCut, TreeRequest, TreeSource,
    Writer, WriterError,
};
use stillpoint_tree::{Filter, IndexAppender, MirrorOptions, Progress, Transfer, mirror};
use stillpoint_writers::files::{FilesRestorer, FilesWriter};

/// Unmounts `$1`. A process that is just being started somewhere may hold it for a moment, so it is tried for a while.
const UNMOUNT: &str =
    "for _ in $(seq 100); do umount \"$1\" 2>/dev/null && exit 0; sleep 0.1; done; exec umount \"$1\"";

/// Copies the whole tree in the cut, and notes each call.
#[derive(Clone, Default)]
struct PlainCopy {
    calls: Arc<Mutex<Vec<&'static str>>>,
    fails_to_prepare: bool,
    /// Something that it tells as a problem, as a provider does of what it cannot read.
    problem: Option<&'static str>,
}

struct Cut {
    provider: PlainCopy,
    request: TreeRequest,
}

struct Silent;

impl Progress for Silent {
    fn advance(&self, _files: u64, _bytes: u64) -> bool {
        true
    }
}

impl Provider for PlainCopy {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Copy
    }

    fn probe(&self, _request: &TreeRequest, _context: &Context) -> Suitability {
        Suitability::Suitable("always".into())
    }

    fn open(&self, request: &TreeRequest, _context: &Context) -> Result<Box<dyn TreeCut>, ProviderError> {
        Ok(Box::new(Cut { provider: self.clone(), request: request.clone() }))
    }
}

impl Cut {
    fn note(&self, call: &'static str) {
        self.provider.calls.lock().unwrap().push(call);
    }
}

impl TreeCut for Cut {
    fn prepare(&mut self, _context: &Context, _deadline: Deadline) -> Result<(), ProviderError> {
        self.note("prepare");
        match self.provider.fails_to_prepare {
            true => Err(ProviderError::Other("no".into())),
            false => Ok(()),
        }
    }

    fn poise(&mut self, _context: &Context, _deadline: Deadline) -> Result<(), ProviderError> {
        self.note("poise");
        Ok(())
    }

    fn cut(&mut self, context: &Context, _deadline: Deadline) -> Result<(), ProviderError> {
        self.note("cut");
        let target = context.workspace.join("copy");
        fs::create_dir(&target).unwrap();
        let mut list = IndexAppender::create(&context.workspace.join("list")).unwrap();
        let options = MirrorOptions {
            filter: Filter::new(&self.request.include, &self.request.exclude).unwrap(),
            transfer: Transfer::Copy,
            baseline: None,
            hash: true,
            live: false,
            settled_before: None,
            threads: 1,
        };
        let report = mirror(&self.request.source, &target, &mut list, &options, &Silent).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        list.finish().unwrap();
        Ok(())
    }

    fn image(
        &mut self,
        context: &Context,
        _deadline: Deadline,
    ) -> Result<(TreeSource, Grade), ProviderError> {
        self.note("image");
        if let Some(problem) = self.provider.problem {
            context.problem(problem);
        }
        let source = TreeSource {
            root: context.workspace.join("copy"),
            index: Some(context.workspace.join("list")),
            owned: true,
            include: Vec::new(),
            exclude: Vec::new(),
        };
        Ok((source, Grade::Frozen))
    }

    fn release(&mut self, _context: &Context) -> Result<(), ProviderError> {
        self.note("release");
        Ok(())
    }
}

fn settings(path: &Path) -> FilesSettings {
    FilesSettings { path: path.to_owned(), include: Vec::new(), exclude: Vec::new(), provider: None }
}

fn writer(settings: &FilesSettings, provider: &PlainCopy) -> FilesWriter {
    FilesWriter::new(settings, Box::new(provider.clone()), "it is the only one".into())
}

/// A whole run; the captured tree as it would lie in a set.
fn back_up(
    site: &Surroundings,
    settings: &FilesSettings,
    provider: &PlainCopy,
) -> Result<(Captured, StoredComponent), WriterError> {
    let mut writer = writer(settings, provider);
    let mut kept = Kept::default();
    let captured = (|| {
        writer.identify(&site.context, soon())?;
        writer.prepare(&site.context, soon())?;
        writer.poise(&site.context, soon())?;
        writer.freeze(&site.context, soon())?;
        writer.cut(&site.context, soon())?;
        writer.thaw(&site.context, soon())?;
        writer.capture(&site.context, soon(), &mut kept)
    })();
    writer.release(&site.context).unwrap();
    let captured = captured?;
    let (folder, source) = kept.trees.pop().unwrap();
    assert!(folder.is_empty());
    let stored = StoredComponent {
        name: "part".parse().unwrap(),
        folder: source.root,
        index: source.index.unwrap(),
        facts: captured.facts.clone(),
        grade: captured.grade,
        epoch: EpochNumber(1),
    };
    Ok((captured, stored))
}

/// A tree with a little of everything.
fn tree(site: &Surroundings) -> PathBuf {
    let top = site.path("tree");
    fs::create_dir_all(top.join("folder/deep")).unwrap();
    fs::write(top.join("folder/deep/file"), "content").unwrap();
    fs::write(top.join("private"), "secret").unwrap();
    fs::set_permissions(top.join("private"), fs::Permissions::from_mode(0o400)).unwrap();
    std::os::unix::fs::chown(top.join("private"), Some(1234), Some(2345)).unwrap();
    symlink("private", top.join("link")).unwrap();
    fs::hard_link(top.join("private"), top.join("second name")).unwrap();
    top
}

/// Everything about a tree, as `find` sees it.
fn picture(top: &Path) -> String {
    let program = Command::new("find")
        .current_dir(top)
        .args([".", "-printf", "%P %y %m %U %G %T@ %l %n %s\\n"])
        .output()
        .unwrap();
    let mut lines: Vec<String> =
        String::from_utf8(program.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let site = Surroundings::new();
    let top = tree(&site);
    let before = picture(&top);
    let provider = PlainCopy::default();
    let description = writer(&settings(&top), &provider).identify(&site.context, soon()).unwrap();
    assert_eq!((description.level, description.estimate_bytes), (Level::System, Some(13)));
    assert_eq!(description.sources, std::slice::from_ref(&top));
    assert_eq!(site.events.chosen(), ["copy: it is the only one"]);
    let (captured, stored) = back_up(&site, &settings(&top), &provider).unwrap();
    assert_eq!(*provider.calls.lock().unwrap(), ["prepare", "poise", "cut", "image", "release"]);
    assert_eq!((captured.grade, captured.facts["files"].as_u64()), (Grade::Frozen, Some(2)));
    fs::remove_dir_all(&top).unwrap();
    let mut restorer = FilesRestorer::new(&settings(&top));
    assert!(restorer.obstacles(&stored).unwrap().is_empty());
    let restored = restorer.restore(&site.context, &stored, &RestoreOptions::default(), soon()).unwrap();
    assert_eq!(picture(&top), before);
    assert_eq!(restored.notes, [""; 0]);
}

#[test]
fn nothing_is_overwritten_without_permission_and_with_it_the_tree_is_as_it_was() {
    let site = Surroundings::new();
    let top = tree(&site);
    let before = picture(&top);
    let (_, stored) = back_up(&site, &settings(&top), &PlainCopy::default()).unwrap();
    fs::remove_file(top.join("private")).unwrap();
    fs::write(top.join("later"), "x").unwrap();
    let changed = picture(&top);
    let mut restorer = FilesRestorer::new(&settings(&top));
    assert!(restorer.obstacles(&stored).unwrap()[0].contains("removed"));
    let no = RestoreOptions { overwrite: false };
    restorer.restore(&site.context, &stored, &no, soon()).unwrap_err();
    assert_eq!(picture(&top), changed);
    restorer.restore(&site.context, &stored, &RestoreOptions { overwrite: true }, soon()).unwrap();
    assert_eq!(picture(&top), before);
}

#[test]
fn what_the_backup_does_not_hold_is_never_removed_by_a_restore() {
    let excluded = |top: &Path| FilesSettings { exclude: vec!["cache".into()], ..settings(top) };
    let unreadable = PlainCopy { problem: Some("cannot read later"), ..PlainCopy::default() };
    for (provider, exclude) in [(unreadable, false), (PlainCopy::default(), true)] {
        let site = Surroundings::new();
        let top = tree(&site);
        let settings = if exclude { excluded(&top) } else { settings(&top) };
        fs::create_dir(top.join("cache")).unwrap();
        let (captured, stored) = back_up(&site, &settings, &provider).unwrap();
        assert_eq!(captured.facts["problems"].as_u64(), Some(u64::from(!exclude)));
        assert_eq!(site.events.problems().len(), usize::from(!exclude), "a problem did not get through");
        fs::write(top.join("later"), "x").unwrap();
        fs::write(top.join("cache/x"), "x").unwrap();
        let mut restorer = FilesRestorer::new(&settings);
        let options = RestoreOptions { overwrite: true };
        let restored = restorer.restore(&site.context, &stored, &options, soon()).unwrap();
        assert!(top.join("later").exists() && top.join("cache/x").exists());
        assert!(restored.notes[0].contains("later"), "{:?}", restored.notes);
    }
}

#[test]
fn what_is_not_a_tree_is_refused() {
    let site = Surroundings::new();
    let top = tree(&site);
    symlink(&top, site.path("link")).unwrap();
    for (path, words) in [
        (site.path("missing"), "cannot find the file tree"),
        (top.join("private"), "not a folder"),
        (site.path("link"), "symbolic link to"),
    ] {
        let error =
            writer(&settings(&path), &PlainCopy::default()).identify(&site.context, soon()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_tree_that_lost_all_its_files_is_refused_and_one_that_never_had_any_is_not() {
    let site = Surroundings::new();
    let top = tree(&site);
    let (_, stored) = back_up(&site, &settings(&top), &PlainCopy::default()).unwrap();
    fs::remove_dir_all(&top).unwrap();
    fs::create_dir_all(top.join("lost+found")).unwrap();
    let previous = StoredPrevious { folder: stored.folder, index: stored.index };
    let later = Surroundings::new().with_previous(previous);
    let error = writer(&settings(&top), &PlainCopy::default()).identify(&later.context, soon()).unwrap_err();
    assert!(error.to_string().contains("is its file system mounted?"), "{error}");
    let fresh = Surroundings::new();
    let (_, empty) = back_up(&fresh, &settings(&top), &PlainCopy::default()).unwrap();
    let later =
        Surroundings::new().with_previous(StoredPrevious { folder: empty.folder, index: empty.index });
    back_up(&later, &settings(&top), &PlainCopy::default()).unwrap();
}

/// A small file system in memory, unmounted at the end.
struct Mounted(PathBuf);

impl Mounted {
    fn at(folder: &Path) -> Self {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(folder)
            .status()
            .unwrap();
        assert!(status.success(), "the test mounts a tmpfs and needs root");
        Self(folder.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        assert!(Command::new("sh").args(["-c", UNMOUNT, "umount"]).arg(&self.0).status().unwrap().success());
    }
}

#[test]
fn a_tree_that_is_unmounted_under_way_is_a_veto() {
    for step in ["prepare", "poise", "freeze"] {
        let site = Surroundings::new();
        let top = site.path("tree");
        fs::create_dir(&top).unwrap();
        fs::write(top.join("below"), "what lies under the mount point").unwrap();
        let mounted = Mounted::at(&top);
        fs::write(top.join("file"), "x").unwrap();
        let mut writer = writer(&settings(&top), &PlainCopy::default());
        let description = writer.identify(&site.context, soon()).unwrap();
        assert_eq!(description.facts["file_system"].as_str(), Some("tmpfs"));
        assert_eq!(description.facts["mount_point"].as_str(), top.to_str());
        let mut mounted = Some(mounted);
        let mut result = Ok(());
        for (name, act) in [
            ("prepare", FilesWriter::prepare as fn(&mut FilesWriter, &Context, Deadline) -> _),
            ("poise", FilesWriter::poise),
            ("freeze", FilesWriter::freeze),
        ] {
            if name == step {
                mounted = None;
            }
            result = act(&mut writer, &site.context, soon());
            if result.is_err() {
                assert_eq!(name, step);
                break;
            }
        }
        assert!(mounted.is_none());
        let error = result.unwrap_err();
        assert!(error.to_string().contains("is not the folder that it was"), "{step}: {error}");
        writer.release(&site.context).unwrap();
    }
}

#[test]
fn a_cut_that_could_not_be_prepared_is_released_all_the_same() {
    let site = Surroundings::new();
    let provider = PlainCopy { fails_to_prepare: true, ..PlainCopy::default() };
    let error = back_up(&site, &settings(&tree(&site)), &provider).map(drop).unwrap_err();
    assert!(matches!(error, WriterError::Provider(_)), "{error}");
    assert_eq!(*provider.calls.lock().unwrap(), ["prepare", "release"]);
}

#[test]
fn the_estimate_counts_no_holes_and_no_second_names_and_nothing_that_is_left_out() {
    let site = Surroundings::new();
    let top = tree(&site);
    File::create(top.join("sparse")).unwrap().set_len(1 << 40).unwrap();
    fs::write(top.join("left out"), vec![1; 100_000]).unwrap();
    let settings = FilesSettings { exclude: vec!["left out".into()], ..settings(&top) };
    let description = writer(&settings, &PlainCopy::default()).identify(&site.context, soon()).unwrap();
    let estimate = description.estimate_bytes.unwrap();
    let allocated = fs::metadata(top.join("sparse")).unwrap().blocks() * 512;
    assert_eq!(estimate, 13 + allocated);
}
