-- Tables of the whole path: customers, uploads, claims, quality, drift, alerts.
-- Every tenant table carries customer_id first in its key and has row-level security forced.
-- Money is numeric, instants are timestamptz, days are date. Text with CHECK, not enums: enum
-- equality is not leakproof, so row-level security would keep the planner from the index.

CREATE TABLE customers (
    customer_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug          text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    name          text NOT NULL CHECK (name <> ''),
    status        text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    configuration jsonb NOT NULL DEFAULT '{}',
    -- The aliases and groups that the stored claims were last given; another digest: apply again.
    applied_mapping_sha256 bytea,
    created_at    timestamptz NOT NULL DEFAULT now(),
    disabled_at   timestamptz
);

CREATE TABLE ingestion_tokens (
    customer_id  bigint NOT NULL REFERENCES customers,
    token_id     uuid NOT NULL DEFAULT gen_random_uuid(),
    token_sha256 bytea NOT NULL UNIQUE CHECK (length(token_sha256) = 32),
    prefix       text NOT NULL,
    label        text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    PRIMARY KEY (customer_id, token_id)
);

CREATE TABLE uploads (
    customer_id          bigint NOT NULL REFERENCES customers,
    upload_id            uuid NOT NULL DEFAULT gen_random_uuid(),
    source               text NOT NULL CHECK (source IN ('csv', 'webhook')),
    file_name            text NOT NULL DEFAULT '',
    location             text,
    sha256               bytea,
    byte_count           bigint NOT NULL CHECK (byte_count >= 0),
    configuration_sha256 bytea,
    status               text NOT NULL DEFAULT 'received'
                         CHECK (status IN ('received', 'processing', 'success', 'partial', 'failed')),
    attempt              integer NOT NULL DEFAULT 0,
    -- A run is asked for again when an earlier one did not take the upload (see ingest/queries.sql).
    requests             integer NOT NULL DEFAULT 0,
    requested_at         timestamptz,
    staged_at            timestamptz,
    duplicate_of         uuid,
    rows                 bigint NOT NULL DEFAULT 0,
    accepted             bigint NOT NULL DEFAULT 0,
    rejected             bigint NOT NULL DEFAULT 0,
    duplicates           bigint NOT NULL DEFAULT 0,
    updated              bigint NOT NULL DEFAULT 0,
    warnings             bigint NOT NULL DEFAULT 0,
    seconds              double precision,
    detected             jsonb NOT NULL DEFAULT '{}',
    error_code           text,
    error_message        text,
    request_id           text,
    run_id               text,
    received_at          timestamptz NOT NULL DEFAULT now(),
    started_at           timestamptz,
    finished_at          timestamptz,
    PRIMARY KEY (customer_id, upload_id),
    FOREIGN KEY (customer_id, duplicate_of) REFERENCES uploads (customer_id, upload_id),
    -- Nothing is lost: an upload that ended well accounts for every row it held.
    CHECK (status NOT IN ('success', 'partial') OR rows = accepted + rejected + duplicates),
    CHECK (updated <= accepted)
);
CREATE INDEX uploads_waiting ON uploads (received_at) WHERE status IN ('received', 'processing');
CREATE INDEX uploads_same_bytes ON uploads (customer_id, sha256);
-- A waiting file is registered once, however many sensors look at the landing zone.
CREATE UNIQUE INDEX uploads_waiting_location ON uploads (customer_id, location)
    WHERE status IN ('received', 'processing') AND location IS NOT NULL;

CREATE TABLE webhook_inbox (
    customer_id     bigint NOT NULL,
    upload_id       uuid NOT NULL,
    idempotency_key text,
    body            bytea NOT NULL,
    body_sha256     bytea NOT NULL,
    received_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, upload_id),
    FOREIGN KEY (customer_id, upload_id) REFERENCES uploads (customer_id, upload_id),
    UNIQUE (customer_id, idempotency_key)
);

