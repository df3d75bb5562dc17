//! A set that is being built, aside of the good one. Nothing here touches the published set; that is `publish`'s.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use stillpoint_model::site_file::{Destination, Task};
use stillpoint_model::{
    Cancel, CaptureSink, ComponentName, ErrorKind, Monitor, RunId, SiteCode, Ticket, Undo, UndoError, UndoLog,
};

use crate::facts::{Kit, SetFacts};
use crate::heal::heal;
use crate::layout::{LISTS, Locations, WORK, WRITERS};
use crate::publish::{NoFaults, Publication};
use crate::sink::{Received, SetSink};
use crate::{ArchiveError, BackupSet, ContentTaker, Place, SealedApart, destination, disk};

/// A set being built, aside of the good one. Dropped without [`SetBuilder::publish`], it leaves its folder to the
/// registered undo.
pub struct SetBuilder {
    pub(crate) yard: Arc<Yard>,
    pub(crate) site: SiteCode,
    pub(crate) run: RunId,
    /// Open since before the first byte was written: a failed write in the background is told by the sync.
    pub(crate) file_systems: Vec<(File, PathBuf)>,
    tickets: Vec<Ticket>,
    pub(crate) cancel: Cancel,
}

/// What the builder shares with its sinks.
pub(crate) struct Yard {
    pub locations: Locations,
    keep_free_percent: AtomicU8,
    received: Mutex<BTreeMap<ComponentName, Received>>,
    taker: OnceLock<Arc<dyn ContentTaker>>,
}

impl Yard {
    /// What the components brought so far.
    pub fn received(&self) -> MutexGuard<'_, BTreeMap<ComponentName, Received>> {
        // A sink that panicked leaves its component without its last part, and the publish then finds the difference.
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who takes the content, when it does not come to lie here.
    pub fn taker(&self) -> Option<&dyn ContentTaker> {
        self.taker.get().map(|taker| &**taker)
    }

    /// How much must stay free.
    pub fn keep_free_percent(&self) -> u8 {
        self.keep_free_percent.load(Ordering::Relaxed)
    }

    /// The folder of the lists that are not merged yet.
    pub fn parts(&self) -> PathBuf {
        self.locations.building().join(WORK).join(".lists")
    }
}

impl SetBuilder {
    /// Creates the building folder (`.P01Backup.building-<run>` with the marker file); registers its undo first. Also
    /// heals what an interrupted swap left at the destination, so the caller must hold the site's lock.
    ///
    /// # Errors
    /// When the destination is none, a share that is not mounted, or refuses; when the undo cannot be registered.
    pub fn create(
        destination: &Destination,
        code: &SiteCode,
        run: &RunId,
        undos: &dyn UndoLog,
    ) -> Result<Self, ArchiveError> {
        let locations = Locations::new(destination, code, run)?;
        if let Some(finding) = destination.share.as_deref().and_then(destination::share_missing) {
            return Err(ArchiveError::new(ErrorKind::Environment, finding.text).with_hint(finding.remedy));
        }
        for folder in [Some(&locations.root), locations.databases.as_ref()].into_iter().flatten() {
            disk::create_folder(folder)?;
        }
        heal(destination, code)?;
        let mut tickets = Vec::new();
        let mut file_systems = Vec::new();
        for folder in [Some(locations.building()), locations.databases_building()].into_iter().flatten() {
            let undo = Undo::RemoveTree { path: folder.clone(), run: run.as_str().to_owned() };
            tickets.push(undos.intend(undo).map_err(not_registered)?);
            std::fs::create_dir(&folder)
                .map_err(|error| ArchiveError::io("create the folder", &folder, error))?;
            restrict(&folder)?;
            disk::mark(&folder, run.as_str())?;
            let opened =
                File::open(&folder).map_err(|error| ArchiveError::io("open the folder", &folder, error))?;
            file_systems.push((opened, folder));
        }
        let yard = Arc::new(Yard {
            locations,
            keep_free_percent: AtomicU8::new(Task::default().keep_free_percent),
            received: Mutex::default(),
            taker: OnceLock::new(),
        });
        for folder in
            [yard.parts(), yard.locations.building().join(LISTS), yard.locations.building().join(WRITERS)]
        {
            disk::create_folder(&folder)?;
        }
        let (site, run, cancel) = (code.clone(), run.clone(), Cancel::default());
        Ok(Self { yard, site, run, file_systems, tickets, cancel })
    }

