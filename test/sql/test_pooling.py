"""The namespace of a call: its own argument, or the setting; behind a transaction pooler, which lends one session to
many clients."""
import psycopg2
import pytest

from store import sql

# Every function with its arguments but the last; what it returns in namespace `one`.
CALLS = {
    "append": "'a-1', 'T', '{\"n\": 1}', NULL, NULL, NULL",
    "append_messages": "'a-1', ARRAY[ROW('T', '{}', NULL, NULL)]::millrace.new_message[], NULL",
    "append_streams": "ARRAY[ROW('a-1', ARRAY[ROW('T', '{}', NULL, NULL)]::millrace.new_message[], "
                      "NULL)]::millrace.stream_append[]",
    "read_stream": "'a-1', 0, 1000, NULL", "read_category": "'a', 1, 1000, NULL, NULL, NULL, NULL",
    "read_all": "1, 1000, NULL", "last_message": "'a-1', NULL", "stream_version": "'a-1'",
    "list_streams": "'', 100, NULL", "list_categories": ""
}


@pytest.fixture
def admin(cluster):
    admin = cluster.connect()
    sql(admin, "CREATE EXTENSION millrace")
    for name in ("default", "one", "two"):
        sql(admin, "SELECT millrace.create_namespace(%s)", name)
    return admin


def call(connection, name, namespace):
    """The function with a namespace as its last argument, by place and by name."""
    arguments = CALLS[name]
    return sql(connection, f"SELECT * FROM millrace.{name}({arguments}{', ' if arguments else ''}{namespace})")


def test_each_function_takes_a_namespace_as_its_last_argument(cluster, admin):
    sql(admin, "SET millrace.namespace = 'two'")
    for name in ("append", "append_messages", "append_streams"):
        call(admin, name, "'one'")
        call(admin, name, "NULL")
        call(admin, name, "namespace => 'one'")
    counts = dict(sql(admin, "SELECT name, message_count FROM millrace.list_namespaces()"))
    assert counts == {"default": 0, "one": 6, "two": 3}
    for name in ("read_stream", "read_category", "read_all"):
        assert [
            len(call(admin, name, namespace))
            for namespace in ("'one'", "NULL", "'two'", "'default'", "namespace => 'one'")
        ] == [6, 3, 3, 0, 6], name
        form = f"SELECT f.* FROM millrace.{name}({CALLS[name]}, 'one') f, generate_series(1, 1)"
        assert len(sql(admin, form)) == 6, name
    assert [call(admin, "stream_version", n) for n in ("'one'", "NULL", "'default'")] == [[(5,)], [(2,)], [(None,)]]
    assert [len(call(admin, "last_message", n)) for n in ("'one'", "NULL", "'default'")] == [1, 1, 0]
    assert [[row[1] for row in call(admin, "list_streams", n)] for n in ("'one'", "NULL", "'default'")] == [[5], [2],
                                                                                                            []]
    assert [call(admin, "list_categories", n) for n in ("'one'", "NULL", "'default'")] == [[("a", 1, 6)], [("a", 1, 3)],
                                                                                           []]
    for name in CALLS:
        with pytest.raises(psycopg2.Error) as error:
            call(admin, name, "'nowhere'")
        assert error.value.pgcode == "MR003", name


def test_rights_are_those_on_the_namespace_of_the_argument(cluster, admin):
    sql(admin, "CREATE ROLE tenant")
    sql(admin, "GRANT USAGE ON SCHEMA millrace_one TO tenant")
    sql(admin, "GRANT SELECT, INSERT ON millrace_one.messages TO tenant")
    sql(admin, "SET ROLE tenant")
    sql(admin, "SET millrace.namespace = 'one'")
    for name in CALLS:
        call(admin, name, "'one'")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            call(admin, name, "'two'")
    sql(admin, "SET millrace.namespace = 'two'")
    for name in CALLS:
        call(admin, name, "'one'")


def refused(connection, statement):
    with pytest.raises(psycopg2.Error) as error:
        sql(connection, statement)
    assert error.value.pgcode == "55000" and "SET LOCAL" in str(error.value)


APPEND = "SELECT millrace.append('a-1', 'T', '{}')"


@pytest.mark.parametrize("loaded", [True, False])
def test_behind_a_pooler_no_client_works_in_another_one_s_namespace(cluster, admin, loaded):
    sql(admin, "ALTER DATABASE postgres SET millrace.transaction_pooling = on")
    shared = cluster.connect()
    if loaded:
        sql(shared, "SELECT millrace.category('')")
    sql(shared, "SET millrace.namespace = 'one'")  # one client's, in a transaction of its own
    for statement in (
            APPEND, "SELECT * FROM millrace.read_all()", "SELECT * FROM millrace.list_categories()",
            "SELECT * FROM millrace.read_horizon()",
            "SELECT millrace.append_messages('a-1', ARRAY[ROW('T', '{}', NULL, NULL)]::millrace.new_message[])",
            "SELECT millrace.stream_version('a-1')"):
        refused(shared, statement)
    sql(shared, "SELECT millrace.append('a-1', 'T', '{}', namespace => 'two')")
    sql(shared, "BEGIN; SET LOCAL millrace.namespace = 'two'; " + APPEND + "; COMMIT")
    refused(shared, APPEND)
    sql(
        shared,
        "BEGIN; SET LOCAL millrace.namespace = 'two'; SAVEPOINT s; "
        "SET LOCAL millrace.namespace = 'one'; ROLLBACK TO s; "
        + APPEND + "; COMMIT")
    sql(shared, "RESET millrace.namespace")
    sql(shared, APPEND)
    assert dict(sql(
        admin, "SELECT name, message_count FROM millrace.list_namespaces()")) == {"default": 1, "one": 0, "two": 3}


@pytest.mark.parametrize("loaded", [True, False])
def test_behind_a_pooler_what_belongs_to_the_transaction_or_to_the_role_counts(cluster, admin, loaded):
    sql(admin, "ALTER DATABASE postgres SET millrace.transaction_pooling = on")
    sql(admin, "ALTER ROLE tester SET millrace.namespace = 'one'")
    shared = cluster.connect()
    if loaded:
        sql(shared, "SELECT millrace.category('')")
    sql(shared, APPEND)
    other = cluster.connect()
    if loaded:
        sql(other, "SELECT millrace.category('')")
    sql(other, "BEGIN; SELECT set_config('millrace.namespace', 'two', true); " + APPEND + "; COMMIT")
    sql(other, APPEND)
    sql(admin,
        f"CREATE FUNCTION mine() RETURNS SETOF record LANGUAGE sql SET millrace.namespace = 'two' AS $$ {APPEND} $$")
    sql(other, "SELECT mine()")
    assert dict(sql(
        admin, "SELECT name, message_count FROM millrace.list_namespaces()")) == {"default": 0, "one": 2, "two": 2}


def test_without_a_pooler_the_session_s_setting_counts(cluster, admin):
    sql(admin, "SET millrace.namespace = 'one'")
    sql(admin, APPEND)
    assert sql(admin, "SELECT millrace.stream_version('a-1', 'one')") == [(0,)]
