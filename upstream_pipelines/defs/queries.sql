-- Statements over Dagster's own database, where its API has none. Tables and columns of Dagster 1.13, which is pinned.

-- name: forget_partition_events
-- Materialisations and plans of a partition, in whichever run (idx_events_by_asset_partition), with their tags.
WITH gone AS (
    DELETE FROM event_logs WHERE id IN (
        SELECT e.id FROM asset_keys AS k JOIN event_logs AS e ON e.asset_key = k.asset_key
         WHERE e.partition = %(slug)s LIMIT %(limit)s)
    RETURNING id
), tags AS (
    DELETE FROM asset_event_tags WHERE event_id IN (SELECT id FROM gone)
)
SELECT count(*) FROM gone;

-- name: forget_partition_checks
-- Results of checks of a partition, with the events that say them.
WITH gone AS (
    DELETE FROM asset_check_executions WHERE id IN (
        SELECT id FROM asset_check_executions WHERE partition = %(slug)s LIMIT %(limit)s)
    RETURNING evaluation_event_storage_id
), events AS (
    DELETE FROM event_logs WHERE id IN (SELECT evaluation_event_storage_id FROM gone)
)
SELECT count(*) FROM gone;

-- name: forget_last_events
-- An asset's row holds its latest event once more, and a summary of its partitions: of those left. Eight rows.
UPDATE asset_keys AS k
   SET cached_status_data = NULL,
       last_materialization = (
           SELECT e.event FROM event_logs AS e
            WHERE e.asset_key = k.asset_key AND e.dagster_event_type = 'ASSET_MATERIALIZATION'
            ORDER BY e.id DESC LIMIT 1);

-- name: count_log_lines
-- What prune_log_lines would delete; the whole log is read.
SELECT count(*) FROM event_logs AS e
 WHERE e.asset_key IS NULL AND e.timestamp < %(before)s
   AND NOT EXISTS (SELECT FROM runs AS r WHERE r.run_id = e.run_id AND r.status = ANY (%(unfinished)s));

-- name: prune_log_lines
-- Old events of no asset, a batch in the order of the key, of runs that ended: what is shown of assets and of checks is kept
-- elsewhere (asset_check_executions has its own copy of each result).
WITH old AS (
    SELECT e.id, e.run_id FROM event_logs AS e
     WHERE e.asset_key IS NULL AND e.id > %(after)s AND e.timestamp < %(before)s
       AND NOT EXISTS (SELECT FROM runs AS r WHERE r.run_id = e.run_id AND r.status = ANY (%(unfinished)s))
     ORDER BY e.id LIMIT %(limit)s
), gone AS (
    DELETE FROM event_logs WHERE id IN (SELECT id FROM old)
)
SELECT count(*), max(id), array_agg(DISTINCT run_id) FROM old;

-- name: count_asset_events
-- What prune_asset_events would delete; the whole log is read.
SELECT count(*) FROM event_logs AS e
 WHERE e.asset_key IS NOT NULL AND e.timestamp < %(before)s
   AND EXISTS (SELECT FROM event_logs AS n
                WHERE n.asset_key = e.asset_key AND n.dagster_event_type = e.dagster_event_type
                  AND n.partition = e.partition AND n.id > e.id);

-- name: prune_asset_events
-- Old events of assets that a newer one of the same kind and partition replaced, a batch in the order of the key. The newest
-- of each says which partitions there are (idx_events_by_asset_partition).
WITH old AS (
    SELECT e.id, e.run_id FROM event_logs AS e
     WHERE e.asset_key IS NOT NULL AND e.id > %(after)s AND e.timestamp < %(before)s
       AND EXISTS (SELECT FROM event_logs AS n
                    WHERE n.asset_key = e.asset_key AND n.dagster_event_type = e.dagster_event_type
                      AND n.partition = e.partition AND n.id > e.id)
     ORDER BY e.id LIMIT %(limit)s
), gone AS (
    DELETE FROM event_logs WHERE id IN (SELECT id FROM old)
), tags AS (
    DELETE FROM asset_event_tags WHERE event_id IN (SELECT id FROM old)
)
SELECT count(*), max(id), '{}'::text[] FROM old;

-- name: count_check_results
-- What prune_check_results would delete; the whole table is read.
SELECT count(*) FROM (
    SELECT evaluation_event_timestamp AS at,
           row_number() OVER (PARTITION BY asset_key, check_name, partition ORDER BY id DESC) AS age
      FROM asset_check_executions) AS results
 WHERE age > 1 AND at < %(before)s;

-- name: prune_check_results
-- Old results of checks that a newer one of the same partition replaced, a batch in the order of the key. As above.
WITH old AS (
    SELECT id FROM (
        SELECT id, evaluation_event_timestamp AS at,
               row_number() OVER (PARTITION BY asset_key, check_name, partition ORDER BY id DESC) AS age
          FROM asset_check_executions) AS results
     WHERE age > 1 AND at < %(before)s AND id > %(after)s
     ORDER BY id LIMIT %(limit)s
), gone AS (
    DELETE FROM asset_check_executions WHERE id IN (SELECT id FROM old)
)
SELECT count(*), max(id), '{}'::text[] FROM old;

-- name: count_runs
-- What runs_to_delete would name; as there.
SELECT count(*) FROM runs AS r
 WHERE r.status <> ALL (%(unfinished)s) AND r.update_timestamp < %(before)s
   AND NOT EXISTS (SELECT FROM event_logs AS e WHERE e.run_id = r.run_id AND e.asset_key IS NOT NULL)
   AND NOT EXISTS (SELECT FROM asset_check_executions AS c WHERE c.run_id = r.run_id);

-- name: runs_to_delete
-- Old runs of which no asset or check shows anything, a batch (idx_events_by_run_id).
SELECT r.run_id FROM runs AS r
 WHERE r.status <> ALL (%(unfinished)s) AND r.update_timestamp < %(before)s
   AND NOT EXISTS (SELECT FROM event_logs AS e WHERE e.run_id = r.run_id AND e.asset_key IS NOT NULL)
   AND NOT EXISTS (SELECT FROM asset_check_executions AS c WHERE c.run_id = r.run_id)
 LIMIT %(limit)s;
