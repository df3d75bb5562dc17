//! Where everything lies: the names in a set, and the names beside it while it is built and swapped in.
//! `docs/format.md` is normative; nothing outside this crate joins these names.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stillpoint_model::site_file::Destination;
use stillpoint_model::{ComponentName, ErrorKind, RunId, SiteCode};

use crate::ArchiveError;

/// The manifest; written last.
pub(crate) const MANIFEST: &str = "manifest.json";
/// The manifest's own checksum, as `sha256sum` writes it.
pub(crate) const MANIFEST_SUM: &str = "manifest.json.sha256";
/// Checksums of every file with content, as `sha256sum -c` reads them.
pub(crate) const SUMS: &str = "SHA256SUMS";
/// Folder of the lists of entries.
pub(crate) const LISTS: &str = "manifest";
/// Folder of what the writers said.
pub(crate) const WRITERS: &str = "writers";
/// Folder of the recovery kit.
pub(crate) const KIT: &str = "CD.Latest";
/// Folder of the workspaces while a set is built.
pub(crate) const WORK: &str = ".work";
/// What a separate folder with databases says of itself.
pub(crate) const PART: &str = "part.json";
/// Folder in a set with its separate part with databases, when the set was kept as one folder.
pub(crate) const DATABASES_INSIDE: &str = "databases";

/// Where in the set a component lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// `SiteServer/`.
    SiteServer,
    /// `SiteDBServer/`.
    #[serde(rename = "SiteDBServer")]
    SiteDbServer,
}

impl Place {
    /// Both places.
    pub const ALL: [Place; 2] = [Place::SiteServer, Place::SiteDbServer];

    /// The name of its folder.
    pub fn folder(self) -> &'static str {
        match self {
            Place::SiteServer => "SiteServer",
            Place::SiteDbServer => "SiteDBServer",
        }
    }
}

/// The folders of one run at one destination.
#[derive(Debug, Clone)]
pub(crate) struct Locations {
    /// The folder that holds the set.
    pub root: PathBuf,
    /// The folder that holds the part with the databases, when it is a separate one.
    pub databases: Option<PathBuf>,
    set: String,
    run: String,
}

impl Locations {
    pub fn new(destination: &Destination, code: &SiteCode, run: &RunId) -> Result<Self, ArchiveError> {
        let (root, databases) = roots(destination)?;
        Ok(Self { root, databases, set: code.set_folder(), run: run.as_str().to_owned() })
    }

    /// Where the last complete set is kept while the published one is incomplete.
    pub fn kept(&self) -> PathBuf {
        self.root.join(kept_name(&self.set))
    }

    /// The published set.
    pub fn published(&self) -> PathBuf {
        self.root.join(&self.set)
    }

    /// The set while it is built; after the exchange, the old set until it is removed.
    pub fn building(&self) -> PathBuf {
        self.root.join(format!("{}{}", building_prefix(&self.set), self.run))
    }

    /// Where the old set waits between the two renames on a file system that cannot exchange.
    pub fn aside(&self) -> PathBuf {
        self.root.join(format!("{}{}", aside_prefix(&self.set), self.run))
    }

    /// The part with the databases while it is built.
    pub fn databases_building(&self) -> Option<PathBuf> {
        let name = format!("{}{}", databases_building_prefix(&self.set), self.run);
        self.databases.as_ref().map(|folder| folder.join(name))
    }

    /// The part with the databases of the published set.
    pub fn databases_published(&self) -> Option<PathBuf> {
        let name = format!("{}{}", databases_prefix(&self.set), self.run);
        self.databases.as_ref().map(|folder| folder.join(name))
    }

    /// The top of what is built for `place`.
    pub fn building_for(&self, place: Place) -> PathBuf {
        match (place, self.databases_building()) {
            (Place::SiteDbServer, Some(folder)) => folder,
            _ => self.building(),
        }
    }

    /// The folder of a component in what is built.
    pub fn component(&self, place: Place, component: &ComponentName) -> PathBuf {
        self.building_for(place).join(place.folder()).join(component.as_str())
    }

    /// The workspace of a component.
    pub fn workspace(&self, place: Place, component: &ComponentName) -> PathBuf {
        self.building_for(place).join(WORK).join(component.as_str())
    }
}

/// The name of the last complete set while the published one is incomplete.
pub(crate) fn kept_name(set: &str) -> String {
    format!("{set}.complete")
}

/// How the name of a set that is being built begins; the run's id follows.
pub(crate) fn building_prefix(set: &str) -> String {
    format!(".{set}.building-")
}

/// How the name of an old set that was put aside for the swap begins; the run's id follows.
pub(crate) fn aside_prefix(set: &str) -> String {
    format!(".{set}.previous-")
}

/// How the name of a part with databases that is being built begins; the run's id follows.
pub(crate) fn databases_building_prefix(set: &str) -> String {
    format!(".{set}-db.building-")
}

/// How the name of a part with databases begins; the run's id follows.
pub(crate) fn databases_prefix(set: &str) -> String {
    format!("{set}-db-")
}

/// The folder for the set and the one for the databases, from the three forms that a destination can have.
pub(crate) fn roots(destination: &Destination) -> Result<(PathBuf, Option<PathBuf>), ArchiveError> {
    let roots = match destination {
        Destination { folder: Some(one), share: None, files: None, databases: None, staging: None }
        | Destination { folder: None, share: Some(one), files: None, databases: None, staging: None }
        | Destination { folder: None, share: None, files: None, databases: None, staging: Some(one) } => {
            Some((one, None))
        }
        Destination {
            folder: None,
            share: None,
            files: Some(files),
            databases: Some(databases),
            staging: None,
        } => Some((files, Some(databases))),
        _ => None,
    };
    let Some((root, databases)) = roots else {
        return Err(ArchiveError::new(
            ErrorKind::Config,
            "the destination of the backup set is not one of its forms",
        )
        .with_hint(
            "set exactly one of `folder`, `share`, `files` together with `databases`, or `staging` in [destination]",
        ));
    };
    for path in [Some(root), databases].into_iter().flatten() {
        require_absolute(path)?;
    }
    Ok((root.clone(), databases.cloned()))
}

fn require_absolute(path: &Path) -> Result<(), ArchiveError> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(ArchiveError::new(
        ErrorKind::Config,
        format!("the destination {:?} is not an absolute path", path.display()),
    )
    .with_hint("write the whole path, beginning with /"))
}
