//! After the thaw: makes the shadow equal to the tree as it was in the freeze, and writes its list.
//!
//! The order matters. First everything that is not there any more is removed, then what changed is put in its place, then
//! the list is written (which hashes what has no hash yet), and last the folders get their times back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use stillpoint_model::ProviderError;
use stillpoint_tree::{Entry, FileFacts, IndexAppender, Kind, RelPath, TreeError, hash_file};

use super::delta::{Content, Delta, Fact, Here};
use super::known::{Known, known_tree};
use super::shadow::Shadow;
use super::take::tree_error;

/// A file with several names, of which at least one is in the delta.
#[derive(Debug)]
struct Group {
    names: BTreeSet<RelPath>,
    /// The name in the delta whose content and metadata are the newest.
    holder: RelPath,
    /// What the first name is listed as, once it is in its place.
    listed: Option<Entry>,
}

/// Finishes one shadow.
pub(super) struct Finish<'a> {
    /// Where the shadow is.
    pub(super) root: &'a Path,
    /// The list of the first pass.
    pub(super) first_list: &'a Path,
    /// The list to be written.
    pub(super) final_list: &'a Path,
    /// What later passes found.
    pub(super) delta: &'a mut Delta,
    /// Told of each entry that could not be taken.
    pub(super) lost: Vec<(RelPath, String)>,
    shadow: Shadow,
    groups: HashMap<u64, Group>,
    /// Entries of single changed files, in their place and hashed.
    placed: BTreeMap<RelPath, Entry>,
    /// Folders whose own times moved because of what was done in them.
    touched: BTreeSet<RelPath>,
}

impl<'a> Finish<'a> {
    pub(super) fn new(
        root: &'a Path,
        first_list: &'a Path,
        final_list: &'a Path,
        delta: &'a mut Delta,
    ) -> Result<Self, ProviderError> {
        Ok(Self {
            shadow: Shadow::open(root)?,
            root,
            first_list,
            final_list,
            delta,
            lost: Vec::new(),
            groups: HashMap::new(),
            placed: BTreeMap::new(),
            touched: BTreeSet::new(),
        })
    }

    /// Does all of it. Returns the orphans: entries without a folder, which only a tree that was not held has.
    pub(super) fn run(&mut self) -> Result<Vec<RelPath>, ProviderError> {
        self.group();
        let orphans = self.remove_what_is_gone()?;
        self.place_groups()?;
        self.place_singles()?;
        self.write_list()?;
        Ok(orphans)
    }

    /// Groups the changed names of files with several.
    fn group(&mut self) {
        let inode_of_linked = |(_, fact): (&RelPath, &Fact)| match fact {
            Fact::Here(here) if here.is_linked() => Some(here.inode()),
            _ => None,
        };
        let linked: BTreeSet<u64> = self.delta.iter().filter_map(inode_of_linked).collect();
        for (path, fact) in self.delta.iter() {
            let Fact::Here(here) = fact else { continue };
            // Also a name that was taken before the file got its second one.
            if !here.is_file() || !linked.contains(&here.inode()) {
                continue;
            }
            let group = self.groups.entry(here.inode()).or_insert_with(|| Group {
                names: BTreeSet::new(),
                holder: path.clone(),
                listed: None,
            });
            group.names.insert(path.clone());
            let holder_time = match self.delta.get(&group.holder) {
                Some(Fact::Here(holder)) if has_content(holder) => holder.entry.origin.map(|o| o.ctime),
                _ => None,
            };
            if has_content(here) && here.entry.origin.map(|o| o.ctime) >= holder_time {
                group.holder = path.clone();
            }
        }
    }

    /// Removes from the shadow what the known tree does not have, and completes the groups on the way.
    fn remove_what_is_gone(&mut self) -> Result<Vec<RelPath>, ProviderError> {
        let mut orphans = Vec::new();
        let mut dropped_folders = Vec::new();
        for known in known_tree(self.first_list, self.delta).map_err(tree_error)? {
            match known.map_err(tree_error)? {
                Known::Listed(entry) => {
                    let inode = entry.origin.map_or(0, |origin| origin.inode);
                    if let (Kind::File(_), Some(group)) = (&entry.kind, self.groups.get_mut(&inode)) {
                        group.names.insert(entry.path);
                    }
                }
                Known::Dropped(entry) => {
                    self.touched.extend(entry.path.parent());
                    if matches!(entry.kind, Kind::Directory) {
                        dropped_folders.push(entry.path);
                    } else {
                        self.shadow.clear(&entry.path)?;
                    }
                }
                Known::Orphan(path) => orphans.push(path.clone()),
                Known::Changed(..) => {}
            }
        }
        let no_content = |path: &RelPath| match self.delta.get(path) {
            Some(Fact::Here(here)) => !(here.is_folder() || matches!(here.content, Content::Shadow)),
            _ => true,
        };
        for path in dropped_folders.iter().rev().chain(self.delta.ever().iter().rev()) {
            self.touched.extend(path.parent());
            if no_content(path) {
                self.shadow.clear(path)?;
            }
        }
        // An orphan is put nowhere: its folder is not there.
        for path in &orphans {
            self.groups.values_mut().for_each(|group| _ = group.names.remove(path));
        }
        self.groups.retain(|_, group| !group.names.is_empty());
        Ok(orphans)
    }

