"""`millrace move` takes a namespace to another cluster while it is in use, and may be killed anywhere."""
import os
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from clusters import ELSEWHERE, SEALED, SETTINGS, STEPS, Use, two_clusters  # noqa: E402
from store import Cluster, error_code, sql, temporary_folder, wait_until  # noqa: E402

ALL = os.environ.get("MOVE_STEPS") == "all"  # `make test-move`; else some of the places, as each takes a while
TABLES = {"messages": "global_position", "stream_floors": "stream", "removed_ids": "id", "consumers": "id",
          "consumer_claims": "claim", "consumer_streams": "stream", "consumer_skipped": "global_position"}
BESIDE = {"namespaces": "name", "tokens": "namespace", "retention": "namespace", "sweeps": "namespace",
          "removals": "namespace"}


@pytest.fixture(scope="module")
def clusters():
    yield from two_clusters()


@pytest.fixture
def namespace(clusters):
    name = clusters.create_another()
    return name


def fill(connection, name):
    """Something of everything that a namespace can have."""
    for statement in [
            f"SET millrace.namespace = '{name}'",
            "SELECT millrace.append('a-' || n % 7, 'T', jsonb_build_object('n', n), '{\"tags\": [\"x\"]}') "
            "FROM generate_series(1, 60) n",
            f"SELECT millrace.set_namespace_token('{name}', encode(sha256('{name}'), 'hex'))",
            f"SELECT millrace.create_token('t', '{{read}}', encode(sha256('t{name}'), 'hex'), now() + '1 day')",
            f"SELECT millrace.create_token('r', '{{read}}', encode(sha256('r{name}'), 'hex'))",
            "SELECT millrace.revoke_token('r')",
            f"SELECT millrace.set_namespace_limits('{name}', 1000)",
            "SELECT millrace.remove_stream('a-1')", "SELECT millrace.truncate_stream('a-2', 2)",
            "SELECT millrace.close_stream('a-3')", "SELECT millrace.redact_stream('a-4')",
            "SELECT millrace.set_retention('a', '1 day', 100, hold => '{c}')", "SELECT millrace.index_tags()",
            "SELECT millrace.create_consumer('c', 'a')",
            "SELECT millrace.consumer_next('c', 3, member => 'm', lease => '1 hour')",
            "SELECT millrace.consumer_next('c', 3, member => 'n', lease => '1 hour')",
            "SELECT millrace.sweep()"]:
        sql(connection, statement)


def content(connection, name):
    return {
        **{table: sql(connection, f"SELECT * FROM millrace_{name}.{table} ORDER BY {key}")
           for table, key in TABLES.items()},
        "numbers": sql(connection, f"SELECT last_value, is_called FROM millrace_{name}.consumer_numbers"),
        **{table: sql(connection,
                      f"SELECT to_jsonb(t) - 'epoch' FROM millrace.{table} t WHERE {key} = %s ORDER BY 1", name)
           for table, key in BESIDE.items()}}


def state(clusters, on, name):
    rows = sql(clusters.connect(on), "SELECT state, epoch, moved_to FROM millrace.namespaces WHERE name = %s", name)
    return rows[0] if rows else None


def test_all_of_a_namespace_is_the_same_elsewhere(clusters, namespace):
    source = clusters.connect("a")
    sql(source, "SELECT setval('millrace.removals_id_seq', 1000)")
    fill(source, namespace)
    before = content(source, namespace)
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = %s ORDER BY indexdef"
    claim = sql(source, "SELECT claim FROM millrace.consumer_claims('c') ORDER BY claim")[0][0]
    said = clusters.moved(namespace, "--to", "b")
    assert "is moved" in said and int(said.split("waited for ")[1].split(" ms")[0]) < 2000
    target = clusters.connect("b")
    assert content(target, namespace) == before
    assert sql(target, indexes, "millrace_" + namespace) != []
    assert (state(clusters, "a", namespace), state(clusters, "b", namespace)) == (None, ("open", 2, None))
    assert clusters.left_over() == [] and clusters.moves() == []
    # It goes on where it was: positions, floors, tags, claims, numbers of removals.
    sql(target, f"SET millrace.namespace = '{namespace}'")
    last = max(row[0] for row in before["messages"])
    assert sql(target, "SELECT \"position\", global_position FROM millrace.append('a-1', 'T', '{}')") == [(9, last + 1)]
    assert error_code(target, "SELECT millrace.append('a-3', 'T', '{}')") == "MR021"
    assert sql(target, "SELECT count(*) FROM millrace.check_tags()") == [(0,)]
    sql(target, "SELECT millrace.consumer_settle('c', %s)", claim)
    sql(target, "SELECT millrace.truncate_stream('a-5', 1)")
    assert sql(target, "SELECT max(id) > 1000 FROM millrace.removals()") == [(True,)]
    rights = "SELECT rights FROM millrace.token_rights(encode(sha256(%s), 'hex'), %s)"
    assert sql(target, rights, b"t" + namespace.encode(), namespace) == [(["read"],)]


