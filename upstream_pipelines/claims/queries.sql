-- Merging received lines into claims, and applying aliases and groups again.

-- name: place_remittances
-- Key and payer's position of each line of a remittance; empty, without a look at any line, for uploads of other sources
-- (place_repeats fills it for those).
-- The primary payer's lines have the keys that files and batches give them; those of later payers are derived from these.
-- A denial or reversal does not say whose it is. It is that of the position at which its number stands already, in claims
-- or in this upload; else that of its payer; else the next free one where another payer has decided; else the primary's.
-- received_lines by primary key, claims by primary key, as in settle_stored.
CREATE TEMP TABLE placed ON COMMIT DROP AS
WITH sent AS (
    SELECT l.customer_id, l.source_row_number, l.payer, l.payer_position, coalesce(l.claim_id, '') AS claim_id,
           coalesce(l.payer_claim_number, '') AS number,
           CASE WHEN l.key_is_natural AND l.claim_ordinal = 1 THEN l.line_key
                ELSE md5(l.line_key::text || ':' || l.claim_ordinal)::uuid END AS first_key
      FROM received_lines AS l
     WHERE l.customer_id = %(customer_id)s AND l.upload_id = %(upload_id)s
       AND (SELECT u.source FROM uploads AS u
             WHERE u.customer_id = %(customer_id)s AND u.upload_id = %(upload_id)s) = 'x12_835'
), payers AS (
    SELECT payer, payer_name FROM names_of_payers(ARRAY(SELECT DISTINCT payer FROM sent), %(aliases)s)
), lines AS (
    SELECT s.*, p.payer_name FROM sent AS s JOIN payers AS p ON p.payer = s.payer
), seen AS (
    SELECT l.claim_id, l.payer_name, l.number, p.place, c.payer_claim_number = l.number AS same_number,
           c.payer_name = l.payer_name AS same_payer, c.outcome <> 'PENDING' AS decided
      FROM lines AS l CROSS JOIN (VALUES (1), (2), (3)) AS p (place)
     CROSS JOIN LATERAL (
           SELECT k.payer_claim_number, k.payer_name, k.outcome FROM claims AS k
            WHERE k.customer_id = l.customer_id
              AND k.claim_key = CASE p.place WHEN 1 THEN l.first_key
                                             ELSE md5(l.first_key::text || ':payer ' || p.place)::uuid END OFFSET 0) AS c
     WHERE l.payer_position IS NULL
     UNION ALL
    SELECT u.claim_id, u.payer_name, u.number, t.payer_position, u.number <> '' AND t.number = u.number,
           t.payer_name = u.payer_name, true
      FROM (SELECT DISTINCT claim_id, payer_name, number FROM lines WHERE payer_position IS NULL) AS u
      JOIN (SELECT DISTINCT claim_id, payer_name, number, payer_position FROM lines
             WHERE payer_position IS NOT NULL) AS t ON t.claim_id = u.claim_id AND u.claim_id <> ''
), found AS (
    SELECT claim_id, payer_name, number,
           coalesce(min(place) FILTER (WHERE same_number), min(place) FILTER (WHERE same_payer),
                    CASE WHEN NOT bool_or(place = 1 AND decided) THEN 1
                         WHEN NOT bool_or(place = 2) THEN 2 ELSE 3 END) AS place
      FROM seen GROUP BY claim_id, payer_name, number
), chosen AS (
    SELECT l.source_row_number, l.first_key, coalesce(l.payer_position, f.place, 1) AS place
      FROM lines AS l LEFT JOIN found AS f
        ON f.claim_id = l.claim_id AND f.payer_name = l.payer_name AND f.number = l.number
)
SELECT source_row_number, place,
       CASE place WHEN 1 THEN first_key ELSE md5(first_key::text || ':payer ' || place)::uuid END AS claim_key
  FROM chosen;

-- name: note_two
-- Two connections begin to add lines of the upload (primary key); finish_upload takes it back.
UPDATE uploads SET added_by_two = true
 WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s AND status = 'processing';

