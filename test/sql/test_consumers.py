"""Consumers beside what happens to a Postgres: crashes, outages, dumps, standbys, old snapshots; and what a
call costs."""
import os
import signal
import subprocess
import threading

import psycopg2
import pytest

from store import PG_BIN, Cluster, sql, temporary_folder, wait_until

NEXT = """SELECT claim, stream_name, "position", attempt
    FROM millrace.consumer_next('c', %s, lease => %s, namespace => 'n') ORDER BY global_position"""


@pytest.fixture(scope="module")
def postgres():
    cluster = Cluster(temporary_folder() + "/pg", ["autovacuum=off"]).create().start()
    sql(cluster.connect(), "CREATE EXTENSION millrace")
    yield cluster
    cluster.stop("immediate")


@pytest.fixture
def store(postgres):
    """A Postgres with an empty namespace `n`, and a connection to it."""
    connection = postgres.connect()
    sql(connection, "SELECT millrace.create_namespace('n')")
    yield connection
    connection = postgres.connect()
    end_others(connection)
    sql(connection, "SELECT millrace.drop_namespace('n')")
    connection.close()


def end_others(connection):
    """What a test that failed has left in a transaction."""
    sql(connection, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND "
        "backend_type = 'client backend'")


def create(connection, **options):
    named = "".join(f", {name} => %s" for name in options)
    sql(connection, f"SELECT millrace.create_consumer('c'{named}, namespace => 'n')", *options.values())


def append(connection, stream, count=1, type="T"):
    return sql(connection, "SELECT count(millrace.append(%s, %s, '{}', namespace => 'n')) FROM generate_series(1, %s)",
        stream, type, count)


def next_claim(connection, most=100, lease="12 hours"):
    """Returns the claim's number, None when there is none, and its messages: (stream, position, attempt)."""
    rows = sql(connection, NEXT, most, lease)
    return (rows[0][0] if rows else None), [row[1:] for row in rows]


def settle(connection, claim, **options):
    named = "".join(f", {name} => %s" for name in options)
    sql(connection, f"SELECT millrace.consumer_settle('c', %s{named}, namespace => 'n')", claim, *options.values())


def is_lost(connection, claim):
    with pytest.raises(psycopg2.Error) as error:
        settle(connection, claim)
    return error.value.pgcode == "MR015"


def expire(connection, claim=None):
    sql(connection, "UPDATE millrace_n.consumer_claims SET lease_until = now() - interval '1 s' "
        "WHERE lease_until IS NOT NULL AND claim = coalesce(%s, claim)", claim)


def status(connection, *columns):
    return sql(connection, f"SELECT {', '.join(columns)} FROM millrace.consumer_status WHERE namespace = 'n'")[0]


def crash(cluster, connection):
    """Kills the connection's session, for which Postgres starts anew, and returns a new connection."""
    bystander = cluster.connect()
    os.kill(sql(connection, "SELECT pg_backend_pid()")[0][0], signal.SIGKILL)
    wait_until(lambda: not answers(bystander), "the end of all sessions")
    wait_until(lambda: can_connect(cluster), "Postgres's start")
    return cluster.connect()


def answers(connection):
    try:
        return sql(connection, "SELECT 1")
    except psycopg2.Error:
        return False


def can_connect(cluster):
    try:
        cluster.connect().close()
        return True
    except psycopg2.Error:
        return False


# ---- crashes ----


def test_a_stream_stays_in_order_through_a_crash(postgres, store):
    create(store)
    append(store, "a-1", 2)
    claim, _ = next_claim(store)
    settle(store, claim, failed='[{"stream": "a-1", "position": 0, "delayMs": 0}]')
    store = crash(postgres, store)
    claim, messages = next_claim(store)
    assert messages == [("a-1", 0, 2)]
    store = crash(postgres, store)
    again, messages = next_claim(store)
    # A claim is there, or was not on the disk yet and is lost.
    assert again is None or (again > claim and messages == [("a-1", 0, 2)] and is_lost(store, claim))
    settle(store, again or claim)
    assert next_claim(store)[1] == [("a-1", 1, 1)]


@pytest.mark.parametrize("committed", [False, True])
def test_a_session_killed_in_next(postgres, store, committed):
    create(store)
    append(store, "a-1")
    first, _ = next_claim(store)
    settle(store, first)
    assert next_claim(store) == (None, [])
    append(store, "a-1", 2)
    if not committed:
        sql(store, "BEGIN")
    given, _ = next_claim(store, 1)
    store = crash(postgres, store)
    claim, messages = next_claim(store)
    if claim:
        assert messages == [("a-1", 1, 1), ("a-1", 2, 1)]
    else:
        assert committed, "the stream is the member's that has not answered"
        settle(store, given)
        claim, messages = next_claim(store)
        assert messages == [("a-1", 2, 1)]
    assert claim > given, "a number is not given twice"
    assert is_lost(store, given)


