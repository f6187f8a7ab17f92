"""Several servers that sweep one database: beside each other, stopped and killed in the middle, with a standby.  And
how long one rests between its steps, by a clock of the test's own."""
import os
import shutil
import signal

import pytest

from clock import Clock
from store import ZERO_TOKEN, Cluster, Server, sql, temporary_folder, wait_until

OPTIONS = ("--token", ZERO_TOKEN, "--sweep-interval", "1")


def serve(conninfo, *options, **more):
    return Server("--database", conninfo, *OPTIONS, *options, token=ZERO_TOKEN, **more)


def fill(client, streams, messages, category="a"):
    for _ in range(messages):
        client.call("streams.append", [{"stream": f"{category}-{n}", "messages": [{"type": "T", "data": {}}]}
                                       for n in range(streams)])


def left(connection, category="a"):
    return sql(connection, "SELECT count(*) FROM millrace_default.messages WHERE millrace.category(stream_name) = %s",
               category)[0][0]


def whole(connection):
    """Whether of each of 200 streams of 10 messages the last ones are there, without holes."""
    return sql(connection, "SELECT count(*) FROM (SELECT FROM millrace_default.messages GROUP BY stream_name HAVING "
                           "max(position) - min(position) + 1 = count(*) AND max(position) = 9) s") == [(200,)]


def counted(server):
    text = server.admin().request("GET", "/metrics").body.decode()
    return int(text.split('millrace_removed_messages_total{by="sweep"} ')[1].split("\n")[0])


def test_each_message_is_removed_and_counted_once(cluster):
    servers = [serve(cluster.conninfo(), "--admin-listen", "127.0.0.1:0") for _ in range(3)]
    try:
        client, connection = servers[0].client(), cluster.connect()
        fill(client, 50, 20)
        client.call("ns.setRetention", "default", "a", {"maxCount": 1})
        wait_until(lambda: left(connection) == 50, "the sweep", 120)
        assert sum(counted(server) for server in servers) == 950
        assert all(client.call("stream.version", f"a-{n}") == 19 for n in range(50))
        assert not any("is not swept" in server.text for server in servers)
    finally:
        for server in servers:
            server.stop()


