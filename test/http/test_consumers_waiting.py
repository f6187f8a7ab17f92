"""consumer.next that waits (sidecar/README.md, "Consumers"): what wakes it, whom it serves, and how it ends."""
import itertools
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from consuming import LOCAL, Gone, Space, at_once, waits
from store import Client, RpcError, Server, new_id, sql, token_for, wait_until


@pytest.fixture(scope="module")
def servers(shared_cluster):
    """Two at one Postgres; the first has two workers."""
    servers = [Server("--database", shared_cluster.conninfo(), *LOCAL, "--workers", str(n)) for n in (2, 1)]
    yield servers
    for each in servers:
        each.stop()


@pytest.fixture
def space(servers, shared_cluster):
    return Space(servers, shared_cluster)


# What wakes

def by_write(space, stream):
    space.client.write(stream)


def by_another_server(space, stream):
    space.servers[1].client(space.token).write(stream)


def by_sql(space, stream):
    space.sql("SELECT millrace.append(%s, 'T', '{}')", stream)


@pytest.mark.parametrize("act", [by_write, by_another_server, by_sql], ids=lambda act: act.__name__)
def test_an_append_wakes_at_once(space, act):
    def attempt():
        members = [space.member(server, max=1) for server in [0, 0, 0, 1]]  # at both workers of the first
        waits(space)
        began = time.monotonic()
        for n in range(len(members)):
            act(space, f"account-{n}")
        for each in members:
            space.settle(each.wait())
        return max(each.answered for each in members) - began
    at_once(attempt, "an append")


def settled_by_http(space, claim):
    space.client.call("consumer.settle", "billing", {"claim": claim})


def settled_with_next(space, claim):
    assert space.client.call("consumer.next", "billing", {"max": 1, "settle": [{"claim": claim}]})["settled"] == [claim]


def settled_by_sql(space, claim):
    space.sql("SELECT millrace.consumer_settle('billing', %s)", claim)


def released(space, claim):
    space.client.call("consumer.settle", "billing", {"claim": claim, "release": True})


@pytest.mark.parametrize("act", [settled_by_http, settled_by_sql, released], ids=lambda act: act.__name__)
def test_a_settled_claim_lets_its_stream_go_on_at_once(space, act):
    turns = itertools.cycle([0, 1])

    def attempt():
        space.client.write("account-1")
        space.client.write("account-1")
        held = space.client.call("consumer.next", "billing", {"max": 1})
        member = space.member(next(turns))
        waits(space)
        assert member.answer is None
        began = time.monotonic()
        act(space, held["claim"])
        space.settle(member.wait())
        space.client.call("consumer.reset", "billing", {"position": "end"})
        return member.answered - began
    at_once(attempt, "a settle")


def test_a_claim_that_a_transaction_settles_wakes_at_its_commit(space):
    space.client.write("account-1")
    space.client.write("account-1")
    held = space.client.call("consumer.next", "billing", {"max": 1})
    connection = space.cluster.connect()
    sql(connection, "BEGIN")
    space.sql("SELECT millrace.consumer_settle('billing', %s)", held["claim"], connection=connection)
    members = [space.member(server) for server in (0, 1)]
    waits(space, 1)
    assert not any(each.answer for each in members)
    began = time.monotonic()
    sql(connection, "COMMIT")
    wait_until(lambda: any(each.answer for each in members), "the one behind it", 10)
    assert time.monotonic() - began < 4
    space.client.write("account-2")
    for each in members:
        assert len(each.wait()["messages"]) == 1


def test_a_retry_that_is_due_and_a_lease_that_ran_out(space):
    space.client.write("account-1")
    held = space.client.call("consumer.next", "billing")
    space.settle(held, failed=[{"stream": "account-1", "position": 0, "delayMs": 1200}])
    member = space.member(1)
    answer = member.wait()
    assert 0.9 < member.took < 10 and answer["retries"]["account-1"]["attempt"] == 2
    space.settle(answer)
    space.client.write("account-1")
    space.client.call("consumer.next", "billing", {"leaseMs": 1000})
    member = space.member(1)
    assert len(member.wait()["messages"]) == 1 and 0.7 < member.took < 10


