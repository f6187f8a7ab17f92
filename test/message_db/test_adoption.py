"""A full Message DB is adopted in place: no row is copied, no client changed, and HTTP serves the same streams at
once."""
import threading
import time

import psycopg2
import pytest

import peer
from catalogue import catalogue, difference
from installation import RELEASED
from peer import as_client
from store import Server, new_id, sql, token_for, wait_until

MESSAGES = 1_000_000
SUM = (
    "SELECT count(*), sum(global_position), sum(hashtextextended(concat_ws('|', global_position, position, time, "
    "stream_name, type, data, metadata, id), 0)) FROM message_store.messages")


@pytest.fixture(scope="module")
def full(message_db, package):
    """A Message DB with a million messages in 1000 streams of ten categories."""
    peer.install(package, message_db, "full")
    connection = message_db.connect("full")
    sql(connection, "SET synchronous_commit = off")
    sql(connection, "DROP INDEX message_store.messages_category")
    sql(
        connection, "INSERT INTO message_store.messages (position, stream_name, type, data, metadata) "
                    "SELECT n / 1000, 'c' || n %% 10 || '-' || n %% 1000, 'T' || n %% 3, jsonb_build_object('n', n), "
                    "CASE WHEN n %% 2 = 0 THEN jsonb_build_object('correlationStreamName', 'd' || n %% 5 || '-1') END "
                    "FROM generate_series(0, %s - 1) n",
        MESSAGES)
    # As indexes/messages-category.sql of the package makes it; made last, it takes less time.
    sql(
        connection,
        "CREATE INDEX messages_category ON message_store.messages (message_store.category(stream_name), "
        "global_position, message_store.category(metadata->>'correlationStreamName'))")
    sql(connection, "CREATE EXTENSION millrace")
    return message_db


@pytest.fixture(scope="module")
def adopted(full):
    connection = full.connect("full")
    before = sql(connection, SUM)
    files = sql(
        connection,
        "SELECT oid::regclass::text, pg_relation_filenode(oid) FROM pg_class "
        "WHERE relnamespace = 'message_store'::regnamespace AND relkind IN ('r', 'i', 'S') ORDER BY 1"
    )
    start = time.monotonic()
    assert sql(connection, "SELECT millrace.install_message_db()") == [("adopted",)]
    seconds = time.monotonic() - start
    print(f"{before[0][0]} messages adopted in {seconds:.3f} s")
    assert before[0][0] == MESSAGES and seconds < 2
    assert sql(connection, SUM) == before
    assert sql(
        connection,
        "SELECT oid::regclass::text, pg_relation_filenode(oid) FROM pg_class "
        "WHERE relnamespace = 'message_store'::regnamespace AND relkind IN ('r', 'i', 'S') "
        "AND relname !~ '^(stream_floors|removed_ids)' ORDER BY 1"
    ) == files
    return full


def test_messages_are_looked_up_by_id_and_time_and_the_figures_are_cheap(adopted):
    connection = adopted.connect("full")
    row = "SELECT id, time, global_position FROM message_store.messages WHERE global_position = 654321"
    ((id, at, position), ) = sql(connection, row)
    assert sql(connection, "SELECT global_position FROM millrace.get_message(%s)", id) == [(position, )]
    # They were stored by one statement, and have one time.
    assert sql(connection, "SELECT millrace.position_at(%s::timestamp AT TIME ZONE 'UTC')", at) == [(1, )]
    assert sql(connection, "SELECT millrace.position_at('infinity') - millrace.head()") == [(1, )]
    writer = adopted.connect("full")
    sql(writer, "BEGIN")
    sql(writer, "SELECT millrace.append('held-1', 'T', '{}')")
    figures = "SELECT (millrace.json_namespace_stats('default')::jsonb->'heldBack'->>'from')::bigint"
    assert sql(connection, figures) == sql(connection, "SELECT millrace.head() + 1")
    begin = time.monotonic()
    for _ in range(20):
        sql(connection, figures)
    assert (time.monotonic() - begin) / 20 < 0.05, "no call reads the table"
    sql(writer, "ROLLBACK")


