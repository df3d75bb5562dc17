//! The tables of the service (`[schedule]`, `[history]`, `[alerts]`, `[[channel]]`, `[console]`): right ones are read, wrong ones are
//! answered, and no secret is shown.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use stillpoint_model::site_file::{
    self, AddressSource, AlertKind, AlertSeverity, ChannelKind, MailTls, Mistake, OnStop, SecretSource,
    SiteFile,
};
use stillpoint_schedule::{Calendar, Missed};

const SITE: &str = r#"
[site]
code = "P01"
name = "Head office"
[destination]
folder = "/var/backup"
[[component]]
name = "content"
type = "files"
path = "/srv/shop"
"#;

fn mistakes(tables: &str) -> Vec<Mistake> {
    let text = format!("{SITE}{tables}");
    match site_file::parse(&text) {
        Ok(file) => panic!("was taken: {file:?}"),
        Err(mistakes) => mistakes,
    }
}

fn parse(tables: &str) -> SiteFile {
    let text = format!("{SITE}{tables}");
    site_file::parse(&text)
        .unwrap_or_else(|mistakes| panic!("{}", site_file::render("site.toml", &text, &mistakes)))
}

fn assert_told(tables: &str, wanted: &str) {
    let found: Vec<String> = mistakes(tables)
        .into_iter()
        .map(|m| format!("{}: {}; {}", m.key_path, m.message, m.remedy))
        .collect();
    let wanted: Vec<&str> = wanted.split('|').collect();
    assert_eq!(found.len(), wanted.len(), "{tables}: {found:#?}");
    for wanted in wanted {
        let parts: Vec<&str> = wanted.split(" ... ").collect();
        let told =
            found.iter().any(|it| it.starts_with(parts[0]) && parts.iter().all(|part| it.contains(part)));
        assert!(told, "{tables}: wanted {wanted}, found {found:#?}");
    }
}

#[test]
fn a_site_without_these_tables_has_their_defaults_and_no_schedule() {
    let file = parse("");
    assert!(file.schedule.is_none() && file.channels.is_empty());
    assert_eq!(file.history.keep.to_string(), "400d");
    assert_eq!(file.console.listen.to_string(), "127.0.0.1:8470");
    assert!(!file.console.is_encrypted());
    let alerts = &file.alerts;
    assert_eq!((alerts.remind_every.to_string().as_str(), alerts.destination_free_percent), ("1d", 10));
    let shown = site_file::effective(&file);
    assert!(shown.contains("[alerts]\n# no_success_for: any time, since nothing is scheduled"), "{shown}");
    for default in
        ["keep = \"400d\"", "verify_within = \"35d\"", "listen = \"127.0.0.1:8470\"", "tls = \"none\""]
    {
        assert!(shown.contains(default), "{default} is not in {shown}");
    }
}

#[test]
fn each_form_of_a_schedule_is_read_with_its_defaults_and_shown_again() {
    let window = "window = { days = [\"mon\", \"fri\"], begin = \"22:00\", latest = \"1:30\" }";
    for (form, described) in [
        (window, "on Monday and Friday between 22:00 and 01:30 of the next day, Europe/Berlin"),
        (
            "window = { begin = \"02:00\", latest = \"05:00\" }",
            "every day between 02:00 and 05:00, Europe/Berlin",
        ),
        ("cron = \"30 2 * * *\"", "at 02:30 (cron \"30 2 * * *\"), Europe/Berlin"),
        (
            "calendar = \"Mon..Fri 02:30\"",
            "on Monday, Tuesday, Wednesday, Thursday and Friday at 02:30, Europe/Berlin",
        ),
    ] {
        let file = parse(&format!("[schedule]\nzone = \"europe/berlin\"\n{form}\n"));
        let settings = file.schedule.clone().unwrap();
        assert_eq!(settings.backup().unwrap().describe(), described);
        assert_eq!(
            (settings.missed, settings.retries, settings.on_stop),
            (Missed::CatchUp, 3, OnStop::Cancel)
        );
        assert_eq!(
            (settings.retry_after.to_string(), settings.change_retention.to_string()),
            ("10m".into(), "5d".into())
        );
        assert!(settings.verify().is_none() && settings.retention().is_none());
        let shown = site_file::effective(&file);
        assert_eq!(site_file::parse(&shown), Ok(file), "{shown}");
        assert!(
            shown.contains("[alerts]\n# no_success_for: two hours more than [schedule] allows"),
            "{shown}"
        );
        assert!(shown.contains("zone = \"Europe/Berlin\"") && shown.contains("retries = 3"), "{shown}");
    }
}

