"""Truncating and removing streams: no version is used twice, and what was removed stays away."""
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from store import new_id, sql, wait_until
from sweeping import bring

HEAD = "SELECT millrace.head()"
APPEND = 'SELECT "position" FROM millrace.append(%s, %s, %s, expected_version => %s)'


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


def test_a_floor_counts_that_was_written_while_the_only_other_one_went(connection, another):
    """Who looked at the floors between the two commits must not go on believing that there are none."""
    append(connection, "a-1", 2)
    append(connection, "b-1", 2)
    sql(connection, "SELECT millrace.remove_stream('b-1')")
    remover, appender = another(), another()
    append(remover, "c-1")
    sql(remover, "BEGIN")
    sql(remover, "SELECT millrace.remove_stream('a-1')")
    sql(connection, "SELECT millrace.remove_stream('b-1', forget => true)")
    append(appender, "c-2", expected=-1)
    sql(remover, "COMMIT")
    assert append(appender, "a-1") == [2]
    assert append(appender, "b-1", expected=-1) == [0]


def test_a_removal_that_is_rolled_back_leaves_all(connection):
    append(connection, "a-1", 3)
    sql(connection, "BEGIN")
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    sql(connection, "ROLLBACK")
    assert positions(connection, "a-1") == [0, 1, 2]
    assert sql(connection, "SELECT 1 FROM millrace.removals WHERE namespace = millrace.selected_namespace()") == []
    assert append(connection, "a-1", expected=2) == [3]


def test_a_removal_is_noted(connection, namespace):
    append(connection, "a-1", 3)
    append(connection, "b-1", 1)
    sql(connection, "SELECT millrace.truncate_stream('a-1', 2)")
    assert sql(connection, "SELECT category, from_position, to_position, streams[1] = substring(sha256('a-1') FOR 16) "
                           "FROM millrace.removals WHERE namespace = %s", namespace) == [("a", 1, 2, True)]


@pytest.mark.parametrize("removal", [
    "truncate_stream('a-1', 2)", "remove_stream('a-1')",
    "remove_messages(ARRAY(SELECT id FROM millrace.read_stream('a-1', 0, 2)))"])
def test_a_removal_waits_for_an_append_that_is_open(connection, another, removal):
    append(connection, "a-1", 3)
    other, watcher = another(), another()
    pid = sql(other, "SELECT pg_backend_pid()")[0][0]
    sql(connection, "BEGIN")
    append(connection, "a-1")
    with ThreadPoolExecutor(1) as pool:
        removing = pool.submit(sql, other, f"SELECT millrace.{removal}")
        try:
            wait_until(lambda: removing.done() or sql(watcher, "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted",
                                                      pid), "the removal waits")
            assert not removing.done()
        finally:
            sql(connection, "COMMIT")
        removing.result()
    assert append(connection, "a-1") == [4]


def waits(watcher, pid):
    return sql(watcher, "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted", pid)


@pytest.mark.parametrize("before", [
    "remove_stream('a-1'), millrace.remove_stream('b-1')",  # what is forgotten are floors
    "stream_version('a-1')",  # and messages that no floor is kept of
    None])  # nor is there a table for one
def test_of_two_sessions_that_remove_for_the_first_time_one_waits(connection, another, namespace, before):
    other, watcher = another(), another()
    pid = sql(other, "SELECT pg_backend_pid()")[0][0]
    append(connection, "a-1", 2)
    append(connection, "b-1", 2)
    if before is None:
        sql(connection, f"DROP TABLE millrace_{namespace}.stream_floors, millrace_{namespace}.removed_ids")
    else:
        sql(connection, f"SELECT millrace.{before}")
    sql(connection, "BEGIN; SELECT millrace.remove_stream('a-1', forget => true)")
    with ThreadPoolExecutor(1) as pool:
        removing = pool.submit(sql, other, "SELECT millrace.remove_stream('b-1', forget => true)")
        try:
            wait_until(lambda: removing.done() or waits(watcher, pid), "the other one waits")
            assert not removing.done()
        finally:
            sql(connection, "COMMIT")
        removing.result()
    for stream in ("a-1", "b-1"):
        assert append(watcher, stream, expected=-1) == [0]


def ids(connection, stream):
    return [row[0] for row in sql(connection, "SELECT id FROM millrace.read_stream(%s)", stream)]


