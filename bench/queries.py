#!/usr/bin/python3
"""Appends on condition beside appends without one, and beside other stores that have conditions over tags.

    make bench-queries [ARGS='--rounds 3 --only conditional --only racers']

Each side is durable on one disk, and is asked in turns by clients that wait for their answers: ours over HTTP by
bench/load, the others by bench/peers. A message has 300 bytes and one tag. The last line is JSON; a figure is null
where its peer could not be built.
"""
import argparse
import functools
import hashlib
import json
import os
import random
import resource
import secrets
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

sys.dont_write_bytecode = True

import append_lock  # noqa: E402
import queries_peers as peers  # noqa: E402
from builds import two_builds  # noqa: E402
from measure import (  # noqa: E402
    DATA, LOAD, Pgbench, at_least, at_most, database, durable_postgres, in_turn, load, median, privileged,
    processor_time, quartiles, row, serve, shown, sql, unprivileged)

from store import token_for  # noqa: E402

BEFORE = "29bcf5f"  # the last commit without queries
CLIENTS = (1, 10, 64)
RACERS = 8
MESSAGES, TAGS = 1000000, 100000
SMALL_BUFFERS = 32  # MB
FOLDER = Path(f"/var/tmp/millrace-peers-{os.getuid()}")

SQL_APPEND = """\\set s random(1, 100)
\\set n random(1, 1000000000000)
SELECT * FROM millrace.append('account-' || :s, 'Loaded', :data, jsonb_build_object('tags', ARRAY['t-' || :n]){});
"""
SQL_CONDITION = """, condition =>
    jsonb_build_object('failIfEventsMatch', jsonb_build_object('items', jsonb_build_array(
        jsonb_build_object('tags', ARRAY['t-' || :n]))))"""
SQL_RECORDER = """\\set n random(1, 1000000000000)
SELECT * FROM dcb_conditional_append_tt(ARRAY[ROW('{}', ARRAY['t-' || :n])::dcb_query_item_tt], NULL,
    ARRAY[ROW('Loaded', convert_to(:data, 'UTF8'), ARRAY['t-' || :n])::dcb_event_tt]);
"""
PLAIN_APPEND = """\\set s random(1, 100)
SELECT * FROM millrace.append('account-' || :s, 'Loaded', :data);
"""
FILL = """INSERT INTO millrace_{name}.messages (stream_name, position, type, data, metadata)
    SELECT 'account-' || n % 1000, n / 1000, 'Loaded', '{data}', jsonb_build_object('tags',
        ARRAY(SELECT 't-' || (random() * {tags})::int FROM generate_series(1, {each}) WHERE n > 0))
    FROM generate_series(1::bigint, {messages}) n"""


# ---- the sides --------------------------------------------------------------------------------------------------

