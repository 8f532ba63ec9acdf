-- Counting activity, and keeping what each look found.
--
-- Decisions are the first of each line (first_decisions): a denial that is paid later was a denial all the same, and
-- a correction takes nothing from what earlier days knew.
--
-- Known days. A look at a past day must use nothing that became known after it. A fact is known from its own
-- day on, or from the day it was first seen where that is later. What arrived on the customer's first day is
-- its history from before the platform watched: it counts from its own days on, so that a look at a day
-- before sign-up sees what that day would have shown.

-- name: take_touched_days
-- Days to count again; deleted in the same transaction that counts them (primary key). Not those that a merge is noting: its lines
-- are not to be seen yet, and its run counts them.
DELETE FROM touched_days
 WHERE customer_id = %(customer_id)s AND kind = %(kind)s
   AND day IN (SELECT day FROM touched_days WHERE customer_id = %(customer_id)s AND kind = %(kind)s FOR UPDATE SKIP LOCKED)
RETURNING day;

-- name: hold_counted_tables
-- Those that a count reads and writes, before the second connection is given any of it (db/second.py).
LOCK TABLE uploads, first_decisions IN ACCESS SHARE MODE;
LOCK TABLE payer_activity, payer_codes, payer_prices IN ROW EXCLUSIVE MODE;

-- name: has_more_lines
-- Whether the touched submitted days have more than so many lines; no more are read (claims_submitted).
SELECT count(*) > %(most)s
  FROM (SELECT FROM claims WHERE customer_id = %(customer_id)s AND submitted_date = ANY(%(days)s) LIMIT %(most)s + 1) AS few;

-- name: delete_activity
-- Counts of the touched submitted days (unique key, by customer and day).
DELETE FROM payer_activity WHERE customer_id = %(customer_id)s AND submitted_day = ANY(%(days)s);

-- name: insert_activity
-- Count them again. Decided, denied and denied for authorisation as in drift/activity.py (claims_submitted).
-- The first day is a value, not a join: the planner expects one line of a new upload, and in a nested loop looked it up for
-- each of a million (a third of the whole). Written in the order of the unique key, which costs less than at random.
-- OFFSET 0: asked for in an order, groups would be made by sorting lines.
WITH first_day AS (
    SELECT min(received_at AT TIME ZONE 'UTC')::date AS day FROM uploads WHERE customer_id = %(customer_id)s
), lines AS (
    SELECT c.payer_name, c.cpt_group, c.submitted_date, c.decided_date, c.billed_amount, c.allowed_amount,
           c.paid_amount, c.outcome,
           c.decided_date IS NOT NULL AND c.outcome IN ('PAID', 'DENIED', 'OTHER') AS decided,
           CASE WHEN c.denial_reason_code IS NULL THEN ''
                ELSE regexp_replace(upper(c.denial_reason_code), '[^A-Z0-9]', '', 'g') END AS code,
           (c.first_seen_at AT TIME ZONE 'UTC')::date AS seen,
           (c.decision_seen_at AT TIME ZONE 'UTC')::date AS decision_seen
      FROM first_decisions AS c
     WHERE c.customer_id = %(customer_id)s AND c.submitted_date = ANY(%(days)s)
), judged AS (
    SELECT l.*, l.decided AND l.outcome = 'DENIED' AND l.code NOT IN ('CO45', 'PR1', 'PR2', 'PR3') AS denied,
           CASE WHEN l.seen <= (SELECT day FROM first_day) THEN l.submitted_date ELSE greatest(l.submitted_date, l.seen) END AS known,
           CASE WHEN NOT l.decided THEN NULL
                WHEN l.decision_seen <= (SELECT day FROM first_day) THEN l.decided_date
                ELSE greatest(l.decided_date, l.decision_seen) END AS decision_known
      FROM lines AS l
)
INSERT INTO payer_activity (customer_id, payer, cpt_group, submitted_day, decision_age, submitted_known_day,
                            decision_known_day, lines, denied, denied_authorization, billed, allowed, paid)
SELECT * FROM (
    SELECT %(customer_id)s, payer_name, cpt_group, submitted_date,
           CASE WHEN decided THEN greatest(decided_date - submitted_date, 0) END AS decision_age, known, decision_known,
           count(*), count(*) FILTER (WHERE denied),
           count(*) FILTER (WHERE denied AND code ~ '^(CO|PR|OA|PI)?(15|197|198)$'),
           coalesce(sum(billed_amount), 0), coalesce(sum(allowed_amount), 0), coalesce(sum(paid_amount), 0)
      FROM judged
     GROUP BY payer_name, cpt_group, submitted_date,
              CASE WHEN decided THEN greatest(decided_date - submitted_date, 0) END, known, decision_known
    OFFSET 0) AS counted
 ORDER BY submitted_date, payer_name, cpt_group;

-- name: delete_codes
-- Submitted lines by code of the touched submitted days (unique key, by customer and day).
DELETE FROM payer_codes WHERE customer_id = %(customer_id)s AND submitted_day = ANY(%(days)s);

-- name: insert_codes
-- Count them again (claims_submitted).
WITH first_day AS (
    SELECT min(received_at AT TIME ZONE 'UTC')::date AS day FROM uploads WHERE customer_id = %(customer_id)s
), lines AS (
    SELECT c.payer_name, c.cpt, c.cpt_group, c.submitted_date,
           CASE WHEN (c.first_seen_at AT TIME ZONE 'UTC')::date <= (SELECT day FROM first_day) THEN c.submitted_date
                ELSE greatest(c.submitted_date, (c.first_seen_at AT TIME ZONE 'UTC')::date) END AS known
      FROM first_decisions AS c
     WHERE c.customer_id = %(customer_id)s AND c.submitted_date = ANY(%(days)s)
)
INSERT INTO payer_codes (customer_id, payer, cpt, cpt_group, submitted_day, submitted_known_day, lines)
SELECT %(customer_id)s, payer_name, cpt, cpt_group, submitted_date, known, count(*)
  FROM lines GROUP BY payer_name, cpt, cpt_group, submitted_date, known;

-- name: delete_prices
-- Prices of the touched decided days (unique key, by customer and day).
DELETE FROM payer_prices WHERE customer_id = %(customer_id)s AND decided_day = ANY(%(days)s);

