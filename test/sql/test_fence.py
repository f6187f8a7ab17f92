"""A namespace that is sealed takes no writes, and one that has moved no reads either (extension/store/fence.c)."""
import json
import subprocess
import threading

import psycopg2
import pytest

from store import PG_BIN, error_code, new_id, sql, wait_until

SEALED, MOVED = "MR028", "MR029"
NAMES = iter(range(1000))


@pytest.fixture
def database(shared_cluster):
    name = f"fence{next(NAMES)}"
    sql(shared_cluster.connect(), f"CREATE DATABASE {name}")
    connection = shared_cluster.connect(name)
    sql(connection, "CREATE EXTENSION millrace")
    for namespace in ("app", "other"):
        sql(connection, "SELECT millrace.create_namespace(%s)", namespace)
    sql(connection, "SET millrace.namespace = app")
    append(connection)
    return lambda: selected(shared_cluster.connect(name))


@pytest.fixture
def connection(database):
    return database()


def selected(connection):
    sql(connection, "SET millrace.namespace = app")
    return connection


def append(connection, stream="a-1"):
    return sql(connection, "SELECT global_position FROM millrace.append(%s, 'T', '{}')", stream)[0][0]


def seal(connection):
    sql(connection, "SELECT millrace.seal_namespace('app')")


def move(connection):
    seal(connection)
    sql(connection, "SELECT millrace.set_namespace_state('app', 'moved', 2, 'far \"away\"')")


def waits(connection, other):
    """Whether a session waits for a lock."""
    return sql(connection, "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s",
               other.info.backend_pid)[0][0]


WRITES = [
    "SELECT millrace.append('a-1', 'T', '{}')",
    "SELECT millrace.append('a-1', 'T', '{}', expected_version => 0)",
    "SELECT millrace.append('a-1', 'T', '{}', condition => "
    "'{\"failIfEventsMatch\": {\"items\": [{\"types\": [\"X\"]}]}}')",
    "SELECT millrace.append_messages('a-1', ARRAY[ROW('T', '{}', NULL, NULL)::millrace.new_message])",
    "SELECT millrace.append_streams(ARRAY[ROW('a-1', ARRAY[ROW('T', '{}', NULL, NULL)::millrace.new_message], NULL)"
    "::millrace.stream_append])",
    "SELECT millrace.truncate_stream('a-1', 1)",
    "SELECT millrace.remove_stream('a-1')",
    "SELECT millrace.close_stream('a-1')",
    "SELECT millrace.redact_stream('a-1')",
    "SELECT millrace.empty_namespace('app')",
    "SELECT millrace.drop_namespace('app')",
    "SELECT millrace.index_tags()",
    "SELECT millrace.create_consumer('c')",
    "SELECT millrace.consumer_next('before')",
    "SELECT millrace.drop_consumer('before')",
    "SELECT millrace.set_retention('a', max_count => 1)",
    "SELECT millrace.sweep()",
    "SELECT millrace.create_token('t', '{read}', repeat('0', 64))",
    "SELECT millrace.revoke_token('t')",
    "SELECT millrace.set_namespace_token('app', repeat('0', 64))",
    "SELECT millrace.set_namespace_limits('app', 1)",
    "INSERT INTO millrace_app.messages (stream_name, position, type) VALUES ('a-1', 7, 'T')",
    "UPDATE millrace_app.messages SET type = 'U'",
    "DELETE FROM millrace_app.messages",
    "TRUNCATE millrace_app.messages",
    "COPY millrace_app.messages FROM '/dev/null'",
]
READS = [
    "SELECT * FROM millrace.read_stream('a-1')",
    "SELECT * FROM millrace.read_all()",
    "SELECT millrace.read_all()",
    "SELECT * FROM millrace.read_category('a')",
    "SELECT millrace.stream_version('a-1')",
    "SELECT millrace.head()",
    "SELECT millrace.feed_head('app')",
    "SELECT millrace.read_feed('app', 1, 10, true)",
    "SELECT millrace.json_export('app', 1, NULL, NULL, NULL, 1000)",
    "SELECT millrace.list_categories()",
    "SELECT millrace.describe_namespace('app')",
    "SELECT millrace.consumers_of('app', NULL)",
    "SELECT millrace.list_tokens()",
]


