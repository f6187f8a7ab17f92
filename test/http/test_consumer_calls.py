"""consumer.* over HTTP: what each method takes, answers and refuses.  What waits is in test_consumers_waiting.py."""
import base64
import shutil
import time

import pytest

from store import ZERO_TOKEN, Cluster, new_id, temporary_folder, token_for, wait_until

METHODS = ["create", "delete", "list", "info", "next", "settle", "extend", "move", "streams", "claims", "unpark",
           "skip", "reset", "pause", "resume"]


def rpc2(client, method, *params):
    """A JSON-RPC call: its answer."""
    return client.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}).json


def fill(client, *streams):
    for stream in streams:
        client.write(stream, {"n": 1})


def consumer(client, name="billing", **options):
    client.call("consumer.create", name, options or {"category": "account"})
    return name


def places(answer):
    """(stream, position) of the messages of a claim."""
    return [(message[1], message[3]) for message in answer["messages"]]


def failed(stream, position, **more):
    return {"stream": stream, "position": position, **more}


# What is answered

def test_a_consumer_is_made_once_and_again_by_who_wants_the_same(client):
    assert client.call("consumer.create", "billing",
                       {"category": "account"}) == {"consumer": "billing", "created": True}
    assert client.call("consumer.create", "billing",
                       {"category": "account"}) == {"consumer": "billing", "created": False}
    error = client.refused("consumer.create", "billing", {"category": "other"})
    assert (error.status, error.code) == (409, "CONSUMER_EXISTS") and "billing" in error.message
    client.call("consumer.create", "all")
    assert [each["consumer"] for each in client.call("consumer.list")] == ["all", "billing"]
    assert client.call("consumer.delete", "billing") == {"consumer": "billing", "deleted": True}
    assert [each["consumer"] for each in client.call("consumer.list")] == ["all"]


def test_before_the_first_consumer_there_is_none(client):
    client.write("account-1")
    assert client.call("consumer.list") == []
    for method in METHODS:
        if method not in ("create", "list"):
            error = client.refused("consumer." + method, "billing", *full(method))
            assert (error.status, error.code) == (404, "CONSUMER_NOT_FOUND"), (method, error)
    client.call("consumer.create", "another")
    for method in METHODS:
        if method not in ("create", "list"):
            error = client.refused("consumer." + method, "billing", *full(method))
            assert (error.status, error.code) == (404, "CONSUMER_NOT_FOUND"), (method, error)


def full(method):
    """Options that a method can't do without."""
    given = {"settle": {"claim": 1}, "extend": {"claim": 1}, "move": {"from": 0, "to": 1},
             "skip": {"stream": "account-1", "position": 0}}
    return [given[method]] if method in given else []


def test_a_claim_has_messages_as_stream_get_answers_them_with_their_streams(client):
    client.write("account-1", {"a": 1}, metadata={"correlationStreamName": "x-1"})
    consumer(client)
    answer = client.call("consumer.next", "billing")
    assert answer["leaseMs"] == 30000 and answer["claim"] > 0 and "settled" not in answer and "retries" not in answer
    in_category = client.call("category.get", "account")
    assert answer["messages"] == in_category and answer["messages"][0][1] == "account-1"


def test_settle_and_next_in_one_round_trip(client):
    fill(client, "account-1", "account-2", "account-1")
    consumer(client)
    first = client.call("consumer.next", "billing", {"max": 2})
    assert places(first) == [("account-1", 0), ("account-2", 0)]
    second = client.call("consumer.next", "billing", {"settle": [{"claim": first["claim"]}, {"claim": 1 << 60}]})
    assert (second["settled"], second["lost"]) == ([first["claim"]], [1 << 60])
    assert places(second) == [("account-1", 1)]
    last = client.call("consumer.next", "billing", {"waitMs": 0, "settle": [{"claim": second["claim"]}]})
    assert last == {"claim": None, "messages": [], "settled": [second["claim"]], "lost": []}
    assert client.call("consumer.info", "billing")["lag"] == 0


def test_what_failed_comes_again_and_says_why(client):
    fill(client, "account-1", "account-1", "account-2")
    consumer(client)
    claim = client.call("consumer.next", "billing")
    settled = [{"claim": claim["claim"], "failed": [failed("account-1", 0, error="no \"luck\"", delayMs=0)]}]
    again = client.call("consumer.next", "billing", {"settle": settled})
    assert places(again) == [("account-1", 0)]
    assert again["retries"] == {"account-1": {"position": 0, "attempt": 2, "error": "no \"luck\""}}
    client.call("consumer.settle", "billing", {"claim": again["claim"]})
    assert places(client.call("consumer.next", "billing")) == [("account-1", 1)]


