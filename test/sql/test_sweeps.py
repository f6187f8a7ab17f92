"""Policies of what is kept, and sweeps: what goes, what stays, and who holds it."""
import json
import threading

import psycopg2
import pytest

from store import new_id, sql

APPEND = 'SELECT "position", global_position FROM millrace.append(%s, %s, %s, expected_version => %s)'
SWEEP = "SELECT removed, streams, more, held_by, held_position, moved FROM millrace.sweep(max_rows => %s, forced => %s)"


@pytest.fixture(scope="module")
def database(shared_cluster):
    connection = shared_cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    yield shared_cluster
    connection.close()


@pytest.fixture
def namespace():
    return "n" + new_id().replace("-", "")


@pytest.fixture
def another(database, namespace):
    """Makes more sessions of the namespace."""
    connections = []

    def make():
        connections.append(database.connect())
        sql(connections[-1], "SELECT set_config('millrace.namespace', %s, false)", namespace)
        return connections[-1]

    yield make
    for each in connections:
        each.close()


@pytest.fixture
def connection(another, namespace):
    connection = another()
    sql(connection, "SELECT millrace.create_namespace(%s)", namespace)
    return connection


def append(connection, stream, count=1, expected=None):
    return [sql(connection, APPEND, stream, "T", "{}", expected)[0] for _ in range(count)]


def make_old(connection, namespace, days, where="true"):
    sql(connection, f"UPDATE millrace_{namespace}.messages SET time = time - interval '1 day' * {days} WHERE {where}")


def messages(connection, category="a"):
    return [(row[0], row[1]) for row in sql(
        connection, 'SELECT stream_name, "position" FROM millrace.read_category(%s, 1, -1)', category)]


def global_positions(connection, category="a"):
    return [row[0] for row in sql(connection, "SELECT global_position FROM millrace.read_category(%s, 1, -1)",
                                  category)]


def sweep(connection, rows=10000, forced=False):
    """One step."""
    removed, streams, more, held_by, held, moved = sql(connection, SWEEP, rows, forced)[0]
    return {"removed": removed, "streams": streams, "more": more, "held": (held_by, held) if held_by else None,
            "moved": moved}


def sweep_all(connection, rows=10000, forced=False):
    removed = 0
    while True:
        step = sweep(connection, rows, forced)
        removed += step["removed"]
        if not step["more"]:
            return removed


def refused(connection, sqlstate, query, *parameters):
    with pytest.raises(psycopg2.Error) as caught:
        sql(connection, query, *parameters)
    assert caught.value.pgcode == sqlstate, caught.value
    return caught.value.diag


def policy(connection, category="a", **options):
    names = "".join(f", {name} => %s" for name in options)
    sql(connection, f"SELECT millrace.set_retention(%s{names})", category, *options.values())


# ---- policies -----------------------------------------------------------------------------------------------------


def test_what_policies_there_are(connection):
    policy(connection, "b", max_count=3, hold=["billing"])
    policy(connection, "a", max_age="30 days", forget=True)
    rows = sql(connection, "SELECT category, max_age::text, max_count, forget, hold, swept_at FROM millrace.retention()")
    assert rows == [("a", "30 days", None, True, [], None), ("b", None, 3, False, ["billing"], None)]
    policy(connection, "a", max_count=1)
    policy(connection, "b")
    rows = sql(connection, "SELECT category, max_age, max_count, forget FROM millrace.retention()")
    assert rows == [("a", None, 1, False)]


