"""stream.write, stream.append, streams.append."""
import json
import uuid

import pytest

from store import RpcError, new_id

MESSAGE = {"type": "Tested", "data": {}}
WITHOUT_TYPE = {"data": {}}


def invalid(error, *words):
    assert (error.status, error.code) == (400, "INVALID_REQUEST"), error
    for word in words:
        assert word in error.message, error.message


# What is refused. Each: the argument list as JSON text, and the words that the message must hold.

BAD_NAMES = ['""', "1", "null", "[]", "{}", "true", '"' + "x" * 2001 + '"', r'"a\u0000b"', r'"a\ud800"']
BAD_MESSAGES = [("null", ""), ("1", ""), ('"x"', ""), ("[]", ""), ("{}", "type"), ('{"data":{}}', "type"),
                ('{"type":"","data":{}}', "type"), ('{"type":1,"data":{}}', "type"),
                ('{"type":null,"data":{}}', "type"), ('{"type":{},"data":{}}', "type"),
                ('{"type":"%s","data":{}}' % ("x" * 2001), "type"), (r'{"type":"a\u0000","data":{}}', ""),
                ('{"type":"T"}', "data"), ('{"type":"T","data":null}', "data"), ('{"type":"T","data":[]}', "data"),
                ('{"type":"T","data":"{}"}', "data"), ('{"type":"T","data":1}', "data"),
                ('{"type":"T","data":true}', "data"), ('{"type":"T","data":{},"metadata":null}', "metadata"),
                ('{"type":"T","data":{},"metadata":[]}', "metadata"),
                ('{"type":"T","data":{},"metadata":"x"}', "metadata"),
                ('{"type":"T","data":{},"metadata":1}', "metadata"), (r'{"type":"T","data":{"a":"\u0000"}}', ""),
                (r'{"type":"T","data":{"\u0000":1}}', ""), (r'{"type":"T","data":{"a":"\ud800"}}', ""),
                (r'{"type":"T","data":{"a":"\udc00\ud800"}}', ""), ('{"type":"T","data":{"a":1e200000}}', ""),
                ('{"type":"T","data":{},"metadata":{"a":1e200000}}', ""),
                (r'{"type":"T","data":{},"metadata":{"a":"\u0000"}}', "")]
BAD_OPTIONS = [
    ("null", "options"), ("1", "options"), ('"x"', "options"), ("[]", "options"),
    ('{"id":"nonsense"}', "id"), ('{"id":1}', "id"), ('{"id":null}', "id"), ('{"id":"%s0"}' % uuid.uuid4(), "id"),
    ('{"id":"{%s"}' % uuid.uuid4(), "id"), ('{"id":"%sg"}' % str(uuid.uuid4())[:-1], "id"),
    ('{"expectedVersion":null}', "expectedVersion"), ('{"expectedVersion":"0"}', "expectedVersion"),
    ('{"expectedVersion":true}', "expectedVersion"), ('{"expectedVersion":1.5}', "expectedVersion"),
    ('{"expectedVersion":1e30}', "expectedVersion"), ('{"expectedVersion":-2}', "expectedVersion"),
    ('{"expectedVersion":9223372036854775808}', "expectedVersion"), ('{"expectedVersion":[]}', "expectedVersion")]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("method, rest", [("stream.write", json.dumps(MESSAGE)),
                                          ("stream.append", json.dumps([MESSAGE])), ("stream.get", "{}"),
                                          ("stream.last", "{}"), ("stream.version", "{}")])
def test_a_stream_name_must_be_a_non_empty_string_that_postgres_can_hold(client, method, rest, name):
    invalid(client.refused_body(f'["{method}",{name},{rest}]'))


@pytest.mark.parametrize("method", [
    "stream.write", "stream.append", "streams.append", "stream.get", "stream.last", "stream.version", "category.get",
    "ns.create", "ns.delete", "ns.info"
])
def test_a_missing_first_argument_is_refused(client, admin, method):
    invalid((admin if method.startswith("ns.") else client).refused(method))


@pytest.mark.parametrize("method", ["stream.write", "stream.append"])
def test_a_missing_message_is_refused(client, method):
    invalid(client.refused(method, "s"), "message")


