//! What is wrong with a text that says when, and how to mend it.

/// Why a text was not taken. Both parts are shown to people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {remedy}")]
pub struct WrongSchedule {
    /// What is wrong, to be read after the name of what was read.
    pub message: String,
    /// How to mend it.
    pub remedy: String,
}

impl WrongSchedule {
    pub(crate) fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into() }
    }
}

/// Lets serde read and write a type as the text that it is in the site file.
macro_rules! as_text {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = $crate::WrongSchedule;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    };
}

pub(crate) use as_text;
