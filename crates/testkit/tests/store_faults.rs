//! Stores on other machines when the machine, the line, the keys or the room are not as they should be: with real servers.

#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use stillpoint_repository::store::{
    Credentials, FileKind, FileName, LocalStore, Patience, Store, StoreError, StoreErrorKind, open_with,
};
use stillpoint_repository::{Id, Location};
use stillpoint_testkit::SmallDisk;
use stillpoint_testkit::servers::{RestServer, SeaweedFs, Sshd, free_port};

fn opened(address: &str, credentials: &Credentials, patience: Patience) -> Box<dyn Store> {
    let location: Location = address.parse().unwrap();
    open_with(&location, credentials, patience).unwrap()
}

/// One that does not wait long for a server that is away, however slow this machine is.
fn impatience() -> Patience {
    Patience { tries: 2, first_pause: Duration::from_millis(1), ..Patience::default() }
}

fn ssh_credentials(server: &Sshd) -> Credentials {
    Credentials {
        identity_file: Some(server.identity()),
        known_hosts_file: Some(server.known_hosts()),
        ssh: ["ssh", "-F", "none"].map(Into::into).to_vec(),
        ..Credentials::default()
    }
}

fn s3_credentials(key: &str, secret: &str) -> Credentials {
    Credentials {
        access_key_id: Some(key.to_owned()),
        secret_access_key: Some(secret.to_owned()),
        ..Credentials::default()
    }
}

fn of(kind: FileKind, content: &[u8]) -> FileName {
    FileName::Of(kind, Id::of(content))
}

fn failed<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> StoreError {
    let error = outcome.expect_err("this must fail");
    eprintln!("{error}");
    error
}

#[test]
fn a_machine_where_nobody_listens_is_an_error() {
    let port = free_port();
    let ssh = Credentials { ssh: ["ssh", "-F", "none"].map(Into::into).to_vec(), ..Credentials::default() };
    for (address, credentials) in [
        (format!("sftp://nobody@127.0.0.1:{port}//srv"), ssh),
        (format!("s3:http://127.0.0.1:{port}/bucket"), s3_credentials("key", "secret")),
        (format!("rest:http://127.0.0.1:{port}/"), Credentials::default()),
    ] {
        let store = opened(&address, &credentials, impatience());
        let error = failed(store.read(FileName::Config, None));
        assert_eq!(error.kind, StoreErrorKind::Unavailable, "{address}");
        assert!(error.to_string().contains("refused"), "{error}");
        assert!(error.hint.is_some());
    }
}

#[test]
fn connections_that_are_cut_are_made_anew() {
    let (server, folder) = (Sshd::start(), tempfile::tempdir().unwrap());
    let store = opened(
        &server.address(folder.path()),
        &ssh_credentials(&server),
        Patience {
            tries: 1000,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(50),
            ..Patience::default()
        },
    );
    store.create().unwrap();
    let contents: Vec<Vec<u8>> = (0..12_u8).map(|number| vec![number; 3_000_000]).collect();
    std::thread::scope(|scope| {
        let (done, each_done) = channel();
        for some in contents.chunks(4) {
            let (store, done) = (&store, done.clone());
            scope.spawn(move || {
                for content in some {
                    store.write_new(of(FileKind::Pack, content), content).unwrap();
                    assert!(store.read(of(FileKind::Pack, content), None).unwrap() == *content);
                    done.send(()).unwrap();
                }
            });
        }
        drop(done);
        // A cut after each file, most of them in the middle of others.
        each_done.iter().for_each(|()| server.cut());
    });
    let mut found = Vec::new();
    store.list(FileKind::Pack, &mut |id, size| found.push((id, size))).unwrap();
    found.sort_unstable();
    let mut wanted: Vec<(Id, u64)> = contents.iter().map(|content| (Id::of(content), 3_000_000)).collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    for content in &contents {
        assert!(store.read(of(FileKind::Pack, content), None).unwrap() == *content);
        store.remove(of(FileKind::Pack, content)).unwrap();
    }
}

