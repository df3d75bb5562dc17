//! The part of a recovery that acts on the site: stop, put back, start. When it cannot go on, its error says in which state
//! it leaves the site.

use stillpoint_model::{Cancel, ComponentName, Deadline, ErrorKind, Level, RestoreOptions, Restored};

use super::{Part, RESTORE_LIMIT, RecoverOptions, START_LIMIT, STOP_LIMIT, component_error};
use crate::error::SiteError;

/// What was put back so far.
#[derive(Default)]
struct Done {
    whole: Vec<(ComponentName, Restored)>,
    /// The component that is being put back.
    partly: Option<ComponentName>,
}

/// Stops in freeze order, puts back in the order of the site file, starts in the reverse of the freeze order.
pub(super) fn put_back(
    parts: &mut [Part],
    options: &RecoverOptions,
) -> Result<Vec<(ComponentName, Restored)>, SiteError> {
    if let Err(error) = stop(parts) {
        return Err(give_up_untouched(parts, error));
    }
    let mut done = Done::default();
    if let Err(error) = restore(parts, options, &mut done) {
        return Err(match done {
            Done { whole, partly: None } if whole.is_empty() => give_up_untouched(parts, error),
            done => explain(parts, &done, error),
        });
    }
    if options.start {
        start(parts)?;
    }
    Ok(done.whole)
}

fn stop(parts: &mut [Part]) -> Result<(), SiteError> {
    for level in Level::ALL {
        for part in parts.iter_mut().filter(|part| part.level == level) {
            part.restorer
                .stop(&part.context, Deadline::after(STOP_LIMIT))
                .map_err(|error| component_error(&part.stored.name, "stopped", &error))?;
        }
    }
    Ok(())
}

fn restore(parts: &mut [Part], options: &RecoverOptions, done: &mut Done) -> Result<(), SiteError> {
    let restore_options = RestoreOptions { overwrite: options.overwrite };
    for part in parts.iter_mut() {
        if options.cancel.is_cancelled() {
            return Err(SiteError::new(ErrorKind::Cancelled, "the recovery was cancelled"));
        }
        std::fs::create_dir_all(&part.context.workspace).map_err(|error| {
            SiteError::new(
                ErrorKind::Environment,
                format!("cannot create {}", part.context.workspace.display()),
            )
            .because(error)
        })?;
        done.partly = Some(part.stored.name.clone());
        let restored = part
            .restorer
            .restore(&part.context, &part.stored, &restore_options, Deadline::after(RESTORE_LIMIT))
            .map_err(|error| component_error(&part.stored.name, "put back", &error))?;
        done.partly = None;
        done.whole.push((part.stored.name.clone(), restored));
    }
    Ok(())
}

/// An error names what was stopped and is not started any more.
fn start(parts: &mut [Part]) -> Result<(), SiteError> {
    let mut started: Vec<ComponentName> = Vec::new();
    for level in Level::ALL.into_iter().rev() {
        for index in 0..parts.len() {
            let part = &mut parts[index];
            if part.level != level {
                continue;
            }
            let result = part.restorer.start(&part.context, Deadline::after(START_LIMIT));
            if let Err(error) = result {
                let mut error = component_error(&part.stored.name, "started", &error);
                error.text.push_str("\n  everything was put back");
                let waiting = parts.iter().filter(|part| !started.contains(&part.stored.name));
                tell_stopped(&mut error, waiting);
                return Err(error.hint("mend the cause, then start by hand what is stopped"));
            }
            started.push(part.stored.name.clone());
        }
    }
    Ok(())
}

/// Nothing was put back yet, so the site goes on as it was found.
fn give_up_untouched(parts: &mut [Part], mut error: SiteError) -> SiteError {
    let mut failed = Vec::new();
    for level in Level::ALL.into_iter().rev() {
        for part in parts.iter_mut().filter(|part| part.level == level && part.restorer.was_working()) {
            // Whoever cancelled the recovery did not mean the site to stay down.
            part.context.cancel = Cancel::default();
            if let Err(error) = part.restorer.start(&part.context, Deadline::after(START_LIMIT)) {
                failed.push(component_error(&part.stored.name, "started again", &error).text);
            }
        }
    }
    error.text.push_str("\n  nothing was put back");
    if failed.is_empty() {
        return error;
    }
    error.kind = ErrorKind::NotThawed;
    error.text.push_str(&format!("\n  {}", failed.join("\n  ")));
    error.hint("start by hand what is stopped")
}

/// The error with the state in which the site is left, for whoever must decide what to do next.
fn explain(parts: &[Part], done: &Done, mut error: SiteError) -> SiteError {
    if !done.whole.is_empty() {
        let whole = names(done.whole.iter().map(|(name, _)| name));
        error.text.push_str(&format!("\n  already put back: {whole}"));
    }
    if let Some(partly) = &done.partly {
        error.text.push_str(&format!("\n  partly put back, partly as it was: {partly}"));
    }
    // Half of its data would be no help to an application.
    tell_stopped(&mut error, parts.iter());
    error.hint(
        "mend the cause, then run it again with --overwrite: every component is put back anew, then started",
    )
}

fn tell_stopped<'a>(error: &mut SiteError, parts: impl Iterator<Item = &'a Part>) {
    let stopped: Vec<&Part> = parts.filter(|part| part.restorer.was_working()).collect();
    if !stopped.is_empty() {
        let stopped = names(stopped.iter().map(|part| &part.stored.name));
        error.text.push_str(&format!("\n  stopped, and not started again: {stopped}"));
    }
}

fn names<'a>(names: impl Iterator<Item = &'a ComponentName>) -> String {
    names.map(ComponentName::as_str).collect::<Vec<_>>().join(", ")
}
