-- A webhook batch with its upload, or what its Idempotency-Key was used for. One statement, so one round trip and one transaction,
-- where seven statements were as many round trips. With the rights of who calls it: upstream_api sees and writes the customer's
-- rows only, and the customer is the one that is named here.
--
-- The key is held by an advisory lock until the commit, and the second of two requests at once is refused instead of made to wait:
-- a retry storm must not hold every database connection. Each statement sees what was committed before it, so that who gets
-- the lock sees the batch of who had it.
CREATE FUNCTION accept_batch(
    for_customer bigint, new_upload uuid, key_sha256 text, new_body bytea, new_sha256 bytea, claims bigint, with_request text,
    with_token uuid,
    OUT outcome text, OUT first_upload uuid, OUT first_request text
)
    LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
    first_sha256 bytea;
    first_at timestamptz;
BEGIN
    PERFORM set_config('app.customer_id', for_customer::text, true), set_config('app.person_id', '', true);
    IF key_sha256 IS NOT NULL THEN
        IF NOT pg_try_advisory_xact_lock(hashtextextended(key_sha256, for_customer)) THEN
            outcome := 'in_flight';
            RETURN;
        END IF;
        SELECT i.upload_id, u.request_id, i.body_sha256, i.received_at
          INTO first_upload, first_request, first_sha256, first_at
          FROM webhook_inbox AS i
          JOIN uploads AS u ON u.customer_id = i.customer_id AND u.upload_id = i.upload_id
         WHERE i.customer_id = for_customer AND i.idempotency_key = key_sha256;
        IF first_at >= now() - interval '7 days' THEN
            outcome := CASE WHEN first_sha256 = new_sha256 THEN 'replayed' ELSE 'other_body' END;
            RETURN;
        ELSIF first_at IS NOT NULL THEN
            -- The key may be used again; the batch stays.
            UPDATE webhook_inbox AS i SET idempotency_key = NULL
             WHERE i.customer_id = for_customer AND i.idempotency_key = key_sha256;
        END IF;
    END IF;
    WITH added AS (
        INSERT INTO uploads (customer_id, upload_id, source, sha256, byte_count, detected, request_id, token_id)
        SELECT c.customer_id, new_upload, 'webhook', new_sha256, length(new_body), jsonb_build_object('claims', claims),
               with_request, with_token
          FROM customers AS c WHERE c.customer_id = for_customer AND 'webhook_ingest' <> ALL (c.products_off)
        RETURNING customer_id, upload_id
    )
    INSERT INTO webhook_inbox (customer_id, upload_id, idempotency_key, body, body_sha256)
    SELECT added.customer_id, added.upload_id, key_sha256, new_body, new_sha256 FROM added;
    outcome := CASE WHEN FOUND THEN 'stored' ELSE 'switched_off' END;
END
$$;
REVOKE ALL ON FUNCTION accept_batch(bigint, uuid, text, bytea, bytea, bigint, text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accept_batch(bigint, uuid, text, bytea, bytea, bigint, text, uuid) TO upstream_api;
