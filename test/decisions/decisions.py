#!/usr/bin/python3
"""Clients that decide by queries and append on condition, and whether each decision was right; after the checks of
https://dcb.events: consistency, and parallel writers of unique tags.

    decisions.py [--seconds 60] [--no-kills] [--unconditional] [--seed N]

Twenty clients of one namespace, by SQL in all three isolation levels and over HTTP at two servers.  A decider reads by
a random query, and appends under the condition that nothing that matches came after what it saw; what that was stands
in its message.  In the end none may lie between.  Writers of unique tags must never be refused.  One client rolls back
half of what it appends.  Meanwhile the index of tags is made anew CONCURRENTLY, again and again, and a backend is
killed with -9 every few seconds, which ends all sessions.

The last line is JSON: appended, refused, violations, errors, and more.  Exit code 1 where anything is wrong, or nothing
was refused.  `--unconditional` appends without conditions: then there must be violations.
"""
import argparse
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psycopg2

sys.path[1:1] = [str(Path(__file__).resolve().parent.parent)]

from store import ZERO_TOKEN, Cluster, Server, new_id, sql, temporary_folder, wait_until  # noqa: E402

TAGS, TYPES, STREAMS = "abcdefgh", "TUVW", 50
REFUSED, SERIALIZATION = "MR019", "40001"
BESIDE = ("unknown", "serialization_failures", "rolled_back", "reindexed", "kills")
SERVER_GONE = ("57P01", "57P02", "57P03")
APPEND = "SELECT global_position FROM millrace.append(%s, %s, '{}', %s, condition => %s::jsonb)"
LAST_AND_HEAD = """
    SELECT (SELECT global_position FROM millrace.read_query(q, NULL, 1, 'backward')), millrace.query_head(q)
    FROM (SELECT %s::jsonb AS q) AS query"""
VIOLATIONS = """
    SELECT m.global_position, o.global_position
    FROM millrace_default.messages m JOIN millrace_default.messages o
        ON o.global_position > (m.metadata->>'after')::bigint AND o.global_position < m.global_position
    WHERE m.metadata ? 'query' AND millrace.query_matches(m.metadata->'query', o.type, o.metadata)"""
TWICE = """
    SELECT metadata->'tags'->>0, count(*) FROM millrace_default.messages WHERE type = 'Unique' GROUP BY 1
    HAVING count(*) > 1"""
UNFINISHED = """
    SELECT indexrelid::regclass FROM pg_index
    WHERE indrelid = 'millrace_default.messages'::regclass AND NOT indisvalid"""
SESSIONS = """
    SELECT pid FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND datname = 'postgres' AND pid <> pg_backend_pid()"""


class Refused(Exception):
    pass


class Gone(Exception):
    """The session ended; whether it committed is not known."""


class Again(Exception):
    """A failure to serialize: of READ COMMITTED and REPEATABLE READ an error."""


class BySql:
    def __init__(self, world, level, chance):
        self.world, self.level, self.chance, self.session = world, level, chance, None

    def run(self, statement, *arguments):
        try:
            return sql(self.session, statement, *arguments)
        except psycopg2.Error as error:
            self.end()
            if error.pgcode == REFUSED:
                raise Refused from error
            if error.pgcode == SERIALIZATION and self.level == "SERIALIZABLE":
                raise Again from error
            if error.pgcode is None or error.pgcode in SERVER_GONE:
                raise Gone from error
            raise

    def begin(self):
        while self.session is None:
            try:
                self.session = self.world.cluster.connect()
            except psycopg2.OperationalError:
                time.sleep(0.01)
        if self.level != "READ COMMITTED":
            self.run(f"BEGIN ISOLATION LEVEL {self.level}")

    def look(self, query):
        return self.run(LAST_AND_HEAD, json.dumps(query))[0]

    def append(self, stream, type, metadata, condition):
        position = self.run(APPEND, stream, type, json.dumps(metadata), condition and json.dumps(condition))[0][0]
        if self.level != "READ COMMITTED":
            self.run("COMMIT")
        return position

    def end(self):
        try:
            sql(self.session, "ROLLBACK")
        except psycopg2.Error:
            self.session.close()
            self.session = None


class RollsBack(BySql):
    """Of a transaction that others wait for, half of the time to no end."""

    def append(self, stream, type, metadata, condition):
        self.run(APPEND, stream, type, json.dumps(metadata), condition and json.dumps(condition))
        time.sleep(self.chance.random() * 0.02)
        if self.chance.random() < 0.5:
            self.run("ROLLBACK")
            self.world.counts["rolled_back"] += 1
            return None
        return super().append(stream, type, metadata, condition)


class ByHttp:
    def __init__(self, world, server, chance):
        self.client = world.servers[server].client(timeout=90)

    def begin(self):
        pass

    def look(self, query):
        answer = self.client.call("query.get", query, {"batchSize": 1, "direction": "backward"})
        return answer["messages"][0][4] if answer["messages"] else None, answer["head"]

    def append(self, stream, type, metadata, condition):
        message = {"type": type, "data": {}, "metadata": metadata}
        reply = self.client.post(["stream.write", stream, message, {"condition": condition} if condition else {}])
        if reply.status == 409 and reply.error["code"] == "APPEND_CONDITION_FAILED":
            raise Refused
        assert reply.status == 200, reply.body
        return reply.json["globalPosition"]


def random_query(chance):
    items = []
    for _ in range(chance.randint(1, 3)):
        item = {}
        if chance.random() < 0.8:
            item["tags"] = chance.sample(TAGS, chance.randint(1, 2))
        if "tags" not in item or chance.random() < 0.3:
            item["types"] = chance.sample(TYPES, chance.randint(1, 2))
        items.append(item)
    return {"items": items} if chance.random() < 0.95 else {"all": True}


