"""Keys and parameters that are not known: those that look like known ones are refused, as a dropped option does harm in
silence."""
import json
from urllib.parse import urlencode

import pytest

from store import new_id, token_for
from subscriber import poke

MESSAGE = {"type": "T", "data": {}}


def rpc2(client, method, params):
    """A JSON-RPC call: its answer."""
    return client.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).json


NEAR = [(["stream.write", "s", MESSAGE, {"expectedversion": 7}], "options.expectedversion", "expectedVersion"),
        (["stream.write", "s", MESSAGE, {"expected_version": 7}], "options.expected_version", "expectedVersion"),
        (["stream.write", "s", MESSAGE, {"expected-version": 7}], "options.expected-version", "expectedVersion"),
        (["stream.write", "s", MESSAGE, {"expectedVersoin": 7}], "options.expectedVersoin", "expectedVersion"),
        (["stream.write", "s", MESSAGE, {"expectedVersions": 7}], "options.expectedVersions", "expectedVersion"),
        (["stream.write", "s", MESSAGE, {"exspected_version": 7}], "options.exspected_version", "expectedVersion"),
        (["stream.write", "s", MESSAGE, {"xpectedVersion": 7}], "options.xpectedVersion", "expectedVersion"),
        (["stream.write", "s", MESSAGE, {"ID": new_id()}], "options.ID", "id"),
        (["stream.write", "s", MESSAGE, {"expectedVersion": -1, "Id": new_id()}], "options.Id", "id"),
        (["stream.write", "s", {**MESSAGE, "metaData": {"a": 1}}], "message.metaData", "metadata"),
        (["stream.write", "s", {**MESSAGE, "meta_data": {"a": 1}}], "message.meta_data", "metadata"),
        (["stream.write", "s", {**MESSAGE, "metdata": {"a": 1}}], "message.metdata", "metadata"),
        (["stream.write", "s", {**MESSAGE, "Type": "U"}], "message.Type", "type"),
        (["stream.get", "s", {"batchsize": 1}], "options.batchsize", "batchSize"),
        (["stream.get", "s", {"positon": 1}], "options.positon", "position"),
        (["stream.get", "s", {"global_position": 1}], "options.global_position", "globalPosition"),
        (["stream.get", "s", {"type": "T"}], "options.type", "types"),
        (["stream.last", "s", {"Type": "T"}], "options.Type", "type"),
        (["stream.last", "s", {"types": ["T"]}], "options.types", "type"),
        (["category.get", "c", {"consumergroup": {"member": 0, "size": 2}}], "options.consumergroup", "consumerGroup"),
        (["category.get", "c", {"consumerGroup": {"member": 0, "size": 2,
                                                  "Member": 1}}], "options.consumerGroup.Member", "member"),
        (["category.get", "c", {"consumerGroup": {"member": 0, "szie": 2}}], "options.consumerGroup.szie", "size"),
        (["stream.get", "s", {"Direction": "forward"}], "options.Direction", "direction"),
        (["category.get", "c", {"direccion": "forward"}], "options.direccion", "direction"),
        (["category.get", "c", {"corelation": "x"}], "options.corelation", "correlation"),
        (["ns.streams", {"Prefix": "a"}], "options.Prefix", "prefix"),
        (["ns.streams", {"limits": 1}], "options.limits", "limit"), ]


@pytest.mark.parametrize("call,given,meant", NEAR)
def test_a_key_that_is_nearly_a_known_one_is_refused_and_both_are_named(client, call, given, meant):
    error = client.refused(*call)
    assert (error.status, error.code) == (400, "INVALID_REQUEST")
    assert error.message == f"{given} is not known; did you mean {meant}?"
    assert client.call("stream.version", "s") is None


def test_options_of_a_namespace_are_judged_alike(admin):
    name = "misspelt " + new_id()
    error = admin.refused("ns.create", name, {"descripton": "x"})
    assert (error.status, error.message) == (400, "options.descripton is not known; did you mean description?")
    error = admin.refused("ns.create", name, {"Token": token_for(name)})
    assert error.message == "options.Token is not known; did you mean token?"
    assert name not in [each["namespace"] for each in admin.call("ns.list")]
    # What metadata holds is the caller's affair.
    assert admin.call("ns.create", name, {"metadata": {"tokens": 1, "Description": 2}, "quota": 5})["namespace"] == name
    admin.call("ns.delete", name)