-- As sent: what csv_claims and webhook_claims write, and the staging for claims. Append-only.
CREATE TABLE received_lines (
    customer_id             bigint NOT NULL,
    upload_id               uuid NOT NULL,
    source_row_number       bigint NOT NULL,
    source                  text NOT NULL CHECK (source IN ('csv', 'webhook')),
    -- Identity of the line; where it is not natural (claim id and line number both sent) the merge
    -- adds the ordinal among equal lines of the upload.
    line_key                uuid NOT NULL,
    key_is_natural          boolean NOT NULL,
    row_hash                uuid NOT NULL,
    claim_id                text,
    line_number             integer,
    payer                   text NOT NULL,
    cpt                     text NOT NULL,
    modifiers               text,
    service_date            date,
    submitted_date          date NOT NULL,
    decided_date            date,
    payment_date            date,
    outcome                 text NOT NULL CHECK (outcome IN ('PAID', 'DENIED', 'PENDING', 'OTHER')),
    billed_amount           numeric(14, 2),
    allowed_amount          numeric(14, 2),
    paid_amount             numeric(14, 2),
    denial_reason_code      text,
    denial_reason_text      text,
    authorization_required  boolean,
    authorization_number    text,
    authorization_obtained  boolean,
    diagnosis_codes         text,
    units                   numeric(12, 3),
    provider_npi            text,
    facility                text,
    PRIMARY KEY (customer_id, upload_id, source_row_number),
    FOREIGN KEY (customer_id, upload_id) REFERENCES uploads (customer_id, upload_id)
);

CREATE TABLE rejected_rows (
    customer_id       bigint NOT NULL,
    upload_id         uuid NOT NULL,
    source_row_number bigint NOT NULL,
    field             text NOT NULL,
    rule              text NOT NULL,
    reason            text NOT NULL,
    PRIMARY KEY (customer_id, upload_id, source_row_number, field, rule),
    FOREIGN KEY (customer_id, upload_id) REFERENCES uploads (customer_id, upload_id)
);

-- The conformed truth: the latest version of each claim line.
CREATE TABLE claims (
    customer_id             bigint NOT NULL REFERENCES customers,
    claim_key               uuid NOT NULL,
    row_hash                uuid NOT NULL,
    claim_id                text,
    line_number             integer,
    payer                   text NOT NULL,
    payer_name              text NOT NULL,
    cpt                     text NOT NULL,
    cpt_group               text NOT NULL,
    modifiers               text,
    service_date            date,
    submitted_date          date NOT NULL,
    decided_date            date,
    payment_date            date,
    outcome                 text NOT NULL CHECK (outcome IN ('PAID', 'DENIED', 'PENDING', 'OTHER')),
    billed_amount           numeric(14, 2),
    allowed_amount          numeric(14, 2),
    paid_amount             numeric(14, 2),
    denial_reason_code      text,
    denial_reason_text      text,
    authorization_required  boolean,
    authorization_number    text,
    authorization_obtained  boolean,
    diagnosis_codes         text,
    units                   numeric(12, 3),
    provider_npi            text,
    facility                text,
    source                  text NOT NULL CHECK (source IN ('csv', 'webhook')),
    upload_id               uuid NOT NULL,
    source_row_number       bigint NOT NULL,
    version                 integer NOT NULL DEFAULT 1,
    first_seen_at           timestamptz NOT NULL,
    decision_seen_at        timestamptz,
    updated_at              timestamptz NOT NULL,
    PRIMARY KEY (customer_id, claim_key),
    FOREIGN KEY (customer_id, upload_id) REFERENCES uploads (customer_id, upload_id)
);
-- Serves the recomputation of activity for the submitted days that an upload touched.
CREATE INDEX claims_submitted ON claims (customer_id, submitted_date);
-- Serves the recomputation of prices for the decided days that an upload touched.
CREATE INDEX claims_decided ON claims (customer_id, decided_date) WHERE decided_date IS NOT NULL;

CREATE TABLE claim_history (
    customer_id        bigint NOT NULL,
    claim_key          uuid NOT NULL,
    version            integer NOT NULL,
    line               jsonb NOT NULL,
    replaced_at        timestamptz NOT NULL,
    replaced_by_upload uuid NOT NULL,
    PRIMARY KEY (customer_id, claim_key, version),
    FOREIGN KEY (customer_id, replaced_by_upload) REFERENCES uploads (customer_id, upload_id)
);

-- Days whose activity has to be counted again, written in the transaction that changed the claims.
CREATE TABLE touched_days (
    customer_id bigint NOT NULL REFERENCES customers,
    kind        text NOT NULL CHECK (kind IN ('submitted', 'decided')),
    day         date NOT NULL,
    PRIMARY KEY (customer_id, kind, day)
);

