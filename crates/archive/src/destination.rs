//! Checks of the destination before a run. Rights are tested by doing, not by reading modes: only a file that was really
//! created, written and deleted shows that the run and its clean-up will not be refused half-way.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use stillpoint_model::SiteCode;
use stillpoint_model::site_file::Destination;

use crate::layout::{MANIFEST, MANIFEST_SUM, roots};
use crate::manifest::Manifest;
use crate::{disk, mounts};

/// A finding about the destination.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Whether a run must not begin.
    pub fatal: bool,
    /// What was found, where.
    pub text: String,
    /// How to mend it.
    pub remedy: String,
}

impl Finding {
    pub(crate) fn fatal(text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { fatal: true, text: text.into(), remedy: remedy.into() }
    }

    pub(crate) fn warning(text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { fatal: false, text: text.into(), remedy: remedy.into() }
    }
}

const RIGHTS: &str = "the user that runs the backup must be able to create, write and delete there";

/// Checks the destination: exists (or can be created), is mounted where it must be, create, write *and delete* work, not
/// inside a source (nor a source inside it), not group- or world-readable, same volume as a source (a warning), and
/// nothing foreign under the name of the set. Room is [`crate::check_room`]'s. Leaves nothing behind: a folder that is
/// missing is created to see that it can be, and removed again.
pub fn check_destination(destination: &Destination, code: &SiteCode, sources: &[PathBuf]) -> Vec<Finding> {
    let (root, databases) = match roots(destination) {
        Ok(roots) => roots,
        Err(error) => return vec![Finding::fatal(error.to_string(), error.hint.unwrap_or_default())],
    };
    let mut findings = Vec::new();
    for folder in [Some(&root), databases.as_ref()].into_iter().flatten() {
        check_folder(folder, destination.share.is_some(), sources, &mut findings);
    }
    if let Some(databases) = &databases {
        check_apart(&root, databases, code, &mut findings);
    }
    check_name(&root.join(code.set_folder()), code, &mut findings);
    findings
}

fn check_folder(folder: &Path, share: bool, sources: &[PathBuf], findings: &mut Vec<Finding>) {
    let canonical = match settle(folder) {
        Ok(path) => path,
        Err(error) => {
            let remedy = format!("mend the path; {RIGHTS}");
            findings.push(Finding::fatal(
                format!("the destination {} cannot be reached: {error}", folder.display()),
                remedy,
            ));
            return;
        }
    };
    if share && let Some(finding) = not_mounted(folder, &canonical) {
        // Nothing else is tested: it would be done on the wrong file system.
        findings.push(finding);
        return;
    }
    match fs::metadata(folder) {
        Ok(facts) if !facts.is_dir() => {
            findings.push(Finding::fatal(
                format!("the destination {} is not a folder", folder.display()),
                "name a folder, or move what is there out of the way",
            ));
            return;
        }
        Ok(facts) if facts.permissions().mode() & 0o077 != 0 => findings.push(Finding::fatal(
            format!(
                "the destination {} is open to group or others (mode {:04o}), and a backup holds everything that the site holds",
                folder.display(),
                facts.permissions().mode() & 0o7777
            ),
            format!(
                "chmod 700 {} (on a share without modes: the mount options that set them, such as dir_mode=0700)",
                folder.display()
            ),
        )),
        _ => {}
    }
    findings.extend(try_rights(folder));
    for source in sources {
        check_source(folder, &canonical, source, findings);
    }
}

/// The canonical path, also of a folder that does not exist yet: that of its nearest existing parent with the rest.
fn settle(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
            match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => Ok(settle(parent)?.join(name)),
                _ => Err(error),
            }
        }
        other => other,
    }
}

