//! Where an archive lies, in the words of restic, so that the same text works behind `restic -r`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where an archive lies. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum ArchiveLocation {
    /// A folder of this machine. Absolute.
    Local(PathBuf),
    /// A bucket of an S3-compatible store.
    S3 {
        /// Scheme, host and port, such as `https://s3.example.org:8333`.
        endpoint: String,
        /// The bucket.
        bucket: String,
        /// What the names of all objects begin with, without `/` at its ends; may be empty.
        prefix: String,
    },
    /// A folder of another machine, by way of its SSH server.
    Sftp {
        /// Who logs in; without it, what the SSH client decides.
        user: Option<String>,
        /// The host, or the alias that the SSH client knows. An IPv6 address is without brackets here.
        host: String,
        /// The port, when it is not what the SSH client decides.
        port: Option<u16>,
        /// The folder. Absolute.
        path: String,
    },
    /// A repository of restic's REST server: its URL, with `/` at the end.
    Rest(String),
}

impl ArchiveLocation {
    /// The four forms, for remedies.
    pub const FORMS: &str = "write \"/absolute/path\", \"s3:https://host/bucket/prefix\", \
        \"sftp:user@host:/path\" or \"rest:https://host/path/\"";
}

/// Why a text is no location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongLocation {
    /// What is wrong, to be read after the key.
    pub message: String,
    /// How to mend it.
    pub remedy: String,
    /// Whether the text holds a secret, so that it must not be shown.
    pub holds_secret: bool,
}

impl fmt::Display for WrongLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the location of the archive {}; {}", self.message, self.remedy)
    }
}

impl std::error::Error for WrongLocation {}

fn wrong(message: impl Into<String>, remedy: impl Into<String>) -> WrongLocation {
    WrongLocation { message: message.into(), remedy: remedy.into(), holds_secret: false }
}

impl FromStr for ArchiveLocation {
    type Err = WrongLocation;

    fn from_str(text: &str) -> Result<Self, WrongLocation> {
        if text.chars().any(|character| character.is_control()) {
            return Err(wrong("holds a line break or another control character", "write it on one line"));
        }
        if let Some(rest) = text.strip_prefix("s3:") {
            s3(rest)
        } else if let Some(rest) = text.strip_prefix("sftp://") {
            sftp_url(rest)
        } else if let Some(rest) = text.strip_prefix("sftp:") {
            sftp(rest)
        } else if let Some(rest) = text.strip_prefix("rest:") {
            rest_server(rest)
        } else {
            local(text)
        }
    }
}

fn local(text: &str) -> Result<ArchiveLocation, WrongLocation> {
    if let Some(scheme) = text.split_once(':').map(|(scheme, _)| scheme)
        && !text.starts_with('/')
    {
        return Err(wrong(format!("begins with {scheme:?}, which is not known"), ArchiveLocation::FORMS));
    }
    if !text.starts_with('/') {
        return Err(wrong(
            format!("is neither an absolute path nor an address: {text:?}"),
            ArchiveLocation::FORMS,
        ));
    }
    let path = absolute(text)?;
    Ok(ArchiveLocation::Local(PathBuf::from(path)))
}

/// An absolute path, without the `/` at its end. The rules are those of every folder in the site file.
fn absolute(text: &str) -> Result<String, WrongLocation> {
    let parts = text.strip_prefix('/').map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    match parts {
        Some("") => Err(wrong("is the root of a whole system", "name the folder that is meant")),
        Some(parts) if parts.split('/').all(|part| !matches!(part, "" | "." | "..")) => {
            Ok(format!("/{parts}"))
        }
        Some(_) => Err(wrong(
            format!("has an empty part, a `.` or a `..`: {text:?}"),
            "write the path that is meant, without them",
        )),
        None => {
            Err(wrong(format!("has a path that does not begin with /: {text:?}"), ArchiveLocation::FORMS))
        }
    }
}

