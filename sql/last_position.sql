-- A message at the last position there is, 2^63-1, in its stream or in the namespace, put there by hand: there is no position behind it.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('last') IS NOT NULL AS created;
SET millrace.namespace = 'last';
SELECT count(millrace.append('a-1', 'T', '{}')) FROM generate_series(1, 3);
INSERT INTO millrace_last.messages (position, stream_name, type) VALUES (9223372036854775807, 'a-full', 'T');

-- In its stream: nothing comes behind it, and subscribers are told of nothing at all there.
SELECT * FROM millrace.append('a-full', 'T', '{}');
SELECT millrace.stream_version('a-full'), "position" FROM millrace.read_stream('a-full');
SELECT count, next_position, state FROM millrace.read_pokes('last', 'a-full', NULL, 0, 100, NULL, NULL, false, false, 1);
SELECT count, next_position, state FROM millrace.read_pokes('last', 'a-full', NULL, 0, 100, NULL, NULL, false, false, 1, 5);
SELECT count(*), max("position") FROM millrace.read_category('a');

-- In the namespace: it is read, and exported; subscribers and horizons end below it.
INSERT INTO millrace_last.messages (global_position, position, stream_name, type) VALUES (9223372036854775807, 0, 'a-last', 'T');
SELECT array_agg(global_position) FROM millrace.read_category('a');
SELECT array_agg(global_position) FROM millrace.read_all(9223372036854775807);
SELECT millrace.feed_head('last'), readable, last FROM millrace.read_horizon();
SELECT global_position FROM millrace.read_feed('last', 4, 10, false);
SELECT count, next_position, state FROM millrace.read_pokes('last', NULL, 'a', 1, 9223372036854775807, NULL, NULL, false, false, 1000000);
SELECT count, next_position, state FROM millrace.read_pokes('last', NULL, NULL, 9223372036854775807, 0, NULL, NULL, false, false, 1);
SELECT count, next_position FROM millrace.json_export('last', 4, NULL, NULL, NULL, 1);
SELECT count, next_position FROM millrace.json_export('last', 5, NULL, NULL, NULL, 1);
\c -
SET millrace.namespace = 'last';
SELECT * FROM millrace.append('a-1', 'T', '{}');
DELETE FROM millrace_last.messages WHERE global_position = 9223372036854775807;
SELECT "position" FROM millrace.append('a-1', 'T', '{}');
SELECT setval('millrace_last.messages_global_position_seq', 9223372036854775805);
SELECT * FROM millrace.append('a-1', 'T', '{}');
SELECT * FROM millrace.append('a-1', 'T', '{}');
SELECT * FROM millrace.append('a-1', 'T', '{}');
SELECT count, next_position, state FROM millrace.read_pokes('last', NULL, NULL, 5, 9223372036854775807, NULL, NULL, false, false, 1000000);
SELECT millrace.drop_namespace('last');
