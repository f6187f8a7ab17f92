"""Policies of what is kept, and sweeps: what goes, and what stays."""
import threading

import pytest
from sweeping import APPEND, append, bring, global_positions, make_old, messages, policy, refused, sweep, sweep_all

from store import sql


# ---- policies -----------------------------------------------------------------------------------------------------


def test_what_policies_there_are(connection):
    policy(connection, "b", max_count=3, hold=["billing"])
    policy(connection, "a", max_age="30 days", forget=True)
    rows = sql(connection,
               "SELECT category, max_age::text, max_count, forget, hold, swept_at FROM millrace.retention()")
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
    ("MR009", "max_age 365251 days is out of range", "'a', max_age => '365251 days'"),
    ("MR009", "hold has NULL, which is no name of a consumer", "'a', max_count => 1, hold => '{x,NULL}'"),
    ("MR009", 'hold has "", which is no name of a consumer', "'a', max_count => 1, hold => ARRAY['']"),
    ("MR009", "hold has 101 names, at most 100 are allowed",
     "'a', max_count => 1, hold => array_fill('x'::text, ARRAY[101])"),
    ("MR009", "a policy has an age, a count or both", "'a', forget => true"),
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


def test_the_greatest_age_keeps_all_and_stops_no_sweep(connection, namespace):
    append(connection, "a-1")
    append(connection, "b-1")
    make_old(connection, namespace, 10)
    policy(connection, max_age="365250 days")
    policy(connection, "b", max_age="5 days")
    assert sweep_all(connection) == 1
    assert messages(connection) == [("a-1", 0)]


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


def test_a_step_passes_over_so_many_rows_that_are_gone(connection, namespace):
    sql(connection, f"ALTER TABLE millrace_{namespace}.messages SET (autovacuum_enabled = off)")
    append(connection, "a-1", 260)
    append(connection, "a-2", 3)
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    make_old(connection, namespace, 2)
    policy(connection, max_age="1 day")
    steps = [sweep(connection, 2) for _ in range(3)]
    assert [(step["removed"], step["more"]) for step in steps[:2]] == [(0, True), (0, True)]
    assert steps[2]["removed"] + sweep_all(connection, 2) == 3 and messages(connection) == []


def test_a_sweep_comes_behind_many_versions_of_one_message(connection, namespace):
    sql(connection, f"ALTER TABLE millrace_{namespace}.messages SET (autovacuum_enabled = off)")
    sql(connection, f"CREATE INDEX ON millrace_{namespace}.messages (time)")  # each version has entries of its own
    append(connection, "a-1", 2)
    for _ in range(120):
        make_old(connection, namespace, 2, '"position" = 0')
    make_old(connection, namespace, 2, '"position" = 1')
    policy(connection, max_age="1 day")
    assert sum(sweep(connection, 1)["removed"] for _ in range(10)) == 2


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
    sql(connection, "UPDATE millrace.sweeps SET begun_at = begun_at - interval '25 hours' WHERE namespace = %s",
        namespace)
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


def test_of_a_stream_that_came_back_the_newest_stay(connection, namespace):
    """Though its version is above them."""
    append(connection, "a-1", 5)
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    bring(connection, namespace, "a-1", range(3))
    policy(connection, max_count=2)
    assert sweep_all(connection) == 1
    assert messages(connection) == [("a-1", 1), ("a-1", 2)]
    assert sql(connection, "SELECT millrace.stream_version('a-1')") == [(4,)]


@pytest.mark.parametrize("rows", [1, 7, 10000])
def test_a_long_stream_goes_in_steps(connection, rows):
    append(connection, "a-1", 30)
    append(connection, "a-2", 3)
    policy(connection, max_count=1)
    assert sweep_all(connection, rows) == 31
    assert messages(connection) == [("a-1", 29), ("a-2", 2)]


def test_both_rules_of_a_policy_count_and_a_stream_of_both_counts_once(connection, namespace):
    append(connection, "a-1", 5)
    append(connection, "a-2", 1)
    make_old(connection, namespace, 10)
    append(connection, "a-2", 5)
    policy(connection, max_age="5 days", max_count=3)
    assert sweep(connection) == {"removed": 8, "streams": 2, "more": False, "held": None, "moved": []}
    assert messages(connection) == [("a-2", n) for n in (3, 4, 5)]


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


# ---- one sweep at a time, rights, crashes ------------------------------------------------------------------------


def test_of_two_sweeps_one_waits(swept, another):
    swept.autocommit = False
    assert sweep(swept, 4)["removed"] == 4
    other, done = another(), []
    step = "SELECT more FROM millrace.sweep_step(current_setting('millrace.namespace'), 4, false, false)"
    assert sql(other, step) == [(None,)]
    thread = threading.Thread(target=lambda: done.append(sweep(other, 4)["removed"]))
    thread.start()
    watcher = another()
    while not sql(watcher, "SELECT pid FROM millrace.blocked WHERE lock = 'retention'"):
        assert thread.is_alive()
    swept.commit()
    thread.join()
    # A commit lets its locks go one by one: a stream's may still be there, which leaves that to the next sweep.
    assert done in ([4], [0])
    assert done[0] + sweep_all(other) + sweep_all(other) == 6


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
    refused(swept, "42501", "SELECT millrace.sweep_category(%s, 'a', 0, now(), NULL, false, true, '{}', 100, 100)",
            namespace)
    refused(swept, "42501", "SELECT millrace.set_retention('a', max_count => 1)")
    for table in ("removals", "retention", "sweeps"):
        for statement in ("SELECT FROM millrace.%s", "DELETE FROM millrace.%s"):
            refused(swept, "42501", statement % table)
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
