"""The workers that append: single messages, batches, transactions with savepoints, prepared ones, imports, and what
fails."""
import math
import struct
import time
import uuid

import psycopg2

from ledger import ABSENT, EITHER, STORED
from worker import Worker, lost

CATEGORIES = ["a", "b", "c"]
EDITED = ["d"]  # rows of these are changed and deleted by hand
IMPORTED = "i"
FIRST = 10_000_000  # the appends' first global position; imports go below
MOST = 20_000  # messages of a batch

MESSAGES = (
    "(SELECT array_agg((CASE WHEN %(b)s %% 2 = 0 THEN 'Even' ELSE 'Odd' END, "
    "jsonb_build_object('b', %(b)s, 'n', n), NULL, md5(%(b)s || '-' || n)::uuid)::millrace.new_message ORDER BY n) "
    "FROM generate_series(0, %(count)s - 1) AS n)")
APPEND = ("SELECT \"position\", global_position, last_global_position "
          f"FROM millrace.append_messages(%(stream)s, {MESSAGES})")
APPEND_STREAMS = (
    "SELECT \"position\", global_position, last_global_position "
    "FROM millrace.append_streams(ARRAY[{}]::millrace.stream_append[])"
)
ONE = (
    "SELECT \"position\", global_position, global_position FROM millrace.append(%(stream)s, "
    "CASE WHEN %(b)s %% 2 = 0 THEN 'Even' ELSE 'Odd' END, jsonb_build_object('b', %(b)s, 'n', 0), "
    "id => md5(%(b)s || '-0')::uuid)")


class Writer(Worker):
    pause = 0.02

    def stream(self):
        category = self.random.choice(CATEGORIES * 3 + EDITED)
        return f"{category}-{self.random.randrange(30)}"

    def size(self):
        return 1

    def connected(self):
        self.limited = False

    def limit(self):
        """At times a statement may take so little time that it is cancelled somewhere."""
        if self.limited or self.random.random() < 0.15:
            self.limited = not self.limited
            limit = self.random.choice([1, 2, 5, 20, 100]) if self.limited else 0
            self.sql(f"SET statement_timeout = {limit}")

    def query(self, statement, arguments):
        with self.connection.cursor() as cursor:
            cursor.execute(statement, arguments)
            return cursor.fetchall()

    def append(self, transaction, stream, count):
        """One call in a transaction of the caller's."""
        number = transaction.batch(stream, count)
        self.send(transaction, number, stream, count)

    def send(self, transaction, number, stream, count):
        arguments = {"b": number, "count": count, "stream": stream}
        ((position, first, last),) = self.query(ONE if count == 1 else APPEND, arguments)
        transaction.answered(number, position, first, last)

    def step(self):
        self.limit()
        self.write()
        self.progress()
        time.sleep(self.random.random() * 2 * self.pause)

    def in_transaction(self, work):
        """work(transaction) between BEGIN and COMMIT or ROLLBACK."""
        transaction = self.ledger.begin()
        self.sql("BEGIN")
        work(transaction)
        if self.random.random() < 0.25:
            self.sql("ROLLBACK")
            transaction.end(ABSENT)
            return
        try:
            self.sql("COMMIT")
        except psycopg2.Error as error:
            transaction.end(EITHER if lost(error) else ABSENT)
            raise
        transaction.end(STORED)


class Single(Writer):
    """One message a statement, with an id, repeated until there is an answer."""

    def write(self):
        transaction, stream, count = self.ledger.begin(), self.stream(), self.size()
        number = transaction.batch(stream, count)
        for _ in range(5):
            try:
                if self.connection is None:
                    self.connect()
                self.send(transaction, number, stream, count)
                transaction.end(STORED)
                return
            except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
                if not lost(error) and not isinstance(error, psycopg2.InterfaceError):
                    raise  # refused: where an earlier answer was lost it stays unknown
                transaction.end(EITHER)
                self.failed(error)
                if stream.split("-")[0] in EDITED:
                    return  # the row may have been deleted since


class Batches(Single):
    pause = 0.4

    def size(self):
        return int(math.exp(self.random.random() * math.log(MOST)))


