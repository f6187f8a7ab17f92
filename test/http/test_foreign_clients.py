"""What clients that people bring stumbled over: no Date, an answer before the request, comments that become events,
pages of other sites."""
import email.utils
import json
import select
import socket
import time

import pytest

from store import new_id, wait_until
from subscriber import Subscriber


def exchange(server, text):
    """The whole answer to a request after which the connection ends."""
    with server.connect() as wire:
        wire.sendall(text.encode())
        answer = b""
        while piece := wire.recv(65536):
            answer += piece
    return answer


def test_every_answer_bears_the_date(client):
    for path in ("/health", "/nothing", "/subscribe"):
        date = email.utils.parsedate_to_datetime(client.request("GET", path).headers["Date"])
        assert abs(date.timestamp() - time.time()) < 5

    def shown():
        return email.utils.parsedate_to_datetime(client.request("GET", "/health").headers["Date"])

    wait_until(lambda: shown() > date, "a later date")
    assert (shown() - date).total_seconds() <= 6


def test_a_401_says_what_it_wants(secured):
    client = secured.client()
    for token in (None, "nonsense"):
        client.token = token
        for method, path in (("POST", "/rpc"), ("GET", "/subscribe?all=true"), ("POST", "/import"), ("GET", "/export")):
            reply = client.request(method, path)
            assert reply.status == 401 and reply.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scheme", ["http", "https", "HTTPS"])
def test_a_target_may_be_a_whole_url(server, scheme):
    answer = exchange(
        server, f"GET {scheme}://events.example/health HTTP/1.1\r\nHost: events.example\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("target", [
    "http://events.example?x=/health", "https://events.example?/health", "http://events.example",
    "HTTPS://events.example/?/health"
])
def test_the_path_of_a_whole_url_is_not_looked_for_behind_a_question_mark(server, target):
    answer = exchange(server, f"GET {target} HTTP/1.1\r\nHost: events.example\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 ") and b"there is nothing at /\"" in answer


def test_a_compressed_body_is_refused_by_name(client):
    reply = client.request("POST", "/rpc", b"\x1f\x8b", {"Content-Encoding": "gzip"})
    assert reply.status == 415 and "gzip" in reply.error["message"]
    assert client.request("POST", "/rpc", b'["sys.version"]', {"Content-Encoding": "identity"}).status == 200


def test_a_byte_order_mark_before_the_first_line_is_skipped(client):
    line = json.dumps({
        "id": new_id(), "stream": "s", "type": "T", "pos": 0, "gpos": 1, "data": {}, "meta": None,
        "time": "2024-01-02T03:04:05Z"
    })
    reply = client.request("POST", "/import", b"\xef\xbb\xbf" + line.encode())
    assert b'"done":true,"imported":1,' in (reply.body if isinstance(reply.body, bytes) else reply.body.encode())
    reply = client.request("POST", "/import", b"\n\xef\xbb\xbf" + line.encode())
    assert "INVALID_JSON" in str(reply.body), "elsewhere it is no JSON"


# One connection too many


def test_who_is_too_many_is_answered_when_it_has_asked(start):
    server = start("--test-mode", "--workers", "1", "--max-connections", "2")
    held = [server.connect() for _ in range(2)]
    asking, mute = server.connect(), server.connect()
    assert select.select([asking], [], [], 0.4)[0] == [], "not before its request"
    asking.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    for each in (asking, mute):
        each.settimeout(10)
        assert each.recv(1000).startswith(b"HTTP/1.1 503 ")
    for each in (*held, asking, mute):
        each.close()


# Event streams


def test_proxies_are_asked_not_to_buffer_events(server, client):
    subscriber = Subscriber(server, client.token, all="true").ready()
    assert b"\r\nX-Accel-Buffering: no\r\n" in subscriber.raw
    subscriber.close()


def test_with_ids_a_client_is_told_when_to_come_again(server, client):
    subscriber = Subscriber(server, client.token, all="true", ids="true").ready()
    subscriber.read_until(lambda: b"retry: " in subscriber.raw)
    assert subscriber.chunks == [b": ready\n\nretry: 1000\n"], "a blank line behind it would make an event of it"
    subscriber.close()


# Pages of other sites

ONE, OTHER = "http://a.example", "https://b.example:8443"
ASKS = {"Access-Control-Request-Method": "GET"}


