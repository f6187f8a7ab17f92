"""HTTP itself: endpoints, connections, limits."""
import http.client
import json

import pytest

from store import token_for, wait_until

MESSAGE = {"type": "Tested", "data": {}}


class Wire:
    """A raw connection."""

    def __init__(self, server):
        self.socket = server.connect()

    def send(self, *parts):
        for part in parts:
            self.socket.sendall(part if isinstance(part, bytes) else part.encode())

    def reply(self):
        response = http.client.HTTPResponse(self.socket)
        response.begin()
        return response.status, response.headers, response.read()

    def closed(self):
        """Waits until the other side has closed; True when nothing came before."""
        try:
            return self.socket.recv(1000) == b""
        except ConnectionResetError:
            return True


@pytest.fixture
def wire(server):
    wire = Wire(server)
    yield wire
    wire.socket.close()


def post(body, token="", headers=""):
    body = json.dumps(body).encode() if not isinstance(body, bytes) else body
    auth = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"POST /rpc HTTP/1.1\r\nHost: x\r\n{auth}{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def pipelined_replies(wire, count):
    """Reads replies by hand: http.client would read ahead into the next one."""
    stream = wire.socket.makefile("rb")
    for _ in range(count):
        status = int(stream.readline().split()[1])
        headers = http.client.parse_headers(stream)
        yield status, stream.read(int(headers["Content-Length"]))


