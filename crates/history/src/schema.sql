-- The history of one site. Times are milliseconds since 1970 in UTC, lengths of time microseconds, sizes bytes.

CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,          -- the name of the run
    task TEXT NOT NULL,                 -- backup, verify, retention ...
    asked_by TEXT NOT NULL,             -- schedule, or who asked
    attempt INTEGER NOT NULL,           -- 1 for the first try
    epoch INTEGER,
    started INTEGER NOT NULL,
    ended INTEGER,                      -- NULL: under way, or died
    outcome TEXT,
    grade TEXT,
    window_us INTEGER,
    files INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    problems INTEGER NOT NULL DEFAULT 0,
    exit_code INTEGER,
    failure TEXT,
    hook_failure TEXT,
    set_path TEXT,
    free_bytes INTEGER,                 -- of the destination, at the end
    size_bytes INTEGER
) STRICT;
CREATE INDEX runs_by_task ON runs (task, outcome, started);
CREATE INDEX runs_of_task ON runs (task, started);
CREATE INDEX runs_last_of_task ON runs (task);
CREATE INDEX runs_by_outcome ON runs (outcome, started);
CREATE INDEX runs_by_time ON runs (started);
CREATE INDEX runs_under_way ON runs (started) WHERE ended IS NULL;

CREATE TABLE phases (
    run INTEGER NOT NULL, number INTEGER NOT NULL, phase TEXT NOT NULL, elapsed_us INTEGER,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE steps (
    run INTEGER NOT NULL, number INTEGER NOT NULL, component TEXT NOT NULL, step TEXT NOT NULL, level TEXT,
    elapsed_us INTEGER NOT NULL, error TEXT,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE components (
    run INTEGER NOT NULL, name TEXT NOT NULL, grade TEXT NOT NULL, files INTEGER NOT NULL, bytes INTEGER NOT NULL,
    provider TEXT,
    PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE versions (
    run INTEGER NOT NULL, archive TEXT NOT NULL, version TEXT NOT NULL, epoch INTEGER NOT NULL,
    added_bytes INTEGER, stored_bytes INTEGER,
    PRIMARY KEY (run, archive, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX versions_by_archive ON versions (archive, epoch);
CREATE TABLE problems (
    run INTEGER NOT NULL, number INTEGER NOT NULL, component TEXT, path TEXT, text TEXT NOT NULL,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    run INTEGER,                        -- NULL: of the service itself
    at INTEGER NOT NULL,
    number INTEGER NOT NULL,
    severity INTEGER NOT NULL,          -- 0 info, 1 warning, 2 error
    component TEXT,
    inserts TEXT NOT NULL               -- a JSON list of texts
) STRICT;
CREATE INDEX messages_by_run ON messages (run);
CREATE INDEX messages_by_time ON messages (at);
CREATE INDEX messages_to_look_at ON messages (severity, id) WHERE severity > 0;
CREATE INDEX messages_of_trouble ON messages (number, id) WHERE severity > 0;

-- What metrics count, also after the rows are let go.
CREATE TABLE counters (name TEXT NOT NULL, label TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (name, label))
    STRICT, WITHOUT ROWID;

-- What must be remembered: since when something has its value, and what was told already.
CREATE TABLE marks (name TEXT PRIMARY KEY, value TEXT NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE alerts (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,              -- what it is about, such as an archive; may be empty
    instance TEXT NOT NULL,             -- what made it, such as a run; another one counts as another occurrence
    severity INTEGER NOT NULL,          -- 0 info, 1 warning, 2 critical
    state TEXT NOT NULL,                -- active, postponed, cleared
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    remedy TEXT NOT NULL,
    began INTEGER NOT NULL,
    changed INTEGER NOT NULL,           -- when the state or the severity last changed
    told INTEGER NOT NULL,              -- when its last notice was made
    occurrences INTEGER NOT NULL,
    postponed_until INTEGER,
    closed_by TEXT,                     -- NULL: by itself
    holds INTEGER NOT NULL,             -- whether its condition still holds, also when a person closed it
    comment TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX alerts_open ON alerts (kind, subject) WHERE state <> 'cleared';
CREATE INDEX alerts_holding ON alerts (holds, id) WHERE holds = 1;
CREATE INDEX alerts_by_state ON alerts (state, changed);

-- What each channel was told of each alert, and what it has yet to be told: at most one notice, the newest.
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY,
    alert INTEGER NOT NULL,
    channel TEXT NOT NULL,
    notice TEXT NOT NULL,               -- begun, worsened, reminder, cleared
    made INTEGER NOT NULL,
    tries INTEGER NOT NULL,             -- how often it failed
    next_try INTEGER NOT NULL,
    told INTEGER,                       -- when the channel took it; NULL: not yet
    error TEXT                          -- how the last try failed
) STRICT;
CREATE INDEX deliveries_by_alert ON deliveries (alert, channel);
CREATE UNIQUE INDEX deliveries_waiting ON deliveries (channel, alert) WHERE told IS NULL;
CREATE TABLE channels (
    name TEXT PRIMARY KEY, last_good INTEGER, last_failed INTEGER,
    failures INTEGER NOT NULL,          -- in a row
    error TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE people (
    name TEXT PRIMARY KEY, role TEXT NOT NULL, password TEXT NOT NULL, created INTEGER NOT NULL, last_seen INTEGER
) STRICT, WITHOUT ROWID;
-- Secrets are kept as their SHA-256 only.
CREATE TABLE sessions (
    secret BLOB PRIMARY KEY, person TEXT NOT NULL, created INTEGER NOT NULL, last_seen INTEGER NOT NULL,
    expires INTEGER NOT NULL            -- when it ends if nobody is seen before
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_person ON sessions (person);
CREATE TABLE tokens (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, secret BLOB NOT NULL UNIQUE, role TEXT NOT NULL, person TEXT NOT NULL,
    created INTEGER NOT NULL, expires INTEGER NOT NULL, last_used INTEGER
) STRICT;
CREATE TABLE invitations (secret BLOB PRIMARY KEY, role TEXT NOT NULL, name TEXT, expires INTEGER NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, person TEXT NOT NULL, address TEXT NOT NULL, action TEXT NOT NULL,
    subject TEXT NOT NULL, result TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_time ON audit (at);
