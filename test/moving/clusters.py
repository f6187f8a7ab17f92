"""Two clusters and a directory, and programs that use a namespace wherever it is."""
import itertools
import os
import signal
import subprocess
import threading
import time

import psycopg2

from store import MILLRACE, Cluster, sql, temporary_folder

SETTINGS = ["wal_level=logical", "max_prepared_transactions=5", "max_replication_slots=10", "max_wal_senders=10",
            "max_logical_replication_workers=10", "max_worker_processes=16", "wal_receiver_status_interval=1s"]
ELSEWHERE, SEALED = "MR029", "MR028"
# Also to be asked for anew: who was slower than the move finds nothing where it was.
ASK_AGAIN = (SEALED, ELSEWHERE, "MR003")
APPEND = 'SELECT "position", global_position FROM millrace.append(%s, \'T\', %s, id => %s, namespace => %s)'
USERS = """
    SELECT id::text, "position", global_position
    FROM millrace.read_category('user', batch_size => -1, namespace => %s)"""
STEPS = ["offered", "received", "noted", "subscribed", "way back", "sealed", "drained", "settings", "compared",
         "decided", "opened", "closed", "unlinked", "led back", "ended", "dropped"]


def two_clusters(settings=()):
    """For a fixture: clusters that are stopped behind it."""
    clusters = Clusters(temporary_folder(), settings)
    yield clusters
    clusters.stop()


class Clusters:
    """Clusters "a" and "b"; the directory is on "a", in a database of its own."""

    def __init__(self, folder, settings=()):
        self.numbers = itertools.count()
        self.clusters = {name: Cluster(f"{folder}/{name}", [*SETTINGS, *settings]).create().start() for name in "ab"}
        for cluster in self.clusters.values():
            sql(cluster.connect(), "CREATE EXTENSION millrace")
        sql(self.clusters["a"].connect(), "CREATE DATABASE directory")
        connection = self.directory()
        sql(connection, "CREATE EXTENSION millrace")
        sql(connection, "SELECT millrace.create_directory()")
        for name, cluster in self.clusters.items():
            sql(connection, "SELECT millrace.add_cluster(%s, %s)", name, cluster.conninfo())

    def stop(self):
        for cluster in self.clusters.values():
            cluster.stop("immediate")

    def connect(self, name):
        return self.clusters[name].connect()

    def directory(self):
        return self.clusters["a"].connect("directory")

    def create_another(self):
        """Creates a namespace with a name of its own, which it returns."""
        name = f"n{next(self.numbers)}"
        self.create(name)
        return name

    def create(self, namespace, on="a"):
        sql(self.connect(on), "SELECT millrace.create_namespace(%s)", namespace)
        self.place(namespace, on)

    def place(self, namespace, on="a"):
        sql(self.directory(), "SELECT millrace.place_namespace(%s, %s)", namespace, on)

    def where(self, namespace):
        entry = "SELECT cluster FROM millrace.directory_entries() WHERE namespace = %s"
        return sql(self.directory(), entry, namespace)[0][0]

    def move(self, namespace, *arguments, kill_at=None, wait=True):
        """Runs `millrace move`; `kill_at` names a place at which it dies.  Returns the process that has ended."""
        env = {**os.environ, "MILLRACE_DIRECTORY": self.clusters["a"].conninfo("directory")}
        if kill_at:
            env["MILLRACE_MOVE_KILL_AT"] = kill_at
        process = subprocess.Popen([MILLRACE, "move", namespace, *arguments], env=env, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        if not wait:
            return process
        process.said, process.complained = process.communicate(timeout=600)
        return process

    def moved(self, namespace, *arguments):
        done = self.move(namespace, *arguments)
        assert done.returncode == 0, done.complained
        return done.said

    def killed(self, namespace, *arguments, at):
        """Returns whether it got there."""
        done = self.move(namespace, *arguments, kill_at=at)
        assert done.returncode in (0, -signal.SIGKILL), done.complained
        return done.returncode != 0

    def left_over(self):
        """What replication is there, on any cluster."""
        return [(name, *row) for name in "ab" for row in sql(
            self.connect(name), "SELECT 'slot', slot_name::text FROM pg_replication_slots "
            "UNION ALL SELECT 'subscription', subname FROM pg_subscription "
            "UNION ALL SELECT 'publication', pubname FROM pg_publication")]

    def moves(self):
        return sql(self.directory(), "SELECT namespace FROM millrace.moves")


class User(threading.Thread):
    """Appends until it is stopped, wherever the namespace is; an id that may be stored is sent again."""

    def __init__(self, clusters, namespace, number, rest=0):
        super().__init__()
        self.clusters, self.namespace, self.number, self.rest = clusters, namespace, number, rest
        self.stopped, self.error, self.pause = False, None, 0
        self.stored = []  # (id, position, global position)

    def run(self):
        try:
            while not self.stopped:
                self._append(f"{self.number:08x}-0000-4000-8000-{len(self.stored):012x}")
                time.sleep(self.rest)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def _append(self, identifier):
        began = time.monotonic()
        while True:
            try:
                ((position, global_position),) = sql(self._connection(), APPEND, f"user-{self.number}",
                                                     f'{{"n": {len(self.stored)}}}', identifier, self.namespace)
                break
            except psycopg2.Error as error:
                if error.pgcode not in ASK_AGAIN:
                    raise
                self.connection = None
                time.sleep(0.02)
        self.pause = max(self.pause, time.monotonic() - began)
        self.stored.append((identifier, position, global_position))

    connection = None

    def _connection(self):
        if not self.connection:
            self.connection = self.clusters.connect(self.clusters.where(self.namespace))
        return self.connection


class Use:
    """Users at work, while a `with` lasts; then what they stored is compared with what is there."""

    def __init__(self, clusters, namespace, users=3):
        self.clusters, self.namespace = clusters, namespace
        self.users = [User(clusters, namespace, number + 1) for number in range(users)]

    def __enter__(self):
        for user in self.users:
            user.start()
        return self

    def __exit__(self, *error):
        for user in self.users:
            user.stopped = True
        for user in self.users:
            user.join(60)
        if error[0] is None:
            self.check()

    def count(self):
        return sum(len(user.stored) for user in self.users)

    def check(self):
        errors = [str(user.error) for user in self.users if user.error]
        assert errors == [], errors
        rows = sql(self.clusters.connect(self.clusters.where(self.namespace)),
                   USERS, self.namespace)
        assert sorted(rows) == sorted(row for user in self.users for row in user.stored)
        for user in self.users:
            assert [position for _, position, _ in user.stored] == list(range(len(user.stored)))
