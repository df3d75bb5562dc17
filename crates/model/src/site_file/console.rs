//! The table `[console]`: where the pages, the API and the metrics of the service are.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::HostNames;
use super::choice::Choice;
use super::leaf::FilePath;
use super::mistake::Findings;
use super::parse::Placed;
use super::reader::{Spans, TableReader};

/// Where the console, the API and the metrics are. On an address that other machines reach only with TLS: with a `certificate` and its
/// `key`, or with a generated one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConsoleSettings {
    /// The address and port to listen at. With port 0 any free one is taken.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Whether a certificate is made, when there is none of your own.
    pub tls: ConsoleTls,
    /// A file with your own certificate and those that vouch for it (PEM). Absolute; goes with `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub certificate: Option<PathBuf>,
    /// The file with its private key (PEM), readable by the owner only. Absolute; goes with `certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub key: Option<PathBuf>,
    /// The host names and addresses in the generated certificate, besides the name of the machine and the address that is listened at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub name: Vec<String>,
}

/// Whether a certificate is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConsoleTls {
    /// None is made: without a `certificate`, the console is in the clear.
    #[default]
    None,
    /// One that vouches for itself is made once, and kept with the state of the service. Browsers ask before they trust it.
    Generated,
}

impl Default for ConsoleSettings {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8470));
        Self { listen, tls: ConsoleTls::None, certificate: None, key: None, name: Vec::new() }
    }
}

impl ConsoleSettings {
    /// Whether it speaks TLS.
    pub fn is_encrypted(&self) -> bool {
        self.certificate.is_some() || self.tls == ConsoleTls::Generated
    }
}

/// Reads `[console]`.
pub(super) fn read_console(mut table: TableReader<'_>, findings: &mut Findings) -> Placed<ConsoleSettings> {
    let default = ConsoleSettings::default();
    let console = ConsoleSettings {
        listen: table.optional("listen", findings).unwrap_or(default.listen),
        tls: table.optional("tls", findings).map_or(default.tls, |Choice(tls)| tls),
        certificate: table.optional("certificate", findings).map(|FilePath(path)| path),
        key: table.optional("key", findings).map(|FilePath(path)| path),
        name: table.optional("name", findings).map_or(default.name, |HostNames(names)| names),
    };
    let spans = table.finish(findings);
    check_console(&console, &spans, findings);
    (console, spans)
}

fn check_console(console: &ConsoleSettings, spans: &Spans, findings: &mut Findings) {
    for (key, other) in [("certificate", "key"), ("key", "certificate")] {
        if spans.has(key) && !spans.has(other) {
            let message = format!("`{key}` goes with `{other}`, which is missing");
            spans.wrong(findings, key, message, format!("add `{other}`, or remove `{key}`"));
        }
    }
    let own = spans.has("certificate") || spans.has("key");
    let certain = spans.is_certain("tls") && spans.is_certain("listen");
    if own && console.tls == ConsoleTls::Generated {
        let message = "there is a certificate of your own, and tls = \"generated\" asks for another";
        spans.wrong(findings, "tls", message, "remove one of the two");
    }
    if certain && spans.has("name") && console.tls != ConsoleTls::Generated {
        let message = "`name` has no effect without tls = \"generated\"";
        spans.wrong(findings, "name", message, "remove it, or write tls = \"generated\"");
    }
    if certain && !own && console.tls == ConsoleTls::None && !console.listen.ip().is_loopback() {
        let message = format!(
            "{} is reached from other machines, and passwords would go over the wire in the clear",
            console.listen
        );
        let remedy = "write tls = \"generated\", or name your own `certificate` and `key`, or listen at \"127.0.0.1:8470\"";
        spans.wrong(findings, "listen", message, remedy);
    }
}
