"""message.get, position.at, ns.types, streams.recent, messages.search, consumer.claims, sys.stats."""
import base64
import datetime
import json

import pytest

from store import ZERO_TOKEN, Cluster, new_id, sql, temporary_folder, token_for, wait_until

MESSAGE = {"type": "Tested", "data": {}}


def fill(client, stream, count, types=2):
    """The messages' global positions."""
    first = client.call("stream.append", stream, [{"type": f"T{n % types}", "data": {"n": n}} for n in range(count)])
    return range(first["globalPosition"], first["lastGlobalPosition"] + 1)


def refused(client, words, *call):
    error = client.refused(*call)
    assert (error.status, error.code) == (400, "INVALID_REQUEST"), error
    for word in [words] if isinstance(words, str) else words:
        assert word in error.message, error.message


# What is refused

@pytest.mark.parametrize("id", [None, 1, True, [], {}, "", "x", "018f", "00000000-0000-0000-0000-00000000000g",
                                "{00000000-0000-0000-0000-000000000000}", "a" * 5000])
def test_what_is_no_uuid_is_no_id(client, id):
    refused(client, "id must be a UUID", "message.get", id)


@pytest.mark.parametrize("time", [None, 1, True, [], {}, "", "x", "now", "infinity", "2026-01-01",
                                  "2026-02-30T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01T25:00:00Z", "2" * 5000])
def test_what_is_no_time_has_no_place(client, time):
    refused(client, "time must be", "position.at", time)


@pytest.mark.parametrize("method,argument", [("message.get", "id"), ("position.at", "time")])
def test_an_argument_that_is_missing_is_named(client, method, argument):
    refused(client, argument + " is required", method)
    answer = client.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": {argument + "s": "x"}}).json
    assert answer["error"]["code"] == -32602
    assert answer["error"]["message"] == f"params.{argument}s is not known; did you mean {argument}?"


NUMBERS = ["null", '"1"', "true", "1.5", "1e30", "[]", "{}", "9223372036854775808", "-1"]
BOUNDED = ["ns.types", "streams.recent", "messages.search"]


@pytest.mark.parametrize("method,option", [(method, option) for method in BOUNDED
                                           for option in ("position", "limit", "scanLimit")
                                           if (method, option) != ("ns.types", "limit")])
def test_numbers_must_be_integers_in_range(client, method, option):
    for value in NUMBERS + ([] if option == "position" else ["0", "1001" if option == "limit" else "100001"]):
        error = client.refused_body(f'["{method}",{{"{option}":{value}}}]')
        assert error.status == 400 and "options." + option in error.message, (value, error)


@pytest.mark.parametrize("method", BOUNDED)
def test_other_options_and_what_is_none_are_refused(client, method):
    for options in (1, "x", [], None, True):
        refused(client, "options must", method, options)
    refused(client, "options.positon is not known; did you mean position?", method, {"positon": 1})
    refused(client, "options.surplus is not known; known are", method, {"surplus": 1})
    refused(client, "options.category", method, {"category": 7})


@pytest.mark.parametrize("options,words", [
    ({"types": "T"}, "options.types must be an array of strings"), ({"types": [1]}, "options.types"),
    ({"since": "yesterday"}, ["options.since must be a time", '"yesterday"']), ({"since": 5}, "options.since"),
    ({"until": "2026-13-01T00:00:00Z"}, ["options.until must be a time", "2026-13-01"]),
    ({"until": None}, "options.until must not be null"),
    ({"where": []}, "options.where must be an object"), ({"where": {}}, "options.where must have path and value"),
    ({"where": {"path": ["data"]}}, "options.where must have path and value"),
    ({"where": {"path": "data", "value": 1}}, "options.where.path must be an array"),
    ({"where": {"path": [], "value": 1}}, "path"),
    ({"where": {"path": ["type"], "value": 1}}, ["path", "data", "metadata", "type"]),
    ({"where": {"path": ["data", None], "value": 1}}, "path"),
    ({"where": {"path": ["data", ["x"]], "value": 1}}, "options.where.path must be an array"),
    ({"where": {"path": ["data"] + ["x"] * 1000, "value": 1}}, "path has 1001 steps, of at most 1000"),
    ({"where": {"path": ["data"], "value": 1, "Value": 2}}, "options.where.Value is not known; did you mean value?"),
    ({"stream": ""}, "options.stream must not be empty"), ({"stream": "x" * 2001}, "options.stream is too long"),
    ({"stream": "s-1", "category": "s"}, "stream and category exclude each other"),
    ({"direction": "up"}, ["direction", '"up"', "forward", "backward"]), ({"direction": 1}, "options.direction"),
    ({"where": {"path": ["data", "\0"], "value": 1}}, "cannot be stored"), ], ids=lambda value: str(value)[:50])
