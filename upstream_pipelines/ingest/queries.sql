-- name: register_file
-- A settled file becomes an upload; once, however many look (unique index uploads_waiting_location).
INSERT INTO uploads (customer_id, upload_id, source, file_name, location, byte_count, requested_at)
VALUES (%(customer_id)s, %(upload_id)s, %(source)s, %(file_name)s, %(location)s, %(byte_count)s, %(requested_at)s)
ON CONFLICT (customer_id, location) WHERE status IN ('received', 'processing') AND location IS NOT NULL
DO NOTHING
RETURNING upload_id;

-- name: select_waiting_locations
-- Locations already registered and not finished, so that a scan of the landing zone skips them (uploads_waiting).
SELECT location FROM uploads
 WHERE customer_id = %(customer_id)s AND status IN ('received', 'processing') AND location IS NOT NULL;

-- name: request_customers_with_work
-- Customers whose uploads wait and for whom a run has to be asked for now; marks them as asked for.
-- Waiting: received, or processing while nobody holds the customer's lock (its run was killed).
-- Asked for again after 30 s, doubling to 16 min, when the run that was asked for did not take them.
-- Index uploads_waiting.
WITH held AS (
    SELECT objid::bigint AS customer_id FROM pg_locks
     WHERE locktype = 'advisory' AND classid = %(lock_class)s AND granted
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
), due AS (
    SELECT u.customer_id, u.upload_id, u.requests, u.received_at, u.requested_at IS NOT NULL AS asked_before
      FROM uploads AS u
      JOIN customers AS c ON c.customer_id = u.customer_id AND c.status = 'active'
     WHERE (u.status = 'received'
            OR u.status = 'processing' AND u.customer_id NOT IN (SELECT customer_id FROM held))
       AND (u.requested_at IS NULL
            OR u.requested_at < now() - interval '30 seconds' * (2 ^ least(greatest(u.requests, 1) - 1, 5)))
), chosen AS (
    SELECT customer_id, min(received_at) AS oldest, bool_and(asked_before) AS again FROM due GROUP BY customer_id
     ORDER BY oldest LIMIT %(limit)s
), asked AS (
    UPDATE uploads AS u SET requested_at = now(), requests = u.requests + 1
      FROM chosen AS k
     WHERE u.customer_id = k.customer_id
       AND (u.customer_id, u.upload_id) IN (SELECT customer_id, upload_id FROM due)
    RETURNING u.customer_id, u.upload_id, u.source, u.requests, u.received_at, u.request_id
), unread AS (
    SELECT DISTINCT e.customer_id, e.source FROM uploads AS e JOIN chosen AS k ON k.customer_id = e.customer_id
     WHERE e.status = 'received' AND e.requested_at IS NOT NULL
)
-- `again`: each was asked for before. `unread`: so was one of each of their sources that no run has begun to read, and none
-- reads now: what a run that has begun will read is more than it was asked for.
SELECT c.slug, (array_agg(a.upload_id ORDER BY a.received_at, a.upload_id))[1:%(named)s],
       (array_agg(a.requests ORDER BY a.received_at, a.upload_id))[1], array_agg(DISTINCT a.source), count(*),
       coalesce((array_agg(a.request_id ORDER BY a.received_at, a.upload_id)
                     FILTER (WHERE a.request_id IS NOT NULL))[1:%(named)s], '{}'),
       bool_and(k.again),
       c.customer_id NOT IN (SELECT customer_id FROM held) AND bool_and(r.source IS NOT NULL)
  FROM asked AS a JOIN customers AS c ON c.customer_id = a.customer_id JOIN chosen AS k ON k.customer_id = a.customer_id
  LEFT JOIN unread AS r ON r.customer_id = a.customer_id AND r.source = a.source
 GROUP BY c.customer_id, c.slug ORDER BY min(a.received_at), c.slug;

-- name: leave_to_run
-- A run that there is takes them: they were not asked for, and are looked at again as soon as before (uploads_waiting).
UPDATE uploads AS u SET requests = u.requests - 1
  FROM customers AS c
 WHERE c.slug = ANY(%(slugs)s) AND u.customer_id = c.customer_id AND u.status IN ('received', 'processing')
   AND u.requested_at = now() AND u.requests > 0;

-- name: select_waiting_uploads
-- What a run of one customer takes, oldest first; called under the customer's lock, so that
-- a processing upload without staged rows is one whose run was killed. Index uploads_waiting.
SELECT upload_id, location, attempt, request_id
  FROM uploads
 WHERE customer_id = %(customer_id)s AND source = %(source)s
   AND (status = 'received' OR status = 'processing' AND staged_at IS NULL)
 ORDER BY received_at, upload_id;