-- name: insert_prices
-- Sums of the logarithm of the allowed amount a unit, over paid lines, by code and modifiers. OFFSET 0: the logarithm is taken once a
-- line, not wherever it is used, which was a quarter of the whole (claims_decided, claims_first_decided).
WITH first_day AS (
    SELECT min(received_at AT TIME ZONE 'UTC')::date AS day FROM uploads WHERE customer_id = %(customer_id)s
), lines AS (
    SELECT c.payer_name, c.cpt, coalesce(c.modifiers, '') AS modifiers, c.cpt_group, c.decided_date, c.allowed_amount,
           ln(c.allowed_amount::double precision
              / CASE WHEN c.units > 0 THEN c.units::double precision ELSE 1 END) AS log_allowed,
           CASE WHEN (c.decision_seen_at AT TIME ZONE 'UTC')::date <= (SELECT day FROM first_day) THEN c.decided_date
                ELSE greatest(c.decided_date, (c.decision_seen_at AT TIME ZONE 'UTC')::date) END AS known
      FROM first_decisions AS c
     WHERE c.customer_id = %(customer_id)s
       AND (c.latest_decided_date = ANY(%(days)s) OR c.first_decided_date = ANY(%(days)s))
       AND c.decided_date = ANY(%(days)s)
       AND c.outcome = 'PAID' AND c.allowed_amount > 0
    OFFSET 0
)
INSERT INTO payer_prices (customer_id, payer, cpt, modifiers, cpt_group, decided_day, decision_known_day, lines,
                          sum_log_allowed, sum_log_allowed_sq, allowed)
SELECT %(customer_id)s, payer_name, cpt, modifiers, cpt_group, decided_date, known, count(*), sum(log_allowed),
       sum(log_allowed * log_allowed), sum(allowed_amount)
  FROM lines GROUP BY payer_name, cpt, modifiers, cpt_group, decided_date, known;

-- name: count_activity
-- Size and span of a customer's activity, for metadata (unique key).
SELECT count(*), coalesce(sum(lines), 0)::bigint, count(DISTINCT payer), min(submitted_day), max(submitted_day)
  FROM payer_activity WHERE customer_id = %(customer_id)s;

-- name: activity_columns
-- A customer's activity of some days as an array a column; -1 and infinity: not decided (unique key).
SELECT array_agg(payer) AS payer, array_agg(cpt_group) AS cpt_group, array_agg(submitted_day) AS submitted_day,
       array_agg(coalesce(decision_age, -1)) AS decision_age, array_agg(submitted_known_day) AS submitted_known_day,
       array_agg(coalesce(decision_known_day, 'infinity')) AS decision_known_day, array_agg(lines) AS lines,
       array_agg(denied) AS denied, array_agg(denied_authorization) AS denied_authorization,
       array_agg(billed::double precision) AS billed, array_agg(allowed::double precision) AS allowed,
       array_agg(paid::double precision) AS paid
  FROM payer_activity WHERE customer_id = %(customer_id)s AND submitted_day >= %(since)s AND submitted_day < %(until)s;

-- name: activity_slice_end
-- The day at which a slice of so many rows ends, none where the rest is less (unique key, by customer and day).
SELECT submitted_day FROM payer_activity WHERE customer_id = %(customer_id)s AND submitted_day >= %(since)s ORDER BY submitted_day OFFSET %(rows)s LIMIT 1;

-- name: price_columns
-- Its prices as an array a column (unique key).
SELECT array_agg(payer) AS payer, array_agg(cpt) AS cpt, array_agg(modifiers) AS modifiers,
       array_agg(cpt_group) AS cpt_group, array_agg(decided_day) AS decided_day,
       array_agg(decision_known_day) AS decision_known_day, array_agg(lines) AS lines,
       array_agg(sum_log_allowed) AS sum_log_allowed, array_agg(sum_log_allowed_sq) AS sum_log_allowed_sq,
       array_agg(allowed::double precision) AS allowed
  FROM payer_prices WHERE customer_id = %(customer_id)s AND decided_day >= %(since)s AND decided_day < %(until)s;

-- name: price_slice_end
-- The day at which a slice of so many rows ends, none where the rest is less (unique key, by customer and day).
SELECT decided_day FROM payer_prices WHERE customer_id = %(customer_id)s AND decided_day >= %(since)s ORDER BY decided_day OFFSET %(rows)s LIMIT 1;

-- name: code_columns
-- Its submitted lines by code as an array a column (unique key).
SELECT array_agg(payer) AS payer, array_agg(cpt) AS cpt, array_agg(cpt_group) AS cpt_group,
       array_agg(submitted_day) AS submitted_day, array_agg(submitted_known_day) AS submitted_known_day,
       array_agg(lines) AS lines
  FROM payer_codes WHERE customer_id = %(customer_id)s AND submitted_day >= %(since)s AND submitted_day < %(until)s;

-- name: code_slice_end
-- The day at which a slice of so many rows ends, none where the rest is less (unique key, by customer and day).
SELECT submitted_day FROM payer_codes WHERE customer_id = %(customer_id)s AND submitted_day >= %(since)s ORDER BY submitted_day OFFSET %(rows)s LIMIT 1;

-- name: lock_customer
-- Looks at one customer one after the other (primary key). Rows that refer to the customer may be written meanwhile.
SELECT 1 FROM customers WHERE customer_id = %(customer_id)s FOR NO KEY UPDATE;

-- name: select_last_look
-- The last day on which this customer was looked at (primary key of drift_looks).
SELECT max(as_of) FROM drift_looks WHERE customer_id = %(customer_id)s;

-- name: uploads_since_last_look
-- The newest uploads of a week that brought claims since the customer was looked at last, with the requests that brought them;
-- more than fifty nobody follows (index uploads_arrivals, primary key of drift_looks).
SELECT u.upload_id::text, u.request_id
  FROM uploads AS u
 WHERE u.customer_id = %(customer_id)s AND u.received_at > now() - interval '7 days' AND u.accepted > 0
   AND u.finished_at > coalesce((SELECT max(l.made_at) FROM drift_looks AS l WHERE l.customer_id = %(customer_id)s),
                                '-infinity')
 ORDER BY u.received_at DESC
 LIMIT 50;

