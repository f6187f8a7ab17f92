"""ns.setRetention, ns.retention, ns.sweep, ns.removals and strict readers over HTTP, and the server that sweeps."""
import json

import pytest
from subscriber import Subscriber, global_positions

from store import ZERO_TOKEN, Server, new_id, sql, wait_until


@pytest.fixture
def name(client):
    return client.call("sys.stats")["namespace"]


@pytest.fixture
def administrator(server):
    client = server.client()
    yield client
    client.close()


def fill(client, *streams):
    return [client.write(stream)["globalPosition"] for stream in streams]


def sweep_all(administrator, name, **options):
    removed = 0
    while True:
        step = administrator.call("ns.sweep", name, options)
        removed += step["removed"]
        if not step["more"]:
            return removed


def test_a_policy_over_http(client, administrator, name):
    assert administrator.call("ns.retention", name) == []
    assert administrator.call("ns.setRetention", name, "a", {"maxCount": 2, "maxAgeMs": 86400000, "forget": True,
                                                             "hold": ["x"]}) == {"namespace": name, "category": "a"}
    assert administrator.call("ns.retention", name) == [
        {"category": "a", "maxCount": 2, "maxAgeMs": 86400000, "forget": True, "hold": ["x"]}]
    administrator.call("ns.setRetention", name, "a")
    assert administrator.call("ns.retention", name) == []


def test_a_sweep_over_http(client, administrator, name):
    fill(client, "a-1", "a-1", "a-1", "b-1", "b-1")
    administrator.call("ns.setRetention", name, "a", {"maxCount": 1})
    assert administrator.call("ns.sweep", name) == {"removed": 2, "streams": 1, "more": False}
    assert [message[1] for message in client.call("stream.get", "a-1")] and client.call("stream.version", "a-1") == 2
    removals = administrator.call("ns.removals", name)
    assert [(each["category"], each["from"], each["to"], each["streams"]) for each in removals] == [("a", 1, 2, 1)]
    assert administrator.call("ns.removals", name, {"position": 3}) == []
    assert "sweptAt" in administrator.call("ns.retention", name)[0]


def test_a_consumer_holds_a_sweep_over_http(client, administrator, name):
    fill(client, "a-1", "a-1", "a-1")
    client.call("consumer.create", "billing", {"category": "a"})
    administrator.call("ns.setRetention", name, "a", {"maxCount": 1})
    error = administrator.refused("ns.sweep", name)
    assert (error.status, error.code, error.details) == (409, "RETENTION_HELD", {"by": "billing", "position": 0})
    assert administrator.call("ns.sweep", name, {"forced": True}) == {
        "removed": 2, "streams": 1, "more": False, "moved": ["billing"]}
    assert "forced sweep" in client.call("consumer.info", "billing")["reason"]
    assert [m[4] for m in client.call("consumer.next", "billing", {"waitMs": 0})["messages"]] == [3]


@pytest.mark.parametrize("method, arguments, text", [
    ("ns.setRetention", ["a-1", {"maxCount": 1}], 'category "a-1" is none'),
    ("ns.setRetention", ["a", {"maxCount": 0}], "options.maxCount 0"),
    ("ns.setRetention", ["a", {"maxAgeMs": 0}], "options.maxAgeMs 0"),
    ("ns.setRetention", ["a", {"maxAgeMs": 31557600000001}], "options.maxAgeMs 31557600000001"),
    ("ns.setRetention", ["a", {"maxAgeMs": "1"}], "options.maxAgeMs must be an integer"),
    ("ns.setRetention", ["a", {"hold": [1], "maxCount": 1}], "options.hold must be an array of strings"),
    ("ns.setRetention", ["a", {"forget": True}], "an age, a count or both"),
    ("ns.setRetention", ["a", {"maxage": 1}], 'options has no "maxage"'),
    ("ns.sweep", [{"maxRows": 0}], "options.maxRows 0"),
    ("ns.sweep", [{"forced": "yes"}], "options.forced must be a boolean"),
    ("ns.removals", [{"position": "x"}], "options.position must be an integer"),
])
def test_arguments_that_are_wrong(client, administrator, name, method, arguments, text):
    error = administrator.refused(method, name, *arguments)
    assert (error.status, error.code) == (400, "INVALID_REQUEST") and text in error.message, error


def test_the_greatest_age_over_http(client, administrator, name):
    fill(client, "a-1")
    administrator.call("ns.setRetention", name, "a", {"maxAgeMs": 31557600000000})
    assert sweep_all(administrator, name) == 0
    assert administrator.call("ns.retention", name)[0]["maxAgeMs"] == 31557600000000


def test_a_namespace_that_is_not_there(administrator):
    for method, arguments in (("ns.setRetention", ["a", {"maxCount": 1}]), ("ns.retention", []), ("ns.sweep", []),
                              ("ns.removals", [])):
        error = administrator.refused(method, "no" + new_id(), *arguments)
        assert (error.status, error.code) == (404, "NAMESPACE_NOT_FOUND"), (method, error)


