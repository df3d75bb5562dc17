//! A QR code in a terminal.

use qrcodegen::{QrCode, QrCodeEcc};

/// The width of the margin that a reader needs, in modules.
const MARGIN: i32 = 4;

/// The code of a short text as lines of half blocks: each character is two modules, one above the other. Dark is printed, so it
/// is read from a light background; [`inverted`] is for a dark one. Nothing when the text is too long for a code.
pub fn half_blocks(text: &str) -> Option<Vec<String>> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    let dark = |x: i32, y: i32| code.get_module(x, y);
    let range = -MARGIN..code.size() + MARGIN;
    let row = |y: i32| -> String {
        let module = |x: i32| match (dark(x, y), dark(x, y + 1)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        };
        range.clone().map(module).collect()
    };
    Some(range.clone().step_by(2).map(row).collect())
}

/// The same for a terminal whose background is dark: what was printed is not, and the reverse.
pub fn inverted(lines: &[String]) -> Vec<String> {
    let turn = |character: char| match character {
        '█' => ' ',
        '▀' => '▄',
        '▄' => '▀',
        _ => '█',
    };
    lines.iter().map(|line| line.chars().map(turn).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_square_with_a_margin_and_its_three_corners() {
        let lines = half_blocks("01234567pg89abcdef8cghjkmnpqfdrstvwxyzhh").unwrap();
        let width = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == width), "{lines:?}");
        assert_eq!(width.div_ceil(2), lines.len());
        // The margin, then the finder pattern: a ring of seven modules.
        assert!(lines[0].chars().chain(lines[1].chars()).all(|module| module == ' '));
        let corner: String = lines[2].chars().skip(4).take(7).collect();
        assert_eq!(corner, "█▀▀▀▀▀█");
        let other: String = lines[2].chars().rev().skip(4).take(7).collect();
        assert_eq!(other, "█▀▀▀▀▀█");
        assert_eq!(inverted(&inverted(&lines)), lines);
        assert!(half_blocks(&"x".repeat(5000)).is_none());
    }
}
