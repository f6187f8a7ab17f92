"""Subscriptions and answers in pages while the standbys that they come from change (--read-database)."""
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from standbys import (DEFAULTS, Places, last_position, pause, places, reads_from, ready, replayed, resume,  # noqa: F401
                      serve, three)
from store import ZERO_TOKEN, sql, wait_until
from subscriber import Subscriber, append, global_positions
from test_primary_reads import Switch


# Subscriptions


def told(subscriber, count):
    """The global positions of the events, when there are so many; of whole messages, too."""
    events = subscriber.wait_for(count)
    texts = [event.partition(b"data: ")[2] for event in events]
    return [json.loads(text)["globalPosition"] if text.startswith(b"{") else json.loads(text)[4] for text in texts]


KINDS = [{"all": "true"}, {"category": "account"}, {"stream": "account-1"}, {"all": "true", "messages": "true"}]


@pytest.fixture
def follow():
    subscribers = []

    def follow(server, **parameters):
        subscribers.append(Subscriber(server, ZERO_TOKEN, **parameters).ready())
        return subscribers[-1]

    yield follow
    for each in subscribers:
        each.close()


def test_a_subscription_hears_of_what_the_standby_replays(places, serve, follow):
    server = serve(places)
    client, standby, connection = server.client(), places.standbys[0], places.primary.connect()
    subscribers = [follow(server, **kind) for kind in KINDS]
    for n in range(4):
        pause(standby)
        client.write("account-1")
        sql(connection, "SELECT * FROM millrace.append('account-1', 'T', '{}', namespace => 'default')")
        time.sleep(1.5 * (n % 2))  # the wait for commits begins after a second of calm
        for subscriber in subscribers:
            assert len(subscriber.events) == 2 * n
        resume(standby)
        for subscriber in subscribers:
            assert len(subscriber.wait_for(2 * n + 2, seconds=5)) == 2 * n + 2
    for subscriber in subscribers:
        assert told(subscriber, 8) == list(range(1, 9))


def test_a_subscription_is_told_nothing_twice_and_skips_nothing_from_one_standby_to_another(three, serve, follow):
    first, second = three.standbys
    server = serve(three, first, second)
    client = server.client()
    subscribers = [follow(server, **kind) for kind in KINDS]
    append(client, "account-1", 10)
    for subscriber in subscribers:
        assert told(subscriber, 10) == list(range(1, 11))
    replayed(three.primary, second)
    pause(second)
    append(client, "account-1", 10)
    for subscriber in subscribers:
        subscriber.wait_for(20)
    first.stop("immediate")  # the other one is ten behind what was told
    wait_until(lambda: f"reads go to the standby {second.folder}" in server.text, "the other standby")
    append(client, "account-1", 5)
    late = [follow(server, **kind) for kind in KINDS]
    came_back = [follow(server, headers={"Last-Event-ID": "18"}, ids="true", **kind) for kind in KINDS]
    time.sleep(1)
    for subscriber in subscribers:
        subscriber.read_until(lambda: True)
        assert len(subscriber.events) == 20
    resume(second)
    for subscriber in subscribers + late:
        assert told(subscriber, 25) == list(range(1, 26))
    for subscriber in came_back:
        assert told(subscriber, 7) == list(range(19, 26))
    append(client, "account-1", 3)
    for subscriber in subscribers + late:
        assert told(subscriber, 28) == list(range(1, 29))


def test_the_same_from_the_standby_to_the_primary_and_back(places, serve, follow):
    standby = places.standbys[0]
    server = serve(places)
    client = server.client()
    subscribers = [follow(server, **kind) for kind in KINDS]
    append(client, "account-1", 10)
    for subscriber in subscribers:
        subscriber.wait_for(10)
    pause(standby)
    append(client, "account-1", 10)
    standby.stop("immediate")
    for subscriber in subscribers:
        assert told(subscriber, 20) == list(range(1, 21))
    append(client, "account-1", 10)
    for subscriber in subscribers:
        assert told(subscriber, 30) == list(range(1, 31))
    standby.start()
    reads_from(server, "standby")
    append(client, "account-1", 10)
    for subscriber in subscribers:
        assert told(subscriber, 40) == list(range(1, 41))


