//! What a restore of a view needs to know, as it is stored with the component.

use serde::{Deserialize, Serialize};

/// The facts of captured databases ([`stillpoint_model::Captured::facts`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewFacts {
    /// Always `view`: tells the two methods apart.
    pub method: String,
    /// The server's version.
    pub version: String,
    /// Its major version; a restore needs this or a later one.
    pub major: u32,
    /// The databases.
    pub databases: Vec<DatabaseFacts>,
}

/// One database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseFacts {
    /// Its name.
    pub name: String,
    /// Its folder in the component.
    pub folder: String,
    /// Which transactions the view sees (`pg_current_snapshot`).
    pub snapshot: String,
    /// The encoding of the database and of the data files.
    pub encoding: String,
    /// The tables.
    pub tables: Vec<TableFacts>,
    /// The sequences.
    pub sequences: Vec<SequenceFacts>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFacts {
    /// Its name with its schema, quoted for SQL.
    pub name: String,
    /// Its columns in the order of the data file, quoted for SQL; empty for a table without columns.
    pub columns: String,
    /// The data file, relative to the component's folder, in COPY's text format.
    pub file: String,
    /// The size of the data file.
    pub bytes: u64,
}

/// One sequence, as it stood in the freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceFacts {
    /// Its name with its schema, quoted for SQL.
    pub name: String,
    /// Its last value.
    pub last_value: i64,
    /// Whether that was handed out already.
    pub is_called: bool,
}

impl TableFacts {
    /// The statement that takes the data file in; `source` is what follows FROM.
    pub fn copy_in(&self, encoding: &str, source: &str) -> String {
        let columns = if self.columns.is_empty() { String::new() } else { format!(" ({})", self.columns) };
        format!(
            "COPY {}{columns} FROM {source} WITH (FORMAT text, ENCODING '{}')",
            self.name,
            encoding.replace('\'', "''")
        )
    }
}

impl SequenceFacts {
    /// The statement that sets the sequence.
    pub fn set(&self) -> String {
        let name = self.name.replace('\'', "''");
        format!("SELECT pg_catalog.setval('{name}', {}, {})", self.last_value, self.is_called)
    }
}