/// Scheme with host and port, and the path behind them. A name or a password in the address is refused: it would be read
/// by everybody who sees the site file, the process list or a log.
fn url(text: &str, what: &str) -> Result<(String, String), WrongLocation> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
        Some((scheme, _)) => {
            return Err(wrong(format!("has {scheme:?} where http or https belongs"), ArchiveLocation::FORMS));
        }
        None if what == "s3" => ("https", text),
        None => return Err(wrong("has no http:// or https:// behind `rest:`", ArchiveLocation::FORMS)),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(WrongLocation {
            holds_secret: true,
            ..wrong(
                "has a name or a password in it, which does not belong into a site file",
                "remove it there, and write access = { file = \"/etc/stillpoint/archive.access\" } with \
                 `name:password` in that file",
            )
        });
    }
    if authority.is_empty() || authority.contains(|c: char| c.is_whitespace() || "?#\"<>\\".contains(c)) {
        return Err(wrong("has no host, or one that cannot be", ArchiveLocation::FORMS));
    }
    if path.contains(['?', '#', ' ', '"']) {
        return Err(wrong("has a `?`, a `#`, a quote or a space in its path", "write it without them"));
    }
    Ok((format!("{scheme}://{authority}"), path.to_owned()))
}

fn s3(text: &str) -> Result<ArchiveLocation, WrongLocation> {
    let (endpoint, path) = url(text, "s3")?;
    let path = path.trim_matches('/');
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if bucket.len() < 3 || bucket.len() > 63 || !bucket.bytes().all(allowed) {
        return Err(wrong(
            format!("has no name of a bucket behind the host: {bucket:?}"),
            "write \"s3:https://host/bucket/prefix\"; a bucket has 3 to 63 letters, digits, `-`, `.` or `_`",
        ));
    }
    if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(wrong(
            format!("has an empty part, a `.` or a `..` in its prefix: {prefix:?}"),
            "write the prefix that is meant, without them",
        ));
    }
    Ok(ArchiveLocation::S3 { endpoint, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

/// `user@host:/path`
fn sftp(text: &str) -> Result<ArchiveLocation, WrongLocation> {
    let remedy = "write \"sftp:user@host:/path\", or \"sftp://user@host:2222//path\" with a port";
    let (user, rest) = user_of(text)?;
    // An IPv6 address is in brackets.
    let (host, path) = match rest.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        Some(parts) => parts,
        None => rest.split_once(':').ok_or_else(|| wrong("has no `:` between host and path", remedy))?,
    };
    sftp_place(user, host, None, path)
}

/// `user@host:port//path`. As for restic, a path behind a single `/` would begin in the home folder.
fn sftp_url(text: &str) -> Result<ArchiveLocation, WrongLocation> {
    let remedy = "write \"sftp://user@host:2222//path\": the path begins at the second `/`";
    let (authority, path) = text.split_once('/').ok_or_else(|| wrong("has no path", remedy))?;
    let (user, host) = user_of(authority)?;
    let (host, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
    };
    let number = |port: &str| match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(wrong(format!("has a port that cannot be: {port:?}"), remedy)),
    };
    let port = port.map(number).transpose()?;
    if !path.starts_with('/') {
        return Err(wrong("has a path that begins in somebody's home folder", remedy));
    }
    sftp_place(user, host, port, path)
}

/// The user before the last `@`, and what is behind it.
fn user_of(text: &str) -> Result<(Option<String>, &str), WrongLocation> {
    let head = text.find('/').map_or(text, |end| &text[..end]);
    let Some(at) = head.rfind('@') else { return Ok((None, text)) };
    let user = &text[..at];
    if user.contains(':') {
        return Err(WrongLocation {
            holds_secret: true,
            ..wrong(
                "has a password in it, which does not belong into a site file",
                "remove it; SFTP logs in with an SSH key (see `man ssh_config`, IdentityFile)",
            )
        });
    }
    // What an SSH client would take for an option is no name.
    if user.is_empty() || user.starts_with('-') || user.contains(char::is_whitespace) {
        return Err(wrong(format!("has a user that cannot be: {user:?}"), "write \"sftp:user@host:/path\""));
    }
    Ok((Some(user.to_owned()), &text[at + 1..]))
}

fn sftp_place(
    user: Option<String>,
    host: &str,
    port: Option<u16>,
    path: &str,
) -> Result<ArchiveLocation, WrongLocation> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    if host.is_empty() || host.starts_with('-') || !host.chars().all(allowed) {
        return Err(wrong(format!("has a host that cannot be: {host:?}"), "write \"sftp:user@host:/path\""));
    }
    Ok(ArchiveLocation::Sftp { user, host: host.to_owned(), port, path: absolute(path)? })
}

