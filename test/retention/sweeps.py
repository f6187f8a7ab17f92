"""The server sweeps a million messages beside appends, then twice a part of that, appended anew.

    removed                 by all sweeps
    longest_transaction_ms  of the sweeps, as pg_stat_activity shows it
    append_p99_ratio        of appends over HTTP while the first sweep runs, over without one, before and after it
    growth_bytes            of table and indexes by the last round, which appends as much as it sweeps
"""
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from store import ZERO_TOKEN, Server, sql  # noqa: E402

STREAMS = 1000
RATE = 200  # appends a second, in all
WRITERS = 4
QUIET = 20  # seconds without a sweep
FILL = ("SELECT count(millrace.append_messages('old-' || (n %% %s), (SELECT array_agg(ROW('T', jsonb_build_object("
        "'text', repeat(md5(m::text), 7), 'n', m), NULL, NULL)::millrace.new_message) FROM generate_series(1, 100) m)))"
        " FROM generate_series(%s, %s) n")


class Load:
    """Writers that append at their times, late or not, and note how long each took from then."""

    def __init__(self, server):
        self.taken, self.stopping, self.phase = {}, threading.Event(), None
        self.threads = [threading.Thread(target=self.write, args=(server.client(), n)) for n in range(WRITERS)]
        for thread in self.threads:
            thread.start()

    def write(self, client, number):
        due = time.monotonic()
        while not self.stopping.is_set():
            due += WRITERS / RATE
            time.sleep(max(0, due - time.monotonic()))
            phase = self.phase
            client.call("stream.write", f"live-{number}", {"type": "T", "data": {"text": "x" * 200}})
            if phase:
                self.taken.setdefault(phase, []).append(time.monotonic() - due)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def p99(self, *phases):
        taken = sorted(seconds for phase in phases for seconds in self.taken[phase])
        return taken[int(len(taken) * 0.99)]


class Watch:
    """Looks how long the sweeps' transactions are open."""

    def __init__(self, connection):
        self.connection, self.longest, self.stopping = connection, 0.0, threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()

    def look(self):
        while not self.stopping.is_set():
            found = sql(self.connection, "SELECT max(extract(epoch FROM clock_timestamp() - xact_start))::float8"
                        " FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%sweep_step($1%'")[0][0]
            self.longest = max(self.longest, found or 0)
            time.sleep(0.003)

    def stop(self):
        self.stopping.set()
        self.thread.join()


def fill(connection, messages):
    for first in range(0, messages // 100, 200):
        sql(connection, FILL, STREAMS, first, min(first + 200, messages // 100) - 1)


def left(connection):
    return sql(connection, "SELECT EXISTS (SELECT FROM millrace.read_category('old', batch_size => 1))")[0][0]


def sweep(connection, seconds=1800):
    """Until the server has removed all."""
    sql(connection, "SELECT millrace.set_retention('old', max_age => '1 second')")
    end = time.monotonic() + seconds
    while left(connection):
        assert time.monotonic() < end, "the server does not sweep"
        time.sleep(0.5)
    sql(connection, "SELECT millrace.set_retention('old')")


def size(connection):
    """When the room of what was removed may be used again."""
    sql(connection, "VACUUM millrace_default.messages")
    sql(connection, "VACUUM millrace_default.messages")
    return sql(connection, "SELECT pg_total_relation_size('millrace_default.messages')")[0][0]


def swept(server):
    text = server.admin().request("GET", "/metrics").body.decode()
    return int(next(line for line in text.splitlines() if 'by="sweep"' in line).split()[-1])


def beside_load(server, connection, found):
    load = Load(server)
    watch = Watch(server.postgres())
    try:
        for phase, work in (("before", lambda: time.sleep(QUIET)), ("swept", lambda: sweep(connection)),
                            ("after", lambda: time.sleep(QUIET))):
            load.phase = phase
            began = time.monotonic()
            work()
            found[f"{phase}_s"] = round(time.monotonic() - began, 1)
    finally:
        load.stop()
        watch.stop()
    found["longest_transaction_ms"] = round(watch.longest * 1000, 1)
    for phase in ("before", "swept", "after"):
        found[f"{phase}_p99_ms"] = round(load.p99(phase) * 1000, 2)
    found["append_p99_ratio"] = round(load.p99("swept") / load.p99("before", "after"), 2)


def run(messages=1000000):
    found, sizes = {}, []
    with tempfile.TemporaryDirectory(prefix="millrace-sweeps") as folder:
        server = Server("--data-dir", folder + "/data", "--token", ZERO_TOKEN, "--sweep-interval", "1",
                        "--admin-listen", "127.0.0.1:0", token=ZERO_TOKEN)
        try:
            connection = server.postgres()
            fill(connection, messages)
            sql(connection, "VACUUM ANALYZE millrace_default.messages")
            beside_load(server, connection, found)
            size(connection)
            for _ in range(2):
                fill(connection, messages // 5)
                sweep(connection)
                sizes.append(size(connection))
            found["growth_bytes"] = sizes[1] - sizes[0]
            found["removed"] = swept(server)
        finally:
            server.stop()
    return found


if __name__ == "__main__":
    print(json.dumps(run()))
