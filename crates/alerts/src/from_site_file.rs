//! What the site file says of alerts and channels, as the rest of this crate takes it.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use stillpoint_model::site_file::{self, AddressSource, ChannelKind, SecretSource, SiteFile, WebAddress};
use zeroize::Zeroizing;

use crate::{
    Channel, ChannelSettings, Expected, Listener, Login, Mail, MailTls, Ping, Place, Policy, Program, Secret,
    Sendmail, Web,
};

/// Reads a secret: from where, and what it is called in messages. May block for a moment; its error says what, where, and how to
/// mend it. Asked for each time that a channel needs the secret, so one that can be read once only must be kept.
pub type SecretReader = Arc<dyn Fn(&SecretSource, &str) -> Result<Zeroizing<String>, String> + Send + Sync>;

/// All channels of a site.
#[derive(Debug, Clone, Default)]
pub struct Channels {
    /// Those that are told of alerts.
    pub channels: Vec<Channel>,
    /// Those that are told of runs.
    pub pings: Vec<Ping>,
}

impl Channels {
    /// The channels of a site file. No secret is read yet.
    pub fn of(site: &SiteFile, read: &SecretReader) -> Self {
        let mut all = Self::default();
        for channel in &site.channels {
            let name = channel.name.to_string();
            let from = Sources { channel: &name, read };
            match settings(&channel.kind, &from) {
                Wanted::Alerts(settings) => {
                    let least = channel.minimum_severity;
                    all.channels.push(Channel { name, least, settings });
                }
                Wanted::Runs { url, ca } => all.pings.push(Ping { name, url, ca }),
            }
        }
        all
    }

    /// What is told, how often, and to whom.
    pub fn policy(&self, site: &SiteFile) -> Policy {
        let listeners: Vec<Listener> = self
            .channels
            .iter()
            .map(Channel::listener)
            .chain(self.pings.iter().map(Ping::listener))
            .collect();
        Policy {
            remind_every: signed(site.alerts.remind_every.duration()),
            disabled: site.alerts.disabled.iter().copied().collect(),
            listeners,
        }
    }
}

impl Place {
    /// Where the notices of a site come from. `console` is the address of its console, to be clicked on.
    pub fn of(site: &SiteFile, console: Option<String>) -> Self {
        let remind_every = signed(site.alerts.remind_every.duration());
        Self { site: site.site.code.to_string(), console, remind_every }
    }
}

impl Expected {
    /// What a site file and its schedule ask for. What only the service knows (room, another try, mistakes of a newer site file, jumps
    /// of the clock) is left to be filled in.
    pub fn of(site: &SiteFile, now: Timestamp) -> Self {
        let default = Self::default();
        let schedule = site.schedule.as_ref();
        let backup = schedule.and_then(site_file::ScheduleSettings::backup);
        Self {
            change_retention: schedule
                .map_or(default.change_retention, |it| signed(it.change_retention.duration())),
            no_success_for: site.no_success_for(now).map(signed),
            longest_gap: backup.as_ref().and_then(|it| it.longest_gap(now)).map(signed),
            next_due: backup.as_ref().and_then(|it| it.next(now)).map(|due| due.begin),
            verify_within: Some(signed(site.alerts.verify_within.duration())),
            destination_free_percent: site.alerts.destination_free_percent,
            archives: site.archives.iter().map(|archive| archive.name.to_string()).collect(),
            ..default
        }
    }
}

fn signed(length: Duration) -> SignedDuration {
    SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX)
}

/// What a channel wants to be told.
enum Wanted {
    Alerts(ChannelSettings),
    Runs { url: Secret, ca: Option<std::path::PathBuf> },
}

fn settings(kind: &ChannelKind, from: &Sources<'_>) -> Wanted {
    Wanted::Alerts(match kind {
        ChannelKind::Ping(it) => return Wanted::Runs { url: from.secret(&it.url, "url"), ca: it.ca.clone() },
        ChannelKind::Mail(it) => ChannelSettings::Mail(Mail {
            host: it.server.host.clone(),
            port: it.server.port,
            tls: match it.tls {
                site_file::MailTls::Starttls => MailTls::StartTls,
                site_file::MailTls::Tls => MailTls::Tls,
                site_file::MailTls::None => MailTls::None,
            },
            login: it.user.as_ref().zip(it.password.as_ref()).map(|(user, password)| Login {
                user: user.clone(),
                password: from.secret(password, "password"),
            }),
            ca: it.ca.clone(),
            from: it.from.clone(),
            to: it.to.clone(),
        }),
        ChannelKind::Sendmail(it) => ChannelSettings::Sendmail(Sendmail {
            program: it.program.clone(),
            from: it.from.clone(),
            to: it.to.clone(),
        }),
        ChannelKind::Webhook(it) => ChannelSettings::Webhook(Web {
            url: from.address(&it.url),
            authorization: it.authorization.as_ref().map(|secret| from.secret(secret, "authorization")),
            ca: it.ca.clone(),
        }),
        ChannelKind::Ntfy(it) => ChannelSettings::Ntfy(Web {
            url: from.address(&it.url),
            authorization: it.token.as_ref().map(|secret| from.secret(secret, "token")),
            ca: it.ca.clone(),
        }),
        ChannelKind::Alertmanager(it) => {
            ChannelSettings::Alertmanager(Web { url: plain(&it.url), authorization: None, ca: it.ca.clone() })
        }
        ChannelKind::Program(it) => {
            let mut words = it.command.iter().cloned();
            let program = words.next().unwrap_or_default().into();
            ChannelSettings::Program(Program { program, arguments: words.collect() })
        }
    })
}

fn plain(address: &WebAddress) -> Secret {
    Secret::known(address.as_str())
}

/// Where the secrets of a channel come from.
struct Sources<'a> {
    channel: &'a str,
    read: &'a SecretReader,
}

impl Sources<'_> {
    fn secret(&self, source: &SecretSource, key: &str) -> Secret {
        let (source, read) = (source.clone(), Arc::clone(self.read));
        let what = format!("`{key}` of channel {}", self.channel);
        Secret::from(move || read(&source, &what))
    }

    fn address(&self, source: &AddressSource) -> Secret {
        match source {
            AddressSource::Plain(address) => plain(address),
            AddressSource::Secret(source) => self.secret(source, "url"),
        }
    }
}
