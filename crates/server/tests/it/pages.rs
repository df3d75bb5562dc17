//! The pages as a browser without scripts uses them.

use stillpoint_server::access::Role;

use crate::client::Answer;
use crate::ground::Ground;

struct Browser {
    ground: Ground,
    cookie: String,
    csrf: String,
}

impl Browser {
    async fn of(role: Role) -> Self {
        let ground = Ground::new().await;
        ground.add("anna", role);
        let cookie = ground.sign_in("anna").await;
        let csrf = ground.csrf(&cookie).await;
        Self { ground, cookie, csrf }
    }

    async fn look(&self, path: &str) -> Answer {
        self.ground.get(path, &[("cookie", &self.cookie), ("accept", "text/html")]).await
    }

    /// Sends a form that is refused, and looks for the words on the page that says so.
    async fn refused(&self, path: &str, fields: &str, words: &str) {
        let body = format!("csrf={}&{fields}", self.csrf);
        let headers = [("cookie", self.cookie.as_str()), ("accept", "text/html")];
        let page = self.ground.form(path, &headers, &body).await;
        assert!((400..500).contains(&page.status) && page.body.contains(words), "{path}: {page:?}");
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8", "{path}");
    }

    /// Sends a form, follows to the page that tells what came of it, and returns both.
    async fn send(&self, path: &str, fields: &str) -> (Answer, Answer) {
        let body = format!("csrf={}&{fields}", self.csrf);
        let headers = [("cookie", self.cookie.as_str()), ("accept", "text/html")];
        let sent = self.ground.form(path, &headers, &body).await;
        assert_eq!(sent.status, 303, "{path}: {sent:?}");
        let cookies = format!("{}; {}", self.cookie, sent.cookie());
        let told = self.ground.get(sent.header("location"), &[("cookie", &cookies)]).await;
        assert_eq!(told.status, 200, "{path}: {told:?}");
        (sent, told)
    }
}