@pytest.mark.parametrize("message, word", BAD_MESSAGES)
def test_a_bad_message_is_refused_by_every_way_to_append(client, message, word):
    for body in (
            f'["stream.write","s",{message}]', f'["stream.append","s",[{json.dumps(MESSAGE)},{message}]]',
            f'["streams.append",[{{"stream":"t","messages":[{json.dumps(MESSAGE)}]}},'
            f'{{"stream":"s","messages":[{message}]}}]]'):
        error = client.refused_body(body)
        invalid(error, word)
        assert error.message
    assert client.call("category.get", "") == []


@pytest.mark.parametrize("options, word", BAD_OPTIONS)
def test_bad_options_are_refused(client, options, word):
    invalid(client.refused_body(f'["stream.write","s",{json.dumps(MESSAGE)},{options}]'), word)
    if '"id"' not in options:
        invalid(client.refused_body(f'["stream.append","s",[{json.dumps(MESSAGE)}],{options}]'), word)
    assert client.call("stream.version", "s") is None


def test_a_message_nested_too_deeply_is_refused(client):
    deep = "[" * 100_000 + "]" * 100_000
    for body in (f'["stream.write","s",{{"type":"T","data":{{"a":{deep}}}}}]',
                 f'["stream.write","s",{{"type":"T","data":{{}},"metadata":{{"a":{deep}}}}}]'):
        invalid(client.refused_body(body))
    assert client.write("s")["position"] == 0


def test_a_neighbour_in_the_batch_does_not_suffer_from_what_only_postgres_refuses(client, another):
    from concurrent.futures import ThreadPoolExecutor
    bad = '["stream.write","bad",{"type":"T","data":{"a":1e200000}}]'
    good = ["stream.write", "good", MESSAGE]
    clients = [another() for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        replies = [
            list(pool.map(lambda n: clients[n].post(good if n % 2 else bad).status, range(20))) for _ in range(10)
        ]
    for statuses in replies:
        assert statuses == [400, 200] * 10
    assert client.call("stream.version", "good") == 99


# What is taken


@pytest.mark.parametrize("name", [
    "a", "noDash", "-x", "a-", "-", "a-b-c", "with space", " ", "ünïcødé-😀", "a\nb", "quote'\"\\", "%s;--", "x" * 2000,
    "a+b", "a:b+c-1+2"
])
def test_any_non_empty_name_is_a_stream(client, name):
    assert client.write(name) == {"position": 0, "globalPosition": 1}
    assert client.write(name) == {"position": 1, "globalPosition": 2}
    assert client.call("stream.version", name) == 1
    assert [message[2] for message in client.call("stream.get", name)] == [0, 1]
    assert [message[1] for message in client.call("category.get", "")] == [name, name]


def test_names_are_compared_byte_by_byte(client):
    for name in ("A", "a", "a ", "ä", "a\u0308"):
        assert client.write(name)["position"] == 0


@pytest.mark.parametrize("text", [
    '{"n":9007199254740993}', '{"n":-9223372036854775809}', '{"n":123456789012345678901234567890}', '{"n":1.10}',
    '{"n":0.1}', '{"n":1e5}', '{"a":[1,"x",null,true,{"b":[]}]}', '{"":""}',
    '{"emoji":"\\ud83d\\ude00","slash":"\\/","tab":"\\t"}', '{"a":1,"a":2}', '{"control":"\\u0001"}'
])
def test_data_and_metadata_come_back_with_all_their_digits(client, text):
    from decimal import Decimal
    client.post(f'["stream.write","s",{{"type":"T","data":{text},"metadata":{text}}}]')

    def exact(value):
        return json.loads(value, parse_float=Decimal)

    message = exact(client.post(["stream.last", "s"]).body)
    assert message[4] == message[5] == exact(text)
    if "1.10" in text:
        assert b"1.10" in client.post(["stream.last", "s"]).body


def test_a_message_without_metadata_has_null(client):
    client.write("s")
    client.write("s", metadata={})
    assert [message[5] for message in client.call("stream.get", "s")] == [None, {}]


def test_a_large_message(client):
    data = {"x": "0123456789" * 1_000_000}
    client.write("s", data)
    assert client.call("stream.last", "s")[4] == data


# Ids


def test_the_server_makes_version_7_ids_in_order(client):
    for _ in range(20):
        client.write("s")
    ids = [message[0] for message in client.call("stream.get", "s")]
    assert all(uuid.UUID(id).version == 7 and id == str(uuid.UUID(id)) for id in ids)
    assert ids == sorted(ids) and len(set(ids)) == 20


@pytest.mark.parametrize("id", [
    "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "C73BCDCC-2669-4BF6-81D3-E4AE73FB11FD",
    str(uuid.uuid1()),
    str(uuid.uuid5(uuid.NAMESPACE_DNS, "x"))
])
def test_ids_of_any_version_are_kept_in_lowercase(client, id):
    client.write("s", id=id)
    assert client.call("stream.last", "s")[0] == id.lower()


def test_an_empty_id_is_an_absent_one(client):
    client.write("s", id="")
    assert uuid.UUID(client.call("stream.last", "s")[0]).version == 7


def test_a_repeated_message_gets_its_first_answer_whatever_version_is_expected(client):
    id = new_id()
    first = client.write("s", {"a": 1, "b": 2}, id=id, expectedVersion=-1)
    client.write("s")
    assert client.write("s", {"a": 1, "b": 2}, id=id, expectedVersion=-1) == first
    assert client.write("s", {"b": 2, "a": 1}, id=id.upper()) == first
    assert client.write("s", {"a": 1, "b": 2}, id=id, expectedVersion=99) == first
    assert client.call("stream.version", "s") == 1


def test_an_id_stored_with_other_content_is_a_conflict(client):
    id = new_id()
    client.write("s", {"a": 1}, id=id)
    for stream, type, data in (("t", "Tested", {"a": 1}), ("s", "Other", {"a": 1}), ("s", "Tested", {"a": 2})):
        error = client.refused("stream.write", stream, {"type": type, "data": data}, {"id": id})
        assert (error.status, error.code) == (409, "MESSAGE_ID_CONFLICT")
    assert client.call("stream.version", "s") == 0 and client.call("stream.version", "t") is None


def test_many_clients_with_one_id_append_one_message(client, another):
    from concurrent.futures import ThreadPoolExecutor
    clients = [another() for _ in range(20)]
    for _ in range(10):
        id = new_id()
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda each: each.write("s", id=id), clients))
        assert all(answer == answers[0] for answer in answers)
    assert client.call("stream.version", "s") == 9


