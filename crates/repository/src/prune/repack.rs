//! Moving used blobs into new packs. Nothing is removed here: what is moved lies in two packs for a while.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::plan::{Choice, Fate, Survey};
use crate::by_pack::{ByPack, sealed_in, span_of};
use crate::crew;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::{Index, Location};
use crate::lock::RepositoryLock;
use crate::marks::{Used, is_of_the_store};
use crate::packer::Packer;
use crate::repository::Repository;
use crate::save::upload::lock as guard;
use crate::watch::{Amount, Watcher};

/// What was moved.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// The new packs.
    pub packs: Vec<Id>,
    /// Packs with something in them that could not be read, and why.
    pub damaged: BTreeMap<Id, String>,
}

/// Moves what is at home in the packs that are to be repacked. What a failure leaves behind is good and is used by the next
/// prune.
pub(super) fn repack(
    repository: &Repository,
    (index, used): (&Index, &Used),
    survey: &Survey<'_>,
    choice: &Choice,
    lock: &RepositoryLock,
    watcher: &dyn Watcher,
) -> Result<Moved, RepositoryError> {
    let packs = ByPack::new(index, |kind, place, location| {
        survey.fate(choice, location.number) == Fate::Repack && survey.is_home(used, kind, place)
    });
    let total = Amount { items: packs.count() as u64, bytes: survey.moved_bytes(choice) };
    watcher.stage("repack", total);
    let packer = Packer::new(repository);
    let mover = Mover { repository, packer: &packer, watcher, damaged: Mutex::default() };
    let done = crew::for_each(crew::size(repository), packs.count(), |pack| {
        watcher.check()?;
        lock.still_ours()?;
        packs.runs(pack).try_for_each(|run| mover.run(&packs.run(run)))?;
        watcher.advance(Amount { items: 1, bytes: 0 });
        Ok(())
    });
    let finished = packer.finish();
    done?;
    let damaged = mover.damaged.into_inner().unwrap_or_default();
    Ok(Moved { packs: finished?, damaged })
}

struct Mover<'m> {
    repository: &'m Repository,
    packer: &'m Packer<'m>,
    watcher: &'m dyn Watcher,
    damaged: Mutex<BTreeMap<Id, String>>,
}

impl Mover<'_> {
    fn run(&self, run: &[(usize, Location)]) -> Result<(), RepositoryError> {
        let span = span_of(run);
        let Some(pack) = run.first().map(|(_, location)| location.pack) else { return Ok(()) };
        let bytes = match self.repository.read_pack(pack, span.clone()) {
            Err(error) if !is_of_the_store(&error) => {
                self.note(pack, &error);
                return Ok(());
            }
            other => other?,
        };
        for (_, location) in run {
            let sealed = sealed_in(&bytes, &span, location)
                .ok_or_else(|| RepositoryError::damaged(format!("the pack {} is too short", pack.short())));
            // Only what is proven to be good may take the place of what is removed.
            let proven = sealed
                .and_then(|sealed| self.repository.open_blob(location, &mut sealed.to_vec()).map(|_| sealed));
            match proven {
                Ok(sealed) => self.packer.add(&location.blob, sealed)?,
                Err(error) => self.note(pack, &error),
            }
        }
        self.watcher.advance(Amount { items: 0, bytes: span.end - span.start });
        Ok(())
    }

    fn note(&self, pack: Id, error: &RepositoryError) {
        guard(&self.damaged).entry(pack).or_insert_with(|| error.to_string());
    }
}
