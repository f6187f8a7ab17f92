"""The two envelopes of /rpc: the array form and JSON-RPC 2.0."""
import json

import pytest

MESSAGE = {"type": "Tested", "data": {}}


@pytest.mark.parametrize("body", ["", " ", "[", '["sys.version"', '["sys.version"]]', '["sys.version"] x', "nonsense",
                                  '["sys.version",]', "['sys.version']", '["sys.version", NaN]', '["sys.version", 01]',
                                  '["sys.version", "\t"]', '["sys.version", "\\x"]', b'["sys.version", "\xff"]',
                                  b'["sys.version", "\xc0\xaf"]', b'["sys.version", "\xed\xa0\x80"]', "\ufeff[]",
                                  "1", '"sys.version"', "null", "true"])
def test_what_is_no_json_array_or_object_is_malformed(client, body):
    error = client.refused_body(body)
    assert (error.status, error.code, error.message) == (400, "INVALID_REQUEST", "Malformed JSON request")


def test_an_empty_array_has_no_method_name(client):
    error = client.refused_body("[]")
    assert (error.status, error.code, error.message) == (400, "INVALID_REQUEST", "Missing method name")


@pytest.mark.parametrize("first", [1, None, True, ["sys.version"], 1.5])
def test_a_method_name_must_be_a_string(client, first):
    error = client.refused(first)
    assert (error.status, error.code, error.message) == (400, "INVALID_REQUEST", "Method name must be a string")


@pytest.mark.parametrize("method",
                         ["", "stream", "stream.Write", "stream.write ", "stream.write\0", "ns.drop", "x" * 5000])
def test_an_unknown_method_is_not_found(client, method):
    error = client.refused(method)
    assert (error.status, error.code) == (404, "METHOD_NOT_FOUND")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
def test_rpc_takes_post_only(client, method):
    reply = client.request(method, "/rpc")
    assert reply.status == 405
    if method != "HEAD":
        assert reply.error["code"] == "INVALID_REQUEST"


def test_nesting_without_end_is_refused_and_the_server_lives(client):
    for body in ("[" * 1_000_000, '{"a":' * 500_000, '["sys.version",' + "[" * 200_000 + "]" * 200_000 + "]"):
        assert client.post(body).status in (200, 400)
    assert client.call("sys.version")


def test_surplus_arguments_and_unknown_options_are_ignored(client):
    assert client.call("stream.write", "s", MESSAGE, {"surplus": [1, {}]}, "more", None)["position"] == 0
    assert client.call("stream.version", "s", {}, {"x": 1}) == 0


def test_of_duplicate_keys_the_last_wins(client):
    client.post('["stream.write","s",{"type":"A","data":{"n":1},"type":"B","data":{"n":2,"n":3}}]')
    assert client.call("stream.get", "s")[0][1] == "B"
    assert client.call("stream.get", "s")[0][4] == {"n": 3}
    assert client.post('["stream.get","s",{"batchSize":"bad","batchSize":0}]').json == []


def test_white_space_and_escapes_are_read_as_json_says(client):
    assert client.post(b' \r\n\t[ "sys\\u002eversion" \n ] \r\n').status == 200
    written = client.post('["stream.write","caf\\u00e9-\\ud83d\\ude00",{"type":"T","data":{}}]')
    assert written.status == 200
    assert client.call("stream.version", "café-😀") == 0


# JSON-RPC 2.0, with the shapes of the specification's own examples


def rpc(client, body):
    reply = client.post(body)
    assert reply.status == 200, reply.body
    assert reply.headers["Content-Type"] == "application/json"
    return reply.json


def one_error(answer, code, id=None):
    assert answer["jsonrpc"] == "2.0" and answer["error"]["code"] == code and answer["id"] == id, answer
    assert isinstance(answer["error"]["message"], str) and "result" not in answer
    return answer["error"]


