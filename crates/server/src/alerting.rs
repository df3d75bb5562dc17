//! Looks again and again how the site stands, and tells the channels what a person must know.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use stillpoint_alerts::{Channels, Place, SecretReader, Signal, Told, deliver, ping, settle, test_channels};
use stillpoint_history::{History, HistoryError, Task};
use stillpoint_model::site_file::{SecretSource, SiteFile};
use stillpoint_model::{Cancel, ErrorKind, Outcome};
use tokio::sync::broadcast::error::RecvError;
use zeroize::Zeroizing;

use crate::live::Live;
use crate::service::Service;
use crate::standing::Standing;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(5);

/// What descriptors gave: one that is a pipe gives it once.
static GIVEN: Mutex<BTreeMap<u32, Zeroizing<String>>> = Mutex::new(BTreeMap::new());

/// How secrets are read: as those of archives. What a descriptor gave is kept for the life of the process.
pub fn secrets() -> SecretReader {
    Arc::new(|source, what| {
        let SecretSource::Descriptor(number) = source else { return read(source, what) };
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(secret) = given.get(number) {
            return Ok(secret.clone());
        }
        let secret = read(source, what)?;
        given.insert(*number, secret.clone());
        Ok(secret)
    })
}

fn read(source: &SecretSource, what: &str) -> Result<Zeroizing<String>, String> {
    stillpoint_site::archive::read_secret(source, what, &Cancel::default())
        .and_then(|secret| {
            let text = std::str::from_utf8(secret.expose()).map(str::to_owned);
            text.map(Zeroizing::new).map_err(|error| {
                let text = format!("{what} is not UTF-8 text");
                stillpoint_site::SiteError::new(ErrorKind::Key, text).because(error)
            })
        })
        .map_err(|error| match error.hint {
            Some(hint) => format!("{} ({hint})", error.text),
            None => error.text,
        })
}

/// Looks once, as `stillpoint alert check` does: settles the alerts and tells the channels. Returns what was told.
///
/// # Errors
///
/// When the history fails.
pub async fn check(
    site: &SiteFile,
    history: &Arc<History>,
    console: Option<String>,
    now: Timestamp,
) -> Result<Vec<Told>, HistoryError> {
    let channels = Channels::of(site, &secrets());
    let standing = Standing::of(site, history, None, now)?;
    settle(history, &standing.conditions, &channels.policy(site), now)?;
    deliver(history, &channels.channels, &Place::of(site, console), now).await
}

/// Sends a test through every channel of the site.
///
/// # Errors
///
/// When the history fails.
pub async fn test(
    site: &SiteFile,
    history: &Arc<History>,
    console: Option<String>,
) -> Result<Vec<Told>, HistoryError> {
    let channels = Channels::of(site, &secrets());
    let place = Place::of(site, console);
    test_channels(history, &channels.channels, &channels.pings, &place, Timestamp::now()).await
}

/// Runs until the task is dropped.
pub(crate) async fn run(service: Service) {
    loop {
        if let Err(error) = look(&service).await {
            tracing::warn!("alerts could not be brought up to date: {error}");
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn look(service: &Service) -> Result<(), HistoryError> {
    let view = service.site();
    let site = view.site.clone();
    let channels = Channels::of(&site.file, &secrets());
    let policy = channels.policy(&site.file);
    let again = service.clone();
    let notices = service
        .with_history(move |history| {
            let now = Timestamp::now();
            let standing = Standing::of_service(&again, history, now)?;
            settle(history, &standing.conditions, &policy, now)
        })
        .await?;
    if !notices.is_empty() {
        let _ = service.live.send(Arc::new(Live { topic: "alert", json: "{\"event\":\"changed\"}".into() }));
    }
    let place = Place::of(&site.file, service.console_url());
    deliver(&service.history, &channels.channels, &place, Timestamp::now()).await?;
    Ok(())
}

/// Tells the pings of the beginning and the end of every backup, until the task is dropped.
pub(crate) async fn ping_runs(service: Service) {
    let mut events = service.live.subscribe();
    loop {
        let event = match events.recv().await {
            Ok(event) if event.topic == "run" => event,
            Ok(_) | Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let Ok(event) = serde_json::from_str::<serde_json::Value>(&event.json) else { continue };
        let (Some(run), Some(kind)) = (event["of"].as_str(), event["event"].as_str()) else { continue };
        if kind == "begun" && event["task"] == Task::Backup.as_str() || kind == "over" {
            // Nobody waits for a party that does not answer.
            tokio::spawn(tell_run(service.clone(), run.to_owned(), kind == "over"));
        }
    }
}

async fn tell_run(service: Service, run: String, over: bool) {
    let site = service.site().site;
    let pings = Channels::of(&site.file, &secrets()).pings;
    if pings.is_empty() {
        return;
    }
    let name = run.clone();
    let found = service.with_history(move |history| history.run(&name)).await.ok().flatten();
    let Some(details) = found.filter(|details| details.run.task == Task::Backup) else { return };
    let (signal, body) = match (over, details.run.outcome) {
        (false, _) => (Signal::Start, String::new()),
        (true, Some(Outcome::Complete)) => (Signal::Success, "complete".to_owned()),
        (true, Some(outcome)) => {
            let why = details.run.failure.unwrap_or_else(|| format!("{} problems", details.run.problems));
            // An incomplete set is a set, and somebody must look all the same.
            (Signal::Fail, format!("{outcome}: {why}"))
        }
        (true, None) => (Signal::Fail, "the run died".to_owned()),
    };
    if let Err(error) = ping(&service.history, &pings, signal, &uuid_of(&run), &body, Timestamp::now()).await
    {
        tracing::warn!("a ping could not be recorded: {error}");
    }
}

/// A UUID (version 8, RFC 9562) that names a run: begin and end of it are told with the same one.
fn uuid_of(run: &str) -> String {
    use sha2::{Digest, Sha256};
    let mut bytes: [u8; 16] = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(run.as_bytes())[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_one_uuid_of_its_own() {
        let uuid = uuid_of("20261125T092443Z-8199");
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid, uuid_of("20261125T092443Z-8199"));
        assert_ne!(uuid, uuid_of("20261125T092443Z-8200"));
        assert!(uuid.as_bytes()[14] == b'8' && b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
    }
}
