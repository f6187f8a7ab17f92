"""Subscribers that do not read, and how subscriptions end or outlive an outage."""
import json
import os
import re
import socket
import struct
import time
from pathlib import Path

from store import PLAIN_MEMORY, ZERO_TOKEN, Server, new_id, sql, token_for, wait_until, without_tokens
from subscriber import READY, Subscriber, append, poke


# Readers that do not read

def test_a_reader_that_stops_reading_costs_bounded_memory_and_misses_nothing(start):
    server = start("--test-mode", "--workers", "1", variables=PLAIN_MEMORY)
    client = server.client()
    append(client, "s-0", 4000, {"text": "x" * 2000})
    before = server.memory()
    sources = [{"all": "true"}, {"category": "s"}, {"stream": "s-0"}]
    stalled = [Subscriber(server, receive_buffer=4096, messages="true", **sources[n % 3]) for n in range(30)]
    for subscriber in stalled:
        subscriber.ready()
    live = [Subscriber(server, receive_buffer=4096, position=4001, messages="true", all="true") for _ in range(10)]
    for subscriber in live:
        subscriber.ready()
    append(client, "s-0", 8000, {"text": "y" * 2000})
    assert client.write("s-0")["position"] == 12000
    watcher = Subscriber(server, stream="s-0", position=12000)
    watcher.wait_for(1)
    # 40 subscribers times 16 to 24 MB are waiting; the sockets of the kernel hold some of it.
    grown = server.memory() - before
    if "ASAN_OPTIONS" not in os.environ:  # the sanitizer keeps what was freed
        assert grown < 24, f"the server grew by {grown:.0f} MiB"
    for subscriber, first in ((stalled[0], 0), (stalled[1], 0), (stalled[2], 0), (live[0], 4000)):
        parts = [subscriber.raw]
        while b'"s-0","Tested",12000,' not in b"".join(parts[-2:]):
            parts.append(subscriber.socket.recv(1 << 20))
            assert parts[-1]
        text = b"".join(parts)
        found = [int(number) for number in re.findall(rb'"s-0","T",(\d+),\d+,\{"text"', text)]
        assert found[:12000 - first] == list(range(first, 12000))
    for subscriber in (*stalled, *live, watcher):
        subscriber.close()


def states(admin):
    """How many subscriptions are in each state."""
    text = admin.request("GET", "/metrics").body.decode()
    return {
        state: int(count)
        for state, count in re.findall(r'^millrace_subscriptions\{state="(\w+)"\} (\d+)$', text, re.M)
    }


def test_of_many_that_catch_up_two_read_at_a_time(start):
    server = start("--test-mode", "--workers", "1", "--read-connections", "6")
    client, connection, holder = server.client(), server.postgres(), server.postgres()
    client.write("s")
    follower = Subscriber(server, all="true", position=1)
    follower.wait_for(1)
    holder.autocommit = False
    sql(holder, "LOCK TABLE millrace_default.messages")
    crowd = [Subscriber(server, all="true", position=1).ready() for _ in range(10)]

    def reading():
        return sql(
            connection,
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT body,%read_pokes%'"
        )[0][0]

    wait_until(lambda: reading() >= 2, "the first two")
    sql(connection, "SELECT pg_sleep(0.1)")
    assert reading() == 2
    holder.commit()
    holder.close()
    connection.close()
    for subscriber in (*crowd, follower):
        subscriber.wait_for(1)
        subscriber.close()


def test_a_crowd_that_stops_reading_holds_small_pages(start):
    server = start("--test-mode", "--workers", "1", "--admin-listen", "127.0.0.1:0", variables=PLAIN_MEMORY)
    client, admin = server.client(), server.admin()
    append(client, "s", 4000, {"text": "x" * 2000})
    before = server.memory()
    crowd = [Subscriber(server, receive_buffer=4096, messages="true", all="true") for _ in range(500)]
    wait_until(lambda: states(admin)["draining"] == 500, "all of them to stop", 120)
    if "ASAN_OPTIONS" not in os.environ:
        assert server.memory() - before < (25 if server.tls is None else 60)  # OpenSSL keeps some of its own for each
    for subscriber in crowd:
        subscriber.close()


def test_clients_that_go_away_are_noticed_at_once(server, client, subscribe):
    def sockets():
        return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))

    before = sockets()
    subscribers = [subscribe(all="true").ready() for _ in range(20)]
    assert sockets() >= before + 20
    for n, subscriber in enumerate(subscribers):
        if n % 2:
            subscriber.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        subscriber.close()
    wait_until(lambda: sockets() <= before + 2, "closed connections", 5)
    assert client.write("s")["position"] == 0


# Ends

def test_deleting_a_namespace_ends_its_subscriptions_cleanly(secured, admin):
    name = "deleted " + new_id()
    token = admin.call("ns.create", name)["token"]
    other = admin.call("ns.create", name + " not")["token"]
    subscribers = [
        Subscriber(secured, token, **source) for _ in range(4)
        for source in ({"stream": "s"}, {"category": "s"}, {"all": "true"})
    ]
    bystander = Subscriber(secured, other, all="true").ready()
    for subscriber in subscribers:
        subscriber.ready()
    admin.call("ns.delete", name)
    for subscriber in subscribers:
        subscriber.ends()
    secured.client(other).write("s")
    assert bystander.wait_for(1) == [poke("s", 0, 1)]
    for subscriber in (*subscribers, bystander):
        subscriber.close()


