"""Appends fire AFTER ROW triggers as an INSERT does, so that a program that logs the rows by one, as pg_repack does
while it runs, has them all."""
import random
import shutil
import subprocess
import threading
import uuid

import psycopg2
import pytest

from bringing import frame
from store import PG_BIN, Cluster, error_code, new_id, sql, wait_until

TRIGGER = """
    CREATE TABLE log (number bigserial, stream text, "position" bigint, global_position bigint, data jsonb, id uuid);
    CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO public.log (stream, "position", global_position, data, id)
            VALUES (NEW.stream_name, NEW."position", NEW.global_position, NEW.data, NEW.id);
        RETURN NULL;
    END $$;
    CREATE TRIGGER repack_trigger AFTER INSERT OR DELETE OR UPDATE ON millrace_default.messages
        FOR EACH ROW EXECUTE FUNCTION keep();
    ALTER TABLE millrace_default.messages ENABLE ALWAYS TRIGGER repack_trigger;"""
ROWS = ('SELECT stream_name, "position", global_position, data, id '
        'FROM millrace_default.messages ORDER BY global_position')
LOG = 'SELECT stream, "position", global_position, data, id FROM log ORDER BY number'
# As many times 32 characters that can't be compressed to less than half, in so many messages.
MANY = """SELECT count(*) FROM millrace.append_messages('many-1',
    ARRAY(SELECT ROW('T', jsonb_build_object('x', (SELECT string_agg(md5(n::text || '-' || m), '')
              FROM generate_series(1, %s) AS m)), NULL, NULL)::millrace.new_message
          FROM generate_series(1, %s) AS n))"""
OUT_OF_LINE = 400
TOAST_BYTES = """SELECT pg_relation_size(reltoastrelid) FROM pg_class
    WHERE oid = 'millrace_default.messages'::regclass"""
IMPORT = "SELECT imported, failed_record FROM millrace.import_batch('default', %s)"


def message(stream, position, global_position, length):
    """One of as many times 32 characters that can't be compressed to less than half."""
    data = random.Random(position).randbytes(16 * length).hex()
    return uuid.uuid4(), stream, position, global_position, 0, '{"x": "%s"}' % data


def bring(connection, rows):
    return sql(connection, IMPORT, frame(rows))


@pytest.fixture
def cluster(folder):
    cluster = Cluster(folder + "/pg", ["autovacuum=off"]).create().start()
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('default')")
    yield cluster
    cluster.stop("immediate")


def test_a_trigger_sees_each_row_that_is_appended(cluster):
    connection = cluster.connect()
    sql(connection, "SELECT millrace.append('before-1', 'T', '{}')")
    sql(connection, "TRUNCATE millrace_default.messages")
    sql(connection, TRIGGER)
    sql(connection, "SELECT millrace.append('a-1', 'T', '{}')")
    sql(connection, "SELECT millrace.append('a-1', 'T', '{}')")
    sql(connection, MANY, 1, 2500)  # several chunks
    sql(connection, MANY, OUT_OF_LINE, 100)
    assert sql(connection, TOAST_BYTES)[0][0] >= 100 * 5000
    sql(connection, "BEGIN")
    sql(connection, "SELECT millrace.append('a-2', 'T', '{}')")
    sql(connection, "ROLLBACK")
    same = new_id()
    for _ in range(2):  # the second is not stored again
        sql(connection, "SELECT millrace.append('a-3', 'T', '{}', id => %s)", same)
    sql(connection, "SET session_replication_role = replica")
    sql(connection, "SELECT millrace.append('a-4', 'T', '{}')")
    rows = sql(connection, ROWS)
    assert len(rows) == 2604
    assert sql(connection, LOG) == rows
    assert [notice for notice in connection.notices if "WARNING" in notice] == []


@pytest.mark.parametrize("length", [1, OUT_OF_LINE])
@pytest.mark.parametrize("count", [1, 3, 1200])
def test_a_trigger_sees_each_row_that_is_imported(cluster, count, length):
    connection = cluster.connect()
    sql(connection, TRIGGER)
    rows = [message("s", n, n + 1, length) for n in range(count)]
    assert bring(connection, rows) == [(count, None)]
    assert (sql(connection, TOAST_BYTES)[0][0] > 0) == (length == OUT_OF_LINE)
    rows = sql(connection, ROWS)
    assert len(rows) == count and sql(connection, LOG) == rows


