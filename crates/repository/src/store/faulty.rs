//! A store that fails, stalls and lies on purpose. For tests, and for the programs that tests kill; only with the feature `faults`.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{FileKind, FileName, Store, StoreError, StoreErrorKind};
use crate::id::Id;

/// The acts of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// [`Store::create`].
    Create,
    /// [`Store::read`].
    Read,
    /// [`Store::write_new`].
    Write,
    /// [`Store::list`].
    List,
    /// [`Store::stat`].
    Stat,
    /// [`Store::remove`].
    Remove,
}

/// What is wrong with an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not carried out, and fails in this way.
    Fail(StoreErrorKind),
    /// It is carried out, and fails in this way all the same.
    FailAfter(StoreErrorKind),
    /// It takes so much longer.
    Stall(Duration),
    /// Half of it is missing: of what is read, told or stored, or of the names of a list.
    Half,
    /// One bit of what is read or stored is another.
    Flip,
    /// It says that it is done, and is not: nothing is stored or removed; what is there is said not to be.
    Lose,
    /// The process ends at once before it.
    Abort,
    /// The process ends at once after it.
    AbortAfter,
}

/// Which acts have which fault. As text: `write/data@3=abort`, `any@10+=fail:full`, `read@1=stall:200` (milliseconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Only this act.
    pub act: Option<Act>,
    /// Only files of this kind, or lists of them.
    pub kind: Option<FileKind>,
    /// The number of the first such act with the fault, from 1.
    pub first: u64,
    /// Whether all after it have it too.
    pub lasting: bool,
    /// The fault.
    pub fault: Fault,
}

impl Rule {
    /// This fault for the act of this number, of whatever kind it is.
    #[must_use]
    pub const fn at(first: u64, fault: Fault) -> Self {
        Self { act: None, kind: None, first, lasting: false, fault }
    }

    /// The same from there on.
    #[must_use]
    pub const fn from(first: u64, fault: Fault) -> Self {
        Self { lasting: true, ..Self::at(first, fault) }
    }

    /// The same only for, and counted in, such acts.
    #[must_use]
    pub const fn only(self, act: Act) -> Self {
        Self { act: Some(act), ..self }
    }

    /// The same only for, and counted in, acts on files of this kind.
    #[must_use]
    pub const fn of(self, kind: FileKind) -> Self {
        Self { kind: Some(kind), ..self }
    }
}

const ACTS: [(&str, Act); 6] = [
    ("create", Act::Create),
    ("read", Act::Read),
    ("write", Act::Write),
    ("list", Act::List),
    ("stat", Act::Stat),
    ("remove", Act::Remove),
];

const KINDS: [(&str, StoreErrorKind); 8] = [
    ("not-found", StoreErrorKind::NotFound),
    ("no-store", StoreErrorKind::NoStore),
    ("already-exists", StoreErrorKind::AlreadyExists),
    ("denied", StoreErrorKind::Denied),
    ("full", StoreErrorKind::Full),
    ("lied", StoreErrorKind::Lied),
    ("unavailable", StoreErrorKind::Unavailable),
    ("other", StoreErrorKind::Other),
];

/// A text is not a rule for faults.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a rule such as write/data@3=abort")]
pub struct NotARule(String);

impl FromStr for Rule {
    type Err = NotARule;

