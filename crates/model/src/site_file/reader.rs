//! Reads tables key by key and notes every mistake on the way, instead of ending at the first.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use stillpoint_schedule::nearest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::leaf::{Leaf, Wrong};
use super::mistake::Findings;

/// Where a table and its values stand in the text, in bytes. Kept for checks across tables.
#[derive(Debug, Clone, Default)]
pub(super) struct Spans {
    path: String,
    /// What the table is called in messages, such as `[site]`.
    title: String,
    header: Range<usize>,
    values: BTreeMap<String, Range<usize>>,
    /// The keys with a wrong value, in whose place a default stands.
    wrong: BTreeSet<&'static str>,
}

impl Spans {
    /// Where the value of `key` stands (`include[0]` is the first of a list); the table's header if it is not there.
    pub(super) fn of(&self, key: &str) -> Range<usize> {
        self.values.get(key).unwrap_or(&self.header).clone()
    }

    /// Whether the key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Whether the value of `key` is what the text says, or its default.
    pub(super) fn is_certain(&self, key: &str) -> bool {
        !self.wrong.contains(key)
    }

    /// What the table is called in messages.
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// The path of `key`, such as `component[0].path`.
    pub(super) fn path(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (_, true) => self.path.clone(),
            _ => format!("{}.{key}", self.path),
        }
    }

    /// Notes a mistake in the value of `key`.
    pub(super) fn wrong(
        &self,
        findings: &mut Findings,
        key: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        findings.add(self.of(key), self.path(key), message, remedy);
    }
}

/// Reads one table.
pub(super) struct TableReader<'a> {
    entries: &'a DeTable<'a>,
    spans: Spans,
    known: Vec<&'static str>,
    missing: Vec<(&'static str, String)>,
}

impl<'a> TableReader<'a> {
    /// The table of the whole file.
    pub(super) fn root(entries: &'a DeTable<'a>) -> Self {
        Self::new(entries, "the site file".to_owned(), String::new(), 0..0)
    }

    fn new(entries: &'a DeTable<'a>, title: String, path: String, header: Range<usize>) -> Self {
        let values = entries.iter().map(|(key, value)| (key.get_ref().to_string(), value.span())).collect();
        let spans = Spans { path, title, header, values, wrong: BTreeSet::new() };
        Self { entries, spans, known: Vec::new(), missing: Vec::new() }
    }

    /// Gives the table a better name for messages, once one is known.
    pub(super) fn rename(&mut self, title: String) {
        self.spans.title = title;
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        let entries = self.entries;
        entries.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// The value of `key`, if it is there and right. A wrong one is noted.
    pub(super) fn optional<T: Leaf>(&mut self, key: &'static str, findings: &mut Findings) -> Option<T> {
        let value = self.value(key)?;
        if let DeValue::Array(elements) = value.get_ref() {
            for (number, element) in elements.iter().enumerate() {
                self.spans.values.insert(format!("{key}[{number}]"), element.span());
            }
        }
        let read = T::read(value);
        if read.is_err() {
            self.spans.wrong.insert(key);
        }
        match read {
            Ok(read) => Some(read),
            Err(Wrong::Type) => {
                let found = type_name(value.get_ref());
                self.spans.wrong(
                    findings,
                    key,
                    format!("`{key}` must be {}, and this is {found}", T::WANTED),
                    T::remedy(key),
                );
                None
            }
            Err(Wrong::Secret { message, remedy }) => {
                findings.hide(value.span());
                self.spans.wrong(findings, key, format!("`{key}` {message}"), remedy);
                None
            }
            Err(Wrong::Value { message, remedy, span }) => {
                findings.add(
                    span.unwrap_or(value.span()),
                    self.spans.path(key),
                    format!("`{key}` {message}"),
                    remedy,
                );
                None
            }
        }
    }

    /// The value of `key`, which must be there.
    pub(super) fn required<T: Leaf>(&mut self, key: &'static str, findings: &mut Findings) -> Option<T> {
        if !self.spans.has(key) {
            self.missing.push((key, T::remedy(key)));
        }
        self.optional(key, findings)
    }

    /// The table `key`; nothing (and a mistake, if `needed`) when it is not there.
    pub(super) fn table(
        &mut self,
        key: &'static str,
        needed: bool,
        findings: &mut Findings,
    ) -> Option<TableReader<'a>> {
        let Some(value) = self.value(key) else {
            if needed {
                self.missing
                    .push((key, format!("add a table [{key}]; `stillpoint init` writes a commented sample")));
            }
            return None;
        };
        match value.get_ref() {
            DeValue::Table(entries) => {
                Some(TableReader::new(entries, format!("[{key}]"), self.spans.path(key), value.span()))
            }
            other => {
                let message = format!("`{key}` must be a table, and this is {}", type_name(other));
                self.spans.wrong(
                    findings,
                    key,
                    message,
                    format!("write [{key}] on a line of its own, once, and the keys below it"),
                );
                None
            }
        }
    }

