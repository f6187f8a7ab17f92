-- Message DB's interface: each function, ordinary and odd.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'message_store') AS role_was_there \gset
SELECT millrace.install_message_db();
SELECT millrace.install_message_db();
SET search_path = message_store, public;
SELECT message_store_version();

SELECT name, category(name), id(name), cardinal_id(name), is_category(name)
FROM (VALUES ('account'), ('account-123'), ('a-b-c+d'), ('a-1+2+3'), ('a-'), ('a-+b'), ('-x'), (''), (NULL)) AS names (name);
SELECT hash_64('account'), hash_64(''), hash_64(NULL);
SELECT acquire_lock('account-1'), acquire_lock(NULL);

-- write_message: positions, versions, errors.
CREATE FUNCTION pg_temp.id(n int) RETURNS varchar LANGUAGE sql AS $$ SELECT lpad(n::text, 8, '0') || '-0000-4000-8000-000000000000' $$;
SELECT write_message(pg_temp.id(1), 's-1', 'T', '{"attribute": "some value"}');
SELECT write_message(pg_temp.id(2), 's-1', 'T', '{"n": 2}', '{"correlationStreamName": "c-1"}', 0);
SELECT write_message(pg_temp.id(3), 's-1', 'T', '{}', NULL, 5);
SELECT write_message(pg_temp.id(3), 's-1', 'T', '{}', NULL, -1);
SELECT write_message(pg_temp.id(3), 's-2', 'T', '{}', NULL, 0);
SELECT write_message(pg_temp.id(3), 's-2', 'T', '{}', NULL, -2);
SELECT write_message(pg_temp.id(3), 's-2', 'T', '{}', NULL, -9223372036854775808);
SELECT write_message(pg_temp.id(3), NULL, 'T', '{}', NULL, 5);
SELECT write_message(pg_temp.id(1), 's-2', 'T', '{}');
\set VERBOSITY sqlstate
SELECT write_message(pg_temp.id(3), 's-1', 'T', '{}', expected_version => 5);
SELECT write_message(pg_temp.id(1), 's-2', 'T', '{}');
SELECT write_message('abc', 's-2', 'T', '{}');
SELECT write_message(NULL, 's-2', 'T', '{}');
SELECT write_message(pg_temp.id(3), NULL, 'T', '{}');
SELECT write_message(pg_temp.id(3), 's-2', NULL, '{}');
\set VERBOSITY default
SELECT write_message('abc', 's-2', 'T', '{}');
SELECT write_message('abc', 's-2', 'T', '{}', NULL, 7);
SELECT write_message('{' || pg_temp.id(4) || '}', 's-3', 'T', '[1, "two"]'), write_message(replace(pg_temp.id(5), '-', ''), 's-3', 'T', NULL),
    write_message(pg_temp.id(6), 'dashless', '', '7'), write_message(pg_temp.id(7), '', 'T', 'null');
SELECT write_message("type" => 'U', id => pg_temp.id(8), data => '{}', stream_name => 's-1', expected_version => 1);

-- get_stream_messages
SELECT id, stream_name, type, position, global_position > 0 AS global, data, metadata, pg_typeof(time), pg_typeof(data) FROM get_stream_messages('s-1');
SELECT position FROM get_stream_messages('s-1', 1);
SELECT position FROM get_stream_messages('s-1', "position" => 1, batch_size => 1);
SELECT position FROM get_stream_messages('s-1', NULL, NULL);
SELECT position FROM get_stream_messages('s-1', batch_size => 0);
SELECT count(*) FROM get_stream_messages('s-1', batch_size => -1);
SELECT position FROM get_stream_messages('s-1', batch_size => -2);
SELECT position FROM get_stream_messages('s');
SELECT position FROM get_stream_messages(NULL);
SELECT data FROM get_stream_messages('s-3');

-- get_category_messages: checks in their order, then reads.
SELECT stream_name FROM get_category_messages('s-1', correlation => 'c-1', consumer_group_member => 1, condition => 'x');
SELECT stream_name FROM get_category_messages('s', correlation => 'c-1', consumer_group_member => 1, condition => 'x');
SELECT stream_name FROM get_category_messages('s', consumer_group_member => 1, condition => 'x');
SELECT stream_name FROM get_category_messages('s', consumer_group_size => 1);
SELECT stream_name FROM get_category_messages('s', consumer_group_member => -1, consumer_group_size => 0);
SELECT stream_name FROM get_category_messages('s', consumer_group_member => -1, consumer_group_size => 1);
SELECT stream_name FROM get_category_messages('s', consumer_group_member => 1, consumer_group_size => 1);
SELECT stream_name FROM get_category_messages('s', condition => 'x');
SELECT stream_name FROM get_category_messages('s', batch_size => -2);
SELECT stream_name, position FROM get_category_messages('s');
SELECT stream_name FROM get_category_messages('');
SELECT stream_name FROM get_category_messages(NULL);
SELECT stream_name, position FROM get_category_messages('s', correlation => 'c');
SELECT stream_name, position FROM get_category_messages('s', batch_size => 2);
SELECT member, array_agg(DISTINCT stream_name) FROM generate_series(0, 1) member, LATERAL get_category_messages('s', consumer_group_member => member, consumer_group_size => 2) GROUP BY 1 ORDER BY 1;
SELECT (SELECT count(*) FROM get_category_messages('dashless')) AS all, (SELECT count(*) FROM get_category_messages('dashless', consumer_group_member => 0, consumer_group_size => 1)) AS grouped;
SELECT count(*) FROM get_category_messages('s', consumer_group_member => 0, consumer_group_size => 9223372036854775807);