def test_notes_of_removals_by_hand_do_not_pile_up(connection, namespace):
    """Also where there is no policy, whose sweeps fold them."""
    append(connection, "a-1", 1000)
    sql(connection, "SELECT millrace.truncate_stream('a-1', n) FROM generate_series(1, 999) n")
    notes = sql(connection, "SELECT from_position, to_position FROM millrace.removals WHERE namespace = %s ORDER BY id",
                namespace)
    assert len(notes) < 300 and notes[0][0] == 1 and notes[-1][1] == 999
    assert all(later[0] == before[1] + 1 for before, later in zip(notes, notes[1:]))


def test_messages_are_removed_by_their_ids_from_the_start_of_their_streams_only(connection):
    append(connection, "a-1", 3)
    append(connection, "b-1", 2)
    first, second = ids(connection, "a-1"), ids(connection, "b-1")
    remove = "SELECT millrace.remove_messages(%s::uuid[])"
    text = refused(connection, "MR009", remove, first[1:])
    assert text == 'stream "a-1" has 3 messages below position 3, and 2 of them are to be removed'
    refused(connection, "02000", remove, [new_id()])
    assert sql(connection, remove, first[:2] + second + first[:1]) == [(4,)]  # an id twice is one message
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


@pytest.mark.parametrize("back, version", [(2, 4), (5, 4), (6, 5)])
def test_a_stream_that_came_back_and_goes_again_keeps_its_version(connection, namespace, back, version):
    append(connection, "a-1", 5)
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    bring(connection, namespace, "a-1", range(back))
    assert sql(connection, "SELECT millrace.stream_version('a-1')") == [(version,)]
    assert sql(connection, "SELECT removed FROM millrace.remove_stream('a-1', %s)", version) == [(back,)]
    refused(connection, "MR001", APPEND, "a-1", "T", "{}", back - 1 if back < 5 else -1)
    assert append(connection, "a-1", expected=version) == [version + 1]


def test_what_comes_back_to_a_closed_stream_leaves_it_closed(connection, namespace):
    append(connection, "a-1", 3)
    close(connection, "a-1")
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    bring(connection, namespace, "a-1", range(2))
    refused(connection, "MR021", APPEND, "a-1", "T", "{}", None)
    assert sql(connection, "SELECT millrace.remove_stream('a-1', 3)") == [("(2,f)",)]
    refused(connection, "MR021", APPEND, "a-1", "T", "{}", None)


def test_what_is_removed_of_several_categories_is_noted_for_each(connection, namespace):
    append(connection, "a-1", 2)
    append(connection, "b-1", 1)
    append(connection, "a-2", 1)
    sql(connection, "SELECT millrace.remove_messages(ARRAY(SELECT id FROM millrace.read_all()))")
    assert sql(connection, "SELECT category, from_position, to_position, cardinality(streams) FROM millrace.removals "
                           "WHERE namespace = %s ORDER BY 1", namespace) == [("a", 1, 4, 2), ("b", 3, 3, 1)]


# ---- closed streams ---------------------------------------------------------------------------------------------


def close(connection, stream, expected=None):
    return sql(connection, "SELECT * FROM millrace.close_stream(%s, %s)", stream, expected)[0]


def test_a_closed_stream_takes_no_more(connection):
    append(connection, "a-1", 2)
    refused(connection, "MR001", "SELECT millrace.close_stream('a-1', 7)")
    place = close(connection, "a-1", 1)
    assert place == (2, 3)
    assert sql(connection, "SELECT type, data FROM millrace.read_stream('a-1', 2)") == [("millrace.closed", {})]
    assert refused(connection, "MR021", APPEND, "a-1", "T", "{}", None) == 'stream "a-1" is closed'
    assert refused(connection, "MR021", APPEND, "a-1", "T", "{}", 0) == 'stream "a-1" is closed'
    assert close(connection, "a-1", 1) == place
    assert close(connection, "a-1") == place
    assert append(connection, "a-2") == [0]


def test_a_retry_on_a_closed_stream_gets_its_first_answer(connection):
    same = new_id()
    query = "SELECT * FROM millrace.append('a-1', 'T', '{}', id => %s)"
    first = sql(connection, query, same)
    close(connection, "a-1")
    assert sql(connection, query, same) == first
    refused(connection, "MR021", query, new_id())


def test_a_closed_stream_stays_closed_without_its_messages(connection):
    append(connection, "a-1", 2)
    close(connection, "a-1")
    assert sql(connection, "SELECT * FROM millrace.truncate_stream('a-1', 2)") == [(2, 2, False)]
    refused(connection, "MR021", APPEND, "a-1", "T", "{}", None)
    assert sql(connection, "SELECT * FROM millrace.remove_stream('a-1', 2)") == [(1, False)]
    refused(connection, "MR021", APPEND, "a-1", "T", "{}", None)
    refused(connection, "MR021", "SELECT millrace.close_stream('a-1')")
    assert sql(connection, "SELECT \"position\" FROM millrace.reopen_stream('a-1')") == [(3,)]
    assert append(connection, "a-1", expected=3) == [4]


