//! Where a base backup goes back to, and what is in the way there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use stillpoint_model::site_file::PostgresSettings;
use stillpoint_model::{RunId, WriterError};

use super::BaseBackupFacts;
use crate::postgres::cluster::is_data_folder;

/// The places of one restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The data folder.
    pub data: PathBuf,
    /// The folder of each tablespace, by object id.
    pub tablespaces: Vec<(u32, PathBuf)>,
    /// Whether the data folder is another than the server had.
    pub moved: bool,
}

/// What is at a place.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or an empty folder.
    Free,
    /// What PostgreSQL left there, and no server uses it.
    Old,
    /// A server runs on it.
    Running(u32),
    /// Something that is not PostgreSQL's.
    Foreign,
}

impl Place {
    /// The data folder that the site file names, else the recorded one. When it is another than the recorded one, the
    /// tablespaces go beside it: their recorded places may be in use by the original.
    pub fn of(settings: &PostgresSettings, facts: &BaseBackupFacts) -> Result<Self, WriterError> {
        let data = settings.data.clone().unwrap_or_else(|| facts.data.clone());
        if !data.is_absolute() || data.parent().is_none() {
            return Err(WriterError::Other(format!(
                "the data folder {:?} is no absolute path below the root; set data in the site file",
                data.display()
            )));
        }
        let moved = data != facts.data;
        let beside = beside(&data, "tablespaces");
        let location = |oid: u32, recorded: &Path| {
            if moved { beside.join(oid.to_string()) } else { recorded.to_owned() }
        };
        let tablespaces = facts
            .tablespaces
            .iter()
            .map(|tablespace| (tablespace.oid, location(tablespace.oid, &tablespace.location)))
            .collect();
        Ok(Self { data, tablespaces, moved })
    }

    /// What is in the way, one sentence each; and whether none of it may be moved aside.
    pub fn obstacles(&self) -> Result<(Vec<String>, bool), WriterError> {
        let mut sentences = Vec::new();
        let mut hopeless = false;
        let tablespaces = self.tablespaces.iter().map(|(_, folder)| (folder, false));
        for (folder, is_data) in std::iter::once((&self.data, true)).chain(tablespaces) {
            let found = if is_data { look_at_data(folder)? } else { look_at_tablespace(folder)? };
            let folder = folder.display();
            match found {
                Found::Free => {}
                Found::Old => {
                    sentences.push(format!("{folder} holds data of PostgreSQL, which would be replaced"))
                }
                Found::Running(pid) => {
                    hopeless = true;
                    sentences
                        .push(format!("a PostgreSQL server (process {pid}) runs on {folder}; stop it first"));
                }
                Found::Foreign => {
                    hopeless = true;
                    sentences.push(format!(
                        "{folder} is not empty and does not look like PostgreSQL's; empty it or restore elsewhere"
                    ));
                }
            }
        }
        Ok((sentences, hopeless))
    }

    /// Moves what PostgreSQL left at the places aside, by renaming it, and returns a note for each. Nothing is deleted.
    pub fn move_aside(&self, run: &RunId) -> Result<Vec<String>, WriterError> {
        let mut notes = Vec::new();
        for folder in std::iter::once(&self.data).chain(self.tablespaces.iter().map(|(_, folder)| folder)) {
            if is_empty(folder)? {
                continue;
            }
            let aside = beside(folder, &format!("before-{run}"));
            if aside.symlink_metadata().is_ok() {
                return Err(WriterError::Other(format!(
                    "{} is there already; move it away",
                    aside.display()
                )));
            }
            fs::rename(folder, &aside).map_err(|source| match source.kind() {
                io::ErrorKind::ResourceBusy => WriterError::Other(format!(
                    "{} is a mount point and cannot be renamed; move what is in it away by hand",
                    folder.display()
                )),
                _ => WriterError::Io { act: "move aside", path: folder.clone(), source },
            })?;
            notes.push(format!("What was in {} is in {} now.", folder.display(), aside.display()));
        }
        Ok(notes)
    }
}

/// `<folder>.<suffix>`.
fn beside(folder: &Path, suffix: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn is_empty(folder: &Path) -> Result<bool, WriterError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(WriterError::Io { act: "list", path: folder.to_owned(), source }),
    }
}

fn look_at_data(folder: &Path) -> Result<Found, WriterError> {
    if is_empty(folder)? {
        return Ok(Found::Free);
    }
    if !is_data_folder(folder) {
        return Ok(Found::Foreign);
    }
    Ok(running_server(folder).map_or(Found::Old, Found::Running))
}

fn look_at_tablespace(folder: &Path) -> Result<Found, WriterError> {
    if is_empty(folder)? {
        return Ok(Found::Free);
    }
    let entries = fs::read_dir(folder).map_err(|source| WriterError::Io {
        act: "list",
        path: folder.to_owned(),
        source,
    })?;
    let ours = entries.flatten().all(|entry| entry.file_name().to_string_lossy().starts_with("PG_"));
    Ok(if ours { Found::Old } else { Found::Foreign })
}

/// The process of the server that runs on a data folder, by its `postmaster.pid` (its first line is the process, its
/// second the data folder).
pub fn running_server(folder: &Path) -> Option<u32> {
    let pid = fs::read_to_string(folder.join("postmaster.pid")).ok()?;
    let pid: u32 = pid.lines().next()?.trim().parse().ok()?;
    // A stale file may name a process that is another program's by now.
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    program.starts_with("postgres").then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(data: &Path) -> Place {
        Place { data: data.to_owned(), tablespaces: Vec::new(), moved: true }
    }

    #[test]
    fn a_foreign_folder_is_never_moved_and_an_old_cluster_only_renamed() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        assert_eq!(place(&data).obstacles().unwrap(), (Vec::new(), false));
        fs::create_dir(&data).unwrap();
        assert_eq!(place(&data).obstacles().unwrap(), (Vec::new(), false));
        fs::write(data.join("letter.txt"), "dear").unwrap();
        let (sentences, hopeless) = place(&data).obstacles().unwrap();
        assert!(hopeless && sentences[0].contains("does not look like PostgreSQL's"), "{sentences:?}");

        fs::write(data.join("PG_VERSION"), "15\n").unwrap();
        fs::create_dir(data.join("global")).unwrap();
        let (sentences, hopeless) = place(&data).obstacles().unwrap();
        assert!(!hopeless && sentences[0].contains("would be replaced"), "{sentences:?}");
        let notes = place(&data).move_aside(&"r1".parse().unwrap()).unwrap();
        assert!(folder.path().join("data.before-r1/letter.txt").is_file() && !data.exists());
        assert_eq!(notes.len(), 1);
    }
}
