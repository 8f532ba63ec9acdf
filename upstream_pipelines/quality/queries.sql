-- Quality reports and findings. Not here: uploads themselves (ingest/queries.sql).

-- name: save_report
-- One report an upload; a repeated run replaces it. Index: primary key of quality_reports.
INSERT INTO quality_reports (customer_id, upload_id, score, dimensions, summary)
VALUES (%(customer_id)s, %(upload_id)s, %(score)s, %(dimensions)s, %(summary)s)
ON CONFLICT (customer_id, upload_id) DO UPDATE
   SET score = excluded.score, dimensions = excluded.dimensions, summary = excluded.summary, created_at = now()

-- name: delete_findings
-- Before the findings of a repeated run are written. Index: primary key of quality_findings.
DELETE FROM quality_findings WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s

-- name: insert_findings
-- All findings of an upload from one JSON list. Index: primary key of quality_findings.
INSERT INTO quality_findings
       (customer_id, upload_id, rule, field, severity, checked_rows, failing_rows, sample_row_numbers)
SELECT %(customer_id)s, %(upload_id)s, f.rule, f.field, f.severity, f.checked_rows, f.failing_rows,
       f.sample_row_numbers
  FROM jsonb_to_recordset(%(findings)s) AS f (rule text, field text, severity text, checked_rows bigint,
                                              failing_rows bigint, sample_row_numbers bigint[])

-- name: load_report
-- The report of one upload. Index: primary key of quality_reports.
SELECT score, dimensions, summary FROM quality_reports
 WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s

-- name: findings_of_upload
-- The findings of one upload. Index: primary key of quality_findings.
SELECT rule, field, severity, checked_rows, failing_rows, sample_row_numbers FROM quality_findings
 WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s
 ORDER BY rule

-- name: latest_findings
-- The findings of the run that reported last, summed per rule over its uploads; without a run, of the
-- last upload. Severity is the gravest any upload was judged by. Indexes: primary keys of quality_reports,
-- uploads and quality_findings, each by customer first.
WITH latest AS (
    SELECT u.upload_id, u.run_id
      FROM quality_reports AS r JOIN uploads AS u USING (customer_id, upload_id)
     WHERE r.customer_id = %(customer_id)s
     ORDER BY r.created_at DESC, u.received_at DESC, u.upload_id
     LIMIT 1
), judged AS (
    SELECT u.upload_id, u.file_name, u.received_at
      FROM uploads AS u JOIN latest AS l ON u.upload_id = l.upload_id OR u.run_id = l.run_id
     WHERE u.customer_id = %(customer_id)s
)
SELECT f.rule,
       string_agg(DISTINCT f.field, ', ' ORDER BY f.field) AS field,
       (array_agg(f.severity ORDER BY array_position(ARRAY['error', 'warning', 'info'], f.severity)))[1] AS severity,
       sum(f.checked_rows)::bigint AS checked_rows,
       sum(f.failing_rows)::bigint AS failing_rows,
       coalesce(jsonb_agg(jsonb_build_object('upload_id', f.upload_id, 'file_name', j.file_name,
                                             'rows', to_jsonb(f.sample_row_numbers))
                          ORDER BY j.received_at, j.upload_id)
                FILTER (WHERE f.failing_rows > 0), '[]') AS samples
  FROM quality_findings AS f JOIN judged AS j USING (upload_id)
 WHERE f.customer_id = %(customer_id)s
 GROUP BY f.rule
 ORDER BY f.rule

-- name: newest_scores
-- Of each rule the finding of the newest upload in which it had rows to look at, among the last judged uploads. Index
-- uploads_arrivals from its end, then the primary keys of quality_reports and quality_findings.
WITH lately AS MATERIALIZED (
    SELECT u.upload_id, u.source, u.received_at
      FROM uploads AS u JOIN quality_reports AS r USING (customer_id, upload_id)
     WHERE u.customer_id = %(customer_id)s
     ORDER BY u.received_at DESC, u.upload_id DESC LIMIT %(uploads)s
)
SELECT DISTINCT ON (f.rule) f.rule, f.field, f.severity, f.checked_rows, f.failing_rows, l.upload_id, l.source, l.received_at
  FROM lately AS l JOIN quality_findings AS f ON f.customer_id = %(customer_id)s AND f.upload_id = l.upload_id
 WHERE f.checked_rows > 0
 ORDER BY f.rule, l.received_at DESC, l.upload_id DESC

