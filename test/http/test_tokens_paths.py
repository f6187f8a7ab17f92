"""A token's rights by every path: the array form, JSON-RPC, batches, names, GET and POST, the header and the query."""
import json
import urllib.parse

import pytest

from every_call import ADMINISTRATIVE, METHODS
from importing import lines
from store import new_id
from subscriber import Subscriber
from test_tokens import NEEDED, RIGHTS, make, namespace  # noqa: F401 - fixtures


def needs_of(method):
    return next((right for right, methods in NEEDED.items() if method in methods), None)


def allowed(method, right):
    return needs_of(method) == right or needs_of(method) is None and method not in ADMINISTRATIVE


def refusal(answer):
    """What a JSON-RPC answer says of the right; None: it was not refused for one."""
    data = answer.get("error", {}).get("data", {})
    return data.get("details", {}).get("right", "administrator") if data.get("code") == "AUTH_UNAUTHORIZED" else None


def calls_of(own):
    return [{"jsonrpc": "2.0", "id": n, "method": method,
             "params": [own if each == "NAME" else each for each in arguments]}
            for n, (method, arguments) in enumerate(METHODS.items())]


@pytest.mark.parametrize("right", RIGHTS)
@pytest.mark.parametrize("in_query", [False, True], ids=["header", "query"])
def test_each_call_is_judged_by_json_rpc_alone_and_in_a_batch(secured, make, namespace, right, in_query):  # noqa: F811
    client = make(right)
    path, headers = "/rpc", {}
    if in_query:
        path += "?token=" + urllib.parse.quote(client.token)
        client = secured.client("ns_none")
        client.headers = lambda: {}
    calls = calls_of(namespace)
    batch = client.request("POST", path, json.dumps(calls), headers).json
    assert len(batch) == len(calls)
    for answer in batch:
        method = calls[answer["id"]]["method"]
        expected = None if allowed(method, right) else needs_of(method) or "administrator"
        assert refusal(answer) == expected, (method, answer)
    for call in calls:
        alone = client.request("POST", path, json.dumps(call), headers)
        expected = None if allowed(call["method"], right) else needs_of(call["method"]) or "administrator"
        assert refusal(alone.json) == expected, (call["method"], alone.body)
    client.close()


@pytest.mark.parametrize("right", RIGHTS)
def test_a_notification_does_nothing_that_a_call_may_not(make, admin, namespace, right):  # noqa: F811
    """It is not answered, so what it has done must be looked for."""
    client, reader = make(right), make("read")
    body = [{"jsonrpc": "2.0", "method": "stream.write", "params": ["noted-1", {"type": "T", "data": {}}]},
            {"jsonrpc": "2.0", "method": "ns.createToken", "params": [namespace, "noted", {"rights": ["read"]}]}]
    for each in [body, *body]:
        reply = client.request("POST", "/rpc", json.dumps(each))
        assert reply.body == b"" and reply.status in (202, 204), (reply.status, reply.body)
    assert reader.call("stream.version", "noted-1") == (1 if right == "append" else None)
    assert ("noted" in [each["name"] for each in admin.call("ns.tokens", namespace)]) == (right == "administer")


@pytest.mark.parametrize("right", RIGHTS)
def test_endpoints_judge_a_token_in_the_query_too(secured, make, namespace, right):  # noqa: F811
    token, bare = make(right).token, secured.client("ns_none")
    bare.headers = lambda: {}
    writer = make("append", "read")
    writer.write("kept-1")
    for path, method, body, needed in (
            ("/export?", "GET", None, "read"), ("/import?", "POST", lines(7001, 7002), "append"),
            ("/import?force=true&", "POST", b"", "append"), ("/import?progress=true&", "POST", b"", "append"),
            ("/subscribe?all=true&", "GET", None, "read"),
            ("/subscribe?stream=kept-1&strict=true&", "GET", None, "read")):
        if path.startswith("/subscribe") and right == needed:
            subscriber = Subscriber(secured, token, **dict(urllib.parse.parse_qsl(path[11:]))).ready()
            subscriber.close()
            continue
        reply = bare.request(method, f"{path}token={token}", body)
        assert reply.status == (200 if right == needed else 403), (path, reply.body)
        if right != needed:
            assert reply.error["details"] == {"right": needed}
    assert (writer.call("stream.version", "kept-1") is None) == (right == "append"), "emptied by force"
    bare.close()


@pytest.mark.parametrize("path, method", [
    ("/rpc", "POST"), ("/export", "GET"), ("/import", "POST"), ("/import?force=true", "POST"),
    ("/subscribe?all=true", "GET")])
def test_a_revoked_token_opens_no_path(make, admin, namespace, path, method):  # noqa: F811
    client = make(*RIGHTS)
    client.write("kept-1")
    admin.call("ns.revokeToken", namespace, client.name)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "stream.version", "params": ["kept-1"]})
    reply = client.request(method, path, body if method == "POST" else None)
    assert (reply.status, reply.error["code"]) == (401, "AUTH_INVALID_TOKEN")
    assert make("read").call("stream.version", "kept-1") == 0


def test_the_page_and_the_document_tell_a_token_nothing_more(secured, make):  # noqa: F811
    """They are the same for all: what is on them comes by /rpc, with the token's rights."""
    bare = secured.client("ns_none")
    bare.headers = lambda: {}
    for path in ("/ui/", "/openrpc.json"):
        told = bare.request("GET", path)
        assert told.status == 200, path
        for right in RIGHTS:
            assert make(right).request("GET", path).body == told.body, path
    bare.close()


def test_an_idempotency_key_and_a_batch_do_not_lend_rights(make):  # noqa: F811
    reader, writer = make("read"), make("append")
    message = {"type": "T", "data": {}}
    key = {"Idempotency-Key": new_id()}
    call = json.dumps(["stream.write", "lent-1", message])
    assert writer.request("POST", "/rpc", call, key).status == 200
    assert reader.request("POST", "/rpc", call, key).status == 403
    assert writer.request("POST", "/rpc", call, key).json["position"] == 0
    assert reader.call("stream.version", "lent-1") == 0
