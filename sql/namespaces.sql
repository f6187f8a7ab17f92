-- Creating, selecting, listing and dropping namespaces.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.append('a-1', 'T', '{}');
SELECT millrace.ensure_namespace('default') AS created;
SELECT millrace.ensure_namespace('default') AS created;
SELECT millrace.create_namespace('default');
SELECT millrace.create_namespace(NULL);
SELECT millrace.create_namespace('');
SELECT millrace.create_namespace(repeat('x', 201));
SELECT millrace.create_namespace('sales', 'Orders and offers', metadata => '{"owner": "sam"}') IS NOT NULL AS created;

-- Names that differ only in what a schema name could lose stay apart.
SELECT count(millrace.create_namespace(name))
FROM (VALUES ('Tenant'), ('tenant'), ('ten ant'), ('ténant'), ('a"b'), (repeat('n', 200)), (repeat('n', 199) || 'm')) AS v (name);
SELECT count(DISTINCT schema) FROM millrace.namespaces;
SELECT name, schema FROM millrace.list_namespaces() WHERE length(name) < 10;

-- Each has its own streams and positions.
SELECT * FROM millrace.append('a-1', 'T', '{}');
SET millrace.namespace = 'Tenant';
SELECT * FROM millrace.append('a-1', 'T', '{}');
SELECT * FROM millrace.append('a-1', 'T', '{}');
SELECT namespace, description, message_count, stream_count, last_activity IS NOT NULL AS active
FROM millrace.describe_namespace('Tenant');
SET millrace.namespace = 'nowhere';
SELECT * FROM millrace.append('a-1', 'T', '{}');
SELECT * FROM millrace.read_all();
SELECT * FROM millrace.list_categories();
SELECT * FROM millrace.describe_namespace('nowhere');
SELECT millrace.set_namespace_token('nowhere', 'x');
RESET millrace.namespace;

-- Tokens are kept as hashes, and shown to administrators only.
SELECT millrace.set_namespace_token('sales', repeat('abcdef01', 8));
SELECT millrace.namespace_token_hash('sales');
SELECT count(*) FROM millrace.namespace_token_hash('nowhere');
-- Nothing else is taken for one, and nothing of it is shown: it may be the token.
SELECT millrace.set_namespace_token('sales', 'ns_c2FsZXM_' || repeat('0', 64));
SELECT millrace.set_namespace_token('sales', repeat('0', 63));
SELECT millrace.set_namespace_token('sales', repeat('0', 63) || E'\n');
SELECT millrace.set_namespace_token('sales', repeat('abcdeF01', 8));
SELECT millrace.set_namespace_token('sales', '');
SELECT millrace.create_namespace('tokened', token_hash => 'secret');
SELECT millrace.set_namespace_token('sales', NULL);
SELECT millrace.namespace_token_hash('sales');

-- Dropping counts, and a dropped name can be used again at once, by the session that knew it too.
SELECT millrace.drop_namespace('Tenant');
SET millrace.namespace = 'Tenant';
SELECT * FROM millrace.append('a-1', 'T', '{}');
SELECT millrace.create_namespace('Tenant') IS NOT NULL AS created;
SELECT * FROM millrace.append('a-1', 'T', '{}');
RESET millrace.namespace;
SELECT millrace.drop_namespace('nowhere');
SELECT millrace.drop_namespace('default');
SELECT count(millrace.drop_namespace(name)) FROM millrace.list_namespaces() WHERE name <> 'default';

-- A table that is not what it should be is refused, with the reason.
SELECT millrace.create_namespace('broken') IS NOT NULL AS created;
SET millrace.namespace = 'broken';
SELECT * FROM millrace.append('a-1', 'T', '{}');
ALTER TABLE millrace_broken.messages ADD CONSTRAINT small CHECK (position < 10);
SELECT * FROM millrace.append('a-1', 'T', '{}');
SELECT count(*) FROM millrace.read_all();
ALTER TABLE millrace_broken.messages DROP CONSTRAINT small;
SELECT * FROM millrace.append('a-1', 'T', '{}');
CREATE FUNCTION pg_temp.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER nothing BEFORE INSERT ON millrace_broken.messages FOR EACH ROW EXECUTE FUNCTION pg_temp.nothing();
SELECT * FROM millrace.append('a-1', 'T', '{}');
DROP TRIGGER nothing ON millrace_broken.messages;
ALTER SEQUENCE millrace_broken.messages_global_position_seq CACHE 10;
SELECT * FROM millrace.append('a-1', 'T', '{}');
ALTER SEQUENCE millrace_broken.messages_global_position_seq CACHE 1;
DROP INDEX millrace_broken.messages_category;
SELECT * FROM millrace.append('a-1', 'T', '{}');
CREATE INDEX ON millrace_broken.messages (millrace.category(stream_name), global_position);
ALTER TABLE millrace_broken.messages ADD COLUMN extra int;
SELECT * FROM millrace.append('a-1', 'T', '{}');
ALTER TABLE millrace_broken.messages DROP COLUMN extra;
SELECT * FROM millrace.append('a-1', 'T', '{"n": 1}');
SELECT * FROM millrace.append('a-2', 'T', '{"n": 2}', '{"m": 3}');
SELECT stream_name, "position", type, data, metadata, id IS NOT NULL AS has_id FROM millrace.read_all();
SELECT millrace.stream_version('a-1');
DROP TABLE millrace_broken.messages;
SELECT * FROM millrace.append('a-1', 'T', '{}');
RESET millrace.namespace;
SELECT millrace.drop_namespace('broken');

-- The setting, before the session's first call into the library, and with a slip in it.
\c
SELECT count(*) >= 0 AS listed FROM millrace.list_categories();
SET millrace.namespce = 'default';
