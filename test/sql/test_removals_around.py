"""Removals and what is around them: privileges, foreign keys, triggers, replication, restarts, dumps, standbys."""
import shutil
import subprocess
import threading

import psycopg2
import pytest

from store import PG_BIN, Cluster, new_id, sql, temporary_folder, wait_until
from test_removals import append, positions, refused

CREATE = "CREATE EXTENSION millrace; SELECT millrace.create_namespace('default')"
SUM = "SELECT md5(string_agg(m::text, '|' ORDER BY global_position)) FROM {}.messages m"


@pytest.fixture
def schema(namespace):
    return "millrace_" + namespace


@pytest.fixture
def connection(connection):
    append(connection, "a-1", 3)
    return connection


# ---- rights -----------------------------------------------------------------------------------------------------


def test_the_right_to_delete_messages_is_enough(connection, schema, role):
    sql(connection, f"GRANT DELETE ON {schema}.messages TO {role}")
    sql(connection, f"SET ROLE {role}")
    assert sql(connection, "SELECT * FROM millrace.remove_stream('a-1')") == [(3, False)]
    assert sql(connection, "SELECT millrace.stream_version('a-1')") == [(2,)]
    refused(connection, "42501", "SELECT millrace.append('a-1', 'T', '{}')")
    refused(connection, "42501", f"SELECT * FROM {schema}.stream_floors")
    sql(connection, "RESET ROLE")
    assert append(connection, "a-1", expected=2) == [3]


def test_a_role_that_may_not_delete_removes_nothing(connection, schema, role):
    sql(connection, f"GRANT INSERT, UPDATE ON {schema}.messages TO {role}")
    sql(connection, f"SET ROLE {role}")
    for query in ("SELECT millrace.remove_stream('a-1')", "SELECT millrace.truncate_stream('a-1', 1)",
                  "SELECT millrace.remove_messages(ARRAY[(SELECT id FROM millrace.read_stream('a-1', 0, 1))])",
                  "SELECT millrace.remove_archived('{}', '{}')"):
        refused(connection, "42501", query)
    sql(connection, "RESET ROLE")
    assert positions(connection, "a-1") == [0, 1, 2]


def test_an_appender_needs_no_right_on_floors(connection, schema, role):
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    sql(connection, f"GRANT INSERT ON {schema}.messages TO {role}; "
                    f"GRANT USAGE ON SEQUENCE {schema}.messages_global_position_seq TO {role}")
    sql(connection, f"SET ROLE {role}")
    refused(connection, "MR001", "SELECT millrace.append('a-1', 'T', '{}', expected_version => -1)")
    assert append(connection, "a-1", expected=2) == [3]


def test_row_security_is_refused(connection, schema, role):
    sql(connection, f"GRANT DELETE ON {schema}.messages TO {role}; "
                    f"ALTER TABLE {schema}.messages ENABLE ROW LEVEL SECURITY; "
                    f"CREATE POLICY p ON {schema}.messages USING (\"position\" < 1)")
    sql(connection, f"SET ROLE {role}")
    refused(connection, "MR010", "SELECT millrace.remove_stream('a-1')")
    sql(connection, "RESET ROLE")
    assert positions(connection, "a-1") == [0, 1, 2]


def test_a_namespace_without_the_tables_gets_them_from_its_owner(connection, schema, role):
    sql(connection, f"DROP TABLE {schema}.stream_floors, {schema}.removed_ids; "
                    f"GRANT DELETE ON {schema}.messages TO {role}")
    assert append(connection, "a-1", expected=2) == [3]
    assert append(connection, "b-1") == [0]
    sql(connection, f"SET ROLE {role}")
    refused(connection, "42501", "SELECT millrace.remove_stream('a-1')")
    sql(connection, "RESET ROLE")
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    assert append(connection, "a-1", expected=3) == [4]
    assert sql(connection, "SELECT DISTINCT tableowner = (SELECT tableowner FROM pg_tables "
                           "WHERE schemaname = %s AND tablename = 'messages') FROM pg_tables WHERE schemaname = %s",
               schema, schema) == [(True,)]


