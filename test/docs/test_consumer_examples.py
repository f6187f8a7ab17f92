"""The consumers that sidecar/README.md shows deal with every message, each stream in order, also when they are killed.

They are the files of sidecar/examples, run as they are against a server, two members each.
"""
import itertools
import json
import re
import shutil
import sys
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import certificates
from members import Members
from store import ROOT, RpcError, wait_until

FOLDER = ROOT / "sidecar" / "examples"
PROGRAMS = {"consumer.py": sys.executable, "consumer.mjs": "node", "consumer.sh": "sh"}
STREAMS, MESSAGES = 5, 12
POISON = ("wallet-2", 3)  # others of its stream are in the same claim

pytestmark = pytest.mark.skipif(certificates.EVERYWHERE, reason="the examples speak to a server without TLS")


def printed(members):
    """What was printed, as (stream, position), in order; one of the programs prints messages as they are."""
    return [(json.loads(line)[1], json.loads(line)[3]) if line.startswith("[") else
            (line.split()[0], int(line.split()[1])) for line in members.lines()]


def write_messages(client, first, last):
    for position in range(first, last):
        client.call("streams.append", [
            {"stream": f"wallet-{n}", "expectedVersion": position - 1,
             "messages": [{"type": "Deposited", "data": {"amount": -1 if (f"wallet-{n}", position) == POISON else 1}}]}
            for n in range(STREAMS)])


def check_order(lines):
    """Each stream from its beginning, none passed over; again from an earlier one on only, as after a crash."""
    reached = {}
    for stream, position in lines:
        next_one = reached.get(stream, 0)
        next_one += (stream, next_one) == POISON
        assert position <= next_one, f"{stream} {position} before {next_one}"
        reached[stream] = max(reached.get(stream, 0), position + 1)


def skip_poison(client):
    try:
        return client.call("consumer.skip", "printer", {"stream": POISON[0], "position": POISON[1]})
    except RpcError as error:
        assert "is not the one at which it stands" in error.message  # it is just being tried again
        return None


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_example_deals_with_each_message_in_order(name, client, members):
    if not shutil.which(PROGRAMS[name]):
        pytest.skip(f"there is no {PROGRAMS[name]}")
    command = PROGRAMS[name], str(FOLDER / name)
    wanted = {(f"wallet-{n}", position) for n in range(STREAMS) for position in range(MESSAGES)} - {POISON}
    blocked = {(POISON[0], position) for position in range(POISON[1], MESSAGES)}

    write_messages(client, 0, MESSAGES // 2)
    members.start("one", *command)
    wait_until(lambda: len(printed(members)) >= 5, "the first lines", 60)
    members.kill("one")
    members.start("one", *command)
    members.start("two", *command)
    write_messages(client, MESSAGES // 2, MESSAGES)
    wait_until(lambda: wanted - blocked <= set(printed(members)), "all but what is behind the failure", 120)
    assert not blocked & set(printed(members))

    members.kill("two")
    wait_until(lambda: skip_poison(client), "the message that fails to be skipped", 60)
    wait_until(lambda: wanted <= set(printed(members)), "what was behind the failure", 120)
    check_order(printed(members))
    assert set(printed(members)) == wanted
    wait_until(lambda: client.call("consumer.info", "printer")["lag"] == 0, "all to be settled", 60)


class Lossy(ThreadingHTTPServer):
    """Passes calls on to a server, and loses every fourth answer: it says 503 instead."""

    def __init__(self, server):
        self.behind, self.calls, self.passed = server, itertools.count(), []
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            connection = HTTPConnection("127.0.0.1", self.server.behind.port, timeout=100)
            connection.request("POST", self.path, body, {"Authorization": self.headers["Authorization"]})
            answer = connection.getresponse()
            status, text = answer.status, answer.read()
            connection.close()
            if next(self.server.calls) % 4 == 3:
                status, text = 503, b'{"error":{"code":"BACKEND_UNAVAILABLE","message":"try again"}}'
            self.server.passed.append(text)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_answer_that_is_lost_costs_no_claim(name, server, client, folder):
    if not shutil.which(PROGRAMS[name]):
        pytest.skip(f"there is no {PROGRAMS[name]}")
    for n in range(STREAMS):
        client.write(f"wallet-{n}", {"amount": 1})
    lossy = Lossy(server)
    members = Members(lossy, client.token, folder)
    try:
        members.start("one", PROGRAMS[name], str(FOLDER / name))
        wait_until(lambda: len(printed(members)) >= STREAMS, "all messages", 120)
        wait_until(lambda: client.call("consumer.info", "printer")["lag"] == 0, "all to be settled", 60)
        assert sorted(printed(members)) == [(f"wallet-{n}", 0) for n in range(STREAMS)]
        assert not any(b'"retries"' in text for text in lossy.passed)
    finally:
        members.close()
        lossy.shutdown()
        lossy.server_close()


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_page_shows_the_example(name):
    blocks = re.findall(r"^```(?:python|js|bash)\n(.*?)^```$", (ROOT / "sidecar/README.md").read_text(), re.M | re.S)
    assert (FOLDER / name).read_text() in blocks
