"""Starts that wait: for a database that is away, for another server's start, for a lock."""
import contextlib
import socket
import threading
import time
from contextlib import contextmanager

import psycopg2
import pytest
from store import ZERO_TOKEN, Listener, Server, sql, wait_until

LOCK = 7883960610104632165  # "millrace" in ASCII


@pytest.fixture(scope="module")
def cluster(shared_cluster):
    return shared_cluster


@pytest.fixture
def begin(cluster):
    """Starts servers without waiting for them."""
    servers = []

    def make(*arguments, database=None):
        servers.append(
            Server("--database", database or cluster.conninfo(), "--token", ZERO_TOKEN, "--admin-listen", "",
                   *arguments, wait=False, token=ZERO_TOKEN))
        return servers[-1]

    yield make
    for server in servers:
        server.kill()


@contextmanager
def session(cluster, *statements):
    connection = psycopg2.connect(cluster.conninfo(), application_name="an orphan")
    try:
        for statement in statements:
            sql(connection, statement)
        yield connection
    finally:
        connection.close()


def text(server, words):
    return wait_until(lambda: next((line for line in server.text.split("\n") if words in line), None), words)


@pytest.mark.parametrize("function", ["pg_advisory_lock", "pg_advisory_xact_lock"])
def test_who_holds_the_start_up_lock_is_told_and_sigterm_ends_the_waiting(cluster, begin, function):
    with session(cluster, f"SELECT {function}({LOCK})") as holder:
        ((pid,),) = sql(holder, "SELECT pg_backend_pid()")
        first, second = begin(), begin()
        line = text(first, "waiting for the start-up lock")
        assert f'process {pid} (application "an orphan", role tester) since 20' in line
        began = time.monotonic()
        first.terminate()
        assert first.wait(30) == 0 and time.monotonic() - began < 5
        text(second, "waiting for the start-up lock")
    wait_until(second._listening, "the start", 60)


def test_settings_of_the_role_do_not_cut_a_start_that_waits(cluster, begin):
    owner = cluster.connect()
    newer = ("transaction_timeout",) if owner.server_version >= 170000 else ()
    settings = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout",
                *newer)
    for setting in settings:
        sql(owner, f"ALTER ROLE tester SET {setting} = '300ms'")
    try:
        ours = " ".join(f"-c {setting}=0" for setting in settings)
        holder = psycopg2.connect(f"{cluster.conninfo()} options='{ours}'")
        sql(holder, f"SELECT pg_advisory_lock({LOCK})")
        server = begin()
        text(server, "waiting for the start-up lock")
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 1, "longer than the settings allow")
        holder.close()
        wait_until(server._listening, "the start", 60)
    finally:
        for setting in settings:
            sql(owner, f"ALTER ROLE tester RESET {setting}")
        owner.close()


def test_a_start_that_is_killed_leaves_no_session_with_the_lock(cluster, begin):
    wait_until(begin()._listening, "the start that prepares", 60)
    with session(cluster, "LOCK TABLE millrace.namespaces") as holder:
        server = begin()
        text(server, "still trying to look for namespace default")
        held = ("SELECT 1 FROM pg_locks "
                f"WHERE locktype = 'advisory' AND (classid::bigint << 32 | objid::bigint) = {LOCK}")
        assert sql(holder, held)
        server.kill()
        wait_until(lambda: not sql(holder, held), "the end of its session")


def test_sigterm_ends_a_start_whose_statement_waits(cluster, begin):
    wait_until(begin()._listening, "the start that prepares", 60)
    with session(cluster, "LOCK TABLE millrace.namespaces"):
        server = begin()
        text(server, "still trying to look for namespace default")
        server.terminate()
        assert server.wait(30) == 0


def test_a_database_that_is_down_at_the_start_is_waited_for(cluster, begin):
    cluster.stop("immediate")
    stopped, started = begin(), begin()
    for server in (stopped, started):
        text(server, "waiting for the database: ")
    stopped.terminate()
    assert stopped.wait(30) == 0
    cluster.start()
    wait_until(started._listening, "the start", 60)


def test_what_no_waiting_mends_ends_the_start_at_once(cluster, begin):
    server = begin(database=cluster.conninfo("nobody_made_it"))
    began = time.monotonic()
    assert server.wait(40) == 1 and 'database "nobody_made_it" does not exist' in server.text
    assert time.monotonic() - began < 25


def test_a_database_that_takes_no_writes_yet_is_waited_for_when_something_is_to_be_written(cluster, begin):
    """As behind a proxy that has not found the primary yet."""
    owner = cluster.connect()
    sql(owner, "DROP DATABASE IF EXISTS fresh")
    sql(owner, "CREATE DATABASE fresh")
    sql(owner, "ALTER DATABASE fresh SET default_transaction_read_only = on")
    server = begin(database=cluster.conninfo("fresh"))
    line = text(server, "waiting for the database: ")
    assert "could not create extension millrace: cannot execute CREATE EXTENSION in a read-only transaction" in line
    hopeless = begin("--retry-window", "0", database=cluster.conninfo("fresh"))
    assert hopeless.wait(40) == 1 and "in a read-only transaction" in hopeless.text
    sql(owner, "ALTER DATABASE fresh RESET default_transaction_read_only")
    wait_until(server._listening, "the start", 60)
    assert server.text.count("waiting for the database") == 1
    server.stop()
    sql(owner, "DROP DATABASE fresh")


class Unready(Listener):
    """A proxy that hangs up on the first who come, as one that has just lost its server."""

    def __init__(self, path, count):
        self.path, self.left = path, count
        super().__init__()

    def serve(self, client):
        self.left -= 1
        if self.left >= 0:
            client.recv(1)
            client.close()
            return
        server = socket.socket(socket.AF_UNIX)
        server.connect(self.path)
        for one, other in (client, server), (server, client):
            threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    @staticmethod
    def _copy(one, other):
        with contextlib.suppress(OSError):
            while part := one.recv(65536):
                other.sendall(part)
            other.shutdown(socket.SHUT_WR)


def test_a_proxy_that_hangs_up_once_ends_no_start(cluster, begin):
    proxy = Unready(f"{cluster.folder}/.s.PGSQL.5432", 1)
    server = begin(database=f"host=127.0.0.1 port={proxy.port} user=tester dbname=postgres")
    wait_until(server._listening, "the start", 60)
    server.stop()
    proxy.close()
