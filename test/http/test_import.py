"""POST /import."""
import gzip
import http.client
import json
import re
import socket
import struct
import threading
import time
import zlib

import pytest

from store import new_id, sql, token_for, wait_until

DONE = re.compile(rb'data: \{"done":true,"imported":(\d+),"elapsed":"\d+\.\d+s"\}\n\n')


def record(n, **fields):
    made = {
        "id": new_id(), "stream": "imported-1", "type": "Imported", "pos": n - 1, "gpos": n, "data": {"n": n},
        "meta": None, "time": "2024-01-02T03:04:05.678901Z"
    }
    made.update(fields)
    return {key: value for key, value in made.items() if value is not ...}


def line(n, **fields):
    return json.dumps(record(n, **fields), ensure_ascii=False)


def lines(first, last, **fields):
    return "".join(line(n, **fields) + "\n" for n in range(first, last + 1))


def post(client, body, path="/import", **headers):
    body = body.encode() if isinstance(body, str) else body
    return client.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})


def events(reply):
    """The events of a reply, whose framing is checked."""
    assert reply.status == 200 and reply.headers["Content-Type"] == "text/event-stream"
    body = reply.body if isinstance(reply.body, bytes) else reply.body.encode()
    assert body.endswith(b"\n\n") and b"\r" not in body and b"\n\n\n" not in body and not body.startswith(b"\n")
    parts = body[:-2].split(b"\n\n")
    assert all(part.startswith(b"data: {") and b"\n" not in part for part in parts)
    return [json.loads(part[6:]) for part in parts]


def imported(client, body, path="/import", **headers):
    """Imports what must succeed; how many messages that were."""
    found = events(post(client, body, path, **headers))
    assert found[-1].get("done") is True, found[-1]
    return found[-1]["imported"]


def refused(client, body, path="/import", **headers):
    """Imports what must fail: the last event."""
    found = events(post(client, body, path, **headers))
    assert set(found[-1]) == {"error", "message", "line"} and found[-1]["message"], found[-1]
    assert not any("error" in event or "done" in event for event in found[:-1])
    return found[-1]


def stored(client, **options):
    return client.call("category.get", "", {"batchSize": -1, **options})


class Wire:
    """A raw connection that speaks chunks both ways."""

    def __init__(self, server, token):
        self.socket = server.connect()
        self.stream = self.socket.makefile("rb")
        self.token = token

    def start(self, *headers, path="/import"):
        head = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.token}", *headers, "", ""]
        self.socket.sendall("\r\n".join(head).encode())

    def chunk(self, data):
        data = data.encode() if isinstance(data, str) else data
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self):
        self.socket.sendall(b"0\r\n\r\n")

    def head(self):
        status = int(self.stream.readline().split()[1])
        return status, http.client.parse_headers(self.stream)

    def chunks(self):
        """The reply's chunks, each as it was framed."""
        while True:
            size = int(self.stream.readline(), 16)
            data = self.stream.read(size)
            assert self.stream.read(2) == b"\r\n"
            if size == 0:
                return
            yield data

    def close(self):
        self.socket.close()


@pytest.fixture
def wire(server, client):
    client.call("stream.version", "x")  # makes the namespace
    wire = Wire(server, client.token)
    yield wire
    wire.close()


# ---- framing ----------------------------------------------------------------------------------------------------


def test_each_event_is_one_chunk_byte_for_byte(wire):
    wire.start("Transfer-Encoding: chunked")
    wire.chunk(lines(1, 2500))
    wire.end()
    status, headers = wire.head()
    assert status == 200 and headers["Content-Type"] == "text/event-stream"
    assert headers["Transfer-Encoding"] == "chunked"
    got = list(wire.chunks())
    assert got[:2] == [b'data: {"imported":1000,"gpos":1000}\n\n', b'data: {"imported":2000,"gpos":2000}\n\n']
    assert len(got) == 3 and DONE.fullmatch(got[2]).group(1) == b"2500"


def test_a_failure_is_an_event_byte_for_byte(wire):
    wire.start("Content-Length: 4")
    wire.socket.sendall(b"[1]\n")
    assert wire.head()[0] == 200
    assert list(wire.chunks()) == [
        b'data: {"error":"INVALID_RECORD","message":"the line is not an object but an array","line":1}\n\n'
    ]


