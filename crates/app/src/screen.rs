//! The terminal: a monitor that shows a run to a person, or as JSON lines to a program.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use stillpoint_model::status::{MessageId, Severity, StatusMessage, id};
use stillpoint_model::{Bytes, Event, Grade, Monitor, Outcome, Phase, Problem, plain};

/// Colours, or none: NO_COLOR, TERM=dumb and a stream that is no terminal switch them off.
#[derive(Debug, Clone, Copy)]
pub struct Style(bool);

impl Style {
    /// For standard output.
    pub fn for_stdout() -> Self {
        Self(wanted() && std::io::stdout().is_terminal())
    }

    /// For standard error.
    pub fn for_stderr() -> Self {
        Self(wanted() && std::io::stderr().is_terminal())
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// For failure.
    pub fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// For success.
    pub fn green(self, text: &str) -> String {
        self.paint("1;32", text)
    }

    /// For problems.
    pub fn yellow(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    /// For what matters.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// For what does not.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}

fn wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A count with its noun: `1 problem`, `3 problems`.
pub fn count(number: impl Into<u64>, noun: &str) -> String {
    match number.into() {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}

/// Microseconds for people: `340 µs`, `12.3 ms`, `4.5 s`.
pub fn span(microseconds: u64) -> String {
    match microseconds {
        us @ 0..1_000 => format!("{us} µs"),
        us @ 1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        us @ 1_000_000..60_000_000 => format!("{:.1} s", us as f64 / 1e6),
        us => format!("{} min {} s", us / 60_000_000, us / 1_000_000 % 60),
    }
}

/// Events as JSON lines on standard output.
pub struct JsonLines;

impl Monitor for JsonLines {
    fn emit(&self, event: Event) {
        if let Ok(line) = serde_json::to_string(&event) {
            println!("{line}");
        }
    }
}

/// A run, as a person reads it: one line a phase, one line that moves for long work.
pub struct Screen {
    style: Style,
    /// Whether a moving line can be shown (standard error is a terminal).
    live: bool,
    /// Whether reasons are shown, too.
    verbose: bool,
    state: Mutex<bool>,
    pace: Mutex<Option<Pace>>,
}

/// How fast long work goes.
struct Pace {
    /// Which work.
    activity: String,
    begun: Instant,
    /// Bytes that were done by then.
    bytes: u64,
}

/// A rate over less than this says nothing.
const PACE_MIN: Duration = Duration::from_secs(1);

impl Pace {
    /// The rate, and the time left when it is known how much there is; nothing while it is too early to say.
    fn words(&self, done: u64, total: Option<u64>, elapsed: Duration) -> String {
        let moved = done.saturating_sub(self.bytes);
        if elapsed < PACE_MIN || moved == 0 {
            return String::new();
        }
        let rate = moved as f64 / elapsed.as_secs_f64();
        let left = total.filter(|total| *total > done).map_or_else(String::new, |total| {
            let seconds = ((total - done) as f64 / rate).ceil() as u64;
            format!(", {} left", span(seconds.saturating_mul(1_000_000)))
        });
        format!(", {}/s{left}", Bytes(rate as u64))
    }
}

impl Screen {
    /// A screen on standard output, with the moving line on standard error.
    pub fn new(verbose: bool) -> Self {
        let live = std::io::stderr().is_terminal();
        Self { style: Style::for_stdout(), live, verbose, state: Mutex::new(false), pace: Mutex::new(None) }
    }

    /// Removes the moving line, if one stands there.
    fn clear(&self, moving: &mut bool) {
        if std::mem::take(moving) {
            eprint!("\r\x1b[K");
        }
    }

    /// A line with text from elsewhere in it, which may have more lines and anything else in it.
    fn foreign(&self, mark: &str, text: &str) {
        let lines = plain::marked_lines(text, "        ").join("\n");
        self.line(&format!("    {mark}{lines}"));
    }

    fn line(&self, text: &str) {
        let mut moving = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.clear(&mut moving);
        println!("{text}");
    }

    fn moving_line(&self, text: &str) {
        if !self.live {
            return;
        }
        let mut moving = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        eprint!("\r\x1b[K{text}");
        let _ = std::io::stderr().flush();
        *moving = true;
    }

    /// How fast the work goes that is shown, and how long it still takes.
    fn pace(&self, activity: &str, done: u64, total: Option<u64>) -> String {
        let mut pace = self.pace.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match pace.as_ref().filter(|pace| pace.activity == activity && pace.bytes <= done) {
            Some(pace) => pace.words(done, total, pace.begun.elapsed()),
            None => {
                *pace = Some(Pace { activity: activity.to_owned(), begun: Instant::now(), bytes: done });
                String::new()
            }
        }
    }

    /// A grade in its colour, in a column of this width: the codes of the colour take no room.
    pub fn grade(style: Style, grade: Grade, width: usize) -> String {
        let text = format!("{grade:<width$}");
        match grade {
            Grade::Frozen => style.green(&text),
            Grade::Crash => text,
            Grade::Fuzzy => style.yellow(&text),
        }
    }

    /// A status message, if it says what nothing else on the screen does.
    fn status(&self, message: &StatusMessage) {
        if ONLY_AS_STATUS.contains(&message.id) {
            let mark = match message.severity {
                Severity::Info => self.style.dim("note:"),
                Severity::Warning => self.style.yellow("warning:"),
                Severity::Error => self.style.red("warning:"),
            };
            self.foreign(&format!("{mark} "), &message.text);
        }
    }

    fn phase(&self, phase: Phase, elapsed_us: u64) {
        let name = format!("{phase:<10}");
        let name = match phase {
            Phase::Freeze | Phase::Snapshot | Phase::Thaw => self.style.bold(&name),
            _ => name,
        };
        self.line(&format!("  {name} {:>10}", span(elapsed_us)));
    }
}

/// What a problem is about, before its text.
fn place(problem: &Problem) -> String {
    let component = problem.component.as_ref().map(|name| format!("{name}: "));
    let path = problem.path.as_ref().map(|path| format!("{}: ", plain::one_line(path)));
    component.into_iter().chain(path).collect()
}

/// What is told to a person as a status message or not at all. The others repeat an event or an error.
const ONLY_AS_STATUS: [MessageId; 12] = [
    id::SERVICE_NOT_FOUND,
    id::HOOK_NOT_STARTED,
    id::RUN_RECONCILED,
    id::GUARD_THAWED,
    id::DESTINATION_FINDING,
    id::HOOK_FAILED,
    id::HOOK_TIMED_OUT,
    id::LEFTOVERS_REMOVED,
    id::LEFTOVERS_NOT_REMOVED,
    id::ARCHIVE_NOTE,
    id::ARCHIVE_NOT_RETIRED,
    id::ARCHIVE_CLOCK_DOUBT,
];

impl Drop for Screen {
    /// What is printed after the work must not begin behind the moving line.
    fn drop(&mut self) {
        let mut moving = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.clear(&mut moving);
    }
}

impl Monitor for Screen {
    fn emit(&self, event: Event) {
        let style = self.style;
        match event {
            Event::RunStarted { site, epoch, run } => {
                self.line(&format!(
                    "{} {}",
                    style.bold(&format!("Site {site}, epoch {epoch}")),
                    style.dim(run.as_str())
                ));
            }
            Event::PhaseEnded { phase, elapsed_us } => self.phase(phase, elapsed_us),
            Event::FreezeWindow { window_us } => {
                self.line(&format!(
                    "  {}",
                    style.bold(&format!("The site stood still for {}.", span(window_us)))
                ));
            }
            Event::ProviderChosen { component, provider, reason } => {
                let why =
                    if self.verbose { format!(" ({})", plain::one_line(&reason)) } else { String::new() };
                self.line(&style.dim(&format!("    {component}: {provider}{why}")));
            }
            Event::ComponentCaptured { component, grade, files, bytes } => {
                let grade = Self::grade(style, grade, 0);
                self.line(&format!("    {component}: {}, {}, {grade}", count(files, "file"), Bytes(bytes)));
            }
            Event::VersionSaved { archive, version, stored_bytes, .. } => {
                let size =
                    stored_bytes.map_or("there already".to_owned(), |size| format!("{} new", Bytes(size)));
                self.line(&format!("    archive {archive}: version {version:.8}, {size}"));
            }
            Event::StepEnded { component, step, error: Some(error), .. } => {
                self.foreign(&format!("{} ", style.red("failed:")), &format!("{component}, {step}: {error}"));
            }
            Event::Problem(problem) => {
                let mark = style.yellow("problem:");
                self.foreign(&format!("{mark} {}", place(&problem)), &problem.text);
            }
            Event::Progress { component, activity, files, bytes: done, total_bytes } => {
                let name = component.map_or_else(String::new, |name| format!("{name}: "));
                let share = total_bytes.filter(|total| *total > 0).map_or_else(String::new, |total| {
                    format!(" of {} ({} %)", Bytes(total), done * 100 / total)
                });
                let pace = self.pace(&format!("{name}{activity}"), done, total_bytes);
                self.moving_line(&format!(
                    "    {name}{activity}: {}, {}{share}{pace}",
                    count(files, "file"),
                    Bytes(done)
                ));
            }
            Event::Status(message) => self.status(&message),
            Event::RunEnded { outcome, .. } => {
                let text = format!("Backup {outcome}");
                self.line(&match outcome {
                    Outcome::Complete => style.green(&text),
                    Outcome::Incomplete => style.yellow(&text),
                    Outcome::Failed => style.red(&text),
                });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coloured_grade_takes_as_much_room_as_a_plain_one() {
        for grade in [Grade::Frozen, Grade::Crash, Grade::Fuzzy] {
            let plain = Screen::grade(Style(false), grade, 7);
            let coloured = Screen::grade(Style(true), grade, 7);
            assert!(plain.len() == 7 && coloured.contains(&plain), "{coloured:?}");
        }
    }

    #[test]
    fn long_work_says_how_fast_it_goes_and_how_long_it_takes() {
        let pace = Pace { activity: String::new(), begun: Instant::now(), bytes: 1_000_000 };
        let words = |done, total, seconds| pace.words(done, total, Duration::from_secs(seconds));
        assert_eq!(words(3_000_000, Some(4_000_000), 0), "");
        assert_eq!(words(1_000_000, Some(4_000_000), 9), "");
        let said = words(3_000_000, Some(4_000_000), 2);
        assert!(said.ends_with("/s, 1.0 s left"), "{said}");
        assert!(words(3_000_000, None, 2).ends_with("/s"));
        assert!(words(4_000_000, Some(4_000_000), 2).ends_with("/s"));
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!([count(0_u64, "file"), count(1_u64, "file")], ["0 files", "1 file"]);
        assert_eq!(
            [span(340), span(12_345), span(4_500_000), span(61_000_000)],
            ["340 µs", "12.3 ms", "4.5 s", "1 min 1 s"]
        );
    }

    #[test]
    fn the_name_of_a_file_steers_no_terminal() {
        let (component, path) = ("app".parse().ok(), Some("x\x1b[2J\ny".to_owned()));
        assert_eq!(place(&Problem { component, path, text: String::new() }), "app: x\\u{1b}[2J\\ny: ");
    }
}
