"""POST /import: its events, who may, records, positions, force and gzip."""
import contextlib
import gzip
import json
import time
import zlib

import pytest

from importing import DONE, events, imported, line, lines, post, record, refused, stored
from store import new_id, sql, token_for, wait_until


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
    anonymous = secured.client("")
    anonymous.token = None
    assert post(anonymous, lines(1, 1)).error["code"] == "AUTH_REQUIRED"
    anonymous = secured.client("")
    anonymous.token = None
    assert anonymous.request("GET", "/import").status == 401
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


# ---- positions -------------------------------------------------------------------------------------------------------


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

    def is_read():  # by the postmaster, which tells the other sessions at once
        with contextlib.closing(server.postgres()) as another:
            return sql(another, "SHOW max_stack_depth") == [("100kB",)]

    wait_until(is_read, "the new setting")
    deep = '{"x":' + "[" * 990 + "]" * 990 + "}"
    body = lines(1, 1700) + "\n" + line(1701).replace('{"n": 1701}', deep) + "\n" + lines(1702, 2500)
    found = events(post(client, body))
    assert [event.get("imported") for event in found[:-1]] == [1000]
    assert (found[-1]["error"], found[-1]["line"]) == ("INVALID_RECORD", 1702) and "stack depth" in found[-1]["message"]
    assert len(stored(client)) == 1000


# ---- force -----------------------------------------------------------------------------------------------------------


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


# ---- gzip ------------------------------------------------------------------------------------------------------------


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
    assert server.memory("VmHWM") < 40