def test_a_namespace_that_is_created_again_feeds_no_old_subscription(server):
    admin, token = server.client(token_for("default")), token_for("again " + new_id())
    client = server.client(token)
    client.write("s")
    name = sql(server.postgres(), "SELECT name FROM millrace.namespaces ORDER BY created_at DESC LIMIT 1")[0][0]
    old = Subscriber(server, token, all="true")
    old.wait_for(1)
    admin.call("ns.delete", name)
    append(client, "t", 5)
    new = Subscriber(server, token, all="true")
    assert len(new.wait_for(5)) == 5
    old.ends()
    assert old.events == [poke("s", 0, 1)]
    old.close()
    new.close()


def test_another_server_deletes_the_namespace_or_takes_the_token(cluster, start):
    first = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--workers", "1", token=ZERO_TOKEN)
    second = start("--database", cluster.conninfo(), "--workers", "1", token=ZERO_TOKEN)
    database = cluster.connect()
    for change in ("delete", "delete and create", "token"):
        token = first.client().call("ns.create", "shared")["token"]
        subscriber = Subscriber(second, token, all="true").ready()
        if change == "token":
            sql(database, "SELECT millrace.set_namespace_token('shared', repeat('0', 64))")
        else:
            first.client().call("ns.delete", "shared")
        if change == "delete and create":
            again = first.client().call("ns.create", "shared")["token"]
            assert first.client(again).write("s")
        began = time.monotonic()
        subscriber.ends()
        assert time.monotonic() - began < 2
        subscriber.close()
        if change == "delete and create":
            first.client().call("ns.delete", "shared")


def test_shutdown_ends_subscriptions_cleanly_also_those_of_clients_that_do_not_read(start):
    server = start("--test-mode", "--workers", "2")
    client = server.client()
    append(client, "s", 3000, {"text": "x" * 3000})
    stalled = Subscriber(server, receive_buffer=4096, stream="s", messages="true")
    stalled.ready()
    subscribers = [Subscriber(server, stream="s", position=3000) for _ in range(6)]
    http_1_0 = Subscriber(server, stream="s", position=3000, version="1.0")
    for subscriber in (*subscribers, http_1_0):
        subscriber.ready()
    began = time.monotonic()
    server.terminate()
    for subscriber in subscribers:
        assert subscriber.read_to_end().body.endswith(b"\r\n0\r\n\r\n")
        assert subscriber.chunks == [READY, b""]
    assert http_1_0.read_to_end().body == READY
    assert time.monotonic() - began < 5
    server.stop()
    assert time.monotonic() - began < 20


# Outages

def test_last_event_id_resumes_after_a_restart_of_the_server(folder):
    server = Server("--data-dir", folder + "/data", "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    sources = [{"stream": "s-1"}, {"category": "s"}, {"all": "true"}]
    try:
        for n in range(10):
            server.client().write(f"s-{n % 2}")
        lasts = []
        for source in sources:
            subscriber = Subscriber(server, ZERO_TOKEN, ids="true", **source)
            lasts.append(re.findall(rb"id: (\d+)\n", subscriber.wait_for(4)[3])[0].decode())
            subscriber.close()
        assert lasts == ["8", "4", "4"]
        server.stop()
        server = Server("--data-dir", folder + "/data", token=ZERO_TOKEN)
        server.client().write("s-1")
        for source, last, expected in zip(sources, lasts, ([10, 11], [5, 6, 7, 8, 9, 10, 11], [5, 6, 7, 8, 9, 10, 11])):
            subscriber = Subscriber(server, ZERO_TOKEN, ids="true", headers={"Last-Event-ID": last}, **source)
            events = subscriber.wait_for(len(expected))
            numbers = subscriber.positions()
            subscriber.close()
            # A restart may leave a gap in the global positions.
            assert numbers[:-1] == expected[:-1] and numbers[-1] >= 11 and len(events) == len(expected)
    finally:
        server.stop()


def test_subscriptions_stay_open_while_the_database_is_away(cluster, start):
    server = start(*without_tokens(cluster), "--workers", "1", "--retry-window", "1")
    client = server.client()
    append(client, "s", 5)
    subscribers = [Subscriber(server, **source) for source in ({"stream": "s"}, {"category": "s"}, {"all": "true"})]
    for subscriber in subscribers:
        subscriber.wait_for(5)
    cluster.stop("immediate")
    wait_until(lambda: client.post(["stream.version", "s"]).status == 503, "a noticed outage")
    wait_until(lambda: "waiting" in server.text, "a line in the log")
    cluster.start()
    wait_until(lambda: client.post(["stream.write", "s", {"type": "T", "data": {}}]).status == 200,
               "a database that is back")
    wait_until(lambda: client.post(["stream.version", "s"]).status == 200, "the connections for reads")
    version = client.call("stream.version", "s")
    for subscriber in subscribers:
        events = subscriber.wait_for(version + 1)
        assert [json.loads(event.split(b"data: ")[1])["position"] for event in events] == list(range(version + 1))
        assert not subscriber.ended
        subscriber.close()
