"""Behind PgBouncer that lends a session for one transaction: as test/pgbouncer.sh fetches it, or as this system has
it."""
import glob
import os
import re
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from store import PG_BIN, ZERO_TOKEN, Cluster, Program, Server, new_id, sql, temporary_folder, wait_until

MESSAGE = {"type": "Tested", "data": {}}
PLACES = glob.glob(os.environ.get("RELEASES", "/var/cache/millrace") + "/pgbouncer/*/pgbouncer")


def version_of(program):
    try:
        text = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    except OSError:
        text = ""
    found = re.search(r"PgBouncer (\d+)\.(\d+)", text)
    return found and (int(found[1]), int(found[2]))


def programs():
    """One for each version, the oldest first."""
    found = {version_of(program): program for program in [shutil.which("pgbouncer") or "/usr/sbin/pgbouncer", *PLACES]}
    return sorted((version, program) for version, program in found.items() if version)


KEEPS = [pytest.param(program, id=".".join(map(str, version))) for version, program in programs() if version >= (1, 21)]
FORGETS = [
    pytest.param(program, id=".".join(map(str, version))) for version, program in programs() if version < (1, 21)
]
NONE = [pytest.param(None, id="none", marks=pytest.mark.skip(reason="no such PgBouncer is installed"))]


@pytest.fixture(scope="module")
def cluster():
    folder = temporary_folder()
    cluster = Cluster(folder + "/pg").create().start()
    sql(cluster.connect(),
        "ALTER DATABASE postgres SET millrace.transaction_pooling = on")  # as extension/README.md wants it
    yield cluster
    cluster.stop("immediate")
    shutil.rmtree(folder)


@pytest.fixture
def pool(cluster, folder):
    """Starts a PgBouncer on a port of its own; returns the connection string behind it."""
    running = []

    def make(program, mode="transaction", **settings):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        settings = {
            "listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": folder, "auth_type": "any",
            "pool_mode": mode, "max_client_conn": 200, "default_pool_size": 20, "max_prepared_statements": 200,
            **settings
        }
        if version_of(program) < (1, 21):
            del settings["max_prepared_statements"]
        with open(folder + "/pgbouncer.ini", "w") as file:
            file.write(f"[databases]\npostgres = host={cluster.folder} user=tester\n[pgbouncer]\n")
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())
        running.append(Program([program, folder + "/pgbouncer.ini"]))
        wait_until(lambda: "process up" in running[-1].text, "PgBouncer")
        return f"host=127.0.0.1 port={port} user=tester dbname=postgres"

    yield make
    for program in running:
        program.process.terminate()
        program.wait()


@pytest.mark.parametrize("program", FORGETS or NONE)
def test_one_that_forgets_prepared_statements_is_refused(pool, program):
    server = Server("--database", pool(program), "--token", ZERO_TOKEN, wait=False)
    try:
        assert server.wait(60) == 1
        assert "lends sessions for single transactions and does not keep prepared statements" in server.text
        assert "pool_mode = session" in server.text
    finally:
        server.kill()


@pytest.mark.parametrize("program", KEEPS or NONE)
def test_one_that_is_told_not_to_keep_them_is_refused_too(pool, program):
    server = Server("--database", pool(program, max_prepared_statements=0), "--token", ZERO_TOKEN, wait=False)
    try:
        assert server.wait(60) == 1 and "max_prepared_statements" in server.text
    finally:
        server.kill()


@pytest.mark.parametrize("program", FORGETS + KEEPS or NONE)
def test_none_that_lends_sessions_is_before_standbys(cluster, pool, program):
    server = Server("--database", cluster.conninfo(), "--read-database", pool(program), "--token", ZERO_TOKEN,
                    wait=False)
    try:
        assert server.wait(60) == 1
        assert "lends sessions for single transactions" in server.text
        assert "pool_mode = session" in server.text and "(--read-database)" in server.text
    finally:
        server.kill()


@pytest.mark.parametrize("program", FORGETS + KEEPS or NONE)
def test_a_session_each_may_be_before_standbys(cluster, pool, program, start):
    server = start("--database", cluster.conninfo(), "--read-database", pool(program, "session"), "--token", ZERO_TOKEN,
                   token=ZERO_TOKEN)
    assert server.client().write("s-" + new_id())["position"] == 0


