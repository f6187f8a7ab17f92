"""Appends that depend on a query: of those that cannot all be right, some are refused, whatever runs beside them."""
import json
import struct
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from store import Cluster, sql, wait_until

REFUSED = "MR019"


def tagged(*tags, types=()):
    item = {}
    if tags:
        item["tags"] = list(tags)
    if types:
        item["types"] = list(types)
    return {"items": [item]}


def unless(query, after=None):
    condition = {"failIfEventsMatch": query}
    if after is not None:
        condition["after"] = after
    return json.dumps(condition)


@pytest.fixture(scope="module")
def tags_cluster(shared_cluster):
    admin = shared_cluster.connect()
    sql(admin, "CREATE EXTENSION IF NOT EXISTS millrace")
    yield shared_cluster


@pytest.fixture
def connect(tags_cluster):
    """Makes sessions in an empty namespace that has the index."""
    admin = tags_cluster.connect()
    if sql(admin, "SELECT 1 FROM millrace.namespaces WHERE name = 'c'"):
        sql(admin, "SELECT millrace.drop_namespace('c')")
    sql(admin, "SELECT millrace.create_namespace('c')")
    sql(admin, "SELECT millrace.index_tags('c')")
    sessions = [admin]

    def make():
        sessions.append(tags_cluster.connect())
        sql(sessions[-1], "SET millrace.namespace = c")
        return sessions[-1]

    yield make
    for session in sessions:
        session.close()


def append(session, stream, *tags, type="T", condition=None):
    """Returns the global position, or None where the condition failed."""
    try:
        return sql(session, "SELECT global_position FROM millrace.append(%s, %s, '{}', %s, condition => %s::jsonb)",
                   stream, type, json.dumps({"tags": list(tags)}), condition)[0][0]
    except psycopg2.Error as error:
        if error.pgcode != REFUSED:
            raise
        return None


def head(session, query):
    return sql(session, "SELECT millrace.query_head(%s)", json.dumps(query))[0][0]


def is_waiting(watcher, session):
    return lambda: sql(watcher, "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s",
                       session.get_backend_pid())[0][0]


def check_index(session):
    assert sql(session, "SELECT * FROM millrace.check_tags()") == []


def test_of_many_on_one_boundary_one_wins_each_round(connect):
    sessions = [connect() for _ in range(16)]
    query = tagged("course-1")
    with ThreadPoolExecutor(16) as pool:
        for _ in range(20):
            after = head(sessions[0], query)
            ready = threading.Barrier(16)

            def race(number, after=after, ready=ready):
                ready.wait()
                return append(sessions[number], f"s-{number}", "course-1", condition=unless(query, after))

            outcomes = list(pool.map(race, range(16)))
            assert sum(position is not None for position in outcomes) == 1, outcomes
    assert sql(sessions[0], "SELECT count(*) FROM millrace.read_query(%s)", json.dumps(query))[0][0] == 20


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_the_winners_rollback_lets_another_win(connect, end):
    first, second, watcher = connect(), connect(), connect()
    sql(first, "BEGIN")
    assert append(first, "a-1", "t", condition=unless(tagged("t")))
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(append, second, "a-2", "t", condition=unless(tagged("t")))
        wait_until(is_waiting(watcher, second), "the second to wait")
        sql(first, end)
        assert (outcome.result() is None) == (end == "COMMIT")


def test_the_head_is_below_what_may_still_commit(connect):
    """A head taken as the highest position loses a conflict here."""
    reader, open_one, other = connect(), connect(), connect()
    append(other, "a-1", "u")
    sql(open_one, "BEGIN")
    undecided = append(open_one, "a-2", "t")
    append(other, "a-3", "t")
    query = tagged("t")
    after = head(reader, query)
    assert after == undecided - 1
    assert sql(reader, "SELECT count(*) FROM millrace.read_query(%s)", json.dumps(query))[0][0] == 0
    assert head(reader, tagged("u")) > undecided, "what does not match holds nobody back"
    sql(open_one, "COMMIT")
    assert append(reader, "a-4", "t", condition=unless(query, after)) is None


def test_a_commit_between_the_messages_and_the_head_is_above_the_head(connect):
    reader, other = connect(), connect()
    first = append(other, "a-1", "t")
    sql(other, "SELECT pg_advisory_lock(17)")
    read = """SELECT (SELECT count(*) FROM millrace.read_query(%s)), (SELECT pg_advisory_lock(17)),
              millrace.query_head(%s)"""
    query = json.dumps(tagged("t"))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(sql, reader, read, query, query)
        wait_until(is_waiting(other, reader), "the reader to be between both")
        append(other, "a-2", "t")
        sql(other, "SELECT pg_advisory_unlock(17)")
        count, _, after = answer.result()[0]
    assert (count, after) == (1, first)
    assert append(reader, "a-3", "t", condition=unless(tagged("t"), after)) is None


