"""Reads from the end miss nothing: whoever goes on forward from the highest position they saw has seen all below it."""
import random
import threading

import psycopg2
import pytest

from store import Cluster, sql, wait_until

SETTINGS = ["max_prepared_transactions=5"]
BACKWARD = "SELECT array_agg(global_position) FROM millrace.read_all(batch_size => -1, direction => 'backward')"
CATEGORY = ("SELECT array_agg(global_position) FROM millrace.read_category('a', batch_size => -1, "
            "direction => 'backward')")
STORED = "SELECT global_position, millrace.category(stream_name) FROM millrace_n.messages"
APPEND = "SELECT global_position FROM millrace.append(%s, 'T', '{}')"


@pytest.fixture(scope="module")
def pair(shared_cluster):
    """A primary and its standby; the namespace of a session is n."""
    primary = Cluster(shared_cluster.folder.parent / "primary", SETTINGS).create().start()
    sql(primary.connect(), "CREATE EXTENSION millrace")
    sql(primary.connect(), "SELECT millrace.create_namespace('n')")
    sql(primary.connect(), "ALTER DATABASE postgres SET millrace.namespace = n")
    standby = Cluster(shared_cluster.folder.parent / "standby", SETTINGS).copy_of(primary).start()
    yield primary, standby
    standby.stop("immediate")
    primary.stop("immediate")


@pytest.fixture
def emptied(pair):
    primary, standby = pair
    sql(primary.connect(), "TRUNCATE millrace_n.messages RESTART IDENTITY")
    replayed(primary, standby)
    return primary, standby


def replayed(primary, standby):
    position = sql(primary.connect(), "SELECT pg_current_wal_lsn()")[0][0]
    wait_until(lambda: sql(standby.connect(), "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", position)[0][0],
               "the standby")


def begin(cluster, stream):
    connection = cluster.connect()
    sql(connection, "BEGIN")
    sql(connection, APPEND, stream)
    return connection


def between(primary):
    """An append that is open, between two that are not: the writer of those, and its own session."""
    fast = primary.connect()
    sql(fast, APPEND, "a-1")
    slow = begin(primary, "b-1")
    sql(fast, APPEND, "a-1")
    return fast, slow


def test_what_was_prepared_may_still_commit(emptied):
    primary, _ = emptied
    fast, other, reader = primary.connect(), primary.connect(), primary.connect()
    sql(fast, APPEND, "a-1")
    sql(other, "BEGIN")
    sql(other, "SELECT pg_current_xact_id()")
    sql(reader, "BEGIN")
    sql(reader, APPEND, "a-2")
    assert sql(reader, BACKWARD) == [([2, 1],)]
    sql(reader, "PREPARE TRANSACTION 'kept'")
    sql(fast, APPEND, "a-3")
    assert sql(reader, BACKWARD) == [([1],)]
    sql(fast, "COMMIT PREPARED 'kept'")
    assert sql(reader, BACKWARD) == [([3, 2, 1],)]
    sql(other, "ROLLBACK")


def test_a_standby_ends_below_the_same(emptied):
    primary, standby = emptied
    reader = standby.connect()
    fast, slow = between(primary)
    replayed(primary, standby)
    assert sql(reader, BACKWARD) == sql(reader, CATEGORY) == [([1],)]
    slower = begin(primary, "b-2")
    sql(fast, APPEND, "a-1")
    sql(slow, "COMMIT")
    replayed(primary, standby)
    assert sql(reader, BACKWARD) == [([3, 2, 1],)]
    assert sql(reader, CATEGORY) == [([3, 1],)]
    assert sql(reader, "SELECT stream, version FROM millrace.recent_streams()") == [("a-1", 1), ("b-1", 0)]
    sql(slower, "ROLLBACK")
    sql(fast, APPEND, "c-1")  # its commit brings the other's end along
    replayed(primary, standby)
    assert sql(reader, BACKWARD) == [([6, 5, 3, 2, 1],)]


def write(cluster, number, seconds, stop):
    connection, choose = cluster.connect(), random.Random(number)
    while not stop.is_set():
        sql(connection, "BEGIN")
        for _ in range(choose.randrange(1, 4)):
            sql(connection, APPEND, f"{choose.choice('abc')}-{number}")
            sql(connection, "SELECT pg_sleep(%s)", choose.random() * seconds)
            if choose.random() < 0.1:
                sql(connection, "SAVEPOINT s")
                sql(connection, APPEND, f"a-{number}")
                sql(connection, "ROLLBACK TO s")
        sql(connection, "COMMIT" if choose.random() < 0.8 else "ROLLBACK")


def read(cluster, number, seen, stop):
    connection, choose = cluster.connect(), random.Random(number)
    while not stop.is_set():
        if choose.random() < 0.05:
            connection = cluster.connect()
        kind = choose.choice((BACKWARD, CATEGORY))
        seen.append((kind, sql(connection, kind)[0][0] or []))


def test_beside_writers_nothing_appears_below_what_was_read(emptied):
    primary, standby = emptied
    stop, seen = threading.Event(), []
    threads = [threading.Thread(target=write, args=(primary, n, 0.02 * n, stop)) for n in range(6)]
    threads += [threading.Thread(target=read, args=(cluster, n, seen, stop)) for n in range(2) for cluster in emptied]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(seen) > 1500 and sum(len(s) > 100 for _, s in seen) > 500, "readers", 120)
    stop.set()
    for thread in threads:
        thread.join()
    stored = sql(primary.connect(), STORED)
    for kind, positions in seen:
        assert positions == sorted(positions, reverse=True)
        if positions:
            wanted = {position for position, category in stored
                      if position <= positions[0] and (kind == BACKWARD or category == "a")}
            assert set(positions) == wanted, positions[0]


def test_a_reader_in_a_transaction_that_keeps_its_snapshot(emptied):
    primary, _ = emptied
    reader = primary.connect()
    fast, slow = between(primary)
    sql(reader, "BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert sql(reader, BACKWARD) == [([1],)]
    sql(slow, "COMMIT")
    sql(fast, APPEND, "a-1")
    assert sql(reader, BACKWARD) == [([1],)]
    sql(reader, "COMMIT")
    assert sql(reader, BACKWARD) == [([4, 3, 2, 1],)]


def test_a_reader_may_be_cancelled_while_it_looks_for_where_to_begin(emptied):
    primary, _ = emptied
    reader = primary.connect()
    sql(primary.connect(), "SELECT count(millrace.append('a-1', 'T', '{}')) FROM generate_series(1, 100000)")
    slow = begin(primary, "b-1")
    sql(reader, "SET statement_timeout = 1")
    with pytest.raises(psycopg2.errors.QueryCanceled):
        for _ in range(100):
            sql(reader, BACKWARD)
    sql(reader, "RESET statement_timeout")
    assert sql(reader, "SELECT global_position FROM millrace.read_all(batch_size => 1, direction => 'backward')") == [
        (100000,)]
    sql(slow, "ROLLBACK")
