//! `config show`, `config check` and `config schema`.

use stillpoint_model::site_file;

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
            let site = stillpoint_site::load(&common.config)?;
            if !common.quiet && !common.json {
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
