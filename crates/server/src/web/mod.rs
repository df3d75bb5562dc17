//! HTTP: one table of routes with the least role of each, and what stands around it: TLS, host names, headers, limits.
//!
//! Nothing is served that is not in the table ([`table`]), and no handler runs before the guard has let the caller in.

mod certificate;
mod connection;
mod cookies;
mod door;
mod guard;
mod hosts;
mod listen;
mod outside;
mod problem;
mod table;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::sync::watch;

pub use certificate::CertificateError;
pub(crate) use cookies::{cookie, set_cookie};
pub(crate) use door::safe_next;
pub use guard::Peer;
pub use hosts::Hosts;
pub use listen::{ListenError, Listener, Settings};
pub use problem::{PROBLEM_JSON, Problem};
pub use table::{Least, Route, router, table};
pub use tls::{Tls, TlsFrom};

use crate::access::{Access, Caller};
use crate::service::Service;

/// What every handler may use. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The service.
    pub service: Service,
    /// Who may come in.
    pub access: Arc<Access>,
    facts: Arc<Facts>,
}

struct Facts {
    hosts: Hosts,
    secure: bool,
    cookie: String,
    limits: Limits,
    stop: watch::Receiver<bool>,
}

/// How long things may take, and how many there may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until a client has sent the head of a request.
    pub head: Duration,
    /// From the head of a request to that of the answer; what the client still sends is in it.
    pub answer: Duration,
    /// How long a connection may stay without a request.
    pub idle: Duration,
    /// How long a client may take nothing of what waits for it.
    pub stall: Duration,
    /// How long connections may take to end when the service stops.
    pub stop: Duration,
    /// Connections at once; the next ones wait.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self { head: s(10), answer: s(60), idle: s(30), stall: s(60), stop: s(10), connections_max: 256 }
    }
}

/// The largest body of a request, in bytes: forms and small JSON objects.
const BODY_BYTES_MAX: usize = 64 * 1024;

impl App {
    /// What the handlers of a server use. `stop` becomes true when the server is about to end.
    pub fn new(
        service: Service,
        access: Arc<Access>,
        hosts: Hosts,
        limits: Limits,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let secure = hosts.is_secure();
        // Cookies do not tell ports apart: two sites on one machine must not sign each other out. And with TLS the prefix makes
        // the browser refuse one that was set without.
        let prefix = if secure { "__Host-" } else { "" };
        let cookie = format!("{prefix}stillpoint-{}", service.code());
        Self { service, access, facts: Arc::new(Facts { hosts, secure, cookie, limits, stop }) }
    }

    /// Becomes true when the server is about to end; streams end then.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.facts.stop.clone()
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        parts.extensions.get::<Caller>().cloned().ok_or_else(Problem::unauthorized)
    }
}