def test_a_copy_follows_all_that_is_done(clusters, namespace):
    source = clusters.connect("a")
    fill(source, namespace)
    clusters.moved(namespace, "--to", "b", "--start")
    claim = sql(source, "SELECT claim FROM millrace.consumer_claims('c') ORDER BY claim")[0][0]
    for statement in [
            f"SELECT millrace.consumer_settle('c', {claim})", "SELECT millrace.consumer_next('c', 5, member => 'o')",
            "SELECT millrace.create_consumer('d')", "SELECT millrace.consumer_next('d', 2)",
            "SELECT millrace.remove_stream('a-5')",
            "SELECT millrace.remove_stream('a-1', forget => true)", "SELECT millrace.truncate_stream('a-6', 3)",
            "SELECT millrace.redact_stream('a-0')", "SELECT millrace.append('a-1', 'T', '{}')",
            "SELECT millrace.append('big', 'T', jsonb_build_object('x', (SELECT string_agg(md5(n::text), '') "
            "FROM generate_series(1, 999) n)))",
            "SELECT millrace.redact_stream('a-2')", "SELECT millrace.set_retention('b', max_count => 5)",
            "SELECT millrace.revoke_token('t')", "SELECT millrace.drop_consumer('c')"]:
        sql(source, statement)
    before = content(source, namespace)
    clusters.moved(namespace, "--switch")
    target = clusters.connect("b")
    assert content(target, namespace) == before
    # And the old one what is done on the new one.
    for statement in ["SET millrace.namespace = '" + namespace + "'", "SELECT millrace.append('a-1', 'T', '{}')",
                      "SELECT millrace.remove_stream('a-6')", "SELECT millrace.consumer_next('d', 2)",
                      "SELECT millrace.create_token('late', '{append}', repeat('c', 64))"]:
        sql(target, statement)
    before = content(target, namespace)
    clusters.moved(namespace, "--reverse")
    assert content(source, namespace) == before
    sql(source, "SELECT millrace.empty_namespace(%s)", namespace)


@pytest.mark.parametrize("at", STEPS if ALL else STEPS[::3])
def test_a_move_that_is_killed_anywhere_goes_on_when_it_is_run_again(clusters, at):
    name = clusters.create_another()
    fill(clusters.connect("a"), name)
    with Use(clusters, name) as use:
        wait_until(lambda: use.count() > 20, "some messages")
        assert clusters.killed(name, "--to", "b", at=at)
        if clusters.moves() or clusters.where(name) == "a":
            clusters.moved(name, "--to", "b")
        done = use.count()
        wait_until(lambda: use.count() > done + 20, "more messages")
    assert clusters.where(name) == "b"
    assert (state(clusters, "a", name), state(clusters, "b", name)) == (None, ("open", 2, None))
    assert clusters.left_over() == [] and clusters.moves() == []


@pytest.mark.parametrize("at", STEPS if ALL else STEPS[1::4])
def test_a_way_back_that_is_killed_anywhere_goes_on_when_it_is_run_again(clusters, at):
    name = clusters.create_another()
    fill(clusters.connect("a"), name)
    with Use(clusters, name) as use:
        clusters.moved(name, "--to", "b", "--start")
        clusters.moved(name, "--switch")
        assert state(clusters, "a", name) == ("moved", 2, "b")
        done = use.count()
        wait_until(lambda: use.count() > done + 20, "messages on the new cluster")
        if clusters.killed(name, "--reverse", at=at):
            clusters.moved(name, "--reverse")
        done = use.count()
        wait_until(lambda: use.count() > done + 20, "messages on the old cluster")
    assert clusters.where(name) == "a"
    assert (state(clusters, "a", name), state(clusters, "b", name)) == (("open", 3, None), None)
    assert clusters.left_over() == [] and clusters.moves() == []


