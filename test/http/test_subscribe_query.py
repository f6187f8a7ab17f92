"""GET /subscribe?query=...: subscriptions to what matches a query over types and tags."""
import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from deciding import Open, drop_tag_index, matches, message, tagged
from store import sql
from subscriber import Subscriber, connect_to_namespace, poke


@pytest.fixture
def listen(server, decider):
    """Subscribes to a query in the decider's namespace."""
    subscribers = []

    def make(query, **options):
        text = query if isinstance(query, str) else json.dumps(query)
        subscribers.append(Subscriber(server, token=decider.token, query=text, **options))
        return subscribers[-1]

    yield make
    for each in subscribers:
        each.close()


def refused(subscriber):
    head, body = subscriber.read_until(lambda: b"\r\n\r\n" in subscriber.raw and subscriber.body).head, subscriber.body
    assert " 400 " in head.splitlines()[0] and "text/plain" in head
    return body.decode()


# Bad input

BAD = [("{", "query must be JSON"), ("", "exactly one of"), ("[]", "object"), ("{}", "items"), ("null", "object"),
       ('{"items":[]}', "must not be empty"), ('{"items":[{}]}', "neither types nor tags"),
       ('{"items":[{"tags":[7]}]}', "must be a string"), ('{"items":[{"tags":["a"],"type":["T"]}]}', "type"),
       ('{"all":false}', "must be true"), ('{"items":[{"tags":["\\u0000"]}]}', "query must be JSON"),
       ('{"items":[{"tags":["\\ud800"]}]}', "query must be JSON"), ('{"all":true} x', "query must be JSON"),
       (json.dumps(tagged(*map(str, range(21)))), "at most 20"), (json.dumps(tagged("x" * 17000)), "16384"),
       (json.dumps({"items": [{"tags": list("abcde"), "types": list(map(str, range(100)))}]}), "at most 500")]


@pytest.mark.parametrize("query,said", BAD, ids=range(len(BAD)))
def test_what_is_no_query_is_refused(listen, query, said):
    text = refused(listen(query))
    assert said in text and "query" in text


@pytest.mark.parametrize("options", [{"stream": "s-1"}, {"category": "s"}, {"all": "true"}])
def test_a_query_stands_in_place_of_the_others(listen, options):
    assert "exactly one of stream, category, query and all=true" in refused(listen(tagged("a"), **options))


@pytest.mark.parametrize("options,said", [({"consumer": 0}, "size"), ({"size": 2}, "consumer"),
                                          ({"consumer": 2, "size": 2}, "consumer"), ({"types": "a,,b"}, "types"),
                                          ({"format": "cloudevents"}, "messages"), ({"position": "x"}, "position"),
                                          ({"querry": "{}"}, "query")])
def test_bad_parameters_beside_it_are_named(listen, options, said):
    assert said in refused(listen(tagged("a"), **options))


def test_without_the_index_it_is_refused_but_for_all_messages(client, subscribe):
    client.write("s-1")
    text = refused(subscribe(query=json.dumps(tagged("a"))))
    assert "millrace.index_tags()" in text
    assert subscribe(query='{"all":true}').wait_for(1) == [poke("s-1", 0, 1)]


# Which messages

ODD = ["a", "A", "a ", "", "\"", "\\", "\\u0061", "ä", "a\u0308", "\n", "é\u2028", "😀", "a,b", "{a}", "%61", "x" * 500]


