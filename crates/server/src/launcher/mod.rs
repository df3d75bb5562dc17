//! The launcher: the small part with rights. It starts `stillpoint` for a handful of orders and questions, and nothing else.
//!
//! Over its socket each connection carries one request, a line of JSON, and gets frames back: a letter (`o` output, `x` end), four
//! bytes of length (big-endian), and as many bytes. The end is JSON: [`Exit`], or what could not be done.

mod order;
mod socket;
mod work;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stillpoint_history::under_way;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

pub(crate) use order::RESTORED;
pub use order::{FolderName, Order, Question, Restore, VersionName};
pub use socket::{Reach, listen};
pub use work::Tools;

/// How the child for an order or a question ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code; missing when a signal ended it.
    pub code: Option<u8>,
    /// The end of what it said on standard error.
    pub said: String,
}

/// Why something could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LaunchError(String);

impl LaunchError {
    fn new(what: &str, error: std::io::Error) -> Self {
        Self(format!("cannot {what}: {error}"))
    }

    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Starts work: by itself, or through the socket of a launcher with more rights.
#[derive(Debug, Clone)]
pub enum Launcher {
    /// By itself.
    Own(Arc<Tools>),
    /// Through this socket.
    Socket(PathBuf),
}

/// The answer to a question, as it comes: pieces of output, then the end.
pub type Answers = mpsc::Receiver<Result<Piece, LaunchError>>;

/// A piece of an answer.
#[derive(Debug)]
pub enum Piece {
    /// Output.
    Output(Vec<u8>),
    /// The child ended.
    End(Exit),
}

/// How many pieces of an answer wait for whoever reads it.
const PIECES: usize = 8;

impl Launcher {
    /// Does it, and returns when it is done. The work goes on when the caller does not wait.
    ///
    /// # Errors
    ///
    /// When it could not be started, or the launcher does not answer.
    pub async fn run(&self, order: &Order, by: &str, attempt: u32) -> Result<Exit, LaunchError> {
        match self {
            Launcher::Own(tools) => tools.start(order, by, attempt)?.end().await,
            Launcher::Socket(path) => {
                let request = order::Request::Run { order: order.clone(), by: by.to_owned(), attempt };
                socket::run(path, &request).await
            }
        }
    }

    /// Asks. The child ends when the receiver is dropped.
    ///
    /// # Errors
    ///
    /// When it could not be started, or the launcher does not answer.
    pub async fn ask(&self, question: Question) -> Result<Answers, LaunchError> {
        let (sender, receiver) = mpsc::channel(PIECES);
        match self {
            Launcher::Own(tools) => {
                let working = tools.ask(&question)?;
                tokio::spawn(pass_on(working, sender));
            }
            Launcher::Socket(path) => socket::ask(path, question, sender).await?,
        }
        Ok(receiver)
    }

    /// Says that the site file was taken up, so that it stays in force while an edit is not valid.
    ///
    /// # Errors
    ///
    /// When the launcher does not answer.
    pub async fn remember(&self) -> Result<(), LaunchError> {
        match self {
            Launcher::Own(tools) => {
                tools.remember();
                Ok(())
            }
            Launcher::Socket(path) => socket::run(path, &order::Request::Remember).await.map(drop),
        }
    }

    /// Tells a run that is under way to end.
    ///
    /// # Errors
    ///
    /// When there is none with that name, or it belongs to somebody whose processes we may not end.
    pub async fn cancel(&self, run: &str) -> Result<(), LaunchError> {
        match self {
            Launcher::Own(tools) => cancel_run(tools, run),
            Launcher::Socket(path) => {
                let end = socket::run(path, &order::Request::Cancel(run.to_owned())).await?;
                if end.code == Some(0) { Ok(()) } else { Err(LaunchError::text(end.said)) }
            }
        }
    }
}

fn cancel_run(tools: &Tools, run: &str) -> Result<(), LaunchError> {
    let history = stillpoint_history::History::path_in(&tools.state_root, &tools.site);
    match under_way(&history, run) {
        Some(process) => work::cancel(process),
        None => Err(LaunchError::text(format!("no run {run:?} is under way"))),
    }
}

/// Output of a child, piece by piece, and its end. Ends the child when nobody takes the pieces.
async fn pass_on(mut working: work::Working, pieces: mpsc::Sender<Result<Piece, LaunchError>>) {
    let Some(mut output) = working.child.stdout.take() else { return };
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match output.read(&mut buffer).await {
            Ok(0) => break,
            Ok(length) => {
                if pieces.send(Ok(Piece::Output(buffer[..length].to_vec()))).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let _ = pieces.send(Err(LaunchError::new("read an answer", error))).await;
                return;
            }
        }
    }
    let _ = pieces.send(working.end().await.map(Piece::End)).await;
}
