"""Consumers when several members are gone at once: by an outage, or each by a message that kills it."""
import pytest

from store import Cluster, sql, temporary_folder
from test_consumers import append, create, expire, next_claim, settle, status

POISON = {("a-3", 0), ("a-7", 0)}


@pytest.fixture(scope="module")
def postgres():
    cluster = Cluster(temporary_folder() + "/pg").create().start()
    sql(cluster.connect(), "CREATE EXTENSION millrace")
    yield cluster
    cluster.stop("immediate")


@pytest.fixture
def store(postgres):
    connection = postgres.connect()
    sql(connection, "SELECT millrace.create_namespace('n')")
    yield connection
    sql(connection, "SELECT millrace.drop_namespace('n')")
    connection.close()


def let_time_pass(connection):
    sql(connection, "UPDATE millrace_n.consumer_streams SET retry_at = NULL, first_failed = first_failed - "
        "interval '1 min'")


def two_members_work(connection, most):
    """Both ask, both work, and one that meets poison dies; returns what was settled."""
    settled = set()
    claims = [next_claim(connection, most) for _ in range(2)]
    for claim, messages in claims:
        done = {message[:2] for message in messages}
        if claim and not done & POISON:
            settle(connection, claim)
            settled |= done
    expire(connection)  # the rest: of both, or of one
    return settled


@pytest.mark.parametrize("most", [1, 100])
def test_two_messages_that_kill_their_members_at_the_same_time(store, most):
    create(store, options='{"maxAttempts": 3}')
    wanted = set()
    for number in (3, 7, *range(20, 60)):
        append(store, f"a-{number}", 2)
        wanted |= {(f"a-{number}", 0), (f"a-{number}", 1)}
    settled = set()
    for _ in range(150):
        let_time_pass(store)
        settled |= two_members_work(store, most)
        if status(store, "parked") == (2,) and len(settled) == 80:
            break
    assert settled == wanted - POISON - {("a-3", 1), ("a-7", 1)}, "the others are dealt with"
    assert sql(store, "SELECT stream, \"position\", attempts FROM millrace.consumer_streams_blocked WHERE namespace = "
        "'n' AND parked_at IS NOT NULL ORDER BY 1") == [("a-3", 0, 3), ("a-7", 0, 3)]


def have_an_outage(connection):
    """Four members have a message each when all of them are gone."""
    claims = [next_claim(connection, 1)[0] for _ in range(4)]
    assert all(claims) and next_claim(connection) == (None, [])
    expire(connection)


def test_after_an_outage_nothing_counts(store):
    create(store, options='{"maxAttempts": 1}')
    for position in range(5):
        for number in range(4):
            append(store, f"a-{number}")
        have_an_outage(store)
        claim, messages = next_claim(store)
        assert messages == [(f"a-{number}", position, 1) for number in range(4)], "all at once"
        assert sql(store, "SELECT max(attempts), count(retry_at) FROM millrace_n.consumer_streams") == [(0, 0)]
        settle(store, claim)


def test_of_outages_in_a_row_the_first_counts_for_nothing(store):
    create(store)
    for number in range(4):
        append(store, f"a-{number}")
    counted = []
    for _ in range(3):
        have_an_outage(store)
        sql(store, "SELECT millrace.consumer_pause('c', 'n')")
        next_claim(store)  # takes in what happened
        counted += sql(store, "SELECT min(attempts), max(attempts) FROM millrace_n.consumer_streams")
        sql(store, "SELECT millrace.consumer_resume('c', 'n')")
        let_time_pass(store)
    assert counted == [(0, 0), (1, 1), (2, 2)]
