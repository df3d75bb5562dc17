//! Pings: an outside party is told of each run, and so notices when there are none because the whole machine is gone.
//! The words are those of Healthchecks.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::HeaderMap;

use super::http::{Post, Web, header};
use super::{ChannelError, Secret, within};
use crate::settle::Listener;

/// How much of a body is kept by the other side, in bytes; of what is longer the end is sent, where the verdict is.
const BODY_MAX: usize = 100_000;

/// The pauses between the tries: a ping that is lost on the way wakes somebody up.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// Who is told of runs.
#[derive(Debug, Clone)]
pub struct Ping {
    /// Its name in the site file.
    pub name: String,
    /// The address of the check, such as `https://hc-ping.com/UUID`. Whoever knows it may use it.
    pub url: Secret,
    /// As in [`Web`].
    pub ca: Option<PathBuf>,
}

/// What it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// A run begins.
    Start,
    /// It went well.
    Success,
    /// It failed.
    Fail,
    /// Something for the record, which changes nothing.
    Log,
}

impl Ping {
    /// What the life of an alert needs to know of it.
    pub fn listener(&self) -> Listener {
        Listener { name: self.name.clone(), least: None }
    }

    /// Sends one signal; `run` is a UUID that pairs the begin of a run with its end. Tries three times, each within `deadline`, when
    /// the failure may pass.
    pub(crate) async fn send(
        &self,
        signal: Signal,
        run: Option<&str>,
        body: &str,
        deadline: Duration,
    ) -> Result<(), ChannelError> {
        let web = Web { url: self.url.clone(), authorization: None, ca: self.ca.clone() };
        let mut pauses = PAUSES.into_iter();
        loop {
            let Err(trouble) = within(deadline, web.post(post(signal, run, body))).await else {
                return Ok(());
            };
            match pauses.next().filter(|_| trouble.passes) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(trouble.of(&self.name, "ping")),
            }
        }
    }
}

fn post(signal: Signal, run: Option<&str>, body: &str) -> Post {
    let below: &'static [&'static str] = match signal {
        Signal::Start => &["start"],
        Signal::Success => &[],
        Signal::Fail => &["fail"],
        Signal::Log => &["log"],
    };
    let mut from = body.len().saturating_sub(BODY_MAX);
    while !body.is_char_boundary(from) {
        from += 1;
    }
    Post {
        below,
        query: run.map(|run| ("rid", run.to_owned())),
        headers: HeaderMap::from_iter(header("content-type", "text/plain; charset=utf-8")),
        body: body.as_bytes()[from..].to_vec(),
        scheme: "",
    }
}
