"""Servers that accept connections and say nothing, and sessions that stand still: each answer has its time."""
import os
import re
import selectors
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from store import ZERO_TOKEN, new_id, sql, wait_until

MESSAGE = {"type": "Tested", "data": {}}


class Gate(threading.Thread):
    """Passes bytes on to a cluster's socket, until it is told to be mute: then it still accepts, and says nothing."""

    def __init__(self, cluster=None):
        super().__init__(daemon=True)
        self.target = cluster and f"{cluster.folder}/.s.PGSQL.5432"
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self.listener.getsockname()[1]
        self.mute, self.accepted, self.ended = cluster is None, 0, False
        self.selector, self.sockets = selectors.DefaultSelector(), [self.listener]
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.start()

    def run(self):
        while not self.ended:
            for key, _ in self.selector.select(0.05):
                if key.fileobj is self.listener:
                    self._accept()
                elif key.fileobj.fileno() == -1:
                    pass  # closed with its other end, which was ready, too
                elif not self.mute:
                    self._pass_on(key.fileobj, key.data)
                else:
                    time.sleep(0.01)

    def _accept(self):
        client, _ = self.listener.accept()
        self.accepted += 1
        self.sockets.append(client)
        if self.mute:
            return
        server = socket.socket(socket.AF_UNIX)
        server.connect(self.target)
        self.sockets.append(server)
        self.selector.register(client, selectors.EVENT_READ, server)
        self.selector.register(server, selectors.EVENT_READ, client)

    def _pass_on(self, source, target):
        try:
            data = source.recv(65536)
            target.sendall(data)
        except OSError:
            data = b""
        if data == b"":
            for each in (source, target):
                self.selector.unregister(each)
                each.close()

    def close(self):
        self.ended = True
        self.join()
        for each in self.sockets:
            each.close()


@pytest.fixture(scope="module")
def cluster(shared_cluster):
    return shared_cluster


@pytest.fixture
def stream():
    return "s-" + new_id()


@pytest.fixture
def gates():
    made = []

    def make(cluster=None):
        made.append(Gate(cluster))
        return made[-1]

    yield make
    for gate in made:
        gate.close()


@contextmanager
def stopped(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def serve(start, database, *arguments):
    return start("--database", database, "--token", ZERO_TOKEN, "--workers", "1", "--admin-listen", "127.0.0.1:0",
                 *arguments, token=ZERO_TOKEN)


def sessions(cluster, statement):
    connection = cluster.connect()
    try:
        return [
            pid for pid, in sql(
                connection, "SELECT pid FROM pg_stat_activity WHERE application_name = 'millrace' AND query LIKE %s",
                f"%{statement}%")
        ]
    finally:
        connection.close()


def test_a_first_host_that_accepts_and_says_nothing_is_passed_over(cluster, start, stream, gates):
    mute = gates()
    server = serve(
        start, f"host=127.0.0.1,{cluster.folder} port={mute.port},5432 user=tester dbname=postgres connect_timeout=2")
    began = time.monotonic()
    client = server.client(timeout=20)
    assert client.write(stream)["position"] == 0 and client.call("stream.version", stream) == 0
    assert time.monotonic() - began < 10
    wait_until(lambda: server.admin().request("GET", "/ready").status == 200, "readiness")
    assert mute.accepted >= 3, "the start, the appends and the reads tried it first"
    assert f"127.0.0.1 port {mute.port} does not answer" in server.text


def test_a_host_that_accepts_and_hangs_up_is_passed_over(cluster, start, stream, gates):
    """As a proxy does whose server is away."""
    gate = gates(cluster)
    server = serve(start, f"host=127.0.0.1,{cluster.folder} port={gate.port},5432 user=tester dbname=postgres")
    client = server.client(timeout=20)
    client.write(stream)
    gate.target += ".gone"
    gate._accept = lambda: gate.listener.accept()[0].close()
    for pid in sessions(cluster, ""):
        sql(cluster.connect(), "SELECT pg_terminate_backend(%s)", pid)
    assert client.write(stream)["position"] == 1


def test_a_server_that_falls_silent_is_left_for_the_next_host(cluster, start, stream, gates):
    gate = gates(cluster)
    server = serve(
        start, f"host=127.0.0.1,{cluster.folder} port={gate.port},5432 user=tester dbname=postgres connect_timeout=2",
        "--answer-timeout", "1")
    clients = [server.client(timeout=20) for _ in range(2)]
    clients[0].write(stream)
    assert server.admin().request("GET", "/ready").status == 200
    gate.mute = True
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(clients[0].write, stream), pool.submit(clients[1].call, "stream.get", stream)]
        wait_until(lambda: server.admin().request("GET", "/ready").status == 503, "/ready to tell")
        assert answers[0].result()["position"] == 1 and len(answers[1].result()) in (1, 2)
    assert time.monotonic() - began < 10
    assert re.search(
        rf"connection for appends: 127.0.0.1 port {gate.port} \(process \d+ there\) has not answered for 1 s",
        server.text)
    wait_until(lambda: server.admin().request("GET", "/ready").status == 200, "readiness")


