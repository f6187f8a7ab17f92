"""What is under way while a namespace moves to another cluster goes on there."""
import json
import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from placing import Move, again, clusters, make, owner, served  # noqa: F401
from store import MILLRACE, Server, make_synchronous, new_id, sql, wait_until
from subscriber import Subscriber

MESSAGE = {"type": "Tested", "data": {}}


# Calls


def test_an_append_waits_while_its_namespace_is_sealed_and_goes_on_at_the_new_cluster(clusters, make):
    name, client = make("a")
    client.write("s-1")
    move = Move(clusters, name, "a", "b").seal()
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(client.write, "s-1")
        time.sleep(0.2)
        assert not written.done()
        move.copy().direct().open().leave()
        assert written.result(20)["position"] == 1
    assert len(client.call("stream.get", "s-1")) == 2
    ((count,),) = sql(clusters.connect("b"), f'SELECT count(*) FROM "{move.schema}".messages')
    assert count == 2


def test_an_append_goes_on_when_the_seal_is_taken_back(clusters, make):
    name, client = make("a")
    client.write("s-1")
    Move(clusters, name, "a", "b").seal()
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(client.write, "s-1")
        time.sleep(0.2)
        assert not written.done()
        sql(clusters.connect("a"), "SELECT millrace.unseal_namespace(%s)", name)
        assert written.result(20)["position"] == 1


def test_an_append_that_waits_goes_on_elsewhere_though_the_old_cluster_is_away(clusters, served, make):
    name, client = make("b")
    client.write("s-1")
    move = Move(clusters, name, "b", "a").seal().copy()
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(client.write, "s-1")
        time.sleep(0.2)
        clusters.b.stop("immediate")
        try:
            began = time.monotonic()
            admin = served.admin()
            wait_until(lambda: admin.request("GET", "/ready?cluster=b").status == 503, "the end of the old cluster")
            move.direct().open()
            assert written.result(40)["position"] == 1
            assert time.monotonic() - began < 20
        finally:
            clusters.b.start()
    move.source = clusters.connect("b")
    move.leave()
    assert again(client).write("s-1")["position"] == 2


def test_reads_are_answered_while_it_is_sealed(clusters, make):
    name, client = make("a")
    client.write("s-1")
    move = Move(clusters, name, "a", "b").seal()
    assert len(client.call("stream.get", "s-1")) == 1
    move.copy().direct().open().leave()
    assert len(client.call("stream.get", "s-1")) == 1


def test_after_the_retry_window_a_client_is_told_that_it_is_sealed(clusters):
    server = clusters.start("--retry-window", "1")
    try:
        name = "n " + new_id()
        client = server.client(server.client().call("ns.create", name)["token"])
        client.write("s-1")
        Move(clusters, name, "a", "b").seal()
        error = client.refused("stream.write", "s-1", MESSAGE)
        assert (error.status, error.code) == (503, "NAMESPACE_SEALED") and name in error.message
        assert error.headers["Retry-After"] == "1"
    finally:
        server.stop()


def test_a_batch_of_json_rpc_goes_on_at_the_new_cluster_in_its_order(clusters, make):
    name, client = make("a")
    client.write("s-1")
    move = Move(clusters, name, "a", "b").seal()
    calls = [{"jsonrpc": "2.0", "id": i, "method": "stream.write", "params": ["s-1", MESSAGE]} for i in range(50)]
    calls.insert(25, {"jsonrpc": "2.0", "id": "read", "method": "stream.get", "params": ["s-1"]})
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, calls)
        time.sleep(0.2)
        move.copy().direct().open().leave()
        answers = answer.result(20).json
    assert [each["id"] for each in answers] == [each["id"] for each in calls]
    positions = [each["result"]["position"] for each in answers if each["id"] != "read"]
    assert positions == list(range(1, 51))


def test_what_was_stored_before_the_move_is_found_by_its_id_after_it(clusters, make):
    name, client = make("a")
    id = new_id()
    first = client.write("s-1", id=id)
    Move(clusters, name, "a", "b").all()
    assert client.write("s-1", id=id) == first
    assert len(client.call("stream.get", "s-1")) == 1


def test_an_append_in_doubt_whose_namespace_moves_meanwhile_is_stored_once(clusters, make):
    """It is stored, and waits for a standby that there is not, when its cluster dies; then the namespace moves."""
    name, client = make("b")
    client.write("s-1")
    move, aside = Move(clusters, name, "b", "a"), None
    b = clusters.connect("b")
    try:
        make_synchronous(clusters.b)
        with ThreadPoolExecutor(1) as pool:
            written = pool.submit(client.write, "s-1")
            wait_until(lambda: sql(b, "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"), "its wait")
            clusters.b.stop("immediate")
            assert not written.done()
            aside = clusters.b.elsewhere().start()  # where the server does not find it
            move.source = aside.connect()
            sql(move.source, "ALTER SYSTEM RESET synchronous_standby_names")
            sql(move.source, "SELECT pg_reload_conf()")
            wait_until(lambda: sql(move.source, "SHOW synchronous_standby_names") == [("",)], "none any more")
            assert sql(move.source, f'SELECT count(*) FROM "{move.schema}".messages') == [(2,)]
            move.all()
            aside.stop()
            aside = None
            clusters.b.start()
            assert written.result(40)["position"] == 1
    finally:
        if aside:
            aside.stop()
            clusters.b.start()
        left = clusters.connect("b")
        sql(left, "ALTER SYSTEM RESET synchronous_standby_names")
        sql(left, "SELECT pg_reload_conf()")
    assert sql(clusters.connect("a"), f'SELECT count(*) FROM "{move.schema}".messages') == [(2,)]
    assert again(client).write("s-1")["position"] == 2


