//! Putting a file tree back.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use stillpoint_model::site_file::FilesSettings;
use stillpoint_model::{
    Bytes, Context, Deadline, RestoreOptions, Restored, Restorer, StoredComponent, WriterError,
};
use stillpoint_tree::{Filter, IndexReader, Kind, PlantOptions, Walk, plant};

use crate::tree_work::{Advance, tree_error};

/// How many things a note names.
const NAMED: usize = 5;

/// Puts one tree back.
pub struct FilesRestorer {
    settings: FilesSettings,
}

impl FilesRestorer {
    /// The restorer that puts it to the path of the site file.
    pub fn new(settings: &FilesSettings) -> Self {
        Self { settings: settings.clone() }
    }

    fn target(&self) -> &Path {
        &self.settings.path
    }

    /// Whether there is anything in the target.
    fn is_occupied(&self) -> Result<bool, WriterError> {
        match fs::read_dir(self.target()) {
            Ok(mut entries) => Ok(entries.next().is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(true),
            Err(source) => Err(WriterError::Io { act: "look into", path: self.target().to_owned(), source }),
        }
    }

    /// Whether all that was in the tree is in the backup: nothing was left out, and nothing could not be read. Only then
    /// is what is there beside it surplus.
    fn is_whole(&self, stored: &StoredComponent) -> bool {
        let nothing_left_out = |name: &str| stored.facts[name].as_array().is_some_and(Vec::is_empty);
        nothing_left_out("include")
            && nothing_left_out("exclude")
            && stored.facts["problems"].as_u64() == Some(0)
    }

    /// A note on what is there and not in the backup, and was not removed.
    fn left_over(&self, stored: &StoredComponent) -> Result<Option<String>, WriterError> {
        let filter = Filter::new(&self.settings.include, &self.settings.exclude).map_err(tree_error)?;
        let mut listed = IndexReader::open(&stored.index).map_err(tree_error)?.peekable();
        let (mut count, mut names) = (0_u64, Vec::new());
        // Both come in the same order.
        for found in Walk::new(self.target(), filter).map_err(tree_error)?.flatten() {
            while let Some(Ok(entry)) = listed.peek()
                && entry.path < found.path
            {
                listed.next();
            }
            if matches!(listed.peek(), Some(Ok(entry)) if entry.path == found.path) {
                continue;
            }
            count += 1;
            if names.len() < NAMED {
                names.push(found.path.to_string());
            }
        }
        Ok((count > 0).then(|| {
            let (target, names) = (self.target().display(), names.join(", "));
            format!(
                "{count} things in {target} are not in the backup and were left as they are, because it does not hold all \
                 that was there: {names} ..."
            )
        }))
    }
}

/// How many names there are of files that have another one already: a set counts files, not names.
fn later_names(stored: &StoredComponent) -> Result<u64, WriterError> {
    let mut count = 0;
    for entry in IndexReader::open(&stored.index).map_err(tree_error)? {
        count += u64::from(entry.map_err(tree_error)?.hard_link.is_some());
    }
    Ok(count)
}

impl Restorer for FilesRestorer {
    fn obstacles(&self, stored: &StoredComponent) -> Result<Vec<String>, WriterError> {
        let consequence = match self.is_whole(stored) {
            true => "what is in it would be replaced, and what is not in the backup removed",
            false => "files of the same names would be replaced",
        };
        let text = || format!("{} is not empty: {consequence}", self.target().display());
        Ok(self.is_occupied()?.then(text).into_iter().collect())
    }

    fn plan(&self, stored: &StoredComponent) -> Result<Vec<String>, WriterError> {
        let (mut files, mut bytes) = (0_u64, 0_u64);
        for entry in IndexReader::open(&stored.index).map_err(tree_error)? {
            let entry = entry.map_err(tree_error)?;
            // A file with several names is one file.
            if let (None, Kind::File(facts)) = (entry.hard_link, entry.kind) {
                files += 1;
                bytes += facts.size;
            }
        }
        let target = self.target().display();
        Ok(vec![format!(
            "Put {files} files ({}) back at {target}, with owners, modes, times and attributes",
            Bytes(bytes)
        )])
    }

    fn restore(
        &mut self,
        context: &Context,
        stored: &StoredComponent,
        options: &RestoreOptions,
        deadline: Deadline,
    ) -> Result<Restored, WriterError> {
        if !options.overwrite && self.is_occupied()? {
            return Err(WriterError::Other(format!(
                "{} is not empty and would be overwritten",
                self.target().display()
            )));
        }
        let advance = Advance::new(context, deadline, "put the file tree back");
        // The tree is to be as it was at the epoch: what came later goes, too.
        let remove_extra = options.overwrite && self.is_whole(stored);
        let options = PlantOptions { overwrite: options.overwrite, remove_extra, threads: 0 };
        let planted = plant(&stored.folder, &stored.index, self.target(), &options, &advance)
            .map_err(|error| advance.error(error))?;
        let failed =
            |source| WriterError::Io { act: "write out", path: PathBuf::from(self.target()), source };
        let target = File::open(self.target()).map_err(failed)?;
        rustix::fs::syncfs(&target).map_err(|error| failed(error.into()))?;
        let mut notes: Vec<String> =
            planted.problems.iter().map(|problem| format!("{}: {}", problem.path, problem.text)).collect();
        if planted.problem_count > planted.problems.len() as u64 {
            notes.push(format!("there were {} such problems in all", planted.problem_count));
        }
        notes.extend(self.left_over(stored)?);
        let files = planted.files.saturating_sub(later_names(stored)?);
        Ok(Restored { files, bytes: planted.bytes, notes })
    }
}
