#!/usr/bin/python3
"""Appends by SQL and the load (README.md) on two builds side by side: the working tree, and an earlier commit.

    make bench-builds BEFORE=COMMIT [ARGS='--rounds 20 --seconds 5']

Each build has a copy of PostgreSQL's folders with its own extension in it, a durable Postgres for the appends and a
durable server for the load.  The two take turns, in another order each round.  Prints for each the rate and the
processor time an operation, medians with quartiles, and the median of the rounds' ratios: near 1 the processor time
decides, as the rate is the machine's as much as ours.  The last line is JSON.

It is the part `builds` of `make bench`, too, which compares with BEFORE, also what is read and imported, and a server
in test mode.
"""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

import http_reads  # noqa: E402
from bulk import write_messages  # noqa: E402
from measure import (  # noqa: E402
    ROOT, SETTINGS, Pgbench, load, median, privileged, processor_time, quartiles, row, sql, temporary_folder)
from sql_append import APPEND, fill_by_append  # noqa: E402

from installation import PG_CONFIG, Installation, installed  # noqa: E402
from store import Server, drop_root, token_for  # noqa: E402

CLIENTS = (1, 10, 32)
WORKERS = (10, 64)

# Of `make bench`.
BEFORE = "b012a43"
IMPORTED, QUICK_IMPORTED = 200000, 10000
FIGURES = ("durable_1_latency", "durable_10_ops", "durable_64_ops", "cpu_per_op_1", "cpu_per_op_10", "cpu_per_op_64",
           "testmode_1_ops", "import", "category_get")


class Build:
    """Sources that were built, and an installation with their extension."""

    def __init__(self, name, folder, sources):
        self.name, self.folder = name, folder / name
        self.folder.mkdir()
        for part in ("extension", "sidecar"):
            subprocess.run(["make", "--silent", "-C", sources / part, f"PG_CONFIG={PG_CONFIG}"], check=True,
                           stdout=sys.stderr)
        self.installation = Installation(self.folder / "installation")
        library = self.installation.inside(installed("pkglibdir")) / "millrace.so"
        for file in [library, *self.installation.extension.glob("millrace*")]:
            file.unlink(missing_ok=True)
        shutil.copy(sources / "extension" / "millrace.so", library)
        for file in [
                *(sources / "extension").glob("millrace*.sql"), *(sources / "extension").glob("millrace*.control")
        ]:
            shutil.copy(file, self.installation.extension)
        self.program = shutil.copy(sources / "sidecar" / "millrace", self.folder / "millrace")

    def start(self, stack):
        self.cluster = self.installation.cluster(self.folder / "pg")
        self.cluster.settings += SETTINGS
        self.cluster.create().start()
        stack.callback(self.cluster.stop, "immediate")
        connection = self.cluster.connect()
        sql(connection, "CREATE EXTENSION millrace")
        sql(connection, "SELECT millrace.ensure_namespace('default')")
        fill_by_append(connection)
        self.postmaster = int((self.cluster.data / "postmaster.pid").read_text().split()[0])
        self.bench = Pgbench(self.cluster, "postgres")
        self.server = self.serve(stack, "--data-dir", self.folder / "data")

    def serve(self, stack, *arguments):
        token = token_for("default")
        server = Server(*arguments, "--token", token, token=token, program=self.program,
                        variables={"MILLRACE_PG_BINDIR": str(self.installation.bin)})
        stack.callback(server.stop)
        return server

    def start_servers(self, stack):
        """A durable one with messages to read, and one in test mode."""
        self.server, self.test = self.serve(stack, "--data-dir", self.folder / "data"), self.serve(stack, "--test-mode")
        for _ in range(10):
            sql(self.server.postgres(), http_reads.FILL)
        sql(self.server.postgres(), "VACUUM ANALYZE")

    def append(self, clients, seconds):
        before = processor_time(self.postmaster)["postgres"]
        rate = self.bench.rate(APPEND, clients, seconds)
        used = processor_time(self.postmaster)["postgres"] - before
        return {"rate": rate, "us": used / (rate * max(1, round(seconds))) * 1e6}

    def load(self, workers, seconds, *arguments, server=None):
        server = server or self.server
        sql(server.postgres(), "CHECKPOINT")
        before = processor_time(server.process.pid)
        result = load(server, workers, seconds, *arguments, durable="yes" if server is self.server else "no")
        after = processor_time(server.process.pid)
        if result["errors"]:
            sys.exit(f"{self.name}: {result['errors']} errors")
        # The warm-up's work is in the time, and so it is counted with the operations.
        operations = result["total_ops"] * (1 + min(1, seconds / 4) / result["duration"])
        return {
            "rate": result["throughput"], "us": sum(after[kind] - before[kind] for kind in before) / operations * 1e6,
            "ms": result["avg_latency"]
        }

    def load_test_mode(self, workers, seconds):
        return self.load(workers, seconds, server=self.test)

    def read_category(self, workers, seconds):
        return self.load(workers, seconds, "--mix", "0:1", "--category", 99000)

    def import_file(self, file, messages):
        """Into a new namespace."""
        self.imports = getattr(self, "imports", 0) + 1
        token = self.server.client().call("ns.create", f"import-{self.imports}")["token"]
        sql(self.server.postgres(), "CHECKPOINT")
        used, began = sum(processor_time(self.server.process.pid).values()), time.monotonic()
        subprocess.run([self.program, "import", "--input", file], check=True, stdout=subprocess.DEVNULL,
                       env={"MILLRACE_URL": f"http://127.0.0.1:{self.server.port}", "MILLRACE_TOKEN": token})
        seconds = time.monotonic() - began
        return {"rate": messages / seconds, "us": (sum(processor_time(self.server.process.pid).values()) - used) /
                messages * 1e6}