# Expected versions


@pytest.mark.parametrize("expected", [0, 1, 9223372036854775807])
def test_a_missing_stream_has_no_version_but_minus_one(client, expected):
    error = client.refused("stream.write", "s", MESSAGE, {"expectedVersion": expected})
    assert (error.status, error.code) == (409, "STREAM_VERSION_CONFLICT")
    assert error.details == {"expected": expected, "actual": -1}
    assert str(expected) in error.message and "-1" in error.message
    assert client.write("s", expectedVersion=-1)["position"] == 0


def test_a_wrong_version_is_a_conflict_that_tells_both(client):
    for _ in range(3):
        client.write("s")
    for expected in (-1, 0, 1, 3):
        error = client.refused("stream.write", "s", MESSAGE, {"expectedVersion": expected})
        assert (error.status, error.code) == (409, "STREAM_VERSION_CONFLICT")
        assert error.details == {"expected": expected, "actual": 2}
        assert str(expected) in error.message and "2" in error.message
    assert client.write("s", expectedVersion=2)["position"] == 3


def test_a_version_with_a_zero_fraction_is_an_integer(client):
    assert client.post(f'["stream.write","s",{json.dumps(MESSAGE)},{{"expectedVersion":-1.0}}]').json["position"] == 0
    assert client.post(f'["stream.write","s",{json.dumps(MESSAGE)},{{"expectedVersion":0.0}}]').json["position"] == 1
    assert client.post(f'["stream.write","s",{json.dumps(MESSAGE)},{{"expectedVersion":1e0}}]').json["position"] == 2


# stream.append


def some(count, start=0):
    return [{"type": f"T{n}", "data": {"n": n}} for n in range(start, start + count)]


def test_an_append_of_many_tells_first_and_last_positions(client):
    assert client.call("stream.append", "s",
                       some(3)) == {"position": 0, "lastPosition": 2, "globalPosition": 1, "lastGlobalPosition": 3}
    assert client.call("stream.append", "s", some(1), {"expectedVersion": 2}) == {
        "position": 3, "lastPosition": 3, "globalPosition": 4, "lastGlobalPosition": 4}
    assert [message[4]["n"] for message in client.call("stream.get", "s")] == [0, 1, 2, 0]


