//! A store in a folder of another machine, reached with that machine's SSH server and our machine's `ssh` program, so that keys, agents,
//! jump hosts and known hosts are those of the admin.

mod files;
mod session;
mod wire;

use std::ffi::OsString;
use std::ops::Range;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use self::files::Failure;
use self::session::{Broken, Session};
use self::wire::{Facts, status};
use super::{Credentials, FileKind, FileName, Patience, Store, StoreError, StoreErrorKind};
use crate::id::Id;

/// A folder of another machine.
pub struct SftpStore {
    program: OsString,
    arguments: Vec<OsString>,
    root: String,
    name: String,
    patience: Patience,
    session: Mutex<Option<Arc<Session>>>,
}

impl std::fmt::Debug for SftpStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SftpStore").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Where the folder lies: the parts of [`Location::Sftp`](crate::Location::Sftp).
#[derive(Debug, Clone, Copy)]
pub struct SftpPlace<'a> {
    /// Who logs in.
    pub user: Option<&'a str>,
    /// The machine.
    pub host: &'a str,
    /// The port.
    pub port: Option<u16>,
    /// The folder, absolute.
    pub path: &'a str,
}

impl SftpStore {
    /// The store there. Nothing is connected before the first act. `address` is what people know it by.
    #[must_use]
    pub fn new(place: SftpPlace<'_>, address: &str, credentials: &Credentials, patience: Patience) -> Self {
        let (program, mut arguments) = match credentials.ssh.split_first() {
            Some((program, arguments)) => (program.clone(), arguments.to_vec()),
            None => ("ssh".into(), Vec::new()),
        };
        let mut option = |name: &str, value: OsString| arguments.extend([OsString::from(name), value]);
        // Nobody is there to answer questions.
        option("-o", "BatchMode=yes".into());
        option("-o", "ServerAliveInterval=15".into());
        option("-o", "ServerAliveCountMax=4".into());
        option("-o", format!("ConnectTimeout={}", patience.connect.as_secs().max(1)).into());
        if let Some(file) = &credentials.identity_file {
            option("-i", file.clone().into());
            option("-o", "IdentitiesOnly=yes".into());
        }
        if let Some(file) = &credentials.known_hosts_file {
            // Quoted, because the setting is a list.
            let mut setting = OsString::from("UserKnownHostsFile=\"");
            setting.push(file);
            setting.push("\"");
            option("-o", setting);
        }
        if let Some(port) = place.port {
            option("-p", port.to_string().into());
        }
        if let Some(user) = place.user {
            option("-l", user.into());
        }
        let host = place.host.trim_start_matches('[').trim_end_matches(']');
        arguments.extend(["-s", "--", host, "sftp"].map(OsString::from));
        let root = place.path.trim_end_matches('/').to_owned();
        let name = format!("the archive at {address}");
        Self { program, arguments, root, name, patience, session: Mutex::new(None) }
    }

    fn path(&self, file: FileName) -> String {
        format!("{}/{file}", self.root)
    }

    /// The connection, a new one where there is none.
    fn session(&self) -> Result<Arc<Session>, Broken> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = session.as_ref().filter(|session| !session.is_over()) {
            return Ok(Arc::clone(session));
        }
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        // The program has its own limit for the connection; this one is for what a proxy or a program of the admin does.
        let opened = Arc::new(Session::open(command, self.patience.connect * 2, self.patience.idle)?);
        *session = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Carries out an act, again where the connection broke. The act is told whether it may have been done already.
    fn act<T>(
        &self,
        act: &'static str,
        what: &str,
        attempt: impl Fn(&Session, bool) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let mut pauses = self.patience.pauses();
        let mut again = false;
        loop {
            let connected = self.session();
            let sent = connected.is_ok();
            let done = connected.map_err(Failure::from).and_then(|session| attempt(&session, again));
            let broken = match done {
                Ok(done) => return Ok(done),
                Err(Failure::Broken(broken)) => broken,
                Err(failure) => return Err(self.failed(act, what, failure)),
            };
            again |= sent;
            let pause = if is_lasting(&broken.0) { None } else { pauses.next() };
            let Some(pause) = pause else { return Err(self.failed(act, what, Failure::Broken(broken))) };
            tracing::warn!(
                store = self.name,
                act,
                what,
                reason = broken.0,
                "the connection broke and is made anew"
            );
            std::thread::sleep(pause);
        }
    }