@pytest.mark.parametrize("sqlstate, text, arguments", [
    ("MR005", "category must not be NULL", "NULL, max_count => 1"),
    ("MR006", "category must not be empty", "'', max_count => 1"),
    ("MR007", "category is too long: 2001 bytes, at most 2000 are allowed", "repeat('x', 2001), max_count => 1"),
    ("MR009", 'category "a-1" is none: it has a "-"', "'a-1', max_count => 1"),
    ("MR009", "max_count 0 is out of range", "'a', max_count => 0"),
    ("MR009", "max_age 00:00:00 is out of range", "'a', max_age => '0'"),
    ("MR009", "max_age -00:00:01 is out of range", "'a', max_age => '-1 s'"),
    ("MR009", "max_age 100001 years is out of range", "'a', max_age => '100001 years'"),
    ("MR009", "hold has NULL, which is no name of a consumer", "'a', max_count => 1, hold => '{x,NULL}'"),
    ("MR009", 'hold has "", which is no name of a consumer', "'a', max_count => 1, hold => ARRAY['']"),
    ("MR009", "hold has 101 names, at most 100 are allowed", "'a', max_count => 1, hold => array_fill('x'::text, ARRAY[101])"),
    ("MR009", "a policy has max_age, max_count or both", "'a', forget => true"),
    ("MR003", 'namespace "none" does not exist', "'a', max_count => 1, namespace => 'none'"),
])
def test_a_policy_that_is_none(connection, sqlstate, text, arguments):
    assert refused(connection, sqlstate, f"SELECT millrace.set_retention({arguments})").message_primary == text


@pytest.mark.parametrize("rows", ["0", "-1", "1000001", "NULL"])
def test_a_step_of_no_size(connection, rows):
    assert "max_rows" in refused(connection, "MR009", f"SELECT millrace.sweep(max_rows => {rows})").message_primary


def test_steps_of_a_sweep_take_no_null(connection):
    for call in ("sweep_category(NULL, 'a', 0, NULL, 1, false, false, '{}', 1, 1)",
                 "sweep_category('x', 'a', 0, NULL, NULL, false, false, '{}', 1, 1)"):
        refused(connection, "MR005", f"SELECT millrace.{call}")


def test_nothing_is_removed_where_there_is_no_policy(connection):
    append(connection, "a-1", 3)
    assert sweep(connection) == {"removed": 0, "streams": 0, "more": False, "held": None, "moved": []}
    assert len(messages(connection)) == 3


def test_a_namespaces_policies_go_with_it(connection, namespace):
    policy(connection, max_count=1)
    sweep_all(connection)
    sql(connection, "SELECT millrace.drop_namespace(%s)", namespace)
    assert sql(connection, "SELECT count(*) FROM millrace.retention WHERE namespace = %s", namespace) == [(0,)]
    assert sql(connection, "SELECT count(*) FROM millrace.sweeps WHERE namespace = %s", namespace) == [(0,)]


# ---- by age ------------------------------------------------------------------------------------------------------


def test_what_is_older_goes(connection, namespace):
    append(connection, "a-1", 3)
    append(connection, "a-2", 2)
    append(connection, "b-1", 2)
    make_old(connection, namespace, 10)
    append(connection, "a-1", 2)
    policy(connection, max_age="5 days")
    assert sweep(connection) == {"removed": 5, "streams": 2, "more": False, "held": None, "moved": []}
    assert messages(connection) == [("a-1", 3), ("a-1", 4)]
    assert len(messages(connection, "b")) == 2
    assert sweep_all(connection) == 0


def test_the_version_of_a_stream_whose_last_message_expires_stays(connection, namespace):
    append(connection, "a-1", 5)
    make_old(connection, namespace, 10)
    policy(connection, max_age="5 days")
    assert sweep_all(connection) == 5
    refused(connection, "MR001", APPEND, "a-1", "T", "{}", -1)
    assert append(connection, "a-1", expected=4)[0][0] == 5


def test_a_policy_that_forgets_leaves_no_version(connection, namespace):
    append(connection, "a-1", 5)
    make_old(connection, namespace, 10)
    policy(connection, max_age="5 days", forget=True)
    assert sweep_all(connection) == 5
    assert append(connection, "a-1", expected=-1)[0][0] == 0


def test_nothing_above_the_first_message_that_is_young_goes(connection, namespace):
    """The clock was ahead for a while, or behind: what its message says counts, in the order of the positions."""
    append(connection, "a-1", 3)
    append(connection, "a-2", 3)
    make_old(connection, namespace, 10)
    make_old(connection, namespace, -20, "global_position = 2")
    policy(connection, max_age="5 days")
    assert sweep_all(connection) == 1
    assert global_positions(connection) == [2, 3, 4, 5, 6]
    make_old(connection, namespace, 20, "global_position = 2")
    make_old(connection, namespace, -1000, "global_position = 6")
    assert sweep_all(connection) == 4
    assert global_positions(connection) == [6]


