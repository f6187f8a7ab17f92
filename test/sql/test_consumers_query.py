"""Consumers of what matches a query over types and tags: as those of a category, and by the index of tags."""
import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from store import Cluster, sql, temporary_folder

A = {"items": [{"tags": ["a"]}]}


@pytest.fixture(scope="module")
def postgres():
    cluster = Cluster(temporary_folder() + "/pg", ["autovacuum=off"]).create().start()
    sql(cluster.connect(), "CREATE EXTENSION millrace")
    yield cluster
    cluster.stop("immediate")


@pytest.fixture
def store(postgres):
    """A connection to a namespace `n` that has the index of tags; others() makes more."""
    made = []

    def others():
        made.append(postgres.connect())
        sql(made[-1], "SELECT set_config('millrace.namespace', 'n', false)")
        return made[-1]

    connection = postgres.connect()
    sql(connection, "SELECT millrace.create_namespace('n'), millrace.index_tags('n')")
    connection = others()
    yield connection, others
    for each in made:
        each.close()
    sql(postgres.connect(), "SELECT millrace.drop_namespace('n')")


def create(connection, query=A, **options):
    named = "".join(f", {name} => %s" for name in options)
    return sql(connection, f"SELECT millrace.create_consumer('c', query => %s{named})", json.dumps(query),
               *options.values())[0][0]


def append(connection, stream, *tags, type="T"):
    sql(connection, "SELECT millrace.append(%s, %s, '{}', %s)", stream, type, json.dumps({"tags": list(tags)}))


def next_claim(connection, most=100):
    """Returns the claim's number, None when there is none, and its messages: (stream, position, attempt)."""
    rows = sql(connection, "SELECT claim, stream_name, position, attempt FROM millrace.consumer_next('c', %s)"
               " ORDER BY global_position", most)
    return (rows[0][0] if rows else None), [row[1:] for row in rows]


def settle(connection, claim, *failed, **more):
    sql(connection, "SELECT millrace.consumer_settle('c', %s, %s)", claim,
        json.dumps([{"stream": stream, "position": position, **more} for stream, position in failed]))


def refused(connection, *statement):
    with pytest.raises(psycopg2.Error) as error:
        sql(connection, *statement)
    return error.value.pgcode, str(error.value)


# Bad input

BAD = [("[]", "22023"), ("{}", "22023"), ('{"items":[]}', "22023"), ('{"items":[{}]}', "22023"), ("null", "22023"),
       ('{"items":[{"tags":[7]}]}', "22023"), ('{"items":[{"tags":[""]}]}', "MR006"), ('{"all":false}', "22023"),
       (json.dumps({"items": [{"tags": ["x" * 2001]}]}), "MR007"),
       (json.dumps({"items": A["items"] * 101}), "MR009")]


@pytest.mark.parametrize("query,code", BAD, ids=range(len(BAD)))
def test_what_is_no_query_is_refused_and_no_consumer_is_made(store, query, code):
    connection, _ = store
    found, text = refused(connection, "SELECT millrace.create_consumer('c', query => %s)", query)
    assert found == code and "query" in text
    assert sql(connection, "SELECT count(*) FROM millrace.consumer_status") == [(0,)]


@pytest.mark.parametrize("other", ["category", "stream"])
def test_a_query_stands_in_place_of_a_category_or_a_stream(store, other):
    code, text = refused(store[0], f"SELECT millrace.create_consumer('c', {other} => 'x', query => %s)", json.dumps(A))
    assert code == "MR009" and "query" in text and '"x"' in text


def test_a_namespace_without_the_index_is_refused_but_for_all_messages(postgres):
    connection = postgres.connect()
    sql(connection, "SELECT millrace.create_namespace('plain'), set_config('millrace.namespace', 'plain', false)")
    code, text = refused(connection, "SELECT millrace.create_consumer('c', query => %s)", json.dumps(A))
    assert code == "MR020" and "millrace.index_tags" in text
    assert create(connection, {"all": True})
    append(connection, "s-1")
    assert next_claim(connection)[1] == [("s-1", 0, 1)]
    sql(connection, "SELECT millrace.drop_namespace('plain')")


def test_the_same_again_is_no_error_and_another_query_is(store):
    connection, _ = store
    assert create(connection) is True
    assert create(connection) is False
    for other in ("'{\"items\":[{\"tags\":[\"b\"]}]}'", "NULL"):
        code, text = refused(connection, f"SELECT millrace.create_consumer('c', query => {other})")
        assert code == "MR017" and "query" in text
    assert sql(connection, "SELECT query, category, stream FROM millrace.consumer_status") == [(A, None, None)]


