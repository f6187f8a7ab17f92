"""Writers, followers and movers of whole namespaces, each through one proxy: what a client does that sidecar/README.md
advises.

A request whose answer is lost, or is the proxy's own 502, 503 or 504, is sent again with the same ids.  It has failed
when it had no answer in PATIENCE seconds in which every part was up.
"""
import http.client
import itertools
import json
import random
import socket
import ssl
import threading
import time

from store import Client, new_id, token_for

PATIENCE = 30
ATTEMPT = 60    # s, of one attempt; more than the server's --retry-window
PAUSE = 0.05    # s, between two attempts
AGAIN = (502, 503, 504)
SILENCE = 40    # s without a byte, of which a subscription has its pings: its connection is dead
KEYS = itertools.count(1)


class Lost(Exception):
    """No answer of the server's."""


class Failed(Exception):
    """It never came through, or was answered wrongly."""


class Caller(threading.Thread):
    def __init__(self, world, proxy, name):
        super().__init__(name=f"{name} through {proxy.name}", daemon=True)
        self.world, self.proxy = world, proxy
        self.random, self.problem = random.Random(f"{world.seed} {self.name}"), None
        self.again = 0
        self.connect(world.token)

    def connect(self, token):
        self.client = Client(self.proxy.port, token, ATTEMPT, self.proxy.tls)

    def run(self):
        try:
            self.work()
        except Failed as failed:
            self.world.account.complain("failed", f"{self.name}: {failed}")
        except Exception as error:  # told by World.end
            self.problem = f"{self.name}: {error!r}"
        finally:
            self.client.close()

    def work(self):
        while not self.world.ending:
            self.step()

    def once(self, method, path, body=None, headers=None):
        try:
            reply = self.client.request(method, path, body, headers)
        except (OSError, http.client.HTTPException, ssl.SSLError) as error:
            self.client.close()
            raise Lost(repr(error)) from error
        if reply.status in AGAIN:
            raise Lost(f"{reply.status} {reply.body[:200]}")
        return reply

    def until(self, attempt):
        """Tries until it does not raise Lost."""
        began = self.world.uptime()
        while True:
            try:
                return attempt()
            except Lost as lost:
                if self.world.uptime() - began > PATIENCE:
                    raise Failed(f"no answer in {PATIENCE} s with everything up: {lost}") from lost
                self.again += 1
                time.sleep(PAUSE)

    def ask(self, body):
        """Posts to /rpc; (status, answer)."""
        reply = self.until(lambda: self.once("POST", "/rpc",
                                             json.dumps(body).encode(), {"Content-Type": "application/json"}))
        try:
            return reply.status, reply.json
        except ValueError:
            raise Failed(f"{reply.status} {reply.body[:500]}") from None


