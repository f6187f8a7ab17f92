"""Millrace's Message DB functions beside Message DB's own, and the whole HTTP stack beside its write_message.

Two databases on one durable server, each with 100 streams of one category: `theirs` with the package from the npm
registry, `ours` with millrace.install_message_db(). `millrace serve --database` works on `ours`.
"""
from contextlib import contextmanager

import peer
import pytest
from measure import Pgbench, at_least, database, durable_postgres, load, medians, row, serve, sql
from sql_append import INSERT, fill, plain_position

TABLE = "message_store.messages"
WRITE = """\\set s random(0, 99)
SELECT message_store.write_message(gen_random_uuid()::varchar, 'load-' || :s, 'Loaded', :data);
"""
CATEGORY = "get_category_messages of 1000"
READS = {
    "get_stream_messages of 10": """\\set s random(1, 100)
SELECT * FROM message_store.get_stream_messages('account-' || :s, batch_size => 10);
""", "get_last_stream_message": """\\set s random(1, 100)
SELECT * FROM message_store.get_last_stream_message('account-' || :s);
""", CATEGORY: """\\set p random(1, 50000)
SELECT * FROM message_store.get_category_messages('account', :p, 1000);
""", "get_category_messages of 1000, group of 4": """\\set p random(1, 50000)
\\set m random(0, 3)
SELECT * FROM message_store.get_category_messages('account', :p, 1000,
    consumer_group_member => :m, consumer_group_size => 4);
""",
}
# For comparison: what a plain table of the finished rows does, which no function can beat by much.
FLAT = """\\set p random(1, 50000)
SELECT * FROM flat WHERE global_position >= :p ORDER BY global_position LIMIT 1000;
"""
LIMITS = {"get_stream_messages of 10": 1.5, "get_last_stream_message": 1.5, CATEGORY: 3,
          "get_category_messages of 1000, group of 4": 12}
FIGURES = ("category_get_message_db", )
CLIENTS = (1, 10, 32)
HTTP_CLIENTS = (10, 32, 64)


class Sides:
    """Both databases; `theirs` is None where Message DB can't be had."""

    def __init__(self, cluster, with_peer):
        self.cluster = cluster
        self.connection = database(cluster, "ours")
        sql(self.connection, "SELECT millrace.install_message_db()")
        plain_position(self.connection)
        self.connections = [self.connection] + ([cluster.connect("theirs")] if with_peer else [])
        for connection in self.connections:
            sql(connection, "SET search_path = message_store, public")
            fill(connection, TABLE)
            sql(connection, f"VACUUM ANALYZE {TABLE}")
        # Message DB's functions find one another by the search_path.
        self.ours, self.theirs = (Pgbench(cluster, name, search_path="message_store,public")
                                  for name in ("ours", "theirs"))
        self.theirs = self.theirs if with_peer else None

    def checkpoint(self):
        sql(self.connection, "CHECKPOINT")

    @contextmanager
    def http(self):
        with serve("--database", self.cluster.conninfo("ours")) as server:
            yield server

    def insert(self):
        return INSERT.format(table=TABLE)

    def make_flat(self):
        sql(self.connection, "CREATE TABLE flat AS SELECT * FROM get_category_messages('account', 1, -1)")
        sql(self.connection, "CREATE UNIQUE INDEX ON flat (global_position)")
        sql(self.connection, "VACUUM ANALYZE flat")


@contextmanager
def both_sides():
    with durable_postgres() as cluster:
        try:
            peer.install(peer.fetch(cluster.folder), cluster, "theirs")
            with_peer = True
        except pytest.skip.Exception as reason:
            print(f"  *** {reason} ***", flush=True)
            with_peer = False
        yield Sides(cluster, with_peer)


def compare(options, sides, name, clients, script, their_script=None, limit=None):
    found = medians(
        options.rounds, ours=lambda: sides.checkpoint() or sides.ours.rate(script, clients, options.seconds),
        theirs=lambda: sides.checkpoint() or sides.theirs.rate(their_script or script, clients, options.seconds))
    ratio = found["ours"] / found["theirs"]
    return row(name, clients, found["ours"], found["theirs"], ratio,
               checks=[at_least(f"{name}, {clients} clients", ratio, limit)] if limit else [])


def compare_insert(options, sides):
    """Our write_message beside a plain INSERT into the same table."""
    found = medians(options.rounds, ours=lambda: sides.checkpoint() or sides.ours.rate(WRITE, 1, options.seconds),
                    insert=lambda: sides.checkpoint() or sides.ours.rate(sides.insert(), 1, options.seconds))
    ratio = found["ours"] / found["insert"]
    return row("write_message / a plain INSERT into our table", 1, found["ours"], found["insert"], ratio,
               checks=[at_least("write_message / a plain INSERT, 1 client", ratio, 0.91)])


def compare_http(options, sides, server, clients):
    """Writes only, on streams of the same names."""
    found = medians(
        options.rounds,
        ours=lambda: sides.checkpoint() or load(server, clients, options.seconds, "--mix", "1:0")["throughput"],
        theirs=lambda: sides.checkpoint() or sides.theirs.rate(WRITE, clients, options.seconds))
    ratio = found["ours"] / found["theirs"]
    return row("`stream.write` over HTTP / `write_message`", clients, found["ours"], found["theirs"], ratio,
               checks=[at_least(f"HTTP / write_message, {clients} clients", ratio, 5)])


def measure(options):
    section = {
        "title": "Message DB",
        "about": "The calls a second of Message DB 1.3.1's functions, theirs and ours on one durable server, "
                 "by pgbench, prepared; at the end our whole HTTP stack on that server beside their `write_message`, "
                 "with as many clients on the same streams. 300 bytes of data, 100 streams of one category, "
                 "100,000 messages before; a checkpoint before each.",
        "columns": ["what", "clients", "Millrace /s", "Message DB /s", "ratio"], "rows": []
    }
    with both_sides() as sides:
        if not sides.theirs:
            return {**section, "skipped": "Message DB could not be fetched"}
        rows = section["rows"]
        sides.make_flat()
        for name, script in READS.items():
            rows.append(compare(options, sides, name, 10, script, limit=LIMITS[name]))
            if name == CATEGORY:
                section["figures"] = {"category_get_message_db": rows[-1]["cells"][4]}
        rows.append(
            compare(options, sides, "a plain table of the finished rows / get_category_messages of 1000", 10, FLAT,
                    READS[CATEGORY]))
        for clients in CLIENTS:
            rows.append(compare(options, sides, "write_message", clients, WRITE, limit=3 if clients == 10 else None))
        rows.append(compare_insert(options, sides))
        with sides.http() as server:
            for clients in HTTP_CLIENTS:
                rows.append(compare_http(options, sides, server, clients))
    return section