class Sides:
    """A durable Postgres with our server before it, and the peers."""

    def __init__(self, cluster, options, stack):
        self.cluster, self.options, self.stack = cluster, options, stack
        self.postmaster = int((cluster.data / "postmaster.pid").read_text().split()[0])
        self.connection = database(cluster, "ours")
        self.server = stack.enter_context(serve("--database", cluster.conninfo("ours")))
        sql(self.connection, "SELECT millrace.index_tags('default')")
        self.peers = {}

    def start_peers(self, built):
        if "python" in built:
            self.peers["eventsourcing"] = peers.Recorder(self.options.build, self.cluster, self.postmaster)
        if "rust" in built:
            self.peers["disintegrate"] = peers.Disintegrate(self.options.build, self.cluster, self.postmaster)
        if len(built) == 2:
            self.peers["UmaDB"] = self.stack.enter_context(peers.umadb(self.options.build, self.cluster.folder))
        for name, peer in list(self.peers.items()):
            try:
                peer.ask(10, 1, False, new_prefix())
            except RuntimeError as error:
                print(f"*** {name.upper()} IS SKIPPED: {error} ***", flush=True)
                del self.peers[name]

    def namespace(self, name, fill=None):
        """A new one with an index of tags, filled before that is made; returns what load() takes for a server."""
        token = token_for(name)
        sql(self.connection, "SELECT millrace.create_namespace(%s, token_hash => %s)", name,
            hashlib.sha256(token.encode()).hexdigest())
        if fill:
            sql(self.connection, FILL.format(name=name, **fill))
        sql(self.connection, "SELECT millrace.index_tags(%s)", name)
        sql(self.connection, f"VACUUM ANALYZE millrace_{name}.messages")
        return SimpleNamespace(port=self.server.port, token=token)

    def checkpoint(self):
        sql(self.connection, "CHECKPOINT")

    def ours(self, clients, tags, server=None, checkpoint=True):
        """Over HTTP, writes only; of racers those that were stored."""
        if checkpoint:
            self.checkpoint()
        words = "--mix", "1:0", "--tags", tags, "--prefix", new_prefix()
        answer, used = timed([self.postmaster, self.server.process.pid],
                             lambda: load(server or self.server, clients, self.options.seconds, *words))
        if answer["errors"]:
            sys.exit(f"queries.py: {answer['errors']} errors")
        operations = answer["writes"] if tags == "race" else answer["total_ops"]
        return a_run(operations, answer["duration"], used, answer["p99"])

    def theirs(self, name, clients, race=False):
        peer = self.peers[name]
        peer.prepare()
        answer, used = timed([peer.process], lambda: peer.ask(clients, self.options.seconds, race, new_prefix()))
        return a_run(answer["total_ops"], self.options.seconds, used, answer["p99"])

    def by_sql(self, name, script, clients, **settings):
        self.checkpoint()
        seconds = max(1, round(self.options.seconds))
        bench = Pgbench(self.cluster, name, **settings)
        rate, used = timed([self.postmaster], lambda: bench.rate(script, clients, seconds))
        return {"rate": rate, "servers": used[0] / (rate * seconds) * 1e6, "clients": used[1] / (rate * seconds) * 1e6,
                "p99": None}


def new_prefix():
    """What the tags of a run begin with, as no other's do."""
    return secrets.token_hex(6)


def timed(processes, ask):
    """What it returns, and the seconds of processor time that the processes and the clients took meanwhile."""
    def now():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return sum(sum(processor_time(process).values()) for process in processes), used.ru_utime + used.ru_stime

    servers, clients = now()
    answer = ask()
    servers_now, clients_now = now()
    return answer, (servers_now - servers, clients_now - clients)


def a_run(operations, seconds, used, p99):
    """The warm-up's work is in the processor time, so it is counted with the operations there."""
    with_warmup = max(operations * (1 + min(1, seconds / 4) / seconds), 1)
    servers, clients = (seconds / with_warmup * 1e6 for seconds in used)
    return {"rate": operations / seconds, "servers": servers, "clients": clients, "p99": p99}


# ---- what is said of them ---------------------------------------------------------------------------------------

def ratios(found, one, other, what="rate"):
    return quartiles([a[what] / max(b[what], 1e-9) for a, b in zip(found[one], found[other])])


def spread(values):
    lower, middle, upper = values
    return f"{shown(middle)} ({shown(lower)} to {shown(upper)})"


def middle(found, side, what):
    """The median, or None where it is not measured."""
    return None if found[side][0][what] is None else median(found, side, what)


def compared(what, clients, found, one, other, limit=None, ratio=None):
    """A row of two sides; the limit makes a check of the ratio of rates."""
    ratio = ratio or ratios(found, one, other)
    checks = [at_least(f"{what}, {clients} client{'s' if clients > 1 else ''}", ratio[1], limit)] if limit else []
    rates = [spread(quartiles([run["rate"] for run in found[side]])) for side in (one, other)]
    return row(what, clients, *rates, spread(ratio),
               *(middle(found, side, what) for what in ("servers", "clients", "p99") for side in (one, other)),
               checks=checks)


