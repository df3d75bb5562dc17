//! What tests of whole sites need: real file systems on loop devices, a real PostgreSQL, real cgroups, a real systemd, the
//! ledger application as a process. Each ends with its value, also when a test panics. Never shipped.
//!
//! A machine that lacks something makes the test fail with the name of what is missing; nothing is passed over in silence.

#![allow(clippy::panic, reason = "in a test, what is missing must end the test with its reason")]

mod browser;
pub mod capability;
mod cgroup;
pub mod fault_site;
pub mod fault_table;
mod ledger_process;
mod ledger_site;
mod loop_mount;
mod machine;
mod postgres_cluster;
pub mod program;
pub mod servers;
mod small_disk;

pub use browser::Browser;
pub use cgroup::{Cgroup, CgroupFreezer};
pub use ledger_process::{LedgerProcess, check_ledger, ledger_arguments};
pub use ledger_site::{Backup, LedgerSite, QuietKind, StoreKind, TreeKind};
pub use loop_mount::{Filesystem, LoopMount};
pub use machine::Machine;
pub use postgres_cluster::PostgresCluster;
pub use small_disk::SmallDisk;