def test_a_clock_that_was_set_back_keeps_what_is_left(connection, namespace):
    """What is young by the clock of now stays, though a sweep by the one of before has passed it."""
    append(connection, "a-1", 4)
    make_old(connection, namespace, 10)
    policy(connection, max_age="5 days")
    assert sweep(connection, 2)["removed"] == 2
    make_old(connection, namespace, -10)
    assert sweep_all(connection) == 0
    assert len(messages(connection)) == 2


def test_a_sweep_goes_in_steps_and_remembers_its_place(connection, namespace):
    for stream in range(10):
        append(connection, f"a-{stream}", 2)
    make_old(connection, namespace, 10)
    policy(connection, max_age="5 days")
    steps = []
    while not steps or steps[-1]["more"]:
        steps.append(sweep(connection, 3))
    assert [step["removed"] for step in steps] == [3, 3, 3, 3, 3, 3, 2]
    assert messages(connection) == []


def test_a_step_has_500_streams(connection, namespace):
    sql(connection, "SELECT count(millrace.append('a-' || n, 'T', '{}')) FROM generate_series(1, 1100) n")
    make_old(connection, namespace, 10)
    policy(connection, max_age="5 days")
    assert [sweep(connection)["streams"] for _ in range(3)] == [500, 500, 100]
    assert not sweep(connection)["more"]


def test_a_stream_that_is_written_is_left_alone_for_the_rest_of_the_sweep(connection, another, namespace):
    """Or there would be a hole in its middle: its first messages were met while it was locked, the others not."""
    for _ in range(3):
        append(connection, "a-1")
        append(connection, "a-2")
    make_old(connection, namespace, 10)
    policy(connection, max_age="5 days")
    writer = another()
    writer.autocommit = False
    append(writer, "a-1")
    first = sweep(connection, 2)
    assert (first["removed"], first["more"]) == (1, True)
    writer.rollback()
    while sweep(connection, 2)["more"]:
        assert messages(connection)[0] == ("a-1", 0)
    assert messages(connection) == [("a-1", 0), ("a-1", 1), ("a-1", 2)]
    assert sweep_all(connection, 2) == 3
    assert messages(connection) == []


def test_nothing_goes_that_readers_are_not_past(connection, another, namespace):
    """A reader of everything stops below what may still commit, and has not seen what is above."""
    append(connection, "a-1", 2)
    writer = another()
    writer.autocommit = False
    append(writer, "b-1")
    append(connection, "a-2", 2)
    make_old(connection, namespace, 10)
    policy(connection, max_age="5 days")
    assert sweep_all(connection) == 2
    assert messages(connection) == [("a-2", 0), ("a-2", 1)]
    writer.commit()
    assert sweep_all(connection) == 2


def test_what_is_imported_below_is_met_by_the_next_sweep_from_the_start(connection, namespace):
    append(connection, "a-1", 3)
    make_old(connection, namespace, 10)
    policy(connection, max_age="5 days")
    assert sweep_all(connection) == 3
    sql(connection, f"INSERT INTO millrace_{namespace}.messages (global_position, position, time, stream_name, type)"
        " VALUES (1, 0, '2000-01-01', 'a-9', 'T')")
    assert sweep_all(connection) == 0
    sql(connection, "UPDATE millrace.sweeps SET begun_at = begun_at - interval '25 hours' WHERE namespace = %s", namespace)
    assert sweep_all(connection) == 1


def test_a_policy_that_is_changed_while_a_sweep_runs_counts_from_the_next_step(connection, namespace):
    append(connection, "a-1", 10)
    make_old(connection, namespace, 10)
    policy(connection, max_age="5 days")
    assert sweep(connection, 4)["removed"] == 4
    policy(connection, max_count=4)
    assert sweep_all(connection, 4) == 2
    assert messages(connection) == [("a-1", n) for n in range(6, 10)]
    policy(connection)
    assert sweep_all(connection) == 0


