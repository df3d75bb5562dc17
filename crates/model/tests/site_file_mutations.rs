//! Damaged site files: whatever is done to a right one, it is read or answered with at least one mistake that has a place
//! in the text. It never panics, and what is read is a site file again when it is written out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use stillpoint_model::site_file;

/// A small generator of random numbers (xorshift64*), so that a failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        (number >> 33) as usize % limit.max(1)
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

/// Pieces that matter to TOML or to us.
const PIECES: &[&str] = &[
    "\"",
    "'''",
    "\"\"\"",
    "[",
    "]",
    "[[component]]",
    "[site]",
    "[[site]]",
    "=",
    "\n",
    "\r",
    "\u{feff}",
    "#",
    ",",
    "{",
    "}",
    "..",
    "/",
    "//",
    "\\u0000",
    "\\",
    "ä",
    "\u{1b}",
    "-1",
    "1e9",
    "99999999999999999999",
    "true",
    "1979-05-27",
    "type = \"files\"",
    "level = 3",
    "component = 5",
    "probe = [1]",
    "site.code = 3",
    "destination = {}",
    "\"\"",
    "\"/\"",
    "\"0s\"",
    "nan",
    "a.b.c = 1",
    "\t",
];

fn mutate(text: &str, random: &mut Random) -> String {
    let mut text = text.to_owned();
    for _ in 0..=random.below(4) {
        let boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let at = boundaries[random.below(boundaries.len())];
        match random.below(5) {
            0 => text.insert_str(at, random.of(PIECES)),
            1 => {
                let end = boundaries[random.below(boundaries.len())];
                text.replace_range(
                    at.min(end)..at.max(end).min(at.min(end) + 30).min(text.len()).max(at.min(end)),
                    "",
                );
            }
            2 => text.truncate(at),
            3 => {
                let mut lines: Vec<&str> = text.lines().collect();
                let (from, to) = (random.below(lines.len()), random.below(lines.len()));
                if !lines.is_empty() {
                    let line = lines[from];
                    if random.below(2) == 0 { lines.insert(to, line) } else { lines[to] = line }
                }
                text = lines.join("\n");
            }
            _ => {
                // Another value for a key.
                let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                if !lines.is_empty() {
                    let line = random.below(lines.len());
                    if let Some((key, _)) = lines[line].clone().split_once('=') {
                        lines[line] = format!("{key}= {}", random.of(PIECES));
                    }
                }
                text = lines.join("\n");
            }
        }
    }
    text
}

#[test]
fn a_damaged_site_file_is_read_or_answered_with_mistakes_that_have_a_place() {
    let plain = "[site]\ncode = \"P01\"\nname = \"x\"\n[destination]\nfolder = \"/b\"\n[[component]]\nname = \"a\"\ntype = \"files\"\npath = \"/s\"\n";
    let (mut taken, mut refused) = (0, 0);
    for seed in 1..=3000_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let text = mutate(if seed % 2 == 0 { plain } else { site_file::sample() }, &mut random);
        let lines = text.lines().count().max(1);
        match site_file::parse(&text) {
            Ok(file) => {
                taken += 1;
                let shown = site_file::effective(&file);
                assert_eq!(
                    site_file::parse(&shown).as_ref(),
                    Ok(&file),
                    "seed {seed}:\n{text}\n---\n{shown}"
                );
            }
            Err(mistakes) => {
                refused += 1;
                assert!(!mistakes.is_empty(), "seed {seed}: refused without a mistake:\n{text}");
                for mistake in &mistakes {
                    // The end of a text that ends with a line break is a line of its own.
                    assert!((1..=lines + 1).contains(&mistake.line), "seed {seed}: {mistake:?}\n{text}");
                    assert!(mistake.column >= 1 && mistake.length >= 1, "seed {seed}: {mistake:?}");
                    assert!(
                        !mistake.message.is_empty() && !mistake.remedy.is_empty(),
                        "seed {seed}: {mistake:?}"
                    );
                }
                let shown = site_file::render("site.toml", &text, &mistakes);
                assert!(shown.lines().count() >= 4 * mistakes.len(), "seed {seed}:\n{shown}");
                assert!(!shown.contains('\u{1b}'), "seed {seed}");
            }
        }
    }
    assert!(
        taken > 100 && refused > 100,
        "the mutations are too wild or too tame: {taken} taken, {refused} refused"
    );
}
