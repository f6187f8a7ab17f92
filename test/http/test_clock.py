"""Timeouts on every clock: one that starts at 0, one that jumps, one that ticks between any two looks.  Nothing hangs,
and nothing ends before its time."""
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from clock import Clock
from importing import line, post
from store import ZERO_TOKEN, Server, sql, wait_until
from subscriber import PING, Subscriber

pytestmark = pytest.mark.skipif("ASAN_OPTIONS" in os.environ,
                                reason="the sanitizer's library must be the first that is loaded")
MESSAGE = {"type": "Tested", "data": {}}
SILENCE = 8  # seconds after which a subscriber is pinged


@pytest.fixture
def clock_server(start, folder):
    def make(*arguments, at=None, tick_ms=0):
        clock = Clock(folder, at, tick_ms)
        server = start("--test-mode", *arguments, variables=clock.variables)
        assert clock.looks > 0, "the program does not look at the test's clock"
        return server, clock

    return make


def answers(server):
    client = server.client(timeout=10)
    try:
        return client.request("GET", "/health").status == 200 and isinstance(client.write("s-1")["position"], int)
    finally:
        client.close()


def sweeps(seconds=1):
    """Lets the server's timers run; there is no event to wait for when nothing is to happen."""
    time.sleep(seconds)


def half_a_request(server):
    connected = server.connect()
    connected.sendall(b"POST /rpc HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n[")
    return connected


# A silent subscriber


@pytest.mark.parametrize("tick_ms", [0, 1, 5])
def test_a_silent_subscriber_is_pinged_once_a_silence_though_the_clock_ticks_between_any_two_looks(
        clock_server, tick_ms):
    server, clock = clock_server(tick_ms=tick_ms)
    subscriber = Subscriber(server, all="true").ready()
    for n in range(1, 4):
        clock.jump(SILENCE + 1)
        subscriber.read_until(lambda: PING in subscriber.chunks[-1:] and subscriber.chunks.count(PING) >= n)
        assert answers(server)
        subscriber.read_until(lambda: b"event: poke" in b"".join(subscriber.chunks[-1:]))
    looks = clock.looks
    sweeps(1)
    # A clock that ticks by 5 ms a look has not gone far in a second of sweeps.
    assert subscriber.chunks.count(PING) <= 3 + (clock.looks - looks) * tick_ms / 1000 / SILENCE + 1
    subscriber.close()


def test_all_subscribers_are_pinged_after_one_jump(clock_server):
    server, clock = clock_server(tick_ms=5)
    subscribers = [Subscriber(server, category=f"c{n}").ready() for n in range(20)]
    clock.jump(SILENCE + 1)
    for subscriber in subscribers:
        subscriber.read_until(lambda: PING in subscriber.chunks)
    assert answers(server)
    for subscriber in subscribers:
        subscriber.close()


def test_each_thousandth_ping_has_a_blank_line_in_the_same_write_and_no_other_has_one(clock_server):
    server, clock = clock_server("--workers", "1")
    subscriber = Subscriber(server, all="true").ready()
    clock.set(1, 3 * 10**9)  # 3 s pass between any two looks
    subscriber.read_until(lambda: len(subscriber.chunks) > 2100)
    clock.set(1, 0)
    assert subscriber.chunks[0] == b": ready\n\n"
    pings = subscriber.chunks[1:2101]
    assert [n for n, ping in enumerate(pings, 1) if ping != PING] == [1000, 2000]
    assert pings[999] == pings[1999] == PING + b"\n"
    # By its clock each connection to PostgreSQL was silent for far too long.
    client = server.client()
    wait_until(lambda: client.post(["stream.write", "s-1", MESSAGE]).status == 200, "the server has connected anew")
    client.close()
    subscriber.close()


# A clock that stands: no timer ends


def test_an_append_and_an_import_wake_subscribers_though_no_timer_does(start, cluster, folder):
    sql(cluster.connect(), "CREATE EXTENSION millrace")
    sql(cluster.connect(), "ALTER PROCEDURE millrace.wait_for_commits RENAME TO not_there")  # nor does Postgres tell
    clock = Clock(folder)
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN, variables=clock.variables)
    client = server.client()
    client.write("s-1")
    subscriber = Subscriber(server, ZERO_TOKEN, all="true", position="0")
    subscriber.wait_for(1)
    clock.stop()
    for count in range(2, 5):
        client.write("s-1")
        subscriber.wait_for(count, seconds=10)
    for count in range(5, 8):
        assert b'"imported":1' in post(client, line(1, stream=f"imported-{count}", gpos=100 * count)).body
        subscriber.wait_for(count, seconds=10)
    subscriber.close()
    client.close()


