"""The load of bench/README.md, by clients that record every call: 100 streams of one category, nine writes to one read.

A client is a closed loop on a keep-alive connection.  When the connection breaks, the call is asked again with the same
id, until there is an answer.  Some writes have no id of the client's; what became of one whose answer got lost
isn't known, and it isn't asked again.
"""
import http.client
import json
import random
import threading
import time

import history
from history import Append, Follower, Message, Observation, Part
from store import Client, new_id

STREAMS = 100
CATEGORY = "load"
PADDING = "x" * 220  # a message has about 300 bytes
PATIENCE = 90        # s, beyond every retry window: a call that takes longer has failed
AGAIN = 0.02         # s between attempts to connect
PAGE = 1000


class Lost(Exception):
    """The connection broke after the request had been sent."""


def message_of(row):
    """A message of category.get."""
    return Message(row[0], row[1], row[3], row[4], row[5]["mark"])


def message_of_stream(stream, row):
    """A message of stream.get and stream.last."""
    return Message(row[0], stream, row[2], row[3], row[4]["mark"])


class Caller(threading.Thread):
    """A thread with a connection; run() ends with an error in `error`, or none."""

    def __init__(self, server, name, seed):
        super().__init__(name=name)
        self.client = Client(server.port, server.token, PATIENCE, host=server.host)
        self.random = random.Random(f"{seed} {name}")
        self.stopped, self.error, self.longest, self.broken = False, None, 0, 0
        self.observations = []

    def run(self):
        try:
            while not self.stopped:
                self.step()
            self.finish()
        except Exception as error:  # shown by Load.stop
            self.error = error
        finally:
            self.client.close()

    def finish(self):
        pass

    def wait_to_be_stopped(self, seconds):
        end = time.monotonic() + seconds
        while not self.stopped and time.monotonic() < end:
            time.sleep(0.05)

    def send(self, body):
        try:
            reply = self.client.post(body)
            return reply.status, json.loads(reply.body)
        except (OSError, http.client.HTTPException) as error:
            self.client.close()
            self.broken += 1
            raise Lost from error

    def connect(self, until):
        """Connects, if it must.  That no server listens for a while is part of the test."""
        while self.client.connection.sock is None:
            try:
                self.client.connection.connect()
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(AGAIN)

    def ask(self, *call, repeat=True):
        """Asks until there is an answer: (start, end, status, answer); status None: there is none."""
        start = time.monotonic()
        while True:
            status = answer = None
            try:
                self.connect(start + PATIENCE)
                status, answer = self.send(list(call))
            except Lost:
                if repeat and time.monotonic() < start + PATIENCE:
                    continue
            end = time.monotonic()
            self.longest = max(self.longest, end - start)
            return start, end, status, answer


class Worker(Caller):
    """Writes nine times, then reads."""

    def __init__(self, server, number, seed):
        super().__init__(server, f"worker {number}", seed)
        self.appends, self.acknowledged, self.read_failures, self.versions, self.calls = [], 0, [], {}, 0

    def step(self):
        self.calls += 1
        stream = f"{CATEGORY}-{self.random.randrange(STREAMS)}"
        if self.calls % 10 == 0:
            self.read(stream)
        else:
            self.random.choices([self.write, self.append, self.append_to_several], [20, 2, 1])[0](stream)

    def messages(self, count):
        marks = [f"{self.name} {self.calls} {n}" for n in range(count)]
        return marks, [{"type": "Loaded", "data": {"mark": mark, "padding": PADDING}} for mark in marks]

    def write(self, stream):
        """With or without an id, with or without an expected version; that one is often out of date."""
        marks, messages = self.messages(1)
        id = new_id() if self.random.random() < 0.8 else None
        expected = self.versions.get(stream, -1) if self.random.random() < 0.3 else None
        options = {name: value for name, value in (("id", id), ("expectedVersion", expected)) if value is not None}
        asked = self.ask("stream.write", stream, messages[0], options, repeat=id is not None)
        self.record([Part(stream, marks, [id] if id else None)], asked, expected)

    def append(self, stream):
        marks, messages = self.messages(3)
        ids = [new_id() for _ in messages]
        asked = self.ask("stream.append", stream, [{**message, "id": id} for message, id in zip(messages, ids)])
        self.record([Part(stream, marks, ids)], asked)

    def append_to_several(self, stream):
        """To two streams, in any order, all or none."""
        marks, messages = self.messages(2)
        other = f"{CATEGORY}-{self.random.randrange(STREAMS)}"
        if other == stream:
            return
        ids = [new_id() for _ in messages]
        parts = [Part(name, [mark], [id]) for name, mark, id in zip((stream, other), marks, ids)]
        asked = self.ask("streams.append", [{"stream": part.stream, "messages": [{**message, "id": part.ids[0]}]}
                                            for part, message in zip(parts, messages)])
        self.record(parts, asked)

    def record(self, parts, asked, expected=None):
        start, end, status, answer = asked
        append = Append(parts, start, end, history.UNKNOWN, expected)
        if status == 200:
            append.outcome = history.STORED
            for part, positions in zip(parts, answer if isinstance(answer, list) else [answer]):
                part.position, part.global_position = positions["position"], positions["globalPosition"]
                part.last_position = positions.get("lastPosition", part.position)
                part.last_global_position = positions.get("lastGlobalPosition", part.global_position)
                self.versions[part.stream] = part.last_position
            self.acknowledged += 1
        elif status == 409 and answer["error"]["code"] == "STREAM_VERSION_CONFLICT":
            append.outcome, append.actual = history.CONFLICT, answer["error"]["details"]["actual"]
            self.versions[parts[0].stream] = append.actual
        elif status is not None or parts[0].ids:
            append.outcome, append.answer = history.FAILED, (status, answer)
            self.wait_to_be_stopped(1)  # as Retry-After asks for
        self.appends.append(append)

    def read(self, stream):
        """The first ten messages, the last one, or the version."""
        method = self.random.choice(["stream.get", "stream.last", "stream.version"])
        start, end, status, answer = self.ask(method, stream, *([{"batchSize": 10}] if method == "stream.get" else []))
        if status != 200:
            self.read_failures.append((method, status, answer))
            return
        rows = {"stream.get": answer, "stream.last": [answer] if answer else [], "stream.version": []}[method]
        rows = [message_of_stream(stream, row) for row in rows or []]
        version = rows[-1].position if rows else -1
        if method == "stream.version":
            version = -1 if answer is None else answer
        elif method == "stream.get" and len(rows) == 10:
            version = None
        self.observations.append(Observation(stream, start, end, version, rows))