-- name: how_to_merge
-- Whether two lines of the upload may have one key, some have no natural one, and the customer has claims; how many good lines there
-- should be, and the last one's row number (primary keys).
SELECT u.lines_repeat IS NOT FALSE, u.unnatural_lines IS DISTINCT FROM 0,
       EXISTS (SELECT FROM claims AS c WHERE c.customer_id = u.customer_id), u.rows - u.rejected,
       coalesce((SELECT max(l.source_row_number) FROM received_lines AS l
                  WHERE l.customer_id = u.customer_id AND l.upload_id = u.upload_id), 0)
  FROM uploads AS u WHERE u.customer_id = %(customer_id)s AND u.upload_id = %(upload_id)s;

-- name: take_back_halves
-- Of merges by two that did not end: the lines that the second connection committed before the first could. A line of an upload
-- that is not merged can be of version 1 only where it was added so: who changes a line counts on. For each upload all claims of
-- the customer by primary key, which is rare (uploads_added_by_two).
WITH halved AS (
    UPDATE uploads SET added_by_two = false
     WHERE customer_id = %(customer_id)s AND added_by_two AND status = 'processing'
    RETURNING upload_id
)
DELETE FROM claims AS c USING halved AS h
 WHERE c.customer_id = %(customer_id)s AND c.upload_id = h.upload_id AND c.version = 1;

-- name: place_repeats
-- Key of each line without a natural key: equal ones are told apart by their ordinal (received_lines by primary key).
INSERT INTO placed (source_row_number, place, claim_key)
SELECT l.source_row_number, 1, md5(l.line_key::text || ':' || row_number() OVER (
           PARTITION BY l.line_key ORDER BY l.source_row_number))::uuid
  FROM received_lines AS l
 WHERE l.customer_id = %(customer_id)s AND l.upload_id = %(upload_id)s AND NOT l.key_is_natural;

-- name: index_placed
-- For the chunks of add_lines. Analyzed also where it is empty, as it is for most uploads: of a table that it does not know the
-- planner expects more rows than of a new upload, and puts the whole lines into a hash table (a tenth of the merge).
CREATE INDEX ON placed (source_row_number);
ANALYZE placed;

-- name: name_lines
-- Canonical payer and group of each spelling and code of the upload, worked out once each, and how many lines have them
-- (received_lines by primary key).
CREATE TEMP TABLE named ON COMMIT DROP AS
WITH pairs AS MATERIALIZED (
    SELECT payer, cpt, count(*) AS lines FROM received_lines
     WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s GROUP BY payer, cpt
)
SELECT n.payer, n.cpt, n.lines, p.payer_name, k.cpt_group
  FROM pairs AS n
  JOIN names_of_payers(ARRAY(SELECT DISTINCT payer FROM pairs), %(aliases)s) AS p ON p.payer = n.payer
  JOIN groups_of_codes(ARRAY(SELECT DISTINCT cpt FROM pairs), %(groups)s) AS k ON k.cpt = n.cpt;

-- name: count_lines
-- Good lines of the upload, as they were found.
SELECT coalesce(sum(lines), 0)::bigint FROM named;

-- name: settle_stored
-- The lines whose key is stored already, and whether they say something else than what is stored. What a payer has decided
-- by remittance is not open again because a list of open claims still holds it. OFFSET 0: each line is looked up by its
-- key, whatever the planner takes the lines of a new upload for (it knows none of them and expects one). The customer is that
-- of the line: of one written here as a number that the statistics do not know yet, the planner expects one claim, and reads
-- them all by claims_submitted for each line. Nothing is read for a customer's first upload. received_lines and claims by
-- primary key.
CREATE TEMP TABLE settled ON COMMIT DROP AS
SELECT l.source_row_number, c.claim_key, coalesce(p.place, 1) AS place,
       c.row_hash <> l.row_hash AS differs,
       (c.source = 'x12_835' AND c.outcome <> 'PENDING' AND l.source <> 'x12_835' AND l.outcome = 'PENDING') IS TRUE
           AS stale
  FROM received_lines AS l LEFT JOIN placed AS p ON p.source_row_number = l.source_row_number
 CROSS JOIN LATERAL (
       SELECT k.claim_key, k.row_hash, k.source, k.outcome FROM claims AS k
        WHERE k.customer_id = l.customer_id AND k.claim_key = coalesce(p.claim_key, l.line_key) OFFSET 0) AS c
 WHERE l.customer_id = %(customer_id)s AND l.upload_id = %(upload_id)s
   AND l.line_key BETWEEN %(first_key)s AND %(last_key)s
   AND EXISTS (SELECT FROM claims WHERE customer_id = %(customer_id)s);