    /// How much of the destination must stay free while data comes in, in percent; without it, what a site file without
    /// that setting says. To be called before the first [`SetBuilder::sink`].
    #[must_use]
    pub fn keep_free_percent(self, percent: u8) -> Self {
        self.yard.keep_free_percent.store(percent, Ordering::Relaxed);
        self
    }

    /// Lets the content go to `taker` instead of into the folder that is built. To be called before the first
    /// [`SetBuilder::sink`]; the set then ends with [`SetBuilder::seal_without_content`].
    #[must_use]
    pub fn content_to(self, taker: Arc<dyn ContentTaker>) -> Self {
        // A second one would come too late anyway.
        let _ = self.yard.taker.set(taker);
        self
    }

    /// Once `cancel` is set nothing is published any more: a publish that has not come to its exchange ends without it.
    #[must_use]
    pub fn cancelled_by(mut self, cancel: &Cancel) -> Self {
        self.cancel = cancel.clone();
        self
    }

    /// The folder of the set while it is built. What is put into its top before the publish (`backup.log`) is in the set,
    /// unlisted and unchecked.
    pub fn folder(&self) -> PathBuf {
        self.yard.locations.building()
    }

    /// Where the separate folder with the databases will lie once it is published, if they get one.
    pub fn databases_folder(&self) -> Option<PathBuf> {
        self.yard.locations.databases_published()
    }

    /// The registered undos. To be settled after the publish; undone after it, they are harmless.
    pub fn tickets(&self) -> &[Ticket] {
        &self.tickets
    }

    /// Where the workspace of a component will be; known before `create`. For a destination that is none, a path that
    /// cannot exist.
    pub fn workspace_path(
        destination: &Destination,
        code: &SiteCode,
        run: &RunId,
        place: Place,
        component: &ComponentName,
    ) -> PathBuf {
        Locations::new(destination, code, run).map_or_else(
            |_| PathBuf::from("/dev/null/no-destination"),
            |found| found.workspace(place, component),
        )
    }

    /// Creates the workspace of a component, private and empty, and says where it is.
    ///
    /// # Errors
    /// When the destination refuses.
    pub fn workspace(&self, place: Place, component: &ComponentName) -> Result<PathBuf, ArchiveError> {
        let folder = self.yard.locations.workspace(place, component);
        disk::create_folder(&folder)?;
        Ok(folder)
    }

    /// The sink of a component.
    pub fn sink(&self, place: Place, component: &ComponentName) -> Box<dyn CaptureSink> {
        Box::new(SetSink::new(Arc::clone(&self.yard), place, component.clone()))
    }

    /// Writes lists, writers' words, recovery kit and manifest; syncs, verifies what was written in this run, swaps the set
    /// in with one atomic exchange, and removes the old one. A failure to remove the old one is told to the monitor and
    /// is no error: the set is published.
    ///
    /// # Errors
    /// On any error the published set is the old one, whole; what was built stays for its undo.
    pub fn publish(
        self,
        facts: SetFacts,
        kit: &Kit,
        monitor: &Arc<dyn Monitor>,
    ) -> Result<BackupSet, ArchiveError> {
        if self.yard.taker().is_some() {
            return Err(ArchiveError::new(ErrorKind::Bug, "a set without its content is not published"));
        }
        Publication::new(self, facts, monitor, &NoFaults)?.run(kit)
    }

    /// Writes all that a set says of itself, and the manifest, into the folder that is built, for content that lies
    /// elsewhere: everything of a set but the files of its components.
    ///
    /// # Errors
    /// As for [`SetBuilder::publish`].
    pub fn seal_without_content(
        self,
        facts: SetFacts,
        kit: &Kit,
        monitor: &Arc<dyn Monitor>,
    ) -> Result<SealedApart, ArchiveError> {
        Publication::new(self, facts, monitor, &NoFaults)?.seal_without_content(kit)
    }
}

fn not_registered(error: UndoError) -> ArchiveError {
    ArchiveError {
        source: Some(Box::new(error)),
        ..ArchiveError::new(
            ErrorKind::Environment,
            "the set is not begun, because its undo cannot be registered",
        )
    }
}

fn restrict(folder: &std::path::Path) -> Result<(), ArchiveError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
        .map_err(|error| ArchiveError::io("make private the folder", folder, error))
}