class HttpFollower(Caller):
    """Reads a category, or with "" all, always from its last global position on, to the end."""

    def __init__(self, server, name, category, seed):
        super().__init__(server, name, seed)
        self.category, self.seen, self.read_failures, self.position = category, Follower(name), [], 1

    def step(self):
        if not self.page():
            time.sleep(0.005)

    def finish(self):
        while self.page():
            pass
        self.seen.finished = True

    def page(self):
        start, end, status, answer = self.ask("category.get", self.category,
                                              {"position": self.position, "batchSize": PAGE})
        if status != 200:
            self.read_failures.append(("category.get", status, answer))
            return []
        self.seen.rows += map(message_of, answer)
        if answer:
            self.position = answer[-1][4] + 1
        return answer


class Load:
    """`clients` workers and two followers."""

    def __init__(self, server, clients, seed):
        self.server = server
        self.workers = [Worker(server, number, seed) for number in range(clients)]
        self.followers = [
            HttpFollower(server, "follower of the category", CATEGORY, seed),
            HttpFollower(server, "follower of all", "", seed)
        ]
        for caller in self.callers:
            caller.start()

    @property
    def callers(self):
        return [*self.workers, *self.followers]

    @property
    def acknowledged(self):
        return sum(worker.acknowledged for worker in self.workers)

    def check_alive(self):
        """Raises what ended a caller."""
        for caller in self.callers:
            if caller.error:
                raise caller.error

    def stop(self):
        for callers in (self.workers, self.followers):  # in turn: the followers read what was written last
            for caller in callers:
                caller.stopped = True
            for caller in callers:
                caller.join()
        self.check_alive()

    def judge(self, more_followers=()):
        """Reads all that is stored, and checks the history."""
        client = Client(self.server.port, self.server.token)
        stored = read_all(client)
        verdict = history.check([append for worker in self.workers for append in worker.appends],
                                [seen for worker in self.workers for seen in worker.observations],
                                [*(follower.seen for follower in self.followers), *more_followers], stored)
        for caller in self.callers:
            for failure in caller.read_failures:
                verdict.complain(history.FAILED, str(failure))
        compare_streams(verdict, client, stored)
        client.close()
        return verdict

    @property
    def longest_pause(self):
        """The longest that a client waited for an answer, s."""
        return max(caller.longest for caller in self.callers)


def read_all(client):
    stored, position = [], 1
    while True:
        page = client.call("category.get", CATEGORY, {"position": position, "batchSize": 10000})
        stored += map(message_of, page)
        if not page:
            return stored
        position = page[-1][4] + 1


def compare_streams(verdict, client, stored):
    """Reads by stream and reads by category show the same messages."""
    by_stream = {}
    for message in stored:
        by_stream.setdefault(message.stream, []).append(message)
    for number in range(STREAMS):
        stream = f"{CATEGORY}-{number}"
        rows = [message_of_stream(stream, row) for row in client.call("stream.get", stream, {"batchSize": -1})]
        if rows != by_stream.get(stream, []):
            verdict.complain(history.WRONG_READ, f"{stream} read by itself differs from its part of the category")
