-- millrace 0.1.0 to 0.2.0.  test/sql/test_versions.py compares what it leads to with what millrace--0.2.0.sql
-- makes.
--
-- Over 500 lines: PostgreSQL reads an update from one script.
\echo Use "ALTER EXTENSION millrace UPDATE" to load this file. \quit

-- Schema millrace stands first in the search path here, and 0.1.0 took one that another role owned.  What
-- that role has put into it, or may put, would be called in the place of ours, or of what this script calls.
SET LOCAL search_path = pg_catalog, pg_temp;

DO $$
DECLARE
    stranger record;
    role text;
BEGIN
    SELECT pg_describe_object(d.classid, d.objid, d.objsubid) AS object, o.rolname INTO stranger
        FROM pg_depend d
            JOIN pg_shdepend s ON s.classid = d.classid AND s.objid = d.objid AND s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o'
                AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
            JOIN pg_roles o ON o.oid = s.refobjid AND NOT o.rolsuper
        WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = 'millrace'::regnamespace
            AND NOT EXISTS (SELECT FROM pg_depend m WHERE m.classid = d.classid AND m.objid = d.objid AND m.deptype = 'e')
        ORDER BY 1 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'schema millrace has %, which belongs to role %', stranger.object, stranger.rolname
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'The schema is the extension''s.  Drop it, or move it to another schema, and update then.';
    END IF;
    EXECUTE format('ALTER SCHEMA millrace OWNER TO %s', (SELECT relowner::regrole FROM pg_class WHERE oid = 'millrace.namespaces'::regclass));
    FOR role IN SELECT CASE p.grantee WHEN 0 THEN 'PUBLIC' ELSE p.grantee::regrole::text END
                FROM pg_namespace n, aclexplode(n.nspacl) p WHERE n.nspname = 'millrace' AND p.privilege_type = 'CREATE' AND p.grantee <> n.nspowner LOOP
        EXECUTE format('REVOKE CREATE ON SCHEMA millrace FROM %s CASCADE', role);
    END LOOP;
END $$;

-- The privileges on a function stay as they were also where its arguments change.  Such a function is dropped
-- and made again, and any role could call it then, whatever an administrator had revoked.
CREATE TEMPORARY TABLE millrace_privileges AS
    SELECT proname AS name, proacl AS privileges FROM pg_catalog.pg_proc
    WHERE pronamespace = 'millrace'::pg_catalog.regnamespace AND proacl IS NOT NULL;

-- ---- changes ----------------------------------------------------------------------------------------

ALTER TABLE millrace.namespaces ADD CONSTRAINT namespaces_schema
    CHECK (schema = millrace.namespace_schema(name) OR name = 'default' AND schema = 'message_store');
ALTER TABLE millrace.namespaces ADD COLUMN requests_per_second bigint, ADD COLUMN bytes_per_second bigint,
    ADD COLUMN state text, ADD COLUMN epoch bigint, ADD COLUMN moved_to text;
UPDATE millrace.namespaces SET state = 'open', epoch = 1;
ALTER TABLE millrace.namespaces ALTER COLUMN state SET DEFAULT 'open', ALTER COLUMN state SET NOT NULL,
    ALTER COLUMN epoch SET DEFAULT 1, ALTER COLUMN epoch SET NOT NULL;
ALTER TABLE millrace.namespaces ADD CONSTRAINT namespaces_state CHECK (state IN ('open', 'sealed', 'moved') AND epoch >= 0
        AND (state = 'sealed' OR epoch > 0) AND (state = 'moved') = (moved_to IS NOT NULL));
GRANT SELECT (requests_per_second, bytes_per_second, state, epoch, moved_to) ON millrace.namespaces TO PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON millrace.namespaces TO pg_database_owner;

-- What is done with a namespace's table is done in C.  A statement here would run, with the rights of the
-- caller, what the owner of the schema has put in the place of the table: a view that calls a function of
-- theirs, say.
CREATE FUNCTION millrace.is_messages(relation regclass) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_is_messages';
COMMENT ON FUNCTION millrace.is_messages(regclass) IS 'internal: whether a relation is a table of messages';

CREATE FUNCTION millrace.check_messages(schema text) RETURNS void
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_check_messages';
COMMENT ON FUNCTION millrace.check_messages(text) IS 'internal: MR010 unless the schema has a table of messages';

CREATE FUNCTION millrace.count_messages(schema text) RETURNS bigint
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_count_messages';
COMMENT ON FUNCTION millrace.count_messages(text) IS 'internal: how many messages the table in a schema holds';

CREATE FUNCTION millrace.stream_names(schema text) RETURNS SETOF text
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 100000 AS 'MODULE_PATHNAME', 'millrace_stream_names';
COMMENT ON FUNCTION millrace.stream_names(text) IS 'internal: the stream of each message in a schema; for a select list, which keeps none of them';

CREATE FUNCTION millrace.last_activity(schema text) RETURNS timestamptz
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_last_activity';
COMMENT ON FUNCTION millrace.last_activity(text) IS 'internal: the time of the last message in a schema';

CREATE FUNCTION millrace.truncate_messages(schema text) RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_truncate_messages';
COMMENT ON FUNCTION millrace.truncate_messages(text) IS 'internal: empties the table in a schema; returns how many messages it held';

CREATE FUNCTION millrace.check_open(name text, relation regclass DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_check_open';
COMMENT ON FUNCTION millrace.check_open(text, regclass) IS
    'internal: MR028 or MR029 unless a namespace is open; with a table of the extension that the caller may write to: it stays so to commit';

-- Returns the schema of a registered namespace; MR003 when there is none, MR028 or MR029 when it is not here.
CREATE OR REPLACE FUNCTION millrace.find_namespace(name text) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_schema text;
    here boolean;
BEGIN
    PERFORM millrace.check_namespace_name(name);
    SELECT schema, n.state <> 'moved' AND n.epoch > 0 INTO found_schema, here FROM millrace.namespaces n WHERE n.name = find_namespace.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'namespace "%" does not exist', name USING ERRCODE = 'MR003';
    ELSIF NOT here THEN
        PERFORM millrace.check_open(name);
    END IF;
    RETURN found_schema;
END $$;

-- Drops a namespace's schema, and returns how many messages went with it.  One without a table of messages
-- goes only if it is empty: the row of the registry may name a schema of another program by mistake.
CREATE FUNCTION millrace.drop_messages(schema text) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    deleted bigint := 0;
BEGIN
    IF to_regclass(format('%I.messages', schema)) IS NULL THEN
        EXECUTE format('DROP TABLE IF EXISTS %1$I.stream_floors, %1$I.removed_ids', schema);
        EXECUTE format('DROP SCHEMA IF EXISTS %I', schema);
        RETURN 0;
    END IF;
    PERFORM millrace.check_messages(schema);
    -- The table before its sequence: the order in which appends lock them.
    EXECUTE format('LOCK TABLE %I.messages IN ACCESS EXCLUSIVE MODE', schema);
    deleted := millrace.count_messages(schema);
    EXECUTE format('DROP SCHEMA %I CASCADE', schema);
    RETURN deleted;
END $$;

CREATE OR REPLACE FUNCTION millrace.drop_namespace(name text) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = 'warning' AS $$
DECLARE
    deleted bigint;
BEGIN
    PERFORM millrace.check_namespace_name(name);
    IF name = 'default' THEN
        RAISE EXCEPTION 'namespace "default" can''t be dropped' USING ERRCODE = 'MR012';
    END IF;
    PERFORM millrace.lock_namespace(name), millrace.check_open(name);
    deleted := millrace.drop_messages(millrace.find_namespace(name));
    DELETE FROM millrace.namespaces n WHERE n.name = drop_namespace.name;
    RETURN deleted;
END $$;
COMMENT ON FUNCTION millrace.drop_namespace(text) IS
    'drops a namespace with all its messages; returns their number. MR003 when there is none, MR012 for default, MR010 for a schema that is not one';

CREATE OR REPLACE FUNCTION millrace.estimate_messages(schema text) RETURNS bigint
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    messages regclass;
    pages bigint;
    estimate bigint;
BEGIN
    SELECT c.oid INTO messages FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = estimate_messages.schema AND c.relname = 'messages'
            AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid);
    IF messages IS NULL OR millrace.is_messages(messages) IS NOT TRUE THEN
        RETURN NULL;
    END IF;
    pages := pg_relation_size(messages) / current_setting('block_size')::bigint;
    IF pages > 1000 THEN
        SELECT reltuples / relpages * pages INTO estimate FROM pg_class
            WHERE oid = messages AND reltuples >= 0 AND relpages > 0;
    END IF;
    IF estimate IS NULL THEN
        BEGIN
            estimate := millrace.count_messages(schema);
        EXCEPTION WHEN undefined_table OR insufficient_privilege OR SQLSTATE 'MR003' OR SQLSTATE 'MR010' THEN
            RETURN NULL; -- dropped or exchanged since; the list goes on
        END;
    END IF;
    RETURN estimate;
END $$;

CREATE OR REPLACE FUNCTION millrace.describe_namespace(name text, OUT namespace text, OUT schema text, OUT description text,
                                            OUT created_at timestamptz, OUT message_count bigint,
                                            OUT stream_count bigint, OUT last_activity timestamptz) RETURNS record
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    schema := millrace.find_namespace(name);
    SELECT n.name, n.description, n.created_at INTO namespace, description, created_at
        FROM millrace.namespaces n WHERE n.name = describe_namespace.name;
    SELECT count(*), count(DISTINCT stream COLLATE "C") INTO message_count, stream_count
        FROM (SELECT millrace.stream_names(describe_namespace.schema) AS stream) messages;
    last_activity := millrace.last_activity(schema);
END $$;

CREATE OR REPLACE FUNCTION millrace.count_categories(namespace text, OUT category text, OUT stream_count bigint,
                                          OUT message_count bigint) RETURNS SETOF record
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    schema text := millrace.find_namespace(namespace);
BEGIN
    RETURN QUERY
        SELECT millrace.category(streams.name) COLLATE "C", count(*), sum(streams.messages)::bigint
        FROM (SELECT each.name, count(*) AS messages
              FROM (SELECT millrace.stream_names(schema) COLLATE "C" AS name) each GROUP BY each.name) streams
        GROUP BY 1 ORDER BY 1;
END $$;

CREATE OR REPLACE FUNCTION millrace.empty_namespace(name text) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    schema text := millrace.find_namespace(name);
    deleted bigint := millrace.truncate_messages(schema);
BEGIN
    IF to_regclass(format('%I.consumer_numbers', schema)) IS NOT NULL AND to_regclass(format('%I.consumer_claims', schema)) IS NOT NULL THEN
        PERFORM millrace.reset_consumers(name);
    END IF;
    RETURN deleted;
END $$;

CREATE OR REPLACE FUNCTION millrace.register_message_db() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = 'warning' AS $$
DECLARE
    current_schema_name text;
    messages bigint;
    stranger text;
    function regprocedure;
    statement text;
BEGIN
    SELECT s.rolname INTO stranger FROM pg_namespace n JOIN pg_roles s ON s.oid = n.nspowner AND NOT s.rolsuper
            JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'messages' JOIN pg_roles o ON o.oid = c.relowner AND o.rolsuper
        WHERE n.nspname = 'message_store';
    IF FOUND THEN
        RAISE EXCEPTION 'schema message_store belongs to role %, and the table in it would be a superuser''s', stranger
            USING ERRCODE = 'MR010', HINT = 'Drop the schema, or give it to a superuser with ALTER SCHEMA ... OWNER TO.';
    END IF;
    -- A function that was there before is still its owner's, and they could replace it, so that it ran in
    -- indexes with the rights of the table's owner, or have one in C called with NULL.
    FOR function IN SELECT p.oid FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'c' JOIN pg_roles o ON o.oid = p.proowner AND NOT o.rolsuper
                    WHERE p.pronamespace = 'message_store'::regnamespace AND starts_with(p.prosrc, 'millrace_') LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO CURRENT_USER', function);
    END LOOP;
    SELECT schema INTO current_schema_name FROM millrace.namespaces WHERE name = 'default';
    IF NOT FOUND THEN
        INSERT INTO millrace.namespaces (name, schema) VALUES ('default', 'message_store');
    ELSIF current_schema_name <> 'message_store' THEN
        messages := millrace.drop_messages(current_schema_name);
        IF messages > 0 THEN
            RAISE EXCEPTION 'namespace "default" already holds % messages, in schema "%"', messages, current_schema_name
                USING ERRCODE = 'MR010', HINT = 'Message DB''s functions work on namespace default, so it must be empty before.';
        END IF;
        UPDATE millrace.namespaces SET schema = 'message_store' WHERE name = 'default';
    END IF;
    PERFORM millrace.forget_namespaces();
    PERFORM millrace.create_floors('message_store');
    FOR statement IN SELECT millrace.statistics_statements('message_store') LOOP
        EXECUTE statement;
    END LOOP;
END $$;

-- A token in the place of its hash would let no client in.  The error shows nothing of it.
CREATE FUNCTION millrace.check_token_hash(token_hash text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF token_hash COLLATE "C" !~ '^[0-9a-f]{64}$' THEN
        RAISE EXCEPTION 'token_hash is not the SHA-256 of a token in lowercase hex: %',
                CASE WHEN starts_with(token_hash, 'ns_') THEN 'it looks like the token itself'
                     WHEN length(token_hash) <> 64 THEN format('it has %s characters instead of 64', length(token_hash))
                     ELSE format('character %s is none of 0-9 and a-f', length(substring(token_hash COLLATE "C" FROM '^[0-9a-f]*')) + 1) END
            USING ERRCODE = 'MR009', HINT = 'It is encode(sha256(''ns_...''), ''hex'').';
    END IF;
END $$;

CREATE FUNCTION millrace.create_floors(schema text) RETURNS void
    LANGUAGE c STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_create_floors';
COMMENT ON FUNCTION millrace.create_floors(text) IS
    'makes the tables of what is left of removed messages, in the schema of a namespace that was there before they were; for its owner';

-- Statements after which ANALYZE takes no sample of what messages hold: nothing of ours plans by it, and it
-- would stay behind in pg_statistic.
CREATE FUNCTION millrace.statistics_statements(schema text) RETURNS SETOF text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('ALTER TABLE %I.%I ALTER COLUMN %I SET STATISTICS 0', n.nspname, c.relname, a.attname)
    FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE n.nspname = statistics_statements.schema AND c.relkind = 'r'
        AND c.relname IN ('messages', 'consumer_streams', 'consumer_skipped', 'consumer_claims')
        AND a.attname IN ('stream_name', 'data', 'metadata', 'stream', 'error', 'content') AND coalesce(a.attstattarget, -1) <> 0
    UNION ALL
    SELECT format('ALTER INDEX %I.%I ALTER COLUMN %s SET STATISTICS 0', n.nspname, i.relname, a.attnum)
    FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid JOIN pg_index x ON x.indrelid = c.oid JOIN pg_class i ON i.oid = x.indexrelid
        JOIN pg_attribute a ON a.attrelid = i.oid AND x.indkey[a.attnum - 1] = 0
    WHERE n.nspname = statistics_statements.schema AND c.relname = 'messages' AND coalesce(a.attstattarget, -1) <> 0
$$;
COMMENT ON FUNCTION millrace.statistics_statements(text) IS 'internal: statements after which no statistics are kept of what messages hold';

CREATE OR REPLACE FUNCTION millrace.create_namespace(name text, description text DEFAULT NULL, token_hash text DEFAULT NULL,
                                          metadata jsonb DEFAULT NULL) RETURNS timestamptz
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    schema text := millrace.namespace_schema(name);
    created_at timestamptz;
    statement text;
BEGIN
    PERFORM millrace.check_namespace_name(name);
    PERFORM millrace.check_token_hash(token_hash);
    PERFORM millrace.lock_namespace(name);
    INSERT INTO millrace.namespaces AS registry (name, schema, token_hash, description, metadata)
        VALUES (create_namespace.name, schema, create_namespace.token_hash, create_namespace.description,
                create_namespace.metadata)
        ON CONFLICT DO NOTHING
        RETURNING registry.created_at INTO created_at;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'namespace "%" exists already', name USING ERRCODE = 'MR004';
    ELSIF to_regnamespace(quote_ident(schema)) IS NOT NULL THEN
        RAISE EXCEPTION 'schema "%" exists already', schema
            USING ERRCODE = 'duplicate_schema', HINT = 'If it holds the messages of this namespace, millrace.register_namespace() takes it.';
    END IF;
    EXECUTE format('CREATE SCHEMA %I', schema);
    -- Message DB's table, column for column.  Two indexes only grow at their ends, so their pages are filled.
    EXECUTE format($table$
        CREATE TABLE %1$I.messages (
            global_position bigserial NOT NULL,
            position bigint NOT NULL,
            time timestamp without time zone NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'utc'),
            stream_name text COLLATE "C" NOT NULL,
            type text COLLATE "C" NOT NULL,
            data jsonb,
            metadata jsonb,
            id uuid NOT NULL DEFAULT gen_random_uuid(),
            CONSTRAINT messages_pkey PRIMARY KEY (global_position) WITH (fillfactor = 100)
        ) USING heap;
        CREATE UNIQUE INDEX messages_id ON %1$I.messages (id);
        CREATE UNIQUE INDEX messages_stream ON %1$I.messages (stream_name, position);
        CREATE INDEX messages_category ON %1$I.messages (millrace.category(stream_name), global_position)
            WITH (fillfactor = 100);
    $table$, schema);
    PERFORM millrace.create_floors(schema);
    FOR statement IN SELECT millrace.statistics_statements(schema) LOOP
        EXECUTE statement;
    END LOOP;
    RETURN created_at;
END $$;

CREATE OR REPLACE FUNCTION millrace.list_namespaces(OUT name text, OUT schema text, OUT description text,
                                         OUT created_at timestamptz, OUT message_count bigint) RETURNS SETOF record
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT n.name, n.schema, n.description, n.created_at, millrace.estimate_messages(n.schema)
    FROM millrace.namespaces n WHERE n.state <> 'moved' AND n.epoch > 0 ORDER BY n.name
$$;

