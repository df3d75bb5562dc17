//! "Did you mean": the known word that a wrong word was most likely meant to be.

/// The word of `known` nearest to `wrong`, if it is near enough to be meant.
pub fn nearest<'k>(wrong: &str, known: &[&'k str]) -> Option<&'k str> {
    let plain = |word: &str| word.to_lowercase().replace('-', "_");
    let allowed = (wrong.chars().count() / 3).clamp(1, 3);
    known
        .iter()
        .map(|word| (distance(&plain(wrong), &plain(word)), *word))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, word)| word)
}

/// How many letters must be put in, left out, changed or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for (row, cells) in rows.iter_mut().enumerate() {
        cells[0] = row;
    }
    for (column, cell) in rows[0].iter_mut().enumerate() {
        *cell = column;
    }
    for i in 1..=from.len() {
        for j in 1..=to.len() {
            let changed = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_finds_the_word_that_was_meant_and_a_strange_word_finds_none() {
        let known = ["minimum_grade", "keep_free_percent", "path", "provider"];
        assert_eq!(nearest("minimun_grade", &known), Some("minimum_grade"));
        assert_eq!(nearest("Minimum-Grade", &known), Some("minimum_grade"));
        assert_eq!(nearest("apth", &known), Some("path"));
        assert_eq!(nearest("retention", &known), None);
        assert_eq!(nearest("", &known), None);
    }
}
