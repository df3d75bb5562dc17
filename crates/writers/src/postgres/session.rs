//! A session with the server, on a thread of its own.
//!
//! A server that hangs (a stopped process, a dead disk) answers neither a query nor a request to cancel it, and a socket
//! has no deadline. So no caller ever waits on the socket: it waits for the session's thread, until its deadline, and
//! then leaves the session behind. The thread ends with the server's next answer, or with the process.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use postgres::error::SqlState;
use postgres::{Client, NoTls, SimpleQueryMessage};
use stillpoint_model::{Cancel, Deadline, WriterError};

use super::access::Access;

/// How long the end of a session is waited for. The server may hang; then its end is left to the process's.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// How often a cancellation is looked for while a stream is waited for.
const CANCEL_INTERVAL: Duration = Duration::from_millis(100);
/// How many bytes of a stream travel at once, and how many such pieces wait for the reader.
const PIECE_BYTES: usize = 256 * 1024;
const PIECES: usize = 4;

/// Why a stream failed that nobody read to its end.
pub const NOT_READ: &str = "it was not read to its end";

type Job = Box<dyn FnOnce(&mut Client) + Send>;

/// One row of an answer, as text; NULL is nothing.
pub type Row = Vec<Option<String>>;

/// An open session. Dropping it ends it.
pub struct Session {
    jobs: Option<Sender<Job>>,
    ended: Receiver<()>,
    database: String,
    /// Whether its end is not waited for any more.
    left: bool,
}

impl Session {
    /// Opens a session with `database`. Errors: the server cannot be reached or refuses us (the text says how to mend
    /// that), [`WriterError::Late`].
    pub fn open(access: &Access, database: &str, deadline: Deadline) -> Result<Self, WriterError> {
        let act = format!("open a session with database {database} of PostgreSQL at {access}");
        let config = access.config(database, deadline.remaining());
        let (jobs, job_list) = unbounded::<Job>();
        let (opened, opening) = bounded(1);
        let (end, ended) = bounded::<()>(0);
        thread::Builder::new()
            .name("postgres".into())
            .spawn(move || {
                let _end = end;
                match config.connect(NoTls) {
                    Ok(mut client) => {
                        if opened.send(Ok(())).is_ok() {
                            job_list.iter().for_each(|job| job(&mut client));
                        }
                    }
                    Err(error) => {
                        // Nobody may be waiting any more; then nobody needs to know.
                        let _ = opened.send(Err(error));
                    }
                }
            })
            .map_err(|error| WriterError::Service { act: act.clone(), reason: error.to_string() })?;
        match opening.recv_deadline(deadline.instant()) {
            Ok(Ok(())) => Ok(Self { jobs: Some(jobs), ended, database: database.to_owned(), left: false }),
            Ok(Err(error)) => Err(WriterError::Service { act, reason: access.explain_refusal(&error) }),
            Err(RecvTimeoutError::Timeout) => Err(WriterError::Late { act }),
            Err(RecvTimeoutError::Disconnected) => Err(lost(&act)),
        }
    }

    /// The database that it is with.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Runs one or more statements and returns all their rows. The server itself gives up at the deadline too. In a
    /// session that is in no transaction, several statements are one transaction.
    pub fn query(
        &mut self,
        act: &str,
        statements: &str,
        deadline: Deadline,
    ) -> Result<Vec<Row>, WriterError> {
        // One message, so that the limit costs no round trip while the site stands still.
        let limited = format!("SET statement_timeout = {}; {statements}", limit_ms(deadline));
        self.alone(act, limited, deadline)
    }

    /// As [`Session::query`], for one statement that refuses to be in a transaction.
    pub fn alone(
        &mut self,
        act: &str,
        statement: impl Into<String>,
        deadline: Deadline,
    ) -> Result<Vec<Row>, WriterError> {
        let statement = statement.into();
        self.run(act, deadline, move |client| client.simple_query(&statement).and_then(rows))
    }

    /// Sends the output of a COPY statement as a stream. The session is busy until the stream is read or dropped.
    pub fn copy_out(
        &mut self,
        act: &str,
        statement: &str,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<CopyReader, WriterError> {
        let (pieces, incoming) = bounded(PIECES);
        let statement = statement.to_owned();
        self.send(act, Box::new(move |client| copy(client, &statement, deadline, &pieces)))?;
        Ok(CopyReader {
            incoming,
            piece: Vec::new(),
            at: 0,
            state: CopyState::Open,
            deadline,
            cancel: cancel.clone(),
            act: act.to_owned(),
        })
    }

    /// Runs `job` with the client on the session's thread.
    pub fn run<T: Send + 'static>(
        &mut self,
        act: &str,
        deadline: Deadline,
        job: impl FnOnce(&mut Client) -> Result<T, postgres::Error> + Send + 'static,
    ) -> Result<T, WriterError> {
        let (answered, answer) = bounded(1);
        self.send(
            act,
            Box::new(move |client| {
                // The caller may have left; the session ends then.
                let _ = answered.send(job(client));
            }),
        )?;
        match answer.recv_deadline(deadline.instant()) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if error.code() == Some(&SqlState::QUERY_CANCELED) && deadline.passed() {
                    return Err(WriterError::Late { act: act.to_owned() });
                }
                Err(WriterError::Service { act: act.to_owned(), reason: explain(&error) })
            }
            Err(RecvTimeoutError::Timeout) => {
                // It answers too late, if at all: what it would do next is nobody's wish any more.
                (self.jobs, self.left) = (None, true);
                Err(WriterError::Late { act: act.to_owned() })
            }
            Err(RecvTimeoutError::Disconnected) => Err(lost(act)),
        }
    }

    fn send(&self, act: &str, job: Job) -> Result<(), WriterError> {
        self.jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).ok_or_else(|| lost(act))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        close_all([self]);
    }
}

