//! Writing what a set says of itself: the lists, the writers' words, the recovery kit, the sums.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};
use stillpoint_model::{ComponentName, ErrorKind};

use crate::facts::{Kit, SetFacts, WriterWords};
use crate::layout::{KIT, LISTS, SUMS, WRITERS};
use crate::lists::{self, ListTotals};
use crate::manifest::{Manifest, ManifestComponent, StoredFile, StoredList};
use crate::sink::Received;
use crate::sums::SumsAppender;
use crate::{ArchiveError, Place, SetBuilder, disk};

/// The program in the kit.
const KIT_PROGRAM: &str = "stillpoint";
/// The site file in the kit.
pub(crate) const KIT_SITE_FILE: &str = "site.toml";
/// The page for the worst day.
const KIT_RECOVER: &str = "RECOVER.md";
/// The versions of the tools that took part.
const KIT_VERSIONS: &str = "versions.json";

/// Writes everything but the manifest.
pub(crate) struct Seal<'a> {
    pub builder: &'a SetBuilder,
    pub facts: &'a SetFacts,
    pub old: Option<&'a Manifest>,
}

/// What was written.
pub(crate) struct Sealed {
    pub components: Vec<ManifestComponent>,
    pub kit: Vec<StoredFile>,
    pub sums: StoredFile,
}

/// What was listed, and the sums so far.
struct Listed {
    components: Vec<ManifestComponent>,
    sums: SumsAppender,
}

