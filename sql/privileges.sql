-- Direct table access asks for what the executor would ask for.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('rights') IS NOT NULL AS created;
SELECT millrace.set_namespace_token('rights', repeat('5', 64));
SET millrace.namespace = 'rights';
SELECT "position" FROM millrace.append('s-1', 'T', '{}');
SELECT millrace.create_namespace('closed') IS NOT NULL AS created;
CREATE ROLE regress_millrace_user;
SET ROLE regress_millrace_user;
SELECT "position" FROM millrace.read_stream('s-1');
SELECT "position" FROM millrace.append('s-1', 'T', '{}');
RESET ROLE;
GRANT USAGE ON SCHEMA millrace_rights TO regress_millrace_user;
SET ROLE regress_millrace_user;
SELECT "position" FROM millrace.read_stream('s-1');
RESET ROLE;
GRANT SELECT ON millrace_rights.messages TO regress_millrace_user;
SET ROLE regress_millrace_user;
SELECT "position" FROM millrace.read_stream('s-1');
SELECT "position" FROM millrace.append('s-1', 'T', '{}');
RESET ROLE;
GRANT INSERT ON millrace_rights.messages TO regress_millrace_user;
SET ROLE regress_millrace_user;
SELECT "position" FROM millrace.append('s-1', 'T', '{}');
-- A role that may not read may not append: versions and ids would tell it what there is.
RESET ROLE;
REVOKE SELECT ON millrace_rights.messages FROM regress_millrace_user;
SET ROLE regress_millrace_user;
SELECT "position" FROM millrace.append('s-1', 'T', '{}');
RESET ROLE;
GRANT SELECT ON millrace_rights.messages TO regress_millrace_user;
-- Functions may be taken away, also where a plan of our own runs them.
REVOKE EXECUTE ON FUNCTION millrace.read_all FROM PUBLIC;
SET ROLE regress_millrace_user;
SELECT "position" FROM millrace.read_all();
RESET ROLE;
GRANT EXECUTE ON FUNCTION millrace.read_all TO PUBLIC;
SET ROLE regress_millrace_user;
-- Tokens and other people's namespaces are out of reach.
SELECT * FROM millrace.namespace_token_hash('rights');
SELECT millrace.set_namespace_token('rights', repeat('6', 64));
SELECT millrace.drop_namespace('rights');
SELECT millrace.create_namespace('mine');
SELECT name, message_count FROM millrace.list_namespaces() WHERE name IN ('rights', 'closed');
RESET ROLE;
-- Row security is refused where it would apply, not silently passed by.
ALTER TABLE millrace_rights.messages ENABLE ROW LEVEL SECURITY;
SELECT "position" FROM millrace.last_message('s-1');
SET ROLE regress_millrace_user;
SELECT "position" FROM millrace.last_message('s-1');
SELECT "position" FROM millrace.append('s-1', 'T', '{}');
RESET ROLE;
-- Parallel workers don't append.
SELECT proparallel, count(*) FROM pg_proc WHERE pronamespace = 'millrace'::regnamespace AND proname LIKE 'append%' GROUP BY 1;
RESET millrace.namespace;
SELECT millrace.drop_namespace('rights'), millrace.drop_namespace('closed');
DROP OWNED BY regress_millrace_user;
DROP ROLE regress_millrace_user;
