//! Work that blocks (the database, files, passwords) and must not hold the threads that talk to clients.

use stillpoint_history::HistoryError;

/// Does the work on the pool for blocking work.
///
/// # Errors
///
/// When the service stops before the work began.
///
/// # Panics
///
/// When the work does: its panic goes on here.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HistoryError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(HistoryError::Refused("the service stops".into())),
    }
}