#[test]
fn the_schedules_beside_the_backup_have_its_zone_and_what_it_does_with_missed_times() {
    let archive = "[[archive]]\nname = \"a\"\nlocation = \"/mnt/a\"\nkey = { file = \"/k\" }\n";
    let text = "[schedule]\nzone = \"UTC\"\ncron = \"@daily\"\nmissed = \"wait\"\non_stop = \"finish\"\nretries = 0\n\
                [schedule.verify]\ncalendar = \"Sun 06:00\"\n[schedule.retention]\ncron = \"0 7 * * 6\"\n";
    let file = parse(&format!("{archive}{text}"));
    let settings = file.schedule.clone().unwrap();
    assert_eq!((settings.on_stop, settings.retries), (OnStop::Finish, 0));
    for schedule in [settings.backup(), settings.verify(), settings.retention()].map(Option::unwrap) {
        assert_eq!((schedule.zone.name(), schedule.missed), ("UTC", Missed::Wait));
    }
    assert!(matches!(settings.verify().unwrap().calendar, Calendar::Expression(_)));
    let shown = site_file::effective(&file);
    assert_eq!(site_file::parse(&shown), Ok(file), "{shown}");
}

/// What stands below `[schedule]` and `zone`, and what is told: the beginning, and parts of the rest.
const WRONG_SCHEDULES: &[(&str, &str)] = &[
    ("", "schedule: nothing says when ... write exactly one of `window`, `cron`, `calendar`"),
    ("cron = \"@daily\"\ncalendar = \"daily\"", "schedule.calendar: `cron` and `calendar` both say when"),
    ("window = \"02:00\"", "schedule.window: `window` of [schedule] must be a table"),
    (
        "window = { begin = \"02:00\" }",
        "schedule.window.latest: `latest` is missing in `window` of [schedule]",
    ),
    (
        "window = { begin = \"02:00\", latest = \"02:00\" }",
        "schedule.window.latest: the window begins and ends at 02:00",
    ),
    (
        "window = { days = [], begin = \"1:00\", latest = \"2:00\" }",
        "schedule.window.days: the window has no days",
    ),
    (
        "window = { days = [\"mon\", \"tus\"], begin = \"1:00\", latest = \"2:00\" }",
        "schedule.window.days: `days` at place 2 cannot be \"tus\" ... did you mean \"tue\"?",
    ),
    (
        "window = { begin = \"24:00\", latest = \"25:00\" }",
        "schedule.window.begin: `begin` is not a time of day: \"24:00\"; write \"00:00\"|schedule.window.latest: `latest` is not a time",
    ),
    (
        "window = { begin = 2, latest = \"05:00\" }",
        "schedule.window.begin: `begin` must be a time of day in quotes",
    ),
    ("cron = \"0 3 31 2 *\"", "schedule.cron: `cron` names a day that never comes"),
    ("cron = \"0 3 * *\"", "schedule.cron: `cron` has 4 fields, and a cron expression has five"),
    ("cron = \"0 25 * * *\"", "schedule.cron: `cron` is not a cron expression"),
    ("cron = \"Mon 02:00\"", "schedule.cron: `cron` is not a cron expression ... write it as calendar ="),
    (
        "calendar = \"0 3 * * *\"",
        "schedule.calendar: `calendar` is not a calendar expression ... write it as cron =",
    ),
    ("calendar = \"*-02-30\"", "schedule.calendar: `calendar` names a day that never comes"),
    (
        "calendar = \"Mon 02:00 Europe/Berlin\"",
        "schedule.calendar: `calendar` holds a time zone ... write zone = \"Europe/Berlin\", and the expression without it",
    ),
    (
        "calendar = \"Mno 02:00\"",
        "schedule.calendar: `calendar` is not a calendar expression ... \"Mno\" is no day",
    ),
    (
        "cron = \"@daily\"\nmissed = \"catchup\"",
        "schedule.missed: `missed` cannot be \"catchup\" ... did you mean \"catch-up\"",
    ),
    ("cron = \"@daily\"\nretries = 101", "schedule.retries: `retries` must be from 0 to 100"),
    (
        "cron = \"@daily\"\nretries = 0\nretry_after = \"1m\"",
        "schedule.retry_after: `retry_after` has no effect",
    ),
    ("cron = \"@daily\"\non_stop = \"kill\"", "schedule.on_stop: `on_stop` cannot be \"kill\""),
    ("cron = \"@daily\"\nverify = \"@daily\"", "schedule.verify: [schedule.verify] must be a table"),
    ("cron = \"@daily\"\nverify = {}", "schedule.verify: nothing says when: [schedule.verify] has no time"),
    (
        "cron = \"@daily\"\nverify = { window = {} }",
        "schedule.verify.window: unknown key|schedule.verify: nothing says when",
    ),
    (
        "cron = \"@daily\"\nretention = { cron = \"@daily\" }",
        "schedule.retention: [schedule.retention] has no effect",
    ),
    ("cron = \"@daily\"\ndrill = { cron = \"@daily\" }", "schedule.drill: unknown key `drill` in [schedule]"),
    (
        "cron = \"@daily\"\nchange_retention = \"401d\"",
        "schedule.change_retention: what happened is kept for 400d",
    ),
];