fn rest_server(text: &str) -> Result<ArchiveLocation, WrongLocation> {
    let (server, path) = url(text, "rest")?;
    let path = path.trim_matches('/');
    if !path.is_empty() && path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(wrong(
            format!("has an empty part, a `.` or a `..` in its path: {path:?}"),
            "write the path that is meant, without them",
        ));
    }
    let path = if path.is_empty() { String::new() } else { format!("{path}/") };
    Ok(ArchiveLocation::Rest(format!("{server}/{path}")))
}

impl fmt::Display for ArchiveLocation {
    /// As restic takes it behind `-r`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = |user: &Option<String>| user.as_ref().map_or(String::new(), |user| format!("{user}@"));
        let in_brackets = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::S3 { endpoint, bucket, prefix } if prefix.is_empty() => write!(f, "s3:{endpoint}/{bucket}"),
            Self::S3 { endpoint, bucket, prefix } => write!(f, "s3:{endpoint}/{bucket}/{prefix}"),
            Self::Sftp { user: name, host, port: None, path } => {
                write!(f, "sftp:{}{}:{path}", user(name), in_brackets(host))
            }
            Self::Sftp { user: name, host, port: Some(port), path } => {
                write!(f, "sftp://{}{}:{port}/{path}", user(name), in_brackets(host))
            }
            Self::Rest(url) => write!(f, "rest:{url}"),
        }
    }
}

impl TryFrom<String> for ArchiveLocation {
    type Error = WrongLocation;

    fn try_from(text: String) -> Result<Self, WrongLocation> {
        text.parse()
    }
}

impl From<ArchiveLocation> for String {
    fn from(location: ArchiveLocation) -> String {
        location.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_read_and_shown_in_the_words_of_restic() {
        for (text, shown) in [
            ("/srv/archive", "/srv/archive"),
            ("/srv/archive/", "/srv/archive"),
            ("/srv/with: colon", "/srv/with: colon"),
            ("s3:https://s3.example.org/backups/p01", "s3:https://s3.example.org/backups/p01"),
            ("s3:http://127.0.0.1:8333/backups", "s3:http://127.0.0.1:8333/backups"),
            ("s3:s3.amazonaws.com/backups/", "s3:https://s3.amazonaws.com/backups"),
            ("sftp:backup@host.example:/srv/a", "sftp:backup@host.example:/srv/a"),
            ("sftp:host:/srv/a", "sftp:host:/srv/a"),
            ("sftp:u@[::1]:/srv/a", "sftp:u@[::1]:/srv/a"),
            ("sftp://u@host:2222//srv/a", "sftp://u@host:2222//srv/a"),
            ("sftp://[::1]:2222//srv/a", "sftp://[::1]:2222//srv/a"),
            ("sftp://u@host//srv/a", "sftp:u@host:/srv/a"),
            ("rest:https://host:8000/p01", "rest:https://host:8000/p01/"),
            ("rest:http://127.0.0.1:8000", "rest:http://127.0.0.1:8000/"),
        ] {
            let location: ArchiveLocation = text.parse().unwrap();
            assert_eq!(location.to_string(), shown);
            assert_eq!(shown.parse::<ArchiveLocation>().unwrap(), location);
        }
    }

    #[test]
    fn what_is_no_location_is_refused_and_a_password_in_it_is_known_as_one() {
        for (text, secret) in [
            ("", false),
            ("archive", false),
            ("/", false),
            ("/srv/../etc", false),
            ("b2:bucket", false),
            ("s3:https://host", false),
            ("s3:https://host/ab", false),
            ("s3:https://id:secret@host/bucket", true),
            ("s3:ftp://host/bucket", false),
            ("s3:https://host/bucket/a//b", false),
            ("sftp:host", false),
            ("sftp:host:relative", false),
            ("sftp:-oProxyCommand=x:/srv", false),
            ("sftp:u:secret@host:/srv", true),
            ("sftp:-l@host:/srv", false),
            ("sftp://host:0//srv", false),
            ("sftp://host/home", false),
            ("rest:host/path", false),
            ("rest:https://u:secret@host/path/", true),
            ("rest:https://u@host/path/", true),
            ("rest:https:///path", false),
            ("rest:https://host/a?b", false),
            ("/srv/a\nb", false),
        ] {
            let error = text.parse::<ArchiveLocation>().unwrap_err();
            assert_eq!(error.holds_secret, secret, "{text:?}: {error}");
            assert!(!secret || !error.to_string().contains("secret"), "{error}");
        }
    }
}
