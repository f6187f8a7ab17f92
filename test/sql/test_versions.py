"""The versions of the extension, and the way from each to the newest (extension/README.md, "Upgrading")."""
import subprocess

import psycopg2
import pytest

from catalogue import catalogue, difference
from installation import RELEASED
from store import MILLRACE, ROOT, new_id, sql

NAMESPACES = ["default", "sales", "Odd \"name\" é"]


def database(cluster, name, *statements):
    sql(cluster.connect(), f"CREATE DATABASE {name}")
    connection = cluster.connect(name)
    for statement in statements:
        sql(connection, statement)
    return connection


def with_version(version):
    return f"CREATE EXTENSION millrace VERSION '{version}'"


def fill(connection, namespaces=NAMESPACES):
    for number, name in enumerate(namespaces):
        sql(connection, "SELECT millrace.create_namespace(%s, %s, %s)", name, f"number {number}", f"{number:064x}")
        append(connection, name)


def append(connection, name):
    sql(connection, "SELECT set_config('millrace.namespace', %s, false)", name)
    sql(
        connection,
        "SELECT millrace.append('a-' || n % 5, 'T', jsonb_build_object('n', n), '{\"m\": 1}') "
        "FROM generate_series(1, 20) n"
    )


def content(connection):
    registry = sql(
        connection,
        "SELECT name, schema, token_hash, description, metadata, created_at FROM millrace.namespaces ORDER BY 1")
    rows = {}
    for row in registry:
        sql(connection, "SELECT set_config('millrace.namespace', %s, false)", row[0])
        rows[row[0]] = sql(connection, "SELECT * FROM millrace.read_all(batch_size => -1)")
        assert len(rows[row[0]]) == 20
    return registry, rows


def check_goes_on(connection, names=NAMESPACES):
    for name in names:
        sql(connection, "SELECT set_config('millrace.namespace', %s, false)", name)
        assert sql(
            connection,
            "SELECT \"position\", global_position FROM millrace.append('a-1', 'T', '{}', expected_version => 3)") == [
                (4, 21)
            ]
    sql(connection, "SELECT millrace.create_namespace('new')")
    assert sql(connection, "SELECT millrace.drop_namespace('new')") == [(0,)]


def write(connection, stream):
    return sql(connection, "SELECT message_store.write_message(%s, %s, 'T', '{}')", new_id(), stream)[0][0]


def test_program_and_extension_have_the_same_version(cluster):
    ((newest,),) = sql(cluster.connect(), "SELECT default_version FROM pg_available_extensions WHERE name = 'millrace'")
    assert subprocess.run([MILLRACE, "version"], capture_output=True, text=True,
                          check=True).stdout.split()[-1] == newest
    scripts = {path.name for path in (ROOT / "extension").glob("millrace--*.sql")}
    assert scripts == {f"millrace--{version}.sql"
                       for version in [*RELEASED, newest]
                       } | {f"millrace--{version}--{newest}.sql"
                            for version in RELEASED}


@pytest.mark.parametrize("version", RELEASED)
def test_an_updated_database_is_what_a_new_one_is(old, version):
    updated = database(old, "updated", with_version(version))
    fill(updated)
    before = content(updated)
    sql(updated, "ALTER EXTENSION millrace UPDATE")
    fresh = database(old, "fresh", "CREATE EXTENSION millrace")
    assert len(catalogue(fresh)) > 100
    assert difference(catalogue(fresh), catalogue(updated)) == {}
    sql(fresh, "SELECT millrace.create_namespace('sales')")
    sql(updated, "SELECT millrace.create_floors('millrace_sales')")  # as the first removal does
    assert difference(catalogue(fresh, "millrace_sales"), catalogue(updated, "millrace_sales")) == {}
    assert content(updated) == before
    check_goes_on(updated)


