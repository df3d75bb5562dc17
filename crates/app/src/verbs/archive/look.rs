//! `archive ls`, `find`, `diff` and `dump`: looking into versions.

use std::io::Write;
use std::path::Path;

use stillpoint_model::{Bytes, ErrorKind, plain};
use stillpoint_repository::{Difference, Node, NodeKind, Standing};
use stillpoint_site::SiteError;

use super::{Answer, Call};
use crate::archive_arguments::{DiffArguments, DumpArguments, FindArguments, LsArguments};
use crate::screen::{Style, count};

/// `stillpoint archive ls`.
pub fn ls(call: &Call<'_>, own: &LsArguments) -> Answer {
    let archive = call.open()?;
    let version = archive.open_version(call.site_code(), &own.id, &call.watcher(&archive.settings))?;
    let place = version.place(own.whereabouts.component.as_ref(), own.path.as_deref())?;
    if own.flat {
        for (path, node) in version.children(&place)? {
            print_entry(call, own.long, path.as_path(), &node);
        }
        version.close();
        return Ok(0);
    }
    let mut unreadable = Vec::new();
    for entry in version.entries(&place)? {
        match entry {
            Ok((path, node)) => print_entry(call, own.long, path.as_path(), &node),
            Err(folder) => unreadable.push((folder.path.as_path().to_owned(), folder.error.text)),
        }
    }
    version.close();
    damaged(unreadable)
}

/// The answer when folders could not be read.
fn damaged(unreadable: Vec<(std::path::PathBuf, String)>) -> Answer {
    let Some((path, why)) = unreadable.first() else { return Ok(0) };
    let many = count(unreadable.len() as u64, "folder");
    let text = format!("{many} could not be read, the first is {}: {why}", path.display());
    Err(SiteError::new(ErrorKind::Damaged, text)
        .hint("`stillpoint archive verify` tells all that is damaged"))
}

fn print_entry(call: &Call<'_>, long: bool, path: &Path, node: &Node) {
    if call.common.json {
        println!("{}", entry_object("entry", path, node));
        return;
    }
    let name = plain::one_line(&path.to_string_lossy());
    let mark = if node.kind == NodeKind::Dir { "/" } else { "" };
    if !long {
        println!("{name}{mark}");
        return;
    }
    let time = node.mtime.timestamp().strftime("%Y-%m-%d %H:%M:%S");
    let target = match node.kind {
        NodeKind::Symlink => format!(" -> {}", plain::one_line(&String::from_utf8_lossy(node.link_target()))),
        _ => String::new(),
    };
    println!(
        "{}{} {:>6} {:>6} {:>12} {time} {name}{mark}{target}",
        letter(node.kind),
        rights(node.permissions()),
        node.uid,
        node.gid,
        node.size,
    );
}

fn entry_object(event: &str, path: &Path, node: &Node) -> serde_json::Value {
    let mut object = serde_json::json!({
        "event": event, "path": path.to_string_lossy(), "kind": node.kind, "mode": format!("{:04o}", node.permissions()),
        "uid": node.uid, "gid": node.gid, "size": node.size, "mtime": node.mtime,
    });
    if node.kind == NodeKind::Symlink {
        object["target"] = String::from_utf8_lossy(node.link_target()).into();
    }
    object
}

fn letter(kind: NodeKind) -> char {
    match kind {
        NodeKind::File => '-',
        NodeKind::Dir => 'd',
        NodeKind::Symlink => 'l',
        NodeKind::Dev => 'b',
        NodeKind::CharDev => 'c',
        NodeKind::Fifo => 'p',
        NodeKind::Socket => 's',
        NodeKind::Irregular => '?',
    }
}