-- name: select_present_events
-- The events that the look of a day goes on with: as they stand now, or, where the last look was that of the same day
-- and is made again, as they stood before it (those it opened are left out). With what people had accepted by that
-- day: the live ones, and those resolved not long ago, whose days are still kept out of the baseline; without
-- memory_days all (primary key of drift_events).
SELECT CASE WHEN a.accepted_on IS NULL THEN e.event
            ELSE jsonb_set(e.event, '{memory,accepted_on}', to_jsonb(a.accepted_on)) END
  FROM (SELECT customer_id, event_id,
               CASE WHEN last_look = %(as_of)s THEN before_last_look
                    ELSE jsonb_build_object('event_id', event_id, 'payer', payer, 'cpt_group', cpt_group,
                        'signal', signal, 'direction', direction, 'state', state, 'cause', cause,
                        'started_on', started_on, 'opened_on', opened_on, 'last_look', last_look,
                        'resolved_on', resolved_on, 'memory', memory) END AS event
          FROM drift_events WHERE customer_id = %(customer_id)s) AS e
  LEFT JOIN drift_acceptances AS a
    ON a.customer_id = e.customer_id AND a.event_id = e.event_id AND a.accepted_on <= %(as_of)s
 WHERE e.event IS NOT NULL
   AND (%(memory_days)s::integer IS NULL OR e.event ->> 'state' <> 'resolved'
        OR (e.event ->> 'resolved_on')::date >= %(as_of)s::date - %(memory_days)s::integer)
 ORDER BY e.event_id;

-- name: select_events_before
-- The events as the looks kept have them before a day earlier than the last one looked at, with what people had
-- accepted by that day: those live in the last look before it, and those resolved not long ago. An earlier look back
-- may have put others into these rows than were told of; they are for seeing only (primary key of drift_results).
SELECT CASE WHEN a.accepted_on IS NULL THEN r.event
            ELSE jsonb_set(r.event, '{memory,accepted_on}', to_jsonb(a.accepted_on)) END
  FROM (SELECT DISTINCT ON (event_id) event_id, event, state, as_of FROM drift_results
         WHERE customer_id = %(customer_id)s AND as_of < %(as_of)s AND event_id IS NOT NULL
         ORDER BY event_id, as_of DESC) AS r
  LEFT JOIN drift_acceptances AS a
    ON a.customer_id = %(customer_id)s AND a.event_id = r.event_id AND a.accepted_on <= %(as_of)s
 WHERE CASE WHEN r.state = 'resolved' THEN r.as_of >= %(as_of)s::date - %(memory_days)s::integer
            ELSE r.as_of = (SELECT max(as_of) FROM drift_looks
                             WHERE customer_id = %(customer_id)s AND as_of < %(as_of)s) END
 ORDER BY r.event_id;

-- name: withdraw_events
-- Events that a look opened and, made again on the same day with more data, does not find: they are over. An event of
-- an earlier day never ends so: every look is handed all that live.
UPDATE drift_events
   SET state = 'resolved', last_look = %(as_of)s, resolved_on = %(as_of)s, updated_at = now(),
       memory = jsonb_set(memory, '{reason}', '"withdrawn"')
 WHERE customer_id = %(customer_id)s AND state <> 'resolved' AND opened_on = %(as_of)s
   AND event_id <> ALL (%(going)s::uuid[])
RETURNING event_id, payer, cpt_group, signal, direction, state, cause, started_on, opened_on, last_look, resolved_on,
          memory;

-- name: select_kept_event
-- An event as it stands now, by the beginning of its id; a second row says that more begin so (primary key).
SELECT e.event_id, e.payer, e.cpt_group, e.signal, e.direction, e.state, e.cause, e.started_on, e.opened_on,
       e.last_look, e.resolved_on, e.memory ->> 'reason' AS reason, a.accepted_on
  FROM drift_events AS e
  LEFT JOIN drift_acceptances AS a ON a.customer_id = e.customer_id AND a.event_id = e.event_id
 WHERE e.customer_id = %(customer_id)s AND e.event_id::text LIKE %(begins)s
 ORDER BY e.event_id LIMIT 2;

-- name: select_events
-- A customer's events for listing, the live ones first (primary key).
SELECT e.event_id, e.payer, e.cpt_group, e.signal, e.direction, e.state, e.cause, e.started_on, e.opened_on,
       e.last_look, e.resolved_on, e.memory ->> 'reason' AS reason, a.accepted_on
  FROM drift_events AS e
  LEFT JOIN drift_acceptances AS a ON a.customer_id = e.customer_id AND a.event_id = e.event_id
 WHERE e.customer_id = %(customer_id)s
 ORDER BY e.state = 'resolved', e.opened_on DESC, e.payer, e.signal;

-- name: select_events_page
-- A page of a customer's events, the live ones first, then the newest, from a mark on. A customer has tens a year (primary
-- key).
SELECT e.event_id, e.payer, e.cpt_group, e.signal, e.direction, e.state, e.cause, e.started_on, e.opened_on,
       e.last_look, e.resolved_on, e.memory ->> 'reason' AS reason, a.accepted_on
  FROM drift_events AS e
  LEFT JOIN drift_acceptances AS a ON a.customer_id = e.customer_id AND a.event_id = e.event_id
 WHERE e.customer_id = %(customer_id)s
   AND (%(payer)s::text IS NULL OR lower(e.payer) = lower(%(payer)s))
   AND (%(signal)s::text IS NULL OR e.signal = %(signal)s)
   AND (%(direction)s::text IS NULL OR e.direction = %(direction)s)
   AND (%(since)s::date IS NULL OR e.opened_on >= %(since)s)
   AND (%(state)s::text IS NULL OR e.state = %(state)s OR (%(state)s = 'live' AND e.state <> 'resolved'))
   AND ((e.state = 'resolved')::integer, date '9999-12-31' - e.opened_on, e.event_id)
       > (%(after_over)s, date '9999-12-31' - coalesce(%(after_day)s::date, date '9999-12-31'),
          coalesce(%(after_id)s::uuid, '00000000-0000-0000-0000-000000000000'))
 ORDER BY e.state = 'resolved', e.opened_on DESC, e.event_id
 LIMIT %(limit)s;

-- name: select_event_looks
-- What the looks kept found of an event, the newest first (primary key of drift_results, by customer and day).
SELECT r.as_of, r.state, r.direction, r.cause, r.baseline, r.current, r.effect, r.q_value, r.severity, r.n_baseline,
       r.n_current, r.maturity
  FROM drift_events AS e
  JOIN drift_results AS r ON r.customer_id = e.customer_id AND r.as_of >= e.opened_on AND r.event_id = e.event_id
 WHERE e.customer_id = %(customer_id)s AND e.event_id = %(event_id)s
 ORDER BY r.as_of DESC LIMIT %(limit)s;