@pytest.mark.parametrize("messages", ["null", "1", "{}", '"x"', "[1]", "[null]", "[[]]", "[]"])
def test_messages_must_be_an_array_of_objects_with_one_at_least(client, messages):
    invalid(client.refused_body(f'["stream.append","s",{messages}]'))
    invalid(client.refused_body(f'["streams.append",[{{"stream":"s","messages":{messages}}}]]'))


@pytest.mark.parametrize("id", ['"nonsense"', "1", "null"])
def test_a_bad_id_in_a_message_is_refused(client, id):
    invalid(client.refused_body(f'["stream.append","s",[{{"type":"T","data":{{}},"id":{id}}}]]'), "id")


def test_an_append_of_many_is_all_or_none(client):
    client.write("s")
    error = client.refused("stream.append", "s", some(3), {"expectedVersion": 5})
    assert error.details == {"expected": 5, "actual": 0}
    taken = new_id()
    client.write("other", id=taken)
    error = client.refused("stream.append", "s", [*some(2), {"type": "T", "data": {}, "id": taken}])
    assert error.code == "MESSAGE_ID_CONFLICT"
    assert client.call("stream.version", "s") == 0


def test_an_append_of_many_may_be_sent_again(client):
    messages = [{**message, "id": new_id()} for message in some(5)]
    first = client.call("stream.append", "s", messages, {"expectedVersion": -1})
    assert client.call("stream.append", "s", messages, {"expectedVersion": -1}) == first
    assert client.call("stream.version", "s") == 4
    assert [message[0] for message in client.call("stream.get", "s")] == [message["id"] for message in messages]


def test_one_id_twice_in_one_append_is_a_conflict_or_one_message(client):
    id = new_id()
    reply = client.post(
        ["stream.append", "s", [{"type": "A", "data": {}, "id": id}, {"type": "B", "data": {}, "id": id}]])
    assert (reply.status, reply.error["code"]) == (409, "MESSAGE_ID_CONFLICT")
    assert client.call("stream.version", "s") is None


def test_an_append_of_many_thousands(client):
    assert client.call("stream.append", "s", some(5000))["lastPosition"] == 4999
    assert len(client.call("stream.get", "s", {"batchSize": -1})) == 5000


# streams.append


def test_an_append_to_several_streams(client):
    client.write("a-1")
    answers = client.call(
        "streams.append",
        [{"stream": "b-1", "messages": some(2), "expectedVersion": -1},
         {"stream": "a-1", "messages": some(3), "expectedVersion": 0}, {"stream": "c", "messages": some(1)}])
    assert [(answer["position"], answer["lastPosition"]) for answer in answers] == [(0, 1), (1, 3), (0, 0)]
    for answer in answers:
        assert set(answer) == {"position", "lastPosition", "globalPosition", "lastGlobalPosition"}
        messages = client.call("category.get", "", {"position": answer["globalPosition"], "batchSize": 1})
        assert messages[0][3] == answer["position"]
    assert len(client.call("category.get", "")) == 7


def test_an_append_to_several_streams_is_all_or_none(client):
    client.write("b")
    error = client.refused(
        "streams.append",
        [{"stream": "a", "messages": some(2)}, {"stream": "b", "messages": some(1), "expectedVersion": 4},
         {"stream": "c", "messages": some(1)}])
    assert (error.status, error.code) == (409, "STREAM_VERSION_CONFLICT")
    assert {"expected": 4, "actual": 0}.items() <= error.details.items()
    assert [message[1] for message in client.call("category.get", "")] == ["b"]


@pytest.mark.parametrize("parts", [
    "null", "1", "{}", "[]", "[1]", "[{}]", '[{"stream":"s"}]', '[{"messages":[{"type":"T","data":{}}]}]',
    '[{"stream":"","messages":[{"type":"T","data":{}}]}]', '[{"stream":1,"messages":[{"type":"T","data":{}}]}]',
    '[{"stream":"s","messages":[{"type":"T","data":{}}],"expectedVersion":null}]',
    '[{"stream":"s","messages":[{"type":"T","data":{}}],"expectedVersion":1.5}]',
    '[{"stream":"s","messages":[{"type":"T","data":{}}],"expectedVersion":-2}]'
])
def test_bad_parts_are_refused(client, parts):
    invalid(client.refused_body(f'["streams.append",{parts}]'))