@pytest.mark.parametrize("length", [1, OUT_OF_LINE])
def test_a_foreign_key_is_checked_for_each_row(cluster, length):
    connection = cluster.connect()
    sql(connection, "CREATE TABLE allowed (stream text PRIMARY KEY)")
    sql(connection, "ALTER TABLE millrace_default.messages ADD FOREIGN KEY (stream_name) REFERENCES allowed")
    rows = [message("many-1", n + 3, n + 10, length) for n in range(3)]
    for found in ("23503", None):
        assert error_code(connection, MANY, length, 3) == found
        assert error_code(connection, IMPORT, frame(rows)) == found
        sql(connection, "INSERT INTO allowed VALUES ('many-1') ON CONFLICT DO NOTHING")
    assert len(sql(connection, ROWS)) == 6


def test_a_trigger_that_is_not_enabled_is_not_fired(cluster):
    connection = cluster.connect()
    sql(connection, TRIGGER)
    sql(connection, "ALTER TABLE millrace_default.messages DISABLE TRIGGER repack_trigger")
    sql(connection, "SELECT millrace.append('a-1', 'T', '{}')")
    assert sql(connection, LOG) == []


def test_a_trigger_has_the_rights_of_the_table_s_owner(cluster):
    """A superuser that appends lends it nothing, and what it sets is undone."""
    connection = cluster.connect()
    sql(connection, TRIGGER)
    sql(connection, "CREATE ROLE owner")
    sql(connection, "CREATE TABLE who (name text)")
    sql(connection, "GRANT INSERT ON who TO owner")
    sql(connection, "ALTER TABLE millrace_default.messages OWNER TO owner")
    sql(connection, "GRANT USAGE ON SCHEMA millrace_default, public TO owner")
    sql(connection, "CREATE OR REPLACE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                    "INSERT INTO public.who VALUES (current_user); SET work_mem = '77kB'; RETURN NULL; END $$")
    sql(connection, "SELECT millrace.append('a-1', 'T', '{}')")
    assert sql(connection, "SELECT name, current_user, current_setting('work_mem') = '77kB' FROM who") == [
        ("owner", "tester", False)
    ]


def test_a_deferred_constraint_trigger_is_refused(cluster):
    connection = cluster.connect()
    sql(connection, "CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$")
    sql(
        connection,
        "CREATE CONSTRAINT TRIGGER later AFTER INSERT ON millrace_default.messages DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION later()"
    )
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="deferred trigger"):
        sql(connection, "SELECT millrace.append('a-1', 'T', '{}')")
    assert sql(connection, ROWS) == []


def test_a_trigger_refuses_the_append(cluster):
    connection = cluster.connect()
    sql(connection, TRIGGER)
    sql(
        connection,
        "CREATE OR REPLACE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION 'not this one'; END $$"
    )
    with pytest.raises(psycopg2.errors.RaiseException):
        sql(connection, "SELECT millrace.append('a-1', 'T', '{}')")
    assert sql(connection, ROWS) == []