# ---- the parts --------------------------------------------------------------------------------------------------

def conditional(sides, figures):
    rows = []
    for clients in CLIENTS:
        found = in_turn(sides.options.rounds, ours=lambda: sides.ours(clients, "conditional"),
                        without=lambda: sides.ours(clients, "only"))
        figures[f"conditional_{clients}"] = ratios(found, "ours", "without")[1]
        rows.append(compared("on condition / without, over HTTP", clients, found, "ours", "without", 0.85))
    found = in_turn(sides.options.rounds, ours=lambda: sides.by_sql("ours", SQL_APPEND.format(SQL_CONDITION), 1),
                    without=lambda: sides.by_sql("ours", SQL_APPEND.format(""), 1))
    return [*rows, compared("on condition / without, by SQL", 1, found, "ours", "without")]


LIMITS = {("eventsourcing", 10): 5, ("UmaDB", 10): 1.5, ("UmaDB", 64): 1.5}


def beside_peers(sides, figures):
    rows = []
    for clients, names in ((10, ("eventsourcing", "disintegrate", "UmaDB")), (64, ("UmaDB", ))):
        names = [name for name in names if name in sides.peers]
        found = in_turn(sides.options.rounds, ours=lambda: sides.ours(clients, "conditional"),
                        **{name: functools.partial(sides.theirs, name, clients) for name in names})
        for name in names:
            figures[f"{name.lower()}_{clients}"] = ratios(found, "ours", name)[1]
            rows.append(compared(f"on condition: ours / {name}", clients, found, "ours", name,
                                 LIMITS.get((name, clients))))
    if "eventsourcing" in sides.peers:
        found = in_turn(sides.options.rounds, ours=lambda: sides.by_sql("ours", SQL_APPEND.format(SQL_CONDITION), 10),
                        theirs=lambda: sides.by_sql("recorder", SQL_RECORDER, 10))
        rows.append(compared("by SQL: `append` / the function of eventsourcing's recorder", 10, found, "ours",
                             "theirs"))
    return rows


def racers(sides, figures):
    """Of the peers the best in each round counts."""
    found = in_turn(sides.options.rounds, ours=lambda: sides.ours(RACERS, "race"),
                    **{name: functools.partial(sides.theirs, name, RACERS, True) for name in sides.peers})
    if sides.peers:
        found["best"] = [max(runs, key=lambda run: run["rate"])
                         for runs in zip(*(found[name] for name in sides.peers))]
        figures["racers"] = ratios(found, "ours", "best")[1]
    return [compared(f"racers: ours / {'the best of the peers' if name == 'best' else name}", RACERS, found, "ours",
                     name, 1.5 if name == "best" else None) for name in found if name != "ours"]


def open_transaction(sides, figures):
    def beside():
        open_one = sides.cluster.connect("ours")
        open_one.autocommit = False
        sql(open_one, "SELECT millrace.append('held-1', 'Held', '{}', '{\"tags\": [\"held\"]}')")
        try:
            return sides.ours(10, "conditional")
        finally:
            open_one.rollback()
            open_one.close()

    found = in_turn(sides.options.rounds, beside=beside, without=lambda: sides.ours(10, "conditional"))
    figures["open_transaction"] = ratios(found, "beside", "without")[1]
    return [compared("beside an open transaction that has appended another tag / without", 10, found, "beside",
                     "without", 0.95)]


def million(sides, figures):
    """No checkpoint between the runs: the first change of each page after one is a page of WAL."""
    quick = 10 if sides.options.quick else 1
    stores = {
        "empty": sides.namespace("empty"),
        "million": sides.namespace("million", {"messages": MESSAGES // quick, "tags": TAGS // quick, "each": 1,
                                               "data": DATA})
    }
    sides.checkpoint()
    for server in stores.values():
        sides.ours(10, "conditional", server, checkpoint=False)
    found = in_turn(sides.options.rounds, **{name: functools.partial(sides.ours, 10, "conditional", server, False)
                                             for name, server in stores.items()})
    cost = ratios(found, "empty", "million")
    figures["million_cost"] = cost[1]
    line = compared(f"an empty store / {MESSAGES // quick:,} messages with {TAGS // quick:,} tags", 10, found, "empty",
                    "million", ratio=cost)
    line["checks"].append(at_most("a million messages: cost of an append on condition", cost[1], 1.2))
    return [line]


