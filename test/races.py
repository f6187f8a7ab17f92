#!/usr/bin/python3
"""Runs the races in which readers or writers lost once, so many times: races.py [--times 20].

Isolation specs, which bring their sessions into each order that matters, and scripted races.  A line for each time and
race; the last line counts them.
"""
import argparse
import contextlib
import io
import shutil
import sys
import tempfile
import time
from pathlib import Path

import run

# What was attacked -> its isolation specs, and its scripted races.
RACES = {
    "an index that is built concurrently": [
        "isolation/concurrent_index", "isolation/index_order", "sql/test_index_order"
    ], "a row that took an aborted one's place, on a standby": ["sql/test_standby_bounds"],
    "rows that are changed by hand": ["isolation/updated*", "sql/test_updated*"],
    "a table that is written anew": ["isolation/written_anew",
                                     "isolation/tables"], "a sequence that is behind": ["sql/test_lookups"],
    "an append lock that is held: by errors, large messages, waits": [
        "sql/test_append_lock", "sql/test_rows_of_others"
    ], "a transaction that commits late": ["isolation/prefix", "isolation/pages", "isolation/savepoints"],
}


def specs(counts, names):
    temp = folder()
    try:
        run.copy_files("test/isolation/*.spec", temp / "isolation" / "specs")
        run.copy_files("test/isolation/expected/*.out", temp / "isolation" / "expected")
        run.regress(counts, temp / "isolation", "isolation", "isolation/pg_isolation_regress", names, False)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def scripts(counts, names):
    temp = folder()
    try:
        run.prepare_pytest(temp)
        run.pytest(counts, temp, "scripts", ["-k", " or ".join(f"{name}.py" for name in names)])
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def folder():
    temp = Path(tempfile.mkdtemp(prefix="millrace-races-", dir="/tmp"))
    run.give_away(temp)
    return temp


def race(patterns):
    """Its counts; what it printed is shown when it failed."""
    counts, output = run.Counts(), io.StringIO()
    with contextlib.redirect_stdout(output):
        for function, ending in ((specs, "spec"), (scripts, "py")):
            names = sorted(path.stem for pattern in patterns
                           for path in (run.ROOT / "test").glob(f"{pattern}.{ending}"))
            if names:
                function(counts, names)
    if counts.failed:
        print(output.getvalue())
    return counts


def main():
    parser = argparse.ArgumentParser(description="Runs the races in which readers or writers lost once, so many times.")
    parser.add_argument("--times", type=int, default=1)
    arguments = parser.parse_args()
    total = run.Counts()
    for number in range(1, arguments.times + 1):
        for what, patterns in RACES.items():
            began = time.monotonic()
            counts = race(patterns)
            if counts.line() == "0 passed, 0 failed":
                continue
            print(f"{number:3}  {what}: {counts.line()}, {time.monotonic() - began:.0f} s", flush=True)
            total.add(counts.passed, counts.failed, counts.skipped)
    print(f"{arguments.times} times: {total.line()}")
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
