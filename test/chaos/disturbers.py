"""The workers that disturb: maintenance of all kinds, rows changed by hand, cancels, and kills with recovery."""
import os
import signal
import time
from pathlib import Path

import psycopg2

from store import wait_until
from worker import Worker
from writers import EDITED

TABLE = "message_store.messages"
# (weight, whether others can't have the table meanwhile, statements)
MAINTENANCE = [
    (3, False, ["VACUUM {t}"]),
    (2, False, ["VACUUM (INDEX_CLEANUP ON, FREEZE) {t}"]),
    (2, False, ["ANALYZE {t}"]),
    (1, False, ["CHECKPOINT"]),
    (2, True, ["VACUUM FULL {t}"]),
    (1, True, ["CLUSTER {t} USING messages_pkey"]),
    (1, True, ["CLUSTER {t} USING messages_category"]),
    (1, True, ["REINDEX TABLE {t}"]),
    (3, False, ["REINDEX TABLE CONCURRENTLY {t}"]),
    (3, False, ["REINDEX INDEX CONCURRENTLY message_store.messages_category"]),
    (3, False, ["REINDEX INDEX CONCURRENTLY message_store.messages_pkey"]),
    (2, False, ["REINDEX INDEX CONCURRENTLY message_store.messages_stream"]),
    (1, False, ["REINDEX INDEX CONCURRENTLY message_store.messages_id"]),
    (3, False, [
        "CREATE INDEX CONCURRENTLY chaos_category ON {t} (message_store.category(stream_name), global_position)",
        "DROP INDEX CONCURRENTLY message_store.chaos_category"
    ]),
    (3, False, [
        "CREATE UNIQUE INDEX CONCURRENTLY chaos_global ON {t} (global_position)",
        "DROP INDEX CONCURRENTLY message_store.chaos_global"
    ]),
    (1, False, [
        "CREATE INDEX CONCURRENTLY chaos_own ON {t} (time) WHERE type = 'Odd'",
        "DROP INDEX CONCURRENTLY message_store.chaos_own"
    ]),
    (1, True, [
        "CREATE INDEX chaos_category ON {t} (message_store.category(stream_name), global_position)",
        "DROP INDEX message_store.chaos_category"
    ]),
    (2, True, ["ALTER TABLE {t} ALTER metadata TYPE jsonb USING metadata || '{{}}'"
               ]),  # writes the table anew, with rows as young as itself
    (1, True, ["BEGIN; ALTER TABLE {t} ADD COLUMN extra integer DEFAULT 1; ALTER TABLE {t} DROP COLUMN extra; COMMIT"]),
    (1, True, ["ALTER TABLE {t} ALTER data SET STORAGE EXTERNAL", "ALTER TABLE {t} ALTER data SET STORAGE EXTENDED"]),
    (1, True, ["ALTER TABLE {t} SET (fillfactor = 90)", "ALTER TABLE {t} RESET (fillfactor)"]),
    (1, True, ["GRANT SELECT ON {t} TO PUBLIC", "REVOKE SELECT ON {t} FROM PUBLIC"]),
]
# What an earlier one left that was cancelled or killed.
LEFT = ("SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
        f"WHERE indrelid = '{TABLE}'::regclass "
        "AND (relname LIKE 'chaos\\_%' OR relname LIKE '%\\_ccnew%' OR relname LIKE '%\\_ccold%')")
# A column of its own makes entries that an append finds too large when it has the append lock.
WIDE = f"CREATE INDEX wide ON {TABLE} (message_store.category(stream_name), global_position, type)"


class Maintenance(Worker):
    expected = Worker.expected | {"42P07", "42704"}  # what an earlier one left

    def step(self):
        for (index,) in self.sql(LEFT):
            self.sql(f"DROP INDEX IF EXISTS {index}")
        _, exclusive, statements = self.random.choices(MAINTENANCE, [weight for weight, *_ in MAINTENANCE])[0]
        for statement in statements:
            statement = statement.format(t=TABLE)
            self.statement = statement
            if exclusive:
                with self.clock:
                    self.sql(statement)
            else:
                self.sql(statement)
            self.progress()
        time.sleep(self.random.random() * 2)

    def failed(self, error):
        super().failed(error)
        self.progress()