def test_a_sealed_namespace_takes_no_writes_and_answers_reads(connection):
    sql(connection, "SELECT millrace.create_consumer('before')")
    seal(connection)
    assert [statement for statement in WRITES if error_code(connection, statement) != SEALED] == []
    assert [statement for statement in READS if error_code(connection, statement) is not None] == []
    assert "app" in [row[0] for row in sql(connection, "SELECT name FROM millrace.list_namespaces()")]
    sql(connection, "SELECT millrace.unseal_namespace('app')")
    assert append(connection) == 2


def test_a_namespace_that_has_moved_takes_neither_writes_nor_reads(connection):
    sql(connection, "SELECT millrace.create_consumer('before')")
    move(connection)
    assert [statement for statement in WRITES + READS if error_code(connection, statement) != MOVED] == []
    with pytest.raises(psycopg2.Error) as raised:
        append(connection)
    assert raised.value.diag.message_primary == 'namespace "app" has moved to cluster "far "away""'
    assert json.loads(raised.value.diag.message_detail) == {"cluster": 'far "away"', "epoch": 2}
    assert [row[0] for row in sql(connection, "SELECT name FROM millrace.list_namespaces()")] == ["other"]
    assert sql(connection, "SELECT * FROM millrace.consumer_status") == []


def test_a_namespace_that_is_copied_here_takes_neither_writes_nor_reads(connection):
    sql(connection, "SELECT millrace.create_consumer('before')")
    sql(connection, "SELECT millrace.set_namespace_state('app', 'sealed', 0)")
    assert [statement for statement in WRITES + READS if error_code(connection, statement) != SEALED] == []
    assert error_code(connection, "SELECT millrace.unseal_namespace('app')") == SEALED
    assert error_code(connection, "SELECT millrace.set_namespace_state('app', 'open')") == "MR009"
    sql(connection, "SELECT millrace.set_namespace_state('app', 'open', 5)")
    assert append(connection) == 2


def test_a_sealed_namespace_that_never_had_consumers_gets_none(connection):
    sql(connection, "SET millrace.namespace = other")
    sql(connection, "SELECT millrace.seal_namespace('other')")
    assert error_code(connection, "SELECT millrace.create_consumer('c')") == SEALED
    sql(connection, "SELECT millrace.unseal_namespace('other')")
    assert sql(connection, "SELECT * FROM millrace.consumer_status") == []
    sql(connection, "SELECT millrace.create_consumer('c')")


def test_other_namespaces_go_on(connection):
    move(connection)
    sql(connection, "SET millrace.namespace = other")
    assert append(connection) == 1
    sql(connection, "SELECT millrace.create_consumer('c')")
    assert sql(connection, "SELECT namespace FROM millrace.consumer_status") == [("other",)]


def test_a_session_that_has_appended_before_is_refused(database, connection):
    other = database()
    sql(other, "PREPARE p AS SELECT millrace.append('a-1', 'T', '{}')")
    sql(other, "PREPARE plain AS INSERT INTO millrace_app.messages (stream_name, position, type) "
               "VALUES ('a-1', 7, 'T')")
    for _ in range(6):
        sql(other, "EXECUTE p")
    seal(connection)
    for _ in range(2):
        assert error_code(other, "EXECUTE p") == SEALED
        assert error_code(other, "EXECUTE plain") == SEALED
    sql(connection, "SELECT millrace.unseal_namespace('app')")
    sql(other, "EXECUTE p")


