//! Looking into versions and taking out of them, in the words of the site: components and paths.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillpoint_archive::Place;
use stillpoint_model::{ComponentName, ErrorKind};
use stillpoint_repository::{
    Change, Contents, Found, Id, Node, NodeKind, Overwrite, RepositoryError, RepositoryLock, RestoreOptions,
    RestoreReport, Snapshot, Unreadable, Walk, Watcher,
};
use stillpoint_tree::{Filter, RelPath};

use super::open::OpenArchive;
use super::versions::VersionFacts;
use crate::SiteError;

/// A version that is open for reading. While it is, no prune takes from it.
pub struct OpenVersion<'a> {
    archive: &'a OpenArchive,
    watcher: Arc<dyn Watcher>,
    contents: Contents,
    facts: VersionFacts,
    /// The folder of the set in it.
    top: RelPath,
    lock: Option<RepositoryLock>,
}

/// What is to be restored, and how.
#[derive(Debug, Clone, Default)]
pub struct RestoreWish {
    /// Only this component.
    pub component: Option<ComponentName>,
    /// Only this file, or what is in this folder; below the component when there is one.
    pub path: Option<PathBuf>,
    /// Patterns of what to take, relative to what is restored; nothing means everything.
    pub include: Vec<String>,
    /// Patterns of what to leave out.
    pub exclude: Vec<String>,
    /// Whether what is there and differs is replaced.
    pub overwrite: bool,
    /// Whether what is there and not in the version is removed.
    pub delete: bool,
    /// Whether nothing is written.
    pub dry_run: bool,
}

impl OpenArchive {
    /// Opens a version, as [`find_version`](Self::find_version) names it.
    pub fn open_version(
        &self,
        site: &str,
        wanted: &str,
        watcher: &Arc<dyn Watcher>,
    ) -> Result<OpenVersion<'_>, SiteError> {
        // First: what was found before somebody else's prune might be gone afterwards.
        let lock = self.lock_for_reading(&**watcher)?;
        let (id, snapshot) = self.find_version(site, wanted)?;
        let contents = Contents::open(&self.repository, &snapshot).map_err(|error| self.error(error))?;
        let top = snapshot.paths.first().map_or("", |path| path.trim_matches('/'));
        let top = RelPath::from_bytes(top.as_bytes().to_vec()).unwrap_or_default();
        let facts = VersionFacts::of(id, &snapshot);
        Ok(OpenVersion { archive: self, watcher: Arc::clone(watcher), contents, facts, top, lock })
    }

    /// Finds what fits the patterns in all versions of this site, oldest first. Returns how many folders could not be read.
    pub fn find_in_versions(
        &self,
        site: &str,
        component: Option<&ComponentName>,
        patterns: &[String],
        watcher: &Arc<dyn Watcher>,
        found: &mut dyn FnMut(&VersionFacts, Found<'_>),
    ) -> Result<Vec<Unreadable>, SiteError> {
        let lock = self.lock_for_reading(&**watcher)?;
        let snapshots = self.repository.snapshots().map_err(|error| self.error(error))?;
        let facts = |(id, snapshot): &(Id, Snapshot)| VersionFacts::of(*id, snapshot);
        let snapshots: Vec<_> = snapshots.into_iter().filter(|one| facts(one).site == site).collect();
        let Some((_, newest)) = snapshots.last() else { return Ok(Vec::new()) };
        let contents = Contents::open(&self.repository, newest).map_err(|error| self.error(error))?;
        let set = snapshots.last().and_then(|(_, newest)| newest.paths.first());
        let set = set.map_or("", |path| path.trim_matches('/'));
        let filter = match component {
            None => filter(None, patterns, &[])?,
            Some(name) => {
                let places = places().map(|place| format!("{set}/{}/{name}", place.as_path().display()));
                let inside = |place: &String| {
                    patterns.iter().map(|pattern| within(place, pattern)).collect::<Vec<_>>()
                };
                filter(None, &places.iter().flat_map(inside).collect::<Vec<_>>(), &[])?
            }
        };
        let mut tell = |one: Found<'_>| {
            if let Some(snapshot) = snapshots.iter().find(|(id, _)| *id == one.version) {
                found(&facts(snapshot), one);
            }
        };
        let problems = contents.find(&snapshots, &filter, &mut tell, &**watcher);
        release(lock, &**watcher);
        let problems = problems.map_err(|error| self.error(error))?;
        Ok(problems.into_iter().map(|(_, folder)| folder).collect())
    }
}

