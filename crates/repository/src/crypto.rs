//! AES-256 in counter mode with Poly1305-AES, as restic uses them (`doc/design.rst`, "Keys, Encryption and MAC").
//!
//! Sealed bytes are IV, ciphertext and MAC, in this order. The MAC is over the ciphertext, and its nonce is the IV.

use aes::cipher::{BlockEncrypt, KeyInit, KeyIvInit, StreamCipher};
use aes::{Aes128, Aes256};
use poly1305::Poly1305;
use poly1305::universal_hash::generic_array::GenericArray;
use zeroize::{Zeroize, ZeroizeOnDrop};

const IV_BYTES: usize = 16;
const MAC_BYTES: usize = 16;

/// How much longer sealed bytes are than plain ones.
pub(crate) const OVERHEAD: usize = IV_BYTES + MAC_BYTES;

/// The MAC is wrong: another key, or other bytes than were sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAuthentic;

/// A key for both: 32 bytes for AES-256, 16 (`k`) and 16 (`r`) for Poly1305-AES.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct CipherKey {
    pub encrypt: [u8; 32],
    pub mac_k: [u8; 16],
    pub mac_r: [u8; 16],
}

impl CipherKey {
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut key = Self { encrypt: [0; 32], mac_k: [0; 16], mac_r: [0; 16] };
        getrandom::fill(&mut key.encrypt)?;
        getrandom::fill(&mut key.mac_k)?;
        getrandom::fill(&mut key.mac_r)?;
        Ok(key)
    }

    /// In the order in which a key is derived from a password.
    pub fn from_derived(bytes: &[u8; 64]) -> Self {
        let mut key = Self { encrypt: [0; 32], mac_k: [0; 16], mac_r: [0; 16] };
        key.encrypt.copy_from_slice(&bytes[..32]);
        key.mac_k.copy_from_slice(&bytes[32..48]);
        key.mac_r.copy_from_slice(&bytes[48..]);
        key
    }

    /// Seals what follows the first [`IV_BYTES`] of `buffer`, which the IV takes; the MAC is appended.
    fn seal_in_place(&self, buffer: &mut Vec<u8>) -> Result<(), getrandom::Error> {
        let (iv, text) = buffer.split_at_mut(IV_BYTES);
        getrandom::fill(iv)?;
        self.stream(iv, text);
        let mac = self.mac(iv, text);
        buffer.extend_from_slice(&mac);
        Ok(())
    }

    /// Appends `plain`, sealed, to `out`.
    pub fn seal_onto(&self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), getrandom::Error> {
        let begin = out.len();
        out.reserve(plain.len() + OVERHEAD);
        out.resize(begin + IV_BYTES, 0);
        out.extend_from_slice(plain);
        let (iv, text) = out[begin..].split_at_mut(IV_BYTES);
        getrandom::fill(iv)?;
        self.stream(iv, text);
        let mac = self.mac(iv, text);
        out.extend_from_slice(&mac);
        Ok(())
    }

    /// Seals `plain`.
    pub fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, getrandom::Error> {
        let mut buffer = Vec::with_capacity(plain.len() + OVERHEAD);
        buffer.resize(IV_BYTES, 0);
        buffer.extend_from_slice(plain);
        self.seal_in_place(&mut buffer)?;
        Ok(buffer)
    }

    /// Opens sealed bytes in their place; returns the plain text.
    pub fn open<'s>(&self, sealed: &'s mut [u8]) -> Result<&'s mut [u8], NotAuthentic> {
        if sealed.len() < OVERHEAD {
            return Err(NotAuthentic);
        }
        let (iv, rest) = sealed.split_at_mut(IV_BYTES);
        let (text, mac) = rest.split_at_mut(rest.len() - MAC_BYTES);
        // In the same time whatever differs: a store must learn nothing from how long we look.
        let differs = self.mac(iv, text).iter().zip(mac.iter()).fold(0, |acc, (a, b)| acc | (a ^ b));
        if differs != 0 {
            return Err(NotAuthentic);
        }
        self.stream(iv, text);
        Ok(text)
    }

    fn stream(&self, iv: &[u8], text: &mut [u8]) {
        let key = GenericArray::from_slice(&self.encrypt);
        ctr::Ctr128BE::<Aes256>::new(key, GenericArray::from_slice(iv)).apply_keystream(text);
    }

    fn mac(&self, iv: &[u8], text: &[u8]) -> [u8; MAC_BYTES] {
        let mut nonce = GenericArray::clone_from_slice(iv);
        Aes128::new(GenericArray::from_slice(&self.mac_k)).encrypt_block(&mut nonce);
        let mut key = [0; 32];
        key[..16].copy_from_slice(&self.mac_r);
        key[16..].copy_from_slice(&nonce);
        Poly1305::new(GenericArray::from_slice(&key)).compute_unpadded(text).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_and_what_was_touched_does_not() {
        let key = CipherKey::random().unwrap();
        for plain in [&b""[..], b"a", &[7; 4096]] {
            let mut sealed = key.seal(plain).unwrap();
            assert_eq!(sealed.len(), plain.len() + OVERHEAD);
            let mut onto = b"before".to_vec();
            key.seal_onto(plain, &mut onto).unwrap();
            assert_eq!(key.open(&mut onto[6..]).unwrap(), plain);
            for at in [0, IV_BYTES - 1, sealed.len() - 1, sealed.len() / 2] {
                let mut touched = sealed.clone();
                touched[at] ^= 1;
                assert_eq!(key.open(&mut touched), Err(NotAuthentic));
            }
            assert_eq!(key.open(&mut sealed).unwrap(), plain);
        }
        assert_eq!(key.open(&mut [0; OVERHEAD - 1]), Err(NotAuthentic));
        let mut sealed = key.seal(b"secret").unwrap();
        assert_eq!(CipherKey::random().unwrap().open(&mut sealed), Err(NotAuthentic));
    }

    /// From "The Poly1305-AES message-authentication code", D. J. Bernstein, 2005, appendix B.
    #[test]
    fn the_mac_is_poly1305_aes() {
        let key = CipherKey {
            encrypt: [0; 32],
            mac_k: [
                0xec, 0x07, 0x4c, 0x83, 0x55, 0x80, 0x74, 0x17, 0x01, 0x42, 0x5b, 0x62, 0x32, 0x35, 0xad,
                0xd6,
            ],
            mac_r: [
                0x85, 0x1f, 0xc4, 0x0c, 0x34, 0x67, 0xac, 0x0b, 0xe0, 0x5c, 0xc2, 0x04, 0x04, 0xf3, 0xf7,
                0x00,
            ],
        };
        let nonce =
            [0xfb, 0x44, 0x73, 0x50, 0xc4, 0xe8, 0x68, 0xc5, 0x2a, 0xc3, 0x27, 0x5c, 0xf9, 0xd4, 0x32, 0x7e];
        let expected =
            [0xf4, 0xc6, 0x33, 0xc3, 0x04, 0x4f, 0xc1, 0x45, 0xf8, 0x4f, 0x33, 0x5c, 0xb8, 0x19, 0x53, 0xde];
        assert_eq!(key.mac(&nonce, &[0xf3, 0xf6]), expected);
    }
}
