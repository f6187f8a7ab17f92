"""What a client of consumer.next that goes, or that settles with it, can rely on (sidecar/README.md, "Consumers")."""
import signal
import threading

import pytest

from consuming import LOCAL, Gone, Space, waits
from store import RpcError, Server, new_id, sql, wait_until


@pytest.fixture(scope="module")
def servers(shared_cluster):
    """Two at one Postgres."""
    servers = [Server("--database", shared_cluster.conninfo(), *LOCAL, "--workers", "1") for _ in range(2)]
    yield servers
    for each in servers:
        each.stop()


@pytest.fixture
def space(servers, shared_cluster):
    return Space(servers, shared_cluster)


# Who hangs up

def test_who_hangs_up_frees_its_place_and_claims_nothing(space):
    gone = [Gone(space.servers[0], space.token) for _ in range(5)]
    waits(space)
    for each in gone:
        each.hang_up()
    waits(space)
    space.client.write("account-1")
    waits(space)
    assert (space.info()["claims"], space.info()["lag"]) == (0, 1)
    assert len(space.client.call("consumer.next", "billing")["messages"]) == 1


@pytest.mark.parametrize("first", [True, False], ids=["its first question", "one after it was woken"])
def test_who_hangs_up_while_postgres_has_its_question_gives_the_claim_back(space, first):
    look, holder = space.cluster.connect(), space.cluster.connect()
    schema = sql(look, "SELECT millrace.namespace_schema(%s)", space.name)[0][0]
    if first:
        space.client.write("account-1")
    else:
        gone = Gone(space.servers[0], space.token)
        waits(space)
    sql(holder, "BEGIN")
    sql(holder, f'LOCK TABLE "{schema}".consumer_claims')
    if first:
        gone = Gone(space.servers[0], space.token)
    else:
        space.client.write("account-1")
    wait_until(lambda: sql(look, "SELECT count(*) FROM pg_locks WHERE relation = %s::regclass AND NOT granted",
                           f'"{schema}".consumer_claims')[0][0], "the question")
    gone.hang_up()
    waits(space)
    sql(holder, "COMMIT")
    member = space.member(1)
    answer = member.wait()
    assert len(answer["messages"]) == 1 and "retries" not in answer and member.took < 15


def test_who_hangs_up_and_sends_its_request_again_elsewhere_keeps_the_claim(space):
    """The first server gives its claim back only when the second one has given it again."""
    request = new_id()
    look, holder = space.cluster.connect(), space.cluster.connect()
    schema = sql(look, "SELECT millrace.namespace_schema(%s)", space.name)[0][0]
    space.client.write("account-1")
    sql(holder, "BEGIN")
    sql(holder, f'LOCK TABLE "{schema}".consumer_claims')
    gone = Gone(space.servers[0], space.token, request=request)
    wait_until(lambda: sql(look, "SELECT count(*) FROM pg_locks WHERE relation = %s::regclass AND NOT granted",
                           f'"{schema}".consumer_claims')[0][0], "the question")
    gone.hang_up()
    waits(space)
    space.servers[0].process.send_signal(signal.SIGSTOP)
    try:
        sql(holder, "COMMIT")
        answer = space.member(1, request=request).wait()
        given = sql(look, f'SELECT claim, lease_until - granted FROM "{schema}".consumer_claims')
    finally:
        space.servers[0].process.send_signal(signal.SIGCONT)
    assert len(answer["messages"]) == 1 and [claim for claim, _ in given] == [answer["claim"]]
    assert space.client.call("sys.version")  # the first one is at work again
    waits(space, 1)
    assert space.servers[1].client(space.token).call("consumer.settle", "billing", {"claim": answer["claim"]})
    assert space.info()["lag"] == 0


# Who settles

def test_a_settle_is_on_disk_before_it_is_answered_and_holds_up_nobody(cluster, start):
    """A standby that never comes stands for a slow disk."""
    servers = [start("--database", cluster.conninfo(), *LOCAL, "--workers", "1") for _ in range(2)]
    space, look = Space(servers, cluster, category="account"), cluster.connect()
    for n in range(3):
        space.client.write(f"account-{n}")
    held = space.client.call("consumer.next", "billing", {"max": 1})["claim"]
    sql(look, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    sql(look, "SELECT pg_reload_conf()")
    try:
        probe, slow = cluster.connect(), threading.Event()

        def append():
            while not slow.is_set():
                space.sql("SELECT millrace.append('probe-1', 'T', '{}')", connection=probe)
        threading.Thread(target=append, daemon=True).start()

        def on_disk(count):
            return sql(look, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")[0][0] == count
        wait_until(lambda: on_disk(1), "the disk to be slow")
        slow.set()
        settling = space.member(0, max=1, settle=[{"claim": held}])
        wait_until(lambda: on_disk(2), "the settle")
        assert len(space.member(1, max=1, waitMs=20000).wait()["messages"]) == 1
        assert settling.answer is None and on_disk(2)
    finally:
        sql(look, "ALTER SYSTEM RESET synchronous_standby_names")
        sql(look, "SELECT pg_reload_conf()")
    answer = settling.wait()
    assert answer["settled"] == [held] and len(answer["messages"]) == 1


def test_what_was_settled_is_told_also_where_no_claim_can_be_given(space):
    space.client.write("account-1")
    space.client.write("account-2")
    held = space.client.call("consumer.next", "billing", {"max": 1})["claim"]
    holder = space.cluster.connect()
    sql(holder, "BEGIN")
    space.sql("SELECT * FROM millrace.consumer_next('billing', 1)", connection=holder)
    answer = space.member(waitMs=0, settle=[{"claim": held}, {"claim": 17}]).wait()
    assert answer == {"claim": None, "messages": [], "settled": [held], "lost": [17]}
    with pytest.raises(RpcError, match="another session"):  # without anything to tell, the error is
        space.member(waitMs=0).wait()
    sql(holder, "ROLLBACK")
    assert len(space.member(max=10).wait()["messages"]) == 1
    space.client.call("consumer.create", "digest", {"ordering": "manual"})
    answer = space.member(consumer="digest", settle=[{"claim": 17}]).wait()
    assert answer == {"claim": None, "messages": [], "settled": [], "lost": [17]}
    with pytest.raises(RpcError, match="moved by hand"):
        space.member(consumer="digest").wait()


def test_a_next_that_is_refused_settles_nothing(space):
    space.client.write("account-1")
    held = space.client.call("consumer.next", "billing")["claim"]
    for bad in ({"max": 0}, {"leaseMs": 5}, {"request": "x"}, {"maxBytes": -1}):
        with pytest.raises(RpcError):
            space.member(settle=[{"claim": held}], **bad).wait()
    assert space.member(waitMs=0, settle=[{"claim": held}]).wait()["settled"] == [held]


def test_the_same_request_at_another_server(space):
    request = new_id()
    space.client.write("account-1")
    first = space.member(0, request=request).wait()
    assert space.member(1, request=request).wait() == first
    space.settle(first)
    assert space.member(1, request=request, waitMs=300).wait()["claim"] is None
