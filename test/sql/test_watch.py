"""What an operator sees of what holds readers back: prepared transactions, standbys, and rows that need not be
looked at."""
import psycopg2
import pytest

from store import Cluster, sql, wait_until

SETTINGS = ["max_prepared_transactions=5"]
HORIZON = "SELECT readable, last, pid, gid FROM millrace.read_horizon(%s, %s)"


@pytest.fixture
def cluster(folder):
    cluster = Cluster(folder + "/pg", SETTINGS).create().start()
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('default')")
    connection.close()
    yield cluster
    cluster.stop("immediate")


def append(connection, stream, n=1):
    sql(connection, "SELECT millrace.append(%s, 'T', '{}') FROM generate_series(1, %s)", stream, n)


def begin(cluster, stream):
    """A transaction that appended and stays open."""
    connection = cluster.connect()
    sql(connection, "BEGIN")
    append(connection, stream)
    return connection


def test_a_prepared_transaction_is_shown_and_named(cluster):
    watcher = cluster.connect()
    open_one = cluster.connect()
    sql(open_one, "BEGIN")
    sql(open_one, "SAVEPOINT inner_one")
    append(open_one, "a-1")
    append(watcher, "a-0")
    sql(open_one, "RELEASE SAVEPOINT inner_one")
    assert sql(watcher, HORIZON, None, None) == [(0, 2, open_one.get_backend_pid(), None)]
    sql(open_one, "PREPARE TRANSACTION 'forgotten'")
    assert sql(watcher, "SELECT namespace, pid, gid, usename, state, streams, xid IS NOT NULL, "
                        "age > interval '0' FROM millrace.appending") == \
        [("default", None, "forgotten", "tester", "prepared", 1, True, True)]
    assert sql(watcher, HORIZON, None, None) == [(0, 2, None, "forgotten")]
    waiting = cluster.connect()
    sql(waiting, "SET lock_timeout = '20s'")
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(1) as pool:
        appended = pool.submit(append, waiting, "a-1")
        rows = wait_until(lambda: sql(watcher, "SELECT lock, blocking_pid, blocking_state FROM millrace.blocked"),
                          "the waiting writer")
        sql(open_one, "COMMIT PREPARED 'forgotten'")
        appended.result()
    assert rows == [("stream", None, "prepared")]
    assert sql(watcher, HORIZON, None, None) == [(3, 3, None, None)]
    assert sql(watcher, "SELECT count(*) FROM millrace.appending") == [(0,)]


def test_the_horizon_is_found_wherever_the_open_transaction_stands(cluster):
    watcher = cluster.connect()
    append(watcher, "a-0", 300)
    # As if one second had passed between any two of them.
    sql(
        watcher,
        "UPDATE millrace_default.messages "
        "SET time = (now() AT TIME ZONE 'utc') - (301 - global_position) * interval '1 second'"
    )
    for _ in range(3):
        open_one = begin(cluster, "a-1")
        pid = open_one.get_backend_pid()
        append(watcher, "a-2", 50)
        last = sql(watcher, "SELECT max(global_position) FROM millrace_default.messages")[0][0]
        assert sql(watcher, HORIZON, None, None) == [(last - 51, last, pid, None)]
        assert sql(watcher, HORIZON, "default", last - 51) == [(last - 51, last, pid, None)]
        assert sql(watcher, HORIZON, "default", last) == [(last, last, None, None)]
        sql(open_one, "COMMIT")
        assert sql(watcher, HORIZON, None, None) == [(last, last, None, None)]


def test_the_horizon_costs_by_what_is_younger_than_the_open_transaction(cluster):
    watcher = cluster.connect()
    append(watcher, "a-0", 20000)
    sql(watcher, "UPDATE millrace_default.messages SET time = time - interval '1 hour'")
    sql(watcher, "VACUUM millrace_default.messages")
    open_one = begin(cluster, "a-1")

    def buffers(position):
        plan = "\n".join(row[0] for row in sql(
            watcher, "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, COSTS OFF) SELECT * FROM millrace.read_horizon(NULL, %s)",
            position))
        return int(plan.split("shared hit=")[1].split()[0])

    # What it reads of the catalogue depends on the server and is the same in both; looking at all rows is 300 more.
    found, told = [(buffers(None), buffers(20000)) for _ in range(2)][-1]
    assert found < told + 200
    open_one.close()


def test_without_rights_on_statistics_the_horizon_is_the_same(cluster):
    watcher = cluster.connect()
    sql(watcher, "CREATE ROLE reader LOGIN")
    sql(watcher, "GRANT USAGE ON SCHEMA millrace_default TO reader")
    sql(watcher, "GRANT SELECT ON millrace_default.messages TO reader")
    append(watcher, "a-0", 5)
    open_one = begin(cluster, "a-1")
    append(watcher, "a-2")
    reader = psycopg2.connect(f"host={cluster.folder} user=reader dbname=postgres")
    assert sql(reader, HORIZON, None, None) == [(5, 7, open_one.get_backend_pid(), None)]
    assert sql(reader, "SELECT namespace, pid, usename, xid IS NOT NULL, age, query FROM millrace.appending") == \
        [("default", open_one.get_backend_pid(), "tester", True, None, "<insufficient privilege>")]
    reader.close()
    open_one.close()


def test_a_standby_knows_the_horizon_too(cluster, folder):
    watcher = cluster.connect()
    append(watcher, "a-0", 5)
    standby = Cluster(folder + "/standby", SETTINGS).copy_of(cluster).start()
    try:
        open_one = begin(cluster, "a-1")
        append(watcher, "a-2")
        reader = standby.connect()
        found = wait_until(lambda: [row for row in sql(reader, HORIZON, None, None) if row[1] == 7],
                           "the messages on the standby")
        assert found == [(5, 7, None, None)]
        sql(open_one, "COMMIT")
        append(watcher, "a-2")
        wait_until(lambda: sql(reader, HORIZON, None, None) == [(8, 8, None, None)], "the commit on the standby")
        reader.close()
    finally:
        standby.stop("immediate")
