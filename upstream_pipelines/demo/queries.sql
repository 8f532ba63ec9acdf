-- What the demonstration asks of the database beyond the domains' own statements.

-- name: forget_customer
-- Take an earlier demonstration's customer away, children before parents (each by its customer_id key).
WITH gone AS (SELECT customer_id FROM customers WHERE slug = %(slug)s AND slug LIKE 'demo-%%'),
attempts AS (DELETE FROM delivery_attempts WHERE customer_id IN (SELECT customer_id FROM gone)),
places AS (DELETE FROM delivery_alerts WHERE customer_id IN (SELECT customer_id FROM gone)),
judgements AS (DELETE FROM alert_feedback WHERE customer_id IN (SELECT customer_id FROM gone)),
silences AS (DELETE FROM alert_silences WHERE customer_id IN (SELECT customer_id FROM gone)),
deliveries_gone AS (DELETE FROM deliveries WHERE customer_id IN (SELECT customer_id FROM gone)),
alerts_gone AS (DELETE FROM alerts WHERE customer_id IN (SELECT customer_id FROM gone)),
rules AS (DELETE FROM alert_rules WHERE customer_id IN (SELECT customer_id FROM gone)),
channels AS (DELETE FROM alert_channels WHERE customer_id IN (SELECT customer_id FROM gone)),
results AS (DELETE FROM drift_results WHERE customer_id IN (SELECT customer_id FROM gone)),
looks AS (DELETE FROM drift_looks WHERE customer_id IN (SELECT customer_id FROM gone)),
events AS (DELETE FROM drift_events WHERE customer_id IN (SELECT customer_id FROM gone)),
activity AS (DELETE FROM payer_activity WHERE customer_id IN (SELECT customer_id FROM gone)),
codes AS (DELETE FROM payer_codes WHERE customer_id IN (SELECT customer_id FROM gone)),
prices AS (DELETE FROM payer_prices WHERE customer_id IN (SELECT customer_id FROM gone)),
days AS (DELETE FROM touched_days WHERE customer_id IN (SELECT customer_id FROM gone)),
findings AS (DELETE FROM quality_findings WHERE customer_id IN (SELECT customer_id FROM gone)),
reports AS (DELETE FROM quality_reports WHERE customer_id IN (SELECT customer_id FROM gone)),
history AS (DELETE FROM claim_history WHERE customer_id IN (SELECT customer_id FROM gone)),
lines AS (DELETE FROM claims WHERE customer_id IN (SELECT customer_id FROM gone)),
rejected AS (DELETE FROM rejected_rows WHERE customer_id IN (SELECT customer_id FROM gone)),
received AS (DELETE FROM received_lines WHERE customer_id IN (SELECT customer_id FROM gone)),
inbox AS (DELETE FROM webhook_inbox WHERE customer_id IN (SELECT customer_id FROM gone)),
missed AS (DELETE FROM missed_uploads WHERE customer_id IN (SELECT customer_id FROM gone)),
uploads_gone AS (DELETE FROM uploads WHERE customer_id IN (SELECT customer_id FROM gone)),
tokens AS (DELETE FROM ingestion_tokens WHERE customer_id IN (SELECT customer_id FROM gone))
DELETE FROM customers WHERE customer_id IN (SELECT customer_id FROM gone);

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
