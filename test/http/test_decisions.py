"""Queries over tags and types, and appends on condition, over HTTP."""
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from deciding import message, positions, tagged, unless
from store import new_id

MANY = 300  # messages that make several pages, with PADDING in each
PADDING = "x" * 12_000


# Bad input

QUERIES = [
    (None, "object"), ([], "object"), ("all", "object"), ({}, "items"), ({"items": []}, "must not be empty"),
    ({"items": [{}]}, "neither types nor tags"), ({"items": {"tags": ["a"]}}, "must be an array"),
    ({"items": [{"tags": []}]}, "must not be empty"), ({"items": [{"tags": [""]}]}, "must not be empty"),
    ({"items": [{"tags": [7]}]}, "must be a string"), ({"items": [{"tags": "a"}]}, "must be an array"),
    ({"items": [{"types": [None]}]}, "must be a string"), ({"items": [{"tag": ["a"]}]}, "no member"),
    ({"all": False}, "must be true"), ({"all": True, "items": [{"tags": ["a"]}]}, "either"),
    (tagged(*map(str, range(21))), "at most 20"), ({"items": [{"tags": ["a"]}] * 101}, "at most 100"),
    (tagged(types=map(str, range(101))), "at most 100"), (tagged("x" * 2001), "too long"),
    ({"items": [{"tags": list("abcde"), "types": list(map(str, range(100)))}]}, "at most 500"),
]


@pytest.mark.parametrize("query, said", QUERIES)
def test_a_query_that_is_none_is_refused_by_name(decider, query, said):
    error = decider.refused("query.get", query)
    assert (error.status, error.code) == (400, "INVALID_REQUEST")
    assert "query" in error.message and said in error.message


@pytest.mark.parametrize("query, said", [(query, said) for query, said in QUERIES if isinstance(query, dict)])
def test_a_condition_on_such_a_query_is_refused_everywhere(decider, query, said):
    for call in (["stream.write", "s", message(), {"condition": unless(query)}],
                 ["stream.append", "s", [message()], {"condition": [unless({"all": True}), unless(query)]}],
                 ["streams.append", [{"stream": "s", "messages": [message()]}], unless(query)]):
        error = decider.refused(*call)
        assert (error.status, error.code) == (400, "INVALID_REQUEST"), call
        assert "condition" in error.message and said in error.message
    assert positions(decider) == []


@pytest.mark.parametrize("condition", [
    None, 7, "x", [], {}, [{}], [7], {"after": 1}, {"failIfEventsMatch": None}, {**unless(tagged("a")), "x": 1},
    unless(tagged("a"), -1), unless(tagged("a"), 1.5), unless(tagged("a"), "1"), unless(tagged("a"), 2**63),
    {"failIfEventsMatch": tagged("a"), "after": None}, {"stream": "s"}, {"stream": "", "expectedVersion": 0},
    {"stream": "s", "expectedVersion": -2}, {"stream": "s", "expectedVersion": 0, "after": 1},
    [unless(tagged("a"))] * 11, unless(tagged("\0")), unless(tagged("\ud800")),
])
def test_what_is_no_condition_is_refused(decider, condition):
    for call in (["stream.write", "s", message(), {"condition": condition}],
                 ["stream.append", "s", [message()], {"condition": condition}],
                 ["streams.append", [{"stream": "s", "messages": [message()]}], condition]):
        error = decider.refused(*call)
        assert (error.status, error.code) == (400, "INVALID_REQUEST") and "condition" in error.message, error.message
    assert positions(decider) == []


def test_a_condition_with_what_cannot_be_stored_is_refused(decider):
    for text in ('"\\u0000"', '"\\ud800"'):
        reply = decider.post('["stream.write","s",{"type":"T","data":{}},{"condition":{"failIfEventsMatch":{"items":'
                             '[{"tags":[' + text + ']}]}}}]')
        assert (reply.status, reply.error["code"]) == (400, "INVALID_REQUEST")


def test_a_bad_condition_is_its_own_requests_affair(decider):
    """Of those that go to Postgres together."""
    conditions = [unless(tagged("a")), unless(tagged()), {"x": 1}, unless(tagged("b"), 10**6)]
    batch = [{"jsonrpc": "2.0", "id": n, "method": "stream.write", "params": ["s", message(), {"condition": condition}]}
             for n, condition in enumerate(conditions)]
    answers = {each["id"]: each for each in decider.post(batch).json}
    assert answers[0]["result"] == {"position": 0, "globalPosition": 1}
    assert {answers[n]["error"]["data"]["code"] for n in (1, 2, 3)} == {"INVALID_REQUEST"}
    assert "last global position given out" in answers[3]["error"]["message"]


