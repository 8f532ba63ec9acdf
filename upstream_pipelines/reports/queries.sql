-- What a report says, and the reports that were asked for. Not here: payers by month (drift/queries.sql).

-- name: events_of_period
-- Events that were open at some time of the period, the live ones first, then the newest; each with its newest look that compares
-- two periods, and how many there are; a customer has tens a year (primary keys of drift_events and drift_results, by customer and day).
SELECT count(*) OVER () AS found, count(*) FILTER (WHERE e.opened_on >= %(first)s) OVER () AS began, e.event_id::text, e.payer, e.cpt_group, e.signal, e.direction, e.state, e.cause, e.started_on, e.opened_on, e.resolved_on,
       e.memory ->> 'reason' AS reason, to_jsonb(r) AS row
  FROM drift_events AS e
  LEFT JOIN LATERAL (
       SELECT d.as_of, d.payer, d.cpt_group, d.signal, d.direction, d.state, d.event_id::text, d.baseline, d.current, d.effect,
              d.p_value, d.q_value, d.severity, d.n_baseline, d.n_current, d.maturity, d.cause, d.detail
         FROM drift_results AS d
        WHERE d.customer_id = e.customer_id AND d.as_of >= e.opened_on AND d.event_id = e.event_id AND d.detail ? 'complete_to'
        ORDER BY d.as_of DESC LIMIT 1) AS r ON true
 WHERE e.customer_id = %(customer_id)s AND e.opened_on < %(until)s
   AND (e.resolved_on IS NULL OR e.resolved_on >= %(first)s)
 ORDER BY e.state = 'resolved', e.opened_on DESC, e.event_id
 LIMIT %(events)s;

-- name: thin_of_period
-- The last day of the period that was looked at, and how many pairs of payer and signal, of how many payers, had too little data in
-- it to be compared (primary keys of drift_looks and drift_results).
SELECT l.as_of, count(r.payer) AS pairs, count(DISTINCT r.payer) AS payers
  FROM (SELECT as_of FROM drift_looks
         WHERE customer_id = %(customer_id)s AND as_of >= %(first)s AND as_of < %(until)s ORDER BY as_of DESC LIMIT 1) AS l
  LEFT JOIN drift_results AS r ON r.customer_id = %(customer_id)s AND r.as_of = l.as_of AND r.state = 'not_enough_data'
 GROUP BY l.as_of;

-- name: payers_of_period
-- Sums of the lines submitted in the period: the payers with the most lines each by name, the others as one row, and as one those
-- with fewer lines in it than a name needs: the sums of one line are a claim's (unique key of payer_activity, by customer and day).
WITH sums AS (
    SELECT payer, sum(lines)::bigint AS lines, coalesce(sum(lines) FILTER (WHERE decision_age IS NOT NULL), 0)::bigint AS decided,
           sum(denied)::bigint AS denied, sum(billed) AS billed, sum(allowed) AS allowed, sum(paid) AS paid
      FROM payer_activity
     WHERE customer_id = %(customer_id)s AND submitted_day >= %(first)s AND submitted_day < %(until)s
     GROUP BY payer
), placed AS (
    SELECT s.*, CASE WHEN lines < %(fewest)s THEN 'few'
                     WHEN row_number() OVER (PARTITION BY lines < %(fewest)s ORDER BY lines DESC, payer) <= %(payers)s THEN 'named'
                     ELSE 'further' END AS kind
      FROM sums AS s
)
SELECT kind, min(payer) AS payer, count(*) AS payers, sum(lines)::bigint AS lines, sum(decided)::bigint AS decided,
       sum(denied)::bigint AS denied, sum(billed) AS billed, sum(allowed) AS allowed, sum(paid) AS paid
  FROM placed GROUP BY kind, CASE WHEN kind = 'named' THEN payer END
 ORDER BY array_position(ARRAY['named', 'further', 'few'], kind), sum(lines) DESC, min(payer);

-- name: months_of_period
-- The same by month of submission.
SELECT date_trunc('month', submitted_day)::date AS month, sum(lines)::bigint AS lines,
       coalesce(sum(lines) FILTER (WHERE decision_age IS NOT NULL), 0)::bigint AS decided, sum(denied)::bigint AS denied,
       sum(billed) AS billed, sum(allowed) AS allowed, sum(paid) AS paid
  FROM payer_activity
 WHERE customer_id = %(customer_id)s AND submitted_day >= %(first)s AND submitted_day < %(until)s
 GROUP BY date_trunc('month', submitted_day) ORDER BY 1;

