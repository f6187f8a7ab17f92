"""What the tests of sweeps and removals share."""
import struct
import uuid

import psycopg2
import pytest

from store import new_id, sql

APPEND = 'SELECT "position", global_position FROM millrace.append(%s, %s, %s, expected_version => %s)'
SWEEP = "SELECT removed, streams, more, held_by, held_position, moved FROM millrace.sweep(max_rows => %s, forced => %s)"


def append(connection, stream, count=1, expected=None):
    return [sql(connection, APPEND, stream, "T", "{}", expected)[0] for _ in range(count)]


def make_old(connection, namespace, days, where="true"):
    sql(connection, f"UPDATE millrace_{namespace}.messages SET time = time - interval '1 day' * {days} WHERE {where}")


def messages(connection, category="a"):
    return [(row[0], row[1]) for row in sql(
        connection, 'SELECT stream_name, "position" FROM millrace.read_category(%s, 1, -1)', category)]


def global_positions(connection, category="a"):
    return [row[0] for row in sql(connection, "SELECT global_position FROM millrace.read_category(%s, 1, -1)",
                                  category)]


def sweep(connection, rows=10000, forced=False):
    """One step."""
    removed, streams, more, held_by, held, moved = sql(connection, SWEEP, rows, forced)[0]
    return {"removed": removed, "streams": streams, "more": more, "held": (held_by, held) if held_by else None,
            "moved": moved}


def sweep_all(connection, rows=10000, forced=False):
    removed = 0
    while True:
        step = sweep(connection, rows, forced)
        removed += step["removed"]
        if not step["more"]:
            return removed


def refused(connection, sqlstate, query, *parameters):
    with pytest.raises(psycopg2.Error) as caught:
        sql(connection, query, *parameters)
    assert caught.value.pgcode == sqlstate, caught.value
    return caught.value.diag


def policy(connection, category="a", **options):
    names = "".join(f", {name} => %s" for name in options)
    sql(connection, f"SELECT millrace.set_retention(%s{names})", category, *options.values())


def bring(connection, namespace, stream, positions, id=None):
    """Imports messages, at global positions far above."""
    def string(text):
        return struct.pack(">I", len(text)) + text.encode() + b"\0"

    records = [uuid.UUID(id or new_id()).bytes + string(stream) + string("T") +
               struct.pack(">qqq", n, 1000 + n, 0) + string("{}") + b"\xff" * 4 for n in positions]
    sql(connection, "SELECT millrace.import_batch(%s, %s)", namespace,
        b"\1" + struct.pack(">I", len(records)) + b"".join(records))
