-- The plan node of functions that return messages: where it is used, and that the rows do not show it.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('scan') IS NOT NULL AS created;
SET millrace.namespace = 'scan';
SELECT count(millrace.append('s-' || n % 3, 'T' || n % 2, jsonb_build_object('n', n))) FROM generate_series(1, 9) n;

-- It is used where a query reads nothing but one such function.
EXPLAIN (COSTS OFF, VERBOSE) SELECT * FROM millrace.read_category('s', 2);
EXPLAIN (COSTS OFF) SELECT count(*) FROM millrace.read_all() AS m WHERE type = 'T1';
EXPLAIN (COSTS OFF) SELECT position FROM (SELECT * FROM millrace.read_stream('s-1', batch_size => 5)) AS m ORDER BY position DESC LIMIT 2;
PREPARE page (bigint) AS SELECT global_position, data FROM millrace.read_category('s', $1, 2);
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE page (3);
EXECUTE page (3);
EXECUTE page (5);
EXECUTE page (NULL);
RESET plan_cache_mode;
-- EXPLAIN opens no table and looks at no argument's value.
SET millrace.namespace = 'nowhere';
EXPLAIN (COSTS OFF) SELECT * FROM millrace.read_category(NULL);
SELECT * FROM millrace.read_all();
SET millrace.namespace = 'scan';

-- And of a page as JSON.
EXPLAIN (COSTS OFF, VERBOSE) SELECT body, count, next_position FROM millrace.json_read_category('scan', 's', 1, 2, NULL, NULL, NULL, NULL, 1000);
SELECT json_array_length(('[' || body || ']')::json), count, next_position FROM millrace.json_read_stream('scan', 's-1', 0, NULL, 10, NULL, 1);
EXPLAIN (COSTS OFF) SELECT count FROM millrace.json_read_stream('scan', 's-1', 0, NULL, 10, NULL, 1), generate_series(1, 2);

-- The function scan stays where rows may be wanted twice, or as a whole, or are written.
EXPLAIN (COSTS OFF) SELECT m FROM millrace.read_all() AS m;
EXPLAIN (COSTS OFF) SELECT * FROM millrace.read_all() WITH ORDINALITY;
-- Versions name an InitPlan differently.
CREATE FUNCTION pg_temp.plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        RETURN NEXT regexp_replace(line, 'InitPlan .*', 'InitPlan');
    END LOOP;
END $$;
SELECT pg_temp.plan('SELECT (SELECT count(*) FROM millrace.read_all())');
EXPLAIN (COSTS OFF) CREATE TABLE copied AS SELECT * FROM millrace.read_all();
CREATE TABLE copied AS SELECT stream_name FROM millrace.read_all() LIMIT 1;
EXPLAIN (COSTS OFF) INSERT INTO copied SELECT stream_name FROM millrace.read_all();
EXPLAIN (COSTS OFF) SELECT count(*) FROM copied, millrace.read_all();
DROP TABLE copied;
-- And where the type of the rows is no longer the one that the node makes.
BEGIN;
ALTER TYPE millrace.message ADD ATTRIBUTE more text;
EXPLAIN (COSTS OFF) SELECT * FROM millrace.read_all();
ROLLBACK;

-- Rows are the same either way; so are those of empty reads.
CREATE VIEW node_rows AS SELECT * FROM millrace.read_all(2, 5);
EXPLAIN (COSTS OFF) SELECT * FROM node_rows;
WITH function_rows AS MATERIALIZED (SELECT * FROM millrace.read_all(2, 5)) SELECT count(*), count(DISTINCT global_position) FROM function_rows;
SELECT stream_name, type, "position", global_position, data, metadata, id IS NOT NULL AS has_id, time <= clock_timestamp() AS is_past FROM node_rows;
SELECT * FROM millrace.read_all(batch_size => 0);
SELECT * FROM millrace.read_category('none');
SELECT global_position FROM node_rows WHERE data ->> 'n' > '3' AND type = 'T1';
DROP VIEW node_rows;

-- Each argument is evaluated once, when the first row is fetched.
CREATE TEMP SEQUENCE evaluated;
SELECT count(*) FROM millrace.read_all(nextval('evaluated'));
SELECT last_value, is_called FROM evaluated;

-- Errors: bad arguments, and one in the middle of the rows.
SELECT * FROM millrace.read_all(batch_size => -2);
SELECT * FROM millrace.read_category(NULL);
SELECT 1 / (5 - global_position) FROM millrace.read_all();
SELECT count(*) FROM millrace.read_all();

-- What is written while the rows are fetched is not among them.
SELECT sum(a.global_position - m.global_position) FROM (SELECT global_position, millrace.append('s-9', 'T', '{}') AS a FROM millrace.read_all()) AS m (global_position, a), LATERAL (SELECT (m.a).*) AS a;
BEGIN;
DECLARE messages CURSOR FOR SELECT global_position, stream_name FROM millrace.read_all(17, -1);
FETCH 1 FROM messages;
SELECT count(millrace.append('s-8', 'T', '{}'));
DELETE FROM millrace_scan.messages WHERE global_position = 18;
FETCH ALL FROM messages;
COMMIT;
SELECT stream_name FROM millrace.read_all(17);

