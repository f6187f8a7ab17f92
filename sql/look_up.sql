-- A message by its id, the place of a time, a consumer's open claims, a namespace's figures.  With several sessions:
-- test/isolation/look_up.spec.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('looked_up') IS NOT NULL AS created;
SET millrace.namespace = 'looked_up';
-- What is refused.
SELECT * FROM millrace.get_message(NULL);
SELECT * FROM millrace.get_message('00000000-0000-4000-8000-000000000001', 'nowhere');
SELECT millrace.json_get_message(NULL, '00000000-0000-4000-8000-000000000001');
SELECT millrace.json_get_message('looked_up', NULL);
SELECT millrace.position_at(NULL);
SELECT millrace.position_at(now(), 'nowhere');
SELECT millrace.position_at('yesterday noon o''clock');
SELECT * FROM millrace.consumer_claims(NULL);
SELECT * FROM millrace.consumer_claims('none');
SELECT * FROM millrace.consumer_claims('none', 'nowhere');
SELECT millrace.json_namespace_stats(NULL);
SELECT millrace.json_namespace_stats('nowhere');
SELECT millrace.json_consumer('looked_up', 'claims', 'none', '{"limit": 0}');
SELECT millrace.json_consumer('looked_up', 'claims', 'none', '{"limits": 1}');
-- An empty namespace.
SELECT count(*) FROM millrace.get_message('00000000-0000-4000-8000-000000000001');
SELECT millrace.json_get_message('looked_up', '00000000-0000-4000-8000-000000000001');
SELECT millrace.position_at(now()), millrace.position_at('-infinity'), millrace.position_at('infinity');
SELECT millrace.json_namespace_stats('looked_up')::jsonb - 'time' AS stats;
-- Ten messages, an hour apart; the rows of an import have their own times.
SELECT count(*) FROM (SELECT millrace.append('s-' || n % 3, 'T' || n, jsonb_build_object('n', n),
    id => ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid) FROM generate_series(1, 10) n) appended;
UPDATE millrace_looked_up.messages SET time = timestamp '2026-01-01 00:00' + global_position * interval '1 hour';
SELECT * FROM millrace.get_message('00000000-0000-4000-8000-000000000003');
SELECT stream_name, "position" FROM millrace.get_message('00000000-0000-4000-8000-000000000004', namespace => 'looked_up');
SELECT millrace.json_get_message('looked_up', '00000000-0000-4000-8000-000000000003');
SELECT t, millrace.position_at(t) FROM unnest(ARRAY['-infinity', '2026-01-01 01:00', '2026-01-01 01:00:00.000001', '2026-01-01 05:00+02',
    '2026-01-01 09:30', '2026-01-01 10:00', '2026-01-01 10:00:01', 'infinity']::timestamptz[]) t;
-- Messages of one time; gaps; what was rolled back.
UPDATE millrace_looked_up.messages SET time = '2026-01-01 05:00' WHERE global_position BETWEEN 5 AND 8;
DELETE FROM millrace_looked_up.messages WHERE global_position IN (1, 6, 10);
BEGIN;
SELECT count(*) FROM (SELECT millrace.append('s-1', 'T', '{}') FROM generate_series(1, 5)) undone;
ROLLBACK;
SELECT t, millrace.position_at(t) FROM unnest(ARRAY['-infinity', '2026-01-01 04:30', '2026-01-01 05:00', '2026-01-01 05:00:01', '2026-01-01 09:00',
    '2026-01-01 10:00', 'infinity']::timestamptz[]) t;
SELECT count(*) FROM millrace.get_message('00000000-0000-4000-8000-000000000006');
-- Times that fall, as an import's may: one place where they pass the time.
UPDATE millrace_looked_up.messages SET time = timestamp '2026-01-01 00:00' - global_position * interval '1 hour';
SELECT millrace.position_at('2025-12-31 20:00') IN (2, 10) AS a_place;
-- The last position there is.
INSERT INTO millrace_looked_up.messages (global_position, "position", stream_name, type, time)
    VALUES (9223372036854775807, 0, 'last-1', 'T', '2027-01-01');
SELECT millrace.position_at('2026-06-01'), millrace.position_at('infinity'), millrace.head();
DELETE FROM millrace_looked_up.messages WHERE global_position = 9223372036854775807;
-- The caller's own messages, and a snapshot's.
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT "position" FROM millrace.append('s-9', 'T', '{}', id => '00000000-0000-4000-8000-000000000099');
SELECT stream_name FROM millrace.get_message('00000000-0000-4000-8000-000000000099');
SELECT millrace.position_at(now()) = millrace.head() AS mine;
SELECT (millrace.json_namespace_stats('looked_up')::jsonb->>'head')::bigint = millrace.head() AS readable;
SELECT millrace.json_namespace_stats('looked_up')::jsonb->'heldBack' AS held_back;
ROLLBACK;
-- Claims.
SELECT millrace.create_consumer('worker', category => 's') IS NOT NULL AS created;
SELECT * FROM millrace.consumer_claims('worker');
SELECT count(*) FROM millrace.consumer_next('worker', max => 2, member => 'ann');
SELECT member, request, messages, streams, global_position, granted < lease_until AS lasts FROM millrace.consumer_claims('worker');
SELECT jsonb_object_keys(c) FROM jsonb_array_elements(millrace.json_consumer('looked_up', 'claims', 'worker', '{}')::jsonb->'claims') c ORDER BY 1;
-- Who may.
CREATE ROLE regress_millrace_looker;
SET ROLE regress_millrace_looker;
SELECT * FROM millrace.get_message('00000000-0000-4000-8000-000000000003');
SELECT millrace.position_at(now());
SELECT millrace.json_namespace_stats('looked_up');
SELECT (millrace.json_blocked()::jsonb)->>'missing' AS missing;
RESET ROLE;
GRANT USAGE ON SCHEMA millrace_looked_up TO regress_millrace_looker;
GRANT SELECT ON millrace_looked_up.messages TO regress_millrace_looker;
GRANT pg_read_all_stats TO regress_millrace_looker;
SET ROLE regress_millrace_looker;
SELECT type FROM millrace.get_message('00000000-0000-4000-8000-000000000003');
SELECT millrace.position_at('infinity') = millrace.head() + 1 AS behind;
SELECT millrace.json_namespace_stats('looked_up')::jsonb - 'time' AS stats;
SELECT millrace.json_blocked();
RESET ROLE;
REVOKE ALL ON SCHEMA millrace_looked_up FROM regress_millrace_looker;
DROP OWNED BY regress_millrace_looker;
DROP ROLE regress_millrace_looker;
RESET millrace.namespace;
SELECT millrace.drop_namespace('looked_up');
