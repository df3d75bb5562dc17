//! Restore of a view into a running server: roles, then for each database its schema, its rows, its sequences, and what
//! depends on rows (indexes, keys, triggers). The first error stops it. A database that was there is renamed, never
//! dropped; only the empty `postgres` that every new cluster has is replaced.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use stillpoint_model::site_file::PostgresSettings;
use stillpoint_model::{
    Cancel, Context, Deadline, RestoreOptions, Restored, Restorer, RunId, StoredComponent, WriterError,
};

use super::facts::{DatabaseFacts, TableFacts, ViewFacts};
use super::held::connection_to;
use crate::postgres::access::{Access, find_programs};
use crate::postgres::cluster::{Cluster, cells, number};
use crate::postgres::session::{Session, identifier, literal};

/// The database that we are in while others are created and renamed.
const MAINTENANCE: &str = "template1";
/// How long looking may take.
const LOOK_WAIT: Duration = Duration::from_secs(30);
/// The longest name of anything in PostgreSQL (`NAMEDATALEN`, less its end).
const NAME_BYTES: usize = 63;
/// How much of a data file is sent at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Restores databases.
pub struct ViewRestorer {
    settings: PostgresSettings,
}

impl ViewRestorer {
    /// The restorer for what a [`super::ViewWriter`] captured, into the server that `settings` describe. Which databases
    /// are restored is what was captured, unless `settings.databases` names some.
    pub fn new(settings: PostgresSettings) -> Self {
        Self { settings }
    }

    fn facts(&self, stored: &StoredComponent) -> Result<ViewFacts, WriterError> {
        let mut facts: ViewFacts = serde_json::from_value(stored.facts.clone()).map_err(|error| {
            WriterError::Other(format!(
                "component {} is not stored as a PostgreSQL view ({error}); set method in the site file to the one that \
                 it was backed up with",
                stored.name.as_str()
            ))
        })?;
        if !self.settings.databases.is_empty() {
            facts.databases.retain(|database| self.settings.databases.contains(&database.name));
        }
        Ok(facts)
    }

    /// Looks at the server: the databases that are in the way, and an older server than the one that was backed up.
    fn look(&self, facts: &ViewFacts, deadline: Deadline) -> Result<Server, WriterError> {
        let access = Access::new(&self.settings)?;
        let mut session = Session::open(&access, MAINTENANCE, deadline)?;
        let cluster = Cluster::describe(&mut session, deadline)?;
        if cluster.major < facts.major {
            return Err(WriterError::Other(format!(
                "the server at {access} is PostgreSQL {}, and the databases come from {}; use that version or a later one",
                cluster.major, facts.major
            )));
        }
        let bin = self.settings.bin.as_deref();
        let psql = find_programs(bin, cluster.major, &["psql"], false, deadline)?.join("psql");
        let there: BTreeSet<&str> = cluster.databases.iter().map(|database| database.name.as_str()).collect();
        let (mut in_the_way, mut empty) = (Vec::new(), Vec::new());
        for name in facts.databases.iter().map(|database| &database.name) {
            if !there.contains(name.as_str()) {
                continue;
            }
            if name == "postgres" && is_empty(&access, name, deadline)? {
                empty.push(name.clone());
            } else {
                in_the_way.push(name.clone());
            }
        }
        Ok(Server { access, session, psql, in_the_way, empty })
    }
}

impl Restorer for ViewRestorer {
    fn obstacles(&self, stored: &StoredComponent) -> Result<Vec<String>, WriterError> {
        let facts = self.facts(stored)?;
        match self.look(&facts, Deadline::after(LOOK_WAIT)) {
            Ok(server) => Ok(server.in_the_way.iter().map(|name| in_the_way(name)).collect()),
            Err(error) => Ok(vec![error.to_string()]),
        }
    }

    fn plan(&self, stored: &StoredComponent) -> Result<Vec<String>, WriterError> {
        let mut steps = vec!["Create the roles and tablespaces that are missing.".to_owned()];
        for database in self.facts(stored)?.databases {
            steps.push(format!(
                "Create database {}, fill {} tables, set {} sequences, then create indexes, keys and triggers.",
                database.name,
                database.tables.len(),
                database.sequences.len()
            ));
        }
        Ok(steps)
    }

    fn restore(
        &mut self,
        context: &Context,
        stored: &StoredComponent,
        options: &RestoreOptions,
        deadline: Deadline,
    ) -> Result<Restored, WriterError> {
        let facts = self.facts(stored)?;
        let mut server = self.look(&facts, deadline)?;
        if !server.in_the_way.is_empty() && !options.overwrite {
            let sentences: Vec<String> = server.in_the_way.iter().map(|name| in_the_way(name)).collect();
            return Err(WriterError::Other(sentences.join("; ")));
        }
        check_files(&facts, &stored.folder)?;
        let mut restored = Restored::default();
        server.make_room(&context.run, &mut restored.notes, deadline)?;
        server.restore_globals(context, &stored.folder, &mut restored.notes, deadline)?;
        for database in &facts.databases {
            server.restore_database(context, &stored.folder, database, &mut restored, deadline)?;
        }
        Ok(restored)
    }
}