def test_a_strict_read_over_http(client, administrator, name):
    fill(client, "a-1", "a-1", "a-2", "a-1", "b-1")
    administrator.call("ns.setRetention", name, "a", {"maxCount": 1})
    sweep_all(administrator, name)
    assert [m[4] for m in client.call("category.get", "a", {"position": 1})] == [3, 4]
    error = client.refused("category.get", "a", {"position": 1, "strict": True})
    assert (error.status, error.code) == (410, "POSITION_REMOVED") and error.details["removedTo"] == 2
    seen = error.details["removalsSeen"]
    read = client.call("category.get", "a", {"position": 1, "strict": True, "removalsSeen": seen})
    assert [m[4] for m in read] == [3, 4]
    assert [m[4] for m in client.call("category.get", "a", {"position": 3, "strict": True})] == [3, 4]
    assert [m[4] for m in client.call("category.get", "b", {"strict": True})] == [5]
    assert client.refused("category.get", "", {"strict": True}).code == "POSITION_REMOVED"
    error = client.refused("stream.get", "a-1", {"strict": True})
    assert (error.status, error.code, error.details) == (410, "POSITION_REMOVED", {"removedTo": 1, "removalsSeen": 1})
    assert [m[2] for m in client.call("stream.get", "a-1", {"strict": True, "removalsSeen": 1})] == [2]
    assert [m[2] for m in client.call("stream.get", "a-1", {"strict": True, "position": 2})] == [2]
    assert client.call("stream.get", "a-2", {"strict": True, "globalPosition": 1})
    assert client.refused("stream.get", "a-1", {"strict": True, "globalPosition": 1}).code == "POSITION_REMOVED"
    error = client.refused("stream.get", "a-1", {"strict": True, "direction": "backward"})
    assert (error.status, error.code) == (400, "INVALID_REQUEST")


def test_a_strict_read_by_a_query_is_told_of_all_categories(client, administrator, name):
    fill(client, "a-1", "a-1", "b-1", "a-1", "b-1")
    query = {"all": True}
    assert len(client.call("query.get", query, {"strict": True})["messages"]) == 5
    administrator.call("ns.setRetention", name, "a", {"maxCount": 1})
    sweep_all(administrator, name)
    assert [m[4] for m in client.call("query.get", query)["messages"]] == [3, 4, 5]
    error = client.refused("query.get", query, {"strict": True})
    assert (error.status, error.code) == (410, "POSITION_REMOVED") and error.details["removedTo"] == 2
    seen = error.details["removalsSeen"]
    answer = client.call("query.get", query, {"strict": True, "removalsSeen": seen})
    assert [m[4] for m in answer["messages"]] == [3, 4, 5] and answer["head"] == 5
    assert len(client.call("query.get", query, {"strict": True, "position": 3})["messages"]) == 3
    assert client.refused("query.get", query, {"strict": True, "position": 2}).code == "POSITION_REMOVED"
    assert client.refused("query.get", query, {"strict": True, "removalsSeen": seen - 1}).details["removedTo"] == 2
    for options, text in (({"strict": 1}, "options.strict"), ({"removalsSeen": -1}, "options.removalsSeen"),
                          ({"strict": True, "direction": "backward"}, "forward")):
        error = client.refused("query.get", query, options)
        assert (error.status, error.code) == (400, "INVALID_REQUEST") and text in error.message


def removed_events(raw):
    return [json.loads(part.split(b"\n")[0]) for part in bytes(raw).split(b"event: removed\ndata: ")[1:]]


def test_a_strict_subscription_ends_where_messages_were_removed(client, server, administrator, name):
    fill(client, "a-1", "a-1", "a-2")
    with_what = {"token": client.token, "category": "a", "strict": "true", "position": 1}
    strict = Subscriber(server, **with_what)
    strict.read_until(lambda: global_positions(strict.raw) == [1, 2, 3])
    administrator.call("ns.setRetention", name, "a", {"maxCount": 1})
    sweep_all(administrator, name)
    fill(client, "a-1")
    strict.read_until(lambda: global_positions(strict.raw) == [1, 2, 3, 4])  # it has been there before
    strict.close()
    late = Subscriber(server, **with_what)
    late.ends()
    told = removed_events(late.raw)
    assert len(told) == 1 and told[0]["removedTo"] == 1 and global_positions(late.raw) == []
    again = Subscriber(server, **with_what, removalsSeen=told[0]["removalsSeen"])
    again.read_until(lambda: global_positions(again.raw) == [2, 3, 4])
    again.close()
    plain = Subscriber(server, token=client.token, category="a", position=1)
    plain.read_until(lambda: global_positions(plain.raw) == [2, 3, 4])
    plain.close()


