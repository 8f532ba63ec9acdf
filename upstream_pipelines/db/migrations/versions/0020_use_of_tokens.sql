-- Written with every request, the token's row made all requests of one customer wait for each other's write to the disk,
-- and each paid for two commits.
GRANT CREATE ON SCHEMA public TO upstream_pipeline;  -- the owner of the function needs it; taken back at the end
SET LOCAL ROLE upstream_pipeline;
CREATE OR REPLACE FUNCTION authenticate_ingestion_token(candidate bytea)
    RETURNS TABLE (customer_id bigint, token_id uuid, slug text)
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    WITH found AS (
        SELECT t.customer_id, t.token_id, c.slug, t.last_used_at
          FROM ingestion_tokens AS t JOIN customers AS c ON c.customer_id = t.customer_id
         WHERE t.token_sha256 = candidate
           AND t.revoked_at IS NULL
           AND (t.expires_at IS NULL OR t.expires_at > now())
           AND c.status = 'active'
    ), noted AS (
        UPDATE ingestion_tokens AS t
           SET last_used_at = now()
          FROM found AS f
         WHERE t.customer_id = f.customer_id AND t.token_id = f.token_id
           AND (f.last_used_at IS NULL OR f.last_used_at < now() - interval '1 minute')
    )
    SELECT customer_id, token_id, slug FROM found
$$;
SET LOCAL ROLE upstream_owner;
REVOKE CREATE ON SCHEMA public FROM upstream_pipeline;
