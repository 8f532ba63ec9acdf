-- Statements over the whole database, for the one who runs it.

-- name: sees_all_rows
-- Whether row-level security shows this login every row: without, a dump would be empty and look whole. Catalogue.
SELECT r.rolsuper OR r.rolbypassrls OR pg_has_role(r.oid, 'upstream_pipeline', 'USAGE')
  FROM pg_roles AS r WHERE r.rolname = current_user;

-- name: export_snapshot
-- What this transaction sees, for pg_dump to see the same. No table.
SELECT pg_export_snapshot();

-- name: tables_to_count
-- The tables that the pipeline's role reads, all but Alembic's. Catalogue.
SELECT c.relname FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND has_table_privilege(c.oid, 'SELECT')
 ORDER BY 1;

-- name: count_relations
-- Whether anything is in the database, but for what extensions bring. Catalogue.
SELECT count(*) FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
   AND NOT EXISTS (SELECT FROM pg_depend AS d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e');

-- name: waiting_file_uploads
-- Files that were to be read at the time of this transaction (uploads_waiting).
SELECT upload_id FROM uploads WHERE status IN ('received', 'processing') AND location IS NOT NULL;

-- name: uploads_not_yet_read_at
-- Of files: those that were to be read at that time, and those that came since; where they are now. A handful by
-- uploads_waiting, the rest by uploads_arrivals.
SELECT c.slug, u.upload_id, u.location, u.upload_id = ANY (%(waiting)s) AS known
  FROM uploads AS u JOIN customers AS c ON c.customer_id = u.customer_id
 WHERE u.location IS NOT NULL AND (u.upload_id = ANY (%(waiting)s) OR u.received_at >= %(since)s);

-- name: move_locations
-- The landing zone lies elsewhere after a restore; once, all uploads are read.
UPDATE uploads SET location = %(new)s || substr(location, length(%(old)s) + 1)
 WHERE starts_with(location, %(old)s || '/');

-- name: tenant_tables
-- Tables with a customer's rows, the others that each refers to, and the column by which one refers to itself. Catalogue.
SELECT c.relname,
       ARRAY(SELECT DISTINCT p.relname::text FROM pg_constraint AS f JOIN pg_class AS p ON p.oid = f.confrelid
              WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.confrelid <> c.oid) AS refers_to,
       (SELECT k.attname FROM pg_constraint AS f
          JOIN pg_attribute AS k ON k.attrelid = c.oid AND k.attnum = f.conkey[array_upper(f.conkey, 1)]
         WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.confrelid = c.oid) AS refers_to_itself_by
  FROM pg_class AS c
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'customer_id' AND NOT a.attisdropped
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
 ORDER BY 1;

-- name: delete_people_of_nobody_else
-- Members of this customer alone, with their log-ins: nothing else would speak of them (members_person,
-- login_sessions_person, session_tokens_session). The tokens by name: by cascade they would go after people are asked whether
-- anything refers to them.
WITH alone AS (
    SELECT m.person_id FROM members AS m
     WHERE m.customer_id = %(customer_id)s
       AND NOT EXISTS (SELECT FROM members AS o WHERE o.person_id = m.person_id AND o.customer_id <> m.customer_id)
), ended AS (
    DELETE FROM members WHERE customer_id = %(customer_id)s AND person_id IN (SELECT person_id FROM alone)
), logged_out AS (
    DELETE FROM login_sessions WHERE person_id IN (SELECT person_id FROM alone) RETURNING session_id
), tokens AS (
    DELETE FROM session_tokens WHERE session_id IN (SELECT session_id FROM logged_out)
)
DELETE FROM people WHERE person_id IN (SELECT person_id FROM alone);

-- name: delete_disabled_customer
-- The last of a customer; what was written meanwhile refers to it and refuses this (primary key).
DELETE FROM customers WHERE customer_id = %(customer_id)s AND status = 'disabled';

-- name: count_rejected_rows
-- What delete_rejected_rows would delete (primary key of rejected_rows, for each old upload with some).
SELECT count(*) FROM uploads AS u
  JOIN rejected_rows AS r ON r.customer_id = u.customer_id AND r.upload_id = u.upload_id
 WHERE u.rejected > 0 AND u.finished_at < %(before)s;

-- name: delete_rejected_rows
-- Numbers and reasons of rejected rows of old uploads; a batch. As above.
DELETE FROM rejected_rows WHERE ctid = ANY (ARRAY(
    SELECT r.ctid FROM uploads AS u
      JOIN rejected_rows AS r ON r.customer_id = u.customer_id AND r.upload_id = u.upload_id
     WHERE u.rejected > 0 AND u.finished_at < %(before)s LIMIT %(limit)s));

-- name: count_webhook_bodies
-- What delete_webhook_bodies would delete; small rows, all read.
SELECT count(*) FROM webhook_inbox AS i
  JOIN uploads AS u ON u.customer_id = i.customer_id AND u.upload_id = i.upload_id
 WHERE u.status IN ('success', 'partial', 'failed') AND u.finished_at < %(before)s;

-- name: delete_webhook_bodies
-- Bodies that were read, with their idempotency keys; a batch. As above.
DELETE FROM webhook_inbox AS d USING (
    SELECT i.customer_id, i.upload_id FROM webhook_inbox AS i
      JOIN uploads AS u ON u.customer_id = i.customer_id AND u.upload_id = i.upload_id
     WHERE u.status IN ('success', 'partial', 'failed') AND u.finished_at < %(before)s
     LIMIT %(limit)s FOR UPDATE OF i SKIP LOCKED) AS old
 WHERE d.customer_id = old.customer_id AND d.upload_id = old.upload_id;

-- name: count_kept_answers
-- What delete_kept_answers would delete (kept_answers_old).
SELECT count(*) FROM kept_answers WHERE kept_at < %(before)s;

-- name: delete_kept_answers
-- First answers that are given again no more; a batch. As above.
DELETE FROM kept_answers WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM kept_answers WHERE kept_at < %(before)s LIMIT %(limit)s FOR UPDATE SKIP LOCKED));

