"""The owner of a database creates the extension and namespaces, and waits for a superuser to look at what they made of
them."""
import psycopg2
import pytest

from store import sql
from test_trusted import connect, owner, trusted  # noqa: F401

# IMMUTABLE, so that it may stand in an index; what changes something is another function.  A sequence remembers it when
# the statement fails after that.
ATTACK = """CREATE SEQUENCE public.evidence;
CREATE FUNCTION public.take() RETURNS int LANGUAGE plpgsql AS $$
    BEGIN
        IF current_user <> 'owner' THEN PERFORM nextval('public.evidence'); ALTER ROLE owner SUPERUSER; END IF;
        RETURN 1;
    END $$;
CREATE FUNCTION public.attack(anything text DEFAULT '') RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN PERFORM public.take(); RETURN 1; END $$;
CREATE FUNCTION public.attack_by_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM public.take(); RETURN NEW; END $$;"""

# All that runs something of ours on a namespace's table; those that delete it last.
LOOKS = [
    "list_namespaces()", "json_list_namespaces()", "estimate_messages('millrace_sales')", "describe_namespace('sales')",
    "json_describe_namespace('sales')", "count_categories('sales')", "list_categories()",
    "json_list_categories('sales')", "read_horizon('sales')", "read_stream('a-1')", "read_category('a')", "read_all()",
    "last_message('a-1')", "stream_version('a-1')", "list_streams()", "feed_head('sales')",
    "read_feed('sales', 1, 10, true)", "json_export('sales', 1, NULL, NULL, NULL, 1000)",
    "json_read_stream('sales', 'a-1', 0, NULL, 10, NULL, 1000)", "append('a-1', 'T', '{}')"
]
REMOVES = [
    "truncate_stream('a-1', 1)", "remove_stream('a-1', forget => true)", "close_stream('b-1')", "reopen_stream('b-1')"
]
DELETES = ["empty_namespace('sales')", "drop_namespace('sales')", "json_drop_namespace('sales')"]


@pytest.fixture
def sales(owner):  # noqa: F811
    """Namespace `sales` with a message, and the owner's functions that make a superuser of the owner when another role
    calls them."""
    sql(owner, ATTACK)
    sql(owner, "SELECT millrace.create_namespace('sales')")
    sql(owner, "SET millrace.namespace = 'sales'")
    sql(owner, "SELECT millrace.append('a-1', 'T', '{}')")
    return owner


def taken(superuser):
    return sql(superuser,
               "SELECT rolsuper OR is_called FROM pg_roles, public.evidence WHERE rolname = 'owner'") == [(True, )]


