#!/usr/bin/python3
"""Appends and reads of all kinds, on a primary and a standby, beside everything that is done to a table and a server;
then counts.

    chaos.py [--minutes 10] [--seed N] [--no-updates] [--no-kills] [--plain-reader]

The last line is JSON: messages (stored), missed, twice, out_of_order (by readers, or in what is stored against what was
acknowledged), stuck (workers that made no progress for a minute in which nothing legitimately stopped them, or met an
error that nothing explains), amcheck (lines of pg_amcheck).  Exit code 1 when anything but messages is not 0.

`make test-chaos` runs it; by itself it needs a user that is not root.
"""
import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from array import array
from pathlib import Path

sys.path[1:1] = [str(Path(__file__).resolve().parent.parent)]

import disturbers  # noqa: E402
import ledger as ledgers  # noqa: E402
import readers  # noqa: E402
import writers  # noqa: E402
from store import PG_BIN, Cluster, sql, temporary_folder, wait_until  # noqa: E402
from worker import Clock, Watch  # noqa: E402

# With a max_standby_streaming_delay of -1 replay may wait for the snapshot of a session that waits for a lock of
# replay's, and Postgres does not notice.
SETTINGS = [
    "max_prepared_transactions=50", "wal_keep_size=2GB", "max_wal_size=4GB", "autovacuum_naptime=5s",
    "max_standby_streaming_delay=3s", "deadlock_timeout=200ms", "log_min_messages=warning"
]
KILL_EVERY = 25  # seconds
CATCH_UP = 120


