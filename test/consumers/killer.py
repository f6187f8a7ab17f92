"""The members as processes that are started again whenever they end; the two servers; and who kills all of these and
Postgres, at random moments."""
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psycopg2
from member import LEASE
from store import ZERO_TOKEN, Server, free_port, sql, wait_until

EVERY = 2.5  # seconds between two kills, about


class Slot:
    """One member, in one process after the other."""

    def __init__(self, name, make_command, environment=None):
        self.name, self.make_command, self.environment = name, make_command, environment
        self.process, self.wakes_at, self.ended = None, None, False
        self.starts = 0

    def tend(self):
        """Starts it where it has ended, and lets it go on where it was stopped for long enough."""
        if self.wakes_at is not None and time.monotonic() > self.wakes_at:
            self.wake()
        if not self.ended and (self.process is None or self.process.poll() is not None):
            self.starts += 1
            self.process = subprocess.Popen(self.make_command(), env=self.environment, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL)

    def signal(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)

    def wake(self):
        self.wakes_at = None
        self.signal(signal.SIGCONT)

    def stop_for(self, seconds):
        self.signal(signal.SIGSTOP)
        self.wakes_at = time.monotonic() + seconds

    def end(self):
        self.ended = True
        self.wake()
        self.signal(signal.SIGTERM)

    def wait(self, seconds):
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Servers:
    def __init__(self, cluster):
        self.cluster, self.ports = cluster, [free_port(), free_port()]
        self.servers = [self.start(port) for port in self.ports]

    def start(self, port):
        return Server("--database", self.cluster.conninfo(), "--port", str(port), "--token", ZERO_TOKEN)

    def kill(self, which, pause):
        self.servers[which].kill()
        time.sleep(pause)
        self.servers[which] = self.start(self.ports[which])

    def stop(self):
        for server in self.servers:
            server.stop()


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def postmaster(cluster):
    return int((cluster.data / "postmaster.pid").read_text().split()[0])


def children(pid):
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def answers(cluster):
    try:
        psycopg2.connect(cluster.conninfo() + " connect_timeout=5").close()
        return True
    except psycopg2.Error:
        return False


def start_again(cluster):
    """When the last process of the one before is gone.  Recovery may take longer than pg_ctl waits."""
    def started():
        try:
            return cluster.start()
        except AssertionError:
            return answers(cluster)
    wait_until(started, "Postgres to start", 300)


class Killer:
    """All kinds of a round in a random order, then the next round."""

    outages = ["postgres", "immediate", "session"]
    round = ["member"] * 4 + ["zombie"] * 7 + ["server"] * 2 + outages

    def __init__(self, cluster, servers, slots, random):
        self.cluster, self.servers, self.slots, self.random = cluster, servers, slots, random
        self.kills, self.left, self.next = Counter(), [], time.monotonic() + EVERY
        self.log = []  # (began, ended, kind), by time.time()

    def strike_when_due(self):
        if time.monotonic() < self.next:
            return
        self.left = self.left or self.random.sample(self.round, len(self.round))
        kind = self.left.pop()
        began = time.time()
        getattr(self, kind)()
        self.kills[kind] += 1
        self.log.append((began, time.time(), kind))
        self.next = time.monotonic() + EVERY * 2 * self.random.random()

    def member(self):
        self.random.choice(self.slots).signal(signal.SIGKILL)

    def zombie(self):
        """It sleeps until others have its messages, most of the time: one that has any, and still has when it has been
        stopped."""
        awake = [slot for slot in self.slots if slot.wakes_at is None]
        if len(awake) <= 5:
            return
        for victim in self.random.sample(awake, len(awake)):
            if victim.name in self.holders():
                victim.stop_for(LEASE * (1.5 + 1.5 * self.random.random()))
                if victim.name in self.holders():
                    return
                victim.wake()

    def holders(self):
        """The members that have a claim."""
        connection = self.cluster.connect()
        names = {name for name, in sql(connection, "SELECT member FROM millrace.consumer_claims_open")}
        connection.close()
        return names

    def server(self):
        self.servers.kill(self.random.randrange(2), self.random.choice([0, 0, 2]))

    def postgres(self):
        """All processes of it."""
        pid = postmaster(self.cluster)
        for each in [pid, *children(pid)]:
            kill(each)
        start_again(self.cluster)

    def immediate(self):
        self.cluster.stop("immediate")
        start_again(self.cluster)

    def session(self):
        """One of its processes, after which it begins anew by itself."""
        kill(self.random.choice(children(postmaster(self.cluster))))
        wait_until(lambda: answers(self.cluster), "Postgres to answer", 300)
