"""A move that is told to stop leaves no namespace sealed, and goes on when it is run again."""
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from clusters import two_clusters  # noqa: E402
from store import sql, wait_until  # noqa: E402


@pytest.fixture(scope="module")
def clusters():
    yield from two_clusters()


@pytest.fixture
def namespace(clusters):
    name = clusters.create_another()
    sql(clusters.connect("a"), "SELECT millrace.append('a-1', 'T', '{}', namespace => %s)", name)
    clusters.moved(name, "--to", "b", "--start")
    return name


def states(clusters, name):
    state = "SELECT state, epoch FROM millrace.namespaces WHERE name = %s"
    return [sql(clusters.connect(on), state, name)[0] for on in "ab"]


def wait_for_lock(connection, query):
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
    wait_until(lambda: sql(connection, waiting, query), "the lock that is waited for")


def end(process):
    """Tells it to stop, and returns what it says."""
    process.send_signal(signal.SIGTERM)
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 1
    return complained


def test_one_that_waits_for_its_copy_stops(clusters, namespace):
    b = clusters.connect("b")
    ((subscription,),) = sql(b, "SELECT subname FROM pg_subscription")
    sql(b, f"ALTER SUBSCRIPTION {subscription} DISABLE")
    wait_until(lambda: sql(b, "SELECT pid FROM pg_stat_subscription WHERE subname = %s", subscription) == [(None,)],
               "the end of its worker")
    sql(clusters.connect("a"), "SELECT millrace.append('a-1', 'T', '{}', namespace => %s)", namespace)
    process = clusters.move(namespace, "--switch", wait=False)
    assert process.stdout.readline().startswith("waiting for the copy")
    end(process)
    assert states(clusters, namespace) == [("open", 1), ("sealed", 0)]
    sql(b, f"ALTER SUBSCRIPTION {subscription} ENABLE")
    clusters.moved(namespace, "--switch")
    clusters.moved(namespace, "--finish")


def test_under_the_seal_it_goes_on_until_the_namespace_is_open(clusters, namespace):
    assert clusters.killed(namespace, "--switch", at="way back")  # a slot waits for all transactions
    holder, watcher = clusters.connect("b"), clusters.connect("b")
    sql(holder, "BEGIN")
    sql(holder, "SELECT FROM millrace.namespaces WHERE name = %s FOR UPDATE", namespace)
    process = clusters.move(namespace, "--switch", wait=False)
    wait_for_lock(watcher, "%move_settle%")
    process.send_signal(signal.SIGTERM)
    assert states(clusters, namespace)[0] == ("sealed", 1)
    sql(holder, "COMMIT")
    process.communicate(timeout=60)
    assert states(clusters, namespace) == [("moved", 2), ("open", 2)]
    clusters.moved(namespace, "--switch")
    clusters.moved(namespace, "--finish")


def test_one_that_finds_the_seal_of_a_killed_one_takes_it_off_when_it_stops(clusters, namespace):
    b = clusters.connect("b")
    assert clusters.killed(namespace, "--switch", at="sealed")
    ((subscription,),) = sql(b, "SELECT subname FROM pg_subscription")
    sql(b, f"ALTER SUBSCRIPTION {subscription} DISABLE")
    wait_until(lambda: sql(b, "SELECT pid FROM pg_stat_subscription WHERE subname = %s", subscription) == [(None,)],
               "the end of its worker")
    process = clusters.move(namespace, "--switch", "--max-pause", "3600", wait=False)
    assert process.stdout.readline().startswith("waiting for the copy")
    assert "told to stop; it was unsealed" in end(process)
    assert states(clusters, namespace) == [("open", 1), ("sealed", 0)]
    sql(b, f"ALTER SUBSCRIPTION {subscription} ENABLE")
    clusters.moved(namespace, "--reverse")
