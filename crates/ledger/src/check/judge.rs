//! What was found of one worker, judged: pure.
//!
//! An operation is a list of steps that happen one after the other, and the next begins when all are done. So at any instant
//! every operation before the last is whole, and of the last a beginning of its steps is done. Anything else is not of
//! one instant.

use std::collections::{BTreeMap, BTreeSet};

use super::Mode;
use crate::content::{ContentScan, FileState};
use crate::operation::{GENESIS, Row, Shape, Step, steps, written_in_place};

/// What lies in stores and files of one worker.
pub(super) struct Found {
    pub shape: Shape,
    /// By store, sorted by number.
    pub rows: Vec<Vec<Row>>,
    pub content: ContentScan,
}

/// The verdict over one worker.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub highest: u64,
    pub under_way: bool,
    pub violations: Vec<String>,
}

pub(super) fn judge(found: &Found, mode: Mode) -> Verdict {
    let rows: Vec<BTreeMap<u64, &Row>> =
        found.rows.iter().map(|rows| rows.iter().map(|row| (row.number, row)).collect()).collect();
    let mut judge = Judge { found, rows, mode, verdict: Verdict::default() };
    judge.verdict.violations.extend(found.content.strange.iter().cloned());
    judge.highest();
    let next = judge.last_operation();
    judge.half_written(next);
    judge.whole_operations();
    judge.agreement();
    judge.chain();
    judge.verdict
}

struct Judge<'a> {
    found: &'a Found,
    rows: Vec<BTreeMap<u64, &'a Row>>,
    mode: Mode,
    verdict: Verdict,
}

impl Judge<'_> {
    fn violate(&mut self, text: String) {
        self.verdict.violations.push(text);
    }

    fn highest(&mut self) {
        let rows = self.rows.iter().filter_map(|rows| rows.keys().next_back());
        self.verdict.highest =
            rows.chain(self.found.content.numbers.keys().next_back()).copied().max().unwrap_or(0);
    }

    fn is_done(&self, step: Step) -> bool {
        let content = &self.found.content;
        match step {
            Step::WriteFile(number) => matches!(content.numbers.get(&number), Some(FileState::Whole(_))),
            Step::InsertRow(store, number) => self.rows[store].contains_key(&number),
            Step::Mark(number) => content.mark == Some(number),
            Step::MapMark(number) => content.mapped == Some(number),
            Step::RemoveFile(number) => !content.numbers.contains_key(&number),
            Step::DeleteRow(store, number) => !self.rows[store].contains_key(&number),
        }
    }

    /// Judges the last operation; returns the step that comes next.
    fn last_operation(&mut self) -> Option<Step> {
        let (highest, shape, stores) = (self.verdict.highest, self.found.shape, self.rows.len());
        let list = if highest == 0 { Vec::new() } else { steps(highest, stores, shape) };
        let done = list.iter().take_while(|step| self.is_done(**step)).count();
        for step in &list[done..] {
            if self.is_done(*step) {
                let missing = describe(list[done]);
                self.violate(format!(
                    "operation {highest}: {} is done, but not {missing} before it",
                    describe(*step)
                ));
            }
        }
        self.marks(&list[done..]);
        self.verdict.under_way = done < list.len();
        if self.mode == Mode::Strict && self.verdict.under_way {
            self.violate(format!("operation {highest} is half done: {} is missing", describe(list[done])));
        }
        list.get(done).copied().or_else(|| steps(highest + 1, stores, shape).first().copied())
    }

    /// A mark that does not show the last operation must show the one before.
    fn marks(&mut self, undone: &[Step]) {
        let highest = self.verdict.highest;
        for step in undone {
            let (name, value) = match step {
                Step::Mark(_) => ("mark", self.found.content.mark),
                Step::MapMark(_) => ("mapped mark", self.found.content.mapped),
                _ => continue,
            };
            if value != Some(highest - 1) {
                self.violate(format!("operation {highest} is under way, but the {name} shows {value:?}"));
            }
        }
        if highest == 0 && self.found.content.mark.unwrap_or(0) != 0 {
            self.violate(format!("there is no operation, but the mark shows {:?}", self.found.content.mark));
        }
    }

    /// A file that is torn, or still under its temporary name, must be the very next step.
    fn half_written(&mut self, next: Option<Step>) {
        let allowed = match next {
            Some(Step::WriteFile(number)) if self.mode == Mode::PowerCut => Some(number),
            _ => None,
        };
        for number in self.found.content.temporaries.clone() {
            if allowed != Some(number) {
                self.violate(format!("the write of file {number} never came to its rename"));
            }
        }
        let torn: Vec<u64> = self
            .found
            .content
            .numbers
            .iter()
            .filter(|(_, state)| **state == FileState::Torn)
            .map(|(number, _)| *number)
            .collect();
        for number in torn {
            if allowed != Some(number) || !written_in_place(number) {
                self.violate(format!("file {number} is torn"));
            }
        }
    }

    /// All operations before the last are there, in every store and as files, back to the edge of the window; none older.
    fn whole_operations(&mut self) {
        let (highest, window) = (self.verdict.highest, self.found.shape.window);
        // The one at the edge is being retired by the last operation, whose steps are judged already.
        let edge = highest.saturating_sub(window);
        for number in edge + 1..highest {
            for store in 0..self.rows.len() {
                if !self.rows[store].contains_key(&number) {
                    self.violate(format!("operation {number} has no row in store {store}"));
                }
            }
            if !self.found.content.numbers.contains_key(&number) {
                self.violate(format!("operation {number} has no file"));
            }
        }
        let old = |numbers: &mut dyn Iterator<Item = &u64>| -> BTreeSet<u64> {
            numbers.copied().take_while(|number| *number < edge).collect()
        };
        let mut retired: BTreeSet<u64> = old(&mut self.found.content.numbers.keys());
        for rows in &self.rows {
            retired.extend(old(&mut rows.keys()));
        }
        for number in retired {
            self.violate(format!("operation {number} should be retired since operation {}", number + window));
        }
    }

    /// Rows of one number are the same in all stores, and the file has their hash.
    fn agreement(&mut self) {
        let mut different = Vec::new();
        for (store, rows) in self.rows.iter().enumerate() {
            for (number, row) in rows {
                if self.rows[0].get(number).is_some_and(|first| first != row) {
                    different.push(format!("row {number} of store {store} differs from that of store 0"));
                }
                if let Some(FileState::Whole(hash)) = self.found.content.numbers.get(number)
                    && *hash != row.content
                {
                    different.push(format!("file {number} has another hash than its row in store {store}"));
                }
            }
        }
        different.into_iter().for_each(|text| self.violate(text));
    }

    /// Each row follows from the one before.
    fn chain(&mut self) {
        let mut broken = Vec::new();
        for (store, rows) in self.rows.iter().enumerate() {
            for (number, row) in rows {
                let before =
                    if *number == 1 { Some(GENESIS) } else { rows.get(&(number - 1)).map(|row| row.chain) };
                if !row.is_whole() || before.is_some_and(|before| before != row.previous) {
                    broken.push(format!("the chain of store {store} is broken at row {number}"));
                }
            }
        }
        broken.into_iter().for_each(|text| self.violate(text));
    }
}

