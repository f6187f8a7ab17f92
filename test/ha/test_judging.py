"""The checker of `make test-ha` notices each kind of fault that is its own, and gives each kind a name."""
import sys
from pathlib import Path

import pytest

TEST = Path(__file__).resolve().parent.parent
sys.path[1:1] = [str(TEST / "crash"), str(TEST / "consumers")]

import history  # noqa: E402
import judging  # noqa: E402
from history import FAILED, STORED, Append, Follower, Message, Part, Verdict  # noqa: E402
from people import REFUSED, Decision  # noqa: E402


def message(position, mark):
    return Message(f"id {mark}", "s-1", position - 1, position, mark)


STORED_MESSAGES = [message(1, "x"), message(2, "y"), message(3, "z")]
TAGS = {1: ["a", "b"], 2: ["b"], 3: ["a", "b", "c"]}


def decision(mark, tags, after, outcome=STORED):
    return Decision(Append([Part("s-1", [mark])], 0, 1, outcome), tags, after)


def problems(*decisions):
    verdict = Verdict()
    judging.check_decisions(verdict, decisions, STORED_MESSAGES, TAGS)
    return [kind for kind, _ in verdict.problems]


def test_good_decisions():
    assert problems(decision("z", ["b"], 2), decision("z", ["a", "b"], 1), decision("y", ["c"], 0),
                    decision("never", ["a"], 0, REFUSED), decision("never", ["b", "a"], 2, REFUSED),
                    decision("unknown", ["a"], 0, FAILED)) == []


@pytest.mark.parametrize("outcome", [STORED, FAILED])
def test_a_message_that_came_in_between(outcome):
    assert problems(decision("z", ["b"], 1, outcome)) == [judging.WRONG_DECISION]


def test_a_refusal_without_a_reason():
    assert problems(decision("never", ["a", "b"], 3, REFUSED)) == [judging.WRONGLY_REFUSED]


def test_a_refused_message_that_is_stored():
    assert problems(decision("x", ["a"], 0, REFUSED)) == [history.REFUSED_BUT_STORED]


@pytest.mark.parametrize("rows, kinds", [
    (STORED_MESSAGES, []),
    (STORED_MESSAGES[:2], [judging.DISAGREE]),
    ([*STORED_MESSAGES, message(4, "only here")], [judging.DISAGREE]),
    ([*STORED_MESSAGES[:2], message(3, "another")], [judging.DISAGREE] * 2),
    (STORED_MESSAGES[::-1], [history.OUT_OF_ORDER]),
])
def test_a_machine_that_has_something_else(rows, kinds):
    verdict = Verdict()
    judging.check_agreement(verdict, STORED_MESSAGES, {"db2": rows})
    assert [kind for kind, _ in verdict.problems] == kinds


def test_whatever_is_found_is_counted_in_the_last_line():
    kinds = {value for name, value in vars(history).items() if name.isupper() and isinstance(value, str)}
    verdict = Verdict()
    for kind in kinds | set(judging.NAMES):
        verdict.complain(kind, "")
    counts = judging.counted(verdict)
    assert counts.total() == len(verdict.problems) and set(counts) == {*judging.COUNTED, "gone"}


def seen_and_gone(*appends):
    """Of a follower that saw y, and w, which is not stored."""
    follower = Follower("f", [message(2, "y"), message(7, "w")])
    return judging.set_gone_aside([follower], appends, STORED_MESSAGES), [row.mark for row in follower.rows]


def test_what_nobody_was_told_may_go():
    at_another = Part("s-1", ["w"], None, 8, 8, 9, 9)
    for appends in ([], [Append([Part("s-1", ["w"])], 0, 1, FAILED)], [Append([at_another], 0, 1, STORED)]):
        gone, left = seen_and_gone(*appends)
        assert gone == ["f had seen s-1[6], global position 7"] and left == ["y"]


def test_what_was_acknowledged_there_may_not():
    told = Part("s-1", ["v", "w"], None, 5, 6, 6, 7)
    assert seen_and_gone(Append([told], 0, 1, STORED)) == ([], ["y", "w"])
