//! Looking into versions here and there, as a mounted archive does: one folder, one piece of a file, then another.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::blob::BlobKind;
use crate::contents::Contents;
use crate::error::RepositoryError;
use crate::fetch::locate;
use crate::id::Id;
use crate::index::Index;
use crate::node::{Node, Tree};
use crate::repository::{Repository, to_json};
use crate::trees::{Nodes, TreeReader, damaged_folder};

/// How many bytes of content, and of folders, are kept at hand. The one that is in use is kept whatever its size.
const CONTENT_BYTES_MAX: usize = 48 << 20;
const FOLDERS_BYTES_MAX: usize = 48 << 20;

/// The entries of a folder: the text of its blob, and where in it each node begins.
#[derive(Debug)]
pub struct Folder {
    text: Vec<u8>,
    /// Sorted by name.
    begins: Vec<usize>,
}

impl Folder {
    fn parse(text: Vec<u8>) -> Result<Self, String> {
        let mut nodes = Nodes::new(text)?;
        if nodes.is_of_another_form() {
            // In the form that everybody writes, once and for all.
            let parsed = Tree { nodes: nodes.collect::<Result<_, _>>()? };
            nodes = Nodes::new(to_json(&parsed).map_err(|error| error.text)?)?;
        }
        let mut begins = Vec::new();
        let mut named = Vec::new();
        let mut last: Vec<u8> = Vec::new();
        let mut sorted = true;
        loop {
            let begin = nodes.begin();
            let Some(node) = nodes.next() else { break };
            let node = node?;
            sorted &= node.name > last;
            last.clone_from(&node.name);
            begins.extend(begin);
            named.push(last.clone());
        }
        if !sorted {
            let mut pairs: Vec<(Vec<u8>, usize)> = named.into_iter().zip(begins).collect();
            pairs.sort_unstable();
            begins = pairs.into_iter().map(|(_, begin)| begin).collect();
        }
        Ok(Self { text: nodes.into_text(), begins })
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.begins.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.begins.is_empty()
    }

