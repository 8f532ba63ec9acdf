-- name: customer_name
-- The name that alerts carry; by primary key. Locked: what one transaction tells must be known when the next decides.
SELECT slug, name FROM customers WHERE customer_id = %(customer_id)s FOR NO KEY UPDATE

-- name: lock_customer
-- One change of channels at a time, so that a secret that was shown is the one that is kept, and one new silence, so that two do not
-- both see the last room. By primary key.
SELECT 1 FROM customers WHERE customer_id = %(customer_id)s FOR NO KEY UPDATE

-- name: wait_at_most
-- For a lock of this transaction, in milliseconds.
SELECT set_config('lock_timeout', %(milliseconds)s::text, true)

-- name: channels_of
-- A customer's channels as they are; by the unique key (customer_id, name). Secrets stay in the database.
SELECT name, kind, secret IS NOT NULL AS has_secret FROM alert_channels WHERE customer_id = %(customer_id)s

-- name: channel_names
-- Names of a customer's channels, on and off, without asking for their secrets; by the unique key (customer_id, name).
SELECT name FROM alert_channels WHERE customer_id = %(customer_id)s

-- name: lock_customers_channels
-- Before they are written in a file's order: in the order of their ids, in which a worker locks them when it judges them,
-- so that neither waits for the other. By the key's first column.
SELECT 1 FROM alert_channels WHERE customer_id = %(customer_id)s ORDER BY channel_id FOR NO KEY UPDATE

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
       enabled = c.enabled OR c.disabled_reason IS NOT DISTINCT FROM %(unlisted)s OR c.kind <> excluded.kind
                 OR c.configuration <> excluded.configuration
                 OR (c.kind = 'slack' AND c.secret IS DISTINCT FROM excluded.secret),
       disabled_at = CASE WHEN c.enabled OR c.disabled_reason IS NOT DISTINCT FROM %(unlisted)s OR c.kind <> excluded.kind
                 OR c.configuration <> excluded.configuration
                 OR (c.kind = 'slack' AND c.secret IS DISTINCT FROM excluded.secret)
                 THEN NULL ELSE c.disabled_at END,
       disabled_reason = CASE WHEN c.enabled OR c.disabled_reason IS NOT DISTINCT FROM %(unlisted)s OR c.kind <> excluded.kind
                 OR c.configuration <> excluded.configuration
                 OR (c.kind = 'slack' AND c.secret IS DISTINCT FROM excluded.secret)
                 THEN NULL ELSE c.disabled_reason END,
       failing_since = CASE WHEN c.kind = excluded.kind AND c.configuration = excluded.configuration
                 AND NOT (c.kind = 'slack' AND c.secret IS DISTINCT FROM excluded.secret)
                 AND c.disabled_reason IS DISTINCT FROM %(unlisted)s THEN c.failing_since END

-- name: disable_unlisted_channels
-- Channels the file no longer names: kept, because their deliveries refer to them.
UPDATE alert_channels SET enabled = false, disabled_reason = %(unlisted)s, disabled_at = %(now)s
 WHERE customer_id = %(customer_id)s AND enabled AND name <> ALL (%(names)s::text[])

-- name: enable_channel
-- Switch a channel on again by hand, after its receiver was put right; by the unique key.
UPDATE alert_channels SET enabled = true, disabled_reason = NULL, disabled_at = NULL, failing_since = NULL
 WHERE customer_id = %(customer_id)s AND name = %(name)s

-- name: switch_off_channel
-- By hand, hence without a reason, and once; by primary key. The worker gives up what is due there when it comes to it.
UPDATE alert_channels SET enabled = false, disabled_reason = NULL, disabled_at = %(now)s
 WHERE customer_id = %(customer_id)s AND channel_id = %(channel_id)s AND enabled

-- name: add_webhook
-- A new webhook with its secret; no row where the name is taken, or the customer has too many channels. By the unique key.
INSERT INTO alert_channels (customer_id, name, kind, configuration, secret)
SELECT %(customer_id)s, %(name)s, 'webhook', %(configuration)s, %(secret)s
 WHERE (SELECT count(*) FROM alert_channels WHERE customer_id = %(customer_id)s) < %(most)s
    ON CONFLICT (customer_id, name) DO NOTHING
RETURNING channel_id

-- name: channel_in_full
-- What people are told of one channel beside its state: of its secret the end, of its address the host. By primary key.
SELECT created_at, disabled_at, configuration ->> 'url' AS url, secret_last_four,
       CASE WHEN previous_secret_until > %(now)s THEN previous_secret_until END AS both_sign_until
  FROM alert_channels WHERE customer_id = %(customer_id)s AND channel_id = %(channel_id)s

-- name: lock_waiting
-- Before channels or rules are written: what wake_held may change, in the order in which workers lock alerts. By the partial
-- indexes alerts_without_channel and alerts_owed, one after the other: with OR all of the customer's alerts are read.
SELECT 1 FROM alerts
 WHERE customer_id = %(customer_id)s
   AND alert_id IN (SELECT alert_id FROM alerts WHERE customer_id = %(customer_id)s AND held_by IN ('channel', 'product')
                    UNION ALL
                    SELECT alert_id FROM alerts WHERE customer_id = %(customer_id)s AND owed_to <> '{}')
 ORDER BY alert_id FOR UPDATE

-- name: wake_held
-- Channels, rules or product flags changed: what is held back for want of a channel, or because alerts are off, is decided over
-- again now. Of events that are over
-- their ends alone, for those who were told of them; of what has no end (a bad upload) the last week. So are ends that are owed
-- to a channel which is on. By the partial indexes alerts_without_channel and alerts_owed, as lock_waiting.
UPDATE alerts SET held_until = %(now)s
 WHERE customer_id = %(customer_id)s
   AND alert_id IN (
       SELECT alert_id FROM alerts
        WHERE customer_id = %(customer_id)s AND held_by IN ('channel', 'product') AND (over_at IS NULL OR notice = 'resolved')
          AND (ends OR created_at > %(now)s - interval '7 days')
          AND (held_by = 'product' OR EXISTS (SELECT FROM alert_channels AS c WHERE c.customer_id = %(customer_id)s AND c.enabled))
        UNION ALL
       SELECT alert_id FROM alerts
        WHERE customer_id = %(customer_id)s AND owed_to <> '{}'
          AND EXISTS (SELECT FROM alert_channels AS c
                       WHERE c.customer_id = %(customer_id)s AND c.enabled AND c.channel_id = ANY (owed_to)))

-- name: upsert_rules
-- The listed rules, all at once; one jsonb object each, lists as JSON arrays or null.
INSERT INTO alert_rules (customer_id, name, kinds, signals, payers, cpt_groups, directions, minimum_severity,
                         minimum_confidence, minimum_effect, minimum_dollars_per_month, unknown_dollars, channels,
                         quiet_hours, time_zone, cooldown_hours, group_seconds, update_minutes, repeat_hours, enabled)
SELECT %(customer_id)s, r.name, r.kinds, r.signals, r.payers, r.cpt_groups, r.directions, r.minimum_severity,
       r.minimum_confidence, r.minimum_effect, r.minimum_dollars_per_month, r.unknown_dollars, r.channels,
       -- What a file leaves out comes as the JSON null, which is no NULL.
       nullif(r.quiet_hours, 'null'), r.time_zone, r.cooldown_hours, r.group_seconds, r.update_minutes, r.repeat_hours,
       r.enabled
  FROM jsonb_to_recordset(%(rules)s) AS r (name text, kinds text[], signals text[], payers text[],
       cpt_groups text[], directions text[], minimum_severity double precision, minimum_confidence double precision,
       minimum_effect double precision, minimum_dollars_per_month double precision, unknown_dollars text,
       channels text[], quiet_hours jsonb, time_zone text, cooldown_hours double precision,
       group_seconds double precision, update_minutes double precision, repeat_hours double precision, enabled boolean)
    ON CONFLICT (customer_id, name) DO UPDATE
   SET kinds = excluded.kinds, signals = excluded.signals, payers = excluded.payers,
       cpt_groups = excluded.cpt_groups, directions = excluded.directions,
       minimum_severity = excluded.minimum_severity, minimum_confidence = excluded.minimum_confidence,
       minimum_effect = excluded.minimum_effect, minimum_dollars_per_month = excluded.minimum_dollars_per_month,
       unknown_dollars = excluded.unknown_dollars, channels = excluded.channels, quiet_hours = excluded.quiet_hours,
       time_zone = excluded.time_zone, cooldown_hours = excluded.cooldown_hours,
       group_seconds = excluded.group_seconds, update_minutes = excluded.update_minutes,
       repeat_hours = excluded.repeat_hours, enabled = excluded.enabled

