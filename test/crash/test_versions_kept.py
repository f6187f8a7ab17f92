"""Appends, removals and sweeps while sessions, or all of Postgres, are killed with -9: no version is given twice."""
import random
import threading
from pathlib import Path

import psycopg2
from store import sql, wait_until
from victims import children, kill

STREAMS = 4


class Hand:
    """Appends, removes, truncates or sweeps in a loop, and survives that its session or all of Postgres dies."""

    def __init__(self, cluster, seed):
        self.cluster, self.dice, self.connection = cluster, random.Random(seed), None
        self.given, self.faults = [], []

    def session(self):
        if self.connection is None or self.connection.closed:
            self.connection = self.cluster.connect()
        return self.connection

    def work(self, over):
        while not over.is_set():
            try:
                self.step(f"a-{self.dice.randrange(STREAMS)}", self.dice.random())
            except psycopg2.OperationalError:
                self.connection = None
            except psycopg2.Error as error:
                if error.pgcode not in ("40001", "40P01", "MR001"):
                    self.faults.append(error)

    def step(self, stream, chance):
        session = self.session()
        if chance < 0.7:
            version = sql(session, "SELECT coalesce(millrace.stream_version(%s), -1)", stream)[0][0]
            expected = version if chance < 0.4 else None
            position = sql(session, "SELECT position FROM millrace.append(%s, 'T', '{}', expected_version => %s)",
                           stream, expected)[0][0]
            self.given.append((stream, position))
            if position <= version:
                self.faults.append((stream, version, position))
        elif chance < 0.85:
            sql(session, "SELECT millrace.remove_stream(%s)", stream)
        elif chance < 0.95:
            sql(session, "SELECT millrace.truncate_stream(%s, coalesce(millrace.stream_version(%s), 0))", stream,
                stream)
        else:
            sql(session, "SELECT millrace.sweep(max_rows => 7)")


def kill_postgres(cluster):
    """All of it, as a crash of the machine does."""
    postmaster = int((cluster.data / "postmaster.pid").read_text().split()[0])
    for pid in [postmaster, *children(postmaster)]:
        kill(pid)
    wait_until(lambda: not Path(f"/proc/{postmaster}").exists(), "the end of Postgres")


def kill_session(cluster):
    connection = cluster.connect()
    for (pid,) in sql(connection, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND "
                                  "pid <> pg_backend_pid() AND state = 'active' ORDER BY random() LIMIT 1"):
        kill(pid)
    connection.close()


def test_no_version_is_given_twice_whatever_is_killed(cluster):
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace; SELECT millrace.create_namespace('default')")
    sql(connection, "SELECT millrace.set_retention('a', max_count => 1)")
    connection.close()
    hands, over = [Hand(cluster, seed) for seed in range(6)], threading.Event()
    threads = [threading.Thread(target=hand.work, args=(over,)) for hand in hands]
    for thread in threads:
        thread.start()
    try:
        for n in range(8):
            before = sum(len(hand.given) for hand in hands)
            wait_until(lambda: sum(len(hand.given) for hand in hands) > before + 100, "they work", 60)
            if n % 2 == 0:
                kill_session(cluster)
            else:
                kill_postgres(cluster)
                cluster.start()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    given = [each for hand in hands for each in hand.given]
    assert [fault for hand in hands for fault in hand.faults] == []
    assert len(given) == len(set(given)) and len(given) > 800
    connection = cluster.connect()
    for n in range(STREAMS):
        last = max((position for stream, position in given if stream == f"a-{n}"), default=-1)
        assert sql(connection, "SELECT position > %s FROM millrace.append(%s, 'T', '{}')", last, f"a-{n}") == [(True,)]