def test_clients_are_answered_as_before(adopted):
    client = as_client(adopted, "full")
    assert sql(client, "SELECT stream_version('c7-7'), (SELECT count(*) FROM get_stream_messages('c7-7', 10, -1)), "
               "(SELECT data FROM get_last_stream_message('c7-7'))") == [(999, 990, '{"n": 999007}')]
    for member in range(4):
        sql(client, "SET message_store.sql_condition = on")
        found = [
            row[0] for row in sql(
                client,
                "SELECT global_position FROM get_category_messages('c3', 500000, 500, correlation => 'd3', "
                "consumer_group_member => %s, consumer_group_size => 4)",
                member)
        ]
        plain = [
            row[0] for row in sql(
                client,
                "SELECT global_position FROM messages WHERE category(stream_name) = 'c3' AND global_position >= 500000 "
                "AND category(metadata->>'correlationStreamName') = 'd3' "
                "AND mod(@hash_64(cardinal_id(stream_name)), 4) = %s ORDER BY 1 LIMIT 500",
                member)
        ]
        assert found == plain
    client.close()


def test_both_sides_append_and_http_reads_the_same(adopted):
    token = token_for("default")
    server = Server("--database", adopted.conninfo("full"), "--token", token, token=token)
    try:
        http, client = server.client(), as_client(adopted, "full")
        assert http.call("stream.version", "c7-7") == 999
        assert [message[4] for message in http.call("stream.get", "c7-7", {"position": 997})] == [{"n": 997007},
                                                                                                  {"n": 998007},
                                                                                                  {"n": 999007}]
        assert len(http.call("category.get", "c7", {"batchSize": 10})) == 10
        written = []

        def by_sql():
            for _ in range(50):
                written.append(
                    sql(client, "SELECT write_message(%s::varchar, 'c7-7'::varchar, 'SQL'::varchar, '{}'::jsonb)",
                        new_id())[0][0])

        thread = threading.Thread(target=by_sql)
        thread.start()
        over_http = [http.write("c7-7", type="HTTP")["position"] for _ in range(50)]
        thread.join()
        assert sorted(written + over_http) == list(range(1000, 1100))
        tail = http.call("stream.get", "c7-7", {"position": 1000})
        assert [message[2] for message in tail] == list(range(1000, 1100))
        assert {message[2] for message in tail if message[1] == "SQL"} == set(written)
        assert sql(client, "SELECT type, position FROM get_stream_messages('c7-7', 1000)") == [(message[1], message[2])
                                                                                               for message in tail]
        with pytest.raises(psycopg2.errors.RaiseException, match="Wrong expected version: 3 "):
            sql(client,
                "SELECT write_message(%s::varchar, 'c7-7'::varchar, 'T'::varchar, '{}'::jsonb, NULL, 3::bigint)",
                new_id())
        streams = http.call("ns.streams", {"prefix": "c7-", "limit": 3})
        assert [stream["stream"] for stream in streams] == ["c7-107", "c7-117", "c7-127"]
    finally:
        server.stop()


def test_it_is_read_from_the_end(adopted):
    connection, holder = adopted.connect("full"), adopted.connect("full")
    sql(holder, "BEGIN")
    sql(holder, "SELECT millrace.append('held-1', 'T', '{}')")
    sql(connection, "SELECT millrace.append('c3-held', 'T', '{}')")
    newest = "FROM message_store.messages WHERE stream_name %s AND global_position <= %s ORDER BY %s DESC LIMIT 500"
    for call, plain in (
            ("read_category('c3', 900000, 500, direction => 'backward')",
             newest % ("LIKE 'c3-%'", 900000, "global_position")),
            ("read_category('c3', NULL, 500, direction => 'backward')",
             newest % ("LIKE 'c3-%' AND stream_name <> 'c3-held'", "1000000000", "global_position")),
            ("read_stream('c7-7', 900, 500, direction => 'backward')",
             newest.replace("global_position", "position") % ("= 'c7-7'", 900, "position"))):
        query = f"SELECT global_position FROM millrace.{call}"
        assert sql(connection, query) == sql(connection, "SELECT global_position " + plain), call
    listed = sql(connection, "SELECT stream FROM millrace.recent_streams(2000)")
    assert len(listed) == 1000 and ("c3-held",) not in listed
    sql(holder, "ROLLBACK")
    assert sql(connection, "SELECT stream FROM millrace.recent_streams(1)") == [("c3-held",)]


def test_it_can_be_run_again(adopted):
    connection = adopted.connect("full")
    before = sql(connection, SUM)
    assert sql(connection, "SELECT millrace.install_message_db()") == [("adopted",)]
    assert sql(connection, SUM) == before


def test_leaving_keeps_the_table_whole(adopted, package):
    connection = adopted.connect("full")
    before = sql(connection, SUM)
    sql(connection, "DROP EXTENSION millrace CASCADE")
    assert sql(connection, SUM) == before
    peer.run_script(package, adopted, "full", "install-functions.sh")
    sql(connection, "DROP FUNCTION message_store.millrace_read_support")
    client = as_client(adopted, "full")
    assert sql(client, "SELECT stream_version('c8-8')") == [(999,)]
    assert sql(client, "SELECT write_message(%s::varchar, 'c8-8'::varchar, 'T'::varchar, '{}'::jsonb)",
               new_id()) == [(1000, )]
    assert len(sql(client, "SELECT * FROM get_category_messages('c7', batch_size => 5)")) == 5


