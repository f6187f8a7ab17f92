"""What can be killed: a server with a Postgres of its own, or one on a cluster of ours; and the ways to kill it.

Each method returns when the blow has been struck and whatever does not start again of itself is on its way up.  It
doesn't wait for recovery: the next blow may fall into it.
"""
import os
import signal
import subprocess
import time
from pathlib import Path

from store import PG_BIN, ZERO_TOKEN, Cluster, Server, free_port, wait_until


def children(pid):
    """Process id -> title."""
    titles = {}
    try:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            titles[int(child)] = Path(f"/proc/{child}/cmdline").read_bytes().replace(
                b"\0", b" ").decode(errors="replace").strip()
    except OSError:  # gone meanwhile
        pass
    return titles


def kill(pid, number=signal.SIGKILL):
    """Does nothing when it is gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def pg_ctl(data, *arguments, check=True):
    return subprocess.run([f"{PG_BIN}/pg_ctl", *map(str, arguments), "-D", str(data)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=check).returncode


class Victim:
    """`server` may be another one after a kill; its port and token stay."""

    kinds = ["backend", "postmaster", "server", "immediate", "restart"]
    host = "127.0.0.1"

    def __init__(self):
        self.port, self.token, self.output = free_port(), ZERO_TOKEN, []
        self.server = None

    def start_server(self):
        self.server = Server(*self.arguments(), "--port", str(self.port), "--token", self.token, token=self.token)

    def stop(self):
        self.server.stop()

    def kill_backend(self, random):
        backends = wait_until(self.backends, "a backend")
        kill(random.choice(backends))

    def kill_server(self, random):
        self.server.kill()
        time.sleep(random.choice([0, 0, 0.5]))
        self.start_server()

    def backends(self):
        """The client backends; `pg: user database [local] ...`, other processes have no address."""
        return [pid for pid, title in children(self.postmaster()).items() if "[local]" in title]


class Embedded(Victim):
    """The server itself starts its Postgres again."""

    name = "embedded Postgres"

    def __init__(self, folder):
        super().__init__()
        self.folder = Path(folder)
        self.start_server()

    def arguments(self):
        return ["--data-dir", str(self.folder / "data")]

    def postmaster(self):
        def running():
            try:
                return self.server.postmaster()
            except (AssertionError, OSError):
                return None
        return wait_until(running, "the embedded Postgres")

    def kill_postmaster(self, random):
        kill(self.postmaster())

    def kill_immediate(self, random):
        self.postmaster()
        pg_ctl(self.folder / "data" / "pg", "stop", "-W", "-m", "immediate", check=False)

    def kill_restart(self, random):
        self.postmaster()
        pg_ctl(self.folder / "data" / "pg", "stop", "-W", "-m", "fast", check=False)


class OnCluster(Victim):
    """We start Postgres again."""

    name = "own Postgres (--database)"

    def __init__(self, folder):
        super().__init__()
        self.cluster = Cluster(Path(folder) / "pg", ["fsync=on"]).create().start()
        self.start_server()

    def arguments(self):
        return ["--database", self.cluster.conninfo()]

    def stop(self):
        super().stop()
        self.cluster.stop("immediate")

    def postmaster(self):
        return int((self.cluster.data / "postmaster.pid").read_text().split()[0])

    def start_again(self):
        """As soon as the last process of the one before is gone."""
        def started():
            try:
                return self.cluster.start()
            except AssertionError:
                return None
        wait_until(started, "Postgres to start")

    def kill_postmaster(self, random):
        kill(self.postmaster())
        self.start_again()

    def kill_immediate(self, random):
        self.cluster.stop("immediate")
        time.sleep(random.choice([0, 0, 1]))
        self.start_again()

    def kill_restart(self, random):
        self.cluster.stop("fast")
        self.start_again()
