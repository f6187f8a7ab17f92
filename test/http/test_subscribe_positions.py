"""Subscriptions: where they begin, and which messages are theirs, by whatever way and server appended."""
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from store import sql, without_tokens
from subscriber import Subscriber, connect_to_namespace, poke


# Where it begins

def test_positions_are_of_the_stream_for_a_stream_and_global_for_the_others(client, subscribe):
    for n in range(6):
        client.write(f"a-{n % 2}")
    assert subscribe(stream="a-1", position=1).wait_for(2) == [poke("a-1", 1, 4), poke("a-1", 2, 6)]
    assert subscribe(category="a", position=4).wait_for(3) == [poke("a-1", 1, 4), poke("a-0", 2, 5), poke("a-1", 2, 6)]
    assert subscribe(all="true", position=6).wait_for(1) == [poke("a-1", 2, 6)]
    for position in ("0", "1", "-5", "-9223372036854775808"):
        assert len(subscribe(all="true", position=position).wait_for(6)) == 6
    assert len(subscribe(stream="a-0", position="-1").wait_for(3)) == 3


def test_a_position_that_is_not_reached_yet_is_waited_for(client, subscribe):
    client.write("a-1")
    subscribers = [
        subscribe(stream="a-1", position=3),
        subscribe(category="a", position=4),
        subscribe(all="true", position=4)
    ]
    for subscriber in subscribers:
        subscriber.ready()
    for _ in range(5):
        client.write("a-1")
    for subscriber in subscribers:
        subscriber.wait_for(3)
        assert subscriber.positions() == [4, 5, 6]


@pytest.mark.parametrize("parameters, expected", [({"stream": "a-1"}, [4, 6, 8, 10]),
                                                  ({"category": "a"}, [4, 5, 6, 7, 8, 10]),
                                                  ({"category": "a", "consumer": 1, "size": 2}, [5, 7]),
                                                  ({"all": "true"}, [4, 5, 6, 7, 8, 9, 10])])
def test_last_event_id_resumes_behind_it_and_wins_over_position(client, subscribe, parameters, expected):
    for n in range(8):
        client.write(f"a-{n % 2}")
    client.write("b-1")
    subscriber = subscribe(headers={"Last-Event-ID": "3"}, position=7, **parameters)
    subscriber.wait_for(2)
    client.write("a-1")
    subscriber.wait_for(len(expected))
    assert subscriber.positions() == expected


def test_an_empty_last_event_id_is_none(client, subscribe):
    client.write("s")
    assert subscribe(headers={"Last-Event-ID": ""}, all="true").wait_for(1) == [poke("s", 0, 1)]


def test_consumer_groups_share_by_the_hash_of_the_cardinal_id(client, subscribe):
    ids = ["", "1", "3", "abc", "200", "0", "2", "4", "5", "6", "100", "123", "1+x", "2+y", None]
    members = [subscribe(category="g", consumer=member, size=2) for member in (0, 1)]
    single = subscribe(category="g", consumer=0, size=1)
    for subscriber in (*members, single):
        subscriber.ready()
    for each in ids:
        client.write("g" if each is None else f"g-{each}")
    shares = [["g-", "g-1", "g-3", "g-abc", "g-200", "g-1+x"],
              ["g-0", "g-2", "g-4", "g-5", "g-6", "g-100", "g-123", "g-2+y"]]
    for subscriber, share in zip((*members, *[subscribe(category="g", consumer=member, size=2) for member in (0, 1)]),
                                 shares * 2):
        events = subscriber.wait_for(len(share))
        assert [json.loads(event.split(b"data: ")[1])["stream"] for event in events] == share
    assert len(single.wait_for(14)) == 14


def test_only_what_belongs_to_it(client, subscribe):
    names = ["a", "a-", "a-1", "a-1-2", "ab-1", "-a", "b"]
    by_stream = {name: subscribe(stream=name) for name in names}
    by_category = {name: subscribe(category=name) for name in ("a", "ab", "b", "a-1")}
    everything = subscribe(all="true")
    for subscriber in (*by_stream.values(), *by_category.values(), everything):
        subscriber.ready()
    for name in names:
        client.write(name)
    everything.wait_for(7)
    late = subscribe(all="true")
    late.wait_for(7)
    for subscriber, expected in ((by_category["a"], [1, 2, 3, 4]), (by_category["ab"], [5]), (by_category["b"], [7]),
                                 (everything, list(range(1, 8))), (late, list(range(1, 8)))):
        subscriber.wait_for(len(expected))
        assert subscriber.positions() == expected
    for n, name in enumerate(names):
        assert by_stream[name].wait_for(1) == [poke(name, 0, n + 1)]
    assert by_category["a-1"].events == []


# Who wrote it

def test_appends_by_sql(server, client, subscribe):
    client.write("s-1")
    subscribers = [subscribe(stream="s-1"), subscribe(category="s"), subscribe(all="true")]
    for subscriber in subscribers:
        subscriber.wait_for(1)
    connection = connect_to_namespace(server)
    for n in range(20):
        sql(connection, "SELECT millrace.append('s-1', 'T', '{}')")
    for subscriber in subscribers:
        assert subscriber.wait_for(21) == [poke("s-1", n, n + 1) for n in range(21)]


def test_a_row_at_the_last_global_position_is_not_followed(server, client, subscribe):
    client.write("s-1")
    subscribers = [subscribe(stream="s-1"), subscribe(category="s"), subscribe(all="true", ids="true")]
    for subscriber in subscribers:
        subscriber.wait_for(1)
    connection = connect_to_namespace(server)
    table = sql(
        connection,
        "SELECT format('%I.messages', schema) FROM millrace.namespaces "
        "WHERE name = current_setting('millrace.namespace')"
    )[0][0]
    sql(
        connection,
        f"INSERT INTO {table} (global_position, stream_name, position, type) "
        "VALUES (9223372036854775807, 's-2', 0, 'T')"
    )
    late = [subscribe(category="s"), subscribe(all="true", headers={"Last-Event-ID": "9223372036854775806"})]
    late[0].wait_for(1)
    late[1].ready()
    assert client.call("category.get", "s")[-1][4] == 9223372036854775807
    sql(connection, f"DELETE FROM {table} WHERE stream_name = 's-2'")
    position = client.write("s-1")["globalPosition"]
    for subscriber in [*subscribers, late[0]]:
        subscriber.wait_for(2)
        assert subscriber.positions() == [1, position]


def test_several_workers(start):
    server = start("--test-mode", "--workers", "2")
    subscribers = [Subscriber(server, stream="s") for _ in range(8)]
    for subscriber in subscribers:
        subscriber.ready()
    with ThreadPoolExecutor(8) as pool:
        clients = [server.client() for _ in range(8)]
        list(pool.map(lambda client: [client.write("s") for _ in range(50)], clients))
    for subscriber in subscribers:
        assert subscriber.wait_for(400) == [poke("s", n, n + 1) for n in range(400)]
        subscriber.close()


def test_several_servers_on_one_database(cluster, start):
    servers = [start(*without_tokens(cluster), "--workers", "1") for _ in range(2)]
    subscribers = [Subscriber(server, category="s") for server in servers]
    for subscriber in subscribers:
        subscriber.ready()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda server: [server.client().write("s") for _ in range(50)], servers))
    for subscriber in subscribers:
        assert subscriber.wait_for(100) == [poke("s", n, n + 1) for n in range(100)]
        subscriber.close()
