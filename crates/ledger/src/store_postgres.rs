//! Rows in PostgreSQL. Each row also takes a value of a sequence: sequences are not part of a transaction's view, so a
//! backup can get them wrong while it gets every row right.

use postgres::{Client, NoTls, Statement};

use crate::LedgerError;
use crate::operation::{Row, Shape};
use crate::store::{Store, hash_of};

/// Any number, the same for every process that creates the tables: `CREATE TABLE IF NOT EXISTS` is not safe against
/// itself.
const CREATE_LOCK: i64 = 0x5711_1901;

/// One connection with its prepared statements.
pub(crate) struct PostgresStore {
    client: Client,
    insert: Statement,
    delete: Statement,
}

fn fails(act: &'static str) -> impl FnOnce(postgres::Error) -> LedgerError {
    move |source| LedgerError::Postgres { act, source }
}

impl PostgresStore {
    /// Connects, and creates the tables when they are not there.
    pub(crate) fn create(connection: &str) -> Result<Self, LedgerError> {
        let mut client = Client::connect(connection, NoTls).map_err(fails("be reached"))?;
        let mut transaction = client.transaction().map_err(fails("begin"))?;
        transaction
            .batch_execute(&format!(
                "SELECT pg_advisory_xact_lock({CREATE_LOCK});
                 SET LOCAL client_min_messages = warning;
                 CREATE SEQUENCE IF NOT EXISTS ledger_position;
                 CREATE TABLE IF NOT EXISTS ledger (
                     worker integer NOT NULL, number bigint NOT NULL, content bytea NOT NULL, previous bytea NOT NULL,
                     chain bytea NOT NULL, position bigint NOT NULL UNIQUE DEFAULT nextval('ledger_position'),
                     PRIMARY KEY (worker, number));
                 CREATE TABLE IF NOT EXISTS ledger_shape (
                     one integer PRIMARY KEY CHECK (one = 1), window_size bigint NOT NULL, mapped boolean NOT NULL);"
            ))
            .map_err(fails("create its tables"))?;
        transaction.commit().map_err(fails("commit its tables"))?;
        Self::prepare(client)
    }

    /// Connects to a database that has the tables.
    pub(crate) fn open(connection: &str) -> Result<Self, LedgerError> {
        Self::prepare(Client::connect(connection, NoTls).map_err(fails("be reached"))?)
    }

    fn prepare(mut client: Client) -> Result<Self, LedgerError> {
        let insert = client
            .prepare(
                "INSERT INTO ledger (worker, number, content, previous, chain) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (worker, number) DO NOTHING",
            )
            .map_err(fails("prepare"))?;
        let delete = client
            .prepare("DELETE FROM ledger WHERE worker = $1 AND number = $2")
            .map_err(fails("prepare"))?;
        Ok(Self { client, insert, delete })
    }

    fn select(&mut self, tail: &str, worker: u32, number: Option<u64>) -> Result<Vec<Row>, LedgerError> {
        let text = format!("SELECT number, content, previous, chain FROM ledger WHERE worker = $1 {tail}");
        let worker = worker.cast_signed();
        let rows = match number {
            Some(number) => self.client.query(&text, &[&worker, &number.cast_signed()]),
            None => self.client.query(&text, &[&worker]),
        };
        let read = |row: postgres::Row| Row {
            number: row.get::<_, i64>(0).cast_unsigned(),
            content: hash_of(row.get(1)),
            previous: hash_of(row.get(2)),
            chain: hash_of(row.get(3)),
        };
        Ok(rows.map_err(fails("read its rows"))?.into_iter().map(read).collect())
    }
}

impl Store for PostgresStore {
    fn shape(&mut self, initial: Option<Shape>) -> Result<Shape, LedgerError> {
        if let Some(shape) = initial {
            self.client
                .execute(
                    "INSERT INTO ledger_shape VALUES (1, $1, $2) ON CONFLICT DO NOTHING",
                    &[&shape.window.cast_signed(), &shape.mapped],
                )
                .map_err(fails("keep its shape"))?;
        }
        let row = self
            .client
            .query_one("SELECT window_size, mapped FROM ledger_shape", &[])
            .map_err(fails("tell its shape"))?;
        Ok(Shape { window: row.get::<_, i64>(0).cast_unsigned(), mapped: row.get(1) })
    }

    fn insert(&mut self, worker: u32, row: &Row) -> Result<(), LedgerError> {
        let (worker, number) = (worker.cast_signed(), row.number.cast_signed());
        let (content, previous, chain) = (&row.content[..], &row.previous[..], &row.chain[..]);
        self.client
            .execute(&self.insert, &[&worker, &number, &content, &previous, &chain])
            .map(drop)
            .map_err(fails("take a row"))
    }

    fn delete(&mut self, worker: u32, number: u64) -> Result<(), LedgerError> {
        self.client
            .execute(&self.delete, &[&worker.cast_signed(), &number.cast_signed()])
            .map(drop)
            .map_err(fails("delete a row"))
    }

    fn rows(&mut self, worker: u32) -> Result<Vec<Row>, LedgerError> {
        self.select("ORDER BY number", worker, None)
    }

    fn last(&mut self, worker: u32) -> Result<Option<Row>, LedgerError> {
        Ok(self.select("ORDER BY number DESC LIMIT 1", worker, None)?.pop())
    }

    fn row(&mut self, worker: u32, number: u64) -> Result<Option<Row>, LedgerError> {
        Ok(self.select("AND number = $2", worker, Some(number))?.pop())
    }

    fn workers(&mut self) -> Result<Vec<u32>, LedgerError> {
        let rows = self
            .client
            .query("SELECT DISTINCT worker FROM ledger ORDER BY worker", &[])
            .map_err(fails("list its workers"))?;
        Ok(rows.iter().map(|row| row.get::<_, i32>(0).cast_unsigned()).collect())
    }

    fn self_check(&mut self) -> Result<Vec<String>, LedgerError> {
        let row = self
            .client
            .query_one("SELECT (SELECT max(position) FROM ledger), last_value FROM ledger_position", &[])
            .map_err(fails("check its sequence"))?;
        let (highest, last): (Option<i64>, i64) = (row.get(0), row.get(1));
        Ok(match highest {
            Some(highest) if last < highest => {
                vec![format!(
                    "the sequence stands at {last}, but a row took {highest} from it: the next insert would fail"
                )]
            }
            _ => Vec::new(),
        })
    }
}
