"""stream.get, stream.last, stream.version, category.get."""
import datetime
import hashlib
import json
import re

import pytest

MESSAGE = {"type": "Tested", "data": {}}


def invalid(error, *words):
    assert (error.status, error.code) == (400, "INVALID_REQUEST"), error
    for word in words:
        assert word in error.message, error.message


def fill(client, stream, count, **more):
    return client.call("stream.append", stream, [{"type": f"T{n % 3}", "data": {"n": n}, **more} for n in range(count)])


def positions(messages):
    """Of messages from a stream."""
    return [message[2] for message in messages]


# What is refused

NUMBERS = ["null", '"1"', "true", "1.5", "1e30", "[]", "{}", "9223372036854775808", "0.1"]


@pytest.mark.parametrize("method", ["stream.get", "category.get"])
@pytest.mark.parametrize("option", ["position", "globalPosition", "batchSize"])
@pytest.mark.parametrize("value", NUMBERS)
def test_option_numbers_must_be_integers_in_range(client, method, option, value):
    invalid(client.refused_body(f'["{method}","s",{{"{option}":{value}}}]'), option)


@pytest.mark.parametrize("method", ["stream.get", "category.get"])
@pytest.mark.parametrize("size", [-2, -1000, 10001, 1000000])
def test_a_batch_size_out_of_range_is_refused(client, method, size):
    invalid(client.refused(method, "s", {"batchSize": size}), "batchSize")


@pytest.mark.parametrize("method", ["stream.get", "stream.last", "category.get"])
@pytest.mark.parametrize("options", ["null", "1", '"x"', "[]", "true"])
def test_options_must_be_an_object(client, method, options):
    invalid(client.refused_body(f'["{method}","s",{options}]'))


@pytest.mark.parametrize("method", ["stream.get", "category.get"])
@pytest.mark.parametrize("types", ["null", "1", '"T"', "{}", "[1]", "[null]", '["T",{}]'])
def test_types_must_be_an_array_of_strings(client, method, types):
    invalid(client.refused_body(f'["{method}","s",{{"types":{types}}}]'), "types")


@pytest.mark.parametrize("type", ["null", "1", "[]", "true"])
def test_the_type_of_a_last_message_must_be_a_string(client, type):
    invalid(client.refused_body(f'["stream.last","s",{{"type":{type}}}]'), "type")


@pytest.mark.parametrize("name", ["1", "null", "[]", "{}", "true"])
def test_a_category_name_must_be_a_string(client, name):
    invalid(client.refused_body(f'["category.get",{name}]'))


@pytest.mark.parametrize("correlation", ["null", "1", "[]", "{}"])
def test_correlation_must_be_a_string(client, correlation):
    invalid(client.refused_body(f'["category.get","s",{{"correlation":{correlation}}}]'), "correlation")


@pytest.mark.parametrize("group, word", [("null", "consumerGroup"), ("1", "consumerGroup"), ("[]", "consumerGroup"),
                                         ('"0/2"', "consumerGroup"), ('{"member":0}', "size"), ('{"size":2}', "member"),
                                         ('{"member":2,"size":2}', "member"), ('{"member":-1,"size":2}', "member"),
                                         ('{"member":0,"size":0}', "size"), ('{"member":0,"size":-1}', "size"),
                                         ('{"member":"0","size":2}', "member"), ('{"member":0,"size":"2"}', "size"),
                                         ('{"member":null,"size":2}', "member"), ('{"member":0,"size":null}', "size"),
                                         ('{"member":0.5,"size":2}', "member"), ('{"member":0,"size":1.5}', "size"),
                                         ('{"member":0,"size":1e30}', "size")])
def test_each_fault_of_a_consumer_group_names_its_field(client, group, word):
    invalid(client.refused_body(f'["category.get","s",{{"consumerGroup":{group}}}]'), word)


# stream.get


def test_a_missing_stream_is_empty(client):
    assert client.call("stream.get", "none") == []
    assert client.call("stream.last", "none") is None
    assert client.call("stream.version", "none") is None


