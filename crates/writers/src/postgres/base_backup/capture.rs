//! The capture of a base backup: the log up to the restore point is awaited, everything is checked, and the set takes it.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use stillpoint_model::{CaptureSink, Captured, Context, Deadline, Grade, TreeSource, WriterError};

use super::{BaseBackupFacts, BaseBackupWriter, Lsn, out_of_order, settings_files};
use crate::postgres::cluster::Cluster;
use crate::postgres::owner::User;
use crate::postgres::wal;
use crate::process::Program;

/// How long the log receiver may take to end in order.
const STOP_WAIT: Duration = Duration::from_secs(10);

impl BaseBackupWriter {
    /// Brings base, log, tablespaces and settings files into the set.
    pub(super) fn bring_in(
        &mut self,
        context: &Context,
        deadline: Deadline,
        sink: &mut dyn CaptureSink,
    ) -> Result<Captured, WriterError> {
        let point = self.point.take().ok_or_else(|| out_of_order("a restore point"))?;
        let cluster = self.cluster()?.clone();
        let base = context.workspace.join("base");
        let log = context.workspace.join("wal");
        let label = Label::read(&base.join("backup_label"))?;
        check_manifest(&base.join("backup_manifest"), point.lsn)?;

        let last = wal::segment_before(point.lsn, cluster.segment_bytes);
        self.await_segment(
            context,
            &log.join(wal::segment_name(label.timeline, last, cluster.segment_bytes)),
            deadline,
        )?;
        let first = u64::from(label.start) / cluster.segment_bytes;
        let segments = wal::keep_only(&log, label.timeline, (first, last), cluster.segment_bytes)?;
        self.verify(&base, deadline)?;
        put_links_back(&base, &cluster)?;
        drop_streamed_log(&base.join("pg_wal"))?;
        let session = self.session()?;
        let settings_files = settings_files::keep(session, context, &cluster, deadline)?;

        for folder in ["base", "wal", "tablespaces", "config"] {
            let root = context.workspace.join(folder);
            if root.is_dir() {
                sink.tree(context, folder, owned(root))?;
            }
        }
        let data = cluster.data.clone().unwrap_or_default();
        let owner = self.access()?.is_local().then(|| User::owning(&data).ok()).flatten();
        let facts = BaseBackupFacts {
            method: "base-backup".into(),
            version: cluster.version,
            major: cluster.major,
            system_identifier: cluster.system_identifier,
            restore_point: point.name,
            lsn: point.lsn.to_string(),
            timeline: label.timeline,
            made_at: point.made_at,
            data,
            owner: owner.map_or_else(|| "postgres".to_owned(), |owner| owner.name),
            tablespaces: cluster.tablespaces,
            settings_files,
            limits: cluster.limits,
            segments: (
                segments.first().cloned().unwrap_or_default(),
                segments.last().cloned().unwrap_or_default(),
            ),
            user: self.access()?.user().to_owned(),
        };
        let facts = serde_json::to_value(facts).map_err(|error| {
            WriterError::Other(format!("the facts of the base backup cannot be written: {error}"))
        })?;
        Ok(Captured { grade: Grade::Frozen, facts })
    }

    /// Lets the server end the segment of the restore point, waits until it came whole, and ends the receiver.
    fn await_segment(
        &mut self,
        context: &Context,
        segment: &Path,
        deadline: Deadline,
    ) -> Result<(), WriterError> {
        let statement = "SELECT pg_switch_wal()";
        self.session()?.query("end the segment of the restore point", statement, deadline)?;
        let mut receiver = self.receiver.take().ok_or_else(|| out_of_order("a log receiver"))?;
        receiver.wait_until(context, "streaming the log up to the restore point", deadline, || {
            segment.exists()
        })?;
        receiver.stop(Deadline::after(STOP_WAIT))
    }

    /// Has PostgreSQL's own tool compare names and sizes with the manifest. Not the checksums: the set hashes every byte
    /// anyhow, and a drill replays it.
    fn verify(&self, base: &Path, deadline: Deadline) -> Result<(), WriterError> {
        let tool = self.programs.join("pg_verifybackup");
        if !tool.is_file() {
            return Ok(());
        }
        let program = Program::new(tool).args(["--no-parse-wal", "--skip-checksums", "--quiet"]).arg(base);
        program.env("LC_ALL", "C").run(deadline)?.check().map(drop)
    }
}