-- name: count_deliveries
-- What delete_deliveries would delete: messages that ended, of which no alert is of an event that goes on, ended lately
-- or whose end is still owed to a channel: whether it goes there rests on them. All deliveries are read, their alerts by the
-- keys of delivery_alerts.
SELECT count(*) FROM deliveries AS d
 WHERE d.state IN ('sent', 'dead', 'suppressed') AND coalesce(d.finished_at, d.created_at) < %(before)s
   AND NOT EXISTS (
       SELECT FROM delivery_alerts AS l
         JOIN alerts AS a ON a.customer_id = l.customer_id AND a.alert_id = l.alert_id
        WHERE l.customer_id = d.customer_id AND l.delivery_id = d.delivery_id
          AND (a.ends AND a.over_at IS NULL OR greatest(a.created_at, a.told_at, a.over_at) >= %(before)s
               OR a.subject_id IN (SELECT o.subject_id FROM alerts AS o WHERE o.customer_id = d.customer_id AND o.owed_to <> '{}')));

-- name: delete_deliveries
-- Such messages with their attempts, a batch; whom somebody sends again at this moment is passed over. As above.
WITH old AS (
    SELECT d.customer_id, d.delivery_id FROM deliveries AS d
     WHERE d.state IN ('sent', 'dead', 'suppressed') AND coalesce(d.finished_at, d.created_at) < %(before)s
       AND NOT EXISTS (
           SELECT FROM delivery_alerts AS l
             JOIN alerts AS a ON a.customer_id = l.customer_id AND a.alert_id = l.alert_id
            WHERE l.customer_id = d.customer_id AND l.delivery_id = d.delivery_id
              AND (a.ends AND a.over_at IS NULL OR greatest(a.created_at, a.told_at, a.over_at) >= %(before)s
                   OR a.subject_id IN (SELECT o.subject_id FROM alerts AS o WHERE o.customer_id = d.customer_id AND o.owed_to <> '{}')))
     LIMIT %(limit)s FOR UPDATE OF d SKIP LOCKED
), attempts AS (
    DELETE FROM delivery_attempts AS t USING old WHERE t.customer_id = old.customer_id AND t.delivery_id = old.delivery_id
), places AS (
    DELETE FROM delivery_alerts AS l USING old WHERE l.customer_id = old.customer_id AND l.delivery_id = old.delivery_id
)
DELETE FROM deliveries AS d USING old WHERE d.customer_id = old.customer_id AND d.delivery_id = old.delivery_id;

