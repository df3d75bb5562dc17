//! What goes into `CD.Latest`: enough to recover on a bare machine, and the page that says how.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use stillpoint_archive::{Place, SetFacts};

use crate::load::LoadedSite;

/// Versions of what took part in the run, by name.
pub(crate) fn tools() -> BTreeMap<String, String> {
    let system = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let distribution = std::fs::read_to_string("/etc/os-release")
        .ok()
        .and_then(|file| file.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=").map(str::to_owned)))
        .map_or_else(|| "unknown".to_owned(), |name| name.trim_matches('"').to_owned());
    BTreeMap::from([
        ("stillpoint".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("kernel".to_owned(), text(system.release())),
        ("machine".to_owned(), text(system.machine())),
        ("host".to_owned(), text(system.nodename())),
        ("distribution".to_owned(), distribution),
    ])
}

/// `RECOVER.md`: the page for the worst day. Everything on it works with what is in the set, and in `databases`: the separate
/// folder with the databases, where there is one.
pub(crate) fn recover_text(site: &LoadedSite, facts: &SetFacts, databases: Option<&Path>) -> String {
    let mut page = String::new();
    let identity = &site.file.site;
    let folder = identity.code.set_folder();
    let part = databases.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "# Recover site {code} ({name})\n\n\
         This folder {is} a backup set of {cut_at} (UTC), epoch {epoch}, run {run}. It is whole: all that is needed to bring the\n\
         site back is in it, and nothing else is needed but a Linux machine of the same kind ({machine}), the server programs\n\
         that the site used, and root.\n\n\
         ## In five steps\n\n\
         1. {copy}\n\
         2. See that it is undamaged: `/root/{folder}/CD.Latest/stillpoint verify /root/{folder}`\n\
         3. See what a recovery would do: `/root/{folder}/CD.Latest/stillpoint recover /root/{folder} --dry-run`\n\
         4. Do it: `/root/{folder}/CD.Latest/stillpoint recover /root/{folder}`. It refuses to replace anything that is there;\n   \
         `--overwrite` allows it. `--component NAME` puts back one component only.\n\
         5. Read what it says at the end: it starts the services and runs the probes of the site file.\n\n",
        code = identity.code,
        name = identity.name,
        is = together(databases),
        cut_at = facts.cut_at,
        epoch = facts.epoch,
        run = facts.run,
        machine = facts.tools.get("machine").map_or("?", String::as_str),
        copy = copy_step(&folder, part.as_deref()),
    );
    page.push_str("## What is in it\n\n| component | type | grade | folder |\n|---|---|---|---|\n");
    for (name, place, description, captured) in &facts.components {
        let top = match (place, &part) {
            (Place::SiteDbServer, Some(part)) => format!("../{part}/"),
            _ => String::new(),
        };
        let folder = place.folder();
        let _ = writeln!(
            page,
            "| {name} | {} | {} | `{top}{folder}/{name}` |",
            description.writer, captured.grade
        );
    }
    page.push_str(&without_stillpoint(part.as_deref()));
    for (tool, version) in &facts.tools {
        let _ = writeln!(page, "- {tool}: {version}");
    }
    page
}

fn together(databases: Option<&Path>) -> String {
    databases.map_or_else(
        || "is".to_owned(),
        |path| format!("and the folder `{}`, which holds its databases, together are", path.display()),
    )
}

fn copy_step(folder: &str, part: Option<&str>) -> String {
    let keep = "Keep names, owners and modes\n   (`cp -a`, `rsync -aHAX`).";
    match part {
        None => {
            format!(
                "Copy this whole folder `{folder}` to the new machine, for example to `/root/{folder}`. {keep}"
            )
        }
        Some(part) => format!(
            "Copy both folders to the new machine, side by side: this one for example to `/root/{folder}`, the one with the\n   \
             databases then to `/root/{part}`. {keep}"
        ),
    }
}

fn without_stillpoint(part: Option<&str>) -> String {
    let databases = part.map_or("<this folder>".to_owned(), |part| format!("<the folder {part}>"));
    let sums = if part.is_some() { "in each of the two folders " } else { "" };
    format!(
        "\n## Without Stillpoint\n\n\
         The files are plain files: `SiteServer/<component>` can be copied back with `cp -a`. Owners, modes and times of every\n\
         entry are also listed in `manifest/<component>.jsonl`. `sha256sum -c SHA256SUMS` {sums}shows damage. A PostgreSQL\n\
         base backup is an ordinary one: copy `{databases}/SiteDBServer/<component>/base` to an empty data folder and each\n\
         `tablespaces/<oid>` beside `base` to where the link in its `pg_tblspc` points, set\n\
         `restore_command = 'cp {databases}/SiteDBServer/<component>/wal/%f %p'`\n\
         and the `recovery_target_name` that `writers/<component>.json` names, create `recovery.signal`, start the server.\n\n\
         ## Versions\n\n"
    )
}