@pytest.mark.parametrize("change, text", [
    ("ALTER TABLE {0}.stream_floors ADD x int", "it has other columns"),
    ("CREATE RULE r AS ON INSERT TO {0}.stream_floors DO INSTEAD NOTHING", "it has triggers or rules"),
    ("ALTER TABLE {0}.stream_floors SET UNLOGGED", "it is unlogged, so a crash empties it"),
    ("ALTER TABLE {0}.stream_floors DROP CONSTRAINT stream_floors_pkey", "it has lost an index"),
    ("CREATE ROLE {1}; ALTER TABLE {0}.stream_floors OWNER TO {1}",
     "it belongs to another role than the messages"),
])
def test_a_table_that_is_not_ours_is_refused(connection, schema, change, text):
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    sql(connection, change.format(schema, "r" + new_id().replace("-", "")))
    for query in ("SELECT millrace.append('a-1', 'T', '{}')", "SELECT millrace.truncate_stream('b-1', 1)"):
        assert refused(connection, "MR010", query).endswith(text)


def test_an_index_that_can_not_be_kept_is_refused(connection, schema):
    sql(connection, f"CREATE INDEX ON {schema}.stream_floors (version) WHERE closed")
    text = refused(connection, "MR010", "SELECT millrace.remove_stream('a-1')")
    assert text.endswith("it has an index on expressions or on a part of its rows")


# ---- what else is on the table ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("action, left", [("", 3), ("ON DELETE CASCADE", 0)])
def test_foreign_keys_to_messages_are_obeyed(connection, schema, action, left):
    sql(connection, f"CREATE TABLE {schema}.notes (id uuid REFERENCES {schema}.messages (id) {action}); "
                    f"INSERT INTO {schema}.notes SELECT id FROM {schema}.messages")
    if left:
        refused(connection, "23503", "SELECT millrace.remove_stream('a-1')")
    else:
        sql(connection, "SELECT millrace.remove_stream('a-1')")
    assert len(positions(connection, "a-1")) == left
    assert sql(connection, f"SELECT count(*) FROM {schema}.notes") == [(left,)]
    assert append(connection, "a-1", expected=2) == [3]


def make_trigger(connection, schema, when, body):
    sql(connection, f"CREATE FUNCTION {schema}.on_delete() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$; "
                    f"CREATE TRIGGER on_delete {when} DELETE ON {schema}.messages FOR EACH ROW "
                    f"EXECUTE FUNCTION {schema}.on_delete()")


def test_triggers_see_each_message_that_goes(connection, schema):
    sql(connection, f"CREATE TABLE {schema}.log (\"position\" bigint)")
    make_trigger(connection, schema, "AFTER", f"INSERT INTO {schema}.log VALUES (OLD.\"position\"); RETURN NULL;")
    sql(connection, "SELECT millrace.truncate_stream('a-1', 2)")
    assert sql(connection, f"SELECT * FROM {schema}.log ORDER BY 1") == [(0,), (1,)]


def test_a_trigger_that_keeps_a_message_keeps_all(connection, schema):
    make_trigger(connection, schema, "BEFORE", "RETURN CASE WHEN OLD.\"position\" = 1 THEN NULL ELSE OLD END;")
    assert refused(connection, "40001", "SELECT millrace.remove_stream('a-1')") == \
        '2 of 3 messages of stream "a-1" were deleted'
    assert positions(connection, "a-1") == [0, 1, 2]
    assert sql(connection, f"SELECT 1 FROM {schema}.stream_floors") == []


def test_a_trigger_that_appends_to_the_stream_uses_no_version_twice(connection, schema):
    make_trigger(connection, schema, "AFTER",
                 "IF OLD.\"position\" = 0 THEN PERFORM millrace.append(OLD.stream_name, 'Gone', '{}'); END IF; "
                 "RETURN NULL;")
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    assert positions(connection, "a-1") == [3]


def test_child_tables_keep_their_rows(connection, schema):
    sql(connection, f"CREATE TABLE {schema}.child () INHERITS ({schema}.messages); "
                    f"INSERT INTO {schema}.child SELECT * FROM ONLY {schema}.messages")
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    assert sql(connection, f"SELECT count(*) FROM {schema}.child") == [(3,)]


