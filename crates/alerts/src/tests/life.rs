//! The life of an alert, on a clock of ours.

use jiff::Timestamp;
use stillpoint_history::{Alert, AlertQuery, AlertState, Delivery, History, HistoryError, NoticeKind};

use super::{at, history, hours};
use crate::{AlertKind, AlertSeverity, CLOSED_BY_SETTINGS, Condition, Listener, Notice, Policy, settle};

use NoticeKind::{Begun, Cleared, Reminder, Worsened};

fn policy() -> Policy {
    let listener = |name: &str, least| Listener { name: name.into(), least };
    Policy {
        remind_every: hours(24),
        listeners: vec![
            listener("all", Some(AlertSeverity::Info)),
            listener("night", Some(AlertSeverity::Critical)),
            listener("ping", None),
        ],
        ..Policy::default()
    }
}

fn failed(severity: AlertSeverity, instance: &str) -> Condition {
    Condition {
        kind: AlertKind::RunFailed,
        subject: "backup".into(),
        instance: instance.into(),
        severity,
        title: format!("{instance} failed"),
        text: "It failed.".into(),
        remedy: "Mend it.".into(),
        since: at(0),
    }
}

fn settled(history: &History, conditions: &[Condition], now: Timestamp) -> Vec<(NoticeKind, AlertState)> {
    let notices = settle(history, conditions, &policy(), now).unwrap();
    notices.iter().map(|notice| (notice.kind, notice.alert.state)).collect()
}

fn newest(history: &History) -> Alert {
    history.alerts(&AlertQuery { limit: 1, ..AlertQuery::default() }).unwrap().pop().unwrap()
}

/// What each channel has yet to be told, and forgets it: as if it had been told.
fn told(history: &History, now: Timestamp) -> Vec<(String, NoticeKind)> {
    let mut all = Vec::new();
    for channel in ["all", "night", "ping"] {
        for (delivery, _) in history.waiting(channel, now, hours(1)).unwrap() {
            history.was_told(delivery.id, channel, now).unwrap();
            all.push((channel.to_owned(), delivery.notice));
        }
    }
    all
}

fn pairs(list: &[(&str, NoticeKind)]) -> Vec<(String, NoticeKind)> {
    list.iter().map(|(channel, kind)| ((*channel).to_owned(), *kind)).collect()
}

#[test]
fn it_is_told_once_reminded_postponed_speaks_up_when_it_worsens_and_its_end_is_told() {
    let (_folder, history) = history();
    let warning = [failed(AlertSeverity::Warning, "one")];
    assert_eq!(settled(&history, &warning, at(1)), [(Begun, AlertState::Active)]);
    assert_eq!(told(&history, at(1)), pairs(&[("all", Begun)]), "below what `night` hears, and no ping");
    for hour in 2..25 {
        assert_eq!(settled(&history, &warning, at(hour)), [], "hour {hour}");
    }
    assert_eq!(settled(&history, &warning, at(25)), [(Reminder, AlertState::Active)]);
    assert_eq!(settled(&history, &warning, at(26)), []);
    assert_eq!(told(&history, at(26)), pairs(&[("all", Reminder)]));

    let id = newest(&history).id;
    history.postpone_alert(id, at(24 * 7), at(27)).unwrap();
    for hour in 28..24 * 7 {
        assert_eq!(settled(&history, &warning, at(hour)), [], "hour {hour}");
    }
    let worse = [failed(AlertSeverity::Critical, "one")];
    assert_eq!(settled(&history, &worse, at(160)), [(Worsened, AlertState::Active)]);
    assert_eq!(told(&history, at(160)), pairs(&[("all", Worsened), ("night", Worsened)]));
    assert_eq!(newest(&history).postponed_until, None);

    assert_eq!(settled(&history, &[], at(161)), [(Cleared, AlertState::Cleared)]);
    assert_eq!(told(&history, at(161)), pairs(&[("all", Cleared), ("night", Cleared)]));
    assert_eq!(settled(&history, &[], at(162)), []);
    let alert = newest(&history);
    assert_eq!((alert.id, alert.began, alert.changed), (id, at(0), at(161)));
    assert_eq!((alert.occurrences, alert.closed_by, alert.holds), (1, None, false));
    assert_eq!(settled(&history, &warning, at(163)), [(Begun, AlertState::Active)], "it is another one");
    assert_ne!(newest(&history).id, id);
}

