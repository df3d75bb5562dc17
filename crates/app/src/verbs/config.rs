//! `config show`, `config check` and `config schema`.

use stillpoint_model::site_file;

use stillpoint_model::ErrorKind;
use stillpoint_site::SiteCheck;

use super::Answer;
use crate::arguments::{Common, ConfigVerb};

/// `stillpoint config`.
pub fn config(common: &Common, verb: &ConfigVerb) -> Answer {
    match verb {
        ConfigVerb::Schema => println!("{}", site_file::schema()),
        ConfigVerb::Show => {
            let site = stillpoint_site::load(&common.config)?;
            if common.json {
                println!("{}", serde_json::json!(site.file));
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
                let count = site.file.components.len();
                println!(
                    "{} is valid: site {}, {count} components.",
                    site.path.display(),
                    site.file.site.code
                );
            }
        }
    }
    Ok(0)
}

/// One object: the site, or each mistake with its place and remedy.
fn check_for_programs(common: &Common) -> Answer {
    match stillpoint_site::check(&common.config)? {
        SiteCheck::Valid(site) => {
            let (code, count) = (&site.file.site.code, site.file.components.len());
            println!(
                "{}",
                serde_json::json!({ "event": "checked", "file": site.path, "valid": true, "site": code, "components": count })
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
