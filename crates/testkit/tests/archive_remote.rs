//! Whole runs of a site whose archives lie on other machines, where its key may add and not remove; stock restic judges.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::{Command, Output};

use stillpoint_testkit::program::own;
use stillpoint_testkit::servers::{RestServer, SeaweedFs};

/// A small site.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    /// With these tables of archives, each after its name.
    fn new(archives: &str) -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(site.path("tree/deep")).unwrap();
        for number in 0..50 {
            std::fs::write(site.path(&format!("tree/deep/{number}")), format!("file {number}\n").repeat(500))
                .unwrap();
        }
        let top = site.folder.path().display();
        let text = format!(
            "[site]\ncode = \"R01\"\nname = \"Remote\"\n[destination]\nfolder = \"{top}/backups\"\n[task]\n\
             keep_free_percent = 0\n[[component]]\nname = \"content\"\ntype = \"files\"\npath = \"{top}/tree\"\n{archives}"
        );
        std::fs::write(site.path("site.toml"), text.replace("@TOP@", &top.to_string())).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A private file.
    fn write_secret(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Runs the program, which must end with this code; returns what it wrote.
    fn run(&self, arguments: &[&str], code: i32) -> String {
        let output = Command::new(own("stillpoint-faulty"))
            .args(arguments)
            .arg("--config")
            .arg(self.path("site.toml"))
            .arg("--state-dir")
            .arg(self.path("state"))
            .output()
            .unwrap();
        let text = both(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        text
    }

    /// Stock restic at this address.
    fn restic(&self, address: &str, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let output = Command::new("restic")
            .args(["--no-cache", "-r", address, "--password-file"])
            .arg(self.path("archive.key"))
            .args(arguments)
            .envs(environment.iter().copied())
            .output()
            .expect("restic judges our archives: apt-get install restic");
        assert!(output.status.success(), "restic {arguments:?}: {}", both(&output));
        both(&output)
    }
}

fn both(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn table(address: &str, more: &str) -> String {
    format!(
        "[[archive]]\nname = \"far\"\nlocation = \"{address}\"\nkey = {{ file = \"@TOP@/archive.key\" }}\n{more}\n"
    )
}

/// Two runs, a look at all data, and a restore, where nothing may be removed.
fn runs_and_verifies(site: &Site, address: &str, environment: &[(&str, &str)]) {
    site.run(&["archive", "init"], 0);
    site.run(&["backup"], 0);
    std::fs::write(site.path("tree/new"), "new").unwrap();
    site.run(&["backup"], 0);
    site.run(&["archive", "verify", "--all"], 0);
    let list = site.run(&["archive", "list"], 0);
    assert!(list.contains("2 versions"), "{list}");
    site.restic(address, &["--no-lock", "check", "--read-data"], environment);
    site.run(&["archive", "restore", "latest", "--target", site.path("back").to_str().unwrap()], 0);
    let restored = site.path("back");
    let found = Command::new("find").arg(&restored).args(["-name", "new"]).output().unwrap();
    assert!(both(&found).contains("new"), "{}", both(&found));
}

#[test]
fn a_run_and_a_verify_work_on_a_rest_server_that_only_adds() {
    let server = RestServer::append_only();
    let address = server.address("site");
    let site = Site::new(&table(&address, "append_only = true"));
    runs_and_verifies(&site, &address, &[]);
}

#[test]
fn a_run_and_a_verify_work_in_a_bucket_whose_policy_forbids_to_remove() {
    let server = SeaweedFs::start();
    server.set_policy(&serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::archives/*",
        }],
    }));
    let address = server.address("site");
    let site = Site::new(&table(&address, "access = { file = \"@TOP@/access\" }\nappend_only = true"));
    site.write_secret("access", &format!("{}:{}\n", SeaweedFs::KEY, SeaweedFs::SECRET));
    let environment = [("AWS_ACCESS_KEY_ID", SeaweedFs::KEY), ("AWS_SECRET_ACCESS_KEY", SeaweedFs::SECRET)];
    runs_and_verifies(&site, &address, &environment);
}

#[test]
fn an_archive_that_went_away_is_caught_up_by_the_next_run() {
    let mut server = RestServer::start();
    let address = server.address("site");
    let near =
        "[[archive]]\nname = \"near\"\nlocation = \"@TOP@/near\"\nkey = { file = \"@TOP@/archive.key\" }\n";
    let site = Site::new(&(table(&address, "") + near));
    for name in ["far", "near"] {
        site.run(&["archive", "init", "-a", name], 0);
    }
    site.run(&["backup"], 0);
    server.stop();
    std::fs::write(site.path("tree/new"), "new").unwrap();
    let text = site.run(&["backup"], 3);
    assert!(text.contains("not in archive far"), "{text}");
    server.start_again();
    site.run(&["backup"], 0);
    for name in ["far", "near"] {
        let list = site.run(&["archive", "list", "-a", name], 0);
        assert!(list.contains("3 versions"), "{name}: {list}");
    }
    site.restic(&address, &["check", "--read-data"], &[]);
}
