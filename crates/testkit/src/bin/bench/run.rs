//! One backup by the real program, as its events tell it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use stillpoint_testkit::program;

/// What one run told.
#[derive(Default)]
pub struct Run {
    /// How long the site stood still, in milliseconds.
    pub window_ms: f64,
    /// Wall time of the process, in seconds.
    pub seconds: f64,
    /// Most memory of one process of the run, in MiB.
    pub memory_mib: f64,
    /// Each step of each component, in milliseconds.
    pub steps: BTreeMap<(String, String), f64>,
    /// Each phase, in milliseconds.
    pub phases: BTreeMap<String, f64>,
}

/// Runs `stillpoint backup` and panics with what it said when the set is not complete.
pub fn backup(site_file: &Path, state: &Path) -> Run {
    let mut command = Command::new("/usr/bin/time");
    command.args(["-f", "MEMORY %M"]).arg(program::own("stillpoint"));
    command.arg("--config").arg(site_file).arg("--state-dir").arg(state).args(["--json", "backup"]);
    let started = Instant::now();
    let output = command.output().expect("start the backup");
    let mut run = Run { seconds: started.elapsed().as_secs_f64(), ..Run::default() };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the backup ended with {}:\n{text}\n{errors}", output.status);
    let memory = errors
        .lines()
        .find_map(|line| line.strip_prefix("MEMORY "))
        .and_then(|text| text.parse::<f64>().ok());
    run.memory_mib = memory.unwrap_or(f64::NAN) / 1024.0;
    for line in text.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("an event is JSON");
        let ms = |field: &str| event[field].as_f64().unwrap_or(f64::NAN) / 1000.0;
        let name = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str() {
            Some("freeze-window") => run.window_ms = ms("window_us"),
            Some("step-ended") => {
                run.steps.insert((name("component"), name("step")), ms("elapsed_us"));
            }
            Some("phase-ended") => {
                run.phases.insert(name("phase"), ms("elapsed_us"));
            }
            _ => {}
        }
    }
    run
}