def test_parked_streams_are_listed_skipped_and_unparked(client):
    fill(client, "account-1", "account-2", "account-3", "account-1")
    consumer(client)
    claim = client.call("consumer.next", "billing")["claim"]
    assert client.call("consumer.info", "billing")["oldestClaimMs"] >= 0
    client.call("consumer.settle", "billing", {
        "claim": claim,
        "failed": [failed(f"account-{n}", 0, park=True, error=f"e{n}") for n in (1, 2)] +
        [failed("account-3", 0, delayMs=3600000)]
    })
    client.call("consumer.next", "billing", {"waitMs": 0})
    streams = client.call("consumer.streams", "billing")
    assert [(each["stream"], each["position"], each["parked"]) for each in streams] == [
        ("account-1", 0, True), ("account-2", 0, True), ("account-3", 0, False)]
    assert "retryInMs" not in streams[0] and "claim" not in streams[0]
    assert streams[0]["error"] == "e1" and 3500000 < streams[2]["retryInMs"] <= 3600000 * 1.2
    assert client.call("consumer.streams", "billing", {"parked": True}) == streams[:2]
    assert client.call("consumer.streams", "billing", {"parked": False})[0]["stream"] == "account-3"
    assert client.call("consumer.streams", "billing", {"limit": 1, "cursor": "account-1"}) == streams[1:2]
    info = client.call("consumer.info", "billing")
    assert "oldestClaimMs" not in info and info["claims"] == 0
    assert (info["parked"], info["retrying"], info["state"], info["lag"]) == (2, 1, "running", 1)
    error = client.refused("consumer.skip", "billing", {"stream": "account-1", "position": 1})
    assert (error.status, error.code) == (400, "INVALID_REQUEST")
    assert client.call("consumer.skip", "billing", {"stream": "account-1", "position": 0}) == {
        "stream": "account-1", "skipped": 0}
    assert client.call("consumer.unpark", "billing", {"stream": "account-2"}) == {"unparked": 1}
    assert client.call("consumer.unpark", "billing", {"stream": "account-2"}) == {"unparked": 0}
    assert sorted(places(client.call("consumer.next", "billing"))) == [("account-1", 1), ("account-2", 0)]


def test_release_gives_back_and_up_to_settles_a_part(client):
    fill(client, "account-1", "account-2", "account-3")
    consumer(client)
    claim = client.call("consumer.next", "billing")
    client.call("consumer.settle", "billing", {"claim": claim["claim"], "release": True})
    again = client.call("consumer.next", "billing")
    assert places(again) == places(claim) and "retries" not in again
    client.call("consumer.settle", "billing", {"claim": again["claim"], "upTo": again["messages"][0][4]})
    assert places(client.call("consumer.next", "billing")) == [("account-2", 0), ("account-3", 0)]


def test_a_settled_claim_is_lost_to_who_settles_or_extends_it_again(client):
    fill(client, "account-1")
    consumer(client)
    claim = client.call("consumer.next", "billing", {"leaseMs": 60000})
    assert claim["leaseMs"] == 60000
    assert client.call("consumer.extend", "billing", {"claim": claim["claim"], "leaseMs": 90000}) == {
        "claim": claim["claim"]}
    assert client.call("consumer.settle", "billing", {"claim": claim["claim"]}) == {"claim": claim["claim"]}
    for method in ("settle", "extend"):
        error = client.refused("consumer." + method, "billing", {"claim": claim["claim"]})
        assert (error.status, error.code) == (409, "CLAIM_LOST") and str(claim["claim"]) in error.message


def test_a_consumer_that_is_moved_by_hand(client):
    fill(client, "account-1")
    consumer(client, category="account", ordering="manual")
    assert client.call("consumer.move", "billing", {"from": 0, "to": 7}) == {"position": 7}
    error = client.refused("consumer.move", "billing", {"from": 0, "to": 8})
    assert (error.status, error.code) == (409, "CONSUMER_MOVED")
    assert client.call("consumer.info", "billing")["ceiling"] == 7
    assert client.refused("consumer.next", "billing").status == 400


def test_pause_resume_and_reset(client):
    fill(client, "account-1", "account-2")
    consumer(client)
    assert client.call("consumer.pause", "billing") == {"state": "paused"}
    assert client.call("consumer.next", "billing", {"waitMs": 0}) == {
        "claim": None, "state": "paused", "messages": []}
    assert client.call("consumer.resume", "billing") == {"state": "running"}
    claim = client.call("consumer.next", "billing")
    assert client.call("consumer.reset", "billing", {"position": claim["messages"][1][4]}) == {"consumer": "billing"}
    assert client.refused("consumer.settle", "billing", {"claim": claim["claim"]}).code == "CLAIM_LOST"
    again = client.call("consumer.next", "billing")
    assert places(again) == [("account-2", 0)] and again["claim"] > claim["claim"]


