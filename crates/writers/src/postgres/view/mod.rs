//! Method `view`: a consistent view of databases, taken in the freeze and read afterwards by the sessions that locked the
//! tables before it. In formats that PostgreSQL's own tools restore: schema as SQL, rows as COPY text, and the order for
//! `psql`. See [`held`] for what makes it hold.
//!
//! Roles, tablespaces and what else belongs to the cluster comes with `pg_dumpall --globals-only`.

mod catalog;
mod facts;
mod held;
mod restore;

use std::fs::File;
use std::path::PathBuf;

use stillpoint_model::site_file::PostgresSettings;
use stillpoint_model::{
    CaptureSink, Captured, Context, Deadline, Description, Event, Grade, Level, Writer, WriterError,
};

use super::access::{Access, find_programs};
use super::cluster::{Cluster, open_maintenance};
use super::session::{Session, close_all};
use catalog::Catalog;
use held::Held;

pub use facts::{DatabaseFacts, SequenceFacts, TableFacts, ViewFacts};
pub use restore::ViewRestorer;

/// The programs of a backup, the one whose version counts first.
const PROGRAMS: [&str; 2] = ["pg_dump", "pg_dumpall"];

/// Backs up databases of a cluster. See the module for how.
pub struct ViewWriter {
    settings: PostgresSettings,
    access: Option<Access>,
    cluster: Option<Cluster>,
    programs: PathBuf,
    databases: Vec<String>,
    held: Vec<Held>,
}

impl ViewWriter {
    /// The writer of the databases that `settings` name, or of all that allow connections and are no templates.
    pub fn new(settings: PostgresSettings) -> Self {
        let (access, cluster, programs) = (None, None, PathBuf::new());
        Self { settings, access, cluster, programs, databases: Vec::new(), held: Vec::new() }
    }

    fn access(&self) -> Result<Access, WriterError> {
        self.access.clone().ok_or_else(out_of_order)
    }

    /// The databases to take, of those that there are.
    fn choose(&self, cluster: &Cluster) -> Result<Vec<String>, WriterError> {
        let there: Vec<&str> = cluster
            .databases
            .iter()
            .filter(|database| database.connectable)
            .map(|database| database.name.as_str())
            .collect();
        let missing: Vec<&String> =
            self.settings.databases.iter().filter(|name| !there.contains(&name.as_str())).collect();
        if !missing.is_empty() {
            return Err(WriterError::Other(format!(
                "the server has no database {missing:?} that allows connections; it has {there:?}"
            )));
        }
        if !self.settings.databases.is_empty() {
            return Ok(self.settings.databases.clone());
        }
        let wanted = cluster.databases.iter().filter(|database| database.connectable && !database.template);
        Ok(wanted.map(|database| database.name.clone()).collect())
    }

    fn dump_globals(&self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        let path = context.workspace.join("globals.sql");
        let file = File::create(&path).map_err(|source| WriterError::Io {
            act: "create",
            path: path.clone(),
            source,
        })?;
        let database = self.databases.first().map_or("postgres", String::as_str);
        self.access()?
            .program(&self.programs.join("pg_dumpall"))
            .args(["--globals-only", "--database", database])
            .cancelled_by(&context.cancel)
            .run_into(file, deadline)?
            .check()
            .map(drop)
    }

    /// A database that came into being during the run is not in the set, and somebody must know.
    fn tell_of_new_databases(&self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        if !self.settings.databases.is_empty() {
            return Ok(());
        }
        let mut session = open_maintenance(&self.access()?, deadline)?;
        let now = self.choose(&Cluster::describe(&mut session, deadline)?)?;
        for name in now.iter().filter(|name| !self.databases.contains(name)) {
            context.problem(format!("database {name} was created during the run and is not in the set"));
        }
        Ok(())
    }
}

