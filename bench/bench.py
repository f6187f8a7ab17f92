#!/usr/bin/python3
"""Measures Millrace and its peers side by side on this machine, and writes bench/RESULTS.md with a plot.

    make bench [ARGS='--quick'] [ARGS='--only load --only growth']

What was measured stays in bench/results.json, part by part with its date: --only measures some parts and keeps the
others, --report measures nothing and writes the report anew. The last line is the key figures as JSON.
"""
import argparse
import datetime
import json
import os
import signal
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True

import allocations  # noqa: E402
import builds  # noqa: E402
import consumers  # noqa: E402
import disk  # noqa: E402
import eventodb  # noqa: E402
import growth  # noqa: E402
import growth_to  # noqa: E402
import http_load  # noqa: E402
import http_reads  # noqa: E402
import message_db  # noqa: E402
import queries  # noqa: E402
import report  # noqa: E402
import sql_append  # noqa: E402
import wal  # noqa: E402
from measure import LOAD, PG_BIN, ROOT, unprivileged  # noqa: E402

PARTS = {
    "load": http_load, "reads": http_reads, "memory": allocations, "append": sql_append, "message-db": message_db,
    "wal": wal, "growth": growth, "growth-to": growth_to, "consumers": consumers, "queries": queries,
    "disk": disk, "builds": builds, "eventodb": eventodb
}
LONG = ["growth-to"]  # measured by request only: growth with --to


def output_of(*command):
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip() if done.returncode == 0 else ""


def flush_time():
    """Milliseconds of one fdatasync after a write of 8 kB, where the servers' data are."""
    path = f"/var/tmp/millrace-flush-{os.getpid()}"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.unlink(path)
        os.write(file, bytes(16 << 20))
        os.fsync(file)
        began = time.monotonic()
        for n in range(200):
            os.pwrite(file, bytes([n]) * 8192, n * 8192)
            os.fdatasync(file)
        return round((time.monotonic() - began) / 200 * 1000, 3)
    finally:
        os.close(file)


def commit():
    """The commit that is measured.  What the parts of a run write there is no change of it."""
    named = output_of("git", "describe", "--always", "--abbrev=10", "--exclude=*")
    written = [f":(exclude)bench/{file}" for file in ("RESULTS.md", "results.json", "results.svg")]
    changed = output_of("git", "status", "--porcelain", "--untracked-files=no", "--", ".", *written)
    return named + ("-dirty" if changed else "") if named else "unknown"


def machine():
    """Where a part was measured."""
    cpu = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {"cores": len(os.sched_getaffinity(0)), "cpu": cpu[0] if cpu else "unknown",
            "memory_gib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30,
            "postgres": output_of(f"{PG_BIN}/postgres", "--version").split()[2], "fdatasync_ms": flush_time(),
            "commit": commit()}


def measure(name, options):
    print(f"== {name}", flush=True)
    began = time.monotonic()
    where = machine()
    with unprivileged():
        section = PARTS[name].measure(options)
    return {
        "date": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC",
        "seconds": round(time.monotonic() - began), "quick": options.quick, "rounds": options.rounds,
        "each_seconds": options.seconds, "machine": where, **section
    }


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true",
                        help="one short measurement of each, growth to 200,000 messages only")
    parser.add_argument("--only", action="append", choices=[part for part in PARTS if part not in LONG],
                        help="this part; may be given several times")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the report from results.json")
    parser.add_argument("--to", type=int, metavar="MESSAGES",
                        help="with --only growth: the server on a store that grows to so many; 50 million are 28 GB")
    parser.add_argument("--seconds", type=float, help="of one measurement (4; quick: 1)")
    parser.add_argument("--rounds", type=int, help="measurements that make a median (3; quick: 1)")
    parser.add_argument("--folder", type=Path, default=ROOT / "bench",
                        help="of results.json, RESULTS.md and results.svg (bench)")
    options = parser.parse_args()
    options.seconds = options.seconds or (1 if options.quick else 4)
    options.rounds = options.rounds or (1 if options.quick else 3)
    if options.to and options.only != ["growth"]:
        parser.error("--to is of --only growth")
    return options


def wanted(options):
    """The names of the parts to measure."""
    if options.report:
        return []
    if options.to:
        return ["growth-to"]
    return options.only or [name for name in PARTS if name not in LONG]


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    if not LOAD.exists():
        sys.exit(f"bench.py: {LOAD} is not built: make -C bench")
    options.folder.mkdir(parents=True, exist_ok=True)
    stored = options.folder / "results.json"
    results = json.loads(stored.read_text()) if stored.exists() else {}
    for name in wanted(options):
        results[name] = measure(name, options)
        results = {part: results[part] for part in PARTS if part in results}
        stored.write_text(json.dumps(results, indent=1) + "\n")
    report.write(results, options.folder)
    names = [name for part in PARTS.values() for name in getattr(part, "FIGURES", ())]
    print(json.dumps(report.last_line(results, names)))


if __name__ == "__main__":
    main()
