-- Counting activity, and keeping what each look found.
--
-- Known days. A look at a past day must use nothing that became known after it. A fact is known from its own
-- day on, or from the day it was first seen where that is later. What arrived on the customer's first day is
-- its history from before the platform watched: it counts from its own days on, so that a look at a day
-- before sign-up sees what that day would have shown.

-- name: take_touched_days
-- Days to count again; deleted in the same transaction that counts them (primary key).
DELETE FROM touched_days WHERE customer_id = %(customer_id)s AND kind = %(kind)s RETURNING day;

-- name: delete_activity
-- Counts of the touched submitted days (unique key, by customer and day).
DELETE FROM payer_activity WHERE customer_id = %(customer_id)s AND submitted_day = ANY(%(days)s);

-- name: insert_activity
-- Count them again. Decided, denied and denied for authorisation as in drift/activity.py (claims_submitted).
WITH first_day AS (
    SELECT min(received_at AT TIME ZONE 'UTC')::date AS day FROM uploads WHERE customer_id = %(customer_id)s
), lines AS (
    SELECT c.payer_name, c.cpt_group, c.submitted_date, c.decided_date, c.billed_amount, c.allowed_amount,
           c.paid_amount, c.outcome,
           c.decided_date IS NOT NULL AND c.outcome IN ('PAID', 'DENIED', 'OTHER') AS decided,
           regexp_replace(upper(coalesce(c.denial_reason_code, '')), '[^A-Z0-9]', '', 'g') AS code,
           (c.first_seen_at AT TIME ZONE 'UTC')::date AS seen,
           (c.decision_seen_at AT TIME ZONE 'UTC')::date AS decision_seen
      FROM claims AS c
     WHERE c.customer_id = %(customer_id)s AND c.submitted_date = ANY(%(days)s)
), judged AS (
    SELECT l.*, l.decided AND l.outcome = 'DENIED' AND l.code NOT IN ('CO45', 'PR1', 'PR2', 'PR3') AS denied,
           CASE WHEN l.seen <= f.day THEN l.submitted_date ELSE greatest(l.submitted_date, l.seen) END AS known,
           CASE WHEN NOT l.decided THEN NULL
                WHEN l.decision_seen <= f.day THEN l.decided_date
                ELSE greatest(l.decided_date, l.decision_seen) END AS decision_known
      FROM lines AS l CROSS JOIN first_day AS f
)
INSERT INTO payer_activity (customer_id, payer, cpt_group, submitted_day, decision_age, submitted_known_day,
                            decision_known_day, lines, denied, denied_authorization, billed, allowed, paid)
SELECT %(customer_id)s, payer_name, cpt_group, submitted_date,
       CASE WHEN decided THEN greatest(decided_date - submitted_date, 0) END, known, decision_known,
       count(*), count(*) FILTER (WHERE denied),
       count(*) FILTER (WHERE denied AND code ~ '^(CO|PR|OA|PI)?(15|197|198)$'),
       coalesce(sum(billed_amount), 0), coalesce(sum(allowed_amount), 0), coalesce(sum(paid_amount), 0)
  FROM judged
 GROUP BY payer_name, cpt_group, submitted_date,
          CASE WHEN decided THEN greatest(decided_date - submitted_date, 0) END, known, decision_known;

-- name: delete_codes
-- Submitted lines by code of the touched submitted days (unique key, by customer and day).
DELETE FROM payer_codes WHERE customer_id = %(customer_id)s AND submitted_day = ANY(%(days)s);

-- name: insert_codes
-- Count them again (claims_submitted).
WITH first_day AS (
    SELECT min(received_at AT TIME ZONE 'UTC')::date AS day FROM uploads WHERE customer_id = %(customer_id)s
), lines AS (
    SELECT c.payer_name, c.cpt, c.cpt_group, c.submitted_date,
           CASE WHEN (c.first_seen_at AT TIME ZONE 'UTC')::date <= f.day THEN c.submitted_date
                ELSE greatest(c.submitted_date, (c.first_seen_at AT TIME ZONE 'UTC')::date) END AS known
      FROM claims AS c CROSS JOIN first_day AS f
     WHERE c.customer_id = %(customer_id)s AND c.submitted_date = ANY(%(days)s)
)
INSERT INTO payer_codes (customer_id, payer, cpt, cpt_group, submitted_day, submitted_known_day, lines)
SELECT %(customer_id)s, payer_name, cpt, cpt_group, submitted_date, known, count(*)
  FROM lines GROUP BY payer_name, cpt, cpt_group, submitted_date, known;

-- name: delete_prices
-- Prices of the touched decided days (unique key, by customer and day).
DELETE FROM payer_prices WHERE customer_id = %(customer_id)s AND decided_day = ANY(%(days)s);