class Chaos:
    def __init__(self, folder, seed, updates, plain):
        self.primary = Cluster(folder + "/primary", SETTINGS).create().start()
        self.primary.standby = False
        connection = self.primary.connect()
        sql(connection, "CREATE DATABASE store")
        connection = self.primary.connect("store")
        sql(connection, "CREATE EXTENSION millrace")
        sql(connection, "SELECT millrace.install_message_db()")
        sql(connection, "SELECT setval(pg_get_serial_sequence('message_store.messages', 'global_position'), %s, false)",
            writers.FIRST)
        sql(connection, "CREATE EXTENSION amcheck")
        sql(connection, disturbers.WIDE)
        connection.close()
        self.standby = Cluster(folder + "/standby", SETTINGS).copy_of(self.primary).start()
        self.standby.standby = True
        self.clock, self.ledger = Clock(), ledgers.Ledger()
        self.writers = writers.make(self.primary, self.clock, seed, self.ledger)
        self.readers = (readers.make(self.primary, self.clock, seed, self.ledger, "primary") +
                        readers.make(self.standby, self.clock, seed, self.ledger, "standby"))
        arguments = (self.primary, self.clock, seed)
        if plain:
            self.readers.append(readers.Plain("reader primary Plain", *arguments, self.ledger))
        maintenance = disturbers.Maintenance("maintenance", *arguments)
        self.disturbers = [
            maintenance,
            disturbers.Vacuum("vacuum", *arguments),
            disturbers.Holder("holder", *arguments),
            disturbers.ByHand("by hand", *arguments, self.ledger, updates)
        ]
        victims = [(10, worker) for worker in self.writers
                   ] + [(1, worker) for worker in self.readers if worker.cluster is self.primary] + [(3, maintenance)]
        self.disturbers.append(disturbers.Canceller("canceller", *arguments, victims))
        self.killer = disturbers.Killer(self.primary, self.standby, self.clock, random.Random(seed))
        self.workers = self.writers + self.readers + self.disturbers
        self.watch = Watch(self.workers, self.clock)

    def run(self, minutes, kills):
        began, next_kill = time.monotonic(), time.monotonic() + KILL_EVERY * 0.6
        for worker in [*self.workers, self.watch]:
            worker.start()
        while time.monotonic() < began + minutes * 60:
            time.sleep(1)
            if kills and time.monotonic() > next_kill:
                self.killer.strike()
                next_kill = time.monotonic() + KILL_EVERY
                self.say(began)
        for group in (self.disturbers, self.writers):
            for worker in group:
                worker.ended.set()
            for worker in group:
                worker.join(120)
        self.say(began)

    def say(self, began):
        batches = sum(batch.fate == ledgers.STORED for batch in list(self.ledger.batches.values()))
        print(f"{time.monotonic() - began:4.0f} s: {batches} batches acknowledged, {self.killer.kills} kills, "
              f"{self.disturbers[0].done} times maintenance", flush=True)

    def judge(self, counts):
        """Reads what is stored, lets the readers come to its end, and compares."""
        rows, shares = self.stored()
        ledgers.judge(self.ledger, rows, writers.EDITED, counts)
        stored = array("q", (row[0] for row in rows))
        expected = {}
        for reader in self.readers:
            member = getattr(reader, "member", None)
            expected[reader] = array("q", (row[0] for row in rows if reader.wants(row[1].split("-")[0], row[3]) and
                                           (member is None or shares[row[1]] == member) and
                                           (not isinstance(reader, readers.Stream) or row[1] == reader.name_of_stream)))
            reader.target = expected[reader][-1] if expected[reader] else 0
        end = time.monotonic() + CATCH_UP
        for reader in self.readers:
            reader.join(max(0.1, end - time.monotonic()))
            if reader.is_alive():
                counts.add("stuck", f"{reader.name} is at {reader.position}, and {reader.target} is stored")
            readers.judge(reader, expected[reader], stored, self.ledger.deleted, counts)
        self.watch.ended.set()
        for text in self.watch.stuck:
            counts.add("stuck", text)
        for worker in self.workers:
            for problem in worker.problems:
                counts.add("stuck", f"{worker.name}: {problem}")
        return len(rows)

    def stored(self):
        connection = self.primary.connect("store")
        rows = sql(
            connection,
            "SELECT global_position, stream_name, position, (data ->> 'b')::bigint, (data ->> 'n')::integer "
            "FROM message_store.messages ORDER BY global_position")
        shares = sql(
            connection, "SELECT stream_name, abs(millrace.hash_64(millrace.cardinal_id(stream_name))) %% %s FROM "
            "(SELECT DISTINCT stream_name FROM message_store.messages) AS s", readers.GROUP)
        connection.close()
        return rows, dict(shares)

    def amcheck(self, counts):
        position = sql(self.primary.connect(), "SELECT pg_current_wal_insert_lsn()")[0][0]
        standby = self.standby.connect("store")
        wait_until(lambda: sql(standby, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", position)[0][0], "the standby",
                   300)
        for cluster in (self.primary, self.standby):
            done = subprocess.run([
                f"{PG_BIN}/pg_amcheck", "--heapallindexed", *([] if cluster.standby else ["--parent-check"]), "-h",
                str(cluster.folder), "-U", "tester", "store"
            ], capture_output=True, text=True)
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            for line in lines or (["pg_amcheck failed"] if done.returncode else []):
                counts.add("amcheck", line)

    def stop(self):
        for cluster in (self.standby, self.primary):
            cluster.stop("immediate")


def main():
    parser = argparse.ArgumentParser(
        description=
        "Appends and reads beside everything that is done to a table and a server, and counts what went wrong.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1000000))
    parser.add_argument("--no-updates", action="store_true", help="no UPDATE by hand")
    parser.add_argument("--no-kills", action="store_true")
    parser.add_argument("--plain-reader", action="store_true",
                        help="a reader with a SELECT of its own, which misses messages: the run must fail")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    folder, counts = temporary_folder(), ledgers.Counts()
    chaos = Chaos(folder, arguments.seed, not arguments.no_updates, arguments.plain_reader)
    try:
        chaos.run(arguments.minutes, not arguments.no_kills)
        messages = chaos.judge(counts)
        chaos.amcheck(counts)
    finally:
        chaos.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(counts.lines))
    kinds = ("missed", "twice", "out_of_order", "stuck", "amcheck")
    print(json.dumps({"messages": messages, **{kind: counts.counts[kind] for kind in kinds}}))
    return 1 if sum(counts.counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
