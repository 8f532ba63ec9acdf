-- name: lease_next
-- Take the longest due delivery for a lease, and open its attempt. Rows of other workers are skipped. A leased
-- row's due_at is the end of its lease, so a dead worker's row comes due again by itself; its attempt is then
-- marked abandoned. What it carries comes with it, the oldest alert first. A channel with a delivery in flight is left alone, so that a hostile receiver holds one
-- thread and Slack's one message a second can be kept (exact within a process, which leases one at a time; two
-- processes at the same instant may both pass; the extra minute is for another machine's clock). Served by the partial index deliveries_due.
WITH taken AS (
    SELECT d.customer_id, d.delivery_id, d.attempt
      FROM deliveries AS d
      JOIN alert_channels AS c ON c.customer_id = d.customer_id AND c.channel_id = d.channel_id
     WHERE d.state IN ('pending', 'retrying', 'sending') AND d.due_at <= %(now)s
       AND c.enabled
       AND (%(customer_id)s::bigint IS NULL OR d.customer_id = %(customer_id)s)
       AND NOT EXISTS (SELECT FROM deliveries AS s
                        WHERE s.state = 'sending' AND s.due_at > %(now)s AND s.due_at <= %(until)s + interval '1 minute'
                          AND s.customer_id = d.customer_id AND s.channel_id = d.channel_id)
     ORDER BY d.due_at LIMIT 1 FOR UPDATE OF d SKIP LOCKED
), abandoned AS (
    UPDATE delivery_attempts AS t SET outcome = 'abandoned', finished_at = %(now)s,
           detail = 'the worker ended during this attempt; whether it was received is not known'
      FROM taken
     WHERE t.customer_id = taken.customer_id AND t.delivery_id = taken.delivery_id AND t.attempt = taken.attempt
       AND t.outcome IS NULL
), leased AS (
    UPDATE deliveries AS d SET state = 'sending', attempt = d.attempt + 1, due_at = %(until)s, leased_until = %(until)s,
           first_tried_at = coalesce(d.first_tried_at, %(now)s)
      FROM taken WHERE d.customer_id = taken.customer_id AND d.delivery_id = taken.delivery_id
    RETURNING d.customer_id, d.delivery_id, d.rule_id, d.channel_id, d.attempt, d.progress
), opened AS (
    INSERT INTO delivery_attempts (customer_id, delivery_id, attempt, started_at)
    SELECT customer_id, delivery_id, attempt, %(now)s FROM leased
)
SELECT leased.*, c.kind, c.name, c.configuration, c.secret, carried.contents, carried.created
  FROM leased
  JOIN alert_channels AS c ON c.customer_id = leased.customer_id AND c.channel_id = leased.channel_id
 CROSS JOIN LATERAL (
       SELECT array_agg(a.content ORDER BY a.created_at, a.alert_id) AS contents,
              array_agg(a.created_at ORDER BY a.created_at, a.alert_id) AS created
         FROM delivery_alerts AS l
         JOIN alerts AS a ON a.customer_id = l.customer_id AND a.alert_id = l.alert_id
        WHERE l.customer_id = leased.customer_id AND l.delivery_id = leased.delivery_id) AS carried

-- name: doomed_deliveries
-- Due deliveries that are not to be sent: their channel is disabled, or their worker died during the last allowed
-- attempt. Served by the partial index deliveries_due.
SELECT d.customer_id, array_agg(d.delivery_id)
  FROM deliveries AS d
  JOIN alert_channels AS c ON c.customer_id = d.customer_id AND c.channel_id = d.channel_id
 WHERE d.state IN ('pending', 'retrying', 'sending') AND d.due_at <= %(now)s
   AND (%(customer_id)s::bigint IS NULL OR d.customer_id = %(customer_id)s)
   AND (NOT c.enabled OR (d.state = 'sending'
        AND d.attempt - coalesce((d.progress ->> 'tries_from')::integer, 0) >= %(attempts)s))
 GROUP BY d.customer_id ORDER BY d.customer_id

