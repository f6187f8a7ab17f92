"""A server over several clusters: every namespace is asked for where it is, while it moves and while clusters are
away."""
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from placing import Move, again, clusters, make, owner, served  # noqa: F401
from store import Server, new_id, sql, token_for, wait_until

MESSAGE = {"type": "Tested", "data": {}}


def counted(server, name):
    text = server.admin().request("GET", "/metrics").body.decode()
    return int(re.search(rf"^millrace_{name} (\d+)", text, re.M).group(1))


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
    entry = "SELECT cluster, epoch, state FROM millrace.directory_entries() WHERE namespace = %s"
    assert sql(clusters.directory, entry, own) == [("a", 1, "open")]


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


def test_a_namespace_is_made_though_the_session_with_the_directory_was_ended(clusters, owner):
    for _ in range(3):
        clusters.close_directory()
        clusters.open_directory()
        owner.call("ns.create", "n " + new_id(), {"cluster": "b"})


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


@pytest.mark.parametrize("damage", [
    lambda text: text[:-20],
    lambda text: "",
    lambda text: text.replace('"epoch"', '"age"'),
    lambda text: "{}\n" * 3,
])
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


def test_what_a_store_said_counts_against_an_older_directory_and_an_older_store(clusters, make):
    """Both are out of backups that have it at b, in between."""
    name, client = make("a")
    client.write("s-1")
    a, b = clusters.connect("a"), clusters.connect("b")
    ((hash, schema),) = sql(a, "SELECT token_hash, schema FROM millrace.namespaces WHERE name = %s", name)
    sql(a, "SELECT millrace.seal_namespace(%s), millrace.set_namespace_state(%s, 'open', 3)", name, name)
    time.sleep(1.1)  # tokens are believed for a second, and then the store is asked
    assert client.write("s-1")["position"] == 1  # the directory has 1
    sql(b, "SELECT millrace.create_namespace(%s, NULL, %s)", name, hash)
    sql(b, "SELECT millrace.seal_namespace(%s), millrace.set_namespace_state(%s, 'open', 2)", name, name)
    sql(clusters.directory, "SELECT millrace.direct_namespace(%s, 'b', 2, 'open')", name)
    time.sleep(1.2)  # it was read
    assert client.write("s-1")["position"] == 2
    assert sql(b, f'SELECT count(*) FROM "{schema}".messages') == [(0,)]


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


def start_from_backup(cluster, name):
    """Starts a cluster that has a namespace as it was before it came there."""
    aside = cluster.elsewhere().start()  # where the server does not find it
    sql(aside.connect(), "UPDATE millrace.namespaces SET epoch = 1 WHERE name = %s", name)
    aside.stop()
    cluster.start()


def hold(clusters, name, *streams):
    """Locks streams of a namespace at b."""
    holder = clusters.connect("b")
    holder.autocommit = False
    sql(holder, "SELECT set_config('millrace.namespace', %s, false)", name)
    for stream in streams:
        sql(holder, "SELECT millrace.append(%s, 'T', '{}')", stream)
    return holder


def test_a_store_from_a_backup_gets_no_append_that_waited_for_it(clusters, served, make):
    name, client = make("a")
    client.write("s-1")
    move = Move(clusters, name, "a", "b").all()
    client.write("s-1")
    other, untouched = make("b")
    untouched.write("s-1")
    held = hold(clusters, name, "s-1"), hold(clusters, other, "s-1")  # as long as they are referred to
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(client.refused, "stream.write", "s-1", MESSAGE)
        beside = pool.submit(untouched.write, "s-1")
        # They have asked about their tokens and were sent.
        wait_until(lambda: sql(clusters.connect("b"), "SELECT pid FROM pg_locks WHERE NOT granted"), "held appends")
        time.sleep(1)
        clusters.b.stop("immediate")
        assert not waiting.done() and not beside.done()
        start_from_backup(clusters.b, name)
        error = waiting.result(30)
        assert beside.result(30)["position"] == 1
    assert (error.status, error.code, error.details) == (421, "NAMESPACE_MOVED", {"cluster": "b", "epoch": 2})
    assert sql(clusters.connect("b"), f'SELECT count(*) FROM "{move.schema}".messages') == [(2,)]