def test_a_server_that_falls_silent_is_told_at_ready_though_nothing_is_asked(cluster, start, stream, gates):
    gate = gates(cluster)
    server = serve(start, f"host=127.0.0.1 port={gate.port} user=tester dbname=postgres connect_timeout=2",
                   "--answer-timeout", "1")
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 3, "a few signs of life")
    assert "connection for" not in server.text, "idle connections are kept"
    gate.mute = True
    wait_until(lambda: server.admin().request("GET", "/ready").status == 503, "/ready to tell", 10)


def test_without_another_host_the_answer_is_503(cluster, start, stream, gates):
    gate = gates(cluster)
    server = serve(start, f"host=127.0.0.1 port={gate.port} user=tester dbname=postgres", "--answer-timeout", "1",
                   "--retry-window", "2")
    clients = [server.client(timeout=30) for _ in range(2)]
    clients[0].write(stream)
    gate.mute = True
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        answers = [
            pool.submit(clients[0].post, ["stream.write", stream, MESSAGE]),
            pool.submit(clients[1].post, ["stream.get", stream])
        ]
        assert [answer.result().status for answer in answers] == [503, 503]
    assert time.monotonic() - began < 10


def test_a_server_that_is_silent_altogether_is_not_said_to_answer_reads(cluster, start, stream, gates):
    gate = gates(cluster)
    server = serve(start, f"host=127.0.0.1 port={gate.port} user=tester dbname=postgres", "--answer-timeout", "6",
                   "--retry-window", "3")
    client = server.client(timeout=30)
    client.write(stream)
    assert server.admin().request("GET", "/ready?for=reads").status == 200
    gate.mute = True
    wait_until(lambda: server.admin().request("GET", "/ready?for=reads").json["status"] == "not ready",
               "/ready to tell")
    assert "has not answered" not in server.text, "it was left before"
    # By whether the time to retry ends with the connection or later.
    given_up = ("the connection to Postgres was lost before the answer came", "Postgres cannot be reached")
    assert client.refused("stream.write", stream, MESSAGE).message in given_up, "not that it answers reads"


@pytest.mark.parametrize("statement, method", [("append_batch", "stream.write"), ("json_read_stream", "stream.get")])
def test_a_session_that_stands_still_is_a_pause(cluster, start, stream, statement, method):
    server = serve(start, cluster.conninfo(), "--answer-timeout", "1", "--read-connections", "1")
    client = server.client(timeout=20)
    client.write(stream)
    client.call("stream.get", stream)
    with stopped(*sessions(cluster, statement)):
        began = time.monotonic()
        assert client.post([method, stream, *([MESSAGE] if method == "stream.write" else [])]).status == 200
        assert time.monotonic() - began < 10
    assert "has not answered for 1 s" in server.text
    wait_until(lambda: re.search("connection for .* is back", server.text), "the line that it is back")


def test_a_statement_that_is_given_up_is_ended(cluster, start, stream):
    server = serve(start, cluster.conninfo(), "--answer-timeout", "1", "--retry-window", "2", "--read-connections", "1")
    client = server.client(timeout=30)
    client.write(stream)
    holder = cluster.connect()
    holder.autocommit = False
    sql(holder, "LOCK TABLE millrace_default.messages")
    assert client.post(["stream.get", stream]).status == 503
    wait_until(
        lambda: not sql(
            holder,
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%json_read_stream%%'"),
        "the end of the statements whose answers are not waited for")
    holder.rollback()
    holder.close()
    wait_until(lambda: client.post(["stream.get", stream]).status == 200, "reading again")


def test_a_server_that_was_stopped_itself_loses_no_connection(cluster, start, stream):
    server = serve(start, cluster.conninfo(), "--answer-timeout", "1")
    client = server.client(timeout=20)
    client.write(stream)
    with stopped(server.process.pid):
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 2, "a while that is longer than the timeout")
    assert client.write(stream)["position"] == 1
    assert "connection for" not in server.text