def test_positional_params_are_the_array_forms_arguments(client):
    answer = rpc(
        client,
        {"jsonrpc": "2.0", "method": "stream.write", "params": ["s-1", MESSAGE, {"expectedVersion": -1}], "id": 1})
    assert answer == {"jsonrpc": "2.0", "result": {"position": 0, "globalPosition": 1}, "id": 1}
    answer = rpc(client, {"jsonrpc": "2.0", "method": "stream.version", "params": ["s-1"], "id": 2})
    assert answer == {"jsonrpc": "2.0", "result": 0, "id": 2}


def test_params_by_name(client):
    def call(method, **params):
        return rpc(client, {"jsonrpc": "2.0", "method": method, "params": params, "id": 3})["result"]

    assert call("stream.write", stream="s-1", message=MESSAGE, options={"expectedVersion": -1})["position"] == 0
    assert call("stream.write", options={"expectedVersion": 0}, message=MESSAGE, stream="s-1")["position"] == 1
    assert len(call("stream.get", stream="s-1", options={"batchSize": 1})) == 1
    assert len(call("category.get", category="s", options={})) == 2
    assert call("stream.version", stream="s-1") == 1
    assert call("stream.last", stream="s-1")[2] == 1
    assert call("ns.categories") == [{"category": "s", "streamCount": 1, "messageCount": 2}]


@pytest.mark.parametrize("id", [0, 1, -7, "1", "", "a\"b", 9007199254740993, None, 1.5])
def test_ids_of_any_kind_come_back(client, id):
    assert rpc(client, {"jsonrpc": "2.0", "method": "stream.version", "params": ["s"], "id": id}) == {
        "jsonrpc": "2.0", "result": None, "id": id}


def test_the_digits_of_an_id_are_kept(client):
    reply = client.post(
        '{"jsonrpc":"2.0","method":"stream.version","params":["s"],"id":123456789012345678901234567890}')
    assert b"123456789012345678901234567890" in reply.body


@pytest.mark.parametrize("id", [[], {}, True])
def test_an_id_of_a_wrong_type_is_an_invalid_request(client, id):
    one_error(rpc(client, {"jsonrpc": "2.0", "method": "sys.version", "id": id}), -32600)


def test_a_notification_has_no_answer_but_an_effect(client):
    reply = client.post({"jsonrpc": "2.0", "method": "stream.write", "params": ["s", MESSAGE]})
    assert (reply.status, reply.body) == (204, b"")
    assert client.call("stream.version", "s") == 0


@pytest.mark.parametrize("method, params", [("foobar", []), ("stream.write", []), ("stream.write", ["s"])])
def test_a_notification_that_fails_has_no_answer_either(client, method, params):
    reply = client.post({"jsonrpc": "2.0", "method": method, "params": params})
    assert (reply.status, reply.body) == (204, b"")


def test_a_method_that_does_not_exist(client):
    one_error(rpc(client, {"jsonrpc": "2.0", "method": "foobar", "id": "1"}), -32601, "1")


def test_invalid_json_is_a_parse_error(client):
    one_error(rpc(client, '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]'), -32700)


def test_a_batch_of_invalid_json_is_one_parse_error(client):
    one_error(
        rpc(client, '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"]'),
        -32700)


@pytest.mark.parametrize("request_", [{"jsonrpc": "2.0", "method": 1, "params": "bar"}, {"jsonrpc": "2.0"},
                                      {"jsonrpc": "2.0", "method": None}, {"jsonrpc": "2.0", "params": [], "id": None}])
def test_an_invalid_request_object(client, request_):
    one_error(rpc(client, request_), -32600)


@pytest.mark.parametrize("object_",
                         [{}, {"foo": "boo"}, {"method": "sys.version"}, {"jsonrpc": "1.0", "method": "sys.version"},
                          {"jsonrpc": 2.0, "method": "sys.version"}])
