//! The channels: each tells a notice in its own way, within a deadline, and says what to mend when it cannot.

mod http;
mod mail;
mod ping;
mod program;
mod secret;
mod web;

use crate::AlertSeverity;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::notice::Message;
use crate::settle::Listener;

pub use http::Web;
pub use mail::{Login, Mail, MailTls, Sendmail};
pub use ping::{Ping, Signal};
pub use program::Program;
pub use secret::Secret;

/// How long a channel may take to tell one notice. Another one does not wait for it.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// A way to tell alerts.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Its name in the site file.
    pub name: String,
    /// From which severity it is told.
    pub least: AlertSeverity,
    /// How it tells.
    pub settings: ChannelSettings,
}

/// How a channel tells.
#[derive(Debug, Clone)]
pub enum ChannelSettings {
    /// By e-mail, to a server.
    Mail(Mail),
    /// By e-mail, through the local `sendmail`.
    Sendmail(Sendmail),
    /// The JSON of the notice, posted to a web address. What authorises goes into `Authorization` as it is.
    Webhook(Web),
    /// To a topic of ntfy. What authorises is a token.
    Ntfy(Web),
    /// To an Alertmanager, by its address without `/api/v2/alerts`. What authorises is a token.
    Alertmanager(Web),
    /// To a program.
    Program(Program),
}

impl ChannelSettings {
    /// What kind of channel it is.
    pub fn way(&self) -> &'static str {
        match self {
            ChannelSettings::Mail(_) => "mail",
            ChannelSettings::Sendmail(_) => "sendmail",
            ChannelSettings::Webhook(_) => "webhook",
            ChannelSettings::Ntfy(_) => "ntfy",
            ChannelSettings::Alertmanager(_) => "alertmanager",
            ChannelSettings::Program(_) => "program",
        }
    }
}

impl Channel {
    /// What the life of an alert needs to know of it.
    pub fn listener(&self) -> Listener {
        Listener { name: self.name.clone(), least: Some(self.least) }
    }

    /// Tells one notice, within `deadline`.
    pub(crate) async fn tell(&self, message: &Message<'_>, deadline: Duration) -> Result<(), ChannelError> {
        let telling = async {
            match &self.settings {
                ChannelSettings::Mail(mail) => mail.tell(message, deadline).await,
                ChannelSettings::Sendmail(sendmail) => sendmail.tell(message).await,
                ChannelSettings::Webhook(web) => web::webhook(web, message).await,
                ChannelSettings::Ntfy(web) => web::ntfy(web, message).await,
                ChannelSettings::Alertmanager(web) => web::alertmanager(web, &[*message]).await,
                ChannelSettings::Program(program) => program.tell(message).await,
            }
        };
        within(deadline, telling).await.map_err(|trouble| trouble.of(&self.name, self.settings.way()))
    }
}

impl Channel {
    /// Whether the other side forgets alerts that it is not told again and again.
    pub(crate) fn forgets(&self) -> bool {
        matches!(self.settings, ChannelSettings::Alertmanager(_))
    }

    /// Tells all that is active again, to one that [forgets](Self::forgets).
    pub(crate) async fn renew(
        &self,
        messages: &[Message<'_>],
        deadline: Duration,
    ) -> Result<(), ChannelError> {
        let ChannelSettings::Alertmanager(web) = &self.settings else { return Ok(()) };
        let telling = web::alertmanager(web, messages);
        within(deadline, telling).await.map_err(|trouble| trouble.of(&self.name, self.settings.way()))
    }
}

/// A channel did not take what it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelError {
    /// The name of the channel.
    pub channel: String,
    /// What kind of channel it is.
    pub way: &'static str,
    /// What went wrong, without secrets.
    pub what: String,
    /// What a person does about it.
    pub remedy: &'static str,
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {} ({}): {}. {}", self.channel, self.way, self.what, self.remedy)
    }
}

impl std::error::Error for ChannelError {}

/// What went wrong, before it is known with which channel.
#[derive(Debug)]
pub(crate) struct Trouble {
    what: String,
    remedy: &'static str,
    /// Whether it may pass by itself.
    passes: bool,
}

impl Trouble {
    fn new(what: impl Into<String>, remedy: &'static str) -> Self {
        Self { what: what.into(), remedy, passes: false }
    }

    fn passing(what: impl Into<String>, remedy: &'static str) -> Self {
        Self { passes: true, ..Self::new(what, remedy) }
    }

    fn of(self, channel: &str, way: &'static str) -> ChannelError {
        let what = stillpoint_model::plain::one_line(self.what.trim_end_matches('.'));
        ChannelError { channel: channel.to_owned(), way, what, remedy: self.remedy }
    }
}

/// Gives up at the deadline.
async fn within<T>(
    deadline: Duration,
    telling: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    tokio::time::timeout(deadline, telling).await.unwrap_or_else(|_| {
        let what = format!("it did not answer within {} s", deadline.as_secs_f64());
        Err(Trouble::passing(what, "Is it up, can it be reached from here, and is it not overloaded?"))
    })
}

/// All causes of an error in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