#[test]
fn a_machine_that_went_down_is_found_again() {
    let (mut server, folder) = (Sshd::start(), tempfile::tempdir().unwrap());
    let store = opened(&server.address(folder.path()), &ssh_credentials(&server), impatience());
    store.create().unwrap();
    store.write_new(FileName::Config, b"config").unwrap();
    server.stop();
    assert_eq!(failed(store.read(FileName::Config, None)).kind, StoreErrorKind::Unavailable);
    server.start_again();
    assert_eq!(store.read(FileName::Config, None).unwrap(), b"config");

    let mut server = RestServer::start();
    let store = opened(&server.address("site"), &Credentials::default(), impatience());
    store.create().unwrap();
    store.write_new(FileName::Config, b"config").unwrap();
    server.stop();
    assert_eq!(failed(store.read(FileName::Config, None)).kind, StoreErrorKind::Unavailable);
    server.start_again();
    assert_eq!(store.read(FileName::Config, None).unwrap(), b"config");
}

#[test]
fn a_machine_that_stands_still_is_given_up() {
    let (server, folder) = (Sshd::start(), tempfile::tempdir().unwrap());
    let credentials = ssh_credentials(&server);
    let store = opened(&server.address(folder.path()), &credentials, Patience::default());
    store.create().unwrap();
    store.write_new(FileName::Config, b"config").unwrap();
    // It connects while it may, and then meets with silence.
    let idle = Duration::from_secs(2);
    let connect = Duration::from_secs(60);
    let hasty = opened(
        &server.address(folder.path()),
        &credentials,
        Patience { idle, connect, tries: 1, ..impatience() },
    );
    // On a machine this busy the two seconds may pass by themselves.
    let connected = (0..30).any(|_| hasty.read(FileName::Config, None).is_ok());
    assert!(connected, "not once within 2 s");
    server.freeze();
    let read = failed(hasty.read(FileName::Config, None));
    assert_eq!(read.kind, StoreErrorKind::Unavailable);
    assert!(read.to_string().contains("no byte came or went for 2 s"), "{read}");
    server.thaw();
    assert_eq!(store.read(FileName::Config, None).unwrap(), b"config");
}

#[test]
fn wrong_keys_and_unknown_hosts_are_told_apart() {
    let (server, folder) = (Sshd::start(), tempfile::tempdir().unwrap());
    let address = server.address(folder.path());
    let good = ssh_credentials(&server);
    let wrong_key = Credentials { identity_file: Some(server.stranger()), ..good.clone() };
    let error = failed(opened(&address, &wrong_key, Patience::default()).create());
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.to_string().contains("Permission denied"), "{error}");
    let nowhere = folder.path().join("known hosts");
    std::fs::write(&nowhere, "").unwrap();
    let unknown = Credentials { known_hosts_file: Some(nowhere), ..good.clone() };
    let error = failed(opened(&address, &unknown, Patience::default()).create());
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.to_string().contains("Host key verification failed"), "{error}");
    let no_program = Credentials { ssh: vec!["/no/such/ssh".into()], ..good };
    let error = failed(opened(&address, &no_program, Patience::default()).create());
    assert_eq!(error.kind, StoreErrorKind::Other);
    assert!(error.to_string().contains("/no/such/ssh could not be started"), "{error}");
}

#[test]
fn wrong_passwords_and_unknown_authorities_are_told_apart() {
    let server = RestServer::secured();
    let password = |password: &str| Credentials {
        user: Some(RestServer::USER.to_owned()),
        password: Some(password.to_owned()),
        ca_certificate_file: Some(server.authority()),
        ..Credentials::default()
    };
    let error = failed(opened(&server.address("site"), &password("wrong"), Patience::default()).create());
    assert_eq!(error.kind, StoreErrorKind::Denied);
    let unknown = Credentials { ca_certificate_file: None, ..password(RestServer::PASSWORD) };
    let error = failed(opened(&server.address("site"), &unknown, Patience::default()).create());
    assert_eq!(error.kind, StoreErrorKind::Other);
    assert!(error.to_string().contains("certificate"), "{error}");
    opened(&server.address("site"), &password(RestServer::PASSWORD), Patience::default()).create().unwrap();
    let location: Location = server.address("site").parse().unwrap();
    let missing = Credentials { ca_certificate_file: Some("/no/such/file".into()), ..Credentials::default() };
    let error = open_with(&location, &missing, Patience::default()).unwrap_err();
    assert!(error.to_string().contains("/no/such/file cannot be read"), "{error}");
}