def test_a_message_of_a_stream_has_seven_parts(client):
    client.write("s-1", {"a": 1}, "Added", {"b": 2})
    before = datetime.datetime.now(datetime.timezone.utc)
    (message,) = client.call("stream.get", "s-1")
    id, type, position, global_position, data, metadata, time = message
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", id)
    assert (type, position, global_position, data, metadata) == ("Added", 0, 1, {"a": 1}, {"b": 2})
    assert abs(parsed(time) - before) < datetime.timedelta(seconds=60)


def parsed(time):
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{0,5}[1-9])?Z", time)
    assert match, time
    return datetime.datetime.fromisoformat(match[1] + (match[2] or "").ljust(7, "0").replace("0000000", ".000000") +
                                           "+00:00")


def test_times_are_rfc_3339_in_utc_without_trailing_zeros(client):
    fill(client, "s", 1)
    for _ in range(30):
        client.write("s")
    messages = client.call("stream.get", "s") + client.call("category.get", "")
    assert len(messages) == 2 * 31
    for message in messages:
        parsed(message[-1])


def test_a_stored_time_keeps_its_microseconds(server, client):
    import base64
    from store import sql
    fill(client, "s", 3)
    name = base64.urlsafe_b64decode(client.token.split("_")[1] + "===").decode()
    (schema,) = sql(server.postgres(), "SELECT schema FROM millrace.namespaces WHERE name = %s", name)[0]
    for position, time in enumerate(["2024-02-29 12:00:00", "2024-02-29 12:00:00.1204", "1999-12-31 23:59:59.000001"]):
        sql(server.postgres(), f'UPDATE "{schema}".messages SET time = %s WHERE position = %s', time, position)
    assert [message[6] for message in client.call("stream.get", "s")] == [
        "2024-02-29T12:00:00Z", "2024-02-29T12:00:00.1204Z", "1999-12-31T23:59:59.000001Z"]


@pytest.mark.parametrize("options, expected", [({}, list(range(10))), ({"position": 0}, list(range(10))),
                                               ({"position": 4}, list(range(4, 10))), ({"position": 9}, [9]),
                                               ({"position": 10}, []), ({"position": 10**18}, []),
                                               ({"position": -1}, list(range(10))),
                                               ({"position": -10**18}, list(range(10))), ({"batchSize": 3}, [0, 1, 2]),
                                               ({"batchSize": 0}, []), ({"batchSize": -1}, list(range(10))),
                                               ({"batchSize": 10000}, list(range(10))),
                                               ({"position": 8, "batchSize": 5}, [8, 9]),
                                               ({"globalPosition": 15}, list(range(4, 10))),
                                               ({"globalPosition": 15, "position": 9}, list(range(4, 10))),
                                               ({"globalPosition": 15, "batchSize": 2}, [4, 5]),
                                               ({"globalPosition": 1}, list(range(10))), ({"globalPosition": 21}, []),
                                               ({"types": ["T1"]}, [1, 4, 7]),
                                               ({"types": ["T0", "T1"], "batchSize": 3}, [0, 1, 3]),
                                               ({"types": ["none"]}, []),
                                               ({"types": ["T2"], "batchSize": -1}, [2, 5, 8])])
def test_what_a_stream_read_returns(client, options, expected):
    fill(client, "other", 10)
    fill(client, "s", 10)
    assert positions(client.call("stream.get", "s", options)) == expected


def test_numbers_with_a_zero_fraction_are_integers(client):
    fill(client, "s", 5)
    assert positions(client.post('["stream.get","s",{"position":1.0,"batchSize":2e0}]').json) == [1, 2]


def test_a_thousand_messages_are_read_by_default(client):
    fill(client, "s", 1005)
    assert len(client.call("stream.get", "s")) == 1000
    assert len(client.call("category.get", "s")) == 1000


@pytest.mark.parametrize("method", ["stream.get", "category.get"])
def test_all_messages_come_back_when_they_are_megabytes(client, method):
    count = 12000
    for start in range(0, count, 3000):
        client.call("stream.append", "s",
                    [{"type": "T", "data": {"n": n, "x": "y" * 300}} for n in range(start, start + 3000)])
    reply = client.post([method, "s", {"batchSize": -1}])
    assert len(reply.body) > 4 << 20
    assert [message[-3]["n"] for message in reply.json] == list(range(count))
    assert [message[-3]["n"] for message in client.call(method, "s", {"batchSize": 10000})] == list(range(10000))
    reply = client.post([method, "s", {"batchSize": -1, "types": ["none"]}])
    assert reply.body == b"[]"


