-- Reading: bad input first.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('read') IS NOT NULL AS created;
SET millrace.namespace = 'read';
SELECT * FROM millrace.read_stream(NULL);
SELECT * FROM millrace.read_stream('');
SELECT * FROM millrace.read_stream('s-1', batch_size => -2);
SELECT * FROM millrace.read_stream('s-1', types => ARRAY['T', NULL]);
SELECT * FROM millrace.read_category(NULL);
SELECT * FROM millrace.read_category('s', batch_size => -5);
SELECT * FROM millrace.read_category('s', consumer_group_member => 0);
SELECT * FROM millrace.read_category('s', consumer_group_size => 2);
SELECT * FROM millrace.read_category('s', consumer_group_member => 0, consumer_group_size => 0);
SELECT * FROM millrace.read_category('s', consumer_group_member => -1, consumer_group_size => 2);
SELECT * FROM millrace.read_category('s', consumer_group_member => 2, consumer_group_size => 2);
SELECT * FROM millrace.last_message(NULL);
SELECT * FROM millrace.stream_version('');
SELECT * FROM millrace.list_streams(max_rows => -1);
-- An empty namespace.
SELECT * FROM millrace.read_stream('s-1');
SELECT * FROM millrace.read_category('s');
SELECT * FROM millrace.read_all();
SELECT * FROM millrace.last_message('s-1');
SELECT millrace.stream_version('s-1');
SELECT * FROM millrace.list_streams();
SELECT * FROM millrace.list_categories();

SELECT count(millrace.append(stream, type, jsonb_build_object('n', n), metadata::jsonb))
FROM (VALUES (1, 's-1', 'A', NULL), (2, 's-2', 'B', '{"correlationStreamName": "c-1"}'), (3, 'other-1', 'A', '{"correlationStreamName": "c"}'),
    (4, 's-1', 'B', '{"correlationStreamName": "c-2"}'), (5, 's', 'A', '{"correlationStreamName": "d-1"}'), (6, '-x', 'A', '{"correlationStreamName": 7}'),
    (7, 's-2', 'A', '{"correlationStreamName": null}')) AS m (n, stream, type, metadata);
-- Streams.
SELECT stream_name, "position", global_position, type, data->'n' AS n FROM millrace.read_stream('s-1');
SELECT "position" FROM millrace.read_stream('s-1', 1);
SELECT "position" FROM millrace.read_stream('s-1', -10);
SELECT "position" FROM millrace.read_stream('s-1', batch_size => 1);
SELECT "position" FROM millrace.read_stream('s-1', batch_size => 0);
SELECT "position" FROM millrace.read_stream('s-1', NULL, NULL);
SELECT "position" FROM millrace.read_stream('s-1', types => '{B}');
SELECT "position" FROM millrace.read_stream('s-1', types => '{}');
SELECT "position" FROM millrace.read_stream('s-1', types => '{B}', batch_size => 1);
SELECT "position", type FROM millrace.last_message('s-1');
SELECT "position", type FROM millrace.last_message('s-1', 'A');
SELECT "position", type FROM millrace.last_message('s-1', 'Z');
SELECT millrace.stream_version('s-1'), millrace.stream_version('s-'), millrace.stream_version('s');
-- Categories and all.
SELECT global_position, stream_name FROM millrace.read_category('s');
SELECT global_position, stream_name FROM millrace.read_category('s', 4, 2);
SELECT global_position, stream_name FROM millrace.read_category('s-1');
SELECT global_position, stream_name FROM millrace.read_category('');
SELECT global_position, stream_name FROM millrace.read_category('s', correlation => 'c');
SELECT global_position, stream_name FROM millrace.read_category('other', correlation => 'c');
SELECT global_position, stream_name FROM millrace.read_category('', correlation => '7');
SELECT global_position, stream_name FROM millrace.read_category('s', types => '{B}', batch_size => 1);
SELECT member, array_agg(DISTINCT stream_name) FROM generate_series(0, 1) member, LATERAL millrace.read_category('s', consumer_group_member => member, consumer_group_size => 2) GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM millrace.read_category('s', consumer_group_member => 0, consumer_group_size => 1);
SELECT global_position, stream_name FROM millrace.read_all(5);
SELECT global_position FROM millrace.read_all(batch_size => 2, types => '{A}');
SELECT array_agg(global_position) FROM millrace.read_all(-5, -1);
-- Consumer groups: every stream with an id belongs to just one member.
SELECT count(millrace.append('g-' || id, 'T', '{}')) FROM unnest(ARRAY['', '1', '3', 'abc', '200', '0', '2', '4', '5', '6', '100', '123', '1+x', '2+x']) id;
SELECT member, array_agg(millrace.stream_id(stream_name) ORDER BY global_position) FROM generate_series(0, 1) member, LATERAL millrace.read_category('g', consumer_group_member => member, consumer_group_size => 2) GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM generate_series(0, 6) member, LATERAL millrace.read_category('g', consumer_group_member => member, consumer_group_size => 7);
SELECT count(*) FROM generate_series(0, 3) member, LATERAL millrace.read_category('g', consumer_group_member => 9223372036854775800 + member, consumer_group_size => 9223372036854775807);
-- Lists.
SELECT stream, version FROM millrace.list_streams('s');
SELECT stream, version FROM millrace.list_streams('g-1');
SELECT stream FROM millrace.list_streams('g-1', 2, 'g-1');
SELECT stream FROM millrace.list_streams('g-1', 2, 'a');
SELECT stream FROM millrace.list_streams('g-1', 2, 'z');
SELECT stream FROM millrace.list_streams('', 3, 's-1');
SELECT stream FROM millrace.list_streams(max_rows => 0);
SELECT * FROM millrace.list_categories();

