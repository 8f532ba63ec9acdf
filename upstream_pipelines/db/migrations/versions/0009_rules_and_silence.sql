ALTER TABLE alert_rules
    ADD COLUMN minimum_confidence double precision NOT NULL DEFAULT 0,
    ADD COLUMN minimum_dollars_per_month double precision NOT NULL DEFAULT 0,
    ADD COLUMN unknown_dollars text NOT NULL DEFAULT 'tell' CHECK (unknown_dollars IN ('tell', 'skip'));

-- The rule that sign-up stored was meant to hear of everything there was. Releases before this one knew fewer kinds and
-- stored those they knew, so that it would hear of no silent customer and, stored by the first of them, of no trouble with
-- the data. Where it is still exactly what sign-up wrote, in its order of words, it is widened to what sign-up writes now;
-- whoever changed anything about it, or switched it off, meant what is there. A rule of that name and content written by
-- hand cannot be told from it and is widened too. As upstream_pipeline: no policy shows the owner a rule.
SET LOCAL ROLE upstream_pipeline;
UPDATE alert_rules
   SET kinds = ARRAY['drift', 'quality', 'silence', 'run_failure']
 WHERE name = 'default' AND enabled
   AND kinds IN (ARRAY['drift', 'run_failure'], ARRAY['drift', 'quality', 'run_failure'])
   AND directions = ARRAY['worsening'] AND minimum_severity = 0 AND minimum_effect = 0
   AND signals IS NULL AND payers IS NULL AND cpt_groups IS NULL AND channels IS NULL;
SET LOCAL ROLE upstream_owner;

-- Times without uploads that were longer than expected (ingest/cadence.py). `last_day`: the last day (UTC) on which
-- something came, or that of sign-up where nothing ever did.
CREATE TABLE missed_uploads (
    customer_id bigint NOT NULL REFERENCES customers,
    silence_id  uuid NOT NULL DEFAULT gen_random_uuid(),
    last_day    date NOT NULL,
    basis       text NOT NULL CHECK (basis IN ('setting', 'learned')),
    usual_days  integer NOT NULL,
    limit_days  integer NOT NULL,
    gaps        integer,
    noticed_at  timestamptz NOT NULL,
    ended_at    timestamptz,
    ending      text CHECK (ending IN ('sent again', 'no longer expected')),
    PRIMARY KEY (customer_id, silence_id),
    CHECK ((ended_at IS NULL) = (ending IS NULL))
);
CREATE UNIQUE INDEX missed_uploads_open ON missed_uploads (customer_id) WHERE ended_at IS NULL;
-- The days on which a customer sent, and the last one, without reading its uploads between.
CREATE INDEX uploads_arrivals ON uploads (customer_id, received_at);
-- Which failed runs were told and not yet taken back: asked every 15 s, of the few among all alerts.
CREATE INDEX alerts_run_failures ON alerts (customer_id, created_at) WHERE kind = 'run_failure';
-- What was tried lately, of all customers, for those who look at a run. Attempts come in the order of their time, so
-- that ranges of blocks tell it, at next to no cost for each.
CREATE INDEX delivery_attempts_started ON delivery_attempts USING brin (started_at) WITH (pages_per_range = 16);
-- Messages that were given up: few, and `upstream doctor` asks for those of all customers.
CREATE INDEX deliveries_dead ON deliveries (finished_at) WHERE state = 'dead';

ALTER TABLE missed_uploads ENABLE ROW LEVEL SECURITY;
-- Without FORCE the owner of a table passes by its policies.
ALTER TABLE missed_uploads FORCE ROW LEVEL SECURITY;
CREATE POLICY pipeline ON missed_uploads TO upstream_pipeline USING (true) WITH CHECK (true);
CREATE POLICY customer ON missed_uploads TO upstream_api
    USING (customer_id = nullif(current_setting('app.customer_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE, DELETE ON missed_uploads TO upstream_pipeline;
GRANT SELECT ON missed_uploads TO upstream_api;
