"""The same calls to Message DB and to Millrace give the same rows, errors and notices.

What is compared: every column but `time`, SQLSTATE, the error's text, constraint and detail, and notices. The
differences that are ours on purpose are left out: consumer groups above 32767; the notices `Generated Command`, and
those of acquire_lock in write_message, which takes no such lock; and which session waits for which, which test_locks.py
shows.
"""
import random
import re

import psycopg2

import peer
from peer import as_client
from store import sql

CALLS = 4000
NAMES = ["a-1", "a-2", "a-1+2", "a-2+1", "a-b-c+d", "b-1", "b-2", "c-", "c-+x", "-x", "a", "b", "", "-", "é-ü", "A-1",
         "long-" + "x" * 300, "it's-1", "per%cent-1", "a:command-1", None]
CATEGORIES = ["a", "b", "c", "", "A", "é", "a:command", "none", "a-1", "it's", "per%cent", None]
TYPES = ["T", "U", "", "it's", None]
DATA = [
    '{}', '{"a": 1}', '{"b": [1, 2.50, null], "a": "x\\"y"}', '[1, 2]', '7', '"text"', 'null', 'true', None, '{bad',
    '{"u": "\\u0000"}'
]
METADATA = [
    None, None, '{"correlationStreamName": "b-1"}', '{"correlationStreamName": "a"}', '{"correlationStreamName": ""}',
    '{"correlationStreamName": null}', '{"correlationStreamName": 7}', '{"x": 1}', '[]', '"b-1"'
]
IDS = [
    "abc", "", None, "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}", "a0eebc999c0b4ef8bb6d6bb9bd380a12",
    "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a13", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a14 "
]
POSITIONS = [None, 0, 1, 2, 3, 5, 100, -1, 2**63 - 1, -(2**63)]
SIZES = [None, 0, 1, 2, 3, 10, -1, -2, 2**63 - 1]
MEMBERS = [None, None, None, None, 0, 1, 2, -1, 7]
GROUP_SIZES = [None, None, None, None, 1, 2, 3, 0, -1, 32767]
CONDITIONS = [
    None, None, None, None, "global_position >= 1", "position = 0", "messages.type = 'T'", "data->>'a' = '1'", "false",
    "NULL", "nonsense", "1", "messages.time >= current_time", "messages.time >= current_timestamp", "position % 2 = 0",
    "1 = 1) OR (1 = 1", ""
]
EXPECTED = [None, None, None, -1, 0, 1, 2, 5, -2, -(2**63)]


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.ids = list(IDS)

    def id(self):
        if self.random.random() < 0.15:
            return self.random.choice(self.ids)
        self.ids.append("%08x-0000-4000-8000-%012x" % (self.random.getrandbits(32), self.random.getrandbits(48)))
        return self.ids[-1]

    def call(self):
        pick = self.random.choice
        kind = self.random.random()
        if kind < 0.4:
            return ("SELECT write_message(%s::varchar, %s::varchar, %s::varchar, %s::jsonb, %s::jsonb, %s::bigint)",
                    (self.id(), pick(NAMES), pick(TYPES), pick(DATA), pick(METADATA), pick(EXPECTED)))
        if kind < 0.55:
            return (
                "SELECT id, stream_name, type, position, global_position, data, metadata "
                "FROM get_stream_messages(%s, %s, batch_size => %s, condition => %s)",
                (pick(NAMES), pick(POSITIONS), pick(SIZES), pick(CONDITIONS)))
        if kind < 0.8:
            return (
                "SELECT id, stream_name, type, position, global_position, data, metadata "
                "FROM get_category_messages(%s, %s, %s, correlation => %s, consumer_group_member => %s, "
                "consumer_group_size => %s, condition => %s)",
                (pick(CATEGORIES), pick(POSITIONS), pick(SIZES), pick([None, None, None, "a", "b", "", "7", "a-1"]),
                 pick(MEMBERS), pick(GROUP_SIZES), pick(CONDITIONS)))
        if kind < 0.86:
            return (
                "SELECT id, stream_name, type, position, global_position, data, metadata "
                "FROM get_last_stream_message(%s, type => %s)",
                (pick(NAMES), pick(TYPES)))
        if kind < 0.9:
            return "SELECT stream_version(%s)", (pick(NAMES),)
        if kind < 0.92:
            return "SELECT acquire_lock(%s)", (pick(NAMES),)
        if kind < 0.97:
            return (f"SELECT {pick(['category', 'id', 'cardinal_id', 'is_category', 'hash_64'])}(%s)", (pick(NAMES),))
        if kind < 0.99:
            return pick([
                "SET message_store.sql_condition = on", "SET message_store.sql_condition = off",
                "RESET message_store.sql_condition", "SET message_store.sql_condition = banana",
                "SET message_store.debug = on", "SET message_store.debug_get = on",
                "SET message_store.debug_write = on", "RESET message_store.debug", "RESET message_store.debug_get",
                "RESET message_store.debug_write"
            ]), ()
        return pick([
            "SELECT message_store_version()", "SELECT * FROM stream_summary", "SELECT * FROM type_summary",
            "SELECT * FROM stream_type_summary", "SELECT * FROM type_stream_summary",
            "SELECT * FROM category_type_summary", "SELECT * FROM type_category_summary"
        ]), ()


