"""The index of tags has what the table has, whatever is done to either."""
import json
import random
import re
import struct
import subprocess
import threading
import uuid

import psycopg2
import pytest

from store import PG_BIN, Cluster, need_library, sql, temporary_folder, wait_until

TABLE = "millrace_default.messages"
INDEX = "millrace_default.messages_tags"
BY_HAND = f"CREATE INDEX CONCURRENTLY messages_tags ON {TABLE} USING millrace_tags " \
    "(millrace.tag_hashes_1(metadata, type), global_position)"
TAGGED = "jsonb_build_object('tags', jsonb_build_array('t' || n, 'u' || n % 7, 'v' || n % 3))"
APPEND = f"SELECT count(millrace.append('s-' || n %% 50, 'T' || n %% 3, '{{}}', {TAGGED.replace('%', '%%')})) " \
    "FROM generate_series(%s, %s) n"
ODD = ["null", "7", '"tags"', "[]", '["tags"]', "{}", '{"tags": null}', '{"tags": "a"}', '{"tags": {"a": 1}}',
       '{"tags": []}', '{"tags": [1, null, ["a"], {"tags": ["b"]}]}', '{"tags": ["a", "a", ""]}']


def prepare(connection, index=True):
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('default')")
    if index:
        assert sql(connection, "SELECT millrace.index_tags()") == [(True,)]


def insert_odd(connection):
    """What write_message and other programs may leave in metadata; a row has 2,000 tags."""
    for metadata in [None, *ODD]:
        sql(connection, f"INSERT INTO {TABLE} (position, stream_name, type, metadata) "
            "VALUES (0, 'odd-' || gen_random_uuid(), 'O', %s)",
            metadata)
    sql(
        connection, f"INSERT INTO {TABLE} (position, stream_name, type, metadata) "
        "SELECT 0, 'odd-' || gen_random_uuid(), 'O', jsonb_build_object('tags', jsonb_agg('many ' || n)) "
        "FROM generate_series(1, 2000) n")


def faults(connection):
    return sql(connection, "SELECT * FROM millrace.check_tags()")


def as_btree(connection, statement, *arguments):
    """Runs a statement of contrib's while the index says that it is nbtree's."""
    sql(connection, "BEGIN")
    sql(
        connection,
        "UPDATE pg_class SET relam = (SELECT oid FROM pg_am WHERE amname = 'btree') WHERE oid = %s::regclass", INDEX)
    rows = sql(connection, statement, *arguments)
    sql(connection, "ROLLBACK")
    return rows


def check(connection):
    """Nothing is missing or superfluous, and the tree is in order."""
    assert faults(connection) == []
    if sql(connection, "SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'"):
        sql(connection, "CREATE EXTENSION IF NOT EXISTS amcheck")
        as_btree(connection, "SELECT bt_index_parent_check(%s, false, true)", INDEX)


