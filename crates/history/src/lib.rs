//! What happened, kept: runs, status messages, alerts and people, in one SQLite file.
