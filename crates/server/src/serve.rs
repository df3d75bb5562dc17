//! The service as a process: what runs side by side, and how it ends.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sd_notify::NotifyState;
use stillpoint_history::History;
use stillpoint_model::ErrorKind;
use stillpoint_model::site_file::{ConsoleTls, OnStop};
use stillpoint_model::status::id;
use stillpoint_site::{LoadedSite, SiteError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::access::{Access, Clock};
use crate::alerting;
use crate::launcher::{Launcher, Tools};
use crate::live::{Live, follow_runs};
use crate::scheduler;
use crate::service::Service;
use crate::web::{App, Limits, Listener, Settings, Tls, TlsFrom, router};

/// What the service is given.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The site file.
    pub config: PathBuf,
    /// The folder with the state of all sites.
    pub state_root: PathBuf,
    /// The program, to start it for each task.
    pub program: PathBuf,
    /// The socket of a launcher; without it the service starts its tasks itself.
    pub launcher: Option<PathBuf>,
}

/// What the service says when it serves.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// Where the console is.
    pub url: String,
    /// The one-time link for the first administrator, while there is none.
    pub link: Option<String>,
    /// The fingerprint of a certificate that vouches for itself: a browser shows the same one.
    pub fingerprint: Option<String>,
}

/// How often it is looked whether the site file is another.
const SITE_FILE_EVERY: Duration = Duration::from_secs(1);

/// Runs the service until SIGTERM or SIGINT. SIGHUP reads the site file, and the certificate, again.
///
/// # Errors
///
/// When it cannot begin: the site file is not valid, the history or the address is taken, the certificate does not fit.
pub fn serve(options: &ServeOptions, announce: &dyn Fn(&Announcement)) -> Result<(), SiteError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .enable_all()
        .build()
        .map_err(|error| environment("the service cannot start its threads", error))?;
    let ended = runtime.block_on(run(options, announce));
    // Looks into archives may still be under way; nobody waits for them.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

fn environment(text: &str, error: impl std::error::Error + Send + Sync + 'static) -> SiteError {
    SiteError::new(ErrorKind::Environment, text.to_owned()).because(error)
}

async fn run(options: &ServeOptions, announce: &dyn Fn(&Announcement)) -> Result<(), SiteError> {
    let launcher = match &options.launcher {
        Some(socket) => Launcher::Socket(socket.clone()),
        None => Launcher::Own(Arc::new(Tools {
            program: options.program.clone(),
            config: options.config.clone(),
            state_root: options.state_root.clone(),
            site: stillpoint_site::load(&options.config)?.file.site.code,
        })),
    };
    let service = Service::open(&options.config, &options.state_root, launcher)?;
    let _only = only_one(service.history.path())?;
    settle(&service).await;
    let (stop_web, stopping) = watch::channel(false);
    let (listener, app) = open_console(&service, stopping.clone()).await?;
    let tls = listener.tls();
    remember(&service).await;
    let mut signals = Signals::take()?;
    announce(&announcement(&listener, &app).await?);
    let web = tokio::spawn(listener.serve(router(&app), stopping));

    let tasks = [
        tokio::spawn(alerting::ping_runs(service.clone())),
        tokio::spawn(alerting::run(service.clone())),
        tokio::spawn(follow_runs(service.history.clone(), service.live.clone())),
        tokio::spawn(tell_queue(service.clone())),
        tokio::spawn(watch_site_file(service.clone())),
        tokio::spawn(remember_site_file(service.clone())),
        tokio::spawn(scheduler::run(service.clone())),
        tokio::spawn(watchdog()),
    ];
    let worker = {
        let service = service.clone();
        tokio::spawn(async move {
            let done = service.clone();
            service.queue.work(&service.launcher, move |ended| after_job(&done, &ended)).await;
        })
    };
    notify(&[NotifyState::Ready]);
    service.tell(id::SERVING_BEGAN, &[service.code().as_str(), env!("CARGO_PKG_VERSION")]);
    signals.until_the_end(&service, tls.as_ref()).await;
    stop(&service, worker).await;
    stop_web.send_replace(true);
    let _ = web.await;
    for task in tasks {
        task.abort();
    }
    service.tell(id::SERVING_ENDED, &[service.code().as_str()]);
    Ok(())
}

/// Runs that died while nobody looked are written down as failed.
async fn settle(service: &Service) {
    let settled = service.with_history(|history| history.settle_dead(jiff::Timestamp::now())).await;
    match settled {
        Ok(dead) => {
            for run in dead {
                tracing::warn!("run {run} died; it is recorded as failed");
            }
        }
        Err(error) => tracing::warn!("runs that died could not be settled: {error}"),
    }
}

fn after_job(service: &Service, ended: &crate::queue::Ended) {
    match &ended.result {
        Ok(exit) if exit.code == Some(0) => tracing::info!("{} ended well", ended.job.order.task()),
        Ok(exit) => {
            tracing::warn!(code = exit.code, "{} ended with problems: {}", ended.job.order.task(), exit.said);
        }
        Err(why) => {
            let code = service.code();
            service.tell(id::SCHEDULED_START_FAILED, &[code.as_str(), why]);
        }
    }
    let (service, ended) = (service.clone(), ended.clone());
    tokio::spawn(async move {
        settle(&service).await;
        let recorded =
            service.with_history(move |history| scheduler::record_unrecorded(history, &ended)).await;
        if let Err(error) = recorded {
            tracing::warn!("a task that did not begin could not be recorded: {error}");
        }
    });
}

async fn tell_queue(service: Service) {
    let mut changes = service.queue.changes();
    while changes.changed().await.is_ok() {
        let json = serde_json::json!(service.queue.view()).to_string();
        let _ = service.live.send(Arc::new(Live { topic: "queue", json }));
    }
}

