//! How long a site stands still: 50,000 files and a PostgreSQL under load, over three file systems.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use stillpoint_testkit::{
    Cgroup, CgroupFreezer, Filesystem, LoopMount, PostgresCluster, capability, program,
};

use crate::run::{Run, backup};
use crate::stats::Spread;
use crate::tree;

/// How many times a second the application rewrites one of the files that change.
const RATE: u64 = 2_000;

/// Measures and prints a table.
pub fn measure(runs: usize, files: u64, only: Option<&str>, scale: u32) {
    capability::require_root();
    capability::require_program("time", "time");
    let cluster = PostgresCluster::create();
    program::succeed(
        PostgresCluster::program("pgbench")
            .args(["-i", "-q", "-s", &scale.to_string()])
            .args(connect(&cluster)),
    );
    println!(
        "\n{files} files of which 1 % are rewritten all the time, {RATE} a second, and pgbench -s {scale} with 4 clients, all held by the cgroup freezer; {runs} runs; min / median / max in ms\n"
    );
    println!(
        "| file system | provider | freeze window | services held | database cut | tree cut | longest wait of the files' load | longest transaction | stopped for the whole copy | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (filesystem, name, provider) in [
        (Filesystem::Btrfs, "btrfs", "btrfs"),
        (Filesystem::Xfs, "xfs", "reflink"),
        (Filesystem::Ext4, "ext4", "copy"),
    ] {
        if only.is_none_or(|only| only == name) {
            row(&Site::build(filesystem, files, &cluster), name, provider, runs);
        }
    }
}

fn connect(cluster: &PostgresCluster) -> Vec<String> {
    vec!["-h".into(), cluster.host().display().to_string(), "-U".into(), "postgres".into(), "postgres".into()]
}

/// The measured site.
struct Site<'a> {
    mount: LoopMount,
    folder: tempfile::TempDir,
    group: Cgroup,
    cluster: &'a PostgresCluster,
    files: u64,
}

