//! Mail to a real server, of the tools that `cargo xtask prepare` installs.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::server::{Certificates, certificates};
use super::{PATIENT_MS, at, some_alert, tell};
use crate::{ChannelSettings, Login, Mail, MailTls, Secret};

/// A server, ended when it is dropped.
struct MailServer {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    port: u16,
    folder: tempfile::TempDir,
}

impl MailServer {
    /// One with a certificate for this host.
    fn new(tls: MailTls, host: &str, login: Option<(&str, &str)>) -> Self {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let python = top.join("target/tools/python/bin/python");
        assert!(python.exists(), "{} is not there: run cargo xtask prepare", python.display());
        let folder = tempfile::tempdir().unwrap();
        let word = match tls {
            MailTls::StartTls => "starttls",
            MailTls::Tls => "tls",
            MailTls::None => "none",
        };
        let Certificates { ca_pem, certificate_pem, key_pem, .. } = certificates(host);
        let write = |name: &str, text: String| -> PathBuf {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name)
        };
        write("ca.pem", ca_pem);
        let (certificate, key) = (write("certificate.pem", certificate_pem), write("key.pem", key_pem));
        let (user, password) = login.unwrap_or_default();
        let mut child = Command::new(python)
            .arg(top.join("crates/alerts/src/tests/smtp_server.py"))
            .arg(word)
            .args([certificate, key])
            .args([user, password])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first =
            lines.next().expect("the mail server ended; does `python -c 'import aiosmtpd'` work there?");
        let port = first.unwrap().parse().unwrap();
        Self { child, lines, port, folder }
    }

    /// The next mail that it took.
    fn mail(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    fn settings(&self, tls: MailTls) -> Mail {
        Mail {
            host: "127.0.0.1".into(),
            port: self.port,
            tls,
            login: None,
            ca: Some(self.folder.path().join("ca.pem")),
            from: "Backup <backup@example.org>".into(),
            to: vec!["first@example.org".into(), "second@example.org".into()],
        }
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn login(user: &str, password: &str) -> Option<Login> {
    Some(Login { user: user.into(), password: Secret::known(password) })
}

/// The value of a header of a mail, and its body as it is shown.
fn parts(mail: &str) -> (Vec<(&str, String)>, String) {
    let (head, body) = mail.split_once("\r\n\r\n").unwrap();
    let unfolded = head.replace("\r\n ", " ");
    let names = head.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_once(": "));
    let headers = names
        .map(|(name, _)| {
            let line = unfolded.split("\r\n").find(|line| line.starts_with(&format!("{name}: "))).unwrap();
            (name, line[name.len() + 2..].to_owned())
        })
        .collect();
    (headers, body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_arrives_with_every_protection_and_with_a_password() {
    for tls in [MailTls::None, MailTls::StartTls, MailTls::Tls] {
        let mut server = MailServer::new(tls, "127.0.0.1", Some(("anna", "pass word")));
        let settings = Mail { login: login("anna", "pass word\n"), ..server.settings(tls) };
        tell(ChannelSettings::Mail(settings), &some_alert(), PATIENT_MS).await.unwrap();
        let taken = server.mail();
        assert_eq!(taken["from"], "backup@example.org");
        assert_eq!(taken["to"], serde_json::json!(["first@example.org", "second@example.org"]));
        assert_eq!(taken["protected"], tls != MailTls::None, "{tls:?}");
        assert_eq!(taken["user"], "anna");
        let (headers, body) = parts(taken["mail"].as_str().unwrap());
        let header = |name: &str| headers.iter().find(|it| it.0 == name).map(|it| it.1.as_str());
        assert_eq!(header("Subject"), Some("[P01] critical: the backup failed"));
        assert_eq!(header("From"), Some("Backup <backup@example.org>"));
        assert_eq!(header("Auto-Submitted"), Some("auto-generated"));
        assert_eq!(header("Content-Type"), Some("text/plain; charset=utf-8"));
        assert!(header("Date").is_some(), "{headers:?}");
        // The same when it is sent again.
        let name = format!("<P01.7.{}.begun.{}@", at(-1).as_millisecond(), at(-1).as_millisecond());
        assert!(header("Message-ID").is_some_and(|id| id.starts_with(&name)), "{headers:?}");
        assert!(body.contains("What to do: Mend it."), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_alert_can_bring_headers_into_a_mail() {
    let mut server = MailServer::new(MailTls::None, "127.0.0.1", None);
    let mut alert = some_alert();
    alert.title = format!("größer\r\nBcc: all@example.org\r\n\r\nbody{}", " long".repeat(40));
    alert.text = "first\r\n.\r\nQUIT".into();
    let settings = Mail { login: None, ..server.settings(MailTls::None) };
    tell(ChannelSettings::Mail(settings), &alert, PATIENT_MS).await.unwrap();
    let taken = server.mail();
    let (headers, body) = parts(taken["mail"].as_str().unwrap());
    assert!(headers.iter().all(|(name, _)| *name != "Bcc"), "{headers:?}");
    assert_eq!(taken["to"].as_array().unwrap().len(), 2);
    assert!(body.starts_with("first") && body.contains("QUIT") && body.contains("What to do"), "{body}");
    let mut from = server.settings(MailTls::None);
    from.from = "a@example.org\r\nBcc: all@example.org".into();
    let error = tell(ChannelSettings::Mail(from), &alert, PATIENT_MS).await.unwrap_err();
    assert!(error.what.contains("is no address of e-mail"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_with_mail_is_said_with_a_remedy() {
    let server = MailServer::new(MailTls::StartTls, "127.0.0.1", Some(("anna", "right")));
    let good = Mail { login: login("anna", "right"), ..server.settings(MailTls::StartTls) };
    let failing =
        async |mail: Mail| tell(ChannelSettings::Mail(mail), &some_alert(), PATIENT_MS).await.unwrap_err();
    let error = failing(Mail { login: login("anna", "wrong"), ..good.clone() }).await;
    assert_eq!(error.remedy, "Check name and password.", "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    let error = failing(Mail { ca: None, ..good.clone() }).await;
    assert!(error.what.contains("ertificate") && error.remedy.contains("ca"), "{error}");
    let error = failing(Mail { tls: MailTls::Tls, ..good.clone() }).await;
    assert!(error.remedy.contains("is `tls` right for the port?"), "{error}");
    let error = failing(Mail { tls: MailTls::None, host: "mail.invalid".into(), ..good.clone() }).await;
    assert!(error.what.contains("a password is not sent"), "{error}");
    let plain = MailServer::new(MailTls::None, "127.0.0.1", None);
    let error = failing(Mail { port: plain.port, ..good.clone() }).await;
    assert!(error.remedy.contains("STARTTLS"), "{error}");
    let other = MailServer::new(MailTls::Tls, "other.example.org", None);
    let error = failing(Mail { login: None, ..other.settings(MailTls::Tls) }).await;
    assert!(error.what.contains("ertificate") && error.remedy.contains("name that is in"), "{error}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = failing(Mail { port: closed, ..good }).await;
    assert!(error.what.contains("refused") && error.what.contains(&format!("port {closed}")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_says_nothing_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Mail {
        host: "127.0.0.1".into(),
        port: silent.local_addr().unwrap().port(),
        tls: MailTls::None,
        login: None,
        ca: None,
        from: "a@example.org".into(),
        to: vec!["b@example.org".into()],
    };
    let error = tell(ChannelSettings::Mail(server), &some_alert(), 300).await.unwrap_err();
    assert_eq!(error.way, "mail");
}