def decide(world, way, chance):
    query = random_query(chance)
    last, head = way.look(query)
    after = last if last and chance.random() < 0.5 else head
    metadata = {"tags": chance.sample(TAGS, chance.randint(0, 3)), "query": query, "after": after}
    condition = {"failIfEventsMatch": query, "after": after}
    return way.append(f"s-{chance.randint(1, STREAMS)}", chance.choice(TYPES), metadata,
                      None if world.unconditional else condition)


def write_unique(world, way, chance):
    tag = new_id()
    try:
        return way.append(f"u-{chance.randint(1, STREAMS)}", "Unique", {"tags": [tag]},
                          {"failIfEventsMatch": {"items": [{"tags": [tag]}]}})
    except Refused as refused:
        raise AssertionError(f"refused, though nobody else has tag {tag}") from refused


# How many of each kind: how it talks, what it does.
CLIENTS = [(4, BySql, "READ COMMITTED", decide), (3, BySql, "REPEATABLE READ", decide),
           (2, BySql, "SERIALIZABLE", decide), (1, RollsBack, "READ COMMITTED", decide), (3, ByHttp, 0, decide),
           (3, ByHttp, 1, decide), (2, BySql, "READ COMMITTED", write_unique), (1, ByHttp, 0, write_unique),
           (1, ByHttp, 1, write_unique)]


class World:
    def __init__(self, folder, unconditional=False):
        self.cluster = Cluster(folder / "pg").create().start()
        self.servers, self.unconditional = [], unconditional
        self.counts, self.errors, self.positions = Counter(), [], []
        self.lock, self.over = threading.Lock(), threading.Event()
        for _ in range(2):
            self.servers.append(Server("--database", self.cluster.conninfo(), "--token", ZERO_TOKEN,
                                       token=ZERO_TOKEN))
        sql(self.cluster.connect(), "SELECT millrace.index_tags('default')")

    def stop(self):
        self.over.set()
        for server in self.servers:
            server.kill()
        self.cluster.stop("immediate")

    def note(self, what, position=None):
        with self.lock:
            self.counts[what] += 1
            if position is not None:
                self.positions.append(position)

    def work(self, make, how, act, seed):
        chance = random.Random(seed)
        way = make(self, how, chance)
        while not self.over.is_set():
            try:
                way.begin()
                position = act(self, way, chance)
                if position is not None:
                    self.note("appended", position)
            except Refused:
                self.note("refused")
            except (Gone, Again) as ended:
                self.note("unknown" if isinstance(ended, Gone) else "serialization_failures")
            except Exception as error:  # pylint: disable=broad-except
                self.note("errors")
                self.errors.append(f"{make.__name__} {how} {act.__name__}: {type(error).__name__} {error}")

    def reindex(self):
        """A kill leaves an index that is not finished."""
        while not self.over.wait(1):
            try:
                session = self.cluster.connect()
                for (index,) in sql(session, UNFINISHED):
                    sql(session, f"DROP INDEX CONCURRENTLY {index}")
                sql(session, "REINDEX INDEX CONCURRENTLY millrace_default.messages_tags")
                self.note("reindexed")
                session.close()
            except psycopg2.OperationalError as error:
                if error.pgcode not in (None, *SERVER_GONE):
                    self.errors.append(f"REINDEX: {error}")

    def kill_one(self, chance):
        """Kills a session that is there, one of a client's or of a server's."""
        try:
            pids = sql(self.cluster.connect(), SESSIONS)
        except psycopg2.OperationalError:
            return
        if pids:
            os.kill(chance.choice(pids)[0], signal.SIGKILL)
            self.note("kills")

    def run(self, seconds, kills, seed):
        chance = random.Random(seed)
        kinds = [kind[1:] for kind in CLIENTS for _ in range(kind[0])]
        threads = [threading.Thread(target=self.work, args=(*kind, f"{seed} {number}"))
                   for number, kind in enumerate(kinds)]
        threads.append(threading.Thread(target=self.reindex))
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.over.wait(min(chance.uniform(2, 5), max(0, end - time.monotonic())))
            if kills and time.monotonic() < end:
                self.kill_one(chance)
        self.over.set()
        for thread in threads:
            thread.join()

    def judge(self):
        session = wait_until(self._connect, "Postgres")
        violations = sql(session, VIOLATIONS)
        stored = {row[0] for row in sql(session, "SELECT global_position FROM millrace_default.messages")}
        return {**{name: self.counts[name] for name in ("appended", "refused")},
                "violations": len(violations) + len(sql(session, TWICE)),
                "errors": len(self.errors), "lost": sum(position not in stored for position in self.positions),
                "index_faults": sql(session, "SELECT count(*) FROM millrace.check_tags('default')")[0][0],
                **{name: self.counts[name] for name in BESIDE}}

    def _connect(self):
        try:
            return self.cluster.connect()
        except psycopg2.OperationalError:
            return None


def is_right(result):
    return result["refused"] > 0 and not any(
        result[name] for name in ("violations", "errors", "lost", "index_faults"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--no-kills", action="store_true")
    parser.add_argument("--unconditional", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1000000))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    folder = Path(temporary_folder())
    try:
        world = World(folder, arguments.unconditional)
        try:
            world.run(arguments.seconds, not arguments.no_kills, arguments.seed)
            result = world.judge()
        finally:
            world.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for error in world.errors[:20]:
        print(error)
    print(json.dumps(result))
    return 0 if is_right(result) else 1


if __name__ == "__main__":
    sys.exit(main())