-- name: select_course
-- A page of a customer's judged uploads, the newest first, from a mark on, each with the findings of its rules or of one; served by
-- uploads_arrivals and the primary keys of quality_reports and quality_findings.
SELECT u.upload_id, u.source, u.received_at, u.rows, u.accepted, u.rejected, u.duplicates, r.score, r.dimensions,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
                            'rule', f.rule, 'field', f.field, 'severity', f.severity, 'checked_rows', f.checked_rows,
                            'failing_rows', f.failing_rows) ORDER BY f.rule)
                   FROM quality_findings AS f
                  WHERE f.customer_id = u.customer_id AND f.upload_id = u.upload_id
                    AND (%(rule)s::text IS NULL OR f.rule = %(rule)s)), '[]') AS rules
  FROM uploads AS u JOIN quality_reports AS r USING (customer_id, upload_id)
 WHERE u.customer_id = %(customer_id)s
   AND (u.received_at, u.upload_id) < (coalesce(%(after_at)s::timestamptz, 'infinity'),
                                       coalesce(%(after_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
   AND u.received_at >= coalesce(%(since)s::timestamptz, '-infinity')
   AND (%(source)s::text IS NULL OR u.source = %(source)s)
 ORDER BY u.received_at DESC, u.upload_id DESC
 LIMIT %(limit)s

-- name: payers_of_upload
-- Payers as an upload's good rows say them, with their lines. Index: primary key of received_lines.
SELECT payer, count(*) FROM received_lines
 WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s
 GROUP BY payer

-- name: known_payers
-- Canonical payers of a customer with their lines; days and ages, not claims, are summed. Index: unique key of
-- payer_activity, by customer first.
SELECT payer, sum(lines)::bigint FROM payer_activity WHERE customer_id = %(customer_id)s GROUP BY payer

-- name: stored_payers
-- Payers of all claims of a customer as sent, their canonical names and lines. Index: primary key of claims.
SELECT payer, payer_name, count(*) FROM claims WHERE customer_id = %(customer_id)s GROUP BY payer, payer_name

-- name: first_rows_of_payers
-- The first rows of an upload with one of these payers. Index: primary key of received_lines, in its order.
SELECT source_row_number FROM received_lines
 WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s AND payer = ANY (%(payers)s)
 ORDER BY source_row_number LIMIT %(limit)s

-- name: replace_finding
-- One finding that was made after the judge's; none where no row fails it. Index: primary key of quality_findings.
WITH gone AS (
    DELETE FROM quality_findings
     WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s AND rule = %(rule)s AND %(failing_rows)s = 0
)
INSERT INTO quality_findings
       (customer_id, upload_id, rule, field, severity, checked_rows, failing_rows, sample_row_numbers)
SELECT %(customer_id)s, %(upload_id)s, %(rule)s, %(field)s, %(severity)s, %(checked_rows)s, %(failing_rows)s,
       %(sample_row_numbers)s::bigint[]
 WHERE %(failing_rows)s > 0
ON CONFLICT (customer_id, upload_id, rule) DO UPDATE
   SET severity = excluded.severity, checked_rows = excluded.checked_rows, failing_rows = excluded.failing_rows,
       sample_row_numbers = excluded.sample_row_numbers

-- name: measure_upload
-- An uploaded file's own figures; none where nothing of it was loaded. Reports of earlier releases lack the last three.
-- Primary keys of uploads and quality_reports.
SELECT u.upload_id, u.source, u.received_at, u.rows, u.rows - u.rejected AS lines, u.duplicates + u.updated AS known,
       u.duplicate_of IS NOT NULL AS again, coalesce((r.summary ->> 'read')::bigint, 0) AS read,
       coalesce(r.summary -> 'filled', '{}') AS filled, coalesce(r.summary -> 'outcomes', '{}') AS outcomes
  FROM uploads AS u LEFT JOIN quality_reports AS r USING (customer_id, upload_id)
 WHERE u.customer_id = %(customer_id)s AND u.upload_id = %(upload_id)s AND u.status IN ('success', 'partial')
   AND u.rows > 0;

-- name: days_to_measure
-- Days with batches after the last one measured, oldest first, but from the first on with a batch that still waits: days
-- are measured in their order. Indexes upload_measures_stream and uploads_arrivals.
WITH begin AS (
    SELECT greatest(%(since)s, coalesce((
           SELECT date_trunc('day', max(received_at), 'UTC') + interval '1 day' FROM upload_measures
            WHERE customer_id = %(customer_id)s AND source = %(source)s AND rule = 'usual_known_rows'),
           %(since)s)) AS at
), days AS (
    SELECT (received_at AT TIME ZONE 'UTC')::date AS day, bool_or(status IN ('received', 'processing')) AS waits,
           bool_or(status IN ('success', 'partial') AND rows > 0) AS loaded
      FROM uploads
     WHERE customer_id = %(customer_id)s AND source = %(source)s
       AND received_at >= (SELECT at FROM begin) AND received_at < %(until)s
     GROUP BY day
)
SELECT day FROM days
 WHERE loaded AND NOT EXISTS (SELECT FROM days AS waiting WHERE waiting.waits AND waiting.day <= days.day)
 ORDER BY day;

-- name: measure_day
-- As measure_upload, summed over the batches of a day. Index uploads_arrivals, primary key of quality_reports.
WITH batches AS (
    SELECT u.upload_id, u.source, u.received_at, u.rows, u.rejected, u.duplicates + u.updated AS known, r.summary
      FROM uploads AS u LEFT JOIN quality_reports AS r USING (customer_id, upload_id)
     WHERE u.customer_id = %(customer_id)s AND u.source = %(source)s
       AND u.received_at >= %(since)s AND u.received_at < %(until)s
       AND u.status IN ('success', 'partial') AND u.rows > 0
), filled AS (
    SELECT f.key, sum(f.value::bigint)::bigint AS cells
      FROM batches CROSS JOIN LATERAL jsonb_each_text(summary -> 'filled') AS f GROUP BY f.key
), outcomes AS (
    SELECT o.key, sum(o.value::bigint)::bigint AS lines
      FROM batches CROSS JOIN LATERAL jsonb_each_text(summary -> 'outcomes') AS o GROUP BY o.key
)
SELECT (array_agg(upload_id ORDER BY received_at DESC, upload_id))[1] AS upload_id, min(source) AS source,
       max(received_at) AS received_at, sum(rows)::bigint AS rows, sum(rows - rejected)::bigint AS lines,
       sum(known)::bigint AS known, false AS again, coalesce(sum((summary ->> 'read')::bigint), 0)::bigint AS read,
       coalesce((SELECT jsonb_object_agg(key, cells) FROM filled), '{}') AS filled,
       coalesce((SELECT jsonb_object_agg(key, lines) FROM outcomes), '{}') AS outcomes
  FROM batches HAVING count(*) > 0;

-- name: first_of_stream
-- When the first upload that was measured came. Index upload_measures_stream.
SELECT received_at FROM upload_measures
 WHERE customer_id = %(customer_id)s AND source = %(source)s AND rule = 'usual_known_rows'
 ORDER BY received_at LIMIT 1;

-- name: stream_history
-- The measures of a source's last uploads before one, oldest first; not of its first day. Index upload_measures_stream, then
-- primary key.
WITH units AS (
    SELECT upload_id FROM upload_measures
     WHERE customer_id = %(customer_id)s AND source = %(source)s AND rule = 'usual_known_rows'
       AND received_at < %(before)s AND state <> 'first'
     ORDER BY received_at DESC LIMIT %(limit)s
)
SELECT m.rule, m.field, (m.received_at AT TIME ZONE 'UTC')::date AS day, m.amount, m.of_rows, m.state
  FROM units JOIN upload_measures AS m ON m.customer_id = %(customer_id)s AND m.upload_id = units.upload_id
 ORDER BY m.received_at, m.upload_id;

-- name: insert_measures
-- All measures of a unit from one JSON list. Primary key: a unit is measured once, also where the daily look and an ingest
-- measure the same day.
INSERT INTO upload_measures
       (customer_id, upload_id, rule, field, source, whole_day, received_at, amount, of_rows, state, severity, usual, low,
        high, history, sample_row_numbers, run_id)
SELECT %(customer_id)s, %(upload_id)s, m.rule, m.field, %(source)s, %(whole_day)s, %(received_at)s, m.amount, m.of_rows,
       m.state, m.severity, m.usual, m.low, m.high, m.history, m.sample_row_numbers, %(run_id)s
  FROM jsonb_to_recordset(%(measures)s) AS m (rule text, field text, amount bigint, of_rows bigint, state text, severity text,
                                              usual double precision, low double precision, high double precision,
                                              history integer, sample_row_numbers bigint[])
ON CONFLICT DO NOTHING;

-- name: first_empty_rows
-- The first rows of an upload in which a field is empty, those rejected for it included. Primary keys of received_lines and
-- rejected_rows, in their order.
SELECT source_row_number FROM (
    (SELECT l.source_row_number FROM received_lines AS l
      WHERE l.customer_id = %(customer_id)s AND l.upload_id = %(upload_id)s
        AND to_jsonb(l) -> %(field)s::text = 'null'
      ORDER BY l.source_row_number LIMIT %(limit)s)
    UNION
    (SELECT r.source_row_number FROM rejected_rows AS r
      WHERE r.customer_id = %(customer_id)s AND r.upload_id = %(upload_id)s AND r.field = %(field)s
        AND r.rule = %(field)s || '_present'
      ORDER BY r.source_row_number LIMIT %(limit)s)
) AS rows
 ORDER BY source_row_number LIMIT %(limit)s;

-- name: first_rows_of_outcome
-- The first rows of an upload with an outcome. Primary key of received_lines, in its order.
SELECT source_row_number FROM received_lines
 WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s AND outcome = %(field)s
 ORDER BY source_row_number LIMIT %(limit)s;

-- name: measures_of_upload
-- The measures of an upload or, where its source is judged by the day, of that day. Primary key; upload_measures_stream.
SELECT m.upload_id, m.source, m.whole_day, (m.received_at AT TIME ZONE 'UTC')::date AS day, m.rule, m.field, m.amount,
       m.of_rows, m.state, m.severity, m.usual, m.low, m.high, m.history, m.sample_row_numbers
  FROM uploads AS u
  JOIN upload_measures AS m
    ON m.customer_id = u.customer_id
   AND m.upload_id = CASE WHEN u.source <> %(by_day)s THEN u.upload_id ELSE (
           SELECT d.upload_id FROM upload_measures AS d
            WHERE d.customer_id = u.customer_id AND d.source = u.source AND d.rule = 'usual_known_rows'
              AND d.received_at >= date_trunc('day', u.received_at, 'UTC')
              AND d.received_at < date_trunc('day', u.received_at, 'UTC') + interval '1 day') END
 WHERE u.customer_id = %(customer_id)s AND u.upload_id = %(upload_id)s
 ORDER BY m.rule, m.field;

-- name: latest_measures
-- What the last run that measured something of a source has measured. Index upload_measures_stream finds the runs by their
-- last uploads, the primary key the measures.
WITH streams AS (
    SELECT DISTINCT source FROM upload_measures WHERE customer_id = %(customer_id)s AND rule = 'usual_known_rows'
), newest AS (
    SELECT s.source, last.run_id, last.received_at FROM streams AS s CROSS JOIN LATERAL (
           SELECT m.run_id, m.received_at FROM upload_measures AS m
            WHERE m.customer_id = %(customer_id)s AND m.source = s.source AND m.rule = 'usual_known_rows'
            ORDER BY m.received_at DESC LIMIT 1) AS last
), units AS (
    SELECT u.upload_id FROM newest AS n JOIN upload_measures AS u
        ON u.customer_id = %(customer_id)s AND u.source = n.source AND u.rule = 'usual_known_rows' AND u.run_id = n.run_id
)
SELECT m.upload_id, m.source, m.whole_day, (m.received_at AT TIME ZONE 'UTC')::date AS day, m.rule, m.field, m.amount,
       m.of_rows, m.state, m.severity, m.usual, m.low, m.high, m.history, m.sample_row_numbers
  FROM units JOIN upload_measures AS m ON m.customer_id = %(customer_id)s AND m.upload_id = units.upload_id
 ORDER BY m.source, m.received_at, m.upload_id, m.rule, m.field
