"""Citus takes the rows of a table away into shards and leaves an empty one, which functions that go round the executor
would use.  Debian has no package of it, so its catalog is made here as its extension does."""
import psycopg2
import pytest

from store import sql

SHARDS = "table \"millrace_sales\".\"messages\" is distributed by Citus, so its rows are not in it"
CALLS = ["append('s-1', 'T', '{}', namespace => 'sales')", "read_stream('s-1', namespace => 'sales')",
         "read_category('s', namespace => 'sales')", "read_all(namespace => 'sales')",
         "stream_version('s-1', namespace => 'sales')", "truncate_stream('s-1', 1, namespace => 'sales')"]


@pytest.fixture
def connection(shared_cluster):
    """To a store with namespace `sales`, in a database where Citus is."""
    admin = shared_cluster.connect()
    sql(admin, "CREATE DATABASE with_citus")
    connection = shared_cluster.connect("with_citus")
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('sales')")
    sql(connection, "SELECT millrace.append('s-1', 'T', '{}', namespace => 'sales')")
    sql(connection, "SET allow_system_table_mods = on")
    sql(connection,
        "CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass PRIMARY KEY, partmethod \"char\")")
    yield connection
    connection.close()
    sql(admin, "DROP DATABASE with_citus WITH (FORCE)")
    admin.close()


def test_a_table_that_citus_distributes_is_refused_by_name(connection):
    read = "SELECT count(*) FROM millrace.read_stream('s-1', namespace => 'sales')"
    assert sql(connection, read) == [(1,)], "another table is none of Citus's"
    sql(connection, "INSERT INTO pg_dist_partition VALUES ('pg_class', 'h'), ('millrace_sales.messages', 'h')")
    sql(connection, "ALTER TABLE millrace_sales.messages SET (fillfactor = 90)")  # Citus has it looked at anew, too
    for call in CALLS:
        with pytest.raises(psycopg2.Error) as refused:
            sql(connection, f"SELECT * FROM millrace.{call}")
        assert (refused.value.pgcode, refused.value.diag.message_primary) == ("MR010", SHARDS), call
        assert "undistribute_table('millrace_sales.messages')" in refused.value.diag.message_hint
    sql(connection, "DELETE FROM pg_dist_partition WHERE logicalrelid = 'millrace_sales.messages'::regclass")
    sql(connection, "ALTER TABLE millrace_sales.messages RESET (fillfactor)")
    assert sql(connection, read) == [(1,)]


def test_a_catalog_that_is_not_as_citus_has_it_is_passed_over(connection):
    sql(connection, "DROP TABLE pg_catalog.pg_dist_partition")
    sql(connection, "CREATE VIEW pg_catalog.pg_dist_partition AS "
        "SELECT 'millrace_sales.messages'::regclass AS logicalrelid")
    assert sql(connection, "SELECT \"position\" FROM millrace.append('s-1', 'T', '{}', namespace => 'sales')") == [(1,)]