def test_an_escaped_key_is_judged_by_what_it_spells(client):
    assert client.post('["stream.write","s",{"type":"T","data":{}},{"expected\\u0056ersion":-1}]').status == 200
    error = client.refused_body('["stream.write","s",{"type":"T","data":{}},{"expected\\u0076ersion":7}]')
    assert error.message.endswith("is not known; did you mean expectedVersion?")


@pytest.mark.parametrize("call", [[
    "stream.write", "s", {**MESSAGE, "time": "x", "stream": "y", "id": new_id()},
    {"timeout": 5, "version": 7, "": 1, "e" * 500: 1}
], [
    "stream.get", "s", {"limit": 5, "consumerGroup": {"member": 0, "size": 2}, "correlation": "x", "order": "back"}
], ["stream.last", "s", {"position": 3}], [
    "stream.version", "s", {"Type": "x"}
], ["category.get", "c", {"limit": 5, "consumerGroup": {"member": 0, "size": 2, "name": "x"}}],
                                  ["ns.streams", {"order": "asc"}], ])
def test_any_other_key_passes_in_the_array_form(client, call):
    assert client.post(call).status == 200


# The keys that EventoDB's clients send: expectedVersion, id; position, globalPosition, batchSize, type, correlation,
# consumerGroup{member,size}; description, token, metadata; prefix, limit, cursor.
def test_what_eventodbs_clients_send_is_as_it_was(client, admin):
    written = client.call("stream.write", "c-1", {**MESSAGE, "metadata": {"correlationStreamName": "x-1"}},
                          {"expectedVersion": -1, "id": new_id()})
    assert written["position"] == 0
    assert len(client.call("stream.get", "c-1", {"position": 0, "globalPosition": 1, "batchSize": 10})) == 1
    assert client.call("stream.last", "c-1", {"type": "T"})[1] == "T"
    options = {
        "position": 0, "globalPosition": 1, "batchSize": 10, "correlation": "x",
        "consumerGroup": {"member": 0, "size": 1}
    }
    assert len(client.call("category.get", "c", options)) == 1
    assert len(client.call("ns.streams", {"prefix": "c", "limit": 10, "cursor": "a"})) == 1
    name = "eventodb " + new_id()
    token = token_for(name)
    assert admin.call("ns.create", name, {"description": "d", "token": token, "metadata": {"a": 1}})["token"] == token
    admin.call("ns.delete", name)


@pytest.mark.parametrize(
    "call,message",
    [(["stream.append", "s", [MESSAGE], {"id": new_id()}],
      "options.id is not known; known are expectedVersion, condition"),
     (["stream.append", "s", [MESSAGE], {"expectedversion": 7}
       ], "options.expectedversion is not known; did you mean expectedVersion?"),
     (["stream.append", "s", [MESSAGE, {**MESSAGE, "when": 1}]
       ], "messages[1].when is not known; known are type, data, metadata, tags, id"),
     (["streams.append", [{"stream": "s", "messages": [MESSAGE], "expected": 7}]
       ], "streams[0].expected is not known; known are stream, messages, expectedVersion"),
     (["streams.append", [{"stream": "s", "messages": [{**MESSAGE, "metaData": {}}]}]
       ], "streams[0].messages[0].metaData is not known; did you mean metadata?"), ])
def test_our_own_methods_refuse_every_unknown_key(client, call, message):
    error = client.refused(*call)
    assert (error.status, error.code, error.message) == (400, "INVALID_REQUEST", message)
    assert client.call("stream.version", "s") is None