def test_another_namespace_with_equal_names_stays_byte_for_byte(database, connection, namespace):
    other = namespace + "o"
    sql(connection, "SELECT millrace.create_namespace(%s)", other)
    for name in (namespace, other):
        sql(connection, "SELECT set_config('millrace.namespace', %s, false)", name)
        for stream in ("a-2", "b-1"):
            append(connection, stream, 3)
    sql(connection, "SELECT set_config('millrace.namespace', %s, false)", namespace)
    append(connection, "a-3", 2)
    before = sql(connection, SUM.format("millrace_" + other))
    sql(connection, "SELECT millrace.remove_stream('a-1'), millrace.truncate_stream('a-2', 2), "
                    "millrace.remove_stream('b-1')")
    sql(connection, "SELECT millrace.remove_messages(ARRAY(SELECT id FROM millrace.read_stream('a-3')))")
    assert sql(connection, SUM.format("millrace_" + other)) == before
    assert sql(connection, f"SELECT 1 FROM millrace_{other}.stream_floors") == []
    assert sql(connection, f"SELECT 1 FROM millrace_{other}.removed_ids") == []
    sql(connection, "SELECT set_config('millrace.namespace', %s, false)", other)
    assert append(connection, "b-1", expected=2) == [3]


@pytest.mark.parametrize("keep", [0, 3])
def test_appends_beside_truncations_lose_no_version_and_readers_see_a_suffix(database, connection, namespace, keep):
    """Eight writers, one that truncates, and a reader in pages that must see the stream without holes."""
    stop = threading.Event()
    written, faults, emptied = [], [], []

    def session():
        own = database.connect()
        sql(own, "SELECT set_config('millrace.namespace', %s, false)", namespace)
        return own

    def write():
        own = session()
        written.extend(row for _ in range(60) for row in append(own, "w-1"))

    def truncate():
        own = session()
        while not stop.is_set() or (keep == 0 and not any(emptied)):  # it may never have been the last
            version = sql(own, "SELECT coalesce(millrace.stream_version('w-1'), 0)")[0][0]
            emptied.append(sql(own, "SELECT first_position = %s FROM millrace.truncate_stream('w-1', %s, 7)",
                               version + 1, max(version + 1 - keep, 0))[0][0])

    def read():
        own = session()
        begin = 0
        while not stop.is_set():
            seen = [row[0] for row in sql(own, "SELECT \"position\" FROM millrace.read_stream('w-1', %s, 5)", begin)]
            if seen != list(range(seen[0], seen[0] + len(seen)) if seen else []):
                faults.append(seen)
            begin = seen[-1] + 1 if seen else 0

    others = [threading.Thread(target=each) for each in (truncate, read)]
    writers = [threading.Thread(target=write) for _ in range(8)]
    for each in others + writers:
        each.start()
    for each in writers:
        each.join()
    stop.set()
    for each in others:
        each.join()
    assert sorted(written) == list(range(480))
    assert faults == []
    assert any(emptied) == (keep == 0)
    assert sql(connection, "SELECT millrace.stream_version('w-1')") == [(479,)]


# ---- the server ----------------------------------------------------------------------------------------------------


@pytest.fixture
def own(cluster):
    connection = cluster.connect()
    sql(connection, CREATE)
    append(connection, "a-1", 5)
    append(connection, "b-1", 2)
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    yield connection
    connection.close()


def check_removed(connection):
    assert positions(connection, "a-1") == []
    assert sql(connection, "SELECT millrace.stream_version('a-1')") == [(4,)]
    refused(connection, "MR001", "SELECT millrace.append('a-1', 'T', '{}', expected_version => -1)")
    assert append(connection, "a-1", expected=4) == [5]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_versions_stay_after_a_restart(cluster, own, mode):
    own.close()
    cluster.stop(mode)
    cluster.start()
    check_removed(cluster.connect())


def test_a_crash_before_the_commit_leaves_all(cluster, own):
    sql(own, "BEGIN")
    sql(own, "SELECT millrace.remove_stream('b-1')")
    sql(cluster.connect(), "CHECKPOINT")
    cluster.stop("immediate")
    cluster.start()
    connection = cluster.connect()
    assert positions(connection, "b-1") == [0, 1]
    assert append(connection, "b-1", expected=1) == [2]
    check_removed(connection)


def test_versions_stay_in_a_dump(cluster, own):
    sql(own, "SELECT millrace.close_stream('c-1'), millrace.remove_stream('c-1')")
    before = sql(own, "SELECT * FROM millrace.removals ORDER BY id")
    dump = cluster.folder / "dump"
    subprocess.run([f"{PG_BIN}/pg_dump", "-d", cluster.conninfo(), "-Fc", "-f", dump], check=True)
    sql(own, "CREATE DATABASE target")
    subprocess.run([f"{PG_BIN}/pg_restore", "--exit-on-error", "-d", cluster.conninfo("target"), dump], check=True)
    target = cluster.connect("target")
    check_removed(target)
    refused(target, "MR021", "SELECT millrace.append('c-1', 'T', '{}')")
    assert sql(target, "SELECT * FROM millrace.removals ORDER BY id") == before
    sql(target, "SELECT millrace.remove_stream('b-1')")  # its row of removals has a new id


