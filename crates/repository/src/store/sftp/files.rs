//! The acts on files of another machine, over one connection.

use std::collections::VecDeque;

use super::session::{Broken, Pending, Reply, Session};
use super::wire::{Facts, Fields, kind, open, status};

/// How much one request reads or writes, in bytes: every server takes that much.
const PIECE: usize = 32 * 1024;

/// How many such requests are under way at once.
const WINDOW: usize = 64;

/// How many folders are listed at once.
const FOLDERS: usize = 32;

const FSYNC: &str = "fsync@openssh.com";
const STATVFS: &str = "statvfs@openssh.com";

/// An act that did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The connection is gone.
    Broken(Broken),
    /// The server said no: its code and its words.
    Refused(u32, String),
    /// The server sent what is no answer to the question.
    Nonsense,
    /// The file is shorter than what was to be read.
    TooShort,
    /// There is such a file.
    Exists,
    /// No room is left.
    Full(String),
    /// Our own memory does not suffice.
    TooLarge(u64),
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Failure::Broken(broken)
    }
}

impl Failure {
    /// Whether it is this answer.
    pub fn is(&self, code: u32) -> bool {
        matches!(self, Failure::Refused(this, _) if *this == code)
    }
}

/// The answer when it is of this kind.
fn expect(reply: Reply, kind: u8) -> Result<Vec<u8>, Failure> {
    if reply.kind == kind {
        return Ok(reply.fields);
    }
    if reply.kind != kind::STATUS {
        return Err(Failure::Nonsense);
    }
    let mut fields = Fields(&reply.fields);
    let code = fields.u32().ok_or(Failure::Nonsense)?;
    let text = fields.bytes().map(|text| String::from_utf8_lossy(text).into_owned());
    Err(Failure::Refused(code, text.unwrap_or_default()))
}

/// The answer when it is nothing but that it is done.
fn expect_done(reply: Reply) -> Result<(), Failure> {
    match expect(reply, u8::MAX) {
        Err(refused) if refused.is(status::OK) => Ok(()),
        Err(other) => Err(other),
        Ok(_) => Err(Failure::Nonsense),
    }
}

fn handle(reply: Reply) -> Result<Vec<u8>, Failure> {
    let fields = expect(reply, kind::HANDLE)?;
    Fields(&fields).bytes().map(<[u8]>::to_vec).ok_or(Failure::Nonsense)
}

fn close(session: &Session, handle: &[u8]) -> Result<(), Failure> {
    expect_done(session.ask(kind::CLOSE, |request| request.bytes(handle))?)
}

pub fn stat(session: &Session, path: &str) -> Result<Facts, Failure> {
    let fields = expect(session.ask(kind::STAT, |request| request.bytes(path.as_bytes()))?, kind::ATTRS)?;
    Fields(&fields).facts().ok_or(Failure::Nonsense)
}

pub fn exists(session: &Session, path: &str) -> Result<bool, Failure> {
    match stat(session, path) {
        Ok(_) => Ok(true),
        Err(refused) if refused.is(status::NO_SUCH_FILE) => Ok(false),
        Err(other) => Err(other),
    }
}

pub fn remove(session: &Session, path: &str) -> Result<(), Failure> {
    expect_done(session.ask(kind::REMOVE, |request| request.bytes(path.as_bytes()))?)
}

/// Makes a folder; one that is there is as good.
pub fn make_folder(session: &Session, path: &str) -> Result<(), Failure> {
    let made = expect_done(session.ask(kind::MKDIR, |request| request.bytes(path.as_bytes()).mode(0o700))?);
    match made {
        // This version of the protocol has no code for it.
        Err(Failure::Refused(..)) if stat(session, path).is_ok_and(Facts::is_folder) => Ok(()),
        other => other,
    }
}

/// Makes folders whose parent is there, many at once; those that are there are as good.
pub fn make_folders(session: &Session, paths: &[String]) -> Result<(), Failure> {
    for some in paths.chunks(WINDOW) {
        let send =
            |path: &String| session.send(kind::MKDIR, |request| request.bytes(path.as_bytes()).mode(0o700));
        let pending = some.iter().map(send).collect::<Result<Vec<Pending>, Broken>>()?;
        for (path, pending) in some.iter().zip(pending) {
            match expect_done(session.wait(&pending)?) {
                Err(Failure::Refused(..)) => make_folder(session, path)?,
                other => other?,
            }
        }
    }
    Ok(())
}

