-- Redacting: what is taken away and what stays.  With several sessions: test/isolation/redact.spec.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('redacted') IS NOT NULL AS created;
SELECT millrace.index_tags('redacted');
SET millrace.namespace = 'redacted';
CREATE FUNCTION pg_temp.id(n integer) RETURNS uuid IMMUTABLE LANGUAGE sql AS
    $$ SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid $$;
SELECT count(*) FROM (SELECT millrace.append('s-' || n % 2, 'T', jsonb_build_object('secret', n),
    jsonb_build_object('tags', ARRAY['person:' || n % 3, 'kept'], 'by', 'someone'), id => pg_temp.id(n)) FROM generate_series(1, 9) n) appended;
-- What is refused; nothing is done then.
SELECT millrace.redact(NULL);
SELECT millrace.redact(ARRAY[pg_temp.id(1), NULL]);
SELECT millrace.redact(ARRAY[pg_temp.id(1)], '[]');
SELECT millrace.redact(ARRAY[pg_temp.id(1)], '1');
SELECT millrace.redact(ARRAY[pg_temp.id(1)], '{}', NULL);
SELECT millrace.redact(ARRAY[pg_temp.id(1), pg_temp.id(77)]);
SELECT millrace.redact(ARRAY[pg_temp.id(1)], namespace => 'nowhere');
SELECT millrace.redact(ARRAY(SELECT pg_temp.id(n) FROM generate_series(1, 1001) n));
SELECT * FROM millrace.redact_stream(NULL);
SELECT * FROM millrace.redact_stream('s-1', 3, 2);
SELECT * FROM millrace.redact_tagged(NULL);
SELECT * FROM millrace.redact_tagged('');
SELECT millrace.create_namespace('redacted2') IS NOT NULL AS created;
SELECT * FROM millrace.redact_tagged('a', namespace => 'redacted2');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT millrace.redact(ARRAY[pg_temp.id(1)]);
ROLLBACK;
BEGIN READ ONLY;
SELECT millrace.redact(ARRAY[pg_temp.id(1)]);
ROLLBACK;
SELECT count(*) FILTER (WHERE data ? 'secret') FROM millrace.read_all();
SELECT millrace.redact('{}');
-- Data and metadata go, tags stay, or go too; the rest is as it was.
CREATE TEMP TABLE before AS SELECT * FROM millrace.read_all();
SELECT millrace.redact(ARRAY[pg_temp.id(2), pg_temp.id(1), pg_temp.id(2)]);
SELECT millrace.redact(ARRAY[pg_temp.id(3)], '{"gone": true}', false);
SELECT global_position, stream_name, type, data, metadata FROM millrace.read_all() WHERE global_position < 5;
SELECT count(*) FROM before b JOIN millrace.read_all() m USING (id, stream_name, type, "position", global_position, "time");
-- Again, it is the same; tags that went do not come back.
SELECT millrace.redact(ARRAY[pg_temp.id(1), pg_temp.id(3)]);
SELECT global_position, data, metadata FROM millrace.read_all() WHERE global_position IN (1, 3);
-- A retry is known by id, stream and type; another stream or type is none.
SELECT * FROM millrace.append('s-1', 'T', '{"secret": 1}', id => pg_temp.id(1));
SELECT * FROM millrace.append('s-1', 'T', '{"secret": "other"}', expected_version => 77, id => pg_temp.id(1));
SELECT * FROM millrace.append('s-0', 'T', '{"secret": 1}', id => pg_temp.id(1));
SELECT * FROM millrace.append('s-1', 'U', '{"secret": 1}', id => pg_temp.id(1));
SELECT * FROM millrace.append('s-0', 'T', '{"secret": "other"}', id => pg_temp.id(4));
-- No append takes the mark, and nothing of it is stored.
SELECT * FROM millrace.append('m-1', 'T', '{"a": 1}', '{"millrace.redacted": "true"}', id => pg_temp.id(20));
SELECT * FROM millrace.append('m-1', 'T', '{"a": 2}', id => pg_temp.id(20));
-- A stream, and a part of one.
SELECT * FROM millrace.redact_stream('s-0', 1, 2);
SELECT "position", data ? 'secret' AS there FROM millrace.read_stream('s-0');
SELECT * FROM millrace.redact_stream('s-none');
-- By tag.
SELECT * FROM millrace.redact_tagged('person:1');
SELECT global_position, data ? 'secret' AS there, metadata->'tags' AS tags FROM millrace.read_query('{"items": [{"tags": ["person:1"]}]}');
SELECT * FROM millrace.redact_tagged('person:1', keep_tags => false);
SELECT count(*) FROM millrace.read_query('{"items": [{"tags": ["person:1"]}]}');
SELECT * FROM millrace.check_tags();
-- More than a page.
SELECT count(*) FROM (SELECT millrace.append('long-1', 'T', '{"secret": 1}', '{"tags": ["many"]}') FROM generate_series(1, 1500)) appended;
SELECT redacted, next_position FROM millrace.redact_stream('long-1');
SELECT redacted, next_position FROM millrace.redact_stream('long-1', 1000);
SELECT redacted, next_position FROM millrace.redact_stream('long-1', 0, 999);
SELECT redacted, next_position - (SELECT min(global_position) FROM millrace.read_category('long', batch_size => 1)) AS further FROM millrace.redact_tagged('many');
SELECT count(*) FROM millrace.read_category('long', batch_size => 2000) WHERE data ? 'secret';
-- Odd tags: an object in them is content, and goes.
SELECT millrace.append('odd-1', 'T', '{}', '{"tags": ["a", {"secret": 1}, 1, null, "b"]}', id => pg_temp.id(30)) IS NOT NULL AS appended;
SELECT millrace.append('odd-1', 'T', '{}', '{"tags": "secret"}', id => pg_temp.id(31)) IS NOT NULL AS appended;
SELECT millrace.append('odd-1', 'T', '{}', id => pg_temp.id(32)) IS NOT NULL AS appended;
SELECT millrace.redact(ARRAY[pg_temp.id(30), pg_temp.id(31), pg_temp.id(32)]);
SELECT data, metadata FROM millrace.read_stream('odd-1');
-- The right to update is asked for, row security refused, triggers fire and may say no.
CREATE ROLE regress_millrace_redactor;
GRANT USAGE ON SCHEMA millrace_redacted TO regress_millrace_redactor;
GRANT SELECT ON millrace_redacted.messages TO regress_millrace_redactor;
SET ROLE regress_millrace_redactor;
SELECT millrace.redact(ARRAY['00000000-0000-4000-8000-000000000005'::uuid]);
RESET ROLE;
GRANT UPDATE (data, metadata) ON millrace_redacted.messages TO regress_millrace_redactor;
SET ROLE regress_millrace_redactor;
SELECT millrace.redact(ARRAY['00000000-0000-4000-8000-000000000005'::uuid]);
RESET ROLE;
ALTER TABLE millrace_redacted.messages ENABLE ROW LEVEL SECURITY;
SET ROLE regress_millrace_redactor;
SELECT millrace.redact(ARRAY['00000000-0000-4000-8000-000000000005'::uuid]);
RESET ROLE;
ALTER TABLE millrace_redacted.messages DISABLE ROW LEVEL SECURITY;
CREATE FUNCTION millrace_redacted.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER no BEFORE UPDATE ON millrace_redacted.messages FOR EACH ROW WHEN (OLD.global_position = 7) EXECUTE FUNCTION millrace_redacted.no();
SELECT millrace.redact(ARRAY[pg_temp.id(6), pg_temp.id(7)]);
DROP TRIGGER no ON millrace_redacted.messages;
-- Two namespaces with the same names: the other stays.
SELECT * FROM millrace.append('s-1', 'T', '{"secret": 7}', id => pg_temp.id(7), namespace => 'redacted2');
SELECT millrace.redact(ARRAY[pg_temp.id(7)]);
SELECT data FROM millrace.read_all(namespace => 'redacted2');
SELECT millrace.json_redact('redacted', '{"ids": ["00000000-0000-4000-8000-000000000008"]}', '{"replacement": {"a": 1}, "keepTags": false}');
SELECT millrace.json_redact('redacted', '{"stream": "s-0", "from": 1, "to": 3}', '{}');
SELECT millrace.json_redact('redacted', '{"stream": "s-0", "tag": "a"}', '{}');
SELECT millrace.json_redact('redacted', '{"tag": "a", "to": 3}', '{}');
SELECT millrace.json_redact('redacted', '{"ids": ["x"]}', '{}');
SELECT millrace.json_redact('redacted', '{"tag": "person:2"}', NULL)::jsonb - 'head' AS by_tag;
RESET millrace.namespace;
SELECT millrace.drop_namespace('redacted') > 0 AS dropped, millrace.drop_namespace('redacted2');
DROP OWNED BY regress_millrace_redactor;
DROP ROLE regress_millrace_redactor;
