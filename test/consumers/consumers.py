#!/usr/bin/python3
"""Two consumers for minutes, beside kills of all that takes part, poison and zombies; then every message must have been
settled once and in order.

    consumers.py [--minutes 20] [--seed N] [--no-kills] [--keep FOLDER]

12 writers append, four of them in transactions that they hold open.  Consumer `work` (ordering `stream`) has seven
members: three by SQL, three by HTTP, a `millrace consume --exec`; consumer `everything` (ordering `all`) one by SQL and
one by HTTP.  Every 2.5 s a member is killed with -9 or stopped for longer than its lease and woken up again,
one of the two servers is killed, or Postgres.  At the end the kills stop, the poison is removed, all that is parked is
unparked, and the members go on until the lag is 0.

A member by SQL settles, writes a row for each message into `effects`, and commits: these rows are its effects, and
there is one for each message, whatever happens.  A member by HTTP has its effect elsewhere, where it may happen again:
it counts as done by the claim that the server called settled.  judge.py says what is wrong then.  The last line is
JSON:

  messages      in the log
  effects       that were settled, of both consumers
  twice         messages settled by two claims, or given out again after they were settled
  lost          messages that nothing settled, or that were acknowledged to a writer and are not there
  out_of_order  messages settled or given out before an earlier one of their stream
  fenced        settlements that were refused, as the claim was lost
  parked        streams that were parked, once for each message at which they were
  kills         of members, servers and Postgres, with the stops of members

Exit code 1 when twice, lost or out_of_order is not 0, when a member or a writer met what it can't explain, or when
nothing was fenced, parked or killed: then it shows nothing.

`make test-consumers` runs it; by itself it needs MILLRACE and a user that is not root.
"""
import argparse
import json
import os
import random
import shutil
import sys
import threading
import time
from pathlib import Path

sys.path[1:1] = [str(Path(__file__).resolve().parent.parent)]

import appenders  # noqa: E402
import psycopg2  # noqa: E402
from judge import Counts, History, judge_acknowledged  # noqa: E402
from killer import Killer, Servers, Slot  # noqa: E402
from member import LEASE  # noqa: E402
from store import MILLRACE, ZERO_TOKEN, Cluster, sql, temporary_folder  # noqa: E402

HERE = Path(__file__).resolve().parent
CONSUMERS = {"work": "stream", "everything": "all"}
MAX_ATTEMPTS = 3
MEMBERS = [("work", "sql", "READ COMMITTED"), ("work", "sql", "REPEATABLE READ"), ("work", "sql", "READ COMMITTED"),
           ("work", "http", None), ("work", "http", None), ("work", "http", None), ("work", "exec", None),
           ("everything", "sql", "REPEATABLE READ"), ("everything", "http", None)]
SAY_EVERY = 30       # seconds
OPERATOR_EVERY = 6
CATCH_UP = 600


