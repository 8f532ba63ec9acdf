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