-- A cursor over a function, and a scan that is ended early.
BEGIN;
DECLARE messages CURSOR FOR SELECT global_position FROM millrace.read_all();
FETCH 2 FROM messages;
COMMIT;
SELECT global_position FROM millrace.read_all() LIMIT 1;

-- JSON for the HTTP side.
SELECT millrace.json_time('2024-02-29 12:34:56.120300+00'), millrace.json_time('2024-02-29 12:34:56+00'), millrace.json_time('infinity');
SELECT count, next_position, json_typeof(('[' || body || ']')::json -> 0) FROM millrace.json_read_stream('read', 's-1', 0, NULL, -1, NULL, 1);
SELECT count, next_position, body FROM millrace.json_read_stream('read', 'none-1', 0, NULL, -1, NULL, 1);
SELECT count, next_position FROM millrace.json_read_stream('read', 's-1', 0, 2, 1000, NULL, 1000000);
SELECT count, next_position FROM millrace.json_read_category('read', '', 1, -1, NULL, NULL, NULL, NULL, 300);
SELECT millrace.append(E'j-"\\\n\t\r\x01é', E'T"\\', '{"big": 12345678901234567890.10, "text": "\"\\\n\u00e9"}', '{"a": {"b": null}}') IS NOT NULL AS appended;
SELECT m -> 1 AS stream, m -> 2 AS type, m -> 5 AS data, m -> 6 AS metadata FROM (SELECT body::json AS m FROM millrace.json_read_category('read', 'j', 1, -1, NULL, NULL, NULL, NULL, 1)) j;
SELECT millrace.json_last_message('read', 'none-1', NULL), millrace.json_stream_version('read', 'none-1'), millrace.json_stream_version('read', 's-1');
SELECT json_array_length(millrace.json_last_message('read', 's-1', 'A')::json);
SELECT s ->> 'stream', s -> 'version' FROM json_array_elements(millrace.json_list_streams('read', 's', 100, NULL)::json) s;
SELECT millrace.json_list_streams('read', 'none', 100, NULL), millrace.json_list_categories('read');
SELECT * FROM millrace.json_read_stream(NULL, 's-1', 0, NULL, -1, NULL, 1);
SELECT * FROM millrace.json_read_stream('nowhere', 's-1', 0, NULL, -1, NULL, 1);
-- A stream's name instead of a category's: once a session.
\c -
SET millrace.namespace = 'read';
SELECT count FROM millrace.json_read_category('read', 's-1', 1, -1, NULL, NULL, NULL, NULL, 1000000);
SELECT count(*) FROM millrace.read_category('s', correlation => 's');
SELECT count(*) FROM millrace.read_category('s-1');
SELECT count(*) FROM millrace.read_category('s-1');
\c -
SET millrace.namespace = 'read';
SELECT count(*) FROM millrace.read_category('s', correlation => 'c-1');
RESET millrace.namespace;
SELECT millrace.drop_namespace('read');
