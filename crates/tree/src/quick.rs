//! Reading an ordinary line of a list, in exactly the form in which `line.rs` writes it: a list of a million lines is read
//! several times in a run. Whatever is not ordinary (another order or spacing, escapes, attributes, several names, kinds
//! other than file and folder) is left to the thorough reader, so that there is one place that says what is wrong.

use crate::{BLOCK_RULE_SIZE, Entry, FileFacts, Kind, Origin, RelPath, Timestamp};

/// The entry of the line; nothing when the line is not ordinary, be it good or bad.
pub(crate) fn decode(line: &[u8]) -> Option<Entry> {
    let mut rest = Rest(line);
    rest.expect(b"{\"path\":\"")?;
    let path = RelPath::from_bytes(rest.text()?.to_vec())?;
    rest.expect(b"\",\"type\":\"")?;
    let kind = rest.kind()?;
    rest.expect(b",\"mode\":\"")?;
    let mode = rest.mode()?;
    rest.expect(b"\",\"uid\":")?;
    let uid = rest.number()?.try_into().ok()?;
    rest.expect(b",\"gid\":")?;
    let gid = rest.number()?.try_into().ok()?;
    rest.expect(b",\"mtime\":")?;
    let mtime = rest.timestamp()?;
    let origin = if rest.expect(b",\"origin\":{\"inode\":").is_some() { Some(rest.origin()?) } else { None };
    rest.expect(b"}")?;
    let entry = Entry { path, kind, mode, uid, gid, mtime, xattrs: Vec::new(), hard_link: None, origin };
    rest.0.is_empty().then_some(entry)
}

/// What is left of the line.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn expect(&mut self, text: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    /// Up to the next quote, which stays.
    fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20)?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest;
        (rest[0] == b'"' && std::str::from_utf8(text).is_ok()).then_some(text)
    }

    fn number(&mut self) -> Option<u64> {
        let digits = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        if digits == 0 || (number[0] == b'0' && digits > 1) {
            return None;
        }
        number
            .iter()
            .try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
    }

    fn timestamp(&mut self) -> Option<Timestamp> {
        self.expect(b"[")?;
        let seconds = self.number()?.try_into().ok()?;
        self.expect(b",")?;
        let nanoseconds = u32::try_from(self.number()?).ok().filter(|part| *part < 1_000_000_000)?;
        self.expect(b"]")?;
        Some(Timestamp { seconds, nanoseconds })
    }

    fn mode(&mut self) -> Option<u32> {
        let (mode, rest) = self.0.split_at_checked(4)?;
        self.0 = rest;
        mode.iter().try_fold(0, |value, digit| {
            matches!(digit, b'0'..=b'7').then(|| value << 3 | u32::from(digit - b'0'))
        })
    }

    fn kind(&mut self) -> Option<Kind> {
        if self.expect(b"folder\"").is_some() {
            return Some(Kind::Directory);
        }
        self.expect(b"file\",\"size\":")?;
        let size = self.number().filter(|size| *size < BLOCK_RULE_SIZE)?;
        let sha256 = if self.expect(b",\"sha256\":\"").is_some() { Some(self.hash()?) } else { None };
        Some(Kind::File(FileFacts { size, sha256 }))
    }

    /// With the quote behind it.
    fn hash(&mut self) -> Option<[u8; 32]> {
        let (digits, rest) = self.0.split_at_checked(64)?;
        self.0 = rest;
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        self.expect(b"\"")?;
        Some(hash)
    }

    fn origin(&mut self) -> Option<Origin> {
        let inode = self.number()?;
        self.expect(b",\"ctime\":")?;
        let ctime = self.timestamp()?;
        self.expect(b",\"settled\":")?;
        let settled = self.expect(b"true").is_some();
        if !settled {
            self.expect(b"false")?;
        }
        self.expect(b"}")?;
        Some(Origin { inode, ctime, settled })
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}