-- get_last_stream_message, stream_version
SELECT position, type FROM get_last_stream_message('s-1');
SELECT position, type FROM get_last_stream_message('s-1', 'T');
SELECT position, type FROM get_last_stream_message('s-1', type => 'X');
SELECT position, type FROM get_last_stream_message('dashless');
SELECT stream_version('s-1'), stream_version('none-1'), stream_version('dashless'), stream_version(NULL);

-- Settings: any value but off and never-set activates conditions.
SET message_store.sql_condition = on;
SELECT position FROM get_stream_messages('s-1', condition => 'position = 1');
SELECT position FROM get_stream_messages('s-1', condition => 'messages.position = 1 OR true');
SELECT stream_name, position FROM get_category_messages('s', correlation => 'c', consumer_group_member => 0, consumer_group_size => 2, condition => 'global_position >= 1');
\set VERBOSITY sqlstate
SELECT position FROM get_stream_messages('s-1', condition => 'messages.time >= current_time');
\set VERBOSITY default
SELECT position FROM get_stream_messages('s-1', condition => 'messages.time >= current_timestamp');
SET message_store.sql_condition = off;
SELECT position FROM get_stream_messages('s-1', condition => 'true');
SET message_store.sql_condition = banana;
SELECT count(*) FROM get_stream_messages('s-1', condition => 'true');
RESET message_store.sql_condition;
SELECT count(*) FROM get_stream_messages('s-1', condition => 'true');
SET client_min_messages = notice;
SET message_store.debug = on;
SELECT write_message(pg_temp.id(9), 's-9', 'T', '{}');
SELECT acquire_lock('s-9');
SELECT position FROM get_stream_messages('s-9');
SELECT position FROM get_category_messages('none', correlation => 'c');
SELECT position FROM get_last_stream_message('s-9');
RESET message_store.debug;
SET client_min_messages = warning;

-- Views
SELECT * FROM stream_summary;
SELECT * FROM category_type_summary;
SELECT * FROM type_category_summary;
SELECT * FROM type_summary;
SELECT count(*) FROM stream_type_summary, type_stream_summary;

-- The role: may write and read, and no more.
SET ROLE message_store;
RESET search_path;
SELECT write_message(pg_temp.id(10), 's-10', 'T', '{}');
SELECT position FROM get_stream_messages('s-10');
DELETE FROM messages;
UPDATE messages SET type = 'X';
CREATE TABLE message_store.mine ();
RESET ROLE;

-- The same messages by millrace's own functions, and idempotence beside Message DB's unique violation.
SELECT stream_name, "position" FROM millrace.read_category('s', batch_size => 3);
SELECT "position" FROM millrace.append('s-10', 'T', '{}', id => pg_temp.id(10)::uuid);
SELECT message_store.write_message(pg_temp.id(10), 's-10', 'T', '{}');

SELECT stream_name, "position", type FROM millrace.get_message(pg_temp.id(10)::uuid);
SELECT millrace.position_at('-infinity') = (SELECT min(global_position) FROM message_store.messages) AS first,
    millrace.position_at('infinity') = millrace.head() + 1 AS behind;
SELECT s->'head' = s->'lastGlobalPosition' AS all_readable, s->'heldBack' AS held_back FROM CAST(millrace.json_namespace_stats('default') AS jsonb) s;

-- A stream that is full.
INSERT INTO message_store.messages (position, stream_name, type) VALUES (9223372036854775807, 'full-1', 'T');
SELECT message_store.write_message(pg_temp.id(90), 'full-1', 'T', '{}');
SELECT message_store.write_message(pg_temp.id(90), 'full-1', 'T', '{}', NULL, 9223372036854775807);

DROP SCHEMA message_store CASCADE;
DELETE FROM millrace.namespaces WHERE name = 'default';
SELECT millrace.forget_namespaces();
\if :role_was_there
\else
DROP OWNED BY message_store;
DROP ROLE message_store;
\endif