def notices(connection, statement):
    text = [re.sub(r"Generated Command: .*", "", notice, flags=re.S) for notice in connection.notices]
    connection.notices.clear()
    if "write_message" in statement and text and "acquire_lock" in text[0]:
        text = text[4:]
    return [notice for notice in text if notice.strip() != "NOTICE:"]


def outcome(connection, statement, arguments):
    try:
        result = ("rows", sql(connection, statement, *arguments))
    except psycopg2.Error as error:
        said = error.diag
        detail = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.\d]*", "TIME", said.message_detail or "")
        result = ("error", error.pgcode, said.message_primary, said.constraint_name, detail)
    return result, notices(connection, statement)


def test_thousands_of_calls_have_the_same_outcome(message_db, package, ours):
    peer.install(package, message_db, "theirs")
    theirs = as_client(message_db, "theirs")
    generator = Generator(1)
    differences, errors, rows = [], 0, 0
    for number in range(CALLS):
        statement, arguments = generator.call()
        expected, actual = outcome(theirs, statement, arguments), outcome(ours, statement, arguments)
        errors += expected[0][0] == "error"
        rows += len(expected[0][1]) if expected[0][0] == "rows" else 0
        if expected != actual:
            differences.append((number, statement, arguments, expected, actual))
    print(f"{CALLS} calls, {errors} errors, {rows} rows: {len(differences)} differences")
    assert errors > CALLS / 10 and rows > CALLS
    assert differences == [], "\n".join(map(str, differences[:5]))


BESIDE = "('stream_floors', 'removed_ids')"  # what is left of removed messages


def test_the_catalogue_is_the_same(message_db, package, ours):
    """Argument names, types, defaults and volatility of the functions; columns of table, type and views; privileges."""
    theirs = as_client(message_db, "theirs")
    for query in (
            "SELECT proname, pg_get_function_arguments(oid), pg_get_function_result(oid), provolatile FROM pg_proc "
            "WHERE pronamespace = 'message_store'::regnamespace AND proname <> 'millrace_read_support' "
            "ORDER BY 1",  # the planner asks it about ours; no statement can call it
            "SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, "
            "pg_get_expr(adbin, adrelid) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid "
            "LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum "
            "WHERE relnamespace = 'message_store'::regnamespace AND relkind IN ('r', 'v', 'c') AND attnum > 0 "
            f"AND attname <> 'percent' AND relname NOT IN {BESIDE} ORDER BY 1, attnum",
            f"SELECT indexname FROM pg_indexes WHERE schemaname = 'message_store' AND tablename NOT IN {BESIDE} "
            "ORDER BY 1",
            "SELECT table_name, privilege_type FROM information_schema.role_table_grants "
            "WHERE grantee = 'message_store' AND table_schema = 'message_store' ORDER BY 1, 2",
            "SELECT has_schema_privilege('message_store', 'USAGE'), has_schema_privilege('message_store', 'CREATE'), "
            "has_sequence_privilege('message_store.messages_global_position_seq', 'USAGE'), "
            "has_function_privilege('message_store.acquire_lock(varchar)', 'EXECUTE')",
    ):
        assert sql(theirs, query) == sql(ours, query), query
