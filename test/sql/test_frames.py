"""append_batch and import_batch on thousands of frames that are nearly right.

Each says what is wrong with a frame, by one of the SQLSTATEs that are meant for it, and only what a second reader, the
one below, can't read either is malformed.  The server lives through all of it, and what it stored is whole.  `make test
SAN=1` looks into its memory, too.
"""
import random
import struct
import uuid

import psycopg2
import pytest

from store import sql

FRAMES = 4000
NONE = b"\xff\xff\xff\xff"
MALFORMED = "MR011"
REFUSED = {
    "MR006", "MR007", "MR008", "MR009",  # names and versions
    "22P02", "22P05", "22021", "54001", "22003",  # no JSON; \u0000; not UTF-8; too deep; a number too large
    "23505",  # version 2 says that an id is new
}


# Writing


def string(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack(">I", len(data)) + data + b"\0"


def mostly(dice, right, wrong):
    return dice.choice(right if dice.random() < 0.98 else wrong)


def some_json(dice):
    return mostly(dice, [
        '{}', '{"a": 1}', '{"é": "\\u00e9"}', '{"a": ' * 50 + "1" + "}" * 50, '{"n": 1e300}',
        '{"a": "' + "x" * 3000 + '"}'
    ], ["[1]", '{"u": "\\u0000"}', "{", '{"a": ' * 9000 + "1" + "}" * 9000])


def some_metadata(dice):
    return NONE if dice.random() < 0.5 else string(some_json(dice))


def some_id(dice):
    return uuid.UUID(int=dice.choice([dice.getrandbits(128), dice.randrange(8)])).bytes


def message(dice):
    return some_id(dice) + string(dice.choice(["T", "Typed", "é"])) + string(some_json(dice)) + some_metadata(dice)


def part(dice):
    messages = [message(dice) for _ in range(dice.choice([1, 1, 2, 5]))]
    expected = mostly(dice, [-2**63, -2**63, -1, 0, 3], [-2])
    return string(dice.choice(["a-1", "a-2", "b", "c-" + "n" * 100])) + struct.pack(">qI", expected,
                                                                                    len(messages)) + b"".join(messages)


def request(dice):
    parts = [part(dice) for _ in range(dice.choice([1, 1, 3]))]
    return string(dice.choice(["default", "default", "nowhere"])) + struct.pack(">I", len(parts)) + b"".join(parts)


def batch(dice):
    requests = [request(dice) for _ in range(dice.choice([1, 2, 4]))]
    return bytes([dice.choice([1, 1, 2])]) + struct.pack(">I", len(requests)) + b"".join(requests)


def record(dice):
    return (some_id(dice) + string(dice.choice(["a-1", "a-2"])) + string("T") +
            struct.pack(">qqq", mostly(dice, [dice.randrange(2**40)], [-1, 2**63 - 1]),
                        mostly(dice, [dice.randrange(1, 2**40)], [0, 2**63 - 1]),
                        mostly(dice, [0, 1, 8 * 10**14], [-2**63, 2**63 - 1])) + string(some_json(dice)) +
            some_metadata(dice))


def records(dice):
    rows = [record(dice) for _ in range(dice.choice([1, 2, 5]))]
    return b"\1" + struct.pack(">I", len(rows)) + b"".join(rows)


def spoil(dice, frame):
    """Changes a few places: bits, lengths and counts, a piece taken out, put in twice, or moved; the end."""
    frame = bytearray(frame)
    for _ in range(dice.choice([0, 1, 1, 1, 2, 5])):
        at = dice.randrange(len(frame) + 1)
        piece = frame[at:at + dice.choice([1, 4, 16, 200])]
        how = dice.randrange(7)
        if how == 0 and at < len(frame):
            frame[at] ^= 1 << dice.randrange(8)
        elif how == 1:
            frame[at:at + 4] = dice.choice(
                [b"\0\0\0\0", NONE, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\0\0\xff\xff"])
        elif how == 2:
            del frame[at:at + len(piece)]
        elif how == 3:
            frame[at:at] = piece
        elif how == 4:
            frame[at:at] = dice.choice([b"\0", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"{", b'"', b"\\u0000"])
        elif how == 5:
            del frame[at:]
        else:
            frame += dice.randbytes(dice.choice([1, 30]))
        frame = frame or bytearray(b"\1")
    return bytes(frame)


# Reading, as extension/README.md describes it


class Malformed(Exception):
    pass


class Reader:
    def __init__(self, frame, newest):
        self.frame, self.at = frame, 0
        if self.take(1)[0] not in range(1, newest + 1):
            raise Malformed

    def take(self, count):
        if count > len(self.frame) - self.at:
            raise Malformed
        self.at += count
        return self.frame[self.at - count:self.at]

    def unpack(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def string(self, optional=False):
        length, = self.unpack(">I")
        if length == 0xFFFFFFFF:
            if optional:
                return
            raise Malformed
        text = self.take(length + 1)
        if text.find(b"\0") != length:
            raise Malformed

    def repeat(self, least, read):
        count, = self.unpack(">I")
        if count == 0 or count * least > len(self.frame) - self.at:
            raise Malformed
        for _ in range(count):
            read()

    def message(self):
        self.take(16)
        self.string()
        self.string()
        self.string(optional=True)

    def part(self):
        self.string()
        self.take(8)
        self.repeat(28, self.message)

    def request(self):
        self.string()
        self.repeat(16, self.part)

    def record(self):
        self.take(16)
        self.string()
        self.string()
        self.take(24)
        self.string()
        self.string(optional=True)

    def end(self):
        if self.at != len(self.frame):
            raise Malformed


def is_malformed(frame, importing):
    try:
        reader = Reader(frame, 1 if importing else 2)
        reader.repeat(59 if importing else 8, reader.record if importing else reader.request)
        reader.end()
        return False
    except Malformed:
        return True


@pytest.fixture
def connection(cluster):
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    for name in ("default", "imported"):
        sql(connection, "SELECT millrace.create_namespace(%s)", name)
    sql(connection, "SELECT set_config('max_stack_depth', '500kB', false)")
    return connection


def verdict_of(connection, statement, frame):
    """The SQLSTATE that the frame as a whole is refused with, None when it is taken."""
    try:
        sql(connection, statement, frame)
    except psycopg2.Error as error:
        assert error.pgcode, f"the server is gone: {error}"
        return error.pgcode


@pytest.mark.parametrize("importing", [False, True], ids=["append_batch", "import_batch"])
def test_a_frame_is_taken_or_refused_for_what_is_wrong_with_it(connection, importing):
    statement = "SELECT * FROM millrace." + ("import_batch('imported', %s)" if importing else "append_batch(%s)")
    [(backend,)] = sql(connection, "SELECT pg_backend_pid()")
    dice = random.Random(6)
    seen = {}
    for number in range(FRAMES):
        frame = spoil(dice, (records if importing else batch)(dice))
        verdict = verdict_of(connection, statement, frame)
        seen[verdict] = seen.get(verdict, 0) + 1
        malformed = is_malformed(frame, importing)
        # What is wrong further in front is said first.
        allowed = REFUSED | {MALFORMED} if malformed else REFUSED | {None}
        if importing:
            allowed = allowed | {None}  # a position out of range ends the reading
        assert verdict in allowed, (number, verdict, malformed, frame)
    assert sql(connection, "SELECT pg_backend_pid()") == [(backend,)]
    assert seen[None] > FRAMES / 20 and seen[MALFORMED] > FRAMES / 20, seen
    if not importing:
        gaps = ("SELECT stream_name FROM millrace_default.messages "
                "GROUP BY 1 HAVING count(*) <> max(position) + 1 OR min(position) <> 0")
        assert sql(connection, gaps) == []
