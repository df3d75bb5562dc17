//! `archive init`.

use stillpoint_site::archive::{find_archive, make_archive};

use super::{Answer, Call};
use crate::screen::Style;

/// `stillpoint archive init`.
pub fn init(call: &Call<'_>) -> Answer {
    let settings = find_archive(&call.site, call.name)?;
    let made = make_archive(settings, &call.site.file.site.code, &call.cancel)?;
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
