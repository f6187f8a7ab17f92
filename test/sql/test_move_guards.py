"""What a cluster refuses of what `millrace move` asks of it: no namespace that is used is copied over, or dropped."""
import json

import pytest

from store import error_code, sql

NAMES = iter(range(1000))


@pytest.fixture
def connection(shared_cluster):
    name = f"guards{next(NAMES)}"
    sql(shared_cluster.connect(), f"CREATE DATABASE {name}")
    connection = shared_cluster.connect(name)
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('app')")
    sql(connection, "SET millrace.namespace = app")
    return connection


def append(connection):
    sql(connection, "SELECT millrace.append('a-1', 'T', '{}')")


def offer(connection, **others):
    ((version,),) = sql(connection, "SELECT extversion FROM pg_extension WHERE extname = 'millrace'")
    return json.dumps({"schema": "millrace_app", "version": version, "encoding": "UTF8", "statements": [],
                       "indexes": {}, **others})


def receive(connection, name="app", **others):
    return error_code(connection, "SELECT millrace.move_receive(%s, %s)", name, offer(connection, **others))


def state(connection):
    return sql(connection, "SELECT state, epoch FROM millrace.namespaces WHERE name = 'app'")


def test_what_is_open_or_sealed_is_not_dropped_as_a_copy(connection):
    append(connection)
    assert error_code(connection, "SELECT millrace.move_drop('app')") == "MR009"
    sql(connection, "SELECT millrace.seal_namespace('app')")
    assert error_code(connection, "SELECT millrace.move_drop('app')") == "MR009"
    assert sql(connection, "SELECT count(*) FROM millrace.read_all()") == [(1,)]
    sql(connection, "SELECT millrace.set_namespace_state('app', 'moved', 2, 'b')")
    sql(connection, "SELECT millrace.move_drop('app'), millrace.move_drop('app')")
    assert state(connection) == []


def test_what_is_open_or_sealed_gets_no_settings_of_another_cluster(connection):
    sql(connection, "SELECT millrace.create_token('t', '{read}', repeat('0', 64))")
    settle = "SELECT millrace.move_settle('app', '{\"messages_sequence\": 0, \"numbers_sequence\": 0}', 1)"
    assert error_code(connection, settle) == "MR009"
    sql(connection, "SELECT millrace.seal_namespace('app')")
    assert error_code(connection, settle) == "MR009"
    assert sql(connection, "SELECT count(*) FROM millrace.tokens") == [(1,)]


def test_a_namespace_that_is_used_or_sealed_gets_no_copy_in_its_place(connection):
    sql(connection, "SELECT millrace.seal_namespace('app')")
    assert receive(connection) == "MR004"
    sql(connection, "SELECT millrace.unseal_namespace('app')")
    append(connection)
    assert receive(connection) == "MR004"
    sql(connection, "SELECT millrace.remove_stream('a-1')")  # its floor is left
    assert receive(connection) == "MR004"
    assert state(connection) == [("open", 1)]


def test_an_empty_one_does_and_so_does_a_copy_that_was_begun(connection):
    for _ in range(2):
        assert receive(connection) is None
        assert state(connection) == [("sealed", 0)]


def test_a_cluster_that_differs_gets_no_copy(connection):
    for difference in ({"version": "0.1.0"}, {"encoding": "LATIN1"}):
        assert receive(connection, **difference) == "55000"
    assert receive(connection, schema="millrace_other") == "MR010"
    assert state(connection) == [("open", 1)]


def test_nothing_of_others_runs_in_a_copy(connection):
    sql(connection, "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    sql(connection, "SELECT millrace.create_tables_beside('millrace_app')")
    check = "SELECT millrace.check_moved('millrace_app')"
    assert error_code(connection, check) is None
    for make, take in [
            ("CREATE TRIGGER t AFTER INSERT ON {0} FOR EACH ROW EXECUTE FUNCTION public.f(); "
             "ALTER TABLE {0} ENABLE ALWAYS TRIGGER t", "DROP TRIGGER t ON {0}"),
            ("CREATE TRIGGER t AFTER INSERT ON {0} FOR EACH ROW EXECUTE FUNCTION public.f(); "
             "ALTER TABLE {0} ENABLE REPLICA TRIGGER t", "DROP TRIGGER t ON {0}"),
            ("CREATE RULE r AS ON INSERT TO {0} DO ALSO SELECT 1", "DROP RULE r ON {0}; VACUUM {0}"),
    ]:
        for table in ("millrace_app.messages", "millrace_app.consumer_claims"):
            for statement in make.format(table).split("; "):
                sql(connection, statement)
            assert error_code(connection, check) == "MR010"
            for statement in take.format(table).split("; "):
                sql(connection, statement)
            assert error_code(connection, check) is None
    sql(connection, "ALTER TABLE millrace_app.consumer_skipped RENAME TO elsewhere")
    assert error_code(connection, check) == "MR010"


def test_the_default_namespace_is_emptied_and_stays_where_it_went(connection):
    sql(connection, "SET millrace.namespace = default")
    sql(connection, "SELECT millrace.ensure_namespace('default')")
    append(connection)
    sql(connection, "SELECT millrace.create_token('t', '{read}', repeat('0', 64))")
    sql(connection, "SELECT millrace.seal_namespace('default')")
    sql(connection, "SELECT millrace.set_namespace_state('default', 'moved', 2, 'b')")
    sql(connection, "SELECT millrace.move_drop('default')")
    default = "SELECT state, epoch, moved_to FROM millrace.namespaces WHERE name = 'default'"
    assert sql(connection, default) == [("moved", 2, "b")]
    assert sql(connection, "SELECT count(*) FROM millrace.tokens") == [(0,)]
    assert error_code(connection, "SELECT millrace.append('a-1', 'T', '{}')") == "MR029"
    assert error_code(connection, "INSERT INTO millrace_default.messages (stream_name, position, type) "
                                  "VALUES ('a-1', 0, 'T')") == "MR029"


def test_a_copy_of_the_default_namespace_that_is_given_up_is_as_it_was(connection):
    sql(connection, "SET millrace.namespace = default")
    sql(connection, "SELECT millrace.ensure_namespace('default')")
    assert receive(connection, "default", schema="millrace_default") is None
    sql(connection, "SELECT millrace.move_drop('default')")
    append(connection)
    default = "SELECT state, epoch FROM millrace.namespaces WHERE name = 'default'"
    assert sql(connection, default) == [("open", 1)]
