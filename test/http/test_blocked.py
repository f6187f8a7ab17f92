"""sys.blocked and sys.connections: who holds up whom, and who is connected."""
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from store import ZERO_TOKEN, Cluster, Server, sql, temporary_folder, token_for, wait_until
from test_admin_debug import Debugged, Frozen

SETTINGS = ["max_prepared_transactions=5"]
APPEND = "SELECT millrace.append(%s, 'T', '{}')"


@pytest.fixture(scope="module")
def postgres():
    cluster = Cluster(temporary_folder() + "/pg", SETTINGS).create().start()
    yield cluster
    cluster.stop("immediate")


@pytest.fixture(scope="module")
def watching(postgres):
    server = Server("--database", postgres.conninfo(), "--token", ZERO_TOKEN, "--workers", "2", token=ZERO_TOKEN)
    yield server
    server.stop()


@pytest.fixture
def admin(watching):
    return watching.client()


@pytest.fixture
def session(postgres):
    """Opens sessions whose transactions are over when the test is."""
    opened = []

    def make(name="the test", **options):
        opened.append(postgres.connect())
        sql(opened[-1], "SET application_name = %s", name)
        return opened[-1]

    yield make
    for each in opened:
        each.close()
    watcher = postgres.connect()
    for (gid, ) in sql(watcher, "SELECT gid FROM pg_prepared_xacts"):
        sql(watcher, "ROLLBACK PREPARED %s", gid)
    watcher.close()


def reader_of(admin, **who):
    """The one in the way of readers that is so."""
    return next((each for each in admin.call("sys.blocked")["readers"]
                 if all(each[key] == value for key, value in who.items())), None)


# Readers

def test_nobody_is_in_the_way(admin):
    found = wait_until(lambda: (each := admin.call("sys.blocked"))["readers"] == [] and each, "nobody")
    assert found == {"readers": [], "waiting": [], "prepared": [], "missing": None}


@pytest.mark.parametrize("how", ["by the function", "in a savepoint", "by INSERT", "by INSERT with a position"])
def test_a_session_that_forgot_to_commit_is_named_with_the_line_that_ends_it(admin, session, postgres, how):
    admin.write("s-1")
    forgetful = session("the forgetful one")
    pid = forgetful.get_backend_pid()
    place = sql(forgetful, "SELECT millrace.head('default')")[0][0] + 1
    sql(forgetful, "BEGIN")
    columns = "stream_name, position, type, data, id"
    values = "'s-9', (SELECT count(*) FROM millrace_default.messages), 'T', '{}', gen_random_uuid()"
    if how == "in a savepoint":
        sql(forgetful, "SAVEPOINT inner_one")
    if how == "by INSERT":
        place = sql(forgetful, f"INSERT INTO millrace_default.messages ({columns}) VALUES ({values}) "
                               "RETURNING global_position")[0][0]
    elif how == "by INSERT with a position":
        place += 1000
        sql(forgetful, f"INSERT INTO millrace_default.messages (global_position, {columns}) VALUES (%s, {values})",
            place)
    else:
        sql(forgetful, APPEND, "s-2")
    admin.write("s-1")
    found = wait_until(lambda: reader_of(admin, pid=pid), "the session is named")
    assert found["seconds"] >= 0
    assert {**found, "seconds": 0} == {
        "namespace": "default", "position": place, "pid": pid, "gid": None, "user": "tester", "client": None,
        "application": "the forgetful one", "state": "idle in transaction", "seconds": 0, "query": found["query"],
        "statement": f"SELECT pg_terminate_backend({pid})"}
    assert "append" in found["query"] or "INSERT" in found["query"]
    assert sql(postgres.connect(), found["statement"]) == [(True, )]
    wait_until(lambda: not reader_of(admin, pid=pid), "the line has ended it")
    wait_until(lambda: admin.call("sys.stats")["heldBack"] is None, "readers go on")


