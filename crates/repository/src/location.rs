//! Where an archive lies: its address in the words of restic, so that one can be copied from the one program to the other.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// The address of an archive. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Location {
    /// A folder: `/path` or `local:/path`.
    Local(PathBuf),
    /// An S3 bucket, or what lies below a prefix in it: `s3:https://host[:port]/bucket[/prefix]`.
    S3 {
        /// `https://host[:port]`, or with `http`.
        endpoint: String,
        /// The bucket.
        bucket: String,
        /// What the names of all files begin with, without slashes at its ends; may be empty.
        prefix: String,
    },
    /// A folder on another machine: `sftp:user@host:/path` or `sftp://user@host:port//path`.
    Sftp {
        /// Who logs in; nothing leaves it to the settings of `ssh`.
        user: Option<String>,
        /// A name that `ssh` knows, or an address.
        host: String,
        /// The port; nothing leaves it to the settings of `ssh`.
        port: Option<u16>,
        /// The folder, absolute.
        path: String,
    },
    /// restic's REST server: `rest:https://host:port/path/`.
    Rest {
        /// The address without the `rest:`; it ends with a slash.
        url: String,
    },
}

/// What is wrong with the address of an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Nothing is there.
    #[error("the address of the archive is empty")]
    Empty,
    /// A folder that depends on where the program was started.
    #[error("the archive's folder {0} is not an absolute path: begin it with a slash")]
    Relative(String),
    /// A folder on another machine that depends on the user's home.
    #[error("the archive's folder {0} on the other machine is not an absolute path: {1}")]
    RelativeThere(String, &'static str),
    /// `..` in a path.
    #[error("the archive's folder {0} has .. in it: write the path without")]
    Upwards(String),
    /// A service that is not spoken here.
    #[error("archives of the kind {0}: are not known: it is a folder, s3:, sftp: or rest:")]
    UnknownKind(String),
    /// User and password in the address.
    #[error("the address of the archive has a user or a password in it: put them into the credentials file")]
    Secret,
    /// Not `https` and not `http`.
    #[error("the address {0} begins with neither https:// nor http://")]
    NotHttp(String),
    /// No machine is named.
    #[error("the address {0} names no host")]
    NoHost(String),
    /// The port is not one.
    #[error("the address {0} has a port that is not a number from 1 to 65535")]
    BadPort(String),
    /// No bucket is named.
    #[error("the address {0} names no bucket: write s3:https://host/bucket")]
    NoBucket(String),
    /// `s3://`, of which it is not clear what follows it.
    #[error("s3:// does not say whether a host or a bucket follows: write s3:https://host/bucket")]
    UnclearS3,
    /// No folder on the other machine is named.
    #[error("the address {0} names no folder: write sftp:user@host:/folder")]
    NoFolder(String),
    /// Characters that cannot be part of an address.
    #[error("the address {0} has a space, a question mark, a number sign or a control character in it")]
    BadCharacter(String),
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        if text.is_empty() {
            return Err(LocationError::Empty);
        }
        if text.starts_with('/') {
            return local(text);
        }
        match text.split_once(':') {
            Some(("local", path)) => local(path),
            Some(("s3", rest)) => s3(rest),
            Some(("sftp", rest)) => sftp(rest),
            Some(("rest", rest)) => rest_server(rest),
            Some((kind, _)) if !kind.contains('/') => Err(LocationError::UnknownKind(kind.to_owned())),
            _ => Err(LocationError::Relative(text.to_owned())),
        }
    }
}

fn local(path: &str) -> Result<Location, LocationError> {
    if !path.starts_with('/') {
        return Err(LocationError::Relative(path.to_owned()));
    }
    not_upwards(path)?;
    // Without doubled slashes and the one at the end.
    Ok(Location::Local(Path::new(path).components().collect()))
}

fn not_upwards(path: &str) -> Result<(), LocationError> {
    match Path::new(path).components().any(|part| part == Component::ParentDir) {
        true => Err(LocationError::Upwards(path.to_owned())),
        false => Ok(()),
    }
}

