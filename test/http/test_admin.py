"""The admin listener is served as /rpc is: what is malformed there is malformed here; each refuses in its own form."""
import json
import re
import socket

import pytest

from store import Client, Server, wait_until

SECOND = "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"  # behind a request that is refused: it must not be answered


@pytest.fixture(scope="module")
def listeners():
    """The ports of the public listener and of the admin's, each with a path that is there."""
    server = Server("--test-mode", "--workers", "1", "--admin-listen", "127.0.0.1:0")
    yield {"public": (server.port, "/health"), "admin": (server.admin().port, "/live")}
    server.stop()


@pytest.fixture
def admin(listeners):
    client = Client(listeners["admin"][0])
    yield client
    client.close()


def exchange(listener, text):
    """What comes back until the server closes; {path} is the listener's."""
    port, path = listener
    with socket.create_connection(("127.0.0.1", port), timeout=30) as wire:
        received = b""
        try:
            wire.sendall(text.replace("{path}", path).encode("latin-1"))
            wire.shutdown(socket.SHUT_WR)
            while part := wire.recv(65536):
                received += part
        except (BrokenPipeError, ConnectionResetError):
            pass
        return received


def statuses(received):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


MALFORMED = {
    "bare line feeds": "GET {path} HTTP/1.1\nHost: x\n\n",
    "one bare line feed": "GET {path} HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    "a bare carriage return": "GET {path} HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n",
    "a NUL in a header": "GET {path} HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    "a control character in a header": "GET {path} HTTP/1.1\r\nHost: x\r\nX: a\x01b\r\n\r\n",
    "a control character in the target": "GET {path}?\x7f HTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": "GET {path} HTTP/1.1\r\n\r\n",
    "two hosts": "GET {path} HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "a space in front of a colon": "GET {path} HTTP/1.1\r\nHost : x\r\n\r\n",
    "a folded header": "GET {path} HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "a header that begins with a space": "GET {path} HTTP/1.1\r\n Host: x\r\n\r\n",
    "a line without a colon": "GET {path} HTTP/1.1\r\nHost: x\r\nX\r\n\r\n",
    "an empty name": "GET {path} HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "two spaces": "GET  {path} HTTP/1.1\r\nHost: x\r\n\r\n",
    "a word too many": "GET {path} x HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method that is none": "G@T {path} HTTP/1.1\r\nHost: x\r\n\r\n",
    "a version in two digits": "GET {path} HTTP/1.10\r\nHost: x\r\n\r\n",
    "another version": "GET {path} HTTP/2.0\r\nHost: x\r\n\r\n",
    "length and chunks": "GET {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
                         "0\r\n\r\n",
    "two lengths": "GET {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n",
    "a signed length": "GET {path} HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n",
    "a length that is none": "GET {path} HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    "another coding": "GET {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    "malformed chunks": "GET {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "another expectation": "GET {path} HTTP/1.1\r\nHost: x\r\nExpect: more\r\n\r\n",
    "headers without end": "GET {path} HTTP/1.1\r\nHost: x\r\n" + "A: b\r\n" * 200 + "\r\n",
    "a head without end": "GET {path} HTTP/1.1\r\nHost: x\r\nA: " + "b" * 100_000,
}


@pytest.mark.parametrize("request_text", MALFORMED.values(), ids=MALFORMED)
def test_both_listeners_refuse_what_is_malformed_with_all_behind_it(listeners, request_text):
    answers = {name: exchange(listener, request_text + SECOND) for name, listener in listeners.items()}
    assert statuses(answers["admin"]) == statuses(answers["public"]), answers
    assert len(statuses(answers["public"])) == 1 and statuses(answers["public"])[0] >= 400, answers
    assert all(b"\r\nConnection: close\r\n" in answer for answer in answers.values())


@pytest.mark.parametrize("name, content_type",
                         [("public", b"application/json"), ("admin", b"text/plain; charset=utf-8")])
def test_each_refuses_in_its_own_form(listeners, name, content_type):
    head, body = exchange(listeners[name], "GARBAGE\r\n\r\n").split(b"\r\n\r\n", 1)
    assert b"\r\nContent-Type: " + content_type + b"\r\n" in head + b"\r\n"
    assert (b"X-Request-Id" in head) == (name == "public"), "an id is for the log"
    if name == "admin":
        assert body == b"malformed HTTP request\n"
    else:
        assert json.loads(body) == {"error": {"code": "INVALID_REQUEST", "message": "malformed HTTP request"}}


@pytest.mark.parametrize("name", ["public", "admin"])
def test_both_answer_pipelined_requests_in_order_and_keep_the_connection(listeners, name):
    nothing, last = "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", "GET {path} HTTP/1.0\r\n\r\n"
    received = exchange(listeners[name], SECOND + nothing + SECOND + last)
    assert statuses(received) == [200, 404, 200, 200]
    assert received.count(b"Connection: close") == 1


def test_a_head_request_is_answered_without_a_body(listeners):
    for path in ("/live", "/ready", "/metrics", "/debug/connections"):
        received = exchange(listeners["admin"], f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert statuses(received) == [200] and received.endswith(b"\r\n\r\n") and received.count(b"\r\n\r\n") == 1
        assert int(re.search(rb"Content-Length: (\d+)", received)[1]) > 10


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "WHATEVER"])
def test_only_get_and_head_are_allowed(admin, method):
    for path in ("/live", "/metrics"):
        reply = admin.request(method, path, b"x" if method == "POST" else None)
        assert reply.status == 405 and reply.headers["Allow"] == "GET, HEAD"
        assert reply.headers["Content-Type"] == "text/plain; charset=utf-8" and method in reply.body.decode()


