//! Random secrets: made, written as text, and known again by their SHA-256.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use stillpoint_history::{HistoryError, SecretHash};

/// What tokens begin with, so that a person or a scanner knows one that lies around.
pub(crate) const TOKEN_MARK: &str = "sp_";

/// 256 random bits as text that fits into a cookie, a header and an address.
pub(crate) fn new_secret() -> Result<String, HistoryError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| HistoryError::Refused(format!("the system gives no random bytes: {error}")))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is kept of a secret. It has 256 random bits, so nothing slower than this is needed.
pub(crate) fn hash(secret: &str) -> SecretHash {
    Sha256::digest(secret.as_bytes()).into()
}

/// What the forms of a session bring back. Made from its secret, so it is known without being kept, and says nothing of it.
pub(crate) fn csrf_of(session_secret: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(b"stillpoint csrf\0");
    digest.update(session_secret.as_bytes());
    URL_SAFE_NO_PAD.encode(digest.finalize())
}

/// Whether two texts are the same, in a time that does not tell where they differ.
pub(crate) fn same(given: &str, wanted: &str) -> bool {
    // Both are hashed first: where two hashes differ says nothing about the texts.
    hash(given) == hash(wanted)
}