class World:
    """What the writers and the members work on."""

    def __init__(self, folder, seed):
        self.folder, self.seed, self.token, self.began = Path(folder), seed, ZERO_TOKEN, time.time()
        self.cluster = Cluster(self.folder / "pg", ["max_wal_size=2GB", "deadlock_timeout=200ms"]).create().start()
        self.conninfo = self.cluster.conninfo()
        self.servers = Servers(self.cluster)  # they make the extension
        self.ports = self.servers.ports
        self.create()
        self.cured, self.writers_end = self.folder / "cured", threading.Event()
        self.random, self.mutex = random.Random(f"{seed} world"), threading.Lock()
        self.next_stop = time.monotonic() + 10 + 60 * self.random.random()
        self.first_poison = time.monotonic() + 3
        self.parked = set()  # (consumer, stream, position)

    def create(self):
        with self.cluster.connect() as connection:
            sql(connection, "CREATE TABLE effects (seq bigserial PRIMARY KEY, consumer text NOT NULL, "
                "claim bigint NOT NULL, global_position bigint NOT NULL, member text NOT NULL)")
            options = {"leaseMs": LEASE * 1000, "maxAttempts": MAX_ATTEMPTS}
            sql(connection, "SELECT millrace.create_consumer('work', category => %s, options => %s)",
                appenders.CONSUMED, json.dumps(options))
            sql(connection, "SELECT millrace.create_consumer('everything', ordering => 'all', options => %s)",
                json.dumps(options))

    def marked(self, message):
        """At times a message of the other category stops the consumer of all; and a short run has poison, too."""
        with self.mutex:
            if message[0].startswith(appenders.CONSUMED) and time.monotonic() > self.first_poison:
                self.first_poison = float("inf")
                return (message[0], "Parks", *message[2:])
            if not message[0].startswith(appenders.OTHER) or time.monotonic() < self.next_stop:
                return message
            self.next_stop = time.monotonic() + appenders.STOPS_EVERY
        return (message[0], "Stops", *message[2:])

    def slots(self):
        return [self.slot(number, *member) for number, member in enumerate(MEMBERS)]

    def slot(self, number, consumer, kind, isolation):
        name = f"member{number}-{kind}"
        record = str(self.folder / f"{consumer}.{name}")
        if kind == "exec":
            environment = {**os.environ, "RECORD": record, "CURED": str(self.cured)}
            return Slot(name, lambda: self.consume(consumer, name), environment)
        config = {"name": name, "consumer": consumer, "ordering": CONSUMERS[consumer], "record": record,
                  "cured": str(self.cured), "seed": self.seed, "began": self.began, "conninfo": self.conninfo,
                  "ports": self.ports, "token": self.token, "isolation": isolation}
        return Slot(name, lambda: [sys.executable, str(HERE / f"member_{kind}.py"), json.dumps(config)])

    def consume(self, consumer, name):
        return [MILLRACE, "consume", consumer, "--exec", str(HERE / "member_exec.sh"), "--max", "5", "--member", name,
                "--url", f"http://127.0.0.1:{self.random.choice(self.ports)}", "--token", self.token]

    def operate(self, share):
        """What an operator does: a stopped consumer goes on; a share of what is parked is tried again."""
        with self.cluster.connect() as connection:
            parked = sql(connection, "SELECT consumer, stream, \"position\" FROM millrace.consumer_streams_blocked "
                         "WHERE parked_at IS NOT NULL")
            self.parked.update(parked)
            for consumer, stream, _ in parked:
                if self.random.random() < share:
                    sql(connection, "SELECT millrace.consumer_unpark(%s, %s)", consumer, stream)
            for name, in sql(connection, "SELECT name FROM millrace.consumer_status WHERE state = 'stopped'"):
                self.parked.update(sql(connection, "SELECT consumer, stream, \"position\" "
                                       "FROM millrace.consumer_streams_blocked WHERE consumer = %s", name))
                sql(connection, "SELECT millrace.consumer_resume(%s)", name)
            return sql(connection, "SELECT name, state, lag, in_flight, waiting, retrying, parked "
                       "FROM millrace.consumer_status ORDER BY name")

    def stop(self):
        self.servers.stop()
        self.cluster.stop("immediate")


class Run:
    def __init__(self, world):
        self.world, self.began = world, time.monotonic()
        self.slots, self.writers = world.slots(), appenders.make(world)
        self.killer = Killer(world.cluster, world.servers, self.slots, random.Random(f"{world.seed} killer"))

    def go(self, minutes, kills):
        next_word = next_round = self.began
        for writer in self.writers:
            writer.start()
        while time.monotonic() < self.began + minutes * 60:
            self.tend()
            if kills:
                self.killer.strike_when_due()
            if time.monotonic() > next_round:
                next_round = time.monotonic() + OPERATOR_EVERY
                status = self.operate(0.05)
                if time.monotonic() > next_word and status:
                    next_word = time.monotonic() + SAY_EVERY
                    self.say(status)
            time.sleep(0.05)

    def tend(self):
        for slot in self.slots:
            slot.tend()

    def operate(self, share):
        try:
            return self.world.operate(share)
        except psycopg2.OperationalError:
            return None  # in the moment of a kill

    def say(self, status):
        print(f"{time.monotonic() - self.began:5.0f} s: {sum(len(writer.acknowledged) for writer in self.writers)} "
              f"messages, {self.killer.kills.total()} kills; " +
              "; ".join(f"{name} {state}, lag {lag}, {flying} in flight, {waiting} waiting, {retrying} retried, "
                        f"{parked} parked" for name, state, lag, flying, waiting, retrying, parked in status),
              flush=True)

    def come_to_the_end(self):
        """Without kills and poison, until nothing is left; then the members end."""
        self.world.writers_end.set()
        for slot in self.slots:
            slot.wake()
        for writer in self.writers:
            writer.join(120)
        self.say(self.operate(0))
        self.world.cured.touch()
        end = time.monotonic() + CATCH_UP
        while time.monotonic() < end:
            self.tend()
            status = self.operate(1)
            if all(lag == parked == 0 for _, _, lag, _, _, _, parked in status):
                break
            time.sleep(0.5)
        self.say(status)
        for slot in self.slots:
            slot.end()
        for slot in self.slots:
            slot.wait(30)

    def problems(self, histories):
        """What nothing in the run explains."""
        yield from (writer.problem for writer in self.writers if writer.problem)
        yield from (f"{writer.name} hangs" for writer in self.writers if writer.is_alive())
        for history in histories:
            yield from history.problems


