//! Measures how long a cut takes: `cut_times <folder> <btrfs|reflink|copy> <fanotify|scan> <files> <changed> <rounds>`.
//!
//! Makes `files` files of 40 KB below `folder` if they are not there, prepares once, and then for each round changes
//! `changed` files, cuts, and prints the time of the cut in milliseconds. The workspace is made beside the folder's top.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stillpoint_model::{
    Cancel, Context, Deadline, NoMonitor, Provider, RunId, Ticket, TreeRequest, Undo, UndoError, UndoLog,
};
use stillpoint_providers::{BtrfsProvider, CopyProvider, ReflinkProvider, TrackerKind};

struct NoUndos;

impl UndoLog for NoUndos {
    fn intend(&self, _undo: Undo) -> Result<Ticket, UndoError> {
        Ok(Ticket(0))
    }

    fn settle(&self, _ticket: Ticket) {}
}

const FILE_BYTES: usize = 40_000;
const FILES_PER_FOLDER: usize = 250;

fn place(tree: &Path, number: usize) -> PathBuf {
    tree.join(format!("folder-{:04}", number / FILES_PER_FOLDER)).join(format!("file-{number:06}"))
}

fn plant(tree: &Path, files: usize) -> std::io::Result<()> {
    for number in 0..files {
        let path = place(tree, number);
        if number % FILES_PER_FOLDER == 0 {
            fs::create_dir_all(path.parent().unwrap_or(tree))?;
        }
        if !path.exists() {
            let content: Vec<u8> = (0..FILE_BYTES).map(|i| (i * 31 + number * 17) as u8).collect();
            fs::write(path, content)?;
        }
    }
    Ok(())
}

fn provider(kind: &str, tracker: &str) -> Result<Box<dyn Provider>, Box<dyn Error>> {
    let tracker = match tracker {
        "fanotify" => TrackerKind::Fanotify,
        "scan" => TrackerKind::Scan,
        other => return Err(format!("{other} is no tracker").into()),
    };
    Ok(match kind {
        "btrfs" => Box::new(BtrfsProvider),
        "reflink" => Box::new(ReflinkProvider::with_tracker(tracker)),
        "copy" => Box::new(CopyProvider::with_tracker(tracker)),
        other => return Err(format!("{other} is no provider").into()),
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, kind, tracker, files, changed, rounds] = arguments.as_slice() else {
        return Err(
            "usage: cut_times <folder> <btrfs|reflink|copy> <fanotify|scan> <files> <changed> <rounds>"
                .into(),
        );
    };
    let (files, changed, rounds): (usize, usize, u32) = (files.parse()?, changed.parse()?, rounds.parse()?);
    let tree = Path::new(folder).join("tree");
    fs::create_dir_all(&tree)?;
    plant(&tree, files)?;
    let provider = provider(kind, tracker)?;
    let mut times = Vec::new();
    for round in 0..rounds {
        let workspace = Path::new(folder).join(format!("workspace-{round}"));
        fs::create_dir(&workspace)?;
        let context = Context {
            site: "P01".parse()?,
            run: format!("20261122T020000Z-{round}").parse::<RunId>()?,
            component: "bench".parse()?,
            workspace: workspace.clone(),
            previous: None,
            undos: Arc::new(NoUndos),
            monitor: Arc::new(NoMonitor),
            cancel: Cancel::default(),
        };
        let deadline = || Deadline::after(Duration::from_secs(600));
        let request = TreeRequest { source: tree.clone(), include: Vec::new(), exclude: Vec::new() };
        let mut cut = provider.open(&request, &context)?;
        let start = Instant::now();
        cut.prepare(&context, deadline())?;
        let prepared = start.elapsed();
        let start = Instant::now();
        cut.poise(&context, deadline())?;
        let poised = start.elapsed();
        for number in 0..changed {
            let content = vec![round as u8; FILE_BYTES];
            fs::write(place(&tree, (number * files / changed.max(1) + round as usize) % files), content)?;
        }
        let start = Instant::now();
        cut.cut(&context, deadline())?;
        let took = start.elapsed();
        times.push(took);
        let start = Instant::now();
        let (_, grade) = cut.image(&context, deadline())?;
        println!(
            "prepare {prepared:.2?}, poise {poised:.2?}, cut {took:.2?}, image {:.2?}, {grade}",
            start.elapsed()
        );
        cut.release(&context)?;
        fs::remove_dir_all(&workspace)?;
    }
    times.sort();
    println!(
        "median {:.2?}, least {:.2?}, most {:.2?}",
        times[times.len() / 2],
        times[0],
        times[times.len() - 1]
    );
    Ok(())
}
