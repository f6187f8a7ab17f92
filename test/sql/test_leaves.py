"""Entries that are put straight into an index's leaves (extension/store/leaf.c) leave the index as nbtree would: beside
all that changes a page, replayed with every page compared, and after a crash."""
import random
import threading

import psycopg2
import pytest

from store import Cluster, error_code, need_library, new_id, sql, wait_until

TABLE = "millrace_default.messages"
INDEXES = ("messages_pkey", "messages_id", "messages_stream", "messages_category")
SETTINGS = ["wal_consistency_checking=all", "autovacuum_naptime=1", "max_wal_size=2GB", "hot_standby_feedback=on"]
SESSIONS, STEPS = 4, 150
# Some names have no dash, some are longer than what one byte tells the length of, or so long that they are compressed.
LONGEST_SHORT, LONGEST_PLAIN = 126, 506
NAMES = ["a", "b-1", "b-10", "b-2", "b", "c-" + 130 * "x", "c-" + 600 * "y", "zz-\N{GREEK SMALL LETTER OMEGA}",
         *(length * "d" for longest in (LONGEST_SHORT, LONGEST_PLAIN) for length in (longest, longest + 1))]
MANY = ("SELECT millrace.append_messages(%s, ARRAY(SELECT ROW('T', '{}', NULL, CASE WHEN %s THEN gen_random_uuid() END)"
        "::millrace.new_message FROM generate_series(1, %s)))")
BY_HAND = (f"INSERT INTO {TABLE} (stream_name, position, type) SELECT 'hand-' || gen_random_uuid(), n, 'T' "
           "FROM generate_series(0, 20) n")


@pytest.fixture
def pair(folder):
    need_library("amcheck")
    primary = Cluster(folder + "/primary", SETTINGS).create().start()
    connection = primary.connect()
    for statement in ("CREATE EXTENSION millrace", "CREATE EXTENSION amcheck",
                      "SELECT millrace.create_namespace('default')"):
        sql(connection, statement)
    standby = Cluster(folder + "/standby", SETTINGS).copy_of(primary).start()
    yield primary, standby
    standby.stop("immediate")
    primary.stop("immediate")


def append(connection, dice, prefix):
    """A batch to one of the session's own streams, or a shared one."""
    stream = dice.choice(NAMES) if dice.random() < 0.2 else f"{dice.choice(NAMES)}{prefix}-{dice.randrange(30)}"
    sql(connection, MANY, stream, dice.random() < 0.5, dice.choice([1, 1, 5, 40]))


def step(connection, dice, prefix):
    what = dice.choice(["append"] * 12 + ["aborted", "by hand", "delete", "vacuum", "rebuild"])
    if what == "append":
        append(connection, dice, prefix)
    elif what == "aborted":
        sql(connection, "BEGIN")
        append(connection, dice, prefix)
        sql(connection, "ROLLBACK")
    elif what == "by hand":
        sql(connection, BY_HAND)
    elif what == "delete":
        sql(connection, f"DELETE FROM {TABLE} WHERE stream_name LIKE %s", f"%{prefix}-{dice.randrange(30)}")
    elif what == "vacuum":
        sql(connection, f"VACUUM {TABLE}")
    else:
        sql(connection, f"REINDEX INDEX millrace_default.{dice.choice(INDEXES)}")


def work(primary):
    """Sessions that do all of it at once, each so many times."""
    errors = []

    def run(number):
        connection, dice = primary.connect(), random.Random(number)
        for _ in range(STEPS):
            try:
                step(connection, dice, f"s{number}")
            except psycopg2.errors.DeadlockDetected:  # of REINDEX and VACUUM
                sql(connection, "ROLLBACK")
            except psycopg2.Error as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=run, args=(n,)) for n in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def check(cluster, parents=True):
    """Each index is in order and has every row, and the positions of streams have no gap."""
    connection = cluster.connect()
    for index in INDEXES:
        if parents:
            sql(connection, f"SELECT bt_index_parent_check('millrace_default.{index}', true, true)")
        else:
            sql(connection, f"SELECT bt_index_check('millrace_default.{index}', true)")
    rows = sql(connection, f"SELECT stream_name, count(*), max(position) - min(position) + 1 FROM {TABLE} GROUP BY 1")
    assert [row for row in rows if row[1] != row[2]] == []
    return len(rows)


