"""Judges what concurrent clients saw: was the store one log to all of them, whatever happened to it?

Clients record every call with its start, its end (time.monotonic()) and its outcome; `check` compares the
calls with each other and with what is stored at the end.

A stream is a register whose value is its version.  Appends change it, in the order of their positions; a read or
a conflict observes one version.  That makes an order of all calls on the stream, and the stream is linearizable
exactly if that order respects real time: no call may have ended before one that must come earlier began.

A message is known by its mark, a text in its data that no other message has.  So messages stored twice are found
whether or not they share an id.
"""
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from math import inf

STORED = "stored"      # answered with positions
CONFLICT = "conflict"  # answered with the version that the stream had instead
UNKNOWN = "unknown"    # the answer was lost: all of it is stored, once, or nothing
FAILED = "failed"      # answered with another error; may be stored, as UNKNOWN
NEVER = inf            # the end of a call whose effect may still come

# Kinds of problems
LOST = "lost"
DUPLICATED = "duplicated"
HOLE = "hole"
MISPLACED = "not where it was acknowledged"
FOREIGN = "stored by nobody"
TORN = "stored in part"
REFUSED_BUT_STORED = "refused but stored"
OUT_OF_ORDER = "out of order"
BAD_EXPECTATION = "appended to another version than expected"
FALSE_CONFLICT = "false conflict"
STALE_READ = "stale read"
WRONG_READ = "wrong read"
SKIPPED = "skipped by a reader"


@dataclass(slots=True)
class Message:
    """A message as it was read."""
    id: str
    stream: str
    position: int
    global_position: int
    mark: str


@dataclass(slots=True)
class Part:
    """What a call appends to one stream, and the answer."""
    stream: str
    marks: list
    ids: list = None  # when the client gave them
    position: int = None
    last_position: int = None
    global_position: int = None
    last_global_position: int = None


@dataclass(slots=True)
class Append:
    parts: list
    start: float
    end: float
    outcome: str
    expected: int = None  # of the only part
    actual: int = None    # of a conflict
    answer: object = None  # of a failure

    @property
    def what(self):
        return f"append of {self.parts[0].marks[0]} to {self.parts[0].stream}"


@dataclass(slots=True)
class Observation:
    """A read of a stream, and the version that it showed; -1: no message, None: it doesn't show, there may be more."""
    stream: str
    start: float
    end: float
    version: int
    rows: list = field(default_factory=list)  # Message, if it brought any

    @property
    def what(self):
        return f"read of version {self.version} of {self.stream}"


@dataclass(slots=True)
class Follower:
    """All that a reader got that always went on from its last global position."""
    name: str
    rows: list = field(default_factory=list)  # Message
    finished: bool = False  # it read on until nothing came, after the last append


class Verdict:
    def __init__(self):
        self.problems = []  # (kind, text)
        self.acknowledged = 0

    def complain(self, kind, text):
        self.problems.append((kind, text))

    def count(self, kind):
        return sum(each == kind for each, _ in self.problems)

    def counts(self):
        return Counter(kind for kind, _ in self.problems)

    def text(self, most=20):
        lines = [f"{kind}: {text}" for kind, text in self.problems[:most]]
        more = len(self.problems) - most
        return "\n".join(lines + ([f"and {more} more"] if more > 0 else []))


def check(appends, observations, followers, stored):
    """`stored`: every message at the end, in global order."""
    verdict = Verdict()
    by_mark, by_stream = defaultdict(list), defaultdict(list)
    for message in stored:
        by_mark[message.mark].append(message)
        by_stream[message.stream].append(message)
    check_log(verdict, stored, by_mark, by_stream)
    for append in appends:
        check_append(verdict, append, by_mark)
    check_foreign(verdict, appends, by_mark)
    check_rows(verdict, observations, by_stream)
    check_streams(verdict, appends, observations, by_mark, by_stream)
    check_real_time(verdict, appends, by_mark)
    for follower in followers:
        check_follower(verdict, follower, stored)
    return verdict


