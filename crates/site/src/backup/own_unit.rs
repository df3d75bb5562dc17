//! Whether the guard would outlive us in the systemd unit that runs us, if one does.
//!
//! With `KillMode=mixed` systemd kills what is left of a unit in the moment in which its main process ends. The guard is
//! what is left: the site would stay still. With the default (`control-group`) it gets SIGTERM, which it does not heed, and
//! has `TimeoutStopSec` to do its work; with `process` and `none` it is left alone.

use std::time::Duration;

use stillpoint_model::{Deadline, ErrorKind};
use stillpoint_writers::services::{Systemctl, own_unit};

use crate::error::SiteError;

/// How long systemd may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Refuses a unit in which the guard would die with us. One that systemd tells nothing of is not refused.
pub(super) fn check() -> Result<(), SiteError> {
    let Some(unit) = own_unit() else { return Ok(()) };
    let mode = Systemctl::default().kill_mode(&unit, Deadline::after(ANSWER_LIMIT));
    if mode.ok().as_deref() != Some("mixed") {
        return Ok(());
    }
    let text = format!(
        "{unit} runs this backup with KillMode=mixed: when the backup is killed, systemd kills the guard at once, and \
         the site would stand still"
    );
    Err(SiteError::new(ErrorKind::Environment, text)
        .hint(format!("set KillMode=process in {unit}: `systemctl edit {unit}`")))
}