def test_wait_ms_is_reached(space):
    member = space.member(waitMs=700)
    assert member.wait() == {"claim": None, "messages": []}
    assert 0.65 < member.took < 10  # the clock of timeouts is good to a few ms
    member = space.member(waitMs=0)
    assert member.wait()["claim"] is None and member.took < 20
    began = time.monotonic()
    answers = space.client.post([{"jsonrpc": "2.0", "id": n, "method": "consumer.next",
                                  "params": ["billing", {"waitMs": 20000}]} for n in range(5)]).json
    assert time.monotonic() - began < 10
    assert [each["result"] for each in answers] == [{"claim": None, "messages": []}] * 5
    answer = space.client.post({"jsonrpc": "2.0", "id": 7, "method": "consumer.next",
                                "params": {"consumer": "billing", "options": {"waitMs": 500}}}).json
    assert answer == {"jsonrpc": "2.0", "id": 7, "result": {"claim": None, "messages": []}}


def test_a_call_waits_without_being_asked_to(space):
    members = [space.member(waitMs=None), space.member(1, waitMs=None)]
    waits(space, 1)
    assert not any(each.answer for each in members)
    space.client.write("account-1")
    wait_until(lambda: any(each.answer for each in members), "a claim")
    space.client.write("account-2")
    assert [len(each.wait()["messages"]) for each in members] == [1, 1]
    assert max(each.took for each in members) < 25
    batch = [{"jsonrpc": "2.0", "id": n, "method": "consumer.next", "params": ["billing"]} for n in range(2)]
    began = time.monotonic()
    assert [each["result"]["claim"] for each in space.client.post(batch).json] == [None, None]
    assert time.monotonic() - began < 20


def test_a_wait_that_ends_says_when_something_is_due(space):
    space.client.write("account-1")
    space.settle(space.client.call("consumer.next", "billing"),
                 failed=[{"stream": "account-1", "position": 0, "delayMs": 3000000}])
    for options in ({"waitMs": 400}, {"waitMs": 0}):
        assert 2000000 < space.member(**options).wait()["nextDueMs"] <= 3600000
    space.client.call("consumer.pause", "billing")
    assert space.member(waitMs=400).wait() == {"claim": None, "state": "paused", "messages": []}


# Many

def test_members_are_served_in_the_order_in_which_they_asked(space):
    """Those of one worker: it has read a call, and looked for something to claim, when it answers one behind it."""
    server, members = space.servers[1], []
    for _ in range(12):
        members.append(Gone(server, space.token, max=1))
        assert server.client(space.token).call("consumer.next", "billing", {"waitMs": 0})["claim"] is None
    for n in range(6):
        space.client.write(f"account-{n}")
    space.client.call("streams.append", [{"stream": f"other-{n}", "messages": [{"type": "T", "data": {}}]}
                                         for n in range(6)])
    assert sorted(members, key=lambda each: each.wait()["messages"][0][4]) == members


def test_three_hundred_wait_for_one_consumer(servers, shared_cluster):
    space = Space(servers[1:], shared_cluster)
    members = [space.member(max=1) for _ in range(150)] + [space.member(max=1, waitMs=1500) for _ in range(50)] + [
        space.member(max=1) for _ in range(100)]
    for each in members[150:200]:  # behind a hundred that wait for longer
        assert each.wait(20)["claim"] is None
    held = space.client
    held.write("account-1")
    first = next(iter(wait_until(lambda: [each for each in members if each.answer and each.answer["claim"]], "one")))
    again = space.member(max=1, waitMs=500, settle=[{"claim": first.answer["claim"]}])
    assert again.wait(20)["settled"] == [first.answer["claim"]]
    held.call("streams.append", [{"stream": f"account-{n}", "messages": [{"type": "T", "data": {}}]}
                                 for n in range(2, 252)])
    rest = [each for each in members if each not in members[150:200] and each is not first]
    began = time.monotonic()
    claims = {each.wait(60)["claim"] for each in rest[:248]}
    assert None not in claims and len(claims) >= 248 and time.monotonic() - began < 30