def test_a_long_answer_in_json_rpc_is_whole_too(client):
    for start in range(0, 9000, 3000):
        client.call("stream.append", "s",
                    [{"type": "T", "data": {"n": n, "x": "y" * 300}} for n in range(start, start + 3000)])
    request = {"jsonrpc": "2.0", "method": "stream.get", "params": ["s", {"batchSize": -1}], "id": "long"}
    answer = client.post(request).json
    assert answer["id"] == "long" and positions(answer["result"]) == list(range(9000))
    both = client.post([request, {**request, "id": 2, "params": ["s", {"batchSize": 1}]}]).json
    assert {each["id"]: len(each["result"]) for each in both} == {"long": 9000, 2: 1}


def test_a_client_that_reads_slowly_does_not_stop_the_others(server, client):
    for _ in range(10):
        client.call("stream.append", "s", [{"type": "T", "data": {"x": "y" * 2000}} for _ in range(3000)])
    body = b'["stream.get","s",{"batchSize":-1}]'
    slow = server.connect()
    slow.sendall(
        f"POST /rpc HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\nContent-Length: {len(body)}\r\n\r\n".
        encode() + body)
    assert slow.recv(12) == b"HTTP/1.1 200"
    for _ in range(20):
        other = server.client(client.token, timeout=10)
        assert other.call("stream.version", "s") == 29999
        assert len(other.call("stream.get", "s", {"batchSize": 10})) == 10
        other.close()
    slow.close()


# stream.last, stream.version


def test_the_last_message(client):
    fill(client, "s", 5)
    assert client.call("stream.last", "s")[2] == 4
    assert client.call("stream.last", "s", {})[2] == 4
    assert client.call("stream.last", "s", {"type": "T0"})[2] == 3
    assert client.call("stream.last", "s", {"type": "none"}) is None
    assert client.call("stream.version", "s") == 4


# category.get


def category(client, name, options=None):
    return [(message[1], message[4])
            for message in client.call("category.get", name, *([options] if options is not None else []))]


def test_a_message_of_a_category_has_eight_parts(client):
    client.write("a-1", {"a": 1}, "Added", {"b": 2})
    ((id, stream, type, position, global_position, data, metadata, time),) = client.call("category.get", "a")
    assert len(id) == 36
    assert (stream, type, position, global_position, data, metadata) == ("a-1", "Added", 0, 1, {"a": 1}, {"b": 2})
    parsed(time)


def test_which_streams_are_a_category(client):
    for name in ("a-1", "a", "ab-1", "a-", "a-b-c", "-x", "A-1", "a+1"):
        client.write(name)
    assert [stream for stream, _ in category(client, "a")] == ["a-1", "a", "a-", "a-b-c"]
    assert [stream for stream, _ in category(client, "")] == ["a-1", "a", "ab-1", "a-", "a-b-c", "-x", "A-1", "a+1"]
    assert category(client, "none") == []


@pytest.mark.parametrize("name", ["a-1", "a-", "-x", "-"])
def test_a_name_with_a_dash_is_no_category(client, name):
    client.write("a-1")
    client.write("-x")
    assert client.call("category.get", name) == []


@pytest.mark.parametrize("options, expected", [
    ({}, [1, 3, 5, 7]), ({"position": 3}, [3, 5, 7]), ({"globalPosition": 4}, [5, 7]), ({"position": 0}, [1, 3, 5, 7]),
    ({"position": -5}, [1, 3, 5, 7]), ({"position": 8}, []), ({"batchSize": 2}, [1, 3]), ({"batchSize": 0}, []),
    ({"batchSize": -1}, [1, 3, 5, 7]), ({"position": 2, "batchSize": 2}, [3, 5]), ({"types": ["B"]}, [3, 7]),
    ({"types": ["B"], "batchSize": 1}, [3]), ({"types": ["A", "B"], "position": 5}, [5, 7]), ({"types": ["C"]}, [])])