-- name: select_acceptance
-- People's word on an event (primary key).
SELECT accepted_on, accepted_by, note FROM drift_acceptances
 WHERE customer_id = %(customer_id)s AND event_id = %(event_id)s;

-- name: select_known_ids
-- Those of some ids that are a customer's events (primary key).
SELECT event_id FROM drift_events WHERE customer_id = %(customer_id)s AND event_id = ANY(%(ids)s::uuid[]);

-- name: insert_acceptance
-- People's word that an event is the new normal; the first one counts, and is returned (primary key).
WITH said AS (
    INSERT INTO drift_acceptances (customer_id, event_id, accepted_on, accepted_by, note)
    VALUES (%(customer_id)s, %(event_id)s, %(accepted_on)s, %(accepted_by)s, %(note)s)
    ON CONFLICT (customer_id, event_id) DO NOTHING
    RETURNING accepted_on, accepted_by, note
)
SELECT accepted_on, accepted_by, note, false AS before FROM said
UNION ALL
SELECT accepted_on, accepted_by, note, true FROM drift_acceptances
 WHERE customer_id = %(customer_id)s AND event_id = %(event_id)s;

-- name: select_payers
-- Names under which a customer has claims, among some (unique key of payer_activity, by customer).
SELECT DISTINCT lower(payer) FROM payer_activity WHERE customer_id = %(customer_id)s AND lower(payer) = ANY(%(names)s);

-- name: select_upload_troubles
-- Days on which uploads failed, lost a good part of their rows, or brought mostly rows that were there already, each
-- with the day of the source's last upload before: what is missing lies between the two. Uploads of the customer's
-- first day are its history and miss nothing. A later upload of the same file name that ended better puts it right.
-- The share of what the day was to bring that is missing: of the bytes, of the rows, of the rows beyond what is usual.
-- By the primary key's first column; all uploads of the customer are read once.
WITH judged AS (
    SELECT source, (received_at AT TIME ZONE 'UTC')::date AS day, status, rows, rejected, byte_count,
           CASE WHEN duplicate_of IS NULL THEN duplicates + updated ELSE rows END AS known_rows,
           min((received_at AT TIME ZONE 'UTC')::date) FILTER (WHERE file_name <> '' AND status = 'success') OVER later
               AS good_again,
           min((received_at AT TIME ZONE 'UTC')::date) FILTER (WHERE file_name <> '' AND status <> 'failed') OVER later
               AS read_again
      FROM uploads
     WHERE customer_id = %(customer_id)s AND status IN ('success', 'partial', 'failed') AND received_at < %(until)s
    WINDOW later AS (PARTITION BY source, file_name ORDER BY received_at, upload_id
                     ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)
), daily AS (
    SELECT source, day, sum(rows) AS rows, sum(rejected) FILTER (WHERE status <> 'failed') AS rejected,
           sum(known_rows) AS known_rows, sum(byte_count) AS bytes,
           sum(byte_count) FILTER (WHERE status = 'failed') AS failed_bytes,
           CASE WHEN bool_and(read_again IS NOT NULL) FILTER (WHERE status = 'failed')
                THEN max(read_again) FILTER (WHERE status = 'failed') END AS read_again,
           CASE WHEN bool_and(good_again IS NOT NULL) FILTER (WHERE status = 'partial')
                THEN max(good_again) FILTER (WHERE status = 'partial') END AS good_again
      FROM judged GROUP BY source, day
), spans AS (
    SELECT d.*, lag(day) OVER source_days AS previous, min(day) OVER () AS first_day,
           avg(known_rows::double precision / nullif(rows, 0)) OVER usual AS usual_known, count(*) OVER usual AS usual_n
      FROM daily AS d
    WINDOW source_days AS (PARTITION BY source ORDER BY day),
           usual AS (PARTITION BY source ORDER BY day ROWS BETWEEN 20 PRECEDING AND 1 PRECEDING)
), told AS (
    SELECT 'failed_upload' AS code, s.*, read_again AS cleared,
           failed_bytes::double precision / nullif(bytes, 0) AS share
      FROM spans AS s WHERE failed_bytes >= 0.3 * bytes
    UNION ALL
    SELECT 'partial_upload', s.*, good_again, rejected::double precision / rows
      FROM spans AS s WHERE rejected >= %(rejected_share)s * rows AND rejected > 0
    UNION ALL
    SELECT 'resent_file', s.*, NULL, known_rows::double precision / rows - usual_known FROM spans AS s
     WHERE rows > 0 AND usual_n >= 3 AND known_rows::double precision / rows >= usual_known + 0.5
)
SELECT code, previous + 1, day, day, cleared, share FROM told
 WHERE previous IS NOT NULL AND day > first_day AND day >= %(since)s
 ORDER BY code, day, source;

-- name: select_quality_troubles
-- Days whose uploads failed a rule on many more of their rows than usual, or whose score fell; by how much more, at
-- most. As above. Primary keys of quality_findings and quality_reports, by their first column.
WITH received AS (
    SELECT upload_id, source, (received_at AT TIME ZONE 'UTC')::date AS day, rows FROM uploads
     WHERE customer_id = %(customer_id)s AND status IN ('success', 'partial', 'failed') AND received_at < %(until)s
), days AS (
    SELECT source, day, lag(day) OVER (PARTITION BY source ORDER BY day) AS previous, min(day) OVER () AS first_day
      FROM (SELECT DISTINCT source, day FROM received) AS d
), measured AS (
    SELECT u.source, u.day, f.rule AS what,
           sum(f.failing_rows)::double precision / nullif(sum(f.checked_rows), 0) AS failing
      FROM quality_findings AS f JOIN received AS u USING (upload_id)
     WHERE f.customer_id = %(customer_id)s AND f.severity IN ('error', 'warning')
     GROUP BY u.source, u.day, f.rule
    UNION ALL
    SELECT u.source, u.day, 'score', 1 - sum(r.score * u.rows) / nullif(sum(u.rows), 0) / 100
      FROM quality_reports AS r JOIN received AS u USING (upload_id)
     WHERE r.customer_id = %(customer_id)s
     GROUP BY u.source, u.day
), compared AS (
    SELECT m.*, avg(failing) OVER usual AS usual, count(*) OVER usual AS usual_n
      FROM measured AS m
    WINDOW usual AS (PARTITION BY source, what ORDER BY day ROWS BETWEEN 20 PRECEDING AND 1 PRECEDING)
)
SELECT 'failing_quality', d.previous + 1, d.day, d.day, NULL::date, max(c.failing - c.usual)
  FROM compared AS c JOIN days AS d USING (source, day)
 WHERE c.usual_n >= 3 AND d.previous IS NOT NULL AND d.day > d.first_day AND d.day >= %(since)s
 GROUP BY d.source, d.day, d.previous
