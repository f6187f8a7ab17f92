"""Hostile input: what would be read differently by two readers, what would be run instead of stored, what would not
end."""
import hashlib
import json
import re
import socket
import threading
import time
from urllib.parse import quote

import pytest

from store import Server, new_id, sql, token_for, wait_until

MIB = 1024 * 1024
HEAD = "POST /rpc HTTP/1.1\r\nHost: x\r\n"
VERSION = '["sys.version"]'
SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def exchange(server, data, seconds=20):
    """Sends bytes and reads until the other side closes."""
    with server.connect() as wire:
        wire.settimeout(seconds)
        received = b""
        try:
            wire.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))
            wire.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            while part := wire.recv(65536):
                received += part
        except ConnectionResetError:
            pass
        return received


@pytest.fixture(scope="module", autouse=True)
def endless(server):
    """Was refused when the first test begins, and sends on until it is cut off."""
    wire = server.connect()
    wire.sendall(b"GARBAGE\r\n\r\n")
    assert wire.recv(4096).startswith(b"HTTP/1.1 400 ")
    began = time.monotonic()

    def send():
        try:
            while True:
                wire.sendall(b"x")
                time.sleep(0.5)
        except OSError:
            thread.lasted = time.monotonic() - began

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    yield thread
    wire.close()


def statuses(received):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


# Request smuggling: a request whose end two readers see in different places is refused, and the connection with it.


