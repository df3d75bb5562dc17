//! Channels that are requests, and pings, against a server that writes down what came.

use std::path::PathBuf;

use serde_json::Value;
use stillpoint_history::{Alert, AlertState};

use super::server::{Answer, Server};
use super::{PATIENT_MS, at, history, some_alert, tell};
use crate::{AlertSeverity, ChannelSettings, Ping, Secret, Signal, Web, ping};

const GOOD: Answer = Answer::Status(200, "ok");

fn web(url: &str, authorization: Option<&str>) -> Web {
    Web { url: Secret::known(url), authorization: authorization.map(Secret::known), ca: None }
}

#[tokio::test]
async fn a_webhook_gets_the_notice_as_json() {
    let server = Server::new(GOOD).await;
    let webhook =
        ChannelSettings::Webhook(web(&format!("{}/hook?key=1", server.url), Some("Basic c2VjcmV0\n")));
    tell(webhook, &some_alert(), PATIENT_MS).await.unwrap();
    let request = &server.requests()[0];
    assert_eq!(request.line, "POST /hook?key=1");
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["authorization"], "Basic c2VjcmV0");
    let body: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(body["format"], 1);
    assert_eq!((&body["site"], &body["notice"]), (&"P01".into(), &"begun".into()));
    assert_eq!(body["subject"], "[P01] critical: the backup failed");
    assert_eq!(body["console"], "https://backup.example.org:8470");
    assert_eq!(body["alert"]["text"], some_alert().text);
    assert_eq!(body["alert"]["began"], at(-1).to_string());
}

#[tokio::test]
async fn ntfy_gets_title_priority_tags_and_token() {
    let server = Server::new(GOOD).await;
    let mut alert = some_alert();
    let url = format!("{}/topic", server.url);
    tell(ChannelSettings::Ntfy(web(&url, Some("tk_1"))), &alert, PATIENT_MS).await.unwrap();
    alert.severity = AlertSeverity::Warning;
    alert.title = "größer\r\nX-Evil: 1".into();
    tell(ChannelSettings::Ntfy(web(&url, None)), &alert, PATIENT_MS).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests[0].line, "POST /topic");
    let headers = &requests[0].headers;
    assert_eq!(headers["title"], "[P01] critical: the backup failed");
    assert_eq!((headers["priority"].as_str(), headers["tags"].as_str()), ("5", "rotating_light,run-failed"));
    assert_eq!(headers["authorization"], "Bearer tk_1");
    assert_eq!(headers["click"], "https://backup.example.org:8470");
    assert!(requests[0].body.contains("What to do: Mend it."), "{}", requests[0].body);
    let headers = &requests[1].headers;
    assert!(headers["title"].starts_with("=?UTF-8?B?"), "{headers:?}");
    assert_eq!(headers["priority"], "4");
    assert!(!headers.contains_key("x-evil") && !headers.contains_key("authorization"), "{headers:?}");
}

#[tokio::test]
async fn alertmanager_gets_labels_begin_and_end() {
    let server = Server::new(GOOD).await;
    let settings = || ChannelSettings::Alertmanager(web(&format!("{}/prefix/", server.url), None));
    let mut alert = some_alert();
    tell(settings(), &alert, PATIENT_MS).await.unwrap();
    alert.state = AlertState::Cleared;
    alert.changed = at(0);
    tell(settings(), &alert, PATIENT_MS).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests[0].line, "POST /prefix/api/v2/alerts");
    let bodies: Vec<Value> = requests.iter().map(|it| serde_json::from_str(&it.body).unwrap()).collect();
    let labels = &bodies[0][0]["labels"];
    let told: Vec<_> =
        ["alertname", "site", "severity", "subject"].iter().map(|name| &labels[name]).collect();
    assert_eq!(told, ["StillpointRunFailed", "P01", "critical", "backup"]);
    assert_eq!(bodies[0][0]["startsAt"], at(-1).to_string());
    assert_eq!(bodies[0][0]["endsAt"], at(48).to_string());
    assert_eq!(bodies[1][0]["endsAt"], at(0).to_string());
    assert_eq!(bodies[1][0]["labels"], *labels, "else it is another alert");
}

