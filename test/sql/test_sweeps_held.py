"""Sweeps, and who is not to miss what they remove: strict readers, and consumers."""
import json
import re
from concurrent.futures import ThreadPoolExecutor
import threading

import psycopg2
import pytest
from sweeping import append, global_positions, make_old, messages, policy, refused, sweep, sweep_all

from store import ROOT, make_synchronous, sql, wait_until


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
    assert removed_to(connection, category="a", position=6) == told
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


def test_what_is_removed_in_another_namespace_is_told_to_no_reader_of_this_one(connection, namespace):
    """Nor does it lift the head that this one has reached."""
    other = "m" + namespace
    append(connection, "a-1", 2)
    sql(connection, "SELECT millrace.create_namespace(%s)", other)
    sql(connection, "SELECT millrace.append('a-1', 'T', '{}', namespace => %s) FROM generate_series(1, 5)", other)
    sql(connection, "SELECT millrace.remove_stream('a-1', namespace => %s)", other)
    for arguments in ({"category": "a", "position": 1}, {"position": 1}, {"stream": "a-1"}):
        assert removed_to(connection, **arguments) is None, arguments
        assert removed_to(connection, **arguments, namespace=other)["removedTo"] >= 4, arguments
    assert sql(connection, "SELECT millrace.position_reached(3), millrace.position_reached(2)") == [(False, True)]
    sql(connection, "SELECT millrace.drop_namespace(%s)", other)


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


@pytest.mark.parametrize("size", ["", ", 1", ", 1000"])
def test_the_manuals_strict_read_is_told_where_nothing_is_left(connection, size):
    """Whichever of the two the planner would begin with."""
    read = re.search(r"^SELECT m.position FROM millrace.read_stream\('audit-1', 2\) m.*?;$",
                     (ROOT / "extension" / "README.md").read_text(), re.M | re.S).group()
    read = read.replace("('audit-1', 2)", f"('audit-1', 2{size})")
    append(connection, "audit-1", 4)
    assert len(sql(connection, read)) == (1 if size == ", 1" else 2)
    sql(connection, "SELECT millrace.remove_stream('audit-1')")
    refused(connection, "MR022", read)
    assert sql(connection, read.replace("\"position\" => 2", "\"position\" => 4")) == []


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