@pytest.mark.parametrize(
    "method,params,message",
    [("stream.write", {"stream": "s", "message": MESSAGE, "options": {"timeout": 5}
                       }, "options.timeout is not known; known are expectedVersion, id, condition"),
     ("stream.write", ["s", MESSAGE, {"timeout": 5}],
      "options.timeout is not known; known are expectedVersion, id, condition"),
     ("stream.write", {"stream": "s", "message": {**MESSAGE, "id": new_id()}
                       }, "message.id is not known; known are type, data, metadata, tags"),
     ("stream.write", {"stream": "s", "message": MESSAGE, "option": {}
                       }, "params.option is not known; did you mean options?"),
     ("stream.write", {"stream": "s", "message": MESSAGE, "expectedVersion": 7
                       }, "params.expectedVersion is not known; known are stream, message, options"),
     ("category.get", {"category": "c", "options": {"consumerGroup": {"member": 0, "size": 2, "name": "x"}}
                       }, "options.consumerGroup.name is not known; known are member, size"),
     ("ns.categories", {"category": "c"}, "params.category is not known; known are options"), ])
def test_json_rpc_calls_refuse_every_unknown_key(client, method, params, message):
    error = rpc2(client, method, params)["error"]
    assert (error["code"], error["data"]["code"], error["message"]) == (-32602, "INVALID_REQUEST", message)
    assert client.call("stream.version", "s") is None


@pytest.mark.parametrize("given,meant", [("ID", "id"), ("_id", "id"), ("Params", "params"), ("param", "params"),
                                         ("prams", "params"), ("Method", "method")])