-- name: settle_replaced
-- The lines that a later one of their upload replaces: of several rows for one key the last one counts. Found by counting
-- keys in a hash table: ON CONFLICT DO NOTHING in add_lines costs five times as much; not asked where who judged the lines saw
-- no key twice (received_lines by primary key).
WITH repeated AS (
    SELECT coalesce(p.claim_key, l.line_key) AS claim_key, max(l.source_row_number) AS last
      FROM received_lines AS l LEFT JOIN placed AS p ON p.source_row_number = l.source_row_number
     WHERE l.customer_id = %(customer_id)s AND l.upload_id = %(upload_id)s
       AND l.line_key BETWEEN %(first_key)s AND %(last_key)s
     GROUP BY coalesce(p.claim_key, l.line_key) HAVING count(*) > 1
)
INSERT INTO settled (source_row_number, claim_key, place, differs, stale)
SELECT l.source_row_number, r.claim_key, coalesce(p.place, 1), false, false
  FROM received_lines AS l LEFT JOIN placed AS p ON p.source_row_number = l.source_row_number
  JOIN repeated AS r ON r.claim_key = coalesce(p.claim_key, l.line_key) AND l.source_row_number < r.last
 WHERE l.customer_id = %(customer_id)s AND l.upload_id = %(upload_id)s;

-- name: index_settled
-- For the chunks of add_lines.
CREATE INDEX ON settled (source_row_number);
ANALYZE settled;

-- name: make_incoming
-- The lines that change a stored one; of several rows for one key the last one counts that is not stale. Unchanged ones are
-- dropped by hash, since writing a version costs many times what the comparison does. A row that settle_replaced has added
-- again goes by what settle_stored said of it. received_lines by primary key.
CREATE TEMP TABLE incoming ON COMMIT DROP AS
WITH latest AS (
    SELECT DISTINCT ON (claim_key) * FROM settled WHERE NOT stale
     ORDER BY claim_key, source_row_number DESC, differs DESC
)
SELECT l.*, m.claim_key, m.place, n.payer_name, n.cpt_group
  FROM latest AS m
  JOIN received_lines AS l
    ON l.customer_id = %(customer_id)s AND l.upload_id = %(upload_id)s AND l.source_row_number = m.source_row_number
  JOIN named AS n ON n.payer = l.payer AND n.cpt = l.cpt
 WHERE m.differs;

-- name: keep_history
-- The versions that are about to be replaced.
INSERT INTO claim_history (customer_id, claim_key, version, line, replaced_at, replaced_by_upload)
SELECT c.customer_id, c.claim_key, c.version, to_jsonb(c) - 'customer_id' - 'claim_key' - 'version', now(), i.upload_id
  FROM claims AS c JOIN incoming AS i ON i.customer_id = c.customer_id AND i.claim_key = c.claim_key;

-- name: touch_days
-- The days whose activity and prices change with changed lines: those of the old versions and of the new ones. A day that is
-- noted already is written again, so that who counts meanwhile leaves it: without these lines it would be counted as done.
INSERT INTO touched_days (customer_id, kind, day)
SELECT i.customer_id, 'submitted', i.submitted_date FROM incoming AS i
UNION SELECT c.customer_id, 'submitted', c.submitted_date
  FROM claims AS c JOIN incoming AS i ON i.customer_id = c.customer_id AND i.claim_key = c.claim_key
UNION SELECT i.customer_id, 'decided', i.decided_date FROM incoming AS i WHERE i.decided_date IS NOT NULL
UNION SELECT c.customer_id, 'decided', day.decided
  FROM claims AS c JOIN incoming AS i ON i.customer_id = c.customer_id AND i.claim_key = c.claim_key
 CROSS JOIN LATERAL (VALUES (c.decided_date), (c.first_decided_date)) AS day (decided)
 WHERE day.decided IS NOT NULL
ON CONFLICT (customer_id, kind, day) DO UPDATE SET day = excluded.day;

