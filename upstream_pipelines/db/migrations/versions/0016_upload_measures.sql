-- A figure of an upload, or of a source's batches of one day (UTC), beside what was usual then (quality/usual.py). Each upload
-- is compared with those kept here. `upload_id`: of a day its last batch. `amount` of `of_rows` rows; of the volume both are
-- the rows. `field`: a field of the contract, an outcome, or '' where the rule has none.
-- state: first: of the source's first day, which is its history; learning: too little history; off: switched off by the
-- customer; low and high: unusual. `usual`, `low`, `high`: rows or a share 0..1, of `history` uploads.
CREATE TABLE upload_measures (
    customer_id        bigint NOT NULL,
    upload_id          uuid NOT NULL,
    rule               text NOT NULL,
    field              text NOT NULL,
    source             text NOT NULL CHECK (source IN ('csv', 'webhook', 'x12_835')),
    whole_day          boolean NOT NULL,
    received_at        timestamptz NOT NULL,
    amount             bigint NOT NULL CHECK (amount >= 0),
    of_rows            bigint NOT NULL CHECK (of_rows > 0 AND amount <= of_rows),
    state              text NOT NULL CHECK (state IN ('first', 'learning', 'off', 'usual', 'low', 'high')),
    severity           text CHECK (severity IN ('warning', 'info')),
    usual              double precision,
    low                double precision,
    high               double precision,
    history            integer,
    sample_row_numbers bigint[] NOT NULL DEFAULT '{}',
    run_id             text NOT NULL,
    judged_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, upload_id, rule, field),
    FOREIGN KEY (customer_id, upload_id) REFERENCES uploads (customer_id, upload_id),
    CHECK ((state IN ('usual', 'low', 'high')) = (usual IS NOT NULL)),
    CHECK (num_nulls(usual, low, high, history) IN (0, 4))
);
-- The last uploads of a source without the others: each has one row of this rule.
CREATE INDEX upload_measures_stream ON upload_measures (customer_id, source, received_at)
    WHERE rule = 'usual_known_rows';
-- What was unusual, for people and for the dry run of alert rules: few among all.
CREATE INDEX upload_measures_unusual ON upload_measures (customer_id, judged_at) WHERE state IN ('low', 'high');

ALTER TABLE upload_measures ENABLE ROW LEVEL SECURITY;
-- Without FORCE the owner of a table passes by its policies.
ALTER TABLE upload_measures FORCE ROW LEVEL SECURITY;
CREATE POLICY pipeline ON upload_measures TO upstream_pipeline USING (true) WITH CHECK (true);
CREATE POLICY customer ON upload_measures TO upstream_api
    USING (customer_id = nullif(current_setting('app.customer_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE, DELETE ON upload_measures TO upstream_pipeline;
GRANT SELECT ON upload_measures TO upstream_api;