@pytest.mark.parametrize("tags", [None, "a", {}, [], [""], [7], [None], ["x" * 501], ["x"] * 65, ["\0"], ["a", ["b"]]])
def test_what_are_no_tags_is_refused(decider, tags):
    for call in (["stream.write", "s", message(tags=tags)], ["stream.append", "s", [message(), message(tags=tags)]],
                 ["streams.append", [{"stream": "s", "messages": [message(tags=tags)]}]]):
        error = decider.refused(*call)
        assert (error.status, error.code) == (400, "INVALID_REQUEST") and "tags" in error.message
    assert positions(decider) == []


def test_tags_given_twice_are_refused(decider):
    for metadata in ({"tags": ["b"]}, {"tags": None}, {"x": 1, "tags": 7}):
        error = decider.refused("stream.write", "s", message("a", metadata=metadata))
        assert error.status == 400 and "twice" in error.message


def test_a_stream_can_be_left_out_only_with_tags(decider):
    assert "stream" in decider.refused("stream.write", None, message()).message
    assert "stream" in decider.refused("stream.append", None, [message("a")]).message
    assert "stream" in decider.refused("streams.append", [{"messages": [message("a")]}]).message
    reply = decider.post({"jsonrpc": "2.0", "id": 1, "method": "stream.write", "params": {"message": message()}}).json
    assert reply["error"]["code"] == -32602


@pytest.mark.parametrize("options", [
    {"position": "1"}, {"position": 1.5}, {"batchSize": 10_001}, {"batchSize": -2}, {"direction": "up"},
    {"batchsize": 1}, {"position": None}, {"types": ["T"]}, 7, None,
])
def test_options_that_query_get_has_not_are_refused(decider, options):
    error = decider.refused("query.get", {"all": True}, options)
    assert (error.status, error.code) == (400, "INVALID_REQUEST") and "options" in error.message


def test_without_the_index_it_is_said_how_to_get_one(client):
    client.write("s")
    for call in (["query.get", tagged("a")], ["stream.write", "s", message(), {"condition": unless(tagged("a"))}]):
        error = client.refused(*call)
        assert (error.status, error.code) == (400, "INVALID_REQUEST") and "millrace.index_tags()" in error.message
    batch = [{"jsonrpc": "2.0", "id": n, "method": "stream.write", "params": ["s", message(), *options]}
             for n, options in enumerate([[], [{"condition": unless(tagged("a"))}], []])]
    assert [("error" in each) for each in sorted(client.post(batch).json, key=lambda each: each["id"])] == [0, 1, 0]


@pytest.mark.parametrize("tags", [None, 1, "true", {}])
def test_the_option_of_ns_create_is_a_boolean(owner, tags):
    assert "options.tags" in owner.refused("ns.create", "tags " + new_id(), {"tags": tags}).message


# Tags and queries

def test_tags_are_stored_in_the_metadata(decider):
    odd = ["a", "a", "ä", '"\\', "x" * 500, "日" * 166]
    decider.call("stream.write", "s", message(*odd))
    decider.call("stream.write", "s", message("b", metadata={"x": {"tags": 1}}))
    decider.call("stream.append", "s", [message(*map(str, range(64))), message()])
    stored = [each[5] for each in decider.call("stream.get", "s")]
    assert stored == [{"tags": odd}, {"tags": ["b"], "x": {"tags": 1}}, {"tags": list(map(str, range(64)))}, None]
    for tag in set(odd):
        assert [each[3] for each in decider.call("query.get", tagged(tag))["messages"]] == [0]


def test_a_trace_and_tags_go_together(server, decider):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for metadata in (None, {}, {"x": 1}):
        body = json.dumps(["stream.write", "s", message("a", **({} if metadata is None else {"metadata": metadata}))])
        reply = decider.request("POST", "/rpc", body, {"traceparent": trace})
        assert reply.status == 200, reply.body
    for each, metadata in zip(decider.call("stream.get", "s"), ({}, {}, {"x": 1})):
        assert each[5]["tags"] == ["a"] and {**metadata, **each[5]} == each[5]


def test_a_message_without_a_stream_gets_one_of_its_id(decider):
    given = new_id()
    for _ in range(2):
        answer = decider.call("stream.write", None, message("a"), {"id": given, "expectedVersion": -1})
        assert answer == {"position": 0, "globalPosition": 1}
    params = {"message": message("a")}
    assert "result" in decider.post({"jsonrpc": "2.0", "id": 1, "method": "stream.write", "params": params}).json
    first, second = decider.call("query.get", tagged("a"))["messages"]
    assert first[:2] == [given, "tagged-" + given] and second[1] == "tagged-" + second[0]


