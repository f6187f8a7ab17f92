#!/usr/bin/python3
"""Export of a million messages and import into another namespace, by the program's own commands.

    make -C sidecar && bench/bulk.py [--messages 1000000] [--durable]

Fills a namespace, exports it (plain and gzip), imports the file into a second namespace, compares all
seven fields of every message, and breaks a line in the last quarter of the file. Watches the server's memory
throughout. The last line is the figures as JSON; exit code 1 when anything is not as it should be.
"""
import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "test"))
sys.dont_write_bytecode = True

from store import MILLRACE, ZERO_TOKEN, Server, drop_root, sql, temporary_folder, token_for  # noqa: E402

CHECKSUM = """SELECT count(*), sum(('x' || substr(md5(concat_ws('|', global_position, position, stream_name, type, id,
    to_char(time, 'YYYY-MM-DD HH24:MI:SS.US'), data, coalesce(metadata::text, 'none'))), 1, 15))::bit(60)::bigint)
    FROM "{}".messages"""


class Memory(threading.Thread):
    """The server's resident memory, every 50 ms."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.path, self.samples = f"/proc/{pid}/status", []
        self.start()

    def run(self):
        while True:
            try:
                self.samples.append(self.read("VmRSS"))
            except (OSError, AttributeError):  # it has ended
                return
            time.sleep(0.05)

    def read(self, name):
        return int(re.search(name + r":\s+(\d+) kB", Path(self.path).read_text()).group(1)) // 1024

    def phase(self):
        """The most since the last call, in MiB."""
        samples, self.samples = self.samples, []
        return max(samples, default=self.read("VmRSS"))


def write_messages(path, count):
    """An export as another server may have written it: 100 streams, 300 bytes of data, gaps in both positions."""
    rng = random.Random(1)
    note = "lorem ipsum dolor sit amet, grüße, " * 7
    positions = [0] * 100
    with open(path, "w", encoding="utf-8") as out:
        for n in range(1, count + 1):
            stream = n % 100
            positions[stream] += 1 if n % 17 else 3
            meta = "null" if n % 3 else '{"correlationStreamName": "order-%d"}' % stream
            out.write(
                '{"id":"%s","stream":"account-%d","type":"Deposited","pos":%d,"gpos":%d,'
                '"data":{"account": "%d", "amount": %d.50, "big": 12345678901234567890123, "note": "%s"},"meta":%s,'
                '"time":"2024-03-01T%02d:%02d:%02d.%06dZ"}\n' %
                (uuid.UUID(int=rng.getrandbits(128), version=4), stream, positions[stream], n * 2, n, n, note, meta,
                 n // 3600 % 24, n // 60 % 60, n % 60, n % 1000000))


class Bench:
    def __init__(self, server, folder, count):
        self.server, self.folder, self.count, self.sql = server, folder, count, sql
        self.postgres = server.postgres()
        self.memory = Memory(server.process.pid)
        self.figures = {"messages": count}

    def token(self, name):
        """A new namespace's token."""
        token = token_for(name)
        if self.server.token:
            return self.server.client().call("ns.create", name)["token"]
        self.server.client(token).call("stream.version", "x")
        return token

    def checksum(self, name):
        schema = self.sql(self.postgres, "SELECT schema FROM millrace.namespaces WHERE name = %s", name)[0][0]
        return self.sql(self.postgres, CHECKSUM.format(schema))[0]

    def run(self, what, *arguments, token, messages=None, check=True):
        self.memory.phase()
        before = time.monotonic()
        done = subprocess.run([MILLRACE, *arguments], env={"MILLRACE_URL": f"http://127.0.0.1:{self.server.port}",
                                                           "MILLRACE_TOKEN": token}, capture_output=True, text=True)
        seconds = time.monotonic() - before
        if check and done.returncode != 0:
            raise SystemExit(f"{what}: {done.stderr}")
        rate, memory = round((messages or self.count) / seconds), self.memory.phase()
        print(f"{what:36} {seconds:7.1f} s  {rate:9,} messages/s  server at most {memory} MiB", flush=True)
        self.figures[what] = {"seconds": round(seconds, 1), "per_second": rate, "server_mib": memory}
        return done


def bench(options):
    folder = Path(temporary_folder())
    if options.durable:
        server = Server("--data-dir", str(folder / "data"), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    else:
        server = Server("--test-mode")
    faults = []
    try:
        b = Bench(server, folder, options.messages)
        write_messages(folder / "made", b.count)
        one, two, three = (b.token(name) for name in ("one", "two", "three"))
        b.run("import", "import", "--input", folder / "made", token=one)
        b.run("export", "export", "--output", folder / "exported", token=one)
        b.run("export --gzip", "export", "--gzip", "--output", folder / "exported.gz", token=one)
        b.run("import --gzip", "import", "--gzip", "--input", folder / "exported.gz", token=two)
        if b.checksum("one") != b.checksum("two") or b.checksum("one")[0] != b.count:
            faults.append(f"not identical: {b.checksum('one')} {b.checksum('two')}")
        broken = b.count * 777777 // 1000000
        subprocess.run(f"sed '{broken}s/pos/po\"s/' exported > broken", shell=True, check=True, cwd=folder)
        done = b.run(f"import, broken at line {broken}", "import", "--input", folder / "broken", token=three,
                     messages=broken, check=False)
        print("  " + done.stderr.strip())
        stored = b.checksum("three")[0]
        if done.returncode != 1 or f"line {broken}: INVALID_JSON" not in done.stderr:
            faults.append("the broken line was not found")
        if stored != (broken - 1) // 1000 * 1000:
            faults.append(f"{stored} messages are stored")
        b.figures["server_peak_mib"] = b.memory.read("VmHWM")
        print(f"server's peak (VmHWM) {b.figures['server_peak_mib']} MiB")
        print("\n".join(faults) or "identical by checksum of all fields")
        print(json.dumps(b.figures))
    finally:
        server.stop()
        shutil.rmtree(folder)
    return 1 if faults else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=1000000)
    parser.add_argument("--durable", action="store_true", help="a server with its durability on")
    options = parser.parse_args()
    drop_root()
    tempfile.tempdir = os.environ.get("TMPDIR", "/tmp")
    sys.exit(bench(options))


if __name__ == "__main__":
    main()
