#!/usr/bin/python3
"""Kills and restarts nginx and HAProxy in front of the server, and pgbouncer behind it, under load, and counts what got
lost.

    proxies.py [--seconds 600] [--seed N] [--new-ids] [--drop]
    proxies.py --table [NAME...]

Clients go through nginx and through HAProxy; `millrace serve` reaches its Postgres through pgbouncer, pool_mode =
session.  The last line is JSON: acknowledged (messages), lost, twice, failed (requests that never came through though
every part was up, or that were answered wrongly), restarts.  Exit code 1 when lost, twice or failed is not 0.

--new-ids and --drop are faults that must be seen: clients that send again with new ids, and a message that is taken out
of the table in the end.

`make test-proxies` runs it; by itself it needs MILLRACE, nginx, haproxy, pgbouncer and a user that is not root.
"""
import argparse
import json
import random
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

sys.path[1:1] = [str(Path(__file__).resolve().parent.parent)]

import account  # noqa: E402
import certificates  # noqa: E402
import table  # noqa: E402
from callers import Mover, Pages, Subscriber, Writer  # noqa: E402
from parts import HAProxy, Nginx, PgBouncer, program  # noqa: E402
from store import ZERO_TOKEN, Cluster, Server, sql, temporary_folder  # noqa: E402

WRITERS = 6    # through each proxy
STORED = ("SELECT global_position, stream_name, position, (data ->> 'k')::bigint "
          "FROM millrace_default.messages ORDER BY global_position")


def missing():
    return [name for name in ("nginx", "haproxy", "pgbouncer") if not program(name)]


