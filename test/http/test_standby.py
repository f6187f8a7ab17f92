"""A server whose database is a standby, and the ports of the admin listener."""
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from store import MILLRACE, ZERO_TOKEN, Cluster, Server, sql, temporary_folder, wait_until

MESSAGE = {"type": "Tested", "data": {}}


@pytest.fixture(scope="module")
def primary(shared_cluster):
    return shared_cluster


@pytest.fixture(scope="module")
def standby(primary):
    folder = temporary_folder()
    first = Server("--database", primary.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    first.client().write("account-1")
    first.stop()
    cluster = Cluster(folder + "/pg").copy_of(primary).start()
    yield cluster
    cluster.stop("immediate")
    shutil.rmtree(folder)


def test_on_a_standby_all_that_only_reads_is_answered(standby, start):
    server = start("--database", standby.conninfo(), "--token", ZERO_TOKEN, "--retry-window", "1", "--admin-listen",
                   "127.0.0.1:0", token=ZERO_TOKEN)
    client = server.client()
    assert [each["namespace"] for each in client.call("ns.list")] == ["default"]
    assert client.call("ns.info", "default")["namespace"] == "default"
    assert [each["stream"] for each in client.call("ns.streams")] == ["account-1"]
    assert [each["category"] for each in client.call("ns.categories")] == ["account"]
    assert len(client.call("stream.get", "account-1")) == 1
    for request in (["stream.write", "account-1", MESSAGE], ["ns.create", "another"]):
        error = client.refused(*request)
        assert (error.status, error.code, error.message) == (503, "BACKEND_UNAVAILABLE",
                                                             "Postgres answers reads, but takes no writes")
    began = time.monotonic()
    assert client.refused("ns.create",
                          "another").status == 503 and time.monotonic() - began < 0.5, "it is not waited for again"
    ready = server.admin().request("GET", "/ready")
    assert (ready.status, ready.json) == (503, {"status": "reads only", "appends": False, "reads": True,
                                                "readsFrom": "primary"})
    ready = server.admin().request("GET", "/ready?for=reads")
    assert (ready.status, ready.json["status"]) == (200, "ready")


def test_without_a_database_nothing_is_ready_and_it_cannot_be_reached(primary, start):
    server = start("--database", primary.conninfo(), "--token", ZERO_TOKEN, "--retry-window", "1", "--admin-listen",
                   "127.0.0.1:0", token=ZERO_TOKEN)
    client = server.client()
    assert client.call("ns.list")
    primary.stop("immediate")
    try:
        for request in (["stream.get", "s"], ["ns.list"], ["stream.write", "s", MESSAGE]):
            assert client.refused(*request).message == "Postgres cannot be reached"
        for path in ("/ready", "/ready?for=reads"):
            ready = server.admin().request("GET", path)
            assert (ready.status, ready.json) == (503, {"status": "not ready", "appends": False, "reads": False,
                                                        "readsFrom": None})
    finally:
        primary.start()
    wait_until(lambda: server.admin().request("GET", "/ready").status == 200, "readiness")


def test_a_namespace_call_whose_session_ends_is_told_so(primary, start):
    server = start("--database", primary.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    client, connection, holder = server.client(), primary.connect(), primary.connect()
    client.call("ns.list")  # now the token is known
    holder.autocommit = False
    sql(holder, "LOCK TABLE millrace.namespaces IN SHARE MODE")  # which does not hinder the look-up of tokens
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, ["ns.create", "another"])
        found = ("SELECT pid FROM pg_stat_activity "
                 "WHERE wait_event_type = 'Lock' AND query LIKE '%%json_create_namespace%%'")
        ((pid,),) = wait_until(lambda: sql(connection, found), "the call that waits")
        sql(connection, "SELECT pg_terminate_backend(%s)", pid)
        holder.rollback()
        reply = answer.result()
    assert reply.status == 503 and "lost before the answer came" in reply.json["error"]["message"]


def test_a_default_admin_port_that_is_taken_is_one_warning(start):
    try:
        with socket.create_server(("127.0.0.1", 8079)):
            server = start("--test-mode")
    except OSError:  # another program has it: just as good
        server = start("--test-mode")
    assert server.text.count("8079") == 1 and "warning no admin listener" in server.text
    assert server.client().write("s")["position"] == 0


def test_an_admin_port_that_was_asked_for_and_is_taken_is_exit_code_2(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Server("--data-dir", folder + "/data", "--admin-listen", f"127.0.0.1:{taken.getsockname()[1]}",
                        wait=False)
        assert server.wait(90) == 2 and "could not listen" in server.text


def test_the_defaults_are_shown():
    text = subprocess.run([MILLRACE, "help", "serve"], capture_output=True, text=True).stdout
    assert "127.0.0.1:8079" in text and "9090" not in text