class Writer(Caller):
    """To streams of its own, whose versions it knows, and to some that all write to."""

    def __init__(self, world, proxy, number):
        super().__init__(world, proxy, f"writer {number}")
        self.own = [f"own{number % 3}-{proxy.name}{number}{letter}" for letter in "abc"]
        self.versions = dict.fromkeys(self.own, -1)
        self.longest = 0

    def step(self):
        began = time.monotonic()
        self.random.choices([self.write, self.append, self.append_to_several, self.batch, self.compete],
                            [10, 3, 2, 1, 2])[0]()
        self.longest = max(self.longest, time.monotonic() - began)
        time.sleep(self.random.random() * self.world.pace)

    def messages(self, count):
        return [{"type": "Tested", "data": {"k": next(KEYS), "pad": "x" * self.random.randrange(400)}, "id": new_id()}
                for _ in range(count)]

    def ask(self, body):
        if not self.world.new_ids:
            return super().ask(body)
        return self.with_new_ids(body)

    def with_new_ids(self, body):
        """The mistake that `--new-ids` makes: each attempt has ids of its own, and no expected version that would
        tell."""
        def attempt():
            text = json.dumps(body)
            for id in self.ids:
                text = text.replace(id, new_id())
            return self.once("POST", "/rpc", text.encode(), {"Content-Type": "application/json"})
        reply = self.until(attempt)
        return reply.status, reply.json

    def append_options(self, stream):
        return {} if self.world.new_ids else {"expectedVersion": self.versions[stream]}

    def send(self, call, parts):
        """parts: [(stream, messages)], as they are answered."""
        self.ids = [message["id"] for _, messages in parts for message in messages]
        status, answer = self.ask(call)
        if status != 200:
            raise Failed(f"{status} {answer} to {json.dumps(call)[:300]}")
        self.record(parts, answer if isinstance(answer, list) else [answer])

    def record(self, parts, answers):
        for (stream, messages), answer in zip(parts, answers, strict=True):
            at = {
                len(messages) - 1: answer.get("lastGlobalPosition", answer["globalPosition"]),
                0: answer["globalPosition"]
            }
            for n, message in enumerate(messages):
                self.world.account.acknowledged[message["data"]["k"]] = (stream, answer["position"] + n, at.get(n))
            if stream in self.versions:
                self.versions[stream] = answer["position"] + len(messages) - 1

    def write(self):
        stream, (message,) = self.random.choice(self.own), self.messages(1)
        bare = {name: message[name] for name in ("type", "data")}
        self.send(["stream.write", stream, bare, {"id": message["id"], **self.append_options(stream)}],
                  [(stream, [message])])

    def append(self):
        stream, messages = self.random.choice(self.own), self.messages(self.random.choice([2, 3, 10, 50]))
        self.send(["stream.append", stream, messages, self.append_options(stream)], [(stream, messages)])

    def append_to_several(self):
        parts = [(stream, self.messages(2)) for stream in self.random.sample(self.own, 2)]
        self.send([
            "streams.append",
            [{"stream": stream, "messages": messages, **self.append_options(stream)} for stream, messages in parts]
        ], parts)

    def batch(self):
        """A batch of JSON-RPC, whose calls are side by side."""
        parts = [(stream, self.messages(2)) for stream in self.own]
        calls = [{
            "jsonrpc": "2.0", "id": n, "method": "stream.append",
            "params": [stream, messages, self.append_options(stream)]
        } for n, (stream, messages) in enumerate(parts)]
        self.ids = [message["id"] for _, messages in parts for message in messages]
        while True:
            status, answers = self.ask(calls)
            if status == 200 and all(self.is_for_later(answer) or "result" in answer for answer in answers):
                if not any(map(self.is_for_later, answers)):
                    break
                continue  # the status of a batch is 200 whatever its calls are answered
            raise Failed(f"{status} {answers}")
        self.record(parts, [answer["result"] for answer in answers])

    @staticmethod
    def is_for_later(answer):
        return "error" in answer and answer["error"].get("data",
                                                         {}).get("code") in ("BACKEND_UNAVAILABLE", "OVERLOADED")

    def compete(self):
        """One of several writers that expect the same version: one gets it, the others are told."""
        stream, (message,) = f"shared-{self.random.randrange(5)}", self.messages(1)
        self.ids = [message["id"]]
        status, version = self.ask(["stream.version", stream])
        if status != 200:
            raise Failed(f"{status} {version}")
        options = {"id": message["id"], "expectedVersion": -1 if version is None else version}
        status, answer = self.ask(["stream.write", stream, {name: message[name] for name in ("type", "data")}, options])
        if status == 200:
            self.record([(stream, [message])], [answer])
        elif status == 409 and answer["error"]["code"] == "STREAM_VERSION_CONFLICT" and answer["error"]["details"][
                "actual"] > options["expectedVersion"]:
            self.world.account.refused[message["data"]["k"]] = f"{answer}"
        else:
            raise Failed(f"{status} {answer}")


class Follower(Caller):
    """Sees every message of its kind; `position` is the last global position seen."""

    def __init__(self, world, proxy, name, category=None):
        super().__init__(world, proxy, name)
        self.category, self.seen, self.position, self.target = category, [], 0, None

    def wants(self, row):
        return self.category is None or row.stream.split("-")[0] == self.category

    def wake(self):
        pass

    @property
    def done(self):
        return self.target is not None and self.position >= self.target

    def work(self):
        """Until it has seen all, or has seen nothing new for long with everything up."""
        since, at = self.world.uptime(), 0
        while not self.done:
            before = self.position
            self.step()
            if self.position > before or self.target is None:
                since, at = self.world.uptime(), self.position
            elif self.world.uptime() - since > PATIENCE:
                raise Failed(f"stays at {at} of {self.target}")


class Pages(Follower):
    """By category.get."""

    def step(self):
        status, rows = self.ask(
            ["category.get", self.category or "", {"position": self.position + 1, "batchSize": 500}])
        if status != 200:
            raise Failed(f"{status} {rows}")
        for row in rows:
            self.seen.append(row[5]["k"])
            self.position = row[4]
        if not rows:
            time.sleep(0.1)


