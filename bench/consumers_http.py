"""Consumers over HTTP: `consumer.next` beside `category.get`, and how long after an append a message is delivered.

The clients are one thread of this process on plain sockets, which reads of an answer no more than it needs; what that
costs beside the servers is in the table.
"""
import json
import re
import resource
import selectors
import socket
import statistics
import time

from measure import at_least, at_most, below, in_turn, median, processor_time, ratio, row, serve, sql

BATCH = 100
APPENDS = 50  # a second, half of them to either side
WARM_UP = 10  # appends that are not counted
LENGTH = re.compile(rb"content-length: *(\d+)", re.I)
CLAIM = re.compile(rb'"claim":(\d+)')


class Connection:
    """A keep-alive connection that asks for one thing at a time."""

    def __init__(self, server):
        self.head = (f"POST /rpc HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.token}\r\n"
                     "Content-Type: application/json\r\nContent-Length: ")
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray(2 << 20)
        self.view, self.had, self.body, self.end = memoryview(self.buffer), 0, None, None

    def fileno(self):
        return self.socket.fileno()

    def ask(self, *call):
        body = json.dumps(call)
        self.had, self.body, self.end = 0, None, None
        self.socket.sendall(f"{self.head}{len(body)}\r\n\r\n{body}".encode())

    def take(self):
        """Reads what has come; whether the answer is complete: it is in buffer[body:had] then."""
        got = self.socket.recv_into(self.view[self.had:])
        if got == 0:
            raise RuntimeError("the server closed the connection, or its answer is too large")
        self.had += got
        if self.body is None:
            self.look_at_head()
        if self.body is None:
            return False
        if self.end is None:  # chunked: what is JSON has no such end elsewhere
            return self.buffer.endswith(b"\r\n0\r\n\r\n", self.body, self.had)
        return self.had >= self.end

    def look_at_head(self):
        head = self.buffer.find(b"\r\n\r\n", 0, self.had)
        if head < 0:
            return
        if not self.buffer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(self.buffer[:self.had].decode())
        length = LENGTH.search(self.buffer, 0, head)
        self.body = head + 4
        self.end = self.body + int(length[1]) if length else None

    def call(self, *call):
        self.ask(*call)
        while not self.take():
            pass
        return json.loads(self.buffer[self.body:self.had])

    def count(self, word):
        return self.buffer.count(word, self.body, self.had)

    def close(self):
        self.socket.close()


# ---- messages a second -------------------------------------------------------------------------------

class Consuming:
    """Asks for messages and says in the same call that those before are dealt with."""

    def __init__(self, name, number, *_):
        self.name, self.member, self.settle = name, f"bench-{number}", []

    def call(self):
        return "consumer.next", self.name, {"max": BATCH, "member": self.member, "waitMs": 1000, "settle": self.settle}

    def took(self, connection):
        claim = CLAIM.search(connection.buffer, connection.body, connection.body + 200)
        self.settle = [{"claim": int(claim[1])}] if claim else []


class Reading:
    """Reads a part of the category of its own from its beginning on."""

    def __init__(self, name, number, clients, messages):
        self.position = 1 + messages * number // clients

    def call(self):
        return "category.get", "account", {"position": self.position, "batchSize": BATCH}

    def took(self, connection):
        self.position += BATCH  # the log has nothing but this category


def processor_of(sides, server):
    used = resource.getrusage(resource.RUSAGE_SELF)
    postgres = processor_time(sides.postmaster)["postgres"]
    millrace = sum(processor_time(pid)["millrace"] for pid in [server.process.pid])
    return {"client": used.ru_utime + used.ru_stime, "postgres": postgres, "millrace": millrace}


def closed_loop(sides, server, client, name, clients):
    """Until all messages were delivered: messages a second, and microseconds of processor a message, by program."""
    loop, delivered = selectors.DefaultSelector(), 0
    connections = [(Connection(server), client(name, n, clients, sides.messages)) for n in range(clients)]
    before, began = processor_of(sides, server), time.monotonic()
    end = began + sides.options.seconds
    for connection, member in connections:
        loop.register(connection, selectors.EVENT_READ, member)
        connection.ask(*member.call())
    while delivered < sides.messages and time.monotonic() < end:
        for key, _ in loop.select(1):
            if key.fileobj.take():
                delivered += key.fileobj.count(b'"Deposited"')
                key.data.took(key.fileobj)
                key.fileobj.ask(*key.data.call())
    seconds, after = time.monotonic() - began, processor_of(sides, server)
    for connection, _ in connections:
        connection.close()
    used = {part: (after[part] - before[part]) / max(delivered, 1) * 1e6 for part in after}
    return {"rate": delivered / seconds, "cpu": sum(used.values()), "share": used["client"] / sum(used.values())}


