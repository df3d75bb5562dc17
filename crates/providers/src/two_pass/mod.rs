//! The two-pass copy, shared by the providers `reflink` and `copy`.
//!
//! A *shadow*, a private copy of the tree, is made before the freeze, while the tree is alive. In the freeze only what
//! changed since is read. Why the shadow ends equal to the tree as it was in the freeze:
//!
//! 1. **Nothing changes unseen between passes.** A tracker is on before the first pass begins. `fanotify` tells every change
//!    that comes through a system call. Where it cannot serve, each pass scans: an entry whose inode and change time are
//!    those known of its path, and whose change time is older than the pass that took it, did not change; any other is
//!    taken. A folder whose entries came or went has a new change time, so its names are listed, and what is known in it by
//!    another name is gone.
//! 2. **Stores through memory.** They send no event, and a second store to a page that is already dirty does not even move
//!    the change time. So each pass notes the time *t*, then flushes the file system, then reads. The flush cleans every page
//!    that was dirty at *t*. A store before a page is cleaned is seen by the reading, which comes after; the first store
//!    after it moves the change time past *t*. So a file whose change time is before *t* of the pass that read it did not
//!    change since, and any other is read again. Files that can be stored to this way are those that are mapped or open for
//!    reading and writing when the last passes begin (found in `/proc`), and those opened later (told by the tracker, which
//!    is asked for opens from then on). The pass in the freeze does not flush: a page stored to since the last pass has
//!    moved its file's change time past that pass's *t*, and reading sees the page. But what it read counts as *not
//!    settled* unless its change time is older than that *t*: the next run reads it again.
//! 3. **Clocks.** Kernels stamp with the time of the last tick, so *t* is taken a little early. When the clock is set back, *t*
//!    moves back as far. Where another machine stamps, *t* is taken five minutes early.
//! 4. **Renamed folders.** Nothing tells of the entries in them. A folder that is new at its place is taken with all that
//!    is in it, and nothing of the first list counts below it any more; a place from which a folder went loses all that
//!    was below.
//! 5. **Files with several names.** A change through one name is a change of all. When one is suspect all are, also when a
//!    name vanishes with a folder; a change through a name outside the tree is resolved by the file itself.
//! 6. **Races in the live passes** leave wrong copies, but each has an event or a change time in the next pass. In the last
//!    pass there are none, because the tree is held; that it is, is checked: each file is looked at before and after, the
//!    tracker is asked at the end of the cut, and after the thaw the live tree is compared with the known one. Whatever
//!    was changed during the cut, or was missed before it, makes the grade fuzzy and is named.
//!
//! The cut only reads: content goes to memory while there is room (beyond that into files of its own), metadata is noted,
//! nothing is hashed, listed or flushed. The rest is done after the thaw. In memory there is only what changed, the names of
//! files with several, and, where passes scan, 32 bytes for each entry.

mod budget;
mod clock;
mod delta;
mod engine;
mod finish;
mod known;
mod links;
mod mapped;
mod progress;
mod provider;
mod reader;
mod remembered;
mod scan;
mod shadow;
mod suspects;
mod take;
mod tracker;
mod verify;

pub use provider::{CopyProvider, ReflinkProvider};
pub use tracker::TrackerKind;
