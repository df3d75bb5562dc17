//! `archive init`.

use stillpoint_model::site_file::{Archive, SecretSource};
use stillpoint_site::archive::{OpenArchive, find_archive, make_archive, open_archive};

use super::{Answer, Call};
use crate::screen::Style;

/// `stillpoint archive init`.
pub fn init(call: &Call<'_>) -> Answer {
    let settings = find_archive(&call.site, call.name)?;
    let like = other_of_site(call, settings);
    let made = make_archive(settings, &call.site.file.site.code, like.as_ref(), &call.cancel)?;
    if call.common.json {
        let object = serde_json::json!({
            "event": "archive-made", "archive": settings.name, "location": settings.location,
            "repository": made.archive.repository.id(), "key_file": made.key_file,
        });
        println!("{object}");
        return Ok(0);
    }
    if !call.for_people() {
        return Ok(0);
    }
    let style = Style::for_stdout();
    println!(
        "{} {} at {}",
        style.green("Made archive"),
        style.bold(settings.name.as_str()),
        settings.location
    );
    if let Some(file) = &made.key_file {
        println!("Its key is in {}, made just now.", file.display());
    }
    println!(
        "{}",
        style.yellow(
            "Without a key nobody can read the archive, and no one can help. It is needed when this machine is gone:\n\
             make a recovery key with `stillpoint archive recovery-key` and keep it on paper in a safe."
        )
    );
    Ok(0)
}

/// Another archive of the site that is there already. The new one cuts content as it does.
fn other_of_site(call: &Call<'_>, settings: &Archive) -> Option<OpenArchive> {
    // An archive without its key file was not made yet.
    let made = |other: &&Archive| match &other.key {
        SecretSource::File(path) => path.exists(),
        _ => true,
    };
    let others = call.site.file.archives.iter().filter(|other| other.name != settings.name);
    for other in others.filter(made) {
        match open_archive(other, &call.cancel) {
            Ok(archive) => return Some(archive),
            Err(error) => call.silent_watcher(settings).note(&format!(
                "it cuts content in its own way, because archive {} cannot be opened: {error}. What is copied between \
                 the two takes room twice",
                other.name
            )),
        }
    }
    None
}
