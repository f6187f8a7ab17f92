#!/usr/bin/python3
"""Consumers beside what is used in their place, on one durable server.

    make bench-consumers [ARGS='--messages 20000 --rounds 1 --held 5 --only rates']

Q  a queue table: claims are rows whose time of being visible is put off, found by SKIP LOCKED; what is settled is
   deleted
G  the same that gives only the heads of groups, so each stream in order; the group's head is found by an index
E  read_category by members of a consumer group, each with a position message of its own every 100 messages

Each side has the same messages of 300 bytes in the same streams, chosen at random, and is asked by bench/members until
all are settled, or for --seconds: to take messages and to settle them are two transactions. The last line is JSON.
"""
import argparse
import json
import signal
import subprocess
import sys
from contextlib import contextmanager

sys.dont_write_bytecode = True

from measure import (  # noqa: E402
    DATA, ROOT, at_least, at_most, database, durable_postgres, in_turn, median, processor_time, ratio, row, sql,
    unprivileged)
from consumers_http import http  # noqa: E402
from consumers_profile import profile  # noqa: E402

MEMBERS = ROOT / "bench" / "members"
STREAMS = 1000
LEASE = "30 s"
RATE = 5000  # messages a second beside an old snapshot
SECONDS, HELD = 20, 60
BEHIND = 25  # times as many messages as elsewhere

# ---- the sides ---------------------------------------------------------------------------------------

COLUMNS = "claim, stream_name, position, id, type, global_position, data, metadata, time, attempt"
NEXT = f"SELECT {COLUMNS} FROM millrace.consumer_next('{{name}}', {{max}}, namespace => '{{namespace}}')"
SETTLE = "SELECT millrace.consumer_settle('{name}', $1::bigint, namespace => '{namespace}')"
SETTLE_FAILED = ("SELECT millrace.consumer_settle('{name}', $1::bigint, $3::jsonb, namespace => '{namespace}') "
                 "FROM (SELECT $2::int) _")
SETTLE_AND_NEXT = f"""SELECT {COLUMNS}
    FROM (SELECT CASE WHEN $1::bigint IS NOT NULL
                      THEN millrace.consumer_settle('{{name}}', $1::bigint, namespace => '{{namespace}}') END
          OFFSET 0) settled,
        LATERAL millrace.consumer_next('{{name}}', {{max}}, namespace => '{{namespace}}')"""

QUEUE = """CREATE TABLE queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, reads integer NOT NULL DEFAULT 0,
    queued_at timestamptz NOT NULL DEFAULT now(),
    visible_at timestamptz NOT NULL DEFAULT now(), stream text COLLATE "C", message jsonb);
CREATE INDEX queue_visible ON queue (visible_at)"""
QUEUE_FILL = """INSERT INTO queue (stream, message)
    SELECT stream_name, data FROM millrace_default.messages ORDER BY global_position LIMIT {messages}"""
GROUPS = "CREATE INDEX queue_groups ON queue (stream, id)"
QUEUE_NEXT = f"""WITH {{also}} taken AS (SELECT id FROM queue q WHERE visible_at <= clock_timestamp() {{heads}}
        ORDER BY id LIMIT {{max}} FOR UPDATE SKIP LOCKED)
    UPDATE queue SET visible_at = clock_timestamp() + interval '{LEASE}', reads = reads + 1
    FROM taken WHERE queue.id = taken.id RETURNING queue.id, stream, reads, queued_at, visible_at, message"""
HEADS = "AND id = (SELECT min(id) FROM queue other WHERE other.stream = q.stream)"
# Where both are one statement, what is dealt with is deleted first, by rising ids: a member that deletes may wait for
# one that takes, as that looks once more, under its lock, at a row of which its snapshot says that it is visible.
# Who takes waits for nobody, so no two of them wait for each other.
QUEUE_SETTLE_FIRST = "done AS (DELETE FROM queue WHERE id = ANY ($1::bigint[]) RETURNING id),"
AFTER_SETTLING = "AND (SELECT count(*) FROM done) >= 0"
QUEUE_SETTLE = "DELETE FROM queue WHERE id = ANY ($1::bigint[])"