fn release(lock: Option<RepositoryLock>, watcher: &dyn Watcher) {
    if let Some(lock) = lock {
        lock.release(watcher);
    }
}

/// A pattern that is relative to a place, as one that is relative to the top. Without `/` it fits at any depth.
fn within(place: &str, pattern: &str) -> String {
    let body = pattern.strip_suffix('/').unwrap_or(pattern);
    if body.contains('/') {
        format!("/{place}/{}", pattern.trim_start_matches('/'))
    } else {
        format!("/{place}/**/{pattern}")
    }
}

/// Where in a set components lie. The last one is that of databases that lay apart.
fn places() -> [RelPath; 3] {
    let top = RelPath::top();
    let [files, databases] = Place::ALL.map(|place| top.child(place.folder().as_bytes()));
    let apart = top.child(b"databases").child(Place::SiteDbServer.folder().as_bytes());
    [files, databases, apart]
}

/// The path `inner` below a folder.
fn join(folder: &RelPath, inner: &RelPath) -> RelPath {
    let names = inner.as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    names.fold(folder.clone(), |folder, name| folder.child(name))
}

/// The filter of patterns that are relative to a place in the version. Without `/` a pattern fits at any depth.
fn filter(place: Option<&str>, include: &[String], exclude: &[String]) -> Result<Filter, SiteError> {
    let inside = |pattern: &String| place.map_or_else(|| pattern.clone(), |place| within(place, pattern));
    let patterns = |list: &[String]| list.iter().map(inside).collect::<Vec<_>>();
    Filter::new(&patterns(include), &patterns(exclude))
        .map_err(|error| SiteError::new(ErrorKind::Usage, "a pattern cannot be understood").because(error))
}

/// The same characters, none of which means anything in a pattern.
fn escaped(path: &RelPath) -> String {
    let text = String::from_utf8_lossy(path.as_bytes());
    text.chars().flat_map(|c| "*?[]{}!\\".contains(c).then_some('\\').into_iter().chain([c])).collect()
}

