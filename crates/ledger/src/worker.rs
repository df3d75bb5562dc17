//! One worker: goes on from what it finds, and does operation after operation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::LedgerError;
use crate::app::{LedgerSettings, Progress};
use crate::content::WorkerFiles;
use crate::gate::Gate;
use crate::operation::{GENESIS, Hash, Row, Step, content, hash_of_content, steps};
use crate::store::Store;

/// How long a worker waits before it tries again after a failure (a full disk, a server that restarts).
const RETRY: Duration = Duration::from_millis(200);

/// What a worker tells of itself while it works.
#[derive(Debug, Default)]
pub(crate) struct WorkerProgress {
    /// The number of its last whole operation.
    pub number: AtomicU64,
    /// Operations since the start of the process.
    pub operations: AtomicU64,
    /// The longest time from being ready for an operation to its end since it was last asked for, in microseconds. A rest
    /// at the gate counts, a pause for the rate does not.
    pub stall_us_max: AtomicU64,
}

/// One worker with its connections and files.
pub(crate) struct Worker {
    id: u32,
    settings: LedgerSettings,
    stores: Vec<Box<dyn Store>>,
    files: WorkerFiles,
    number: u64,
    chain: Hash,
}

impl Worker {
    /// Opens stores and files, and finishes the operation that a power cut may have left half done.
    pub(crate) fn open(settings: &LedgerSettings, id: u32) -> Result<Self, LedgerError> {
        let shape = settings.shape();
        let stores = settings.stores.iter().map(|store| store.open(shape)).collect::<Result<Vec<_>, _>>()?;
        let files = WorkerFiles::open(&settings.content, id, shape.mapped)?;
        let mut worker = Self { id, settings: settings.clone(), stores, files, number: 0, chain: GENESIS };
        worker.resume()?;
        Ok(worker)
    }

    fn resume(&mut self) -> Result<(), LedgerError> {
        let file = self.files.tidy(self.id)?.unwrap_or(0);
        let mut lasts = Vec::new();
        for store in &mut self.stores {
            lasts.push(store.last(self.id)?);
        }
        let numbers = || lasts.iter().map(|last| last.as_ref().map_or(0, |row| row.number)).chain([file]);
        let highest = numbers().max().unwrap_or(0);
        if numbers().any(|number| number + 1 < highest) {
            let found: Vec<String> = numbers().map(|number| number.to_string()).collect();
            return Err(self.torn(format!(
                "its highest numbers (stores in order, then files) are {}: more than one apart",
                found.join(", ")
            )));
        }
        if highest == 0 {
            self.files.mark(0)?;
            return Ok(());
        }
        let known = lasts.iter().flatten().find(|row| row.number == highest);
        let previous = match (self.stores[0].row(self.id, highest.saturating_sub(1))?, known) {
            (Some(before), _) => before.chain,
            (None, _) if highest == 1 => GENESIS,
            // With a window of one the row before is retired when all else is done.
            (None, Some(row)) if self.settings.window == 1 => row.previous,
            (None, _) => return Err(self.torn(format!("the row before number {highest} is missing"))),
        };
        let bytes = content(self.id, highest);
        let row = Row::new(highest, hash_of_content(&bytes), previous);
        if lasts.iter().flatten().any(|last| last.number == highest && *last != row) {
            return Err(self.torn(format!("row {highest} does not continue the chain")));
        }
        self.perform(&row, &bytes, true)
    }

    fn torn(&self, reason: String) -> LedgerError {
        LedgerError::Torn { worker: self.id, reason }
    }

    /// Does one whole operation.
    fn operate(&mut self) -> Result<(), LedgerError> {
        let number = self.number + 1;
        let bytes = content(self.id, number);
        let row = Row::new(number, hash_of_content(&bytes), self.chain);
        self.perform(&row, &bytes, false)
    }

    fn perform(&mut self, row: &Row, bytes: &[u8], again: bool) -> Result<(), LedgerError> {
        for step in steps(row.number, self.stores.len(), self.settings.shape()) {
            match step {
                // What is whole is left alone: to write it again would tear it for a moment.
                Step::WriteFile(number) if again && self.files.is_whole(self.id, number)? => {}
                Step::WriteFile(number) => self.files.write(number, bytes)?,
                Step::InsertRow(store, _) => self.stores[store].insert(self.id, row)?,
                Step::Mark(number) => self.files.mark(number)?,
                Step::MapMark(number) => self.files.map_mark(number),
                Step::RemoveFile(number) => self.files.remove(number)?,
                Step::DeleteRow(store, number) => self.stores[store].delete(self.id, number)?,
            }
        }
        self.number = row.number;
        self.chain = row.chain;
        Ok(())
    }

    /// Works until the gate says to end. A failure is told, and the worker opens everything anew and goes on.
    pub(crate) fn work(mut self, gate: &Gate, progress: &Progress) {
        let own = &progress.workers[self.id as usize];
        own.number.store(self.number, Ordering::SeqCst);
        let interval = self.settings.interval();
        let mut ready = Instant::now();
        while gate.pass() {
            if let Err(error) = self.operate() {
                progress.fail(&error);
                match self.reopen(gate, progress) {
                    Some(worker) => self = worker,
                    None => return,
                }
            }
            own.number.store(self.number, Ordering::SeqCst);
            own.operations.fetch_add(1, Ordering::SeqCst);
            let stall_us = u64::try_from(ready.elapsed().as_micros()).unwrap_or(u64::MAX);
            own.stall_us_max.fetch_max(stall_us, Ordering::SeqCst);
            if let Some(interval) = interval {
                gate.pause_until(ready + interval);
            }
            ready = Instant::now();
        }
    }

    fn reopen(&self, gate: &Gate, progress: &Progress) -> Option<Self> {
        while !gate.is_stopping() {
            match Self::open(&self.settings, self.id) {
                Ok(worker) => return Some(worker),
                Err(error) => progress.fail(&error),
            }
            gate.await_stop(RETRY);
        }
        None
    }
}
