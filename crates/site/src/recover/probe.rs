//! The probes of the site file: commands that end with status 0 when the site works.

use std::time::Duration;

use stillpoint_model::site_file::Probe;
use stillpoint_model::status::id;
use stillpoint_model::{Cancel, Deadline, ErrorKind};
use stillpoint_writers::process::Program;

use super::{RecoverOptions, tell};
use crate::error::{SiteError, chain};

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
        let failure = try_until(probe, &options.cancel);
        if options.cancel.is_cancelled() {
            let text = "everything was put back and started; the probes were cancelled";
            return Err(SiteError::new(ErrorKind::Cancelled, text));
        }
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

fn try_until(probe: &Probe, cancel: &Cancel) -> Option<String> {
    let end = Deadline::after(probe.timeout.duration());
    loop {
        let failure = try_once(probe, end.remaining().min(TRY_LIMIT), cancel)?;
        if cancel.is_cancelled() || end.remaining() <= PAUSE {
            return Some(failure);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Nothing when it succeeded, else what went wrong. A try that takes too long is ended with all that it started.
fn try_once(probe: &Probe, limit: Duration, cancel: &Cancel) -> Option<String> {
    let tried = Program::from_argv(&probe.run)
        .and_then(|program| program.cancelled_by(cancel).run(Deadline::after(limit)))
        .and_then(|ended| ended.check().map(drop));
    tried.err().map(|error| chain(&error))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn probe(shell: &str, timeout: &str) -> Probe {
        let run = ["/bin/sh", "-c", shell].map(str::to_owned).to_vec();
        Probe { name: "p".to_owned(), run, timeout: timeout.parse().unwrap() }
    }

    #[test]
    fn a_probe_that_takes_too_long_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("child");
        let hanging = probe(&format!("sleep 300 & echo $! > {}; wait", note.display()), "300ms");
        assert!(try_until(&hanging, &Cancel::default()).is_some());
        let child = std::fs::read_to_string(&note).unwrap();
        let stat = format!("/proc/{}/stat", child.trim());
        let end = Instant::now() + Duration::from_secs(10);
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < end, "what the probe started outlived it");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_probe_ends_when_the_recovery_is_cancelled() {
        let (cancel, started) = (Cancel::default(), Instant::now());
        let asked = cancel.clone();
        let asking = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            asked.cancel();
        });
        assert!(try_until(&probe("sleep 300", "5m"), &cancel).is_some());
        assert!(started.elapsed() < Duration::from_secs(20));
        asking.join().unwrap();
    }
}