def index_off(sides, figures):
    """By processor time: the rates are the machine's as much as ours."""
    options = sides.options
    try:
        with privileged():
            builds = two_builds(BEFORE, sides.cluster.folder, options.build)
    except subprocess.CalledProcessError as error:
        print(f"*** THE BUILD BEFORE IS SKIPPED: {error} ***", flush=True)
        return []
    rows, pooled = [], []
    with ExitStack() as stack:
        for build in builds:
            build.start(stack)
        for clients in (1, 10):
            found = {"before": [], "now": []}
            for _ in range(2 * options.rounds):
                for build in random.sample(builds, 2):
                    run = build.append(clients, max(1, options.seconds / 2))
                    found[build.name].append({"rate": run["rate"], "servers": run["us"], "clients": None, "p99": None})
            rows.append(compared(f"plain append without the index: now / {BEFORE}", clients, found, "now", "before"))
            pooled += [before["servers"] / now["servers"] for before, now in zip(found["before"], found["now"])]
    figures["index_off"] = quartiles(pooled)[1]
    rows[-1]["checks"].append(at_least("append without the index, by processor time", figures["index_off"], 0.99))
    return rows


# ---- an index larger than what is cached ------------------------------------------------------------------------

def beside_conditional(sides, server, ask):
    """What `ask` returns that runs while ten clients append on condition; tags are unique, so all over the index."""
    words = "--mix", "1:0", "--tags", "conditional", "--prefix", new_prefix()
    loading = Thread(target=load, args=(server, 10, sides.options.seconds + 2, *words))
    loading.start()
    time.sleep(0.5)
    try:
        return ask()
    finally:
        loading.join()


def large_index(options, figures):
    each = 10
    wanted = SMALL_BUFFERS * 4 << 20
    with ExitStack() as stack:
        cluster = stack.enter_context(durable_postgres(f"shared_buffers={SMALL_BUFFERS}MB"))
        sides = Sides(cluster, options, stack)
        stores = {
            "small": sides.namespace("small", {"messages": 1000, "tags": TAGS, "each": each, "data": "{}"}),
            "large": sides.namespace("large", {"messages": wanted // 33 // each, "tags": TAGS, "each": each,
                                               "data": "{}"})
        }
        size = sql(sides.connection, "SELECT pg_relation_size('millrace_large.messages_tags')")[0][0]

        def others(name):
            return lambda: beside_conditional(sides, stores[name], lambda: sides.by_sql(
                "ours", PLAIN_APPEND, 4, **{"millrace.namespace": name}))

        found = in_turn(options.rounds, small=others("small"), large=others("large"))
        held = {name: beside_conditional(sides, stores[name], lambda: append_lock.held(
            cluster.folder, max(1, options.seconds - 1))) for name in stores}
    cost = ratios(found, "small", "large")
    figures["large_index_cost"] = cost[1]
    times = size / (SMALL_BUFFERS << 20)
    line = compared("others' plain appends by SQL beside 10 conditional clients: small index of tags / "
                    f"{times:.1f} times `shared_buffers`", 4, found, "small", "large", ratio=cost)
    line["checks"].append(at_most("a large index of tags: cost of others' appends", cost[1], 1.5))
    return [line, *held_rows(held, figures)]