HAVING bool_or(c.failing >= c.usual + CASE WHEN c.what = 'score' THEN 0.05 ELSE %(rejected_share)s END)
 ORDER BY 3, 2;

-- name: select_placebo_due
-- Customers whose drift is on to measure on a night: this night's seventh, and those not measured for a week, the longest unmeasured
-- first (customers read whole; primary key of drift_placebo).
SELECT c.customer_id, c.slug
  FROM customers AS c
  LEFT JOIN LATERAL (SELECT max(measured_on) AS measured_on FROM drift_placebo AS p
                      WHERE p.customer_id = c.customer_id) AS last ON true
 WHERE c.status = 'active' AND 'drift' <> ALL (c.products_off) AND last.measured_on IS DISTINCT FROM %(night)s
   AND (mod(hashtextextended(c.slug, 0) & 9223372036854775807, %(nights)s) = %(turn)s
        OR last.measured_on IS NULL OR last.measured_on <= %(night)s::date - %(nights)s::integer)
 ORDER BY last.measured_on NULLS FIRST, c.customer_id
 LIMIT %(limit)s;

-- name: upsert_placebo
-- A measurement; one a customer and day (primary key).
INSERT INTO drift_placebo (customer_id, measured_on, seed, method_version, looks, days, events)
VALUES (%(customer_id)s, %(measured_on)s, %(seed)s, %(method_version)s, %(looks)s, %(days)s, %(events)s)
ON CONFLICT (customer_id, measured_on) DO UPDATE
   SET seed = excluded.seed, method_version = excluded.method_version, looks = excluded.looks, days = excluded.days,
       events = excluded.events, created_at = now();

-- name: sum_placebo
-- Events, looks and number of a customer's measurements of some days with one method (primary key), and the days of
-- history in all of them together: each ends as long before its night as decisions take, and has half a year and more.
SELECT coalesce(sum(events), 0), coalesce(sum(looks), 0), count(*),
       coalesce(max(measured_on) FILTER (WHERE looks > 0) - min(measured_on - days) FILTER (WHERE looks > 0), 0)
  FROM drift_placebo
 WHERE customer_id = %(customer_id)s AND measured_on > %(since)s AND measured_on <= %(until)s
   AND method_version = %(method_version)s;

-- name: delete_results
-- A look made again replaces what it found before (primary key).
DELETE FROM drift_results WHERE customer_id = %(customer_id)s AND as_of = %(as_of)s;

-- name: upsert_look
-- The look itself.
INSERT INTO drift_looks (customer_id, as_of, method_version, settings)
VALUES (%(customer_id)s, %(as_of)s, %(method_version)s, %(settings)s)
ON CONFLICT (customer_id, as_of) DO UPDATE
   SET method_version = excluded.method_version, settings = excluded.settings, made_at = now();

-- name: insert_results
-- What a look found, in one statement.
INSERT INTO drift_results (customer_id, as_of, payer, cpt_group, signal, direction, state, event_id, baseline, current,
                         effect, p_value, q_value, severity, n_baseline, n_current, maturity, cause, detail, event)
SELECT %(customer_id)s, %(as_of)s, r.payer, r.cpt_group, r.signal, r.direction, r.state, r.event_id, r.baseline,
       r.current, r.effect, r.p_value, r.q_value, r.severity, r.n_baseline, r.n_current, r.maturity, r.cause, r.detail, r.event
  FROM jsonb_to_recordset(%(rows)s) AS r(payer text, cpt_group text, signal text, direction text, state text,
       event_id uuid, baseline double precision, current double precision, effect double precision,
       p_value double precision, q_value double precision, severity double precision, n_baseline bigint,
       n_current bigint, maturity double precision, cause text, detail jsonb, event jsonb);

-- name: upsert_events
-- The events' present state, in one statement. As they stood before is kept beside it, and stays where a look is made
-- again: rows of earlier days may be replaced by a look back at any time. What it was opened with is that of the look of
-- its day, made again or not, and of no other.
INSERT INTO drift_events (customer_id, event_id, payer, cpt_group, signal, direction, state, started_on, opened_on,
                          last_look, resolved_on, cause, memory, method_version, settings, opened_method_version,
                          opened_settings, updated_at)
SELECT %(customer_id)s, r.event_id, r.payer, r.cpt_group, r.signal, r.direction, r.state, r.started_on, r.opened_on,
       r.last_look, r.resolved_on, r.cause, r.memory, %(method_version)s, %(settings)s, %(method_version)s, %(settings)s,
       now()
  FROM jsonb_to_recordset(%(rows)s) AS r(event_id uuid, payer text, cpt_group text, signal text, direction text,
       state text, started_on date, opened_on date, last_look date, resolved_on date, cause text, memory jsonb)
ON CONFLICT (customer_id, event_id) DO UPDATE
   SET state = excluded.state, direction = excluded.direction, opened_on = excluded.opened_on, cause = excluded.cause,
       last_look = excluded.last_look, resolved_on = excluded.resolved_on, memory = excluded.memory,
       method_version = excluded.method_version, settings = excluded.settings, updated_at = now(),
       opened_method_version = CASE WHEN excluded.last_look = drift_events.opened_on THEN excluded.method_version
           ELSE drift_events.opened_method_version END,
       opened_settings = CASE WHEN excluded.last_look = drift_events.opened_on THEN excluded.settings
           ELSE drift_events.opened_settings END,
       before_last_look = CASE WHEN drift_events.last_look >= excluded.last_look THEN drift_events.before_last_look
           ELSE jsonb_build_object('event_id', drift_events.event_id, 'payer', drift_events.payer,
               'cpt_group', drift_events.cpt_group, 'signal', drift_events.signal,
               'direction', drift_events.direction, 'state', drift_events.state, 'cause', drift_events.cause,
               'started_on', drift_events.started_on, 'opened_on', drift_events.opened_on,
               'last_look', drift_events.last_look, 'resolved_on', drift_events.resolved_on,
               'memory', drift_events.memory) END;