def test_a_search_for_what_can_not_be_is_refused(client, options, words):
    refused(client, words, "messages.search", options)


@pytest.mark.parametrize("method", ["stream.get", "category.get"])
@pytest.mark.parametrize("direction", ["", "Backward", "back", 1, True, [], {}, None])
def test_a_direction_that_is_none_is_refused_and_named(client, method, direction):
    refused(client, "options.direction must", method, "s", {"direction": direction})


# By id

def test_a_message_by_its_id_has_eight_parts_and_is_found_in_its_namespace_only(client, server):
    id = new_id()
    client.call("stream.write", "s-1", {"type": "T", "data": {"big": 12345678901234567890}, "metadata": {"m": 1}},
                {"id": id})
    body = client.post(["message.get", id.upper()]).body
    assert b"12345678901234567890" in body
    message = json.loads(body)
    assert message[:7] == [id, "s-1", "T", 0, 1, {"big": 12345678901234567890}, {"m": 1}]
    assert message[7] == client.call("stream.get", "s-1")[0][6]
    assert client.post(["message.get", new_id()]).body == b"null"
    assert server.client(token_for("other " + new_id())).call("message.get", id) is None
    named = client.post({"jsonrpc": "2.0", "id": 1, "method": "message.get", "params": {"id": id}}).json
    assert named["result"] == message


def test_a_message_of_five_megabytes_is_answered_whole(client):
    id = new_id()
    text = "é" * 2_500_000
    client.call("stream.write", "s-1", {"type": "T", "data": {"text": text}}, {"id": id})
    assert client.call("message.get", id)[5] == {"text": text}


# By time

def test_the_place_of_a_time_is_where_its_messages_begin(client):
    assert client.call("position.at", "2026-01-01T00:00:00Z") == {"position": 1, "head": 0}
    fill(client, "s-1", 5)
    client.write("s-2")
    messages = client.call("category.get", "")
    for message in messages:
        first = next(each for each in messages if each[7] >= message[7])
        assert client.call("position.at", message[7]) == {"position": first[4], "head": 6}
    assert client.call("position.at", "1970-01-01T00:00:00Z") == {"position": 1, "head": 6}
    assert client.call("position.at", "2999-01-01T00:00:00+02:00") == {"position": 7, "head": 6}
    later = datetime.datetime.fromisoformat(messages[-1][7][:19]) + datetime.timedelta(seconds=2)
    assert client.call("position.at", later.isoformat() + "Z")["position"] == 7


# Backward

def test_pages_from_the_end_are_those_from_the_start_turned_round(client):
    fill(client, "s-1", 5)
    fill(client, "s-2", 5)
    fill(client, "s-1", 5)
    for method, name in (("stream.get", "s-1"), ("category.get", "s"), ("category.get", "")):
        forward = client.call(method, name)
        assert client.call(method, name, {"direction": "backward"}) == forward[::-1]
        assert client.call(method, name, {"direction": "forward"}) == forward
        assert client.call(method, name, {"direction": "backward", "batchSize": 3}) == forward[:-4:-1]
        place = 2 if method == "stream.get" else 4
        assert client.call(method, name, {"direction": "backward", "position": 4}) == \
            [each for each in forward[::-1] if each[place] <= 4]
        position = 3 if method == "stream.get" else 4
        assert client.call(method, name, {"direction": "backward", "globalPosition": 12}) == \
            [each for each in forward[::-1] if each[position] <= 12]
        typed = client.call(method, name, {"direction": "backward", "types": ["T1"]})
        assert typed == [each for each in forward[::-1] if "T1" in each[1:3]]
    assert client.call("stream.get", "none", {"direction": "backward"}) == []
    assert client.call("stream.get", "s-1", {"direction": "backward", "batchSize": 0}) == []
    assert client.call("stream.get", "s-1", {"direction": "backward", "position": -1}) == []


def test_a_long_answer_backward_is_whole(client):
    """It comes in pages of a MiB."""
    text = "x" * 20_000
    for _ in range(3):
        client.call("stream.append", "s-1", [{"type": "T", "data": {"text": text}} for _ in range(100)])
    for options in ({}, {"globalPosition": 290}, {"position": 250}, {"types": ["T"]}):
        for method, name in (("stream.get", "s-1"), ("category.get", "s"), ("category.get", "")):
            read = client.call(method, name, {"direction": "backward", "batchSize": -1, **options})
            top = options.get("globalPosition", options.get("position", 300))
            if method == "stream.get" and "position" in options:
                top += 1  # a stream's begin at 0
            assert [each[-4] for each in read] == list(range(top, 0, -1))


# What is new, and what there is

