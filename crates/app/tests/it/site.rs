//! A small site in a temporary folder, and the program run on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_stillpoint");

/// A site with a file tree, an SQLite database and a command, all in a temporary folder.
pub struct Site {
    pub folder: tempfile::TempDir,
}

impl Site {
    /// The site with some content.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let site = Self { folder };
        for name in ["tree/a", "tree/b/c", "backups"] {
            std::fs::create_dir_all(site.path(name)).unwrap();
        }
        std::fs::set_permissions(site.path("backups"), std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .unwrap();
        for number in 0..20 {
            std::fs::write(site.path(&format!("tree/a/{number}.txt")), format!("file {number}\n")).unwrap();
        }
        std::fs::write(site.path("tree/b/c/ünï codé\nname"), b"odd").unwrap();
        std::os::unix::fs::symlink("../a/1.txt", site.path("tree/b/link")).unwrap();
        let database = rusqlite::Connection::open(site.path("app.db")).unwrap();
        database.execute_batch("create table t (x integer); insert into t values (1), (2), (3)").unwrap();
        site.write_site_file("", "");
        site
    }

    /// Writes the site file, with more text in `[task]` and at the end.
    pub fn write_site_file(&self, task: &str, end: &str) {
        let text = format!(
            r#"[site]
code = "T01"
name = "Test"

[destination]
folder = "{top}/backups"

[task]
keep_free_percent = 0
{task}

[[component]]
name = "content"
type = "files"
path = "{top}/tree"

[[component]]
name = "ledger"
type = "sqlite"
path = "{top}/app.db"

[[component]]
name = "versions"
type = "command"
run = ["/bin/uname", "-a"]
{end}
"#,
            top = self.folder.path().display(),
        );
        std::fs::write(self.path("site.toml"), text).unwrap();
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The published set.
    pub fn set(&self) -> PathBuf {
        self.path("backups/T01Backup")
    }

    /// The program on this site, ready to be run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("--config")
            .arg(self.path("site.toml"))
            .arg("--state-dir")
            .arg(self.path("state"))
            .args(arguments);
        command.env_remove("STILLPOINT_CONFIG").env_remove("STILLPOINT_STATE_DIR");
        command
    }

    /// Runs the program on this site.
    pub fn run(&self, arguments: &[&str]) -> Done {
        Done::of(self.command(arguments).output().unwrap())
    }
}

/// What the program answered.
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts the exit code and gives the answer back.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "standard output:\n{}\nstandard error:\n{}", self.out, self.err);
        self
    }
}

/// Every path below `top` with what it is and holds, for comparing two trees.
pub fn contents(top: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![top.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            let what = if kind.is_dir() {
                folders.push(path.clone());
                "folder".to_owned()
            } else if kind.is_symlink() {
                format!("link to {}", std::fs::read_link(&path).unwrap().display())
            } else {
                format!("{:?}", std::fs::read(&path).unwrap())
            };
            let mode = std::os::unix::fs::PermissionsExt::mode(
                &std::fs::symlink_metadata(&path).unwrap().permissions(),
            );
            found.push((path.strip_prefix(top).unwrap().to_path_buf(), format!("{mode:o} {what}")));
        }
    }
    found.sort();
    found
}
