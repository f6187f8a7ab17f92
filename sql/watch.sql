-- What holds readers back: the arguments, and which role may see what.  With several sessions: test/isolation/watch.spec.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT * FROM millrace.read_horizon('nowhere');
SELECT * FROM millrace.read_horizon('');
SELECT millrace.create_namespace('watched') IS NOT NULL AS created;
-- An empty namespace, an unnamed one, one's own messages.
SELECT * FROM millrace.read_horizon('watched');
SET millrace.namespace = 'watched';
SELECT "position" FROM millrace.append('s-1', 'T', '{}');
SELECT * FROM millrace.read_horizon();
BEGIN;
SELECT "position" FROM millrace.append('s-1', 'T', '{}'), generate_series(1, 3);
SELECT * FROM millrace.read_horizon();
SELECT namespace, pid = pg_backend_pid() AS mine, gid, usename = session_user AS named, state, xid IS NOT NULL AS has_xid,
    streams, xact_start = now() AS since_begin, age > interval '0' AS has_age FROM millrace.appending;
ROLLBACK;
SELECT count(*) FROM millrace.appending;
-- A gap that a rollback left, and messages below the position, hold back no reader.
SELECT "position" FROM millrace.append('s-1', 'T', '{}');
SELECT * FROM millrace.read_horizon();
SELECT * FROM millrace.read_horizon('watched', 9223372036854775807);
SELECT * FROM millrace.read_horizon('watched', -1);
-- Whether a position is reached: not behind the end, nor above what is open, but where it was removed.
SELECT millrace.position_reached(NULL);
SELECT millrace.position_reached(1, 'nowhere');
SELECT p, millrace.position_reached(p) FROM unnest(ARRAY[-1, 0, 3, 4, 9223372036854775807]) p;
SELECT "position", global_position FROM millrace.append('gone-1', 'T', '{}');
SELECT removed FROM millrace.remove_stream('gone-1');
SELECT millrace.position_reached(4), millrace.position_reached(5);
VACUUM millrace_watched.messages;
SELECT millrace.feed_head('watched'), millrace.position_reached(4), millrace.position_reached(5);
-- A namespace of another name in the same database has a table of its own.
SELECT millrace.create_namespace('watched too') IS NOT NULL AS created;
BEGIN;
SELECT "position" FROM millrace.append('s-1', 'T', '{}');
SELECT namespace FROM millrace.appending;
COMMIT;
-- Anybody may look at the views, as at pg_stat_activity, but the horizon is a reader's.
CREATE ROLE regress_millrace_watcher;
BEGIN;
SELECT "position" FROM millrace.append('s-1', 'T', '{}');
SET LOCAL ROLE regress_millrace_watcher;
SELECT namespace, pid = pg_backend_pid() AS mine, state, streams, age, query FROM millrace.appending;
SELECT count(*) FROM millrace.blocked;
SAVEPOINT before;
SELECT readable FROM millrace.read_horizon();
ROLLBACK TO before;
RESET ROLE;
GRANT pg_read_all_stats TO regress_millrace_watcher;
GRANT USAGE ON SCHEMA millrace_watched TO regress_millrace_watcher;
GRANT SELECT ON millrace_watched.messages TO regress_millrace_watcher;
SET LOCAL ROLE regress_millrace_watcher;
SELECT namespace, state, age > interval '0' AS has_age, query LIKE 'SELECT namespace%' AS has_query FROM millrace.appending;
SELECT readable = last AS reads_all FROM millrace.read_horizon();
ROLLBACK;
RESET millrace.namespace;
SELECT millrace.drop_namespace('watched'), millrace.drop_namespace('watched too');
DROP ROLE regress_millrace_watcher;