impl Seal<'_> {
    /// The kit, most of which is a program of many megabytes to be hashed, is taken beside the writing of the lists.
    pub fn write(&self, kit: &Kit) -> Result<Sealed, ArchiveError> {
        std::thread::scope(|scope| {
            let kit = scope.spawn(|| self.write_kit(kit));
            let listed = self.write_lists();
            let bug = |_| ArchiveError::new(ErrorKind::Bug, "the recovery kit could not be written");
            let kit = kit.join().map_err(bug)?;
            self.finish(listed?, kit?)
        })
    }

    fn write_lists(&self) -> Result<Listed, ArchiveError> {
        let locations = &self.builder.yard.locations;
        let top = locations.building();
        self.remove_unnamed()?;
        let mut sums = SumsAppender::create(&top.join(SUMS))?;
        let apart = locations.databases_building();
        let mut databases_sums = apart.map(|folder| SumsAppender::create(&folder.join(SUMS))).transpose()?;
        let mut components = Vec::new();
        for (name, place, description, captured) in &self.facts.components {
            let place = *place;
            let words = WriterWords { description: description.clone(), captured: captured.clone() };
            let writer = self.write_words(name, &words)?;
            let into = match (place, &mut databases_sums) {
                (Place::SiteDbServer, Some(apart)) => apart,
                _ => &mut sums,
            };
            let (path, totals) = self.write_list(name, place, into)?;
            let sha256 = disk::hex(&totals.sha256);
            for (path, sha256) in [(&path, &sha256), (&writer.path, &writer.sha256)] {
                sums.append(sha256, &[path.as_bytes()])?;
            }
            let list = StoredList { path, sha256, entries: totals.entries };
            let (files, bytes, grade) = (totals.files, totals.bytes, captured.grade);
            components.push(ManifestComponent {
                name: name.clone(),
                place,
                grade,
                files,
                bytes,
                list,
                writer,
            });
        }
        databases_sums.map_or(Ok(()), SumsAppender::finish)?;
        Ok(Listed { components, sums })
    }

    fn finish(&self, listed: Listed, kit: Vec<StoredFile>) -> Result<Sealed, ArchiveError> {
        let Listed { components, mut sums } = listed;
        for file in &kit {
            sums.append(&file.sha256, &[file.path.as_bytes()])?;
        }
        sums.finish()?;
        let top = self.builder.folder();
        Ok(Sealed { components, kit, sums: StoredFile::of(&top, SUMS.to_owned())? })
    }

    /// A component that is not named (its writer gave up after it had brought something) is not in the set.
    fn remove_unnamed(&self) -> Result<(), ArchiveError> {
        let mut named = BTreeSet::new();
        for (name, place, ..) in &self.facts.components {
            if !named.insert((place.folder(), name.as_str()))
                || named.contains(&(other(*place).folder(), name.as_str()))
            {
                return Err(ArchiveError::new(
                    ErrorKind::Bug,
                    format!("the component {name} is named twice"),
                ));
            }
        }
        let received = self.builder.yard.received();
        let unnamed = |place: Place, name: &ComponentName| !named.contains(&(place.folder(), name.as_str()));
        for (name, place) in received.keys().flat_map(|name| Place::ALL.map(|place| (name, place))) {
            if unnamed(place, name) {
                disk::remove_tree(&self.builder.yard.locations.component(place, name))?;
            }
        }
        Ok(())
    }

    fn write_words(&self, name: &ComponentName, words: &WriterWords) -> Result<StoredFile, ArchiveError> {
        let path = format!("{WRITERS}/{name}.json");
        self.write_json(&path, words)
    }

    fn write_json(&self, path: &str, value: &impl serde::Serialize) -> Result<StoredFile, ArchiveError> {
        let mut text = serde_json::to_vec_pretty(value).map_err(|error| ArchiveError {
            source: Some(Box::new(error)),
            ..ArchiveError::new(ErrorKind::Bug, format!("{path} cannot be written as JSON"))
        })?;
        text.push(b'\n');
        let top = self.builder.folder();
        disk::write_new(&top.join(path), &text)?;
        StoredFile::of(&top, path.to_owned())
    }

    fn write_list(
        &self,
        name: &ComponentName,
        place: Place,
        sums: &mut SumsAppender,
    ) -> Result<(String, ListTotals), ArchiveError> {
        let Received { parts, streams, failed } =
            self.builder.yard.received().remove(name).unwrap_or_default();
        if let Some(text) = failed {
            return Err(ArchiveError::new(
                ErrorKind::Component,
                format!("the component {name} is not whole: {text}"),
            ));
        }
        let folder = self.builder.yard.locations.component(place, name);
        disk::create_folder(&folder)?;
        let path = format!("{LISTS}/{name}.jsonl");
        let target = self.builder.folder().join(&path);
        let at = [place.folder().as_bytes(), name.as_str().as_bytes()];
        Ok((path, lists::merge(&folder, &parts, streams, &target, sums, &at)?))
    }

    fn write_kit(&self, kit: &Kit) -> Result<Vec<StoredFile>, ArchiveError> {
        let top = self.builder.folder();
        disk::create_folder(&top.join(KIT))?;
        let program = self.take_program(&kit.program)?;
        let versions = self.write_json(&format!("{KIT}/{KIT_VERSIONS}"), &self.facts.tools)?;
        let site_file = self.take_site_file(&kit.site_file)?;
        let path = format!("{KIT}/{KIT_RECOVER}");
        disk::write_new(&top.join(&path), kit.recover.as_bytes())?;
        Ok(vec![program, site_file, versions, StoredFile::of(&top, path)?])
    }

    /// Takes the program into the kit: shared with the old set's when its content is the same, else copied.
    fn take_program(&self, source: &Path) -> Result<StoredFile, ArchiveError> {
        let locations = &self.builder.yard.locations;
        let path = format!("{KIT}/{KIT_PROGRAM}");
        if let Some(before) = self.old.and_then(|old| old.kit.iter().find(|file| file.path == path)) {
            // Held against the original, so that damage at rest does not live on in each new set; that is less work than
            // hashing both.
            let (old, new) = (locations.published().join(&path), locations.building().join(&path));
            if disk::same_content(source, &old).unwrap_or(false) && fs::hard_link(old, new).is_ok() {
                return Ok(before.clone());
            }
        }
        let building = self.builder.folder();
        let copy = || -> io::Result<()> {
            let mut file = disk::create_file(&building.join(&path))?;
            io::copy(&mut File::open(source)?, &mut file)?;
            use std::os::unix::fs::PermissionsExt;
            file.set_permissions(fs::Permissions::from_mode(0o700))
        };
        copy().map_err(|error| ArchiveError::io("copy into the recovery kit", source, error))?;
        // Of the copy: a program that was replaced between the two readings is still what the manifest says.
        StoredFile::of(&building, path)
    }

    fn take_site_file(&self, text: &str) -> Result<StoredFile, ArchiveError> {
        let stored = StoredFile {
            path: format!("{KIT}/{KIT_SITE_FILE}"),
            bytes: text.len() as u64,
            sha256: disk::hex(&Sha256::digest(text)),
        };
        if !self.share(&stored)? {
            disk::write_new(&self.builder.folder().join(&stored.path), text.as_bytes())?;
        }
        Ok(stored)
    }

    /// Shares a file of the kit with the old set, when it is the same there.
    fn share(&self, stored: &StoredFile) -> Result<bool, ArchiveError> {
        let locations = &self.builder.yard.locations;
        let target = locations.building().join(&stored.path);
        let same = self.old.is_some_and(|old| old.kit.contains(stored));
        if !same || fs::hard_link(locations.published().join(&stored.path), &target).is_err() {
            return Ok(false);
        }
        if stored.trouble(&locations.building()).is_none() {
            return Ok(true);
        }
        disk::remove_tree(&target)?;
        Ok(false)
    }
}

fn other(place: Place) -> Place {
    match place {
        Place::SiteServer => Place::SiteDbServer,
        Place::SiteDbServer => Place::SiteServer,
    }
}