-- name: uploads_of_period
-- Uploads of the period, those with the most trouble first: refused, in part, by score, then the newest (uploads_arrivals, primary
-- key of quality_reports). Rows where they were counted: of one that was refused before all of it was read they were not.
SELECT u.upload_id::text, u.received_at, u.source, u.status,
       counted_rows(u.staged_at, u.status, u.rows) AS rows,
       u.accepted, u.rejected, u.duplicates, r.score, u.error_code
  FROM uploads AS u LEFT JOIN quality_reports AS r USING (customer_id, upload_id)
 WHERE u.customer_id = %(customer_id)s AND u.received_at >= %(since)s AND u.received_at < %(before)s
 ORDER BY array_position(ARRAY['failed', 'partial'], u.status), r.score, u.received_at DESC, u.upload_id
 LIMIT %(limit)s;

-- name: sources_of_period
-- The same counted, all of them, by source.
SELECT u.source, count(*) AS uploads, count(*) FILTER (WHERE u.status = 'failed') AS failed,
       count(*) FILTER (WHERE u.status IN ('received', 'processing')) AS waiting, sum(u.rows)::bigint AS rows,
       sum(u.accepted)::bigint AS accepted, sum(u.rejected)::bigint AS rejected, sum(u.duplicates)::bigint AS duplicates,
       (sum(r.score * u.rows) / nullif(sum(u.rows) FILTER (WHERE r.score IS NOT NULL), 0))::double precision AS score
  FROM uploads AS u LEFT JOIN quality_reports AS r USING (customer_id, upload_id)
 WHERE u.customer_id = %(customer_id)s AND u.received_at >= %(since)s AND u.received_at < %(before)s
 GROUP BY u.source ORDER BY u.source;

-- name: rules_of_period
-- Rules that rows of the period's uploads broke, the gravest first, then by the share of rows (uploads_arrivals, primary key of
-- quality_findings).
SELECT f.rule, (array_agg(f.severity ORDER BY array_position(ARRAY['error', 'warning', 'info'], f.severity)))[1] AS severity,
       count(*) FILTER (WHERE f.failing_rows > 0) AS uploads, sum(f.checked_rows)::bigint AS checked_rows,
       sum(f.failing_rows)::bigint AS failing_rows
  FROM uploads AS u JOIN quality_findings AS f USING (customer_id, upload_id)
 WHERE u.customer_id = %(customer_id)s AND u.received_at >= %(since)s AND u.received_at < %(before)s
 GROUP BY f.rule HAVING sum(f.failing_rows) > 0
 ORDER BY min(array_position(ARRAY['error', 'warning', 'info'], f.severity)),
          sum(f.failing_rows)::numeric / nullif(sum(f.checked_rows), 0) DESC, f.rule
 LIMIT %(limit)s;

-- name: insert_report
-- A report that somebody asks for; none where one of the period is not made yet (report_runs_open).
INSERT INTO report_runs (customer_id, report_id, period_from, period_until, actor_kind, actor_id, actor_name, request_id)
VALUES (%(customer_id)s, %(report_id)s, %(first)s, %(until)s, %(actor_kind)s, %(actor_id)s, %(actor_name)s, %(request_id)s)
ON CONFLICT (customer_id, period_from, period_until) WHERE state IN ('waiting', 'running') DO NOTHING
RETURNING report_id;

-- name: select_open_report
-- The report of a period that is not made yet (report_runs_open).
SELECT report_id FROM report_runs
 WHERE customer_id = %(customer_id)s AND period_from = %(first)s AND period_until = %(until)s AND state IN ('waiting', 'running');

-- name: hold_back_report
-- A run for it is about to start: the sensor asks for none before half a minute is over (primary key).
UPDATE report_runs SET asked_at = now(), asks = asks + 1 WHERE customer_id = %(customer_id)s AND report_id = %(report_id)s;

