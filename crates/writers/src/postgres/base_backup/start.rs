//! Settings files outside the data folder, and starting the restored server the way its machine does.

use std::fs;
use std::io::Write;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use stillpoint_model::{Context, Deadline, WriterError};

use super::BaseBackupFacts;
use super::place::{Place, running_server};
use crate::postgres::owner::User;
use crate::process::Program;

/// Debian's program that starts a cluster; under systemd it starts the unit of it.
const PG_CTLCLUSTER: &str = "/usr/bin/pg_ctlcluster";

/// How a restored server is started.
pub struct Start {
    /// The server's programs.
    pub programs: PathBuf,
    /// The data folder.
    pub data: PathBuf,
    /// Whose it is.
    pub owner: User,
    /// The settings file, when it is outside the data folder.
    pub config: Option<PathBuf>,
    /// Whether the data folder is another than the server had.
    pub moved: bool,
}

impl Start {
    /// Starts the server and waits until it answers: by `pg_ctlcluster` for a cluster in Debian's places, else by `pg_ctl`.
    /// A server that runs already is left alone.
    pub fn run(&self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        if running_server(&self.data).is_some() {
            return Ok(());
        }
        let program = match self.debian_cluster() {
            Some((version, cluster)) => Program::new(PG_CTLCLUSTER).args([&version, &cluster, "start"]),
            None => self.pg_ctl(deadline),
        };
        program.cancelled_by(&context.cancel).run(deadline)?.check().map(drop)
    }

    fn pg_ctl(&self, deadline: Deadline) -> Program {
        let seconds = deadline.remaining().as_secs().max(1).to_string();
        let mut program = Program::new(self.programs.join("pg_ctl"))
            .args(["start", "--wait", "--silent", "--timeout", &seconds, "--pgdata"])
            .arg(&self.data)
            .arg("--log")
            .arg(self.data.join("start.log"));
        if let Some(config) = &self.config {
            // The data folder that the settings file names is overruled by the one that we restored to.
            let options =
                format!("-c config_file={} -c data_directory={}", quoted(config), quoted(&self.data));
            program = program.args(["--options", &options]);
        }
        match self.owner.switch() {
            Some((uid, gid)) => program.user(uid, gid),
            None => program,
        }
    }

    /// Version and name of the cluster, when its settings are where Debian has them and its data where they were.
    fn debian_cluster(&self) -> Option<(String, String)> {
        if self.moved || !Path::new(PG_CTLCLUSTER).is_file() {
            return None;
        }
        let rest = self.config.as_ref()?.strip_prefix("/etc/postgresql").ok()?;
        match rest.to_str()?.split('/').collect::<Vec<_>>().as_slice() {
            [version, cluster, "postgresql.conf"] => Some(((*version).to_owned(), (*cluster).to_owned())),
            _ => None,
        }
    }
}

/// A path as one word for the shell through which `pg_ctl` starts the server.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

/// Puts settings files from outside the data folder back where they are missing; one that is there is left as it is. For
/// a cluster that moved they go into the data folder, with its new place at their end. Returns the settings file when it
/// is outside the data folder.
pub fn put_settings_back(
    component: &Path,
    facts: &BaseBackupFacts,
    place: &Place,
    owner: &User,
    notes: &mut Vec<String>,
) -> Result<Option<PathBuf>, WriterError> {
    let Some(main) = facts.settings_files.iter().find(|file| file.role == "config_file") else {
        return Ok(None);
    };
    let top = main.path.parent().unwrap_or(Path::new("/"));
    for file in &facts.settings_files {
        let target = match file.path.strip_prefix(top) {
            Ok(below) if place.moved => place.data.join(below),
            // An included file from elsewhere: the settings file names it by its own place.
            _ => file.path.clone(),
        };
        if target.symlink_metadata().is_ok() {
            notes.push(format!("The settings file {} was there and was left as it is.", target.display()));
            continue;
        }
        let source = component.join("config").join(&file.stored);
        let io = |act, source| WriterError::Io { act, path: target.clone(), source };
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|source| io("create the folder of", source))?;
        }
        fs::copy(source, &target).map_err(|source| io("write", source))?;
        chown(&target, Some(owner.uid), Some(owner.gid))
            .map_err(|source| io("change the owner of", source))?;
    }
    if !place.moved {
        return Ok(Some(main.path.clone()));
    }
    let config = place.data.join("postgresql.conf");
    append_places(&config, &place.data).map_err(|source| WriterError::Io {
        act: "write",
        path: config,
        source,
    })?;
    Ok(None)
}

/// The last line of a settings file wins.
fn append_places(config: &Path, data: &Path) -> std::io::Result<()> {
    let value = |path: &Path| path.to_string_lossy().replace('\'', "''");
    let mut file = fs::OpenOptions::new().append(true).open(config)?;
    writeln!(file, "\n# Restored to another place than it was backed up from.")?;
    writeln!(file, "data_directory = '{}'", value(data))?;
    writeln!(file, "hba_file = '{}'", value(&data.join("pg_hba.conf")))?;
    writeln!(file, "ident_file = '{}'", value(&data.join("pg_ident.conf")))?;
    writeln!(file, "external_pid_file = ''")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(config: Option<&str>, moved: bool) -> Start {
        Start {
            programs: "/bin".into(),
            data: "/nowhere".into(),
            owner: User { name: "postgres".into(), uid: 1, gid: 1 },
            config: config.map(PathBuf::from),
            moved,
        }
    }

    #[test]
    fn only_a_cluster_in_debians_places_is_started_debians_way() {
        let installed = Path::new(PG_CTLCLUSTER).is_file();
        let cluster = start(Some("/etc/postgresql/15/main/postgresql.conf"), false).debian_cluster();
        assert_eq!(cluster.is_some(), installed);
        assert!(start(Some("/etc/postgresql/15/main/postgresql.conf"), true).debian_cluster().is_none());
        assert!(start(Some("/opt/pg/postgresql.conf"), false).debian_cluster().is_none());
        assert!(start(None, false).debian_cluster().is_none());
    }

    #[test]
    fn a_path_stays_one_word_in_a_shell() {
        assert_eq!(quoted(Path::new("/it's here")), r"'/it'\''s here'");
    }
}