def test_what_a_category_read_returns(client, options, expected):
    for n in range(4):
        client.write(f"a-{n}", type="AB"[n % 2])
        client.write(f"b-{n}")
    assert [global_position for _, global_position in category(client, "a", options)] == expected


def test_correlation_filters_by_the_category_of_the_correlated_stream(client):
    for n, metadata in enumerate([{"correlationStreamName": "order-1"}, {"correlationStreamName": "order"},
                                  {"correlationStreamName": "orders-1"}, {"correlationStreamName": "order-2-3"},
                                  {"correlationStreamName": 7}, {"other": "order-1"}, None]):
        client.write("a-1", {"n": n}, metadata=metadata)
    read = [message[5]["n"] for message in client.call("category.get", "a", {"correlation": "order"})]
    assert read == [0, 1, 3]
    assert len(client.call("category.get", "a",
                           {"correlation": "order", "batchSize": 2})) == 2, "the limit counts what is returned"
    assert len(client.call("category.get", "a", {"correlation": ""})) == 7
    assert client.call("category.get", "a", {"correlation": "none"}) == []
    assert [message[5]["n"] for message in client.call("category.get", "", {"correlation": "orders"})] == [2]


MEMBERS = {0: ["", "1", "3", "abc", "200"], 1: ["0", "2", "4", "5", "6", "100", "123"]}


@pytest.mark.parametrize("member", [0, 1])
def test_the_vectors_of_a_group_of_two(client, member):
    for id in sorted(MEMBERS[0] + MEMBERS[1]):
        client.write(f"account-{id}")
    read = category(client, "account", {"consumerGroup": {"member": member, "size": 2}})
    assert sorted(stream for stream, _ in read) == sorted(f"account-{id}" for id in MEMBERS[member])


def test_a_group_shares_by_the_cardinal_id(client):
    for stream in ("a-1", "a-1+x", "a-1+y+z", "a-2", "a-2+x", "a-123-4", "a"):
        client.write(stream)

    def member_of(id, size):
        return abs(int.from_bytes(hashlib.md5(id.encode()).digest()[:8], "big", signed=True)) % size

    for size in (1, 2, 3, 7):
        shares = [[stream for stream, _ in category(client, "a", {"consumerGroup": {"member": member, "size": size}})]
                  for member in range(size)]
        for member, share in enumerate(shares):
            for stream in share:
                assert member_of(stream.split("-", 1)[1].split("+")[0], size) == member
        assert sorted(sum(shares, [])) == ["a-1", "a-1+x", "a-1+y+z", "a-123-4", "a-2",
                                           "a-2+x"], "a stream without an id is in no member's share"


def test_a_group_without_member_and_size_is_no_filter(client):
    client.write("a-1")
    assert len(client.call("category.get", "a", {"consumerGroup": {}})) == 1


def test_the_batch_limit_of_a_group_counts_what_is_returned(client):
    for n in range(60):
        client.write(f"a-{n % 20}")
    share = category(client, "a", {"consumerGroup": {"member": 0, "size": 3}})
    first = category(client, "a", {"consumerGroup": {"member": 0, "size": 3}, "batchSize": 5})
    assert first == share[:5]
    rest = category(client, "a", {"consumerGroup": {"member": 0, "size": 3}, "position": first[-1][1] + 1})
    assert first + rest == share


def test_global_positions_rise_from_one(client):
    for n in range(10):
        assert client.write(f"s-{n}")["globalPosition"] == n + 1
    assert [global_position for _, global_position in category(client, "")] == list(range(1, 11))


def test_what_was_acknowledged_is_read_at_once_on_every_connection(client, another):
    readers = [another() for _ in range(8)]
    for n in range(50):
        client.write("s", {"n": n})
        assert readers[n % 8].call("stream.last", "s")[4] == {"n": n}


def test_the_raw_body_is_json_without_anything_around_it(client):
    client.write("s", {"a": "é"})
    body = client.post(["category.get", "s"]).body
    assert body[:2] == b"[[" and body[-2:] == b"]]" and json.loads(body.decode("utf-8"))
