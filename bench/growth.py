"""What an append and a read cost in a store of 5 million messages, beside one of 10 thousand.

Two namespaces of one Postgres whose shared buffers hold both, so that what is compared is the work and not the cache.
They are of huge pages where the bench may reserve them, as Postgres's manual advises for so many: else what grows most
is the time in which the processor finds out where in 6 GB a page is, and that is measured beside it. Streams have 50
messages and live for a while, as orders and accounts do: 200 of them take turns for 10,000 messages, then 200 others
do. So the large store has 500 times as many streams, not longer ones, in the same four categories. Names are scattered
over the index as UUIDs would be.
"""
import os
from contextlib import contextmanager
from pathlib import Path

from measure import DATA, Pgbench, at_most, database, durable_postgres, medians, privileged, row, sql

SMALL, LARGE = 10000, 5000000
QUICK_LARGE = 200000
EACH, ALIVE, CATEGORIES = 50, 200, 4
LIMIT = 1.2
CLIENTS = 10
APPENDS = 500  # by each client in each round: few, so that 10 thousand stays about that

NAME = "'account' || {s} % 4 || '-' || {s} * 2654435761 % 4294967296"
FILL = f"""INSERT INTO {{table}} (stream_name, position, type, data)
    SELECT {NAME.format(s="s")}, n % {EACH * ALIVE} / {ALIVE}, 'Deposited', '{{data}}'
    FROM (SELECT n, n / {EACH * ALIVE} * {ALIVE} + n % {ALIVE} AS s
          FROM generate_series({{first}}::bigint, {{last}}) n) numbers"""
STREAM = """\\set s random({low}, {high})
\\set c :s % 4
\\set h :s * 2654435761 % 4294967296
"""
APPEND = STREAM + "SELECT * FROM millrace.append('account' || :c || '-' || :h, 'Deposited', :data);\n"
READ_STREAM = STREAM + "SELECT * FROM millrace.read_stream('account' || :c || '-' || :h, batch_size => 10);\n"
LAST = STREAM + "SELECT * FROM millrace.last_message('account' || :c || '-' || :h);\n"
READ_CATEGORY = """\\set c random(0, 3)
\\set p random({low}, {high})
SELECT * FROM millrace.read_category('account' || :c, :p, 1000);
"""


def shared_buffers():
    """GB, room for both stores where the machine has it: 5 million messages take 4 GB."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    return min(6, max(1, memory // 2))


@contextmanager
def huge_pages(gigabytes):
    """Reserves huge pages for shared buffers of so many GB while the block runs; yields whether they are there."""
    reserve = Path("/proc/sys/vm/nr_hugepages")
    with privileged() as may:
        before = int(reserve.read_text()) if may and reserve.exists() else None
        wanted = gigabytes * 550  # of 2 MB each, and a tenth more for what is not buffers
        if before is not None:
            reserve.write_text(str(before + wanted))
        there = before is not None and int(reserve.read_text()) == before + wanted
    try:
        yield there
    finally:
        if before is not None:
            with privileged():
                reserve.write_text(str(before))


def restart_with(cluster, setting):
    """Restarts Postgres with one more setting, and loads both stores into its buffers again."""
    cluster.stop()
    cluster.settings.append(setting)
    connection = cluster.start().connect("growth")
    sql(connection, "CREATE EXTENSION IF NOT EXISTS pg_prewarm")
    sql(
        connection,
        "SELECT pg_prewarm(oid) FROM pg_class "
        "WHERE relnamespace::regnamespace::text LIKE 'millrace\\_%%' AND relkind IN ('r', 'i')"
    )


class Store:
    def __init__(self, cluster, connection, name, messages):
        self.connection, self.messages = connection, messages
        self.table, self.streams = f"millrace_{name}.messages", messages // EACH
        self.bench = Pgbench(cluster, "growth", **{"millrace.namespace": name})
        sql(connection, f"SELECT millrace.create_namespace('{name}')")

    def fill(self):
        sql(self.connection, f"TRUNCATE {self.table} RESTART IDENTITY")
        for first in range(0, self.messages, 1000000):
            sql(self.connection,
                FILL.format(table=self.table, data=DATA, first=first, last=min(self.messages, first + 1000000) - 1))
        sql(self.connection, f"VACUUM ANALYZE {self.table}")

    def rate(self, script, low, high, **length):
        return self.bench.rate(script.format(low=low, high=high), CLIENTS, **length)

    def reads(self, seconds):
        """Each read's script, where its range begins and ends."""
        streams, middle, last = self.streams - 1, self.messages // 2, self.messages - 4000
        return {
            "stream of 10": lambda: self.rate(READ_STREAM, 0, streams, seconds=seconds),
            "last message of a stream": lambda: self.rate(LAST, 0, streams, seconds=seconds),
            "category of 1000, in the middle": lambda: self.rate(READ_CATEGORY, middle - 1000, middle + 1000, seconds=
                                                                 seconds),
            "category of 1000, near the end": lambda: self.rate(READ_CATEGORY, last - 1000, last, seconds=seconds)
        }

    def append(self, alive):
        """To the streams that are alive, or to any."""
        return self.rate(APPEND, self.streams - ALIVE if alive else 0, self.streams - 1, transactions=APPENDS)


def line(name, found, checked=True):
    cost = found["small"] / found["large"]
    return row(name, found["small"], found["large"], cost,
               checks=[at_most(f"growth, {name}", cost, LIMIT)] if checked else [])


def append_to_small(small, alive):
    small.fill()
    return small.append(alive)


def read_rows(small, large, options, note="", **kind):
    of_large = large.reads(options.seconds)
    return [
        line(name + note, medians(options.rounds, small=read, large=of_large[name]), **kind)
        for name, read in small.reads(options.seconds).items()
    ]


def append_rows(small, large, options):
    return [
        line(
            name,
            medians(2 * options.rounds + 1, small=lambda: append_to_small(small, alive),
                    large=lambda: large.append(alive)))
        for name, alive in (("append to a live stream", True), ("append to any stream", False))
    ]


def measure(options):
    buffers = shared_buffers()
    with huge_pages(buffers) as huge, durable_postgres(f"shared_buffers={buffers}GB",
                                                       f"huge_pages={'on' if huge else 'off'}") as cluster:
        connection = database(cluster, "growth")
        small = Store(cluster, connection, "small", SMALL)
        large = Store(cluster, connection, "large", QUICK_LARGE if options.quick else LARGE)
        for store in (small, large):
            store.fill()
        sql(connection, "CHECKPOINT")
        rows = read_rows(small, large, options) + append_rows(small, large, options)
        if huge:
            restart_with(cluster, "huge_pages=off")
            rows += read_rows(small, large, options, ", pages of 4 kB", checked=False)
    kept = ("kept in huge pages but for the last rows" if huge else
            "kept in pages of 4 kB, because this machine has no huge ones for them")
    return {
        "title": f"Growth: from {SMALL:,} to {large.messages:,} messages",
        "about": f"Calls a second, by pgbench, prepared, {CLIENTS} clients, on stores of both sizes in one "
                 f"durable Postgres with `shared_buffers = {buffers}GB`, which holds both, {kept}. "
                 f"Streams of {EACH} messages, of which {ALIVE} are alive at a time, in {CATEGORIES} categories: "
                 f"{SMALL // EACH:,} streams in the small store, {large.messages // EACH:,} in the large one. "
                 "Cost is the small store's rate divided by the large one's.",
        "columns": ["what", f"at {SMALL:,} /s", f"at {large.messages:,} /s", "cost"], "rows": rows
    }