def test_without_a_directory_a_client_is_told_where_it_went(clusters, make):
    name, client = make("a")
    client.write("s-1")
    Move(clusters, name, "a", "b").all()
    server = Server("--database", clusters.a.conninfo(), "--retry-window", "2")
    try:
        for call in (["stream.get", "s-1"], ["stream.write", "s-1", MESSAGE]):
            error = server.client(client.token).refused(*call)
            assert (error.status, error.code, error.details) == (421, "NAMESPACE_MOVED", {"cluster": "b", "epoch": 2})
    finally:
        server.stop()


def test_a_call_of_consumer_next_waits_on_at_the_new_cluster(clusters, make):
    name, client = make("a")
    client.call("consumer.create", "c", {"category": "s"})
    client.write("s-1")
    other = client.call("consumer.next", "c")
    client.call("consumer.settle", "c", {"claim": other["claim"]})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.call, "consumer.next", "c", {"waitMs": 30000})
        time.sleep(0.3)
        Move(clusters, name, "a", "b").all()
        served_again = again(client)
        served_again.write("s-2")
        assert [m[0] for m in waiting.result(20)["messages"]]


def test_an_import_goes_on_at_the_new_cluster(clusters, served, make):
    name, client = make("a")
    client.write("s-1")
    move = Move(clusters, name, "a", "b").seal()
    lines = client_export(client)
    body = "\n".join(
        json.dumps({**json.loads(lines[0]), "gpos": i, "pos": i - 1, "id": new_id()}) for i in range(2, 3000))
    with ThreadPoolExecutor(1) as pool:
        imported = pool.submit(client.request, "POST", "/import", body.encode())
        time.sleep(0.3)
        move.copy().direct().open().leave()
        reply = imported.result(30)
    assert b'"imported":2998' in reply.body, reply.body
    assert len(client_export(again(client))) == 2999


def client_export(client):
    return [line for line in client.request("GET", "/export").body.decode().splitlines() if "millrace" not in line]


# Subscriptions


def positions(subscriber, count):
    """The global positions of all pokes, of which there are to be so many."""

    def read():
        return [int(text) for text in re.findall(rb'"globalPosition":(\d+)}\n', subscriber.raw)]

    subscriber.read_until(lambda: len(read()) >= count)
    return read()


def test_subscribers_miss_nothing_and_get_nothing_twice_over_moves(clusters, served, make):
    name, client = make("a")
    written, stop = [], threading.Event()

    def write(k):
        writer = again(client)
        while not stop.is_set():
            written.append(writer.write(f"s-{k}")["globalPosition"])

    subscribers = [Subscriber(served, token=client.token, category="s", position=0) for _ in range(3)]
    writers = [threading.Thread(target=write, args=(k,)) for k in range(3)]
    for thread in writers:
        thread.start()
    try:
        wait_until(lambda: len(written) > 100, "some messages")
        Move(clusters, name, "a", "b").all()
        seen = len(written)
        wait_until(lambda: len(written) > seen + 100, "messages at the new cluster")
    finally:
        stop.set()
        for thread in writers:
            thread.join()
    for subscriber in subscribers:
        got = positions(subscriber, len(written))
        assert got == sorted(written)
        subscriber.close()


def test_the_command_moves_it_there_and_back_while_it_is_used(clusters, served, make):
    name, client = make("a")
    client.write("s-0")
    acknowledged, failed, stop, longest = [], [], threading.Event(), [0.0]

    def write(k):
        writer = again(client)
        while not stop.is_set():
            id, began = new_id(), time.monotonic()
            reply = writer.post(["stream.write", f"s-{k}", MESSAGE, {"id": id}])
            longest[0] = max(longest[0], time.monotonic() - began)
            if reply.status == 200:
                acknowledged.append((reply.json["globalPosition"], id))
            else:
                failed.append(reply.body)

    subscribers = [Subscriber(served, token=client.token, category="s", position=0) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(k,)) for k in range(4)]
    for thread in writers:
        thread.start()
    try:
        for flags in (("--to", "b", "--start"), ("--switch",), ("--reverse",), ("--to", "b")):
            before = len(acknowledged)
            moved = subprocess.run([MILLRACE, "move", name, "--directory", clusters.a.conninfo("directory"), *flags],
                                   capture_output=True, text=True)
            assert moved.returncode == 0, (flags, moved.stderr)
            wait_until(lambda: len(acknowledged) > before + 20 or failed, "appends")
    finally:
        stop.set()
        for thread in writers:
            thread.join()
    assert not failed, failed[:3]
    stored = again(client).call("category.get", "s", {"batchSize": -1})
    assert [(m[4], m[0]) for m in stored[1:]] == sorted(acknowledged)
    for subscriber in subscribers:
        assert positions(subscriber, len(acknowledged) + 1)[1:] == sorted(position for position, _ in acknowledged)
        subscriber.close()
    assert longest[0] < 10


def test_a_subscription_ends_when_its_namespace_is_deleted_at_the_new_cluster(clusters, served, owner, make):
    name, client = make("a")
    client.write("s-1")
    subscriber = Subscriber(served, token=client.token, category="s", position=0)
    positions(subscriber, 1)
    Move(clusters, name, "a", "b").all()
    again(client).write("s-1")
    assert len(positions(subscriber, 2)) == 2
    owner.call("ns.delete", name)
    subscriber.ends(30)
