-- The whole memory of a server.
--
-- Moments are microseconds since 1970-01-01 UTC. Words of closed tables (state, reason, phase, ...) are
-- those of shorepower.model; they are not repeated in checks, so that a new word needs no new table, and
-- a reader refuses a word it does not know. `owner:` names the one module that decides what a column
-- holds; the store only writes it down. Tables hang on jobs(seq) and go with the job.

-- ---------------------------------------------------------------- jobs

-- The narrow row that moves while a job lives. What never changes is in job_cards and job_specs.
CREATE TABLE jobs (
  seq         INTEGER PRIMARY KEY AUTOINCREMENT,  -- owner: store; order of arrival, never used twice
  id          TEXT NOT NULL UNIQUE,               -- owner: dispatch/submit
  owner       TEXT NOT NULL,                      -- owner: dispatch/submit
  name        TEXT NOT NULL,                      -- owner: dispatch/submit
  cluster     TEXT NOT NULL,                      -- owner: dispatch/submit
  created_at  INTEGER NOT NULL,                   -- owner: dispatch/submit
  latest_at   INTEGER NOT NULL,                   -- owner: store; the latest created_at up to this row. It grows
                                                  -- with seq even if the clock went back, so "created after"
                                                  -- is one seek
  state       TEXT NOT NULL,                      -- owner: dispatch/fold, as are the next eleven
  reason      TEXT,
  why         TEXT NOT NULL,
  started_at  INTEGER,
  ended_at    INTEGER,
  exit_code   INTEGER,
  signal      INTEGER,
  exit_status INTEGER,
  attempt     INTEGER NOT NULL,
  restart     INTEGER NOT NULL,
  host        TEXT NOT NULL,
  counts      TEXT NOT NULL,                      -- JSON {state: tasks}
  usage       TEXT,                               -- owner: dispatch/watch; JSON
  progress    TEXT,                               -- owner: dispatch/watch; JSON
  wanted      TEXT,                               -- owner: dispatch/control
  stale_since INTEGER,                            -- owner: dispatch/watch
  revision    INTEGER NOT NULL                    -- owner: store; grows by one with every update
) STRICT;

CREATE INDEX jobs_owner ON jobs (owner);
CREATE INDEX jobs_owner_id ON jobs (owner, id);
CREATE INDEX jobs_owner_state ON jobs (owner, state);
CREATE INDEX jobs_owner_name ON jobs (owner, name);
CREATE INDEX jobs_owner_cluster ON jobs (owner, cluster);
CREATE INDEX jobs_owner_ended ON jobs (owner, ended_at, state) WHERE ended_at IS NOT NULL;
CREATE INDEX jobs_ended ON jobs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX jobs_latest ON jobs (latest_at);
CREATE INDEX jobs_active ON jobs (state) WHERE state IN ('PENDING', 'RUNNING', 'SUSPENDED');

-- What is shown of a job in lists and does not move.
CREATE TABLE job_cards (
  job        INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
  queue      TEXT,              -- owner: dispatch/submit, as is the whole row
  script     TEXT NOT NULL,
  project    TEXT NOT NULL,
  resources  TEXT NOT NULL,     -- JSON
  tags       TEXT NOT NULL,     -- JSON {key: value}; job_tags is made from it
  origin     TEXT,              -- JSON
  task_count INTEGER NOT NULL
) STRICT;

-- What was submitted, as it was submitted.
CREATE TABLE job_specs (
  job  INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
  spec BLOB NOT NULL            -- owner: dispatch/submit; JSON with its own v
) STRICT;

