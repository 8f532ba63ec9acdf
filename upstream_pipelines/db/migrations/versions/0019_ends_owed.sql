-- Of the end of an event: the channels that are to be told of it once they can be, since they are off now, or a message of the
-- event is under way to them. One that was told to others may be decided over again, so it too may have a time for that.
ALTER TABLE alerts
    ADD COLUMN owed_to uuid[] NOT NULL DEFAULT '{}' CHECK (owed_to = '{}' OR notice = 'resolved'),
    DROP CONSTRAINT alerts_held_check,
    ADD CONSTRAINT alerts_held_check CHECK ((state = 'suppressed') = (held_by IS NOT NULL)
        AND (held_by IS NULL OR reason IS NOT NULL)
        AND (held_by IS NOT NULL OR held_until IS NULL OR notice = 'resolved'));
-- They are looked for when a channel of the customer is on again: few among all alerts.
CREATE INDEX alerts_owed ON alerts (customer_id) WHERE owed_to <> '{}';
