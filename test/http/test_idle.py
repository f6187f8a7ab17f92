"""What subscriptions cost while nothing happens, and that what happens then is told at once (sidecar/README.md, "While
nothing happens")."""
import threading
import time

import psycopg2
import pytest

from store import ZERO_TOKEN, Cluster, Server, sql, wait_until
from subscriber import Subscriber

OF_ONE_WORKER = ["--token", ZERO_TOKEN, "--workers", "1"]
WAIT = "CALL millrace.wait_for_commits"


class Watched:
    """A server with one worker and one subscription, and a look at Postgres from a database of its own."""

    def __init__(self, start, cluster):
        self.cluster, self.look = cluster, cluster.connect("template1")
        self.server = start("--database", cluster.conninfo(), *OF_ONE_WORKER, token=ZERO_TOKEN)
        self.server.client().write("s")
        self.subscriber = self.subscribe(self.server)

    def subscribe(self, server):
        subscriber = Subscriber(server, ZERO_TOKEN, all="true", position="0")
        subscriber.wait_for(1)
        return subscriber

    def connect(self):
        return self.cluster.connect()

    def transactions(self):
        return sql(self.look,
                   "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'postgres'")[0][0]

    def rate(self, seconds=6):
        """Transactions a second; the sessions tell theirs once a second."""
        before, begin = self.transactions(), time.monotonic()
        time.sleep(seconds)  # which is what the rate is taken over
        return (self.transactions() - before) / (time.monotonic() - begin)

    def last_question(self):
        return sql(
            self.look,
            "SELECT extract(epoch FROM max(query_start)) FROM pg_stat_activity "
            "WHERE query LIKE '%%millrace.read_feed(%%' AND datname = 'postgres'")[0][0]

    def now(self):
        return sql(self.look, "SELECT extract(epoch FROM clock_timestamp())")[0][0]

    def is_waiting(self):
        return sql(self.look, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s",
                   WAIT + "%")[0][0] > 0

    def asked_when_calm(self):
        """Waits for a question that came no sooner than a second after the one before: the next one will not come
        sooner of itself, either."""
        last = self.last_question()

        def asked():
            nonlocal last
            before, last = last, self.last_question()
            return last if before and last and last - before > 0.9 and self.is_waiting() else None

        return wait_until(asked, "questions that are a second apart", 60)


@pytest.fixture
def cluster(folder):
    cluster = Cluster(folder + "/pg", ["max_prepared_transactions=5", "autovacuum=off"]).create().start()
    yield cluster
    cluster.stop("immediate")


@pytest.fixture
def watched(start, cluster):
    return Watched(start, cluster)


def test_an_idle_subscription_costs_no_more_than_four_transactions_a_second(watched):
    wait_until(lambda: watched.rate() <= 4, "a server that asks little", 60)


def test_it_asks_as_before_when_it_may_not_wait(watched, cluster):
    sql(cluster.connect(), "ALTER PROCEDURE millrace.wait_for_commits RENAME TO not_there")
    wait_until(lambda: watched.rate(3) > 6, "a server that asks", 60)
    sql(cluster.connect(), "SELECT millrace.append('s', 'T', '{}')")
    assert len(watched.subscriber.wait_for(2)) == 2


# What makes a message readable, or no longer holds back those behind it.

def commit(connect):
    connection = connect()
    return 1, lambda: sql(connection, "SELECT millrace.append('a', 'T', '{}')")


def behind_an_open_one(connect, *statements):
    """An append that is open, a message behind it, and what ends the append."""
    slow = connect()
    for statement in ("BEGIN", "SAVEPOINT one", "SELECT millrace.append('slow', 'T', '{}')"):
        sql(slow, statement)
    sql(connect(), "SELECT millrace.append('a', 'T', '{}')")
    for statement in statements[:-1]:
        sql(slow, statement)
    return slow, lambda: sql(slow, statements[-1])


def late_commit(connect):
    return 2, behind_an_open_one(connect, "COMMIT")[1]


def rollback(connect):
    return 1, behind_an_open_one(connect, "ROLLBACK")[1]


def rollback_of_a_savepoint(connect):
    return 1, behind_an_open_one(connect, "ROLLBACK TO one")[1]


def the_end_of_a_session(connect):
    slow, _ = behind_an_open_one(connect, "SELECT 1")
    return 1, slow.close


def commit_prepared(connect):
    return 2, behind_an_open_one(connect, "PREPARE TRANSACTION 'p'", "COMMIT PREPARED 'p'")[1]


def rollback_prepared(connect):
    return 1, behind_an_open_one(connect, "PREPARE TRANSACTION 'p'", "ROLLBACK PREPARED 'p'")[1]


