-- Appending: bad input first.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('append') IS NOT NULL AS created;
SET millrace.namespace = 'append';
\set VERBOSITY sqlstate
SELECT * FROM millrace.append(NULL, 'T', '{}');
\set VERBOSITY default
SELECT * FROM millrace.append('', 'T', '{}');
SELECT * FROM millrace.append('s-1', NULL, '{}');
SELECT * FROM millrace.append('s-1', '', '{}');
SELECT * FROM millrace.append('s-1', 'T', NULL);
SELECT * FROM millrace.append('s-1', 'T', '[1]');
SELECT * FROM millrace.append('s-1', 'T', '7');
SELECT * FROM millrace.append('s-1', 'T', '{}', '"text"');
SELECT * FROM millrace.append('s-1', 'T', '{bad');
SELECT * FROM millrace.append('s-1', 'T', '{"a": "\u0000"}');
SELECT * FROM millrace.append('s-1', 'T', '{}', expected_version => -2);
SELECT * FROM millrace.append('s-1', 'T', '{}', id => 'no-uuid');
SELECT * FROM millrace.append('s-' || repeat('x', 2000), 'T', '{}');
SELECT * FROM millrace.append('s-1', repeat('x', 2001), '{}');
SELECT * FROM millrace.append_messages('s-1', NULL);
SELECT * FROM millrace.append_messages('s-1', '{}');
SELECT * FROM millrace.append_messages('s-1', ARRAY[NULL]::millrace.new_message[]);
SELECT * FROM millrace.append_messages('s-1', ARRAY[('T', '{}', NULL, NULL), ('U', NULL, NULL, NULL)]::millrace.new_message[]);
SELECT * FROM millrace.append_streams(NULL);
SELECT * FROM millrace.append_streams('{}');
SELECT * FROM millrace.append_streams(ARRAY[('s-1', NULL, NULL)]::millrace.stream_append[]);
SELECT count(*) AS nothing_stored FROM millrace.read_all();

