-- Results that nobody fetched go only after their owner was warned.

ALTER TABLE results ADD COLUMN warned_at INTEGER;  -- owner: dispatch/expire; when a command had shown that they go
