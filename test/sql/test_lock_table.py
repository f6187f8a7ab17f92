"""Every stream that a transaction appended to has a place in the server's lock table, which all sessions share."""
import psycopg2
import pytest

from store import sql

MOST = 1000  # streams of one call
SIDECARS = 8  # two connections that append, for each of four workers
APPEND = (
    "SELECT count(*) FROM millrace.append_streams((SELECT array_agg((%s || '-' || n, "
    "ARRAY[('T', '{}', NULL, NULL)]::millrace.new_message[], NULL)::millrace.stream_append) "
    "FROM generate_series(1, %s) n))")


@pytest.fixture
def connections(cluster):
    """Sessions of a Postgres whose lock table is as large as it is by default."""
    first = cluster.connect()
    sql(first, "CREATE EXTENSION millrace")
    sql(first, "SELECT millrace.create_namespace('default')")
    assert sql(
        first,
        "SELECT bool_and(setting = boot_val) FROM pg_settings "
        "WHERE name IN ('max_locks_per_transaction', 'max_connections')"
    ) == [(True, )]
    connections = [first, *(cluster.connect() for _ in range(SIDECARS))]
    yield connections
    for connection in connections:
        connection.close()


def test_calls_to_as_many_streams_as_are_allowed_leave_others_room_in_the_lock_table(connections):
    other, *holders = connections
    for n, holder in enumerate(holders):
        sql(holder, "BEGIN")
        assert sql(holder, APPEND, f"s{n}", MOST) == [(MOST,)]
    assert sql(other, APPEND, "other", MOST) == [(MOST,)]


def test_a_call_to_more_streams_is_refused_and_holds_none_of_them(connections):
    other, holder, *_ = connections
    sql(holder, "BEGIN")
    with pytest.raises(psycopg2.Error) as refused:
        sql(holder, APPEND, "s", 12000)  # as many as the smallest table holds, or nearly
    assert refused.value.pgcode == "MR009"
    assert "12000 streams" in str(refused.value) and "1000" in str(refused.value)
    assert sql(other, APPEND, "other", MOST) == [(MOST,)]
