"""POST /import as its connection sees it: what is answered when, bodies in pieces, clients that are slow or go away."""
import json
import os
import socket
import struct
import threading
import time

import pytest

from importing import DONE, Wire, imported, line, lines, post, refused, stored
from store import sql, token_for, wait_until


def is_silent(connection, seconds=0.3):
    before = connection.gettimeout()
    connection.settimeout(seconds)
    try:
        connection.recv(1)  # over TLS there may be something that is no answer, so select() would not do
    except TimeoutError:
        return True
    finally:
        connection.settimeout(before)
    return False


def test_nothing_is_answered_before_the_body_has_ended(client, wire):
    wire.start("Transfer-Encoding: chunked")
    wire.chunk(lines(1, 2500))
    wait_until(lambda: len(stored(client)) == 2000, "two batches")
    assert is_silent(wire.socket), "a proxy would take an answer for the end"
    wire.end()
    assert wire.head()[0] == 200
    got = list(wire.chunks())
    assert got[:2] == [b'data: {"imported":1000,"gpos":1000}\n\n', b'data: {"imported":2000,"gpos":2000}\n\n'
                       ] and DONE.fullmatch(got[2])


@pytest.mark.parametrize("force", ["", "?force=true"])
def test_a_failure_is_told_when_the_rest_of_the_body_was_thrown_away(client, wire, force):
    wire.start("Transfer-Encoding: chunked", path="/import" + force)
    wire.chunk(lines(1, 1000) + "broken\n")
    wire.chunk(lines(1001, 9000))
    wait_until(lambda: len(stored(client)) == 1000, "the first batch")
    assert is_silent(wire.socket)
    wire.socket.sendall(b"0\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert wire.head()[0] == 200
    got = list(wire.chunks())
    assert got[0] == b'data: {"imported":1000,"gpos":1000}\n\n'
    assert json.loads(got[1][6:])["error"] == "INVALID_JSON" and json.loads(
        got[1][6:])["line"] == 1001 and len(got) == 2
    assert wire.head()[0] == 200, "the connection goes on"


def test_no_more_than_a_body_is_thrown_away(start):
    server = start("--test-mode", "--max-body", "1M", "--request-timeout", "60")
    server.client().call("stream.version", "x")
    wire = Wire(server, token_for("default"))
    wire.start("Transfer-Encoding: chunked")
    wire.chunk("broken\n")
    for _ in range(9):
        wire.chunk(b"x" * 100000)
    assert is_silent(wire.socket)
    for _ in range(4):
        wire.chunk(b"x" * 100000)
    assert wire.head()[0] == 200
    assert b"INVALID_JSON" in list(wire.chunks())[0]
    wire.close()


def test_the_rest_of_a_body_is_not_waited_for_longer_than_30_s(start):
    server = start("--test-mode", "--request-timeout", "300")
    server.client().call("stream.version", "x")
    wire = Wire(server, token_for("default"))
    wire.start("Transfer-Encoding: chunked")
    begun = time.monotonic()
    wire.chunk("broken\n")
    wire.socket.settimeout(120)
    assert wire.head()[0] == 200 and time.monotonic() - begun > 29
    assert b"INVALID_JSON" in list(wire.chunks())[0]
    wire.close()


@pytest.mark.parametrize("value, status", [("true", 200), ("0", 200), ("often", 400)])
def test_a_bad_progress_is_refused_by_name(client, value, status):
    reply = post(client, line(1), f"/import?progress={value}")
    assert reply.status == status and (status == 200 or b"progress must be" in bytes(str(reply.body), "utf-8"))


def test_progress_comes_while_the_body_is_still_sent(wire):
    wire.start("Transfer-Encoding: chunked", path="/import?progress=true")
    wire.chunk(lines(1, 1000))
    assert wire.head()[0] == 200
    chunks = wire.chunks()
    assert next(chunks) == b'data: {"imported":1000,"gpos":1000}\n\n'
    wire.chunk(lines(1001, 2000))
    assert next(chunks) == b'data: {"imported":2000,"gpos":2000}\n\n'
    wire.end()
    assert DONE.fullmatch(next(chunks)).group(1) == b"2000"


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_the_next_request_on_the_connection_is_answered(wire, framing):
    body = lines(1, 1500).encode()
    nxt = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    if framing == "length":
        wire.start(f"Content-Length: {len(body)}")
        wire.socket.sendall(body + nxt)
    else:
        wire.start("Transfer-Encoding: chunked")
        wire.chunk(body)
        wire.socket.sendall(b"0\r\n\r\n" + nxt)
    assert wire.head()[0] == 200
    assert DONE.fullmatch(list(wire.chunks())[-1])
    status, headers = wire.head()
    assert status == 200 and wire.stream.read(int(headers["Content-Length"])) == b'{"status":"ok"}'


def test_the_next_request_is_answered_after_a_failure_near_the_end(wire):
    body = ("broken\n" + lines(1, 10)).encode()
    wire.start(f"Content-Length: {len(body)}")
    wire.socket.sendall(body + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert wire.head()[0] == 200
    assert b"INVALID_JSON" in list(wire.chunks())[-1]
    assert wire.head()[0] == 200


def test_a_body_byte_by_byte_is_understood(wire):
    wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = (line(1, type="Größe") + "\r\n\n" + line(2)).encode()
    wire.start("Transfer-Encoding: chunked")
    for i in range(0, len(body), 3):
        wire.chunk(body[i:i + 3])
        time.sleep(0.0005)  # so that the pieces come apart
    wire.end()
    assert wire.head()[0] == 200
    assert DONE.fullmatch(list(wire.chunks())[0]).group(1) == b"2"


def test_expect_100_continue_is_answered_before_the_body(wire):
    body = lines(1, 3).encode()
    wire.start(f"Content-Length: {len(body)}", "Expect: 100-continue")
    assert wire.stream.readline() == b"HTTP/1.1 100 Continue\r\n" and wire.stream.readline() == b"\r\n"
    wire.socket.sendall(body)
    assert wire.head()[0] == 200 and DONE.fullmatch(list(wire.chunks())[0])


def test_a_slow_sender_is_waited_for_and_a_silent_one_is_not(start):
    server = start("--test-mode", "--request-timeout", "1")
    server.client().call("stream.version", "x")
    wire = Wire(server, "")
    wire.token = token_for("default")
    wire.start("Transfer-Encoding: chunked")
    for n in range(1, 6):
        wire.chunk(line(n) + "\n")
        time.sleep(0.5)  # 2.5 s in all, with never a second between two pieces
    assert wire.head()[0] == 200
    error = json.loads(list(wire.chunks())[0][6:])
    assert (error["error"], error["line"]) == ("IMPORT_FAILED", 6)
    assert wire.stream.read() == b"", "the connection is closed"
    wire.close()


def test_a_sender_is_not_late_while_it_waits_for_us(start):
    server = start("--test-mode", "--workers", "1", "--request-timeout", "1")
    server.client().call("stream.version", "x")
    connection = server.postgres()
    connection.autocommit = False
    sql(connection, "LOCK TABLE millrace_default.messages")
    wire = Wire(server, token_for("default"))
    wire.start("Transfer-Encoding: chunked")
    wire.chunk(lines(1, 8000))
    for _ in range(2):
        with server.connect() as late:
            late.sendall(b"GET ")
            assert late.recv(4096).startswith(b"HTTP/1.1 408 "), "one that sends nothing"
    connection.commit()
    connection.close()
    wire.end()
    assert wire.head()[0] == 200 and DONE.fullmatch(list(wire.chunks())[-1]).group(1) == b"8000"
    wire.close()


def test_malformed_chunks_end_the_import(wire):
    wire.start("Transfer-Encoding: chunked")
    wire.chunk(lines(1, 1000))
    wire.socket.sendall(b"zz\r\n")
    assert wire.head()[0] == 200
    error = json.loads(list(wire.chunks())[-1][6:])
    assert (error["error"], error["line"]) == ("IMPORT_FAILED", 1001) and "chunks" in error["message"]


@pytest.mark.parametrize("how", ["shut", "reset"])
def test_a_client_that_goes_away_leaves_whole_batches(server, client, wire, how):
    wire.start("Transfer-Encoding: chunked")
    wire.chunk(lines(1, 2500))
    wait_until(lambda: len(stored(client)) == 2000, "two batches")
    if how == "reset":
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.stream.close()
        wire.socket.close()
    else:
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.head()[0] == 200
        error = json.loads(list(wire.chunks())[-1][6:])
        assert (error["error"], error["line"]) == ("IMPORT_FAILED", 2501)
    time.sleep(0.1)  # for what should not be stored
    assert len(stored(client)) == 2000
    assert imported(client, lines(2001, 2100)) == 100


def test_a_failure_reaches_a_client_that_sends_all_before_it_reads(client):
    body = "broken\n" + lines(1, 1000) * 100
    assert refused(client, body)["error"] == "INVALID_JSON"


def test_two_imports_at_once_do_not_disturb_each_other(server, client, another):
    client.call("stream.version", "x")
    results = []

    def run(one, first):
        results.append(
            imported(one, "".join(line(n, stream=f"s-{first}", pos=n) + "\n" for n in range(first, first + 5000))))

    threads = [threading.Thread(target=run, args=(another(), first)) for first in (1, 10001)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [5000, 5000]
    assert len(stored(client)) == 10000


def test_an_import_goes_on_beside_appends(server, client, another):
    imported(client, line(2_000_000))  # what is imported below goes below what is appended
    written, stop = [], threading.Event()

    def write(one, name):
        while not stop.is_set():
            written.append(one.write(name)["globalPosition"])

    writers = [threading.Thread(target=write, args=(another(), f"live-{n}")) for n in range(3)]
    for writer in writers:
        writer.start()
    try:
        assert imported(client, lines(1_000_001, 1_010_000)) == 10000
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert len(set(written)) == len(written) > 0
    assert len(stored(client)) == 10001 + len(written)
    assert min(written) > 2_000_000


def test_a_stopping_server_finishes_the_import(start):
    server = start("--test-mode")
    client = server.client()
    client.call("stream.version", "x")
    wire = Wire(server, token_for("default"))
    wire.start("Transfer-Encoding: chunked", path="/import?progress=true")
    wire.chunk(lines(1, 1000))
    assert wire.head()[0] == 200
    chunks = wire.chunks()
    next(chunks)
    server.terminate()
    wait_until(server.refuses_connections, "the end of listening")
    wire.chunk(lines(1001, 1500))
    wire.end()
    assert DONE.fullmatch(next(chunks)).group(1) == b"1500"
    wire.close()


def test_memory_stays_flat_whatever_comes(start):
    server = start("--test-mode", "--workers", "1")
    client = server.client()
    imported(client, lines(1, 5000))
    before = server.memory("VmHWM")
    imported(client, lines(5001, 60000, data={"x": "a" * 500}))
    assert server.memory("VmHWM") < before + 8 or "ASAN_OPTIONS" in os.environ, "the sanitizer keeps what was freed"