-- name: start_upload
-- An attempt begins, and is noted with its run before anything is read.
WITH started AS (
    UPDATE uploads
       SET status = 'processing', attempt = attempt + 1, started_at = now(), run_id = %(run_id)s,
           error_code = NULL, error_message = NULL
     WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s
    RETURNING attempt
)
INSERT INTO upload_runs (customer_id, upload_id, step, attempt, run_id, started_at)
SELECT %(customer_id)s, %(upload_id)s, 'read', attempt, %(run_id)s, now() FROM started;

-- name: end_step
-- What came of this run's attempt at a step; of none where it was given up before (primary key).
UPDATE upload_runs SET ended_at = clock_timestamp(), outcome = %(outcome)s
 WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s AND step = %(step)s AND run_id = %(run_id)s
   AND ended_at IS NULL;

-- name: find_same_bytes
-- An earlier upload with the same bytes, read in the same way (uploads_same_bytes).
SELECT upload_id, rows FROM uploads
 WHERE customer_id = %(customer_id)s AND sha256 = %(sha256)s AND upload_id <> %(upload_id)s
   AND configuration_sha256 = %(configuration_sha256)s AND duplicate_of IS NULL
   AND status IN ('success', 'partial')
 ORDER BY received_at LIMIT 1;

-- name: finish_as_duplicate
-- The same bytes again: every row is a duplicate, nothing is read.
UPDATE uploads
   SET status = 'success', duplicate_of = %(duplicate_of)s, sha256 = %(sha256)s,
       configuration_sha256 = %(configuration_sha256)s, rows = %(rows)s, duplicates = %(rows)s,
       accepted = 0, rejected = 0, updated = 0, warnings = 0,
       finished_at = now(), seconds = extract(epoch FROM now() - started_at)
 WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s;

-- name: clear_received_lines
-- What an attempt that was killed left behind (primary key).
DELETE FROM received_lines WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s;

-- name: clear_rejected_rows
-- As above (primary key).
DELETE FROM rejected_rows WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s;

-- name: make_landing_tables
-- Where COPY writes; see ingest/line_writer.py.
CREATE TEMP TABLE landed_lines (LIKE received_lines) ON COMMIT DROP;
CREATE TEMP TABLE landed_rejections (LIKE rejected_rows) ON COMMIT DROP;

-- name: keep_landed_lines
-- As sent, for good; one block.
INSERT INTO received_lines TABLE landed_lines;

-- name: keep_landed_rejections
-- As above.
INSERT INTO rejected_rows TABLE landed_rejections;

-- name: finish_staging
-- All rows of the upload are in received_lines and rejected_rows.
UPDATE uploads
   SET staged_at = clock_timestamp(), sha256 = %(sha256)s, configuration_sha256 = %(configuration_sha256)s,
       byte_count = %(byte_count)s, rows = %(rows)s, rejected = %(rejected)s, warnings = %(warnings)s,
       detected = %(detected)s, lines_repeat = %(lines_repeat)s, unnatural_lines = %(unnatural_lines)s
 WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s;

-- name: fail_upload
-- The upload is refused or given up; the message says what to do.
UPDATE uploads
   SET status = 'failed', error_code = %(code)s, error_message = %(message)s, finished_at = now(),
       sha256 = coalesce(%(sha256)s, sha256),
       seconds = extract(epoch FROM now() - coalesce(started_at, received_at))
 WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s;

-- name: set_location
-- The file was moved once it was dealt with.
UPDATE uploads SET location = %(location)s
 WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s;

-- name: select_upload
-- One upload with its counts (primary key). Its rows where they were counted: of one that waits, or was refused before all of it
-- was read, nobody knows how many it has.
SELECT upload_id, source, file_name, status,
       counted_rows(staged_at, status, rows) AS rows, accepted, rejected, duplicates, updated, warnings, seconds,
       duplicate_of, detected, error_code, error_message, attempt, received_at, finished_at
  FROM uploads WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s;

-- name: select_location
-- Where an upload's file lies, if one is kept (primary key).
SELECT location FROM uploads WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s;

-- name: select_newest_uploads
-- A customer's newest uploads, for people, rows where they were counted; served by uploads_arrivals.
SELECT upload_id, source, status,
       counted_rows(staged_at, status, rows) AS rows, accepted, rejected, duplicates, duplicate_of, error_code, received_at
  FROM uploads WHERE customer_id = %(customer_id)s
 ORDER BY received_at DESC, upload_id LIMIT %(limit)s;

