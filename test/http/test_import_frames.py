"""Batches of an import that come while Postgres is busy are stored together, and each is still whole by itself."""
import base64
import json
import threading
from pathlib import Path

import pytest

import certificates
from importing import DONE, events, imported, line, lines, post, stored
from store import sql, wait_until

NUL_AND_REST = line(3500, data={"a": "\0"}) + "\n" + lines(3501, 5000)


@pytest.fixture
def namespace(client):
    client.call("stream.version", "x")  # makes the namespace
    return base64.urlsafe_b64decode(client.token[3:-65] + "==").decode()


@pytest.fixture
def holder(server, namespace):
    """A session whose transaction has the stream imported-1 locked."""
    connection = server.postgres()
    sql(connection, "SELECT set_config('millrace.namespace', %s, false)", namespace)
    sql(connection, "BEGIN")
    sql(connection, "SELECT millrace.append('imported-1', 'Held', '{}')")
    yield connection
    connection.close()


@pytest.fixture
def watcher(server):
    """Another session: one in a transaction sees the others as they were at its first look."""
    connection = server.postgres()
    yield connection
    connection.close()


def waits(watcher):
    return sql(watcher, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%import_batch%'")


def unread(port):
    """How many bytes from a client's port the server has not read yet, of those that it takes while it waits."""
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path("/proc/net", name).read_text().splitlines()]
    ends = [row[4].split(":") for row in rows if any(end.endswith(f":{port:04X}") for end in row[1:3])]
    assert len(ends) == 2
    return sum(int(sent, 16) + int(received, 16) for sent, received in ends)


def sent(wire, watcher, holder, body):
    """What is told of an import whose batches have gathered while the first waited."""
    wire.start("Transfer-Encoding: chunked")
    wire.chunk(body)
    wait_until(lambda: waits(watcher), "the first batch")
    sql(holder, "ROLLBACK")
    wire.end()
    assert wire.head()[0] == 200
    return [json.loads(event[6:]) for event in wire.chunks()]


def transactions(holder, namespace):
    schema = sql(holder, "SELECT schema FROM millrace.namespaces WHERE name = %s", namespace)[0][0]
    return sql(holder, f"SELECT count(DISTINCT xmin::text) FROM \"{schema}\".messages WHERE type = 'Imported'")[0][0]


@pytest.mark.skipif(certificates.EVERYWHERE, reason="of TLS the last record waits in the socket until there is room")
def test_what_gathers_while_the_first_batch_waits_is_one_transaction(client, wire, holder, watcher, namespace):
    wire.start("Transfer-Encoding: chunked")
    wire.chunk(lines(1, 4999))
    wait_until(lambda: waits(watcher) and unread(wire.socket.getsockname()[1]) == 0, "all that is sent to be read")
    sql(holder, "ROLLBACK")
    wire.end()
    assert wire.head()[0] == 200
    got = list(wire.chunks())
    told = [json.loads(event[6:]) for event in got[:-1]]
    assert told == [{"imported": n, "gpos": n} for n in range(1000, 5000, 1000)]
    assert DONE.fullmatch(got[-1]).group(1) == b"4999" and len(stored(client)) == 4999
    assert transactions(holder, namespace) == 3, "the first batch, three full ones, and the rest"


@pytest.mark.parametrize("fault, code", [({"pos": 7}, "POSITION_EXISTS"), ({"pos": -1}, "INVALID_RECORD"),
                                         ({"pos": 2**62 + 1}, "INVALID_RECORD")])
def test_of_batches_that_go_together_those_before_a_fault_are_stored(client, wire, holder, watcher, fault, code):
    told = sent(wire, watcher, holder, lines(1, 3499) + line(3500, **fault) + "\n" + lines(3501, 5000))
    assert [event.get("imported") for event in told] == [1000, 2000, 3000, None]
    assert (told[-1]["error"], told[-1]["line"]) == (code, 3500)
    assert len(stored(client)) == 3000
    assert imported(client, lines(3001, 4000)) == 1000


def test_no_transaction_has_more_streams_than_may_be_locked(client, holder, watcher):
    body = "".join(line(n, stream=f"imported-{n}", pos=0) + "\n" for n in range(1, 5001))
    found = []
    sender = threading.Thread(target=lambda: found.extend(events(post(client, body))))
    sender.start()
    wait_until(lambda: waits(watcher), "the first batch")
    sql(holder, "ROLLBACK")
    sender.join()
    assert [event["imported"] for event in found] == [1000, 2000, 3000, 4000, 5000, 5000]


@pytest.fixture
def indexed(server, namespace):
    """The namespace has an index of tags, which the program knows nothing of: it takes 1000 of a message at most."""
    connection = server.postgres()
    sql(connection, "SELECT millrace.index_tags(%s)", namespace)
    connection.close()


def test_of_two_errors_in_one_frame_the_first_is_told_with_its_own_words(client, wire, indexed, holder, watcher):
    """Postgres raises what it comes to first; the message is to be of the record that is named."""
    tags = {"tags": [f"t{n}" for n in range(1001)]}
    told = sent(wire, watcher, holder, lines(1, 1499) + line(1500, meta=tags) + "\n" + lines(1501, 3499) + NUL_AND_REST)
    assert [event.get("imported") for event in told] == [1000, None]
    assert (told[-1]["error"], told[-1]["line"]) == ("INVALID_RECORD", 1500)
    assert "tags" in told[-1]["message"]
    assert len(stored(client)) == 1000


def test_of_a_refusal_and_an_error_in_one_frame_the_first_is_told(client, wire, holder, watcher):
    told = sent(wire, watcher, holder, lines(1, 2499) + line(2500, pos=7) + "\n" + lines(2501, 3499) + NUL_AND_REST)
    assert [event.get("imported") for event in told] == [1000, 2000, None]
    assert (told[-1]["error"], told[-1]["line"]) == ("POSITION_EXISTS", 2500)
    assert len(stored(client)) == 2000
