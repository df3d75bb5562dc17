//! `stillpoint demo`: a small living site is backed up under load, destroyed, recovered, and checked row by row. Needs
//! nothing but this program and a temporary folder.

mod living;
mod page;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stillpoint_ledger::check::{CheckReport, CheckSettings, Mode, check};
use stillpoint_ledger::control;
use stillpoint_model::{Cancel, Deadline, ErrorKind, NoMonitor};
use stillpoint_site::{BackupOptions, BackupReport, LoadedSite, RecoverOptions, SiteError};

pub use living::living_site;

use crate::arguments::{Common, DemoArguments};
use crate::verbs::{cancel_on_signal, own_program};
use page::Page;

/// How long the application may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Runs the demo. The exit code is 0 only if the recovered site is equal to the instant of the backup.
pub fn demo(common: &Common, own: &DemoArguments) -> Result<u8, SiteError> {
    let folder = tempfile::Builder::new().prefix("stillpoint-demo-").tempdir().map_err(|error| {
        SiteError::new(ErrorKind::Environment, "a temporary folder cannot be made").because(error)
    })?;
    let stage = DemoStage::build(folder.path())?;
    let result = play(&stage, own, common);
    // Before its folder goes.
    drop(stage);
    let kept = own.keep.then(|| folder.keep());
    match &kept {
        Some(kept) if !common.json && !common.quiet => println!("Kept: {}", kept.display()),
        _ => {}
    }
    let played = result?;
    if common.json {
        println!("{}", played.as_json(kept.as_deref()));
    }
    Ok(if played.equal { 0 } else { ErrorKind::Component.exit_code() })
}

/// The folders of the demo.
struct DemoStage {
    top: PathBuf,
    program: PathBuf,
    /// Set by Ctrl-C: what was begun is taken back, and the demo ends.
    cancel: Cancel,
}

impl Drop for DemoStage {
    /// Whatever happened, no process of the demo outlives it.
    fn drop(&mut self) {
        let _ = control::stop(&self.control(), ANSWER_LIMIT);
    }
}

