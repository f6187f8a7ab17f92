"""The admin listener's /debug: the connections, and profiles that the usual tools read."""
import ctypes
import http.client
import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

import store
from store import MILLRACE, ZERO_TOKEN, Server, new_id, temporary_folder, wait_until

RECORDING = Path(MILLRACE).parent / "build-profile" / "millrace"


class Debugged(Server):
    """A server whose admin listener's port is known."""

    def __init__(self, *arguments):
        super().__init__("--workers", "2", "--admin-listen", "127.0.0.1:0", *arguments, token=ZERO_TOKEN)
        self.admin_port = int(
            wait_until(lambda: re.search(r"admin listener on http://\S+:(\d+)", self.text), "its port")[1])

    def ask(self, path, timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=timeout)
        connection.request("GET", path)
        try:
            return store.Reply(connection.getresponse())
        finally:
            connection.close()

    def connections(self):
        return self.ask("/debug/connections?format=json").json

    def subscribe(self, query):
        """A subscription's socket, after the first line of events."""
        sock = self.connect()
        sock.sendall(f"GET /subscribe?token={ZERO_TOKEN}&{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        text = b""
        while b": ready" not in text:
            text += sock.recv(4096)
        return sock


@pytest.fixture(scope="module")
def debugged():
    folder = temporary_folder()
    server = Debugged("--data-dir", folder + "/data", "--token", ZERO_TOKEN)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def subscribe(debugged):
    sockets = []

    def make(query):
        sockets.append(debugged.subscribe(query))
        return sockets[-1]

    yield make
    for sock in sockets:
        sock.close()


def peer_of(sock):
    return "%s:%d" % sock.getsockname()[:2]


def row(rows, peer):
    return next((row for row in rows if row["peer"] == peer), None)


# Connections

def test_a_client_is_shown_with_what_it_sent_and_got(debugged):
    client = debugged.client()
    client.call("sys.version")
    peer = peer_of(client.connection.sock)
    before = row(debugged.connections()["clients"], peer)
    assert before["state"] == "idle" and before["path"] == "" and before["unsentBytes"] == 0
    client.write("shown-1", {"text": "x" * 5000})
    client.call("stream.get", "shown-1")
    after = row(debugged.connections()["clients"], peer)
    assert after["worker"] == before["worker"] in (0, 1)
    assert after["bytesIn"] > before["bytesIn"] + 5000 and after["bytesOut"] > before["bytesOut"] + 5000
    assert 0 <= before["quiet"] <= before["age"] <= after["age"] < 60
    client.close()
    wait_until(lambda: row(debugged.connections()["clients"], peer) is None, "the end of a closed connection")


def test_a_subscription_is_shown_with_what_it_listens_to(debugged, subscribe):
    category = "heard" + new_id().replace("-", "")
    sock = subscribe(f"category={category}")
    subscriber = wait_until(
        lambda: next((each for each in debugged.connections()["subscriptions"]
                      if each["name"] == category and each["state"] == "following"), None), "it follows")
    assert subscriber["peer"] == peer_of(
        sock) and subscriber["to"] == "category" and subscriber["namespace"] == "default"
    client = row(debugged.connections()["clients"], peer_of(sock))
    assert (client["state"], client["path"]) == ("working", "/subscribe")
    debugged.client().write(f"{category}-1")
    later = wait_until(
        lambda: next((each for each in debugged.connections()["subscriptions"]
                      if each["name"] == category and each["bytesOut"] > subscriber["bytesOut"]), None),
        "a poke is counted")
    assert later["position"] > subscriber["position"]
    sock.close()
    wait_until(lambda: category not in debugged.ask("/debug/connections").body.decode(), "the end of a subscription")


def test_a_subscriber_that_does_not_read_is_seen_to_have_bytes_waiting(debugged, subscribe):
    stream = "unread-" + new_id()
    sock = subscribe(f"stream={stream}&messages=true")
    client = debugged.client()

    def unsent():
        client.call("stream.write", stream, {"type": "Large", "data": {"text": "x" * 200000}})
        return next(each["unsentBytes"] for each in debugged.connections()["subscriptions"]
                    if each["peer"] == peer_of(sock)) > 0

    wait_until(unsent, "bytes that wait for the subscriber", 60)


def test_each_worker_shows_its_connections_to_postgres(debugged):
    debugged.client().write("postgres-1", {"text": "x" * 3000})
    found = debugged.connections()["postgres"]
    for worker in (0, 1):
        mine = [each for each in found if each["worker"] == worker]
        assert [each["for"] for each in mine].count("appends") == 1 and "reads" in [each["for"] for each in mine]
        assert all(each["state"] in ("idle", "busy") and each["host"].startswith("/") for each in mine)
    assert max(each["bytesOut"] for each in found if each["for"] == "appends") > 3000
    pids = {each["pid"] for each in found}
    assert len(pids) == len(found)
    connection = debugged.postgres()
    served = {
        pid
        for pid, in store.sql(connection, "SELECT pid FROM pg_stat_activity WHERE application_name = 'millrace'")
    }
    connection.close()
    assert pids <= served


def test_the_text_has_the_same_rows(debugged, subscribe):
    sock = subscribe("stream=text-1")
    text = debugged.ask("/debug/connections").body.decode()
    assert re.search(r"^clients: [1-9]\d*$", text, re.M) and re.search(r"^postgres: [1-9]\d*$", text, re.M)
    line = next(line for line in text.split("subscriptions:")[1].splitlines() if peer_of(sock) in line)
    assert '"text-1"' in line and "stream" in line
    assert debugged.ask("/debug/connections?format=text").headers["Content-Type"].startswith("text/plain")


def test_no_token_is_shown(debugged, subscribe):
    subscribe("category=secret")
    for path in ("/debug/connections", "/debug/connections?format=json"):
        body = debugged.ask(path).body.decode()
        assert '"secret"' in body and "ns_" not in body and ZERO_TOKEN not in body and "token" not in body


def test_a_name_cannot_forge_a_line(debugged, subscribe):
    subscribe("category=a%0Apostgres:%200%1B[2J%22")
    text = debugged.ask("/debug/connections").body.decode()
    assert "\x1b" not in text and text.count("\npostgres: ") == 1
    assert any(each["name"] == 'a\npostgres: 0\x1b[2J"' for each in debugged.connections()["subscriptions"])


def test_an_unknown_format_is_refused(debugged):
    for query in ("format=xml", "format=", "format=JSON"):
        reply = debugged.ask(f"/debug/connections?{query}")
        assert reply.status == 400 and b"format must be text or json" in reply.body


class Frozen:
    """Stops one thread of a process, as if it were in an endless loop."""

    SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, tid):
        self.tid = tid
        self.ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        self.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        if self.ptrace(self.SEIZE, tid, None, None) != 0:
            pytest.skip(f"may not stop a thread: {os.strerror(ctypes.get_errno())}")
        self.ptrace(self.INTERRUPT, tid, None, None)
        os.waitpid(tid, self.WALL)

    def thaw(self):
        self.ptrace(self.DETACH, self.tid, None, None)


