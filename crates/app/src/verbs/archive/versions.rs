//! `archive list`: what is in the archives.

use stillpoint_model::Bytes;
use stillpoint_model::site_file::Archive;
use stillpoint_site::SiteError;
use stillpoint_site::archive::{VersionFacts, find_archive, open_archive};

use super::{Answer, Call};
use crate::edge;
use crate::screen::{Style, count};

/// `stillpoint archive list`. An archive that cannot be read does not hide the others; the exit code is that of the first one.
pub fn list(call: &Call<'_>) -> Answer {
    let archives: Vec<&Archive> = match call.name {
        None if !call.site.file.archives.is_empty() => call.site.file.archives.iter().collect(),
        name => vec![find_archive(&call.site, name)?],
    };
    let several = archives.len() > 1;
    let mut failed: Option<SiteError> = None;
    for settings in archives {
        let versions = open_archive(settings, &call.cancel).and_then(|archive| archive.versions());
        match versions {
            Ok(versions) => print(call, settings, &versions),
            Err(error) if several && failed.is_none() => {
                if call.for_people() {
                    println!(
                        "{}",
                        Style::for_stdout().bold(&format!("{} at {}", settings.name, settings.location))
                    );
                }
                failed = Some(error);
            }
            Err(error) if several => edge::print(&error),
            Err(error) => return Err(error),
        }
    }
    failed.map_or(Ok(0), Err)
}

fn print(call: &Call<'_>, settings: &Archive, versions: &[VersionFacts]) {
    if call.common.json {
        for version in versions {
            let mut line = serde_json::json!(version);
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