fn describe(step: Step) -> String {
    match step {
        Step::WriteFile(number) => format!("file {number}"),
        Step::InsertRow(store, number) => format!("row {number} in store {store}"),
        Step::Mark(number) => format!("mark {number}"),
        Step::MapMark(number) => format!("mapped mark {number}"),
        Step::RemoveFile(number) => format!("the removal of file {number}"),
        Step::DeleteRow(store, number) => format!("the deletion of row {number} in store {store}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{content, hash_of_content};

    const WORKER: u32 = 3;
    const SHAPE: Shape = Shape { window: 4, mapped: true };
    const STORES: usize = 2;

    /// A ledger in memory that does steps as the application does them.
    #[derive(Clone, Default)]
    struct Ledger {
        rows: [BTreeMap<u64, Row>; STORES],
        files: BTreeMap<u64, FileState>,
        temporaries: Vec<u64>,
        mark: u64,
        mapped: u64,
    }

    fn row(number: u64) -> Row {
        let previous = if number == 1 { GENESIS } else { row(number - 1).chain };
        Row::new(number, hash_of_content(&content(WORKER, number)), previous)
    }

    impl Ledger {
        fn perform(&mut self, step: Step) {
            match step {
                Step::WriteFile(number) => {
                    self.files.insert(number, FileState::Whole(row(number).content));
                }
                Step::InsertRow(store, number) => {
                    self.rows[store].insert(number, row(number));
                }
                Step::Mark(number) => self.mark = number,
                Step::MapMark(number) => self.mapped = number,
                Step::RemoveFile(number) => {
                    self.files.remove(&number);
                }
                Step::DeleteRow(store, number) => {
                    self.rows[store].remove(&number);
                }
            }
        }

        /// All operations before `number`, and the first `done` steps of that one.
        fn at(number: u64, done: usize) -> Self {
            let mut ledger = Self::default();
            for earlier in 1..number {
                steps(earlier, STORES, SHAPE).into_iter().for_each(|step| ledger.perform(step));
            }
            steps(number, STORES, SHAPE).into_iter().take(done).for_each(|step| ledger.perform(step));
            ledger
        }

        fn judge(&self, mode: Mode) -> Vec<String> {
            let rows = self.rows.iter().map(|rows| rows.values().cloned().collect()).collect();
            let content = ContentScan {
                numbers: self.files.clone(),
                temporaries: self.temporaries.clone(),
                mark: Some(self.mark),
                mapped: Some(self.mapped),
                ..ContentScan::default()
            };
            judge(&Found { shape: SHAPE, rows, content }, mode).violations
        }
    }

    /// Every instant of twelve operations: number, steps done, steps in all.
    fn instants() -> impl Iterator<Item = (u64, usize, usize)> {
        (1..13).flat_map(|number| {
            let all = steps(number, STORES, SHAPE).len();
            (0..=all).map(move |done| (number, done, all))
        })
    }

    #[test]
    fn every_instant_of_a_power_cut_is_allowed() {
        for (number, done, _) in instants() {
            assert_eq!(
                Ledger::at(number, done).judge(Mode::PowerCut),
                [""; 0],
                "operation {number}, {done} steps"
            );
        }
    }

    #[test]
    fn at_rest_only_whole_operations_are_allowed() {
        for (number, done, all) in instants() {
            let violations = Ledger::at(number, done).judge(Mode::Strict);
            assert_eq!(
                violations.is_empty(),
                done == 0 || done == all,
                "operation {number}, {done}: {violations:?}"
            );
        }
    }

    #[test]
    fn a_step_that_skips_the_one_before_is_found_in_either_mode() {
        for (number, done, all) in instants().filter(|(_, done, all)| done + 1 < *all) {
            let mut ledger = Ledger::at(number, done);
            ledger.perform(steps(number, STORES, SHAPE)[done + 1]);
            for mode in [Mode::PowerCut, Mode::Strict] {
                assert_ne!(
                    ledger.judge(mode),
                    [""; 0],
                    "operation {number}, {done} of {all}, then one skipped"
                );
            }
        }
    }

    #[test]
    fn files_of_another_instant_than_the_rows_are_found() {
        for (number, done, _) in instants() {
            // Nearer ones can look as one instant, because an operation under way changes one of them first.
            for (later, later_done, _) in
                instants().filter(|(later, done, _)| *later > number + 2 && *done > 0)
            {
                let (early, late) = (Ledger::at(number, done), Ledger::at(later, later_done));
                let rows_first = Ledger { rows: early.rows.clone(), ..late.clone() };
                let files_first = Ledger { rows: late.rows, ..early };
                for mixed in [rows_first, files_first] {
                    assert_ne!(
                        mixed.judge(Mode::PowerCut),
                        [""; 0],
                        "{number}/{done} with {later}/{later_done}"
                    );
                }
            }
        }
    }

    #[test]
    fn one_store_of_another_operation_than_the_other_is_found() {
        let (early, late) = (Ledger::at(7, 0), Ledger::at(9, 0));
        let mixed = Ledger { rows: [early.rows[0].clone(), late.rows[1].clone()], ..late };
        assert_ne!(mixed.judge(Mode::PowerCut), [""; 0]);
    }

    #[test]
    fn a_torn_file_is_allowed_only_as_the_next_step_of_a_power_cut() {
        // Number 9 is odd, so its file comes after its rows; and it is written in place.
        let mut ledger = Ledger::at(9, STORES);
        ledger.files.insert(9, FileState::Torn);
        assert_eq!(ledger.judge(Mode::PowerCut), [""; 0]);
        assert_ne!(ledger.judge(Mode::Strict), [""; 0]);
        let mut early = Ledger::at(9, STORES - 1);
        early.files.insert(9, FileState::Torn);
        assert_eq!(early.judge(Mode::PowerCut), ["file 9 is torn"]);
        let mut renamed = Ledger::at(7, STORES);
        renamed.files.insert(7, FileState::Torn);
        assert_eq!(renamed.judge(Mode::PowerCut), ["file 7 is torn"]);
    }

    #[test]
    fn a_temporary_file_is_allowed_only_as_the_next_step_of_a_power_cut() {
        // Number 8 is even, so its file is the first step after the whole operation 7.
        let mut ledger = Ledger::at(8, 0);
        ledger.temporaries = vec![8];
        assert_eq!(ledger.judge(Mode::PowerCut), [""; 0]);
        assert_ne!(ledger.judge(Mode::Strict), [""; 0]);
        ledger.temporaries = vec![8, 10];
        assert_ne!(ledger.judge(Mode::PowerCut), [""; 0]);
    }

    #[test]
    fn each_kind_of_damage_in_the_middle_is_found() {
        let whole = Ledger::at(10, 0);
        type Damage = fn(&mut Ledger);
        let damage: [(&str, Damage); 8] = [
            ("no row", |ledger| ledger.rows[0].retain(|number, _| *number != 8)),
            ("no row in the second store", |ledger| ledger.rows[1].retain(|number, _| *number != 8)),
            ("no file", |ledger| ledger.files.retain(|number, _| *number != 8)),
            ("another hash", |ledger| ledger.files.extend([(8, FileState::Whole([9; 32]))])),
            ("a broken link", |ledger| ledger.rows[1].extend([(8, Row::new(8, row(8).content, [9; 32]))])),
            ("an old mark", |ledger| ledger.mark = 7),
            ("an old mapped mark", |ledger| ledger.mapped = 7),
            ("a retired row", |ledger| ledger.rows[0].extend([(3, row(3))])),
        ];
        for (name, inflict) in damage {
            let mut ledger = whole.clone();
            inflict(&mut ledger);
            for mode in [Mode::PowerCut, Mode::Strict] {
                assert_ne!(ledger.judge(mode), [""; 0], "{name} was not found");
            }
        }
    }
}