# What it reads

def test_each_stream_in_order_with_failures_parking_and_what_does_not_match_passed_over(store):
    connection, others = store
    create(connection, options='{"maxAttempts": 1}')
    for n in range(6):
        append(connection, "s-1", *"ab"[n % 2])
        append(connection, "s-2", "b", "a")
    first, messages = next_claim(connection, 3)
    assert messages == [("s-1", 0, 1), ("s-2", 0, 1), ("s-2", 1, 1)]
    append(connection, "s-3", "a")
    second, messages = next_claim(others())
    assert messages == [("s-3", 0, 1)], "streams in a claim are nobody else's"
    settle(connection, first, ("s-1", 0), park=True)
    settle(connection, second)
    third, messages = next_claim(connection)
    assert messages == [("s-2", n, 1) for n in range(2, 6)]
    settle(connection, third, ("s-2", 3), delayMs=0)
    claim, messages = next_claim(connection)
    assert messages == [("s-2", 3, 2)]
    settle(connection, claim)
    claim, messages = next_claim(connection)
    assert messages == [("s-2", 4, 1), ("s-2", 5, 1)]
    settle(connection, claim)
    assert sql(connection, "SELECT lag, parked FROM millrace.consumer_status") == [(0, 1)]
    sql(connection, "SELECT millrace.consumer_unpark('c', 's-1')")
    claim, messages = next_claim(connection)
    assert [place[:2] for place in messages] == [("s-1", 0)] or messages == [("s-1", n, 1) for n in (0, 2, 4)]
    settle(connection, claim)
    claim, rest = next_claim(connection)
    assert [place[:2] for place in messages + rest] == [("s-1", n) for n in (0, 2, 4)]


def test_types_and_correlation_narrow_it(store):
    connection, _ = store
    create(connection, types=["T", "U"], correlation="cause")
    for type in "TUV":
        for cause in ("cause-1", "other-1"):
            for tag in "ab":
                sql(connection, "SELECT millrace.append('s-1', %s, '{}', %s)", type,
                    json.dumps({"tags": [tag], "correlationStreamName": cause}))
    assert next_claim(connection)[1] == [("s-1", 0, 1), ("s-1", 4, 1)]


def test_in_the_order_of_all_and_by_hand(store):
    connection, others = store
    create(connection, ordering="all")
    for n in range(4):
        append(connection, f"s-{n}", "a")
        append(connection, "s-9", "b")
    claim, messages = next_claim(connection, 3)
    assert messages == [(f"s-{n}", 0, 1) for n in range(3)] and next_claim(others())[0] is None
    settle(connection, claim, ("s-1", 0), delayMs=0)
    claim, messages = next_claim(connection)
    assert messages == [("s-1", 0, 2)]
    settle(connection, claim)
    settle(connection, next_claim(connection)[0])
    assert next_claim(connection)[1] == [("s-3", 0, 1)]


# In doubt

@pytest.mark.parametrize("how", ["commit", "rollback"])
def test_a_match_in_doubt_holds_it_and_nothing_else_does(store, how):
    connection, others = store
    create(connection)
    no_match, match = others(), others()
    for each, tag in ((no_match, "b"), (match, "a")):
        each.autocommit = False
        append(connection, "s-1", "a")
        append(each, f"open-{tag}", tag)
    append(connection, "s-1", "a")
    claim, messages = next_claim(connection)
    assert messages == [("s-1", 0, 1), ("s-1", 1, 1)]
    settle(connection, claim)
    assert next_claim(connection)[0] is None
    getattr(match, how)()
    want = [("open-a", 0, 1)] if how == "commit" else []
    claim, messages = next_claim(connection)
    assert messages == [*want, ("s-1", 2, 1)]
    settle(connection, claim)
    getattr(no_match, how)()
    append(connection, "s-1", "a")
    assert next_claim(connection)[1] == [("s-1", 3, 1)]


# The index goes

