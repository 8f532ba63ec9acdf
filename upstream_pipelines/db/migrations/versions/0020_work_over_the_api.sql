-- Columns, and not tables, so that the API's role cannot write what only the pipeline says: when a message was tried, what
-- was found. Row-level security keeps each of these to the customer of the transaction, as it did for reading.

-- Labelled days.
GRANT UPDATE (configuration) ON customers TO upstream_api;
-- The new normal.
GRANT INSERT (customer_id, event_id, accepted_on, accepted_by, note) ON drift_acceptances TO upstream_api;
-- What an alert was worth; silences, and their end before its time, with which what they held back is decided over again.
GRANT INSERT (customer_id, alert_id, judgement, recovered, note, judged_by, judged_at) ON alert_feedback TO upstream_api;
GRANT INSERT (customer_id, fingerprint, payer, signal, ends_at, reason, created_by, created_at), UPDATE (lifted_at)
    ON alert_silences TO upstream_api;
-- A dead message is due again, and its alerts wait again.
GRANT UPDATE (state, due_at, finished_at, progress) ON deliveries TO upstream_api;
GRANT UPDATE (state, held_until) ON alerts TO upstream_api;
-- Tokens: only the digest is written, and no role but the pipeline's reads it.
GRANT INSERT (customer_id, token_sha256, prefix, label, expires_at), UPDATE (revoked_at) ON ingestion_tokens
    TO upstream_api;
