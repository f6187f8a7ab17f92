"""Clients of /rpc: all methods, parameters by name, errors, a batch with an error in it, a notification."""
import json
import re
import subprocess
import urllib.request

from stage import environment
from store import ZERO_TOKEN, RpcError

PATIENCE = 60  # seconds for all calls
BAD, POOR, GOOD, HAS_NONE = range(4)  # POOR: errors have no `data`
ID = "0192a1de-4b3c-7e21-9f00-3a5b6c7d8e{:02}"


def message(n):
    return {"type": "Tested", "data": {"n": n, "large": 2**53 - 1, "text": "Zürich \U0001f600"}}


def batch_of(n):
    return [{**message(n), "id": ID.format(n)}, {**message(n), "id": ID.format(n + 1)}]


def calls(name):
    """Those of a namespace's own token."""
    yield "stream.write", ["account-1", message(1), {"id": ID.format(1)}]
    yield "stream.append", ["account-1", batch_of(10)]
    yield "streams.append", [[{"stream": "account-3", "messages": batch_of(20)}]]
    yield "stream.get", ["account-1"]
    yield "stream.last", ["account-1"]
    yield "stream.last", ["nothing-1"]
    yield "stream.version", ["account-1"]
    yield "stream.head", []
    yield "category.get", ["account", {"types": ["Tested"]}]
    yield "ns.info", [name]
    yield "ns.streams", []
    yield "ns.categories", []
    yield "sys.version", []
    yield "sys.health", []
    yield "consumer.create", ["billing", {"category": "account"}]
    yield "consumer.next", ["billing", {"waitMs": 0, "max": 1}]
    yield "consumer.streams", ["billing"]
    yield "consumer.list", []
    yield "consumer.delete", ["billing"]


def named(name):
    """By names of their parameters."""
    yield "stream.write", {"stream": "account-2", "message": message(2), "options": {"id": ID.format(2)}}
    yield "stream.get", {"stream": "account-1", "options": {"batchSize": 1}}


def administrative(name):
    yield "ns.create", [f"{name} made"]
    yield "ns.setLimits", [f"{name} made", {"requestsPerSecond": 1000}]
    yield "ns.list", []
    yield "ns.delete", [f"{name} made"]


def errors(name):
    yield "stream.write", ["account-1", message(1), {"expectedVersion": 7}]
    yield "stream.get", ["account-1", {"batchSize": -5}]
    yield "ns.list", []
    yield "no.such", []


def batch(name):
    yield "stream.version", ["account-1"]
    yield "stream.write", ["account-1", message(1), {"expectedVersion": 7}]
    yield "stream.write", ["account-4", message(4), {"id": ID.format(40)}]


def nothing(name):
    return ()


def work(name, call=nothing):
    """What a program is given."""

    def listed(calls):
        return [{"method": method, "params": params} for method, params in calls]

    return {
        "calls": listed(call(name)), "named": listed(named(name)), "batch": listed(batch(name)),
        "notification": {"method": "stream.write", "params": ["noted-1", message(5)]}
    }