fn owned(root: PathBuf) -> TreeSource {
    TreeSource { root, index: None, owned: true, include: Vec::new(), exclude: Vec::new() }
}

fn read(path: &Path) -> Result<String, WriterError> {
    fs::read_to_string(path).map_err(|source| WriterError::Io { act: "read", path: path.to_owned(), source })
}

/// What the base backup's `backup_label` says.
struct Label {
    start: Lsn,
    timeline: u32,
}

impl Label {
    fn read(path: &Path) -> Result<Self, WriterError> {
        Self::parse(&read(path)?).ok_or_else(|| {
            WriterError::Other(format!("{} does not tell where the base backup began", path.display()))
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |key| text.lines().find_map(|line| line.strip_prefix(key));
        let start = value("START WAL LOCATION: ")?.split(' ').next()?;
        let timeline = value("START TIMELINE: ")?;
        Some(Self { start: start.parse().ok()?, timeline: timeline.trim().parse().ok()? })
    }
}

/// The part of `backup_manifest` that tells which log the base backup needs (PostgreSQL documentation, "Backup Manifest
/// WAL Range Object").
#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "WAL-Ranges")]
    ranges: Vec<Range>,
}

#[derive(Deserialize)]
struct Range {
    #[serde(rename = "End-LSN")]
    end: String,
}

/// That the base backup ended before the restore point, without which it cannot be recovered to.
fn check_manifest(path: &Path, point: Lsn) -> Result<(), WriterError> {
    let unreadable = |reason: String| WriterError::Other(format!("{} {reason}", path.display()));
    let manifest: Manifest =
        serde_json::from_str(&read(path)?).map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    let [range] = manifest.ranges.as_slice() else {
        return Err(unreadable(
            "spans several timelines: the server changed over; run the backup again".into(),
        ));
    };
    let end = wal::parse_lsn(&range.end)?;
    if end > point {
        return Err(unreadable(format!(
            "ends at {end}, after the restore point at {point}; it could not be recovered to"
        )));
    }
    Ok(())
}

/// Points the links of the tablespaces to where they were on the server, not to our workspace.
fn put_links_back(base: &Path, cluster: &Cluster) -> Result<(), WriterError> {
    for tablespace in &cluster.tablespaces {
        let link = base.join("pg_tblspc").join(tablespace.oid.to_string());
        let io = |act, source| WriterError::Io { act, path: link.clone(), source };
        fs::remove_file(&link).map_err(|source| io("remove", source))?;
        symlink(&tablespace.location, &link).map_err(|source| io("create link", source))?;
    }
    Ok(())
}

/// Removes the log that came with the base backup itself: all of it is in `wal/`.
fn drop_streamed_log(folder: &Path) -> Result<(), WriterError> {
    let remove = || -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(wal::is_segment) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(|source| WriterError::Io { act: "empty", path: folder.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_label_tells_start_and_timeline() {
        let text = "START WAL LOCATION: 0/2000028 (file 000000030000000000000002)\nCHECKPOINT LOCATION: 0/2000060\n\
                    BACKUP METHOD: streamed\nSTART TIMELINE: 3\n";
        let label = Label::parse(text).unwrap();
        assert_eq!((label.start.to_string().as_str(), label.timeline), ("0/2000028", 3));
        assert!(Label::parse("START TIMELINE: 3\n").is_none());
    }

    #[test]
    fn a_restore_point_inside_the_base_backup_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup_manifest");
        let text = r#"{"PostgreSQL-Backup-Manifest-Version": 1, "Files": [{"Path": "a", "Size": 1}],
            "WAL-Ranges": [{"Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000100"}]}"#;
        fs::write(&path, text).unwrap();
        assert!(check_manifest(&path, "0/2000100".parse().unwrap()).is_ok());
        let error = check_manifest(&path, "0/20000FF".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("after the restore point"), "{error}");
    }
}