-- name: disable_unlisted_rules
-- Rules the file no longer names: kept, because their alerts refer to them.
UPDATE alert_rules SET enabled = false
 WHERE customer_id = %(customer_id)s AND enabled AND name <> ALL (%(names)s::text[])

-- name: rename_rule
-- Before it is written under its new name. By primary key.
UPDATE alert_rules SET name = %(name)s WHERE customer_id = %(customer_id)s AND rule_id = %(rule_id)s

-- name: switch_off_rule
-- Kept, because its alerts refer to it. By primary key.
UPDATE alert_rules SET enabled = false WHERE customer_id = %(customer_id)s AND rule_id = %(rule_id)s

-- name: kept_rules
-- A customer's rules for people, on and off, or one; by the key's first column. A customer has a handful.
SELECT rule_id, name, kinds, signals, payers, cpt_groups, directions, minimum_severity, minimum_confidence,
       minimum_effect, minimum_dollars_per_month, unknown_dollars, channels, quiet_hours, time_zone, cooldown_hours,
       group_seconds, update_minutes, repeat_hours, enabled
  FROM alert_rules
 WHERE customer_id = %(customer_id)s AND (enabled OR %(with_off)s) AND (%(rule_id)s::uuid IS NULL OR rule_id = %(rule_id)s)
 ORDER BY name

-- name: rules_of
-- Rules to match events against; by the key's first column. A customer has a handful.
SELECT rule_id, name, kinds, signals, payers, cpt_groups, directions, minimum_severity, minimum_confidence,
       minimum_effect, minimum_dollars_per_month, unknown_dollars, channels, quiet_hours, time_zone, cooldown_hours,
       group_seconds, update_minutes, repeat_hours, enabled
  FROM alert_rules WHERE customer_id = %(customer_id)s AND enabled

-- name: rules_with_opening
-- Which rules have an open alert of these events, told or held back: only they hear how it goes on; by the unique key.
-- `live`: one of them is not over.
SELECT a.rule_id, a.subject_id, bool_or(a.over_at IS NULL) AS live
  FROM alerts AS a
 WHERE a.customer_id = %(customer_id)s AND a.notice = 'open' AND a.subject_id = ANY (%(subject_ids)s::uuid[])
 GROUP BY a.rule_id, a.subject_id

-- name: pasts_of
-- What the decision over each (rule, event) pair rests on (life.Past), and the channels it would go to: those of the rule;
-- of an ending those that it is owed, if there are any. On ones by id, off ones by name. Served by the unique key (customer_id,
-- subject_id, rule_id, ...) and by alerts_told; silences and judgements of a customer are few. A fingerprint's second part is the payer and its
-- fourth the signal, where it has four (alerts/notices.py). An event that came back is told as a new one: what is over of
-- it says only `ever` and the last `step` (-1: none); of one that is over, `came_back` says whether it opened again since.
--
-- The end of an event, to whom and when (`ending`), one rule: a channel whose last word of an event would be that it is open
-- is owed the end, whatever the rules say by then. That word is a message of the event that has arrived there (of a mail, with
-- one recipient at least), of any time it was open, after which no end went there. While a message of the event is under
-- way to the channel the end waits for what comes of it (`waited_for`): sent, the end follows; given up, nothing is owed for
-- it, but should it be sent again and arrive. A channel that is off keeps what it is owed (owed_to). An end that was given
-- up there is owed again once a message of the event arrives after it, or by `follow_again`. The end of an event that has
-- opened again is owed to nobody: its next end is.
WITH entry AS (
    SELECT * FROM unnest(%(rule_ids)s::uuid[], %(notices)s::text[], %(fingerprints)s::text[], %(subject_ids)s::uuid[],
                         %(overs)s::timestamptz[])
                  WITH ORDINALITY AS e (rule_id, notice, fingerprint, subject_id, over_at, n)
), judged AS (
    -- The newest judgement of each notice; the same notice under two rules is one.
    SELECT DISTINCT ON (a.fingerprint, a.subject_id, a.notice, a.step) a.fingerprint, f.judgement, f.judged_at
      FROM alert_feedback AS f
      JOIN alerts AS a ON a.customer_id = f.customer_id AND a.alert_id = f.alert_id
     WHERE f.customer_id = %(customer_id)s AND a.fingerprint = ANY (%(fingerprints)s::text[])
     ORDER BY a.fingerprint, a.subject_id, a.notice, a.step, f.judged_at DESC
), noise AS (
    SELECT fingerprint, (array_agg(judged_at ORDER BY judged_at DESC))[%(judgements)s] + %(noise_lasts)s AS until
      FROM judged WHERE judgement = 'noise' AND judged_at > %(now)s - %(noise_lasts)s GROUP BY fingerprint
)
SELECT r.cooldown_hours, r.enabled, coalesce(event.known, false) AS known, coalesce(event.ever, false) AS ever,
       coalesce(event.step, -1) AS step, coalesce(event.live, false) AS live,
       CASE WHEN e.notice = 'resolved' THEN ending.heard <> '{}' ELSE coalesce(event.told, false) END AS event_told,
       ending.waited_for <> '{}' AS event_under_way, event.highest AS event_highest,
       coalesce(event.came_back, false) AS came_back,
       ending.waited_for || ARRAY(SELECT unnest(ending.heard) EXCEPT SELECT unnest(addressed.channel_ids)) AS owed_to,
       lately.last_told, lately.highest, noise.until AS noise_until, silence.ends_at AS silenced_until,
       silence.reason AS silence_reason, 'alerts' = ANY (k.products_off) AS product_off, addressed.channel_ids, addressed.off_names, addressed.off_since
  FROM entry AS e
  JOIN alert_rules AS r ON r.customer_id = %(customer_id)s AND r.rule_id = e.rule_id
  JOIN customers AS k ON k.customer_id = r.customer_id
 CROSS JOIN LATERAL (
       SELECT bool_or(a.notice = e.notice) AS ever, max(a.step) FILTER (WHERE a.notice = e.notice) AS step,
              bool_or(a.notice = e.notice) FILTER (WHERE a.over_at IS NULL) AS known,
              bool_or(a.notice = 'open') FILTER (WHERE a.over_at IS NULL) AS live,
              bool_or(a.told_at IS NOT NULL) FILTER (WHERE a.notice <> 'resolved'
                                                       AND a.over_at IS NOT DISTINCT FROM e.over_at) AS told,
              max(a.severity) FILTER (WHERE a.told_at IS NOT NULL AND a.notice <> 'resolved' AND a.over_at IS NULL)
                  AS highest,
              bool_or(a.notice = 'open' AND (a.over_at IS NULL OR a.over_at > e.over_at)) AS came_back
         FROM alerts AS a
        WHERE a.customer_id = r.customer_id AND a.rule_id = e.rule_id AND a.subject_id = e.subject_id) AS event
 CROSS JOIN LATERAL (
       SELECT coalesce(array_agg(w.channel_id) FILTER (WHERE w.arrived AND NOT w.under_way), '{}') AS heard,
              coalesce(array_agg(w.channel_id) FILTER (WHERE w.under_way), '{}') AS waited_for
         FROM (SELECT l.channel_id, bool_or(d.state IN ('pending', 'retrying', 'sending')) AS under_way,
                      bool_or(d.state = 'sent' OR jsonb_array_length(coalesce(d.progress -> 'accepted', '[]')) > 0) AS arrived
                 FROM alerts AS o
                 JOIN delivery_alerts AS l ON l.customer_id = o.customer_id AND l.alert_id = o.alert_id
                 JOIN deliveries AS d ON d.customer_id = l.customer_id AND d.delivery_id = l.delivery_id
                WHERE e.notice = 'resolved' AND o.customer_id = r.customer_id AND o.rule_id = e.rule_id
                  AND o.subject_id = e.subject_id AND o.notice <> 'resolved'
                  AND NOT EXISTS (
                      SELECT FROM alerts AS z
                        JOIN delivery_alerts AS t ON t.customer_id = z.customer_id AND t.alert_id = z.alert_id
                        JOIN deliveries AS u ON u.customer_id = t.customer_id AND u.delivery_id = t.delivery_id
                       WHERE z.customer_id = o.customer_id AND z.rule_id = o.rule_id AND z.subject_id = o.subject_id
                         AND z.notice = 'resolved' AND z.over_at >= o.over_at AND t.channel_id = l.channel_id
                         AND (u.state <> 'dead' OR u.finished_at >= d.finished_at AND NOT u.progress ? 'asked_again'))
                GROUP BY l.channel_id) AS w) AS ending
 CROSS JOIN LATERAL (
       SELECT coalesce(array_agg(c.channel_id ORDER BY c.name) FILTER (WHERE c.enabled), '{}') AS channel_ids,
              coalesce(array_agg(c.name ORDER BY c.name) FILTER (WHERE NOT c.enabled), '{}') AS off_names,
              max(c.disabled_at) AS off_since
         FROM alert_channels AS c
        WHERE c.customer_id = r.customer_id
          AND CASE WHEN ending.heard <> '{}' THEN c.channel_id = ANY (ending.heard)
                   ELSE r.channels IS NULL OR c.name = ANY (r.channels) END) AS addressed
 CROSS JOIN LATERAL (
       SELECT max(a.told_at) AS last_told, max(a.severity) AS highest FROM alerts AS a
        WHERE a.customer_id = r.customer_id AND a.rule_id = e.rule_id AND a.fingerprint = e.fingerprint
          AND a.told_at > %(now)s - greatest(%(noise_lasts)s, r.cooldown_hours * interval '1 hour')
          AND a.notice <> 'resolved'
          -- What reached nobody, and will not, was not told.
          AND (a.state <> 'failed' OR EXISTS (
               SELECT FROM delivery_alerts AS l
                 JOIN deliveries AS d ON d.customer_id = l.customer_id AND d.delivery_id = l.delivery_id
                WHERE l.customer_id = a.customer_id AND l.alert_id = a.alert_id
                  AND (d.state <> 'dead' OR jsonb_array_length(coalesce(d.progress -> 'accepted', '[]')) > 0)))) AS lately
  LEFT JOIN noise ON noise.fingerprint = e.fingerprint
  LEFT JOIN LATERAL (
       SELECT s.ends_at, s.reason FROM alert_silences AS s
        WHERE s.customer_id = r.customer_id AND s.lifted_at IS NULL AND s.ends_at > %(now)s
          AND (s.fingerprint = e.fingerprint
               OR (s.fingerprint IS NULL AND split_part(e.fingerprint, chr(31), 4) <> ''
                   AND (s.payer IS NULL OR s.payer = split_part(e.fingerprint, chr(31), 2))
                   AND (s.signal IS NULL OR s.signal = split_part(e.fingerprint, chr(31), 4))))
        ORDER BY s.ends_at DESC LIMIT 1) AS silence ON true
 ORDER BY e.n

