//! Delivery: what waits in the history reaches the channels, through failures, crashes and restarts.

use std::sync::Arc;

use jiff::SignedDuration;
use stillpoint_history::{AlertQuery, Delivery, History, NoticeKind};

use super::server::{Answer, Server};
use super::{at, history, hours, place};
use crate::deliver::deliver_within;
use crate::{
    AlertKind, AlertSeverity, Channel, ChannelSettings, Condition, Expected, Facts, Ping, Policy, Program,
    Secret, Web, conditions, deliver, settle, test_channels,
};

const GOOD: Answer = Answer::Status(200, "");

fn webhook(name: &str, url: &str) -> Channel {
    let web = Web { url: Secret::known(url), authorization: None, ca: None };
    Channel { name: name.into(), least: AlertSeverity::Info, settings: ChannelSettings::Webhook(web) }
}

fn policy(channels: &[Channel]) -> Policy {
    let listeners = channels.iter().map(Channel::listener).collect();
    Policy { remind_every: hours(24), listeners, ..Policy::default() }
}

fn failed() -> Condition {
    Condition {
        kind: AlertKind::RunFailed,
        subject: "backup".into(),
        instance: "one".into(),
        severity: AlertSeverity::Critical,
        title: "the backup failed".into(),
        text: "It failed.".into(),
        remedy: "Mend it.".into(),
        since: at(0),
    }
}

fn minutes(count: i64) -> jiff::Timestamp {
    at(0) + SignedDuration::from_mins(count)
}

fn deliveries(history: &History) -> Vec<Delivery> {
    let alert = history.alerts(&AlertQuery::default()).unwrap().pop().unwrap();
    history.deliveries(alert.id).unwrap()
}

