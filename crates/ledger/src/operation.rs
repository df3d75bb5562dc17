//! What an operation is: pure functions of worker and number, shared by the application that does it and by the check
//! that judges it. The order of its steps is what makes the check sharp.

use sha2::{Digest, Sha256};

/// A SHA-256.
pub(crate) type Hash = [u8; 32];

/// The hash before the first operation.
pub(crate) const GENESIS: Hash = [0; 32];

/// Bytes of the hash at the end of each content file.
pub(crate) const TRAILER: usize = 32;

/// One row of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Number of the operation, from 1.
    pub number: u64,
    /// The hash that the content file ends with.
    pub content: Hash,
    /// The chain hash of the operation before.
    pub previous: Hash,
    /// The chain hash of this one.
    pub chain: Hash,
}

impl Row {
    /// The row of an operation that follows one with the chain hash `previous`.
    pub(crate) fn new(number: u64, content: Hash, previous: Hash) -> Self {
        Self { number, content, previous, chain: Self::link(number, &content, &previous) }
    }

    /// Whether the chain hash is the one of the other fields.
    pub(crate) fn is_whole(&self) -> bool {
        self.chain == Self::link(self.number, &self.content, &self.previous)
    }

    fn link(number: u64, content: &Hash, previous: &Hash) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(previous);
        hasher.update(number.to_be_bytes());
        hasher.update(content);
        hasher.finalize().into()
    }
}

/// The content file of an operation: 0 to 16 KiB (most are small), then their hash.
pub(crate) fn content(worker: u32, number: u64) -> Vec<u8> {
    let mut seed = (u64::from(worker) << 48) ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5711_1901;
    let mut next = move || {
        // xorshift64*, Vigna 2016: even spread is all that is wanted.
        seed ^= seed >> 12;
        seed ^= seed << 25;
        seed ^= seed >> 27;
        seed.wrapping_mul(0x2545_F491_4F6C_DD1D)
    };
    let scale = next() % 15;
    let length = (next() % (1 << scale)) as usize;
    let mut bytes = Vec::with_capacity(length + TRAILER + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&next().to_le_bytes());
    }
    bytes.truncate(length);
    let hash = content_hash(worker, number, &bytes);
    bytes.extend_from_slice(&hash);
    bytes
}

/// The hash that ends the content file of `worker` and `number` with this body.
pub(crate) fn content_hash(worker: u32, number: u64, body: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(worker.to_be_bytes());
    hasher.update(number.to_be_bytes());
    hasher.update(body);
    hasher.finalize().into()
}

/// The hash of a content file that is whole; nothing when it is torn or belongs elsewhere.
pub(crate) fn whole_content(worker: u32, number: u64, bytes: &[u8]) -> Option<Hash> {
    let (body, trailer) = bytes.split_at_checked(bytes.len().checked_sub(TRAILER)?)?;
    let hash = content_hash(worker, number, body);
    (hash == trailer).then_some(hash)
}

/// The hash at the end of content that [`content`] made.
pub(crate) fn hash_of_content(bytes: &[u8]) -> Hash {
    bytes.last_chunk().copied().unwrap_or(GENESIS)
}

/// Whether the content file is written piece by piece under its own name; the others come by rename.
pub(crate) fn written_in_place(number: u64) -> bool {
    number.is_multiple_of(3)
}

/// One step of an operation. Steps happen one after the other, so at any instant a beginning of the list is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write the content file.
    WriteFile(u64),
    /// Commit the row to the store with this index.
    InsertRow(usize, u64),
    /// Rewrite the high-water mark with `pwrite`.
    Mark(u64),
    /// Move the high-water mark that is mapped into memory.
    MapMark(u64),
    /// Remove the content file of an operation that left the window.
    RemoveFile(u64),
    /// Delete the row of an operation that left the window from the store with this index.
    DeleteRow(usize, u64),
}

/// What of a ledger never changes after its first start; kept in each store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// How many operations of a worker are kept.
    pub window: u64,
    /// Whether there is a mapped high-water mark.
    pub mapped: bool,
}

/// The steps of an operation, in order. Even numbers write the file first, odd ones the rows; of two stores, each is first
/// half of the time.
pub(crate) fn steps(number: u64, stores: usize, shape: Shape) -> Vec<Step> {
    let mut steps = Vec::with_capacity(2 * stores + 4);
    for part in order(number, stores) {
        steps.push(match part {
            None => Step::WriteFile(number),
            Some(store) => Step::InsertRow(store, number),
        });
    }
    steps.push(Step::Mark(number));
    if shape.mapped {
        steps.push(Step::MapMark(number));
    }
    if number > shape.window {
        let retired = number - shape.window;
        for part in order(retired, stores) {
            steps.push(match part {
                None => Step::RemoveFile(retired),
                Some(store) => Step::DeleteRow(store, retired),
            });
        }
    }
    steps
}

/// The file (nothing) and the stores (their index), in the order of an operation.
fn order(number: u64, stores: usize) -> Vec<Option<usize>> {
    let mut parts: Vec<Option<usize>> = (0..stores).map(Some).collect();
    if number & 2 != 0 {
        parts.reverse();
    }
    if number.is_multiple_of(2) {
        parts.insert(0, None);
    } else {
        parts.push(None);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ends_with_its_own_hash_and_is_of_one_place_only() {
        let bytes = content(2, 77);
        assert!(whole_content(2, 77, &bytes).is_some());
        assert_eq!(whole_content(2, 78, &bytes), None);
        assert_eq!(whole_content(2, 77, &bytes[..bytes.len() - 1]), None);
        assert_eq!(whole_content(2, 77, &[]), None);
    }

    #[test]
    fn content_is_between_nothing_and_16_kib() {
        let lengths: Vec<usize> = (1..5000).map(|number| content(1, number).len() - TRAILER).collect();
        assert!(lengths.iter().all(|&length| length <= 16 * 1024));
        assert!(lengths.contains(&0) && lengths.iter().any(|&length| length > 12 * 1024));
    }

    #[test]
    fn even_numbers_write_the_file_first_and_odd_ones_the_rows() {
        let shape = Shape { window: 10, mapped: false };
        assert_eq!(
            steps(4, 2, shape),
            [Step::WriteFile(4), Step::InsertRow(0, 4), Step::InsertRow(1, 4), Step::Mark(4)]
        );
        assert_eq!(
            steps(13, 2, Shape { mapped: true, ..shape }),
            [
                Step::InsertRow(0, 13),
                Step::InsertRow(1, 13),
                Step::WriteFile(13),
                Step::Mark(13),
                Step::MapMark(13),
                Step::DeleteRow(1, 3),
                Step::DeleteRow(0, 3),
                Step::RemoveFile(3),
            ]
        );
    }

    #[test]
    fn a_changed_field_breaks_the_chain() {
        let row = Row::new(5, [1; 32], [2; 32]);
        assert!(row.is_whole());
        assert!(!Row { number: 6, ..row.clone() }.is_whole());
        assert!(!Row { content: [3; 32], ..row.clone() }.is_whole());
        assert!(!Row { previous: [3; 32], ..row }.is_whole());
    }
}
