//! A recovery key: one more password of an archive, made to be kept on paper and typed in by hand.
//!
//! 160 random bits as four lines of ten characters. Of each line the last two are a checksum over the other eight and the
//! number of the line, so that a mistake is found in its line, and lines that were swapped are, too. The alphabet is
//! Crockford's base 32: no letter looks like a digit, so `o` is read as `0`, `i` and `l` as `1`.
//!
//! The password itself is all 40 characters in small letters with nothing between them: stock restic knows nothing of
//! lines and checksums.

use stillpoint_repository::Secret;

/// The 32 characters. There is no `i`, `l`, `o` and `u`.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

const LINES: usize = 4;
/// Characters of a line that hold the key, 5 bits each.
const KEY_CHARACTERS: usize = 8;
const LINE_CHARACTERS: usize = KEY_CHARACTERS + 2;

/// A recovery key, as its password.
#[derive(Debug)]
pub struct RecoveryKey(Secret);

/// Why a typed text is no recovery key. Never holds what was typed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotARecoveryKey {
    /// It has another length.
    #[error("a recovery key has 4 lines of 10 letters and digits, and these are {0} of them")]
    Length(usize),
    /// It has a character that no recovery key has.
    #[error("a recovery key has no {character:?}, and there is one in line {line}")]
    Character {
        /// The line, from 1.
        line: usize,
        /// The character.
        character: char,
    },
    /// A line does not fit its checksum.
    #[error("line {0} is not as it was printed: at least one of its characters is wrong")]
    Line(usize),
}

impl RecoveryKey {
    /// A new one.
    ///
    /// # Errors
    ///
    /// The kernel gives no randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0_u8; LINES * KEY_CHARACTERS];
        getrandom::fill(&mut bytes)?;
        let mut text = Vec::with_capacity(LINES * LINE_CHARACTERS);
        for (number, line) in bytes.chunks_exact_mut(KEY_CHARACTERS).enumerate() {
            // 256 is a multiple of 32, so every character is as likely.
            line.iter_mut().for_each(|byte| *byte = ALPHABET[usize::from(*byte & 31)]);
            text.extend_from_slice(line);
            text.extend_from_slice(&checksum(number, line));
        }
        Ok(Self(Secret::new(text)))
    }

    /// Reads what somebody typed: in any case, with any spaces, dashes and line breaks.
    ///
    /// # Errors
    ///
    /// It is not one, or it has a typing mistake.
    pub fn parse(typed: &str) -> Result<Self, NotARecoveryKey> {
        let characters = || typed.chars().filter(|character| !character.is_whitespace() && *character != '-');
        let length = characters().count();
        if length != LINES * LINE_CHARACTERS {
            return Err(NotARecoveryKey::Length(length));
        }
        let mut text = Vec::with_capacity(length);
        for (place, character) in characters().enumerate() {
            let meant = match character.to_ascii_lowercase() {
                'o' => '0',
                'i' | 'l' => '1',
                other => other,
            };
            match u8::try_from(meant).ok().filter(|byte| ALPHABET.contains(byte)) {
                Some(byte) => text.push(byte),
                None => {
                    return Err(NotARecoveryKey::Character { line: place / LINE_CHARACTERS + 1, character });
                }
            }
        }
        let key = Self(Secret::new(text));
        for (number, line) in key.0.expose().chunks_exact(LINE_CHARACTERS).enumerate() {
            let (line, sum) = line.split_at(KEY_CHARACTERS);
            if checksum(number, line) != sum {
                return Err(NotARecoveryKey::Line(number + 1));
            }
        }
        Ok(key)
    }

    /// The password that it is.
    #[must_use]
    pub fn password(&self) -> &Secret {
        &self.0
    }

    /// The password as text, for the one moment in which it is shown.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.0.expose()).unwrap_or_default()
    }

    /// Its lines as they are printed: two groups of five characters each.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let text = self.text();
        (0..LINES).map(move |number| {
            let line = text.get(number * LINE_CHARACTERS..(number + 1) * LINE_CHARACTERS).unwrap_or_default();
            let (left, right) = line.split_at(line.len() / 2);
            format!("{left} {right}")
        })
    }
}