def test_versions_stay_on_a_standby_that_is_promoted(cluster, own):
    folder = temporary_folder()
    standby = Cluster(folder + "/pg").copy_of(cluster).start()
    try:
        reader = standby.connect()
        assert sql(reader, "SELECT millrace.stream_version('a-1')") == [(4,)]
        sql(own, "SELECT millrace.remove_stream('b-1')")
        wait_until(lambda: positions(reader, "b-1") == [], "the removal")
        assert sql(reader, "SELECT millrace.stream_version('b-1')") == [(1,)]
        refused(reader, "25006", "SELECT millrace.remove_stream('a-1')")
        sql(reader, "SELECT pg_promote()")
        wait_until(lambda: sql(reader, "SELECT NOT pg_is_in_recovery()")[0][0], "the promotion")
        check_removed(reader)
        assert append(reader, "b-1", expected=1) == [2]
    finally:
        standby.stop("immediate")
        shutil.rmtree(folder)


def test_a_namespace_that_is_registered_again_knows_its_versions(cluster, own):
    sql(own, "DROP EXTENSION millrace CASCADE; CREATE EXTENSION millrace")
    sql(own, "SELECT millrace.register_namespace('default')")
    check_removed(own)


def test_subscribers_of_logical_replication_lose_the_messages_too(folder):
    cluster = Cluster(folder + "/pg", ["wal_level=logical"]).create().start()
    try:
        connection = cluster.connect()
        sql(connection, CREATE)
        append(connection, "a-1", 2)
        sql(connection, "CREATE PUBLICATION p FOR TABLE millrace_default.messages")
        sql(connection, "ALTER TABLE millrace_default.messages REPLICA IDENTITY NOTHING")
        refused(connection, "55000", "SELECT millrace.remove_stream('a-1')")
        assert positions(connection, "a-1") == [0, 1]
        sql(connection, "ALTER TABLE millrace_default.messages REPLICA IDENTITY DEFAULT")
        sql(connection, "SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
        sql(connection, "SELECT millrace.remove_stream('a-1')")
        changes = sql(connection, "SELECT get_byte(data, 0) FROM pg_logical_slot_get_binary_changes('s', NULL, NULL, "
                                  "'proto_version', '1', 'publication_names', 'p')")
        assert [change for (change,) in changes].count(ord("D")) == 2
    finally:
        cluster.stop("immediate")


# ---- Message DB ----------------------------------------------------------------------------------------------------

WRITE = "SELECT message_store.write_message(%s::varchar, 'a-1'::varchar, 'T'::varchar, '{}'::jsonb, NULL::jsonb, %s)"


@pytest.mark.parametrize("adopted", [False, True])
def test_message_dbs_writers_know_the_version_of_a_stream_that_is_gone(cluster, adopted):
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace; SELECT millrace.install_message_db()")
    if adopted:
        sql(connection, "DROP TABLE message_store.stream_floors, message_store.removed_ids")
    for _ in range(5):
        sql(connection, WRITE, new_id(), None)
    last = sql(connection, "SELECT id FROM message_store.get_last_stream_message('a-1')")[0][0]
    sql(connection, "SELECT millrace.truncate_stream('a-1', 5)")
    user = psycopg2.connect(cluster.conninfo() + " user=message_store options='-c search_path=message_store'")
    user.autocommit = True
    assert sql(user, "SELECT stream_version('a-1')") == [(4,)]
    assert refused(user, "P0001", WRITE, new_id(), -1) == \
        "Wrong expected version: -1 (Stream: a-1, Stream Version: 4)"
    assert refused(user, "P0001", WRITE.replace("'T'::varchar", "NULL"), new_id(), -1) == \
        "Wrong expected version: -1 (Stream: a-1, Stream Version: 4)"
    assert refused(user, "23505", WRITE, last, None) == f"message id {last} was removed"
    assert sql(user, WRITE, new_id(), 4) == [(5,)]
    assert sql(user, WRITE, new_id(), None) == [(6,)]
    sql(connection, "SELECT millrace.close_stream('a-1')")
    assert refused(user, "P0001", WRITE, new_id(), None) == "Stream is closed: a-1"
    refused(user, "MR024", WRITE.replace("'T'", "'millrace.x'").replace("a-1", "b-1"), new_id(), None)
    user.close()