/// `https://host[:port]` and the path after it, which has its first slash.
fn http_parts(text: &str) -> Result<(String, &str), LocationError> {
    let (scheme, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => ("https", rest),
        (_, Some(rest)) => ("http", rest),
        _ => return Err(LocationError::NotHttp(text.to_owned())),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // First, so that no other error shows a secret.
    if authority.contains('@') {
        return Err(LocationError::Secret);
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '?' || c == '#') {
        return Err(LocationError::BadCharacter(text.to_owned()));
    }
    let (host, port) = host_and_port(authority, text)?;
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    not_upwards(path)?;
    Ok((format!("{scheme}://{host}{port}"), path))
}

/// Host and port; an IPv6 address stands in brackets and keeps them.
fn host_and_port<'a>(authority: &'a str, whole: &str) -> Result<(&'a str, Option<u16>), LocationError> {
    let after_address = authority.find(']').map_or(0, |end| end + 1);
    let (host, port) = match authority[after_address..].find(':') {
        Some(colon) => {
            let (host, port) = authority.split_at(after_address + colon);
            let number = port[1..].parse().ok().filter(|port| *port != 0);
            (host, Some(number.ok_or_else(|| LocationError::BadPort(whole.to_owned()))?))
        }
        None => (authority, None),
    };
    match host.trim_matches(['[', ']']).is_empty() || host.starts_with('-') {
        true => Err(LocationError::NoHost(whole.to_owned())),
        false => Ok((host, port)),
    }
}

fn s3(rest: &str) -> Result<Location, LocationError> {
    if rest.starts_with("//") {
        return Err(LocationError::UnclearS3);
    }
    // restic takes a host without a scheme for https.
    let text = if rest.contains("://") { rest.to_owned() } else { format!("https://{rest}") };
    let (endpoint, path) = http_parts(&text)?;
    let path = path.trim_matches('/');
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    if bucket.is_empty() {
        return Err(LocationError::NoBucket(text));
    }
    let prefix: Vec<&str> = prefix.split('/').filter(|part| !part.is_empty()).collect();
    Ok(Location::S3 { endpoint, bucket: bucket.to_owned(), prefix: prefix.join("/") })
}

fn rest_server(rest: &str) -> Result<Location, LocationError> {
    let (server, path) = http_parts(rest)?;
    let path = path.trim_matches('/');
    let slash = if path.is_empty() { "" } else { "/" };
    Ok(Location::Rest { url: format!("{server}/{path}{slash}") })
}

fn sftp(rest: &str) -> Result<Location, LocationError> {
    let whole = || format!("sftp:{rest}");
    let (authority, path, hint) = match rest.strip_prefix("//") {
        Some(url) => {
            let slash = url.find('/').ok_or_else(|| no_folder(rest))?;
            // As in restic: what follows the first slash is the path, so an absolute one begins with the second.
            (&url[..slash], &url[slash + 1..], "write sftp://host//folder, with two slashes")
        }
        None => {
            let at_or_start = rest.find('@').map_or(0, |at| at + 1);
            let after_address = rest.find(']').map_or(at_or_start, |end| end + 1);
            let colon = rest[after_address..].find(':').ok_or_else(|| no_folder(rest))? + after_address;
            (&rest[..colon], &rest[colon + 1..], "write sftp:host:/folder")
        }
    };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err(LocationError::Secret);
    }
    if rest.contains(char::is_control) || authority.contains(char::is_whitespace) {
        return Err(LocationError::BadCharacter(whole()));
    }
    let (host, port) = host_and_port(host, &whole())?;
    if user.is_some_and(|user| user.is_empty() || user.starts_with('-')) {
        return Err(LocationError::NoHost(whole()));
    }
    if path.is_empty() {
        return Err(LocationError::NoFolder(whole()));
    }
    if !path.starts_with('/') {
        return Err(LocationError::RelativeThere(path.to_owned(), hint));
    }
    not_upwards(path)?;
    let path: PathBuf = Path::new(path).components().collect();
    Ok(Location::Sftp {
        user: user.map(str::to_owned),
        host: host.to_owned(),
        port,
        path: path.to_string_lossy().into_owned(),
    })
}

/// There is no folder; a password that stands there instead is not shown.
fn no_folder(rest: &str) -> LocationError {
    match rest.split_once('@') {
        Some((user, _)) if user.trim_start_matches('/').contains(':') => LocationError::Secret,
        _ => LocationError::NoFolder(format!("sftp:{rest}")),
    }
}

