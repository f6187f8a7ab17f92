"""Fixtures that several files of these tests share."""
import pytest

from certificates import Authority
from importing import Wire
from store import Server, new_id, token_for
from subscriber import Subscriber


@pytest.fixture
def subscribe(server, client):
    """Subscribes in the client's namespace."""
    subscribers = []

    def make(to=None, **options):
        options.setdefault("token", client.token)
        subscribers.append(Subscriber(to or server, **options))
        return subscribers[-1]

    yield make
    for each in subscribers:
        each.close()


@pytest.fixture
def owner(server):
    """The administrator, who creates namespaces."""
    client = server.client(token_for("default"))
    yield client
    client.close()


@pytest.fixture
def decider(server, owner):
    """A client of a new namespace that has the index of tags."""
    client = server.client(owner.call("ns.create", "tags " + new_id(), {"tags": True})["token"])
    yield client
    client.close()


@pytest.fixture
def others(server, decider):
    """Makes more clients of the same namespace."""
    clients = []

    def make(timeout=60):
        clients.append(server.client(decider.token, timeout=timeout))
        return clients[-1]

    yield make
    for each in clients:
        each.close()


@pytest.fixture
def wire(server, client):
    """A connection for an import in the client's namespace."""
    client.call("stream.version", "x")  # makes the namespace
    wire = Wire(server, client.token)
    yield wire
    wire.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.issue("server")


@pytest.fixture(scope="module")
def secret(certificate):
    """The server that most tests here share."""
    server = Server("--test-mode", "--workers", "4", tls=certificate)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def hasty(certificate):
    """A server that waits for a request, and for a handshake, for a second."""
    server = Server("--test-mode", "--workers", "1", "--request-timeout", "1", tls=certificate)
    yield server
    server.stop()