def test_tags_are_compared_bytewise_live_as_before(server, decider, listen):
    connection = connect_to_namespace(server)
    tags = [each for each in ODD if each]

    def write():
        for each in tags:
            decider.call("stream.write", "odd-1", message(each, each))
        for value in ([], ["a", 7, None, {"a": "a"}], "a", {"a": "a"}, [["a"]], None, ["b"]):
            sql(connection, "SELECT millrace.append('other-1', 'T', '{}', %s)", json.dumps({"tags": value}))
        sql(connection, "SELECT millrace.append('other-1', 'T', '{}', NULL)")

    write()
    count = len(tags) + 8
    want = {each: [1 + n, 1 + n + count] for n, each in enumerate(tags)}
    want["a"] = sorted([*want["a"], len(tags) + 2, len(tags) + 2 + count])
    each = {tag: listen(tagged(tag)).ready() for tag in tags}
    escaped = listen('{"items":[{"tags":["\\u0061"]}]}').ready()
    for tag, subscriber in each.items():
        subscriber.wait_for(len(want[tag]) // 2)
    write()
    last = listen({"all": True})
    last.wait_for(2 * count)
    for tag, subscriber in [*each.items(), ("a", escaped)]:
        subscriber.wait_for(len(want[tag]))
        assert subscriber.positions() == want[tag], tag


QUERIES = [tagged("a"), tagged("a", "b"), tagged("c", types=["T", "U"]), tagged(types=["V"]),
           {"items": [{"tags": ["a", "c"]}, {"types": ["U"], "tags": ["b"]}]}, tagged("never"), {"all": True}]


def test_filters_go_together_with_the_query(decider, listen):
    for n in range(40):
        tags = ["a"] * (n % 2) + ["b"] * (n % 3 == 0)
        metadata = {"correlationStreamName": f"cause-{n}"} if n % 5 == 0 else {"x": n}
        decider.call("stream.write", f"s-{n % 7}", message(*tags, type="TU"[n % 4 < 2], metadata=metadata))
    odd = [n + 1 for n in range(40) if n % 2]
    hits = [n for n in odd if (n - 1) % 4 >= 2]
    live = 41

    def check(subscriber, want, **write):
        subscriber.wait_for(len(want))
        assert subscriber.positions() == want
        nonlocal live
        decider.call("stream.write", "s-1", message("a", **write))
        subscriber.wait_for(len(want) + 1)
        assert subscriber.positions() == [*want, live]
        live += 1

    check(listen(tagged("a"), position=20), [n for n in odd if n >= 20])
    check(listen(tagged("a"), types="T,X", position=1), [*hits, 41])
    check(listen(tagged("a"), correlation="cause"), [n for n in odd if (n - 1) % 5 == 0],
          metadata={"correlationStreamName": "cause-1"})
    check(listen(tagged("a"), headers={"Last-Event-ID": "42"}), [43])


def test_members_of_a_group_share_by_stream(decider, listen):
    def write():
        for n in range(60):
            decider.call("stream.write", f"s-{n % 20}", message(*"ab"[:1 + n % 2]))

    write()
    members = [listen(tagged("b"), consumer=n, size=2) for n in range(2)]
    both = [listen({"all": True}, consumer=n, size=2) for n in range(2)]
    every = listen(tagged("b")).wait_for(30)
    write()
    category = [decider.call("category.get", "s", {"batchSize": -1, "consumerGroup": {"member": n, "size": 2}})
                for n in range(2)]
    for n, member in enumerate(members):
        of_member = [each[4] for each in category[n]]
        member.wait_for(len([each for each in of_member if each % 2 == 0]))
        assert member.positions() == [each for each in of_member if each % 2 == 0]
        both[n].wait_for(len(of_member))
        assert both[n].positions() == of_member
    assert len(every) == 30


def test_ids_messages_and_cloudevents(decider, listen):
    decider.call("stream.write", "s-1", message("a", "b", type="A"))
    subscribers = [listen(tagged("a"), ids="true"), listen(tagged("a"), messages="true"),
                   listen(tagged("a"), messages="true", format="cloudevents", ids="true")]
    for each in subscribers:
        each.wait_for(1)
    decider.call("stream.write", "s-1", message("a", "b", type="A"))
    decider.call("stream.write", "s-1", message("b", type="A"))
    for each in subscribers:
        each.wait_for(2)
    ids, messages, events = subscribers
    assert [event.split(b"\n")[0] for event in ids.events] == [b"id: 1", b"id: 2"]
    for subscriber in (messages, events):
        one, two = (json.loads(event.split(b"data: ")[1]) for event in subscriber.events)
        if subscriber is messages:
            assert one[1:5] == ["s-1", "A", 0, 1] and two[1:5] == ["s-1", "A", 1, 2]
        else:
            assert one["type"] == two["type"] == "A" and one["specversion"] == "1.0"


def test_the_head_is_told(decider, listen):
    for tag in "aab":
        decider.call("stream.write", "s-1", message(tag))
    subscriber = listen(tagged("a"), head="true")
    subscriber.read_until(lambda: b"event: head" in subscriber.raw)
    assert subscriber.positions() == [1, 2] and b'data: {"head":3}' in subscriber.raw


# In doubt

@pytest.mark.parametrize("how", ["commit", "rollback"])
def test_who_catches_up_is_held_by_a_match_in_doubt_and_by_nothing_else(server, decider, listen, how):
    decider.call("stream.write", "s-1", message("a", "b"))
    held = Open(connect_to_namespace(server), "a")
    for _ in range(3):
        decider.call("stream.write", "s-1", message("a", "b"))
    holds, passes = listen(tagged("a")).ready(), listen(tagged("b")).ready()
    assert passes.wait_for(4) and passes.positions() == [1, 3, 4, 5]
    holds.wait_for(1)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        try:
            holds.read(0.05)
        except TimeoutError:
            pass
    assert holds.positions() == [1]
    held.end(how)
    want = [1, 2, 3, 4, 5] if how == "commit" else [1, 3, 4, 5]
    holds.wait_for(len(want))
    assert holds.positions() == want
    decider.call("stream.write", "s-1", message("a", "b"))
    for each, before in ((holds, want), (passes, [1, 3, 4, 5])):
        each.wait_for(len(before) + 1)
        assert each.positions() == [*before, 6]


# The index goes

def test_a_subscription_whose_index_is_dropped_ends_with_an_error_when_it_needs_it(server, decider, listen):
    follows = listen(tagged("a")).ready()
    slow = listen(tagged("a"), messages="true", receive_buffer=4096).ready()
    batch = [message("a", data={"x": "x" * 100_000})] * 20 + [message("b")] * 80
    for _ in range(20):  # 40 MB, more than sockets hold, and more positions than a feed goes back
        decider.call("stream.append", "s-1", batch)
    want = [n for n in range(1, 2001) if (n - 1) % 100 < 20]
    follows.wait_for(len(want))
    drop_tag_index(server)
    decider.call("stream.write", "s-1", message("a"))
    follows.wait_for(len(want) + 1)
    assert follows.positions() == [*want, 2001]
    slow.ends()
    *events, error = slow.events
    positions = [json.loads(event.split(b"data: ")[1])[4] for event in events]
    assert positions == want[:len(events)] and len(events) < len(want)
    assert error.startswith(b"event: error\ndata: ") and error.endswith(b"\n\n")
    told = json.loads(error.split(b"data: ")[1])["error"]
    assert told["code"] == "INVALID_REQUEST" and "millrace.index_tags()" in told["message"]
    assert "millrace.index_tags()" in refused(listen(tagged("a"), position=1))


# Under a load

def test_it_is_what_a_filter_of_all_messages_leaves(server, decider, listen):
    stop = threading.Event()
    clients = [server.client(decider.token) for _ in range(4)]

    def write(number):
        rng = random.Random(number)
        while not stop.is_set():
            batch = [message(*rng.sample("abcd", rng.randrange(4)), type=rng.choice("TUVW"))
                     for _ in range(rng.randrange(1, 30))]
            clients[number].call("stream.append", f"s-{rng.randrange(50)}", batch)

    def roll_back():
        rng = random.Random(99)
        while not stop.is_set():
            held = Open(connect_to_namespace(server), rng.choice("abcd"), f"open-{rng.randrange(9)}")
            held.end(rng.choice(["commit", "rollback"]))

    with ThreadPoolExecutor(5) as pool:
        writers = [pool.submit(write, n) for n in range(4)] + [pool.submit(roll_back)]
        subscribers = []
        for _ in range(3):
            subscribers += [(query, listen(query).ready()) for query in QUERIES]
            time.sleep(0.5)
        stop.set()
        for each in writers:
            each.result()
    everything = decider.call("category.get", "", {"batchSize": -1})
    assert len(everything) > 1000
    for query, subscriber in subscribers:
        want = [m[4] for m in everything if matches(query, m[2], (m[6] or {}).get("tags", []))]
        subscriber.wait_for(len(want))
        assert subscriber.positions() == want, query
    for client in clients:
        client.close()


def test_a_query_that_nobody_had_before_misses_nothing_when_it_begins_to_follow(decider, listen, others):
    stop = threading.Event()

    def write(client):
        while not stop.is_set():
            client.call("stream.write", "s-1", message("a"))

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write, others()) for _ in range(2)]
        subscribers = []
        for n in range(150):
            subscribers.append(listen({"items": [{"tags": ["a"]}, {"tags": [f"never {n}"]}]}).ready())
        stop.set()
        for each in writers:
            each.result()
    count = decider.call("stream.version", "s-1") + 1
    for each in subscribers:
        each.wait_for(count)
        assert each.positions() == list(range(1, count + 1))


# Messages that are taken away

def test_what_is_removed_or_loses_its_tag_is_not_told_to_those_that_come_later(decider, listen):
    for _ in range(4):
        decider.call("stream.write", "s-1", message("a"))
    live = listen(tagged("a"))
    live.wait_for(4)
    decider.call("stream.truncate", "s-1", {"before": 1})
    decider.call("message.redact", {"stream": "s-1", "from": 1, "to": 1}, {"keepTags": False})
    decider.call("message.redact", {"stream": "s-1", "from": 2, "to": 2})
    decider.call("stream.write", "s-1", message("a"))
    late = listen(tagged("a"))
    late.wait_for(3)
    live.wait_for(5)
    assert live.positions() == [1, 2, 3, 4, 5] and late.positions() == [3, 4, 5]