    /// Whether `key` is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.spans.has(key)
    }

    /// Whether `key` has a text, where it may have a table.
    pub(super) fn has_text(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, value)| name.get_ref() == key && value.get_ref().is_str())
    }

    /// Whether nothing stands in the table.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The table `key` of this table, called `title` in messages; nothing when it is not there, and a mistake when there is a
    /// remedy for that.
    pub(super) fn inner(
        &mut self,
        key: &'static str,
        title: String,
        missing: Option<String>,
        remedy: &str,
        findings: &mut Findings,
    ) -> Option<TableReader<'a>> {
        let Some(value) = self.value(key) else {
            self.missing.extend(missing.map(|remedy| (key, remedy)));
            return None;
        };
        if let DeValue::Table(entries) = value.get_ref() {
            return Some(TableReader::new(entries, title, self.spans.path(key), value.span()));
        }
        let message = format!("{title} must be a table, and this is {}", type_name(value.get_ref()));
        self.spans.wrong(findings, key, message, remedy);
        None
    }

    /// The same for a table that says where a secret comes from: what stands there instead is not shown.
    pub(super) fn secret(
        &mut self,
        key: &'static str,
        title: String,
        missing: Option<String>,
        remedy: &str,
        findings: &mut Findings,
    ) -> Option<TableReader<'a>> {
        let inner = self.inner(key, title, missing, remedy, findings);
        if inner.is_none() && self.spans.has(key) {
            findings.hide(self.spans.of(key));
        }
        inner
    }

    /// The tables of the list `key`.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        needed: bool,
        findings: &mut Findings,
    ) -> Vec<TableReader<'a>> {
        let remedy = format!("write [[{key}]] on a line of its own and the keys below it");
        let Some(value) = self.value(key) else {
            if needed {
                self.missing.push((key, remedy));
            }
            return Vec::new();
        };
        let DeValue::Array(elements) = value.get_ref() else {
            let message =
                format!("`{key}` must be a list of tables, and this is {}", type_name(value.get_ref()));
            self.spans.wrong(findings, key, message, remedy);
            return Vec::new();
        };
        if elements.is_empty() && needed {
            self.spans.wrong(findings, key, format!("there is no {key}"), remedy.clone());
        }
        let mut readers = Vec::new();
        for (number, element) in elements.iter().enumerate() {
            let path = format!("{}[{number}]", self.spans.path(key));
            match element.get_ref() {
                DeValue::Table(entries) => {
                    readers.push(TableReader::new(entries, format!("[[{key}]]"), path, element.span()));
                }
                other => {
                    let message = format!("each {key} must be a table, and this is {}", type_name(other));
                    findings.add(element.span(), path, message, remedy.clone());
                }
            }
        }
        readers
    }

    /// Ends the table: notes missing keys, and unknown ones with the key that was most likely meant.
    pub(super) fn finish(self, findings: &mut Findings) -> Spans {
        let mut meant = Vec::new();
        for (key, _) in self.entries.iter().filter(|(key, _)| !self.known.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            // A key that is there already cannot be the one that was meant.
            let free: Vec<&str> = self.known.iter().copied().filter(|known| !self.spans.has(known)).collect();
            let remedy = match nearest(name, &free) {
                Some(near) => {
                    meant.push(near);
                    format!("did you mean `{near}`?")
                }
                None => format!("remove it; the keys here are: {}", self.known.join(", ")),
            };
            findings.add(
                key.span(),
                self.spans.path(name),
                format!("unknown key `{name}` in {}", self.spans.title),
                remedy,
            );
        }
        self.note_missing(&meant, findings)
    }

    /// Ends a table whose type is not known, so that nothing can be said of its other keys.
    pub(super) fn finish_untyped(self, findings: &mut Findings) -> Spans {
        self.note_missing(&[], findings)
    }

    fn note_missing(self, meant: &[&str], findings: &mut Findings) -> Spans {
        for (key, remedy) in self.missing.iter().filter(|(key, _)| !meant.contains(key)) {
            findings.add(
                self.spans.header.clone(),
                self.spans.path(key),
                format!("`{key}` is missing in {}", self.spans.title),
                remedy.clone(),
            );
        }
        self.spans
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