def throughput(sides, server, figures):
    rows = []
    for clients in (1, 8):

        def ours():
            with sides.consumer() as named:
                return closed_loop(sides, server, Consuming, named["name"], clients)

        found = in_turn(sides.options.rounds, ours=ours,
                        theirs=lambda: closed_loop(sides, server, Reading, None, clients))
        times = ratio(found, "ours", "theirs", "rate")
        what = f"`consumer.next` over HTTP, beside `category.get` of {BATCH}, {clients} client{'s'[:clients > 1]}"
        checks = [at_least(f"{what}: messages/s", times, 0.7)] if clients == 8 else []
        if clients == 8:
            figures["next_over_category_get"] = times
        shares = " and ".join(f"{median(found, side, 'share') * 100:.0f}" for side in ("ours", "theirs"))
        rows.append(row(f"{what}; the clients' part of the CPU {shares} %", BATCH, median(found, "ours", "rate"),
                        median(found, "theirs", "rate"), times, None, None, None, median(found, "ours", "cpu"),
                        median(found, "theirs", "cpu"), checks=checks))
    return rows


# ---- from an append to its delivery ------------------------------------------------------------------

class Waiting:
    """A call of consumer.next that waits."""

    def __init__(self, server, name):
        self.connection, self.member = Connection(server), Consuming(name, 0)
        self.go_on()

    def go_on(self):
        method, name, options = self.member.call()
        self.connection.ask(method, name, {**options, "waitMs": 30000})

    def arrived(self):
        if not self.connection.take():
            return False
        self.member.took(self.connection)
        found = self.connection.count(b'"Waited"') > 0
        self.go_on()
        return found


class Poked:
    """A subscription."""

    def __init__(self, server, category):
        self.connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        self.connection.sendall(f"GET /subscribe?category={category}&token={server.token} HTTP/1.1\r\n"
                                "Host: 127.0.0.1\r\n\r\n".encode())
        got = b""
        while b": ready\n\n" not in got:
            got += self.connection.recv(65536)

    def arrived(self):
        return b'"globalPosition"' in self.connection.recv(65536)


def one_append(appender, category, side):
    """Seconds from the append's request to the arrival of the message, or the poke, at the one who waits for it."""
    arrived = answered = None
    with selectors.DefaultSelector() as loop:
        loop.register(appender, selectors.EVENT_READ)
        loop.register(side.connection, selectors.EVENT_READ)
        began = time.monotonic()
        appender.ask("stream.write", f"{category}-1", {"type": "Waited", "data": {}})
        while not (arrived and answered):
            if time.monotonic() > began + 30:
                raise RuntimeError(f"nothing came of an append to {category}")
            for key, _ in loop.select(1):
                now = time.monotonic()
                if key.fileobj is appender:
                    answered = now if appender.take() else None
                elif side.arrived():
                    arrived = now
    return arrived - began


def appends(sides, server):
    """The median times in ms of both sides, to which the appends go in turn."""
    appender = Connection(server)
    appender.call("consumer.create", "bench-waiting", {"category": "delivered", "position": "end"})
    waiting = {"delivered": Waiting(server, "bench-waiting"), "poked": Poked(server, "poked")}
    times = {name: [] for name in waiting}
    count = round(min(sides.options.seconds, 10) * APPENDS) + WARM_UP
    due = time.monotonic()
    for n in range(count):
        name = ("delivered", "poked")[n % 2]
        took = one_append(appender, name, waiting[name])
        if n >= WARM_UP:
            times[name].append(took * 1000)
        due += 1 / APPENDS
        time.sleep(max(due - time.monotonic(), 0))
    for side in waiting.values():
        side.connection.close()
    appender.call("consumer.delete", "bench-waiting")
    appender.close()
    return {name: statistics.median(each) for name, each in times.items()}


def delivery(sides, server, figures):
    found = {"ours": [appends(sides, server) for _ in range(sides.options.rounds)]}
    delivered, poked = (median(found, "ours", name) for name in ("delivered", "poked"))
    figures["delivery_ms"] = statistics.median(each["delivered"] - each["poked"] for each in found["ours"])
    what = f"from an append to a waiting `consumer.next`, beside the poke of /subscribe, {APPENDS} appends/s: p50, ms"
    return [row(what, "", delivered, poked, delivered / poked, *[None] * 5,
                checks=[at_most("append to delivered, p50: ms more than the poke", figures["delivery_ms"], 1)])]


def http(sides, figures):
    with serve("--database", sides.cluster.conninfo("consumers")) as server:
        return throughput(sides, server, figures) + delivery(sides, server, figures)
