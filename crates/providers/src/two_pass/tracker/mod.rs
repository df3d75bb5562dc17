//! Trackers: they tell what may have changed since they were asked last.

mod collect;
mod fanotify;
mod raw;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use stillpoint_tree::RelPath;

use super::links::Links;
use super::reader::Reader;
use crate::filesystem::blind_spot;

pub(super) use fanotify::Fanotify;
pub(super) use raw::Handle;

/// How changes are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackerKind {
    /// The kernel tells them (fanotify(7)). Needs CAP_SYS_ADMIN.
    Fanotify,
    /// Every pass looks at the change time of every entry.
    Scan,
}

/// How strong a suspicion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum How {
    /// It could have changed without an event: its change time decides.
    Look,
    /// It changed.
    Changed,
    /// It is new at this place, with all that is in it.
    Whole,
}

/// A suspect entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suspect {
    /// How strong.
    pub(super) how: How,
    /// Whether something was certainly done to it, and not just a file closed that could have been written.
    pub(super) stirred: bool,
    /// The process that did it last; 0 when it is not known.
    pub(super) pid: i32,
}

/// What may have changed since the last question.
#[derive(Debug)]
pub(super) enum Changes {
    /// These, and nothing else.
    Known(BTreeMap<RelPath, Suspect>),
    /// Anything: the change times have to be looked at. The text says why; it is empty when that is the usual way.
    Unknown(String),
}

/// Follows the changes of one tree from its creation to its end.
pub(super) trait Tracker: Send {
    /// From now on also tells what is opened: a file that is mapped can change without any other event.
    fn watch_opens(&mut self) -> io::Result<()>;

    /// What may have changed since the last call. Everything that was complete before this call is in it.
    fn drain(&mut self, links: &Links) -> Changes;
}

/// The tracker that knows nothing, so that every pass scans.
pub(super) struct ScanTracker;

impl Tracker for ScanTracker {
    fn watch_opens(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn drain(&mut self, _links: &Links) -> Changes {
        Changes::Unknown(String::new())
    }
}

/// Finds out which tracker serves a tree; the text says why, as a part of a sentence.
pub(super) fn probe(root: &Path, forced: Option<TrackerKind>) -> (TrackerKind, String) {
    if let Some(kind) = forced {
        return (kind, format!("changes are followed by {}, as demanded", kind.method()));
    }
    let obstacle = match blind_spot(root) {
        Ok(None) => match Reader::open(root).and_then(|reader| Fanotify::probe(&reader)) {
            Ok(()) => None,
            Err(error) => Some(error.to_string()),
        },
        Ok(Some(spot)) => Some(spot),
        Err(error) => Some(error.to_string()),
    };
    match obstacle {
        None => (TrackerKind::Fanotify, "changes are followed by fanotify".to_owned()),
        Some(why) => (
            TrackerKind::Scan,
            format!("changes are found by scanning, because fanotify cannot follow them here ({why})"),
        ),
    }
}

impl TrackerKind {
    fn method(self) -> &'static str {
        match self {
            TrackerKind::Fanotify => "fanotify",
            TrackerKind::Scan => "scanning",
        }
    }
}
