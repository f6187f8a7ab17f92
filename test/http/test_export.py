"""GET /export."""
import gzip
import http.client
import json
import os
import random
import socket
import threading
import time

import pytest

from store import PLAIN_MEMORY, new_id, sql, token_for, wait_until

KEYS = ["id", "stream", "type", "pos", "gpos", "data", "meta", "time"]


def export(client, query="", **headers):
    reply = client.request("GET", "/export" + query,
                           headers={name.replace("_", "-"): value
                                    for name, value in headers.items()})
    assert reply.status == 200, reply.body
    assert reply.headers["Content-Type"] == "application/x-ndjson"
    return reply.body


def messages(client, query=""):
    return [json.loads(line) for line in export(client, query).decode().splitlines()]


def import_lines(client, body):
    reply = client.request("POST", "/import", body)
    assert b'"done":true' in reply.body, reply.body[-300:]


def made(n, **fields):
    return {
        "id": new_id(), "stream": f"made-{n % 7}", "type": "Made", "pos": n, "gpos": n, "data": {"n": n}, "meta": None,
        "time": "2024-01-02T03:04:05Z", **fields
    }


def fill(client, count, **fields):
    import_lines(client, "".join(json.dumps(made(n, **fields)) + "\n" for n in range(1, count + 1)).encode())


@pytest.fixture
def another_namespace(server):
    client = server.client(token_for("test " + new_id()))
    yield client
    client.close()


def test_a_line_is_one_message_byte_for_byte(client):
    id = new_id()
    client.write("a-1", {"b": 1, "a": [1.50, "ü"]}, "T", {"c": "d"}, id=id)
    time = client.call("stream.last", "a-1")[6]
    body = export(client)
    assert body == (f'{{"id":"{id}","stream":"a-1","type":"T","pos":0,"gpos":1,"data":{{"a": [1.5, "ü"], "b": 1}},'
                    f'"meta":{{"c": "d"}},"time":"{time}"}}\n').encode()


def test_metadata_is_null_when_there_is_none(client):
    client.write("a-1")
    assert list(messages(client)[0]) == KEYS
    assert b'"meta":null,' in export(client)


def test_an_empty_namespace_exports_nothing(client):
    assert export(client) == b""


def test_a_round_trip_keeps_all_fields(client, another_namespace):
    rng = random.Random(3)
    words = ["", "a", "ü😀", "\"\\/\b\f\n\r\t", "\x7f\u2028\u2029", "x" * 3000]
    records = []
    for n in range(1, 2501):
        records.append(
            made(
                n, gpos=n * 3, pos=n * 2, type=rng.choice(["A", "Ünï", "with space"]),
                stream=rng.choice(["a-1", "a-2", "no dash", "-", "ü-1"]) + str(n % 5), data={
                    "w": rng.choice(words), "n": rng.choice([0, -1, 10**30, 12345678901234567890123, 0.1]),
                    "d": [[], {}, None, True]
                }, meta=rng.choice([None, {}, {"correlationStreamName": "a-1"}]), time="20%02d-03-0%dT%02d:00:00%sZ" %
                (n % 90 + 10, n % 9 + 1, n % 24, rng.choice(["", ".5", ".000001", ".123456"]))))
    import_lines(client, "\n".join(json.dumps(record) for record in records).encode())
    first = export(client)
    found = [json.loads(line) for line in first.splitlines()]
    assert found == records
    import_lines(another_namespace, first)
    assert export(another_namespace) == first


