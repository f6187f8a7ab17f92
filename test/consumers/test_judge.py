"""The checker of `make test-consumers` notices each kind of fault."""
import pytest
from judge import Counts, History, judge_acknowledged

A, B = "a-1", "a-2"
LOG = [(1, A), (2, B), (3, A), (5, B), (6, A)]


class Run:
    """Two members: one by SQL that settles claims 10 and 12, one by HTTP with 11, where 3 fails, and 13."""

    def __init__(self, ordering="stream"):
        self.ordering, self.acknowledged = ordering, {"x"}
        self.log = list(LOG)
        self.effects = [(10, 2), (10, 5), (12, 3)]
        self.sql = [{"got": 10, "messages": [2, 5]}, {"got": 12, "messages": [3]}]
        self.http = [{"got": 11, "messages": [1, 3]}, {"settling": 11, "done": [1]}, {"settled": 11},
                     {"got": 13, "messages": [6]}, {"settling": 13, "done": [6]}, {"settled": 13}]
        self.other, self.outages = [], []

    def history(self):
        history = History("c", self.ordering, self.log, self.outages)
        history.take_effects(self.effects)
        for record in (self.sql, self.http, self.other):
            history.take_record([{"at": at, **line} for at, line in enumerate(record)])
        return history

    def counts(self):
        counts = Counts()
        self.history().judge(counts)
        judge_acknowledged(self.acknowledged, {"x", "y"}, counts)
        return dict(counts.counts)


def lost_answer(run):
    del run.http[-1]


def asked_twice(run):
    """13 was settled, Postgres was killed, and the server asked again."""
    run.http[-1], run.outages = {"lost": 13, "sure": True}, [(4.5, 4.8)]


def taken_over(run):
    """13 had its lease run out: 14 settles the message."""
    run.http[-1] = {"lost": 13, "sure": True}
    run.other += [{"got": 14, "messages": [6]}]
    run.effects.append((14, 6))


def by_millrace_consume(run):
    run.effects.remove((12, 3))
    run.other.append({"done": 3})


def killed_before_it_settled(run):
    """6 is given out again, after the answer for 13 was lost."""
    del run.http[-2:]
    run.effects.append((14, 6))
    run.other.append({"got": 14, "messages": [6]})


@pytest.mark.parametrize("change", [
    lambda run: None, lost_answer, asked_twice, taken_over, by_millrace_consume, killed_before_it_settled,
    lambda run: run.http.insert(1, run.http[0])  # the same claim for the same request
])
def test_nothing_is_wrong_with_what_may_happen(change):
    run = Run()
    change(run)
    assert run.counts() == {}


def zombie_by_sql(run):
    """The effects of a claim that was taken over are there, too."""
    run.sql.append({"got": 14, "messages": [2, 5]})
    run.effects += [(14, 2), (14, 5)]


def zombie_by_http(run):
    taken_over(run)
    run.http[-1] = {"settled": 13}


@pytest.mark.parametrize("change, expected", [
    (zombie_by_sql, {"twice": 2}),
    (zombie_by_http, {"twice": 1}),
    # settled, and given out again to a member that was killed
    (lambda run: run.other.append({"got": 14, "messages": [6]}), {"twice": 1}),
    (lambda run: run.effects.append((10, 2)), {"twice": 1}),
])
def test_what_is_settled_twice_is_found(change, expected):
    run = Run()
    change(run)
    assert run.counts() == expected


def called_lost(run):
    run.outages = [(1.5, 3.5), (9, 10)]
    run.http[-1] = {"lost": 13, "sure": True}


@pytest.mark.parametrize("change", [
    lambda run: run.effects.remove((10, 5)),  # the last of its stream
    called_lost,
    lambda run: run.log.append((7, "a-3")),
    lambda run: run.effects.append((10, 4)),  # of a message that is not in the log
    lambda run: run.acknowledged.add("z"),
])
def test_what_is_lost_is_found(change):
    run = Run()
    change(run)
    assert run.counts() == {"lost": 1}


def behind_a_gap(run):
    """6 is given out and settled while 3 waits for a retry, which comes later."""
    run.sql[1], run.effects[2] = {"got": 15, "messages": [3]}, (15, 3)


def beside_a_failure(run):
    """In one claim, 3 failed and 6 was settled: as a server does that forgets that later ones come back."""
    run.http[:] = [{"got": 11, "messages": [1, 3, 6]}, {"settling": 11, "done": [1, 6]}, {"settled": 11}]


@pytest.mark.parametrize("change, least", [
    (behind_a_gap, 2),
    (beside_a_failure, 1),
    # by two members at once, where no claim tells
    (lambda run: run.effects.reverse(), 1),
    (lambda run: run.http[0]["messages"].reverse(), 1),
    # seen by a member that was killed before it settled anything
    (lambda run: run.other.append({"got": 9, "messages": [6]}), 1),
])
def test_what_is_out_of_order_is_found(change, least):
    run = Run()
    change(run)
    counts = run.counts()
    assert counts.keys() == {"out_of_order"} and counts["out_of_order"] >= least


def test_the_order_of_all_is_across_streams():
    assert Run("all").counts()["out_of_order"] > 0  # 2 and 5 before 1
    run = Run("all")
    run.effects, run.http = [(10, 1), (10, 2), (11, 3), (11, 5), (12, 6)], []
    run.sql = [{"got": 10, "messages": [1, 2]}, {"got": 11, "messages": [3, 5, 6]}, {"got": 12, "messages": [6]}]
    assert run.counts() == {}


def test_what_members_tell_is_counted():
    run = Run()
    called_lost(run)
    run.other += [{"lost": 15, "sure": False}, {"problem": "odd"}, {"done": 6}]
    history = run.history()
    assert (history.fenced, history.problems, history.count()) == (1, ["odd"], 5)
