//! E-mail: to a server by SMTP, or through the local `sendmail`.

use std::path::PathBuf;
use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::process::Command;

use super::http::{CERTIFICATE_REMEDY, authorities};
use super::{Secret, Trouble, chain, program};
use crate::notice::Message;

/// E-mail to a server.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Host name or address of the server; an IPv6 address without brackets.
    pub host: String,
    /// Its TCP port, such as 587.
    pub port: u16,
    /// How the line is protected.
    pub tls: MailTls,
    /// Name and password, where the server asks for them. They are sent over a protected line only, or to this machine.
    pub login: Option<Login>,
    /// A file (PEM) with the certificates of the authorities that vouch for the server, besides those that the machine knows.
    pub ca: Option<PathBuf>,
    /// Who it is from.
    pub from: String,
    /// Who it is for, at least one.
    pub to: Vec<String>,
}

/// How the line to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// It becomes protected before anything is said, or nothing is said (usually port 587).
    StartTls,
    /// It is protected from the first byte on (usually port 465).
    Tls,
    /// Not at all (usually port 25).
    None,
}

/// A name and a password.
#[derive(Debug, Clone)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// E-mail through the local `sendmail`.
#[derive(Debug, Clone)]
pub struct Sendmail {
    /// The program, usually `/usr/sbin/sendmail`.
    pub program: PathBuf,
    /// Who it is from.
    pub from: String,
    /// Who it is for, at least one.
    pub to: Vec<String>,
}

impl Mail {
    pub(super) async fn tell(&self, message: &Message<'_>, deadline: Duration) -> Result<(), Trouble> {
        let mail = compose(message, &self.from, &self.to)?;
        let tls = self.tls().await?;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host)
            .port(self.port)
            .timeout(Some(deadline))
            .tls(tls);
        if let Some(login) = &self.login {
            if self.tls == MailTls::None && !self.is_this_machine() {
                return Err(Trouble::new(
                    "a password is not sent over a line that is not protected",
                    "Use `starttls` or `tls`, or a server that takes mail without a password.",
                ));
            }
            let password = login.password.get("the password").await?;
            builder = builder.credentials(Credentials::new(login.user.clone(), password.to_string()));
        }
        builder.build().send(mail).await.map(drop).map_err(|error| self.trouble(&error))
    }

    fn is_this_machine(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    async fn tls(&self) -> Result<Tls, Trouble> {
        if self.tls == MailTls::None {
            return Ok(Tls::None);
        }
        let (host, ca) = (self.host.clone(), self.ca.clone());
        // The authorities that the machine knows are many files.
        let made = tokio::task::spawn_blocking(move || {
            let mut builder = TlsParameters::builder(host);
            if let Some(file) = ca {
                for certificate in authorities(&file, certificates)? {
                    builder = builder.add_root_certificate(certificate);
                }
            }
            builder.build_rustls().map_err(|error| Trouble::new(chain(&error), CERTIFICATE_REMEDY))
        });
        let parameters =
            made.await.unwrap_or_else(|_| Err(Trouble::passing("it was ended", "Try again.")))?;
        Ok(if self.tls == MailTls::Tls { Tls::Wrapper(parameters) } else { Tls::Required(parameters) })
    }

    fn trouble(&self, error: &lettre::transport::smtp::Error) -> Trouble {
        let (host, port) = (&self.host, self.port);
        let what = format!("{host}, port {port}: {}", chain(error));
        match error.status().map(u16::from) {
            Some(530 | 534 | 535 | 538) => Trouble::new(what, "Check name and password."),
            Some(500..) => {
                Trouble::new(what, "See what the server refuses: sender, receivers, or the mail itself.")
            }
            Some(_) => Trouble::passing(what, "See what the server has; it is tried again."),
            None if what.contains("ertificate") => Trouble::new(what, CERTIFICATE_REMEDY),
            None if what.contains("STARTTLS") => {
                Trouble::new(what, "Use a server that offers STARTTLS, or `tls` with the port for it.")
            }
            None => Trouble::passing(
                what,
                "Is the server up, can it be reached from here, and is `tls` right for the port?",
            ),
        }
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, lettre::transport::smtp::Error> {
    let text = String::from_utf8_lossy(pem);
    let end = "-----END CERTIFICATE-----";
    text.split_inclusive(end)
        .filter(|part| part.ends_with(end))
        .map(|part| Certificate::from_pem(part.as_bytes()))
        .collect()
}

impl Sendmail {
    pub(super) async fn tell(&self, message: &Message<'_>) -> Result<(), Trouble> {
        let mail = compose(message, &self.from, &self.to)?;
        let mut command = Command::new(&self.program);
        // -i: a line with a dot only does not end the mail. --: what follows are addresses, whatever they look like.
        command.args(["-i", "-f", &self.from, "--"]).args(&self.to);
        program::run(command, &mail.formatted()).await
    }
}

/// The mail. Addresses and subject cannot bring headers of their own with them: they are parsed, and written as one line.
fn compose(message: &Message<'_>, from: &str, to: &[String]) -> Result<lettre::Message, Trouble> {
    let remedy = "Write it like backup@example.org.";
    let parsed = |text: &str| -> Result<Mailbox, Trouble> {
        text.parse()
            .map_err(|error| Trouble::new(format!("{text:?} is no address of e-mail: {error}"), remedy))
    };
    let mut builder = MessageBuilder::new().from(parsed(from)?);
    for address in to {
        builder = builder.to(parsed(address)?);
    }
    let (own, thread) = names(message);
    builder
        .subject(message.subject())
        .message_id(Some(own))
        .references(thread)
        // Nobody's absence should answer it (RFC 3834).
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".into(),
        ))
        .header(ContentType::TEXT_PLAIN)
        .body(message.text())
        .map_err(|error| Trouble::new(format!("the mail cannot be written: {error}"), remedy))
}

/// The name of the mail, which is the same when it is sent again after a crash, so that the other side may drop one of the two; and
/// that of its alert, by which the mails about one alert are shown together.
fn names(message: &Message<'_>) -> (String, String) {
    let plain =
        |text: &str| text.replace(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.', "-");
    let machine = rustix::system::uname();
    let host = plain(&machine.nodename().to_string_lossy());
    let alert = message.alert;
    let thread = format!("{}.{}.{}", plain(&message.place.site), alert.id, alert.began.as_millisecond());
    let notice = format!("{thread}.{}.{}", message.kind.as_str(), alert.told.as_millisecond());
    (format!("<{notice}@{host}>"), format!("<{thread}@{host}>"))
}