def test_a_position_that_only_an_open_transaction_has_used_is_no_head(connect):
    """After a crash it may be given again."""
    reader, open_one = connect(), connect()
    position = append(reader, "a-1", "t")
    sql(open_one, "BEGIN")
    append(open_one, "a-2", "u")
    assert head(reader, tagged("t")) == position


@pytest.mark.parametrize("left, right", [(tagged("b"), tagged(types=["A"])), ({"all": True}, tagged(types=["A"])),
                                         (tagged("b", types=["B"]), {"all": True})])
def test_of_two_that_break_each_others_condition_one_wins(connect, left, right):
    """One asks for a type, the other for a tag, and each appends what the other asks for."""
    one, two = connect(), connect()
    for _ in range(100):
        after = head(one, {"all": True})
        ready = threading.Barrier(2)

        def race(session, stream, type, tags, query, after=after, ready=ready):
            ready.wait()
            return append(session, stream, *tags, type=type, condition=unless(query, after))

        with ThreadPoolExecutor(2) as pool:
            outcomes = [pool.submit(race, one, "l-1", "A", ["a"], left),
                        pool.submit(race, two, "r-1", "B", ["b"], right)]
            won = [outcome.result() is not None for outcome in outcomes]
        assert won.count(True) == 1, won


def test_of_two_on_each_others_stream_one_wins(connect):
    one, two = connect(), connect()
    for n in range(100):
        ready = threading.Barrier(2)

        def race(session, stream, other, ready=ready):
            ready.wait()
            try:
                sql(session, "SELECT millrace.append(%s, 'T', '{}', condition => %s)", stream,
                    json.dumps({"stream": other, "expectedVersion": -1}))
                return True
            except psycopg2.Error as error:
                assert error.pgcode == "MR001", error
                return False

        with ThreadPoolExecutor(2) as pool:
            outcomes = [pool.submit(race, one, f"l-{n}", f"r-{n}"), pool.submit(race, two, f"r-{n}", f"l-{n}")]
            won = [outcome.result() for outcome in outcomes]
        assert won.count(True) == 1, won


def test_a_rare_tag_makes_a_frequent_one_cheap(connect):
    session = connect()
    sql(session, """SELECT count(millrace.append_messages('a-' || n, ARRAY(SELECT
                    ('T', '{}', '{"tags": ["often"]}', NULL)::millrace.new_message FROM generate_series(1, 1000))))
                    FROM generate_series(1, 30) AS n""")
    append(session, "b-1", "often", "seldom")
    query = tagged("often", "seldom")
    plan = f"SELECT count(*) FROM millrace.read_query('{json.dumps(query)}')"
    assert sql(session, plan)[0][0] == 1
    sql(session, "SELECT pg_stat_force_next_flush()")
    before = sql(session, "SELECT sum(idx_blks_read + idx_blks_hit) FROM pg_statio_all_indexes "
                 "WHERE schemaname = 'millrace_c'")[0][0]
    sql(session, plan)
    sql(session, "SELECT pg_stat_force_next_flush()")
    after = sql(session, "SELECT sum(idx_blks_read + idx_blks_hit) FROM pg_statio_all_indexes "
                "WHERE schemaname = 'millrace_c'")[0][0]
    assert after - before < 30, "pages of indexes"
    assert append(session, "b-2", "often", condition=unless(query, head(session, query)))


def test_an_uncommitted_message_of_message_db_is_waited_for(connect):
    writer, session, watcher = connect(), connect(), connect()
    query = tagged("t")
    sql(watcher, "SELECT millrace.install_message_db()")
    for each in (writer, session, watcher):
        sql(each, "SET millrace.namespace = default")
    sql(watcher, "SELECT millrace.index_tags()")
    sql(writer, "BEGIN")
    sql(writer, "SELECT message_store.write_message(gen_random_uuid()::text, 'x-1', 'T', '{}', '{\"tags\": [\"t\"]}')")
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(append, session, "a-1", "t", condition=unless(query))
        wait_until(is_waiting(watcher, session), "a wait")
        assert append(watcher, "a-2", "u", condition=unless(tagged("u"))), "another tag waits for nothing"
        sql(writer, "COMMIT")
        assert outcome.result() is None


