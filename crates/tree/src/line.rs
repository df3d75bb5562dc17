//! One entry as one line of JSON, and back. Written by hand because a list may have millions of lines. An ordinary line in
//! the form that we write is read by hand as well (`quick.rs`), every other one with serde.
//!
//! `docs/format-entries.md` is normative. What is not valid UTF-8 has a field of its own in hexadecimal, so that every
//! path survives and a person can still read the ordinary ones. A newline in a name is escaped: a line is an entry.

use std::io::Write;

use serde::Deserialize;

use crate::quick;
use crate::{BLOCK_RULE_SIZE, Entry, FileFacts, Kind, Origin, RelPath, Timestamp, Xattr};

/// Appends the entry and a newline to `out`.
pub(crate) fn encode(entry: &Entry, out: &mut Vec<u8>) {
    out.push(b'{');
    text_field(out, "path", entry.path.as_bytes());
    kind_fields(out, &entry.kind);
    // A Vec takes every write.
    let _ = write!(out, ",\"mode\":\"{:04o}\",\"uid\":", entry.mode);
    number(out, entry.uid.into());
    out.extend_from_slice(b",\"gid\":");
    number(out, entry.gid.into());
    out.extend_from_slice(b",\"mtime\":");
    timestamp(out, entry.mtime);
    if !entry.xattrs.is_empty() {
        out.extend_from_slice(b",\"xattrs\":[");
        for (i, xattr) in entry.xattrs.iter().enumerate() {
            out.extend_from_slice(if i == 0 { b"{" } else { b",{" });
            text_field(out, "name", &xattr.name);
            out.extend_from_slice(b",\"value_hex\":\"");
            hex(out, &xattr.value);
            out.extend_from_slice(b"\"}");
        }
        out.push(b']');
    }
    if let Some(first) = &entry.hard_link {
        out.push(b',');
        text_field(out, "hard_link", first.as_bytes());
    }
    if let Some(origin) = &entry.origin {
        out.extend_from_slice(b",\"origin\":{\"inode\":");
        number(out, origin.inode);
        out.extend_from_slice(b",\"ctime\":");
        timestamp(out, origin.ctime);
        out.extend_from_slice(b",\"settled\":");
        out.extend_from_slice(if origin.settled { b"true}" } else { b"false}" });
    }
    out.extend_from_slice(b"}\n");
}

fn kind_fields(out: &mut Vec<u8>, kind: &Kind) {
    let name = match kind {
        Kind::File(_) => "file",
        Kind::Directory => "folder",
        Kind::Symlink(_) => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::CharDevice { .. } => "char",
        Kind::BlockDevice { .. } => "block",
    };
    out.extend_from_slice(b",\"type\":\"");
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
    match kind {
        Kind::File(facts) => {
            out.extend_from_slice(b",\"size\":");
            number(out, facts.size);
            if let Some(hash) = &facts.sha256 {
                let blocks = facts.size >= BLOCK_RULE_SIZE;
                out.extend_from_slice(if blocks { b",\"sha256_blocks\":\"" } else { b",\"sha256\":\"" });
                hex(out, hash);
                out.push(b'"');
            }
        }
        Kind::Symlink(target) => {
            out.push(b',');
            text_field(out, "target", target);
        }
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            let _ = write!(out, ",\"device\":[{major},{minor}]");
        }
        Kind::Directory | Kind::Fifo | Kind::Socket => {}
    }
}