impl OpenVersion<'_> {
    /// What is known of it.
    pub fn facts(&self) -> &VersionFacts {
        &self.facts
    }

    /// Where something is: a component, and a path below it; a path below the top; or the top.
    pub fn place(
        &self,
        component: Option<&ComponentName>,
        path: Option<&Path>,
    ) -> Result<RelPath, SiteError> {
        let root = match component {
            None => RelPath::top(),
            Some(name) => self.component(name)?,
        };
        let Some(path) = path else { return Ok(root) };
        let bytes = path.as_os_str().as_bytes();
        let bytes = bytes.strip_prefix(b"/").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
        let inner = RelPath::from_bytes(bytes.to_vec()).ok_or_else(|| {
            let text =
                format!("{} is no path in a version: it has an empty part, a `.` or a `..`", path.display());
            SiteError::new(ErrorKind::Usage, text).hint("write it as `stillpoint archive ls` shows it")
        })?;
        Ok(join(&root, &inner))
    }

    /// The folder of a component.
    fn component(&self, name: &ComponentName) -> Result<RelPath, SiteError> {
        for place in places() {
            let at = join(&join(&self.top, &place), &RelPath::top().child(name.as_str().as_bytes()));
            match self.contents.node(&at) {
                Ok(_) => return Ok(at),
                Err(error) if error.kind == ErrorKind::Usage => {}
                Err(error) => return Err(self.archive.error(error)),
            }
        }
        let text = format!("version {} has no component {name}", self.facts.id.short());
        Err(SiteError::new(ErrorKind::Usage, text).hint("`stillpoint archive ls` shows what is in it"))
    }

    /// All entries below a place, which comes first.
    pub fn entries(&self, place: &RelPath) -> Result<Walk, SiteError> {
        self.contents.walk(place, Filter::default()).map_err(|error| self.archive.error(error))
    }

    /// What lies directly in a folder, and not what is below; something else than a folder itself.
    pub fn children(&self, place: &RelPath) -> Result<Vec<(RelPath, Node)>, SiteError> {
        self.contents.children(place).map_err(|error| self.archive.error(error))
    }

    /// What changed from this version to a later one of the same archive, in a component or everywhere.
    pub fn diff(
        &self,
        after: &OpenVersion<'_>,
        component: Option<&ComponentName>,
    ) -> Result<impl Iterator<Item = Result<Change, Unreadable>>, SiteError> {
        let taken = match component {
            None => Filter::default(),
            Some(name) => {
                // One of the two may not have it.
                let at = self.component(name).or_else(|_| after.component(name))?;
                filter(None, &[format!("/{}", escaped(&at))], &[])?
            }
        };
        let changes = self.contents.diff(&after.contents, taken.clone());
        // The folders on the way to the component are not asked for.
        let asked = move |change: &Result<Change, Unreadable>| {
            change.as_ref().map_or(true, |change| taken.selects(&change.path, true))
        };
        Ok(changes.filter(asked))
    }

    /// Writes the content of a file. Of a component without a path: of its only file.
    pub fn dump(
        &self,
        component: Option<&ComponentName>,
        path: Option<&Path>,
        out: &mut dyn Write,
    ) -> Result<u64, SiteError> {
        let mut place = self.place(component, path)?;
        if path.is_none() {
            place = self.only_file(&place)?;
        }
        self.contents.dump(&place, out, &*self.watcher).map_err(|error| self.archive.error(error))
    }

    fn only_file(&self, folder: &RelPath) -> Result<RelPath, SiteError> {
        let mut files = Vec::new();
        for entry in self.entries(folder)? {
            let (path, node): (RelPath, Node) = entry.map_err(|folder| self.archive.error(folder.error))?;
            if node.kind == NodeKind::File {
                files.push(path);
            }
            if files.len() > 1 {
                break;
            }
        }
        match (files.pop(), files.is_empty()) {
            (Some(file), true) => Ok(file),
            (found, _) => {
                let many = if found.is_some() { "more than one file" } else { "no file" };
                let text = format!("{} has {many}", folder.as_path().display());
                Err(SiteError::new(ErrorKind::Usage, text).hint("name the file that is meant"))
            }
        }
    }

    /// Restores into a folder.
    pub fn restore(&self, target: &Path, wish: &RestoreWish) -> Result<RestoreReport, SiteError> {
        let from = self.place(wish.component.as_ref(), wish.path.as_deref())?;
        let place = (!from.is_top()).then(|| escaped(&from));
        let options = RestoreOptions {
            filter: filter(place.as_deref(), &wish.include, &wish.exclude)?,
            from,
            overwrite: if wish.overwrite { Overwrite::Replace } else { Overwrite::Refuse },
            remove_extra: wish.delete,
            dry_run: wish.dry_run,
        };
        let restored = self.contents.restore(target, &options, &*self.watcher);
        restored.map_err(|error: RepositoryError| self.archive.error(error))
    }

    /// The reading is over.
    pub fn close(self) {
        release(self.lock, &*self.watcher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(place: Option<&str>, include: &str, path: &str) -> bool {
        let path = RelPath::from_bytes(path.as_bytes().to_vec()).unwrap();
        filter(place, &[include.to_owned()], &[]).unwrap().selects(&path, false)
    }

    #[test]
    fn patterns_are_relative_to_what_is_asked_for() {
        let place = Some("T01Backup/SiteServer/content");
        for (pattern, path, wanted) in [
            ("*.txt", "T01Backup/SiteServer/content/a.txt", true),
            ("*.txt", "T01Backup/SiteServer/content/b/c/a.txt", true),
            ("*.txt", "T01Backup/SiteServer/other/a.txt", false),
            ("/b/*.txt", "T01Backup/SiteServer/content/b/a.txt", true),
            ("b/*.txt", "T01Backup/SiteServer/content/b/a.txt", true),
            ("b/*.txt", "T01Backup/SiteServer/content/c/b/a.txt", false),
        ] {
            assert_eq!(takes(place, pattern, path), wanted, "{pattern} {path}");
        }
        assert!(takes(None, "*.txt", "x/y/a.txt") && !takes(None, "/a.txt", "x/a.txt"));
        let odd = RelPath::from_bytes(b"a[1]/b*".to_vec()).unwrap();
        assert!(takes(Some(&escaped(&odd)), "*.txt", "a[1]/b*/c.txt"));
        assert!(!takes(Some(&escaped(&odd)), "*.txt", "a1/bx/c.txt"));
        assert!(filter(None, &["a[".to_owned()], &[]).is_err());
    }
}
