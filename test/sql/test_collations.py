"""An adopted table whose names have a language's collation."""
import pytest

from store import sql

NAMES = [
    "account-1", "Account-2", "account-Ä", "account-3", "account", "accounting-1", "ACCOUNT-4", "zebra-1", "Äther-1",
    "account-10"
]


@pytest.mark.parametrize("collation", ["en-x-icu", "sv-x-icu", "default", "C"])
def test_streams_are_listed_whole_and_in_byte_order(cluster, collation):
    connection = cluster.connect()
    if sql(connection, "SELECT count(*) FROM pg_collation WHERE collname = %s", collation) == [(0,)]:
        pytest.skip("a PostgreSQL without ICU")
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('default')")
    sql(connection, f'ALTER TABLE millrace_default.messages ALTER COLUMN stream_name TYPE text COLLATE "{collation}"')
    names = NAMES + [f"many-{n}" for n in range(3000)]
    for name in NAMES:
        sql(connection, "SELECT millrace.append(%s, 'T', '{}'), millrace.append(%s, 'T', '{}')", name, name)
    sql(connection, "SELECT millrace.append('many-' || n, 'T', '{}') FROM generate_series(0, 2999) n")

    def listed(*arguments):
        return sql(connection,
                   f"SELECT stream, version FROM millrace.list_streams({', '.join(['%s'] * len(arguments))})",
                   *arguments)

    for prefix in ("", "account", "account-", "A", "many-1", "none"):
        wanted = sorted((name for name in names if name.startswith(prefix)), key=str.encode)
        assert [name for name, _ in listed(prefix, 10000)] == wanted, prefix
        assert [name for name, _ in listed(prefix, 3)] == wanted[:3], prefix
        assert listed(prefix, 0) == []
        paged, last = [], None
        while page := [name for name, _ in listed(prefix, 1100, last)]:
            paged, last = paged + page, page[-1]
        assert paged == wanted, prefix
    assert listed("account-1", 1) == [("account-1", 1)]
    assert [name for name, _ in listed("", 2, "account")] == ["account-1", "account-10"]
