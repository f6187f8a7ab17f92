"""EventoDB beside Millrace, by the same load over HTTP, where a checkout of it is given.

    EVENTODB=/path/to/eventodb make bench ARGS='--only eventodb'

It is built with Go in a folder of its own, and started as its start scripts do, on Pebble, on Postgres and in test
mode: `--port`, `--token`, and `--db-url pebble://FOLDER`, `--db-url postgres://...` or `--test-mode`.
"""
import os
import pwd
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path

from measure import (
    durable_postgres, in_turn, load, median, privileged, ratio, row, serve, serve_durable, sql, temporary_folder)

from store import ZERO_TOKEN, Client, Program, free_port, wait_until

VARIABLE = "EVENTODB"
WORKERS = (1, 10, 64)
PATIENCE = 900  # seconds for the build
FIGURES = ("eventodb_pebble_10", "eventodb_pebble_1_test")


class Unusable(Exception):
    """There is no EventoDB that runs; says why."""


def main_package(sources):
    """The package of the program, as `go build` takes it."""
    if (sources / "cmd" / "eventodb").is_dir():
        return "./cmd/eventodb"
    found = sorted(path.name for path in (sources / "cmd").glob("*") if path.is_dir())
    return f"./cmd/{found[0]}" if found else "."


def build(folder):
    """Returns the program, built in the folder."""
    if not os.environ.get(VARIABLE):
        raise Unusable(f"no checkout of it was given: {VARIABLE}=folder make bench")
    sources = Path(os.environ[VARIABLE]).resolve()
    if not (sources / "go.mod").exists():
        raise Unusable(f"{sources} is no checkout of it: there is no go.mod")
    if not shutil.which("go"):
        raise Unusable("it is built with Go, which is not installed")
    program = folder / "eventodb"
    with privileged():  # whose caches and checkout they are
        try:
            done = subprocess.run(["go", "build", "-o", program, main_package(sources)], cwd=sources,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  timeout=PATIENCE, env={**os.environ, "HOME": os.path.expanduser(f"~{owner()}")})
        except subprocess.TimeoutExpired:
            raise Unusable(f"it was not built within {PATIENCE} s") from None
        if done.returncode != 0 or not program.exists():
            raise Unusable(f"it can't be built: {done.stdout[-500:]}")
        program.chmod(0o755)
    return program


def owner():
    """The name of this process's user, whose home the bench has changed."""
    return pwd.getpwuid(os.geteuid()).pw_name


class Eventodb(Program):
    """A server of it, which bench/load can ask."""

    token = ZERO_TOKEN

    def __init__(self, program, *arguments):
        self.port = free_port()
        super().__init__([program, f"--port={self.port}", f"--token={ZERO_TOKEN}", *arguments])
        wait_until(self.answers, "EventoDB's first answer", 60)

    def answers(self):
        if self.process.poll() is not None:
            raise Unusable(f"it ended with {self.process.returncode}: {self.text[-500:]}")
        try:
            return Client(self.port, self.token).post(["sys.version"]).status == 200
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.wait()


@contextmanager
def started(program, *arguments):
    try:
        server = Eventodb(program, *arguments)
    except AssertionError as error:
        raise Unusable(str(error)) from None
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def on_pebble(program):
    with temporary_folder() as folder, started(program, f"--db-url=pebble://{folder}/pebble") as server:
        yield server


@contextmanager
def on_postgres(program):
    with durable_postgres() as cluster:
        sql(cluster.connect(), "CREATE DATABASE eventodb")
        url = f"postgres://tester@localhost/eventodb?host={cluster.folder}&sslmode=disable"
        with started(program, f"--db-url={url}") as server:
            yield server


@contextmanager
def in_test_mode(program):
    with started(program, "--test-mode") as server:
        yield server


def compare(options, ours, theirs, what, workers, durable):
    found = in_turn(options.rounds, ours=lambda: load(ours, workers, options.seconds, durable=durable),
                    theirs=lambda: load(theirs, workers, options.seconds, durable=durable))
    times = ratio(found, "ours", "theirs", "throughput")
    return times, row(what, workers, median(found, "ours", "throughput"), median(found, "theirs", "throughput"), times,
                      median(found, "ours", "p50"), median(found, "theirs", "p50"))


def durable_rows(options, program, figures):
    """On Pebble and on Postgres; what does not start is said and left out."""
    rows, failed = [], []
    for name, store in (("Pebble", on_pebble), ("Postgres", on_postgres)):
        try:
            with store(program) as theirs, serve_durable() as ours:
                for workers in WORKERS:
                    times, line = compare(options, ours, theirs, f"durable, EventoDB on {name}", workers, "yes")
                    figures[f"eventodb_{name.lower()}_{workers}"] = times
                    rows.append(line)
        except Unusable as reason:
            failed.append(f"EventoDB does not run on {name}: {reason}")
    return rows, failed


def test_row(options, program, figures):
    try:
        with in_test_mode(program) as theirs, serve("--test-mode") as ours:
            figures["eventodb_pebble_1_test"], line = compare(options, ours, theirs, "both in test mode", 1, "no")
            return [line], []
    except Unusable as reason:
        return [], [f"EventoDB does not run in test mode: {reason}"]


def measure(options):
    figures, rows, failed = {}, [], []
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        folder.chmod(0o755)
        try:
            program = build(folder)
            for measured in (durable_rows, test_row):
                more, faults = measured(options, program, figures)
                rows += more
                failed += faults
        except Unusable as reason:
            failed.append(f"EventoDB: {reason}")
    for each in failed:
        print(f"*** NOT COMPARED WITH EVENTODB: {each} ***", flush=True)
    return {
        "title": "EventoDB",
        "about": "The load of `make bench-load` over HTTP, nine writes to a read of ten messages, on Millrace and on a "
                 "checkout of EventoDB in turns; answers a second, and milliseconds until half of them were there.",
        "columns": ["what", "workers", "Millrace /s", "EventoDB /s", "ratio", "p50 ms, ours", "theirs"], "rows": rows,
        "figures": {name: figures.get(name) for name in FIGURES}, **({"skipped": "; ".join(failed)} if failed else {})
    }
