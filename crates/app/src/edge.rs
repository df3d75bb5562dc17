//! The edge: where an error becomes words on standard error and an exit code. Each error is printed here, once.

use std::process::ExitCode;

use stillpoint_model::{ErrorKind, plain};
use stillpoint_site::SiteError;

use crate::screen::Style;

/// Prints a mistake on the command line the way clap does, with our exit code for it.
pub fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(ErrorKind::Usage.exit_code()) } else { ExitCode::SUCCESS }
}

/// Prints an error with its causes and its hint.
pub fn report(error: &SiteError, json: bool) -> ExitCode {
    if json {
        let object = serde_json::json!({
            "event": "error",
            "kind": error.kind,
            "exit_code": error.kind.exit_code(),
            "text": error.text,
            "causes": causes(error),
            "hint": error.hint,
        });
        println!("{object}");
    } else {
        print(error);
    }
    ExitCode::from(error.kind.exit_code())
}

/// Prints an error to standard error for people.
pub fn print(error: &SiteError) {
    let style = Style::for_stderr();
    // A mistake in the site file is shown with the text around it, in lines of their own.
    eprintln!("{} {}", style.red("error:"), plain::marked_lines(&error.text, "").join("\n"));
    for cause in causes(error) {
        eprintln!("  {} {}", style.dim("because:"), plain::marked_lines(&cause, "    ").join("\n"));
    }
    if let Some(hint) = &error.hint {
        eprintln!("  {} {hint}", style.bold("hint:"));
    }
}

/// Prints what a person should know, and goes on.
pub fn warn(text: &str) {
    eprintln!("{} {}", Style::for_stderr().yellow("warning:"), plain::one_line(text));
}

/// The error with its causes in one line, for a record.
pub fn in_one_line(error: &SiteError) -> String {
    let mut all = vec![error.text.clone()];
    all.extend(causes(error));
    plain::one_line(&all.join(": "))
}

fn causes(error: &SiteError) -> Vec<String> {
    let mut list = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        list.push(cause.to_string());
        next = cause.source();
    }
    list
}

/// Rust programs ignore SIGPIPE and then fail when they print; ours end quietly, as others do.
pub fn end_quietly_on_closed_pipe() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to std") {
            std::process::exit(141);
        }
        usual(info);
    }));
}
