//! `archive`: the archives of a site, one file a group of verbs.

mod keys;
mod make;
mod versions;

use stillpoint_model::Cancel;
use stillpoint_site::archive::{OpenArchive, find_archive, open_archive};

use super::{Answer, cancel_on_signal};
use crate::archive_arguments::{ArchiveArguments, ArchiveVerb};
use crate::arguments::Common;

/// `stillpoint archive`.
pub fn archive(common: &Common, own: &ArchiveArguments) -> Answer {
    let site = stillpoint_site::load(&common.config)?;
    let call = Call {
        common,
        site,
        name: own.archive.as_ref().map(|name| name.as_str()),
        cancel: cancel_on_signal(),
    };
    match &own.verb {
        ArchiveVerb::Init => make::init(&call),
        ArchiveVerb::List => versions::list(&call),
        ArchiveVerb::Key(verb) => keys::key(&call, verb),
        ArchiveVerb::RecoveryKey(own) => keys::recovery_key(&call, own),
    }
}

/// What every verb of `archive` is given.
struct Call<'a> {
    common: &'a Common,
    site: stillpoint_site::LoadedSite,
    name: Option<&'a str>,
    cancel: Cancel,
}

impl Call<'_> {
    /// The one archive that is meant, open.
    fn open(&self) -> Result<OpenArchive, stillpoint_site::SiteError> {
        open_archive(find_archive(&self.site, self.name)?, &self.cancel)
    }

    /// Whether a person reads the answer.
    fn for_people(&self) -> bool {
        !self.common.json && !self.common.quiet
    }
}