#[test]
fn what_makes_no_sense_in_a_schedule_is_told() {
    for (lines, wanted) in WRONG_SCHEDULES {
        assert_told(&format!("[schedule]\nzone = \"UTC\"\n{lines}\n"), wanted);
    }
    assert_told("[schedule]\ncron = \"@daily\"\n", "schedule.zone: `zone` is missing in [schedule]");
    assert_told(
        "[schedule]\nzone = \"localtime\"\ncron = \"@daily\"\n",
        "schedule.zone: `zone` names no place: \"localtime\"; write the IANA name",
    );
    for (zone, wanted) in [
        ("Europe/Berln", "did you mean \"Europe/Berlin\"?"),
        ("berlin", "did you mean \"Europe/Berlin\"?"),
        ("Middle/Earth", "write the IANA name of a zone"),
    ] {
        let wanted = format!("schedule.zone: `zone` names no time zone: {zone:?}; {wanted}");
        assert_told(&format!("[schedule]\nzone = {zone:?}\ncron = \"@daily\"\n"), &wanted);
    }
}

#[test]
fn a_schedule_that_the_machine_may_only_add_by_has_no_retention() {
    let archive =
        "[[archive]]\nname = \"a\"\nlocation = \"/mnt/a\"\nkey = { file = \"/k\" }\nappend_only = true\n";
    let schedule = "[schedule]\nzone = \"UTC\"\ncron = \"@daily\"\nretention = { cron = \"@daily\" }\n";
    assert_told(&format!("{archive}{schedule}"), "schedule.retention: [schedule.retention] has no effect");
}

