-- name: customer_name
-- The name that alerts carry; by primary key.
SELECT slug, name FROM customers WHERE customer_id = %(customer_id)s

-- name: lock_customer
-- One change of channels at a time, so that a secret that was shown is the one that is kept. By primary key.
SELECT 1 FROM customers WHERE customer_id = %(customer_id)s FOR NO KEY UPDATE

-- name: channels_of
-- A customer's channels as they are; by the unique key (customer_id, name). Secrets stay in the database.
SELECT name, kind, secret IS NOT NULL AS has_secret FROM alert_channels WHERE customer_id = %(customer_id)s

-- name: upsert_channels
-- The listed channels, all at once. A webhook's secret that is replaced signs beside the new one for 24 hours. A channel that was switched off for being unlisted, or whose
-- destination changed, is on again; one that its receiver refused (410, 120 h) stays off.
INSERT INTO alert_channels AS c (customer_id, name, kind, configuration, secret)
SELECT %(customer_id)s, n.name, n.kind, n.configuration, n.secret
  FROM unnest(%(names)s::text[], %(kinds)s::text[], %(configurations)s::jsonb[], %(secrets)s::text[])
       AS n (name, kind, configuration, secret)
    ON CONFLICT (customer_id, name) DO UPDATE
   SET kind = excluded.kind,
       configuration = excluded.configuration,
       secret = CASE WHEN excluded.kind = 'email' THEN NULL
                     WHEN excluded.kind = c.kind THEN coalesce(excluded.secret, c.secret)
                     ELSE excluded.secret END,
       previous_secret = CASE WHEN c.kind <> 'webhook' OR excluded.kind <> 'webhook' THEN NULL
                              WHEN excluded.secret <> c.secret THEN c.secret ELSE c.previous_secret END,
       previous_secret_until = CASE WHEN c.kind <> 'webhook' OR excluded.kind <> 'webhook' THEN NULL
                                    WHEN excluded.secret <> c.secret THEN now() + interval '24 hours'
                                    ELSE c.previous_secret_until END,
       enabled = c.enabled OR c.disabled_reason = %(unlisted)s OR c.kind <> excluded.kind
                 OR c.configuration <> excluded.configuration
                 OR (c.kind = 'slack' AND c.secret IS DISTINCT FROM excluded.secret),
       disabled_reason = CASE WHEN c.enabled OR c.disabled_reason = %(unlisted)s OR c.kind <> excluded.kind
                 OR c.configuration <> excluded.configuration
                 OR (c.kind = 'slack' AND c.secret IS DISTINCT FROM excluded.secret)
                 THEN NULL ELSE c.disabled_reason END,
       failing_since = CASE WHEN c.kind = excluded.kind AND c.configuration = excluded.configuration
                 AND NOT (c.kind = 'slack' AND c.secret IS DISTINCT FROM excluded.secret)
                 AND c.disabled_reason IS DISTINCT FROM %(unlisted)s THEN c.failing_since END

-- name: disable_unlisted_channels
-- Channels the file no longer names: kept, because their deliveries refer to them.
UPDATE alert_channels SET enabled = false, disabled_reason = %(unlisted)s
 WHERE customer_id = %(customer_id)s AND enabled AND name <> ALL (%(names)s::text[])

-- name: enable_channel
-- Switch a channel on again by hand, after its receiver was put right; by the unique key.
UPDATE alert_channels SET enabled = true, disabled_reason = NULL, failing_since = NULL
 WHERE customer_id = %(customer_id)s AND name = %(name)s

-- name: upsert_rules
-- The listed rules, all at once; one jsonb object each, lists as JSON arrays or null.
INSERT INTO alert_rules (customer_id, name, kinds, signals, payers, cpt_groups, directions,
                         minimum_severity, minimum_effect, channels, enabled)
SELECT %(customer_id)s, r.name, r.kinds, r.signals, r.payers, r.cpt_groups, r.directions,
       r.minimum_severity, r.minimum_effect, r.channels, r.enabled
  FROM jsonb_to_recordset(%(rules)s) AS r (name text, kinds text[], signals text[], payers text[],
       cpt_groups text[], directions text[], minimum_severity double precision,
       minimum_effect double precision, channels text[], enabled boolean)
    ON CONFLICT (customer_id, name) DO UPDATE
   SET kinds = excluded.kinds, signals = excluded.signals, payers = excluded.payers,
       cpt_groups = excluded.cpt_groups, directions = excluded.directions,
       minimum_severity = excluded.minimum_severity, minimum_effect = excluded.minimum_effect,
       channels = excluded.channels, enabled = excluded.enabled