    /// The entry with this number, in the order of the names.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<Node> {
        // It was parsed before.
        Nodes::parse_at(&self.text, *self.begins.get(number)?).ok().flatten()
    }

    /// The entry with this name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<Node> {
        let (mut low, mut high) = (0, self.begins.len());
        while low < high {
            let middle = low.midpoint(high);
            let node = self.get(middle)?;
            match node.name.as_slice().cmp(name) {
                std::cmp::Ordering::Equal => return Some(node),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

/// A file whose content is read here and there.
#[derive(Debug)]
pub struct OpenFile {
    blobs: Vec<Id>,
    /// Where each of them ends.
    ends: Vec<u64>,
}

/// Reads folders and pieces of files of any version of one archive. What it holds in memory is bounded.
#[derive(Debug)]
pub struct Browser {
    repository: Repository,
    index: Arc<Index>,
    trees: TreeReader,
    /// The ones used last are the last.
    folders: VecDeque<(Id, Arc<Folder>)>,
    content: VecDeque<(Id, Arc<Vec<u8>>)>,
}

impl Browser {
    /// For the archive of this version.
    #[must_use]
    pub fn new(contents: &Contents) -> Self {
        Self {
            repository: contents.repository().clone(),
            index: Arc::clone(contents.index()),
            trees: contents.reader(),
            folders: VecDeque::new(),
            content: VecDeque::new(),
        }
    }

    /// The folder in this blob: that of a version's `tree`, or of a node's `subtree`.
    ///
    /// # Errors
    ///
    /// It is damaged, or the store fails.
    pub fn folder(&mut self, blob: &Id) -> Result<Arc<Folder>, RepositoryError> {
        if let Some(folder) = used_again(&mut self.folders, blob) {
            return Ok(folder);
        }
        let text = self.trees.read(blob)?;
        let folder = Arc::new(Folder::parse(text).map_err(|why| damaged_folder(blob, &why))?);
        let bytes = |folder: &Folder| folder.text.len() + folder.begins.len() * size_of::<usize>();
        keep(&mut self.folders, *blob, Arc::clone(&folder), FOLDERS_BYTES_MAX, bytes);
        Ok(folder)
    }

    /// Opens a file.
    ///
    /// # Errors
    ///
    /// No index file knows one of its blobs.
    pub fn open(&self, mut node: Node) -> Result<OpenFile, RepositoryError> {
        let blobs = node.content.take().unwrap_or_default();
        let mut end = 0;
        let ends = blobs.iter().map(|id| {
            end += locate(&self.index, id)?.blob.plain_bytes();
            Ok(end)
        });
        let ends = ends.collect::<Result<_, RepositoryError>>()?;
        Ok(OpenFile { blobs, ends })
    }

    /// Up to `length` bytes of the file from `at`; less only at its end. Every blob is proven.
    ///
    /// # Errors
    ///
    /// A blob is damaged, or the store fails.
    pub fn read(&mut self, file: &OpenFile, at: u64, length: usize) -> Result<Vec<u8>, RepositoryError> {
        let mut bytes = Vec::with_capacity(length);
        let mut at = at;
        let mut number = file.ends.partition_point(|end| *end <= at);
        while bytes.len() < length && number < file.blobs.len() {
            let blob = self.blob(&file.blobs[number])?;
            let begin = file.ends[number] - blob.len() as u64;
            let from = usize::try_from(at - begin).unwrap_or(blob.len()).min(blob.len());
            let some = (length - bytes.len()).min(blob.len() - from);
            bytes.extend_from_slice(&blob[from..from + some]);
            at += some as u64;
            number += 1;
        }
        Ok(bytes)
    }

    fn blob(&mut self, id: &Id) -> Result<Arc<Vec<u8>>, RepositoryError> {
        if let Some(blob) = used_again(&mut self.content, id) {
            return Ok(blob);
        }
        let blob = Arc::new(self.repository.read_blob(&self.index, BlobKind::Data, id)?);
        keep(&mut self.content, *id, Arc::clone(&blob), CONTENT_BYTES_MAX, Vec::len);
        Ok(blob)
    }
}

fn used_again<T>(kept: &mut VecDeque<(Id, Arc<T>)>, id: &Id) -> Option<Arc<T>> {
    let at = kept.iter().position(|(known, _)| known == id)?;
    let found = kept.remove(at)?;
    let value = Arc::clone(&found.1);
    kept.push_back(found);
    Some(value)
}

fn keep<T>(
    kept: &mut VecDeque<(Id, Arc<T>)>,
    id: Id,
    value: Arc<T>,
    bytes_max: usize,
    bytes: impl Fn(&T) -> usize,
) {
    kept.push_back((id, value));
    let mut sum: usize = kept.iter().map(|(_, value)| bytes(value)).sum();
    // A short list also when all are small, because it is looked through.
    while kept.len() > 1 && (sum > bytes_max || kept.len() > 256) {
        sum -= kept.pop_front().map_or(0, |(_, value)| bytes(&value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees::tests::folder_text;

    #[test]
    fn entries_are_found_by_name_and_by_number_in_whatever_order_they_were_written() {
        for names in [&["a", "b", "c", "d"][..], &["c", "a", "d", "b"]] {
            for text in [folder_text(names), folder_text(names).replace("{\"nodes\"", "{ \"nodes\"")] {
                let folder = Folder::parse(text.into_bytes()).unwrap();
                assert_eq!(folder.len(), 4);
                assert_eq!(folder.get(1).unwrap().name, b"b");
                for name in names {
                    assert_eq!(folder.find(name.as_bytes()).unwrap().name, name.as_bytes());
                }
                assert!(folder.find(b"bb").is_none() && folder.get(4).is_none());
            }
        }
        assert!(Folder::parse(folder_text(&[]).into_bytes()).unwrap().is_empty());
    }
}