def test_where_a_consumer_begins(client):
    fill(client, "account-1")
    middle = client.write("account-2")["globalPosition"]
    client.call("consumer.create", "end", {"position": "end"})
    client.call("consumer.create", "start", {"position": "start"})
    client.call("consumer.create", "there", {"position": middle})
    client.call("consumer.create", "time", {"since": client.call("stream.last", "account-2")[-1]})
    client.write("account-3")
    streams = {name: [each[0] for each in places(client.call("consumer.next", name))]
               for name in ("end", "start", "there", "time")}
    assert streams == {"end": ["account-3"], "start": ["account-1", "account-2", "account-3"],
                       "there": ["account-2", "account-3"], "time": ["account-2", "account-3"]}


def test_json_rpc_answers_alike(client):
    fill(client, "account-1")
    assert rpc2(client, "consumer.create", "billing", {"category": "account"})["result"]["created"] is True
    claim = rpc2(client, "consumer.next", "billing")["result"]
    assert places(claim) == [("account-1", 0)]
    assert rpc2(client, "consumer.settle", "billing", {"claim": claim["claim"]})["result"] == {"claim": claim["claim"]}
    error = rpc2(client, "consumer.settle", "billing", {"claim": claim["claim"]})["error"]
    assert error["data"]["code"] == "CLAIM_LOST"
    named = client.post({"jsonrpc": "2.0", "id": 1, "method": "consumer.info", "params": {"consumer": "billing"}})
    assert named.json["result"]["consumer"] == "billing"
    assert rpc2(client, "consumer.info", "none")["error"]["data"]["code"] == "CONSUMER_NOT_FOUND"
    for method, answer in (("pause", {"state": "paused"}), ("resume", {"state": "running"}), ("streams", []),
                           ("unpark", {"unparked": 0}), ("reset", {"consumer": "billing"}),
                           ("delete", {"consumer": "billing", "deleted": True})):
        assert rpc2(client, "consumer." + method, "billing")["result"] == answer
    assert rpc2(client, "consumer.list")["result"] == []


def test_the_same_request_gets_the_same_claim(client):
    fill(client, "account-1", "account-2")
    consumer(client)
    request = new_id()
    first = client.call("consumer.next", "billing", {"max": 1, "request": request})
    assert client.call("consumer.next", "billing", {"max": 1, "request": request}) == first
    assert places(client.call("consumer.next", "billing", {"max": 1})) == [("account-2", 0)]


# What is refused

