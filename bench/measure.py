"""What every part of the bench measures with: servers of our own, pgbench, bench/load, sides that take turns.

A part is a module with a function measure(options) that returns a section:

    {"title": ..., "about": ..., "columns": [...], "rows": [{"cells": [...], "checks": [...]}]}

options.seconds is how long one measurement takes, options.rounds how many of them make a median.
"""
import json
import os
import pwd
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path += [str(ROOT / "test"), str(ROOT / "test" / "message_db")]

from store import PG_BIN, Cluster, Server, sql, token_for  # noqa: E402

LOAD = ROOT / "bench" / "load"

# No checkpoint and no vacuum may begin while one side is measured and not the other.
SETTINGS = [
    "fsync=on", "shared_buffers=1GB", "min_wal_size=4GB", "max_wal_size=16GB", "checkpoint_timeout=1d",
    "autovacuum=off", "jit=off"
]

# 300 bytes, as bench/load sends them.
DATA = '{"account": "4711", "amount": 1234.56, "currency": "EUR", "note": "' + ("lorem ipsum dolor sit amet " *
                                                                                9)[:231] + '"}'
STREAMS = 100


# ---- the machine and the commit ---------------------------------------------------------------------------------

@contextmanager
def unprivileged():
    """Another user's rights while the block runs, when root started us: Postgres refuses root."""
    if os.geteuid() != 0:
        yield
        return
    user, groups = pwd.getpwnam("postgres"), os.getgroups()
    os.setgroups([])
    os.setresgid(user.pw_gid, user.pw_gid, 0)
    os.setresuid(user.pw_uid, user.pw_uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


@contextmanager
def privileged():
    """Root's rights while the block runs, if root started us; yields whether root did."""
    real, effective, saved = os.getresuid()
    if saved != 0:
        yield False
        return
    os.setresuid(0, 0, 0)
    try:
        yield True
    finally:
        os.setresuid(real, effective, saved)


@contextmanager
def temporary_folder():
    """On a real disk: /tmp is memory on some machines."""
    folder = Path(tempfile.mkdtemp(prefix="m-", dir="/var/tmp"))
    home = os.environ.get("HOME")
    os.environ["HOME"] = str(folder)  # root's can't be read by others
    try:
        yield folder
    finally:
        os.environ["HOME"] = home or "/"
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def durable_postgres(*settings):
    with temporary_folder() as folder:
        cluster = Cluster(folder / "pg", [*SETTINGS, *settings])
        try:
            yield cluster.create().start()
        finally:
            cluster.stop("immediate")


def database(cluster, name):
    """A new database with the extension; returns a connection."""
    sql(cluster.connect(), f"CREATE DATABASE {name}")
    connection = cluster.connect(name)
    sql(connection, "CREATE EXTENSION millrace")
    return connection


@contextmanager
def serve(*arguments):
    """`millrace serve` with a token."""
    token = token_for("default")
    server = Server(*arguments, "--token", token, token=token)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def serve_durable():
    with temporary_folder() as folder, serve("--data-dir", folder / "data") as server:
        yield server


# ---- one measurement --------------------------------------------------------------------------------

class Pgbench:
    """Runs a script in one database; statements are prepared, `data` is a parameter as drivers send it."""

    def __init__(self, cluster, name, **settings):
        self.cluster, self.name = cluster, name
        self.options = " ".join(f"-c {setting}={value}" for setting, value in settings.items())

    def rate(self, script, clients, seconds=None, transactions=None):
        """Transactions a second, for so many whole seconds or for so many transactions of each client."""
        path = self.cluster.folder / f"{secrets.token_hex(4)}.sql"
        path.write_text(script)
        length = ["-t", transactions] if transactions else ["-T", max(1, round(seconds))]
        command = [
            f"{PG_BIN}/pgbench", "-h", self.cluster.folder, "-U", "tester", "-n", "-M", "prepared", "-D",
            f"data={DATA}", "-c", clients, "-j",
            min(clients, 2), *length, "-f", path, self.name
        ]
        done = subprocess.run([str(word) for word in command], env={**os.environ, "PGOPTIONS": self.options},
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"pgbench: {done.stderr[-2000:]}")
        return float(re.search(r"tps = ([\d.]+)", done.stdout).group(1))


def load(server, workers, seconds, *arguments, durable="yes"):
    """What bench/load says, its errors included."""
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as output:
        command = [
            LOAD, "--url", f"http://127.0.0.1:{server.port}", "--token", server.token, "--durable", durable,
            "--workers", workers, "--duration", seconds, "--warmup",
            min(1, seconds / 4), "--output", output.name, *arguments
        ]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode != 0:
            print(done.stderr or done.stdout, file=sys.stderr)
        return json.load(output)


TICKS = os.sysconf("SC_CLK_TCK")


def below(root):
    """The ids of all processes that descend from one."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, seen = [], [root]
    while seen:
        more = children.get(seen.pop(), [])
        found += more
        seen += more
    return found


def processor_time(root):
    """Seconds of processor time that Postgres and millrace have taken so far, of a process and all below it."""
    seconds = {"postgres": 0, "millrace": 0}
    for pid in [root, *below(root)]:
        try:
            name, fields = re.fullmatch(r"\d+ \((.*)\) (.*)",
                                        Path(f"/proc/{pid}/stat").read_text().strip(), re.S).groups()
        except OSError:
            continue
        # Its own and that of its children that have ended.
        seconds["millrace" if name.startswith("millrace") else "postgres"] += sum(
            int(ticks) for ticks in fields.split()[11:15]) / TICKS
    return seconds


def quartiles(values):
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3


def in_turn(rounds, **sides):
    """Calls all sides in turn, `rounds` times; returns the list of what each returned."""
    found = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(side())
    return found


def medians(rounds, **sides):
    return {name: statistics.median(values) for name, values in in_turn(rounds, **sides).items()}


def ratio(found, one, other, what):
    """The median of the rounds' ratios of two sides: what else the machine does changes from round to round."""
    return statistics.median(a[what] / max(b[what], 1e-9) for a, b in zip(found[one], found[other]))


def median(found, side, what):
    return statistics.median(each[what] for each in found[side])


# ---- what it says --------------------------------------------------------------------------------------

def at_least(name, value, limit):
    return {"name": name, "value": round(value, 3), "at_least": limit}


def at_most(name, value, limit):
    return {"name": name, "value": round(value, 3), "at_most": limit}


def row(*cells, checks=()):
    print("  " + " | ".join(shown(cell) for cell in cells), flush=True)
    return {"cells": list(cells), "checks": list(checks)}


def shown(cell):
    """Three digits of what is small, thousands apart of what is large."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if cell == int(cell) or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.2f}" if abs(cell) >= 0.095 else f"{cell:.3f}"