def test_a_query_is_items_of_any_type_and_all_tags(decider):
    for n, (type, tags) in enumerate([("A", "x"), ("B", "xy"), ("A", "y"), ("C", ""), ("B", "yx")]):
        decider.call("stream.write", f"s-{n}", message(*tags, type=type))

    def found(query, **options):
        return [each[4] for each in decider.call("query.get", query, options)["messages"]]

    assert found(tagged("x")) == [1, 2, 5] and found(tagged("x", "y")) == [2, 5]
    assert found(tagged("x", types=["A", "C"])) == [1] and found(tagged(types=["C", "B"])) == [2, 4, 5]
    assert found({"items": [{"tags": ["y"], "types": ["A"]}, {"types": ["C"]}]}) == [3, 4]
    assert found({"all": True}) == [1, 2, 3, 4, 5] and found(tagged("nobody")) == []
    assert found(tagged("x"), position=2) == [2, 5] and found(tagged("x"), batchSize=2) == [1, 2]
    assert found(tagged("x"), direction="backward") == [5, 2, 1]
    assert found(tagged("x"), direction="backward", position=4, batchSize=1) == [2]
    assert found(tagged("x"), batchSize=0) == [] and found(tagged("x"), batchSize=-1) == [1, 2, 5]
    everything = decider.call("category.get", "")
    assert decider.call("query.get", {"all": True})["messages"] == everything


def test_by_json_rpc_the_arguments_have_names(decider):
    decider.call("stream.write", "s", message("a"))
    params = {"query": tagged("a"), "options": {"batchSize": 5}}
    answer = decider.post({"jsonrpc": "2.0", "id": 1, "method": "query.get", "params": params}).json["result"]
    assert (len(answer["messages"]), answer["head"], answer["more"]) == (1, 1, False)
    params = {"streams": [{"stream": "s", "messages": [message()]}], "condition": unless(tagged("a"))}
    answer = decider.post({"jsonrpc": "2.0", "id": 1, "method": "streams.append", "params": params}).json["error"]
    assert answer["data"] == {"code": "APPEND_CONDITION_FAILED",
                              "details": {"after": 0, "position": 1, "stream": "s", "type": "T"}}


def test_head_and_more_say_how_far_an_answer_goes(decider):
    def ends(query, **options):
        answer = decider.call("query.get", query, options)
        return answer["head"], answer["more"]

    assert ends(tagged("a")) == (0, False)
    for tag in "aabab":
        decider.call("stream.write", "s", message(tag))
    assert ends(tagged("a")) == (5, False) and ends(tagged("nobody")) == (5, False)
    assert ends(tagged("a"), batchSize=2) == (2, True) and ends(tagged("a"), batchSize=3) == (5, False)
    assert ends(tagged("a"), position=3, batchSize=1) == (5, False)
    assert ends(tagged("a"), direction="backward", batchSize=1) == (5, True)
    assert ends(tagged("a"), direction="backward") == (5, False)


