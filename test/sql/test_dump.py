"""pg_dump and restore bring back every namespace, token and message, and the store works on."""
import subprocess

import psycopg2
import pytest

from store import PG_BIN, Cluster, sql, temporary_folder, wait_until

NAMESPACES = ["default", "sales", "Odd \"name\" é"]
CONTENT = ("SELECT n.name, n.token_hash, n.description, (SELECT count(*) FROM millrace.list_namespaces()) "
           "FROM millrace.namespaces n ORDER BY 1")


def fill(connection):
    sql(connection, "CREATE EXTENSION millrace")
    for number, name in enumerate(NAMESPACES):
        sql(connection, "SELECT millrace.create_namespace(%s, %s, %s)", name, f"number {number}", f"{number:064x}")
        sql(connection, "SELECT set_config('millrace.namespace', %s, false)", name)
        sql(
            connection,
            "SELECT millrace.append('a-' || n % 5, 'T', jsonb_build_object('n', n), '{\"m\": 1}') "
            "FROM generate_series(1, 100) n"
        )


def content(connection):
    rows = {}
    for name in NAMESPACES:
        sql(connection, "SELECT set_config('millrace.namespace', %s, false)", name)
        rows[name] = sql(connection, "SELECT * FROM millrace.read_all(batch_size => -1)")
        assert len(rows[name]) >= 100
    return sql(connection, CONTENT), rows


def check_goes_on(connection):
    for name in NAMESPACES:
        sql(connection, "SELECT set_config('millrace.namespace', %s, false)", name)
        assert sql(
            connection,
            "SELECT \"position\", global_position > 100 FROM millrace.append('a-1', 'T', '{}', expected_version => 19)"
        ) == [(20, True)]
    sql(connection, "SELECT millrace.create_namespace('new')")
    assert sql(connection, "SELECT millrace.drop_namespace('sales')") == [(101,)]


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_a_restored_dump_is_the_same_and_goes_on(cluster, form):
    sql(cluster.connect(), "CREATE DATABASE source")
    source = cluster.connect("source")
    fill(source)
    before = content(source)
    dump = cluster.folder / "dump"
    subprocess.run([f"{PG_BIN}/pg_dump", "-d", cluster.conninfo("source"), f"--format={form}", "-f", dump], check=True)
    sql(cluster.connect(), "CREATE DATABASE target")
    restore = (["psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", dump]
               if form == "plain" else ["pg_restore", "--exit-on-error", dump])
    done = subprocess.run(
        [f"{PG_BIN}/{restore[0]}", "-d", cluster.conninfo("target"), *restore[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    target = cluster.connect("target")
    assert content(target) == before
    check_goes_on(target)


def test_a_dump_of_message_db_is_restored_too(cluster):
    sql(cluster.connect(), "CREATE DATABASE source")
    source = cluster.connect("source")
    sql(source, "CREATE EXTENSION millrace")
    sql(source, "SELECT millrace.install_message_db()")
    for n in range(10):
        sql(
            source,
            "SELECT message_store.write_message(gen_random_uuid()::varchar, 'a-1'::varchar, 'T'::varchar, '{}'::jsonb)")
    dump = cluster.folder / "dump"
    subprocess.run([f"{PG_BIN}/pg_dump", "-d", cluster.conninfo("source"), "-Fc", "-f", dump], check=True)
    sql(cluster.connect(), "CREATE DATABASE target")
    subprocess.run([f"{PG_BIN}/pg_restore", "--exit-on-error", "-d", cluster.conninfo("target"), dump], check=True)
    target = cluster.connect("target")
    assert sql(
        target,
        "SELECT message_store.write_message(gen_random_uuid()::varchar, 'a-1'::varchar, 'T'::varchar, '{}'::jsonb)"
    ) == [(10, )]
    assert sql(
        target,
        "SELECT millrace.stream_version('a-1'), (SELECT count(*) FROM message_store.get_category_messages('a'))") == [
            (10, 11)
        ]


def test_a_standby_reads_by_the_prefix_rule_and_refuses_appends(cluster):
    sql(cluster.connect(), "CREATE DATABASE store")
    primary = cluster.connect("store")
    sql(primary, "CREATE EXTENSION millrace")
    sql(primary, "SELECT millrace.create_namespace('default')")
    folder = temporary_folder()
    standby = Cluster(folder + "/pg").copy_of(cluster).start()
    try:
        reader = standby.connect("store")
        with pytest.raises(Exception, match="cannot execute INSERT"):
            sql(reader, "SELECT millrace.append('a-1', 'T', '{}')")
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            sql(reader, "SELECT millrace.forget_namespaces()")
        assert sql(reader, "SELECT * FROM millrace.read_category('a')") == []

        # A rolled-back append holds the reader back until its end arrives, which nothing flushes, and no longer.
        open_append = cluster.connect("store")
        open_append.autocommit = False
        sql(open_append, "SELECT millrace.append('a-1', 'T', '{}')")
        sql(primary, "SELECT millrace.append('a-2', 'T', '{}')")
        open_append.rollback()
        wait_until(lambda: sql(reader, "SELECT stream_name FROM millrace.read_category('a')") == [("a-2", )],
                   "the message above the rolled-back one")
    finally:
        standby.stop("immediate")
