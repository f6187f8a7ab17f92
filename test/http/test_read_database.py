"""Reads from standbys (--read-database): which place answers, minPosition, and what happens when one goes away."""
import json
import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from store import ZERO_TOKEN, Cluster, Server, sql, temporary_folder, wait_until
from subscriber import Subscriber, append, global_positions
from test_primary_reads import Switch

DEFAULTS = ("--token", ZERO_TOKEN, "--workers", "1", "--retry-window", "20", "--admin-listen", "127.0.0.1:0",
            "--min-position-wait", "1")


class Places:
    """A primary and standbys of it, in that order."""

    def __init__(self, folder, standbys):
        self.folder = folder
        self.primary = Cluster(folder + "/p").create().start()
        Server("--database", self.primary.conninfo(), "--token", ZERO_TOKEN).stop()  # makes the namespace
        self.standbys = []
        for n in range(standbys):
            self.standbys.append(Cluster(f"{folder}/s{n}").copy_of(self.primary).start())
        self.clusters = [self.primary, *self.standbys]

    def read_from(self, *standbys):
        return "host=" + ",".join(str(each.folder) for each in standbys) + " user=tester dbname=postgres"

    def stop(self):
        for cluster in self.clusters:
            cluster.stop("immediate")


@pytest.fixture
def places(folder):
    places = Places(folder, 1)
    yield places
    places.stop()


@pytest.fixture
def three(folder):
    places = Places(folder, 2)
    yield places
    places.stop()


@pytest.fixture
def serve(start):
    """A server of the primary that reads from these standbys, and does so by now."""

    def serve(places, *standbys, arguments=(), database=None):
        standbys = standbys or places.standbys
        server = start("--database", database or places.primary.conninfo(), "--read-database",
                       places.read_from(*standbys), *DEFAULTS, *arguments, token=ZERO_TOKEN)
        reads_from(server, "standby")
        return server

    return serve


def ready(server, query=""):
    admin = server.admin()
    reply = admin.request("GET", "/ready" + query)
    admin.close()
    return {"code": reply.status, **reply.json}


def reads_from(server, place):
    wait_until(lambda: ready(server)["readsFrom"] == place, f"reads from the {place}")


def pause(standby):
    connection = standby.connect()
    sql(connection, "SELECT pg_wal_replay_pause()")
    wait_until(lambda: sql(connection, "SELECT pg_get_wal_replay_pause_state()") == [("paused", )], "a pause")
    connection.close()


def resume(standby):
    connection = standby.connect()
    sql(connection, "SELECT pg_wal_replay_resume()")
    connection.close()


def last_position(cluster):
    connection = cluster.connect()
    position = sql(connection, "SELECT millrace.head('default')")[0][0]
    connection.close()
    return position


def replayed(primary, standby):
    """Waits until the standby has what the primary has."""
    position = last_position(primary)
    wait_until(lambda: last_position(standby) >= position, "the standby")


# Where reads go


def test_reads_go_to_the_standby_and_appends_to_the_primary(places, serve):
    server = serve(places)
    client = server.client()
    pause(places.standbys[0])
    position = client.write("account-1")["globalPosition"]
    assert client.call("stream.get", "account-1") == []
    assert client.call("stream.version", "account-1") is None
    assert client.call("category.get", "account") == []
    assert client.call("stream.head")["head"] == position - 1
    assert client.call("ns.streams") == []
    assert client.request("GET", "/export").body.count(b'"type"') == 0
    resume(places.standbys[0])
    wait_until(lambda: client.call("stream.get", "account-1"), "the message at the standby")
    text = server.admin().request("GET", "/metrics").body.decode()
    assert "\nmillrace_reads_from_standby_workers 1\n" in text
    assert f"reads go to the standby {places.standbys[0].folder}" in server.text


def test_without_a_standby_reads_go_to_the_primary_and_back_when_there_is_one(places, serve):
    server = serve(places)
    client = server.client()
    client.write("account-1")
    places.standbys[0].stop("immediate")
    for n in range(20):
        client.write("account-1")
        assert client.call("stream.version", "account-1", {"minPosition": 1}) is not None
    reads_from(server, "primary")
    assert client.call("stream.version", "account-1") == 20
    assert "reads go to the primary" in server.text
    assert ready(server) == {"code": 200, "status": "ready", "appends": True, "reads": True, "readsFrom": "primary"}
    places.standbys[0].start()
    reads_from(server, "standby")


def test_a_server_starts_and_answers_while_no_standby_is_there(places, start):
    places.standbys[0].stop("immediate")
    server = start("--database", places.primary.conninfo(), "--read-database", places.read_from(*places.standbys),
                   *DEFAULTS, token=ZERO_TOKEN)
    client = server.client()
    client.write("s")
    assert client.call("stream.version", "s") == 0
    assert client.request("GET", "/export").body.count(b'"type"') == 1
    assert len(client.call("ns.streams")) == 1


