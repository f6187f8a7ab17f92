"""A noisy tenant is found by the log, and limited by ns.setLimits."""
import json
import re
import time

import pytest

from clock import Clock
from store import ZERO_TOKEN, RpcError, new_id, sql, token_for, wait_until


class Tenants:
    """A server with an administrator and a tenant, and a clock that can stand still."""

    def __init__(self, folder, start, *arguments):
        self.clock = Clock(folder, at=1000)
        self.server = start("--data-dir", folder + "/data", "--token", ZERO_TOKEN, *arguments, token=ZERO_TOKEN,
                            variables=self.clock.variables)
        self.admin = self.server.client()
        self.name = "noisy " + new_id()
        self.client = self.server.client(self.admin.call("ns.create", self.name)["token"])
        self.client.call("stream.version", "s")

    def stand_still(self):
        self.clock.set(0, -(10 ** 18))  # it shows 0

    def go_on_at(self, seconds):
        self.clock.set(0, int((seconds - time.clock_gettime(time.CLOCK_MONOTONIC)) * 1e9))

    def limit(self, **limits):
        return self.admin.call("ns.setLimits", self.name, limits)

    def granted(self, calls, client=None):
        """How many of so many are."""
        statuses = [(client or self.client).post(["stream.version", "s"]).status for _ in range(calls)]
        assert set(statuses) <= {200, 429}
        return statuses.count(200)


@pytest.fixture
def tenants(folder, start):
    made = Tenants(folder, start, "--workers", "2")
    yield made
    made.go_on_at(100000)  # so that the server can end


def test_requests_a_second_hold_over_all_workers_and_come_back(tenants):
    tenants.stand_still()
    assert tenants.limit(requestsPerSecond=5) == {
        "namespace": tenants.name, "limits": {"requestsPerSecond": 5, "bytesPerSecond": None}
    }
    clients = [tenants.server.client(tenants.client.token) for _ in range(20)]
    assert sum(tenants.granted(1, client) for client in clients) == 5
    error = tenants.client.refused("stream.version", "s")
    assert (error.status, error.code, error.message) == (429, "RATE_LIMITED",
                                                         "the namespace has had its limit of requests a second")
    assert (error.headers["Retry-After"], error.details) == ("1", {"retryAfter": 1})
    assert tenants.admin.post(["stream.version", "s"]).status == 200  # its neighbours have their own
    tenants.go_on_at(3)
    tenants.client.call("stream.version", "s")
    assert tenants.limit() == {"namespace": tenants.name, "limits": None}
    assert tenants.granted(20) == 20
    for client in clients:
        client.close()


def test_each_call_of_a_batch_is_a_request(tenants):
    tenants.stand_still()
    tenants.limit(requestsPerSecond=4)
    reply = tenants.client.post([{"jsonrpc": "2.0", "id": n, "method": "stream.version", "params": ["s"]}
                                 for n in range(10)])
    codes = [each.get("error", {}).get("data", {}).get("code") for each in reply.json]
    assert (reply.status, codes) == (200, [None] * 4 + ["RATE_LIMITED"] * 6)


def test_what_is_refused_was_not_done(tenants):
    tenants.stand_still()
    tenants.limit(requestsPerSecond=1)
    tenants.client.write("s")
    with pytest.raises(RpcError):
        tenants.client.write("s")
    tenants.limit()
    assert tenants.client.call("stream.version", "s") == 0


def test_bytes_a_second_count_arguments_and_results(tenants):
    tenants.client.write("s", {"x": "y" * 5000})
    tenants.stand_still()
    tenants.limit(bytesPerSecond=1000)
    assert len(tenants.client.call("stream.get", "s")) == 1  # nothing was owed
    error = tenants.client.refused("stream.version", "s")
    assert (error.status, error.message) == (429, "the namespace has had its limit of bytes a second")
    assert 4 <= int(error.headers["Retry-After"]) <= 6
    tenants.go_on_at(10)
    tenants.client.write("s", {"x": "y" * 70000})
    error = tenants.client.refused("stream.version", "s")
    assert 50 <= int(error.headers["Retry-After"]) <= 60  # a minute at most
    tenants.go_on_at(100)
    assert tenants.client.call("stream.version", "s") == 1


def test_other_paths_are_requests_too(tenants):
    tenants.stand_still()
    tenants.limit(requestsPerSecond=1)
    tenants.client.call("stream.version", "s")
    for method, path in (("GET", "/export"), ("POST", "/import"), ("GET", "/subscribe?all=true")):
        reply = tenants.client.request(method, path)
        assert (reply.status, reply.error["code"], reply.headers["Retry-After"]) == (429, "RATE_LIMITED", "1"), path


