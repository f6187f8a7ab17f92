"""What the index on global positions shows is in every other index: a reader goes by it how far it may look."""
import threading

from store import sql, wait_until


def test_a_message_is_not_counted_in_the_head_before_its_category_shows_it(cluster):
    """An index on categories with a further column that waits stops an append between two of its index entries."""
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('default')")
    sql(
        connection,
        "CREATE FUNCTION pause(text) RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog AS "
        "$$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN $1; END $$")
    # Indexes are filled in the order in which they were made: now the one on categories would be the last.
    sql(connection, "DROP INDEX millrace_default.messages_category")
    sql(
        connection,
        "CREATE INDEX messages_category ON millrace_default.messages (millrace.category(stream_name), "
        "global_position, public.pause(type))"
    )
    append = "SELECT global_position FROM millrace.append('c-1', 'T', '{}')"
    assert sql(connection, append) == [(1,)]

    holder = cluster.connect()
    sql(holder, "SELECT pg_advisory_lock(42)")
    writer = threading.Thread(target=lambda: sql(cluster.connect(), append))
    writer.start()
    wait_until(lambda: sql(connection, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory'"),
               "an append that is stopped")
    shown = sql(
        connection,
        "SELECT count(*) FROM millrace.read_pokes('default', NULL, 'c', 1, millrace.feed_head('default'), NULL, NULL, "
        "false, false, 10000) WHERE state = 'done'")
    assert sql(connection, "SELECT millrace.feed_head('default')") == [(2,)] and shown == [(1,)]
    sql(holder, "SELECT pg_advisory_unlock(42)")
    writer.join()
    assert sql(connection, "SELECT millrace.feed_head('default')") == [(3,)]
    assert len(sql(connection, "SELECT * FROM millrace.read_category('c')")) == 2
