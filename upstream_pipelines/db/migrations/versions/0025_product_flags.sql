-- Which parts of the product are switched off for a customer; of a new one, and of a part that comes with a later release, none is.
ALTER TABLE customers ADD COLUMN products_off text[] NOT NULL DEFAULT '{}'
    CHECK (products_off <@ '{csv_upload,webhook_ingest,drift,alerts,reports}'::text[]
           AND coalesce(array_ndims(products_off), 1) = 1 AND cardinality(products_off) <= 5);

-- What is held back because alerts are off is told, like what no channel could be told, when they are on again.
ALTER TABLE alerts
    DROP CONSTRAINT alerts_held_by_check,
    ADD CONSTRAINT alerts_held_by_check CHECK (held_by IN ('product', 'channel', 'silence', 'noise', 'cooldown', 'opening'));
DROP INDEX alerts_without_channel;
CREATE INDEX alerts_without_channel ON alerts (customer_id) WHERE held_by IN ('channel', 'product');

GRANT CREATE ON SCHEMA public TO upstream_pipeline;  -- an owner-to-be needs it

-- An operator over HTTP is a member of no customer: which active one a slug is, NULL for none.
CREATE FUNCTION customer_of_slug(of_slug text) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT c.customer_id FROM customers AS c WHERE c.slug = of_slug AND c.status = 'active'
$$;

-- An operator sets them, for the customer of the transaction, and the trail has it: the API writes no other act of an operator.
CREATE FUNCTION set_product_flags(off text[], by_id text, by_name text, of_request text, told jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    of_slug text;
BEGIN
    UPDATE customers AS c SET products_off = off
     WHERE c.customer_id = nullif(current_setting('app.customer_id', true), '')::bigint RETURNING c.slug INTO STRICT of_slug;
    INSERT INTO audit_log (customer_id, actor_kind, actor_id, actor_name, action, entity_kind, entity_id, request_id, details)
    VALUES (current_setting('app.customer_id')::bigint, 'operator', by_id, by_name, 'product_flags.replaced', 'customer', of_slug,
            of_request, told);
END
$$;
REVOKE ALL ON FUNCTION customer_of_slug(text), set_product_flags(text[], text, text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION customer_of_slug(text), set_product_flags(text[], text, text, text, jsonb)
    TO upstream_api, upstream_pipeline;
ALTER FUNCTION customer_of_slug(text) OWNER TO upstream_pipeline;
ALTER FUNCTION set_product_flags(text[], text, text, text, jsonb) OWNER TO upstream_pipeline;

-- Active customers that something is wrong with, as before; no look is due where drift is off, and nothing is expected where
-- neither files nor batches are taken.
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
            WHERE coalesce(l.made_at, u.received_at) < now() - interval '26 hours' AND 'drift' <> ALL (c.products_off)
            UNION ALL
           SELECT 'channel', min(coalesce(h.failing_since, h.disabled_at, h.created_at))
             FROM alert_channels AS h
            WHERE h.customer_id = c.customer_id
              AND CASE WHEN h.enabled THEN h.failing_since IS NOT NULL
                       ELSE h.disabled_reason NOT LIKE 'no longer in%' END
           HAVING count(*) > 0
            UNION ALL
           SELECT 'silent', m.noticed_at FROM missed_uploads AS m
            WHERE m.customer_id = c.customer_id AND m.ended_at IS NULL
              AND NOT c.products_off @> '{csv_upload,webhook_ingest}') AS f
     WHERE c.status = 'active'
     UNION ALL
    SELECT c.slug, 'waiting', min(u.received_at)
      FROM uploads AS u JOIN customers AS c ON c.customer_id = u.customer_id AND c.status = 'active'
     WHERE u.status IN ('received', 'processing') AND u.received_at < now() - interval '15 minutes'
     GROUP BY c.slug
$$;
SET LOCAL ROLE upstream_owner;
REVOKE CREATE ON SCHEMA public FROM upstream_pipeline;
