-- What the API's role can write with statements of its own is what the program can read, of a bounded size, and in the trail what was.

-- Whether a list of a rule is one of names, or none: one dimension, no NULL, each of 1 to 200 characters, as the program has them.
CREATE FUNCTION are_names(names text[]) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN names IS NULL THEN true
                WHEN array_ndims(names) IS DISTINCT FROM 1 THEN false
                ELSE (SELECT bool_and(length(name) BETWEEN 1 AND 200 AND name IS NOT NULL) FROM unnest(names) AS name) END
$$;

-- Whether the program can read quiet hours, or there are none: two different times of the day, and some weekdays or no word of them. Those
-- that never end would tell nothing.
CREATE FUNCTION are_quiet_hours(hours jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN hours IS NULL THEN true
                WHEN jsonb_typeof(hours) <> 'object' THEN false
                ELSE hours - '{from,to,days}'::text[] = '{}'
                     AND coalesce(jsonb_typeof(hours -> 'from') = 'string' AND jsonb_typeof(hours -> 'to') = 'string', false)
                     AND hours ->> 'from' ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$' AND hours ->> 'to' ~ '^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$'
                     AND hours ->> 'from' <> hours ->> 'to'
                     AND CASE coalesce(jsonb_typeof(hours -> 'days'), 'null')
                              WHEN 'null' THEN hours ->> 'from' <> '00:00' OR hours ->> 'to' <> '24:00'
                              WHEN 'array' THEN hours -> 'days' <> '[]' AND hours -> 'days' <@ '["mon", "tue", "wed", "thu", "fri", "sat", "sun"]'
                                   AND (hours ->> 'from' <> '00:00' OR hours ->> 'to' <> '24:00'
                                        OR NOT hours -> 'days' @> '["mon", "tue", "wed", "thu", "fri", "sat", "sun"]')
                              ELSE false END END
$$;

-- No program ever stored what is mended here; statements by hand could. What cannot be read is left out, so that a rule tells more than
-- was meant and not less. As upstream_pipeline: no policy shows the owner a rule.
SET LOCAL ROLE upstream_pipeline;
UPDATE alert_rules
   SET name = CASE WHEN length(name) BETWEEN 1 AND 100 THEN name ELSE btrim(left(name, 63) || ' ' || rule_id) END,
       kinds = CASE WHEN cardinality(kinds) > 0 THEN kinds ELSE '{drift,quality,silence,run_failure}' END,
       directions = CASE WHEN cardinality(directions) > 0 THEN directions ELSE '{worsening}' END,
       signals = nullif(signals, '{}'),
       payers = CASE WHEN are_names(payers) THEN payers
                     ELSE nullif(ARRAY(SELECT DISTINCT left(name, 200) FROM unnest(payers) AS name WHERE name <> ''), '{}') END,
       cpt_groups = CASE WHEN are_names(cpt_groups) THEN cpt_groups
                         ELSE nullif(ARRAY(SELECT DISTINCT left(name, 200) FROM unnest(cpt_groups) AS name WHERE name <> ''), '{}') END,
       channels = CASE WHEN are_names(channels) THEN channels
                       ELSE nullif(ARRAY(SELECT DISTINCT left(name, 200) FROM unnest(channels) AS name WHERE name <> ''), '{}') END,
       minimum_severity = CASE WHEN minimum_severity BETWEEN 0 AND 1 THEN minimum_severity ELSE 0 END,
       minimum_confidence = CASE WHEN minimum_confidence BETWEEN 0 AND 1 THEN minimum_confidence ELSE 0 END,
       minimum_effect = CASE WHEN minimum_effect >= 0 AND minimum_effect < 'Infinity' THEN minimum_effect ELSE 0 END,
       minimum_dollars_per_month = CASE WHEN minimum_dollars_per_month >= 0 AND minimum_dollars_per_month < 'Infinity'
                                        THEN minimum_dollars_per_month ELSE 0 END,
       quiet_hours = CASE WHEN are_quiet_hours(quiet_hours) THEN quiet_hours END,
       group_seconds = floor(group_seconds)
 WHERE length(name) NOT BETWEEN 1 AND 100 OR cardinality(kinds) = 0 OR cardinality(directions) = 0 OR signals = '{}'
    OR NOT (are_names(payers) AND are_names(cpt_groups) AND are_names(channels)) OR NOT are_quiet_hours(quiet_hours)
    OR minimum_severity NOT BETWEEN 0 AND 1 OR minimum_confidence NOT BETWEEN 0 AND 1
    OR NOT (minimum_effect >= 0 AND minimum_effect < 'Infinity')
    OR NOT (minimum_dollars_per_month >= 0 AND minimum_dollars_per_month < 'Infinity')
    OR group_seconds <> floor(group_seconds);
UPDATE alert_rules SET repeat_hours = greatest(repeat_hours, 0.25, cooldown_hours)
 WHERE repeat_hours < 0.25 OR repeat_hours < cooldown_hours;
SET LOCAL ROLE upstream_owner;

ALTER TABLE alert_rules
    ADD CONSTRAINT alert_rules_name CHECK (length(name) BETWEEN 1 AND 100),
    ADD CONSTRAINT alert_rules_some CHECK (cardinality(kinds) > 0 AND cardinality(directions) > 0 AND signals <> '{}'),
    ADD CONSTRAINT alert_rules_names CHECK (are_names(payers) AND are_names(cpt_groups) AND are_names(channels)),
    -- NaN is greater than all others here.
    ADD CONSTRAINT alert_rules_minima CHECK (
        minimum_severity BETWEEN 0 AND 1 AND minimum_confidence BETWEEN 0 AND 1
        AND minimum_effect >= 0 AND minimum_effect < 'Infinity'
        AND minimum_dollars_per_month >= 0 AND minimum_dollars_per_month < 'Infinity'),
    ADD CONSTRAINT alert_rules_rhythm CHECK (
        group_seconds = floor(group_seconds) AND repeat_hours >= 0.25 AND repeat_hours >= cooldown_hours),
    ADD CONSTRAINT alert_rules_quiet_hours CHECK (are_quiet_hours(quiet_hours));

-- How many there are, and how many names a rule has. Not by CHECK: a file that the command took before may have had more names, and its
-- rule must still be switched off. Rules and channels are never deleted and a customer's file may have come by more than 100 over the
-- years: how many there may be in all is asked of those alone who are not upstream_pipeline, by privilege, for a login need not take
-- the role that it is a member of. One at a time, else two transactions would each see room.
CREATE FUNCTION bound_alert_rule() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF greatest(cardinality(NEW.payers), cardinality(NEW.cpt_groups), cardinality(NEW.channels)) > 1000 THEN
        RAISE check_violation USING MESSAGE = 'a list of an alert rule has 1,000 names at most';
    END IF;
    IF TG_OP = 'INSERT' AND NOT pg_has_role(current_user, 'upstream_pipeline', 'USAGE')
       AND NOT EXISTS (SELECT FROM alert_rules AS r WHERE r.customer_id = NEW.customer_id AND r.name = NEW.name) THEN
        PERFORM FROM customers AS c WHERE c.customer_id = NEW.customer_id FOR NO KEY UPDATE;
        IF (SELECT count(*) FROM alert_rules AS r WHERE r.customer_id = NEW.customer_id) >= 100 THEN
            RAISE check_violation USING MESSAGE = 'a customer has 100 alert rules at most';
        END IF;
    END IF;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION bound_alert_rule() FROM PUBLIC;
CREATE TRIGGER bounded BEFORE INSERT OR UPDATE OF payers, cpt_groups, channels ON alert_rules
    FOR EACH ROW EXECUTE FUNCTION bound_alert_rule();

CREATE FUNCTION bound_alert_channel() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT pg_has_role(current_user, 'upstream_pipeline', 'USAGE')
       AND NOT EXISTS (SELECT FROM alert_channels AS h WHERE h.customer_id = NEW.customer_id AND h.name = NEW.name) THEN
        PERFORM FROM customers AS c WHERE c.customer_id = NEW.customer_id FOR NO KEY UPDATE;
        IF (SELECT count(*) FROM alert_channels AS h WHERE h.customer_id = NEW.customer_id) >= 100 THEN
            RAISE check_violation USING MESSAGE = 'a customer has 100 alert channels at most';
        END IF;
    END IF;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION bound_alert_channel() FROM PUBLIC;
CREATE TRIGGER bounded BEFORE INSERT ON alert_channels FOR EACH ROW EXECUTE FUNCTION bound_alert_channel();

-- A secret that the sender can sign with: 24 to 64 bytes in base64. CASE, for decode() refuses what is none.
CREATE FUNCTION is_webhook_secret(secret text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN length(secret) <= 100
                     AND secret ~ '^whsec_([A-Za-z0-9+/]{4})+([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$'
                THEN length(decode(substr(secret, 7), 'base64')) BETWEEN 24 AND 64
                ELSE false END
$$;
-- Bounds as of the program. By policy and not by CHECK: the worker notes at channels of whatever release how their receivers do.
ALTER POLICY webhook ON alert_channels
    WITH CHECK (kind = 'webhook' AND configuration = jsonb_build_object('url', configuration ->> 'url')
                AND length(configuration ->> 'url') BETWEEN 1 AND 2000
                AND length(name) BETWEEN 1 AND 100 AND name !~ '[[:cntrl:]]' AND is_webhook_secret(secret));
CREATE POLICY reason ON alert_channels AS RESTRICTIVE FOR UPDATE TO upstream_api
    USING (true) WITH CHECK (coalesce(length(disabled_reason) <= 1000, true));

GRANT CREATE ON SCHEMA public TO upstream_pipeline;  -- who replaces a function needs it, and an owner-to-be
SET LOCAL ROLE upstream_pipeline;
CREATE OR REPLACE FUNCTION rotate_channel_secret(of_name text, made text, old_until timestamptz) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    IF is_webhook_secret(made) IS NOT TRUE THEN
        RAISE check_violation USING MESSAGE = 'a webhook''s secret is whsec_ and 24 to 64 bytes in base64';
    END IF;
    UPDATE alert_channels
       SET secret = made,
           previous_secret = CASE WHEN old_until IS NOT NULL THEN secret END,
           previous_secret_until = CASE WHEN secret IS NOT NULL THEN old_until END
     WHERE customer_id = nullif(current_setting('app.customer_id', true), '')::bigint
       AND name = of_name AND kind = 'webhook';
    RETURN FOUND;
END
$$;
SET LOCAL ROLE upstream_owner;

-- The operator over HTTP sets the flags of the transaction's customer. Who it was and what changed the database writes itself, and
-- nothing where nothing changed; who it was at the command line, its own login says by the function that was there.
CREATE FUNCTION set_product_flags_over_api(off text[], of_request text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    known CONSTANT text[] := '{csv_upload,webhook_ingest,drift,alerts,reports}';
    of_customer CONSTANT bigint := nullif(current_setting('app.customer_id', true), '')::bigint;
    of_slug text;
    before text[];
BEGIN
    SELECT c.slug, c.products_off INTO STRICT of_slug, before FROM customers AS c WHERE c.customer_id = of_customer FOR NO KEY UPDATE;
    IF before @> off AND off @> before THEN
        RETURN;
    END IF;
    UPDATE customers AS c SET products_off = off WHERE c.customer_id = of_customer;
    INSERT INTO audit_log (customer_id, actor_kind, actor_id, actor_name, action, entity_kind, entity_id, request_id, details)
    SELECT of_customer, 'operator', 'api', 'UPSTREAM_OPERATOR_TOKEN', 'product_flags.replaced', 'customer', of_slug, of_request,
           jsonb_build_object(
               'on', coalesce(jsonb_agg(f.flag ORDER BY f.n) FILTER (WHERE f.flag = ANY (before) AND f.flag <> ALL (off)), '[]'),
               'off', coalesce(jsonb_agg(f.flag ORDER BY f.n) FILTER (WHERE f.flag <> ALL (before) AND f.flag = ANY (off)), '[]'))
      FROM unnest(known) WITH ORDINALITY AS f (flag, n);
END
$$;
REVOKE ALL ON FUNCTION set_product_flags_over_api(text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION set_product_flags_over_api(text[], text) TO upstream_api;
ALTER FUNCTION set_product_flags_over_api(text[], text) OWNER TO upstream_pipeline;
SET LOCAL ROLE upstream_pipeline;
REVOKE ALL ON FUNCTION set_product_flags(text[], text, text, text, jsonb) FROM upstream_api;
SET LOCAL ROLE upstream_owner;
REVOKE CREATE ON SCHEMA public FROM upstream_pipeline;

-- Of people the API writes acts of the one whom the transaction is for, and of tokens that a file came with one, under the token's own
-- prefix. No policy may meet a text that it cannot cast: others of this table are asked of the same rows.
ALTER POLICY act ON audit_log
    WITH CHECK (customer_id = nullif(current_setting('app.customer_id', true), '')::bigint
                AND actor_kind = 'person' AND actor_id = nullif(current_setting('app.person_id', true), ''));
CREATE POLICY token ON audit_log FOR INSERT TO upstream_api
    WITH CHECK (customer_id = nullif(current_setting('app.customer_id', true), '')::bigint
                AND actor_kind = 'token' AND action = 'upload.accepted' AND entity_kind = 'upload'
                AND EXISTS (SELECT FROM uploads AS u
                              JOIN ingestion_tokens AS t ON t.customer_id = u.customer_id AND t.token_id = u.token_id
                             WHERE u.customer_id = audit_log.customer_id
                               AND u.upload_id = CASE WHEN audit_log.entity_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                                                      THEN audit_log.entity_id::uuid END
                               AND u.token_id::text = audit_log.actor_id AND t.prefix = audit_log.actor_name
                               AND u.request_id IS NOT DISTINCT FROM audit_log.request_id
                               AND audit_log.details = jsonb_build_object('source', u.source)));

-- Lengths are bounded since there is a trail; what turns, hides or breaks the text around it is now refused too: control characters, marks
-- of direction, breaks of lines. NOT VALID: no row is ever changed, and those that are there stay as they were written.
ALTER TABLE audit_log
    ADD CONSTRAINT audit_log_visible CHECK (
        actor_id || actor_name || entity_id || coalesce(request_id, '') || details::text
        !~ '[\u0001-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]') NOT VALID;

-- The API changes a customer's name and configuration. By trigger, when that column is written: rows of earlier releases may have longer
-- names. 2,000,000 characters are 20,000 aliases of 100; a file of the command may have more.
CREATE FUNCTION bound_customer() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.name IS DISTINCT FROM OLD.name AND (length(NEW.name) > 200 OR NEW.name ~ '[[:cntrl:]]') THEN
        RAISE check_violation USING MESSAGE = 'a customer''s name has 200 characters at most, all of which can be seen';
    END IF;
    IF NEW.configuration IS DISTINCT FROM OLD.configuration
       AND (jsonb_typeof(NEW.configuration) <> 'object'
            OR (length(NEW.configuration::text) > 2000000 AND NOT pg_has_role(current_user, 'upstream_pipeline', 'USAGE'))) THEN
        RAISE check_violation USING MESSAGE = 'a customer''s configuration is an object of 2,000,000 characters at most';
    END IF;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION bound_customer() FROM PUBLIC;
CREATE TRIGGER bounded BEFORE UPDATE OF name, configuration ON customers FOR EACH ROW EXECUTE FUNCTION bound_customer();

-- The longest answer that is kept is a configuration as it now is. NOT VALID: answers are gone after 7 days.
ALTER TABLE kept_answers ADD CONSTRAINT kept_answers_answer_check CHECK (length(answer) <= 5000000) NOT VALID;
