"""Subscriptions: their bytes, their parameters, who may have one, and their pings."""
import json
import threading
import time
from urllib.parse import urlencode

import pytest

from store import new_id, token_for, wait_until
from subscriber import PING, READY, Subscriber, poke


@pytest.fixture(scope="module", autouse=True)
def silent(server):
    """Subscribed when the first test begins, and silent until the last one looks."""
    subscriber = Subscriber(server, token_for("silent " + new_id()), all="true").ready()
    subscriber.began = time.monotonic()

    def watch():
        try:
            subscriber.read_until(lambda: PING in subscriber.body, 60)
            subscriber.pinged = time.monotonic()
        except OSError:
            pass  # the tests are over

    subscriber.thread = threading.Thread(target=watch, daemon=True)
    subscriber.thread.start()
    yield subscriber
    subscriber.close()


# Framing

def test_the_bytes_of_a_subscription(client, subscribe):
    client.write("a-1")
    subscriber = subscribe(stream="a-1")
    subscriber.wait_for(1)
    client.write("a-1")
    subscriber.wait_for(2)
    head, _, body = subscriber.raw.partition(b"\r\n\r\n")
    status, date, *others = head.split(b"\r\n")
    assert status == b"HTTP/1.1 200 OK" and date.startswith(b"Date: ")
    assert others == [
        b"Content-Type: text/event-stream", b"Transfer-Encoding: chunked", b"Cache-Control: no-cache",
        b"X-Accel-Buffering: no", b"Access-Control-Allow-Origin: *",
        b"Access-Control-Expose-Headers: Retry-After, X-Request-Id"
    ]
    expected = [READY, poke("a-1", 0, 1), poke("a-1", 1, 2)]
    assert body == b"".join(b"%x\r\n%s\r\n" % (len(text), text) for text in expected)
    assert subscriber.events[0] == b'event: poke\ndata: {"stream":"a-1","position":0,"globalPosition":1}\n\n'


def test_headers_and_ready_come_at_once_also_when_there_is_nothing_else(subscribe):
    began = time.monotonic()
    subscriber = subscribe(all="true").ready()
    assert time.monotonic() - began < 1 and subscriber.chunks == [READY]


@pytest.mark.parametrize("parameters", [{"stream": "s-1"}, {"category": "s"}, {"all": "true"}])
def test_ids_bear_the_global_position_only_when_asked_for(client, subscribe, parameters):
    client.write("s-1")
    plain, ids = subscribe(**parameters), subscribe(ids="true", **parameters)
    for subscriber in (plain, ids):
        subscriber.wait_for(1)
    client.write("s-1")
    assert plain.wait_for(2) == [poke("s-1", 0, 1), poke("s-1", 1, 2)]
    assert ids.wait_for(2) == [b"id: 1\n" + poke("s-1", 0, 1), b"id: 2\n" + poke("s-1", 1, 2)]
    assert subscribe(ids="false", **parameters).wait_for(2) == plain.events


@pytest.mark.parametrize("parameters", [{"stream": "s-1"}, {"category": "s"}, {"all": "true"}])
def test_whole_messages_instead_of_pokes(client, subscribe, parameters):
    client.write("s-1", {"text": "a\nb"}, metadata={"m": 9007199254740993})
    subscriber = subscribe(messages="true", **parameters)
    subscriber.wait_for(1)
    client.write("s-1", {"n": 1.50})
    texts = [
        b"event: message\ndata: %s\n\n" % client.post(["category.get", "s", {"position": n, "batchSize": 1}]).body[1:-1]
        for n in (1, 2)
    ]
    assert subscriber.wait_for(2) == texts
    assert subscribe(messages="true", ids="true",
                     **parameters).wait_for(2) == [b"id: 1\n" + texts[0], b"id: 2\n" + texts[1]]
    assert subscriber.body.count(b"\n\n") == 3


def test_names_are_written_as_json(client, subscribe):
    names = ['"quoted"-\\1', "line\nfeed", "Größe-日本 😀", "tab\t-x", "a b+c&d=e%20"]
    for name in names:
        subscriber = subscribe(stream=name)
        subscriber.ready()
        client.write(name)
        event = subscriber.wait_for(1)[0]
        assert event.count(b"\n") == 3 and json.loads(event.split(b"data: ")[1])["stream"] == name
        assert subscribe(stream=name).wait_for(1) == [event]


def test_an_http_1_0_client_gets_plain_bytes_and_the_end_of_the_connection(client, subscribe, start):
    client.write("s")
    subscriber = subscribe(stream="s", version="1.0")
    subscriber.read_until(lambda: poke("s", 0, 1) in subscriber.body)
    client.write("s")
    subscriber.read_until(lambda: poke("s", 1, 2) in subscriber.body)
    assert "chunked" not in subscriber.head.lower() and "Connection: close" in subscriber.head
    assert subscriber.body == READY + poke("s", 0, 1) + poke("s", 1, 2)


# Parameters