def test_an_uncommitted_row_by_hand_is_waited_for(connect):
    writer, session, watcher = connect(), connect(), connect()
    query = tagged("t")
    sql(writer, "BEGIN")
    sql(writer, "INSERT INTO millrace_c.messages (stream_name, position, type, data, metadata, id, global_position) "
        "SELECT 'x-1', 0, 'T', '{}', '{\"tags\": [\"t\"]}', gen_random_uuid(), "
        "nextval('millrace_c.messages_global_position_seq')")
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(append, session, "a-1", "t", condition=unless(query))
        wait_until(is_waiting(watcher, session), "a wait")
        assert append(watcher, "a-2", "u", condition=unless(tagged("u"))), "another tag waits for nothing"
        sql(writer, "COMMIT")
        assert outcome.result() is None


def test_requests_of_one_batch_know_of_each_other(connect):
    """append_streams() is one request; a batch of the server's has many, each with its verdict."""
    session = connect()
    positions = sql(session, """SELECT stream, "position" FROM millrace.append_streams(ARRAY[
        ('a-1', ARRAY[('T', '{}', '{"tags": ["t"]}', NULL)]::millrace.new_message[], NULL),
        ('a-2', ARRAY[('T', '{}', '{"tags": ["t"]}', NULL)]::millrace.new_message[], NULL)]::millrace.stream_append[],
        condition => '{"failIfEventsMatch": {"items": [{"tags": ["t"]}]}}')""")
    assert positions == [("a-1", 0), ("a-2", 0)], "its own messages break no condition of it"


def string(text):
    return struct.pack(">I", len(text.encode())) + text.encode() + b"\0"


def request(stream, *tags, condition=None, id=None):
    """One message for a stream of namespace c, in the batch format."""
    message = (id or uuid.uuid4()).bytes + string("T") + string("{}") + string(json.dumps({"tags": list(tags)}))
    head = struct.pack(">I", 1 | (condition is not None) << 31) + (string(condition) if condition else b"")
    return string("c") + head + string(stream) + struct.pack(">qI", -2**63, 1) + message


def append_batch(session, *requests, waits=False):
    frame = struct.pack(">BI", 3 if waits else 1, len(requests)) + b"".join(requests)
    return sql(session, "SELECT sqlstate, expected, actual, stream, type FROM millrace.append_batch(%s)", frame)


def test_a_refusal_in_a_batch_says_what_matches(connect):
    session = connect()
    position = append(session, "a-1", "t", type="First")
    assert append_batch(session, request("b-1", condition=unless(tagged("t"))),
                        request("b-2", "u", condition=unless(tagged("t"), position)),
                        request("b-3", condition=unless(tagged("u"), position))) == [
        (REFUSED, 0, position, "a-1", "First"), ("00000", None, None, None, None),
        (REFUSED, position, position + 1, "b-2", "T")]


@pytest.mark.parametrize("types", [True, False])
def test_a_long_look_is_not_taken_while_a_batch_waits(connect, types):
    """It ends after 1,000 entries: by itself the request is looked at before any lock is taken."""
    session = connect()
    if not types:
        sql(session, "DROP INDEX millrace_c.messages_tags")
        sql(session, "SELECT millrace.index_tags(types => false)")
    sql(session, """SELECT count(millrace.append_messages('a-' || n, ARRAY(SELECT
                    ('T', '{}', jsonb_build_object('tags', ARRAY[chr(97 + m % 2)]), NULL)::millrace.new_message
                    FROM generate_series(1, 1000) AS m))) FROM generate_series(1, 3) AS n""")
    long = tagged("a", "b") if types else tagged("a", types=["U"])
    assert [row[0] for row in append_batch(
        session, request("b-1", condition=unless(long)), request("b-2", "u", condition=unless(tagged("u"))),
        request("b-3"), request("b-4", condition=unless(long, 2900)))] == ["55P03", "00000", "00000", "00000"]
    assert append_batch(session, request("b-1", condition=unless(long)), waits=True)[0][0] == "00000"
    assert append_batch(session, request("b-1", "a", "b", condition=unless(long)), waits=True)[0][0] == "00000"
    assert append(session, "b-1", condition=unless(tagged("a", "b"))) is None


