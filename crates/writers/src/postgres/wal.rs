//! Positions in the write-ahead log and the names of its segments (PostgreSQL documentation, "WAL Internals"; the file
//! `xlog_internal.h` of its source has the rule for names).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use stillpoint_model::WriterError;

/// A position in the log, printed by PostgreSQL as `2F/1A2B3C4D`.
pub type Lsn = postgres::types::PgLsn;

/// Reads a position as PostgreSQL prints it.
pub fn parse_lsn(text: &str) -> Result<Lsn, WriterError> {
    text.trim()
        .parse()
        .map_err(|_| WriterError::Other(format!("{text:?} is not a position in a write-ahead log")))
}

/// The number of the segment that holds the byte before `end`: the last byte of a record that ends there.
pub fn segment_before(end: Lsn, segment_bytes: u64) -> u64 {
    u64::from(end).saturating_sub(1) / segment_bytes
}

/// The file name of a segment.
pub fn segment_name(timeline: u32, number: u64, segment_bytes: u64) -> String {
    let per_log = (1 << 32) / segment_bytes;
    format!("{timeline:08X}{:08X}{:08X}", number / per_log, number % per_log)
}

/// Whether a file name is that of a whole segment.
pub fn is_segment(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
}

/// Where in the log the segment of this file name ends; nothing when it is no name of a segment.
pub fn segment_end(name: &str, segment_bytes: u64) -> Option<Lsn> {
    if !is_segment(name) {
        return None;
    }
    let part = |range| u64::from_str_radix(&name[range], 16).ok();
    let number = part(8..16)? * ((1 << 32) / segment_bytes) + part(16..24)?;
    Some(Lsn::from((number + 1) * segment_bytes))
}

/// Removes from `folder` all that is not needed to replay the log from segment `first` to segment `last`, and checks that
/// all of it is there, each segment whole. Returns their names. Histories of timelines stay.
pub fn keep_only(
    folder: &Path,
    timeline: u32,
    (first, last): (u64, u64),
    segment_bytes: u64,
) -> Result<Vec<String>, WriterError> {
    let io = |act, path: &Path, source| WriterError::Io { act, path: path.to_owned(), source };
    let needed: Vec<String> =
        (first..=last).map(|number| segment_name(timeline, number, segment_bytes)).collect();
    let mut missing: BTreeSet<&str> = needed.iter().map(String::as_str).collect();
    for entry in fs::read_dir(folder).map_err(|source| io("list", folder, source))? {
        let entry = entry.map_err(|source| io("list", folder, source))?;
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if missing.contains(name.as_ref()) {
            let size = entry.metadata().map_err(|source| io("look at", &path, source))?.len();
            if size == segment_bytes {
                missing.remove(name.as_ref());
            }
        } else if !name.ends_with(".history") {
            fs::remove_file(&path).map_err(|source| io("remove", &path, source))?;
        }
    }
    if missing.is_empty() {
        return Ok(needed);
    }
    let missing = missing.into_iter().collect::<Vec<_>>().join(", ");
    Err(WriterError::Other(format!(
        "the write-ahead log from the base backup to the restore point has a gap: {missing} did not come whole; \
         run the backup again"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_segment_is_named_as_the_server_names_it() {
        let name = |lsn: &str, bytes| segment_name(1, segment_before(parse_lsn(lsn).unwrap(), bytes), bytes);
        assert_eq!(name("0/2000028", 16 * MIB), "000000010000000000000002");
        assert_eq!(name("1/0", 16 * MIB), "0000000100000000000000FF");
        assert_eq!(name("1/1", 16 * MIB), "000000010000000100000000");
        assert_eq!(name("0/300000", MIB), "000000010000000000000002");
        let end = segment_end("0000000100000000000000FF", 16 * MIB).unwrap();
        assert_eq!(end, parse_lsn("1/0").unwrap());
        assert!(is_segment("0000000100000000000000FF") && !is_segment("00000001.history"));
    }

    #[test]
    fn a_gap_in_the_log_is_an_error_and_what_is_too_much_goes() {
        let folder = tempfile::tempdir().unwrap();
        let write = |number, bytes: u64| {
            fs::write(folder.path().join(segment_name(1, number, MIB)), vec![0; bytes as usize]).unwrap();
        };
        for number in [1, 2, 4, 5] {
            write(number, MIB);
        }
        write(3, MIB - 1);
        fs::write(folder.path().join("00000002.history"), "").unwrap();
        fs::write(folder.path().join("000000010000000000000006.partial"), "").unwrap();
        let error = keep_only(folder.path(), 1, (2, 4), MIB).unwrap_err().to_string();
        assert!(error.contains("000000010000000000000003"), "{error}");
        write(3, MIB);
        assert_eq!(keep_only(folder.path(), 1, (2, 4), MIB).unwrap().len(), 3);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }
}