-- name: change_lines
-- Decision sightings are the upload's arrival, so that merging again gives the same times. What was decided
-- first is kept when another decision replaces it: drift counts a denial as one, whatever became of it later.
-- The arrival is looked up once: joined, it makes the planner take thousands of lines for some fifty, and look each one up.
-- A remittance knows nothing of authorisation, diagnoses and facility, often not of the provider and the submitted date:
-- what is known of them from elsewhere stays.
UPDATE claims AS c SET
    row_hash = i.row_hash, claim_id = i.claim_id, line_number = i.line_number, payer = i.payer,
    payer_name = i.payer_name, cpt = i.cpt, cpt_group = i.cpt_group, modifiers = i.modifiers,
    service_date = i.service_date,
    submitted_date = CASE WHEN i.submitted_stands_in AND (c.submitted_date <= i.decided_date) IS NOT FALSE
        THEN c.submitted_date ELSE i.submitted_date END,
    decided_date = i.decided_date,
    payment_date = i.payment_date, outcome = i.outcome, billed_amount = i.billed_amount,
    allowed_amount = i.allowed_amount, paid_amount = i.paid_amount,
    denial_reason_code = i.denial_reason_code, denial_reason_text = i.denial_reason_text,
    authorization_required = CASE WHEN i.source = 'x12_835' THEN c.authorization_required
        ELSE i.authorization_required END,
    authorization_number = CASE WHEN i.source = 'x12_835' THEN c.authorization_number ELSE i.authorization_number END,
    authorization_obtained = CASE WHEN i.source = 'x12_835' THEN c.authorization_obtained
        ELSE i.authorization_obtained END,
    diagnosis_codes = CASE WHEN i.source = 'x12_835' THEN c.diagnosis_codes ELSE i.diagnosis_codes END,
    units = i.units,
    provider_npi = CASE WHEN i.source = 'x12_835' THEN coalesce(i.provider_npi, c.provider_npi) ELSE i.provider_npi END,
    facility = CASE WHEN i.source = 'x12_835' THEN c.facility ELSE i.facility END,
    payer_claim_number = coalesce(i.payer_claim_number, c.payer_claim_number),
    source = i.source, upload_id = i.upload_id, source_row_number = i.source_row_number, version = c.version + 1, updated_at = now(),
    first_decided_date = CASE WHEN c.first_outcome IS NULL AND c.decided_date IS NOT NULL AND c.outcome <> 'PENDING'
        THEN c.decided_date ELSE c.first_decided_date END,
    first_outcome = CASE WHEN c.first_outcome IS NULL AND c.decided_date IS NOT NULL AND c.outcome <> 'PENDING'
        THEN c.outcome ELSE c.first_outcome END,
    first_denial_reason_code = CASE WHEN c.first_outcome IS NULL THEN c.denial_reason_code
        ELSE c.first_denial_reason_code END,
    first_allowed_amount = CASE WHEN c.first_outcome IS NULL THEN c.allowed_amount ELSE c.first_allowed_amount END,
    first_paid_amount = CASE WHEN c.first_outcome IS NULL THEN c.paid_amount ELSE c.first_paid_amount END,
    first_units = CASE WHEN c.first_outcome IS NULL THEN c.units ELSE c.first_units END,
    first_decision_seen_at = CASE WHEN c.first_outcome IS NULL THEN c.decision_seen_at
        ELSE c.first_decision_seen_at END,
    decision_seen_at = CASE
        WHEN i.decided_date IS NULL OR i.outcome = 'PENDING' THEN NULL
        WHEN c.decision_seen_at IS NULL OR c.outcome <> i.outcome OR c.decided_date <> i.decided_date
            THEN i.received_at
        ELSE c.decision_seen_at END
  FROM (SELECT i.*, (SELECT u.received_at FROM uploads AS u
                      WHERE u.customer_id = %(customer_id)s AND u.upload_id = %(upload_id)s) AS received_at
          FROM incoming AS i) AS i
 WHERE c.customer_id = i.customer_id AND c.claim_key = i.claim_key;