CREATE TABLE quality_reports (
    customer_id  bigint NOT NULL,
    upload_id    uuid NOT NULL,
    score        double precision NOT NULL CHECK (score BETWEEN 0 AND 100),
    dimensions   jsonb NOT NULL,
    summary      jsonb NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, upload_id),
    FOREIGN KEY (customer_id, upload_id) REFERENCES uploads (customer_id, upload_id)
);

CREATE TABLE quality_findings (
    customer_id        bigint NOT NULL,
    upload_id          uuid NOT NULL,
    rule               text NOT NULL,
    field              text NOT NULL,
    severity           text NOT NULL CHECK (severity IN ('error', 'warning', 'info')),
    checked_rows       bigint NOT NULL,
    failing_rows       bigint NOT NULL,
    sample_row_numbers bigint[] NOT NULL,
    PRIMARY KEY (customer_id, upload_id, rule),
    FOREIGN KEY (customer_id, upload_id) REFERENCES uploads (customer_id, upload_id)
);

-- The one input of drift: counts and sums per submitted day and decision age. Mergeable.
-- *_known_day: the day from which a look may use the fact (see drift/queries.sql).
CREATE TABLE payer_activity (
    customer_id         bigint NOT NULL REFERENCES customers,
    payer               text NOT NULL,
    cpt_group           text NOT NULL,
    submitted_day       date NOT NULL,
    decision_age        integer,
    submitted_known_day date NOT NULL,
    decision_known_day  date,
    lines               bigint NOT NULL,
    denied              bigint NOT NULL,
    denied_authorization bigint NOT NULL,
    billed              numeric(18, 2) NOT NULL,
    allowed             numeric(18, 2) NOT NULL,
    paid                numeric(18, 2) NOT NULL,
    UNIQUE NULLS NOT DISTINCT (customer_id, submitted_day, payer, cpt_group, decision_age,
                               submitted_known_day, decision_known_day)
);

-- Allowed amounts of paid lines by code: sums of the logarithm of the allowed amount per unit.
CREATE TABLE payer_prices (
    customer_id        bigint NOT NULL REFERENCES customers,
    payer              text NOT NULL,
    cpt                text NOT NULL,
    cpt_group          text NOT NULL,
    decided_day        date NOT NULL,
    decision_known_day date NOT NULL,
    lines              bigint NOT NULL,
    sum_log_allowed    double precision NOT NULL,
    sum_log_allowed_sq double precision NOT NULL,
    allowed            numeric(18, 2) NOT NULL,
    UNIQUE (customer_id, decided_day, payer, cpt, cpt_group, decision_known_day)
);

CREATE TABLE drift_events (
    customer_id    bigint NOT NULL REFERENCES customers,
    event_id       uuid NOT NULL,
    payer          text NOT NULL,
    cpt_group      text NOT NULL,
    signal         text NOT NULL,
    direction      text NOT NULL CHECK (direction IN ('worsening', 'improving')),
    state          text NOT NULL CHECK (state IN ('watch', 'open', 'updated', 'resolved')),
    started_on     date NOT NULL,
    opened_on      date,
    last_look      date NOT NULL,
    resolved_on    date,
    memory         jsonb NOT NULL,
    method_version text NOT NULL,
    settings       jsonb NOT NULL,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, event_id)
);
-- One event per customer, payer and signal at a time.
CREATE UNIQUE INDEX drift_events_live ON drift_events (customer_id, payer, cpt_group, signal)
    WHERE state <> 'resolved';

-- Each look that was made, also the ones that found nothing.
CREATE TABLE drift_looks (
    customer_id    bigint NOT NULL REFERENCES customers,
    as_of          date NOT NULL,
    method_version text NOT NULL,
    settings       jsonb NOT NULL,
    made_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, as_of)
);

