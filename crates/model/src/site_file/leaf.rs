//! The kinds of single value in a site file: each knows what it wants, and what to answer when it gets something else.
//!
//! Paths in a site file end up in commands that delete. So they are taken as they stand (nothing is expanded), must be
//! absolute, and hold no empty, `.` or `..` part: an empty part is what is left of a variable that nobody set.

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::{ArchiveLocation, Wait, WrongLocation};
use crate::{ArchiveName, ChannelName, ComponentName, SiteCode};

/// Why a value was not taken.
pub(super) enum Wrong {
    /// It has another type.
    Type,
    /// It holds a secret, and must not be shown.
    Secret {
        /// What is wrong, to be read after the key.
        message: String,
        /// How to mend it.
        remedy: String,
    },
    /// It has the right type and makes no sense.
    Value {
        /// What is wrong, to be read after the key.
        message: String,
        /// How to mend it.
        remedy: String,
        /// Where, when not the value as a whole.
        span: Option<Range<usize>>,
    },
}

pub(super) fn wrong(message: impl Into<String>, remedy: impl Into<String>) -> Wrong {
    Wrong::Value { message: message.into(), remedy: remedy.into(), span: None }
}

/// A kind of single value.
pub(super) trait Leaf: Sized {
    /// What it must be, to be read after "must be".
    const WANTED: &'static str;
    /// An example as it stands in the file.
    const EXAMPLE: &'static str;

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong>;

    /// What to do when it is missing or has another type.
    fn remedy(key: &str) -> String {
        format!("write for example {key} = {}", Self::EXAMPLE)
    }
}

pub(super) fn text<'v>(value: &'v Spanned<DeValue<'_>>) -> Result<&'v str, Wrong> {
    let text = value.get_ref().as_str().ok_or(Wrong::Type)?;
    if text.contains('\0') {
        return Err(wrong("holds a NUL character", "no path, name or argument can hold one; remove it"));
    }
    Ok(text)
}

macro_rules! text_leaf {
    ($type:ty, $wanted:literal, $example:literal, $parse:expr) => {
        impl Leaf for $type {
            const WANTED: &'static str = $wanted;
            const EXAMPLE: &'static str = $example;

            fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
                $parse($crate::site_file::leaf::text(value)?)
            }
        }
    };
}

pub(super) use text_leaf;

/// A name for people: some text without control characters.
pub(super) struct Label(pub(super) String);

/// A folder that may be deleted in: absolute, without empty, `.` or `..` parts, never `/`.
pub(super) struct Folder(pub(super) PathBuf);

/// A file, by the same rules.
pub(super) struct FilePath(pub(super) PathBuf);

/// A host name, or the folder of a Unix socket.
pub(super) struct Host(pub(super) String);

/// The name of a systemd unit.
pub(super) struct Unit(pub(super) String);

/// A plain file name.
pub(super) struct FileName(pub(super) String);

/// A program and its arguments.
pub(super) struct Command(pub(super) Vec<String>);

/// Patterns of files.
pub(super) struct Patterns(pub(super) Vec<String>);

/// Names for people.
pub(super) struct Labels(pub(super) Vec<String>);

/// A TCP port.
pub(super) struct Port(pub(super) u16);

/// A share of a whole, 0 to 99.
pub(super) struct Percent(pub(super) u8);

/// How many versions, from 1.
pub(super) struct Count(pub(super) u32);

/// The number of a file descriptor that is none of the three standard ones.
pub(super) struct Descriptor(pub(super) u32);

/// The name of a systemd credential.
pub(super) struct Credential(pub(super) String);

/// The region of an S3 store.
pub(super) struct Region(pub(super) String);

text_leaf!(SiteCode, "a text of three letters or digits", "\"P01\"", |text: &str| {
    text.parse().map_err(|error| {
        wrong(format!("is wrong: {error}"), "write three letters or digits, such as \"P01\"")
    })
});
text_leaf!(ComponentName, "a text", "\"web-content\"", |text: &str| {
    text.parse().map_err(|error| wrong(format!("is wrong: {error}"), "write a name such as \"web-content\""))
});
text_leaf!(ArchiveName, "a text", "\"offsite\"", |text: &str| {
    text.parse().map_err(|error| wrong(format!("is wrong: {error}"), "write a name such as \"offsite\""))
});
text_leaf!(ChannelName, "a text", "\"admins\"", |text: &str| {
    text.parse().map_err(|error| wrong(format!("is wrong: {error}"), "write a name such as \"admins\""))
});
text_leaf!(ArchiveLocation, "a text", "\"/srv/archive\"", |text: &str| {
    text.parse().map_err(|error: WrongLocation| match error {
        WrongLocation { message, remedy, holds_secret: true } => Wrong::Secret { message, remedy },
        WrongLocation { message, remedy, .. } => wrong(message, remedy),
    })
});
text_leaf!(Credential, "a text", "\"archive-key\"", |text: &str| credential(text).map(Credential));
text_leaf!(Region, "a text", "\"eu-central-1\"", |text: &str| region(text).map(Region));
text_leaf!(Wait, "a length of time in quotes", "\"10s\"", |text: &str| {
    text.parse()
        .map_err(|error| wrong(format!("is wrong: {error}"), "write a number with its unit, such as \"10s\""))
});
text_leaf!(Label, "a text", "\"Head office\"", |text: &str| label(text).map(Label));
text_leaf!(Folder, "a path in quotes", "\"/srv/example\"", |text: &str| folder(text).map(Folder));
text_leaf!(FilePath, "a path in quotes", "\"/srv/example/file\"", |text: &str| file(text).map(FilePath));
text_leaf!(Host, "a text", "\"/var/run/postgresql\"", |text: &str| host(text).map(Host));
text_leaf!(Unit, "a text", "\"nginx.service\"", |text: &str| unit(text).map(Unit));
text_leaf!(FileName, "a text", "\"packages.txt\"", |text: &str| file_name(text).map(FileName));

