//! The hash of a file's content, which does not depend on where its holes are.
//!
//! Up to [`BLOCK_RULE_SIZE`] it is the SHA-256 that every tool computes. Beyond, zeros must not cost time: a sparse file of
//! a terabyte would take ten minutes. There it is the SHA-256 over the hashes of those blocks that are not all zeros,
//! each with its number, behind the size. Whether zeros are a hole or written makes no difference in either.

use sha2::{Digest, Sha256};

/// Files of this many bytes and more are hashed by the block rule: SHA-256 over the 20 bytes `stillpoint-blocks-1` and
/// newline, the size as 8 bytes with the lowest first, and for each block of 1 MiB (the last one may be shorter) that is not all zeros, in
/// order, its number from 0 as 8 bytes with the lowest first and the SHA-256 of its bytes. Smaller files have their plain
/// SHA-256.
pub const BLOCK_RULE_SIZE: u64 = 4 << 30;

const BLOCK_BYTES: u64 = 1 << 20;
const BLOCK_RULE_NAME: &[u8; 20] = b"stillpoint-blocks-1\n";
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Takes content from its beginning to its end.
#[derive(Debug)]
pub struct ContentHash(Rule);

#[derive(Debug)]
enum Rule {
    Plain(Sha256),
    Blocks(BlockHash),
}

impl ContentHash {
    /// For a file of `size` bytes; exactly that many must be taken.
    pub fn new(size: u64) -> Self {
        Self(if size >= BLOCK_RULE_SIZE {
            Rule::Blocks(BlockHash::new(size))
        } else {
            Rule::Plain(Sha256::new())
        })
    }

    /// Takes bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Rule::Plain(hash) => hash.update(bytes),
            Rule::Blocks(blocks) => blocks.take(bytes),
        }
    }

    /// Takes this many zeros.
    pub fn take_zeros(&mut self, count: u64) {
        match &mut self.0 {
            Rule::Plain(hash) => update_with_zeros(hash, count),
            Rule::Blocks(blocks) => blocks.take_zeros(count),
        }
    }

    /// The hash of what was taken.
    pub fn finish(self) -> [u8; 32] {
        match self.0 {
            Rule::Plain(hash) => hash.finalize().into(),
            Rule::Blocks(blocks) => blocks.finish(),
        }
    }
}

/// Takes content whose length nobody knows before its end, and hashes it by the rule of its length.
#[derive(Debug)]
pub struct StreamHash {
    size: u64,
    /// Until it is too long for it.
    plain: Option<Sha256>,
    block: Sha256,
    filled: u64,
    block_is_zero: bool,
    /// Number and hash of the blocks that are not all zeros: 40 bytes for each MiB.
    blocks: Vec<(u64, [u8; 32])>,
}

impl Default for StreamHash {
    fn default() -> Self {
        Self {
            size: 0,
            plain: Some(Sha256::new()),
            block: Sha256::new(),
            filled: 0,
            block_is_zero: true,
            blocks: Vec::new(),
        }
    }
}

impl StreamHash {
    /// Takes bytes.
    pub fn take(&mut self, mut bytes: &[u8]) {
        if let Some(plain) = &mut self.plain {
            plain.update(bytes);
        }
        while !bytes.is_empty() {
            // At most the length of the slice.
            let some = (BLOCK_BYTES - self.filled).min(bytes.len() as u64) as usize;
            let (now, later) = bytes.split_at(some);
            self.block.update(now);
            self.block_is_zero &= now.iter().fold(0, |all, byte| all | byte) == 0;
            self.filled += some as u64;
            self.size += some as u64;
            if self.filled == BLOCK_BYTES {
                self.end_block();
            }
            bytes = later;
        }
        if self.size >= BLOCK_RULE_SIZE {
            self.plain = None;
        }
    }

    fn end_block(&mut self) {
        let hash = std::mem::take(&mut self.block).finalize();
        if !self.block_is_zero {
            self.blocks.push(((self.size - 1) / BLOCK_BYTES, hash.into()));
        }
        self.filled = 0;
        self.block_is_zero = true;
    }

    /// The facts of what was taken.
    #[must_use]
    pub fn finish(mut self) -> crate::FileFacts {
        let size = self.size;
        if let Some(plain) = self.plain {
            return crate::FileFacts { size, sha256: Some(plain.finalize().into()) };
        }
        if self.filled > 0 {
            self.end_block();
        }
        let mut all = Sha256::new();
        all.update(BLOCK_RULE_NAME);
        all.update(size.to_le_bytes());
        for (number, hash) in &self.blocks {
            all.update(number.to_le_bytes());
            all.update(hash);
        }
        crate::FileFacts { size, sha256: Some(all.finalize().into()) }
    }
}

fn update_with_zeros(hash: &mut Sha256, mut count: u64) {
    while count > 0 {
        let some = count.min(ZEROS.len() as u64);
        // No more than the length of the array.
        hash.update(&ZEROS[..some as usize]);
        count -= some;
    }
}

