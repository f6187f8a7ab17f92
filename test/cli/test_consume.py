"""millrace consume: lines for a reader, which are settled when it has taken them."""
import json
import os
import signal
import socket
import subprocess
import time

import pytest

from store import MILLRACE, Listener, wait_until


def test_lines_are_those_of_an_export_and_settled(consumer):
    consumer.write("a", "b", "a")
    consumer.client.write("s-ü\"\\", {"n": 4, "x": "ü\n😀", "big": 12345678901234567890123}, metadata={"m": [1, None]})
    member = consumer.start("--once")
    assert member.wait() == 0
    env = {"MILLRACE_URL": f"http://127.0.0.1:{consumer.port}", "MILLRACE_TOKEN": consumer.client.token}
    exported = subprocess.run([MILLRACE, "export"], env=env, capture_output=True, text=True, check=True)
    assert member.text == exported.stdout
    assert consumer.info()["floor"] == 4
    again = consumer.start("--once")
    assert (again.wait(), again.text) == (0, "")


def test_it_waits_for_more(consumer):
    member = consumer.start("--member", "the one")
    consumer.write("a")
    assert member.numbers(1) == [1]
    consumer.write(*"ababab")
    assert member.numbers(7) == list(range(1, 8))
    consumer.settled()
    member.stop()
    assert len(member.output) == 7, "nothing else was said"


def test_a_slow_reader_keeps_its_claim(consumer):
    """What is in the pipe is not taken: the lease is extended until it is, and nobody else gets the messages."""
    consumer.write(*"ab")
    slow = consumer.popen("--lease", "1", "--max", "2", stdout=subprocess.PIPE)
    wait_until(lambda: consumer.info()["inFlight"] == 2, "the claim")
    other = consumer.start()
    time.sleep(2)
    assert other.messages == [] and consumer.info()["inFlight"] == 2
    assert [json.loads(slow.stdout.readline())["data"]["n"] for _ in range(2)] == [1, 2]
    consumer.settled()
    assert other.messages == []


def test_more_than_a_pipe_holds(consumer):
    for n in range(40):
        consumer.client.write(f"s-{n}", {"n": n, "x": "x" * 10000})
    slow = consumer.popen("--lease", "1", stdout=subprocess.PIPE)
    wait_until(lambda: consumer.info()["inFlight"] == 40, "the claim")
    time.sleep(1.5)
    assert [json.loads(slow.stdout.readline())["data"]["n"] for _ in range(40)] == list(range(40))
    consumer.settled()


@pytest.mark.parametrize("size", [1, 100000], ids=["in the pipe", "not yet in the pipe"])
def test_a_reader_that_goes_away_gives_back_at_once(consumer, size):
    consumer.client.write("s-1", {"n": 1, "x": "x" * size})
    member = consumer.popen("--lease", "600", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: consumer.info()["inFlight"] == 1, "the claim")
    member.stdout.close()
    assert (member.wait(30), member.stderr.read()) == (0, b"")
    assert consumer.start().numbers(1) == [1]


