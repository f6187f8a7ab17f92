#!/usr/bin/python3
"""Where the time and the memory of the load go.

    make profile-baseline [DURATION=30] [ARGS='--workers 64 --size 3000']

Runs the load of bench/load twice, each time against a durable server of its own: the program as it is, for the CPU
profile, the figures and what Postgres did; and the build that records every allocation, which is slower, for the rest.
Leaves all in profiles/YYYYmmdd_HHMMSS/, prints a report, and ends with that folder's name.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "test")]
sys.dont_write_bytecode = True

import store  # noqa: E402
from pprof import Profile, json_part  # noqa: E402
from store import ZERO_TOKEN, Server, sql, wait_until  # noqa: E402

PROGRAM = ROOT / "sidecar" / "millrace"
RECORDING = ROOT / "sidecar" / "build-profile" / "millrace"
SAMPLE_PAUSE = 0.05
SITES = 15
HZ = 100  # of the CPU profiler

STATEMENTS = """SELECT left(regexp_replace(query, '\\s+', ' ', 'g'), 90), calls, total_exec_time, rows, wal_bytes,
        shared_blks_hit
    FROM pg_stat_statements WHERE calls > 10 ORDER BY total_exec_time DESC LIMIT 10"""
ACTIVITY = """SELECT CASE WHEN wait_event IS NULL THEN 'running' ELSE wait_event_type || ' ' || wait_event END
    FROM pg_stat_activity WHERE state NOT LIKE 'idle%' AND pid <> pg_backend_pid() AND application_name = 'millrace'"""


class Durable(Server):
    """A durable server in a folder of its own, with its admin listener; Postgres collects statistics if it can."""

    def __init__(self, program, folder):
        arguments = ["--data-dir", f"{folder}/data", "--token", ZERO_TOKEN, "--admin-listen", "127.0.0.1:0",
                     *os.environ.get("SERVE_ARGS", "").split()]
        super().__init__(*arguments, token=ZERO_TOKEN, program=str(program))
        cluster = Path(os.readlink(f"/proc/{self.postmaster()}/cwd"))
        if (Path(store.PG_BIN).parent / "lib" / "pg_stat_statements.so").exists():
            with open(cluster / "postgresql.conf", "a") as settings:
                settings.write("\nshared_preload_libraries = 'pg_stat_statements'\n")
            self.stop()
            super().__init__(*arguments, token=ZERO_TOKEN, program=str(program))
        self.admin = wait_until(lambda: re.search(r"admin listener on (http://\S+)", self.text),
                                "the admin listener")[1]

    def debug(self, path, file=None):
        """Gets a page of /debug; keeps it in a file if there is one."""
        with urllib.request.urlopen(f"{self.admin}/debug/{path}", timeout=400) as reply:
            body = reply.read()
        if file:
            file.write_bytes(body)
        return body

    def load(self, duration, warmup, options, output):
        command = [
            ROOT / "bench" / "load", "--url", f"http://127.0.0.1:{self.port}", "--token", self.token, "--durable",
            "yes", "--duration", duration, "--warmup", warmup, "--output", output, *options
        ]
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)


def finish(load):
    text = load.communicate()[0]
    if load.returncode != 0:
        sys.exit(f"the load failed:\n{text}")
    return text


# ---- the program as it is ------------------------------------------------------

class Postgres:
    """What Postgres did between begin() and end()."""

    def __init__(self, server):
        self.connection = server.postgres()
        is_there = sql(self.connection, "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_stat_statements'")
        self.has_statements = is_there and \
            "pg_stat_statements" in sql(self.connection, "SHOW shared_preload_libraries")[0][0]
        if self.has_statements:
            sql(self.connection, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        self.version = self.connection.server_version
        self.messages_table = sql(self.connection,
                                  "SELECT schema FROM millrace.namespaces WHERE name = 'default'")[0][0]

    def _state(self):
        wal = sql(self.connection,
                  "SELECT wal_records, wal_fpi, wal_bytes FROM pg_stat_wal")[0] if self.version >= 140000 else ()
        database = sql(self.connection, "SELECT xact_commit, xact_rollback, blks_read, blks_hit FROM pg_stat_database"
                                        " WHERE datname = current_database()")[0]
        lsn = sql(self.connection, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")[0][0]
        messages = sql(self.connection, f'SELECT count(*) FROM "{self.messages_table}".messages')[0][0]
        return {"lsn": int(lsn), "messages": messages,
                **dict(zip(("wal_records", "wal_full_pages", "wal_bytes"), map(int, wal))),
                **dict(zip(("commits", "rollbacks", "blocks_read", "blocks_hit"), map(int, database)))}

    def begin(self):
        if self.has_statements:
            sql(self.connection, "SELECT pg_stat_statements_reset()")
        self.before = self._state()

    def end(self):
        time.sleep(1.5)  # sessions report their statistics once a second at most
        after = self._state()
        found = {name: after[name] - self.before[name] for name in after}
        names = ("query", "calls", "ms", "rows", "wal_bytes", "blocks_hit")
        if self.has_statements:
            found["statements"] = [dict(zip(names, (row[0], int(row[1]), round(row[2], 1), *map(int, row[3:]))))
                                   for row in sql(self.connection, STATEMENTS)]
        else:
            found["tables"] = sql(
                self.connection, "SELECT schemaname || '.' || relname, n_tup_ins, idx_scan, idx_tup_fetch FROM"
                " pg_stat_user_tables WHERE n_tup_ins > 0 OR idx_scan > 0")
        return found


class Waits(threading.Thread):
    """What the server's sessions wait for, sampled until stop()."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.connection, self.seen, self.nsamples, self.stopping = server.postgres(), Counter(), 0, threading.Event()
        self.start()

    def run(self):
        while not self.stopping.wait(SAMPLE_PAUSE):
            self.seen.update(row[0] for row in sql(self.connection, ACTIVITY))
            self.nsamples += 1

    def stop(self):
        """How many sessions were at it on average, by what they waited for."""
        self.stopping.set()
        self.join()
        return {name: round(count / max(self.nsamples, 1), 3) for name, count in self.seen.most_common()}