def test_an_object_of_another_protocol_is_refused(client, object_):
    error = client.refused_body(json.dumps(object_))
    assert (error.status, error.code) == (400, "INVALID_REQUEST")
    assert error.message.startswith("Malformed JSON request")


@pytest.mark.parametrize("params", ["bar", 1, True])
def test_params_that_are_neither_array_nor_object_are_invalid(client, params):
    reply = rpc(client, {"jsonrpc": "2.0", "method": "sys.version", "params": params, "id": 1})
    assert reply["error"]["code"] in (-32600, -32602)


@pytest.mark.parametrize("params", [[], [1], [""], {}, {"stream": 1}, ["s", {"type": "T"}], ["s", MESSAGE, None]])
def test_bad_arguments_are_invalid_params(client, params):
    one_error(rpc(client, {"jsonrpc": "2.0", "method": "stream.write", "params": params, "id": 5}), -32602, 5)


def test_our_own_errors_carry_code_and_details(client):
    client.write("s")
    error = one_error(
        rpc(client,
            {"jsonrpc": "2.0", "method": "stream.write", "params": ["s", MESSAGE, {"expectedVersion": 7}], "id": 6}),
        -32000, 6)
    assert error["data"] == {"code": "STREAM_VERSION_CONFLICT", "details": {"expected": 7, "actual": 0}}


def test_an_empty_batch_is_one_invalid_request(client):
    # The array form shares the endpoint: `[]` holds no object, so it is that form's error.
    error = client.refused_body("[]")
    assert (error.status, error.message) == (400, "Missing method name")


@pytest.mark.parametrize("batch, answers", [([{}], 1), ([{"foo": "boo"}, 1, 2], 3), ([{}, [], "x", None], 4)])
def test_a_batch_of_invalid_requests_answers_each(client, batch, answers):
    result = rpc(client, batch)
    assert len(result) == answers
    for answer in result:
        one_error(answer, -32600)


def test_a_batch_with_mixed_errors(client):
    answers = rpc(client, [
        {"jsonrpc": "2.0", "method": "stream.write", "params": ["s", MESSAGE], "id": "1"},
        {"jsonrpc": "2.0", "method": "stream.write", "params": ["t", MESSAGE]},
        {"jsonrpc": "2.0", "method": "stream.version", "params": ["none"], "id": "2"},
        {"foo": "boo"},
        {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
        {"jsonrpc": "2.0", "method": "stream.write", "params": ["s", 1], "id": 6},
        {"jsonrpc": "2.0", "method": "sys.version", "id": "9"}])
    by_id = {answer["id"]: answer for answer in answers}
    assert len(answers) == 6
    assert by_id["1"]["result"]["position"] == 0
    assert by_id["2"]["result"] is None
    one_error(by_id[None], -32600)
    one_error(by_id["5"], -32601, "5")
    one_error(by_id[6], -32602, 6)
    assert by_id["9"]["result"]
    assert client.call("stream.version", "t") == 0


def test_a_batch_of_notifications_only_has_no_answer(client):
    reply = client.post([{"jsonrpc": "2.0", "method": "stream.write", "params": ["s", MESSAGE]} for _ in range(3)])
    assert (reply.status, reply.body) == (204, b"")
    assert client.call("stream.version", "s") == 2


def test_a_large_batch_is_answered_whole(client):
    answers = rpc(client, [{"jsonrpc": "2.0", "method": "stream.write", "params": ["s", MESSAGE], "id": n}
                           for n in range(2000)])
    assert sorted(answer["id"] for answer in answers) == list(range(2000))
    assert sorted(answer["result"]["position"] for answer in answers) == list(range(2000))


def test_an_answer_has_no_byte_too_many(client):
    assert client.post(["stream.last", "none"]).body == b"null"
    assert client.post(["stream.version", "none"]).body == b"null"
    assert client.post(["stream.get", "none"]).body == b"[]"
    body = client.post(["nonsense"]).body
    assert body == body.strip() and set(json.loads(body)) == {"error"}