AMBIGUOUS = {
    "length and chunks": "Content-Length: 15\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": f"Content-Length: 15\r\nContent-Length: 0\r\n\r\n{VERSION}",
    "a list of lengths": f"Content-Length: 15, 15\r\n\r\n{VERSION}",
    "a signed length": f"Content-Length: +15\r\n\r\n{VERSION}",
    "a hexadecimal length": f"Content-Length: 0xf\r\n\r\n{VERSION}",
    "a length in two words": f"Content-Length: 1 5\r\n\r\n{VERSION}",
    "an empty length": "Content-Length:\r\n\r\n",
    "a length with a fraction": f"Content-Length: 15.0\r\n\r\n{VERSION}",
    "a space in front of the colon": f"Content-Length : 15\r\n\r\n{VERSION}",
    "a tab in front of the colon": "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "a folded length": f"Content-Length:\r\n 15\r\n\r\n{VERSION}",
    "a folded header": "X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
    "a header that begins with a space": " Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
    "a coding twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": "Transfer-Encoding: identity\r\n\r\n",
    "a coding in front": "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding behind": "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a coding with a letter too many": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a quoted coding": 'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "a coding with a vertical tab": "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n",
    "a bare line feed": "X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare carriage return": "X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a NUL": "X: a\0\r\nContent-Length: 0\r\n\r\n",
    "a NUL in a name": "Content-Length\0: 0\r\n\r\n",
    "an empty name": ": x\r\nContent-Length: 0\r\n\r\n",
    "a line without a colon": "X\r\nContent-Length: 0\r\n\r\n",
    "a second host": "Host: y\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("headers", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_a_request_of_ambiguous_length_is_refused_with_all_behind_it(server, headers):
    received = exchange(server, HEAD + headers + SMUGGLED)
    assert statuses(received) in ([400], [501]), received
    assert b"Connection: close" in received


@pytest.mark.parametrize("head", [
    "POST /rpc HTTP/1.1\nHost: x\nContent-Length: 0\n\n", "POST /rpc HTTP/1.1\r\nHost: x\r\n\n",
    "POST  /rpc HTTP/1.1\r\nHost: x\r\n\r\n", "POST /rpc\tHTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /rpc x HTTP/1.1\r\nHost: x\r\n\r\n", "POST /r\0pc HTTP/1.1\r\nHost: x\r\n\r\n", "POST /rpc HTTP/1.1\r\n\r\n",
    "PO ST /rpc HTTP/1.1\r\nHost: x\r\n\r\n", "POST /rpc HTTP/1.1 \r\nHost: x\r\n\r\n",
    "POST /rpc HTTP/1.10\r\nHost: x\r\n\r\n", "POST /rpc HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
])
def test_a_malformed_head_is_refused_with_all_behind_it(server, head):
    assert statuses(exchange(server, head + SMUGGLED)) == [400]


@pytest.mark.parametrize("chunks", [
    "f\n" + VERSION + "\r\n0\r\n\r\n", "0xf\r\n" + VERSION + "\r\n0\r\n\r\n", "-1\r\n", " f\r\n" + VERSION,
    "f\r\n" + VERSION + "0\r\n\r\n", "e\r\n" + VERSION + "\r\n0\r\n\r\n", "10\r\n" + VERSION + "\r\n0\r\n\r\n",
    "f;a\nb\r\n" + VERSION, "f;a\rb\r\n" + VERSION, "f\0\r\n" + VERSION, "\r\n", ";\r\n", "0\r\nA: b\nC: d\r\n\r\n",
    "0\r\n folded\r\n\r\n", "0\r\n\n", "f\r\r\n" + VERSION
])
def test_malformed_chunks_are_refused_with_all_behind_them(server, chunks):
    received = exchange(server, HEAD + "Transfer-Encoding: chunked\r\n\r\n" + chunks + SMUGGLED)
    assert statuses(received) == [400], received


@pytest.mark.parametrize(
    "size", ["ffffffffffffffff", "8000000000000000", "10000000000000000", "fffffffffffffff", "00000000000000000000f"])
def test_a_chunk_without_end_is_refused_at_its_size(server, size):
    received = exchange(server, HEAD + "Transfer-Encoding: chunked\r\n\r\n" + size + "\r\nx")
    assert statuses(received) in ([400], [413]), received


@pytest.mark.parametrize("headers", [
    f"Content-Length: 15\r\n\r\n{VERSION}", f"Content-Length: 15\r\nContent-Length: 15\r\n\r\n{VERSION}",
    f"CONTENT-length: \t15 \r\n\r\n{VERSION}",
    f"Transfer-Encoding: Chunked\r\n\r\nf;name=\"v\"\r\n{VERSION}\r\n0\r\n\r\n",
    f"Transfer-Encoding: chunked\r\n\r\n00F\r\n{VERSION}\r\n0;x\r\nContent-Length: 3\r\nTransfer-Encoding: x\r\n\r\n",
    f"X-Content-Length: 3\r\nContent-Length: 15\r\n\r\n{VERSION}"
])
def test_what_everybody_reads_alike_is_taken_and_the_next_request_too(server, headers):
    received = exchange(server, HEAD + headers + SMUGGLED)
    assert statuses(received) == [200, 404], received


def test_extensions_and_trailers_without_end_are_refused(server):
    for endless in ("1;" + "x" * 100_000, "0\r\n" + "A: b\r\n" * 20_000):
        assert statuses(exchange(server, HEAD + "Transfer-Encoding: chunked\r\n\r\n" + endless)) == [400]


def test_too_many_headers_are_431(server):
    assert statuses(exchange(server, HEAD + "A: b\r\n" * 2000 + "\r\n")) == [431]


def test_a_header_cannot_be_made_by_what_is_repeated_in_an_answer(server, client):
    for path in ("/%0d%0aX-Made:%201", "/rpc%0d%0a%0d%0aX-Made:%201"):
        reply = client.request("GET", path)
        assert reply.status == 404 and reply.headers["X-Made"] is None
    error = client.refused("x\r\nX-Made: 1\r\n\r\n")
    assert error.headers["X-Made"] is None


# JSON


def test_a_nul_byte_is_malformed_wherever_it_stands(client):
    for body in (b'["sys.version"]\0', b'\0["sys.version"]', b'["sys.\0version"]',
                 b'["stream.write","s\0x",{"type":"T","data":{}}]',
                 b'["stream.write","s",{"type":"T","data":{"a\0":1}}]', b'["stream.version",\0"s"]'):
        assert client.refused_body(body).message == "Malformed JSON request", body
    assert client.call("category.get", "") == []


@pytest.mark.parametrize("bad", [r'"\u0000"', r'"\ud800"', r'"\udc00\ud800"', r'"a\ud83d"'])
@pytest.mark.parametrize("call", [
    '["stream.last","s",{"type":%s}]', '["stream.get","s",{"types":[%s]}]', '["category.get",%s]',
    '["category.get","c",{"correlation":%s}]', '["category.get","c",{"types":["a",%s]}]',
    '["ns.streams",{"prefix":%s}]', '["ns.streams",{"cursor":%s}]', '["ns.info",%s]',
    '["stream.write","s",{"type":"T","data":{}},{"id":%s}]'
])
def test_what_is_no_text_for_postgres_is_refused_in_every_argument(client, call, bad):
    error = client.refused_body(call % bad)
    assert (error.status, error.code) == (400, "INVALID_REQUEST"), error
    assert client.call("stream.version", "s") is None


@pytest.mark.parametrize("key", ["unknown", r"\u0000", r"\ud800"])
def test_what_is_ignored_may_be_anything(client, key):
    body = '["stream.write","s",{"type":"T","data":{},"%s":"\\u0000"},{"%s":1e999999}]' % (key, key)
    assert client.post(body).status == 200
    assert client.call("stream.get", "s")[0][4] == {}


def test_numbers_are_kept_up_to_what_numeric_holds(client):
    for number in ("9" * 131072, "-0." + "1" * 16383, "1e131071", "1" + "0" * 1000 + ".5"):
        assert client.post('["stream.write","s",{"type":"T","data":{"n":%s}}]' % number).status == 200, number[:50]
    digits = client.post('["stream.get","s"]').body
    assert b"9" * 131072 in digits and b"-0." + b"1" * 16383 in digits
    for number in ("9" * 131073, "0." + "1" * 16384, "1e131072", "1e-16384", "9" * 1_000_000, "1e" + "9" * 100_000):
        error = client.refused_body('["stream.write","s",{"type":"T","data":{"n":%s}}]' % number)
        assert (error.status, error.code) == (400, "INVALID_REQUEST") and "numeric" in error.message, number[:50]
    assert client.call("stream.version", "s") == 3


def test_exponents_do_not_blow_up_what_is_read(client):
    """Postgres writes 1e131071 with all its zeros: 100 kB of such numbers would be read as a gigabyte."""
    numbers = lambda count: '["stream.write","s",{"type":"T","data":{"n":[%s]}}]' % ",".join(["1e131071"] * count)
    error = client.refused_body(numbers(8000))
    assert (error.status, error.code) == (400, "INVALID_REQUEST") and "exponents" in error.message
    assert client.post(numbers(100)).status == 200
    assert 13_000_000 < len(client.post('["stream.get","s"]').body) < 14_000_000


def test_a_filter_of_types_has_a_limit_because_each_message_is_compared_with_all(client):
    client.write("s", type="t0")
    types = [f"t{n}" for n in range(1001)]
    for call in (["stream.get", "s"], ["category.get", "s"]):
        assert len(client.call(*call, {"types": types[:1000]})) == 1
        assert "more than 1000" in client.refused(*call, {"types": types}).message


def test_nesting_is_kept_up_to_its_limit(client):
    for depth in (100, 900):
        data = '{"a":' * depth + "[]" + "}" * depth
        assert client.post('["stream.write","s",{"type":"T","data":%s}]' % data).status == 200
        assert client.post('["stream.last","s"]').body.count(b'{"a"') == depth
    for depth in (1001, 5000):
        body = '["stream.write","s",{"type":"T","data":{"a":%s%s}}]' % ("[" * depth, "]" * depth)
        assert client.refused_body(body).status == 400
    assert client.call("stream.version", "s") == 1


def test_many_duplicate_keys_cost_no_more_than_others(client):
    started = time.monotonic()
    body = '["stream.write","s",{%s"type":"T","data":{%s"a":2}}]' % ('"type":1,' * 200_000, '"a":1,' * 200_000)
    assert client.post(body).status == 200
    assert client.call("stream.get", "s")[0][4] == {"a": 2}
    assert time.monotonic() - started < 10


def test_a_body_of_exactly_100_mib_is_taken_by_default_and_not_one_byte_more(server):
    client = server.client()
    assert client.post(VERSION.encode() + b" " * (100 * MIB - len(VERSION))).status == 200
    reply = client.post(VERSION.encode() + b" " * (100 * MIB - len(VERSION) + 1))
    assert (reply.status, reply.error["code"]) == (413, "PAYLOAD_TOO_LARGE")
    client.close()


@pytest.mark.parametrize("size", [-1, 0, 1])
@pytest.mark.parametrize("chunked", [False, True])
def test_the_limit_of_a_body_is_exact(start, size, chunked):
    limited = start("--test-mode", "--max-body", "65536")
    body = VERSION + " " * (65536 + size - len(VERSION))
    if chunked:
        half = len(body) // 2
        request = HEAD + (f"Transfer-Encoding: chunked\r\n\r\n{half:x}\r\n{body[:half]}\r\n{len(body) - half:x};x=y\r\n"
                          f"{body[half:]}\r\n0\r\n\r\n")
    else:
        request = HEAD + f"Content-Length: {len(body)}\r\n\r\n{body}"
    assert statuses(exchange(limited, request)) == [200 if size <= 0 else 413]


# Text that is meant to be run


INJECTIONS = [
    "'", '"', "\\", "''", "\\'", "';DROP TABLE messages;--", '";DROP SCHEMA millrace CASCADE;--',
    "'); SELECT pg_sleep(20);--", "$$;DROP TABLE messages;$$", "$1", "$1$", "%s%I%L%1$s%n", "{a,b}", '{"a"', '"},{"',
    "NULL", "a\\", "E'\\x27'", "'||(SELECT 1)||'", "/*", "*/ OR TRUE --", "_", "%", "*", ".*", "a,b", "a\tb\nc\r\n",
    "\x01\x7f", "＇; DROP TABLE messages; --", "\u2028\ufeff", "x' AND pg_terminate_backend(pg_backend_pid())::text='",
    "millrace.messages", "../../etc/passwd", "${HOME}`id`", "\\u0000", "&token=x#?"
]


class Fingerprint:
    """All that there is in a database, but for one namespace."""

    def __init__(self, connection, without):
        self.connection, self.without = connection, without
        self.before = self.take()

    def take(self):
        registry = sql(
            self.connection, "SELECT name, schema, token_hash, description, metadata FROM millrace.namespaces "
            "WHERE name <> %s ORDER BY name", self.without)
        own = sql(self.connection, "SELECT schema FROM millrace.namespaces WHERE name = %s", self.without)
        relations = sql(
            self.connection, "SELECT nspname::text, relname::text, relkind::text, relacl::text FROM pg_class "
            "JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE nspname !~ '^pg_(toast|temp)' AND nspname <> ALL (%s) ORDER BY 1, 2", [row[0] for row in own])
        functions = sql(self.connection,
                        "SELECT pronamespace::regnamespace::text, count(*) FROM pg_proc GROUP BY 1 ORDER BY 1")
        roles = sql(self.connection, "SELECT rolname::text, rolsuper, rolcanlogin FROM pg_roles ORDER BY 1")
        settings = sql(self.connection, "SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting ORDER BY 1, 2")
        counts = [(row[1], sql(self.connection, f'SELECT count(*), max(global_position) FROM "{row[1]}".messages'))
                  for row in registry]
        return [registry, relations, functions, roles, settings, counts]

    def require_unchanged(self):
        assert self.take() == self.before


@pytest.fixture(scope="module")
def victim():
    """A server of one's own: others would change what must not change."""
    server = Server("--test-mode")
    client = server.client(token_for("bystander"))
    for n in range(5):
        client.write(f"precious-{n}", {"n": n})
    client.close()
    yield server
    client = server.client(token_for("bystander"))  # the first one would have been idle for too long
    assert [message[5] for message in client.call("category.get", "")] == [{"n": n} for n in range(5)]
    assert client.call("ns.info", "bystander")["messageCount"] == 5
    server.stop()


@pytest.fixture
def attacker(victim):
    name = "attacker " + new_id()
    client = victim.client(token_for(name))
    client.call("sys.version")
    connection = victim.postgres()
    client.write("probe", {})
    fingerprint = Fingerprint(connection, name)
    yield client
    fingerprint.require_unchanged()
    connection.close()
    client.close()


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_of_a_message_is_stored_and_found_literally(attacker, text):
    stream, type, data = text + "-" + text, text, {text: [text]}
    category = stream[:stream.index("-")]
    attacker.write(stream, data, type, {text: text, "correlationStreamName": stream})
    attacker.write("other-1", {}, "Other")
    message = attacker.call("stream.get", stream, {"types": [text]})
    assert [(found[1], found[4], found[5][text]) for found in message] == [(type, data, text)]
    assert attacker.call("stream.get", stream, {"types": ["Other"]}) == []
    assert attacker.call("stream.last", stream, {"type": text})[4] == data
    assert attacker.call("stream.last", "other-1", {"type": text}) is None
    assert attacker.call("stream.version", stream) == 0
    found = attacker.call("category.get", category, {"correlation": category, "types": [text, "Other"],
                                                     "consumerGroup": {"member": 0, "size": 1}})
    assert [part[1] for part in found] == [stream]
    assert attacker.call("category.get", "other", {"correlation": text}) == []
    assert stream in [listed["stream"] for listed in attacker.call("ns.streams", {"prefix": text})]
    assert all(listed["stream"].startswith(text) for listed in attacker.call("ns.streams", {"prefix": text}))
    after = [listed["stream"] for listed in attacker.call("ns.streams", {"cursor": text})]
    assert after == sorted((name for name in {stream, "other-1", "probe"} if name.encode() > text.encode()),
                           key=str.encode)
    assert {"category": category, "streamCount": 1, "messageCount": 1} in attacker.call("ns.categories")
    # No other stream than these was touched.
    assert {listed["stream"] for listed in attacker.call("ns.streams")} == {stream, "other-1", "probe"}


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_of_messages_that_are_appended_together_is_stored_and_found_literally(attacker, text):
    message = {"type": text, "data": {text: text}, "metadata": {text: [text]}}
    attacker.call("stream.append", text, [message, message], {"expectedVersion": -1})
    attacker.call(
        "streams.append",
        [{"stream": text + "2", "messages": [message]}, {"stream": text, "messages": [message], "expectedVersion": 1}])
    for stream, count in ((text, 3), (text + "2", 1)):
        assert [found[1:] for found in fields(attacker.call("stream.get", stream))
                ] == [(text, {text: text}, {text: [text]})] * count
    assert {listed["stream"] for listed in attacker.call("ns.streams")} == {text, text + "2", "probe"}


def fields(messages):
    return [(found[0], found[1], found[4], found[5]) for found in messages]


# Every argument that is no free text, with the text in its place.
NO_TEXT = [["stream.write", "s", {"type": "T", "data": {}}, {"id": ...}],
           ["stream.write", "s", {"type": "T", "data": {}}, {"expectedVersion": ...}],
           ["stream.write", "s", {"type": "T", "data": ...}],
           ["stream.write", "s", {"type": "T", "data": {}, "metadata": ...}], ["stream.write", "s", ...],
           ["stream.write", "s", {"type": "T", "data": {}}, ...], ["stream.append", "s", ...],
           ["stream.append", "s", [...]], ["stream.append", "s", [{"type": "T", "data": {}, "id": ...}]],
           ["stream.append", "s", [{"type": "T", "data": {}}], {"expectedVersion": ...}], ["streams.append", ...],
           ["streams.append", [...]],
           ["streams.append", [{"stream": "s", "messages": [{"type": "T", "data": {}, "id": ...}]}]],
           ["streams.append", [{"stream": "s", "messages": [{"type": "T", "data": {}}], "expectedVersion": ...}]],
           ["stream.get", "s", {"position": ...}], ["stream.get", "s", {"globalPosition": ...}],
           ["stream.get", "s", {"batchSize": ...}], ["stream.get", "s", {"types": ...}], ["stream.get", "s", ...],
           ["stream.last", "s", ...], ["category.get", "c", {"position": ...}],
           ["category.get", "c", {"globalPosition": ...}], ["category.get", "c", {"batchSize": ...}],
           ["category.get", "c", {"types": ...}], ["category.get", "c", {"consumerGroup": ...}],
           ["category.get", "c", {"consumerGroup": {"member": ..., "size": 2}}],
           ["category.get", "c", {"consumerGroup": {"member": 0, "size": ...}}], ["ns.streams", {"limit": ...}],
           ["ns.streams", ...]]


def with_text(value, text):
    if value is ...:
        return text
    if isinstance(value, list):
        return [with_text(each, text) for each in value]
    return {key: with_text(each, text) for key, each in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("call", NO_TEXT, ids=lambda call: json.dumps(call, default=lambda _: "...")[:60])
def test_text_where_none_belongs_is_refused(attacker, call):
    for text in INJECTIONS:
        error = attacker.refused(*with_text(call, text))
        assert (error.status, error.code) == (400, "INVALID_REQUEST"), (text, error)
    assert [listed["stream"] for listed in attacker.call("ns.streams")] == ["probe"]


@pytest.mark.parametrize("field", ["id", "pos", "gpos", "data", "meta", "time"])
def test_text_where_none_belongs_is_refused_in_an_import(attacker, field):
    record = {
        "id": new_id(), "stream": "s", "type": "T", "pos": 0, "gpos": 1000, "data": {}, "meta": None,
        "time": "2024-01-02T03:04:05Z"
    }
    for text in INJECTIONS:
        reply = attacker.request("POST", "/import", json.dumps({**record, field: text}).encode())
        assert json.loads(reply.body.split(b"data: ")[-1])["error"].startswith("INVALID_"), (text, reply.body)
    assert attacker.call("stream.version", "s") is None


def test_text_where_none_belongs_is_refused_in_a_url_and_a_header(attacker):
    for text in INJECTIONS:
        for path in ("/import?force=", "/subscribe?stream=s&position=", "/subscribe?category=c&consumer=0&size=",
                     "/subscribe?category=c&size=2&consumer=", "/subscribe?all=", "/subscribe?stream=s&ids=",
                     "/subscribe?stream=s&messages=", "/export?since=", "/export?until="):
            reply = attacker.request("POST" if "import" in path else "GET", path + quote(text, safe=""),
                                     b"" if "import" in path else None)
            assert reply.status == 400, path + text
        if text.isprintable() and text.isascii():
            reply = attacker.request("GET", "/subscribe?stream=s", None, {"Last-Event-ID": text})
            assert reply.status == 400, text


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_of_an_import_and_an_export_is_taken_literally(attacker, text):
    stream = text + "-1"
    category = stream[:stream.index("-")]
    line = json.dumps({
        "id": new_id(), "stream": stream, "type": text, "pos": 7, "gpos": 1000, "data": {text: text},
        "meta": {text: text}, "time": "2024-01-02T03:04:05Z"
    })
    reply = attacker.request("POST", "/import", line.encode())
    assert b'"done":true,"imported":1' in reply.body, reply.body
    reply = attacker.request("GET", "/export?categories=" + quote(category, safe=""))
    found = [json.loads(each) for each in reply.body.splitlines()]
    if "," in category:
        assert found == []  # two names
    else:
        assert [(each["stream"], each["type"], each["data"], each["meta"])
                for each in found] == [(stream, text, {text: text}, {text: text})]
    for query in ("since", "until"):
        assert attacker.request("GET", f"/export?{query}=" + quote(text, safe="")).status == 400
    assert json.loads(
        attacker.request("POST", "/import",
                         line.replace("2024",
                                      text.replace('"', "").replace("\\", "") +
                                      "x").encode()).body.split(b"data: ")[-1])["error"].startswith("INVALID_")


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_of_a_subscription_is_taken_literally(victim, attacker, text):
    stream = text + "-1"
    attacker.write(stream, {})
    for query in ("stream=" + quote(stream, safe=""), "category=" + quote(stream[:stream.index("-")], safe="")):
        with victim.connect() as wire:
            wire.sendall(f"GET /subscribe?{query}&token={attacker.token} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            received = b""
            while b"event: poke" not in received:
                part = wire.recv(65536)
                assert part, received
                received += part
        assert json.dumps(stream, ensure_ascii=False).encode() in received or json.loads(
            re.search(rb"data: (\{.*\})", received).group(1))["stream"] == stream
    for parameter in ("position", "consumer", "size", "all"):
        reply = attacker.request("GET", f"/subscribe?category=c&{parameter}={quote(text + 'x', safe='')}")
        assert reply.status == 400


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_of_a_namespace_is_taken_literally(victim, text):
    admin = victim.client(token_for("default"))
    connection = victim.postgres()
    name = text + " " + new_id()
    fingerprint = Fingerprint(connection, name)
    token = token_for(name)
    assert admin.call("ns.create", name,
                      {"description": text, "token": token, "metadata": {text: text}})["namespace"] == name
    assert sql(connection, "SELECT description, metadata FROM millrace.namespaces WHERE name = %s",
               name) == [(text, {text: text})]
    assert admin.refused("ns.create", name).code == "NAMESPACE_EXISTS"
    client = victim.client(token)
    client.write("s-1", {})
    client.request("POST", "/import?force=true", b"")
    client.write("s-2", {})
    assert client.call("ns.info", name)["description"] == text
    assert name in [listed["namespace"] for listed in admin.call("ns.list")]
    fingerprint.require_unchanged()
    assert admin.call("ns.delete", name)["messagesDeleted"] == 1
    assert admin.refused("ns.info", name).code == "NAMESPACE_NOT_FOUND"
    for call in (["ns.delete", text], ["ns.info", text]):
        assert admin.refused(*call).code == "NAMESPACE_NOT_FOUND"
    for options in ({"token": text}, {"token": token + text}, {"metadata": text}, text):
        assert admin.refused("ns.create", name, options).code == "INVALID_REQUEST"
    fingerprint.require_unchanged()
    connection.close()
    client.close()
    admin.close()


def test_a_token_is_only_ever_a_token(secured):
    digest = hashlib.sha256(b"x").hexdigest()
    for text in [
            *INJECTIONS, digest, "ns_" + "'" * 10 + "_" + "0" * 64, "ns_ZGVmYXVsdA_' OR 1=1",
            *map(token_for, INJECTIONS),
            token_for("default' --"),
            token_for('default"')
    ]:
        client = secured.client("")
        client.token = None
        reply = client.request("POST", "/rpc?token=" + quote(text, safe=""), VERSION)
        assert reply.status in (401, 403), text
        if text.isprintable() and text.isascii():
            assert client.request("POST", "/rpc", VERSION,
                                  {"Authorization": f"Bearer {text}"}).status in (401, 403), text
        client.close()


@pytest.mark.parametrize(
    "query",
    ["stream=%ff", "stream=%00", "stream=a%00b", "stream=%ed%a0%80", "category=%c0%af", "category=%f4%90%80%80"])
def test_a_query_that_is_no_text_for_postgres_is_refused(victim, attacker, query):
    reply = attacker.request("GET", f"/subscribe?{query}")
    assert reply.status == 400, reply.body
    if query.startswith("category"):
        assert attacker.request("GET", "/export?categories=" + query.split("=")[1]).status == 400


# Clients that take their time


def test_slow_clients_are_cut_off_and_disturb_nobody(start):
    server = start("--test-mode", "--request-timeout", "1", "--idle-timeout", "2")
    beginnings = [
        b"", b"P", b"POST /rpc HTTP/1.1\r\n",
        HEAD.encode() + b"Content-Length: 1000\r\n\r\n[",
        HEAD.encode() + b"Transfer-Encoding: chunked\r\n\r\n",
        HEAD.encode() + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n"
    ]
    drips = [b"\r\n", b"O", b"X: y\r\n", b" ", b"1\r\n \r\n", b" "]
    slow = []
    for n in range(240):
        wire = server.connect()
        wire.sendall(beginnings[n % len(beginnings)])
        wire.setblocking(False)
        slow.append((wire, drips[n % len(drips)], bytearray()))
    started = time.monotonic()
    client = server.client()

    def drip():
        before = time.monotonic()
        assert client.call("sys.version") and client.write("s")
        assert time.monotonic() - before < 1
        for each in list(slow):
            wire, text, received = each
            try:
                wire.send(text)
                part = wire.recv(1000)
                received += part
                gone = not part
            except BlockingIOError:
                gone = False
            except (ConnectionResetError, BrokenPipeError):
                gone = True
            if gone:
                assert not received or received.startswith(b"HTTP/1.1 408"), received
                wire.close()
                slow.remove(each)
        time.sleep(0.1)
        return not slow

    wait_until(drip, "the end of all slow clients", 30)
    assert time.monotonic() - started < 15
    client.close()


def test_who_was_refused_and_sends_on_is_read_for_half_a_minute_at_most(endless):
    endless.join(40)
    assert not endless.is_alive() and 5 < endless.lasted < 40
