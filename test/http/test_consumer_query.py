"""consumer.create with a query over types and tags; what its consumers read is in sql/test_consumers_query.py."""
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from deciding import drop_tag_index, message, tagged


@pytest.mark.parametrize("options,said", [
    ({"query": "a"}, "options.query must be an object"), ({"query": None}, "options.query must be an object"),
    ({"query": {}}, "query must have either"), ({"query": {"items": [{"tags": []}]}}, "query.items[0].tags"),
    ({"query": tagged("a"), "category": "x"}, "query"), ({"query": tagged("a"), "stream": "x-1"}, "query"),
    ({"query": tagged(*map(str, range(21)))}, "at most 20"), ({"querry": tagged("a")}, "querry")
])
def test_bad_queries_are_refused_by_name(decider, options, said):
    error = decider.refused("consumer.create", "billing", options)
    assert (error.status, error.code) == (400, "INVALID_REQUEST") and said in error.message
    assert decider.call("consumer.list") == []


def test_without_the_index_it_is_said_how_to_get_one(client):
    client.write("s-1")
    error = client.refused("consumer.create", "billing", {"query": tagged("a")})
    assert (error.status, error.code) == (400, "INVALID_REQUEST") and "millrace.index_tags()" in error.message


def test_it_is_shown_and_the_same_again_is_no_error(decider):
    query = tagged("a", "b", types=["T"])
    for created in (True, False):
        assert decider.call("consumer.create", "billing", {"query": query})["created"] == created
    assert decider.refused("consumer.create", "billing", {"query": tagged("a")}).code == "CONSUMER_EXISTS"
    for info in (decider.call("consumer.info", "billing"), *decider.call("consumer.list")):
        assert info["query"] == query and "category" not in info


def test_a_call_that_waits_wakes_by_a_match(decider, others):
    decider.call("consumer.create", "billing", {"query": tagged("a")})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(others().call, "consumer.next", "billing", {"waitMs": 30000})
        for tag in "bcb":
            decider.call("stream.write", "s-1", message(tag))
        time.sleep(0.2)
        assert not waiting.done()
        decider.call("stream.write", "s-1", message("b", "a"))
        claim = waiting.result(20)
    assert [each[3] for each in claim["messages"]] == [3]
    decider.call("consumer.settle", "billing", {"claim": claim["claim"]})
    info = decider.call("consumer.info", "billing")
    assert (info["lag"], info["inFlight"]) == (0, 0)


def test_when_its_index_is_dropped_next_says_so_and_info_still_answers(server, decider):
    decider.call("consumer.create", "billing", {"query": tagged("a")})
    decider.call("consumer.create", "plain", {"category": "s"})
    decider.call("stream.write", "s-1", message("a"))
    drop_tag_index(server)
    error = decider.refused("consumer.next", "billing", {"waitMs": 0})
    assert (error.status, error.code) == (400, "INVALID_REQUEST") and "millrace.index_tags()" in error.message
    assert [(each["consumer"], each["lag"]) for each in decider.call("consumer.list")] == [("billing", 1), ("plain", 1)]
    assert len(decider.call("consumer.next", "plain", {"waitMs": 0})["messages"]) == 1