def test_of_several_each_is_named_and_the_first_one_has_the_position(admin, session):
    first, second = session("first"), session("second")
    for each, stream in ((first, "s-3"), (second, "s-4")):
        sql(each, "BEGIN")
        sql(each, APPEND, stream)
    place = admin.call("sys.stats")["heldBack"]["from"]
    readers = [(each["application"], each["position"]) for each in admin.call("sys.blocked")["readers"]]
    assert readers == [("first", place), ("second", None)]
    sql(first, "COMMIT")
    wait_until(lambda: reader_of(admin, application="second")["position"] == place + 1, "then the second one does")


def test_a_prepared_transaction_is_named_and_ended(admin, session, postgres):
    preparing = session()
    sql(preparing, "BEGIN")
    sql(preparing, APPEND, "s-5")
    sql(preparing, "PREPARE TRANSACTION 'it''s forgotten'")
    found = wait_until(lambda: reader_of(admin, gid="it's forgotten"), "it is named")
    assert (found["pid"], found["state"], found["user"]) == (None, "prepared", "tester")
    assert found["position"] == admin.call("sys.stats")["heldBack"]["from"]
    assert found["statement"] == "ROLLBACK PREPARED 'it''s forgotten'"
    (listed, ) = admin.call("sys.blocked")["prepared"]
    assert (listed["gid"], listed["statement"]) == ("it's forgotten", found["statement"]) and listed["seconds"] >= 0
    assert admin.call("sys.stats")["heldBack"]["seconds"] >= 0
    sql(postgres.connect(), found["statement"])
    assert admin.call("sys.blocked")["prepared"] == [] and not reader_of(admin, gid="it's forgotten")


def test_who_only_read_or_deleted_is_in_nobodys_way(admin, session):
    admin.write("s-1")
    reader, deleter = session("reader"), session("deleter")
    for each in (reader, deleter):
        sql(each, "BEGIN")
    sql(reader, "SELECT count(*) FROM millrace.read_all()")
    sql(deleter, "DELETE FROM millrace_default.messages WHERE global_position = 1")
    names = {each["application"] for each in admin.call("sys.blocked")["readers"]}
    assert not names & {"reader", "deleter"}
    sql(deleter, "ROLLBACK")


# Writers

def test_who_waits_for_a_stream_is_shown_with_who_has_it(admin, session, watching):
    holder = session("holder")
    sql(holder, "BEGIN")
    sql(holder, APPEND, "s-6")
    waiter = session("waiter")
    with ThreadPoolExecutor(1) as pool:
        appended = pool.submit(sql, waiter, APPEND, "s-6")
        # One call reads what sessions are at before the locks: for a moment it may have the statement of before.
        found = wait_until(lambda: next((each for each in admin.call("sys.blocked")["waiting"]
                                         if each["pid"] == waiter.get_backend_pid() and "append" in each["query"]),
                                        None), "the waiter is shown, with its statement")
        sql(holder, "COMMIT")
        appended.result()
    (by, ) = found.pop("blockedBy")
    assert found.pop("seconds") >= 0 and found.pop("query")
    assert found == {"pid": waiter.get_backend_pid(), "lock": "stream", "namespace": "default", "application": "waiter",
                     "user": "tester"}
    assert (by["pid"], by["application"], by["state"]) == (holder.get_backend_pid(), "holder", "idle in transaction")
    assert by["statement"] == f"SELECT pg_terminate_backend({holder.get_backend_pid()})"
    wait_until(lambda: admin.call("sys.blocked")["waiting"] == [], "nobody waits any more")


def test_an_append_of_the_servers_waits_since_it_was_called(session, watching):
    """It is a call without a statement: the query_start of pg_stat_activity is that of one before."""
    look, holder, streams = session(), session(), [f"s-8-{n}" for n in range(20)]
    sql(holder, "BEGIN")
    for stream in streams:
        sql(holder, APPEND, stream)
    with ThreadPoolExecutor(len(streams)) as pool:
        left, appended = iter(streams), []

        def seen():
            """It waits for a quarter of a second only; then the request is parked."""
            appended.append(pool.submit(watching.client().write, next(left)))
            return next(filter(None, (sql(look, "SELECT b.query_start = a.state_change, a.query_start < a.state_change "
                                                "FROM millrace.blocked b JOIN pg_stat_activity a USING (pid) "
                                                "WHERE a.state = 'fastpath function call'") for _ in range(50))), None)

        try:
            assert wait_until(seen, "an append that waits")[0] == (True, True)
        finally:
            sql(holder, "COMMIT")
        assert all(each.result()["position"] == 1 for each in appended)


