"""How far a reader is behind, told over HTTP: stream.head, ns.info, and the event `head` of a subscription that has
caught up."""
from contextlib import closing

import psycopg2
import pytest

from store import ZERO_TOKEN, Cluster, new_id, sql
from subscriber import Subscriber, append, connect_to_namespace, poke


def reached(head):
    return b'event: head\ndata: {"head":%d}\n\n' % head


def test_the_head_is_the_global_position_of_the_last_message(client):
    assert client.call("stream.head") == {"head": 0}
    for n in (1, 2, 3):
        client.write(f"s-{n}")
        assert client.call("stream.head") == {"head": n}
    answer = client.post({"jsonrpc": "2.0", "id": 1, "method": "stream.head"}).json
    assert answer["result"] == {"head": 3}
    assert client.refused("stream.head.of").code == "METHOD_NOT_FOUND"


def test_a_namespace_tells_its_head(admin, secured):
    name = "head " + new_id()
    client = secured.client(admin.call("ns.create", name)["token"])
    assert admin.call("ns.info", name)["head"] == 0
    append(client, "s", 5)
    assert client.call("ns.info", name)["head"] == 5 == client.call("stream.head")["head"]
    client.close()
    admin.call("ns.delete", name)


def test_a_poller_computes_its_lag_without_sql(client):
    append(client, "a-1", 30)
    append(client, "b-1", 10)
    position, lags = 1, []
    while True:
        head = client.call("stream.head")["head"]
        page = client.call("category.get", "a", {"position": position, "batchSize": 10})
        if not page:
            lags.append(0)  # it has seen everything up to that head
            break
        position = page[-1][4] + 1
        lags.append(head - (position - 1))
    assert lags == [30, 20, 10, 0]


def test_what_is_rolled_back_or_open_is_not_the_head(server, client):
    client.write("s")
    connection = connect_to_namespace(server)
    connection.autocommit = False
    sql(connection, "SELECT millrace.append('t', 'T', '{}')")
    assert client.call("stream.head") == {"head": 1}
    connection.rollback()
    assert client.call("stream.head") == {"head": 1}
    connection.close()
    client.write("s")
    assert client.call("stream.head") == {"head": 3}


SOURCES = [{"all": "true"}, {"category": "a"}, {"category": "a", "consumer": 0, "size": 1}, {"stream": "a-1"},
           {"all": "true", "types": "T"}]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("ids", [True, False])
def test_who_asks_for_it_is_told_once_that_it_has_caught_up(client, subscribe, source, ids):
    append(client, "a-1", 3)
    subscriber = subscribe(**source, head="true", **({"ids": "true"} if ids else {}))
    assert subscriber.wait_for(4)[3] == reached(3)
    append(client, "a-1", 2)
    events = subscriber.wait_for(6)
    assert [b"event: poke" in event for event in events] == [True, True, True, False, True, True]


@pytest.mark.parametrize("source", SOURCES)
def test_with_nothing_to_catch_up_with_it_comes_at_once(client, subscribe, source):
    assert subscribe(**source, head="true").wait_for(1) == [reached(0)]
    client.write("other-1")
    assert subscribe(
        **{**source, **({"category": "none"} if "category" in source else {"stream": "none-1", "all": ""})},
        head="true").wait_for(1) == [reached(1)]


def test_what_was_acknowledged_before_it_subscribed_comes_before_the_head(client, subscribe):
    """Though the feed, which another subscription keeps, may not know of it yet."""
    subscribe(category="b").ready()
    for n in range(1, 30):
        client.write("a-1")
        subscriber = subscribe(all="true", head="true", position=n)
        assert subscriber.wait_for(2) == [poke("a-1", n - 1, n), reached(n)]
        subscriber.close()


def test_others_get_no_such_event(client, subscribe):
    append(client, "a-1", 3)
    subscribers = [
        subscribe(all="true", **parameters)
        for parameters in ({}, {"ids": "true"}, {"messages": "true"}, {"head": "false"})
    ]
    for subscriber in subscribers:
        subscriber.wait_for(3)
    append(client, "a-1", 2)
    for subscriber in subscribers:
        assert not [event for event in subscriber.wait_for(5) if b'"head"' in event]


def test_it_comes_behind_all_that_there_was_however_much(client, subscribe):
    append(client, "a-1", 5000)
    events = subscribe(all="true", head="true").wait_for(5001)
    assert events[-1] == reached(5000)
    assert not [event for event in events[:-1] if b"event: head" in event]


def test_an_open_transaction_holds_it_back_and_a_rollback_is_not_counted(server, client, subscribe):
    client.write("a-1")
    connection = connect_to_namespace(server)
    connection.autocommit = False
    sql(connection, "SELECT millrace.append('a-2', 'T', '{}')")
    subscriber = subscribe(all="true", head="true")
    assert subscriber.wait_for(1) == [poke("a-1", 0, 1)]
    connection.rollback()
    connection.close()
    assert subscriber.wait_for(2)[1] == reached(1)
    # Whoever goes on behind it is not above the head.
    resumed = subscribe(all="true", head="true", headers={"Last-Event-ID": "1"})
    assert resumed.wait_for(1) == [reached(1)]


def test_it_comes_again_when_there_was_more_to_catch_up_with(cluster, start):
    """Postgres was away, so the subscription reads again what it may have missed."""
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    client = server.client()
    client.write("a-1")
    subscriber = Subscriber(server, server.token, all="true", head="true")
    assert subscriber.wait_for(2)[1] == reached(1)
    cluster.stop("immediate")
    elsewhere = Cluster(cluster.folder, settings=[*cluster.settings,
                                                  "port=5433"]).start()  # the server does not find it there
    with closing(psycopg2.connect(elsewhere.conninfo() +
                                  " port=5433")) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT global_position FROM millrace.append('a-1', 'T', '{}')")
        written = cursor.fetchone()[0]  # which may be well above 2 after a crash
    elsewhere.stop()
    cluster.start()
    assert subscriber.wait_for(4)[2:] == [poke("a-1", 1, written), reached(written)]
    subscriber.close()


def test_a_bad_value_is_refused(client):
    reply = client.request("GET", "/subscribe?all=true&head=1")
    assert (reply.status, reply.body) == (400, b"head must be true or false")
