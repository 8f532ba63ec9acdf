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

-- After a large merge the planner still expects one line of that customer, and reads a million by index, one after the
-- other. Only the owner of a table may analyze it before PostgreSQL 17. SKIP_LOCKED: autovacuum may be at it.
CREATE FUNCTION analyze_claims() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    ANALYZE (SKIP_LOCKED) claims;
END
$$;
REVOKE ALL ON FUNCTION analyze_claims() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION analyze_claims() TO upstream_pipeline;