/// The bytes of a file, all of them when no range is given.
pub fn read(session: &Session, path: &str, range: Option<std::ops::Range<u64>>) -> Result<Vec<u8>, Failure> {
    let handle =
        handle(session.ask(kind::OPEN, |request| request.bytes(path.as_bytes()).u32(open::READ).u32(0))?)?;
    let content = read_open(session, &handle, range);
    match close(session, &handle) {
        // What was read is not less good for it.
        Ok(()) | Err(Failure::Refused(..)) => content,
        Err(broken) => content.and(Err(broken)),
    }
}

fn read_open(
    session: &Session,
    handle: &[u8],
    range: Option<std::ops::Range<u64>>,
) -> Result<Vec<u8>, Failure> {
    let (start, length) = match range {
        Some(range) => (range.start, range.end.saturating_sub(range.start)),
        None => {
            let fields = expect(session.ask(kind::FSTAT, |request| request.bytes(handle))?, kind::ATTRS)?;
            let facts = Fields(&fields).facts().ok_or(Failure::Nonsense)?;
            (0, facts.size.ok_or(Failure::Nonsense)?)
        }
    };
    let total = usize::try_from(length).map_err(|_| Failure::TooLarge(length))?;
    let mut content = Vec::new();
    content.try_reserve_exact(total).map_err(|_| Failure::TooLarge(length))?;
    content.resize(total, 0);
    let ask = |from: usize, length: usize| -> Result<(usize, usize, Pending), Failure> {
        let place = start + from as u64;
        let count = u32::try_from(length).unwrap_or(u32::MAX);
        Ok((from, length, session.send(kind::READ, |request| request.bytes(handle).u64(place).u32(count))?))
    };
    let (mut asked, mut under_way) = (0, VecDeque::new());
    loop {
        while under_way.len() < WINDOW && asked < total {
            let length = PIECE.min(total - asked);
            under_way.push_back(ask(asked, length)?);
            asked += length;
        }
        let Some((from, length, pending)) = under_way.pop_front() else { return Ok(content) };
        let fields = match expect(session.wait(&pending)?, kind::DATA) {
            Err(refused) if refused.is(status::EOF) => return Err(Failure::TooShort),
            other => other?,
        };
        let data = Fields(&fields).bytes().filter(|data| !data.is_empty() && data.len() <= length);
        let data = data.ok_or(Failure::Nonsense)?;
        content[from..from + data.len()].copy_from_slice(data);
        if data.len() < length {
            // Servers may give less than was asked for.
            under_way.push_back(ask(from + data.len(), length - data.len())?);
        }
    }
}

/// Writes a new file beside its place, and links it there. `rename` of this version of the protocol does not replace.
pub fn write_new(session: &Session, path: &str, aside: &str, content: &[u8]) -> Result<(), Failure> {
    if exists(session, path)? {
        return Err(Failure::Exists);
    }
    let flags = open::WRITE | open::CREATE | open::EXCLUSIVE;
    let opened = session.ask(kind::OPEN, |request| request.bytes(aside.as_bytes()).u32(flags).mode(0o600))?;
    let handle = handle(opened)?;
    let written = write_open(session, &handle, path, aside, content);
    let written = match written {
        Err(refused @ Failure::Refused(..)) => {
            Err(what_stood_in_the_way(session, path, content.len(), refused))
        }
        other => other,
    };
    if let Err(Failure::Broken(_)) = written {
        return written;
    }
    // Once more, because folders cannot be synced: with the file's new link count its new name goes into the journal.
    let synced = if written.is_ok() { sync(session, &handle) } else { Ok(()) };
    let closed = close(session, &handle);
    if written.is_err() {
        // It is no part of the repository, and the next sweep takes what remains here.
        let _ = remove(session, aside);
    }
    written.and(synced).and(closed)
}

fn write_open(
    session: &Session,
    handle: &[u8],
    path: &str,
    aside: &str,
    content: &[u8],
) -> Result<(), Failure> {
    let mut under_way = VecDeque::new();
    let (mut place, mut refused) = (0_u64, Ok(()));
    for piece in content.chunks(PIECE) {
        if under_way.len() == WINDOW
            && let Some(pending) = under_way.pop_front()
        {
            refused = expect_done(session.wait(&pending)?);
            if refused.is_err() {
                break;
            }
        }
        under_way
            .push_back(session.send(kind::WRITE, |request| request.bytes(handle).u64(place).bytes(piece))?);
        place += piece.len() as u64;
    }
    for pending in under_way {
        refused = refused.and(expect_done(session.wait(&pending)?));
    }
    refused?;
    sync(session, handle)?;
    let renamed =
        session.ask(kind::RENAME, |request| request.bytes(aside.as_bytes()).bytes(path.as_bytes()))?;
    expect_done(renamed)
}

