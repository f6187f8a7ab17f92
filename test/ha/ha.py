#!/usr/bin/python3
"""Three machines with Postgres under Patroni and etcd, two servers in front; takes them apart under load, and judges
what everybody saw.

    ha.py [--rounds 10] [--only KIND] [--seed N] [--asynchronous] [--keep FOLDER]

Machines and servers are network namespaces.  One server knows all three machines, the other one has an HAProxy that
asks Patroni who leads.  Each round has a namespace of its own, in which writers, deciders, members of a consumer,
followers and subscribers work; the kinds of rounds come in turns:

  switchover  the leader's Patroni is stopped, and started again
  kill        Patroni and Postgres of the leader, with -9
  partition   the leader sees neither etcd nor the others, and one server and one client see it
  full-disk   of the leader, to the last byte
  behind      the leader is killed while a standby is 40 MB behind

The last line is JSON: rounds, acknowledged (messages), lost, twice, holes, out_of_order, failed (requests; none may
within the retry window), wrong (all else that history.py and judging.py find), gone (seen by readers at a leader that
was cut off, acknowledged to nobody, and not stored: PostgreSQL's own, see GROWING.md), longest_pause (s, of one answer,
by kind).  Exit code 1 where anything is wrong, a switchover took more than 3 s, or a killed leader more than ttl + 2 s.

--asynchronous takes the safeguard out: then a partition must lose what was acknowledged.

`make test-ha` runs it; by itself it needs MILLRACE, root, and namespaces of its own (see test/ha.py).
"""
import argparse
import json
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

TEST = Path(__file__).resolve().parent.parent
sys.path[1:1] = [str(TEST), str(TEST / "crash"), str(TEST / "consumers")]

import machines  # noqa: E402
import servers  # noqa: E402
from blows import KINDS  # noqa: E402
from crowd import Crowd  # noqa: E402
from documented import documented  # noqa: E402
from judging import COUNTED, counted, judge  # noqa: E402
from network import Network  # noqa: E402
from store import temporary_folder  # noqa: E402


def bounds():
    """The longest pauses allowed, by kind, s."""
    settings = dict(line.strip().split(": ") for line in documented("`/etc/patroni/config.yml` of `db1`").splitlines()
                    if line.count(": ") == 1 and "{" not in line)
    return {"switchover": 3, "kill": int(settings["ttl"]) + 2}


class Run:
    def __init__(self, folder, seed, asynchronous):
        self.seed, self.counts, self.acknowledged, self.rounds, self.pauses = seed, Counter(), 0, 0, {}
        self.network = Network(folder, machines.NAMES + servers.NAMES)
        self.trio = machines.Trio(folder, self.network, asynchronous)
        self.servers = servers.Servers(folder, self.network)

    def start(self):
        self.trio.start()
        self.servers.start()

    def round(self, kind, number):
        namespace = f"{kind} {number}"
        self.trio.wait_until_whole()
        began, crowd = time.monotonic(), Crowd(self.servers.create(namespace), f"{self.seed} {namespace}")
        blow = KINDS[kind](self.trio, self.network, self.servers, crowd, namespace, number)
        try:
            crowd.goes_on()
            blow.strike()
            over = time.monotonic()
            self.trio.wait_until_whole()
            whole = time.monotonic()
            crowd.goes_on()
            self.servers.check_alive()
            verdict, settled = judge(crowd, self.trio, namespace, blow.outages, kind == "partition")
        finally:
            crowd.give_up()
            self.network.heal()
        self.note(kind, verdict, crowd)
        print(f"{kind} {number}: {self.trio.leader()} leads, {verdict.acknowledged} acknowledged, {settled} settled, "
              f"longest pause {crowd.longest_pause:.1f} s; {time.monotonic() - began:.0f} s, "
              f"{whole - over:.0f} of them until the machines were whole", flush=True)
        self.servers.delete(namespace)
        return not verdict.problems

    def note(self, kind, verdict, crowd):
        self.rounds += 1
        self.acknowledged += verdict.acknowledged
        self.counts += counted(verdict)
        self.pauses[kind] = max(self.pauses.get(kind, 0), crowd.longest_pause)
        if verdict.problems:
            print(verdict.text(), flush=True)

    def result(self):
        return {"rounds": self.rounds, "acknowledged": self.acknowledged,
                **{name: self.counts[name] for name in (*COUNTED, "gone")},
                "longest_pause": {kind: round(pause, 1) for kind, pause in self.pauses.items()}}

    def too_long(self):
        return [f"{kind}: {self.pauses[kind]:.1f} s, at most {most} s are allowed" for kind, most in bounds().items()
                if self.pauses.get(kind, 0) > most]

    def tell_all(self):
        print("\n".join([*(f"== {machine}\n{machine.tail()}" for machine in self.trio.machines), self.servers.tail()]))

    def stop(self):
        self.servers.stop()
        self.trio.stop()


def play(run, kinds, rounds):
    """All rounds; the first that can't be ended ends the run, as nobody knows in what state it leaves all."""
    for number in range(rounds):
        for kind in kinds:
            try:
                run.round(kind, number)
            except Exception:  # pylint: disable=broad-except
                traceback.print_exc(file=sys.stdout)
                run.tell_all()
                run.counts["failed"] += 1
                return


def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description="Three machines under Patroni and etcd, taken apart under load.")
    parser.add_argument("--rounds", type=int, default=10, help="of each kind")
    parser.add_argument("--only", choices=KINDS, action="append")
    parser.add_argument("--seed", type=int, default=random.randrange(1000000))
    parser.add_argument("--asynchronous", action="store_true", help="without synchronous replication")
    parser.add_argument("--keep", help="a folder that the logs are copied into")
    arguments = parser.parse_args()
    folder, began, run = temporary_folder(), time.monotonic(), None
    Path(folder).chmod(0o755)
    print(f"seed {arguments.seed}", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run = Run(folder, arguments.seed, arguments.asynchronous)
        run.start()
        print(f"{time.monotonic() - began:.0f} s until all is up", flush=True)
        play(run, arguments.only or list(KINDS), arguments.rounds)
    except AssertionError:
        if run:
            run.tell_all()
        raise
    finally:
        if run:
            run.stop()
        if arguments.keep:
            shutil.copytree(folder, arguments.keep, ignore=shutil.ignore_patterns("disk", "etcd", ".s.*"),
                            dirs_exist_ok=True)
    print("\n".join([f"{time.monotonic() - began:.0f} s", *run.too_long()]))
    print(json.dumps(run.result()))
    return 1 if any(run.counts[name] for name in COUNTED) or run.too_long() or not run.acknowledged else 0


if __name__ == "__main__":
    sys.exit(main())