@pytest.mark.parametrize("parameters, named", [({}, "stream"), ({"stream": "a", "category": "b"}, "category"),
                                               ({"stream": "a", "all": "true"}, "all"),
                                               ({"category": "a", "all": "true"}, "all"), ({"all": "false"}, "all"),
                                               ({"all": "yes"}, "all"), ({"stream": ""}, "stream"),
                                               ({"stream": "s" * 2001}, "stream"), ({"stream": "\0"}, "stream"),
                                               ({"category": "\0"}, "category"),
                                               ({"stream": "a", "position": "x"}, "position"),
                                               ({"stream": "a", "position": "1.5"}, "position"),
                                               ({"stream": "a", "position": "-"}, "position"),
                                               ({"stream": "a", "position": " 1"}, "position"),
                                               ({"stream": "a", "position": "9223372036854775808"}, "position"),
                                               ({"category": "a", "consumer": "0"}, "size"),
                                               ({"category": "a", "size": "2"}, "consumer"),
                                               ({"category": "a", "consumer": "2", "size": "2"}, "consumer"),
                                               ({"category": "a", "consumer": "-1", "size": "2"}, "consumer"),
                                               ({"category": "a", "consumer": "0", "size": "0"}, "size"),
                                               ({"category": "a", "consumer": "x", "size": "2"}, "consumer"),
                                               ({"stream": "a", "consumer": "0", "size": "2"}, "consumer"),
                                               ({"all": "true", "consumer": "0", "size": "2"}, "consumer"),
                                               ({"stream": "a", "ids": "1"}, "ids"),
                                               ({"stream": "a", "messages": "yes"}, "messages"), ])
def test_bad_parameters_are_named_in_plain_text(client, parameters, named):
    reply = client.request("GET", "/subscribe?" + urlencode(parameters))
    assert reply.status == 400 and reply.headers["Content-Type"].startswith("text/plain")
    assert named in reply.body.decode() and reply.headers["Access-Control-Allow-Origin"] == "*"


def test_a_stream_that_is_not_utf8_is_refused(client):
    reply = client.request("GET", "/subscribe?stream=%ff%fe")
    assert reply.status == 400 and b"stream" in reply.body


@pytest.mark.parametrize("value", ["x", "1.5", "-1", "9223372036854775807"])
def test_a_bad_last_event_id_is_refused(client, value):
    reply = client.request("GET", "/subscribe?all=true", headers={"Last-Event-ID": value})
    assert reply.status == 400 and b"Last-Event-ID" in reply.body


def test_a_category_with_a_dash_gets_a_comment_and_a_line_in_the_log(server, client, subscribe):
    client.write("account-1")
    name = new_id()
    subscribers = [subscribe(category=category) for category in ("account-1", "account-", "-\ndata: x", name)]
    for subscriber in subscribers:
        subscriber.read_until(lambda: len(subscriber.chunks) == 2)
        assert subscriber.chunks[
            1] == b": no category has a dash in its name, nothing will come; stream= takes a stream's name\n"
        assert subscriber.head.startswith("HTTP/1.1 200")
    wait_until(lambda: name in server.text, "a line in the log")
    others = [subscribe(category="account"), subscribe(stream="account-1")]
    for subscriber in others:
        subscriber.wait_for(1)
        assert subscriber.chunks == [READY, poke("account-1", 0, 1)]
    assert client.call("category.get", "account-1") == []


def test_empty_unknown_and_repeated_parameters(server, client, subscribe):
    for _ in range(3):
        client.write("a-1")
    events = subscribe(stream="a-1", category="", all="", position="", consumer="", ids="", nonsense="1").wait_for(3)
    assert len(events) == 3
    connection = server.connect()
    connection.sendall(
        f"GET /subscribe?stream=a-1&stream=b&position=2&position=0&token={client.token} HTTP/1.1\r\nHost: x\r\n\r\n".
        encode())
    got = b""
    while b'"position":2' not in got:
        got += connection.recv(65536)
    assert b'"position":1' not in got
    connection.close()


def test_after_a_refusal_the_connection_goes_on(client):
    assert client.request("GET", "/subscribe").status == 400
    assert client.write("s")["position"] == 0


# Who may

def test_credentials_are_those_of_every_protected_path(secured, admin):
    created = admin.call("ns.create", "subscribed " + new_id())
    token = created["token"]
    cases = [({}, {}, 401, "AUTH_REQUIRED"), ({}, {"Authorization": "Bearer nonsense"}, 401, "AUTH_INVALID_TOKEN"),
             ({}, {"Authorization": f"Bearer {token_for('nobody')}"}, 403, "AUTH_UNAUTHORIZED"),
             ({"token": token_for("nobody")}, {"Authorization": f"Bearer {token}"}, 403, "AUTH_UNAUTHORIZED")]
    client = secured.client()
    client.token = None
    for parameters, headers, status, code in cases:
        reply = client.request("GET", "/subscribe?" + urlencode({"all": "true", **parameters}), headers=headers)
        assert (reply.status, reply.error["code"]) == (status, code)
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
    secured.client(token).write("s")
    for parameters, headers in (({"token": token}, {"Authorization": f"Bearer {token_for('nobody')}"}),
                                ({}, {"Authorization": f"Bearer {token}"})):
        subscriber = Subscriber(secured, headers=headers, all="true", **parameters)
        assert subscriber.wait_for(1) == [poke("s", 0, 1)]
        subscriber.close()


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_not_allowed(client, method):
    reply = client.request(method, "/subscribe?all=true")
    assert reply.status == 405 and reply.headers["Allow"] == "GET" and reply.headers[
        "Access-Control-Allow-Origin"] == "*"


def test_the_token_is_looked_at_before_the_method(secured):
    client = secured.client()
    client.token = None
    assert client.request("POST", "/subscribe?all=true").status == 401


# Silence

def test_silence_is_broken_by_a_ping_every_eight_seconds(silent):
    silent.thread.join(30)
    assert silent.chunks == [READY, PING]
    assert 7 < silent.pinged - silent.began < 10