/// The two characters that make the number of the line, the line and themselves a word of the Reed-Solomon code over 32
/// elements with the roots 2 and 4. Two such words differ in three characters at least, so up to two wrong ones, two
/// that were swapped, and a line that stands in the place of another are always noticed.
fn checksum(number: usize, line: &[u8]) -> [u8; 2] {
    let value = |byte: &u8| ALPHABET.iter().position(|known| known == byte).unwrap_or_default();
    let (mut high, mut low) = (0, 0);
    for value in [number & 31].into_iter().chain(line.iter().map(value)) {
        // The remainder of a division by (x + 2)(x + 4) = x^2 + 6x + 8.
        let over = value ^ high;
        (high, low) = (low ^ product(over, 6), product(over, 8));
    }
    [ALPHABET[high], ALPHABET[low]]
}

/// The product in the field with 32 elements, modulo x^5 + x^2 + 1.
fn product(mut one: usize, mut other: usize) -> usize {
    let mut sum = 0;
    while other != 0 {
        if other & 1 != 0 {
            sum ^= one;
        }
        one <<= 1;
        if one & 32 != 0 {
            one ^= 0b10_0101;
        }
        other >>= 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_160_bits_in_four_lines_and_is_read_back_however_it_is_typed() {
        let key = RecoveryKey::random().unwrap();
        let lines: Vec<String> = key.lines().collect();
        assert!(lines.len() == 4 && lines.iter().all(|line| line.len() == 11), "{lines:?}");
        let text = key.text().to_owned();
        for typed in [
            text.clone(),
            lines.join("\n"),
            lines.join("-").to_uppercase(),
            text.replace('0', "O").replace('1', "l"),
            text.replace('0', "o").replace('1', "I"),
        ] {
            assert_eq!(RecoveryKey::parse(&typed).unwrap().text(), text, "{typed}");
        }
        assert_ne!(RecoveryKey::random().unwrap().text(), text);
        assert!(!format!("{key:?}").contains(&text[..10]));
    }

    #[test]
    fn every_wrong_character_and_every_swap_is_found_in_its_line() {
        let key = RecoveryKey::random().unwrap();
        for place in 0..40 {
            for wrong in ALPHABET {
                let mut typed = key.text().as_bytes().to_vec();
                if typed[place] == *wrong {
                    continue;
                }
                typed[place] = *wrong;
                let typed = String::from_utf8(typed).unwrap();
                assert_eq!(
                    RecoveryKey::parse(&typed).unwrap_err(),
                    NotARecoveryKey::Line(place / 10 + 1),
                    "{} as {typed}",
                    key.text()
                );
            }
        }
        // Two characters that were swapped.
        for place in (0..39).filter(|place| place % 10 != 9) {
            let mut typed = key.text().as_bytes().to_vec();
            typed.swap(place, place + 1);
            let typed = String::from_utf8(typed).unwrap();
            assert_eq!(RecoveryKey::parse(&typed).is_ok(), typed == key.text(), "{typed}");
        }
        let mut lines: Vec<String> = key.lines().collect();
        lines.swap(1, 2);
        assert_eq!(RecoveryKey::parse(&lines.join("\n")).unwrap_err(), NotARecoveryKey::Line(2));
    }

    #[test]
    fn what_is_no_recovery_key_is_told_without_showing_it() {
        assert_eq!(RecoveryKey::parse("secret").unwrap_err(), NotARecoveryKey::Length(6));
        let key = RecoveryKey::random().unwrap();
        let typed = format!("{}u{}", &key.text()[..11], &key.text()[12..]);
        let error = RecoveryKey::parse(&typed).unwrap_err();
        assert_eq!(error, NotARecoveryKey::Character { line: 2, character: 'u' });
    }

    #[test]
    fn a_key_that_was_printed_once_is_read_for_ever() {
        // Made by the first version of this code: neither alphabet nor checksum may ever change.
        let printed = PRINTED;
        assert_eq!(RecoveryKey::parse(printed).unwrap().lines().collect::<Vec<_>>().join("\n"), printed);
    }

    const PRINTED: &str = "01234 567pg\n89abc def8c\nghjkm npqfd\nrstvw xyzhh";
}
