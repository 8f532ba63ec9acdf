-- Since when it is off; of those that were switched off by an earlier release it is not known.
ALTER TABLE alert_channels ADD COLUMN disabled_at timestamptz;

-- An alert whose channels are all off is kept, and told when one is on again.
ALTER TABLE alerts
    DROP CONSTRAINT alerts_held_by_check,
    ADD CONSTRAINT alerts_held_by_check CHECK (held_by IN ('channel', 'silence', 'noise', 'cooldown', 'opening'));
-- They are looked for when a channel or a rule of the customer changes: few among all alerts.
CREATE INDEX alerts_without_channel ON alerts (customer_id) WHERE held_by = 'channel';
