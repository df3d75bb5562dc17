//! The names that the server answers for.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::Tls;

/// The names that a request may be for.
#[derive(Clone)]
pub struct Hosts {
    names: Arc<[String]>,
    tls: Option<Arc<Tls>>,
}

/// The machine itself.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

impl Hosts {
    /// The machine itself, the address that is listened at, these names, and those in the certificate that is in force.
    pub fn new(listen: IpAddr, names: &[String], tls: Option<Arc<Tls>>) -> Self {
        let mut all: Vec<String> = LOOPBACK.iter().map(|name| (*name).to_owned()).collect();
        // The address that means all of them is none that can be asked for.
        if !listen.is_unspecified() {
            all.push(written(listen));
        }
        all.extend(names.iter().map(|name| name.parse().map_or_else(|_| name.to_ascii_lowercase(), written)));
        all.sort();
        all.dedup();
        Self { names: all.into(), tls }
    }

    /// Whether the connection is encrypted.
    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether a request may be for this name, with or without a port.
    pub fn allows(&self, asked: &str) -> bool {
        let Some(name) = without_port(asked) else { return false };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let fits = |allowed: &String| match allowed.strip_prefix("*.") {
            Some(rest) => name.split_once('.').is_some_and(|(_, of_name)| of_name == rest),
            None => *allowed == name,
        };
        self.names.iter().any(fits) || self.tls.as_ref().is_some_and(|tls| tls.names().iter().any(fits))
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join(", "))
    }
}

/// An address as it stands in a request.
pub(super) fn written(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

fn without_port(asked: &str) -> Option<&str> {
    let (name, port) = match asked.rfind(']') {
        Some(end) => asked.split_at(end + 1),
        None => asked.find(':').map_or((asked, ""), |colon| asked.split_at(colon)),
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_that_are_ours_are_answered_for_whatever_the_port() {
        let hosts =
            Hosts::new("192.0.2.7".parse().unwrap(), &["Backup.Example.org".into(), "::2".into()], None);
        for good in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8470",
            "[::1]:8470",
            "192.0.2.7",
            "backup.example.org.",
            "[::2]",
        ] {
            assert!(hosts.allows(good), "{good}");
        }
        for bad in [
            "",
            "evil.example.org",
            "localhost.evil.org",
            "127.0.0.2",
            "localhost:",
            "localhost:80x",
            "[::1]x",
            "a@localhost",
            "xbackup.example.org",
            "[::1",
            "::1",
        ] {
            assert!(!hosts.allows(bad), "{bad}");
        }
        assert!(!Hosts::new("0.0.0.0".parse().unwrap(), &[], None).allows("0.0.0.0"));
    }
}