-- name: disable_unlisted_rules
-- Rules the file no longer names: kept, because their alerts refer to them.
UPDATE alert_rules SET enabled = false
 WHERE customer_id = %(customer_id)s AND enabled AND name <> ALL (%(names)s::text[])

-- name: rules_of
-- Rules to match events against; by the key's first column. A customer has a handful.
SELECT rule_id, name, kinds, signals, payers, cpt_groups, directions, minimum_severity, minimum_effect,
       channels, enabled
  FROM alert_rules WHERE customer_id = %(customer_id)s AND enabled

-- name: write_alerts
-- Alerts of matched (rule, event) pairs with their deliveries, in one statement and the caller's
-- transaction. An open notice goes to the rule's enabled channels; a resolved one to the channels that
-- were told of the opening and are still enabled. Without a channel nothing is written; the unique
-- keys make the same notice twice add nothing. All of one rule and channel go as one message.
WITH entry AS (
    SELECT * FROM unnest(%(rule_ids)s::uuid[], %(kinds)s::text[], %(notices)s::text[], %(fingerprints)s::text[],
                         %(subject_ids)s::uuid[], %(severities)s::double precision[], %(ends)s::boolean[],
                         %(contents)s::jsonb[])
                  AS e (rule_id, kind, notice, fingerprint, subject_id, severity, ends, content)
), addressed AS (
    SELECT e.*, ARRAY(
               SELECT c.channel_id FROM alert_channels AS c
                WHERE c.customer_id = r.customer_id AND c.enabled
                  AND CASE WHEN e.notice = 'open' THEN r.channels IS NULL OR c.name = ANY (r.channels)
                           ELSE c.channel_id = ANY (told.channel_ids) END
                ORDER BY c.name) AS channel_ids
      FROM entry AS e
      JOIN alert_rules AS r ON r.customer_id = %(customer_id)s AND r.rule_id = e.rule_id
      LEFT JOIN alerts AS told ON told.customer_id = r.customer_id AND told.rule_id = r.rule_id
            AND told.subject_id = e.subject_id AND told.notice = 'open'
), written AS (
    INSERT INTO alerts (customer_id, rule_id, kind, notice, fingerprint, subject_id, severity, ends, content, channel_ids,
                        created_at, told_at)
    SELECT %(customer_id)s, rule_id, kind, notice, fingerprint, subject_id, severity, ends, content, channel_ids,
           %(now)s, %(now)s
      FROM addressed WHERE cardinality(channel_ids) > 0
        ON CONFLICT (customer_id, rule_id, subject_id, notice, step) DO NOTHING
    RETURNING customer_id, alert_id, rule_id, channel_ids
), message AS MATERIALIZED (
    SELECT w.customer_id, w.rule_id, c.channel_id, gen_random_uuid() AS delivery_id, array_agg(w.alert_id) AS alert_ids
      FROM written AS w, unnest(w.channel_ids) AS c (channel_id) GROUP BY w.customer_id, w.rule_id, c.channel_id
), queued AS (
    INSERT INTO deliveries (customer_id, delivery_id, rule_id, channel_id, due_at, created_at)
    SELECT customer_id, delivery_id, rule_id, channel_id, %(now)s, %(now)s FROM message
), linked AS (
    INSERT INTO delivery_alerts (customer_id, delivery_id, alert_id, channel_id)
    SELECT m.customer_id, m.delivery_id, a.alert_id, m.channel_id FROM message AS m, unnest(m.alert_ids) AS a (alert_id)
)
SELECT count(*) FROM written

-- name: rules_told_of_opening
-- Which rules have an open alert of these events: only they hear of the end; by the unique key.
SELECT DISTINCT a.rule_id, a.subject_id
  FROM alerts AS a
 WHERE a.customer_id = %(customer_id)s AND a.notice = 'open' AND a.subject_id = ANY (%(subject_ids)s::uuid[])