class Subscriber(Follower):
    """By /subscribe, with Last-Event-ID when the connection ended; HTTP by hand, as chunks are looked at as they
    come."""

    share = ""

    def step(self):
        try:
            self.events(self.subscribe())
        except (OSError, ValueError, http.client.HTTPException):
            pass
        finally:
            self.client.close()
        time.sleep(PAUSE)

    def subscribe(self):
        what = f"category={self.category}" if self.category else "all=true"
        headers = {**self.client.headers(), **({"Last-Event-ID": str(self.position)} if self.position else {})}
        self.client.connection.timeout = SILENCE
        self.client.connection.request("GET", f"/subscribe?{what}{self.share}&ids=true&messages=true", None, headers)
        response = self.client.connection.getresponse()
        if response.status in AGAIN:
            raise OSError(response.status)
        if response.status != 200:
            raise Failed(f"{response.status} {response.read()[:300]}")
        return response

    def wake(self):
        """Ends the connection, for it may be silent; a caller that has not seen all connects again."""
        wire = self.client.connection.sock
        if wire is not None:
            try:
                wire.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def events(self, response):
        """Up to the end of the connection, or of the run.  A half event at the end is none."""
        pending = b""
        while not self.done and (got := response.read1(1 << 16)):
            *whole, pending = (pending + got).split(b"\n\n")
            for event in whole:
                self.event(
                    dict(
                        line.split(b": ", 1) for line in event.split(b"\n")
                        if b": " in line and not line.startswith(b":")))

    def event(self, fields):
        if fields.get(b"event") == b"reset":
            raise Failed(f"reset at {self.position}: {fields}")
        if b"data" in fields:
            message = json.loads(fields[b"data"])
            self.seen.append(message[5]["k"])
            self.position = int(fields[b"id"])


class Mover(Caller):
    """Imports into a namespace of its own through one proxy and exports it through the other, now and then."""

    COUNT = 3000

    def __init__(self, world, proxy, other, number):
        super().__init__(world, proxy, f"mover {number}")
        self.other, self.number, self.rounds, self.moved = other, number, 0, 0
        self.lines = [
            json.dumps({
                "id": new_id(), "stream": f"moved-{n % 50}", "type": "T", "pos": n // 50, "gpos": n + 1,
                "data": {"k": n, "pad": "y" * 200}, "meta": None, "time": "2024-01-02T03:04:05Z"
            }) for n in range(self.COUNT)
        ]

    def step(self):
        self.rounds += 1
        namespace = f"moved {self.number} {self.rounds}"
        token = token_for(namespace)
        self.client.token = self.world.token
        status, answer = self.ask(["ns.create", namespace, {"token": token}])
        if status != 200 and not (status == 409
                                  and answer["error"]["code"] == "NAMESPACE_EXISTS"):  # the first answer was lost
            raise Failed(f"{status} {answer}")
        self.client.token = token
        self.until(self.bring_in)
        self.moved += self.COUNT
        self.compare(self.until(lambda: self.take_out(token)))
        time.sleep(self.random.random() * self.world.rest)

    def bring_in(self):
        """A broken import begins again with an empty namespace."""
        reply = self.once("POST", "/import?force=true", "\n".join(self.lines).encode() + b"\n",
                          {"Content-Type": "application/x-ndjson"})
        if reply.status != 200:
            raise Failed(f"{reply.status} {reply.body[:300]}")
        if b'"done":true' not in reply.body:
            raise Lost(reply.body[-300:])  # IMPORT_FAILED, or cut off

    def take_out(self, token):
        own = self.client
        self.client = Client(self.other.port, token, ATTEMPT, self.other.tls)
        try:
            reply = self.once("GET", "/export")
        finally:
            self.client.close()
            self.client = own
        if reply.status != 200:
            raise Failed(f"{reply.status} {reply.body[:300]}")
        return reply.body

    def compare(self, exported):
        ids = [json.loads(line)["id"] for line in exported.splitlines()]
        wanted = [json.loads(line)["id"] for line in self.lines]
        if ids != wanted:
            lost = len(set(wanted) - set(ids))
            self.world.account.complain("lost" if lost else "twice",
                                        f"{self.name}: {len(ids)} of {len(wanted)} were exported",
                                        max(lost,
                                            len(ids) - len(wanted), 1))
