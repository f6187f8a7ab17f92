"""A server over several clusters: every namespace is asked for where it is, while it moves and while clusters are
away."""
import json
import os
import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from placing import Clusters, Move
from store import MILLRACE, Client, Server, new_id, sql, token_for, wait_until
from subscriber import Subscriber

MESSAGE = {"type": "Tested", "data": {}}


@pytest.fixture(scope="module")
def clusters():
    clusters = Clusters()
    yield clusters
    clusters.close()


@pytest.fixture(scope="module")
def served(clusters):
    server = clusters.start()
    yield server
    server.stop()


@pytest.fixture
def owner(served):
    return served.client()


@pytest.fixture
def make(served, owner):
    """Makes a namespace at a cluster; returns its name and a client of it."""

    def at(cluster, prefix="n "):
        name = prefix + new_id()
        return name, served.client(owner.call("ns.create", name, {"cluster": cluster})["token"])

    return at


def names_at(clusters, cluster):
    return [name for (name,) in sql(clusters.connect(cluster), "SELECT name FROM millrace.namespaces")]


# Where a namespace is


def test_a_namespace_is_made_at_the_servers_own_cluster_or_where_the_call_says(clusters, served, owner, make):
    name, client = make("b")
    assert name in names_at(clusters, "b") and name not in names_at(clusters, "a")
    assert client.write("s-1")["position"] == 0
    assert len(client.call("stream.get", "s-1")) == 1
    own = "own " + new_id()
    owner.call("ns.create", own)
    assert own in names_at(clusters, "a") and own not in names_at(clusters, "b")
    assert sql(clusters.directory, "SELECT cluster, epoch, state FROM millrace.directory_entries() WHERE namespace = %s",
               own) == [("a", 1, "open")]


def test_another_server_finds_it_at_once_whichever_cluster_is_its_own(clusters, make):
    server = clusters.start(own="b")
    try:
        for cluster in ("a", "b"):
            name, client = make(cluster)
            client.write("s-1")
            assert len(server.client(client.token).call("stream.get", "s-1")) == 1
    finally:
        server.stop()


def test_a_name_is_used_once_over_all_clusters(clusters, owner, make):
    name, _ = make("b")
    for options in ({"cluster": "a"}, {"cluster": "b"}, {}):
        error = owner.refused("ns.create", name, options)
        assert (error.status, error.code) == (409, "NAMESPACE_EXISTS")
    assert name not in names_at(clusters, "a")


def test_a_creation_that_was_cut_short_is_made_again(clusters, owner):
    name = "cut " + new_id()
    sql(clusters.directory, "SELECT millrace.place_namespace(%s, 'b')", name)
    assert owner.call("ns.create", name)["namespace"] == name
    assert name in names_at(clusters, "b")


@pytest.mark.parametrize("cluster", ["c", "", 1, None, "x" * 201])
def test_a_cluster_that_is_none_is_refused(owner, cluster):
    error = owner.refused("ns.create", "n " + new_id(), {"cluster": cluster})
    assert (error.status, error.code) == (400, "INVALID_REQUEST") and "options.cluster" in error.message


def test_a_server_without_a_directory_takes_no_cluster(admin):
    assert "no directory" in admin.refused("ns.create", "n " + new_id(), {"cluster": "a"}).message


def test_the_administrators_calls_go_to_the_namespace_that_they_are_about(owner, make):
    name, client = make("b")
    client.write("s-1")
    assert owner.call("ns.info", name)["messageCount"] == 1
    assert owner.call("ns.setLimits", name, {"requestsPerSecond": 1000})["limits"]["requestsPerSecond"] == 1000
    assert owner.call("ns.createToken", name, "second", {"rights": ["read"]})["namespace"] == name
    assert "second" in [token["name"] for token in owner.call("ns.tokens", name)]
    assert owner.call("ns.setRetention", name, "s", {"maxCount": 5})
    assert owner.call("ns.purge", name)
    listed = {each["namespace"]: each for each in owner.call("ns.list")}
    assert (listed[name]["cluster"], listed[name]["messageCount"]) == ("b", 1)
    assert listed["default"]["cluster"] == "a"