@pytest.mark.parametrize("at", STEPS[:8] if ALL else STEPS[2:8:3])
def test_a_start_is_given_up(clusters, at):
    name = clusters.create_another()
    with Use(clusters, name) as use:
        wait_until(lambda: use.count() > 20, "some messages")
        assert clusters.killed(name, "--to", "b", at=at)
        if clusters.moves():
            clusters.moved(name, "--reverse")
        else:  # nothing is noted yet: it is started, and given up
            clusters.moved(name, "--to", "b", "--start")
            clusters.moved(name, "--reverse")
        done = use.count()
        wait_until(lambda: use.count() > done + 20, "more messages")
    assert (state(clusters, "a", name), state(clusters, "b", name)) == (("open", 1, None), None)
    assert clusters.left_over() == [] and clusters.moves() == []


def test_what_is_not_there_and_what_is_in_the_way_is_told(clusters, namespace):
    def refused(*arguments):
        done = clusters.move(*arguments)
        assert done.returncode == 1
        return done.complained

    assert 'namespace "none" is not in the directory' in refused("none", "--to", "b")
    assert 'cluster "c" is not in the directory' in refused(namespace, "--to", "c")
    assert f'namespace "{namespace}" is on cluster "a" already' in refused(namespace, "--to", "a")
    assert f'namespace "{namespace}" is not being moved' in refused(namespace, "--switch")
    sql(clusters.connect("b"), "SELECT millrace.create_namespace(%s)", namespace)
    sql(clusters.connect("b"), "SELECT millrace.append('a', 'T', '{}', namespace => %s)", namespace)
    assert f'namespace "{namespace}" exists already on the cluster' in refused(namespace, "--to", "b")
    sql(clusters.connect("b"), "SELECT millrace.drop_namespace(%s)", namespace)
    clusters.moved(namespace, "--to", "b", "--start")
    assert f'namespace "{namespace}" is being moved to "b" already' in refused(namespace, "--to", "a")
    assert "was not switched yet" in refused(namespace, "--finish")
    assert error_code(clusters.directory(), "SELECT millrace.unplace_namespace(%s)", namespace) == "MR028"
    assert error_code(clusters.connect("b"), "SELECT millrace.head(%s)", namespace) == SEALED
    clusters.moved(namespace, "--switch")
    assert "was switched already" in refused(namespace, "--to", "b", "--start")
    assert error_code(clusters.connect("a"), "SELECT millrace.head(%s)", namespace) == ELSEWHERE
    clusters.moved(namespace, "--finish")


def test_two_moves_of_a_namespace_are_not_made_at_once(clusters, namespace):
    clusters.moved(namespace, "--to", "b", "--start")
    writer = clusters.connect("a")
    sql(writer, "BEGIN")
    sql(writer, "SELECT millrace.append('p', 'T', '{}', namespace => %s)", namespace)
    process = clusters.move(namespace, "--switch", wait=False)
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
    watcher = clusters.connect("a")
    wait_until(lambda: sql(watcher, waiting, f"millrace_{namespace}.messages")[0][0] > 0, "the sealing waits")
    for step in ("--switch", "--reverse"):
        done = clusters.move(namespace, step)
        assert (done.returncode, done.complained) == (
            1, f'millrace: another `millrace move` of "{namespace}" is running\n')
    sql(writer, "COMMIT")
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 0, complained
    clusters.moved(namespace, "--finish")


def test_the_session_of_a_move_that_has_just_ended_is_waited_for(clusters, namespace):
    ended, watcher = clusters.directory(), clusters.directory()
    sql(ended, "SELECT pg_advisory_lock(hashtextextended('millrace move ' || %s, 0))", namespace)
    process = clusters.move(namespace, "--to", "b", wait=False)
    waiting = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    wait_until(lambda: process.poll() is not None or sql(watcher, waiting), "the move waits")
    ended.close()
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 0, complained


