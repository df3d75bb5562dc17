//! Telling what is to be told. What was to be told is in the history before the first try, and is only taken from it when a channel
//! took it: a crash between the two tells it twice, which is better than never.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use stillpoint_history::{Alert, AlertQuery, AlertState, Delivery, History, HistoryError, NoticeKind};

use crate::channel::{Channel, ChannelError, DEADLINE, Ping, Signal};
use crate::notice::{Message, Place, test_alert};

/// How long after the first failure a notice is tried again; after each further one twice as long.
const PAUSE: SignedDuration = SignedDuration::from_mins(1);

/// The longest time between two tries. It is tried until it works, or until its channel or alert is no longer there.
const PAUSE_MAX: SignedDuration = SignedDuration::from_hours(1);

/// How often a channel that forgets is told again what is active: Alertmanager keeps no alerts over its own restart.
const RENEW_EVERY: SignedDuration = SignedDuration::from_mins(5);

/// How many alerts it is told again at most.
const RENEWED_MAX: usize = 1000;

/// What became of one thing that was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The name of the channel.
    pub channel: String,
    /// The alert; missing for a test and for a ping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<i64>,
    /// Why it was not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ChannelError>,
}

/// Tells every channel what it has yet to be told by now. The channels do not wait for each other; one that fails is left alone until
/// the next time that this is asked for, and what it did not take until its pause is over. To be asked for after each [`crate::settle()`],
/// and about every minute. It may be dropped at any point.
///
/// # Errors
///
/// When the database fails. What was told and could not be written down is told again.
pub async fn deliver(
    history: &Arc<History>,
    channels: &[Channel],
    place: &Place,
    now: Timestamp,
) -> Result<Vec<Told>, HistoryError> {
    deliver_within(history, channels, place, now, DEADLINE).await
}

/// As [`deliver`], with a deadline for each notice.
pub(crate) async fn deliver_within(
    history: &Arc<History>,
    channels: &[Channel],
    place: &Place,
    now: Timestamp,
    deadline: Duration,
) -> Result<Vec<Told>, HistoryError> {
    let all = join_all(channels.iter().map(|channel| one_channel(history, channel, place, now, deadline)));
    let mut told = Vec::new();
    for of_channel in all.await {
        told.extend(of_channel?);
    }
    Ok(told)
}

async fn one_channel(
    history: &Arc<History>,
    channel: &Channel,
    place: &Place,
    now: Timestamp,
    deadline: Duration,
) -> Result<Vec<Told>, HistoryError> {
    let name = channel.name.clone();
    let waiting = with(history, move |history| history.waiting(&name, now, PAUSE_MAX)).await?;
    let mut told = Vec::new();
    for (delivery, alert) in waiting {
        let result =
            channel.tell(&Message { place, kind: delivery.notice, alert: &alert, now }, deadline).await;
        write_down(history, &delivery, result.as_ref().err(), now).await?;
        told.push(outcome(channel, &delivery, &alert, result));
        if told.last().is_some_and(|it| it.error.is_some()) {
            return Ok(told);
        }
    }
    if channel.forgets() {
        told.extend(renew(history, channel, place, now, deadline).await?);
    }
    Ok(told)
}

/// Tells all that is active again when nothing was told, or tried, for a while.
async fn renew(
    history: &Arc<History>,
    channel: &Channel,
    place: &Place,
    now: Timestamp,
    deadline: Duration,
) -> Result<Vec<Told>, HistoryError> {
    let name = channel.name.clone();
    let (states, active) = with(history, move |history| {
        let query = AlertQuery { states: vec![AlertState::Active], limit: RENEWED_MAX };
        Ok((history.channels()?, history.alerts(&query)?))
    })
    .await?;
    let last = states.iter().find(|it| it.name == name).and_then(|it| it.last_good.max(it.last_failed));
    if last.is_some_and(|last| now.duration_since(last).abs() < RENEW_EVERY) {
        return Ok(Vec::new());
    }
    let messages: Vec<Message<'_>> = active
        .iter()
        .filter(|alert| channel.listener().hears(alert))
        .map(|alert| Message { place, kind: NoticeKind::Reminder, alert, now })
        .collect();
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let result = channel.renew(&messages, deadline).await;
    record(history, vec![(name, result)], now).await
}

