"""ns.purge and `millrace purge`: what removed messages have left on disk."""
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from store import MILLRACE, ZERO_TOKEN, Cluster, Server, sql, temporary_folder, token_for

sys.path.append(str(Path(__file__).resolve().parent.parent / "retention"))

import erasure  # noqa: E402


@pytest.fixture(scope="module")
def own():
    server = Server("--test-mode", "--workers", "1", token=ZERO_TOKEN)
    yield server
    server.stop()


def test_a_purge_says_where_secrets_are_left_and_a_full_one_leaves_none():
    counts = erasure.run(4)
    assert counts["secrets_written"] == 14
    assert counts["secrets_listed"] > 0, "or this shows nothing"
    assert counts["secrets_beside"] == counts["secrets_found"] == 0, counts


def test_who_holds_removed_rows_is_named(own):
    client, holder, database = own.client(), own.postgres(), own.postgres()
    client.write("gone-1")
    holder.autocommit = False
    sql(holder, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    pid = sql(holder, "SELECT pg_backend_pid()")[0][0]
    sql(database, "SELECT millrace.remove_stream('gone-1')")
    for options in ({}, {"full": True}):
        left = client.call("ns.purge", "default", options)["left"]
        assert any("rows of schema millrace_default" in line for line in left), left
        assert any(f"held by session {pid} " in line for line in left), left
    holder.rollback()
    assert not any("held by" in line for line in client.call("ns.purge", "default")["left"])
    holder.close()
    database.close()


def test_rows_that_a_session_tells_of_late_are_not_said_to_be_left(own):
    client = own.client()
    client.write("late-1")
    with closing(own.postgres()) as database, closing(own.postgres()) as remover:
        sql(remover, "SELECT pg_stat_force_next_flush()")
        sql(remover, "SELECT millrace.remove_stream('late-1')")
        for row in sql(database, "SELECT millrace.purge_statements()"):
            sql(database, row[0])
        sql(remover, "SELECT pg_stat_force_next_flush()")
        sql(remover, "SELECT 1")
        left = "\n".join(row[0] for row in sql(database, "SELECT millrace.purge_left()"))
    assert "rows of schema" not in left


def test_rows_are_counted_by_who_may_read_them(own):
    client = own.client()
    client.write("seen-1")
    with closing(own.postgres()) as database:
        for row in sql(database, "SELECT millrace.purge_statements()"):
            sql(database, row[0])
        assert sql(database, "SELECT millrace.dead_rows('millrace_default.messages')") == [(0,)]
        sql(database, "SELECT millrace.remove_stream('seen-1')")
        assert sql(database, "SELECT millrace.dead_rows('millrace_default.messages')") == [(1,)]
        with pytest.raises(Exception, match='"pg_stat_activity" is not a table of access method heap'):
            sql(database, "SELECT millrace.dead_rows('pg_catalog.pg_stat_activity')")
        sql(database, "CREATE ROLE seen_by_nobody")
        sql(database, "SET ROLE seen_by_nobody")
        with pytest.raises(Exception, match="permission denied"):
            sql(database, "SELECT millrace.dead_rows('millrace_default.messages')")


def test_no_statistics_are_taken_of_what_messages_hold(own):
    client = own.client()
    for n in range(50):
        client.write(f"counted-{n % 3}", {"n": n % 2}, metadata={"tags": ["x"]})
    with own.postgres() as database:
        client.call("consumer.create", "c", {"category": "counted"})
        sql(database, "ANALYZE")
        found = sql(database, "SELECT tablename, attname FROM pg_stats WHERE schemaname = 'millrace_default' "
                              "AND attname IN ('stream_name', 'data', 'metadata', 'category', 'stream')")
    assert [row for row in found if row[0] not in ("consumers", "stream_floors")] == []


def test_the_command_prints_both(own):
    done = subprocess.run([MILLRACE, "purge", "--url", f"http://127.0.0.1:{own.port}"], capture_output=True, text=True,
                          env={**os.environ, "MILLRACE_TOKEN": ZERO_TOKEN}, check=True)
    assert done.stdout.startswith("Done:\n  VACUUM (INDEX_CLEANUP ON) millrace_default.messages\n")
    assert "\nLeft:\n  " in done.stdout and "backups" in done.stdout
    done = subprocess.run([MILLRACE, "purge", "--url", f"http://127.0.0.1:{own.port}", "--namespace", "none"],
                          env={**os.environ, "MILLRACE_TOKEN": ZERO_TOKEN}, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "NAMESPACE_NOT_FOUND" in done.stderr


def test_it_is_the_administrators(secured, own):
    client = secured.client(ZERO_TOKEN)
    token = client.call("ns.create", "purged", {"token": token_for("purged")})["token"]
    assert secured.client(token).refused("ns.purge", "purged").code == "AUTH_UNAUTHORIZED"
    assert secured.client(token).refused("messages.remove", []).code == "AUTH_UNAUTHORIZED"
    assert client.call("ns.purge", "purged")["done"] != []


def test_a_role_that_is_no_superuser_is_told_what_that_leaves():
    folder = temporary_folder()
    cluster = Cluster(folder).create().start()
    try:
        database = cluster.connect()
        sql(database, "CREATE EXTENSION millrace")
        sql(database, "SELECT pg_create_physical_replication_slot('keeps', true)")
        sql(database, "CREATE ROLE keeper LOGIN")
        sql(database, "CREATE ROLE stranger LOGIN")
        sql(database, "GRANT CREATE ON DATABASE postgres TO keeper")
        sql(database, "GRANT ALL ON millrace.namespaces TO keeper")
        sql(database, "SET ROLE keeper")
        sql(database, "SELECT millrace.create_namespace('kept')")
        statements = [row[0] for row in sql(database, "SELECT millrace.purge_statements('kept', true)")]
        assert not any(word in each for each in statements for word in ("SYSTEM", "pg_statistic", "CHECKPOINT"))
        for statement in statements:
            sql(database, statement)
        left = "\n".join(row[0] for row in sql(database, "SELECT millrace.purge_left('kept', true)"))
        assert "write-ahead log, in pg_wal" in left and "pg_statistic" in left and "slot keeps" in left
        sql(database, "RESET ROLE")
        sql(database, "SET ROLE stranger")
        with pytest.raises(Exception, match="must be owner of table"):
            sql(database, "SELECT millrace.purge_statements('kept')")
        database.close()
    finally:
        cluster.stop("immediate")
