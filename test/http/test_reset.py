"""Subscriptions that begin above everything there is: what their client saw is gone, or is not there yet."""
import pytest

from store import new_id, sql, wait_until, without_tokens
from subscriber import READY, Subscriber, append, poke

SOURCES = [{"all": "true"}, {"category": "a"}, {"category": "a", "consumer": 0, "size": 1}, {"stream": "a-1"}]
KNOWING = [{"position": 12, "ids": "true"}, {"position": 12, "messages": "true"}, {"headers": {"Last-Event-ID": "11"}}]


def reset(head, last=None):
    return ("" if last is None else f"id: {last}\n").encode() + b'event: reset\ndata: {"head":%d}\n\n' % head


def comment(position, head):
    return b": position %d is above the head %d\n" % (position, head)


def schema(server, client):
    """The schema of the client's namespace."""
    names = sql(server.postgres(), "SELECT schema FROM millrace.namespaces ORDER BY created_at DESC LIMIT 1")
    return names[0][0]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("how", KNOWING)
@pytest.mark.parametrize("empty", [True, False])
def test_who_is_above_the_head_is_told_so_and_gets_what_comes_from_there(client, subscribe, source, how, empty):
    if not empty:
        append(client, "a-1", 3)
    subscriber = subscribe(**source, **how)
    # Of a stream that is asked for by its own positions the head is such a one, too; ids are global positions.
    own = "stream" in source and "headers" not in how
    last = 0 if empty else 3
    head = last - 1 if own else last
    assert subscriber.wait_for(1) == [reset(head, None if "messages" in how else last)]
    client.write("a-1")
    client.write("a-1")
    assert len(subscriber.wait_for(3)) == 3
    if "messages" not in how:
        assert subscriber.positions() == [last + 1, last + 2]


@pytest.mark.parametrize("source", SOURCES)
def test_plain_pokes_are_told_so_in_a_comment_and_wait_for_their_position(server, client, subscribe, source):
    before = server.text.count("is above the head 1")
    append(client, "a-1", 2)
    head = 1 if "stream" in source else 2
    subscriber = subscribe(position=head + 4, **source)
    subscriber.read_until(lambda: len(subscriber.chunks) >= 2)
    assert subscriber.head.startswith("HTTP/1.1 200")
    assert subscriber.chunks == [READY, comment(head + 4, head)]
    wait_until(lambda: f"at position {head + 4} is above the head {head}" in server.text, "a line in the log")
    for _ in range(4):
        client.write("a-1")
    assert subscriber.wait_for(1) == [poke("a-1", 5, 6)]


@pytest.mark.parametrize("source", SOURCES)
def test_the_next_position_is_not_above_the_head(client, subscribe, source):
    append(client, "a-1", 2)
    subscribers = [
        subscribe(position=2 if "stream" in source else 3, **source, **form)
        for form in ({}, {"ids": "true"}, {"messages": "true"})
    ]
    subscribers.append(subscribe(headers={"Last-Event-ID": "2"}, **source))
    for subscriber in subscribers:
        subscriber.ready()
    client.write("a-1")
    for subscriber in subscribers:
        subscriber.wait_for(1)
        assert len(subscriber.chunks) == 2 and b'a-1' in subscriber.chunks[1]


def test_a_namespace_that_is_deleted_and_made_again_while_its_subscriptions_are_open(secured, admin):
    name = "again " + new_id()
    token = admin.call("ns.create", name)["token"]
    append(secured.client(token), "a-1", 9)
    lasts = []
    for source in SOURCES:
        subscriber = Subscriber(secured, token, ids="true", **source)
        subscriber.wait_for(9)
        lasts.append(subscriber)
    admin.call("ns.delete", name)
    for subscriber in lasts:
        subscriber.ends()
        subscriber.close()
    token = admin.call("ns.create", name)["token"]
    client = secured.client(token)
    append(client, "a-1", 2)
    for source in SOURCES:
        with_id = Subscriber(secured, token, ids="true", headers={"Last-Event-ID": "9"}, **source)
        assert with_id.wait_for(1) == [reset(2, 2)]
        expected = client.call("stream.version", "a-1") + 1
        client.write("a-1")
        # The id of the reset is where an EventSource goes on, so the next one of the source is not told again.
        assert b'"position":%d,' % expected in with_id.wait_for(2)[1]
        with_id.close()
        admin.call("ns.delete", name)
        token = admin.call("ns.create", name)["token"]
        client = secured.client(token)
        append(client, "a-1", 2)


def test_a_stream_whose_end_was_deleted_by_hand(server, client, subscribe):
    append(client, "a-1", 6)
    where = schema(server, client)
    opened = {form: subscribe(stream="a-1", **{form: "true"} if form else {}) for form in ("", "ids", "messages")}
    for subscriber in opened.values():
        subscriber.wait_for(6)
    sql(server.postgres(), f'DELETE FROM "{where}".messages WHERE "position" > 2')
    late = {
        form: subscribe(stream="a-1", position=6, **{form: "true"} if form else {})
        for form in ("", "ids", "messages")
    }
    assert late["ids"].wait_for(1)[0].endswith(reset(2)) and late["messages"].wait_for(1) == [reset(2)]
    late[""].read_until(lambda: comment(6, 2) in late[""].raw)
    client.write("a-1")
    for subscriber in opened.values():
        assert len(subscriber.wait_for(7)) == 7 and b"reset" not in subscriber.raw
    for form in ("ids", "messages"):
        assert len(late[form].wait_for(2)) == 2
    for _ in range(3):
        client.write("a-1")
    assert b'"position":6,' in late[""].wait_for(1)[0]


