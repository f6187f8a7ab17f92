"""A short form of `make test-proxies`, and that its checker notices each kind of fault."""
import random

import pytest
from account import Account, Row
from proxies import World, missing

SECONDS = 20


@pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}; test/deps.sh --proxies")
def test_what_was_acknowledged_through_proxies_that_are_killed_is_there_once_and_no_request_fails(folder):
    seed = random.randrange(1000000)
    print(f"seed {seed}")
    world = World(folder, seed, rest=3)
    try:
        world.run(SECONDS)
        verdict = world.judge()
    finally:
        world.stop()
    print(verdict, *world.account.lines, sep="\n")
    assert {kind: verdict[kind] for kind in ("lost", "twice", "failed")} == {"lost": 0, "twice": 0, "failed": 0}
    assert verdict["acknowledged"] > 500 and verdict["restarts"] >= 3


class Follower:
    name = "a follower"

    def __init__(self, *seen):
        self.seen = list(seen)

    def wants(self, row):
        return row.stream.startswith("a")


ROWS = [Row(1, "a-1", 0, 11), Row(2, "b-1", 0, 12), Row(4, "a-1", 1, 13)]


def judge(rows=ROWS, seen=(11, 13), refused=()):
    account = Account()
    account.acknowledged = {11: ("a-1", 0, 1), 12: ("b-1", 0, None)}
    account.refused = dict.fromkeys(refused, "409")
    account.judge(rows, [Follower(*seen)])
    return +account.counts


def test_nothing_is_wrong_with_one_whose_answer_was_lost():
    assert judge() == {} and judge(ROWS[:2], [11]) == {}


@pytest.mark.parametrize("rows, kind", [
    ([ROWS[0], ROWS[2]], "lost"),
    ([*ROWS, Row(5, "a-1", 2, 11)], "twice"),
    ([Row(1, "a-1", 0, 13), ROWS[1], Row(4, "a-1", 1, 11)], "lost"),  # elsewhere than was answered
    ([*ROWS[:2], Row(4, "a-1", 2, 13)], "lost"),  # a gap
])
def test_a_fault_in_what_is_stored_is_noticed(rows, kind):
    assert judge(rows, [row.key for row in rows if row.stream == "a-1"])[kind] >= 1


@pytest.mark.parametrize("seen, kind", [([11], "lost"), ([11, 13, 13], "twice"), ([13, 11], "lost"),
                                        ([11, 13, 14], "lost")])
def test_a_fault_in_what_a_follower_saw_is_noticed(seen, kind):
    assert judge(seen=seen) == {kind: 1}


def test_a_message_that_was_refused_and_is_stored_is_noticed():
    assert judge(refused=[13]) == {"failed": 1}
