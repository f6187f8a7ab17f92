"""Imports and exports last as long as their clients like: so many at a time, and the others are told to come again."""
import contextlib
import json
import re
from concurrent.futures import ThreadPoolExecutor

from crowd import connections
from store import ZERO_TOKEN, new_id, sql, wait_until

HEAD = f"Host: x\r\nAuthorization: Bearer {ZERO_TOKEN}\r\n"
IMPORT = f"POST /import?progress=true HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
SUBSCRIBE = f"GET /subscribe?all=true&messages=true HTTP/1.1\r\n{HEAD}\r\n".encode()
EXPORT = f"GET /export HTTP/1.1\r\n{HEAD}\r\n".encode()
LIMITED = ["--test-mode", "--workers", "1", "--max-imports", "3", "--max-exports", "3", "--admin-listen", "127.0.0.1:0"]


def record(n, data=None):
    return json.dumps({
        "id": new_id(), "stream": "s-1", "type": "T", "pos": n, "gpos": n + 1, "data": data or {}, "meta": None,
        "time": "2024-01-02T03:04:05Z"
    })


def read_status(wire):
    return int(wire.recv(65536).split()[1])


def metric(server, name):
    return int(re.search(rf"^{name} (\d+)$", server.admin().request("GET", "/metrics").body.decode(), re.M).group(1))


def overloaded(reply):
    assert (reply.status, reply.error["code"]) == (503, "OVERLOADED") and int(reply.headers["Retry-After"]) >= 1, reply
    return reply.error["message"]


def test_beyond_the_limit_of_imports_a_client_is_told_so_until_another_ends(start):
    server = start(*LIMITED, token=ZERO_TOKEN)
    client = server.client()
    with connections(server, 3, IMPORT) as wires:
        assert overloaded(client.request("POST", "/import",
                                         record(0))) == "3 imports are running, which is the limit (--max-imports)"
        assert client.write("t")["position"] == 0
        assert client.request("GET", "/export").status == 200
        wires[0].sendall(b"0\r\n\r\n")
        wait_until(lambda: client.request("POST", "/import", "").status == 200, "room for another when one is done")
        with connections(server, 1, IMPORT):
            overloaded(client.request("POST", "/import", ""))
            wires[1].close()
            wait_until(lambda: client.request("POST", "/import", "").status == 200,
                       "room for another when a client has gone")
    with connections(server, 3, IMPORT.replace(b"/import?", b"/import?force=maybe&"), answered=False) as refused:
        assert [read_status(wire) for wire in refused] == [400] * 3
    wait_until(lambda: b'"done":true' in client.request("POST", "/import", record(5)).body,
               "room: those that were refused do not count")


def test_beyond_the_limit_of_exports_a_client_is_told_so_until_another_ends(start):
    server = start(*LIMITED, token=ZERO_TOKEN)
    client = server.client()
    client.write("s")
    connection = server.postgres()
    sql(connection, "BEGIN")
    sql(connection, "LOCK TABLE millrace_default.messages IN ACCESS EXCLUSIVE MODE")
    with connections(server, 3, EXPORT, answered=False) as wires:
        wait_until(lambda: metric(server, "millrace_exports_running") == 3, "the exports")
        assert overloaded(client.request("GET",
                                         "/export")) == "3 exports are running, which is the limit (--max-exports)"
        connection.close()
        assert [read_status(wire) for wire in wires] == [200] * 3
    wait_until(lambda: metric(server, "millrace_exports_running") == 0, "the ends of the exports")
    for _ in range(5):
        assert client.request("GET", "/export").status == 200


def test_an_import_goes_through_a_queue_that_is_smaller_than_its_batches(start):
    client = start("--test-mode", "--workers", "1", "--queue-bytes", "1M", token=ZERO_TOKEN).client()
    lines = [record(n, {"text": "x" * 300_000}) for n in range(20)]
    assert b'"imported":20' in client.request("POST", "/import", "\n".join(lines)).body
    assert len(client.call("stream.get", "s-1", {"position": 10})) == 10


def test_calls_that_wait_for_a_namespace_leave_others_room_in_the_queue(start):
    server = start("--test-mode", "--workers", "1", "--queue-requests", "40", "--admin-listen", "127.0.0.1:0",
                   token=ZERO_TOKEN)
    client = server.client()
    client.call("ns.create", "other")
    connection = server.postgres()
    sql(connection, "BEGIN")
    sql(connection, "LOCK TABLE millrace_other.messages IN ACCESS EXCLUSIVE MODE")
    calls = [{"jsonrpc": "2.0", "id": n, "method": "ns.info", "params": ["other"]} for n in range(100)]
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(server.client().post, calls)
        wait_until(lambda: metric(server, "millrace_queue_requests") >= 10, "the calls")
        write = client.post(["stream.write", "s", {"type": "T", "data": {}}])
        connection.close()
        answers = answers.result().json
    assert write.status == 200, write.body
    assert ["result" in answer for answer in answers] == [True] * 10 + [False] * 90
    assert {answer["error"]["data"]["code"] for answer in answers[10:]} == {"OVERLOADED"}


def test_what_is_cut_off_when_the_server_stops_ends_in_order(start):
    server = start("--test-mode", "--workers", "1", "--drain-timeout", "1", token=ZERO_TOKEN)
    client = server.client()
    for _ in range(40):  # more than the kernel takes for a client
        client.write("s", {"text": "x" * 500_000})
    connection = server.postgres()
    client.call("ns.create", "other")
    sql(connection, "BEGIN")
    sql(connection, "LOCK TABLE millrace_other.messages IN ACCESS EXCLUSIVE MODE")
    waiting = json.dumps(["ns.info", "other"])
    reading = json.dumps(["stream.get", "s", {"batchSize": -1}])
    requests = [
        IMPORT, EXPORT,
        EXPORT.replace(b"\r\n\r\n", b"\r\nAccept-Encoding: gzip\r\n\r\n"), SUBSCRIBE,
        *(f"POST /rpc HTTP/1.1\r\n{HEAD}Content-Length: {len(call)}\r\n\r\n{call}".encode()
          for call in (reading, waiting))
    ]
    with connections(server, 1, IMPORT) as (importing,), contextlib.ExitStack() as stack:
        line = record(0).encode() + b"\n"
        importing.sendall(b"%x\r\n%s\r\n" % (len(line), line))
        for request in requests:
            (wire,) = stack.enter_context(connections(server, 1, request, answered=False))
            if request != requests[-1]:
                assert wire.recv(1000).startswith(b"HTTP/1.1 200 ")
        server.stop()
    connection.close()
    assert "cut off" in server.text
