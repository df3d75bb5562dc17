//! The undos of a run that are not settled yet: in memory here, on the disk in the journal, in the guard.
//!
//! The order is what makes it safe: an undo is in the journal and with the guard before the act that it takes back is
//! done, and it is taken off only after that act was taken back. When the last user of this goes and everything was
//! settled, the guard is let go. Otherwise the link just ends, and the guard does what is left.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stillpoint_model::{ComponentName, Ticket, Undo, UndoError, UndoLog, Urgency};

use crate::guard::Guard;
use crate::journal::{Journal, Record, Sync};
use crate::undo::{Commands, execute_all, in_order};

/// Whose an undo is: a participant's by its place, or the site's own.
pub(crate) type Owner = Option<usize>;

#[derive(Debug)]
struct Intent {
    ticket: Ticket,
    owner: Owner,
    undo: Undo,
}

/// All undos that are not settled.
#[derive(Debug)]
pub(crate) struct Intents {
    journal: Arc<Journal>,
    guard: Guard,
    guard_needed: AtomicBool,
    next: AtomicU64,
    open: Mutex<Vec<Intent>>,
}

impl Intents {
    pub(crate) fn new(journal: Arc<Journal>, guard: Guard, first: u64) -> Self {
        Self {
            journal,
            guard,
            guard_needed: AtomicBool::new(true),
            next: AtomicU64::new(first),
            open: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// After the thaw a lost guard does not stop the run any more.
    pub(crate) fn guard_is_optional(&self) {
        self.guard_needed.store(false, Ordering::SeqCst);
    }

    fn register(
        &self,
        owner: Owner,
        component: Option<&ComponentName>,
        undo: Undo,
    ) -> Result<Ticket, UndoError> {
        let refused = |reason: String| UndoError { undo: undo.to_string(), reason };
        let ticket = Ticket(self.next.fetch_add(1, Ordering::SeqCst));
        let record = Record::Intent { ticket: ticket.0, component: component.cloned(), undo: undo.clone() };
        let written = self.journal.append(record, Sync::Before);
        written.map_err(|error| refused(format!("the journal cannot be written: {error}")))?;
        if let Err(reason) = self.guard.arm(ticket, &undo)
            && self.guard_needed.load(Ordering::SeqCst)
        {
            // The act is not done, so its undo is not needed. Unsettled, it would be done in vain: harmless.
            let _ = self.journal.append(Record::Settled { ticket: ticket.0 }, Sync::Later);
            return Err(refused(reason));
        }
        self.lock().push(Intent { ticket, owner, undo });
        Ok(ticket)
    }

    /// Takes an undo off.
    pub(crate) fn settle(&self, ticket: Ticket) {
        self.lock().retain(|intent| intent.ticket != ticket);
        self.guard.settle(ticket);
        // Unwritten, it is done once more after a crash: harmless.
        let _ = self.journal.append(Record::Settled { ticket: ticket.0 }, Sync::Later);
    }

    /// Settles all of an owner without carrying them out.
    pub(crate) fn settle_all(&self, owner: Owner) {
        self.of(owner, &[Urgency::Thaw, Urgency::Release])
            .into_iter()
            .for_each(|(ticket, _)| self.settle(ticket));
    }

    /// What an owner has registered and not settled, of these urgencies, in the order in which it is to be done.
    pub(crate) fn of(&self, owner: Owner, urgencies: &[Urgency]) -> Vec<(Ticket, Undo)> {
        let open = self.lock();
        let due = open.iter().filter(|it| it.owner == owner && urgencies.contains(&it.undo.urgency()));
        in_order(due.map(|it| (it.ticket, it.undo.clone())).collect())
    }

    /// Carries out what an owner left, and answers what could not be. With `settle`, what was done is taken off; without
    /// (its writer hangs and may still act) it stays, to be done again by whoever comes last.
    pub(crate) fn carry_out(&self, owner: Owner, urgencies: &[Urgency], settle: bool) -> Vec<String> {
        let mut failures = Vec::new();
        for urgency in urgencies {
            for (ticket, ending) in execute_all(&self.of(owner, &[*urgency]), &Commands::default()) {
                match ending {
                    Ok(_) if settle => self.settle(ticket),
                    Ok(_) => {}
                    Err(text) => failures.push(text),
                }
            }
        }
        failures
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Intent>> {
        // The list is whole between any two statements that change it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Intents {
    fn drop(&mut self) {
        if self.lock().is_empty() {
            self.guard.goodbye();
        }
    }
}

/// Where one owner registers its undos.
pub(crate) struct OwnIntents {
    pub(crate) intents: Arc<Intents>,
    pub(crate) owner: Owner,
    pub(crate) component: Option<ComponentName>,
    /// Set when the run was given up on this owner: it must begin nothing more.
    pub(crate) abandoned: Arc<AtomicBool>,
}

impl UndoLog for OwnIntents {
    fn intend(&self, undo: Undo) -> Result<Ticket, UndoError> {
        if self.abandoned.load(Ordering::SeqCst) {
            let reason = "the run was given up, because this act was not done in time".to_owned();
            return Err(UndoError { undo: undo.to_string(), reason });
        }
        self.intents.register(self.owner, self.component.as_ref(), undo)
    }

    fn settle(&self, ticket: Ticket) {
        // A late writer that settles what was done for it in the meantime changes nothing.
        self.intents.settle(ticket);
    }
}