def test_an_answer_of_many_pages_is_whole(decider):
    for _ in range(MANY // 50):
        decider.call("stream.append", "s", [message("a", data={"text": PADDING}) for _ in range(50)])
        decider.call("stream.write", "s", message("b"))
    for options in ({"batchSize": -1}, {"batchSize": MANY}, {"batchSize": -1, "direction": "backward"}):
        answer = decider.call("query.get", tagged("a"), options)
        read = [each[4] for each in answer["messages"]]
        assert read == sorted(read, reverse="direction" in options) and len(set(read)) == MANY
        assert answer["head"] == MANY + MANY // 50 and not answer["more"]
    answer = decider.call("query.get", tagged("a"), {"batchSize": MANY - 1})
    assert (len(answer["messages"]), answer["head"], answer["more"]) == (MANY - 1, answer["messages"][-1][4], True)


# Conditions

def test_a_condition_that_fails_says_at_which_message(decider):
    decider.call("stream.write", "account-1", message("a", type="Opened"))
    condition = unless(tagged("a"))
    for call in (["stream.write", "s", message("a"), {"condition": condition}],
                 ["stream.append", "s", [message("a")], {"condition": [unless(tagged("b")), condition]}],
                 ["streams.append", [{"stream": "s", "messages": [message("a")]}], condition]):
        error = decider.refused(*call)
        assert (error.status, error.code) == (409, "APPEND_CONDITION_FAILED")
        assert error.details == {"after": 0, "position": 1, "stream": "account-1", "type": "Opened"}
        assert "account-1" in error.message
    assert decider.call("stream.write", "s", message("a"), {"condition": unless(tagged("a"), 1)})["globalPosition"] == 2
    assert decider.call("stream.append", "s", [message("a")], {"condition": unless(tagged("b"))})["globalPosition"] == 3
    assert decider.call("streams.append", [{"stream": "s", "messages": [message("a")]}],
                        unless(tagged("a"), 3))[0]["globalPosition"] == 4


def test_names_too_long_for_the_details_are_left_out(decider):
    decider.call("stream.write", "s" * 2000, message("a", type="\u0001" * 2000))
    error = decider.refused("stream.write", "s", message("a"), {"condition": unless(tagged("a"))})
    assert error.status == 409 and error.details == {"after": 0, "position": 1}


def test_a_condition_may_be_on_the_version_of_another_stream(decider):
    decider.call("stream.write", "a", message())
    for version, status in ((0, 200), (1, 409), (-1, 409)):
        condition = [{"stream": "a", "expectedVersion": version}, unless(tagged("t"), 0)]
        reply = decider.post(["stream.write", "b", message(), {"condition": condition}])
        assert reply.status == status
        if status == 409:
            assert reply.error["code"] == "STREAM_VERSION_CONFLICT"
            assert reply.error["details"] == {"expected": version, "actual": 0}


def test_a_retry_is_answered_from_what_is_stored(decider):
    options = {"id": new_id(), "condition": unless(tagged("a"))}
    first = decider.call("stream.write", "s", message("a"), options)
    assert decider.call("stream.write", "s", message("a"), options) == first
    for other in (message("a", data={"n": 1}), message("b"), message("a", "b"), message(metadata={"tags": "a"})):
        assert decider.refused("stream.write", "s", other, options).code == "MESSAGE_ID_CONFLICT"
    assert decider.call("stream.write", "s", message(metadata={"other": 1}), options) == first, "no tags are given"
    messages = [message("a", id=new_id()) for _ in range(2)]
    condition = {"condition": unless(tagged("a"), 1)}
    answer = decider.call("stream.append", "s", messages, condition)
    assert decider.call("stream.append", "s", messages, condition) == answer
    again = [messages[0], message("a", id=new_id())]
    assert decider.refused("stream.append", "s", again, condition).code == "MESSAGE_ID_CONFLICT"
    key = {"Idempotency-Key": '"k"', "Content-Type": "application/json"}
    body = json.dumps(["stream.write", None, message("b"), {"condition": unless(tagged("b"))}])
    assert decider.request("POST", "/rpc", body, key).json == decider.request("POST", "/rpc", body, key).json
    assert len(decider.call("query.get", tagged("b"))["messages"]) == 1


def test_of_many_clients_on_one_boundary_one_wins_each_round(decider, others):
    clients = [others() for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        for turn in range(10):
            query = tagged("seat:" + str(turn), types=["Taken"])
            barrier = threading.Barrier(16)

            def race(client):
                head = client.call("query.get", query)["head"]
                barrier.wait(60)
                return client.post(["stream.write", None, message("seat:" + str(turn), type="Taken"),
                                    {"condition": unless(query, head)}])

            replies = list(pool.map(race, clients))
            assert sorted(each.status for each in replies) == [200] + [409] * 15
            winner = next(each.json["globalPosition"] for each in replies if each.status == 200)
            assert {each.error["details"]["position"] for each in replies if each.status == 409} == {winner}
    assert positions(decider) == list(range(1, 11))


def test_two_of_a_batch_on_one_boundary_and_a_third_that_is_not(decider):
    for turn in range(5):
        before = len(positions(decider))
        batch = [{"jsonrpc": "2.0", "id": n, "method": "stream.write",
                  "params": [f"s-{n}", message(tag), {"condition": unless(tagged(tag))}]}
                 for n, tag in enumerate([f"one {turn}", f"one {turn}", f"other {turn}"])]
        answers = {each["id"]: each for each in decider.post(batch).json}
        assert answers[0]["result"]["globalPosition"] == before + 1
        details = {"after": 0, "position": before + 1, "stream": "s-0", "type": "T"}
        assert answers[1]["error"]["data"] == {"code": "APPEND_CONDITION_FAILED", "details": details}
        assert answers[2]["result"]["globalPosition"] == before + 2
    assert positions(decider) == list(range(1, 11))


def test_conditions_apart_never_meet(decider, others):
    clients = [others() for _ in range(8)]

    def write(pair):
        number, client = pair
        head = 0
        for _ in range(20):
            reply = client.post(["stream.write", f"s-{number}", message(f"t {number}"),
                                 {"condition": unless(tagged(f"t {number}"), head)}])
            assert reply.status == 200, reply.body
            head = reply.json["globalPosition"]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, enumerate(clients)))
    assert positions(decider) == list(range(1, 161))
