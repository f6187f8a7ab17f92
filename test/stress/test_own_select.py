"""A program that reads the table with a SELECT of its own, beside writers whose commits overlap, misses nothing: by the
horizon of its statement, or where appends take Message DB's category lock.  Without either it does, or the load proves
nothing."""
import random
import threading
import time

import pytest

from store import Cluster, sql

SECONDS = 6
WRITERS = 8
PLAIN = (
    "SELECT global_position FROM millrace_default.messages WHERE global_position >= %s AND stream_name LIKE 'a-%%' "
    "ORDER BY global_position LIMIT 1000")
RECIPE = (
    "SELECT global_position FROM millrace_default.messages WHERE global_position >= %s "
    "AND stream_name LIKE 'a-%%' AND global_position <= (SELECT readable FROM millrace.read_horizon('default'{})) "
    "ORDER BY global_position LIMIT 1000"
)


@pytest.fixture
def cluster(folder):
    cluster = Cluster(folder + "/pg", ["fsync=off"]).create().start()
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('default')")
    yield cluster
    cluster.stop("immediate")


def write(connection, number, end, appended, setting):
    pause = random.Random(number)
    sql(connection, f"SET millrace.category_lock = {setting}")
    while time.monotonic() < end:
        sql(connection, "BEGIN")
        # Streams in one order, or two writers wait for each other.
        streams = sorted(pause.randrange(1000) for _ in range(pause.choice((1, 1, 3))))
        mine = [sql(connection, "SELECT global_position FROM millrace.append('a-' || %s, 'T', '{}')", str(stream))[0][0]
                for stream in streams]
        if pause.random() < 0.3:
            time.sleep(pause.random() * 0.01)
        kept = pause.random() > 0.1
        sql(connection, "COMMIT" if kept else "ROLLBACK")
        appended += mine if kept else []


def missed(cluster, query, setting="off", arguments=1):
    """Follows beside the writers; returns how many messages the follower never saw, and how many there were."""
    appended, seen, end = [], [], time.monotonic() + SECONDS
    writers = [
        threading.Thread(target=write, args=(cluster.connect(), number, end, appended, setting))
        for number in range(WRITERS)
    ]
    reader = cluster.connect()
    for writer in writers:
        writer.start()
    finished = False
    while True:
        last_round = finished
        rows = sql(reader, query, *[(seen or [0])[-1] + 1] * arguments)
        seen += [row[0] for row in rows]
        if last_round and not rows:
            break
        finished = not any(writer.is_alive() for writer in writers)
    assert seen == sorted(set(seen))
    assert set(seen) <= set(appended)
    assert len(appended) > 200
    return len(appended) - len(seen)


def test_a_plain_select_misses_messages(cluster):
    assert missed(cluster, PLAIN) > 0


def test_one_up_to_the_horizon_of_its_statement_misses_none(cluster):
    assert missed(cluster, RECIPE.format(""), arguments=1) == 0


def test_one_that_tells_the_horizon_its_position_misses_none(cluster):
    assert missed(cluster, RECIPE.format(", %s"), arguments=2) == 0


def test_one_of_a_category_whose_writers_take_its_lock_misses_none(cluster):
    assert missed(cluster, PLAIN, setting="on") == 0


def test_it_is_message_dbs_lock(cluster):
    writer, other = cluster.connect(), cluster.connect()
    sql(writer, "SET millrace.category_lock = on")
    sql(writer, "BEGIN")
    sql(
        writer,
        "SELECT millrace.append_streams(ARRAY[('a-1', ARRAY[('T', '{}', NULL, NULL)]::millrace.new_message[], NULL), "
        "('b-1', ARRAY[('T', '{}', NULL, NULL)]::millrace.new_message[], NULL), "
        "('a-2', ARRAY[('T', '{}', NULL, NULL)]::millrace.new_message[], NULL)]::millrace.stream_append[])")
    free = "SELECT pg_try_advisory_lock(millrace.hash_64(%s))"
    assert [sql(other, free, category)[0][0] for category in ("a", "b", "c")] == [False, False, True]
    sql(writer, "COMMIT")
    assert [sql(other, free, category)[0][0] for category in ("a", "b", "c")] == [True, True, True]
