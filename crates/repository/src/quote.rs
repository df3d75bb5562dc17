//! Names as restic writes them: any bytes, in the escapes of Go's `strconv.Quote` without the quotes. A valid name without
//! control characters, quotes and backslashes is itself.

/// The escaped form of a name.
pub(crate) fn quote(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            quote_character(character, &mut text);
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

fn quote_character(character: char, text: &mut String) {
    match character {
        '"' => text.push_str("\\\""),
        '\\' => text.push_str("\\\\"),
        '\x07' => text.push_str("\\a"),
        '\x08' => text.push_str("\\b"),
        '\x0c' => text.push_str("\\f"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        '\x0b' => text.push_str("\\v"),
        '\0'..='\x1f' | '\x7f' => text.push_str(&format!("\\x{:02x}", u32::from(character))),
        other => text.push(other),
    }
}

/// The name of an escaped form, also where Go escapes what we do not; nothing when it is not one.
pub(crate) fn unquote(text: &str) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        name.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = *rest.as_bytes().get(at + 1)?;
        let after = rest.get(at + 2..)?;
        let number = |digits: usize, radix| {
            let digits = after.get(..digits)?;
            digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, radix).ok())?
        };
        rest = after;
        let plain = match escape {
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'\\' | b'"' | b'\'' => escape,
            b'x' => {
                let byte = u8::try_from(number(2, 16)?).ok()?;
                rest = &after[2..];
                byte
            }
            b'0'..=b'7' => {
                let byte = octal(escape, after)?;
                rest = &after[2..];
                byte
            }
            b'u' | b'U' => {
                let digits = if escape == b'u' { 4 } else { 8 };
                let character = char::from_u32(number(digits, 16)?)?;
                name.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &after[digits..];
                continue;
            }
            _ => return None,
        };
        name.push(plain);
    }
    name.extend_from_slice(rest.as_bytes());
    Some(name)
}

fn octal(first: u8, after: &str) -> Option<u8> {
    let digits = after.get(..2)?;
    let number = u32::from_str_radix(digits, 8).ok()?;
    u8::try_from(u32::from(first - b'0') * 64 + number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_survives_and_ordinary_ones_are_themselves() {
        for name in ["plain", "with space", "ünïcode 漢字 😀", "'"] {
            assert_eq!(quote(name.as_bytes()), name);
        }
        let every: Vec<u8> = (1..=255).collect();
        for name in
            [&every[..], b"\xff\xfe", b"a\"b\\c\nd\te", b"\xed\xa0\x80", "\u{7f}\u{85}\u{feff}".as_bytes()]
        {
            assert_eq!(unquote(&quote(name)).unwrap(), name);
        }
        assert_eq!(quote(b"\xff\x01\"\\\n"), "\\xff\\x01\\\"\\\\\\n");
    }

    #[test]
    fn the_escapes_that_go_has_and_we_do_not_write_are_read() {
        assert_eq!(unquote(r"\u00e9\U0001f600\101\'").unwrap(), "é😀A'".as_bytes());
        for bad in [r"\", r"\x", r"\xg0", r"\u12", r"\UFFFFFFFF", r"\q", r"\8", r"\777", r"\x+1", "\\1é"] {
            assert_eq!(unquote(bad), None, "{bad}");
        }
    }
}
