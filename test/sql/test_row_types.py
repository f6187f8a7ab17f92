"""ALTER TYPE by its owner, in a database where everything else is as it was: an error that says so, or nothing is
different."""
import shutil

import psycopg2
import pytest

from store import Cluster, sql, temporary_folder

READS = [
    "millrace.read_stream('a-1')", "millrace.read_category('a')", "millrace.read_all()", "millrace.last_message('a-1')",
    "message_store.get_stream_messages('a-1')", "message_store.get_category_messages('a')",
    "message_store.get_last_stream_message('a-1')", "message_store.get_stream_messages('a-1', condition => 'true')",
    "message_store.get_category_messages('a', condition => 'true')"
]
MESSAGE = "ROW('T', '{}', NULL, NULL)"
APPENDS = {
    "one": "millrace.append_messages('a-2', ARRAY[$row]::millrace.new_message[])",
    "some": "millrace.append_streams(ARRAY[ROW('a-2', ARRAY[$row]::millrace.new_message[], "
            "NULL)]::millrace.stream_append[])"
}


@pytest.fixture(scope="module")
def database():
    folder = temporary_folder()
    cluster = Cluster(folder + "/pg").create().start()
    connection = cluster.connect()
    for statement in ("CREATE EXTENSION millrace", "SELECT millrace.install_message_db()",
                      "SELECT millrace.append('a-1', 'T', '{\"n\": 1}')", "SET message_store.sql_condition = 'on'"):
        sql(connection, statement)
    yield connection
    cluster.stop("immediate")
    shutil.rmtree(folder)


@pytest.fixture
def connection(database):
    """A transaction that is rolled back."""
    sql(database, "BEGIN")
    yield database
    sql(database, "ROLLBACK")


def outcome(connection, statement):
    """The SQLSTATE of an error, or how many rows came."""
    sql(connection, "SAVEPOINT before")
    try:
        return len(sql(connection, statement))
    except psycopg2.OperationalError as error:
        raise AssertionError(f"{statement}: {error}")
    except psycopg2.Error as error:
        sql(connection, "ROLLBACK TO before")
        return error.pgcode


FORMS = [
    "SELECT * FROM {}", "SELECT {}", "SELECT * FROM {} WITH ORDINALITY", "SELECT f.* FROM {} f, generate_series(1, 1)",
    "SELECT count(f) FROM {} f"
]
CHANGES = [
    "ADD ATTRIBUTE more text", "DROP ATTRIBUTE {0}", "ALTER ATTRIBUTE {0} TYPE bigint",
    "ALTER ATTRIBUTE global_position TYPE text", "DROP ATTRIBUTE {0}, ADD ATTRIBUTE {0} jsonb"
]


@pytest.mark.parametrize("change", CHANGES)
def test_reads_refuse_a_type_that_was_altered(connection, change):
    for type, column in (("millrace.message", "data"), ("message_store.message", "id")):
        sql(connection, f"ALTER TYPE {type} {change.format(column)}")
    for read in READS:
        for form in FORMS:
            assert outcome(connection, form.format(read)) == "42804", form.format(read)


def test_an_attribute_that_was_added_and_dropped_again_does_no_harm(connection):
    for type in ("millrace.message", "message_store.message", "millrace.new_message", "millrace.stream_append"):
        sql(connection, f"ALTER TYPE {type} ADD ATTRIBUTE more text")
        sql(connection, f"ALTER TYPE {type} DROP ATTRIBUTE more")
    for read in READS:
        for form in FORMS:
            assert outcome(connection, form.format(read)) == 1, form.format(read)
    for append in APPENDS.values():
        assert outcome(connection, f"SELECT * FROM {append.replace('$row', MESSAGE)}") == 1


@pytest.mark.parametrize(
    "read",
    ["millrace.read_all()", "message_store.get_category_messages('a')", "message_store.get_last_stream_message('a-1')"])