-- name: count_report_files
-- What delete_report_files would delete (report_runs_ended, primary key of report_files).
SELECT count(*) FROM report_runs AS r JOIN report_files AS f USING (customer_id, report_id)
 WHERE r.state = 'success' AND r.ended_at < %(before)s;

-- name: delete_report_files
-- Files of reports made long ago; a batch. As above.
DELETE FROM report_files WHERE ctid = ANY (ARRAY(
    SELECT f.ctid FROM report_runs AS r JOIN report_files AS f USING (customer_id, report_id)
     WHERE r.state = 'success' AND r.ended_at < %(before)s LIMIT %(limit)s));

-- name: count_tokens
-- What delete_tokens would delete; a small table, all read.
SELECT count(*) FROM ingestion_tokens WHERE least(revoked_at, expires_at) < %(before)s;

-- name: delete_tokens
-- Tokens that no longer sign in; a batch. As above.
DELETE FROM ingestion_tokens WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM ingestion_tokens WHERE least(revoked_at, expires_at) < %(before)s LIMIT %(limit)s));

-- name: count_log_ins
-- What delete_log_ins would delete; a small table, all read, with its tokens by session_tokens_session.
SELECT count(*) FROM login_sessions AS s
 WHERE s.ended_at < %(before)s
    OR (s.ended_at IS NULL AND s.started_at < %(before)s
        AND NOT EXISTS (SELECT FROM session_tokens AS t WHERE t.session_id = s.session_id AND t.expires_at >= %(before)s));

-- name: delete_log_ins
-- Log-ins that ended, or whose tokens all expired, with their tokens (by cascade); a batch. As above.
DELETE FROM login_sessions WHERE ctid = ANY (ARRAY(
    SELECT s.ctid FROM login_sessions AS s
     WHERE s.ended_at < %(before)s
        OR (s.ended_at IS NULL AND s.started_at < %(before)s
            AND NOT EXISTS (SELECT FROM session_tokens AS t WHERE t.session_id = s.session_id AND t.expires_at >= %(before)s))
     LIMIT %(limit)s));

-- name: count_invitations
-- What delete_invitations would delete; a small table, all read.
SELECT count(*) FROM members WHERE joined_at IS NULL AND invitation_expires_at < %(before)s;

-- name: delete_invitations
-- Invitations that nobody took up; a batch. As above.
DELETE FROM members WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM members WHERE joined_at IS NULL AND invitation_expires_at < %(before)s LIMIT %(limit)s));

-- name: count_people
-- What delete_people would delete, less those whose last invitation goes by the same cleanup: nobody's members, of whom no
-- customer's trail speaks since then (it has each removal). A small table, all read; of the trail what is newer is read once.
SELECT count(*) FROM people AS p
 WHERE p.created_at < %(before)s
   AND NOT EXISTS (SELECT FROM members AS m WHERE m.person_id = p.person_id)
   AND NOT EXISTS (SELECT FROM audit_log AS a
                    WHERE a.customer_id IS NOT NULL AND a.at >= %(before)s
                      AND a.entity_kind = 'person' AND a.entity_id = p.person_id::text);

-- name: lock_people
-- Such people, a batch; whom somebody invites at this moment is passed over. As above.
SELECT p.person_id FROM people AS p
 WHERE p.created_at < %(before)s
   AND NOT EXISTS (SELECT FROM members AS m WHERE m.person_id = p.person_id)
   AND NOT EXISTS (SELECT FROM audit_log AS a
                    WHERE a.customer_id IS NOT NULL AND a.at >= %(before)s
                      AND a.entity_kind = 'person' AND a.entity_id = p.person_id::text)
 LIMIT %(limit)s FOR UPDATE OF p SKIP LOCKED;