-- name: insert_prices
-- Sums of the logarithm of the allowed amount a unit, over paid lines, by code and modifiers (claims_decided).
WITH first_day AS (
    SELECT min(received_at AT TIME ZONE 'UTC')::date AS day FROM uploads WHERE customer_id = %(customer_id)s
), lines AS (
    SELECT c.payer_name, c.cpt, coalesce(c.modifiers, '') AS modifiers, c.cpt_group, c.decided_date, c.allowed_amount,
           ln(c.allowed_amount::double precision
              / CASE WHEN c.units > 0 THEN c.units::double precision ELSE 1 END) AS log_allowed,
           CASE WHEN (c.decision_seen_at AT TIME ZONE 'UTC')::date <= f.day THEN c.decided_date
                ELSE greatest(c.decided_date, (c.decision_seen_at AT TIME ZONE 'UTC')::date) END AS known
      FROM claims AS c CROSS JOIN first_day AS f
     WHERE c.customer_id = %(customer_id)s AND c.decided_date = ANY(%(days)s)
       AND c.outcome = 'PAID' AND c.allowed_amount > 0
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

-- name: copy_activity
-- A customer's activity as CSV, for one whole read into arrays (unique key).
COPY (SELECT payer, cpt_group, submitted_day, decision_age, submitted_known_day, decision_known_day, lines, denied,
             denied_authorization, billed, allowed, paid
        FROM payer_activity WHERE customer_id = {}) TO STDOUT (FORMAT csv, HEADER);

-- name: copy_prices
-- A customer's prices as CSV (unique key).
COPY (SELECT payer, cpt, modifiers, cpt_group, decided_day, decision_known_day, lines, sum_log_allowed, sum_log_allowed_sq,
             allowed
        FROM payer_prices WHERE customer_id = {}) TO STDOUT (FORMAT csv, HEADER);

-- name: copy_codes
-- A customer's submitted lines by code as CSV (unique key).
COPY (SELECT payer, cpt, cpt_group, submitted_day, submitted_known_day, lines
        FROM payer_codes WHERE customer_id = {}) TO STDOUT (FORMAT csv, HEADER);

-- name: lock_customer
-- Looks at one customer one after the other (primary key).
SELECT 1 FROM customers WHERE customer_id = %(customer_id)s FOR UPDATE;

-- name: select_last_look
-- The last day on which this customer was looked at (primary key of drift_looks).
SELECT max(as_of) FROM drift_looks WHERE customer_id = %(customer_id)s;

-- name: select_live_events
-- The events as they stood after the last look before a day: the live ones, and those resolved not long ago,
-- whose days are still kept out of the baseline (primary key of drift_results).
SELECT event FROM (
    SELECT DISTINCT ON (event_id) event, state, as_of FROM drift_results
     WHERE customer_id = %(customer_id)s AND as_of < %(as_of)s AND event_id IS NOT NULL
     ORDER BY event_id, as_of DESC) AS latest
 WHERE state <> 'resolved' OR as_of >= %(as_of)s::date - %(memory_days)s::integer
 ORDER BY event ->> 'event_id';

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
                         effect, p_value, q_value, severity, n_baseline, n_current, maturity, detail, event)
SELECT %(customer_id)s, %(as_of)s, r.payer, r.cpt_group, r.signal, r.direction, r.state, r.event_id, r.baseline,
       r.current, r.effect, r.p_value, r.q_value, r.severity, r.n_baseline, r.n_current, r.maturity, r.detail, r.event
  FROM jsonb_to_recordset(%(rows)s) AS r(payer text, cpt_group text, signal text, direction text, state text,
       event_id uuid, baseline double precision, current double precision, effect double precision,
       p_value double precision, q_value double precision, severity double precision, n_baseline bigint,
       n_current bigint, maturity double precision, detail jsonb, event jsonb);

-- name: upsert_events
-- The events' present state, in one statement.
INSERT INTO drift_events (customer_id, event_id, payer, cpt_group, signal, direction, state, started_on, opened_on,
                          last_look, resolved_on, memory, method_version, settings, updated_at)
SELECT %(customer_id)s, r.event_id, r.payer, r.cpt_group, r.signal, r.direction, r.state, r.started_on, r.opened_on,
       r.last_look, r.resolved_on, r.memory, %(method_version)s, %(settings)s, now()
  FROM jsonb_to_recordset(%(rows)s) AS r(event_id uuid, payer text, cpt_group text, signal text, direction text,
       state text, started_on date, opened_on date, last_look date, resolved_on date, memory jsonb)
ON CONFLICT (customer_id, event_id) DO UPDATE
   SET state = excluded.state, direction = excluded.direction, opened_on = excluded.opened_on,
       last_look = excluded.last_look, resolved_on = excluded.resolved_on, memory = excluded.memory,
       method_version = excluded.method_version, settings = excluded.settings, updated_at = now();
