"""What extension/README.md says about logical decoding, beyond its example that test/docs runs."""
import json
import re
import shlex
import subprocess

import psycopg2
import pytest

from store import PG_BIN, ROOT, Cluster, need_library, sql, wait_until

README = (ROOT / "extension/README.md").read_text()
CHAPTER = re.search(r"\n## Logical decoding\n.*?(?=\n## )", README, re.S)[0]
# The indented blocks, which need a package: two statements that allow the plugin, two that use it.
ALLOW, RELOAD, CREATE, GET = [re.sub(r"\n +", " ", text) for block in re.findall(r"(?:^    .*\n)+", CHAPTER, re.M)
                              for text in re.findall(r"^    (\S[^;]*);", block, re.M)]


@pytest.fixture
def logical(folder):
    need_library("test_decoding")
    cluster = Cluster(folder + "/pg", settings=["wal_level=logical"]).create().start()
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('default')")
    yield cluster
    cluster.stop("immediate")


def append(connection, stream, **options):
    names = "".join(f", {name} => %s" for name in options)
    return sql(connection, f"SELECT global_position FROM millrace.append(%s, 'T', '{{}}'{names})", stream,
               *options.values())[0][0]


def allows_plugins(connection):
    return bool(sql(connection, "SELECT 1 FROM pg_settings WHERE name = 'output_plugin_libraries'"))


def test_rows_come_in_the_order_of_commits_and_a_streams_in_that_of_positions(logical):
    first, second, reader = logical.connect(), logical.connect(), logical.connect()
    sql(reader, "SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    sql(first, "BEGIN")
    early = append(first, "a-1")
    late = append(second, "b-1")
    third = append(second, "b-1")
    sql(first, "COMMIT")
    changes = "\n".join(row[0] for row in sql(reader, "SELECT data FROM pg_logical_slot_get_changes('s', NULL, NULL)"))
    came = [int(each) for each in re.findall(r"messages: INSERT: global_position\[bigint\]:(\d+)", changes)]
    assert early < late < third and came == [late, third, early]


def test_what_comes_of_other_things_that_are_done(logical):
    connection = logical.connect()
    append(connection, "a-1")
    sql(connection, "SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
    sql(connection, "BEGIN")
    append(connection, "a-1")
    sql(connection, "ROLLBACK")
    sql(connection, "SELECT millrace.create_namespace('sales', token_hash => repeat('a', 64))")
    sql(connection, "UPDATE millrace_default.messages SET data = '{\"masked\": true}'")
    sql(connection, "DELETE FROM millrace_default.messages")
    append(connection, "a-1", namespace="sales")
    sql(connection, "SELECT millrace.empty_namespace('sales')")
    sql(connection, "SELECT millrace.drop_namespace('sales')")
    changes = [
        row[0] for row in sql(
            connection, "SELECT data FROM pg_logical_slot_get_changes('s', NULL, NULL, 'skip-empty-xacts', 'on')")
    ]
    tables = [re.findall(r"table (\S+): ([A-Z]+):", change)[0] for change in changes if change.startswith("table")]
    assert tables == [("millrace.namespaces", "INSERT"), ("millrace_default.messages", "UPDATE"),
                      ("millrace_default.messages", "DELETE"), ("millrace_sales.messages", "INSERT"),
                      ("millrace_sales.messages", "TRUNCATE"), ("millrace.namespaces", "DELETE")]
    assert any("a" * 64 in change for change in changes)


def test_a_list_in_quotes_allows_nothing(logical):
    connection = logical.connect()
    if not allows_plugins(connection):
        pytest.skip("this release of PostgreSQL has no output_plugin_libraries")
    with pytest.raises(psycopg2.Error, match="may not be used as an output plugin"):
        sql(connection, CREATE)
    sql(connection, "ALTER SYSTEM SET output_plugin_libraries = 'pgoutput, test_decoding'")
    sql(connection, RELOAD)
    wait_until(lambda: sql(logical.connect(), "SHOW output_plugin_libraries")[0][0].startswith('"'), "the setting")
    with pytest.raises(psycopg2.Error, match="may not be used as an output plugin"):
        sql(logical.connect(), "SELECT pg_create_logical_replication_slot('s', 'test_decoding')")


def test_wal2json_as_documented(logical):
    need_library("wal2json")
    connection = logical.connect()
    if allows_plugins(connection):
        sql(connection, ALLOW)
        sql(connection, RELOAD)
        wait_until(lambda: "wal2json" in sql(logical.connect(), "SHOW output_plugin_libraries")[0][0], "the setting")
    connection = logical.connect()
    sql(connection, CREATE)
    message = "0192a1de-4b3c-7e21-9f00-3a5b6c7d8ea0"
    position = append(connection, "a-1", id=message)
    assert append(connection, "a-1", id=message) == position
    sql(connection, "SELECT millrace.create_namespace('sales')")
    # Only to look: the empty change is there, and nothing but the filter takes it out.
    kinds = sql(connection,
                GET.replace("get_changes", "peek_changes").replace(", 'filter-msg-prefixes', 'millrace'", ""))
    assert [json.loads(row[0])["action"] for row in kinds] == ["I", "M"]
    change, = [json.loads(row[0]) for row in sql(connection, GET)]
    values = {column["name"]: column["value"] for column in change["columns"]}
    assert (change["action"], change["schema"], change["table"]) == ("I", "millrace_default", "messages")
    assert values["stream_name"] == "a-1" and values["global_position"] == position and json.loads(values["data"]) == {}


def test_the_recipe_for_other_programs(logical):
    """Of sidecar/GROWING.md: the lines of a stream come in its order, those of all in the order of commits."""
    need_library("wal2json")
    chapter = (ROOT / "sidecar/GROWING.md").read_text().partition("\n## Other programs")[2]
    block = re.search(r"(?:^ {4}.*\n)+", chapter, re.M)
    create, start = [shlex.split(line) for line in block[0].replace("\\\n", " ").splitlines()]
    first, second = logical.connect(), logical.connect()
    if allows_plugins(first):
        sql(first, ALLOW)
        sql(first, RELOAD)
    where = ["-h", str(logical.folder), "-U", "tester", "-d", "postgres"]
    assert create[:3] == start[:3] == ["pg_recvlogical", "-d", "events"]
    subprocess.run([f"{PG_BIN}/pg_recvlogical", *where, *create[3:]], check=True)
    sql(first, "SELECT millrace.create_namespace('sales')")
    sql(first, "BEGIN")
    early = append(first, "a-1")
    late = [append(second, "b-1"), append(second, "b-1", namespace="sales"), append(second, "b-1")]
    sql(first, "COMMIT")
    program = subprocess.Popen([f"{PG_BIN}/pg_recvlogical", *where, *start[3:]], stdout=subprocess.PIPE, text=True)
    try:
        rows = [{"schema": line["schema"], **{each["name"]: each["value"] for each in line["columns"]}}
                for line in (json.loads(program.stdout.readline()) for _ in range(4))]
    finally:
        program.terminate()
        program.wait()
    assert [row["global_position"] for row in rows] == [*late, early] and early < late[0]
    assert [(row["schema"], row["stream_name"], row["position"]) for row in rows] == [
        ("millrace_default", "b-1", 0), ("millrace_sales", "b-1", 0), ("millrace_default", "b-1", 1),
        ("millrace_default", "a-1", 0)]
