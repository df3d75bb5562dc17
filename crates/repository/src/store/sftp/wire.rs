//! The packets of the SSH file transfer protocol, version 3 (draft-ietf-secsh-filexfer-02), as far as the archive needs them.

/// What a packet is, by its first byte.
pub mod kind {
    pub const INIT: u8 = 1;
    pub const VERSION: u8 = 2;
    pub const OPEN: u8 = 3;
    pub const CLOSE: u8 = 4;
    pub const READ: u8 = 5;
    pub const WRITE: u8 = 6;
    pub const FSTAT: u8 = 8;
    pub const OPENDIR: u8 = 11;
    pub const READDIR: u8 = 12;
    pub const REMOVE: u8 = 13;
    pub const MKDIR: u8 = 14;
    pub const STAT: u8 = 17;
    pub const RENAME: u8 = 18;
    pub const STATUS: u8 = 101;
    pub const HANDLE: u8 = 102;
    pub const DATA: u8 = 103;
    pub const NAME: u8 = 104;
    pub const ATTRS: u8 = 105;
    pub const EXTENDED: u8 = 200;
    pub const EXTENDED_REPLY: u8 = 201;
}

/// What a status packet says.
pub mod status {
    pub const OK: u32 = 0;
    pub const EOF: u32 = 1;
    pub const NO_SUCH_FILE: u32 = 2;
    pub const PERMISSION_DENIED: u32 = 3;
}

/// Flags of `OPEN`.
pub mod open {
    pub const READ: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const CREATE: u32 = 8;
    pub const EXCLUSIVE: u32 = 32;
}

const HAS_SIZE: u32 = 1;
const HAS_OWNER: u32 = 2;
const HAS_MODE: u32 = 4;
const HAS_TIMES: u32 = 8;
const HAS_MORE: u32 = 1 << 31;

/// No server sends longer ones (OpenSSH: 256 KiB), and a longer one is not read.
pub const LONGEST_PACKET: usize = 1 << 20;

/// A packet to send: length, kind, then the fields.
pub struct Request(Vec<u8>);

impl Request {
    /// A packet of this kind without fields.
    pub fn new(kind: u8) -> Self {
        Self(vec![0, 0, 0, 0, kind])
    }

    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// A string: its length and its bytes.
    pub fn bytes(self, value: &[u8]) -> Self {
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        let mut longer = self.u32(length);
        longer.0.extend(value);
        longer
    }

    /// The attributes of a new file or folder: its mode.
    pub fn mode(self, mode: u32) -> Self {
        self.u32(HAS_MODE).u32(mode)
    }

    /// The bytes on the line.
    pub fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// The fields of a packet that came; nothing when they end too early.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }

    /// The attributes of a file.
    pub fn facts(&mut self) -> Option<Facts> {
        let flags = self.u32()?;
        let mut facts = Facts::default();
        if flags & HAS_SIZE != 0 {
            facts.size = Some(self.u64()?);
        }
        if flags & HAS_OWNER != 0 {
            self.take(8)?;
        }
        if flags & HAS_MODE != 0 {
            facts.mode = Some(self.u32()?);
        }
        if flags & HAS_TIMES != 0 {
            self.take(8)?;
        }
        if flags & HAS_MORE != 0 {
            for _ in 0..self.u32()? {
                self.bytes()?;
                self.bytes()?;
            }
        }
        Some(facts)
    }
}

/// What is known of a file.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// In bytes.
    pub size: Option<u64>,
    /// Kind and permissions, as in POSIX.
    pub mode: Option<u32>,
}

impl Facts {
    /// Whether it is a regular file. A server that does not tell the mode has nothing else in these folders.
    pub fn is_file(self) -> bool {
        self.mode.is_none_or(|mode| mode & 0o170_000 == 0o100_000)
    }

    /// Whether it is a folder.
    pub fn is_folder(self) -> bool {
        self.mode.is_none_or(|mode| mode & 0o170_000 == 0o040_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let packet = Request::new(kind::OPEN).u32(7).bytes(b"name").u64(1 << 40).mode(0o600).finish();
        assert_eq!(packet[..5], [0, 0, 0, 29, kind::OPEN]);
        let mut fields = Fields(&packet[5..]);
        assert_eq!(fields.u32(), Some(7));
        assert_eq!(fields.bytes(), Some(&b"name"[..]));
        assert_eq!(fields.u64(), Some(1 << 40));
        assert_eq!(fields.facts(), Some(Facts { size: None, mode: Some(0o600) }));
        assert_eq!(fields.u32(), None);
    }

    #[test]
    fn attributes_that_end_early_are_refused() {
        let all = Request::new(0)
            .u32(HAS_SIZE | HAS_OWNER | HAS_MODE | HAS_TIMES | HAS_MORE)
            .u64(5)
            .u64(0)
            .u32(0o100_644)
            .u64(0)
            .u32(1)
            .bytes(b"a")
            .bytes(b"b")
            .finish();
        let fields = &all[5..];
        let facts = Fields(fields).facts().unwrap();
        assert!(facts.is_file() && !facts.is_folder() && facts.size == Some(5));
        for length in 0..fields.len() {
            assert_eq!(Fields(&fields[..length]).facts(), None, "{length}");
        }
    }
}
