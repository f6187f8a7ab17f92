"""What the server writes about requests, and the ids by which log, client and Postgres name the same one."""
import json
import re

import pytest

from store import ZERO_TOKEN, sql, wait_until

MESSAGE = {"type": "Tested", "data": {}}


def lines_about(server, text):
    return [line for line in server.output if text in line]


def json_lines(server):
    """What it wrote to stderr; the announcement on stdout is not the log."""
    return [json.loads(line) for line in server.output if line.startswith("{")]


@pytest.fixture
def broken(cluster, start):
    """A server whose namespace default lost its table, so that calls fail with 500; and its Postgres."""
    def make(*arguments):
        server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, *arguments, token=ZERO_TOKEN)
        connection = cluster.connect()
        sql(connection, "ALTER TABLE millrace_default.messages RENAME TO elsewhere")
        connection.close()
        return server
    return make


def test_a_failed_request_is_one_line_with_the_id_that_the_client_got(broken, cluster):
    server = broken("--log-format", "json")
    reply = server.client().post(["stream.get", "a-1"])
    assert reply.status == 500
    number = reply.headers["X-Request-Id"]
    assert re.fullmatch(r"[0-9a-f]{16}", number)
    wait_until(lambda: lines_about(server, number), "the line")
    line, = [each for each in json_lines(server) if each.get("id") == number]
    assert (line["level"], line["method"], line["path"], line["status"]) == ("error", "POST", "/rpc", 500)
    assert "stream.get: BACKEND_ERROR" in line["message"] and reply.error["message"] in line["message"]
    assert line["ms"] < 5000
    # And from there into the log of Postgres.
    pid = reply.error["details"]["pid"]
    assert f'"pid":{pid}' in line["message"]
    assert re.search(rf"\[{pid}\] ERROR:  .*lost its table", (cluster.folder / "log").read_text())


def test_an_error_inside_a_reply_of_status_200_is_one_too(broken):
    server = broken()
    call = {"jsonrpc": "2.0", "id": 1, "method": "stream.get", "params": ["a-1"]}
    for body in (call, [call, {**call, "method": "stream.last"}], {**call, "id": None}):
        reply = server.client().post(body)
        assert reply.status == 200
        number = reply.headers["X-Request-Id"]
        line, = wait_until(lambda: lines_about(server, number), "the line")
        assert "warning" in line and f" id={number} " in line and "stream.get: BACKEND_ERROR" in line
        assert "status=200" in line
    assert "stream.last: BACKEND_ERROR" in "".join(server.output)


def test_a_clients_own_id_is_kept_when_it_is_sane(server, client):
    for own in ("a", "A-z_0.9", "x" * 64):
        assert client.request("GET", "/health", headers={"X-Request-Id": own}).headers["X-Request-Id"] == own
        assert client.request("GET", "/nowhere", headers={"X-Request-Id": own}).headers["X-Request-Id"] == own


@pytest.mark.parametrize("own", ["", "x" * 65, "a b", "a\"b", "a\\b", "a/b", "a,b", "\xe9", "{}", "%41", "a\tb"])
def test_any_other_is_ignored(server, client, own):
    assert client.request("GET", "/health",
                          headers={"X-Request-Id": own.encode("latin-1")}).headers["X-Request-Id"] is None
    made = client.request("GET", "/nowhere", headers={"X-Request-Id": own.encode("latin-1")}).headers["X-Request-Id"]
    assert re.fullmatch(r"[0-9a-f]{16}", made)


def test_a_good_reply_has_an_id_only_when_the_client_sent_one(client):
    assert client.post(["stream.version", "a-1"]).headers["X-Request-Id"] is None
    refused = [client.post(["no.such"]).headers["X-Request-Id"] for _ in range(3)]
    assert len(set(refused)) == 3


def test_errors_of_the_client_are_not_logged_unless_asked_for(start):
    quiet, loud = start("--test-mode"), start("--test-mode", "--log-level", "debug")
    for server in (quiet, loud):
        assert server.client().post(["no.such"]).status == 404
        assert server.client().post(["stream.version", "a-1"]).status == 200
    number = server.client().request("GET", "/health").headers["X-Request-Id"]
    assert "path=/health status=200" in wait_until(lambda: lines_about(loud, number), "the line")[0]
    wait_until(lambda: lines_about(loud, "status=404"), "the line")
    assert not lines_about(quiet, "path=/rpc")