#[test]
fn when_the_postponed_time_is_over_it_speaks_again() {
    let (_folder, history) = history();
    let warning = [failed(AlertSeverity::Warning, "one")];
    settled(&history, &warning, at(1));
    history.postpone_alert(newest(&history).id, at(50), at(2)).unwrap();
    assert_eq!(told(&history, at(2)), [], "what was not told yet is not told any more");
    assert_eq!(settled(&history, &warning, at(49)), []);
    assert_eq!(newest(&history).state, AlertState::Postponed);
    assert_eq!(settled(&history, &warning, at(50)), [(Reminder, AlertState::Active)]);
    assert_eq!(told(&history, at(50)), pairs(&[("all", Reminder)]));
}

#[test]
fn another_cause_counts_and_words_are_those_of_now() {
    let (_folder, history) = history();
    for (hour, instance) in [(1, "one"), (2, "one"), (3, "two"), (4, "three"), (5, "three")] {
        settled(&history, &[failed(AlertSeverity::Warning, instance)], at(hour));
    }
    let alert = newest(&history);
    assert_eq!((alert.occurrences, alert.title.as_str(), alert.began), (3, "three failed", at(0)));
    assert_eq!(told(&history, at(5)), pairs(&[("all", Begun)]));
}

#[test]
fn one_that_a_person_closed_stays_closed_until_it_is_worse_or_another_one_or_was_gone() {
    let warning = failed(AlertSeverity::Warning, "one");
    let worse = failed(AlertSeverity::Critical, "one");
    let other = failed(AlertSeverity::Warning, "two");
    for comes_back in [&worse, &other] {
        let (_folder, history) = history();
        settled(&history, std::slice::from_ref(&warning), at(1));
        told(&history, at(1));
        history.close_alert(newest(&history).id, "anna", "known", at(2)).unwrap();
        assert_eq!(told(&history, at(2)), pairs(&[("all", Cleared)]));
        assert_eq!(settled(&history, std::slice::from_ref(&warning), at(30)), []);
        assert_eq!(
            settled(&history, std::slice::from_ref(comes_back), at(31)),
            [(Begun, AlertState::Active)]
        );
        assert_eq!(settled(&history, std::slice::from_ref(comes_back), at(32)), []);
        assert_eq!(settled(&history, &[], at(33)), [(Cleared, AlertState::Cleared)]);
    }
    let (_folder, history) = history();
    settled(&history, std::slice::from_ref(&warning), at(1));
    history.close_alert(newest(&history).id, "anna", "", at(2)).unwrap();
    assert_eq!(settled(&history, &[], at(3)), [], "its end was told when it was closed");
    assert_eq!(settled(&history, std::slice::from_ref(&warning), at(4)), [(Begun, AlertState::Active)]);
}

#[test]
fn a_kind_that_the_site_file_disables_is_no_alert_and_what_was_open_ends() {
    let (_folder, history) = history();
    let warning = [failed(AlertSeverity::Warning, "one")];
    settled(&history, &warning, at(1));
    let quiet = Policy { disabled: [AlertKind::RunFailed].into(), ..policy() };
    let ended = settle(&history, &warning, &quiet, at(2)).unwrap();
    let [Notice { kind: Cleared, alert }] = ended.as_slice() else { panic!("{ended:?}") };
    assert_eq!(alert.closed_by.as_deref(), Some(CLOSED_BY_SETTINGS));
    assert_eq!(settle(&history, &warning, &quiet, at(3)).unwrap(), []);
    assert_eq!(settled(&history, &warning, at(4)), [(Begun, AlertState::Active)]);
}

