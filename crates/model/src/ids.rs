//! Names and numbers, each its own type, so that one is never passed for another.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A text that is not a valid id. The message says what is wanted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct IdError(String);

/// The three-character code of a site, such as `P01`: ASCII letters and digits, kept in upper case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[A-Za-z0-9]{3}$"))]
pub struct SiteCode(String);

impl SiteCode {
    /// The code as text, in upper case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the folder that holds the site's backup set: `P01Backup`.
    pub fn set_folder(&self) -> String {
        format!("{}Backup", self.0)
    }
}

impl FromStr for SiteCode {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() == 3 && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
            Ok(Self(text.to_ascii_uppercase()))
        } else {
            Err(IdError(format!("a site code is three letters or digits, such as P01; this is {text:?}")))
        }
    }
}

/// Whether the text can be the name of a folder anywhere: 1 to 63 lower-case letters, digits and `-`, which is not the first.
fn is_plain_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.len() <= 63 && !text.starts_with('-') && text.bytes().all(allowed)
}

/// The name of a component: lower-case letters, digits and `-`, at most 63, so that it can be a folder name anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[a-z0-9][a-z0-9-]{0,62}$"))]
pub struct ComponentName(String);

impl ComponentName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ComponentName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if is_plain_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError(format!(
                "a component name is 1 to 63 lower-case letters, digits or '-', and does not begin with '-'; this is {text:?}"
            )))
        }
    }
}

/// The name of an archive of a site: lower-case letters, digits and `-`, at most 63.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[a-z0-9][a-z0-9-]{0,62}$"))]
pub struct ArchiveName(String);

impl ArchiveName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ArchiveName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if is_plain_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError(format!(
                "the name of an archive is 1 to 63 lower-case letters, digits or '-', and does not begin with '-'; this is {text:?}"
            )))
        }
    }
}

/// The name of a channel of a site, by which `stillpoint alert test` calls it: lower-case letters, digits and `-`, at most 63.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[a-z0-9][a-z0-9-]{0,62}$"))]
pub struct ChannelName(String);

impl ChannelName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChannelName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if is_plain_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError(format!(
                "the name of a channel is 1 to 63 lower-case letters, digits or '-', and does not begin with '-'; this is {text:?}"
            )))
        }
    }
}

/// Names one run: its start in UTC and the process that made it, such as `20261122T020000Z-4711`. Sorts by time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// The id of a run that starts at `start` in process `process`.
    pub fn new(start: jiff::Timestamp, process: u32) -> Self {
        Self(format!("{}-{process}", start.strftime("%Y%m%dT%H%M%SZ")))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if !text.is_empty() && text.len() <= 64 && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError(format!("a run id is letters, digits and '-'; this is {text:?}")))
        }
    }
}

/// The number of an epoch of a site: 1 for the first, one more for each attempt, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EpochNumber(pub u64);

impl fmt::Display for EpochNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

macro_rules! text_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

text_id!(SiteCode);
text_id!(ComponentName);
text_id!(ArchiveName);
text_id!(ChannelName);
text_id!(RunId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_code_is_three_letters_or_digits_and_is_kept_in_upper_case() {
        assert_eq!("p01".parse::<SiteCode>().unwrap().as_str(), "P01");
        for wrong in ["", "P1", "P0001", "P-1", "é1"] {
            assert!(wrong.parse::<SiteCode>().is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_component_name_can_always_be_a_folder_name() {
        assert!("web-content-2".parse::<ComponentName>().is_ok());
        for wrong in ["", "..", "a/b", "-x", "Web", "a b"] {
            assert!(wrong.parse::<ComponentName>().is_err(), "{wrong:?} was taken");
        }
    }
}