-- What a look found: a row per event, and a row per payer and signal that had too little data.
CREATE TABLE drift_results (
    customer_id bigint NOT NULL,
    as_of       date NOT NULL,
    payer       text NOT NULL,
    cpt_group   text NOT NULL,
    signal      text NOT NULL,
    direction   text NOT NULL,
    state       text NOT NULL,
    event_id    uuid,
    baseline    double precision,
    current     double precision,
    effect      double precision,
    p_value     double precision,
    q_value     double precision,
    severity    double precision,
    n_baseline  bigint NOT NULL,
    n_current   bigint NOT NULL,
    maturity    double precision,
    detail      jsonb NOT NULL DEFAULT '{}',
    -- The event as it stood after this look: the next look, or a look made again, starts from it.
    event       jsonb,
    PRIMARY KEY (customer_id, as_of, payer, cpt_group, signal, direction, state),
    FOREIGN KEY (customer_id, as_of) REFERENCES drift_looks (customer_id, as_of)
);

CREATE TABLE alert_channels (
    customer_id      bigint NOT NULL REFERENCES customers,
    channel_id       uuid NOT NULL DEFAULT gen_random_uuid(),
    name             text NOT NULL,
    kind             text NOT NULL CHECK (kind IN ('email', 'slack', 'webhook')),
    configuration    jsonb NOT NULL,
    secret           text,
    enabled          boolean NOT NULL DEFAULT true,
    disabled_reason  text,
    failing_since    timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, channel_id),
    UNIQUE (customer_id, name)
);

CREATE TABLE alert_rules (
    customer_id     bigint NOT NULL REFERENCES customers,
    rule_id         uuid NOT NULL DEFAULT gen_random_uuid(),
    name            text NOT NULL,
    kinds           text[] NOT NULL,
    signals         text[],
    payers          text[],
    cpt_groups      text[],
    directions      text[] NOT NULL DEFAULT ARRAY['worsening'],
    minimum_severity double precision NOT NULL DEFAULT 0,
    minimum_effect  double precision NOT NULL DEFAULT 0,
    channels        text[],
    enabled         boolean NOT NULL DEFAULT true,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, rule_id),
    UNIQUE (customer_id, name)
);

CREATE TABLE alerts (
    customer_id bigint NOT NULL,
    alert_id    uuid NOT NULL DEFAULT gen_random_uuid(),
    rule_id     uuid NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('drift', 'quality', 'silence', 'run_failure', 'delivery_trouble')),
    notice      text NOT NULL CHECK (notice IN ('open', 'resolved')),
    fingerprint text NOT NULL,
    subject_id  uuid NOT NULL,
    state       text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'failed', 'suppressed')),
    reason      text,
    content     jsonb NOT NULL,
    -- The channels it was written for: alerts x channels = deliveries can be checked afterwards.
    channel_ids uuid[] NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, alert_id),
    FOREIGN KEY (customer_id, rule_id) REFERENCES alert_rules (customer_id, rule_id),
    UNIQUE (customer_id, rule_id, subject_id, notice)
);

CREATE TABLE deliveries (
    customer_id  bigint NOT NULL,
    delivery_id  uuid NOT NULL DEFAULT gen_random_uuid(),
    alert_id     uuid NOT NULL,
    channel_id   uuid NOT NULL,
    state        text NOT NULL DEFAULT 'pending'
                 CHECK (state IN ('pending', 'sending', 'retrying', 'sent', 'dead', 'suppressed')),
    attempt      integer NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL DEFAULT now(),
    leased_until timestamptz,
    progress     jsonb NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    PRIMARY KEY (customer_id, delivery_id),
    FOREIGN KEY (customer_id, alert_id) REFERENCES alerts (customer_id, alert_id),
    FOREIGN KEY (customer_id, channel_id) REFERENCES alert_channels (customer_id, channel_id),
    UNIQUE (customer_id, alert_id, channel_id)
);
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state IN ('pending', 'retrying', 'sending');

CREATE TABLE delivery_attempts (
    customer_id  bigint NOT NULL,
    delivery_id  uuid NOT NULL,
    attempt      integer NOT NULL,
    started_at   timestamptz NOT NULL,
    finished_at  timestamptz,
    outcome      text CHECK (outcome IN ('sent', 'retry', 'dead', 'abandoned')),
    status_code  integer,
    latency_ms   integer,
    detail       text,
    answer       text,
    PRIMARY KEY (customer_id, delivery_id, attempt),
    FOREIGN KEY (customer_id, delivery_id) REFERENCES deliveries (customer_id, delivery_id)
);

