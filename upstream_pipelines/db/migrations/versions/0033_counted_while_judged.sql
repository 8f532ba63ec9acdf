-- How many of the accepted lines have no natural key, as who judged them saw; null where nobody did. To count them again was a
-- seventieth of the ingest.
ALTER TABLE uploads ADD COLUMN unnatural_lines bigint;

-- Of 9,000 rows in the place of 30,000, from as many pages at most: nothing else is done after a merge until this is, and they are enough
-- to tell a customer with a million lines from one with none. autovacuum looks at 30,000.
ALTER FUNCTION analyze_claims() SET default_statistics_target = 30;
