"""Fixtures of tests that work in a namespace of their own."""
import pytest
from sweeping import append, make_old, policy

from store import Cluster, new_id, sql


@pytest.fixture(scope="module")
def database(shared_cluster):
    connection = shared_cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    yield shared_cluster
    connection.close()


@pytest.fixture
def lazy(folder):
    """A Postgres that puts nothing on disk by itself, with a namespace; a crash takes back what did not wait."""
    cluster = Cluster(folder + "/pg", ["wal_writer_delay=10s", "wal_writer_flush_after=1GB", "bgwriter_delay=10s"])
    connection = cluster.create().start().connect()
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('default')")
    connection.close()
    yield cluster
    cluster.stop("immediate")


@pytest.fixture
def namespace():
    return "n" + new_id().replace("-", "")


@pytest.fixture
def another(database, namespace):
    """Makes more sessions of the namespace."""
    connections = []

    def make():
        connections.append(database.connect())
        sql(connections[-1], "SELECT set_config('millrace.namespace', %s, false)", namespace)
        return connections[-1]

    yield make
    for each in connections:
        each.close()


@pytest.fixture
def connection(another, namespace):
    connection = another()
    sql(connection, "SELECT millrace.create_namespace(%s)", namespace)
    return connection


@pytest.fixture
def swept(connection, namespace):
    """Ten old messages, of two streams, and a policy."""
    for _ in range(5):
        append(connection, "a-1")
        append(connection, "a-2")
    make_old(connection, namespace, 10)
    policy(connection, max_age="5 days")
    return connection


@pytest.fixture
def role(connection, schema):
    """A role that may read the namespace."""
    name = "r" + new_id().replace("-", "")
    sql(connection, f"CREATE ROLE {name}; GRANT USAGE ON SCHEMA {schema} TO {name}; "
                    f"GRANT SELECT ON {schema}.messages TO {name}")
    yield name
    sql(connection, "RESET ROLE")
    sql(connection, f"DROP OWNED BY {name}; DROP ROLE {name}")
