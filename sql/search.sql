-- What the newest messages are of, and what is in them: bad input first.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('search') IS NOT NULL AS created;
SET millrace.namespace = 'search';
SELECT * FROM millrace.recent_streams(-1);
SELECT * FROM millrace.recent_streams(scan_limit => 0);
SELECT * FROM millrace.recent_streams(namespace => 'nowhere');
SELECT * FROM millrace.list_types(scan_limit => -3);
SELECT * FROM millrace.search_messages(stream => 's-1', category => 's');
SELECT * FROM millrace.search_messages(stream => '');
SELECT * FROM millrace.search_messages(direction => 'sideways');
SELECT * FROM millrace.search_messages(types => '{A,NULL}');
SELECT * FROM millrace.search_messages(path => '{data,n}');
SELECT * FROM millrace.search_messages(value => '1');
SELECT * FROM millrace.search_messages(path => '{}', value => '1');
SELECT * FROM millrace.search_messages(path => '{n}', value => '1');
SELECT * FROM millrace.search_messages(path => '{data,NULL}', value => '1');
SELECT * FROM millrace.search_messages(max_rows => -1);
SELECT * FROM millrace.search_messages(scan_limit => 0);
SELECT millrace.json_recent_streams(NULL, 1, NULL, NULL, 1);
SELECT millrace.json_list_types('search', NULL, NULL, 0);
SELECT millrace.json_search_messages(NULL, '{}');
SELECT millrace.json_search_messages('search', NULL);
SELECT millrace.json_search_messages('search', '{"colour": 1}');
SELECT millrace.json_search_messages('search', '{"types": "A"}');
SELECT millrace.json_search_messages('search', '{"types": [1]}');
SELECT millrace.json_search_messages('search', '{"since": "tomorrowish"}');
SELECT millrace.json_search_messages('search', '{"until": "2024-13-01T00:00:00Z"}');
SELECT millrace.json_search_messages('search', '{"where": []}');
SELECT millrace.json_search_messages('search', '{"where": {}}');
SELECT millrace.json_search_messages('search', '{"where": {"path": ["data"]}}');
SELECT millrace.json_search_messages('search', '{"where": {"path": [["data"]], "value": 1}}');
SELECT millrace.json_search_messages('search', '{"where": {"path": ["date"], "value": 1}}');
SELECT millrace.json_search_messages('search', '{"where": {"path": ["data"], "value": 1, "more": 1}}');
SELECT millrace.json_search_messages('search', '{"position": 1.5}');
SELECT millrace.json_search_messages('search', '{"scanLimit": 0}');
SELECT millrace.json_search_messages('search', '{"direction": "north"}');
-- An empty namespace.
SELECT * FROM millrace.recent_streams();
SELECT * FROM millrace.list_types();
SELECT * FROM millrace.search_messages();
SELECT millrace.json_recent_streams('search', 10, NULL, NULL, 10), millrace.json_list_types('search', NULL, NULL, 10), millrace.json_search_messages('search', '{}');

SELECT count(millrace.append(CASE WHEN n % 3 = 0 THEN 'a-1' ELSE 'b-' || n % 4 END, CASE WHEN n % 5 = 0 THEN 'Five' ELSE 'T' || n % 2 END,
    jsonb_build_object('n', n, 'nested', jsonb_build_object('list', jsonb_build_array(n, 'x')), 'none', NULL), CASE WHEN n % 4 = 0 THEN jsonb_build_object('by', 'anna') END))
FROM generate_series(1, 20) AS n;
-- Streams, each with its last message.
SELECT stream, version, global_position, last_activity <= clock_timestamp() AS is_past FROM millrace.recent_streams();
SELECT stream FROM millrace.recent_streams(category => 'a');
SELECT stream FROM millrace.recent_streams(category => 'none');
SELECT stream FROM millrace.recent_streams(2, 18);
SELECT stream FROM millrace.recent_streams(scan_limit => 2);
SELECT stream FROM millrace.recent_streams(0);
-- Page by page none comes again, and none is left out.
CREATE FUNCTION pages(scan_limit bigint) RETURNS TABLE (streams text, scanned bigint, next bigint) LANGUAGE plpgsql AS $$
DECLARE
    page jsonb;
BEGIN
    LOOP
        page := millrace.json_recent_streams('search', 2, next, NULL, scan_limit);
        streams := (SELECT string_agg(s ->> 'stream', ' ') FROM jsonb_array_elements(page -> 'streams') s);
        scanned := page -> 'scanned';
        next := page ->> 'next';
        RETURN NEXT;
        EXIT WHEN next IS NULL;
    END LOOP;