/// The block rule.
#[derive(Debug)]
struct BlockHash {
    all: Sha256,
    number: u64,
    /// How much of the current block was taken.
    filled: u64,
    /// Begun with the first byte of the current block that is not zero.
    block: Option<Sha256>,
}

impl BlockHash {
    fn new(size: u64) -> Self {
        let mut all = Sha256::new();
        all.update(BLOCK_RULE_NAME);
        all.update(size.to_le_bytes());
        Self { all, number: 0, filled: 0, block: None }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // At most the length of the slice.
            let some = (BLOCK_BYTES - self.filled).min(bytes.len() as u64) as usize;
            let (now, later) = bytes.split_at(some);
            match &mut self.block {
                Some(block) => block.update(now),
                None if now.iter().fold(0, |all, byte| all | byte) == 0 => {}
                None => {
                    let mut block = Sha256::new();
                    update_with_zeros(&mut block, self.filled);
                    block.update(now);
                    self.block = Some(block);
                }
            }
            self.advance(some as u64);
            bytes = later;
        }
    }

    fn take_zeros(&mut self, mut count: u64) {
        while count > 0 {
            if self.filled == 0 {
                self.number += count / BLOCK_BYTES;
                self.filled = count % BLOCK_BYTES;
                return;
            }
            let some = count.min(BLOCK_BYTES - self.filled);
            if let Some(block) = &mut self.block {
                update_with_zeros(block, some);
            }
            self.advance(some);
            count -= some;
        }
    }

    fn advance(&mut self, count: u64) {
        self.filled += count;
        if self.filled == BLOCK_BYTES {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        if let Some(block) = self.block.take() {
            self.all.update(self.number.to_le_bytes());
            self.all.update(block.finalize());
        }
        self.number += 1;
        self.filled = 0;
    }

    fn finish(mut self) -> [u8; 32] {
        if self.filled > 0 {
            self.end_block();
        }
        self.all.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The block rule as the document words it.
    fn by_the_document(content: &[u8]) -> [u8; 32] {
        let mut text = b"stillpoint-blocks-1\n".to_vec();
        text.extend((content.len() as u64).to_le_bytes());
        for (number, block) in content.chunks(1 << 20).enumerate() {
            if block.iter().any(|&b| b != 0) {
                text.extend((number as u64).to_le_bytes());
                text.extend(Sha256::digest(block));
            }
        }
        Sha256::digest(text).into()
    }

    #[test]
    fn a_stream_has_the_hash_that_a_file_of_its_length_has() {
        let content = sample();
        let mut stream = StreamHash::default();
        content.chunks(77_777).for_each(|some| stream.take(some));
        let size = content.len() as u64;
        assert_eq!(stream.finish(), crate::FileFacts { size, sha256: Some(Sha256::digest(&content).into()) });
        // As if it were longer than the plain rule allows.
        let mut stream = StreamHash { plain: None, ..StreamHash::default() };
        content.chunks(77_777).for_each(|some| stream.take(some));
        assert_eq!(stream.finish().sha256, Some(by_the_document(&content)));
    }

    fn sample() -> Vec<u8> {
        let mut content = vec![0; 5 * (1 << 20) + 77];
        for at in [1, (1 << 20) - 1, 3 << 20, (3 << 20) + 5000, (5 << 20) + 76] {
            content[at] = 1;
        }
        content
    }

    #[test]
    fn the_block_rule_is_as_documented_however_the_content_comes() {
        let content = sample();
        for step in [1000, 4096, 1 << 20, (1 << 20) + 1, usize::MAX] {
            let mut hash = BlockHash::new(content.len() as u64);
            for piece in content.chunks(step.min(content.len())) {
                hash.take(piece);
            }
            assert_eq!(hash.finish(), by_the_document(&content), "in steps of {step}");
        }
    }

    #[test]
    fn holes_and_zeros_hash_alike() {
        let content = sample();
        for step in [1, 4096, 65_536, 3 << 20] {
            for mut hash in
                [ContentHash(Rule::Blocks(BlockHash::new(content.len() as u64))), ContentHash::new(0)]
            {
                let plain = matches!(hash, ContentHash(Rule::Plain(_)));
                for piece in content.chunks(step) {
                    if piece.iter().all(|&b| b == 0) {
                        hash.take_zeros(piece.len() as u64)
                    } else {
                        hash.take(piece)
                    }
                }
                let expected =
                    if plain { Sha256::digest(&content).into() } else { by_the_document(&content) };
                assert_eq!(hash.finish(), expected, "in steps of {step}");
            }
        }
    }

    #[test]
    fn only_big_files_use_the_block_rule() {
        assert!(matches!(ContentHash::new(BLOCK_RULE_SIZE - 1), ContentHash(Rule::Plain(_))));
        assert!(matches!(ContentHash::new(BLOCK_RULE_SIZE), ContentHash(Rule::Blocks(_))));
    }
}
