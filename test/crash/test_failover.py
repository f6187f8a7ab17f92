"""A primary and a synchronous standby: what was acknowledged is on both, so a failover loses nothing."""
import random
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest
from history import Follower, Message
from load import CATEGORY, Load
from store import Cluster, sql, wait_until
from victims import Victim, children, kill, pg_ctl

ROUNDS = 2
CLIENTS = 20


class Pair(Victim):
    """A server on two clusters.  The standby is named first: the server has to find out which one accepts writes."""

    def __init__(self, folder, *options):
        super().__init__()
        self.options = options
        self.primary, self.standby = Cluster(Path(folder) / "a").create().start(), Cluster(Path(folder) / "b")
        self.make_standby()
        self.start_server()

    def arguments(self):
        return ["--database", f"host={self.standby.folder},{self.primary.folder} user=tester dbname=postgres",
                *self.options]

    def make_standby(self):
        shutil.rmtree(self.standby.data, ignore_errors=True)
        self.standby.copy_of(self.primary).start()
        connection = self.primary.connect()
        sql(connection, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        sql(connection, "SELECT pg_reload_conf()")
        wait_until(lambda: sql(connection, "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"),
                   "a synchronous standby")
        connection.close()

    def postmaster(self, cluster):
        return int((cluster.data / "postmaster.pid").read_text().split()[0])

    def kill_primary(self):
        postmaster = self.postmaster(self.primary)
        for pid in [postmaster, *children(postmaster)]:
            kill(pid)
        # Until it has been waited for it counts as running, and its lock files keep the next one from starting.
        wait_until(lambda: not Path(f"/proc/{postmaster}").exists(), "the end of the primary")

    def promote(self):
        assert pg_ctl(self.standby.data, "promote", "-w") == 0
        self.primary, self.standby = self.standby, self.primary

    def stop(self):
        super().stop()
        for cluster in (self.primary, self.standby):
            cluster.stop("immediate")


@pytest.fixture
def pair(folder):
    pair = Pair(folder)
    yield pair
    pair.stop()


class SqlFollower(threading.Thread):
    """Reads from one cluster, standby or not, always from its last global position on."""

    def __init__(self, cluster):
        super().__init__()
        self.cluster, self.seen, self.stopped, self.error = cluster, Follower(
            f"SQL on {cluster.folder.name}"), False, None
        self.start()

    def run(self):
        connection, position = self.cluster.connect(), 1
        try:
            while True:
                last_round = self.stopped
                try:
                    rows = sql(
                        connection, "SELECT id::text, stream_name, position, global_position, data::json ->> 'mark'"
                        " FROM millrace.read_category(%s, \"position\" => %s, batch_size => 1000)", CATEGORY, position)
                except psycopg2.errors.SerializationFailure:  # a conflict with recovery
                    continue
                self.seen.rows += [Message(*row) for row in rows]
                if rows:
                    position = rows[-1][3] + 1
                elif last_round:
                    return
        except psycopg2.Error as error:  # shown by stop
            self.error = error
        finally:
            connection.close()

    def stop(self):
        self.stopped = True
        self.join()
        assert self.error is None, self.error


def test_writes_go_on_at_the_promoted_standby_and_nothing_is_lost(pair):
    seed = random.randrange(1000000)
    print(f"seed {seed}")
    chance, followers = random.Random(seed), []
    load = Load(pair, CLIENTS, seed)

    def goes_on():
        before = load.acknowledged
        wait_until(lambda: load.check_alive() or load.acknowledged > before + 20 * CLIENTS, "answers", 60)

    for _ in range(ROUNDS):
        goes_on()
        followers.append(SqlFollower(pair.standby))
        goes_on()
        time.sleep(chance.random())
        pair.kill_primary()
        time.sleep(chance.random())
        pair.promote()
        goes_on()
        followers[-1].stop()
        pair.make_standby()
    goes_on()
    load.stop()
    verdict = load.judge([follower.seen for follower in followers])
    print(f"{verdict.acknowledged} acknowledged, {load.longest_pause:.2f} s at most for an answer")
    assert verdict.problems == []
    assert all(len(follower.seen.rows) > 500 for follower in followers)


@pytest.mark.parametrize("end", ["pg_terminate_backend", "pg_cancel_backend"])
def test_a_message_that_is_not_on_the_standby_yet_is_not_acknowledged_to_a_retry_either(pair, end):
    """The backend is ended while it waits for the standby, or its wait: its commit stays, and the server asks again.
    Of a wait that is cancelled PostgreSQL tells with a warning, and then that all went well."""
    walreceiver = next(pid for pid, title in children(pair.postmaster(pair.standby)).items() if "walreceiver" in title)
    primary = pair.primary.connect()
    kill(walreceiver, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        try:
            answer = pool.submit(pair.server.client().write, "s")
            waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            ((pid,),) = wait_until(lambda: sql(primary, waiting), "a commit that waits for the standby")
            sql(primary, f"SELECT {end}(%s)", pid)
            wait_until(lambda: (pid,) not in sql(primary, waiting) or answer.done(), "its end")
            time.sleep(2)  # for the answer that should not come
            assert not answer.done(), f"acknowledged, but not on the standby: {answer.result()}"
        finally:
            kill(walreceiver, signal.SIGCONT)
        assert answer.result()["position"] == 0
    primary.close()


def test_a_message_that_is_not_on_the_standby_yet_is_not_shown_when_the_answer_takes_too_long(folder):
    """The server leaves a session that is silent, and has its statement cancelled: not one that waits for the standby,
    which would have others see what may be lost."""
    pair = Pair(folder, "--answer-timeout", "1")
    walreceiver = next(pid for pid, title in children(pair.postmaster(pair.standby)).items() if "walreceiver" in title)
    try:
        client = pair.server.client()
        client.write("before")
        kill(walreceiver, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            try:
                answer = pool.submit(pair.server.client().write, "s")
                wait_until(lambda: "has not answered for 1 s" in pair.server.text, "a session that is left")
                end = time.monotonic() + 2
                while time.monotonic() < end:
                    assert client.call("stream.version", "s") is None and not answer.done()
            finally:
                kill(walreceiver, signal.SIGCONT)
            assert answer.result()["position"] == 0
    finally:
        pair.stop()
