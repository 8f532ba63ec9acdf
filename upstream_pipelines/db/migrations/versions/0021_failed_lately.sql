-- The last attempt that says the receiver fails. Unknown of what failed before: a count that goes on goes on.
ALTER TABLE alert_channels ADD COLUMN failed_at timestamptz;