def test_a_reader_that_goes_away_is_noticed_while_nothing_comes(consumer):
    consumer.write("a")
    member = consumer.popen(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert json.loads(member.stdout.readline())["data"] == {"n": 1}
    consumer.settled()
    member.stdout.close()
    assert (member.wait(20), member.stderr.read()) == (0, b"")


def test_a_socket_is_a_pipe_too(consumer):
    """Node gives its children sockets."""
    consumer.write("a")
    ours, theirs = socket.socketpair()
    consumer.popen("--lease", "600", stdout=theirs)
    theirs.close()
    wait_until(lambda: consumer.info()["inFlight"] == 1, "the claim")
    time.sleep(0.3)
    assert consumer.info()["inFlight"] == 1, "nobody has read it"
    assert json.loads(ours.recv(10000))["data"] == {"n": 1}
    consumer.settled()
    consumer.write("b")
    wait_until(lambda: consumer.info()["inFlight"] == 1, "the claim")
    ours.close()
    assert consumer.start().numbers(1) == [2]


def test_a_file(consumer, folder):
    consumer.write("a", "b")
    with open(f"{folder}/out", "ab") as file:
        assert consumer.popen("--once", stdout=file).wait(30) == 0
    with open(f"{folder}/out") as file:
        assert [json.loads(line)["data"]["n"] for line in file] == [1, 2]
    consumer.settled()
    consumer.write("a")
    with open("/dev/full", "wb") as full:
        member = consumer.popen(stdout=full, stderr=subprocess.PIPE)
        assert (member.wait(30), member.stderr.read()) == \
            (1, b"millrace: cannot write the standard output: No space left on device\n")
    assert consumer.start().numbers(1) == [3], "given back"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_gives_back_at_once(consumer, number):
    consumer.write("a", "b")
    member = consumer.popen("--lease", "600", stdout=subprocess.PIPE)
    wait_until(lambda: consumer.info()["inFlight"] == 2, "the claim")
    other = consumer.start()
    member.send_signal(number)
    assert member.wait(30) == 0
    assert other.numbers(2) == [1, 2]
    consumer.settled()
    other.stop(number=number)


def test_what_is_killed_comes_again_when_its_lease_ends(consumer):
    consumer.write("a", "b")
    member = consumer.popen("--lease", "2", stdout=subprocess.PIPE)
    wait_until(lambda: consumer.info()["inFlight"] == 2, "the claim")
    member.kill()
    assert consumer.start().numbers(2) == [1, 2]


def test_a_server_that_starts_again(make_consumer, mortal):
    consumer = make_consumer(mortal.server, mortal.server.client())
    member = consumer.start("--max", "2")
    consumer.write(*"abc")
    assert member.numbers(3) == [1, 2, 3]
    consumer.settled()
    mortal.kill()
    member.says("trying again")
    consumer.client = mortal.start()
    consumer.write(*"abc")
    assert member.numbers(6) == [1, 2, 3, 4, 5, 6], "each once"
    consumer.settled()
    member.stop()
    assert len(member.output) == 7, "it was said once that the server is away"


class Cut(Listener):
    """Hands a request on to the server; of the first one that calls a method the answer is lost."""

    def __init__(self, port, method):
        self.target, self.method, self.cut = port, method.encode(), 0
        super().__init__()

    def serve(self, connection):
        request = answer = b""
        while not request.endswith(b"]"):
            request += connection.recv(65536)
        with socket.create_connection(("127.0.0.1", self.target)) as server, connection:
            server.sendall(request)
            while part := server.recv(65536):
                answer += part
            if self.method in request and not self.cut:
                self.cut += 1
            else:
                connection.sendall(answer)


@pytest.mark.parametrize("method", ["consumer.next", "consumer.settle"])
def test_an_answer_that_is_lost(consumer, method):
    """The same request gets the same claim, without waiting for the lease; what was settled stays settled."""
    consumer.write("a", "b")
    cut = Cut(consumer.port, method)
    consumer.port = cut.port
    member = consumer.start("--lease", "600")
    assert member.numbers(2) == [1, 2]
    consumer.settled()
    consumer.write("a")
    assert member.numbers(3) == [1, 2, 3] and cut.cut == 1
    member.stop()
    cut.close()


def test_what_is_refused(consumer, server):
    no = consumer.start("--consumer", "d")
    assert (no.wait(), no.text) == (2, 'millrace: unexpected "d": there is one consumer already\n')
    member = consumer.start("--once")
    assert member.wait() == 0
    consumer.client.call("consumer.delete", "c")
    member = consumer.start()
    assert member.wait() == 1 and "CONSUMER_NOT_FOUND" in member.text


@pytest.mark.parametrize("arguments, said", [
    ([], "millrace: which consumer?"),
    (["c", "d"], 'unexpected "d": there is one consumer already'),
    (["c", "--execute", "true"], 'there is no flag --execute'),
    (["c", "--exe", "true"], "did you mean --exec?"),
    (["c", "--max", "0"], "--max: 0 is out of range (1 to 1000)"),
    (["c", "--max", "1001"], "--max: 1001 is out of range"),
    (["c", "--lease", "43201"], "--lease: 43201 is out of range"),
    (["c", "--lease", "1s"], 'is not a whole number'),
    (["c", "--exec", ""], "--exec is empty"),
    (["c", "--exec"], "--exec wants a value"),
    ([""], "consumer is empty"),
    (["c", "--url", "gopher://x"], "gopher://x"),
])
def test_near_misses(arguments, said):
    env = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE")}
    done = subprocess.run([MILLRACE, "consume", *arguments], capture_output=True, text=True, env=env, timeout=30)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert said in done.stderr and done.stderr.count("\n") == 1


def test_a_consumer_that_is_paused_says_so_once(consumer):
    consumer.client.call("consumer.pause", "c")
    consumer.write("a")
    member = consumer.start()
    member.says("the consumer is paused")
    consumer.client.call("consumer.resume", "c")
    assert member.numbers(1) == [1]
    member.stop()
    assert member.text.count("paused") == 1