CREATE OR REPLACE FUNCTION millrace.set_namespace_token(name text, token_hash text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM millrace.find_namespace(name);
    PERFORM millrace.check_token_hash(token_hash);
    UPDATE millrace.namespaces n SET token_hash = set_namespace_token.token_hash
        WHERE n.name = set_namespace_token.name AND n.state = 'open';
    IF NOT FOUND THEN
        PERFORM millrace.check_open(name);
    END IF;
END $$;
COMMENT ON FUNCTION millrace.set_namespace_token(text, text) IS
    'sets the lowercase hex SHA-256 of the token that opens a namespace over HTTP; NULL: none does. MR009 for anything else';

CREATE FUNCTION millrace.register_namespace(name text, description text DEFAULT NULL, token_hash text DEFAULT NULL,
                                            metadata jsonb DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    schema text := millrace.namespace_schema(name);
BEGIN
    PERFORM millrace.check_namespace_name(name);
    PERFORM millrace.check_token_hash(token_hash);
    PERFORM millrace.lock_namespace(name);
    IF to_regclass(format('%I.messages', schema)) IS NULL THEN
        RAISE EXCEPTION 'there is no table "%".messages, which namespace "%" would have', schema, name
            USING ERRCODE = 'MR003', HINT = 'millrace.create_namespace() makes a new one; millrace.install_message_db() adopts Message DB''s.';
    ELSIF NOT (SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = schema) THEN
        RAISE EXCEPTION 'must be owner of schema "%"', schema USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM millrace.check_messages(schema);
    INSERT INTO millrace.namespaces (name, schema, token_hash, description, metadata)
        VALUES (register_namespace.name, schema, register_namespace.token_hash, register_namespace.description, register_namespace.metadata)
        ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'namespace "%" exists already', name USING ERRCODE = 'MR004';
    END IF;
    -- DROP EXTENSION has taken it away with its function.
    IF NOT EXISTS (SELECT FROM pg_index i
                   WHERE i.indrelid = to_regclass(format('%I.messages', schema)) AND i.indisvalid
                       AND pg_get_indexdef(i.indexrelid, 1, false) = 'millrace.category(stream_name)'
                       AND pg_get_indexdef(i.indexrelid, 2, false) = 'global_position') THEN
        EXECUTE format('CREATE INDEX %s ON %I.messages (millrace.category(stream_name), global_position) WITH (fillfactor = 100)',
                       CASE WHEN to_regclass(format('%I.messages_category', schema)) IS NULL THEN 'messages_category' ELSE '' END, schema);
    END IF;
    PERFORM millrace.last_activity(schema); -- raises what is wrong with the table, if anything
    RETURN millrace.count_messages(schema);
END $$;
COMMENT ON FUNCTION millrace.register_namespace(text, text, text, jsonb) IS
    'makes a namespace again of a schema that holds its messages; returns their number. MR003 when there is none, MR004 when it is registered';

CREATE FUNCTION millrace.selected_namespace() RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_selected_namespace';
COMMENT ON FUNCTION millrace.selected_namespace() IS 'the namespace that the others work on where they are given none';

DROP FUNCTION millrace.append(text, text, jsonb, jsonb, bigint, uuid);
CREATE FUNCTION millrace.append(stream text, type text, data jsonb, metadata jsonb DEFAULT NULL,
                                expected_version bigint DEFAULT NULL, id uuid DEFAULT NULL, namespace text DEFAULT NULL,
                                condition jsonb DEFAULT NULL,
                                OUT "position" bigint, OUT global_position bigint) RETURNS record
    LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_append';
COMMENT ON FUNCTION millrace.append(text, text, jsonb, jsonb, bigint, uuid, text, jsonb) IS
    'appends a message to a stream; returns its position in the stream and in the namespace';

DROP FUNCTION millrace.append_messages(text, millrace.new_message[], bigint);
CREATE FUNCTION millrace.append_messages(stream text, messages millrace.new_message[],
                                         expected_version bigint DEFAULT NULL, namespace text DEFAULT NULL,
                                         condition jsonb DEFAULT NULL,
                                         OUT "position" bigint, OUT last_position bigint,
                                         OUT global_position bigint, OUT last_global_position bigint) RETURNS record
    LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_append_messages';
COMMENT ON FUNCTION millrace.append_messages(text, millrace.new_message[], bigint, text, jsonb) IS
    'appends messages to one stream, all or none; returns the positions of the first and the last';

DROP FUNCTION millrace.append_streams(millrace.stream_append[]);
CREATE FUNCTION millrace.append_streams(appends millrace.stream_append[], namespace text DEFAULT NULL,
                                        condition jsonb DEFAULT NULL,
                                        OUT stream text, OUT "position" bigint, OUT last_position bigint,
                                        OUT global_position bigint, OUT last_global_position bigint)
    RETURNS SETOF record
    LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_append_streams';
COMMENT ON FUNCTION millrace.append_streams(millrace.stream_append[], text, jsonb) IS
    'appends messages to several streams, all or none; returns a row for each element';

DROP FUNCTION millrace.append_batch(bytea);
CREATE FUNCTION millrace.append_batch(batch bytea,
                                      OUT request integer, OUT part integer, OUT sqlstate text,
                                      OUT "position" bigint, OUT last_position bigint,
                                      OUT global_position bigint, OUT last_global_position bigint,
                                      OUT expected bigint, OUT actual bigint, OUT message text,
                                      OUT stream text, OUT type text)
    RETURNS SETOF record
    LANGUAGE c STRICT PARALLEL UNSAFE ROWS 50 AS 'MODULE_PATHNAME', 'millrace_append_batch';
COMMENT ON FUNCTION millrace.append_batch(bytea) IS
    'appends many requests, each on its own verdict';

DROP FUNCTION millrace.read_stream(text, bigint, bigint, text[]);
CREATE FUNCTION millrace.read_stream(stream text, "position" bigint DEFAULT NULL, batch_size bigint DEFAULT 1000,
                                     types text[] DEFAULT NULL, namespace text DEFAULT NULL,
                                     direction text DEFAULT 'forward') RETURNS SETOF millrace.message
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1000 SUPPORT millrace.read_support AS 'MODULE_PATHNAME', 'millrace_read_stream';
COMMENT ON FUNCTION millrace.read_stream(text, bigint, bigint, text[], text, text) IS
    'the messages of a stream from a position on, in order, or backward';

DROP FUNCTION millrace.read_category(text, bigint, bigint, text, bigint, bigint, text[]);
CREATE FUNCTION millrace.read_category(category text, "position" bigint DEFAULT NULL, batch_size bigint DEFAULT 1000,
                                       correlation text DEFAULT NULL, consumer_group_member bigint DEFAULT NULL,
                                       consumer_group_size bigint DEFAULT NULL, types text[] DEFAULT NULL, namespace text DEFAULT NULL,
                                       direction text DEFAULT 'forward')
    RETURNS SETOF millrace.message
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1000 SUPPORT millrace.read_support AS 'MODULE_PATHNAME', 'millrace_read_category';
COMMENT ON FUNCTION millrace.read_category(text, bigint, bigint, text, bigint, bigint, text[], text, text) IS
    'the messages of a category from a global position on, in order, or backward; never skips one that commits later';

DROP FUNCTION millrace.read_all(bigint, bigint, text[]);
CREATE FUNCTION millrace.read_all("position" bigint DEFAULT NULL, batch_size bigint DEFAULT 1000,
                                  types text[] DEFAULT NULL, namespace text DEFAULT NULL,
                                  direction text DEFAULT 'forward') RETURNS SETOF millrace.message
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1000 SUPPORT millrace.read_support AS 'MODULE_PATHNAME', 'millrace_read_all';
COMMENT ON FUNCTION millrace.read_all(bigint, bigint, text[], text, text) IS
    'all messages of the namespace from a global position on, in order, or backward; never skips one that commits later';

DROP FUNCTION millrace.json_read_stream(text, text, bigint, bigint, bigint, text[], integer);
CREATE FUNCTION millrace.json_read_stream(namespace text, stream text, "position" bigint, global_position bigint,
                                          batch_size bigint, types text[], max_bytes integer, direction text DEFAULT 'forward',
                                          OUT body text, OUT count bigint, OUT next_position bigint) RETURNS record
    LANGUAGE c STABLE PARALLEL RESTRICTED SUPPORT millrace.read_support AS 'MODULE_PATHNAME', 'millrace_json_read_stream';

DROP FUNCTION millrace.json_read_category(text, text, bigint, bigint, text, bigint, bigint, text[], integer);
CREATE FUNCTION millrace.json_read_category(namespace text, category text, "position" bigint, batch_size bigint,
                                            correlation text, consumer_group_member bigint,
                                            consumer_group_size bigint, types text[], max_bytes integer,
                                            direction text DEFAULT 'forward',
                                            OUT body text, OUT count bigint, OUT next_position bigint) RETURNS record
    LANGUAGE c STABLE PARALLEL RESTRICTED SUPPORT millrace.read_support AS 'MODULE_PATHNAME', 'millrace_json_read_category';

CREATE FUNCTION millrace.recent_streams(max_rows bigint DEFAULT 100, "position" bigint DEFAULT NULL, category text DEFAULT NULL,
                                        scan_limit bigint DEFAULT 10000, namespace text DEFAULT NULL,
                                        OUT stream text, OUT version bigint, OUT last_activity timestamptz, OUT global_position bigint)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 100 AS 'MODULE_PATHNAME', 'millrace_recent_streams';
COMMENT ON FUNCTION millrace.recent_streams(bigint, bigint, text, bigint, text) IS
    'the streams of the newest messages, each with its last one, the newest first';

CREATE FUNCTION millrace.list_types(category text DEFAULT NULL, "position" bigint DEFAULT NULL, scan_limit bigint DEFAULT 10000,
                                    namespace text DEFAULT NULL, OUT type text, OUT message_count bigint, OUT last_global_position bigint)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 20 AS 'MODULE_PATHNAME', 'millrace_list_types';
COMMENT ON FUNCTION millrace.list_types(text, bigint, bigint, text) IS
    'the types of the newest messages, the most frequent first';

CREATE FUNCTION millrace.search_messages(types text[] DEFAULT NULL, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
                                         path text[] DEFAULT NULL, value jsonb DEFAULT NULL, stream text DEFAULT NULL,
                                         category text DEFAULT NULL, "position" bigint DEFAULT NULL,
                                         direction text DEFAULT 'backward', max_rows bigint DEFAULT 100,
                                         scan_limit bigint DEFAULT 10000, namespace text DEFAULT NULL) RETURNS SETOF millrace.message
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 100 AS 'MODULE_PATHNAME', 'millrace_search_messages';
COMMENT ON FUNCTION millrace.search_messages(text[], timestamptz, timestamptz, text[], jsonb, text, text, bigint, text, bigint, bigint, text) IS
    'messages by type, time and one value in their JSON, of so many that are looked at';

CREATE FUNCTION millrace.json_recent_streams(namespace text, max_rows bigint, "position" bigint, category text, scan_limit bigint)
    RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_json_recent_streams';

CREATE FUNCTION millrace.json_list_types(namespace text, category text, "position" bigint, scan_limit bigint) RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_json_list_types';

CREATE FUNCTION millrace.search_page(types text[], since timestamptz, until timestamptz, path text[], value jsonb, stream text,
                                     category text, "position" bigint, direction text, max_rows bigint, scan_limit bigint,
                                     namespace text) RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_search_page';
COMMENT ON FUNCTION millrace.search_page(text[], timestamptz, timestamptz, text[], jsonb, text, text, bigint, text, bigint, bigint, text) IS
    'internal: search_messages as JSON, with where to go on';

CREATE FUNCTION millrace.head(namespace text DEFAULT NULL) RETURNS bigint
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_head';
COMMENT ON FUNCTION millrace.head(text) IS
    'the global position of the last message of the namespace, also of one that was removed; 0: there was none';

CREATE FUNCTION millrace.set_namespace_limits(name text, requests_per_second bigint DEFAULT NULL, bytes_per_second bigint DEFAULT NULL)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM millrace.find_namespace(name);
    IF requests_per_second NOT BETWEEN 1 AND 1000000000 THEN
        RAISE EXCEPTION 'requests_per_second % is out of range', requests_per_second
            USING ERRCODE = 'MR009', HINT = 'It is 1 to 1000000000, or NULL for any number.';
    ELSIF bytes_per_second NOT BETWEEN 1 AND 10000000000 THEN
        RAISE EXCEPTION 'bytes_per_second % is out of range', bytes_per_second
            USING ERRCODE = 'MR009', HINT = 'It is 1 to 10000000000, or NULL for any number.';
    END IF;
    UPDATE millrace.namespaces n
        SET requests_per_second = set_namespace_limits.requests_per_second, bytes_per_second = set_namespace_limits.bytes_per_second
        WHERE n.name = set_namespace_limits.name AND n.state = 'open';
    IF NOT FOUND THEN
        PERFORM millrace.check_open(name);
    END IF;
END $$;
COMMENT ON FUNCTION millrace.set_namespace_limits(text, bigint, bigint) IS
    'how much a namespace may ask for over HTTP, each server; NULL: any number. MR003 when there is none, MR009 when out of range';

-- What a namespace may ask for, as a JSON object; null when there are no limits.
CREATE FUNCTION millrace.json_namespace_limits(name text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN coalesce(requests_per_second, bytes_per_second) IS NULL THEN 'null'
           ELSE format('{"requestsPerSecond":%s,"bytesPerSecond":%s}', coalesce(requests_per_second::text, 'null'),
                       coalesce(bytes_per_second::text, 'null')) END
    FROM millrace.namespaces n WHERE n.name = json_namespace_limits.name
$$;

CREATE FUNCTION millrace.json_set_namespace_limits(name text, requests_per_second bigint, bytes_per_second bigint) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM millrace.set_namespace_limits(name, requests_per_second, bytes_per_second);
    RETURN format('{"namespace":%s,"limits":%s}', to_json(name), millrace.json_namespace_limits(name));
END $$;

CREATE OR REPLACE FUNCTION millrace.json_describe_namespace(name text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('{"namespace":%s,"description":%s,"createdAt":"%s","messageCount":%s,"streamCount":%s,"lastActivity":%s,"head":%s,"limits":%s}',
                  to_json(namespace), to_json(coalesce(description, '')), millrace.json_time(created_at), message_count,
                  stream_count, coalesce('"' || millrace.json_time(last_activity) || '"', 'null'), millrace.head(name),
                  millrace.json_namespace_limits(name))
    FROM millrace.describe_namespace(name)
$$;

DROP FUNCTION millrace.read_pokes(text, text, text, bigint, bigint, bigint, bigint, boolean, boolean, integer, bigint);
CREATE FUNCTION millrace.read_pokes(namespace text, stream text, category text, "position" bigint, below bigint,
                                    consumer_group_member bigint, consumer_group_size bigint, ids boolean,
                                    messages boolean, max_bytes integer, global_position bigint DEFAULT NULL,
                                    types text[] DEFAULT NULL, correlation text DEFAULT NULL, query jsonb DEFAULT NULL,
                                    OUT body text, OUT count bigint, OUT next_position bigint, OUT state text)
    RETURNS record
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_read_pokes';
COMMENT ON FUNCTION millrace.read_pokes(text, text, text, bigint, bigint, bigint, bigint, boolean, boolean, integer, bigint, text[], text, jsonb) IS
    'finished server-sent events for a subscription that catches up';

DROP FUNCTION millrace.read_feed(text, bigint, integer, boolean);
CREATE FUNCTION millrace.read_feed(namespace text, "position" bigint, max_rows integer, messages boolean,
                                   queries jsonb DEFAULT NULL, OUT stream text, OUT "position" bigint,
                                   OUT global_position bigint, OUT poke text, OUT message text, OUT matches text)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 100 AS 'MODULE_PATHNAME', 'millrace_read_feed';
COMMENT ON FUNCTION millrace.read_feed(text, bigint, integer, boolean, jsonb) IS
    'all messages of a namespace from a global position on, as subscriptions are told of them, and which queries each matches';

DROP FUNCTION millrace.json_export(text, bigint, text[], timestamptz, timestamptz, integer);
CREATE FUNCTION millrace.json_export(namespace text, "position" bigint, categories text[], since timestamptz,
                                     until timestamptz, max_bytes integer, query jsonb DEFAULT NULL, before timestamptz DEFAULT NULL,
                                     OUT body text, OUT count bigint, OUT next_position bigint, OUT last_position bigint) RETURNS record
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_json_export';
COMMENT ON FUNCTION millrace.json_export(text, bigint, text[], timestamptz, timestamptz, integer, jsonb, timestamptz) IS
    'a page of a namespace as NDJSON, one object a line';

CREATE FUNCTION millrace.json_export_end(namespace text, after bytea, began xid8, last_exported bigint, max_bytes integer,
                                         OUT body text, OUT next bytea) RETURNS record
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_json_export_end';
COMMENT ON FUNCTION millrace.json_export_end(text, bytea, xid8, bigint, integer) IS
    'a page of what stands behind the messages of a whole namespace: what is known of those that are gone';

DROP FUNCTION millrace.last_message(text, text);
CREATE FUNCTION millrace.last_message(stream text, type text DEFAULT NULL, namespace text DEFAULT NULL) RETURNS SETOF millrace.message
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1 AS 'MODULE_PATHNAME', 'millrace_last_message';
COMMENT ON FUNCTION millrace.last_message(text, text, text) IS 'the last message of a stream, or its last of a type';

CREATE FUNCTION millrace.get_message(id uuid, namespace text DEFAULT NULL) RETURNS SETOF millrace.message
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1 AS 'MODULE_PATHNAME', 'millrace_get_message';
COMMENT ON FUNCTION millrace.get_message(uuid, text) IS 'the message of an id; no row when there is none';

CREATE FUNCTION millrace.json_get_message(namespace text, id uuid) RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_json_get_message';

DROP FUNCTION millrace.stream_version(text);
CREATE FUNCTION millrace.stream_version(stream text, namespace text DEFAULT NULL) RETURNS bigint
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_stream_version';
COMMENT ON FUNCTION millrace.stream_version(text, text) IS
    'the position of the last message of a stream; NULL when there is no such stream';

DROP FUNCTION millrace.list_streams(text, bigint, text);
CREATE FUNCTION millrace.list_streams(prefix text DEFAULT '', max_rows bigint DEFAULT 100, after text DEFAULT NULL,
                                      namespace text DEFAULT NULL, OUT stream text, OUT version bigint, OUT last_activity timestamptz)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 100 AS 'MODULE_PATHNAME', 'millrace_list_streams';
COMMENT ON FUNCTION millrace.list_streams(text, bigint, text, text) IS
    'the streams whose names begin with a prefix, in byte order, behind a given name';


DROP FUNCTION millrace.list_categories();
CREATE FUNCTION millrace.list_categories(namespace text DEFAULT NULL, OUT category text, OUT stream_count bigint,
                                         OUT message_count bigint)
    RETURNS SETOF record LANGUAGE sql STABLE AS $$
    SELECT * FROM millrace.count_categories(coalesce(namespace, millrace.selected_namespace()))
$$;
COMMENT ON FUNCTION millrace.list_categories(text) IS 'the categories of the namespace in byte order, with exact counts';

-- An append keeps a ROW EXCLUSIVE lock on the table and an advisory lock (store/lock.c) on each stream to its
-- end; an INSERT by hand has one on the sequence instead; a DELETE or an UPDATE has neither, and
-- holds up neither appends nor reads.  Of other roles' sessions the caller sees what pg_stat_activity shows:
-- all of it with pg_read_all_stats.
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
    found := millrace.first_undecided(coalesce(read_horizon.namespace, millrace.selected_namespace()),
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

CREATE PROCEDURE millrace.wait_for_commits(asker bigint, heard boolean, timeout_ms integer)
    LANGUAGE c AS 'MODULE_PATHNAME', 'millrace_wait_for_commits';
COMMENT ON PROCEDURE millrace.wait_for_commits(bigint, boolean, integer) IS
    'returns when a transaction that wrote has ended on the server since the asker was told so, or after a time';

CREATE OR REPLACE VIEW millrace.blocked AS
    WITH waiting AS MATERIALIZED (
        SELECT l.pid, CASE l.objsubid WHEN 19795 THEN 'stream' WHEN 19777 THEN 'append' WHEN 19779 THEN 'consumer' WHEN 19794 THEN 'retention' ELSE 'namespace' END AS lock
        FROM pg_catalog.pg_locks l
        WHERE NOT l.granted AND l.locktype = 'advisory' AND l.objsubid IN (19795, 19777, 19779, 19790, 19794)
            AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
    )
    SELECT w.lock, w.pid, a.usename, a.application_name, a.client_addr,
        CASE a.state WHEN 'fastpath function call' THEN a.state_change ELSE a.query_start END AS query_start, a.query,
        nullif(by.pid, 0) AS blocking_pid, b.usename AS blocking_usename, b.application_name AS blocking_application_name,
        b.client_addr AS blocking_client_addr, CASE by.pid WHEN 0 THEN 'prepared' ELSE b.state END AS blocking_state,
        b.xact_start AS blocking_xact_start, b.query AS blocking_query
    FROM waiting w
        CROSS JOIN LATERAL (SELECT DISTINCT u.pid FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) u (pid)) by
        LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid
        LEFT JOIN pg_catalog.pg_stat_activity b ON b.pid = by.pid;

CREATE FUNCTION millrace.position_at("time" timestamptz, namespace text DEFAULT NULL) RETURNS bigint
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_position_at';
COMMENT ON FUNCTION millrace.position_at(timestamptz, text) IS
    'the global position of the first message of that time or later; behind the last message when all are earlier';

CREATE FUNCTION millrace.decided_to(namespace text) RETURNS bigint
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_decided_to';
COMMENT ON FUNCTION millrace.decided_to(text) IS
    'internal: the highest global position up to which nothing may commit any more that this statement''s snapshot does not see';

CREATE FUNCTION millrace.timeline() RETURNS bigint
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'millrace_timeline';
COMMENT ON FUNCTION millrace.timeline() IS
    'internal: on which timeline this server writes, or has replayed up to; a standby on an older one than its primary may have what was lost';

CREATE FUNCTION millrace.position_reached("position" bigint, namespace text DEFAULT NULL) RETURNS boolean
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_position_reached';
COMMENT ON FUNCTION millrace.position_reached(bigint, text) IS
    'whether this statement''s snapshot has all messages up to a global position, as on a standby that may be behind';

-- Where readers of a namespace stop, and for which transaction; NULL: at none, or it has ended since.
CREATE FUNCTION millrace.held_back(namespace text, OUT readable bigint, OUT "position" bigint, OUT pid integer, OUT gid text)
    RETURNS record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last bigint := millrace.feed_head(namespace) - 1;
    horizon record;
BEGIN
    readable := least(millrace.decided_to(namespace), last);
    IF readable < last THEN
        horizon := millrace.read_horizon(namespace, readable + 1);
        readable := horizon.readable;
        pid := horizon.pid;
        gid := horizon.gid;
        -- A standby does not know whose it is.
        IF pid IS NOT NULL OR gid IS NOT NULL OR horizon.xid IS NOT NULL AND pg_is_in_recovery() THEN
            "position" := readable + 1;
        END IF;
    END IF;
END $$;
COMMENT ON FUNCTION millrace.held_back(text) IS 'internal: up to where readers of a namespace see all, and who holds them back';

-- How far readers of a namespace come; cheap enough to be asked every second.
CREATE FUNCTION millrace.json_namespace_stats(namespace text) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    schema text := millrace.find_namespace(namespace);
    pages bigint := pg_relation_size(to_regclass(format('%I.messages', schema))) / current_setting('block_size')::bigint;
    messages bigint;
    held record := millrace.held_back(namespace);
    last bigint := millrace.head(namespace);
    since timestamptz;
BEGIN
    IF held.position IS NOT NULL THEN
        since := coalesce((SELECT a.xact_start FROM pg_stat_activity a WHERE a.pid = held.pid),
                          (SELECT p.prepared FROM pg_prepared_xacts p WHERE p.gid = held.gid));
    END IF;
    -- A large table is not counted: this is asked every second.
    messages := CASE WHEN pages > 32 THEN coalesce((SELECT c.reltuples / c.relpages * pages FROM pg_class c
            WHERE c.oid = to_regclass(format('%I.messages', schema)) AND c.reltuples >= 0 AND c.relpages > 0), last)
        ELSE coalesce(millrace.estimate_messages(schema), 0) END;
    RETURN format('{"namespace":%s,"head":%s,"lastGlobalPosition":%s,"messageCount":%s,"heldBack":%s,"time":"%s"}',
        to_json(namespace), least(held.readable, last), last, messages,
        CASE WHEN held.position IS NULL THEN 'null' ELSE format('{"from":%s,"seconds":%s}', held.position,
            coalesce(round(extract(epoch FROM clock_timestamp() - since), 3)::text, 'null')) END,
        millrace.json_time(clock_timestamp()));
END $$;
COMMENT ON FUNCTION millrace.json_namespace_stats(text) IS 'internal: a namespace as sys.stats answers it';

-- A session or a prepared transaction that is in the way of others, and the line that ends it.
CREATE FUNCTION millrace.json_holder(pid integer, gid text, username name, application text, client inet, state text, since timestamptz,
                                     query text) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object('pid', pid, 'gid', gid, 'user', username, 'application', application, 'client', host(client),
        'state', state, 'seconds', round(extract(epoch FROM clock_timestamp() - since), 3), 'query', left(query, 1000),
        'statement', CASE WHEN gid IS NOT NULL THEN format('ROLLBACK PREPARED %L', gid)
                          WHEN pid IS NOT NULL THEN format('SELECT pg_terminate_backend(%s)', pid) END)
$$;
COMMENT ON FUNCTION millrace.json_holder(integer, text, name, text, inet, text, timestamptz, text) IS 'internal: one who is named by sys.blocked';

-- Who holds readers back.  Appends that wait for nothing are among them, for the moment they take.
CREATE FUNCTION millrace.json_reader_holders() RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH appending AS MATERIALIZED (
        SELECT a.*, EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'transactionid' AND l.granted) AS has_xid
        FROM millrace.appending a
    ), held AS MATERIALIZED (
        SELECT n.name AS namespace, h.*
        FROM (SELECT m.name FROM millrace.namespaces m JOIN pg_namespace s ON s.nspname = m.schema
                  JOIN pg_class c ON c.relnamespace = s.oid AND c.relname = 'messages'
              WHERE c.oid IN (SELECT l.relation FROM pg_locks l WHERE l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' AND l.granted
                                  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
                  AND has_schema_privilege(s.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AND millrace.is_messages(c.oid)
              OFFSET 0) n
            CROSS JOIN LATERAL millrace.held_back(n.name) h
        WHERE h.position IS NOT NULL
    ), holders AS (
        SELECT a.namespace, h.position, a.xact_start,
            millrace.json_holder(a.pid, a.gid, a.usename, a.application_name, a.client_addr, a.state, a.xact_start, a.query) AS holder
        FROM appending a LEFT JOIN held h ON h.namespace = a.namespace AND (h.pid = a.pid OR h.gid = a.gid)
        WHERE a.xid IS NOT NULL OR a.has_xid
        UNION ALL
        SELECT h.namespace, h.position, coalesce(s.xact_start, p.prepared),
            millrace.json_holder(h.pid, h.gid, coalesce(s.usename, p.owner), s.application_name, s.client_addr,
                                 CASE WHEN h.gid IS NULL THEN s.state ELSE 'prepared' END, coalesce(s.xact_start, p.prepared), s.query)
        FROM held h LEFT JOIN pg_stat_activity s ON s.pid = h.pid LEFT JOIN pg_prepared_xacts p ON p.gid = h.gid
        WHERE NOT EXISTS (SELECT FROM appending a WHERE a.namespace = h.namespace AND (a.pid = h.pid OR a.gid = h.gid))
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object('namespace', namespace, 'position', "position") || holder
                              ORDER BY "position" IS NULL, xact_start NULLS FIRST), '[]')
    FROM (SELECT * FROM holders ORDER BY "position" IS NULL, xact_start NULLS FIRST LIMIT 1000) most
$$;
COMMENT ON FUNCTION millrace.json_reader_holders() IS 'internal: who holds readers back, as sys.blocked answers it';

-- Who waits for one of our locks, each with those it waits for.
CREATE FUNCTION millrace.json_waiting() RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH locks AS MATERIALIZED (
        SELECT * FROM pg_locks WHERE locktype IN ('advisory', 'transactionid', 'relation')
    ), waiting AS (
        SELECT b.pid, b.lock, b.usename, b.application_name, b.query_start, b.query,
            (SELECT n.name FROM locks l JOIN pg_class c ON c.oid = l.relation AND c.relname = 'messages'
                JOIN pg_namespace s ON s.oid = c.relnamespace JOIN millrace.namespaces n ON n.schema = s.nspname
             WHERE l.pid = b.pid AND l.locktype = 'relation' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
             LIMIT 1) AS namespace,
            jsonb_agg(millrace.json_holder(b.blocking_pid, p.gid, coalesce(b.blocking_usename, p.owner), b.blocking_application_name,
                b.blocking_client_addr, b.blocking_state, coalesce(b.blocking_xact_start, p.prepared), b.blocking_query)) AS blocked_by
        FROM millrace.blocked b LEFT JOIN LATERAL (
            SELECT x.gid, x.owner, x.prepared FROM locks w
                JOIN locks g ON g.granted AND g.pid IS NULL AND g.locktype = 'advisory' AND (g.database, g.classid, g.objid, g.objsubid)
                    = (w.database, w.classid, w.objid, w.objsubid)
                JOIN locks t ON t.locktype = 'transactionid' AND t.pid IS NULL AND t.virtualtransaction = g.virtualtransaction
                JOIN pg_prepared_xacts x ON x.transaction = t.transactionid
            WHERE w.pid = b.pid AND w.locktype = 'advisory' AND NOT w.granted AND b.blocking_pid IS NULL) p ON true
        GROUP BY 1, 2, 3, 4, 5, 6
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object('pid', pid, 'lock', lock, 'namespace', namespace, 'seconds',
                                                 round(extract(epoch FROM clock_timestamp() - query_start), 3), 'application', application_name,
                                                 'user', usename, 'query', left(query, 1000), 'blockedBy', blocked_by)
                              ORDER BY query_start NULLS FIRST, pid), '[]')
    FROM (SELECT * FROM waiting ORDER BY query_start NULLS FIRST, pid LIMIT 1000) most
$$;
COMMENT ON FUNCTION millrace.json_waiting() IS 'internal: who waits for one of our locks, as sys.blocked answers it';

CREATE FUNCTION millrace.json_blocked() RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object('readers', millrace.json_reader_holders(), 'waiting', millrace.json_waiting(), 'prepared', (
            SELECT coalesce(jsonb_agg(jsonb_build_object('gid', p.gid, 'user', p.owner, 'seconds',
                round(extract(epoch FROM clock_timestamp() - p.prepared), 3), 'statement', format('ROLLBACK PREPARED %L', p.gid))
                ORDER BY p.prepared), '[]')
            FROM pg_prepared_xacts p WHERE p.database = current_database()),
        'missing', CASE
            WHEN pg_is_in_recovery() THEN 'a standby answered: whom its readers wait for is known to the primary alone'
            WHEN NOT pg_has_role('pg_read_all_stats', 'USAGE') THEN
                format('of sessions of other roles neither client, state, time nor query is shown: GRANT pg_read_all_stats TO %I', current_user)
        END)::text
$$;
COMMENT ON FUNCTION millrace.json_blocked() IS 'internal: who holds up whom, as sys.blocked answers it';

-- ---- tags ---------------------------------------------------------------------------------------

-- Indexes on disk are made of these, so what they return stays what it is; another hash would be another
-- function.
CREATE FUNCTION millrace.tag_hashes_1(metadata jsonb, type text) RETURNS bigint[]
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'millrace_tag_hashes_1';
COMMENT ON FUNCTION millrace.tag_hashes_1(jsonb, text) IS 'the distinct hashes of a message''s tags and its type, rising: what an index of tags has entries of';

CREATE FUNCTION millrace.tag_hashes_1(metadata jsonb) RETURNS bigint[]
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'millrace_tag_hashes_1';
COMMENT ON FUNCTION millrace.tag_hashes_1(jsonb) IS 'the same of the tags alone';

CREATE FUNCTION millrace.tags_handler(internal) RETURNS index_am_handler
    LANGUAGE c AS 'MODULE_PATHNAME', 'millrace_tags_handler';
COMMENT ON FUNCTION millrace.tags_handler(internal) IS 'internal: the routine of access method millrace_tags';

CREATE ACCESS METHOD millrace_tags TYPE INDEX HANDLER millrace.tags_handler;
COMMENT ON ACCESS METHOD millrace_tags IS 'several entries for a message: one for each tag, one for its type';

CREATE OPERATOR CLASS millrace.tag_hashes DEFAULT FOR TYPE bigint[] USING millrace_tags AS
    FUNCTION 1 (bigint[], bigint[]) btint8cmp(bigint, bigint),
    FUNCTION 2 (bigint[], bigint[]) btint8sortsupport(internal),
    STORAGE bigint;
CREATE OPERATOR CLASS millrace.tag_positions DEFAULT FOR TYPE bigint USING millrace_tags AS
    FUNCTION 1 btint8cmp(bigint, bigint),
    FUNCTION 2 btint8sortsupport(internal);

-- An index of another kind does not stand in the way: it keeps its name, and the new one gets one like it.
CREATE FUNCTION millrace.index_tags(namespace text DEFAULT NULL, types boolean DEFAULT true) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text := coalesce(namespace, millrace.selected_namespace());
    schema text := millrace.find_namespace(name);
    hashes text := CASE types WHEN true THEN 'millrace.tag_hashes_1(metadata, type)' ELSE 'millrace.tag_hashes_1(metadata)' END;
BEGIN
    IF types IS NULL THEN
        RAISE EXCEPTION 'types must not be NULL' USING ERRCODE = 'MR005';
    END IF;
    PERFORM millrace.lock_namespace(name), millrace.check_open(name);
    PERFORM millrace.check_messages(schema);
    IF EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
               WHERE i.indrelid = to_regclass(format('%I.messages', schema)) AND i.indisvalid AND a.amname = 'millrace_tags'
                   AND pg_get_indexdef(i.indexrelid, 1, false) IN (hashes, 'millrace.tag_hashes_1(metadata, type)')) THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE INDEX %s ON %I.messages USING millrace_tags (%s, global_position)',
                   CASE WHEN to_regclass(format('%I.messages_tags', schema)) IS NULL THEN 'messages_tags' ELSE '' END, schema, hashes);
    RETURN true;
END $$;
COMMENT ON FUNCTION millrace.index_tags(text, boolean) IS
    'makes the index of tags, and of types; returns whether it was not there. Appends wait meanwhile; CREATE INDEX CONCURRENTLY by hand holds up none';

CREATE FUNCTION millrace.check_tags(namespace text DEFAULT NULL, OUT index_name text, OUT fault text, OUT hash bigint, OUT global_position bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_check_tags';
COMMENT ON FUNCTION millrace.check_tags(text) IS
    'compares the index of tags with the messages: a row for each entry that is missing or superfluous; none: they are equal';

CREATE FUNCTION millrace.tag_entries(hash bigint, "position" bigint, backwards boolean, max_rows bigint, namespace text)
    RETURNS TABLE (global_position bigint, tid tid)
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_tag_entries';
COMMENT ON FUNCTION millrace.tag_entries(bigint, bigint, boolean, bigint, text) IS
    'internal: the index''s entries of a hash, by rising or falling positions, whatever has become of their rows';

CREATE FUNCTION millrace.read_query(query jsonb, "position" bigint DEFAULT NULL, batch_size bigint DEFAULT 1000,
                                    direction text DEFAULT 'forward', namespace text DEFAULT NULL) RETURNS SETOF millrace.message
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 100 AS 'MODULE_PATHNAME', 'millrace_read_query';
COMMENT ON FUNCTION millrace.read_query(jsonb, bigint, bigint, text, text) IS
    'the messages that match a query over types and tags, in the order of their global positions; by the index of tags';

CREATE FUNCTION millrace.query_head(query jsonb, namespace text DEFAULT NULL) RETURNS bigint
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_query_head';
COMMENT ON FUNCTION millrace.query_head(jsonb, text) IS
    'the global position up to which a read by the query is complete for good: what an append is to be after';

CREATE FUNCTION millrace.query_matches(query jsonb, type text, metadata jsonb) RETURNS boolean
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'millrace_query_matches';
COMMENT ON FUNCTION millrace.query_matches(jsonb, text, jsonb) IS 'whether a message of that type and metadata is one of the query''s';

CREATE FUNCTION millrace.json_read_query(namespace text, query jsonb, "position" bigint, batch_size bigint, max_bytes integer,
                                         direction text DEFAULT 'forward', OUT body text, OUT count bigint,
                                         OUT next_position bigint, OUT head bigint, OUT more boolean) RETURNS record
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_json_read_query';
COMMENT ON FUNCTION millrace.json_read_query(text, jsonb, bigint, bigint, integer, text) IS 'internal: a page of query.get';


-- ---- consumers --------------------------------------------------------------------------------------

-- What is done with the tables of consumers is done in C, as with messages; nothing of theirs is run.

CREATE FUNCTION millrace.check_consumer_options(options jsonb) RETURNS void
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text;
    value jsonb;
    least bigint;
    most bigint;
BEGIN
    IF jsonb_typeof(options) <> 'object' THEN
        RAISE EXCEPTION 'options must be a JSON object, not %', jsonb_typeof(options) USING ERRCODE = 'MR008';
    END IF;
    FOR name, value IN SELECT * FROM jsonb_each(options) LOOP
        CASE name
            WHEN 'leaseMs' THEN least := 1000; most := 43200000;
            WHEN 'maxAttempts' THEN least := 1; most := 1000000;
            WHEN 'maxParked' THEN least := 1; most := 1000000;
            WHEN 'onPoison' THEN
                IF value NOT IN ('"park"', '"skip"', '"stop"') THEN
                    RAISE EXCEPTION 'onPoison % is out of range', value
                        USING ERRCODE = 'MR009', HINT = 'It is "park", "skip" or "stop".';
                END IF;
                CONTINUE;
            ELSE
                RAISE EXCEPTION 'a consumer has no option "%"', name
                    USING ERRCODE = 'MR009', HINT = 'Its options are leaseMs, maxAttempts, maxParked and onPoison.';
        END CASE;
        IF jsonb_typeof(value) <> 'number' OR value::numeric <> trunc(value::numeric)
            OR value::numeric NOT BETWEEN least AND most THEN
            RAISE EXCEPTION '% % is out of range', name, value
                USING ERRCODE = 'MR009', HINT = format('It is a whole number, %s to %s.', least, most);
        END IF;
    END LOOP;
END $$;

-- The tables beside a namespace's messages, at the first consumer.
CREATE FUNCTION millrace.create_consumer_tables(schema text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    statement text;
BEGIN
    IF to_regclass(format('%I.consumers', schema)) IS NOT NULL THEN
        RETURN; -- whether they are ours is looked at when they are opened
    END IF;
    EXECUTE format($tables$
        CREATE SEQUENCE %1$I.consumer_numbers;
        CREATE TABLE %1$I.consumers (
            id bigint PRIMARY KEY,
            name text COLLATE "C" NOT NULL UNIQUE,
            category text COLLATE "C",
            stream text COLLATE "C",
            types text[] COLLATE "C",
            correlation text COLLATE "C",
            query jsonb,
            ordering text COLLATE "C" NOT NULL,
            options jsonb,
            state text COLLATE "C" NOT NULL,
            reason text COLLATE "C",
            created_at timestamptz NOT NULL
        ) USING heap;
        CREATE TABLE %1$I.consumer_claims (
            consumer bigint NOT NULL,
            claim bigint NOT NULL,
            ceiling bigint NOT NULL,
            oldest bigint NOT NULL,
            granted timestamptz NOT NULL,
            lease_until timestamptz,
            member text COLLATE "C",
            request uuid,
            content bytea,
            PRIMARY KEY (consumer, claim)
        ) USING heap;
        CREATE TABLE %1$I.consumer_streams (
            consumer bigint NOT NULL,
            stream text COLLATE "C" NOT NULL,
            position bigint NOT NULL,
            global_position bigint NOT NULL,
            claim bigint,
            claimed_to bigint,
            attempts integer NOT NULL,
            suspect integer NOT NULL,
            retry_at timestamptz,
            first_failed timestamptz,
            parked_at timestamptz,
            error text COLLATE "C",
            PRIMARY KEY (consumer, stream)
        ) USING heap;
        -- Of equal entries in one list none is marked as dead before all are, and most of these are equal.
        CREATE INDEX consumer_streams_parked ON %1$I.consumer_streams (consumer, parked_at) WITH (deduplicate_items = off);
        CREATE TABLE %1$I.consumer_skipped (
            consumer bigint NOT NULL,
            global_position bigint NOT NULL,
            stream text COLLATE "C" NOT NULL,
            position bigint NOT NULL,
            attempts integer NOT NULL,
            skipped_at timestamptz NOT NULL,
            error text COLLATE "C",
            PRIMARY KEY (consumer, global_position)
        ) USING heap;
    $tables$, schema);
    FOR statement IN SELECT millrace.statistics_statements(schema) LOOP
        EXECUTE statement;
    END LOOP;
EXCEPTION
    WHEN duplicate_table OR duplicate_object OR unique_violation THEN
        IF to_regclass(format('%I.consumers', schema)) IS NULL THEN
            RAISE EXCEPTION 'schema "%" holds something else by the name of a table of consumers: %', schema, SQLERRM
                USING ERRCODE = 'MR010';
        END IF; -- else another session was faster
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'permission denied for schema %', schema
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('The first consumer of a namespace makes its tables: GRANT CREATE ON SCHEMA %I, or let its owner create one.', schema);
END $$;

CREATE FUNCTION millrace.add_consumer(name text, category text, stream text, types text[], correlation text, query jsonb,
                                      ordering text, options jsonb, "position" bigint, since timestamptz, namespace text) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_add_consumer';
COMMENT ON FUNCTION millrace.add_consumer(text, text, text, text[], text, jsonb, text, jsonb, bigint, timestamptz, text) IS
    'internal: create_consumer() without a look at the values';

CREATE FUNCTION millrace.create_consumer(name text, category text DEFAULT NULL, stream text DEFAULT NULL, types text[] DEFAULT NULL,
                                         correlation text DEFAULT NULL, ordering text DEFAULT 'stream', options jsonb DEFAULT NULL,
                                         "position" bigint DEFAULT NULL, since timestamptz DEFAULT NULL, at_end boolean DEFAULT false,
                                         namespace text DEFAULT NULL, query jsonb DEFAULT NULL) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    in_namespace text := coalesce(create_consumer.namespace, millrace.selected_namespace());
    begins bigint := create_consumer.position;
BEGIN
    IF name IS NULL THEN
        RAISE EXCEPTION 'name must not be NULL' USING ERRCODE = 'MR005';
    ELSIF name = '' THEN
        RAISE EXCEPTION 'name must not be empty' USING ERRCODE = 'MR006';
    ELSIF octet_length(name) > 200 THEN
        RAISE EXCEPTION 'name is too long: % bytes, at most 200 are allowed', octet_length(name) USING ERRCODE = 'MR007';
    ELSIF category IS NOT NULL AND stream IS NOT NULL THEN
        RAISE EXCEPTION 'a consumer reads a category, a stream, or everything, not both "%" and "%"', category, stream
            USING ERRCODE = 'MR009';
    ELSIF query IS NOT NULL AND coalesce(category, stream) IS NOT NULL THEN
        RAISE EXCEPTION 'a consumer reads what matches a query, a category or a stream, not both a query and "%"', coalesce(category, stream)
            USING ERRCODE = 'MR009';
    ELSIF category = '' OR stream = '' THEN
        RAISE EXCEPTION '% must not be empty', CASE '' WHEN category THEN 'category' ELSE 'stream' END USING ERRCODE = 'MR006';
    ELSIF ordering IS NULL OR ordering NOT IN ('stream', 'all', 'manual') THEN
        RAISE EXCEPTION 'ordering % is out of range', coalesce('"' || ordering || '"', 'NULL')
            USING ERRCODE = 'MR009', HINT = 'It is "stream", "all" or "manual".';
    ELSIF category = '' OR stream = '' THEN
        RAISE EXCEPTION '% must not be empty', CASE WHEN category = '' THEN 'category' ELSE 'stream' END USING ERRCODE = 'MR006';
    ELSIF octet_length(coalesce(category, stream)) > 2000 THEN
        RAISE EXCEPTION '% is too long: % bytes, at most 2000 are allowed', CASE WHEN stream IS NULL THEN 'category' ELSE 'stream' END,
            octet_length(coalesce(category, stream)) USING ERRCODE = 'MR007';
    ELSIF strpos(category, '-') > 0 THEN
        RAISE EXCEPTION 'category "%" is none: it has a "-"', category
            USING ERRCODE = 'MR009', HINT = 'What is before the first "-" of a stream is its category.';
    ELSIF array_ndims(types) > 1 OR cardinality(types) > 1000 OR array_position(types, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'types must be at most 1000 and none of them NULL' USING ERRCODE = 'MR009';
    ELSIF num_nonnulls(begins, since) + coalesce(at_end, false)::int > 1 THEN
        RAISE EXCEPTION 'a consumer begins at one of position, since and at_end' USING ERRCODE = 'MR009';
    ELSIF begins < 0 THEN
        RAISE EXCEPTION 'position % is out of range', begins USING ERRCODE = 'MR009';
    END IF;
    IF options IS NOT NULL THEN
        PERFORM millrace.check_consumer_options(options);
    END IF;
    PERFORM millrace.create_consumer_tables(millrace.find_namespace(in_namespace));
    IF at_end THEN
        -- What is not committed yet is appended from now on, whatever its global position.
        begins := (SELECT readable + 1 FROM millrace.read_horizon(in_namespace));
    END IF;
    RETURN millrace.add_consumer(name, category, stream, types, correlation, query, ordering, options, begins, since, in_namespace);
END $$;
COMMENT ON FUNCTION millrace.create_consumer(text, text, text, text[], text, text, jsonb, bigint, timestamptz, boolean, text, jsonb) IS
    'creates a consumer; false when there is the same one already. MR017 when there is another of that name';

CREATE FUNCTION millrace.drop_consumer(consumer text, namespace text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_drop_consumer';
COMMENT ON FUNCTION millrace.drop_consumer(text, text) IS 'drops a consumer with all that it knows. MR016 when there is none';

CREATE FUNCTION millrace.consumer_next(consumer text, max integer DEFAULT 100, max_bytes integer DEFAULT 1048576,
                                       lease interval DEFAULT NULL, member text DEFAULT NULL, request uuid DEFAULT NULL,
                                       namespace text DEFAULT NULL,
                                       OUT claim bigint, OUT id uuid, OUT stream_name text, OUT type text, OUT "position" bigint,
                                       OUT global_position bigint, OUT data jsonb, OUT metadata jsonb, OUT "time" timestamptz,
                                       OUT attempt integer, OUT error text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'millrace_consumer_next';
COMMENT ON FUNCTION millrace.consumer_next(text, integer, integer, interval, text, uuid, text) IS
    'gives a claim: its messages by global position, or none. The claim counts from the commit on. MR016 when there is no such consumer';

CREATE FUNCTION millrace.consumer_settle(consumer text, claim bigint, failed jsonb DEFAULT NULL, release boolean DEFAULT false,
                                         up_to bigint DEFAULT NULL, namespace text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_consumer_settle';
COMMENT ON FUNCTION millrace.consumer_settle(text, bigint, jsonb, boolean, bigint, text) IS
    'says that a claim is dealt with, but for what failed or is given back. MR015 when the claim is lost';

CREATE FUNCTION millrace.consumer_extend(consumer text, claim bigint, lease interval DEFAULT NULL, namespace text DEFAULT NULL)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_consumer_extend';
COMMENT ON FUNCTION millrace.consumer_extend(text, bigint, interval, text) IS
    'makes a claim''s lease run from now on once more. MR015 when the claim is lost';

CREATE FUNCTION millrace.consumer_move(consumer text, from_position bigint, to_position bigint, namespace text DEFAULT NULL)
    RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_consumer_move';
COMMENT ON FUNCTION millrace.consumer_move(text, bigint, bigint, text) IS
    'moves the checkpoint of a consumer of ordering manual. MR018 when it is not at from_position';

CREATE FUNCTION millrace.consumer_unpark(consumer text, stream text DEFAULT NULL, max_streams bigint DEFAULT NULL,
                                         namespace text DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_consumer_unpark';
COMMENT ON FUNCTION millrace.consumer_unpark(text, text, bigint, text) IS
    'lets parked streams go on with the message at which they were parked; returns how many';

CREATE FUNCTION millrace.consumer_skip(consumer text, stream text, "position" bigint, namespace text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_consumer_skip';
COMMENT ON FUNCTION millrace.consumer_skip(text, text, bigint, text) IS
    'goes past the message at which a stream is parked or waits for a retry. MR009 when that is not the message';

CREATE FUNCTION millrace.consumer_reset(consumer text, "position" bigint DEFAULT 1, keep_parked boolean DEFAULT false,
                                        namespace text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_consumer_reset';
COMMENT ON FUNCTION millrace.consumer_reset(text, bigint, boolean, text) IS
    'begins anew at a global position; every claim is lost to its member';

CREATE FUNCTION millrace.reset_consumers(namespace text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_reset_consumers';
COMMENT ON FUNCTION millrace.reset_consumers(text) IS 'internal: lets all consumers of a namespace begin anew, as it was emptied';

CREATE FUNCTION millrace.consumer_set_state(consumer text, running boolean, namespace text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_consumer_set_state';
COMMENT ON FUNCTION millrace.consumer_set_state(text, boolean, text) IS 'internal: consumer_pause() and consumer_resume()';

CREATE FUNCTION millrace.consumer_pause(consumer text, namespace text DEFAULT NULL) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT millrace.consumer_set_state(consumer, false, coalesce(consumer_pause.namespace, millrace.selected_namespace()))
$$;
COMMENT ON FUNCTION millrace.consumer_pause(text, text) IS 'lets a consumer give no more claims; those that are open can be settled';

CREATE FUNCTION millrace.consumer_resume(consumer text, namespace text DEFAULT NULL) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT millrace.consumer_set_state(consumer, true, coalesce(consumer_resume.namespace, millrace.selected_namespace()))
$$;
COMMENT ON FUNCTION millrace.consumer_resume(text, text) IS 'lets a consumer that is paused or stopped give claims again';

CREATE FUNCTION millrace.consumers_of(namespace text, consumer text,
                                      OUT name text, OUT category text, OUT stream text, OUT types text[], OUT correlation text,
                                      OUT query jsonb, OUT ordering text, OUT options jsonb, OUT state text, OUT reason text, OUT created_at timestamptz,
                                      OUT ceiling bigint, OUT floor bigint, OUT lag bigint, OUT lag_since timestamptz,
                                      OUT claims bigint, OUT in_flight bigint, OUT oldest_claim timestamptz, OUT waiting bigint,
                                      OUT retrying bigint, OUT parked bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'millrace_consumers_of';
COMMENT ON FUNCTION millrace.consumers_of(text, text) IS 'internal: the view consumer_status of a namespace';

CREATE FUNCTION millrace.consumer_claims_of(namespace text, consumer text,
                                            OUT name text, OUT claim bigint, OUT granted timestamptz, OUT lease_until timestamptz,
                                            OUT member text, OUT request uuid, OUT messages bigint, OUT streams bigint,
                                            OUT global_position bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'millrace_consumer_claims_of';
COMMENT ON FUNCTION millrace.consumer_claims_of(text, text) IS 'internal: the view consumer_claims_open of a namespace';

CREATE FUNCTION millrace.consumer_streams_of(namespace text, consumer text, parked boolean, after text, max_rows bigint,
                                             OUT name text, OUT stream text, OUT "position" bigint, OUT global_position bigint,
                                             OUT claim bigint, OUT attempts integer, OUT suspect integer, OUT retry_at timestamptz,
                                             OUT first_failed timestamptz, OUT parked_at timestamptz, OUT error text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'millrace_consumer_streams_of';
COMMENT ON FUNCTION millrace.consumer_streams_of(text, text, boolean, text, bigint) IS 'internal: the view consumer_streams_blocked of a namespace';

CREATE FUNCTION millrace.check_consumers(namespace text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_check_consumers';
COMMENT ON FUNCTION millrace.check_consumers(text) IS 'internal: MR010 unless the tables of consumers are ours';

-- Whether a namespace has consumers that the caller may see.  One that somebody broke does not hide the others.
CREATE FUNCTION millrace.has_consumers(schema text) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = has_consumers.schema AND has_schema_privilege(n.oid, 'USAGE')
            AND c.relname IN ('consumers', 'consumer_claims', 'consumer_streams', 'consumer_skipped', 'messages')
            AND has_table_privilege(c.oid, 'SELECT')) < 5 THEN
        RETURN false;
    END IF;
    PERFORM millrace.check_consumers(n.name) FROM millrace.namespaces n WHERE n.schema = has_consumers.schema;
    RETURN true;
EXCEPTION WHEN insufficient_privilege OR SQLSTATE 'MR003' OR SQLSTATE 'MR010' OR SQLSTATE 'MR016' OR SQLSTATE 'MR028' OR SQLSTATE 'MR029' THEN
    RETURN false; -- dropped or exchanged, or not here
END $$;
COMMENT ON FUNCTION millrace.has_consumers(text) IS 'internal: whether a schema has consumers that the caller may see';

CREATE VIEW millrace.consumer_status AS
    SELECT n.name AS namespace, c.*
    FROM (SELECT m.name FROM millrace.namespaces m WHERE millrace.has_consumers(m.schema) OFFSET 0) n
        CROSS JOIN LATERAL millrace.consumers_of(n.name, NULL) c;
COMMENT ON VIEW millrace.consumer_status IS 'how far each consumer is, and what it waits for';

CREATE FUNCTION millrace.consumer_claims(consumer text, namespace text DEFAULT NULL, OUT claim bigint, OUT member text, OUT request uuid,
                                         OUT messages bigint, OUT streams bigint, OUT global_position bigint, OUT granted timestamptz,
                                         OUT lease_until timestamptz) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF consumer IS NULL THEN
        RAISE EXCEPTION 'consumer must not be NULL' USING ERRCODE = 'MR005';
    END IF;
    RETURN QUERY
        SELECT c.claim, c.member, c.request, c.messages, c.streams, c.global_position, c.granted, c.lease_until
        FROM millrace.consumer_claims_of(coalesce(consumer_claims.namespace, millrace.selected_namespace()), consumer_claims.consumer) c
        ORDER BY c.claim;
END $$;
COMMENT ON FUNCTION millrace.consumer_claims(text, text) IS 'the open claims of a consumer, the oldest first. MR016 when there is no such consumer';

CREATE VIEW millrace.consumer_claims_open AS
    SELECT n.name AS namespace, c.name AS consumer, c.claim, c.granted, c.lease_until, c.member, c.request, c.messages, c.streams,
        c.global_position
    FROM (SELECT m.name FROM millrace.namespaces m WHERE millrace.has_consumers(m.schema) OFFSET 0) n
        CROSS JOIN LATERAL millrace.consumer_claims_of(n.name, NULL) c;
COMMENT ON VIEW millrace.consumer_claims_open IS 'who has which claim, and until when';

CREATE VIEW millrace.consumer_streams_blocked AS
    SELECT n.name AS namespace, c.name AS consumer, c.stream, c.position, c.global_position, c.claim, c.attempts, c.suspect, c.retry_at,
        c.first_failed, c.parked_at, c.error
    FROM (SELECT m.name FROM millrace.namespaces m WHERE millrace.has_consumers(m.schema) OFFSET 0) n
        CROSS JOIN LATERAL millrace.consumer_streams_of(n.name, NULL, NULL, NULL, NULL) c;
COMMENT ON VIEW millrace.consumer_streams_blocked IS 'the streams that wait, are retried or parked, and at which message';
GRANT SELECT ON millrace.consumer_status, millrace.consumer_claims_open, millrace.consumer_streams_blocked TO PUBLIC;

CREATE FUNCTION millrace.json_consumer_next(namespace text, consumer text, requests jsonb, OUT body text, OUT claim bigint,
                                            OUT next_due_ms bigint, OUT expired bigint, OUT granted bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'millrace_json_consumer_next';
COMMENT ON FUNCTION millrace.json_consumer_next(text, text, jsonb) IS
    'internal: calls of consumer_next() as the HTTP side answers them; no row where another session is at it';

CREATE FUNCTION millrace.json_consumer_settle(namespace text, consumer text, requests jsonb, OUT settled text, OUT claims_settled bigint,
                                              OUT claims_lost bigint, OUT messages_failed bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'millrace_json_consumer_settle';
COMMENT ON FUNCTION millrace.json_consumer_settle(text, text, jsonb) IS
    'internal: what calls of consumer.next settle, before they ask';

CREATE FUNCTION millrace.json_consumer_release(namespace text, consumer text, claim bigint, granted bigint) RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_json_consumer_release';
COMMENT ON FUNCTION millrace.json_consumer_release(text, text, bigint, bigint) IS
    'internal: gives back a claim whose client had gone, unless it was given again';

CREATE FUNCTION millrace.json_consumers(namespace text, consumer text) RETURNS SETOF jsonb
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object('consumer', name, 'category', category, 'stream', stream, 'types', types,
        'correlation', correlation, 'query', query, 'ordering', ordering, 'options', options, 'state', state, 'reason', reason,
        'createdAt', millrace.json_time(created_at), 'ceiling', ceiling, 'floor', floor, 'lag', lag,
        'lagMs', greatest(floor(extract(epoch FROM clock_timestamp() - lag_since) * 1000), 0)::bigint, 'claims', claims,
        'inFlight', in_flight, 'oldestClaimMs', CASE WHEN oldest_claim IS NOT NULL THEN
            greatest(floor(extract(epoch FROM clock_timestamp() - oldest_claim) * 1000), 0)::bigint END,
        'waiting', waiting, 'retrying', retrying, 'parked', parked))
    FROM millrace.consumers_of(json_consumers.namespace, json_consumers.consumer)
$$;
COMMENT ON FUNCTION millrace.json_consumers(text, text) IS 'internal: consumers as consumer.info answers them';

CREATE FUNCTION millrace.json_consumer_streams(namespace text, consumer text, parked boolean, after text, max_rows bigint) RETURNS jsonb
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(jsonb_agg(line), '[]') FROM (
        SELECT jsonb_strip_nulls(jsonb_build_object('stream', stream, 'position', "position", 'globalPosition', global_position,
            'claim', claim, 'attempts', attempts, 'parked', parked_at IS NOT NULL, 'error', error,
            'retryInMs', CASE WHEN parked_at IS NULL AND retry_at IS NOT NULL THEN
                greatest(ceil(extract(epoch FROM retry_at - clock_timestamp()) * 1000), 0)::bigint END)) AS line
        FROM millrace.consumer_streams_of(json_consumer_streams.namespace, json_consumer_streams.consumer,
            json_consumer_streams.parked, json_consumer_streams.after, json_consumer_streams.max_rows)
        WHERE json_consumer_streams.after IS NULL OR stream > json_consumer_streams.after COLLATE "C"
        ORDER BY stream COLLATE "C" LIMIT json_consumer_streams.max_rows) lines
$$;
COMMENT ON FUNCTION millrace.json_consumer_streams(text, text, boolean, text, bigint) IS 'internal: the streams that consumer.streams answers';

CREATE FUNCTION millrace.json_consumer_claims(namespace text, consumer text, max_rows bigint) RETURNS jsonb
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object('claims', coalesce(jsonb_agg(line), '[]')) FROM (
        SELECT jsonb_build_object('claim', claim, 'member', member, 'request', request, 'messages', messages, 'streams', streams,
            'globalPosition', nullif(global_position, 0), 'grantedAt', millrace.json_time(granted),
            'ageMs', greatest(floor(extract(epoch FROM clock_timestamp() - granted) * 1000), 0)::bigint,
            'expiresInMs', greatest(ceil(extract(epoch FROM lease_until - clock_timestamp()) * 1000), 0)::bigint) AS line
        FROM millrace.consumer_claims_of(json_consumer_claims.namespace, json_consumer_claims.consumer)
        ORDER BY claim LIMIT json_consumer_claims.max_rows) lines
$$;
COMMENT ON FUNCTION millrace.json_consumer_claims(text, text, bigint) IS 'internal: what consumer.claims answers';

-- How consumers are doing, for the metrics of the HTTP side: at most so many, by name, and none that is begun later
-- than so many ms after the start.  One that can't be told of is left out.
CREATE FUNCTION millrace.consumer_metrics(max_consumers integer, max_ms integer,
                                          OUT namespace text, OUT consumer text, OUT state text, OUT ceiling bigint, OUT floor bigint,
                                          OUT lag bigint, OUT lag_seconds float8, OUT in_flight bigint, OUT claim_seconds float8,
                                          OUT retrying bigint, OUT parked bigint) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    begun CONSTANT timestamptz := clock_timestamp();
    left_over integer := max_consumers;
    schema text;
BEGIN
    FOR namespace, schema IN
        SELECT m.name, m.schema FROM millrace.namespaces m
        WHERE m.schema IN (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = 'consumer_claims')
        ORDER BY m.name
    LOOP
        CONTINUE WHEN NOT millrace.has_consumers(schema);
        FOR consumer IN EXECUTE format('SELECT name FROM %I.consumers ORDER BY name LIMIT %s', schema, left_over + 1) LOOP
            IF left_over = 0 OR clock_timestamp() > begun + make_interval(secs => max_ms / 1000.0) THEN
                namespace := NULL; -- there are more
                RETURN NEXT;
                RETURN;
            END IF;
            BEGIN
                SELECT c.state, c.ceiling, c.floor, c.lag, greatest(extract(epoch FROM clock_timestamp() - c.lag_since), 0),
                        c.in_flight, greatest(extract(epoch FROM clock_timestamp() - c.oldest_claim), 0), c.retrying, c.parked
                    INTO STRICT state, ceiling, floor, lag, lag_seconds, in_flight, claim_seconds, retrying, parked
                    FROM millrace.consumers_of(consumer_metrics.namespace, consumer_metrics.consumer) c;
                left_over := left_over - 1;
                RETURN NEXT;
            EXCEPTION WHEN OTHERS THEN
                CONTINUE; -- dropped meanwhile, or its tables are not ours
            END;
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION millrace.consumer_metrics(integer, integer) IS
    'internal: consumers for /metrics; a last row without a namespace says that there are more';

-- Refuses a member that an argument of a method does not have, and one that is of another kind than it must be.
CREATE FUNCTION millrace.check_object(argument text, given jsonb, VARIADIC members text[] DEFAULT '{}') RETURNS void
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text;
    value jsonb;
    kind text;
BEGIN
    FOR name, value IN SELECT * FROM jsonb_each(given) LOOP
        kind := (SELECT split_part(m, ' ', 2) FROM unnest(members) m WHERE split_part(m, ' ', 1) = name);
        IF kind IS NULL THEN
            RAISE EXCEPTION '% has no "%"', argument, name USING ERRCODE = 'MR009',
                HINT = format('It has %s.', (SELECT string_agg(split_part(m, ' ', 1), ', ') FROM unnest(members) m));
        ELSIF kind <> 'any' AND jsonb_typeof(value) <> kind AND NOT (kind = 'integer' AND jsonb_typeof(value) = 'number') THEN
            RAISE EXCEPTION '%.% must be %, not %', argument, name,
                CASE WHEN kind IN ('array', 'integer', 'object') THEN 'an ' ELSE 'a ' END || kind, left(value::text, 80)
                USING ERRCODE = 'MR009';
        ELSIF kind = 'integer' AND (value::numeric <> trunc(value::numeric) OR abs(value::numeric) > 9223372036854775807) THEN
            RAISE EXCEPTION '%.% must be an integer, not %', argument, name, left(value::text, 80) USING ERRCODE = 'MR009';
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION millrace.check_members(options jsonb, VARIADIC members text[] DEFAULT '{}') RETURNS void
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT millrace.check_object('options', options, VARIADIC members)
$$;

-- A time of a JSON object; NULL: it has none.
CREATE FUNCTION millrace.time_member(options jsonb, name text) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (options->>name)::timestamptz;
EXCEPTION WHEN invalid_datetime_format OR datetime_field_overflow OR invalid_time_zone_displacement_value OR invalid_parameter_value THEN
    RAISE EXCEPTION 'options.% must be a time, not "%"', name, left(options->>name, 80) USING ERRCODE = 'MR009';
END $$;

-- What the method messages.search answers; request is an object.
CREATE FUNCTION millrace.json_search_messages(namespace text, request jsonb) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted jsonb := request->'where';
BEGIN
    IF namespace IS NULL OR request IS NULL THEN
        RAISE EXCEPTION '% must not be NULL', CASE WHEN namespace IS NULL THEN 'namespace' ELSE 'request' END USING ERRCODE = 'MR005';
    END IF;
    PERFORM millrace.check_members(request, 'types array', 'since string', 'until string', 'where object', 'stream string',
        'category string', 'position integer', 'direction string', 'limit integer', 'scanLimit integer');
    PERFORM millrace.check_members(wanted, 'path any', 'value any');
    IF EXISTS (SELECT FROM jsonb_array_elements(request->'types') t WHERE jsonb_typeof(t) <> 'string') THEN
        RAISE EXCEPTION 'options.types must be an array of strings' USING ERRCODE = 'MR009';
    ELSIF jsonb_typeof(wanted->'path') <> 'array'
        OR jsonb_path_exists(wanted, 'strict $.path[*] ? (@.type() != "string" && @.type() != "number")', silent => true) THEN
        RAISE EXCEPTION 'options.where.path must be an array of strings and numbers' USING ERRCODE = 'MR009';
    ELSIF wanted IS NOT NULL AND NOT wanted ?& '{path,value}' THEN
        RAISE EXCEPTION 'options.where must have path and value' USING ERRCODE = 'MR009';
    END IF;
    RETURN millrace.search_page(
        CASE WHEN request ? 'types' THEN ARRAY(SELECT jsonb_array_elements_text(request->'types')) END,
        millrace.time_member(request, 'since'), millrace.time_member(request, 'until'),
        CASE WHEN wanted IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(wanted->'path')) END, wanted->'value',
        request->>'stream', nullif(request->>'category', ''), (request->'position')::bigint, coalesce(request->>'direction', 'backward'),
        (request->'limit')::bigint, (request->'scanLimit')::bigint, namespace);
END $$;

-- Where a consumer is to begin: the first global position it reads.
CREATE FUNCTION millrace.consumer_start(namespace text, start jsonb) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF start IS NULL OR start = '"start"' THEN
        RETURN 1;
    ELSIF start = '"end"' THEN
        RETURN (SELECT readable + 1 FROM millrace.read_horizon(consumer_start.namespace));
    ELSIF jsonb_typeof(start) = 'number' AND start::numeric = trunc(start::numeric)
        AND start::numeric BETWEEN 0 AND 9223372036854775807 THEN
        RETURN start::bigint;
    END IF;
    RAISE EXCEPTION 'options.position must be a global position, "start" or "end", not %', left(start::text, 80) USING ERRCODE = 'MR009';
END $$;

CREATE FUNCTION millrace.json_create_consumer(namespace text, consumer text, options jsonb) RETURNS jsonb
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_consumer jsonb := options - '{category,stream,types,correlation,query,ordering,position,since}'::text[];
    since timestamptz;
    created boolean;
BEGIN
    PERFORM millrace.check_members(options, 'category string', 'stream string', 'types array', 'correlation string', 'query object', 'ordering string',
        'position any', 'since string', 'leaseMs integer', 'maxAttempts integer', 'maxParked integer', 'onPoison string');
    IF EXISTS (SELECT FROM jsonb_array_elements(options->'types') t WHERE jsonb_typeof(t) <> 'string') THEN
        RAISE EXCEPTION 'options.types must be an array of strings' USING ERRCODE = 'MR009';
    ELSIF options ? 'position' AND options ? 'since' THEN
        RAISE EXCEPTION 'a consumer begins at one of position and since' USING ERRCODE = 'MR009';
    END IF;
    since := millrace.time_member(options, 'since');
    created := millrace.create_consumer(consumer, options->>'category', options->>'stream',
        CASE WHEN options ? 'types' THEN ARRAY(SELECT jsonb_array_elements_text(options->'types')) END,
        options->>'correlation', coalesce(options->>'ordering', 'stream'), nullif(of_consumer, '{}'),
        CASE WHEN since IS NULL THEN millrace.consumer_start(json_create_consumer.namespace, options->'position') END, since,
        namespace => json_create_consumer.namespace, query => options->'query');
    RETURN jsonb_build_object('consumer', consumer, 'created', created);
END $$;

-- What the methods consumer.* but consumer.next answer; options is an object.
CREATE FUNCTION millrace.json_consumer(namespace text, method text, consumer text, options jsonb) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    claim bigint;
    result jsonb;
BEGIN
    CASE method
        WHEN 'create' THEN
            result := millrace.json_create_consumer(namespace, consumer, options);
        WHEN 'delete' THEN
            PERFORM millrace.check_members(options), millrace.drop_consumer(consumer, namespace);
            result := jsonb_build_object('consumer', consumer, 'deleted', true);
        WHEN 'list' THEN
            PERFORM millrace.check_members(options);
            IF millrace.has_consumers(millrace.find_namespace(namespace)) THEN
                result := (SELECT jsonb_agg(c ORDER BY c->>'consumer' COLLATE "C") FROM millrace.json_consumers(namespace, NULL) c);
            END IF;
            result := coalesce(result, '[]');
        WHEN 'info' THEN
            PERFORM millrace.check_members(options);
            result := (SELECT c FROM millrace.json_consumers(namespace, consumer) c);
            IF result IS NULL THEN
                RAISE EXCEPTION 'consumer "%" does not exist', consumer USING ERRCODE = 'MR016';
            END IF;
        WHEN 'settle', 'extend' THEN
            IF method = 'settle' THEN
                PERFORM millrace.check_members(options, 'claim integer', 'failed array', 'release boolean', 'upTo integer');
            ELSE
                PERFORM millrace.check_members(options, 'claim integer', 'leaseMs integer');
            END IF;
            IF NOT options ? 'claim' THEN
                RAISE EXCEPTION 'options.claim is required' USING ERRCODE = 'MR009';
            END IF;
            claim := (options->'claim')::bigint;
            IF (options->'leaseMs')::numeric NOT BETWEEN 1000 AND 43200000 THEN
                RAISE EXCEPTION 'options.leaseMs % is out of range', options->'leaseMs'
                    USING ERRCODE = 'MR009', HINT = 'It is 1000 to 43200000.';
            END IF;
            IF (options->'upTo')::numeric < 0 THEN
                RAISE EXCEPTION 'options.upTo % is out of range', options->'upTo' USING ERRCODE = 'MR009';
            END IF;
            IF method = 'settle' THEN
                PERFORM millrace.consumer_settle(consumer, claim, options->'failed', (options->'release')::boolean,
                                                 (options->'upTo')::bigint, namespace);
            ELSE
                PERFORM millrace.consumer_extend(consumer, claim,
                    CASE WHEN options ? 'leaseMs' THEN make_interval(secs => (options->'leaseMs')::numeric / 1000.0) END, namespace);
            END IF;
            result := jsonb_build_object('claim', claim);
        WHEN 'move' THEN
            PERFORM millrace.check_members(options, 'from integer', 'to integer');
            IF NOT options ?& '{from,to}' THEN
                RAISE EXCEPTION 'options.from and options.to are required' USING ERRCODE = 'MR009';
            END IF;
            PERFORM millrace.consumer_move(consumer, (options->'from')::bigint, (options->'to')::bigint, namespace);
            result := jsonb_build_object('position', options->'to');
        WHEN 'streams' THEN
            PERFORM millrace.check_members(options, 'parked boolean', 'limit integer', 'cursor string');
            IF NOT coalesce((options->'limit')::bigint, 100) BETWEEN 1 AND 1000 THEN
                RAISE EXCEPTION 'options.limit % is out of range', options->'limit' USING ERRCODE = 'MR009', HINT = 'It is 1 to 1000.';
            END IF;
            result := millrace.json_consumer_streams(namespace, consumer, (options->'parked')::boolean, options->>'cursor',
                                                     coalesce((options->'limit')::bigint, 100));
        WHEN 'claims' THEN
            PERFORM millrace.check_members(options, 'limit integer');
            IF NOT coalesce((options->'limit')::bigint, 100) BETWEEN 1 AND 1000 THEN
                RAISE EXCEPTION 'options.limit % is out of range', options->'limit' USING ERRCODE = 'MR009', HINT = 'It is 1 to 1000.';
            END IF;
            result := millrace.json_consumer_claims(namespace, consumer, coalesce((options->'limit')::bigint, 100));
        WHEN 'unpark' THEN
            PERFORM millrace.check_members(options, 'stream string', 'limit integer');
            IF (options->'limit')::bigint < 0 THEN
                RAISE EXCEPTION 'options.limit % is out of range', options->'limit' USING ERRCODE = 'MR009';
            END IF;
            result := jsonb_build_object('unparked', millrace.consumer_unpark(consumer, options->>'stream', (options->'limit')::bigint,
                                                                              namespace));
        WHEN 'skip' THEN
            PERFORM millrace.check_members(options, 'stream string', 'position integer'),
                millrace.consumer_skip(consumer, options->>'stream', (options->'position')::bigint, namespace);
            result := jsonb_build_object('stream', options->'stream', 'skipped', options->'position');
        WHEN 'reset' THEN
            PERFORM millrace.check_members(options, 'position any', 'keepParked boolean');
            PERFORM millrace.consumer_reset(consumer, millrace.consumer_start(namespace, options->'position'),
                                            (options->'keepParked')::boolean, namespace);
            result := jsonb_build_object('consumer', consumer);
        WHEN 'pause', 'resume' THEN
            PERFORM millrace.check_members(options), millrace.consumer_set_state(consumer, method = 'resume', namespace);
            result := jsonb_build_object('state', CASE method WHEN 'pause' THEN 'paused' ELSE 'running' END);
    END CASE;
    RETURN result::text;
END $$;
COMMENT ON FUNCTION millrace.json_consumer(text, text, text, jsonb) IS 'internal: the methods consumer.* of the HTTP side';

-- ---- tokens -----------------------------------------------------------------------------------------

-- Beside the first token of a namespace, whose hash stands in the registry.  A token that was revoked stays for
-- a while, so that its holder is told.
CREATE TABLE millrace.tokens (
    namespace text COLLATE "C" NOT NULL REFERENCES millrace.namespaces ON UPDATE CASCADE ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    token_hash text NOT NULL UNIQUE,
    rights text[] NOT NULL,
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz,
    PRIMARY KEY (namespace, name),
    CONSTRAINT tokens_rights CHECK (rights <@ ARRAY['read', 'append', 'remove', 'administer'] AND rights <> '{}')
);
COMMENT ON TABLE millrace.tokens IS 'tokens with rights, a name and an expiry; dumped with the database';
SELECT pg_catalog.pg_extension_config_dump('millrace.tokens', '');
GRANT SELECT (namespace, name, rights, expires_at, created_at, revoked_at) ON millrace.tokens TO PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON millrace.tokens TO pg_database_owner;

CREATE FUNCTION millrace.check_token_name(name text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF name IS NULL THEN
        RAISE EXCEPTION 'the name of a token must not be NULL' USING ERRCODE = 'MR005';
    ELSIF name = '' THEN
        RAISE EXCEPTION 'the name of a token must not be empty' USING ERRCODE = 'MR006';
    ELSIF octet_length(name) > 200 THEN
        RAISE EXCEPTION 'the name of a token is too long: % bytes, at most 200 are allowed', octet_length(name)
            USING ERRCODE = 'MR007';
    END IF;
END $$;

-- Each once, in the order in which they are listed.
CREATE FUNCTION millrace.check_rights(rights text[]) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known CONSTANT text[] := ARRAY['read', 'append', 'remove', 'administer'];
    unknown text;
BEGIN
    IF rights IS NULL OR EXISTS (SELECT FROM unnest(rights) r WHERE r IS NULL) THEN
        RAISE EXCEPTION 'the rights of a token must not be NULL' USING ERRCODE = 'MR005';
    END IF;
    SELECT r INTO unknown FROM unnest(rights) r WHERE r <> ALL (known) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'right "%" is not known', left(unknown, 80)
            USING ERRCODE = 'MR009', HINT = 'Rights are read, append, remove and administer.';
    ELSIF rights = '{}' THEN
        RAISE EXCEPTION 'a token without rights is of no use'
            USING ERRCODE = 'MR009', HINT = 'Rights are read, append, remove and administer.';
    END IF;
    RETURN ARRAY(SELECT k FROM unnest(known) WITH ORDINALITY AS u(k, n) WHERE k = ANY (rights) ORDER BY n);
END $$;

CREATE FUNCTION millrace.create_token(name text, rights text[], token_hash text, expires_at timestamptz DEFAULT NULL,
                                      namespace text DEFAULT NULL) RETURNS timestamptz
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    owner text := coalesce(namespace, millrace.selected_namespace());
    checked text[] := millrace.check_rights(rights);
    created timestamptz;
BEGIN
    PERFORM millrace.find_namespace(owner), millrace.check_token_name(name), millrace.check_token_hash(token_hash),
        millrace.check_open(owner, 'millrace.tokens');
    IF token_hash IS NULL THEN
        RAISE EXCEPTION 'token_hash must not be NULL' USING ERRCODE = 'MR005';
    ELSIF expires_at <= clock_timestamp() THEN
        RAISE EXCEPTION 'the token would have expired at %, which is in the past', expires_at USING ERRCODE = 'MR009';
    ELSIF expires_at >= timestamptz '10000-01-01 00:00:00Z' THEN
        RAISE EXCEPTION 'expires_at % is out of range', expires_at
            USING ERRCODE = 'MR009', HINT = 'A token without expires_at does not expire.';
    END IF;
    DELETE FROM millrace.tokens t WHERE t.namespace = owner AND t.revoked_at IS NOT NULL
        AND (t.name = create_token.name OR t.revoked_at < clock_timestamp() - interval '30 days'
             OR (SELECT count(*) >= 1000 FROM millrace.tokens c WHERE c.namespace = owner));
    IF (SELECT count(*) >= 1000 FROM millrace.tokens t WHERE t.namespace = owner) THEN
        RAISE EXCEPTION 'namespace "%" has 1000 tokens already', owner
            USING ERRCODE = 'MR009', HINT = 'millrace.revoke_token() makes room.';
    ELSIF EXISTS (SELECT FROM millrace.namespaces n WHERE n.token_hash = create_token.token_hash) THEN
        RAISE EXCEPTION 'the token is the first one of its namespace' USING ERRCODE = 'MR025';
    ELSIF create_token.name = 'first' THEN
        RAISE EXCEPTION 'token "first" of namespace "%" is the one that came with it', owner USING ERRCODE = 'MR025';
    END IF;
    INSERT INTO millrace.tokens AS t (namespace, name, token_hash, rights, expires_at)
        VALUES (owner, create_token.name, create_token.token_hash, checked, create_token.expires_at)
        ON CONFLICT DO NOTHING
        RETURNING t.created_at INTO created;
    IF created IS NULL AND EXISTS (SELECT FROM millrace.tokens t WHERE t.namespace = owner AND t.name = create_token.name) THEN
        RAISE EXCEPTION 'token "%" of namespace "%" exists already', name, owner USING ERRCODE = 'MR025';
    ELSIF created IS NULL THEN
        RAISE EXCEPTION 'the token is there already, by another name' USING ERRCODE = 'MR025';
    END IF;
    RETURN created;
END $$;
COMMENT ON FUNCTION millrace.create_token(text, text[], text, timestamptz, text) IS
    'lets one more token open a namespace over HTTP, by the lowercase hex SHA-256 of it; returns when. MR025 when its name or it is taken; MR003, MR005, MR006, MR007, MR009 for bad arguments';

CREATE FUNCTION millrace.revoke_token(name text, namespace text DEFAULT NULL) RETURNS timestamptz
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    owner text := coalesce(namespace, millrace.selected_namespace());
    revoked timestamptz := clock_timestamp();
BEGIN
    PERFORM millrace.find_namespace(owner), millrace.check_token_name(name);
    IF revoke_token.name = 'first' THEN
        UPDATE millrace.namespaces n SET token_hash = NULL WHERE n.name = owner AND n.token_hash IS NOT NULL AND n.state = 'open';
    ELSE
        PERFORM millrace.check_open(owner, 'millrace.tokens');
        UPDATE millrace.tokens t SET revoked_at = coalesce(t.revoked_at, revoked)
            WHERE t.namespace = owner AND t.name = revoke_token.name
            RETURNING t.revoked_at INTO revoked;
    END IF;
    IF NOT FOUND THEN
        PERFORM millrace.check_open(owner);
        RAISE EXCEPTION 'token "%" of namespace "%" does not exist', name, owner USING ERRCODE = 'MR026';
    END IF;
    RETURN revoked;
END $$;
COMMENT ON FUNCTION millrace.revoke_token(text, text) IS
    'lets a token open its namespace no more; returns since when, also of one that was revoked before. MR026 when there is none';

CREATE FUNCTION millrace.list_tokens(namespace text DEFAULT NULL)
    RETURNS TABLE (name text, rights text[], expires_at timestamptz, created_at timestamptz)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    owner text := coalesce(namespace, millrace.selected_namespace());
BEGIN
    PERFORM millrace.find_namespace(owner);
    RETURN QUERY SELECT 'first', millrace.first_rights(owner), NULL::timestamptz, NULL::timestamptz
        FROM millrace.namespaces n WHERE n.name = owner AND n.token_hash IS NOT NULL;
    RETURN QUERY SELECT t.name, t.rights, t.expires_at, t.created_at
        FROM millrace.tokens t WHERE t.namespace = owner AND t.revoked_at IS NULL ORDER BY t.created_at, t.name;
END $$;
COMMENT ON FUNCTION millrace.list_tokens(text) IS
    'the tokens of a namespace that were not revoked, in the order of their creation; first is the one that came with it. MR003 when there is no such namespace';

CREATE FUNCTION millrace.first_rights(namespace text) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE namespace WHEN 'default' THEN ARRAY['read', 'append', 'remove', 'administer'] ELSE ARRAY['read', 'append'] END
$$;
COMMENT ON FUNCTION millrace.first_rights(text) IS 'internal: what the first token of a namespace may do';

CREATE FUNCTION millrace.token_rights(token_hash text, namespace text, OUT rights text[], OUT expires_at timestamptz, OUT refusal text,
                                      OUT state text, OUT epoch bigint, OUT moved_to text)
    RETURNS SETOF record
    LANGUAGE sql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
    SELECT millrace.first_rights(n.name), NULL::timestamptz, NULL::text, n.state, n.epoch, n.moved_to
        FROM millrace.namespaces n WHERE n.name = token_rights.namespace AND n.token_hash = token_rights.token_hash
    UNION ALL
    SELECT t.rights, t.expires_at,
           CASE WHEN t.revoked_at IS NOT NULL THEN 'the token was revoked at ' || millrace.json_time(t.revoked_at)
                WHEN t.expires_at <= clock_timestamp() THEN 'the token expired at ' || millrace.json_time(t.expires_at) END,
           n.state, n.epoch, n.moved_to
        FROM millrace.tokens t JOIN millrace.namespaces n ON n.name = t.namespace WHERE t.namespace = token_rights.namespace AND t.token_hash = token_rights.token_hash
    LIMIT 1
$$;
COMMENT ON FUNCTION millrace.token_rights(text, text) IS
    'what a token may do in a namespace, until when, and why it may not any more, and whether the namespace is here; no row: it does not open it';

CREATE FUNCTION millrace.json_token_time(value timestamptz) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce('"' || millrace.json_time(value) || '"', 'null')
$$;

CREATE FUNCTION millrace.json_create_token(namespace text, name text, rights text[], token_hash text, expires_at timestamptz)
    RETURNS text LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('{"namespace":%s,"name":%s,"rights":%s,"expiresAt":%s,"createdAt":%s}', to_json(namespace), to_json(name),
                  array_to_json(millrace.check_rights(rights)), millrace.json_token_time(expires_at),
                  millrace.json_token_time(millrace.create_token(name, rights, token_hash, expires_at, namespace)))
$$;

CREATE FUNCTION millrace.json_list_tokens(namespace text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('[%s]', string_agg(format('{"name":%s,"rights":%s,"expiresAt":%s,"expired":%s,"createdAt":%s}', to_json(name),
                  array_to_json(rights), millrace.json_token_time(expires_at),
                  to_json(coalesce(expires_at <= clock_timestamp(), false)), millrace.json_token_time(created_at)), ','))
    FROM millrace.list_tokens(namespace)
$$;

CREATE FUNCTION millrace.json_revoke_token(namespace text, name text) RETURNS text
    LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('{"namespace":%s,"name":%s,"revokedAt":%s}', to_json(namespace), to_json(name),
                  millrace.json_token_time(millrace.revoke_token(name, namespace)))
$$;

-- What a role may do with the tokens in the registry, a server's for one, it may do with these, too.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT p.grantee::regrole AS role, bool_or(p.privilege_type = 'INSERT') AS inserts
        FROM pg_class c, LATERAL (
            SELECT * FROM aclexplode(c.relacl)
            UNION ALL SELECT l.* FROM pg_attribute a, aclexplode(a.attacl) l WHERE a.attrelid = c.oid AND a.attname = 'token_hash') p
        WHERE c.oid = 'millrace.namespaces'::regclass AND p.grantee NOT IN (0, c.relowner, 'pg_database_owner'::regrole)
        GROUP BY p.grantee HAVING bool_or(p.privilege_type = 'SELECT')
    LOOP
        EXECUTE format('GRANT SELECT%s ON millrace.tokens TO %s', CASE WHEN granted.inserts THEN ', INSERT, UPDATE, DELETE' ELSE '' END, granted.role);
    END LOOP;
END $$;

-- ---- keeping less ---------------------------------------------------------------------------------------

-- Redacting.  Where the table's owner redacts, triggers on it run under the functions' search_path.
CREATE FUNCTION millrace.redact(ids uuid[], replacement jsonb DEFAULT NULL, keep_tags boolean DEFAULT true, namespace text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'millrace_redact';
COMMENT ON FUNCTION millrace.redact(uuid[], jsonb, boolean, text) IS
    'replaces data and metadata of messages, all or none, and leaves the rest; returns how many. The data is {} without a replacement, tags may stay';

CREATE FUNCTION millrace.redact_stream(stream text, from_position bigint DEFAULT 0, to_position bigint DEFAULT NULL, replacement jsonb DEFAULT NULL,
                                       keep_tags boolean DEFAULT true, namespace text DEFAULT NULL,
                                       OUT redacted bigint, OUT next_position bigint) RETURNS record
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    page_of uuid[];
    read bigint;
    last_of bigint;
BEGIN
    IF from_position > to_position THEN
        RAISE EXCEPTION 'from_position % is above to_position %', from_position, to_position USING ERRCODE = 'MR009';
    END IF;
    SELECT coalesce(array_agg(m.id) FILTER (WHERE m."position" <= coalesce(to_position, m."position")), '{}'), count(*), max(m."position")
        INTO page_of, read, last_of
        FROM millrace.read_stream(stream, coalesce(from_position, 0), 1000, namespace => namespace) m;
    redacted := millrace.redact(page_of, replacement, keep_tags, namespace);
    IF read = 1000 AND last_of < coalesce(to_position, 9223372036854775807) THEN
        next_position := last_of + 1;
    END IF;
END $$;
COMMENT ON FUNCTION millrace.redact_stream(text, bigint, bigint, jsonb, boolean, text) IS
    'redacts a stream''s messages from a position to one, at most 1000; next_position is where to go on, NULL: all are';

CREATE FUNCTION millrace.redact_tagged(tag text, "position" bigint DEFAULT 1, replacement jsonb DEFAULT NULL, keep_tags boolean DEFAULT true,
                                       namespace text DEFAULT NULL,
                                       OUT redacted bigint, OUT next_position bigint, OUT head bigint) RETURNS record
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    query jsonb := jsonb_build_object('items', jsonb_build_array(jsonb_build_object('tags', jsonb_build_array(tag))));
    page_of uuid[];
    last_of bigint;
BEGIN
    IF tag IS NULL THEN
        RAISE EXCEPTION 'tag must not be NULL' USING ERRCODE = 'MR005';
    END IF;
    head := millrace.query_head(query, namespace); -- before the read, which then is complete up to it
    SELECT coalesce(array_agg(m.id), '{}'), max(m.global_position) INTO page_of, last_of
        FROM millrace.read_query(query, "position", 1000, namespace => namespace) m;
    redacted := millrace.redact(page_of, replacement, keep_tags, namespace);
    IF cardinality(page_of) = 1000 THEN
        next_position := last_of + 1;
        head := last_of;
    END IF;
END $$;
COMMENT ON FUNCTION millrace.redact_tagged(text, bigint, jsonb, boolean, text) IS
    'redacts the messages with a tag from a global position on, at most 1000; next_position is where to go on, NULL: all are, up to head';

-- What the method message.redact answers: `which` is an object with ids, a stream or a tag; options are one, too.
CREATE FUNCTION millrace.json_redact(namespace text, which jsonb, options jsonb) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kind text := (SELECT min(k) FROM jsonb_object_keys(which) k WHERE k IN ('ids', 'stream', 'tag') HAVING count(*) = 1);
    known text[] := CASE kind WHEN 'ids' THEN '{ids array}'::text[] WHEN 'stream' THEN '{stream string,from integer,to integer}'
                              WHEN 'tag' THEN '{tag string,position integer}' END;
    replacement jsonb := options->'replacement';
    keep_tags boolean;
    done record;
BEGIN
    IF namespace IS NULL OR which IS NULL THEN
        RAISE EXCEPTION '% must not be NULL', CASE WHEN namespace IS NULL THEN 'namespace' ELSE 'which' END USING ERRCODE = 'MR005';
    ELSIF kind IS NULL THEN
        RAISE EXCEPTION 'which must have ids, stream or tag, one of them' USING ERRCODE = 'MR009';
    END IF;
    PERFORM millrace.check_object('which', which, VARIADIC known);
    PERFORM millrace.check_members(options, 'replacement object', 'keepTags boolean');
    IF EXISTS (SELECT FROM jsonb_array_elements(which->'ids') i WHERE jsonb_typeof(i) <> 'string') THEN
        RAISE EXCEPTION 'which.ids must be an array of UUIDs' USING ERRCODE = 'MR009';
    END IF;
    keep_tags := coalesce((options->>'keepTags')::boolean, true);
    IF kind = 'ids' THEN
        RETURN jsonb_build_object('redacted', millrace.redact(ARRAY(SELECT jsonb_array_elements_text(which->'ids')::uuid),
                                                              replacement, keep_tags, namespace));
    ELSIF (which->'from')::bigint > (which->'to')::bigint THEN
        RAISE EXCEPTION 'which.from % is above which.to %', which->'from', which->'to' USING ERRCODE = 'MR009';
    ELSIF kind = 'stream' THEN
        done := millrace.redact_stream(which->>'stream', (which->>'from')::bigint, (which->>'to')::bigint, replacement, keep_tags, namespace);
        RETURN jsonb_build_object('redacted', done.redacted, 'next', done.next_position);
    END IF;
    done := millrace.redact_tagged(which->>'tag', coalesce((which->>'position')::bigint, 1), replacement, keep_tags, namespace);
    RETURN jsonb_build_object('redacted', done.redacted, 'next', done.next_position, 'head', done.head);
END $$;
COMMENT ON FUNCTION millrace.json_redact(text, jsonb, jsonb) IS 'internal: what message.redact answers';

-- -- what was removed

CREATE TABLE millrace.removals (
    id bigint GENERATED ALWAYS AS IDENTITY, -- it stays what it is when the namespace moves
    namespace text COLLATE "C" NOT NULL REFERENCES millrace.namespaces ON DELETE CASCADE ON UPDATE CASCADE,
    category text COLLATE "C" NOT NULL,
    from_position bigint NOT NULL,
    to_position bigint NOT NULL,
    streams bytea[], -- of the SHA-256 of each name, the first 16 bytes; NULL: all of the category
    removed_at timestamptz NOT NULL,
    PRIMARY KEY (namespace, id)
);
CREATE INDEX removals_category ON millrace.removals (namespace, category, to_position);
CREATE INDEX removals_position ON millrace.removals (namespace, to_position);
COMMENT ON TABLE millrace.removals IS 'which messages were removed, by category and global position; dumped with the database';
SELECT pg_catalog.pg_extension_config_dump('millrace.removals', '');
SELECT pg_catalog.pg_extension_config_dump('millrace.removals_id_seq', '');
GRANT SELECT, INSERT, UPDATE, DELETE ON millrace.removals TO pg_database_owner;
GRANT SELECT, USAGE, UPDATE ON SEQUENCE millrace.removals_id_seq TO pg_database_owner; -- a dump, and its restore

-- -- truncating and removing streams

CREATE FUNCTION millrace.truncate_stream(stream text, before bigint, max_rows bigint DEFAULT 10000, namespace text DEFAULT NULL,
                                         OUT removed bigint, OUT first_position bigint, OUT more boolean) RETURNS record
    LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_truncate_stream';
COMMENT ON FUNCTION millrace.truncate_stream(text, bigint, bigint, text) IS
    'removes the messages of a stream before a position, at most max_rows; where there are more, call it again';

CREATE FUNCTION millrace.remove_stream(stream text, expected_version bigint DEFAULT NULL, forget boolean DEFAULT false,
                                       max_rows bigint DEFAULT 10000, namespace text DEFAULT NULL,
                                       OUT removed bigint, OUT more boolean) RETURNS record
    LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_remove_stream';
COMMENT ON FUNCTION millrace.remove_stream(text, bigint, boolean, bigint, text) IS
    'removes a stream, at most max_rows messages of it; where there are more, call it again. Its version stays, unless it is to be forgotten';

CREATE FUNCTION millrace.remove_messages(ids uuid[], forget boolean DEFAULT false, namespace text DEFAULT NULL) RETURNS bigint
    LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_remove_messages';
COMMENT ON FUNCTION millrace.remove_messages(uuid[], boolean, text) IS
    'internal: removes exactly these messages, the first of their streams; returns how many';

CREATE FUNCTION millrace.close_stream(stream text, expected_version bigint DEFAULT NULL, namespace text DEFAULT NULL,
                                      OUT "position" bigint, OUT global_position bigint) RETURNS record
    LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_close_stream';
COMMENT ON FUNCTION millrace.close_stream(text, bigint, text) IS
    'appends the message of type millrace.closed, behind which the stream takes no more; returns where it is';

CREATE FUNCTION millrace.reopen_stream(stream text, namespace text DEFAULT NULL,
                                       OUT "position" bigint, OUT global_position bigint) RETURNS record
    LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_reopen_stream';
COMMENT ON FUNCTION millrace.reopen_stream(text, text) IS
    'appends the message of type millrace.reopened to a closed stream, which takes messages again; for the owner of the table';

-- -- over HTTP

CREATE FUNCTION millrace.json_removal(namespace text, method text, stream text, number bigint, forget boolean, max_rows bigint) RETURNS text
    LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE method
        WHEN 'truncate' THEN (SELECT jsonb_build_object('removed', t.removed, 'firstPosition', t.first_position, 'more', t.more)
                              FROM millrace.truncate_stream(stream, number, max_rows, namespace) t)
        WHEN 'remove' THEN (SELECT jsonb_build_object('removed', r.removed, 'more', r.more)
                            FROM millrace.remove_stream(stream, number, forget, max_rows, namespace) r)
        WHEN 'close' THEN (SELECT jsonb_build_object('position', c."position", 'globalPosition', c.global_position)
                           FROM millrace.close_stream(stream, number, namespace) c)
        WHEN 'reopen' THEN (SELECT jsonb_build_object('position', o."position", 'globalPosition', o.global_position)
                            FROM millrace.reopen_stream(stream, namespace) o)
    END::text
$$;
COMMENT ON FUNCTION millrace.json_removal(text, text, text, bigint, boolean, bigint) IS
    'internal: the methods stream.truncate, stream.remove, stream.close and stream.reopen of the HTTP side; number is before or the expected version';

-- -- policies and sweeps

CREATE TABLE millrace.retention (
    namespace text COLLATE "C" NOT NULL REFERENCES millrace.namespaces ON DELETE CASCADE ON UPDATE CASCADE,
    category text COLLATE "C" NOT NULL,
    max_age interval,
    max_count bigint,
    forget boolean NOT NULL,
    hold text[] COLLATE "C" NOT NULL,
    PRIMARY KEY (namespace, category),
    CHECK (num_nonnulls(max_age, max_count) > 0)
);
COMMENT ON TABLE millrace.retention IS 'what sweeps remove; set_retention() writes it';
SELECT pg_catalog.pg_extension_config_dump('millrace.retention', '');

-- How far the sweep is that is under way, or the last one was: a row for each rule of a policy.
CREATE TABLE millrace.sweeps (
    namespace text COLLATE "C" NOT NULL,
    category text COLLATE "C" NOT NULL,
    by_age boolean NOT NULL,
    next_position bigint NOT NULL DEFAULT 0,
    left_position bigint,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- at the first message
    stepped_at timestamptz,
    ended_at timestamptz, -- NULL: it is under way
    held_by text COLLATE "C",
    held_position bigint,
    PRIMARY KEY (namespace, category, by_age),
    FOREIGN KEY (namespace, category) REFERENCES millrace.retention ON DELETE CASCADE ON UPDATE CASCADE
);
COMMENT ON TABLE millrace.sweeps IS 'internal: how far sweeps are';
GRANT SELECT, INSERT, UPDATE, DELETE ON millrace.retention, millrace.sweeps TO pg_database_owner;

CREATE FUNCTION millrace.set_retention(category text, max_age interval DEFAULT NULL, max_count bigint DEFAULT NULL,
                                       forget boolean DEFAULT false, hold text[] DEFAULT '{}', namespace text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text := coalesce(namespace, millrace.selected_namespace());
    wrong text := (SELECT h FROM unnest(hold) h WHERE h IS NULL OR h = '' OR octet_length(h) > 200 LIMIT 1);
BEGIN
    PERFORM millrace.find_namespace(name);
    IF category IS NULL THEN
        RAISE EXCEPTION 'category must not be NULL' USING ERRCODE = 'MR005';
    ELSIF category = '' THEN
        RAISE EXCEPTION 'category must not be empty' USING ERRCODE = 'MR006';
    ELSIF octet_length(category) > 2000 THEN
        RAISE EXCEPTION 'category is too long: % bytes, at most 2000 are allowed', octet_length(category) USING ERRCODE = 'MR007';
    ELSIF strpos(category, '-') > 0 THEN
        RAISE EXCEPTION 'category "%" is none: it has a "-"', category
            USING ERRCODE = 'MR009', HINT = 'What is before the first "-" of a stream is its category.';
    ELSIF max_age <= interval '0' OR max_age > interval '365250 days' THEN
        RAISE EXCEPTION 'max_age % is out of range', max_age USING ERRCODE = 'MR009', HINT = 'It is more than nothing, up to 365250 days.';
    ELSIF max_count < 1 THEN
        RAISE EXCEPTION 'max_count % is out of range', max_count
            USING ERRCODE = 'MR009', HINT = 'It is how many messages of a stream stay, at least 1.';
    ELSIF cardinality(hold) > 100 OR array_ndims(hold) > 1 THEN
        RAISE EXCEPTION 'hold has % names, at most 100 are allowed', cardinality(hold) USING ERRCODE = 'MR009';
    ELSIF array_position(hold, NULL) IS NOT NULL OR wrong IS NOT NULL THEN
        RAISE EXCEPTION 'hold has %, which is no name of a consumer', coalesce(quote_ident(left(wrong, 80)), 'NULL')
            USING ERRCODE = 'MR009', HINT = 'It is 1 to 200 bytes.';
    ELSIF num_nonnulls(max_age, max_count) = 0 AND (forget OR cardinality(hold) > 0) THEN
        RAISE EXCEPTION 'a policy has an age, a count or both' USING ERRCODE = 'MR009', HINT = 'The category alone removes its policy.';
    END IF;
    PERFORM millrace.check_open(name, 'millrace.retention');
    IF num_nonnulls(max_age, max_count) = 0 THEN
        DELETE FROM millrace.retention r WHERE r.namespace = name AND r.category = set_retention.category;
        RETURN;
    END IF;
    INSERT INTO millrace.retention (namespace, category, max_age, max_count, forget, hold)
        VALUES (name, set_retention.category, set_retention.max_age, set_retention.max_count, coalesce(set_retention.forget, false),
                coalesce(set_retention.hold, '{}'))
        ON CONFLICT ON CONSTRAINT retention_pkey DO UPDATE
            SET max_age = excluded.max_age, max_count = excluded.max_count, forget = excluded.forget, hold = excluded.hold;
    -- Another count may concern what sweeps have passed.
    DELETE FROM millrace.sweeps s WHERE s.namespace = name AND s.category = set_retention.category;
END $$;
COMMENT ON FUNCTION millrace.set_retention(text, interval, bigint, boolean, text[], text) IS
    'sets what sweeps remove of a category: what is older, all but the newest of each stream; the category alone: nothing any more';

CREATE FUNCTION millrace.retention(namespace text DEFAULT NULL, OUT category text, OUT max_age interval, OUT max_count bigint,
                                   OUT forget boolean, OUT hold text[], OUT swept_at timestamptz, OUT held_by text,
                                   OUT held_position bigint) RETURNS SETOF record
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.category, r.max_age, r.max_count, r.forget, r.hold, min(s.ended_at),
        (array_agg(s.held_by ORDER BY s.held_position))[1], min(s.held_position)
    FROM millrace.retention r LEFT JOIN millrace.sweeps s USING (namespace, category)
    WHERE r.namespace = coalesce($1, millrace.selected_namespace())
    GROUP BY r.namespace, r.category ORDER BY r.category
$$;
COMMENT ON FUNCTION millrace.retention(text) IS 'the policies of a namespace, when each was swept last, and by whom it is held';

CREATE FUNCTION millrace.lock_sweep(namespace text, wait boolean) RETURNS boolean
    LANGUAGE c STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_lock_sweep';
COMMENT ON FUNCTION millrace.lock_sweep(text, boolean) IS 'internal: lets one transaction at a time sweep a namespace';

CREATE FUNCTION millrace.sweep_category(namespace text, category text, "position" bigint, young timestamptz, keep bigint, forget boolean,
                                        forced boolean, hold text[], max_rows bigint, max_streams integer,
                                        OUT looked bigint, OUT removed bigint, OUT streams bytea[], OUT next_position bigint,
                                        OUT left_position bigint, OUT more boolean, OUT from_position bigint, OUT to_position bigint,
                                        OUT held_by text, OUT held_position bigint, OUT moved text[]) RETURNS record
    LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_sweep_category';
COMMENT ON FUNCTION millrace.sweep_category(text, text, bigint, timestamptz, bigint, boolean, boolean, text[], bigint, integer) IS
    'internal: a step of a sweep through one category, by one rule';

-- A new sweep begins where the last one of the namespace has ended.
CREATE FUNCTION millrace.begin_sweep(name text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO millrace.sweeps (namespace, category, by_age)
        SELECT r.namespace, r.category, rule.by_age FROM millrace.retention r CROSS JOIN (VALUES (true), (false)) rule (by_age)
        WHERE r.namespace = name AND CASE WHEN rule.by_age THEN r.max_age IS NOT NULL ELSE r.max_count IS NOT NULL END
            AND NOT EXISTS (SELECT FROM millrace.sweeps s WHERE (s.namespace, s.category, s.by_age) = (r.namespace, r.category, rule.by_age));
    IF EXISTS (SELECT FROM millrace.sweeps s WHERE s.namespace = name AND s.ended_at IS NULL) THEN
        RETURN;
    END IF;
    -- What an import has put below is met when one begins at the first message, once a day.
    UPDATE millrace.sweeps s SET ended_at = NULL,
            next_position = CASE WHEN begun_at < clock_timestamp() - interval '1 day' THEN 0 ELSE next_position END,
            begun_at = CASE WHEN begun_at < clock_timestamp() - interval '1 day' THEN clock_timestamp() ELSE begun_at END
        WHERE s.ctid = ANY (ARRAY(SELECT f.ctid FROM millrace.sweeps f WHERE f.namespace = name FOR UPDATE SKIP LOCKED));
END $$;
COMMENT ON FUNCTION millrace.begin_sweep(text) IS 'internal: makes rows of sweeps for all rules that have none';

CREATE FUNCTION millrace.sweep_step(namespace text, max_rows bigint, forced boolean, wait boolean,
                                    OUT removed bigint, OUT streams bigint, OUT more boolean, OUT held_by text, OUT held_position bigint,
                                    OUT moved text[]) RETURNS record
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    rule record;
    step record;
    rows_left bigint := max_rows;
    swept bytea[] := '{}'; -- streams; one twice of which both rules of its policy took
BEGIN
    removed := 0;
    streams := 0;
    more := false;
    moved := '{}';
    IF NOT millrace.lock_sweep(namespace, wait) THEN
        more := NULL;
        RETURN;
    END IF;
    PERFORM millrace.begin_sweep(namespace);
    FOR rule IN
        SELECT s.category, s.by_age, s.next_position, s.left_position, r.forget, r.hold, r.max_count,
            CASE WHEN s.by_age THEN clock_timestamp() - r.max_age END AS young
        FROM millrace.sweeps s JOIN millrace.retention r USING (namespace, category)
        WHERE s.namespace = sweep_step.namespace AND s.ended_at IS NULL AND CASE WHEN s.by_age THEN r.max_age IS NOT NULL ELSE r.max_count IS NOT NULL END
        ORDER BY s.stepped_at NULLS FIRST, s.category, s.by_age
        FOR UPDATE OF s SKIP LOCKED
    LOOP
        IF rows_left <= 0 OR cardinality(swept) >= 500 THEN
            more := true;
            EXIT;
        END IF;
        step := millrace.sweep_category(namespace, rule.category, rule.next_position, rule.young, rule.max_count, rule.forget, forced,
                                        rule.hold, rows_left, 500 - cardinality(swept));
        UPDATE millrace.sweeps s
            SET next_position = CASE WHEN step.more THEN step.next_position
                                     ELSE least(step.next_position, step.left_position, rule.left_position) END,
                left_position = CASE WHEN step.more THEN least(step.left_position, rule.left_position) END,
                stepped_at = clock_timestamp(), ended_at = CASE WHEN NOT step.more THEN clock_timestamp() END,
                held_by = step.held_by, held_position = step.held_position
            WHERE s.namespace = sweep_step.namespace AND s.category = rule.category AND s.by_age = rule.by_age;
        rows_left := rows_left - step.looked;
        removed := removed + step.removed;
        swept := swept || step.streams;
        more := more OR step.more;
        moved := moved || step.moved;
        IF step.held_by IS NOT NULL AND (held_by IS NULL OR step.held_position < held_position) THEN
            held_by := step.held_by;
            held_position := step.held_position;
        END IF;
        IF step.removed > 0 AND has_table_privilege('millrace.removals', 'DELETE') AND has_table_privilege('millrace.removals', 'UPDATE') THEN
            PERFORM millrace.fold_removals(namespace, rule.category);
        END IF;
    END LOOP;
    streams := (SELECT count(DISTINCT s) FROM unnest(swept) s);
END $$;
COMMENT ON FUNCTION millrace.sweep_step(text, bigint, boolean, boolean) IS
    'internal: sweep(); without waiting more is NULL where another transaction is at it';

CREATE FUNCTION millrace.sweep(namespace text DEFAULT NULL, max_rows bigint DEFAULT 10000, forced boolean DEFAULT false,
                               OUT removed bigint, OUT streams bigint, OUT more boolean, OUT held_by text, OUT held_position bigint,
                               OUT moved text[]) RETURNS record
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    step record;
BEGIN
    IF max_rows IS NULL OR max_rows NOT BETWEEN 1 AND 1000000 THEN
        RAISE EXCEPTION 'max_rows % is out of range', coalesce(max_rows::text, 'NULL') USING ERRCODE = 'MR009', HINT = 'It is 1 to 1000000.';
    END IF;
    step := millrace.sweep_step(coalesce(namespace, millrace.selected_namespace()), max_rows, coalesce(forced, false), true);
    removed := step.removed;
    streams := step.streams;
    more := step.more;
    held_by := step.held_by;
    held_position := step.held_position;
    moved := step.moved;
    IF held_by IS NOT NULL AND removed = 0 AND NOT more THEN
        RAISE EXCEPTION 'consumer "%" holds the messages above global position %', held_by, held_position
            USING ERRCODE = 'MR023', DETAIL = jsonb_build_object('by', held_by, 'position', held_position),
                  HINT = 'It has not dealt with them, or is not there; forced => true removes them all the same.';
    END IF;
END $$;
COMMENT ON FUNCTION millrace.sweep(text, bigint, boolean) IS
    'a step of removing what the policies of a namespace no longer want; with more: call again. MR023 when a consumer holds all of it';

-- Few rows are kept: what is told of more than it was is looked at once too often, and nothing is passed over.
CREATE FUNCTION millrace.fold_removals(namespace text, category text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    folded record;
BEGIN
    SELECT max(r.id) AS id, min(r.from_position) AS from_position, max(r.to_position) AS to_position, count(*) AS count INTO folded
        FROM millrace.removals r WHERE r.namespace = fold_removals.namespace AND r.category = fold_removals.category;
    IF folded.count < 100 THEN
        RETURN;
    END IF;
    DELETE FROM millrace.removals r
        WHERE r.namespace = fold_removals.namespace AND r.category = fold_removals.category AND r.id < folded.id;
    UPDATE millrace.removals r SET from_position = folded.from_position, to_position = folded.to_position, streams = NULL
        WHERE r.namespace = fold_removals.namespace AND r.id = folded.id;
END $$;
COMMENT ON FUNCTION millrace.fold_removals(text, text) IS 'internal: makes one row of the removals of a category where there are many';

-- -- what was removed, for readers

CREATE FUNCTION millrace.await_disk() RETURNS boolean
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_await_disk';
COMMENT ON FUNCTION millrace.await_disk() IS 'internal: waits until what is seen is on disk';

CREATE FUNCTION millrace.removals(namespace text DEFAULT NULL, "position" bigint DEFAULT NULL,
                                  OUT id bigint, OUT category text, OUT from_position bigint, OUT to_position bigint, OUT streams bigint,
                                  OUT removed_at timestamptz) RETURNS SETOF record
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.id, r.category, r.from_position, r.to_position, cardinality(r.streams), r.removed_at
    FROM millrace.removals r
    WHERE r.namespace = coalesce($1, millrace.selected_namespace()) AND ($2 IS NULL OR r.to_position >= $2)
        AND (SELECT millrace.await_disk()) ORDER BY r.id
$$;
COMMENT ON FUNCTION millrace.removals(text, bigint) IS
    'what was removed at or above a global position, and of how many streams; NULL: of any stream of the category';

CREATE FUNCTION millrace.check_removals(stream text DEFAULT NULL, category text DEFAULT NULL, "position" bigint DEFAULT NULL,
                                        removals_seen bigint DEFAULT NULL, namespace text DEFAULT NULL, global_position bigint DEFAULT NULL)
    RETURNS void
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'millrace_check_removals';
COMMENT ON FUNCTION millrace.check_removals(text, text, bigint, bigint, text, bigint) IS
    'in the WHERE of a read: MR022 when it would miss messages that were removed';

-- What the methods ns.setRetention, .retention, .sweep and .removals answer; options is an object.
CREATE FUNCTION millrace.json_retention(namespace text, method text, category text, options jsonb) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result jsonb;
BEGIN
    CASE method
        WHEN 'setRetention' THEN
            PERFORM millrace.check_members(options, 'maxAgeMs integer', 'maxCount integer', 'forget boolean', 'hold array');
            IF EXISTS (SELECT FROM jsonb_array_elements(options->'hold') h WHERE jsonb_typeof(h) <> 'string') THEN
                RAISE EXCEPTION 'options.hold must be an array of strings' USING ERRCODE = 'MR009';
            ELSIF (options->'maxAgeMs')::numeric NOT BETWEEN 1 AND 31557600000000 THEN
                RAISE EXCEPTION 'options.maxAgeMs % is out of range', options->'maxAgeMs'
                    USING ERRCODE = 'MR009', HINT = 'It is 1 to 31557600000000.';
            ELSIF (options->'maxCount')::numeric < 1 THEN
                RAISE EXCEPTION 'options.maxCount % is out of range', options->'maxCount' USING ERRCODE = 'MR009';
            END IF;
            PERFORM millrace.set_retention(category, make_interval(secs => (options->'maxAgeMs')::float8 / 1000), (options->'maxCount')::bigint,
                (options->'forget')::boolean, ARRAY(SELECT jsonb_array_elements_text(options->'hold')), namespace);
            result := jsonb_build_object('namespace', namespace, 'category', category);
        WHEN 'retention' THEN
            PERFORM millrace.check_members(options), millrace.find_namespace(namespace);
            result := (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('category', r.category,
                    'maxAgeMs', floor(extract(epoch FROM r.max_age) * 1000)::bigint, 'maxCount', r.max_count, 'forget', r.forget, 'hold', r.hold,
                    'sweptAt', millrace.json_time(r.swept_at), 'heldBy', r.held_by, 'heldPosition', r.held_position)))
                FROM millrace.retention(namespace) r);
        WHEN 'sweep' THEN
            PERFORM millrace.check_members(options, 'maxRows integer', 'forced boolean'), millrace.find_namespace(namespace);
            IF (options->'maxRows')::numeric NOT BETWEEN 1 AND 1000000 THEN
                RAISE EXCEPTION 'options.maxRows % is out of range', options->'maxRows' USING ERRCODE = 'MR009', HINT = 'It is 1 to 1000000.';
            END IF;
            result := (SELECT jsonb_strip_nulls(jsonb_build_object('removed', s.removed, 'streams', s.streams, 'more', s.more,
                    'heldBy', s.held_by, 'heldPosition', s.held_position, 'moved', nullif(s.moved, '{}')))
                FROM millrace.sweep(namespace, coalesce((options->'maxRows')::bigint, 10000), (options->'forced')::boolean) s);
        WHEN 'removals' THEN
            PERFORM millrace.check_members(options, 'position integer'), millrace.find_namespace(namespace);
            result := (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('id', r.id, 'category', r.category, 'from', r.from_position,
                    'to', r.to_position, 'streams', r.streams, 'removedAt', millrace.json_time(r.removed_at))) ORDER BY r.id)
                FROM (SELECT * FROM millrace.removals(namespace, (options->'position')::bigint) ORDER BY id DESC LIMIT 1000) r);
    END CASE;
    RETURN coalesce(result, '[]')::text;
END $$;
COMMENT ON FUNCTION millrace.json_retention(text, text, text, jsonb) IS 'internal: the methods of retention of the HTTP side';

-- Where a server has to sweep: what nobody has swept for so long, or has left in the middle.
CREATE FUNCTION millrace.sweeps_due(interval_ms bigint) RETURNS SETOF text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.namespace FROM millrace.retention r JOIN millrace.namespaces n ON n.name = r.namespace AND n.state = 'open'
        LEFT JOIN millrace.sweeps s USING (namespace, category)
    GROUP BY r.namespace
    HAVING bool_or(s.by_age IS NULL) OR CASE WHEN bool_or(s.ended_at IS NULL)
        THEN max(s.stepped_at) IS NULL OR max(s.stepped_at) NOT BETWEEN clock_timestamp() - interval '10 s' AND clock_timestamp()
        ELSE min(s.ended_at) NOT BETWEEN clock_timestamp() - interval_ms * interval '1 ms' AND clock_timestamp() END
    ORDER BY r.namespace
$$;
COMMENT ON FUNCTION millrace.sweeps_due(bigint) IS 'internal: the namespaces that a server is to sweep';

-- -- archives

CREATE FUNCTION millrace.remove_archived(ids uuid[], digests bytea[], forced boolean DEFAULT false, namespace text DEFAULT NULL,
                                         OUT removed bigint, OUT missing bigint) RETURNS record
    LANGUAGE c PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_remove_archived';
COMMENT ON FUNCTION millrace.remove_archived(uuid[], bytea[], boolean, text) IS
    'internal: removes messages, the first of their streams, each if it is there and its line in an export has this SHA-256';

CREATE FUNCTION millrace.json_remove_archived(namespace text, messages jsonb, forced boolean) RETURNS text
    LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('{"removed":%s,"missing":%s}', removed, missing)
    FROM millrace.remove_archived(ARRAY(SELECT (m ->> 'id')::uuid FROM jsonb_array_elements(messages) WITH ORDINALITY AS e (m, n) ORDER BY n),
                                  ARRAY(SELECT decode(m ->> 'sha256', 'hex') FROM jsonb_array_elements(messages) WITH ORDINALITY AS e (m, n) ORDER BY n),
                                  forced, json_remove_archived.namespace)
$$;
COMMENT ON FUNCTION millrace.json_remove_archived(text, jsonb, boolean) IS 'internal: messages.remove';

-- -- purging

-- The tables of a namespace that are ours, whoever else has put some into its schema.
CREATE FUNCTION millrace.purged_tables(schema text) RETURNS SETOF regclass
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.oid::regclass FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid
    WHERE n.nspname = purged_tables.schema AND c.relkind = 'r' AND c.relname IN ('messages', 'stream_floors', 'removed_ids', 'consumers',
        'consumer_streams', 'consumer_skipped', 'consumer_claims')
    ORDER BY c.relname <> 'messages', c.relname
$$;
COMMENT ON FUNCTION millrace.purged_tables(text) IS 'internal: the tables of a namespace';

CREATE FUNCTION millrace.dead_rows("table" regclass) RETURNS bigint
    LANGUAGE c STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'millrace_dead_rows';
COMMENT ON FUNCTION millrace.dead_rows(regclass) IS 'internal: the removed rows of a table that VACUUM has left';

CREATE FUNCTION millrace.purge_statements(namespace text DEFAULT NULL, "full" boolean DEFAULT false) RETURNS SETOF text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    schema text := millrace.find_namespace(coalesce(namespace, millrace.selected_namespace()));
    superuser boolean := current_setting('is_superuser') = 'on';
    tables regclass[] := ARRAY(SELECT millrace.purged_tables(schema));
    stranger regclass := (SELECT t FROM unnest(tables) t JOIN pg_class c ON c.oid = t WHERE NOT pg_has_role(c.relowner, 'USAGE') LIMIT 1);
BEGIN
    IF stranger IS NOT NULL THEN
        RAISE EXCEPTION 'must be owner of table %', stranger USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF "full" THEN
        RETURN QUERY SELECT millrace.statistics_statements(schema);
    END IF;
    IF "full" AND superuser THEN
        RETURN NEXT format('DELETE FROM pg_catalog.pg_statistic WHERE starelid IN (SELECT %1$s UNION ALL SELECT indexrelid FROM pg_catalog.pg_index WHERE indrelid IN (SELECT %1$s))',
                           format('unnest(%L::oid[])', tables::oid[]));
    END IF;
    IF "full" THEN
        RETURN QUERY SELECT format('VACUUM (FULL) %s', t) FROM unnest(tables) t;
        IF superuser THEN
            RETURN NEXT 'VACUUM (FULL) pg_catalog.pg_statistic';
        END IF;
    END IF;
    RETURN QUERY SELECT format('VACUUM (INDEX_CLEANUP ON) %s', t) FROM unnest(tables) t;
    IF "full" AND superuser THEN
        IF current_setting('wal_recycle') = 'on' THEN
            RETURN NEXT 'ALTER SYSTEM SET wal_recycle = off';
            RETURN NEXT 'SELECT pg_catalog.pg_reload_conf()';
        END IF;
        -- Files that wait to be used again, and have the WAL of before, are gone through.
        RETURN NEXT 'SELECT pg_catalog.pg_logical_emit_message(false, ''millrace'', ''purge''), pg_catalog.pg_switch_wal() '
            'FROM pg_catalog.generate_series(0, (SELECT count(*) FROM pg_catalog.pg_ls_waldir() '
            'WHERE name COLLATE "C" > pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) AND name ~ ''^[0-9A-F]{24}$''))';
        RETURN NEXT 'CHECKPOINT';
        IF current_setting('wal_recycle') = 'on' THEN
            RETURN NEXT 'ALTER SYSTEM RESET wal_recycle';
            RETURN NEXT 'SELECT pg_catalog.pg_reload_conf()';
        END IF;
    END IF;
END $$;
COMMENT ON FUNCTION millrace.purge_statements(text, boolean) IS
    'the statements, each to be run by itself, that free what removed messages have left on disk; full: which nobody can use the namespace meanwhile for';

CREATE FUNCTION millrace.purge_left(namespace text DEFAULT NULL, "full" boolean DEFAULT false) RETURNS SETOF text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    schema text := millrace.find_namespace(coalesce(namespace, millrace.selected_namespace()));
    superuser boolean := current_setting('is_superuser') = 'on';
    dead bigint := (SELECT sum(millrace.dead_rows(t)) FROM millrace.purged_tables(schema) t);
BEGIN
    IF dead > 0 THEN
        RETURN NEXT format('%s rows of schema %I that others may still see, or that came since', dead, schema);
        RETURN QUERY SELECT format('held by session %s of role %s, since %s: end its transaction', pid, usename, xact_start)
            FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid() AND datname = current_database() ORDER BY xact_start;
        RETURN QUERY SELECT format('held by prepared transaction %L, since %s: end it', gid, prepared) FROM pg_prepared_xacts ORDER BY prepared;
        RETURN QUERY SELECT format('held by standby %s, for its queries', application_name) FROM pg_stat_replication WHERE backend_xmin IS NOT NULL;
        RETURN QUERY SELECT format('held by replication slot %I', slot_name) FROM pg_replication_slots WHERE xmin IS NOT NULL;
    END IF;
    IF NOT "full" THEN
        RETURN NEXT format('bytes in free space of the tables in schema %I, and names of streams in their indexes, until they are written over', schema);
    END IF;
    IF NOT "full" OR NOT superuser THEN
        RETURN NEXT 'values in the statistics of the planner (pg_statistic), if ANALYZE has taken them';
        RETURN NEXT 'the write-ahead log, in pg_wal, until it is written over';
    END IF;
    RETURN QUERY SELECT format('the write-ahead log that replication slot %I keeps', slot_name) FROM pg_replication_slots WHERE restart_lsn IS NOT NULL;
    IF current_setting('archive_mode') <> 'off' THEN
        RETURN NEXT 'the write-ahead log that was archived (archive_mode)';
    END IF;
    RETURN NEXT 'backups, dumps, exports and archives, and blocks of the file system that were freed';
END $$;
COMMENT ON FUNCTION millrace.purge_left(text, boolean) IS
    'what is left of removed messages after purge_statements(), and where, a line each';

-- ---- moving to another server -----------------------------------------------------------------------

CREATE FUNCTION millrace.fence() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'millrace_fence';
COMMENT ON FUNCTION millrace.fence() IS 'internal: refuses statements that would change a namespace which is not open';

CREATE FUNCTION millrace.set_fence(name text, schema text, up boolean) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fenced regclass;
BEGIN
    PERFORM millrace.check_messages(schema);
    FOREACH fenced IN ARRAY ARRAY[to_regclass(format('%I.messages', schema)), to_regclass(format('%I.consumers', schema))] LOOP
        IF EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = fenced AND t.tgname = 'millrace_fence') THEN
            EXECUTE format('ALTER TABLE %s %s TRIGGER millrace_fence', fenced, CASE WHEN up THEN 'ENABLE' ELSE 'DISABLE' END);
        ELSIF up AND fenced IS NOT NULL THEN
            EXECUTE format('CREATE TRIGGER millrace_fence BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s '
                           'FOR EACH STATEMENT EXECUTE FUNCTION millrace.fence(%L)', fenced, name);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION millrace.set_fence(text, text, boolean) IS 'internal: keeps writers out of the tables of a namespace, or lets them in';

-- All that a namespace may have one day, so that nothing comes beside a fence.
CREATE FUNCTION millrace.create_tables_beside(schema text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF to_regclass(format('%I.stream_floors', schema)) IS NULL OR to_regclass(format('%I.removed_ids', schema)) IS NULL THEN
        PERFORM millrace.create_floors(schema);
    END IF;
    PERFORM millrace.create_consumer_tables(schema);
END $$;
COMMENT ON FUNCTION millrace.create_tables_beside(text) IS 'internal: makes those tables of a namespace that are made when they are needed';

CREATE FUNCTION millrace.writers_of(name text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(DISTINCT CASE WHEN l.pid IS NULL THEN format('prepared transaction %L', p.gid) ELSE 'session ' || l.pid END, ', ')
    FROM pg_locks l
        LEFT JOIN pg_locks x ON l.pid IS NULL AND x.locktype = 'transactionid' AND x.virtualtransaction = l.virtualtransaction
        LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
    WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid() AND l.locktype = 'relation' AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
        AND l.relation IN (SELECT c.oid FROM millrace.namespaces n JOIN pg_namespace s ON s.nspname = n.schema JOIN pg_class c ON c.relnamespace = s.oid
                           WHERE n.name = writers_of.name AND c.relname IN ('messages', 'consumers'))
$$;
COMMENT ON FUNCTION millrace.writers_of(text) IS 'internal: who is in the way of sealing a namespace';

-- Waits for all who have written and not committed, so the wait is bounded: who comes meanwhile waits behind it.
CREATE FUNCTION millrace.set_namespace_state(name text, state text, epoch bigint DEFAULT NULL, moved_to text DEFAULT NULL,
                                             max_wait interval DEFAULT '1 s') RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = 'warning' SET lock_timeout = '1s' AS $$
DECLARE
    known record;
BEGIN
    PERFORM millrace.check_namespace_name(name), set_config('lock_timeout', ceil(extract(epoch FROM max_wait) * 1000)::text, true);
    IF current_setting('is_superuser') = 'on' THEN
        PERFORM set_config('deadlock_timeout', '10ms', true); -- autovacuum gives way after that
    END IF;
    PERFORM millrace.lock_namespace(name);
    SELECT n.schema, n.state, n.epoch INTO known FROM millrace.namespaces n WHERE n.name = set_namespace_state.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'namespace "%" does not exist', name USING ERRCODE = 'MR003';
    ELSIF known.state = 'open' AND state = 'moved' OR epoch < known.epoch AND NOT (epoch = 0 AND state = 'sealed')
        OR known.state = 'moved' AND state <> 'moved' AND coalesce(epoch, known.epoch) = known.epoch
        OR state = 'open' AND coalesce(epoch, known.epoch) = 0 THEN
        RAISE EXCEPTION 'namespace "%" is % at epoch %, and can''t become % at epoch %', name, known.state, known.epoch, state,
                coalesce(epoch, known.epoch)
            USING ERRCODE = 'MR009';
    END IF;
    IF state <> 'open' THEN
        PERFORM millrace.create_tables_beside(known.schema);
    END IF;
    UPDATE millrace.namespaces n
        SET state = set_namespace_state.state, epoch = coalesce(set_namespace_state.epoch, known.epoch), moved_to = set_namespace_state.moved_to
        WHERE n.name = set_namespace_state.name;
    PERFORM millrace.set_fence(name, known.schema, state <> 'open');
    RETURN coalesce(epoch, known.epoch);
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'namespace "%" could not become % within % ms', name, state, ceil(extract(epoch FROM max_wait) * 1000)
        USING ERRCODE = 'lock_not_available', DETAIL = coalesce('In the way: ' || millrace.writers_of(name) || '.', ''),
              HINT = 'It is as it was. Try again, or end what is in the way.';
END $$;
COMMENT ON FUNCTION millrace.set_namespace_state(text, text, bigint, text, interval) IS
    'internal: opens or seals a namespace, or notes where it went; returns its epoch. 55P03 when writers are in the way for so long';

CREATE FUNCTION millrace.seal_namespace(name text, max_wait interval DEFAULT '1 s') RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM millrace.find_namespace(name), millrace.set_namespace_state(name, 'sealed', max_wait => max_wait);
END $$;
COMMENT ON FUNCTION millrace.seal_namespace(text, interval) IS
    'lets nobody write to a namespace, MR028, from the commit on; reads go on. 55P03 when it would wait longer for who has written; MR003, MR029';

CREATE FUNCTION millrace.unseal_namespace(name text, max_wait interval DEFAULT '1 s') RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM millrace.find_namespace(name), millrace.set_namespace_state(name, 'open', max_wait => max_wait);
END $$;
COMMENT ON FUNCTION millrace.unseal_namespace(text, interval) IS
    'lets a namespace be written to again that was sealed. MR028 while it is being copied here; MR003, MR029';

-- -- the directory: which namespace is on which cluster; plain tables of one database

CREATE FUNCTION millrace.create_directory() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = 'warning' AS $$
BEGIN
    CREATE TABLE IF NOT EXISTS millrace.clusters (
        name text COLLATE "C" PRIMARY KEY,
        conninfo text NOT NULL
    );
    COMMENT ON TABLE millrace.clusters IS 'where the clusters are, as connection strings';
    CREATE TABLE IF NOT EXISTS millrace.directory (
        namespace text COLLATE "C" PRIMARY KEY,
        cluster text COLLATE "C" NOT NULL,
        epoch bigint NOT NULL CHECK (epoch > 0),
        state text NOT NULL CHECK (state IN ('open', 'sealed', 'dropped')),
        updated_at timestamptz NOT NULL,
        change bigint NOT NULL UNIQUE
    );
    COMMENT ON TABLE millrace.directory IS 'on which cluster each namespace is; the last change has the highest number';
    CREATE TABLE IF NOT EXISTS millrace.moves (
        namespace text COLLATE "C" PRIMARY KEY REFERENCES millrace.directory,
        source text COLLATE "C" NOT NULL,
        target text COLLATE "C" NOT NULL,
        epoch bigint NOT NULL, -- before it
        begun_at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    COMMENT ON TABLE millrace.moves IS 'moves under way; millrace move writes it';
    GRANT SELECT, INSERT, UPDATE, DELETE ON millrace.clusters, millrace.directory, millrace.moves TO pg_database_owner;
END $$;
COMMENT ON FUNCTION millrace.create_directory() IS
    'makes the tables of a directory of clusters in this database, where they are not there; for superusers';

CREATE FUNCTION millrace.check_directory() RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF to_regclass('millrace.directory') IS NULL THEN
        RAISE EXCEPTION 'database "%" has no directory of clusters', current_database()
            USING ERRCODE = 'undefined_table', HINT = 'SELECT millrace.create_directory() makes one.';
    END IF;
END $$;

CREATE FUNCTION millrace.check_cluster(name text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM millrace.check_directory();
    IF name IS NULL THEN
        RAISE EXCEPTION 'cluster must not be NULL' USING ERRCODE = 'MR005';
    ELSIF name = '' THEN
        RAISE EXCEPTION 'cluster must not be empty' USING ERRCODE = 'MR006';
    ELSIF octet_length(name) > 200 THEN
        RAISE EXCEPTION 'cluster is too long: % bytes, at most 200 are allowed', octet_length(name) USING ERRCODE = 'MR007';
    END IF;
END $$;

CREATE FUNCTION millrace.add_cluster(name text, conninfo text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM millrace.check_cluster(name);
    IF conninfo IS NULL THEN
        RAISE EXCEPTION 'conninfo must not be NULL' USING ERRCODE = 'MR005';
    END IF;
    INSERT INTO millrace.clusters VALUES (add_cluster.name, add_cluster.conninfo)
        ON CONFLICT ON CONSTRAINT clusters_pkey DO UPDATE SET conninfo = excluded.conninfo;
END $$;
COMMENT ON FUNCTION millrace.add_cluster(text, text) IS
    'adds a cluster to the directory, or says anew where it is. 42P01 without a directory; MR005, MR006, MR007';

CREATE FUNCTION millrace.drop_cluster(name text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM millrace.check_cluster(name);
    LOCK TABLE millrace.directory IN SHARE ROW EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM millrace.directory d WHERE d.cluster = drop_cluster.name AND d.state <> 'dropped')
        OR EXISTS (SELECT FROM millrace.moves m WHERE drop_cluster.name IN (m.source, m.target)) THEN
        RAISE EXCEPTION 'cluster "%" has namespaces', name USING ERRCODE = 'MR009', HINT = 'millrace move takes them elsewhere.';
    END IF;
    DELETE FROM millrace.clusters c WHERE c.name = drop_cluster.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'cluster "%" is not in the directory', name USING ERRCODE = 'MR009', HINT = 'millrace.add_cluster() adds it.';
    END IF;
END $$;
COMMENT ON FUNCTION millrace.drop_cluster(text) IS 'removes a cluster without namespaces from the directory. MR009 for any other';

CREATE FUNCTION millrace.directory_clusters(OUT name text, OUT conninfo text) RETURNS SETOF record
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM millrace.check_directory();
    RETURN QUERY SELECT c.name, c.conninfo FROM millrace.clusters c ORDER BY c.name;
END $$;
COMMENT ON FUNCTION millrace.directory_clusters() IS 'the clusters and where they are';

CREATE FUNCTION millrace.directory_entries(since bigint DEFAULT 0, OUT namespace text, OUT cluster text, OUT epoch bigint, OUT state text,
                                           OUT updated_at timestamptz, OUT change bigint) RETURNS SETOF record
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM millrace.check_directory();
    RETURN QUERY SELECT d.namespace, d.cluster, d.epoch, d.state, d.updated_at, d.change
        FROM millrace.directory d WHERE d.change > since ORDER BY d.change;
END $$;
COMMENT ON FUNCTION millrace.directory_entries(bigint) IS
    'where each namespace is, of those that changed after a change; they are committed in the order of these numbers. State dropped: nowhere';

-- One change at a time, so that they are committed in the order of their numbers.
CREATE FUNCTION millrace.direct_namespace(name text, cluster text, epoch bigint, state text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM millrace.check_cluster(cluster);
    LOCK TABLE millrace.directory IN SHARE ROW EXCLUSIVE MODE;
    IF NOT EXISTS (SELECT FROM millrace.clusters c WHERE c.name = direct_namespace.cluster FOR KEY SHARE) THEN
        RAISE EXCEPTION 'cluster "%" is not in the directory', cluster USING ERRCODE = 'MR009', HINT = 'millrace.add_cluster() adds it.';
    END IF;
    INSERT INTO millrace.directory AS d
        VALUES (name, direct_namespace.cluster, direct_namespace.epoch, direct_namespace.state, clock_timestamp(),
                (SELECT coalesce(max(change), 0) + 1 FROM millrace.directory))
        ON CONFLICT ON CONSTRAINT directory_pkey DO UPDATE
            SET cluster = excluded.cluster, epoch = excluded.epoch, state = excluded.state, updated_at = excluded.updated_at, change = excluded.change;
END $$;
COMMENT ON FUNCTION millrace.direct_namespace(text, text, bigint, text) IS 'internal: writes an entry of the directory';

CREATE FUNCTION millrace.place_namespace(name text, cluster text) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    placed text;
BEGIN
    PERFORM millrace.check_namespace_name(name), millrace.check_cluster(cluster);
    LOCK TABLE millrace.directory IN SHARE ROW EXCLUSIVE MODE;
    SELECT d.cluster INTO placed FROM millrace.directory d WHERE d.namespace = name AND d.state <> 'dropped';
    IF FOUND THEN
        RAISE EXCEPTION 'namespace "%" is on cluster "%" already', name, placed USING ERRCODE = 'MR004';
    END IF;
    PERFORM millrace.direct_namespace(name, cluster, 1, 'open');
    RETURN 1;
END $$;
COMMENT ON FUNCTION millrace.place_namespace(text, text) IS
    'notes in the directory on which cluster a namespace is; returns its epoch. MR004 when it is noted already, MR009 for an unknown cluster';

CREATE FUNCTION millrace.unplace_namespace(name text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known record;
BEGIN
    PERFORM millrace.check_namespace_name(name), millrace.check_directory();
    LOCK TABLE millrace.directory IN SHARE ROW EXCLUSIVE MODE;
    SELECT d.cluster, d.epoch INTO known FROM millrace.directory d WHERE d.namespace = name AND d.state <> 'dropped';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'namespace "%" is not in the directory', name USING ERRCODE = 'MR003';
    ELSIF EXISTS (SELECT FROM millrace.moves m WHERE m.namespace = name) THEN
        RAISE EXCEPTION 'namespace "%" is being moved', name USING ERRCODE = 'MR028', HINT = 'millrace move --finish or --reverse ends that.';
    END IF;
    PERFORM millrace.direct_namespace(name, known.cluster, known.epoch, 'dropped');
END $$;
COMMENT ON FUNCTION millrace.unplace_namespace(text) IS
    'notes in the directory that there is no such namespace any more. MR003 when it is not noted, MR028 while it is being moved';

-- -- what `millrace move` does on a cluster: all of it may be done again

-- What a copy of a namespace has to be, for the cluster that it goes to; makes the publication.
CREATE FUNCTION millrace.move_offer(name text, link text) RETURNS jsonb
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = 'warning' AS $$
DECLARE
    schema text := (SELECT n.schema FROM millrace.namespaces n WHERE n.name = move_offer.name);
BEGIN
    IF schema IS NULL THEN
        RAISE EXCEPTION 'namespace "%" does not exist', name USING ERRCODE = 'MR003';
    ELSIF current_setting('wal_level') <> 'logical' THEN
        RAISE EXCEPTION 'wal_level is %, and logical replication needs "logical"', current_setting('wal_level')
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'ALTER SYSTEM SET wal_level = logical, and restart the server.';
    END IF;
    PERFORM millrace.check_messages(schema), millrace.create_tables_beside(schema), millrace.check_moved(schema);
    IF NOT EXISTS (SELECT FROM pg_publication p WHERE p.pubname = link) THEN
        EXECUTE format('CREATE PUBLICATION %I FOR TABLE %s', link, (SELECT string_agg(t::text, ', ') FROM millrace.purged_tables(schema) t));
    END IF;
    RETURN (SELECT jsonb_build_object('schema', schema, 'version', (SELECT extversion FROM pg_extension WHERE extname = 'millrace'),
            'encoding', getdatabaseencoding(), 'statements', (SELECT jsonb_agg(s) FROM millrace.copy_statements(schema) s),
            'indexes', (SELECT jsonb_object_agg(c.relname, pg_get_indexdef(c.oid)) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                        WHERE i.indrelid = to_regclass(format('%I.messages', schema)) AND i.indisvalid)));
END $$;
COMMENT ON FUNCTION millrace.move_offer(text, text) IS 'internal: publishes a namespace, and says what a copy of it must be like';

-- Replication writes as a superuser, so nothing of another role may run then.
CREATE FUNCTION millrace.check_moved(schema text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stranger text;
BEGIN
    SELECT format('trigger %I', t.tgname) INTO stranger FROM millrace.purged_tables(schema) r JOIN pg_trigger t ON t.tgrelid = r
        WHERE NOT t.tgisinternal AND t.tgenabled IN ('A', 'R')
    UNION ALL
    SELECT format('function %s', p.oid::regprocedure)
        FROM millrace.purged_tables(schema) r JOIN pg_index i ON i.indrelid = r
            JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refclassid = 'pg_proc'::regclass
            JOIN pg_proc p ON p.oid = d.refobjid JOIN pg_roles o ON o.oid = p.proowner AND NOT o.rolsuper
    UNION ALL
    SELECT 'the kind or a rule of ' || r FROM millrace.purged_tables(schema) r JOIN pg_class c ON c.oid = r WHERE c.relhasrules;
    IF FOUND THEN
        RAISE EXCEPTION 'namespace in schema "%" can''t be moved: % would run with a superuser''s rights', schema, stranger
            USING ERRCODE = 'MR010', HINT = 'Drop it before; it can be made again on the new cluster.';
    ELSIF (SELECT count(*) FROM millrace.purged_tables(schema)) < 7 THEN
        RAISE EXCEPTION 'schema "%" has lost tables of its namespace', schema USING ERRCODE = 'MR010';
    END IF;
END $$;
COMMENT ON FUNCTION millrace.check_moved(text) IS 'internal: MR010 where a copy of a namespace could not be written safely';

-- Its owner and its privileges.
CREATE FUNCTION millrace.copy_statements(schema text) RETURNS SETOF text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('ALTER SCHEMA %I OWNER TO %I', schema, o.rolname) FROM pg_namespace n JOIN pg_roles o ON o.oid = n.nspowner WHERE n.nspname = schema
    UNION ALL
    SELECT format('ALTER %s %I.%I OWNER TO %I', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, schema, c.relname, o.rolname)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = schema JOIN pg_roles o ON o.oid = c.relowner
        WHERE c.oid IN (SELECT millrace.purged_tables(schema)) OR c.relkind = 'S' AND c.relname = 'consumer_numbers'
    UNION ALL
    SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, a.object, coalesce(quote_ident(g.rolname), 'PUBLIC'),
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
        FROM (SELECT format('SCHEMA %I', n.nspname) AS object, n.nspowner AS owner, (aclexplode(n.nspacl)).* FROM pg_namespace n WHERE n.nspname = schema
              UNION ALL
              SELECT format('%s %I.%I', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, schema, c.relname), c.relowner, (aclexplode(c.relacl)).*
              FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = schema
              WHERE c.oid IN (SELECT millrace.purged_tables(schema)) OR c.relkind = 'S' AND c.relname IN ('consumer_numbers', 'messages_global_position_seq')) a
            LEFT JOIN pg_roles g ON g.oid = a.grantee
        WHERE a.grantee <> a.owner
$$;
COMMENT ON FUNCTION millrace.copy_statements(text) IS 'internal: what makes an empty namespace one like this';

CREATE FUNCTION millrace.move_receive(name text, offer jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = 'warning' AS $$
DECLARE
    version text := (SELECT extversion FROM pg_extension WHERE extname = 'millrace');
    known record;
    statement text;
BEGIN
    PERFORM millrace.check_namespace_name(name), millrace.lock_namespace(name);
    IF offer->>'version' <> version OR offer->>'encoding' <> getdatabaseencoding() THEN
        RAISE EXCEPTION 'the clusters differ: % and % of extension millrace, encodings % and %', offer->>'version', version, offer->>'encoding',
            getdatabaseencoding() USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'ALTER EXTENSION millrace UPDATE brings both to one version.';
    END IF;
    IF offer->>'schema' = 'message_store' AND NOT EXISTS (SELECT FROM millrace.namespaces n WHERE n.schema = 'message_store') THEN
        PERFORM millrace.install_message_db();
    ELSIF NOT EXISTS (SELECT FROM millrace.namespaces n WHERE n.name = move_receive.name) THEN
        PERFORM millrace.create_namespace(name);
    END IF;
    SELECT n.schema, n.state, n.epoch INTO known FROM millrace.namespaces n WHERE n.name = move_receive.name;
    IF known.epoch > 0 AND (known.state = 'sealed' OR millrace.holds_anything(known.schema)) THEN
        RAISE EXCEPTION 'namespace "%" exists already on the cluster that it is to go to', name USING ERRCODE = 'MR004';
    ELSIF known.schema <> offer->>'schema' THEN
        RAISE EXCEPTION 'namespace "%" is in schema "%" here, and in "%" where it comes from', name, known.schema, offer->>'schema'
            USING ERRCODE = 'MR010', HINT = 'millrace.install_message_db() makes both alike.';
    END IF;
    IF known.epoch > 0 THEN
        PERFORM millrace.set_namespace_state(name, 'sealed', 0), millrace.check_moved(known.schema);
        FOR statement IN SELECT jsonb_array_elements_text(offer->'statements') LOOP
            EXECUTE statement;
        END LOOP;
    END IF;
    FOR statement IN SELECT i.value FROM jsonb_each_text(offer->'indexes') i
                     WHERE to_regclass(format('%I.%I', known.schema, i.key)) IS NULL ORDER BY i.key LOOP
        EXECUTE statement;
    END LOOP;
END $$;
COMMENT ON FUNCTION millrace.move_receive(text, jsonb) IS
    'internal: makes an empty copy of a namespace, which nobody reads or writes yet. MR004 when there is one with anything in it';

CREATE FUNCTION millrace.holds_anything(schema text) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held regclass;
    found boolean := false;
BEGIN
    FOR held IN SELECT millrace.purged_tables(schema) LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', held) INTO found;
        EXIT WHEN found;
    END LOOP;
    RETURN found;
END $$;
COMMENT ON FUNCTION millrace.holds_anything(text) IS 'internal: whether a namespace has messages, consumers, or something left of either';

CREATE FUNCTION millrace.move_subscribe(name text, link text, conninfo text, copy boolean) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = 'warning' AS $$
BEGIN
    PERFORM millrace.check_moved(n.schema) FROM millrace.namespaces n WHERE n.name = move_subscribe.name;
    IF NOT EXISTS (SELECT FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database() WHERE s.subname = link) THEN
        -- The slot is there, so this is a transaction's.
        EXECUTE format('CREATE SUBSCRIPTION %1$I CONNECTION %2$L PUBLICATION %1$I WITH (create_slot = false, slot_name = %1$L, copy_data = %3$s)',
                       link, conninfo, copy::text);
    END IF;
END $$;
COMMENT ON FUNCTION millrace.move_subscribe(text, text, text, boolean) IS 'internal: lets a copy of a namespace follow';

CREATE FUNCTION millrace.move_unlink(link text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = 'warning' AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database() WHERE s.subname = link) THEN
        EXECUTE format('ALTER SUBSCRIPTION %I DISABLE', link);
        EXECUTE format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', link);
        EXECUTE format('DROP SUBSCRIPTION %I', link);
    END IF;
    IF EXISTS (SELECT FROM pg_publication p WHERE p.pubname = link) THEN
        EXECUTE format('DROP PUBLICATION %I', link);
    END IF;
END $$;
COMMENT ON FUNCTION millrace.move_unlink(text) IS 'internal: ends what move_offer() and move_subscribe() began';

-- Beside the tables: what is told of a namespace elsewhere, and where its sequences are.
CREATE FUNCTION millrace.move_settings(name text) RETURNS jsonb
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC' SET bytea_output = 'hex' AS $$
DECLARE
    settings jsonb;
    schema text;
    messages bigint;
    numbers bigint;
BEGIN
    SELECT n.schema, jsonb_build_object('token_hash', n.token_hash, 'description', n.description, 'metadata', n.metadata, 'created_at', n.created_at,
            'requests_per_second', n.requests_per_second, 'bytes_per_second', n.bytes_per_second,
            'tokens', (SELECT jsonb_agg(t ORDER BY t.name) FROM millrace.tokens t WHERE t.namespace = n.name),
            'retention', (SELECT jsonb_agg(r ORDER BY r.category) FROM millrace.retention r WHERE r.namespace = n.name),
            'sweeps', (SELECT jsonb_agg(s ORDER BY s.category, s.by_age) FROM millrace.sweeps s WHERE s.namespace = n.name),
            'removals', (SELECT jsonb_agg(r ORDER BY r.id) FROM millrace.removals r WHERE r.namespace = n.name))
        INTO schema, settings FROM millrace.namespaces n WHERE n.name = move_settings.name;
    EXECUTE format('SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM %s', pg_get_serial_sequence(format('%I.messages', schema), 'global_position'))
        INTO messages;
    EXECUTE format('SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM %I.consumer_numbers', schema) INTO numbers;
    RETURN settings || jsonb_build_object('messages_sequence', messages, 'numbers_sequence', numbers);
END $$;
COMMENT ON FUNCTION millrace.move_settings(text) IS 'internal: what is known of a namespace beside its tables';

CREATE FUNCTION millrace.move_settle(name text, settings jsonb, removals_sequence bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC' AS $$
DECLARE
    known record;
BEGIN
    SELECT n.schema, n.state, n.epoch INTO known FROM millrace.namespaces n WHERE n.name = move_settle.name FOR UPDATE;
    IF known.state = 'open' OR known.state = 'sealed' AND known.epoch > 0 THEN
        RAISE EXCEPTION 'namespace "%" is % here, so nothing is copied to it', name, known.state USING ERRCODE = 'MR009';
    END IF;
    UPDATE millrace.namespaces n
        SET (token_hash, description, metadata, created_at, requests_per_second, bytes_per_second)
            = (SELECT r.token_hash, r.description, r.metadata, r.created_at, r.requests_per_second, r.bytes_per_second
               FROM jsonb_populate_record(NULL::millrace.namespaces, settings) r)
        WHERE n.name = move_settle.name;
    DELETE FROM millrace.tokens t WHERE t.namespace = move_settle.name;
    DELETE FROM millrace.retention r WHERE r.namespace = move_settle.name; -- with its sweeps
    DELETE FROM millrace.removals r WHERE r.namespace = move_settle.name;
    INSERT INTO millrace.tokens SELECT * FROM jsonb_populate_recordset(NULL::millrace.tokens, nullif(settings->'tokens', 'null'));
    INSERT INTO millrace.retention SELECT * FROM jsonb_populate_recordset(NULL::millrace.retention, nullif(settings->'retention', 'null'));
    INSERT INTO millrace.sweeps SELECT * FROM jsonb_populate_recordset(NULL::millrace.sweeps, nullif(settings->'sweeps', 'null'));
    INSERT INTO millrace.removals OVERRIDING SYSTEM VALUE
        SELECT * FROM jsonb_populate_recordset(NULL::millrace.removals, nullif(settings->'removals', 'null'));
    -- What is removed here gets a higher number than readers know.
    IF nextval('millrace.removals_id_seq') < removals_sequence THEN
        PERFORM setval('millrace.removals_id_seq', removals_sequence);
    END IF;
    PERFORM setval(pg_get_serial_sequence(format('%I.messages', known.schema), 'global_position'), greatest(v, 1), v > 0)
        FROM (SELECT (settings->>'messages_sequence')::bigint) s (v);
    PERFORM setval(format('%I.consumer_numbers', known.schema), greatest(v, 1), v > 0) FROM (SELECT (settings->>'numbers_sequence')::bigint) s (v);
END $$;
COMMENT ON FUNCTION millrace.move_settle(text, jsonb, bigint) IS 'internal: makes that so on another cluster';

-- Compared between the clusters.  Messages above one global position, up to another; with none: all beside the
-- messages as well, tables that are large by their number of rows only.
CREATE FUNCTION millrace.move_digest(name text, above bigint, up_to bigint, large text[]) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC' SET bytea_output = 'hex' AS $$
DECLARE
    schema text := (SELECT n.schema FROM millrace.namespaces n WHERE n.name = move_digest.name);
    digest text;
    part text;
    compared record;
BEGIN
    PERFORM millrace.check_moved(schema);
    EXECUTE format('SELECT format(''messages: %%s, %%s'', count(*), sum(hashtextextended(m::text, 0))) FROM %I.messages m '
                   'WHERE global_position > $1 AND global_position <= $2', schema) INTO digest USING above, coalesce(up_to, 9223372036854775807);
    IF up_to IS NOT NULL THEN
        RETURN digest;
    END IF;
    FOR compared IN SELECT c.oid::regclass AS relation, c.relname AS name FROM millrace.purged_tables(schema) t JOIN pg_class c ON c.oid = t
                    WHERE c.relname <> 'messages' ORDER BY c.relname LOOP
        EXECUTE format('SELECT format(''; %s: %%s, %%s'', count(*), %s) FROM %s r', compared.name,
                       CASE WHEN compared.name = ANY (large) THEN 'NULL' ELSE 'sum(hashtextextended(r::text, 0))' END, compared.relation) INTO part;
        digest := digest || part;
    END LOOP;
    RETURN digest || '; settings: ' || hashtextextended(millrace.move_settings(name)::text, 0);
END $$;
COMMENT ON FUNCTION millrace.move_digest(text, bigint, bigint, text[]) IS 'internal: two copies of a namespace with one digest are the same';

CREATE FUNCTION millrace.large_tables(name text) RETURNS text[]
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(c.relname::text), '{}')
    FROM millrace.namespaces n CROSS JOIN LATERAL millrace.purged_tables(n.schema) t JOIN pg_class c ON c.oid = t
    WHERE n.name = large_tables.name AND pg_relation_size(c.oid) > 33554432
$$;
COMMENT ON FUNCTION millrace.large_tables(text) IS 'internal: the tables of a namespace that take long to be hashed';

-- Namespace default is emptied, and stays where it went.
CREATE FUNCTION millrace.move_drop(name text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = 'warning' SET lock_timeout = '5s' AS $$
DECLARE
    known record;
BEGIN
    PERFORM millrace.lock_namespace(name);
    SELECT n.schema, n.state, n.epoch INTO known FROM millrace.namespaces n WHERE n.name = move_drop.name;
    IF NOT FOUND THEN
        RETURN;
    ELSIF known.state = 'open' OR known.state = 'sealed' AND known.epoch > 0 THEN
        RAISE EXCEPTION 'namespace "%" is % here: it is no copy', name, known.state USING ERRCODE = 'MR009';
    ELSIF name <> 'default' THEN
        PERFORM millrace.drop_messages(known.schema);
        DELETE FROM millrace.namespaces n WHERE n.name = move_drop.name;
        RETURN;
    END IF;
    PERFORM millrace.set_fence(name, known.schema, false);
    EXECUTE (SELECT format('TRUNCATE %s', string_agg(t::text, ', ')) FROM millrace.purged_tables(known.schema) t);
    DELETE FROM millrace.tokens t WHERE t.namespace = move_drop.name;
    DELETE FROM millrace.retention r WHERE r.namespace = move_drop.name;
    DELETE FROM millrace.removals r WHERE r.namespace = move_drop.name;
    IF known.state = 'sealed' THEN
        UPDATE millrace.namespaces n SET state = 'open', epoch = 1 WHERE n.name = move_drop.name; -- as it was
    ELSE
        PERFORM millrace.set_fence(name, known.schema, true);
    END IF;
END $$;
COMMENT ON FUNCTION millrace.move_drop(text) IS 'internal: drops a copy of a namespace that is open elsewhere. MR009 for any other';

CREATE FUNCTION millrace.begin_move(name text, target text, note boolean, OUT source text, OUT epoch bigint, OUT moves_to text, OUT now_at bigint) RETURNS record
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    entry record;
BEGIN
    PERFORM millrace.check_namespace_name(name), millrace.check_directory();
    SELECT d.cluster, d.epoch INTO entry FROM millrace.directory d WHERE d.namespace = name AND d.state <> 'dropped';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'namespace "%" is not in the directory', name USING ERRCODE = 'MR003', HINT = 'millrace.place_namespace() says where it is.';
    END IF;
    now_at := entry.epoch;
    SELECT m.source, m.epoch, m.target INTO source, epoch, moves_to FROM millrace.moves m WHERE m.namespace = name;
    IF FOUND OR target IS NULL THEN
        RETURN;
    ELSIF NOT EXISTS (SELECT FROM millrace.clusters c WHERE c.name = begin_move.target) THEN
        RAISE EXCEPTION 'cluster "%" is not in the directory', target USING ERRCODE = 'MR009', HINT = 'millrace.add_cluster() adds it.';
    ELSIF entry.cluster = target THEN
        RAISE EXCEPTION 'namespace "%" is on cluster "%" already', name, target USING ERRCODE = 'MR004';
    END IF;
    IF note THEN
        INSERT INTO millrace.moves (namespace, source, target, epoch) VALUES (name, entry.cluster, begin_move.target, entry.epoch);
    END IF;
    source := entry.cluster;
    epoch := entry.epoch;
    moves_to := target;
END $$;
COMMENT ON FUNCTION millrace.begin_move(text, text, boolean) IS 'internal: the move that is under way, or the one to begin, which is noted then';

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

-- PostgreSQL takes for the extension's own, and pg_dump leaves out, all that is granted on an object when a
-- script has granted something on it.  The extension grants nothing on functions, and on the registry and the
-- tokens what is granted above.
DELETE FROM pg_catalog.pg_init_privs
    WHERE classoid = 'pg_catalog.pg_proc'::pg_catalog.regclass
        AND objoid IN (SELECT oid FROM pg_catalog.pg_proc WHERE pronamespace = 'millrace'::pg_catalog.regnamespace);
UPDATE pg_catalog.pg_init_privs SET initprivs = ARRAY(
        SELECT item FROM pg_catalog.unnest(initprivs) item, pg_catalog.aclexplode(ARRAY[item]) privilege
        WHERE privilege.grantee IN (privilege.grantor, 'pg_database_owner'::pg_catalog.regrole) GROUP BY item::text, item)
    WHERE classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND objsubid = 0
        AND objoid IN ('millrace.namespaces'::pg_catalog.regclass, 'millrace.tokens'::pg_catalog.regclass);
-- Since PostgreSQL 17 a role named there can't be dropped.
DELETE FROM pg_catalog.pg_shdepend
    WHERE deptype = 'i' AND dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
        AND (classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                AND objid IN (SELECT oid FROM pg_catalog.pg_proc WHERE pronamespace = 'millrace'::pg_catalog.regnamespace)
            OR classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                AND objid IN ('millrace.namespaces'::pg_catalog.regclass, 'millrace.tokens'::pg_catalog.regclass));

-- ---- namespaces that are there ------------------------------------------------------------------------

-- From here on their pages are filled, as those of a new namespace are.
DO $$
DECLARE
    which regclass;
BEGIN
    FOR which IN SELECT c.oid FROM millrace.namespaces n JOIN pg_catalog.pg_namespace s ON s.nspname = n.schema
            JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relkind = 'i' AND c.reloptions IS NULL
            JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
            JOIN pg_catalog.pg_class m ON m.oid = i.indrelid AND m.relname = 'messages'
        WHERE n.schema <> 'message_store' AND c.relname IN ('messages_pkey', 'messages_category') AND millrace.is_messages(m.oid) LOOP
        EXECUTE pg_catalog.format('ALTER INDEX %s SET (fillfactor = 100)', which);
    END LOOP;
END $$;