@pytest.mark.parametrize("path, body", [("/health", {"status": "ok"}), ("/version", None)])
def test_health_and_version_need_no_token(secured, path, body):
    client = secured.client("")
    client.token = None
    reply = client.request("GET", path)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    if body:
        assert reply.body == b'{"status":"ok"}'
    else:
        version = reply.json["version"].split(".")
        assert len(version) == 3 and all(part.isdigit() for part in version)
    head = client.request("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert client.request("GET", path).status == 200, "the connection is usable after HEAD"


@pytest.mark.parametrize("path", [
    "/", "/rpc/", "/RPC", "/health/", "/rpcx", "/nothing", "/../rpc", "//rpc", "/metrics", "/ready", "/live",
    "/debug/vars"
])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_paths_are_not_found(secured, path, method):
    reply = secured.client().request(method, path)
    assert (reply.status, reply.headers["Content-Type"]) == (404, "application/json")
    assert reply.error["code"] == "NOT_FOUND" and reply.error["message"]
    assert reply.body == reply.body.strip()


def test_a_query_does_not_change_the_path(client):
    assert client.request("GET", "/health?x=1").status == 200


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_health_takes_get_and_head_only(client, method):
    assert client.request(method, "/health").status == 405


def test_requests_on_one_connection(wire):
    for _ in range(3):
        wire.send(post(["sys.version"]))
        status, headers, body = wire.reply()
        assert status == 200 and headers["Content-Type"] == "application/json" and body.startswith(b'"')
        assert body == body.strip()


def test_pipelined_requests_are_answered_in_order(wire):
    token = token_for("pipelining")
    requests = [post(["stream.write", "s", MESSAGE], token) if n % 2 == 0 else post(["stream.version", "s"], token)
                for n in range(100)]
    wire.send(b"".join(requests))
    replies = list(pipelined_replies(wire, 100))
    assert len(replies) == 100
    for n, (status, body) in enumerate(replies):
        assert status == 200
        if n % 2 == 0:
            assert json.loads(body)["position"] == n // 2
        else:
            assert json.loads(body) == n // 2


def test_a_slow_request_does_not_lose_its_turn_to_a_fast_one(wire):
    token = token_for("pipelining 2")
    wire.send(post(["ns.list"], token) + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + post(["sys.version"], token))
    first, second, third = pipelined_replies(wire, 3)
    assert second[1] == b'{"status":"ok"}' and third[1].startswith(b'"') and first[1][:1] in b"[{"


def test_a_chunked_body(wire):
    wire.send("POST /rpc HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in ('["sys.', 'version', '"', ']'):
        wire.send(f"{len(piece):x}\r\n{piece}\r\n")
    wire.send("0\r\n\r\n")
    assert wire.reply()[0] == 200
    wire.send(post(["sys.version"]))
    assert wire.reply()[0] == 200


def test_a_body_that_comes_byte_by_byte(wire):
    for byte in post(["sys.version"]):
        wire.send(bytes([byte]))
    assert wire.reply()[0] == 200


def test_a_client_that_expects_continue(wire):
    body = b'["sys.version"]'
    wire.send(f"POST /rpc HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n")
    interim = b""
    while not interim.endswith(b"\r\n\r\n"):
        interim += wire.socket.recv(1)
    assert interim.startswith(b"HTTP/1.1 100")
    wire.send(body)
    assert wire.reply()[0] == 200


def test_http_1_0_is_closed_after_the_answer(wire):
    wire.send("GET /health HTTP/1.0\r\n\r\n")
    assert wire.reply()[0] == 200
    assert wire.closed()


def test_connection_close_is_honoured(wire):
    wire.send(post(["sys.version"], headers="Connection: close\r\n"))
    assert wire.reply()[0] == 200
    assert wire.closed()


@pytest.mark.parametrize("garbage", [
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "nonsense\r\n\r\n", "POST /rpc\r\n\r\n",
    "GET /health HTTP/9.9\r\n\r\n", "POST /rpc HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "POST /rpc HTTP/1.1\r\nContent-Length: x\r\n\r\n", "POST /rpc HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
])
def test_garbage_harms_no_other_connection(server, wire, garbage):
    wire.send(garbage)
    wire.socket.shutdown(1)
    answer = wire.socket.recv(1000)
    assert answer == b"" or b" 400 " in answer or b" 505 " in answer or b" 401 " in answer or b" 405 " in answer
    assert server.client().request("GET", "/health").status == 200


def test_clients_that_go_away_in_the_middle_harm_no_others(server, client):
    for cut in (10, 60, 90, 120):
        wire = Wire(server)
        wire.send(post(["stream.write", "s", {"type": "T", "data": {"x": "y" * 100}}], client.token)[:cut])
        wire.socket.close()
    for _ in range(20):
        wire = Wire(server)
        wire.send(post(["stream.write", "s", MESSAGE], client.token))
        wire.socket.close()
    assert client.call("sys.version")
    client.write("s")
    messages = client.call("stream.get", "s")
    assert [message[2] for message in messages] == list(range(len(messages)))


def test_many_connections_at_once(server, client):
    wires = [Wire(server) for _ in range(300)]
    for wire in wires:
        wire.send(post(["stream.write", "s", MESSAGE], client.token))
    positions = sorted(json.loads(wire.reply()[2])["position"] for wire in wires)
    for wire in wires:
        wire.socket.close()
    assert positions == list(range(300))


# Limits


@pytest.fixture(scope="module")
def limited():
    from store import Server
    server = Server("--test-mode", "--max-body", "65536", "--max-header", "20000", "--request-timeout", "1",
                    "--idle-timeout", "2")
    yield server
    server.stop()


def test_headers_of_15_kib_are_taken(server, limited):
    for each in (server, limited):
        wire = Wire(each)
        wire.send(post(["sys.version"], headers=f"X-Long: {'x' * 15000}\r\n"))
        assert wire.reply()[0] == 200
        wire.socket.close()


def test_headers_above_the_limit_are_431(limited):
    wire = Wire(limited)
    try:
        wire.send(post(["sys.version"], headers=f"X-Long: {'x' * 30000}\r\n"))
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert wire.reply()[0] == 431
    wire.socket.close()


def test_a_body_at_the_limit_is_taken(limited):
    client = limited.client()
    message = {"type": "T", "data": {"x": ""}}
    empty = len(json.dumps(["stream.write", "limit", message]))
    message["data"]["x"] = "x" * (65536 - empty)
    assert client.post(["stream.write", "limit", message]).status == 200
    assert client.call("stream.get", "limit")[0][4] == message["data"]


def test_a_body_above_the_limit_is_payload_too_large(limited):
    reply = limited.client().post(b" " * 65537)
    assert (reply.status, reply.error["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert reply.headers["Content-Type"] == "application/json"


def test_an_announced_body_above_the_limit_is_refused_before_it_comes(limited):
    wire = Wire(limited)
    wire.send("POST /rpc HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n")
    status, _, body = wire.reply()
    assert (status, json.loads(body)["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_a_chunked_body_above_the_limit_is_payload_too_large(limited):
    wire = Wire(limited)
    wire.send("POST /rpc HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    try:
        for _ in range(20):
            wire.send("1000\r\n" + " " * 4096 + "\r\n")
        wire.send("0\r\n\r\n")
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert wire.reply()[0] == 413


def test_a_request_that_does_not_arrive_in_time_is_408(limited):
    for part in (b"POST /rpc HTT", post(["sys.version"])[:-3]):
        wire = Wire(limited)
        wire.send(part)
        assert wire.reply()[0] == 408
        assert wire.closed()


def test_a_request_that_trickles_is_408_too(limited):
    wire = Wire(limited)
    wire.send("POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
    wire.socket.settimeout(0.05)
    received = []

    def trickle():
        try:
            wire.send(b" ")
            received.append(wire.socket.recv(1000))
        except TimeoutError:
            pass
        except ConnectionError:
            received.append(b"")
        return received

    wait_until(trickle, "the end of a request that trickles", 10)
    assert received[0].startswith(b"HTTP/1.1 408")


def test_an_idle_connection_is_closed_without_an_answer(limited):
    wire = Wire(limited)
    wire.send(post(["sys.version"]))
    assert wire.reply()[0] == 200
    assert wire.closed()


# Browsers


def test_preflights_are_not_answered_by_default(client):
    reply = client.request("OPTIONS", "/rpc",
                           headers={"Origin": "http://a.example", "Access-Control-Request-Method": "POST"})
    assert reply.status == 403 and "--cors-origin" in reply.error["message"]
    assert reply.headers["Access-Control-Allow-Origin"] is None


def test_preflights_are_answered_for_a_cors_origin(start):
    client = start("--test-mode", "--cors-origin", "http://a.example").client()
    reply = client.request(
        "OPTIONS", "/rpc", headers={
            "Origin": "http://a.example", "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type"
        })
    assert reply.status in (200, 204)
    assert reply.headers["Access-Control-Allow-Origin"] == "http://a.example"
    assert "POST" in reply.headers["Access-Control-Allow-Methods"]
    assert "authorization" in reply.headers["Access-Control-Allow-Headers"].lower()
    assert client.post(["sys.version"]).headers["Access-Control-Allow-Origin"] == "http://a.example"


def test_the_header_of_eventodb_is_never_sent(client):
    assert client.post(["ns.list"]).headers["X-EventoDB-Token"] is None