-- name: insert_alerts
-- Alerts as decided, told or held back, in one statement and the caller's transaction.
INSERT INTO alerts (customer_id, alert_id, rule_id, kind, notice, step, fingerprint, subject_id, severity, ends, content,
                    channel_ids, owed_to, created_at, state, told_at, held_by, held_until, reason)
SELECT %(customer_id)s, e.alert_id, e.rule_id, e.kind, e.notice, e.step, e.fingerprint, e.subject_id, e.severity, e.ends,
       e.content, ARRAY(SELECT jsonb_array_elements_text(e.channel_ids)::uuid),
       ARRAY(SELECT jsonb_array_elements_text(e.owed_to)::uuid), %(now)s,
       CASE WHEN e.held_by IS NULL THEN 'pending' ELSE 'suppressed' END,
       CASE WHEN e.held_by IS NULL THEN %(now)s::timestamptz END, e.held_by, e.held_until, e.reason
  FROM unnest(%(alert_ids)s::uuid[], %(rule_ids)s::uuid[], %(kinds)s::text[], %(notices)s::text[], %(steps)s::integer[],
              %(fingerprints)s::text[], %(subject_ids)s::uuid[], %(severities)s::double precision[], %(ends)s::boolean[],
              %(contents)s::jsonb[], %(channel_ids)s::jsonb[], %(owed_to)s::jsonb[], %(held_by)s::text[],
              %(held_until)s::timestamptz[], %(reasons)s::text[])
       AS e (alert_id, rule_id, kind, notice, step, fingerprint, subject_id, severity, ends, content, channel_ids, owed_to,
             held_by, held_until, reason)

-- name: lock_events
-- All alerts of these (rule, event) pairs that are about to be over, also those of earlier openings, whose messages may be under
-- way: before it is read which of them arrived, in the order in which workers lock alerts. By the unique key.
SELECT 1
  FROM unnest(%(rule_ids)s::uuid[], %(subject_ids)s::uuid[]) AS e (rule_id, subject_id)
  JOIN alerts AS a ON a.customer_id = %(customer_id)s AND a.rule_id = e.rule_id AND a.subject_id = e.subject_id
 ORDER BY a.alert_id FOR UPDATE OF a

-- name: close_events
-- These (rule, event) pairs are over: nothing held back of them is told any more, nothing repeated. Locked by lock_events, but
-- what was written since, which nobody else has seen. By the unique key.
UPDATE alerts AS a SET over_at = %(now)s
  FROM unnest(%(rule_ids)s::uuid[], %(subject_ids)s::uuid[]) AS e (rule_id, subject_id)
 WHERE a.customer_id = %(customer_id)s AND a.rule_id = e.rule_id AND a.subject_id = e.subject_id AND a.over_at IS NULL

-- name: rhythms_of
-- How each (rule, channel) is spaced, its last message within the rule's update_minutes, and the message that another
-- alert may still join: not tried yet, with room, and locked so that no worker takes it meanwhile. `most`: alerts in a
-- message of this channel, NULL for any number; `room`: in the one to join. Served by deliveries_joinable and
-- deliveries_lately.
SELECT e.rule_id, e.channel_id, r.group_seconds, r.update_minutes, r.quiet_hours, r.time_zone,
       open.delivery_id, lately.tried_at, lately.highest, c.most, c.most - open.carried AS room
  FROM unnest(%(rule_ids)s::uuid[], %(channel_ids)s::uuid[]) AS e (rule_id, channel_id)
  JOIN alert_rules AS r ON r.customer_id = %(customer_id)s AND r.rule_id = e.rule_id
  JOIN (SELECT customer_id, channel_id, CASE WHEN kind = 'webhook' THEN %(most_in_webhook)s::integer END AS most
          FROM alert_channels) AS c ON c.customer_id = r.customer_id AND c.channel_id = e.channel_id
 CROSS JOIN LATERAL (
       SELECT max(d.first_tried_at) AS tried_at, max(a.severity) AS highest
         FROM deliveries AS d
         JOIN delivery_alerts AS l ON l.customer_id = d.customer_id AND l.delivery_id = d.delivery_id
         JOIN alerts AS a ON a.customer_id = l.customer_id AND a.alert_id = l.alert_id
        WHERE d.customer_id = r.customer_id AND d.rule_id = e.rule_id AND d.channel_id = e.channel_id
          AND d.first_tried_at > %(now)s - r.update_minutes * interval '1 minute') AS lately
  LEFT JOIN LATERAL (
       SELECT d.delivery_id, carried.number AS carried FROM deliveries AS d
        CROSS JOIN LATERAL (
              SELECT count(*)::integer AS number FROM delivery_alerts AS l
               WHERE l.customer_id = d.customer_id AND l.delivery_id = d.delivery_id AND c.most IS NOT NULL) AS carried
        WHERE d.customer_id = r.customer_id AND d.rule_id = e.rule_id AND d.channel_id = e.channel_id
          AND d.state = 'pending' AND d.attempt = 0 AND (c.most IS NULL OR carried.number < c.most)
        ORDER BY d.due_at LIMIT 1 FOR UPDATE OF d) AS open ON true

