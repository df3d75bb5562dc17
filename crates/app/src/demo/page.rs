//! The page that a newcomer reads while the demo runs.

use std::path::Path;
use std::time::Duration;

use stillpoint_ledger::check::CheckReport;
use stillpoint_ledger::control::Status;
use stillpoint_model::Bytes;
use stillpoint_site::BackupReport;

use crate::screen::{Style, span};

/// Prints the page, part by part.
pub struct Page {
    style: Style,
    /// Whether anybody reads it.
    shown: bool,
}

fn time(duration: Duration) -> String {
    span(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
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
            println!("{line}");
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
    }

    pub fn destroyed(&self, before: &Status) {
        self.part(3, "Destroyed");
        self.line(format_args!(
            "   kill -9, then every file of the site removed: the database, its log, all content. It was at operation {}.",
            sum(&before.numbers)
        ));
    }

    pub fn recovered(&self, took: Duration, found: &CheckReport, equal: bool) {
        self.part(4, "Recovered");
        self.line(format_args!(
            "   Put back from the set in {}. Now every row and every file is read and compared:",
            time(took)
        ));
        self.line(format_args!(
            "   {} rows in the ledger, {} content files, {}.",
            found.rows,
            found.files,
            Bytes(found.bytes)
        ));
        let tick = |good: bool| if good { self.style.green("yes") } else { self.style.red("NO") };
        self.line(format_args!(
            "     every row has its file, and every file its row   {}",
            tick(found.violation_count == 0)
        ));
        self.line(format_args!(
            "     the hash chain of each worker is whole           {}",
            tick(found.violation_count == 0)
        ));
        self.line(format_args!("     each worker is exactly where it was at the cut   {}", tick(equal)));
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

    pub fn verdict(&self, equal: bool, report: &BackupReport) {
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
        } else {
            self.line(format_args!(
                "{} What came back is not what was there at the instant of the backup.",
                self.style.red("It does not hold.")
            ));
            self.line(format_args!("Run it again with --keep and report it with the folder that is kept."));
        }
    }
}