def test_killed_while_it_waits_for_the_lock(postgres, store):
    create(store)
    append(store, "a-1")
    holder, waiter = postgres.connect(), postgres.connect()
    sql(holder, "BEGIN")
    next_claim(holder)
    pid = sql(waiter, "SELECT pg_backend_pid()")[0][0]
    thread = threading.Thread(target=lambda: pytest.raises(psycopg2.Error, next_claim, waiter))
    thread.start()
    wait_until(lambda: sql(store, "SELECT lock FROM millrace.blocked WHERE pid = %s", pid) == [("consumer",)],
        "the waiting")
    sql(store, "SELECT pg_terminate_backend(%s)", pid)
    thread.join()
    sql(holder, "ROLLBACK")
    assert next_claim(store)[1] == [("a-1", 0, 1)]


def test_idle_calls_after_the_last_settle_keep_the_ceiling(postgres, store):
    create(store)
    append(store, "a-1", 3)
    settle(store, next_claim(store)[0])
    for _ in range(3):
        assert next_claim(store) == (None, [])
    store = crash(postgres, store)
    assert next_claim(store) == (None, [])
    assert status(store, "ceiling", "floor", "lag") == (3, 3, 0)
    assert sql(store, "SELECT count(*) FROM millrace_n.consumer_claims") == [(1,)]


def test_a_lease_lasts_once_more_after_a_start_of_postgres(postgres, store):
    create(store)
    append(store, "a-1")
    claim, _ = next_claim(store)
    expire(store)
    store = crash(postgres, store)
    assert next_claim(store) == (None, []), "nobody could extend it meanwhile"
    settle(store, claim)


# ---- leases ----


def test_a_message_that_kills_its_consumer_among_99_innocents(store):
    create(store, options='{"maxAttempts": 3}')
    for number in range(100):
        append(store, f"a-{number}", 2)
    settled, calls = set(), 0
    while status(store, "parked") == (0,):
        sql(store, "UPDATE millrace_n.consumer_streams "
            "SET retry_at = NULL, first_failed = first_failed - interval '1 min'")
        claim, messages = next_claim(store)
        calls += 1
        assert calls < 200
        if any(message[:2] == ("a-57", 0) for message in messages):
            expire(store)  # it died
        elif claim:
            settle(store, claim)
            settled.update(message[:2] for message in messages)
    while (claim := next_claim(store)[0]):
        settle(store, claim)
    assert sql(store, "SELECT stream, \"position\", attempts FROM millrace.consumer_streams_blocked WHERE namespace = "
        "'n'") == [("a-57", 0, 3)]
    assert sql(store, "SELECT attempts, error FROM millrace_n.consumer_streams") == [(3, "the lease ran out")]
    assert len([message for message in settled if message[0] != "a-57"]) >= 99
    assert calls < 30


def test_of_several_messages_none_counts_but_they_come_in_smaller_claims(store):
    create(store)
    for number in range(64):
        append(store, f"a-{number}")
    sizes = []
    for _ in range(4):
        _, messages = next_claim(store, 64)
        assert {attempt for _, _, attempt in messages} == {1}
        sizes.append(len(messages))
        expire(store)
    assert sizes == [64, 16, 4, 1]
    claim, messages = next_claim(store, 64)
    assert (len(messages), messages[0][2]) == (1, 1), "the next suspect"


def test_one_of_several_that_runs_out_counts(store):
    create(store)
    append(store, "a-1")
    append(store, "a-2")
    first, _ = next_claim(store, 1)
    next_claim(store, 1)
    expire(store, first)
    next_claim(store)
    assert sql(store, "SELECT stream, attempts FROM millrace_n.consumer_streams") == [("a-1", 1)]


def test_what_comes_to_a_stream_waits_for_its_retry(store):
    create(store)
    append(store, "a-1")
    claim, _ = next_claim(store)
    settle(store, claim, failed='[{"stream": "a-1", "position": 0, "delayMs": 3600000}]')
    append(store, "a-1")
    append(store, "a-2")
    claim, messages = next_claim(store)
    assert messages == [("a-2", 0, 1)]
    settle(store, claim)
    sql(store, "UPDATE millrace_n.consumer_streams SET retry_at = NULL")
    claim, messages = next_claim(store)
    assert messages == [("a-1", 0, 2)], "and comes alone"
    settle(store, claim)
    assert next_claim(store)[1] == [("a-1", 1, 1)]


# ---- what a call costs ----


def blocks(connection, call):
    """Blocks of the namespace's tables and indexes that a call in one transaction looks at."""
    count = ("SELECT sum(pg_stat_get_xact_blocks_fetched(oid)) FROM pg_class WHERE relnamespace = "
        "'millrace_n'::regnamespace "
             "AND relkind IN ('r', 'i')")
    sql(connection, "BEGIN")
    before = sql(connection, count)[0][0]
    result = call()
    after = sql(connection, count)[0][0]
    sql(connection, "COMMIT")
    return int(after - before), result