def test_a_primary_that_is_named_as_a_standby_is_none(places, start):
    server = start("--database", places.primary.conninfo(), "--read-database", places.primary.conninfo(), *DEFAULTS,
                   token=ZERO_TOKEN)
    client = server.client()
    client.write("s")
    assert client.call("stream.version", "s") == 0
    assert ready(server)["readsFrom"] == "primary"


def test_while_the_primary_is_away_reads_are_answered_and_ready_says_by_role(places, serve):
    server = serve(places, arguments=("--retry-window", "1"))
    client = server.client()
    client.write("account-1")
    replayed(places.primary, places.standbys[0])
    places.primary.stop("immediate")
    wait_until(lambda: ready(server)["appends"] is False, "the primary's end")
    time.sleep(1.1)  # tokens are believed for a second, and then looked up at the standby
    assert len(client.call("stream.get", "account-1")) == 1
    assert [each["namespace"] for each in client.call("ns.list")] == ["default"]
    assert len(client.call("stream.get", "account-1", {"minPosition": 1})) == 1
    assert client.refused("stream.write", "s", {"type": "T", "data": {}}).message == \
        "Postgres answers reads, but takes no writes"
    assert ready(server) == {"code": 503, "status": "reads only", "appends": False, "reads": True,
                             "readsFrom": "standby"}
    assert ready(server, "?for=reads")["code"] == 200
    assert ready(server, "?for=appends")["code"] == 503


def test_a_namespace_and_a_token_that_the_standby_has_not_got_yet_work(places, serve):
    server = serve(places)
    owner = server.client()
    pause(places.standbys[0])
    created = owner.call("ns.create", "new")
    client = server.client(created["token"])
    assert client.call("stream.get", "s") == []
    assert client.call("stream.head") == {"head": 0}
    subscriber = Subscriber(server, created["token"], all="true").ready()
    client.write("s")
    assert global_positions(b"".join(subscriber.wait_for(1))) == [1]
    token = owner.call("ns.createToken", "default", "other", {"rights": ["read", "append"]})["token"]
    other = Subscriber(server, token, all="true").ready()
    server.client(token).write("t")
    with pytest.raises(AssertionError):
        other.wait_for(1, seconds=2.5)
    assert not other.ended and not subscriber.ended
    resume(places.standbys[0])
    assert len(other.wait_for(1)) == 1
    client.write("s")
    assert global_positions(b"".join(subscriber.wait_for(2))) == [1, 2]


@pytest.mark.parametrize("arguments, said", [
    (("--read-database", "host=x"), "--read-database names the standbys of --database, which is not given"),
    (("--database", "host=/nowhere", "--read-database", "nonsense"),
     "--read-database is not a connection string or URI"),
    (("--database", "host=/nowhere", "--min-position-wait", "-1"), "--min-position-wait"),
])
def test_wrong_settings_are_refused(arguments, said):
    server = Server(*arguments, wait=False)
    assert server.wait(30) == 2 and said in server.text


# minPosition


READS = [("stream.get", "account-1"), ("category.get", "account"), ("stream.last", "account-1"),
         ("stream.version", "account-1"), ("stream.head", ), ("streams.recent", ), ("ns.types", ),
         ("messages.search", ), ("ns.streams", ), ("ns.categories", ), ("position.at", "2020-01-01T00:00:00Z")]


@pytest.mark.parametrize("read", READS, ids=lambda read: read[0])
def test_min_position_goes_to_the_primary_where_the_standby_is_too_far_behind(ahead, read):
    client, position = ahead
    answer = client.call(*read, {"minPosition": position})
    without = client.call(*read)
    assert answer != without or read[0] == "position.at"


@pytest.fixture(scope="module")
def ahead():
    folder = temporary_folder()
    places = Places(folder, 1)
    server = Server("--database", places.primary.conninfo(), "--read-database", places.read_from(*places.standbys),
                    *DEFAULTS, token=ZERO_TOKEN)
    reads_from(server, "standby")
    pause(places.standbys[0])
    client = server.client()
    position = client.write("account-1")["globalPosition"]
    yield client, position
    server.stop()
    places.stop()
    shutil.rmtree(folder)


def test_min_position_of_an_export_and_a_message(ahead):
    client, position = ahead
    assert client.request("GET", f"/export?minPosition={position}").body.count(b'"type"') == 1
    assert client.request("GET", "/export").body.count(b'"type"') == 0
    message = client.call("stream.get", "account-1", {"minPosition": position})[0]
    assert client.call("message.get", message[0], {"minPosition": position}) is not None