impl<'a> Site<'a> {
    fn build(filesystem: Filesystem, files: u64, cluster: &'a PostgresCluster) -> Self {
        let site = Self {
            mount: LoopMount::new(filesystem, 12 << 10),
            folder: tempfile::tempdir().expect("a temporary folder"),
            group: Cgroup::new(CgroupFreezer::V2),
            cluster,
            files,
        };
        let top = site.tree();
        if filesystem == Filesystem::Btrfs {
            program::succeed(Command::new("btrfs").args(["subvolume", "create"]).arg(&top));
        } else {
            std::fs::create_dir(&top).expect("create the tree");
        }
        tree::make(&top, files, 27 << 10);
        let backups = site.folder.path().join("backups");
        std::fs::create_dir(&backups).expect("create the destination");
        std::fs::set_permissions(&backups, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .expect("set its mode");
        std::fs::write(site.site_file(), site.text()).expect("write the site file");
        site
    }

    fn tree(&self) -> PathBuf {
        self.mount.path().join("tree")
    }

    fn site_file(&self) -> PathBuf {
        self.folder.path().join("site.toml")
    }

    fn stall(&self) -> PathBuf {
        self.folder.path().join("stall")
    }

    fn text(&self) -> String {
        format!(
            r#"[site]
code = "BEN"
name = "Bench"
[destination]
folder = "{folder}/backups"
[[component]]
name = "load"
type = "service"
quiet = "freeze"
cgroup = "{group}"
[[component]]
name = "database"
type = "postgres"
host = "{host}"
[[component]]
name = "content"
type = "files"
path = "{tree}"
"#,
            folder = self.folder.path().display(),
            group = self.group.path().display(),
            host = self.cluster.host().display(),
            tree = self.tree().display(),
        )
    }

    /// Starts the load in the cgroup.
    fn load(&self) -> Load {
        let quiet = |command: &mut Command| {
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("start the load")
        };
        let bench = quiet(
            PostgresCluster::program("pgbench")
                .args(["-c", "4", "-T", "86400", "--log", "--log-prefix"])
                .arg(self.transactions())
                .args(connect(self.cluster)),
        );
        let own = std::env::current_exe().expect("the path of this program");
        let mut change = Command::new(own);
        change
            .arg("change")
            .arg(self.tree())
            .arg(self.files.to_string())
            .arg(RATE.to_string())
            .arg(self.stall());
        let change = quiet(&mut change);
        for child in [&bench, &change] {
            self.group.adopt(child.id());
        }
        program::wait_for("the load", std::time::Duration::from_secs(20), || {
            self.stall().exists().then_some(())
        });
        Load([bench, change])
    }

    /// Where pgbench notes each transaction: the beginning of the names of its files. It is run by the user of the server.
    fn transactions(&self) -> PathBuf {
        self.cluster.host().join("transactions")
    }

    /// The longest transaction that ended within each of the times, in milliseconds.
    fn longest_transactions_ms(&self, times: &[(f64, f64)]) -> Vec<f64> {
        let mut longest = vec![0_f64; times.len()];
        let listed = std::fs::read_dir(self.cluster.host()).expect("list the notes of pgbench");
        for note in listed.map(|entry| entry.expect("list the notes of pgbench").path()) {
            if !note.display().to_string().starts_with(&self.transactions().display().to_string()) {
                continue;
            }
            let text = std::fs::read_to_string(&note).expect("read the notes of pgbench");
            for line in text.lines() {
                // Client, number, microseconds taken, script, seconds and microseconds of its end (pgbench(1)).
                let fields: Vec<f64> = line.split(' ').filter_map(|field| field.parse().ok()).collect();
                let [_, _, took_us, _, seconds, microseconds] = fields[..] else { continue };
                let ended = seconds + microseconds / 1e6;
                for ((from, to), longest) in times.iter().zip(&mut longest) {
                    if (*from..*to).contains(&ended) {
                        *longest = longest.max(took_us / 1000.0);
                    }
                }
            }
            std::fs::remove_file(&note).expect("remove the notes of pgbench");
        }
        longest
    }

    fn longest_wait_ms(&self) -> f64 {
        let text = std::fs::read_to_string(self.stall()).unwrap_or_default();
        text.trim().parse::<f64>().unwrap_or(f64::NAN) / 1000.0
    }

    /// The same site, its services held for as long as a plain copy takes, in milliseconds.
    fn stopped_for_the_copy_ms(&self) -> f64 {
        let target = self.folder.path().join("plain");
        let started = Instant::now();
        self.group.freeze();
        program::succeed(Command::new("cp").arg("-a").arg(self.tree()).arg(&target));
        let base = self.cluster.host().join("plain");
        program::succeed(
            PostgresCluster::program("pg_basebackup")
                .args(["-D", &base.display().to_string(), "-c", "fast"])
                .args(&connect(self.cluster)[..4]),
        );
        self.group.thaw();
        let elapsed = started.elapsed().as_secs_f64() * 1000.0;
        for folder in [target.as_path(), Path::new(&base)] {
            std::fs::remove_dir_all(folder).expect("remove the plain copy");
        }
        elapsed
    }
}

/// The processes of the load.
struct Load([Child; 2]);

impl Load {
    /// What does not work is not held: there would be nothing to measure.
    fn assert_works(&mut self) {
        for child in &mut self.0 {
            let ended = child.try_wait().expect("look at the load");
            assert!(ended.is_none(), "a part of the load ended: {ended:?}");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Seconds since 1970-01-01 UTC, as pgbench notes them.
fn now() -> f64 {
    let since = std::time::UNIX_EPOCH.elapsed();
    since.expect("the clock is past 1970").as_secs_f64()
}

fn row(site: &Site<'_>, name: &str, provider: &str, runs: usize) {
    let mut load = site.load();
    let state = site.folder.path().join("state");
    // The first set copies everything; what is measured is the night after night.
    backup(&site.site_file(), &state);
    let mut done: Vec<Run> = Vec::new();
    let (mut waits, mut times) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let _ = std::fs::remove_file(site.stall());
        let begun = now();
        done.push(backup(&site.site_file(), &state));
        times.push((begun, now()));
        waits.push(site.longest_wait_ms());
    }
    load.assert_works();
    let stopped = site.stopped_for_the_copy_ms();
    drop(load);
    let transactions = site.longest_transactions_ms(&times);
    let step = |component: &str, step: &str| {
        let key = (component.to_owned(), step.to_owned());
        Spread::of(done.iter().filter_map(|run| run.steps.get(&key).copied()).collect())
    };
    let window = Spread::of(done.iter().map(|run| run.window_ms).collect());
    println!(
        "| {name} | {provider} | **{window}** | {} | {} | {} | {} | {} | {stopped:.0} | {:.0} x |",
        step("load", "freeze"),
        step("database", "cut"),
        step("content", "cut"),
        Spread::of(waits),
        Spread::of(transactions),
        stopped / window.median,
    );
}
