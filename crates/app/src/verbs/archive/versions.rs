//! `archive list`: what is in the archives.

use stillpoint_model::Bytes;
use stillpoint_model::site_file::Archive;
use stillpoint_site::archive::{VersionFacts, open_archive};

use super::{Answer, Call, first_error};
use crate::screen::{Style, count};

/// `stillpoint archive list`. An archive that cannot be read does not hide the others; the exit code is that of the first one.
pub fn list(call: &Call<'_>) -> Answer {
    let archives = call.archives()?;
    let several = archives.len() > 1;
    first_error(archives.into_iter().map(|settings| {
        let versions = open_archive(settings, &call.cancel).and_then(|archive| archive.versions());
        if versions.is_err() && several && call.for_people() {
            println!("{}", Style::for_stdout().bold(&format!("{} at {}", settings.name, settings.location)));
        }
        print(call, settings, &versions?);
        Ok(())
    }))
}

fn print(call: &Call<'_>, settings: &Archive, versions: &[VersionFacts]) {
    if call.common.json {
        for version in versions {
            let mut line = serde_json::json!(version);
            line["event"] = "version".into();
            line["archive"] = serde_json::json!(settings.name);
            println!("{line}");
        }
        return;
    }
    let style = Style::for_stdout();
    if !call.common.quiet {
        let many = count(versions.len() as u64, "version");
        println!("{}: {many}", style.bold(&format!("{} at {}", settings.name, settings.location)));
    }
    for version in versions {
        println!("  {}", line(style, version));
    }
}

/// One version on one line.
fn line(style: Style, version: &VersionFacts) -> String {
    let epoch = version.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
    let outcome = match (version.ours, version.complete) {
        (true, true) => style.green("complete  "),
        (true, false) => style.yellow("incomplete"),
        (false, _) => "foreign   ".to_owned(),
    };
    let size = match (version.files, version.bytes) {
        (Some(files), Some(bytes)) => format!("  {}, {}", count(files, "file"), Bytes(bytes)),
        _ => String::new(),
    };
    let held = if version.held { style.bold("  on hold") } else { String::new() };
    let time = version.time.strftime("%Y-%m-%d %H:%M:%S UTC");
    let site = stillpoint_model::plain::one_line(&version.site);
    format!("{}  {site}  epoch {epoch:<5} {time}  {outcome}{size}{held}", style.bold(&version.id.short()))
}