@pytest.mark.parametrize("version", RELEASED)
def test_message_db_s_interface_is_updated_too(old, version):
    updated = database(old, "updated", with_version(version), "SELECT millrace.install_message_db()")
    assert [write(updated, "a-1") for _ in range(3)] == [0, 1, 2]
    sql(updated, "ALTER EXTENSION millrace UPDATE")
    fresh = database(old, "fresh", "CREATE EXTENSION millrace", "SELECT millrace.install_message_db()")
    assert len(catalogue(fresh, "message_store")) > 50
    sql(updated, "SELECT millrace.create_floors('message_store')")
    assert difference(catalogue(fresh, "message_store"), catalogue(updated, "message_store")) == {}
    assert write(updated, "a-1") == 3
    assert sql(updated, "SELECT count(*) FROM message_store.get_category_messages('a')") == [(4,)]
    assert sql(updated, "SELECT millrace.install_message_db()") == [("adopted",)]


@pytest.mark.parametrize("version", RELEASED)
def test_until_the_update_the_new_library_serves_the_old_functions(old, version):
    """Between `make install` and ALTER EXTENSION no call is refused, prepared statements of before included."""
    connection, other = database(old, "store", with_version(version)), old.connect("store")
    fill(connection)
    sql(other, "PREPARE append AS SELECT \"position\" FROM millrace.append($1, 'T', '{}')")
    sql(other, "PREPARE read AS SELECT count(*) FROM millrace.read_category($1)")
    assert sql(other, "EXECUTE append('b-1')") == [(0,)] and sql(other, "EXECUTE read('b')") == [(1,)]
    sql(other, "SELECT * FROM millrace.append_messages('b-1', '{\"(T,{},,)\"}'::millrace.new_message[])")
    for call in ("read_stream('a-1')", "read_category('a')", "read_all()", "last_message('a-1')", "list_streams()",
                 "list_categories()", "list_namespaces()", "describe_namespace('default')", "read_horizon()",
                 "feed_head('default')", "json_export('default', 1, NULL, NULL, NULL, 1000000)",
                 "read_feed('default', 1, 100, true)",
                 "read_pokes('default', NULL, NULL, 0, 100, NULL, NULL, false, false, 1000)",
                 "json_read_stream('default', 'a-1', 0, NULL, 10, NULL, 1000000)", "json_list_namespaces()"):
        assert len(sql(connection, f"SELECT * FROM millrace.{call}")) > 0, call
    sql(connection, "ALTER EXTENSION millrace UPDATE")
    assert sql(other, "EXECUTE append('b-1')") == [(2,)] and sql(other, "EXECUTE read('b')") == [(3,)]


PRIVILEGES = """SELECT has_function_privilege(role, p.oid, 'EXECUTE'),
        has_function_privilege(role, p.oid, 'EXECUTE WITH GRANT OPTION')
    FROM unnest(ARRAY['reader', 'lender', 'stranger']) role, pg_proc p WHERE proname = 'stream_version'"""


def test_a_function_whose_arguments_change_keeps_its_grants(old):
    connection = database(old, "store", with_version(RELEASED[-1]), "CREATE ROLE reader", "CREATE ROLE lender",
                          "CREATE ROLE stranger", "REVOKE EXECUTE ON FUNCTION millrace.stream_version FROM PUBLIC",
                          "GRANT EXECUTE ON FUNCTION millrace.stream_version TO reader",
                          "GRANT EXECUTE ON FUNCTION millrace.stream_version TO lender WITH GRANT OPTION")
    before = sql(connection, PRIVILEGES)
    assert before == [(True, False), (True, True), (False, False)]
    sql(connection, "ALTER EXTENSION millrace UPDATE")
    assert sql(connection, "SELECT pronargs FROM pg_proc WHERE proname = 'stream_version'") == [(2,)]
    assert sql(connection, PRIVILEGES) == before

    # They are the administrator's, not the extension's: a dump has them.
    restored = copy(old, "store", "restored")
    assert sql(restored, PRIVILEGES) == before
    check_roles_go(old, connection, "reader", "lender")