-- name: select_uploads_page
-- A page of a customer's uploads, the newest first, from a mark on, rows where they were counted; served by uploads_arrivals.
SELECT upload_id, source, file_name, byte_count, status, duplicate_of,
       counted_rows(staged_at, status, rows) AS rows, accepted, rejected, duplicates, updated,
       warnings, seconds, error_code, received_at, finished_at
  FROM uploads
 WHERE customer_id = %(customer_id)s
   AND (received_at, upload_id) < (coalesce(%(after_at)s::timestamptz, 'infinity'),
                                   coalesce(%(after_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
   AND received_at >= coalesce(%(since)s::timestamptz, '-infinity')
   AND (%(state)s::text IS NULL OR status = %(state)s)
   AND (%(source)s::text IS NULL OR source = %(source)s)
 ORDER BY received_at DESC, upload_id DESC
 LIMIT %(limit)s;

-- name: select_rejected_rows
-- Rejected rows of an upload in their order, from one on; no value of a row is kept (primary key).
SELECT source_row_number AS row_number, field, rule, reason
  FROM rejected_rows
 WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s
   AND (source_row_number, field, rule) > (%(row_number)s, %(field)s, %(rule)s)
 ORDER BY source_row_number, field, rule
 LIMIT %(limit)s;

-- name: uploads_beginning
-- Uploads whose id begins so; by the key's first column. Two are enough to know that it is not unique.
SELECT upload_id FROM uploads WHERE customer_id = %(customer_id)s AND upload_id::text LIKE %(begins)s LIMIT 2;

-- name: select_uploads_of_run
-- What a run dealt with, oldest first, rows where they were counted, for metadata (uploads_same_bytes serves the customer).
SELECT upload_id, source, file_name, status,
       counted_rows(staged_at, status, rows) AS rows, accepted, rejected, duplicates, updated, warnings, seconds,
       duplicate_of, detected, error_code, error_message, attempt, received_at, finished_at
  FROM uploads
 WHERE customer_id = %(customer_id)s AND run_id = %(run_id)s AND source = ANY(%(sources)s)
 ORDER BY received_at, upload_id;

-- name: count_rejections
-- Rejected rows of an upload by rule and field, for the message people get (primary key).
SELECT rule, field, min(reason) AS reason, count(*) AS rows,
       (array_agg(source_row_number ORDER BY source_row_number))[1:10] AS row_numbers
  FROM rejected_rows WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s
 GROUP BY rule, field ORDER BY count(*) DESC, rule, field;

-- name: add_batch
-- A received batch as its upload and the body as sent, or why not (a function, since each round trip of a request takes as long as
-- an insert). Served by UNIQUE (customer_id, idempotency_key) and the key of uploads.
SELECT outcome, first_upload, first_request
  FROM accept_batch(%(customer_id)s, %(upload_id)s, %(idempotency_key)s, %(body)s, %(sha256)s, %(claim_count)s, %(request_id)s,
                    %(token_id)s);

-- name: batch_body
-- A batch for its loader. Served by the primary key of webhook_inbox.
SELECT body FROM webhook_inbox WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s;

-- name: add_file_upload
-- A file that is wholly stored; nothing where files are switched off for the customer.
INSERT INTO uploads (customer_id, upload_id, source, file_name, location, sha256, byte_count, request_id, token_id)
SELECT customer_id, %(upload_id)s, %(source)s, %(file_name)s, %(location)s, %(sha256)s, %(byte_count)s,
       %(request_id)s, %(token_id)s
  FROM customers WHERE customer_id = %(customer_id)s AND 'csv_upload' <> ALL (products_off);

-- name: upload_status
-- One upload as its customer sees it, rows where they were counted. Served by the primary key of uploads.
SELECT upload_id, source, file_name, byte_count, status, duplicate_of,
       counted_rows(staged_at, status, rows) AS rows, accepted, rejected, duplicates,
       updated, warnings, seconds, error_code, error_message, request_id, received_at, started_at, finished_at
  FROM uploads
 WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s;

-- name: select_staged_uploads
-- Read but not merged, oldest first (uploads_waiting); noted as attempts of this run, all in one statement.
WITH staged AS (
    SELECT upload_id, source, request_id, received_at FROM uploads
     WHERE customer_id = %(customer_id)s AND status = 'processing' AND staged_at IS NOT NULL
), noted AS (
    INSERT INTO upload_runs (customer_id, upload_id, step, attempt, run_id, started_at)
    SELECT %(customer_id)s, s.upload_id, 'merge', earlier.attempts + 1, %(run_id)s, now()
      FROM staged AS s
     CROSS JOIN LATERAL (SELECT count(*) AS attempts FROM upload_runs AS r
                          WHERE r.customer_id = %(customer_id)s AND r.upload_id = s.upload_id AND r.step = 'merge') AS earlier
)
SELECT upload_id, source, request_id FROM staged ORDER BY received_at, upload_id;

-- name: is_locked
-- Whether some session holds the customer's lock (see ingest/uploads.py).
SELECT EXISTS (
    SELECT 1 FROM pg_locks
     WHERE locktype = 'advisory' AND classid = %(lock_class)s AND objid = %(customer_id)s AND granted
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database()));


-- name: arrivals
-- The last day on which customers sent, a silence that goes on, and the days on which they sent from `since` on; of the
-- active ones that may send at all, or of one. Of all, the days are read only where nothing came after `quiet_since` and no cadence is set:
-- nobody else can have gone silent (10,000 customers with 180 days each: 22 s for all of them). From day to day by
-- uploads_arrivals: a customer's thousands of batches a day are not read.
WITH RECURSIVE watched AS (
    SELECT c.customer_id, c.slug, last.day IS NOT NULL AS has_sent,
           coalesce(last.day, (c.created_at AT TIME ZONE 'UTC')::date) AS last_day,
           CASE WHEN jsonb_typeof(c.configuration -> 'cadence_days') = 'number'
                THEN least(greatest(round((c.configuration ->> 'cadence_days')::numeric), 1), 366)::integer
           END AS cadence_days
      FROM customers AS c
      LEFT JOIN LATERAL (SELECT (u.received_at AT TIME ZONE 'UTC')::date AS day FROM uploads AS u
                          WHERE u.customer_id = c.customer_id ORDER BY u.received_at DESC LIMIT 1) AS last ON true
     WHERE CASE WHEN %(customer_id)s::bigint IS NULL THEN c.status = 'active' AND NOT c.products_off @> '{csv_upload,webhook_ingest}'
                ELSE c.customer_id = %(customer_id)s END
), sent AS (
    SELECT w.customer_id, first.day
      FROM watched AS w CROSS JOIN LATERAL (
           SELECT (u.received_at AT TIME ZONE 'UTC')::date AS day FROM uploads AS u
            WHERE u.customer_id = w.customer_id AND u.received_at >= %(since)s
            ORDER BY u.received_at LIMIT 1) AS first
     WHERE w.cadence_days IS NULL AND (%(customer_id)s::bigint IS NOT NULL OR w.last_day <= %(quiet_since)s)
     UNION ALL
    SELECT s.customer_id, following.day
      FROM sent AS s CROSS JOIN LATERAL (
           SELECT (u.received_at AT TIME ZONE 'UTC')::date AS day FROM uploads AS u
            WHERE u.customer_id = s.customer_id AND u.received_at >= (s.day + 1)::timestamp AT TIME ZONE 'UTC'
            ORDER BY u.received_at LIMIT 1) AS following
), days AS (
    SELECT customer_id, array_agg(day ORDER BY day) AS days FROM sent GROUP BY customer_id
)
SELECT w.customer_id, w.slug, w.cadence_days, coalesce(d.days, '{}') AS days, w.last_day, w.has_sent,
       m.silence_id, m.last_day AS silent_since_day
  FROM watched AS w
  LEFT JOIN days AS d ON d.customer_id = w.customer_id
  LEFT JOIN missed_uploads AS m ON m.customer_id = w.customer_id AND m.ended_at IS NULL
 ORDER BY w.customer_id;

-- name: silences_that_are_over
-- Customers that sent after the day since which they are silent (missed_uploads_open, uploads_arrivals).
SELECT m.customer_id FROM missed_uploads AS m
 WHERE m.ended_at IS NULL
   AND EXISTS (SELECT FROM uploads AS u
                WHERE u.customer_id = m.customer_id
                  AND u.received_at >= (m.last_day + 1)::timestamp AT TIME ZONE 'UTC');

-- name: notice_silence
-- A silence begins to be known; one at a time (unique index missed_uploads_open).
INSERT INTO missed_uploads (customer_id, last_day, basis, usual_days, limit_days, gaps, noticed_at)
VALUES (%(customer_id)s, %(last_day)s, %(basis)s, %(usual_days)s, %(limit_days)s, %(gaps)s, %(now)s)
ON CONFLICT (customer_id) WHERE ended_at IS NULL DO NOTHING
RETURNING silence_id;

-- name: end_silence
-- It is over, or no longer counts as one (missed_uploads_open).
UPDATE missed_uploads SET ended_at = %(now)s, ending = %(ending)s
 WHERE customer_id = %(customer_id)s AND ended_at IS NULL
RETURNING silence_id, last_day;
