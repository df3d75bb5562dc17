//! Secrets as a channel gets them: when it needs them, and no longer.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Trouble;

type Source = dyn Fn() -> Result<Zeroizing<String>, String> + Send + Sync;

/// A text that must not show, or where it comes from. It is asked for each time that it is needed, so that a new password in a file
/// counts at once. An address belongs here, too, where whoever knows it may use it.
#[derive(Clone)]
pub struct Secret(Arc<Source>);

impl Secret {
    /// One that is known.
    pub fn known(text: impl Into<String>) -> Self {
        let text = Zeroizing::new(text.into());
        Self::from(move || Ok(text.clone()))
    }

    /// One that comes from somewhere. `source` may block for a moment; its error says what, where, and how to mend it.
    pub fn from(source: impl Fn() -> Result<Zeroizing<String>, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// The text, without the end of line that a file has. `what` says what it is.
    pub(crate) async fn get(&self, what: &str) -> Result<Zeroizing<String>, Trouble> {
        let source = Arc::clone(&self.0);
        let got = tokio::task::spawn_blocking(move || source()).await;
        let got = got.unwrap_or_else(|_| Err("whatever gives it was ended".into()));
        let text = got.map_err(|why| {
            Trouble::new(format!("{what} is not to be had: {why}"), "Mend where it comes from.")
        })?;
        let trimmed = text.trim_end_matches(['\r', '\n']);
        if trimmed.is_empty() {
            return Err(Trouble::new(format!("{what} is empty"), "Mend where it comes from."));
        }
        Ok(Zeroizing::new(trimmed.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
