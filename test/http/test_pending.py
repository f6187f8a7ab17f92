"""Subscriptions that are asked for while Postgres is away: a 503 would end a browser's EventSource for good."""
import time

import pytest

from clock import Clock
from store import ZERO_TOKEN, token_for, wait_until
from subscriber import Subscriber
from test_metrics import ADMIN, Metrics

PLACES = 1000


@pytest.fixture
def away(cluster, start, folder):
    """A server whose Postgres has gone, and its clock; the token of namespace `other` has not been looked at yet."""
    clock = Clock(folder)
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--workers", "1", *ADMIN, token=ZERO_TOKEN,
                   variables=clock.variables)
    server.other = server.client().call("ns.create", "other")["token"]
    server.client(server.other).write("s-1")
    clock.jump(2)  # what was known of its token is old now
    cluster.stop("immediate")
    wait_until(lambda: Metrics(server)("millrace_postgres_connections", role="read") == 0, "the loss of it")
    return server, clock


def head_of(subscriber):
    subscriber.read_until(lambda: b"\r\n\r\n" in subscriber.raw)
    return subscriber.head


def connections(server):
    return sum(value for (name, _), value in Metrics(server).samples.items() if name == "millrace_http_connections")


def test_it_gets_pings_and_then_its_messages(away, cluster):
    server, clock = away
    subscriber = Subscriber(server, token=server.other, stream="s-1")
    head = head_of(subscriber)
    assert head.startswith("HTTP/1.1 200 ") and "text/event-stream" in head
    for pings in (1, 2):
        clock.jump(9)
        subscriber.read_until(lambda: len(subscriber.chunks) == pings)
    assert subscriber.chunks == [b": ping\n"] * 2
    cluster.start()
    subscriber.read_until(lambda: any(b'"position":0' in chunk for chunk in subscriber.chunks))
    assert subscriber.chunks.count(b": ready\n\n") == 1
    server.client(server.other).write("s-1")
    subscriber.read_until(lambda: any(b'"position":1' in chunk for chunk in subscriber.chunks))


def test_a_wrong_token_gets_nothing_and_then_the_end(away, cluster):
    server, _ = away
    subscriber = Subscriber(server, token=token_for("other"), stream="s-1")
    assert head_of(subscriber).startswith("HTTP/1.1 200 ")
    cluster.start()
    subscriber.read_until(lambda: subscriber.chunks[-1:] == [b""])
    assert set(subscriber.chunks) <= {b": ping\n", b""}


@pytest.mark.parametrize("token, parameters, status", [("ns_x", {"stream": "s"}, 401), (None, {"stream": "s"}, 401),
                                                       ("good", {"stream": "s", "category": "c"}, 400),
                                                       ("good", {}, 400)])
def test_what_is_malformed_is_refused_at_once(away, token, parameters, status):
    server, _ = away
    subscriber = Subscriber(server, token=server.other if token == "good" else token, **parameters)
    assert head_of(subscriber).startswith(f"HTTP/1.1 {status} ")


def test_one_that_leaves_takes_no_place(away, cluster):
    server, _ = away
    crowd = [Subscriber(server, token=server.other, stream="s-1") for _ in range(20)]
    for subscriber in crowd:
        assert head_of(subscriber).startswith("HTTP/1.1 200 ")
        subscriber.close()
    wait_until(lambda: connections(server) == 0, "their connections to end")
    cluster.start()
    wait_until(lambda: Metrics(server)("millrace_workers_ready") == 1, "Postgres")
    assert server.client(server.other).call("stream.version", "s-1") == 0


def test_the_server_stops_while_they_wait(away):
    server, _ = away
    subscriber = Subscriber(server, token=server.other, stream="s-1")
    assert head_of(subscriber).startswith("HTTP/1.1 200 ")
    server.process.terminate()
    subscriber.read_until(lambda: subscriber.chunks[-1:] == [b""])
    assert server.wait(30) == 0


def test_there_are_places_for_a_thousand(cluster, start):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--workers", "1", "--retry-window", "1",
                   *ADMIN, token=ZERO_TOKEN)
    cluster.stop("immediate")
    wait_until(lambda: Metrics(server)("millrace_postgres_connections", role="read") == 0, "the loss of it")
    tokens = [token_for("other") for _ in range(2)]
    crowd = [Subscriber(server, token=tokens[n % 2], stream="s") for n in range(PLACES)]
    for subscriber in crowd:
        assert head_of(subscriber).startswith("HTTP/1.1 200 ")
    assert head_of(Subscriber(server, token=tokens[0], stream="s")).startswith("HTTP/1.1 503 ")
    crowd.pop().close()
    began = time.monotonic()
    wait_until(lambda: head_of(Subscriber(server, token=tokens[0], stream="s")).startswith("HTTP/1.1 200 "),
               "a place that is free")
    print(f"{time.monotonic() - began:.1f} s until a place was free")
    cluster.start()
    for subscriber in crowd:
        subscriber.read_until(lambda: subscriber.chunks[-1:] == [b""])
