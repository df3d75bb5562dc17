//! Building the folders of a part from nodes that come in canonical order.

use std::collections::HashMap;

use stillpoint_tree::{Entry, FileProblem, IndexAppender, RelPath};

use super::engine::Engine;
use super::packer::OpenPack;
use super::upload::Ended;
use super::work::{Done, Placed};
use crate::blob::BlobKind;
use crate::id::Id;
use crate::node::{Node, NodeKind};

/// Of each part no more problems are kept than this; all are counted.
const PROBLEMS_KEPT: usize = 1000;

/// What became of a part.
#[derive(Debug, Default)]
pub struct PartReport {
    /// Files, a file with several names once.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Folders.
    pub folders: u64,
    /// How many entries could not be read and are not in the version.
    pub left_out: u64,
    /// The first thousand of them.
    pub problems: Vec<FileProblem>,
}

/// A folder that is not complete yet.
struct Folder {
    path: RelPath,
    node: Node,
    /// Its JSON so far.
    json: Vec<u8>,
}

const JSON_BEGIN: &[u8] = b"{\"nodes\":[";
/// restic ends a folder with a newline, and the name of the blob depends on it.
const JSON_END: &[u8] = b"]}\n";

/// Builds folders.
pub(crate) struct Builder<'e> {
    engine: &'e Engine,
    pack: OpenPack,
    open: Vec<Folder>,
    /// The finished top.
    top: Option<Node>,
    /// The blobs of the file that is being told.
    blobs: Vec<Id>,
    /// The first names of files with several, and their blobs and inode.
    first_names: HashMap<RelPath, (Vec<Id>, u64, u64)>,
    /// In place of the number of the device: tells the names of one file apart from those of another part.
    device: u64,
    /// The list of what is in the part, when it makes one.
    list: Option<IndexAppender>,
    pub report: PartReport,
}

impl<'e> Builder<'e> {
    pub fn new(engine: &'e Engine, device: u64, list: Option<IndexAppender>) -> Self {
        Self {
            engine,
            pack: engine.borrow_pack(BlobKind::Tree),
            open: Vec::new(),
            top: None,
            blobs: Vec::new(),
            first_names: HashMap::new(),
            device,
            list,
            report: PartReport::default(),
        }
    }

    pub fn take(&mut self, done: Done) -> Result<(), Ended> {
        match done {
            Done::Blob(id) => {
                self.blobs.push(id);
                Ok(())
            }
            Done::Problem(problem) => {
                self.blobs.clear();
                self.report.left_out += 1;
                if self.report.problems.len() < PROBLEMS_KEPT {
                    self.report.problems.push(problem);
                }
                Ok(())
            }
            Done::Node { path, placed } => self.node(path, placed),
            Done::FileEnd { path, mut placed } => {
                placed.node.content = Some(std::mem::take(&mut self.blobs));
                self.node(path, placed)
            }
            Done::LaterName { path, placed, first } => self.later_name(path, placed, &first),
        }
    }

    fn node(&mut self, path: RelPath, placed: Placed) -> Result<(), Ended> {
        let Placed { mut node, has_more_names, record } = placed;
        match node.kind {
            NodeKind::Dir => self.report.folders += 1,
            NodeKind::File => {
                self.report.files += 1;
                self.report.bytes += node.size;
            }
            _ => {}
        }
        if has_more_names {
            self.name_one_of_several(&mut node, self.first_names.len() as u64 + 1);
            let kept = (node.blobs().to_vec(), node.inode, node.size);
            self.first_names.insert(path.clone(), kept);
        }
        self.record(record)?;
        self.place(path, node)
    }

    /// Lists the entry, when the part makes a list.
    fn record(&mut self, record: Option<Box<Entry>>) -> Result<(), Ended> {
        let Some((list, entry)) = self.list.as_mut().zip(record) else { return Ok(()) };
        list.append(&entry).map_err(|error| {
            self.engine.fail(super::feed::failed(error));
            Ended
        })
    }

    fn later_name(&mut self, path: RelPath, placed: Placed, first: &RelPath) -> Result<(), Ended> {
        let Placed { mut node, record, .. } = placed;
        let Some((blobs, inode, size)) = self.first_names.get(first) else {
            // The first could not be read, so neither could this one.
            let text = format!("it is another name of {}, which is left out", first.as_path().display());
            return self.take(Done::Problem(FileProblem { path, text }));
        };
        (node.inode, node.size) = (*inode, *size);
        if node.kind == NodeKind::File {
            node.content = Some(blobs.clone());
        }
        let inode = node.inode;
        self.name_one_of_several(&mut node, inode);
        self.record(record)?;
        self.place(path, node)
    }

    /// restic takes two files for one when inode and device are the same and there is more than one name. The exact number of
    /// names means nothing to it.
    fn name_one_of_several(&self, node: &mut Node, otherwise: u64) {
        node.links = 2;
        node.device_id = self.device;
        if node.inode == 0 {
            node.inode = otherwise;
        }
    }

    fn place(&mut self, path: RelPath, node: Node) -> Result<(), Ended> {
        self.close_until(path.parent().as_ref())?;
        if node.kind == NodeKind::Dir {
            self.open.push(Folder { path, node, json: JSON_BEGIN.to_vec() });
            Ok(())
        } else {
            self.put(&node)
        }
    }

    /// Completes the folders that do not hold what comes next.
    fn close_until(&mut self, parent: Option<&RelPath>) -> Result<(), Ended> {
        while self.open.last().is_some_and(|last| Some(&last.path) != parent) {
            self.close()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Ended> {
        let Some(mut folder) = self.open.pop() else { return Ok(()) };
        folder.json.extend_from_slice(JSON_END);
        folder.node.subtree = Some(self.engine.save(&folder.json, &mut self.pack)?);
        self.put(&folder.node)
    }

    fn put(&mut self, node: &Node) -> Result<(), Ended> {
        let Some(folder) = self.open.last_mut() else {
            self.top = Some(node.clone());
            return Ok(());
        };
        append(&mut folder.json, node).map_err(|error| {
            self.engine.fail(error);
            Ended
        })
    }

    /// Completes all. Nothing when the top itself could not be read.
    pub fn finish(mut self) -> Result<(Option<Node>, PartReport), Ended> {
        self.close_until(None)?;
        while !self.open.is_empty() {
            self.close()?;
        }
        self.engine.return_pack(self.pack);
        if let Some(list) = self.list.take() {
            list.finish().map_err(|error| {
                self.engine.fail(super::feed::failed(error));
                Ended
            })?;
        }
        Ok((self.top, self.report))
    }
}

/// Appends a node to the JSON of a folder.
fn append(json: &mut Vec<u8>, node: &Node) -> Result<(), crate::RepositoryError> {
    if json.len() > JSON_BEGIN.len() {
        json.push(b',');
    }
    serde_json::to_writer(json, node).map_err(|error| {
        crate::RepositoryError::new(stillpoint_model::ErrorKind::Bug, format!("a node is no JSON: {error}"))
    })
}

/// The JSON of a folder with these nodes, which must be sorted by name.
pub(crate) fn folder_json<'n>(
    nodes: impl IntoIterator<Item = &'n Node>,
) -> Result<Vec<u8>, crate::RepositoryError> {
    let mut json = JSON_BEGIN.to_vec();
    for node in nodes {
        append(&mut json, node)?;
    }
    json.extend_from_slice(JSON_END);
    Ok(json)
}
