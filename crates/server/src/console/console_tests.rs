//! Every page, for a site without a history, a lively one and a bad one: it shows what it must, is HTML that a parser has nothing
//! to say about, and what comes from outside stays text. The pages are left in `target/console-pages` to look at.

use std::collections::BTreeSet;
use std::path::PathBuf;

use html5ever::tendril::TendrilSink;
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use stillpoint_history::{AlertState, Role};
use stillpoint_model::Outcome;
use stillpoint_model::site_file::AlertSeverity;

use super::samples_tests::*;
use super::*;

/// An element with its attributes and the names of what it is in.
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    within: Vec<String>,
    text: String,
}

impl Element {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }
}

fn text_of(node: &Handle) -> String {
    match &node.data {
        NodeData::Text { contents } => contents.borrow().to_string(),
        _ => node.children.borrow().iter().map(text_of).collect::<Vec<_>>().join(" "),
    }
}

fn walk(node: &Handle, within: &mut Vec<String>, found: &mut Vec<Element>) {
    let mut inside = false;
    if let NodeData::Element { name, attrs, .. } = &node.data {
        let attributes =
            attrs.borrow().iter().map(|it| (it.name.local.to_string(), it.value.to_string())).collect();
        let name = name.local.to_string();
        found.push(Element { name: name.clone(), attributes, within: within.clone(), text: text_of(node) });
        within.push(name);
        inside = true;
    }
    for child in node.children.borrow().iter() {
        walk(child, within, found);
    }
    if inside {
        within.pop();
    }
}

fn elements(name: &str, html: &str) -> Vec<Element> {
    let dom: RcDom = html5ever::parse_document(RcDom::default(), Default::default()).one(html);
    assert!(dom.errors.borrow().is_empty(), "{name}: {:?}", dom.errors.borrow());
    let mut found = Vec::new();
    walk(&dom.document, &mut Vec::new(), &mut found);
    found
}