def test_a_query_decides_what_ready_and_connections_say_and_others_are_ignored(admin):
    wait_until(lambda: admin.request("GET", "/ready?for=reads").status == 200, "a server that is ready for reads")
    for path in ("/ready?for=reads", "/ready?for=%72eads", "/ready?for", "/ready?", "/ready?x&for=reads", "/metrics?x",
                 "/debug/connections?format=%6Ason"):
        assert admin.request("GET", path).status == 200, path
    assert admin.request("GET", "/debug/connections?format=json%00").status == 400


@pytest.mark.parametrize("address, hosts", [("127.0.0.1", ["127.0.0.1"]), ("localhost", ["localhost"]),
                                            ("0.0.0.0", ["127.0.0.1"]), ("[::1]", ["::1"]),
                                            ("[::]", ["::1", "127.0.0.1"])])
def test_it_listens_where_it_is_told(start, address, hosts):
    server = start("--test-mode", "--workers", "1", "--admin-listen", address + ":0", wait=False)
    pattern = rf"admin listener on http://{re.escape(address)}:(\d+)|could not listen"
    port = wait_until(lambda: re.search(pattern, server.text), "the admin listener")[1]
    if port is None and ":" in address:
        pytest.skip("this machine has no IPv6")
    wait_until(lambda: "listening on" in server.text, "its start")
    for host in hosts:
        with socket.create_connection((host, int(port)), timeout=30) as wire:
            wire.sendall(b"GET /live HTTP/1.0\r\n\r\n")
            assert b" 200 " in wire.recv(4096)


@pytest.mark.parametrize("address, why", [("127.0.0.1", "is not host:port"), (":8079", "is not host:port"),
                                          ("127.0.0.1:x", "is not host:port"), ("127.0.0.1:65536", "is not host:port"),
                                          ("127.0.0.1:-1", "is not host:port"), ("name.invalid:1", "name.invalid:1: ")])
def test_an_address_that_is_none_ends_the_start(address, why):
    server = Server("--test-mode", "--admin-listen", address, wait=False)
    assert server.wait(60) == 2 and f"--admin-listen {address}: " in server.text and why in server.text


def test_who_is_one_too_many_is_told_so(listeners):
    port, _ = listeners["admin"]
    sockets = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(25)]
    try:
        for each in sockets:
            each.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\n")  # it is not idle, and gets no answer
        answer = sockets[-1].recv(4096)
        assert b"HTTP/1.1 503 " in answer and answer.endswith(b"\r\n\r\ntoo many open connections\n")
        assert b"\r\nRetry-After: 1\r\n" in answer
    finally:
        for each in sockets:
            each.close()