-- name: add_lines
-- The new lines of some rows of the upload and of one half of the keys, or of all, and the days they touch. In the order of the
-- keys, since a hundred thousand keys in order cost the primary key half of what they cost at random, and no more rows than that at
-- once, since then the rows of a day still stand together, as the indexes by day want it. First and decision sightings are the
-- upload's arrival, so that merging again gives the same times. received_lines by primary key.
WITH added AS (
    INSERT INTO claims AS c (
        customer_id, claim_key, row_hash, claim_id, line_number, payer, payer_name, cpt, cpt_group, modifiers,
        service_date, submitted_date, decided_date, payment_date, outcome, billed_amount, allowed_amount,
        paid_amount, denial_reason_code, denial_reason_text, authorization_required, authorization_number,
        authorization_obtained, diagnosis_codes, units, provider_npi, facility, payer_claim_number, payer_position,
        source, upload_id, source_row_number, first_seen_at, decision_seen_at, updated_at)
    SELECT i.customer_id, i.claim_key, i.row_hash, i.claim_id, i.line_number, i.payer, i.payer_name, i.cpt, i.cpt_group,
           i.modifiers, i.service_date, i.submitted_date, i.decided_date, i.payment_date, i.outcome, i.billed_amount,
           i.allowed_amount, i.paid_amount, i.denial_reason_code, i.denial_reason_text, i.authorization_required,
           i.authorization_number, i.authorization_obtained, i.diagnosis_codes, i.units, i.provider_npi, i.facility,
           i.payer_claim_number, i.place, i.source, i.upload_id, i.source_row_number, i.received_at,
           CASE WHEN i.decided_date IS NOT NULL AND i.outcome <> 'PENDING' THEN i.received_at END, now()
      FROM (SELECT l.*, n.payer_name, n.cpt_group, coalesce(p.claim_key, l.line_key) AS claim_key,
                   coalesce(p.place, 1) AS place,
                   (SELECT u.received_at FROM uploads AS u
                     WHERE u.customer_id = %(customer_id)s AND u.upload_id = %(upload_id)s) AS received_at
              FROM received_lines AS l
              JOIN named AS n ON n.payer = l.payer AND n.cpt = l.cpt
              LEFT JOIN placed AS p
                ON p.source_row_number = l.source_row_number
               AND p.source_row_number > %(after)s AND p.source_row_number <= %(last)s
             WHERE l.customer_id = %(customer_id)s AND l.upload_id = %(upload_id)s
               AND l.source_row_number > %(after)s AND l.source_row_number <= %(last)s
               AND l.line_key BETWEEN %(first_key)s AND %(last_key)s
               AND NOT EXISTS (SELECT FROM settled AS s
                                WHERE s.source_row_number = l.source_row_number
                                  AND s.source_row_number > %(after)s AND s.source_row_number <= %(last)s)) AS i
     ORDER BY i.claim_key
    RETURNING c.submitted_date, c.decided_date
), days AS (
    SELECT submitted_date, decided_date, count(*) AS lines FROM added GROUP BY submitted_date, decided_date
)
SELECT coalesce(sum(lines), 0)::bigint, coalesce(array_agg(DISTINCT submitted_date), '{}'),
       coalesce(array_agg(DISTINCT decided_date) FILTER (WHERE decided_date IS NOT NULL), '{}')
  FROM days;

-- name: touch_days_of_new
-- The days of the new lines, as in touch_days (primary key).
INSERT INTO touched_days (customer_id, kind, day)
SELECT %(customer_id)s, 'submitted', day FROM unnest(%(submitted)s::date[]) AS day
UNION ALL
SELECT %(customer_id)s, 'decided', day FROM unnest(%(decided)s::date[]) AS day
ON CONFLICT (customer_id, kind, day) DO UPDATE SET day = excluded.day;

-- name: finish_upload
-- Counts and status; the table's CHECK holds rows = accepted + rejected + duplicates.
UPDATE uploads
   SET accepted = %(new)s + %(updated)s, updated = %(updated)s,
       duplicates = %(lines)s - %(new)s - %(updated)s,
       status = CASE WHEN %(lines)s = 0 AND rejected > 0 THEN 'failed'
                     WHEN rejected > 0 THEN 'partial' ELSE 'success' END,
       error_code = CASE WHEN %(lines)s = 0 AND rejected > 0 THEN 'all_rows_rejected' END,
       error_message = CASE WHEN %(lines)s = 0 AND rejected > 0
           THEN 'Every row was rejected. The rejected rows name field and rule; correct the file, or the '
                'customer''s configuration if columns were taken for others (the platform''s operator does it: `upstream '
                'customers configure SLUG --file FILE`), and send it again.' END,
       finished_at = clock_timestamp(), added_by_two = false,
       seconds = extract(epoch FROM clock_timestamp() - started_at)
 WHERE customer_id = %(customer_id)s AND upload_id = %(upload_id)s
