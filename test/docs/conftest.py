"""What several tests of the documents share."""
import pytest

from members import Members


@pytest.fixture
def members(server, client, folder):
    members = Members(server, client.token, folder)
    yield members
    for each in client.call("consumer.list"):  # shown when the test fails
        print(each, client.call("consumer.streams", each["consumer"]), members.lines()[-10:])
    members.close()