# A machine that has just started


def test_on_a_clock_that_starts_at_0_nothing_ends_before_its_time(clock_server):
    server, clock = clock_server(at=0)
    idle = server.client()
    assert idle.request("GET", "/health").status == 200
    used = idle.connection.sock
    under_way = half_a_request(server)
    subscriber = Subscriber(server, all="true").ready()
    sweeps()
    assert answers(server)
    assert idle.request("GET", "/health").status == 200 and idle.connection.sock is used
    under_way.setblocking(False)
    with pytest.raises(BlockingIOError):
        under_way.recv(1)
    subscriber.close()
    under_way.close()
    idle.close()


def test_timeouts_longer_than_the_clock_has_run(clock_server):
    server, clock = clock_server("--idle-timeout", "7200", "--request-timeout", "3600", at=5)
    subscriber = Subscriber(server, all="true").ready()
    under_way = half_a_request(server)
    sweeps()
    assert answers(server)
    clock.jump(3500)
    sweeps()
    assert answers(server)
    subscriber.close()
    under_way.close()


class Unshared(Server):
    def terminate(self):
        """unshare itself is deaf to the signal."""
        if self.process.poll() is None and not self.terminated:
            child = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
            os.kill(int(child), signal.SIGTERM)
        self.terminated = True


@pytest.mark.root
def test_in_the_first_seconds_of_a_machine_the_server_works():
    """In a time namespace whose machine started five seconds ago: the program as it is shipped, without another
    clock."""
    up = -int(time.clock_gettime(time.CLOCK_MONOTONIC) - 5), -int(time.clock_gettime(time.CLOCK_BOOTTIME) - 5)
    unshare = ["unshare", "--time", f"--monotonic={up[0]}", f"--boottime={up[1]}", "--fork", "--kill-child=TERM"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
        pytest.skip("this kernel has no time namespaces")
    shown = subprocess.run([*unshare, "cat", "/proc/uptime"], capture_output=True, text=True, check=True).stdout
    assert 4 < float(shown.split()[0]) < 60
    for arguments in (["--idle-timeout", "7200"], []):
        server = Unshared("--test-mode", *arguments, before=unshare)
        try:
            subscriber = Subscriber(server, all="true").ready()
            under_way = half_a_request(server)
            idle = server.client()
            assert idle.request("GET", "/health").status == 200
            used = idle.connection.sock
            sweeps()
            assert answers(server)
            assert idle.request("GET", "/health").status == 200 and idle.connection.sock is used
            subscriber.close()
            under_way.close()
            idle.close()
        finally:
            server.stop()


# A clock that jumps


def test_after_a_jump_what_is_late_ends_and_the_server_goes_on(clock_server):
    server, clock = clock_server("--idle-timeout", "60", "--request-timeout", "30")
    idle = server.connect()
    idle.sendall(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
    assert idle.recv(1000).startswith(b"HTTP/1.1 200")
    under_way = half_a_request(server)
    upload = server.connect()
    upload.sendall(b"POST /import HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n{")
    subscriber = Subscriber(server, all="true").ready()
    clock.jump(3600)
    for connected in (idle, under_way, upload):
        connected.settimeout(30)
    assert idle.recv(1000) == b""
    assert under_way.recv(1000).startswith(b"HTTP/1.1 408")
    assert upload.makefile("rb").read().endswith(b"0\r\n\r\n")
    subscriber.read_until(lambda: PING in subscriber.chunks)
    assert answers(server)
    for connected in (idle, under_way, upload, subscriber):
        connected.close()


def test_a_drain_ends_on_every_clock(clock_server):
    server, clock = clock_server(at=0, tick_ms=5)
    subscriber = Subscriber(server, all="true").ready()
    under_way = half_a_request(server)
    server.stop()
    subscriber.read_to_end()
    under_way.close()
