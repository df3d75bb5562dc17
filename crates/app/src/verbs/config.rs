//! `config show`, `config check` and `config schema`.

use stillpoint_model::site_file;

use stillpoint_model::ErrorKind;
use stillpoint_site::{LoadedSite, SiteCheck};

use super::Answer;
use crate::arguments::{Common, ConfigVerb};
use crate::screen::count;

/// `stillpoint config`.
pub fn config(common: &Common, verb: &ConfigVerb) -> Answer {
    match verb {
        ConfigVerb::Schema => println!("{}", site_file::schema()),
        ConfigVerb::Show => {
            let site = stillpoint_site::load(&common.config)?;
            if common.json {
                println!("{}", effective_for_programs(&site));
            } else {
                print!("{}", site_file::effective(&site.file));
            }
        }
        ConfigVerb::Check => {
            if common.json {
                return check_for_programs(common);
            }
            let site = stillpoint_site::load(&common.config)?;
            if !common.quiet {
                let count = count(site.file.components.len() as u64, "component");
                println!("{} is valid: site {}, {count}.", site.path.display(), site.file.site.code);
                for advice in site.file.advice(jiff::Timestamp::now()) {
                    println!("note: {advice}.");
                }
            }
        }
    }
    Ok(0)
}

/// The settings, with what is in effect without being a value of the file.
fn effective_for_programs(site: &LoadedSite) -> serde_json::Value {
    let mut shown = serde_json::json!(site.file);
    for (index, component) in site.file.components.iter().enumerate() {
        if component.level.is_none() {
            shown["component"][index]["usual_level"] = serde_json::json!(component.kind.usual_level());
        }
    }
    if site.file.hook.program.is_none() {
        shown["hook"]["usual_program"] =
            serde_json::json!(site.path.with_file_name(site_file::Hook::DEFAULT_NAME));
    }
    shown
}

/// One object: the site, or each mistake with its place and remedy.
fn check_for_programs(common: &Common) -> Answer {
    match stillpoint_site::check(&common.config)? {
        SiteCheck::Valid(site) => {
            let (code, count) = (&site.file.site.code, site.file.components.len());
            let advice = site.file.advice(jiff::Timestamp::now());
            println!(
                "{}",
                serde_json::json!({
                    "event": "checked", "file": site.path, "valid": true, "site": code, "components": count, "advice": advice
                })
            );
            Ok(0)
        }
        SiteCheck::Wrong { path, mistakes, .. } => {
            println!(
                "{}",
                serde_json::json!({ "event": "checked", "file": path, "valid": false, "mistakes": mistakes })
            );
            Ok(ErrorKind::Config.exit_code())
        }
    }
}