def test_slow_requests_are_logged(cluster, start):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--log-slow", "150", token=ZERO_TOKEN)
    client = server.client()
    client.call("stream.version", "s")
    holder = cluster.connect()
    sql(holder, "BEGIN")
    sql(holder, "SELECT millrace.append('s', 'Held', '{}')")
    from threading import Timer
    timer = Timer(0.5, lambda: sql(holder, "COMMIT"))
    timer.start()
    reply = client.post(["stream.write", "s", MESSAGE])
    timer.join()
    assert reply.status == 200
    number = reply.headers["X-Request-Id"]
    line, = wait_until(lambda: lines_about(server, number), "the line")
    assert "slow request" in line and int(re.search(r" ms=(\d+)", line).group(1)) >= 150
    # One that lasts as long as its client likes is not slow.
    with server.connect() as raw:
        raw.sendall(f"GET /subscribe?token={ZERO_TOKEN}&all=true HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        raw.recv(1000)
        from time import sleep
        sleep(0.3)
    client.request("GET", "/nowhere")
    assert not lines_about(server, "/subscribe")


def test_with_log_slow_0_every_request_is_logged(start):
    server = start("--test-mode", "--log-slow", "0")
    for n in range(5):
        server.client().request("GET", f"/health?n={n}")
    wait_until(lambda: len(lines_about(server, "path=/health status=200")) == 5, "five lines")


def test_json_lines_are_json_whatever_was_sent(start):
    server = start("--test-mode", "--log-level", "debug", "--log-format", "json")
    paths = [
        b'/"quoted"', b"/back\\slash", b"/\xff\xfe\xc0\x80", b"/\xed\xa0\x80\xf4\x90\x80\x80", "/é€\U0001F600".encode(),
        b"/%00%0a", b"/\x7f", b"/" + b"x" * 5000, b"/" + "é".encode() * 200, b'/","level":"forged', b"/\xc3"
    ]
    for path in paths:
        with server.connect() as raw:
            raw.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nX-Request-Id: " + path +
                        b"\r\nConnection: close\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 40")
    client = server.client()
    for name in ['a"b', "\n{\"forged\": 1}", "\u2028\x01"]:
        client.post([name])
        client.call("stream.write", "s-1", {"type": name, "data": {name: name}})
    client.request("GET", "/the/last")
    wait_until(lambda: lines_about(server, "/the/last"), "the last line")
    lines = json_lines(server)
    assert sum(line.get("status", 0) >= 400 for line in lines) >= len(paths)
    assert all({"time", "level", "message"} <= set(line) and line["level"] != "forged" for line in lines)
    assert not [line for line in server.output if line.startswith("{") and not line.endswith("}\n")]
    shown = [line["path"] for line in lines if "path" in line]
    assert '/"quoted"' in shown and "/back\\slash" in shown and "/é€\U0001F600" in shown


def test_a_flood_of_failures_is_counted_in_one_line(broken):
    server = broken("--workers", "1")
    server.client().post(["stream.get", "a-1"])
    body = json.dumps(["stream.get", "a-1"]).encode()
    request = (
        f"POST /rpc?token={ZERO_TOKEN} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
    total = 1500
    with server.connect() as raw:
        raw.settimeout(30)
        seen, sent = b"", 0
        while seen.count(b"HTTP/1.1 500") < total:
            if sent < total:
                raw.sendall(request * 50)
                sent += 50
            seen = seen + raw.recv(1 << 20)
    from time import sleep
    sleep(1.1)
    server.client().post(["stream.get", "a-1"])

    def told():
        left_out = sum(int(number) for number in re.findall(r"(\d+) more requests failed", server.text))
        return len(lines_about(server, "request failed")) + left_out == total + 2
    wait_until(told, "all to be told")
    assert "more requests failed" in server.text
