//! The page that a newcomer reads while the demo runs.

use std::path::Path;
use std::time::Duration;

use stillpoint_ledger::check::CheckReport;
use stillpoint_ledger::control::Status;
use stillpoint_model::{Bytes, Outcome};
use stillpoint_site::BackupReport;

use super::living::WINDOW;
use crate::screen::{Style, count, span};

/// Prints the page, part by part.
pub struct Page {
    style: Style,
    /// Whether anybody reads it.
    shown: bool,
}

fn time(duration: Duration) -> String {
    span(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

/// How wide the page is: the width of the narrowest terminal that people use.
const WIDTH: usize = 80;

/// The line broken between words where it is wider than the page, the rest indented as its beginning is. The codes of
/// colours take no room.
fn wrapped(line: &str) -> String {
    let width = |text: &str| {
        let mut in_code = false;
        let shown = text.chars().filter(|character| {
            let was_in_code = in_code;
            in_code = if in_code { *character != 'm' } else { *character == '\x1b' };
            !was_in_code && !in_code
        });
        shown.count()
    };
    if width(line) <= WIDTH {
        return line.to_owned();
    }
    let indent = &line[..line.len() - line.trim_start().len()];
    let mut lines: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        match lines.last_mut() {
            Some(last) if width(last) + 1 + width(word) <= WIDTH => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(format!("{indent}{word}")),
        }
    }
    lines.join("\n")
}

fn sum(numbers: &[u64]) -> u64 {
    numbers.iter().sum()
}

impl Page {
    /// A page on standard output, or one that nobody reads.
    pub fn new(shown: bool) -> Self {
        Self { style: Style::for_stdout(), shown }
    }

    fn line(&self, line: impl std::fmt::Display) {
        if self.shown {
            println!("{}", wrapped(&line.to_string()));
        }
    }

    fn part(&self, number: u8, title: &str) {
        self.line(format_args!("\n{}", self.style.bold(&format!("{number}. {title}"))));
    }

    pub fn title(&self) {
        self.line(format_args!("{}", self.style.bold("Stillpoint: one instant, end to end")));
        self.line(format_args!(
            "A small site is backed up while it works, destroyed, and brought back to the very instant of the backup."
        ));
    }

    pub fn living(&self, top: &Path, status: &Status, stall: &Duration) {
        self.part(1, "A living site");
        self.line(format_args!("   In {}: a ledger in SQLite and a folder of content files.", top.display()));
        self.line(format_args!(
            "   {} workers never rest: each commits a row, writes the file that belongs to it, and goes on.",
            status.numbers.len()
        ));
        self.line(format_args!(
            "   By now they have done {} operations. The longest any of them had to wait was {}.",
            sum(&status.operations),
            time(*stall)
        ));
    }

    pub fn backed_up(&self, report: &BackupReport, instant: &[u64], after: &Status, stall: &Duration) {
        self.part(2, "Backed up at one instant, under load");
        let window = report.window.map_or_else(|| "?".to_owned(), time);
        self.line(format_args!(
            "   The application came to rest, the database view was pinned, the files were cut, and it went on."
        ));
        self.line(format_args!("   {}", self.style.bold(&format!("The site stood still for {window}."))));
        self.line(format_args!(
            "   The whole run took {}; a worker's longest wait in that time was {}.",
            time(report.elapsed),
            time(*stall)
        ));
        let grade = report.grade.map_or_else(String::new, |grade| grade.to_string());
        self.line(format_args!(
            "   The set is of operation {}, grade {}. While it was copied the site did {} more.",
            sum(instant),
            self.style.green(&grade),
            sum(&after.numbers).saturating_sub(sum(instant))
        ));
        if let Some(set) = &report.set {
            self.line(format_args!("   It is an ordinary folder: {}", set.display()));
        }
        if report.outcome != Outcome::Complete {
            let problems = count(report.problems.len() as u64, "problem");
            self.line(format_args!(
                "   {}",
                self.style.yellow(&format!("It is {}, with {problems}:", report.outcome))
            ));
            for problem in report.problems.iter().take(10) {
                self.line(format_args!("     {}", problem.text));
            }
        }
    }

    pub fn destroyed(&self, before: &Status) {
        self.part(3, "Destroyed");
        self.line(format_args!(
            "   kill -9, then every file of the site removed: the database, its log, all content. It was at operation {}.",
            sum(&before.numbers)
        ));
    }

    pub fn recovered(&self, took: Duration, found: &CheckReport, exact: bool) {
        self.part(4, "Recovered");
        self.line(format_args!(
            "   Put back from the set in {}. Now every row and every file is read and compared:",
            time(took)
        ));
        self.line(format_args!(
            "   {} rows in the ledger, {} content files, {}: each worker keeps its last {WINDOW}, older ones are retired.",
            found.rows,
            found.files,
            Bytes(found.bytes)
        ));
        let tick = |good: bool| if good { self.style.green("yes") } else { self.style.red("NO") };
        self.line(format_args!(
            "     every row has its file, every file its row, every hash chain is whole   {}",
            tick(found.violation_count == 0)
        ));
        self.line(format_args!(
            "     each worker is exactly where it was at the cut                          {}",
            tick(exact)
        ));
        for violation in found.violations.iter().take(10) {
            self.line(format_args!("     {} {violation}", self.style.red("violation:")));
        }
    }

    pub fn lives(&self, status: &Status) {
        self.line(format_args!(
            "   Started again, it goes on from there: already at operation {}.",
            sum(&status.numbers)
        ));
    }

    pub fn verdict(&self, equal: bool, report: &BackupReport, kept: bool) {
        self.line("");
        if equal {
            let window = report.window.map_or_else(|| "?".to_owned(), time);
            self.line(format_args!(
                "{} One instant, held for {window}, and every row with its file.",
                self.style.green("It holds.")
            ));
            self.line(format_args!(
                "Next: `stillpoint init` drafts a site file for this machine. docs/operations.md is the runbook."
            ));
            if !kept {
                self.line(
                    "To look into the set yourself: run it again with --keep, then `stillpoint show` it.",
                );
            }
        } else {
            self.line(format_args!(
                "{} What came back is not what was there at the instant of the backup.",
                self.style.red("It does not hold.")
            ));
            self.line(format_args!("Run it again with --keep and report it with the folder that is kept."));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_wider_than_the_page_is_broken_between_words_and_colours_take_no_room() {
        let long = format!("   {}", "word ".repeat(40));
        let lines = wrapped(long.trim_end());
        assert!(lines.lines().count() == 3 && lines.lines().all(|line| line.len() <= WIDTH), "{lines}");
        assert!(lines.lines().all(|line| line.starts_with("   word")), "{lines}");
        let coloured = format!("\x1b[1m{}\x1b[0m", "x".repeat(WIDTH));
        assert_eq!(wrapped(&coloured), coloured);
    }
}
