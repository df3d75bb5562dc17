//! OpenSSH's server, for those who run the tests and with a key of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::{Server, free_port, own_folder, start_with_ports};
use crate::capability::require_program;
use crate::program::{finish, succeed};

/// A running `sshd` on the loopback. Its connections are ended with it.
#[derive(Debug)]
pub struct Sshd {
    server: Option<Server>,
    port: u16,
    user: String,
    folder: tempfile::TempDir,
}

impl Sshd {
    /// Starts one.
    pub fn start() -> Self {
        let folder = own_folder();
        let keygen = require_program("ssh-keygen", "openssh-client");
        for key in ["host", "user", "stranger"] {
            let path = folder.path().join(key);
            succeed(Command::new(&keygen).args(["-q", "-t", "ed25519", "-N", "", "-C", key, "-f"]).arg(path));
        }
        let copied = std::fs::copy(folder.path().join("user.pub"), folder.path().join("authorized"));
        assert!(copied.is_ok(), "the authorised key cannot be written");
        // It insists on this folder when root runs it.
        let _ = std::fs::create_dir_all("/run/sshd");
        let user = succeed(Command::new("id").arg("-un")).trim().to_owned();
        let mut sshd = Self { server: None, port: 0, user, folder };
        sshd.server = Some(start_with_ports(|| {
            sshd.port = free_port();
            sshd.serve()
        }));
        let host_key = std::fs::read_to_string(sshd.folder.path().join("host.pub")).unwrap_or_default();
        let known = format!("[127.0.0.1]:{} {host_key}", sshd.port);
        let written = std::fs::write(sshd.known_hosts(), known);
        assert!(written.is_ok(), "the known hosts cannot be written");
        sshd
    }

    fn serve(&self) -> Option<Server> {
        let at = self.folder.path();
        let path = |name: &str| at.join(name).display().to_string();
        let settings = [
            format!("Port {}", self.port),
            "ListenAddress 127.0.0.1".to_owned(),
            format!("HostKey {}", path("host")),
            format!("AuthorizedKeysFile {}", path("authorized")),
            "PidFile none".to_owned(),
            "UsePAM no".to_owned(),
            "StrictModes no".to_owned(),
            "PermitRootLogin prohibit-password".to_owned(),
            "PasswordAuthentication no".to_owned(),
            "KbdInteractiveAuthentication no".to_owned(),
            "MaxStartups 100".to_owned(),
            "Subsystem sftp internal-sftp".to_owned(),
        ];
        let config = at.join("config");
        let written = std::fs::write(&config, settings.join("\n") + "\n");
        assert!(written.is_ok(), "the settings of sshd cannot be written");
        // It starts itself anew for each connection, so it wants its whole path.
        let mut command = Command::new(require_program("sshd", "openssh-server"));
        command.args(["-D", "-e", "-f"]).arg(config);
        Server::start(&mut command, at.join("log")).ready(self.port)
    }

    /// Ends the server and all connections, as a machine that goes down.
    pub fn stop(&mut self) {
        let Some(server) = self.server.take() else { return };
        let connections = self.connections(&server);
        drop(server);
        for connection in connections {
            finish(Command::new("kill").args(["-KILL", &connection]));
        }
    }

    /// Starts it again on the same port.
    pub fn start_again(&mut self) {
        self.stop();
        self.server = self.serve();
        assert!(self.server.is_some(), "sshd did not start again on port {}", self.port);
    }

    /// Makes the server and its connections stand still: nothing is answered, nothing is closed.
    pub fn freeze(&self) {
        self.signal_all("-STOP", Signal::STOP);
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        self.signal_all("-CONT", Signal::CONT);
    }

    /// Ends the connections; new ones are taken.
    pub fn cut(&self) {
        let connections = self.server.as_ref().map(|server| self.connections(server)).unwrap_or_default();
        for connection in connections {
            finish(Command::new("kill").args(["-KILL", &connection]));
        }
    }

    fn signal_all(&self, name: &str, signal: Signal) {
        let Some(server) = &self.server else { return };
        server.signal(signal);
        for connection in self.connections(server) {
            finish(Command::new("kill").args([name, &connection]));
        }
    }

    /// The process numbers of all that the server started, and of what these started.
    fn connections(&self, server: &Server) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let mut parents = vec![server.child.id().to_string()];
        while let Some(parent) = parents.pop() {
            let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
            for child in children.unwrap_or_default().split_whitespace() {
                found.push(child.to_owned());
                parents.push(child.to_owned());
            }
        }
        found
    }

    /// The address of the folder `path` there, in restic's words.
    pub fn address(&self, path: &Path) -> String {
        format!("sftp://{}@127.0.0.1:{}/{}", self.user, self.port, path.display())
    }

    /// The command with which other programs reach its file transfer subsystem.
    pub fn command(&self) -> String {
        let path = |path: PathBuf| path.display().to_string();
        let (identity, known_hosts) = (path(self.identity()), path(self.known_hosts()));
        let options = format!("-F none -o BatchMode=yes -o UserKnownHostsFile={known_hosts} -i {identity}");
        format!("ssh {options} -p {} -l {} 127.0.0.1 -s sftp", self.port, self.user)
    }

    /// The private key that opens it.
    pub fn identity(&self) -> PathBuf {
        self.folder.path().join("user")
    }

    /// A private key that does not.
    pub fn stranger(&self) -> PathBuf {
        self.folder.path().join("stranger")
    }

    /// A file of known hosts with it.
    pub fn known_hosts(&self) -> PathBuf {
        self.folder.path().join("known_hosts")
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        self.server.as_ref().map(Server::log).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}
