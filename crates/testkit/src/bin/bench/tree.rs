//! A tree of many files with content that does not repeat.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where file `number` of a tree lies: 100 to a folder.
pub fn path(top: &Path, number: u64) -> PathBuf {
    top.join(format!("{:04}", number / 100)).join(format!("{number:07}.dat"))
}

/// A cheap generator (xorshift64*), seeded by the number, so that no two files are alike.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn fill(&mut self, buffer: &mut [u8]) {
        for part in buffer.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            part.copy_from_slice(&bytes[..part.len()]);
        }
    }
}

/// Makes `files` files of `size_min` to twice that many bytes. Returns the bytes written.
pub fn make(top: &Path, files: u64, size_min: usize) -> u64 {
    let mut total = 0;
    let mut buffer = vec![0_u8; size_min * 2];
    for number in 0..files {
        let path = path(top, number);
        if number % 100 == 0 {
            std::fs::create_dir_all(path.parent().expect("a file lies in a folder"))
                .expect("create a folder");
        }
        let mut noise = Noise::new(number);
        let size = size_min + usize::try_from(noise.next()).unwrap_or(0) % size_min.max(1);
        noise.fill(&mut buffer[..size]);
        File::create(&path).and_then(|mut file| file.write_all(&buffer[..size])).expect("write a file");
        total += size as u64;
    }
    total
}