def test_a_trigger_that_waits_holds_up_no_other_stream(cluster):
    connection, other = cluster.connect(), cluster.connect()
    sql(connection, TRIGGER)
    sql(connection, "CREATE OR REPLACE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                    "IF NEW.stream_name = 'a-1' THEN PERFORM pg_advisory_xact_lock(7); END IF; RETURN NULL; END $$")
    sql(other, "SELECT pg_advisory_lock(7)")
    waiting = threading.Thread(target=sql, args=(connection, "SELECT millrace.append('a-1', 'T', '{}')"))
    waiting.start()
    wait_until(lambda: sql(other, "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"), "the trigger")
    sql(other, "SET statement_timeout = '60s'")
    sql(other, "SELECT millrace.append('a-2', 'T', '{}')")
    sql(other, "SELECT pg_advisory_unlock(7)")
    waiting.join()
    assert [row[0] for row in sql(connection, ROWS)] == ["a-1", "a-2"]


def test_foreign_keys_hold(cluster):
    connection = cluster.connect()
    sql(connection, "CREATE TABLE types (type text COLLATE \"C\" PRIMARY KEY)")
    sql(connection, "INSERT INTO types VALUES ('T')")
    sql(connection, "ALTER TABLE millrace_default.messages ADD FOREIGN KEY (type) REFERENCES types DEFERRABLE")
    sql(connection, "SELECT millrace.append('a-1', 'T', '{}')")
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        sql(connection, "SELECT millrace.append('a-1', 'U', '{}')")
    sql(connection, "BEGIN")
    sql(connection, "SET CONSTRAINTS ALL DEFERRED")
    sql(connection, "SELECT millrace.append('a-1', 'U', '{}')")
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        sql(connection, "COMMIT")
    assert len(sql(connection, ROWS)) == 1


@pytest.mark.parametrize("state", ["ENABLE", "DISABLE"])
def test_a_foreign_key_may_be_deferred_beside_a_trigger(cluster, state):
    connection = cluster.connect()
    sql(connection, TRIGGER)
    sql(connection, f"ALTER TABLE millrace_default.messages {state} TRIGGER repack_trigger")
    sql(connection, "CREATE TABLE types (type text COLLATE \"C\" PRIMARY KEY)")
    sql(connection,
        "ALTER TABLE millrace_default.messages ADD FOREIGN KEY (type) REFERENCES types DEFERRABLE INITIALLY DEFERRED")
    sql(connection, "BEGIN")
    sql(connection, "SELECT millrace.append('a-1', 'T', '{}')")
    sql(connection, "INSERT INTO types VALUES ('T')")
    sql(connection, "COMMIT")
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        sql(connection, "SELECT millrace.append('a-1', 'U', '{}')")
    assert [row[0] for row in sql(connection, ROWS)] == ["a-1"]
    assert sql(connection, LOG) == (sql(connection, ROWS) if state == "ENABLE" else [])


@pytest.mark.parametrize("kind", ["BEFORE INSERT ON {} FOR EACH ROW", "BEFORE INSERT ON {}", "AFTER INSERT ON {}",
                                  "AFTER INSERT ON {} REFERENCING NEW TABLE AS rows FOR EACH ROW"])
def test_other_triggers_are_refused(cluster, kind):
    connection = cluster.connect()
    sql(connection, "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$")
    sql(connection, f"CREATE TRIGGER mine {kind.format('millrace_default.messages')} EXECUTE FUNCTION nothing()")
    with pytest.raises(psycopg2.Error, match="it has triggers on INSERT"):
        sql(connection, "SELECT millrace.append('a-1', 'T', '{}')")


def append_until(connection, stream, stop, appended, errors):
    try:
        while not stop.is_set():
            appended += sql(connection, "SELECT global_position FROM millrace.append(%s, 'T', '{}')", stream)
    except Exception as error:  # shown by the test
        errors.append(error)


def test_pg_repack_keeps_what_is_appended_while_it_runs(cluster):
    program = shutil.which("pg_repack", path=PG_BIN)
    connection = cluster.connect()
    if not program or not sql(connection, "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_repack'"):
        pytest.skip("PG_REPACK IS NOT INSTALLED")
    sql(connection, "CREATE EXTENSION pg_repack")
    sql(connection, MANY, 1, 20000)
    stop, appended, errors = threading.Event(), [], []
    writers = [
        threading.Thread(target=append_until, args=(cluster.connect(), f"a-{n}", stop, appended, errors))
        for n in range(4)
    ]
    for writer in writers:
        writer.start()
    for _ in range(3):
        done = subprocess.run(
            [program, "-h", cluster.folder, "-U", "tester", "-d", "postgres", "-t", "millrace_default.messages"],
            capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    stop.set()
    for writer in writers:
        writer.join()
    rows = sql(connection, "SELECT global_position FROM millrace.read_category('a', batch_size => -1)")
    assert errors == []
    assert len(appended) > 100
    assert rows == sorted(appended)
