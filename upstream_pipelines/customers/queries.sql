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

-- name: select_active_slugs
-- Slugs of active customers, for Dagster's partitions.
SELECT slug FROM customers WHERE status = 'active' ORDER BY slug;

-- name: set_status
-- Disable or enable; a disabled customer's tokens stop working at once (see authenticate_ingestion_token).
UPDATE customers
   SET status = %(status)s, disabled_at = CASE WHEN %(status)s = 'disabled' THEN now() END
 WHERE slug = %(slug)s
RETURNING customer_id, slug, name, status, configuration, created_at;

-- name: set_configuration
-- Replace a customer's configuration.
UPDATE customers SET configuration = %(configuration)s WHERE customer_id = %(customer_id)s;