fn sync(session: &Session, handle: &[u8]) -> Result<(), Failure> {
    if !session.offers(FSYNC) {
        return Ok(());
    }
    expect_done(session.ask(kind::EXTENDED, |request| request.bytes(FSYNC.as_bytes()).bytes(handle))?)
}

/// This version of the protocol has one code for most troubles, so it is looked at what it was.
fn what_stood_in_the_way(session: &Session, path: &str, length: usize, refused: Failure) -> Failure {
    match exists(session, path) {
        Ok(true) => return Failure::Exists,
        Err(broken @ Failure::Broken(_)) => return broken,
        _ => {}
    }
    let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
    match (room(session, folder), refused) {
        (Ok(Some(room)), Failure::Refused(_, text)) if room < length as u64 => Failure::Full(text),
        (Err(broken @ Failure::Broken(_)), _) => broken,
        (_, refused) => refused,
    }
}

/// How many bytes can be written below this folder; nothing when the server does not tell.
fn room(session: &Session, folder: &str) -> Result<Option<u64>, Failure> {
    if !session.offers(STATVFS) {
        return Ok(None);
    }
    let asked = session.ask(kind::EXTENDED, |r| r.bytes(STATVFS.as_bytes()).bytes(folder.as_bytes()))?;
    let fields = expect(asked, kind::EXTENDED_REPLY)?;
    let mut fields = Fields(&fields);
    // Block size, fragment size, blocks, free, available, files, free, available.
    let mut facts = [0; 8];
    for fact in &mut facts {
        *fact = fields.u64().ok_or(Failure::Nonsense)?;
    }
    let [_, size, _, _, available, files, _, files_available] = facts;
    let no_names = files != 0 && files_available == 0;
    Ok(Some(if no_names { 0 } else { size.saturating_mul(available) }))
}

/// Lists folders, many at once. One that is not there has nothing in it when `missing_is_empty`.
pub fn list(
    session: &Session,
    folders: &[String],
    missing_is_empty: bool,
    found: &mut dyn FnMut(&[u8], Facts),
) -> Result<(), Failure> {
    for some in folders.chunks(FOLDERS) {
        let send = |path: &String| session.send(kind::OPENDIR, |request| request.bytes(path.as_bytes()));
        let pending = some.iter().map(send).collect::<Result<Vec<Pending>, Broken>>()?;
        let mut handles = Vec::new();
        let mut failed = Ok(());
        for pending in pending {
            match handle(session.wait(&pending)?) {
                Ok(handle) => handles.push(handle),
                Err(refused) if missing_is_empty && refused.is(status::NO_SUCH_FILE) => {}
                Err(other) => failed = Err(other),
            }
        }
        let listed = failed.and_then(|()| list_open(session, &handles, found));
        for handle in &handles {
            match close(session, handle) {
                Ok(()) | Err(Failure::Refused(..)) => {}
                Err(broken) => return Err(broken),
            }
        }
        listed?;
    }
    Ok(())
}

fn list_open(
    session: &Session,
    handles: &[Vec<u8>],
    found: &mut dyn FnMut(&[u8], Facts),
) -> Result<(), Failure> {
    let mut open: Vec<&Vec<u8>> = handles.iter().collect();
    while !open.is_empty() {
        let send = |handle: &&Vec<u8>| session.send(kind::READDIR, |request| request.bytes(handle));
        let pending = open.iter().map(send).collect::<Result<Vec<Pending>, Broken>>()?;
        let mut more = Vec::new();
        for (handle, pending) in open.into_iter().zip(pending) {
            match expect(session.wait(&pending)?, kind::NAME) {
                Ok(fields) => {
                    tell_names(&fields, found).ok_or(Failure::Nonsense)?;
                    more.push(handle);
                }
                Err(refused) if refused.is(status::EOF) => {}
                Err(other) => return Err(other),
            }
        }
        open = more;
    }
    Ok(())
}

fn tell_names(fields: &[u8], found: &mut dyn FnMut(&[u8], Facts)) -> Option<()> {
    let mut fields = Fields(fields);
    for _ in 0..fields.u32()? {
        let name = fields.bytes()?;
        // The same as `ls -l` would show it.
        fields.bytes()?;
        found(name, fields.facts()?);
    }
    Some(())
}