-- name: write_channel_trouble
-- A channel was disabled: an alert to all other enabled channels, under the rule whose delivery met
-- the trouble, in a message of its own and at once. In the transaction that disabled it.
WITH others AS (
    SELECT array_agg(channel_id ORDER BY name) AS channel_ids FROM alert_channels
     WHERE customer_id = %(customer_id)s AND enabled AND channel_id <> %(channel_id)s
), written AS (
    INSERT INTO alerts (customer_id, rule_id, kind, notice, fingerprint, subject_id, content, channel_ids, created_at, told_at)
    SELECT %(customer_id)s, %(rule_id)s, 'delivery_trouble', 'open',
           'delivery_trouble' || chr(31) || %(channel_id)s::text, %(subject_id)s, %(content)s, others.channel_ids,
           %(now)s, %(now)s
      FROM others WHERE others.channel_ids IS NOT NULL
        ON CONFLICT (customer_id, rule_id, subject_id, notice, step) DO NOTHING
    RETURNING customer_id, alert_id, rule_id, channel_ids
), message AS MATERIALIZED (
    SELECT w.*, c.channel_id, gen_random_uuid() AS delivery_id FROM written AS w, unnest(w.channel_ids) AS c (channel_id)
), queued AS (
    INSERT INTO deliveries (customer_id, delivery_id, rule_id, channel_id, due_at, created_at)
    SELECT customer_id, delivery_id, rule_id, channel_id, %(now)s, %(now)s FROM message
)
INSERT INTO delivery_alerts (customer_id, delivery_id, alert_id, channel_id)
SELECT customer_id, delivery_id, alert_id, channel_id FROM message

-- name: count_due
-- What a worker would take now; the partial index deliveries_due serves it. A leased row's due_at is the
-- end of its lease, so rows of a dead worker count again by themselves.
SELECT count(*) FROM deliveries WHERE state IN ('pending', 'retrying', 'sending') AND due_at <= %(now)s

-- name: list_alerts
-- The newest alerts with their deliveries and all attempts; by the key's first column. No chart, no secret.
SELECT jsonb_build_object(
           'alert_id', a.alert_id, 'rule', r.name, 'kind', a.kind, 'notice', a.notice, 'state', a.state,
           'reason', a.reason, 'held_by', a.held_by, 'held_until', a.held_until, 'severity', a.severity,
           'created_at', a.created_at, 'told_at', a.told_at, 'content', a.content - 'chart_png',
           'deliveries', coalesce((
               SELECT jsonb_agg(jsonb_build_object(
                          'delivery_id', d.delivery_id, 'channel', c.name, 'channel_kind', c.kind, 'state', d.state,
                          'attempt', d.attempt, 'due_at', d.due_at, 'finished_at', d.finished_at,
                          'progress', d.progress,
                          'attempts', coalesce((
                              SELECT jsonb_agg(jsonb_build_object(
                                         'attempt', t.attempt, 'started_at', t.started_at,
                                         'finished_at', t.finished_at, 'outcome', t.outcome,
                                         'status_code', t.status_code, 'latency_ms', t.latency_ms,
                                         'detail', t.detail, 'answer', t.answer) ORDER BY t.attempt)
                                FROM delivery_attempts AS t
                               WHERE t.customer_id = d.customer_id AND t.delivery_id = d.delivery_id), '[]'))
                      ORDER BY c.name)
                 FROM delivery_alerts AS l
                 JOIN deliveries AS d ON d.customer_id = l.customer_id AND d.delivery_id = l.delivery_id
                 JOIN alert_channels AS c ON c.customer_id = d.customer_id AND c.channel_id = d.channel_id
                WHERE l.customer_id = a.customer_id AND l.alert_id = a.alert_id), '[]'))
  FROM alerts AS a
  LEFT JOIN alert_rules AS r ON r.customer_id = a.customer_id AND r.rule_id = a.rule_id
 WHERE a.customer_id = %(customer_id)s
 ORDER BY a.created_at DESC, a.alert_id
 LIMIT %(limit)s

-- name: delivery_state
-- One delivery and whether its channel is on; by primary key.
SELECT d.state, c.enabled, c.name
  FROM deliveries AS d JOIN alert_channels AS c ON c.customer_id = d.customer_id AND c.channel_id = d.channel_id
 WHERE d.customer_id = %(customer_id)s AND d.delivery_id = %(delivery_id)s

-- name: resend_delivery
-- A dead delivery starts its retry schedule again. The attempt number goes on (it fences leases);
-- recipients that accepted stay done, refused ones are tried again. By primary key.
UPDATE deliveries
   SET state = 'retrying', due_at = %(now)s, finished_at = NULL,
       progress = progress - 'reason' - 'refused' || jsonb_build_object('tries_from', attempt)
 WHERE customer_id = %(customer_id)s AND delivery_id = %(delivery_id)s AND state = 'dead'

-- name: lock_alerts
-- Before a delivery's state changes: two deliveries of one alert that end at the same moment would each
-- see the other unfinished, and the alert would stay pending for ever. One order for all, so that no two wait for each
-- other. By primary keys.
SELECT a.alert_id
  FROM unnest(%(customer_ids)s::bigint[], %(delivery_ids)s::uuid[]) AS w (customer_id, delivery_id)
  JOIN delivery_alerts AS l ON l.customer_id = w.customer_id AND l.delivery_id = w.delivery_id
  JOIN alerts AS a ON a.customer_id = l.customer_id AND a.alert_id = l.alert_id
 ORDER BY a.customer_id, a.alert_id FOR UPDATE OF a