def refused(clusters, namespace, *arguments):
    """Why a move is refused, which leaves nothing behind."""
    done = clusters.move(namespace, "--to", "b", *arguments)
    assert done.returncode == 1 and clusters.moves() == [] and clusters.left_over() == []
    return done.complained


def test_a_namespace_that_somebody_has_sealed_is_not_moved(clusters, namespace):
    source = clusters.connect("a")
    sql(source, "SELECT millrace.seal_namespace(%s)", namespace)
    assert "is sealed: millrace.unseal_namespace() lets it be moved" in refused(clusters, namespace)
    assert state(clusters, "a", namespace) == ("sealed", 1, None)
    sql(source, "SELECT millrace.unseal_namespace(%s)", namespace)
    clusters.moved(namespace, "--to", "b")


def test_a_namespace_that_is_not_as_old_as_the_directory_says_is_not_moved(clusters, namespace):
    """One of them is out of a backup."""
    source, directory = clusters.connect("a"), clusters.directory()
    sql(directory, "SELECT millrace.direct_namespace(%s, 'a', 5, 'open')", namespace)
    assert "is of epoch 1, and 5 in the directory: one of them is older" in refused(clusters, namespace)
    sql(source, "SELECT millrace.seal_namespace(%s), millrace.set_namespace_state(%s, 'moved', 6, 'b')", namespace,
        namespace)
    assert 'has moved to cluster "b": the directory is older' in refused(clusters, namespace)
    assert state(clusters, "a", namespace) == ("moved", 6, "b")


def test_two_names_of_one_database_are_no_two_clusters(clusters, namespace):
    sql(clusters.connect("a"), "SELECT millrace.create_token('t', '{read}', repeat('0', 64), namespace => %s)",
        namespace)
    same = ("--target-database", clusters.clusters["a"].conninfo() + " options='-c work_mem=5MB'")
    assert 'clusters "a" and "b" are the same database' in refused(clusters, namespace, *same)
    assert state(clusters, "a", namespace) == ("open", 1, None)


def test_two_clusters_of_one_base_backup_are_two(clusters, namespace):
    """As where a cluster has become too large and was parted."""
    fill(clusters.connect("a"), namespace)
    part = Cluster(temporary_folder(), SETTINGS).copy_of(clusters.clusters["a"])
    os.unlink(part.data / "standby.signal")
    part.start()
    try:
        sql(part.connect(), "SELECT millrace.drop_namespace(%s)", namespace)
        before = content(clusters.connect("a"), namespace)
        clusters.moved(namespace, "--to", "b", "--target-database", part.conninfo())
        assert content(part.connect(), namespace) == before
    finally:
        part.stop("immediate")


def test_a_connection_string_of_several_hosts_asks_for_the_one_that_takes_writes(clusters, namespace):
    """PostgreSQL connects by it, too."""
    several = f"host={clusters.clusters['a'].folder},{clusters.clusters['a'].folder} user=tester dbname=postgres"
    for attrs in ("", " target_session_attrs=any", " target_session_attrs=prefer-standby"):
        said = refused(clusters, namespace, "--source-database", several + attrs)
        assert 'connection string of cluster "a" names several hosts' in said
        assert "add target_session_attrs=read-write" in said
    clusters.moved(namespace, "--to", "b", "--source-database", several + " target_session_attrs=read-write")


def test_who_waits_for_a_copy_is_told_how_far_it_is_behind(clusters, namespace):
    source, target = clusters.connect("a"), clusters.connect("b")
    fill(source, namespace)
    clusters.moved(namespace, "--to", "b", "--start")
    ((subscription,),) = sql(target, "SELECT subname FROM pg_subscription")
    sql(target, f"ALTER SUBSCRIPTION {subscription} DISABLE")
    wait_until(
        lambda: sql(target, "SELECT pid FROM pg_stat_subscription WHERE subname = %s", subscription) == [(None,)],
        "the end of its worker")
    sql(source, "SELECT millrace.append('late', 'T', '{}') FROM generate_series(1, 7)")
    process = clusters.move(namespace, "--switch", wait=False)
    line = process.stdout.readline()
    assert re.match(r"waiting for the copy to catch up: it is \d+ \w+ of the log and 7 messages behind; ", line), line
    sql(target, f"ALTER SUBSCRIPTION {subscription} ENABLE")
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 0, complained
    clusters.moved(namespace, "--finish")