-- Canonical payer of a spelling: the alias of the same name but for case and white space, else the
-- spelling itself with its white space tidied.
CREATE FUNCTION canonical_payer(spelling text, aliases jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(
        (SELECT a.value FROM jsonb_each_text(aliases) AS a
          WHERE lower(regexp_replace(btrim(a.key), '\s+', ' ', 'g'))
              = lower(regexp_replace(btrim(spelling), '\s+', ' ', 'g'))
          ORDER BY a.key LIMIT 1),
        regexp_replace(btrim(spelling), '\s+', ' ', 'g'))
$$;

-- CPT group of a code: an exact code goes before a pattern (992*), a longer pattern before a shorter.
CREATE FUNCTION group_of_code(code text, groups jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(
        (SELECT g.value FROM jsonb_each_text(groups) AS g
          WHERE code LIKE replace(replace(replace(upper(g.key), '%', '\%'), '_', '\_'), '*', '%')
          ORDER BY position('*' IN g.key) > 0, length(g.key) DESC, g.key LIMIT 1),
        'OTHER')
$$;

-- The API knows no customer until the token has been looked up. This function is the only way
-- round row-level security; it runs as upstream_pipeline and tells nothing but the customer.
CREATE FUNCTION authenticate_ingestion_token(candidate bytea)
    RETURNS TABLE (customer_id bigint, token_id uuid, slug text)
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    UPDATE ingestion_tokens AS t
       SET last_used_at = now()
      FROM customers AS c
     WHERE t.token_sha256 = candidate
       AND t.revoked_at IS NULL
       AND (t.expires_at IS NULL OR t.expires_at > now())
       AND c.customer_id = t.customer_id
       AND c.status = 'active'
    RETURNING t.customer_id, t.token_id, c.slug
$$;
GRANT CREATE ON SCHEMA public TO upstream_pipeline;  -- an owner-to-be needs it; taken back in the next line but one
ALTER FUNCTION authenticate_ingestion_token(bytea) OWNER TO upstream_pipeline;
REVOKE CREATE ON SCHEMA public FROM upstream_pipeline;
REVOKE ALL ON FUNCTION authenticate_ingestion_token(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION authenticate_ingestion_token(bytea) TO upstream_api, upstream_pipeline;

-- Row-level security, the same for every table with a customer_id.
DO $$
DECLARE
    tenant_table text;
BEGIN
    FOR tenant_table IN
        SELECT c.relname FROM pg_class AS c
          JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'customer_id' AND NOT a.attisdropped
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        -- Without FORCE the owner of a table passes by its policies.
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('CREATE POLICY pipeline ON %I TO upstream_pipeline USING (true) WITH CHECK (true)',
                       tenant_table);
        -- After a SET LOCAL transaction the setting is '' and not NULL, hence nullif.
        EXECUTE format('CREATE POLICY customer ON %I TO upstream_api USING (customer_id = '
                       'nullif(current_setting(''app.customer_id'', true), '''')::bigint)', tenant_table);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO upstream_pipeline', tenant_table);
    END LOOP;
END
$$;

-- The API reads what its customer owns; it writes uploads and the inbox only. Secrets are not readable.
GRANT SELECT ON customers, uploads, webhook_inbox, received_lines, rejected_rows, claims, claim_history,
    touched_days, quality_reports, quality_findings, payer_activity, payer_prices, drift_events, drift_looks, drift_results,
    alert_rules, alerts, deliveries, delivery_attempts TO upstream_api;
GRANT SELECT (customer_id, channel_id, name, kind, configuration, enabled, disabled_reason, failing_since,
    created_at) ON alert_channels TO upstream_api;
GRANT SELECT (customer_id, token_id, prefix, label, created_at, expires_at, revoked_at, last_used_at)
    ON ingestion_tokens TO upstream_api;
GRANT INSERT (customer_id, upload_id, source, file_name, location, sha256, byte_count, detected, request_id)
    ON uploads TO upstream_api;
GRANT INSERT ON webhook_inbox TO upstream_api;
-- A key of more than 7 days is released for reuse by the request that sends it again.
GRANT UPDATE (idempotency_key) ON webhook_inbox TO upstream_api;
-- The API's health check compares the schema with the program; the table holds nothing else.
GRANT SELECT ON alembic_version TO upstream_api;