@pytest.mark.parametrize("program", FORGETS + KEEPS or NONE)
def test_a_session_each_is_as_none(pool, program, start):
    server = start("--database", pool(program, "session"), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    assert server.client().write("s-" + new_id())["position"] == 0
    assert "single transactions" not in server.text


@pytest.mark.parametrize("program", KEEPS or NONE)
def test_one_that_others_use_at_the_same_time_is_found_out_too(pool, program, folder, start):
    """Their transactions take the session in between that both of a start's connections would get."""
    database = pool(program)
    with open(folder + "/select.sql", "w") as file:
        file.write("SELECT 1;\n")
    others = subprocess.Popen([f"{PG_BIN}/pgbench", "-n", "-f", file.name, "-c", "8", "-j", "2", "-T", "600", database],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(5):
            server = start("--database", database, "--token", ZERO_TOKEN, "--answer-timeout", "2", "--workers", "1",
                           token=ZERO_TOKEN)
            assert "lends sessions for single transactions" in server.text
            server.stop()
        assert others.poll() is None
    finally:
        others.kill()
        others.wait()


@pytest.mark.parametrize("program", KEEPS or NONE)
def test_all_calls_work_and_the_start_leaves_nothing_behind(cluster, pool, program, start):
    database = pool(program)
    servers = [
        start("--database", database, "--token", ZERO_TOKEN, "--answer-timeout", "2", "--workers", "2",
              token=ZERO_TOKEN) for _ in range(2)
    ]
    assert all("lends sessions for single transactions" in server.text for server in servers)
    connection = cluster.connect()
    assert not sql(connection,
                   "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"), "the lock went with its transaction"
    name = "n" + new_id()

    def work(number):
        client, stream = servers[number % 2].client(), f"account-{new_id()}"
        for position in range(50):
            assert client.write(stream)["position"] == position
            assert client.call("stream.version", stream) == position
        assert len(client.call("stream.get", stream)) == 50
        return client.call("category.get", "account", {"batchSize": 10})

    with ThreadPoolExecutor(8) as pool_:
        assert all(len(page) == 10 for page in pool_.map(work, range(8)))
    client = servers[0].client()
    token = client.call("ns.create", name)["token"]
    assert name in [each["namespace"] for each in client.call("ns.list")]
    tenant = servers[0].client(token)
    lines = tenant.request(
        "POST", "/import",
        b'{"stream":"s-1","type":"T","pos":0,"gpos":1,"data":{},"id":"%s","time":"2026-01-01T00:00:00Z"}\n' %
        new_id().encode(), {"Content-Type": "application/x-ndjson"})
    assert lines.status == 200 and b"done" in lines.body, lines.body
    assert tenant.request("GET", "/export").body.count(b"\n") == 1
    client.call("ns.delete", name)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 4, "a few signs of life")
    assert client.write("s-" + new_id())["position"] == 0
    lent = psycopg2.connect(database)
    lent.autocommit = True
    assert sql(lent, "SELECT current_setting('search_path'), current_setting('lock_timeout')") == [
        ('"$user", public', "0")
    ], "nothing stays in a session"
    lent.close()
    assert all("connection for" not in server.text for server in servers), "nothing was lost"


@pytest.mark.parametrize("program", KEEPS or NONE)
def test_a_held_stream_holds_up_no_other(cluster, pool, program, start):
    server = start("--database", pool(program), "--token", ZERO_TOKEN, "--retry-window", "2", token=ZERO_TOKEN)
    clients, held = [server.client() for _ in range(2)], "held-" + new_id()
    clients[0].write(held)
    holder = cluster.connect()
    holder.autocommit = False
    sql(holder, "SELECT * FROM millrace.append(%s, 'Held', '{}')", held)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(clients[0].post, ["stream.write", held, MESSAGE])
        for _ in range(5):
            assert clients[1].write("s-" + new_id())["position"] == 0
        assert answer.result().status == 503
    holder.rollback()
    holder.close()