@pytest.mark.parametrize("form", FORMS)
def test_a_statement_that_was_prepared_before_survives(connection, read, form):
    sql(connection, f"PREPARE before AS {form.format(read)}")
    try:
        assert len(sql(connection, "EXECUTE before")) == 1
        for type in ("millrace.message", "message_store.message"):
            sql(connection, f"ALTER TYPE {type} ADD ATTRIBUTE more text, ALTER ATTRIBUTE position TYPE text")
        assert outcome(connection, "EXECUTE before") in (1, "42804", "0A000")
    finally:
        sql(connection, "DEALLOCATE before")


@pytest.mark.parametrize("change", [
    "ALTER ATTRIBUTE data TYPE bigint", "ALTER ATTRIBUTE data TYPE text", "ALTER ATTRIBUTE type TYPE bigint",
    "ALTER ATTRIBUTE metadata TYPE float8", "ALTER ATTRIBUTE id TYPE text", "DROP ATTRIBUTE id",
    "ADD ATTRIBUTE more text"
])
@pytest.mark.parametrize("append", APPENDS)
def test_appends_refuse_a_message_of_another_shape(connection, append, change):
    sql(connection, f"ALTER TYPE millrace.new_message {change}")
    row = {
        "ALTER ATTRIBUTE data TYPE bigint": "ROW('T', 1, NULL, NULL)",
        "ALTER ATTRIBUTE type TYPE bigint": "ROW(1, '{}', NULL, NULL)",
        "ALTER ATTRIBUTE metadata TYPE float8": "ROW('T', '{}', 1, NULL)",
        "ALTER ATTRIBUTE id TYPE text": "ROW('T', '{}', NULL, 'x')", "DROP ATTRIBUTE id": "ROW('T', '{}', NULL)",
        "ADD ATTRIBUTE more text": "ROW('T', '{}', NULL, NULL, 'x')"
    }.get(change, MESSAGE)
    assert outcome(connection, f"SELECT * FROM {APPENDS[append].replace('$row', row)}") == "42804"
    assert sql(connection, "SELECT data FROM millrace.read_all()") == [({"n": 1},)], "and nothing was stored"


@pytest.mark.parametrize("change, row", [("messages TYPE text", "ROW('a-2', 'x', NULL)"),
                                         ("messages TYPE bigint", "ROW('a-2', 1, NULL)"),
                                         ("messages TYPE text[]", "ROW('a-2', ARRAY['x'], NULL)"),
                                         ("expected_version TYPE text", "ROW('a-2', NULL, 'x')"),
                                         ("stream TYPE bigint", "ROW(1, NULL, NULL)")])
def test_appends_refuse_a_stream_of_another_shape(connection, change, row):
    sql(connection, f"ALTER TYPE millrace.stream_append ALTER ATTRIBUTE {change}")
    assert outcome(connection,
                   f"SELECT * FROM millrace.append_streams(ARRAY[{row}]::millrace.stream_append[])") == "42804"


@pytest.mark.parametrize("kind", ["STORED", "VIRTUAL"])
def test_a_generated_column_is_refused_for_appends(connection, kind):
    if kind == "VIRTUAL" and connection.server_version < 180000:
        pytest.skip("PostgreSQL has virtual columns from 18 on")
    sql(connection, "DROP TABLE message_store.messages CASCADE")
    sql(
        connection,
        "CREATE TABLE message_store.messages (global_position bigserial PRIMARY KEY, position bigint NOT NULL, "
        "time timestamp NOT NULL, "
        'stream_name text COLLATE "C" NOT NULL, type text COLLATE "C" NOT NULL, data jsonb, '
        f"metadata jsonb GENERATED ALWAYS AS (data) {kind}, id uuid NOT NULL UNIQUE, UNIQUE (stream_name, position))")
    sql(connection, "CREATE INDEX ON message_store.messages (millrace.category(stream_name), global_position)")
    with pytest.raises(psycopg2.Error, match="check constraints or generated columns") as error:
        sql(connection, "SELECT millrace.append('a-1', 'T', '{}')")
    assert error.value.pgcode == "MR010"