def test_two_who_are_asked_for_together_get_large_answers(servers, shared_cluster):
    space = Space(servers[1:], shared_cluster)  # of one worker
    members = [space.member(max=1) for _ in range(3)]
    waits(space)
    texts = {f"account-{n}": str(n) * 50000 for n in range(len(members))}
    space.client.call("streams.append", [{"stream": stream, "messages": [{"type": "T", "data": {"text": text}}]}
                                         for stream, text in texts.items()])
    messages = [message for each in members for message in each.wait()["messages"]]
    assert {message[1]: message[5]["text"] for message in messages} == texts


def test_a_hundred_consumers(servers, shared_cluster):
    space = Space(servers, shared_cluster)
    for n in range(100):
        space.client.call("consumer.create", f"c-{n}", {"category": f"k{n}"})
    members = [space.member(n % 2, consumer=f"c-{n}") for n in range(100)]
    waits(space, 1)
    for n in range(100):
        space.client.write(f"k{n}-1")
    assert [each.wait()["messages"][0][1] for each in members] == [f"k{n}-1" for n in range(100)]


# What fails

def test_one_that_fails_does_not_hurt_the_others(space):
    members = [space.member(max=1) for _ in range(3)]
    waits(space)
    space.client.write("account-1")
    claim = wait_until(lambda: next((each.answer for each in members if each.answer), None), "a claim")["claim"]
    bad = [space.member(max=1, settle=[{"claim": claim, "failed": [{"stream": "none", "position": 0}]}])
           for _ in range(3)]
    for each in bad:
        with pytest.raises(RpcError) as error:
            each.wait(20)
        assert (error.value.status, error.value.code) == (400, "INVALID_REQUEST")
    space.client.write("account-2")
    space.client.write("account-3")
    assert all(len(each.wait(20)["messages"]) == 1 for each in members)


def test_while_another_session_is_at_the_consumer(space):
    space.client.write("account-1")
    holder = space.cluster.connect()
    sql(holder, "BEGIN")
    space.sql("SELECT * FROM millrace.consumer_next('billing', 1)", connection=holder)
    with ThreadPoolExecutor(1) as pool:
        batch = pool.submit(lambda: space.servers[0].client(space.token).post([
            {"jsonrpc": "2.0", "id": n, "method": "consumer.next", "params": ["billing", {"max": 1}]}
            for n in range(2)]).json)
        member, gone = space.member(max=1), Gone(space.servers[0], space.token)
        waits(space, 1)
        gone.hang_up()
        sql(holder, "ROLLBACK")
        answers = [each["result"]["claim"] for each in batch.result(30)]
    space.client.write("account-2")
    space.client.write("account-3")
    assert sum(claim is not None for claim in [*answers, member.wait()["claim"]]) >= 1
    assert space.servers[0].process.poll() is None


def test_a_server_that_stops_answers_those_that_wait(shared_cluster):
    server = Server("--database", shared_cluster.conninfo(), *LOCAL, "--workers", "2")
    space = Space([server], shared_cluster)
    members = [space.member() for _ in range(20)]
    waits(space)
    began = time.monotonic()
    server.stop()
    assert [each.wait(5) for each in members] == [{"claim": None, "messages": []}] * 20
    assert time.monotonic() - began < 20


def test_postgres_is_killed_while_calls_wait(cluster):
    server = Server("--database", cluster.conninfo(), *LOCAL, "--workers", "1")
    try:
        space = Space([server], cluster)
        space.client.write("account-1")
        held = space.client.call("consumer.next", "billing")
        members = [space.member(max=1) for _ in range(5)]
        waits(space)
        cluster.stop("immediate")
        waits(space, 1)
        cluster.start()
        space.settle(held)
        for n in range(5):
            space.client.write(f"account-{n + 2}")
        assert sorted(each.wait()["messages"][0][1] for each in members) == [f"account-{n + 2}" for n in range(5)]
    finally:
        server.stop()


# While nothing happens

