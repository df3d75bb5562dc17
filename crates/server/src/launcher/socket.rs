//! Both ends of the launcher's socket.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;

use super::order::{Question, Request};
use super::work::Tools;
use super::{Exit, LaunchError, Piece};

/// The longest request, in bytes.
const REQUEST_MAX: u64 = 64 * 1024;
/// How long a request may take to arrive.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// The longest frame, in bytes.
const FRAME_MAX: u32 = 1 << 20;

/// Who may ask: these user ids, as the kernel tells them of the other end. What the mode of the socket lets in is not enough.
#[derive(Debug, Clone)]
pub struct Reach {
    /// The users.
    pub users: Vec<u32>,
}

/// Serves one site on a socket until the task is dropped.
///
/// # Errors
///
/// When the socket fails.
pub async fn listen(listener: UnixListener, tools: Arc<Tools>, reach: Reach) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let peer = rustix::net::sockopt::socket_peercred(stream.as_fd());
        let user = peer.map(|peer| peer.uid.as_raw()).ok();
        if !user.is_some_and(|user| user == 0 || reach.users.contains(&user)) {
            tracing::warn!("a process of user {user:?} asked the launcher and was refused");
            continue;
        }
        let tools = tools.clone();
        tokio::spawn(async move {
            if let Err(error) = serve_one(stream, &tools).await {
                tracing::debug!("a connection to the launcher ended: {error}");
            }
        });
    }
}

async fn serve_one(stream: UnixStream, tools: &Tools) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(REQUEST_MAX));
    timeout(REQUEST_LIMIT, reader.read_line(&mut line)).await.map_err(std::io::Error::other)??;
    let request = match serde_json::from_str::<Request>(&line) {
        Ok(request) => request,
        Err(error) => return end(&mut writer, &refused(format!("that is no request: {error}"))).await,
    };
    match request {
        Request::Run { order, by, attempt } => match tools.start(&order, &by, attempt) {
            Ok(working) => {
                // Whether the other end still waits or not: what was begun is ended.
                let exit = working.end().await.unwrap_or_else(|error| refused(error.to_string()));
                end(&mut writer, &exit).await
            }
            Err(error) => end(&mut writer, &refused(error.to_string())).await,
        },
        Request::Cancel(run) => {
            let done = super::cancel_run(tools, &run);
            let exit = match done {
                Ok(()) => Exit { code: Some(0), said: String::new() },
                Err(error) => refused(error.to_string()),
            };
            end(&mut writer, &exit).await
        }
        Request::Remember => {
            tools.remember();
            end(&mut writer, &Exit { code: Some(0), said: String::new() }).await
        }
        Request::Ask(question) => answer(&mut writer, tools, &question).await,
    }
}

async fn answer<W: AsyncWriteExt + Unpin>(
    writer: &mut W,
    tools: &Tools,
    question: &Question,
) -> std::io::Result<()> {
    let working = match tools.ask(question) {
        Ok(working) => working,
        Err(error) => return end(writer, &refused(error.to_string())).await,
    };
    let (sender, mut pieces) = tokio::sync::mpsc::channel(super::PIECES);
    tokio::spawn(super::pass_on(working, sender));
    while let Some(piece) = pieces.recv().await {
        match piece {
            Ok(Piece::Output(bytes)) => frame(writer, b'o', &bytes).await?,
            Ok(Piece::End(exit)) => end(writer, &exit).await?,
            Err(error) => end(writer, &refused(error.to_string())).await?,
        }
    }
    Ok(())
}

fn refused(said: String) -> Exit {
    Exit { code: None, said }
}

async fn frame<W: AsyncWriteExt + Unpin>(writer: &mut W, kind: u8, bytes: &[u8]) -> std::io::Result<()> {
    writer.write_u8(kind).await?;
    writer.write_u32(u32::try_from(bytes.len()).unwrap_or(FRAME_MAX)).await?;
    writer.write_all(bytes).await?;
    writer.flush().await
}

async fn end<W: AsyncWriteExt + Unpin>(writer: &mut W, exit: &Exit) -> std::io::Result<()> {
    frame(writer, b'x', serde_json::json!(exit).to_string().as_bytes()).await
}

async fn send(path: &Path, request: &Request) -> Result<BufReader<OwnedReadHalf>, LaunchError> {
    let stream = UnixStream::connect(path).await.map_err(|error| {
        let what = format!(
            "reach the launcher at {} (is stillpoint-launcher.socket started, and may this user use it?)",
            path.display()
        );
        LaunchError::new(&what, error)
    })?;
    let (reader, mut writer) = stream.into_split();
    let line = format!("{}\n", serde_json::json!(request));
    let sent = writer.write_all(line.as_bytes()).await;
    sent.map_err(|error| LaunchError::new("ask the launcher", error))?;
    // The half stays open: closing it would look like an end of the connection.
    writer.forget();
    Ok(BufReader::new(reader))
}

async fn read_frame(reader: &mut BufReader<OwnedReadHalf>) -> Result<Piece, LaunchError> {
    let lost = |error| LaunchError::new("read what the launcher answers", error);
    let kind = reader.read_u8().await.map_err(lost)?;
    let length = reader.read_u32().await.map_err(lost)?;
    if length > FRAME_MAX {
        return Err(LaunchError::text("the launcher answers something else than frames"));
    }
    let mut bytes = vec![0; length as usize];
    reader.read_exact(&mut bytes).await.map_err(lost)?;
    match kind {
        b'o' => Ok(Piece::Output(bytes)),
        b'x' => serde_json::from_slice(&bytes)
            .map(Piece::End)
            .map_err(|error| LaunchError::text(format!("the launcher's answer cannot be read: {error}"))),
        _ => Err(LaunchError::text("the launcher answers something else than frames")),
    }
}

pub(super) async fn run(path: &Path, request: &Request) -> Result<Exit, LaunchError> {
    let mut reader = send(path, request).await?;
    loop {
        if let Piece::End(exit) = read_frame(&mut reader).await? {
            return Ok(exit);
        }
    }
}

pub(super) async fn ask(
    path: &Path,
    question: Question,
    pieces: Sender<Result<Piece, LaunchError>>,
) -> Result<(), LaunchError> {
    let mut reader = send(path, &Request::Ask(question)).await?;
    tokio::spawn(async move {
        loop {
            let piece = read_frame(&mut reader).await;
            let last = !matches!(piece, Ok(Piece::Output(_)));
            if pieces.send(piece).await.is_err() || last {
                return;
            }
        }
    });
    Ok(())
}
