-- Payer aliases and CPT groups that were changed and that the stored claims do not have yet.
-- names_wanted, names_wanted_at: the last change, and when it was made; names_applied: the change that the claims were given last.
-- An id and no digest: which groups there are where a customer has set none is the program's to say. names_asked_at, names_asks:
-- when a run was asked for it last, and how often.
ALTER TABLE customers
    ADD COLUMN names_wanted    uuid,
    ADD COLUMN names_wanted_at timestamptz,
    ADD COLUMN names_applied   uuid,
    ADD COLUMN names_asked_at  timestamptz,
    ADD COLUMN names_asks      integer NOT NULL DEFAULT 0,
    -- One without a digest never had a claim merged: its first upload is given the names. A column, for the planner has no figures of
    -- such a comparison and expects all customers.
    ADD COLUMN names_due       boolean GENERATED ALWAYS AS (names_wanted IS DISTINCT FROM names_applied
                                                            AND applied_mapping_sha256 IS NOT NULL) STORED;
-- Across all customers the few that wait.
CREATE INDEX customers_names_due ON customers (customer_id) WHERE names_due;

-- By a trigger: the API and the commands write a configuration whole, and none of them can forget it.
CREATE FUNCTION want_names() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    NEW.names_wanted := gen_random_uuid();
    NEW.names_wanted_at := now();
    NEW.names_asked_at := NULL;
    NEW.names_asks := 0;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION want_names() FROM PUBLIC;
CREATE TRIGGER names_changed BEFORE UPDATE OF configuration ON customers FOR EACH ROW
    WHEN (OLD.configuration #> '{mapping,payer_aliases}' IS DISTINCT FROM NEW.configuration #> '{mapping,payer_aliases}'
          OR OLD.configuration #> '{mapping,cpt_groups}' IS DISTINCT FROM NEW.configuration #> '{mapping,cpt_groups}')
    EXECUTE FUNCTION want_names();

-- From a request or a run to its reports; those that commands ask for have no request.
CREATE INDEX report_runs_request ON report_runs (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX report_runs_run ON report_runs (run_id) WHERE run_id IS NOT NULL;
-- Of who asked again before it was made the trail alone knows the request.
CREATE INDEX audit_log_reports ON audit_log (request_id) WHERE action = 'report.requested' AND request_id IS NOT NULL;
-- The runs that had begun a report before the one that has it, each with when it did: an alert that tells of one leads to the report.
ALTER TABLE report_runs
    ADD COLUMN earlier_runs   text[] NOT NULL DEFAULT '{}',
    ADD COLUMN earlier_starts timestamptz[] NOT NULL DEFAULT '{}',
    ADD CHECK (cardinality(earlier_runs) = cardinality(earlier_starts));
CREATE INDEX report_runs_earlier ON report_runs USING gin (earlier_runs) WHERE earlier_runs <> '{}';

-- Active customers that something is wrong with, and counts and ages, as before; and of reports. report: the newest that ended
-- failed, where another may be asked for (report_runs_listed). report_waiting: one is not made after 15 minutes (report_runs_open).
-- names: a change of aliases or groups was not given to the claims for 15 minutes; the five runs for it are asked for within 8 or 9
-- (customers_names_due).
GRANT CREATE ON SCHEMA public TO upstream_pipeline;  -- who replaces a function needs it
SET LOCAL ROLE upstream_pipeline;
CREATE OR REPLACE FUNCTION platform_failing() RETURNS TABLE (slug text, why text, since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT c.slug, f.why, f.since
      FROM customers AS c
     CROSS JOIN LATERAL (
           SELECT 'upload' AS why, u.received_at AS since
             FROM (SELECT status, received_at FROM uploads AS u
                    WHERE u.customer_id = c.customer_id AND u.status NOT IN ('received', 'processing')
                    ORDER BY received_at DESC LIMIT 1) AS u
            WHERE u.status = 'failed'
            UNION ALL
           SELECT 'look', coalesce(l.made_at, u.received_at)
             FROM (SELECT received_at FROM uploads AS u
                    WHERE u.customer_id = c.customer_id AND u.accepted > 0 ORDER BY received_at LIMIT 1) AS u
             LEFT JOIN (SELECT made_at FROM drift_looks AS l WHERE l.customer_id = c.customer_id
                         ORDER BY as_of DESC LIMIT 1) AS l ON true
            WHERE coalesce(l.made_at, u.received_at) < now() - interval '26 hours' AND 'drift' <> ALL (c.products_off)
            UNION ALL
           SELECT 'channel', min(coalesce(h.failing_since, h.disabled_at, h.created_at))
             FROM alert_channels AS h
            WHERE h.customer_id = c.customer_id
              AND CASE WHEN h.enabled THEN h.failing_since IS NOT NULL
                       ELSE h.disabled_reason NOT LIKE 'no longer in%' END
           HAVING count(*) > 0
            UNION ALL
           SELECT 'silent', m.noticed_at FROM missed_uploads AS m
            WHERE m.customer_id = c.customer_id AND m.ended_at IS NULL
              AND NOT c.products_off @> '{csv_upload,webhook_ingest}'
            UNION ALL
           SELECT 'report', r.ended_at
             FROM (SELECT state, ended_at FROM report_runs AS r
                    WHERE r.customer_id = c.customer_id AND r.state IN ('success', 'failed')
                    ORDER BY requested_at DESC LIMIT 1) AS r
            WHERE r.state = 'failed' AND 'reports' <> ALL (c.products_off)) AS f
     WHERE c.status = 'active'
     UNION ALL
    SELECT c.slug, 'waiting', min(u.received_at)
      FROM uploads AS u JOIN customers AS c ON c.customer_id = u.customer_id AND c.status = 'active'
     WHERE u.status IN ('received', 'processing') AND u.received_at < now() - interval '15 minutes'
     GROUP BY c.slug
     UNION ALL
    SELECT c.slug, 'report_waiting', min(r.requested_at)
      FROM report_runs AS r JOIN customers AS c ON c.customer_id = r.customer_id AND c.status = 'active'
     WHERE r.state IN ('waiting', 'running') AND r.requested_at < now() - interval '15 minutes'
     GROUP BY c.slug
     UNION ALL
    SELECT c.slug, 'names', c.names_wanted_at
      FROM customers AS c
     WHERE c.names_due AND c.status = 'active' AND c.names_wanted_at < now() - interval '15 minutes'
$$;

CREATE OR REPLACE FUNCTION platform_totals() RETURNS TABLE (name text, first text, second text, value double precision)
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
    -- report_runs_open
    SELECT 'reports_waiting', r.state, NULL, count(*) FROM report_runs AS r
     WHERE r.state IN ('waiting', 'running') GROUP BY r.state
    UNION ALL
    SELECT 'report_oldest_waiting_seconds', NULL, NULL, coalesce(extract(epoch FROM now() - min(r.requested_at)), 0)
      FROM report_runs AS r WHERE r.state IN ('waiting', 'running')
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
SET LOCAL ROLE upstream_owner;
REVOKE CREATE ON SCHEMA public FROM upstream_pipeline;
