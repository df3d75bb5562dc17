//! Measures this crate on real trees. For `cargo xtask bench` and for people:
//! `measure mirror SOURCE TARGET LIST [BASELINE BASELINE_LIST]`, `measure plant FOLDER LIST TARGET`,
//! `measure index ROOT LIST`.

use std::path::Path;
use std::time::Instant;

use stillpoint_tree::*;

struct Silent;

impl Progress for Silent {
    fn advance(&self, _files: u64, _bytes: u64) -> bool {
        true
    }
}

fn main() -> Result<(), TreeError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let begin = Instant::now();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["mirror", source, target, list] => copy(source, target, list, None)?,
        ["mirror", source, target, list, root, index] => {
            copy(source, target, list, Some(Baseline { root: root.into(), index: index.into() }))?;
        }
        ["plant", folder, list, target] => {
            let options = PlantOptions::default();
            let report = plant(Path::new(folder), Path::new(list), Path::new(target), &options, &Silent)?;
            println!("{} files, {} bytes, {} problems", report.files, report.bytes, report.problem_count);
        }
        ["index", root, list] => {
            let mut index = IndexAppender::create(Path::new(list))?;
            let report = index_tree(Path::new(root), &Filter::default(), &mut index, true, 0, &Silent)?;
            let (entries, _) = index.finish()?;
            println!("{entries} entries, {} bytes, {} problems", report.bytes, report.problem_count);
        }
        _ => eprintln!("see the head of this file for what to say"),
    }
    println!("{:.3} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn copy(source: &str, target: &str, list: &str, baseline: Option<Baseline>) -> Result<(), TreeError> {
    let options = MirrorOptions {
        filter: Filter::default(),
        transfer: Transfer::Copy,
        baseline,
        hash: true,
        live: false,
        settled_before: None,
        threads: 0,
    };
    let mut index = IndexAppender::create(Path::new(list))?;
    let report = mirror(Path::new(source), Path::new(target), &mut index, &options, &Silent)?;
    let (entries, _) = index.finish()?;
    let MirrorReport { copied_bytes, shared_bytes, problem_count, .. } = report;
    println!(
        "{entries} entries, {copied_bytes} bytes copied, {shared_bytes} shared, {problem_count} problems"
    );
    Ok(())
}