-- name: delete_people
-- Those of them who are nobody's members still, with their log-ins; tokens by name, as in delete_people_of_nobody_else
-- (primary key, members_person, login_sessions_person, session_tokens_session).
WITH gone AS (
    SELECT p.person_id FROM people AS p
     WHERE p.person_id = ANY (%(person_ids)s) AND NOT EXISTS (SELECT FROM members AS m WHERE m.person_id = p.person_id)
), logged_out AS (
    DELETE FROM login_sessions WHERE person_id IN (SELECT person_id FROM gone) RETURNING session_id
), tokens AS (
    DELETE FROM session_tokens WHERE session_id IN (SELECT session_id FROM logged_out)
)
DELETE FROM people WHERE person_id IN (SELECT person_id FROM gone);

-- name: count_files
-- Uploads whose file was put away before that time and is there still; all uploads are read.
SELECT count(*) FROM uploads
 WHERE status IN ('success', 'partial', 'failed') AND finished_at < %(before)s AND location IS NOT NULL;

-- name: files_put_away
-- As above, a batch, in the order of the key.
SELECT u.customer_id, u.upload_id, c.slug FROM uploads AS u JOIN customers AS c ON c.customer_id = u.customer_id
 WHERE u.status IN ('success', 'partial', 'failed') AND u.finished_at < %(before)s AND u.location IS NOT NULL
   AND (u.customer_id, u.upload_id) > (%(customer_id)s, %(upload_id)s)
 ORDER BY u.customer_id, u.upload_id LIMIT %(limit)s;

-- name: forget_file
-- Its file is gone (primary key).
UPDATE uploads SET location = NULL WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s;

-- name: customers_with_folders
-- All customers, each of which may have a folder in the landing zone.
SELECT customer_id, slug FROM customers ORDER BY customer_id;

-- name: known_uploads
-- Which of these ids are uploads of the customer (primary key).
SELECT upload_id FROM uploads WHERE customer_id = %(customer_id)s AND upload_id = ANY(%(upload_ids)s);

-- name: columns_of_table
-- In their order. Catalogue.
SELECT attname FROM pg_attribute
 WHERE attrelid = ('public.' || quote_ident(%(table)s))::regclass AND attnum > 0 AND NOT attisdropped
 ORDER BY attnum;

-- name: find_ids
-- Uploads, alerts, deliveries and reports whose id lies between two; three are enough to know that more than one does. Primary keys.
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
       AND d.delivery_id BETWEEN %(low)s AND %(high)s
     UNION ALL
    SELECT 'report', c.customer_id, c.slug, r.report_id
      FROM customers AS c JOIN report_runs AS r ON r.customer_id = c.customer_id
       AND r.report_id BETWEEN %(low)s AND %(high)s) AS f
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

-- name: reports_of_request
-- Reports that a request asked for, as uploads_of_request; also those that were asked for already and not made yet, of which the
-- trail alone knows (report_runs_request, audit_log_reports, primary key of report_runs).
SELECT r.customer_id, c.slug, r.report_id
  FROM (SELECT customer_id, report_id FROM report_runs WHERE request_id = ANY(%(request_ids)s)
         UNION
        SELECT customer_id, entity_id::uuid FROM audit_log
         WHERE action = 'report.requested' AND request_id = ANY(%(request_ids)s)) AS asked
  JOIN report_runs AS r ON r.customer_id = asked.customer_id AND r.report_id = asked.report_id
  JOIN customers AS c ON c.customer_id = r.customer_id
 ORDER BY r.requested_at, r.report_id LIMIT %(limit)s;