def test_a_round_trip_in_gzip_keeps_all_fields(client, another_namespace):
    fill(client, 3000)
    reply = client.request("GET", "/export", headers={"Accept-Encoding": "gzip"})
    assert (reply.headers["Content-Encoding"], reply.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(reply.body) == export(client)
    done = another_namespace.request("POST", "/import", reply.body, {"Content-Encoding": "gzip"})
    assert b'"done":true,"imported":3000' in done.body
    assert export(another_namespace) == export(client)


@pytest.mark.parametrize("header, zipped", [("gzip", True), ("deflate, gzip;q=0.5", True), ("GZIP", True),
                                            ("gzip;q=0", False), ("br", False), ("identity", False), ("", False),
                                            ("xgzip", False)])
def test_gzip_is_used_when_it_is_asked_for(client, header, zipped):
    client.write("a-1")
    reply = client.request("GET", "/export", headers={"Accept-Encoding": header})
    assert (reply.headers["Content-Encoding"] == "gzip") == zipped
    assert reply.headers["Cache-Control"] == "no-store", "no cache between keeps what a token in the URL opened"
    assert (gzip.decompress(reply.body) if zipped else reply.body).startswith(b'{"id":')


def test_an_empty_export_in_gzip_is_a_gzip_file(client):
    assert gzip.decompress(export(client, Accept_Encoding="gzip")) == b""


# ---- what is exported ----------------------------------------------------------------------------------------------


def test_categories_choose(client):
    for stream in ("a-1", "b-1", "ab-1", "a", "c,d-1", "ü-1", 'q"\\-1'):
        client.write(stream)
    for query, streams in (("a", ["a-1", "a"]), ("a,b", ["a-1", "b-1", "a"]), ("a%2Cb", ["a-1", "b-1", "a"]),
                           ("%C3%BC", ["ü-1"]), ("none", []), ("a-1", []), ("q%22%5C", ['q"\\-1'])):
        assert [message["stream"] for message in messages(client, f"?categories={query}")] == streams, query
    assert len(messages(client, "?categories=")) == 7


def test_since_is_inclusive_and_until_is_exclusive(client):
    times = ["2024-01-01T00:00:00Z", "2024-01-01T00:00:00.000001Z", "2024-01-02T00:00:00Z", "2024-01-03T12:00:00Z"]
    import_lines(client, "\n".join(json.dumps(made(n, time=time)) for n, time in enumerate(times, 1)).encode())
    for query, wanted in (("since=2024-01-01T00:00:00.000001Z", [2, 3, 4]), ("until=2024-01-01T00:00:00.000001Z", [1]),
                          ("since=2024-01-02&until=2024-01-03", [3]), ("since=2024-01-02T01:00:00%2B01:00", [3, 4]),
                          ("since=2024-01-02T01:00:00+01:00", [3, 4]), ("since=2024-01-03&until=2024-01-02", []),
                          ("since=&until=", [1, 2, 3, 4]), ("since=0000-01-01&until=294275-12-31", [1, 2, 3, 4])):
        assert [message["gpos"] for message in messages(client, "?" + query)] == wanted, query


@pytest.mark.parametrize("query, name", [("since=x", "since"), ("until=2024", "until"), ("since=2024-02-30", "since"),
                                         ("until=2024-01-01T00:00:00", "until"), ("categories=a,,b", "categories"),
                                         ("categories=,", "categories"), ("categories=%FF", "categories"),
                                         ("categories=a%00b", "categories"), ("since=%00", "since")])
def test_a_bad_parameter_is_named(client, query, name):
    reply = client.request("GET", "/export?" + query)
    assert (reply.status, reply.headers["Content-Type"], reply.error["code"]) == (400, "application/json",
                                                                                  "INVALID_REQUEST")
    assert name in reply.error["message"]


def test_the_token_comes_first_and_opens_its_own_namespace(secured, admin):
    assert secured.client(token_for("none " + new_id())).request("GET", "/export?since=x").status == 403
    anonymous = secured.client("")
    anonymous.token = None
    assert anonymous.request("GET", "/export").error["code"] == "AUTH_REQUIRED"
    reply = admin.request("POST", "/export", b"")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET")
    name = "tenant " + new_id()
    tenant = secured.client(admin.call("ns.create", name)["token"])
    tenant.write("only-1")
    assert [message["stream"] for message in messages(tenant)] == ["only-1"]
    assert [message["stream"] for message in messages(anonymous, f"?token={tenant.token}")] == ["only-1"]
    tenant.close()


# ---- streaming -------------------------------------------------------------------------------------------------------


def test_an_export_of_many_pages_is_complete_and_the_connection_goes_on(client):
    fill(client, 9000, data={"x": "a" * 400})
    assert [message["gpos"] for message in messages(client)] == list(range(1, 9001))
    assert client.request("GET", "/health").status == 200


def test_an_export_is_a_prefix_while_writes_go_on(client, another):
    stop = threading.Event()

    def write(one, name):
        while not stop.is_set():
            one.write(name)

    writers = [threading.Thread(target=write, args=(another(), f"live-{n}")) for n in range(4)]
    for writer in writers:
        writer.start()
    try:
        seen = wait_until(lambda: [(message["gpos"], message["id"]) for message in messages(client)], "a message")
        for _ in range(10):
            found = [(message["gpos"], message["id"]) for message in messages(client)]
            assert found == sorted(found) and found[:len(seen)] == seen, "nothing ever appears below what was exported"
            seen = found
    finally:
        stop.set()
        for writer in writers:
            writer.join()


def test_a_client_that_does_not_read_costs_a_page(start):
    server = start("--test-mode", "--workers", "1", variables=PLAIN_MEMORY)
    client = server.client()
    fill(client, 30000, data={"x": "a" * 1000})
    export(client)
    before = server.memory()
    sockets = [server.connect() for _ in range(5)]
    for each in sockets:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        each.sendall(f"GET /export?token={token_for('default')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    time.sleep(1)  # as much would be read in it, were it not for them
    assert server.memory() < before + 15 or "ASAN_OPTIONS" in os.environ, "the sanitizer keeps what was freed"
    assert client.request("GET", "/health").status == 200
    received = 0
    stream = sockets[0].makefile("rb")
    stream.readline()
    http.client.parse_headers(stream)
    while size := int(stream.readline(), 16):
        received += stream.read(size + 2).count(b"\n") - 1
    assert received == 30000, "and it misses nothing"
    for each in sockets:
        each.close()
    assert client.request("GET", "/health").status == 200


def test_an_error_after_the_start_cuts_the_reply(start):
    server = start("--test-mode", "--workers", "1")
    client = server.client()
    fill(client, 30000, data={"x": "a" * 1000})
    connection = server.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.sendall(f"GET /export?token={token_for('default')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    stream = connection.makefile("rb")
    assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
    admin = server.postgres()
    schema = sql(admin, "SELECT schema FROM millrace.namespaces WHERE name = 'default'")[0][0]
    sql(admin, f'DROP TABLE "{schema}".messages')
    admin.close()
    body = stream.read()
    assert len(body) > 1000 and not body.endswith(b"0\r\n\r\n")
    connection.close()


def test_an_error_before_the_start_is_an_ordinary_error(start):
    server = start("--test-mode", "--workers", "1")
    client = server.client()
    client.write("a-1")
    admin = server.postgres()
    schema = sql(admin, "SELECT schema FROM millrace.namespaces WHERE name = 'default'")[0][0]
    sql(admin, f'DROP TABLE "{schema}".messages')
    admin.close()
    reply = client.request("GET", "/export")
    assert reply.status == 500 and reply.error["code"] == "BACKEND_ERROR"


def test_an_old_client_gets_the_export_without_chunks(server, client):
    client.write("a-1")
    with server.connect() as connection:
        connection.sendall(f"GET /export?token={client.token} HTTP/1.0\r\n\r\n".encode())
        head, body = connection.makefile("rb").read().split(b"\r\n\r\n", 1)
    assert b"chunked" not in head and json.loads(body)["stream"] == "a-1"