def test_an_exact_number_of_batches_ends_with_progress_and_done(client):
    found = events(post(client, lines(1, 2000)))
    assert [event["imported"] for event in found] == [1000, 2000, 2000]
    assert found[1]["gpos"] == 2000 and "gpos" not in found[2]


@pytest.mark.parametrize("body", ["", "\n", "\r\n \t\n\n"])
def test_an_import_of_nothing_is_done(client, body):
    assert imported(client, body) == 0


def test_an_old_client_gets_its_reply_without_chunks(server, client):
    client.call("stream.version", "x")
    with server.connect() as connection:
        body = line(1).encode()
        connection.sendall(
            f"POST /import?token={client.token} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        reply = connection.makefile("rb").read()
    head, body = reply.split(b"\r\n\r\n", 1)
    assert b"chunked" not in head and DONE.fullmatch(body)


# ---- access -----------------------------------------------------------------------------------------------------


def test_the_token_comes_before_the_method_and_the_body(secured, admin):
    nobody = secured.client("")
    nobody.token = None
    assert post(nobody, lines(1, 1)).error["code"] == "AUTH_REQUIRED"
    nobody = secured.client("")
    nobody.token = None
    assert nobody.request("GET", "/import").status == 401
    other = secured.client(token_for("unknown " + new_id()))
    reply = post(other, lines(1, 1))
    assert (reply.status, reply.error["code"]) == (403, "AUTH_UNAUTHORIZED")
    reply = other.request("GET", "/import")
    assert reply.status == 403
    reply = admin.request("GET", "/import")
    assert (reply.status, reply.headers["Allow"], reply.error["code"]) == (405, "POST", "INVALID_REQUEST")


def test_an_import_works_in_the_tokens_own_namespace(secured, admin):
    name = "tenant " + new_id()
    tenant = secured.client(admin.call("ns.create", name)["token"])
    assert imported(tenant, lines(1, 3)) == 3
    assert admin.call("ns.info", name)["messageCount"] == 3
    tenant.close()


def test_a_refused_import_of_any_size_gets_its_answer(secured):
    client = secured.client(token_for("unknown " + new_id()))
    reply = post(client, b"x" * 5_000_000)
    assert reply.status == 403 and reply.headers["Connection"] == "close"


@pytest.mark.parametrize("query, status", [("force=maybe", 400), ("force=TRUE", 400)])
def test_a_bad_force_is_refused_by_name(client, query, status):
    reply = post(client, lines(1, 1), f"/import?{query}")
    assert (reply.status, reply.error["code"]) == (status, "INVALID_REQUEST") and "force" in reply.error["message"]
    assert stored(client) == []


# ---- records ------------------------------------------------------------------------------------------------------


def test_everything_is_kept_exactly(client):
    wanted = [
        record(1, gpos=7, pos=3, stream="a-1", type="Ünï",
               data={"big": 123456789012345678901234567890, "f": 1.5,
                     "s": "a\"\\\u2028😀"}, meta={"correlationStreamName": "b-2"}, time="1999-12-31T23:59:59.000001Z"),
        record(2, gpos=9, pos=10, stream="no dash", data={}, meta=None, time="0001-01-01T00:00:00Z"),
        record(3, gpos=1000000000000, pos=4611686018427387904, stream="x" * 2000, type="y" * 2000,
               time="9999-12-31T23:59:59.999999Z"),
    ]
    assert imported(client, "\n".join(json.dumps(r) for r in wanted).replace('"f": 1.5', '"f": 1.50')) == 3
    found = stored(client)
    assert [[r[key] for key in ("id", "stream", "type", "pos", "gpos", "data", "meta", "time")]
            for r in wanted] == found
    body = client.post(["stream.get", "a-1", {"position": 0}]).body
    assert b"123456789012345678901234567890" in body and b"1.50" in body


@pytest.mark.parametrize("time, kept", [
    ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
    ("2024-01-02T03:04:05.1Z", "2024-01-02T03:04:05.1Z"),
    ("2024-01-02T03:04:05.123456789Z", "2024-01-02T03:04:05.123456Z"),
    ("2024-01-02T03:04:05+05:30", "2024-01-01T21:34:05Z"),
    ("2024-01-02T03:04:05.5-23:59", "2024-01-03T03:03:05.5Z"),
    ("2024-01-02t03:04:05z", "2024-01-02T03:04:05Z"),
    ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
    ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
    ("012024-01-02T03:04:05Z", "012024-01-02T03:04:05Z"),
])
def test_times_of_any_offset_are_kept_in_utc(client, time, kept):
    assert imported(client, line(1, time=time)) == 1
    assert stored(client)[0][7] == kept


def test_order_and_unknown_and_repeated_keys_do_not_matter(client):
    text = json.dumps({"extra": {"id": 1}, "none": None, **dict(reversed(record(5).items()))})
    assert imported(client, text.replace('"gpos": 5', '"gpos":4,"g\\u0070os":5, "odd":"\\u0000\\ud800"')) == 1
    assert stored(client)[0][4] == 5


def test_integers_may_be_written_in_other_ways(client):
    assert imported(client, line(1).replace('"gpos": 1', '"gpos": 1e2').replace('"pos": 0', '"pos": 2.0')) == 1
    assert stored(client)[0][3:5] == [2, 100]


def test_metadata_may_be_left_out(client):
    assert imported(client, line(1, meta=...)) == 1
    assert stored(client)[0][6] is None


def test_blank_lines_are_skipped_but_counted_and_line_ends_are_tolerated(client):
    body = f"\r\n\n  \t\n{line(1)}\r\n\n{line(2)}\r\n\n\nbroken"
    assert refused(client, body)["line"] == 9
    assert imported(client, f"\n{line(1)}\r\n\n{line(2)}") == 2


@pytest.mark.parametrize("text, what", [("broken", "value"), ("{", "key"), ('{"id":}', "value"), ("{} {}", "follows"),
                                        ('{"a":1,}', "key"), ('{"a":01}', ""), ("{'a':1}", "key"),
                                        ('{"a":"\x01"}', "control"), ('{"a":NaN}', ""), ("\ufeff{}", ""),
                                        ("[" * 1001 + "]" * 1001, "deeper"), ])
def test_what_is_not_json_is_invalid_json(client, text, what):
    error = refused(client, lines(1, 2) + text + "\n" + lines(3, 3))
    assert (error["error"], error["line"]) == ("INVALID_JSON", 3) and what in error["message"]
    assert stored(client) == [], "the batch is rolled back whole"


def test_what_is_not_utf8_is_invalid_json(client):
    error = refused(client, line(1).encode().replace(b"Imported", b"\xff"))
    assert (error["error"], error["line"]) == ("INVALID_JSON", 1) and "UTF-8" in error["message"]


@pytest.mark.parametrize("field", ["id", "stream", "type", "pos", "gpos", "data", "time"])
def test_a_missing_field_is_named(client, field):
    error = refused(client, line(1, **{field: ...}))
    assert error == {"error": "INVALID_RECORD", "message": f'"{field}" is missing', "line": 1}


@pytest.mark.parametrize("field, value",
                         [("id", 5), ("id", ""), ("id", "x" * 36), ("id", None), ("stream", ""), ("stream", 1),
                          ("stream", None), ("stream", "x" * 2001), ("stream", "a\0b"), ("type", ""), ("type", []),
                          ("type", "y" * 2001), ("pos", -1), ("pos", "1"), ("pos", 1.5), ("pos", 1e30), ("pos", None),
                          ("gpos", 0), ("gpos", -1), ("gpos", True), ("gpos", 9223372036854775808), ("data", None),
                          ("data", []), ("data", "x"), ("data", {"a": "\0"}), ("data", {"a": "\ud800"}), ("meta", []),
                          ("meta", "x"), ("meta", 0), ("time", 0), ("time", ""), ("time", "2024-01-02"),
                          ("time", "2024-01-02T03:04:05"), ("time", "2024-13-02T03:04:05Z"),
                          ("time", "2023-02-29T03:04:05Z"), ("time", "2024-01-02T24:00:00Z"),
                          ("time", "2024-01-02T03:04:05.Z"), ("time", "2024-01-02T03:04:05.1234567890Z"),
                          ("time", "2024-01-02T03:04:05Zx"), ("time", None), ("time", "999999-01-01T00:00:00Z"), ])
def test_a_wrong_field_is_named(client, field, value):
    text = lines(1, 1) + "\n" + json.dumps(record(2, **{field: value}))
    error = refused(client, text)
    assert (error["error"], error["line"]) == ("INVALID_RECORD", 3) and f'"{field}"' in error["message"]
    assert stored(client) == []


def test_a_line_may_be_as_long_as_the_body_limit_and_no_longer(start):
    server = start("--test-mode", "--max-body", "100k")
    client = server.client()
    room = 100 * 1024 - len(line(1, data={"x": ""}))
    long = line(1, data={"x": "a" * room})
    assert len(long) == 100 * 1024
    assert imported(client, long + "\n" + lines(2, 500)) == 500, "the body as a whole may be longer"
    assert client.call("stream.get", "imported-1", {"batchSize": 1})[0][4]["x"] == "a" * room
    error = refused(client, lines(501, 600) + line(601, data={"x": "a" * (room + 1)}))
    assert (error["error"], error["line"]) == ("INVALID_RECORD", 101) and "102400" in error["message"]


def test_large_records_make_smaller_batches(client):
    found = events(post(client, "".join(line(n, data={"x": "a" * 1_000_000}) + "\n" for n in range(1, 13))))
    assert found[-1]["imported"] == 12 and len(found) > 2, "a batch is bounded in bytes, too"


# ---- positions
# --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{"gpos": 2}, {"pos": 1}, {"id": "018f0000-0000-7000-8000-000000000002"}])
def test_what_is_there_already_is_not_stored_again(client, fields):
    imported(client, line(2, id="018f0000-0000-7000-8000-000000000002"))
    error = refused(client, lines(10, 19) + "\n" + line(20, **fields) + "\n" + lines(21, 30))
    assert (error["error"], error["line"]) == ("POSITION_EXISTS", 12)
    assert len(stored(client)) == 1


@pytest.mark.parametrize("fields", [{"gpos": 2}, {"pos": 1}, {"id": "018f0000-0000-7000-8000-000000000002"}])
def test_what_comes_twice_in_one_batch_is_refused(client, fields):
    error = refused(client, lines(1, 1) + line(2, id="018f0000-0000-7000-8000-000000000002") + "\n" + line(3, **fields))
    assert (error["error"], error["line"]) == ("POSITION_EXISTS", 3)
    assert stored(client) == []


def test_new_writes_come_after_everything_imported(client):
    imported(client, line(1, gpos=5000, pos=41, stream="s-1"))
    assert client.write("s-1") == {"position": 42, "globalPosition": 5001}
    imported(client, line(1, gpos=100, pos=0, stream="s-2"))
    assert client.write("s-2")["globalPosition"] > 5001, "the sequence never moves backwards"


def test_lines_may_come_in_any_order_below_what_is_there(client):
    first = client.write("a-1")["globalPosition"]
    imported(
        client,
        line(1, gpos=first + 100, pos=9) + "\n" + line(1, gpos=first + 50, pos=2) + "\n" +
        line(1, gpos=first + 70, pos=5))
    assert [message[4] for message in stored(client)] == [first, first + 50, first + 70, first + 100]


def test_a_broken_line_in_a_later_batch_leaves_the_earlier_ones(client):
    found = events(post(client, lines(1, 2345) + '{"id":\n' + lines(2346, 5000)))
    assert [event["imported"] for event in found[:-1]] == [1000, 2000]
    assert (found[-1]["error"], found[-1]["line"]) == ("INVALID_JSON", 2346)
    assert len(stored(client)) == 2000
    assert imported(client, lines(2001, 5000)) == 3000, "and the rest can follow"


def test_what_only_postgres_refuses_is_found_in_its_batch(start):
    server = start("--test-mode", "--workers", "1")
    client = server.client()
    client.call("stream.version", "x")
    connection = server.postgres()
    # Deeper than this Postgres has stack for, though no deeper than our scanner allows.
    sql(connection, "ALTER SYSTEM SET max_stack_depth = '100kB'")
    sql(connection, "SELECT pg_reload_conf()")
    connection.close()
    time.sleep(0.2)
    deep = '{"x":' + "[" * 990 + "]" * 990 + "}"
    body = lines(1, 1700) + "\n" + line(1701).replace('{"n": 1701}', deep) + "\n" + lines(1702, 2500)
    found = events(post(client, body))
    assert [event.get("imported") for event in found[:-1]] == [1000]
    assert (found[-1]["error"], found[-1]["line"]) == ("INVALID_RECORD", 1702) and "stack depth" in found[-1]["message"]
    assert len(stored(client)) == 1000


# ---- force
# --------------------------------------------------------------------------------------------------------------


def test_force_empties_the_namespace_first(client):
    imported(client, lines(1, 10))
    assert imported(client, lines(1, 3), "/import?force=true") == 3
    assert [message[4] for message in stored(client)] == [1, 2, 3]
    assert client.write("z-1")["globalPosition"] > 10, "positions are not given again"
    assert refused(client, lines(1, 3), "/import?force=false")["error"] == "POSITION_EXISTS"


def test_force_deletes_even_when_the_body_is_broken(client):
    imported(client, lines(1, 10))
    assert refused(client, "broken", "/import?force=true")["line"] == 1
    assert stored(client) == []


# ---- gzip
# ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip"])
def test_a_gzip_body_is_accepted(client, coding):
    assert imported(client, gzip.compress(lines(1, 1500).encode()), Content_Encoding=coding) == 1500


def test_a_gzip_body_of_several_members_is_one_body(client):
    text = lines(1, 30).encode()
    assert imported(client,
                    gzip.compress(text[:1000]) + gzip.compress(b"") + gzip.compress(text[1000:]),
                    Content_Encoding="gzip") == 30


def test_a_damaged_or_cut_gzip_body_fails(client):
    body = gzip.compress(lines(1, 2500).encode())
    assert "too early" in refused(client, body[:-5], Content_Encoding="gzip")["message"]
    assert len(stored(client)) == 2000, "the batches before stay"
    for broken in (b"not gzip", lines(1, 1).encode(), body[:-8] + b"12345678", body + b"garbage"):
        error = refused(client, broken, "/import?force=true", Content_Encoding="gzip")
        assert (error["error"], "damaged" in error["message"]) == ("IMPORT_FAILED", True)


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip"])
def test_other_encodings_are_unsupported(client, coding):
    reply = post(client, lines(1, 1), Content_Encoding=coding)
    assert (reply.status, reply.error["code"]) == (415, "INVALID_REQUEST")


def test_a_gzip_bomb_costs_no_memory(start):
    server = start("--test-mode", "--workers", "1")
    client = server.client()
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(squeeze.compress(b"\n" * 1_000_000) for _ in range(300)) + squeeze.flush()
    assert imported(client, bomb, Content_Encoding="gzip") == 0
    assert refused(client, bomb + gzip.compress(b"x"), Content_Encoding="gzip")["line"] == 300_000_001
    assert memory(server) < 40


def memory(server, what="VmHWM"):
    with open(f"/proc/{server.process.pid}/status") as status:
        return int(re.search(what + r":\s+(\d+)", status.read()).group(1)) // 1024


# ---- the connection
# ------------------------------------------------------------------------------------------------------------


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
        time.sleep(0.0005)
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
        time.sleep(0.5)
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
    wire.chunk(lines(1, 5000))
    for _ in range(2):
        with server.connect() as late:
            late.sendall(b"GET ")
            assert late.recv(4096).startswith(b"HTTP/1.1 408 "), "one that sends nothing"
    connection.commit()
    connection.close()
    wire.end()
    assert wire.head()[0] == 200 and DONE.fullmatch(list(wire.chunks())[-1]).group(1) == b"5000"
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
    time.sleep(0.1)
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
    time.sleep(0.2)
    wire.chunk(lines(1001, 1500))
    wire.end()
    assert DONE.fullmatch(next(chunks)).group(1) == b"1500"
    wire.close()


def test_memory_stays_flat_whatever_comes(start):
    server = start("--test-mode", "--workers", "1")
    client = server.client()
    imported(client, lines(1, 5000))
    before = memory(server)
    imported(client, lines(5001, 60000, data={"x": "a" * 500}))
    assert memory(server) < before + 8