def test_appends_that_a_backup_does_not_get_leave_nothing_behind(clusters):
    """What waits for its stream with them, then or later, goes on."""
    server = clusters.start("--workers", "1")
    names = "moved " + new_id(), "other " + new_id()
    try:
        moved, other = (server.client(server.client().call("ns.create", name, {"cluster": cluster})["token"])
                        for name, cluster in zip(names, "ab"))
        moved.write("s-1")
        Move(clusters, names[0], "a", "b").all()
        moved.write("s-1")
        held = hold(clusters, names[0], "s-1", "s-2"), hold(clusters, names[1], "s-1")
        with ThreadPoolExecutor(3) as pool:
            refused = [pool.submit(again(moved).refused, "stream.write", stream, MESSAGE) for stream in ("s-1", "s-2")]
            beside = pool.submit(other.write, "s-1")
            wait_until(lambda: counted(server, "locked_appends_total") == 3, "all to be put aside")
            clusters.b.stop("immediate")
            start_from_backup(clusters.b, names[0])
            assert [each.result(30).code for each in refused] == ["NAMESPACE_MOVED"] * 2
            assert beside.result(30)["position"] == 0
            held = hold(clusters, names[1], "s-1")
            later = pool.submit(other.write, "s-1")
            wait_until(lambda: counted(server, "locked_appends_total") == 4, "another to be put aside")
            sql(held, "ROLLBACK")
            assert later.result(30)["position"] == 1
    finally:
        server.stop()


def test_epochs_are_asked_for_again_when_the_answer_is_lost(clusters):
    """The question is sent again within the retry window, and asked anew after it."""
    server = clusters.start("--retry-window", "2", "--workers", "1")
    try:
        b = clusters.connect("b")
        client = server.client(server.client().call("ns.create", "n " + new_id(), {"cluster": "b"})["token"])
        client.write("s-1")
        asking = "query LIKE 'SELECT name, epoch FROM millrace.namespaces ORDER BY%' AND wait_event_type = 'Lock'"

        def sessions(condition):
            return sql(b, "SELECT pid, query_start FROM pg_stat_activity WHERE " + condition)

        holder = clusters.connect("b")
        sql(holder, "BEGIN")
        sql(holder, "LOCK TABLE millrace.namespaces IN ACCESS EXCLUSIVE MODE")
        for pid, _ in sessions("query LIKE '%append_batch%' AND state = 'idle'"):
            sql(b, "SELECT pg_terminate_backend(%s, 10000)", pid)
        overdue = wait_until(lambda: sessions(asking + " AND query_start < clock_timestamp() - interval '3 s'"),
                             "a question that its window is over for")
        for pid, _ in overdue:
            sql(b, "SELECT pg_terminate_backend(%s, 10000)", pid)
        wait_until(lambda: [start for _, start in sessions(asking) if start > overdue[0][1]], "another question")
        sql(holder, "COMMIT")
        wait_until(lambda: not sessions(asking), "its answer")
        assert client.write("s-1")["position"] == 1
    finally:
        server.stop()


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
            wait_until(lambda: served.admin().request("GET", "/ready?cluster=b").status == 503, "the word of it")
            ready = served.admin().request("GET", "/ready")
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


def test_a_cluster_that_the_directory_says_is_elsewhere_now_is_found_there(clusters, make):
    _, client = make("b")
    client.write("s-1")
    clusters.b.stop("immediate")
    aside = clusters.b.elsewhere().start()
    try:
        sql(clusters.directory, "SELECT millrace.add_cluster('b', %s)", aside.conninfo())
        assert client.write("s-1")["position"] == 1
    finally:
        aside.stop()
        clusters.b.start()
        sql(clusters.directory, "SELECT millrace.add_cluster('b', %s)", clusters.b.conninfo())
    assert client.write("s-1")["position"] == 2


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


def test_a_cluster_that_is_not_in_the_directory_is_told(clusters):
    flags = list(clusters.flags())
    flags[flags.index("--cluster") + 1] = "c"
    refused = Server(*flags, wait=False)
    try:
        assert refused.wait(30) == 1
        assert "--cluster c is not in the directory: millrace.add_cluster() adds it" in refused.text
    finally:
        refused.kill()


def test_a_database_without_a_directory_is_told(clusters):
    refused = Server("--database", clusters.a.conninfo(), "--directory", clusters.a.conninfo(), "--cluster", "a",
                     "--retry-window", "1", wait=False)
    assert refused.wait() == 1 and "create_directory" in refused.text