    fn from_str(text: &str) -> Result<Self, NotARule> {
        parse(text).ok_or_else(|| NotARule(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Rule> {
    let (which, fault) = text.split_once('=')?;
    let (which, number) = which.split_once('@')?;
    let (act, folder) = which.split_once('/').unwrap_or((which, ""));
    let (number, lasting) = number.strip_suffix('+').map_or((number, false), |number| (number, true));
    let act = match act {
        "any" => None,
        act => Some(ACTS.iter().find(|(name, _)| *name == act)?.1),
    };
    let kind = match folder {
        "" => None,
        folder => Some(FileKind::ALL.into_iter().find(|kind| kind.folder() == folder)?),
    };
    let (fault, value) = fault.split_once(':').unwrap_or((fault, ""));
    let failure = || KINDS.iter().find(|(name, _)| *name == value).map(|(_, kind)| *kind);
    let fault = match fault {
        "fail" => Fault::Fail(failure()?),
        "fail-after" => Fault::FailAfter(failure()?),
        "stall" => Fault::Stall(Duration::from_millis(value.parse().ok()?)),
        "half" => Fault::Half,
        "flip" => Fault::Flip,
        "lose" => Fault::Lose,
        "abort" => Fault::Abort,
        "abort-after" => Fault::AbortAfter,
        _ => return None,
    };
    Some(Rule { act, kind, first: number.parse().ok()?, lasting, fault })
}

/// A store with faults over another one.
pub struct FaultStore {
    inner: Arc<dyn Store>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: Vec<(Rule, u64)>,
    acts: Vec<String>,
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl FaultStore {
    /// A store with these faults; the first rule that fits an act counts.
    pub fn new(inner: Arc<dyn Store>, rules: impl IntoIterator<Item = Rule>) -> Self {
        let rules = rules.into_iter().map(|rule| (rule, 0)).collect();
        Self { inner, state: Mutex::new(State { rules, acts: Vec::new() }) }
    }

    /// Every act so far, in order, as `write data/00/00…` or `list keys`.
    #[must_use]
    pub fn acts(&self) -> Vec<String> {
        self.state().acts.clone()
    }

    /// Sets other rules; the counts begin anew.
    pub fn set(&self, rules: impl IntoIterator<Item = Rule>) {
        self.state().rules = rules.into_iter().map(|rule| (rule, 0)).collect();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an act and finds its fault.
    fn fault(&self, act: Act, what: &str, kind: Option<FileKind>) -> Option<Fault> {
        let mut state = self.state();
        let name = ACTS.iter().find(|(_, this)| *this == act).map_or("", |(name, _)| name);
        state.acts.push(format!("{name} {what}"));
        let mut found = None;
        for (rule, count) in &mut state.rules {
            let fits = rule.act.is_none_or(|only| only == act) && (rule.kind.is_none() || rule.kind == kind);
            if fits {
                *count += 1;
                if *count == rule.first || rule.lasting && *count > rule.first {
                    found = found.or(Some(rule.fault));
                }
            }
        }
        found
    }

    /// Carries out an act with the faults that are the same for all.
    fn act<T>(
        &self,
        act: Act,
        what: &dyn fmt::Display,
        kind: Option<FileKind>,
        carry_out: impl FnOnce(Option<Fault>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let what = what.to_string();
        let fault = self.fault(act, &what, kind);
        let error =
            |kind| StoreError::new(kind, "use", &what, self.inner.name()).because("a fault on purpose");
        match fault {
            Some(Fault::Fail(kind)) => return Err(error(kind)),
            Some(Fault::Stall(time)) => std::thread::sleep(time),
            Some(Fault::Abort) => std::process::abort(),
            _ => {}
        }
        let done = carry_out(fault);
        match fault {
            Some(Fault::FailAfter(kind)) => Err(error(kind)),
            Some(Fault::AbortAfter) => std::process::abort(),
            _ => done,
        }
    }
}

fn kind_of(file: FileName) -> Option<FileKind> {
    match file {
        FileName::Config => None,
        FileName::Of(kind, _) => Some(kind),
    }
}

/// What has become of these bytes.
fn spoilt(mut content: Vec<u8>, fault: Option<Fault>) -> Vec<u8> {
    let middle = content.len() / 2;
    match fault {
        Some(Fault::Half) => content.truncate(middle),
        Some(Fault::Flip) => content.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 0x10),
        _ => {}
    }
    content
}

impl Store for FaultStore {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn create(&self) -> Result<(), StoreError> {
        self.act(Act::Create, &"the place", None, |fault| match fault {
            Some(Fault::Lose) => Ok(()),
            _ => self.inner.create(),
        })
    }

    fn read(&self, file: FileName, range: Option<Range<u64>>) -> Result<Vec<u8>, StoreError> {
        self.act(Act::Read, &file, kind_of(file), |fault| match fault {
            Some(Fault::Lose) => {
                Err(StoreError::new(StoreErrorKind::NotFound, "read", file, self.inner.name()))
            }
            fault => Ok(spoilt(self.inner.read(file, range)?, fault)),
        })
    }

    fn write_new(&self, file: FileName, content: &[u8]) -> Result<(), StoreError> {
        self.act(Act::Write, &file, kind_of(file), |fault| match fault {
            Some(Fault::Lose) => Ok(()),
            Some(Fault::Half | Fault::Flip) => self.inner.write_new(file, &spoilt(content.to_vec(), fault)),
            _ => self.inner.write_new(file, content),
        })
    }

    fn list(&self, kind: FileKind, found: &mut dyn FnMut(Id, u64)) -> Result<(), StoreError> {
        self.act(Act::List, &kind.folder(), Some(kind), |fault| {
            if fault == Some(Fault::Lose) {
                return Ok(());
            }
            let mut all = Vec::new();
            self.inner.list(kind, &mut |id, size| all.push((id, size)))?;
            if fault == Some(Fault::Half) {
                all.truncate(all.len() / 2);
            }
            all.into_iter().for_each(|(id, size)| found(id, size));
            Ok(())
        })
    }

    fn stat(&self, file: FileName) -> Result<u64, StoreError> {
        self.act(Act::Stat, &file, kind_of(file), |fault| match fault {
            Some(Fault::Lose) => {
                Err(StoreError::new(StoreErrorKind::NotFound, "look at", file, self.inner.name()))
            }
            Some(Fault::Half) => self.inner.stat(file).map(|size| size / 2),
            _ => self.inner.stat(file),
        })
    }

    fn remove(&self, file: FileName) -> Result<(), StoreError> {
        self.act(Act::Remove, &file, kind_of(file), |fault| match fault {
            Some(Fault::Lose) => Ok(()),
            _ => self.inner.remove(file),
        })
    }

    fn parallel(&self) -> usize {
        self.inner.parallel()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn pack(content: &[u8]) -> FileName {
        FileName::Of(FileKind::Pack, Id::of(content))
    }

    #[test]
    fn each_fault_hits_the_act_that_it_is_for() {
        let inner = Arc::new(MemoryStore::default());
        let store = FaultStore::new(Arc::clone(&inner) as Arc<dyn Store>, []);
        let kind = |outcome: Result<(), StoreError>| outcome.map_err(|error| error.kind);
        store.set([Rule::at(2, Fault::Fail(StoreErrorKind::Full)).only(Act::Write)]);
        store.write_new(pack(b"a"), b"abcd").unwrap();
        assert_eq!(store.read(pack(b"a"), None).unwrap(), b"abcd");
        assert_eq!(kind(store.write_new(pack(b"b"), b"b")), Err(StoreErrorKind::Full));
        assert!(inner.read(pack(b"b"), None).is_err());
        store.write_new(pack(b"c"), b"c").unwrap();

        store.set([Rule::from(1, Fault::FailAfter(StoreErrorKind::Unavailable)).of(FileKind::Pack)]);
        assert_eq!(kind(store.write_new(pack(b"d"), b"d")), Err(StoreErrorKind::Unavailable));
        assert_eq!(kind(store.write_new(pack(b"e"), b"e")), Err(StoreErrorKind::Unavailable));
        assert_eq!(inner.read(pack(b"e"), None).unwrap(), b"e");
        store.write_new(FileName::Config, b"config").unwrap();

        store.set([Rule::at(1, Fault::Half), Rule::at(2, Fault::Flip), Rule::at(3, Fault::Lose)]);
        assert_eq!(store.read(pack(b"a"), None).unwrap(), b"ab");
        assert_eq!(store.read(pack(b"a"), None).unwrap(), b"absd");
        store.remove(pack(b"a")).unwrap();
        assert_eq!(inner.read(pack(b"a"), None).unwrap(), b"abcd");

        store.set([Rule::at(1, Fault::Half), Rule::at(2, Fault::Half), Rule::at(3, Fault::Lose)]);
        store.write_new(pack(b"f"), b"abcd").unwrap();
        assert_eq!(inner.read(pack(b"f"), None).unwrap(), b"ab");
        let mut names = 0;
        store.list(FileKind::Pack, &mut |_, _| names += 1).unwrap();
        assert_eq!(names, 2);
        assert!(store.stat(pack(b"a")).is_err());
        assert_eq!(store.acts().last().map(String::as_str), Some(&*format!("stat {}", pack(b"a"))));
    }

    #[test]
    fn a_rule_is_read_from_text() {
        let abort = Rule::at(3, Fault::Abort).only(Act::Write).of(FileKind::Pack);
        assert_eq!("write/data@3=abort".parse(), Ok(abort));
        let full = Rule::from(10, Fault::Fail(StoreErrorKind::Full));
        assert_eq!("any@10+=fail:full".parse(), Ok(full));
        let stall = Rule::at(1, Fault::Stall(Duration::from_millis(200))).only(Act::Read);
        assert_eq!("read@1=stall:200".parse(), Ok(stall));
        for text in
            ["", "write", "write@x=abort", "write@1=burn", "burn@1=abort", "read/x@1=half", "any@1=fail:x"]
        {
            assert!(text.parse::<Rule>().is_err(), "{text}");
        }
    }
}
