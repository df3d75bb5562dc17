//! Addresses on the network that a site file names: of web servers, of a mail server, of people, and where to listen.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::DeValue;

use super::WrongLocation;
use super::leaf::{Leaf, Wrong, text_leaf, texts, wrong};

/// The address of something on a web server: `https://host/path` or `http://host/path`. Never holds a name or a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^https?://[^/@]+(/.*)?$"))]
pub struct WebAddress(String);

impl WebAddress {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether what is sent is seen by nobody on the way.
    pub fn is_private(&self) -> bool {
        self.0.starts_with("https://") || is_loopback(host_of(self.authority()))
    }

    fn authority(&self) -> &str {
        let rest = self.0.split_once("://").map_or(self.0.as_str(), |(_, rest)| rest);
        rest.split(['/', '?']).next().unwrap_or(rest)
    }
}

fn host_of(authority: &str) -> &str {
    let without_port = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    without_port.trim_start_matches('[').trim_end_matches(']')
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl FromStr for WebAddress {
    type Err = WrongLocation;

    fn from_str(text: &str) -> Result<Self, WrongLocation> {
        let wrong = |message: &str, holds_secret| {
            WrongLocation {
            message: message.to_owned(),
            remedy: if holds_secret {
                "remove them there; what the server asks for comes from a file, a command, a descriptor or a credential"
            } else {
                "write it like \"https://host.example.org/path\""
            }
            .to_owned(),
            holds_secret,
        }
        };
        let rest = text.strip_prefix("https://").or(text.strip_prefix("http://"));
        let rest = rest.ok_or_else(|| wrong("does not begin with https:// or http://", false))?;
        let authority = rest.split(['/', '?']).next().unwrap_or(rest);
        if authority.contains('@') {
            return Err(wrong("holds a name or a password, which do not belong into a site file", true));
        }
        let strange = |character: char| {
            character.is_whitespace() || character.is_control() || "#\"<>\\".contains(character)
        };
        if host_of(authority).is_empty() || text.contains(strange) {
            return Err(wrong("has no host, or a character that cannot be in an address", false));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A server by its host name or address, and its port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[^/@\\s]+:[0-9]{1,5}$"))]
pub struct Server {
    /// Host name or address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Server {
    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted =
            || format!("a server is written with its port, like \"mail.example.org:587\"; this is {text:?}");
        let (host, port) = text.rsplit_once(':').ok_or_else(wanted)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wanted)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let plain =
            |host: &str| !host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@:[]".contains(c));
        match bare {
            Some(address) if address.parse::<IpAddr>().is_ok() => Ok(Self { host: address.to_owned(), port }),
            None if !host.is_empty() && plain(host) => Ok(Self { host: host.to_owned(), port }),
            _ => Err(wanted()),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! as_text {
    ($type:ty, $error:ty) => {
        impl TryFrom<String> for $type {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(address: $type) -> String {
                address.to_string()
            }
        }
    };
}

as_text!(WebAddress, WrongLocation);
as_text!(Server, String);

text_leaf!(WebAddress, "a text", "\"https://host.example.org/path\"", |text: &str| {
    text.parse().map_err(|error: WrongLocation| match error {
        WrongLocation { message, remedy, holds_secret: true } => Wrong::Secret { message, remedy },
        WrongLocation { message, remedy, .. } => wrong(message, remedy),
    })
});
text_leaf!(Server, "a text", "\"mail.example.org:587\"", |text: &str| {
    text.parse().map_err(|error| {
        wrong(format!("is wrong: {error}"), "write host and port, such as \"mail.example.org:587\"")
    })
});
text_leaf!(SocketAddr, "a text", "\"127.0.0.1:8470\"", listen);
text_leaf!(Mailbox, "a text", "\"backup@example.org\"", |text: &str| mailbox(text).map(Mailbox));

fn listen(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        let remedy = if text.starts_with("localhost") {
            "write \"127.0.0.1:8470\": which address a name stands for may change"
        } else {
            "write address and port, such as \"127.0.0.1:8470\", \"[::1]:8470\" or, for all addresses, \"[::]:8470\""
        };
        wrong(format!("is not an address with a port: {text:?}"), remedy)
    })
}

/// An address of e-mail, without the name of a person.
pub(super) struct Mailbox(pub(super) String);

/// Several of them, at least one.
pub(super) struct Mailboxes(pub(super) Vec<String>);

/// Names of hosts.
pub(super) struct HostNames(pub(super) Vec<String>);

fn mailbox(text: &str) -> Result<String, Wrong> {
    let parts = text.rsplit_once('@').filter(|(user, host)| !user.is_empty() && !host.is_empty());
    let strange = |c: char| c.is_whitespace() || c.is_control() || "<>,;:\"\\@".contains(c);
    match parts {
        Some((user, host)) if !user.contains(strange) && !host.contains(strange) => Ok(text.to_owned()),
        _ => Err(wrong(
            format!("is not an address of e-mail: {text:?}"),
            "write it like \"backup@example.org\"",
        )),
    }
}

impl Leaf for Mailboxes {
    const WANTED: &'static str = "a list of addresses";
    const EXAMPLE: &'static str = "[\"admin@example.org\"]";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let list = texts(value, |_, text| mailbox(text))?;
        if list.is_empty() {
            return Err(wrong("is empty, so nobody would be told", "write at least one address"));
        }
        Ok(Self(list))
    }
}

impl Leaf for HostNames {
    const WANTED: &'static str = "a list of host names";
    const EXAMPLE: &'static str = "[\"backup.example.org\"]";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        texts(value, |_, text| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
            if text.is_empty()
                || text.len() > 253
                || text.starts_with(['-', '.'])
                || !text.bytes().all(allowed)
            {
                let remedy = "write the name that people type in the browser, such as \"backup.example.org\"";
                return Err(wrong(format!("is not a host name: {text:?}"), remedy));
            }
            Ok(text.to_owned())
        })
        .map(Self)
    }
}
