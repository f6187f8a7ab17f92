"""One call of each method and endpoint."""
import json

from store import ROOT, new_id

MANUAL = (ROOT / "sidecar" / "README.md").read_text()
MESSAGE = {"type": "Tested", "data": {"n": 1}}

# Arguments that succeed with a token that may call the method; NAME becomes the caller's namespace.
METHODS = {
    "stream.write": ["mine-1", MESSAGE],
    "stream.append": ["mine-1", [MESSAGE, MESSAGE]],
    "streams.append": [[{"stream": "mine-2", "messages": [MESSAGE]}, {"stream": "mine-3", "messages": [MESSAGE]}]],
    "stream.get": ["mine-1"],
    "stream.last": ["mine-1"],
    "stream.version": ["mine-1"],
    "stream.head": [],
    "category.get": [""],
    "query.get": [{"all": True}],
    "stream.truncate": ["mine-1", {"before": 1}],
    "stream.remove": ["mine-2"],
    "stream.close": ["mine-3"],
    "stream.reopen": ["mine-3"],
    "ns.create": ["made"],
    "ns.delete": ["made"],
    "ns.setLimits": ["NAME"],
    "ns.setRetention": ["NAME", "kept", {"maxCount": 1}],
    "ns.retention": ["NAME"],
    "ns.sweep": ["NAME"],
    "ns.removals": ["NAME"],
    "ns.purge": ["NAME"],
    "messages.remove": [[{"id": new_id(), "sha256": "0" * 64}]],
    "ns.list": [],
    "ns.tokens": ["NAME"],
    "ns.createToken": ["NAME", "made", {"rights": ["read"]}],
    "ns.revokeToken": ["NAME", "made"],
    "ns.info": ["NAME"],
    "ns.streams": [],
    "ns.categories": [],
    "ns.types": [],
    "message.get": [new_id()],
    "message.redact": [{"ids": []}],
    "messages.search": [{"where": {"path": ["data", "n"], "value": 1}}],
    "position.at": ["2026-01-01T00:00:00Z"],
    "streams.recent": [],
    "sys.stats": [],
    "sys.blocked": [],
    "sys.connections": [],
    "sys.version": [],
    "sys.health": [],
    "rpc.discover": [],
}

# What the token that a namespace comes with may not call, unless it is that of namespace default.
ADMINISTRATIVE = {
    "stream.truncate", "stream.remove", "stream.close", "stream.reopen", "message.redact", "messages.remove",
    "ns.create", "ns.delete", "ns.setLimits", "ns.setRetention", "ns.sweep", "ns.purge", "ns.list", "ns.tokens",
    "ns.createToken", "ns.revokeToken", "sys.blocked", "sys.connections"
}


def exercise(client, name="default", admin=True):
    """Calls every method and endpoint; returns what failed, with the reason."""
    failed = {}
    for method, arguments in METHODS.items():
        if method in ADMINISTRATIVE and not admin:
            continue
        reply = client.post([method, *[name if argument == "NAME" else argument for argument in arguments]])
        if reply.status != 200:
            failed[method] = reply.error["message"]
    if admin:
        reply = client.post(["ns.setRetention", name, "kept"])  # not any more
        if reply.status != 200:
            failed["ns.setRetention"] = reply.error["message"]
    record = {
        "id": new_id(), "stream": "imported-" + new_id(), "type": "T", "pos": 0, "data": {}, "meta": None,
        "time": "2024-01-02T03:04:05Z", "gpos": client.call("stream.write", "mark-1", MESSAGE)["globalPosition"] + 1000
    }
    for path, method, body, good in (("/import", "POST", json.dumps(record), b'"done":true'),
                                     ("/export", "GET", None, b"imported-"), ("/import?force=true", "POST", b"",
                                                                              b'"done":true')):
        reply = client.request(method, path, body)
        if reply.status != 200 or good not in reply.body:
            failed[path] = reply.body.decode()
    return failed


def subscribe(server, token, client):
    """Subscribes to all messages, has the client write one, and reads until it has come."""
    with server.connect() as wire:
        wire.sendall(f"GET /subscribe?all=true&token={token} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        received = b""
        while b": ready" not in received:
            part = wire.recv(65536)
            assert part and b" 200 " in (received or part), received + part
            received += part
        client.write("followed-1")
        while b"followed-1" not in received:
            part = wire.recv(65536)
            assert part, received
            received += part
