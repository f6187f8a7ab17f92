"""Full queues, and the errors of the last resort."""
import threading
from concurrent.futures import ThreadPoolExecutor

from store import ZERO_TOKEN, sql, wait_until
from write_load import MESSAGE, hold_stream, waiting


def test_a_writer_that_waits_for_an_idle_transaction_holds_up_no_other_stream(cluster, start):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--workers", "1", token=ZERO_TOKEN)
    connection = hold_stream(cluster.connect(), "account-1")
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(server.client().write, "account-1")
        try:
            wait_until(lambda: waiting(cluster), "a writer that waits")
            assert server.client(timeout=5).write("account-2")["position"] == 0
            assert server.client(timeout=5).write("other-1")["position"] == 0
            assert not waits.done()
        finally:
            connection.commit()
            connection.close()
        assert waits.result()["position"] == 1


def test_a_stream_held_longer_than_the_retry_window_is_503(cluster, start):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--workers", "1", "--retry-window", "1",
                   token=ZERO_TOKEN)
    connection = hold_stream(cluster.connect(), "account-1")
    reply = server.client().post(["stream.write", "account-1", MESSAGE])
    assert (reply.status, reply.error["code"]) == (503, "BACKEND_UNAVAILABLE")
    assert "another session holds the stream" in reply.error["message"] and int(reply.headers["Retry-After"]) >= 1
    connection.rollback()
    connection.close()
    assert server.client().write("account-1")["position"] == 0


def test_beyond_a_full_queue_the_server_is_overloaded_and_stays_responsive(cluster, start):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--workers", "1", "--queue-requests", "5",
                   token=ZERO_TOKEN)
    connection = hold_stream(cluster.connect(), "s")
    with ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(lambda: server.client().post(["stream.write", "s", MESSAGE])) for _ in range(40)]
        refused = wait_until(lambda: [answer for answer in answers if answer.done()], "a refused request")
        reply = refused[0].result()
        assert (reply.status, reply.error["code"]) == (503, "OVERLOADED")
        assert int(reply.headers["Retry-After"]) >= 1
        assert server.client().request("GET", "/health").status == 200
        connection.commit()
        connection.close()
        statuses = [answer.result().status for answer in answers]
    assert set(statuses) == {200, 503}
    assert server.client().call("stream.version", "s") == statuses.count(200)
    assert server.client().write("s")


def test_a_full_queue_refuses_reads_exports_and_namespace_calls_too(cluster, start):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--workers", "1", "--queue-requests", "1",
                   token=ZERO_TOKEN)
    client, connection = server.client(), hold_stream(cluster.connect(), "s")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.client().write, "s")
        wait_until(lambda: waiting(cluster), "a writer that waits")
        for reply in (client.request("GET", "/export"), client.post(["stream.version", "s"]), client.post(["ns.list"])):
            assert (reply.status, reply.error["code"]) == (503, "OVERLOADED") and int(reply.headers["Retry-After"]) >= 1
        connection.commit()
        connection.close()
        assert answer.result()["position"] == 1


def test_a_queue_is_bounded_in_bytes_too(cluster, start):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--workers", "1", "--queue-bytes", "1M",
                   token=ZERO_TOKEN)
    connection = hold_stream(cluster.connect(), "s")
    message = {"type": "T", "data": {"x": "y" * 200_000}}
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(lambda: server.client().post(["stream.write", "s", message])) for _ in range(20)]
        refused = wait_until(lambda: [answer for answer in answers if answer.done()], "a refused request")
        assert refused[0].result().error["code"] == "OVERLOADED"
        connection.commit()
        connection.close()
        assert {answer.result().status for answer in answers} == {200, 503}


# Errors of the last resort

def test_a_table_dropped_by_hand_is_a_backend_error(cluster, start):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    client = server.client()
    broken = server.client(client.call("ns.create", "broken")["token"])
    broken.write("s")
    ((schema,),) = sql(cluster.connect(), "SELECT schema FROM millrace.namespaces WHERE name = 'broken'")
    sql(cluster.connect(), f'DROP TABLE "{schema}".messages CASCADE')
    for call in (["stream.write", "s", MESSAGE], ["stream.get", "s"], ["category.get", "s"], ["stream.version", "s"]):
        error = broken.refused(*call)
        assert (error.status, error.code) == (500, "BACKEND_ERROR") and error.message
    assert client.write("s")["position"] == 0, "the other namespaces work on"
    answer = broken.post({"jsonrpc": "2.0", "method": "stream.get", "params": ["s"], "id": 1}).json
    assert answer["error"]["data"]["code"] == "BACKEND_ERROR"


def test_reads_that_are_sent_together_fail_apart(cluster, start):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--workers", "1", "--read-connections", "1",
                   token=ZERO_TOKEN)
    whole, token = server.client(), server.client().call("ns.create", "broken")["token"]
    whole.write("s")
    server.client(token).write("s")
    ((schema,),) = sql(cluster.connect(), "SELECT schema FROM millrace.namespaces WHERE name = 'broken'")
    sql(cluster.connect(), f'DROP TABLE "{schema}".messages CASCADE')
    answers = {"whole": set(), "broken": set()}

    def read(kind, client):
        for _ in range(200):
            answers[kind].add(client.post(["stream.version", "s"]).status)

    threads = [threading.Thread(target=read, args=(kind, server.client(token) if kind == "broken" else server.client()))
               for kind in ("whole", "broken") for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {"whole": {200}, "broken": {500}}


def test_a_malformed_batch_is_an_internal_error(cluster, start):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    client = server.client()
    client.write("s")
    sql(
        cluster.connect(),
        """CREATE OR REPLACE FUNCTION millrace.append_batch_packed(batch bytea) RETURNS bytea LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION SQLSTATE 'MR011' USING MESSAGE = 'malformed batch'; END $$""")
    error = client.refused("stream.write", "s", MESSAGE)
    assert (error.status, error.code) == (500, "INTERNAL_ERROR")
    answer = client.post({"jsonrpc": "2.0", "method": "stream.write", "params": ["s", MESSAGE], "id": 1}).json
    assert answer["error"]["code"] in (-32603, -32000)
