"""Fixtures that own what they start."""
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import certificates  # noqa: E402
from installation import Installation  # noqa: E402
from store import ZERO_TOKEN, Cluster, Server, new_id, temporary_folder, token_for  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "root: needs to be started by root")


def pytest_unconfigure(config):
    certificates.forget_common_certificate()


@pytest.fixture(scope="session")
def server():
    """The server in test mode that most tests share; each works in a namespace of its own."""
    server = Server("--test-mode")
    yield server
    server.stop()


@pytest.fixture
def client(server):
    """A client in a new namespace."""
    client = server.client(token_for("test " + new_id()))
    yield client
    client.close()


@pytest.fixture
def another(server, client):
    """Makes more clients of the same namespace."""
    clients = []

    def make():
        clients.append(server.client(client.token))
        return clients[-1]

    yield make
    for each in clients:
        each.close()


@pytest.fixture(scope="session")
def secured():
    """A server that asks for tokens; the token of namespace default is ZERO_TOKEN."""
    folder = temporary_folder()
    server = Server("--data-dir", folder + "/data", "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def admin(secured):
    client = secured.client()
    yield client
    client.close()


@pytest.fixture
def start():
    """Starts servers of the test's own."""
    servers = []

    def make(*arguments, **options):
        servers.append(Server(*arguments, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def folder():
    path = temporary_folder()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def cluster(folder):
    """A Postgres that the test may stop and break."""
    cluster = Cluster(folder + "/pg").create().start()
    yield cluster
    cluster.stop("immediate")


@pytest.fixture(scope="module")
def shared_cluster():
    """A Postgres that the tests of a file share; none of them breaks it."""
    folder = temporary_folder()
    cluster = Cluster(folder + "/pg").create().start()
    yield cluster
    cluster.stop("immediate")
    shutil.rmtree(folder)


@pytest.fixture
def installation(folder):
    """A PostgreSQL whose extension files the test may change."""
    return Installation(folder + "/installation")


@pytest.fixture
def old(installation, folder):
    """A Postgres that has the scripts of the extension's older versions, too."""
    installation.add_released()
    cluster = installation.cluster(folder + "/pg").create().start()
    cluster.installation = installation
    yield cluster
    cluster.stop("immediate")
