-- Settings before the library is loaded, which the first call of a function in C does.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('settings') IS NOT NULL AS created;
CREATE ROLE millrace_plain;
GRANT USAGE ON SCHEMA millrace_settings TO millrace_plain;
GRANT SELECT, INSERT ON millrace_settings.messages TO millrace_plain;

-- A slip in a name: nothing works, rather than on another namespace.
\c -
SET millrace.namespce = 'settings';
SELECT millrace.category('a-1');
SELECT * FROM millrace.append('a-1', 'T', '{}');
SELECT count(*) FROM millrace.read_all();
RESET millrace.namespce;
SET client_min_messages = error;
SELECT millrace.category('a-1');
SET millrace.namespce = 'settings';
\c -
SET Millrace.NameSpace = 'settings';
SET millrace.category_lock = on;
SELECT "position" FROM millrace.append('a-1', 'T', '{}');
SET millrace.category_lock = perhaps;

-- A role without rights makes a namespace its own, once the session knows the setting.
\c -
SET ROLE millrace_plain;
ALTER ROLE millrace_plain SET millrace.namespace = 'settings';
SELECT millrace.category('a-1');
ALTER ROLE millrace_plain SET millrace.namespce = 'settings';
ALTER ROLE millrace_plain SET millrace.namespace = 'settings';
RESET ROLE;
SELECT setconfig FROM pg_db_role_setting WHERE setrole = 'millrace_plain'::regrole;
SELECT millrace.drop_namespace('settings');
DROP ROLE millrace_plain;
