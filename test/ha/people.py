"""Who uses the servers meanwhile: writers and followers as of test/crash, deciders, members of a consumer, subscribers,
and a client that talks SQL to one machine alone.  Each remembers all that it asked and was answered.
"""
import http.client
import json
import threading
import time
from dataclasses import dataclass

import history
import psycopg2
from history import Append, Follower, Message, Part
from load import CATEGORY, PATIENCE, Caller, HttpFollower, Worker, message_of

from store import new_id, sql, wait_until

WRITERS, DECIDERS, MEMBERS = 4, 2, 2  # at each server
PACE = 0.06      # s, at most, between two calls of a caller
TAGS = "abcdefgh"
CONSUMER = "work"
LEASE = 5000     # ms
SILENCE = 30     # s, of a subscription; pings come after 8
REFUSED = "refused"  # the outcome of an append whose condition did not hold


class Paced:
    """Callers that leave some of the processors to the machines."""

    def step(self):
        super().step()
        time.sleep(self.random.random() * PACE)


class Writer(Paced, Worker):
    """Writes nine times, then reads; see load.py."""


class Pages(Paced, HttpFollower):
    """Reads a category or all, page by page."""


@dataclass(slots=True)
class Decision:
    """An append on the condition that no message with all the tags came after a position."""
    append: Append
    tags: list  # of the query
    after: int


class Decider(Caller):
    """Reads by a query, and appends on condition that nothing which matches it has come since."""

    def __init__(self, way, name, seed):
        super().__init__(way, name, seed)
        self.decisions, self.read_failures, self.acknowledged, self.calls = [], [], 0, 0

    @property
    def appends(self):
        return [each.append for each in self.decisions if each.append.outcome != REFUSED]

    def step(self):
        self.decide()
        time.sleep(self.random.random() * PACE)

    def decide(self):
        self.calls += 1
        tags, query = self.random.sample(TAGS, 2), self.random.sample(TAGS, self.random.randint(1, 2))
        asked = {"items": [{"tags": query}]}
        _, _, status, answer = self.ask("query.get", asked, {"batchSize": 1, "direction": "backward"})
        if status != 200:
            self.read_failures.append(("query.get", status, answer))
            return
        after, mark, id = answer["head"], f"{self.name} {self.calls}", new_id()
        stream = f"decided-{self.random.randrange(20)}"
        message = {"type": "Decided", "data": {"mark": mark}, "metadata": {"tags": tags}}
        start, end, status, answer = self.ask("stream.write", stream, message, {
            "id": id, "condition": {"failIfEventsMatch": asked, "after": after}})
        append = Append([Part(stream, [mark], [id])], start, end, history.FAILED, answer=(status, answer))
        if status == 200:
            part = append.parts[0]
            append.outcome, part.position, part.last_position = history.STORED, answer["position"], answer["position"]
            part.global_position = part.last_global_position = answer["globalPosition"]
            self.acknowledged += 1
        elif status == 409 and answer["error"]["code"] == "APPEND_CONDITION_FAILED":
            append.outcome = REFUSED
        self.decisions.append(Decision(append, query, after))


class Member(Caller):
    """Of a consumer: settles in the call that asks for more.  `record` is what test/consumers/judge.py reads."""

    def __init__(self, way, name, seed):
        super().__init__(way, name, seed)
        self.record, self.read_failures, self.done = [], [], None

    def write(self, **line):
        self.record.append({**line, "at": time.monotonic()})

    def step(self):
        options = {"max": 50, "waitMs": 500, "member": self.name, "request": new_id()}
        if self.done:
            claim, done = self.done
            options["settle"] = [{"claim": claim}]
            self.write(settling=claim, done=done)
        broken = self.broken
        _, _, status, answer = self.ask("consumer.next", CONSUMER, options)
        if status != 200:
            self.read_failures.append(("consumer.next", status, answer))
            return
        self.done = None
        for claim in answer.get("settled", []):
            self.write(settled=claim)
        for claim in answer.get("lost", []):
            self.write(lost=claim, sure=broken == self.broken)
        if answer["claim"] is not None:
            done = [message[4] for message in answer["messages"]]
            self.write(got=answer["claim"], messages=done)
            self.done = answer["claim"], done
            time.sleep(self.random.random() * PACE)

    def finish(self):
        while self.done:
            self.step()


