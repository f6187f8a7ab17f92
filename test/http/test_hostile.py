"""Hostile input: what two readers would read differently, what would not end, JSON at its limits, and slow clients."""
import re
import socket
import threading
import time

import pytest

from store import wait_until

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
                time.sleep(0.5)  # a slow client
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
def test_what_all_readers_read_alike_is_taken_and_the_next_request_too(server, headers):
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


# Clients that take their time


def test_slow_clients_are_cut_off_and_disturb_no_others(start):
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
        time.sleep(0.1)  # slowly
        return not slow

    wait_until(drip, "the end of all slow clients", 30)
    assert time.monotonic() - started < 15
    client.close()


def test_a_client_that_was_refused_and_sends_on_is_read_for_half_a_minute_at_most(endless):
    endless.join(40)
    assert not endless.is_alive() and 5 < endless.lasted < 40
