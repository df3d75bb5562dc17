//! The contract of stores, held by those on other machines, each against a real server.

#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

#[path = "../../repository/tests/support/contract.rs"]
mod contract;

use std::path::Path;
use std::process::Command;

use contract::{Place, holds};
use stillpoint_repository::store::{Credentials, FileKind, FileName, Store, open};
use stillpoint_repository::{Id, Location};
use stillpoint_testkit::capability::require_program;
use stillpoint_testkit::program::succeed;
use stillpoint_testkit::servers::{RestServer, SeaweedFs, Sshd};

fn opened(address: &str, credentials: &Credentials) -> Box<dyn Store> {
    let location: Location = address.parse().unwrap();
    open(&location, credentials).unwrap()
}

fn new_name() -> String {
    Id::random().unwrap().short()
}

struct OverSsh {
    server: Sshd,
    folder: tempfile::TempDir,
}

impl OverSsh {
    fn credentials(&self) -> Credentials {
        Credentials {
            identity_file: Some(self.server.identity()),
            known_hosts_file: Some(self.server.known_hosts()),
            ssh: ["ssh", "-F", "none"].map(Into::into).to_vec(),
            ..Credentials::default()
        }
    }

    fn at(&self, folder: &Path) -> Box<dyn Store> {
        opened(&self.server.address(folder), &self.credentials())
    }
}

impl Place for OverSsh {
    fn fresh(&self) -> Box<dyn Store> {
        let store = self.at(&self.folder.path().join("with a space").join(new_name()));
        store.create().unwrap();
        store
    }

    fn nowhere(&self) -> Option<Box<dyn Store>> {
        // A disk that is not mounted leaves an empty folder.
        let empty = self.folder.path().join(new_name());
        std::fs::create_dir(&empty).unwrap();
        Some(self.at(&empty))
    }

    fn litter(&self, store: &dyn Store) {
        let root = &store.name()[store.name().find("//").unwrap() + 2..];
        let root = &root[root.find("//").unwrap() + 1..];
        litter(Path::new(root));
    }
}

/// What lies about in folders of repositories.
fn litter(root: &Path) {
    let id = Id::of(b"litter");
    for path in [
        format!("keys/{id}-tmp-0123456789abcdef"),
        format!("data/00/{id}-tmp-0123456789abcdef"),
        "data/note".to_owned(),
        format!("index/.{id}"),
    ] {
        std::fs::write(root.join(path), "litter").unwrap();
    }
    std::fs::create_dir(root.join(format!("snapshots/{id}"))).unwrap();
}

#[test]
fn sftp_keeps_the_contract() {
    let place = OverSsh { server: Sshd::start(), folder: tempfile::tempdir().unwrap() };
    holds(&place);
}

struct OverRest {
    server: RestServer,
    credentials: Credentials,
}

impl Place for OverRest {
    fn fresh(&self) -> Box<dyn Store> {
        let store = opened(&self.server.address(&format!("sites/{}", new_name())), &self.credentials);
        store.create().unwrap();
        store
    }

    fn nowhere(&self) -> Option<Box<dyn Store>> {
        // This server has an empty list for a folder that is not there; that of restic has not.
        None
    }

    fn excludes(&self) -> bool {
        // This server replaces, and may even mix what several write at once; that of restic does not.
        false
    }
}

#[test]
fn a_rest_server_keeps_the_contract() {
    holds(&OverRest { server: RestServer::start(), credentials: Credentials::default() });
}

#[test]
fn a_rest_server_with_a_password_and_tls_keeps_the_contract() {
    let server = RestServer::secured();
    let credentials = Credentials {
        user: Some(RestServer::USER.to_owned()),
        password: Some(RestServer::PASSWORD.to_owned()),
        ca_certificate_file: Some(server.authority()),
        ..Credentials::default()
    };
    holds(&OverRest { server, credentials });
}

struct OverS3(SeaweedFs);

