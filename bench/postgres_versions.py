#!/usr/bin/python3
"""The load (README.md) on several PostgreSQL versions side by side, each in a Debian release of its own
(test/postgres.sh).

    make bench-versions, or bench/postgres_versions.py [--rounds 10] [--seconds 5] [--workers 10] [RELEASE...]

As root.  The releases (bookworm = 15, trixie = 17, sid = 18, experimental = 19) are installed where they are missing,
the sources are built in each, and a durable server of each stays up; one load generator, this machine's, loads them in
turns, in another order each round.  Prints for each version the operations a second, the latency, and the processor
time an operation of Postgres and of the server, medians with quartiles and in parts of the first one's.  The last line
is JSON.

To see what explains a difference: --setting NAME=VALUE goes to every Postgres, as a line of postgresql.auto.conf;
--profile N (perf) looks at every Postgres for N more times --seconds, in turns, and prints in which functions the
versions differ most, in us of processor time an operation.
"""
import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

from measure import ROOT, below, load, processor_time, quartiles  # noqa: E402

from store import free_port, token_for, wait_until  # noqa: E402

HERTZ, ROWS = 2000, 25

# Builds what is there, and serves until it is ended; $1 is the port, $2 the token, the rest are lines of settings.
INSIDE = r"""
set -e
make --silent deps >&2
make --silent install >&2
folder=$(mktemp -d /var/tmp/millrace-versions-XXXXXX)
chmod 755 "$folder"
port=$1 token=$2
shift 2
serve() {
	sidecar/millrace serve --port "$port" --token "$token" --admin-listen '' --data-dir "$folder/data" &
	server=$!
}
stop() {
	kill -TERM "$server" 2>/dev/null || true
	wait "$server" || true
}
trap 'stop; rm -rf "$folder"' EXIT
if [ $# -gt 0 ]; then
	serve
	until grep -q ready "$folder/data/pg/postmaster.pid" 2>/dev/null; do sleep 0.1; done
	stop
	printf '%s\n' "$@" >>"$folder/data/pg/postgresql.auto.conf"
fi
pg_config --version
serve
wait "$server"
"""


class Side:
    """A server in a release, in a namespace of processes of its own."""

    def __init__(self, release, settings):
        self.release, self.port, self.token = release, free_port(), token_for("default")
        self.process = subprocess.Popen([
            str(ROOT / "test" / "postgres.sh"), release, "bash", "-c", INSIDE, "serve",
            str(self.port), self.token, *settings
        ], stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if line.startswith("PostgreSQL"):
                self.version = line.split()[1]
            if "listening on" in line and hasattr(self, "version"):
                return
        sys.exit(f"{release}: the server did not start")

    def measure(self, workers, seconds):
        before = processor_time(self.process.pid)
        result = load(self, workers, seconds)
        after = processor_time(self.process.pid)
        if result["errors"]:
            sys.exit(f"{self.release}: {result['errors']} errors")
        # The warm-up's work is in the time, and so it is counted with the operations.
        operations = result["total_ops"] * (1 + min(1, seconds / 4) / result["duration"])
        return {"rate": result["throughput"], "p50": result["p50"], "p99": result["p99"],
                **{f"{kind}_us": (after[kind] - before[kind]) / operations * 1e6 for kind in before}}

    def profile(self, workers, seconds):
        """Postgres's samples by function and library during a load, and the operations of that load."""
        with tempfile.NamedTemporaryFile(prefix="millrace-perf-") as file:
            postgres = [
                str(pid) for pid in below(self.process.pid)
                if Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
            ]
            perf = subprocess.Popen([
                "perf", "record", "-q", "-e", "cpu-clock", "-F",
                str(HERTZ), "-o", file.name, "-p", ",".join(postgres)
            ], stderr=subprocess.DEVNULL)
            operations = load(self, workers, seconds)["total_ops"]
            perf.send_signal(signal.SIGINT)
            perf.wait()
            report = subprocess.run([
                "perf", "report", "-i", file.name, "--stdio", "--no-children", "-g", "none", "-F", "sample,dso,symbol"
            ], capture_output=True, text=True, check=True).stdout
        rows = re.findall(r"^ *(\d+) +(\S+) +\[.\] (.+?) *$", report, re.M)
        return operations * (1 + min(1, seconds / 4) / seconds), {
            f"{symbol} ({library})": int(count)
            for count, library, symbol in rows
        }

    def stop(self):
        programs = [pid for pid in below(self.process.pid)
                    if Path(f"/proc/{pid}/comm").read_text().strip() == "millrace"]
        for pid in programs:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in programs), "the end of the server", 60)
        self.process.terminate()
        self.process.wait()


@contextmanager
def side(release, settings):
    started = Side(release, settings)
    try:
        yield started
    finally:
        started.stop()


def summary(values):
    lower, middle, upper = quartiles(values)
    return {"median": round(middle, 3), "quartiles": [round(lower, 3), round(upper, 3)]}


def shown(found, first):
    spread = "{} ({} to {})".format(*(f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
                                      for value in (found["median"], *found["quartiles"])))
    return f"{spread} | {found['median'] / first['median']:.2f}"


def profiles(sides, workers, seconds, times):
    """A table of the functions that take most longer or shorter in one version than in the first, us an operation."""
    operations, samples = Counter(), {each.version: Counter() for each in sides}
    for _ in range(times):
        for each in random.sample(sides, len(sides)):
            count, found = each.profile(workers, seconds)
            operations[each.version] += count
            samples[each.version].update(found)
    taken = {
        version: Counter({name: count / HERTZ * 1e6 / operations[version]
                          for name, count in found.items()})
        for version, found in samples.items()
    }
    first = taken[sides[0].version]
    names = set().union(*taken.values())
    differing = sorted(names, key=lambda name: -max(abs(each[name] - first[name]) for each in taken.values()))[:ROWS]
    print(f"\n| function | {' | '.join(taken)} |\n|{'---|' * (len(taken) + 1)}")
    for name, row in [("all", [sum(each.values()) for each in taken.values()]),
                      *((name, [each[name] for each in taken.values()]) for name in differing)]:
        print(f"| {name} | " + " | ".join(f"{us:.2f}" for us in row) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("releases", nargs="*", default=["bookworm", "trixie", "sid", "experimental"])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--setting", action="append", default=[])
    parser.add_argument("--profile", type=int, default=0)
    options = parser.parse_args()
    with ExitStack() as stack:
        sides = [stack.enter_context(side(release, options.setting)) for release in options.releases]
        for each in sides:
            each.measure(options.workers, 1)
        found = {each.version: [] for each in sides}
        for _ in range(options.rounds):
            for each in random.sample(sides, len(sides)):
                found[each.version].append(each.measure(options.workers, options.seconds))
        if options.profile:
            profiles(sides, options.workers, options.seconds, options.profile)
    result = {version: {key: summary([one[key] for one in runs]) for key in runs[0]} for version, runs in found.items()}
    print(
        "| PostgreSQL | operations/s | | p50, ms | | p99, ms | | CPU of Postgres, us/operation | | of the server | |\n|"
        + "---|" * 11)
    first = next(iter(result.values()))
    for version, values in result.items():
        print(f"| {version} | " + " | ".join(shown(values[key], first[key]) for key in values) + " |")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
