"""A Message DB that was adopted: truncated, removed, closed, redacted, swept and archived, with dumps in between."""
import hashlib
import json
import subprocess

import psycopg2
import pytest
from sweeping import refused

from store import PG_BIN, ZERO_TOKEN, Server, new_id, sql

WRITE = "SELECT write_message(%s::varchar, %s::varchar, 'T'::varchar, %s::jsonb, NULL::jsonb, %s)"
BY_PLACE = "SELECT id FROM message_store.messages WHERE stream_name = %s AND position = %s"
STORE = "SELECT md5(string_agg(m::text, '|' ORDER BY global_position)) FROM message_store.messages m"


class Adopted:
    """The database of an adopted Message DB, which moves to the restore of its dump."""

    def __init__(self, cluster):
        self.cluster, self.database, self.dumps = cluster, "postgres", 0
        self.connect()

    def connect(self):
        self.admin = self.cluster.connect(self.database)
        self.user = psycopg2.connect(self.cluster.conninfo(self.database) +
                                     " user=message_store options='-c search_path=message_store'")
        self.user.autocommit = True

    def move(self):
        """Dumps the database, and goes on in what is restored of it."""
        before = sql(self.admin, STORE)
        dump, self.dumps = self.cluster.folder / f"dump{self.dumps}", self.dumps + 1
        subprocess.run([f"{PG_BIN}/pg_dump", "-d", self.cluster.conninfo(self.database), "-Fc", "-f", dump], check=True)
        self.database = f"restored{self.dumps}"
        sql(self.cluster.connect(), f"CREATE DATABASE {self.database}")
        subprocess.run([f"{PG_BIN}/pg_restore", "--exit-on-error", "-d", self.cluster.conninfo(self.database), dump],
                       check=True)
        self.connect()
        assert sql(self.admin, STORE) == before

    def write(self, stream, data="{}", expected=None, id=None):
        return sql(self.user, WRITE, id or new_id(), stream, data, expected)[0][0]

    def positions(self, stream):
        return [row[0] for row in sql(self.user, "SELECT position FROM get_stream_messages(%s)", stream)]


@pytest.fixture
def adopted(cluster):
    """As Message DB leaves it: without our tables, with statistics, with messages that it has written."""
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace; SELECT millrace.install_message_db()")
    sql(connection, "DROP EXTENSION millrace CASCADE")
    sql(connection, "DROP TABLE message_store.stream_floors, message_store.removed_ids; "
                    "ALTER TABLE message_store.messages ALTER stream_name SET STATISTICS -1, "
                    "ALTER data SET STATISTICS -1, ALTER metadata SET STATISTICS -1")
    sql(connection, "INSERT INTO message_store.messages (stream_name, position, type, data) SELECT 'a-' || s, p, 'T', "
                    "jsonb_build_object('secret', p) FROM generate_series(1, 4) s, generate_series(0, 4) p")
    sql(connection, "CREATE EXTENSION millrace")
    assert sql(connection, "SELECT millrace.install_message_db()") == [("adopted",)]
    return Adopted(cluster)


@pytest.mark.parametrize("dumped", [False, True])
def test_everything_that_keeps_less(adopted, dumped):
    def move():
        if dumped:
            adopted.move()

    sql(adopted.admin, "SELECT millrace.truncate_stream('a-1', 3)")
    removed = sql(adopted.admin, BY_PLACE, "a-2", 1)[0][0]
    sql(adopted.admin, "SELECT millrace.remove_stream('a-2', 4)")
    move()
    assert adopted.positions("a-1") == [3, 4] and adopted.positions("a-2") == []
    assert refused(adopted.user, "P0001", WRITE, new_id(), "a-2", "{}", -1).message_primary == \
        "Wrong expected version: -1 (Stream: a-2, Stream Version: 4)"
    assert refused(adopted.user, "23505", WRITE, removed, "a-2", "{}", None).message_primary == \
        f"message id {removed} was removed"
    assert adopted.write("a-2", expected=4) == 5
    sql(adopted.admin, "SELECT millrace.close_stream('a-2')")
    sql(adopted.admin, "SELECT millrace.remove_stream('a-2')")
    sql(adopted.admin, "SELECT millrace.redact_stream('a-3')")
    kept = sql(adopted.admin, BY_PLACE, "a-3", 2)[0][0]
    move()
    said = refused(adopted.user, "P0001", WRITE, new_id(), "a-2", "{}", None).message_primary
    assert said == "Stream is closed: a-2"
    refused(adopted.user, "23505", WRITE, kept, "a-3", '{"secret": 2}', None)
    assert sql(adopted.admin, "SELECT \"position\" FROM millrace.append('a-3', 'T', '{\"secret\": 2}', id => %s)",
               kept) == [(2,)]
    assert sql(adopted.user, "SELECT DISTINCT data, metadata FROM get_stream_messages('a-3')") == \
        [("{}", '{"millrace.redacted": true}')]
    sql(adopted.admin, "SELECT millrace.set_retention('a', max_count => 2)")
    while sql(adopted.admin, "SELECT more FROM millrace.sweep()")[0][0]:
        pass
    move()
    assert [adopted.positions(f"a-{n}") for n in range(1, 5)] == [[3, 4], [], [3, 4], [3, 4]]
    sql(adopted.admin, "UPDATE message_store.messages SET time = time - interval '10 days'")
    sql(adopted.admin, "SELECT millrace.set_retention('a', max_age => '5 days')")
    while sql(adopted.admin, "SELECT more FROM millrace.sweep()")[0][0]:
        pass
    move()
    assert sql(adopted.user, "SELECT count(*) FROM get_category_messages('a')") == [(0,)]
    versions = {1: 4, 2: 6, 3: 4, 4: 4}
    assert {n: sql(adopted.user, "SELECT stream_version(%s)", f"a-{n}")[0][0] for n in versions} == versions
    assert [adopted.write(f"a-{n}", expected=4) for n in (1, 3, 4)] == [5, 5, 5]
    assert sql(adopted.user, "SELECT min(global_position) > 20 FROM get_category_messages('a')") == [(True,)]
    sql(adopted.admin, "ANALYZE")
    assert sql(adopted.admin, "SELECT attname FROM pg_stats WHERE schemaname = 'message_store' AND "
                              "tablename = 'messages' AND attname IN ('stream_name', 'data', 'metadata')") == []


def test_it_is_archived_and_comes_back_over_http(adopted):
    """And what was archived before a dump is removed after it."""
    server = Server("--database", adopted.cluster.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    try:
        before = server.client().request("GET", "/export").body
    finally:
        server.stop()
    lines = [line for line in before.splitlines() if json.loads(line)["stream"] in ("a-1", "a-4")]
    adopted.move()
    server = Server("--database", adopted.cluster.conninfo(adopted.database), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    try:
        client = server.client()
        archived = [{"id": json.loads(line)["id"], "sha256": hashlib.sha256(line).hexdigest()} for line in lines]
        assert client.call("messages.remove", archived) == {"removed": 10, "missing": 0}
        assert [adopted.positions(f"a-{n}") for n in (1, 4)] == [[], []]
        assert refused(adopted.user, "P0001", WRITE, new_id(), "a-1", "{}", -1).message_primary == \
            "Wrong expected version: -1 (Stream: a-1, Stream Version: 4)"
        reply = client.request("POST", "/import", b"\n".join(lines))
        assert b'"done":true,"imported":10' in reply.body, reply.body
        assert client.request("GET", "/export").body == before
        assert adopted.write("a-1", expected=4) == 5
    finally:
        server.stop()
