//! How the server is reached: host, port, role and password, for our own sessions and for PostgreSQL's programs.

use std::fmt;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgres::Config;
use postgres::error::SqlState;
use stillpoint_model::site_file::PostgresSettings;
use stillpoint_model::{Deadline, WriterError};

use super::session::explain;
use crate::process::Program;

/// Where a server is and as whom we come.
#[derive(Clone)]
pub struct Access {
    host: String,
    port: u16,
    user: String,
    password: Option<String>,
}

impl Access {
    /// The access that the site file describes. Reads the password file; that it can be read by others is an error.
    pub fn new(settings: &PostgresSettings) -> Result<Self, WriterError> {
        let password = settings.password_file.as_deref().map(read_password).transpose()?;
        Ok(Self { host: settings.host.clone(), port: settings.port, user: settings.user.clone(), password })
    }

    /// A server of our own that listens in the folder `socket` only and trusts all who get there.
    pub fn private(socket: &Path, port: u16, user: &str) -> Self {
        let host = socket.to_string_lossy().into_owned();
        Self { host, port, user: user.to_owned(), password: None }
    }

    /// The role that we connect as.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether the server runs on this machine, so that its paths are our paths.
    pub fn is_local(&self) -> bool {
        self.host.starts_with('/') || matches!(self.host.as_str(), "localhost" | "127.0.0.1" | "::1")
    }

    /// The settings of a session with `database`.
    pub fn config(&self, database: &str, connect_timeout: Duration) -> Config {
        let mut config = Config::new();
        config.host(&self.host).port(self.port).user(&self.user).dbname(database);
        config.application_name("stillpoint").connect_timeout(connect_timeout);
        config.tcp_user_timeout(Duration::from_secs(60));
        let password = self.password.clone().or_else(|| self.listed_password(database));
        if let Some(password) = password {
            config.password(password);
        }
        config
    }

    /// One of PostgreSQL's client programs, told to reach the server as we do and never to ask for a password.
    pub fn program(&self, path: &Path) -> Program {
        let program = Program::new(path)
            .args(["--host", &self.host, "--port", &self.port.to_string()])
            .args(["--username", &self.user, "--no-password"])
            .env("PGAPPNAME", "stillpoint")
            .env("PGCONNECT_TIMEOUT", "30")
            .env("LC_ALL", "C");
        match &self.password {
            Some(password) => program.env("PGPASSWORD", password),
            None => program,
        }
    }

    /// Why the server cannot be reached or refuses us, and how to mend it.
    pub fn explain_refusal(&self, error: &postgres::Error) -> String {
        let reason = explain(error);
        let remedy = match error.code() {
            Some(code) if *code == SqlState::INVALID_PASSWORD => {
                "set password_file in the site file, or mend its content".to_owned()
            }
            Some(code) if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => format!(
                "let pg_hba.conf of the server accept role {} from here, for its databases and for replication; \
                 with peer authentication map our operating-system user to it in pg_ident.conf",
                self.user
            ),
            Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => "raise max_connections".to_owned(),
            Some(code) if *code == SqlState::CANNOT_CONNECT_NOW => {
                "wait until the server has started".to_owned()
            }
            Some(_) => return reason,
            None if reason.contains("password missing") => {
                "set password_file in the site file, or add a line to ~/.pgpass".to_owned()
            }
            None => "check that the server runs, and host and port in the site file".to_owned(),
        };
        format!("{reason}; {remedy}")
    }

    /// The password from the password list of the C library (`PGPASSFILE` or `~/.pgpass`), which our own client does not
    /// read. As that library does, ignores a list that others can read.
    fn listed_password(&self, database: &str) -> Option<String> {
        let list = std::env::var_os("PGPASSFILE").map(PathBuf::from).or_else(|| {
            let home = std::env::var_os("HOME")?;
            Some(Path::new(&home).join(".pgpass"))
        })?;
        if fs::metadata(&list).ok()?.permissions().mode() & 0o077 != 0 {
            return None;
        }
        let host = if self.host.starts_with('/') { "localhost" } else { &self.host };
        let port = self.port.to_string();
        password_for(
            &fs::read_to_string(list).ok()?,
            &[&[host, &self.host], &[&port], &[database], &[&self.user]],
        )
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {} as {}", self.host, self.port, self.user)
    }
}