def test_a_server_that_is_stopped_in_the_middle_leaves_the_rest_to_another(cluster):
    """It does not wait for the end of the sweep, and what it has begun is done or not, a step at a time."""
    first = serve(cluster.conninfo())
    client, connection = first.client(), cluster.connect()
    fill(client, 200, 10)
    client.call("ns.setRetention", "default", "a", {"maxCount": 1})
    wait_until(lambda: left(connection) < 1900, "a sweep under way", 60)
    first.stop()
    rest = left(connection)
    assert 200 < rest
    assert sql(connection, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'millrace%%'") == [(0,)]
    assert whole(connection)
    second = serve(cluster.conninfo())
    try:
        wait_until(lambda: left(connection) == 200, "the rest of the sweep", 120)
        assert whole(connection)
    finally:
        second.stop()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_server_that_dies_or_hangs_in_the_middle_leaves_the_rest_to_another(cluster, how):
    first, second = serve(cluster.conninfo()), None
    try:
        client, connection = first.client(), cluster.connect()
        fill(client, 200, 10)
        client.call("ns.setRetention", "default", "a", {"maxCount": 1})
        wait_until(lambda: left(connection) < 1900, "a sweep under way", 60)
        first.process.send_signal(how)
        second = serve(cluster.conninfo())
        # What another has left in the middle is taken over after 10 s.
        wait_until(lambda: left(connection) == 200, "the rest of the sweep", 120)
        assert whole(connection)
    finally:
        first.process.send_signal(signal.SIGCONT)
        first.kill()
        if second is not None:
            second.stop()


def test_a_server_with_a_standby_sweeps_the_primary_and_goes_on_after_a_failover(cluster):
    """It is told both, and the standby first; one that knows the standby alone sweeps nothing and serves on."""
    folder = temporary_folder()
    standby = Cluster(folder + "/pg")
    both = f"host={folder}/pg,{cluster.folder} user=tester dbname=postgres"
    connection = cluster.connect()
    servers = [serve(cluster.conninfo())]
    try:
        client = servers[0].client()
        fill(client, 10, 5)
        standby.copy_of(cluster).start()
        reader = standby.connect()
        servers += [serve(both), serve(standby.conninfo())]
        client.call("ns.setRetention", "default", "a", {"maxCount": 1})
        wait_until(lambda: left(connection) == 10, "the sweep")
        wait_until(lambda: left(reader) == 10, "the standby has replayed it")
        alone = servers[2].client()
        assert alone.call("stream.version", "a-3") == 4
        assert len(alone.call("stream.get", "a-3")) == 1
        servers.pop(0).stop()
        fill(servers[0].client(), 10, 3)
        wait_until(lambda: left(connection) == 10, "the server of both sweeps")
        wait_until(lambda: sql(reader, "SELECT millrace.stream_version('a-3')") == [(7,)], "the standby")
        cluster.stop("immediate")
        sql(reader, "SELECT pg_promote()")
        wait_until(lambda: not sql(reader, "SELECT pg_is_in_recovery()")[0][0], "the promotion")
        for n in range(10):
            wait_until(lambda: write(servers[0], n) == 8, "the promoted server takes writes")
        wait_until(lambda: left(reader) == 10, "the sweep after the failover")
        assert servers[0].client().call("stream.version", "a-3") == 8
    finally:
        for server in servers:
            server.stop()
        standby.stop("immediate")
        shutil.rmtree(folder)


def write(server, n):
    reply = server.client().post(["stream.write", f"a-{n}", {"type": "T", "data": {}}, {"expectedVersion": 7}])
    return reply.json["position"] if reply.status == 200 else None


class Gate:
    """A server whose clock stands, and which makes a step of a sweep only as long as a test lets it."""

    def __init__(self, server, clock):
        self.server, self.clock = server, clock
        self.lock, self.watch = server.postgres(), server.postgres()
        server.client().call("stream.append", "a-1", [{"type": "T", "data": {}}] * 1000)
        sql(self.lock, "CREATE FUNCTION public.gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                       "PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$; CREATE TRIGGER gate BEFORE DELETE ON "
                       "millrace_default.messages FOR EACH STATEMENT EXECUTE FUNCTION public.gate()")
        sql(self.lock, "SELECT pg_advisory_lock(7)")
        clock.stop()
        server.client().call("ns.setRetention", "default", "a", {"maxAgeMs": 1})

    def advance(self, ms):
        self.clock.set(3, self.clock.get(3) + ms * 1000000)

    def in_step(self):
        """The requests make the server look at its clock."""
        for _ in range(3):
            assert self.server.client().request("GET", "/health").status == 200
        return sql(self.watch, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND "
                               "NOT granted") == [(1,)]

    def begin_step(self, after_ms):
        self.advance(after_ms)
        wait_until(self.in_step, "the next step")

    def end_step(self, took_ms):
        before = counted(self.server)
        self.advance(took_ms)
        sql(self.lock, "SELECT pg_advisory_unlock(7)")
        wait_until(lambda: counted(self.server) > before, "the end of the step")
        sql(self.lock, "SELECT pg_advisory_lock(7)")


@pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="the sanitizer's library must be the first that is loaded")
def test_a_sweep_without_an_end_rests_less_in_time(start, folder):
    """20 times as long as a step takes; half of that every ten minutes, but twice as long at least."""
    clock = Clock(folder)
    gate = Gate(start("--test-mode", "--workers", "1", "--admin-listen", "127.0.0.1:0", variables=clock.variables),
                clock)
    gate.begin_step(61000)
    gate.end_step(100)
    for times in (20, 10, 5, 2, 2):
        gate.advance(100 * times - 5)
        assert not gate.in_step(), times
        gate.begin_step(10)
        gate.end_step(100)
        gate.begin_step(600000)
        gate.end_step(100)