async fn write_down(
    history: &Arc<History>,
    delivery: &Delivery,
    error: Option<&ChannelError>,
    now: Timestamp,
) -> Result<(), HistoryError> {
    let (delivery, error) = (delivery.clone(), error.map(ChannelError::to_string));
    with(history, move |history| match error {
        None => history.was_told(delivery.id, &delivery.channel, now),
        Some(error) => {
            let next = now.saturating_add(pause(delivery.tries)).unwrap_or(Timestamp::MAX);
            history.was_not_told(delivery.id, &delivery.channel, &error, now, next)
        }
    })
    .await
}

fn outcome(channel: &Channel, delivery: &Delivery, alert: &Alert, result: Result<(), ChannelError>) -> Told {
    let (name, notice, kind) = (channel.name.as_str(), delivery.notice.as_str(), alert.kind.as_str());
    match &result {
        Ok(()) => tracing::info!(channel = name, notice, kind, "told"),
        Err(error) => tracing::warn!(channel = name, notice, kind, "not told: {error}"),
    }
    Told { channel: channel.name.clone(), alert: Some(alert.id), error: result.err() }
}

/// How long after a failure that was the `tries`-th after the first.
fn pause(tries: u32) -> SignedDuration {
    PAUSE.saturating_mul(1_i32.checked_shl(tries.min(16)).unwrap_or(i32::MAX)).min(PAUSE_MAX)
}

/// Sends a test through each channel, and a line for the record to each ping. Returns one result for each, in their order.
///
/// # Errors
///
/// When the database fails.
pub async fn test_channels(
    history: &Arc<History>,
    channels: &[Channel],
    pings: &[Ping],
    place: &Place,
    now: Timestamp,
) -> Result<Vec<Told>, HistoryError> {
    let alert = test_alert(now);
    let message = Message { place, kind: NoticeKind::Test, alert: &alert, now };
    let of_channels = join_all(
        channels.iter().map(async |channel| (channel.name.clone(), channel.tell(&message, DEADLINE).await)),
    );
    let text = message.text();
    let of_pings = join_all(
        pings
            .iter()
            .map(async |ping| (ping.name.clone(), ping.send(Signal::Log, None, &text, DEADLINE).await)),
    );
    let (mut all, of_pings) = futures::future::join(of_channels, of_pings).await;
    all.extend(of_pings);
    record(history, all, now).await
}

/// Tells each ping of a run. `run` is a UUID that pairs its begin with its end, `body` what is kept of it there: of more than 100 kB
/// the end. Takes up to half a minute when they cannot be reached, so nobody should wait for it.
///
/// # Errors
///
/// When the database fails.
pub async fn ping(
    history: &Arc<History>,
    pings: &[Ping],
    signal: Signal,
    run: &str,
    body: &str,
    now: Timestamp,
) -> Result<Vec<Told>, HistoryError> {
    let all = join_all(
        pings
            .iter()
            .map(async |ping| (ping.name.clone(), ping.send(signal, Some(run), body, DEADLINE).await)),
    );
    record(history, all.await, now).await
}

async fn record(
    history: &Arc<History>,
    results: Vec<(String, Result<(), ChannelError>)>,
    now: Timestamp,
) -> Result<Vec<Told>, HistoryError> {
    let told: Vec<Told> = results
        .into_iter()
        .map(|(channel, result)| Told { channel, alert: None, error: result.err() })
        .collect();
    let kept = told.clone();
    with(history, move |history| {
        for it in &kept {
            let error = it.error.as_ref().map(ChannelError::to_string);
            history.channel_did(&it.channel, error.as_deref(), now)?;
        }
        Ok(())
    })
    .await?;
    Ok(told)
}

/// The database may wait for another process, and nobody else should.
async fn with<T: Send + 'static>(
    history: &Arc<History>,
    work: impl FnOnce(&History) -> Result<T, HistoryError> + Send + 'static,
) -> Result<T, HistoryError> {
    let history = Arc::clone(history);
    let done = tokio::task::spawn_blocking(move || work(&history)).await;
    done.unwrap_or_else(|_| Err(HistoryError::Refused("the work on the history was ended".into())))
}
