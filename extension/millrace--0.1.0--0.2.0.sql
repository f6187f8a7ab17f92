-- millrace 0.1.0 to 0.2.0.  test/sql/test_versions.py compares what it leads to with what millrace--0.2.0.sql makes.
\echo Use "ALTER EXTENSION millrace UPDATE" to load this file. \quit

-- Who may call a function stays as it was also where the function's arguments change.  Such a function is dropped and made again, and
-- everybody could call it then, whatever an administrator had revoked.
CREATE TEMPORARY TABLE millrace_privileges AS
    SELECT proname AS name, proacl AS privileges FROM pg_catalog.pg_proc
    WHERE pronamespace = 'millrace'::pg_catalog.regnamespace AND proacl IS NOT NULL;

-- ---- changes ----------------------------------------------------------------------------------------

DO $$ BEGIN
    EXECUTE format('ALTER SCHEMA millrace OWNER TO %s', (SELECT relowner::regrole FROM pg_class WHERE oid = 'millrace.namespaces'::regclass));
END $$;

ALTER TABLE millrace.namespaces ADD CONSTRAINT namespaces_schema
    CHECK (schema = millrace.namespace_schema(name) OR name = 'default' AND schema = 'message_store');
GRANT SELECT, INSERT, UPDATE, DELETE ON millrace.namespaces TO pg_database_owner;

CREATE OR REPLACE FUNCTION millrace.list_categories(OUT category text, OUT stream_count bigint, OUT message_count bigint)
    RETURNS SETOF record LANGUAGE sql STABLE AS $$
    -- The setting is not known before the session's first call into the library.
    SELECT * FROM millrace.count_categories(coalesce(nullif(pg_catalog.current_setting('millrace.namespace', true), ''), 'default'))
$$;

DROP FUNCTION millrace.first_undecided(text, timestamp, bigint);
CREATE FUNCTION millrace.first_undecided(namespace text, "position" bigint,
                                         OUT head bigint, OUT global_position bigint, OUT xid xid) RETURNS record
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_first_undecided';
COMMENT ON FUNCTION millrace.first_undecided(text, bigint) IS
    'internal: the first message, from a global position on, at which readers by this statement''s snapshot stop';

CREATE OR REPLACE FUNCTION millrace.read_horizon(namespace text DEFAULT NULL, "position" bigint DEFAULT NULL,
                                      OUT readable bigint, OUT last bigint, OUT xid xid, OUT pid integer, OUT gid text)
    RETURNS record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found record;
BEGIN
    found := millrace.first_undecided(coalesce(read_horizon.namespace, nullif(current_setting('millrace.namespace', true), ''), 'default'),
                                      read_horizon.position);
    readable := coalesce(found.global_position, found.head) - 1;
    last := found.head - 1;
    xid := found.xid;
    SELECT l.pid, p.gid INTO pid, gid
        FROM pg_locks l LEFT JOIN pg_prepared_xacts p ON p.transaction = l.transactionid
        WHERE l.locktype = 'transactionid' AND l.transactionid = found.xid AND l.granted;
END $$;
COMMENT ON FUNCTION millrace.read_horizon(text, bigint) IS
    'up to which global position readers see all by this statement''s snapshot, the last one given out, and the transaction that they wait for';

-- ---- privileges -------------------------------------------------------------------------------------

DO $$
DECLARE
    known record;
    granted record;
BEGIN
    FOR known IN
        SELECT p.oid::regprocedure AS function, p.proowner::regrole AS owner, k.privileges
        FROM pg_temp.millrace_privileges k
            JOIN pg_proc p ON p.proname = k.name AND p.pronamespace = 'millrace'::regnamespace
        WHERE p.proacl IS DISTINCT FROM k.privileges
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC, %s', known.function, known.owner);
        FOR granted IN SELECT grantee, is_grantable FROM aclexplode(known.privileges) LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', known.function,
                           CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE granted.grantee::regrole::text END
                           || CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);
        END LOOP;
    END LOOP;
END $$;
DROP TABLE pg_temp.millrace_privileges;

-- PostgreSQL takes for the extension's own, and pg_dump leaves out, all that is granted on an object when a script has granted
-- something on it.  The extension grants nothing on functions, and on the registry what is granted above.
DELETE FROM pg_catalog.pg_init_privs
    WHERE classoid = 'pg_catalog.pg_proc'::pg_catalog.regclass
        AND objoid IN (SELECT oid FROM pg_catalog.pg_proc WHERE pronamespace = 'millrace'::pg_catalog.regnamespace);
UPDATE pg_catalog.pg_init_privs SET initprivs = ARRAY(
        SELECT item FROM pg_catalog.unnest(initprivs) item, pg_catalog.aclexplode(ARRAY[item]) privilege
        WHERE privilege.grantee IN (privilege.grantor, 'pg_database_owner'::pg_catalog.regrole) GROUP BY item::text, item)
    WHERE classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND objoid = 'millrace.namespaces'::pg_catalog.regclass AND objsubid = 0;
-- Since PostgreSQL 17 a role named there can't be dropped.
DELETE FROM pg_catalog.pg_shdepend
    WHERE deptype = 'i' AND dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
        AND (classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                AND objid IN (SELECT oid FROM pg_catalog.pg_proc WHERE pronamespace = 'millrace'::pg_catalog.regnamespace)
            OR classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND objid = 'millrace.namespaces'::pg_catalog.regclass);
