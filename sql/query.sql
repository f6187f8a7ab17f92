-- Queries over types and tags, and appends that depend on them: bad input first.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('query') IS NOT NULL AS created;
SET millrace.namespace = 'query';
SELECT "position" FROM millrace.append('s-1', 'T', '{}', '{"tags": ["a"]}');
\set VERBOSITY sqlstate
SELECT * FROM millrace.read_query('{"items": [{"tags": ["a"]}]}');
\set VERBOSITY default
SELECT * FROM millrace.read_query('{"items": [{"tags": ["a"]}]}');
SELECT millrace.query_head('{"items": [{"types": ["T"]}]}');
SELECT * FROM millrace.append('s-1', 'T', '{}', condition => '{"failIfEventsMatch": {"items": [{"tags": ["a"]}]}}');
-- A query for all needs no index.
SELECT global_position, type FROM millrace.read_query('{"all": true}');
SELECT millrace.query_head('{"all": true}');
SELECT * FROM millrace.append('s-1', 'T', '{}', condition => '{"failIfEventsMatch": {"all": true}}');
SELECT * FROM millrace.append('s-1', 'T', '{}', condition => '{"failIfEventsMatch": {"all": true}, "after": 1}');
-- An index without types.
SELECT millrace.index_tags(types => false);
SELECT global_position FROM millrace.read_query('{"items": [{"tags": ["a"]}]}');
SELECT global_position FROM millrace.read_query('{"items": [{"tags": ["a"], "types": ["T"]}]}');
SELECT global_position FROM millrace.read_query('{"items": [{"tags": ["a"], "types": ["U"]}]}');
SELECT global_position FROM millrace.read_query('{"items": [{"tags": ["a"]}, {"types": ["T"]}]}');
SELECT * FROM millrace.append('s-1', 'T', '{}', condition => '{"failIfEventsMatch": {"items": [{"types": ["T"]}]}}');
SELECT "position" FROM millrace.append('s-2', 'T', '{}', condition => '{"failIfEventsMatch": {"items": [{"tags": ["a"], "types": ["U"]}]}}');
DROP INDEX millrace_query.messages_tags;
SELECT millrace.index_tags();