impl DemoStage {
    fn build(top: &Path) -> Result<Self, SiteError> {
        let stage = Self { top: top.to_path_buf(), program: own_program()?, cancel: cancel_on_signal() };
        for folder in [stage.living(), stage.backups()] {
            std::fs::create_dir_all(&folder).map_err(|error| io("create", &folder, error))?;
        }
        std::fs::set_permissions(stage.backups(), std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .map_err(|error| io("set the mode of", &stage.backups(), error))?;
        let file = stage.site_file();
        std::fs::write(&file, stage.site_text()).map_err(|error| io("write", &file, error))?;
        Ok(stage)
    }

    /// The living site.
    fn living(&self) -> PathBuf {
        self.top.join("site")
    }

    fn content(&self) -> PathBuf {
        living::content(&self.living())
    }

    fn control(&self) -> PathBuf {
        living::control(&self.living())
    }

    fn backups(&self) -> PathBuf {
        self.top.join("backups")
    }

    fn site_file(&self) -> PathBuf {
        self.top.join("site.toml")
    }

    /// The site file of the demo: what a real one looks like, in small.
    fn site_text(&self) -> String {
        let quote = |path: &Path| format!("{:?}", path.display().to_string());
        let act = |verb: &str| {
            let (program, folder, leader) = (quote(&self.program), quote(&self.living()), std::process::id());
            format!("[{program}, \"demo-site\", {folder}, \"{verb}\", \"--leader\", \"{leader}\"]")
        };
        format!(
            r#"[site]
code = "DMO"
name = "The demo"

[destination]
folder = {backups}

[task]
minimum_grade = "frozen"
keep_free_percent = 0

[[component]]
name = "app"
type = "service"
quiet = "command"
running_command = {running}
freeze_command = {rest}
thaw_command = {go_on}

[[component]]
name = "ledger"
type = "sqlite"
path = {ledger}

[[component]]
name = "content"
type = "files"
path = {content}

[[probe]]
name = "the ledger advances"
run = {advances}
timeout = "20s"
"#,
            backups = quote(&self.backups()),
            running = act("running"),
            rest = act("rest"),
            go_on = act("go-on"),
            advances = act("advances"),
            ledger = quote(&living::ledger(&self.living())),
            content = quote(&self.content()),
        )
    }

    fn check(&self) -> Result<CheckReport, SiteError> {
        let settings = CheckSettings {
            stores: vec![living::store(&self.living())],
            content: self.content(),
            mode: Mode::Strict,
        };
        check(&settings).map_err(|error| {
            SiteError::new(ErrorKind::Component, "the ledger could not be checked").because(error)
        })
    }

    fn start(&self) -> Result<(), SiteError> {
        self.unless_cancelled()?;
        living::start(&self.program, &self.living(), std::process::id())
    }

    fn unless_cancelled(&self) -> Result<(), SiteError> {
        match self.cancel.is_cancelled() {
            true => {
                Err(SiteError::new(ErrorKind::Cancelled, "the demo was cancelled; nothing of it is left"))
            }
            false => Ok(()),
        }
    }

    /// Lets the site live for a while.
    fn live(&self, time: Duration) -> Result<(), SiteError> {
        let end = Deadline::after(time);
        while !end.passed() {
            self.unless_cancelled()?;
            std::thread::sleep(end.remaining().min(Duration::from_millis(20)));
        }
        Ok(())
    }

    fn status(&self) -> Result<control::Status, SiteError> {
        control::status(&self.control(), ANSWER_LIMIT).map_err(|error| {
            SiteError::new(ErrorKind::Component, "the demo site does not answer").because(error)
        })
    }
}

/// What the demo showed.
struct Played {
    report: BackupReport,
    instant: Vec<u64>,
    took: Duration,
    found: CheckReport,
    equal: bool,
}

impl Played {
    fn as_json(&self, kept: Option<&Path>) -> serde_json::Value {
        serde_json::json!({
            "event": "demo",
            "equal": self.equal,
            "outcome": self.report.outcome,
            "grade": self.report.grade,
            "window_us": self.report.window.map(microseconds),
            "backup_us": microseconds(self.report.elapsed),
            "recover_us": microseconds(self.took),
            "operations_at_rest": self.instant,
            "rows": self.found.rows,
            "files": self.found.files,
            "bytes": self.found.bytes,
            "violations": self.found.violation_count,
            "set": self.report.set.as_deref().filter(|_| kept.is_some()),
            "kept": kept,
        })
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn play(stage: &DemoStage, own: &DemoArguments, common: &Common) -> Result<Played, SiteError> {
    let page = Page::new(!common.json && !common.quiet);
    page.title();
    stage.start()?;
    let _ = control::take_stall_us(&stage.control(), ANSWER_LIMIT);
    stage.live(Duration::from_secs_f64(own.warm_up.clamp(0.1, 3600.0)))?;
    page.living(&stage.top, &stage.status()?, &stall(stage));

    let site = stillpoint_site::load(&stage.site_file())?;
    let report = back_up(stage, &site)?;
    let instant = living::numbers_at_rest(&stage.living())?;
    page.backed_up(&report, &instant, &stage.status()?, &stall(stage));

    stage.unless_cancelled()?;
    let before = destroy(stage)?;
    page.destroyed(&before);

    let started = Instant::now();
    let set = stillpoint_archive::BackupSet::open(&stage.backups())?;
    recover(stage, &site, &set, false)?;
    let took = started.elapsed();
    let found = stage.check()?;
    let exact = found.workers.iter().map(|worker| worker.highest).eq(instant.iter().copied());
    let equal = found.is_whole() && exact;
    page.recovered(took, &found, exact);
    if equal {
        stage.start()?;
        let status = control::wait_for_advance(&stage.control(), ANSWER_LIMIT).map_err(|error| {
            SiteError::new(ErrorKind::Component, "the recovered site does not advance").because(error)
        })?;
        page.lives(&status);
    }
    page.verdict(equal, &report, own.keep);
    Ok(Played { report, instant, took, found, equal })
}

/// The longest time for which a worker of the site waited since the last call.
fn stall(stage: &DemoStage) -> Duration {
    Duration::from_micros(control::take_stall_us(&stage.control(), ANSWER_LIMIT).unwrap_or(0))
}

fn back_up(stage: &DemoStage, site: &LoadedSite) -> Result<BackupReport, SiteError> {
    let options = BackupOptions {
        run: crate::record::new_run(),
        state_root: stage.top.join("state"),
        guard: vec![stage.program.clone().into(), "guard".into()],
        program: stage.program.clone(),
        monitor: Arc::new(NoMonitor),
        cancel: stage.cancel.clone(),
        hook: Arc::new(stillpoint_coordinator::NoHook),
    };
    let report = stillpoint_site::backup(site, &options)?;
    match (report.set.is_some(), report.failure) {
        (true, failure) => Ok(BackupReport { failure, ..report }),
        (false, Some(error)) => Err(error),
        (false, None) => Err(SiteError::new(ErrorKind::Bug, "the run made no set and did not say why")),
    }
}

/// Kills the application and removes all that it had. Returns its last state.
fn destroy(stage: &DemoStage) -> Result<control::Status, SiteError> {
    let before = stage.status()?;
    if let Some(process) = rustix::process::Pid::from_raw(before.process.cast_signed()) {
        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
    }
    let living = stage.living();
    let end = Instant::now() + ANSWER_LIMIT;
    while control::is_served(&stage.control()) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::remove_dir_all(&living).map_err(|error| io("remove", &living, error))?;
    std::fs::create_dir_all(&living).map_err(|error| io("create", &living, error))?;
    Ok(before)
}

fn recover(
    stage: &DemoStage,
    site: &LoadedSite,
    set: &stillpoint_archive::BackupSet,
    start: bool,
) -> Result<(), SiteError> {
    let options = RecoverOptions {
        component: None,
        overwrite: false,
        verify: true,
        start,
        state_root: stage.top.join("state"),
        monitor: Arc::new(NoMonitor),
        cancel: stage.cancel.clone(),
    };
    stillpoint_site::recover(set, site, &options).map(drop)
}

fn io(act: &str, path: &Path, error: std::io::Error) -> SiteError {
    SiteError::new(ErrorKind::Environment, format!("cannot {act} {}", path.display())).because(error)
}
