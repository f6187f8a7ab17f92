"""Values of some hundred bytes that lz4 makes smaller are stored so, and nothing but their size tells."""
import hashlib
import json

import pytest

from store import new_id, sql

LINES = [{"sku": f"KB-{n * 7919 % 100000:05}", "quantity": n % 5 + 1, "price": n * 11.5 % 90} for n in range(12)]
ORDER = {"orderId": "7311d8a3-c2ce-4f44-bed4-d57b1e2feb89", "lines": LINES}
METADATA = {"tags": [f"order-{n:012}-shipment" for n in range(20)]}
STORED = """SELECT pg_column_compression(data), pg_column_compression(metadata)
    FROM millrace_squeezed.messages ORDER BY global_position DESC LIMIT 1"""


@pytest.fixture
def squeezed(connection):
    """A connection on a namespace of its own; skips where PostgreSQL was built without lz4."""
    sql(connection, "CREATE EXTENSION IF NOT EXISTS millrace")
    if "lz4" not in sql(connection, "SELECT enumvals FROM pg_settings WHERE name = 'default_toast_compression'")[0][0]:
        pytest.skip("this PostgreSQL was built without lz4")
    sql(connection, "SELECT millrace.create_namespace('squeezed')")
    sql(connection, "SET millrace.namespace = 'squeezed'")
    yield connection
    sql(connection, "RESET millrace.namespace")
    sql(connection, "SELECT millrace.drop_namespace('squeezed')")


def append(connection, stream, data, metadata=None, id=None):
    return sql(connection, "SELECT millrace.append(%s, 'T', %s, %s, id => %s)", stream, json.dumps(data),
               None if metadata is None else json.dumps(metadata), id)


def test_an_order_of_some_lines_is_compressed(squeezed):
    append(squeezed, "order-1", ORDER, METADATA)
    assert sql(squeezed, STORED) == [("lz4", "lz4")]
    ((stored, whole),) = sql(squeezed, "SELECT pg_column_size(data), pg_column_size(data || '{}') "
                             "FROM millrace_squeezed.messages WHERE stream_name = 'order-1'")
    assert 100 < stored <= whole * 7 / 8
    assert sql(squeezed, "SELECT data, metadata FROM millrace.read_stream('order-1')") == [(ORDER, METADATA)]
    assert sql(squeezed, "SELECT data, metadata FROM millrace_squeezed.messages WHERE stream_name = 'order-1'") == [
        (ORDER, METADATA)]


RANDOM = "".join(hashlib.md5(str(n).encode()).hexdigest() for n in range(150))


@pytest.mark.parametrize("data", [{"text": "x" * 400}, {"text": RANDOM[:1000]}], ids=["short", "incompressible"])
def test_what_gains_little_is_not(squeezed, data):
    append(squeezed, "plain-1", data)
    assert sql(squeezed, STORED)[0][0] is None
    assert sql(squeezed, "SELECT data FROM millrace.last_message('plain-1')") == [(data, )]


@pytest.mark.parametrize("change, back", [("SET COMPRESSION pglz", "SET COMPRESSION default"),
                                          ("SET STORAGE EXTERNAL", "SET STORAGE EXTENDED")])
def test_a_column_that_is_set_otherwise_stays_so(squeezed, change, back):
    sql(squeezed, f"ALTER TABLE millrace_squeezed.messages ALTER COLUMN data {change}")
    append(squeezed, "otherwise-1", ORDER)
    assert sql(squeezed, STORED)[0][0] is None
    sql(squeezed, f"ALTER TABLE millrace_squeezed.messages ALTER COLUMN data {back}")
    append(squeezed, "otherwise-1", ORDER)
    assert sql(squeezed, STORED)[0][0] == "lz4"


def test_both_compressed_columns_of_a_row_that_is_too_large_all_the_same(squeezed):
    """Data that is compressed, and metadata that is not and sends the row to the toaster."""
    metadata = {"text": RANDOM}
    append(squeezed, "large-1", ORDER, metadata)
    assert sql(squeezed, "SELECT data, metadata FROM millrace.last_message('large-1')") == [(ORDER, metadata)]


def test_a_retry_is_known_and_another_content_refused(squeezed):
    first = new_id()
    stored = append(squeezed, "retry-1", ORDER, METADATA, first)
    assert append(squeezed, "retry-1", ORDER, METADATA, first) == stored
    with pytest.raises(Exception, match=first):
        append(squeezed, "retry-1", {**ORDER, "lines": LINES[1:]}, METADATA, first)


def test_what_is_exported_is_what_is_imported(squeezed):
    append(squeezed, "export-1", ORDER, METADATA)
    export = "SELECT body FROM millrace.json_export(%s, 1, NULL, NULL, NULL, 10000000)"
    lines = sql(squeezed, export, "squeezed")[0][0]
    plain = lines if isinstance(lines, str) else bytes(lines).decode()
    assert json.loads(plain.splitlines()[-1])["data"] == ORDER
    sql(squeezed, "SELECT millrace.create_namespace('plain')")
    sql(squeezed, "ALTER TABLE millrace_plain.messages ALTER COLUMN data SET STORAGE EXTERNAL, "
        "ALTER COLUMN metadata SET STORAGE EXTERNAL")
    sql(squeezed, "INSERT INTO millrace_plain.messages SELECT * FROM millrace_squeezed.messages")
    assert sql(squeezed, export, "plain")[0][0] == lines
    sql(squeezed, "SELECT millrace.drop_namespace('plain')")


def test_it_is_redacted_and_found(squeezed):
    append(squeezed, "find-1", ORDER, METADATA)
    append(squeezed, "find-1", ORDER, METADATA)
    tagged = json.dumps({"items": [{"tags": METADATA["tags"][:1]}]})
    assert sql(squeezed, "SELECT millrace.index_tags('squeezed')") == [(True, )]
    before = sql(squeezed, "SELECT count(*) FROM millrace.read_query(%s)", tagged)[0][0]
    append(squeezed, "find-1", ORDER, METADATA)
    assert sql(squeezed, "SELECT count(*) FROM millrace.read_query(%s)", tagged) == [(before + 1, )]
    sql(squeezed, "SELECT millrace.redact_stream('find-1')")
    found = sql(squeezed, "SELECT data FROM millrace.read_stream('find-1')")
    assert len(found) == 3 and all(data == {} for (data, ) in found)