#[test]
fn alerts_and_history_are_read_and_answered() {
    let file = parse(
        "[alerts]\nno_success_for = \"26h\"\ndisabled = [\"clock-jumped\", \"hook-failed\"]\n[history]\nkeep = \"40d\"\n",
    );
    assert_eq!(file.alerts.disabled, [AlertKind::ClockJumped, AlertKind::HookFailed]);
    assert_eq!(file.no_success_for(jiff::Timestamp::UNIX_EPOCH), Some(Duration::from_secs(26 * 3600)));
    let shown = site_file::effective(&file);
    assert!(shown.contains("no_success_for = \"26h\"") && !shown.contains("# no_success_for"), "{shown}");
    assert_eq!(site_file::parse(&shown), Ok(file), "{shown}");
    for (lines, wanted) in [
        (
            "disabled = [\"clock-jump\"]",
            "alerts.disabled: `disabled` at place 1 cannot be \"clock-jump\" ... did you mean \"clock-jumped\"?",
        ),
        (
            "disabled = \"all\"",
            "alerts.disabled: `disabled` must be a list of words ... \"run-failed\" or \"run-incomplete\"",
        ),
        (
            "destination_free_percent = 100",
            "alerts.destination_free_percent: `destination_free_percent` must be from 0 to 99",
        ),
        ("remind_every = \"0s\"", "alerts.remind_every: `remind_every` is wrong"),
        (
            "[history]\nkeep = \"30d\"",
            "history.keep: what happened is kept for 30d and `verify_within` looks back 35d",
        ),
        (
            "verify_within = \"500d\"",
            "alerts.verify_within: what happened is kept for 400d ... write keep = \"500d\" or longer in [history]",
        ),
        ("no_success_for = \"401d\"", "alerts.no_success_for: what happened is kept for 400d"),
        (
            "verify_within = \"1y\"\n[history]\nkeep = \"1s\"",
            "alerts.verify_within: `verify_within` is wrong",
        ),
    ] {
        assert_told(&format!("[alerts]\n{lines}\n"), wanted);
    }
}

const CHANNELS: &str = r#"
[[channel]]
name = "admins"
type = "mail"
server = "mail.example.org:465"
tls = "tls"
from = "stillpoint@example.org"
to = ["a@example.org", "b@example.org"]
user = "stillpoint"
password = { credential = "mail" }
ca = "/etc/ca.pem"
minimum_severity = "critical"
[[channel]]
name = "root"
type = "sendmail"
from = "root@localhost"
to = ["root@localhost"]
[[channel]]
name = "chat"
type = "webhook"
url = { file = "/etc/stillpoint/chat.url" }
authorization = { command = ["/usr/bin/pass"] }
[[channel]]
name = "phone"
type = "ntfy"
url = "https://ntfy.example.org/backup"
token = { descriptor = 5 }
[[channel]]
name = "outside"
type = "ping"
url = { credential = "ping" }
[[channel]]
name = "prometheus"
type = "alertmanager"
url = "http://[::1]:9093/prefix"
[[channel]]
name = "own"
type = "program"
command = ["/usr/local/bin/tell", "us"]
minimum_severity = "info"
"#;

#[test]
fn every_type_of_channel_is_read_and_shown_again() {
    let file = parse(CHANNELS);
    let severities: Vec<AlertSeverity> =
        file.channels.iter().map(|channel| channel.minimum_severity).collect();
    assert_eq!(severities[0], AlertSeverity::Critical);
    assert_eq!((severities[1], severities[6]), (AlertSeverity::Warning, AlertSeverity::Info));
    let ChannelKind::Mail(mail) = &file.channels[0].kind else { panic!("{file:?}") };
    assert_eq!(
        (mail.server.host.as_str(), mail.server.port, mail.tls),
        ("mail.example.org", 465, MailTls::Tls)
    );
    let ChannelKind::Sendmail(sendmail) = &file.channels[1].kind else { panic!("{file:?}") };
    assert_eq!(sendmail.program, std::path::Path::new("/usr/sbin/sendmail"));
    let ChannelKind::Webhook(webhook) = &file.channels[2].kind else { panic!("{file:?}") };
    assert_eq!(webhook.url, AddressSource::Secret(SecretSource::File("/etc/stillpoint/chat.url".into())));
    let ChannelKind::Ntfy(ntfy) = &file.channels[3].kind else { panic!("{file:?}") };
    assert_eq!(ntfy.url, AddressSource::Plain("https://ntfy.example.org/backup".parse().unwrap()));
    let shown = site_file::effective(&file);
    assert_eq!(site_file::parse(&shown), Ok(file.clone()), "{shown}");
    // What is stored as JSON reads back, too.
    let json = serde_json::to_value(&file).unwrap();
    assert_eq!(serde_json::from_value::<SiteFile>(json).unwrap(), file);
}

