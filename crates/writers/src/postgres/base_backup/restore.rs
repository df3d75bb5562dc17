//! Restore of a base backup: files back in their places, the log replayed exactly to the restore point by a private
//! server, and nothing of ours left behind. A cluster that was there is renamed, never deleted.
//!
//! By hand it is: copy `base` to an empty folder of the server's user, `tablespaces/<oid>` to where the links in its
//! `pg_tblspc` point, `wal/*` into its `pg_wal`; create `recovery.signal` in it; start the server with
//! `restore_command = 'false'`, `recovery_target_name` as in the facts, `recovery_target_action = 'promote'`.

use std::fs;
use std::io;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};

use stillpoint_model::site_file::PostgresSettings;
use stillpoint_model::{Context, Deadline, RestoreOptions, Restored, Restorer, StoredComponent, WriterError};

use super::BaseBackupFacts;
use super::place::Place;
use super::replay::Replay;
use super::start::{self, Start};
use crate::postgres::access::find_programs;
use crate::postgres::owner::User;
use crate::postgres::planting::plant_part;

/// The programs of a server that a restore needs, the one whose version counts first.
const PROGRAMS: [&str; 2] = ["postgres", "pg_ctl"];
/// How long looking for programs may take.
const LOOK_WAIT: std::time::Duration = std::time::Duration::from_secs(30);

/// Restores a whole cluster.
pub struct BaseBackupRestorer {
    settings: PostgresSettings,
    start: Option<Start>,
}

impl BaseBackupRestorer {
    /// The restorer for what a [`super::BaseBackupWriter`] captured; `settings.data` says where to, `settings.bin` with
    /// which server.
    pub fn new(settings: PostgresSettings) -> Self {
        Self { settings, start: None }
    }

    fn programs(&self, facts: &BaseBackupFacts, deadline: Deadline) -> Result<PathBuf, WriterError> {
        find_programs(self.settings.bin.as_deref(), facts.major, &PROGRAMS, true, deadline)
    }
}

impl Restorer for BaseBackupRestorer {
    fn obstacles(&self, stored: &StoredComponent) -> Result<Vec<String>, WriterError> {
        let facts = facts(stored)?;
        let (mut sentences, _) = Place::of(&self.settings, &facts)?.obstacles()?;
        for missing in
            [self.programs(&facts, Deadline::after(LOOK_WAIT)).err(), User::for_restore(&facts.owner).err()]
        {
            sentences.extend(missing.map(|error| error.to_string()));
        }
        Ok(sentences)
    }

    fn plan(&self, stored: &StoredComponent) -> Result<Vec<String>, WriterError> {
        let facts = facts(stored)?;
        let place = Place::of(&self.settings, &facts)?;
        let mut steps = Vec::new();
        if !place.obstacles()?.0.is_empty() {
            steps.push(format!("Rename what is in {} and its tablespaces aside.", place.data.display()));
        }
        steps.push(format!("Put the base backup back at {}.", place.data.display()));
        for (oid, folder) in &place.tablespaces {
            steps.push(format!("Put tablespace {oid} back at {}.", folder.display()));
        }
        steps.push(format!(
            "Replay the write-ahead log to restore point {} at {} with a private PostgreSQL {} server, and stop it.",
            facts.restore_point, facts.lsn, facts.major
        ));
        steps.push("Start the server.".into());
        Ok(steps)
    }

    fn restore(
        &mut self,
        context: &Context,
        stored: &StoredComponent,
        options: &RestoreOptions,
        deadline: Deadline,
    ) -> Result<Restored, WriterError> {
        let facts = facts(stored)?;
        let place = Place::of(&self.settings, &facts)?;
        let programs = self.programs(&facts, deadline)?;
        let owner = User::for_restore(&facts.owner)?;
        let (sentences, hopeless) = place.obstacles()?;
        if hopeless || (!sentences.is_empty() && !options.overwrite) {
            return Err(WriterError::Other(sentences.join("; ")));
        }
        let mut restored = Restored { notes: place.move_aside(&context.run)?, ..Restored::default() };

        put_back(context, stored, &place, &owner, deadline, &mut restored)?;
        link_tablespaces(&place, &owner)?;
        signal_recovery(&place.data, &owner)?;
        Replay { programs: &programs, data: &place.data, owner: &owner, facts: &facts }
            .run(context, deadline)?;
        let config = start::put_settings_back(&stored.folder, &facts, &place, &owner, &mut restored.notes)?;
        restored.notes.push(format!(
            "PostgreSQL in {} was replayed to restore point {} and stands at the epoch.",
            place.data.display(),
            facts.restore_point
        ));
        self.start = Some(Start { programs, data: place.data, owner, config, moved: place.moved });
        Ok(restored)
    }

    fn start(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        match &self.start {
            Some(start) => start.run(context, deadline),
            None => Ok(()),
        }
    }
}

fn facts(stored: &StoredComponent) -> Result<BaseBackupFacts, WriterError> {
    serde_json::from_value(stored.facts.clone()).map_err(|error| {
        WriterError::Other(format!(
            "component {} is not stored as a PostgreSQL base backup ({error}); set method in the site file to the one \
             that it was backed up with",
            stored.name.as_str()
        ))
    })
}

fn put_back(
    context: &Context,
    stored: &StoredComponent,
    place: &Place,
    owner: &User,
    deadline: Deadline,
    restored: &mut Restored,
) -> Result<(), WriterError> {
    let mut add = |part: Restored| {
        restored.files += part.files;
        restored.bytes += part.bytes;
        restored.notes.extend(part.notes);
    };
    create_folder(&place.data, owner)?;
    add(plant_part(context, stored, "base", &place.data, owner, (false, deadline))?);
    add(plant_part(context, stored, "wal", &place.data.join("pg_wal"), owner, (true, deadline))?);
    for (oid, folder) in &place.tablespaces {
        create_folder(folder, owner)?;
        add(plant_part(context, stored, &format!("tablespaces/{oid}"), folder, owner, (false, deadline))?);
    }
    Ok(())
}

/// Creates a folder with those above it; only the folder itself belongs to the server's user.
fn create_folder(folder: &Path, owner: &User) -> Result<(), WriterError> {
    let io = |act| move |source| WriterError::Io { act, path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(io("create folder"))?;
    chown(folder, Some(owner.uid), Some(owner.gid)).map_err(io("change the owner of"))
}

fn link_tablespaces(place: &Place, owner: &User) -> Result<(), WriterError> {
    for (oid, folder) in &place.tablespaces {
        let link = place.data.join("pg_tblspc").join(oid.to_string());
        let io = |act| {
            let path = link.clone();
            move |source| WriterError::Io { act, path, source }
        };
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io("remove")(error)),
            _ => {}
        }
        symlink(folder, &link).map_err(io("create link"))?;
        std::os::unix::fs::lchown(&link, Some(owner.uid), Some(owner.gid))
            .map_err(io("change the owner of"))?;
    }
    Ok(())
}

/// Tells the server, by a file, to recover from the log to a target. It removes the file when it is done.
fn signal_recovery(data: &Path, owner: &User) -> Result<(), WriterError> {
    let path = data.join("recovery.signal");
    let io = |act| {
        let path = path.clone();
        move |source| WriterError::Io { act, path, source }
    };
    fs::write(&path, "").map_err(io("write"))?;
    chown(&path, Some(owner.uid), Some(owner.gid)).map_err(io("change the owner of"))
}
