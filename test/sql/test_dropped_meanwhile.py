"""A namespace that is dropped while another session looks at it."""
import psycopg2
import pytest

from store import sql, wait_until
from test_append_lock import in_background

# All that looks at the table as a whole.
LOOKS = [
    "describe_namespace('sales')", "json_describe_namespace('sales')", "list_categories('sales')",
    "json_list_categories('sales')", "empty_namespace('sales')"
]


@pytest.mark.parametrize("look", LOOKS)
def test_a_session_that_waited_for_it_is_told_that_there_is_no_such_namespace(cluster, look):
    main, other = cluster.connect(), cluster.connect()
    sql(main, "CREATE EXTENSION millrace")
    sql(main, "SELECT millrace.create_namespace('sales')")
    sql(other, "SELECT * FROM millrace.list_namespaces()")
    sql(main, "BEGIN")
    sql(main, "SELECT millrace.drop_namespace('sales')")
    looking = in_background(other, f"SELECT * FROM millrace.{look}")
    wait_until(lambda: sql(main, "SELECT 1 FROM pg_locks WHERE NOT granted"), "the other session to wait")
    sql(main, "COMMIT")
    error = looking.exception(timeout=30)
    assert error.pgcode == "MR003" and "null" not in str(error), error


def test_a_list_leaves_no_namespace_out_for_it(cluster):
    main, other = cluster.connect(), cluster.connect()
    sql(main, "CREATE EXTENSION millrace")
    sql(main, "SELECT millrace.create_namespace('sales')")
    # What becomes of a namespace between two looks at it is left to a function in the place of the first.
    sql(
        main,
        "CREATE OR REPLACE FUNCTION millrace.is_messages(relation regclass) RETURNS boolean LANGUAGE plpgsql AS $$ "
        "BEGIN PERFORM pg_advisory_lock(1); RETURN true; END $$"
    )
    sql(main, "SELECT pg_advisory_lock(1)")
    looking = in_background(other, "SELECT name, message_count FROM millrace.list_namespaces()")
    wait_until(lambda: sql(main, "SELECT 1 FROM pg_locks WHERE NOT granted"), "the other session to wait")
    sql(main, "SELECT millrace.drop_namespace('sales'), pg_advisory_unlock(1)")
    assert looking.result(timeout=30) == [("sales", None)]


def test_a_schema_that_never_was_is_no_namespace(cluster):
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    with pytest.raises(psycopg2.Error) as error:
        sql(connection, "SELECT millrace.count_messages('nowhere')")
    assert error.value.pgcode == "MR003"