-- name: place_alerts
-- Told alerts into their messages: new ones, and open ones, which may come due earlier. In one statement.
WITH message AS (
    SELECT * FROM unnest(%(delivery_ids)s::uuid[], %(rule_ids)s::uuid[], %(channel_ids)s::uuid[],
                         %(dues)s::timestamptz[], %(joined)s::boolean[])
                  AS m (delivery_id, rule_id, channel_id, due_at, joined)
), made AS (
    INSERT INTO deliveries (customer_id, delivery_id, rule_id, channel_id, due_at, created_at)
    SELECT %(customer_id)s, delivery_id, rule_id, channel_id, due_at, %(now)s FROM message WHERE NOT joined
), moved AS (
    UPDATE deliveries AS d SET due_at = m.due_at FROM message AS m
     WHERE m.joined AND d.customer_id = %(customer_id)s AND d.delivery_id = m.delivery_id AND d.due_at > m.due_at
)
INSERT INTO delivery_alerts (customer_id, delivery_id, alert_id, channel_id)
SELECT %(customer_id)s, m.delivery_id, l.alert_id, m.channel_id
  FROM unnest(%(link_deliveries)s::uuid[], %(link_alerts)s::uuid[]) AS l (delivery_id, alert_id)
  JOIN message AS m USING (delivery_id)

-- name: grown_events
-- Of these events those that are open, under all rules that wrote an alert of their opening and are on; by the unique key.
SELECT a.subject_id, a.rule_id, a.fingerprint FROM alerts AS a
  JOIN alert_rules AS r ON r.customer_id = a.customer_id AND r.rule_id = a.rule_id AND r.enabled
 WHERE a.customer_id = %(customer_id)s AND a.subject_id = ANY (%(subject_ids)s::uuid[]) AND a.notice = 'open'
   AND a.over_at IS NULL

-- name: customers_with_held
-- Whose alerts that were held back are to be decided again: of active customers, the others' wait until they are; served
-- by the partial index alerts_held.
SELECT DISTINCT a.customer_id FROM alerts AS a
  JOIN customers AS k ON k.customer_id = a.customer_id AND k.status = 'active'
 WHERE a.held_until <= %(now)s AND (%(customer_id)s::bigint IS NULL OR a.customer_id = %(customer_id)s)
 ORDER BY a.customer_id

-- name: held_of
-- A customer's alerts whose time of being held back has ended, with ends that were told to some and may go to others now; locked
-- in the order in which workers lock alerts. Served by alerts_held.
WITH due AS MATERIALIZED (
    SELECT alert_id, rule_id, notice, fingerprint, subject_id, severity, held_by, reason, created_at, over_at
      FROM alerts WHERE customer_id = %(customer_id)s AND held_until <= %(now)s
     ORDER BY alert_id FOR UPDATE
)
SELECT * FROM due ORDER BY created_at, alert_id

-- name: release_held
-- The new decisions over alerts that were held back; one that is told says since when it waited. By primary key.
UPDATE alerts AS a
   SET state = CASE WHEN e.held_by IS NULL THEN 'pending' ELSE 'suppressed' END,
       told_at = CASE WHEN e.held_by IS NULL THEN %(now)s::timestamptz END,
       held_by = e.held_by, held_until = e.held_until, reason = e.reason,
       channel_ids = ARRAY(SELECT jsonb_array_elements_text(e.channel_ids)::uuid),
       owed_to = ARRAY(SELECT jsonb_array_elements_text(e.owed_to)::uuid),
       content = CASE WHEN e.held_by IS NULL THEN a.content || jsonb_build_object('note', e.note) ELSE a.content END
  FROM unnest(%(alert_ids)s::uuid[], %(channel_ids)s::jsonb[], %(owed_to)s::jsonb[], %(held_by)s::text[],
              %(held_until)s::timestamptz[], %(reasons)s::text[], %(notes)s::text[])
       AS e (alert_id, channel_ids, owed_to, held_by, held_until, reason, note)
 WHERE a.customer_id = %(customer_id)s AND a.alert_id = e.alert_id

-- name: retell_ends
-- Ends that were given up on a channel and are to go there now: a dead message with nothing else in it is sent again (as
-- resend_delivery does), out of one with others they are taken, to go into a new one. Returns those that are sent again. By
-- the keys of delivery_alerts.
WITH asked AS (
    SELECT * FROM unnest(%(alert_ids)s::uuid[], %(channel_ids)s::uuid[]) AS e (alert_id, channel_id)
), dead AS MATERIALIZED (
    SELECT l.delivery_id, bool_and(EXISTS (SELECT FROM asked AS e WHERE e.alert_id = l.alert_id AND e.channel_id = l.channel_id))
               AS alone
      FROM delivery_alerts AS l
     WHERE l.customer_id = %(customer_id)s
       AND l.delivery_id IN (
           SELECT p.delivery_id FROM asked AS e
             JOIN delivery_alerts AS p ON p.customer_id = %(customer_id)s AND p.alert_id = e.alert_id AND p.channel_id = e.channel_id)
     GROUP BY l.delivery_id
), resent AS (
    UPDATE deliveries AS d
       SET state = 'retrying', due_at = %(now)s, finished_at = NULL,
           progress = d.progress - '{reason,refused,asked_again}'::text[] || jsonb_build_object('tries_from', d.attempt)
      FROM dead WHERE d.customer_id = %(customer_id)s AND d.delivery_id = dead.delivery_id AND dead.alone
), taken AS (
    DELETE FROM delivery_alerts AS l USING dead, asked AS e
     WHERE l.customer_id = %(customer_id)s AND l.delivery_id = dead.delivery_id AND NOT dead.alone
       AND l.alert_id = e.alert_id AND l.channel_id = e.channel_id
)
SELECT l.alert_id, l.channel_id
  FROM dead JOIN delivery_alerts AS l ON l.customer_id = %(customer_id)s AND l.delivery_id = dead.delivery_id
 WHERE dead.alone

-- name: settle_ends
-- Ends that went on to these channels, and to which they are owed still; their state follows their deliveries. By primary key.
UPDATE alerts AS a
   SET held_until = NULL, owed_to = ARRAY(SELECT jsonb_array_elements_text(e.owed_to)::uuid),
       channel_ids = a.channel_ids || ARRAY(SELECT jsonb_array_elements_text(e.channel_ids)::uuid
                                            EXCEPT SELECT unnest(a.channel_ids)),
       -- Where retention took all of them, as it was.
       state = coalesce((
           SELECT CASE WHEN bool_or(d.state = 'dead') THEN 'failed' WHEN bool_and(d.state = 'sent') THEN 'sent'
                       ELSE 'pending' END
             FROM delivery_alerts AS l
             JOIN deliveries AS d ON d.customer_id = l.customer_id AND d.delivery_id = l.delivery_id
            WHERE l.customer_id = a.customer_id AND l.alert_id = a.alert_id
           HAVING count(*) > 0), a.state)
  FROM unnest(%(alert_ids)s::uuid[], %(channel_ids)s::jsonb[], %(owed_to)s::jsonb[]) AS e (alert_id, channel_ids, owed_to)
 WHERE a.customer_id = %(customer_id)s AND a.alert_id = e.alert_id

-- name: reminders_due
-- Open events that their rule wants repeated and that were last told so long ago, each by its last notice: not judged
-- noise or real (the newest judgement of a notice counts, under whichever rule), not silenced, with a channel to go to, and
-- of an active customer whose alerts are on. The rules that repeat are few
-- (alert_rules_repeating); their events come by alerts_going_on.
SELECT last.customer_id, last.alert_id, last.told_at, last.step
  FROM alert_rules AS r
  JOIN customers AS k ON k.customer_id = r.customer_id AND k.status = 'active' AND 'alerts' <> ALL (k.products_off)
 CROSS JOIN LATERAL (
       SELECT DISTINCT ON (a.subject_id) a.customer_id, a.alert_id, a.subject_id, a.fingerprint, a.told_at,
              (SELECT coalesce(max(o.step), 0) FROM alerts AS o
                WHERE o.customer_id = a.customer_id AND o.rule_id = a.rule_id AND o.subject_id = a.subject_id
                  AND o.notice = 'reminder') AS step
         FROM alerts AS a
        WHERE a.customer_id = r.customer_id AND a.rule_id = r.rule_id AND a.ends AND a.over_at IS NULL
          AND a.told_at IS NOT NULL AND a.notice <> 'resolved'
        ORDER BY a.subject_id, a.told_at DESC, a.alert_id) AS last
 WHERE r.repeat_hours IS NOT NULL AND r.enabled
   AND (%(customer_id)s::bigint IS NULL OR r.customer_id = %(customer_id)s)
   AND last.told_at + r.repeat_hours * interval '1 hour' <= %(now)s
   AND NOT EXISTS (SELECT FROM alert_feedback AS f
                     JOIN alerts AS a ON a.customer_id = f.customer_id AND a.alert_id = f.alert_id
                    WHERE f.customer_id = r.customer_id AND a.subject_id = last.subject_id
                      AND f.judgement IN ('noise', 'real')
                      AND NOT EXISTS (SELECT FROM alert_feedback AS n
                                        JOIN alerts AS b ON b.customer_id = n.customer_id AND b.alert_id = n.alert_id
                                       WHERE n.customer_id = f.customer_id AND b.subject_id = a.subject_id
                                         AND b.notice = a.notice AND b.step = a.step AND n.judged_at > f.judged_at))
   AND NOT EXISTS (SELECT FROM alert_silences AS s
                    WHERE s.customer_id = r.customer_id AND s.lifted_at IS NULL AND s.ends_at > %(now)s
                      AND (s.fingerprint = last.fingerprint
                           OR (s.fingerprint IS NULL AND split_part(last.fingerprint, chr(31), 4) <> ''
                               AND (s.payer IS NULL OR s.payer = split_part(last.fingerprint, chr(31), 2))
                               AND (s.signal IS NULL OR s.signal = split_part(last.fingerprint, chr(31), 4)))))
   AND EXISTS (SELECT FROM alert_channels AS c
                WHERE c.customer_id = r.customer_id AND c.enabled AND (r.channels IS NULL OR c.name = ANY (r.channels)))
 ORDER BY last.customer_id, last.told_at, last.alert_id

