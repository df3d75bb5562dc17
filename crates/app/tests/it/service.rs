//! The service as a process: what is due is done, what dies is told, and nothing ends what it should not.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use stillpoint_history::{History, MessageQuery, Run, RunQuery, Task};
use stillpoint_model::Outcome;

use crate::site::Site;

/// How long anything here may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Every five seconds by the clock.
const OFTEN: &str = "calendar = \"*-*-* *:*:0/5\"";
/// Not within any test.
const SELDOM: &str = "cron = \"0 3 1 1 *\"";

/// A running service. Ends with the value.
struct Service {
    child: Child,
    url: String,
    link: Option<String>,
}

impl Service {
    fn start(site: &Site, more: &[&str]) -> Self {
        let mut arguments = vec!["serve", "--json"];
        arguments.extend(more);
        let mut child =
            site.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| told[name].as_str().map(str::to_owned);
        Self { child, url: text("url").unwrap(), link: text("link") }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// Tells it to end, and waits.
    fn stop(mut self) {
        self.signal(rustix::process::Signal::TERM);
        let end = Instant::now() + LIMIT;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(0), "{status:?}");
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the service does not end");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn history(site: &Site) -> History {
    History::open(&site.path("state/history/T01.db")).unwrap()
}

/// Waits until something is there.
fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn backups(site: &Site) -> Vec<Run> {
    history(site).runs(&RunQuery { task: Some(Task::Backup), ..RunQuery::default() }).unwrap()
}

fn has_message(site: &Site, number: u16) -> bool {
    let query = MessageQuery { number: Some(number), limit: 1, ..MessageQuery::default() };
    !history(site).messages(&query).unwrap().is_empty()
}

fn scheduled(schedule: &str, more: &str) -> String {
    format!("[schedule]\nzone = \"Europe/Berlin\"\n{schedule}\n{more}\n[console]\nlisten = \"127.0.0.1:0\"\n")
}

/// A component whose capture says that it began, and waits for a file.
fn gate(site: &Site) -> String {
    let top = site.folder.path().display();
    format!(
        "[[component]]\nname = \"gate\"\ntype = \"command\"\nrun = [\"/bin/sh\", \"-c\", \"touch {top}/began; while [ ! -e {top}/go ]; do sleep 0.05; done; echo done\"]\n"
    )
}

fn exists(path: PathBuf) -> Option<()> {
    path.exists().then_some(())
}

#[test]
fn what_is_due_is_done_and_every_way_to_check_says_so() {
    let site = Site::new();
    site.write_site_file("", &scheduled(OFTEN, ""));
    let service = Service::start(&site, &[]);
    assert!(service.url.starts_with("http://127.0.0.1:"), "{}", service.url);
    assert!(service.link.as_ref().is_some_and(|link| link.starts_with(&service.url)), "{:?}", service.link);
    let run = wait("a backup by the schedule", || {
        backups(&site).into_iter().find(|run| run.outcome == Some(Outcome::Complete))
    });
    assert_eq!((run.asked_by.as_str(), run.attempt), ("schedule", 1));
    // The field's own ways: the set, message 5035, the log, no alert.
    assert!(site.set().join("manifest.json").exists());
    assert!(has_message(&site, 5055) && has_message(&site, 5035));
    let log = std::fs::read_to_string(site.path("backups/backup.log")).unwrap();
    assert!(log.contains("Backup completed") && log.contains("STATMSG: ID=5035"), "{log}");
    let status = site.run(&["status", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!(told["last_backup"]["outcome"], "complete", "{told}");
    assert!(told["next"][0]["at"].is_string(), "{told}");
    service.stop();
    assert!(has_message(&site, 5170) && has_message(&site, 5171));
}

#[test]
fn a_second_service_for_the_same_site_is_refused() {
    let site = Site::new();
    site.write_site_file("", &scheduled(SELDOM, ""));
    let service = Service::start(&site, &[]);
    let second = site.run(&["serve", "--json"]).exits(11);
    assert!(second.out.contains(&service.child.id().to_string()), "{}", second.out);
    service.stop();
}

#[test]
fn a_service_that_is_killed_ends_no_run_and_the_next_one_does_not_do_it_again() {
    let site = Site::new();
    site.write_site_file("", &format!("{}{}", gate(&site), scheduled(OFTEN, "")));
    let mut service = Service::start(&site, &[]);
    wait("the run has begun", || exists(site.path("began")));
    service.child.kill().unwrap();
    let killed = service.child.wait().unwrap();
    assert_eq!(killed.signal(), Some(9));
    // From now on nothing is due, so that the only run is the one that was under way.
    site.write_site_file("", &format!("{}{}", gate(&site), scheduled(SELDOM, "")));
    let next = Service::start(&site, &[]);
    assert_eq!(history(&site).under_way().unwrap().len(), 1);
    std::fs::write(site.path("go"), "").unwrap();
    let run = wait("the run ends", || backups(&site).into_iter().find(|run| run.ended.is_some()));
    assert_eq!(run.outcome, Some(Outcome::Complete), "{run:?}");
    next.stop();
    assert_eq!(backups(&site).len(), 1);
}

#[test]
fn a_run_that_is_killed_is_a_failed_one_and_is_tried_again() {
    let site = Site::new();
    let more = "retries = 1\nretry_after = \"1s\"";
    site.write_site_file("", &format!("{}{}", gate(&site), scheduled(SELDOM, more)));
    let killed = site.command(&["backup", "--json"]).stdout(Stdio::null()).spawn();
    let mut killed = killed.unwrap();
    wait("the run has begun", || exists(site.path("began")));
    killed.kill().unwrap();
    killed.wait().unwrap();
    // The shell of the component is not ours to end by name: it ends with its file.
    std::fs::write(site.path("go"), "").unwrap();
    let service = Service::start(&site, &[]);
    let again = wait("the second try is complete", || {
        backups(&site).into_iter().find(|run| run.outcome == Some(Outcome::Complete))
    });
    assert_eq!((again.attempt, again.asked_by.as_str()), (2, "schedule"));
    let runs = backups(&site);
    let first = runs.last().unwrap();
    assert_eq!(first.outcome, Some(Outcome::Failed));
    assert!(first.failure.as_ref().is_some_and(|why| why.contains("ended before")), "{first:?}");
    service.stop();
}

#[test]
fn a_service_that_is_told_to_end_cancels_the_run_or_finishes_it_as_the_site_file_says() {
    for (word, outcome, code) in [("cancel", Outcome::Failed, 130), ("finish", Outcome::Complete, 0)] {
        let site = Site::new();
        let more = format!("on_stop = \"{word}\"");
        site.write_site_file("", &format!("{}{}", gate(&site), scheduled(OFTEN, &more)));
        let service = Service::start(&site, &[]);
        wait("the run has begun", || exists(site.path("began")));
        service.signal(rustix::process::Signal::TERM);
        if word == "finish" {
            // It is told only when the service has heard it: then the run goes on all the same.
            wait("the console is closed or closing", || history(&site).under_way().unwrap().pop());
            std::fs::write(site.path("go"), "").unwrap();
        }
        service.stop();
        let run = backups(&site).pop().unwrap();
        assert_eq!((run.outcome, run.exit_code), (Some(outcome), Some(code)), "{word}: {run:?}");
        std::fs::write(site.path("go"), "").unwrap();
    }
}

#[test]
fn a_bad_edit_keeps_the_old_schedule_and_raises_an_alert_that_ends_when_it_is_mended() {
    let site = Site::new();
    site.write_site_file("", &scheduled(OFTEN, ""));
    let service = Service::start(&site, &[]);
    site.write_site_file("", &scheduled("cron = \"0 25 * * *\"", ""));
    wait("the mistake is told", || has_message(&site, 5175).then_some(()));
    let told = || site.run(&["alert", "list"]).exits(0).out;
    let is_told = |text: &str| text.contains("site file");
    wait("there is an alert", || is_told(&told()).then_some(()));
    assert!(site.run(&["status"]).out.contains("site file"));
    // The schedule of before is in force.
    let good = || backups(&site).iter().filter(|run| run.outcome == Some(Outcome::Complete)).count();
    let so_far = good();
    wait("the old schedule goes on", || (good() > so_far).then_some(()));
    site.write_site_file("", &scheduled(SELDOM, ""));
    wait("the alert is over", || (!is_told(&told())).then_some(()));
    assert!(has_message(&site, 5174));
    service.stop();
}

#[test]
fn the_launcher_does_what_it_knows_for_whom_it_knows_and_nothing_else() {
    let site = Site::new();
    site.write_site_file("", &scheduled(SELDOM, ""));
    let socket = site.path("launcher.sock");
    let text = socket.to_str().unwrap();
    let own = rustix::process::geteuid().as_raw().to_string();
    let mut launcher = site
        .command(&["launcher", "--socket", text, "--user", &own])
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    wait("the launcher listens", || std::os::unix::net::UnixStream::connect(&socket).ok());
    let ask = |line: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    for hostile in [
        "",
        "sh -c id",
        "{\"run\":{\"order\":{\"task\":\"shell\"},\"by\":\"x\",\"attempt\":1}}",
        "{\"run\":{\"order\":{\"task\":\"restore\",\"archive\":\"near\",\"version\":\"latest\",\"folder\":\"../../etc\"},\"by\":\"x\",\"attempt\":1}}",
        "{\"cancel\":\"../../../etc/passwd\"}",
    ] {
        let answer = ask(hostile);
        assert!(answer.contains("\"code\":null"), "{hostile}: {answer}");
    }
    assert!(backups(&site).is_empty());
    let done = ask("{\"run\":{\"order\":{\"task\":\"backup\"},\"by\":\"anna\",\"attempt\":1}}");
    assert!(done.contains("\"code\":0"), "{done}");
    assert_eq!(backups(&site)[0].asked_by, "anna");
    launcher.kill().unwrap();
    launcher.wait().unwrap();
}