/// All pages with their names.
fn pages() -> Vec<(String, String)> {
    let mut pages = Vec::new();
    let mut add = |name: &str, page: maud::Markup| pages.push((name.to_owned(), page.into_string()));
    let of = |place| chrome(place, Role::Administrator);
    let reader = |place| chrome(place, Role::Reader);
    let bad = bad_chrome;
    let door = |text: &str| Chrome { person: None, site_name: text.into(), ..of(Place::Elsewhere) };

    add("overview-empty", overview::page(&of(Place::Overview), &empty_overview()));
    add("overview-good", overview::page(&of(Place::Overview), &good_overview()));
    let busy = Chrome {
        alerts_active: 1,
        under_way: Some(UnderWay { run: "20261125T091500-7".into(), task: "backup".into() }),
        notice: Some(Notice { good: true, text: "the backup has begun".into() }),
        ..chrome(Place::Overview, Role::Operator)
    };
    add("overview-lively", overview::page(&busy, &lively_overview()));
    add("overview-bad", overview::page(&bad(Place::Overview), &bad_overview()));
    add("runs-empty", runs::page(&reader(Place::Runs), &runs::RunsData::default()));
    add("runs-lively", runs::page(&of(Place::Runs), &runs(20, "")));
    add("runs-bad", runs::page(&bad(Place::Runs), &runs(3, HOSTILE)));
    let whole = run_data(details(run("20261125T061500-6", 182, Some(Outcome::Complete))));
    add("run-lively", run::page(&of(Place::Runs), &whole));
    let mut going = run_data(under_way());
    going.log = None;
    add("run-under-way", run::page(&of(Place::Runs), &going));
    let mut bare = run_data(details(run("bare", 10, Some(Outcome::Failed))));
    (bare.details.phases, bare.details.steps, bare.messages) = (Vec::new(), Vec::new(), Vec::new());
    add("run-empty", run::page(&reader(Place::Runs), &bare));
    add("run-bad", run::page(&bad(Place::Runs), &bad_run()));
    add("versions-empty", versions::page(&reader(Place::Versions), &versions::VersionsData::default()));
    add("versions-lively", versions::page(&of(Place::Versions), &versions("")));
    add("versions-bad", versions::page(&bad(Place::Versions), &versions(HOSTILE)));
    let nothing = browse::BrowseData { path: Vec::new(), entries: Vec::new(), after: None, ..browse("") };
    add("browse-empty", browse::page(&reader(Place::Versions), &nothing));
    add("browse-lively", browse::page(&of(Place::Versions), &browse("")));
    add("browse-bad", browse::page(&bad(Place::Versions), &browse(HOSTILE)));
    let nothing = components::ComponentsData::default();
    add("components-empty", components::page(&reader(Place::Components), &nothing));
    add("components-lively", components::page(&of(Place::Components), &components("")));
    add("components-bad", components::page(&bad(Place::Components), &components(HOSTILE)));
    add("alerts-empty", alerts::page(&reader(Place::Alerts), &alerts::AlertsData::default()));
    add("alerts-lively", alerts::page(&of(Place::Alerts), &alerts("")));
    add("alerts-bad", alerts::page(&bad(Place::Alerts), &alerts(HOSTILE)));
    let unplanned = schedule::ScheduleData { planned: Vec::new(), longest_gap: None, ..schedule(None) };
    add("schedule-empty", schedule::page(&reader(Place::Schedule), &unplanned));
    add("schedule-lively", schedule::page(&of(Place::Schedule), &schedule(None)));
    add("schedule-bad", schedule::page(&bad(Place::Schedule), &schedule(Some(HOSTILE))));
    let valid = settings::SettingsData { mistakes: Vec::new(), ..settings("P01") };
    add("settings-empty", settings::page(&reader(Place::Settings), &valid));
    add("settings-lively", settings::page(&of(Place::Settings), &settings("P01")));
    add("settings-bad", settings::page(&bad(Place::Settings), &settings(HOSTILE)));
    add("people-empty", people::page(&of(Place::People), &people::PeopleData::default()));
    add("people-lively", people::page(&of(Place::People), &people("")));
    add("people-bad", people::page(&bad(Place::People), &people(HOSTILE)));
    add("audit-empty", audit::page(&of(Place::Audit), &audit::AuditData::default()));
    add("audit-lively", audit::page(&of(Place::Audit), &audit("")));
    add("audit-bad", audit::page(&bad(Place::Audit), &audit(HOSTILE)));
    add("charts-empty", charts::page(&reader(Place::Charts), &charts::ChartsData::default()));
    add("charts-lively", charts::page(&of(Place::Charts), &charts()));
    let nobody = sign_in::SignInData { nobody_yet: true, ..sign_in::SignInData::default() };
    add("sign-in-empty", sign_in::page(&door(""), &nobody));
    add("sign-in-bad", sign_in::page(&door(HOSTILE), &sign_in(HOSTILE)));
    add("welcome-lively", sign_in::welcome(&door(""), &welcome("")));
    add("welcome-bad", sign_in::welcome(&door(HOSTILE), &welcome(HOSTILE)));
    add("error-bad", error::page(&bad(Place::Elsewhere), &error::ErrorData::not_found(HOSTILE)));
    pages
}

fn page(name: &str) -> String {
    pages().into_iter().find(|(it, _)| it == name).unwrap().1
}

/// The text of a page, with single spaces.
fn words_of(name: &str) -> String {
    let html = page(name);
    let body = elements(name, &html).into_iter().find(|it| it.name == "main").unwrap();
    let words = body.text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    words.replace(" ,", ",").replace(" .", ".").replace(" :", ":")
}

