#!/usr/bin/python3
"""How long a server takes from its start to its first acknowledged message, of one build or of several in turns.

    make install && bench/first_answer.py [--rounds 15] [--program before=/path/to/millrace[,/its/postgres/bin]]...

In every round each program starts in each case, one after the other, so that whatever else the machine does falls on
all of them:

    new durable      a new data directory; the prepared cluster is there
    new test         --test-mode; the prepared cluster is there
    empty durable    a new data directory; the cache folder is empty
    empty test       --test-mode; the cache folder is empty
    existing         a data directory that was stopped cleanly

Nothing is removed before the end: where thousands of files were removed in the last minute ext4 looks at each of them
whenever it makes a file, and a store is a thousand files.  So servers in test mode are killed, which leaves their
folders.

A program from before there was a prepared cluster does the same in both.  Prints medians with quartiles in
milliseconds, and each program's median in parts of the first one's.  The last line is JSON.
"""
import argparse
import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "test"))
sys.dont_write_bytecode = True

from store import MILLRACE, PG_BIN, ZERO_TOKEN, drop_root, free_port, temporary_folder, wait_until  # noqa: E402

CASES = ["new durable", "new test", "empty durable", "empty test", "existing"]
APPEND = json.dumps(["stream.write", "greetings-1", {"type": "Hello", "data": {"text": "world"}}])


class Program:
    """A build, and the PostgreSQL whose extension fits it."""

    def __init__(self, path, bindir=PG_BIN):
        self.path, self.bindir = path, bindir

    def environment(self, cache, temporary):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "MILLRACE"))}
        return {**kept, "MILLRACE_PG_BINDIR": self.bindir, "XDG_CACHE_HOME": str(cache),
                **({"TMPDIR": str(temporary)} if temporary else {})}


def stop(server, temporary):
    """Ends a server, and waits for the Postgres of one that is killed."""
    server.send_signal(signal.SIGKILL if temporary else signal.SIGTERM)
    server.communicate()
    if temporary:
        wait_until(lambda: not list(temporary.glob("millrace-test-*/pg/postmaster.pid")), "the end of Postgres")


def first_answer(program, cache, folder, arguments, before_stop=lambda: None):
    """Seconds until a message is acknowledged; the server is stopped then."""
    port = free_port()
    temporary = Path(tempfile.mkdtemp(dir=folder)) if "--test-mode" in arguments else None
    begin = time.monotonic()
    server = subprocess.Popen(
        [program.path, "serve", "--port", str(port), "--admin-listen", "", *arguments],
        env=program.environment(cache, temporary), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        if "listening on" not in server.stdout.readline():
            sys.exit(f"{program.path} did not start: {server.stderr.read()}")
        client = http.client.HTTPConnection("127.0.0.1", port)
        client.request("POST", "/rpc", APPEND, {"Authorization": f"Bearer {ZERO_TOKEN}"})
        reply = client.getresponse()
        body = reply.read()
        took = time.monotonic() - begin
        assert reply.status == 200, body
        before_stop()
        return took
    finally:
        stop(server, temporary)


def prepare(program, folder):
    """Makes the cache that the cases with one share; a program that knows none leaves it empty."""
    cache = folder / "prepared"
    cache.mkdir()
    knows = "--cluster-cache" in subprocess.run([program.path, "serve", "--help"], capture_output=True, text=True,
                                                check=True).stdout
    first_answer(
        program, cache, folder, ["--test-mode"],
        lambda: knows and wait_until(lambda: list(cache.glob("millrace/cluster-*")), "a prepared cluster", 120))
    return cache


def measure(case, program, folder, cache):
    durable = ["--data-dir", tempfile.mkdtemp(dir=folder), "--token", ZERO_TOKEN]
    if case == "existing":
        first_answer(program, cache, folder, durable)
    if case.startswith("empty"):
        cache = tempfile.mkdtemp(dir=folder)
    return first_answer(program, cache, folder, ["--test-mode"] if case.endswith("test") else durable)


def summary(seconds):
    low, middle, high = (round(1000 * value) for value in statistics.quantiles(seconds, n=4, method="inclusive"))
    return {"median": middle, "low": low, "high": high}


def table(programs, results):
    width = max(map(len, programs))
    for case in CASES:
        first = results[case][next(iter(programs))]["median"]
        for name in programs:
            figures = results[case][name]
            print(
                f"{case:<14} {name:<{width}} {figures['median']:6} ms  ({figures['low']} to {figures['high']})  "
                f"{figures['median'] / first:.2f}"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--program", action="append", default=[], metavar="NAME=PATH[,BINDIR]",
        help="another build, which is compared with, and the folder of the programs of its PostgreSQL; may be repeated")
    options = parser.parse_args()
    given = {**dict(each.split("=", 1) for each in options.program), "this build": MILLRACE}
    drop_root()
    os.chdir("/")
    folder = Path(temporary_folder())
    try:
        programs = {}
        for number, (name, where) in enumerate(given.items()):
            path, *bindir = where.split(",")
            programs[name] = Program(shutil.copy(path, folder / f"program-{number}"), *bindir)
        folders = {name: folder / f"folder-{number}" for number, name in enumerate(programs)}
        for each in folders.values():
            each.mkdir()
        caches = {name: prepare(programs[name], folders[name]) for name in programs}
        seconds = {case: {name: [] for name in programs} for case in CASES}
        for _ in range(options.rounds):
            for case in CASES:
                for name in programs:
                    seconds[case][name].append(measure(case, programs[name], folders[name], caches[name]))
    finally:
        shutil.rmtree(folder)
    results = {case: {name: summary(taken) for name, taken in of_case.items()} for case, of_case in seconds.items()}
    table(programs, results)
    print(json.dumps({"rounds": options.rounds, "load": os.getloadavg()[0], "ms": results}))


if __name__ == "__main__":
    main()