-- name: select_reports
-- A page of a customer's reports, the newest first, from a mark on, or one of them; with what is kept of its files
-- (report_runs_listed, primary keys).
SELECT r.report_id, r.period_from, r.period_until, r.state, r.error_code, r.attempts, r.actor_kind, r.actor_name, r.request_id,
       r.requested_at, r.started_at, r.ended_at,
       coalesce((SELECT jsonb_agg(jsonb_build_object('format', f.format, 'byte_count', f.byte_count, 'sha256', f.sha256)
                                  ORDER BY f.format)
                   FROM report_files AS f WHERE f.customer_id = r.customer_id AND f.report_id = r.report_id), '[]') AS files
  FROM report_runs AS r
 WHERE r.customer_id = %(customer_id)s
   AND (%(report_id)s::uuid IS NULL OR r.report_id = %(report_id)s)
   AND (%(state)s::text IS NULL OR r.state = %(state)s)
   AND (r.requested_at, r.report_id) < (coalesce(%(after_at)s::timestamptz, 'infinity'),
                                        coalesce(%(after_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
 ORDER BY r.requested_at DESC, r.report_id DESC
 LIMIT %(limit)s;

-- name: find_report_ids
-- Reports of a customer whose id begins so (primary key, by customer).
SELECT report_id FROM report_runs WHERE customer_id = %(customer_id)s AND report_id::text LIKE %(begins)s LIMIT 2;

-- name: select_report_file
-- A file of a report, with the period it is of (primary keys).
SELECT f.content, f.sha256, r.period_from, r.period_until
  FROM report_files AS f JOIN report_runs AS r USING (customer_id, report_id)
 WHERE f.customer_id = %(customer_id)s AND f.report_id = %(report_id)s AND f.format = %(format)s;

-- name: request_customers_with_reports
-- Customers for whose reports a run has to be asked for now; marks these as asked for. Waiting: or running while nobody holds the
-- customer's lock of reports (its run was killed). Asked for again after 30 s, doubling to 16 min (report_runs_open).
WITH held AS (
    SELECT objid::bigint AS customer_id FROM pg_locks
     WHERE locktype = 'advisory' AND classid = %(lock_class)s AND granted
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
), due AS (
    SELECT r.customer_id, r.report_id, r.requested_at
      FROM report_runs AS r
      JOIN customers AS c ON c.customer_id = r.customer_id AND c.status = 'active' AND c.slug <> ALL (%(in_line)s)
     WHERE (r.state = 'waiting' OR r.state = 'running' AND r.customer_id NOT IN (SELECT customer_id FROM held))
       AND (r.asked_at IS NULL OR r.asked_at < now() - interval '30 seconds' * (2 ^ least(greatest(r.asks, 1) - 1, 5)))
), chosen AS (
    SELECT customer_id, min(requested_at) AS oldest FROM due GROUP BY customer_id ORDER BY oldest LIMIT %(limit)s
), asked AS (
    UPDATE report_runs AS r SET asked_at = now(), asks = r.asks + 1
      FROM chosen AS k
     WHERE r.customer_id = k.customer_id AND (r.customer_id, r.report_id) IN (SELECT customer_id, report_id FROM due)
    RETURNING r.customer_id, r.report_id, r.asks, r.requested_at, r.request_id
)
SELECT c.slug, (array_agg(a.report_id ORDER BY a.requested_at, a.report_id))[1:%(named)s] AS report_ids,
       (array_agg(a.asks ORDER BY a.requested_at, a.report_id))[1] AS asks, count(*) AS count,
       coalesce((array_agg(a.request_id ORDER BY a.requested_at, a.report_id)
                     FILTER (WHERE a.request_id IS NOT NULL))[1:%(named)s], '{}') AS request_ids
  FROM asked AS a JOIN customers AS c ON c.customer_id = a.customer_id
 GROUP BY c.slug ORDER BY min(a.requested_at), c.slug;

-- name: take_report
-- The oldest report of a customer that is not made yet begins, and is noted with its run before anything is read. Under the lock of
-- the customer's reports one that is running is that of a killed run, which stays noted as an earlier one (report_runs_open).
UPDATE report_runs
   SET state = 'running', attempts = attempts + 1, run_id = %(run_id)s, started_at = clock_timestamp(),
       earlier_runs = CASE WHEN run_id IS NULL THEN earlier_runs ELSE earlier_runs || run_id END,
       earlier_starts = CASE WHEN run_id IS NULL THEN earlier_starts ELSE earlier_starts || started_at END
 WHERE customer_id = %(customer_id)s
   AND report_id = (SELECT report_id FROM report_runs
                     WHERE customer_id = %(customer_id)s AND state IN ('waiting', 'running')
                     ORDER BY requested_at, report_id LIMIT 1)
RETURNING report_id, period_from, period_until, attempts, started_at;

-- name: insert_report_file
-- A file of a report that was made (primary key).
INSERT INTO report_files (customer_id, report_id, format, content) VALUES (%(customer_id)s, %(report_id)s, %(format)s, %(content)s);

-- name: end_report
-- A report that this run began is made, or failed with a code (primary key).
UPDATE report_runs SET state = %(state)s, error_code = %(error_code)s, ended_at = clock_timestamp()
 WHERE customer_id = %(customer_id)s AND report_id = %(report_id)s AND state = 'running' AND run_id = %(run_id)s;