-- name: breakdown
-- One payer's lines before and since a change, summed in one pass by procedure, facility, reason and age. Known
-- days, decided, denied and codes as in insert_activity. What is no reason code (a source may write anything there)
-- is not repeated (claims_submitted).
WITH first_day AS (
    SELECT min(received_at AT TIME ZONE 'UTC')::date AS day FROM uploads WHERE customer_id = %(customer_id)s
), periods (period, first, last) AS (
    VALUES ('before', %(before_first)s::date, %(before_last)s::date),
           ('since', %(since_first)s::date, %(since_last)s::date)
), lines AS (
    SELECT c.cpt, c.cpt_group, coalesce(c.modifiers, '') AS modifiers,
           coalesce(nullif(btrim(c.facility), ''), 'not given') AS facility, c.submitted_date, c.outcome,
           c.billed_amount, c.allowed_amount, c.paid_amount,
           regexp_replace(upper(coalesce(c.denial_reason_code, '')), '[^A-Z0-9]', '', 'g') AS code,
           CASE WHEN c.decided_date IS NOT NULL AND c.outcome IN ('PAID', 'DENIED', 'OTHER')
                 AND (CASE WHEN (c.decision_seen_at AT TIME ZONE 'UTC')::date <= f.day THEN c.decided_date
                           ELSE greatest(c.decided_date, (c.decision_seen_at AT TIME ZONE 'UTC')::date) END)
                     < %(as_of)s::date
                THEN greatest(c.decided_date, c.submitted_date) END AS decided_day,
           CASE WHEN c.outcome = 'PAID' AND c.allowed_amount > 0
                THEN ln(c.allowed_amount::double precision
                        / CASE WHEN c.units > 0 THEN c.units::double precision ELSE 1 END) END AS log_allowed
      FROM first_decisions AS c CROSS JOIN first_day AS f
     WHERE c.customer_id = %(customer_id)s AND c.payer_name = %(payer)s
       AND c.submitted_date BETWEEN %(before_first)s::date - %(reach)s::integer AND %(since_last)s::date
       AND (CASE WHEN (c.first_seen_at AT TIME ZONE 'UTC')::date <= f.day THEN c.submitted_date
                 ELSE greatest(c.submitted_date, (c.first_seen_at AT TIME ZONE 'UTC')::date) END) < %(as_of)s::date
), placed AS (
    SELECT p.period, l.*, l.submitted_date BETWEEN p.first AND p.last AS sent,
           l.decided_day BETWEEN p.first AND p.last AS paid_out,
           CASE %(by)s WHEN 'decision' THEN coalesce(l.decided_day BETWEEN p.first AND p.last, false)
                ELSE l.submitted_date BETWEEN p.first AND p.last AND coalesce(l.decided_day <= p.last, false)
           END AS decided,
           l.outcome = 'DENIED' AND l.code NOT IN ('CO45', 'PR1', 'PR2', 'PR3') AS denied
      FROM lines AS l CROSS JOIN periods AS p WHERE l.submitted_date <= p.last
), counted AS (
    SELECT d.*, d.decided AND d.denied AS counts_denied, d.paid_out AND d.log_allowed IS NOT NULL AS priced,
           CASE WHEN d.decided THEN width_bucket(d.decided_day - d.submitted_date, %(edges)s::integer[]) ELSE 0 END
               AS age_bin,
           CASE WHEN NOT (d.decided AND d.denied) THEN '' WHEN d.code = '' THEN 'not given'
                WHEN d.code ~ '^(CO|PR|OA|PI|CR)?([0-9]{1,3}|[A-Z][0-9]{1,2})$' THEN d.code ELSE 'other' END AS reason
      FROM placed AS d WHERE d.sent OR d.decided OR d.paid_out
)
SELECT CASE WHEN grouping(cpt) = 0 AND grouping(facility) = 0 THEN 'procedure_facility'
            WHEN grouping(cpt) = 0 THEN 'procedure' WHEN grouping(cpt_group) = 0 THEN 'cpt_group'
            WHEN grouping(facility) = 0 THEN 'facility' WHEN grouping(reason) = 0 THEN 'denial_code'
            ELSE 'all' END AS dimension,
       period, coalesce(age_bin, 0) AS age_bin, coalesce(facility, cpt_group, reason, '') AS name,
       coalesce(cpt, '') AS cpt, coalesce(modifiers, '') AS modifiers,
       count(*) FILTER (WHERE sent) AS lines, count(*) FILTER (WHERE decided) AS decided,
       count(*) FILTER (WHERE counts_denied) AS denied,
       count(*) FILTER (WHERE counts_denied AND code ~ '^(CO|PR|OA|PI)?(15|197|198)$') AS denied_authorization,
       count(*) FILTER (WHERE paid_out) AS paid_out, count(*) FILTER (WHERE priced) AS priced,
       coalesce(sum(billed_amount) FILTER (WHERE sent), 0) AS billed,
       coalesce(sum(allowed_amount) FILTER (WHERE priced), 0) AS allowed,
       coalesce(sum(paid_amount) FILTER (WHERE priced), 0) AS paid,
       coalesce(sum(log_allowed) FILTER (WHERE priced), 0) AS sum_log_allowed,
       coalesce(sum(log_allowed * log_allowed) FILTER (WHERE priced), 0) AS sum_log_allowed_sq
  FROM counted
 GROUP BY GROUPING SETS ((period), (period, age_bin, cpt_group), (period, age_bin, facility),
                         (period, age_bin, reason), (period, cpt, modifiers, cpt_group),
                         (period, cpt, modifiers, facility))
 ORDER BY 1, 2, 3, 4, 5, 6;

-- name: common_facilities
-- Facilities with so many lines on so many days before a change. Of all payers: the range of days is read for one payer
-- all the same, a place is the same with each, and a payer of few lines would leave all its facilities without a name.
-- Known days as in breakdown (claims_submitted).
WITH first_day AS (
    SELECT min(received_at AT TIME ZONE 'UTC')::date AS day FROM uploads WHERE customer_id = %(customer_id)s
)
SELECT btrim(c.facility)
  FROM first_decisions AS c CROSS JOIN first_day AS f
 WHERE c.customer_id = %(customer_id)s AND btrim(c.facility) <> ''
   AND c.submitted_date BETWEEN %(common_first)s::date AND %(before_last)s::date
   AND ((c.first_seen_at AT TIME ZONE 'UTC')::date <= f.day
        OR (c.first_seen_at AT TIME ZONE 'UTC')::date < %(as_of)s::date)
 GROUP BY btrim(c.facility)
HAVING count(*) >= %(common_lines)s AND count(DISTINCT c.submitted_date) >= %(common_days)s;

