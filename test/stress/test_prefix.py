"""Readers by global position miss nothing, see nothing twice and nothing out of order, whatever the writers do.

Twelve SQL sessions append in transactions with random pauses and rollbacks for 20 s, while three readers
follow: the whole namespace, one category, and a consumer group of that category.
"""
import random
import threading
import time

import pytest

from store import Cluster, sql, wait_until

SECONDS = 20
WRITERS = 12
GROUP = 3


class Writer(threading.Thread):
    def __init__(self, cluster, number):
        super().__init__()
        self.connection, self.random = cluster.connect("store"), random.Random(number)
        self.connection.autocommit = False
        self.committed, self.rolled_back, self.error = [], 0, None

    def run(self):
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                self.transaction()
        except Exception as error:  # shown by the test
            self.error = error
        finally:
            self.connection.close()

    def transaction(self):
        appended = []
        # One stream to a transaction, or two in sorted order: the lock order is the caller's matter.
        streams = sorted(self.random.sample(["a", "b"], self.random.choice((1, 1, 2))))
        with self.connection.cursor() as cursor:
            for category in streams:
                stream = f"{category}-{self.random.randrange(200)}"
                for _ in range(self.random.choice((1, 1, 1, 3))):
                    cursor.execute("SELECT global_position FROM millrace.append(%s, 'T', '{}')", (stream,))
                    appended.append((cursor.fetchone()[0], stream))
                    self.pause()
        self.pause()
        if self.random.random() < 0.2:
            self.connection.rollback()
            self.rolled_back += 1
        else:
            self.connection.commit()
            self.committed += appended

    def pause(self):
        if self.random.random() < 0.3:
            time.sleep(self.random.random() * 0.02)


class Reader(threading.Thread):
    def __init__(self, cluster, query, *arguments):
        super().__init__()
        self.connection, self.query, self.arguments = cluster.connect("store"), query, arguments
        self.seen, self.stop_at, self.error = [], threading.Event(), None

    def run(self):
        try:
            position = 1
            while True:
                last_round = self.stop_at.is_set()
                rows = sql(self.connection, self.query, *self.arguments, position)
                self.seen += rows
                if rows:
                    position = rows[-1][0] + 1
                elif last_round:
                    return
        except Exception as error:  # shown by the test
            self.error = error
        finally:
            self.connection.close()


READERS = {
    "the namespace": (
        "SELECT global_position, stream_name FROM millrace.read_all(\"position\" => %s, batch_size => 100)", ()),
    "a category": (
        "SELECT global_position, stream_name FROM millrace.read_category('a', \"position\" => %s, batch_size => 100)",
        ()),
    "a group": (
        "SELECT global_position, stream_name FROM millrace.read_category('a', consumer_group_member => %s, "
        "consumer_group_size => %s, \"position\" => %s, batch_size => 100)", (1, GROUP)),
}


# What a reader without the rule would do.  It must miss some, or the load proves nothing.
PLAIN_READER = ("SELECT global_position, stream_name FROM millrace_default.messages "
                "WHERE global_position >= %s ORDER BY 1 LIMIT 100")


def expected_of(reader, committed, connection):
    if reader == "the namespace":
        return committed
    mine = [row for row in committed if row[1].startswith("a-")]
    if reader == "a category":
        return mine
    streams = {stream for _, stream in mine}
    share = {
        stream
        for stream in streams if sql(connection, "SELECT abs(('x' || left(md5(%s), 16))::bit(64)::bigint %% %s)",
                                     stream[2:], GROUP)[0][0] == 1
    }
    return [row for row in mine if row[1] in share]


@pytest.fixture
def store(cluster):
    sql(cluster.connect(), "CREATE DATABASE store")
    connection = cluster.connect("store")
    sql(connection, "CREATE EXTENSION millrace")
    if not sql(connection, "SELECT 1 FROM millrace.namespaces WHERE name = 'default'"):
        sql(connection, "SELECT millrace.create_namespace('default')")
    connection.close()
    return cluster


def follow(primary, read_from, caught_up):
    writers = [Writer(primary, number) for number in range(WRITERS)]
    readers = {name: Reader(read_from, query, *arguments) for name, (query, arguments) in READERS.items()}
    plain = Reader(read_from, PLAIN_READER)
    for thread in [*writers, *readers.values(), plain]:
        thread.start()
    for writer in writers:
        writer.join()
    caught_up()
    for reader in [*readers.values(), plain]:
        reader.stop_at.set()
        reader.join()
    assert [thread.error for thread in [*writers, *readers.values(), plain] if thread.error] == []

    committed = sorted(row for writer in writers for row in writer.committed)
    assert len(committed) > 1000 and sum(writer.rolled_back for writer in writers) > 100
    stored = sql(primary.connect("store"), "SELECT count(*) FROM millrace.read_all(batch_size => -1)")[0][0]
    assert stored == len(committed)
    for name, reader in readers.items():
        expected = expected_of(name, committed, primary.connect("store"))
        seen = reader.seen
        missed, twice = len(set(expected) - set(seen)), len(seen) - len(set(seen))
        out_of_order = sum(later <= earlier for earlier, later in zip(seen, seen[1:]))
        print(f"{name}: {len(expected)} messages, {missed} missed, {twice} twice, {out_of_order} out of order")
        assert (missed, twice, out_of_order) == (0, 0, 0) and len(seen) == len(expected), name
    print(f"a plain reader: {len(committed) - len(plain.seen)} missed")
    assert len(plain.seen) < len(committed)


def test_readers_miss_nothing_while_writers_pause_and_roll_back(store):
    follow(store, store, lambda: None)


def test_readers_of_a_standby_miss_nothing_either(store, folder):
    standby = Cluster(folder + "/standby", ["hot_standby=on", "max_standby_streaming_delay=-1"]).copy_of(store).start()
    try:
        def caught_up():
            # The end of a rolled-back transaction is written, but nothing waits for it: the WAL writer sends it a
            # moment later.
            ((end,),) = sql(store.connect("store"), "SELECT pg_current_wal_insert_lsn()")
            connection = standby.connect("store")
            wait_until(lambda: sql(connection, "SELECT pg_last_wal_replay_lsn() >= %s", end)[0][0],
                       "the standby to catch up")
            connection.close()

        assert sql(standby.connect("store"), "SELECT pg_is_in_recovery()") == [(True,)]
        follow(store, standby, caught_up)
    finally:
        standby.stop("immediate")
