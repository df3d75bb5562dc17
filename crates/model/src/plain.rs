//! Text from elsewhere (names of files, what a program wrote) as it may be shown: it can neither steer a terminal nor look
//! like a line of ours.

/// As one line: control characters, and those that turn the direction of writing, are written as escapes.
pub fn one_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let steers = matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || steers {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Line by line, each without what [`one_line`] takes out; every line but the first begins with `mark`.
pub fn marked_lines(text: &str, mark: &str) -> Vec<String> {
    let lines = text.lines().enumerate();
    lines.map(|(number, line)| format!("{}{}", if number == 0 { "" } else { mark }, one_line(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_steers_a_terminal_and_all_else_stays() {
        assert_eq!(one_line("a\x1b[31m\nb\r\u{9b}\u{202e}"), "a\\u{1b}[31m\\nb\\r\\u{9b}\\u{202e}");
        assert_eq!(one_line("ünï codé \"x\" \\n"), "ünï codé \"x\" \\n");
        assert_eq!(marked_lines("a\nb\x07", "  | "), ["a", "  | b\\u{7}"]);
    }
}
