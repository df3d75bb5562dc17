//! The tables `[[channel]]`: whom alerts are told.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::{Mailbox, Mailboxes};
use super::alerts::AlertSeverity;
use super::choice::Choice;
use super::leaf::{Command, FilePath, Label};
use super::mistake::Findings;
use super::parse::Placed;
use super::reader::{Spans, TableReader};
use super::secret::read_secret;
use super::{SecretSource, Server, WebAddress};
use crate::ChannelName;

/// A channel: a way on which people, or other programs, are told. A site may have several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Channel {
    /// Its name, unique in the file.
    pub name: ChannelName,
    /// Alerts below this severity are not told on it.
    #[serde(default)]
    pub minimum_severity: AlertSeverity,
    /// What it is.
    #[serde(flatten)]
    pub kind: ChannelKind,
}

/// The types of channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ChannelKind {
    /// E-mail, by a mail server.
    Mail(MailSettings),
    /// E-mail, by the `sendmail` of this machine.
    Sendmail(SendmailSettings),
    /// A POST with the alert as JSON.
    Webhook(WebhookSettings),
    /// A message on a topic of an ntfy server.
    Ntfy(NtfySettings),
    /// Tells somebody outside of each run: that it began (`/start` behind the address), that it succeeded, that it failed (`/fail`),
    /// with its last messages. So somebody notices when this whole machine is gone.
    Ping(PingSettings),
    /// Alerts for a Prometheus Alertmanager.
    Alertmanager(AlertmanagerSettings),
    /// A program that gets the alert as JSON on its standard input.
    Program(ProgramSettings),
}

impl ChannelKind {
    /// The name of the type, as in the file.
    pub fn as_str(&self) -> &'static str {
        match self {
            ChannelKind::Mail(_) => "mail",
            ChannelKind::Sendmail(_) => "sendmail",
            ChannelKind::Webhook(_) => "webhook",
            ChannelKind::Ntfy(_) => "ntfy",
            ChannelKind::Ping(_) => "ping",
            ChannelKind::Alertmanager(_) => "alertmanager",
            ChannelKind::Program(_) => "program",
        }
    }
}

/// How a mail server is spoken to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// It begins in the clear and must go over to TLS (port 587).
    #[default]
    Starttls,
    /// TLS from the beginning (port 465).
    Tls,
    /// In the clear (port 25).
    None,
}

/// Where messages go: an address, or where one comes from that is a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AddressSource {
    /// The address itself.
    Plain(WebAddress),
    /// Where it comes from, for an address with which everybody could write there.
    Secret(SecretSource),
}

/// Keys of a channel of type "mail".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MailSettings {
    /// The mail server, as `host:port`.
    pub server: Server,
    /// How it is spoken to.
    #[serde(default)]
    pub tls: MailTls,
    /// The sender's address.
    pub from: String,
    /// The recipients' addresses.
    #[schemars(length(min = 1))]
    pub to: Vec<String>,
    /// The name to sign in with; goes with `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where the password comes from; goes with `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretSource>,
    /// A file with the certificates (PEM) that vouch for the server, when no public authority does. Absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub ca: Option<PathBuf>,
}

/// Keys of a channel of type "sendmail".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendmailSettings {
    /// The program. Absolute.
    #[serde(default = "default_sendmail")]
    #[schemars(extend("pattern" = "^/"))]
    pub program: PathBuf,
    /// The sender's address.
    pub from: String,
    /// The recipients' addresses.
    #[schemars(length(min = 1))]
    pub to: Vec<String>,
}

/// Keys of a channel of type "webhook".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// The address: a text, or where it comes from when it is a secret, as with chat services.
    pub url: AddressSource,
    /// Where the value of the header `Authorization` comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<SecretSource>,
    /// A file with the certificates (PEM) that vouch for the server, when no public authority does. Absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub ca: Option<PathBuf>,
}

/// Keys of a channel of type "ntfy".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NtfySettings {
    /// The address of the topic: a text, or where it comes from when the topic is a secret, as on a public server.
    pub url: AddressSource,
    /// Where the access token comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretSource>,
    /// A file with the certificates (PEM) that vouch for the server, when no public authority does. Absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub ca: Option<PathBuf>,
}

/// Keys of a channel of type "ping".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PingSettings {
    /// Where the address comes from. It is always a secret: whoever knows it can say in our name that all is well.
    pub url: SecretSource,
    /// A file with the certificates (PEM) that vouch for the server, when no public authority does. Absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub ca: Option<PathBuf>,
}

