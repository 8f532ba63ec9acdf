-- An Idempotency-Key is a sender's own text and may name a patient: its SHA-256 (64 hexadecimal digits) is kept in its place.
SET LOCAL ROLE upstream_pipeline;
UPDATE webhook_inbox SET idempotency_key = encode(sha256(convert_to(idempotency_key, 'UTF8')), 'hex')
 WHERE idempotency_key IS NOT NULL;
SET LOCAL ROLE upstream_owner;
ALTER TABLE webhook_inbox
    ADD CONSTRAINT webhook_inbox_key_hashed CHECK (idempotency_key ~ '^[0-9a-f]{64}$');
