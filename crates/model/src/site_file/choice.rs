//! Values that are one of the words of an enum, or several of them.

use serde::de::DeserializeOwned;
use serde::de::value::StrDeserializer;
use stillpoint_schedule::nearest;
use toml::Spanned;
use toml::de::DeValue;

use super::leaf::{Leaf, Wrong, text, texts, wrong};

/// One of the words of an enum.
pub(super) struct Choice<T>(pub(super) T);

/// Some of the words of an enum.
pub(super) struct Choices<T>(pub(super) Vec<T>);

impl<T: DeserializeOwned> Leaf for Choice<T> {
    const WANTED: &'static str = "one of its words in quotes";
    const EXAMPLE: &'static str = "\"...\"";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let text = text(value)?;
        word(text).map(Self)
    }

    fn remedy(key: &str) -> String {
        format!("write {key} = {}", one_of(words::<T>()))
    }
}

impl<T: DeserializeOwned> Leaf for Choices<T> {
    const WANTED: &'static str = "a list of words in quotes";
    const EXAMPLE: &'static str = "[\"...\"]";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        texts(value, |_, text| word(text)).map(Self)
    }

    fn remedy(key: &str) -> String {
        format!("write {key} = [...] with some of {}", one_of(words::<T>()))
    }
}

/// The word of an enum that `text` is.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, Wrong> {
    T::deserialize(StrDeserializer::<UnknownWord>::new(text)).map_err(|UnknownWord(words)| {
        let remedy = match nearest(text, words) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("write {}", one_of(words)),
        };
        wrong(format!("cannot be {text:?}; it is {}", one_of(words)), remedy)
    })
}

/// All words of an enum: what it says that it expects when it is given none of them.
fn words<T: DeserializeOwned>() -> &'static [&'static str] {
    match T::deserialize(StrDeserializer::<UnknownWord>::new("\0")) {
        Ok(_) => &[],
        Err(UnknownWord(words)) => words,
    }
}

fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    quoted.join(" or ")
}

/// The error of an enum that does not know a word: the words that it knows.
#[derive(Debug)]
struct UnknownWord(&'static [&'static str]);

impl std::fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "one of {}", one_of(self.0))
    }
}

impl std::error::Error for UnknownWord {}

impl serde::de::Error for UnknownWord {
    fn custom<T: std::fmt::Display>(_message: T) -> Self {
        Self(&[])
    }

    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> Self {
        Self(expected)
    }
}
