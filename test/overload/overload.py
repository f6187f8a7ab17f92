#!/usr/bin/python3
"""Far too many requests and far too many clients, and what becomes of memory, of /health, and of the time after.

    overload.py [--times 10] [--clients 10000] [--seconds 10]

A server with an embedded, durable Postgres and the load of bench/README.md.  First it is measured what the server can
do; then `--clients` idle connections are there beside that load; then requests come at `--times` that rate over
`--clients` connections, with queues of 1000 requests a worker.  The last line is JSON.  Exit code 1 when /health
failed, when anything but 503 was refused, when something that was acknowledged is not there, or when the server took
more memory than its limits allow.

`make test-overload` runs it; by itself it needs MILLRACE, LOAD (bench/load) and a user that is not root.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path[1:1] = [str(Path(__file__).resolve().parent.parent)]

from crowd import Health, allow_files, connections  # noqa: E402
from store import ZERO_TOKEN, Server, temporary_folder  # noqa: E402

LOAD = os.environ.get("LOAD", str(Path(__file__).resolve().parent.parent.parent / "bench" / "load"))
QUEUE = 1000   # requests, a worker
BUFFERS = 128  # MB, a worker, for requests and as much for replies
MESSAGE = {"type": "T", "data": {}}
HEALTH = Health.REQUEST


def load(server, *arguments):
    """Runs bench/load, and returns what it says."""
    results = Path(temporary_folder()) / "results.json"
    done = subprocess.run([
        LOAD, "--url", f"http://127.0.0.1:{server.port}", "--token", server.token, "--output", results, "--warmup", "1",
        *map(str, arguments)
    ], capture_output=True, text=True)
    assert results.exists(), done.stdout + done.stderr
    found = json.loads(results.read_text())
    shutil.rmtree(results.parent)
    assert found["errors"] == 0, done.stdout + done.stderr
    return found


def time_to_recover(server, ended, usual):
    """From the end of the load until ten writes in a row take no longer than usual."""
    client, good = server.client(), 0
    while good < 10:
        began = time.monotonic()
        reply = client.post(["stream.write", "after", MESSAGE])
        good = good + 1 if reply.status == 200 and time.monotonic() - began < usual else 0
        assert time.monotonic() - ended < 60, f"not recovered: {reply.body}"
    client.close()
    return time.monotonic() - ended


def stored(server):
    client = server.client()
    count = client.call("ns.info", "default")["messageCount"]
    client.close()
    return count


def main():
    parser = argparse.ArgumentParser(description="Asks for far more than the server can do.")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--clients", type=int, default=10000)
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    allow_files(arguments.clients + 100)
    folder = temporary_folder()
    server = Server("--data-dir", folder + "/data", "--token", ZERO_TOKEN, "--queue-requests", str(QUEUE),
                    "--buffer-bytes", f"{BUFFERS}M", "--max-body", "32M", token=ZERO_TOKEN)
    try:
        return report(server, arguments)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def report(server, arguments):
    rows, result = [], {"clients": arguments.clients}

    def measure(name, *load_arguments):
        with Health(server) as health:
            found = load(server, "--duration", arguments.seconds, *load_arguments)
            ended = time.monotonic()
        held, peak = server.memory(), server.memory("VmHWM")
        rows.append((name, f"{found['throughput']:.0f}", f"{found.get('rejected', 0) / arguments.seconds:.0f}",
                     f"{found['p99']:.0f}", f"{1000 * health.quantile(0.5):.1f}", f"{1000 * health.quantile(0.99):.0f}",
                     f"{1000 * max(health.seconds):.0f}", len(health.failures), f"{held:.0f}", f"{peak:.0f}"))
        return found, health, ended

    capacity, usual, _ = measure("64 clients, closed loop", "--workers", 64)
    with connections(server, arguments.clients, HEALTH):
        beside, _, _ = measure(f"and {arguments.clients} idle connections", "--workers", 64)
    rate = int(capacity["throughput"] * arguments.times)
    before = stored(server)
    flood, health, ended = measure(f"{rate} requests/s asked for", "--warmup", 0, "--workers", arguments.clients,
                                   "--rate", rate)
    recovered = time_to_recover(server, ended, 0.05)
    after, _, _ = measure("afterwards, 64 clients", "--workers", 64)
    peak = server.memory("VmHWM")
    lost = max(0, before + flood["writes"] - stored(server))

    names = ("", "served/s", "503/s", "p99 ms", "health p50", "p99", "max ms", "failed", "MB", "peak MB")
    widths = [max(len(str(row[n])) for row in [names, *rows]) for n in range(len(names))]
    for row in [names, *rows]:
        print("  ".join(
            str(cell).ljust(widths[0]) if n == 0 else str(cell).rjust(widths[n]) for n, cell in enumerate(row)))
    print(
        f"unsent for want of a free connection: {flood['unsent'] / arguments.seconds:.0f}/s; "
        f"recovered after {recovered:.2f} s"
    )
    result.update(capacity=round(capacity["throughput"]), beside_idle=round(beside["throughput"]), asked=rate,
                  served=round(flood["throughput"]), rejected=round(flood["rejected"] / arguments.seconds),
                  afterwards=round(after["throughput"]), recovered_after=round(recovered, 2), peak_mb=round(peak),
                  health_failed=len(health.failures) + len(usual.failures),
                  health_max_ms=round(1000 * max(health.seconds)), lost=lost)
    print(json.dumps(result))
    limit = 2 * 2 * BUFFERS + 100
    return 1 if result["health_failed"] or lost or peak > limit else 0


if __name__ == "__main__":
    sys.exit(main())
