//! Cron expressions: what they mean, and what is refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use stillpoint_schedule::{Cron, Missed};
use support::{at, schedule};

#[test]
fn a_cron_expression_has_the_times_that_it_always_had() {
    for (cron, wanted) in [
        ("30 2 * * *", &["2026-11-26T02:30:00Z", "2026-11-27T02:30:00Z"] as &[&str]),
        ("0 3 * * 1-5", &["2026-11-26T03:00:00Z", "2026-11-27T03:00:00Z", "2026-11-30T03:00:00Z"]),
        // Sunday is 0 and 7.
        ("0 3 * * 7", &["2026-11-29T03:00:00Z", "2026-12-06T03:00:00Z"]),
        ("0 3 * * SUN", &["2026-11-29T03:00:00Z"]),
        // Either kind of day will do.
        ("0 3 1 * MON", &["2026-11-30T03:00:00Z", "2026-12-01T03:00:00Z", "2026-12-07T03:00:00Z"]),
        (
            "0 3 L * *",
            &["2026-11-30T03:00:00Z", "2026-12-31T03:00:00Z", "2027-01-31T03:00:00Z", "2027-02-28T03:00:00Z"],
        ),
        ("0 3 * * 6#1", &["2026-12-05T03:00:00Z", "2027-01-02T03:00:00Z"]),
        ("0 3 29 2 *", &["2028-02-29T03:00:00Z", "2032-02-29T03:00:00Z"]),
        (
            "*/20 23 * * *",
            &["2026-11-25T23:00:00Z", "2026-11-25T23:20:00Z", "2026-11-25T23:40:00Z", "2026-11-26T23:00:00Z"],
        ),
        ("@daily", &["2026-11-26T00:00:00Z"]),
        ("@weekly", &["2026-11-29T00:00:00Z"]),
    ] {
        let schedule = schedule("UTC", &format!("cron {cron}"), Missed::CatchUp);
        let mut now = at("2026-11-25T09:00:00Z");
        for wanted in wanted {
            now = schedule.next(now).unwrap().begin;
            assert_eq!(now, at(wanted), "{cron}");
        }
    }
}

#[test]
fn what_is_no_cron_expression_is_answered_with_what_it_is_and_how_to_mend_it() {
    for (cron, wanted) in [
        ("", "has 0 fields"),
        ("30 2 * *", "has 4 fields"),
        ("0 30 2 * * *", "has 6 fields"),
        ("60 2 * * *", "is not a cron expression"),
        ("0 24 * * *", "is not a cron expression"),
        ("0 3 32 * *", "is not a cron expression"),
        ("0 3 * 13 *", "is not a cron expression"),
        ("0 3 * * 8", "is not a cron expression"),
        ("a b c d e", "is not a cron expression"),
        ("@reboot", "is not a cron expression"),
        ("02:30", "write it as calendar = \"...\""),
        ("0 3 31 2 *", "a day that never comes"),
        ("0 3 30 2 *", "a day that never comes"),
        ("0 3 31 4,6,9,11 *", "a day that never comes"),
    ] {
        let error = cron.parse::<Cron>().expect_err(cron);
        assert!(error.to_string().contains(wanted), "{cron}: {error}");
        assert!(!error.remedy.is_empty());
    }
}