-- name: settle_alerts
-- The state of the alerts of these deliveries follows all their deliveries; by the keys of delivery_alerts, an alert at
-- a time: joined as a set, 60,000 waiting rows were read for every 8 that had ended.
WITH which AS MATERIALIZED (
    SELECT DISTINCT l.customer_id, l.alert_id
      FROM unnest(%(customer_ids)s::bigint[], %(delivery_ids)s::uuid[]) AS w (customer_id, delivery_id)
      JOIN delivery_alerts AS l ON l.customer_id = w.customer_id AND l.delivery_id = w.delivery_id
)
UPDATE alerts AS a SET state = s.state
  FROM which AS w CROSS JOIN LATERAL (
       SELECT CASE WHEN bool_or(d.state = 'dead') THEN 'failed' WHEN bool_and(d.state = 'sent') THEN 'sent'
                   ELSE 'pending' END AS state
         FROM delivery_alerts AS l
         JOIN deliveries AS d ON d.customer_id = l.customer_id AND d.delivery_id = l.delivery_id
        WHERE l.customer_id = w.customer_id AND l.alert_id = w.alert_id) AS s
 WHERE a.customer_id = w.customer_id AND a.alert_id = w.alert_id AND a.state <> s.state

-- name: conservation
-- Alerts that are not held back x channels = their places in deliveries, no delivery is empty, each attempt is kept,
-- each alert in the state its deliveries say. Every count but the first three is 0 when nothing was lost or invented.
-- By the keys' first column.
WITH expected AS (
    SELECT a.alert_id, c.channel_id FROM alerts AS a, unnest(a.channel_ids) AS c (channel_id)
     WHERE a.customer_id = %(customer_id)s AND a.state <> 'suppressed'
), kept AS (
    SELECT d.delivery_id, d.channel_id, d.rule_id, d.state, d.attempt,
           (SELECT count(*) FROM delivery_attempts AS t
             WHERE t.customer_id = d.customer_id AND t.delivery_id = d.delivery_id) AS attempts
      FROM deliveries AS d WHERE d.customer_id = %(customer_id)s
), placed AS (
    SELECT l.alert_id, l.channel_id, k.delivery_id, k.state, k.channel_id = l.channel_id
           AND k.rule_id IS NOT DISTINCT FROM a.rule_id AND a.state <> 'suppressed' AS rightly
      FROM delivery_alerts AS l JOIN kept AS k USING (delivery_id)
      JOIN alerts AS a ON a.customer_id = l.customer_id AND a.alert_id = l.alert_id
     WHERE l.customer_id = %(customer_id)s
), judged AS (
    SELECT alert_id, bool_and(state = 'sent') AS all_sent, bool_or(state = 'dead') AS any_dead
      FROM placed GROUP BY alert_id
)
SELECT (SELECT count(*) FROM alerts WHERE customer_id = %(customer_id)s) AS alerts,
       (SELECT count(*) FROM expected) AS expected_places,
       (SELECT count(*) FROM kept) AS deliveries,
       (SELECT count(*) FROM expected AS e LEFT JOIN placed AS p USING (alert_id, channel_id)
         WHERE p.delivery_id IS NULL) AS missing_places,
       (SELECT count(*) FROM placed AS p LEFT JOIN expected AS e USING (alert_id, channel_id)
         WHERE e.alert_id IS NULL OR NOT p.rightly) AS unexpected_places,
       (SELECT count(*) FROM kept AS k LEFT JOIN placed AS p USING (delivery_id)
         WHERE p.delivery_id IS NULL) AS empty_deliveries,
       (SELECT count(*) FROM kept WHERE attempts <> attempt) AS lost_attempts,
       (SELECT count(*) FROM alerts AS a LEFT JOIN judged AS j USING (alert_id)
         WHERE a.customer_id = %(customer_id)s AND a.state <> 'suppressed'
           AND (j.alert_id IS NULL OR (a.state = 'sent' AND NOT j.all_sent)
                OR (a.state <> 'failed' AND j.any_dead) OR (a.state = 'pending' AND j.all_sent))) AS wrong_states

-- name: count_email_channels
-- For `upstream doctor`: whether anything waits for a mail server. Small table, read whole.
SELECT count(*) FROM alert_channels WHERE kind = 'email' AND enabled;