def copy(cluster, source, target):
    """Dumps a database into a new one."""
    dump = cluster.folder / "dump"
    subprocess.run([f"{cluster.bin}/pg_dump", "-d", cluster.conninfo(source), "-Fc", "-f", dump], check=True)
    sql(cluster.connect(), f"CREATE DATABASE {target}")
    subprocess.run([f"{cluster.bin}/pg_restore", "--exit-on-error", "-d", cluster.conninfo(target), dump], check=True)
    return cluster.connect(target)


def check_roles_go(cluster, connection, *roles):
    """Nothing is left behind that would keep a role."""
    others = [
        cluster.connect(name) for (name, ) in sql(
            connection, "SELECT datname FROM pg_database WHERE datallowconn AND datname <> current_database()")
    ]
    for role in roles:
        for each in [connection, *others]:
            sql(each, f"DROP OWNED BY {role}")
        sql(connection, f"DROP ROLE {role}")


def test_an_update_that_would_break_a_view_says_so_and_changes_nothing(old):
    connection = database(old, "store", with_version(RELEASED[-1]),
                          "CREATE VIEW mine AS SELECT millrace.stream_version('a-1')")
    before = catalogue(connection)
    with pytest.raises(psycopg2.errors.DependentObjectsStillExist, match="view public.mine depends on function"):
        sql(connection, "ALTER EXTENSION millrace UPDATE")
    assert catalogue(connection) == before


def test_grants_on_the_registry_are_kept_and_dumped(old):
    """The update grants something there itself, and PostgreSQL would take all other grants for the extension's."""
    query = ("SELECT has_table_privilege('server', 'millrace.namespaces', 'INSERT'), "
             "has_column_privilege('server', 'millrace.namespaces', 'token_hash', 'UPDATE')")
    connection = database(old, "store", with_version(RELEASED[-1]), "CREATE ROLE server",
                          "GRANT INSERT ON millrace.namespaces TO server",
                          "GRANT UPDATE (token_hash) ON millrace.namespaces TO server")
    sql(connection, "ALTER EXTENSION millrace UPDATE")
    assert sql(connection, query) == [(True, True)]
    assert sql(copy(old, "store", "restored"), query) == [(True, True)]
    check_roles_go(old, connection, "server")


def test_who_looked_up_or_made_tokens_may_do_so_with_those_of_the_new_table(old):
    """A server's role goes on after the update, and nobody gets more than it had."""
    query = ("SELECT role, ARRAY(SELECT p FROM unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) p"
             " WHERE has_table_privilege(role, 'millrace.tokens', p))"
             " FROM unnest('{server,reader,stranger}'::text[]) role")
    connection = database(old, "store", with_version(RELEASED[-1]), "CREATE ROLE server", "CREATE ROLE reader",
                          "CREATE ROLE stranger",
                          "GRANT SELECT (token_hash), INSERT, UPDATE, DELETE ON millrace.namespaces TO server",
                          "GRANT SELECT (token_hash) ON millrace.namespaces TO reader",
                          "GRANT SELECT (schema) ON millrace.namespaces TO stranger")
    sql(connection, "ALTER EXTENSION millrace UPDATE")
    granted = [("server", ["SELECT", "INSERT", "UPDATE", "DELETE"]), ("reader", ["SELECT"]), ("stranger", [])]
    assert sql(connection, query) == granted
    assert sql(copy(old, "store", "restored"), query) == granted
    check_roles_go(old, connection, "server", "reader", "stranger")


def test_the_owner_of_a_database_administers_an_updated_registry(old):
    sql(old.connect(), "CREATE ROLE owner LOGIN")
    connection = database(old, "store", "ALTER DATABASE store OWNER TO owner", with_version(RELEASED[-1]))
    sql(connection, "ALTER EXTENSION millrace UPDATE")
    sql(connection, "SET ROLE owner")
    sql(connection, "SELECT millrace.create_namespace('sales')")
    assert sql(connection, "SELECT millrace.drop_namespace('sales')") == [(0,)]
