-- A rotated secret signs beside the new one until then, so that a receiver may change over when it likes. The API's role
-- has its columns of alert_channels one by one and is not given these.
ALTER TABLE alert_channels
    ADD COLUMN previous_secret text,
    ADD COLUMN previous_secret_until timestamptz,
    ADD CONSTRAINT alert_channels_previous_secret
        CHECK ((previous_secret IS NULL) = (previous_secret_until IS NULL) AND (previous_secret IS NULL OR kind = 'webhook'));
