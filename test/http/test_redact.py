"""message.redact: by id, of a stream, with a tag."""
import threading

import pytest

from importing import imported, refused as refused_import
from store import new_id, token_for
from test_metrics import ADMIN, Metrics


def stream_name(category):
    return f"{category}-{new_id()}"


def content(message):
    return message[4], message[5]


GONE = {}, {"millrace.redacted": True}
RIGHTS = ["read", "append", "remove"]


# What is refused; nothing is redacted then

@pytest.mark.parametrize("which,options,words", [
    ({}, {}, "which must have ids, stream or tag"),
    ({"ids": [], "stream": "a"}, {}, "which must have ids, stream or tag"),
    ({"from": 1}, {}, "which must have ids, stream or tag"),
    ({"ids": "x"}, {}, "which.ids must be an array"),
    ({"ids": ["x"]}, {}, '"x"'),
    ({"ids": [1]}, {}, "which.ids must be an array of UUIDs"),
    ({"ids": [None]}, {}, "which.ids must be an array of UUIDs"),
    ({"stream": 1}, {}, "which.stream must be a string"),
    ({"stream": ""}, {}, "stream must not be empty"),
    ({"stream": "a" * 2001}, {}, "too long"),
    ({"stream": "a", "from": "1"}, {}, "which.from must be an integer"),
    ({"stream": "a", "from": 1.5}, {}, "which.from must be an integer"),
    ({"stream": "a", "from": 2, "to": 1}, {}, "which.from 2 is above which.to 1"),
    ({"stream": "a", "position": 1}, {}, 'which has no "position"'),
    ({"tag": "a", "to": 1}, {}, 'which has no "to"'),
    ({"tag": ""}, {}, "must not be empty"),
    ({"tag": "a"}, {}, "no index on tags"),
    ({"ids": []}, {"replacement": []}, "options.replacement must be an object"),
    ({"ids": []}, {"replacement": None}, "options.replacement must not be null"),
    ({"ids": []}, {"keepTags": "no"}, "options.keepTags must be a boolean"),
    ({"ids": []}, {"replaced": {}}, "options.replaced"),
    ([], {}, "which must be an object"),
    ({"ids": []}, [], "options must be an object"),
])
def test_what_is_wrong_is_named(client, which, options, words):
    error = client.refused("message.redact", which, options)
    assert (error.status, error.code) == (400, "INVALID_REQUEST"), error
    assert words in error.message, error.message


def test_more_than_a_thousand_ids_are_refused(client):
    error = client.refused("message.redact", {"ids": [new_id() for _ in range(1001)]})
    assert error.status == 400 and "1001 ids" in error.message


def test_with_an_id_that_is_not_there_nothing_is_redacted(client):
    stream, kept, missing = stream_name("person"), new_id(), new_id()
    client.call("stream.write", stream, {"type": "T", "data": {"name": "Ada"}}, {"id": kept})
    error = client.refused("message.redact", {"ids": [kept, missing]})
    assert (error.status, error.code) == (404, "NOT_FOUND") and missing in error.message
    assert client.call("stream.last", stream)[4] == {"name": "Ada"}


@pytest.mark.parametrize("metadata", ['{"millrace.redacted":true}', '{"millrace.redacted":0,"a":1}',
                                      '{"a":1,"\\u006dillrace\\u002eredacted":true}'])
def test_its_mark_is_taken_from_no_client(client, server, metadata):
    stream, same = stream_name("person"), new_id()
    marked = '{"type":"T","data":{"n":1},"metadata":%s}' % metadata
    for body in ('["stream.write","%s",%s,{"id":"%s"}]' % (stream, marked, same),
                 '["stream.append","%s",[{"type":"T","data":{}},%s]]' % (stream, marked),
                 '["streams.append",[{"stream":"%s","messages":[%s]}]]' % (stream, marked)):
        error = client.refused_body(body)
        assert (error.status, error.code) == (400, "RESERVED_TYPE"), error
        assert "millrace.redacted" in error.message
    reply = client.request("POST", "/rpc", '[{"jsonrpc":"2.0","id":1,"method":"stream.write","params":["%s",%s]}]'
                           % (stream, marked))
    assert reply.json[0]["error"]["data"]["code"] == "RESERVED_TYPE"
    assert client.call("stream.version", stream) is None
    assert client.write(stream, {"n": 2}, id=same)["position"] == 0
    assert client.refused("stream.write", stream, {"type": "Tested", "data": {"n": 3}},
                          {"id": same}).code == "MESSAGE_ID_CONFLICT"


