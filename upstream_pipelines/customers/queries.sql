-- Statements over customers and their tokens. Small tables: their primary and unique keys serve all of them.

-- name: insert_customer
-- Sign up a customer.
INSERT INTO customers (slug, name, configuration) VALUES (%(slug)s, %(name)s, '{}')
ON CONFLICT (slug) DO NOTHING
RETURNING customer_id, slug, name, status, configuration, created_at;

-- name: select_customer
-- One customer by slug (unique key).
SELECT customer_id, slug, name, status, configuration, created_at FROM customers WHERE slug = %(slug)s;

-- name: select_customers
-- All customers, for listing and for the sweep.
SELECT customer_id, slug, name, status, configuration, created_at FROM customers ORDER BY slug;

-- name: select_active
-- Active customers without their configuration: one that cannot be read must not stop the others.
SELECT customer_id, slug FROM customers WHERE status = 'active' ORDER BY slug;

-- name: set_status
-- Disable or enable; a disabled customer's tokens stop working at once (see authenticate_ingestion_token).
UPDATE customers
   SET status = %(status)s, disabled_at = CASE WHEN %(status)s = 'disabled' THEN now() END
 WHERE slug = %(slug)s
RETURNING customer_id, slug, name, status, configuration, created_at;

-- name: set_configuration
-- Replace a customer's configuration.
UPDATE customers SET configuration = %(configuration)s WHERE customer_id = %(customer_id)s;

-- name: issue_token
-- A new ingestion token; only its digest. Served by the key of ingestion_tokens.
INSERT INTO ingestion_tokens (customer_id, token_sha256, prefix, label, expires_at)
VALUES (%(customer_id)s, %(token_sha256)s, %(prefix)s, %(label)s, %(expires_at)s);

-- name: revoke_token
-- Keeps the first time of revoking. Served by the primary key of ingestion_tokens.
UPDATE ingestion_tokens
   SET revoked_at = coalesce(revoked_at, now())
 WHERE customer_id = %(customer_id)s AND token_id = %(token_id)s
RETURNING token_id;

-- name: list_tokens
-- What may be shown of a customer's tokens. Served by the primary key of ingestion_tokens.
SELECT token_id, prefix, label, created_at, expires_at, revoked_at, last_used_at
  FROM ingestion_tokens
 WHERE customer_id = %(customer_id)s
 ORDER BY created_at DESC, token_id;

-- name: authenticate_token
-- The only look-up before a customer is known. Served by the unique index on token_sha256.
SELECT customer_id, token_id, slug FROM authenticate_ingestion_token(%(token_sha256)s);

-- name: count_active
-- Active customers, to size the daily sweep.
SELECT count(*) FROM customers WHERE status = 'active';

-- name: select_bucket
-- The active customers of one bucket of a sweep, without their configuration (as above).
SELECT customer_id, slug FROM customers
 WHERE status = 'active' AND mod(hashtextextended(slug, 0) & 9223372036854775807, %(buckets)s) = %(bucket)s
 ORDER BY customer_id;