/// What a store must do that may add but not remove.
fn only_adds(store: &dyn Store) {
    for kind in [FileKind::Pack, FileKind::Index, FileKind::Snapshot, FileKind::Key] {
        let file = of(kind, b"a");
        store.write_new(file, b"a").unwrap();
        assert_eq!(failed(store.remove(file)).kind, StoreErrorKind::Denied);
        assert_eq!(failed(store.write_new(file, b"b")).kind, StoreErrorKind::AlreadyExists);
        assert_eq!(store.read(file, None).unwrap(), b"a");
    }
}

#[test]
fn a_rest_server_that_only_adds_forbids_to_remove_all_but_locks() {
    let server = RestServer::append_only();
    let store = opened(&server.address("site"), &Credentials::default(), Patience::default());
    store.create().unwrap();
    store.write_new(FileName::Config, b"config").unwrap();
    store.create().unwrap();
    only_adds(&*store);
    let lock = of(FileKind::Lock, b"a");
    store.write_new(lock, b"a").unwrap();
    store.remove(lock).unwrap();
}

#[test]
fn a_bucket_whose_policy_forbids_it_removes_nothing_and_wrong_keys_are_refused() {
    let server = SeaweedFs::start();
    let right = s3_credentials(SeaweedFs::KEY, SeaweedFs::SECRET);
    for (key, secret, word) in [
        (SeaweedFs::KEY, "wrong", "SignatureDoesNotMatch"),
        ("nobody", SeaweedFs::SECRET, "InvalidAccessKeyId"),
    ] {
        let store = opened(&server.address("site"), &s3_credentials(key, secret), Patience::default());
        let error = failed(store.create());
        assert_eq!(error.kind, StoreErrorKind::Denied);
        assert!(error.to_string().contains(word), "{error}");
        assert!(error.hint.is_some());
        assert_eq!(failed(store.write_new(of(FileKind::Pack, b"a"), b"a")).kind, StoreErrorKind::Denied);
    }
    server.set_policy(&serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::archives/*",
        }],
    }));
    let store = opened(&server.address("site"), &right, Patience::default());
    store.create().unwrap();
    store.write_new(FileName::Config, b"config").unwrap();
    only_adds(&*store);
}

#[test]
fn a_key_for_s3_must_be_given() {
    let location: Location = "s3:http://127.0.0.1:1/bucket".parse().unwrap();
    let error = open_with(&location, &Credentials::default(), Patience::default()).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.hint.is_some_and(|hint| hint.contains("credentials file")));
}

/// Fills a store that has little room: it says so, keeps what it has, leaves no parts, and takes more once there is room.
fn gets_full(store: &dyn Store, root: &Path, free: impl FnOnce()) {
    store.create().unwrap();
    let small = vec![1; 1000];
    store.write_new(of(FileKind::Pack, &small), &small).unwrap();
    let large = vec![2; 6 << 20];
    let file = of(FileKind::Pack, &large);
    assert_eq!(failed(store.write_new(file, &large)).kind, StoreErrorKind::Full);
    assert_eq!(failed(store.read(file, None)).kind, StoreErrorKind::NotFound);
    assert!(store.read(of(FileKind::Pack, &small), None).unwrap() == small);
    let folder = root.join(file.to_string()).parent().unwrap().to_owned();
    let left: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("tmp")), "{left:?}");
    free();
    store.write_new(file, &large).unwrap();
    assert!(store.read(file, None).unwrap() == large);
}

#[test]
fn a_disk_that_is_full_is_told() {
    let filled = || {
        let disk = SmallDisk::new(10 << 10);
        std::fs::write(disk.filler(), vec![0; 6 << 20]).unwrap();
        disk
    };
    let disk = filled();
    let root = disk.path().join("archive");
    gets_full(&LocalStore::new(&root), &root, || disk.free());
    let (server, disk) = (Sshd::start(), filled());
    let root = disk.path().join("archive");
    let store = opened(&server.address(&root), &ssh_credentials(&server), Patience::default());
    gets_full(&*store, &root, || disk.free());
}