def test_a_subscription_above_the_head_is_told_so_though_a_standby_answers(places, serve, follow):
    server = serve(places)
    client = server.client()
    append(client, "account-1", 3)
    replayed(places.primary, places.standbys[0])
    subscriber = follow(server, all="true", position=100, ids="true")
    subscriber.wait_for(1)
    assert b"event: reset\n" in subscriber.events[0]


def test_the_end_of_catching_up_is_told_when_min_position_is_there(places, serve, follow):
    standby = places.standbys[0]
    server = serve(places, arguments=("--min-position-wait", "30"))
    client = server.client()
    append(client, "account-1", 3)
    replayed(places.primary, standby)
    pause(standby)
    append(client, "account-1", 3)
    with ThreadPoolExecutor(1) as pool:
        ready = pool.submit(follow, server, all="true", head="true", minPosition=6)
        time.sleep(0.3)
        assert not ready.done()
        resume(standby)
        subscriber = ready.result()
    subscriber.read_until(lambda: b"event: head" in subscriber.raw)
    before = bytes(subscriber.raw).partition(b"event: head")[0]
    assert global_positions(before) == list(range(1, 7))


def test_a_subscription_that_the_primary_let_in_begins_when_min_position_is_at_its_standby(places, serve, follow):
    """Others follow at the standby already, so it reads there, too."""
    standby = places.standbys[0]
    server = serve(places)
    client = server.client()
    append(client, "account-1", 3)
    first = follow(server, all="true", head="true")
    first.read_until(lambda: b"event: head" in first.raw)
    pause(standby)
    append(client, "account-1", 3)
    late = follow(server, all="true", head="true", minPosition=6)
    with pytest.raises(AssertionError):
        late.wait_for(1, seconds=1.5)
    resume(standby)
    late.read_until(lambda: b"event: head" in late.raw)
    assert global_positions(bytes(late.raw).partition(b"event: head")[0]) == list(range(1, 7))


def test_a_consumer_waits_at_the_primary(places, serve):
    server = serve(places)
    client = server.client()
    client.call("consumer.create", "c", {"category": "account"})
    pause(places.standbys[0])
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.client().call, "consumer.next", "c", {"waitMs": 20000})
        time.sleep(2)
        began = time.monotonic()
        sql(places.primary.connect(), "SELECT * FROM millrace.append('account-1', 'T', '{}', namespace => 'default')")
        assert answer.result()["messages"] and time.monotonic() - began < 2


# Answers in pages


