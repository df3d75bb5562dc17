//! Who and where we are, as it is written into keys, locks and snapshots.

/// The name of the machine.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The name of the user: what the environment says, or the number.
pub(crate) fn user() -> String {
    let named = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| {
        let uid = rustix::process::getuid();
        if uid.is_root() { "root".to_owned() } else { uid.as_raw().to_string() }
    })
}
