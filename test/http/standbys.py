"""A primary and its standbys, and servers that read from these."""
import pytest

from store import ZERO_TOKEN, Cluster, Server, sql, wait_until

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