fn label(text: &str) -> Result<String, Wrong> {
    if text.trim().is_empty() {
        Err(wrong("is empty", "write a name that tells people what it is"))
    } else if text.chars().any(char::is_control) {
        Err(wrong("holds a line break or another control character", "write it on one line, without them"))
    } else {
        Ok(text.to_owned())
    }
}

fn folder(text: &str) -> Result<PathBuf, Wrong> {
    // A single `/` at the end is how people mark a folder.
    let trimmed = if text.len() > 1 { text.strip_suffix('/').unwrap_or(text) } else { text };
    if trimmed == "/" {
        return Err(wrong("is the root of the whole system", "name the folder that is meant"));
    }
    clean(trimmed)
}

fn file(text: &str) -> Result<PathBuf, Wrong> {
    if text.ends_with('/') {
        return Err(wrong("is a folder, and a file is wanted", "name the file, without a / at the end"));
    }
    clean(text)
}

fn clean(text: &str) -> Result<PathBuf, Wrong> {
    if text.is_empty() {
        return Err(wrong("is empty", "write the whole path, from / on"));
    }
    if text.starts_with(['~', '$', '%', '{']) {
        let remedy = "nothing is expanded in a site file: write the whole path, from / on";
        return Err(wrong(format!("is not an absolute path: {text:?}"), remedy));
    }
    if !text.starts_with('/') {
        return Err(wrong(format!("is not an absolute path: {text:?}"), "write the whole path, from / on"));
    }
    if text.split('/').any(|part| part == "..") {
        return Err(wrong(
            format!("goes up with `..`: {text:?}"),
            "write the path that is meant, without `..`",
        ));
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let normal = format!("/{}", parts.join("/"));
    if normal != text {
        return Err(wrong(
            format!("has an empty part or a `.`: {text:?}"),
            format!("write {normal:?} if that is meant"),
        ));
    }
    Ok(PathBuf::from(text))
}

fn host(text: &str) -> Result<String, Wrong> {
    if text.starts_with('/') {
        return folder(text).map(|path| path.to_string_lossy().into_owned());
    }
    if text.is_empty()
        || text.contains(|character: char| {
            character.is_whitespace() || character.is_control() || character == ','
        })
    {
        return Err(wrong(
            "is not a host name",
            "write one host name, or the folder of the server's Unix socket",
        ));
    }
    Ok(text.to_owned())
}

fn unit(text: &str) -> Result<String, Wrong> {
    // The characters of systemd.unit(5); without the leading `-` that a program would take for an option.
    let allowed = |character: char| character.is_ascii_alphanumeric() || ":-_.\\@".contains(character);
    if text.is_empty() || text.len() > 255 || text.starts_with(['-', '.']) || !text.chars().all(allowed) {
        return Err(wrong(
            format!("is not the name of a unit: {text:?}"),
            "write it as `systemctl list-units` shows it, such as \"nginx.service\"",
        ));
    }
    Ok(text.to_owned())
}

fn credential(text: &str) -> Result<String, Wrong> {
    // It becomes a file name in the folder that systemd gives.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || text.len() > 255 || text.starts_with('.') || !text.bytes().all(allowed) {
        return Err(wrong(
            format!("is not the name of a credential: {text:?}"),
            "write the name that stands in LoadCredential=, of letters, digits, `-`, `_` and `.`",
        ));
    }
    Ok(text.to_owned())
}

fn region(text: &str) -> Result<String, Wrong> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if text.is_empty() || text.len() > 63 || !text.bytes().all(allowed) {
        return Err(wrong(
            format!("is not a region: {text:?}"),
            "write it as the store names it, such as \"eu-central-1\"",
        ));
    }
    Ok(text.to_owned())
}

fn file_name(text: &str) -> Result<String, Wrong> {
    if matches!(text, "" | "." | "..")
        || text.contains('/')
        || text.chars().any(char::is_control)
        || text.len() > 200
    {
        let remedy = "write a name without `/`, at most 200 bytes long, such as \"packages.txt\"";
        return Err(wrong(format!("is not a plain file name: {text:?}"), remedy));
    }
    Ok(text.to_owned())
}

