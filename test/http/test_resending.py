"""What is sent to Postgres again and what is not, and whose turn it is when a stream is locked."""
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from store import ZERO_TOKEN, sql, wait_until

MESSAGE = {"type": "Tested", "data": {}}


@pytest.fixture
def serve(cluster, start):
    """Starts a server of one worker on the cluster."""
    return lambda *arguments: start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--workers", "1", *
                                    arguments, token=ZERO_TOKEN)


# Sent again, or not


def let_it_die(cluster, function):
    """Puts a function in the place of one of ours that ends its session, and counts its calls in a sequence."""
    connection = cluster.connect()
    sql(connection, "CREATE SEQUENCE calls")
    sql(connection, f"""CREATE OR REPLACE FUNCTION millrace.{function} LANGUAGE plpgsql AS $$ BEGIN
        PERFORM nextval('public.calls'); PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); END $$""")
    return lambda: sql(connection, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM calls")[0][0]


@pytest.mark.parametrize(
    "function, call",
    [("json_create_namespace(name text, description text, token_hash text, metadata jsonb) RETURNS text",
      ["ns.create", "new"]), ("json_drop_namespace(name text) RETURNS text", ["ns.delete", "old"])])
def test_a_call_whose_second_answer_would_be_wrong_is_sent_once(cluster, serve, function, call):
    client = serve().client()
    client.call("ns.create", "old")
    calls = let_it_die(cluster, function)
    error = client.refused(*call)
    assert (error.status, error.code, calls()) == (503, "BACKEND_UNAVAILABLE", 1)


def test_a_batch_of_an_import_is_sent_once(cluster, serve):
    client = serve().client()
    calls = let_it_die(
        cluster,
        "import_batch(namespace text, batch bytea, OUT imported bigint, OUT failed_record integer, OUT sqlstate text, "
        "OUT message text, OUT last_global_position bigint) RETURNS record")
    line = b'{"id":"00000000-0000-4000-8000-000000000001","stream":"s","type":"T","pos":0,"gpos":1,' \
           b'"data":{},"meta":null,"time":"2024-01-02T03:04:05Z"}'
    reply = client.request("POST", "/import", line)
    assert b'"error":"IMPORT_FAILED"' in reply.body and b"may be stored or not" in reply.body and calls() == 1


def test_a_read_that_takes_postgres_down_each_time_fails_after_ten_times(cluster, serve):
    client = serve().client()
    calls = let_it_die(cluster, "json_stream_version(namespace text, stream text) RETURNS text")
    error = client.refused("stream.version", "s")
    assert (error.status, error.code, calls()) == (503, "BACKEND_UNAVAILABLE", 10)
    assert client.call("stream.get", "s") == []


def before_each_batch(connection, statement):
    """Has Postgres do something first with each batch of appends, whose bytes are `batch`."""
    sql(
        connection,
        "CREATE FUNCTION millrace.true_append_batch(batch bytea) RETURNS bytea "
        "LANGUAGE c AS 'millrace', 'millrace_append_batch_packed'")
    sql(
        connection,
        f"""CREATE OR REPLACE FUNCTION millrace.append_batch_packed(batch bytea) RETURNS bytea
        LANGUAGE plpgsql AS $$ BEGIN {statement} RETURN millrace.true_append_batch(batch); END $$""")


def test_an_id_of_the_servers_own_that_is_taken_after_all_is_looked_for(cluster, serve):
    """The first byte of a batch says that all of its ids are new; a unique violation says that they aren't."""
    client = serve().client()
    connection = cluster.connect()
    before_each_batch(connection, "IF get_byte(batch, 0) = 2 THEN RAISE unique_violation; END IF;")
    assert client.write("s")["position"] == 0


def test_appends_find_a_function_that_was_dropped_and_made_again(cluster, serve):
    """They call it by its OID, which a connection learns when it is set up."""
    client, connection = serve().client(), cluster.connect()
    assert client.write("s")["position"] == 0
    sql(
        connection, "ALTER EXTENSION millrace DROP FUNCTION millrace.append_batch_packed(bytea); "
        "DROP FUNCTION millrace.append_batch_packed(bytea); "
        "CREATE FUNCTION millrace.append_batch_packed(batch bytea) RETURNS bytea "
        "LANGUAGE c AS 'millrace', 'millrace_append_batch_packed'")
    assert client.write("s")["position"] == 1


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
@pytest.mark.parametrize(
    "function, original, call",
    [("append_batch_packed(batch bytea) RETURNS bytea", "original(batch)", ["stream.write", "s", MESSAGE]),
     ("json_stream_version(namespace text, stream text) RETURNS text", "original(namespace, stream)",
      ["stream.version", "s"])])
def test_a_clash_with_others_is_tried_again(cluster, serve, function, original, call, sqlstate):
    client, connection = serve().client(), cluster.connect()
    name, arguments = function.split("(", 1)
    sql(connection, "CREATE SEQUENCE calls")
    sql(connection, f"CREATE FUNCTION millrace.original({arguments} LANGUAGE c AS 'millrace', 'millrace_{name}'")
    sql(connection, f"""CREATE OR REPLACE FUNCTION millrace.{function} LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('public.calls') = 1 THEN RAISE SQLSTATE '{sqlstate}'; END IF;
        RETURN millrace.{original}; END $$""")
    assert client.post(call).status == 200
    assert sql(connection, "SELECT last_value FROM calls") == [(2,)]


def test_a_request_that_only_postgres_refuses_fails_alone(cluster, serve):
    client, connection = serve().client(), cluster.connect()
    before_each_batch(connection, "IF position('bad'::bytea IN batch) > 0 THEN "
                                  "RAISE SQLSTATE '22000' USING MESSAGE = 'it is bad'; END IF;")
    calls = [{
        "jsonrpc": "2.0", "id": n, "method": "stream.write",
        "params": ["s", {"type": "bad" if n == 3 else "T", "data": {}}]
    } for n in range(7)]
    answers = client.post(calls).json
    assert [answer["result"]["position"] for answer in answers if "result" in answer] == list(range(6))
    assert "it is bad" in answers[3]["error"]["message"]


# How much goes into a batch


@pytest.mark.parametrize("arguments, method, argument",
                         [(["--batch-messages", "5"], "stream.append", [MESSAGE] * 3),
                          (["--batch-messages", "5"], "stream.append", [MESSAGE] * 7),
                          (["--batch-bytes", "1K"], "stream.write", {"type": "T", "data": {"text": "x" * 600}}),
                          (["--batch-bytes", "1K"], "stream.write", {"type": "T", "data": {"text": "x" * 2000}})])
def test_a_batch_holds_no_more_messages_and_bytes_than_it_may_but_one_request_at_least(
        cluster, serve, arguments, method, argument):
    client, connection = serve(*arguments).client(), cluster.connect()
    sql(connection, "CREATE TABLE batches (requests bytea)")
    before_each_batch(connection, "INSERT INTO public.batches VALUES (substr(batch, 2, 4));")
    calls = [{"jsonrpc": "2.0", "id": n, "method": method, "params": [f"s-{n}", argument]} for n in range(20)]
    assert all("result" in answer for answer in client.post(calls).json)
    assert sql(connection, "SELECT requests::text, count(*) FROM batches GROUP BY 1") == [("\\x00000001", 20)]


# Whose turn it is


class Holder:
    """A transaction that holds streams."""

    def __init__(self, cluster, *streams):
        self.connection = cluster.connect()
        self.connection.autocommit = False
        for stream in streams:
            sql(self.connection, "SELECT millrace.append(%s, 'Held', '{}')", stream)

    def release(self):
        self.connection.rollback()
        self.connection.close()


@pytest.fixture
def parking(cluster, serve):
    """A server whose locked streams are many, so that each of them is tried seldom, and how many requests it has
    parked."""
    server = serve("--admin-listen", "127.0.0.1:0")
    admin, client = server.admin(), server.client()
    others = Holder(cluster, *(f"other-{n}" for n in range(6)))

    def parked(count):
        text = admin.request("GET", "/metrics").body.decode()
        return int(re.search(r"^millrace_locked_appends_total (\d+)$", text, re.M).group(1)) >= count

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(batch, client, [f"other-{n}" for n in range(6)])
        wait_until(lambda: parked(6), "six requests that are parked")
        server.parked = lambda count: wait_until(lambda: parked(6 + count), f"{count} more")
        yield server
        others.release()
        assert answer.result() == [0] * 6


def batch(client, streams):
    """Appends to streams with one batch of JSON-RPC; each message has its number.  The positions."""
    calls = [{"jsonrpc": "2.0", "id": n, "method": "stream.write", "params": [stream, {"type": "T", "data": {"n": n}}]}
             for n, stream in enumerate(streams)]
    return [answer["result"]["position"] for answer in client.post(calls).json]


def numbers(client, stream):
    return [message[4]["n"] for message in client.call("stream.get", stream)]


def test_requests_of_one_batch_keep_their_order_when_their_stream_is_locked(cluster, parking):
    client, holder = parking.client(), Holder(cluster, "s")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(batch, client, ["s", "s", "t", "s", "t", "s"])
        parking.parked(1)
        holder.release()
        assert answer.result() == [0, 1, 0, 2, 1, 3]
    assert numbers(client, "s") == [0, 1, 3, 5]


def test_a_request_stays_behind_one_that_waits_for_its_stream(cluster, parking):
    streams = [f"s-{n}" for n in range(4)]
    holder = Holder(cluster, *streams)
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(batch, parking.client(), streams)]
        parking.parked(1)
        answers.append(pool.submit(batch, parking.client(), streams))
        parking.parked(4)
        holder.release()
        answers.append(pool.submit(batch, parking.client(), streams))
        assert [answer.result() for answer in answers] == [[0] * 4, [1] * 4, [2] * 4]


