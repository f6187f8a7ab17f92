"""The consumers that sidecar/README.md shows deal with every message, each stream in order, also when they are killed.

They are the files of sidecar/examples, run as they are against a server, two members each.
"""
import http.client
import http.server
import json
import re
import shutil
import sys
import threading

import pytest

import certificates
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


class Refusing(http.server.BaseHTTPRequestHandler):
    """Before a server: passes on each third request, and refuses the others for now."""

    def do_POST(self):
        front, body = self.server, self.rfile.read(int(self.headers["Content-Length"]))
        front.asked += 1
        if front.asked % 3 == 0:
            front.settled |= set(re.findall(rb'"claim": ?(\d+)', body))
            connection = http.client.HTTPConnection("localhost", front.behind, timeout=60)
            connection.request("POST", self.path, body, {"Authorization": self.headers["Authorization"]})
            answer = connection.getresponse()
            status, reply = answer.status, answer.read()
            front.given |= set(re.findall(rb'^{"claim":(\d+)', reply))
        else:
            status = (503, 429)[front.asked % 2]
            reply = b'{"error":{"code":"OVERLOADED","message":"not now"}}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


@pytest.fixture
def refusing(server):
    front = http.server.ThreadingHTTPServer(("localhost", 0), Refusing)
    front.daemon_threads = True
    front.behind, front.asked, front.given, front.settled = server.port, 0, set(), set()
    threading.Thread(target=front.serve_forever, daemon=True).start()
    yield front
    front.shutdown()
    front.server_close()


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_example_loses_no_claim_while_it_is_refused(name, client, members, refusing):
    """For now (503), or for asking too much (429): it asks again, and does not end."""
    if not shutil.which(PROGRAMS[name]):
        pytest.skip(f"there is no {PROGRAMS[name]}")
    client.call("streams.append", [{"stream": f"wallet-{n}", "messages": [{"type": "T", "data": {"amount": 1}}]}
                                   for n in range(3)])
    members.environment["MILLRACE_URL"] = f"http://localhost:{refusing.server_port}"
    members.start("one", PROGRAMS[name], str(FOLDER / name))
    wait_until(lambda: len(printed(members)) == 3, "the messages", 25)
    wait_until(lambda: client.call("consumer.info", "printer")["lag"] == 0, "all to be settled", 25)
    assert refusing.given and refusing.given <= refusing.settled
    members.kill("one")


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_page_shows_the_example(name):
    blocks = re.findall(r"^```(?:python|js|bash)\n(.*?)^```$", (ROOT / "sidecar/README.md").read_text(), re.M | re.S)
    assert (FOLDER / name).read_text() in blocks