READ = """SELECT global_position, stream_name, position, id, type, data, metadata, time
    FROM millrace.read_category('account', coalesce($1::bigint, 0) + 1, {max}, consumer_group_member => $2::bigint,
                                consumer_group_size => {members})"""
STORE_POSITION = """SELECT position
    FROM millrace.append('bench:position-{run}-' || $2::int, 'Read', jsonb_build_object('position', $1::bigint))"""

FILL = """INSERT INTO millrace_{namespace}.messages (stream_name, position, type, data)
    SELECT stream, row_number() OVER (PARTITION BY stream ORDER BY n) - 1, 'Deposited', '{data}'
    FROM (SELECT n, {stream} AS stream FROM generate_series(1, {messages}::bigint) n) numbers ORDER BY n"""
ANY_STREAM = f"'account-' || 1 + floor(random() * {STREAMS})::int"


class Sides:
    """A durable server with the same messages in the log and, before each run, in the queue."""

    def __init__(self, cluster, options):
        self.cluster, self.options = cluster, options
        self.messages, self.members = options.messages, options.members
        self.connection = database(cluster, "consumers")
        self.postmaster = int((cluster.data / "postmaster.pid").read_text().split()[0])
        self.runs = 0
        sql(self.connection, "SELECT setseed(0.5)")
        self.log("default", ANY_STREAM, max(self.messages, round(RATE * options.held)))
        sql(self.connection, QUEUE)

    def log(self, namespace, stream, messages):
        sql(self.connection, f"SELECT millrace.create_namespace('{namespace}')")
        sql(self.connection, FILL.format(namespace=namespace, stream=stream, messages=messages, data=DATA))
        sql(self.connection, f"VACUUM ANALYZE millrace_{namespace}.messages")

    def wal(self):
        return int(sql(self.connection, "SELECT pg_current_wal_insert_lsn() - '0/0'")[0][0])

    def run(self, next, settle=None, token="first", max=100, members=None, seconds=None, **more):
        """What bench/members says, with bytes of WAL and microseconds of Postgres's processor a message."""
        more = {
            "next": next, "settle": settle, "token": token, "batch": max,
            "connection": self.cluster.conninfo("consumers"), "members": members or self.members,
            "messages": self.messages, "seconds": seconds or self.options.seconds, **more
        }
        command = [str(MEMBERS)]
        for name, value in more.items():
            command += [f"--{name}", str(value)] if value is not None else []
        wal, processor = self.wal(), processor_time(self.postmaster)["postgres"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=more["seconds"] + 60)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        found = json.loads(done.stdout)
        settled = max_of(found["messages"], 1)
        return {**found, "rate": found["messages"] / found["seconds"], "wal": (self.wal() - wal) / settled,
                "cpu": (processor_time(self.postmaster)["postgres"] - processor) / settled * 1e6}

    @contextmanager
    def consumer(self, namespace="default", options=None):
        """A new one; yields what the statements say of it."""
        self.runs += 1
        named = {"name": f"bench-{self.runs}", "namespace": namespace}
        sql(self.connection, "SELECT millrace.create_consumer(%s, 'account', options => %s, namespace => %s)",
            named["name"], options and json.dumps(options), namespace)
        sql(self.connection, "CHECKPOINT")
        yield named
        sql(self.connection, "SELECT millrace.drop_consumer(%s, %s)", named["name"], namespace)
        for table in ("consumers", "consumer_claims", "consumer_streams"):
            sql(self.connection, f"VACUUM millrace_{namespace}.{table}")

    def ours(self, max, settle=SETTLE, **more):
        with self.consumer(more.pop("namespace", "default")) as named:
            return self.run(NEXT.format(max=max, **named), settle.format(**named), max=max, **more)

    def ours_together(self, max):
        with self.consumer() as named:
            return self.run(SETTLE_AND_NEXT.format(max=max, **named), max=max)

    def fill_queue(self, messages=None, groups=False):
        """Its pages are new, so none of them is written whole into the WAL."""
        sql(self.connection, "DROP INDEX IF EXISTS queue_groups")
        sql(self.connection, "TRUNCATE queue RESTART IDENTITY")
        sql(self.connection, "CHECKPOINT")
        sql(self.connection, QUEUE_FILL.format(messages=messages or self.messages))
        if groups:
            sql(self.connection, GROUPS)
        sql(self.connection, "VACUUM ANALYZE queue")

    def queue(self, max, **more):
        self.fill_queue(more.get("messages"))
        return self.run(QUEUE_NEXT.format(max=max, also="", heads=""), QUEUE_SETTLE, token="all", max=max, **more)

    def queue_together(self, max):
        self.fill_queue()
        taken = QUEUE_NEXT.format(max=max, also=QUEUE_SETTLE_FIRST, heads=AFTER_SETTLING)
        return self.run(taken, token="all", max=max)

    def heads(self, max):
        self.fill_queue(groups=True)
        return self.run(QUEUE_NEXT.format(max=max, also="", heads=HEADS), QUEUE_SETTLE, token="all", max=max)

    def positions(self, max):
        self.runs += 1
        sql(self.connection, "CHECKPOINT")
        return self.run(READ.format(max=max, members=self.members), STORE_POSITION.format(run=self.runs), token="last",
                        max=max)


