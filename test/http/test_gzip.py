"""Answers in gzip, to clients that take them."""
import gzip
import http.client
import json
import zlib

import pytest

from store import PLAIN_MEMORY, Server, wait_until

TAKES_GZIP = {"Accept-Encoding": "gzip"}
LONG = {"text": "a few words " * 40}
REFUSALS = ["", "identity", "br, deflate", "gzip;q=0", "gzip; q=0.000", "*;q=0", "*, gzip;q=0", "gzip;q=", "gzip;q=2",
            "gzip;q=-1", "gzip;q=x", "xgzip", "gzip2", ",,;", ";q=1", "gzip" + "x" * 5000]


def read(client, *call, headers=TAKES_GZIP):
    return client.request("POST", "/rpc", json.dumps(call), headers)


def fill(client, stream, count, data=LONG):
    for at in range(0, count, 500):
        client.call("stream.append", stream, [{"type": "T", "data": data}] * min(500, count - at))


def raw(client, call, extra="", version="1.1"):
    body = json.dumps(call)
    return (f"POST /rpc HTTP/{version}\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n{extra}"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


@pytest.mark.parametrize("header", REFUSALS)
def test_a_client_that_does_not_take_gzip_gets_none(client, header):
    fill(client, "s", 10)
    plain = read(client, "stream.get", "s", headers={})
    reply = read(client, "stream.get", "s", headers={"Accept-Encoding": header})
    for each in (plain, reply):
        assert (each.status, each.headers["Content-Encoding"], each.headers["Vary"]) == (200, None, "Accept-Encoding")
    assert reply.body == plain.body and len(reply.json) == 10


@pytest.mark.parametrize("header", ["gzip", "GZIP", "x-gzip", "br, gzip", "gzip, deflate, br, zstd", "gzip;q=0.001",
                                    "gzip ; q=1.000", "*", "br;q=1, *;q=0.5", " gzip ", "identity;q=0, gzip"])
def test_a_client_that_takes_it_gets_it(client, header):
    fill(client, "s", 10)
    plain = read(client, "stream.get", "s", headers={})
    reply = read(client, "stream.get", "s", headers={"Accept-Encoding": header})
    assert (reply.headers["Content-Encoding"], reply.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert int(reply.headers["Content-Length"]) == len(reply.body) < len(plain.body) / 5
    assert gzip.decompress(reply.body) == plain.body


def test_short_answers_and_those_without_a_body_stay_as_they_are(client):
    reply = read(client, "stream.write", "s", {"type": "T", "data": LONG})
    assert (reply.headers["Content-Encoding"], reply.headers["Vary"]) == (None, None) and reply.json["position"] == 0
    notification = '{"jsonrpc": "2.0", "method": "stream.version", "params": ["s"]}'
    assert client.request("POST", "/rpc", notification, TAKES_GZIP).status == 204


def test_from_a_thousand_bytes_on(client):
    lengths = {}
    for n in range(850, 1100):
        lengths[n] = client.write("s-%d" % n, {"x": "y" * n})
    found = set()
    for n in range(850, 1100):
        plain = read(client, "stream.get", "s-%d" % n, headers={}).body
        zipped = read(client, "stream.get", "s-%d" % n).headers["Content-Encoding"] == "gzip"
        assert zipped == (len(plain) >= 1024), len(plain)
        found.add(zipped)
    assert found == {False, True}


@pytest.mark.parametrize("count", [1, 30, 4000])
def test_jsonrpc_and_its_batches_too(client, count):
    fill(client, "s", count)
    call = {"jsonrpc": "2.0", "id": 7, "method": "stream.get", "params": ["s", {"batchSize": -1}]}
    for body in (call, [call, call]):
        plain = client.post(body)
        reply = client.request("POST", "/rpc", json.dumps(body), TAKES_GZIP)
        assert plain.headers["Content-Encoding"] is None
        # One that is whole and above a MiB would hold up others.
        zipped = 1024 <= len(plain.body) <= 1048576 or isinstance(body, dict) and count > 1
        assert (reply.headers["Content-Encoding"] == "gzip") == zipped
        assert (gzip.decompress(reply.body) if zipped else reply.body) == plain.body


def test_a_long_answer_is_compressed_as_it_comes(client):
    fill(client, "s", 20000)
    plain = read(client, "stream.get", "s", {"batchSize": -1}, headers={})
    reply = read(client, "stream.get", "s", {"batchSize": -1})
    assert (reply.headers["Transfer-Encoding"], reply.headers["Content-Encoding"]) == ("chunked", "gzip")
    assert gzip.decompress(reply.body) == plain.body and len(plain.json) == 20000
    assert len(reply.body) < len(plain.body) / 5
    assert read(client, "stream.version", "s").json == 19999, "the connection goes on"


def test_a_message_above_a_page(client):
    fill(client, "s", 3, {"x": "y" * 3_000_000})
    plain = read(client, "stream.get", "s", headers={})
    reply = read(client, "stream.get", "s")
    assert reply.headers["Content-Encoding"] == "gzip" and gzip.decompress(reply.body) == plain.body


def test_errors_that_are_long(client):
    reply = read(client, "stream.write", "s", {"type": "T", "data": {}, "x" * 100: 1, "expectedversion": 1})
    assert reply.headers["Content-Encoding"] is None or gzip.decompress(reply.body)


def test_pipelined_requests_come_in_order_each_in_its_coding(server, client):
    fill(client, "s", 3000)
    fill(client, "t", 1)
    calls = [(["stream.get", name, {"batchSize": -1}], takes) for name in ("s", "t") for takes in (True, False)] * 5
    connection = server.connect()
    connection.sendall(b"".join(raw(client, call, "Accept-Encoding: gzip\r\n" * takes) for call, takes in calls))
    stream = connection.makefile("rb")
    for call, takes in calls:
        assert stream.readline().startswith(b"HTTP/1.1 200")
        headers = http.client.parse_headers(stream)
        if "Content-Length" in headers:
            body = stream.read(int(headers["Content-Length"]))
        else:
            body = b""
            while size := int(stream.readline(), 16):
                body += stream.read(size)
                assert stream.readline() == b"\r\n"
            assert stream.readline() == b"\r\n"
        assert (headers["Content-Encoding"] == "gzip") == (takes and call[1] == "s")
        if headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        assert len(json.loads(body)) == (3000 if call[1] == "s" else 1)
    connection.close()


@pytest.mark.parametrize("count", [10, 6000])
def test_http_1_0_gets_it_without_chunks(server, client, count):
    fill(client, "s", count)
    connection = server.connect()
    connection.sendall(raw(client, ["stream.get", "s", {"batchSize": -1}], "Accept-Encoding: gzip\r\n", "1.0"))
    reply = connection.makefile("rb").read()
    head, body = reply.split(b"\r\n\r\n", 1)
    assert b"Content-Encoding: gzip" in head and b"chunked" not in head
    assert len(json.loads(gzip.decompress(body))) == count
    connection.close()


def test_head_has_no_body(client):
    reply = client.request("HEAD", "/rpc", headers=TAKES_GZIP)
    assert (reply.status, reply.body) == (405, b"")
    assert read(client, "stream.version", "s").status == 200


def test_event_streams_are_never_compressed(client, subscribe):
    subscriber = subscribe(all="true", headers=TAKES_GZIP)
    wait_until(lambda: subscriber.read() or b": ready" in subscriber.raw, "the beginning")
    assert b"Content-Encoding" not in subscriber.raw


def test_clients_that_go_away_in_the_middle_harm_no_others(server, client):
    fill(client, "s", 20000)
    call = raw(client, ["stream.get", "s", {"batchSize": -1}], "Accept-Encoding: gzip\r\n")
    for size in (0, 1, 1000, 50000):
        connection = server.connect()
        connection.sendall(call)
        if size:
            connection.recv(size)
        connection.close()
    assert len(json.loads(gzip.decompress(read(client, "stream.get", "s", {"batchSize": -1}).body))) == 20000


def test_more_clients_than_compressors_get_whole_answers_in_one_coding_or_none():
    """100 that do not read hold what there is; memory does not grow with them, and the next is answered."""
    server = Server("--test-mode", "--workers", "1", variables=PLAIN_MEMORY)
    try:
        client = server.client()
        # What does not get smaller: the sockets fill up.
        noise = [json.dumps([(n * 7919 + i * i * 31) % 1000003 for i in range(20000)]) for n in range(40)]
        for text in noise:
            client.write("s", {"x": text})
        before = server.memory()
        waiting = [server.connect() for _ in range(100)]
        for connection in waiting:
            connection.sendall(raw(client, ["stream.get", "s", {"batchSize": -1}], "Accept-Encoding: gzip\r\n"))
        codings = []
        for connection in waiting:
            first = b""
            while b"\r\n\r\n" not in first:
                first += connection.recv(300)
            codings.append(b"Content-Encoding: gzip" in first)
        assert set(codings) == {True, False} and sum(codings) == 64
        assert server.memory() - before < 100
        for connection in waiting:
            connection.close()

        def compressed():
            return read(client, "stream.get", "s", {"batchSize": -1}).headers["Content-Encoding"] == "gzip"

        wait_until(compressed, "compressors that are free again", 30)
    finally:
        server.stop()


def test_what_is_compressed_ends_as_gzip_does(client):
    fill(client, "s", 9000)
    body = read(client, "stream.get", "s", {"batchSize": -1}).body
    inflater = zlib.decompressobj(31)
    inflater.decompress(body)
    assert inflater.eof and inflater.unused_data == b""


def test_the_document_of_the_methods_and_its_head(client):
    plain = client.request("GET", "/openrpc.json")
    reply = client.request("GET", "/openrpc.json", headers=TAKES_GZIP)
    head = client.request("HEAD", "/openrpc.json", headers=TAKES_GZIP)
    assert gzip.decompress(reply.body) == plain.body and plain.headers["Vary"] == "Accept-Encoding"
    assert head.body == b"" and head.headers["Content-Encoding"] == "gzip"
    assert head.headers["Content-Length"] == reply.headers["Content-Length"] == str(len(reply.body))
    assert reply.headers["ETag"] == plain.headers["ETag"] and reply.headers["ETag"].startswith("W/")
    same = client.request("GET", "/openrpc.json", headers={**TAKES_GZIP, "If-None-Match": reply.headers["ETag"]})
    assert (same.status, same.body, same.headers["Content-Encoding"], same.headers["Vary"]) == \
        (304, b"", None, "Accept-Encoding")
    assert read(client, "sys.version").status == 200, "the connection goes on"
