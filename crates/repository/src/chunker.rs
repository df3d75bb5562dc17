//! Where content is cut into blobs: at places that the content itself decides, so that an insertion moves no later cut.
//!
//! A gear hash over the last 64 bytes (Xia et al., "FastCDC", 2016), with the bounds that restic has. Its table is made from
//! the polynomial of the repository, which only its keys open: the lengths of blobs tell nobody which known file is in it.

use sha2::{Digest, Sha256};

/// No chunk but the last of a file is shorter, in bytes.
pub(crate) const CHUNK_BYTES_MIN: usize = 512 << 10;
/// No chunk is longer, in bytes.
pub(crate) const CHUNK_BYTES_MAX: usize = 8 << 20;
/// Before this length a cut is rarer than after, so that most chunks are about so long.
const CHUNK_BYTES_NORMAL: usize = 1 << 20;

/// How many bytes the hash looks back: each moves out to the left after so many shifts.
const WINDOW: usize = 64;
/// A cut is where the hash is below: one byte in 2^21 before the normal length, one in 2^19 after.
const RARE: u64 = 1 << (64 - 21);
const OFTEN: u64 = 1 << (64 - 19);

/// Cuts content.
#[derive(Debug)]
pub(crate) struct Chunker {
    gear: Box<[u64; 256]>,
}

impl Chunker {
    /// The chunker of the repository with this polynomial.
    pub fn new(polynomial: u64) -> Self {
        let mut gear = Box::new([0; 256]);
        for (byte, value) in gear.iter_mut().enumerate() {
            let mut hash = Sha256::new();
            hash.update(b"stillpoint-gear-1\n");
            hash.update(polynomial.to_le_bytes());
            hash.update([byte.to_le_bytes()[0]]);
            let digest = hash.finalize();
            *value = digest.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
        }
        Self { gear }
    }

    /// The length of the first chunk of `data`, which must hold [`CHUNK_BYTES_MAX`] bytes or all that is left.
    pub fn cut(&self, data: &[u8]) -> usize {
        if data.len() <= CHUNK_BYTES_MIN {
            return data.len();
        }
        let end = data.len().min(CHUNK_BYTES_MAX);
        let normal = end.min(CHUNK_BYTES_NORMAL);
        let step = |hash: u64, byte: u8| (hash << 1).wrapping_add(self.gear[usize::from(byte)]);
        let before = &data[CHUNK_BYTES_MIN - WINDOW..CHUNK_BYTES_MIN];
        let mut hash = before.iter().fold(0, |hash, byte| step(hash, *byte));
        for (bound, from, to) in [(RARE, CHUNK_BYTES_MIN, normal), (OFTEN, normal, end)] {
            for (at, byte) in data[from..to].iter().enumerate() {
                hash = step(hash, *byte);
                if hash < bound {
                    return from + at + 1;
                }
            }
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that look random and are the same every time.
    fn noise(count: usize) -> Vec<u8> {
        let mut state = 7_u64;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        };
        (0..count).map(next).collect()
    }

    fn cuts(chunker: &Chunker, mut data: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while !data.is_empty() {
            let length = chunker.cut(data);
            lengths.push(length);
            data = &data[length..];
        }
        lengths
    }

    #[test]
    fn chunks_keep_their_bounds_and_are_about_a_mebibyte() {
        let data = noise(64 << 20);
        let lengths = cuts(&Chunker::new(1), &data);
        let (_, whole) = lengths.split_last().unwrap();
        assert!(whole.iter().all(|length| (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(length)));
        let mean = data.len() / lengths.len();
        assert!((800 << 10..1400 << 10).contains(&mean), "{mean}");
    }

    #[test]
    fn an_insertion_moves_no_later_cut() {
        let chunker = Chunker::new(1);
        let data = noise(16 << 20);
        let ends = |lengths: Vec<usize>, shift: usize| -> Vec<usize> {
            lengths
                .iter()
                .scan(0, |end, length| {
                    *end += length;
                    Some(*end)
                })
                .map(|end| end.wrapping_sub(shift))
                .collect()
        };
        let before = ends(cuts(&chunker, &data), 0);
        let mut changed = data[..1000].to_vec();
        changed.extend_from_slice(b"inserted");
        changed.extend_from_slice(&data[1000..]);
        let after = ends(cuts(&chunker, &changed), 8);
        assert_eq!(before[2..], after[2..]);
    }

    #[test]
    fn another_key_cuts_elsewhere_and_the_same_one_at_the_same_places() {
        let data = noise(8 << 20);
        assert_eq!(cuts(&Chunker::new(1), &data), cuts(&Chunker::new(1), &data));
        assert_ne!(cuts(&Chunker::new(1), &data), cuts(&Chunker::new(2), &data));
    }

    #[test]
    fn a_short_rest_is_a_chunk_and_equal_bytes_end_at_the_bound() {
        let chunker = Chunker::new(1);
        assert_eq!(chunker.cut(&[]), 0);
        assert_eq!(chunker.cut(&[1; 10]), 10);
        assert_eq!(cuts(&chunker, &vec![0; 9 << 20]), [8 << 20, 1 << 20]);
    }
}