-- name: insert_reminders
-- The last notice of an event once more, with a note that says so; by primary key.
INSERT INTO alerts (customer_id, alert_id, rule_id, kind, notice, step, fingerprint, subject_id, severity, ends, content,
                    channel_ids, created_at, told_at)
SELECT a.customer_id, e.new_id, a.rule_id, a.kind, 'reminder', e.step, a.fingerprint, a.subject_id, a.severity, a.ends,
       a.content || jsonb_build_object('note', e.note, 'alert_id', e.new_id,
                                       'type', regexp_replace(a.content ->> 'type', '[a-z_]+$', 'reminder')),
       ARRAY(SELECT c.channel_id FROM alert_channels AS c
              WHERE c.customer_id = r.customer_id AND c.enabled AND (r.channels IS NULL OR c.name = ANY (r.channels))
              ORDER BY c.name), %(now)s, %(now)s
  FROM unnest(%(alert_ids)s::uuid[], %(new_ids)s::uuid[], %(steps)s::integer[], %(notes)s::text[])
       AS e (alert_id, new_id, step, note)
  JOIN alerts AS a ON a.customer_id = %(customer_id)s AND a.alert_id = e.alert_id
  JOIN alert_rules AS r ON r.customer_id = a.customer_id AND r.rule_id = a.rule_id
RETURNING alert_id, rule_id, severity, channel_ids

-- name: write_channel_trouble
-- A channel was disabled: an alert under each rule that asks for trouble with delivery, to its other enabled channels;
-- where none asks, or none of theirs is left, under the rule whose delivery met the trouble (none, where that was a
-- test) to all other enabled channels. In a message of its own and at once, in the transaction that disabled it. Where alerts are
-- off it is held back; without a rule, by which it would be decided over again, it is not written.
WITH off AS (
    SELECT FROM customers WHERE customer_id = %(customer_id)s AND 'alerts' = ANY (products_off)
), others AS (
    SELECT channel_id, name FROM alert_channels
     WHERE customer_id = %(customer_id)s AND enabled AND channel_id <> %(channel_id)s
), asking AS (
    SELECT r.rule_id, array_agg(o.channel_id ORDER BY o.name) AS channel_ids
      FROM alert_rules AS r JOIN others AS o ON r.channels IS NULL OR o.name = ANY (r.channels)
     WHERE r.customer_id = %(customer_id)s AND r.enabled AND 'delivery_trouble' = ANY (r.kinds)
     GROUP BY r.rule_id
), addressed AS (
    SELECT rule_id, channel_ids FROM asking
     UNION ALL
    SELECT %(rule_id)s::uuid, array_agg(channel_id ORDER BY name) FROM others
     WHERE NOT EXISTS (SELECT FROM asking) HAVING count(*) > 0
), written AS (
    INSERT INTO alerts (customer_id, rule_id, kind, notice, fingerprint, subject_id, content, channel_ids, created_at, told_at,
                        state, held_by, reason)
    SELECT %(customer_id)s, rule_id, 'delivery_trouble', 'open',
           'delivery_trouble' || chr(31) || %(channel_id)s::text, %(subject_id)s, %(content)s, channel_ids,
           %(now)s, CASE WHEN NOT held THEN %(now)s::timestamptz END, CASE WHEN held THEN 'suppressed' ELSE 'pending' END,
           CASE WHEN held THEN 'product' END, CASE WHEN held THEN %(product_off)s END
      FROM addressed CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM off) AS held) AS h
     WHERE NOT held OR rule_id IS NOT NULL
        ON CONFLICT (customer_id, rule_id, subject_id, notice, step) DO NOTHING
    RETURNING customer_id, alert_id, rule_id, channel_ids
), message AS MATERIALIZED (
    SELECT w.*, c.channel_id, gen_random_uuid() AS delivery_id FROM written AS w, unnest(w.channel_ids) AS c (channel_id)
     WHERE NOT EXISTS (SELECT FROM off)
), queued AS (
    INSERT INTO deliveries (customer_id, delivery_id, rule_id, channel_id, due_at, created_at)
    SELECT customer_id, delivery_id, rule_id, channel_id, %(now)s, %(now)s FROM message
)
INSERT INTO delivery_alerts (customer_id, delivery_id, alert_id, channel_id)
SELECT customer_id, delivery_id, alert_id, channel_id FROM message

-- name: count_due
-- What a worker would take now; the partial index deliveries_due serves it. A leased row's due_at is the
-- end of its lease, so rows of a dead worker count again by themselves. A channel that is paused for more than find_waiting's
-- 2 s is left alone; what waits for one that is switched off is buried.
SELECT count(*)
  FROM deliveries AS d
  JOIN alert_channels AS c ON c.customer_id = d.customer_id AND c.channel_id = d.channel_id
 WHERE d.state IN ('pending', 'retrying', 'sending') AND d.due_at <= %(now)s
   AND (NOT c.enabled OR c.not_before IS NULL OR c.not_before <= %(now)s + interval '2 seconds')

-- name: count_held
-- Alerts held back whose time has ended: a worker decides over them again, of active customers. Served by the partial
-- index alerts_held.
SELECT count(*) FROM alerts AS a
  JOIN customers AS k ON k.customer_id = a.customer_id AND k.status = 'active'
 WHERE a.held_until <= %(now)s

