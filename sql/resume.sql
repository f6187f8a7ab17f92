-- A reader of a stream that comes back with the last global position it saw costs no more than what is new.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('resume') IS NOT NULL AS created;
SET millrace.namespace = 'resume';
SELECT count(millrace.append('long-1', 'T', '{}')) FROM generate_series(1, 2000);
SELECT global_position FROM millrace.append('other-1', 'T', '{}');
SELECT count(millrace.append('long-1', 'T', '{}')) FROM generate_series(1, 3);

-- Rows of the table that a statement has fetched.
CREATE FUNCTION fetched() RETURNS bigint LANGUAGE sql AS
	$$ SELECT pg_stat_get_xact_tuples_fetched('millrace_resume.messages'::regclass) $$;

BEGIN;
SELECT count, next_position, state FROM millrace.read_pokes('resume', 'long-1', NULL, 0, 9999, NULL, NULL, false, false, 100000, 2001);
SELECT fetched() < 20 AS few;
ROLLBACK;

-- The last one seen is of another stream, or was never there: all is looked at, and the same is found.
SELECT count, next_position, state FROM millrace.read_pokes('resume', 'long-1', NULL, 0, 9999, NULL, NULL, false, false, 100000, 2002);
SELECT count, next_position, state FROM millrace.read_pokes('resume', 'long-1', NULL, 0, 9999, NULL, NULL, false, false, 100000, 9000);
-- Also where that one has a higher position.
SELECT count(millrace.append('busy-1', 'T', '{}')) FROM generate_series(1, 2100);
SELECT "position", global_position FROM millrace.append('long-1', 'T', '{}');
SELECT count, next_position, state FROM millrace.read_pokes('resume', 'long-1', NULL, 0, 9999, NULL, NULL, false, false, 100000, 4105);
-- A position above it counts.
SELECT count, next_position, state FROM millrace.read_pokes('resume', 'long-1', NULL, 2002, 9999, NULL, NULL, false, false, 100000, 2001);
-- Reads by others than subscribers, too.
SELECT count FROM millrace.json_read_stream('resume', 'long-1', 0, 1999, 10, NULL, 100000);
SELECT count FROM millrace.json_read_stream('resume', 'long-1', 0, 1, 10, NULL, 100000);

DROP FUNCTION fetched();
SELECT millrace.drop_namespace('resume');
