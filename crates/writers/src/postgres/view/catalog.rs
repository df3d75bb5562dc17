//! What is in a database: tables, sequences, and a fingerprint of everything that a schema dump would hold.

use stillpoint_model::{Deadline, WriterError};

use crate::postgres::cluster::{cells, number};
use crate::postgres::session::{Row, Session};

/// A table whose rows are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name with its schema, quoted.
    pub name: String,
    /// Its columns, quoted and with commas; generated ones are left out.
    pub columns: String,
    /// For a table of an extension that holds its users' settings: which rows are theirs, such as `WHERE NOT builtin`.
    /// All rows when it is empty.
    pub condition: Option<String>,
}

/// What is in a database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalog {
    /// Ordinary tables and leaves of partitioned ones: they hold the rows.
    pub tables: Vec<Table>,
    /// Everything that is locked: the tables, and partitioned tables above them.
    pub lockable: Vec<String>,
    /// The sequences.
    pub sequences: Vec<String>,
    /// Foreign tables: their rows are elsewhere.
    pub foreign: Vec<String>,
    /// The encoding of the database.
    pub encoding: String,
    /// See [`fingerprint`].
    pub fingerprint: String,
    /// How many large objects there are.
    pub large_objects: u64,
}

/// User tables. A table of an extension comes with the extension; only what its users put into it is data. Temporary
/// tables are their session's own business.
const TABLES: &str = "SELECT c.relkind, \
     pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), \
     (SELECT string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_catalog.pg_attribute a \
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''), \
     (e.oid IS NOT NULL), e.extcondition[array_position(e.extconfig, c.oid)] \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid \
          AND d.objsubid = 0 AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e' \
     LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
     WHERE c.relkind IN ('r', 'p', 'f', 'S') AND c.relpersistence <> 't' \
     AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY c.oid";

impl Catalog {
    /// Reads it in one transaction of a session that is in none.
    pub fn read(session: &mut Session, deadline: Deadline) -> Result<Self, WriterError> {
        let act = format!("list what is in database {}", session.database());
        let mut catalog = Self { fingerprint: fingerprint(session, deadline)?, ..Self::default() };
        for row in session.query(&act, TABLES, deadline)? {
            catalog.take(row, &act)?;
        }
        let statement = "SELECT pg_catalog.pg_encoding_to_char(encoding), \
             (SELECT count(*) FROM pg_catalog.pg_largeobject_metadata) \
             FROM pg_catalog.pg_database WHERE datname = current_database()";
        let row = session.query(&act, statement, deadline)?.into_iter().next().unwrap_or_default();
        let [encoding, large_objects] = cells(row, &act)?;
        catalog.encoding = encoding.unwrap_or_default();
        catalog.large_objects = number(large_objects, &act)?;
        Ok(catalog)
    }

    fn take(&mut self, row: Row, act: &str) -> Result<(), WriterError> {
        let [kind, name, columns, of_extension, condition] = cells(row, act)?;
        let name = name.unwrap_or_default();
        let of_extension = of_extension.as_deref() == Some("t");
        match kind.as_deref() {
            Some("S") if !of_extension || condition.is_some() => self.sequences.push(name),
            Some("f") => self.foreign.push(name),
            Some("p") => self.lockable.push(name),
            Some("r") if !of_extension || condition.is_some() => {
                self.lockable.push(name.clone());
                let condition = condition.filter(|condition| !condition.trim().is_empty());
                self.tables.push(Table { name, columns: columns.unwrap_or_default(), condition });
            }
            _ => {}
        }
        Ok(())
    }
}

impl Table {
    /// The statement that sends the rows.
    pub fn copy_out(&self, encoding: &str) -> String {
        let what = match (&self.condition, self.columns.is_empty()) {
            (Some(condition), false) => {
                format!("(SELECT {} FROM ONLY {} {condition})", self.columns, self.name)
            }
            (Some(condition), true) => format!("(SELECT FROM ONLY {} {condition})", self.name),
            (None, false) => format!("{} ({})", self.name, self.columns),
            (None, true) => self.name.clone(),
        };
        format!("COPY {what} TO STDOUT WITH (FORMAT text, ENCODING '{}')", encoding.replace('\'', "''"))
    }
}

/// Catalogs whose rows belong to a relation, with the column that names it. Those of temporary tables do not count.
const OF_RELATIONS: [(&str, &str); 12] = [
    ("pg_attribute", "attrelid"),
    ("pg_attrdef", "adrelid"),
    ("pg_constraint", "conrelid"),
    ("pg_foreign_table", "ftrelid"),
    ("pg_index", "indrelid"),
    ("pg_inherits", "inhrelid"),
    ("pg_policy", "polrelid"),
    ("pg_publication_rel", "prrelid"),
    ("pg_rewrite", "ev_class"),
    ("pg_sequence", "seqrelid"),
    ("pg_statistic_ext", "stxrelid"),
    ("pg_trigger", "tgrelid"),
];

