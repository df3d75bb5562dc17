//! Secrets: from where the site file says into memory, and from there into nothing else.
//!
//! What is read here is the same that stock restic reads from the same file or command, or it is refused: a key that opens
//! the archive for us alone would be worth nothing on the worst day. restic cuts white space at both ends and a byte order
//! mark; so we cut one line break at the end, and refuse what else restic would cut.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use stillpoint_model::site_file::SecretSource;
use stillpoint_model::{Cancel, Deadline, ErrorKind};
use stillpoint_repository::Secret;
use stillpoint_writers::process::Program;

use crate::SiteError;

/// How long a command may take to print a secret, and whoever holds the other end of a descriptor to write it. People may
/// have to type a password or to touch a token.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a secret may be, in bytes. More is some other file.
const SECRET_MAX: u64 = 16 * 1024;

/// The variable in which systemd tells where the credentials of a unit are.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Reads a secret. `what` is what it is called in messages, such as "the key of archive offsite".
pub fn read_secret(source: &SecretSource, what: &str, cancel: &Cancel) -> Result<Secret, SiteError> {
    let bytes = match source {
        SecretSource::File(path) => from_file(path, what)?,
        SecretSource::Command(command) => from_command(command, what, cancel)?,
        SecretSource::Descriptor(number) => from_descriptor(*number, what, cancel)?,
        SecretSource::Credential(name) => from_credential(name, what)?,
    };
    cleaned(bytes, what)
}

fn key_error(text: String, hint: &str) -> SiteError {
    SiteError::new(ErrorKind::Key, text).hint(hint)
}

fn from_file(path: &Path, what: &str) -> Result<Secret, SiteError> {
    let cannot = |error: std::io::Error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "`stillpoint archive init` makes it for a new archive; for one that is there, bring the file back \
                 or write the recovery key into it"
            }
            _ => "run it as the user that may read the file, such as root",
        };
        key_error(format!("{what} cannot be read from {}", path.display()), hint).because(error)
    };
    // A pipe without a writer must not hold us.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(cannot)?;
    let facts = file.metadata().map_err(cannot)?;
    if !facts.is_file() {
        return Err(key_error(
            format!("{what} cannot be read from {}: it is not a file", path.display()),
            "name a file that holds it and nothing else",
        ));
    }
    if facts.mode() & 0o077 != 0 {
        return Err(key_error(
            format!(
                "{what} is in {}, which others may read (mode {:04o})",
                path.display(),
                facts.mode() & 0o7777
            ),
            &format!(
                "take their rights away with `chmod 600 {}`; was it read, make a new key",
                path.display()
            ),
        ));
    }
    let user = rustix::process::geteuid();
    if facts.uid() != user.as_raw() && facts.uid() != 0 {
        return Err(key_error(
            format!("{what} is in {}, which belongs to another user ({})", path.display(), facts.uid()),
            &format!("give it to root with `chown root: {}`", path.display()),
        ));
    }
    limited(&file, what, &path.display().to_string())
}

fn from_credential(name: &str, what: &str) -> Result<Secret, SiteError> {
    let Some(folder) = std::env::var_os(CREDENTIALS_DIRECTORY).filter(|folder| !folder.is_empty()) else {
        return Err(key_error(
            format!(
                "{what} is the systemd credential {name}, and there are none here: {CREDENTIALS_DIRECTORY} is not set"
            ),
            "start it as a unit with LoadCredential=, or by hand with `systemd-run --pipe --wait -p LoadCredential=...`",
        ));
    };
    let path = PathBuf::from(folder).join(name);
    let cannot = |error: std::io::Error| {
        let hint =
            format!("add LoadCredential={name}:/path or LoadCredentialEncrypted={name}:/path to the unit");
        key_error(format!("{what} cannot be read from the credential {name}"), &hint).because(error)
    };
    let file = File::open(&path).map_err(cannot)?;
    limited(&file, what, &format!("the credential {name}"))
}

fn limited(mut file: &File, what: &str, place: &str) -> Result<Secret, SiteError> {
    // Its own room from the beginning, so that no part of it is left behind when it grows.
    let mut bytes = Vec::with_capacity(SECRET_MAX as usize + 2);
    let read = (&mut file).take(SECRET_MAX + 1).read_to_end(&mut bytes);
    let secret = Secret::new(bytes);
    read.map_err(|error| {
        key_error(format!("{what} cannot be read from {place}"), "see what is wrong with it").because(error)
    })?;
    Ok(secret)
}

