//! The passes themselves: what they look at, in which order, and what they remember.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use stillpoint_model::{Context, Deadline, Event, Grade, Problem, ProviderError};
use stillpoint_tree::{
    Baseline, Filter, IndexAppender, IndexReader, MirrorOptions, RelPath, Timestamp, Transfer, mirror,
};

use super::clock::Mark;
use super::delta::{Delta, Fact};
use super::finish::Finish;
use super::links::Links;
use super::mapped;
use super::progress::PassProgress;
use super::reader::Reader;
use super::remembered::Remembered;
use super::scan::Scan;
use super::suspects::{Findings, Search};
use super::take::{Manner, Taken, Taking, held_folder, tree_error};
use super::tracker::{Changes, How, Suspect, Tracker};
use super::verify::Comparison;
use crate::btrfs::failed;
use crate::filesystem::FilesystemKind;

/// A message names at most so many paths.
const NAMED_PATHS_MAX: usize = 5;
/// So few changed entries need no further pass before the freeze.
const FEW_ENTRIES: usize = 50;
const CATCH_UPS_MAX: u32 = 3;

/// What the engine works on.
pub(super) struct Plan {
    /// What is taken.
    pub(super) filter: Filter,
    /// How content is moved.
    pub(super) transfer: Transfer,
    /// Where the shadow is: an empty folder.
    pub(super) shadow: PathBuf,
    /// Where the lists go: an existing folder.
    pub(super) lists: PathBuf,
    /// The last good set, to share unchanged files with.
    pub(super) baseline: Option<Baseline>,
}

/// One tree on its way.
pub(super) struct Engine {
    plan: Plan,
    reader: Reader,
    filesystem: FilesystemKind,
    tracker: Option<Box<dyn Tracker>>,
    /// When the first and the last pass began.
    first: Mark,
    last: Mark,
    links: Links,
    delta: Delta,
    /// What the first list says, once a scan needed it.
    remembered: Option<Remembered>,
    /// The first list has every hash.
    list_is_whole: bool,
    mapped: Vec<mapped::Mapped>,
    /// When the cut began and ended.
    held: Option<(Mark, Mark)>,
    /// What somebody changed during the cut, and who, as far as known.
    stirred: BTreeMap<RelPath, i32>,
    unreadable: BTreeSet<RelPath>,
    /// What the first pass could not take. Later passes try again.
    first_problems: BTreeMap<RelPath, String>,
}

impl Engine {
    /// Makes ready. The tracker must be on already.
    pub(super) fn new(
        plan: Plan,
        reader: Reader,
        filesystem: FilesystemKind,
        tracker: Box<dyn Tracker>,
    ) -> Self {
        let mark = Mark::of_pass(filesystem.stamps_by_our_clock());
        Self {
            plan,
            reader,
            filesystem,
            tracker: Some(tracker),
            first: mark,
            last: mark,
            links: Links::default(),
            delta: Delta::default(),
            remembered: None,
            list_is_whole: false,
            mapped: Vec::new(),
            held: None,
            stirred: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            first_problems: BTreeMap::new(),
        }
    }

    fn first_list(&self) -> PathBuf {
        self.plan.lists.join("shadow.first")
    }

    /// The list of the finished shadow.
    pub(super) fn final_list(&self) -> PathBuf {
        self.plan.lists.join("shadow.index")
    }

    /// Where the shadow is.
    pub(super) fn shadow(&self) -> &Path {
        &self.plan.shadow
    }

    /// The first pass: everything.
    pub(super) fn first_pass(&mut self, context: &Context, deadline: Deadline) -> Result<(), ProviderError> {
        let held = held_folder(&self.plan.shadow);
        std::fs::create_dir(&held).map_err(failed("make the folder", &held))?;
        self.first = self.begin_pass()?;
        self.last = self.first;
        let mut index = IndexAppender::create(&self.first_list()).map_err(tree_error)?;
        let options = MirrorOptions {
            filter: self.plan.filter.clone(),
            transfer: self.plan.transfer,
            baseline: self.plan.baseline.clone(),
            hash: true,
            live: true,
            settled_before: Some(self.settled_before(&self.first)),
            threads: 0,
        };
        let progress = PassProgress::new(context, deadline);
        let report = mirror(self.reader.path(), &self.plan.shadow, &mut index, &options, &progress)
            .map_err(|error| progress.explain(error, self.reader.path()))?;
        index.finish().map_err(tree_error)?;
        self.list_is_whole = report.unhashed == 0;
        self.first_problems =
            report.problems.into_iter().map(|problem| (problem.path, problem.text)).collect();
        // A file that gets its second name from now on is told by the tracker, or met by the scans.
        if report.several_names == 0 { Ok(()) } else { self.learn_links() }
    }