/// The server that is restored into.
struct Server {
    access: Access,
    session: Session,
    psql: PathBuf,
    in_the_way: Vec<String>,
    empty: Vec<String>,
}

impl Server {
    fn make_room(
        &mut self,
        run: &RunId,
        notes: &mut Vec<String>,
        deadline: Deadline,
    ) -> Result<(), WriterError> {
        for name in &self.in_the_way {
            let aside = aside(name, run);
            let statement = format!("ALTER DATABASE {} RENAME TO {}", identifier(name), identifier(&aside));
            let act = format!("rename database {name} to {aside} (nobody may be connected to it)");
            self.session.query(&act, &statement, deadline)?;
            notes.push(format!("Database {name} as it was is {aside} now."));
        }
        for name in &self.empty {
            let act = format!("replace the empty database {name}");
            self.session.alone(&act, format!("DROP DATABASE {}", identifier(name)), deadline)?;
        }
        Ok(())
    }

    /// Creates the roles and tablespaces that are missing. Those that are there stay as they are.
    fn restore_globals(
        &mut self,
        context: &Context,
        folder: &Path,
        notes: &mut Vec<String>,
        deadline: Deadline,
    ) -> Result<(), WriterError> {
        let path = folder.join("globals.sql");
        let text =
            fs::read_to_string(&path).map_err(|source| WriterError::Io { act: "read", path, source })?;
        let act = "list the roles";
        let statement = "SELECT pg_catalog.quote_ident(rolname) FROM pg_catalog.pg_roles UNION ALL \
             SELECT pg_catalog.quote_ident(spcname) FROM pg_catalog.pg_tablespace";
        let rows = self.session.query(act, statement, deadline)?;
        let there: BTreeSet<String> = rows.into_iter().filter_map(|row| row.into_iter().next()?).collect();
        let script = context.workspace.join("globals.sql");
        fs::write(&script, without_existing(&text, &there)).map_err(|source| WriterError::Io {
            act: "write",
            path: script.clone(),
            source,
        })?;
        // No stop at an error: a tablespace whose folder is missing must not keep the roles away.
        let ended = self.psql(context, &script).run(deadline)?.check()?;
        let errors = ended.output.lines().filter(|line| line.contains("ERROR:"));
        notes.extend(errors.map(|line| format!("Of roles and tablespaces: {line}")));
        Ok(())
    }

    fn psql(&self, context: &Context, script: &Path) -> crate::process::Program {
        self.access
            .program(&self.psql)
            .args(["--no-psqlrc", "--quiet", "--dbname", &connection_to(MAINTENANCE), "--file"])
            .arg(script)
            .cancelled_by(&context.cancel)
    }

    fn script(&self, context: &Context, script: &Path, deadline: Deadline) -> Result<(), WriterError> {
        self.psql(context, script).args(["--set", "ON_ERROR_STOP=1"]).run(deadline)?.check().map(drop)
    }

    fn restore_database(
        &self,
        context: &Context,
        folder: &Path,
        database: &DatabaseFacts,
        restored: &mut Restored,
        deadline: Deadline,
    ) -> Result<(), WriterError> {
        let schema = folder.join(&database.folder);
        self.script(context, &schema.join("pre-data.sql"), deadline)?;
        let mut session = Session::open(&self.access, &database.name, deadline)?;
        let settings = "SET search_path = ''; SET row_security = off; SET datestyle = ISO; \
             SET intervalstyle = postgres; SET lock_timeout = 0";
        session.query("set up the session", settings, deadline)?;
        for table in &database.tables {
            let path = folder.join(&table.file);
            let statement = table.copy_in(&database.encoding, "STDIN");
            let act = format!("fill {} of database {}", table.name, database.name);
            restored.bytes += fill(&mut session, &act, &statement, &path, &context.cancel, deadline)?;
            restored.files += 1;
        }
        for sequence in &database.sequences {
            session.query(&format!("set sequence {}", sequence.name), &sequence.set(), deadline)?;
        }
        // Its scripts set their own session up, but only `pre-data` says for which database.
        let post_data = context.workspace.join("post-data.sql");
        self.write_post_data(&schema.join("post-data.sql"), &post_data, &database.name)?;
        self.script(context, &post_data, deadline)?;
        session.alone("take statistics", "ANALYZE", deadline)?;
        restored.notes.push(format!("Database {} stands at the epoch.", database.name));
        Ok(())
    }

    fn write_post_data(&self, source: &Path, target: &Path, database: &str) -> Result<(), WriterError> {
        let copy = || -> io::Result<()> {
            let mut file = File::create(target)?;
            writeln!(file, "\\connect -reuse-previous=on {}", psql_word(&connection_to(database)))?;
            io::copy(&mut File::open(source)?, &mut file).map(drop)
        };
        copy().map_err(|source| WriterError::Io { act: "write", path: target.to_owned(), source })
    }
}

