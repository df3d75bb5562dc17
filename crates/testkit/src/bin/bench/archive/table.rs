//! The tables: ours beside the best of the others, and all numbers.

use std::collections::BTreeMap;

use super::program::{Program, Step};
use super::timed::Usage;
use crate::stats::Spread;

/// What was measured with one kind of data.
#[derive(Default)]
pub struct Results {
    pub usages: BTreeMap<(Step, Program), Vec<Usage>>,
    /// Bytes of the repository after the step.
    pub sizes: BTreeMap<(Step, Program), Vec<f64>>,
    pub failures: Vec<String>,
}

const FIGURES: [fn(&Usage) -> f64; 3] = [|usage| usage.wall, |usage| usage.cpu, |usage| usage.memory];

impl Results {
    /// Prints all of it.
    pub fn print(&self) {
        println!("\nOurs, the best of the others, and the ratio:\n");
        println!("| step | wall, s | CPU, s | memory, MiB | repository, MB |\n|---|---|---|---|---|");
        for step in Step::ALL {
            let cells = FIGURES.map(|figure| {
                self.beside(|program| {
                    let usages = self.usages.get(&(step, program))?;
                    Some(Spread::of(usages.iter().map(figure).collect()).median)
                })
            });
            let size = self.beside(|program| {
                let sizes = self.sizes.get(&(step, program))?;
                Some(Spread::of(sizes.clone()).median / 1e6)
            });
            if cells.iter().any(|cell| !cell.is_empty()) {
                println!("| {} | {} | {size} |", step.name(), cells.join(" | "));
            }
        }
        println!("\nEach program; minimum / median / maximum:\n");
        println!("| step | program | wall, s | CPU, s | memory, MiB |\n|---|---|---|---|---|");
        for ((step, program), usages) in &self.usages {
            let cells = FIGURES.map(|figure| Spread::of(usages.iter().map(figure).collect()).to_string());
            println!("| {} | {} | {} |", step.name(), program.name(), cells.join(" | "));
        }
        for failure in &self.failures {
            println!("\nFailed: {failure}");
        }
    }

    /// "ours / theirs (who): ratio" of the medians.
    fn beside(&self, median: impl Fn(Program) -> Option<f64>) -> String {
        let Some(ours) = median(Program::Ours) else { return String::new() };
        let others = Program::ALL.into_iter().filter(|program| *program != Program::Ours);
        let best = others
            .filter_map(|program| Some((median(program)?, program)))
            .min_by(|one, other| one.0.total_cmp(&other.0));
        match best {
            Some((theirs, who)) => {
                format!("{ours:.1} / {theirs:.1} ({}): **{:.2}**", who.name(), ours / theirs)
            }
            None => format!("{ours:.1}"),
        }
    }
}