fn read_password(path: &Path) -> Result<String, WriterError> {
    let io = |act, source| WriterError::Io { act, path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(|source| io("read the password file", source))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(WriterError::Other(format!(
            "the password file {} can be read by others than its owner; run chmod 600 on it",
            path.display()
        )));
    }
    let text = fs::read_to_string(path).map_err(|source| io("read the password file", source))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// The password of the first line of a password list that fits `fields`: for each of them what it may be.
fn password_for(list: &str, fields: &[&[&str]]) -> Option<String> {
    list.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let parts = split_fields(line);
        let fits = |(part, allowed): (&String, &&[&str])| part == "*" || allowed.contains(&part.as_str());
        (parts.len() == 5 && parts.iter().zip(fields).all(fits)).then(|| parts[4].clone())
    })
}

/// A line of a password list at its colons; a backslash makes the next character an ordinary one.
fn split_fields(line: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let ordinary = match character {
            '\\' => characters.next(),
            ':' if parts.len() < 5 => {
                parts.push(String::new());
                None
            }
            other => Some(other),
        };
        if let (Some(character), Some(part)) = (ordinary, parts.last_mut()) {
            part.push(character);
        }
    }
    parts
}

/// The folder with PostgreSQL's programs of version `major`, which must hold all of `names`: the one of the site file,
/// else the usual places of that version, else `PATH`. Programs of the server must be of exactly that version, client
/// programs may be newer. The error names what is missing and how to get it.
pub fn find_programs(
    bin: Option<&Path>,
    major: u32,
    names: &[&str],
    exact: bool,
    deadline: Deadline,
) -> Result<PathBuf, WriterError> {
    let candidates: Vec<PathBuf> = match bin {
        Some(bin) => vec![bin.to_owned()],
        None => [format!("/usr/lib/postgresql/{major}/bin"), format!("/usr/pgsql-{major}/bin")]
            .into_iter()
            .map(PathBuf::from)
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()))
            .filter(|folder| folder.is_absolute())
            .collect(),
    };
    let mut found = Vec::new();
    for folder in candidates {
        if !names.iter().all(|name| folder.join(name).is_file()) {
            continue;
        }
        match version_of(&folder.join(names[0]), deadline)? {
            Some(version) if version == major || (!exact && version > major) => return Ok(folder),
            Some(version) => found.push(format!("{} has version {version}", folder.display())),
            None => {}
        }
    }
    let wanted = names.join(", ");
    let found = if found.is_empty() { String::new() } else { format!(" ({})", found.join("; ")) };
    Err(WriterError::Other(format!(
        "the PostgreSQL {major} programs {wanted} were not found{found}; install them (on Debian: postgresql-{major} \
         or postgresql-client-{major}) or set bin in the site file to their folder"
    )))
}

/// The major version that a program of PostgreSQL tells, such as 15 for `pg_ctl (PostgreSQL) 15.20`.
fn version_of(program: &Path, deadline: Deadline) -> Result<Option<u32>, WriterError> {
    let (_, output) = Program::new(program).arg("--version").output(4096, deadline)?;
    let text = String::from_utf8_lossy(&output);
    let version = text.split("(PostgreSQL) ").nth(1).unwrap_or_default();
    let digits = version.bytes().take_while(u8::is_ascii_digit).count();
    Ok(version[..digits].parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fitting_line_of_a_password_list_counts() {
        let list = "# comment\nother:*:*:*:no\nlocalhost:5432:shop:app:one\n*:*:*:app:t\\:w\\\\o:rest\n";
        let fields = |database: &'static str| -> Option<String> {
            password_for(list, &[&["localhost", "/run"], &["5432"], &[database], &["app"]])
        };
        assert_eq!(fields("shop").as_deref(), Some("one"));
        assert_eq!(fields("else").as_deref(), Some("t:w\\o:rest"));
        assert_eq!(password_for(list, &[&["h"], &["1"], &["d"], &["u"]]), None);
    }

    #[test]
    fn a_password_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "secret\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read_password(&path).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read_password(&path).unwrap(), "secret");
    }
}
