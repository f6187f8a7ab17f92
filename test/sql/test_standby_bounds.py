"""On a standby nothing keeps the line pointer of an aborted row from being given to a newer one while a read is on its
way there."""
import os
import signal
import threading
import time

import pytest

from store import Cluster, sql, wait_until

SETTINGS = ["autovacuum=off", "hot_standby_feedback=off", "max_standby_streaming_delay=-1", "max_wal_size=2GB"]
APPEND = "SELECT count(millrace.append(%s || n, 'T', jsonb_build_object('n', n))) FROM generate_series(1, %s) AS n"


@pytest.fixture
def pair(folder):
    primary = Cluster(folder + "/primary", SETTINGS).create().start()
    sql(primary.connect(), "CREATE EXTENSION millrace")
    sql(primary.connect(), "SELECT millrace.create_namespace('n')")
    standby = Cluster(folder + "/standby", SETTINGS).copy_of(primary).start()
    yield primary, standby
    standby.stop("immediate")
    primary.stop("immediate")


def append(primary, stream, count, commit=True):
    connection = primary.connect()
    sql(connection, "SET millrace.namespace = n")
    sql(connection, "BEGIN")
    sql(connection, APPEND, stream, count)
    sql(connection, "COMMIT" if commit else "ROLLBACK")
    connection.close()


def replayed(primary, standby, stopped=None):
    """Waits for the standby.  A reader that was stopped may hold what replay waits for, say a page of the catalogue:
    then it goes on for a moment."""
    position = sql(primary.connect(), "SELECT pg_current_wal_lsn()")[0][0]
    connection = standby.connect()
    checks = 0

    def is_done():
        nonlocal checks
        checks += 1
        if stopped and checks % 100 == 0:
            os.kill(stopped, signal.SIGCONT)
            time.sleep(0.001)
            os.kill(stopped, signal.SIGSTOP)
        return sql(connection, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", position)[0][0]

    wait_until(is_done, "the standby")


# The first message takes the reader long enough to be stopped in it, when it has the entries of a whole page of the
# index in its hand.
LARGE = ("SELECT millrace.append('a-1', 'T', jsonb_build_object('x', (SELECT string_agg(md5(n::text), '') "
         "FROM generate_series(1, 2000000) AS n)))")
MANY = "SELECT count(millrace.append('a-1', 'T', jsonb_build_object('n', n))) FROM generate_series(1, %s) AS n"
# A page of the index has room for so many entries.  The one that does not fit splits it, and what is behind nine tenths
# of it moves to another one, which VACUUM can empty on the standby while the reader stands on the first.  (Of indexes
# that only grow at their end the pages are full: nothing moves, so they are as the others here.)
CAPACITY = {"category": 291, "stream": 291, "all": 407}


@pytest.mark.parametrize("source", CAPACITY)
def test_a_bounded_read_does_not_end_at_a_row_that_took_an_aborted_ones_place(pair, source):
    primary, standby = pair
    main = primary.connect()
    sql(main, "SET millrace.namespace = n")
    sql(main, "ALTER TABLE millrace_n.messages ALTER data SET STORAGE EXTERNAL")
    for index, in sql(main, "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'millrace_n.messages'"
                      "::regclass AND indisunique OR indexrelid::regclass::text LIKE '%category%'"):
        sql(main, f"ALTER INDEX {index} SET (fillfactor = 90)")
    holder = primary.connect(
    )  # an old snapshot, or VACUUM would mark pages all-visible, and the standby would wait for the reader
    sql(holder, "BEGIN ISOLATION LEVEL REPEATABLE READ")
    sql(holder, "SELECT 1")
    before, aborted, after = CAPACITY[source] * 93 // 100, CAPACITY[source] * 3 // 100, 5
    sql(main, LARGE)
    sql(main, MANY, before - 1)
    sql(main, "BEGIN")
    sql(main, MANY, aborted)
    sql(main, "ROLLBACK")
    sql(main, MANY, after)
    below = sql(main, "SELECT millrace.feed_head('n')")[0][0]
    replayed(primary, standby)

    reader, answer = standby.connect(), []
    pid = sql(reader, "SELECT pg_backend_pid()")[0][0]
    arguments = [
        "a-1" if source == "stream" else None, "a" if source == "category" else None, 0 if source == "stream" else 1,
        below
    ]
    call = ("SELECT count, next_position, state "
            "FROM millrace.read_pokes('n', %s, %s, %s, %s, NULL, NULL, true, true, 1000000000, NULL)")
    thread = threading.Thread(target=lambda: answer.extend(sql(reader, call, *arguments)))
    thread.start()
    wait_until(
        lambda: sql(standby.connect(), "SELECT state = 'active' FROM pg_stat_activity WHERE pid = %s", pid)[0][0],
        "the read")
    os.kill(pid, signal.SIGSTOP)
    try:
        sql(main, MANY, 100)  # splits the page
        sql(main, "VACUUM (INDEX_CLEANUP ON, PROCESS_TOAST false) millrace_n.messages")
        append(primary, "c-", 500)  # where the aborted ones were
        replayed(primary, standby, stopped=pid)
    finally:
        os.kill(pid, signal.SIGCONT)
    thread.join()
    (count, position, state), = answer
    wanted = before + after
    # A reader that had passed the aborted ones when it was stopped waits at what was appended since: its index says
    # nothing of the bound.
    complete = ("done", "waiting") if source == "stream" else ("done",)
    assert state == "waiting" and count == before or state in complete and count == wanted, answer
    # Whatever it was, the rest comes with the next page.
    arguments[2] = position
    rest = sql(standby.connect(), call, *arguments)[0]
    assert (count + rest[0], rest[2]) == (wanted, "done")
