-- A denial that is paid after an appeal was a denial on the day it was made. Counted by its latest version it leaves the
-- old cohorts and stays in the young ones, so that every payer seems to deny more of late: with three of ten denials
-- overturned after 30 to 75 days, 15 false events opened on 18 unchanged payers in two months, none with this.

-- Set when a decision is replaced by another; the one that stands is the first where they are not set.
ALTER TABLE claims
    ADD COLUMN first_decided_date       date,
    ADD COLUMN first_outcome            text CHECK (first_outcome IN ('PAID', 'DENIED', 'OTHER')),
    ADD COLUMN first_denial_reason_code text,
    ADD COLUMN first_allowed_amount     numeric(14, 2),
    ADD COLUMN first_paid_amount        numeric(14, 2),
    ADD COLUMN first_units              numeric(12, 3),
    ADD COLUMN first_decision_seen_at   timestamptz,
    ADD CHECK ((first_outcome IS NULL) = (first_decided_date IS NULL));
-- Serves the recomputation of prices for the decided days that an upload touched.
CREATE INDEX claims_first_decided ON claims (customer_id, first_decided_date) WHERE first_decided_date IS NOT NULL;

-- The claims as they were first decided; open ones as they are. security_invoker: the reader's own row-level security.
CREATE VIEW first_decisions WITH (security_invoker = true) AS
SELECT c.customer_id, c.claim_key, c.claim_id, c.line_number, c.payer_name, c.cpt, c.cpt_group, c.modifiers,
       c.submitted_date, c.billed_amount, c.facility, c.upload_id, c.source_row_number, c.first_seen_at,
       c.decided_date AS latest_decided_date, c.first_decided_date,
       CASE WHEN c.first_outcome IS NULL THEN c.decided_date ELSE c.first_decided_date END AS decided_date,
       CASE WHEN c.first_outcome IS NULL THEN c.outcome ELSE c.first_outcome END AS outcome,
       CASE WHEN c.first_outcome IS NULL THEN c.denial_reason_code ELSE c.first_denial_reason_code END
           AS denial_reason_code,
       CASE WHEN c.first_outcome IS NULL THEN c.allowed_amount ELSE c.first_allowed_amount END AS allowed_amount,
       CASE WHEN c.first_outcome IS NULL THEN c.paid_amount ELSE c.first_paid_amount END AS paid_amount,
       CASE WHEN c.first_outcome IS NULL THEN c.units ELSE c.first_units END AS units,
       CASE WHEN c.first_outcome IS NULL THEN c.decision_seen_at ELSE c.first_decision_seen_at END
           AS decision_seen_at
  FROM claims AS c;
GRANT SELECT ON first_decisions TO upstream_pipeline, upstream_api;

-- As upstream_pipeline: no policy shows the owner a claim.
SET LOCAL ROLE upstream_pipeline;
WITH first AS (
    SELECT DISTINCT ON (h.customer_id, h.claim_key) h.customer_id, h.claim_key, h.line
      FROM claim_history AS h
     WHERE h.line ->> 'decided_date' IS NOT NULL AND h.line ->> 'outcome' IN ('PAID', 'DENIED', 'OTHER')
     ORDER BY h.customer_id, h.claim_key, h.version
)
UPDATE claims AS c
   SET first_decided_date = (f.line ->> 'decided_date')::date, first_outcome = f.line ->> 'outcome',
       first_denial_reason_code = f.line ->> 'denial_reason_code',
       first_allowed_amount = (f.line ->> 'allowed_amount')::numeric,
       first_paid_amount = (f.line ->> 'paid_amount')::numeric, first_units = (f.line ->> 'units')::numeric,
       first_decision_seen_at = (f.line ->> 'decision_seen_at')::timestamptz
  FROM first AS f
 WHERE f.customer_id = c.customer_id AND f.claim_key = c.claim_key;
INSERT INTO touched_days (customer_id, kind, day)
SELECT customer_id, 'submitted', submitted_date FROM claims WHERE first_outcome IS NOT NULL
UNION SELECT customer_id, 'decided', decided_date FROM claims WHERE first_outcome IS NOT NULL AND decided_date IS NOT NULL
UNION SELECT customer_id, 'decided', first_decided_date FROM claims WHERE first_outcome IS NOT NULL
ON CONFLICT DO NOTHING;
SET LOCAL ROLE upstream_owner;
