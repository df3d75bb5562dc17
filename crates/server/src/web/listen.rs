//! Listening: on loopback in the clear, elsewhere only with TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::connection::{Door, serve};
use super::{CertificateError, Hosts, Limits, Tls, TlsFrom};
use crate::access::Clock;
use crate::blocking::blocking;

/// Where and how to listen.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address and port; with port 0 any free one.
    pub listen: SocketAddr,
    /// The certificate; without one only an address of the machine itself will do.
    pub tls: Option<TlsFrom>,
    /// More host names to answer for.
    pub names: Vec<String>,
    /// How long things may take.
    pub limits: Limits,
}

/// Why it cannot be listened. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Passwords would go over the wire in the clear.
    #[error(
        "{0} is reached from other machines, and passwords would go over the wire in the clear: write tls = \"generated\" in [console] of the site file, or name a certificate and its key, or listen at 127.0.0.1"
    )]
    NeedsTls(SocketAddr),
    /// Another program listens there.
    #[error(
        "the port of {0} is in use: end the program that listens there (ss -ltnp), or set `listen` in [console] to another port"
    )]
    InUse(SocketAddr),
    /// It cannot be listened there.
    #[error("cannot listen at {at}: {why}")]
    Listen {
        /// The address.
        at: SocketAddr,
        /// Why.
        why: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// A port that is listened at; clients wait until it serves.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<(Arc<Tls>, TlsAcceptor)>,
    limits: Limits,
    hosts: Hosts,
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// A [`ListenError`] that says why not.
    pub async fn bind(settings: &Settings, clock: Clock) -> Result<Self, ListenError> {
        let at = settings.listen;
        let tls = match settings.tls.clone() {
            None if !at.ip().is_loopback() => return Err(ListenError::NeedsTls(at)),
            None => None,
            Some(from) => {
                let failed = |why: String| ListenError::Listen { at, why: std::io::Error::other(why) };
                let opened = blocking(move || Tls::open(from, clock)).await;
                let tls = opened.map_err(|error| failed(error.to_string()))??;
                let acceptor = TlsAcceptor::from(tls.settings()?);
                Some((tls, acceptor))
            }
        };
        let socket = TcpListener::bind(at).await.map_err(|why| match why.kind() {
            std::io::ErrorKind::AddrInUse => ListenError::InUse(at),
            _ => ListenError::Listen { at, why },
        })?;
        let address = socket.local_addr().map_err(|why| ListenError::Listen { at, why })?;
        let hosts = Hosts::new(address.ip(), &settings.names, tls.as_ref().map(|(tls, _)| tls.clone()));
        Ok(Self { socket, address, tls, limits: settings.limits, hosts })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address for a browser on this machine.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut at = self.address;
        if at.ip().is_unspecified() {
            at.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        format!("{scheme}://{at}")
    }

    /// The names that it answers for.
    pub fn hosts(&self) -> Hosts {
        self.hosts.clone()
    }

    /// The certificate, to reload it and to show its fingerprint.
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.as_ref().map(|(tls, _)| tls.clone())
    }

    /// Serves until `stop` becomes true or its sender is gone. Then nothing new begins, what is under way is finished, and what
    /// does not finish in time is ended.
    pub async fn serve(self, router: Router, mut stop: watch::Receiver<bool>) {
        let Self { socket, tls, limits, .. } = self;
        let made = tls.as_ref().map(|(tls, _)| tls.clone());
        let door = Door { router, tls: tls.map(|(_, acceptor)| acceptor), limits, stop: stop.clone() };
        let room = Arc::new(Semaphore::new(limits.connections_max));
        let mut connections = JoinSet::new();
        let renewing = tokio::spawn(renew_daily(made));
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = accept(&socket, &room) => accepted,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, peer, place)) => {
                    let door = door.clone();
                    connections.spawn(async move {
                        serve(door, stream, peer.ip()).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // No more files, or a client that went away at once: neither is the end of the service.
                    tracing::warn!("a client could not be let in: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
        drop(socket);
        renewing.abort();
        let all_end = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(limits.stop, all_end).await.is_err() {
            connections.shutdown().await;
        }
    }
}

/// A certificate that we made is looked at each day.
async fn renew_daily(tls: Option<Arc<Tls>>) {
    let Some(tls) = tls else { return };
    loop {
        tokio::time::sleep(std::time::Duration::from_secs(24 * 3600)).await;
        let tls = tls.clone();
        // Only the end of the service keeps it from being done.
        let _ = blocking(move || tls.renew()).await;
    }
}

type Accepted = (tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(socket: &TcpListener, room: &Arc<Semaphore>) -> std::io::Result<Accepted> {
    let place = room.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = socket.accept().await?;
    Ok((stream, peer, place))
}
