"""A session that does something again and again, loses its connection at times and comes back; and who notices that one
hangs."""
import random
import threading
import time

import psycopg2

STUCK_AFTER = 60  # seconds in which nothing legitimately stopped a worker
LOST = ("57P01", "57P02", "57P03", "08006", "08003", "08001", None)
# Cancelled, serialization failure, deadlock, lock not available, and an index or a file that went while it was looked
# up.
EXPECTED = {"57014", "40001", "40P01", "55P03"}


def lost(error):
    """Says whether the connection is gone, so that it is unknown what became of the statement."""
    return error.pgcode in LOST


class Clock:
    """Time in which workers could go on: it stands while another session has the table locked exclusively, and while
    the server is down."""

    def __init__(self):
        self.mutex, self.stopped, self.stood, self.since = threading.Lock(), 0, 0.0, 0.0

    def now(self):
        with self.mutex:
            return (self.since if self.stopped else time.monotonic()) - self.stood

    def __enter__(self):
        with self.mutex:
            if self.stopped == 0:
                self.since = time.monotonic()
            self.stopped += 1

    def __exit__(self, *_):
        with self.mutex:
            self.stopped -= 1
            if self.stopped == 0:
                self.stood += time.monotonic() - self.since


class Worker(threading.Thread):
    """Calls step() until it is told to end; a subclass says progress() whenever it got on."""

    expected = EXPECTED

    def __init__(self, name, cluster, clock, seed):
        super().__init__(name=name, daemon=True)
        self.cluster, self.clock, self.random = cluster, clock, random.Random(f"{seed} {name}")
        self.connection, self.pid, self.ended, self.problems, self.done = None, None, threading.Event(), [], 0
        self.progress()

    def progress(self):
        self.moved = self.clock.now()

    def run(self):
        while not self.finished():
            try:
                if self.connection is None:
                    self.connect()
                self.step()
                self.done += 1
            except psycopg2.Error as error:
                self.failed(error)
            except Exception as error:  # a mistake of this program's
                self.problems.append(f"{type(error).__name__}: {error}")
                raise
        self.forget()

    def finished(self):
        return self.ended.is_set()

    def connect(self):
        self.connection = psycopg2.connect(
            self.cluster.conninfo("store") + f" application_name='{self.name}' connect_timeout=10")
        self.connection.autocommit = True
        self.pid = self.connection.info.backend_pid
        self.connected()

    def connected(self):
        pass

    def forget(self):
        connection, self.connection, self.pid = self.connection, None, None
        if connection is not None:
            connection.close()

    def failed(self, error):
        if lost(error) or isinstance(error, psycopg2.InterfaceError):
            self.forget()
            time.sleep(0.1)
            return
        self.roll_back()
        if error.pgcode not in self.expected:
            self.problems.append(f"{error.pgcode} {str(error).strip()[:300]}")
            time.sleep(0.2)

    def roll_back(self):
        """Out of a transaction that failed."""
        try:
            if self.connection is not None and self.connection.info.transaction_status != 0:
                self.sql("ROLLBACK")
        except psycopg2.Error:
            self.forget()

    def sql(self, statement, *arguments):
        with self.connection.cursor() as cursor:
            cursor.execute(statement, arguments or None)
            return cursor.fetchall() if cursor.description else []


class Watch(threading.Thread):
    """Counts the workers that hang, says what the server says of them, and ends their session, so that the run goes
    on."""

    def __init__(self, workers, clock):
        super().__init__(daemon=True)
        self.workers, self.clock, self.stuck, self.ended = workers, clock, [], threading.Event()

    def run(self):
        while not self.ended.wait(1):
            for worker in self.workers:
                if worker.is_alive() and self.clock.now() - worker.moved > STUCK_AFTER:
                    self.stuck.append(f"{worker.name} made no progress for {STUCK_AFTER} s")
                    text = self.describe(worker)
                    if len(self.stuck) <= 5:
                        print(f"STUCK: {self.stuck[-1]}\n{text}", flush=True)
                    worker.progress()

    def describe(self, worker):
        try:
            connection = psycopg2.connect(worker.cluster.conninfo("store") + " connect_timeout=10")
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pid, application_name, state, wait_event_type, wait_event, backend_xmin::text, "
                    "now() - xact_start, pg_blocking_pids(pid), left(query, 150) FROM pg_stat_activity "
                    "WHERE datname = 'store' ORDER BY xact_start"
                )
                lines = [f"  {row}" for row in cursor.fetchall() if row[2] != "idle"][:15]
                cursor.execute("SELECT pg_terminate_backend(%s)", (worker.pid or 0,))
            connection.close()
            return f"  of session {worker.pid}, {worker!r}\n" + "\n".join(lines)
        except psycopg2.Error as error:
            return f"  {error}"