def look(cluster, calls, allowed=()):
    """Makes the calls as a superuser, and returns the SQLSTATE of each that failed."""
    failed = {}
    for call in calls:
        superuser = cluster.connect("store")
        sql(superuser, "SET millrace.namespace = 'sales'")
        try:
            sql(superuser, f"SELECT * FROM millrace.{call}")
        except psycopg2.Error as error:
            failed[call] = error.pgcode
        assert not taken(superuser), f"the owner is a superuser after {call}"
        superuser.close()
    return failed


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW", "RULE", "POLICY"])
def test_another_relation_in_the_place_of_the_table_is_not_run(trusted, sales, kind):  # noqa: F811
    sql(sales, "ALTER TABLE millrace_sales.messages RENAME TO kept")
    if kind == "POLICY":
        sql(sales, "ALTER TABLE millrace_sales.kept RENAME TO messages")
        sql(sales, "CREATE POLICY mine ON millrace_sales.messages USING (public.attack(stream_name) = 1)")
        sql(sales, "ALTER TABLE millrace_sales.messages ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        assert look(trusted, LOOKS) == {}
        return
    if kind == "RULE":
        sql(sales, "CREATE VIEW millrace_sales.messages AS SELECT * FROM millrace_sales.kept WHERE public.attack() = 1")
        sql(sales, "CREATE RULE mine AS ON INSERT TO millrace_sales.messages DO INSTEAD SELECT public.take()")
    else:
        sql(
            sales,
            f"CREATE {kind} millrace_sales.messages AS SELECT * FROM millrace_sales.kept "
            "WHERE public.attack(stream_name) = 1"
        )
    failed = look(trusted, LOOKS + REMOVES + DELETES)
    assert set(failed.values()) == {"MR010"}
    assert LOOKS[0] not in failed and LOOKS[1] not in failed, "one bad namespace does not hide the others"
    assert sql(sales, "SELECT count(*) FROM millrace_sales.kept") == [(1,)]


def test_the_owner_s_expressions_run_with_the_owner_s_rights(trusted, sales):  # noqa: F811
    sql(sales, "CREATE INDEX ON millrace_sales.messages (public.attack())")
    sql(sales, "CREATE INDEX ON millrace_sales.messages (public.attack(type))")
    sql(sales, "CREATE INDEX ON millrace_sales.messages (type) WHERE public.attack(type) = 1")
    sql(
        sales,
        "CREATE INDEX ON millrace_sales.messages (millrace.category(stream_name), global_position, public.attack(type))"
    )
    sql(
        sales,
        "CREATE STATISTICS millrace_sales.mine ON (public.attack()), (public.attack(type)) FROM millrace_sales.messages"
    )
    sql(
        sales,
        "ALTER TABLE millrace_sales.messages ALTER COLUMN id SET DEFAULT md5(public.take()::text)::uuid, "
        "ALTER COLUMN time SET DEFAULT now() + interval '1 second' * public.take()"
    )
    assert look(trusted, LOOKS + REMOVES + ["drop_namespace('sales')"]) == {}


def test_triggers_of_removals_run_with_the_owner_s_rights(trusted, sales):  # noqa: F811
    sql(sales, "CREATE TRIGGER mine AFTER DELETE ON millrace_sales.messages FOR EACH ROW "
               "EXECUTE FUNCTION public.attack_by_trigger()")
    sql(sales, "CREATE RULE mine AS ON DELETE TO millrace_sales.messages DO ALSO SELECT public.take()")
    assert look(trusted, REMOVES[:2]) == {}
    sql(sales, "DROP RULE mine ON millrace_sales.messages")
    sql(sales, "DROP TRIGGER mine ON millrace_sales.messages")
    sql(sales, "SELECT millrace.append('a-1', 'T', '{}')")
    sql(sales, "CREATE CONSTRAINT TRIGGER mine AFTER DELETE ON millrace_sales.messages DEFERRABLE INITIALLY DEFERRED "
               "FOR EACH ROW EXECUTE FUNCTION public.attack_by_trigger()")
    assert look(trusted, REMOVES[:1]) == {REMOVES[0]: "42501"}
    sql(sales, f"SELECT millrace.{REMOVES[0]}")


def test_triggers_of_redactions_run_with_the_owner_s_rights(trusted, sales):  # noqa: F811
    redactions = ["redact(ARRAY(SELECT id FROM millrace.read_all()))", "redact_stream('a-1')", "redact_tagged('x')"]
    sql(sales, "SELECT millrace.index_tags()")
    sql(sales, "SELECT millrace.append('a-1', 'T', '{}', '{\"tags\": [\"x\"]}')")
    sql(sales, "CREATE TRIGGER before BEFORE UPDATE ON millrace_sales.messages FOR EACH ROW "
               "EXECUTE FUNCTION public.attack_by_trigger()")
    sql(sales, "CREATE TRIGGER after AFTER UPDATE ON millrace_sales.messages FOR EACH STATEMENT "
               "EXECUTE FUNCTION public.attack_by_trigger()")
    sql(sales, "CREATE INDEX ON millrace_sales.messages (public.attack(type)) WHERE public.attack() = 1")
    sql(sales, "CREATE RULE mine AS ON UPDATE TO millrace_sales.messages DO ALSO SELECT public.take()")
    assert look(trusted, redactions) == {}
    assert sql(sales, "SELECT count(*) FROM millrace.read_all() WHERE metadata ? 'millrace.redacted'") == [(2,)]
    sql(sales, "DROP RULE mine ON millrace_sales.messages")
    sql(sales, "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON millrace_sales.messages DEFERRABLE INITIALLY DEFERRED "
               "FOR EACH ROW EXECUTE FUNCTION public.attack_by_trigger()")
    assert look(trusted, redactions[:1]) == {redactions[0]: "42501"}
    sql(sales, f"SELECT millrace.{redactions[0]}")


def test_an_expression_that_exchanges_the_table_leaves_other_namespaces_alone(trusted, sales):  # noqa: F811
    """What a session knows of one table must not be taken for what it knows of another."""
    sql(sales, "SELECT millrace.create_namespace('evil')")
    sql(sales, "SELECT millrace.append('a-1', 'T', '{}', namespace => 'sales') FROM generate_series(1, 4)")
    sql(sales, """CREATE FUNCTION public.exchange() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        IF session_user <> 'owner' AND current_setting('evil.done', true) IS DISTINCT FROM 'yes' THEN
            PERFORM set_config('evil.done', 'yes', false);
            ALTER TABLE millrace_evil.messages RENAME TO kept;
            BEGIN PERFORM millrace.count_messages('millrace_evil'); EXCEPTION WHEN undefined_table THEN END;
            PERFORM count(*) FROM millrace.read_stream('a-1', namespace => 'sales');
            ALTER TABLE millrace_evil.kept RENAME TO messages;
        END IF;
        RETURN 1; END $$""")
    sql(
        sales,
        "CREATE FUNCTION public.exchanged() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN "
        "RETURN public.exchange(); END $$"
    )
    sql(sales, "CREATE INDEX ON millrace_evil.messages (public.exchanged())")
    superuser = trusted.connect("store")
    sql(superuser, "SELECT * FROM millrace.read_stream('a-1', namespace => 'evil')")
    assert sql(superuser, "SELECT count(*) FROM millrace.read_stream('a-1', namespace => 'sales')") == [(5,)]
    assert sql(superuser, "SELECT * FROM millrace.append('a-1', 'T', '{}', namespace => 'sales')") == [(5, 6)]
    assert sql(trusted.connect("store"),
               "SELECT count(*) FROM millrace.read_stream('a-1', namespace => 'sales')") == [(6, )]


def test_what_an_expression_sets_is_undone(trusted, sales):  # noqa: F811
    sql(
        sales,
        "CREATE FUNCTION public.divert() RETURNS int LANGUAGE plpgsql AS $$ "
        "BEGIN PERFORM set_config('search_path', 'evil', false); RETURN 1; END $$"
    )
    sql(
        sales,
        "CREATE FUNCTION public.diverted(anything text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN "
        "RETURN public.divert(); END $$"
    )
    sql(sales, "CREATE INDEX ON millrace_sales.messages (public.diverted(type))")
    superuser = trusted.connect("store")
    sql(superuser, "SET millrace.namespace = 'sales'")
    sql(superuser, "SELECT millrace.append('a-1', 'T', '{}')")
    assert sql(superuser, "SHOW search_path") == [('"$user", public',)]


def test_emptying_runs_no_trigger(trusted, sales):  # noqa: F811
    sql(sales,
        "CREATE TRIGGER mine BEFORE TRUNCATE ON millrace_sales.messages EXECUTE FUNCTION public.attack_by_trigger()")
    assert look(trusted, ["empty_namespace('sales')"]) == {"empty_namespace('sales')": "MR010"}
    sql(sales, "DROP TRIGGER mine ON millrace_sales.messages")
    assert sql(trusted.connect("store"),
               "SELECT millrace.empty_namespace('sales'), millrace.empty_namespace('sales')") == [(1, 0)]


@pytest.mark.parametrize(
    "made", ["CREATE TABLE millrace_private.secrets (n int)", "CREATE TABLE millrace_private.messages (n int)"])
def test_no_schema_is_dropped_that_is_not_a_namespace_s(trusted, sales, made):  # noqa: F811
    superuser = trusted.connect("store")
    sql(superuser, "CREATE SCHEMA millrace_private")
    sql(superuser, made)
    sql(sales, "INSERT INTO millrace.namespaces (name, schema) VALUES ('private', 'millrace_private')")
    for call in ("drop_namespace", "json_drop_namespace"):
        with pytest.raises(psycopg2.Error) as error:
            sql(superuser, f"SELECT millrace.{call}('private')")
        assert error.value.pgcode in ("MR010", "2BP01")
    assert sql(
        superuser,
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'millrace_private'::regnamespace AND relkind = 'r'") == [
            (1, )
        ]
    sql(superuser, "DROP SCHEMA millrace_private CASCADE")
    assert sql(superuser, "SELECT millrace.drop_namespace('private')") == [(0,)]


def test_adopting_message_db_does_not_run_what_default_has(trusted, owner):  # noqa: F811
    sql(owner, ATTACK)
    sql(owner, "SELECT millrace.create_namespace('default')")
    sql(owner, "ALTER TABLE millrace_default.messages RENAME TO kept")
    sql(owner, "CREATE VIEW millrace_default.messages AS SELECT * FROM millrace_default.kept WHERE public.attack() = 1")
    assert look(trusted, ["install_message_db()"]) == {"install_message_db()": "MR010"}


def test_a_write_that_the_table_itself_refuses_runs_its_defaults_as_its_owner(trusted, owner):  # noqa: F811
    superuser = trusted.connect("store")
    sql(superuser, "SELECT millrace.install_message_db()")
    sql(superuser, "ALTER TABLE message_store.messages OWNER TO owner")
    sql(superuser, "GRANT ALL ON SCHEMA message_store TO owner")
    sql(owner, ATTACK)
    sql(owner,
        "ALTER TABLE message_store.messages ALTER COLUMN time SET DEFAULT now() + interval '1 second' * public.take()")
    for arguments, code in (("'no uuid', 'a-1', 'T'", "22P02"), ("gen_random_uuid()::varchar, 'a-1', NULL", "23502"),
                            ("gen_random_uuid()::varchar, NULL, 'T'", "23502")):
        with pytest.raises(psycopg2.Error) as error:
            sql(superuser, f"SELECT message_store.write_message({arguments}, '{{}}')")
        assert error.value.pgcode == code
        assert not taken(superuser)
        assert sql(superuser, "SELECT current_user::text") == [("tester",)]


CATEGORY = ("CREATE FUNCTION message_store.category(stream_name varchar) RETURNS varchar "
            "LANGUAGE sql IMMUTABLE AS 'SELECT $1'")
MESSAGE_DB = [
    "CREATE SCHEMA message_store", CATEGORY,
    """CREATE TABLE message_store.messages (global_position bigserial PRIMARY KEY, position bigint NOT NULL,
        time timestamp NOT NULL DEFAULT now(), stream_name text NOT NULL, type text NOT NULL,
        data jsonb, metadata jsonb, id uuid NOT NULL DEFAULT gen_random_uuid());
    CREATE UNIQUE INDEX messages_id ON message_store.messages (id);
    CREATE UNIQUE INDEX messages_stream ON message_store.messages (stream_name, position);
    CREATE INDEX messages_category ON message_store.messages (message_store.category(stream_name), global_position);
    CREATE FUNCTION message_store.write_message(id varchar, stream_name varchar, type varchar, data jsonb,
        metadata jsonb, expected_version bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'"""
]


def owned(superuser):
    return sql(
        superuser,
        "SELECT DISTINCT proowner::regrole::text FROM pg_proc WHERE pronamespace = 'message_store'::regnamespace")


def test_no_function_of_another_role_is_in_an_index_of_a_superuser_s_table(trusted, owner):  # noqa: F811
    """A function keeps its owner when it is replaced, and an index runs it with the rights of the table's, in ANALYZE
    for one."""
    superuser = trusted.connect("store")
    sql(owner, "CREATE SCHEMA message_store")
    sql(owner, CATEGORY)
    with pytest.raises(psycopg2.Error, match="schema message_store belongs to role owner") as error:
        sql(superuser, "SELECT millrace.install_message_db()")
    assert error.value.pgcode == "MR010"
    assert sql(superuser, "SELECT to_regclass('message_store.messages')") == [(None,)]
    sql(superuser, "ALTER SCHEMA message_store OWNER TO tester")
    assert sql(superuser, "SELECT millrace.install_message_db()") == [("installed",)]
    assert owned(superuser) == [("tester",)]


def test_the_owner_of_an_adopted_table_makes_nothing_else_of_functions_in_c(trusted, owner):  # noqa: F811
    """Called with NULL, one that is not made for it crashes the server."""
    superuser = trusted.connect("store")
    for statement in MESSAGE_DB:
        sql(owner, statement)
    assert sql(superuser, "SELECT millrace.install_message_db()") == [("adopted",)]
    assert owned(superuser) == [("tester",)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        sql(owner, "ALTER FUNCTION message_store.category(varchar) CALLED ON NULL INPUT")
    assert sql(owner, "SELECT message_store.write_message(gen_random_uuid()::varchar, 'a-1', 'T', '{}')") == [(0,)]


HELPED = [
    # From 17 on CREATE INDEX calls it by no search path either.
    """CREATE FUNCTION public.norm(type text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN type; END $$;
    CREATE INDEX ON millrace_sales.messages (public.norm(type));
    CREATE OR REPLACE FUNCTION public.norm(type text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
        BEGIN RETURN helper(type); END $$""",
    """CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM helper(NEW.type); RETURN NULL; END $$;
    CREATE TRIGGER keep AFTER INSERT ON millrace_sales.messages FOR EACH ROW EXECUTE FUNCTION public.keep()""",
    """CREATE TABLE public.log (type text);
    CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO log VALUES (NEW.type); RETURN NULL; END $$;
    CREATE TRIGGER keep AFTER INSERT ON millrace_sales.messages FOR EACH ROW EXECUTE FUNCTION public.keep()"""
]


@pytest.mark.parametrize("helped", HELPED, ids=["index", "trigger", "table"])
def test_a_role_that_appends_does_not_choose_what_the_owner_s_functions_call(trusted, sales, helped):  # noqa: F811
    """They run as the owner, so by no search_path of the caller's."""
    superuser = trusted.connect("store")
    sql(superuser, "GRANT CREATE ON DATABASE store TO another")
    sql(sales, "GRANT USAGE ON SCHEMA millrace_sales TO another")
    sql(sales, "GRANT SELECT, INSERT ON millrace_sales.messages TO another")
    sql(sales, "CREATE FUNCTION public.helper(type text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(type)'")
    sql(sales, helped)
    another = connect(trusted, "another")
    sql(another, "CREATE SCHEMA mine")
    trap = ("LANGUAGE plpgsql {} AS $$ BEGIN "
            "IF current_user <> 'another' THEN RAISE EXCEPTION 'run as %', current_user; END IF; RETURN {}; END $$")
    sql(another, "CREATE FUNCTION mine.helper(type text) RETURNS text " + trap.format("IMMUTABLE", "type"))
    sql(another, "CREATE FUNCTION mine.trap() RETURNS trigger " + trap.format("", "NEW"))
    sql(another, "CREATE TABLE mine.log (type text)")
    sql(another, "CREATE TRIGGER trap BEFORE INSERT ON mine.log FOR EACH ROW EXECUTE FUNCTION mine.trap()")
    sql(another, "GRANT ALL ON SCHEMA mine TO PUBLIC; GRANT ALL ON mine.log TO PUBLIC")
    sql(another, "SET search_path = mine, public")
    with pytest.raises(psycopg2.Error) as error:
        sql(another, "SELECT millrace.append('a-1', 'T', '{}', namespace => 'sales')")
    assert error.value.pgcode in ("42883", "42P01") and "run as" not in str(error.value), error.value
