"""Where Postgres's sessions spend their time while members consume: `make bench-consumers ARGS='--profile 100'`.

For ours, ours with settling and asking in one statement, and the queue Q: processor time by function (perf), what the
sessions wait for, records and flushes of the WAL, system calls (strace), all of one claim.  As root, or with
kernel.perf_event_paranoid of -1.
"""
import bisect
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from contextlib import contextmanager
from itertools import islice

from measure import PG_BIN, privileged, row, sql

HERTZ = 1999
ROWS = 45
RUNS = 3
PAUSE = 0.01  # between two looks at what sessions wait for

ACTIVITY = """SELECT CASE WHEN wait_event IS NULL THEN 'running' ELSE wait_event_type || ' ' || wait_event END
        || ', ' || CASE WHEN query ~ 'consumer_next|taken' THEN 'taking' ELSE 'settling' END
    FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND backend_type = 'client backend'
        AND query ~ 'consumer_|queue'"""


@contextmanager
def watched(*command):
    """A program that looks on, until the block ends."""
    with privileged():
        program = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    time.sleep(0.5)  # nothing says that it has begun
    try:
        yield
    finally:
        with privileged():
            program.send_signal(signal.SIGINT)
            program.wait()


def output_of(*command):
    with privileged():
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class Exported:
    """Names for functions of Postgres that its program has no names of."""

    def __init__(self):
        found = re.findall(r"^([0-9a-f]+) [tT] ([^@\s]+)", output_of("nm", "-D", f"{PG_BIN}/postgres"), re.M)
        self.functions = sorted((int(address, 16), name) for address, name in found)

    def name(self, symbol):
        if not symbol.startswith("0x"):
            return symbol
        at = bisect.bisect(self.functions, (int(symbol, 16), "")) - 1
        return f"static, behind {self.functions[at][1]}" if 0 <= at < len(self.functions) - 1 else "unknown"


def by_function(sides, side, exported):
    """Microseconds of a claim by function and library; the claims."""
    file = str(sides.cluster.folder / "perf")
    with watched("perf", "record", "-qN", "-e", "cpu-clock", "-F", str(HERTZ), "-o", file, "-p", str(sides.postmaster)):
        claims = sum(side()["calls"] for _ in range(RUNS))
    report = output_of("perf", "report", "-f", "-i", file, "--stdio", "--no-children", "-F", "sample,dso,symbol")
    found = Counter()
    for count, library, symbol in re.findall(r"^ *(\d+) +(\S+) +\[.\] (.+?) *$", report, re.M):
        name = exported.name(symbol) if library == "postgres" else symbol
        found[f"{name} ({library})"] += int(count) / HERTZ * 1e6 / claims
    return found


def waits(sides, side):
    """How many sessions are at something, on average."""
    seen, looks, ended = Counter(), [0], threading.Event()
    connection = sides.cluster.connect("consumers")

    def look():
        while not ended.wait(PAUSE):
            seen.update(wait for wait, in sql(connection, ACTIVITY))
            looks[0] += 1

    thread = threading.Thread(target=look)
    thread.start()
    try:
        side()
    finally:
        ended.set()
        thread.join()
        connection.close()
    return Counter({name: count / max(looks[0], 1) for name, count in seen.items()})


def wal(sides, side):
    """What pg_stat_wal counts, of one claim, without what fills the queue."""
    run, found = sides.run, Counter()

    def state():
        time.sleep(1.5)  # sessions report once a second at most
        counts = sql(sides.connection, "SELECT to_jsonb(w) - 'stats_reset' FROM pg_stat_wal w")[0][0]
        return {name: float(value) for name, value in counts.items() if not name.endswith("_time")}

    def counted(*arguments, **more):
        before = state()
        result = run(*arguments, **more)
        found.update({name: (value - before[name]) / result["calls"] for name, value in state().items()})
        return result

    sides.run = counted
    try:
        side()
    finally:
        sides.run = run
    return found


def system_calls(sides, side):
    file = sides.cluster.folder / "strace"
    with watched("strace", "-f", "-c", "-o", str(file), "-p", str(sides.postmaster)):
        claims = side()["calls"]
    lines = [line.split() for line in output_of("cat", str(file)).splitlines()]
    return Counter({words[-1]: int(words[3]) / claims for words in lines
                    if len(words) >= 5 and words[3].isdigit() and words[-1] != "total"})


def table(title, found, rows, least):
    """The largest figures of the first side, with those of the others beside."""
    print(f"\n== {title}", flush=True)
    row("", *found)
    row("all", *(sum(each.values()) for each in found.values()))
    first, *others = found.values()
    order = sorted(set().union(*found.values()), key=lambda name: (-first[name], -sum(each[name] for each in others)))
    for name in islice(order, rows):
        if any(each[name] >= least for each in found.values()):
            row(name, *(each[name] for each in found.values()))


def profile(sides, max):
    """perf and strace see the sessions that begin beside them: those of members, not ours, which fills the queue."""
    exported = Exported()
    who = {"ours": lambda: sides.ours(max), "one statement": lambda: sides.ours_together(max),
           "Q": lambda: sides.queue(max)}
    for side in who.values():
        side()

    def each(measure, *more):
        return {name: measure(sides, side, *more) for name, side in who.items()}

    table(f"us of processor a claim of {max}, by function", each(by_function, exported), ROWS, 0)
    table("sessions, by what they wait for", each(waits), ROWS, 0.01)
    table("WAL of a claim", each(wal), ROWS, 0)
    table("system calls of a claim, under strace, which slows them down", each(system_calls), ROWS, 0.05)
