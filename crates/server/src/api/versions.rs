//! Versions in archives: what there is, what is in it, and getting it back.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::stream::unfold;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_history::AuditAction;
use stillpoint_model::{ArchiveName, ComponentName};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Asked, Named, Sent};
use super::queue::{Queued, ask_for};
use crate::access::Caller;
use crate::launcher::{Answers, Exit, FolderName, Order, Piece, Question, Restore, VersionName};
use crate::web::{App, Problem};

/// The most bytes of an answer that is not a file.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// One version.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Version {
    /// The archive.
    pub(crate) archive: String,
    /// The name of the version.
    pub(crate) id: String,
    /// The instant of its epoch.
    pub(crate) time: Timestamp,
    /// The site, or for a version of somebody else the machine.
    pub(crate) site: String,
    /// The number of its epoch.
    pub(crate) epoch: Option<u64>,
    /// The run that made it.
    pub(crate) run: Option<String>,
    /// Whether the run was complete.
    pub(crate) complete: bool,
    /// Whether it is on hold.
    pub(crate) held: bool,
    /// Whether Stillpoint made it.
    pub(crate) ours: bool,
    /// Files in it.
    pub(crate) files: Option<u64>,
    /// Their bytes.
    pub(crate) bytes: Option<u64>,
    /// Bytes that it added to the archive.
    pub(crate) added_bytes: Option<u64>,
}

/// An archive whose versions cannot be listed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Unreachable {
    /// The archive.
    archive: String,
    /// Why.
    why: String,
}

/// The versions in the archives of the site.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Versions {
    versions: Vec<Version>,
    /// The archives that could not be asked.
    unreachable: Vec<Unreachable>,
}

/// What lies in a folder of a version.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Entry {
    /// Its path in the version.
    pub(crate) path: String,
    /// `file`, `dir`, `symlink` or another.
    pub(crate) kind: String,
    /// Its rights, octal.
    pub(crate) mode: String,
    /// The number of its owner.
    pub(crate) uid: u32,
    /// The number of its group.
    pub(crate) gid: u32,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// When it was last changed.
    pub(crate) mtime: Option<String>,
    /// Where a link leads.
    pub(crate) target: Option<String>,
}

/// What lies in a folder of a version.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Entries {
    entries: Vec<Entry>,
}

/// Which archive.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionsQuery {
    /// Only of this archive.
    archive: Option<String>,
}

/// Which path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct FolderQuery {
    /// The path of the folder; the top without it.
    #[param(example = "/content", min_length = 1, max_length = 1000)]
    path: Option<String>,
}

/// Which file.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct FileQuery {
    /// The path of the file.
    #[param(example = "/content/notes.txt", min_length = 1, max_length = 1000)]
    path: String,
}

/// What is to be restored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Restoring {
    /// The archive.
    archive: String,
    /// The name of the version, or `latest`.
    #[schema(pattern = "^(latest|[0-9A-Fa-f]{8,64})$")]
    version: String,
    /// Only this component.
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
    component: Option<String>,
    /// Only this path in the version.
    #[schema(min_length = 1, max_length = 1000, pattern = "^[^\\x00]+$")]
    path: Option<String>,
    /// The name of a new folder for it, below the folder `restored` in the state folder: letters, digits and `-`.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9-]{0,63}$")]
    folder: String,
}

