-- The index of tags: bad input first.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('tags') IS NOT NULL AS created;
SET millrace.namespace = 'tags';
\set SHOW_CONTEXT never
SELECT millrace.index_tags('nowhere');
SELECT millrace.index_tags('');
SELECT millrace.index_tags(types => NULL);
SELECT * FROM millrace.check_tags('nowhere');
SELECT * FROM millrace.check_tags();

-- What is no string in an array "tags" of an object is no tag.
SELECT metadata, cardinality(millrace.tag_hashes_1(metadata)) AS tags, cardinality(millrace.tag_hashes_1(metadata, 'T')) AS with_type
FROM (VALUES (1, NULL::jsonb), (2, 'null'), (3, '7'), (4, '"tags"'), (5, '[]'), (6, '["tags"]'), (7, '{}'), (8, '{"tags": null}'), (9, '{"tags": "a"}'),
             (10, '{"tags": {"a": "b"}}'), (11, '{"tags": []}'), (12, '{"tags": [1, true, null, ["a"], {"tags": ["a"]}]}'), (13, '{"Tags": ["a"]}'),
             (14, '{"tags": ["a", 1, "a", "b", "a "]}'), (15, '{"tags": [""]}'), (16, '{"tags": ["T"]}'), (17, '{"more": {"tags": ["a"]}}'), (18, '[{"tags": ["a"]}]'))
    AS v (n, metadata) ORDER BY n;
SELECT millrace.tag_hashes_1(NULL, NULL);
SELECT cardinality(millrace.tag_hashes_1(jsonb_build_object('tags', (SELECT jsonb_agg('tag ' || n % 2000) FROM generate_series(1, 100000) n)), 'T'));

-- The hash: XXH64 with seed 0 of a tag and 1 of a type.  Indexes on disk are made of it: these never change.
SELECT left(value, 20) AS value, millrace.tag_hashes_1(jsonb_build_object('tags', jsonb_build_array(value))) AS tag, millrace.tag_hashes_1(NULL, value) AS type
FROM (VALUES (1, ''), (2, 'a'), (3, 'abc'), (4, 'course:c1'), (5, 'é'), (6, '0123456789abcdef0123456789abcde'), (7, '0123456789abcdef0123456789abcdef'),
             (8, repeat('x', 1000))) AS v (n, value) ORDER BY n;

-- No other index than these two.
CREATE INDEX other ON millrace_tags.messages USING millrace_tags (millrace.tag_hashes_1(metadata, type), global_position) WHERE position > 0;
CREATE INDEX other ON millrace_tags.messages USING millrace_tags (millrace.tag_hashes_1(metadata, stream_name || 'x'), global_position);
CREATE INDEX other ON millrace_tags.messages USING millrace_tags ((array[position]), global_position);
CREATE INDEX other ON millrace_tags.messages USING millrace_tags (millrace.tag_hashes_1(metadata));
CREATE INDEX other ON millrace_tags.messages USING millrace_tags (global_position, millrace.tag_hashes_1(metadata));
CREATE INDEX other ON millrace_tags.messages USING millrace_tags (global_position);
CREATE INDEX other ON millrace_tags.messages USING millrace_tags (millrace.tag_hashes_1(metadata), global_position, position);
CREATE INDEX other ON millrace_tags.messages USING millrace_tags (millrace.tag_hashes_1(metadata)) INCLUDE (global_position);
-- From 19 on this error says where, too.
\set VERBOSITY sqlstate
CREATE INDEX other ON millrace_tags.messages USING millrace_tags (millrace.tag_hashes_1(metadata), global_position DESC);
\echo :LAST_ERROR_MESSAGE
\set VERBOSITY default
CREATE UNIQUE INDEX other ON millrace_tags.messages USING millrace_tags (millrace.tag_hashes_1(metadata), global_position);
CREATE INDEX other ON millrace_tags.messages USING millrace_tags (metadata, global_position);
CREATE INDEX other ON millrace_tags.messages (millrace.tag_hashes_1(metadata), global_position);
DROP INDEX millrace_tags.other;

-- Rows of before and after.
SELECT count(millrace.append('s-' || n, 'T' || n % 2, '{}', '{"tags": ["a", "b"]}')) FROM generate_series(1, 3) n;
SELECT millrace.index_tags(types => false) AS tags, millrace.index_tags(types => false) AS again, millrace.index_tags() AS with_types, millrace.index_tags() AS again;
SELECT indexdef FROM pg_indexes WHERE schemaname = 'millrace_tags' AND indexdef LIKE '%millrace_tags (%' ORDER BY 1;
SELECT count(millrace.append('s-' || n, 'T', '{}', metadata)) FROM (VALUES (4, NULL::jsonb), (5, '{}'), (6, '{"tags": "a"}'), (7, '{"tags": ["a", "a", 7]}')) v (n, metadata);