def ours(url, token, calls):
    """The results by plain HTTP."""
    results = []
    for n, call in enumerate(calls):
        body = json.dumps({"jsonrpc": "2.0", "id": n, **call}).encode()
        request = urllib.request.Request(url, body, {"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request) as reply:
            answer = json.load(reply)
        results.append({name: answer[name] for name in ("result", "error") if name in answer})
    return results


def masked(value, name):
    """Without what is another one each time: times, tokens, claims, names of namespaces, and counts of connections."""
    if isinstance(value, dict) and isinstance(value.get("result"), list):
        made = f"{name} made"
        value = {
            "result": [row for row in value["result"]
                       if not isinstance(row, dict) or row.get("namespace", made) == made]
        }
    text = json.dumps(value, sort_keys=True)
    for pattern, instead in ((r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"), (r"ns_[\w-]+", "TOKEN"), (name, "NAME"),
                             (r'"(claim|connections|lagMs|oldestClaimMs)": \d+', r"\1")):
        text = re.sub(pattern, instead, text)
    return text


def without_data(result):
    """An error as those libraries show it that drop `data`."""
    return {"error": {**result["error"], "data": None}} if "error" in result else result


class Program:
    """A client in its turns."""

    def __init__(self, client, command, stage, how, tell):
        self.client, self.command, self.stage, self.how, self.tell = client, command, stage, how, tell

    def run(self, token, todo):
        """What the library said; what is missing in it went wrong."""
        done = subprocess.run([*map(str, self.command), self.client.name, self.how, self.stage.rpc(), token],
                              input=json.dumps(todo), capture_output=True, text=True, timeout=PATIENCE,
                              env=environment())
        lines = done.stdout.strip().splitlines()
        if done.returncode != 0:
            self.tell(f"{self.client.name}, {self.how}: {done.stderr[-500:]}")
        return json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}

    def compare(self, part, said, expected, names):
        """GOOD, POOR or BAD, and the reason is told."""
        if len(said) != len(expected):
            self.tell(f"{self.client.name}, {self.how}, {part}: {len(said)} results, not {len(expected)}")
            return BAD
        verdict = GOOD
        for a, b in zip(said, expected):
            if masked(a, names[0]) != masked(b, names[1]):
                poor = masked(a, names[0]) == masked(without_data(b), names[1])
                verdict = min(verdict, POOR if poor else BAD)
                self.tell(f"{self.client.name}, {self.how}, {part}: {json.dumps(a)[:300]}, not {json.dumps(b)[:300]}")
        return verdict

    def verdict(self):
        """GOOD, POOR, BAD or HAS_NONE for each part."""
        (mine, token), (others, other_token) = self.stage.namespace(), self.stage.namespace()
        names, url = (mine, others), self.stage.rpc()

        def judge(part, said, expected):
            return HAS_NONE if said == "none" else self.compare(part, said, expected, names)

        def expect(part, call=nothing, whose=other_token):
            return ours(url, whose, work(others, call)[part])

        said = self.run(token, work(mine, calls))
        expected = {"calls": expect("calls", calls)}
        expected["named"] = [] if said.get("named") == "none" else expect("named")  # which write, too
        expected["batch"] = expect("batch")
        verdict = {part: judge(part, said.get(part, []), results) for part, results in expected.items()}
        as_admin = self.run(ZERO_TOKEN, work(mine, administrative)).get("calls", [])
        verdict["calls"] = min(verdict["calls"], judge("calls", as_admin, expect("calls", administrative, ZERO_TOKEN)))
        verdict["errors"] = judge("errors", self.run(token, work(mine, errors)).get("calls", []),
                                  expect("calls", errors))
        return {**verdict, "notification": self.noted(said, token)}

    def noted(self, said, token):
        if said.get("notification") == "none":
            return HAS_NONE
        client = self.stage.server.client(token)
        try:
            stored = client.call("stream.version", "noted-1") is not None
        except RpcError:
            stored = False
        if stored and said.get("notification", "nothing") is None:
            return GOOD
        self.tell(f"{self.client.name}, {self.how}, notification: {said.get('notification')}, stored: {stored}")
        return BAD


PARTS = ["calls", "named", "errors", "batch", "notification"]


def attempt(stage, commands, clients, tell):
    """The cells of each client."""
    cells = {}
    for client in clients:
        cells[client.name] = {}
        for how, works in (("plain", "works"), ("set", "with setting")):
            left = [part for part in PARTS if cells[client.name].get(part, "no") in ("no", "without data")]
            if not left or (how == "set" and not client.setting):
                continue
            verdict = Program(client, commands[client.ecosystem]("call"), stage, how, tell).verdict()
            said = {GOOD: works, POOR: "without data", BAD: "no", HAS_NONE: "has none"}
            for part in left:
                cells[client.name][part] = said[verdict[part]]
    return cells