def test_a_member_of_a_call_that_is_nearly_a_known_one_is_refused_and_both_are_named(client, given, meant):
    """Without its id a call would be a notification, which gets no answer."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "stream.write", "params": ["s", MESSAGE]}
    call[given] = call.pop(meant)
    id = call.get("id")
    for body, of in ((call, lambda json: json), ([call], lambda json: json[0])):
        answer = of(client.post(body).json)
        assert answer == {
            "jsonrpc": "2.0", "id": id,
            "error": {"code": -32600, "message": f"Invalid Request: {given} is not known; did you mean {meant}?"}
        }
    assert client.call("stream.version", "s") is None


def test_other_members_of_a_call_are_extensions(client):
    answer = client.post({
        "jsonrpc": "2.0", "id": 1, "method": "stream.version", "params": ["s"], "auth": "x", "traceparent": "00-1-2-3"
    }).json
    assert answer == {"jsonrpc": "2.0", "id": 1, "result": None}


def test_json_rpc_calls_create_namespaces_too(admin):
    name = "called " + new_id()
    assert list(
        rpc2(admin, "ns.create",
             {"namespace": name, "options": {"description": "d"}})["result"]) == ["namespace", "token", "createdAt"]
    admin.call("ns.delete", name)


# ---- /subscribe


@pytest.mark.parametrize("given,meant", [("Stream", "stream"), ("categories", None), ("categry", "category"),
                                         ("postion", "position"), ("id", "ids"), ("type", "types"),
                                         ("message", "messages"), ("last-event-id", "lastEventId"),
                                         ("Consumer", "consumer"), ("consumer_group_member", "consumerGroupMember"),
                                         ("corelation", "correlation"), ("TOKEN", "token")])
def test_a_parameter_that_is_nearly_a_known_one_is_refused_and_both_are_named(client, given, meant):
    reply = client.request("GET", "/subscribe?" + urlencode({given: "1", "stream": ""}))
    assert reply.status == 400 and reply.headers["Content-Type"].startswith("text/plain")
    expected = f"{given} is not known; did you mean {meant}?" if meant else \
        "exactly one of stream, category, query and all=true must be given"
    assert reply.body.decode() == expected


def test_other_unknown_parameters_are_ignored(subscribe):
    subscribe(all="true", _="1700000000", nonsense="x", t="5").ready()


@pytest.mark.parametrize("method,path,given,meant", [("GET", "/export", "Since", "since"),
                                                     ("GET", "/export", "untill", "until"),
                                                     ("POST", "/import", "Force", "force"),
                                                     ("POST", "/import", "froce", "force"),
                                                     ("POST", "/import", "progres", "progress")])
def test_exports_and_imports_refuse_what_is_nearly_a_parameter(client, method, path, given, meant):
    reply = client.request(method, f"{path}?{given}=true", b"" if method == "POST" else None)
    assert (reply.status, reply.error["message"]) == (400, f"{given} is not known; did you mean {meant}?")


def write_variety(client, round):
    """Four messages: A and B, correlated and not."""
    for type, correlation in (("A", "x-1"), ("B", "x-2"), ("A", "y-1"), ('B,"\\', None)):
        client.write(f"c-{round}", type=type, metadata={"correlationStreamName": correlation} if correlation else None)


@pytest.mark.parametrize("parameters,expected", [
    ({"all": "true", "types": "A"}, [0, 2]),
    ({"category": "c", "types": "A,B"}, [0, 1, 2]),
    ({"category": "c", "types": "none"}, []),
    ({"all": "true", "correlation": "x"}, [0, 1]),
    ({"category": "c", "correlation": "x", "types": "B"}, [1]),
    ({"category": "c", "correlation": "x-1"}, []),
    ({"category": "c", "types": "A", "ids": "true", "messages": "true"}, [0, 2]),
])
def test_types_and_correlation_filter_what_was_and_what_comes(client, another, subscribe, parameters, expected):
    write_variety(client, 1)
    subscriber = subscribe(**parameters)
    everything = subscribe(all="true")
    subscriber.ready()
    everything.wait_for(4)
    for round in (2, 3):  # one of them is followed, the first perhaps still read
        write_variety(another(), round)
        everything.wait_for(4 * round)
    wanted = [4 * round + each + 1 for round in range(3) for each in expected]
    # The last message is one that only these want.
    end = client.write("c-9", type=parameters.get("types", "A").split(",")[0],
                       metadata={"correlationStreamName": parameters.get("correlation", "x") + "-9"})
    if parameters.get("correlation") != "x-1":
        wanted.append(end["globalPosition"])
    events = subscriber.wait_for(len(wanted))
    positions = [json.loads(event.partition(b"data: ")[2]) for event in events]
    assert [each[4] if isinstance(each, list) else each["globalPosition"] for each in positions] == wanted


def test_a_stream_may_be_filtered_too(client, subscribe):
    for type in "ABA":
        client.write("s-1", type=type)
    subscriber = subscribe(stream="s-1", types="B", position=1)
    assert subscriber.wait_for(1) == [poke("s-1", 1, 2)]
    client.write("s-1", type="A")
    client.write("s-1", type="B")
    assert subscriber.wait_for(2) == [poke("s-1", 1, 2), poke("s-1", 4, 5)]


@pytest.mark.parametrize("types", [",", "A,", ",A", "x" * 2001, "A,,B", "\0"])
def test_bad_types_are_refused(client, types):
    reply = client.request("GET", "/subscribe?" + urlencode({"all": "true", "types": types}))
    assert reply.status == 400 and b"types" in reply.body


def test_a_consumer_group_may_be_named_as_in_sql(client, subscribe):
    for each in (1, 2, 3, 4):
        client.write(f"account-{each}")
    short = subscribe(category="account", consumer=0, size=2).wait_for(2)
    long = subscribe(category="account", consumerGroupMember=0, consumerGroupSize=2).wait_for(2)
    assert short == long
    reply = client.request("GET", "/subscribe?category=account&consumerGroupMember=2&consumerGroupSize=2")
    assert (reply.status, reply.body) == (400, b"consumer must be below size")


def test_the_last_event_id_may_be_a_parameter(client, subscribe):
    for _ in range(4):
        client.write("s")
    assert subscribe(all="true", position=1, lastEventId="2").wait_for(2) == [poke("s", 2, 3), poke("s", 3, 4)]
    assert subscribe(all="true", lastEventId="2", headers={"Last-Event-ID": "3"}).wait_for(1) == [poke("s", 3, 4)]
    assert len(subscribe(all="true", lastEventId="").wait_for(4)) == 4
    reply = client.request("GET", "/subscribe?all=true&lastEventId=x")
    assert reply.status == 400 and b"lastEventId" in reply.body
