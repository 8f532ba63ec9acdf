-- A foreign key is looked up for each row: with a million lines 10 s a key, as long as all indexes of claims together, for
-- one and the same upload a million times. What they kept is kept otherwise, once an upload:
-- a line of claims has its first_seen_at (NOT NULL) from its upload's row, so without that row nothing can be written;
-- received_lines are written in the transaction that also notes in the upload's row that they are, and fails without it;
-- an upload that was read cannot be deleted before its quality report, which refers to it, and uploads to their customer.
ALTER TABLE received_lines DROP CONSTRAINT received_lines_customer_id_upload_id_fkey;
ALTER TABLE claims
    DROP CONSTRAINT claims_customer_id_fkey,
    DROP CONSTRAINT claims_customer_id_upload_id_fkey;

-- Counts are made of a customer's claims alone: 270,000 rows of a million lines, each with a look at the same customer.
ALTER TABLE payer_activity DROP CONSTRAINT payer_activity_customer_id_fkey;
ALTER TABLE payer_prices DROP CONSTRAINT payer_prices_customer_id_fkey;
ALTER TABLE payer_codes DROP CONSTRAINT payer_codes_customer_id_fkey;
