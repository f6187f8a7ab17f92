-- The batch form: each request has its own verdict.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('batch') IS NOT NULL AS created;
SELECT millrace.create_namespace('batch2') IS NOT NULL AS created;
-- Builders of the frames of extension/README.md.
CREATE FUNCTION pg_temp.str(s text) RETURNS bytea LANGUAGE sql AS $$
    SELECT CASE WHEN s IS NULL THEN '\xffffffff'::bytea ELSE int4send(octet_length(s)) || convert_to(s, 'UTF8') || '\x00'::bytea END $$;
CREATE FUNCTION pg_temp.msg(id uuid, type text, data text, metadata text DEFAULT NULL) RETURNS bytea LANGUAGE sql AS $$
    SELECT uuid_send(id) || pg_temp.str(type) || pg_temp.str(data) || pg_temp.str(metadata) $$;
CREATE FUNCTION pg_temp.part(stream text, expected bigint, VARIADIC messages bytea[]) RETURNS bytea LANGUAGE sql AS $$
    SELECT pg_temp.str(stream) || int8send(coalesce(expected, -9223372036854775808)) || int4send(cardinality(messages)) || string_agg(m, '') FROM unnest(messages) m $$;
CREATE FUNCTION pg_temp.req(namespace text, VARIADIC parts bytea[]) RETURNS bytea LANGUAGE sql AS $$
    SELECT pg_temp.str(namespace) || int4send(cardinality(parts)) || string_agg(p, '') FROM unnest(parts) p $$;
CREATE FUNCTION pg_temp.batch(VARIADIC requests bytea[]) RETURNS bytea LANGUAGE sql AS $$
    SELECT '\x01'::bytea || int4send(cardinality(requests)) || string_agg(r, '') FROM unnest(requests) r $$;
