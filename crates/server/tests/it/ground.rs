//! A server on loopback, with its own history, people and clock.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use stillpoint_server::access::{Access, Clock, Role};
use stillpoint_server::launcher::{Launcher, Tools};
use stillpoint_server::service::Service;
use stillpoint_server::web::{App, Limits, Listener, Settings, Tls, TlsFrom, router};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::{Answer, request, send};

/// A clock that a test moves.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(Timestamp::now().as_second())))
    }

    pub fn later(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn as_clock(&self) -> Clock {
        let seconds = self.0.clone();
        Arc::new(move || Timestamp::from_second(seconds.load(Ordering::SeqCst)).unwrap())
    }
}

pub struct Ground {
    pub folder: tempfile::TempDir,
    pub service: Service,
    pub access: Arc<Access>,
    pub clock: TestClock,
    pub address: SocketAddr,
    pub tls: Option<Arc<Tls>>,
    pub stop: watch::Sender<bool>,
    pub serving: JoinHandle<()>,
}

/// The password of everybody here.
pub const PASSWORD: &str = "four words by chance";

/// Its Argon2id text is made once: it is the slow part.
static PASSWORD_TEXT: LazyLock<String> = LazyLock::new(|| {
    use argon2::password_hash::{PasswordHasher as _, SaltString};
    let salt = SaltString::encode_b64(b"salt of the test").unwrap();
    argon2::Argon2::default().hash_password(PASSWORD.as_bytes(), &salt).unwrap().to_string()
});

fn site_file(folder: &Path) -> std::path::PathBuf {
    let tree = folder.join("tree");
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::create_dir_all(folder.join("backups")).unwrap();
    let text = format!(
        "[site]\ncode = \"P01\"\nname = \"Test\"\n\n[destination]\nfolder = {:?}\n\n[[component]]\nname = \"content\"\ntype = \"files\"\npath = {:?}\n\n[[archive]]\nname = \"local\"\nlocation = {:?}\nkey = {{ file = \"/nowhere/key\" }}\n",
        folder.join("backups"),
        tree,
        folder.join("archive"),
    );
    let path = folder.join("site.toml");
    std::fs::write(&path, text).unwrap();
    path
}

impl Ground {
    pub async fn new() -> Self {
        Self::with(None, Limits::default()).await
    }

    pub async fn with(tls: Option<TlsFrom>, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (config, state_root) = (site_file(folder.path()), folder.path().join("state"));
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/programs/stillpoint");
        let site = "P01".parse().unwrap();
        let tools = Tools { program, config: config.clone(), state_root: state_root.clone(), site };
        let service = Service::open(&config, &state_root, Launcher::Own(Arc::new(tools))).unwrap();
        let clock = TestClock::new();
        let access = Arc::new(Access::new(service.history.clone(), clock.as_clock()));
        let settings = Settings { listen: ([127, 0, 0, 1], 0).into(), tls, names: Vec::new(), limits };
        let listener = Listener::bind(&settings, clock.as_clock()).await.unwrap();
        let (stop, stopping) = watch::channel(false);
        let app = App::new(service.clone(), access.clone(), listener.hosts(), limits, stopping.clone());
        let (address, tls) = (listener.address(), listener.tls());
        let serving = tokio::spawn(listener.serve(router(&app), stopping));
        Self { folder, service, access, clock, address, tls, stop, serving }
    }

    /// Adds somebody with the password of everybody.
    pub fn add(&self, name: &str, role: Role) {
        self.service.history.add_person(name, role, &PASSWORD_TEXT, self.access.now()).unwrap();
    }

    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        send(self.address, &request("GET", path, headers, "")).await
    }

    pub async fn form(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
        all.extend(headers);
        send(self.address, &request("POST", path, &all, body)).await
    }

    /// Sends JSON with a token.
    pub async fn json(&self, method: &str, path: &str, token: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        send(self.address, &request(method, path, &headers, body)).await
    }

    /// Signs somebody in, and returns the cookie.
    pub async fn sign_in(&self, name: &str) -> String {
        let body = format!("name={name}&password={}", PASSWORD.replace(' ', "+"));
        let answer = self.form("/sign-in", &[], &body).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/"), "{answer:?}");
        answer.cookie()
    }

    /// The secret that forms of this session bring back.
    pub async fn csrf(&self, cookie: &str) -> String {
        let (_, secret) = cookie.split_once('=').unwrap();
        let caller = self.access.by_session(secret, self.address.ip()).await.unwrap().unwrap();
        caller.csrf().to_owned()
    }

    /// A token of somebody.
    pub async fn token(&self, name: &str, role: Role) -> String {
        let caller = stillpoint_server::access::Caller {
            name: name.to_owned(),
            role,
            address: self.address.ip(),
            by: stillpoint_server::access::By::Token { id: 0, name: "test".into() },
        };
        self.access.make_token(&caller, "test", role, 1).await.unwrap().1
    }
}