def test_who_waits_for_the_rows_of_a_copy_is_told_how_many_there_are(clusters, namespace):
    """The new cluster is held up by a lock on one of its tables."""
    source, target = clusters.connect("a"), clusters.connect("b")
    fill(source, namespace)
    assert clusters.killed(namespace, "--to", "b", "--start", at="noted")
    sql(target, "BEGIN")
    sql(target, f"LOCK TABLE millrace_{namespace}.messages IN SHARE MODE")
    process = clusters.move(namespace, "--start", "--to", "b", wait=False)
    line = process.stdout.readline()
    assert re.match(r"copying: \d tables are not there yet, \d+ of their rows are$", line), line
    sql(target, "COMMIT")
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 0, complained
    clusters.moved(namespace, "--reverse")


def test_wrong_usage_is_told(clusters):
    for arguments in [("n", "--start", "--switch"), ("n",), ("n", "--start"), ("n", "m", "--to", "b")]:
        assert clusters.move(*arguments).returncode == 2
    for flag in ("--directory", "--source-database", "--target-database"):
        done = clusters.move("n", "--to", "b", flag, "nonsense")
        assert done.returncode == 2 and f"{flag} is not a connection string or URI" in done.complained


def test_a_database_without_a_directory_is_told(clusters):
    done = clusters.move("n", "--to", "b", "--directory", clusters.clusters["b"].conninfo())
    assert done.returncode == 1 and "has no directory of clusters" in done.complained
    assert "create_directory()" in done.complained


def test_a_prepared_transaction_lets_no_namespace_be_sealed(clusters, namespace):
    clusters.moved(namespace, "--to", "b", "--start")
    writer = clusters.connect("a")
    sql(writer, "BEGIN")
    sql(writer, "SELECT millrace.append('p', 'T', '{}', namespace => %s)", namespace)
    sql(writer, "PREPARE TRANSACTION 'two'")
    process = clusters.move(namespace, "--switch", wait=False)
    watcher = clusters.connect("a")
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
    wait_until(lambda: sql(watcher, waiting, f"millrace_{namespace}.messages")[0][0] > 0, "the sealing waits")
    sql(watcher, "COMMIT PREPARED 'two'")
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 0, complained
    assert sql(clusters.connect("b"), "SELECT count(*) FROM millrace.read_all(namespace => %s)", namespace) == [(1,)]
    clusters.moved(namespace, "--finish")


def test_a_copy_that_is_not_the_same_is_refused_and_the_namespace_goes_on(clusters, namespace):
    fill(clusters.connect("a"), namespace)
    clusters.moved(namespace, "--to", "b", "--start")
    other = clusters.connect("b")
    sql(other, "SET session_replication_role = replica")
    sql(other, f"UPDATE millrace_{namespace}.consumers SET reason = 'tampered'")
    done = clusters.move(namespace, "--switch")
    assert done.returncode == 1 and "the copy is not the same" in done.complained
    assert "it was unsealed" in done.complained
    assert state(clusters, "a", namespace) == ("open", 1, None)
    sql(other, f"UPDATE millrace_{namespace}.consumers SET reason = NULL")
    sql(other, f"UPDATE millrace_{namespace}.messages SET data = '{{}}' WHERE global_position = 30")
    done = clusters.move(namespace, "--switch")
    assert done.returncode == 1 and "the copy is not the same" in done.complained
    assert state(clusters, "a", namespace) == ("open", 1, None)
    clusters.moved(namespace, "--reverse")