def test_a_parked_stream_with_nine_tenths_of_all_is_one_row(store):
    create(store)
    append(store, "a-parked", 2)
    claim, _ = next_claim(store)
    settle(store, claim, failed='[{"stream": "a-parked", "position": 0, "park": true}]')
    assert next_claim(store) == (None, [])
    for _ in range(20):
        sql(store, "SELECT count(millrace.append(CASE WHEN n % 10 = 0 THEN 'a-' || n % 7 ELSE 'a-parked' END, 'T', "
            "'{}', namespace => 'n')) FROM generate_series(1, 1000) n")
    costs = []
    while True:
        cost, (claim, messages) = blocks(store, lambda: next_claim(store, 50))
        if not claim:
            break
        assert "a-parked" not in {message[0] for message in messages}
        costs.append(cost)
        settle(store, claim)
    assert len(costs) == 40 and sql(store, "SELECT count(*) FROM millrace_n.consumer_streams") == [(1,)]
    assert max(costs[20:]) < 1.5 * max(costs[:20]), costs
    idle, _ = blocks(store, lambda: next_claim(store))
    assert idle < 60, "what is behind in a parked stream costs nothing"
    assert status(store, "parked", "floor") == (1, 0)
    sql(store, "SELECT millrace.consumer_unpark('c', 'a-parked', namespace => 'n')")
    given = []
    while True:
        claim, messages = next_claim(store, 1000)
        if not claim:
            break
        settle(store, claim)
        given += messages
    assert [message[:2] for message in given] == [("a-parked", position) for position in range(18002)]
    assert status(store, "floor", "lag") == (20002, 0)


def test_an_old_snapshot_costs_a_call_nothing(postgres, store):
    create(store)
    for _ in range(4):
        sql(store, "SELECT count(millrace.append('a-' || n % 100, 'T', '{}', namespace => 'n')) FROM "
            "generate_series(1, 500) n")
    old = postgres.connect()
    sql(old, "BEGIN ISOLATION LEVEL REPEATABLE READ")
    sql(old, "SELECT count(*) FROM millrace_n.consumer_claims")
    costs = []
    for _ in range(2000):
        cost, (claim, messages) = blocks(store, lambda: next_claim(store, 1))
        assert len(messages) == 1
        costs.append(cost)
        settle(store, claim)
    old.rollback()
    first, last = sorted(costs[50:250])[100], sorted(costs[-200:])[100]
    assert last <= first * 1.3 + 2, (first, last)


def test_a_filter_that_matches_nothing(postgres, store):
    create(store, types=["X"])
    sql(store, "SELECT count(millrace.append('a-' || n % 9, 'T', '{}', namespace => 'n')) FROM generate_series(1, "
        "25500) n")
    costs = [blocks(store, lambda: next_claim(store))[0] for _ in range(6)]
    assert costs[-1] < costs[0] / 3, f"what was looked at once is not looked at again: {costs}"
    assert status(store, "ceiling")[0] >= 24500
    sql(store, "CHECKPOINT")
    next_claim(store)  # sets hint bits
    before = sql(store, "SELECT pg_current_wal_insert_lsn()")
    for _ in range(20):
        assert next_claim(store) == (None, [])
    assert sql(store, "SELECT pg_current_wal_insert_lsn()") == before
    append(store, "a-1", type="X")
    assert len(next_claim(store)[1]) == 1


# ---- another server, another isolation level ----


def test_numbers_rise_though_their_sequence_goes_back(store):
    create(store)
    append(store, "a-1", 2)
    first, _ = next_claim(store, 1)
    settle(store, first)
    sql(store, "SELECT setval('millrace_n.consumer_numbers', 1)")
    second, messages = next_claim(store, 1)
    assert second > first and messages == [("a-1", 1, 1)]
    assert is_lost(store, first)


def test_a_restored_dump_goes_on_with_higher_numbers(postgres, store):
    create(store)
    append(store, "a-1", 2)
    append(store, "a-2")
    before, _ = next_claim(store, 1)
    folder = temporary_folder()
    dump = f"{folder}/dump"
    subprocess.run([f"{PG_BIN}/pg_dump", "-d", postgres.conninfo(), "-f", dump], check=True)
    after, messages = next_claim(store, 1)
    assert messages == [("a-2", 0, 1)]
    settle(store, before)
    sql(store, "CREATE DATABASE restored")
    try:
        subprocess.run([f"{PG_BIN}/psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", postgres.conninfo("restored"), "-f",
            dump],
                       check=True, stdout=subprocess.DEVNULL)
        restored = postgres.connect("restored")
        assert is_lost(restored, after), "given after the dump"
        assert status(restored, "ceiling", "floor", "claims") == (1, 0, 1)
        again, messages = next_claim(restored)
        assert messages == [("a-2", 0, 1)]
        assert again > after, "numbers of claims that the dump does not know are not given again"
        settle(restored, again)
        expire(restored)
        next_claim(restored)
        assert is_lost(restored, before)
        sql(restored, "UPDATE millrace_n.consumer_streams SET retry_at = NULL")
        assert next_claim(restored)[1] == [("a-1", 0, 2)]
        restored.close()
    finally:
        sql(store, "DROP DATABASE restored WITH (FORCE)")