    /// Learns which files have several names: those that the first list shows, and those that a look shows, which may
    /// have names outside the tree.
    fn learn_links(&mut self) -> Result<(), ProviderError> {
        for entry in IndexReader::open(&self.first_list()).map_err(tree_error)? {
            let entry = entry.map_err(tree_error)?;
            if let (Some(first), Some(origin)) = (&entry.hard_link, entry.origin) {
                self.links.add(origin.inode, first);
                self.links.add(origin.inode, &entry.path);
            }
        }
        let mut counts = BTreeMap::new();
        for visit in Scan::new(&self.reader, RelPath::top()).flatten() {
            if !visit.stat.is_folder() && visit.stat.links > 1 && self.plan.filter.takes(&visit.path, false) {
                self.links.add(visit.stat.inode, &visit.path);
                counts.insert(visit.stat.inode, visit.stat.links);
            }
        }
        for (inode, links) in counts {
            self.links.settle(inode, links);
        }
        Ok(())
    }

    /// Passes until little changes, or until there is no time for another.
    pub(super) fn catch_up(&mut self, context: &Context, deadline: Deadline) -> Result<(), ProviderError> {
        let tracker = self.tracker.as_mut();
        let watch = tracker.map_or(Ok(()), |tracker| tracker.watch_opens());
        watch.map_err(failed("follow what is opened in", self.reader.path()))?;
        self.mapped =
            mapped::find(&self.reader).map_err(failed("look for mapped files in", Path::new("/proc")))?;
        let mut before = usize::MAX;
        for _ in 0..CATCH_UPS_MAX {
            let start = Instant::now();
            let count = self.pass(context, deadline)?;
            let took = start.elapsed();
            tracing::debug!(count, took_ms = took.as_millis() as u64, "caught up with what changed");
            let stopped_shrinking = count > before / 2;
            if count <= FEW_ENTRIES || stopped_shrinking || deadline.remaining() < took * 3 {
                break;
            }
            before = count;
        }
        Ok(())
    }

    /// One pass over what changed, while the tree is alive. Returns how many entries were taken.
    fn pass(&mut self, context: &Context, deadline: Deadline) -> Result<usize, ProviderError> {
        let begun = self.begin_pass()?;
        let found = self.search(context)?;
        self.tell_unseen(context, &found);
        let taking = Taking {
            source: self.reader.path(),
            shadow: &self.plan.shadow,
            transfer: self.plan.transfer,
            pass: begun,
            settled_before: self.settled_before(&begun),
            manner: Manner::Live,
            deadline,
            context,
        };
        let taken = taking.take(&self.reader, &found.items)?;
        let count = taken.len();
        self.remember(taken);
        self.last = begun;
        Ok(count)
    }

    /// The pass in the freeze. Nothing is flushed: every page that was stored to since the last pass began has moved the
    /// change time of its file since, and reading sees what is in memory.
    pub(super) fn cut(&mut self, context: &Context, deadline: Deadline) -> Result<(), ProviderError> {
        let begin = Mark::now();
        let found = self.search(context)?;
        let searched = Instant::now();
        let held = held_folder(&self.plan.shadow);
        let taking = Taking {
            source: self.reader.path(),
            shadow: &self.plan.shadow,
            transfer: self.plan.transfer,
            pass: self.last,
            settled_before: self.settled_before(&self.last),
            manner: Manner::Hold(&held),
            deadline,
            context,
        };
        let taken = taking.take(&self.reader, &found.items)?;
        tracing::debug!(
            count = taken.len(),
            took_us = searched.elapsed().as_micros() as u64,
            "took what changed"
        );
        let stirred = taken.iter().filter(|one| one.stirred).map(|one| (one.path.clone(), 0));
        self.stirred.extend(stirred);
        self.remember(taken);
        self.watch_for_movers();
        self.tell_unseen(context, &found);
        self.held = Some((begin, Mark::now()));
        Ok(())
    }

    /// Whoever changes the tree now was not held.
    fn watch_for_movers(&mut self) {
        let Some(tracker) = &mut self.tracker else { return };
        // When it is not known, the comparison after the thaw has to tell.
        let Changes::Known(suspects) = tracker.drain(&self.links) else { return };
        for (path, suspect) in suspects {
            let is_taken = self.plan.filter.takes(&path, false) || self.plan.filter.takes(&path, true);
            if suspect.stirred && is_taken {
                self.stirred.insert(path, suspect.pid);
            }
        }
    }

