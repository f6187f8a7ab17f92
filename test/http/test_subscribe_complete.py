"""Subscriptions miss nothing and repeat nothing: beside open transactions, in many pages, with many subscribers."""
import json
import os
import resource
import selectors
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from store import sql, token_for, wait_until
from subscriber import Subscriber, append, connect_to_namespace, global_positions, poke


class Transaction:
    """An append to s-slow by SQL that is not committed yet."""

    def __init__(self, server):
        self.connection = connect_to_namespace(server)
        self.connection.autocommit = False
        sql(self.connection, "SELECT millrace.append('s-slow', 'T', '{}')")


SLOW, OTHER, WHOLE = {"stream": "s-slow"}, {"stream": "s-1"}, [{"category": "s"},
                                                               {"category": "s", "consumer": 0,
                                                                "size": 1}, {"all": "true"}]


def nothing_behind(subscriber, position):
    """Gives a poke that should not come the time to come."""
    time.sleep(0.1)
    subscriber.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        subscriber.socket.recv(1, socket.MSG_PEEK)
    subscriber.socket.setblocking(True)
    assert max([0, *subscriber.positions()]) <= position


@pytest.mark.parametrize("open_first", [True, False], ids=["opened before they subscribe", "opened after"])
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_an_open_transaction_holds_back_what_is_behind_it_and_nothing_is_lost(server, client, subscribe, open_first,
                                                                              end):
    client.write("s-1")
    transaction = Transaction(server) if open_first else None
    if open_first:
        client.write("s-1")
    subscribers = [subscribe(**source).ready() for source in (SLOW, OTHER, *WHOLE)]
    slow, other, *whole = subscribers
    for subscriber in (other, *whole):
        subscriber.wait_for(1)
    transaction = transaction or Transaction(server)
    for _ in range(4 if open_first else 5):
        client.write("s-1")
    for subscriber in whole:
        nothing_behind(subscriber, 1)
    getattr(transaction.connection, end)()
    others = [1, 3, 4, 5, 6, 7]
    for subscriber in whole:
        assert subscriber.wait_for(6) and subscriber.wait_for(7 if end == "commit" else 6)
        assert subscriber.positions() == ([1, 2, 3, 4, 5, 6, 7] if end == "commit" else others)
    other.wait_for(6)
    assert other.positions() == others
    # Its next message is behind the open one: that must not be stepped over.
    client.write("s-slow")
    slow.wait_for(2 if end == "commit" else 1)
    assert slow.positions() == ([2, 8] if end == "commit" else [8])


def test_a_message_that_was_open_when_its_stream_was_subscribed_arrives_though_it_is_the_last(
        server, client, subscribe):
    client.call("stream.version", "s-slow")  # creates the namespace
    transaction = Transaction(server)
    subscriber = subscribe(**SLOW).ready()
    nothing_behind(subscriber, 0)
    transaction.connection.commit()
    assert subscriber.wait_for(1) == [poke("s-slow", 0, 1)]


def test_catching_up_in_many_pages_while_writes_go_on(client, another, subscribe):
    append(client, "big-1", 20000)
    append(client, "big-2", 5000)
    stop = threading.Event()
    writers = [another() for _ in range(3)]

    def write(n):
        while not stop.is_set():
            writers[n].write(f"big-{n}")

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(write, n) for n in range(3)]
        sources = [{"stream": "big-1"}, {"category": "big"}, {"all": "true", "messages": "true"},
                   {"category": "big", "consumer": 1, "size": 2, "ids": "true"}]
        subscribers = [subscribe(**source) for source in sources]
        for subscriber, count in zip(subscribers, (20000, 25000, 25000, 1)):
            subscriber.wait_for(count + 50)
        stop.set()
        for future in futures:
            future.result()
    messages = client.call("category.get", "big", {"batchSize": -1})
    member = client.call("category.get", "big", {"batchSize": -1, "consumerGroup": {"member": 1, "size": 2}})
    assert subscribers[0].wait_for(1) and len(messages) > 25100
    streams = [message for message in messages if message[1] == "big-1"]
    for subscriber, expected in zip(subscribers, (streams, messages, messages, member)):
        subscriber.wait_for(len(expected))
    for subscriber, expected in zip((subscribers[0], subscribers[1], subscribers[3]), (streams, messages, member)):
        assert subscriber.positions() == [message[4] for message in expected]
    assert [json.loads(event.split(b"data: ")[1]) for event in subscribers[2].events] == messages


class Crowd:
    """Many subscribers, read by one thread."""

    def __init__(self, server, token):
        self.server, self.token = server, token
        self.selector, self.members, self.stopped = selectors.DefaultSelector(), [], False
        self.thread = threading.Thread(target=self._read, daemon=True)

    def add(self, **parameters):
        subscriber = Subscriber(self.server, self.token, **parameters)
        subscriber.parts, subscriber.parameters, subscriber.count, subscriber.gone = [], parameters, 0, False
        subscriber.socket.setblocking(False)
        self.members.append(subscriber)
        self.selector.register(subscriber.socket, selectors.EVENT_READ, subscriber)

    def _read(self):
        while not self.stopped:
            for key, _ in self.selector.select(0.1):
                subscriber = key.data
                part = subscriber.socket.recv(1 << 18)
                if not part:
                    subscriber.gone = True
                    self.selector.unregister(subscriber.socket)
                    continue
                subscriber.parts.append(part)
                subscriber.count += part.count(b"\ndata: ")

    def stop(self):
        self.stopped = True
        self.thread.join()
        for subscriber in self.members:
            subscriber.close()


def test_a_thousand_subscribers_get_every_message_they_should_once_in_order(start):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    server = start("--test-mode", "--workers", "2")
    token = token_for("crowd")
    crowd = Crowd(server, token)
    sources = [
        lambda n: {"stream": f"crowd-{n % 20}"}, lambda n: {"category": "crowd"}, lambda n: {"all": "true"},
        lambda n: {"category": "crowd", "consumer": n % 10, "size": 10}, lambda n: {"stream": "crowd-0"},
        lambda n: {"stream": "crowd-0"}
    ]
    stop = threading.Event()

    def write(n):
        client, count = server.client(token), 0
        while not stop.is_set():
            client.write(f"crowd-{(n + 4 * count) % 20}")
            count += 1
            time.sleep(0.005)  # about 800 messages a second from all four

    crowd.thread.start()
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(write, n) for n in range(4)]
        for n in range(200):
            for source in sources:
                crowd.add(**source(n))
        client = server.client(token)
        # Some members of the group have no share.
        wait_until(lambda: all(member.count > 0 or "size" in member.parameters for member in crowd.members),
                   "an event for each", 60)
        stop.set()
        for future in futures:
            future.result()
    messages = client.call("category.get", "crowd", {"batchSize": -1})
    expected = {}
    for member in crowd.members:
        key = json.dumps(member.parameters)
        if key not in expected and "size" in member.parameters:
            group = {"member": member.parameters["consumer"], "size": 10}
            expected[key] = [
                m[4] for m in client.call("category.get", "crowd", {"batchSize": -1, "consumerGroup": group})
            ]
        elif key not in expected:
            expected[key] = [m[4] for m in messages if member.parameters.get("stream", m[1]) == m[1]]
        member.expected = expected[key]
    wait_until(lambda: all(member.count >= len(member.expected) for member in crowd.members), "every event", 60)
    crowd.stop()
    assert not [member for member in crowd.members if member.gone]
    for member in crowd.members:
        assert global_positions(b"".join(member.parts)) == member.expected, member.parameters
    assert server.memory() < (64 if "ASAN_OPTIONS" not in os.environ else 1000)
