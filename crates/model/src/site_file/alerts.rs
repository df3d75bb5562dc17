//! The table `[alerts]`: what is told, and when.

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
    /// The destination is filling up.
    DestinationFilling,
    /// The last set is not in an archive.
    ArchiveBehind,
    /// What is stored was found damaged, or could not be read.
    VerifyFailed,
    /// What is stored was not verified for too long.
    VerifyOverdue,
    /// A rehearsed recovery failed.
    DrillFailed,
    /// There was no rehearsed recovery for too long.
    DrillOverdue,
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
