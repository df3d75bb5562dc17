//! How far the content of a component can be trusted to be of the epoch.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The graded claim that a backup makes for each component. Greater is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// Not at the epoch: read while it changed.
    Fuzzy,
    /// At the epoch, as a power cut at that instant would have left it.
    Crash,
    /// At the epoch, and no operation was under way in it: the application had come to rest. In a site without services a
    /// database is so by itself, because a cut of it holds whole transactions only; a file tree is not.
    Frozen,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Grade::Fuzzy => "fuzzy",
            Grade::Crash => "crash",
            Grade::Frozen => "frozen",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimum_over_components_is_the_weakest_claim() {
        assert_eq!([Grade::Frozen, Grade::Fuzzy, Grade::Crash].into_iter().min(), Some(Grade::Fuzzy));
    }
}
