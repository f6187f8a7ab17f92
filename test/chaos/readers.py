"""The workers that follow: each remembers how far it is, and goes on from there; in the end it must have had every
message of its kind, once, in order."""
import json
import re
import time
from array import array
from bisect import bisect_left

from worker import Worker
from writers import CATEGORIES, EDITED, FIRST, IMPORTED

GROUP = 3
GLOBAL_POSITION = re.compile(r'"(?:globalPosition|gpos)":(\d+)')


class Reader(Worker):
    """Goes by global positions.  fetch() returns the global positions of a page, and where the next one begins."""

    categories = CATEGORIES + EDITED
    beginning = FIRST
    odd = False  # only messages of type Odd
    expected = Worker.expected | {"25006"}

    def __init__(self, name, cluster, clock, seed, ledger):
        super().__init__(name, cluster, clock, seed)
        self.ledger, self.seen, self.position, self.target = ledger, array("q"), self.beginning, None

    def step(self):
        newest = max((self.ledger.newest[category] for category in self.categories), default=0)
        page, self.position = self.fetch(self.position)
        self.seen.extend(page)
        if page or self.position > newest or self.cluster.standby:
            self.progress()
        if not page:
            time.sleep(0.05)
        elif self.random.random() < 0.02:
            time.sleep(self.random.random())

    def finished(self):
        return self.target is not None and self.position > self.target

    def rows(self, statement, *arguments):
        page = [row[0] for row in self.sql(statement, *arguments)]
        return page, page[-1] + 1 if page else self.position

    def size(self):
        return self.random.choice([1, 10, 100, 1000, 5000])

    def wants(self, category, batch):
        return category in self.categories and (not self.odd or batch % 2 == 1)


class All(Reader):
    def fetch(self, position):
        return self.rows("SELECT global_position FROM millrace.read_all(%s, %s)", position, self.size())


class Category(Reader):
    categories = ["a"]

    def fetch(self, position):
        return self.rows("SELECT global_position FROM millrace.read_category(%s, %s, %s)", self.categories[0], position,
                         self.size())


class Edited(Category):
    categories = EDITED


class Imported(Category):
    categories, beginning = [IMPORTED], 1


class Filtered(Reader):
    odd = True

    def fetch(self, position):
        return self.rows("SELECT global_position FROM millrace.read_all(%s, %s, '{Odd}')", position, self.size())


class Cursor(Reader):
    """A query whose messages are fetched a few at a time, while others change the table."""

    def fetch(self, position):
        page = []
        self.sql("BEGIN")
        self.sql(f"DECLARE c CURSOR FOR SELECT global_position FROM millrace.read_all({position}, 3000)")
        while rows := self.sql("FETCH 300 FROM c"):
            page += [row[0] for row in rows]
        self.sql("COMMIT")
        return page, page[-1] + 1 if page else position


class Member(Reader):
    """A member of a consumer group; all of them together must have all."""

    categories = ["b"]
    member = 0

    def fetch(self, position):
        return self.rows("SELECT global_position FROM millrace.read_category('b', %s, %s, NULL, %s, %s)", position,
                         self.size(), self.member, GROUP)


class Feed(Reader):
    """The live feed as the server reads it."""

    def fetch(self, position):
        return self.rows("SELECT global_position FROM millrace.read_feed('default', %s, %s, false)", position,
                         self.size())


class Bounded(Reader):
    """A subscription that catches up as the server does it: up to the head, and when it is said that all below is
    there, from the head on."""

    categories = ["c"]
    source = ("NULL", "'c'")
    below = None

    def connected(self):
        # What was above the last crash's end is given out again: go on behind the last message.
        self.below = None
        self.position = self.seen[-1] + 1 if self.seen else self.beginning

    def fetch(self, position):
        if self.below is None:
            ((self.below,),) = self.sql("SELECT millrace.feed_head('default')")
        ((body, count, following, state), ) = self.sql(
            "SELECT body, count, next_position, state "
            "FROM millrace.read_pokes('default', {}, {}, %s, %s, NULL, NULL, true, false, %s)"
            .format(*self.source), position, self.below, self.random.choice([1, 1000, 100_000]))
        page = [int(found) for found in GLOBAL_POSITION.findall(body)]
        assert len(page) == count, f"{len(page)} pokes, said to be {count}"
        if state == "done":
            following, self.below = max(following, self.below), None
        return page, following


class BoundedAll(Bounded):
    categories = Reader.categories
    source = ("NULL", "NULL")


class MessageDbCategory(Reader):
    categories = ["b"]
    condition = None

    def connected(self):
        if self.condition:
            self.sql("SET message_store.sql_condition = 'on'")

    def fetch(self, position):
        return self.rows(
            "SELECT global_position "
            "FROM message_store.get_category_messages('b'::varchar, %s, %s, condition => %s::varchar)",
            position, self.size(), self.condition)


