//! File trees. The provider cuts; this writer guards what it is given to cut: a tree that is missing, not mounted, or empty
//! although the last set had files of it, is not what its owner wants to keep.

mod guard;
mod restore;
mod survey;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use stillpoint_model::site_file::FilesSettings;
use stillpoint_model::{
    CaptureSink, Captured, Context, Deadline, Description, Event, Level, Monitor, Provider, TreeCut,
    TreeRequest, Writer, WriterError,
};

use guard::Identity;

pub use restore::FilesRestorer;

/// Cuts one file tree.
pub struct FilesWriter {
    request: TreeRequest,
    provider: Box<dyn Provider>,
    reason: String,
    cut: Option<Box<dyn TreeCut>>,
    identity: Option<Identity>,
    facts: Value,
}

impl FilesWriter {
    /// The writer for a tree of the site file, with the provider that was chosen for it and why it was.
    pub fn new(settings: &FilesSettings, provider: Box<dyn Provider>, reason: String) -> Self {
        let request = TreeRequest {
            source: settings.path.clone(),
            include: settings.include.clone(),
            exclude: settings.exclude.clone(),
        };
        Self { request, provider, reason, cut: None, identity: None, facts: Value::Null }
    }

    fn cut_under_way(&mut self) -> Result<&mut Box<dyn TreeCut>, WriterError> {
        self.cut.as_mut().ok_or_else(|| WriterError::Other("the file tree was not prepared".into()))
    }
}

impl Writer for FilesWriter {
    fn identify(&mut self, context: &Context, deadline: Deadline) -> Result<Description, WriterError> {
        let source = &self.request.source;
        self.identity = Some(guard::identity(source)?);
        // Without the table nothing is wanted mounted.
        let mount = guard::mounted(source, &fs::read("/etc/fstab").unwrap_or_default())?;
        let survey = survey::survey(&self.request, context, deadline)?;
        if survey.is_complete && survey.files == 0 {
            guard::not_suddenly_empty(source, context)?;
        }
        context.monitor.emit(Event::ProviderChosen {
            component: context.component.clone(),
            provider: self.provider.kind(),
            reason: self.reason.clone(),
        });
        self.facts = json!({
            "path": source.display().to_string(),
            "include": self.request.include,
            "exclude": self.request.exclude,
            "provider": self.provider.kind(),
            "reason": self.reason,
            "file_system": mount.as_ref().map(|mount| mount.kind.as_str()),
            "mount_point": mount.as_ref().map(|mount| mount.point.display().to_string()),
            "files": survey.is_complete.then_some(survey.files),
        });
        Ok(Description {
            writer: "files".into(),
            level: Level::System,
            quieting: None,
            estimate_bytes: survey.estimate_bytes,
            sources: vec![source.clone()],
            facts: self.facts.clone(),
        })
    }

    fn prepare(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        guard::still(&self.request.source, self.identity)?;
        // Kept also when it fails: it has to be released.
        let cut = self.cut.insert(self.provider.open(&self.request, context)?);
        Ok(cut.prepare(context, deadline)?)
    }

    fn poise(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        guard::still(&self.request.source, self.identity)?;
        Ok(self.cut_under_way()?.poise(context, deadline)?)
    }

    fn freeze(&mut self, _context: &Context, _deadline: Deadline) -> Result<(), WriterError> {
        guard::still(&self.request.source, self.identity)
    }

    fn cut(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        Ok(self.cut_under_way()?.cut(context, deadline)?)
    }

    fn thaw(&mut self, _context: &Context, _deadline: Deadline) -> Result<(), WriterError> {
        Ok(())
    }

    fn capture(
        &mut self,
        context: &Context,
        deadline: Deadline,
        sink: &mut dyn CaptureSink,
    ) -> Result<Captured, WriterError> {
        // Counted, because a restore must not take for surplus what the backup could not read.
        let counter = Arc::new(ProblemCounter { monitor: context.monitor.clone(), count: AtomicU64::new(0) });
        let context = &Context { monitor: counter.clone(), ..context.clone() };
        let (source, grade) = self.cut_under_way()?.image(context, deadline)?;
        sink.tree(context, "", source)?;
        let mut facts = self.facts.clone();
        facts["problems"] = counter.count.load(Ordering::Relaxed).into();
        Ok(Captured { grade, facts })
    }

    fn release(&mut self, context: &Context) -> Result<(), WriterError> {
        // Kept, so that a release that failed can be tried again.
        Ok(self.cut.as_mut().map_or(Ok(()), |cut| cut.release(context))?)
    }
}

/// Passes events on and counts the problems among them.
struct ProblemCounter {
    monitor: Arc<dyn Monitor>,
    count: AtomicU64,
}

impl Monitor for ProblemCounter {
    fn emit(&self, event: Event) {
        if matches!(event, Event::Problem(_)) {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        self.monitor.emit(event);
    }
}
