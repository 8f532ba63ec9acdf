-- The rows of an upload, or null where nobody knows how many it has: it waits, or was refused before all of it was read. The column
-- says 0 of these.
CREATE FUNCTION counted_rows(staged_at timestamptz, status text, rows bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE WHEN staged_at IS NOT NULL OR status IN ('success', 'partial') THEN rows END
$$;
REVOKE ALL ON FUNCTION counted_rows(timestamptz, text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION counted_rows(timestamptz, text, bigint) TO upstream_api, upstream_pipeline;