/// `"name":"text"`, or `"name_hex":"..."` for bytes that are not UTF-8.
fn text_field(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    if std::str::from_utf8(bytes).is_err() {
        out.extend_from_slice(b"_hex\":\"");
        hex(out, bytes);
        out.push(b'"');
        return;
    }
    out.extend_from_slice(b"\":\"");
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&b| b < 0x20 || b == b'"' || b == b'\\') {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            control => {
                let _ = write!(out, "\\u{control:04x}");
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn timestamp(out: &mut Vec<u8>, time: Timestamp) {
    out.push(b'[');
    if time.seconds < 0 {
        out.push(b'-');
    }
    number(out, time.seconds.unsigned_abs());
    out.push(b',');
    number(out, time.nanoseconds.into());
    out.push(b']');
}

/// In decimal digits, without the detour of `write!`: a line has ten numbers.
fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // A digit.
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Ok(b - b'0'),
        b'a'..=b'f' => Ok(b - b'a' + 10),
        _ => Err(format!("{text:?} is not lower-case hexadecimal")),
    };
    if !text.len().is_multiple_of(2) {
        return Err(format!("{text:?} has an odd number of digits"));
    }
    text.as_bytes().chunks_exact(2).map(|pair| Ok(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// A line as it is parsed, before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    path: Option<String>,
    path_hex: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'a str,
    size: Option<u64>,
    sha256: Option<&'a str>,
    sha256_blocks: Option<&'a str>,
    target: Option<String>,
    target_hex: Option<&'a str>,
    device: Option<(u32, u32)>,
    mode: &'a str,
    uid: u32,
    gid: u32,
    mtime: (i64, u32),
    #[serde(borrow, default)]
    xattrs: Vec<XattrLine<'a>>,
    hard_link: Option<String>,
    hard_link_hex: Option<&'a str>,
    origin: Option<OriginLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct XattrLine<'a> {
    name: Option<String>,
    name_hex: Option<&'a str>,
    value_hex: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginLine {
    inode: u64,
    ctime: (i64, u32),
    settled: bool,
}

/// Reads a line, without its newline. The error says in one sentence what is wrong with it.
pub(crate) fn decode(line: &[u8]) -> Result<Entry, String> {
    quick::decode(line).map_or_else(|| decode_any(line), Ok)
}

fn decode_any(line: &[u8]) -> Result<Entry, String> {
    let mut line: Line<'_> = serde_json::from_slice(line).map_err(|e| e.to_string())?;
    let path = relative(bytes_of("path", line.path.take(), line.path_hex)?)?;
    let hard_link = match (line.hard_link.take(), line.hard_link_hex) {
        (None, None) => None,
        (text, hex) => Some(relative(bytes_of("hard_link", text, hex)?)?),
    };
    if hard_link.as_ref().is_some_and(|first| line.kind != "file" || *first >= path) {
        return Err("its hard_link is not an earlier file".to_owned());
    }
    let mode = u32::from_str_radix(line.mode, 8).ok().filter(|mode| *mode <= 0o7777);
    let mut xattrs = Vec::with_capacity(line.xattrs.len());
    for xattr in line.xattrs.drain(..) {
        let name = bytes_of("name", xattr.name, xattr.name_hex)?;
        xattrs.push(Xattr { name, value: unhex(xattr.value_hex)? });
    }
    let origin = match &line.origin {
        None => None,
        Some(o) => Some(Origin { inode: o.inode, ctime: instant(o.ctime)?, settled: o.settled }),
    };
    Ok(Entry {
        mode: mode.ok_or_else(|| format!("{:?} is not a mode", line.mode))?,
        uid: line.uid,
        gid: line.gid,
        mtime: instant(line.mtime)?,
        kind: kind_of(line)?,
        path,
        xattrs,
        hard_link,
        origin,
    })
}

fn kind_of(line: Line<'_>) -> Result<Kind, String> {
    let is = line.kind;
    let wanted = (is == "file", is == "symlink", matches!(is, "char" | "block"));
    let hashed = line.sha256.is_some() || line.sha256_blocks.is_some();
    let linked = line.target.is_some() || line.target_hex.is_some();
    if wanted != (line.size.is_some(), linked, line.device.is_some()) || (hashed && is != "file") {
        return Err(format!("its fields are not those of a {is}"));
    }
    let device = line.device.unwrap_or_default();
    Ok(match is {
        "file" => Kind::File(file_facts(line.size.unwrap_or_default(), line.sha256, line.sha256_blocks)?),
        "folder" => Kind::Directory,
        "symlink" => Kind::Symlink(bytes_of("target", line.target, line.target_hex)?),
        "fifo" => Kind::Fifo,
        "socket" => Kind::Socket,
        "char" => Kind::CharDevice { major: device.0, minor: device.1 },
        "block" => Kind::BlockDevice { major: device.0, minor: device.1 },
        _ => return Err(format!("{is:?} is not a type of entry")),
    })
}

fn file_facts(size: u64, plain: Option<&str>, blocks: Option<&str>) -> Result<FileFacts, String> {
    let text = match (plain, blocks) {
        (None, None) => return Ok(FileFacts { size, sha256: None }),
        (Some(text), None) if size < BLOCK_RULE_SIZE => text,
        (None, Some(text)) if size >= BLOCK_RULE_SIZE => text,
        _ => return Err(format!("its kind of hash does not fit its size of {size} bytes")),
    };
    let hash = unhex(text)?.try_into().map_err(|_| format!("{text:?} is not a SHA-256"))?;
    Ok(FileFacts { size, sha256: Some(hash) })
}

fn bytes_of(field: &str, text: Option<String>, hex: Option<&str>) -> Result<Vec<u8>, String> {
    match (text, hex) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(hex)) => unhex(hex),
        _ => Err(format!("it must have one of {field} and {field}_hex")),
    }
}

fn relative(bytes: Vec<u8>) -> Result<RelPath, String> {
    RelPath::from_bytes(bytes).ok_or_else(|| "its path is not a relative path inside the tree".to_owned())
}

fn instant((seconds, nanoseconds): (i64, u32)) -> Result<Timestamp, String> {
    if nanoseconds >= 1_000_000_000 {
        return Err(format!("{nanoseconds} nanoseconds are a second or more"));
    }
    Ok(Timestamp { seconds, nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &[u8], kind: Kind) -> Entry {
        Entry {
            path: RelPath::from_bytes(path.to_vec()).unwrap(),
            kind,
            mode: 0o4755,
            uid: 1000,
            gid: 4_294_967_294,
            mtime: Timestamp { seconds: -2, nanoseconds: 999_999_999 },
            xattrs: Vec::new(),
            hard_link: None,
            origin: None,
        }
    }

    fn lines() -> Vec<Entry> {
        let facts = |size| FileFacts { size, sha256: Some([0xa5; 32]) };
        let mut odd = entry(b"new\nline \"quoted\" \\ tab\t \x7f \xc3\xa9", Kind::File(facts(5)));
        odd.xattrs = vec![
            Xattr { name: b"system.posix_acl_access".to_vec(), value: vec![2, 0, 0, 0, 255] },
            Xattr { name: b"user.\xff".to_vec(), value: Vec::new() },
        ];
        odd.origin =
            Some(Origin { inode: u64::MAX, ctime: Timestamp { seconds: 1, nanoseconds: 2 }, settled: true });
        let mut linked = entry(b"z/later", Kind::File(FileFacts { size: 7, sha256: None }));
        linked.hard_link = RelPath::from_bytes(b"a\xfe/first".to_vec());
        vec![
            entry(b"", Kind::Directory),
            odd,
            entry(b"\xff\xfe/invalid", Kind::File(facts(BLOCK_RULE_SIZE))),
            entry(b"link", Kind::Symlink(b"../\xff".to_vec())),
            entry(b"link2", Kind::Symlink(b"/etc/\n".to_vec())),
            entry(b"pipe", Kind::Fifo),
            entry(b"socket", Kind::Socket),
            entry(b"tty", Kind::CharDevice { major: 4, minor: 64 }),
            entry(b"vda", Kind::BlockDevice { major: 254, minor: 1_048_575 }),
            linked,
        ]
    }

    #[test]
    fn every_kind_of_entry_survives_the_way_to_a_line_and_back() {
        for entry in lines() {
            let mut line = Vec::new();
            encode(&entry, &mut line);
            assert_eq!(line.pop(), Some(b'\n'));
            assert!(!line.contains(&b'\n'), "an entry is one line");
            assert_eq!(decode(&line).unwrap(), entry, "{}", String::from_utf8_lossy(&line));
            assert_eq!(decode_any(&line).unwrap(), entry, "{}", String::from_utf8_lossy(&line));
        }
    }

    #[test]
    fn an_ordinary_line_is_read_the_quick_way_and_means_the_same() {
        let mut file = entry("a/\u{e9} b.dat".as_bytes(), Kind::File(FileFacts { size: 0, sha256: None }));
        file.mtime = Timestamp { seconds: 0, nanoseconds: 0 };
        file.mode = 0o7;
        file.origin = Some(Origin {
            inode: u64::MAX,
            ctime: Timestamp { seconds: i64::MAX, nanoseconds: 999_999_999 },
            settled: true,
        });
        let mut hashed = file.clone();
        hashed.kind = Kind::File(FileFacts { size: BLOCK_RULE_SIZE - 1, sha256: Some([0xf0; 32]) });
        hashed.origin = None;
        let folder = Entry { kind: Kind::Directory, ..file.clone() };
        let top = Entry { path: RelPath::top(), ..folder.clone() };
        for entry in [file, hashed, folder, top] {
            let mut line = Vec::new();
            encode(&entry, &mut line);
            line.pop();
            assert_eq!(quick::decode(&line), Some(entry), "{}", String::from_utf8_lossy(&line));
        }
    }

    /// One byte of a good line made another, dropped or doubled: whatever the quick way takes, the thorough one takes too.
    #[test]
    fn the_quick_way_never_takes_what_the_thorough_one_refuses() {
        for entry in lines() {
            let mut line = Vec::new();
            encode(&Entry { mtime: Timestamp { seconds: 5, nanoseconds: 6 }, ..entry }, &mut line);
            line.pop();
            for at in 0..line.len() {
                let mut wrongs =
                    vec![[&line[..at], &line[at + 1..]].concat(), [&line[..=at], &line[at..]].concat()];
                wrongs.extend(b"0179-.aA/\\\"{}[]:, \n\x00\xff".iter().map(|&byte| {
                    let mut wrong = line.clone();
                    wrong[at] = byte;
                    wrong
                }));
                for wrong in wrongs {
                    if let Some(taken) = quick::decode(&wrong) {
                        assert_eq!(decode_any(&wrong), Ok(taken), "{}", String::from_utf8_lossy(&wrong));
                    }
                }
            }
        }
    }

    #[test]
    fn a_line_that_could_lead_a_restore_astray_is_refused() {
        let good = r#"{"path":"a","type":"file","size":1,"mode":"0644","uid":0,"gid":0,"mtime":[0,0]}"#;
        assert!(decode(good.as_bytes()).is_ok());
        for (from, to) in [
            (r#""path":"a""#, r#""path":"../a""#),
            (r#""path":"a""#, r#""path":"/a""#),
            (r#""path":"a""#, r#""path_hex":"2e2e""#),
            (r#""path":"a""#, r#""path":"a","path_hex":"61""#),
            (r#""type":"file""#, r#""type":"folder""#),
            (r#""type":"file""#, r#""type":"door""#),
            (r#""mode":"0644""#, r#""mode":"10644""#),
            (r#""mtime":[0,0]"#, r#""mtime":[0,1000000000]"#),
            (r#""size":1"#, r#""size":1,"sha256":"00""#),
            (r#""size":1"#, r#""size":-1"#),
            (r#""size":1"#, r#""size":1,"colour":"red""#),
            (r#""size":1"#, r#""size":1,"hard_link":"b""#),
            (r#""size":1"#, r#""size":1,"hard_link":"../x""#),
        ] {
            let wrong = good.replace(from, to);
            assert_ne!(wrong, good);
            assert!(decode(wrong.as_bytes()).is_err(), "{wrong} was taken");
        }
    }
}
