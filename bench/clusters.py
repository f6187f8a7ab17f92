#!/usr/bin/python3
"""What a server of two clusters answers the namespaces of one while the other is killed.

200 namespaces, half at each cluster, behind one server; clients append to those of cluster a, and others to those of
cluster b.  After some seconds b's PostgreSQL is killed and stays away.  Prints one line of JSON: median and 99th
percentile of the appends to a, before and during, in milliseconds, what failed there, and how many of b's wait.

    bench/clusters.py [SECONDS]
"""
import http.client
import json
import statistics
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path += [str(ROOT / "test"), str(ROOT / "test" / "http")]

from placing import Clusters  # noqa: E402
from store import Client, drop_root  # noqa: E402

NAMESPACES = 200
CLIENTS = 8  # of each cluster


class Appender(threading.Thread):
    """Appends to one namespace after the other, and notes when each append began and how long it took."""

    def __init__(self, port, tokens):
        super().__init__(daemon=True)
        self.port, self.tokens, self.took, self.failed, self.ended = port, tokens, [], 0, False

    def run(self):
        try:
            self.append()
        except (OSError, http.client.HTTPException):
            assert self.ended

    def append(self):
        clients = [Client(self.port, token) for token in self.tokens]
        while not self.ended:
            for client in clients:
                began = time.monotonic()
                reply = client.post(["stream.write", "s-1", {"type": "T", "data": {}}])
                self.took.append((began, time.monotonic() - began))
                self.failed += reply.status != 200


def summary(appenders, since, until):
    took = sorted(1000 * took for each in appenders for began, took in each.took if since <= began < until)
    return {"appends": len(took), "median_ms": round(statistics.median(took), 2),
            "p99_ms": round(took[len(took) * 99 // 100], 2), "longest_ms": round(took[-1], 2)}


def main(seconds):
    clusters = Clusters()
    server = clusters.start()
    try:
        owner = server.client()
        tokens = {name: [owner.call("ns.create", f"{name}{i}", {"cluster": name})["token"]
                         for i in range(NAMESPACES // 2)] for name in "ab"}
        here, there = ([Appender(server.port, tokens[name][i::CLIENTS]) for i in range(CLIENTS)] for name in "ab")
        for each in here + there:
            each.start()
        time.sleep(2)  # all connections and tokens are there
        began = time.monotonic()
        time.sleep(seconds)
        killed = time.monotonic()
        clusters.b.stop("immediate")
        time.sleep(seconds)
        ended = time.monotonic()
        for each in here + there:
            each.ended = True
        for each in here:
            each.join()
        print(json.dumps({"before": summary(here, began, killed), "during": summary(here, killed, ended),
                          "failed": sum(each.failed for each in here),
                          "waiting_at_b": sum(each.is_alive() for each in there)}))
    finally:
        clusters.b.start()
        server.kill()
        clusters.close()


if __name__ == "__main__":
    drop_root()
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10)
