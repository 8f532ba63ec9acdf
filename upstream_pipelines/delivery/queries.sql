-- name: find_waiting
-- Channels with due deliveries and room for more in flight, the longest due first. Of each channel only its first row is
-- read, from one to the next by the partial index deliveries_waiting, so that 100,000 rows of one cost what one row
-- does. One that may be sent to again within 2 s is told too. A lease further off than any of ours is another
-- machine's clock and does not count.
WITH RECURSIVE head AS (
    (SELECT customer_id, channel_id, due_at FROM deliveries
      WHERE state IN ('pending', 'retrying', 'sending') AND customer_id BETWEEN %(first)s AND %(last)s
      ORDER BY customer_id, channel_id, due_at LIMIT 1)
    UNION ALL
    SELECT n.* FROM head AS h CROSS JOIN LATERAL (
        SELECT d.customer_id, d.channel_id, d.due_at FROM deliveries AS d
         WHERE d.state IN ('pending', 'retrying', 'sending') AND d.customer_id <= %(last)s
           AND (d.customer_id, d.channel_id) > (h.customer_id, h.channel_id)
         ORDER BY d.customer_id, d.channel_id, d.due_at LIMIT 1) AS n
)
SELECT h.customer_id, h.channel_id, c.in_flight_limit, c.not_before
  FROM head AS h
  JOIN alert_channels AS c ON c.customer_id = h.customer_id AND c.channel_id = h.channel_id
 WHERE h.due_at <= %(now)s AND c.enabled
   AND (c.not_before IS NULL OR c.not_before <= %(now)s + interval '2 seconds')
   AND c.in_flight_limit > (
       SELECT count(*) FROM deliveries AS s
        WHERE s.customer_id = h.customer_id AND s.channel_id = h.channel_id AND s.state = 'sending'
          AND s.due_at > %(now)s AND s.due_at <= %(until)s + interval '1 minute')
 ORDER BY h.due_at

-- name: lock_channels
-- Before rows of these channels are leased: one process at a time counts what is in flight there, and no other's
-- statement began before our leases are seen. Who is second goes on to other channels. By primary key.
SELECT w.customer_id, w.channel_id, w.number, c.in_flight_limit
  FROM unnest(%(customer_ids)s::bigint[], %(channel_ids)s::uuid[], %(numbers)s::integer[])
       AS w (customer_id, channel_id, number)
  JOIN alert_channels AS c ON c.customer_id = w.customer_id AND c.channel_id = w.channel_id
 WHERE c.enabled AND (c.not_before IS NULL OR c.not_before <= %(now)s)
   FOR NO KEY UPDATE OF c SKIP LOCKED

-- name: requests_of_uploads
-- The requests that brought some uploads, as far as one did (primary key).
SELECT u.upload_id::text, u.request_id
  FROM unnest(%(customer_ids)s::bigint[], %(upload_ids)s::uuid[]) AS w (customer_id, upload_id)
  JOIN uploads AS u ON u.customer_id = w.customer_id AND u.upload_id = w.upload_id
 WHERE u.request_id IS NOT NULL;