def check_log(verdict, stored, by_mark, by_stream):
    """The log by itself: nothing twice, no holes, both orders agree."""
    for mark, messages in by_mark.items():
        for message in messages[1:]:
            verdict.complain(DUPLICATED, f"{mark} at {place(messages[0])} and at {place(message)}")
    for what in ("id", "global_position"):
        for value, times in Counter(getattr(message, what) for message in stored).items():
            if times > 1:
                verdict.complain(DUPLICATED, f"{what} {value} is there {times} times")
    for earlier, later in zip(stored, stored[1:]):
        if later.global_position < earlier.global_position:
            verdict.complain(OUT_OF_ORDER, f"{place(later)} was read after {place(earlier)}")
    for stream, messages in by_stream.items():
        positions = [message.position for message in messages]
        for hole in sorted(set(range(max(positions) + 1)) - set(positions)):
            verdict.complain(HOLE, f"nothing at position {hole} of {stream}, which goes on to {max(positions)}")
        for position, times in Counter(positions).items():
            if times > 1:
                verdict.complain(DUPLICATED, f"position {position} of {stream} is there {times} times")
        if positions != sorted(positions):
            verdict.complain(OUT_OF_ORDER, f"positions of {stream} do not rise with global positions")


def check_append(verdict, append, by_mark):
    """What was acknowledged is there, where it was acknowledged; what was refused is not."""
    found = [mark for part in append.parts for mark in part.marks if mark in by_mark]
    wanted = sum(len(part.marks) for part in append.parts)
    if append.outcome == CONFLICT and found:
        verdict.complain(REFUSED_BUT_STORED, append.what)
    if append.outcome == STORED:
        verdict.acknowledged += wanted
        for part in append.parts:
            check_part(verdict, append, part, by_mark)
    elif 0 < len(found) < wanted:
        verdict.complain(TORN, f"{append.what}: {len(found)} of {wanted} messages")
    if append.outcome == FAILED:
        verdict.complain(FAILED, f"{append.what}: {append.answer}")


def check_part(verdict, append, part, by_mark):
    if part.last_position - part.position != len(part.marks) - 1:
        verdict.complain(MISPLACED,
                         f"{append.what}: {len(part.marks)} messages at {part.position} to {part.last_position}")
    if append.expected is not None and part.position != append.expected + 1:
        verdict.complain(BAD_EXPECTATION, f"{append.what}: expected {append.expected}, got position {part.position}")
    for n, mark in enumerate(part.marks):
        if mark not in by_mark:
            verdict.complain(LOST, f"{mark}, acknowledged at position {part.position + n} of {part.stream}")
            continue
        message = by_mark[mark][0]
        globally = {0: part.global_position,
                    len(part.marks) - 1: part.last_global_position}.get(n, message.global_position)
        wanted = (part.stream, part.position + n, globally, part.ids[n] if part.ids else message.id)
        if (message.stream, message.position, message.global_position, message.id) != wanted:
            verdict.complain(MISPLACED, f"{mark} is at {place(message)}, acknowledged was {wanted}")


def check_foreign(verdict, appends, by_mark):
    ours = {mark for append in appends for part in append.parts for mark in part.marks}
    for mark in by_mark.keys() - ours:
        verdict.complain(FOREIGN, f"{mark} at {place(by_mark[mark][0])}")


def check_rows(verdict, observations, by_stream):
    """Reads brought what is stored."""
    for observation in observations:
        stored = by_stream.get(observation.stream, [])
        for row in observation.rows:
            if row.position >= len(stored):
                verdict.complain(LOST, f"{row.mark} was read at {place(row)}")
            elif stored[row.position] != row:
                verdict.complain(WRONG_READ, f"{row}; stored is {stored[row.position]}")


