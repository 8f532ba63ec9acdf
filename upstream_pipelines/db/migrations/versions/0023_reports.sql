-- Reports of a customer and a period (from `period_from` to the day before `period_until`): who asked for one, and what became of it.
-- waiting: nobody is at it; running: a run is, or ended with it; success: its files are in report_files, for as long as they are kept.
-- asked_at, asks: when a run was asked for last, and how often. attempts: how often one was begun.
CREATE TABLE report_runs (
    customer_id  bigint NOT NULL REFERENCES customers,
    report_id    uuid NOT NULL,
    period_from  date NOT NULL,
    period_until date NOT NULL,
    actor_kind   text NOT NULL CHECK (actor_kind IN ('person', 'token', 'operator')),
    actor_id     text NOT NULL CHECK (length(actor_id) BETWEEN 1 AND 100),
    actor_name   text NOT NULL DEFAULT '' CHECK (length(actor_name) <= 254),
    request_id   text CHECK (length(request_id) <= 64),
    state        text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'success', 'failed')),
    error_code   text,
    run_id       text,
    attempts     integer NOT NULL DEFAULT 0,
    asks         integer NOT NULL DEFAULT 0,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    asked_at     timestamptz,
    started_at   timestamptz,
    ended_at     timestamptz,
    PRIMARY KEY (customer_id, report_id),
    CHECK (period_until > period_from AND period_until - period_from <= 400),
    -- What is far outside no program reads back.
    CHECK (period_from >= '1970-01-01' AND period_until < '3000-01-01'),
    CHECK ((state = 'failed') = (error_code IS NOT NULL)),
    CHECK ((state IN ('success', 'failed')) = (ended_at IS NOT NULL)),
    CHECK (state = 'waiting' OR started_at IS NOT NULL)
);
-- Asking again gives the same report; across all customers these are the few that are not made yet.
CREATE UNIQUE INDEX report_runs_open ON report_runs (customer_id, period_from, period_until) WHERE state IN ('waiting', 'running');
-- A customer's list, the newest first.
CREATE INDEX report_runs_listed ON report_runs (customer_id, requested_at, report_id);
-- Whose files are old.
CREATE INDEX report_runs_ended ON report_runs (ended_at) WHERE state = 'success';

CREATE TABLE report_files (
    customer_id bigint NOT NULL,
    report_id   uuid NOT NULL,
    format      text NOT NULL CHECK (format IN ('html', 'pdf', 'xlsx', 'csv')),
    content     bytea NOT NULL,
    byte_count  integer GENERATED ALWAYS AS (octet_length(content)) STORED,
    sha256      text GENERATED ALWAYS AS (encode(sha256(content), 'hex')) STORED,
    PRIMARY KEY (customer_id, report_id, format),
    FOREIGN KEY (customer_id, report_id) REFERENCES report_runs (customer_id, report_id)
);
-- Pictures and archives: they are compressed already.
ALTER TABLE report_files ALTER COLUMN content SET STORAGE EXTERNAL;

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['report_runs', 'report_files'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        -- Without FORCE the owner of a table passes by its policies.
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('CREATE POLICY pipeline ON %I TO upstream_pipeline USING (true) WITH CHECK (true)', tenant_table);
        EXECUTE format('CREATE POLICY customer ON %I FOR SELECT TO upstream_api USING (customer_id = '
                       'nullif(current_setting(''app.customer_id'', true), '''')::bigint)', tenant_table);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO upstream_pipeline', tenant_table);
        EXECUTE format('GRANT SELECT ON %I TO upstream_api', tenant_table);
    END LOOP;
END
$$;

-- The API asks for reports, in the name of whoever is logged in; what becomes of them it only reads. The columns it may write leave a
-- row waiting.
GRANT INSERT (customer_id, report_id, period_from, period_until, actor_kind, actor_id, actor_name, request_id)
    ON report_runs TO upstream_api;
CREATE POLICY ask ON report_runs FOR INSERT TO upstream_api
    WITH CHECK (customer_id = nullif(current_setting('app.customer_id', true), '')::bigint
                AND state = 'waiting' AND actor_kind = 'person' AND actor_id = current_setting('app.person_id', true));