max_of = max  # `max` is what a claim is asked for


# ---- what is compared --------------------------------------------------------------------------------

def line(figures, found, what, max, key, limit, one="ours", other="Q"):
    """A row of the table, and the figures that the last line says."""
    times = ratio(found, one, other, "rate")
    wal = ratio(found, other, one, "wal")
    checks = []
    if key:
        figures[key] = times
        checks.append(at_least(f"{what}, {max} a claim: messages/s", times, limit))
    if key and key.startswith("queue_"):
        figures[f"wal_{max}"] = wal
        checks.append(at_least(f"{what}, {max} a claim: WAL", wal, {100: 20, 10: 8, 1: 1.3}[max]))
    return row(what, max, median(found, one, "rate"), median(found, other, "rate"), times, median(found, one, "wal"),
               median(found, other, "wal"), wal, median(found, one, "cpu"), median(found, other, "cpu"), checks=checks)


def rates(sides, figures):
    rows, rounds = [], sides.options.rounds
    for max, limit in ((100, 5), (10, 3), (1, 1.2)):
        more = {100: {"E": lambda: sides.positions(100)}, 10: {"G": lambda: sides.heads(10)}}.get(max, {})
        found = in_turn(rounds, ours=lambda: sides.ours(max), Q=lambda: sides.queue(max), **more)
        rows.append(line(figures, found, "Q, a queue table", max, f"queue_{max}", limit))
        if "G" in more:
            what = "G, a queue that gives heads of groups"
            rows.append(line(figures, found, what, max, "heads_10", 10, other="G"))
        if "E" in more:
            rows.append(line(figures, found, "E, a position message", max, "positions_100", 0.8, other="E"))
    return rows


def together(sides, figures):
    """Settling and asking again in one statement, so in one transaction; for comparison only, so one round."""
    rows = []
    for max in (100, 10, 1):
        found = in_turn(1, ours=lambda: sides.ours_together(max), Q=lambda: sides.queue_together(max))
        rows.append(line(figures, found, "Q, settling and asking in one statement", max, None, None))
    return rows