def test_a_transaction_with_an_older_snapshot_is_refused(database, connection):
    other = database()
    sql(other, "BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert sql(other, "SELECT count(*) FROM millrace.read_all()") == [(1,)]
    move(connection)
    assert error_code(other, "SELECT millrace.append('a-1', 'T', '{}')") == MOVED


def test_sealing_waits_for_who_has_written(database, connection):
    writer, other = database(), database()
    sql(writer, "BEGIN")
    append(writer)
    thread = threading.Thread(target=sql, args=(connection, "SELECT millrace.seal_namespace('app', '60 s')"))
    thread.start()
    wait_until(lambda: waits(other, connection), "the sealing waits")
    sql(writer, "COMMIT")
    thread.join()
    assert error_code(other, "SELECT millrace.append('a-1', 'T', '{}')") == SEALED
    assert sql(other, "SELECT count(*) FROM millrace.read_all()") == [(2,)]


def test_sealing_gives_up_soon_and_says_who_was_in_the_way(database, connection):
    writer = database()
    sql(writer, "BEGIN")
    append(writer)
    with pytest.raises(psycopg2.errors.LockNotAvailable) as raised:
        sql(connection, "SELECT millrace.seal_namespace('app', '10 ms')")
    assert raised.value.diag.message_detail == f"In the way: session {writer.info.backend_pid}."
    append(writer)
    sql(writer, "COMMIT")
    assert sql(connection, "SELECT state FROM millrace.namespaces WHERE name = 'app'") == [("open",)]
    assert append(connection) == 4


def test_who_waits_for_the_sealing_is_refused(database, connection):
    other = database()
    sql(connection, "BEGIN")
    seal(connection)
    codes = []
    thread = threading.Thread(
        target=lambda: codes.append(error_code(other, "SELECT millrace.append('a-1', 'T', '{}')")))
    thread.start()
    wait_until(lambda: waits(database(), other), "the append waits")
    sql(connection, "COMMIT")
    thread.join()
    assert codes == [SEALED]


def test_a_token_that_is_being_created_is_waited_for(database, connection):
    other = database()
    sql(other, "BEGIN")
    sql(other, "SELECT millrace.create_token('t', '{read}', repeat('0', 64))")
    assert error_code(connection, "SELECT millrace.seal_namespace('app', '10 ms')") == "55P03"
    sql(other, "COMMIT")
    sql(other, "BEGIN ISOLATION LEVEL REPEATABLE READ")
    sql(other, "SELECT millrace.list_tokens()")
    seal(connection)
    assert error_code(other, "SELECT millrace.create_token('u', '{read}', repeat('1', 64))") == SEALED


def test_the_tokens_of_a_sealed_namespace_are_not_revoked(connection):
    sql(connection, "SELECT millrace.set_namespace_token('app', repeat('a', 64)), "
                    "millrace.create_token('t', '{read}', repeat('b', 64))")
    seal(connection)
    for name in ("first", "t", "none"):
        assert error_code(connection, "SELECT millrace.revoke_token(%s)", name) == SEALED
    assert sql(connection, "SELECT name FROM millrace.list_tokens() ORDER BY name") == [("first",), ("t",)]


def test_a_token_that_is_being_revoked_is_waited_for(database, connection):
    sql(connection, "SELECT millrace.create_token('t', '{read}', repeat('b', 64))")
    other = database()
    sql(other, "BEGIN")
    sql(other, "SELECT millrace.revoke_token('t')")
    assert error_code(connection, "SELECT millrace.seal_namespace('app', '10 ms')") == "55P03"
    sql(other, "COMMIT")
    seal(connection)


def test_who_may_not_write_tokens_does_not_hold_up_a_sealing(database, connection):
    """By the lock that is only for who may."""
    other = database()
    name = "plain_" + connection.info.dbname
    sql(connection, f"CREATE ROLE {name}")
    sql(connection, f"GRANT SELECT ON millrace.namespaces TO {name}")
    sql(other, f"SET ROLE {name}")
    for table in ("millrace.tokens", "millrace.retention"):
        assert error_code(other, f"SELECT millrace.check_open('app', '{table}')") == "42501"
    sql(other, "CREATE TEMP TABLE mine ()")
    assert error_code(other, "SELECT millrace.check_open('app', 'mine')") == "MR009"


def test_the_limits_that_are_being_set_are_waited_for(database, connection):
    other = database()
    sql(connection, "BEGIN")
    seal(connection)
    codes = []
    thread = threading.Thread(
        target=lambda: codes.append(error_code(other, "SELECT millrace.set_namespace_limits('app', 7)")))
    thread.start()
    wait_until(lambda: waits(database(), other), "the limits wait")
    sql(connection, "COMMIT")
    thread.join()
    assert codes == [SEALED]


def test_opening_a_namespace_waits_for_no_reader(database, connection):
    reader = database()
    seal(connection)
    sql(reader, "BEGIN")
    sql(reader, "SELECT count(*) FROM millrace.read_all()")
    sql(connection, "SELECT millrace.unseal_namespace('app', '10 ms')")
    assert append(connection) == 2


def test_states_follow_each_other_as_they_may(connection):
    for state, epoch in [("moved", 2), ("open", 0), ("shut", 1)]:
        changed = error_code(connection, "SELECT millrace.set_namespace_state('app', %s, %s, 'b')", state, epoch)
        assert changed in ("MR009", "23514")
    move(connection)
    assert error_code(connection, "SELECT millrace.seal_namespace('app')") == MOVED
    assert error_code(connection, "SELECT millrace.unseal_namespace('app')") == MOVED
    assert error_code(connection, "SELECT millrace.set_namespace_state('app', 'open', 1)") == "MR009"
    assert error_code(connection, "SELECT millrace.set_namespace_state('none', 'sealed')") == "MR003"
    sql(connection, "SELECT millrace.set_namespace_state('app', 'open', 3)")
    assert append(connection) == 2
    assert sql(connection, "SELECT state, epoch, moved_to FROM millrace.namespaces WHERE name = 'app'") == [
        ("open", 3, None)]


def test_a_look_up_of_a_token_says_whether_the_namespace_is_here(connection):
    sql(connection, "SELECT millrace.set_namespace_token('app', repeat('a', 64)), "
                    "millrace.create_token('t', '{read}', repeat('b', 64))")
    move(connection)
    for token in "ab":
        rights = "SELECT state, epoch, moved_to FROM millrace.token_rights(repeat(%s, 64), 'app')"
        assert sql(connection, rights, token) == [("moved", 2, 'far "away"')]


def test_message_db_is_refused_too(connection):
    sql(connection, "SELECT millrace.install_message_db()")
    write = "SELECT message_store.write_message(%s, 'a-1', 'T', '{}')"
    sql(connection, write, new_id())
    sql(connection, "SELECT millrace.seal_namespace('default')")
    with pytest.raises(psycopg2.Error) as raised:
        sql(connection, write, new_id())
    assert (raised.value.pgcode, raised.value.diag.message_primary) == (
        SEALED, 'namespace "default" is sealed: it takes no writes')
    assert len(sql(connection, "SELECT * FROM message_store.get_stream_messages('a-1')")) == 1
    sql(connection, "SELECT millrace.set_namespace_state('default', 'moved', 2, 'b')")
    for statement in ["get_stream_messages('a-1')", "get_category_messages('a')", "get_last_stream_message('a-1')"]:
        assert error_code(connection, f"SELECT * FROM message_store.{statement}") == MOVED


def test_a_restored_database_has_the_state_of_the_dump(connection, shared_cluster, folder):
    move(connection)
    sql(connection, "SELECT millrace.seal_namespace('other')")
    sql(connection, "SELECT millrace.create_directory(), millrace.add_cluster('a', 'host=a')")
    sql(connection, "SELECT millrace.place_namespace('app', 'a')")
    dump = folder + "/dump"
    subprocess.run([f"{PG_BIN}/pg_dump", "-d", connection.dsn, "-Fc", "-f", dump], check=True)
    name = connection.info.dbname + "_restored"
    sql(shared_cluster.connect(), f"CREATE DATABASE {name}")
    subprocess.run([f"{PG_BIN}/pg_restore", "--exit-on-error", "-d", shared_cluster.conninfo(name), dump], check=True)
    restored = shared_cluster.connect(name)
    assert error_code(restored, "SELECT * FROM millrace.read_all(namespace => 'app')") == MOVED
    assert error_code(restored, "SELECT millrace.append('a-1', 'T', '{}', namespace => 'other')") == SEALED
    sql(restored, "SELECT millrace.unseal_namespace('other')")
    sql(restored, "SELECT millrace.append('a-1', 'T', '{}', namespace => 'other')")
    assert sql(restored, "SELECT namespace, cluster FROM millrace.directory_entries()") == [("app", "a")]


# the directory


def test_a_directory_is_made_where_it_is_wanted(connection):
    for statement in ["add_cluster('a', '')", "place_namespace('app', 'a')", "directory_entries()",
                      "directory_clusters()", "unplace_namespace('app')"]:
        assert error_code(connection, f"SELECT millrace.{statement}") == "42P01"
    for _ in range(2):
        sql(connection, "SELECT millrace.create_directory()")
    for name, conninfo, expected in [(None, "", "MR005"), ("", "", "MR006"), ("x" * 201, "", "MR007"),
                                     ("a", None, "MR005")]:
        assert error_code(connection, "SELECT millrace.add_cluster(%s, %s)", name, conninfo) == expected
    sql(connection, "SELECT millrace.add_cluster('a', 'host=a'), millrace.add_cluster('b', 'host=b'), "
                    "millrace.add_cluster('a', 'host=c')")
    assert sql(connection, "SELECT * FROM millrace.directory_clusters()") == [("a", "host=c"), ("b", "host=b")]
    assert error_code(connection, "SELECT millrace.place_namespace('app', 'c')") == "MR009"
    sql(connection, "SELECT millrace.place_namespace('app', 'a'), millrace.place_namespace('other', 'b')")
    assert error_code(connection, "SELECT millrace.place_namespace('app', 'b')") == "MR004"
    assert error_code(connection, "SELECT millrace.drop_cluster('a')") == "MR009"
    sql(connection, "SELECT millrace.unplace_namespace('app')")
    assert error_code(connection, "SELECT millrace.unplace_namespace('app')") == "MR003"
    entries = "SELECT namespace, cluster, epoch, state, change FROM millrace.directory_entries(%s)"
    assert sql(connection, entries, 0) == [("other", "b", 1, "open", 2), ("app", "a", 1, "dropped", 3)]
    assert sql(connection, entries, 2) == [("app", "a", 1, "dropped", 3)]
    sql(connection, "SELECT millrace.drop_cluster('a'), millrace.place_namespace('app', 'b')")
    assert sql(connection, entries, 3) == [("app", "b", 1, "open", 4)]


@pytest.fixture
def directory(connection):
    sql(connection, "SELECT millrace.create_directory(), millrace.add_cluster('a', ''), millrace.add_cluster('b', '')")
    return connection


def in_turns(database, watcher, first, second):
    """Two changes at once, of which the second waits for the first; returns how that one ended."""
    one, other = database(), database()
    sql(one, "BEGIN")
    sql(one, f"SELECT millrace.{first}")
    codes = []
    thread = threading.Thread(target=lambda: codes.append(error_code(other, f"SELECT millrace.{second}")))
    thread.start()
    wait_until(lambda: codes or waits(watcher, other), "the second change waits")
    sql(one, "COMMIT")
    thread.join()
    return codes[0]


ENTRY = "SELECT cluster, state FROM millrace.directory_entries() WHERE namespace = %s"


def test_a_name_that_two_enter_at_once_is_at_one_cluster(database, directory):
    assert in_turns(database, directory, "place_namespace('n', 'a')", "place_namespace('n', 'b')") == "MR004"
    assert sql(directory, ENTRY, "n") == [("a", "open")]


def test_changes_of_the_directory_are_one_after_the_other(database, directory):
    """So that who asks for what is new misses none."""
    first, second = "direct_namespace('m', 'a', 2, 'open')", "direct_namespace('n', 'b', 2, 'open')"
    assert in_turns(database, directory, first, second) is None
    assert sql(directory, "SELECT namespace, change FROM millrace.directory_entries()") == [("m", 1), ("n", 2)]


def test_an_entry_is_taken_out_once(database, directory):
    sql(directory, "SELECT millrace.place_namespace('n', 'a')")
    assert in_turns(database, directory, "unplace_namespace('n')", "unplace_namespace('n')") == "MR003"


def test_a_cluster_that_gets_a_namespace_is_not_dropped(database, directory):
    assert in_turns(database, directory, "place_namespace('n', 'b')", "drop_cluster('b')") == "MR009"
    assert sql(directory, ENTRY, "n") == [("b", "open")]


def test_a_cluster_that_is_being_dropped_gets_no_namespace(database, directory):
    assert in_turns(database, directory, "drop_cluster('b')", "place_namespace('n', 'b')") == "MR009"
    assert sql(directory, ENTRY, "n") == []


def test_a_cluster_that_a_namespace_moves_to_is_not_dropped(directory):
    sql(directory, "SELECT millrace.place_namespace('n', 'a')")
    sql(directory, "SELECT millrace.begin_move('n', 'b', true)")
    assert error_code(directory, "SELECT millrace.drop_cluster('b')") == "MR009"
