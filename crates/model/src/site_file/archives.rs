//! The tables `[[archive]]`: where the versions of a site go, what opens them, and how long they stay.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::components::ComponentParts;
use super::leaf::{Count, FilePath, Region};
use super::mistake::Findings;
use super::parse::Placed;
use super::reader::TableReader;
use super::secret::read_secret;
use super::{ArchiveLocation, Destination, SecretSource, Wait};
use crate::ArchiveName;

/// An archive: an encrypted repository that keeps every backup set as a version. A site may have several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Its name, unique in the file.
    pub name: ArchiveName,
    /// Where it lies, in the words of restic: `/path`, `s3:https://host/bucket/prefix`, `sftp:user@host:/path` or
    /// `rest:https://host/path/`. Never holds a name or a password.
    pub location: ArchiveLocation,
    /// Where the password comes from that opens it.
    pub key: SecretSource,
    /// Where `user:password` of a REST server, or `id:secret` of an S3 store, comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<SecretSource>,
    /// The region of an S3 store; without it `us-east-1`, which most stores other than Amazon's take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A file with the certificates (PEM) that vouch for the server, for an S3 store or a REST server that no public
    /// authority vouches for. Absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub ca: Option<PathBuf>,
    /// How long versions stay. Without it all of them do.
    #[serde(default, skip_serializing_if = "Keep::is_empty")]
    pub keep: Keep,
    /// Whether this machine only ever adds: nothing is removed by it, and `keep` is for another machine's site file.
    #[serde(default)]
    pub append_only: bool,
    /// The time in which all data of the archive is read once by `stillpoint archive verify`, a share each time.
    #[serde(default = "default_verify_every")]
    pub verify_every: Wait,
}

fn default_verify_every() -> Wait {
    Wait::seconds(30 * 24 * 3600)
}

/// How long versions stay: what any of these rules names is kept. Days and weeks end when those of UTC do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// This many of the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub last: Option<u32>,
    /// The newest of each of this many hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub hourly: Option<u32>,
    /// The newest of each of this many days.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub daily: Option<u32>,
    /// The newest of each of this many weeks, which begin on Monday.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub weekly: Option<u32>,
    /// The newest of each of this many months.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub monthly: Option<u32>,
    /// The newest of each of this many years.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub yearly: Option<u32>,
    /// All that are no older than this, measured from the newest complete one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Wait>,
}

impl Keep {
    /// Whether there is no rule: then all versions stay.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What could be read of an archive, as for components.
pub(super) struct ArchiveParts {
    name: Option<ArchiveName>,
    location: Option<ArchiveLocation>,
    whole: Option<Archive>,
}

impl ArchiveParts {
    /// Whether it is certain that this machine only ever adds.
    pub fn is_append_only(&self) -> bool {
        self.whole.as_ref().is_some_and(|archive| archive.append_only)
    }

    /// The whole archive, if nothing of it is missing.
    pub fn whole(self) -> Option<Archive> {
        self.whole
    }
}

/// Reads one archive.
pub(super) fn read_archive(mut table: TableReader<'_>, findings: &mut Findings) -> Placed<ArchiveParts> {
    let name: Option<ArchiveName> = table.required("name", findings);
    let called = name.as_ref().map_or("an archive".to_owned(), |name| format!("archive {name}"));
    table.rename(called.clone());
    let location: Option<ArchiveLocation> = table.required("location", findings);
    let key = read_secret(&mut table, "key", &called, "archive", true, findings);
    let access = read_secret(&mut table, "access", &called, "archive", false, findings);
    let region = table.optional("region", findings).map(|Region(region)| region);
    let ca = table.optional("ca", findings).map(|FilePath(path)| path);
    let keep = read_keep(&mut table, &called, findings);
    let append_only = table.optional("append_only", findings).unwrap_or_default();
    let verify_every = table.optional("verify_every", findings).unwrap_or_else(default_verify_every);
    let spans = table.finish(findings);

    let without_effect: &[&str] = match &location {
        Some(ArchiveLocation::Local(_) | ArchiveLocation::Sftp { .. }) => &["access", "region", "ca"],
        Some(ArchiveLocation::Rest(_)) => &["region"],
        Some(ArchiveLocation::S3 { .. }) | None => &[],
    };
    for key in without_effect.iter().filter(|key| spans.has(key)) {
        let message = format!("`{key}` has no effect with this kind of location");
        spans.wrong(findings, key, message, "remove it");
    }
    if append_only && spans.has("keep") {
        let remedy = "remove it here, and write it in the site file of the machine that retires and prunes";
        spans.wrong(findings, "keep", "`keep` has no effect with append_only = true", remedy);
    }
    let whole = (|| {
        let (name, location) = (name.clone()?, location.clone()?);
        Some(Archive { name, location, key: key?, access, region, ca, keep, append_only, verify_every })
    })();
    (ArchiveParts { name, location, whole }, spans)
}

fn read_keep(table: &mut TableReader<'_>, called: &str, findings: &mut Findings) -> Keep {
    let remedy = "write for example keep = { last = 3, daily = 7, weekly = 5, monthly = 12 }";
    let Some(mut rules) = table.inner("keep", format!("`keep` of {called}"), None, remedy, findings) else {
        return Keep::default();
    };
    let mut count = |key| rules.optional(key, findings).map(|Count(count)| count);
    let keep = Keep {
        last: count("last"),
        hourly: count("hourly"),
        daily: count("daily"),
        weekly: count("weekly"),
        monthly: count("monthly"),
        yearly: count("yearly"),
        within: rules.optional("within", findings),
    };
    if rules.is_empty() {
        rules.finish(findings).wrong(
            findings,
            "",
            format!("`keep` of {called} has no rule"),
            format!("{remedy}, or remove it: then all versions stay"),
        );
    } else {
        rules.finish(findings);
    }
    keep
}

/// Archives differ in name and place, and lie apart from the destination and from what is backed up. Only the texts are
/// compared, as for the destination.
pub(super) fn check_archives(
    archives: &[Placed<ArchiveParts>],
    destination: Option<&Destination>,
    components: &[Placed<ComponentParts>],
    findings: &mut Findings,
) {
    let (mut names, mut places) = (BTreeMap::new(), BTreeMap::new());
    for (archive, spans) in archives {
        if let Some(name) = &archive.name
            && names.insert(name, ()).is_some()
        {
            let message = format!("two archives have the name {:?}", name.as_str());
            spans.wrong(
                findings,
                "name",
                message,
                "give each its own name, by which it is called on the command line",
            );
        }
        let Some(location) = &archive.location else { continue };
        if places.insert(location, ()).is_some() {
            let message = format!("two archives lie at {location}");
            spans.wrong(findings, "location", message, "remove one of the two, or give it another place");
        }
        let ArchiveLocation::Local(path) = location else { continue };
        let overlap = |other: &PathBuf| path.starts_with(other) || other.starts_with(path);
        for (_, source) in super::checks::sources_of(components).filter(|(_, source)| overlap(source)) {
            let message =
                format!("the archive and {}, which is backed up, lie in each other", source.display());
            let remedy = "choose a place that holds nothing of the site, best on another disk or machine";
            spans.wrong(findings, "location", message, remedy);
        }
        let folders = destination.into_iter().flat_map(Destination::folders);
        for folder in folders.filter(|folder| overlap(folder)) {
            let message = format!("the archive and the destination {} lie in each other", folder.display());
            let remedy = "choose a place of its own for the archive, best on another disk or machine";
            spans.wrong(findings, "location", message, remedy);
        }
    }
}
