-- The first answer to a request of a person or an operator that came with an Idempotency-Key, written in the transaction of what it
-- did and given again for 7 days. Of the key its SHA-256 is kept, for it is the sender's own text; of method, address and body a
-- digest. No secret is in an answer. customer_id is null for what people do with their own log-in, and operators to no customer.
CREATE TABLE kept_answers (
    customer_id    bigint REFERENCES customers,
    principal      text NOT NULL CHECK (principal = 'operator' OR principal ~ '^person [0-9a-f-]{36}$'),
    key_sha256     text NOT NULL CHECK (key_sha256 ~ '^[0-9a-f]{64}$'),
    request_sha256 bytea NOT NULL CHECK (length(request_sha256) = 32),
    status         smallint NOT NULL CHECK (status BETWEEN 200 AND 299),
    answer         text,
    -- The header Location, where there was one.
    location       text CHECK (length(location) <= 500),
    kept_at        timestamptz NOT NULL DEFAULT now() CHECK (kept_at < '3000-01-01'),
    -- The key comes first: a customer that is null is found by no index that begins with it.
    UNIQUE NULLS NOT DISTINCT (key_sha256, principal, customer_id)
);
CREATE INDEX kept_answers_old ON kept_answers (kept_at);
-- By which a deletion of a customer finds its own, and a person's are counted.
CREATE INDEX kept_answers_customer ON kept_answers (customer_id, principal, kept_at);

ALTER TABLE kept_answers ENABLE ROW LEVEL SECURITY;
-- Without FORCE the owner of a table passes by its policies.
ALTER TABLE kept_answers FORCE ROW LEVEL SECURITY;
CREATE POLICY pipeline ON kept_answers TO upstream_pipeline USING (true) WITH CHECK (true);
-- Those of the customer, and of the person, whom the transaction is for; in one without a person those of operators.
CREATE POLICY principal ON kept_answers TO upstream_api
    USING (customer_id IS NOT DISTINCT FROM nullif(current_setting('app.customer_id', true), '')::bigint
           AND principal = coalesce('person ' || nullif(current_setting('app.person_id', true), ''), 'operator'));
GRANT SELECT, INSERT, UPDATE, DELETE ON kept_answers TO upstream_pipeline;
GRANT SELECT, INSERT (customer_id, principal, key_sha256, request_sha256, status, answer, location),
      UPDATE (request_sha256, status, answer, location, kept_at) ON kept_answers TO upstream_api;

-- A person's own new password, for the person of the transaction; false where the password is no longer the one that was checked,
-- or they were disabled meanwhile. A token for a reset that lies about ends with it.
CREATE FUNCTION change_password(checked_hash text, new_hash text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    UPDATE people AS p
       SET password_hash = new_hash, password_set_at = now(), reset_sha256 = NULL, reset_expires_at = NULL
     WHERE p.person_id = nullif(current_setting('app.person_id', true), '')::uuid
       AND p.password_hash = checked_hash AND p.disabled_at IS NULL;
    RETURN FOUND;
END
$$;
GRANT CREATE ON SCHEMA public TO upstream_pipeline;  -- an owner-to-be needs it
REVOKE ALL ON FUNCTION change_password(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION change_password(text, text) TO upstream_api;
ALTER FUNCTION change_password(text, text) OWNER TO upstream_pipeline;
REVOKE CREATE ON SCHEMA public FROM upstream_pipeline;
