//! The `STATMSG:` line: a status message as one line of `backup.log`, in the form that monitoring scripts look for.

use super::{Severity, StatusMessage, definition};
use crate::SiteCode;

/// How many insertion values the line has, used or not.
const INSERTS: usize = 10;

/// The line of `message`, raised by process `process` on `host` for `site`:
/// `STATMSG: ID=5035 SEV=I LEV=M SOURCE="SMS Server" COMP="SMS_SITE_BACKUP" SYS=... SITE=P01 PID=... TID=... GMTDATE=...
/// ISTR0="..." ... ISTR9="..." NUMATTRS=0`. The grammar has no escapes, so a `"` in a value becomes `'`, and a control
/// character a space: a value never ends its field or its line.
pub fn statmsg_line(message: &StatusMessage, site: &SiteCode, host: &str, process: u32) -> String {
    let severity = match message.severity {
        Severity::Info => 'I',
        Severity::Warning => 'W',
        Severity::Error => 'E',
    };
    let level = if definition(message.id).is_some_and(|definition| definition.milestone) { 'M' } else { 'D' };
    let component = match message.id.number() {
        6800..=6833 => "SMS_SITE_VSS_WRITER",
        2416 => "SMS_DATABASE_NOTIFICATION_MONITOR",
        _ => "SMS_SITE_BACKUP",
    };
    let date = message.time.strftime("%a %b %d %H:%M:%S%.3f %Y");
    let mut line = format!(
        "STATMSG: ID={} SEV={severity} LEV={level} SOURCE=\"SMS Server\" COMP=\"{component}\" SYS={} SITE={site} \
         PID={process} TID={process} GMTDATE={date}",
        message.id,
        harmless(host).replace(' ', "_"),
    );
    for number in 0..INSERTS {
        let value = message.inserts.get(number).map(|value| harmless(value)).unwrap_or_default();
        line.push_str(&format!(" ISTR{number}=\"{value}\""));
    }
    line.push_str(" NUMATTRS=0");
    line
}

fn harmless(value: &str) -> String {
    value
        .chars()
        .map(|character| match character {
            '"' => '\'',
            control if control.is_control() => ' ',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::id;

    fn line(id: crate::status::MessageId, inserts: &[&str]) -> String {
        let inserts = inserts.iter().map(|insert| (*insert).to_owned()).collect();
        let time = "2026-11-22T02:00:05.332Z".parse().unwrap();
        let message = StatusMessage::new(id, None, inserts, time);
        statmsg_line(&message, &"P01".parse().unwrap(), "web1.example", 4711)
    }

    #[test]
    fn the_line_is_the_one_that_monitoring_scripts_look_for() {
        assert_eq!(
            line(id::BACKUP_COMPLETED, &[]),
            "STATMSG: ID=5035 SEV=I LEV=M SOURCE=\"SMS Server\" COMP=\"SMS_SITE_BACKUP\" SYS=web1.example SITE=P01 \
             PID=4711 TID=4711 GMTDATE=Sun Nov 22 02:00:05.332 2026 ISTR0=\"\" ISTR1=\"\" \
             ISTR2=\"\" ISTR3=\"\" ISTR4=\"\" ISTR5=\"\" ISTR6=\"\" ISTR7=\"\" ISTR8=\"\" ISTR9=\"\" NUMATTRS=0"
        );
        assert!(line(id::SERVICES_ABOUT_TO_STOP, &[]).contains("COMP=\"SMS_SITE_VSS_WRITER\""));
    }

    #[test]
    fn a_value_can_forge_neither_a_field_nor_a_line() {
        let line = line(id::HOOK_OUTPUT, &["a\" ID=5035\nSTATMSG: ID=5035"]);
        assert_eq!(line.lines().count(), 1);
        assert!(line.contains("ISTR0=\"a' ID=5035 STATMSG: ID=5035\""), "{line}");
    }
}