def test_the_administrator_gets_in_to_raise_a_limit(tenants):
    tenants.stand_still()
    tenants.admin.call("ns.setLimits", "default", {"requestsPerSecond": 1})
    assert tenants.granted(5, tenants.admin) == 1
    assert tenants.admin.call("ns.setLimits", "default", {"requestsPerSecond": 3})["limits"]["requestsPerSecond"] == 3
    tenants.admin.call("ns.setLimits", "default")
    assert tenants.granted(5, tenants.admin) == 5


def test_limits_are_shown_and_outlive_a_restart(folder, start):
    server = start("--data-dir", folder + "/data", "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    name = "kept " + new_id()
    token = server.client().call("ns.create", name)["token"]
    assert server.client().call("ns.info", name)["limits"] is None
    server.client().call("ns.setLimits", name, {"requestsPerSecond": 1, "bytesPerSecond": 10 ** 10})
    server.stop()
    server = start("--data-dir", folder + "/data", token=ZERO_TOKEN)
    assert server.client().call("ns.info", name)["limits"] == {"requestsPerSecond": 1, "bytesPerSecond": 10 ** 10}
    client = server.client(token)
    assert 429 in [client.post(["sys.version"]).status for _ in range(200)]


def test_another_server_hears_of_it_within_a_second(cluster, start):
    servers = [start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN) for _ in range(2)]
    name = "shared " + new_id()
    client = servers[1].client(servers[0].client().call("ns.create", name)["token"])
    assert client.call("sys.version")
    servers[0].client().call("ns.setLimits", name, {"requestsPerSecond": 1})
    wait_until(lambda: client.post(["sys.version"]).status == 429, "the limit", 10)
    sql(cluster.connect(), "SELECT millrace.set_namespace_limits(%s)", name)
    wait_until(lambda: {client.post(["sys.version"]).status for _ in range(20)} == {200}, "its end", 10)


@pytest.mark.parametrize("options,word", [({"requestsPerSecond": 0}, "requestsPerSecond"),
                                          ({"requestsPerSecond": -1}, "requestsPerSecond"),
                                          ({"requestsPerSecond": 1.5}, "requestsPerSecond"),
                                          ({"requestsPerSecond": None}, "requestsPerSecond"),
                                          ({"bytesPerSecond": 10**10 + 1}, "bytesPerSecond"),
                                          ({"bytesPerSecond": "1k"}, "bytesPerSecond"), ({"requests": 1}, "requests"),
                                          ({"requestsPersecond": 1}, "requestsPerSecond")])
def test_bad_limits_are_named(admin, options, word):
    error = admin.refused("ns.setLimits", "default", options)
    assert (error.status, error.code) == (400, "INVALID_REQUEST") and word in error.message


def test_who_may_set_them_and_for_what(secured, admin):
    name = "mine " + new_id()
    client = secured.client(admin.call("ns.create", name)["token"])
    assert client.refused("ns.setLimits", name, {}).code == "AUTH_UNAUTHORIZED"
    assert admin.refused("ns.setLimits", "none " + name, {}).code == "NAMESPACE_NOT_FOUND"
    assert admin.refused("ns.setLimits").status == 400
    admin.call("ns.delete", name)


def test_the_log_tells_who_asked_for_what(start):
    server = start("--test-mode", "--log-slow", "0", "--log-format", "json")
    name = "loud \"1\" " + new_id()
    client = server.client(token_for(name))
    client.write("account-1")
    peer = "127.0.0.1:%d" % client.connection.sock.getsockname()[1]
    client.call("category.get", "account")
    client.post({"jsonrpc": "2.0", "id": 1, "method": "stream.get", "params": {"options": {}, "stream": "account-2"}})
    client.post([{"jsonrpc": "2.0", "id": n, "method": "stream.version", "params": ["account-3"]} for n in range(3)])
    client.post("no json")
    client.request("GET", "/health")
    lines = wait_until(
        lambda: (found := [json.loads(line) for line in server.output
                           if f'"{peer}"' in line]) and len(found) == 6 and found, "six lines")
    shown = [tuple(line.get(key) for key in ("namespace", "rpc", "stream", "calls")) for line in lines]
    assert shown == [(name, "stream.write", "account-1", None), (name, "category.get", "account", None),
                     (name, "stream.get", "account-2", None), (name, "stream.version", "account-3", 3),
                     (name, None, None, None), (None, None, None, None)]
    assert not re.search(r"ns_[\w-]+_[0-9a-f]{64}", server.text)