/// What is wrong with a share that must be mounted. The test is the one thing that keeps a backup from filling the root
/// file system when the share is away.
pub(crate) fn not_mounted(folder: &Path, canonical: &Path) -> Option<Finding> {
    let remedy =
        format!("mount the share that holds {}, or use `folder` for a local folder", folder.display());
    let text = match mounts::serving(canonical) {
        Ok(Some(mount)) if mount.kind == "autofs" => {
            format!("the share {} is not mounted: the automounter did not mount it", folder.display())
        }
        Ok(Some(mount)) if mount.point != Path::new("/") => return None,
        Ok(_) => format!("the share {} is not mounted: the root file system is there", folder.display()),
        Err(error) => format!("whether the share {} is mounted cannot be told: {error}", folder.display()),
    };
    Some(Finding::fatal(text, remedy))
}

/// The folder of the destination that holds the set, if it is there and, where it is a share, mounted: then something can
/// be written there before it is checked in full.
pub fn standing_root(destination: &Destination) -> Option<PathBuf> {
    let (root, _) = roots(destination).ok()?;
    let mounted = destination.share.as_deref().is_none_or(|share| share_missing(share).is_none());
    (mounted && root.is_dir()).then_some(root)
}

/// Like [`not_mounted`], for a path that may not exist yet.
pub(crate) fn share_missing(folder: &Path) -> Option<Finding> {
    match settle(folder) {
        Ok(canonical) => not_mounted(folder, &canonical),
        Err(error) => Some(Finding::fatal(
            format!("the share {} cannot be reached: {error}", folder.display()),
            "mount the share",
        )),
    }
}

/// Creates, writes, renames and deletes in the folder, creating it for the test when it is missing.
fn try_rights(folder: &Path) -> Option<Finding> {
    let mut created = Vec::new();
    let mut missing: Vec<&Path> =
        folder.ancestors().take_while(|path| fs::symlink_metadata(path).is_err()).collect();
    while let Some(path) = missing.pop() {
        if let Err(error) = DirBuilder::new().mode(0o700).create(path) {
            remove_created(&created);
            return Some(Finding::fatal(
                format!(
                    "the destination {} does not exist and cannot be created: {error} ({})",
                    folder.display(),
                    path.display()
                ),
                format!("create it with mode 700; {RIGHTS}"),
            ));
        }
        created.push(path);
    }
    let finding = try_file(folder);
    remove_created(&created);
    finding
}

fn remove_created(created: &[&Path]) {
    for path in created.iter().rev() {
        // Best effort: what stays is an empty folder that the run would create anyway.
        let _ = fs::remove_dir(path);
    }
}

/// How the name of the folder begins with which the rights are tried; the id of our process follows.
const PROBE: &str = ".stillpoint-probe-";

/// Removes what a run left that died while it tried the rights, or was not allowed to delete.
pub(crate) fn remove_probes(folder: &Path, done: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PROBE));
        // One that lives may be trying the same folder for another site.
        let died = |number: u32| !Path::new("/proc").join(number.to_string()).exists();
        if number.and_then(|number| number.parse().ok()).is_some_and(died) {
            let probe = entry.path();
            // There may be no file in it; a folder with anything else in it is not ours and stays.
            let _ = fs::remove_file(probe.join("file"));
            if fs::remove_dir(&probe).is_ok() {
                done.push(format!("removed {}, which an interrupted check left", probe.display()));
            }
        }
    }
}

fn try_file(folder: &Path) -> Option<Finding> {
    let probe = folder.join(format!("{PROBE}{}", std::process::id()));
    let inner = probe.join("file");
    let refuse = |act: &str, error: io::Error, rest: &str| {
        Some(Finding::fatal(
            format!("cannot {act} in the destination {}: {error}{rest}", folder.display()),
            format!("{RIGHTS}: check owner, mode, mount options and attributes (lsattr)"),
        ))
    };
    if let Err(error) = DirBuilder::new().mode(0o700).create(&probe) {
        return refuse("create", error, "");
    }
    let written = disk::create_file(&inner).and_then(|mut file| {
        file.write_all(b"can be written\n")?;
        file.sync_all()
    });
    if let Err(error) = written {
        let _ = fs::remove_file(&inner);
        let _ = fs::remove_dir(&probe);
        return refuse("write", error, "");
    }
    let left = || format!(" (create and write work; {} was left there)", probe.display());
    let deleted = fs::remove_file(&inner).and_then(|()| fs::remove_dir(&probe));
    deleted.err().and_then(|error| refuse("delete", error, &left()))
}

