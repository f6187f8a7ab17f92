"""The Postgres of a server goes away, comes back, or accepts no writes."""
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from store import ZERO_TOKEN, Cluster, make_synchronous, sql, wait_until
from write_load import MESSAGE, Load


def test_a_killed_backend_is_a_pause(folder, start):
    server = start("--data-dir", folder + "/data", "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    load = Load(server)
    for _ in range(5):
        load.goes_on()
        connection = server.postgres()
        sql(
            connection,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        connection.close()
    load.goes_on()
    load.stop()
    assert load.others == []
    load.verify(server.client())


def is_lost(connection):
    try:
        sql(connection, "SELECT 1")
    except psycopg2.DatabaseError:
        return True
    return False


def connected(server):
    """A connection, or None while Postgres recovers."""
    try:
        return server.postgres()
    except psycopg2.OperationalError:
        return None


def test_a_crash_of_postgres_is_a_pause(folder, start):
    server = start("--data-dir", folder + "/data", "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    load = Load(server)
    for _ in range(2):
        load.goes_on()
        connection = wait_until(lambda: connected(server), "Postgres")
        (pid, ) = sql(
            connection,
            "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' LIMIT 1"
        )[0]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: is_lost(connection), "the crash")
        connection.close()
    load.goes_on()
    load.stop()
    assert load.others == []
    load.verify(server.client())


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_postgres_is_a_pause(cluster, start, mode):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    load = Load(server)
    readers = [server.client() for _ in range(4)]
    for _ in range(2):
        load.goes_on()
        with ThreadPoolExecutor(5) as pool:
            restarted = pool.submit(lambda: (cluster.stop(mode), cluster.start()))
            while not restarted.done():
                replies = list(pool.map(lambda reader: reader.post(["stream.get", "s-0", {"batchSize": 5}]), readers))
                assert {reply.status for reply in replies} == {200}
    load.goes_on()
    load.stop()
    assert load.others == []
    load.verify(server.client())


def test_a_database_that_accepts_no_writes_for_a_while_is_a_pause(cluster, start):
    """As when the roles of two servers are exchanged: the connection is fine, but leads to the wrong one."""
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    load, connection = Load(server), cluster.connect()
    load.goes_on()
    for read_only in ("on", "off"):
        sql(connection, f"ALTER SYSTEM SET default_transaction_read_only = {read_only}")
        sql(connection, "SELECT pg_reload_conf()")
        wait_until(lambda: "connection for appends: " in server.text, "the loss of the connection")
    load.goes_on()
    load.stop()
    assert load.others == []
    load.verify(server.client())


def test_the_log_tells_why_a_connection_cannot_be_had_back(cluster, start):
    """How it ended does not say it."""
    connection = cluster.connect()
    sql(connection, "CREATE DATABASE dropped")
    server = start("--database", cluster.conninfo("dropped"), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    server.client().write("s")
    sql(connection, "DROP DATABASE dropped WITH (FORCE)")
    wait_until(lambda: 'connection for appends: still lost: ' in server.text, "the reason")
    reason = re.search("still lost: (.*)", server.text).group(1)
    assert reason.endswith('database "dropped" does not exist') and server.text.count("connection for appends: ") == 2


def test_a_request_that_takes_postgres_down_each_time_fails_alone(cluster, start):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--workers", "1", token=ZERO_TOKEN)
    connection = cluster.connect()
    sql(
        connection,
        "CREATE FUNCTION millrace.true_append_batch(batch bytea) RETURNS bytea "
        "LANGUAGE c AS 'millrace', 'millrace_append_batch_packed'"
    )
    sql(
        connection,
        """CREATE OR REPLACE FUNCTION millrace.append_batch_packed(batch bytea) RETURNS bytea
        LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_terminate_backend(pg_backend_pid()) WHERE position('deadly'::bytea IN batch) > 0;
        RETURN millrace.true_append_batch(batch); END $$""")
    load = Load(server)
    load.goes_on()
    reply = server.client().post(["stream.write", "s", {"type": "deadly", "data": {}}])
    assert (reply.status, reply.error["code"]) == (503, "BACKEND_UNAVAILABLE")
    load.goes_on()
    load.stop()
    assert load.others == []
    load.verify(server.client())
    assert server.client().call("stream.version", "s") is None


@pytest.fixture
def full(cluster):
    """A function that makes the disk of the cluster full for appends, and one that makes room."""
    connection = cluster.connect()
    sql(connection, "CREATE TABLE IF NOT EXISTS full_disk ()")
    sql(connection, """CREATE OR REPLACE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF EXISTS (SELECT FROM public.full_disk) THEN
            RAISE disk_full USING MESSAGE = 'could not extend file "base/5/17": No space left on device';
        END IF;
        RETURN NULL; END $$""")
    sql(connection, "GRANT SELECT ON full_disk TO public")

    def prepare():
        sql(connection, "CREATE OR REPLACE TRIGGER full_disk AFTER INSERT ON millrace_default.messages "
            "FOR EACH ROW EXECUTE FUNCTION full_disk()")
        return (lambda: sql(connection, "INSERT INTO full_disk DEFAULT VALUES"),
                lambda: sql(connection, "TRUNCATE full_disk"))

    yield prepare
    sql(connection, "TRUNCATE full_disk")
    sql(connection, "DROP FUNCTION full_disk CASCADE")


def test_a_full_disk_of_your_own_postgresql_is_a_pause_however_long_it_takes(cluster, start, full):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    fill, make_room = full()
    load = Load(server)
    load.goes_on()
    fill()
    wait_until(lambda: "No space left on device" in server.text, "a line in the log")
    time.sleep(6)  # more attempts than there are for a request of which Postgres dies
    assert load.others == [] and server.client().call("stream.get", "nobody") is not None
    make_room()
    load.goes_on()
    load.stop()
    assert load.others == []
    load.verify(server.client())
    assert server.text.count("No space left on device") == 1 and server.text.count("is back") == 1


def test_a_disk_that_is_full_a_second_time_is_waited_for_anew(cluster, start, full):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--retry-window", "2", token=ZERO_TOKEN)
    clients, (fill, make_room) = [server.client() for _ in range(4)], full()
    clients[0].write("s")
    time.sleep(3)  # longer than the window: an outage does not count from the start
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            fill()
            answers = []
            for client in clients:  # one after the other: while it is waited for others come
                answers.append(pool.submit(client.post, ["stream.write", "s", MESSAGE]))
                time.sleep(0.3)
            assert not any(answer.done() for answer in answers)
            make_room()
            assert [answer.result().status for answer in answers] == [200] * 4
            time.sleep(2)


def test_a_disk_that_is_full_for_longer_than_the_retry_window_is_503(cluster, start, full):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--retry-window", "1", token=ZERO_TOKEN)
    client, (fill, make_room) = server.client(), full()
    fill()
    for _ in range(2):
        error = client.refused("stream.write", "s", MESSAGE)
        assert (error.status, error.code) == (503, "BACKEND_UNAVAILABLE")
    make_room()
    wait_until(lambda: client.post(["stream.write", "s", MESSAGE]).status == 200, "writing after there is room")


def test_after_the_retry_window_the_backend_is_unavailable(cluster, start):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--retry-window", "1", token=ZERO_TOKEN)
    clients = [server.client() for _ in range(3)]
    for client in clients:
        client.write("s")
    cluster.stop("immediate")
    requests = [["stream.write", "s", MESSAGE], ["stream.get", "s"], ["ns.list"]]
    with ThreadPoolExecutor(3) as pool:
        errors = list(pool.map(lambda pair: pair[0].refused(*pair[1]), zip(clients, requests)))
    for error in errors:
        assert (error.status, error.code) == (503, "BACKEND_UNAVAILABLE")
        assert int(error.headers["Retry-After"]) >= 1
    began = time.monotonic()
    for request in requests[:2]:
        error = clients[0].refused(*request)
        assert (error.status, error.code) == (503, "BACKEND_UNAVAILABLE") and int(error.headers["Retry-After"]) >= 1
    assert time.monotonic() - began < 0.5, "new ones are not waited for"
    assert clients[0].request("GET", "/health").status == 200, "health touches no database"
    cluster.start()
    wait_until(lambda: clients[0].post(["stream.write", "s", MESSAGE]).status == 200, "writing after the outage")


def test_a_database_that_accepts_no_writes_for_longer_than_the_retry_window_still_serves_reads(cluster, start):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--retry-window", "1", token=ZERO_TOKEN)
    client, connection = server.client(), cluster.connect()
    client.write("s")
    for read_only in ("on", "off"):
        sql(connection, f"ALTER SYSTEM SET default_transaction_read_only = {read_only}")
        sql(connection, "SELECT pg_reload_conf()")
        wait_until(lambda: client.post(["stream.write", "s", MESSAGE]).status == (503 if read_only == "on" else 200),
                   "the change")
        began = time.monotonic()
        assert client.call("stream.version", "s") is not None
        assert read_only == "off" or client.refused("stream.write", "s", MESSAGE).code == "BACKEND_UNAVAILABLE"
        assert time.monotonic() - began < 0.5, "it is not waited for again"


def test_what_waits_for_a_synchronous_standby_that_is_not_there_does_not_pile_up(folder, start):
    """Each session that waits is left, as to cancel it would show what it has committed; there is one a connection."""
    cluster = Cluster(folder + "/pg").create().start()
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--answer-timeout", "1", "--retry-window",
                   "2", "--workers", "1", "--admin-listen", "127.0.0.1:0", token=ZERO_TOKEN)
    client, look = server.client(), cluster.connect()
    client.write("s-0")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    make_synchronous(cluster)
    refused = []

    def write(number):
        own = server.client()
        while len(refused) < 24:
            reply = own.post(["stream.write", f"s-{number}", MESSAGE])
            assert reply.status == 503 and reply.json["error"]["code"] == "BACKEND_UNAVAILABLE", reply.body
            refused.append(number)

    with ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(write, number) for number in range(6)]
        while not all(each.done() for each in writers):
            assert len(client.call("stream.get", "s-0")) == 1
            assert client.request("GET", "/health").status == 200
            time.sleep(0.1)
        for each in writers:
            each.result()
    ((count,),) = sql(look, waiting)
    assert 1 <= count <= 2, "of the connection for appends, and of the one for those to locked streams"
    wait_until(lambda: "waits for a synchronous standby, and there is none" in server.text, "the log's word of it")
    assert server.admin().request("GET", "/ready?for=appends").status == 503
    assert server.admin().request("GET", "/ready?for=reads").status == 200
    sql(look, "ALTER SYSTEM RESET synchronous_standby_names")
    sql(look, "SELECT pg_reload_conf()")
    wait_until(lambda: sql(look, waiting) == [(0,)], "the end of all waits")
    wait_until(lambda: client.post(["stream.write", "s-9", MESSAGE]).status == 200, "an append")
    cluster.stop("immediate")