fn s3_credentials() -> Credentials {
    Credentials {
        access_key_id: Some(SeaweedFs::KEY.to_owned()),
        secret_access_key: Some(SeaweedFs::SECRET.to_owned()),
        ..Credentials::default()
    }
}

impl Place for OverS3 {
    fn fresh(&self) -> Box<dyn Store> {
        let store = opened(&self.0.address(&format!("sites/{}", new_name())), &s3_credentials());
        store.create().unwrap();
        store
    }

    fn nowhere(&self) -> Option<Box<dyn Store>> {
        Some(opened(&format!("s3:{}/no-such-bucket/site", self.0.endpoint()), &s3_credentials()))
    }
}

#[test]
fn s3_keeps_the_contract() {
    holds(&OverS3(SeaweedFs::start()));
}

/// The stock program, with what it must know to reach the store.
fn restic(address: &str, more: &[(&str, &str)], options: &[&str], act: &[&str]) -> String {
    let cache = tempfile::tempdir().unwrap();
    let mut command = Command::new(require_program("restic", "restic"));
    command.env("RESTIC_PASSWORD", "word").envs(more.iter().copied());
    command.args(["--repo", address, "--cache-dir"]).arg(cache.path()).args(options);
    succeed(command.args(act))
}

fn names(store: &dyn Store, kind: FileKind) -> Vec<(Id, u64)> {
    let mut found = Vec::new();
    store.list(kind, &mut |id, size| found.push((id, size))).unwrap();
    found
}

/// What the stock program stores there, we find; what we remove, it misses.
fn shares_with_restic(store: &dyn Store, address: &str, more: &[(&str, &str)], options: &[&str]) {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("file"), "content").unwrap();
    restic(address, more, options, &["init"]);
    restic(address, more, options, &["backup", data.path().to_str().unwrap()]);
    assert!(!store.read(FileName::Config, None).unwrap().is_empty());
    assert_eq!(names(store, FileKind::Lock), []);
    for kind in [FileKind::Key, FileKind::Snapshot, FileKind::Index, FileKind::Pack] {
        let found = names(store, kind);
        assert!(!found.is_empty(), "{kind:?}");
        for (id, size) in found {
            let content = store.read(FileName::Of(kind, id), None).unwrap();
            assert_eq!((Id::of(&content), content.len() as u64), (id, size), "{kind:?}");
        }
    }
    let snapshots = names(store, FileKind::Snapshot);
    assert_eq!(snapshots.len(), 1);
    let snapshot = snapshots[0].0;
    let content = store.read(FileName::Of(FileKind::Snapshot, snapshot), None).unwrap();
    let listed = || restic(address, more, options, &["list", "snapshots"]);
    assert!(listed().contains(&snapshot.to_string()));
    store.remove(FileName::Of(FileKind::Snapshot, snapshot)).unwrap();
    assert!(!listed().contains(&snapshot.to_string()));
    store.write_new(FileName::Of(FileKind::Snapshot, snapshot), &content).unwrap();
    restic(address, more, options, &["check", "--read-data"]);
}

#[test]
fn stock_restic_takes_the_same_addresses_and_sees_the_same_files() {
    let rest = RestServer::start();
    let address = rest.address("site");
    shares_with_restic(&*opened(&address, &Credentials::default()), &address, &[], &[]);

    let s3 = SeaweedFs::start();
    let address = s3.address("a/site");
    let keys = [("AWS_ACCESS_KEY_ID", SeaweedFs::KEY), ("AWS_SECRET_ACCESS_KEY", SeaweedFs::SECRET)];
    shares_with_restic(&*opened(&address, &s3_credentials()), &address, &keys, &[]);

    let over_ssh = OverSsh { server: Sshd::start(), folder: tempfile::tempdir().unwrap() };
    let folder = over_ssh.folder.path().join("site");
    let address = over_ssh.server.address(&folder);
    let command = format!("sftp.command={}", over_ssh.server.command());
    shares_with_restic(&*over_ssh.at(&folder), &address, &[], &["-o", &command]);
}