#[test]
fn the_pages_are_left_to_look_at() {
    let top = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(top.join("target"), PathBuf::from);
    let folder = target.join("console-pages");
    std::fs::create_dir_all(folder.join("static")).unwrap();
    for asset in assets::all() {
        std::fs::write(folder.join(asset.path.trim_start_matches('/')), asset.content).unwrap();
    }
    for (name, html) in pages() {
        let html = html.replace("\"/static/", "\"static/");
        for theme in [Theme::Light, Theme::Dark] {
            let marked = format!("<html lang=\"en\" data-theme=\"{}\"", theme.as_str());
            let themed = html.replacen("<html lang=\"en\"", &marked, 1);
            std::fs::write(folder.join(format!("{name}.{}.html", theme.as_str())), themed).unwrap();
        }
    }
}

#[test]
fn every_page_is_whole_html_that_everybody_can_use() {
    for (name, html) in pages() {
        let all = elements(&name, &html);
        let mut ids = BTreeSet::new();
        for id in all.iter().filter_map(|it| it.get("id")) {
            assert!(ids.insert(id), "{name}: the id {id} is there twice");
        }
        // A title in a drawing is what is told of a part of it.
        let own = |it: &&Element| !it.within.iter().any(|name| name == "svg");
        let count = |wanted: &str| all.iter().filter(own).filter(|it| it.name == wanted).count();
        for once in ["h1", "main", "title", "header", "footer"] {
            assert_eq!(count(once), 1, "{name}: {once}");
        }
        let mut level = 0;
        for heading in
            all.iter().filter(|it| it.name.len() == 2 && it.name.starts_with('h') && it.name != "hr")
        {
            let own: u32 = heading.name[1..].parse().unwrap();
            assert!(own <= level + 1, "{name}: {} after level {level}: {}", heading.name, heading.text);
            assert!(!heading.text.trim().is_empty(), "{name}: an empty heading");
            level = own;
        }
        for it in &all {
            for refers in ["aria-labelledby", "aria-describedby", "for"] {
                if let Some(id) = it.get(refers) {
                    assert!(ids.contains(id), "{name}: {refers} names {id}, which is not there");
                }
            }
            check_element(&name, it, &all);
        }
    }
}

fn check_element(page: &str, it: &Element, all: &[Element]) {
    let labelled = |it: &Element| {
        let by_id = it.get("id").is_some_and(|id| all.iter().any(|label| label.get("for") == Some(id)));
        by_id || it.within.iter().any(|name| name == "label")
    };
    match it.name.as_str() {
        "input" if it.get("type") == Some("hidden") => {}
        "input" | "select" => assert!(labelled(it), "{page}: {:?} has no label", it.attributes),
        "button" | "a" | "legend" | "summary" => {
            assert!(!it.text.trim().is_empty(), "{page}: {:?} says nothing", it.attributes);
        }
        "img" => assert!(it.get("alt").is_some(), "{page}: {:?}", it.attributes),
        "svg" => {
            let told = it.get("role") == Some("img") && it.get("aria-label").is_some_and(|it| !it.is_empty());
            assert!(told || it.get("aria-hidden") == Some("true"), "{page}: {:?}", it.attributes);
        }
        "th" => assert!(it.get("scope").is_some(), "{page}: th {:?}", it.text),
        _ => {}
    }
}

#[test]
fn nothing_that_comes_from_outside_becomes_more_than_text() {
    for (name, html) in pages() {
        assert!(!html.contains('\u{202e}'), "{name}: what follows is written backwards");
        assert!(!html.contains("<script>") && !html.contains("onerror=alert(2)>"), "{name}");
        let all = elements(&name, &html);
        let scripts: Vec<&Element> = all.iter().filter(|it| it.name == "script").collect();
        assert_eq!(scripts.len(), 1, "{name}");
        assert!(
            scripts[0].get("src").is_some_and(|it| it.starts_with("/static/")) && scripts[0].text.is_empty()
        );
        for it in &all {
            assert!(it.name != "style" && it.get("style").is_none(), "{name}: {:?}", it.attributes);
            for (attribute, value) in &it.attributes {
                assert!(!attribute.starts_with("on"), "{name}: {attribute}={value}");
                if ["href", "src", "action"].contains(&attribute.as_str()) {
                    let ours = value.starts_with('/') && !value.starts_with("//") || value == "#content";
                    assert!(ours, "{name}: {attribute}={value} leads away");
                    assert!(!value.contains(['<', '"', ' ']), "{name}: {attribute}={value}");
                }
            }
        }
    }
}