fn from_command(command: &[String], what: &str, cancel: &Cancel) -> Result<Secret, SiteError> {
    let program = command.first().map_or("", String::as_str);
    let failed = |text: &str| {
        let text = format!("{what} was to be printed by {program}, which {text}");
        key_error(text, "run the command by hand, as the user that Stillpoint runs as")
    };
    let asked = Program::from_argv(command).map_err(|error| failed("cannot be run").because(error))?;
    let output = asked.cancelled_by(cancel).output(SECRET_MAX, Deadline::after(PATIENCE));
    match output {
        Ok((ended, bytes)) => {
            let secret = Secret::new(bytes);
            // What it said on standard error is in the error; standard output never is.
            ended.check().map_err(|error| failed("failed").because(error))?;
            Ok(secret)
        }
        Err(_) if cancel.is_cancelled() => {
            Err(SiteError::new(ErrorKind::Cancelled, "cancelled while waiting for a key"))
        }
        Err(error) => Err(failed("did not").because(error)),
    }
}

fn from_descriptor(number: u32, what: &str, cancel: &Cancel) -> Result<Secret, SiteError> {
    let cannot = |error: std::io::Error| {
        key_error(
            format!("{what} cannot be read from file descriptor {number}"),
            &format!("whoever starts Stillpoint must open it, such as `stillpoint ... {number}</run/secret`"),
        )
        .because(error)
    };
    // It is looked at by its name, so that a number that is not open is an error and nothing else.
    rustix::fs::stat(format!("/proc/self/fd/{number}")).map_err(|error| cannot(error.into()))?;
    // SAFETY: it is open. It belongs to whoever started us: it is only borrowed, for reading, and never closed.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number.cast_signed()) };
    // What we start must not inherit it.
    rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)
        .map_err(|error| cannot(error.into()))?;
    let own = descriptor.try_clone_to_owned().map_err(cannot)?;
    let file = File::from(own);
    // A file is read from its beginning each time; a pipe gives its content once.
    let is_file = file.metadata().map_err(cannot)?.is_file();
    let mut bytes = vec![0; SECRET_MAX as usize + 1];
    let mut length = 0;
    let deadline = Deadline::after(PATIENCE);
    let read = loop {
        let read = if is_file {
            file.read_at(&mut bytes[length..], length as u64)
        } else {
            await_readable(file.as_fd(), deadline, cancel).and_then(|()| (&file).read(&mut bytes[length..]))
        };
        match read {
            Ok(0) => break Ok(()),
            Ok(more) => length += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    bytes.truncate(length);
    let secret = Secret::new(bytes);
    match read {
        Err(_) if cancel.is_cancelled() => {
            Err(SiteError::new(ErrorKind::Cancelled, "cancelled while waiting for a key"))
        }
        Err(error) => Err(cannot(error)),
        Ok(()) if length == 0 && !is_file => Err(key_error(
            format!("{what} cannot be read from file descriptor {number}: nothing comes from it"),
            "a pipe gives its content once; open it anew for each start of Stillpoint",
        )),
        Ok(()) => Ok(secret),
    }
}

/// Waits until there is something to read, or the other end is closed.
fn await_readable(descriptor: BorrowedFd<'_>, deadline: Deadline, cancel: &Cancel) -> std::io::Result<()> {
    loop {
        if cancel.is_cancelled() || deadline.passed() {
            let text = format!("whoever holds its other end wrote nothing in {} seconds", PATIENCE.as_secs());
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text));
        }
        let slice = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        match poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&slice)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The secret without the line break at its end. What restic would read differently is refused.
fn cleaned(secret: Secret, what: &str) -> Result<Secret, SiteError> {
    let bytes = secret.expose();
    if bytes.len() as u64 > SECRET_MAX {
        return Err(key_error(
            format!("{what} is longer than {SECRET_MAX} bytes"),
            "name the file, or the command, that has it and nothing else",
        ));
    }
    if [b"\xef\xbb\xbf".as_slice(), b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| bytes.starts_with(mark)) {
        return Err(key_error(
            format!("{what} begins with a byte order mark"),
            "save it as UTF-8 without one, such as with `printf '%s'`",
        ));
    }
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let body = body.strip_suffix(b"\r").unwrap_or(body);
    if body.is_empty() {
        return Err(key_error(format!("{what} is empty"), "write the key there, on one line"));
    }
    let text = std::str::from_utf8(body).map(str::trim);
    if body.trim_ascii().len() != body.len() || text.is_ok_and(|text| text.len() != body.len()) {
        return Err(key_error(
            format!("{what} begins or ends with white space, which restic would cut off"),
            "remove the spaces and empty lines around it",
        ));
    }
    Ok(Secret::new(body.to_vec()))
}

/// Makes a key file with 256 random bits as text, readable by its owner only. An error when there is one already: a key
/// is never replaced.
pub fn make_key_file(path: &Path) -> Result<Secret, SiteError> {
    let cannot = |error: std::io::Error| {
        SiteError::new(ErrorKind::Environment, format!("cannot make the key file {}", path.display()))
            .hint("see that its folder is there and may be written to")
            .because(error)
    };
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(|error| cannot(std::io::Error::other(error.to_string())))?;
    let text: Vec<u8> = random.iter().flat_map(|byte| hexadecimal(*byte)).collect();
    let key = Secret::new(text);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(cannot)?;
    file.write_all(key.expose()).and_then(|()| file.write_all(b"\n")).map_err(cannot)?;
    // Before anything is encrypted with it, it is on the disk.
    file.sync_all().map_err(cannot)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(cannot)?;
    Ok(key)
}

