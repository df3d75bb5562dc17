//! The table of messages, read once from the text that is built into the program.

use std::sync::OnceLock;

use serde::Deserialize;

use super::{MessageId, Severity};

/// What the table says of one number.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The number.
    pub id: MessageId,
    /// The name of the constant.
    pub name: String,
    /// How serious it is.
    pub severity: Severity,
    /// Whether an operation as a whole began or ended; else it is a detail of one.
    pub milestone: bool,
    /// The text, with `%1`, `%2` ... for the insertion values.
    pub text: String,
    /// The usual cause, where something is wrong.
    pub cause: Option<String>,
    /// What a person does about it, where something is to be done.
    pub remedy: Option<String>,
}

/// Numbers that are not used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reserved {
    /// The numbers.
    pub ids: Vec<u16>,
    /// Why.
    pub why: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    message: Vec<Definition>,
    reserved: Vec<Reserved>,
}

fn read() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        toml::from_str(include_str!("../../messages.toml"))
            .expect("the table is a part of the program, and a test reads it")
    })
}

/// All messages, in order of their numbers.
pub fn table() -> &'static [Definition] {
    &read().message
}

/// The numbers that are not used, with the reasons.
pub fn reserved() -> &'static [Reserved] {
    &read().reserved
}

/// What the table says of `id`; nothing for a number that was read from the record of a newer version.
pub fn definition(id: MessageId) -> Option<&'static Definition> {
    let table = table();
    table.binary_search_by_key(&id, |definition| definition.id).ok().map(|at| &table[at])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::status::id;

    #[test]
    fn numbers_rise_and_none_is_used_twice_or_reserved() {
        for pair in table().windows(2) {
            assert!(pair[0].id < pair[1].id, "{} comes before {}", pair[0].id, pair[1].id);
        }
        let mut seen: BTreeSet<u16> = table().iter().map(|definition| definition.id.number()).collect();
        for number in reserved().iter().flat_map(|reserved| &reserved.ids) {
            assert!(seen.insert(*number), "{number} is in the table twice");
        }
    }

    #[test]
    fn every_number_of_the_model_product_is_used_or_reserved() {
        let mut known: BTreeSet<u16> = table().iter().map(|definition| definition.id.number()).collect();
        known.extend(reserved().iter().flat_map(|reserved| &reserved.ids));
        for number in (500..=504).chain([2416]).chain(5000..=5060).chain(6800..=6833) {
            assert!(known.contains(&number), "nothing is said of {number}");
        }
    }

    #[test]
    fn constants_and_table_agree() {
        let table: Vec<(&str, MessageId)> =
            table().iter().map(|definition| (definition.name.as_str(), definition.id)).collect();
        assert_eq!(table, id::ALL);
    }

    #[test]
    fn a_message_that_tells_of_trouble_says_the_cause_and_the_remedy() {
        for definition in table() {
            let trouble = definition.severity != Severity::Info;
            assert_eq!(definition.cause.is_some(), trouble, "cause of {}", definition.id);
            assert_eq!(definition.remedy.is_some(), trouble, "remedy of {}", definition.id);
        }
    }

    #[test]
    fn insertion_values_are_numbered_without_gaps() {
        for definition in table() {
            let used: BTreeSet<usize> = definition
                .text
                .split('%')
                .skip(1)
                .filter_map(|part| part.chars().next()?.to_digit(10).map(|digit| digit as usize))
                .collect();
            assert!(used.iter().copied().eq(1..=used.len()), "{}: {}", definition.id, definition.text);
        }
    }
}