def test_a_request_stays_behind_one_that_is_just_being_tried(cluster, serve):
    server, connection = serve(), cluster.connect()
    holder = Holder(cluster, "s")

    def waiting():
        return [
            row[0] for row in sql(
                connection, "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' ORDER BY state_change")
        ]

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.client().write, "s")
        wait_until(waiting, "the first request")
        pool.submit(server.client().write, "other").result()  # it comes through: the first one is parked
        (tried,) = wait_until(lambda: len(waiting()) == 1 and waiting(), "the first request again")
        second = pool.submit(server.client().write, "s")
        # Were the second one sent, the first would soon begin to wait behind it.
        for _ in range(40):
            if waiting()[1:] == [tried]:
                break
            sql(connection, "SELECT pg_sleep(0.01)")
        holder.release()
        assert (first.result()["position"], second.result()["position"]) == (0, 1)


def test_a_request_stays_behind_one_that_stays_behind_another(cluster, serve):
    server, connection, part = serve(), cluster.connect(), {"messages": [MESSAGE]}
    holder = Holder(cluster, "a")
    calls = [["streams.append", [{"stream": "a", **part}, {"stream": "b", **part}]],
             ["streams.append", [{"stream": "b", **part}, {"stream": "c", **part}]], ["stream.write", "c", MESSAGE]]
    body = [{"jsonrpc": "2.0", "id": n, "method": call[0], "params": call[1:]} for n, call in enumerate(calls)]
    tries = set()

    def tried():
        tries.update(sql(connection, "SELECT pid, state_change FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
        return len(tries) >= 5

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.client().post, body)
        wait_until(tried, "tries of the one that waits for the lock")
        holder.release()
        assert answer.result().json[2]["result"]["position"] == 1
