"""What the server does in a second, and how fast it answers, while one namespace grows: to 50 million messages, say.

    make bench ARGS='--only growth --to 50000000'

All over HTTP, one durable server on one Postgres with `shared_buffers = 2GB`, so that a large store is not in them, as
it wouldn't be. Streams have 50 messages and live for a while: 200 of them take turns for 10,000 messages, then 200
others do. One message in ten has a tag, which nine others have, too, and tags are indexed.

The store is filled by plain INSERTs, with ids that rise as the server's do, and without the indexes, which are made
again of the whole: to append so many, or to import them, would take hours.
"""
import random
import statistics
import time
from contextlib import closing, contextmanager

from consumers_http import Connection
from measure import database, durable_postgres, in_turn, load, row, serve, sql

STEPS = (1000000, 5000000, 10000000, 25000000, 50000000)
TABLE = "millrace_default.messages"
CHUNK = 500000
EACH, ALIVE = 50, 200
TAGGED, OF_A_TAG = 10, 10  # every tenth message; messages of a tag
WORKERS = 10
BATCH = 100
SETTINGS = ("shared_buffers=2GB", "min_wal_size=1GB", "max_wal_size=4GB", "autovacuum=off")

TEXT = "qmxvzkwjtyhgbnfdrplsaecoiu" * 10 + "qmxvzkwjtyhgb"
# Version 7: the time first, and then what is random.
ID = ("overlay(overlay(md5(n::text) PLACING lpad(to_hex(1700000000000 + n / 10), 12, '0') || '7' FROM 1) "
      "PLACING '8' FROM 17)::uuid")
FILL = f"""INSERT INTO {TABLE} (stream_name, position, type, data, metadata, id)
    SELECT 'load-' || n / {EACH * ALIVE} * {ALIVE} + n % {ALIVE}, n % {EACH * ALIVE} / {ALIVE}, 'Loaded',
        ('{{{{"n":' || 10000000000 + n || ',"text":"{TEXT}"}}}}')::jsonb,
        CASE WHEN n % {TAGGED} = 0
            THEN jsonb_build_object('tags', jsonb_build_array('order-' || n / {TAGGED * OF_A_TAG})) END, {ID}
    FROM generate_series({{first}}::bigint, {{last}}) n"""
INDEXES = f"""SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisprimary FROM pg_index
    WHERE indrelid = '{TABLE}'::regclass ORDER BY indexrelid"""
DROP_KEY = f"ALTER TABLE {TABLE} DROP CONSTRAINT messages_pkey"
ADD_KEY = f"ALTER TABLE {TABLE} ADD CONSTRAINT messages_pkey PRIMARY KEY USING INDEX messages_pkey"
BUILD_MEMORY = "512MB"