-- Cursors: backwards where they are declared so, beyond their transaction, left early, in a subtransaction.
BEGIN;
DECLARE scrolled SCROLL CURSOR FOR SELECT global_position FROM millrace.read_all();
FETCH 2 FROM scrolled;
FETCH BACKWARD 1 FROM scrolled;
FETCH LAST FROM scrolled;
DECLARE held CURSOR WITH HOLD FOR SELECT global_position FROM millrace.read_all();
FETCH 1 FROM held;
DECLARE left_early CURSOR FOR SELECT global_position FROM millrace.read_all();
FETCH 1 FROM left_early;
SAVEPOINT s;
DECLARE rolled_back CURSOR FOR SELECT global_position FROM millrace.read_all();
FETCH 1 FROM rolled_back;
ROLLBACK TO s;
FETCH 1 FROM left_early;
SAVEPOINT s;
FETCH BACKWARD 1 FROM left_early;
ROLLBACK TO s;
COMMIT;
FETCH 2 FROM held;
CLOSE held;
DO $$
DECLARE
    row record;
    seen bigint[];
BEGIN
    FOR row IN SELECT global_position FROM millrace.read_all() LOOP
        BEGIN
            seen := seen || row.global_position;
            PERFORM 1 / (row.global_position - 2);
        EXCEPTION WHEN division_by_zero THEN
            seen := seen || -1::bigint;
        END;
        EXIT WHEN cardinality(seen) > 3;
    END LOOP;
    IF seen <> '{1, 2, -1, 3}'::bigint[] THEN
        RAISE EXCEPTION '%', seen;
    END IF;
END $$;

-- The privilege to execute is checked, also for a plan that was made before.
CREATE ROLE scan_reader;
GRANT USAGE ON SCHEMA millrace, millrace_scan TO scan_reader;
GRANT SELECT ON millrace.namespaces, millrace_scan.messages TO scan_reader;
PREPARE counted AS SELECT count(*) FROM millrace.read_all();
SET plan_cache_mode = force_generic_plan;
EXECUTE counted;
REVOKE EXECUTE ON FUNCTION millrace.read_all FROM PUBLIC;
SET ROLE scan_reader;
EXECUTE counted;
SELECT * FROM millrace.read_all();
RESET ROLE;
GRANT EXECUTE ON FUNCTION millrace.read_all TO PUBLIC;
SET ROLE scan_reader;
EXECUTE counted;
RESET ROLE;
REVOKE SELECT ON millrace_scan.messages FROM scan_reader;
SET ROLE scan_reader;
EXECUTE counted;
RESET ROLE;
RESET plan_cache_mode;
DROP OWNED BY scan_reader;
DROP ROLE scan_reader;

-- A function with settings of its own is called as a function.
CREATE FUNCTION pg_temp.read_all("position" bigint, batch_size bigint, types text[]) RETURNS SETOF millrace.message
    LANGUAGE c STABLE SUPPORT millrace.read_support SET millrace.namespace = 'scan' AS '$libdir/millrace', 'millrace_read_all';
SET millrace.namespace = 'nowhere';
EXPLAIN (COSTS OFF) SELECT * FROM pg_temp.read_all(1, 1, NULL);
SELECT global_position FROM pg_temp.read_all(1, 1, NULL);

-- A row that is older than the table's last column.
CREATE SCHEMA millrace_scan_old;
CREATE TABLE millrace_scan_old.messages (global_position bigserial PRIMARY KEY, position bigint NOT NULL, time timestamp NOT NULL, stream_name text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL, data jsonb, metadata jsonb);
INSERT INTO millrace_scan_old.messages VALUES (1, 0, '2026-11-24', 's-1', 'T', '{"old": true}', NULL);
ALTER TABLE millrace_scan_old.messages ADD COLUMN id uuid NOT NULL DEFAULT '00000000-0000-4000-8000-000000000001';
CREATE UNIQUE INDEX ON millrace_scan_old.messages (id);
CREATE UNIQUE INDEX ON millrace_scan_old.messages (stream_name, position);
CREATE INDEX ON millrace_scan_old.messages (millrace.category(stream_name), global_position);
INSERT INTO millrace.namespaces (name, schema) VALUES ('scan_old', 'millrace_scan_old');
SET millrace.namespace = 'scan_old';
SELECT id, stream_name, type, data, metadata FROM millrace.read_all();
SELECT millrace.drop_namespace('scan_old');
RESET millrace.namespace;

-- A constant batch_size is what the planner reckons with, within bounds: a large one stands for all there is, and is no reason to compile.
CREATE FUNCTION pg_temp.planned(query text, OUT rows numeric, OUT cheap boolean) LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan;
    rows := plan->0->'Plan'->>'Plan Rows';
    cheap := (plan->0->'Plan'->>'Total Cost')::float8 < current_setting('jit_above_cost')::float8;
END $$;
SELECT batch_size, p.* FROM unnest(ARRAY[0, 1, 500, 1000000000, 9223372036854775807, -1]) AS batch_size,
    pg_temp.planned(format('SELECT * FROM millrace.read_category(''s'', batch_size => %s) ORDER BY type', batch_size)) AS p;
SELECT millrace.drop_namespace('scan');