@pytest.mark.parametrize("source", SOURCES)
def test_what_was_removed_has_been_there(server, client, subscribe, source):
    append(client, "a-1", 3)
    append(client, "a-2", 3)
    client.call("stream.remove", "a-2")
    sql(server.postgres(), f'VACUUM (INDEX_CLEANUP ON) "{schema(server, client)}".messages')
    seen = subscribe(headers={"Last-Event-ID": "6"}, **source)
    beyond = subscribe(headers={"Last-Event-ID": "9"}, **source)
    assert beyond.wait_for(1) == [reset(6, 6)]
    seen.ready()
    client.write("a-1")
    assert seen.wait_for(1)[0].endswith(poke("a-1", 3, 7)) and len(seen.events) == 1
    assert beyond.wait_for(2)[1].endswith(poke("a-1", 3, 7))


def test_of_an_emptied_namespace_no_removals_are_known(server, client, subscribe):
    append(client, "a-1", 3)
    export = client.request("GET", "/export").body
    append(client, "a-2", 3)
    client.call("stream.remove", "a-2")
    assert b'"done":true' in client.request("POST", "/import?force=true", export).body
    assert len(client.call("category.get", "a", {"strict": True})) == 3
    assert subscribe(all="true", headers={"Last-Event-ID": "6"}).wait_for(1) == [reset(3, 3)]


def crash(server, cluster, client):
    cluster.stop("immediate")
    cluster.start()
    wait_until(lambda: client.post(["stream.write", "later-1", {"type": "T", "data": {}}]).status == 200,
               "a database that is back")


def test_positions_that_a_crash_gave_back_are_not_skipped(cluster, start):
    """The feed's position is above messages that were not committed when Postgres crashed."""
    cluster.connect().cursor().execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    cluster.stop("fast")
    cluster.start()
    server = start(*without_tokens(cluster), "--workers", "1")
    client = server.client()
    append(client, "a-1", 5)
    holder = cluster.connect()
    holder.autocommit = False
    sql(holder, "SELECT count(millrace.append('b-' || n, 'T', '{}')) FROM generate_series(1, 60) AS n")
    subscribers = [
        Subscriber(server, **source) for source in ({"all": "true"}, {"category": "later"}, {"stream": "later-1"})
    ]
    subscribers += [
        Subscriber(server, position=6, ids="true", **source) for source in ({"all": "true"}, {"category": "later"})
    ]
    for subscriber in subscribers:
        subscriber.ready()
    subscribers[0].wait_for(5)
    crash(server, cluster, client)
    for n in range(3):
        client.write("later-1")
    version = client.call("stream.version", "later-1")
    for subscriber in subscribers:
        subscriber.read_until(lambda: b'{"stream":"later-1","position":%d,' % version in subscriber.raw)
        for position in range(version + 1):
            assert subscriber.raw.count(b'{"stream":"later-1","position":%d,' % position) == 1
        assert b"reset" not in subscriber.raw and not subscriber.ended
        subscriber.close()


def test_messages_that_a_crash_took_are_a_reset_for_open_subscriptions(cluster, start):
    """With synchronous_commit off, readers see what a crash takes back."""
    cluster.connect().cursor().execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    cluster.stop("fast")
    cluster.start()
    server = start(*without_tokens(cluster), "--workers", "1")
    client = server.client()
    append(client, "a-1", 5)
    database = cluster.connect()
    sql(database, "SET synchronous_commit = off")
    knowing = [Subscriber(server, ids="true", **source)
               for source in SOURCES] + [Subscriber(server, messages="true", **source) for source in SOURCES]
    plain = [Subscriber(server, **source) for source in SOURCES]
    for subscriber in knowing + plain:
        subscriber.wait_for(5)
    sql(database, "SELECT count(millrace.append('a-1', 'T', '{}')) FROM generate_series(1, 60) AS n")
    for subscriber in knowing + plain:
        subscriber.wait_for(65)
    crash(server, cluster, client)
    client.write("a-1")
    version = client.call("stream.version", "a-1")
    if version > 60:
        pytest.skip("the crash took nothing")
    # Global positions are drawn ahead, so that what comes is above what was lost; the stream's own positions come
    # again.
    for subscriber, told in ((knowing[3], b"reset"), (knowing[7], b"reset"), (plain[3], b"is above the head")):
        subscriber.read_until(lambda: told in subscriber.raw)
    for n in range(3):
        client.write("a-1", {"after": "the crash"})
    for subscriber in knowing + plain:
        subscriber.wait_for(65 + 3)
        subscriber.close()