def test_a_deleted_namespace_leaves_the_directory_and_may_be_made_elsewhere(clusters, served, owner, make):
    name, client = make("b")
    owner.call("ns.delete", name)
    assert sql(clusters.directory, "SELECT state FROM millrace.directory_entries() WHERE namespace = %s",
               name) == [("dropped",)]
    assert client.refused("stream.get", "s-1").status == 403
    again = served.client(owner.call("ns.create", name, {"cluster": "a"})["token"])
    assert again.write("s-1")["position"] == 0
    assert name in names_at(clusters, "a")


def test_a_token_that_opens_nothing_is_refused_as_before(served, make):
    name, _ = make("b")
    for token in (token_for(name), token_for("nobody " + new_id())):
        assert served.client(token).refused("stream.get", "s-1").code == "AUTH_UNAUTHORIZED"


# While it moves


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


def again(client):
    """A connection of its own for the same token."""
    return Client(client.port, client.token)


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
    assert [(m[2], m[0]) for m in stored[1:]] == sorted(acknowledged)
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


# The directory is away, or older


def test_the_directory_may_be_away(clusters, served, owner, make):
    name, client = make("b")
    clusters.close_directory()
    try:
        client.write("s-1")
        wait_until(lambda: "the directory cannot be reached" in served.text, "the log's word of it")
        client.write("s-1")
        error = owner.refused("ns.create", "n " + new_id())
        assert (error.status, error.code) == (503, "BACKEND_UNAVAILABLE") and "directory" in error.message
        assert served.client(token_for("nobody " + new_id())).refused("stream.get", "s-1").status == 403
    finally:
        clusters.open_directory()
    wait_until(lambda: "the directory is back" in served.text, "the log's word of it")
    assert owner.call("ns.create", "n " + new_id())


def test_a_server_that_knows_it_from_a_file_starts_while_the_directory_is_away(clusters, make, folder):
    name, client = make("b")
    client.write("s-1")
    file = folder + "/copy"
    clusters.start("--directory-copy", file).stop()
    assert os.stat(file).st_mode & 0o777 == 0o600
    clusters.close_directory()
    try:
        server = clusters.start("--directory-copy", file, "--retry-window", "1")
        try:
            assert len(server.client(client.token).call("stream.get", "s-1")) == 1
        finally:
            server.stop()
        refused = Server(*clusters.flags(), "--retry-window", "1", wait=False)
        assert refused.wait() == 1 and "directory" in refused.text
    finally:
        clusters.open_directory()


@pytest.mark.parametrize("damage", [lambda text: text[:-20], lambda text: "", lambda text: text.replace('"epoch"', '"age"'),
                                    lambda text: "{}\n" * 3])
def test_a_damaged_file_is_not_used(clusters, folder, make, damage):
    make("b")
    file = folder + "/copy"
    clusters.start("--directory-copy", file).stop()
    with open(file) as old:
        text = old.read()
    with open(file, "w") as new:
        new.write(damage(text))
    server = clusters.start("--directory-copy", file)
    server.stop()
    assert "is not whole; it is not used" in server.text
    with open(file) as again:
        assert sorted(again.read().splitlines()) == sorted(text.splitlines())


def test_an_older_directory_does_not_lead_back(clusters, served, make):
    name, client = make("a")
    client.write("s-1")
    Move(clusters, name, "a", "b").all()
    client.write("s-1")
    sql(clusters.directory, "SELECT millrace.direct_namespace(%s, 'a', 1, 'open')", name)  # as a backup has it
    time.sleep(1.2)  # it was read
    assert client.write("s-1")["position"] == 2
    server = clusters.start(own="b")  # which knows no more than the directory
    try:
        assert server.client(client.token).write("s-1")["position"] == 3
    finally:
        server.stop()


def test_a_directory_that_is_behind_is_not_believed_against_the_store(clusters, make):
    name, client = make("a")
    client.write("s-1")
    move = Move(clusters, name, "a", "b").seal().copy().open().leave()
    assert client.write("s-1")["position"] == 1
    move.direct()
    assert client.write("s-1")["position"] == 2


def test_a_store_from_before_the_directorys_epoch_is_refused(clusters, make):
    name, client = make("a")
    client.write("s-1")
    sql(clusters.directory, "SELECT millrace.direct_namespace(%s, 'a', 5, 'open')", name)
    time.sleep(1.2)
    for call in (["stream.write", "s-1", MESSAGE], ["stream.get", "s-1"]):
        error = client.refused(*call)
        assert (error.status, error.code, error.details) == (421, "NAMESPACE_MOVED", {"cluster": "a", "epoch": 5})
        assert "backup" in error.message
    sql(clusters.connect("a"), "SELECT millrace.seal_namespace(%s)", name)
    sql(clusters.connect("a"), "SELECT millrace.set_namespace_state(%s, 'open', 5)", name)
    assert client.write("s-1")["position"] == 1


