"""The history checker sees what is wrong, and only that."""
import history
import pytest
from history import CONFLICT, FAILED, STORED, UNKNOWN, Append, Follower, Message, Observation, Part


def message(position, mark=None, global_position=None, stream="s"):
    return Message(f"id {mark or position}", stream, position,
                   position + 1 if global_position is None else global_position, mark or f"m{position}")


def appended(position, start, end, mark=None, stream="s", expected=None):
    part = Part(stream, [mark or f"m{position}"], None, position, position, position + 1, position + 1)
    return Append([part], start, end, STORED, expected)


def conflicted(start, end, expected, actual, mark="refused"):
    return Append([Part("s", [mark])], start, end, CONFLICT, expected, actual)


def lost_answer(mark, start, end=9, outcome=UNKNOWN):
    return Append([Part("s", [mark])], start, end, outcome)


def read(start, end, version):
    return Observation("s", start, end, version)


def problems(appends=(), observations=(), followers=(), stored=()):
    return set(history.check(appends, observations, followers, stored).counts())


THREE = [appended(0, 0, 1), appended(1, 2, 3), appended(2, 4, 5)]
LOG = [message(0), message(1), message(2)]


def test_a_good_history_has_no_problems():
    calls = [*THREE, conflicted(2.5, 2.6, 5, 0), conflicted(2.5, 2.6, 0, 1), lost_answer("never", 1)]
    reads = [read(0, 0.5, -1), read(0, 0.6, 0), read(2.5, 3.5, 0), read(2.1, 2.8, 1), read(5, 6, 2)]
    followers = [Follower("a", list(LOG), True), Follower("b", LOG[:2]), Follower("c")]
    verdict = history.check(calls, reads, followers, LOG)
    assert verdict.problems == [] and verdict.acknowledged == 3


def test_a_lost_message():
    assert problems(THREE, stored=LOG[:2]) == {history.LOST}


def test_a_lost_message_in_the_middle_is_a_hole_too():
    assert problems(THREE, stored=[LOG[0], LOG[2]]) == {history.LOST, history.HOLE}


def test_a_duplicate_with_another_id():
    twice = Message("another id", "s", 3, 9, "m1")
    assert problems(THREE, stored=[*LOG, twice]) == {history.DUPLICATED}


def test_an_id_that_is_there_twice():
    calls = [*THREE, appended(3, 6, 7)]
    assert problems(calls, stored=[*LOG, Message("id 1", "s", 3, 4, "m3")]) == {history.DUPLICATED}


def test_a_position_that_is_there_twice():
    calls = [*THREE, lost_answer("m3", 0)]
    assert history.DUPLICATED in problems(calls, stored=[*LOG, message(2, "m3", 4)])


def test_a_hole():
    calls = [appended(0, 0, 1), appended(2, 2, 3)]
    assert problems(calls, stored=[LOG[0], LOG[2]]) == {history.HOLE}


@pytest.mark.parametrize("stored", [message(0, global_position=5), message(0, stream="t"),
                                    Message("id 0", "s", 0, 1, "m0")])
def test_a_message_that_is_not_where_it_was_acknowledged(stored):
    call = appended(0, 0, 1)
    call.parts[0].ids = ["the id that was asked for"]
    assert history.MISPLACED in problems([call], stored=[stored])


def test_a_message_that_nobody_sent():
    assert problems(THREE, stored=[*LOG, message(3)]) == {history.FOREIGN}


@pytest.mark.parametrize("outcome", [UNKNOWN, FAILED])
def test_a_lost_answer_may_be_stored_or_not_but_not_in_part(outcome):
    call = Append([Part("s", ["m0", "m1"])], 0, 1, outcome)
    expected = {FAILED} if outcome == FAILED else set()
    assert problems([call]) == expected
    assert problems([call], stored=LOG[:2]) == expected
    assert problems([call], stored=LOG[:1]) == expected | {history.TORN}