-- name: list_alerts
-- The newest alerts with their deliveries and all attempts, and the channels that an end is owed to; by the key's first
-- column, one by the key, those about some subjects by the unique key. No chart, no secret.
SELECT jsonb_build_object(
           'alert_id', a.alert_id, 'rule', r.name, 'kind', a.kind, 'notice', a.notice, 'state', a.state,
           'reason', a.reason, 'held_by', a.held_by, 'held_until', a.held_until, 'severity', a.severity,
           'created_at', a.created_at, 'told_at', a.told_at, 'over_at', a.over_at, 'content', a.content - 'chart_png',
           'owed_to', ARRAY(SELECT c.name FROM alert_channels AS c
                             WHERE c.customer_id = a.customer_id AND c.channel_id = ANY (a.owed_to) ORDER BY c.name),
           'judgements', coalesce((
               SELECT jsonb_agg(jsonb_build_object('judgement', f.judgement, 'recovered', f.recovered, 'note', f.note,
                                                   'judged_by', f.judged_by, 'judged_at', f.judged_at) ORDER BY f.judged_at)
                 FROM alert_feedback AS f
                WHERE f.customer_id = a.customer_id AND f.alert_id = a.alert_id), '[]'),
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
 WHERE a.customer_id = %(customer_id)s AND (%(state)s::text IS NULL OR a.state = %(state)s)
   AND (%(subject_ids)s::uuid[] IS NULL OR a.subject_id = ANY(%(subject_ids)s::uuid[]))
   AND (%(alert_id)s::uuid IS NULL OR a.alert_id = %(alert_id)s)
 ORDER BY a.created_at DESC, a.alert_id
 LIMIT %(limit)s

-- name: select_alerts_page
-- A page of a customer's alerts, the newest first, from a mark on; by the key's first column. A customer has some hundreds a
-- year. Without chart and deliveries.
SELECT a.alert_id, r.name AS rule, a.kind, a.notice, a.state, a.reason, a.held_by, a.held_until, a.severity,
       a.created_at, a.told_at, a.over_at, a.content - 'chart_png' AS content,
       (SELECT f.judgement FROM alert_feedback AS f
         WHERE f.customer_id = a.customer_id AND f.alert_id = a.alert_id
         ORDER BY f.judged_at DESC LIMIT 1) AS judgement
  FROM alerts AS a
  LEFT JOIN alert_rules AS r ON r.customer_id = a.customer_id AND r.rule_id = a.rule_id
 WHERE a.customer_id = %(customer_id)s
   AND (a.created_at, a.alert_id) < (coalesce(%(after_at)s::timestamptz, 'infinity'),
                                     coalesce(%(after_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
   AND a.created_at >= coalesce(%(since)s::timestamptz, '-infinity')
   AND (%(state)s::text IS NULL OR a.state = %(state)s)
   AND (%(kind)s::text IS NULL OR a.kind = %(kind)s)
 ORDER BY a.created_at DESC, a.alert_id DESC
 LIMIT %(limit)s

-- name: select_deliveries_page
-- A page of a customer's messages, the newest first, from a mark on, with the alerts in each and each try; by deliveries_listed,
-- and the keys of the others. What a filter passes over is read: some thousands a year.
SELECT d.delivery_id, d.channel_id, c.name AS channel, c.kind AS channel_kind, d.state, d.created_at, d.due_at, d.finished_at,
       ARRAY(SELECT l.alert_id FROM delivery_alerts AS l
              WHERE l.customer_id = d.customer_id AND l.delivery_id = d.delivery_id ORDER BY l.alert_id) AS alert_ids,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
                            'attempt', t.attempt, 'started_at', t.started_at, 'finished_at', t.finished_at,
                            'outcome', t.outcome, 'status_code', t.status_code, 'latency_ms', t.latency_ms,
                            'detail', t.detail, 'answer', t.answer) ORDER BY t.attempt)
                   FROM delivery_attempts AS t
                  WHERE t.customer_id = d.customer_id AND t.delivery_id = d.delivery_id), '[]') AS attempts
  FROM deliveries AS d JOIN alert_channels AS c ON c.customer_id = d.customer_id AND c.channel_id = d.channel_id
 WHERE d.customer_id = %(customer_id)s
   AND (d.created_at, d.delivery_id) < (coalesce(%(after_at)s::timestamptz, 'infinity'),
                                        coalesce(%(after_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
   AND d.created_at >= coalesce(%(since)s::timestamptz, '-infinity')
   AND (%(state)s::text IS NULL OR d.state = %(state)s)
   AND (%(channel_id)s::uuid IS NULL OR d.channel_id = %(channel_id)s)
   AND (%(alert_id)s::uuid IS NULL OR EXISTS (
           SELECT FROM delivery_alerts AS l
            WHERE l.customer_id = d.customer_id AND l.alert_id = %(alert_id)s AND l.delivery_id = d.delivery_id))
 ORDER BY d.created_at DESC, d.delivery_id DESC
 LIMIT %(limit)s

-- name: deliveries_beginning
-- Deliveries whose id begins so, and whether the channel is on; by the key's first column. Two are enough to know that it is
-- not unique.
SELECT d.delivery_id, d.state, c.enabled, c.name
  FROM deliveries AS d JOIN alert_channels AS c ON c.customer_id = d.customer_id AND c.channel_id = d.channel_id
 WHERE d.customer_id = %(customer_id)s AND d.delivery_id::text LIKE %(begins)s LIMIT 2

-- name: resend_delivery
-- Dead deliveries start their retry schedule again. The attempt number goes on (it fences leases);
-- recipients that accepted stay done, refused ones are tried again. Due one after the other, as they are given. By primary key.
UPDATE deliveries AS d
   SET state = 'retrying', due_at = %(now)s - (cardinality(%(delivery_ids)s::uuid[]) - w.n) * interval '1 microsecond',
       finished_at = NULL,
       progress = d.progress - '{reason,refused,asked_again}'::text[] || jsonb_build_object('tries_from', d.attempt)
  FROM unnest(%(delivery_ids)s::uuid[]) WITH ORDINALITY AS w (delivery_id, n)
 WHERE d.customer_id = %(customer_id)s AND d.delivery_id = w.delivery_id AND d.state = 'dead'

-- name: try_now
-- A delivery that waits for its next try is due now; its schedule goes on from there. By primary key.
UPDATE deliveries SET due_at = %(now)s
 WHERE customer_id = %(customer_id)s AND delivery_id = %(delivery_id)s AND state = 'retrying' AND due_at > %(now)s

-- name: try_channel_now
-- The same for all of a channel. By the unique key (customer_id, name), and by deliveries_waiting.
UPDATE deliveries AS d SET due_at = %(now)s
  FROM alert_channels AS c
 WHERE c.customer_id = %(customer_id)s AND c.name = %(name)s
   AND d.customer_id = c.customer_id AND d.channel_id = c.channel_id AND d.state = 'retrying' AND d.due_at > %(now)s

-- name: follow_again
-- Dead ends of events of which other messages are sent again to the channel: somebody asked for them, so they go once those
-- have ended, given up or not, where any message of the event arrived. By primary key.
UPDATE deliveries SET progress = progress || '{"asked_again": true}'
 WHERE customer_id = %(customer_id)s AND delivery_id = ANY (%(delivery_ids)s::uuid[]) AND state = 'dead'

-- name: channel_named
-- A channel's id; by the unique key (customer_id, name).
SELECT channel_id FROM alert_channels WHERE customer_id = %(customer_id)s AND name = %(name)s

-- name: channel_enabled
-- Whether a channel is on; by the unique key (customer_id, name).
SELECT enabled FROM alert_channels WHERE customer_id = %(customer_id)s AND name = %(name)s

-- name: dead_of_channel
-- A channel's dead deliveries, the oldest first, tests left out: whether one is to be sent again (it died since then, or however
-- long ago), and whether it is left to `ending` in pasts_of: it says of events that they are over, and dead messages of each of
-- them are sent again, which bring it when they arrive. By the unique key (customer_id, name), and by deliveries_dead.
WITH dead AS MATERIALIZED (
    SELECT d.delivery_id, d.created_at, %(since)s::timestamptz IS NULL OR d.finished_at >= %(since)s AS again
      FROM alert_channels AS c
      JOIN deliveries AS d ON d.customer_id = c.customer_id AND d.channel_id = c.channel_id AND d.state = 'dead'
     WHERE c.customer_id = %(customer_id)s AND c.name = %(name)s
       AND (d.rule_id IS NOT NULL OR EXISTS (
               SELECT FROM delivery_alerts AS l JOIN alerts AS a ON a.customer_id = l.customer_id AND a.alert_id = l.alert_id
                WHERE l.customer_id = d.customer_id AND l.delivery_id = d.delivery_id AND a.kind <> 'test'))
), carried AS MATERIALIZED (
    SELECT dead.delivery_id, dead.again, a.notice, a.rule_id, a.subject_id, a.over_at
      FROM dead
      JOIN delivery_alerts AS l ON l.customer_id = %(customer_id)s AND l.delivery_id = dead.delivery_id
      JOIN alerts AS a ON a.customer_id = l.customer_id AND a.alert_id = l.alert_id
), told AS MATERIALIZED (
    -- Once for all: looked for by each end among all dead messages, 1,000 of both took eight seconds.
    SELECT rule_id, subject_id, min(over_at) AS over_at FROM carried
     WHERE again AND notice <> 'resolved' GROUP BY rule_id, subject_id
)
SELECT dead.delivery_id, dead.again,
       coalesce(bool_and(c.notice = 'resolved' AND t.over_at IS NOT NULL), true) AS follows
  FROM dead
  LEFT JOIN carried AS c ON c.delivery_id = dead.delivery_id
  LEFT JOIN told AS t ON t.rule_id = c.rule_id AND t.subject_id = c.subject_id AND t.over_at <= c.over_at
 GROUP BY dead.delivery_id, dead.again, dead.created_at
 ORDER BY dead.created_at, dead.delivery_id

-- name: lock_alerts
-- Before a delivery's state changes: two deliveries of one alert that end at the same moment would each
-- see the other unfinished, and the alert would stay pending for ever. With the ends of their events, which may follow them.
-- One order for all, here and wherever alerts are locked (a customer's row, its alerts by id, deliveries, channels), so that
-- no two wait for each other. By the keys of delivery_alerts and of alerts.
WITH carried AS MATERIALIZED (
    SELECT a.customer_id, a.alert_id, a.rule_id, a.subject_id, a.over_at
      FROM unnest(%(customer_ids)s::bigint[], %(delivery_ids)s::uuid[]) AS w (customer_id, delivery_id)
      JOIN delivery_alerts AS l ON l.customer_id = w.customer_id AND l.delivery_id = w.delivery_id
      JOIN alerts AS a ON a.customer_id = l.customer_id AND a.alert_id = l.alert_id
), affected AS MATERIALIZED (
    SELECT customer_id, alert_id FROM carried
     UNION
    SELECT e.customer_id, e.alert_id
      FROM carried AS a
      JOIN alerts AS e ON e.customer_id = a.customer_id AND e.subject_id = a.subject_id AND e.rule_id = a.rule_id
                      AND e.notice = 'resolved' AND e.over_at >= a.over_at
)
SELECT a.alert_id
  FROM affected AS f JOIN alerts AS a ON a.customer_id = f.customer_id AND a.alert_id = f.alert_id
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

-- name: wake_ends
-- Of these deliveries some have ended, sent or given up: where an event of theirs is over by now, its end is decided over again,
-- unless it went there already. An end that was written since lock_alerts may come before alerts that are locked here, so
-- nobody waits for one: where another has it, the transaction is given up and done again (delivery/transactions.py). By the
-- keys of delivery_alerts and of alerts.
WITH woken AS MATERIALIZED (
    SELECT e.customer_id, e.alert_id
      FROM unnest(%(customer_ids)s::bigint[], %(delivery_ids)s::uuid[]) AS w (customer_id, delivery_id)
      JOIN deliveries AS d ON d.customer_id = w.customer_id AND d.delivery_id = w.delivery_id AND d.state IN ('sent', 'dead')
      JOIN delivery_alerts AS l ON l.customer_id = d.customer_id AND l.delivery_id = d.delivery_id
      JOIN alerts AS a ON a.customer_id = l.customer_id AND a.alert_id = l.alert_id AND a.notice <> 'resolved'
      JOIN alerts AS e ON e.customer_id = a.customer_id AND e.subject_id = a.subject_id AND e.rule_id = a.rule_id
                      AND e.notice = 'resolved' AND e.over_at >= a.over_at
     WHERE NOT EXISTS (
           SELECT FROM delivery_alerts AS t
             JOIN deliveries AS u ON u.customer_id = t.customer_id AND u.delivery_id = t.delivery_id
            WHERE t.customer_id = e.customer_id AND t.alert_id = e.alert_id AND t.channel_id = d.channel_id
              AND u.state <> 'dead')
     ORDER BY e.customer_id, e.alert_id FOR UPDATE OF e NOWAIT
)
UPDATE alerts AS a SET held_until = %(now)s
  FROM woken AS w WHERE a.customer_id = w.customer_id AND a.alert_id = w.alert_id

-- name: conservation
-- Alerts that are not held back x channels = their places in deliveries, no delivery is empty, each attempt is kept,
-- each alert in the state its deliveries say, and no alert of a drift event that is not kept (asked where looks are made at
-- all). Every count but the first three is 0 when nothing was lost or invented.
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
                OR (a.state <> 'failed' AND j.any_dead) OR (a.state = 'pending' AND j.all_sent))) AS wrong_states,
       (SELECT count(*) FROM alerts AS a
         WHERE a.customer_id = %(customer_id)s AND a.content ->> 'type' LIKE 'drift.event.%%'
           AND EXISTS (SELECT FROM drift_looks AS l WHERE l.customer_id = a.customer_id)
           AND NOT EXISTS (SELECT FROM drift_events AS e
                            WHERE e.customer_id = a.customer_id
                              AND e.event_id = (a.content #>> '{data,event_id}')::uuid)) AS unknown_events

-- name: alerts_beginning
-- Alerts whose id begins so; by the key's first column. Two are enough to know that it is not unique.
SELECT alert_id, fingerprint FROM alerts
 WHERE customer_id = %(customer_id)s AND alert_id::text LIKE %(begins)s LIMIT 2

-- name: insert_silence
-- A silence, with what it holds back; none where as many hold as may. After lock_customer. By the key's first column.
INSERT INTO alert_silences (customer_id, fingerprint, payer, signal, ends_at, reason, created_by, created_at)
SELECT %(customer_id)s, %(fingerprint)s, %(payer)s, %(signal)s, %(ends_at)s, %(reason)s, %(created_by)s, %(now)s
 WHERE (SELECT count(*) FROM alert_silences
         WHERE customer_id = %(customer_id)s AND lifted_at IS NULL AND ends_at > %(now)s) < %(most)s
RETURNING silence_id

-- name: silences_of
-- The silences that hold now, or one of them; by the key's first column. A payer is kept in lower case and told as its newest event
-- has it, or, without one, its newest claims. Those are read once for all silences, and only where a payer without an event is among
-- them: all rows of the customer into one row per spelling (unique key of payer_activity, by customer; 0.07 s at 300,000).
WITH spellings AS MATERIALIZED (
    SELECT payer, max(submitted_day) AS newest FROM payer_activity WHERE customer_id = %(customer_id)s GROUP BY payer
)
SELECT s.silence_id, s.fingerprint,
       CASE WHEN s.payer IS NOT NULL THEN
            coalesce((SELECT e.payer FROM drift_events AS e
                       WHERE e.customer_id = s.customer_id AND lower(e.payer) = s.payer
                       ORDER BY e.last_look DESC, e.event_id LIMIT 1),
                     (SELECT n.payer FROM spellings AS n WHERE lower(n.payer) = s.payer
                       ORDER BY n.newest DESC, n.payer DESC LIMIT 1),
                     s.payer)
       END AS payer,
       s.signal, s.ends_at, s.reason, s.created_by, s.created_at, s.lifted_at
  FROM alert_silences AS s
 WHERE s.customer_id = %(customer_id)s AND s.lifted_at IS NULL AND s.ends_at > %(now)s
   AND (%(silence_id)s::uuid IS NULL OR s.silence_id = %(silence_id)s)
 ORDER BY s.ends_at, s.silence_id

-- name: lift_silence
-- End a silence by hand; what silences hold back is decided over again now, and stays where another covers it.
-- By primary key, and by alerts_held.
WITH lifted AS (
    UPDATE alert_silences SET lifted_at = %(now)s WHERE customer_id = %(customer_id)s AND silence_id = %(silence_id)s
)
UPDATE alerts SET held_until = %(now)s
 WHERE customer_id = %(customer_id)s AND held_by = 'silence' AND held_until > %(now)s

-- name: insert_judgement
-- A judgement; earlier ones are kept.
INSERT INTO alert_feedback (customer_id, alert_id, judgement, recovered, note, judged_by, judged_at)
VALUES (%(customer_id)s, %(alert_id)s, %(judgement)s, %(recovered)s, %(note)s, %(judged_by)s, %(now)s)

-- name: count_email_channels
-- For `upstream doctor`: whether anything waits for a mail server. Small table, read whole.
SELECT count(*) FROM alert_channels WHERE kind = 'email' AND enabled;

-- name: open_run_failures
-- Failed runs of the last 30 days that were told and are not over, each once; of all customers or one, and of all jobs
-- or one. Served by the partial index alerts_run_failures.
SELECT DISTINCT ON (a.customer_id, a.subject_id) a.customer_id, c.slug, a.content -> 'data' ->> 'run_id' AS run_id,
       a.content -> 'data' ->> 'job_name' AS job_name, a.content -> 'data' AS data
  FROM alerts AS a JOIN customers AS c ON c.customer_id = a.customer_id
 WHERE a.kind = 'run_failure' AND a.notice = 'open' AND a.created_at > now() - interval '30 days'
   AND (%(customer_id)s::bigint IS NULL OR a.customer_id = %(customer_id)s)
   AND (%(job_name)s::text IS NULL OR a.content -> 'data' ->> 'job_name' = %(job_name)s)
   AND NOT EXISTS (SELECT FROM alerts AS o
                    WHERE o.customer_id = a.customer_id AND o.rule_id = a.rule_id AND o.subject_id = a.subject_id
                      AND o.notice = 'resolved')
 ORDER BY a.customer_id, a.subject_id

-- name: not_looked_at
-- Those of these customers that were there at the time and have not been looked at since: looks at past days, made meanwhile, are
-- none, but one of the day before (UTC) is that of a run that waited over midnight. By the primary keys; a customer has one
-- look a day.
SELECT c.customer_id FROM customers AS c
 WHERE c.customer_id = ANY (%(customer_ids)s::bigint[]) AND c.created_at <= %(since)s
   AND NOT EXISTS (SELECT FROM drift_looks AS l WHERE l.customer_id = c.customer_id AND l.made_at >= %(since)s
                      AND l.as_of >= (%(since)s::timestamptz AT TIME ZONE 'UTC')::date - 1)
 ORDER BY c.customer_id

-- name: past_drift
-- What the looks of the last days found of events, with cause and direction of the look before. By the keys' first columns.
SELECT r.as_of, l.made_at, r.event_id, r.payer, r.cpt_group, r.signal, r.direction, r.state, r.cause, r.severity,
       r.effect, r.detail, lag(r.cause) OVER event AS cause_before, lag(r.direction) OVER event AS direction_before
  FROM drift_results AS r
  JOIN drift_looks AS l ON l.customer_id = r.customer_id AND l.as_of = r.as_of
 WHERE r.customer_id = %(customer_id)s AND r.as_of >= %(since_day)s AND r.event_id IS NOT NULL
   AND r.state IN ('open', 'updated', 'resolved')
WINDOW event AS (PARTITION BY r.event_id ORDER BY r.as_of)

-- name: past_uploads
-- Uploads that were refused (they have a code) or failed rules of the severity error. An upload that took a week to end
-- is none of the past days' (uploads_arrivals).
SELECT u.upload_id, u.source, u.finished_at, CASE WHEN u.status = 'failed' THEN u.error_code END AS error_code, f.failed_rules
  FROM uploads AS u
 CROSS JOIN LATERAL (
       SELECT coalesce(array_agg(q.rule ORDER BY q.rule), '{}') AS failed_rules FROM quality_findings AS q
        WHERE q.customer_id = u.customer_id AND q.upload_id = u.upload_id
          AND q.severity = 'error' AND q.failing_rows > 0) AS f
 WHERE u.customer_id = %(customer_id)s AND u.received_at >= %(since)s - interval '7 days' AND u.finished_at >= %(since)s
   AND (f.failed_rules <> '{}' OR (u.status = 'failed' AND u.error_code IS NOT NULL))

-- name: past_unusual
-- Uploads, or days of batches, that were unlike the customer's earlier ones; not what was measured long after it came, which
-- is not told either (ingest/unusual.py). Index upload_measures_unusual.
SELECT DISTINCT upload_id, source, rule, judged_at FROM upload_measures
 WHERE customer_id = %(customer_id)s AND state IN ('low', 'high') AND severity = 'warning' AND judged_at >= %(since)s
   AND received_at >= judged_at - interval '8 days'

-- name: past_silences
-- Silences that began or ended since. By the key's first column; a customer has a few.
SELECT silence_id, last_day, noticed_at, ended_at FROM missed_uploads
 WHERE customer_id = %(customer_id)s AND (noticed_at >= %(since)s OR ended_at >= %(since)s)

-- name: past_told
-- What is kept as alerts alone, each once however many rules told it. By the key's first column.
SELECT DISTINCT ON (subject_id, notice) kind, notice, subject_id, fingerprint, content -> 'data' AS data,
       created_at AS at
  FROM alerts
 WHERE customer_id = %(customer_id)s AND kind IN ('run_failure', 'delivery_trouble')
   AND notice IN ('open', 'resolved') AND created_at >= %(since)s
 ORDER BY subject_id, notice, created_at

-- name: enabled_channels
-- Names of a customer's channels that are on; by the unique key (customer_id, name).
SELECT name FROM alert_channels WHERE customer_id = %(customer_id)s AND enabled ORDER BY name

-- name: channel_states
-- A customer's channels with what is known of them: a handful of channels, by the keys' first column.
SELECT c.channel_id, c.name, c.kind, c.enabled, c.disabled_reason, c.failing_since,
       max(d.finished_at) FILTER (WHERE d.state = 'sent') AS last_sent,
       count(*) FILTER (WHERE d.state IN ('pending', 'retrying', 'sending')) AS waiting,
       -- A test says at once that it failed; nothing is lost with it.
       count(*) FILTER (WHERE d.state = 'dead' AND d.finished_at >= %(since)s AND (d.rule_id IS NOT NULL OR EXISTS (
               SELECT FROM delivery_alerts AS l JOIN alerts AS a ON a.customer_id = l.customer_id AND a.alert_id = l.alert_id
                WHERE l.customer_id = d.customer_id AND l.delivery_id = d.delivery_id AND a.kind <> 'test'))) AS dead
  FROM alert_channels AS c
  LEFT JOIN deliveries AS d ON d.customer_id = c.customer_id AND d.channel_id = c.channel_id
 WHERE c.customer_id = %(customer_id)s
 GROUP BY c.customer_id, c.channel_id
 ORDER BY c.name

-- name: attempts_since
-- Attempts of all customers that began since then, newest first. Served by the block range index
-- delivery_attempts_started.
SELECT k.slug, c.name AS channel, c.kind, t.started_at, coalesce(t.outcome, 'under way') AS outcome, t.status_code,
       t.latency_ms, t.detail,
       (SELECT count(*) FROM delivery_alerts AS l
         WHERE l.customer_id = d.customer_id AND l.delivery_id = d.delivery_id) AS alerts
  FROM delivery_attempts AS t
  JOIN deliveries AS d ON d.customer_id = t.customer_id AND d.delivery_id = t.delivery_id
  JOIN alert_channels AS c ON c.customer_id = d.customer_id AND c.channel_id = d.channel_id
  JOIN customers AS k ON k.customer_id = d.customer_id
 WHERE t.started_at >= %(since)s
 ORDER BY t.started_at DESC, t.delivery_id
 LIMIT %(limit)s

-- name: customers_told_since
-- To whom something was tried since then. Served by the block range index delivery_attempts_started.
SELECT DISTINCT k.customer_id, k.slug
  FROM delivery_attempts AS t JOIN customers AS k ON k.customer_id = t.customer_id
 WHERE t.started_at >= %(since)s
 ORDER BY k.slug
 LIMIT %(limit)s

-- name: dead_lately
-- Messages that were given up within the last days, and whose. Served by the partial index deliveries_dead.
SELECT count(*), coalesce(array_agg(DISTINCT k.slug), '{}')
  FROM deliveries AS d JOIN customers AS k ON k.customer_id = d.customer_id AND k.status = 'active'
 WHERE d.state = 'dead' AND d.finished_at >= %(since)s AND (d.rule_id IS NOT NULL OR EXISTS (
               SELECT FROM delivery_alerts AS l JOIN alerts AS a ON a.customer_id = l.customer_id AND a.alert_id = l.alert_id
                WHERE l.customer_id = d.customer_id AND l.delivery_id = d.delivery_id AND a.kind <> 'test'))

-- name: channels_off
-- Channels that a receiver's failures switched off, not those that a file no longer names or somebody switched off (no reason).
-- Small table, read whole.
SELECT k.slug || '/' || c.name
  FROM alert_channels AS c JOIN customers AS k ON k.customer_id = c.customer_id AND k.status = 'active'
 WHERE NOT c.enabled AND c.disabled_reason NOT LIKE 'no longer in%%'
 ORDER BY 1

-- name: channels_failing
-- Channels that are on and whose receiver has failed since then, without a success. Small table, read whole.
SELECT k.slug || '/' || c.name, c.failing_since
  FROM alert_channels AS c JOIN customers AS k ON k.customer_id = c.customer_id AND k.status = 'active'
 WHERE c.enabled AND c.failing_since IS NOT NULL
 ORDER BY c.failing_since, 1

-- name: oldest_due
-- How many deliveries wait to be taken, and since when the oldest (deliveries_due).
SELECT count(*), min(due_at) FROM deliveries
 WHERE state IN ('pending', 'retrying', 'sending') AND due_at <= %(now)s