fn notices(server: &Server) -> Vec<String> {
    let json = |body: &str| serde_json::from_str::<serde_json::Value>(body).unwrap();
    server.requests().iter().map(|it| json(&it.body)["notice"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_channel_is_told_once() {
    let (_folder, history) = history();
    let (one, two) = (Server::new(GOOD).await, Server::new(GOOD).await);
    let channels = [webhook("one", &one.url), webhook("two", &two.url)];
    settle(&history, &[failed()], &policy(&channels), minutes(0)).unwrap();
    let told = deliver(&history, &channels, &place(), minutes(0)).await.unwrap();
    assert!(told.len() == 2 && told.iter().all(|it| it.error.is_none()), "{told:?}");
    assert_eq!(deliver(&history, &channels, &place(), minutes(1)).await.unwrap(), []);
    assert_eq!((notices(&one), notices(&two)), (vec!["begun".to_owned()], vec!["begun".to_owned()]));
    assert!(deliveries(&history).iter().all(|it| it.told == Some(minutes(0))));
}

#[tokio::test]
async fn what_is_not_taken_is_tried_again_at_growing_pauses_until_it_is() {
    let (_folder, history) = history();
    let server = Server::new(Answer::Status(500, "broken")).await;
    let channels = [webhook("ops", &server.url)];
    settle(&history, &[failed()], &policy(&channels), minutes(0)).unwrap();
    let mut tried = Vec::new();
    for minute in 0..400 {
        for told in deliver(&history, &channels, &place(), minutes(minute)).await.unwrap() {
            assert!(told.error.unwrap().what.contains("500"));
            tried.push(minute);
        }
    }
    assert_eq!(tried, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363]);
    let waiting = deliveries(&history).pop().unwrap();
    assert_eq!((waiting.tries, waiting.told), (12, None));
    assert!(waiting.error.unwrap().contains("500 Internal Server Error: broken"));
    server.answer_from_now_on(GOOD);
    let told = deliver(&history, &channels, &place(), minutes(430)).await.unwrap();
    assert_eq!(told[0].error, None);
    assert_eq!(deliveries(&history).pop().unwrap().told, Some(minutes(430)));
}

/// The channel took the notice, and the process died before it wrote that down.
#[tokio::test]
async fn a_crash_between_the_channel_and_the_history_tells_it_again_and_loses_nothing() {
    let (folder, history) = history();
    let server = Server::new(Answer::Hang).await;
    let channels = [webhook("ops", &server.url)];
    settle(&history, &[failed()], &policy(&channels), minutes(0)).unwrap();
    {
        let place = place();
        let dying = deliver(&history, &channels, &place, minutes(0));
        tokio::select! {
            told = dying => panic!("{told:?}"),
            () = server.wait_for(1) => {}
        }
    }
    drop(history);
    let again = Arc::new(History::open(&folder.path().join("P01.db")).unwrap());
    assert_eq!(deliveries(&again)[0].told, None);
    server.answer_from_now_on(GOOD);
    assert_eq!(settle(&again, &[failed()], &policy(&channels), minutes(1)).unwrap(), []);
    assert_eq!(deliver(&again, &channels, &place(), minutes(1)).await.unwrap().len(), 1);
    assert_eq!(deliver(&again, &channels, &place(), minutes(2)).await.unwrap(), []);
    assert_eq!(notices(&server), ["begun", "begun"], "better twice than never");
}

#[tokio::test]
async fn an_end_that_comes_before_the_begin_was_told_is_told_instead() {
    let (_folder, history) = history();
    let server = Server::new(Answer::Status(503, "")).await;
    let channels = [webhook("ops", &server.url)];
    settle(&history, &[failed()], &policy(&channels), minutes(0)).unwrap();
    deliver(&history, &channels, &place(), minutes(0)).await.unwrap();
    settle(&history, &[], &policy(&channels), minutes(5)).unwrap();
    server.answer_from_now_on(GOOD);
    deliver(&history, &channels, &place(), minutes(5)).await.unwrap();
    assert_eq!(notices(&server), ["begun", "cleared"]);
    assert_eq!(deliveries(&history).len(), 1);
}

/// The deadline is so long that the test would fail if anybody waited for it.
#[tokio::test]
async fn a_channel_that_hangs_holds_up_no_other() {
    let (_folder, history) = history();
    let (hanging, good) = (Server::new(Answer::Hang).await, Server::new(GOOD).await);
    let channels = [webhook("hanging", &hanging.url), webhook("good", &good.url)];
    let other = Condition { kind: AlertKind::HookFailed, ..failed() };
    settle(&history, &[failed(), other], &policy(&channels), minutes(0)).unwrap();
    let place = place();
    let deadline = std::time::Duration::from_secs(3600);
    tokio::select! {
        told = deliver_within(&history, &channels, &place, minutes(0), deadline) => panic!("{told:?}"),
        () = good.wait_for(2) => {}
    }
    assert!(hanging.requests().len() <= 1);
}

#[tokio::test]
async fn one_notice_that_is_not_taken_is_enough_for_now_and_the_rest_is_not_lost() {
    let (_folder, history) = history();
    let server = Server::new(Answer::Status(500, "")).await;
    let channels = [webhook("ops", &server.url)];
    let other = Condition { kind: AlertKind::HookFailed, ..failed() };
    settle(&history, &[failed(), other], &policy(&channels), minutes(0)).unwrap();
    let tries = async |minute| deliver(&history, &channels, &place(), minutes(minute)).await.unwrap().len();
    assert_eq!(tries(0).await, 1);
    assert_eq!(tries(0).await, 1, "the other one, which need not wait");
    assert_eq!(tries(0).await, 0);
    server.answer_from_now_on(GOOD);
    assert_eq!(tries(1).await, 2);
}

#[tokio::test]
async fn a_channel_that_keeps_failing_is_told_by_the_others_until_it_works() {
    let (_folder, history) = history();
    let (broken, good) = (Server::new(Answer::Status(500, "")).await, Server::new(GOOD).await);
    let channels = [webhook("broken", &broken.url), webhook("good", &good.url)];
    let step = async |minute: i64, site: &[Condition]| {
        let facts = Facts::gather(&history, Expected::default(), minutes(minute)).unwrap();
        let mut all = conditions(&facts);
        all.extend_from_slice(site);
        settle(&history, &all, &policy(&channels), minutes(minute)).unwrap();
        deliver(&history, &channels, &place(), minutes(minute)).await.unwrap();
    };
    for minute in 0..4 {
        step(minute, &[failed()]).await;
    }
    assert_eq!(notices(&good).len(), 1);
    step(4, &[failed()]).await;
    step(7, &[failed()]).await;
    step(8, &[failed()]).await;
    assert_eq!(notices(&good), ["begun", "begun"]);
    assert!(good.requests()[1].body.contains("channel broken does not work"));
    broken.answer_from_now_on(GOOD);
    step(30, &[failed()]).await;
    step(31, &[failed()]).await;
    assert_eq!(notices(&good), ["begun", "begun", "cleared"]);
    assert!(broken.requests().iter().all(|it| !it.body.contains("does not work")));
}

#[tokio::test]
async fn a_test_goes_through_every_channel_and_says_how_each_does() {
    let (_folder, history) = history();
    let (good, broken) = (Server::new(GOOD).await, Server::new(Answer::Status(500, "")).await);
    let program = Program { program: "/bin/false".into(), arguments: Vec::new() };
    let channels = [
        webhook("good", &good.url),
        webhook("broken", &broken.url),
        Channel {
            name: "program".into(),
            least: AlertSeverity::Critical,
            settings: ChannelSettings::Program(program),
        },
    ];
    let pings = [Ping { name: "outside".into(), url: Secret::known(good.url.as_str()), ca: None }];
    let told = test_channels(&history, &channels, &pings, &place(), minutes(0)).await.unwrap();
    let results: Vec<_> = told.iter().map(|it| (it.channel.as_str(), it.error.is_none())).collect();
    assert_eq!(results, [("good", true), ("broken", false), ("program", false), ("outside", true)]);
    let mut lines: Vec<String> = good.requests().into_iter().map(|it| it.line).collect();
    lines.sort();
    assert_eq!(lines, ["POST /", "POST /log"]);
    assert!(good.requests().iter().any(|it| it.body.contains("[P01] test: this channel is being tested")));
    let states = history.channels().unwrap();
    assert_eq!(states.iter().map(|it| it.failures).collect::<Vec<_>>(), [1, 0, 0, 1], "{states:#?}");
    assert!(history.alerts(&AlertQuery::default()).unwrap().is_empty(), "a test is no alert");
    assert!(NoticeKind::ALL.contains(&NoticeKind::Test));
}

#[tokio::test]
async fn alertmanager_is_told_again_every_five_minutes_what_is_active() {
    let (_folder, history) = history();
    let server = Server::new(GOOD).await;
    let web = Web { url: Secret::known(server.url.as_str()), authorization: None, ca: None };
    let settings = ChannelSettings::Alertmanager(web);
    let channels = [Channel { name: "prometheus".into(), least: AlertSeverity::Warning, settings }];
    let info = Condition { kind: AlertKind::SiteReconciled, severity: AlertSeverity::Info, ..failed() };
    let hook = Condition { kind: AlertKind::HookFailed, severity: AlertSeverity::Warning, ..failed() };
    settle(&history, &[failed(), info, hook], &policy(&channels), minutes(0)).unwrap();
    let told = async |minute| deliver(&history, &channels, &place(), minutes(minute)).await.unwrap();
    assert_eq!(told(0).await.len(), 2);
    assert_eq!((told(1).await.len(), told(4).await.len()), (0, 0));
    assert_eq!(told(5).await.len(), 1);
    let names = |body: &str| -> Vec<String> {
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let labels = body.as_array().unwrap().iter().map(|it| &it["labels"]);
        labels.map(|it| format!("{} {}", it["alertname"], it["severity"]).replace('"', "")).collect()
    };
    let mut renewed = names(&server.requests()[2].body);
    renewed.retain(|name| !name.ends_with("info"));
    let expected =
        ["StillpointHookFailed warning", "StillpointRunFailed critical", "StillpointRunFailed warning"];
    assert_eq!(renewed, expected);
    server.answer_from_now_on(Answer::Status(500, ""));
    assert!(told(10).await[0].error.is_some());
    assert_eq!(told(11).await, [], "a failure is no reason to ask more often");
    assert_eq!(history.channels().unwrap()[0].failures, 1);
    server.answer_from_now_on(GOOD);
    settle(&history, &[], &policy(&channels), minutes(12)).unwrap();
    assert_eq!(told(12).await.len(), 2);
    assert_eq!((told(20).await.len(), server.requests().len()), (0, 6), "nothing is active");
}
