-- A rotated secret signs beside the new one until then, so that a receiver may change over when it likes. The API's role
-- has its columns of alert_channels one by one and is not given these.
ALTER TABLE alert_channels
    ADD COLUMN previous_secret text,
    ADD COLUMN previous_secret_until timestamptz,
    ADD CONSTRAINT alert_channels_previous_secret
        CHECK ((previous_secret IS NULL) = (previous_secret_until IS NULL) AND (previous_secret IS NULL OR kind = 'webhook'));

-- in_flight_limit: deliveries at a time, more than 1 once the receiver proved itself; kept, so that each run need not
-- learn it anew. not_before: nothing is sent there until then (a 429 asked for it, or Slack's one message a second).
ALTER TABLE alert_channels
    ADD COLUMN in_flight_limit smallint NOT NULL DEFAULT 1 CHECK (in_flight_limit >= 1),
    ADD COLUMN not_before timestamptz;

-- The next rows of a channel, and which channels have any, without reading the rows of other channels.
CREATE INDEX deliveries_waiting ON deliveries (customer_id, channel_id, due_at)
    WHERE state IN ('pending', 'retrying', 'sending');
-- What is in flight to a channel, and what dead workers left.
CREATE INDEX deliveries_leased ON deliveries (customer_id, channel_id, due_at) WHERE state = 'sending';
