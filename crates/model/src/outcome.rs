//! How a run ends, and what kinds of error the edge (command line, later the API) tells apart.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The verdict of one run. There are three, never two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// A set was published and nothing was left out.
    Complete,
    /// A set was published, but with problems: something was left out or did not go as asked.
    Incomplete,
    /// No set was published. The last good one is untouched.
    Failed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Outcome::Complete => "complete",
            Outcome::Incomplete => "incomplete",
            Outcome::Failed => "failed",
        })
    }
}

/// What kind of trouble an error is, for the exit code. `docs/exit-codes.md` is made from this table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The command line is wrong, or what was asked for makes no sense.
    Usage,
    /// The site file is wrong.
    Config,
    /// Another run holds the site, or the machine.
    Busy,
    /// Something around us is missing or refuses: rights, tools, room, network, a mount.
    Environment,
    /// A writer or provider could not do its part, or missed its deadline.
    Component,
    /// The set could not reach the site's minimum grade.
    Grade,
    /// Stored data is not what it was.
    Damaged,
    /// It would overwrite something, and nobody said that it may.
    WouldOverwrite,
    /// The key does not open the archive, or there is none.
    Key,
    /// Somebody cancelled it.
    Cancelled,
    /// The site could not be put back to the state it was found in: a person must look, now.
    NotThawed,
    /// Our own mistake.
    Bug,
}

impl ErrorKind {
    /// All kinds, for documents and tests.
    pub const ALL: [ErrorKind; 12] = [
        ErrorKind::Usage,
        ErrorKind::Config,
        ErrorKind::Busy,
        ErrorKind::Environment,
        ErrorKind::Component,
        ErrorKind::Grade,
        ErrorKind::Damaged,
        ErrorKind::WouldOverwrite,
        ErrorKind::Key,
        ErrorKind::Cancelled,
        ErrorKind::NotThawed,
        ErrorKind::Bug,
    ];

    /// The exit code of the process. 0 is complete, 3 is incomplete; an unknown code is a failure. Never reused.
    pub fn exit_code(self) -> u8 {
        match self {
            ErrorKind::Component => 1,
            ErrorKind::Usage => 2,
            ErrorKind::Config => 4,
            ErrorKind::Busy => 11,
            ErrorKind::Environment => 12,
            ErrorKind::Grade => 13,
            ErrorKind::Damaged => 14,
            ErrorKind::WouldOverwrite => 15,
            ErrorKind::Key => 16,
            ErrorKind::NotThawed => 20,
            ErrorKind::Bug => 70,
            ErrorKind::Cancelled => 130,
        }
    }

    /// Whether it may pass by itself, so that the same is worth another try: what is wrong in a site file, in a key or in stored
    /// data does not pass.
    pub fn may_pass(self) -> bool {
        match self {
            ErrorKind::Busy | ErrorKind::Environment | ErrorKind::Component | ErrorKind::Bug => true,
            ErrorKind::Usage
            | ErrorKind::Config
            | ErrorKind::Grade
            | ErrorKind::Damaged
            | ErrorKind::WouldOverwrite
            | ErrorKind::Key
            | ErrorKind::Cancelled
            | ErrorKind::NotThawed => false,
        }
    }

    /// What it means, in one sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            ErrorKind::Usage => "The command line is wrong, or what was asked for makes no sense.",
            ErrorKind::Config => "The site file is wrong; every mistake is listed.",
            ErrorKind::Busy => "Another run holds this site or this machine.",
            ErrorKind::Environment => {
                "Something around us is missing or refuses: rights, tools, room, a mount."
            }
            ErrorKind::Component => "A component failed or missed its deadline; no set was published.",
            ErrorKind::Grade => "The set is below the site's minimum grade and was not published.",
            ErrorKind::Damaged => "Stored data is not what it was.",
            ErrorKind::WouldOverwrite => "Something would be overwritten and nobody said that it may.",
            ErrorKind::Cancelled => "The work was cancelled; the site works and nothing was published.",
            ErrorKind::Key => {
                "The key does not open the archive, or there is none. The archive itself is good."
            }
            ErrorKind::NotThawed => "The site could not be put back as it was found. A person must look now.",
            ErrorKind::Bug => "A mistake of Stillpoint's own.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_exit_code_and_none_looks_like_success_or_incomplete() {
        let mut codes: Vec<u8> = ErrorKind::ALL.iter().map(|kind| kind.exit_code()).collect();
        assert!(!codes.contains(&0) && !codes.contains(&3));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
    }
}
