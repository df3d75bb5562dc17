//! How the driver calls its acts and what it says when one fails.

use std::time::Duration;

use stillpoint_model::{ComponentName, ErrorKind, Step, WriterError};

use super::actor::ActError;
use crate::StageError;
use crate::phases::Act;

/// The name of an act, as in the journal and for the hook.
pub(super) fn act_name(act: Act, names: &[ComponentName]) -> String {
    let of = |who: usize| names.get(who).map_or("?", ComponentName::as_str);
    match act {
        Act::Preflight => "preflight".to_owned(),
        Act::Identified => "identified".to_owned(),
        Act::Arm => "arm".to_owned(),
        Act::Disarm => "disarm".to_owned(),
        Act::Seal => "seal".to_owned(),
        Act::Tidy => "tidy".to_owned(),
        Act::Call(step, who) => format!("{step}/{}", of(who)),
        Act::Undo(who) => format!("undo/{}", of(who)),
        Act::Clean(who) => format!("clean/{}", of(who)),
    }
}

/// What an act does, for a sentence "... failed".
pub(super) fn described(act: Act, names: &[ComponentName]) -> String {
    let of = |who: usize| names.get(who).map_or("?", ComponentName::as_str);
    match act {
        Act::Preflight => "the check before the run".to_owned(),
        Act::Identified => "the check of what the components said".to_owned(),
        Act::Arm => "arming the guard".to_owned(),
        Act::Disarm => "disarming the guard".to_owned(),
        Act::Seal => "publishing the set".to_owned(),
        Act::Tidy => "clearing up after the run".to_owned(),
        Act::Call(step, who) => format!("component {}: {step}", of(who)),
        Act::Undo(who) => format!("component {}: letting it go on by force", of(who)),
        Act::Clean(who) => format!("component {}: clearing up what it left", of(who)),
    }
}

/// What is left of the sentence about an act without the act itself.
pub(super) fn without_subject(text: &str, act: Act, names: &[ComponentName]) -> String {
    let rest = text.strip_prefix(&described(act, names)).unwrap_or(text).trim_start();
    rest.strip_prefix("failed: ").unwrap_or(rest).to_owned()
}

fn error(kind: ErrorKind, text: String, hint: &str) -> StageError {
    StageError { kind, text, hint: Some(hint.to_owned()), source: None }
}

/// The failure of an act.
pub(super) fn failure(act: Act, why: ActError, cancelled: bool, names: &[ComponentName]) -> StageError {
    let what = described(act, names);
    match why {
        ActError::Writer(WriterError::Cancelled) if cancelled => cancelled_error(),
        ActError::Writer(source) => {
            let (kind, hint) = if is_out_of_room(&source) {
                (
                    ErrorKind::Environment,
                    "The site works; make room where it is named and run the backup again.",
                )
            } else {
                (ErrorKind::Component, "The site works; mend what is named and run the backup again.")
            };
            StageError {
                kind,
                text: format!("{what} failed"),
                hint: Some(hint.to_owned()),
                source: Some(Box::new(source)),
            }
        }
        ActError::Stage(error) => error,
        ActError::Text(reason) => error(
            ErrorKind::Environment,
            format!("{what} failed: {reason}"),
            "The site works; mend what is named and run the backup again.",
        ),
        ActError::Panic(reason) => error(
            ErrorKind::Bug,
            format!("{what} panicked: {reason}"),
            "This is a mistake in Stillpoint; please report it with the journal.",
        ),
        ActError::Undos { held, left } => {
            let kind = if held.is_empty() { ErrorKind::Environment } else { ErrorKind::NotThawed };
            let reasons: Vec<String> = held.into_iter().chain(left).collect();
            error(
                kind,
                format!("{what} failed: {}", reasons.join("; ")),
                "Put it right by hand, then run `stillpoint reconcile`.",
            )
        }
    }
}

/// Whether a disk was full, or a quota spent: no fault of the component's.
fn is_out_of_room(error: &WriterError) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if matches!(io, Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        next = cause.source();
    }
    false
}

/// A missed deadline.
pub(super) fn late(act: Act, wait: Duration, names: &[ComponentName]) -> StageError {
    let key = match act {
        Act::Call(step, _) => match step {
            Step::Identify => "identify",
            Step::Prepare | Step::Poise | Step::Release => "prepare",
            Step::Freeze => "freeze",
            Step::Cut => "snapshot",
            Step::Thaw => "thaw",
            Step::Capture => "capture",
        },
        Act::Preflight | Act::Identified => "identify",
        Act::Seal => "capture",
        Act::Clean(_) | Act::Tidy => "prepare",
        _ => "thaw",
    };
    let text = format!("{} was not done within {wait:?}", described(act, names));
    match act {
        Act::Preflight | Act::Identified | Act::Seal | Act::Tidy => error(
            ErrorKind::Environment,
            text,
            &format!("See whether the destination answers, or raise deadlines.{key} in the site file."),
        ),
        _ => error(
            ErrorKind::Component,
            text,
            &format!("See what held it up, or raise deadlines.{key} in the site file."),
        ),
    }
}

/// The run was cancelled while the set was sealed, and that did not end.
pub(super) fn cancelled_seal() -> StageError {
    error(
        ErrorKind::Cancelled,
        "the run was cancelled, and publishing the set did not end in time".to_owned(),
        "The site works. See whether the destination answers; the set there is either the last one or the new one, whole.",
    )
}

pub(super) fn overrun(window: Duration) -> StageError {
    error(
        ErrorKind::Component,
        format!("the site was held for longer than the window of {window:?}"),
        "See in the journal which component took long, or raise deadlines.window in the site file.",
    )
}

pub(super) fn guard_lost() -> StageError {
    error(
        ErrorKind::Environment,
        "the guard died or does not answer, and without it nothing is frozen".to_owned(),
        "See what ended it (out of memory, a signal), and run the backup again.",
    )
}

pub(super) fn cancelled_error() -> StageError {
    error(
        ErrorKind::Cancelled,
        "the run was cancelled".to_owned(),
        "The site works and the last set is untouched.",
    )
}

/// What makes a run impossible before it has begun.
pub(super) fn cannot_begin(what: &str, reason: String) -> StageError {
    error(ErrorKind::Environment, format!("{what}: {reason}"), "Nothing was done to the site.")
}

pub(super) fn bug(what: String) -> StageError {
    error(ErrorKind::Bug, what, "This is a mistake in Stillpoint; please report it with the journal.")
}

/// The loudest of all: the site may stand still.
pub(super) fn not_thawed(not_undone: &[String], first: Option<StageError>) -> StageError {
    StageError {
        kind: ErrorKind::NotThawed,
        text: format!("the site could not be put back as it was found: {}", not_undone.join("; ")),
        hint: Some("Put it right by hand NOW, then run `stillpoint reconcile`.".to_owned()),
        source: first.map(|error| Box::new(error) as _),
    }
}

#[cfg(test)]
mod tests {
    use stillpoint_model::SinkError;

    use super::*;

    #[test]
    fn a_full_disk_is_no_fault_of_the_component() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let sink = |source| WriterError::Sink(SinkError("cannot store it".into(), Some(Box::new(source))));
        let direct = WriterError::Io { act: "write", path: "/x".into(), source: full() };
        let cases = [
            (sink(full()), ErrorKind::Environment),
            (direct, ErrorKind::Environment),
            (sink(denied), ErrorKind::Component),
        ];
        for (error, kind) in cases {
            let names = ["app".parse().unwrap()];
            let act = Act::Call(Step::Capture, 0);
            assert_eq!(failure(act, ActError::Writer(error), false, &names).kind, kind);
        }
    }
}