def test_a_store_from_a_backup_gets_no_append_that_waited_for_it(clusters, served, make):
    name, client = make("a")
    client.write("s-1")
    move = Move(clusters, name, "a", "b").all()
    client.write("s-1")
    other, untouched = make("b")
    untouched.write("s-1")
    clusters.b.stop("immediate")
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(client.refused, "stream.write", "s-1", MESSAGE)
        beside = pool.submit(untouched.write, "s-1")
        time.sleep(0.5)
        aside = clusters.b.elsewhere().start()  # where the server does not find it
        sql(aside.connect(), "UPDATE millrace.namespaces SET epoch = 1 WHERE name = %s", name)
        aside.stop()
        clusters.b.start()
        error = waiting.result(30)
        assert beside.result(30)["position"] == 1
    assert (error.status, error.code, error.details) == (421, "NAMESPACE_MOVED", {"cluster": "b", "epoch": 2})
    assert sql(clusters.connect("b"), f'SELECT count(*) FROM "{move.schema}".messages') == [(2,)]


# A cluster is away


def test_a_cluster_that_is_away_takes_only_its_own_namespaces(clusters, served, owner, make):
    here, there = make("a"), make("b")
    here[1].write("s-1")
    there[1].write("s-1")
    clusters.b.stop("immediate")
    try:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(there[1].write, "s-1")
            for _ in range(20):
                began = time.monotonic()
                here[1].write("s-1")
                assert time.monotonic() - began < 2
            assert not waiting.done()
            ready = wait_until(lambda: served.admin().request("GET", "/ready?cluster=b").status == 503 and served.admin().
                               request("GET", "/ready"), "the word of it")
            assert (ready.status, ready.json["clusters"]) == (200, {"a": "ready", "b": "not ready"})
            time.sleep(1.1)
            listed = {each["namespace"]: each for each in owner.call("ns.list")}
            assert listed[there[0]] == {"namespace": there[0], "cluster": "b", "reachable": False}
            assert listed[here[0]]["messageCount"] == 21
            clusters.b.start()
            assert waiting.result(30)["position"] == 1
    finally:
        clusters.b.start() if not os.path.exists(clusters.b.data / "postmaster.pid") else None
    metrics = served.admin().request("GET", "/metrics").body.decode()
    assert 'millrace_cluster_ready{cluster="b"}' in metrics and "millrace_directory_reachable 1" in metrics


def test_a_server_starts_while_its_own_cluster_is_away(clusters, make):
    here, there = make("a"), make("b")
    here[1].write("s-1")
    clusters.b.stop("immediate")
    try:
        server = clusters.start(own="b")
        try:
            assert "the namespaces of cluster b wait for it" in server.text
            assert len(server.client(here[1].token).call("stream.get", "s-1")) == 1
            clusters.b.start()
            assert server.client(there[1].token).write("s-1")["position"] == 0
        finally:
            server.stop()
    finally:
        clusters.b.start() if not os.path.exists(clusters.b.data / "postmaster.pid") else None


# Settings


@pytest.mark.parametrize("arguments, said", [
    (("--cluster", "a"), "there is no --directory"),
    (("--directory-copy", "x"), "there is no --directory"),
    (("--directory", "dbname=x"), "--directory needs --database"),
    (("--directory", "dbname=x", "--database", "dbname=y"), "--directory needs --cluster"),
    (("--directory", "dbname=x", "--cluster", "a", "--test-mode"), "--directory needs --database"),
    (("--directory", "=", "--cluster", "a", "--database", "dbname=y"), "--directory is not a connection string"),
])
def test_settings_that_go_against_each_other_are_refused(arguments, said):
    refused = Server(*arguments, wait=False)
    assert refused.wait() == 2 and said in refused.text


def test_a_database_without_a_directory_is_told(clusters):
    refused = Server("--database", clusters.a.conninfo(), "--directory", clusters.a.conninfo(), "--cluster", "a",
                     "--retry-window", "1", wait=False)
    assert refused.wait() == 1 and "create_directory" in refused.text