/// `rwxr-x---`, with `s` and `t` as `ls` shows them.
fn rights(mode: u32) -> String {
    let bit = |bit: u32, letter: char| if mode & bit != 0 { letter } else { '-' };
    let execute = |bit: u32, special: u32, letter: char| match (mode & bit != 0, mode & special != 0) {
        (true, true) => letter,
        (false, true) => letter.to_ascii_uppercase(),
        (true, false) => 'x',
        (false, false) => '-',
    };
    [
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        execute(0o100, 0o4000, 's'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        execute(0o010, 0o2000, 's'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        execute(0o001, 0o1000, 't'),
    ]
    .iter()
    .collect()
}

/// `stillpoint archive find`.
pub fn find(call: &Call<'_>, own: &FindArguments) -> Answer {
    let archive = call.open()?;
    let style = Style::for_stdout();
    let component = own.whereabouts.component.as_ref();
    let mut shown = 0_u64;
    let unreadable = archive.find_in_versions(
        call.site_code(),
        component,
        &own.patterns,
        &call.watcher(&archive.settings),
        &mut |version, found| {
            if found.standing == Standing::Same && !own.all {
                return;
            }
            shown += 1;
            let standing = match found.standing {
                Standing::New => "new",
                Standing::Changed => "changed",
                Standing::Same => "same",
            };
            let path = found.path.as_path();
            if call.common.json {
                let mut object = entry_object("found", path, found.node);
                object["version"] = serde_json::json!(version.id);
                object["time"] = serde_json::json!(version.time);
                object["standing"] = standing.into();
                println!("{object}");
                return;
            }
            let time = version.time.strftime("%Y-%m-%d %H:%M:%S UTC");
            let name = plain::one_line(&path.to_string_lossy());
            let size = if found.node.kind == NodeKind::File {
                Bytes(found.node.size).to_string()
            } else {
                String::new()
            };
            println!("{}  {time}  {standing:<7}  {size:>10}  {name}", style.bold(&version.id.short()));
        },
    )?;
    if shown == 0 && call.for_people() {
        println!("No version has it.");
    }
    damaged(
        unreadable.into_iter().map(|folder| (folder.path.as_path().to_owned(), folder.error.text)).collect(),
    )
}

/// `stillpoint archive diff`.
pub fn diff(call: &Call<'_>, own: &DiffArguments) -> Answer {
    let archive = call.open()?;
    let watcher = call.watcher(&archive.settings);
    let before = archive.open_version(call.site_code(), &own.before, &watcher)?;
    let after = archive.open_version(call.site_code(), &own.after, &watcher)?;
    let style = Style::for_stdout();
    let mut unreadable = Vec::new();
    for change in before.diff(&after, own.whereabouts.component.as_ref())? {
        let change = match change {
            Ok(change) => change,
            Err(folder) => {
                unreadable.push((folder.path.as_path().to_owned(), folder.error.text));
                continue;
            }
        };
        let path = change.path.as_path();
        let (mark, word) = match change.difference {
            Difference::Added => (style.green("+"), "added"),
            Difference::Removed => (style.red("-"), "removed"),
            Difference::Kind => (style.yellow("T"), "kind"),
            Difference::Content => (style.yellow("M"), "content"),
            Difference::Metadata => (style.dim("m"), "metadata"),
        };
        if call.common.json {
            let size = |node: Option<&Node>| node.map(|node| node.size);
            let object = serde_json::json!({
                "event": "difference", "path": path.to_string_lossy(), "difference": word,
                "size_before": size(change.before.as_ref()), "size_after": size(change.after.as_ref()),
            });
            println!("{object}");
        } else {
            println!("{mark} {}", plain::one_line(&path.to_string_lossy()));
        }
    }
    before.close();
    after.close();
    damaged(unreadable)
}

/// `stillpoint archive dump`.
pub fn dump(call: &Call<'_>, own: &DumpArguments) -> Answer {
    let archive = call.open()?;
    // Standard output is the content, and nothing else.
    let version = archive.open_version(call.site_code(), &own.id, &call.silent_watcher(&archive.settings))?;
    let mut out = std::io::stdout().lock();
    version.dump(own.whereabouts.component.as_ref(), own.path.as_deref(), &mut out)?;
    out.flush().map_err(|error| {
        SiteError::new(ErrorKind::Environment, "the content could not be written out").because(error)
    })?;
    version.close();
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_look_as_ls_shows_them() {
        for (mode, shown) in [
            (0o644, "rw-r--r--"),
            (0o4755, "rwsr-xr-x"),
            (0o2640, "rw-r-S---"),
            (0o1777, "rwxrwxrwt"),
            (0, "---------"),
        ] {
            assert_eq!(rights(mode), shown);
        }
    }
}