    fn failed(&self, act: &'static str, what: &str, failure: Failure) -> StoreError {
        let error = |kind| StoreError::new(kind, act, what, &self.name);
        match failure {
            Failure::Broken(Broken(text)) => {
                let (kind, hint) = how_to_connect(&text);
                error(kind).because(text).with_hint(hint)
            }
            Failure::Refused(status::NO_SUCH_FILE, _) => error(StoreErrorKind::NotFound),
            Failure::Refused(status::PERMISSION_DENIED, text) => error(StoreErrorKind::Denied).because(text),
            Failure::Refused(_, text) => error(StoreErrorKind::Other).because(text),
            Failure::Nonsense => error(StoreErrorKind::Lied).because("the server breaks the protocol"),
            Failure::TooShort => error(StoreErrorKind::Lied).because("the file is shorter than it must be"),
            Failure::Exists => error(StoreErrorKind::AlreadyExists),
            Failure::Full(text) => error(StoreErrorKind::Full).because(text),
            Failure::TooLarge(size) => {
                error(StoreErrorKind::Lied).because(format!("it would have {size} bytes"))
            }
        }
    }

    /// The same, but that there is no store where this is why there is no file.
    fn or_no_store(&self, error: StoreError) -> StoreError {
        if error.kind != StoreErrorKind::NotFound {
            return error;
        }
        match self.act("look at", &self.root, |session, _| self.is_there(session)) {
            Ok(true) => error,
            Ok(false) => StoreError { kind: StoreErrorKind::NoStore, source: None, ..error }
                .with_hint("Is the disk with the archive mounted on that machine?"),
            Err(unknown) => unknown,
        }
    }

    /// Whether a repository is there or the folders of one. A bare mount point is none.
    fn is_there(&self, session: &Session) -> Result<bool, Failure> {
        Ok(self.has_config(session)? || files::exists(session, &format!("{}/keys", self.root))?)
    }

    fn has_config(&self, session: &Session) -> Result<bool, Failure> {
        files::exists(session, &self.path(FileName::Config))
    }

    fn write_once(
        &self,
        session: &Session,
        file: FileName,
        content: &[u8],
        again: bool,
    ) -> Result<(), Failure> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| Failure::Refused(u32::MAX, error.to_string()))?;
        let path = self.path(file);
        let aside = format!("{path}-tmp-{:016x}", u64::from_le_bytes(random));
        let mut written = files::write_new(session, &path, &aside, content);
        if let Err(refused) = &written
            && refused.is(status::NO_SUCH_FILE)
            && self.has_config(session)?
        {
            // Folders without a file in them get lost when a repository is copied.
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            if let FileName::Of(FileKind::Pack, _) = file {
                files::make_folder(session, &format!("{}/data", self.root))?;
            }
            files::make_folder(session, folder)?;
            written = files::write_new(session, &path, &aside, content);
        }
        match written {
            // It was our own try before the connection broke, or somebody stored the same.
            Err(Failure::Exists) if again && files::read(session, &path, None)? == content => Ok(()),
            other => other,
        }
    }

    fn list_once(&self, session: &Session, kind: FileKind) -> Result<Vec<(Id, u64)>, Failure> {
        let top = format!("{}/{}", self.root, kind.folder());
        let mut folders = vec![top.clone()];
        let is_repository = self.has_config(session)?;
        if kind == FileKind::Pack {
            folders.clear();
            files::list(session, std::slice::from_ref(&top), is_repository, &mut |name, facts| {
                if let Some(name) = std::str::from_utf8(name).ok().filter(|name| !name.starts_with('.'))
                    && facts.is_folder()
                {
                    folders.push(format!("{top}/{name}"));
                }
            })?;
        }
        let mut found = Vec::new();
        let mut sizeless = false;
        let missing_is_empty = is_repository || kind == FileKind::Pack;
        files::list(session, &folders, missing_is_empty, &mut |name, facts: Facts| {
            let id: Option<Id> = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
            if let Some(id) = id.filter(|_| facts.is_file()) {
                sizeless |= facts.size.is_none();
                found.push((id, facts.size.unwrap_or_default()));
            }
        })?;
        if sizeless { Err(Failure::Nonsense) } else { Ok(found) }
    }
}

