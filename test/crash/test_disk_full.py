"""A full disk is a clear 503, as long as it is full."""
import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psycopg2
import pytest
from history import FAILED
from load import Load
from store import ZERO_TOKEN, Server, sql, wait_until

SIZE = 400_000_000
CLIENTS = 8


@pytest.fixture
def small_disk(folder):
    os.chmod(folder, 0o755)
    disk = folder + "/disk"
    os.mkdir(disk)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", disk],
                      capture_output=True).returncode != 0:
        pytest.skip("not allowed to mount a tmpfs")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(disk, leave):
    """Leaves so much free, or less where Postgres takes some meanwhile."""
    with open(disk + "/ballast", "wb") as ballast:
        while (size := left_of(disk) - leave) > 0:
            with contextlib.suppress(OSError):
                os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size, size)


@pytest.mark.root
@pytest.mark.parametrize("leave", [1_000_000, 40_000_000])  # the table meets the end first; the log does
def test_while_the_disk_is_full_appends_are_unavailable_and_nothing_acknowledged_is_lost(small_disk, leave):
    server = Server("--data-dir", small_disk + "/data", "--token", ZERO_TOKEN, "--retry-window", "3", token=ZERO_TOKEN)
    load = Load(server, CLIENTS, 1)
    try:
        wait_until(lambda: load.check_alive() or load.acknowledged > 500, "answers")
        wait_until(lambda: has_reserve(small_disk), "the reserve")
        fill(small_disk, leave)

        def refused():
            load.check_alive()
            return [append.answer for worker in load.workers for append in worker.appends if append.outcome == FAILED]

        wait_until(lambda: len(refused()) > 3 * CLIENTS, "appends that are refused", 120)
        answers = refused()
        wait_until(lambda: reads(server), "reads while the disk is full")
        assert "is full" in server.text
        os.remove(small_disk + "/ballast")
        freed, before = time.monotonic(), load.acknowledged
        wait_until(lambda: load.check_alive() or load.acknowledged > before + 100, "answers after space is free again",
                   60)
        print(f"{time.monotonic() - freed:.1f} s until appends went on")
    finally:
        load.stop()
        verdict = load.judge()
        server.stop()
    print(*Counter(json.dumps(answer) for answer in answers).items(), sep="\n")
    assert {(status, body["error"]["code"]) for status, body in answers} == {(503, "BACKEND_UNAVAILABLE")}
    assert set(verdict.counts()) <= {FAILED}, verdict.text()


def reads(server):
    """Whether a read is answered now."""
    client = server.client()
    try:
        return client.post(["stream.get", "before-1"]).status == 200
    finally:
        client.close()


def append(server):
    """The status of one."""
    client = server.client()
    try:
        return client.post(["stream.write", "before-1", {"type": "T", "data": {}}]).status
    finally:
        client.close()


def has_reserve(disk):
    try:
        return os.stat(disk + "/data/millrace.reserve").st_size > 0
    except OSError:
        return False


def gauge(server, name):
    text = server.admin().request("GET", "/metrics").body.decode()
    return float(re.search(rf"^{name} (\S+)$", text, re.M).group(1))


def left_of(disk):
    status = os.statvfs(disk)
    return status.f_bavail * status.f_bsize


@pytest.mark.root
def test_before_the_disk_is_full_reads_are_all_that_is_answered_and_it_comes_back_by_itself(small_disk):
    arguments = ("--data-dir", small_disk + "/data", "--token", ZERO_TOKEN, "--retry-window", "1", "--admin-listen",
                 "127.0.0.1:0")
    server = Server(*arguments, token=ZERO_TOKEN)
    try:
        server.client().write("before-1")
        wait_until(lambda: has_reserve(small_disk), "the reserve")
        assert abs(gauge(server, "millrace_disk_free_bytes") - left_of(small_disk)) < 20e6 and gauge(
            server, "millrace_disk_full") == 0
        assert gauge(server, "millrace_disk_size_bytes") == pytest.approx(SIZE, rel=0.01)
        fill(small_disk, 5_000_000)
        wait_until(lambda: "is full (" in server.text, "a line in the log")
        assert server.admin().request("GET", "/ready").status == 503
        wait_until(lambda: append(server) == 503, "appends that are refused")
        assert reads(server) and gauge(server, "millrace_disk_full") == 1
        assert "PostgreSQL exited" not in server.text
        server.stop()

        # With nothing left at all, a start.
        os.remove(small_disk + "/ballast")
        fill(small_disk, 100_000)
        server = Server(*arguments, token=ZERO_TOKEN)
        assert "is full (" in server.text and reads(server)
        os.remove(small_disk + "/ballast")
        wait_until(lambda: "there is room" in server.text, "a line in the log")
        wait_until(lambda: server.admin().request("GET", "/ready").status == 200, "what /ready says")
        server.client().write("before-1")
        assert gauge(server, "millrace_disk_full") == 0
    finally:
        server.stop()


@pytest.mark.root
def test_a_postgres_that_died_of_a_full_disk_comes_back_for_reads(small_disk):
    server = Server("--data-dir", small_disk + "/data", "--token", ZERO_TOKEN, "--retry-window", "1", token=ZERO_TOKEN)
    try:
        server.client().write("before-1")
        wait_until(lambda: has_reserve(small_disk), "the reserve")
        postmaster = server.postmaster()
        os.kill(server.process.pid, signal.SIGSTOP)  # it can't look at the disk meanwhile
        fill(small_disk, 100_000)
        with pytest.raises(psycopg2.Error):
            die_of_it(server)
        wait_until(lambda: not is_running(postmaster), "the end of Postgres")
        os.kill(server.process.pid, signal.SIGCONT)
        wait_until(lambda: reads(server), "reads", 60)
        assert "is full (" in server.text
        os.remove(small_disk + "/ballast")
        wait_until(lambda: append(server) == 200, "appends")
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
        server.stop()


def die_of_it(server):
    """Makes Postgres need more of its log than there is."""
    connection = server.postgres()
    while True:
        sql(connection, "SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000000)), pg_switch_wal()")


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False
