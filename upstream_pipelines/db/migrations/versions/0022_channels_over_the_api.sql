-- The API's role reads no secret of a channel. By these four letters people tell which one a receiver
-- has; of a secret made here they are 16 of 256 bits.
ALTER TABLE alert_channels
    ADD COLUMN secret_last_four text GENERATED ALWAYS AS (CASE WHEN kind = 'webhook' THEN right(secret, 4) END) STORED;
GRANT SELECT (disabled_at, secret_last_four, previous_secret_until) ON alert_channels TO upstream_api;

-- A webhook is made, and any channel switched off and on. Where it goes, and a secret that is there, are not the API's to change.
GRANT INSERT (customer_id, name, kind, configuration, secret), UPDATE (enabled, disabled_reason, disabled_at, failing_since)
    ON alert_channels TO upstream_api;
CREATE POLICY webhook ON alert_channels AS RESTRICTIVE FOR INSERT TO upstream_api WITH CHECK (kind = 'webhook');

-- Replacing a secret keeps the old one for a while, which nobody may read who may not read secrets: so it is done here, for
-- the customer of the transaction alone. `old_until`: NULL where the old one signs no more. True where there is such a webhook.
CREATE FUNCTION rotate_channel_secret(of_name text, made text, old_until timestamptz) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    UPDATE alert_channels
       SET secret = made,
           previous_secret = CASE WHEN old_until IS NOT NULL THEN secret END,
           previous_secret_until = CASE WHEN secret IS NOT NULL THEN old_until END
     WHERE customer_id = nullif(current_setting('app.customer_id', true), '')::bigint
       AND name = of_name AND kind = 'webhook';
    RETURN FOUND;
END
$$;
GRANT CREATE ON SCHEMA public TO upstream_pipeline;  -- an owner-to-be needs it
REVOKE ALL ON FUNCTION rotate_channel_secret(text, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION rotate_channel_secret(text, text, timestamptz) TO upstream_api;
ALTER FUNCTION rotate_channel_secret(text, text, timestamptz) OWNER TO upstream_pipeline;
REVOKE CREATE ON SCHEMA public FROM upstream_pipeline;

-- A test of a channel, which belongs to no rule: the one alert that the API writes, and the one that it puts into a message.
GRANT INSERT (customer_id, alert_id, kind, notice, fingerprint, subject_id, content, channel_ids, created_at, told_at)
    ON alerts TO upstream_api;
GRANT INSERT (customer_id, delivery_id, channel_id, due_at, created_at) ON deliveries TO upstream_api;
GRANT INSERT (customer_id, delivery_id, alert_id, channel_id) ON delivery_alerts TO upstream_api;
CREATE POLICY test ON alerts AS RESTRICTIVE FOR INSERT TO upstream_api WITH CHECK (kind = 'test');
CREATE POLICY test ON delivery_alerts AS RESTRICTIVE FOR INSERT TO upstream_api
    WITH CHECK (EXISTS (SELECT FROM alerts AS a
                         WHERE a.customer_id = delivery_alerts.customer_id AND a.alert_id = delivery_alerts.alert_id
                           AND a.kind = 'test'));
