-- What the demonstration asks of the database beyond the domains' own statements.

-- name: find_earlier
-- An earlier demonstration's customer (unique key).
SELECT customer_id FROM customers WHERE slug = %(slug)s AND slug LIKE 'demo-%%';

-- name: forget_customer
-- Take it away, once it is empty (primary key).
DELETE FROM customers WHERE customer_id = %(customer_id)s;

-- name: select_upload_progress
-- How far the demonstration's uploads are.
SELECT c.slug, u.source, u.file_name, u.status, u.rows, u.accepted, u.rejected, u.duplicates, u.updated,
       u.error_message
  FROM uploads AS u JOIN customers AS c ON c.customer_id = u.customer_id
 WHERE c.slug LIKE 'demo-%%' ORDER BY c.slug, u.received_at, u.file_name;

-- name: select_opened_events
-- Which events the looks opened, with the day.
SELECT c.slug, r.as_of, r.payer, r.signal, r.direction, r.baseline, r.current, r.effect, r.n_current, r.maturity
  FROM drift_results AS r JOIN customers AS c ON c.customer_id = r.customer_id
 WHERE c.slug LIKE 'demo-%%' AND r.state = 'open' ORDER BY c.slug, r.as_of, r.payer;

-- name: select_delivery_states
-- Deliveries of the demonstration by customer, channel and state.
SELECT c.slug, h.kind, d.state, count(*)
  FROM deliveries AS d
  JOIN customers AS c ON c.customer_id = d.customer_id
  JOIN alert_channels AS h ON h.customer_id = d.customer_id AND h.channel_id = d.channel_id
 WHERE c.slug LIKE 'demo-%%' GROUP BY c.slug, h.kind, d.state ORDER BY c.slug, h.kind, d.state;