/// Ends sessions, and waits for the end of all of them for as long as for one: their server may hang.
pub fn close_all<'a>(sessions: impl IntoIterator<Item = &'a mut Session>) {
    let mut closing: Vec<&mut Session> = sessions.into_iter().collect();
    closing.iter_mut().for_each(|session| session.jobs = None);
    let deadline = Deadline::after(CLOSE_WAIT);
    for session in closing.iter_mut().filter(|session| !session.left) {
        // What comes is the end of the thread.
        let _ = session.ended.recv_deadline(deadline.instant());
        session.left = true;
    }
}

fn lost(act: &str) -> WriterError {
    WriterError::Service { act: act.to_owned(), reason: "the session was lost".into() }
}

/// What is left, in milliseconds and never 0, which would mean no limit; at most what the server takes.
fn limit_ms(deadline: Deadline) -> u128 {
    deadline.remaining().as_millis().clamp(1, 2_000_000_000)
}

fn rows(messages: Vec<SimpleQueryMessage>) -> Result<Vec<Row>, postgres::Error> {
    let mut rows = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            let cell = |at| row.try_get(at).map(|text| text.map(str::to_owned));
            rows.push((0..row.len()).map(cell).collect::<Result<Row, _>>()?);
        }
    }
    Ok(rows)
}

/// The error in the server's own words, else in those of the connection.
pub fn explain(error: &postgres::Error) -> String {
    let Some(told) = error.as_db_error() else {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        return text;
    };
    let mut text = told.message().to_owned();
    for more in [told.detail(), told.hint()].into_iter().flatten() {
        text = format!("{text} ({more})");
    }
    text
}

enum Piece {
    Bytes(Vec<u8>),
    End,
    Failed(String),
}

fn copy(client: &mut Client, statement: &str, deadline: Deadline, pieces: &Sender<Piece>) {
    let failed = |error: &postgres::Error| {
        let _ = pieces.send(Piece::Failed(explain(error)));
    };
    if let Err(error) = client.batch_execute(&format!("SET statement_timeout = {}", limit_ms(deadline))) {
        return failed(&error);
    }
    let mut reader = match client.copy_out(statement) {
        Ok(reader) => reader,
        Err(error) => return failed(&error),
    };
    loop {
        let mut bytes = Vec::with_capacity(PIECE_BYTES);
        // A read after the end would take the next message of the server for rows: a short piece is the last.
        let read = (&mut reader).take(PIECE_BYTES as u64).read_to_end(&mut bytes);
        let last = bytes.len() < PIECE_BYTES;
        if let Err(error) = read {
            let _ = pieces.send(Piece::Failed(error.to_string()));
            return;
        }
        // When nobody reads any more, the rest of the table is of no use.
        if pieces.send(Piece::Bytes(bytes)).is_err() {
            return;
        }
        if last {
            let _ = pieces.send(Piece::End);
            return;
        }
    }
}

enum CopyState {
    Open,
    Ended,
    Failed(String),
}

/// The output of a COPY statement. After the last byte ask [`CopyReader::finish`] whether it was really the last.
pub struct CopyReader {
    incoming: Receiver<Piece>,
    piece: Vec<u8>,
    at: usize,
    state: CopyState,
    deadline: Deadline,
    cancel: Cancel,
    act: String,
}

impl CopyReader {
    /// Whether the stream ended as the server meant it to.
    pub fn finish(self) -> Result<(), WriterError> {
        match self.state {
            CopyState::Ended => Ok(()),
            _ if self.cancel.is_cancelled() => Err(WriterError::Cancelled),
            _ if self.deadline.passed() => Err(WriterError::Late { act: self.act }),
            CopyState::Failed(reason) => Err(WriterError::Service { act: self.act, reason }),
            CopyState::Open => Err(WriterError::Service { act: self.act, reason: NOT_READ.into() }),
        }
    }

    fn next_piece(&mut self) -> io::Result<()> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(self.fail("cancelled".into()));
            }
            let left = self.deadline.remaining();
            if left.is_zero() {
                return Err(self.fail("it was not done in time".into()));
            }
            match self.incoming.recv_timeout(left.min(CANCEL_INTERVAL)) {
                Ok(Piece::Bytes(bytes)) if bytes.is_empty() => {}
                Ok(Piece::Bytes(bytes)) => {
                    (self.piece, self.at) = (bytes, 0);
                    return Ok(());
                }
                Ok(Piece::End) => {
                    self.state = CopyState::Ended;
                    return Ok(());
                }
                Ok(Piece::Failed(reason)) => return Err(self.fail(reason)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.fail("the session was lost".into()));
                }
            }
        }
    }

    fn fail(&mut self, reason: String) -> io::Error {
        let error = io::Error::other(format!("{}: {reason}", self.act));
        self.state = CopyState::Failed(reason);
        error
    }
}

impl Read for CopyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.at == self.piece.len() {
            match &self.state {
                CopyState::Open => self.next_piece()?,
                CopyState::Ended => return Ok(0),
                CopyState::Failed(reason) => return Err(io::Error::other(reason.clone())),
            }
            if matches!(self.state, CopyState::Ended) {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// `text` as a string constant of SQL.
pub fn literal(text: &str) -> String {
    if text.contains('\\') {
        // An E constant means the same whatever standard_conforming_strings is.
        return format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"));
    }
    format!("'{}'", text.replace('\'', "''"))
}

/// `name` as an identifier of SQL.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_break_out_of_their_quotes() {
        assert_eq!(literal(r"O'Hara"), "'O''Hara'");
        assert_eq!(literal(r"a\' b"), r"E'a\\'' b'");
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
    }
}