-- name: lease_due
-- Take so many due deliveries of each locked channel for a lease, the longest due first, as far as the channel's limit
-- in flight allows, and open their attempts. What they carry comes with them, the oldest alert first, without the chart
-- where it is not sent. A leased row's due_at is the end of its lease, so a dead worker's row comes due again by itself;
-- its attempt is then marked abandoned. Served by the partial indexes deliveries_waiting and deliveries_leased.
WITH taken AS (
    SELECT d.*
      FROM unnest(%(customer_ids)s::bigint[], %(channel_ids)s::uuid[], %(numbers)s::integer[], %(limits)s::integer[])
           AS w (customer_id, channel_id, number, in_flight_limit)
     CROSS JOIN LATERAL (
        SELECT d.customer_id, d.delivery_id, d.attempt FROM deliveries AS d
         WHERE d.customer_id = w.customer_id AND d.channel_id = w.channel_id
           AND d.state IN ('pending', 'retrying', 'sending') AND d.due_at <= %(now)s
           AND d.delivery_id <> ALL (%(under_way)s::uuid[])
         ORDER BY d.due_at
         LIMIT greatest(0, least(w.number, w.in_flight_limit - (
               SELECT count(*) FROM deliveries AS s
                WHERE s.customer_id = w.customer_id AND s.channel_id = w.channel_id AND s.state = 'sending'
                  AND s.due_at > %(now)s AND s.due_at <= %(until)s + interval '1 minute')))
           FOR UPDATE SKIP LOCKED) AS d
    -- Takes nothing away. Without it the planner expects a thousand rows of each channel, and reads all that wait, once a
    -- batch: 52 ms instead of 3 beside 100,000.
     LIMIT %(most)s
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
SELECT leased.*, c.kind, c.name, c.configuration, c.secret,
       CASE WHEN c.previous_secret_until > %(now)s THEN c.previous_secret END AS previous_secret,
       carried.contents, carried.created, carried.is_test
  FROM leased
  JOIN alert_channels AS c ON c.customer_id = leased.customer_id AND c.channel_id = leased.channel_id
 CROSS JOIN LATERAL (
       SELECT array_agg(CASE WHEN c.kind = 'webhook' THEN a.content - 'chart_png' ELSE a.content END
                        ORDER BY a.created_at, a.alert_id) AS contents,
              array_agg(a.created_at ORDER BY a.created_at, a.alert_id) AS created,
              bool_or(a.kind = 'test') AS is_test
         FROM delivery_alerts AS l
         JOIN alerts AS a ON a.customer_id = l.customer_id AND a.alert_id = l.alert_id
        WHERE l.customer_id = leased.customer_id AND l.delivery_id = leased.delivery_id) AS carried

-- name: doomed_deliveries
-- Due deliveries that are not to be sent: their channel is disabled, or their worker died during the last allowed
-- attempt. By channel, at most 10,000 of each at a time; served by the partial indexes deliveries_waiting and deliveries_leased.
SELECT doomed.customer_id, array_agg(doomed.delivery_id)
  FROM (SELECT d.customer_id, d.delivery_id
          FROM alert_channels AS c
         CROSS JOIN LATERAL (
            SELECT d.customer_id, d.delivery_id FROM deliveries AS d
             WHERE d.customer_id = c.customer_id AND d.channel_id = c.channel_id
               AND d.state IN ('pending', 'retrying', 'sending') AND d.due_at <= %(now)s
             ORDER BY d.due_at LIMIT 10000) AS d
         WHERE NOT c.enabled AND c.customer_id BETWEEN %(first)s AND %(last)s
         UNION
        SELECT d.customer_id, d.delivery_id FROM deliveries AS d
         WHERE d.state = 'sending' AND d.due_at <= %(now)s AND d.customer_id BETWEEN %(first)s AND %(last)s
           AND d.attempt - coalesce((d.progress ->> 'tries_from')::integer, 0) >= %(attempts)s) AS doomed
 GROUP BY doomed.customer_id ORDER BY doomed.customer_id

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

-- name: record_outcomes
-- End attempts, each if its lease is still ours: the attempt number is the fence. What came of an attempt is kept either
-- way; one that was called abandoned keeps that and gains the detail. Returns those whose lease was ours. By primary
-- keys.
WITH ended AS (
    SELECT * FROM jsonb_to_recordset(%(ended)s) AS e (
        customer_id bigint, delivery_id uuid, attempt integer, state text, due_at timestamptz, finished_at timestamptz,
        progress jsonb, outcome text, status_code integer, latency_ms integer, answer text, detail text)
), kept AS (
    UPDATE delivery_attempts AS t
       SET outcome = coalesce(t.outcome, e.outcome), finished_at = coalesce(t.finished_at, %(now)s),
           status_code = e.status_code, latency_ms = e.latency_ms, answer = e.answer,
           detail = CASE WHEN t.outcome = 'abandoned' THEN 'ended after its lease: ' || e.detail ELSE e.detail END
      FROM ended AS e
     WHERE t.customer_id = e.customer_id AND t.delivery_id = e.delivery_id AND t.attempt = e.attempt
)
UPDATE deliveries AS d
   SET state = e.state, due_at = coalesce(e.due_at, d.due_at), leased_until = NULL, finished_at = e.finished_at,
       progress = d.progress || e.progress
  FROM ended AS e
 WHERE d.customer_id = e.customer_id AND d.delivery_id = e.delivery_id AND d.attempt = e.attempt
   AND d.state = 'sending'
RETURNING d.delivery_id

-- name: judge_channels
-- What attempts say of their channels: since when a receiver fails, ended by a success; how many may be in flight, more
-- with each quick success of a webhook and one after anything else; a pause that it asked for. How it was
-- while nothing was tried nobody knows: after a week without a failure the count of failing begins anew. Touches nothing where
-- nothing changes, and locks the others in one order, so that no two workers wait for each other. By primary key.
WITH judged AS (
    SELECT * FROM jsonb_to_recordset(%(judged)s) AS j (customer_id bigint, channel_id uuid, any_sent boolean,
        failing boolean, quick integer, pause_until timestamptz)
), changing AS MATERIALIZED (
    SELECT c.customer_id, c.channel_id
      FROM judged AS j
      JOIN alert_channels AS c ON c.customer_id = j.customer_id AND c.channel_id = j.channel_id
     WHERE j.failing OR c.failing_since IS NOT NULL OR j.pause_until IS NOT NULL
        OR c.in_flight_limit <> CASE WHEN j.quick > 0 AND c.kind = 'webhook' THEN %(most)s ELSE 1 END
     ORDER BY c.customer_id, c.channel_id FOR NO KEY UPDATE OF c
)
UPDATE alert_channels AS c
   SET failing_since = CASE WHEN j.failing AND (j.any_sent OR c.failed_at < %(now)s - interval '7 days') THEN %(now)s
                            WHEN j.failing THEN coalesce(c.failing_since, %(now)s)
                            WHEN j.any_sent THEN NULL ELSE c.failing_since END,
       failed_at = CASE WHEN j.failing THEN %(now)s ELSE c.failed_at END,
       in_flight_limit = CASE WHEN j.quick > 0 AND c.kind = 'webhook' THEN least(%(most)s, c.in_flight_limit + j.quick)
                              ELSE 1 END,
       not_before = greatest(c.not_before, j.pause_until)
  FROM judged AS j JOIN changing AS o ON o.customer_id = j.customer_id AND o.channel_id = j.channel_id
 WHERE c.customer_id = j.customer_id AND c.channel_id = j.channel_id
RETURNING c.channel_id, c.in_flight_limit, c.failing_since

-- name: disable_channel
-- Nothing more is sent there; no row when another worker was first. By primary key.
UPDATE alert_channels SET enabled = false, disabled_reason = %(reason)s, disabled_at = %(now)s
 WHERE customer_id = %(customer_id)s AND channel_id = %(channel_id)s AND enabled

-- name: channel_to_test
-- A channel by its name (unique key), with its customer's slug.
SELECT c.channel_id, c.kind, c.enabled, c.disabled_reason, k.slug
  FROM alert_channels AS c JOIN customers AS k ON k.customer_id = c.customer_id
 WHERE c.customer_id = %(customer_id)s AND c.name = %(name)s

-- name: write_test
-- A test: an alert without a rule, in a message of its own that is due at once. False where the channel is off by now.
SELECT write_channel_test(%(channel_id)s, %(alert_id)s, %(delivery_id)s)

-- name: test_attempt
-- What came of a test's last attempt, whoever made it; no row before the first. By primary keys.
SELECT d.state, coalesce(t.detail, ''), t.status_code, t.latency_ms, t.answer
  FROM deliveries AS d
  JOIN delivery_attempts AS t ON t.customer_id = d.customer_id AND t.delivery_id = d.delivery_id
 WHERE d.customer_id = %(customer_id)s AND d.delivery_id = %(delivery_id)s
 ORDER BY t.attempt DESC LIMIT 1

-- name: end_test
-- A test that nobody took in time is not sent later; one that is under way is left to its worker. By primary key.
UPDATE deliveries
   SET state = 'dead', finished_at = %(now)s, progress = progress || jsonb_build_object('reason', %(reason)s::text)
 WHERE customer_id = %(customer_id)s AND delivery_id = %(delivery_id)s AND state = 'pending'

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

-- name: rotate_own_secret
-- The same for the customer of the transaction, by a role that reads no secret. True where there is such a webhook.
SELECT rotate_channel_secret(%(name)s, %(secret)s, CASE WHEN %(keep)s THEN %(until)s::timestamptz END)

-- name: forget_secrets
-- Secrets whose overlap is over are not kept any longer. Small table, read whole.
UPDATE alert_channels SET previous_secret = NULL, previous_secret_until = NULL WHERE previous_secret_until <= %(now)s
