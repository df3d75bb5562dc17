//! The undo log of work that freezes nothing: it keeps nothing.

use stillpoint_model::{Ticket, Undo, UndoError, UndoLog};

/// Takes every undo and forgets it. For a recovery or a rehearsal, which hold nothing still.
pub(crate) struct NoUndos;

impl UndoLog for NoUndos {
    fn intend(&self, _undo: Undo) -> Result<Ticket, UndoError> {
        Ok(Ticket(0))
    }

    fn settle(&self, _ticket: Ticket) {}
}