ENDS = [
    commit, late_commit, rollback, rollback_of_a_savepoint, the_end_of_a_session, commit_prepared, rollback_prepared
]


def is_told_at_once(watched, subscriber, end):
    """Says whether it is told of before the server would have asked of itself.  A busy machine gets several chances."""
    for _ in range(10):
        count, finish = end(watched.connect)
        expected = len(subscriber.events) + count
        asked = watched.asked_when_calm()
        finish()
        subscriber.wait_for(expected)
        if watched.now() - asked < 0.9:
            return True
    return False


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_it_is_told_at_once(watched, end):
    assert is_told_at_once(watched, watched.subscriber, end)


def test_on_a_standby_too(watched, cluster, folder):
    standby = Cluster(folder + "/standby", ["max_prepared_transactions=5"]).copy_of(cluster).start()
    server = None
    try:
        server = Server("--database", standby.conninfo(), *OF_ONE_WORKER, token=ZERO_TOKEN)
        watched.subscriber.close()
        watched.server.stop()
        subscriber, watched.look = watched.subscribe(server), standby.connect("template1")
        assert is_told_at_once(watched, subscriber, commit)
        assert is_told_at_once(watched, subscriber, rollback)
        subscriber.close()
    finally:
        if server:
            server.stop()
        standby.stop("immediate")


def test_two_servers_at_one_database(watched, start, cluster):
    other = start("--database", cluster.conninfo(), *OF_ONE_WORKER, token=ZERO_TOKEN)
    subscriber = watched.subscribe(other)
    sql(watched.connect(), "SELECT millrace.append('a', 'T', '{}')")
    for each in (subscriber, watched.subscriber):
        assert len(each.wait_for(2)) == 2
    subscriber.close()


def test_postgres_restarts_while_nothing_happens(watched, cluster):
    watched.asked_when_calm()
    cluster.stop("immediate")
    cluster.start()
    watched.look = cluster.connect("template1")
    assert is_told_at_once(watched, watched.subscriber, commit)


# The procedure

def wait_in_a_thread(connection, errors):
    def run():
        try:
            for _ in range(2):  # the first ends at once
                sql(connection, "CALL millrace.wait_for_commits(7, true, 60000)")
        except psycopg2.Error as error:
            errors.append(error.pgcode)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_who_waits_keeps_no_snapshot_and_no_lock_and_can_be_cancelled(cluster):
    connection, other = cluster.connect(), cluster.connect()
    sql(other, "CREATE EXTENSION millrace")
    pid, errors = connection.info.backend_pid, []
    thread = wait_in_a_thread(connection, errors)
    wait_until(
        lambda: sql(other, "SELECT wait_event FROM pg_stat_activity WHERE pid = %s AND state = 'active'", pid) == [(
            "Extension", )], "the wait")
    assert sql(other, "SELECT backend_xmin, backend_xid FROM pg_stat_activity WHERE pid = %s", pid) == [(None, None)]
    assert sql(other, "SELECT locktype FROM pg_locks WHERE pid = %s", pid) == [("virtualxid",)]
    sql(other, "SELECT pg_cancel_backend(%s)", pid)
    thread.join()
    assert errors == ["57014"]


def test_the_wait_ends_with_others_transactions_and_not_with_its_time_only(cluster):
    connection, other = cluster.connect(), cluster.connect()
    sql(other, "CREATE EXTENSION millrace")
    thread = wait_in_a_thread(connection, [])
    wait_until(lambda: sql(other, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'Extension'") == [(1, )],
               "the wait")
    sql(other, "CREATE TABLE t ()")
    thread.join(30)
    assert not thread.is_alive()
    sql(connection, "CALL millrace.wait_for_commits(7, false, 60000)")  # what was not heard is told again, at once
    sql(connection, "CALL millrace.wait_for_commits(8, true, 60000)")  # another asker, as well
    sql(connection, "CALL millrace.wait_for_commits(8, true, 1)")


@pytest.mark.parametrize("before, arguments, code", [("BEGIN", "1, true, 1", "25001"),
                                                     ("BEGIN ISOLATION LEVEL REPEATABLE READ", "1, true, 1", "25001"),
                                                     ("", "1, true, -1", "22023"), ("", "1, true, 60001", "22023"),
                                                     ("", "NULL, true, 1", "MR005"), ("", "1, NULL, 1", "MR005"),
                                                     ("", "1, true, NULL", "MR005")])
def test_what_it_refuses(cluster, before, arguments, code):
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION IF NOT EXISTS millrace")
    if before:
        sql(connection, before)
    with pytest.raises(psycopg2.Error) as error:
        sql(connection, f"CALL millrace.wait_for_commits({arguments})")
    assert error.value.pgcode == code