/// The site file is read again when it is another one: by its content, because editors and tools replace files in many ways.
async fn watch_site_file(service: Service) {
    let mut last = Some(service.site().site.text.as_bytes().to_vec());
    loop {
        tokio::time::sleep(SITE_FILE_EVERY).await;
        let now = tokio::fs::read(service.config()).await.ok();
        if now != last {
            last = now;
            let service = service.clone();
            let _ = tokio::task::spawn_blocking(move || service.reload()).await;
        }
    }
}

/// Whoever starts tasks keeps what is in force, for the time when an edit is not valid.
async fn remember_site_file(service: Service) {
    let mut changes = service.site_changes();
    while changes.changed().await.is_ok() {
        if service.site().mistakes.is_none() {
            remember(&service).await;
        }
    }
}

async fn remember(service: &Service) {
    if let Err(error) = service.launcher.remember().await {
        tracing::warn!("{error}");
    }
}

/// Tells systemd that the service lives, twice in each watchdog period.
async fn watchdog() {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    loop {
        tokio::time::sleep(period / 2).await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd was not told: {error}");
    }
}

/// One service for each site: the lock ends with the process.
fn only_one(history: &Path) -> Result<File, SiteError> {
    let path = history.with_extension("service");
    let taken =
        |error: std::io::Error| environment(&format!("cannot take the lock {}", path.display()), error);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(&path)
        .map_err(taken)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut owner = String::new();
        let _ = file.read_to_string(&mut owner);
        return Err(SiteError::new(
            ErrorKind::Busy,
            format!("another service serves this site (process {})", owner.trim()),
        )
        .hint("one is enough; stop it first, or name another site file or state folder"));
    }
    let written =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(taken)?;
    Ok(file)
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    reload: tokio::signal::unix::Signal,
}

impl Signals {
    fn take() -> Result<Self, SiteError> {
        let take = |kind| signal(kind).map_err(|error| environment("signals cannot be received", error));
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
            reload: take(SignalKind::hangup())?,
        })
    }

    async fn until_the_end(&mut self, service: &Service, tls: Option<&Arc<Tls>>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.reload.recv() => {
                    if let Ok(now) = NotifyState::monotonic_usec_now() {
                        notify(&[NotifyState::Reloading, now]);
                    }
                    let (service, tls) = (service.clone(), tls.cloned());
                    let _ = tokio::task::spawn_blocking(move || reload(&service, tls.as_deref())).await;
                    notify(&[NotifyState::Ready]);
                }
            }
        }
    }
}

fn reload(service: &Service, tls: Option<&Tls>) {
    service.reload();
    if let Some(Err(error)) = tls.map(Tls::reload) {
        tracing::warn!("the certificate stays the one of before: {error}");
    }
}

fn listen_settings(service: &Service) -> Settings {
    let console = &service.site().site.file.console;
    let made = || TlsFrom::Made {
        folder: service.history.path().with_extension("tls"),
        names: console.name.clone(),
    };
    let files = console.certificate.clone().zip(console.key.clone());
    let tls = match (files, console.tls) {
        (Some((certificate, key)), _) => Some(TlsFrom::Files { certificate, key }),
        (None, ConsoleTls::Generated) => Some(made()),
        (None, ConsoleTls::None) => None,
    };
    Settings { listen: console.listen, tls, names: console.name.clone(), limits: Limits::default() }
}

async fn open_console(
    service: &Service,
    stopping: watch::Receiver<bool>,
) -> Result<(Listener, App), SiteError> {
    let clock: Clock = Arc::new(jiff::Timestamp::now);
    let settings = listen_settings(service);
    let listener = Listener::bind(&settings, clock.clone()).await.map_err(|error| {
        SiteError::new(ErrorKind::Environment, format!("the console cannot be served: {error}"))
    })?;
    service.console_is_at(&listener.url());
    let access = Arc::new(Access::new(service.history.clone(), clock));
    let app = App::new(service.clone(), access, listener.hosts(), settings.limits, stopping);
    Ok((listener, app))
}

async fn announcement(listener: &Listener, app: &App) -> Result<Announcement, SiteError> {
    let url = listener.url();
    let path = app.access.first_link().await.map_err(|error| {
        SiteError::new(ErrorKind::Environment, format!("no one-time link could be made: {error}"))
    })?;
    let fingerprint = listener.tls().map(|tls| tls.fingerprint());
    Ok(Announcement { link: path.map(|path| format!("{url}{path}")), url, fingerprint })
}

/// Begins nothing new; what runs is ended or finished, as the site file says.
async fn stop(service: &Service, worker: tokio::task::JoinHandle<()>) {
    notify(&[NotifyState::Stopping]);
    let running = service.queue.view().running;
    service.queue.close();
    let Some(job) = running else { return };
    let cancels = service.site().site.file.schedule.as_ref().is_none_or(|it| it.on_stop == OnStop::Cancel);
    if !cancels && matches!(service.launcher, Launcher::Socket(_)) {
        tracing::info!("the run under way goes on without the service");
        return;
    }
    if cancels {
        tracing::info!("the run under way is told to end");
        if let Err(error) = service.cancel(job.id).await {
            tracing::warn!("the run under way cannot be told to end: {error}");
        }
    }
    let _ = worker.await;
}

/// The history of a site, for whoever only looks. It is made when there is none yet.
///
/// # Errors
///
/// When it cannot be opened.
pub fn history_at(site: &LoadedSite, state_root: &Path) -> Result<History, SiteError> {
    History::open(&History::path_in(state_root, &site.file.site.code))
        .map_err(|error| SiteError::new(ErrorKind::Environment, error.to_string()))
}