def test_what_went_wholly_is_judged_by_the_snapshot_too(connection, another):
    """Where the reader's snapshot has nothing of a stream, its floor is that of then."""
    def reader():
        session = another()
        session.autocommit = False
        sql(session, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT FROM millrace.read_all()")
        return session

    before = reader()
    append(connection, "a-1", 3)
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    removed = reader()
    append(connection, "a-1", 2)
    sql(connection, "SELECT millrace.remove_stream('a-1')")
    again = reader()
    sql(connection, "SELECT millrace.remove_stream('a-1', forget => true)")
    assert removed_to(before, stream="a-1") is None
    assert removed_to(removed, stream="a-1")["removedTo"] == 2
    assert removed_to(again, stream="a-1")["removedTo"] == 4
    assert removed_to(connection, stream="a-1") is None


@pytest.mark.parametrize("by", ["check_removals", "removals"])
def test_the_number_that_a_reader_was_told_is_given_to_no_other_removal_after_a_crash(lazy, by):
    """As servers sweep: a removal that is not on disk yet may be undone, and so may the step of the sequence."""
    connection, reader = lazy.connect(), lazy.connect()
    append(connection, "a-1", 5)
    sql(connection, "SET synchronous_commit = off")
    sql(connection, "SELECT millrace.truncate_stream('a-1', 2)")
    if by == "removals":
        reached, seen = sql(reader, "SELECT to_position, id FROM millrace.removals()")[0]
    else:
        reached, seen = removed_to(reader, category="a", position=1).values()
    assert reached == 2
    lazy.stop("immediate")
    lazy.start()
    connection = lazy.connect()
    sql(connection, "SELECT millrace.truncate_stream('a-1', 4)")
    assert removed_to(connection, category="a", position=3, removals_seen=seen)["removedTo"] == 4


def test_a_strict_reader_is_told_what_a_synchronous_standby_has_too(lazy):
    """Or another server could give the number again."""
    connection, reader, watcher = lazy.connect(), lazy.connect(), lazy.connect()
    append(connection, "a-1", 5)
    sql(connection, "SET synchronous_commit = off")
    sql(connection, "SELECT millrace.truncate_stream('a-1', 2)")
    make_synchronous(lazy)
    pid = sql(reader, "SELECT pg_backend_pid()")[0][0]
    with ThreadPoolExecutor(1) as pool:
        telling = pool.submit(removed_to, reader, category="a", position=1)
        try:
            wait_until(lambda: telling.done() or sql(watcher, "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND"
                                                     " wait_event = 'SyncRep'", pid), "the reader waits")
            assert not telling.done()
        finally:
            sql(watcher, "ALTER SYSTEM RESET synchronous_standby_names")
            sql(watcher, "SELECT pg_reload_conf()")
        assert telling.result()["removedTo"] == 2


def test_removals_are_committed_in_the_order_of_their_numbers(connection, another):
    """Who was told of one would never be told of a lower one that is committed later."""
    append(connection, "a-1", 2)
    append(connection, "a-2", 2)
    other, third = another(), another()
    sql(connection, "BEGIN")
    sql(connection, "SELECT millrace.truncate_stream('a-1', 1)")
    with ThreadPoolExecutor(1) as pool:
        removal = pool.submit(sql, other, "SELECT millrace.truncate_stream('a-2', 1)")
        wait_until(lambda: removal.done() or sql(third, "SELECT pid FROM millrace.blocked WHERE lock = 'retention'"),
                   "the removal waits")
        told = removed_to(third, category="a", position=1)
        sql(connection, "COMMIT")
        removal.result()
    assert removed_to(connection, category="a", position=1, removals_seen=told["removalsSeen"] if told else -1)


def test_a_sweep_does_not_wait_for_another_removal(connection, namespace, another):
    append(connection, "a-1", 2)
    append(connection, "b-1", 2)
    make_old(connection, namespace, 10)
    policy(connection, "b", max_age="5 days")
    sql(connection, "BEGIN")
    sql(connection, "SELECT millrace.truncate_stream('a-1', 1)")
    other = another()
    sql(other, "SET lock_timeout = '5s'")
    assert sweep_all(other) == 0
    sql(connection, "COMMIT")
    assert sweep_all(other) == 2


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


@pytest.mark.parametrize("count, folded", [(99, False), (100, True)])
def test_a_fold_takes_the_removals_of_one_category_together(connection, namespace, count, folded):
    other = "m" + namespace
    sql(connection, "SELECT millrace.create_namespace(%s)", other)
    note = ("INSERT INTO millrace.removals (namespace, category, from_position, to_position, streams, removed_at) "
            "SELECT %s, %s, 1000 - n, 2000 - n, '{x}', now() FROM generate_series(1, %s) n")
    for name, category, rows in ((namespace, "b", 2), (namespace, "a", count), (other, "a", 2), (namespace, "c", 2)):
        sql(connection, note, name, category, rows)
    query = ("SELECT namespace, category, from_position, to_position, streams IS NULL, id FROM millrace.removals "
             "WHERE namespace IN (%s, %s) ORDER BY id")
    before = sql(connection, query, namespace, other)
    sql(connection, "SELECT millrace.fold_removals(%s, 'a')", namespace)
    after = sql(connection, query, namespace, other)
    mine = [row for row in before if row[:2] == (namespace, "a")]
    one = [(namespace, "a", 1000 - count, 1999, True, mine[-1][5])]
    assert after == [*before[:2], *(one if folded else mine), *before[-4:]]
    sql(connection, "SELECT millrace.drop_namespace(%s)", other)


@pytest.fixture
def schema(namespace):
    return "millrace_" + namespace


# ---- consumers ---------------------------------------------------------------------------------------------------


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


def test_a_message_that_waits_to_be_tried_again_holds(swept):
    create(swept, category="a")
    settle(swept, claim(swept)[0], failed=[{"stream": "a-2", "position": 1, "error": "no"}])
    assert sweep(swept)["held"] == ("billing", 3)
    assert global_positions(swept) == [4, 5, 6, 7, 8, 9, 10]


def test_a_forced_sweep_waits_for_who_works_for_a_consumer(swept, another):
    create(swept, category="a")
    member, watcher = another(), another()
    sql(member, "BEGIN")
    assert len(claim(member, 2)[1]) == 2
    pid = sql(swept, "SELECT pg_backend_pid()")[0][0]
    with ThreadPoolExecutor(1) as pool:
        sweeping = pool.submit(sweep, swept, forced=True)
        try:
            wait_until(lambda: sweeping.done() or sql(watcher, "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted",
                                                      pid), "the sweep waits")
            assert not sweeping.done()
        finally:
            sql(member, "COMMIT")
        assert (sweeping.result()["removed"], sweeping.result()["moved"]) == (10, ["billing"])


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
    diag = refused(swept, "MR023", "SELECT millrace.sweep()")
    assert json.loads(diag.message_detail) == {"by": "archive", "position": 0}
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
    reason = "a forced sweep removed messages that were not settled, up to global position 10"
    assert rows == [("billing", "running", reason, 0), ("other", "running", None, 0)]
    left = set()
    while (taken := claim(swept))[0] is not None:
        left |= set(taken[1])
        settle(swept, taken[0])
    assert left == {11, 12}
    assert claim(swept) == (None, [])
    assert floor(swept) == 12
    assert sweep_all(swept) == 0


def test_who_forces_a_sweep_may_change_consumers(swept, schema, role):
    create(swept, category="a")
    sql(swept, f"GRANT DELETE ON {schema}.messages TO {role}; GRANT SELECT ON millrace.retention TO {role}; "
               f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}; "
               f"GRANT SELECT, INSERT, UPDATE ON millrace.sweeps TO {role}; SET ROLE {role}")
    refused(swept, "MR023", "SELECT millrace.sweep()")
    refused(swept, "42501", "SELECT millrace.sweep(forced => true)")
    sql(swept, f"RESET ROLE; GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}; "
               f"SET ROLE {role}")
    assert sweep(swept, forced=True)["moved"] == ["billing"]


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