    /// Puts the content of each file with several names to the first of them.
    fn place_groups(&mut self) -> Result<(), ProviderError> {
        let mut groups = std::mem::take(&mut self.groups);
        for group in groups.values_mut() {
            let Some(first) = group.names.first().cloned() else { continue };
            let Some(holder) = self.delta.here_mut(&group.holder) else { continue };
            let mut entry = holder.entry.clone();
            match std::mem::replace(&mut holder.content, Content::Elsewhere) {
                Content::Shadow if first != group.holder => self.shadow.rename(&group.holder, &first)?,
                Content::Shadow => {}
                other => {
                    if let Some(reason) = put(&mut self.shadow, &first, other)? {
                        self.lost.push((first, reason));
                        continue;
                    }
                }
            }
            for name in group.names.iter().skip(1) {
                self.shadow.clear(name)?;
                self.touched.extend(name.parent());
            }
            self.touched.extend(first.parent());
            entry.path = first;
            group.listed = Some(settle(&mut self.shadow, self.root, entry)?);
        }
        self.groups = groups;
        Ok(())
    }

    /// Puts every other changed entry in its place.
    fn place_singles(&mut self) -> Result<(), ProviderError> {
        for (path, fact) in self.delta.iter_mut() {
            let Fact::Here(here) = fact else { continue };
            let content = std::mem::replace(&mut here.content, Content::None);
            if here.is_file() && self.groups.contains_key(&here.inode()) {
                continue;
            }
            match &here.entry.kind {
                Kind::Directory => self.shadow.make_folder(path)?,
                Kind::Symlink(target) => {
                    self.shadow.symlink(path, target)?;
                    self.shadow.dress(&here.entry);
                }
                Kind::File(_) => {
                    if let Some(reason) = put(&mut self.shadow, path, content)? {
                        self.lost.push((path.clone(), reason));
                        continue;
                    }
                    let entry = settle(&mut self.shadow, self.root, here.entry.clone())?;
                    self.placed.insert(path.clone(), entry);
                }
                // Its metadata could not even be read.
                Kind::Fifo if let Content::Lost(reason) = content => self.lost.push((path.clone(), reason)),
                _ => {}
            }
        }
        Ok(())
    }

    fn write_list(&mut self) -> Result<(), ProviderError> {
        let lost: BTreeSet<&RelPath> = self.lost.iter().map(|(path, _)| path).collect();
        let mut appender = IndexAppender::create(self.final_list).map_err(tree_error)?;
        let mut folders = Vec::new();
        for known in known_tree(self.first_list, self.delta).map_err(tree_error)? {
            let mut entry = match known.map_err(tree_error)? {
                Known::Listed(entry) => entry,
                Known::Changed(path, here) => self.placed.remove(path).unwrap_or_else(|| here.entry.clone()),
                Known::Dropped(_) | Known::Orphan(_) => continue,
            };
            if lost.contains(&entry.path) {
                continue;
            }
            let inode = entry.origin.map_or(0, |origin| origin.inode);
            let is_file = matches!(entry.kind, Kind::File(_));
            match self.groups.get(&inode).filter(|_| is_file) {
                Some(Group { listed: Some(listed), .. }) => entry = member(listed, entry.path),
                Some(_) => continue,
                None => hash_if_unknown(self.root, &mut entry).map_err(tree_error)?,
            }
            if matches!(entry.kind, Kind::Directory) && self.touched.contains(&entry.path) {
                folders.push(entry.clone());
            }
            appender.append(&entry).map_err(tree_error)?;
        }
        appender.finish().map_err(tree_error)?;
        // From the inside out: nothing is done in a folder once it has its times.
        folders.iter().rev().for_each(|folder| self.shadow.dress(folder));
        Ok(())
    }
}

fn has_content(here: &Here) -> bool {
    !matches!(here.content, Content::Elsewhere | Content::Lost(_))
}

/// Puts content in its place; the reason when there is none.
fn put(shadow: &mut Shadow, path: &RelPath, content: Content) -> Result<Option<String>, ProviderError> {
    match content {
        Content::Shadow => {}
        Content::Memory { bytes, .. } => shadow.write(path, &bytes)?,
        Content::Held(from) => shadow.adopt(path, &from)?,
        Content::Lost(reason) => return Ok(Some(reason)),
        Content::None | Content::Elsewhere => {
            return Ok(Some("it changed its kind while it was taken".to_owned()));
        }
    }
    Ok(None)
}

/// Gives a placed file its metadata, and its entry the size and hash of what is really stored.
fn settle(shadow: &mut Shadow, root: &Path, mut entry: Entry) -> Result<Entry, ProviderError> {
    shadow.dress(&entry);
    entry.kind = Kind::File(hash_file(&entry.path.under(root)).map_err(tree_error)?);
    Ok(entry)
}

/// The entry of a name of a file that is stored with its first name.
fn member(first: &Entry, path: RelPath) -> Entry {
    if path == first.path {
        return first.clone();
    }
    let mut entry = Entry { hard_link: Some(first.path.clone()), path, ..first.clone() };
    if let Kind::File(facts) = &mut entry.kind {
        facts.sha256 = None;
    }
    entry
}

/// The first pass lists a file that changed under it without its hash. When no later pass took it, it was only touched.
fn hash_if_unknown(root: &Path, entry: &mut Entry) -> Result<(), TreeError> {
    if let Kind::File(FileFacts { sha256: None, .. }) = entry.kind
        && entry.hard_link.is_none()
    {
        entry.kind = Kind::File(hash_file(&entry.path.under(root))?);
    }
    Ok(())
}
