//! Coming in: passwords, how often they may be tried, one-time links.

use stillpoint_server::access::{AuditQuery, Role, SESSION_IDLE, SESSION_LONGEST};

use crate::ground::{Ground, PASSWORD};

fn form(name: &str, password: &str) -> String {
    format!("name={name}&password={}", password.replace(' ', "+"))
}

#[tokio::test]
async fn whoever_tries_too_often_waits_and_is_never_shut_out() {
    let ground = Ground::new().await;
    ground.add("anna", Role::Reader);
    for _ in 0..5 {
        let answer = ground.form("/sign-in", &[], &form("anna", "wrong")).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (403, ""), "{answer:?}");
    }
    // Now the right one has to wait, too: or a guess would be told by the time.
    for wait_s in [1, 2, 4] {
        let answer = ground.form("/sign-in", &[], &form("anna", PASSWORD)).await;
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (429, wait_s.to_string().as_str()),
            "{answer:?}"
        );
        ground.clock.later(wait_s);
        assert_eq!(ground.form("/sign-in", &[], &form("anna", "wrong")).await.status, 403);
    }
    ground.clock.later(8);
    ground.sign_in("anna").await;
    let answer = ground.form("/sign-in", &[], &form("anna", "wrong")).await;
    assert_eq!(answer.status, 403, "a right password begins anew: {answer:?}");
    let kept = ground.access.audit_log(AuditQuery::default()).await.unwrap();
    let (right, wrong): (Vec<_>, Vec<_>) = kept.iter().partition(|row| row.result == "ok");
    assert_eq!((right.len(), wrong.len()), (1, 9));
    assert!(
        kept.iter().all(|row| row.action == "sign-in" && row.address == "127.0.0.1" && row.person == "anna")
    );
}

#[tokio::test]
async fn an_unknown_name_is_answered_as_a_wrong_password() {
    let ground = Ground::new().await;
    ground.add("anna", Role::Reader);
    let known = ground.form("/sign-in", &[], &form("anna", "wrong")).await;
    let unknown = ground.form("/sign-in", &[], &form("eve", "wrong")).await;
    assert_eq!((known.status, known.body.replace("anna", "eve")), (unknown.status, unknown.body));
}

#[tokio::test]
async fn a_session_ends_when_nobody_is_seen_and_after_a_week_at_the_latest() {
    let ground = Ground::new().await;
    ground.add("anna", Role::Reader);
    let cookie = ground.sign_in("anna").await;
    let step = SESSION_IDLE.as_secs() - 60;
    let mut passed = 0;
    while passed + step < SESSION_LONGEST.as_secs() {
        ground.clock.later(step);
        passed += step;
        assert_eq!(ground.get("/api/v1/me", &[("cookie", &cookie)]).await.status, 200, "after {passed} s");
    }
    ground.clock.later(SESSION_LONGEST.as_secs() - passed);
    assert_eq!(ground.get("/api/v1/me", &[("cookie", &cookie)]).await.status, 401);
    let cookie = ground.sign_in("anna").await;
    ground.clock.later(SESSION_IDLE.as_secs());
    assert_eq!(ground.get("/api/v1/me", &[("cookie", &cookie)]).await.status, 401);
}

#[tokio::test]
async fn the_first_administrator_comes_in_by_a_link_that_works_once() {
    let ground = Ground::new().await;
    let old = ground.access.first_link().await.unwrap().unwrap();
    let link = ground.access.first_link().await.unwrap().unwrap();
    assert_eq!(ground.get(&old, &[]).await.status, 410, "the newest link is the only one");
    assert_eq!(ground.get("/welcome/nothing", &[]).await.status, 410);
    let page = ground.get(&link, &[]).await;
    assert_eq!(page.status, 200, "{page:?}");
    for (password, again, told) in [
        ("four words by chance", "four words by chanse", "not the same"),
        ("elevenchars", "elevenchars", "11 characters"),
    ] {
        let answer = ground.form(&link, &[], &format!("name=anna&password={password}&again={again}")).await;
        assert_eq!((answer.status, answer.body.contains(told)), (409, true), "{answer:?}");
    }
    let good = format!("{}&again=four+words+by+chance", form("anna", PASSWORD));
    let bad_name = ground.form(&link, &[], &good.replace("anna", "%3Cscript%3E")).await;
    assert_eq!((bad_name.status, bad_name.body.contains("<script>")), (409, false), "{bad_name:?}");
    let answer = ground.form(&link, &[], &good).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/"), "{answer:?}");
    let me = ground.get("/api/v1/me", &[("cookie", &answer.cookie())]).await.json();
    assert_eq!((me["name"].as_str(), me["role"].as_str()), (Some("anna"), Some("administrator")));
    assert_eq!(ground.form(&link, &[], &good).await.status, 410);
    assert_eq!(ground.access.first_link().await.unwrap(), None, "there is an administrator now");
}

#[tokio::test]
async fn a_link_is_over_after_a_day() {
    let ground = Ground::new().await;
    let link = ground.access.first_link().await.unwrap().unwrap();
    ground.clock.later(24 * 3600);
    assert_eq!(ground.get(&link, &[]).await.status, 410);
    let good = format!("{}&again=four+words+by+chance", form("anna", PASSWORD));
    assert_eq!(ground.form(&link, &[], &good).await.status, 410);
    assert!(ground.access.people().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_way_back_after_sign_in_leads_nowhere_else() {
    let ground = Ground::new().await;
    ground.add("anna", Role::Reader);
    for (next, wanted) in [
        ("/runs?before=1", "/runs?before=1"),
        ("//evil.example.org", "/"),
        ("/%5Cevil.example.org", "/"),
        ("https://evil.example.org", "/"),
        ("/%0D%0Aset-cookie:x", "/"),
    ] {
        let answer = ground.form("/sign-in", &[], &format!("{}&next={next}", form("anna", PASSWORD))).await;
        assert_eq!((answer.status, answer.header("location")), (303, wanted), "{answer:?}");
    }
}
