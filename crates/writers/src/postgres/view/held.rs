//! One database that is held: its tables locked before the freeze, its view taken in the freeze, its rows read afterwards,
//! all by one session.
//!
//! Why so (each was seen to go wrong otherwise): a TRUNCATE after the cut would empty a table for every older view, so the
//! tables are locked first, in ACCESS SHARE mode, which no reader or writer of rows notices. LOCK takes no view yet: the
//! first query does, in the cut, so that all rows committed until then are seen. Sequences have no views at all: they are
//! read in the cut. And an ALTER or TRUNCATE that waits for our lock makes every later session wait behind it: so nobody
//! reads for us who did not lock before, `pg_dump` least of all. The site feels that too: whoever alters a table or empties
//! it while its database is captured waits until the capture ends, and new sessions on that table wait behind them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stillpoint_model::{CaptureSink, Context, Deadline, WriterError};

use super::catalog::{Catalog, fingerprint};
use super::facts::{DatabaseFacts, SequenceFacts, TableFacts};
use crate::postgres::access::Access;
use crate::postgres::cluster::{cells, number, truth};
use crate::postgres::session::{NOT_READ, Session, literal};

/// How long our locks are waited for. Longer, and whoever waits for a lock behind us would stand still for it.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How often a schema that changes while it is dumped is dumped anew.
const ATTEMPTS: usize = 3;

/// A database that is held.
pub struct Held {
    session: Session,
    /// Its folder in the component.
    folder: String,
    /// Where its schema is, until the set takes it.
    workspace: PathBuf,
    catalog: Catalog,
    cut: Option<Cut>,
}

struct Cut {
    snapshot: String,
    sequences: Vec<SequenceFacts>,
}

impl Held {
    /// Opens the session, dumps the schema, locks the tables.
    pub fn take(
        context: &Context,
        access: &Access,
        programs: &Path,
        (database, folder): (&str, String),
        deadline: Deadline,
    ) -> Result<Self, WriterError> {
        let mut session = Session::open(access, database, deadline)?;
        let settings = format!(
            "SET lock_timeout = {}; SET idle_in_transaction_session_timeout = 0; SET search_path = ''; \
             SET row_security = off; SET extra_float_digits = 3; SET datestyle = ISO; SET intervalstyle = postgres",
            LOCK_WAIT.as_millis()
        );
        session.query("set up the session", &settings, deadline)?;
        let workspace = context.workspace.join(&folder);
        std::fs::create_dir_all(&workspace).map_err(|source| WriterError::Io {
            act: "create folder",
            path: workspace.clone(),
            source,
        })?;
        let mut held = Self { session, folder, workspace, catalog: Catalog::default(), cut: None };
        held.catch_up(context, access, programs, deadline)?;
        Ok(held)
    }

    /// Makes sure that the schema dump and the locks are those of the database as it is now.
    pub fn catch_up(
        &mut self,
        context: &Context,
        access: &Access,
        programs: &Path,
        deadline: Deadline,
    ) -> Result<(), WriterError> {
        // In a session of its own: in ours it would be the first query, and take the view.
        let mut scout = Session::open(access, self.session.database(), deadline)?;
        for _ in 0..ATTEMPTS {
            if fingerprint(&mut scout, deadline)? == self.catalog.fingerprint {
                return Ok(());
            }
            self.session.query("let the locks go", "ROLLBACK", deadline)?;
            self.catalog = Catalog::read(&mut scout, deadline)?;
            self.dump_schema(context, access, programs, deadline)?;
            self.lock(deadline)?;
        }
        Err(WriterError::Other(format!(
            "the schema of database {} changed each time it was dumped ({ATTEMPTS} times); run the backup when nobody \
             creates or alters objects in it",
            self.session.database()
        )))
    }

    fn dump_schema(
        &self,
        context: &Context,
        access: &Access,
        programs: &Path,
        deadline: Deadline,
    ) -> Result<(), WriterError> {
        for section in ["pre-data", "post-data"] {
            let path = self.workspace.join(format!("{section}.sql"));
            let file = File::create(&path).map_err(|source| WriterError::Io {
                act: "create",
                path: path.clone(),
                source,
            })?;
            let mut program = access
                .program(&programs.join("pg_dump"))
                .args(["--section", section, "--lock-wait-timeout", &LOCK_WAIT.as_millis().to_string()])
                .args(["--dbname", &connection_to(self.session.database())])
                .cancelled_by(&context.cancel);
            if section == "pre-data" {
                program = program.arg("--create");
            }
            program.run_into(file, deadline)?.check()?;
        }
        Ok(())
    }

    fn lock(&mut self, deadline: Deadline) -> Result<(), WriterError> {
        let tables: Vec<String> = self.catalog.lockable.iter().map(|name| format!("ONLY {name}")).collect();
        let mut statement = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned();
        if !tables.is_empty() {
            statement = format!("{statement}; LOCK TABLE {} IN ACCESS SHARE MODE", tables.join(", "));
        }
        let act = format!(
            "lock the tables of database {} against being emptied or altered",
            self.session.database()
        );
        self.session.query(&act, &statement, deadline).map(drop)
    }

    /// The session, to be ended with others.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// That the session still answers. No query: that would take the view too early.
    pub fn check(&mut self, deadline: Deadline) -> Result<(), WriterError> {
        let act = format!("see whether the session with database {} answers", self.session.database());
        self.session.query(&act, "SET application_name = 'stillpoint'", deadline).map(drop)
    }