def test_without_its_index_it_gives_nothing_and_says_so_and_later_goes_on(store):
    connection, others = store
    create(connection)
    sql(connection, "SELECT millrace.create_consumer('plain', 's')")
    for _ in range(3):
        append(connection, "s-1", "a")
        append(connection, "s-2", "b")
    claim, messages = next_claim(connection, 1)
    ((index,),) = sql(connection, "SELECT indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON"
                      " c.oid = indexrelid JOIN pg_am a ON a.oid = relam WHERE amname <> 'btree'")
    sql(others(), f"DROP INDEX {index}")
    append(connection, "s-3", "a")
    code, text = refused(connection, "SELECT * FROM millrace.consumer_next('c')")
    assert code == "MR020" and "millrace.index_tags" in text
    settle(connection, claim)
    status = "SELECT name, lag, in_flight, query IS NULL FROM millrace.consumer_status ORDER BY name"
    assert sql(connection, status) == [("c", 3, 0, False), ("plain", 7, 0, True)]
    sql(connection, "SELECT millrace.consumer_pause('c'), millrace.consumer_resume('c')")
    sql(connection, "SELECT millrace.index_tags('n')")
    assert next_claim(connection)[1] == [("s-1", 1, 1), ("s-1", 2, 1), ("s-3", 0, 1)]
    assert sql(connection, status)[0] == ("c", 3, 3, False)
    sql(connection, f"DROP INDEX {index}")
    sql(connection, "SELECT millrace.drop_consumer('c')")


# Under a load

def test_members_beside_writers_have_each_match_once_and_in_order(store):
    connection, others = store
    query = {"items": [{"tags": ["a"], "types": ["T"]}, {"tags": ["b", "c"]}]}
    create(connection, query)
    stop, written, got, lock = threading.Event(), threading.Event(), [], threading.Lock()

    def write(number, own):
        rng = random.Random(number)
        own.autocommit = False
        while not stop.is_set():
            for _ in range(rng.randrange(1, 4)):
                tags = rng.sample("abc", rng.randrange(4))
                append(own, f"s-{number}{rng.randrange(9)}", *tags, type=rng.choice("TU"))
            getattr(own, "commit" if rng.random() < 0.8 else "rollback")()

    def work(number, own):
        rng, idle = random.Random(100 + number), 0
        while idle < 3:
            claim, messages = next_claim(own, rng.randrange(1, 20))
            idle = idle + 1 if claim is None and written.is_set() else 0
            if claim is None:
                continue
            at = rng.randrange(len(messages) + 1)
            failed = messages[at:at + 1]
            done = [place[:2] for n, place in enumerate(messages) if not (
                failed and place[0] == failed[0][0] and n >= at)]
            with lock:
                got.extend(done)
            settle(own, claim, *[place[:2] for place in failed], delayMs=0)

    with ThreadPoolExecutor(7) as pool:
        writers = [pool.submit(write, n, others()) for n in range(3)]
        workers = [pool.submit(work, n, others()) for n in range(4)]
        stop.wait(4)
        stop.set()
        for each in writers:
            each.result(60)
        written.set()
        for each in workers:
            each.result(60)
    want = sql(connection, "SELECT stream_name, position FROM millrace.read_all(batch_size => -1)"
               " WHERE millrace.query_matches(%s, type, metadata)", json.dumps(query))
    assert len(want) > 100 and sorted(got) == sorted(want)
    for stream in {place[0] for place in want}:
        assert [p for s, p in got if s == stream] == sorted(p for s, p in want if s == stream)
    assert sql(connection, "SELECT lag FROM millrace.consumer_status") == [(0,)]


# Messages that are taken away

def test_messages_that_are_removed_are_passed_over(store):
    """Those of a claim, those that are to come, and those of a stream that goes on above them."""
    connection, _ = store
    for n in range(4):
        append(connection, "s", "a")
        append(connection, "t", *["a"][:n % 2])
    create(connection)
    claim, messages = next_claim(connection, 2)
    assert [each[:2] for each in messages] == [("s", 0), ("s", 1)]
    sql(connection, "SELECT millrace.truncate_stream('s', before => 3)")
    sql(connection, "SELECT millrace.remove_stream('t')")
    settle(connection, claim)
    claim, messages = next_claim(connection)
    assert [each[:2] for each in messages] == [("s", 3)]
    settle(connection, claim)
    assert next_claim(connection) == (None, [])
    append(connection, "t", "a")
    claim, messages = next_claim(connection)
    assert [each[:2] for each in messages] == [("t", 4)]
    settle(connection, claim)


def test_a_message_that_loses_its_tag_is_passed_over(store):
    connection, _ = store
    for _ in range(3):
        append(connection, "s", "a")
    create(connection)
    claim, messages = next_claim(connection, 1)
    assert messages[0][:2] == ("s", 0)
    sql(connection, "SELECT millrace.redact(ARRAY[m.id], keep_tags => false) FROM millrace.read_stream('s', 1, 1) AS m")
    settle(connection, claim)
    claim, messages = next_claim(connection)
    assert [each[:2] for each in messages] == [("s", 2)]
    settle(connection, claim)
