"""Bytes on disk a message, all indexes included, of Millrace's table and of Message DB's.

Two databases on one Postgres, `theirs` with the package from the npm registry, filled by its write_message, `ours` by
millrace.append, each with ids as its clients make them: random ones there, rising ones here. Ten clients append, each
transaction a hundred messages.
"""
import os
import random
import string
from contextlib import closing

import message_db
from events import events
from measure import Pgbench, at_most, database, durable_postgres, row, sql

MESSAGES, QUICK_MESSAGES = 1000000, 50000
CLIENTS, EACH = 10, 100
POOL = 10000  # different messages
LIMIT = 0.9

# One after the other, at random as bench/load does it, and at random among many that have 50 messages each in the end.
TURNS, RANDOM, MANY = "100 streams in turns", "100 streams at random", "many streams at random"
STREAMS = {
    TURNS: "'load-' || s", RANDOM: "'load-' || :client_id + 10 * floor(random() * 10)::int",
    MANY: "'account-' || uuid_in(md5((:client_id + 10 * floor(random() * {many} / 10)::int)::text)::cstring)"
}
POSITION_OF = "(:first + s) % {pool}"
OURS = ("SELECT count(millrace.append({stream}, type, data)) FROM generate_series(0, 99) s "
        "JOIN pool ON n = " + POSITION_OF)
THEIRS = ("SELECT count(message_store.write_message(gen_random_uuid()::varchar, {stream}, type, data)) "
          "FROM generate_series(0, 99) s JOIN pool ON n = " + POSITION_OF)
SIZES = """SELECT pg_table_size(messages),
        (SELECT sum(pg_relation_size(indexrelid)) FROM pg_index WHERE indrelid = messages)::bigint,
        (SELECT json_object_agg(indexrelid::regclass, pg_relation_size(indexrelid))
            FROM pg_index WHERE indrelid = messages)
    FROM (SELECT '{table}'::regclass AS messages) t"""


def load_messages():
    """As bench/load makes them: a number, and 273 letters, the same in all of them."""
    text = "".join(random.Random(1).choices(string.ascii_lowercase, k=273))
    return [("Loaded", f'{{"n":{10000000000 + n},"text":"{text}"}}') for n in range(POOL)]


KINDS = {"the load's": load_messages, "events": lambda: list(events(POOL))}