def exported(commit, folder):
    """The sources of a commit, in a new folder."""
    sources = folder / f"sources-{commit}"
    if sources.exists():
        return sources
    sources.mkdir()
    archive = subprocess.run(["git", "-C", ROOT, "archive", commit], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", sources], check=True, input=archive)
    return sources


def two_builds(before, folder, kept):
    """A commit and the working tree; the commit's sources stay in the folder `kept`.  All else is given away."""
    builds = [Build("before", folder, exported(before, kept)), Build("now", folder, ROOT)]
    files = [path for build in builds for path in (build.folder, *build.folder.rglob("*"))]
    for path in files if os.geteuid() == 0 else []:
        shutil.chown(path, "postgres", "postgres") if not path.is_symlink() else None
    return builds


def ratio(now, before, key):
    lower, middle, upper = quartiles([one[key] / other[key] for one, other in zip(now, before)])
    return f"{middle:.3f} ({lower:.3f} to {upper:.3f})", round(middle, 4)


def report(title, found):
    """A line of the table, and the ratios."""
    medians = {name: {key: quartiles([run[key] for run in runs])[1] for key in runs[0]} for name, runs in found.items()}
    rate, rates = ratio(found["now"], found["before"], "rate")
    time, times = ratio(found["now"], found["before"], "us")
    print(f"| {title} | {medians['before']['rate']:,.0f} | {medians['now']['rate']:,.0f} | {rate} | "
          f"{medians['before']['us']:.1f} | {medians['now']['us']:.1f} | {time} |", flush=True)
    return {"rate": rates, "cpu": times}


# ---- the part of `make bench` ----------------------------------------------------------------------------

def parts(options, file):
    """What is compared: its name, the measurement, and its figures, each with what of it they are."""
    messages, seconds = QUICK_IMPORTED if options.quick else IMPORTED, options.seconds
    write_messages(file, messages)
    file.chmod(0o644)
    latency = {"durable_1_latency": "ms", "cpu_per_op_1": "us"}
    return [("the load, durable, 1 worker", lambda build: build.load(1, seconds), latency)] + [
        (f"the load, durable, {n} workers", lambda build, n=n: build.load(n, seconds),
         {f"durable_{n}_ops": "rate", f"cpu_per_op_{n}": "us"}) for n in WORKERS
    ] + [("the load, test mode, 1 worker", lambda build: build.load_test_mode(1, seconds), {"testmode_1_ops": "rate"}),
         ("`category.get` of 1000, 10 workers", lambda build: build.read_category(10, seconds),
          {"category_get": "rate"}),
         (f"`millrace import` of {messages:,} messages", lambda build: build.import_file(file, messages),
          {"import": "rate"})]


def compare(name, measured, wanted, builds, rounds, figures):
    found = {build.name: [] for build in builds}
    for _ in range(rounds):
        for build in random.sample(builds, len(builds)):
            found[build.name].append(measured(build))
    for figure, key in wanted.items():
        figures[figure] = ratio(found["now"], found["before"], key)[1]
    cells = []
    for key in ("rate", "us"):
        cells += [median(found, "before", key), median(found, "now", key), ratio(found["now"], found["before"], key)[0]]
    return row(name, *cells)


def has_commit(commit):
    """Whether it can be built: there is a repository, and it goes back as far."""
    if not shutil.which("git"):
        return False
    with privileged():
        return subprocess.run(["git", "-C", ROOT, "cat-file", "-e", f"{commit}^{{commit}}"],
                              stderr=subprocess.DEVNULL).returncode == 0


def remove_sources(folder):
    """Those are root's, if root built them."""
    with privileged():
        for sources in folder.glob("sources-*"):
            shutil.rmtree(sources)


def measure(options):
    section = {
        "title": "The build before", "rows": [], "figures": {},
        "about": f"The working tree beside commit {BEFORE}, each with an extension and servers of its own, in turns; "
                 "a checkpoint before each run. Ratios are medians of the rounds' ratios, with quartiles; the first is "
                 "of operations or messages a second, the last of processor time an operation, of server and Postgres.",
        "columns": ["what", "before /s", "now /s", "ratio", "before, us CPU", "now, us CPU", "ratio"]
    }
    if not has_commit(BEFORE):
        print(f"*** NOT COMPARED WITH THE BUILD BEFORE: there is no repository with commit {BEFORE} ***", flush=True)
        return {**section, "skipped": f"there is no repository with commit {BEFORE}"}
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        folder.chmod(0o755)
        stack.callback(remove_sources, folder)
        with privileged():
            builds = two_builds(BEFORE, folder, folder)
        for build in builds:
            build.start_servers(stack)
        for name, measured, wanted in parts(options, folder / "imported"):
            for build in builds:
                measured(build)  # which is not counted: buffers and files of the WAL are there then
            section["rows"].append(
                compare(name, measured, wanted, builds, 1 if options.quick else max(5, options.rounds),
                        section["figures"]))
    return section


# ---- by itself -------------------------------------------------------------------------------------------

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--only", default="", help="the rows whose names have this, as in --only '1 client'")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="m-", dir="/var/tmp"))
    try:
        builds = two_builds(options.before, folder, folder)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        drop_root()
        os.environ["HOME"] = str(folder)
        with ExitStack() as stack:
            for build in builds:
                build.start(stack)
            parts = {f"append, {n} client{'s' if n > 1 else ''}": (Build.append, n) for n in CLIENTS}
            parts |= {f"load, {n} workers": (Build.load, n) for n in WORKERS}
            print("| | before, /s | now, /s | ratio | before, us CPU | now, us CPU | ratio |\n" + "|---" * 7 + "|")
            ratios = {}
            for title, (measure, n) in ((title, part) for title, part in parts.items() if options.only in title):
                found = {"before": [], "now": []}
                for build in builds:
                    measure(build, n, 1)
                for _ in range(options.rounds):
                    for build in random.sample(builds, 2):
                        found[build.name].append(measure(build, n, options.seconds))
                ratios[title] = report(title, found)
        print(
            json.dumps(
                {"before": options.before, "rounds": options.rounds, "load": os.getloadavg()[0], "ratios": ratios}))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
