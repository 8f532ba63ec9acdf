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

-- Dagster's runs in numbers, noted each minute by a sensor: the API has no login to Dagster's storage, and needs none.
-- queued, started: at that moment; failed: of the 24 hours before it.
CREATE TABLE platform_runs (
    job_name        text PRIMARY KEY,
    queued          integer NOT NULL,
    started         integer NOT NULL,
    failed          integer NOT NULL,
    last_run_id     text,
    last_status     text,
    last_started_at timestamptz,
    last_ended_at   timestamptz,
    last_success_at timestamptz,
    noted_at        timestamptz NOT NULL
);
ALTER TABLE platform_runs ENABLE ROW LEVEL SECURITY;
ALTER TABLE platform_runs FORCE ROW LEVEL SECURITY;
CREATE POLICY pipeline ON platform_runs TO upstream_pipeline USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON platform_runs TO upstream_pipeline;

-- Alerts of the last day, by state.
CREATE INDEX alerts_created ON alerts (created_at);

-- The API sees one customer at a time. What it tells operators of all of them comes from the three functions below, which run
-- as upstream_pipeline and give away counts, ages and the names of customers in trouble; no value of a claim.

-- Active customers that something is wrong with. upload: the newest one was refused. look: claims are there, and no look was
-- made for 26 hours (one is due each day). channel: a receiver fails or was switched off for it. silent: nothing comes.
-- uploads_arrivals, the primary key of drift_looks, alert_channels (small), missed_uploads_open.
CREATE FUNCTION platform_failing() RETURNS TABLE (slug text, why text, since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT c.slug, f.why, f.since
      FROM customers AS c
     CROSS JOIN LATERAL (
           SELECT 'upload' AS why, u.received_at AS since
             FROM (SELECT status, received_at FROM uploads AS u WHERE u.customer_id = c.customer_id
                    ORDER BY received_at DESC LIMIT 1) AS u
            WHERE u.status = 'failed'
            UNION ALL
           SELECT 'look', coalesce(l.made_at, u.received_at)
             FROM (SELECT received_at FROM uploads AS u
                    WHERE u.customer_id = c.customer_id AND u.accepted > 0 ORDER BY received_at LIMIT 1) AS u
             LEFT JOIN (SELECT made_at FROM drift_looks AS l WHERE l.customer_id = c.customer_id
                         ORDER BY as_of DESC LIMIT 1) AS l ON true
            WHERE coalesce(l.made_at, u.received_at) < now() - interval '26 hours'
            UNION ALL
           SELECT 'channel', min(coalesce(h.failing_since, h.disabled_at, h.created_at))
             FROM alert_channels AS h
            WHERE h.customer_id = c.customer_id
              AND CASE WHEN h.enabled THEN h.failing_since IS NOT NULL
                       ELSE h.disabled_reason NOT LIKE 'no longer in%' END
           HAVING count(*) > 0
            UNION ALL
           SELECT 'silent', m.noticed_at FROM missed_uploads AS m
            WHERE m.customer_id = c.customer_id AND m.ended_at IS NULL) AS f
     WHERE c.status = 'active'
$$;

-- Counts and ages (seconds) of the whole platform: a row per name and labels. Every part is served by an index, reads one row
-- a customer, or reads a day: none grows with the history. Lines are PostgreSQL's own estimate, for counting them reads them.
CREATE FUNCTION platform_totals() RETURNS TABLE (name text, first text, second text, value double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT 'customers', c.status, NULL, count(*)::double precision FROM customers AS c GROUP BY c.status
    UNION ALL
    SELECT 'customers_failing', f.why, NULL, count(*) FROM platform_failing() AS f GROUP BY f.why
    UNION ALL
    -- uploads_waiting
    SELECT 'uploads_waiting', u.status, u.source, count(*) FROM uploads AS u
     WHERE u.status IN ('received', 'processing') GROUP BY u.status, u.source
    UNION ALL
    SELECT 'upload_oldest_waiting_seconds', NULL, NULL, coalesce(extract(epoch FROM now() - min(u.received_at)), 0)
      FROM uploads AS u WHERE u.status IN ('received', 'processing')
    UNION ALL
    -- uploads_arrivals, a customer at a time
    SELECT 'uploads_last_day', u.status, u.source, count(*)
      FROM customers AS c
     CROSS JOIN LATERAL (SELECT d.status, d.source FROM uploads AS d
                          WHERE d.customer_id = c.customer_id AND d.received_at > now() - interval '1 day') AS u
     GROUP BY u.status, u.source
    UNION ALL
    SELECT 'claim_lines', NULL, NULL,
           greatest(pg_stat_get_live_tuples('claims'::regclass),
                    (SELECT k.reltuples FROM pg_class AS k WHERE k.oid = 'claims'::regclass), 0)
    UNION ALL
    -- drift_events_live
    SELECT 'drift_events_open', e.signal, e.direction, count(*) FROM drift_events AS e
     WHERE e.state <> 'resolved' AND e.state <> 'watch' GROUP BY e.signal, e.direction
    UNION ALL
    -- alerts_created
    SELECT 'alerts_last_day', a.state, a.kind, count(*) FROM alerts AS a
     WHERE a.created_at > now() - interval '1 day' GROUP BY a.state, a.kind
    UNION ALL
    -- deliveries_due
    SELECT w.name, c.kind, NULL, count(*)
      FROM deliveries AS d
      JOIN alert_channels AS c ON c.customer_id = d.customer_id AND c.channel_id = d.channel_id
     CROSS JOIN LATERAL (VALUES ('deliveries_waiting', true), ('deliveries_due', d.due_at <= now())) AS w (name, counts)
     WHERE d.state IN ('pending', 'retrying', 'sending') AND w.counts GROUP BY w.name, c.kind
    UNION ALL
    SELECT 'delivery_oldest_due_seconds', NULL, NULL, coalesce(extract(epoch FROM now() - min(d.due_at)), 0)
      FROM deliveries AS d WHERE d.state IN ('pending', 'retrying', 'sending') AND d.due_at <= now()
    UNION ALL
    -- deliveries_dead
    SELECT 'deliveries_dead', c.kind, NULL, count(*)
      FROM deliveries AS d
      JOIN alert_channels AS c ON c.customer_id = d.customer_id AND c.channel_id = d.channel_id
     WHERE d.state = 'dead' GROUP BY c.kind
    UNION ALL
    SELECT 'runs', r.job_name, s.state, s.number
      FROM platform_runs AS r
     CROSS JOIN LATERAL (VALUES ('queued', r.queued), ('started', r.started), ('failed_last_day', r.failed)) AS s (state, number)
    UNION ALL
    SELECT 'run_last_success_seconds', r.job_name, NULL, extract(epoch FROM now() - r.last_success_at)
      FROM platform_runs AS r WHERE r.last_success_at IS NOT NULL
    UNION ALL
    SELECT 'runs_noted_seconds', NULL, NULL, extract(epoch FROM now() - max(r.noted_at))
      FROM platform_runs AS r HAVING count(*) > 0
$$;

CREATE FUNCTION platform_run_states() RETURNS SETOF platform_runs
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT * FROM platform_runs ORDER BY job_name
$$;

GRANT CREATE ON SCHEMA public TO upstream_pipeline;  -- an owner-to-be needs it
ALTER FUNCTION platform_failing() OWNER TO upstream_pipeline;
ALTER FUNCTION platform_totals() OWNER TO upstream_pipeline;
ALTER FUNCTION platform_run_states() OWNER TO upstream_pipeline;
REVOKE CREATE ON SCHEMA public FROM upstream_pipeline;
SET LOCAL ROLE upstream_pipeline;
REVOKE ALL ON FUNCTION platform_failing(), platform_totals(), platform_run_states() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION platform_failing(), platform_totals(), platform_run_states() TO upstream_api;
SET LOCAL ROLE upstream_owner;
