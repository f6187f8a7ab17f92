"""The server in a container: its limits, its volumes, its process 1."""
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from store import ZERO_TOKEN, sql, wait_until

MB = 1 << 20


# What it may use

def own_group(controller):
    """The folder of this process's control group, of whichever version has the controller."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return Path(f"/sys/fs/cgroup/{controllers}{path}")
        if controllers == "" and Path(f"/sys/fs/cgroup{path}/{controller}.max").exists():
            return Path(f"/sys/fs/cgroup{path}")
    return None


@pytest.fixture
def limited(folder):
    """A control group of 320 MB below our own; words that start a program in it."""
    parent = own_group("memory")
    group = parent and parent / f"millrace-test-{os.getpid()}"
    try:
        group.mkdir()
    except (AttributeError, OSError) as error:
        pytest.skip(f"no control group can be made: {error}")
    limit = next((group / name for name in ("memory.max", "memory.limit_in_bytes") if (group / name).exists()), None)
    try:
        if limit is None:
            pytest.skip("groups limit no memory here")
        limit.write_text(str(320 * MB))
        os.chmod(folder, 0o755)
        yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text(), "the end of what was in the group")
        group.rmdir()


@pytest.mark.root
def test_a_containers_memory_decides_how_much_postgres_takes(limited, folder, start):
    server = start("--data-dir", folder + "/data", "--token", ZERO_TOKEN, token=ZERO_TOKEN, before=limited)
    assert re.search(r"may use 320 MB of memory and [\d.]+ processors", server.text)
    assert sql(server.postgres(), "SHOW shared_buffers") == [("80MB",)]
    data = {"text": "x" * 100_000}
    for number in range(200):
        server.client().write(f"s-{number % 7}", data)
    server.stop()
