-- The API's role reads no secret of a channel. By these four letters people tell which one a receiver
-- has; of a secret made here they are 16 of 256 bits.
ALTER TABLE alert_channels
    ADD COLUMN secret_last_four text GENERATED ALWAYS AS (CASE WHEN kind = 'webhook' THEN right(secret, 4) END) STORED;
GRANT SELECT (disabled_at, secret_last_four, previous_secret_until) ON alert_channels TO upstream_api;

-- A webhook is made, and any channel switched off and on. Where it goes, and a secret that is there, are not the API's to change.
GRANT INSERT (customer_id, name, kind, configuration, secret), UPDATE (enabled, disabled_reason, disabled_at, failing_since)
    ON alert_channels TO upstream_api;
CREATE POLICY webhook ON alert_channels AS RESTRICTIVE FOR INSERT TO upstream_api
    WITH CHECK (kind = 'webhook' AND configuration = jsonb_build_object('url', configuration ->> 'url'));

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

-- What a message has behind it is read by the worker of all customers, and the API sends messages again: whatever it writes there
-- must be readable, and so must the instants beside it and those of what people say (Python knows no infinity, and no year
-- before the first). NOT VALID: what stands there was written by the worker and by commands, and no table is read for it.
ALTER TABLE deliveries
    ADD CONSTRAINT deliveries_progress_check CHECK (
        jsonb_typeof(progress) = 'object'
        AND CASE WHEN progress ->> 'tries_from' ~ '^[0-9]{1,9}$' THEN (progress ->> 'tries_from')::integer <= attempt
                 ELSE NOT progress ? 'tries_from' END
        AND progress - '{tries_from,accepted,refused,reason,asked_again}'::text[] = '{}'
        AND coalesce(jsonb_typeof(progress -> 'accepted') = 'array', true)
        AND coalesce(jsonb_typeof(progress -> 'refused') = 'array', true)
        AND NOT jsonb_path_exists(progress, '$.accepted[*] ? (@.type() != "string")')
        AND NOT jsonb_path_exists(progress, '$.refused[*] ? (@.type() != "string")')
        AND coalesce(jsonb_typeof(progress -> 'reason') = 'string', true)
        AND coalesce(jsonb_typeof(progress -> 'asked_again') = 'boolean', true)) NOT VALID,
    ADD CONSTRAINT deliveries_instants_check CHECK (
        due_at BETWEEN '1990-01-01Z' AND '9999-12-31 23:59:59Z' AND finished_at BETWEEN '1990-01-01Z' AND '9999-12-31 23:59:59Z') NOT VALID;
ALTER TABLE alert_channels ADD CONSTRAINT alert_channels_instants_check CHECK (
    failing_since BETWEEN '1990-01-01Z' AND '9999-12-31 23:59:59Z' AND disabled_at BETWEEN '1990-01-01Z' AND '9999-12-31 23:59:59Z') NOT VALID;
ALTER TABLE alerts ADD CONSTRAINT alerts_instants_check CHECK (held_until BETWEEN '1990-01-01Z' AND '9999-12-31 23:59:59Z') NOT VALID;
ALTER TABLE alert_silences ADD CONSTRAINT alert_silences_instants_check CHECK (
    ends_at BETWEEN '1990-01-01Z' AND '9999-12-31 23:59:59Z' AND created_at BETWEEN '1990-01-01Z' AND '9999-12-31 23:59:59Z'
    AND lifted_at BETWEEN '1990-01-01Z' AND '9999-12-31 23:59:59Z') NOT VALID;
ALTER TABLE alert_feedback ADD CONSTRAINT alert_feedback_instants_check CHECK (
    judged_at BETWEEN '1990-01-01Z' AND '9999-12-31 23:59:59Z') NOT VALID;

-- A test of a channel: the one alert that people make, worded here, so that nothing else goes out by the platform's mail server
-- under that name. For the customer of the transaction; true where it has such a channel and that is on.
CREATE FUNCTION write_channel_test(of_channel uuid, new_alert uuid, new_delivery uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    of_customer bigint := nullif(current_setting('app.customer_id', true), '')::bigint;
BEGIN
    INSERT INTO alerts (customer_id, alert_id, kind, notice, fingerprint, subject_id, content, channel_ids, created_at, told_at)
    SELECT c.customer_id, new_alert, 'test', 'open', 'test' || chr(31) || c.channel_id, new_alert,
           jsonb_build_object('type', 'test', 'customer', jsonb_build_object('slug', k.slug, 'name', k.name),
               'data', jsonb_build_object('channel', c.name, 'kind', c.kind, 'link', NULL,
                                          'asked_at', date_trunc('second', now()))),
           ARRAY[c.channel_id], now(), now()
      FROM alert_channels AS c JOIN customers AS k ON k.customer_id = c.customer_id
     WHERE c.customer_id = of_customer AND c.channel_id = of_channel AND c.enabled;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO deliveries (customer_id, delivery_id, channel_id, due_at, created_at)
    VALUES (of_customer, new_delivery, of_channel, now(), now());
    INSERT INTO delivery_alerts (customer_id, delivery_id, alert_id, channel_id)
    VALUES (of_customer, new_delivery, new_alert, of_channel);
    RETURN true;
END
$$;

GRANT CREATE ON SCHEMA public TO upstream_pipeline;  -- an owner-to-be needs it
REVOKE ALL ON FUNCTION rotate_channel_secret(text, text, timestamptz), write_channel_test(uuid, uuid, uuid)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION rotate_channel_secret(text, text, timestamptz), write_channel_test(uuid, uuid, uuid)
    TO upstream_api;
ALTER FUNCTION rotate_channel_secret(text, text, timestamptz) OWNER TO upstream_pipeline;
ALTER FUNCTION write_channel_test(uuid, uuid, uuid) OWNER TO upstream_pipeline;
REVOKE CREATE ON SCHEMA public FROM upstream_pipeline;
