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

