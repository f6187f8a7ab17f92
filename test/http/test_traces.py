"""traceparent: in the metadata of messages with --trace-metadata, and in the log."""
import json

import pytest

from store import Server, new_id, sql, token_for, wait_until

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{ID}-00f067aa0ba902b7-01"
MALFORMED = ["", "00", PARENT[:-1], PARENT + "0", PARENT + "-x", PARENT.upper(), "ff" + PARENT[2:],
             PARENT.replace(ID, "0" * 32), PARENT.replace("00f067aa0ba902b7", "0" * 16), PARENT.replace("-", "_"),
             '"' + PARENT + '"', "é" * 55]


@pytest.fixture(scope="module")
def tracing():
    server = Server("--test-mode", "--trace-metadata", "--log-slow", "0")
    yield server
    server.stop()


@pytest.fixture
def traced(tracing):
    client = tracing.client(token_for("test " + new_id()))
    yield client
    client.close()


def send(client, body, parent=PARENT):
    reply = client.request("POST", "/rpc", json.dumps(body), {"traceparent": parent.encode()})
    assert reply.status == 200, reply.body
    return reply.json


def message(**fields):
    return {"type": "T", "data": {}, **fields}


def metadata(client, stream="s"):
    return [each[5] for each in client.call("stream.get", stream)]


@pytest.mark.parametrize("header", MALFORMED)
def test_a_malformed_header_is_ignored(traced, header):
    send(traced, ["stream.write", "s", message()], header)
    send(traced, ["stream.write", "s", message(metadata={"a": 1})], header)
    assert metadata(traced) == [None, {"a": 1}]


def test_two_headers_that_differ_are_ignored(tracing, traced):
    body = json.dumps(["stream.write", "s", message()])
    with tracing.connect() as connection:
        connection.sendall((f"POST /rpc HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {traced.token}\r\n"
                            f"traceparent: {PARENT}\r\ntraceparent: {PARENT[:-1]}0\r\nConnection: close\r\n"
                            f"Content-Length: {len(body)}\r\n\r\n{body}").encode())
        assert b" 200 " in connection.makefile("rb").readline()
    assert metadata(traced) == [None]


def test_without_a_header_nothing_is_added(traced):
    traced.write("s")
    assert metadata(traced) == [None]


def test_without_the_setting_nothing_is_added(client):
    send(client, ["stream.write", "s", message()])
    assert metadata(client) == [None]


def test_messages_get_it_unless_they_have_one(traced):
    given = [None, {}, {"a": 1}, {"a": {"traceparent": "x"}}, {"traceparent": "mine"}, {"traceparent": None},
             {"x": 1.50, "ü": "\u2028"}]
    wanted = [{**(each or {}), "traceparent": (each or {}).get("traceparent", PARENT)} for each in given]
    wanted[5] = {"traceparent": None}
    messages = [message(**({} if each is None else {"metadata": each})) for each in given]
    send(traced, ["stream.append", "s", messages])
    assert metadata(traced) == wanted
    for n, each in enumerate(messages):
        send(traced, ["stream.write", f"w-{n}", each])
        assert metadata(traced, f"w-{n}") == [wanted[n]]
    send(traced, ["streams.append", [{"stream": "t", "messages": messages}]])
    assert metadata(traced, "t") == wanted


@pytest.mark.parametrize("text", ['{ }', '{\n}', ' {"a":1}', '{ "a" : 12345678901234567890.50 }',
                                  r'{"\u0074raceparent":"mine"}', '{"a":1,"a":2}'])
def test_the_text_of_metadata_may_look_any_way(traced, text):
    send_text = f'["stream.write", "s", {{"type": "T", "data": {{}}, "metadata": {text}}}]'
    assert traced.request("POST", "/rpc", send_text, {"traceparent": PARENT}).status == 200
    (found, ) = metadata(traced)
    assert found == {"traceparent": PARENT, **json.loads(text)}
    if "50" in text:
        assert b"12345678901234567890.50" in traced.post(["stream.get", "s"]).body


def test_metadata_that_is_none_is_refused_as_ever(traced):
    for wrong in (None, 1, "x", [], True):
        reply = traced.request("POST", "/rpc", json.dumps(["stream.write", "s", message(metadata=wrong)]),
                               {"traceparent": PARENT})
        assert reply.status == 400 and "metadata must be an object" in reply.error["message"]


def test_each_call_of_a_batch_gets_it(traced):
    send(traced, [{"jsonrpc": "2.0", "id": n, "method": "stream.write", "params": ["s", message()]} for n in range(3)])
    assert metadata(traced) == [{"traceparent": PARENT}] * 3


def test_a_later_version_is_cut_to_what_is_known(traced):
    send(traced, ["stream.write", "s", message()], "01" + PARENT[2:] + "-and-more")
    assert metadata(traced) == [{"traceparent": "01" + PARENT[2:]}]


def test_a_retry_under_another_trace_is_one(traced):
    first = send(traced, ["stream.write", "s", message(), {"id": new_id()}])
    body = ["stream.write", "s", message(), {"id": traced.call("stream.get", "s")[0][0]}]
    assert send(traced, body, PARENT.replace("4bf", "000")) == first
    assert metadata(traced) == [{"traceparent": PARENT}]


def test_the_log_has_its_id(tracing, traced):
    send(traced, ["stream.version", "logged-1"], PARENT.replace("4bf9", "aaaa"))
    line = wait_until(lambda: [each for each in tracing.output if "aaaa2f3577b34da6a3ce929d0e0e4736" in each],
                      "its line")[0]
    assert " trace=aaaa2f3577b34da6a3ce929d0e0e4736 " in line and "stream=logged-1" in line


def test_what_failed_is_logged_with_it_without_the_setting(start):
    server = start("--test-mode")
    server.client().request("POST", "/rpc", '["stream.version", "s"]', {"traceparent": PARENT})
    server.client().request("GET", "/nothing", headers={"traceparent": PARENT})
    assert not any("trace=" in each for each in server.output)
    postgres = server.postgres()
    sql(postgres, "ALTER TABLE millrace_default.messages RENAME TO gone")
    reply = server.client().request("POST", "/rpc", '["stream.get", "s"]', {"traceparent": PARENT})
    assert reply.status >= 500
    wait_until(lambda: f" trace={ID} " in server.text, "the line of what failed")
