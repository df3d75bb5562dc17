//! The check: is a copy of the ledger of one instant?

mod judge;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::LedgerError;
use crate::content::{ContentScan, worker_folder, worker_folders};
use crate::store::{Store, StoreSettings};

/// What the state of a ledger may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The application had come to rest: no operation is half done.
    Strict,
    /// The application was held, or the power was cut: of each worker the last operation may be half done, its steps being
    /// a beginning of their order.
    PowerCut,
}

/// What is checked.
#[derive(Debug, Clone)]
pub struct CheckSettings {
    /// The stores, in the order that the application has them.
    pub stores: Vec<StoreSettings>,
    /// The folder of the content files.
    pub content: PathBuf,
    /// What the state may be.
    pub mode: Mode,
}

/// How far a worker got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// The worker.
    pub worker: u32,
    /// The number of its last operation, whole or not.
    pub highest: u64,
    /// Whether that one is half done.
    pub under_way: bool,
}

/// What the check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The workers.
    pub workers: Vec<WorkerReport>,
    /// Rows in the first store.
    pub rows: u64,
    /// Content files.
    pub files: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// What cannot be if all is of one instant, one sentence each; at most the first 1,000.
    pub violations: Vec<String>,
    /// How many there are.
    pub violation_count: u64,
}

impl CheckReport {
    /// Whether all is of one instant. A ledger in which nothing ever happened shows nothing, so it is not.
    pub fn is_whole(&self) -> bool {
        self.violation_count == 0 && self.workers.iter().any(|worker| worker.highest > 0)
    }

    fn violate(&mut self, text: String) {
        const KEPT: u64 = 1000;
        if self.violation_count < KEPT {
            self.violations.push(text);
        }
        self.violation_count += 1;
    }
}

impl std::fmt::Display for CheckReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let under_way = self.workers.iter().filter(|worker| worker.under_way).count();
        write!(
            f,
            "{} workers ({under_way} with an operation under way), {} rows, {} files, {} bytes, {} violations",
            self.workers.len(),
            self.rows,
            self.files,
            self.bytes,
            self.violation_count
        )?;
        for violation in self.violations.iter().take(20) {
            write!(f, "\n  {violation}")?;
        }
        Ok(())
    }
}

/// Checks a ledger that no application works on. An error means that it could not be looked at; what is wrong with it is in
/// the report.
pub fn check(settings: &CheckSettings) -> Result<CheckReport, LedgerError> {
    let mut report = CheckReport::default();
    let mut stores = settings
        .stores
        .iter()
        .map(StoreSettings::open_existing)
        .collect::<Result<Vec<Box<dyn Store>>, _>>()?;
    let (mut workers, strange) = worker_folders(&settings.content)?;
    strange.into_iter().for_each(|text| report.violate(text));
    let Some(first) = stores.first_mut() else {
        return Err(LedgerError::Settings("a ledger has a store".into()));
    };
    let shape = first.shape(None)?;
    for (index, store) in stores.iter_mut().enumerate() {
        for text in store.self_check()? {
            report.violate(format!("store {index}: {text}"));
        }
        if store.shape(None)? != shape {
            report.violate(format!("store {index} is of another ledger than store 0"));
        }
        workers.extend(store.workers()?);
    }
    workers.sort_unstable();
    workers.dedup();
    for worker in workers {
        let folder = worker_folder(&settings.content, worker);
        let content =
            if folder.is_dir() { ContentScan::full(&folder, worker)? } else { ContentScan::default() };
        let rows = stores.iter_mut().map(|store| store.rows(worker)).collect::<Result<Vec<_>, _>>()?;
        report.rows += rows[0].len() as u64;
        report.files += content.numbers.len() as u64;
        report.bytes += content.bytes;
        let verdict = judge::judge(&judge::Found { shape, rows, content }, settings.mode);
        verdict.violations.into_iter().for_each(|text| report.violate(format!("worker {worker}: {text}")));
        report.workers.push(WorkerReport { worker, highest: verdict.highest, under_way: verdict.under_way });
    }
    Ok(report)
}