impl fmt::Display for Location {
    /// As restic takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Local(path) => write!(f, "{}", path.display()),
            Location::S3 { endpoint, bucket, prefix } if prefix.is_empty() => {
                write!(f, "s3:{endpoint}/{bucket}")
            }
            Location::S3 { endpoint, bucket, prefix } => write!(f, "s3:{endpoint}/{bucket}/{prefix}"),
            Location::Sftp { user, host, port, path } => {
                let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                match port {
                    Some(port) => write!(f, "sftp://{user}{host}:{port}/{path}"),
                    None => write!(f, "sftp:{user}{host}:{path}"),
                }
            }
            Location::Rest { url } => write!(f, "rest:{url}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_being_shown() {
        for (text, shown) in [
            ("/srv/archive", "/srv/archive"),
            ("/srv//archive/", "/srv/archive"),
            ("local:/mnt/a:b", "/mnt/a:b"),
            ("s3:https://s3.example.org/bucket", "s3:https://s3.example.org/bucket"),
            ("s3:http://127.0.0.1:8333/bucket//a/b/", "s3:http://127.0.0.1:8333/bucket/a/b"),
            ("s3:s3.amazonaws.com/bucket", "s3:https://s3.amazonaws.com/bucket"),
            ("sftp:backup@host:/srv/archive", "sftp:backup@host:/srv/archive"),
            ("sftp:host:/srv/with space/", "sftp:host:/srv/with space"),
            ("sftp:backup@[::1]:/srv", "sftp:backup@[::1]:/srv"),
            ("sftp://backup@host:2222//srv/archive", "sftp://backup@host:2222//srv/archive"),
            ("sftp://[::1]:2222//srv", "sftp://[::1]:2222//srv"),
            ("sftp://host//srv", "sftp:host:/srv"),
            ("rest:https://host:8000/site", "rest:https://host:8000/site/"),
            ("rest:http://[::1]:8000", "rest:http://[::1]:8000/"),
        ] {
            let location: Location = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(location.to_string(), shown, "{text}");
            assert_eq!(shown.parse(), Ok(location), "{text}");
        }
    }

    #[test]
    fn the_parts_of_an_address_are_told_apart() {
        let s3: Location = "s3:http://127.0.0.1:8333/bucket/a/b".parse().unwrap();
        let (endpoint, bucket, prefix) = ("http://127.0.0.1:8333".into(), "bucket".into(), "a/b".into());
        assert_eq!(s3, Location::S3 { endpoint, bucket, prefix });
        let sftp: Location = "sftp://backup@host:2222//srv/archive".parse().unwrap();
        let (user, host, path) = (Some("backup".into()), "host".into(), "/srv/archive".into());
        assert_eq!(sftp, Location::Sftp { user, host, port: Some(2222), path });
    }

    #[test]
    fn each_mistake_has_its_own_word() {
        for (text, part) in [
            ("", "is empty"),
            ("archive", "not an absolute path"),
            ("./a:b", "not an absolute path"),
            ("local:archive", "not an absolute path"),
            ("/srv/../etc", "has .. in it"),
            ("b2:bucket:path", "kind b2: are not known"),
            ("s3://bucket/prefix", "s3:// does not say"),
            ("s3:ftp://host/bucket", "neither https:// nor http://"),
            ("s3:https://host", "names no bucket"),
            ("s3:https:///bucket", "names no host"),
            ("s3:https://host:99999/bucket", "has a port"),
            ("s3:https://host/bucket?x=1", "question mark"),
            ("rest:host:8000/", "neither https:// nor http://"),
            ("rest:https://host:0/", "has a port"),
            ("sftp:host", "names no folder"),
            ("sftp:user@host:", "names no folder"),
            ("sftp://user@host", "names no folder"),
            ("sftp:user@host:srv", "write sftp:host:/folder"),
            ("sftp://user@host/srv", "with two slashes"),
            ("sftp::/srv", "names no host"),
            // It would be an option of ssh.
            ("sftp:-oProxyCommand=x:/srv", "names no host"),
        ] {
            let error = text.parse::<Location>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_is_refused_and_not_shown() {
        for text in [
            "rest:https://user:geheim@host/",
            "s3:https://key:geheim@host/bucket",
            "sftp://user:geheim@host//srv",
            "sftp:user:geheim@host:/srv",
            "sftp:user:geheim@host",
            "rest:https://geheim@host:x y/",
        ] {
            let error = text.parse::<Location>().expect_err(text);
            assert_eq!(error, LocationError::Secret, "{text}");
        }
    }
}