#[test]
fn every_form_that_changes_something_proves_that_it_is_ours() {
    for (name, html) in pages() {
        for form in html.split("<form ").skip(1).filter(|it| it.starts_with("method=\"post\"")) {
            let whole = form.split("</form>").next().unwrap();
            let secret = whole.contains("name=\"csrf\" value=\"0123456789abcdef\"");
            assert!(secret || whole.contains("action=\"/welcome/"), "{name}: {whole}");
        }
    }
}

#[test]
fn a_reader_sees_nothing_that_a_reader_may_not_do() {
    for (role, wanted) in [(Role::Reader, false), (Role::Operator, true), (Role::Administrator, true)] {
        let html = overview::page(&chrome(Place::Overview, role), &lively_overview()).into_string();
        assert_eq!(html.contains("action=\"/tasks/cancel\""), wanted, "{role}");
        let html = alerts::page(&chrome(Place::Alerts, role), &alerts("")).into_string();
        assert_eq!(html.contains("/postpone\""), wanted, "{role}");
        let html = browse::page(&chrome(Place::Versions, role), &browse("")).into_string();
        let administrator = role == Role::Administrator;
        assert_eq!(html.contains("/file?path="), administrator, "{role}");
        assert_eq!(html.contains("/restore\""), administrator, "{role}");
        assert_eq!(html.contains("href=\"/people\""), administrator, "{role}");
    }
}

#[test]
fn the_overview_answers_in_one_sentence() {
    let empty = words_of("overview-empty");
    assert!(empty.contains("No. There is no backup of this site yet: what is lost now is lost."), "{empty}");
    let good = words_of("overview-good");
    let wanted = "Yes. The site can be recovered as it was at Wed 25 Nov 2026, 07:15 CET, 3 h 2 min ago.";
    assert!(good.contains(wanted), "{good}");
    for fact in
        ["3 h 2 min old", "limit 5 days", "frozen", "412 ms", "48.3 GiB", "up to date", "288.7 GiB free"]
    {
        assert!(good.contains(fact), "{fact} is not in {good}");
    }
    // The next run, in both zones.
    assert!(
        good.contains("Thu 26 Nov 2026, 07:15 CET") && good.contains("Thu 26 Nov 2026, 06:15 UTC"),
        "{good}"
    );
    let lively = words_of("overview-lively");
    for fact in [
        "Yes, but look. Archive nas is 2 backups behind.",
        "Phase: capture",
        "Cancel the run",
        "verify, asked for by bert",
    ] {
        assert!(lively.contains(fact), "{fact} is not in {lively}");
    }
    let bad = words_of("overview-bad");
    assert!(bad.contains("No. The last backup is 6 days old and must not be older than 5 days."), "{bad}");
}

