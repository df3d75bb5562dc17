//! Putting a part of a stored component back at a place and for an owner of its own.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use stillpoint_model::{Context, Event, Restored, StoredComponent, WriterError};
use stillpoint_tree::{IndexAppender, IndexReader, PlantOptions, Progress, RelPath, TreeError, plant};

use super::owner::User;

/// How often progress is told.
const TELL_INTERVAL: Duration = Duration::from_millis(500);
/// How many threads copy.
const THREADS: usize = 2;

/// Puts the sub-folder `part` of the component back at `target`, all of it belonging to `owner`. With `into_existing`, beside
/// what is there.
pub fn plant_part(
    context: &Context,
    stored: &StoredComponent,
    part: &str,
    target: &Path,
    owner: &User,
    into_existing: bool,
) -> Result<Restored, WriterError> {
    let list = context.workspace.join(format!("{}.list", part.replace('/', "-")));
    list_part(&stored.index, part, &list, owner)
        .map_err(|error| failed(&format!("list the entries of {part}"), error))?;
    let options = PlantOptions { overwrite: into_existing, remove_extra: false, threads: THREADS };
    let told = Told { context, done: Mutex::new((0, 0, Instant::now())) };
    let report = plant(&stored.folder.join(part), &list, target, &options, &told)
        .map_err(|error| failed(&format!("put {part} back at {}", target.display()), error))?;
    // It lies in our workspace, which goes with the run anyhow.
    let _ = fs::remove_file(&list);
    let notes = report.problems.iter().map(|problem| {
        format!("{}/{} could not be put back fully: {}", target.display(), problem.path, problem.text)
    });
    Ok(Restored { files: report.files, bytes: report.bytes, notes: notes.collect() })
}

/// Writes the list of one part: its entries, relative to it, with the owner's numbers.
fn list_part(index: &Path, part: &str, target: &Path, owner: &User) -> Result<(), TreeError> {
    let inside = |path: &RelPath| -> Option<RelPath> {
        let rest = path.as_bytes().strip_prefix(part.as_bytes())?;
        match rest {
            [] => Some(RelPath::top()),
            [b'/', rest @ ..] => RelPath::from_bytes(rest.to_vec()),
            _ => None,
        }
    };
    let mut appender = IndexAppender::create(target)?;
    for entry in IndexReader::open(index)? {
        let mut entry = entry?;
        let Some(path) = inside(&entry.path) else { continue };
        entry.path = path;
        entry.hard_link = entry.hard_link.as_ref().and_then(inside);
        (entry.uid, entry.gid) = (owner.uid, owner.gid);
        appender.append(&entry)?;
    }
    appender.finish().map(drop)
}

fn failed(act: &str, error: TreeError) -> WriterError {
    if matches!(error, TreeError::Cancelled) {
        return WriterError::Cancelled;
    }
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        source = cause.source();
    }
    WriterError::Service { act: act.to_owned(), reason }
}

struct Told<'a> {
    context: &'a Context,
    done: Mutex<(u64, u64, Instant)>,
}

impl Progress for Told<'_> {
    fn advance(&self, files: u64, bytes: u64) -> bool {
        // A panic in another thread leaves numbers that are still good enough to tell.
        let mut done = self.done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        done.0 += files;
        done.1 += bytes;
        if done.2.elapsed() >= TELL_INTERVAL {
            done.2 = Instant::now();
            self.context.monitor.emit(Event::Progress {
                component: Some(self.context.component.clone()),
                activity: "restore".into(),
                files: done.0,
                bytes: done.1,
                total_bytes: None,
            });
        }
        !self.context.cancel.is_cancelled()
    }
}
