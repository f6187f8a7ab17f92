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

-- An append keeps a ROW EXCLUSIVE lock on the table and an advisory lock (store.c) on each stream to its end; an INSERT by hand one on the sequence instead,
-- which a DELETE or an UPDATE, who hold nobody, do not.  Of other roles'
-- sessions the caller sees what pg_stat_activity shows: all of it with pg_read_all_stats.
CREATE OR REPLACE VIEW millrace.appending AS
    WITH locks AS MATERIALIZED (
        SELECT l.locktype, l.relation, l.transactionid, l.virtualtransaction, l.pid FROM pg_catalog.pg_locks l
        WHERE l.granted AND (l.locktype = 'transactionid'
            OR l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
            AND (l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' OR l.locktype = 'advisory' AND l.objsubid = 19795))
    ), prepared AS (
        SELECT l.virtualtransaction, p.* FROM locks l
            JOIN pg_catalog.pg_prepared_xacts p ON l.locktype = 'transactionid' AND l.pid IS NULL AND l.transactionid = p.transaction
    ), streams AS (
        SELECT virtualtransaction, pg_catalog.count(*) AS streams FROM locks WHERE locktype = 'advisory' GROUP BY 1
    )
    SELECT n.name AS namespace, l.pid, p.gid, coalesce(a.usename, p.owner) AS usename, a.application_name, a.client_addr,
        CASE WHEN p.gid IS NULL THEN a.state ELSE 'prepared' END AS state,
        coalesce(a.backend_xid, p.transaction) AS xid, coalesce(s.streams, 0) AS streams,
        coalesce(a.xact_start, p.prepared) AS xact_start,
        pg_catalog.clock_timestamp() - coalesce(a.xact_start, p.prepared) AS age, a.query
    FROM locks l
        JOIN pg_catalog.pg_class c ON c.oid = l.relation AND c.relname = 'messages'
        JOIN pg_catalog.pg_namespace schema ON schema.oid = c.relnamespace
        JOIN millrace.namespaces n ON n.schema = schema.nspname
        LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
        LEFT JOIN prepared p ON l.pid IS NULL AND p.virtualtransaction = l.virtualtransaction
        LEFT JOIN streams s ON s.virtualtransaction = l.virtualtransaction
    WHERE l.locktype = 'relation' AND (s.streams > 0
        OR (a.backend_xid IS NOT NULL OR p.transaction IS NOT NULL) AND EXISTS (
            SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_sequence q ON q.seqrelid = d.objid
                JOIN locks drawn ON drawn.locktype = 'relation' AND drawn.relation = q.seqrelid
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = d.classid AND d.refobjid = c.oid
                AND d.deptype IN ('a', 'i') AND drawn.virtualtransaction = l.virtualtransaction));

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