-- name: bury_doomed
-- Those of doomed_deliveries that still are become dead with the reason; open attempts are marked abandoned. By
-- primary key.
WITH buried AS (
    UPDATE deliveries AS d
       SET state = 'dead', finished_at = %(now)s, leased_until = NULL,
           progress = d.progress || jsonb_build_object('reason', CASE
               WHEN c.enabled THEN 'the worker ended during each of the last attempts'
               ELSE 'channel disabled: ' || coalesce(c.disabled_reason, 'switched off') END)
      FROM alert_channels AS c
     WHERE c.customer_id = d.customer_id AND c.channel_id = d.channel_id
       AND d.customer_id = %(customer_id)s AND d.delivery_id = ANY (%(delivery_ids)s::uuid[])
       AND d.state IN ('pending', 'retrying', 'sending') AND d.due_at <= %(now)s
       AND (NOT c.enabled OR (d.state = 'sending'
            AND d.attempt - coalesce((d.progress ->> 'tries_from')::integer, 0) >= %(attempts)s))
    RETURNING d.customer_id, d.delivery_id, d.attempt
), abandoned AS (
    UPDATE delivery_attempts AS t SET outcome = 'abandoned', finished_at = %(now)s,
           detail = 'the worker ended during this attempt; whether it was received is not known'
      FROM buried
     WHERE t.customer_id = buried.customer_id AND t.delivery_id = buried.delivery_id
       AND t.attempt = buried.attempt AND t.outcome IS NULL
)
SELECT count(*) FROM buried

-- name: record_outcome
-- End an attempt, if the lease is still ours: the attempt number is the fence. By primary key.
UPDATE deliveries
   SET state = %(state)s, due_at = coalesce(%(due_at)s, due_at), leased_until = NULL,
       finished_at = %(finished_at)s, progress = progress || %(progress)s::jsonb
 WHERE customer_id = %(customer_id)s AND delivery_id = %(delivery_id)s
   AND attempt = %(attempt)s AND state = 'sending'

-- name: finish_attempt
-- What came of an attempt, when and how fast. An attempt that was called abandoned keeps that and gains the
-- detail. By primary key.
UPDATE delivery_attempts
   SET outcome = coalesce(outcome, %(outcome)s), finished_at = coalesce(finished_at, %(now)s),
       status_code = %(status_code)s, latency_ms = %(latency_ms)s, answer = %(answer)s,
       detail = CASE WHEN outcome = 'abandoned' THEN 'ended after its lease: ' || %(detail)s ELSE %(detail)s END
 WHERE customer_id = %(customer_id)s AND delivery_id = %(delivery_id)s AND attempt = %(attempt)s

-- name: receiver_well
-- A success ends a channel's time of failing. By primary key; touches nothing when there was none.
UPDATE alert_channels SET failing_since = NULL
 WHERE customer_id = %(customer_id)s AND channel_id = %(channel_id)s AND failing_since IS NOT NULL

-- name: receiver_failing
-- A failure begins it, or tells since when it lasts. By primary key.
UPDATE alert_channels SET failing_since = coalesce(failing_since, %(now)s)
 WHERE customer_id = %(customer_id)s AND channel_id = %(channel_id)s
RETURNING failing_since

-- name: disable_channel
-- Nothing more is sent there; no row when another worker was first. By primary key.
UPDATE alert_channels SET enabled = false, disabled_reason = %(reason)s
 WHERE customer_id = %(customer_id)s AND channel_id = %(channel_id)s AND enabled

-- name: lock_secret
-- A channel before its secret is replaced, and until when an earlier one still signs. By the unique key (customer_id, name).
SELECT kind, CASE WHEN previous_secret_until > %(now)s THEN previous_secret_until END
  FROM alert_channels WHERE customer_id = %(customer_id)s AND name = %(name)s FOR NO KEY UPDATE

-- name: rotate_secret
-- The new secret, with the old one beside it for a while. By the unique key (customer_id, name).
UPDATE alert_channels
   SET secret = %(secret)s,
       previous_secret = CASE WHEN %(keep)s THEN secret END,
       previous_secret_until = CASE WHEN %(keep)s AND secret IS NOT NULL THEN %(until)s::timestamptz END
 WHERE customer_id = %(customer_id)s AND name = %(name)s