def test_streams_by_their_last_message_are_each_listed_once(client):
    for n in range(30):
        client.write(f"s-{n % 7}")
        client.write(f"t-{n % 3}")
    listed, position, calls = [], None, 0
    while True:
        options = {"limit": 2, "scanLimit": 5}
        if position is not None:
            options["position"] = position
        page = client.call("streams.recent", options)
        assert page["scanned"] <= 5 and len(page["streams"]) <= 2
        listed += page["streams"]
        position, calls = page["next"], calls + 1
        if position is None:
            break
    assert len(listed) == len({each["stream"] for each in listed}) == 10
    assert [each["globalPosition"] for each in listed] == \
        sorted((each["globalPosition"] for each in listed), reverse=True)
    for each in listed:
        last = client.call("stream.last", each["stream"])
        assert (each["version"], each["globalPosition"], each["lastActivity"]) == (last[2], last[3], last[6])
    assert {each["stream"] for each in client.call("streams.recent", {"category": "t"})["streams"]} == \
        {"t-0", "t-1", "t-2"}
    assert client.call("streams.recent", {"category": ""}) == client.call("streams.recent")
    assert client.call("streams.recent", {"category": "none"})["streams"] == []


def test_types_are_counted_among_the_newest(client):
    assert client.call("ns.types") == {"types": [], "scanned": 0, "next": None}
    fill(client, "s-1", 9, types=3)
    client.write("t-1", type="Rare")
    found = client.call("ns.types")
    assert found == {"types": [
        {"type": "T0", "messageCount": 3, "lastGlobalPosition": 7},
        {"type": "T1", "messageCount": 3, "lastGlobalPosition": 8},
        {"type": "T2", "messageCount": 3, "lastGlobalPosition": 9},
        {"type": "Rare", "messageCount": 1, "lastGlobalPosition": 10}], "scanned": 10, "next": None}
    assert client.call("ns.types", {"category": "t"})["types"] == found["types"][3:]
    assert client.call("ns.types", {"category": ""}) == found
    part = client.call("ns.types", {"scanLimit": 4})
    assert (part["scanned"], part["next"]) == (4, 6)
    rest = client.call("ns.types", {"scanLimit": 100, "position": 6})
    assert (rest["scanned"], rest["next"]) == (6, None)


# Search

def test_a_search_goes_on_where_it_stopped_and_finds_each_once(client):
    fill(client, "s-1", 50, types=5)
    found, position, scanned = [], None, 0
    while True:
        options = {"types": ["T3"], "scanLimit": 7, "limit": 2}
        if position is not None:
            options["position"] = position
        page = client.call("messages.search", options)
        found += page["messages"]
        scanned += page["scanned"]
        assert page["scanned"] <= 7
        position = page["next"]
        if position is None:
            break
    assert scanned == 50
    assert [each[4] for each in found] == [n for n in range(50, 0, -1) if n % 5 == 4]
    assert found[0] == client.call("message.get", found[0][0])


@pytest.mark.parametrize("path,value,n", [
    (["data", "a"], 1, [0, 1]), (["data", "a"], 1.0, [0, 1]), (["data", "a"], "1", [2]), (["data", "a"], None, [3]),
    (["data", "a", "b"], [1, {"c": None}], [4]), (["data", "a", "b", "1"], {"c": None}, [4]),
    (["data", "a", "b", 0], 1, [4]), (["data", "a", "b", "-1", "c"], None, [4]), (["data"], {"a": None}, [3]),
    (["metadata", "user"], "ann", [2]), (["metadata", "a"], 1, []), (["data", "none"], None, []),
    (["data", "a"], True, []), ], ids=str)
def test_a_value_is_found_where_the_path_leads(client, path, value, n):
    stored = [({"a": 1}, None), ({"a": 1.00}, None), ({"a": "1"}, {"user": "ann"}), ({"a": None}, None),
              ({"a": {"b": [1, {"c": None}]}}, {})]
    for data, metadata in stored:
        client.write("s-1", data, metadata=metadata)
    page = client.call("messages.search", {"where": {"path": path, "value": value}, "direction": "forward"})
    assert [each[3] for each in page["messages"]] == n


def test_a_search_by_time_stream_and_direction(client):
    fill(client, "s-1", 3)
    fill(client, "s-2", 3)
    times = [each[7] for each in client.call("category.get", "")]
    search = lambda **options: [each[4] for each in client.call("messages.search", options)["messages"]]  # noqa: E731
    assert search(direction="forward") == [1, 2, 3, 4, 5, 6] and search() == [6, 5, 4, 3, 2, 1]
    assert search(stream="s-2") == [6, 5, 4] and search(stream="s-1", direction="forward") == [1, 2, 3]
    assert search(category="s", limit=2) == [6, 5] and search(category="other") == []
    assert search(stream="s-2", position=5) == [5, 4]
    assert search(position=3, direction="forward") == [3, 4, 5, 6]
    assert search(since=times[3]) == [n for n in range(6, 0, -1) if times[n - 1] >= times[3]]
    assert search(until=times[3]) == [n for n in range(6, 0, -1) if times[n - 1] < times[3]]
    assert search(since="2999-01-01T00:00:00Z") == []