RETURNING status;

-- name: select_applied_mapping
-- Digest of the aliases and groups that the stored claims have, and the change that these came with (primary key).
SELECT applied_mapping_sha256, names_applied FROM customers WHERE customer_id = %(customer_id)s;

-- name: set_applied_mapping
-- As above. A change made meanwhile has another id, and waits on.
UPDATE customers SET applied_mapping_sha256 = %(sha256)s, names_applied = %(change)s WHERE customer_id = %(customer_id)s;

-- name: customers_with_new_names
-- Customers whose claims wait for changed aliases or groups and for whom a run has to be asked for now (customers_names_due). Not
-- those of whom an upload waits (uploads_waiting): its run applies them. Nor those whom a run holds: it may be about to. Asked for
-- again after 30 s, doubling, a few times. Those never asked for first, so that a run that fails keeps no other waiting.
SELECT c.slug
  FROM customers AS c
 WHERE c.names_due AND c.status = 'active'
   AND c.names_asks < %(most_asks)s
   AND (c.names_asked_at IS NULL OR c.names_asked_at < now() - interval '30 seconds' * 2 ^ (c.names_asks - 1))
   AND NOT EXISTS (SELECT FROM uploads AS u WHERE u.customer_id = c.customer_id AND u.status IN ('received', 'processing'))
   AND NOT EXISTS (SELECT FROM pg_locks AS l
                    WHERE l.locktype = 'advisory' AND l.classid = %(lock_class)s AND l.objid::bigint = c.customer_id AND l.granted
                      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
 ORDER BY c.names_asked_at NULLS FIRST, c.customer_id LIMIT %(limit)s;

-- name: ask_for_new_names
-- Note that a run is asked for (unique key).
UPDATE customers SET names_asked_at = now(), names_asks = names_asks + 1
 WHERE slug = ANY (%(slugs)s)
RETURNING slug, names_wanted, names_asks;

-- name: apply_names
-- Give all claims of a customer their canonical payer and CPT group. Worked out once per distinct
-- spelling and code, then joined; only lines whose names change are written, and their days touched.
WITH payers AS (
    SELECT payer, payer_name
      FROM names_of_payers(ARRAY(SELECT DISTINCT payer FROM claims WHERE customer_id = %(customer_id)s), %(aliases)s)
), codes AS (
    SELECT cpt, cpt_group
      FROM groups_of_codes(ARRAY(SELECT DISTINCT cpt FROM claims WHERE customer_id = %(customer_id)s), %(groups)s)
), changed AS (
    UPDATE claims AS c SET payer_name = p.payer_name, cpt_group = k.cpt_group
      FROM payers AS p, codes AS k
     WHERE c.customer_id = %(customer_id)s AND c.payer = p.payer AND c.cpt = k.cpt
       AND (c.payer_name, c.cpt_group) IS DISTINCT FROM (p.payer_name, k.cpt_group)
    RETURNING c.submitted_date, c.decided_date, c.first_decided_date
), touched AS (
    INSERT INTO touched_days (customer_id, kind, day)
    SELECT %(customer_id)s, 'submitted', submitted_date FROM changed
    UNION SELECT %(customer_id)s, 'decided', decided_date FROM changed WHERE decided_date IS NOT NULL
    UNION SELECT %(customer_id)s, 'decided', first_decided_date FROM changed WHERE first_decided_date IS NOT NULL
    ON CONFLICT (customer_id, kind, day) DO UPDATE SET day = excluded.day
)
SELECT count(*) FROM changed;

-- name: count_claims
-- Lines, undecided lines and payers of a customer, for metadata (primary key).
SELECT count(*), count(*) FILTER (WHERE decided_date IS NULL), count(DISTINCT payer_name),
       min(submitted_date), max(submitted_date)
  FROM claims WHERE customer_id = %(customer_id)s;

-- name: summarise_payers
-- Lines by payer and outcome, for metadata (primary key). Payers with fewer than `fewest` lines come without a name, as one
-- row with their number.
WITH payer AS (
    SELECT CASE WHEN count(*) >= %(fewest)s THEN payer_name END AS named, count(*) AS lines, count(*) FILTER (WHERE outcome = 'PAID') AS paid,
           count(*) FILTER (WHERE outcome = 'DENIED') AS denied, count(*) FILTER (WHERE outcome = 'PENDING') AS pending,
           min(submitted_date) AS first_day, max(submitted_date) AS last_day
      FROM claims WHERE customer_id = %(customer_id)s GROUP BY payer_name
)
SELECT named, count(*), sum(lines)::bigint, sum(paid)::bigint,
       sum(denied)::bigint, sum(pending)::bigint, min(first_day), max(last_day)
  FROM payer GROUP BY named ORDER BY named IS NULL, sum(lines) DESC, named LIMIT 50;

-- name: select_claims_page
-- A page of a customer's lines, the newest first, from a mark on. Served by claims_submitted, read backwards: its order is
-- that of the days, and within a day the keys are sorted.
SELECT claim_key, claim_id, line_number, payer, payer_name, cpt, cpt_group, modifiers, service_date, submitted_date,
       decided_date, payment_date, outcome, billed_amount, allowed_amount, paid_amount, denial_reason_code,
       denial_reason_text, authorization_required, authorization_number, authorization_obtained, diagnosis_codes, units,
       provider_npi, facility, source, upload_id, source_row_number, version, first_seen_at, decision_seen_at, updated_at
  FROM claims
 WHERE customer_id = %(customer_id)s
   AND (submitted_date, claim_key) < (coalesce(%(after_day)s::date, 'infinity'),
                                      coalesce(%(after_key)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
   AND submitted_date >= coalesce(%(submitted_from)s::date, '-infinity')
   AND submitted_date <= coalesce(%(submitted_to)s::date, 'infinity')
   AND (%(decided_from)s::date IS NULL OR decided_date >= %(decided_from)s)
   AND (%(decided_to)s::date IS NULL OR decided_date <= %(decided_to)s)
   AND (%(upload_id)s::uuid IS NULL OR upload_id = %(upload_id)s)
   AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
   AND (%(cpt)s::text IS NULL OR cpt = upper(%(cpt)s))
   AND (%(cpt_group)s::text IS NULL OR cpt_group = %(cpt_group)s)
   AND (%(payer)s::text IS NULL OR lower(payer_name) = lower(%(payer)s))
   AND (%(denial_code)s::text IS NULL OR denial_reason_code IS NOT NULL)
   AND (%(denial_code)s::text IS NULL
        OR regexp_replace(upper(denial_reason_code), '[^A-Z0-9]', '', 'g') ~ %(denial_code)s)
 ORDER BY submitted_date DESC, claim_key DESC
 LIMIT %(limit)s;

-- name: count_claims_of
-- How many lines select_claims_page has in all (claims_submitted).
SELECT count(*)
  FROM claims
 WHERE customer_id = %(customer_id)s
   AND submitted_date >= coalesce(%(submitted_from)s::date, '-infinity')
   AND submitted_date <= coalesce(%(submitted_to)s::date, 'infinity')
   AND (%(decided_from)s::date IS NULL OR decided_date >= %(decided_from)s)
   AND (%(decided_to)s::date IS NULL OR decided_date <= %(decided_to)s)
   AND (%(upload_id)s::uuid IS NULL OR upload_id = %(upload_id)s)
   AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
   AND (%(cpt)s::text IS NULL OR cpt = upper(%(cpt)s))
   AND (%(cpt_group)s::text IS NULL OR cpt_group = %(cpt_group)s)
   AND (%(payer)s::text IS NULL OR lower(payer_name) = lower(%(payer)s))
   AND (%(denial_code)s::text IS NULL OR denial_reason_code IS NOT NULL)
   AND (%(denial_code)s::text IS NULL
        OR regexp_replace(upper(denial_reason_code), '[^A-Z0-9]', '', 'g') ~ %(denial_code)s);
