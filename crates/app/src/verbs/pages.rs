//! `completions` and `man`: pages made from the command line's own definition.

use clap::CommandFactory;
use stillpoint_model::ErrorKind;
use stillpoint_site::SiteError;

use super::Answer;
use crate::arguments::Arguments;

/// `stillpoint completions`.
pub fn completions(shell: clap_complete::Shell) -> Answer {
    let mut page = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "stillpoint", &mut page);
    print!("{}", String::from_utf8_lossy(&page));
    Ok(0)
}

/// `stillpoint man`.
pub fn man() -> Answer {
    let mut page = Vec::new();
    clap_mangen::Man::new(Arguments::command()).render(&mut page).map_err(|error| {
        SiteError::new(ErrorKind::Bug, "the manual page could not be made").because(error)
    })?;
    print!("{}", String::from_utf8_lossy(&page));
    Ok(0)
}
