"""Bytes on disk a message."""
from store import sql

# An entry, its alignment and its pointer; a page of 8 kB has some bytes of its own, and an index some pages.
ENTRIES = {"messages_pkey": 8 + 8 + 4, "messages_category": 8 + 8 + 8 + 4}
APPEND = """SELECT count(millrace.append_messages('load-' || s %% 10, ARRAY(
        SELECT ROW('T', '{}', NULL, NULL)::millrace.new_message FROM generate_series(1, 100)), namespace => %s))
    FROM generate_series(1, 200) s"""


def bytes_a_message(connection, namespace):
    sql(connection, APPEND, namespace)
    return {
        name: sql(connection, f"SELECT pg_relation_size('millrace_{namespace}.{name}') / 20000.0")[0][0]
        for name in ENTRIES
    }


def check_filled(connection, namespace):
    found = bytes_a_message(connection, namespace)
    for name, entry in ENTRIES.items():
        assert entry <= found[name] < 1.08 * entry, name


def test_indexes_that_only_grow_at_their_end_have_full_pages(connection):
    sql(connection, "SELECT millrace.create_namespace('full')")
    check_filled(connection, "full")


def test_an_index_of_categories_that_is_made_anew_has_them_too(connection):
    sql(connection, "SELECT millrace.create_namespace('anew')")
    sql(connection, "DELETE FROM millrace.namespaces WHERE name = 'anew'")
    sql(connection, "DROP INDEX millrace_anew.messages_category")
    sql(connection, "SELECT millrace.register_namespace('anew')")
    check_filled(connection, "anew")