@pytest.fixture
def frozen(start):
    """A server one of whose workers does not turn its loop."""
    server = Debugged("--test-mode")
    threads = sorted(int(name) for name in os.listdir(f"/proc/{server.process.pid}/task"))
    frozen = Frozen(threads[-1])
    yield server, frozen
    frozen.thaw()
    server.stop()


def test_a_worker_that_does_not_answer_is_not_waited_for(frozen):
    server, thread = frozen
    begin = time.monotonic()
    replies = []
    asking = threading.Thread(target=lambda: replies.append(server.ask("/debug/connections?format=json")))
    asking.start()
    assert server.ask("/live").status == 200 and time.monotonic() - begin < 1
    asking.join()
    assert 1.5 < time.monotonic() - begin < 10
    found = replies[0].json
    assert len(found["silentWorkers"]) == 1
    assert {each["worker"] for each in found["postgres"]} == {0, 1} - set(found["silentWorkers"])
    assert re.search(r"worker [01] did not answer within", server.ask("/debug/connections").body.decode())
    thread.thaw()
    wait_until(lambda: server.connections()["silentWorkers"] == [], "it answers again")


def test_a_question_that_is_open_when_the_server_stops_is_answered(frozen):
    server, thread = frozen
    replies = []
    asking = threading.Thread(target=lambda: replies.append(server.ask("/debug/connections?format=json")))
    asking.start()
    wait_until(lambda: server.ask("/live").status == 200, "the question is asked")
    server.terminate()
    asking.join()
    assert replies[0].json["silentWorkers"] and server.process.poll() is None
    thread.thaw()
    assert server.wait() == 0


# Profiles