@pytest.mark.parametrize("end", ["COMMIT PREPARED 'p'", "ROLLBACK PREPARED 'p'"])
def test_a_prepared_transaction_is_waited_for(folder, end):
    cluster = Cluster(folder, ["max_prepared_transactions=2"]).create().start()
    try:
        first, second, watcher = [cluster.connect() for _ in range(3)]
        sql(first, "CREATE EXTENSION millrace")
        sql(first, "SELECT millrace.create_namespace('c')")
        sql(first, "SELECT millrace.index_tags('c')")
        for session in (first, second, watcher):
            sql(session, "SET millrace.namespace = c")
        sql(first, "BEGIN")
        append(first, "a-1", "t")
        sql(first, "PREPARE TRANSACTION 'p'")
        with ThreadPoolExecutor(1) as pool:
            outcome = pool.submit(append, second, "a-2", "t", condition=unless(tagged("t")))
            wait_until(is_waiting(watcher, second), "a wait")
            sql(watcher, end)
            assert (outcome.result() is None) == end.startswith("COMMIT")
    finally:
        cluster.stop("immediate")


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_an_old_snapshot_judges_by_what_is_committed(connect, level):
    old, other = connect(), connect()
    sql(old, f"BEGIN ISOLATION LEVEL {level}")
    sql(old, "SELECT 1 FROM millrace.read_all()")
    append(other, "a-1", "t")
    assert append(old, "a-2", "t", condition=unless(tagged("t"))) is None
    sql(old, "ROLLBACK")


def test_calls_of_many_chunks_with_crossed_conditions(connect):
    """Each goes in in parts, and each asks for what the other has in its last part."""
    one, two = connect(), connect()
    call = """SELECT count(*) FROM millrace.append_messages(%s, ARRAY(SELECT
              ('T', '{}', CASE n WHEN 2500 THEN %s::jsonb END, NULL)::millrace.new_message
              FROM generate_series(1, 2500) AS n), condition => %s::jsonb)"""

    def run(session, stream, tag, query, ready):
        ready.wait()
        try:
            sql(session, call, stream, json.dumps({"tags": [tag]}), unless(query))
            return True
        except psycopg2.Error as error:
            assert error.pgcode == REFUSED, error
            return False

    for n in range(10):
        ready = threading.Barrier(2)
        with ThreadPoolExecutor(2) as pool:
            outcomes = [pool.submit(run, one, f"a-{n}", f"a{n}", tagged(f"b{n}"), ready),
                        pool.submit(run, two, f"b-{n}", f"b{n}", tagged(f"a{n}"), ready)]
            won = [outcome.result() for outcome in outcomes]
        assert won.count(True) == 1, won


def test_a_wait_holds_no_stream(connect):
    open_one, waiting, watcher = connect(), connect(), connect()
    sql(open_one, "BEGIN")
    append(open_one, "a-1", "t")
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(append, waiting, "b-1", "t", condition=unless(tagged("t")))
        wait_until(is_waiting(watcher, waiting), "a wait")
        try:
            sql(watcher, "SET lock_timeout = '20s'")
            assert append(watcher, "b-1", "u")
        finally:
            sql(open_one, "COMMIT")
        assert outcome.result() is None


def test_a_wait_is_in_no_vacuums_way(connect):
    """Whoever waits for a transaction holds no page: VACUUM would wait for that, and others for VACUUM."""
    open_one, waiting, watcher = connect(), connect(), connect()
    for n in range(20):
        append(watcher, f"a-{n}", "t")
    after = head(watcher, tagged("t"))
    sql(watcher, "DELETE FROM millrace_c.messages WHERE global_position <= %s - 1", after)
    sql(open_one, "BEGIN")
    append(open_one, "b-1", "t")
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(append, waiting, "b-2", "t", condition=unless(tagged("t"), after))
        wait_until(is_waiting(watcher, waiting), "a wait")
        try:
            sql(watcher, "SET statement_timeout = '60s'")
            sql(watcher, "VACUUM (FREEZE, INDEX_CLEANUP ON) millrace_c.messages")
        finally:
            sql(open_one, "COMMIT")
        assert outcome.result() is None


@pytest.mark.parametrize("tags", [[f"t{n}" for n in range(65)], ["x" * 501, "t1"], ["x" * 100_000, "t1"], ["", "t1"]])
def test_tags_beyond_what_the_api_takes_beside_metadata_are_found(connect, tags):
    session = connect()
    position = append(session, "a-1", *tags)
    query = tagged(tags[-1])
    assert sql(session, "SELECT global_position FROM millrace.read_query(%s)", json.dumps(query)) == [(position,)]
    assert append(session, "b-1", condition=unless(query)) is None