fn check_source(folder: &Path, canonical: &Path, source: &Path, findings: &mut Vec<Finding>) {
    let Ok(place) = settle(source) else { return };
    let remedy = "choose a destination outside of everything that is backed up, best on another disk";
    if inside(canonical, &place) {
        let text = format!(
            "the destination {} lies inside {}, which is backed up",
            folder.display(),
            source.display()
        );
        findings.push(Finding::fatal(text, remedy));
    } else if inside(&place, canonical) {
        let text = format!(
            "{}, which is backed up, lies inside the destination {}",
            source.display(),
            folder.display()
        );
        findings.push(Finding::fatal(text, remedy));
    } else if let (Some(ours), Some(theirs)) = (nearest(canonical), nearest(&place))
        && ours.dev() == theirs.dev()
    {
        let text = format!(
            "the destination {} is on the same volume as {}: a lost disk takes both",
            folder.display(),
            source.display()
        );
        findings.push(Finding::warning(text, "use another disk or a share, or keep copies elsewhere"));
    }
}

/// Whether `path` is `top` or lies in it: by name, and by place in the file system (a bind mount shows one folder under
/// two names).
fn inside(path: &Path, top: &Path) -> bool {
    let same_place = || match (mounts::position(path), mounts::position(top)) {
        (Some((device, path)), Some((other, top))) => device == other && path.starts_with(top),
        _ => false,
    };
    path.starts_with(top) || same_place()
}

/// What is known of the path or of its nearest existing parent.
fn nearest(path: &Path) -> Option<fs::Metadata> {
    path.ancestors().find_map(|path| fs::metadata(path).ok())
}

fn check_apart(root: &Path, databases: &Path, code: &SiteCode, findings: &mut Vec<Finding>) {
    let (Ok(root), Ok(databases)) = (settle(root), settle(databases)) else { return };
    if root == databases {
        findings.push(Finding::fatal(
            format!("`files` and `databases` are the same folder, {}", root.display()),
            "use `folder` for one folder, or name two",
        ));
    } else if databases.starts_with(root.join(code.set_folder())) {
        findings.push(Finding::fatal(
            format!("`databases` ({}) lies inside the set that each run replaces", databases.display()),
            "name a folder outside of it",
        ));
    }
}

/// What lies under the name of the set must be a set of this site: the publish replaces it.
fn check_name(published: &Path, code: &SiteCode, findings: &mut Vec<Finding>) {
    let Ok(facts) = fs::symlink_metadata(published) else { return };
    let name = published.display();
    let remedy =
        format!("move {name} out of the way, or choose another destination; nothing in it was touched");
    let ours = facts.is_dir() && [MANIFEST, MANIFEST_SUM].iter().any(|file| published.join(file).exists());
    if !ours {
        findings.push(Finding::fatal(
            format!("{name} exists and is not a backup set, so it will not be replaced"),
            remedy,
        ));
        return;
    }
    match Manifest::read(published) {
        Ok(manifest) if manifest.site != *code => findings.push(Finding::fatal(
            format!(
                "{name} is the backup set of site {} and will not be replaced by one of {code}",
                manifest.site
            ),
            remedy,
        )),
        Ok(_) => {}
        Err(error) => findings.push(Finding::warning(
            format!(
                "the present backup set cannot be used and will be replaced by the next complete run: {error}"
            ),
            "copy it away first if you want to look into it",
        )),
    }
}
