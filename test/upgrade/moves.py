"""Stores move from older versions of PostgreSQL to newer ones: by the steps of sidecar/README.md, and nothing is lost.
Run by test/upgrade.sh.

A store is a private PostgreSQL with three namespaces, of which `default` is a Message DB that was adopted, and with
grants.  The oldest has the extension's first version, which is updated on the way.
"""
import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import psycopg2
import pytest

from catalogue import catalogue, difference
from installation import RELEASED
from store import ROOT, Cluster, Server, sql, temporary_folder, token_for

VERSIONS = [15, 17, 18, 19]
PAIRS = list(itertools.combinations(VERSIONS, 2))
MESSAGE_DB = "/opt/message-db"
NAMESPACES = ["default", "sales", "Odd \"name\" é"]
TOKENS = {name: token_for(name) for name in NAMESPACES}
README = (ROOT / "sidecar" / "README.md").read_text()
FILL = (
    "SELECT message_store.write_message(gen_random_uuid()::varchar, ('account-' || n % 7)::varchar, 'T'::varchar, "
    "jsonb_build_object('n', n)) FROM generate_series(0, 69) n")
GRANTS = [
    "CREATE ROLE reader", "GRANT USAGE ON SCHEMA millrace_sales TO reader",
    "GRANT SELECT ON millrace_sales.messages TO reader", "GRANT INSERT ON millrace.namespaces TO reader",
    "REVOKE EXECUTE ON FUNCTION millrace.read_all FROM PUBLIC"
]
QUERIES = [
    "SELECT * FROM millrace.namespaces ORDER BY 1",
    "SELECT * FROM message_store.get_category_messages('account', 1, -1)",
    "SELECT * FROM message_store.category_type_summary",
    "SELECT has_table_privilege('reader', 'millrace_sales.messages', 'SELECT'), "
    "has_table_privilege('reader', 'millrace.namespaces', 'INSERT'), "
    "has_function_privilege('reader', (SELECT oid FROM pg_proc WHERE proname = 'read_all'), 'EXECUTE'), "
    "has_table_privilege('message_store', 'message_store.messages', 'INSERT')"
]


def bin_of(version):
    return Path(f"/usr/lib/postgresql/{version}/bin")


def run(command, **variables):
    done = subprocess.run(["bash", "-euc", command], capture_output=True, text=True, env={**os.environ, **variables})
    logs = [
        path.read_text(errors="replace")[-2000:]
        for text in re.findall(r'"(/\S*pg_upgrade_output\.d/\S*\.log)"', done.stdout) for path in [Path(text)]
    ]
    assert done.returncode == 0, f"{command}\n{done.stdout[-5000:]}{done.stderr[-5000:]}{logs}"
    return done.stdout + done.stderr


def shown(beginning):
    """The indented blocks of the document behind a bold beginning, up to the next one or a heading."""
    text = README[README.index(beginning) + len(beginning):]
    text = text[:re.search(r"^(#|\*\*)", text, re.M).start()]
    return ["".join(line[4:] for line in block.splitlines(True)) for block in re.findall(r"(?:^    .*\n)+", text, re.M)]


def serve(data, version):
    return Server("--data-dir", str(data), "--pg-bindir", str(bin_of(version)), token=TOKENS["default"])


def trips_over_column_versions(old, new):
    """Since its minor releases of November 2026 PostgreSQL keeps a version with each column.  pg_dump of an earlier
    one, which pg_upgrade runs, takes it for an option, and its server does not know that."""
    knows = [b"pg_attver" in (bin_of(version) / "postgres").read_bytes() for version in (old, new)]
    return knows == [True, False]


def forget_column_versions(connection):
    """Until Debian has the newer release."""
    sql(connection, "UPDATE pg_attribute SET attoptions = NULL WHERE attoptions::text LIKE '{pg_attver=%}'")


