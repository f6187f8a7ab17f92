#!/usr/bin/python3
"""What subscribers cost the primary, when they are answered by a standby and when they are not.

Starts a primary, a standby and a server before each of the two ways in a temporary folder.  A load of appends at a
fixed rate runs without subscribers, with so many that a standby answers, and with as many that the primary answers, in
turns; of each the processor time of the primary's processes for one append, and its ratio to that without.  The last
line is the figures as JSON.

    python3 bench/standby.py [--subscribers 1000] [--rate 300] [--seconds 5] [--rounds 5] [--load bench/load]
"""
import argparse
import json
import os
import selectors
import shutil
import subprocess
import sys
import threading
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "test"))

from store import ROOT, ZERO_TOKEN, Cluster, Server, drop_root, temporary_folder, wait_until  # noqa: E402

from measure import in_turn, median, processor_time, ratio  # noqa: E402
from subscribe import row, subscribe  # noqa: E402

DURABLE = ("fsync=on", "shared_buffers=256MB")
MOST_RATIO = 1.1  # of what an append costs the primary with subscribers at a standby to without any


class Readers:
    """Subscribers of the load's streams, as many of each, who read what they are sent."""

    def __init__(self, server, count):
        streams = server.client().call("ns.streams", {"limit": 1000})
        self.connections = []
        for n in range(count):
            of = streams[n % len(streams)]
            self.connections.append(subscribe(server, f"stream={of['stream']}&position={of['version'] + 1}"))
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        selector = selectors.DefaultSelector()
        for connection in self.connections:
            selector.register(connection, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                try:
                    alive = key.fileobj.recv(1 << 20)
                except OSError:
                    alive = b""
                if not alive:
                    selector.unregister(key.fileobj)

    def close(self):
        for connection in self.connections:
            connection.shutdown(2)
        self.thread.join()
        for connection in self.connections:
            connection.close()


def postmaster(cluster):
    return int((cluster.data / "postmaster.pid").read_text().splitlines()[0])


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.primary = Cluster(folder + "/primary", DURABLE).create().start()
        self.at_primary = Server("--database", self.primary.conninfo(), "--token", ZERO_TOKEN, "--workers", "1",
                                 token=ZERO_TOKEN)
        self.standby = Cluster(folder + "/standby", DURABLE).copy_of(self.primary).start()
        self.at_standby = Server("--database", self.primary.conninfo(), "--read-database", self.standby.conninfo(),
                                 "--workers", "1", "--admin-listen", "127.0.0.1:0", token=ZERO_TOKEN)
        wait_until(lambda: b'"standby"' in self.at_standby.admin().request("GET", "/ready").body, "the standby")

    def stop(self):
        for each in self.at_standby, self.at_primary:
            each.stop()
        for cluster in self.standby, self.primary:
            cluster.stop("immediate")

    def run(self, server, subscribers):
        """The primary's processor time for one append, in us."""
        readers = Readers(server, subscribers) if subscribers else None
        output = self.folder + "/load.json"
        before = processor_time(postmaster(self.primary))["postgres"]
        subprocess.run([
            self.options.load, "--url", f"http://127.0.0.1:{server.port}", "--token", ZERO_TOKEN, "--durable", "yes",
            "--mix", "1:0", "--workers", "10", "--rate", str(self.options.rate), "--duration",
            str(self.options.seconds), "--output", output
        ], stdout=subprocess.DEVNULL, check=True)
        spent = processor_time(postmaster(self.primary))["postgres"] - before
        if readers:
            readers.close()
        # The second before what is counted costs as much.
        appends = json.loads(Path(output).read_text())["total_ops"] * (1 + 1 / self.options.seconds)
        return {"us": spent / appends * 1e6}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=300)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--load", default=str(ROOT / "bench" / "load"))
    options = parser.parse_args()
    drop_root()
    folder = temporary_folder()
    bench = Bench(options, folder)
    sides = {
        "none": lambda: bench.run(bench.at_standby, 0),
        "at_standby": lambda: bench.run(bench.at_standby, options.subscribers),
        "at_primary": lambda: bench.run(bench.at_primary, options.subscribers),
    }
    try:
        bench.run(bench.at_primary, 0)  # makes the streams
        found = in_turn(options.rounds, **sides)
    finally:
        bench.stop()
        shutil.rmtree(folder)
    figures = {"subscribers": options.subscribers, "rate": options.rate}
    for name in sides:
        each = {"primary_us_per_append": round(median(found, name, "us"), 1),
                "ratio": round(ratio(found, name, "none", "us"), 3)}
        figures[name] = each
        row(f"processor time of the primary for an append, subscribers: {name.replace('_', ' ')}",
            f"{each['primary_us_per_append']:.0f} us, {each['ratio']:.2f} of that without")
    print(json.dumps(figures))
    if figures["at_standby"]["ratio"] > MOST_RATIO:
        sys.exit(f"an append costs the primary {figures['at_standby']['ratio']} of what it does without subscribers")


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