def test_a_policy_that_another_session_is_changing_is_left_out(connection, another, namespace):
    append(connection, "a-1", 2)
    make_old(connection, namespace, 10)
    policy(connection, max_age="5 days")
    sweep(connection, 1)
    other = another()
    other.autocommit = False
    policy(other, max_age="50 days")
    assert sweep(connection) == {"removed": 0, "streams": 0, "more": False, "held": None, "moved": []}
    other.commit()
    assert sweep_all(connection) == 0


# ---- by count ----------------------------------------------------------------------------------------------------


def test_of_each_stream_the_newest_stay(connection):
    append(connection, "a-1", 5)
    append(connection, "a-2", 1)
    append(connection, "a-3", 3)
    append(connection, "b-1", 5)
    policy(connection, max_count=2)
    assert sweep(connection) == {"removed": 4, "streams": 2, "more": False, "held": None, "moved": []}
    assert messages(connection) == [("a-1", 3), ("a-1", 4), ("a-2", 0), ("a-3", 1), ("a-3", 2)]
    assert len(messages(connection, "b")) == 5
    append(connection, "a-2", 2)
    assert sweep_all(connection) == 1


@pytest.mark.parametrize("rows", [1, 7, 10000])
def test_a_long_stream_goes_in_steps(connection, rows):
    append(connection, "a-1", 30)
    append(connection, "a-2", 3)
    policy(connection, max_count=1)
    assert sweep_all(connection, rows) == 31
    assert messages(connection) == [("a-1", 29), ("a-2", 2)]


def test_both_rules_of_a_policy_count(connection, namespace):
    append(connection, "a-1", 5)
    make_old(connection, namespace, 10)
    append(connection, "a-1", 5)
    policy(connection, max_age="5 days", max_count=3)
    assert sweep_all(connection) == 7
    assert messages(connection) == [("a-1", n) for n in (7, 8, 9)]


def test_a_locked_stream_is_counted_by_the_next_sweep(connection, another):
    append(connection, "a-1", 5)
    append(connection, "a-2", 5)
    policy(connection, max_count=1)
    writer = another()
    writer.autocommit = False
    append(writer, "a-1")
    assert sweep_all(connection) == 4
    writer.rollback()
    assert sweep_all(connection) == 4


def test_sweeps_beside_sixteen_writers(connection, another, namespace):
    """max_count 1: no position twice, and the version of each stream is as many as were appended."""
    policy(connection, max_count=1)
    seen, errors, done = [], [], threading.Event()

    def write(number, session):
        try:
            for n in range(60):
                for position, global_position in append(session, f"a-{number % 4}"):
                    seen.append((number % 4, position, global_position))
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(error)

    def sweep_on(session):
        try:
            while not done.is_set():
                sweep(session)
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    writers = [threading.Thread(target=write, args=(n, another())) for n in range(16)]
    sweepers = [threading.Thread(target=sweep_on, args=(another(),)) for _ in range(2)]
    for thread in writers + sweepers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in sweepers:
        thread.join()
    assert not errors
    sweep_all(connection)
    assert len({(stream, position) for stream, position, _ in seen}) == 16 * 60
    assert len({global_position for _, _, global_position in seen}) == 16 * 60
    for stream in range(4):
        assert sql(connection, "SELECT millrace.stream_version(%s)", f"a-{stream}") == [(4 * 60 - 1,)]
    assert sorted(messages(connection)) == [(f"a-{n}", 239) for n in range(4)]


# ---- two namespaces ----------------------------------------------------------------------------------------------


def test_another_namespace_stays_byte_for_byte(connection, database, namespace):
    other = namespace + "b"
    sql(connection, "SELECT millrace.create_namespace(%s)", other)
    for each in (namespace, other):
        sql(connection, "SELECT set_config('millrace.namespace', %s, false)", each)
        append(connection, "a-1", 5)
        append(connection, "a-2", 5)
        make_old(connection, each, 10)
    dump = f"SELECT m::text, m.ctid, m.xmin, m.xmax FROM millrace_{other}.messages m ORDER BY 1"
    before = sql(connection, dump)
    sql(connection, "SELECT set_config('millrace.namespace', %s, false)", namespace)
    policy(connection, max_age="5 days", max_count=1)
    assert sweep_all(connection) == 10
    assert sql(connection, dump) == before
    assert sql(connection, "SELECT * FROM millrace.removals(%s)", other) == []
    assert sql(connection, f"SELECT count(*) FROM millrace_{other}.stream_floors") == [(0,)]