/// The texts of a list; each one is checked by `check`.
pub(super) fn texts<T>(
    value: &Spanned<DeValue<'_>>,
    check: impl Fn(usize, &str) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    let elements = value.get_ref().as_array().ok_or(Wrong::Type)?;
    let one = |(number, element): (usize, &Spanned<DeValue<'_>>)| {
        let checked = text(element).and_then(|text| check(number, text));
        checked.map_err(|error| match error {
            Wrong::Type => Wrong::Value {
                message: format!("holds something else than texts at place {}", number + 1),
                remedy: "write each in quotes".to_owned(),
                span: Some(element.span()),
            },
            Wrong::Secret { message, remedy } => Wrong::Secret { message, remedy },
            Wrong::Value { message, remedy, .. } => Wrong::Value {
                message: format!("at place {} {message}", number + 1),
                remedy,
                span: Some(element.span()),
            },
        })
    };
    elements.iter().enumerate().map(one).collect()
}

impl Leaf for Command {
    const WANTED: &'static str = "a list of a program and its arguments";
    const EXAMPLE: &'static str = "[\"/usr/bin/true\", \"argument\"]";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let check = |number: usize, text: &str| {
            if number == 0 { file(text).map(|_| text.to_owned()) } else { Ok(text.to_owned()) }
        };
        let arguments = texts(value, check)?;
        if arguments.is_empty() {
            return Err(wrong("is empty", "write the absolute path of a program, then its arguments"));
        }
        Ok(Self(arguments))
    }

    fn remedy(key: &str) -> String {
        format!("no shell is used: write {key} = {}", Self::EXAMPLE)
    }
}

impl Leaf for Patterns {
    const WANTED: &'static str = "a list of patterns";
    const EXAMPLE: &'static str = "[\"*.tmp\", \"cache/\"]";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        texts(value, |_, text| pattern(text)).map(Self)
    }
}

fn pattern(text: &str) -> Result<String, Wrong> {
    let remedy = "write a pattern relative to `path`, such as \"*.tmp\" or \"cache/\"";
    if text.trim().is_empty() || text.chars().all(|character| character == '/') {
        return Err(wrong("is empty", remedy));
    }
    if text.starts_with('!') {
        return Err(wrong(
            format!("begins with `!`: {text:?}"),
            "exceptions are not known; name what is meant with `include`",
        ));
    }
    let body = text.strip_suffix('/').unwrap_or(text);
    let body = body.strip_prefix('/').unwrap_or(body);
    if body.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(wrong(format!("has an empty part, a `.` or a `..`: {text:?}"), remedy));
    }
    if let Some(open) = unclosed(text) {
        return Err(wrong(
            format!("has a `{open}` that is never closed: {text:?}"),
            format!("write \\{open} for the character itself"),
        ));
    }
    Ok(text.to_owned())
}

/// The bracket of a pattern that is never closed. A `]` right behind `[` or `[!` stands for itself.
fn unclosed(pattern: &str) -> Option<char> {
    let mut characters = pattern.chars().peekable();
    let mut braces = 0_usize;
    while let Some(character) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            '{' => braces += 1,
            '}' => braces = braces.saturating_sub(1),
            '[' => {
                characters.next_if(|next| matches!(next, '!' | '^'));
                characters.next_if_eq(&']');
                if !characters.by_ref().any(|next| next == ']') {
                    return Some('[');
                }
            }
            _ => {}
        }
    }
    (braces > 0).then_some('{')
}

impl Leaf for Labels {
    const WANTED: &'static str = "a list of texts";
    const EXAMPLE: &'static str = "[\"orders\"]";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        texts(value, |_, text| label(text)).map(Self)
    }
}

/// A whole number from `low` to `high`.
pub(super) fn number(value: &Spanned<DeValue<'_>>, low: u64, high: u64) -> Result<u64, Wrong> {
    let integer = value.get_ref().as_integer().ok_or(Wrong::Type)?;
    match u64::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(number) if (low..=high).contains(&number) => Ok(number),
        _ => Err(wrong(
            format!("must be from {low} to {high}, and this is {integer}"),
            format!("write a number from {low} to {high}"),
        )),
    }
}

impl Leaf for Port {
    const WANTED: &'static str = "a whole number";
    const EXAMPLE: &'static str = "5432";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        number(value, 1, u64::from(u16::MAX)).map(|number| Self(number as u16))
    }
}

impl Leaf for Percent {
    const WANTED: &'static str = "a whole number";
    const EXAMPLE: &'static str = "5";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        number(value, 0, 99).map(|number| Self(number as u8))
    }
}

impl Leaf for Count {
    const WANTED: &'static str = "a whole number";
    const EXAMPLE: &'static str = "7";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        number(value, 1, 100_000).map(|number| Self(number as u32))
    }
}

impl Leaf for Descriptor {
    const WANTED: &'static str = "a whole number";
    const EXAMPLE: &'static str = "3";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        number(value, 3, 1_048_575).map(|number| Self(number as u32))
    }
}

impl Leaf for bool {
    const WANTED: &'static str = "true or false";
    const EXAMPLE: &'static str = "true";

    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        value.get_ref().as_bool().ok_or(Wrong::Type)
    }

    fn remedy(key: &str) -> String {
        format!("write {key} = true or {key} = false, without quotes")
    }
}
