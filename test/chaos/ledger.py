"""What the writers know of every message that they sent, and what they don't.

A batch is a call's messages for one stream; each message carries the batch's number and its own in it (`b`, `n` in its
data).  All batches of a transaction share their fate: STORED, ABSENT, or EITHER where the answer was lost: all of them
or none.
"""
import itertools
import threading
from collections import defaultdict
from dataclasses import dataclass

STORED, ABSENT, EITHER = "stored", "absent", "either"


@dataclass(slots=True)
class Batch:
    stream: str
    count: int
    transaction: int
    fate: str = ABSENT
    position: int = None  # of the first message, as it was answered
    first: int = None  # global positions
    last: int = None


class Ledger:
    def __init__(self):
        self.mutex, self.numbers, self.transactions = threading.Lock(), itertools.count(1), itertools.count(1)
        self.batches, self.deleted = {}, set(
        )  # deleted: global positions of rows that may have been deleted by hand
        self.newest = defaultdict(int)  # category -> highest global position acknowledged

    def begin(self):
        return Transaction(self, next(self.transactions))


class Transaction:
    def __init__(self, ledger, number):
        self.ledger, self.number, self.open = ledger, number, []

    def batch(self, stream, count):
        """The number of a new batch, which is sent next."""
        number = next(self.ledger.numbers)
        batch = Batch(stream, count, self.number)
        with self.ledger.mutex:
            self.ledger.batches[number] = batch
        self.open.append(batch)
        return number

    def answered(self, number, position, first, last):
        batch = self.ledger.batches[number]
        batch.position, batch.first, batch.last = position, first, last

    def savepoint(self):
        return len(self.open)

    def roll_back_to(self, savepoint):
        del self.open[savepoint:]  # their fate is to be absent

    def end(self, fate):
        with self.ledger.mutex:
            for batch in self.open:
                batch.fate = fate
                if fate == STORED:
                    category = batch.stream.split("-")[0]
                    self.ledger.newest[category] = max(self.ledger.newest[category], batch.last)
        if fate != EITHER:
            self.open = []


class Counts:
    """What is wrong, by kind, with a line for the first few of each."""

    def __init__(self):
        self.counts, self.lines = defaultdict(int), []

    def add(self, kind, text, count=1):
        self.counts[kind] += count
        if sum(line.startswith(kind) for line in self.lines) < 10:
            self.lines.append(f"{kind}: {text}" + (f" ({count})" if count != 1 else ""))


def judge(ledger, rows, gaps_allowed, counts):
    """Compares what is stored, rows of (global position, stream, position, batch, number) in global order, with the
    ledger."""
    found, positions, last = defaultdict(list), defaultdict(list), 0
    for global_position, stream, position, batch, number in rows:
        if global_position <= last:
            counts.add("out_of_order", f"{global_position} is stored behind {last}")
        last = global_position
        found[batch].append((number, stream, position, global_position))
        positions[stream].append(position)
    for number in found.keys() - ledger.batches.keys():
        counts.add("twice", f"batch {number} was sent by no worker")
    fates = defaultdict(set)  # transactions whose answer was lost -> which of its batches are there
    for number, batch in ledger.batches.items():
        edited = batch.stream.split("-")[0] in gaps_allowed
        check_batch(number, batch, found.get(number, []), edited, counts)
        if batch.fate == EITHER and not edited:
            fates[batch.transaction].add(number in found)
    for transaction, fate in fates.items():
        if len(fate) == 2:
            counts.add("missed", f"transaction {transaction} is stored in part")
    for stream, there in positions.items():
        check_stream(stream, there, stream.split("-")[0] in gaps_allowed, counts)


def check_batch(number, batch, rows, edited, counts):
    what = f"batch {number} of {batch.count} to {batch.stream[:40]}"
    if batch.fate == ABSENT:
        if rows:
            counts.add("twice", f"{what} was refused or rolled back, and is stored", len(rows))
        return
    if not edited and len(rows) < batch.count and (rows or batch.fate == STORED):
        counts.add("missed", f"{what}, {batch.fate}: {len(rows)} are stored", batch.count - len(rows))
    if len({row[0] for row in rows}) < len(rows):
        counts.add("twice", f"{what}: {len(rows)} are stored", len(rows) - len({row[0] for row in rows}))
    for n, stream, position, global_position in rows:
        if stream != batch.stream or batch.position is not None and (
                position != batch.position + n or not batch.first <= global_position <= batch.last):
            counts.add("out_of_order",
                       f"{what}: number {n} is at {stream[:40]}[{position}], {global_position}; answered was {batch}")


def check_stream(stream, positions, edited, counts):
    """Positions rise with global positions; from 0 on and without gaps, but where rows were deleted by hand."""
    if any(later <= earlier for earlier, later in zip(positions, positions[1:])):
        counts.add("out_of_order", f"positions of {stream[:40]}")
    if len(set(positions)) < len(positions):
        counts.add("twice", f"positions of {stream[:40]}", len(positions) - len(set(positions)))
    if not edited and max(positions) + 1 != len(positions):
        counts.add("missed", f"positions of {stream[:40]} have gaps", max(positions) + 1 - len(positions))