def measure(folder, out, options):
    """The load against the program as it is."""
    server = Durable(PROGRAM, folder)
    seconds = int(options.duration) - 1
    try:
        postgres = Postgres(server)
        postgres.begin()
        load = server.load(options.duration, 1, options.load, out / "load-test-results.json")
        time.sleep(1)  # the load's warm-up
        waits = Waits(server)
        profiler = threading.Thread(target=server.debug, args=(f"pprof/profile?seconds={seconds}", out / "cpu.prof"))
        profiler.start()
        time.sleep(options.duration / 2)  # into the middle of the load
        server.debug("connections", out / "connections.txt")
        memory = int(server.memory() * 1024)
        profiler.join()
        text = finish(load)
        waited = waits.stop()
        found = {
            "text": text, "cpu_seconds": seconds, "postgres": {**postgres.end(), "waits": waited}, "rss_kb": memory,
            "rss_peak_kb": int(server.memory("VmHWM") * 1024)
        }
    finally:
        server.stop()
    (out / "postgres.json").write_text(json.dumps(found["postgres"], indent=1) + "\n")
    return found


# ---- the build that records -----------------------------------------------------

def record(folder, out, options):
    """The load against the build that records allocations, after a first second that fills the buffers."""
    server = Durable(RECORDING, folder)
    try:
        finish(server.load(1, 0, options.load, folder / "first.json"))
        for what in ("heap", "allocs"):
            server.debug(f"pprof/{what}", out / f"{what}-before.prof")
        finish(server.load(min(options.duration, 10), 0, options.load, folder / "recorded.json"))
        for what in ("heap", "allocs"):
            server.debug(f"pprof/{what}", out / f"{what}-after.prof")
    finally:
        server.stop()
    return json.loads((folder / "recorded.json").read_text())


# ---- the report -------------------------------------------------------------------

