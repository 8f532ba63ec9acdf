-- Who causes a change, what people accepted, and the placebo's measurements.

-- payer: the payer's behaviour. data: the customer's own files and mappings (drift/data_trouble.py).
ALTER TABLE drift_events ADD COLUMN cause text NOT NULL DEFAULT 'payer' CHECK (cause IN ('payer', 'data'));
ALTER TABLE drift_results ADD COLUMN cause text NOT NULL DEFAULT 'payer' CHECK (cause IN ('payer', 'data'));

-- An event that people call the new normal, from that day on; once an event.
CREATE TABLE drift_acceptances (
    customer_id bigint NOT NULL REFERENCES customers,
    event_id    uuid NOT NULL,
    accepted_on date NOT NULL,
    accepted_by text NOT NULL,
    note        text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, event_id),
    FOREIGN KEY (customer_id, event_id) REFERENCES drift_events (customer_id, event_id)
);

-- False events on a customer's own shuffled history: `events` opened in `looks` daily looks over a shuffled
-- history of `days` days. looks = 0: measured, and the history is too short to say anything.
CREATE TABLE drift_placebo (
    customer_id    bigint NOT NULL REFERENCES customers,
    measured_on    date NOT NULL,
    seed           bigint NOT NULL,
    method_version text NOT NULL,
    looks          integer NOT NULL CHECK (looks >= 0),
    days           integer NOT NULL CHECK (days >= 0),
    events         integer NOT NULL CHECK (events >= 0),
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, measured_on)
);

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['drift_acceptances', 'drift_placebo']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('CREATE POLICY pipeline ON %I TO upstream_pipeline USING (true) WITH CHECK (true)',
                       tenant_table);
        EXECUTE format('CREATE POLICY customer ON %I TO upstream_api USING (customer_id = '
                       'nullif(current_setting(''app.customer_id'', true), '''')::bigint)', tenant_table);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO upstream_pipeline', tenant_table);
        EXECUTE format('GRANT SELECT ON %I TO upstream_api', tenant_table);
    END LOOP;
END
$$;

-- Live events of an earlier method know no interval of their change date: the date itself stands for it. As
-- upstream_pipeline: no policy shows the owner an event.
SET LOCAL ROLE upstream_pipeline;
UPDATE drift_events
   SET memory = jsonb_build_object('change_low', started_on, 'change_high', started_on) || memory
 WHERE NOT memory ? 'change_low';
UPDATE drift_results
   SET event = jsonb_set(event, '{memory}', jsonb_build_object(
           'change_low', event -> 'started_on', 'change_high', event -> 'started_on') || (event -> 'memory'))
 WHERE event IS NOT NULL AND NOT event -> 'memory' ? 'change_low';
SET LOCAL ROLE upstream_owner;
