//! Commands whose output is kept: real programs, good and bad ends.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::type_complexity)]

mod common;

use common::{Kept, Surroundings, soon};
use stillpoint_model::site_file::{CommandSettings, Wait};
use stillpoint_model::{Captured, Grade, Writer, WriterError};
use stillpoint_writers::command::CommandWriter;

fn settings(script: &str, in_freeze: bool) -> CommandSettings {
    let run = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    CommandSettings { run, output: "list".into(), timeout: Wait::seconds(5), in_freeze }
}

/// All steps in order; the capture is what counts.
fn run(settings: &CommandSettings) -> (Result<Captured, WriterError>, Vec<(String, Vec<u8>)>) {
    let around = Surroundings::new();
    let context = &around.context;
    let mut writer = CommandWriter::new(settings);
    let mut sink = Kept::default();
    writer.identify(context, soon()).unwrap();
    writer.prepare(context, soon()).unwrap();
    writer.freeze(context, soon()).unwrap();
    let done = writer.cut(context, soon()).and_then(|()| {
        writer.thaw(context, soon())?;
        writer.capture(context, soon(), &mut sink)
    });
    writer.release(context).unwrap();
    writer.release(context).unwrap();
    assert_eq!(std::fs::read_dir(&context.workspace).unwrap().count(), 0, "something was left");
    (done, sink.streams)
}

#[test]
fn the_output_is_kept_and_is_of_the_epoch_only_when_it_was_made_in_the_freeze() {
    for (in_freeze, grade) in [(false, Grade::Fuzzy), (true, Grade::Frozen)] {
        let (done, streams) = run(&settings("echo one; echo two", in_freeze));
        assert_eq!(done.unwrap().grade, grade);
        assert_eq!(streams, [("list".to_owned(), b"one\ntwo\n".to_vec())]);
    }
}

#[test]
fn a_command_that_fails_says_nothing_or_hangs_fails_its_component() {
    for in_freeze in [false, true] {
        let (done, _) = run(&settings("echo half; echo broken >&2; exit 3", in_freeze));
        let text = done.unwrap_err().to_string();
        assert!(text.contains("status 3") && text.contains("broken"), "{text}");
        let (done, _) = run(&settings("true", in_freeze));
        assert!(done.unwrap_err().to_string().contains("wrote nothing"));
        let mut slow = settings("echo half; sleep 300", in_freeze);
        slow.timeout = "200ms".parse().unwrap();
        assert!(run(&slow).0.is_err());
    }
}

#[test]
fn a_program_that_is_not_there_is_told_before_anything_is_held() {
    let around = Surroundings::new();
    let mut settings = settings("", false);
    settings.run[0] = "/nonexistent/program".into();
    let error = CommandWriter::new(&settings).identify(&around.context, soon()).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/program"));
}