-- name: select_listed_codes
-- The codes that a customer's groups name in full, without the beginnings (`992*`). Primary key of customers.
SELECT upper(k.code)
  FROM customers AS c CROSS JOIN jsonb_object_keys(
           coalesce(jsonb_path_query_first(c.configuration, '$.mapping.cpt_groups ? (@.type() == "object")'), '{}')
       ) AS k (code)
 WHERE c.customer_id = %(customer_id)s AND k.code NOT LIKE '%%*';

-- name: lag_exposure
-- Days that one payer's lines spent open, and decisions, by age, before and since a change: a line is open on each
-- day from its submission to its decision, both included. Known days as in breakdown (claims_submitted).
WITH first_day AS (
    SELECT min(received_at AT TIME ZONE 'UTC')::date AS day FROM uploads WHERE customer_id = %(customer_id)s
), periods (period, first, last) AS (
    VALUES ('before', %(before_first)s::date, %(before_last)s::date),
           ('since', %(since_first)s::date, %(since_last)s::date)
), bins AS (
    SELECT n AS age_bin, edge AS low, coalesce(lead(edge) OVER (ORDER BY n), 100000) AS high
      FROM unnest(%(edges)s::integer[]) WITH ORDINALITY AS e (edge, n)
), lines AS (
    SELECT c.cpt_group, coalesce(nullif(btrim(c.facility), ''), 'not given') AS facility, c.submitted_date,
           CASE WHEN c.decided_date IS NOT NULL AND c.outcome IN ('PAID', 'DENIED', 'OTHER')
                 AND (CASE WHEN (c.decision_seen_at AT TIME ZONE 'UTC')::date <= f.day THEN c.decided_date
                           ELSE greatest(c.decided_date, (c.decision_seen_at AT TIME ZONE 'UTC')::date) END)
                     < %(as_of)s::date
                THEN greatest(c.decided_date, c.submitted_date) END AS decided_day
      FROM first_decisions AS c CROSS JOIN first_day AS f
     WHERE c.customer_id = %(customer_id)s AND c.payer_name = %(payer)s
       AND c.submitted_date BETWEEN %(before_first)s::date - %(reach)s::integer AND %(since_last)s::date
       AND (CASE WHEN (c.first_seen_at AT TIME ZONE 'UTC')::date <= f.day THEN c.submitted_date
                 ELSE greatest(c.submitted_date, (c.first_seen_at AT TIME ZONE 'UTC')::date) END) < %(as_of)s::date
), open_days AS (
    SELECT p.period, l.cpt_group, l.facility,
           greatest(p.first - l.submitted_date, 0) AS youngest,
           least(coalesce(l.decided_day, p.last), p.last) - l.submitted_date AS oldest,
           l.decided_day <= p.last AS decided
      FROM lines AS l CROSS JOIN periods AS p
     WHERE l.submitted_date <= p.last AND coalesce(l.decided_day >= p.first, true)
       AND (%(by)s = 'decision' OR l.submitted_date >= p.first)
)
SELECT CASE WHEN grouping(cpt_group) = 0 THEN 'cpt_group' ELSE 'facility' END AS dimension, o.period, b.age_bin,
       coalesce(o.cpt_group, o.facility) AS name,
       sum(least(o.oldest, b.high - 1) - greatest(o.youngest, b.low) + 1) AS line_days,
       count(*) FILTER (WHERE o.decided AND o.oldest < b.high) AS decided
  FROM open_days AS o JOIN bins AS b ON o.oldest >= b.low AND o.youngest < b.high
 GROUP BY GROUPING SETS ((o.period, b.age_bin, o.cpt_group), (o.period, b.age_bin, o.facility))
 ORDER BY 1, 2, 3, 4;

-- name: denial_outcomes
-- The payer's first submitted day; and of its denials of the last year those first decided more than so many days ago,
-- and those of them that were paid by the day of the look. Both of the same denials: with those overturned of any age
-- against those standing of 90 days and more, a third overturned read as a half. What became of one is its latest
-- decision known by then, so that an appeal won later leaves what an earlier look found as it was (claims_submitted;
-- of the few that were replaced, claims and history by primary key, looked up one by one: settle_stored says why).
WITH first_day AS (
    SELECT min(received_at AT TIME ZONE 'UTC')::date AS day FROM uploads WHERE customer_id = %(customer_id)s
), denied AS MATERIALIZED (
    SELECT c.customer_id, c.claim_key, c.first_decided_date IS NOT NULL AS replaced
      FROM first_decisions AS c CROSS JOIN first_day AS f
     WHERE c.customer_id = %(customer_id)s AND c.payer_name = %(payer)s
       AND c.submitted_date BETWEEN %(as_of)s::date - 365 AND %(as_of)s::date
       AND c.outcome = 'DENIED' AND c.decided_date < %(as_of)s::date - %(stood_days)s::integer
       AND ((c.decision_seen_at AT TIME ZONE 'UTC')::date <= f.day
            OR (c.decision_seen_at AT TIME ZONE 'UTC')::date < %(as_of)s::date)
       AND regexp_replace(upper(coalesce(c.denial_reason_code, '')), '[^A-Z0-9]', '', 'g')
           NOT IN ('CO45', 'PR1', 'PR2', 'PR3')
), versions AS (
    SELECT d.claim_key, c.version, c.outcome, c.decided_date, c.decision_seen_at
      FROM denied AS d CROSS JOIN LATERAL (
           SELECT k.version, k.outcome, k.decided_date, k.decision_seen_at FROM claims AS k
            WHERE k.customer_id = d.customer_id AND k.claim_key = d.claim_key OFFSET 0) AS c
     WHERE d.replaced
    UNION ALL
    SELECT d.claim_key, h.version, h.line ->> 'outcome', (h.line ->> 'decided_date')::date,
           (h.line ->> 'decision_seen_at')::timestamptz
      FROM denied AS d JOIN claim_history AS h ON h.customer_id = %(customer_id)s AND h.claim_key = d.claim_key
     WHERE d.replaced
), latest AS (
    SELECT DISTINCT ON (v.claim_key) v.outcome
      FROM versions AS v CROSS JOIN first_day AS f
     WHERE v.outcome IN ('PAID', 'DENIED', 'OTHER') AND v.decided_date < %(as_of)s::date
       AND ((v.decision_seen_at AT TIME ZONE 'UTC')::date <= f.day
            OR (v.decision_seen_at AT TIME ZONE 'UTC')::date < %(as_of)s::date)
     ORDER BY v.claim_key, v.version DESC
)
SELECT (SELECT min(submitted_day) FROM payer_activity
         WHERE customer_id = %(customer_id)s AND payer = %(payer)s AND submitted_known_day < %(as_of)s::date),
       (SELECT count(*) FROM denied), (SELECT count(*) FROM latest WHERE outcome = 'PAID');