BAD = [("next", {"max": 0}, "max"), ("next", {"max": -5}, "-5"), ("next", {"max": 1001}, "1001"),
       ("next", {"max": 1.5}, "1.5"), ("next", {"max": 1e30}, "max"), ("next", {"max": "5"}, "max"),
       ("next", {"max": None}, "max"), ("next", {"maxBytes": 0}, "0 bytes"), ("next", {"maxBytes": 8388609}, "8388609"),
       ("next", {"leaseMs": 999}, "999"), ("next", {"leaseMs": 43200001}, "43200001"), ("next", {"leaseMs": 0}, "0"),
       ("next", {"waitMs": -1}, "waitMs"), ("next", {"waitMs": 60001}, "waitMs"), ("next", {"waitMs": "1"}, "waitMs"),
       ("next", {"member": 1}, "member"), ("next", {"member": "x" * 201}, "member"), ("next", {"request": "x"}, "x"),
       ("next", {"request": 1}, "request"), ("next", {"settle": {}}, "settle"), ("next", {"settle": [1]}, "settle"),
       ("next", {"settle": [{}]}, "claim"), ("next", {"settle": [{"claim": "1"}]}, "claim"),
       ("next", {"settle": [{"claim": 1.5}]}, "claim"), ("next", {"settle": [{"claim": 1, "fialed": []}]}, "fialed"),
       ("next", {"settle": [{"claim": 1, "failed": {}}]}, "failed"),
       ("next", {"settle": [{"claim": 1, "failed": [{}]}]}, "failed"),
       ("next", {"settle": [{"claim": 1, "upTo": -1}]}, "upTo"),
       ("next", {"settle": [{"claim": 1, "release": "yes"}]}, "release"),
       ("next", {"waitms": 5}, "waitMs"), ("next", {"lease": 5}, "lease"), ("next", {"requestId": new_id()}, "request"),
       ("next", None, "options"), ("next", [], "options"),
       ("settle", {}, "claim"), ("settle", {"claim": "1"}, "claim"), ("settle", {"claim": None}, "claim"),
       ("settle", {"claim": 1e30}, "claim"), ("settle", {"claim": 1, "failed": [{"stream": "a"}]}, "position"),
       ("settle", {"claim": 1, "failed": [failed("a", 0, delayMs=-2)]}, "delayMs"),
       ("settle", {"claim": 1, "failed": [failed("a", 0, delayMs=43200001)]}, "43200001"),
       ("settle", {"claim": 1, "failed": [failed("a", 0.5)]}, "position"),
       ("settle", {"claim": 1, "failed": [failed("a", 0, eror="x")]}, "eror"),
       ("settle", {"claim": 1, "Release": True}, "Release"), ("settle", {"claim": 1, "upTo": -1}, "upTo"),
       ("settle", {"claim": 1, "upto": 5}, "upto"), ("settle", None, "options"), ("settle", [], "options"),
       ("extend", {}, "claim"), ("extend", {"claim": 1, "leaseMs": 1}, "lease"),
       ("extend", {"claim": 1, "leaseMs": 1e17}, "lease"), ("extend", {"claim": 1, "lease": 5}, "lease"),
       ("move", {}, "from"), ("move", {"from": 0}, "to"), ("move", {"from": "0", "to": 1}, "from"),
       ("streams", {"limit": 0}, "limit"), ("streams", {"limit": 1001}, "limit"), ("streams", {"cursor": 1}, "cursor"),
       ("streams", {"parked": 1}, "parked"), ("streams", {"park": True}, "park"), ("unpark", {"stream": 1}, "stream"),
       ("unpark", {"limit": -1}, "limit"), ("unpark", {"streams": ["a"]}, "streams"), ("skip", {}, "stream"),
       ("skip", {"stream": "account-1"}, "position"), ("skip", {"stream": "account-1", "position": -1}, "-1"),
       ("reset", {"position": -1}, "position"), ("reset", {"position": "middle"}, "middle"),
       ("reset", {"position": 1.5}, "position"), ("reset", {"keepparked": True}, "keepparked"),
       ("create", {"since": "2020-01-01T00:00:00+99"}, "since"), ("create", {"since": "2020-01-01 0:00 A/B"}, "since"),
       ("extend", {"claim": 1, "leaseMs": 2**63 - 1}, "9223372036854775807"), ("next", {"member": "a\0b"}, "\\u0000"),
       ("next", {"member": "\ud800"}, "surrogate"),
       ("next", {"settle": [{"claim": 1, "failed": [failed("a", 0, error="a\0b")]}]}, "\\u0000 cannot be stored")]


@pytest.fixture(scope="module")
def billing(server):
    """A client in a namespace with a consumer that no test here changes."""
    client = server.client(token_for("consumers " + new_id()))
    client.write("account-1")
    consumer(client)
    yield client
    client.close()


def state(client):
    info = client.call("consumer.info", "billing")
    return [info[name] for name in ("state", "ceiling", "floor", "claims", "lag", "parked", "retrying")]


@pytest.mark.parametrize("method,options,word", BAD, ids=lambda value: str(value)[:60])
def test_bad_options_are_refused_and_named(billing, method, options, word):
    before = state(billing)
    error = billing.refused("consumer." + method, "billing", options)
    assert (error.status, error.code) == (400, "INVALID_REQUEST"), error
    assert word in error.message, error.message
    assert state(billing) == before


BAD_CREATE = [({"category": "a", "stream": "b-1"}, "both"), ({"category": ""}, "category"),
              ({"category": 1}, "category"), ({"stream": ""}, "stream"), ({"types": "T"}, "types"),
              ({"types": [1]}, "types"),
              ({"types": ["T"] * 1001}, "types"), ({"correlation": 1}, "correlation"), ({"ordering": "fifo"}, "fifo"),
              ({"position": -1}, "position"), ({"position": "begin"}, "begin"), ({"position": 1e30}, "position"),
              ({"since": "yesterdayish"}, "yesterdayish"), ({"since": 5}, "since"),
              ({"position": 1, "since": "2026-01-01T00:00:00Z"}, "one of"), ({"leaseMs": 5}, "lease"),
              ({"maxAttempts": 0}, "maxAttempts"), ({"maxAttempts": 1.5}, "maxAttempts"),
              ({"maxParked": -1}, "maxParked"), ({"onPoison": "explode"}, "explode"), ({"Category": "a"}, "Category"),
              ({"catgory": "a"}, "catgory")]