CREATE FUNCTION pg_temp.id(n int) RETURNS uuid LANGUAGE sql AS $$ SELECT (lpad(n::text, 8, '0') || '-0000-4000-8000-000000000000')::uuid $$;
CREATE FUNCTION pg_temp.try(batch bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM millrace.append_batch(batch);
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;

SELECT request, part, sqlstate, "position", last_position, expected, actual, message FROM millrace.append_batch(pg_temp.batch(
    pg_temp.req('batch', pg_temp.part('s-1', -1, pg_temp.msg(pg_temp.id(1), 'T', '{"n": 1}'), pg_temp.msg(pg_temp.id(2), 'T', '{}', '{"m": 1}'))),
    pg_temp.req('batch', pg_temp.part('s-1', 0, pg_temp.msg(pg_temp.id(3), 'T', '{}'))),
    pg_temp.req('batch', pg_temp.part('s-1', 1, pg_temp.msg(pg_temp.id(4), 'T', '{}'))),
    pg_temp.req('batch2', pg_temp.part('s-1', NULL, pg_temp.msg(pg_temp.id(1), 'T', '{}'))),
    pg_temp.req('nowhere', pg_temp.part('s-1', NULL, pg_temp.msg(pg_temp.id(5), 'T', '{}'))),
    -- All or none: the second part is refused, so the first leaves no trace, and the next request builds on that.
    pg_temp.req('batch', pg_temp.part('s-2', NULL, pg_temp.msg(pg_temp.id(6), 'T', '{}')), pg_temp.part('s-1', 9, pg_temp.msg(pg_temp.id(7), 'T', '{}'))),
    pg_temp.req('batch', pg_temp.part('s-2', -1, pg_temp.msg(pg_temp.id(8), 'T', '{}')), pg_temp.part('s-3', NULL, pg_temp.msg(pg_temp.id(9), 'T', '{}')), pg_temp.part('s-2', 0, pg_temp.msg(pg_temp.id(10), 'T', '{}'))),
    -- Ids seen before in this batch: the same message, another message, one of a refused request.
    pg_temp.req('batch', pg_temp.part('s-1', -1, pg_temp.msg(pg_temp.id(1), 'T', '{"n": 1.0}'), pg_temp.msg(pg_temp.id(2), 'T', '{}'))),
    pg_temp.req('batch', pg_temp.part('s-1', NULL, pg_temp.msg(pg_temp.id(1), 'T', '{"n": 2}'))),
    pg_temp.req('batch', pg_temp.part('s-1', 2, pg_temp.msg(pg_temp.id(3), 'T', '{}'))),
    pg_temp.req('batch', pg_temp.part('s-9', NULL, pg_temp.msg(pg_temp.id(11), 'T', '{}'), pg_temp.msg(pg_temp.id(11), 'T', '{}')))));
SET millrace.namespace = 'batch';
SELECT stream_name, "position", id, data, metadata FROM millrace.read_all();
SELECT bool_and(ascending) AS global_positions_rise FROM (SELECT global_position > lag(global_position) OVER (PARTITION BY stream_name ORDER BY "position") AS ascending FROM millrace.read_all()) g;

-- The same batch again, as after a lost reply: the first answers.
SELECT request, sqlstate, "position", last_position, global_position, last_global_position FROM millrace.append_batch(pg_temp.batch(
    pg_temp.req('batch', pg_temp.part('s-1', -1, pg_temp.msg(pg_temp.id(1), 'T', '{"n": 1}'), pg_temp.msg(pg_temp.id(2), 'T', '{}', '{"m": 1}'))),
    pg_temp.req('batch', pg_temp.part('s-1', 1, pg_temp.msg(pg_temp.id(4), 'T', '{}')))));

-- Version 2: ids that are new. One that is not is a unique violation, and nothing is stored.
SELECT request, sqlstate, "position" FROM millrace.append_batch(set_byte(pg_temp.batch(pg_temp.req('batch', pg_temp.part('v-1', NULL, pg_temp.msg(pg_temp.id(30), 'T', '{}'))), pg_temp.req('batch', pg_temp.part('v-1', 0, pg_temp.msg(pg_temp.id(31), 'T', '{}')))), 0, 2));
SELECT pg_temp.try(set_byte(pg_temp.batch(pg_temp.req('batch', pg_temp.part('v-1', NULL, pg_temp.msg(pg_temp.id(32), 'T', '{}'))), pg_temp.req('batch', pg_temp.part('v-1', NULL, pg_temp.msg(pg_temp.id(31), 'T', '{}')))), 0, 2));
SELECT count(*) FROM millrace.read_category('v');

-- An id seen before in this batch with another stream or type; a part that is refused because its stream is full leaves no trace.
SELECT request, part, sqlstate, "position", message FROM millrace.append_batch(pg_temp.batch(
    pg_temp.req('batch', pg_temp.part('w-1', NULL, pg_temp.msg(pg_temp.id(50), 'T', '{}'))),
    pg_temp.req('batch', pg_temp.part('w-2', NULL, pg_temp.msg(pg_temp.id(50), 'T', '{}'))),
    pg_temp.req('batch', pg_temp.part('w-1', NULL, pg_temp.msg(pg_temp.id(50), 'U', '{}')))));
INSERT INTO millrace_batch.messages (stream_name, "position", type, data) VALUES ('full-1', 9223372036854775807, 'T', '{}');
SELECT request, part, sqlstate, "position", message FROM millrace.append_batch(pg_temp.batch(
    pg_temp.req('batch', pg_temp.part('w-2', NULL, pg_temp.msg(pg_temp.id(51), 'T', '{}')), pg_temp.part('full-1', NULL, pg_temp.msg(pg_temp.id(52), 'T', '{}'))),
    pg_temp.req('batch', pg_temp.part('w-2', -1, pg_temp.msg(pg_temp.id(53), 'T', '{}')))));

-- The verdicts packed: appended, another number of parts, refused, unknown; and the same again.
CREATE FUNCTION pg_temp.packed() RETURNS bytea LANGUAGE sql AS $$ SELECT pg_temp.batch(
    pg_temp.req('batch2', pg_temp.part('p-1', -1, pg_temp.msg(pg_temp.id(40), 'T', '{}'), pg_temp.msg(pg_temp.id(41), 'T', '{}'))),
    pg_temp.req('batch2', pg_temp.part('p-1', NULL, pg_temp.msg(pg_temp.id(42), 'T', '{}')), pg_temp.part('p-2', NULL, pg_temp.msg(pg_temp.id(43), 'T', '{}'))),
    pg_temp.req('batch2', pg_temp.part('p-3', NULL, pg_temp.msg(pg_temp.id(44), 'T', '{}')), pg_temp.part('p-1', 7, pg_temp.msg(pg_temp.id(45), 'T', '{}'))),
    pg_temp.req('nowhere', pg_temp.part('p-1', NULL, pg_temp.msg(pg_temp.id(46), 'T', '{}')))) $$;
\a \t
SELECT encode(packed, 'hex') AS first FROM millrace.append_batch_packed(pg_temp.packed()) packed \gset
SELECT :'first';
SELECT encode(packed, 'hex') = :'first' AS the_same FROM millrace.append_batch_packed(pg_temp.packed()) packed;
\a \t
-- What fails as a whole.
SELECT pg_temp.try(''), pg_temp.try('\x04'), pg_temp.try('\x0100000000'), pg_temp.try('\x01ffffffff');
SELECT DISTINCT pg_temp.try(substr(b, 1, n)) FROM (SELECT pg_temp.batch(pg_temp.req('batch', pg_temp.part('t-1', NULL, pg_temp.msg(pg_temp.id(20), 'T', '{}')))) AS b) f, generate_series(1, octet_length(b) - 1) n ORDER BY 1;
SELECT pg_temp.try(pg_temp.batch(pg_temp.req('batch', pg_temp.part('t-1', NULL, pg_temp.msg(pg_temp.id(20), 'T', '{}')))) || '\x00');
SELECT pg_temp.try(pg_temp.batch(pg_temp.req('batch', pg_temp.part('', NULL, pg_temp.msg(pg_temp.id(20), 'T', '{}')))));
SELECT pg_temp.try(pg_temp.batch(pg_temp.req('batch', pg_temp.part('t-1', NULL, pg_temp.msg(pg_temp.id(20), '', '{}')))));
SELECT pg_temp.try(pg_temp.batch(pg_temp.req('batch', pg_temp.part('t-1', -7, pg_temp.msg(pg_temp.id(20), 'T', '{}')))));
SELECT pg_temp.try(pg_temp.batch(pg_temp.req('batch', pg_temp.part('t-1', NULL, pg_temp.msg(pg_temp.id(20), 'T', '[]')))));
SELECT pg_temp.try(pg_temp.batch(pg_temp.req('batch', pg_temp.part('t-1', NULL, pg_temp.msg(pg_temp.id(20), 'T', NULL)))));
SELECT pg_temp.try(pg_temp.batch(pg_temp.req('batch', pg_temp.part('t-1', NULL, pg_temp.msg(pg_temp.id(20), 'T', '{"a":')))));
SELECT pg_temp.try(pg_temp.batch(pg_temp.req('batch', int4send(3) || '\x742dff00'::bytea || int8send(-1) || int4send(1) || pg_temp.msg(pg_temp.id(20), 'T', '{}'))));
SELECT pg_temp.try(pg_temp.batch(pg_temp.req('batch', int4send(3) || '\x74002d00'::bytea || int8send(-1) || int4send(1) || pg_temp.msg(pg_temp.id(20), 'T', '{}'))));
-- More streams than one call may lock, in all its requests together.
CREATE FUNCTION pg_temp.streams(n int) RETURNS bytea LANGUAGE sql AS $$
    SELECT pg_temp.batch(VARIADIC array_agg(pg_temp.req('batch', pg_temp.part('t-' || i, NULL, pg_temp.msg(pg_temp.id(100 + i), 'T', '{}'))))) FROM generate_series(1, n) i $$;
SELECT pg_temp.try(pg_temp.streams(1001));
SELECT count(*) AS nothing_stored FROM millrace.read_category('t');
SELECT pg_temp.try(pg_temp.streams(1000));
RESET millrace.namespace;
SELECT millrace.drop_namespace('batch'), millrace.drop_namespace('batch2');
