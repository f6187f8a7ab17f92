-- What subscriptions, export and import are made of.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('transfer') IS NOT NULL AS created;
SELECT millrace.create_namespace('copy') IS NOT NULL AS created;
SET millrace.namespace = 'transfer';
SELECT millrace.feed_head('transfer'), (SELECT count(*) FROM millrace.read_feed('transfer', 1, 10, true));
SELECT count(millrace.append(stream, 'T', jsonb_build_object('n', n), CASE WHEN n % 2 = 0 THEN '{"m": 1}'::jsonb END)) FROM (VALUES (1, 'a-1'), (2, 'b-"1"'), (3, 'a-2'), (4, 'a-1')) AS m (n, stream);

-- Events, ready to send.
SELECT body, count, next_position, state FROM millrace.read_pokes('transfer', NULL, NULL, 0, NULL, NULL, NULL, false, false, 100000);
SELECT body, count, next_position, state FROM millrace.read_pokes('transfer', 'a-1', NULL, 0, NULL, NULL, NULL, true, false, 1);
SELECT count, next_position, state FROM millrace.read_pokes('transfer', 'a-1', NULL, 1, NULL, NULL, NULL, true, false, 1000);
SELECT count, next_position, state FROM millrace.read_pokes('transfer', 'a-1', NULL, 0, NULL, NULL, NULL, false, false, 1000, 2);
SELECT count, next_position, state FROM millrace.read_pokes('transfer', NULL, 'a', 0, 4, NULL, NULL, false, false, 1000);
SELECT count, next_position, state FROM millrace.read_pokes('transfer', NULL, 'a', 0, NULL, 0, 2, false, false, 1000);
SELECT regexp_replace(body, '"[0-9a-f-]{36}"|"\d{4}-.*Z"', '...', 'g') FROM millrace.read_pokes('transfer', NULL, 'b', 0, NULL, NULL, NULL, false, true, 1000);
SELECT body, count, next_position, state FROM millrace.read_pokes('transfer', 'none-1', NULL, 7, NULL, NULL, NULL, false, false, 1000);
SELECT * FROM millrace.read_pokes('transfer', '', NULL, 7, NULL, NULL, NULL, false, false, 1000);
SELECT * FROM millrace.read_pokes('nowhere', NULL, NULL, 7, NULL, NULL, NULL, false, false, 1000);
SELECT stream, "position", global_position, poke, message IS NOT NULL AS message FROM millrace.read_feed('transfer', 2, 2, false);
SELECT count(*), bool_and((message::json ->> 4)::bigint = global_position) FROM millrace.read_feed('transfer', 1, NULL, true);
SELECT millrace.feed_head('transfer');

-- Export and import bring every field back.
SELECT count, next_position, (SELECT array_agg(k) FROM json_object_keys(split_part(body, E'\n', 1)::json) k) AS keys FROM millrace.json_export('transfer', 1, NULL, NULL, NULL, 1);
SELECT count, next_position FROM millrace.json_export('transfer', 2, NULL, NULL, NULL, 100000);
SELECT count, next_position FROM millrace.json_export('transfer', 1, '{a}', NULL, NULL, 100000);
SELECT count FROM millrace.json_export('transfer', 1, '{}', NULL, NULL, 100000);
SELECT count FROM millrace.json_export('transfer', 1, NULL, now() - interval '1 hour', now() + interval '1 hour', 100000);
SELECT count FROM millrace.json_export('transfer', 1, NULL, now() + interval '1 hour', NULL, 100000);
SELECT count FROM millrace.json_export('transfer', 1, NULL, NULL, now() - interval '1 hour', 100000);
CREATE FUNCTION pg_temp.str(s text) RETURNS bytea LANGUAGE sql AS $$
    SELECT CASE WHEN s IS NULL THEN '\xffffffff'::bytea ELSE int4send(octet_length(s)) || convert_to(s, 'UTF8') || '\x00'::bytea END $$;
CREATE FUNCTION pg_temp.record(id uuid, stream text, type text, pos bigint, gpos bigint, "time" timestamptz, data text, meta text) RETURNS bytea LANGUAGE sql AS $$
    SELECT uuid_send(id) || pg_temp.str(stream) || pg_temp.str(type) || int8send(pos) || int8send(gpos) || timestamptz_send("time") || pg_temp.str(data) || pg_temp.str(meta) $$;
CREATE FUNCTION pg_temp.frame(lines text) RETURNS bytea LANGUAGE sql AS $$
    SELECT '\x01'::bytea || int4send(count(*)::int) || string_agg(pg_temp.record((l ->> 'id')::uuid, l ->> 'stream', l ->> 'type', (l ->> 'pos')::bigint, (l ->> 'gpos')::bigint,
        (l ->> 'time')::timestamptz, (l -> 'data')::text, CASE WHEN json_typeof(l -> 'meta') <> 'null' THEN (l -> 'meta')::text END), '' ORDER BY n)
    FROM (SELECT line::json AS l, n FROM regexp_split_to_table(trim(E'\n' FROM lines), E'\n') WITH ORDINALITY AS t (line, n)) r $$;