class Store:
    """A private PostgreSQL, stopped; its dump; and what it held."""

    def __init__(self, folder, version):
        self.data, self.dumps = folder / f"store-{version}", folder / f"dump-{version}"
        self.dumps.mkdir()
        server = serve(self.data, version)
        try:
            self.fill(server.postgres(), version)
        finally:
            server.stop()
        self.dump(folder / f"updated-{version}", version)

    def dump(self, updated, version):
        """Of a copy, and so what it holds: the server updates its extension when it starts."""
        shutil.copytree(self.data, updated,
                        ignore=lambda path, names: [name for name in names if name.startswith(".s.")])
        server = serve(updated, version)
        try:
            self.content = content(server)
            in_folder(self.dumps, shown("**A dump**")[0].replace("/var/lib/millrace/", f"{updated}/"), version)
        finally:
            server.stop()

    def fill(self, connection, version):
        """By SQL: the server does not serve an extension of another version."""
        extension = f"VERSION '{RELEASED[0]}'" if version == VERSIONS[0] else ""
        for statement in ("DROP SCHEMA millrace, millrace_default CASCADE", f"CREATE EXTENSION millrace {extension}"):
            sql(connection, statement)
        run(f"bash {MESSAGE_DB}/install.sh", PATH=f"{bin_of(version)}:{os.environ['PATH']}", PGHOST=f"{self.data}/run",
            PGUSER="postgres", DATABASE_NAME="postgres", CREATE_DATABASE="off")
        for statement in ("SET search_path = message_store, public", FILL, "SELECT millrace.install_message_db()"):
            sql(connection, statement)
        sql(connection, "SELECT millrace.set_namespace_token('default', encode(sha256(convert_to(%s, 'UTF8')), 'hex'))",
            TOKENS["default"])
        for name in NAMESPACES:
            if name != "default":
                sql(
                    connection,
                    "SELECT millrace.create_namespace(%s, token_hash => encode(sha256(convert_to(%s, 'UTF8')), 'hex'))",
                    name, TOKENS[name])
            sql(connection, "SELECT set_config('millrace.namespace', %s, false)", name)
            for n in range(20):
                sql(
                    connection,
                    "SELECT millrace.append('order-1', 'Tested', jsonb_build_object('n', %s), "
                    "jsonb_build_object('m', %s), %s)",
                    n, n, n - 1)
        if not extension:  # the released one has no tags
            sql(connection, "SELECT millrace.index_tags(name) FROM millrace.list_namespaces()")
        for statement in GRANTS:
            sql(connection, statement)


def in_folder(folder, commands, version):
    return run(f"cd {folder}\n{commands}", PATH=f"{bin_of(version)}:{os.environ['PATH']}")


def content(server):
    exports = []
    for name in NAMESPACES:
        reply = server.client(TOKENS[name]).request("GET", "/export")
        assert reply.status == 200 and reply.body.count(b"\n") >= 20
        exports.append(reply.body)
    return exports, [sql(server.postgres(), query) for query in QUERIES]


def check(server, version, before):
    """Nothing is lost, and everything goes on above what readers have seen; no index is wrong."""
    assert content(server) == before
    connection = server.postgres()
    assert sql(
        connection,
        "SELECT extversion = default_version FROM pg_extension JOIN pg_available_extensions ON name = extname "
        "WHERE extname = 'millrace'"
    ) == [(True, )]
    assert sql(connection, FILL + " LIMIT 1") == [(10,)]
    for name in NAMESPACES:
        client = server.client(TOKENS[name])
        head = client.call("category.get", "order")[-1][4]
        answer = client.write("order-1", {}, expectedVersion=19)
        assert answer["position"] == 20 and answer["globalPosition"] > head
        assert client.call("category.get", "order", {"position": head + 1})[-1][4] == answer["globalPosition"]
    for name in NAMESPACES:
        if not sql(connection, "SELECT millrace.index_tags(%s)", name)[0][0]:
            assert sql(connection, "SELECT * FROM millrace.check_tags(%s)", name) == []
    server.client().call("ns.create", "new")
    assert server.client().call("ns.delete", "new")["messagesDeleted"] == 0
    socket = re.search(r"host=(\S+)", connection.dsn).group(1)
    run(f"{bin_of(version)}/pg_amcheck -h {socket} -U postgres --install-missing "
        "--heapallindexed --checkunique postgres"
        )