def test_min_position_that_is_none_is_refused(ahead):
    client, position = ahead
    for wrong in (-1, "1", 1.5, None, 1 << 63):
        assert client.refused("stream.get", "s", {"minPosition": wrong}).code == "INVALID_REQUEST"
    for wrong in ("-1", "x", "1.5", "9223372036854775808"):
        for path in ("/export?", "/subscribe?all=true&"):
            reply = client.request("GET", f"{path}minPosition={wrong}")
            assert reply.status == 400 and b"minPosition" in reply.body
    assert client.refused("stream.get", "s", {"minposition": 1}).code == "INVALID_REQUEST"


def test_a_position_that_was_never_given_is_not_waited_for(ahead):
    client, position = ahead
    began = time.monotonic()
    error = client.refused("stream.get", "account-1", {"minPosition": position + 1000})
    assert (error.status, error.code) == (503, "NOT_YET_REPLICATED")
    assert error.details == {"minPosition": position + 1000, "position": position}
    assert time.monotonic() - began < 2.5
    reply = client.request("GET", f"/subscribe?all=true&minPosition={position + 1000}")
    assert reply.status == 503 and b"minPosition" in reply.body


def test_min_position_waits_for_the_standby(places, serve):
    server = serve(places, arguments=("--min-position-wait", "30"))
    client, standby = server.client(), places.standbys[0]
    for n in range(5):
        pause(standby)
        position = client.write("account-1")["globalPosition"]
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(server.client().call, "stream.version", "account-1", {"minPosition": position})
            time.sleep(0.1)
            assert not answer.done()
            resume(standby)
            resumed = time.monotonic()
            assert answer.result() == n
            assert time.monotonic() - resumed < 5
    assert "primary" not in server.text.partition("reads go to the standby")[2]


def test_where_neither_has_the_position_the_answer_is_not_yet_replicated(places, serve):
    server = serve(places)
    client = server.client()
    client.write("account-1")
    replayed(places.primary, places.standbys[0])
    pause(places.standbys[0])
    position = client.write("account-1")["globalPosition"]
    places.primary.stop("immediate")
    error = client.refused("stream.get", "account-1", {"minPosition": position})
    assert (error.status, error.code) == (503, "NOT_YET_REPLICATED") and error.headers["Retry-After"] == "1"
    assert error.details == {"minPosition": position, "position": position - 1}


def test_a_position_that_waits_for_a_transaction_is_not_reached_before_that_has_ended(places, start):
    server = start("--database", places.primary.conninfo(), *DEFAULTS, token=ZERO_TOKEN)
    client, holder = server.client(), places.primary.connect()
    holder.autocommit = False
    sql(holder, "SELECT * FROM millrace.append('held-1', 'T', '{}', namespace => 'default')")
    position = client.write("account-1")["globalPosition"]
    error = client.refused("category.get", "", {"minPosition": position})
    assert error.code == "NOT_YET_REPLICATED" and error.details["position"] == position - 2
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.client().call, "category.get", "", {"minPosition": position})
        time.sleep(0.1)
        assert not answer.done()
        holder.commit()
        assert len(answer.result()) == 2


def test_a_removed_position_counts_as_reached(places, serve):
    server = serve(places, arguments=("--min-position-wait", "30"))
    client = server.client()
    client.write("account-1")
    position = client.write("account-2")["globalPosition"]
    client.call("stream.remove", "account-2")
    schema = sql(places.primary.connect(), "SELECT millrace.find_namespace('default')")[0][0]
    sql(places.primary.connect(), f'VACUUM "{schema}".messages')
    assert len(client.call("category.get", "account", {"minPosition": position})) == 1
    wait_until(lambda: sql(places.standbys[0].connect(), "SELECT millrace.position_reached(%s, 'default')",
                           position) == [(True, )], "the removal at the standby")
    assert sql(places.primary.connect(), "SELECT millrace.position_reached(%s, 'default')", position + 1) == [(False, )]


def test_a_read_with_min_position_never_returns_less(places, serve):
    """Writers tell readers their positions, while the standby replays late and in fits."""
    standby = places.standbys[0]
    sql(standby.connect(), "ALTER SYSTEM SET recovery_min_apply_delay = '30ms'")
    sql(standby.connect(), "SELECT pg_reload_conf()")
    server = serve(places)
    ends = time.monotonic() + 8
    wrong, done = [], []

    def work(number):
        client = server.client()
        n = 0
        while time.monotonic() < ends:
            stream = f"work{number}-1"
            position = client.write(stream)["globalPosition"]
            version = client.call("stream.version", stream, {"minPosition": position})
            messages = client.call("category.get", "", {"minPosition": position, "position": position, "batchSize": 1})
            if version != n or not messages or messages[0][4] != position:
                wrong.append((number, n, version, messages, position))
            n += 1
        done.append(n)

    def disturb():
        while time.monotonic() < ends - 1:
            pause(standby)
            time.sleep(0.2)
            resume(standby)
            time.sleep(0.5)

    threads = [threading.Thread(target=work, args=(n, )) for n in range(4)] + [threading.Thread(target=disturb)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(done) == 4 and min(done) > 5


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