def read_profile(program, path, *flags):
    """What google-pprof says: the total, and the names of functions."""
    done = subprocess.run(
        ["google-pprof", "--text", *flags, str(program), str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return float(re.search(r"^Total: ([\d.]+)", done.stdout, re.M)[1]), done.stdout


def begin_profile(server, seconds):
    """Asks for a profile; the server has the request when this returns."""
    connection = http.client.HTTPConnection("127.0.0.1", server.admin_port)
    connection.request("GET", f"/debug/pprof/profile?seconds={seconds}")
    server.ask("/live")
    return connection


@pytest.fixture
def pprof():
    if not shutil.which("google-pprof"):
        pytest.skip("google-pprof is not installed; test/deps.sh --profiling installs it")


class Load(threading.Thread):
    """Posts what costs the server much and Postgres nothing: JSON whose end is missing."""

    def __init__(self, server):
        super().__init__()
        self.client, self.stopping = server.client(), False
        self.start()

    def run(self):
        body = b'["stream.write","load-1",{"type":"T","data":[' + b"12345," * 500000
        while not self.stopping:
            self.client.post(body)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.join()


def test_a_cpu_profile_shows_the_workers_and_holds_up_no_request(debugged, pprof, folder):
    with Load(debugged):
        begin = time.monotonic()
        profiling = begin_profile(debugged, 2)
        assert debugged.ask("/live").status == 200 and debugged.connections()["clients"]
        refused = debugged.ask("/debug/pprof/profile?seconds=1")
        assert refused.status == 409 and b"one at a time" in refused.body
        assert time.monotonic() - begin < 1.5
        reply = store.Reply(profiling.getresponse())
        assert 1.9 < time.monotonic() - begin < 10
    assert reply.status == 200 and reply.headers["Content-Type"] == "application/octet-stream"
    path = Path(folder) / "cpu.prof"
    path.write_bytes(reply.body)
    total, text = read_profile(MILLRACE, path)
    assert total >= 5 and "json_check" in text, text[:2000]  # only workers check JSON


@pytest.mark.parametrize("seconds", ["0", "301", "-1", "x", "1x", "", "1.5", "99999999999999999999"])
def test_bad_seconds_are_refused(debugged, seconds):
    reply = debugged.ask(f"/debug/pprof/profile?seconds={seconds}")
    assert reply.status == 400 and b"1 to 300" in reply.body


def test_a_client_that_gives_up_ends_its_profile(debugged, pprof):
    connection = begin_profile(debugged, 300)
    assert debugged.ask("/debug/pprof/profile?seconds=1").status == 409
    connection.close()
    wait_until(lambda: debugged.ask("/debug/pprof/profile?seconds=1").status == 200, "another one may run")


def test_a_server_stops_while_it_is_profiled(pprof):
    server = Debugged("--test-mode")
    try:
        profiling = begin_profile(server, 300)
        assert server.ask("/debug/pprof/profile?seconds=1").status == 409
    finally:
        server.stop()
    profiling.close()


@pytest.mark.parametrize("what", ["heap", "allocs"])
def test_the_ordinary_build_says_how_to_record_allocations(debugged, what):
    reply = debugged.ask(f"/debug/pprof/{what}")
    assert reply.status == 501 and b"PROFILE=1" in reply.body


def test_the_recording_build_tells_who_allocates(monkeypatch, pprof, folder):
    if not RECORDING.exists():
        pytest.skip("make -C sidecar PROFILE=1 builds what this tests")
    monkeypatch.setattr(store, "MILLRACE", str(RECORDING))
    server = Debugged("--test-mode")
    try:
        def take(what):
            path = Path(folder) / f"{what}.prof"
            path.write_bytes(server.ask(f"/debug/pprof/{what}").body)
            return path

        client = server.client()
        client.write("s", {"text": "x" * 100000})
        before, text = read_profile(RECORDING, take("allocs"), "--show_bytes")
        assert "db_append_begin" in read_profile(RECORDING, take("allocs"), "--cum")[1]
        for n in range(50):
            client.call("stream.get", "s")
        after, _ = read_profile(RECORDING, take("allocs"), "--show_bytes")
        assert after > before + 50 * 50000, "each read makes libpq hold 100 kB"
        in_use, text = read_profile(RECORDING, take("heap"), "--show_bytes")
        assert in_use < after / 2 and "buf_reserve" in text
    finally:
        server.stop()


def test_none_of_it_is_on_the_public_listener(debugged):
    for path in ("/debug/connections", "/debug/pprof/profile?seconds=1", "/debug/pprof/heap", "/debug/pprof/allocs"):
        for token in (None, ZERO_TOKEN):
            client = store.Client(debugged.port, token)
            assert client.request("GET", path).status == 404
            client.close()
