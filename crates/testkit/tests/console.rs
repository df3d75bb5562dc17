//! The console as a person uses it: the real service, the real archive, a real browser.
//!
//! Pictures of every page go to `target/console-screenshots`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use stillpoint_testkit::Browser;
use stillpoint_testkit::program::{own, succeed, wait_for};

const LONG: Duration = Duration::from_secs(30);
const PASSWORD: &str = "four words by chance";

/// Bytes of all kinds, in a file whose name is not plain.
const FILE: &str = "rep & ort #1.bin";

/// A small site with an archive, served.
struct Console {
    folder: tempfile::TempDir,
    service: Child,
    url: String,
    link: String,
}

impl Console {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        fs::create_dir_all(top.join("tree/papers/2026")).unwrap();
        for name in ["notes.txt", "papers/plan.txt", "papers/2026/budget.txt"] {
            fs::write(top.join("tree").join(name), format!("this is {name}\n").repeat(100)).unwrap();
        }
        let bytes: Vec<u8> =
            (0..300_000_u32).map(|number| (u64::from(number).pow(2) >> 7).to_le_bytes()[0]).collect();
        fs::write(top.join("tree/papers").join(FILE), bytes).unwrap();
        fs::create_dir(top.join("backups")).unwrap();
        fs::set_permissions(top.join("backups"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(top.join("site.toml"), site_file(top)).unwrap();
        succeed(program(top).args(["archive", "init"]));
        let mut service = program(top);
        service.args(["--json", "serve"]).stdout(Stdio::piped());
        let log = fs::File::create(top.join("service.log")).unwrap();
        let mut service = service.stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(service.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |key: &str| told[key].as_str().unwrap().to_owned();
        let (url, link) = (text("url"), text("link"));
        Self { folder, service, url, link }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(service) = Pid::from_raw(self.service.id().cast_signed()) {
            let _ = kill_process(service, Signal::TERM);
        }
        let _ = self.service.wait();
        if std::thread::panicking() {
            eprintln!(
                "the service said:\n{}",
                fs::read_to_string(self.path("service.log")).unwrap_or_default()
            );
        }
    }
}

/// The freeze lasts until a file lets it end, so that there is something to watch. Nothing is due by itself before half a day has passed.
fn site_file(top: &Path) -> String {
    let hours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 3600;
    let (begin, latest) = ((hours + 12) % 24, (hours + 14) % 24);
    format!(
        "[site]\ncode = \"P01\"\nname = \"Head office\"\n\n[destination]\nfolder = \"{top}/backups\"\n\n\
         [task]\nkeep_free_percent = 0\n\n[deadlines]\nfreeze = \"2m\"\nwindow = \"4m\"\n\n\
         [schedule]\nzone = \"UTC\"\nwindow = {{ begin = \"{begin:02}:00\", latest = \"{latest:02}:00\" }}\n\n\
         [alerts]\ndestination_free_percent = 0\n\n[console]\nlisten = \"127.0.0.1:0\"\n\n\
         [[component]]\nname = \"app\"\ntype = \"service\"\nquiet = \"command\"\n\
         freeze_command = [\"/bin/sh\", \"-c\", \"until [ -e {top}/go ]; do sleep 0.05; done\"]\nthaw_command = [\"/bin/true\"]\n\n\
         [[component]]\nname = \"content\"\ntype = \"files\"\npath = \"{top}/tree\"\n\n\
         [[archive]]\nname = \"nas\"\nlocation = \"{top}/archive\"\nkey = {{ file = \"{top}/nas.key\" }}\n\n\
         [[channel]]\nname = \"pager\"\ntype = \"program\"\ncommand = [\"/bin/true\"]\n",
        top = top.display()
    )
}

fn program(top: &Path) -> Command {
    let mut command = Command::new(own("stillpoint-faulty"));
    command.arg("--state-dir").arg(top.join("state")).arg("--config").arg(top.join("site.toml"));
    command
}

fn sign_in(browser: &Browser, url: &str) {
    browser.go(&format!("{url}/sign-in"));
    browser.fill("#name", "anna");
    browser.fill("#password", PASSWORD);
    browser.press("main button", "Sign in");
    browser.wait_for("h1", "Is my site safe?");
}

/// From the one-time link to a session.
fn come_in(browser: &Browser, console: &Console) {
    browser.go(&console.link);
    picture(browser, "welcome");
    browser.fill("#name", "anna");
    browser.fill("#password", PASSWORD);
    browser.fill("#again", PASSWORD);
    browser.press("main button", "Begin");
    browser.wait_for("h1", "Is my site safe?");
    picture(browser, "overview-before-the-first-backup");
    browser.press("footer button", "Sign out");
    browser.wait_for("h1", "Sign in");
    picture(browser, "sign-in");
    browser.go(&console.link);
    browser.wait_for("h1", "This link is used or over");
    picture(browser, "error");
    sign_in(browser, &console.url);
}

/// A backup is asked for, and its phases come without the page being loaded again. Returns the path of its run.
fn run_now(browser: &Browser, console: &Console) -> String {
    browser.press("main button", "Run backup now");
    browser.wait_for(".notice", "Done: it is in the queue");
    // Keeps the phases that the page shows; a page that is loaded again has forgotten.
    browser.script(
        "window.seen = [];
         const look = () => {
           const phase = document.querySelector('[data-now=\"phase\"]')?.textContent;
           if (phase && phase !== '–' && !window.seen.includes(phase)) window.seen.push(phase);
         };
         new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
         look();",
    );
    // While the site stands still nothing is told; what came in that time is told after it.
    browser.wait_for("[data-now=\"phase\"]", "prepare");
    picture(browser, "overview-under-way");
    fs::write(console.path("go"), "").unwrap();
    browser.wait_for(".verdict", "Yes");
    let seen = browser.script("return window.seen");
    let seen: Vec<&str> = seen.as_array().unwrap().iter().filter_map(|it| it.as_str()).collect();
    assert!(seen.contains(&"prepare") && seen.contains(&"freeze") && seen.contains(&"capture"), "{seen:?}");
    browser.press("section[aria-labelledby=\"recent\"] th a", "");
    browser.wait_for("main .badge", "complete");
    path_of(&browser.url())
}

fn path_of(url: &str) -> String {
    let (_, rest) = url.split_once("://").unwrap();
    rest[rest.find('/').unwrap()..].to_owned()
}

/// Goes through the archive to a file, takes it, and has its folder restored. Returns the path of the version.
fn browse_and_restore(browser: &Browser, console: &Console) -> String {
    browser.press("nav a", "Versions");
    browser.press("main tbody th a", "");
    let version = path_of(&browser.url());
    for folder in ["P01Backup", "SiteServer", "content", "papers"] {
        browser.press("main tbody a", folder);
        browser.wait_for(".crumbs [aria-current]", folder);
    }
    picture(browser, "version-folder");
    browser.press("main tbody a", FILE);
    let downloaded = console.path("downloads").join(FILE);
    let original = fs::read(console.path("tree/papers").join(FILE)).unwrap();
    wait_for("the file that was taken", LONG, || {
        fs::read(&downloaded).ok().filter(|bytes| bytes.len() == original.len())
    });
    assert!(fs::read(&downloaded).unwrap() == original, "the file that was taken is another");

    browser.fill("#restore-folder", "monday");
    browser.press("main button", "Restore");
    browser.wait_for(".notice", "the restore is in the queue");
    let restored = console.path("state/restored/monday");
    let found = || find(&restored, FILE).and_then(|path| fs::read(path).ok());
    wait_for("what was restored", LONG, || found().filter(|bytes| *bytes == original));
    browser.wait_for("section[aria-labelledby=\"recent\"] tr", "restore");
    version
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| match entry.file_type().ok()?.is_dir() {
        true => find(&entry.path(), name),
        false => (entry.file_name() == name).then(|| entry.path()),
    })
}

/// A mistake in the site file becomes an alert on the page by itself; it is postponed, and is gone when the file is mended.
fn deal_with_an_alert(browser: &Browser, console: &Console) {
    browser.press("nav a", "Alerts");
    browser.wait_for("main", "Nothing is active.");
    let good = fs::read_to_string(console.path("site.toml")).unwrap();
    fs::write(console.path("site.toml"), good.replace("keep_free_percent", "keep_free_per_cent")).unwrap();
    browser.wait_for("section[aria-labelledby=\"active\"] .alert", "site file");
    picture(browser, "alerts");
    browser.press("nav a", "Settings");
    browser.wait_for("main", "has mistakes");
    picture(browser, "settings-with-a-mistake");
    browser.press("nav a", "Alerts");
    browser.press(".deal button", "8 hours");
    browser.wait_for(".notice", "the alert is silent until then");
    browser.wait_for("section[aria-labelledby=\"postponed\"] .alert", "site file");
    fs::write(console.path("site.toml"), good).unwrap();
    browser.wait_for("section[aria-labelledby=\"cleared\"] td", "itself");
    browser.press("main button", "Test the channels");
    browser.wait_for(".notice", "every channel took the test");
    browser.wait_for("section[aria-labelledby=\"channels\"] td", "works");
}

/// Somebody is invited, and a program gets a token.
fn people_and_tokens(browser: &Browser) {
    browser.press("nav a", "People");
    browser.fill("#invite-name", "ben");
    browser.press("main button", "Make a one-time link");
    browser.wait_for("#fresh", "One-time link for ben");
    browser.fill("#token-name", "monitoring");
    browser.press("main button", "Make a token");
    browser.wait_for("#fresh + p + pre", "sp_");
    picture(browser, "people-with-a-token");
}

const PHONE: u32 = 360;

/// Every page in light, dark and on a phone, where nothing may be wider than the screen.
fn every_page(browser: &Browser, console: &Console, run: &str, version: &str) {
    let pages = [
        ("overview", "/"),
        ("runs", "/runs"),
        ("run", run),
        ("versions", "/versions"),
        ("version", version),
        ("components", "/components"),
        ("alerts", "/alerts"),
        ("schedule", "/schedule"),
        ("charts", "/charts"),
        ("settings", "/settings"),
        ("people", "/people"),
        ("audit", "/audit"),
        ("not-found", "/runs/nothing"),
    ];
    let visit = |path: &str| {
        browser.go(&format!("{}{path}", console.url));
        let wide = browser.script("return document.documentElement.scrollWidth");
        let screen = browser.script("return window.innerWidth");
        assert!(wide.as_u64() <= screen.as_u64(), "{path} is {wide} wide on a screen of {screen}");
    };
    for theme in ["Light", "Dark"] {
        browser.go(&console.url);
        browser.press("footer button", theme);
        browser.wait_for("footer button[aria-pressed=\"true\"]", theme);
        let red = "return parseInt(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])";
        let red = browser.script(red).as_u64().unwrap();
        assert!(if theme == "Dark" { red < 64 } else { red > 192 }, "{theme} has a ground of {red}");
        for (name, path) in pages {
            visit(path);
            picture(browser, &format!("{name}-{}", theme.to_lowercase()));
        }
    }
    browser.resize(PHONE, 740);
    for (name, path) in pages {
        visit(path);
        assert_eq!(browser.script("return window.innerWidth"), PHONE);
        picture(browser, &format!("{name}-phone"));
    }
}

fn picture(browser: &Browser, name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/console-screenshots");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{name}.png")), browser.picture()).unwrap();
}

#[test]
fn a_person_uses_the_console_in_a_browser() {
    let console = Console::open();
    let downloads = console.path("downloads");
    fs::create_dir(&downloads).unwrap();
    let browser = Browser::open(&downloads, true);
    come_in(&browser, &console);
    let run = run_now(&browser, &console);
    let version = browse_and_restore(&browser, &console);
    deal_with_an_alert(&browser, &console);
    people_and_tokens(&browser);
    every_page(&browser, &console, &run, &version);
    drop(browser);

    let plain = Browser::open(&downloads, false);
    sign_in(&plain, &console.url);
    plain.press("main button", "Run backup now");
    plain.wait_for(".notice", "Done: it is in the queue");
    // Nothing comes by itself here: the page is loaded again by hand.
    wait_for("a second run", LONG, || {
        plain.go(&format!("{}/runs?task=backup", console.url));
        let outcomes = plain.texts("main tbody .badge");
        (outcomes.iter().filter(|shown| shown.contains("complete")).count() >= 2).then_some(())
    });
}
