"""Idempotency-Key: ids for messages that have none, so that a request can be sent again."""
import json
import threading
import uuid

import pytest

from store import RpcError, new_id, sql, token_for, wait_until

SPACE = uuid.UUID("7d7af1e5-1d0c-4b0f-9b1d-6d696c6c7261")
BAD = ["", " ", "é", "a\tb", "x" * 256, '"', '"a', '""', '"a"b', '"a";b=1', r'"a\"', r'"a\b"', '"é"',
       '"' + "x" * 256 + '"']


def expected(namespace, key, call=0, message=0):
    return str(uuid.uuid5(uuid.uuid5(SPACE, f"{namespace}\0{key}"), f"{call}.{message}"))


def send(client, key, body):
    reply = client.request("POST", "/rpc", json.dumps(body), {"Idempotency-Key": key})
    if reply.status != 200:
        raise RpcError(reply.status, reply.json, reply.headers)
    return reply.json


def message(data=None, **fields):
    return {"type": "T", "data": data or {}, **fields}


def ids(client, stream="s"):
    return [each[0] for each in client.call("stream.get", stream, {"batchSize": -1})]


@pytest.fixture
def named(server):
    """A client and the name of its namespace."""
    name = "named " + new_id()
    client = server.client(token_for(name))
    yield client, name
    client.close()


@pytest.mark.parametrize("key", BAD)
def test_what_is_no_key_is_refused(client, key):
    if any(ord(c) > 126 for c in key):
        key = key.encode()
    with pytest.raises(RpcError) as refused:
        send(client, key, ["stream.write", "s", message()])
    assert (refused.value.status, refused.value.code) == (400, "INVALID_REQUEST")
    assert "Idempotency-Key must be 1 to 255 bytes" in refused.value.message
    assert client.call("stream.version", "s") is None


def test_what_is_no_key_is_refused_by_every_method(client):
    with pytest.raises(RpcError, match="Idempotency-Key"):
        send(client, '"', ["sys.version"])


def twice(server, token, *headers):
    """What a request with these headers is answered: its status and body."""
    body = json.dumps(["stream.write", "s", message()])
    with server.connect() as connection:
        connection.sendall("\r\n".join(["POST /rpc HTTP/1.1", "Host: x", "Connection: close", *headers,
                                         f"Authorization: Bearer {token}", f"Content-Length: {len(body)}", "",
                                         body]).encode())
        with connection.makefile("rb") as answer:
            return int(answer.readline().split()[1]), answer.read()


@pytest.mark.parametrize("header, other", [("Idempotency-Key: a", "idempotency-key: b"),
                                           ("Idempotency-Key: a", "Idempotency-Key:"),
                                           ("Authorization: Bearer ns_other", "Accept: */*")])
def test_a_header_that_comes_once_only_may_not_come_with_two_values(server, client, header, other):
    status, body = twice(server, client.token, header, other)
    assert status == 400 and b"INVALID_REQUEST" in body and header.split(":")[0].encode() in body
    assert client.call("stream.version", "s") is None


def test_the_same_key_twice_is_one(server, client):
    assert twice(server, client.token, "Idempotency-Key: k", "Idempotency-Key: k")[0] == 200
    assert send(client, "k", ["stream.write", "s", message()])["position"] == 0
    assert len(ids(client)) == 1


def test_the_ids_never_change(secured):
    """Frozen: another derivation would store retries a second time."""
    client = secured.client()
    stream = "order-" + new_id()
    send(client, "order-17", ["stream.append", stream, [message(), message()]])
    assert ids(client, stream) == ["cd592893-ebe3-5644-b072-d81fe15c28ff",
                                   "cb955fd2-37db-51d1-b9cd-c894a4cafd38"]


@pytest.mark.parametrize("key", ["k", "a b", "x" * 255, "a, b", 'b"c', "8e03978e-40d5-43dd-bc93-6894a57f9324"])
def test_keys_as_they_are_and_quoted_are_the_same(named, key):
    client, namespace = named
    first = send(client, key, ["stream.write", "s", message()])
    quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert send(client, quoted, ["stream.write", "s", message()]) == first
    assert ids(client) == [expected(namespace, key)]


def test_the_same_request_again_is_answered_as_the_first_time(named):
    client, namespace = named
    for body in (["stream.write", "a", message({"n": 1}), {"expectedVersion": -1}],
                 ["stream.append", "b", [message({"n": n}) for n in range(3)], {"expectedVersion": -1}],
                 ["streams.append", [{"stream": f"c{n}", "messages": [message(), message()], "expectedVersion": -1}
                                     for n in range(3)]]):
        first = send(client, body[0], body)
        assert send(client, body[0], body) == first
    assert ids(client, "a") == [expected(namespace, "stream.write")]
    assert ids(client, "b") == [expected(namespace, "stream.append", 0, n) for n in range(3)]
    for n in range(3):
        assert ids(client, f"c{n}") == [expected(namespace, "streams.append", 0, 2 * n + m) for m in range(2)]


def test_another_content_under_the_same_key_is_a_conflict(client):
    send(client, "k", ["stream.append", "s", [message({"n": 1}), message({"n": 2})]])
    for body in (["stream.append", "s", [message({"n": 1}), message({"n": 3})]],
                 ["stream.append", "t", [message({"n": 1}), message({"n": 2})]],
                 ["stream.append", "s", [message({"n": n}) for n in (1, 2, 3)]],
                 ["stream.write", "s", {"type": "U", "data": {"n": 1}}]):
        with pytest.raises(RpcError) as conflict:
            send(client, "k", body)
        assert (conflict.value.status, conflict.value.code) == (409, "MESSAGE_ID_CONFLICT")
    assert len(ids(client)) == 2