class Largest(Single):
    """Batches of 20,000 and 10,000, whose entries take long to come."""

    pause = 5

    def size(self):
        return self.random.choice([MOST, MOST // 2])


class Streams(Writer):
    """Several streams in one call."""

    pause = 0.1

    def write(self):
        transaction = self.ledger.begin()
        streams = sorted({self.stream() for _ in range(self.random.randrange(2, 12))})
        batches = [(transaction.batch(stream, count), stream, count) for stream in streams
                   for count in [self.random.choice([1, 2, 50])]]
        parts, arguments = [], {}
        for i, (number, stream, count) in enumerate(batches):
            parts.append(f"(%(stream{i})s, " +
                         MESSAGES.replace("%(b)s", f"%(b{i})s").replace("%(count)s", f"%(count{i})s") + ", NULL)")
            arguments.update({f"stream{i}": stream, f"b{i}": number, f"count{i}": count})
        try:
            rows = self.query(APPEND_STREAMS.format(", ".join(parts)), arguments)
        except psycopg2.Error as error:
            transaction.end(EITHER if lost(error) else ABSENT)
            raise
        for (number, _, _), row in zip(batches, rows):
            transaction.answered(number, *row)
        transaction.end(STORED)


class Savepoints(Writer):
    pause = 0.1

    def write(self):
        self.in_transaction(self.work)

    def work(self, transaction):
        self.append(transaction, self.stream(), 1)
        for _ in range(self.random.randrange(1, 5)):
            mark = transaction.savepoint()
            self.sql("SAVEPOINT s")
            self.append(transaction, self.stream(), self.random.choice([1, 1, 10, 1500]))
            time.sleep(self.random.random() * 0.02)
            if self.random.random() < 0.5:
                self.sql("ROLLBACK TO SAVEPOINT s")
                transaction.roll_back_to(mark)
            elif self.random.random() < 0.7:
                self.sql("RELEASE SAVEPOINT s")


class Prepared(Writer):
    """Two-phase commit.  What it decided to do with a transaction it does, after crashes, too."""

    pause = 0.3

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.pending = None  # (name, transaction, commit or not)

    def finished(self):
        return super().finished() and self.pending is None

    def write(self):
        if self.pending is None:
            self.sql("SET statement_timeout = 0")
            transaction, name = self.ledger.begin(), f"{self.name} {uuid.uuid4()}"
            self.sql("BEGIN")
            for _ in range(self.random.choice([1, 1, 3])):
                self.append(transaction, self.stream(), self.random.choice([1, 1, 10, 3000]))
            self.pending = (name, transaction, self.random.random() < 0.6)
            try:
                self.sql(f"PREPARE TRANSACTION '{name}'")
            except psycopg2.Error as error:
                if not lost(error):
                    self.pending = None  # refused
                raise
            time.sleep(self.random.random() ** 3 * 3)
        self.finish()

    def finish(self):
        name, transaction, commit = self.pending
        if not self.sql("SELECT 1 FROM pg_prepared_xacts WHERE gid = %s", name):
            self.pending = None  # it never was prepared
            transaction.end(ABSENT)
            return
        if commit:
            transaction.end(STORED if all(batch.last for batch in transaction.open) else EITHER)
        try:
            self.sql(f"{'COMMIT' if commit else 'ROLLBACK'} PREPARED '{name}'")
        except psycopg2.Error as error:
            if not lost(error):
                raise
            self.failed(error)
            self.settle(name, commit)
        self.pending = None

    def settle(self, name, commit):
        """After a lost answer: once more, if it is still there."""
        while True:
            try:
                self.connect()
                if self.sql("SELECT 1 FROM pg_prepared_xacts WHERE gid = %s", name):
                    self.sql(f"{'COMMIT' if commit else 'ROLLBACK'} PREPARED '{name}'")
                return
            except psycopg2.Error as error:
                self.failed(error)
                time.sleep(0.1)


class MessageDb(Writer):
    """Message DB's write_message(), several in a transaction."""

    def write(self):
        self.in_transaction(
            lambda transaction: [self.message(transaction) for _ in range(self.random.choice([1, 1, 3]))])

    def message(self, transaction):
        stream = self.stream()
        number = transaction.batch(stream, 1)
        arguments = {"b": number, "stream": stream}
        ((position, ), ) = self.query(
            "SELECT message_store.write_message(md5(%(b)s || '-0')::uuid::varchar, %(stream)s::varchar, "
            "(CASE WHEN %(b)s %% 2 = 0 THEN 'Even' ELSE 'Odd' END)::varchar, "
            "jsonb_build_object('b', %(b)s, 'n', 0))", arguments)
        # The stream is ours until the transaction ends.
        ((first, ), ) = self.query(
            "SELECT global_position FROM message_store.get_last_stream_message(%(stream)s::varchar)", arguments)
        transaction.answered(number, position, first, first)


class Failing(Writer):
    """Appends that are refused: by a version, by an id, for their size, and under the append lock by a further column
    of an index."""

    expected = Writer.expected | {"MR001", "MR002", "23505", "54000", "22P02", "MR009"}
    pause = 0.1

    def write(self):
        how = self.random.randrange(4)
        long = "".join(self.random.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(3800))
        category = self.random.choice(CATEGORIES)
        if how == 0:
            self.sql("SELECT millrace.append(%s, 'T', '{}', expected_version => 1000000000)", f"{category}-1")
        elif how == 1:
            self.sql(
                "SELECT millrace.append_messages(%s, (SELECT array_agg((%s, '{}', NULL, NULL)::millrace.new_message) "
                "FROM generate_series(1, 300)))",
                long[:1900], long[1900:])
        elif how == 2:
            self.sql("SELECT message_store.write_message(gen_random_uuid()::varchar, %s::varchar, 'T', '{}')",
                     long + "-1")
        else:
            self.sql(
                "SELECT millrace.append_messages(%s, (SELECT array_agg(('T', '{}', NULL, %s)::millrace.new_message) "
                "FROM generate_series(1, 2)))",
                f"{category}-1", str(uuid.uuid4()))

    def failed(self, error):
        super().failed(error)
        self.progress()


def string(value):
    return struct.pack(">I", len(value)) + value.encode() + b"\0"


class Importer(Writer):
    """Messages with positions and global positions of their own, below all others; its readers are the only ones of its
    category."""

    pause = 0.3

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.position, self.global_position = 0, 1

    def limit(self):
        pass  # an import is repeated until it succeeds

    def write(self):
        transaction, stream, count = self.ledger.begin(), f"{IMPORTED}-1", self.random.choice([1, 10, 500])
        number = transaction.batch(stream, count)
        transaction.answered(number, self.position, self.global_position, self.global_position + count - 1)
        while not self.imported(transaction, number, stream, count):
            pass
        self.position, self.global_position = self.position + count, self.global_position + count + self.random.choice(
            [0, 0, 7])

    def imported(self, transaction, number, stream, count):
        records = b"".join(
            uuid.uuid5(uuid.NAMESPACE_OID, f"{number}-{n}").bytes + string(stream) +
            string("Even" if number % 2 == 0 else "Odd") +
            struct.pack(">qqq", self.position + n, self.global_position + n, 0) +
            string(f'{{"b": {number}, "n": {n}}}') + b"\xff\xff\xff\xff" for n in range(count))
        frame = b"\1" + struct.pack(">I", count) + records
        try:
            if self.connection is None:
                self.connect()
            ((imported, state), ) = self.sql("SELECT imported, sqlstate FROM millrace.import_batch('default', %s)",
                                             psycopg2.Binary(frame))
        except psycopg2.Error as error:
            self.failed(error)
            return False
        # Refused for what is there already: an answer was lost.
        if not imported and state not in ("MR013", "23505"):
            raise AssertionError(f"an import was refused: {state}")
        transaction.end(STORED)
        return True


KINDS = [
    Single, Single, Single, Batches, Batches, Largest, Streams, Savepoints, Savepoints, Prepared, Prepared, MessageDb,
    Failing, Importer
]


def make(cluster, clock, seed, ledger):
    writers = []
    for number, kind in enumerate(KINDS):
        writer = kind(f"writer {number} {kind.__name__}", cluster, clock, seed)
        writer.ledger = ledger
        writers.append(writer)
    return writers
