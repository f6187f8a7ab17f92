"""What several tests of the documents share."""
import pytest

from members import Members


@pytest.fixture
def members(server, client, folder):
    members = Members(server, client.token, folder)
    yield members
    members.close()
