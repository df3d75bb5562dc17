//! The probes of the site file: commands that end with status 0 when the site works.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use stillpoint_model::ErrorKind;
use stillpoint_model::site_file::Probe;
use stillpoint_model::status::id;

use super::{RecoverOptions, tell};
use crate::error::SiteError;

/// How long one try may take before it is ended and tried again.
const TRY_LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);

/// Runs every probe until it succeeds or its time is up. An error names all that failed.
pub(super) fn run_all(
    probes: &[Probe],
    options: &RecoverOptions,
) -> Result<Vec<(String, Option<String>)>, SiteError> {
    let mut results = Vec::new();
    for probe in probes {
        let failure = try_until(probe);
        match &failure {
            None => tell(options, id::PROBE_SUCCEEDED, &[&probe.name]),
            Some(why) => tell(options, id::PROBE_FAILED, &[&probe.name, why]),
        }
        results.push((probe.name.clone(), failure));
    }
    let failed: Vec<String> = results
        .iter()
        .filter_map(|(name, failure)| failure.as_ref().map(|why| format!("\"{name}\": {why}")))
        .collect();
    if failed.is_empty() {
        return Ok(results);
    }
    Err(SiteError::new(
        ErrorKind::Component,
        format!("everything was put back, but the site does not work: probe {}", failed.join("; ")),
    )
    .hint("look at the services that the probe asks"))
}

fn try_until(probe: &Probe) -> Option<String> {
    let end = Instant::now() + probe.timeout.duration();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let failure = try_once(probe, left.min(TRY_LIMIT))?;
        if Instant::now() + PAUSE >= end {
            return Some(failure);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Nothing when it succeeded, else what went wrong.
fn try_once(probe: &Probe, limit: Duration) -> Option<String> {
    let (program, arguments) = probe.run.split_first()?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Some(format!("{program} could not be started: {error}")),
    };
    let end = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return None,
            Ok(Some(status)) => return Some(format!("{program} ended with {status}")),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Some(format!("{program} did not end in {:.0} s", limit.as_secs_f64()));
            }
            Err(error) => return Some(format!("{program} could not be waited for: {error}")),
        }
    }
}
