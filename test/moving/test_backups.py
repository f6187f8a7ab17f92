"""A cluster or the directory is restored from a backup while a namespace is being moved: what the other cluster has
stays, and a namespace is not open in two places."""
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from clusters import two_clusters  # noqa: E402
from store import error_code, sql, wait_until  # noqa: E402

APPEND = "SELECT global_position FROM millrace.append('a-1', 'T', '{}', namespace => %s)"


@pytest.fixture
def clusters():
    yield from two_clusters()


@pytest.fixture
def namespace(clusters):
    name = clusters.create_another()
    for _ in range(3):
        sql(clusters.connect("a"), APPEND, name)
    return name


def state(clusters, on, name):
    rows = sql(clusters.connect(on), "SELECT state, epoch FROM millrace.namespaces WHERE name = %s", name)
    return rows[0] if rows else None


def positions(clusters, on, name):
    rows = sql(clusters.connect(on), f"SELECT global_position FROM millrace_{name}.messages ORDER BY 1")
    return [position for (position,) in rows]


def back_up(clusters, name):
    cluster = clusters.clusters[name]
    cluster.stop()
    shutil.copytree(cluster.data, f"{cluster.folder}/backup")
    cluster.start()


def restore(clusters, name):
    cluster = clusters.clusters[name]
    cluster.stop("immediate")
    shutil.rmtree(cluster.data)
    shutil.copytree(f"{cluster.folder}/backup", cluster.data)
    cluster.start()


def refused(clusters, *arguments):
    done = clusters.move(*arguments)
    assert done.returncode == 1, done.said
    return done.complained


def test_what_was_given_to_a_cluster_that_is_restored_from_before_is_not_opened_there(clusters, namespace):
    clusters.moved(namespace, "--to", "b", "--start")
    back_up(clusters, "b")
    clusters.moved(namespace, "--switch")
    assert sql(clusters.connect("b"), APPEND, namespace) == [(4,)]
    wait_until(lambda: positions(clusters, "a", namespace) == [1, 2, 3, 4], "the way back")
    restore(clusters, "b")
    for step in ("--finish", "--switch", "--reverse"):
        said = refused(clusters, namespace, step)
        assert f'cluster "b" has an older namespace "{namespace}" than it was given, or none' in said
    assert state(clusters, "b", namespace) == ("sealed", 0)
    assert state(clusters, "a", namespace) == ("moved", 2)
    assert positions(clusters, "a", namespace) == [1, 2, 3, 4]


def test_a_copy_that_has_more_than_the_cluster_that_leads_is_not_dropped(clusters, namespace):
    clusters.moved(namespace, "--to", "b", "--start")
    clusters.moved(namespace, "--switch")
    back_up(clusters, "b")
    for _ in range(50):  # more than a sequence is ahead of its log
        sql(clusters.connect("b"), APPEND, namespace)
    wait_until(lambda: len(positions(clusters, "a", namespace)) == 53, "the way back")
    restore(clusters, "b")
    said = refused(clusters, namespace, "--finish")
    assert f'cluster "a" has messages of "{namespace}" up to position 53, which cluster "b" has never had' in said
    assert len(positions(clusters, "a", namespace)) == 53


def test_a_start_is_not_given_up_when_the_copy_is_all_that_is_left(clusters, namespace):
    back_up(clusters, "b")
    clusters.moved(namespace, "--to", "b", "--start")
    sql(clusters.connect("a"), "SELECT millrace.drop_namespace(%s)", namespace)
    said = refused(clusters, namespace, "--reverse")
    assert f'cluster "b" has messages of "{namespace}" up to position 3, which cluster "a" has never had' in said
    assert positions(clusters, "b", namespace) == [1, 2, 3]
    sql(clusters.connect("b"), "SELECT millrace.move_drop(%s)", namespace)
    clusters.moved(namespace, "--reverse")


def test_a_directory_from_before_the_switch_has_no_namespace_opened_twice(clusters, namespace):
    clusters.moved(namespace, "--to", "b", "--start")
    clusters.moved(namespace, "--switch")
    sql(clusters.directory(), "SELECT millrace.direct_namespace(%s, 'a', 1, 'open')", namespace)
    sql(clusters.connect("b"), APPEND, namespace)
    for step in (["--switch"], ["--to", "b", "--start"], ["--reverse"]):
        said = refused(clusters, namespace, *step)
        assert f'namespace "{namespace}" on cluster "a" has moved to cluster "b": the directory is older' in said
    assert state(clusters, "a", namespace) == ("moved", 2)
    assert state(clusters, "b", namespace) == ("open", 2)
    sql(clusters.directory(), "SELECT millrace.direct_namespace(%s, 'b', 2, 'open')", namespace)
    clusters.moved(namespace, "--finish")
    assert len(positions(clusters, "b", namespace)) == 4


def test_what_has_moved_is_opened_by_a_higher_epoch_only(clusters, namespace):
    connection = clusters.connect("a")
    sql(connection, "SELECT millrace.seal_namespace(%s)", namespace)
    sql(connection, "SELECT millrace.set_namespace_state(%s, 'moved', 2, 'b')", namespace)
    for statement in ("'sealed'", "'sealed', 2", "'open'", "'open', 2"):
        assert error_code(connection, f"SELECT millrace.set_namespace_state(%s, {statement})", namespace) == "MR009"
    sql(connection, "SELECT millrace.set_namespace_state(%s, 'open', 3)", namespace)


def test_a_copy_that_follows_while_it_is_asked_is_not_taken_for_a_newer_one(clusters, namespace):
    """The leader gives a position, which the copy has before it says how far it is."""
    clusters.moved(namespace, "--to", "b", "--start")
    clusters.moved(namespace, "--switch")
    leader, copy, looking = clusters.connect("b"), clusters.connect("a"), clusters.connect("a")
    sql(copy, "BEGIN")
    sql(copy, f"LOCK TABLE millrace_{namespace}.messages IN ACCESS EXCLUSIVE MODE")
    process = clusters.move(namespace, "--finish", wait=False)
    wait_until(lambda: sql(looking, "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND "
                                    "backend_type = 'client backend'"), "the copy is asked")
    sql(leader, "BEGIN")
    ((position,),) = sql(leader, APPEND, namespace)
    sql(leader, "ROLLBACK")
    sql(copy, "SET LOCAL session_replication_role = replica")
    sql(copy, f"INSERT INTO millrace_{namespace}.messages (stream_name, type, \"position\", global_position, data) "
              "VALUES ('b-1', 'T', 0, %s, '{}')", position)
    sql(copy, "COMMIT")
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 0, complained
