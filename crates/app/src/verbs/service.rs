//! `serve` and `launcher`.

use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use stillpoint_model::ErrorKind;
use stillpoint_server::launcher::{Reach, Tools, listen};
use stillpoint_server::{Announcement, ServeOptions};
use stillpoint_site::SiteError;

use super::{Answer, own_program, state_root};
use crate::arguments::Common;
use crate::service_arguments::{LauncherArguments, ServeArguments};

/// `stillpoint serve`.
pub fn serve(common: &Common, own: &ServeArguments) -> Answer {
    let options = ServeOptions {
        config: std::path::absolute(&common.config).unwrap_or_else(|_| common.config.clone()),
        state_root: state_root(common)?,
        program: own_program()?,
        launcher: own.launcher.clone(),
    };
    stillpoint_server::serve(&options, &|told| announce(common, told))?;
    Ok(0)
}

fn announce(common: &Common, told: &Announcement) {
    if common.json {
        let object = serde_json::json!({
            "event": "serving", "url": told.url, "link": told.link, "fingerprint": told.fingerprint,
        });
        println!("{object}");
        return;
    }
    if common.quiet {
        return;
    }
    println!("The console is at {}", told.url);
    if let Some(fingerprint) = &told.fingerprint {
        println!("Its certificate has the SHA-256 fingerprint {fingerprint}");
    }
    if let Some(link) = &told.link {
        println!(
            "Nobody can sign in yet. This link makes the first administrator; it works once, for 24 hours:\n{link}"
        );
    }
}

/// `stillpoint launcher`.
pub fn launcher(common: &Common, own: &LauncherArguments) -> Answer {
    let site = stillpoint_site::load(&common.config)?;
    let user = user_id(&own.user)?;
    let tools = Tools {
        program: own_program()?,
        config: site.path.clone(),
        state_root: state_root(common)?,
        site: site.file.site.code.clone(),
    };
    let listener = match &own.socket {
        Some(path) => bind(path)?,
        None => passed_by_systemd()?,
    };
    let broken =
        |error| SiteError::new(ErrorKind::Environment, "the launcher's socket failed").because(error);
    listener.set_nonblocking(true).map_err(broken)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
    runtime.block_on(async {
        let listener = tokio::net::UnixListener::from_std(listener).map_err(broken)?;
        let reach = Reach { users: vec![user] };
        listen(listener, Arc::new(tools), reach).await.map_err(broken)
    })?;
    Ok(0)
}

/// The number of a user of this machine.
fn user_id(user: &str) -> Result<u32, SiteError> {
    if let Ok(number) = user.parse() {
        return Ok(number);
    }
    let passwords = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = passwords.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(user)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    found.ok_or_else(|| {
        SiteError::new(ErrorKind::Usage, format!("there is no user {user} in /etc/passwd"))
            .hint("name the user of the service, by name or by number, with --user")
    })
}

fn passed_by_systemd() -> Result<std::os::unix::net::UnixListener, SiteError> {
    let none = || {
        SiteError::new(ErrorKind::Usage, "systemd passed no socket")
            .hint("start stillpoint-launcher.socket, or name a socket with --socket")
    };
    let number = sd_notify::listen_fds().ok().and_then(|mut passed| passed.next()).ok_or_else(none)?;
    // SAFETY: systemd opened this descriptor for us and says so (LISTEN_PID, LISTEN_FDS); nothing else in this process owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    Ok(socket.into())
}

/// A socket at `path`, in the place of one that a dead launcher left.
fn bind(path: &Path) -> Result<std::os::unix::net::UnixListener, SiteError> {
    let left = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let answers = left && std::os::unix::net::UnixStream::connect(path).is_ok();
    if left && !answers {
        let _ = std::fs::remove_file(path);
    }
    let failed = |error: std::io::Error| {
        SiteError::new(ErrorKind::Environment, format!("cannot listen on {}", path.display()))
            .hint(if answers {
                "another launcher answers there"
            } else {
                "name a path in a folder that is there"
            })
            .because(error)
    };
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}