#[test]
fn the_answer_is_the_worst_that_is_true() {
    let told = |change: &dyn Fn(&mut overview::OverviewData)| {
        let mut data = good_overview();
        change(&mut data);
        let verdict = verdict::verdict(&chrome(Place::Overview, Role::Reader), &data);
        (verdict.answer, verdict.why)
    };
    let failed = run("failed", 30, Some(Outcome::Failed));
    let (answer, why) = told(&|data| data.last_attempt = Some(failed.clone()));
    assert!(answer == "Yes, but look." && why.contains("The last run failed."), "{why}");
    let critical = alert(1, AlertSeverity::Critical, AlertState::Active, "the verify found damage");
    let (answer, why) = told(&|data| {
        data.last_attempt = Some(failed.clone());
        data.alerts = vec![critical.clone()];
    });
    assert_eq!((answer, why.as_str()), ("Not for sure.", "The verify found damage."));
    let (answer, _) = told(&|data| {
        data.last_backup = Some(run("old", 60 * 121, Some(Outcome::Complete)));
        data.alerts = vec![critical.clone()];
    });
    assert_eq!(answer, "No.");
    let (answer, why) = told(&|data| data.last_backup = Some(run("old", 60 * 100, Some(Outcome::Complete))));
    assert!(answer == "Yes, but look." && why.contains("4 days 4 h old; the limit is 5 days"), "{why}");
    let (answer, why) = told(&|data| data.next_run = None);
    assert!(answer == "Yes, but look." && why.contains("No next run"), "{why}");
}

#[test]
fn a_run_shows_its_phases_its_window_and_what_to_do() {
    let lively = words_of("run-lively");
    let facts = [
        "capture 2 min 51 s works",
        "snapshot 240 ms stands still",
        "611 times magnified",
        "0.16 % of the run",
        "documents btrfs frozen 184\u{202f}000",
        "5035",
        "Backup completed",
        "3fa93fa93fa9 epoch 4711",
        "774.4 MiB",
        "STATMSG: ID=5055",
    ];
    for fact in facts {
        assert!(lively.contains(fact), "{fact} is not in {lively}");
    }
    let going = words_of("run-under-way");
    assert!(
        going.contains("Phase:") && going.contains("documents btrfs") && !going.contains("184"),
        "{going}"
    );
    let bad = words_of("run-bad");
    for fact in ["What to do:", "Cause:", "The first 1 of 2\u{202f}000", "error", "There are more messages"] {
        assert!(bad.contains(fact), "{fact} is not in {bad}");
    }
}

#[test]
fn a_later_level_begins_when_the_one_before_has_ended() {
    let rows = timeline::window_steps(&details(run("run", 1, Some(Outcome::Complete))));
    let of =
        |name: &str| rows[name].iter().map(|it| (it.name.as_str(), it.from_us, it.us)).collect::<Vec<_>>();
    assert_eq!(of("shop"), [("freeze", 0, 61_000), ("cut", 91_000, 3_000), ("thaw", 361_000, 50_000)]);
    assert_eq!(
        of("ledger"),
        [("freeze", 61_000, 21_000), ("cut", 91_000, 240_000), ("thaw", 349_000, 12_000)]
    );
    assert_eq!(
        of("documents"),
        [("freeze", 82_000, 9_000), ("cut", 91_000, 180_000), ("thaw", 331_000, 18_000)]
    );
}