def test_a_copy_that_can_t_follow_is_not_waited_for_under_the_seal(clusters, namespace):
    fill(clusters.connect("a"), namespace)
    clusters.moved(namespace, "--to", "b", "--start")
    assert clusters.killed(namespace, "--switch", at="sealed")
    assert state(clusters, "a", namespace) == ("sealed", 1, None)
    other = clusters.connect("b")
    ((subscription,),) = sql(other, "SELECT subname FROM pg_subscription")
    sql(other, f"ALTER SUBSCRIPTION {subscription} DISABLE")
    wait_until(lambda: sql(other, "SELECT pid FROM pg_stat_subscription WHERE subname = %s", subscription) == [(None,)],
               "the end of its worker")
    done = clusters.move(namespace, "--switch", "--max-pause", "1")
    assert done.returncode == 1 and "did not catch up within 1000 ms; it was unsealed" in done.complained
    assert state(clusters, "a", namespace) == ("open", 1, None)
    sql(clusters.connect("a"), "SELECT millrace.append('late', 'T', '{}', namespace => %s)", namespace)
    sql(other, f"ALTER SUBSCRIPTION {subscription} ENABLE")
    clusters.moved(namespace, "--switch")
    clusters.moved(namespace, "--finish")
    assert sql(other, "SELECT count(*) FROM millrace.read_stream('late', namespace => %s)", namespace) == [(1,)]


def test_a_namespace_of_message_db_moves(clusters):
    source, target = clusters.connect("a"), clusters.connect("b")
    sql(source, "SELECT millrace.install_message_db()")
    sql(source, "SELECT message_store.write_message(gen_random_uuid()::varchar, 'a-1', 'T', '{}')")
    clusters.place("default")
    clusters.moved("default", "--to", "b", "--start")
    clusters.moved("default", "--switch")
    assert error_code(source,
                      "SELECT message_store.write_message(gen_random_uuid()::varchar, 'a-1', 'T', '{}')") == ELSEWHERE
    assert sql(target, "SELECT message_store.write_message(gen_random_uuid()::varchar, 'a-1', 'T', '{}')") == [(1,)]
    clusters.moved("default", "--finish")
    assert state(clusters, "a", "default") == ("moved", 2, "b")
    clusters.moved("default", "--to", "a")
    assert sql(source, "SELECT message_store.write_message(gen_random_uuid()::varchar, 'a-1', 'T', '{}')") == [(2,)]
    assert clusters.left_over() == []


def test_owners_and_privileges_go_along(clusters):
    name = clusters.create_another()
    source, target = clusters.connect("a"), clusters.connect("b")
    for connection in (source, target):
        sql(connection, "CREATE ROLE keeper")
        sql(connection, "CREATE ROLE \"odd reader\"")
    sql(source, f"ALTER TABLE millrace_{name}.messages OWNER TO keeper")
    sql(source, f"GRANT USAGE ON SCHEMA millrace_{name} TO \"odd reader\", keeper")
    sql(source, f"GRANT SELECT ON millrace_{name}.messages TO \"odd reader\"")
    sql(source, f"ALTER TABLE millrace_{name}.stream_floors OWNER TO keeper")
    sql(source, f"ALTER TABLE millrace_{name}.removed_ids OWNER TO keeper")
    clusters.moved(name, "--to", "b")
    sql(target, "SET ROLE \"odd reader\"")
    assert sql(target, "SELECT count(*) FROM millrace.read_all(namespace => %s)", name) == [(0,)]
    assert error_code(target, "SELECT millrace.append('a', 'T', '{}', namespace => %s)", name) == "42501"
    sql(target, "RESET ROLE")
    sql(target, "SET ROLE keeper")
    sql(target, "SELECT millrace.append('a', 'T', '{}', namespace => %s)", name)


def test_functions_of_others_are_not_run_by_replication(clusters, namespace):
    source = clusters.connect("a")
    sql(source, "CREATE ROLE stranger")
    sql(source, "CREATE FUNCTION public.mine(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1'")
    sql(source, "ALTER FUNCTION public.mine(text) OWNER TO stranger")
    sql(source, f"CREATE INDEX ON millrace_{namespace}.messages (public.mine(type))")
    done = clusters.move(namespace, "--to", "b")
    assert done.returncode == 1 and "function public.mine(text) would run with a superuser's rights" in done.complained
    sql(source, "DROP FUNCTION public.mine(text) CASCADE")
    clusters.moved(namespace, "--to", "b")
