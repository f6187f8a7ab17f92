"""Streams are truncated, removed, closed and reopened by the administrator."""
import pytest

from store import ZERO_TOKEN, RpcError, Server, new_id

MESSAGE = {"type": "T", "data": {}}


@pytest.fixture(scope="module")
def alone():
    """A server in test mode; its administrator is every test's."""
    server = Server("--test-mode")
    yield server
    server.stop()


@pytest.fixture
def own(alone):
    client = alone.client(ZERO_TOKEN)
    yield client
    client.close()


@pytest.fixture
def stream():
    return new_id().replace("-", "") + "-1"


def write(client, stream, count=1):
    return [client.call("stream.write", stream, MESSAGE)["position"] for _ in range(count)]


def refused(client, code, *request):
    with pytest.raises(RpcError) as caught:
        client.call(*request)
    assert caught.value.code == code, caught.value
    return caught.value


def test_a_truncated_stream_begins_later(own, stream):
    write(own, stream, 5)
    assert own.call("stream.truncate", stream, {"before": 3, "limit": 2}) == {
        "removed": 2, "firstPosition": 2, "more": True}
    assert own.call("stream.truncate", stream, {"before": 3, "limit": 2}) == {
        "removed": 1, "firstPosition": 3, "more": False}
    assert [message[2] for message in own.call("stream.get", stream)] == [3, 4]
    assert [message[3] for message in own.call("category.get", stream.split("-")[0])] == [3, 4]


def test_a_removed_streams_version_stays(own, stream):
    write(own, stream, 5)
    error = refused(own, "STREAM_VERSION_CONFLICT", "stream.remove", stream, {"expectedVersion": 7})
    assert error.details == {"expected": 7, "actual": 4}
    assert own.call("stream.remove", stream, {"expectedVersion": 4}) == {"removed": 5, "more": False}
    assert own.call("stream.get", stream) == []
    assert own.call("stream.version", stream) == 4
    error = refused(own, "STREAM_VERSION_CONFLICT", "stream.write", stream, MESSAGE, {"expectedVersion": -1})
    assert error.details == {"expected": -1, "actual": 4}
    assert own.call("stream.write", stream, MESSAGE, {"expectedVersion": 4})["position"] == 5
    own.call("stream.remove", stream, {"forget": True})
    assert own.call("stream.version", stream) is None
    assert write(own, stream) == [0]


def test_a_closed_stream_takes_no_more(own, stream):
    same = new_id()
    first = own.call("stream.write", stream, MESSAGE, {"id": same})
    refused(own, "STREAM_VERSION_CONFLICT", "stream.close", stream, {"expectedVersion": 3})
    closed = own.call("stream.close", stream, {"expectedVersion": 0})
    assert closed["position"] == 1
    assert own.call("stream.close", stream) == closed
    reply = own.post(["stream.write", stream, MESSAGE])
    assert (reply.status, reply.error["code"]) == (410, "STREAM_CLOSED")
    assert own.call("stream.write", stream, MESSAGE, {"id": same}) == first
    refused(own, "STREAM_CLOSED", "streams.append", [{"stream": stream, "messages": [MESSAGE]}])
    assert own.call("stream.reopen", stream)["position"] == 2
    assert write(own, stream) == [3]
    assert refused(own, "INVALID_REQUEST", "stream.reopen", stream).message == f'stream "{stream}" is not closed'


def test_the_stores_own_types_are_refused(own, stream):
    reply = own.post(["stream.write", stream, {"type": "millrace.closed", "data": {}}])
    assert (reply.status, reply.error["code"]) == (400, "RESERVED_TYPE")
    refused(own, "RESERVED_TYPE", "stream.append", stream, [MESSAGE, {"type": "millrace.x", "data": {}}])
    assert own.call("stream.version", stream) is None