# ---- what was removed, for readers -------------------------------------------------------------------------------


def removed_to(connection, **arguments):
    """What a strict reader is told; None: nothing."""
    names = ", ".join(f'"{name}" => %s' for name in arguments)
    try:
        sql(connection, f"SELECT millrace.check_removals({names})", *arguments.values())
    except psycopg2.Error as error:
        assert error.pgcode == "MR022", error
        return json.loads(error.diag.message_detail)
    return None


def test_a_strict_reader_of_a_category(connection, namespace):
    """A consumer of Message DB's kind at 3, swept to 6: plain it goes on, strict it is told, once."""
    append(connection, "a-1", 6)
    append(connection, "b-1", 3)
    make_old(connection, namespace, 10)
    append(connection, "a-1", 3)
    policy(connection, max_age="5 days")
    sweep_all(connection)
    plain = sql(connection, "SELECT global_position FROM millrace.read_category('a', 3)")
    assert plain == [(10,), (11,), (12,)]
    told = removed_to(connection, category="a", position=3)
    assert told["removedTo"] == 6
    assert removed_to(connection, category="b", position=1) is None
    assert removed_to(connection, position=3) == told
    assert removed_to(connection, category="a", position=7) is None
    assert removed_to(connection, category="a", position=3, removals_seen=told["removalsSeen"]) is None
    make_old(connection, namespace, 10, "global_position = 10")
    sweep_all(connection)
    again = removed_to(connection, category="a", position=3, removals_seen=told["removalsSeen"])
    assert again["removedTo"] == 10 and again["removalsSeen"] > told["removalsSeen"]


def test_what_is_removed_below_what_a_reader_was_told_of_is_told_too(connection):
    """removals are numbered: a second one that reaches less far is another one."""
    append(connection, "a-1", 5)
    append(connection, "a-2", 5)
    sql(connection, "SELECT millrace.truncate_stream('a-2', 4)")
    told = removed_to(connection, category="a", position=1)
    assert told["removedTo"] == 9
    sql(connection, "SELECT millrace.truncate_stream('a-1', 3)")
    again = removed_to(connection, category="a", position=1, removals_seen=told["removalsSeen"])
    assert again["removedTo"] == 3


def test_a_strict_reader_of_a_stream(connection, namespace):
    append(connection, "a-1", 5)
    assert removed_to(connection, stream="a-1", position=0) is None
    sql(connection, "SELECT millrace.truncate_stream('a-1', 3)")
    assert removed_to(connection, stream="a-1", position=0) == {"removedTo": 2, "removalsSeen": 2}
    assert removed_to(connection, stream="a-1", position=2) == {"removedTo": 2, "removalsSeen": 2}
    assert removed_to(connection, stream="a-1", position=3) is None
    assert removed_to(connection, stream="a-1", position=0, removals_seen=2) is None
    assert removed_to(connection, stream="a-1", global_position=2) == {"removedTo": 2, "removalsSeen": 2}
    assert removed_to(connection, stream="a-1", global_position=4) is None
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    assert removed_to(connection, stream="a-1", position=3) == {"removedTo": 4, "removalsSeen": 4}
    assert removed_to(connection, stream="a-1", position=5) is None
    assert removed_to(connection, stream="a-2") is None


