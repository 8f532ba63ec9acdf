-- What happens to an alert between its event and a reader: grouped with others, held back with a reason, told again.

-- How often a rule may speak, and when. A repeat is asked for: a drift event lasts weeks.
ALTER TABLE alert_rules
    ADD COLUMN cooldown_hours double precision NOT NULL DEFAULT 4 CHECK (cooldown_hours BETWEEN 0 AND 8784),
    ADD COLUMN group_seconds  double precision NOT NULL DEFAULT 30 CHECK (group_seconds BETWEEN 0 AND 3600),
    ADD COLUMN update_minutes double precision NOT NULL DEFAULT 5 CHECK (update_minutes BETWEEN 0 AND 1440),
    ADD COLUMN repeat_hours   double precision CHECK (repeat_hours > 0 AND repeat_hours <= 8784),
    -- {"from": "20:00", "to": "07:00", "days": ["mon", ...]}; without days: every day. In time_zone (an IANA name).
    ADD COLUMN quiet_hours    jsonb,
    ADD COLUMN time_zone      text CHECK (time_zone IS NOT NULL OR quiet_hours IS NULL);
-- The sensor asks every few seconds which rules repeat; few do.
CREATE INDEX alert_rules_repeating ON alert_rules (customer_id, rule_id) WHERE repeat_hours IS NOT NULL;

-- severity: 0..1, of drift. step: numbers the notices of one kind of one subject (escalated, reminder).
-- told_at: when it was put into the outbox; null while it is held back. held_by, held_until: why, and when to look
-- again (null: not again). ends: a resolved notice may come; over_at: when it came.
-- A message of test has no rule, and a channel may fail while it is tested.
ALTER TABLE alerts
    ADD COLUMN severity   double precision,
    ADD COLUMN step       integer NOT NULL DEFAULT 0,
    ADD COLUMN told_at    timestamptz,
    ADD COLUMN held_by    text CHECK (held_by IN ('silence', 'noise', 'cooldown', 'opening')),
    ADD COLUMN held_until timestamptz,
    ADD COLUMN ends       boolean NOT NULL DEFAULT false,
    ADD COLUMN over_at    timestamptz,
    ALTER COLUMN rule_id DROP NOT NULL,
    DROP CONSTRAINT alerts_kind_check,
    DROP CONSTRAINT alerts_notice_check,
    DROP CONSTRAINT alerts_customer_id_rule_id_subject_id_notice_key,
    ADD CONSTRAINT alerts_kind_check CHECK (
        kind IN ('drift', 'quality', 'silence', 'run_failure', 'delivery_trouble', 'test')),
    ADD CONSTRAINT alerts_notice_check CHECK (notice IN ('open', 'resolved', 'escalated', 'reminder')),
    ADD CONSTRAINT alerts_rule_check CHECK (rule_id IS NOT NULL OR kind IN ('delivery_trouble', 'test')),
    ADD CONSTRAINT alerts_held_check CHECK ((state = 'suppressed') = (held_by IS NOT NULL)
        AND (held_by IS NULL OR reason IS NOT NULL) AND (held_by IS NOT NULL OR held_until IS NULL)),
    ADD CONSTRAINT alerts_notice_once UNIQUE (customer_id, subject_id, rule_id, notice, step);
CREATE INDEX alerts_held ON alerts (held_until) WHERE held_until IS NOT NULL;
-- What was told of a fingerprint lately, at each decision. The rule comes third here and above: with it second, either
-- index looks as good as the other before there are statistics, and the wrong one reads all alerts of the rule.
CREATE INDEX alerts_told ON alerts (customer_id, fingerprint, rule_id, told_at) WHERE told_at IS NOT NULL;
-- What a rule may repeat: a few among all that it ever told.
CREATE INDEX alerts_going_on ON alerts (customer_id, rule_id, subject_id)
    WHERE ends AND over_at IS NULL AND told_at IS NOT NULL;

ALTER TABLE deliveries ADD COLUMN rule_id uuid, ADD COLUMN first_tried_at timestamptz;

