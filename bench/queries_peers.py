"""The peers of queries.py: built from the registries, then sides that are asked like ours.

What is built stays in a folder outside the repository, so that it is built once. A peer that can't be built is skipped,
loudly, and has no figure.
"""
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

from measure import ROOT, privileged, sql

from store import free_port

SOURCES = ROOT / "bench" / "peers"
PATIENCE = 1800  # seconds for all of a package manager


def built_in(folder):
    """The folder of what is built, made where it is not there; another user's is refused, as it is run."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        sys.exit(f"{folder} is not ours: say --build FOLDER")
    shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
    return folder


def run(*command, **options):
    done = subprocess.run(["nice", *map(str, command)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}:\n{done.stdout[-2000:]}")


def build_python(folder):
    if not (folder / "venv" / "bin" / "python").exists():
        run("/usr/bin/python3", "-m", "venv", folder / "venv")
    run(folder / "venv" / "bin" / "pip", "install", "-q", "--disable-pip-version-check", "-r",
        folder / "requirements.txt")


def build_rust(folder):
    run("cargo", "build", "--release", "--quiet", cwd=folder)


def build(folder):
    """Returns the names of what could be built."""
    built = []
    with privileged():
        folder = built_in(folder)
        for name, builder in (("python", build_python), ("rust", build_rust)):
            try:
                builder(folder)
                built.append(name)
            except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                print(f"*** PEERS IN {name.upper()} ARE SKIPPED: {error} ***", flush=True)
    return built


# ---- the sides --------------------------------------------------------------------------------------------------

def asked(command, clients, seconds, race, prefix):
    """Runs a program of clients; returns what it says."""
    words = [*command, clients, seconds, min(1, seconds / 4), "race" if race else "unique", prefix]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stdout}{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


class Recorder:
    """eventsourcing's recorder; the clients are Python processes."""

    def __init__(self, folder, cluster, postmaster):
        self.cluster, self.name, self.process = cluster, "recorder", postmaster
        sql(cluster.connect(), f"CREATE DATABASE {self.name}")
        self.command = [folder / "venv" / "bin" / "python", folder / "recorder.py", cluster.folder, self.name]

    def prepare(self):
        """The recorder asks autovacuum for these statistics, which is off."""
        sql(self.cluster.connect(self.name), "ANALYZE")
        sql(self.cluster.connect(), "CHECKPOINT")

    def ask(self, clients, seconds, race, prefix):
        return asked(self.command, clients, seconds, race, prefix)


class Disintegrate(Recorder):
    """disintegrate-postgres; the clients are one Rust thread."""

    def __init__(self, folder, cluster, postmaster):
        self.cluster, self.name, self.process = cluster, "disintegrate", postmaster
        sql(cluster.connect(), f"CREATE DATABASE {self.name}")
        self.command = [
            folder / "target" / "release" / "peers", "disintegrate",
            f"postgres:///{self.name}?host={cluster.folder}&user=tester"
        ]


class UmaDb:
    """UmaDB's server; the clients are one Rust thread."""

    def __init__(self, folder, address, process):
        self.process = process
        self.command = [folder / "target" / "release" / "peers", "umadb", address]

    def prepare(self):
        os.sync()

    def ask(self, clients, seconds, race, prefix):
        return asked(self.command, clients, seconds, race, prefix)


@contextmanager
def umadb(folder, data):
    """Its server as the wheel has it, which flushes each commit."""
    address = f"127.0.0.1:{free_port()}"
    (data / "umadb").mkdir()
    server = subprocess.Popen([folder / "venv" / "bin" / "umadb", "--listen", address, "--db-path", data / "umadb"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield UmaDb(folder, f"http://{address}", server.pid)
    finally:
        server.terminate()
        server.wait()