/// A type, its keys, and what is told.
const WRONG_CHANNELS: &[(&str, &str, &str)] = &[
    ("mial", "", "channel[0].type: `type` cannot be \"mial\" ... did you mean \"mail\"?"),
    (
        "mail",
        "",
        "channel[0].server: `server` is missing in channel c of type mail|channel[0].from: `from` is|channel[0].to: `to` is",
    ),
    (
        "mail",
        "server = \"host\"\nfrom = \"a@b\"\nto = [\"a@b\"]",
        "channel[0].server: `server` is wrong: a server is written with its port",
    ),
    ("mail", "server = \"host:0\"\nfrom = \"a@b\"\nto = [\"a@b\"]", "channel[0].server: `server` is wrong"),
    (
        "mail",
        "server = \"h:25\"\nfrom = \"root\"\nto = []",
        "channel[0].from: `from` is not an address of e-mail|channel[0].to: `to` is empty",
    ),
    (
        "mail",
        "server = \"h:25\"\nfrom = \"a@b\"\nto = [\"A <a@b>\"]",
        "channel[0].to: `to` at place 1 is not an address of e-mail",
    ),
    (
        "mail",
        "server = \"h:25\"\nfrom = \"a@b\\r\\nBcc: x@y\"\nto = [\"a@b\"]",
        "channel[0].from: `from` is not an address",
    ),
    (
        "mail",
        "server = \"h:25\"\nfrom = \"a@b\"\nto = [\"a@b\"]\nuser = \"u\"",
        "channel[0].user: `user` goes with `password`",
    ),
    (
        "mail",
        "server = \"h:25\"\nfrom = \"a@b\"\nto = [\"a@b\"]\npassword = { file = \"/p\" }",
        "channel[0].password: `password` goes with `user`",
    ),
    (
        "mail",
        "server = \"h:25\"\nfrom = \"a@b\"\nto = [\"a@b\"]\nuser = \"u\"\npassword = { file = \"/p\" }\ntls = \"none\"\nca = \"/c\"",
        "channel[0].tls: with tls = \"none\" the password would be sent in the clear|channel[0].ca: `ca` has no effect",
    ),
    (
        "sendmail",
        "program = \"sendmail\"\nfrom = \"a@b\"\nto = [\"a@b\"]",
        "channel[0].program: `program` is not an absolute path",
    ),
    (
        "sendmail",
        "server = \"h:1\"\nfrom = \"a@b\"\nto = [\"a@b\"]",
        "channel[0].server: unknown key `server` in channel c of type sendmail",
    ),
    ("webhook", "", "channel[0].url: `url` is missing in channel c of type webhook"),
    ("webhook", "url = \"ftp://h/\"", "channel[0].url: `url` does not begin with https:// or http://"),
    ("webhook", "url = \"https:///x\"", "channel[0].url: `url` has no host"),
    ("webhook", "url = 5", "channel[0].url: `url` of channel c must be a table"),
    ("webhook", "url = {}", "channel[0].url: nothing says where `url` of channel c comes from"),
    ("webhook", "url = \"http://h/\"\nca = \"/c\"", "channel[0].ca: `ca` has no effect"),
    (
        "webhook",
        "url = \"http://h/\"\nauthorization = { file = \"/a\" }",
        "channel[0].url: what `authorization` holds would be sent in the clear",
    ),
    (
        "ntfy",
        "url = \"http://10.0.0.1:80/t\"\ntoken = { file = \"/a\" }",
        "channel[0].url: what `token` holds would be sent in the clear",
    ),
    ("ping", "", "channel[0].url: `url` is missing"),
    (
        "ping",
        "url = { file = \"/u\" }\nminimum_severity = \"info\"",
        "channel[0].minimum_severity: `minimum_severity` has no effect",
    ),
    ("alertmanager", "url = { file = \"/u\" }", "channel[0].url: `url` must be a text"),
    ("program", "command = [\"tell\"]", "channel[0].command: `command` at place 1 is not an absolute path"),
    (
        "program",
        "command = [\"/bin/tell\"]\nminimum_severity = \"error\"",
        "channel[0].minimum_severity: `minimum_severity` cannot be",
    ),
    (
        "program",
        "command = [\"/bin/tell\"]\n[[channel]]\nname = \"c\"\ntype = \"program\"\ncommand = [\"/bin/tell\"]",
        "channel[1].name: two channels have the name \"c\"",
    ),
];