#[test]
fn a_restart_forgets_nothing_and_tells_nothing_twice() {
    let (folder, history) = history();
    let warning = [failed(AlertSeverity::Warning, "one")];
    settled(&history, &warning, at(1));
    drop(history);
    let again = History::open(&folder.path().join("P01.db")).unwrap();
    assert_eq!(settled(&again, &warning, at(2)), []);
    assert_eq!(told(&again, at(2)), pairs(&[("all", Begun)]), "it was not told before the restart");
    assert_eq!(settled(&again, &warning, at(25)), [(Reminder, AlertState::Active)]);
}

#[test]
fn a_channel_is_not_told_that_it_fails_itself() {
    let (_folder, history) = history();
    let fails = Condition {
        kind: AlertKind::ChannelFailed,
        subject: "all".into(),
        ..failed(AlertSeverity::Critical, "")
    };
    settled(&history, &[fails], at(1));
    assert_eq!(told(&history, at(1)), pairs(&[("night", Begun)]));
}

#[test]
fn a_channel_that_is_gone_is_forgotten_with_what_waited_for_it() {
    let (_folder, history) = history();
    let warning = [failed(AlertSeverity::Warning, "one")];
    settled(&history, &warning, at(1));
    history.channel_did("all", Some("no route"), at(1)).unwrap();
    let mut fewer = policy();
    fewer.listeners.remove(0);
    settle(&history, &warning, &fewer, at(2)).unwrap();
    assert_eq!(told(&history, at(2)), []);
    assert_eq!(history.channels().unwrap(), []);
}

#[test]
fn a_clock_that_is_set_back_silences_nobody() {
    let (_folder, history) = history();
    let warning = [failed(AlertSeverity::Warning, "one")];
    settled(&history, &warning, at(1000));
    told(&history, at(1000));
    assert_eq!(settled(&history, &warning, at(1)), [(Reminder, AlertState::Active)]);
    assert_eq!(settled(&history, &warning, at(2)), []);
    assert_eq!(told(&history, at(2)), pairs(&[("all", Reminder)]));
    let future =
        Condition { since: at(1000), subject: "other".into(), ..failed(AlertSeverity::Warning, "one") };
    settled(&history, &[failed(AlertSeverity::Warning, "one"), future], at(3));
    let all = history.alerts(&AlertQuery::default()).unwrap();
    let other = all.iter().find(|alert| alert.subject == "other").unwrap();
    assert_eq!(other.began, at(3), "nothing began in the future");
}

#[test]
fn without_reminders_it_is_told_once() {
    let (_folder, history) = history();
    let warning = [failed(AlertSeverity::Warning, "one")];
    let once = Policy { remind_every: hours(0), ..policy() };
    let notices = |hour| settle(&history, &warning, &once, at(hour)).unwrap().len();
    assert_eq!([notices(1), notices(100), notices(10_000)], [1, 0, 0]);
}

#[test]
fn two_that_settle_at_the_same_time_tell_it_once() {
    let (folder, first) = history();
    let second = History::open(&folder.path().join("P01.db")).unwrap();
    let warning = [failed(AlertSeverity::Warning, "one")];
    let count = |history: &History| settle(history, &warning, &policy(), at(1)).unwrap().len();
    let total = std::thread::scope(|scope| {
        let threads = [scope.spawn(|| count(&first)), scope.spawn(|| count(&second))];
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert_eq!(total, 1);
    let deliveries: Vec<Delivery> = first.deliveries(newest(&first).id).unwrap();
    assert_eq!(deliveries.len(), 1);
}

#[test]
fn what_a_person_says_of_an_alert_is_kept() -> Result<(), HistoryError> {
    let (_folder, history) = history();
    settled(&history, &[failed(AlertSeverity::Warning, "one")], at(1));
    history.comment_alert(newest(&history).id, "ordered a disk")?;
    settled(&history, &[failed(AlertSeverity::Warning, "two")], at(2));
    assert_eq!(newest(&history).comment, "ordered a disk");
    Ok(())
}