def test_a_strict_subscription_to_a_stream(client, server, administrator, name):
    fill(client, "a-1", "a-1", "a-1")
    administrator.call("ns.setRetention", name, "a", {"maxCount": 1})
    sweep_all(administrator, name)
    late = Subscriber(server, token=client.token, stream="a-1", strict="true")
    late.ends()
    assert removed_events(late.raw) == [{"removedTo": 1, "removalsSeen": 1}]
    again = Subscriber(server, token=client.token, stream="a-1", strict="true", removalsSeen=1)
    again.read_until(lambda: global_positions(again.raw) == [3])
    fill(client, "a-1")
    again.read_until(lambda: global_positions(again.raw) == [3, 4])
    again.close()


@pytest.mark.parametrize("source", [{"category": "a"}, {"all": "true"}, {"stream": "a-1"}])
def test_a_strict_subscription_that_has_caught_up_is_told_of_what_came_and_went(client, server, name, source):
    """A message that nobody could read: appended and removed in one transaction."""
    fill(client, "a-1", "b-1")
    strict = Subscriber(server, token=client.token, strict="true", head="true", **source)
    strict.read_until(lambda: b"event: head" in strict.raw)
    before = global_positions(strict.raw)
    connection = server.postgres()
    connection.autocommit = False
    sql(connection, "SELECT set_config('millrace.namespace', %s, true)", name)
    sql(connection, "SELECT millrace.append('a-1', 'T', '{}'), millrace.truncate_stream('a-1', 2)")
    connection.commit()
    connection.close()
    fill(client, "a-1")
    strict.ends()
    assert [told["removedTo"] for told in removed_events(strict.raw)] == [1 if "stream" in source else 3]
    assert global_positions(strict.raw) == before


@pytest.mark.parametrize("parameters", [{"strict": "yes"}, {"removalsSeen": "-1"}, {"removalsSeen": "x"}])
def test_parameters_of_strict_subscriptions_that_are_wrong(client, parameters):
    query = "&".join(f"{key}={value}" for key, value in parameters.items())
    reply = client.request("GET", f"/subscribe?all=true&{query}")
    assert reply.status == 400 and next(iter(parameters)).encode() in reply.body


def test_the_server_sweeps(cluster):
    """Of two servers each message is removed once, and what a consumer holds is told."""
    options = ("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--sweep-interval", "1")
    servers = [Server(*options, token=ZERO_TOKEN) for _ in range(2)]
    try:
        client = servers[0].client()
        for _ in range(3):
            client.call("stream.append", "a-1", [{"type": "T", "data": {}}] * 500)
        client.call("ns.setRetention", "default", "a", {"maxCount": 1})
        wait_until(lambda: len(client.call("stream.get", "a-1", {"batchSize": 10000})) == 1, "the sweep")
        assert client.call("stream.version", "a-1") == 1499
        client.call("consumer.create", "billing", {"category": "a", "position": "end"})
        client.call("stream.append", "a-1", [{"type": "T", "data": {}}] * 3)
        wait_until(lambda: client.call("ns.retention", "default")[0].get("heldBy") == "billing", "the sweep")
        connection = cluster.connect()
        assert sql(connection, "SELECT sum(cardinality(streams)) > 0 FROM millrace.removals") == [(True,)]
        client.call("consumer.delete", "billing")
        wait_until(lambda: client.call("ns.retention", "default")[0].get("heldBy") is None, "the sweep")
        wait_until(lambda: len(client.call("stream.get", "a-1")) == 1, "the sweep")
        client.close()
    finally:
        for server in servers:
            server.stop()


def test_a_server_that_is_told_so_does_not_sweep(cluster):
    server = Server("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--sweep-interval", "0", token=ZERO_TOKEN)
    try:
        client = server.client()
        client.call("stream.append", "a-1", [{"type": "T", "data": {}}] * 5)
        client.call("ns.setRetention", "default", "a", {"maxCount": 1})
        other = Server("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--sweep-interval", "1",
                       token=ZERO_TOKEN)
        assert len(client.call("stream.get", "a-1")) == 5
        wait_until(lambda: len(client.call("stream.get", "a-1")) == 1, "the sweep")
        other.stop()
        client.close()
    finally:
        server.stop()


def test_what_the_metrics_say(cluster):
    server = Server("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--sweep-interval", "0",
                    "--admin-listen", "127.0.0.1:0", token=ZERO_TOKEN)
    try:
        client = server.client()
        client.call("stream.append", "a-1", [{"type": "T", "data": {}}] * 5)
        client.call("ns.setRetention", "default", "a", {"maxCount": 1})
        client.call("consumer.create", "billing", {"category": "a", "position": 3})
        client.call("ns.sweep", "default")
        text = server.admin().request("GET", "/metrics").body.decode()
        assert 'millrace_removed_messages_total{by="sweep"} 2' in text
        assert 'millrace_retention_held{namespace="default"} 1' in text
        client.close()
    finally:
        server.stop()