-- name: further_asks_of_report
-- Who asked for a report again before it was made, by kind and request: the acts are of the time that it was open, and a few of them
-- come after its end for their transactions had begun before (unique key of audit_log).
SELECT a.at, a.actor_kind, a.request_id
  FROM report_runs AS r
  JOIN audit_log AS a ON a.customer_id = r.customer_id AND a.at >= r.requested_at
                     AND a.at < coalesce(r.ended_at + interval '5 minutes', 'infinity')
 WHERE r.customer_id = %(customer_id)s AND r.report_id = %(report_id)s
   AND a.action = 'report.requested' AND a.entity_id = r.report_id::text AND (a.details ->> 'again')::boolean
 ORDER BY a.at, a.audit_id;

-- name: reports_of_run
-- Reports that a run has begun, whether or not another took them up after it (report_runs_run, report_runs_earlier).
SELECT r.customer_id, c.slug, r.report_id
  FROM report_runs AS r JOIN customers AS c ON c.customer_id = r.customer_id
 WHERE r.run_id = %(run_id)s OR (r.earlier_runs <> '{}' AND r.earlier_runs @> ARRAY[%(run_id)s])
 ORDER BY r.requested_at, r.report_id LIMIT %(limit)s;

-- name: traced_report
-- One report, without who asked for it by name (primary keys).
SELECT r.report_id, r.period_from, r.period_until, r.actor_kind, r.request_id, r.state, r.error_code, r.run_id, r.attempts, r.asks,
       r.earlier_runs, r.earlier_starts,
       r.requested_at, r.asked_at, r.started_at, r.ended_at, count(f.format) AS files, coalesce(sum(f.byte_count), 0) AS byte_count
  FROM report_runs AS r
  LEFT JOIN report_files AS f ON f.customer_id = r.customer_id AND f.report_id = r.report_id
 WHERE r.customer_id = %(customer_id)s AND r.report_id = %(report_id)s
 GROUP BY r.customer_id, r.report_id;

-- name: subjects_of_alerts
-- What some alerts are about: theirs, or those of a delivery (primary keys of alerts and delivery_alerts).
SELECT a.subject_id, a.content #>> '{data,upload_id}' AS upload_id, a.content #>> '{data,run_id}' AS run_id,
       a.content #>> '{data,event_id}' AS event_id
  FROM alerts AS a
 WHERE a.customer_id = %(customer_id)s
   AND (a.alert_id = %(id)s OR a.alert_id IN (
        SELECT l.alert_id FROM delivery_alerts AS l WHERE l.customer_id = %(customer_id)s AND l.delivery_id = %(id)s))
 ORDER BY a.created_at, a.alert_id LIMIT %(limit)s;

-- name: traced_upload
-- One upload with who sent it: its token, else what the trail says of it. That act was written with the upload, in one transaction: a
-- few ms after its beginning, which is received_at (primary keys, unique key of audit_log).
SELECT u.upload_id, u.source, u.byte_count, u.status, u.attempt, u.requests, u.requested_at, u.duplicate_of,
       counted_rows(u.staged_at, u.status, u.rows) AS rows,
       u.accepted, u.rejected, u.duplicates, u.updated, u.warnings, u.seconds, u.error_code, u.request_id, u.run_id,
       u.received_at, u.finished_at, t.prefix AS token, a.actor_kind
  FROM uploads AS u
  LEFT JOIN ingestion_tokens AS t ON t.customer_id = u.customer_id AND t.token_id = u.token_id
  LEFT JOIN LATERAL (
       SELECT o.actor_kind FROM audit_log AS o
        WHERE t.prefix IS NULL AND o.customer_id = u.customer_id
          AND o.at >= u.received_at AND o.at < u.received_at + interval '5 minutes'
          AND o.action = 'upload.accepted' AND o.entity_kind = 'upload' AND o.entity_id = u.upload_id::text
        ORDER BY o.at LIMIT 1) AS a ON true
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
-- Counts and ages of the whole platform; which index serves what is said with the function (migration 0027).
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

-- name: roles_of_login
-- Roles of the platform beside the API's own that the login of this connection may take. Catalogue.
SELECT rolname FROM pg_roles
 WHERE rolname IN ('upstream_owner', 'upstream_pipeline') AND pg_has_role(session_user, oid, 'MEMBER')
 ORDER BY rolname;