class Load:
    """Sessions that append, alone and many at a time, roll back, update and delete until the end of the block."""

    def __init__(self, cluster, sessions=3):
        self.cluster, self.ending, self.errors, self.done = cluster, threading.Event(), [], 0
        self.threads = [threading.Thread(target=self._work, args=(n,)) for n in range(sessions)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.wait(20)
        return self

    def __exit__(self, *error):
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def wait(self, more=20):
        goal = self.done + more
        wait_until(lambda: self.done >= goal or self.errors, "the load")

    def _work(self, number):
        try:
            connection, dice = self.cluster.connect(), random.Random(number)
            while not self.ending.is_set():
                self._step(connection, dice, number)
                self.done += 1
        except psycopg2.Error as error:
            self.errors.append(error)

    def _step(self, connection, dice, number):
        first = dice.randrange(1000)
        what = dice.choice(["one", "one", "many", "aborted", "update", "data", "delete"])
        sql(connection, "BEGIN")
        if what in ("one", "many", "aborted"):
            statement = APPEND.replace("'s-'", f"'load{number}-'")  # or two would lock each other's streams
            sql(connection, statement, first, first + (0 if what == "one" else 30))
        elif what == "delete":
            sql(connection, f"DELETE FROM {TABLE} WHERE global_position = (SELECT min(global_position) FROM {TABLE})")
        else:
            change = "metadata = '{\"tags\": [\"new\", \"other\"]}'" if what == "update" else "data = '{\"n\": 1}'"
            sql(connection, f"UPDATE {TABLE} SET {change} WHERE global_position = (SELECT max(global_position) - 40 "
                f"FROM {TABLE})")
        sql(connection, "ROLLBACK" if what == "aborted" else "COMMIT")


@pytest.fixture
def tagged(cluster):
    connection = cluster.connect()
    prepare(connection)
    return connection


@pytest.fixture
def restartable():
    settings = ["max_prepared_transactions=5", "autovacuum_naptime=1"]
    cluster = Cluster(temporary_folder() + "/pg", settings).create().start()
    prepare(cluster.connect())
    yield cluster
    cluster.stop("immediate")


def entries(connection):
    """Every entry on the index's leaves, read from its pages."""
    sql(connection, "CREATE EXTENSION IF NOT EXISTS pageinspect")
    rows = as_btree(
        connection, "SELECT i.data, i.htid::text FROM generate_series(1, pg_relation_size(%s) / 8192 - 1) AS b, "
        "bt_page_stats(%s, b::int) AS s, bt_page_items(%s, b::int) AS i "
        "WHERE s.type IN ('l', 'r') AND btpo_level = 0 AND (btpo_next = 0 OR i.itemoffset > 1)", INDEX, INDEX, INDEX)
    return [(*struct.unpack("=qq", bytes.fromhex(data)), tid) for data, tid in rows]


# The table and the index


def test_a_built_index_and_one_that_grew_have_the_entries_of_all_rows(cluster):
    need_library("pageinspect")
    connection = cluster.connect()
    prepare(connection, index=False)
    sql(connection, APPEND, 1, 2000)
    insert_odd(connection)
    demanded = "SELECT unnest(millrace.tag_hashes_1(metadata, type)), global_position, ctid::text FROM " + TABLE
    for build in ("SELECT millrace.index_tags()", f"TRUNCATE {TABLE}"):
        sql(connection, build)
        sql(connection, APPEND, 1, 2000)
        insert_odd(connection)
        check(connection)
        assert sorted(entries(connection)) == sorted(sql(connection, demanded))


def test_check_tags_finds_what_is_missing_and_what_is_superfluous(tagged):
    def ready(value):
        sql(tagged, "UPDATE pg_index SET indisready = %s WHERE indexrelid = %s::regclass", value, INDEX)

    sql(tagged, APPEND, 1, 100)
    ready(False)  # so that neither appends nor VACUUM care for it
    sql(tagged, "SELECT millrace.append('s-1', 'missing', '{}', '{\"tags\": [\"m\"]}')")
    ready(True)
    hashes = sql(tagged, "SELECT unnest(millrace.tag_hashes_1('{\"tags\": [\"m\"]}', 'missing'))")
    assert sorted(faults(tagged)) == [("messages_tags", "missing", hash, 101) for hash, in sorted(hashes)]
    sql(tagged, f"REINDEX INDEX {INDEX}")
    assert faults(tagged) == []

    ready(False)
    sql(tagged, f"DELETE FROM {TABLE} WHERE global_position = 101")
    sql(tagged, f"VACUUM (INDEX_CLEANUP on) {TABLE}")
    ready(True)
    superfluous = [("messages_tags", "superfluous", hash, 101) for hash, in sorted(hashes)]
    assert sorted(faults(tagged)) == superfluous  # they lead to nothing
    ready(False)
    sql(tagged, f"INSERT INTO {TABLE} (position, stream_name, type) VALUES (0, 'hand-1', 'T')")
    ready(True)
    found = faults(tagged)
    assert sorted(fault for fault in found if fault[1] == "superfluous") == superfluous  # they lead to another row
    assert [fault[1] for fault in found if fault[1] != "superfluous"] == ["missing"]


@pytest.mark.parametrize("statement", [BY_HAND, f"REINDEX INDEX CONCURRENTLY {INDEX}", f"REINDEX INDEX {INDEX}",
                                       f"VACUUM (INDEX_CLEANUP on, PARALLEL 2) {TABLE}", f"VACUUM FULL {TABLE}",
                                       f"REINDEX TABLE CONCURRENTLY {TABLE}", f"ANALYZE {TABLE}"])
def test_nothing_is_lost_under_load(cluster, statement):
    connection = cluster.connect()
    prepare(connection, index=statement != BY_HAND)
    sql(connection, APPEND, 1, 3000)
    with Load(cluster) as load:
        for _ in range(1 if statement == BY_HAND else 3):
            sql(connection, statement)
            load.wait()
            assert faults(connection) == []
    assert load.errors == []
    check(connection)
    sql(connection, f"VACUUM {TABLE}")
    check(connection)


def test_updates_deletes_and_savepoints_by_hand_leave_nothing_behind(tagged):
    sql(tagged, APPEND, 1, 500)
    for statement in [
        f"UPDATE {TABLE} SET metadata = '{{\"tags\": [\"x\"]}}' WHERE global_position < 100",
        f"UPDATE {TABLE} SET type = 'another' WHERE global_position < 50",
        f"UPDATE {TABLE} SET data = '{{\"n\": 1}}'",
        f"UPDATE {TABLE} SET global_position = -global_position WHERE global_position < 50",
        f"UPDATE {TABLE} SET metadata = NULL WHERE global_position < 0",
        f"DELETE FROM {TABLE} WHERE global_position %% 3 = 0",
        f"ALTER TABLE {TABLE} ALTER metadata SET STORAGE EXTERNAL",
        f"VACUUM {TABLE}",
        f"CLUSTER {TABLE} USING messages_pkey",
        f"TRUNCATE {TABLE}",
    ]:
        sql(tagged, statement.replace("%%", "%"))
        check(tagged)
    sql(tagged, "BEGIN")
    sql(tagged, APPEND, 1, 10)
    sql(tagged, "SAVEPOINT one")
    sql(tagged, APPEND, 11, 20)
    assert faults(tagged) == []
    sql(tagged, "ROLLBACK TO one")
    sql(tagged, APPEND, 21, 30)
    assert faults(tagged) == []
    sql(tagged, "COMMIT")
    assert faults(tagged) == [] and sql(tagged, f"SELECT count(*) FROM {TABLE}") == [(20,)]


def test_a_snapshot_older_than_the_index_is_refused_where_it_would_miss_old_versions(cluster):
    connection, old = cluster.connect(), cluster.connect()
    prepare(connection, index=False)
    sql(connection, f"ALTER TABLE {TABLE} SET (fillfactor = 50)")
    sql(connection, APPEND, 1, 10)
    sql(old, "BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert sql(old, f"SELECT count(*) FROM {TABLE}") == [(10,)]
    sql(connection, f"UPDATE {TABLE} SET metadata = '{{\"tags\": [\"x\"]}}'")  # HOT, as nothing indexes it yet
    sql(connection, "SELECT millrace.index_tags()")
    check(connection)
    with pytest.raises(psycopg2.Error, match="younger than the transaction's snapshot"):
        faults(old)
    sql(old, "ROLLBACK")
    assert faults(old) == []


# Crashes, copies


def test_a_crash_and_prepared_transactions_lose_nothing(restartable):
    connection = restartable.connect()
    sql(connection, "BEGIN")
    sql(connection, APPEND, 1, 10)
    sql(connection, "PREPARE TRANSACTION 'commits'")
    sql(connection, "BEGIN")
    sql(connection, APPEND, 131, 140)  # other streams, whose locks are free
    sql(connection, "PREPARE TRANSACTION 'aborts'")
    for _ in range(3):
        with Load(restartable) as load:
            load.wait(100)
            restartable.stop("immediate")
        restartable.start()
        assert faults(restartable.connect()) == []
    connection = restartable.connect()
    sql(connection, "COMMIT PREPARED 'commits'")
    sql(connection, "ROLLBACK PREPARED 'aborts'")
    check(connection)
    sql(connection, f"VACUUM {TABLE}")
    check(connection)


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_a_restored_dump_has_the_index_and_goes_on(cluster, form):
    for name in ("source", "target"):
        sql(cluster.connect(), f"CREATE DATABASE {name}")
    source = cluster.connect("source")
    prepare(source)
    sql(source, APPEND, 1, 300)
    insert_odd(source)
    dump = cluster.folder / "dump"
    subprocess.run([f"{PG_BIN}/pg_dump", "-d", cluster.conninfo("source"), f"--format={form}", "-f", dump], check=True)
    restore = (["psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", dump]
               if form == "plain" else ["pg_restore", "--exit-on-error", "-j", "2", dump])
    done = subprocess.run([f"{PG_BIN}/{restore[0]}", "-d", cluster.conninfo("target"), *restore[1:]],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    target = cluster.connect("target")
    check(target)
    sql(target, APPEND, 301, 400)
    check(target)
    assert sql(target, "SELECT millrace.index_tags()") == [(False,)]


def test_a_standby_has_the_same_index_and_a_promoted_one_goes_on(tmp_path_factory):
    folder = temporary_folder()
    primary = Cluster(folder + "/primary").create().start()
    standby = Cluster(folder + "/standby")
    try:
        connection = primary.connect()
        prepare(connection)
        standby.copy_of(primary).start()
        with Load(primary) as load:
            for _ in range(5):
                load.wait()
                assert faults(standby.connect()) == []
            sql(connection, f"REINDEX INDEX CONCURRENTLY {INDEX}")
        position = sql(connection, "SELECT pg_current_wal_lsn()")[0][0]
        wait_until(lambda: sql(standby.connect(), "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", position)[0][0],
                   "the standby")
        assert faults(standby.connect()) == []
        primary.stop("immediate")
        connection = standby.connect()
        sql(connection, "SELECT pg_promote()")
        sql(connection, APPEND, 1, 100)
        check(connection)
        with Load(standby):
            sql(connection, f"VACUUM {TABLE}")
        check(connection)
    finally:
        standby.stop("immediate")
        primary.stop("immediate")


def test_a_subscribers_look_up_does_not_take_it(folder):
    """REPLICA IDENTITY FULL has a subscriber look for the row by whatever index will do."""
    cluster = Cluster(folder + "/pg", ["wal_level=logical"]).create().start()
    try:
        for name in ("source", "target"):
            sql(cluster.connect(), f"CREATE DATABASE {name}")
            connection = cluster.connect(name)
            prepare(connection)
            sql(connection, f"ALTER TABLE {TABLE} REPLICA IDENTITY FULL")
        source, target = cluster.connect("source"), cluster.connect("target")
        sql(target, f"ALTER TABLE {TABLE} DROP CONSTRAINT messages_pkey")
        sql(target, "DROP INDEX millrace_default.messages_id, millrace_default.messages_stream, "
            "millrace_default.messages_category")
        sql(source, f"CREATE PUBLICATION p FOR TABLE {TABLE}")
        sql(source, "SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
        sql(target, f"CREATE SUBSCRIPTION s CONNECTION '{cluster.conninfo('source')}' PUBLICATION p "
            "WITH (create_slot = false, copy_data = false)")
        sql(source, APPEND, 1, 50)
        sql(source, f"UPDATE {TABLE} SET metadata = '{{\"tags\": [\"x\"]}}' WHERE global_position > 20")
        sql(source, f"DELETE FROM {TABLE} WHERE global_position < 10")
        rows = f"SELECT * FROM {TABLE} ORDER BY 1"
        wait_until(lambda: sql(source, rows) == sql(target, rows), "the subscriber")
        sql(target, f"ALTER TABLE {TABLE} ADD CONSTRAINT messages_pkey PRIMARY KEY (global_position)")
        sql(target, f"CREATE UNIQUE INDEX ON {TABLE} (id)")
        sql(target, f"CREATE UNIQUE INDEX ON {TABLE} (stream_name, position)")
        sql(target, f"CREATE INDEX ON {TABLE} (millrace.category(stream_name), global_position)")
        check(target)
        sql(target, "DROP SUBSCRIPTION s")
    finally:
        cluster.stop("immediate")


# Appends


def written(cluster, connection, statement):
    """The indexes that a statement puts entries into, in the order of the WAL."""
    sql(connection, "SELECT pg_switch_wal()")
    begin = sql(connection, "SELECT pg_current_wal_insert_lsn()")[0][0]
    sql(connection, statement)
    end = sql(connection, "SELECT pg_current_wal_flush_lsn()")[0][0]
    command = [f"{PG_BIN}/pg_waldump", "--rmgr=Btree", "-p", cluster.data / "pg_wal", "-s", begin, "-e", end]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    files = re.findall(r"INSERT_LEAF.*?rel \d+/\d+/(\d+)", text)
    names = dict(sql(connection, f"SELECT relfilenode::text, relname FROM pg_class JOIN pg_index ON oid = indexrelid "
                     f"WHERE indrelid = '{TABLE}'::regclass"))
    return [names[file] for file in files if file in names]


APPEND_ONE = "SELECT millrace.append('s-1', 'T', '{}', '{\"tags\": [\"a\", \"b\"]}')"


def test_categories_and_tags_come_first_and_positions_last(cluster, tagged):
    sql(tagged, f"CREATE UNIQUE INDEX positions ON {TABLE} (global_position)")
    sql(tagged, APPEND, 1, 10)
    assert written(cluster, tagged, APPEND_ONE) == [
        "messages_category", *["messages_tags"] * 3, "messages_id", "messages_stream", "messages_pkey", "positions"]


@pytest.mark.parametrize("statement", [BY_HAND.replace("messages_tags", "another"),
                                       f"REINDEX INDEX CONCURRENTLY {INDEX}"])
def test_an_index_that_is_ready_and_not_yet_valid_is_filled_under_the_append_lock_too(cluster, tagged, statement):
    sql(tagged, APPEND, 1, 10)
    holder, builder = cluster.connect(), cluster.connect()
    sql(holder, "BEGIN ISOLATION LEVEL REPEATABLE READ")  # what the build waits for at its end
    sql(holder, f"SELECT count(*) FROM {TABLE}")
    thread = threading.Thread(target=lambda: sql(builder, statement))
    thread.start()
    waiting = "SELECT 1 FROM pg_stat_progress_create_index WHERE phase = 'waiting for old snapshots'"
    wait_until(lambda: sql(tagged, waiting), "an index that is ready")
    order = written(cluster, tagged, APPEND_ONE)
    sql(holder, "COMMIT")
    thread.join()
    assert len(order) == 10 and order[0] == "messages_category" and order[-3:] == [
        "messages_id", "messages_stream", "messages_pkey"]
    assert len(set(order[1:4])) == len(set(order[4:7])) == 1 and order[1] != order[4]
    check(tagged)
    sql(tagged, APPEND, 20, 30)
    assert faults(tagged) == []


def test_a_message_has_at_most_1000_tags_where_they_are_indexed(tagged):
    many = "jsonb_build_object('tags', (SELECT jsonb_agg('t' || n) FROM generate_series(1, {}) n))"
    one = "SELECT millrace.append('s-1', 'T', '{{}}', " + many + ")"
    several = "SELECT millrace.append_messages('s-1', ARRAY[ROW('T', '{{}}', NULL, NULL), ROW('T', '{{}}', " + many + \
        ", NULL)]::millrace.new_message[])"
    sql(tagged, one.format(1000))
    for statement in (one, several):
        with pytest.raises(psycopg2.Error, match='a message for stream "s-1" has 1001 tags; at most 1000') as error:
            sql(tagged, statement.format(1001))
        assert error.value.pgcode == "MR009"
    assert faults(tagged) == [] and sql(tagged, f"SELECT count(*) FROM {TABLE}") == [(1,)]
    sql(tagged, f"DROP INDEX {INDEX}")
    sql(tagged, one.format(1001))


def test_a_call_with_many_tags_lets_other_appends_in_between(cluster, tagged):
    """1,001 entries each: four messages have as many as go in under one hold of the append lock."""
    messages = "SELECT array_agg(ROW('T', '{}', jsonb_build_object('tags', (SELECT jsonb_agg(m || ' ' || n) FROM " \
        "generate_series(1, 1000) n)), NULL)::millrace.new_message) FROM generate_series(1, 20) m"
    order = written(cluster, tagged, f"SELECT millrace.append_messages('s-1', ({messages}))")
    assert [name for name, before in zip(order, [None, *order]) if name != before].count("messages_pkey") == 5


def string(value):
    return struct.pack(">I", len(value)) + value.encode() + b"\0"


def record(position, tags):
    metadata = json.dumps({"tags": [f"t{n}" for n in range(tags)]})
    return (uuid.uuid4().bytes + string("i-1") + string("I") + struct.pack(">qqq", position, 1000 + position, 0) +
            string("{}") + string(metadata))


def test_an_import_is_indexed_and_bounded_as_an_append_is(tagged):
    sql(tagged, APPEND, 1, 20)
    frame = b"\1" + struct.pack(">I", 100) + b"".join(record(n, n * 10) for n in range(100))
    assert sql(tagged, "SELECT imported, message FROM millrace.import_batch('default', %s)", frame) == [(100, None)]
    check(tagged)
    with pytest.raises(psycopg2.Error, match='a message for stream "i-1" has 1001 tags'):
        sql(tagged, "SELECT * FROM millrace.import_batch('default', %s)", b"\1" + struct.pack(">I", 1) +
            record(100, 1001))


# The database


def test_the_same_index_without_types(cluster):
    connection = cluster.connect()
    prepare(connection, index=False)
    sql(connection, APPEND, 1, 100)
    assert sql(connection, "SELECT millrace.index_tags(types => false)") == [(True,)]
    sql(connection, APPEND, 101, 200)
    insert_odd(connection)
    check(connection)
    sql(connection, f"REINDEX INDEX {INDEX}")
    tags = sql(connection, f"SELECT sum(cardinality(millrace.tag_hashes_1(metadata))) FROM {TABLE}")[0][0]
    assert sql(connection, "SELECT reltuples FROM pg_class WHERE oid = %s::regclass", INDEX) == [(tags,)]


def test_autovacuum_goes_on_where_a_misspelt_setting_keeps_every_client_out(restartable):
    connection = restartable.connect()
    sql(connection, APPEND, 1, 100)
    sql(connection, f"ALTER TABLE {TABLE} SET (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0)")
    sql(restartable.connect("template1"), "ALTER DATABASE postgres SET millrace.namspace = 'x'")
    with pytest.raises(psycopg2.Error, match="reserved prefix"):
        sql(restartable.connect(), f"SELECT count(*) FROM {TABLE}")
    sql(connection, f"DELETE FROM {TABLE}")
    count = "SELECT autovacuum_count > 0 FROM pg_stat_user_tables WHERE relid = %s::regclass"
    wait_until(lambda: sql(connection, count, TABLE)[0][0], "autovacuum")


def test_an_adopted_message_db_is_indexed_as_it_is(cluster):
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.install_message_db()")
    write = "SELECT message_store.write_message(gen_random_uuid()::varchar, 's-1'::varchar, 'T'::varchar, " \
        "'{}'::jsonb, '{\"tags\": [\"a\"]}'::jsonb)"
    sql(connection, write)
    assert sql(connection, "SELECT millrace.index_tags()") == [(True,)]
    sql(connection, write)
    assert faults(connection) == []
    assert sql(connection, "SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%USING millrace_tags%'") == [
        ("messages_tags",)]


def test_the_extension_takes_the_index_along_and_leaves_the_messages(tagged):
    sql(tagged, APPEND, 1, 10)
    with pytest.raises(psycopg2.Error, match="messages_tags depends on"):
        sql(tagged, "DROP EXTENSION millrace")
    sql(tagged, "DROP EXTENSION millrace CASCADE")
    assert sql(tagged, f"SELECT count(*) FROM {TABLE}") == [(10,)]
    sql(tagged, "CREATE EXTENSION millrace")
    sql(tagged, "SELECT millrace.register_namespace('default')")
    assert sql(tagged, "SELECT millrace.index_tags()") == [(True,)]
    check(tagged)