def test_an_append_to_more_streams_than_the_lock_table_has_room_for_is_refused(client):
    error = client.refused("streams.append", [{"stream": f"s-{n}", "messages": some(1)} for n in range(1001)])
    invalid(error, "1001 streams", "at most 1000")
    error = client.refused("streams.append", [{"stream": f"s-{n}", "messages": some(1)} for n in range(20000)])
    invalid(error, "20000 streams", "at most 1000")
    assert client.call("category.get", "") == []
    assert len(client.call("streams.append", [{"stream": f"s-{n}", "messages": some(2)} for n in range(1000)])) == 1000


def test_a_batch_of_many_requests_keeps_to_the_streams_that_one_call_may_lock(start):
    server = start("--test-mode", "--workers", "1", "--batch-messages", "100000", "--log-level", "debug")
    client = server.client()
    calls = [{"jsonrpc": "2.0", "id": n, "method": "stream.write", "params": [f"s-{n}", MESSAGE]} for n in range(2500)]
    assert [answer["result"]["position"] for answer in client.post(calls).json] == [0] * 2500
    appends = [{
        "jsonrpc": "2.0", "id": n, "method": "streams.append",
        "params": [[{"stream": f"s-{n * 400 + m}", "messages": [MESSAGE]} for m in range(400)]]
    } for n in range(5)]
    assert [len(answer["result"]) for answer in client.post(appends).json] == [400] * 5
    assert "one by one" not in server.text


def test_opposite_orders_of_streams_do_not_deadlock(client, another):
    from concurrent.futures import ThreadPoolExecutor
    clients = [another() for _ in range(16)]

    def append(n):
        names = ["a", "b", "c"] if n % 2 else ["c", "b", "a"]
        for _ in range(20):
            clients[n].call("streams.append", [{"stream": name, "messages": some(2)} for name in names])

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(append, range(16)))
    for name in "abc":
        assert client.call("stream.version", name) == 16 * 20 * 2 - 1


# Races


def test_fifty_clients_append_to_one_stream_without_a_hole(client, another):
    from concurrent.futures import ThreadPoolExecutor
    clients = [another() for _ in range(50)]
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda each: [each.write("s") for _ in range(20)], clients))
    for written in answers:
        assert written == sorted(written,
                                 key=lambda each: each["position"]), "one client's own messages keep their order"
    assert sorted(each["position"] for written in answers for each in written) == list(range(1000))
    messages = client.call("stream.get", "s", {"batchSize": -1})
    assert [message[2] for message in messages] == list(range(1000))
    assert [message[3] for message in messages] == sorted(message[3] for message in messages)


def test_of_ten_clients_with_the_same_expected_version_one_wins(client, another):
    from concurrent.futures import ThreadPoolExecutor
    clients = [another() for _ in range(10)]

    def attempt(each, expected):
        try:
            return each.write("s", expectedVersion=expected)
        except RpcError as error:
            return error

    with ThreadPoolExecutor(10) as pool:
        for expected in range(-1, 20):
            answers = list(pool.map(lambda each: attempt(each, expected), clients))
            errors = [answer for answer in answers if isinstance(answer, RpcError)]
            assert len(errors) == 9
            assert [answer["position"] for answer in answers if isinstance(answer, dict)] == [expected + 1]
            for error in errors:
                assert (error.status, error.code) == (409, "STREAM_VERSION_CONFLICT")
                assert error.details == {"expected": expected, "actual": expected + 1}


def test_a_transaction_that_appended_by_sql_and_sits_idle_blocks_no_other_writer(server, client):
    import base64
    name = base64.urlsafe_b64decode(client.token.split("_")[1] + "===").decode()
    client.write("account-1")
    connection = server.postgres()
    connection.autocommit = False
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('millrace.namespace', %s, false)", (name,))
        cursor.execute("SELECT position FROM millrace.append('account-2', 'Idle', '{}')")
        assert cursor.fetchone() == (0,)
        client.connection.timeout = 10
        assert client.write("account-1")["position"] == 1
        assert client.write("account-3")["position"] == 0
        assert client.call("stream.append", "other", some(3))["lastPosition"] == 2
        names = [message[1] for message in client.call("category.get", "account")]
        assert names == ["account-1"], "nothing above what may still commit is shown"
        connection.commit()
    connection.close()
    assert [message[1] for message in client.call("category.get", "account")
            ] == ["account-1", "account-2", "account-1", "account-3"]