-- name: event_lines
-- The claim lines behind an event, as a query and not a copy: those counted in the period since its change, and
-- of them the ones it is about. Only what is needed to find a line again; known days as in breakdown
-- (claims_submitted).
WITH first_day AS (
    SELECT min(received_at AT TIME ZONE 'UTC')::date AS day FROM uploads WHERE customer_id = %(customer_id)s
), lines AS (
    SELECT c.claim_key, c.claim_id, c.line_number, c.upload_id, c.source_row_number, c.cpt, c.facility,
           c.submitted_date, c.outcome, c.allowed_amount,
           regexp_replace(upper(coalesce(c.denial_reason_code, '')), '[^A-Z0-9]', '', 'g') AS code,
           CASE WHEN c.decided_date IS NOT NULL AND c.outcome IN ('PAID', 'DENIED', 'OTHER')
                 AND (CASE WHEN (c.decision_seen_at AT TIME ZONE 'UTC')::date <= f.day THEN c.decided_date
                           ELSE greatest(c.decided_date, (c.decision_seen_at AT TIME ZONE 'UTC')::date) END)
                     < %(as_of)s::date
                THEN greatest(c.decided_date, c.submitted_date) END AS decided_day
      FROM first_decisions AS c CROSS JOIN first_day AS f
     WHERE c.customer_id = %(customer_id)s AND c.payer_name = %(payer)s
       AND c.submitted_date BETWEEN %(since_first)s::date - %(reach)s::integer AND %(since_last)s::date
       AND (CASE WHEN (c.first_seen_at AT TIME ZONE 'UTC')::date <= f.day THEN c.submitted_date
                 ELSE greatest(c.submitted_date, (c.first_seen_at AT TIME ZONE 'UTC')::date) END) < %(as_of)s::date
)
SELECT claim_key, claim_id, line_number, upload_id, source_row_number, submitted_date,
       CASE WHEN decided_day <= %(since_last)s::date THEN decided_day END AS decided_date,
       CASE WHEN decided_day <= %(since_last)s::date THEN outcome ELSE 'PENDING' END AS outcome
  FROM lines
 WHERE CASE %(signal)s
       WHEN 'denial_rate' THEN outcome = 'DENIED' AND code NOT IN ('CO45', 'PR1', 'PR2', 'PR3')
            AND decided_day <= %(since_last)s::date
       WHEN 'authorization_denials' THEN outcome = 'DENIED' AND code ~ '^(CO|PR|OA|PI)?(15|197|198)$'
            AND decided_day <= %(since_last)s::date
       WHEN 'allowed_amount' THEN outcome = 'PAID' AND allowed_amount > 0 AND decided_day <= %(since_last)s::date
       WHEN 'decision_lag' THEN decided_day IS NULL OR decided_day >= %(since_first)s::date
       ELSE true END
   AND CASE WHEN %(by)s = 'submission' OR %(signal)s IN ('volume', 'procedure_mix')
            THEN submitted_date >= %(since_first)s::date
            ELSE coalesce(decided_day >= %(since_first)s::date, true) END
 ORDER BY submitted_date, claim_key;

-- name: select_event_row
-- An event's newest row that compares two periods (primary key of drift_results, by customer).
SELECT as_of, payer, cpt_group, signal, direction, state, event_id::text, baseline, current, effect, p_value, q_value,
       severity, n_baseline, n_current, maturity, cause, detail
  FROM drift_results
 WHERE customer_id = %(customer_id)s AND event_id = %(event_id)s AND detail ? 'complete_to'
 ORDER BY as_of DESC LIMIT 1;

-- name: select_opened_with
-- What events were opened with (primary key).
SELECT event_id, opened_method_version AS method_version, opened_settings AS settings
  FROM drift_events WHERE customer_id = %(customer_id)s AND event_id = ANY(%(ids)s::uuid[]);

-- name: select_opening
-- What the look of the day an event opened found of it, as it is kept now, and with what (primary key).
SELECT l.method_version, l.settings,
       jsonb_build_object('payer', r.payer, 'cpt_group', r.cpt_group, 'signal', r.signal, 'direction', r.direction,
           'state', r.state, 'event_id', r.event_id, 'baseline', r.baseline, 'current', r.current,
           'effect', r.effect, 'p_value', r.p_value, 'q_value', r.q_value, 'severity', r.severity,
           'n_baseline', r.n_baseline, 'n_current', r.n_current, 'maturity', r.maturity, 'cause', r.cause, 'detail', r.detail) AS row
  FROM drift_results AS r
  JOIN drift_looks AS l ON l.customer_id = r.customer_id AND l.as_of = r.as_of
 WHERE r.customer_id = %(customer_id)s AND r.as_of = %(as_of)s AND r.event_id = %(event_id)s;

-- name: payer_months
-- A customer's activity by payer and month of submission, the payers with the most lines (unique key of payer_activity, by
-- customer and day).
WITH months AS (
    SELECT payer, date_trunc('month', submitted_day)::date AS month, sum(lines)::bigint AS lines,
           coalesce(sum(lines) FILTER (WHERE decision_age IS NOT NULL), 0)::bigint AS decided, sum(denied)::bigint AS denied,
           sum(billed) AS billed, sum(allowed) AS allowed, sum(paid) AS paid
      FROM payer_activity
     WHERE customer_id = %(customer_id)s AND submitted_day BETWEEN %(first)s AND %(last)s
       AND (%(payer)s::text IS NULL OR lower(payer) = lower(%(payer)s))
     GROUP BY payer, date_trunc('month', submitted_day)
), ranked AS (
    SELECT payer, row_number() OVER (ORDER BY sum(lines) DESC, payer) AS rank FROM months GROUP BY payer
)
SELECT m.payer, m.month, m.lines, m.decided, m.denied,
       round(m.denied::numeric / nullif(m.decided, 0), 6)::double precision AS denied_share, m.billed, m.allowed, m.paid
  FROM months AS m JOIN ranked AS r USING (payer)
 WHERE r.rank <= %(payers)s
 ORDER BY r.rank, m.month;
