//! Settings files that lie outside the data folder, as Debian keeps them in `/etc/postgresql`. A base backup does not have
//! them. They are read through the server, which may be on another machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use stillpoint_model::{Context, Deadline, WriterError};

use super::SettingsFile;
use crate::postgres::cluster::{Cluster, cells};
use crate::postgres::session::{Session, literal};

/// Copies the settings files outside the data folder into `config/` of the workspace. One that cannot be read is a problem,
/// not an error: the data are whole without it.
pub fn keep(
    session: &mut Session,
    context: &Context,
    cluster: &Cluster,
    deadline: Deadline,
) -> Result<Vec<SettingsFile>, WriterError> {
    let mut kept = Vec::new();
    for (path, role) in list(session, cluster, deadline)? {
        let act = format!("read {} through the server", path.display());
        let statement =
            format!("SELECT encode(pg_read_binary_file({}), 'hex')", literal(&path.to_string_lossy()));
        let rows = match session.query(&act, &statement, deadline) {
            Ok(rows) => rows,
            Err(WriterError::Service { act, reason }) => {
                context.problem(format!("settings file not kept: {act}: {reason}"));
                continue;
            }
            Err(error) => return Err(error),
        };
        let hex = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
        let Some(bytes) = hex.and_then(|hex| from_hex(&hex)) else { continue };
        let stored = stored_name(&path);
        let target = context.workspace.join("config").join(&stored);
        let io = |act, source| WriterError::Io { act, path: target.clone(), source };
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|source| io("create folder for", source))?;
        }
        fs::write(&target, bytes).map_err(|source| io("write", source))?;
        kept.push(SettingsFile { role, path, stored });
    }
    Ok(kept)
}

/// The files outside the data folder, with the setting that names each.
fn list(
    session: &mut Session,
    cluster: &Cluster,
    deadline: Deadline,
) -> Result<BTreeMap<PathBuf, String>, WriterError> {
    let act = "list the settings files";
    // The view of all files is for superusers, and so is reading them.
    let included = if cluster.superuser {
        "SELECT DISTINCT 'include', sourcefile FROM pg_catalog.pg_file_settings UNION ALL "
    } else {
        ""
    };
    let statement = format!(
        "{included}SELECT name, setting FROM pg_catalog.pg_settings \
         WHERE name IN ('config_file', 'hba_file', 'ident_file')"
    );
    let mut files = BTreeMap::new();
    for row in session.query(act, &statement, deadline)? {
        let [role, path] = cells(row, act)?;
        let (Some(role), Some(path)) = (role, path.map(PathBuf::from)) else { continue };
        let inside = cluster.data.as_ref().is_some_and(|data| path.starts_with(data));
        if !inside && path.is_absolute() {
            // The roles come after the includes and win over them.
            files.insert(path, role);
        }
    }
    Ok(files)
}

/// The path below `config/`: the original one without its root.
fn stored_name(path: &Path) -> String {
    let parts: Vec<_> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy()),
            _ => None,
        })
        .collect();
    parts.join("/")
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_from_hexadecimal_digits() {
        assert_eq!(from_hex("00ff2E").unwrap(), [0, 255, 46]);
        assert!(from_hex("0").is_none() && from_hex("zz").is_none());
    }

    #[test]
    fn a_stored_name_never_leaves_its_folder() {
        assert_eq!(
            stored_name(Path::new("/etc/../postgresql/15/main/pg_hba.conf")),
            "etc/postgresql/15/main/pg_hba.conf"
        );
    }
}
