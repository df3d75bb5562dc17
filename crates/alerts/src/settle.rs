//! The life of an alert. What is the matter is compared with what is known; the difference is written down together with who must
//! be told, in one transaction. Nothing is sent here.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use stillpoint_history::{Alert, AlertBook, AlertState, History, HistoryError, NoticeKind};

use crate::{AlertKind, AlertSeverity, Condition};

/// Who closed an alert whose kind the site file disables.
pub const CLOSED_BY_SETTINGS: &str = "site file";

/// What is told, how often, and to whom.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// How often an alert that is active is told again; zero never.
    pub remind_every: SignedDuration,
    /// The kinds that are no alerts.
    pub disabled: BTreeSet<AlertKind>,
    /// All channels of the site file.
    pub listeners: Vec<Listener>,
}

/// A channel, as far as the life of an alert needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// From which severity it is told of alerts; missing for one that is not told of alerts at all, such as a ping.
    pub least: Option<AlertSeverity>,
}

impl Listener {
    /// Whether it is told of an alert.
    pub(crate) fn hears(&self, alert: &Alert) -> bool {
        // A channel is not told that it does not work.
        let is_own = alert.kind == AlertKind::ChannelFailed.as_str() && alert.subject == self.name;
        !is_own && self.least.is_some_and(|least| alert.severity >= least)
    }
}

/// Something that was to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What happened to the alert.
    pub kind: NoticeKind,
    /// The alert after it.
    pub alert: Alert,
}

/// Brings the alerts of a site up to date with the conditions that hold, and returns what that was worth telling. What is the same
/// as before changes nothing, so this may be done as often as one likes, by more than one process.
///
/// # Errors
///
/// When the database fails; then nothing was changed.
pub fn settle(
    history: &History,
    conditions: &[Condition],
    policy: &Policy,
    now: Timestamp,
) -> Result<Vec<Notice>, HistoryError> {
    history.change_alerts(|book| {
        let names: Vec<&str> = policy.listeners.iter().map(|listener| listener.name.as_str()).collect();
        book.keep_channels(&names)?;
        let mut settling = Settling { book, policy, now, notices: Vec::new() };
        settling.all(conditions)?;
        Ok(settling.notices)
    })
}

struct Settling<'a> {
    book: &'a AlertBook<'a>,
    policy: &'a Policy,
    now: Timestamp,
    notices: Vec<Notice>,
}

impl Settling<'_> {
    fn all(&mut self, conditions: &[Condition]) -> Result<(), HistoryError> {
        let mut known: BTreeMap<(String, String), Vec<Alert>> = BTreeMap::new();
        for alert in self.book.holding()? {
            known.entry((alert.kind.clone(), alert.subject.clone())).or_default().push(alert);
        }
        for condition in conditions.iter().filter(|condition| !self.policy.disabled.contains(&condition.kind))
        {
            let key = (condition.kind.to_string(), condition.subject.clone());
            // The newest is the open one, if there is one.
            match known.remove(&key).and_then(|mut alerts| alerts.pop()) {
                None => self.begin(condition)?,
                Some(alert) if alert.state == AlertState::Cleared => {
                    self.look_at_closed(&alert, condition)?
                }
                Some(alert) => self.look_at_open(&alert, condition)?,
            }
        }
        for alert in known.into_values().flatten() {
            self.end(&alert)?;
        }
        Ok(())
    }

    fn begin(&mut self, condition: &Condition) -> Result<(), HistoryError> {
        let kind = condition.kind.as_str();
        // An alert that begins in the future (the clock went back) would never be old.
        let began = condition.since.min(self.now);
        let id = self.book.open(kind, &condition.subject, &condition.words(), began, self.now)?;
        self.tell(id, NoticeKind::Begun)
    }

    /// A person closed it, and it holds still: that is heard, unless it is worse or another one.
    fn look_at_closed(&mut self, alert: &Alert, condition: &Condition) -> Result<(), HistoryError> {
        if condition.severity > alert.severity || condition.instance != alert.instance {
            self.book.release(alert.id)?;
            return self.begin(condition);
        }
        Ok(())
    }

    fn look_at_open(&mut self, alert: &Alert, condition: &Condition) -> Result<(), HistoryError> {
        self.book.see_again(alert, &condition.words(), self.now)?;
        let silence = self.now.duration_since(alert.told);
        let every = self.policy.remind_every;
        let is_time = match (alert.state, alert.postponed_until) {
            (AlertState::Postponed, Some(until)) => self.now >= until,
            // A last notice in the future is of a clock that was set back.
            _ => every.is_positive() && (silence >= every || silence.is_negative()),
        };
        if condition.severity > alert.severity {
            self.tell(alert.id, NoticeKind::Worsened)
        } else if is_time {
            self.tell(alert.id, NoticeKind::Reminder)
        } else {
            Ok(())
        }
    }

    fn end(&mut self, alert: &Alert) -> Result<(), HistoryError> {
        if alert.state == AlertState::Cleared {
            return self.book.release(alert.id);
        }
        let is_disabled = self.policy.disabled.iter().any(|kind| kind.as_str() == alert.kind);
        let closed_by = is_disabled.then_some(CLOSED_BY_SETTINGS);
        self.book.clear(alert.id, closed_by, false, self.now)?;
        self.note(alert.id, NoticeKind::Cleared)
    }

    /// The alert is active (again), and every channel that listens is to be told.
    fn tell(&mut self, id: i64, kind: NoticeKind) -> Result<(), HistoryError> {
        self.book.speak(id, self.now)?;
        if let Some(alert) = self.book.alert(id)? {
            for listener in self.policy.listeners.iter().filter(|listener| listener.hears(&alert)) {
                self.book.tell(id, &listener.name, kind, self.now)?;
            }
        }
        self.note(id, kind)
    }

    fn note(&mut self, id: i64, kind: NoticeKind) -> Result<(), HistoryError> {
        self.notices.extend(self.book.alert(id)?.map(|alert| Notice { kind, alert }));
        Ok(())
    }
}
