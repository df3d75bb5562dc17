//! The table `[alerts]`: what is told, and when.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Wait;
use super::choice::Choices;
use super::leaf::Percent;
use super::mistake::Findings;
use super::parse::Placed;
use super::reader::TableReader;

/// When a condition becomes an alert, and how often it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlertSettings {
    /// How long there may be no successful backup. Without it, two hours more than the longest time that the schedule allows; without a
    /// schedule, any time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_success_for: Option<Wait>,
    /// How often an alert that is active is told again.
    pub remind_every: Wait,
    /// The destination is filling up when less than this share of it is free, in percent.
    #[schemars(range(max = 99))]
    pub destination_free_percent: u8,
    /// In what time the stored data must have been verified once.
    pub verify_within: Wait,
    /// The kinds that are never told.
    pub disabled: Vec<AlertKind>,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            no_success_for: None,
            remind_every: Wait::days(1),
            destination_free_percent: 10,
            verify_within: Wait::days(35),
            disabled: Vec::new(),
        }
    }
}

/// The kinds of alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AlertKind {
    /// The last run failed.
    RunFailed,
    /// The last run ended incomplete.
    RunIncomplete,
    /// There was no successful backup for too long.
    NoSuccess,
    /// The last backup is nearly as old as the change retention, or older.
    ChangeRetention,
    /// The schedule allows more time between two backups than the change retention.
    ScheduleTooSparse,
    /// The destination is filling up.
    DestinationFilling,
    /// The last set is not in an archive.
    ArchiveBehind,
    /// What is stored was found damaged, or could not be read.
    VerifyFailed,
    /// What is stored was not verified for too long.
    VerifyOverdue,
    /// The hook failed.
    HookFailed,
    /// The site was left frozen by a run that died.
    SiteFrozen,
    /// What a dead run left was found and healed.
    SiteReconciled,
    /// The site file has mistakes; the last good one is in use.
    SiteFile,
    /// The clock of the machine jumped.
    ClockJumped,
    /// A channel does not take alerts.
    ChannelFailed,
}

impl AlertKind {
    /// All of them.
    pub const ALL: [AlertKind; 15] = [
        AlertKind::RunFailed,
        AlertKind::RunIncomplete,
        AlertKind::NoSuccess,
        AlertKind::ChangeRetention,
        AlertKind::ScheduleTooSparse,
        AlertKind::DestinationFilling,
        AlertKind::ArchiveBehind,
        AlertKind::VerifyFailed,
        AlertKind::VerifyOverdue,
        AlertKind::HookFailed,
        AlertKind::SiteFrozen,
        AlertKind::SiteReconciled,
        AlertKind::SiteFile,
        AlertKind::ClockJumped,
        AlertKind::ChannelFailed,
    ];

    /// Its word in the site file.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertKind::RunFailed => "run-failed",
            AlertKind::RunIncomplete => "run-incomplete",
            AlertKind::NoSuccess => "no-success",
            AlertKind::ChangeRetention => "change-retention",
            AlertKind::ScheduleTooSparse => "schedule-too-sparse",
            AlertKind::DestinationFilling => "destination-filling",
            AlertKind::ArchiveBehind => "archive-behind",
            AlertKind::VerifyFailed => "verify-failed",
            AlertKind::VerifyOverdue => "verify-overdue",
            AlertKind::HookFailed => "hook-failed",
            AlertKind::SiteFrozen => "site-frozen",
            AlertKind::SiteReconciled => "site-reconciled",
            AlertKind::SiteFile => "site-file",
            AlertKind::ClockJumped => "clock-jumped",
            AlertKind::ChannelFailed => "channel-failed",
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How bad an alert is.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum AlertSeverity {
    /// To be known.
    Info,
    /// To be looked at soon.
    #[default]
    Warning,
    /// The site is not safe.
    Critical,
}

impl AlertSeverity {
    /// All of them, the least first.
    pub const ALL: [AlertSeverity; 3] =
        [AlertSeverity::Info, AlertSeverity::Warning, AlertSeverity::Critical];

    /// Its word in the site file.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertSeverity::Info => "info",
            AlertSeverity::Warning => "warning",
            AlertSeverity::Critical => "critical",
        }
    }
}

impl fmt::Display for AlertSeverity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Reads `[alerts]`.
pub(super) fn read_alerts(mut table: TableReader<'_>, findings: &mut Findings) -> Placed<AlertSettings> {
    let default = AlertSettings::default();
    let alerts = AlertSettings {
        no_success_for: table.optional("no_success_for", findings),
        remind_every: table.optional("remind_every", findings).unwrap_or(default.remind_every),
        destination_free_percent: table
            .optional("destination_free_percent", findings)
            .map_or(default.destination_free_percent, |Percent(percent)| percent),
        verify_within: table.optional("verify_within", findings).unwrap_or(default.verify_within),
        disabled: table.optional("disabled", findings).map_or(default.disabled, |Choices(kinds)| kinds),
    };
    (alerts, table.finish(findings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_severity_is_called_as_in_the_site_file() {
        let written = |word: serde_json::Value| word.as_str().unwrap_or_default().to_owned();
        for kind in AlertKind::ALL {
            assert_eq!(written(serde_json::json!(kind)), kind.as_str());
        }
        for severity in AlertSeverity::ALL {
            assert_eq!(written(serde_json::json!(severity)), severity.as_str());
        }
    }
}
