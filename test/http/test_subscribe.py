"""Subscriptions."""
import json
import os
import re
import resource
import selectors
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import pytest

from store import ZERO_TOKEN, Server, new_id, sql, token_for, wait_until, without_tokens

READY = b": ready\n\n"
PING = b": ping\n"


def poke(stream, position, global_position):
    name = json.dumps(stream, ensure_ascii=False)
    data = f'{{"stream":{name},"position":{position},"globalPosition":{global_position}}}'
    return f"event: poke\ndata: {data}\n\n".encode()


class Subscriber:
    """A connection to /subscribe, read when its test asks for it."""

    def __init__(self, server, token=None, headers=None, version="1.1", method="GET", receive_buffer=None,
                 **parameters):
        query = urlencode({**parameters, **({"token": token} if token else {})})
        lines = [
            f"{method} /subscribe?{query} HTTP/{version}", "Host: test",
            *(f"{k}: {v}" for k, v in (headers or {}).items())
        ]
        self.raw, self.ended = bytearray(), False
        self.chunks, self.parsed = [], 0  # the complete chunks so far; the last is empty when the reply ended
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", server.port))
        self.socket = server.wrap(self.socket)
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def close(self):
        self.socket.close()

    def read(self, seconds=30):
        """Reads what there is, waiting for the first byte of it."""
        self.socket.settimeout(seconds)
        got = self.socket.recv(1 << 20)
        self.raw += got
        self.ended = self.ended or not got
        if "chunked" in self.head:
            self._parse_chunks()

    def _parse_chunks(self):
        self.parsed = self.parsed or self.raw.index(b"\r\n\r\n") + 4
        while (line := self.raw.find(b"\r\n", self.parsed)) >= 0:
            end = line + 2 + int(self.raw[self.parsed:line], 16)
            if len(self.raw) < end + 2:
                return
            assert self.raw[end:end + 2] == b"\r\n"
            self.chunks.append(bytes(self.raw[line + 2:end]))
            self.parsed = end + 2

    def read_until(self, condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            assert not self.ended, f"ended too early: {self.raw[-500:]}"
            try:
                self.read(max(0.01, end - time.monotonic()))
            except (TimeoutError, socket.timeout):
                raise AssertionError(f"waited {seconds} s in vain, last: {self.raw[-500:]}")
        return self

    def read_to_end(self, seconds=30):
        end = time.monotonic() + seconds
        while not self.ended:
            self.read(max(0.01, end - time.monotonic()))
        return self

    @property
    def head(self):
        end = self.raw.find(b"\r\n\r\n")
        return self.raw[:max(end, 0)].decode()

    @property
    def body(self):
        return bytes(self.raw).partition(b"\r\n\r\n")[2]

    @property
    def events(self):
        return [chunk for chunk in self.chunks if chunk and not chunk.startswith(b":")]

    def wait_for(self, count, seconds=30):
        """Waits for so many events and returns them all."""
        return self.read_until(lambda: len(self.chunks) >= count and len(self.events) >= count, seconds).events

    def ready(self):
        return self.read_until(lambda: READY in self.raw)

    def ends(self, seconds=5):
        """Waits for the last chunk."""
        return self.read_until(lambda: self.chunks and self.chunks[-1] == b"", seconds)

    def positions(self):
        return global_positions(self.raw)


def global_positions(text):
    return [int(number) for number in re.findall(rb'"globalPosition":(\d+)', text)]


@pytest.fixture
def subscribe(server, client):
    """Subscribes in the client's namespace."""
    subscribers = []

    def make(to=None, **options):
        options.setdefault("token", client.token)
        subscribers.append(Subscriber(to or server, **options))
        return subscribers[-1]

    yield make
    for each in subscribers:
        each.close()


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


def append(client, stream, count, data=None):
    """Appends messages, a thousand at a time."""
    for done in range(0, count, 1000):
        client.call("stream.append", stream, [{"type": "T", "data": data or {}}] * min(1000, count - done))


def connect_to_namespace(server):
    """A connection to the embedded Postgres whose appends go to the namespace that was created last."""
    connection = server.postgres()
    name = sql(connection, "SELECT name FROM millrace.namespaces ORDER BY created_at DESC LIMIT 1")[0][0]
    sql(connection, "SELECT set_config('millrace.namespace', %s, false)", name)
    return connection


def memory_of(server):
    """Resident memory of the server's own process, in MiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


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


# Where it begins

def test_positions_are_of_the_stream_for_a_stream_and_global_for_the_others(client, subscribe):
    for n in range(6):
        client.write(f"a-{n % 2}")
    assert subscribe(stream="a-1", position=1).wait_for(2) == [poke("a-1", 1, 4), poke("a-1", 2, 6)]
    assert subscribe(category="a", position=4).wait_for(3) == [poke("a-1", 1, 4), poke("a-0", 2, 5), poke("a-1", 2, 6)]
    assert subscribe(all="true", position=6).wait_for(1) == [poke("a-1", 2, 6)]
    for position in ("0", "1", "-5", "-9223372036854775808"):
        assert len(subscribe(all="true", position=position).wait_for(6)) == 6
    assert len(subscribe(stream="a-0", position="-1").wait_for(3)) == 3


def test_a_position_that_is_not_reached_yet_is_waited_for(client, subscribe):
    client.write("a-1")
    subscribers = [
        subscribe(stream="a-1", position=3),
        subscribe(category="a", position=4),
        subscribe(all="true", position=4)
    ]
    for subscriber in subscribers:
        subscriber.ready()
    for _ in range(5):
        client.write("a-1")
    for subscriber in subscribers:
        subscriber.wait_for(3)
        assert subscriber.positions() == [4, 5, 6]


@pytest.mark.parametrize("parameters, expected", [({"stream": "a-1"}, [4, 6, 8, 10]),
                                                  ({"category": "a"}, [4, 5, 6, 7, 8, 10]),
                                                  ({"category": "a", "consumer": 1, "size": 2}, [5, 7]),
                                                  ({"all": "true"}, [4, 5, 6, 7, 8, 9, 10])])
def test_last_event_id_resumes_behind_it_and_wins_over_position(client, subscribe, parameters, expected):
    for n in range(8):
        client.write(f"a-{n % 2}")
    client.write("b-1")
    subscriber = subscribe(headers={"Last-Event-ID": "3"}, position=7, **parameters)
    subscriber.wait_for(2)
    client.write("a-1")
    subscriber.wait_for(len(expected))
    assert subscriber.positions() == expected


def test_an_empty_last_event_id_is_none(client, subscribe):
    client.write("s")
    assert subscribe(headers={"Last-Event-ID": ""}, all="true").wait_for(1) == [poke("s", 0, 1)]


def test_consumer_groups_share_by_the_hash_of_the_cardinal_id(client, subscribe):
    ids = ["", "1", "3", "abc", "200", "0", "2", "4", "5", "6", "100", "123", "1+x", "2+y", None]
    members = [subscribe(category="g", consumer=member, size=2) for member in (0, 1)]
    single = subscribe(category="g", consumer=0, size=1)
    for subscriber in (*members, single):
        subscriber.ready()
    for each in ids:
        client.write("g" if each is None else f"g-{each}")
    shares = [["g-", "g-1", "g-3", "g-abc", "g-200", "g-1+x"],
              ["g-0", "g-2", "g-4", "g-5", "g-6", "g-100", "g-123", "g-2+y"]]
    for subscriber, share in zip((*members, *[subscribe(category="g", consumer=member, size=2) for member in (0, 1)]),
                                 shares * 2):
        events = subscriber.wait_for(len(share))
        assert [json.loads(event.split(b"data: ")[1])["stream"] for event in events] == share
    assert len(single.wait_for(14)) == 14


def test_only_what_belongs_to_it(client, subscribe):
    names = ["a", "a-", "a-1", "a-1-2", "ab-1", "-a", "b"]
    by_stream = {name: subscribe(stream=name) for name in names}
    by_category = {name: subscribe(category=name) for name in ("a", "ab", "b", "a-1")}
    everything = subscribe(all="true")
    for subscriber in (*by_stream.values(), *by_category.values(), everything):
        subscriber.ready()
    for name in names:
        client.write(name)
    everything.wait_for(7)
    late = subscribe(all="true")
    late.wait_for(7)
    for subscriber, expected in ((by_category["a"], [1, 2, 3, 4]), (by_category["ab"], [5]), (by_category["b"], [7]),
                                 (everything, list(range(1, 8))), (late, list(range(1, 8)))):
        subscriber.wait_for(len(expected))
        assert subscriber.positions() == expected
    for n, name in enumerate(names):
        assert by_stream[name].wait_for(1) == [poke(name, 0, n + 1)]
    assert by_category["a-1"].events == []


# Who wrote it

def test_appends_by_sql(server, client, subscribe):
    client.write("s-1")
    subscribers = [subscribe(stream="s-1"), subscribe(category="s"), subscribe(all="true")]
    for subscriber in subscribers:
        subscriber.wait_for(1)
    connection = connect_to_namespace(server)
    for n in range(20):
        sql(connection, "SELECT millrace.append('s-1', 'T', '{}')")
    for subscriber in subscribers:
        assert subscriber.wait_for(21) == [poke("s-1", n, n + 1) for n in range(21)]


def test_a_row_at_the_last_global_position_is_not_followed(server, client, subscribe):
    client.write("s-1")
    subscribers = [subscribe(stream="s-1"), subscribe(category="s"), subscribe(all="true", ids="true")]
    for subscriber in subscribers:
        subscriber.wait_for(1)
    connection = connect_to_namespace(server)
    table = sql(
        connection,
        "SELECT format('%I.messages', schema) FROM millrace.namespaces "
        "WHERE name = current_setting('millrace.namespace')"
    )[0][0]
    sql(
        connection,
        f"INSERT INTO {table} (global_position, stream_name, position, type) "
        "VALUES (9223372036854775807, 's-2', 0, 'T')"
    )
    late = [subscribe(category="s"), subscribe(all="true", headers={"Last-Event-ID": "9223372036854775806"})]
    late[0].wait_for(1)
    late[1].ready()
    assert client.call("category.get", "s")[-1][4] == 9223372036854775807
    sql(connection, f"DELETE FROM {table} WHERE stream_name = 's-2'")
    position = client.write("s-1")["globalPosition"]
    for subscriber in [*subscribers, late[0]]:
        subscriber.wait_for(2)
        assert subscriber.positions() == [1, position]


def test_several_workers(start):
    server = start("--test-mode", "--workers", "2")
    subscribers = [Subscriber(server, stream="s") for _ in range(8)]
    for subscriber in subscribers:
        subscriber.ready()
    with ThreadPoolExecutor(8) as pool:
        clients = [server.client() for _ in range(8)]
        list(pool.map(lambda client: [client.write("s") for _ in range(50)], clients))
    for subscriber in subscribers:
        assert subscriber.wait_for(400) == [poke("s", n, n + 1) for n in range(400)]
        subscriber.close()


def test_several_servers_on_one_database(cluster, start):
    servers = [start(*without_tokens(cluster), "--workers", "1") for _ in range(2)]
    subscribers = [Subscriber(server, category="s") for server in servers]
    for subscriber in subscribers:
        subscriber.ready()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda server: [server.client().write("s") for _ in range(50)], servers))
    for subscriber in subscribers:
        assert subscriber.wait_for(100) == [poke("s", n, n + 1) for n in range(100)]
        subscriber.close()


# Complete and in order

class Transaction:
    """An append to s-slow by SQL that is not committed yet."""

    def __init__(self, server):
        self.connection = connect_to_namespace(server)
        self.connection.autocommit = False
        sql(self.connection, "SELECT millrace.append('s-slow', 'T', '{}')")


SLOW, OTHER, WHOLE = {"stream": "s-slow"}, {"stream": "s-1"}, [{"category": "s"},
                                                               {"category": "s", "consumer": 0,
                                                                "size": 1}, {"all": "true"}]


def nothing_behind(subscriber, position):
    """Gives a poke that should not come the time to come."""
    time.sleep(0.1)
    subscriber.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        subscriber.socket.recv(1, socket.MSG_PEEK)
    subscriber.socket.setblocking(True)
    assert max([0, *subscriber.positions()]) <= position


@pytest.mark.parametrize("open_first", [True, False], ids=["opened before they subscribe", "opened after"])
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_an_open_transaction_holds_back_what_is_behind_it_and_nothing_is_lost(server, client, subscribe, open_first,
                                                                              end):
    client.write("s-1")
    transaction = Transaction(server) if open_first else None
    if open_first:
        client.write("s-1")
    subscribers = [subscribe(**source).ready() for source in (SLOW, OTHER, *WHOLE)]
    slow, other, *whole = subscribers
    for subscriber in (other, *whole):
        subscriber.wait_for(1)
    transaction = transaction or Transaction(server)
    for _ in range(4 if open_first else 5):
        client.write("s-1")
    for subscriber in whole:
        nothing_behind(subscriber, 1)
    getattr(transaction.connection, end)()
    others = [1, 3, 4, 5, 6, 7]
    for subscriber in whole:
        assert subscriber.wait_for(6) and subscriber.wait_for(7 if end == "commit" else 6)
        assert subscriber.positions() == ([1, 2, 3, 4, 5, 6, 7] if end == "commit" else others)
    other.wait_for(6)
    assert other.positions() == others
    # Its next message is behind the open one: that must not be stepped over.
    client.write("s-slow")
    slow.wait_for(2 if end == "commit" else 1)
    assert slow.positions() == ([2, 8] if end == "commit" else [8])


def test_a_message_that_was_open_when_its_stream_was_subscribed_arrives_though_it_is_the_last(
        server, client, subscribe):
    client.call("stream.version", "s-slow")  # creates the namespace
    transaction = Transaction(server)
    subscriber = subscribe(**SLOW).ready()
    nothing_behind(subscriber, 0)
    transaction.connection.commit()
    assert subscriber.wait_for(1) == [poke("s-slow", 0, 1)]


def test_catching_up_in_many_pages_while_writes_go_on(client, another, subscribe):
    append(client, "big-1", 20000)
    append(client, "big-2", 5000)
    stop = threading.Event()
    writers = [another() for _ in range(3)]

    def write(n):
        while not stop.is_set():
            writers[n].write(f"big-{n}")

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(write, n) for n in range(3)]
        sources = [{"stream": "big-1"}, {"category": "big"}, {"all": "true", "messages": "true"},
                   {"category": "big", "consumer": 1, "size": 2, "ids": "true"}]
        subscribers = [subscribe(**source) for source in sources]
        for subscriber, count in zip(subscribers, (20000, 25000, 25000, 1)):
            subscriber.wait_for(count + 50)
        stop.set()
        for future in futures:
            future.result()
    messages = client.call("category.get", "big", {"batchSize": -1})
    member = client.call("category.get", "big", {"batchSize": -1, "consumerGroup": {"member": 1, "size": 2}})
    assert subscribers[0].wait_for(1) and len(messages) > 25100
    streams = [message for message in messages if message[1] == "big-1"]
    for subscriber, expected in zip(subscribers, (streams, messages, messages, member)):
        subscriber.wait_for(len(expected))
    for subscriber, expected in zip((subscribers[0], subscribers[1], subscribers[3]), (streams, messages, member)):
        assert subscriber.positions() == [message[4] for message in expected]
    assert [json.loads(event.split(b"data: ")[1]) for event in subscribers[2].events] == messages


class Crowd:
    """Many subscribers, read by one thread."""

    def __init__(self, server, token):
        self.server, self.token = server, token
        self.selector, self.members, self.stopped = selectors.DefaultSelector(), [], False
        self.thread = threading.Thread(target=self._read, daemon=True)

    def add(self, **parameters):
        subscriber = Subscriber(self.server, self.token, **parameters)
        subscriber.parts, subscriber.parameters, subscriber.count, subscriber.gone = [], parameters, 0, False
        subscriber.socket.setblocking(False)
        self.members.append(subscriber)
        self.selector.register(subscriber.socket, selectors.EVENT_READ, subscriber)

    def _read(self):
        while not self.stopped:
            for key, _ in self.selector.select(0.1):
                subscriber = key.data
                part = subscriber.socket.recv(1 << 18)
                if not part:
                    subscriber.gone = True
                    self.selector.unregister(subscriber.socket)
                    continue
                subscriber.parts.append(part)
                subscriber.count += part.count(b"\ndata: ")

    def stop(self):
        self.stopped = True
        self.thread.join()
        for subscriber in self.members:
            subscriber.close()


def test_a_thousand_subscribers_get_every_message_they_should_once_in_order(start):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    server = start("--test-mode", "--workers", "2")
    token = token_for("crowd")
    crowd = Crowd(server, token)
    sources = [
        lambda n: {"stream": f"crowd-{n % 20}"}, lambda n: {"category": "crowd"}, lambda n: {"all": "true"},
        lambda n: {"category": "crowd", "consumer": n % 10, "size": 10}, lambda n: {"stream": "crowd-0"},
        lambda n: {"stream": "crowd-0"}
    ]
    stop = threading.Event()

    def write(n):
        client, count = server.client(token), 0
        while not stop.is_set():
            client.write(f"crowd-{(n + 4 * count) % 20}")
            count += 1
            time.sleep(0.005)

    crowd.thread.start()
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(write, n) for n in range(4)]
        for n in range(200):
            for source in sources:
                crowd.add(**source(n))
        client = server.client(token)
        # Some members of the group have no share.
        wait_until(lambda: all(member.count > 0 or "size" in member.parameters for member in crowd.members),
                   "an event for everybody", 60)
        stop.set()
        for future in futures:
            future.result()
    messages = client.call("category.get", "crowd", {"batchSize": -1})
    expected = {}
    for member in crowd.members:
        key = json.dumps(member.parameters)
        if key not in expected and "size" in member.parameters:
            group = {"member": member.parameters["consumer"], "size": 10}
            expected[key] = [
                m[4] for m in client.call("category.get", "crowd", {"batchSize": -1, "consumerGroup": group})
            ]
        elif key not in expected:
            expected[key] = [m[4] for m in messages if member.parameters.get("stream", m[1]) == m[1]]
        member.expected = expected[key]
    wait_until(lambda: all(member.count >= len(member.expected) for member in crowd.members), "every event", 60)
    crowd.stop()
    assert not [member for member in crowd.members if member.gone]
    for member in crowd.members:
        assert global_positions(b"".join(member.parts)) == member.expected, member.parameters
    assert memory_of(server) < (64 if "ASAN_OPTIONS" not in os.environ else 1000)


# Readers that do not read

def test_a_reader_that_stops_reading_costs_bounded_memory_and_misses_nothing(start):
    server = start("--test-mode", "--workers", "1")
    client = server.client()
    append(client, "s-0", 4000, {"text": "x" * 2000})
    before = memory_of(server)
    sources = [{"all": "true"}, {"category": "s"}, {"stream": "s-0"}]
    stalled = [Subscriber(server, receive_buffer=4096, messages="true", **sources[n % 3]) for n in range(30)]
    for subscriber in stalled:
        subscriber.ready()
    live = [Subscriber(server, receive_buffer=4096, position=4001, messages="true", all="true") for _ in range(10)]
    for subscriber in live:
        subscriber.ready()
    append(client, "s-0", 8000, {"text": "y" * 2000})
    assert client.write("s-0")["position"] == 12000
    watcher = Subscriber(server, stream="s-0", position=12000)
    watcher.wait_for(1)
    # 40 subscribers times 16 to 24 MB are waiting; the sockets of the kernel hold some of it.
    grown = memory_of(server) - before
    if "ASAN_OPTIONS" not in os.environ:  # the sanitizer keeps what was freed
        assert grown < 24, f"the server grew by {grown:.0f} MiB"
    for subscriber, first in ((stalled[0], 0), (stalled[1], 0), (stalled[2], 0), (live[0], 4000)):
        parts = [subscriber.raw]
        while b'"s-0","Tested",12000,' not in b"".join(parts[-2:]):
            parts.append(subscriber.socket.recv(1 << 20))
            assert parts[-1]
        text = b"".join(parts)
        found = [int(number) for number in re.findall(rb'"s-0","T",(\d+),\d+,\{"text"', text)]
        assert found[:12000 - first] == list(range(first, 12000))
    for subscriber in (*stalled, *live, watcher):
        subscriber.close()


def states(admin):
    """How many subscriptions are in each state."""
    text = admin.request("GET", "/metrics").body.decode()
    return {
        state: int(count)
        for state, count in re.findall(r'^millrace_subscriptions\{state="(\w+)"\} (\d+)$', text, re.M)
    }


def test_of_many_that_catch_up_two_read_at_a_time(start):
    server = start("--test-mode", "--workers", "1", "--read-connections", "6")
    client, connection, holder = server.client(), server.postgres(), server.postgres()
    client.write("s")
    follower = Subscriber(server, all="true", position=1)
    follower.wait_for(1)
    holder.autocommit = False
    sql(holder, "LOCK TABLE millrace_default.messages")
    crowd = [Subscriber(server, all="true", position=1).ready() for _ in range(10)]

    def reading():
        return sql(
            connection,
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT body,%read_pokes%'"
        )[0][0]

    wait_until(lambda: reading() >= 2, "the first two")
    sql(connection, "SELECT pg_sleep(0.1)")
    assert reading() == 2
    holder.commit()
    holder.close()
    connection.close()
    for subscriber in (*crowd, follower):
        subscriber.wait_for(1)
        subscriber.close()


def test_a_crowd_that_stops_reading_holds_small_pages(start):
    server = start("--test-mode", "--workers", "1", "--admin-listen", "127.0.0.1:0")
    client, admin = server.client(), server.admin()
    append(client, "s", 4000, {"text": "x" * 2000})
    before = memory_of(server)
    crowd = [Subscriber(server, receive_buffer=4096, messages="true", all="true") for _ in range(500)]
    wait_until(lambda: states(admin)["draining"] == 500, "all of them to stop")
    if "ASAN_OPTIONS" not in os.environ:
        assert memory_of(server) - before < (25 if server.tls is None else 60)  # OpenSSL keeps some of its own for each
    for subscriber in crowd:
        subscriber.close()


def test_clients_that_go_away_are_noticed_at_once(server, client, subscribe):
    def sockets():
        return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))

    before = sockets()
    subscribers = [subscribe(all="true").ready() for _ in range(20)]
    assert sockets() >= before + 20
    for n, subscriber in enumerate(subscribers):
        if n % 2:
            subscriber.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        subscriber.close()
    wait_until(lambda: sockets() <= before + 2, "closed connections", 5)
    assert client.write("s")["position"] == 0


# Ends

def test_deleting_a_namespace_ends_its_subscriptions_cleanly(secured, admin):
    name = "deleted " + new_id()
    token = admin.call("ns.create", name)["token"]
    other = admin.call("ns.create", name + " not")["token"]
    subscribers = [
        Subscriber(secured, token, **source) for _ in range(4)
        for source in ({"stream": "s"}, {"category": "s"}, {"all": "true"})
    ]
    bystander = Subscriber(secured, other, all="true").ready()
    for subscriber in subscribers:
        subscriber.ready()
    admin.call("ns.delete", name)
    for subscriber in subscribers:
        subscriber.ends()
    secured.client(other).write("s")
    assert bystander.wait_for(1) == [poke("s", 0, 1)]
    for subscriber in (*subscribers, bystander):
        subscriber.close()


def test_a_namespace_that_is_created_again_feeds_no_old_subscription(server):
    admin, token = server.client(token_for("default")), token_for("again " + new_id())
    client = server.client(token)
    client.write("s")
    name = sql(server.postgres(), "SELECT name FROM millrace.namespaces ORDER BY created_at DESC LIMIT 1")[0][0]
    old = Subscriber(server, token, all="true")
    old.wait_for(1)
    admin.call("ns.delete", name)
    append(client, "t", 5)
    new = Subscriber(server, token, all="true")
    assert len(new.wait_for(5)) == 5
    old.ends()
    assert old.events == [poke("s", 0, 1)]
    old.close()
    new.close()


def test_another_server_deletes_the_namespace_or_takes_the_token(cluster, start):
    first = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--workers", "1", token=ZERO_TOKEN)
    second = start("--database", cluster.conninfo(), "--workers", "1", token=ZERO_TOKEN)
    database = cluster.connect()
    for change in ("delete", "delete and create", "token"):
        token = first.client().call("ns.create", "shared")["token"]
        subscriber = Subscriber(second, token, all="true").ready()
        if change == "token":
            sql(database, "SELECT millrace.set_namespace_token('shared', repeat('0', 64))")
        else:
            first.client().call("ns.delete", "shared")
        if change == "delete and create":
            again = first.client().call("ns.create", "shared")["token"]
            assert first.client(again).write("s")
        began = time.monotonic()
        subscriber.ends()
        assert time.monotonic() - began < 2
        subscriber.close()
        if change == "delete and create":
            first.client().call("ns.delete", "shared")


def test_shutdown_ends_subscriptions_cleanly_also_those_of_clients_that_do_not_read(start):
    server = start("--test-mode", "--workers", "2")
    client = server.client()
    append(client, "s", 3000, {"text": "x" * 3000})
    stalled = Subscriber(server, receive_buffer=4096, stream="s", messages="true")
    stalled.ready()
    subscribers = [Subscriber(server, stream="s", position=3000) for _ in range(6)]
    http_1_0 = Subscriber(server, stream="s", position=3000, version="1.0")
    for subscriber in (*subscribers, http_1_0):
        subscriber.ready()
    began = time.monotonic()
    server.terminate()
    for subscriber in subscribers:
        assert subscriber.read_to_end().body.endswith(b"\r\n0\r\n\r\n")
        assert subscriber.chunks == [READY, b""]
    assert http_1_0.read_to_end().body == READY
    assert time.monotonic() - began < 5
    server.stop()
    assert time.monotonic() - began < 20


# Outages

def test_last_event_id_resumes_after_a_restart_of_the_server(folder):
    server = Server("--data-dir", folder + "/data", "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    sources = [{"stream": "s-1"}, {"category": "s"}, {"all": "true"}]
    try:
        for n in range(10):
            server.client().write(f"s-{n % 2}")
        lasts = []
        for source in sources:
            subscriber = Subscriber(server, ZERO_TOKEN, ids="true", **source)
            lasts.append(re.findall(rb"id: (\d+)\n", subscriber.wait_for(4)[3])[0].decode())
            subscriber.close()
        assert lasts == ["8", "4", "4"]
        server.stop()
        server = Server("--data-dir", folder + "/data", token=ZERO_TOKEN)
        server.client().write("s-1")
        for source, last, expected in zip(sources, lasts, ([10, 11], [5, 6, 7, 8, 9, 10, 11], [5, 6, 7, 8, 9, 10, 11])):
            subscriber = Subscriber(server, ZERO_TOKEN, ids="true", headers={"Last-Event-ID": last}, **source)
            events = subscriber.wait_for(len(expected))
            numbers = subscriber.positions()
            subscriber.close()
            # A restart may leave a gap in the global positions.
            assert numbers[:-1] == expected[:-1] and numbers[-1] >= 11 and len(events) == len(expected)
    finally:
        server.stop()


def test_subscriptions_stay_open_while_the_database_is_away(cluster, start):
    server = start(*without_tokens(cluster), "--workers", "1", "--retry-window", "1")
    client = server.client()
    append(client, "s", 5)
    subscribers = [Subscriber(server, **source) for source in ({"stream": "s"}, {"category": "s"}, {"all": "true"})]
    for subscriber in subscribers:
        subscriber.wait_for(5)
    cluster.stop("immediate")
    wait_until(lambda: client.post(["stream.version", "s"]).status == 503, "a noticed outage")
    wait_until(lambda: "waiting" in server.text, "a line in the log")
    cluster.start()
    wait_until(lambda: client.post(["stream.write", "s", {"type": "T", "data": {}}]).status == 200,
               "a database that is back")
    wait_until(lambda: client.post(["stream.version", "s"]).status == 200, "the connections for reads")
    version = client.call("stream.version", "s")
    for subscriber in subscribers:
        events = subscriber.wait_for(version + 1)
        assert [json.loads(event.split(b"data: ")[1])["position"] for event in events] == list(range(version + 1))
        assert not subscriber.ended
        subscriber.close()


# Silence

def test_silence_is_broken_by_a_ping_every_eight_seconds(silent):
    silent.thread.join(30)
    assert silent.chunks == [READY, PING]
    assert 7 < silent.pinged - silent.began < 10