def test_an_answer_of_a_search_is_bounded_in_bytes(client):
    client.call("stream.append", "s-1", [{"type": "T", "data": {"text": "x" * 300_000}} for _ in range(10)])
    page = client.call("messages.search")
    assert 3 <= len(page["messages"]) <= 5 and page["next"] == 10 - len(page["messages"])


# Claims

def test_open_claims_are_shown_the_oldest_first_with_who_has_them(client):
    for n in range(4):
        client.call("stream.append", f"s-{n}", [MESSAGE, MESSAGE])
    client.call("consumer.create", "billing", {"category": "s"})
    assert client.call("consumer.claims", "billing") == {"claims": []}
    first = client.call("consumer.next", "billing", {"max": 2, "member": "ann", "leaseMs": 60000})
    second = client.call("consumer.next", "billing", {"max": 4})
    claims = client.call("consumer.claims", "billing")["claims"]
    assert [each["claim"] for each in claims] == [first["claim"], second["claim"]]
    assert [(each["member"], each["messages"]) for each in claims] == [
        ("ann", len(first["messages"])), (None, len(second["messages"]))]
    assert claims[0]["globalPosition"] == first["messages"][0][4]
    assert 0 <= claims[0]["ageMs"] < 60000 and 0 < claims[0]["expiresInMs"] <= 60000
    assert client.call("consumer.claims", "billing", {"limit": 1})["claims"][0]["claim"] == first["claim"]
    client.call("consumer.settle", "billing", {"claim": first["claim"]})
    assert [each["claim"] for each in client.call("consumer.claims", "billing")["claims"]] == [second["claim"]]
    for limit in (0, 1001, "1", 1.5):
        refused(client, "options.limit", "consumer.claims", "billing", {"limit": limit})
    refused(client, "cursor", "consumer.claims", "billing", {"cursor": "x"})


# A namespace's figures

@pytest.fixture(scope="module")
def held():
    folder = temporary_folder()
    cluster = Cluster(folder + "/pg", ["max_prepared_transactions=5"]).create().start()
    yield cluster
    cluster.stop("immediate")


def test_the_figures_follow_what_is_written_and_who_holds_readers_back(held, start):
    server = start("--database", held.conninfo(), "--token", ZERO_TOKEN, "--workers", "2", token=ZERO_TOKEN)
    client = server.client()
    empty = client.call("sys.stats")
    assert (empty["namespace"], empty["head"], empty["lastGlobalPosition"], empty["messageCount"],
            empty["heldBack"]) == ("default", 0, 0, 0, None)
    assert empty["workers"] == 2 and empty["version"] == client.call("sys.version")
    fill(client, "s-1", 3)
    forgotten = held.connect()
    sql(forgotten, "BEGIN")
    sql(forgotten, "SELECT millrace.append('s-2', 'T', '{}')")
    fill(client, "s-1", 2)
    stats = wait_until(lambda: (found := client.call("sys.stats"))["heldBack"] and found, "readers are held back")
    assert (stats["head"], stats["lastGlobalPosition"], stats["heldBack"]["from"]) == (3, 6, 4)
    assert stats["heldBack"]["seconds"] >= 0 and stats["uptimeMs"] >= empty["uptimeMs"]
    wait_until(lambda: client.call("sys.stats")["heldBack"]["seconds"] > stats["heldBack"]["seconds"], "it grows")
    assert [each[4] for each in client.call("category.get", "", {"direction": "backward"})] == [3, 2, 1]
    assert client.call("position.at", "2999-01-01T00:00:00Z") == {"position": 7, "head": 6}
    sql(forgotten, "COMMIT")
    stats = wait_until(lambda: (found := client.call("sys.stats"))["heldBack"] is None and found, "nobody does")
    assert (stats["head"], stats["lastGlobalPosition"], stats["messageCount"]) == (6, 6, 6)


def test_a_token_sees_the_figures_of_its_own_namespace_only(secured, admin):
    token = token_for("figures " + new_id())
    name = base64.urlsafe_b64decode(token.split("_")[1] + "==").decode()
    admin.call("ns.create", name, {"token": token})
    tenant = secured.client(token)
    tenant.write("s-1")
    assert tenant.call("sys.stats")["namespace"] == name and tenant.call("sys.stats")["head"] == 1
    for method in ("sys.blocked", "sys.connections"):
        error = tenant.refused(method)
        assert (error.status, error.code) == (403, "AUTH_UNAUTHORIZED") and method in error.message