/// Catalogs whose rows are in a schema, with the column that names it. Those in schemas of temporary tables do not count.
const OF_SCHEMAS: [(&str, &str); 8] = [
    ("pg_collation", "collnamespace"),
    ("pg_conversion", "connamespace"),
    ("pg_operator", "oprnamespace"),
    ("pg_opclass", "opcnamespace"),
    ("pg_proc", "pronamespace"),
    ("pg_ts_config", "cfgnamespace"),
    ("pg_ts_dict", "dictnamespace"),
    ("pg_type", "typnamespace"),
];

/// Other catalogs of a database, and the shared ones that `pg_dumpall --globals-only` reads.
const OTHERS: [&str; 21] = [
    "pg_aggregate",
    "pg_am",
    "pg_amop",
    "pg_amproc",
    "pg_cast",
    "pg_default_acl",
    "pg_enum",
    "pg_event_trigger",
    "pg_extension",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_language",
    "pg_publication",
    "pg_range",
    "pg_transform",
    "pg_ts_config_map",
    "pg_user_mapping",
    "pg_authid",
    "pg_auth_members",
    "pg_db_role_setting",
    "pg_tablespace",
];

/// A text for all that a schema dump would hold: it stays the same only as long as nothing of that changes. In a
/// transaction that has its view, it is that of the view.
///
/// It counts the rows of each catalog and adds up the transactions that wrote them (`xmin`): a later transaction has a
/// higher number, so that with as many rows as before the sum is higher. VACUUM and ANALYZE write in place. TRUNCATE and
/// REINDEX write rows of `pg_class`, so of those the content counts that they do not touch.
pub fn fingerprint(session: &mut Session, deadline: Deadline) -> Result<String, WriterError> {
    let act = format!("take the fingerprint of the schema of database {}", session.database());
    let part = |catalog: &str, row: &str, condition: String| {
        format!(
            "SELECT '{catalog}' AS name, count(*) AS rows, sum({row}) AS hash FROM pg_catalog.{catalog} x{condition}"
        )
    };
    let whole = "x.xmin::text::bigint";
    let schemas = "SELECT oid FROM pg_catalog.pg_namespace WHERE nspname ~ '^pg_(toast_)?temp_'";
    let temporary = "SELECT oid FROM pg_catalog.pg_class WHERE relpersistence = 't'";
    let relations = OF_RELATIONS
        .iter()
        .map(|(catalog, column)| part(catalog, whole, format!(" WHERE {column} NOT IN ({temporary})")));
    let in_schemas = OF_SCHEMAS
        .iter()
        .map(|(catalog, column)| part(catalog, whole, format!(" WHERE {column} NOT IN ({schemas})")));
    let others = OTHERS.iter().map(|catalog| part(catalog, whole, String::new()));
    let class = "pg_catalog.hashtextextended((oid, relname, relnamespace, relowner, relkind, relpersistence, reltablespace, reloptions, relacl, \
         relispopulated, relispartition, pg_catalog.pg_get_expr(relpartbound, oid), relrowsecurity, \
         relforcerowsecurity, relreplident)::text, 0)::numeric";
    let own = [
        part("pg_class", class, " WHERE relpersistence <> 't'".into()),
        part("pg_namespace", whole, " WHERE nspname !~ '^pg_(toast_)?temp_'".into()),
    ];
    let parts: Vec<String> = relations.chain(in_schemas).chain(others).chain(own).collect();
    let statement = format!(
        "SELECT md5(string_agg(name || ' ' || rows || ' ' || coalesce(hash, 0), ',' ORDER BY name)) FROM ({}) parts",
        parts.join(" UNION ALL ")
    );
    let rows = session.query(&act, &statement, deadline)?;
    let hash = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
    hash.ok_or_else(|| WriterError::Service { act, reason: "there was no answer".into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_extensions_settings_are_selected_and_generated_columns_never() {
        let table = |columns: &str, condition: Option<&str>| Table {
            name: "s.t".into(),
            columns: columns.into(),
            condition: condition.map(str::to_owned),
        };
        let with = "TO STDOUT WITH (FORMAT text, ENCODING 'UTF8')";
        assert_eq!(table("a, b", None).copy_out("UTF8"), format!("COPY s.t (a, b) {with}"));
        assert_eq!(table("", None).copy_out("UTF8"), format!("COPY s.t {with}"));
        assert_eq!(
            table("a", Some("WHERE mine")).copy_out("UTF8"),
            format!("COPY (SELECT a FROM ONLY s.t WHERE mine) {with}")
        );
    }
}
