"""Members of a consumer, each a `millrace consume`."""
import json
import os
import signal
import subprocess

import pytest

from store import MILLRACE, ZERO_TOKEN, Program, Server, wait_until


class Member(Program):
    """A `millrace consume` whose output is kept, lines of messages apart from what it complains of."""

    def __init__(self, port, token, *arguments, program=MILLRACE, **variables):
        env = {name: value for name, value in os.environ.items() if not name.startswith(("MILLRACE", "PG"))}
        env.update(MILLRACE_URL=f"http://127.0.0.1:{port}", MILLRACE_TOKEN=token, **variables)
        super().__init__([program, "consume", "c", *arguments], env)

    @property
    def messages(self):
        return [json.loads(line) for line in self.output if line.startswith('{"id"')]

    def numbers(self, count=None):
        """"n" of the messages so far, when there are so many of them."""
        if count is not None:
            wait_until(lambda: len(self.messages) >= count, f"{count} messages of {self.output}")
        return [message["data"]["n"] for message in self.messages]

    def says(self, word):
        wait_until(lambda: word in self.text, f"{word} in {self.output}")

    def stop(self, code=0, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        assert self.wait(30) == code, self.text


class Consumer:
    """Consumer c of a namespace, of category s; n of its messages count from 1."""

    def __init__(self, server, client):
        self.port, self.client, self.members, self.written = server.port, client, [], 0

    def create(self, **options):
        self.client.call("consumer.create", "c", {"category": "s", **options})
        return self

    def write(self, *streams):
        for stream in streams:
            self.written += 1
            self.client.write(f"s-{stream}", {"n": self.written})

    def start(self, *arguments, **variables):
        self.members.append(Member(self.port, self.client.token, *arguments, **variables))
        return self.members[-1]

    def popen(self, *arguments, **options):
        """Without anybody who reads what it prints."""
        env = {**os.environ, "MILLRACE_URL": f"http://127.0.0.1:{self.port}", "MILLRACE_TOKEN": self.client.token}
        self.members.append(subprocess.Popen([MILLRACE, "consume", "c", *arguments], env=env, **options))
        return self.members[-1]

    def info(self):
        return self.client.call("consumer.info", "c")

    def settled(self):
        """Waits until all that was written is settled."""
        wait_until(lambda: self.info()["lag"] == 0 and self.info()["claims"] == 0, "all is settled")

    def kill(self):
        for member in self.members:
            process = getattr(member, "process", member)
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def make_consumer():
    consumers = []

    def make(server, client, **options):
        consumers.append(Consumer(server, client).create(**options))
        return consumers[-1]

    yield make
    for consumer in consumers:
        consumer.kill()


@pytest.fixture
def consumer(make_consumer, server, client):
    return make_consumer(server, client)


class Mortal:
    """A server of the test's own, which may be killed and started again."""

    def __init__(self, folder):
        self.arguments = "--data-dir", f"{folder}/data", "--token", ZERO_TOKEN
        self.server = Server(*self.arguments, token=ZERO_TOKEN)

    def kill(self):
        self.server.kill()

    def start(self):
        self.server = Server(*self.arguments, "--port", str(self.server.port), token=ZERO_TOKEN)
        return self.server.client()


@pytest.fixture
def mortal(folder):
    mortal = Mortal(folder)
    yield mortal
    mortal.server.stop()