/// Whether it would be no better the next time: this is for the admin to mend.
fn is_lasting(text: &str) -> bool {
    how_to_connect(text).0 != StoreErrorKind::Unavailable
}

/// What kind of trouble it is that `ssh` tells of, and what to do.
fn how_to_connect(text: &str) -> (StoreErrorKind, &'static str) {
    if text.contains("Host key verification failed") || text.contains("IDENTIFICATION HAS CHANGED") {
        let hint = "Log in once by hand as the user that Stillpoint runs as, and compare the key of the host before you accept it.";
        return (StoreErrorKind::Denied, hint);
    }
    if text.contains("Permission denied (") || text.contains("Too many authentication failures") {
        return (
            StoreErrorKind::Denied,
            "Does the key of the user that Stillpoint runs as open that account?",
        );
    }
    if text.contains("subsystem request failed") {
        return (StoreErrorKind::Other, "Switch the sftp subsystem on in that machine's sshd_config.");
    }
    if text.contains("could not be started") {
        return (StoreErrorKind::Other, "Install the OpenSSH client.");
    }
    (StoreErrorKind::Unavailable, "Is the machine up, and does ssh reach it?")
}

impl Store for SftpStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn create(&self) -> Result<(), StoreError> {
        self.act("make", &self.root, |session, _| {
            let above = self.root.match_indices('/').skip(1).map(|(slash, _)| &self.root[..slash]);
            for folder in above.chain([self.root.as_str()]).filter(|folder| !folder.is_empty()) {
                // What is there may be closed to us to write in.
                if !files::exists(session, folder)? {
                    files::make_folder(session, folder)?;
                }
            }
            let kinds: Vec<String> =
                FileKind::ALL.iter().map(|kind| format!("{}/{}", self.root, kind.folder())).collect();
            files::make_folders(session, &kinds)?;
            let packs: Vec<String> =
                (0..=255_u8).map(|byte| format!("{}/data/{byte:02x}", self.root)).collect();
            files::make_folders(session, &packs)
        })
    }

    fn read(&self, file: FileName, range: Option<Range<u64>>) -> Result<Vec<u8>, StoreError> {
        let path = self.path(file);
        let read =
            self.act("read", &file.to_string(), |session, _| files::read(session, &path, range.clone()));
        read.map_err(|error| self.or_no_store(error))
    }

    fn write_new(&self, file: FileName, content: &[u8]) -> Result<(), StoreError> {
        let written = self
            .act("write", &file.to_string(), |session, again| self.write_once(session, file, content, again));
        written.map_err(|error| self.or_no_store(error))
    }

    fn list(&self, kind: FileKind, found: &mut dyn FnMut(Id, u64)) -> Result<(), StoreError> {
        let listed = self.act("list", kind.folder(), |session, _| self.list_once(session, kind));
        listed.map_err(|error| self.or_no_store(error))?.into_iter().for_each(|(id, size)| found(id, size));
        Ok(())
    }

    fn stat(&self, file: FileName) -> Result<u64, StoreError> {
        let path = self.path(file);
        let looked = self.act("look at", &file.to_string(), |session, _| {
            files::stat(session, &path)?.size.ok_or(Failure::Nonsense)
        });
        looked.map_err(|error| self.or_no_store(error))
    }

    fn remove(&self, file: FileName) -> Result<(), StoreError> {
        let path = self.path(file);
        let removed =
            self.act("remove", &file.to_string(), |session, again| match files::remove(session, &path) {
                // The try before the connection broke removed it.
                Err(refused) if again && refused.is(status::NO_SUCH_FILE) => Ok(()),
                other => other,
            });
        removed.map_err(|error| self.or_no_store(error))
    }

    fn parallel(&self) -> usize {
        4
    }
}
