"""What is done to the three machines, one kind a round.

Each returns when its blow is over and all is on its way to be whole again.  It has let the crowd go on after the blow,
at both servers, before anything was mended that a failover is to be enough for.
"""
import os
import signal
import time

from people import Stubborn

from store import wait_until

LEFT = 55   # s, for another leader: less than the retry window
BEHIND = 40_000_000  # bytes of the log, that a standby is behind
CUT = 35    # s, at most: who is cut off with the old leader waits, for the retry window and no longer
FILLED = 3   # s, of a full disk without an answer


class Blow:
    def __init__(self, trio, network, servers, crowd, namespace, number):
        self.trio, self.network, self.servers, self.crowd = trio, network, servers, crowd
        self.namespace, self.number = namespace, number
        self.leader, self.outages = trio.leader(), []

    def strike(self):
        began = time.monotonic()
        self.act()
        self.outages.append((began, time.monotonic()))

    def another_leads(self, among=None):
        among = among or self.trio.others(self.leader)
        return wait_until(lambda: self.crowd.check_alive() or self.trio.leader(among), "another leader", LEFT)

    def hand_over(self):
        """As `patronictl switchover` does; asked again where it is refused."""
        def accepted():
            candidate = self.trio.synchronous_standby()
            status, self.said = self.leader.api("POST", "/switchover", {"leader": self.leader.name,
                                                                        "candidate": candidate and candidate.name})
            return status == 200 or not self.leader.leads()
        self.said = None
        try:
            wait_until(accepted, "a switchover", 20)
        except AssertionError as error:
            raise AssertionError(f"{error}; the last answer is {self.said}") from None


class Switchover(Blow):
    """Patroni is stopped where it leads, as for an upgrade, and started again."""

    def act(self):
        self.leader.stop_patroni()
        self.another_leads()
        self.leader.start_patroni()
        self.crowd.goes_on()


class Kill(Blow):
    """Patroni and Postgres of the leader, with -9."""

    def act(self):
        self.leader.kill()
        self.another_leads()
        self.crowd.goes_on()
        self.leader.start_patroni()


class Partition(Blow):
    """The leader lives, and sees neither etcd nor the others.  With it, in turns: the server that knows all machines,
    alone; the same, which sees the others, too; the server with HAProxy.  A client stays by SQL."""

    def act(self):
        old, others = self.leader, self.trio.others(self.leader)
        with_it, between = [(["app1"], []), ([], ["app1"]), (["app2"], [])][self.number % 3]
        stubborn = self.crowd.add(Stubborn(old, self.namespace, f"stubborn {self.namespace}"))
        wait_until(lambda: self.crowd.check_alive() or stubborn.acknowledged > 20, "answers by SQL")
        away = [name for name in self.servers.addresses if name not in with_it + between]
        self.network.cut([old.name, *with_it], [*(each.name for each in others), *away])
        at, said = time.monotonic(), stubborn.acknowledged
        assert old.runs(), f"{old} does not run: this is no partition"
        asked = len(stubborn.appends)
        self.another_leads(others)
        self.crowd.goes_on([way for way in self.crowd.ways if way.name not in with_it])
        wait_until(lambda: not old.leads() or time.monotonic() > at + CUT, f"{old} to see that it leads no more", LEFT)
        stubborn.end()
        print(f"  {old} was cut off for {time.monotonic() - at:.0f} s with {with_it + between or 'nobody'}; by SQL it "
              f"was asked {len(stubborn.appends) - asked} times, and acknowledged {stubborn.acknowledged - said}; "
              f"it {'still believes that it leads' if old.leads() else 'has stepped down'}", flush=True)
        self.network.heal()
        self.crowd.goes_on()


class FullDisk(Blow):
    """To the last byte, and more as soon as there is some.  In turns the operator makes room, and hands over."""

    def act(self):
        self.leader.fill()
        end = time.monotonic() + LEFT
        answers, since = None, time.monotonic()
        while time.monotonic() < end and self.leader.leads() and time.monotonic() < since + FILLED:
            self.leader.fill()
            now = sum(map(self.crowd.acknowledged, self.crowd.ways))
            if now != answers:
                answers, since = now, time.monotonic()
            self.crowd.check_alive()
            time.sleep(0.2)
        stands, leads = time.monotonic() >= since + FILLED, self.leader.leads()
        print(f"  {self.leader}: " + ("nothing is appended" if stands else "appends go on") +
              ("" if leads else ", and it leads no more"), flush=True)
        if self.number % 2 and leads:
            self.hand_over()
            self.another_leads()
            self.crowd.goes_on()
        self.leader.make_room()
        self.crowd.goes_on()


class FarBehind(Blow):
    """A standby that is far behind when the leader is killed: the synchronous one, the other one; cut off for a while,
    or its replay stands still (not by pg_wal_replay_pause(), which Patroni ends in its next loop)."""

    def act(self):
        synchronous = self.trio.synchronous_standby()
        slow = synchronous if self.number % 2 else self.trio.others(self.leader, synchronous)[0]
        paused = self.number % 4 >= 2
        if paused:
            replay = slow.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'")[0][0]
            os.kill(replay, signal.SIGSTOP)
        else:
            self.network.cut([slow.name], [each.name for each in self.trio.others(slow)])
        self.crowd.goes_on()
        self.write_much()
        behind = self.behind(slow)
        assert behind > BEHIND / 2, f"{slow} is only {behind} bytes behind"
        print(f"  {slow} is {'' if slow is synchronous else 'not '}synchronous and {behind >> 20} MB behind, "
              f"{'stopped' if paused else 'cut off'}", flush=True)
        self.network.heal()
        wait_until(lambda: self.trio.may_fail(self.leader), "a synchronous standby that may be promoted", LEFT)
        self.leader.kill()
        if paused:
            os.kill(replay, signal.SIGCONT)
        self.another_leads()
        self.crowd.goes_on()
        self.leader.start_patroni()

    def write_much(self):
        for _ in range(BEHIND // 1_000_000):
            self.leader.sql("SELECT pg_logical_emit_message(false, 'much', repeat('x', 1000000))")

    def behind(self, slow):
        now = self.leader.sql("SELECT pg_current_wal_lsn()")[0][0]
        return int(slow.sql("SELECT pg_wal_lsn_diff(%s, pg_last_wal_replay_lsn())", now)[0][0])


KINDS = {"switchover": Switchover, "kill": Kill, "partition": Partition, "full-disk": FullDisk, "behind": FarBehind}