def test_the_preflight_of_subscribe_needs_no_token(secured):
    client = secured.client()
    client.token = None
    reply = client.request("OPTIONS", "/subscribe?all=true", headers={"Origin": ONE, **ASKS})
    assert reply.status == 204 and reply.headers["Access-Control-Allow-Origin"] == "*"
    assert {"authorization", "last-event-id"} <= set(reply.headers["Access-Control-Allow-Headers"].lower().split(", "))


def test_of_several_origins_a_page_gets_its_own(start):
    client = start("--test-mode", "--cors-origin", f"{ONE}, {OTHER}").client()
    for origin, allowed in ((ONE, ONE), (OTHER, OTHER)):
        for reply in (client.request("POST", "/rpc", b'["sys.version"]', {"Origin": origin}),
                      client.request("OPTIONS", "/rpc", headers={"Origin": origin, **ASKS})):
            assert reply.headers["Access-Control-Allow-Origin"] == allowed and reply.headers["Vary"] == "Origin"


def test_every_origin_of_a_long_list_counts(start):
    origins = [f"https://{number}.example" for number in range(100)]
    client = start("--test-mode", "--cors-origin", ",".join(origins)).client()
    for origin in origins:
        reply = client.request("POST", "/rpc", b'["sys.version"]', {"Origin": origin})
        assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (200, origin)


def test_an_origin_may_end_as_an_address_does_and_any_may_be_one_of_several(start):
    for origins, origin, allowed in ((f"{ONE}/", ONE, ONE), (f"{ONE}/,{OTHER}/", OTHER, OTHER),
                                     (f"{ONE},*", OTHER, "*"), (f"{ONE},*", ONE, ONE)):
        reply = start("--test-mode", "--cors-origin", origins).client().request("POST", "/rpc", b'["sys.version"]',
                                                                                {"Origin": origin})
        assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (200, allowed)


@pytest.mark.parametrize("origins", [ONE, f"{OTHER}, {ONE}"])
def test_a_page_can_read_every_refusal_and_the_id(start, origins):
    server = start("--test-mode", "--cors-origin", origins, "--max-body", "1K", "--max-header", "16K",
                   "--request-timeout", "1")
    asked = f"Host: x\r\nOrigin: {ONE}\r\n"
    answers = {"413": exchange(server, f"POST /rpc HTTP/1.1\r\n{asked}Content-Length: 2000\r\n\r\n"),
               "400": exchange(server, f"POST /rpc HTTP/1.1\r\n{asked}Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
               "408": exchange(server, f"POST /rpc HTTP/1.1\r\n{asked}Content-Length: 20\r\n\r\n"),
               "431": exchange(server, f"POST /rpc HTTP/1.1\r\n{asked}X: {'x' * 20000}\r\n\r\n"),
               "431 ": exchange(server, f"POST /rpc HTTP/1.1\r\n{asked}" + "X: x\r\n" * 100 + "\r\n")}
    for status, answer in answers.items():
        assert answer.startswith(f"HTTP/1.1 {status.strip()} ".encode()), (status, answer)
        assert f"\r\nAccess-Control-Allow-Origin: {ONE}\r\n".encode() in answer, (status, answer)
        assert b"X-Request-Id" in answer.partition(b"Access-Control-Expose-Headers: ")[2].partition(b"\r\n")[0]
    answer = exchange(server, f"GET /subscribe?all=true HTTP/1.1\r\n{asked}X: {'x' * 20000}\r\n\r\n")
    assert (b"\r\nAccess-Control-Allow-Origin: *\r\n"
            b"Access-Control-Expose-Headers: Retry-After, X-Request-Id\r\n") in answer
    if origins == ONE:  # whose request was not read
        full = start("--test-mode", "--cors-origin", ONE, "--max-connections", "1", "--workers", "1")
        with socket.create_connection(("127.0.0.1", full.port)) as first:
            first.sendall(b"POST ")
            answer = exchange(full, f"POST /rpc HTTP/1.1\r\n{asked}Content-Length: 0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503 ") and f"\r\nAccess-Control-Allow-Origin: {ONE}\r\n".encode() in answer
    reply = server.client().request("OPTIONS", "/rpc", headers={"Origin": ONE, **ASKS})
    assert "X-Request-Id" in reply.headers["Access-Control-Allow-Headers"]