def test_a_write_that_has_begun_before_finishes_after(message_db, package):
    database = "overtaken"
    peer.install(package, message_db, database)
    sql(message_db.connect(database), "CREATE EXTENSION millrace")
    writer, holder = as_client(message_db, database), as_client(message_db, database)
    holder.autocommit = False
    sql(holder, "SELECT acquire_lock('c-1')")
    written = []
    thread = threading.Thread(target=lambda: written.append(
        sql(writer, "SELECT write_message(%s::varchar, 'c-1'::varchar, 'T'::varchar, '{}'::jsonb)", new_id())[0][0]))
    thread.start()
    observer = message_db.connect(database)
    wait_until(lambda: sql(observer, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"),
               "the writer is in Message DB's function")
    assert sql(observer, "SELECT millrace.install_message_db()") == [("adopted",)]
    assert sql(observer, "SELECT message_store.write_message(%s, 'c-1', 'T', '{}')", new_id()) == [(0,)]
    holder.rollback()
    thread.join()
    assert written == [1]
    assert sql(observer, "SELECT position FROM message_store.get_category_messages('c')") == [(0,), (1,)]


@pytest.mark.parametrize("change, reason", [
    ("ALTER TABLE message_store.messages ADD COLUMN extra int",
     "the columns of message_store.messages are not Message DB's"),
    ("ALTER TABLE message_store.messages ALTER data TYPE json",
     "the columns of message_store.messages are not Message DB's"),
    ("DROP FUNCTION message_store.write_message",
     "the functions in schema message_store are not those of Message DB 1.3"),
    ("DROP INDEX message_store.messages_stream", "indexes of message_store.messages are missing: messages_stream"),
    ("ALTER TABLE message_store.messages RENAME TO old; "
     "CREATE VIEW message_store.messages AS SELECT * FROM message_store.old",
     "message_store.messages is not a table"),
])
def test_a_schema_that_it_does_not_understand_is_refused(message_db, package, change, reason):
    database = "odd" + new_id().replace("-", "")
    peer.install(package, message_db, database)
    connection = message_db.connect(database)
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, change)
    with pytest.raises(psycopg2.Error) as error:
        sql(connection, "SELECT millrace.install_message_db()")
    assert error.value.pgcode == "MR010" and reason in str(error.value)
    connection.close()


def test_a_default_namespace_with_messages_is_not_replaced(message_db):
    sql(message_db.connect(), "CREATE DATABASE used")
    connection = message_db.connect("used")
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('default')")
    sql(connection, "SELECT millrace.append('a-1', 'T', '{}')")
    with pytest.raises(psycopg2.Error, match='namespace "default" already holds 1 messages'):
        sql(connection, "SELECT millrace.install_message_db()")
    assert sql(connection, "SELECT to_regnamespace('message_store')") == [(None,)]


def test_an_empty_default_namespace_moves_in_other_sessions_too(message_db):
    sql(message_db.connect(), "CREATE DATABASE moved")
    connection, other = message_db.connect("moved"), message_db.connect("moved")
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('default')")
    assert sql(other, "SELECT * FROM millrace.read_all()") == []
    sql(connection, "SELECT millrace.install_message_db()")
    sql(other, "SELECT millrace.append('a-1', 'T', '{}')")
    assert sql(connection, "SELECT stream_name FROM message_store.get_category_messages('a')") == [("a-1",)]


@pytest.mark.parametrize("version", RELEASED)
def test_what_an_older_version_adopted_is_updated(old, package, version):
    for database, with_version in (("updated", f"VERSION '{version}'"), ("fresh", "")):
        peer.install(package, old, database)
        sql(old.connect(database), f"CREATE EXTENSION millrace {with_version}")
        assert sql(old.connect(database), "SELECT millrace.install_message_db()") == [("adopted",)]
    updated = old.connect("updated")
    sql(updated, "ALTER EXTENSION millrace UPDATE")
    sql(updated, "SELECT millrace.create_floors('message_store')")
    assert difference(catalogue(old.connect("fresh"), "message_store"), catalogue(updated, "message_store")) == {}
    assert sql(as_client(old, "updated"),
               "SELECT write_message(%s::varchar, 'a-1'::varchar, 'T'::varchar, '{}'::jsonb)", new_id()) == [(0, )]