def test_a_strict_read_is_judged_by_its_own_snapshot(connection, another):
    """A cursor that was opened before a removal reads what it then saw, and is not told."""
    append(connection, "a-1", 3)
    reader = another()
    reader.autocommit = False
    sql(reader, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    assert len(messages(reader)) == 3
    sql(connection, "SELECT millrace.truncate_stream('a-1', 2)")
    assert removed_to(reader, category="a", position=1) is None
    assert removed_to(reader, stream="a-1") is None
    assert len(messages(reader)) == 3
    reader.commit()
    assert removed_to(reader, category="a", position=1)["removedTo"] == 2


def test_many_removals_are_folded(connection, namespace):
    """Into one that reaches as far, with the number of the last."""
    append(connection, "a-1", 150)
    policy(connection, max_count=1)
    told = None
    for n in range(5):
        sweep(connection, 2)
    told = removed_to(connection, category="a", position=1)
    while sweep(connection, 2)["more"]:
        pass
    rows = sql(connection, "SELECT from_position, to_position, streams FROM millrace.removals()")
    assert len(rows) < 100 and rows[0][0] == 1 and max(row[1] for row in rows) == 149
    assert removed_to(connection, category="a", position=1, removals_seen=told["removalsSeen"])["removedTo"] == 149


# ---- consumers ---------------------------------------------------------------------------------------------------


@pytest.fixture
def swept(connection, namespace):
    """Ten old messages, of two streams, and a policy."""
    for _ in range(5):
        append(connection, "a-1")
        append(connection, "a-2")
    make_old(connection, namespace, 10)
    policy(connection, max_age="5 days")
    return connection


def create(connection, name="billing", **options):
    names = "".join(f", {option} => %s" for option in options)
    sql(connection, f"SELECT millrace.create_consumer(%s{names})", name, *options.values())


def claim(connection, most=100, name="billing"):
    rows = sql(connection, 'SELECT claim, stream_name, "position", global_position FROM millrace.consumer_next(%s, %s)',
               name, most)
    return rows[0][0] if rows else None, [row[3] for row in rows]


def settle(connection, number, name="billing", failed=None):
    sql(connection, "SELECT millrace.consumer_settle(%s, %s, %s)", name, number, failed and json.dumps(failed))


def floor(connection, name="billing"):
    return sql(connection, "SELECT floor FROM millrace.consumer_status WHERE name = %s AND namespace ="
               " current_setting('millrace.namespace')", name)[0][0]


@pytest.mark.parametrize("options", [{"category": "a"}, {"stream": "a-1"}, {}, {"category": "a", "ordering": "manual"},
                                     {"category": "a", "types": ["None"]}])
def test_a_consumer_holds_what_it_has_not_dealt_with(swept, options):
    create(swept, **options)
    diag = refused(swept, "MR023", "SELECT millrace.sweep()")
    assert diag.message_primary == 'consumer "billing" holds the messages above global position 0'
    assert json.loads(diag.message_detail) == {"by": "billing", "position": 0}
    assert len(messages(swept)) == 10


def test_a_consumer_of_another_category_holds_nothing(swept):
    create(swept, category="b")
    create(swept, "other", stream="b-1")
    assert sweep_all(swept) == 10


def test_what_a_consumer_has_settled_goes(swept):
    create(swept, category="a")
    number, positions = claim(swept, 4)
    assert len(positions) == 4
    refused(swept, "MR023", "SELECT millrace.sweep()")
    settle(swept, number)
    step = sweep(swept)
    assert (step["removed"], step["held"], step["more"]) == (4, ("billing", 4), False)
    assert global_positions(swept) == [5, 6, 7, 8, 9, 10]
    settle(swept, claim(swept)[0])
    assert claim(swept) == (None, [])
    assert sweep_all(swept) == 6


def test_one_parked_stream_holds(swept):
    create(swept, category="a")
    number, _ = claim(swept)
    settle(swept, number, failed=[{"stream": "a-2", "position": 1, "park": True}])
    claim(swept)
    assert floor(swept) == 3
    assert sweep(swept)["held"] == ("billing", 3)
    assert global_positions(swept) == [4, 5, 6, 7, 8, 9, 10]
    sql(swept, "SELECT millrace.consumer_skip('billing', 'a-2', 1)")
    sql(swept, "SELECT millrace.consumer_unpark('billing')")
    while (number := claim(swept)[0]) is not None:
        settle(swept, number)
    assert sweep_all(swept) == 7


def test_a_consumer_that_is_not_there_but_named_holds_all(swept):
    policy(swept, max_age="5 days", hold=["archive"])
    assert json.loads(refused(swept, "MR023", "SELECT millrace.sweep()").message_detail) == {"by": "archive", "position": 0}
    create(swept, "archive", category="b")
    refused(swept, "MR023", "SELECT millrace.sweep()")
    sql(swept, "SELECT millrace.drop_consumer('archive')")
    create(swept, "archive", category="a")
    settle(swept, claim(swept, name="archive")[0], "archive")
    assert sweep(swept)["removed"] == 10
    sql(swept, "SELECT millrace.drop_consumer('archive')")
    append(swept, "a-1")
    namespace = sql(swept, "SELECT current_setting('millrace.namespace')")[0][0]
    make_old(swept, namespace, 10)
    refused(swept, "MR023", "SELECT millrace.sweep()")


def test_a_forced_sweep_moves_consumers_and_says_so(swept):
    create(swept, category="a")
    create(swept, "other", category="b")
    number, _ = claim(swept)
    settle(swept, number, failed=[{"stream": "a-2", "position": 1, "park": True},
                                  {"stream": "a-1", "position": 2, "error": "no"}])
    claim(swept, 1)
    append(swept, "a-1")
    append(swept, "a-2")
    step = sweep(swept, forced=True)
    assert (step["removed"], step["moved"], step["held"]) == (10, ["billing"], None)
    rows = sql(swept, "SELECT name, state, reason, parked FROM millrace.consumer_status WHERE namespace ="
               " current_setting('millrace.namespace') ORDER BY 1")
    assert rows == [("billing", "running", "a forced sweep removed messages that were not settled, up to global position 10",
                     0), ("other", "running", None, 0)]
    left = set()
    while (taken := claim(swept))[0] is not None:
        left |= set(taken[1])
        settle(swept, taken[0])
    assert left == {11, 12}
    assert claim(swept) == (None, [])
    assert floor(swept) == 12
    assert sweep_all(swept) == 0


@pytest.mark.parametrize("ordering", ["stream", "all"])
def test_a_claim_of_what_a_forced_sweep_removed_ends_like_any_other(swept, ordering):
    create(swept, category="a", ordering=ordering)
    number, positions = claim(swept, 6)
    append(swept, "a-1")
    assert sweep(swept, forced=True)["removed"] == 10
    settle(swept, number)
    number, positions = claim(swept)
    assert positions == [11]
    settle(swept, number)
    claim(swept)
    assert floor(swept) == 11


def test_by_count_a_consumer_holds_only_what_is_too_much(connection):
    create(connection, category="a")
    append(connection, "a-1", 3)
    settle(connection, claim(connection)[0])
    claim(connection)
    append(connection, "a-1", 3)
    append(connection, "a-2", 2)
    policy(connection, max_count=2)
    assert sweep(connection)["removed"] == 3
    diag = refused(connection, "MR023", "SELECT millrace.sweep()")
    assert json.loads(diag.message_detail) == {"by": "billing", "position": 3}
    settle(connection, claim(connection)[0])
    claim(connection)
    assert sweep_all(connection) == 1
    assert messages(connection) == [("a-1", 4), ("a-1", 5), ("a-2", 0), ("a-2", 1)]


@pytest.mark.parametrize("statement", [
    "SELECT millrace.create_consumer('new', category => 'a')",
    "SELECT millrace.create_consumer('new', stream => 'a-1')",
    "SELECT millrace.create_consumer('new')",
    "SELECT millrace.consumer_reset('billing')",
    "SELECT millrace.drop_consumer('billing')",
])
def test_nothing_goes_while_a_consumer_is_made_reset_or_dropped(swept, another, statement):
    create(swept, category="a", at_end=True)
    other = another()
    other.autocommit = False
    sql(other, statement)
    assert sweep_all(swept) == 0
    other.rollback()
    assert sweep_all(swept) == 10


def test_nothing_holds_a_sweep_but_what_concerns_its_category(swept, another):
    create(swept, "b", category="b")
    other = another()
    other.autocommit = False
    sql(other, "SELECT millrace.create_consumer('new', category => 'b')")
    sql(other, "SELECT millrace.consumer_reset('b')")
    assert sweep_all(swept) == 10


def test_a_consumer_that_is_made_waits_for_the_step(swept, another):
    swept.autocommit = False
    assert sweep(swept, 4)["removed"] == 4
    other, made = another(), []
    thread = threading.Thread(target=lambda: made.append(create(other, category="a")))
    thread.start()
    watcher = another()
    while not sql(watcher, "SELECT pid FROM millrace.blocked WHERE lock = 'retention'"):
        assert thread.is_alive()
    swept.commit()
    thread.join()
    swept.autocommit = True
    refused(swept, "MR023", "SELECT millrace.sweep()")


# ---- one sweep at a time, rights, crashes ------------------------------------------------------------------------


def test_of_two_sweeps_one_waits(swept, another):
    swept.autocommit = False
    assert sweep(swept, 4)["removed"] == 4
    other, done = another(), []
    assert sql(other, "SELECT more FROM millrace.sweep_step(current_setting('millrace.namespace'), 4, false, false)") == [(None,)]
    thread = threading.Thread(target=lambda: done.append(sweep(other, 4)["removed"]))
    thread.start()
    watcher = another()
    while not sql(watcher, "SELECT pid FROM millrace.blocked WHERE lock = 'retention'"):
        assert thread.is_alive()
    swept.commit()
    thread.join()
    assert done == [4]


def test_a_step_that_is_rolled_back_is_made_again(swept):
    swept.autocommit = False
    assert sweep(swept, 4)["removed"] == 4
    swept.rollback()
    swept.autocommit = True
    assert sweep(swept, 4)["removed"] == 4
    assert sweep_all(swept) == 6


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_sweep_needs_read_committed(swept, level):
    swept.autocommit = False
    sql(swept, f"SET TRANSACTION ISOLATION LEVEL {level}")
    refused(swept, "25001", "SELECT millrace.sweep()")
    swept.rollback()


def test_a_role_that_may_not_delete_does_not_sweep(swept, database, namespace):
    sql(swept, f"CREATE ROLE r{namespace} LOGIN")
    sql(swept, f"GRANT USAGE ON SCHEMA millrace_{namespace} TO r{namespace}")
    sql(swept, f"GRANT SELECT, INSERT ON millrace_{namespace}.messages TO r{namespace}")
    sql(swept, f"SET ROLE r{namespace}")
    refused(swept, "42501", "SELECT millrace.sweep()")
    refused(swept, "42501", "SELECT millrace.lock_sweep(%s, true)", namespace)
    refused(swept, "42501", "SELECT millrace.set_retention('a', max_count => 1)")
    sql(swept, "RESET ROLE")
    sql(swept, f"GRANT DELETE ON millrace_{namespace}.messages TO r{namespace}")
    sql(swept, f"GRANT SELECT ON millrace.retention TO r{namespace}")
    sql(swept, f"GRANT SELECT, INSERT, UPDATE ON millrace.sweeps TO r{namespace}")
    sql(swept, f"SET ROLE r{namespace}")
    assert sweep_all(swept) == 10
    sql(swept, "RESET ROLE")


def test_a_sweep_goes_on_after_a_crash_in_its_middle(folder, cluster):
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('default')")
    sql(connection, "SELECT count(millrace.append('a-' || n % 7, 'T', '{}')) FROM generate_series(1, 100) n")
    sql(connection, "UPDATE millrace_default.messages SET time = time - interval '10 days'")
    policy(connection, max_age="5 days")
    assert sweep(connection, 30)["removed"] == 30
    connection.autocommit = False
    assert sweep(connection, 30)["removed"] == 30
    cluster.stop("immediate")
    cluster.start()
    connection = cluster.connect()
    assert len(messages(connection)) == 70
    assert sweep_all(connection, 30) == 70
    assert sum(sql(connection, "SELECT millrace.stream_version(%s) + 1", f"a-{n}")[0][0] for n in range(7)) == 100
