//! Questions about alerts, and what a person does with them. The rules and the life cycle are elsewhere (`stillpoint-alerts`); here is
//! what must hold in the tables: one open alert for a kind and subject, one waiting notice for an alert and channel.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, named_params, params};

use crate::alert::{Alert, AlertQuery, AlertState, ChannelState, Delivery};
use crate::alert_book::{ALERT, AlertBook, DELIVERY, alert_of, delivery_of};
use crate::runs::{count, instant};
use crate::{History, HistoryError};

impl History {
    /// Reads and changes alerts in one transaction: all of it is kept, or nothing. `work` must use the book only, and not the
    /// history, which waits for it.
    ///
    /// # Errors
    ///
    /// What `work` fails with, and when the database fails.
    pub fn change_alerts<T>(
        &self,
        work: impl FnOnce(&AlertBook<'_>) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        let mut connection = self.connection();
        // Immediate: what is read is still so when the change is written, also beside another process.
        let change = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let done = work(&AlertBook { connection: &change })?;
        change.commit()?;
        Ok(done)
    }

    /// The alerts, those that changed last first.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn alerts(&self, query: &AlertQuery) -> Result<Vec<Alert>, HistoryError> {
        let all = [AlertState::Active, AlertState::Postponed, AlertState::Cleared];
        let states = if query.states.is_empty() { all.as_slice() } else { &query.states };
        let states: Vec<String> = states.iter().map(|state| format!("'{state}'")).collect();
        let states = states.join(", ");
        let text = format!(
            "SELECT {ALERT} FROM alerts WHERE state IN ({states}) ORDER BY changed DESC, id DESC LIMIT ?1"
        );
        let limit = if query.limit == 0 { 100 } else { query.limit };
        let connection = self.connection();
        let mut statement = connection.prepare_cached(&text)?;
        let rows = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], alert_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// One alert.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn alert(&self, id: i64) -> Result<Option<Alert>, HistoryError> {
        AlertBook { connection: &self.connection() }.alert(id)
    }

    /// A person says that an alert may rest until then. Nothing more is told of it before, unless it gets worse or ends.
    ///
    /// # Errors
    ///
    /// [`HistoryError::Refused`] for an alert that is not there or is cleared, and for a date that is over.
    pub fn postpone_alert(&self, id: i64, until: Timestamp, now: Timestamp) -> Result<(), HistoryError> {
        if until <= now {
            return Err(HistoryError::Refused(
                "an alert can only be postponed to a date that is yet to come".into(),
            ));
        }
        self.change_alerts(|book| {
            book.open_one(id)?;
            book.connection.execute(
                "UPDATE alerts SET state = 'postponed', postponed_until = ?2, changed = ?3 WHERE id = ?1",
                params![id, until.as_millisecond(), now.as_millisecond()],
            )?;
            book.drop_waiting(id)
        })
    }

    /// A person closes an alert. Its end is told to whom it was told; it stays closed until its condition is gone and comes back,
    /// gets worse, or has another cause.
    ///
    /// # Errors
    ///
    /// [`HistoryError::Refused`] for an alert that is not there or is cleared.
    pub fn close_alert(
        &self,
        id: i64,
        person: &str,
        comment: &str,
        now: Timestamp,
    ) -> Result<(), HistoryError> {
        self.change_alerts(|book| {
            book.open_one(id)?;
            book.clear(id, Some(person), true, now)?;
            book.connection.execute("UPDATE alerts SET comment = ?2 WHERE id = ?1", params![id, comment])?;
            Ok(())
        })
    }

    /// A person says something of an alert.
    ///
    /// # Errors
    ///
    /// [`HistoryError::Refused`] for an alert that is not there.
    pub fn comment_alert(&self, id: i64, comment: &str) -> Result<(), HistoryError> {
        let changed = self
            .connection()
            .execute("UPDATE alerts SET comment = ?2 WHERE id = ?1", params![id, comment])?;
        if changed == 0 { Err(HistoryError::Refused(format!("there is no alert {id}"))) } else { Ok(()) }
    }

    /// What was told of an alert, and has yet to be told, oldest first.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn deliveries(&self, alert: i64) -> Result<Vec<Delivery>, HistoryError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(&format!("SELECT {DELIVERY} FROM deliveries WHERE alert = ?1 ORDER BY id"))?;
        let rows = statement.query_map([alert], delivery_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What a channel has yet to be told by now, with the alerts, oldest first. A date that is further away than `pause_max`
    /// was made by a clock that has since been set back, and is no reason to wait.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn waiting(
        &self,
        channel: &str,
        now: Timestamp,
        pause_max: jiff::SignedDuration,
    ) -> Result<Vec<(Delivery, Alert)>, HistoryError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {DELIVERY} FROM deliveries WHERE channel = :channel AND told IS NULL
             AND (next_try <= :now OR next_try > :far) ORDER BY id"
        ))?;
        let far =
            now.as_millisecond().saturating_add(i64::try_from(pause_max.as_millis()).unwrap_or(i64::MAX));
        let named = named_params! { ":channel": channel, ":now": now.as_millisecond(), ":far": far };
        let waiting: Vec<Delivery> = statement.query_map(named, delivery_of)?.collect::<Result<_, _>>()?;
        let book = AlertBook { connection: &connection };
        let mut found = Vec::with_capacity(waiting.len());
        for delivery in waiting {
            if let Some(alert) = book.alert(delivery.alert)? {
                found.push((delivery, alert));
            }
        }
        Ok(found)
    }

    /// A channel took a notice. Written after it did: a crash between the two tells it twice, never not at all.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn was_told(&self, delivery: i64, channel: &str, at: Timestamp) -> Result<(), HistoryError> {
        self.change_alerts(|book| {
            book.connection.execute(
                "UPDATE deliveries SET told = ?2, error = NULL WHERE id = ?1",
                params![delivery, at.as_millisecond()],
            )?;
            book.channel_did(channel, None, at)
        })
    }

    /// A channel did not take a notice; it is tried again at `next_try`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn was_not_told(
        &self,
        delivery: i64,
        channel: &str,
        error: &str,
        at: Timestamp,
        next_try: Timestamp,
    ) -> Result<(), HistoryError> {
        self.change_alerts(|book| {
            book.connection.execute(
                "UPDATE deliveries SET tries = tries + 1, next_try = ?2, error = ?3 WHERE id = ?1",
                params![delivery, next_try.as_millisecond(), error],
            )?;
            book.channel_did(channel, Some(error), at)
        })
    }

    /// A channel was tried for something that is no alert (a test, a ping): how that went.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn channel_did(&self, name: &str, error: Option<&str>, at: Timestamp) -> Result<(), HistoryError> {
        AlertBook { connection: &self.connection() }.channel_did(name, error, at)
    }

    /// How the channels do, by name.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn channels(&self) -> Result<Vec<ChannelState>, HistoryError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT name, last_good, last_failed, failures, error FROM channels ORDER BY name",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(ChannelState {
                name: row.get(0)?,
                last_good: row.get::<_, Option<i64>>(1)?.map(instant),
                last_failed: row.get::<_, Option<i64>>(2)?.map(instant),
                failures: count(row.get(3)?),
                error: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Lets alerts go that were cleared before then, with what was told of them.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn let_alerts_go(&self, before: Timestamp) -> Result<u64, HistoryError> {
        self.change_alerts(|book| {
            const OLD: &str = "state = 'cleared' AND holds = 0 AND changed < ?1";
            let before = before.as_millisecond();
            book.connection.execute(
                &format!("DELETE FROM deliveries WHERE alert IN (SELECT id FROM alerts WHERE {OLD})"),
                [before],
            )?;
            Ok(book.connection.execute(&format!("DELETE FROM alerts WHERE {OLD}"), [before])? as u64)
        })
    }

    /// The epoch of the newest version of an archive that the history knows, and when the run that saved it began.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn newest_version(&self, archive: &str) -> Result<Option<(u64, Timestamp)>, HistoryError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT v.epoch, r.started FROM versions v JOIN runs r ON r.id = v.run WHERE v.archive = ?1
             ORDER BY v.epoch DESC LIMIT 1",
        )?;
        Ok(statement.query_row([archive], |row| Ok((count(row.get(0)?), instant(row.get(1)?)))).optional()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AlertWords, NoticeKind};
    use stillpoint_model::site_file::AlertSeverity;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn history() -> (tempfile::TempDir, History) {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(&folder.path().join("P01.db")).unwrap();
        (folder, history)
    }

    const WORDS: AlertWords<'_> = AlertWords {
        instance: "run-1",
        severity: AlertSeverity::Warning,
        title: "a title",
        text: "a text",
        remedy: "a remedy",
    };

    fn open(history: &History, kind: &str) -> i64 {
        history.change_alerts(|book| book.open(kind, "", &WORDS, at(0), at(1))).unwrap()
    }

    #[test]
    fn there_is_one_open_alert_for_a_kind_and_subject_and_a_failed_change_leaves_nothing() {
        let (_folder, history) = history();
        let first = open(&history, "run-failed");
        let again = history.change_alerts(|book| {
            book.tell(first, "mail", NoticeKind::Begun, at(1))?;
            book.open("run-failed", "", &WORDS, at(0), at(1))
        });
        assert!(again.is_err());
        assert!(history.deliveries(first).unwrap().is_empty(), "half of a change was kept");
        history.close_alert(first, "anna", "known", at(5)).unwrap();
        let second = open(&history, "run-failed");
        let all = history.alerts(&AlertQuery::default()).unwrap();
        assert_eq!(
            all.iter().map(|alert| alert.id).collect::<Vec<_>>(),
            [first, second],
            "last change first"
        );
        let cleared =
            &history.alerts(&AlertQuery { states: vec![AlertState::Cleared], limit: 1 }).unwrap()[0];
        assert_eq!((cleared.closed_by.as_deref(), cleared.comment.as_str()), (Some("anna"), "known"));
        assert_eq!((cleared.began, cleared.changed, cleared.holds), (at(0), at(5), true));
    }

    #[test]
    fn what_is_not_there_or_over_cannot_be_postponed_or_closed() {
        let (_folder, history) = history();
        let id = open(&history, "run-failed");
        let refused = |result: Result<(), HistoryError>| matches!(result, Err(HistoryError::Refused(_)));
        assert!(refused(history.postpone_alert(id, at(5), at(5))));
        assert!(refused(history.postpone_alert(id + 1, at(9), at(5))));
        assert!(refused(history.comment_alert(id + 1, "x")));
        history.postpone_alert(id, at(9), at(5)).unwrap();
        assert_eq!(history.alert(id).unwrap().unwrap().postponed_until, Some(at(9)));
        history.close_alert(id, "anna", "", at(6)).unwrap();
        assert!(refused(history.close_alert(id, "anna", "", at(7))));
        assert!(refused(history.postpone_alert(id, at(9), at(7))));
    }

    #[test]
    fn the_newest_notice_takes_the_place_of_one_that_waits_and_keeps_its_patience() {
        let (_folder, history) = history();
        let id = open(&history, "run-failed");
        let pause = jiff::SignedDuration::from_hours(1);
        history.change_alerts(|book| book.tell(id, "mail", NoticeKind::Begun, at(1))).unwrap();
        let (first, alert) = history.waiting("mail", at(1), pause).unwrap().pop().unwrap();
        assert_eq!((alert.id, first.notice, first.tries), (id, NoticeKind::Begun, 0));
        history.was_not_told(first.id, "mail", "refused", at(1), at(61)).unwrap();
        history.change_alerts(|book| book.tell(id, "mail", NoticeKind::Worsened, at(2))).unwrap();
        assert!(history.waiting("mail", at(60), pause).unwrap().is_empty(), "it is told too soon");
        let (second, _) = history.waiting("mail", at(61), pause).unwrap().pop().unwrap();
        assert_eq!((second.id, second.notice, second.tries), (first.id, NoticeKind::Worsened, 1));
        let years_before = at(-100_000_000);
        assert_eq!(history.waiting("mail", years_before, pause).unwrap().len(), 1, "the clock was set back");
        history.was_told(second.id, "mail", at(61)).unwrap();
        assert!(history.waiting("mail", at(99), pause).unwrap().is_empty());
        history.close_alert(id, "anna", "", at(70)).unwrap();
        let (end, _) = history.waiting("mail", at(70), pause).unwrap().pop().unwrap();
        assert_eq!(end.notice, NoticeKind::Cleared);
        assert!(history.waiting("other", at(70), pause).unwrap().is_empty(), "it never heard of it");
    }

    #[test]
    fn a_channel_counts_its_failures_until_it_works() {
        let (_folder, history) = history();
        for second in 1..=3 {
            history.channel_did("mail", Some("no route"), at(second)).unwrap();
        }
        let state = &history.channels().unwrap()[0];
        assert_eq!((state.failures, state.last_failed, state.last_good), (3, Some(at(3)), None));
        assert_eq!(state.error.as_deref(), Some("no route"));
        history.channel_did("mail", None, at(4)).unwrap();
        let state = &history.channels().unwrap()[0];
        assert_eq!((state.failures, state.last_good, state.error.as_deref()), (0, Some(at(4)), None));
        history.channel_did("other", None, at(4)).unwrap();
        history.change_alerts(|book| book.keep_channels(&["other"])).unwrap();
        assert_eq!(history.channels().unwrap().len(), 1);
    }

    #[test]
    fn what_is_long_over_is_let_go_with_its_deliveries_and_what_holds_stays() {
        let (_folder, history) = history();
        let (over, closed) = (open(&history, "run-failed"), open(&history, "no-success"));
        for id in [over, closed] {
            history.change_alerts(|book| book.tell(id, "mail", NoticeKind::Begun, at(1))).unwrap();
        }
        history.change_alerts(|book| book.clear(over, None, false, at(2))).unwrap();
        history.close_alert(closed, "anna", "", at(2)).unwrap();
        assert_eq!(history.let_alerts_go(at(2)).unwrap(), 0);
        assert_eq!(history.let_alerts_go(at(3)).unwrap(), 1);
        assert!(history.alert(over).unwrap().is_none() && history.deliveries(over).unwrap().is_empty());
        assert!(history.alert(closed).unwrap().is_some() && !history.deliveries(closed).unwrap().is_empty());
    }

    /// With millions of messages and runs a scan would be felt each time that the rules look.
    #[test]
    fn the_questions_of_the_rules_are_answered_by_an_index() {
        let (_folder, history) = history();
        let connection = history.connection();
        for (text, index) in [
            (
                "SELECT m.id FROM messages m LEFT JOIN runs r ON r.id = m.run WHERE m.id < 9 AND m.severity > 0 AND m.number = ?1 ORDER BY m.id DESC LIMIT 1",
                "messages_of_trouble",
            ),
            (
                "SELECT v.epoch FROM versions v JOIN runs r ON r.id = v.run WHERE v.archive = ?1 ORDER BY v.epoch DESC LIMIT 1",
                "versions_by_archive",
            ),
            ("SELECT * FROM runs WHERE ended IS NULL ORDER BY started", "runs_under_way"),
            ("SELECT * FROM alerts WHERE holds = 1 ORDER BY id", "alerts_holding"),
            (
                "SELECT * FROM deliveries WHERE channel = ?1 AND told IS NULL AND (next_try <= 1 OR next_try > 9) ORDER BY id",
                "deliveries_waiting",
            ),
        ] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
            let values = vec!["x"; plan.parameter_count()];
            let steps: Vec<String> = plan
                .query_map(rusqlite::params_from_iter(values), |row| row.get::<_, String>(3))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            assert!(steps.iter().any(|step| step.contains(index)), "{text}\n{steps:#?}");
        }
    }
}