#[test]
fn the_other_pages_show_their_facts() {
    let wanted: &[(&str, &[&str])] = &[
        (
            "runs-lively",
            &["under way", "incomplete 3 problems", "the destination does not answer", "(try 2)", "Older"],
        ),
        ("versions-lively", &["000000000000 epoch 4711", "on hold", "incomplete", "it does not answer"]),
        (
            "browse-lively",
            &["reports/", "current →../else/where", "this folder: documents/var/lib/x", "120.6 KiB"],
        ),
        (
            "components-lively",
            &[
                "2 of 3 components",
                "Not in it: mail",
                "no longer in the site file",
                "critical",
                "failed in freeze: no answer in 10 s",
            ],
        ),
        (
            "alerts-lively",
            &[
                "The verify found damage",
                "The last good backup is epoch 4711",
                "not used yet",
                "silent until Wed 25 Nov 2026, 18:17 CET",
                "Until tomorrow",
                "Test the channels",
                "fails it does not answer",
            ],
        ),
        ("alerts-empty", &["Nobody is told of alerts"]),
        (
            "schedule-lively",
            &["every day between 02:00 and 05:00", "At most 1 day between", "Thu 26 Nov 2026, 01:57 UTC"],
        ),
        ("schedule-bad", &["The schedule before the last edit is in use"]),
        ("settings-empty", &["valid"]),
        ("settings-bad", &["has mistakes", "1 mistake", "mend this line"]),
        ("settings-lively", &["3 mistakes", "nmae"]),
        ("people-lively", &["anna (you)", "It is shown this once", "grafana"]),
        ("audit-lively", &["192.0.2.7", "refused: nothing is under way"]),
        ("charts-lively", &["The last 60 runs", "Freeze window", "99.0 %", "The figures as a table"]),
        ("sign-in-bad", &["name or password is wrong"]),
        ("sign-in-empty", &["Nobody can sign in yet", "stillpoint console reset-link"]),
        ("welcome-lively", &["This link works once", "at least 12 characters", "the two passwords differ"]),
        ("error-bad", &["There is no such page.", "What to do: Go on from the overview."]),
    ];
    for (name, facts) in wanted {
        let words = words_of(name);
        for fact in *facts {
            assert!(words.contains(fact), "{name}: {fact:?} is not in {words}");
        }
    }
}

#[test]
fn a_list_goes_on_where_it_ended() {
    let data = runs::RunsData { outcome: Some(Outcome::Failed), ..runs(1, "") };
    let html = runs::page(&chrome(Place::Runs, Role::Reader), &data).into_string();
    let all = elements("runs", &html);
    let older = all.iter().find(|it| it.get("rel") == Some("next")).unwrap().get("href").unwrap();
    let before = older.split("before=").nth(1).unwrap().replace("%3A", ":");
    assert!(older.starts_with("/runs?outcome=failed&"), "{older}");
    assert_eq!(Some(before.parse().unwrap()), data.older);
}

#[test]
fn a_static_file_is_found_by_the_name_that_pages_use_and_by_no_other() {
    let html = page("overview-empty");
    for asset in assets::all() {
        assert!(html.contains(&asset.path), "{}", asset.path);
        assert_eq!(assets::find(&asset.path).unwrap().content, asset.content);
    }
    assert!(assets::find("/static/console.css").is_none() && assets::find("/static/../Cargo.toml").is_none());
}

/// How much two colours differ, from 1 to 21, as WCAG counts it.
fn contrast(one: &str, other: &str) -> f64 {
    let light = |colour: &str| {
        let part = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    };
    let (one, other) = (light(one), light(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn text_can_be_read_in_both_themes() {
    let style = include_str!("assets/console.css");
    let colour = |name: &str, dark: usize| {
        let rule = style.split(&format!("--{name}: light-dark(")).nth(1).unwrap();
        rule.split(')').next().unwrap().split(", ").nth(dark).unwrap().to_owned()
    };
    // Text needs 4.5, the edges of what can be used 3 (WCAG 2.2, 1.4.3 and 1.4.11, level AA).
    let mut pairs =
        vec![("on-accent", "accent", 4.5), ("control-line", "card", 3.0), ("control-line", "ground", 3.0)];
    for text in ["ink", "dim", "accent", "good", "look", "bad", "now"] {
        pairs.extend([(text, "card", 4.5), (text, "ground", 4.5)]);
    }
    for (text, ground) in [
        ("good", "good-ground"),
        ("look", "look-ground"),
        ("bad", "bad-ground"),
        ("now", "now-ground"),
        ("ink", "rail"),
    ] {
        pairs.push((text, ground, 4.5));
    }
    for dark in [0, 1] {
        for (text, ground, wanted) in &pairs {
            let found = contrast(&colour(text, dark), &colour(ground, dark));
            assert!(found >= *wanted, "{text} on {ground} has {found:.2} in theme {dark}");
        }
    }
    assert!((contrast("#000000", "#ffffff") - 21.0).abs() < 0.01);
}
