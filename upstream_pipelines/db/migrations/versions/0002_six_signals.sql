-- Volume and procedure mix need the submitted lines by code; the price of a code differs by modifier.

-- Submitted lines by code. *_known_day as in payer_activity.
CREATE TABLE payer_codes (
    customer_id         bigint NOT NULL REFERENCES customers,
    payer               text NOT NULL,
    cpt                 text NOT NULL,
    cpt_group           text NOT NULL,
    submitted_day       date NOT NULL,
    submitted_known_day date NOT NULL,
    lines               bigint NOT NULL,
    UNIQUE (customer_id, submitted_day, payer, cpt, cpt_group, submitted_known_day)
);

ALTER TABLE payer_codes ENABLE ROW LEVEL SECURITY;
ALTER TABLE payer_codes FORCE ROW LEVEL SECURITY;
CREATE POLICY pipeline ON payer_codes TO upstream_pipeline USING (true) WITH CHECK (true);
CREATE POLICY customer ON payer_codes TO upstream_api
    USING (customer_id = nullif(current_setting('app.customer_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE, DELETE ON payer_codes TO upstream_pipeline;
GRANT SELECT ON payer_codes TO upstream_api;

ALTER TABLE payer_prices ADD COLUMN modifiers text NOT NULL DEFAULT '';
ALTER TABLE payer_prices ALTER COLUMN modifiers DROP DEFAULT;
ALTER TABLE payer_prices
    DROP CONSTRAINT payer_prices_customer_id_decided_day_payer_cpt_cpt_group_de_key,
    ADD UNIQUE (customer_id, decided_day, payer, cpt, modifiers, cpt_group, decision_known_day);

-- All days are counted again by the next refresh. As upstream_pipeline: no policy shows the owner a claim.
SET LOCAL ROLE upstream_pipeline;
INSERT INTO touched_days (customer_id, kind, day)
SELECT DISTINCT customer_id, 'submitted', submitted_date FROM claims
UNION
SELECT DISTINCT customer_id, 'decided', decided_date FROM claims WHERE decided_date IS NOT NULL
ON CONFLICT DO NOTHING;
SET LOCAL ROLE upstream_owner;