-- What is no query.
CREATE FUNCTION pg_temp.tell(query jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    PERFORM millrace.query_matches(query, 'T', NULL);
    RETURN 'none';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ' ' || left(SQLERRM, 100) || CASE WHEN hint <> '' THEN ' / ' || hint ELSE '' END;
END $$;
CREATE FUNCTION pg_temp.items(n integer, item jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('items', jsonb_agg(item)) FROM generate_series(1, n) $$;
CREATE FUNCTION pg_temp.names(n integer) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg('n' || i) FROM generate_series(1, n) AS i $$;
SELECT query, pg_temp.tell(query::jsonb) FROM (VALUES
    (NULL), ('null'), ('1'), ('"a"'), ('true'), ('[]'), ('{}'), ('{"item": []}'), ('{"items": [], "all": true}'),
    ('{"all": false}'), ('{"all": "true"}'), ('{"all": null}'), ('{"items": null}'), ('{"items": {}}'), ('{"items": "a"}'),
    ('{"items": []}'), ('{"items": [null]}'), ('{"items": [[]]}'), ('{"items": ["a"]}'), ('{"items": [{}]}'),
    ('{"items": [{"tag": ["a"]}]}'), ('{"items": [{"tags": []}]}'), ('{"items": [{"tags": [], "types": ["T"]}]}'),
    ('{"items": [{"tags": "a"}]}'), ('{"items": [{"tags": null}]}'), ('{"items": [{"tags": {"a": 1}}]}'),
    ('{"items": [{"tags": ["a"]}, {"tags": ["a", 1]}]}'), ('{"items": [{"tags": ["a", ["b"]]}]}'),
    ('{"items": [{"tags": [""]}]}'), ('{"items": [{"types": ["T", ""]}]}'), ('{"items": [{"types": [true]}]}'),
    ('{"items": [{"types": []}]}'), ('{"items": [{"tags": ["a"]}], "after": 1}')) AS v (query);
-- Limits.
SELECT pg_temp.tell(pg_temp.items(100, '{"tags": ["a"]}')), pg_temp.tell(pg_temp.items(101, '{"tags": ["a"]}'));
SELECT pg_temp.tell(pg_temp.items(1, jsonb_build_object('types', pg_temp.names(100)))),
       pg_temp.tell(pg_temp.items(1, jsonb_build_object('types', pg_temp.names(101))));
SELECT pg_temp.tell(pg_temp.items(1, jsonb_build_object('tags', pg_temp.names(20)))),
       pg_temp.tell(pg_temp.items(1, jsonb_build_object('tags', pg_temp.names(21))));
SELECT pg_temp.tell(pg_temp.items(25, jsonb_build_object('tags', pg_temp.names(20)))),
       pg_temp.tell(pg_temp.items(26, jsonb_build_object('tags', pg_temp.names(20))));
SELECT pg_temp.tell(pg_temp.items(1, jsonb_build_object('tags', pg_temp.names(4), 'types', pg_temp.names(100)))),
       pg_temp.tell(pg_temp.items(1, jsonb_build_object('tags', pg_temp.names(5), 'types', pg_temp.names(100))));
SELECT pg_temp.tell(pg_temp.items(1, jsonb_build_object('tags', jsonb_build_array(repeat('é', 1000))))),
       pg_temp.tell(pg_temp.items(1, jsonb_build_object('tags', jsonb_build_array(repeat('é', 1000) || 'e')))),
       pg_temp.tell(pg_temp.items(1, jsonb_build_object('types', jsonb_build_array(repeat('e', 2001)))));

-- What is no condition.
CREATE FUNCTION pg_temp.try(condition jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    hint text;
BEGIN
    PERFORM millrace.append('t-1', 'Tried', '{}', condition => condition);
    RETURN 'appended';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ' ' || left(SQLERRM, 110) || CASE WHEN detail <> '' THEN ' / ' || detail ELSE '' END
        || CASE WHEN hint <> '' THEN ' / ' || hint ELSE '' END;
END $$;
SELECT condition, pg_temp.try(condition::jsonb) FROM (VALUES
    ('null'), ('1'), ('"a"'), ('[]'), ('{}'), ('[null]'), ('[[]]'), ('{"after": 1}'), ('{"failIfEventsMatch": null}'),
    ('{"failIfEventsMatch": {}}'), ('{"failIfEventsMatch": {"items": []}}'), ('{"failIfEventsMatch": {"all": true}, "before": 1}'),
    ('{"failIfEventsMatch": {"all": true}, "after": null}'), ('{"failIfEventsMatch": {"all": true}, "after": "1"}'),
    ('{"failIfEventsMatch": {"all": true}, "after": -1}'), ('{"failIfEventsMatch": {"all": true}, "after": 0.5}'),
    ('{"failIfEventsMatch": {"all": true}, "after": 9223372036854775808}'),
    ('{"failIfEventsMatch": {"all": true}, "after": 9223372036854775807}'),
    ('{"failIfEventsMatch": {"all": true}, "after": 1e400}'),
    ('{"stream": "s-1"}'), ('{"stream": null, "expectedVersion": 1}'), ('{"stream": "", "expectedVersion": 1}'),
    ('{"stream": "s-1", "expectedVersion": null}'), ('{"stream": "s-1", "expectedVersion": -2}'),
    ('{"stream": "s-1", "expectedVersion": 1, "after": 1}'), ('{"stream": "s-1", "failIfEventsMatch": {"all": true}}'),
    ('[{"stream": "s-1", "expectedVersion": 1}, {"failIfEventsMatch": {"items": [{"tags": []}]}}]')) AS v (condition);
SELECT pg_temp.try(jsonb_agg('{"stream": "s-1", "expectedVersion": 0}'::jsonb)) FROM generate_series(1, 11);
SELECT pg_temp.try(jsonb_agg(jsonb_build_object('failIfEventsMatch', pg_temp.items(26, jsonb_build_object('tags', pg_temp.names(10))))))
    FROM generate_series(1, 2);
SELECT count(*) FROM millrace.read_stream('t-1');
SELECT pg_temp.try(jsonb_agg('{"stream": "s-1", "expectedVersion": 1}'::jsonb)) FROM generate_series(1, 10);
SELECT pg_temp.try(jsonb_agg(jsonb_build_object('failIfEventsMatch', pg_temp.items(25, jsonb_build_object('tags', pg_temp.names(10))))))
    FROM generate_series(1, 2);

-- Reading: NULLs, positions, batches, directions.
SELECT * FROM millrace.read_query(NULL);
SELECT millrace.query_head(NULL);
SELECT millrace.query_matches(NULL, 'T', '{}');
SELECT millrace.query_matches('{"items": [{"types": ["T"]}]}', NULL, NULL), millrace.query_matches('{"all": true}', NULL, NULL);
SELECT global_position FROM millrace.read_query('{"all": true}', 0);
SELECT * FROM millrace.read_query('{"all": true}', 1, 0);
SELECT * FROM millrace.read_query('{"all": true}', 1, 1, 'up');
SELECT * FROM millrace.read_query('{"all": true}', namespace => 'nosuch');
SELECT millrace.query_head('{"all": true}', 'nosuch');
SELECT count(millrace.append('n-' || n, CASE WHEN n % 2 = 0 THEN 'Even' ELSE 'Odd' END, '{}',
    jsonb_build_object('tags', jsonb_build_array('n', 'mod3-' || n % 3, 'mod5-' || n % 5)))) FROM generate_series(1, 30) AS n;
CREATE FUNCTION pg_temp.read(query jsonb, "position" bigint DEFAULT NULL, batch_size bigint DEFAULT NULL, direction text DEFAULT NULL)
    RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(substr(stream_name, 3), ' ') FROM millrace.read_query(query, "position", batch_size, coalesce(direction, 'forward')) $$;
SELECT min(global_position) - 1 AS base FROM millrace.read_category('n') \gset
SELECT pg_temp.read('{"items": [{"tags": ["mod3-1"]}]}');
SELECT pg_temp.read('{"items": [{"tags": ["mod3-1", "mod5-1"]}]}');
SELECT pg_temp.read('{"items": [{"tags": ["mod5-1", "mod3-1", "mod5-1", "n"], "types": ["Odd", "Even", "Odd"]}]}');
SELECT pg_temp.read('{"items": [{"tags": ["mod5-1", "mod3-1"], "types": ["Even"]}, {"tags": ["mod5-0"]}, {"tags": ["mod5-0", "n"]}]}');
SELECT pg_temp.read('{"items": [{"tags": ["mod3-1"]}]}', NULL, NULL, 'backward');
SELECT pg_temp.read('{"items": [{"tags": ["mod3-1"]}]}', :base + 7, 2), pg_temp.read('{"items": [{"tags": ["mod3-1"]}]}', :base + 8, 2);
SELECT pg_temp.read('{"items": [{"tags": ["mod3-1"]}]}', :base + 7, 2, 'backward'),
       pg_temp.read('{"items": [{"tags": ["mod3-1"]}]}', :base + 6, 2, 'backward');
SELECT pg_temp.read('{"items": [{"tags": ["mod3-1"]}]}', 9223372036854775807), pg_temp.read('{"items": [{"tags": ["mod3-4"]}]}');
SELECT pg_temp.read('{"items": [{"types": ["Odd"]}]}', :base + 20);
SELECT count(*) FROM millrace.read_query('{"items": [{"types": ["Odd", "Even"]}]}', batch_size => -1);
-- Every query, by the index and by looking at each message.
SELECT count(*) FROM (VALUES ('{"tags": ["mod3-1"]}'::jsonb), ('{"tags": ["mod5-4", "mod3-2"]}'), ('{"types": ["Even"]}'),
                             ('{"types": ["Even", "Tried"], "tags": ["n"]}'), ('{"tags": ["n"]}')) AS a (item),
                     (VALUES ('{"tags": ["mod3-0"]}'::jsonb), ('{"tags": ["mod5-2", "mod3-2"]}'), ('{"types": ["Odd"], "tags": ["mod5-3"]}'),
                             ('{"types": ["Odd", "Even"], "tags": ["n", "mod5-0"]}')) AS b (item),
    LATERAL (SELECT jsonb_build_object('items', jsonb_build_array(a.item, b.item)) AS query) AS q
    WHERE ARRAY(SELECT global_position FROM millrace.read_query(query))
        IS DISTINCT FROM ARRAY(SELECT global_position FROM millrace_query.messages WHERE millrace.query_matches(query, type, metadata)
                               ORDER BY global_position);

-- Tags as they come: of other kinds, repeated, in other places; written by others.
SELECT n, millrace.query_matches('{"items": [{"tags": ["a"]}]}', 'T', metadata::jsonb) FROM (VALUES
    (1, NULL), (2, '{}'), (3, '{"tags": "a"}'), (4, '{"tags": {"a": "a"}}'), (5, '{"tags": ["b", 1, null, ["a"], {"a": "a"}]}'),
    (6, '{"tags": [1, "a", null]}'), (7, '{"tags": ["a", "a"]}'), (8, '{"Tags": ["a"]}'), (9, '{"tags": ["A", "a ", "aa"]}'),
    (10, '["tags", "a"]'), (11, '{"tags": []}'), (12, '"tags"')) AS v (n, metadata);
SELECT count(millrace.append('o-1', 'Other', '{}', metadata::jsonb)) FROM (VALUES
    ('{"tags": "z"}'), ('{"tags": {"z": "z"}}'), ('{"tags": [1, ["z"]]}'), ('{"tags": ["z", "z", 1]}'), ('{"tags": ["", "z"]}')) AS v (metadata);
SELECT "position", metadata FROM millrace.read_query('{"items": [{"tags": ["z"]}]}');
INSERT INTO millrace_query.messages (stream_name, "position", type, data, metadata, id, global_position)
    SELECT 'o-2', 0, 'Other', NULL, jsonb_build_object('tags', jsonb_build_array(repeat('z', 600))),
           '00000000-0000-4000-8000-000000000001', nextval('millrace_query.messages_global_position_seq');
SELECT "position", length(metadata->'tags'->>0) FROM millrace.read_query(jsonb_build_object('items',
    jsonb_build_array(jsonb_build_object('tags', jsonb_build_array(repeat('z', 600))))));
SELECT "position" FROM millrace.append('o-3', 'T', '{}', (SELECT jsonb_build_object('tags', jsonb_agg('t' || n)) FROM generate_series(1, 1000) AS n));
SELECT "position" FROM millrace.append('o-3', 'T', '{}', (SELECT jsonb_build_object('tags', jsonb_agg('t' || n)) FROM generate_series(1, 1001) AS n));

-- Conditions.
SELECT millrace.query_head('{"items": [{"tags": ["course"]}]}') AS head \gset
SELECT "position" FROM millrace.append('c-1', 'Begun', '{}', '{"tags": ["course"]}',
    condition => '{"failIfEventsMatch": {"items": [{"tags": ["course"]}]}}');
SELECT max(global_position) AS last FROM millrace.read_stream('c-1') \gset
\set VERBOSITY sqlstate
SELECT * FROM millrace.append('c-1', 'Begun', '{}', condition => '{"failIfEventsMatch": {"items": [{"tags": ["course"]}]}}');
\set VERBOSITY default
SELECT regexp_replace(pg_temp.try('{"failIfEventsMatch": {"items": [{"tags": ["course"]}]}}'), 'global position \d+\.', 'global position N.');
SELECT left(pg_temp.try(jsonb_build_object('failIfEventsMatch', '{"items": [{"tags": ["course"]}]}'::jsonb, 'after', :head)), 5),
       pg_temp.try(jsonb_build_object('failIfEventsMatch', '{"items": [{"tags": ["course"]}]}'::jsonb, 'after', :last));
SELECT left(pg_temp.try('[{"failIfEventsMatch": {"items": [{"tags": ["nobody"]}]}}, {"failIfEventsMatch": {"items": [{"types": ["Begun"]}]}}]'), 5);
SELECT last_value AS given FROM millrace_query.messages_global_position_seq \gset
SELECT replace(pg_temp.try(jsonb_build_object('failIfEventsMatch', '{"items": [{"tags": ["nobody"]}]}'::jsonb, 'after', :given + 1)),
               (:given)::text, 'N') LIKE 'MR009 after % is out of range: the last global position given out is N' AS refused;
SELECT pg_temp.try(jsonb_build_object('failIfEventsMatch', '{"items": [{"tags": ["nobody"]}]}'::jsonb, 'after', :given));
-- Versions of other streams, and of its own.
SELECT pg_temp.try('{"stream": "c-1", "expectedVersion": 0}'), pg_temp.try('{"stream": "c-2", "expectedVersion": -1}'),
       pg_temp.try('{"stream": "c-1", "expectedVersion": 1}'), pg_temp.try('{"stream": "c-2", "expectedVersion": 0}');
SELECT "position" FROM millrace.append('c-1', 'T', '{}', condition => '{"stream": "c-1", "expectedVersion": 0}');
SELECT "position" FROM millrace.append('c-1', 'T', '{}', condition => '{"stream": "c-1", "expectedVersion": 0}');
-- Ids first: a repeated request has its first answer, though the condition fails now.
SELECT "position" FROM millrace.append('i-1', 'T', '{}', '{"tags": ["once"]}', id => '00000000-0000-4000-8000-000000000002',
    condition => '{"failIfEventsMatch": {"items": [{"tags": ["once"]}]}}');
SELECT "position" FROM millrace.append('i-1', 'T', '{}', '{"tags": ["once"]}', id => '00000000-0000-4000-8000-000000000002',
    condition => '{"failIfEventsMatch": {"items": [{"tags": ["once"]}]}}');
SELECT "position" FROM millrace.append('i-1', 'T', '{"n": 1}', '{"tags": ["once"]}', id => '00000000-0000-4000-8000-000000000002',
    condition => '{"failIfEventsMatch": {"items": [{"tags": ["once"]}]}}');
SELECT left(pg_temp.try('{"failIfEventsMatch": {"items": [{"tags": ["once"]}]}}'), 5);
-- The other appends.
SELECT "position", last_position FROM millrace.append_messages('m-1', ARRAY[('T', '{}', '{"tags": ["m"]}', NULL), ('T', '{}', '{"tags": ["m"]}', NULL)]
    ::millrace.new_message[], condition => '{"failIfEventsMatch": {"items": [{"tags": ["m"]}]}}');
SELECT stream, "position" FROM millrace.append_streams(ARRAY[
    ('m-3', ARRAY[('T', '{}', '{"tags": ["s"]}', NULL)]::millrace.new_message[], NULL),
    ('m-4', ARRAY[('T', '{}', '{"tags": ["s"]}', NULL)]::millrace.new_message[], NULL)]::millrace.stream_append[],
    condition => '{"failIfEventsMatch": {"items": [{"tags": ["s"]}]}}');
\set VERBOSITY sqlstate
SELECT * FROM millrace.append_messages('m-2', ARRAY[('T', '{}', NULL, NULL)]::millrace.new_message[],
    condition => '{"failIfEventsMatch": {"items": [{"tags": ["m"]}]}}');
SELECT * FROM millrace.append_streams(ARRAY[('m-3', ARRAY[('T', '{}', NULL, NULL)]::millrace.new_message[], NULL)]::millrace.stream_append[],
    condition => '{"failIfEventsMatch": {"items": [{"tags": ["s"]}]}}');
\set VERBOSITY default
SELECT count(*) FROM millrace.read_category('m');
-- What is in by a first part breaks no condition of the rest.
SELECT last_position FROM millrace.append_messages('m-5', ARRAY(SELECT ('T', '{}', '{"tags": ["many"]}', NULL)
    ::millrace.new_message FROM generate_series(1, 2500)), condition => '{"failIfEventsMatch": {"items": [{"tags": ["many"]}]}}');
-- Of this transaction, of this very statement, and of a savepoint that is gone.
BEGIN;
SELECT "position" FROM millrace.append('x-1', 'T', '{}', '{"tags": ["x"]}');
SELECT left(pg_temp.try('{"failIfEventsMatch": {"items": [{"tags": ["x"]}]}}'), 5);
SAVEPOINT one;
SELECT "position" FROM millrace.append('x-1', 'T', '{}', '{"tags": ["y"]}');
SELECT left(pg_temp.try('{"failIfEventsMatch": {"items": [{"tags": ["y"]}]}}'), 5);
ROLLBACK TO one;
SELECT pg_temp.try('{"failIfEventsMatch": {"items": [{"tags": ["y"]}]}}');
COMMIT;
SELECT millrace.append('x-2', 'T', '{}', '{"tags": ["same"]}') IS NOT NULL, left(pg_temp.try('{"failIfEventsMatch": {"items": [{"tags": ["same"]}]}}'), 5);
\set VERBOSITY sqlstate
SELECT millrace.append('x-3', 'T', '{}', '{"tags": ["pair"]}'),
       millrace.append('x-4', 'T', '{}', condition => '{"failIfEventsMatch": {"items": [{"tags": ["pair"]}]}}');
\set VERBOSITY default
-- Deleted: it matches no longer.
DELETE FROM millrace_query.messages WHERE stream_name = 'x-2';
SELECT pg_temp.try('{"failIfEventsMatch": {"items": [{"tags": ["same"]}]}}');
-- Neither a sequence that is to begin anew further on hides what is there, nor one that may not be read.
SELECT setval('millrace_query.messages_global_position_seq', max(global_position) + 100, false) > 0 AS set FROM millrace_query.messages;
SELECT left(pg_temp.try('{"failIfEventsMatch": {"items": [{"tags": ["course"]}]}}'), 5);
SELECT pg_temp.try('{"failIfEventsMatch": {"items": [{"tags": ["nobody"]}]}}');
CREATE ROLE regress_millrace_writer;
GRANT USAGE ON SCHEMA millrace_query TO regress_millrace_writer;
GRANT SELECT, INSERT ON millrace_query.messages TO regress_millrace_writer;
SET ROLE regress_millrace_writer;
SELECT "position" FROM millrace.append('r-1', 'T', '{}', condition => '{"failIfEventsMatch": {"items": [{"tags": ["nobody"]}]}}');
\set VERBOSITY sqlstate
SELECT "position" FROM millrace.append('r-1', 'T', '{}', condition => '{"failIfEventsMatch": {"items": [{"tags": ["course"]}]}}');
\set VERBOSITY default
RESET ROLE;
-- A read-only transaction.
BEGIN READ ONLY;
SELECT count(*) FROM millrace.read_query('{"items": [{"tags": ["course"]}]}');
SELECT * FROM millrace.append('r-1', 'T', '{}', condition => '{"failIfEventsMatch": {"items": [{"tags": ["nobody"]}]}}');
ROLLBACK;
-- An empty namespace.
SELECT millrace.create_namespace('query_empty') IS NOT NULL AS created, millrace.index_tags('query_empty');
SET millrace.namespace = 'query_empty';
SELECT millrace.query_head('{"all": true}'), millrace.query_head('{"items": [{"tags": ["a"]}]}'), pg_temp.read('{"all": true}');
SELECT pg_temp.try('{"failIfEventsMatch": {"all": true}, "after": 1}');
SELECT pg_temp.try('{"failIfEventsMatch": {"all": true}}');
SELECT left(pg_temp.try('{"failIfEventsMatch": {"all": true}}'), 5);
SELECT * FROM millrace.check_tags('query');
SELECT millrace.drop_namespace('query'), millrace.drop_namespace('query_empty');
DROP ROLE regress_millrace_writer;
