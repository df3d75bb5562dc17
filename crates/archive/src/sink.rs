//! The sink of one component: where its writer puts trees and streams into the set that is being built.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use stillpoint_model::{CaptureSink, ComponentName, Context, ErrorKind, SinkError, TreeSource};
use stillpoint_tree::{BLOCK_RULE_SIZE, Entry, FileFacts, Filter, Kind, RelPath, read_entry};

use crate::adopt::Berth;
use crate::builder::Yard;
use crate::feed::Feed;
use crate::lists::ListPart;
use crate::space::SpaceWatch;
use crate::taker::At;
use crate::{ArchiveError, Place, content, disk};

/// How much of a stream is read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// What a component brought so far.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub parts: Vec<ListPart>,
    /// Single files, with paths in the component.
    pub streams: Vec<Entry>,
    /// Why it is not whole, if a call failed.
    pub failed: Option<String>,
}

/// The sink of one component.
pub(crate) struct SetSink {
    yard: Arc<Yard>,
    place: Place,
    component: ComponentName,
    watch: SpaceWatch,
}

impl SetSink {
    pub fn new(yard: Arc<Yard>, place: Place, component: ComponentName) -> Self {
        let watch = SpaceWatch::new(yard.locations.building_for(place), yard.keep_free_percent());
        Self { yard, place, component, watch }
    }

    fn take_tree(&self, context: &Context, folder: &str, source: &TreeSource) -> Result<(), ArchiveError> {
        self.watch.look()?;
        let prefix = relative(folder)?;
        let feed = Feed::new(context, &self.watch);
        let number = self.yard.received().get(&self.component).map_or(0, |received| received.parts.len());
        let list = self.yard.parts().join(format!("{}.{number}.jsonl", self.component));
        let top = self.yard.locations.component(self.place, &self.component);
        if let Some(taker) = self.yard.taker() {
            // The folders on the way are listed as they lie here.
            disk::create_folder(&prefix.under(&top))?;
            taker.tree(self.at(&prefix), context, source, &list)?;
            self.yard
                .received()
                .entry(self.component.clone())
                .or_default()
                .parts
                .push(ListPart { prefix, list });
            return Ok(());
        }
        let berth =
            Berth { context, prefix: &prefix, folder: prefix.under(&top), list: list.clone(), feed: &feed };
        let filtered = !source.include.is_empty() || !source.exclude.is_empty();
        // A filter goes with a walk of the source; a tree that is moved is taken whole.
        let moved = source.owned && (source.index.is_some() || !filtered) && berth.moor(&source.root)?;
        match (moved, &source.index) {
            (true, Some(index)) => berth.list_moved(index)?,
            (true, None) => berth.list_found()?,
            (false, Some(index)) => berth.copy_listed(&source.root, index)?,
            (false, None) => berth.mirror(&source.root, Filter::new(&source.include, &source.exclude)?)?,
        }
        self.yard.received().entry(self.component.clone()).or_default().parts.push(ListPart { prefix, list });
        Ok(())
    }

    fn take_stream(&self, context: &Context, name: &str, reader: &mut dyn Read) -> Result<u64, ArchiveError> {
        self.watch.look()?;
        let path = relative(name)?;
        let top = self.yard.locations.component(self.place, &self.component);
        let full = path.under(&top);
        disk::create_folder(full.parent().unwrap_or(&top))?;
        let feed = Feed::new(context, &self.watch);
        let file = match self.yard.taker() {
            None => write_stream(&full, reader, &feed)?,
            // The content goes elsewhere; the entry is that of a file as it would lie here.
            Some(taker) => {
                let facts = taker.stream(self.at(&path), context, reader)?;
                disk::create_file(&full).map_err(|error| ArchiveError::io("create", &full, error))?;
                facts
            }
        };
        let size = file.size;
        let found = read_entry(&top, &path)?;
        let entry =
            found.ok_or_else(|| ArchiveError::io("find", &full, std::io::ErrorKind::NotFound.into()))?;
        let entry = Entry { kind: Kind::File(file), origin: None, ..entry };
        self.yard.received().entry(self.component.clone()).or_default().streams.push(entry);
        Ok(size)
    }

    fn at<'a>(&'a self, path: &'a RelPath) -> At<'a> {
        At { place: self.place, component: &self.component, path }
    }

    /// A component of which a call failed is never published, whatever its writer makes of the error.
    fn refuse(&self, error: ArchiveError) -> SinkError {
        let ArchiveError { text, hint, source, .. } = error;
        let text = hint.map_or(text.clone(), |hint| format!("{text} ({hint})"));
        self.yard
            .received()
            .entry(self.component.clone())
            .or_default()
            .failed
            .get_or_insert_with(|| text.clone());
        SinkError(text, source)
    }
}

impl CaptureSink for SetSink {
    fn tree(&mut self, context: &Context, folder: &str, source: TreeSource) -> Result<(), SinkError> {
        self.take_tree(context, folder, &source).map_err(|error| self.refuse(error))
    }

    fn stream(&mut self, context: &Context, name: &str, reader: &mut dyn Read) -> Result<u64, SinkError> {
        self.take_stream(context, name, reader).map_err(|error| self.refuse(error))
    }
}

fn relative(name: &str) -> Result<RelPath, ArchiveError> {
    RelPath::from_bytes(name.as_bytes().to_vec()).ok_or_else(|| {
        ArchiveError::new(ErrorKind::Bug, format!("{name:?} is not a path inside a component"))
    })
}

fn write_stream(full: &Path, reader: &mut dyn Read, feed: &Feed<'_>) -> Result<FileFacts, ArchiveError> {
    let failed = |error| ArchiveError::io("write", full, error);
    let mut file = disk::create_file(full).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut size = 0;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ArchiveError::io("read the stream for", full, error)),
        };
        let bytes = &buffer[..count];
        file.write_all(bytes).map_err(failed)?;
        hasher.update(bytes);
        size += count as u64;
        feed.take(0, count as u64)?;
    }
    feed.take(1, 0)?;
    if size >= BLOCK_RULE_SIZE {
        return content::hash(full);
    }
    let sha256 = hasher.finalize().into();
    Ok(FileFacts { size, sha256: Some(sha256) })
}
