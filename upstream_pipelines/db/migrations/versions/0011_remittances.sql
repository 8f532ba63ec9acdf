ALTER TABLE uploads
    DROP CONSTRAINT uploads_source_check,
    ADD CONSTRAINT uploads_source_check CHECK (source IN ('csv', 'webhook', 'x12_835'));

-- What a remittance says beside the fields of a claim line; empty for other sources (ingest/remittance.py).
ALTER TABLE received_lines
    DROP CONSTRAINT received_lines_source_check,
    ADD CONSTRAINT received_lines_source_check CHECK (source IN ('csv', 'webhook', 'x12_835')),
    -- The payer's own number of the claim (CLP07).
    ADD COLUMN payer_claim_number  text,
    -- 1 primary, 2 secondary, 3 tertiary payer; empty where the status does not say: denials and reversals.
    ADD COLUMN payer_position      smallint CHECK (payer_position BETWEEN 1 AND 3),
    -- Tells equal lines of one claim apart.
    ADD COLUMN claim_ordinal       integer,
    -- The submitted date is the day of service, as no other was sent.
    ADD COLUMN submitted_stands_in boolean;

-- Each payer's decision on a line is a line of its own: a secondary payment replaces no decision of the primary payer.
ALTER TABLE claims
    DROP CONSTRAINT claims_source_check,
    ADD CONSTRAINT claims_source_check CHECK (source IN ('csv', 'webhook', 'x12_835')),
    ADD COLUMN payer_claim_number text,
    ADD COLUMN payer_position     smallint NOT NULL DEFAULT 1 CHECK (payer_position BETWEEN 1 AND 3);