def check_streams(verdict, appends, observations, by_mark, by_stream):
    """Every stream is linearizable; see the top of this file."""
    calls = defaultdict(list)  # stream -> (version, 0 for what made it, 1 for a call that saw it; start, end, call)
    for append in appends:
        if append.outcome == CONFLICT:
            stream = append.parts[0].stream
            if append.actual == append.expected:
                verdict.complain(FALSE_CONFLICT, f"{append.what}: expected and actual are {append.actual}")
            calls[stream].append((append.actual, 1, append.start, append.end, append))
            continue
        for part in append.parts:
            last = by_mark.get(part.marks[-1])
            if last:
                end = append.end if append.outcome == STORED else NEVER
                calls[part.stream].append((last[0].position, 0, append.start, end, append))
    for observation in observations:
        if observation.version is None:
            continue
        calls[observation.stream].append((observation.version, 1, observation.start, observation.end, observation))
    for stream, list_ in calls.items():
        list_.sort(key=lambda call: call[:2])
        check_order(verdict, list_)
        check_seen(verdict, list_, stream, by_stream)


def check_order(verdict, calls):
    """No call ended before one of a smaller key began."""
    newest_start, newest = -inf, None  # of all smaller keys
    group_key, group_start, group_newest = None, -inf, None
    for version, rank, start, end, call in calls:
        if (version, rank) != group_key:
            if group_start > newest_start:
                newest_start, newest = group_start, group_newest
            group_key, group_start, group_newest = (version, rank), -inf, None
        if end < newest_start:
            verdict.complain(kind_of_disorder(newest, call),
                             f"{call.what} ended before the {newest.what} began, which must come first")
        if start > group_start:
            group_start, group_newest = start, call


def kind_of_disorder(must_be_first, call):
    """The observer is to blame, if one of the two is."""
    for each in (must_be_first, call):
        if isinstance(each, Observation):
            return STALE_READ
        if each.outcome == CONFLICT:
            return FALSE_CONFLICT
    return OUT_OF_ORDER


def check_seen(verdict, calls, stream, by_stream):
    """Every version that was seen is one that a call made."""
    made = {version for version, rank, *_ in calls if rank == 0}
    for version, rank, _, _, call in calls:
        if rank == 1 and version != -1 and version not in made:
            there = version < len(by_stream.get(stream, []))
            kind = FALSE_CONFLICT if isinstance(call, Append) else STALE_READ if there else LOST
            verdict.complain(kind, f"{call.what} saw version {version}, which {stream} never had")


def check_real_time(verdict, appends, by_mark):
    """Over all streams: a message that was acknowledged before another was asked for has the smaller global
    position."""
    done = sorted(((by_mark[mark][0].global_position, append) for append in appends for part in append.parts
                   for mark in part.marks if mark in by_mark), key=lambda pair: pair[0])
    newest = None
    for _, append in done:
        if newest is not None and append.outcome == STORED and append.end < newest.start:
            verdict.complain(OUT_OF_ORDER,
                             f"{append.what} ended before the {newest.what} began, and has a larger global position")
        if newest is None or append.start > newest.start:
            newest = append


def check_follower(verdict, follower, stored):
    """What a follower saw is a prefix of the log: all of it if it finished."""
    last = inf if follower.finished else max((row.global_position for row in follower.rows), default=-inf)
    expected = {message.global_position: message for message in stored if message.global_position <= last}
    seen = {row.global_position for row in follower.rows}
    for position in expected.keys() - seen:
        verdict.complain(SKIPPED, f"{place(expected[position])}, by {follower.name}")
    for earlier, later in zip(follower.rows, follower.rows[1:]):
        if later.global_position <= earlier.global_position:
            verdict.complain(OUT_OF_ORDER, f"{follower.name} saw {place(later)} after {place(earlier)}")
    for row in follower.rows:
        if row.global_position not in expected:
            verdict.complain(LOST, f"{follower.name} had seen {place(row)}")
        elif expected[row.global_position] != row:
            verdict.complain(WRONG_READ, f"{follower.name} saw {row}; stored is {expected[row.global_position]}")


def place(message):
    return f"{message.stream}[{message.position}], global position {message.global_position}"
