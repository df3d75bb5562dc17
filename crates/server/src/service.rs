//! What all parts of the service share.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use stillpoint_history::History;
use stillpoint_model::SiteCode;
use stillpoint_model::status::{MessageId, StatusMessage, id};
use stillpoint_site::{LoadedSite, SiteError};
use tokio::sync::{broadcast, watch};

use crate::launcher::{LaunchError, Launcher, Order};
use crate::live::{BACKLOG, Live};
use crate::queue::{Closing, Queue};

/// The site as the service sees it.
#[derive(Debug, Clone)]
pub struct SiteView {
    /// What its site file last said when it was valid: that is in force.
    pub site: Arc<LoadedSite>,
    /// What is wrong with the file now, if something is; then the last valid one stays in force.
    pub mistakes: Option<String>,
    /// When what is in force was taken up.
    pub since: Timestamp,
}

/// What all parts of the service share. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    /// The history.
    pub history: Arc<History>,
    /// What is done and what waits.
    pub queue: Queue,
    /// What happens now.
    pub live: broadcast::Sender<Arc<Live>>,
    /// Who does it.
    pub launcher: Launcher,
    site: watch::Sender<SiteView>,
    console_url: Arc<OnceLock<String>>,
}

impl Service {
    /// A service for the site whose file is at `config`, with the history below `state_root`.
    ///
    /// # Errors
    ///
    /// When the site file is not valid, or the history cannot be opened.
    pub fn open(config: &Path, state_root: &Path, launcher: Launcher) -> Result<Self, SiteError> {
        let site = stillpoint_site::load(config)?;
        let path = History::path_in(state_root, &site.file.site.code);
        let history = History::open(&path)
            .map_err(|error| SiteError::new(stillpoint_model::ErrorKind::Environment, error.to_string()))?;
        let view = SiteView { site: Arc::new(site), mistakes: None, since: Timestamp::now() };
        Ok(Self {
            history: Arc::new(history),
            queue: Queue::default(),
            live: broadcast::Sender::new(BACKLOG),
            launcher,
            site: watch::Sender::new(view),
            console_url: Arc::default(),
        })
    }

    /// The site as it is in force, and what is wrong with its file.
    pub fn site(&self) -> SiteView {
        self.site.borrow().clone()
    }

    /// The code of the site.
    pub fn code(&self) -> SiteCode {
        self.site.borrow().site.file.site.code.clone()
    }

    /// Where the site file is.
    pub fn config(&self) -> PathBuf {
        self.site.borrow().site.path.clone()
    }

    /// Tells of every change of the site file.
    pub fn site_changes(&self) -> watch::Receiver<SiteView> {
        self.site.subscribe()
    }

    /// Reads the site file again. A valid one is in force at once; a bad one, or one of another site, is told, and what was in
    /// force stays.
    pub fn reload(&self) {
        let view = self.site();
        let found = stillpoint_site::load(&view.site.path).map_err(|error| error.text).and_then(|site| {
            let (old, new) = (&view.site.file.site.code, &site.file.site.code);
            if old == new {
                Ok(site)
            } else {
                Err(format!(
                    "the site file is now that of site {new}; this service is that of site {old}: restart it to serve the other"
                ))
            }
        });
        let before = view.mistakes;
        self.site.send_if_modified(|view| match found {
            Ok(site) if site.text == view.site.text && view.mistakes.is_none() => false,
            Ok(site) => {
                *view = SiteView { site: Arc::new(site), mistakes: None, since: Timestamp::now() };
                true
            }
            Err(text) if view.mistakes.as_ref() == Some(&text) => false,
            Err(text) => {
                view.mistakes = Some(text);
                true
            }
        });
        let after = self.site();
        match after.mistakes {
            Some(text) if before.as_ref() != Some(&text) => self.tell(id::SITE_FILE_REFUSED, &[&text]),
            None if after.since > view.since => self.tell(id::SITE_FILE_TAKEN_UP, &[]),
            _ => {}
        }
    }

    /// Says where the console is.
    pub(crate) fn console_is_at(&self, url: &str) {
        // There is one listener, so nobody said anything else before.
        let _ = self.console_url.set(url.to_owned());
    }

    /// Where the console is, once it listens.
    pub fn console_url(&self) -> Option<String> {
        self.console_url.get().cloned()
    }

    /// Asks for something to be done; returns the number of the job.
    ///
    /// # Errors
    ///
    /// When the service is about to end.
    pub fn order(&self, order: Order, by: &str) -> Result<u64, Closing> {
        self.queue.add(order, by, 1)
    }

    /// Ends a job, waiting or under way.
    ///
    /// # Errors
    ///
    /// When there is none, or its run cannot be told to end.
    pub async fn cancel(&self, job: u64) -> Result<(), LaunchError> {
        self.queue.cancel(job, &self.launcher, &self.history).await
    }

    /// Keeps a status message of the service itself, and logs it.
    pub fn tell(&self, id: MessageId, inserts: &[&str]) {
        let inserts = inserts.iter().map(|text| (*text).to_owned()).collect();
        let message = StatusMessage::new(id, None, inserts, Timestamp::now());
        match message.severity {
            stillpoint_model::status::Severity::Info => {
                tracing::info!(message_id = message.id.number(), "{}", message.text)
            }
            _ => tracing::warn!(message_id = message.id.number(), "{}", message.text),
        }
        if let Err(error) = self.history.tell(&message) {
            tracing::warn!("a message could not be kept: {error}");
        }
    }

    /// Does something with the history on a thread where waiting is allowed.
    ///
    /// # Errors
    ///
    /// Those of the history.
    pub async fn with_history<T: Send + 'static>(
        &self,
        work: impl FnOnce(&History) -> Result<T, stillpoint_history::HistoryError> + Send + 'static,
    ) -> Result<T, stillpoint_history::HistoryError> {
        let history = self.history.clone();
        tokio::task::spawn_blocking(move || work(&history)).await.unwrap_or_else(|error| {
            Err(stillpoint_history::HistoryError::Refused(format!("a look into the history failed: {error}")))
        })
    }
}