class World:
    """All parts, and the time in which every one of them was up."""

    def __init__(self, folder, seed, new_ids=False, pace=0.08, rest=8):
        self.seed, self.new_ids, self.pace, self.rest, self.token = seed, new_ids, pace, rest, ZERO_TOKEN
        self.account, self.ending, self.calm, self.restarts, self.problems = account.Account(), False, threading.Event(
        ), 0, []
        self.mutex, self.down, self.since, self.so_far = threading.Lock(), 0, time.monotonic(), 0
        self.cluster = Cluster(folder + "/pg", ["max_connections=150"]).create().start()
        self.pgbouncer, self.server, self.proxies = None, None, []
        try:
            self.pgbouncer = PgBouncer(folder, self.cluster).start()
            self.server = Server("--database", self.pgbouncer.conninfo(), "--token", ZERO_TOKEN, "--admin-listen", "",
                                 "--listen", "127.0.0.1", token=ZERO_TOKEN)
            port = self.server.port
            self.proxies = [Nginx(folder, certificates.common_certificate(), port), HAProxy(folder, port)]
            for proxy in self.proxies:
                proxy.start()
        except BaseException:
            self.stop()
            raise
        self.parts = [self.pgbouncer, *self.proxies]

    def uptime(self):
        """Seconds so far in which every part was up."""
        with self.mutex:
            return self.so_far + (time.monotonic() - self.since if self.down == 0 else 0)

    def mark(self, change):
        with self.mutex:
            if self.down == 0:
                self.so_far += time.monotonic() - self.since
            self.down += change
            self.since = time.monotonic()

    def torment(self, part):
        """Kills or stops a part and starts it again, at random moments, until it is calm."""
        chance = random.Random(f"{self.seed} {part.name}")
        while not self.calm.wait(1.5 + 6 * chance.random()):
            self.mark(1)
            try:
                part.end(signal.SIGKILL if chance.random() < 0.7 else signal.SIGTERM)
                time.sleep(2 * chance.random())
                part.start()
                with self.mutex:
                    self.restarts += 1
            except Exception as error:  # told in the end
                self.problems.append(f"{part.name}: {error!r}")
                return
            finally:
                self.mark(-1)

    def people(self):
        self.writers = [Writer(self, proxy, n) for proxy in self.proxies for n in range(WRITERS)]
        self.followers = [kind(self, proxy, f"{kind.__name__.lower()} of {category or 'all'}", category)
                          for proxy in self.proxies for kind in (Pages, Subscriber) for category in (None, "own1")]
        self.movers = [
            Mover(self, proxy, other, n)
            for n, (proxy, other) in enumerate([self.proxies, reversed(self.proxies)])
        ]
        return [*self.writers, *self.followers, *self.movers]

    def run(self, seconds, say=print):
        people = self.people()
        tormentors = [threading.Thread(target=self.torment, args=(part,)) for part in self.parts]
        for thread in [*people, *tormentors]:
            thread.start()
        began = time.monotonic()
        while time.monotonic() < began + seconds and not self.problems:
            time.sleep(min(15, max(0.1, began + seconds - time.monotonic())))
            say(
                f"{time.monotonic() - began:4.0f} s: "
                f"{len(self.account.acknowledged)} acknowledged, {self.restarts} restarts",
                flush=True)
        self.calm.set()
        for thread in tormentors:
            thread.join()
        self.ending = True
        for thread in [*self.writers, *self.movers]:
            thread.join()
        self.finish_followers()
        self.problems += [each.problem for each in people if each.problem]
        self.problems += [f"{mover.name} moved nothing" for mover in self.movers if not mover.moved]

    def finish_followers(self):
        rows = self.stored()
        for follower in self.followers:
            follower.target = max((row.global_position for row in rows if follower.wants(row)), default=0)
        for follower in self.followers:
            follower.wake()
            follower.join()

    def stored(self):
        connection = self.cluster.connect()
        rows = [account.Row(*row) for row in sql(connection, STORED)]
        connection.close()
        return rows

    def drop_one(self):
        """The end of a stream, so that a hole is not what tells."""
        connection = self.cluster.connect()
        sql(
            connection,
            "DELETE FROM millrace_default.messages WHERE global_position = "
            "(SELECT max(global_position) FROM millrace_default.messages)"
        )
        connection.close()

    def judge(self):
        self.account.judge(self.stored(), self.followers)
        for problem in self.problems:
            self.account.complain("failed", problem)
        counts = self.account.counts
        return {
            "acknowledged": len(self.account.acknowledged) + sum(mover.moved for mover in self.movers),
            "lost": counts["lost"], "twice": counts["twice"], "failed": counts["failed"], "restarts": self.restarts
        }

    def stop(self):
        for proxy in self.proxies:
            proxy.end()
        if self.server:
            self.server.kill()
        if self.pgbouncer:
            self.pgbouncer.end()
        self.cluster.stop("immediate")
        certificates.forget_common_certificate()


def main():
    parser = argparse.ArgumentParser(
        description="Kills and restarts the proxies around a server under load, and counts what got lost.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(1000000))
    parser.add_argument("--new-ids", action="store_true", help="send again with new ids: the run must fail")
    parser.add_argument("--drop", action="store_true",
                        help="take one acknowledged message out of the table: the run must fail")
    parser.add_argument("--table", nargs="*", metavar="NAME",
                        help="kill nothing: print what each proxy that is installed does, for sidecar/README.md")
    arguments = parser.parse_args()
    if arguments.table is not None:
        return table.main(arguments.table)
    folder = temporary_folder()
    world = World(folder, arguments.seed, arguments.new_ids)
    try:
        print(f"seed {arguments.seed}; " + ", ".join(f"{part.name} {part.version()}" for part in world.parts),
              flush=True)
        world.run(arguments.seconds)
        if arguments.drop:
            world.drop_one()
        verdict = world.judge()
    finally:
        world.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(
        f"sent again: {sum(writer.again for writer in world.writers)} times; "
        f"longest: {max(writer.longest for writer in world.writers):.1f} s; "
        f"{sum(mover.rounds for mover in world.movers)} imports and exports")
    print("\n".join(world.account.lines))
    print(json.dumps(verdict))
    return 1 if verdict["lost"] or verdict["twice"] or verdict["failed"] or not verdict["acknowledged"] else 0


if __name__ == "__main__":
    sys.exit(main())
