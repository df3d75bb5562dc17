//! The documents that are made from this crate's types and tables are what those say now. UPDATE_GOLDEN=1 rewrites them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::PathBuf;

use stillpoint_model::{site_file, status};

fn assert_document(name: &str, wanted: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some(line) = first_difference(&found, wanted) {
        panic!("docs/{name} differs from line {line} on; run UPDATE_GOLDEN=1 cargo test -p stillpoint-model");
    }
}

fn first_difference(found: &str, wanted: &str) -> Option<usize> {
    if found == wanted {
        return None;
    }
    let same = found.lines().zip(wanted.lines()).take_while(|(a, b)| a == b).count();
    Some(same + 1)
}

#[test]
fn golden_the_document_of_messages_is_what_the_table_says() {
    assert_document("messages.md", &status::messages_document());
}

#[test]
fn golden_the_document_of_exit_codes_is_what_the_kinds_say() {
    assert_document("exit-codes.md", &status::exit_codes_document());
}

#[test]
fn golden_the_schema_on_disk_is_that_of_the_types() {
    assert_document("site-file.schema.json", &site_file::schema());
}

#[test]
fn golden_the_document_of_the_site_file_is_that_of_the_types() {
    assert_document("site-file.md", &site_file::site_file_document());
}