#[test]
fn what_makes_no_sense_in_a_channel_is_told() {
    for (kind, lines, wanted) in WRONG_CHANNELS {
        assert_told(&format!("[[channel]]\nname = \"c\"\ntype = {kind:?}\n{lines}\n"), wanted);
    }
    assert_told(
        "[[channel]]\nname = \"A B\"\ntype = \"program\"\ncommand = [\"/bin/tell\"]\n",
        "channel[0].name: `name` is wrong: the name of a channel is",
    );
}

#[test]
fn a_secret_of_a_channel_that_stands_in_the_site_file_is_never_shown() {
    for (kind, line) in [
        ("mail", "server = \"h:25\"\nfrom = \"a@b\"\nto = [\"a@b\"]\nuser = \"u\"\npassword = \"hunter2\""),
        ("webhook", "url = \"https://me:hunter2@h/\""),
        ("webhook", "url = \"https://h/\"\nauthorization = \"Bearer hunter2\""),
        ("ntfy", "url = \"https://h/\"\ntoken = \"\"\"\nhunter2\"\"\""),
        ("ping", "url = \"https://ping.example.org/hunter2\""),
        ("alertmanager", "url = \"https://me:hunter2@h\""),
    ] {
        let text = format!("{SITE}[[channel]]\nname = \"c\"\ntype = {kind:?}\n{line}\n");
        let found = site_file::parse(&text).unwrap_err();
        assert_eq!(found.len(), 1, "{found:#?}");
        let shown = site_file::render("site.toml", &text, &found);
        let json = serde_json::to_string(&found).unwrap();
        assert!(!shown.contains("hunter2") && !json.contains("hunter2"), "{shown}\n{json}\n{found:#?}");
    }
}

#[test]
fn the_console_is_in_the_clear_for_this_machine_only() {
    for (lines, encrypted) in [
        ("listen = \"[::1]:0\"", false),
        (
            "listen = \"0.0.0.0:8470\"\ntls = \"generated\"\nname = [\"backup.example.org\", \"10.0.0.1\"]",
            true,
        ),
        ("listen = \"[::]:8470\"\ncertificate = \"/c.pem\"\nkey = \"/c.key\"", true),
    ] {
        let file = parse(&format!("[console]\n{lines}\n"));
        assert_eq!(file.console.is_encrypted(), encrypted, "{lines}");
        let shown = site_file::effective(&file);
        assert_eq!(site_file::parse(&shown), Ok(file), "{shown}");
    }
    for (lines, wanted) in [
        (
            "listen = \"0.0.0.0:8470\"",
            "console.listen: 0.0.0.0:8470 is reached from other machines ... write tls = \"generated\"",
        ),
        (
            "listen = \"localhost:8470\"",
            "console.listen: `listen` is not an address with a port ... write \"127.0.0.1:8470\"",
        ),
        ("listen = \"127.0.0.1\"", "console.listen: `listen` is not an address with a port"),
        ("certificate = \"/c.pem\"", "console.certificate: `certificate` goes with `key`"),
        ("key = \"/c.key\"", "console.key: `key` goes with `certificate`"),
        (
            "certificate = \"c.pem\"\nkey = \"/c.key\"",
            "console.certificate: `certificate` is not an absolute path",
        ),
        (
            "certificate = \"/c.pem\"\nkey = \"/c.key\"\ntls = \"generated\"",
            "console.tls: there is a certificate of your own",
        ),
        ("name = [\"backup.example.org\"]", "console.name: `name` has no effect without tls = \"generated\""),
        ("tls = \"generated\"\nname = [\"https://x\"]", "console.name: `name` at place 1 is not a host name"),
        ("tls = \"on\"\nlisten = \"0.0.0.0:1\"", "console.tls: `tls` cannot be \"on\""),
    ] {
        assert_told(&format!("[console]\n{lines}\n"), wanted);
    }
}

