//! What happens now, as a stream of server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use futures::stream::unfold;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::live::Live;
use crate::web::App;

/// How long one stream lasts. Who listens comes again, and is asked anew whether they may.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// How often a stream on which nothing happens says that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct Listening {
    live: broadcast::Receiver<Arc<Live>>,
    stop: watch::Receiver<bool>,
    until: Instant,
}

impl Listening {
    /// The next thing to tell; nothing when the stream ends.
    async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            told = self.live.recv() => match told {
                Ok(live) => Some(Event::default().event(live.topic).data(&live.json)),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    Some(Event::default().event("lagged").data(format!("{{\"missed\":{missed}}}")))
                }
                Err(broadcast::error::RecvError::Closed) => None,
            },
            _ = self.stop.wait_for(|stop| *stop) => None,
            () = tokio::time::sleep_until(self.until) => None,
        }
    }
}

/// Tells what happens, as it happens: `run` (events of runs under way), `queue` (what it looks like), `alert`. Who reads too slowly is told
/// `lagged` with how many were missed, and goes on. The stream ends after a quarter of an hour: come again.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "runs",
    responses((status = 200, description = "Server-sent events; the data of each is JSON", body = String, content_type = "text/event-stream"))
)]
pub(super) async fn stream(
    State(app): State<App>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + Send + 'static> {
    let listening = Listening {
        live: app.service.live.subscribe(),
        stop: app.stopping(),
        until: Instant::now() + LONGEST,
    };
    let events = unfold(listening, |mut listening| async move {
        let event = listening.next().await?;
        Some((Ok(event), listening))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
