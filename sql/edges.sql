-- What users do to tables, types and transactions around the functions.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('edges') IS NOT NULL AS created;
SET millrace.namespace = 'edges';
CREATE FUNCTION pg_temp.locks(class integer) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND objsubid = class $$;

-- An index that runs the other way, or by another order, is none of ours.
SELECT count(millrace.append('a-1', 'T', '{}')) FROM generate_series(1, 3);
CREATE UNIQUE INDEX ON millrace_edges.messages (stream_name, position DESC);
CREATE UNIQUE INDEX ON millrace_edges.messages (stream_name text_pattern_ops, position);
CREATE UNIQUE INDEX ON millrace_edges.messages (stream_name COLLATE "POSIX", position);
CREATE UNIQUE INDEX ON millrace_edges.messages (global_position DESC);
CREATE INDEX ON millrace_edges.messages (millrace.category(stream_name), global_position DESC);
SELECT "position", millrace.stream_version('a-1') FROM millrace.append('a-1', 'T', '{}', expected_version => 2);
SELECT array_agg("position") FROM millrace.read_stream('a-1');
SELECT array_agg(global_position), (SELECT array_agg(global_position) FROM millrace.read_category('a')), millrace.feed_head('edges') FROM millrace.read_all();
DROP INDEX millrace_edges.messages_stream;
SELECT millrace.stream_version('a-1');
CREATE UNIQUE INDEX messages_stream ON millrace_edges.messages (stream_name, position);

BEGIN;
SAVEPOINT s;
CREATE INDEX ON millrace_edges.messages (type);
SELECT "position" FROM millrace.append('a-1', 'T', '{}');
ROLLBACK TO s;
SELECT "position" FROM millrace.append('a-1', 'T', '{}');
COMMIT;
BEGIN;
ALTER TABLE millrace_edges.messages DROP CONSTRAINT messages_pkey;
DO $$
DECLARE
    index text;
BEGIN
    FOR index IN SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'millrace_edges.messages'::regclass LOOP
        EXECUTE 'DROP INDEX ' || index;
    END LOOP;
END $$;
SELECT millrace.stream_version('a-1');
ROLLBACK;

-- A sequence that hands out numbers ahead is noticed at once.
ALTER SEQUENCE millrace_edges.messages_global_position_seq CACHE 10;
SELECT * FROM millrace.append('a-1', 'T', '{}');
ALTER SEQUENCE millrace_edges.messages_global_position_seq CACHE 1;
SELECT "position" FROM millrace.append('a-1', 'T', '{}');

-- A type with more attributes than we know is refused.
BEGIN;
ALTER TYPE millrace.new_message ADD ATTRIBUTE more text;
SELECT * FROM millrace.append_messages('a-1', ARRAY[ROW('T', '{}', NULL, NULL, 'more')::millrace.new_message]);
ROLLBACK;
BEGIN;
ALTER TYPE millrace.stream_append ADD ATTRIBUTE more text;
SELECT * FROM millrace.append_streams(ARRAY[ROW('a-1', ARRAY[ROW('T', '{}', NULL, NULL)::millrace.new_message], NULL, 'more')::millrace.stream_append]);
ROLLBACK;

-- An error under the append lock that is caught leaves the lock free, and what was appended before it in place.
CREATE INDEX messages_share ON millrace_edges.messages ((1 / (data ->> 'n')::integer));
BEGIN;
SELECT "position" FROM millrace.append('b-1', 'T', '{"n": 1}');
DO $$
BEGIN
    PERFORM millrace.append('b-1', 'T', '{"n": 1}');
    PERFORM millrace.append('b-2', 'T', '{"n": 0}');
EXCEPTION WHEN division_by_zero THEN
    RAISE WARNING 'caught %, append locks held: %, stream locks held: %', SQLERRM, pg_temp.locks(x'4D41'::integer), pg_temp.locks(x'4D53'::integer);
END $$;
SELECT "position" FROM millrace.append('b-1', 'T', '{"n": 1}', expected_version => 0);
SELECT pg_temp.locks(x'4D41'::integer) AS append_locks, pg_temp.locks(x'4D53'::integer) AS stream_locks;
COMMIT;
SELECT stream_name, "position" FROM millrace.read_category('b');
DROP INDEX millrace_edges.messages_share;

-- What a savepoint takes back leaves no trace in versions and ids.
BEGIN;
SAVEPOINT s;
SELECT "position" FROM millrace.append('c-1', 'T', '{"n": 1}', id => 'c0000000-0000-0000-0000-000000000001');
ROLLBACK TO s;
SELECT "position" FROM millrace.append('c-1', 'T', '{"n": 2}', id => 'c0000000-0000-0000-0000-000000000001', expected_version => -1);
SAVEPOINT t;
SELECT "position" FROM millrace.append('c-1', 'T', '{"n": 3}', expected_version => 0);
RELEASE t;
SELECT "position" FROM millrace.append('c-1', 'T', '{"n": 4}', expected_version => 1);
COMMIT;
SELECT data FROM millrace.read_stream('c-1');

-- A cursor appends row by row; its stream locks outlive it.
BEGIN;
DECLARE appending CURSOR FOR SELECT "position" FROM generate_series(1, 3) n, LATERAL millrace.append('d-1', 'T', jsonb_build_object('n', n));
FETCH 1 FROM appending;
SAVEPOINT s;
FETCH 1 FROM appending;
ROLLBACK TO s;
CLOSE appending;
SELECT pg_temp.locks(x'4D53'::integer) AS stream_locks;
SELECT "position" FROM millrace.append('d-1', 'T', '{}', expected_version => 0);
COMMIT;
SELECT data FROM millrace.read_stream('d-1');

-- Nothing in pg_temp or in front of pg_catalog is taken for what the functions mean.
CREATE SCHEMA decoy;
CREATE FUNCTION decoy.format(text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'DROP TABLE millrace.namespaces' $$;
CREATE FUNCTION decoy.octet_length(text) RETURNS integer LANGUAGE sql AS $$ SELECT 1000 $$;
CREATE FUNCTION decoy.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT 'decoy' $$;
CREATE TEMP TABLE namespaces AS TABLE millrace.namespaces;
CREATE TEMP TABLE messages (stream_name text);
SET search_path = decoy, pg_temp, millrace, pg_catalog;
SELECT millrace.create_namespace('decoyed') IS NOT NULL AS created;
SELECT millrace.ensure_namespace('decoyed'), (SELECT count(*) FROM millrace.list_categories()) AS categories;
SELECT millrace.drop_namespace('decoyed');
RESET search_path;
DROP SCHEMA decoy CASCADE;
DROP TABLE pg_temp.namespaces, pg_temp.messages;

-- Large values go out of line and come back.
SELECT "position" FROM millrace.append('e-1', 'T', jsonb_build_object('random', (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 100000) n), 'same', repeat('x', 3000000)));
SELECT md5(data ->> 'random') = md5((SELECT string_agg(md5(n::text), '') FROM generate_series(1, 100000) n)) AS random, length(data ->> 'same') FROM millrace.last_message('e-1');

-- Only a role that may change the registry may hold up one that does.
CREATE ROLE regress_millrace_idle;
SET ROLE regress_millrace_idle;
SELECT millrace.lock_namespace('edges');
RESET ROLE;
DROP ROLE regress_millrace_idle;

RESET millrace.namespace;
SELECT millrace.drop_namespace('edges');