def test_who_waits_for_a_prepared_transaction_is_told_which(admin, session):
    preparing, waiter = session(), session("waiter")
    sql(preparing, "BEGIN")
    sql(preparing, APPEND, "s-7")
    sql(preparing, "PREPARE TRANSACTION 'holder'")
    with ThreadPoolExecutor(1) as pool:
        appended = pool.submit(sql, waiter, APPEND, "s-7")
        found = wait_until(lambda: next((each for each in admin.call("sys.blocked")["waiting"]
                                         if each["pid"] == waiter.get_backend_pid()), None), "the waiter is shown")
        sql(session(), "COMMIT PREPARED 'holder'")
        appended.result()
    (by, ) = found["blockedBy"]
    assert (by["pid"], by["gid"], by["state"]) == (None, "holder", "prepared")
    assert by["statement"] == "ROLLBACK PREPARED 'holder'"


# A role that may see little

def test_a_role_that_may_not_see_others_sessions_says_what_it_lacks(postgres, start):
    owner = postgres.connect()
    sql(owner, "CREATE DATABASE small")
    owner = postgres.connect("small")
    sql(owner, "CREATE EXTENSION millrace")
    sql(owner, "CREATE ROLE small LOGIN")
    sql(owner, "ALTER DATABASE small OWNER TO small")
    conninfo = f"host={postgres.folder} user=small dbname=small"
    server = start("--database", conninfo, "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    admin = server.client()
    admin.write("s-1")
    sql(owner, "BEGIN")
    sql(owner, APPEND, "s-2")
    admin.write("s-1")
    found = wait_until(lambda: reader_of(admin, pid=owner.get_backend_pid()), "the other role's session is named")
    assert (found["position"], found["user"], found["state"], found["seconds"]) == (2, "tester", None, None)
    assert found["statement"] == f"SELECT pg_terminate_backend({owner.get_backend_pid()})"
    answer = admin.call("sys.blocked")
    assert answer["missing"].endswith("GRANT pg_read_all_stats TO small")
    assert admin.call("sys.stats")["heldBack"] == {"from": 2, "seconds": None}
    sql(owner, "COMMIT")
    sql(owner, re.search(r"GRANT .*", answer["missing"])[0])
    sql(owner, "BEGIN")
    sql(owner, APPEND, "s-2")
    found = wait_until(lambda: reader_of(admin, pid=owner.get_backend_pid()), "it is named")
    assert found["state"] == "idle in transaction" and found["seconds"] >= 0
    assert admin.call("sys.blocked")["missing"] is None
    sql(owner, "COMMIT")


def test_a_standby_answers_the_look_ups_and_says_what_it_does_not_know(postgres, watching, start):
    watching.client().write("s-1")
    cluster = Cluster(temporary_folder() + "/pg", SETTINGS).copy_of(postgres).start()
    try:
        server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--retry-window", "1", token=ZERO_TOKEN)
        client = server.client()
        head = client.call("sys.stats")["head"]
        assert head > 0 and client.call("position.at", "2999-01-01T00:00:00Z") == {"position": head + 1, "head": head}
        (last, ) = client.call("category.get", "", {"direction": "backward", "batchSize": 1})
        assert client.call("message.get", last[0]) == last
        assert client.call("streams.recent", {"limit": 1})["streams"][0]["stream"] == last[1]
        assert client.call("messages.search", {"limit": 1})["messages"] == [last]
        assert client.call("ns.types")["types"]
        blocked = client.call("sys.blocked")
        assert blocked["readers"] == [] and "standby" in blocked["missing"]
        assert client.call("sys.connections")["count"] >= 1
        assert client.refused("consumer.claims", "none").code == "CONSUMER_NOT_FOUND"
    finally:
        cluster.stop("immediate")


# Connections

def test_the_clients_of_all_workers_are_listed(watching):
    clients = [watching.client() for _ in range(8)]
    for client in clients:
        client.call("sys.version")
        client.call("sys.version")
    found = clients[0].call("sys.connections")
    assert found["silentWorkers"] == 0 and found["count"] == len(found["connections"]) >= 8
    assert {each["worker"] for each in found["connections"]} <= {0, 1}
    rows = {each["remote"]: each for each in found["connections"]}
    for client in clients:
        row = rows["%s:%d" % client.connection.sock.getsockname()[:2]]
        assert row["requests"] == (3 if client is clients[0] else 2) and row["bytesIn"] > 0
        assert row["state"] == ("working" if client is clients[0] else "idle")
        assert row["path"] == ("/rpc" if client is clients[0] else "") and row["age"] >= row["quiet"] >= 0
    for client in clients[1:]:
        client.close()
    wait_until(lambda: clients[0].call("sys.connections")["count"] <= found["count"] - 7, "they are gone")


def test_subscriptions_are_counted_and_no_token_is_shown(watching):
    client = watching.client()
    before = client.call("sys.connections")["subscriptions"]
    with watching.connect() as wire:
        wire.sendall(f"GET /subscribe?all=true&token={ZERO_TOKEN} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_until(lambda: client.call("sys.connections")["subscriptions"] == before + 1, "the subscription is counted")
        reply = client.post(["sys.connections"])
        assert ZERO_TOKEN.encode() not in reply.body
        assert "/subscribe" in [each["path"] for each in reply.json["connections"]]
    wait_until(lambda: client.call("sys.connections")["subscriptions"] == before, "it has ended")


def test_a_batch_asks_for_connections_twice_and_is_answered(watching):
    call = {"jsonrpc": "2.0", "method": "sys.connections"}
    first, second = watching.client().post([{**call, "id": 1}, {**call, "id": 2}]).json
    assert first["result"]["count"] >= 1 and second["result"]["silentWorkers"] == 0


@pytest.fixture
def frozen():
    """A server with a worker that does not turn its loop."""
    import os
    server = Debugged("--test-mode")
    threads = sorted(int(name) for name in os.listdir(f"/proc/{server.process.pid}/task"))
    thread = Frozen(threads[-1])
    yield server, thread
    thread.thaw()
    server.stop()


def turning_client(server):
    """A client of the worker that answers."""
    while True:
        client = server.client(token_for("default"), timeout=0.5)
        try:
            client.request("GET", "/version")
            client.connection.sock.settimeout(30)
            return client
        except OSError:
            client.close()


def test_a_worker_that_is_silent_is_counted_after_a_second_and_holds_up_nobody(frozen):
    server, thread = frozen
    asking, other = turning_client(server), turning_client(server)
    begin = time.monotonic()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(asking.call("sys.connections")))
    waiting.start()
    slowest = 0
    while waiting.is_alive():
        before = time.monotonic()
        other.call("sys.version")
        slowest = max(slowest, time.monotonic() - before)
    waiting.join()
    assert 0.9 < time.monotonic() - begin < 5 and slowest < 0.9
    assert answers[0]["silentWorkers"] == 1 and answers[0]["count"] >= 2
    thread.thaw()
    wait_until(lambda: other.call("sys.connections")["silentWorkers"] == 0, "it answers again")


def test_a_client_that_does_not_wait_for_the_answer_harms_nothing(frozen):
    server, thread = frozen
    other = turning_client(server)
    for _ in range(20):
        with server.connect() as wire:
            wire.sendall(b'POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 19\r\n\r\n["sys.connections"]')
    assert other.call("sys.version")
    thread.thaw()
    wait_until(lambda: other.call("sys.connections")["count"] <= 2, "they are gone")


def test_a_call_that_waits_when_the_server_stops_is_answered(frozen):
    server, thread = frozen
    asking = turning_client(server)
    replies = []
    waiting = threading.Thread(target=lambda: replies.append(asking.post(["sys.connections"])))
    waiting.start()
    time.sleep(0.05)
    server.terminate()
    waiting.join()
    assert replies[0].status in (200, 500)
    thread.thaw()
    assert server.wait() == 0