/// Sends a data file into a COPY statement. Returns the number of bytes.
fn fill(
    session: &mut Session,
    act: &str,
    statement: &str,
    path: &Path,
    cancel: &Cancel,
    deadline: Deadline,
) -> Result<u64, WriterError> {
    let (statement, cancel) = (statement.to_owned(), cancel.clone());
    let mut file =
        File::open(path).map_err(|source| WriterError::Io { act: "open", path: path.to_owned(), source })?;
    let sent = session.run(act, deadline, move |client| {
        let mut writer = client.copy_in(&statement)?;
        let mut buffer = vec![0; PIECE_BYTES];
        let mut sent = 0;
        loop {
            // Dropping the writer without its end makes the server forget what it got.
            if cancel.is_cancelled() || deadline.passed() {
                return Ok(Err(io::ErrorKind::Interrupted.into()));
            }
            let piece = file.read(&mut buffer).and_then(|count| {
                writer.write_all(&buffer[..count])?;
                Ok(count)
            });
            match piece {
                Ok(0) => break,
                Ok(count) => sent += count as u64,
                Err(error) => return Ok(Err(error)),
            }
        }
        writer.finish()?;
        Ok(Ok(sent))
    })?;
    sent.map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::Interrupted if deadline.passed() => WriterError::Late { act: act.to_owned() },
        io::ErrorKind::Interrupted => WriterError::Cancelled,
        _ => WriterError::Service { act: act.to_owned(), reason: error.to_string() },
    })
}

/// That all files are there and whole, before anything is changed.
fn check_files(facts: &ViewFacts, folder: &Path) -> Result<(), WriterError> {
    let whole = |table: &TableFacts| {
        let path = folder.join(&table.file);
        let size = fs::metadata(&path)
            .map_err(|source| WriterError::Io { act: "look at", path: path.clone(), source })?
            .len();
        if size == table.bytes {
            return Ok(());
        }
        Err(WriterError::Other(format!(
            "{} has {size} bytes and had {} when it was stored; verify the set",
            path.display(),
            table.bytes
        )))
    };
    facts.databases.iter().flat_map(|database| &database.tables).try_for_each(whole)
}

fn in_the_way(name: &str) -> String {
    format!("database {name} exists and would be replaced")
}

/// `<name>_before_<run>`, with as much of the name as there is room for.
fn aside(name: &str, run: &RunId) -> String {
    let suffix = format!("_before_{run}");
    let mut end = name.len().min(NAME_BYTES.saturating_sub(suffix.len()));
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &name[..end])
}

/// Whether a database holds nothing of anybody's: what a new cluster has, has numbers below 16384 (`FirstNormalObjectId`).
fn is_empty(access: &Access, name: &str, deadline: Deadline) -> Result<bool, WriterError> {
    let mut session = Session::open(access, name, deadline)?;
    let act = format!("see whether database {name} is empty");
    let count = |catalog: &str| format!("(SELECT count(*) FROM pg_catalog.{catalog} WHERE oid >= 16384)");
    let parts = ["pg_class", "pg_proc", "pg_type", "pg_namespace", "pg_extension", "pg_largeobject_metadata"];
    let statement = format!("SELECT {}", parts.map(count).join(" + "));
    let row = session.query(&act, &statement, deadline)?.into_iter().next().unwrap_or_default();
    let [objects] = cells(row, &act)?;
    Ok(number::<u64>(objects, &act)? == 0)
}

/// The script without the lines that would change roles and tablespaces that are there (`pg_dumpall` writes one statement
/// a line for each of them).
fn without_existing(script: &str, there: &BTreeSet<String>) -> String {
    let about = |line: &str| {
        ["CREATE ROLE ", "ALTER ROLE ", "CREATE TABLESPACE ", "ALTER TABLESPACE "]
            .iter()
            .find_map(|start| line.strip_prefix(start))
            .map(|rest| there.iter().any(|name| names_first(rest, name)))
            .unwrap_or(false)
    };
    script.lines().filter(|line| !about(line)).map(|line| format!("{line}\n")).collect()
}

fn names_first(rest: &str, name: &str) -> bool {
    rest.strip_prefix(name).is_some_and(|after| after.starts_with([' ', ';']))
}

/// A text as one argument of a command of psql.
fn psql_word(text: &str) -> String {
    literal(text).trim_start_matches('E').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_that_are_there_are_not_touched() {
        let there = BTreeSet::from(["postgres".to_owned(), "\"Odd one\"".to_owned()]);
        let script = "CREATE ROLE postgres;\nALTER ROLE postgres WITH SUPERUSER;\nCREATE ROLE postgres2;\n\
                      ALTER ROLE \"Odd one\" WITH LOGIN;\nGRANT a TO b;\n";
        assert_eq!(without_existing(script, &there), "CREATE ROLE postgres2;\nGRANT a TO b;\n");
    }

    #[test]
    fn the_name_of_a_database_moved_aside_fits() {
        let run: RunId = "20261122T020000Z-4711".parse().unwrap();
        assert_eq!(aside("shop", &run), "shop_before_20261122T020000Z-4711");
        let long = aside(&"ü".repeat(31), &run);
        assert!(long.len() <= 63 && long.ends_with("_before_20261122T020000Z-4711"), "{long}");
    }
}
