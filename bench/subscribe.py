#!/usr/bin/python3
"""The figures of subscriptions: latency of a poke, catch-up, memory.  Prints a table.

Starts a durable server of its own (--workers 2) in a temporary folder.

    python3 bench/subscribe.py [--messages 1000000] [--latency 2000] [--imports 200] [--load bench/load]
                               [--only-latency]
"""
import argparse
import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "test"))

from store import ROOT, ZERO_TOKEN, Server, drop_root, sql, temporary_folder  # noqa: E402


def subscribe(server, query, receive_buffer=None):
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(f"GET /subscribe?{query}&token={server.token} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    got = b""
    while b": ready\n\n" not in got:
        got += connection.recv(65536)
    return connection


def row(what, value):
    print(f"{what:<66} {value}", flush=True)


def percentiles(times):
    times = sorted(times)
    p99 = times[len(times) * 99 // 100 - 1]
    return f"p50 {statistics.median(times) * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms, most {times[-1] * 1000:.2f} ms"


class Arrivals:
    """When the poke of each position of a stream arrived."""

    def __init__(self, server, stream):
        version = server.client().call("stream.version", stream)
        self.connection, self.times = subscribe(
            server, f"stream={stream}&position={0 if version is None else version + 1}"), {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            while part := self.connection.recv(65536):
                now = time.monotonic()
                for position in re.findall(rb'"position":(\d+)', part):
                    self.times[int(position)] = now
        except OSError:
            pass  # closed by us

    def since(self, commits):
        end = time.monotonic() + 10
        while not all(position in self.times for position in commits) and time.monotonic() < end:
            time.sleep(0.01)
        self.connection.close()
        return [max(0.0, self.times[position] - committed) for position, committed in commits.items()]


def latency(server, count, append, pause):
    """From the moment the appender knows of the commit to the poke at the subscriber."""
    arrivals, commits = Arrivals(server, "latency-1"), {}
    for _ in range(count):
        position = append()
        commits[position] = time.monotonic()
        time.sleep(pause)  # between appends, which are to come apart
    return arrivals.since(commits)


def import_latency(server, count, pause):
    """The same for imports of one message each, from the end of the import's reply, on a connection of its own."""
    client = server.client()
    first = client.call("stream.version", "latency-1")
    first = 0 if first is None else first + 1
    head = client.write("latency-import")["globalPosition"]
    numbers = iter(range(count))

    def append():
        n = next(numbers)
        record = {
            "id": str(uuid.uuid4()), "stream": "latency-1", "type": "T", "pos": first + n, "gpos": head + 1 + n,
            "data": {}, "meta": None, "time": "2026-01-01T00:00:00Z"
        }
        reply = client.request("POST", "/import", json.dumps(record) + "\n")
        if b'"done":true' not in reply.body:
            raise SystemExit(f"an import failed: {reply.status} {reply.body.decode()}")
        return first + n

    return latency(server, count, append, pause)


def fill(client, stream, count):
    for done in range(0, count, 1000):
        client.call("stream.append", stream, [{"type": "T", "data": {"n": done}}] * min(1000, count - done))


def catch_up(server, query, count):
    """Reads `count` pokes; returns pokes a second, and whether they were in order."""
    began = time.monotonic()
    connection, found, rest, most = subscribe(server, query), 0, b"", 0.0
    last, ordered, rounds = -1, True, 0
    while found < count:
        part = rest + connection.recv(1 << 20)
        cut = part.rfind(b"\n\n") + 2
        positions = [int(number) for number in re.findall(rb'"globalPosition":(\d+)', part[:cut])] if cut > 1 else []
        rest = part[cut:] if cut > 1 else part
        ordered = ordered and (not positions or positions[0] > last) and positions == sorted(set(positions))
        last = positions[-1] if positions else last
        found += len(positions)
        rounds += 1
        if rounds % 20 == 0:
            most = max(most, server.memory())
    seconds = time.monotonic() - began
    connection.close()
    return count / seconds, ordered, most


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1000000)
    parser.add_argument("--latency", type=int, default=2000)
    parser.add_argument("--imports", type=int, default=200)
    parser.add_argument("--only-latency", action="store_true", help="no load, no catch-up")
    parser.add_argument("--load", default=str(ROOT / "bench" / "load"))
    parser.add_argument("--duration", type=int, default=10)
    options = parser.parse_args()
    drop_root()
    folder = temporary_folder()
    server = Server("--data-dir", folder + "/data", "--token", ZERO_TOKEN, "--workers", "2", token=ZERO_TOKEN)
    try:
        client, database = server.client(), server.postgres()

        def by_sql():
            return sql(database, "SELECT position FROM millrace.append('latency-1', 'T', '{}')")[0][0]

        def load(what):
            # A process of its own; what it found is in its JSON file.
            output = folder + "/load.json"
            subprocess.run([
                options.load, "--url", f"http://127.0.0.1:{server.port}", "--token", ZERO_TOKEN, "--durable", "yes",
                "--duration",
                str(options.duration), "--output", output
            ], stdout=subprocess.DEVNULL, check=True)
            result = json.loads(Path(output).read_text())
            row(what, f"{result['throughput']:.0f} operations/s")
            return result["throughput"]

        row("poke after an append through the server, one at a time",
            percentiles(latency(server, options.latency, lambda: client.write("latency-1")["position"], 0.001)))
        row("the same, back to back",
            percentiles(latency(server, options.latency, lambda: client.write("latency-1")["position"], 0)))
        row("poke after an append by SQL", percentiles(latency(server, options.latency // 4, by_sql, 0.013)))
        row("the same, rarely", percentiles(latency(server, 10, by_sql, 1.2)))
        row("poke after an import of one message, one at a time",
            percentiles(import_latency(server, options.imports, 0.01)))
        row("the same, when nothing came for a second", percentiles(import_latency(server, 10, 1.2)))
        if options.only_latency:
            return
        if Path(options.load).exists():
            alone = load("the load alone")
            idle = [subscribe(server, f"stream=idle-{n}") for n in range(100)]
            with_idle = load("the load with 100 idle subscribers")
            row("  difference", f"{(with_idle / alone - 1) * 100:+.1f} %")
            for each in idle:
                each.close()
            again = load("the load alone, again")
            row("  difference", f"{(with_idle / again - 1) * 100:+.1f} %")
            thread = threading.Thread(target=load, args=("the load while latency is measured",))
            thread.start()
            time.sleep(2)  # the load is under way then
            row(
                "poke after an append through the server, under that load",
                percentiles(latency(server, options.latency // 4, lambda: client.write("latency-1")["position"],
                                    0.005)))
            thread.join()
        fill(client, "big-1", options.messages)
        row("memory of the server before the catch-up", f"{server.memory():.1f} MiB")
        for query in ("category=big", "stream=big-1", "all=true"):
            rate, ordered, most = catch_up(server, query, options.messages)
            row(f"catch-up of {options.messages} messages, {query}",
                f"{rate:.0f} pokes/s, {'in order' if ordered else 'NOT IN ORDER'}, memory at most {most:.1f} MiB")
        stopped = threading.Event()

        def write():
            writer = server.client()
            while not stopped.is_set():
                writer.write("big-2")

        writing = threading.Thread(target=write)
        writing.start()
        rate, ordered, most = catch_up(server, "category=big", options.messages)
        stopped.set()
        writing.join()
        row("the same while one client writes, category=big",
            f"{rate:.0f} pokes/s, {'in order' if ordered else 'NOT IN ORDER'}, memory at most {most:.1f} MiB")
    finally:
        server.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
