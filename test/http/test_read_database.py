"""Reads from standbys (--read-database): which place answers, and minPosition."""
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from standbys import (DEFAULTS, Places, last_position, pause, places, reads_from, ready, replayed, resume,  # noqa: F401
                      serve, three)
from store import ZERO_TOKEN, Server, sql, temporary_folder, wait_until
from subscriber import Subscriber, global_positions


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
