"""Whoever updates every message by hand, in an open transaction, changes nothing for readers: whole pages, to the
end."""
import pytest

from store import Cluster, sql

MESSAGES = 5000


@pytest.fixture
def connections(folder):
    cluster = Cluster(folder + "/pg", ["autovacuum=off"]).create().start()
    reader = cluster.connect()
    sql(reader, "CREATE EXTENSION millrace")
    sql(reader, "SELECT millrace.install_message_db()")
    sql(reader,
        "CREATE INDEX ON message_store.messages (type)")  # so that an update of it has entries of its own everywhere
    sql(
        reader,
        "SELECT count(millrace.append('a-' || n %% 10, 'T', jsonb_build_object('n', n))) "
        "FROM generate_series(1, %s) AS n",
        2 * MESSAGES)
    yield cluster.connect(), reader
    cluster.stop("immediate")


def exported(reader):
    """Returns how many messages the pages of an export have, and how many pages there are."""
    position, count, pages = 1, 0, 0
    while position is not None:
        page, position = sql(
            reader, "SELECT count, next_position FROM millrace.json_export('default', %s, NULL, NULL, NULL, 200000)",
            position)[0]
        count, pages = count + page, pages + 1
    return count, pages


def check(reader, first, last):
    assert sql(
        reader,
        "SELECT count(*), min(global_position), max(global_position) FROM millrace.read_all(batch_size => -1)") == [
            (MESSAGES, first, last)
        ]
    assert sql(reader, "SELECT count(*) FROM message_store.get_category_messages('a', 0, -1)") == [(MESSAGES,)]
    assert sql(
        reader,
        "SELECT count(*) FROM message_store.get_category_messages('a', 0, -1, condition => 'position >= 0')") == [
            (MESSAGES, )
        ]
    assert sql(reader, "SELECT count, next_position, state FROM millrace.read_pokes('default', NULL, 'a', 0, %s, "
                       "NULL, NULL, false, false, 10000000)", last + 1) == \
        [(MESSAGES, last + 1, "done")]
    assert sql(reader, "SELECT readable, last, xid FROM millrace.read_horizon()") == [(last, last, None)]
    count, pages = exported(reader)
    assert count == MESSAGES and pages < 10


# The new versions come behind the old ones in the table, and so in the indexes, or before them, where room was made.
@pytest.mark.parametrize("kept, first", [("<= 5000", 1), ("> 5000", MESSAGES + 1)])
def test_an_open_update_of_every_message_ends_no_read(connections, kept, first):
    writer, reader = connections
    sql(reader, "SET message_store.sql_condition = on")
    sql(reader, "DELETE FROM message_store.messages WHERE NOT global_position " + kept)
    sql(reader, "VACUUM message_store.messages")
    last = first + MESSAGES - 1
    sql(writer, "BEGIN")
    for kind in ("U", "V"):
        sql(writer, "UPDATE message_store.messages SET type = %s", kind)
        check(reader, first, last)
    sql(writer, "COMMIT")
    check(reader, first, last)
