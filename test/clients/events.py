"""Clients of /subscribe: silence, large events, a server that ends, is killed, or has no room.

Each scenario is one for all clients at once.  What a client shows must be exactly what the server has: each event
once, in order, with its id and its length, and none besides; and it may not take too long for it.
"""
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from stage import environment
from store import ZERO_TOKEN, new_id

PINGS = 17.5  # seconds of silence, with two pings
HELD = 40  # connections that leave no room
EFFORT = 7  # seconds of a processor that a client may take in one scenario; on a busy machine they are many more


class Follower:
    """A client's program."""

    def __init__(self, client, command, how, url):
        self.client, self.shown, self.said = client, [], []
        self.process = subprocess.Popen([*map(str, command), client.name, how, url, ZERO_TOKEN],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                                        stdin=subprocess.DEVNULL, env=environment(), start_new_session=True)
        for stream in self.process.stdout, self.process.stderr:
            threading.Thread(target=self._collect, args=(stream,), daemon=True).start()

    def _collect(self, stream):
        for line in stream:
            if line.startswith("event "):
                _, id, length = json.loads(line[6:])
                self.shown.append((id, length))
            else:
                self.said.append(line)

    def over(self):
        return self.process.poll() is not None or self.too_slow()

    def too_slow(self):
        try:
            times = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[11:15]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK") > EFFORT

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class Trial:
    """Several clients in one scenario, on a category of its own."""

    def __init__(self, stage, commands, how, clients):
        self.stage, self.commands, self.how, self.clients = stage, commands, how, clients
        self.category, self.written, self.followers = "c" + new_id().replace("-", ""), 0, []

    def write(self, size=100):
        self.written += 1
        self.stage.server.client().write(f"{self.category}-1", {"text": "x" * size})

    def begin(self):
        url = self.stage.subscription(self.category)
        self.followers = [Follower(client, self.commands[client.ecosystem]("stream"), self.how, url)
                          for client in self.clients]

    def wait(self, seconds=20):
        """Until each has what is written, or has ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not all(
                each.over() or len(each.shown) >= self.written for each in self.followers):
            time.sleep(0.05)

    def wait_busily(self, seconds=60):
        """Until each has begun, without a silence for those who are there already: some give up after 5 seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not all(each.over() or each.shown for each in self.followers):
            self.write()
            time.sleep(1)

    def verdict(self, seconds=20):
        """Which of them have shown what there is, and nothing else."""
        self.wait(seconds)
        time.sleep(1)  # for what should not come
        expected = self.stage.events(self.category, self.written)
        return {each.client.name: each.shown == expected and not each.too_slow() for each in self.followers}

    def end(self):
        for each in self.followers:
            each.end()


def silence(trial):
    trial.write()
    trial.begin()
    trial.wait(60)
    time.sleep(PINGS)
    trial.write()
    return trial.verdict()


def large(size):

    def scenario(trial):
        trial.write()
        trial.begin()
        trial.wait_busily()
        trial.write(size)
        trial.write()
        return trial.verdict(90)

    return scenario


def ends(how):

    def scenario(trial):
        trial.write()
        trial.begin()
        trial.wait(60)
        trial.stage.restart(getattr(trial.stage.server, how))
        trial.write()
        return trial.verdict()

    return scenario


def no_room(trial):
    """Whoever comes is answered 503, until there is room."""
    stage = trial.stage
    trial.write()
    stage.restart(stage.server.stop, "--max-connections", str(HELD))
    held = []
    for _ in range(HELD):
        held.append(stage.server.connect())
        held[-1].sendall(f"GET /subscribe?category=x&token={ZERO_TOKEN} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        held[-1].recv(1000)
    trial.begin()
    end = time.monotonic() + 60
    while time.monotonic() < end and stage.metric("millrace_http_connections_rejected_total") < len(trial.clients):
        time.sleep(0.2)
    time.sleep(4)
    assert stage.metric("millrace_http_connections_rejected_total") > 0, "nobody was answered 503"
    for each in held:
        each.close()
    result = trial.verdict()
    trial.end()
    stage.restart(stage.server.stop)
    return result


SCENARIOS = {
    "comments": silence,
    "100 kB": large(100_000),
    "2 MB": large(2_000_000),
    "5 MB": large(5_000_000),
    "clean end": ends("stop"),
    "killed": ends("kill"),
    "503": no_room,
}


def attempt(stage, commands, clients, tell):
    """The cells of each client."""
    cells = {client.name: {} for client in clients}
    for name, scenario in SCENARIOS.items():
        left = clients
        for how, works in (("plain", "works"), ("set", "with setting")):
            if how == "set":
                left = [client for client in left if client.setting]
            if not left:
                break
            trial = Trial(stage, commands, how, left)
            try:
                verdict = scenario(trial)
            finally:
                trial.end()
            for each in trial.followers:
                if verdict[each.client.name]:
                    cells[each.client.name][name] = works
                else:
                    cells[each.client.name][name] = "no"
                    tell(f"{each.client.name}, {how}, {name}: {each.shown} {''.join(each.said)[-400:]}")
            left = [client for client in left if not verdict[client.name]]
    return cells
