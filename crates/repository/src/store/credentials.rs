//! What a store on another machine wants to know before it lets anybody in.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// The secrets for a store, and what belongs to them. Only what the kind of store needs is looked at.
#[derive(Clone, Default)]
pub struct Credentials {
    /// S3: the name of the key.
    pub access_key_id: Option<String>,
    /// S3: the key.
    pub secret_access_key: Option<String>,
    /// S3: a further part of a key that was lent for a time.
    pub session_token: Option<String>,
    /// S3: the region; `us-east-1` where nothing is said.
    pub region: Option<String>,
    /// REST: who logs in.
    pub user: Option<String>,
    /// REST: the password.
    pub password: Option<String>,
    /// SFTP: the program instead of `ssh`, and arguments to go before all others.
    pub ssh: Vec<OsString>,
    /// SFTP: the file with the private key.
    pub identity_file: Option<PathBuf>,
    /// SFTP: the file with the keys of known hosts.
    pub known_hosts_file: Option<PathBuf>,
    /// S3, REST: a file with further certificates (PEM) of authorities to trust.
    pub ca_certificate_file: Option<PathBuf>,
}

impl fmt::Debug for Credentials {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |secret: &Option<String>| secret.as_ref().map(|_| "***");
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &hidden(&self.secret_access_key))
            .field("session_token", &hidden(&self.session_token))
            .field("region", &self.region)
            .field("user", &self.user)
            .field("password", &hidden(&self.password))
            .field("ssh", &self.ssh)
            .field("identity_file", &self.identity_file)
            .field("known_hosts_file", &self.known_hosts_file)
            .field("ca_certificate_file", &self.ca_certificate_file)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let secret = || Some("geheim".to_owned());
        let credentials = Credentials {
            access_key_id: Some("name".to_owned()),
            secret_access_key: secret(),
            session_token: secret(),
            password: secret(),
            ..Credentials::default()
        };
        let shown = format!("{credentials:?} {credentials:#?}");
        assert!(!shown.contains("geheim"), "{shown}");
        assert!(shown.contains("name"));
    }
}