def held_rows(held, figures):
    if not held["large"]:
        print("*** HOW LONG THE APPEND LOCK IS HELD IS SKIPPED: it needs perf, and root ***", flush=True)
        return []
    rows = []
    for name, times in held.items():
        quantiles = [times[len(times) * part // 1000] for part in (500, 990, 999)]
        rows.append(row(f"the append lock is held, us, {name} index: p50, p99, p99.9", 14,
                        *map(shown, quantiles), *[None] * 6))
        figures[f"held_p99_{name}"] = quantiles[1]
    return rows


# ---- all of it --------------------------------------------------------------------------------------------------

PARTS = {
    "conditional": conditional, "peers": beside_peers, "racers": racers, "open-transaction": open_transaction,
    "million": million, "index-off": index_off
}
LARGE = "large-index"
FIGURES = ("conditional_1", "conditional_10", "conditional_64", "eventsourcing_10", "umadb_10", "umadb_64", "racers",
           "open_transaction", "index_off", "million_cost", "disintegrate_10", "large_index_cost", "held_p99_small",
           "held_p99_large")


def settings(options):
    """Those of `make bench`, made into those of this part: more rounds, as the limits are near 1."""
    return argparse.Namespace(rounds=1 if options.quick else 7, seconds=1 if options.quick else 3, quick=options.quick,
                              build=FOLDER, parts=None)


def measure(options, figures=None):
    figures = {} if figures is None else figures
    options = options if hasattr(options, "build") else settings(options)
    names = options.parts or [*PARTS, LARGE]
    with_peers = {"peers", "racers"} & set(names)
    built = peers.build(options.build) if with_peers else []
    rows = []
    with ExitStack() as stack:
        sides = Sides(stack.enter_context(durable_postgres()), options, stack)
        sides.start_peers(built)
        sides.ours(64, "only")
        for name in PARTS:
            rows += PARTS[name](sides, figures) if name in names else []
    if LARGE in names:
        rows += large_index(options, figures)
    missing = [name for name in ("eventsourcing", "disintegrate", "UmaDB")
               if with_peers and name not in sides.peers]
    return {
        "title": "Appends on condition", "rounds": options.rounds, "each_seconds": options.seconds,
        **({"skipped": f"{', '.join(missing)} did not run"} if missing else {}),
        "about": ABOUT, "columns": COLUMNS, "rows": rows, "figures": figures
    }


COLUMNS = ["what", "clients", "ours /s", "beside it /s", "ratio", "us CPU of servers, ours", "beside it",
           "of clients, ours", "beside it", "p99 ms, ours", "beside it"]
ABOUT = (
    "Medians and quartiles; a ratio is that of the rounds' ratios. Each append is a message of 300 bytes with a tag of "
    "its own, on condition that nothing has that tag, all durable on one disk; a checkpoint before each run. Ours is "
    "asked over HTTP by `bench/load`, one thread. eventsourcing 9.5.6 is its DCB recorder on the same Postgres, each "
    "client a Python process; disintegrate-postgres 4.0.1 is on the same Postgres, in one Rust thread, and so is the "
    "client of UmaDB 0.7.8, whose server is the wheel's. Racers have one tag: each reads what has come with it, then "
    "appends on condition that nothing has come since; counted is what was stored. Processor time is a message's.")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*PARTS, LARGE], dest="parts",
                        help="this part; may be given several times")
    parser.add_argument("--rounds", type=int, help="in which the sides take turns (7)", default=7)
    parser.add_argument("--seconds", type=float, help="of one measurement (3)", default=3)
    parser.add_argument("--quick", action="store_true", help="one of one second each")
    parser.add_argument("--build", type=Path, default=FOLDER, help=f"where the peers are built, and kept ({FOLDER})")
    options = parser.parse_args()
    if options.quick:
        options.rounds = options.seconds = 1
    return options


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    if not LOAD.exists():
        sys.exit(f"queries.py: {LOAD} is not built: make -C bench")
    figures = {}
    with unprivileged():
        measure(options, figures)
    print(json.dumps({name: round(figures[name], 3) if figures.get(name) is not None else None for name in FIGURES}))


if __name__ == "__main__":
    main()