def test_an_import_brings_redacted_messages_only_of_who_may_redact(secured, admin):
    source, target = ("redacted " + new_id() for _ in range(2))
    admin.call("ns.create", source)
    client = secured.client(admin.call("ns.createToken", source, "t", {"rights": RIGHTS})["token"])
    client.write("a-1", {"secret": 1}, id=(same := new_id()))
    client.call("message.redact", {"stream": "a-1"})
    client.write("a-2")
    exported = client.request("GET", "/export").body
    first = secured.client(admin.call("ns.create", target)["token"])
    error = refused_import(first, exported)
    assert error["error"] == "INVALID_RECORD" and error["line"] == 1 and "right to remove" in error["message"]
    escaped = exported.replace(b"millrace.redacted", b"millrace\\u002eredacted")
    assert escaped != exported and refused_import(first, escaped)["line"] == 1
    assert first.call("category.get", "") == []
    remover = secured.client(admin.call("ns.createToken", target, "t", {"rights": ["append", "remove"]})["token"])
    assert imported(remover, exported) == 2
    assert first.request("GET", "/export").body == exported
    assert first.write("a-1", {"secret": 1}, id=same)["position"] == 0
    for each in (client, first, remover):
        each.close()
    for name in (source, target):
        admin.call("ns.delete", name)


# What is redacted

def test_content_goes_and_the_place_stays(client):
    stream, id = stream_name("person"), new_id()
    message = {"type": "T", "data": {"name": "Ada"}, "metadata": {"by": "Bo"}}
    written = client.call("stream.write", stream, message, {"id": id})
    before = client.call("stream.last", stream)
    assert client.call("message.redact", {"ids": [id, id]}) == {"redacted": 1}
    after = client.call("stream.last", stream)
    assert content(after) == GONE
    assert before[:4] + before[6:] == after[:4] + after[6:]
    # A retry is answered what the first attempt was; another stream is another message.
    assert client.call("stream.write", stream, message, {"id": id}) == written
    assert client.refused("stream.write", stream_name("person"), message, {"id": id}).code == "MESSAGE_ID_CONFLICT"


def test_a_long_stream_is_redacted_page_by_page(client):
    stream = stream_name("person")
    client.call("stream.append", stream, [{"type": "T", "data": {"n": n}} for n in range(1000)])
    client.call("stream.append", stream, [{"type": "T", "data": {"n": n}} for n in range(5)])
    first = client.call("message.redact", {"stream": stream}, {"replacement": {"gone": 1}})
    assert first == {"redacted": 1000, "next": 1000}
    assert client.call("stream.last", stream)[4] == {"n": 4}
    assert client.call("message.redact", {"stream": stream, "from": 1000}) == {"redacted": 5, "next": None}
    assert client.call("stream.get", stream, {"position": 999, "batchSize": 2})[0][4] == {"gone": 1}
    assert content(client.call("stream.last", stream)) == GONE


def test_a_tag_finds_what_is_in_several_streams(server):
    owner = server.client(token_for("default"))
    client = server.client(owner.call("ns.create", "redacted " + new_id(), {"tags": True})["token"])
    for n in range(4):
        client.call("stream.write", stream_name("a"), {"type": "T", "data": {"n": n}, "tags": ["p:1", f"n:{n % 2}"]})
    answer = client.call("message.redact", {"tag": "n:1"}, {"keepTags": False})
    assert answer == {"redacted": 2, "next": None, "head": 4}
    query = {"items": [{"tags": ["p:1"]}]}
    assert [message[5] for message in client.call("query.get", query)["messages"]] == [{"n": 0}, {"n": 2}]
    client.close()
    owner.close()


def test_metrics_count_what_was_redacted(start):
    watched = start("--test-mode", *ADMIN)
    client = watched.client(token_for("default"))
    client.call("stream.append", "person-1", [{"type": "T", "data": {}}] * 3)
    before = Metrics(watched)
    client.call("message.redact", {"stream": "person-1"})
    assert Metrics(watched).since(before, "millrace_redacted_messages_total") == {(): 3}


def test_readers_pass_no_message_over_while_a_stream_is_redacted_in_a_loop(client, another):
    category = stream_name("loop").replace("-", "")
    written = [client.call("stream.write", f"{category}-{n % 3}", {"type": "T", "data": {"n": n}})["globalPosition"]
               for n in range(30)]
    over, redactor = threading.Event(), another()

    def redact():
        while not over.is_set():
            for n in range(3):
                redactor.call("message.redact", {"stream": f"{category}-{n}"}, {"replacement": {"x": "y" * 500}})

    thread = threading.Thread(target=redact)
    thread.start()
    try:
        for _ in range(100):
            assert [message[4] for message in client.call("category.get", category)] == written
    finally:
        over.set()
        thread.join()