END $$;
SELECT * FROM pages(100);
SELECT * FROM pages(6);
DROP FUNCTION pages;
SELECT jsonb_set(s, '{lastActivity}', '"T"') FROM jsonb_array_elements(millrace.json_recent_streams('search', 2, 19, 'b', 100)::jsonb -> 'streams') s;
-- Types.
SELECT * FROM millrace.list_types();
SELECT * FROM millrace.list_types('b', 10);
SELECT millrace.json_list_types('search', NULL, NULL, 4);
SELECT millrace.json_list_types('search', 'a', NULL, 100);
-- Search: by type, time, path; numbers by what they are worth, null as a value.
SELECT global_position, stream_name, type FROM millrace.search_messages('{Five}');
SELECT array_agg(global_position) FROM millrace.search_messages('{Five}', direction => 'forward', max_rows => 2);
SELECT array_agg(global_position) FROM millrace.search_messages('{Five}', "position" => 15, direction => 'forward');
SELECT array_agg(global_position) FROM millrace.search_messages('{Five}', "position" => 15);
SELECT array_agg(global_position) FROM millrace.search_messages('{}');
SELECT array_agg(global_position) FROM millrace.search_messages(path => '{data,n}', value => '7.00');
SELECT array_agg(global_position) FROM millrace.search_messages(path => '{data,n}', value => '"7"');
SELECT array_agg(global_position) FROM millrace.search_messages(path => '{data,nested,list,0}', value => '8');
SELECT array_agg(global_position) FROM millrace.search_messages(path => '{data,nested,list}', value => '[8, "x"]');
SELECT array_agg(global_position) FROM millrace.search_messages(path => '{data,nested,list,-1}', value => '"x"', scan_limit => 3);
SELECT array_agg(global_position) FROM millrace.search_messages(path => '{data,none}', value => 'null', stream => 'b-1');
SELECT array_agg(global_position) FROM millrace.search_messages(path => '{data,missing}', value => 'null');
SELECT array_agg(global_position) FROM millrace.search_messages(path => '{metadata,by}', value => '"anna"', category => 'a');
SELECT array_agg(global_position) FROM millrace.search_messages(path => '{metadata}', value => '{"by": "anna"}', stream => 'b-0', "position" => 16);
SELECT array_agg(global_position) FROM millrace.search_messages(path => '{data,n}', value => '9', stream => 'a-1', direction => 'forward', "position" => 9);
SELECT count(*) FROM millrace.search_messages(since => clock_timestamp());
SELECT count(*) FROM millrace.search_messages(until => clock_timestamp(), since => '-infinity');
SELECT count(*) FROM millrace.search_messages(max_rows => 0);
-- As JSON, with how far it came.
CREATE FUNCTION answer(request jsonb) RETURNS TABLE (found text, scanned jsonb, next jsonb, has_time boolean) LANGUAGE sql AS $$
    SELECT (SELECT string_agg(m ->> 4, ' ') FROM jsonb_array_elements(a -> 'messages') m), a -> 'scanned', a -> 'next', a ->> 'nextTime' IS NOT NULL
    FROM (SELECT millrace.json_search_messages('search', request)::jsonb) AS s (a) $$;
SELECT * FROM answer('{}');
SELECT * FROM answer('{"types": ["Five"], "limit": 1}');
SELECT * FROM answer('{"types": ["Five"], "scanLimit": 4}');
SELECT * FROM answer('{"types": ["Five"], "scanLimit": 4, "direction": "forward"}');
SELECT * FROM answer('{"types": ["Five"], "scanLimit": 4, "position": 4}');
SELECT * FROM answer('{"where": {"path": ["data", "nested", "list", 0], "value": 6}, "stream": "a-1"}');
SELECT * FROM answer('{"where": {"path": ["data", "none"], "value": null}, "category": "a", "until": "2999-01-01T00:00:00Z"}');
-- An answer has a mebibyte of messages, and what made it more.
SELECT count(millrace.append('big-1', 'Big', jsonb_build_object('text', repeat(md5(n::text), 8000)))) FROM generate_series(1, 7) AS n;
SELECT * FROM answer('{"types": ["Big"]}');
SELECT * FROM answer('{"types": ["Big"], "position": 22}');
DROP FUNCTION answer;
RESET millrace.namespace;
SELECT millrace.drop_namespace('search');