class Growing:
    """Namespace default, which grows, and the server on it."""

    def __init__(self, cluster, options):
        self.cluster, self.options = cluster, options
        self.connection = database(cluster, "growth")
        self.messages, self.rng = 0, random.Random(1)
        sql(self.connection, "SELECT millrace.ensure_namespace('default')")
        sql(self.connection, "SELECT millrace.index_tags('default', types => false)")
        sql(self.connection, f"SET synchronous_commit = off; SET maintenance_work_mem = '{BUILD_MEMORY}'")

    def setting(self, name, value):
        sql(self.connection, f"ALTER SYSTEM SET {name} = {value}")
        sql(self.connection, "SELECT pg_reload_conf()")

    @contextmanager
    def without_indexes(self):
        """They are made again, in the same order."""
        indexes = sql(self.connection, INDEXES)
        for name, _, primary in indexes:
            sql(self.connection, DROP_KEY if primary else f"DROP INDEX {name}")
        yield
        for _, definition, primary in indexes:
            sql(self.connection, definition)
            if primary:
                sql(self.connection, ADD_KEY)

    def fill(self, messages):
        """Up to so many; what was appended while it was measured comes on top."""
        began = time.monotonic()
        self.setting("full_page_writes", "off")
        with self.without_indexes():
            while self.messages < messages:
                last = min(messages, self.messages + CHUNK)
                sql(self.connection, FILL.format(first=self.messages, last=last - 1))
                self.messages = last
        self.setting("full_page_writes", "on")
        sql(self.connection, f"VACUUM (ANALYZE, INDEX_CLEANUP off) {TABLE}")
        sql(self.connection, "CHECKPOINT")
        print(f"  filled in {time.monotonic() - began:.0f} s", flush=True)

    def bytes_a_message(self):
        """With those that were appended while it was measured.  Positions have no gaps here."""
        return sql(self.connection, f"""SELECT pg_total_relation_size('{TABLE}') /
            (SELECT max(global_position)::float8 FROM {TABLE})""")[0][0]

    # What is measured: answers a second, and milliseconds of half of them and of all but a hundredth.

    def load(self, server, *arguments):
        found = load(server, WORKERS, self.options.seconds, "--streams", self.messages // EACH, *arguments)
        return found["throughput"], found["p50"], found["p99"]

    def one_by_one(self, server, ask):
        """One client, which takes an answer apart before it asks again."""
        connection, times = Connection(server), []
        end = time.monotonic() + self.options.seconds
        while len(times) < 2 or time.monotonic() < end:
            began = time.monotonic()
            ask(connection)
            times.append(time.monotonic() - began)
        connection.close()
        cuts = statistics.quantiles(times, n=100, method="inclusive")
        return len(times) / sum(times), cuts[49] * 1000, cuts[98] * 1000

    def query(self, connection):
        """The messages of one tag."""
        tag = f"order-{self.rng.randrange(self.messages // (TAGGED * OF_A_TAG))}"
        found = connection.call("query.get", {"items": [{"tags": [tag]}]})
        assert str(found).count("'Loaded'") == OF_A_TAG, found

    def consuming(self, server):
        """Members take a hundred messages and settle those before, from the middle of the store on."""
        with closing(Connection(server)) as connection:
            connection.call("consumer.create", "growth", {"category": "load", "position": self.messages // 2})
            settled = []

            def ask(connection):
                found = connection.call("consumer.next", "growth", {"max": BATCH, "settle": settled})
                settled[:] = [{"claim": found["claim"]}]

            found = self.one_by_one(server, ask)
            connection.call("consumer.delete", "growth")
        return found

    def calls(self, server):
        """What is measured of each, by its name."""
        return {
            "`stream.write` to any stream, 10 workers": lambda: self.load(server, "--mix", "1:0"),
            "`stream.get` of 10, 10 workers": lambda: self.load(server, "--mix", "0:1"),
            "`category.get` of 1000, 10 workers": lambda: self.load(server, "--mix", "0:1", "--category",
                                                                    self.messages - 1000),
            f"`query.get` of {OF_A_TAG} of one tag, one client": lambda: self.one_by_one(server, self.query),
            f"`consumer.next` of {BATCH}, one client": lambda: self.consuming(server)
        }

    def step(self, messages, server):
        """Rows of one size: medians of the rounds."""
        self.fill(messages)
        each = self.bytes_a_message()
        found = in_turn(self.options.rounds, **self.calls(server))
        return [
            row(name, messages, *(statistics.median(values) for values in zip(*runs)), each)
            for name, runs in found.items()
        ]


def steps(last):
    """The sizes at which it is measured."""
    return [step for step in STEPS if step < last] + [last]


def grow(options, rows):
    """Adds the rows of each size.  SIGTERM ends it, and what was reached is kept."""
    with durable_postgres(*SETTINGS) as cluster:
        growing = Growing(cluster, options)
        with serve("--database", cluster.conninfo("growth")) as server:
            for messages in steps(options.to):
                rows += growing.step(messages, server)


def measure(options):
    rows = []
    try:
        grow(options, rows)
    except SystemExit:
        if not rows:
            raise
    names = list(dict.fromkeys(one["cells"][0] for one in rows))
    rows.sort(key=lambda one: names.index(one["cells"][0]))
    return {
        "title": f"Growth over HTTP, to {rows[-1]['cells'][1]:,} messages",
        "about": "Answers a second, and milliseconds until half of them and all but a hundredth were there, of one "
                 "namespace in a durable Postgres with `shared_buffers = 2GB`, at random in the whole store; "
                 f"messages of 300 bytes, {EACH} in a stream, all of one category. Clients of `query.get` and "
                 "`consumer.next` are in Python. Bytes a message are those of the table and its five indexes.",
        "columns": ["what", "messages", "answers/s", "p50 ms", "p99 ms", "bytes a message"], "rows": rows
    }