@pytest.mark.parametrize("options", [{}, {"expectedVersion": 0}, {"expectedVersion": -1}])
def test_a_late_retry_of_a_removed_message_is_refused(own, options, stream):
    same = new_id()
    own.call("stream.write", stream, MESSAGE, {"id": same})
    own.call("stream.remove", stream)
    error = refused(own, "MESSAGE_ID_CONFLICT", "stream.write", stream, MESSAGE, {"id": same, **options})
    assert error.message == f"message id {same} was removed"


@pytest.mark.parametrize("request_", [
    ["stream.truncate", "a-1"],
    ["stream.truncate", "a-1", {}],
    ["stream.truncate", "a-1", {"before": -1}],
    ["stream.truncate", "a-1", {"before": "3"}],
    ["stream.truncate", "a-1", {"before": 1.5}],
    ["stream.truncate", "a-1", {"before": None}],
    ["stream.truncate", "a-1", {"before": 1, "limit": 0}],
    ["stream.truncate", "a-1", {"before": 1, "limit": 10001}],
    ["stream.truncate", "a-1", {"before": 1, "forget": True}],
    ["stream.truncate", "", {"before": 1}],
    ["stream.truncate", "x" * 2001, {"before": 1}],
    ["stream.remove"],
    ["stream.remove", "a-1", {"expectedVersion": -2}],
    ["stream.remove", "a-1", {"forget": 1}],
    ["stream.remove", "a-1", {"before": 1}],
    ["stream.close", "a-1", {"limit": 1}],
    ["stream.reopen", None],
])
def test_bad_arguments_are_refused(own, request_):
    head = write(own, "a-1")
    assert refused(own, "INVALID_REQUEST", *request_).message
    assert own.call("stream.version", "a-1") == head[-1]


@pytest.mark.parametrize("method, options", [
    ("stream.truncate", [{"before": 1}]), ("stream.remove", []), ("stream.close", []), ("stream.reopen", [])])
def test_only_the_administrator_may(admin, secured, method, options, stream):
    token = admin.call("ns.create", "tenant " + new_id())["token"]
    tenant = secured.client(token)
    write(tenant, stream)
    refused(tenant, "AUTH_UNAUTHORIZED", method, stream, *options)
    assert tenant.call("stream.version", stream) == 0
    tenant.close()


def test_removed_messages_are_counted(start, stream):
    server = start("--test-mode", "--admin-listen", "127.0.0.1:0")
    own = server.client(ZERO_TOKEN)
    write(own, stream, 5)
    own.call("stream.truncate", stream, {"before": 2})
    own.call("stream.remove", stream)
    text = server.admin().request("GET", "/metrics").body.decode()
    assert 'millrace_removed_messages_total{by="truncate"} 2\n' in text
    assert 'millrace_removed_messages_total{by="remove"} 3\n' in text


def imported(client, body):
    reply = client.request("POST", "/import", body)
    assert reply.status == 200 and b'"done":true' in reply.body, reply.body


@pytest.mark.parametrize("back", [2, 5])
def test_messages_that_come_back_make_no_version_new_again(start, back):
    client = start("--test-mode").client(ZERO_TOKEN)
    write(client, "a-1", 5)
    lines = client.request("GET", "/export").body.splitlines(keepends=True)
    client.call("stream.remove", "a-1")
    imported(client, b"".join(lines[:back]))
    assert [message[2] for message in client.call("stream.get", "a-1")] == list(range(back))
    assert client.call("stream.version", "a-1") == 4
    assert client.call("ns.streams")[0]["version"] == 4
    assert client.call("streams.recent")["streams"][0]["version"] == 4
    error = refused(client, "STREAM_VERSION_CONFLICT", "stream.write", "a-1", MESSAGE, {"expectedVersion": 1})
    assert error.details == {"expected": 1, "actual": 4}
    assert client.call("stream.write", "a-1", MESSAGE, {"expectedVersion": 4})["position"] == 5
    assert client.call("ns.streams")[0]["version"] == 5