def test_indexes_are_whole_on_a_primary_its_standby_and_after_a_crash(pair):
    primary, standby = pair
    work(primary)
    streams = check(primary)
    assert streams > 50
    position = sql(primary.connect(), "SELECT pg_current_wal_lsn()")[0][0]
    reader = standby.connect()
    wait_until(lambda: sql(reader, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", position)[0][0], "the standby", 120)
    assert check(standby, parents=False) == streams
    primary.stop("immediate")
    primary.start()
    assert check(primary) == streams
    work(primary)
    check(primary)


@pytest.fixture
def two(connection, another):
    return connection, another()


@pytest.fixture
def table(namespace):
    return f"millrace_{namespace}.messages"


def waiting(session, statement, *arguments):
    """Starts a statement that has to wait for another session, and returns a function for its SQLSTATE."""
    found = []
    pid = session.info.backend_pid
    thread = threading.Thread(target=lambda: found.append(error_code(session, statement, *arguments)))
    thread.start()

    def end():
        thread.join(30)
        return found[0]

    return pid, end


def wait_for_lock(session, pid):
    wait_until(lambda: sql(session, "SELECT cardinality(pg_blocking_pids(%s)) > 0", pid)[0][0], "a wait")


INSERT = "INSERT INTO {} (stream_name, position, type, id) VALUES (%s, %s, 'T', %s)"
APPEND = "SELECT millrace.append_messages(%s, ARRAY[ROW('T', '{}', NULL, %s)::millrace.new_message])"


@pytest.mark.parametrize("end, states", [("COMMIT", "23505"), ("ROLLBACK", None)])
@pytest.mark.parametrize("what", ["id", "position"])
def test_a_plain_insert_waits_for_an_append_with_the_same_key(two, table, what, end, states):
    first, second = two
    stream, identity = f"u-{new_id()}", new_id()
    sql(first, APPEND, stream, new_id())
    sql(first, "BEGIN")
    sql(first, APPEND, stream, identity)
    pid, result = waiting(second, INSERT.format(table), stream if what == "position" else f"u-{new_id()}", 1,
                          identity if what == "id" else new_id())
    wait_for_lock(first, pid)
    sql(first, end)
    assert result() == states


@pytest.mark.parametrize("end, states", [("COMMIT", "23505"), ("ROLLBACK", None)])
def test_an_append_waits_for_a_plain_insert_at_the_same_position(two, table, end, states):
    first, second = two
    stream = f"u-{new_id()}"
    sql(second, APPEND, stream, new_id())
    sql(first, "BEGIN")
    sql(first, INSERT.format(table), stream, 1, new_id())
    pid, result = waiting(second, APPEND, stream, new_id())
    wait_for_lock(first, pid)
    sql(first, end)
    assert result() == states
    assert sql(first, f"SELECT count(*) FROM {table} WHERE stream_name = %s AND position = 1", stream) == [(1,)]


def test_the_version_of_a_stream_whose_last_messages_are_gone(two, table):
    first, second = two
    stream = f"u-{new_id()}"
    for _ in range(3):
        sql(first, APPEND, stream, new_id())
    sql(second, f"DELETE FROM {table} WHERE stream_name = %s AND position > 0", stream)
    sql(first, APPEND, stream, new_id())
    sql(first, "BEGIN")
    sql(first, APPEND, stream, new_id())
    sql(first, "ROLLBACK")
    sql(first, APPEND, stream, new_id())
    sql(second, f"UPDATE {table} SET data = '{{\"n\": 1}}' WHERE stream_name = %s AND position = 2", stream)
    sql(first, APPEND, stream, new_id())
    positions = f"SELECT position FROM {table} WHERE stream_name = %s ORDER BY 1"
    assert sql(first, positions, stream) == [(0,), (1,), (2,), (3,)]
    sql(second, f"DELETE FROM {table} WHERE stream_name = %s", stream)
    sql(first, APPEND, stream, new_id())
    assert sql(first, positions, stream) == [(0,)]


def test_a_second_index_of_streams_is_filled_by_its_own_pages(two, table):
    first, _ = two
    for n in range(20):
        sql(first, MANY, f"s-{n}", False, 100)
    sql(first, f"CREATE UNIQUE INDEX loose ON {table} (stream_name, position) WITH (fillfactor = 10)")
    sql(first, f"REINDEX INDEX {table.split('.')[0]}.messages_stream")
    for n in range(20):
        sql(first, MANY, f"s-{n}", False, 10)
    rows = sql(first, f"SELECT stream_name, max(position) FROM {table} GROUP BY 1")
    assert sorted(rows) == sorted((f"s-{n}", 109) for n in range(20))