@contextmanager
def old_snapshot(sides):
    connection = sides.cluster.connect("consumers")
    sql(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ")
    sql(connection, "SELECT count(*) FROM pg_class")
    yield
    connection.close()


def snapshot(sides, figures):
    """At a rate that ours can keep up with, beside a snapshot that is as old as the run; of Q one round."""
    seconds = sides.options.held
    paced = {"rate": RATE, "messages": round(RATE * seconds), "seconds": seconds + 10}

    def beside(side):
        with old_snapshot(sides):
            return side(10, **paced)

    found = in_turn(sides.options.rounds, without=lambda: sides.ours(10, **paced), held=lambda: beside(sides.ours))
    found.update(in_turn(1, Q=lambda: sides.queue(10, **paced), Q_held=lambda: beside(sides.queue)))
    rows = []
    for name, without, held in (("", "without", "held"), ("Q, ", "Q", "Q_held")):
        rate, p99 = ratio(found, held, without, "rate"), ratio(found, held, without, "p99")
        what = f"{name}an old snapshot held {seconds:.0f} s"
        checks = []
        if not name:
            figures.update(snapshot_rate=rate, snapshot_p99=p99)
            checks = [at_least(f"{what}: rate", rate, 0.98), at_most(f"{what}: p99 of next", p99, 1.5)]
        rows.append(shape(what + ": messages/s", found, held, without, "rate", rate, checks[:1]))
        rows.append(shape(what + ": p99 of `next`, ms", found, held, without, "p99", p99, checks[1:]))
    return rows


def shape(what, found, one, other, unit, times, checks):
    return row(what, "", median(found, one, unit), median(found, other, unit), times, *[None] * 5, checks=checks)


def poisoned(sides, figures):
    """Half of all messages in one stream, 1 % of the other streams poisoned; beside the other half alone."""
    half = sides.messages // 2
    others = f"CASE WHEN n % 100 = 0 THEN 'account-x-poison-' || n / 100 % {STREAMS // 100} ELSE {ANY_STREAM} END"
    sides.log("calm", others, half)
    sides.log("poisoned", f"CASE WHEN random() < 0.5 THEN 'account-x-hot' ELSE {others} END", half * 2)

    def run(namespace, **more):
        counted = sql(sides.connection,
                      f"SELECT count(*) FROM millrace_{namespace}.messages WHERE stream_name NOT LIKE 'account-x-%'")
        return sides.ours(100, SETTLE_FAILED, namespace=namespace, messages=counted[0][0], ignore="account-x-", **more)

    found = in_turn(sides.options.rounds, calm=lambda: run("calm"),
                    poisoned=lambda: run("poisoned", fail="account-x-poison"))
    rate = ratio(found, "poisoned", "calm", "rate")
    figures["poisoned_rate"] = rate
    what = "half of all in one stream, 1 % of streams poisoned: the others'"
    return [shape(what + " messages/s", found, "poisoned", "calm", "rate", rate, [at_least(what + " rate", rate, 0.9)])]


def park(sides, named):
    """Parks the streams of the first messages, one of each."""
    first = sql(sides.connection,
                "SELECT claim, stream_name, position FROM millrace.consumer_next(%s, %s, namespace => %s)",
                named["name"], STREAMS, named["namespace"])
    failed = [{"stream": stream, "position": position, "park": True} for _, stream, position in first]
    sql(sides.connection, "SELECT millrace.consumer_settle(%s, %s, %s, namespace => %s)", named["name"],
        first[0][0], json.dumps(failed), named["namespace"])


def parked(sides, figures):
    """What `next` costs one member: as many streams parked as not, with as many messages; far behind the log's end."""
    half = sides.messages // 2
    theirs = f"'account-parked-' || CASE WHEN n <= {STREAMS} THEN n ELSE 1 + floor(random() * {STREAMS})::int END"
    sides.log("free", ANY_STREAM, half)
    sides.log("parked", f"CASE WHEN n <= {STREAMS} OR n % 2 = 0 THEN {theirs} ELSE {ANY_STREAM} END",
              half * 2 + STREAMS)
    sides.log("behind", ANY_STREAM, sides.messages * BEHIND)
    one = {"members": 1, "messages": half * 9 // 10}

    def with_parked():
        with sides.consumer("parked", {"maxParked": STREAMS * 2}) as named:
            park(sides, named)
            return sides.run(NEXT.format(max=100, **named), SETTLE.format(**named), **one)

    found = in_turn(sides.options.rounds, free=lambda: sides.ours(100, namespace="free", **one), parked=with_parked,
                    behind=lambda: sides.ours(100, namespace="behind", **one))
    costs = {side: ratio(found, side, "free", "p50") for side in ("parked", "behind")}
    figures["parked_cost"] = max_of(costs.values())
    return [
        shape(what + ": p50 of `next`, ms", found, side, "free", "p50", costs[side],
              [at_most(what + ": cost of next", costs[side], 1.2)])
        for side, what in (("parked", f"{STREAMS:,} busy streams parked"),
                           ("behind", f"{sides.messages * BEHIND:,} messages behind"))
    ]


PARTS = {
    "rates": rates, "together": together, "snapshot": snapshot, "poisoned": poisoned, "parked": parked, "http": http
}
FIGURES = ("queue_100", "queue_10", "queue_1", "heads_10", "positions_100", "wal_100", "wal_10", "wal_1",
           "next_over_category_get", "snapshot_rate", "snapshot_p99", "poisoned_rate", "parked_cost", "delivery_ms")


def settings(options):
    """Those of `make bench`, whose measurements are shorter, made into those of this part."""
    quick = options.quick
    return argparse.Namespace(rounds=options.rounds, messages=20000 if quick else 200000, members=8, parts=None,
                              seconds=options.seconds if quick else SECONDS, held=options.seconds if quick else HELD)


def measure(options, figures=None):
    figures = {} if figures is None else figures
    options = options if hasattr(options, "held") else settings(options)
    rows = []
    with durable_postgres() as cluster:
        sides = Sides(cluster, options)
        for name in options.parts or PARTS:
            rows += PARTS[name](sides, figures)
    return {
        "title": "Consumers", "each_seconds": options.seconds,
        "about":
        f"Until {options.messages:,} messages of 300 bytes in {STREAMS:,} streams are settled, or for "
        f"{options.seconds:.0f} s; {options.members} members, each of which takes messages and settles them, in two "
        "transactions. Q is a queue table as pgmq has it: a time of being visible with an index, SKIP LOCKED, DELETE. "
        "G is the same that gives only the heads of groups, found by an index. E is `read_category` by members of a "
        "group, each with a position message every 100. WAL is without full page images. Processor time is that of "
        "Postgres; over HTTP with the server's and the clients'.",
        "columns": [
            "what", "a claim", "ours /s", "theirs /s", "ratio", "WAL bytes a message", "theirs", "ratio",
            "us CPU a message", "theirs"
        ], "rows": rows, "figures": figures
    }


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, help="that each side settles (200,000)", default=200000)
    parser.add_argument("--members", type=int, help="(8)", default=8)
    parser.add_argument("--only", action="append", choices=PARTS, dest="parts",
                        help="this part; may be given several times")
    parser.add_argument("--rounds", type=int, help="in which the sides take turns (3)", default=3)
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"that a side may take at most ({SECONDS})")
    parser.add_argument("--held", type=float, default=HELD, help=f"seconds that an old snapshot is held ({HELD})")
    parser.add_argument("--profile", type=int, metavar="MAX",
                        help="nothing but where Postgres's time goes at so many messages a claim")
    return parser.parse_args()


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    if not MEMBERS.exists():
        sys.exit(f"consumers.py: {MEMBERS} is not built: make -C bench")
    figures = {}
    with unprivileged():
        if options.profile:
            with durable_postgres() as cluster:
                return profile(Sides(cluster, options), options.profile)
        measure(options, figures)
    print(json.dumps({name: round(figures[name], 3) if figures.get(name) is not None else None for name in FIGURES}))


if __name__ == "__main__":
    main()
