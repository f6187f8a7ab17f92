"""Truncating and removing streams: no version is used twice, and what was removed stays away."""
import psycopg2
import pytest

from store import new_id, sql

APPEND = 'SELECT "position" FROM millrace.append(%s, %s, %s, expected_version => %s)'


@pytest.fixture(scope="module")
def database(shared_cluster):
    connection = shared_cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    yield shared_cluster
    connection.close()


@pytest.fixture
def namespace():
    return "n" + new_id().replace("-", "")


@pytest.fixture
def connection(database, namespace):
    connection = database.connect()
    sql(connection, "SELECT millrace.create_namespace(%s)", namespace)
    sql(connection, "SELECT set_config('millrace.namespace', %s, false)", namespace)
    yield connection
    connection.close()


def append(connection, stream, count=1, expected=None):
    return [sql(connection, APPEND, stream, "T", "{}", expected if n == 0 else None)[0][0] for n in range(count)]


def positions(connection, stream):
    return [row[0] for row in sql(connection, 'SELECT "position" FROM millrace.read_stream(%s)', stream)]


def refused(connection, sqlstate, query, *parameters):
    with pytest.raises(psycopg2.Error) as caught:
        sql(connection, query, *parameters)
    assert caught.value.pgcode == sqlstate, caught.value
    return caught.value.diag.message_primary


def test_a_truncated_stream_begins_later_and_goes_on(connection):
    append(connection, "a-1", 10)
    assert sql(connection, "SELECT * FROM millrace.truncate_stream('a-1', 4)") == [(4, 4, False)]
    assert positions(connection, "a-1") == [4, 5, 6, 7, 8, 9]
    assert sql(connection, "SELECT * FROM millrace.truncate_stream('a-1', 4)") == [(0, 4, False)]
    assert append(connection, "a-1", expected=9) == [10]


def test_truncating_goes_in_steps(connection):
    append(connection, "a-1", 10)
    assert sql(connection, "SELECT * FROM millrace.truncate_stream('a-1', 7, 5)") == [(5, 5, True)]
    assert sql(connection, "SELECT * FROM millrace.truncate_stream('a-1', 7, 5)") == [(2, 7, False)]
    assert positions(connection, "a-1") == [7, 8, 9]


def test_a_removed_streams_version_stays(connection):
    append(connection, "a-1", 5)
    assert sql(connection, "SELECT * FROM millrace.remove_stream('a-1', 4)") == [(5, False)]
    assert positions(connection, "a-1") == []
    text = refused(connection, "MR001", APPEND, "a-1", "T", "{}", -1)
    assert text == 'wrong expected version: -1 (stream "a-1" is at version 4)'
    assert append(connection, "a-1", 2, expected=4) == [5, 6]
    assert sql(connection, "SELECT * FROM millrace.truncate_stream('a-1', 100)") == [(2, 7, False)]
    assert append(connection, "a-1") == [7]


def test_a_stream_that_is_forgotten_begins_anew(connection):
    append(connection, "a-1", 3)
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    append(connection, "a-1", 3)
    assert sql(connection, "SELECT * FROM millrace.remove_stream('a-1', forget => true)") == [(3, False)]
    assert append(connection, "a-1", expected=-1) == [0]


def test_a_removal_that_is_rolled_back_leaves_all(connection):
    append(connection, "a-1", 3)
    sql(connection, "BEGIN")
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    sql(connection, "ROLLBACK")
    assert positions(connection, "a-1") == [0, 1, 2]
    assert sql(connection, "SELECT count(*) FROM millrace.removals r WHERE namespace = millrace.selected_namespace()") == [(0,)]
    assert append(connection, "a-1", expected=2) == [3]


def test_a_removal_is_noted(connection, namespace):
    append(connection, "a-1", 3)
    append(connection, "b-1", 1)
    sql(connection, "SELECT millrace.truncate_stream('a-1', 2)")
    assert sql(connection, "SELECT category, from_position, to_position, streams[1] = substring(sha256('a-1') FOR 16) "
                           "FROM millrace.removals WHERE namespace = %s", namespace) == [("a", 1, 2, True)]


def ids(connection, stream):
    return [row[0] for row in sql(connection, "SELECT id FROM millrace.read_stream(%s)", stream)]


def test_messages_are_removed_by_their_ids_from_the_start_of_their_streams_only(connection):
    append(connection, "a-1", 3)
    append(connection, "b-1", 2)
    first, second = ids(connection, "a-1"), ids(connection, "b-1")
    remove = "SELECT millrace.remove_messages(%s::uuid[])"
    text = refused(connection, "55000", remove, first[1:])
    assert text == 'stream "a-1" has 3 messages below position 3, and 2 of them are to be removed'
    refused(connection, "02000", remove, [new_id()])
    assert sql(connection, remove, first[:2] + second) == [(4,)]
    assert (positions(connection, "a-1"), positions(connection, "b-1")) == ([2], [])
    assert append(connection, "b-1", expected=1) == [2]
    assert sql(connection, remove, []) == [(0,)]


@pytest.mark.parametrize("query, sqlstate", [
    ("SELECT millrace.truncate_stream(NULL, 1)", "MR005"),
    ("SELECT millrace.truncate_stream('', 1)", "MR006"),
    ("SELECT millrace.truncate_stream('a-1', NULL)", "MR005"),
    ("SELECT millrace.truncate_stream('a-1', -1)", "MR009"),
    ("SELECT millrace.truncate_stream('a-1', 1, 0)", "MR009"),
    ("SELECT millrace.truncate_stream('a-1', 1, NULL)", "MR005"),
    ("SELECT millrace.truncate_stream('a-1', 1, 1, 'nowhere')", "MR003"),
    ("SELECT millrace.remove_stream(NULL)", "MR005"),
    ("SELECT millrace.remove_stream('a-1', -2)", "MR009"),
    ("SELECT millrace.remove_stream('a-1', 7)", "MR001"),
    ("SELECT millrace.remove_stream('a-1', forget => NULL)", "MR005"),
])
def test_bad_arguments_are_refused(connection, query, sqlstate):
    refused(connection, sqlstate, query)


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_that_keeps_its_snapshot_removes_nothing(connection, level):
    append(connection, "a-1", 3)
    sql(connection, f"BEGIN ISOLATION LEVEL {level}")
    refused(connection, "25001", "SELECT millrace.remove_stream('a-1')")
    sql(connection, "ROLLBACK")
    assert positions(connection, "a-1") == [0, 1, 2]
