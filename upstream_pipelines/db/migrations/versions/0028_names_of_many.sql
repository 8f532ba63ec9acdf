-- Names of all spellings and codes of an upload at once. Worked out one by one, each went through all aliases or groups: 600
-- codes of one payer beside 1,500 aliases took 9 s, and 30,000 codes beside 4,900 groups nine minutes.
-- No nested loops: of arrays the planner expects ten elements and a hundred aliases, and there are thousands of both.

-- Canonical payer of each spelling: the alias of the same name but for case and white space (of several the first), else the
-- spelling itself with its white space tidied.
CREATE FUNCTION names_of_payers(spellings text[], aliases jsonb) RETURNS TABLE (payer text, payer_name text)
LANGUAGE sql IMMUTABLE SET enable_nestloop = off SET search_path = public, pg_temp AS $$
    WITH sent AS MATERIALIZED (
        SELECT DISTINCT s.spelling, regexp_replace(btrim(s.spelling), '\s+', ' ', 'g') AS tidied FROM unnest(spellings) AS s (spelling)
    ), known AS MATERIALIZED (
        SELECT DISTINCT ON (k.folded) k.folded, k.name
          FROM (SELECT lower(regexp_replace(btrim(a.key), '\s+', ' ', 'g')) AS folded, a.key, a.value AS name
                  FROM jsonb_each_text(aliases) AS a) AS k
         ORDER BY k.folded, k.key
    )
    SELECT s.spelling, coalesce(k.name, s.tidied) FROM sent AS s LEFT JOIN known AS k ON k.folded = lower(s.tidied)
$$;

-- CPT group of each code: an exact code goes before a beginning (992*), a longer beginning before a shorter.
CREATE FUNCTION groups_of_codes(codes text[], groups jsonb) RETURNS TABLE (cpt text, cpt_group text)
LANGUAGE sql IMMUTABLE SET enable_nestloop = off SET search_path = public, pg_temp AS $$
    WITH sent AS MATERIALIZED (
        SELECT DISTINCT s.code FROM unnest(codes) AS s (code)
    ), known AS MATERIALIZED (
        SELECT DISTINCT ON (k.stem, k.starred) k.stem, k.starred, k.name
          FROM (SELECT upper(rtrim(g.key, '*')) AS stem, g.key LIKE '%*' AS starred, g.key, g.value AS name
                  FROM jsonb_each_text(groups) AS g) AS k
         ORDER BY k.stem, k.starred, k.key
    ), beginnings AS MATERIALIZED (
        -- A join of all codes with the few lengths that there are is one join of keys for each of them.
        SELECT s.code, l.length, left(s.code, l.length) AS stem
          FROM sent AS s, (SELECT DISTINCT length(k.stem) AS length FROM known AS k WHERE k.starred) AS l
    ), found AS (
        SELECT s.code, k.name, NULL AS length FROM sent AS s JOIN known AS k ON k.stem = s.code AND NOT k.starred
         UNION ALL
        SELECT b.code, k.name, b.length FROM beginnings AS b JOIN known AS k ON k.stem = b.stem AND k.starred AND length(k.stem) = b.length
    ), chosen AS (
        SELECT DISTINCT ON (f.code) f.code, f.name FROM found AS f ORDER BY f.code, f.length DESC NULLS FIRST
    )
    SELECT s.code, coalesce(c.name, 'OTHER') FROM sent AS s LEFT JOIN chosen AS c ON c.code = s.code
$$;

DROP FUNCTION canonical_payer(text, jsonb);
DROP FUNCTION group_of_code(text, jsonb);
