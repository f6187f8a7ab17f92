"""Who waits for whom: acquire_lock blocks whom it blocked, and writers of one category don't wait for each other."""
import psycopg2
import pytest

from peer import as_client
from store import new_id, sql

BRIEFLY = "SET lock_timeout = '200ms'"


def write(connection, stream):
    return sql(connection, "SELECT write_message(%s::varchar, %s::varchar, 'T'::varchar, '{}'::jsonb)", new_id(),
               stream)[0][0]


@pytest.fixture
def two(message_db):
    first, second = as_client(message_db, "ours"), as_client(message_db, "ours")
    first.autocommit = False
    sql(second, BRIEFLY)
    yield first, second
    first.close()
    second.close()


def test_an_open_write_blocks_its_own_stream_only(two):
    first, second = two
    write(first, "lock-1")
    write(second, "lock-2")
    with pytest.raises(psycopg2.errors.LockNotAvailable):
        write(second, "lock-1")
    first.rollback()
    assert write(second, "lock-1") == 0


def test_acquire_lock_blocks_those_who_ask_for_the_same_category(two):
    first, second = two
    key = sql(first, "SELECT acquire_lock('held-1')")[0][0]
    with pytest.raises(psycopg2.errors.LockNotAvailable):
        sql(second, "SELECT acquire_lock('held-2')")
    with pytest.raises(psycopg2.errors.LockNotAvailable):
        sql(second, "SELECT pg_advisory_xact_lock(%s)", key)
    sql(second, "SELECT acquire_lock('other-1')")
    write(second, "held-2")
    first.rollback()
    assert sql(second, "SELECT acquire_lock('held-2')") == [(key,)]


def test_acquire_lock_of_null_locks_nothing(two):
    first, second = two
    assert sql(first, "SELECT acquire_lock(NULL)") == [(None,)]
    assert sql(second, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]


def test_a_category_read_stops_below_an_open_write_with_a_condition_too(two):
    first, second = two
    write(second, "skip-1")
    write(first, "skip-2")
    write(second, "skip-3")
    sql(second, "SET message_store.sql_condition = on")
    reads = ["SELECT stream_name FROM get_category_messages('skip')",
             "SELECT stream_name FROM get_category_messages('skip', condition => 'position >= 0')"]
    for read in reads:
        assert sql(second, read) == [("skip-1",)]
    first.commit()
    for read in reads:
        assert [stream for stream, in sql(second, read)] == ["skip-1", "skip-2", "skip-3"]


def test_the_functions_need_no_search_path(message_db):
    connection = message_db.connect("ours")
    position = sql(connection,
                   "SELECT message_store.write_message(%s::varchar, 'path-1'::varchar, 'T'::varchar, '{}'::jsonb)",
                   new_id())[0][0]
    assert position == 0
    assert len(sql(connection, "SELECT * FROM message_store.get_category_messages('path')")) == 1


def test_a_message_written_in_the_same_statement_is_seen(ours):
    assert sql(
        ours,
        "SELECT write_message(%s::varchar, 'same-1'::varchar, 'T'::varchar, '{}'::jsonb), stream_version('same-1'), "
        "(SELECT count(*) FROM get_stream_messages('same-1'))", new_id()) == [(0, 0, 1)]
