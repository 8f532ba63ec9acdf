-- From one request id to the last delivery: who sent an upload, and what each run did with it.

-- The token that sent it; its prefix is what people see. No foreign key: each request also updates the token's row
-- (last_used_at), and with a lock of a key beside it 200 batches a second of one sender would each leave a multixact. The
-- value is the one that the log-in has just answered.
ALTER TABLE uploads ADD COLUMN token_id uuid;
GRANT INSERT (token_id) ON uploads TO upstream_api;
CREATE INDEX uploads_request ON uploads (request_id) WHERE request_id IS NOT NULL;

-- What runs did with an upload: `read` up to received_lines, `merge` into claims. A row is there before the work begins: one
-- without an outcome is that of a run that is at it, or ended with it. Attempts are numbered for each step, from 1.
CREATE TABLE upload_runs (
    customer_id bigint NOT NULL,
    upload_id   uuid NOT NULL,
    step        text NOT NULL CHECK (step IN ('read', 'merge')),
    attempt     integer NOT NULL CHECK (attempt > 0),
    run_id      text NOT NULL,
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz,
    outcome     text CHECK (outcome IN ('read', 'same_bytes', 'refused', 'merged')),
    PRIMARY KEY (customer_id, upload_id, step, attempt),
    FOREIGN KEY (customer_id, upload_id) REFERENCES uploads (customer_id, upload_id),
    CHECK ((ended_at IS NULL) = (outcome IS NULL))
);
-- From a run to its uploads: an alert on a failed run names the run alone.
CREATE INDEX upload_runs_run ON upload_runs (run_id);

ALTER TABLE upload_runs ENABLE ROW LEVEL SECURITY;
-- Without FORCE the owner of a table passes by its policies.
ALTER TABLE upload_runs FORCE ROW LEVEL SECURITY;
CREATE POLICY pipeline ON upload_runs TO upstream_pipeline USING (true) WITH CHECK (true);
CREATE POLICY customer ON upload_runs TO upstream_api
    USING (customer_id = nullif(current_setting('app.customer_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE, DELETE ON upload_runs TO upstream_pipeline;
GRANT SELECT ON upload_runs TO upstream_api;

-- Of uploads read by an earlier release the last attempt is known. As upstream_pipeline: no policy shows the owner an upload.
SET LOCAL ROLE upstream_pipeline;
INSERT INTO upload_runs (customer_id, upload_id, step, attempt, run_id, started_at, ended_at, outcome)
SELECT customer_id, upload_id, 'read', attempt, run_id, started_at,
       CASE WHEN staged_at IS NOT NULL THEN staged_at WHEN status IN ('success', 'failed') THEN finished_at END,
       CASE WHEN staged_at IS NOT NULL THEN 'read'
            WHEN status IN ('success', 'failed') AND finished_at IS NOT NULL
            THEN CASE WHEN duplicate_of IS NOT NULL THEN 'same_bytes' ELSE 'refused' END END
  FROM uploads WHERE run_id IS NOT NULL AND attempt > 0 AND started_at IS NOT NULL;
SET LOCAL ROLE upstream_owner;
