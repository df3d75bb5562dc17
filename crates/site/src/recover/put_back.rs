//! The part of a recovery that acts on the site: stop, put back, start. When it cannot go on, its error says in which state
//! it leaves the site.

use stillpoint_model::{ComponentName, Deadline, ErrorKind, Level, RestoreOptions, Restored};

use super::{Part, RESTORE_LIMIT, RecoverOptions, START_LIMIT, STOP_LIMIT, component_error};
use crate::error::SiteError;

/// What was put back so far.
#[derive(Default)]
struct Done {
    whole: Vec<(ComponentName, Restored)>,
    /// The component that is being put back.
    partly: Option<ComponentName>,
}

impl Done {
    /// The error with the state of the data, for whoever must decide what to do next.
    fn explain(&self, mut error: SiteError) -> SiteError {
        if self.whole.is_empty() && self.partly.is_none() {
            return error;
        }
        let names = |names: &mut dyn Iterator<Item = &ComponentName>| -> String {
            let names: Vec<&str> = names.map(ComponentName::as_str).collect();
            names.join(", ")
        };
        if !self.whole.is_empty() {
            let whole = names(&mut self.whole.iter().map(|(name, _)| name));
            error.text.push_str(&format!("\n  already put back: {whole}"));
        }
        if let Some(partly) = &self.partly {
            error.text.push_str(&format!("\n  partly put back, partly as it was: {partly}"));
        }
        error.hint("mend the cause, then run it again with --overwrite: every component is put back anew")
    }
}

/// Stops in freeze order, puts back in the order of the site file, starts in the reverse of the freeze order.
pub(super) fn put_back(
    parts: &mut [Part],
    options: &RecoverOptions,
) -> Result<Vec<(ComponentName, Restored)>, SiteError> {
    stop(parts)?;
    let mut done = Done::default();
    restore(parts, options, &mut done).map_err(|error| done.explain(error))?;
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

fn start(parts: &mut [Part]) -> Result<(), SiteError> {
    for level in Level::ALL.into_iter().rev() {
        for part in parts.iter_mut().filter(|part| part.level == level) {
            part.restorer
                .start(&part.context, Deadline::after(START_LIMIT))
                .map_err(|error| component_error(&part.stored.name, "started", &error))?;
        }
    }
    Ok(())
}
