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
-- Whether anything is in the database. Catalogue.
SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f');

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

