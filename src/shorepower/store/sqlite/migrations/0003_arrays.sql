-- Many tasks as one job. What was never written of a task means that it waits.

ALTER TABLE job_cards ADD COLUMN is_array INTEGER NOT NULL DEFAULT 0;  -- owner: dispatch/submit; its tasks have indices

-- task_chunks.states (0001): a letter tells the state and, of an ended task, the reason; see model/chunks.

-- Figures of tasks that have started, of a fixed size each, 256 tasks a row in order of position.
CREATE TABLE task_figures (
  job     INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
  block   INTEGER NOT NULL,        -- position / 256
  figures BLOB NOT NULL,           -- owner: dispatch/fold; packed by model/chunks
  PRIMARY KEY (job, block)
) STRICT;

-- What ended tasks wrote of themselves; only of those that wrote any.
CREATE TABLE task_metrics (
  job     INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
  task    INTEGER NOT NULL,        -- position
  metrics TEXT NOT NULL,           -- owner: dispatch/fold; JSON {name: latest value}
  PRIMARY KEY (job, task)
) STRICT, WITHOUT ROWID;

-- Operations asked of some tasks of an array and not yet seen to have happened, one row an operation.
CREATE TABLE task_controls (
  serial       INTEGER PRIMARY KEY AUTOINCREMENT,  -- owner: store; never used twice
  job          INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
  operation    TEXT NOT NULL,      -- owner: dispatch/control, as is the rest
  tasks        TEXT NOT NULL,      -- JSON spans of positions
  requested_at INTEGER NOT NULL,
  requested_by TEXT NOT NULL,
  UNIQUE (job, operation)
) STRICT;