def test_an_index_that_is_younger_than_the_snapshot_is_not_read(connect):
    """It lacks the old version of a message that was changed before."""
    old, other = connect(), connect()
    sql(other, "DROP INDEX millrace_c.messages_tags")
    append(other, "a-1", "t")
    sql(old, "BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert sql(old, "SELECT count(*) FROM millrace.read_all()") == [(1,)]
    sql(other, "UPDATE millrace_c.messages SET metadata = NULL")
    assert sql(other, "SELECT millrace.index_tags()") == [(True,)]
    with pytest.raises(psycopg2.Error) as refused:
        sql(old, "SELECT count(*) FROM millrace.read_query(%s)", json.dumps(tagged("t")))
    assert refused.value.pgcode == "55000"
    sql(old, "ROLLBACK")
    assert sql(old, "SELECT count(*) FROM millrace.read_query(%s)", json.dumps(tagged("t"))) == [(0,)]


def test_a_request_of_the_same_batch_is_no_retry_with_other_tags(connect):
    session, id = connect(), uuid.uuid4()
    assert [row[0] for row in append_batch(
        session, request("a-1", "t", id=id), request("a-1", "u", id=id), request("a-1", "t", id=id))] == [
            "00000", "MR002", "00000"]
    assert append_batch(session, request("a-1", "u", id=id))[0][0] == "MR002"


def test_redactions_that_keep_the_tags_break_nothing(connect):
    """Between an old version of a row and its new one a look at everything that is there may see neither."""
    session, other = connect(), connect()
    append(session, "a-1", "t")
    stop = threading.Event()

    def redact():
        while not stop.is_set():
            sql(other, "UPDATE millrace_c.messages SET data = jsonb_build_object('n', random())")

    thread = threading.Thread(target=redact)
    thread.start()
    try:
        for n in range(2000):
            assert append(session, "b-1", condition=unless(tagged("t"))) is None, n
    finally:
        stop.set()
        thread.join()
    check_index(session)


def pages_for(session, statement, *arguments):
    """How many pages the statement looks at."""
    plan = sql(session, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement, *arguments)[0][0][0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


@pytest.mark.parametrize("query", [tagged("t"), tagged("t", "u"), tagged("t", types=["T"]), tagged(types=["T"]),
                                   {"all": True}])
@pytest.mark.parametrize("end", ["deleted", "rolled back"])
def test_dead_messages_are_looked_at_once(connect, query, end):
    """After a sweep the entries of what is gone stay until VACUUM comes: each is marked by whoever meets it first."""
    session = connect()
    append(session, "a-1", "x", type="X")
    sql(session, "BEGIN")
    sql(session, """SELECT count(millrace.append_messages('a-' || n, ARRAY(SELECT
                    ('T', '{}', '{"tags": ["t", "u"]}', NULL)::millrace.new_message FROM generate_series(1, 1000))))
                    FROM generate_series(2, 6) AS n""")
    sql(session, "COMMIT" if end == "deleted" else "ROLLBACK")
    sql(session, "DELETE FROM millrace_c.messages WHERE type = 'T'")
    on_condition = "SELECT millrace.append('b-1', 'X', '{}', condition => %s)", unless(query, 1)
    first = pages_for(session, *on_condition)
    sql(session, "DELETE FROM millrace_c.messages WHERE stream_name = 'b-1'")
    second = pages_for(session, *on_condition)
    assert second < min(100, first / 2) and first >= 100, (first, second)
    assert pages_for(session, "SELECT count(*) FROM millrace.read_query(%s, 2)", json.dumps(query)) < 100
    assert append(session, "b-2", "t", "u", condition=unless(tagged("t")))
    assert append(session, "b-2", "t", condition=unless(query, 1)) is None, "what is there is found all the same"


def test_what_an_old_snapshot_still_sees_is_not_dead(connect):
    old, session = connect(), connect()
    for n in range(100):
        append(session, "a-1", "t")
    query = json.dumps(tagged("t"))
    sql(old, "BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert sql(old, "SELECT count(*) FROM millrace.read_query(%s)", query) == [(100,)]
    sql(session, "DELETE FROM millrace_c.messages")
    for _ in range(2):
        assert append(session, "a-2", condition=unless(tagged("t")))
        assert sql(session, "SELECT count(*) FROM millrace.read_query(%s)", query) == [(0,)]
    assert sql(old, "SELECT count(*) FROM millrace.read_query(%s)", query) == [(100,)]


def test_a_serializable_read_by_a_query_counts_as_one(connect):
    sessions = connect(), connect()
    for each in sessions:
        sql(each, "BEGIN ISOLATION LEVEL SERIALIZABLE")
        head(each, tagged("t"))
    with pytest.raises(psycopg2.Error) as failed:
        for number, each in enumerate(sessions):
            append(each, f"s-{number}", "t")
            sql(each, "COMMIT")
    assert failed.value.pgcode == "40001"