/// Lists the versions in the archives of the site.
#[utoipa::path(
    get, path = "/api/v1/versions", tag = "versions", params(VersionsQuery),
    responses(
        (status = 200, description = "The versions", body = Versions),
        (status = 404, description = "There is no such archive", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(app): State<App>,
    Asked(asked): Asked<VersionsQuery>,
) -> Result<Json<Versions>, Problem> {
    let archives = match &asked.archive {
        Some(name) => vec![archive_of(&app, name)?],
        None => app.service.site().site.file.archives.iter().map(|archive| archive.name.clone()).collect(),
    };
    let mut found = Versions { versions: Vec::new(), unreachable: Vec::new() };
    for archive in archives {
        match versions_in(&app, &archive).await {
            Ok(versions) => found.versions.extend(versions),
            Err(problem) => {
                found.unreachable.push(Unreachable { archive: archive.to_string(), why: problem.detail });
            }
        }
    }
    Ok(Json(found))
}

/// Lists what lies in a folder of a version.
#[utoipa::path(
    get, path = "/api/v1/versions/{archive}/{version}/entries", tag = "versions",
    params(
        ("archive" = String, Path, description = "The archive"), ("version" = String, Path, description = "The name of the version, or latest"),
        FolderQuery,
    ),
    responses(
        (status = 200, description = "The entries", body = Entries),
        (status = 404, description = "There is no such archive, version or folder", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn entries(
    State(app): State<App>,
    Named((archive, version)): Named<(String, String)>,
    Asked(asked): Asked<FolderQuery>,
) -> Result<Json<Entries>, Problem> {
    let entries = entries_in(&app, &archive, version, asked.path.as_deref().unwrap_or("/")).await?;
    Ok(Json(Entries { entries }))
}

/// Reads one file of a version.
#[utoipa::path(
    get, path = "/api/v1/versions/{archive}/{version}/file", tag = "versions",
    params(
        ("archive" = String, Path, description = "The archive"), ("version" = String, Path, description = "The name of the version, or latest"),
        FileQuery,
    ),
    responses(
        (status = 200, description = "Its content. An answer that ends early is not whole", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "There is no such archive, version or file", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn file(
    State(app): State<App>,
    caller: Caller,
    Named((archive, version)): Named<(String, String)>,
    Asked(asked): Asked<FileQuery>,
) -> Result<Response, Problem> {
    download(&app, &caller, &archive, version, &asked.path).await
}

/// Puts a version, a component or a path of it into a new folder of the machine.
#[utoipa::path(
    post, path = "/api/v1/restores", tag = "versions", request_body = Restoring,
    responses(
        (status = 202, description = "It waits for its turn", body = Queued),
        (status = 404, description = "There is no such archive", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The service is about to end", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn restore(
    State(app): State<App>,
    caller: Caller,
    Sent(wish): Sent<Restoring>,
) -> Result<(StatusCode, Json<Queued>), Problem> {
    let wrong = |why: String| Problem::bad_request(why, "");
    let component: Option<ComponentName> = wish
        .component
        .map(|name| name.parse().map_err(|_| wrong(format!("{name:?} is no name of a component"))))
        .transpose()?;
    let restore = Restore {
        archive: archive_of(&app, &wish.archive)?,
        version: VersionName::try_from(wish.version).map_err(wrong)?,
        component,
        path: wish.path.as_deref().map(path_of).transpose()?,
        folder: FolderName::try_from(wish.folder).map_err(wrong)?,
    };
    let id = ask_to_restore(&app, &caller, restore).await?;
    Ok((StatusCode::ACCEPTED, Json(Queued { id })))
}

/// The versions of an archive.
pub(crate) async fn versions_in(app: &App, archive: &ArchiveName) -> Result<Vec<Version>, Problem> {
    lines(app, Question::Versions { archive: archive.clone() }).await
}

/// What lies in a folder of a version.
pub(crate) async fn entries_in(
    app: &App,
    archive: &str,
    version: String,
    path: &str,
) -> Result<Vec<Entry>, Problem> {
    let (archive, version, path) = (archive_of(app, archive)?, version_of(version)?, path_of(path)?);
    lines(app, Question::Entries { archive, version, path }).await
}

/// A file of a version, as an answer, and who took it is kept.
pub(crate) async fn download(
    app: &App,
    caller: &Caller,
    archive: &str,
    version: String,
    path: &str,
) -> Result<Response, Problem> {
    let (archive, version) = (archive_of(app, archive)?, version_of(version)?);
    let path = path_of(path)?;
    let subject = format!("{archive} {}: {path}", version.as_str());
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut answers = ask(app, Question::File { archive, version, path }).await?;
    // Nothing is promised before the first bytes are there.
    let first = match answers.recv().await {
        Some(Ok(Piece::Output(bytes))) => Some(bytes),
        Some(Ok(Piece::End(exit))) if exit.code == Some(0) => None,
        other => {
            let problem = failed(other);
            app.access.audit(caller, AuditAction::Download, &subject, &problem.detail).await;
            return Err(problem);
        }
    };
    app.access.audit(caller, AuditAction::Download, &subject, "ok").await;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename*=UTF-8''{}", escaped(&name))),
    ];
    let body = match first {
        Some(bytes) => Body::from_stream(unfold(Flow::Bytes(bytes, answers), Flow::next)),
        None => Body::empty(),
    };
    Ok((headers, body).into_response())
}

/// Puts a restore into the queue, and keeps who asked.
pub(crate) async fn ask_to_restore(app: &App, caller: &Caller, restore: Restore) -> Result<u64, Problem> {
    let subject = format!(
        "{} {} into {}: {}",
        restore.archive,
        restore.version.as_str(),
        restore.folder.as_str(),
        restore.path.as_deref().unwrap_or("all")
    );
    ask_for(app, caller, Order::Restore(restore), AuditAction::Restore, &subject).await
}

/// An archive of the site file by its name.
pub(crate) fn archive_of(app: &App, name: &str) -> Result<ArchiveName, Problem> {
    let view = app.service.site();
    let known = view.site.file.archives.iter().find(|archive| archive.name.as_str() == name);
    let missing = || Problem::not_found(format!("the site file has no archive {name:?}"));
    known.map(|archive| archive.name.clone()).ok_or_else(missing)
}

pub(crate) fn version_of(name: String) -> Result<VersionName, Problem> {
    VersionName::try_from(name).map_err(Problem::not_found)
}

/// A path is handed to a child process: it cannot hold a NUL, and must not be endless.
pub(crate) fn path_of(path: &str) -> Result<String, Problem> {
    if path.is_empty() || path.len() > 4096 || path.contains('\0') {
        return Err(Problem::bad_request("the path cannot be one", "give 1 to 4096 bytes without a NUL"));
    }
    Ok(path.to_owned())
}

async fn ask(app: &App, question: Question) -> Result<Answers, Problem> {
    app.service.launcher.ask(question).await.map_err(|error| Problem::internal(&error))
}

/// What went wrong with an answer.
fn failed(piece: Option<Result<Piece, crate::launcher::LaunchError>>) -> Problem {
    match piece {
        Some(Ok(Piece::End(Exit { said, .. }))) => {
            let detail = said.lines().last().unwrap_or("the archive could not be asked").to_owned();
            Problem::new(StatusCode::NOT_FOUND, detail, "look at the versions: GET /api/v1/versions")
        }
        Some(Err(error)) => Problem::internal(&error),
        _ => Problem::internal(&"an answer ended before its end"),
    }
}

/// The answer to a question as objects, one a line.
async fn lines<T: serde::de::DeserializeOwned>(app: &App, question: Question) -> Result<Vec<T>, Problem> {
    let mut answers = ask(app, question).await?;
    let mut bytes = Vec::new();
    loop {
        match answers.recv().await {
            Some(Ok(Piece::Output(more))) if bytes.len() + more.len() <= ANSWER_BYTES_MAX => {
                bytes.extend(more)
            }
            Some(Ok(Piece::Output(_))) => {
                let hint = "ask for a folder with fewer entries, or use stillpoint archive ls";
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the answer is too large", hint));
            }
            Some(Ok(Piece::End(exit))) if exit.code == Some(0) => break,
            other => return Err(failed(other)),
        }
    }
    let whole = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    whole.map(|line| serde_json::from_slice(line).map_err(|error| Problem::internal(&error))).collect()
}

/// A file on its way.
enum Flow {
    Bytes(Vec<u8>, Answers),
    Rest(Answers),
    Over,
}

impl Flow {
    async fn next(self) -> Option<(Result<Bytes, std::io::Error>, Self)> {
        let mut answers = match self {
            Flow::Bytes(bytes, answers) => return Some((Ok(bytes.into()), Flow::Rest(answers))),
            Flow::Rest(answers) => answers,
            Flow::Over => return None,
        };
        match answers.recv().await {
            Some(Ok(Piece::Output(bytes))) => Some((Ok(bytes.into()), Flow::Rest(answers))),
            Some(Ok(Piece::End(exit))) if exit.code == Some(0) => None,
            // The connection breaks, so that nobody takes a part for the whole.
            other => Some((Err(std::io::Error::other(failed(other).detail)), Flow::Over)),
        }
    }
}

fn escaped(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
