//! One connection: with or without TLS, HTTP/1.1 or HTTP/2, and never for nothing.
//!
//! A client costs a place among the connections, so each has to earn it: the head of a request must come in time, a connection
//! without a request ends, and so does one whose client takes nothing of what waits for it.

use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::{Limits, Peer};

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Door {
    pub router: Router,
    pub tls: Option<TlsAcceptor>,
    pub limits: Limits,
    pub stop: watch::Receiver<bool>,
}

/// How many streams an HTTP/2 connection may have at once.
const STREAMS_MAX: u32 = 64;

/// How long a connection that is to end may stay when nothing is under way on it.
const FAREWELL: Duration = Duration::from_secs(1);

/// The largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 32 * 1024;

pub(super) async fn serve(door: Door, stream: TcpStream, peer: IpAddr) {
    // Small answers go at once; that it cannot be set is no reason to refuse anybody.
    let _ = stream.set_nodelay(true);
    let stream = Stalling::new(stream, door.limits.stall);
    let Some(acceptor) = door.tls.clone() else {
        return talk(door, stream, peer, false).await;
    };
    match tokio::time::timeout(door.limits.head, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            talk(door, stream, peer, is_h2).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, "no TLS with a client: {error}"),
        Err(_) => tracing::debug!(%peer, "a client did not finish TLS in time"),
    }
}

async fn talk<S>(door: Door, stream: S, peer: IpAddr, is_h2: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Door { router, limits, mut stop, .. } = door;
    let under_way = Arc::new(UnderWay::default());
    let counted = under_way.clone();
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let (router, one) = (router.clone(), One::begin(&counted));
        async move {
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            let response = router.oneshot(request).await?;
            Ok::<_, std::convert::Infallible>(response.map(|body| Counted { body, _one: one }))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Which of the two it is, is known: guessing would wait without a limit for the first bytes.
    builder = if is_h2 { builder.http2_only() } else { builder.http1_only() };
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle)
        .keep_alive_timeout(limits.head)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = stop.wait_for(|stop| *stop) => None,
        () = under_way.idle(limits.idle) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            // A request that came at the last moment is still answered; a client that says nothing gets no more time.
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = under_way.idle(FAREWELL) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, "a connection ended early: {error}");
    }
}

/// How many requests of a connection are under way.
#[derive(Default)]
struct UnderWay {
    count: AtomicUsize,
    changed: Notify,
}

impl UnderWay {
    /// Returns when nothing was under way for so long.
    async fn idle(&self, limit: Duration) {
        loop {
            let changed = self.changed.notified();
            if self.count.load(Ordering::SeqCst) > 0 {
                changed.await;
            } else if tokio::time::timeout(limit, changed).await.is_err() {
                return;
            }
        }
    }
}

/// One request, from its head to the end of its answer.
struct One(Arc<UnderWay>);

impl One {
    fn begin(under_way: &Arc<UnderWay>) -> Self {
        under_way.count.fetch_add(1, Ordering::SeqCst);
        under_way.changed.notify_one();
        Self(under_way.clone())
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_one();
    }
}

/// The body of an answer, which keeps its request under way.
struct Counted {
    body: Body,
    _one: One,
}

impl HttpBody for Counted {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// A stream that fails when its client takes nothing for too long.
struct Stalling {
    stream: TcpStream,
    limit: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Stalling {
    fn new(stream: TcpStream, limit: Duration) -> Self {
        Self { stream, limit, waiting: None }
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.waiting = None;
            return wrote;
        }
        let limit = self.limit;
        let waiting =
            self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl AsyncRead for Stalling {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stalling {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.judge(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wrote = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, wrote)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wrote = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, wrote)
    }
}
