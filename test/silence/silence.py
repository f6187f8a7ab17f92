#!/usr/bin/python3
"""Servers with one silent subscriber each, for minutes: whether a timer ever hangs one.

    silence.py [--servers 40] [--minutes 10]

Each server has a subscription on which nothing happens but pings.  All the while each is asked for /health and for a
message, and what the subscriber gets is counted.  In the end each is stopped by SIGTERM.  The last line is JSON; exit
code 1 when a server did not answer in time, pinged too often or too seldom, or did not stop.

`make test-silence` runs it; by itself it needs MILLRACE and a user that is not root.
"""
import argparse
import json
import shutil
import sys
import time
from pathlib import Path

sys.path[1:1] = [str(Path(__file__).resolve().parent.parent)]

from store import ZERO_TOKEN, Cluster, Server, temporary_folder  # noqa: E402

SILENCE = 8    # seconds between two pings
PATIENCE = 30  # seconds that an answer may take on a busy machine
PING = b": ping"


class Silent:
    """A server, and its subscriber."""

    def __init__(self, cluster):
        self.server = Server("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--admin-listen", "", "--workers",
                             "1", token=ZERO_TOKEN)
        self.problem = None
        self.socket = self.server.connect()
        self.socket.sendall(
            f"GET /subscribe?category=nothing&token={ZERO_TOKEN} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        self.began, self.bytes, self.pings = time.monotonic(), 0, 0

    def look(self):
        """Reads what the subscriber got, and asks the server for two answers."""
        if self.problem:
            return
        try:
            self._read()
            client = self.server.client(timeout=PATIENCE)
            if client.request("GET", "/health").status != 200 or client.call("stream.get", "s-1") != []:
                self.problem = "answered wrongly"
            client.close()
        except OSError as error:
            self.problem = f"no answer: {error}"
        if self.pings > (time.monotonic() - self.began) / SILENCE + 1:
            self.problem = f"{self.pings} pings in {time.monotonic() - self.began:.0f} s"

    def _read(self):
        self.socket.setblocking(False)
        try:
            while True:
                got = self.socket.recv(1 << 16)
                self.bytes += len(got)
                self.pings += got.count(PING)
                if not got or self.bytes > 1 << 20:
                    self.problem = "the subscription ended" if not got else "pings without end"
                    return
        except BlockingIOError:
            pass

    def end(self):
        elapsed = time.monotonic() - self.began
        if not self.problem and self.pings < elapsed / (SILENCE + PATIENCE) - 1:
            self.problem = f"{self.pings} pings in {elapsed:.0f} s"
        try:
            self.server.stop()
        except AssertionError as error:
            self.problem = self.problem or f"{error}"


def main():
    parser = argparse.ArgumentParser(description="Silent subscribers.")
    parser.add_argument("--servers", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=10)
    arguments = parser.parse_args()
    folder = temporary_folder()
    cluster = Cluster(folder, [f"max_connections={20 * arguments.servers + 20}"]).create().start()
    silent = []
    try:
        for _ in range(arguments.servers):
            silent.append(Silent(cluster))
        end = time.monotonic() + 60 * arguments.minutes
        while time.monotonic() < end:
            for each in silent:
                each.look()
            time.sleep(min(5, max(0, end - time.monotonic())))  # the subscribers are to be left alone, too
    finally:
        for each in silent:
            each.end()
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
    for n, each in enumerate(silent):
        if each.problem:
            print(f"server {n}: {each.problem}")
    hung = sum(1 for each in silent if each.problem)
    print(
        json.dumps({
            "servers": len(silent), "seconds": round(60 * arguments.minutes),
            "pings": sum(each.pings for each in silent), "hung": hung
        }))
    return 1 if hung or not silent or not any(each.pings for each in silent) else 0


if __name__ == "__main__":
    sys.exit(main())
