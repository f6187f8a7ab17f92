-- What users may have made of a table of messages: an append that would pass it by is refused, a read goes on.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('tables') IS NOT NULL AS created;
SET millrace.namespace = 'tables';
SET search_path = millrace_tables, public;
SELECT "position" FROM millrace.append('a-1', 'T', '{}');
CREATE FUNCTION try() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM millrace.append('a-1', 'T', '{}');
    RETURN 'appended';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';

-- Triggers of each kind, rules, child tables, constraints.  AFTER ROW triggers are fired.
CREATE TRIGGER t AFTER INSERT ON messages FOR EACH ROW EXECUTE FUNCTION pass();
SELECT try(), (SELECT count(*) FROM millrace.read_all());
DROP TRIGGER t ON messages;
CREATE TRIGGER t BEFORE INSERT ON messages EXECUTE FUNCTION pass();
SELECT try();
DROP TRIGGER t ON messages;
CREATE TRIGGER t AFTER INSERT ON messages EXECUTE FUNCTION pass();
SELECT try();
DROP TRIGGER t ON messages;
CREATE TRIGGER t BEFORE UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION pass();
SELECT try();
CREATE RULE r AS ON INSERT TO messages DO ALSO SELECT 1;
SELECT try();
DROP RULE r ON messages;
SELECT try(); -- that there were rules is marked in the catalogue until VACUUM
CREATE TABLE child () INHERITS (messages);
SELECT try();
DROP TABLE child;
SELECT try(); -- that there were children, until ANALYZE; and there is no invalidation
ALTER TABLE messages ADD CONSTRAINT e EXCLUDE USING btree (id WITH =);
SELECT try();
ALTER TABLE messages DROP CONSTRAINT e;

BEGIN;
ALTER TABLE messages SET UNLOGGED;
SELECT try();
ROLLBACK;

-- NOT NULL, which a user may add.
BEGIN;
UPDATE messages SET metadata = '{}';
ALTER TABLE messages ALTER metadata SET NOT NULL;
SELECT try();
ROLLBACK;

-- A sequence that is behind, as on a former logical subscriber: what it gives may lie below what readers have seen.
\c
SET client_min_messages = warning;
SET millrace.namespace = 'tables';
SET search_path = millrace_tables, public;
INSERT INTO messages (global_position, stream_name, position, type) VALUES (1000, 'elsewhere-1', 0, 'T');
SELECT * FROM millrace.append('a-1', 'T', '{}');
SELECT * FROM millrace.append('a-1', 'T', '{}');
SELECT setval('millrace_tables.messages_global_position_seq'::regclass, 1000);
SELECT * FROM millrace.append('a-1', 'T', '{}');

-- The sequence must rise, one at a time, and be the only one.
ALTER SEQUENCE messages_global_position_seq CYCLE;
SELECT try();
ALTER SEQUENCE messages_global_position_seq NO CYCLE INCREMENT -1;
SELECT try();
ALTER SEQUENCE messages_global_position_seq INCREMENT 1;
CREATE SEQUENCE another OWNED BY messages.position;
SELECT try();
DROP SEQUENCE another;
SELECT try();

-- An index that is not unique, not for all rows, not checked at once or not whole is none of ours.
BEGIN;
DROP INDEX messages_id;
CREATE INDEX ON messages (id);
SELECT try();
ROLLBACK;
BEGIN;
DROP INDEX messages_id;
CREATE UNIQUE INDEX ON messages (id) WHERE type = 'T';
SELECT try();
ROLLBACK;
BEGIN;
DROP INDEX messages_id;
ALTER TABLE messages ADD UNIQUE (id) DEFERRABLE;
SELECT try();
ROLLBACK;
BEGIN;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'messages_id'::regclass;
ALTER TABLE messages SET (fillfactor = 90);
SELECT try();
ROLLBACK;
BEGIN;
DO $$ BEGIN FOR i IN 1..20 LOOP CREATE INDEX ON messages (type); END LOOP; END $$;
SELECT try();
ROLLBACK;
-- One that is not ready yet gets no entries.
BEGIN;
CREATE UNIQUE INDEX later ON messages ((data ->> 'x'));
UPDATE pg_index SET indisready = false, indisvalid = false WHERE indexrelid = 'later'::regclass;
ALTER TABLE messages SET (fillfactor = 90);
SELECT count(millrace.append('a-1', 'T', '{"x": 1}')) FROM generate_series(1, 2);
ROLLBACK;

-- Columns of another kind.
BEGIN;
ALTER TABLE messages ALTER type DROP NOT NULL;
SELECT try();
ROLLBACK;
BEGIN;
ALTER TABLE messages ALTER type TYPE varchar;
SELECT try();
ROLLBACK;
BEGIN;
DROP TABLE messages;
CREATE TABLE messages (global_position bigserial PRIMARY KEY, position bigint NOT NULL, time timestamp NOT NULL, stream_name text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL, data jsonb, metadata jsonb GENERATED ALWAYS AS (data) STORED, id uuid NOT NULL UNIQUE, UNIQUE (stream_name, position));
CREATE INDEX ON messages (millrace.category(stream_name), global_position);
SELECT try();
ROLLBACK;
SELECT try();

-- Rows that are older than the last columns have what these stand for; of the first columns that is not understood.
BEGIN;
DROP TABLE messages;
CREATE TABLE messages (global_position bigserial PRIMARY KEY, position bigint NOT NULL, time timestamp NOT NULL, stream_name text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL, data jsonb);
INSERT INTO messages (position, time, stream_name, type, data) VALUES (0, '2020-01-01', 'a-1', 'T', '{"old": true}');
ALTER TABLE messages ADD metadata jsonb DEFAULT '{"added": true}', ADD id uuid NOT NULL UNIQUE DEFAULT '00000000-0000-4000-8000-000000000001',
    ADD UNIQUE (stream_name, position);
CREATE INDEX ON messages (millrace.category(stream_name), global_position);
SELECT try();
SELECT "position", data, metadata, id = '00000000-0000-4000-8000-000000000001' AS old FROM millrace.read_category('a');
ROLLBACK;
BEGIN;
DROP TABLE messages;
CREATE TABLE messages (global_position bigserial PRIMARY KEY, position bigint NOT NULL);
INSERT INTO messages (position) VALUES (0);
ALTER TABLE messages ADD time timestamp NOT NULL DEFAULT '2020-01-01', ADD stream_name text COLLATE "C" NOT NULL DEFAULT 'a-1',
    ADD type text COLLATE "C" NOT NULL DEFAULT 'T', ADD data jsonb, ADD metadata jsonb, ADD id uuid NOT NULL UNIQUE DEFAULT '00000000-0000-4000-8000-000000000001',
    ADD UNIQUE (stream_name, position);
CREATE INDEX ON messages (millrace.category(stream_name), global_position);
SELECT try();
ROLLBACK;

RESET search_path;
RESET millrace.namespace;
SELECT millrace.drop_namespace('tables');
