//! A store whose acts a test decides on.

#![allow(dead_code, reason = "not every test uses everything")]

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use stillpoint_repository::Id;
use stillpoint_repository::store::{FileKind, FileName, Store, StoreError, StoreErrorKind};

/// One act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Read(FileName),
    Write(FileName),
    List(FileKind),
    Stat(FileName),
    Remove(FileName),
}

/// What becomes of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// It is not done.
    Fail(StoreErrorKind),
    /// It is done, and the answer is lost.
    LoseAnswer(StoreErrorKind),
}

type Judge = dyn FnMut(Act) -> Verdict + Send;

/// A store in front of another; clones are doors to the same one, each with its own judge.
pub struct ActStore {
    inner: Arc<dyn Store>,
    judge: Mutex<Box<Judge>>,
}

impl std::fmt::Debug for ActStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl ActStore {
    pub fn new(inner: Arc<dyn Store>, judge: impl FnMut(Act) -> Verdict + Send + 'static) -> Self {
        Self { inner, judge: Mutex::new(Box::new(judge)) }
    }

    /// A door that lets everything pass.
    pub fn open(inner: Arc<dyn Store>) -> Self {
        Self::new(inner, |_| Verdict::Pass)
    }

    fn carry_out<T>(&self, act: Act, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let verdict = self.judge.lock().unwrap_or_else(PoisonError::into_inner)(act);
        let failed = |kind| StoreError::new(kind, "carry out", format!("{act:?}"), self.inner.name());
        match verdict {
            Verdict::Pass => work(),
            Verdict::Fail(kind) => Err(failed(kind)),
            Verdict::LoseAnswer(kind) => work().and_then(|_| Err(failed(kind))),
        }
    }
}

impl Store for ActStore {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn create(&self) -> Result<(), StoreError> {
        self.inner.create()
    }

    fn read(&self, file: FileName, range: Option<Range<u64>>) -> Result<Vec<u8>, StoreError> {
        self.carry_out(Act::Read(file), || self.inner.read(file, range))
    }

    fn write_new(&self, file: FileName, content: &[u8]) -> Result<(), StoreError> {
        self.carry_out(Act::Write(file), || self.inner.write_new(file, content))
    }

    fn list(&self, kind: FileKind, found: &mut dyn FnMut(Id, u64)) -> Result<(), StoreError> {
        self.carry_out(Act::List(kind), || self.inner.list(kind, found))
    }

    fn stat(&self, file: FileName) -> Result<u64, StoreError> {
        self.carry_out(Act::Stat(file), || self.inner.stat(file))
    }

    fn remove(&self, file: FileName) -> Result<(), StoreError> {
        self.carry_out(Act::Remove(file), || self.inner.remove(file))
    }
}