def test_a_claim_that_another_member_has_taken_over_is_lost_for_good(folder):
    """A crash does not take the second one back and leave the first to a member that comes late."""
    cluster = Cluster(folder + "/pg", ["wal_writer_delay=10s"]).create().start()
    try:
        connection = cluster.connect()
        sql(connection, "CREATE EXTENSION millrace")
        sql(connection, "SELECT millrace.create_namespace('n')")
        create(connection)
        append(connection, "a-1")
        append(connection, "a-2")
        late, _ = next_claim(connection, lease="1 second")
        taken = wait_until(lambda: next_claim(connection)[1], "the end of the lease")
        assert taken == [("a-1", 0, 1), ("a-2", 0, 1)]
        connection = crash(cluster, connection)
        assert is_lost(connection, late)
    finally:
        cluster.stop("immediate")


def test_numbers_jump_on_another_timeline(folder):
    primary = Cluster(folder + "/primary", ["max_wal_senders=3", "synchronous_commit=off"]).create().start()
    connection = primary.connect()
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('n')")
    create(connection)
    append(connection, "a-1", 3)
    settle(connection, next_claim(connection, 1)[0])
    standby = Cluster(folder + "/standby").copy_of(primary).start()
    try:
        other = standby.connect()
        wait_until(lambda: sql(other, "SELECT count(*) FROM millrace.consumer_status") == [(1,)], "the standby")
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            next_claim(other)
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            settle(other, 1)
        # What the primary gives from now on the standby never hears of.
        sql(other, "SELECT pg_wal_replay_pause()")
        lost = [next_claim(connection, 1)[0]]
        settle(connection, lost[0])
        lost.append(next_claim(connection, 1)[0])
        primary.stop("immediate")
        sql(other, "SELECT pg_promote(wait => false)")
        wait_until(lambda: sql(other, "SELECT NOT pg_is_in_recovery()")[0][0], "the promotion")
        claim, messages = next_claim(other)
        assert claim > max(lost) + 1000000, "no number of the lost tail is given again"
        assert len(messages) >= 1 and status(other, "ceiling")[0] == 3
    finally:
        standby.stop("immediate")
        primary.stop("immediate")


def test_the_views_work_on_a_standby(folder):
    primary = Cluster(folder + "/primary").create().start()
    connection = primary.connect()
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('n')")
    create(connection)
    append(connection, "a-1", 3)
    claim, _ = next_claim(connection, 2)
    settle(connection, claim, failed='[{"stream": "a-1", "position": 1}]')
    standby = Cluster(folder + "/standby").copy_of(primary).start()
    try:
        views = ["consumer_status", "consumer_claims_open", "consumer_streams_blocked"]
        other = standby.connect()
        wait_until(lambda: sql(other, "SELECT count(*) FROM millrace.consumer_status") == [(1,)], "the standby")
        assert status(other, "ceiling", "floor", "lag", "retrying") == (2, 1, 2,
            1), "what no next() has taken in yet, too"
        next_claim(connection)
        for view in views:
            rows = sql(connection, f"SELECT * FROM millrace.{view}")
            wait_until(lambda: sql(other, f"SELECT * FROM millrace.{view}") == rows, f"{view} of the standby")
    finally:
        standby.stop("immediate")
        primary.stop("immediate")


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_settling_in_a_higher_isolation_level(postgres, store, level):
    create(store)
    append(store, "a-1", 2)
    member = postgres.connect()
    sql(member, f"BEGIN ISOLATION LEVEL {level}")
    sql(member, "SELECT count(*) FROM millrace_n.consumer_claims")
    claim, _ = next_claim(store, 1)
    with pytest.raises(psycopg2.errors.ActiveSqlTransaction):
        next_claim(member)
    sql(member, "ROLLBACK")
    sql(member, f"BEGIN ISOLATION LEVEL {level}")
    sql(member, "SELECT count(*) FROM millrace_n.consumer_claims")
    sql(store, "SELECT millrace.consumer_extend('c', %s, namespace => 'n')", claim)
    settle(member, claim)
    sql(member, "COMMIT")
    assert next_claim(store)[1] == [("a-1", 1, 1)]
