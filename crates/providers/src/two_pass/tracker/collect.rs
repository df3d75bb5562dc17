//! What was told and not asked for yet: each entry once, however often it changed.

use std::collections::HashMap;

use super::raw::{CHANGES, Handle, RawEvent, handle};

/// Beyond so many different entries a scan is cheaper than the list, in memory and in time.
const ENTRIES_MAX: usize = 200_000;
/// So many different files at one name outside the tree are kept apart.
const FILES_MAX: usize = 8;

/// What was told of one name in one folder, or of one file.
#[derive(Debug, Default, Clone)]
pub(super) struct Told {
    pub(super) mask: u64,
    pub(super) pid: i32,
    /// The files that had the name.
    pub(super) files: Vec<Handle>,
}

/// The collection.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// By folder and name. The name `.` is the folder itself.
    pub(super) folders: HashMap<Handle, HashMap<Box<[u8]>, Told>>,
    /// Of files without a name: their number of names changed.
    pub(super) files: HashMap<Handle, Told>,
    /// Why the collection is not complete.
    pub(super) lost: Option<String>,
    count: usize,
}

impl Collected {
    /// Adds one event.
    pub(super) fn add(&mut self, event: &RawEvent<'_>) {
        if event.mask & libc::FAN_Q_OVERFLOW != 0 {
            return self.lose("the kernel lost events");
        }
        let is_folder = event.mask & libc::FAN_ONDIR != 0;
        let changes = event.mask & CHANGES & !libc::FAN_ONDIR != 0;
        if self.lost.is_some() || (is_folder && !changes) {
            return;
        }
        let told = match (event.at, event.file) {
            (Some((folder, name)), _) => {
                let names = self.folders.entry(handle(folder)).or_default();
                if !names.contains_key(name) {
                    self.count += 1;
                }
                names.entry(name.into()).or_default()
            }
            (None, Some(file)) => {
                self.count += 1;
                self.files.entry(handle(file)).or_default()
            }
            (None, None) => return,
        };
        told.mask |= event.mask;
        told.pid = event.pid;
        if let (Some(_), Some(file)) = (event.at, event.file) {
            let file = handle(file);
            if !told.files.contains(&file) {
                told.files.push(file);
            }
        }
        let many = told.files.len() > FILES_MAX;
        if many {
            self.lose("one name stood for very many files");
        } else if self.count > ENTRIES_MAX {
            self.lose("very many entries changed");
        }
    }

    /// Gives up: a scan has to find out.
    pub(super) fn lose(&mut self, why: &str) {
        *self = Self { lost: Some(why.to_owned()), ..Self::default() };
    }
}