CREATE TABLE delivery_alerts (
    customer_id bigint NOT NULL REFERENCES customers,
    delivery_id uuid NOT NULL,
    alert_id    uuid NOT NULL,
    channel_id  uuid NOT NULL,
    PRIMARY KEY (customer_id, delivery_id, alert_id),
    UNIQUE (customer_id, alert_id, channel_id),
    FOREIGN KEY (customer_id, delivery_id) REFERENCES deliveries (customer_id, delivery_id),
    FOREIGN KEY (customer_id, alert_id) REFERENCES alerts (customer_id, alert_id)
);

-- Either one fingerprint, or all of a signal, a payer, or both.
CREATE TABLE alert_silences (
    customer_id bigint NOT NULL REFERENCES customers,
    silence_id  uuid NOT NULL DEFAULT gen_random_uuid(),
    fingerprint text,
    signal      text,
    payer       text,
    ends_at     timestamptz NOT NULL,
    reason      text NOT NULL CHECK (length(reason) <= 200),
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- Ended by hand before its time.
    lifted_at   timestamptz,
    PRIMARY KEY (customer_id, silence_id),
    CHECK (ends_at > created_at),
    CHECK ((fingerprint IS NULL) <> (signal IS NULL AND payer IS NULL))
);

-- Every judgement is kept; the newest of an alert counts.
CREATE TABLE alert_feedback (
    customer_id bigint NOT NULL REFERENCES customers,
    feedback_id uuid NOT NULL DEFAULT gen_random_uuid(),
    alert_id    uuid NOT NULL,
    judgement   text NOT NULL CHECK (judgement IN ('noise', 'real', 'needs_follow_up')),
    recovered   numeric(14, 2) CHECK (recovered >= 0),
    note        text NOT NULL DEFAULT '' CHECK (length(note) <= 200),
    judged_by   text NOT NULL,
    judged_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, feedback_id),
    FOREIGN KEY (customer_id, alert_id) REFERENCES alerts (customer_id, alert_id),
    CHECK (recovered IS NULL OR judgement = 'real')
);
CREATE INDEX alert_feedback_of_alert ON alert_feedback (customer_id, alert_id, judged_at);

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['delivery_alerts', 'alert_silences', 'alert_feedback']
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

-- What an earlier release wrote was told when it was written, one alert a message. As upstream_pipeline: no policy
-- shows the owner an alert.
SET LOCAL ROLE upstream_pipeline;
UPDATE alerts AS a
   SET told_at = a.created_at, severity = (a.content -> 'data' ->> 'severity')::double precision,
       ends = a.content ->> 'type' LIKE 'drift.event.%',
       over_at = (SELECT o.created_at FROM alerts AS o
                   WHERE o.customer_id = a.customer_id AND o.rule_id = a.rule_id AND o.subject_id = a.subject_id
                     AND o.notice = 'resolved');
INSERT INTO delivery_alerts (customer_id, delivery_id, alert_id, channel_id)
SELECT customer_id, delivery_id, alert_id, channel_id FROM deliveries;
UPDATE deliveries AS d
   SET rule_id = a.rule_id,
       first_tried_at = (SELECT min(t.started_at) FROM delivery_attempts AS t
                          WHERE t.customer_id = d.customer_id AND t.delivery_id = d.delivery_id)
  FROM alerts AS a WHERE a.customer_id = d.customer_id AND a.alert_id = d.alert_id;
SET LOCAL ROLE upstream_owner;

-- Takes its unique key and its foreign key with it.
ALTER TABLE deliveries DROP COLUMN alert_id;
ALTER TABLE deliveries ADD FOREIGN KEY (customer_id, rule_id) REFERENCES alert_rules (customer_id, rule_id);
-- The message that another alert of the same rule and channel may still join, and those that went out lately.
CREATE INDEX deliveries_joinable ON deliveries (customer_id, rule_id, channel_id)
    WHERE state = 'pending' AND attempt = 0;
CREATE INDEX deliveries_lately ON deliveries (customer_id, rule_id, channel_id, first_tried_at)
    WHERE first_tried_at IS NOT NULL;
