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

-- name: count_deliveries
-- What delete_deliveries would delete: messages that ended, of which no alert is of an event that goes on or ended lately.
-- All deliveries are read, their alerts by the keys of delivery_alerts.
SELECT count(*) FROM deliveries AS d
 WHERE d.state IN ('sent', 'dead', 'suppressed') AND coalesce(d.finished_at, d.created_at) < %(before)s
   AND NOT EXISTS (
       SELECT FROM delivery_alerts AS l
         JOIN alerts AS a ON a.customer_id = l.customer_id AND a.alert_id = l.alert_id
        WHERE l.customer_id = d.customer_id AND l.delivery_id = d.delivery_id
          AND (a.ends AND a.over_at IS NULL OR greatest(a.created_at, a.told_at, a.over_at) >= %(before)s));

-- name: delete_deliveries
-- Such messages with their attempts, a batch; whom somebody sends again at this moment is passed over. As above.
WITH old AS (
    SELECT d.customer_id, d.delivery_id FROM deliveries AS d
     WHERE d.state IN ('sent', 'dead', 'suppressed') AND coalesce(d.finished_at, d.created_at) < %(before)s
       AND NOT EXISTS (
           SELECT FROM delivery_alerts AS l
             JOIN alerts AS a ON a.customer_id = l.customer_id AND a.alert_id = l.alert_id
            WHERE l.customer_id = d.customer_id AND l.delivery_id = d.delivery_id
              AND (a.ends AND a.over_at IS NULL OR greatest(a.created_at, a.told_at, a.over_at) >= %(before)s))
     LIMIT %(limit)s FOR UPDATE OF d SKIP LOCKED
), attempts AS (
    DELETE FROM delivery_attempts AS t USING old WHERE t.customer_id = old.customer_id AND t.delivery_id = old.delivery_id
), places AS (
    DELETE FROM delivery_alerts AS l USING old WHERE l.customer_id = old.customer_id AND l.delivery_id = old.delivery_id
)
DELETE FROM deliveries AS d USING old WHERE d.customer_id = old.customer_id AND d.delivery_id = old.delivery_id;

-- name: count_tokens
-- What delete_tokens would delete; a small table, all read.
SELECT count(*) FROM ingestion_tokens WHERE least(revoked_at, expires_at) < %(before)s;

-- name: delete_tokens
-- Tokens that no longer sign in; a batch. As above.
DELETE FROM ingestion_tokens WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM ingestion_tokens WHERE least(revoked_at, expires_at) < %(before)s LIMIT %(limit)s));

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

-- name: columns_of_table
-- In their order. Catalogue.
SELECT attname FROM pg_attribute
 WHERE attrelid = ('public.' || quote_ident(%(table)s))::regclass AND attnum > 0 AND NOT attisdropped
 ORDER BY attnum;
