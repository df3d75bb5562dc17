//! `archive key` and `archive recovery-key`.

use std::io::Read;

use stillpoint_model::ErrorKind;
use stillpoint_repository::KeyFacts;
use stillpoint_site::SiteError;
use stillpoint_site::archive::{OpenArchive, RecoveryKey};

use super::{Answer, Call};
use crate::archive_arguments::{KeyVerb, RecoveryKeyArguments};
use crate::qr;
use crate::screen::Style;

/// `stillpoint archive key`.
pub fn key(call: &Call<'_>, verb: &KeyVerb) -> Answer {
    let archive = call.open()?;
    match verb {
        KeyVerb::Add { file, label } => {
            let file = std::path::absolute(file).map_err(|error| {
                SiteError::new(ErrorKind::Usage, format!("{} is not a path", file.display())).because(error)
            })?;
            let label = label.clone().unwrap_or_else(|| format!("key in {}", file.display()));
            let added = archive.add_key_file(&file, &label)?;
            if call.common.json {
                let object = serde_json::json!({ "event": "key-added", "key": added.id, "made": added.made });
                println!("{object}");
            } else if call.for_people() {
                let how = if added.made.is_some() { ", which was made just now," } else { "" };
                println!(
                    "Added the key {}: what is in {}{how} opens the archive.",
                    added.id.short(),
                    file.display()
                );
            }
        }
        KeyVerb::List => {
            for key in archive.keys()? {
                print_key(call, &key);
            }
        }
        KeyVerb::Remove { key } => {
            let removed = archive.remove_key(key)?;
            if call.common.json {
                println!("{}", serde_json::json!({ "event": "key-removed", "key": removed }));
            } else if call.for_people() {
                println!("Removed the key {} ({}).", removed.id.short(), removed.hostname);
                println!(
                    "Whoever had it may have read the archive, and may have kept what opens copies of it."
                );
            }
        }
    }
    Ok(0)
}

fn print_key(call: &Call<'_>, key: &KeyFacts) {
    if call.common.json {
        let mut object = serde_json::json!(key);
        object["event"] = "key".into();
        println!("{object}");
        return;
    }
    let mark = if key.current { "*" } else { " " };
    let time = key.created.timestamp().strftime("%Y-%m-%d %H:%M:%S UTC");
    let (user, label) =
        (stillpoint_model::plain::one_line(&key.username), stillpoint_model::plain::one_line(&key.hostname));
    println!("{mark} {}  {time}  {user}  {label}", Style::for_stdout().bold(&key.id.short()));
}

/// `stillpoint archive recovery-key`.
pub fn recovery_key(call: &Call<'_>, own: &RecoveryKeyArguments) -> Answer {
    if own.check {
        return check(call);
    }
    let archive = call.open()?;
    let (id, key) = archive.add_recovery_key()?;
    let code = qr::half_blocks(key.text()).unwrap_or_default();
    if call.common.json {
        let object = serde_json::json!({
            "event": "recovery-key", "archive": archive.settings.name, "location": archive.settings.location,
            "repository": archive.repository.id(), "key": id, "password": key.text(),
            "lines": key.lines().collect::<Vec<_>>(), "qr": code,
        });
        println!("{object}");
        return Ok(0);
    }
    // Also with --quiet: it is what was asked for, and it is nowhere else.
    print_page(call, &archive, &key, id.short());
    if !own.no_qr {
        let on_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
        // Paper is light; most terminals are dark.
        let shown = if on_terminal { qr::inverted(&code) } else { code };
        println!("\n{}", shown.join("\n"));
    }
    Ok(0)
}

fn print_page(call: &Call<'_>, archive: &OpenArchive, key: &RecoveryKey, id: String) {
    let site = &call.site.file.site;
    let style = Style::for_stdout();
    println!("{}", style.bold("RECOVERY KEY OF AN ARCHIVE"));
    println!("  site      {} ({})", site.code, site.name);
    println!("  archive   {} at {}", archive.settings.name, archive.settings.location);
    println!("  made      {}", jiff::Timestamp::now().strftime("%Y-%m-%d"));
    println!("  key       {id}, in repository {}\n", archive.repository.id().short());
    for (number, line) in key.lines().enumerate() {
        println!("      {}   {}", number + 1, style.bold(&line));
    }
    println!(
        "\nWho has this page can read everything in the archive. Keep it in a safe, away from the machine.\n\
         There is no i, l, o or u in it; 0 and 1 are digits. The last two characters of each line are a checksum.\n\
         Check what is on paper with: stillpoint archive recovery-key --check\n\n\
         With Stillpoint: write the lines into the file that the site file names as key.\n\
         With restic 0.14 or later, and nothing else: write all 40 characters, in small letters and without spaces,\n\
         as one line into a file. The QR code holds that line.\n\n\
         restic -r {} --password-file FILE snapshots\n\
         restic -r {} --password-file FILE restore latest --target FOLDER",
        archive.settings.location, archive.settings.location,
    );
}

fn check(call: &Call<'_>) -> Answer {
    let archive = stillpoint_site::archive::find_archive(&call.site, call.name)?;
    if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        eprintln!("Type the four lines, then Ctrl-D:");
    }
    let mut typed = String::new();
    let read = std::io::stdin().lock().take(4096).read_to_string(&mut typed);
    read.map_err(|error| {
        SiteError::new(ErrorKind::Usage, "what was typed cannot be read as text").because(error)
    })?;
    let key = stillpoint_site::archive::try_recovery_key(archive, &typed)?;
    if call.common.json {
        println!(
            "{}",
            serde_json::json!({ "event": "recovery-key-checked", "archive": archive.name, "key": key })
        );
    } else if call.for_people() {
        let good = Style::for_stdout().green("It opens the archive.");
        println!("{good} It is the key {} ({}).", key.id.short(), key.hostname);
    }
    Ok(0)
}