/// Keys of a channel of type "alertmanager".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertmanagerSettings {
    /// The address of the Alertmanager, without `/api/v2/alerts`.
    pub url: WebAddress,
    /// A file with the certificates (PEM) that vouch for the server, when no public authority does. Absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub ca: Option<PathBuf>,
}

/// Keys of a channel of type "program".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramSettings {
    /// Program (absolute) and arguments. No shell is used.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
}

fn default_sendmail() -> PathBuf {
    PathBuf::from("/usr/sbin/sendmail")
}

/// The words of the key `type`. A test compares them with [`ChannelKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ChannelType {
    Mail,
    Sendmail,
    Webhook,
    Ntfy,
    Ping,
    Alertmanager,
    Program,
}

/// The name and the whole of a channel, each as far as it could be read.
pub(super) type ChannelParts = (Option<ChannelName>, Option<Channel>);

/// Reads one channel.
pub(super) fn read_channel(mut table: TableReader<'_>, findings: &mut Findings) -> Placed<ChannelParts> {
    let name: Option<ChannelName> = table.required("name", findings);
    let severity = table.optional("minimum_severity", findings).map(|Choice(severity)| severity);
    let Some(Choice(kind)) = table.required::<Choice<ChannelType>>("type", findings) else {
        return ((name, None), table.finish_untyped(findings));
    };
    let called = name.as_ref().map_or("a channel".to_owned(), |name| format!("channel {name}"));
    table.rename(format!("{called} of type {}", format!("{kind:?}").to_lowercase()));
    let reader = match kind {
        ChannelType::Mail => read_mail,
        ChannelType::Sendmail => read_sendmail,
        ChannelType::Webhook => read_webhook,
        ChannelType::Ntfy => read_ntfy,
        ChannelType::Ping => read_ping,
        ChannelType::Alertmanager => read_alertmanager,
        ChannelType::Program => read_program,
    };
    let kind_read = reader(&mut table, &called, findings);
    let spans = table.finish(findings);
    // The default shows among the settings in effect.
    if kind == ChannelType::Ping && severity.is_some_and(|severity| severity != AlertSeverity::default()) {
        let message = "`minimum_severity` has no effect: a ping tells how runs end, not alerts";
        spans.wrong(findings, "minimum_severity", message, "remove it");
    }
    if let Some(kind) = &kind_read {
        check_channel(kind, &spans, findings);
    }
    let minimum_severity = severity.unwrap_or_default();
    let channel = name.clone().zip(kind_read).map(|(name, kind)| Channel { name, minimum_severity, kind });
    ((name, channel), spans)
}

fn read_mail(table: &mut TableReader<'_>, called: &str, findings: &mut Findings) -> Option<ChannelKind> {
    let server = table.required("server", findings);
    let tls = table.optional("tls", findings).map_or_else(MailTls::default, |Choice(tls)| tls);
    let from = table.required("from", findings).map(|Mailbox(from)| from);
    let to = table.required("to", findings).map(|Mailboxes(to)| to);
    let user = table.optional("user", findings).map(|Label(user)| user);
    let password = read_secret(table, "password", called, "mail", false, findings);
    let ca = read_ca(table, findings);
    Some(ChannelKind::Mail(MailSettings { server: server?, tls, from: from?, to: to?, user, password, ca }))
}

fn read_sendmail(table: &mut TableReader<'_>, _called: &str, findings: &mut Findings) -> Option<ChannelKind> {
    let program = table.optional("program", findings).map_or_else(default_sendmail, |FilePath(path)| path);
    let from = table.required("from", findings).map(|Mailbox(from)| from);
    let to = table.required("to", findings).map(|Mailboxes(to)| to);
    Some(ChannelKind::Sendmail(SendmailSettings { program, from: from?, to: to? }))
}

fn read_webhook(table: &mut TableReader<'_>, called: &str, findings: &mut Findings) -> Option<ChannelKind> {
    let url = read_address(table, called, "webhook", findings);
    let authorization = read_secret(table, "authorization", called, "webhook", false, findings);
    let ca = read_ca(table, findings);
    Some(ChannelKind::Webhook(WebhookSettings { url: url?, authorization, ca }))
}

