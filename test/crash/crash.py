#!/usr/bin/python3
"""Kills everything that can be killed, at random moments, under the load of bench/README.md, and counts what got lost.

    crash.py [--kills 30] [--clients 20] [--seed N]

Half of the kills hit a server with an embedded Postgres, half one on a cluster of its own; both durable.  The last
line is JSON: kills, acknowledged (messages), lost, duplicated, holes, failed (requests), longest_pause (s, for
an answer).  Exit code 1 when the history of the clients shows anything wrong, see history.py.

`make test-crash` runs it; by itself it needs MILLRACE and a user that is not root.
"""
import argparse
import itertools
import json
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

sys.path[1:1] = [str(Path(__file__).resolve().parent.parent)]

import history  # noqa: E402
from load import Load  # noqa: E402
from store import temporary_folder, wait_until  # noqa: E402
from victims import Embedded, OnCluster  # noqa: E402


class Totals:
    def __init__(self):
        self.kills, self.problems, self.counts = Counter(), [], Counter()
        self.acknowledged, self.longest_pause = 0, 0

    def add(self, victim, verdict, load):
        self.acknowledged += verdict.acknowledged
        self.longest_pause = max(self.longest_pause, load.longest_pause)
        self.counts += verdict.counts()
        if verdict.problems:
            self.problems.append(f"{victim.name}:\n{verdict.text()}")

    def json(self):
        return {"kills": sum(self.kills.values()), "acknowledged": self.acknowledged,
                "lost": self.counts[history.LOST], "duplicated": self.counts[history.DUPLICATED],
                "holes": self.counts[history.HOLE], "failed": self.counts[history.FAILED],
                "longest_pause": round(self.longest_pause, 2)}


def kinds_in_turn(victim, seed):
    """Every kind equally often, in a random order."""
    while True:
        yield from seed.sample(victim.kinds, len(victim.kinds))


def torment(victim, kills, clients, seed, totals, say=print):
    """One load and its kills; the verdict is added to the totals."""
    chance = random.Random(f"{seed} {victim.name}")
    load = Load(victim, clients, seed)
    for number, kind in enumerate(itertools.islice(kinds_in_turn(victim, chance), kills), 1):
        # At times the next blow comes before the last one is over.
        if chance.random() < 0.8:
            before = load.acknowledged
            wait_until(lambda: load.check_alive() or load.acknowledged > before + 5 * clients, "answers after a kill",
                       60)
        time.sleep(chance.random() * 1.5)
        say(f"{victim.name}: kill {number}, {kind}; {load.acknowledged} appends acknowledged", flush=True)
        getattr(victim, f"kill_{kind}")(chance)
        totals.kills[kind] += 1
    before = load.acknowledged
    wait_until(lambda: load.check_alive() or load.acknowledged > before + 5 * clients, "answers after the last kill",
               60)
    load.stop()
    verdict = load.judge()
    totals.add(victim, verdict, load)
    return load, verdict


def main():
    parser = argparse.ArgumentParser(description="Kills the server and Postgres under load, and counts what got lost.")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(1000000))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    totals, began = Totals(), time.monotonic()
    for make, kills in ((Embedded, arguments.kills - arguments.kills // 2), (OnCluster, arguments.kills // 2)):
        folder = temporary_folder()
        victim = make(folder)
        try:
            torment(victim, kills, arguments.clients, arguments.seed, totals)
        finally:
            victim.stop()
            shutil.rmtree(folder, ignore_errors=True)
    print("\nkills: " + ", ".join(f"{count} {kind}" for kind, count in sorted(totals.kills.items())))
    print(f"{time.monotonic() - began:.0f} s")
    for text in totals.problems:
        print(text)
    for kind, count in sorted(totals.counts.items()):
        print(f"{kind}: {count}")
    print(json.dumps(totals.json()))
    return 1 if totals.counts else 0


if __name__ == "__main__":
    sys.exit(main())