class Subscriber(threading.Thread):
    """By /subscribe, in one connection where that lasts."""

    def __init__(self, way, name):
        super().__init__(name=name)
        self.way, self.seen, self.target, self.position = way, Follower(name), None, 0
        self.error, self.connections, self.client = None, 0, None

    @property
    def done(self):
        return self.target is not None and self.position >= self.target

    def run(self):
        try:
            while not self.done:
                self.connections += 1
                self.read()
            self.seen.finished = True
        except Exception as error:  # shown by Crowd.stop
            self.error = error

    def read(self):
        self.client = self.way.client(SILENCE)
        headers = {**self.client.headers(), **({"Last-Event-ID": str(self.position)} if self.position else {})}
        try:
            self.client.connection.request("GET", "/subscribe?all=true&ids=true&messages=true", None, headers)
            response = self.client.connection.getresponse()
            assert response.status == 200, f"{self.name}: {response.status} {response.read()[:300]}"
            self.events(response)
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            time.sleep(0.05)
        finally:
            self.client.close()

    def events(self, response):
        pending = b""
        while not self.done and (got := response.read1(1 << 16)):
            *whole, pending = (pending + got).split(b"\n\n")
            for event in whole:
                self.event(dict(line.split(b": ", 1) for line in event.split(b"\n")
                                if b": " in line and not line.startswith(b":")))

    def event(self, fields):
        assert fields.get(b"event") != b"reset", f"{self.name}: reset at {self.position}: {fields}"
        if b"data" in fields:
            row = json.loads(fields[b"data"])
            self.seen.rows.append(message_of(row))
            self.position = row[4]

    def end(self, last):
        """Waits until it has seen the last message."""
        self.target = last
        try:
            wait_until(lambda: self.done or not self.is_alive(), f"{self.name} to see {last}", PATIENCE)
        except AssertionError as error:
            self.error = self.error or AssertionError(f"{error}; it is at {self.position}")
            self.target = -1
        while self.is_alive():  # a ping ends the wait of one that has seen all
            self.join(0.5)


class Stubborn(threading.Thread):
    """Appends by SQL to one machine, whatever becomes of it: what it is told there must be true everywhere."""

    def __init__(self, machine, namespace, name):
        super().__init__(name=name)
        self.machine, self.namespace, self.appends, self.stopped, self.error = machine, namespace, [], False, None
        self.acknowledged, self.connection = 0, None

    def run(self):
        try:
            while not self.stopped:
                try:
                    self.append()
                except (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.errors.ReadOnlySqlTransaction,
                        psycopg2.errors.ObjectNotInPrerequisiteState):
                    self.connection = None
                    time.sleep(0.05)
        except Exception as error:  # shown by Crowd.stop
            self.error = error

    def append(self):
        if self.connection is None:
            self.connection = self.machine.connect()
        number = len(self.appends)
        part = Part(f"{CATEGORY}-by-sql", [f"{self.name} {number}"], [new_id()])
        append = Append([part], time.monotonic(), history.NEVER, history.UNKNOWN)
        self.appends.append(append)
        rows = sql(self.connection, "SELECT \"position\", global_position "
                   "FROM millrace.append(%s, 'Loaded', %s, id => %s, namespace => %s)", part.stream,
                   json.dumps({"mark": part.marks[0]}), part.ids[0], self.namespace)
        append.end, append.outcome = time.monotonic(), history.STORED
        part.position = part.last_position = rows[0][0]
        part.global_position = part.last_global_position = rows[0][1]
        self.acknowledged += 1

    def end(self):
        self.stopped = True
        self.join(PATIENCE)
        assert not self.is_alive(), f"{self.name} hangs"
