"""The checker of `make test-chaos` notices each kind of fault."""
from array import array

import pytest

import ledger
import readers

A, B = "a-1", "a-2"


class Store:
    """Three transactions: one that is acknowledged, of two batches; one whose answer was lost; one that was rolled
    back."""

    def __init__(self):
        self.ledger = ledger.Ledger()
        first = self.ledger.begin()
        for stream, position, count in ((A, 0, 2), (B, 0, 1)):
            number = first.batch(stream, count)
            first.answered(number, 0, *((10, 11) if stream == A else (12, 12)))
        first.end(ledger.STORED)
        lost = self.ledger.begin()
        lost.batch(A, 1), lost.batch(B, 1)
        lost.end(ledger.EITHER)
        self.ledger.begin().batch(A, 1)
        # global position, stream, position, batch, number
        self.rows = [(10, A, 0, 1, 0), (11, A, 1, 1, 1), (12, B, 0, 2, 0)]

    def counts(self):
        counts = ledger.Counts()
        ledger.judge(self.ledger, self.rows, ["d"], counts)
        return dict(counts.counts)


LOST = [(13, A, 2, 3, 0), (14, B, 1, 4, 0)]


@pytest.mark.parametrize("more", [[], LOST])
def test_nothing_is_wrong_whatever_became_of_a_lost_answer(more):
    store = Store()
    store.rows += more
    assert store.counts() == {}


@pytest.mark.parametrize("change, kind", [
    (lambda rows: rows.pop(0), "missed"),
    (lambda rows: rows.pop(), "missed"),
    (lambda rows: rows.append(LOST[0]), "missed"),  # a transaction in part
    (lambda rows: rows.append((13, A, 3, 3, 0)), "missed"),  # a gap
    (lambda rows: rows.append((13, A, 2, 1, 1)), "twice"),
    (lambda rows: rows.append((13, A, 2, 5, 0)), "twice"),  # rolled back
    (lambda rows: rows.append((13, A, 2, None, None)), "twice"),  # of no worker
    (lambda rows: rows.append((13, A, 1, 3, 0)), "out_of_order"),
    (lambda rows: rows.__setitem__(2, (20, B, 0, 2, 0)), "out_of_order"),  # another place than was acknowledged
    (lambda rows: rows.__setitem__(2, (12, B, 1, 2, 0)), "out_of_order"),
    (lambda rows: rows.reverse(), "out_of_order"),
])
def test_a_fault_in_what_is_stored_is_noticed(change, kind):
    store = Store()
    change(store.rows)
    assert store.counts().get(kind), store.counts()


@pytest.mark.parametrize("seen, counted", [
    ([1, 2, 3], {}),
    ([1, 2, 9, 3], {"out_of_order": 1}),  # 9 was deleted by hand
    ([1, 3], {"missed": 1}),
    ([1, 2, 2, 3], {"twice": 1}),
    ([2, 1, 3], {"out_of_order": 1}),
    ([1, 2, 3, 4], {}),  # of another kind, which was not expected of it
    ([1, 2, 3, 5], {"missed": 1}),  # and it is no longer stored
])
def test_a_fault_of_a_reader_is_noticed(seen, counted):
    class Reader:
        name = "a reader"

    Reader.seen, counts = array("q", seen), ledger.Counts()
    readers.judge(Reader, array("q", [1, 2, 3]), array("q", [1, 2, 3, 4]), {9}, counts)
    assert dict(counts.counts) == counted
