"""The data of the page's tests: what a store holds, and what a page could stumble over."""
import uuid

from store import sql

DIGITS = '{"big": 12345678901234567890123456789, "exact": 0.10000000000000000005, "most": 9223372036854775807}'
MARKUP = '<img src=x onerror=alert(1)>'
SCRIPT = '"><script>alert(2)</script>'
LARGE = 5 << 20

# What a page may show of it: places and their parameters.  A message's is its id.
VIEWS = [("", {}), ("streams", {"prefix": "account"}), ("streams", {"categories": "true"}),
         ("stream", {"name": "account-1"}), ("stream", {"name": "visit-1"}),
         ("category", {"name": "account"}), ("category", {}), ("message", {}),
         ("search", {"path": "data.order", "value": "7"}), ("consumers", {}), ("consumers", {"name": "worker"}),
         ("admin", {}), ("settings", {})]


def stock(server):
    """Fills namespace default of a server: accounts, an order with all that it caused, digits, markup."""
    client = server.client()
    for first in range(0, 200, 50):
        client.call("streams.append", [{"stream": f"account-{n}", "messages": account(n)}
                                       for n in range(first, first + 50)])
    ids = order(client)
    client.post('["stream.write", "digits-1", {"type": "Counted", "data": ' + DIGITS + '}]')
    client.write(MARKUP + "-1", {MARKUP: SCRIPT, "nested": [MARKUP, {SCRIPT: 1}]}, SCRIPT, {MARKUP: MARKUP})
    consumers(client)
    kept(client)
    client.close()
    return ids


def account(n):
    return [{"type": "Opened", "data": {"account": n, "owner": {"name": f"Owner {n}", "since": 2000 + n % 25}}},
            *({"type": "Deposited" if step % 3 else "Withdrawn", "data": {"amount": n + step}} for step in range(9))]


def order(client):
    """An order and what it caused, by metadata; returns the ids in the order of their positions."""
    ids = [str(uuid.uuid4()) for _ in range(4)]
    steps = [("order-7", "Placed"), ("payment-7", "Charged"), ("parcel-7", "Packed"), ("parcel-7", "Sent")]
    for n, (stream, type) in enumerate(steps):
        metadata = {"correlationId": ids[0], "correlationStreamName": "order-7"}
        if n:
            metadata["causationId"] = ids[n - 1]
        client.write(stream, {"order": 7, "step": n}, type, metadata, id=ids[n])
    return ids


def consumers(client):
    """One that has a parked stream, one that is tried again and an open claim; one that is far behind; a manual one."""
    client.call("streams.append", [{"stream": f"job-{n}", "messages": [{"type": "Asked", "data": {"n": n}}] * 3}
                                   for n in range(6)])
    client.call("consumer.create", "worker", {"category": "job", "leaseMs": 43200000})
    claim = client.call("consumer.next", "worker", {"waitMs": 0, "max": 12, "member": "host-1"})
    streams = list(dict.fromkeys(message[1] for message in claim["messages"]))
    failed = [{"stream": streams[0], "position": 0, "error": f"no such job {MARKUP}", "park": True},
              {"stream": streams[1], "position": 1, "error": "came too late", "park": True},
              {"stream": streams[2], "position": 0, "error": "busy", "delayMs": 3600000}]
    client.call("consumer.settle", "worker", {"claim": claim["claim"], "failed": failed})
    client.call("consumer.next", "worker", {"waitMs": 0, "max": 3, "member": "host-2"})
    client.call("consumer.create", "far-behind", {"category": "account"})
    client.call("consumer.create", "digest", {"category": "account", "ordering": "manual"})
    client.call("consumer.create", MARKUP, {"category": "job", "position": "end"})


def kept(client):
    """A stream that begins late, was redacted and is closed; a policy, and one more token."""
    client.call("stream.append", "visit-1", [{"type": "Paid", "data": {"name": "Ada"}}] * 4)
    client.call("stream.truncate", "visit-1", {"before": 1})
    client.call("message.redact", {"stream": "visit-1", "to": 2})
    client.call("stream.close", "visit-1")
    client.call("ns.setRetention", "default", "log", {"maxAgeMs": 7776000000, "maxCount": 1000, "hold": ["archive"]})
    client.call("ns.createToken", "default", "dashboard", {"rights": ["read"], "expiresAt": "2099-01-31T12:00:00Z"})


def write_large(client):
    """A message of 5 MB in large-1: as many small values as a tree can stumble over, and one long string."""
    data = {"text": "x" * (LARGE // 2), "rows": [{"n": n, "name": f"row {n}"} for n in range(LARGE // 2 // 40)]}
    client.call("stream.write", "large-1", {"type": "Uploaded", "data": data})


def fill(connection, stream, count, per_call=1000):
    """Appends `count` messages to a stream by SQL."""
    sql(connection, """
        SELECT count((millrace.append_messages(%s, ARRAY(
                   SELECT ('T' || n %% 5, jsonb_build_object('n', call * %s + n), NULL, NULL)::millrace.new_message
                     FROM generate_series(1, %s) n))).position)
          FROM generate_series(0, %s - 1) call""", stream, per_call, per_call, count // per_call)
