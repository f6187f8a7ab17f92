-- The JSON that the HTTP side passes on is jsonb's own text, byte for byte.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('json') IS NOT NULL AS created;
SET millrace.namespace = 'json';
-- Values of every kind, nested at random; arrays and objects of more than 32 elements keep offsets in another way.
CREATE FUNCTION pg_temp.value(seed int, depth int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    hash int := abs(hashint4(seed) / 2);
    kinds int := CASE WHEN depth > 3 THEN 7 ELSE 11 END;
    size int := CASE hash % 7 WHEN 0 THEN 0 WHEN 1 THEN 70 ELSE hash % 5 + 1 END;
BEGIN
    CASE hash % kinds
        WHEN 0 THEN RETURN 'null';
        WHEN 1 THEN RETURN to_jsonb(hash % 2 = 0);
        WHEN 2 THEN RETURN to_jsonb(hash);
        WHEN 3 THEN RETURN to_jsonb((-hash / 7.0)::numeric(30, 12));
        WHEN 4 THEN RETURN to_jsonb(('1e' || hash % 300)::numeric);
        WHEN 5 THEN RETURN to_jsonb(left(repeat(E'plain text, "quoted", \\ é€😀 \t\n\r\b\f\x01\x1f\x7f ', 20), hash % 200));
        WHEN 6 THEN RETURN to_jsonb(''::text);
        WHEN 7, 8 THEN RETURN (SELECT coalesce(jsonb_agg(pg_temp.value(hash % 1000000 * 31 + n, depth + CASE size WHEN 70 THEN 4 ELSE 1 END)), '[]') FROM generate_series(1, size) n);
        ELSE RETURN (SELECT coalesce(jsonb_object_agg(left(E'k"\n' || n || repeat('x', n), 3 + hash % 20), pg_temp.value(hash % 1000000 * 37 + n, depth + CASE size WHEN 70 THEN 4 ELSE 1 END)), '{}') FROM generate_series(1, size) n);
    END CASE;
END $$;
SELECT count(millrace.append('j-' || n % 7, 'T', jsonb_build_object('v', pg_temp.value(n, 0)), jsonb_build_object('m', pg_temp.value(-n, 2)))) FROM generate_series(1, 1500) n;
-- Numbers of many scales and weights; strings of many lengths, with what is escaped at each of their places.
SELECT count(millrace.append('n-1', 'T', jsonb_build_object('n', sign * (digits || 'e' || exponent)::numeric), jsonb_build_object('of', digits)))
FROM unnest('{0, 0.0, 1, 10, 9, 9999, 10000, 12345, 120003, 99999999, 100000001, 1.50, 1.5000000, 0.0001}'::text[]) digits, unnest('{1, -1}'::int[]) sign, generate_series(-80, 80, 3) exponent;
SELECT count(millrace.append('n-2', 'T', jsonb_build_object('s', (SELECT jsonb_agg(overlay(repeat('a', length) placing escaped from place)) FROM generate_series(1, length) place, unnest(ARRAY['a', '"', E'\x1f', 'é']) escaped)), '{}'))
FROM generate_series(1, 50) length;
CREATE TEMP TABLE told AS SELECT (m ->> 4)::bigint AS global_position, m FROM millrace.json_read_category('json', '', 1, -1, NULL, NULL, NULL, NULL, 1000000000), LATERAL json_array_elements(('[' || body || ']')::json) m;
SELECT count(*) AS messages, count(*) FILTER (WHERE (m -> 5)::text IS DISTINCT FROM data::text OR (m -> 6)::text IS DISTINCT FROM metadata::text
    OR m ->> 0 <> id::text OR m ->> 1 <> stream_name OR m ->> 2 <> type OR (m ->> 3)::bigint <> position
    OR (m ->> 7)::timestamptz <> time AT TIME ZONE 'utc') AS different FROM millrace_json.messages LEFT JOIN told USING (global_position);
-- Deep, but not too deep.
SELECT "position" FROM millrace.append('deep-1', 'T', ('{"d": ' || repeat('[', 2000) || repeat(']', 2000) || '}')::jsonb);
SELECT length(body) > 4000 AS whole FROM millrace.json_read_stream('json', 'deep-1', 0, NULL, 1, NULL, 1);
-- Pages: each continues after the last, and together they are the whole.
WITH RECURSIVE page AS (
    SELECT p.*, 1 AS number FROM millrace.json_read_category('json', 'j', 1, -1, NULL, NULL, NULL, NULL, 100000) p
    UNION ALL SELECT p.*, number + 1 FROM page, LATERAL millrace.json_read_category('json', 'j', page.next_position, -1, NULL, NULL, NULL, NULL, 100000) p WHERE page.next_position IS NOT NULL)
SELECT max(number) > 3 AS many, sum(count) AS messages, md5('[' || string_agg(body, ',' ORDER BY number) || ']') =
    (SELECT md5('[' || body || ']') FROM millrace.json_read_category('json', 'j', 1, -1, NULL, NULL, NULL, NULL, 1000000000)) AS same FROM page;
-- Times: one after the other of a second or not, and those that have no text.
SELECT count(*) AS times, count(*) FILTER (WHERE millrace.json_time(time) IS DISTINCT FROM
    to_char(time AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS') || rtrim(rtrim(to_char(time AT TIME ZONE 'utc', '.US'), '0'), '.') || 'Z') AS different
FROM generate_series(1, 3) n, unnest(ARRAY['2026-11-29 23:59:59.999999+00', '2026-11-29 23:59:59+00', '2026-11-30 00:00:00.1+00', '1999-12-31 23:59:59.5+00', '2000-01-01 00:00:00+00',
    '1999-12-31 23:59:59.000001+00', '1970-01-01 00:00:00.123450+00', '0001-01-01 00:00:00+00', '9999-12-31 23:59:59.999+00']::timestamptz[]) time;
SELECT millrace.json_time(time) FROM unnest(ARRAY['10000-01-01 00:00:00+00', 'infinity', '294276-12-31 23:59:59.999999+00', '-infinity', '0001-12-31 00:00:00+00 BC', '0002-12-31 23:59:59.5+00 BC', '4714-11-24 00:00:00+00 BC']::timestamptz[]) time;
RESET millrace.namespace;
SELECT millrace.drop_namespace('json');