class MessageDbCondition(MessageDbCategory):
    """With a condition: the rows come from a query."""

    odd = True
    condition = "messages.type = 'Odd'"


class Json(Reader):
    """The finished text of category.get."""

    categories = ["a"]

    def fetch(self, position):
        ((body, count, following), ) = self.sql(
            "SELECT body, count, next_position FROM millrace.json_read_category('default', 'a', %s, %s, NULL, NULL, "
            "NULL, NULL, 100000)", position, self.size())
        page = [message[4] for message in json.loads(f"[{body}]")]
        return page, page[-1] + 1 if page else position


class Export(Reader):
    def fetch(self, position):
        ((body, count, following), ) = self.sql(
            "SELECT body, count, next_position FROM millrace.json_export('default', %s, NULL, NULL, NULL, 200000)",
            position)
        page = [int(found) for found in GLOBAL_POSITION.findall(body)]
        return page, page[-1] + 1 if page else position


class Snapshot(Reader):
    """Reads all in a REPEATABLE READ transaction, for a while, and again: never less than the first time.  Concurrent
    builds of indexes wait for it."""

    def fetch(self, position):
        self.sql("BEGIN ISOLATION LEVEL REPEATABLE READ")
        first = self.read(position)
        time.sleep(self.random.random() * 4)
        second = self.read(position)
        self.sql("COMMIT")
        if second[:len(first)] != first:
            same = next((n for n, pair in enumerate(zip(first, second)) if pair[0] != pair[1]),
                        min(len(first), len(second)))
            self.problems.append(
                f"a snapshot showed {len(first)} messages from {position} on, and then {len(second)}, "
                f"of which {same} are the same"
            )
        return second, second[-1] + 1 if second else position

    def read(self, position):
        self.progress()
        return [row[0] for row in self.sql("SELECT global_position FROM millrace.read_all(%s, 100000)", position)]


class Plain(Reader):
    """What a reader does that goes by global positions without our functions, and so misses messages: --plain-reader
    shows that this is noticed."""

    def fetch(self, position):
        return self.rows(
            "SELECT global_position FROM message_store.messages WHERE global_position >= %s ORDER BY 1 LIMIT %s",
            position, self.size())


class Stream(Reader):
    """Goes by the positions of one stream: 0, 1, 2, and so on."""

    name_of_stream, beginning = "a-1", 0
    query = "SELECT global_position, \"position\" FROM millrace.read_stream(%s, %s, %s)"

    def step(self):
        rows = self.sql(self.query, self.name_of_stream, self.position, self.size())
        for global_position, position in rows:
            if position != self.position:
                self.problems.append(
                    f"position {position} of {self.name_of_stream} came where {self.position} was wanted")
            self.seen.append(global_position)
            self.position = position + 1
        self.progress()
        time.sleep(0 if rows else 0.05)

    def finished(self):
        return self.target is not None and (bool(self.seen) and self.seen[-1] >= self.target or self.target == 0)

    def wants(self, category, batch):
        return category == "a" and self.ledger.batches[batch].stream == self.name_of_stream


class MessageDbStream(Stream):
    name_of_stream = "a-2"
    query = "SELECT global_position, \"position\" FROM message_store.get_stream_messages(%s::varchar, %s, %s)"


KINDS = [
    All, Category, Edited, Imported, Filtered, Cursor, Feed, Bounded, BoundedAll, MessageDbCategory, MessageDbCondition,
    Json, Export, Stream, MessageDbStream, Snapshot
]


def make(cluster, clock, seed, ledger, where):
    readers = [kind(f"reader {where} {kind.__name__}", cluster, clock, seed, ledger) for kind in KINDS]
    for member in range(GROUP):
        readers.append(Member(f"reader {where} Member {member}", cluster, clock, seed, ledger))
        readers[-1].member = member
    return readers


def judge(reader, expected, stored, deleted, counts):
    """`expected` and `stored`: rising arrays of global positions.  Returns nothing; what was deleted by hand may have
    been seen or not."""
    seen = set(reader.seen)
    missed = [position for position in expected if position not in seen]
    if missed:
        counts.add("missed", f"{reader.name} missed {missed[0]} to {missed[-1]}", len(missed))
    if len(seen) < len(reader.seen):
        counts.add("twice", f"{reader.name} had messages twice", len(reader.seen) - len(seen))
    disorder = sum(later < earlier for earlier, later in zip(reader.seen, reader.seen[1:]))
    if disorder:
        counts.add("out_of_order", f"{reader.name} went back", disorder)
    gone = [position for position in seen if position not in deleted and not there(stored, position)]
    if gone:
        counts.add("missed", f"{reader.name} had {min(gone)} to {max(gone)}, which are no longer stored", len(gone))


def there(positions, position):
    at = bisect_left(positions, position)
    return at < len(positions) and positions[at] == position