#[tokio::test]
async fn a_server_with_a_certificate_of_an_own_authority_is_trusted_when_that_is_given() {
    let (server, ca_pem) = Server::with_tls(GOOD).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, ca_pem).unwrap();
    let settings = |ca: Option<PathBuf>| ChannelSettings::Webhook(Web { ca, ..web(&server.url, None) });
    tell(settings(Some(ca.clone())), &some_alert(), PATIENT_MS).await.unwrap();
    assert_eq!(server.requests().len(), 1);
    let error = tell(settings(None), &some_alert(), PATIENT_MS).await.unwrap_err();
    assert!(error.what.contains("certificate") && error.remedy.contains("ca"), "{error}");
    std::fs::write(&ca, "no certificate").unwrap();
    let error = tell(settings(Some(ca)), &some_alert(), PATIENT_MS).await.unwrap_err();
    assert!(error.what.ends_with("ca.pem holds no certificates"), "{error}");
    let gone = Some(folder.path().join("gone.pem"));
    let error = tell(settings(gone), &some_alert(), PATIENT_MS).await.unwrap_err();
    assert!(error.what.contains("gone.pem cannot be read"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn what_goes_wrong_is_said_with_a_remedy_and_without_the_address() {
    let closed = {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/secret-path", server.local_addr().unwrap())
    };
    let error =
        tell(ChannelSettings::Webhook(web(&closed, None)), &some_alert(), PATIENT_MS).await.unwrap_err();
    assert!(error.what.contains("refused") && error.remedy.contains("Is the server up"), "{error}");
    assert!(!error.to_string().contains("secret-path"), "{error}");
    for (status, body, remedy) in [
        (500, "out of\nspace", "tried again"),
        (429, "", "tried again"),
        (401, "who?", "Check what authorises"),
        (404, "", "Check the address"),
        (307, "", "leads to"),
    ] {
        let server = Server::new(Answer::Status(status, body)).await;
        let url = format!("{}/secret-path", server.url);
        let error =
            tell(ChannelSettings::Webhook(web(&url, None)), &some_alert(), PATIENT_MS).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("channel ops (webhook): it answered ") && text.contains(&status.to_string()),
            "{text}"
        );
        assert!(text.contains(remedy) && !text.contains('\n') && !text.contains("secret-path"), "{text}");
        assert!(text.contains(&body.replace('\n', "\\n")), "{text}");
        assert_eq!(server.requests().len(), 1, "it was asked again, or went where it should not");
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_at_the_deadline() {
    let server = Server::new(Answer::Hang).await;
    let began = std::time::Instant::now();
    let error = tell(ChannelSettings::Webhook(web(&server.url, None)), &some_alert(), 300).await.unwrap_err();
    assert_eq!(error.what, "it did not answer within 0.3 s");
    assert!(began.elapsed() >= std::time::Duration::from_millis(300));
}

#[tokio::test]
async fn a_secret_that_is_not_to_be_had_and_an_address_that_is_none_are_said() {
    let server = Server::new(GOOD).await;
    let failing = Web {
        authorization: Some(Secret::from(|| Err("the file is not there".into()))),
        ..web(&server.url, None)
    };
    let error = tell(ChannelSettings::Webhook(failing), &some_alert(), PATIENT_MS).await.unwrap_err();
    assert_eq!(error.what, "what authorises is not to be had: the file is not there");
    let error = tell(ChannelSettings::Webhook(web(&server.url, Some("\n"))), &some_alert(), PATIENT_MS).await;
    assert_eq!(error.unwrap_err().what, "what authorises is empty");
    for url in ["no address", "ftp://host/x", "http:///"] {
        let error =
            tell(ChannelSettings::Webhook(web(url, None)), &some_alert(), PATIENT_MS).await.unwrap_err();
        assert!(error.remedy.contains("https://host"), "{url}: {error}");
    }
    let elsewhere = web("http://mail.invalid/", Some("secret"));
    let error = tell(ChannelSettings::Webhook(elsewhere), &some_alert(), PATIENT_MS).await.unwrap_err();
    assert!(error.what.contains("not protected"), "{error}");
    let shown = format!("{:?}", ChannelSettings::Webhook(web("http://h/secret", Some("secret"))));
    assert!(!shown.contains("secret"), "{shown}");
    assert_eq!(server.requests().len(), 0);
}

fn pings(url: &str) -> Vec<Ping> {
    vec![Ping { name: "outside".into(), url: Secret::known(url), ca: None }]
}

#[tokio::test]
async fn pings_tell_begin_end_and_run_and_the_end_of_a_long_log() {
    let (_folder, history) = history();
    let server = Server::new(GOOD).await;
    let pings = pings(&format!("{}/uuid", server.url));
    let run = "8f0c8b9e-0000-4000-8000-000000000001";
    let long = format!("{}é the end", "x".repeat(200_000));
    let signals =
        [(Signal::Start, ""), (Signal::Success, long.as_str()), (Signal::Fail, "no"), (Signal::Log, "a")];
    for (signal, body) in signals {
        let told = ping(&history, &pings, signal, run, body, at(0)).await.unwrap();
        assert_eq!(told[0].error, None);
    }
    let lines: Vec<String> = server.requests().into_iter().map(|it| it.line).collect();
    let expected =
        ["/uuid/start", "/uuid", "/uuid/fail", "/uuid/log"].map(|path| format!("POST {path}?rid={run}"));
    assert_eq!(lines, expected);
    let log = &server.requests()[1].body;
    assert!(log.ends_with("xé the end") && log.len() <= 100_000 && log.len() > 99_000, "{}", log.len());
    assert_eq!(history.channels().unwrap()[0].last_good, Some(at(0)));
}

#[tokio::test]
async fn a_ping_that_is_lost_is_sent_again_and_one_that_is_refused_is_not() {
    let (_folder, history) = history();
    let server = Server::new(Answer::Status(503, "")).await;
    let pings = pings(&server.url);
    let sending = {
        let history = history.clone();
        let pings = pings.clone();
        tokio::spawn(async move { ping(&history, &pings, Signal::Start, "r", "", at(0)).await.unwrap() })
    };
    server.wait_for(1).await;
    server.answer_from_now_on(GOOD);
    assert_eq!(sending.await.unwrap()[0].error, None);
    assert_eq!(server.requests().len(), 2);
    server.answer_from_now_on(Answer::Status(404, "no such check"));
    let told = ping(&history, &pings, Signal::Start, "r", "", at(1)).await.unwrap();
    assert!(told[0].error.as_ref().unwrap().to_string().contains("404"), "{told:?}");
    assert_eq!(server.requests().len(), 3);
    assert_eq!(history.channels().unwrap()[0].failures, 1);
}

#[tokio::test]
async fn what_is_over_is_told_to_ntfy_without_waking_anybody() {
    let server = Server::new(GOOD).await;
    let (_folder, history) = history();
    let alert = Alert { state: AlertState::Cleared, ..some_alert() };
    let channel = crate::Channel {
        name: "ops".into(),
        least: AlertSeverity::Info,
        settings: ChannelSettings::Ntfy(web(&server.url, None)),
    };
    let message = crate::notice::Message {
        place: &super::place(),
        kind: stillpoint_history::NoticeKind::Cleared,
        alert: &alert,
        now: at(0),
    };
    channel.tell(&message, crate::DEADLINE).await.unwrap();
    let headers = &server.requests()[0].headers;
    assert_eq!(
        (headers["priority"].as_str(), headers["title"].as_str()),
        ("3", "[P01] over: the backup failed")
    );
    drop(history);
}