#[test]
fn what_should_be_known_of_a_right_site_file_is_advised() {
    let now: jiff::Timestamp = "2026-11-25T00:00:00Z".parse().unwrap();
    let channel = "[[channel]]\nname = \"c\"\ntype = \"program\"\ncommand = [\"/bin/tell\"]\n";
    let told = |tables: &str| parse(&format!("{tables}{channel}")).advice(now);
    let verify = "verify = { calendar = \"Sun 06:00\" }\n";
    let night =
        format!("[schedule]\nzone = \"UTC\"\nwindow = {{ begin = \"02:00\", latest = \"05:00\" }}\n{verify}");
    assert_eq!(told(&night), [""; 0]);
    assert_eq!(told(""), [""; 0]);
    // What is met exactly is met.
    let week =
        format!("[schedule]\nzone = \"UTC\"\nchange_retention = \"7d\"\ncalendar = \"weekly\"\n{verify}");
    assert_eq!(told(&week), [""; 0]);
    for (tables, wanted) in [
        ("[schedule]\nzone = \"UTC\"\ncalendar = \"weekly\"\nVERIFY", "leaves up to 7d between two backups"),
        (
            "[schedule]\nzone = \"UTC\"\nchange_retention = \"1d\"\nwindow = { begin = \"02:00\", latest = \"02:30\" }\nVERIFY",
            "leaves up to 1470m between two backups, which is more than `change_retention` (1d)",
        ),
        ("[schedule]\nzone = \"UTC\"\ncalendar = \"2026-12-24 20:00\"\nVERIFY", "[schedule] comes to an end"),
        ("[schedule]\nzone = \"UTC\"\ncron = \"@daily\"\n", "there is no [schedule.verify]"),
        (
            "[schedule]\nzone = \"UTC\"\ncron = \"@daily\"\nverify = { calendar = \"quarterly\" }\n",
            "runs more seldom than `verify_within`",
        ),
        (
            "[task]\nkeep_free_percent = 10\n",
            "`destination_free_percent` of [alerts] (10) is not above `keep_free_percent`",
        ),
    ] {
        let found = told(&tables.replace("VERIFY", verify));
        assert!(found.len() == 1 && found[0].contains(wanted), "{tables}: {found:#?}");
    }
    let lonely = parse(&night).advice(now);
    assert!(lonely.len() == 1 && lonely[0].contains("there is no [[channel]]"), "{lonely:#?}");
}

#[test]
fn without_a_stated_time_a_success_is_awaited_for_as_long_as_the_schedule_allows_and_two_hours() {
    let now: jiff::Timestamp = "2026-11-25T00:00:00Z".parse().unwrap();
    let hours = |schedule: &str| {
        let file = parse(&format!("[schedule]\n{schedule}\n"));
        file.no_success_for(now).map(|duration| duration.as_secs_f64() / 3600.0)
    };
    assert_eq!(parse("").no_success_for(now), None);
    assert_eq!(hours("zone = \"UTC\"\ncron = \"30 2 * * *\""), Some(26.0));
    // Three hours in which it may begin.
    assert_eq!(hours("zone = \"UTC\"\nwindow = { begin = \"02:00\", latest = \"05:00\" }"), Some(29.0));
    // The day on which clocks go back has 25 hours.
    assert_eq!(hours("zone = \"Europe/Berlin\"\ncron = \"30 5 * * *\""), Some(27.0));
    assert_eq!(hours("zone = \"UTC\"\ncalendar = \"Mon..Fri 02:00\""), Some(74.0));
}
