-- Reads across customers, for operators. Statements that begin with an id alone go through the customers, of whom there
-- are some thousands at most: each key begins with its customer.

-- name: find_ids
-- Uploads, alerts and deliveries whose id lies between two; three are enough to know that more than one does. Primary keys.
SELECT f.kind, f.customer_id, f.slug, f.id FROM (
    SELECT 'upload' AS kind, c.customer_id, c.slug, u.upload_id AS id
      FROM customers AS c JOIN uploads AS u ON u.customer_id = c.customer_id
       AND u.upload_id BETWEEN %(low)s AND %(high)s
     UNION ALL
    SELECT 'alert', c.customer_id, c.slug, a.alert_id
      FROM customers AS c JOIN alerts AS a ON a.customer_id = c.customer_id
       AND a.alert_id BETWEEN %(low)s AND %(high)s
     UNION ALL
    SELECT 'delivery', c.customer_id, c.slug, d.delivery_id
      FROM customers AS c JOIN deliveries AS d ON d.customer_id = c.customer_id
       AND d.delivery_id BETWEEN %(low)s AND %(high)s) AS f
 LIMIT 3;

-- name: uploads_of_request
-- What a request brought: one upload, or several where a sender gives its requests the same id (uploads_request).
SELECT u.customer_id, c.slug, u.upload_id
  FROM uploads AS u JOIN customers AS c ON c.customer_id = u.customer_id
 WHERE u.request_id = ANY(%(request_ids)s)
 ORDER BY u.received_at, u.upload_id LIMIT %(limit)s;

-- name: uploads_of_run
-- What a run took (upload_runs_run).
SELECT DISTINCT r.customer_id, c.slug, r.upload_id
  FROM upload_runs AS r JOIN customers AS c ON c.customer_id = r.customer_id
 WHERE r.run_id = %(run_id)s
 ORDER BY r.upload_id LIMIT %(limit)s;

-- name: subjects_of_alerts
-- What some alerts are about: theirs, or those of a delivery (primary keys of alerts and delivery_alerts).
SELECT a.kind, a.subject_id, a.content #>> '{data,run_id}' AS run_id, a.content #>> '{data,event_id}' AS event_id
  FROM alerts AS a
 WHERE a.customer_id = %(customer_id)s
   AND (a.alert_id = %(id)s OR a.alert_id IN (
        SELECT l.alert_id FROM delivery_alerts AS l WHERE l.customer_id = %(customer_id)s AND l.delivery_id = %(id)s))
 ORDER BY a.created_at, a.alert_id LIMIT %(limit)s;

-- name: traced_upload
-- One upload with the token that sent it (primary keys).
SELECT u.upload_id, u.source, u.byte_count, u.status, u.attempt, u.requests, u.requested_at, u.duplicate_of, u.rows,
       u.accepted, u.rejected, u.duplicates, u.updated, u.warnings, u.seconds, u.error_code, u.request_id, u.run_id,
       u.received_at, u.finished_at, t.prefix AS token
  FROM uploads AS u
  LEFT JOIN ingestion_tokens AS t ON t.customer_id = u.customer_id AND t.token_id = u.token_id
 WHERE u.customer_id = %(customer_id)s AND u.upload_id = %(upload_id)s;

-- name: runs_of_upload
-- Its attempts in their order (primary key).
SELECT step, attempt, run_id, started_at, ended_at, outcome FROM upload_runs
 WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s
 ORDER BY started_at, step DESC, attempt;

-- name: looks_since
-- Looks made between two instants, with the events that each opened (primary keys of drift_looks and drift_results). An
-- event that only a look back has seen is kept nowhere and is left out.
SELECT l.as_of, l.made_at, coalesce(o.opened, '[]') AS opened
  FROM drift_looks AS l
 CROSS JOIN LATERAL (
       SELECT jsonb_agg(jsonb_build_object('event_id', e.event_id, 'payer', e.payer, 'signal', e.signal,
                                           'direction', e.direction, 'cause', e.cause, 'state', e.state)
                        ORDER BY e.event_id) AS opened
         FROM drift_results AS r
         JOIN drift_events AS e ON e.customer_id = r.customer_id AND e.event_id = r.event_id
        WHERE r.customer_id = l.customer_id AND r.as_of = l.as_of AND r.state = 'open') AS o
 WHERE l.customer_id = %(customer_id)s AND l.made_at >= %(since)s AND l.made_at < %(until)s
 ORDER BY l.made_at, l.as_of;

-- name: looks_of_events
-- The looks that opened some events, in the same columns (primary keys).
SELECT l.as_of, l.made_at,
       jsonb_agg(jsonb_build_object('event_id', e.event_id, 'payer', e.payer, 'signal', e.signal,
                                    'direction', e.direction, 'cause', e.cause, 'state', e.state)
                 ORDER BY e.event_id) AS opened
  FROM drift_events AS e
  JOIN drift_looks AS l ON l.customer_id = e.customer_id AND l.as_of = e.opened_on
 WHERE e.customer_id = %(customer_id)s AND e.event_id = ANY(%(event_ids)s::uuid[])
 GROUP BY l.as_of, l.made_at
 ORDER BY l.made_at, l.as_of;

-- name: limit_time
-- For this transaction, in milliseconds: who asks for totals must not load the database (no table).
SELECT set_config('statement_timeout', %(milliseconds)s::text, true);

-- name: totals
-- Counts and ages of the whole platform; which index serves what is said with the function (migration 0018).
SELECT name, first, second, value FROM platform_totals();

-- name: failing_customers
-- Who is in trouble, for the longest time first; one more than is shown (as above).
SELECT slug, why, since FROM platform_failing() ORDER BY since, slug, why LIMIT %(limit)s;

-- name: run_states
-- Dagster's runs as they were noted last (a row a job).
SELECT job_name, queued, started, failed, last_run_id, last_status, last_started_at, last_ended_at, last_success_at, noted_at
  FROM platform_run_states();

-- name: note_runs
-- Dagster's runs in numbers; jobs that there are no longer go (primary key).
WITH gone AS (
    DELETE FROM platform_runs WHERE job_name <> ALL (%(job_names)s)
)
INSERT INTO platform_runs (job_name, queued, started, failed, last_run_id, last_status, last_started_at, last_ended_at,
                           last_success_at, noted_at)
SELECT r.job_name, r.queued, r.started, r.failed, r.last_run_id, r.last_status, r.last_started_at, r.last_ended_at,
       r.last_success_at, %(now)s
  FROM jsonb_to_recordset(%(runs)s) AS r(job_name text, queued integer, started integer, failed integer, last_run_id text,
       last_status text, last_started_at timestamptz, last_ended_at timestamptz, last_success_at timestamptz)
ON CONFLICT (job_name) DO UPDATE
   SET queued = excluded.queued, started = excluded.started, failed = excluded.failed, last_run_id = excluded.last_run_id,
       last_status = excluded.last_status, last_started_at = excluded.last_started_at,
       last_ended_at = excluded.last_ended_at,
       last_success_at = coalesce(excluded.last_success_at, platform_runs.last_success_at), noted_at = excluded.noted_at;