def test_the_pages_of_an_answer_have_no_hole_when_their_standby_goes_away(three, serve):
    first, second = three.standbys
    server = serve(three, first, second)
    client = server.client()
    text = "x" * 100_000
    append(client, "account-1", 20, {"text": text})
    replayed(three.primary, second)
    pause(second)
    append(client, "account-1", 60, {"text": text})
    replayed(three.primary, first)
    body = json.dumps(["category.get", "account", {"direction": "backward", "batchSize": -1}])
    with server.connect() as connection:
        connection.sendall((f"POST /rpc HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ZERO_TOKEN}\r\n"
                            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}").encode())
        got = bytearray(connection.recv(1000))
        first.stop("immediate")
        wait_until(lambda: f"reads go to the standby {second.folder}" in server.text, "the other standby")
        while part := connection.recv(1 << 20):
            got += part
    positions = [int(number) for number in re.findall(rb'"account-1","T",\d+,(\d+),', got)]
    positions = positions or [int(n) for n in re.findall(rb'"T",(?:\d+),(\d+),', got)]
    assert positions == list(range(80, 0, -1))


def test_connections_that_lead_to_different_standbys_tell_one_story(three, start, follow):
    """One address leads to both in turn: a session with the one, and a session with the other, which is behind."""
    ahead, behind = three.standbys
    switch = Switch(*(f"{cluster.folder}/.s.PGSQL.5432" for cluster in three.standbys))
    client = start("--database", three.primary.conninfo(), *DEFAULTS, token=ZERO_TOKEN).client()
    append(client, "account-1", 5)
    replayed(three.primary, behind)
    pause(behind)
    append(client, "account-1", 20)
    replayed(three.primary, ahead)
    server = None
    while server is None:  # until the one that is asked first, when all are at rest, is the one that is ahead
        server = start("--database", three.primary.conninfo(), "--read-database",
                       f"host=127.0.0.1 port={switch.port} dbname=postgres user=tester", *DEFAULTS,
                       "--read-connections", "2", token=ZERO_TOKEN)
        reads_from(server, "standby")
        time.sleep(0.5)
        if len(server.client().call("category.get", "account")) == 5:
            server = server.stop()
    lengths = set()

    def read(number):
        client = server.client()
        for n in range(20):  # each is answered here or there, and has no hole
            direction = ("forward", "backward")[n // 2 % 2]
            body = client.call("category.get", "account", {"direction": direction, "minPosition": 25 * (n % 2)})
            assert len(body) == 25 or (n % 2 == 0 and len(body) == 5)
            lengths.add(len(body))
            assert sorted(message[4] for message in body) == list(range(1, len(body) + 1))

    with ThreadPoolExecutor(8) as pool:
        reads = [pool.submit(read, n) for n in range(8)]
        subscribers = [Subscriber(server, ZERO_TOKEN, **kind).ready() for kind in KINDS * 10]
        for each in reads:
            each.result()
    assert lengths == {5, 25}, "both were asked"
    append(client, "account-1", 5)
    time.sleep(0.5)
    resume(behind)
    for subscriber in subscribers:
        assert told(subscriber, 30) == list(range(1, 31))
        subscriber.close()
    switch.close()


# Failover


def test_a_standby_that_is_promoted_takes_over(three, serve, follow):
    first, second = three.standbys
    database = three.read_from(*three.clusters)
    server = serve(three, first, second, database=database)
    client = server.client()
    subscribers = [follow(server, **kind) for kind in KINDS]
    append(client, "account-1", 10)
    for subscriber in subscribers:
        subscriber.wait_for(10)
    replayed(three.primary, first)
    replayed(three.primary, second)
    three.primary.stop("immediate")
    sql(first.connect(), "SELECT pg_promote()")
    append(client, "account-1", 10)  # which waits for the new primary
    assert client.call("stream.version", "account-1", {"minPosition": 20}) == 19
    second.stop("immediate")  # it followed the one that is gone
    append(client, "account-1", 10)
    assert client.call("stream.version", "account-1", {"minPosition": 30}) == 29
    for subscriber in subscribers:
        got = told(subscriber, 30)
        assert len(set(got)) == len(got) == 30 and got == sorted(got)
    wait_until(lambda: ready(server)["readsFrom"] == "primary", "reads from the new primary")


@pytest.mark.parametrize("ahead", [False, True], ids=["as far", "ahead"])
def test_a_standby_is_read_after_a_failover_only_when_it_follows_the_new_primary(three, serve, follow, ahead):
    """One that has what the new primary has not got would give other messages at the positions of the new ones."""
    first, second = three.standbys
    server = serve(three, second, first, database=three.read_from(*three.clusters))
    client = server.client()
    append(client, "account-1", 5, {"primary": 1})
    replayed(three.primary, first)
    if ahead:
        first.stop()
        append(client, "account-1", 5, {"primary": 1})
    replayed(three.primary, second)
    three.primary.stop("immediate")
    if ahead:
        first.start()
    sql(first.connect(), "SELECT pg_promote()")
    append(client, "account-1", 10, {"primary": 2})  # which waits for the new primary
    positions = [message[4] for message in client.call("category.get", "account")]
    for minimum in (0, 7, positions[7], positions[-1]):
        messages = client.call("category.get", "account", {"minPosition": minimum})
        assert [message[5]["primary"] for message in messages] == 5 * [1] + 10 * [2], minimum
    subscriber = follow(server, category="account", position=1)
    assert told(subscriber, 15) == positions
    assert ready(server)["readsFrom"] == "primary"
    wait_until(lambda: "has not followed the last failover" in server.text, "the log's word of it")
    if ahead:
        return
    sql(second.connect(), f"ALTER SYSTEM SET primary_conninfo = 'host={first.folder} user=tester'")
    sql(second.connect(), "SELECT pg_reload_conf()")
    reads_from(server, "standby")
    assert len(client.call("category.get", "account", {"minPosition": positions[-1]})) == 15