-- The blobs that a spec names: the root of its snapshot, the pieces of its standard input.
CREATE TABLE job_blobs (
  job    INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
  digest TEXT NOT NULL,         -- owner: dispatch/submit
  PRIMARY KEY (job, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_tags (
  job   INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
  key   TEXT NOT NULL,          -- owner: store, from job_cards.tags, as are the next two
  value TEXT NOT NULL,
  owner TEXT NOT NULL,          -- the job's
  PRIMARY KEY (job, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_tags_found ON job_tags (owner, key, value, job);

-- One key of a user means one job, for as long as the job is on record.
CREATE TABLE idempotency_keys (
  owner       TEXT NOT NULL,    -- owner: dispatch/submit, as is the whole row
  key         TEXT NOT NULL,
  body_digest BLOB NOT NULL,
  job         INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
  PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_job ON idempotency_keys (job);

-- How many jobs of an owner are in a state. The triggers keep it whatever statement moves a job.
CREATE TABLE job_counts (
  owner TEXT NOT NULL,          -- owner: store, as is the whole row
  state TEXT NOT NULL,
  n     INTEGER NOT NULL CHECK (n >= 0),
  PRIMARY KEY (owner, state)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER jobs_came AFTER INSERT ON jobs BEGIN
  INSERT INTO job_counts (owner, state, n) VALUES (NEW.owner, NEW.state, 1)
    ON CONFLICT (owner, state) DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER jobs_moved AFTER UPDATE OF owner, state ON jobs
WHEN NEW.state IS NOT OLD.state OR NEW.owner IS NOT OLD.owner BEGIN
  UPDATE job_counts SET n = n - 1 WHERE owner = OLD.owner AND state = OLD.state;
  INSERT INTO job_counts (owner, state, n) VALUES (NEW.owner, NEW.state, 1)
    ON CONFLICT (owner, state) DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER jobs_went AFTER DELETE ON jobs BEGIN
  UPDATE job_counts SET n = n - 1 WHERE owner = OLD.owner AND state = OLD.state;
END;

-- ---------------------------------------------------------------- handing over

CREATE TABLE submissions (
  seq        INTEGER PRIMARY KEY,  -- owner: store; oldest first
  id         TEXT NOT NULL UNIQUE, -- owner: dispatch/submit, as are the next five
  job        INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
  serial     INTEGER NOT NULL,
  cluster    TEXT NOT NULL,
  attempt    INTEGER NOT NULL,
  tasks      TEXT NOT NULL,        -- JSON spans
  phase      TEXT NOT NULL,        -- owner: dispatch/handover, as is the rest
  not_before INTEGER,
  handle     TEXT,
  workdir    TEXT NOT NULL,
  tries      INTEGER NOT NULL,
  why        TEXT NOT NULL,
  UNIQUE (job, serial)
) STRICT;

CREATE INDEX submissions_cluster_phase ON submissions (cluster, phase);
CREATE INDEX submissions_phase ON submissions (phase);
CREATE INDEX submissions_waiting ON submissions (not_before) WHERE phase = 'held';

-- What a held submission waits for.
CREATE TABLE dependencies (
  submission INTEGER NOT NULL REFERENCES submissions (seq) ON DELETE CASCADE,
  after_job  TEXT NOT NULL,        -- owner: dispatch/submit, as are the next two; the id, which may outlive the job
  after_task INTEGER NOT NULL DEFAULT -1,  -- -1 is the whole job
  wants      TEXT NOT NULL,        -- ok, any, failed
  met_at     INTEGER,              -- owner: dispatch/handover
  PRIMARY KEY (submission, after_job, after_task)
) STRICT, WITHOUT ROWID;

CREATE INDEX dependencies_after ON dependencies (after_job) WHERE met_at IS NULL;

-- Where the tasks of an array stand: one byte a task, 4,096 tasks a row, in order of position.
-- P pending, R running, S suspended, C completed, F failed, X canceled.
CREATE TABLE task_chunks (
  job    INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
  chunk  INTEGER NOT NULL,         -- position / 4096
  states BLOB NOT NULL,            -- owner: dispatch/fold
  PRIMARY KEY (job, chunk)
) STRICT;

CREATE TABLE attempts (
  job        INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
  task       INTEGER NOT NULL,     -- owner: dispatch/submit, as are the next two
  number     INTEGER NOT NULL,
  submission TEXT NOT NULL,
  restart    INTEGER NOT NULL,     -- owner: dispatch/fold, as is the rest
  state      TEXT NOT NULL,
  reason     TEXT,
  why        TEXT NOT NULL,
  exit_code  INTEGER,
  signal     INTEGER,
  host       TEXT NOT NULL,
  started_at INTEGER,
  ended_at   INTEGER,
  usage      TEXT,                 -- JSON
  seen       TEXT NOT NULL,        -- JSON {source: [restart, as_of]}
  PRIMARY KEY (job, task, number)
) STRICT, WITHOUT ROWID;

-- Operations asked for and not yet seen to have happened; a later one replaces an earlier one.
CREATE TABLE controls (
  serial       INTEGER PRIMARY KEY AUTOINCREMENT,  -- owner: store; never used twice
  job          INTEGER NOT NULL UNIQUE REFERENCES jobs (seq) ON DELETE CASCADE,
  operation    TEXT NOT NULL,      -- owner: dispatch/control, as is the rest
  requested_at INTEGER NOT NULL,
  requested_by TEXT NOT NULL
) STRICT;

-- ---------------------------------------------------------------- news

CREATE TABLE journal (
  seq   INTEGER PRIMARY KEY AUTOINCREMENT,  -- owner: store; the event id everywhere, never used twice
  v     INTEGER NOT NULL,          -- owner: model/events
  at    INTEGER NOT NULL,          -- owner: whoever tells the news in dispatch, as is the rest
  type  TEXT NOT NULL,
  job   TEXT NOT NULL,             -- the id: the line that a job was forgotten outlives it
  owner TEXT NOT NULL,
  body  TEXT NOT NULL              -- JSON
) STRICT;

CREATE INDEX journal_owner ON journal (owner);
CREATE INDEX journal_job ON journal (job);

CREATE TABLE audit (
  seq     INTEGER PRIMARY KEY AUTOINCREMENT,  -- owner: store
  at      INTEGER NOT NULL,        -- owner: dispatch/audit, as is the rest
  who     TEXT NOT NULL,
  what    TEXT NOT NULL,
  subject TEXT NOT NULL
) STRICT;

-- ---------------------------------------------------------------- who

CREATE TABLE callers (
  user     TEXT PRIMARY KEY,       -- owner: dispatch/identity, as is the whole row
  uid      INTEGER,
  since_at INTEGER NOT NULL,
  seen_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
  seq        INTEGER PRIMARY KEY,  -- owner: store
  id         TEXT NOT NULL UNIQUE, -- owner: dispatch/tokens, as is the rest
  hash       BLOB NOT NULL UNIQUE, -- SHA-256 of the secret
  user       TEXT NOT NULL,
  scope      TEXT NOT NULL,
  name       TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER,
  used_at    INTEGER
) STRICT;

CREATE INDEX tokens_user ON tokens (user);

-- Who else may see or steer a job, or all jobs of an owner (job NULL).
CREATE TABLE grants (
  id         INTEGER PRIMARY KEY,
  owner      TEXT NOT NULL,        -- owner: dispatch/access, as is the rest
  job        INTEGER REFERENCES jobs (seq) ON DELETE CASCADE,
  grantee    TEXT NOT NULL,
  allows     TEXT NOT NULL,
  granted_at INTEGER NOT NULL,
  until_at   INTEGER
) STRICT;

CREATE INDEX grants_grantee ON grants (grantee, owner);
CREATE INDEX grants_job ON grants (job) WHERE job IS NOT NULL;

-- ---------------------------------------------------------------- files

CREATE TABLE blobs (
  id         INTEGER PRIMARY KEY,  -- owner: store
  digest     TEXT NOT NULL UNIQUE, -- owner: dispatch/files, as is the next
  size_bytes INTEGER NOT NULL,
  used_at    INTEGER NOT NULL      -- owner: store; the latest used_at of its owners
) STRICT;

CREATE INDEX blobs_used ON blobs (used_at);

CREATE TABLE blob_owners (
  owner   TEXT NOT NULL,           -- owner: dispatch/files, as is the whole row
  blob    INTEGER NOT NULL REFERENCES blobs (id) ON DELETE CASCADE,
  used_at INTEGER NOT NULL,
  PRIMARY KEY (owner, blob)
) STRICT, WITHOUT ROWID;

CREATE INDEX blob_owners_blob ON blob_owners (blob);

CREATE TABLE blob_leases (
  blob     INTEGER NOT NULL REFERENCES blobs (id) ON DELETE CASCADE,
  owner    TEXT NOT NULL,          -- owner: dispatch/files, as is the whole row
  until_at INTEGER NOT NULL,
  PRIMARY KEY (blob, owner)
) STRICT, WITHOUT ROWID;

-- Sums that nobody should have to add up again.
CREATE TABLE totals (
  name TEXT PRIMARY KEY,
  n    INTEGER NOT NULL            -- owner: store
) STRICT, WITHOUT ROWID;

INSERT INTO totals (name, n) VALUES ('blob_bytes', 0);

CREATE TRIGGER blobs_came AFTER INSERT ON blobs BEGIN
  UPDATE totals SET n = n + NEW.size_bytes WHERE name = 'blob_bytes';
END;

CREATE TRIGGER blobs_resized AFTER UPDATE OF size_bytes ON blobs
WHEN NEW.size_bytes IS NOT OLD.size_bytes BEGIN
  UPDATE totals SET n = n + NEW.size_bytes - OLD.size_bytes WHERE name = 'blob_bytes';
END;

CREATE TRIGGER blobs_went AFTER DELETE ON blobs BEGIN
  UPDATE totals SET n = n - OLD.size_bytes WHERE name = 'blob_bytes';
END;

-- What came out of a job; one row for each job from the beginning.
CREATE TABLE results (
  job        INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
  state      TEXT NOT NULL,        -- owner: dispatch/files, as are the next three
  file_count INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  why        TEXT NOT NULL,
  expires_at INTEGER,              -- owner: dispatch/expire
  pulled_at  INTEGER               -- owner: dispatch/files
) STRICT;

CREATE INDEX results_held ON results (expires_at) WHERE state <> 'expired';
CREATE INDEX results_saving ON results (job) WHERE state = 'saving';
CREATE INDEX results_here ON results (job) WHERE state IN ('ready', 'partial');

CREATE TABLE result_listings (
  job     INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
  listing BLOB NOT NULL            -- owner: dispatch/files; opaque here
) STRICT;

-- ---------------------------------------------------------------- the server itself

-- Who holds what for how long, by name: shared work that one server at a time may do.
CREATE TABLE leases (
  name       TEXT PRIMARY KEY,     -- owner: whoever takes it, as is the whole row
  holder     TEXT NOT NULL,
  taken_at   INTEGER NOT NULL,
  renewed_at INTEGER NOT NULL,
  until_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
