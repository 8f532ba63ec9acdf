-- An operator over HTTP, who is a member of no customer, sends a file for one. Beside what functions write (product flags, a sign-up)
-- it is the one act of an operator that the API's role writes into the trail: of an upload that is there, with nothing else in it,
-- and never in the name of an account at the command line.
CREATE POLICY operator ON audit_log FOR INSERT TO upstream_api
    WITH CHECK (customer_id = nullif(current_setting('app.customer_id', true), '')::bigint
                AND nullif(current_setting('app.person_id', true), '') IS NULL
                AND actor_kind = 'operator' AND actor_id = 'api' AND actor_name = 'UPSTREAM_OPERATOR_TOKEN'
                AND action = 'upload.accepted' AND entity_kind = 'upload'
                AND EXISTS (SELECT FROM uploads AS u
                             WHERE u.customer_id = audit_log.customer_id
                               -- No policy may meet a text that it cannot cast: others of this table are asked of the same rows.
                               AND u.upload_id = CASE WHEN audit_log.entity_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                                                      THEN audit_log.entity_id::uuid END
                               AND u.request_id = audit_log.request_id
                               AND audit_log.details = jsonb_build_object('source', u.source)));

-- Alert rules are made, changed and switched off over the API. They are never deleted, and whose they are is never changed: the
-- policy that is there keeps each to the customer of the transaction.
GRANT INSERT (customer_id, name, kinds, signals, payers, cpt_groups, directions, minimum_severity, minimum_confidence,
              minimum_effect, minimum_dollars_per_month, unknown_dollars, channels, quiet_hours, time_zone, cooldown_hours,
              group_seconds, update_minutes, repeat_hours, enabled),
      UPDATE (name, kinds, signals, payers, cpt_groups, directions, minimum_severity, minimum_confidence, minimum_effect,
              minimum_dollars_per_month, unknown_dollars, channels, quiet_hours, time_zone, cooldown_hours, group_seconds,
              update_minutes, repeat_hours, enabled)
    ON alert_rules TO upstream_api;

-- Words that there are, and no more of them than there are. Earlier releases let a file write one twice, which means the same as once;
-- they never stored another word, nor a zone that the list of zones did not have (of 599 the longest has 32 characters).
-- As upstream_pipeline: no policy shows the owner a rule.
SET LOCAL ROLE upstream_pipeline;
UPDATE alert_rules
   SET kinds = ARRAY(SELECT DISTINCT unnest(kinds)), directions = ARRAY(SELECT DISTINCT unnest(directions)),
       signals = CASE WHEN signals IS NOT NULL THEN ARRAY(SELECT DISTINCT unnest(signals)) END
 WHERE cardinality(kinds) > 5 OR cardinality(directions) > 3 OR cardinality(signals) > 6;
UPDATE alert_rules
   SET quiet_hours = jsonb_set(quiet_hours, '{days}', (SELECT jsonb_agg(DISTINCT day) FROM jsonb_array_elements(quiet_hours -> 'days') AS day))
 WHERE jsonb_typeof(quiet_hours -> 'days') = 'array' AND jsonb_array_length(quiet_hours -> 'days') > 7;
SET LOCAL ROLE upstream_owner;
ALTER TABLE alert_rules
    ADD CONSTRAINT alert_rules_kinds CHECK (
        kinds <@ '{drift,quality,silence,run_failure,delivery_trouble}' AND cardinality(kinds) <= 5
        AND coalesce(array_ndims(kinds), 1) = 1),
    ADD CONSTRAINT alert_rules_signals CHECK (
        signals <@ '{denial_rate,decision_lag,allowed_amount,volume,procedure_mix,authorization_denials}' AND cardinality(signals) <= 6
        AND coalesce(array_ndims(signals), 1) = 1),
    ADD CONSTRAINT alert_rules_directions CHECK (
        directions <@ '{worsening,improving,unclear}' AND cardinality(directions) <= 3 AND coalesce(array_ndims(directions), 1) = 1),
    ADD CONSTRAINT alert_rules_zone CHECK (
        time_zone ~ '^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$' AND length(time_zone) <= 64),
    -- All its days take 95 characters.
    ADD CONSTRAINT alert_rules_quiet CHECK (
        length(quiet_hours::text) <= 200
        AND CASE jsonb_typeof(quiet_hours -> 'days') WHEN 'array' THEN jsonb_array_length(quiet_hours -> 'days') <= 7
                 ELSE coalesce(jsonb_typeof(quiet_hours -> 'days'), 'null') = 'null' END);

-- A customer's messages, the newest first.
CREATE INDEX deliveries_listed ON deliveries (customer_id, created_at, delivery_id);

-- A new customer of the operator over HTTP with the row of its trail, no row where the slug is taken. The row is seen by no policy of
-- the API's role before the transaction is for it. Names are bounded here: the table has some of releases that bounded none.
CREATE FUNCTION sign_up_customer(of_slug text, of_name text, of_request text) RETURNS SETOF customers
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    IF length(of_name) > 200 THEN
        RAISE check_violation USING MESSAGE = 'a customer''s name has 200 characters at most';
    END IF;
    RETURN QUERY
    WITH made AS (
        INSERT INTO customers (slug, name, configuration) VALUES (of_slug, of_name, '{}') ON CONFLICT (slug) DO NOTHING RETURNING *
    ), told AS (
        INSERT INTO audit_log (customer_id, actor_kind, actor_id, actor_name, action, entity_kind, entity_id, request_id)
        SELECT m.customer_id, 'operator', 'api', 'UPSTREAM_OPERATOR_TOKEN', 'customer.created', 'customer', m.slug, of_request
          FROM made AS m
    )
    SELECT * FROM made;
END
$$;
GRANT CREATE ON SCHEMA public TO upstream_pipeline;  -- an owner-to-be needs it
REVOKE ALL ON FUNCTION sign_up_customer(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sign_up_customer(text, text, text) TO upstream_api;
ALTER FUNCTION sign_up_customer(text, text, text) OWNER TO upstream_pipeline;
REVOKE CREATE ON SCHEMA public FROM upstream_pipeline;

-- Files of tokens are answered again for their key as well. Of a transaction without a person: tokens are no more to be kept apart
-- from each other than the customer's uploads are.
ALTER TABLE kept_answers DROP CONSTRAINT kept_answers_principal_check,
    ADD CHECK (principal = 'operator' OR principal ~ '^(person|token) [0-9a-f-]{36}$');
ALTER POLICY principal ON kept_answers
    USING (customer_id IS NOT DISTINCT FROM nullif(current_setting('app.customer_id', true), '')::bigint
           AND (principal = coalesce('person ' || nullif(current_setting('app.person_id', true), ''), 'operator')
                OR principal LIKE 'token %' AND customer_id IS NOT NULL
                   AND nullif(current_setting('app.person_id', true), '') IS NULL));