def test_who_is_told_that_a_stream_is_closed_is_told_so_for_good(lazy):
    """The answer of a second call waits for the disk as the first one's would, which a crash may take back."""
    first, second = lazy.connect(), lazy.connect()
    append(first, "a-1")
    sql(first, "SET synchronous_commit = off")
    place = close(first, "a-1")
    assert close(second, "a-1") == place
    lazy.stop("immediate")
    lazy.start()
    refused(lazy.connect(), "MR021", APPEND, "a-1", "T", "{}", None)


def test_a_stream_is_reopened_by_a_message(connection):
    append(connection, "a-1")
    assert refused(connection, "MR009", "SELECT millrace.reopen_stream('a-1')") == 'stream "a-1" is not closed'
    close(connection, "a-1")
    place = sql(connection, "SELECT * FROM millrace.reopen_stream('a-1')")
    assert place == [(2, 3)]
    assert sql(connection, "SELECT * FROM millrace.reopen_stream('a-1')") == place
    assert append(connection, "a-1", expected=2) == [3]
    refused(connection, "MR009", "SELECT millrace.reopen_stream('a-1')")


def test_only_the_owner_reopens_a_stream(database, connection, namespace):
    role = "r" + new_id().replace("-", "")
    close(connection, "a-1")
    sql(connection, f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA millrace_{namespace} TO {role}; "
                    f"GRANT SELECT, INSERT ON millrace_{namespace}.messages TO {role}; "
                    f"GRANT USAGE ON SEQUENCE millrace_{namespace}.messages_global_position_seq TO {role}")
    sql(connection, f"SET ROLE {role}")
    refused(connection, "42501", "SELECT millrace.reopen_stream('a-1')")
    assert close(connection, "a-2") == (0, 2)
    sql(connection, "RESET ROLE")


def test_a_request_with_a_closed_stream_is_refused_whole(connection):
    close(connection, "a-1")
    refused(connection, "MR021", """SELECT millrace.append_streams(ARRAY[
        ROW('a-2', ARRAY[ROW('T', '{}', NULL, NULL)::millrace.new_message], NULL)::millrace.stream_append,
        ROW('a-1', ARRAY[ROW('T', '{}', NULL, NULL)::millrace.new_message], NULL)::millrace.stream_append])""")
    assert positions(connection, "a-2") == []


@pytest.mark.parametrize("name", ["millrace.closed", "millrace.reopened", "millrace.", "millrace.anything"])
def test_the_stores_own_types_are_refused(connection, name):
    text = refused(connection, "MR024", APPEND, "a-1", name, "{}", None)
    assert text == f'type "{name}" begins with "millrace.", as only the store\'s own types do'
    assert sql(connection, APPEND, "a-1", "millrace", "{}", None) == [(0,)]
    assert sql(connection, APPEND, "a-1", "Millrace.closed", "{}", None) == [(1,)]


# ---- removed ids --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expected", [None, 1, -1])
@pytest.mark.parametrize("closed", [False, True])
def test_a_late_retry_of_a_removed_message_is_refused(connection, another, expected, closed):
    same = new_id()
    retry = "SELECT millrace.append('a-1', 'T', '{}', id => %s, expected_version => %s)"
    other = another()
    append(connection, "a-1")
    sql(connection, retry, same, 0)
    sql(other, retry, same, 0)  # so that the session knows that there are no removed ids
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    if closed:
        close(connection, "a-1")
    for session in (connection, other):
        assert refused(session, "MR002", retry, same, expected) == f"message id {same} was removed"
    assert refused(other, "MR002", "SELECT millrace.append('b-1', 'T', '{}', id => %s)", same)
    assert append(other, "b-1") == [0]


def test_other_sessions_are_told_of_the_first_removed_id(connection, another):
    """Also where there is no floor, of which they would be told, too."""
    same, other = new_id(), another()
    retry = "SELECT millrace.append('a-1', 'T', '{}', id => %s)"
    sql(connection, retry, same)
    append(connection, "a-1")
    append(other, "b-1", 3)
    sql(connection, "SELECT millrace.truncate_stream('a-1', 1)")
    assert refused(other, "MR002", retry, same) == f"message id {same} was removed"