    /// Takes the view, and the sequences, in one message.
    pub fn cut(&mut self, deadline: Deadline) -> Result<(), WriterError> {
        let act = format!("take the view of database {}", self.session.database());
        let sequences: Vec<String> = self
            .catalog
            .sequences
            .iter()
            .enumerate()
            .map(|(at, name)| format!("SELECT {at}, last_value, is_called FROM {name}"))
            .collect();
        let mut statement = "SELECT pg_catalog.pg_current_snapshot()".to_owned();
        if !sequences.is_empty() {
            statement = format!("{statement}; {}", sequences.join(" UNION ALL "));
        }
        let mut rows = self.session.query(&act, &statement, deadline)?.into_iter();
        let [snapshot] = cells(rows.next().unwrap_or_default(), &act)?;
        let mut cut = Cut { snapshot: snapshot.unwrap_or_default(), sequences: Vec::new() };
        for row in rows {
            let [at, last_value, is_called] = cells(row, &act)?;
            let at: usize = number(at, &act)?;
            cut.sequences.push(SequenceFacts {
                name: self.catalog.sequences.get(at).cloned().unwrap_or_default(),
                last_value: number(last_value, &act)?,
                is_called: truth(is_called),
            });
        }
        self.cut = Some(cut);
        Ok(())
    }

    /// Brings schema and rows into the set, and lets the locks go.
    pub fn capture(
        mut self,
        context: &Context,
        deadline: Deadline,
        sink: &mut dyn CaptureSink,
    ) -> Result<DatabaseFacts, WriterError> {
        let database = self.session.database().to_owned();
        let cut = self.cut.take().ok_or_else(|| {
            WriterError::Other(format!("no view of database {database} was taken; this is our own mistake"))
        })?;
        if fingerprint(&mut self.session, deadline)? != self.catalog.fingerprint {
            return Err(WriterError::Other(format!(
                "somebody created, altered or dropped something in database {database} between the dump of its schema \
                 and the cut; run the backup again"
            )));
        }
        self.refuse_large_objects(&database, deadline)?;
        for foreign in &self.catalog.foreign {
            context.problem(format!(
                "the rows of foreign table {foreign} of database {database} are not in the set: they are elsewhere"
            ));
        }
        let tables = self.copy_tables(context, deadline, sink)?;
        let facts = DatabaseFacts {
            name: database,
            folder: self.folder.clone(),
            snapshot: cut.snapshot,
            encoding: self.catalog.encoding.clone(),
            tables,
            sequences: cut.sequences,
        };
        for section in ["pre-data.sql", "post-data.sql"] {
            let path = self.workspace.join(section);
            let mut file =
                File::open(&path).map_err(|source| WriterError::Io { act: "open", path, source })?;
            sink.stream(context, &format!("{}/{section}", self.folder), &mut file)?;
        }
        let script = restore_script(&facts);
        sink.stream(context, &format!("{}/restore.sql", self.folder), &mut script.as_bytes())?;
        Ok(facts)
    }

    fn refuse_large_objects(&mut self, database: &str, deadline: Deadline) -> Result<(), WriterError> {
        let statement = "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata";
        let rows = self.session.query("count the large objects", statement, deadline)?;
        let count = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
        refuse_large_objects(database, number(count, "count the large objects")?)
    }

    fn copy_tables(
        &mut self,
        context: &Context,
        deadline: Deadline,
        sink: &mut dyn CaptureSink,
    ) -> Result<Vec<TableFacts>, WriterError> {
        let mut tables = Vec::new();
        for (at, table) in self.catalog.tables.iter().enumerate() {
            let act = format!("read the rows of {} of database {}", table.name, self.session.database());
            let statement = table.copy_out(&self.catalog.encoding);
            let file = format!("{}/data/{}.copy", self.folder, at + 1);
            let mut reader = self.session.copy_out(&act, &statement, deadline, &context.cancel)?;
            let taken = sink.stream(context, &file, &mut reader);
            // Why the rows did not come says more than that the set did not get them.
            let bytes = match (reader.finish(), taken) {
                (Ok(()), Ok(bytes)) => bytes,
                (Err(error), _) if !was_only_left(&error) => return Err(error),
                (_, Err(error)) => return Err(error.into()),
                (Err(error), Ok(_)) => return Err(error),
            };
            let (name, columns) = (table.name.clone(), table.columns.clone());
            tables.push(TableFacts { name, columns, file, bytes });
        }
        Ok(tables)
    }
}

/// Whether a stream failed only because the set stopped reading it.
fn was_only_left(error: &WriterError) -> bool {
    matches!(error, WriterError::Service { reason, .. } if reason == NOT_READ)
}

/// Large objects belong to no table, and a schema dump does not have them.
pub fn refuse_large_objects(database: &str, count: u64) -> Result<(), WriterError> {
    if count == 0 {
        return Ok(());
    }
    Err(WriterError::Other(format!(
        "database {database} has {count} large objects, which method = \"view\" does not hold; use method = \
         \"base-backup\", or remove orphaned ones with vacuumlo"
    )))
}

/// A database as a connection string: its name alone could be taken for one.
pub fn connection_to(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', r"\\").replace('\'', r"\'"))
}

/// The order for restoring a database by hand, run with `psql -X -d template1 -f` in the component's folder.
fn restore_script(facts: &DatabaseFacts) -> String {
    let file = |name: &str| format!("{}/{name}", facts.folder);
    let mut lines = vec![
        "\\set ON_ERROR_STOP on".to_owned(),
        format!("\\i {}", file("pre-data.sql")),
        "SET search_path = ''; SET row_security = off;".to_owned(),
    ];
    for table in &facts.tables {
        lines.push(format!(
            "\\{}",
            table.copy_in(&facts.encoding, &literal(&table.file)).replacen("COPY", "copy", 1)
        ));
    }
    lines.extend(facts.sequences.iter().map(|sequence| format!("{};", sequence.set())));
    lines.push(format!("\\i {}", file("post-data.sql")));
    lines.push("ANALYZE;".to_owned());
    lines.join("\n") + "\n"
}