def test_a_failed_call_is_counted():
    assert problems([lost_answer("m0", 0, outcome=FAILED)]) == {FAILED}


def test_a_refused_message_that_is_stored():
    assert history.REFUSED_BUT_STORED in problems([*THREE, conflicted(4.5, 4.6, 0, 1, "m3")], stored=[*LOG, message(3)])


def test_an_append_to_another_version_than_expected():
    assert problems([appended(0, 0, 1, expected=4)], stored=LOG[:1]) == {history.BAD_EXPECTATION}
    assert problems([appended(0, 0, 1, expected=-1)], stored=LOG[:1]) == set()


def test_positions_against_real_time():
    calls = [appended(0, 2, 3), appended(1, 0, 1)]
    assert problems(calls, stored=LOG[:2]) == {history.OUT_OF_ORDER}


def test_global_positions_against_real_time_over_two_streams():
    calls = [appended(0, 2, 3, "late", "s"), Append([Part("t", ["early"], None, 0, 0, 2, 2)], 0, 1, STORED)]
    stored = [message(0, "late", 1), message(0, "early", 2, "t")]
    assert problems(calls, stored=stored) == {history.OUT_OF_ORDER}


@pytest.mark.parametrize("start, end, expected, actual", [
    (2.5, 2.6, 7, 2),     # not there yet
    (3.5, 3.6, 7, 0),     # no more
    (3.5, 3.6, 7, -1),
    (6, 7, 7, 3),         # never there
    (3.5, 3.6, 1, 1)])    # no conflict at all
def test_a_false_conflict(start, end, expected, actual):
    assert problems([*THREE, conflicted(start, end, expected, actual)], stored=LOG) == {history.FALSE_CONFLICT}


@pytest.mark.parametrize("start, end, version", [(3.5, 3.9, 0), (1.5, 1.6, 1), (6, 7, -1)])
def test_a_stale_read_or_one_from_the_future(start, end, version):
    assert problems(THREE, [read(start, end, version)], stored=LOG) == {history.STALE_READ}


def test_two_reads_that_go_back_in_time_while_an_append_is_under_way():
    calls = [appended(0, 0, 10)]
    assert problems(calls, [read(1, 2, -1), read(3, 4, 0)], stored=LOG[:1]) == set()
    assert problems(calls, [read(1, 2, 0), read(3, 4, -1)], stored=LOG[:1]) == {history.STALE_READ}


def test_a_read_between_two_messages_of_one_append():
    call = Append([Part("s", ["m0", "m1"], None, 0, 1, 1, 2)], 0, 1, STORED)
    assert problems([call], [read(0, 1, 0)], stored=LOG[:2]) == {history.STALE_READ}


def test_a_read_of_something_that_is_gone():
    seen = Observation("s", 6, 7, 3, [message(3)])
    assert problems(THREE, [seen], stored=LOG) == {history.LOST}


def test_a_read_of_something_else():
    seen = Observation("s", 6, 7, 2, [*LOG[:2], message(2, "other")])
    assert problems(THREE, [seen], stored=LOG) == {history.WRONG_READ}


def test_a_follower_that_skipped_a_message():
    assert problems(THREE, followers=[Follower("f", [LOG[0], LOG[2]])], stored=LOG) == {history.SKIPPED}
    assert problems(THREE, followers=[Follower("f", LOG[:2], finished=True)], stored=LOG) == {history.SKIPPED}


def test_a_follower_that_saw_a_message_twice_or_late():
    assert problems(THREE, followers=[Follower("f", [LOG[0], LOG[0], LOG[1]])], stored=LOG) == {history.OUT_OF_ORDER}
    assert problems(THREE, followers=[Follower("f", [LOG[1], LOG[0], LOG[2]])], stored=LOG) == {history.OUT_OF_ORDER}


def test_a_follower_that_saw_what_is_gone():
    assert problems(THREE[:2], followers=[Follower("f", LOG)], stored=LOG[:2]) == {history.LOST}
