"""Two clusters, a directory of them, servers in front, and a move that is as short as a test wants it."""
import io
import shutil

import pytest
from store import ZERO_TOKEN, Client, Cluster, Server, new_id, sql, temporary_folder


# For `millrace move`.
SETTINGS = ["wal_level=logical", "max_replication_slots=10", "max_wal_senders=10", "wal_receiver_status_interval=1s"]


class Clusters:
    """PostgreSQLs "a" and "b", and a directory in a database of its own in a."""

    def __init__(self):
        self.folder = temporary_folder()
        self.a = Cluster(self.folder + "/a", SETTINGS).create().start()
        self.b = Cluster(self.folder + "/b", SETTINGS).create().start()
        self.names = {"a": self.a, "b": self.b}
        for cluster in (self.a, self.b):
            sql(cluster.connect(), "CREATE EXTENSION millrace")
        sql(self.a.connect(), "CREATE DATABASE directory")
        self.directory = self.a.connect("directory")
        sql(self.directory, "CREATE EXTENSION millrace")
        sql(self.directory, "SELECT millrace.create_directory()")
        for name, cluster in self.names.items():
            sql(self.directory, "SELECT millrace.add_cluster(%s, %s)", name, cluster.conninfo())

    def close(self):
        for cluster in (self.a, self.b):
            cluster.stop("immediate")
        shutil.rmtree(self.folder)

    def flags(self, own="a"):
        return ("--database", self.names[own].conninfo(), "--directory", self.a.conninfo("directory"), "--cluster", own,
                "--token", ZERO_TOKEN, "--admin-listen", "127.0.0.1:0", "--workers", "2")

    def start(self, *arguments, own="a"):
        return Server(*self.flags(own), *arguments, token=ZERO_TOKEN)

    def connect(self, name):
        return self.names[name].connect()

    def close_directory(self):
        """From now on nobody can ask it, until open_directory()."""
        connection = self.a.connect()
        sql(connection, "ALTER DATABASE directory ALLOW_CONNECTIONS false")
        sql(connection, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'directory'")

    def open_directory(self):
        sql(self.a.connect(), "ALTER DATABASE directory ALLOW_CONNECTIONS true")
        self.directory = self.a.connect("directory")


class Move:
    """The steps of a move, in order, of a namespace without consumers that is not large."""

    def __init__(self, clusters, namespace, source, target):
        self.clusters, self.namespace, self.target_name = clusters, namespace, target
        self.source, self.target = clusters.connect(source), clusters.connect(target)
        ((self.schema, self.epoch),) = sql(self.source, "SELECT schema, epoch FROM millrace.namespaces WHERE name = %s",
                                           namespace)

    def seal(self):
        sql(self.source, "SELECT millrace.seal_namespace(%s, '10 s')", self.namespace)
        return self

    def copy(self):
        ((hash, created_at),) = sql(
            self.source, "SELECT token_hash, created_at FROM millrace.namespaces WHERE name = %s", self.namespace)
        sql(self.target, "SELECT millrace.create_namespace(%s, NULL, %s)", self.namespace, hash)
        sql(self.target, "UPDATE millrace.namespaces SET created_at = %s WHERE name = %s", created_at, self.namespace)
        self.set_state(self.target, "sealed", 0)
        self.copy_tables()
        return self

    def copy_tables(self):
        """Every table that the source has; those of the target are emptied."""
        sql(self.target, "SET session_replication_role = replica")
        for (table,) in sql(self.source, "SELECT tablename FROM pg_tables WHERE schemaname = %s", self.schema):
            rows = io.StringIO()
            name = f'"{self.schema}"."{table}"'
            self.source.cursor().copy_expert(f"COPY {name} TO STDOUT", rows)
            rows.seek(0)
            sql(self.target, f"DELETE FROM {name}")
            self.target.cursor().copy_expert(f"COPY {name} FROM STDIN", rows)
        sequence = f"pg_get_serial_sequence('\"{self.schema}\".messages', 'global_position')"
        ((last,),) = sql(self.source, f"SELECT pg_sequence_last_value({sequence})")
        if last is not None:
            sql(self.target, f"SELECT setval({sequence}, %s)", last)

    def direct(self):
        """The directory says where it is now."""
        sql(self.clusters.directory, "SELECT millrace.direct_namespace(%s, %s, %s, 'open')", self.namespace,
            self.target_name, self.epoch + 1)
        return self

    def open(self):
        self.set_state(self.target, "open", self.epoch + 1)
        return self

    def leave(self):
        self.set_state(self.source, "moved", self.epoch + 1, self.target_name)
        return self

    def set_state(self, connection, state, epoch, moved_to=None):
        sql(connection, "SELECT millrace.set_namespace_state(%s, %s, %s, %s, '10 s')", self.namespace, state, epoch,
            moved_to)

    def all(self):
        return self.seal().copy().direct().open().leave()


# Fixtures, for the files that import them


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


def again(client):
    """A connection of its own for the same token."""
    return Client(client.port, client.token)