def test_idle_consumers_write_nothing_and_ask_at_most_once_a_second(cluster, start):
    server = start("--database", cluster.conninfo(), *LOCAL, "--workers", "1")
    space, look = Space([server], cluster), cluster.connect("template1")
    names = [f"c-{n}" for n in range(10)]
    for n, name in enumerate(names):
        space.client.call("consumer.create", name, {"category": "account"})
    for n in range(10):
        space.client.write(f"account-{n}")
    for n, name in enumerate(names):
        answer = space.client.call("consumer.next", name)
        failures = [{"stream": "account-1", "position": 0, "park": True}] if n % 3 == 0 else [
            {"stream": "account-2", "position": 0, "delayMs": 100}] if n % 3 == 1 else []
        space.client.call("consumer.settle", name, {"claim": answer["claim"], "failed": failures})
        if n % 3 == 1:
            space.client.call("consumer.pause", name)
    # One has a lease that ran out, and a transaction that has settled it.
    space.client.call("consumer.create", "held", {"category": "account"})
    claim = space.client.call("consumer.next", "held", {"leaseMs": 1000})["claim"]
    holder = cluster.connect("postgres")
    sql(holder, "BEGIN")
    space.sql("SELECT millrace.consumer_settle('held', %s)", claim, connection=holder)
    members = [space.member(consumer=name) for name in [*names, "held"] for _ in range(3)]

    def told():
        return sql(look, "SELECT xact_commit + xact_rollback, pg_current_wal_insert_lsn() - '0/0' "
                   "FROM pg_stat_database WHERE datname = 'postgres'")[0]

    def calm():
        before, began = told(), time.monotonic()
        time.sleep(3)  # which is what the rate is taken over; each may have asked at both its ends
        after, seconds = told(), time.monotonic() - began
        return after[1] == before[1] and after[0] - before[0] <= 11 * (seconds + 1)
    wait_until(calm, "calm", 60)
    sql(holder, "ROLLBACK")
    assert not any(each.answer for each in members if each.call[1] in names and int(each.call[1][2:]) % 3)


# Judged by a history

def test_servers_are_killed_at_random_and_every_message_is_settled_once_in_order(cluster):
    """Eight members over HTTP note in one table of Postgres what they did, as a user's code does: with the settle."""
    running = [Server("--database", cluster.conninfo(), *LOCAL, "--workers", "2") for _ in range(2)]
    space = Space(running, cluster)
    setup = cluster.connect()
    sql(setup, "CREATE TABLE effects (n serial, stream text, position bigint, claim bigint)")
    streams, each_has, stop = 20, 40, threading.Event()

    def work(number):
        connection, chance, client = cluster.connect(), random.Random(number), None
        connection.autocommit = False
        while not stop.is_set():
            try:
                client = client or running[chance.randrange(2)].client(space.token, timeout=20)
                answer = client.call("consumer.next", "billing", {"max": 7, "waitMs": 500, "leaseMs": 1000})
                with connection, connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('millrace.namespace', %s, false)", (space.name,))
                    if answer["claim"] is None or chance.random() < 0.05:
                        continue
                    cursor.execute("SELECT millrace.consumer_settle('billing', %s)", (answer["claim"],))
                    for message in answer["messages"]:
                        cursor.execute("INSERT INTO effects (stream, position, claim) VALUES (%s, %s, %s)",
                                       (message[1], message[3], answer["claim"]))
            except Exception:  # a server was killed, or the claim was lost
                client = None
                time.sleep(0.05)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(8)]
    for each in threads:
        each.start()
    kills = 0
    try:
        for position in range(each_has):
            for n in range(streams):
                space.sql("SELECT millrace.append(%s, 'T', '{}')", f"account-{n}", connection=setup)
            if position % 10 == 5:
                victim = kills % 2
                os.kill(running[victim].process.pid, signal.SIGKILL)
                running[victim].wait()
                running[victim] = Server("--database", cluster.conninfo(), *LOCAL, "--workers", "2")
                kills += 1
        wait_until(lambda: sql(setup, "SELECT count(*) FROM effects")[0][0] >= streams * each_has, "all effects", 90)
        stop.set()
        for each in threads:
            each.join(30)
        history = sql(setup, "SELECT stream, position FROM effects ORDER BY n")
        for n in range(streams):
            assert [position for stream, position in history if stream == f"account-{n}"] == list(range(each_has))
        assert kills == 4 and Client(running[0].port, space.token).call("consumer.info", "billing")["lag"] == 0
    finally:
        stop.set()
        for each in running:
            each.stop()
