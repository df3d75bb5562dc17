//! `docs/alerts.md` says what the code does.

use std::path::PathBuf;
use std::sync::Arc;

use stillpoint_history::NoticeKind;
use stillpoint_model::site_file;
use zeroize::Zeroizing;

use super::{at, place, some_alert};
use crate::notice::Message;
use crate::{AlertKind, AlertSeverity, ChannelSettings, Channels, Expected, Place, begins, clears, remedy};

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/alerts.md")
}

/// What stands between the line that begins with `<!-- name:` and the one that ends it. It is made by the code, which writes
/// `wanted` there when it is told to.
fn part(name: &str, wanted: &str) -> String {
    let text = std::fs::read_to_string(path()).unwrap();
    let begin = text.find(&format!("<!-- {name}:")).unwrap();
    let begin = begin + text[begin..].find('\n').unwrap() + 1;
    let end = text.find(&format!("<!-- end of {name} -->")).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_none() {
        return text[begin..end].to_owned();
    }
    std::fs::write(path(), format!("{}{wanted}{}", &text[..begin], &text[end..])).unwrap();
    wanted.to_owned()
}

fn kinds() -> String {
    let of_kind = |kind: &AlertKind| {
        format!(
            "### {kind}\n\n- Begins: {}\n- Clears: {}\n- What to do: {}\n\n",
            begins(*kind),
            clears(*kind),
            remedy(*kind)
        )
    };
    format!("\n{}", AlertKind::ALL.iter().map(of_kind).collect::<String>())
}

/// One after the other: both may rewrite the same file.
#[test]
fn the_document_has_every_kind_and_the_notice_as_they_are_now_golden() {
    let rewrite = "run UPDATE_GOLDEN=1 cargo test -p stillpoint-alerts";
    assert!(part("kinds", &kinds()) == kinds(), "{rewrite}; wanted:\n{}", kinds());
    let (place, alert) = (place(), some_alert());
    let json = Message { place: &place, kind: NoticeKind::Begun, alert: &alert, now: at(0) }.json();
    let found =
        part("notice", &format!("\n```json\n{}\n```\n\n", serde_json::to_string_pretty(&json).unwrap()));
    let found = found.trim().trim_start_matches("```json").trim_end_matches("```");
    // The order of the fields means nothing.
    assert_eq!(serde_json::from_str::<serde_json::Value>(found).unwrap(), json, "{rewrite}");
}

#[test]
fn every_channel_of_the_document_is_one_of_a_site_file_and_no_type_is_missing() {
    let text = std::fs::read_to_string(path()).unwrap();
    let examples: String = text
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect::<Vec<_>>()
        .join("\n");
    let rest = "[site]\ncode = \"P01\"\nname = \"Try\"\ntype = \"primary\"\n[destination]\nfolder = \"/backup\"\n\
        [[component]]\nname = \"files\"\ntype = \"files\"\npath = \"/srv\"\n\
        [schedule]\nzone = \"UTC\"\ncron = \"0 2 * * *\"\n\
        [alerts]\ndisabled = [\"clock-jumped\"]\nremind_every = \"12h\"\n";
    let site = site_file::parse(&format!("{rest}{examples}")).unwrap();
    let read: crate::SecretReader =
        Arc::new(|source, what| Ok(Zeroizing::new(format!("{what} from {source:?}"))));
    let all = Channels::of(&site, &read);
    let ways: Vec<&str> = all.channels.iter().map(|it| it.settings.way()).collect();
    assert_eq!(ways, ["mail", "sendmail", "webhook", "ntfy", "alertmanager", "program"]);
    assert_eq!(all.pings.len(), 1);
    let least: Vec<AlertSeverity> = all.channels.iter().map(|it| it.least).collect();
    use AlertSeverity::{Critical, Info, Warning};
    assert_eq!(least, [Warning, Warning, Info, Critical, Warning, Warning]);
    let ChannelSettings::Program(program) = &all.channels[5].settings else { panic!("{all:?}") };
    assert_eq!((program.program.to_str(), program.arguments.len()), (Some("/usr/local/bin/tell-us"), 1));
    let policy = all.policy(&site);
    assert_eq!((policy.listeners.len(), policy.listeners[6].least), (7, None));
    assert!(policy.disabled.contains(&AlertKind::ClockJumped) && policy.remind_every == super::hours(12));
    assert_eq!(Place::of(&site, None).site, "P01");
    let expected = Expected::of(&site, at(0));
    assert_eq!(
        (expected.longest_gap, expected.no_success_for),
        (Some(super::hours(24)), Some(super::hours(26)))
    );
    assert!(expected.next_due.is_some_and(|due| due > at(0) && due <= at(24)));
}

#[tokio::test]
async fn secrets_are_read_when_they_are_needed_and_called_by_their_key() {
    let text = "[site]\ncode = \"P01\"\nname = \"Try\"\ntype = \"primary\"\n[destination]\nfolder = \"/backup\"\n\
        [[component]]\nname = \"files\"\ntype = \"files\"\npath = \"/srv\"\n\
        [[channel]]\nname = \"chat\"\ntype = \"webhook\"\nurl = { file = \"/no/such/file\" }\n";
    let site = site_file::parse(text).unwrap();
    let read: crate::SecretReader = Arc::new(|_, what| Err(format!("{what} is not there")));
    let all = Channels::of(&site, &read);
    let message = Message { place: &place(), kind: NoticeKind::Test, alert: &some_alert(), now: at(0) };
    let error = all.channels[0].tell(&message, crate::DEADLINE).await.unwrap_err();
    assert!(error.what.contains("`url` of channel chat is not there"), "{error}");
}