def test_a_removed_id_is_forgotten_after_a_day(connection, namespace):
    same = new_id()
    retry = "SELECT \"position\" FROM millrace.append('a-1', 'T', '{}', id => %s)"
    sql(connection, retry, same)
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    aged = f"UPDATE millrace_{namespace}.removed_ids SET removed_at = removed_at - interval '1 day'"
    sql(connection, aged)
    assert sql(connection, retry, same) == [(1,)]
    sql(connection, "SELECT millrace.remove_stream('a-1')")  # the id's row is renewed
    refused(connection, "MR002", retry, same)
    sql(connection, aged)
    append(connection, "b-1")
    sql(connection, "SELECT millrace.remove_stream('b-1')")
    assert sql(connection, f"SELECT count(*) FROM millrace_{namespace}.removed_ids WHERE id = %s", same) == [(0,)]


def test_an_id_that_came_back_and_is_removed_again_is_known_for_another_day(connection, namespace):
    same = new_id()
    retry = "SELECT millrace.append('a-1', 'T', '{}', id => %s)"
    sql(connection, retry, same)
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    bring(connection, namespace, "a-1", [0], same)
    aged = f"UPDATE millrace_{namespace}.removed_ids SET removed_at = removed_at - interval '23 hours'"
    sql(connection, aged)
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    sql(connection, aged)
    refused(connection, "MR002", retry, same)


# ---- versions everywhere -------------------------------------------------------------------------------------------


def test_reads_tell_the_version_of_a_removed_stream(connection):
    append(connection, "a-1", 5)
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    assert sql(connection, "SELECT millrace.stream_version('a-1')") == [(4,)]
    assert sql(connection, "SELECT millrace.stream_version('a-2')") == [(None,)]
    assert sql(connection, "SELECT millrace.json_stream_version(millrace.selected_namespace(), 'a-1')") == [("4",)]


def test_a_condition_on_a_removed_stream_knows_its_version(connection):
    append(connection, "a-1", 5)
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    query = """SELECT millrace.append('b-1', 'T', '{}', condition => '[{"stream": "a-1", "expectedVersion": %s}]')"""
    refused(connection, "MR001", query, -1)
    sql(connection, query, 4)


@pytest.mark.parametrize("forget", [False, True])
def test_the_head_does_not_go_back(connection, another, forget):
    append(connection, "a-1", 2)
    append(connection, "b-1", 2)
    append(connection, "c-1", 2)
    later = "SELECT millrace.position_at(clock_timestamp() + interval '1 day')"
    reader = another()
    reader.set_session(isolation_level="REPEATABLE READ", autocommit=False)
    assert sql(reader, HEAD) == [(6,)]
    sql(connection, "SELECT millrace.remove_stream('c-1', forget => %s)", forget)
    sql(connection, "SELECT millrace.truncate_stream('b-1', before => 2)")
    append(connection, "a-2")
    sql(connection, "SELECT millrace.remove_stream('a-2', forget => %s)", forget)
    assert sql(connection, HEAD) == [(7,)] and sql(connection, later) == [(8,)]
    assert sql(reader, HEAD) == [(6,)]
    append(connection, "a-1")
    assert sql(connection, HEAD) == [(8,)]


@pytest.mark.parametrize("emptied", ["empty_namespace(%(name)s)", "drop_namespace(%(name)s)", None])
def test_an_emptied_namespace_forgets_what_was_removed(connection, another, namespace, emptied):
    """Also one that is dropped, without its messages at last, and made again."""
    same, other = new_id(), another()
    append(connection, "a-1", 5)
    sql(connection, "SELECT millrace.append('b-1', 'T', '{}', id => %s), millrace.remove_stream('a-1')", same)
    sql(connection, "SELECT millrace.remove_stream('b-1')")
    assert append(other, "a-1", 2) == [5, 6]
    if emptied is None:
        sql(connection, f"DROP TABLE millrace_{namespace}.messages")
    with connection.cursor() as cursor:
        cursor.execute("SELECT millrace." + (emptied or "drop_namespace(%(name)s)"), {"name": namespace})
    if not emptied or "drop" in emptied:
        sql(connection, "SELECT millrace.create_namespace(%s)", namespace)
    for session in (connection, other):
        assert sql(session, "SELECT millrace.stream_version('a-1'), millrace.check_removals(category => 'a')") == [
            (None, "")]
    assert append(other, "a-1", expected=-1) == [0]
    assert sql(other, "SELECT \"position\" FROM millrace.append('b-1', 'T', '{}', id => %s)", same) == [(0,)]