impl Writer for ViewWriter {
    fn identify(&mut self, _context: &Context, deadline: Deadline) -> Result<Description, WriterError> {
        let access = Access::new(&self.settings)?;
        let mut session = open_maintenance(&access, deadline)?;
        let cluster = Cluster::describe(&mut session, deadline)?;
        if cluster.in_recovery {
            return Err(WriterError::Other(format!(
                "PostgreSQL at {access} is a standby, whose view is not that of the applications; point host and port \
                 at its primary"
            )));
        }
        if !cluster.superuser {
            return Err(WriterError::Other(format!(
                "role {} is no superuser, and without that rows and roles could be missing; connect as one",
                access.user()
            )));
        }
        self.programs =
            find_programs(self.settings.bin.as_deref(), cluster.major, &PROGRAMS, false, deadline)?;
        self.databases = self.choose(&cluster)?;
        for name in &self.databases {
            let mut session = Session::open(&access, name, deadline)?;
            held::refuse_large_objects(name, Catalog::read(&mut session, deadline)?.large_objects)?;
        }
        let taken = |name: &String| self.databases.contains(name);
        let bytes =
            cluster.databases.iter().filter(|one| taken(&one.name)).filter_map(|one| one.bytes).sum::<u64>();
        let description = Description {
            writer: "postgres".into(),
            level: Level::BackEnd,
            quieting: None,
            // Text may be longer than what the database stores, but there are no indexes in it.
            estimate_bytes: Some(bytes * 2),
            sources: cluster.folders(&access),
            facts: serde_json::json!({ "method": "view", "databases": self.databases, "cluster": cluster }),
        };
        (self.access, self.cluster) = (Some(access), Some(cluster));
        Ok(description)
    }

    fn prepare(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        let access = self.access()?;
        self.dump_globals(context, deadline)?;
        for (at, name) in self.databases.iter().enumerate() {
            let folder = (name.as_str(), folder_of(name, at));
            self.held.push(Held::take(context, &access, &self.programs, folder, deadline)?);
        }
        Ok(())
    }

    fn poise(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        let access = self.access()?;
        for held in &mut self.held {
            held.catch_up(context, &access, &self.programs, deadline)?;
        }
        Ok(())
    }

    fn freeze(&mut self, _context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        self.held.iter_mut().try_for_each(|held| held.check(deadline))
    }

    fn cut(&mut self, _context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        // One after the other: the applications are still, so that the views agree.
        self.held.iter_mut().try_for_each(|held| held.cut(deadline))
    }

    fn thaw(&mut self, _context: &Context, _deadline: Deadline) -> Result<(), WriterError> {
        Ok(())
    }

    fn capture(
        &mut self,
        context: &Context,
        deadline: Deadline,
        sink: &mut dyn CaptureSink,
    ) -> Result<Captured, WriterError> {
        let cluster = self.cluster.as_ref().ok_or_else(out_of_order)?;
        let (version, major) = (cluster.version.clone(), cluster.major);
        let path = context.workspace.join("globals.sql");
        let mut file = File::open(&path).map_err(|source| WriterError::Io { act: "open", path, source })?;
        sink.stream(context, "globals.sql", &mut file)?;
        let mut databases = Vec::new();
        for held in self.held.drain(..) {
            let database = held.capture(context, deadline, sink)?;
            context.monitor.emit(Event::Progress {
                component: Some(context.component.clone()),
                activity: format!("rows of database {}", database.name),
                files: database.tables.len() as u64,
                bytes: database.tables.iter().map(|table| table.bytes).sum(),
                total_bytes: None,
            });
            databases.push(database);
        }
        self.tell_of_new_databases(context, deadline)?;
        let facts = ViewFacts { method: "view".into(), version, major, databases };
        let facts = serde_json::to_value(facts).map_err(|error| {
            WriterError::Other(format!("the facts of the view cannot be written: {error}"))
        })?;
        Ok(Captured { grade: Grade::Frozen, facts })
    }

    fn release(&mut self, _context: &Context) -> Result<(), WriterError> {
        close_all(self.held.iter_mut().map(Held::session));
        self.held.clear();
        Ok(())
    }
}

/// The folder of a database: its name where that can be one anywhere, else a number.
fn folder_of(name: &str, at: usize) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.bytes().all(plain) && !name.starts_with('-') && !name.starts_with("database-") {
        name.to_owned()
    } else {
        format!("database-{}", at + 1)
    }
}

fn out_of_order() -> WriterError {
    WriterError::Other("a step of the run came before the description; this is our own mistake".into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_database_has_a_folder_of_its_own_whatever_its_name() {
        let names = ["shop", "database-2", "a/b", "..", "-x", "Übung"];
        let folders: BTreeSet<String> =
            names.iter().enumerate().map(|(at, name)| folder_of(name, at)).collect();
        assert_eq!(folders.len(), names.len());
        assert!(folders.contains("shop") && folders.iter().all(|folder| !folder.contains('/')));
    }
}