def test_a_message_keeps_its_own_id_and_the_others_theirs(named):
    client, namespace = named
    own = new_id()
    body = ["stream.append", "s", [message(), message(id=own), message(id=""), message()]]
    first = send(client, "k", body)
    assert send(client, "k", body) == first
    assert ids(client) == [expected(namespace, "k", 0, 0), own, expected(namespace, "k", 0, 2),
                           expected(namespace, "k", 0, 3)]
    write = ["stream.write", "t", message(), {"id": own[:-1] + ("0" if own[-1] != "0" else "1")}]
    send(client, "k", write)
    assert ids(client, "t") == [write[3]["id"]]


def test_each_call_of_a_batch_has_ids_of_its_own(named):
    client, namespace = named
    batch = [{"jsonrpc": "2.0", "id": 1, "method": "stream.version", "params": ["s"]}]
    batch += [{"jsonrpc": "2.0", "id": n, "method": "stream.append",
               "params": ["s", [message({"n": n}), message({"n": n})]]} for n in range(2, 5)]
    batch.append({"jsonrpc": "2.0", "method": "stream.write", "params": ["t", message()]})
    first = send(client, "k", batch)
    again = send(client, "k", batch)
    assert first[1:] == again[1:]
    assert ids(client) == [expected(namespace, "k", call, n) for call in (1, 2, 3) for n in range(2)]
    assert ids(client, "t") == [expected(namespace, "k", 4)]


def test_a_single_jsonrpc_call_has_the_ids_of_the_array_form(named):
    client, namespace = named
    send(client, "k", {"jsonrpc": "2.0", "id": 1, "method": "stream.write", "params": ["s", message()]})
    send(client, "k", ["stream.write", "s", message()])
    assert ids(client) == [expected(namespace, "k")]


def test_a_key_holds_for_its_namespace(server):
    found = set()
    for name in ("a " + new_id(), "b " + new_id()):
        client = server.client(token_for(name))
        send(client, "k", ["stream.write", "s", message({"in": name})])
        assert ids(client) == [expected(name, "k")]
        found.update(ids(client))
    assert len(found) == 2


def test_without_a_key_ids_are_new_each_time(client):
    for _ in range(2):
        client.write("s")
        send(client, "k-" + new_id(), ["stream.write", "s", message()])
    assert [uuid.UUID(each).version for each in ids(client)] == [7, 5, 7, 5] and len(set(ids(client))) == 4


def test_the_same_key_at_once_by_many_connections_is_stored_once(server, client, another):
    clients = [another() for _ in range(8)]
    for attempt in range(10):
        body = ["stream.append", "s", [message({"attempt": attempt, "n": n}) for n in range(3)]]
        answers, gate = [], threading.Barrier(len(clients))

        def work(each):
            gate.wait()
            answers.append(send(each, f"key-{attempt}", body))

        threads = [threading.Thread(target=work, args=(each,)) for each in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 8 and all(answer == answers[0] for answer in answers)
    assert len(ids(client)) == 30


def test_the_same_key_with_other_content_at_once_is_stored_once(client, another):
    clients = [another() for _ in range(8)]
    for attempt in range(10):
        outcomes, gate = [], threading.Barrier(len(clients))

        def work(n, each):
            gate.wait()
            try:
                outcomes.append(send(each, f"key-{attempt}", ["stream.write", "s", message({"writer": n})])["position"])
            except RpcError as error:
                outcomes.append(error.code)

        threads = [threading.Thread(target=work, args=item) for item in enumerate(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes, key=str) == [attempt] + ["MESSAGE_ID_CONFLICT"] * 7


def test_a_request_whose_answer_was_lost_is_stored_once(server, client):
    body = ["stream.write", "s", message({"x": 1})]
    text = json.dumps(body)
    connection = server.connect()
    connection.sendall((f"POST /rpc HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n"
                        f"Idempotency-Key: lost\r\nContent-Length: {len(text)}\r\n\r\n{text}").encode())
    connection.close()
    assert send(client, "lost", body)["position"] == 0
    assert len(ids(client)) == 1


def stored(server, stream):
    """Its messages; None while there is no answer."""
    reply = server.client().post(["stream.get", stream, {"batchSize": -1}])
    return reply.json if reply.status == 200 else None


def test_requests_that_are_sent_again_in_an_outage_are_stored_once(start):
    """Postgres' sessions are ended again and again; who got no answer sends the same request again."""
    server = start("--test-mode", "--retry-window", "0", token=token_for("default"))
    done, stopped, repeats = [], threading.Event(), []

    def work(worker):
        client = server.client()
        n = 0
        while not stopped.is_set():
            body = ["stream.append", f"w-{worker}", [message({"n": n}), message({"n": n})]]
            try:
                send(client, f"{worker}-{n}", body)
                done.append((worker, n))
                n += 1
            except RpcError as error:
                assert error.status == 503, error
                repeats.append(error.code)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    connection = server.postgres()
    for _ in range(5):
        before = len(done), len(repeats)
        sql(connection, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")
        wait_until(lambda: len(done) > before[0] + 20 and len(repeats) > before[1], "an outage and its end")
    stopped.set()
    for thread in threads:
        thread.join()
    for worker in range(4):
        wanted = [n for who, n in done if who == worker for _ in range(2)]
        found = wait_until(lambda: stored(server, f"w-{worker}"), "the end of the last outage")
        assert [each[4]["n"] for each in found][:len(wanted)] == wanted
        assert len(found) <= len(wanted) + 2