def summarize(out, measured, recorded):
    """What profile-compare reads: the names are in it, because the programs of a folder may be gone when it is read."""
    results = json.loads((out / "load-test-results.json").read_text())
    cpu = Profile(PROGRAM, out / "cpu.prof")
    allocs = Profile(RECORDING, out / "allocs-after.prof", out / "allocs-before.prof")
    in_use, by_use = Profile(RECORDING, out / "heap-after.prof").in_use()
    samples, functions = cpu.samples()
    nbytes, by_bytes = allocs.bytes()
    nobjects, by_objects = allocs.objects()
    counts = {row.name: row.flat for row in by_objects}
    operations = recorded["total_ops"]
    postgres = measured["postgres"]
    return {
        "load": results, "rss_kb": measured["rss_kb"], "rss_peak_kb": measured["rss_peak_kb"], "cpu": {
            "samples": samples,
            "us_per_operation": samples / HZ / measured["cpu_seconds"] / results["throughput"] * 1e6,
            "json_share": json_part(cpu.samples) / max(samples, 1),
            "functions": {row.name: row.flat / max(samples, 1)
                          for row in functions if row.flat > 0},
            "with_callees": {row.name: row.cumulative / max(samples, 1)
                             for row in functions}
        }, "allocations": {
            "operations": operations, "bytes_per_operation": nbytes / operations,
            "per_operation": nobjects / operations, "json_bytes_per_operation": json_part(allocs.bytes) / operations,
            "sites": {
                row.name: [row.flat / operations, counts.get(row.name, 0) / operations]
                for row in by_bytes if row.flat > 0
            }, "with_callees": {row.name: row.cumulative / operations
                                for row in by_bytes if row.cumulative > 0}
        }, "heap": {"bytes": in_use, "sites": {row.name: row.flat
                                               for row in by_use if row.flat > 0}},
        "wal_bytes_per_message": postgres["lsn"] / max(postgres["messages"], 1), "messages": postgres["messages"],
    }


def heading(text):
    return f"\n== {text}\n"


def report(measured, summary):
    cpu, allocations, heap, postgres = summary["cpu"], summary["allocations"], summary["heap"], measured["postgres"]
    text = heading("load") + measured["text"]
    text += f"resident     {summary['rss_kb']} kB, at most {summary['rss_peak_kb']} kB\n"
    text += heading(
        f"CPU of the server: {cpu['us_per_operation']:.1f} us per operation, JSON {cpu['json_share']:.1%} of it")
    text += "".join(f"  {share:6.1%}  {name}\n" for name, share in list(cpu["functions"].items())[:SITES])
    text += heading(
        f"allocated per operation: {allocations['bytes_per_operation']:.0f} bytes in "
        f"{allocations['per_operation']:.2f} allocations, for JSON {allocations['json_bytes_per_operation']:.1f} bytes")
    text += f"  {'bytes':>8}  {'times':>6}  function\n"
    text += "".join(f"  {size:8.1f}  {times:6.2f}  {name}\n"
                    for name, (size, times) in list(allocations["sites"].items())[:SITES])
    text += heading(f"in use after the load: {heap['bytes'] / 1024:.0f} KiB")
    text += "".join(f"  {size / 1024:8.1f} KiB  {name}\n" for name, size in list(heap["sites"].items())[:SITES // 2])
    text += heading(
        f"Postgres: {summary['wal_bytes_per_message']:.0f} bytes of WAL per message, "
        f"{postgres['messages'] / max(postgres['commits'], 1):.1f} messages per commit"
    )
    for statement in postgres.get("statements", [])[:5]:
        text += (f"  {statement['calls']:8} calls, "
                 f"{statement['ms'] / statement['calls']:7.3f} ms each  {statement['query'][:70]}\n")
    text += "  sessions at work, by what they waited for: "
    return text + ", ".join(f"{name} {count:.2f}" for name, count in postgres["waits"].items()) + "\n"


def main():
    parser = argparse.ArgumentParser(usage="profile_baseline.py [--duration s] [flags of bench/load]")
    parser.add_argument("--duration", type=float, default=30)
    parser.add_argument("--profiles", type=Path, default=ROOT / "profiles")
    options, options.load = parser.parse_known_args()
    if not 2 <= options.duration <= 300:
        parser.error("--duration must be from 2 to 300 seconds")
    out = options.profiles / time.strftime("%Y%m%d_%H%M%S")
    out.mkdir(parents=True)
    # On a real disk; the embedded Postgres, which never runs as root, must reach it.
    folder = Path(tempfile.mkdtemp(prefix="millrace-profile-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        (folder / "measured").mkdir()
        (folder / "recorded").mkdir()
        measured = measure(folder / "measured", out, options)
        recorded = record(folder / "recorded", out, options)
    finally:
        shutil.rmtree(folder)
    summary = summarize(out, measured, recorded)
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    text = report(measured, summary)
    (out / "report.txt").write_text(text)
    print(f"{text}\n{out}")


if __name__ == "__main__":
    main()
