"""format=cloudevents on /subscribe and /export: CloudEvents 1.0, in its JSON format."""
import gzip
import json
import re

import pytest

from store import new_id, sql, token_for
from subscriber import append, connect_to_namespace

FORMAT = {"messages": "true", "format": "cloudevents"}
RESERVED = {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"}
METADATA = {"correlationId": "c-1", "causationId": "ü", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
            "n": 12345678901234567890, "text": 'quote " backslash \\ \n'}


def check(event):
    """What the specification asks of an event in JSON."""
    assert event["specversion"] == "1.0"
    for name, value in event.items():
        assert re.fullmatch("[a-z0-9]{1,20}", name), name
        assert name == "data" or (isinstance(value, str) and value), (name, value)
    assert re.fullmatch(r"/namespaces/[A-Za-z0-9._~%-]+", event["source"])
    assert event["datacontenttype"] == "application/json"
    return event


def read_by_sdk(text):
    formats = pytest.importorskip("cloudevents.core.formats.json", reason="pip install cloudevents")
    events = pytest.importorskip("cloudevents.core.v1.event")
    return formats.JSONFormat().read(events.CloudEvent, text)


def lines(client, query=""):
    reply = client.request("GET", "/export?format=cloudevents" + query)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/x-ndjson")
    return reply.body.decode().split("\n")[:-1]


def data_of(event):
    head, data = event.decode().rstrip("\n").split("\ndata: ")
    return head, data


def follow(subscribe, *server, **options):
    """A subscriber that has caught up, so that what comes next is handed to it live."""
    subscriber = subscribe(*server, **{"all": "true", "head": "true", **FORMAT, **options})
    return subscriber.read_until(lambda: b"event: head" in subscriber.raw)


def messages_of(subscriber, count):
    def found():
        return [event for event in subscriber.events if not event.startswith(b"event: head")]

    subscriber.read_until(lambda: len(found()) >= count)
    return found()


@pytest.mark.parametrize("query", ["format=cloudevents", "format=cloudevents&messages=false", "format=x&messages=true",
                                   "format=CloudEvents&messages=true", "format=%00&messages=true",
                                   "formatt=cloudevents&messages=true"])
def test_a_subscription_in_no_such_format_is_refused(client, query):
    reply = client.request("GET", "/subscribe?all=true&" + query)
    assert reply.status == 400 and (b"format" in reply.body), reply.body


@pytest.mark.parametrize("query", ["format=x", "format=CloudEvents", "format=%00", "Format=cloudevents"])
def test_an_export_in_no_such_format_is_refused(client, query):
    reply = client.request("GET", "/export?" + query)
    assert (reply.status, reply.error["code"]) == (400, "INVALID_REQUEST") and "format" in reply.error["message"]


def test_a_message_as_an_event(server):
    prefix = "näme /?%"
    name = prefix + new_id()
    client = server.client(token_for(name))
    id = new_id()
    client.write("account-1", {"amount": 10}, "Deposited", METADATA, id=id)
    time = client.call("stream.last", "account-1")[6]
    (line, ) = lines(client)
    event = check(json.loads(line))
    assert json.loads(event.pop("metadata")) == METADATA
    assert event == {
        "specversion": "1.0", "id": id, "source": name.replace(prefix, "/namespaces/n%C3%A4me%20%2F%3F%25"),
        "type": "Deposited", "subject": "account-1", "time": time, "position": "0", "globalposition": "1",
        "correlationid": "c-1", "causationid": "ü", "traceparent": METADATA["traceparent"],
        "datacontenttype": "application/json",
        "data": {"amount": 10}
    }


def test_the_sdk_reads_them(client):
    client.write("account-1", {"amount": 10}, "Deposited", METADATA)
    client.write("account-2")
    first, second = (read_by_sdk(line) for line in lines(client))
    assert (first.get_type(), first.get_subject(), first.get_data()) == ("Deposited", "account-1", {"amount": 10})
    assert (first.get_extension("globalposition"), first.get_extension("correlationid")) == ("1", "c-1")
    assert first.get_time().isoformat().startswith(client.call("stream.last", "account-1")[6][:19])
    assert "metadata" not in second.get_attributes() and second.get_data() == {}


@pytest.mark.parametrize("metadata, attributes", [
    (None, {}), ({}, {"metadata": "{}"}), ({"correlationId": ""}, {}), ({"correlationId": 7}, {}),
    ({"causationId": None}, {}), ({"traceparent": ["x"]}, {}), ({"a": {"correlationId": "x"}}, {}),
    ({"correlationId": "x\u00e9"}, {"correlationid": "x\u00e9"}),
    ({"correlationId": "x\n", "causationId": "\u0085"}, {}),
])
def test_what_of_metadata_becomes_an_attribute(client, metadata, attributes):
    client.write("s", metadata=metadata)
    event = json.loads(lines(client)[0])
    assert {name for name in event if name not in RESERVED} - {"position", "globalposition", "metadata"} == \
        set(attributes) - {"metadata"}
    assert all(event[name] == value for name, value in attributes.items())
    assert (json.loads(event["metadata"]) if metadata is not None else event.get("metadata")) == metadata


def test_digits_and_texts_are_kept(client):
    data = '{"n": 12345678901234567890.5000, "s": "\\u2028 \\" \\\\ data: \\n\\n", "deep": [[[{}]]]}'
    assert client.post(f'["stream.write", "s", {{"type": "T \\"x\\"", "data": {data}}}]').status == 200
    (line, ) = lines(client)
    assert "12345678901234567890.5000" in line
    event = check(json.loads(line))
    assert event["type"] == 'T "x"' and event["data"]["s"] == '\u2028 " \\ data: \n\n'


def test_a_time_that_rfc_3339_does_not_have_is_left_out(client):
    for n, time in enumerate(["9999-12-31T23:59:59Z", "10000-01-01T00:00:00Z"], 1):
        record = {"id": new_id(), "stream": "s-1", "type": "T", "pos": n - 1, "gpos": n, "data": {}, "meta": None,
                  "time": time}
        reply = client.request("POST", "/import", json.dumps(record))
        if b'"done":true' not in reply.body:
            pytest.skip("no such time can be imported")
    assert [json.loads(line).get("time") for line in lines(client)] == ["9999-12-31T23:59:59Z", None]


def test_an_export_of_many_pages_has_every_message_and_its_choices(client):
    append(client, "a-1", 4000, {"text": "x" * 500})
    append(client, "b-1", 3000, {"text": "x" * 500})
    plain = client.request("GET", "/export").body.decode().splitlines()
    events = [json.loads(line) for line in lines(client)]
    assert len(events) == 7000
    for event, line in zip(events, plain):
        message = json.loads(line)
        assert (event["id"], event["subject"], event["globalposition"], event["data"]) == \
            (message["id"], message["stream"], str(message["gpos"]), message["data"])
    assert len(lines(client, "&categories=b")) == 3000
    zipped = client.request("GET", "/export?format=cloudevents", headers={"Accept-Encoding": "gzip"})
    assert [json.loads(line) for line in gzip.decompress(zipped.body).splitlines()] == events


def test_an_empty_export_is_empty(client):
    assert lines(client) == []


def test_what_was_and_what_comes_are_the_same_events(client, subscribe):
    for n in range(3):
        client.write("a-1", {"n": n, "text": "a\n\ndata: b"}, metadata=METADATA)
    early = follow(subscribe)
    for n in range(3, 6):
        client.write("a-1", {"n": n}, metadata=METADATA if n % 2 else None)
    late = subscribe(all="true", **FORMAT)
    events = messages_of(early, 6)
    assert late.wait_for(6) == events
    exported = lines(client)
    for n, event in enumerate(events):
        head, data = data_of(event)
        assert head == "event: message"
        assert check(json.loads(data))["data"]["n"] == n
        assert data == exported[n]


@pytest.mark.parametrize("choice", [{"stream": "a-1"}, {"category": "a"}, {"category": "a", "consumer": 0, "size": 1},
                                    {"all": "true", "types": "T"}])
def test_each_kind_of_subscription_has_them_with_ids(client, subscribe, choice):
    client.call("stream.append", "a-1", [{"type": "T", "data": {"n": 0}}])
    live = subscribe(**choice, **FORMAT, ids="true").ready()
    live.wait_for(1)
    client.call("stream.append", "a-1", [{"type": "T", "data": {"n": n}} for n in (1, 2)])
    late = subscribe(**choice, **FORMAT, ids="true")
    for subscriber in (live, late):
        events = [data_of(event) for event in subscriber.wait_for(3)]
        assert [head for head, _ in events] == [f"id: {n}\nevent: message" for n in (1, 2, 3)]
        assert [check(json.loads(data))["globalposition"] for _, data in events] == ["1", "2", "3"]


def test_subscribers_of_a_worker_have_each_their_own_format(start, subscribe):
    server = start("--test-mode", "--workers", "1")
    client = server.client(token_for("default"))
    subscribers = [follow(subscribe, server, token=client.token, **options)
                   for options in ({"messages": "true", "format": ""}, FORMAT, {"messages": "", "format": ""})]
    append(client, "a-1", 50)
    plain, events, pokes = ([data_of(event)[1] for event in messages_of(each, 50)] for each in subscribers)
    assert all(json.loads(data)[1] == "a-1" for data in plain)
    assert all(json.loads(data)["subject"] == "a-1" for data in events)
    assert all(json.loads(data)["stream"] == "a-1" for data in pokes)


def test_without_chunks_they_are_the_same(client, subscribe):
    append(client, "a-1", 20)
    old = subscribe(all="true", version="1.0", **FORMAT)
    old.read_until(lambda: old.body.count(b"\n\n") >= 21)
    append(client, "a-1", 1)
    old.read_until(lambda: old.body.count(b"\n\n") >= 22)
    found = re.findall(rb"data: (.*)\n\n", old.body)
    assert [json.loads(each)["position"] for each in found] == [str(n) for n in range(21)]


def test_long_ones_that_are_caught_up_with_and_live(client, subscribe):
    live = follow(subscribe)
    client.write("a-1", {"x": "y" * 3_000_000})
    late = subscribe(all="true", **FORMAT)
    for subscriber in (live, late):
        (event, ) = messages_of(subscriber, 1)
        assert len(json.loads(data_of(event)[1])["data"]["x"]) == 3_000_000


def test_messages_that_were_put_there_by_hand(client, server, subscribe):
    client.write("a-1")
    connection = connect_to_namespace(server)
    schema = sql(connection, "SELECT schema FROM millrace.namespaces ORDER BY created_at DESC LIMIT 1")[0][0]
    sql(connection, f'UPDATE "{schema}".messages SET data = NULL, metadata = \'[1]\'')
    (event, ) = [json.loads(line) for line in lines(client)]
    assert event["data"] is None and "metadata" not in event
    (event, ) = subscribe(all="true", **FORMAT).wait_for(1)
    assert json.loads(data_of(event)[1])["data"] is None