@pytest.fixture(scope="session")
def stores():
    folder, made = Path(temporary_folder()), {}

    def store(version):
        if version not in made:
            made[version] = Store(folder, version)
        return made[version]

    yield store
    shutil.rmtree(folder)


@pytest.mark.parametrize("old, new, option", [(*pair, "") for pair in PAIRS] + [(15, 19, "--link"), (15, 18, "--swap"),
                                                                                (18, 19, "--swap")])
def test_pg_upgrade(stores, folder, start, old, new, option):
    store = stores(old)
    shutil.copytree(store.data, f"{folder}/data",
                    ignore=lambda path, names: [name for name in names if name.startswith(".s.")])
    if trips_over_column_versions(old, new):
        server = serve(f"{folder}/data", old)
        forget_column_versions(server.postgres())
        server.stop()
    commands = shown("**By pg_upgrade**")[0]
    for text, instead in (("old=15 new=17\n", f"old={old} new={new}\n"), ("/var/lib/millrace", f"{folder}/data"),
                          ("-U postgres)", f"-U postgres {option})")):
        assert text in commands
        commands = commands.replace(text, instead)
    run(commands)
    server = start("--data-dir", f"{folder}/data", "--pg-bindir", str(bin_of(new)), token=TOKENS["default"])
    assert sql(server.postgres(), "SHOW data_checksums") == [("on",)]
    check(server, new, store.content)
    granted = difference(fresh_catalogue(server), catalogue(server.postgres()))
    assert granted.keys() == {"function millrace.read_all(bigint,bigint,text[],text)", "r millrace.namespaces"}


def fresh_catalogue(server):
    """What a new database on the same server has."""
    sql(server.postgres(), "CREATE DATABASE fresh TEMPLATE template0")
    connection = psycopg2.connect(server.postgres().dsn, dbname="fresh")
    connection.autocommit = True
    sql(connection, "CREATE EXTENSION millrace")
    try:
        return catalogue(connection)
    finally:
        connection.close()


@pytest.mark.parametrize("old, new", PAIRS)
def test_dump_and_restore(stores, folder, start, old, new):
    store = stores(old)
    arguments = ("--data-dir", f"{folder}/new", "--pg-bindir", str(bin_of(new)))
    server = start(*arguments)
    in_folder(store.dumps, shown("**A dump**")[1].replace("/var/lib/millrace-2/", f"{folder}/new/"), new)
    server.stop()
    check(start(*arguments, token=TOKENS["default"]), new, store.content)


def test_a_cluster_without_checksums_stays_so(folder, start):
    """Versions before 18 make them without, and the newer initdb has to be told."""
    old, new = Cluster(folder + "/old", bin=bin_of(17)).create().start(), Cluster(folder + "/new", bin=bin_of(18))
    connection = old.connect()
    for statement in ("CREATE EXTENSION millrace", "SELECT millrace.create_namespace('default')",
                      "SELECT millrace.append('a-1', 'T', '{}')"):
        sql(connection, statement)
    if trips_over_column_versions(17, 18):
        forget_column_versions(connection)
    connection.close()
    old.stop()
    run(f"{bin_of(18)}/initdb -D {folder}/new/data -U tester -A trust -E UTF8 --locale=C "
        "--no-data-checksums --no-sync\n"
        f"(cd /tmp && {bin_of(18)}/pg_upgrade -b {bin_of(17)} -B {bin_of(18)} "
        f"-d {folder}/old/data -D {folder}/new/data -U tester)"
        )
    new.start()
    try:
        assert sql(new.connect(), "SELECT \"position\" FROM millrace.append('a-1', 'T', '{}')") == [(1,)]
    finally:
        new.stop()
