-- How many of the accepted lines have no natural key, as who judged them saw; null where nobody did. To count them again was a
-- seventieth of the ingest.
ALTER TABLE uploads ADD COLUMN unnatural_lines bigint;
