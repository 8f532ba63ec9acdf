-- The last attempt that says the receiver fails. Of what failed before it is known when that began: after a week nobody knows
-- whether it went on.
ALTER TABLE alert_channels ADD COLUMN failed_at timestamptz;
SET LOCAL ROLE upstream_pipeline;
UPDATE alert_channels SET failed_at = failing_since WHERE failing_since IS NOT NULL;
SET LOCAL ROLE upstream_owner;

-- Active customers that something is wrong with. upload: of those that ended, the newest one was refused, whatever waits after
-- it. waiting: one was not loaded for 15 minutes. look: claims are there, and no look was made for 26 hours (one is due each
-- day). channel: a receiver fails or was switched off for it. silent: nothing comes. uploads_arrivals, uploads_waiting, the
-- primary key of drift_looks, alert_channels (small), missed_uploads_open.
GRANT CREATE ON SCHEMA public TO upstream_pipeline;
SET LOCAL ROLE upstream_pipeline;
CREATE OR REPLACE FUNCTION platform_failing() RETURNS TABLE (slug text, why text, since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT c.slug, f.why, f.since
      FROM customers AS c
     CROSS JOIN LATERAL (
           SELECT 'upload' AS why, u.received_at AS since
             FROM (SELECT status, received_at FROM uploads AS u
                    WHERE u.customer_id = c.customer_id AND u.status NOT IN ('received', 'processing')
                    ORDER BY received_at DESC LIMIT 1) AS u
            WHERE u.status = 'failed'
            UNION ALL
           SELECT 'look', coalesce(l.made_at, u.received_at)
             FROM (SELECT received_at FROM uploads AS u
                    WHERE u.customer_id = c.customer_id AND u.accepted > 0 ORDER BY received_at LIMIT 1) AS u
             LEFT JOIN (SELECT made_at FROM drift_looks AS l WHERE l.customer_id = c.customer_id
                         ORDER BY as_of DESC LIMIT 1) AS l ON true
            WHERE coalesce(l.made_at, u.received_at) < now() - interval '26 hours'
            UNION ALL
           SELECT 'channel', min(coalesce(h.failing_since, h.disabled_at, h.created_at))
             FROM alert_channels AS h
            WHERE h.customer_id = c.customer_id
              AND CASE WHEN h.enabled THEN h.failing_since IS NOT NULL
                       ELSE h.disabled_reason NOT LIKE 'no longer in%' END
           HAVING count(*) > 0
            UNION ALL
           SELECT 'silent', m.noticed_at FROM missed_uploads AS m
            WHERE m.customer_id = c.customer_id AND m.ended_at IS NULL) AS f
     WHERE c.status = 'active'
     UNION ALL
    SELECT c.slug, 'waiting', min(u.received_at)
      FROM uploads AS u JOIN customers AS c ON c.customer_id = u.customer_id AND c.status = 'active'
     WHERE u.status IN ('received', 'processing') AND u.received_at < now() - interval '15 minutes'
     GROUP BY c.slug
$$;
SET LOCAL ROLE upstream_owner;
REVOKE CREATE ON SCHEMA public FROM upstream_pipeline;