    /// Notes the time, then flushes: pages that were dirty then are clean after it, so that the next store to them moves the
    /// change time; and every store before it is seen by the reading that follows.
    fn begin_pass(&self) -> Result<Mark, ProviderError> {
        let mark = Mark::of_pass(self.filesystem.stamps_by_our_clock());
        rustix::fs::syncfs(self.reader.top()).map_err(|e| failed("flush", self.reader.path())(e.into()))?;
        Ok(mark)
    }

    /// Where a store through a mapping does not move the change time, nothing is ever settled.
    fn settled_before(&self, pass: &Mark) -> Timestamp {
        if self.filesystem.stamps_mapped_stores() {
            pass.threshold()
        } else {
            Timestamp { seconds: i64::MIN, nanoseconds: 0 }
        }
    }

    /// Finds what changed since the last pass.
    fn search(&mut self, context: &Context) -> Result<Findings, ProviderError> {
        let changes = match &mut self.tracker {
            Some(tracker) => tracker.drain(&self.links),
            None => Changes::Unknown(String::new()),
        };
        let mut suspects = self.standing_suspects();
        let must_scan = match changes {
            Changes::Known(known) => {
                for (path, suspect) in known {
                    let entry = suspects.entry(path).or_insert(suspect);
                    entry.how = entry.how.max(suspect.how);
                }
                false
            }
            Changes::Unknown(why) => {
                if !why.is_empty() {
                    tracing::info!(component = %context.component, why, "changes are found by a scan this time");
                }
                true
            }
        };
        let found = self.look(&suspects, must_scan)?;
        if !found.misses_names {
            return Ok(found);
        }
        tracing::info!(component = %context.component, "names of linked files are found by a scan this time");
        // What concerned a name that is gone is known to the first look only.
        for item in found.items {
            let how = if item.whole { How::Whole } else { How::Changed };
            let suspect = suspects.entry(item.path).or_insert(Suspect { how, stirred: false, pid: 0 });
            suspect.how = suspect.how.max(how);
        }
        self.look(&suspects, true)
    }

    fn look(
        &mut self,
        suspects: &BTreeMap<RelPath, Suspect>,
        must_scan: bool,
    ) -> Result<Findings, ProviderError> {
        if must_scan && self.remembered.is_none() {
            self.expect_scans()?;
        }
        let first = self.first.threshold();
        let mut search =
            Search::new(&mut self.reader, &self.plan.filter, &self.delta, &mut self.links, first);
        if let (true, Some(remembered)) = (must_scan, &self.remembered) {
            search.add_by_scan(remembered);
        }
        search.add_suspects(suspects);
        Ok(search.finish())
    }

    /// What is suspect in every pass: files that may change through memory, and what the first pass could not take.
    fn standing_suspects(&self) -> BTreeMap<RelPath, Suspect> {
        let how = if self.filesystem.stamps_mapped_stores() { How::Look } else { How::Changed };
        let again = Suspect { how: How::Changed, stirred: false, pid: 0 };
        let mut suspects: BTreeMap<RelPath, Suspect> =
            self.first_problems.keys().map(|path| (path.clone(), again)).collect();
        for file in &self.mapped {
            let names = self.links.of_inode(file.inode).into_iter().flatten();
            for path in names.chain(&file.path) {
                suspects.entry(path.clone()).or_insert(Suspect { how, stirred: false, pid: 0 });
            }
        }
        suspects
    }

    /// Learns what scans need, before one in the freeze needs it.
    pub(super) fn expect_scans(&mut self) -> Result<(), ProviderError> {
        self.remembered = Some(Remembered::of_list(&self.first_list()).map_err(tree_error)?);
        Ok(())
    }

    fn remember(&mut self, taken: Vec<Taken>) {
        for one in taken {
            self.delta.put(one.path, one.fact);
        }
    }

    fn tell_unseen(&mut self, context: &Context, found: &Findings) {
        for (path, error) in &found.unseen {
            if self.unreadable.insert(path.clone()) {
                tell(context, path, format!("cannot look at it: {error}"));
            }
        }
    }

    /// Tells what the first pass could not take and no later one did either.
    fn tell_first_problems(&mut self, context: &Context) {
        for (path, text) in std::mem::take(&mut self.first_problems) {
            let is_mended = match self.delta.get(&path) {
                Some(Fact::Gone) => true,
                // What cannot be read now is told with its own reason.
                Some(Fact::Here(here)) => !here.is_folder(),
                None => false,
            };
            if !is_mended {
                tell(context, &path, text);
                self.unreadable.insert(path);
            }
        }
    }