fn read_ntfy(table: &mut TableReader<'_>, called: &str, findings: &mut Findings) -> Option<ChannelKind> {
    let url = read_address(table, called, "ntfy", findings);
    let token = read_secret(table, "token", called, "ntfy", false, findings);
    let ca = read_ca(table, findings);
    Some(ChannelKind::Ntfy(NtfySettings { url: url?, token, ca }))
}

fn read_ping(table: &mut TableReader<'_>, called: &str, findings: &mut Findings) -> Option<ChannelKind> {
    let url = read_secret(table, "url", called, "ping", true, findings);
    let ca = read_ca(table, findings);
    Some(ChannelKind::Ping(PingSettings { url: url?, ca }))
}

fn read_alertmanager(
    table: &mut TableReader<'_>,
    _called: &str,
    findings: &mut Findings,
) -> Option<ChannelKind> {
    let url = table.required("url", findings);
    let ca = read_ca(table, findings);
    Some(ChannelKind::Alertmanager(AlertmanagerSettings { url: url?, ca }))
}

fn read_program(table: &mut TableReader<'_>, _called: &str, findings: &mut Findings) -> Option<ChannelKind> {
    let command = table.required("command", findings).map(|Command(command)| command);
    Some(ChannelKind::Program(ProgramSettings { command: command? }))
}

fn read_ca(table: &mut TableReader<'_>, findings: &mut Findings) -> Option<PathBuf> {
    table.optional("ca", findings).map(|FilePath(path)| path)
}

/// The key `url`: a text, or a table that says where a secret comes from.
fn read_address(
    table: &mut TableReader<'_>,
    called: &str,
    example: &str,
    findings: &mut Findings,
) -> Option<AddressSource> {
    if table.has_text("url") {
        table.optional("url", findings).map(AddressSource::Plain)
    } else if table.has("url") {
        read_secret(table, "url", called, example, true, findings).map(AddressSource::Secret)
    } else {
        table.required::<WebAddress>("url", findings).map(AddressSource::Plain)
    }
}

/// What must hold between the keys of one channel.
fn check_channel(kind: &ChannelKind, spans: &Spans, findings: &mut Findings) {
    let plain_address = match kind {
        ChannelKind::Mail(mail) => return check_mail(mail, spans, findings),
        ChannelKind::Webhook(WebhookSettings { url: AddressSource::Plain(url), .. })
        | ChannelKind::Ntfy(NtfySettings { url: AddressSource::Plain(url), .. }) => url,
        ChannelKind::Alertmanager(alertmanager) => &alertmanager.url,
        _ => return,
    };
    if !plain_address.as_str().starts_with("https://") && spans.has("ca") {
        let message = "`ca` has no effect with an address that does not begin with https://";
        spans.wrong(findings, "ca", message, "remove it, or write https:// in `url`");
    }
    let secret = ["authorization", "token"].into_iter().find(|key| spans.has(key));
    if let Some(key) = secret
        && !plain_address.is_private()
    {
        let message = format!("what `{key}` holds would be sent in the clear to another machine");
        spans.wrong(findings, "url", message, format!("write an address with https://, or remove `{key}`"));
    }
}

fn check_mail(mail: &MailSettings, spans: &Spans, findings: &mut Findings) {
    for (key, other) in [("user", "password"), ("password", "user")] {
        if spans.has(key) && !spans.has(other) {
            let message = format!("`{key}` goes with `{other}`, which is missing");
            spans.wrong(findings, key, message, format!("add `{other}`, or remove `{key}`"));
        }
    }
    if mail.tls != MailTls::None {
        return;
    }
    if spans.has("ca") {
        let message = "`ca` has no effect with tls = \"none\"";
        spans.wrong(findings, "ca", message, "remove it, or write tls = \"starttls\"");
    }
    if spans.has("password") && !mail.server.is_loopback() {
        let message = "with tls = \"none\" the password would be sent in the clear to another machine";
        spans.wrong(findings, "tls", message, "write tls = \"starttls\" or tls = \"tls\"");
    }
}

/// Channels differ in name.
pub(super) fn check_channels(channels: &[Placed<ChannelParts>], findings: &mut Findings) {
    let mut names = BTreeSet::new();
    for (name, spans) in channels.iter().filter_map(|((name, _), spans)| Some((name.as_ref()?, spans))) {
        if !names.insert(name) {
            let message = format!("two channels have the name {:?}", name.as_str());
            spans.wrong(findings, "name", message, "give each its own name, by which it is tested and shown");
        }
    }
}