def lines_of(path):
    """The lines of a member's file; what a kill left of one is none."""
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            pass


def histories_of(world, outages):
    connection = world.cluster.connect()
    ((schema,),) = sql(connection, "SELECT quote_ident(schema) FROM millrace.namespaces WHERE name = 'default'")
    rows = sql(connection, f"SELECT id::text, global_position, stream_name FROM {schema}.messages ORDER BY 2")
    stored, log, histories = {row[0] for row in rows}, [row[1:] for row in rows], []
    for name, ordering in CONSUMERS.items():
        mine = [row for row in log if ordering == "all" or row[1].split("-")[0] == appenders.CONSUMED]
        history = History(name, ordering, mine, outages)
        history.take_effects(
            sql(connection, "SELECT claim, global_position FROM effects WHERE consumer = %s ORDER BY seq", name))
        for path in sorted(world.folder.glob(f"{name}.*")):
            history.take_record(lines_of(path), path.suffix[1:])
        histories.append(history)
    connection.close()
    return stored, histories


def verdict(run, counts):
    """The last line, and whether it is good."""
    world, killer = run.world, run.killer
    kills = [(began - world.began, ended - world.began, kind) for began, ended, kind in killer.log]
    stored, histories = histories_of(world, [kill[:2] for kill in kills if kill[2] in killer.outages])
    for history in histories:
        history.judge(counts)
    judge_acknowledged(set().union(*(writer.acknowledged for writer in run.writers)), stored, counts)
    problems = list(run.problems(histories))
    if counts.lines:
        print("\n".join(f"{began:.2f} to {ended:.2f} s: {kind}" for began, ended, kind in kills))
    print("\n".join([*counts.lines, *(f"problem: {problem}" for problem in problems)]))
    wrong = {kind: counts.counts[kind] for kind in ("twice", "lost", "out_of_order")}
    seen = {"fenced": sum(history.fenced for history in histories), "parked": len(world.parked),
            "kills": len(kills)}
    print(json.dumps({"messages": len(stored), "effects": sum(history.count() for history in histories), **wrong,
                      **seen}))
    return not any(wrong.values()) and not problems and all(seen.values())


def main():
    parser = argparse.ArgumentParser(description="Consumers beside kills, zombies and poison, and a history checker.")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(1000000))
    parser.add_argument("--no-kills", action="store_true", help="the run must fail, as it shows nothing")
    parser.add_argument("--keep", help="a folder that is made with what there is to look at, if something is wrong")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    folder = temporary_folder()
    world = World(folder, arguments.seed)
    run = Run(world)
    try:
        run.go(arguments.minutes, not arguments.no_kills)
        run.come_to_the_end()
        print("kills: " + ", ".join(f"{count} {kind}" for kind, count in sorted(run.killer.kills.items())) +
              f"; members started {sum(slot.starts for slot in run.slots)} times", flush=True)
        good = verdict(run, Counts())
        if arguments.keep and not good:
            shutil.copytree(folder, arguments.keep, ignore=shutil.ignore_patterns(".s.*"))
    finally:
        for slot in run.slots:
            if slot.process is not None and slot.process.poll() is None:
                slot.process.kill()
        world.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
