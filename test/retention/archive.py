"""Kills `millrace archive --remove` at random moments, and looks for every message in the file and in the table.

    archive_kills  how often it was killed while it ran
    missing        messages that were neither in the file nor in the table, at any moment
    twice          messages that were in both when it had been run to its end
    changed        rounds after which an import of the file did not make the export that there was before
"""
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from store import MILLRACE, ZERO_TOKEN, Server  # noqa: E402

BEFORE = "2100-01-01"


class Archive:
    """A category of its own, and the command that moves it into a file."""

    def __init__(self, server, client, folder, number, messages):
        self.server, self.client = server, client
        self.category, self.file = f"kept{number}", Path(folder) / f"{number}.ndjson"
        for first in range(0, messages, 1000):
            client.call("streams.append", [{"stream": f"{self.category}-{n % 100}", "messages": [
                {"type": "T", "data": {"n": m}} for m in range(first + n * 10, first + n * 10 + 10)]}
                for n in range(min(100, (messages - first) // 10))])
        client.write("other-1", {"n": number})
        self.export = client.request("GET", "/export").body
        self.ids = set(self.stored())

    def stored(self):
        body = self.client.request("GET", f"/export?categories={self.category}").body
        return [json.loads(line)["id"] for line in body.splitlines()]

    def filed(self):
        if not self.file.exists():
            return []
        lines = [json.loads(line) for line in self.file.read_bytes().splitlines()]
        assert lines[0]["millrace"] == "archive" and lines[-1]["millrace"] == "archived"
        return [line["id"] for line in lines[1:-1]]

    def start(self):
        return subprocess.Popen([MILLRACE, "archive", "--url", f"http://127.0.0.1:{self.server.port}", "--category",
                                 self.category, "--before", BEFORE, "--output", self.file, "--remove"],
                                env={**os.environ, "MILLRACE_TOKEN": ZERO_TOKEN}, stdout=subprocess.DEVNULL)

    def finish(self):
        assert self.start().wait(60) == 0

    def kill_after(self, seconds):
        """Whether it was still running."""
        process = self.start()
        try:
            process.wait(seconds)
            return False
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return True

    def missing(self):
        # The file first: what a request that is on its way removes is in it.
        filed = set(self.filed())
        return len(self.ids - filed - set(self.stored()))

    def bring_back(self):
        self.client.request("POST", "/import", self.file.read_bytes())
        return self.client.request("GET", "/export").body


def run(kills=20, messages=5000, seed=None):
    rng = random.Random(seed)
    counts = {"archive_kills": 0, "missing": 0, "twice": 0, "changed": 0}
    with tempfile.TemporaryDirectory(prefix="millrace-archive") as folder:
        os.chmod(folder, 0o755)
        server = Server("--test-mode", "--workers", "1")
        try:
            client = server.client(ZERO_TOKEN)
            first = Archive(server, client, folder, 0, messages)
            began = time.monotonic()
            first.finish()
            took = time.monotonic() - began
            assert first.bring_back() == first.export
            number = 0
            while counts["archive_kills"] < kills:
                number += 1
                archive = Archive(server, client, folder, number, messages)
                counts["archive_kills"] += archive.kill_after(rng.uniform(0, took))
                counts["missing"] += archive.missing()
                archive.finish()
                filed, stored = archive.filed(), archive.stored()
                counts["missing"] += len(archive.ids - set(filed) - set(stored))
                counts["twice"] += len(filed) + len(stored) - len(set(filed) | set(stored))
                counts["changed"] += archive.bring_back() != archive.export
        finally:
            server.stop()
    return counts


if __name__ == "__main__":
    print(json.dumps(run()))
