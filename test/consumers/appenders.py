"""The twelve writers.  Each message has an id, so whatever became unclear is sent again; and each is of a stream that
is busy for a short time, or of one of a few that always are."""
import http.client
import json
import random
import threading
import time
import uuid

import psycopg2
from member_sql import AGAIN, LOST

CONSUMED = "work"      # the category that the consumer with ordering `stream` reads; the other one reads all
OTHER = "side"
STREAMS = 60           # that are written to at a time
STREAMS_LAST = 20      # seconds
# Messages in a million.  A stream with one of the first two waits for the end, so they are to be rare.
POISON = {"Fails": 400, "Parks": 400, "Kills": 150, "KillsAlone": 250, "Flaky": 5000}
STOPS_EVERY = 240      # seconds


class Appender(threading.Thread):
    pause = 0.05

    def __init__(self, world, name):
        super().__init__(name=name, daemon=True)
        self.world, self.random = world, random.Random(f"{world.seed} {name}")
        self.began, self.acknowledged, self.problem = time.monotonic(), set(), None
        self.connection = None

    def run(self):
        try:
            while not self.world.writers_end.is_set():
                self.until_it_is_done(self.batch())
                time.sleep(self.random.random() * 2 * self.pause)
        except Exception as error:  # told by the run
            self.problem = f"{self.name}: {type(error).__name__}: {error}"

    def batch(self):
        """(stream, type, data, id) of what goes in together, by stream: two transactions never wait for each other."""
        return sorted((self.message() for _ in range(self.size())), key=lambda message: message[0])

    def size(self):
        return 1

    def message(self):
        category = self.random.choice([CONSUMED] * 5 + [OTHER])
        busy = self.size() == 1 and self.random.random() < 0.2
        batch = int((time.monotonic() - self.began) / STREAMS_LAST)
        stream = f"{category}-{batch * STREAMS + self.random.randrange(STREAMS)}"
        kind = "Done"
        if busy:
            stream = f"{category}-busy{self.random.randrange(3)}"
        elif category == CONSUMED:
            kinds, millionths = zip(*POISON.items())
            kind = self.random.choices(("Done", *kinds), (1_000_000 - sum(millionths), *millionths))[0]
        return self.world.marked((stream, kind, {"by": self.name}, str(uuid.uuid4())))

    def until_it_is_done(self, batch):
        while not self.sent(batch):
            time.sleep(0.05)

    def done(self, batch):
        self.acknowledged.update(message[3] for message in batch)
        return True


class BySql(Appender):
    def sql(self, statement, *arguments):
        with self.connection.cursor() as cursor:
            cursor.execute(statement, arguments or None)

    def sent(self, batch):
        try:
            if self.connection is None:
                self.connection = psycopg2.connect(self.world.conninfo + " connect_timeout=10")
                self.connection.autocommit = True
            return self.send(batch)
        except psycopg2.Error as error:
            if isinstance(error, psycopg2.InterfaceError) or error.pgcode in LOST:
                self.connection = None
            elif error.pgcode in AGAIN:
                self.sql("ROLLBACK")
            else:
                raise
            return False

    def append(self, message):
        stream, kind, data, number = message
        self.sql("SELECT millrace.append(%s, %s, %s, id => %s)", stream, kind, json.dumps(data), number)


class Single(BySql):
    def send(self, batch):
        self.append(batch[0])
        return self.done(batch)


class Holder(BySql):
    """Its transaction is open for up to two seconds, between one message and the next; at times it is rolled back."""

    pause = 0.1

    def size(self):
        return 4

    def send(self, batch):
        self.sql("BEGIN ISOLATION LEVEL " + self.random.choice(["READ COMMITTED", "REPEATABLE READ"]))
        for message in batch:
            self.append(message)
            time.sleep(self.random.random()**4 * 2)
        if self.random.random() < 0.1:
            self.sql("ROLLBACK")
            return True
        self.sql("COMMIT")
        return self.done(batch)


class ByHttp(Appender):
    """Sends again to the other server, or to the same."""

    def post(self, request):
        connection = http.client.HTTPConnection("127.0.0.1", self.random.choice(self.world.ports), timeout=30)
        try:
            connection.request("POST", "/rpc", json.dumps(request), {"Authorization": f"Bearer {self.world.token}"})
            reply = connection.getresponse()
            body = reply.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        if reply.status not in (200, 502, 503, 504):
            raise RuntimeError(f"{reply.status} {body[:300]}")
        return reply.status == 200


class Write(ByHttp):
    def sent(self, batch):
        stream, kind, data, number = batch[0]
        request = ["stream.write", stream, {"type": kind, "data": data}, {"id": number}]
        return self.post(request) and self.done(batch)


class Streams(ByHttp):
    pause = 0.2

    def size(self):
        return 12

    def sent(self, batch):
        appends = {}
        for stream, kind, data, number in batch:
            appends.setdefault(stream, []).append({"type": kind, "data": data, "id": number})
        request = ["streams.append", [{"stream": stream, "messages": messages} for stream, messages in appends.items()]]
        return self.post(request) and self.done(batch)


KINDS = [Single, Single, Single, Holder, Holder, Holder, Holder, Write, Write, Write, Streams, Streams]


def make(world):
    return [kind(world, f"writer {number} {kind.__name__}") for number, kind in enumerate(KINDS)]
