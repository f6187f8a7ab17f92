"""Bytes on disk a message, the table and all its indexes, of Millrace and of Message DB.

Two databases on one Postgres: `theirs` has the package from the npm registry and is filled by its write_message, with
random ids as its clients send them; `ours` is filled by millrace.append, which makes ids that rise. One client appends,
each transaction a hundred messages, one call each: several would wait for one another's streams.
"""
import random
import string

import peer
import pytest
from events import events, orders
from measure import Pgbench, at_most, database, durable_postgres, row, sql

MESSAGES, QUICK_MESSAGES = 1000000, 20000
EACH = 100
POOL = 10000  # different messages
LIMIT = 0.9
FIGURES = ("disk_turns", "disk_random", "disk_many", "disk_events", "disk_orders")

TURNS = "'load-' || s"
RANDOM = "'load-' || floor(random() * 100)::int"
MANY = "'account-' || uuid_in(md5(floor(random() * {streams})::int::text)::cstring)"
OURS = "millrace.append({stream}, type, data)"
THEIRS = "message_store.write_message(gen_random_uuid()::varchar, {stream}, type, data)"
SCRIPT = f"""\\set first random(0, {POOL - 1})
SELECT count({{call}}) FROM generate_series(0, {EACH - 1}) s JOIN public.pool ON n = (:first + s) % {POOL};
"""
SIZES = """SELECT count(*), pg_table_size('{table}'), (SELECT sum(pg_relation_size(indexrelid)) FROM pg_index
    WHERE indrelid = '{table}'::regclass)::bigint FROM {table}"""
INDEX = """SELECT sum(pg_relation_size(indexrelid))::bigint FROM pg_index WHERE indrelid = '{table}'::regclass
    AND pg_get_indexdef(indexrelid, 1, false) = '{column}'"""
COLUMNS = {"global_position": "positions", "id": "ids", "stream_name": "streams"}


def load_messages():
    """As bench/load makes them: a number, and 273 letters at random, the same in all of them."""
    text = "".join(random.Random(1).choices(string.ascii_lowercase, k=273))
    return [("Loaded", f'{{"n":{10000000000 + n},"text":"{text}"}}') for n in range(POOL)]


LOAD, EVENTS, ORDERS = "the load's", "events", "orders"
MESSAGES_OF = {LOAD: load_messages, EVENTS: lambda: list(events(POOL)), ORDERS: lambda: list(orders(POOL))}
RUNS = [("disk_turns", "100 streams in turns", TURNS, LOAD), ("disk_random", "100 streams at random", RANDOM, LOAD),
        ("disk_many", "streams of 50, at random, named by UUIDs", MANY, LOAD),
        ("disk_events", "100 streams at random", RANDOM, EVENTS),
        ("disk_orders", "100 streams at random", RANDOM, ORDERS)]


class Side:
    """A database, its table of messages, and the call that appends one."""

    def __init__(self, cluster, name, connection, table, call):
        self.connection, self.table, self.call = connection, table, call
        # Message DB's functions find one another by the search_path.
        self.bench = Pgbench(cluster, name, search_path="message_store,public")

    def offer(self, messages):
        """The messages of which are appended."""
        sql(self.connection, "DROP TABLE IF EXISTS public.pool")
        sql(self.connection, "CREATE TABLE public.pool (n integer PRIMARY KEY, type text, data jsonb)")
        types, data = zip(*messages)
        sql(
            self.connection, "INSERT INTO public.pool SELECT n - 1, type, data::jsonb "
            "FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS m (type, data, n)", list(types), list(data))
        sql(self.connection, "ANALYZE public.pool")

    def fill(self, stream, messages):
        """Bytes a message: of all, of the table and of its indexes by their first columns."""
        sql(self.connection, f"TRUNCATE {self.table} RESTART IDENTITY")
        call = self.call.format(stream=stream.format(streams=messages // 50))
        self.bench.rate(SCRIPT.format(call=call), 1, transactions=messages // EACH)
        stored, table, indexes = sql(self.connection, SIZES.format(table=self.table))[0]
        if stored != messages:
            raise RuntimeError(f"{stored} of {messages} messages are stored")
        each = {
            name: sql(self.connection, INDEX.format(table=self.table, column=column))[0][0] / stored
            for column, name in COLUMNS.items()
        }
        return {"all": (table + indexes) / stored, "table": table / stored, **each}


def make_sides(cluster):
    """Ours and theirs; None where Message DB can't be had."""
    connection = database(cluster, "ours")
    sql(connection, "SELECT millrace.ensure_namespace('default')")
    ours = Side(cluster, "ours", connection, "millrace_default.messages", OURS)
    try:
        peer.install(peer.fetch(cluster.folder), cluster, "theirs")
    except pytest.skip.Exception as reason:
        print(f"  *** {reason} ***", flush=True)
        return ours, None
    return ours, Side(cluster, "theirs", cluster.connect("theirs"), "message_store.messages", THEIRS)


def compare(sides, key, what, stream, kind, messages, figures):
    """A line, and whether theirs was there to compare with."""
    ours, theirs = sides
    for side in filter(None, sides):
        side.offer(MESSAGES_OF[kind]())
    found = ours.fill(stream, messages)
    beside = theirs.fill(stream, messages) if theirs else None
    figures[key] = found["all"] / beside["all"] if beside else None
    name = f"bytes on disk / Message DB's, {kind}, {what}"
    checks = [at_most(name, figures[key], LIMIT)] if beside else []
    parts = [found[name] for name in ("table", *COLUMNS.values())]
    return row(f"{kind} messages, {what}", found["all"], beside and beside["all"], figures[key], *parts, checks=checks)


def measure(options):
    messages = QUICK_MESSAGES if options.quick else MESSAGES
    figures = {}
    with durable_postgres("fsync=off", "synchronous_commit=off") as cluster:
        sides = make_sides(cluster)
        rows = [compare(sides, *run, messages, figures) for run in RUNS]
    return {
        "title": "Bytes on disk",
        "about": f"A message's, after {messages:,} appends of one message each. The load's messages are "
                 "those of `bench/load`, a number and letters at random, 300 bytes, which nothing compresses; the "
                 "events are of four kinds, with names, addresses, amounts, times and UUIDs, 260 to 310 bytes; orders "
                 "have ten lines each and 700 bytes, which lz4 compresses where the server has it. Ids are random on "
                 "Message DB's side, as its clients make them. The parts are ours; the index of categories "
                 "is the rest.",
        "columns": ["what", "Millrace", "Message DB", "ratio", "of it: table", "positions", "ids", "streams"],
        "rows": rows, "figures": figures,
        **({} if sides[1] else {"skipped": "Message DB could not be fetched, so there is nothing to compare with"})
    }