-- Positions and expected versions.
SELECT "position" FROM millrace.append('s-1', 'T', '{"n": 0}', expected_version => 0);
SELECT "position" FROM millrace.append('s-1', 'T', '{"n": 0}', expected_version => -1);
SELECT "position" FROM millrace.append('s-1', 'T', '{"n": 1}', expected_version => -1);
SELECT "position" FROM millrace.append('s-1', 'T', '{"n": 1}', expected_version => 0);
SELECT "position" FROM millrace.append('s-1', 'T', '{"n": 2}');
SELECT stream_name, type, "position", data, metadata FROM millrace.read_stream('s-1');
-- Names as odd as they come.
SELECT "position" FROM (VALUES ('-'), ('-x'), ('a-'), ('no dash'), ('ü-€'), ('''; DROP TABLE x; --'), (repeat('x', 2000))) AS names (name),
    LATERAL millrace.append(name, 'T', '{}');

-- Idempotent by id; the retry comes before the expected version.
SELECT "position" FROM millrace.append('i-1', 'T', '{"a": 1, "b": [1.0]}', NULL, -1, '11111111-1111-4111-8111-111111111111');
SELECT "position" FROM millrace.append('i-1', 'T', '{"b": [1.00], "a": 1}', '{"other": true}', -1, '11111111-1111-4111-8111-111111111111');
SELECT "position" FROM millrace.append('i-1', 'T', '{"a": 2}', NULL, NULL, '11111111-1111-4111-8111-111111111111');
SELECT "position" FROM millrace.append('i-1', 'U', '{"a": 1, "b": [1.0]}', NULL, NULL, '11111111-1111-4111-8111-111111111111');
SELECT "position" FROM millrace.append('i-2', 'T', '{"a": 1, "b": [1.0]}', NULL, NULL, '11111111-1111-4111-8111-111111111111');
SELECT millrace.stream_version('i-1'), millrace.stream_version('i-2');
BEGIN;
SELECT "position" FROM millrace.append('i-3', 'T', '{}', id => '22222222-2222-4222-8222-222222222222');
SELECT "position" FROM millrace.append('i-3', 'T', '{}', id => '22222222-2222-4222-8222-222222222222');
ROLLBACK;
SELECT "position" FROM millrace.append('i-4', 'T', '{}', id => '22222222-2222-4222-8222-222222222222');

-- Many messages, one stream: all or none.
SELECT "position", last_position, last_global_position - global_position AS span
FROM millrace.append_messages('m-1', (SELECT array_agg(('T', jsonb_build_object('n', n), NULL, NULL)::millrace.new_message) FROM generate_series(0, 2499) n), -1);
SELECT count(*), bool_and("position" = (data->>'n')::int) AS right_order FROM millrace.read_stream('m-1', 0, -1);
SELECT "position", last_position FROM millrace.append_messages('m-1', ARRAY[('T', '{}', NULL, '33333333-3333-4333-8333-333333333333'), ('U', '{}', NULL, '44444444-4444-4444-8444-444444444444')]::millrace.new_message[], 2499);
SELECT "position", last_position FROM millrace.append_messages('m-1', ARRAY[('T', '{}', NULL, '33333333-3333-4333-8333-333333333333'), ('U', '{}', NULL, '44444444-4444-4444-8444-444444444444')]::millrace.new_message[], 2499);
SELECT "position", last_position FROM millrace.append_messages('m-1', ARRAY[('T', '{}', NULL, '33333333-3333-4333-8333-333333333333'), ('U', '{}', NULL, '55555555-5555-4555-8555-555555555555')]::millrace.new_message[]);
SELECT "position", last_position FROM millrace.append_messages('m-1', ARRAY[('T', '{}', NULL, '66666666-6666-4666-8666-666666666666'), ('T', '{}', NULL, '66666666-6666-4666-8666-666666666666')]::millrace.new_message[]);
SELECT millrace.stream_version('m-1');

-- Many streams: all or none, one stream several times too.
SELECT stream, "position", last_position FROM millrace.append_streams(ARRAY[
    ('n-1', ARRAY[('T', '{}', NULL, NULL), ('T', '{}', NULL, NULL)]::millrace.new_message[], -1),
    ('n-2', ARRAY[('T', '{}', NULL, NULL)]::millrace.new_message[], NULL),
    ('n-1', ARRAY[('U', '{}', NULL, NULL)]::millrace.new_message[], 1)]::millrace.stream_append[]);
SELECT stream, "position", last_position FROM millrace.append_streams(ARRAY[
    ('n-2', ARRAY[('T', '{}', NULL, NULL)]::millrace.new_message[], 0),
    ('n-1', ARRAY[('T', '{}', NULL, NULL)]::millrace.new_message[], 5)]::millrace.stream_append[]);
SELECT millrace.stream_version('n-1'), millrace.stream_version('n-2');

-- Several in one statement, in plpgsql, and after a rolled-back savepoint.
SELECT "position" FROM generate_series(1, 3) n, LATERAL millrace.append('o-1', 'T', jsonb_build_object('n', n));
DO $$ BEGIN
    PERFORM millrace.append('o-1', 'T', '{}');
    BEGIN
        PERFORM millrace.append('o-1', 'T', '{}');
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
        PERFORM millrace.append('o-1', 'T', '{"after": "rollback"}');
    END;
END $$;
SELECT "position", data FROM millrace.read_stream('o-1', 3);

-- As many streams as one call may lock; a stream counts once, however often it is named.
CREATE FUNCTION pg_temp.appends(streams int, parts int) RETURNS millrace.stream_append[] LANGUAGE sql AS $$
    SELECT array_agg(('many-' || n % streams, ARRAY[('T', '{}', NULL, NULL)]::millrace.new_message[], NULL)::millrace.stream_append) FROM generate_series(1, parts) n $$;
SELECT count(*), max("position") FROM millrace.append_streams(pg_temp.appends(1000, 2000));
SELECT count(*) FROM millrace.append_streams(pg_temp.appends(1001, 2000));
SELECT count(*) FROM millrace.read_category('many', batch_size => -1);

-- Values of any size, out of line where they must be.
SELECT "position" FROM millrace.append('big-1', 'T', jsonb_build_object('x', repeat('x', 3000000)));
SELECT "position" FROM millrace.append('big-1', 'T', (SELECT jsonb_object_agg(n, md5(n::text)) FROM generate_series(1, 30000) n), (SELECT jsonb_object_agg(n, md5(n::text)) FROM generate_series(1, 1000) n));
SELECT "position" FROM millrace.append_messages('big-2', (SELECT array_agg(('T', jsonb_build_object('n', n, 'x', (SELECT string_agg(md5((n * i)::text), '') FROM generate_series(1, 200) i)), NULL, NULL)::millrace.new_message) FROM generate_series(1, 30) n));
SELECT "position", length(data->>'x'), (SELECT count(*) FROM jsonb_object_keys(data)) AS keys, (SELECT count(*) FROM jsonb_object_keys(metadata)) AS metadata_keys FROM millrace.read_stream('big-1');
SELECT count(*), bool_and(data->>'x' = (SELECT string_agg(md5(((data->>'n')::int * i)::text), '') FROM generate_series(1, 200) i)) AS whole FROM millrace.read_stream('big-2');

-- A user's own indexes are kept up, partial ones and those on expressions too.
CREATE INDEX by_data ON millrace_append.messages USING gin (data);
CREATE INDEX by_amount ON millrace_append.messages (((data->>'amount')::numeric)) WHERE type = 'Paid';
CREATE UNIQUE INDEX by_reference ON millrace_append.messages ((data->>'reference'));
SELECT "position" FROM millrace.append('u-1', 'Paid', '{"amount": 12.5, "reference": "r1"}');
SELECT "position" FROM millrace.append('u-1', 'Sent', '{"amount": "not a number"}');
SELECT "position" FROM millrace.append('u-2', 'Paid', '{"amount": 1, "reference": "r1"}');
SET enable_seqscan = off;
SELECT stream_name, data FROM millrace_append.messages WHERE type = 'Paid' AND (data->>'amount')::numeric > 10;
SELECT stream_name FROM millrace_append.messages WHERE data @> '{"reference": "r1"}';
RESET enable_seqscan;
-- One with the shape of ours whose further column asks for the whole row, so for the position and the time that come last.
CREATE FUNCTION place(millrace_append.messages) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT $1.global_position || ' ' || ($1.time > '2000-01-01') $$;
CREATE INDEX by_place ON millrace_append.messages (millrace.category(stream_name), global_position, place(messages));
SELECT global_position AS placed FROM millrace.append('u-3', 'T', '{}') \gset
SET enable_seqscan = off;
SELECT stream_name FROM millrace_append.messages
    WHERE millrace.category(stream_name) = 'u' AND global_position = :placed AND place(messages) = :placed || ' true';
RESET enable_seqscan;
DROP FUNCTION place CASCADE;

-- Where an INSERT would be refused.
BEGIN READ ONLY;
SELECT * FROM millrace.append('s-1', 'T', '{}');
ROLLBACK;
CREATE FUNCTION append_in_parallel() RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE AS $$
BEGIN
    RETURN ap."position" FROM millrace.append('s-1', 'T', '{}') ap;
END $$;
BEGIN;
\set SHOW_CONTEXT never
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SELECT count(*) FROM millrace_append.messages WHERE append_in_parallel() > 0;
ROLLBACK;
\set SHOW_CONTEXT errors
DROP FUNCTION append_in_parallel();
-- The version under the lock counts, not the transaction's snapshot.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT millrace.stream_version('s-1');
SELECT "position" FROM millrace.append('s-1', 'T', '{}', expected_version => 2);
COMMIT;
-- A stream that is full, by a row that was put there by hand; and as many messages of one id as one likes, refused at once.
INSERT INTO millrace_append.messages (stream_name, "position", type, data) VALUES ('full-1', 9223372036854775806, 'T', '{}');
SELECT "position" FROM millrace.append('full-1', 'T', '{}');
SELECT * FROM millrace.append('full-1', 'T', '{}');
SELECT * FROM millrace.append_messages('twice-1', (SELECT array_agg(ROW('T', '{}', NULL, '00000001-0000-4000-8000-00000000aaaa')::millrace.new_message) FROM generate_series(1, 200000)));
RESET millrace.namespace;
SELECT millrace.drop_namespace('append') > 2500 AS dropped;
