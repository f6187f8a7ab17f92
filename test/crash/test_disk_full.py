"""A full disk is a clear 503, as long as it is full."""
import json
import os
import subprocess
import time
from collections import Counter

import pytest
from history import FAILED
from load import Load
from store import ZERO_TOKEN, Server, wait_until

SIZE = 400_000_000
CLIENTS = 8


@pytest.fixture
def small_disk(folder):
    os.chmod(folder, 0o755)
    disk = folder + "/disk"
    os.mkdir(disk)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", disk], capture_output=True).returncode != 0:
        pytest.skip("not allowed to mount a tmpfs")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(disk, leave):
    status = os.statvfs(disk)
    with open(disk + "/ballast", "wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, status.f_bavail * status.f_bsize - leave)


@pytest.mark.root
@pytest.mark.parametrize("leave", [1_000_000, 40_000_000])  # the table meets the end first; the log does
def test_while_the_disk_is_full_appends_are_unavailable_and_nothing_acknowledged_is_lost(small_disk, leave):
    server = Server("--data-dir", small_disk + "/data", "--token", ZERO_TOKEN, "--retry-window", "3", token=ZERO_TOKEN)
    load = Load(server, CLIENTS, 1)
    try:
        wait_until(lambda: load.check_alive() or load.acknowledged > 500, "answers")
        fill(small_disk, leave)

        def refused():
            load.check_alive()
            return [append.answer for worker in load.workers for append in worker.appends if append.outcome == FAILED]

        wait_until(lambda: len(refused()) > 3 * CLIENTS, "appends that are refused", 120)
        answers = refused()
        os.remove(small_disk + "/ballast")
        freed, before = time.monotonic(), load.acknowledged
        wait_until(lambda: load.check_alive() or load.acknowledged > before + 100, "answers after space is free again", 60)
        print(f"{time.monotonic() - freed:.1f} s until appends went on")
    finally:
        load.stop()
        verdict = load.judge()
        server.stop()
    print(*Counter(json.dumps(answer) for answer in answers).items(), sep="\n")
    assert {(status, body["error"]["code"]) for status, body in answers} == {(503, "BACKEND_UNAVAILABLE")}
    assert set(verdict.counts()) <= {FAILED}, verdict.text()