-- The entries of a hash, in order.
CREATE VIEW pg_temp.hash AS SELECT (millrace.tag_hashes_1('{"tags": ["a"]}'))[1] AS a, (millrace.tag_hashes_1(NULL, 'T'))[1] AS t;
SELECT array_agg(global_position) FROM pg_temp.hash, millrace.tag_entries(a, -5, false, 100, 'tags');
SELECT array_agg(global_position) FROM pg_temp.hash, millrace.tag_entries(a, 2, false, 2, 'tags');
SELECT array_agg(global_position) FROM pg_temp.hash, millrace.tag_entries(a, 2, true, 100, 'tags');
SELECT array_agg(global_position) FROM pg_temp.hash, millrace.tag_entries(a, 9223372036854775807, true, 100, 'tags');
SELECT array_agg(global_position) FROM pg_temp.hash, millrace.tag_entries(a, 8, false, 100, 'tags');
SELECT array_agg(global_position) FROM pg_temp.hash, millrace.tag_entries(t, 1, false, 100, 'tags');
SELECT array_agg(global_position) FROM millrace.tag_entries(17, 1, false, 100, 'tags');
SELECT array_agg(global_position) FROM millrace.tag_entries(17, 1, false, 100, NULL);
SELECT array_agg(global_position) FROM millrace.tag_entries(17, 1, false, 100, 'nowhere');

-- Rows that come, change and go by hand.
INSERT INTO millrace_tags.messages (position, stream_name, type, metadata) VALUES (0, 'hand-1', 'T', '[]'), (0, 'hand-2', 'T', '{"tags": ["c"]}');
UPDATE millrace_tags.messages SET metadata = '{"tags": ["d"]}' WHERE stream_name = 's-1';
UPDATE millrace_tags.messages SET data = '{"updated": true}' WHERE stream_name = 's-2';
DELETE FROM millrace_tags.messages WHERE stream_name = 's-3';
SELECT * FROM millrace.check_tags();

-- At most 1,000 tags where they are indexed.
SELECT "position" FROM millrace.append('many-1', 'T', '{}', jsonb_build_object('tags', (SELECT jsonb_agg('tag ' || n % 1000) FROM generate_series(1, 5000) n)));
SELECT "position" FROM millrace.append('many-2', 'T', '{}', jsonb_build_object('tags', (SELECT jsonb_agg('tag ' || n) FROM generate_series(1, 1001) n)));
INSERT INTO millrace_tags.messages (position, stream_name, type, metadata)
    SELECT 0, 'many-3', 'T', jsonb_build_object('tags', jsonb_agg('tag ' || n)) FROM generate_series(1, 2000) n;
SELECT * FROM millrace.check_tags();
DROP INDEX millrace_tags.messages_tags, millrace_tags.messages_tag_hashes_1_global_position_idx;
SELECT "position" FROM millrace.append('many-2', 'T', '{}', jsonb_build_object('tags', (SELECT jsonb_agg('tag ' || n) FROM generate_series(1, 1001) n)));
SELECT millrace.index_tags();
SELECT * FROM millrace.check_tags();

-- The planner takes it for nothing.
CREATE FUNCTION pg_temp.uses_index(query text, name text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    plan text;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
    RETURN strpos(plan, name) > 0;
END $$;
SET enable_seqscan = off;
SET enable_sort = off;
SELECT pg_temp.uses_index('SELECT global_position FROM millrace_tags.messages WHERE ' || condition, 'messages_tags') AS uses_tags
FROM (VALUES ('millrace.tag_hashes_1(metadata, type) = $${1}$$'), ('millrace.tag_hashes_1(metadata, type) @> $${1}$$ AND global_position > 5'),
             ('global_position > 5 ORDER BY millrace.tag_hashes_1(metadata, type)'), ('metadata @> $${"tags": ["a"]}$$'), ('type = $$T$$')) v (condition);
SELECT pg_temp.uses_index('SELECT global_position FROM millrace_tags.messages WHERE global_position > 5', 'messages_pkey') AS uses_another;
SELECT amname, opcname, amvalidate(o.oid), pg_indexam_has_property(a.oid, 'can_order') AS orders, pg_indexam_has_property(a.oid, 'can_unique') AS is_unique
FROM pg_opclass o JOIN pg_am a ON a.oid = opcmethod WHERE amname = 'millrace_tags' ORDER BY 2;
RESET ALL;
SELECT millrace.drop_namespace('tags') > 0 AS dropped;