    /// Ends the tracking, verifies, finishes the shadow and writes its list.
    pub(super) fn finish(&mut self, context: &Context, deadline: Deadline) -> Result<Grade, ProviderError> {
        let Some((begin, end)) = self.held else {
            return Err(ProviderError::Other(format!("{} was not cut", self.reader.path().display())));
        };
        self.tracker = None;
        self.tell_first_problems(context);
        let missed = self.verify(context, deadline, begin, end)?;
        let (first_list, final_list) = (self.first_list(), self.final_list());
        if self.delta.is_empty() && self.list_is_whole {
            // Nothing changed since the first pass: its copies and its list are what was to be made.
            std::fs::rename(&first_list, &final_list).map_err(failed("rename", &first_list))?;
        } else {
            self.finish_shadow(context, &first_list, &final_list)?;
        }
        let held = held_folder(&self.plan.shadow);
        std::fs::remove_dir_all(&held).map_err(failed("remove the folder", &held))?;
        self.tell_stirred(context);
        let is_quiet = self.stirred.is_empty() && missed == 0;
        Ok(if is_quiet { Grade::Frozen } else { Grade::Fuzzy })
    }

    /// Compares with the live tree; takes what was missed as it is now. Returns how many entries were missed.
    fn verify(
        &mut self,
        context: &Context,
        deadline: Deadline,
        begin: Mark,
        end: Mark,
    ) -> Result<usize, ProviderError> {
        if !self.filesystem.stamps_by_our_clock() {
            return Ok(0);
        }
        let comparison = Comparison {
            reader: &self.reader,
            filter: &self.plan.filter,
            first_list: &self.first_list(),
            delta: &self.delta,
            unreadable: &self.unreadable,
            begin: begin.threshold(),
            end: end.threshold(),
        };
        let found = comparison.run().map_err(tree_error)?;
        for path in found.stirred {
            self.stirred.entry(path).or_insert(0);
        }
        let count = found.missed.len();
        if count > 0 {
            let paths: Vec<String> =
                found.missed.iter().take(NAMED_PATHS_MAX).map(|item| item.path.to_string()).collect();
            context.problem(format!(
                "{count} changed entries of {} were not noticed before the freeze and are taken as they are after it: {}",
                self.reader.path().display(),
                paths.join(", ")
            ));
            let taking = Taking {
                source: self.reader.path(),
                shadow: &self.plan.shadow,
                transfer: self.plan.transfer,
                pass: self.last,
                settled_before: Timestamp { seconds: i64::MIN, nanoseconds: 0 },
                manner: Manner::Live,
                deadline,
                context,
            };
            let taken = taking.take(&self.reader, &found.missed)?;
            self.remember(taken);
        }
        Ok(count)
    }

    fn tell_stirred(&self, context: &Context) {
        if self.stirred.is_empty() {
            return;
        }
        let named: Vec<String> = self
            .stirred
            .iter()
            .take(NAMED_PATHS_MAX)
            .map(|(path, pid)| if *pid > 0 { format!("{path} (process {pid})") } else { path.to_string() })
            .collect();
        context.problem(format!(
            "{} changed while the site stood still, so that its copy is not of one instant: {} of its entries, such as {}; \
             name the service that writes there in the site file",
            self.reader.path().display(),
            self.stirred.len(),
            named.join(", ")
        ));
    }

    /// Makes the shadow equal to the tree as it was in the freeze, writes its list, and removes the first one.
    fn finish_shadow(
        &mut self,
        context: &Context,
        first_list: &Path,
        final_list: &Path,
    ) -> Result<(), ProviderError> {
        let mut finish = Finish::new(&self.plan.shadow, first_list, final_list, &mut self.delta)?;
        let orphans = finish.run()?;
        let lost = std::mem::take(&mut finish.lost);
        for (path, reason) in lost {
            tell(context, &path, format!("cannot read it: {reason}"));
        }
        self.stirred.extend(orphans.into_iter().map(|path| (path, 0)));
        std::fs::remove_file(first_list).map_err(failed("remove", first_list))
    }
}

/// Tells of a problem with one entry.
fn tell(context: &Context, path: &RelPath, text: String) {
    context.monitor.emit(Event::Problem(Problem {
        component: Some(context.component.clone()),
        path: Some(path.to_string()),
        text,
    }));
}