#[tokio::test]
async fn every_page_is_shown_with_what_its_reader_may_do() {
    let reader = Browser::of(Role::Reader).await;
    for path in [
        "/",
        "/runs",
        "/runs?task=backup&outcome=",
        "/components",
        "/charts",
        "/schedule",
        "/settings",
        "/alerts",
        "/versions",
    ] {
        let page = reader.look(path).await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, "text/html; charset=utf-8"),
            "{path}: {page:?}"
        );
        assert!(page.body.contains("anna") && page.body.contains("P01"), "{path}");
        assert!(!page.body.contains("action=\"/tasks\""), "{path}: a reader starts nothing");
    }
    for (path, status) in
        [("/runs/none", 404), ("/people", 403), ("/runs?task=dance", 400), ("/nothing", 404)]
    {
        let page = reader.look(path).await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (status, "text/html; charset=utf-8"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_static_files_that_pages_name_are_there_for_everybody() {
    let browser = Browser::of(Role::Reader).await;
    let page = browser.look("/").await;
    let mut found = 0;
    for part in page.body.split('"').filter(|part| part.starts_with("/static/")) {
        let file = browser.ground.get(part, &[]).await;
        assert_eq!(file.status, 200, "{part}");
        assert!(file.header("cache-control").contains("immutable") && !file.body.is_empty(), "{part}");
        found += 1;
    }
    assert!(found >= 3, "{found}");
}

#[tokio::test]
async fn an_operator_starts_a_task_and_takes_it_back() {
    let browser = Browser::of(Role::Operator).await;
    let (_, told) = browser.send("/tasks", "task=verify").await;
    assert!(told.body.contains("Done: ") && told.body.contains("in the queue"), "{told:?}");
    let job = browser.ground.service.queue.view().waiting[0].id;
    let (_, told) = browser.send("/tasks/cancel", &format!("job={job}")).await;
    assert!(told.body.contains("Done: "), "{told:?}");
    assert!(browser.ground.service.queue.view().waiting.is_empty());
    // Told once: the page with the notice takes the cookie back.
    assert!(told.header("set-cookie").contains("Max-Age=0"), "{told:?}");
    browser.refused("/tasks/cancel", &format!("job={job}"), "There is no job").await;
}

#[tokio::test]
async fn an_administrator_invites_makes_tokens_and_looks_at_what_was_done() {
    let browser = Browser::of(Role::Administrator).await;
    let headers = [("cookie", browser.cookie.as_str())];
    let body = format!("csrf={}&name=ben&role=operator", browser.csrf);
    let page = browser.ground.form("/people/invite", &headers, &body).await;
    let secret = page.body.split("/welcome/").nth(1).and_then(|rest| rest.split('<').next()).unwrap();
    let link = format!("/welcome/{secret}");
    assert_eq!(browser.ground.get(&link, &[]).await.status, 200);
    let body = format!("csrf={}&name=nightly&role=reader&days=2", browser.csrf);
    let page = browser.ground.form("/tokens", &headers, &body).await;
    let secret = page.body.split("sp_").nth(1).and_then(|rest| rest.split('<').next()).unwrap();
    let me = browser.ground.json("GET", "/api/v1/me", &format!("sp_{secret}"), "").await;
    assert_eq!(me.json()["token"], "nightly");
    assert!(!browser.look("/people").await.body.contains(secret), "it is shown once");
    let (_, told) = browser.send("/tokens/1/revoke", "").await;
    assert!(told.body.contains("good for nothing from now on"), "{told:?}");
    browser.refused("/people/anna/role", "role=reader", "last administrator").await;
    let log = browser.look("/audit").await;
    for action in ["sign-in", "token-made", "token-removed", "person-made", "role-changed"] {
        assert!(log.body.contains(action), "{action}");
    }
}

#[tokio::test]
async fn a_version_is_browsed_a_file_read_and_a_folder_restored() {
    let browser = Browser::of(Role::Administrator).await;
    assert!(browser.look("/versions").await.body.contains("/versions/local/0123456789abcdef"));
    let folder = browser.look("/versions/local/0123456789abcdef?path=content").await;
    assert_eq!(folder.status, 200, "{folder:?}");
    let link = "/versions/local/0123456789abcdef/file?path=content/notes.txt";
    assert!(folder.body.contains(link), "{folder:?}");
    assert_eq!(browser.look(link).await.body, "notes\n");
    let restore = "/versions/local/0123456789abcdef/restore";
    let (_, told) = browser.send(restore, "path=content%252Fnotes.txt&folder=monday").await;
    assert!(told.body.contains("the restore is in the queue"), "{told:?}");
    let queued = serde_json::to_value(browser.ground.service.queue.view()).unwrap();
    assert_eq!(queued["waiting"][0]["path"], "content/notes.txt", "{queued}");
    browser.refused(restore, "path=&folder=../etc", "letters, digits and -").await;
}

#[tokio::test]
async fn an_alert_is_postponed_and_cleared_and_channels_are_tested() {
    let browser = Browser::of(Role::Operator).await;
    let history = &browser.ground.service.history;
    let id = open_alert(history, browser.ground.access.now());
    let page = browser.look("/alerts").await;
    assert!(
        page.body.contains("The backup failed badly")
            && page.body.contains(&format!("/alerts/{id}/postpone"))
    );
    let (_, told) = browser.send(&format!("/alerts/{id}/postpone"), "until=8h").await;
    assert!(told.body.contains("Done: "), "{told:?}");
    let until = history.alert(id).unwrap().unwrap().postponed_until.unwrap();
    assert_eq!(until.duration_since(browser.ground.access.now()).as_hours(), 8);
    browser.refused(&format!("/alerts/{id}/postpone"), "until=date&date=2001-01-01", "yet to come").await;
    let (_, told) = browser.send(&format!("/alerts/{id}/clear"), "comment=mended").await;
    assert!(told.body.contains("Done: ") && told.body.contains("mended"), "{told:?}");
    assert_eq!(history.alert(id).unwrap().unwrap().closed_by.as_deref(), Some("anna"));
    browser.refused("/alerts/test", "", "no channel").await;
}

/// An alert as a failed run makes it.
fn open_alert(history: &stillpoint_history::History, now: jiff::Timestamp) -> i64 {
    let words = stillpoint_history::AlertWords {
        instance: "one",
        severity: stillpoint_model::site_file::AlertSeverity::Critical,
        title: "the backup failed",
        text: "The backup failed badly",
        remedy: "Look at the run",
    };
    history.change_alerts(|book| book.open("run-failed", "", &words, now, now)).unwrap()
}

#[tokio::test]
async fn metrics_are_for_programs_with_a_token() {
    let browser = Browser::of(Role::Reader).await;
    let token = browser.ground.token("anna", Role::Reader).await;
    let page = browser.ground.json("GET", "/metrics", &token, "").await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.header("content-type").starts_with("text/plain; version=0.0.4"));
    assert!(page.body.contains("site=\"P01\""), "{page:?}");
    assert_eq!(browser.ground.get("/metrics", &[]).await.status, 401);
}

#[tokio::test]
async fn colours_are_kept_before_and_after_sign_in() {
    let browser = Browser::of(Role::Reader).await;
    let sent = browser.ground.form("/theme", &[], "theme=dark&back=/sign-in").await;
    assert_eq!((sent.status, sent.header("location")), (303, "/sign-in"));
    let page = browser.ground.get("/sign-in", &[("cookie", &sent.cookie())]).await;
    assert!(page.body.contains("data-theme=\"dark\""), "{page:?}");
    let away = browser.ground.form("/theme", &[], "theme=dark&back=//evil.example.org").await;
    assert_eq!(away.header("location"), "/");
}