fn hexadecimal(byte: u8) -> [u8; 2] {
    let digits = b"0123456789abcdef";
    [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(source: &SecretSource) -> Result<Secret, SiteError> {
        read_secret(source, "the key of archive a", &Cancel::default())
    }

    fn text(secret: &Secret) -> &str {
        std::str::from_utf8(secret.expose()).unwrap()
    }

    fn file(folder: &tempfile::TempDir, content: &[u8]) -> PathBuf {
        let path = folder.path().join("key");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    #[test]
    fn a_key_file_is_read_without_its_line_break_and_as_restic_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        for (content, wanted) in [
            ("secret", "secret"),
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            ("two words\n", "two words"),
        ] {
            let path = file(&folder, content.as_bytes());
            assert_eq!(text(&read(&SecretSource::File(path)).unwrap()), wanted);
        }
        for (content, wanted) in [
            ("", "is empty"),
            ("\n", "is empty"),
            (" secret", "white space"),
            ("secret \n", "white space"),
            ("secret\n\n", "white space"),
            ("secret\u{a0}\n", "white space"),
            ("\u{feff}secret", "byte order mark"),
            (&"x".repeat(20_000), "longer than"),
        ] {
            let path = file(&folder, content.as_bytes());
            let error = read(&SecretSource::File(path)).unwrap_err();
            assert!(error.text.contains(wanted) && error.kind == ErrorKind::Key, "{content:?}: {error}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, b"secret");
        for mode in [0o640, 0o604, 0o620, 0o601] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let error = read(&SecretSource::File(path.clone())).unwrap_err();
            assert!(error.text.contains("which others may read"), "{error}");
            assert!(error.hint.unwrap().contains("chmod 600"));
        }
        let error = read(&SecretSource::File(folder.path().into())).unwrap_err();
        assert!(error.text.contains("not a file"), "{error}");
        let error = read(&SecretSource::File(folder.path().join("none"))).unwrap_err();
        assert!(error.hint.unwrap().contains("archive init"));
    }

    #[test]
    fn a_pipe_in_the_place_of_a_key_file_holds_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        assert!(read(&SecretSource::File(path)).unwrap_err().text.contains("not a file"));
    }

    fn shell(script: &str) -> SecretSource {
        SecretSource::Command(["/bin/sh", "-c", script].map(str::to_owned).to_vec())
    }

    #[test]
    fn a_command_prints_the_key_and_tells_why_when_it_cannot() {
        assert_eq!(text(&read(&shell("echo secret")).unwrap()), "secret");
        let error = read(&shell("echo secret; echo the token is missing >&2; exit 3")).unwrap_err();
        let all = crate::error::chain(&error);
        assert!(all.contains("the token is missing") && all.contains("exit status 3"), "{all}");
        assert!(!format!("{error:?} {all}").contains("echo"), "{error:?}");
        assert!(read(&shell("exit 0")).unwrap_err().text.contains("is empty"));
        assert!(read(&SecretSource::Command(vec!["/no/such/program".into()])).is_err());
        let cancel = Cancel::default();
        cancel.cancel();
        let error = read_secret(&shell("sleep 1000"), "the key", &cancel).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Cancelled);
    }

    #[test]
    fn a_descriptor_gives_the_key_and_is_not_inherited() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"secret\n").unwrap();
        drop(writer);
        let number = reader.as_raw_fd().cast_unsigned();
        assert_eq!(text(&read(&SecretSource::Descriptor(number)).unwrap()), "secret");
        assert!(rustix::io::fcntl_getfd(&reader).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        let error = read(&SecretSource::Descriptor(number)).unwrap_err();
        assert!(error.text.contains("nothing comes"), "{error}");
        // A file gives it as often as it is asked.
        let folder = tempfile::tempdir().unwrap();
        let open = File::open(file(&folder, b"secret")).unwrap();
        let number = open.as_raw_fd().cast_unsigned();
        for _ in 0..2 {
            assert_eq!(text(&read(&SecretSource::Descriptor(number)).unwrap()), "secret");
        }
        assert!(read(&SecretSource::Descriptor(1_000_000)).is_err());
    }

    #[test]
    fn a_new_key_file_is_private_and_long_and_never_replaces_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let key = make_key_file(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(key.expose().len(), 64);
        assert_eq!(read(&SecretSource::File(path.clone())).unwrap().expose(), key.expose());
        assert_ne!(make_key_file(&folder.path().join("other")).unwrap().expose(), key.expose());
        assert!(make_key_file(&path).is_err());
        assert_eq!(read(&SecretSource::File(path)).unwrap().expose(), key.expose());
    }
}