SELECT i.* FROM millrace.json_export('transfer', 1, NULL, NULL, NULL, 100000) e, LATERAL millrace.import_batch('copy', pg_temp.frame(e.body)) i;
SELECT count(*) FROM millrace_transfer.messages a FULL JOIN millrace_copy.messages b USING (id) WHERE a IS DISTINCT FROM b;
-- The same again: the first record's id is there.
SELECT i.imported, i.failed_record, i.sqlstate, i.message ~ '^message id .* is there already$' AS message FROM millrace.json_export('transfer', 1, NULL, NULL, NULL, 100000) e, LATERAL millrace.import_batch('copy', pg_temp.frame(e.body)) i;
-- The first record at fault, whatever its fault; nothing stored.
CREATE FUNCTION pg_temp.line(n int, stream text, pos bigint, gpos bigint) RETURNS text LANGUAGE sql AS $$
    SELECT json_build_object('id', lpad(n::text, 8, '0') || '-0000-4000-8000-000000000000', 'stream', stream, 'type', 'I', 'pos', pos, 'gpos', gpos, 'data', '{}'::json, 'meta', null, 'time', '2020-01-02T03:04:05.678901Z')::text || E'\n' $$;
SELECT * FROM millrace.import_batch('copy', pg_temp.frame(pg_temp.line(1, 'i-1', 0, 100) || pg_temp.line(2, 'a-1', 1, 101) || pg_temp.line(3, 'i-1', 1, 100)));
SELECT * FROM millrace.import_batch('copy', pg_temp.frame(pg_temp.line(1, 'i-1', 0, 100) || pg_temp.line(2, 'i-1', 0, 101) || pg_temp.line(3, 'i-1', 1, 1)));
SELECT * FROM millrace.import_batch('copy', pg_temp.frame(pg_temp.line(1, 'i-1', 0, 100) || pg_temp.line(2, 'i-1', 1, 100)));
SELECT * FROM millrace.import_batch('copy', pg_temp.frame(pg_temp.line(1, 'i-1', 0, 100) || pg_temp.line(1, 'i-1', 1, 101)));
SELECT * FROM millrace.import_batch('copy', pg_temp.frame(pg_temp.line(1, 'i-1', 0, 3)));
SELECT * FROM millrace.import_batch('copy', pg_temp.frame(pg_temp.line(1, 'i-1', -1, 100)));
SELECT * FROM millrace.import_batch('copy', pg_temp.frame(pg_temp.line(1, 'i-1', 0, 0)));
SELECT * FROM millrace.import_batch('nowhere', pg_temp.frame(pg_temp.line(1, 'i-1', 0, 100)));
SELECT * FROM millrace.import_batch('copy', '\x01');
SELECT * FROM millrace.import_batch('copy', pg_temp.frame(pg_temp.line(1, 'i-1', 9223372036854775807, 100)));
SELECT * FROM millrace.import_batch('copy', pg_temp.frame(pg_temp.line(1, 'i-1', 0, 9223372036854775807)));
SELECT * FROM millrace.import_batch('copy', '\x01'::bytea || int4send(1) || pg_temp.record(gen_random_uuid(), 'i-1', 'I', 0, 100, 'infinity', '{}', NULL));
BEGIN READ ONLY;
SELECT * FROM millrace.import_batch('copy', pg_temp.frame(pg_temp.line(1, 'i-1', 0, 100)));
ROLLBACK;
SELECT count(*) FROM millrace_copy.messages;
-- Gaps are legal; what is appended afterwards lies above, in its stream and in the namespace, and the sequence never goes back.
SELECT * FROM millrace.import_batch('copy', pg_temp.frame(pg_temp.line(1, 'i-1', 5, 1000) || pg_temp.line(2, 'i-1', 9, 500)));
SELECT * FROM millrace.import_batch('copy', pg_temp.frame(pg_temp.line(3, 'i-2', 0, 50)));
SET millrace.namespace = 'copy';
SELECT "position", global_position > 1000 AS above FROM millrace.append('i-1', 'T', '{}');
SELECT stream_name, "position", time AT TIME ZONE 'utc' AS time FROM millrace.read_category('i', 1, 2);
SELECT millrace.empty_namespace('copy'), millrace.empty_namespace('copy');
SELECT "position", global_position > 1001 AS above FROM millrace.append('i-1', 'T', '{}');
SELECT * FROM millrace.import_batch('copy', pg_temp.frame((SELECT string_agg(pg_temp.line(n, 'l-' || n, 0, 10000 + n), '') FROM generate_series(1, 1001) n)));
SELECT millrace.empty_namespace('nowhere');
RESET millrace.namespace;
SELECT millrace.drop_namespace('transfer'), millrace.drop_namespace('copy');
