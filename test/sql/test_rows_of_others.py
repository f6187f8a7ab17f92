"""Rows that another program inserts into a table of messages itself."""
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from store import sql, wait_until


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_an_append_that_meets_a_row_of_an_open_transaction_waits_and_holds_up_no_other(cluster, end):
    connection, other, third = (cluster.connect() for _ in range(3))
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('default')")
    stranger = cluster.connect()
    stranger.autocommit = False
    sql(stranger,
        "INSERT INTO millrace_default.messages (stream_name, position, type, data) VALUES ('a-1', 0, 'T', '{}')")
    with ThreadPoolExecutor(2) as pool:
        waits = pool.submit(sql, connection, "SELECT position FROM millrace.append('a-1', 'T', '{}')")
        try:
            wait_until(lambda: sql(third, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'transactionid'"),
                       "the wait")
            goes_on = pool.submit(sql, other, "SELECT position FROM millrace.append('a-2', 'T', '{}')")
            assert goes_on.result(timeout=20) == [(0,)]
        finally:
            getattr(stranger, end)()
        if end == "rollback":
            assert waits.result() == [(0,)]
        else:
            with pytest.raises(psycopg2.errors.UniqueViolation):
                waits.result()
            assert sql(connection, "SELECT position FROM millrace.append('a-1', 'T', '{}')") == [(1,)]
