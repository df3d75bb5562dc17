//! A mistake in a site file: where it is, what it is, how to mend it; and how a list of them is shown.

use std::fmt::Write;
use std::ops::Range;

/// One mistake in a site file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters, from 1.
    pub column: usize,
    /// How many characters of the line it is about, at least 1.
    pub length: usize,
    /// The key it is about, such as `component[0].path`; empty for the file as a whole. Numbers count from 0.
    pub key_path: String,
    /// The offending text: its first line, at most 80 characters.
    pub text: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// How to mend it, in one sentence.
    pub remedy: String,
    /// The columns of its line that hold a secret, from 0. They are never shown.
    #[serde(skip)]
    hidden: Vec<Range<usize>>,
}

/// What stands in the place of a secret.
const HIDDEN: char = '*';

/// Longest offending text that a mistake carries, in characters.
const TEXT_MAX: usize = 80;

/// Mistakes by their place in the text, in bytes, as they are found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    /// Where secrets stand, in bytes.
    secrets: Vec<Range<usize>>,
}

#[derive(Debug)]
struct Finding {
    span: Range<usize>,
    key_path: String,
    message: String,
    remedy: String,
}

impl Findings {
    pub(super) fn add(
        &mut self,
        span: Range<usize>,
        key_path: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.list.push(Finding {
            span,
            key_path: key_path.into(),
            message: message.into(),
            remedy: remedy.into(),
        });
    }

    /// Notes that a secret stands here: no mistake shows this part of the text.
    pub(super) fn hide(&mut self, span: Range<usize>) {
        self.secrets.push(span);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Keeps those whose place passes.
    pub(super) fn retain(&mut self, passes: impl Fn(&Range<usize>) -> bool) {
        self.list.retain(|finding| passes(&finding.span));
    }

    /// Takes in others.
    pub(super) fn append(&mut self, mut others: Findings) {
        self.list.append(&mut others.list);
        self.secrets.append(&mut others.secrets);
    }

    /// The mistakes in order of their place in `text`.
    pub(super) fn into_mistakes(mut self, text: &str) -> Vec<Mistake> {
        self.list.sort_by_key(|finding| (finding.span.start, finding.span.end));
        let secrets = self.secrets;
        self.list.into_iter().map(|finding| mistake(text, finding, &secrets)).collect()
    }
}

fn mistake(text: &str, finding: Finding, secrets: &[Range<usize>]) -> Mistake {
    let start = boundary(text, finding.span.start);
    let end = boundary(text, finding.span.end).max(start);
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let before = text[line_start..start].trim_start_matches('\u{feff}');
    let offending = text[start..end].lines().next().unwrap_or_default();
    let line_end = text[line_start..].find('\n').map_or(text.len(), |length| line_start + length);
    // Of a secret, the part that is on this line.
    let column = |place: usize| {
        let place = boundary(text, place).clamp(line_start, line_end);
        text[line_start..place].trim_start_matches('\u{feff}').chars().count()
    };
    let hidden: Vec<Range<usize>> = secrets
        .iter()
        .map(|span| column(span.start)..column(span.end))
        .filter(|span| !span.is_empty())
        .collect();
    let offending = masked(offending, before.chars().count(), &hidden);
    Mistake {
        line: text[..line_start].matches('\n').count() + 1,
        column: before.chars().count() + 1,
        length: offending.chars().count().max(1),
        key_path: finding.key_path,
        text: offending.chars().take(TEXT_MAX).collect(),
        message: finding.message,
        remedy: finding.remedy,
        hidden,
    }
}

/// A part of a line that begins at `column`, without what is hidden.
fn masked(part: &str, column: usize, hidden: &[Range<usize>]) -> String {
    let is_hidden = |place: usize| hidden.iter().any(|span| span.contains(&(place + column)));
    let shown = part.chars().enumerate();
    shown.map(|(place, character)| if is_hidden(place) { HIDDEN } else { character }).collect()
}

/// `offset`, moved back to the nearest place where the text can be cut.
fn boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// The mistakes as a compiler shows them: place and message, the line with what is meant underlined, the remedy.
/// Control characters of the text are shown as a replacement character.
pub fn render(file_name: &str, text: &str, mistakes: &[Mistake]) -> String {
    let mut shown = String::new();
    let width = mistakes.iter().map(|mistake| mistake.line).max().unwrap_or(1).to_string().len();
    for mistake in mistakes {
        let line = text.lines().nth(mistake.line - 1).unwrap_or_default().trim_start_matches('\u{feff}');
        let padding: String = line
            .chars()
            .chain(std::iter::repeat(' '))
            .take(mistake.column - 1)
            .map(|character| if character == '\t' { '\t' } else { ' ' })
            .collect();
        // Writing to a String cannot fail.
        let _ = write!(
            shown,
            "{file_name}:{}:{}: {}\n {:>width$} | {}\n {:width$} | {padding}{}\n {:width$} = {}\n\n",
            mistake.line,
            mistake.column,
            printable(&mistake.message),
            mistake.line,
            printable(&masked(line, 0, &mistake.hidden)),
            "",
            "^".repeat(mistake.length),
            "",
            printable(&mistake.remedy),
        );
    }
    let many =
        if mistakes.len() == 1 { "1 mistake".to_owned() } else { format!("{} mistakes", mistakes.len()) };
    let _ = writeln!(shown, "{many} in {file_name}");
    shown
}

fn printable(line: &str) -> String {
    let harmless =
        |character: char| if character.is_control() && character != '\t' { '\u{fffd}' } else { character };
    line.chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_shown_with_its_line_and_what_is_meant_underlined() {
        let text = "[site]\n\tnäme = \"x\"\n";
        let mut findings = Findings::default();
        findings.add(8..13, "site.näme", "unknown key `näme` in [site]", "did you mean `name`?");
        let mistakes = findings.into_mistakes(text);
        assert_eq!(
            render("site.toml", text, &mistakes),
            "site.toml:2:2: unknown key `näme` in [site]\n 2 | \tnäme = \"x\"\n   | \t^^^^\n   = did you mean `name`?\n\n\
             1 mistake in site.toml\n"
        );
    }

    #[test]
    fn a_place_inside_a_character_or_behind_the_end_is_still_shown() {
        for (text, span) in [("ä", 1..1), ("", 5..9), ("a\n", 2..2), ("\u{feff}a", 3..4)] {
            let mut findings = Findings::default();
            findings.add(span, "", "m", "r");
            let mistakes = findings.into_mistakes(text);
            assert!(mistakes[0].line >= 1 && mistakes[0].column >= 1);
            assert!(render("f", text, &mistakes).contains('^'));
        }
    }

    #[test]
    fn a_control_character_of_the_file_never_reaches_the_terminal() {
        let text = "a = \"\u{1b}[2J\"";
        let mut findings = Findings::default();
        findings.add(0..text.len(), "a", "bad \u{1b}", "r");
        assert!(!render("f", text, &findings.into_mistakes(text)).contains('\u{1b}'));
    }
}