@pytest.mark.parametrize("options,word", BAD_CREATE, ids=lambda value: str(value)[:60])
def test_a_consumer_that_can_not_be_is_refused(billing, options, word):
    name = new_id()
    error = billing.refused("consumer.create", name, options)
    assert (error.status, error.code) == (400, "INVALID_REQUEST"), error
    assert word in error.message, error.message
    assert name not in [each["consumer"] for each in billing.call("consumer.list")]


@pytest.mark.parametrize("method", [method for method in METHODS if method != "list"])
def test_a_name_is_a_string_of_at_most_200_bytes(billing, method):
    for name in ("", 1, None, [], "x" * 201, "é" * 101):
        error = billing.refused("consumer." + method, name, *full(method))
        assert (error.status, error.code) == (400, "INVALID_REQUEST"), (name, error)
    assert billing.refused_body(f'["consumer.{method}"]').status == 400
    assert billing.refused_body(f'["consumer.{method}","a\\u0000b"]').status == 400


def test_a_failed_message_that_is_not_in_the_claim_is_refused_and_nothing_is_settled(client):
    fill(client, "account-1")
    consumer(client)
    claim = client.call("consumer.next", "billing")["claim"]
    error = client.refused("consumer.settle", "billing", {"claim": claim, "failed": [failed("account-2", 0)]})
    assert (error.status, error.code) == (400, "INVALID_REQUEST") and "account-2" in error.message
    client.call("consumer.settle", "billing", {"claim": claim})


def test_names_of_two_hundred_bytes_and_any_characters(client):
    client.write("account-1")
    for name in ("x" * 200, "é" * 100, 'a"b\\c\n', "'; DROP", "a b/c?d"):
        consumer(client, name)
        claim = client.call("consumer.next", name)
        client.call("consumer.settle", name, {"claim": claim["claim"]})
        assert client.call("consumer.info", name)["lag"] == 0
        client.call("consumer.delete", name)


def test_an_error_is_kept_to_two_thousand_bytes(client):
    fill(client, "account-1")
    consumer(client)
    claim = client.call("consumer.next", "billing")["claim"]
    again = client.call("consumer.next", "billing", {
        "settle": [{"claim": claim, "failed": [failed("account-1", 0, error="é" * 3000, delayMs=0)]}]})
    assert again["retries"]["account-1"]["error"] == "é" * 1000


# Whose

def test_a_consumer_is_its_namespaces(secured, admin):
    tokens = [token_for("consumers " + new_id()) for _ in range(2)]
    for token in tokens:
        admin.call("ns.create", base64.urlsafe_b64decode(token.split("_")[1] + "==").decode(), {"token": token})
    ours, theirs = (secured.client(token) for token in tokens)
    ours.write("account-1")
    consumer(ours)
    claim = ours.call("consumer.next", "billing")
    for stranger in (theirs, admin):
        for method in METHODS:
            if method not in ("create", "list"):
                assert stranger.refused("consumer." + method, "billing", *full(method)).code == "CONSUMER_NOT_FOUND"
    assert theirs.call("consumer.list") == []
    consumer(theirs)
    assert theirs.refused("consumer.settle", "billing", {"claim": claim["claim"]}).code == "CLAIM_LOST"
    assert ours.call("consumer.settle", "billing", {"claim": claim["claim"]}) == {"claim": claim["claim"]}
    wrong = secured.client(tokens[0][:-4] + "beef")
    for method in METHODS:
        error = wrong.refused("consumer." + method, "billing", *full(method))
        assert error.status in (401, 403), error


def test_on_a_standby_next_is_refused_and_info_answers(shared_cluster, start):
    first = start("--database", shared_cluster.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    fill(first.client(), "account-1")
    consumer(first.client())
    folder = temporary_folder()
    standby = Cluster(folder + "/pg").copy_of(shared_cluster).start()
    try:
        server = start("--database", standby.conninfo(), "--token", ZERO_TOKEN, "--retry-window", "1",
                       token=ZERO_TOKEN)
        client = server.client()
        wait_until(lambda: client.call("consumer.list"), "the standby")
        assert client.call("consumer.info", "billing")["lag"] == 1
        assert client.call("consumer.streams", "billing") == []
        for method in ("next", "pause", "create", "settle"):
            began = time.monotonic()
            error = client.refused("consumer." + method, "billing", *full(method))
            assert (error.status, error.code) == (503, "BACKEND_UNAVAILABLE"), (method, error)
            assert time.monotonic() - began < 5
        client.close()
        server.stop()
    finally:
        standby.stop("immediate")
        shutil.rmtree(folder)
