"""The server sweeps a million messages beside the load of bench/README.md, then twice a part of that, appended anew.

    removed                 by all sweeps
    longest_transaction_ms  of the sweeps, as pg_stat_activity shows it, and longest_waits, what it was seen to wait for
    append_p99_ratio        of the load, beside a sweep over without one, in turns: the median of the turns' ratios
    growth_bytes            of table and indexes by the last round, which appends as much as it sweeps
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from store import ZERO_TOKEN, Server, sql  # noqa: E402

STREAMS = 1000
TURN = 10  # seconds
END = 3600  # seconds, until all must be swept
FILL = ("SELECT count(millrace.append_messages('old-' || (n %% %s), (SELECT array_agg(ROW('T', jsonb_build_object("
        "'text', repeat(md5(m::text), 7), 'n', m), NULL, NULL)::millrace.new_message) FROM generate_series(1, 100) m)))"
        " FROM generate_series(%s, %s) n")


LOOK = """SELECT xact_start, extract(epoch FROM clock_timestamp() - xact_start)::float8, coalesce(wait_event, 'none')
          FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%sweep_step($1%' ORDER BY 2 DESC LIMIT 1"""


class Watch:
    """Looks how long the sweeps' transactions are open."""

    def __init__(self, connection):
        self.connection, self.longest, self.stopping = connection, 0.0, threading.Event()
        self.began, self.waits, self.longest_waits = None, [], []
        self.thread = threading.Thread(target=self.look)
        self.thread.start()

    def look(self):
        while not self.stopping.is_set():
            for began, lasts, wait in sql(self.connection, LOOK):
                self.waits = self.waits + [wait] if began == self.began else [wait]
                self.began = began
                if lasts > self.longest:
                    self.longest, self.longest_waits = lasts, self.waits
            time.sleep(0.01)

    def stop(self):
        self.stopping.set()
        self.thread.join()


def fill(connection, messages):
    for first in range(0, messages // 100, 200):
        sql(connection, FILL, STREAMS, first, min(first + 200, messages // 100) - 1)


def left(connection):
    return sql(connection, "SELECT EXISTS (SELECT FROM millrace.read_category('old', batch_size => 1))")[0][0]


@contextmanager
def swept_meanwhile(connection):
    sql(connection, "SELECT millrace.set_retention('old', max_age => '1 second')")
    try:
        yield
    finally:
        sql(connection, "SELECT millrace.set_retention('old')")


def sweep(connection):
    """Until the server has removed all."""
    end = time.monotonic() + END
    with swept_meanwhile(connection):
        while left(connection):
            assert time.monotonic() < end, "the server does not sweep"
            time.sleep(0.5)


def size(connection):
    """When the room of what was removed may be used again."""
    sql(connection, "VACUUM millrace_default.messages")
    sql(connection, "VACUUM millrace_default.messages")
    return sql(connection, "SELECT pg_total_relation_size('millrace_default.messages')")[0][0]


def swept(server):
    text = server.admin().request("GET", "/metrics").body.decode()
    return int(next(line for line in text.splitlines() if 'by="sweep"' in line).split()[-1])


def load(server, seconds):
    """Ten workers, nine writes to one read: the 99th percentile of its latencies in ms, and operations a second."""
    with tempfile.NamedTemporaryFile() as output:
        command = [os.environ["MILLRACE_LOAD"], "--url", f"http://127.0.0.1:{server.port}", "--token", server.token,
                   "--durable", "yes", "--workers", "10", "--duration", str(seconds), "--output", output.name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found = json.load(output)
        return found["p99"], found["throughput"]


def turns(server, connection):
    """Pairs of a turn without sweeps and one with, whole ones, until all is swept."""
    pairs, end = [], time.monotonic() + END
    while True:
        assert time.monotonic() < end, "the server does not sweep"
        without = load(server, TURN)
        with swept_meanwhile(connection):
            beside = load(server, TURN)
            if not left(connection):
                return pairs or [(without, beside)]
        pairs.append((without, beside))


def middle(values):
    return round(statistics.median(values), 2)


@contextmanager
def serve():
    with tempfile.TemporaryDirectory(prefix="millrace-sweeps", dir="/var/tmp") as folder:
        server = Server("--data-dir", folder + "/data", "--token", ZERO_TOKEN, "--sweep-interval", "1",
                        "--admin-listen", "127.0.0.1:0", token=ZERO_TOKEN)
        try:
            yield server
        finally:
            server.stop()


def beside_load(messages, found):
    with serve() as server:
        connection, watching = server.postgres(), server.postgres()
        fill(connection, messages)
        sql(connection, "VACUUM ANALYZE millrace_default.messages")
        load(server, 2 * TURN)
        watch = Watch(watching)
        try:
            pairs = turns(server, connection)
        finally:
            watch.stop()
        ratios = [beside[0] / without[0] for without, beside in pairs]
        found["removed"] = swept(server)
    found["longest_transaction_ms"], found["longest_waits"] = round(watch.longest * 1000, 1), watch.longest_waits
    found["pairs"] = len(pairs)
    for at, word in ((0, "without"), (1, "swept")):
        found[f"{word}_p99_ms"] = middle(pair[at][0] for pair in pairs)
        found[f"{word}_operations"] = middle(pair[at][1] for pair in pairs)
    found["ratios"] = [round(ratio, 2) for ratio in sorted(ratios)]
    found["append_p99_ratio"] = middle(ratios)


def growth(messages, found):
    sizes = []
    with serve() as server:
        connection = server.postgres()
        for _ in range(3):
            fill(connection, messages)
            sweep(connection)
            sizes.append(size(connection))
        found["removed"] += swept(server)
    found["growth_bytes"] = sizes[-1] - sizes[-2]


def run(messages=1000000):
    found = {}
    beside_load(messages, found)
    growth(messages // 5, found)
    return found


if __name__ == "__main__":
    print(json.dumps(run()))
