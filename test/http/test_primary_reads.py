"""Reads go where appends go, wherever libpq has the hosts from: a client finds what it has just written."""
import socket
import threading

import pytest

from store import ZERO_TOKEN, Cluster, Listener, Server, sql, wait_until


class Switch(Listener):
    """One address that leads to several servers in turn."""

    def __init__(self, *paths):
        self.paths, self.count, self.lock = paths, 0, threading.Lock()
        super().__init__()

    def serve(self, client):
        server = socket.socket(socket.AF_UNIX)
        with self.lock:
            path, self.count = self.paths[self.count % len(self.paths)], self.count + 1
        server.connect(path)
        for one, other in (client, server), (server, client):
            threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    @staticmethod
    def _copy(one, other):
        try:
            while part := one.recv(65536):
                other.sendall(part)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.fixture
def pair(folder):
    """A primary, and a standby that replays nothing more."""
    primary = Cluster(folder + "/primary").create()
    standby = Cluster(folder + "/standby")
    primary.start()
    try:
        server = Server("--database", primary.conninfo(), "--token",
                        ZERO_TOKEN)  # the extension and the namespace are there
        server.stop()
        standby.copy_of(primary).start()
        sql(standby.connect(), "SELECT pg_wal_replay_pause()")
        wait_until(lambda: sql(standby.connect(), "SELECT pg_get_wal_replay_pause_state()") == [("paused", )],
                   "a standby that stands still")
        yield primary, standby
    finally:
        standby.stop("immediate")
        primary.stop("immediate")


def finds_what_it_wrote(server):
    client = server.client(ZERO_TOKEN)
    for n in range(5):
        assert client.write("s")["position"] == n
        assert client.call("stream.version", "s") == n
    events = server.client(ZERO_TOKEN).request("GET", "/export").body
    assert events.count(b"\n") == 5


def test_hosts_from_the_environment(pair, start):
    primary, standby = pair
    finds_what_it_wrote(start("--database", "dbname=postgres user=tester", "--workers", "1",
                              variables={"PGHOST": f"{standby.folder},{primary.folder}"}))


def test_hosts_from_a_service(pair, start, folder):
    primary, standby = pair
    with open(folder + "/services", "w") as file:
        file.write(f"[events]\nhost={standby.folder},{primary.folder}\nuser=tester\ndbname=postgres\n")
    finds_what_it_wrote(
        start("--database", "service=events", "--workers", "1", variables={"PGSERVICEFILE": folder + "/services"}))


def test_one_address_that_leads_to_both_in_turn(pair, start):
    primary, standby = pair
    switch = Switch(*(f"{cluster.folder}/.s.PGSQL.5432" for cluster in (standby, primary)))
    server = start("--database", f"host=127.0.0.1 port={switch.port} dbname=postgres user=tester", "--workers", "1",
                   "--read-connections", "4")
    finds_what_it_wrote(server)
    assert switch.count > 6
    switch.close()


def test_reads_wait_for_a_primary_that_was_there_once(pair, start):
    """Behind a proxy a leader that has lost may stand as a standby for a while: with what nobody else has, or, as here,
    without what was acknowledged."""
    primary, standby = pair
    at_primary, at_standby = (f"{cluster.folder}/.s.PGSQL.5432" for cluster in pair)
    switch = Switch(at_primary)
    server = start("--database", f"host=127.0.0.1 port={switch.port} dbname=postgres user=tester", "--workers", "1")
    writer, reader = server.client(ZERO_TOKEN), server.client(ZERO_TOKEN)
    assert writer.write("s")["position"] == 0 and reader.call("stream.version", "s") == 0
    switch.paths = (at_standby, )
    primary.stop("immediate")
    answers, began = [], switch.count
    asking = threading.Thread(target=lambda: answers.append(reader.call("stream.version", "s")))
    asking.start()
    wait_until(lambda: answers or switch.count > began + 10, "connections to the standby")
    assert answers == []
    primary.start()
    switch.paths = (at_primary, )
    asking.join(60)
    assert answers == [0]
    switch.close()