class Vacuum(Worker):
    """VACUUM beside everything else that is done to the table."""

    def step(self):
        self.sql(f"VACUUM (INDEX_CLEANUP ON, SKIP_LOCKED) {TABLE}")
        self.progress()
        time.sleep(self.random.random() * 3)


class Holder(Worker):
    """A snapshot that is held, for which concurrent builds of indexes wait."""

    def step(self):
        self.sql("BEGIN ISOLATION LEVEL REPEATABLE READ")
        self.sql("SELECT 1")
        time.sleep(self.random.random() * 6)
        self.sql("COMMIT")
        self.progress()
        time.sleep(self.random.random() * 4)


class ByHand(Worker):
    """Changes and deletes rows of one category, none that is its stream's last."""

    def __init__(self, name, cluster, clock, seed, ledger, updates):
        super().__init__(name, cluster, clock, seed)
        self.ledger, self.updates = ledger, updates

    def step(self):
        stream = f"{self.random.choice(EDITED)}-{self.random.randrange(30)}"
        some = ("stream_name = %s AND position IN (SELECT position FROM " + TABLE +
                " WHERE stream_name = %s AND position < "
                "(SELECT max(position) FROM " + TABLE + " WHERE stream_name = %s) ORDER BY random() LIMIT %s)")
        self.sql("BEGIN")
        if self.updates and self.random.random() < 0.5:
            self.sql(f"UPDATE {TABLE} SET metadata = '{{\"changed\": true}}' WHERE {some}", stream, stream, stream,
                     self.random.choice([1, 5, 100]))
        else:
            rows = self.sql(f"DELETE FROM {TABLE} WHERE {some} RETURNING global_position", stream, stream, stream,
                            self.random.choice([1, 5]))
            self.ledger.deleted.update(row[0] for row in rows)
        time.sleep(self.random.random() * 0.2)
        self.sql(self.random.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]))
        self.progress()
        time.sleep(self.random.random() * 0.5)


class Canceller(Worker):
    """Cancels what writers do, mostly, and ends a session now and then."""

    def __init__(self, name, cluster, clock, seed, victims):
        super().__init__(name, cluster, clock, seed)
        self.victims = victims  # (weight, worker)

    def step(self):
        weights, workers = zip(*self.victims)
        victim = self.random.choices(workers, weights)[0]
        how = "pg_cancel_backend" if self.random.random() < 0.93 else "pg_terminate_backend"
        if victim.pid and victim.cluster is self.cluster:
            self.sql(f"SELECT {how}(%s)", victim.pid)
        self.progress()
        time.sleep(self.random.random() * 0.5)


def processes(cluster):
    """The postmaster and its children."""
    postmaster = int((cluster.data / "postmaster.pid").read_text().split()[0])
    return [postmaster, *map(int, Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split())]


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def start_again(cluster):
    """When the last process of the one before is gone.  Recovery may take longer than pg_ctl waits."""
    def started():
        try:
            return cluster.start()
        except AssertionError:
            return answers(cluster)
    wait_until(started, "Postgres to start", 300)


class Killer:
    """Kills a session's process, all processes, stops Postgres at once, and the standby; in turns."""

    def __init__(self, primary, standby, clock, random):
        self.primary, self.standby, self.clock, self.random, self.kills = primary, standby, clock, random, 0

    def strike(self):
        kinds = [self.backend, self.everything, self.at_once, self.backend, self.standby_too]
        with self.clock:
            kinds[self.kills % len(kinds)]()
            self.kills += 1
            wait_until(lambda: all(map(answers, (self.primary, self.standby))), "Postgres to answer", 300)

    def backend(self):
        connection = psycopg2.connect(self.primary.conninfo("store"))
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name ~ '^(writer|maintenance)' "
                "ORDER BY state = 'active' DESC, random()"
            )
            pids = [pid for pid, in cursor.fetchall()]
        connection.close()
        if pids:
            kill(pids[0])

    def everything(self):
        for pid in processes(self.primary):
            kill(pid)
        start_again(self.primary)

    def at_once(self):
        self.primary.stop("immediate")
        start_again(self.primary)

    def standby_too(self):
        self.standby.stop("immediate")
        start_again(self.standby)


def answers(cluster):
    try:
        psycopg2.connect(cluster.conninfo("store") + " connect_timeout=5").close()
        return True
    except psycopg2.Error:
        return False
