"""/metrics, /live and /ready on the admin listener.  Everything that is read went through Prometheus's own parser."""
import json
import os
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from store import ZERO_TOKEN, Client, Server, new_id, sql, token_for, wait_until
from write_load import hold_stream

LABELS = ("method", "code", "path", "role", "state", "le", "version", "namespace", "by")
ADMIN = ["--admin-listen", "127.0.0.1:0"]
MESSAGE = {"type": "Tested", "data": {}}


class Metrics:
    """One scrape."""

    def __init__(self, server):
        reply = server.admin().request("GET", "/metrics")
        assert reply.status == 200
        assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        self.text = reply.body.decode()
        self.families = list(text_string_to_metric_families(self.text))
        self.samples = {}
        for family in self.families:
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                assert key not in self.samples, f"{key} is there twice"
                self.samples[key] = sample.value

    def __call__(self, name, **labels):
        return self.samples[name, tuple(sorted(labels.items()))]

    def all(self, name):
        return {key[1]: value for key, value in self.samples.items() if key[0] == name}

    def since(self, before, name, *labels):
        """What of a counter has risen since: {(values of the labels): by how much}."""
        risen = {}
        for key, value in self.all(name).items():
            more = value - before.samples.get((name, key), 0)
            if more:
                risen[tuple(dict(key)[label] for label in labels)] = more
        return risen


def find(server, condition, what, seconds=30):
    """Scrapes until a condition holds, and returns that scrape."""
    def scrape():
        metrics = Metrics(server)
        return metrics if condition(metrics) else None
    return wait_until(scrape, what, seconds)


@pytest.fixture(scope="module")
def watched():
    server = Server("--test-mode", "--workers", "2", *ADMIN)
    yield server
    server.stop()


@pytest.fixture
def own(watched):
    client = watched.client(token_for("metrics " + new_id()))
    yield client
    client.close()


# The format

def test_every_metric_is_described_and_named_by_the_conventions(watched):
    metrics = Metrics(watched)
    for family in metrics.families:
        assert family.documentation and family.type in ("counter", "gauge", "histogram"), family.name
        assert re.fullmatch(r"(millrace|process)_[a-z0-9_]+", family.name)
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total"), sample.name
            for label, value in sample.labels.items():
                assert label in LABELS and value
    assert metrics("millrace_build_info", version="0.2.0") == 1
    assert metrics("millrace_workers") == metrics("millrace_workers_ready") == 2
    assert metrics("millrace_scrape_postgres_success") == 1
    assert metrics("millrace_scrape_silent_workers") == 0
    assert len(metrics.text) < 240_000


def test_metrics_are_not_on_the_public_listener(watched, own):
    for path in ("/metrics", "/live", "/ready"):
        assert own.request("GET", path).status == 404


def test_what_the_process_uses(watched):
    metrics = Metrics(watched)
    proc = Path(f"/proc/{watched.process.pid}")
    pages = int((proc / "statm").read_text().split()[1])
    assert abs(metrics("process_resident_memory_bytes") - pages * os.sysconf("SC_PAGESIZE")) < 20e6
    assert abs(metrics("process_open_fds") - len(os.listdir(proc / "fd"))) <= 5
    assert metrics("process_max_fds") == int(
        re.search(r"Max open files\s+(\d+)", (proc / "limits").read_text()).group(1))
    assert abs(time.time() - metrics("process_start_time_seconds") - (time.time() -
                                                                      (proc / "stat").stat().st_ctime)) < 120
    client = watched.client()  # the clock of the CPU is a coarse one
    wait_until(lambda: client.request("GET", "/health") and 0 < Metrics(watched)("process_cpu_seconds_total") < 3600,
               "some time of the CPU")


# Counts

def test_calls_are_counted_exactly(watched, own):
    own.write("a-1")
    before = Metrics(watched)
    began = time.monotonic()
    for _ in range(3):
        own.write("a-1")
    own.refused("stream.write", "a-1", MESSAGE, {"expectedVersion": 77})
    own.refused("stream.write", "", MESSAGE)
    own.call("stream.append", "a-2", [MESSAGE] * 5)
    own.call("streams.append", [{"stream": "a-3", "messages": [MESSAGE] * 2}, {"stream": "a-4", "messages": [MESSAGE]}])
    own.call("stream.get", "a-1")
    own.refused("stream.nonsense\"}\n", "a-1")
    own.refused("ns.list")
    own.refused_body("{")
    assert own.post([{"jsonrpc": "2.0", "id": 1, "method": "stream.version", "params": ["a-1"]}, {
        "jsonrpc": "2.0", "method": "stream.write", "params": ["a-1", MESSAGE]
    }, {"jsonrpc": "2.0", "id": 3, "method": "stream.write", "params": ["a-1", MESSAGE, {"expectedVersion": 77}]},
                     {"jsonrpc": "2.0", "id": 4, "method": "no.such"}]).status == 200
    elapsed = time.monotonic() - began
    after = Metrics(watched)
    assert after.since(before, "millrace_requests_total", "method",
                       "code") == {("stream.write", "OK"): 4, ("stream.write", "STREAM_VERSION_CONFLICT"): 2,
                                   ("stream.write", "INVALID_REQUEST"): 1, ("stream.append", "OK"): 1,
                                   ("streams.append", "OK"): 1, ("stream.get", "OK"): 1, ("stream.version", "OK"): 1,
                                   ("ns.list", "AUTH_UNAUTHORIZED"): 1, ("unknown", "METHOD_NOT_FOUND"): 2}
    assert after.since(before, "millrace_http_requests_total", "path", "code") == {
        ("/rpc", "200"): 7, ("/rpc", "409"): 1, ("/rpc", "400"): 2, ("/rpc", "403"): 1, ("/rpc", "404"): 1}
    assert after.since(before, "millrace_messages_appended_total") == {(): 3 + 5 + 3 + 1}
    counts = after.since(before, "millrace_request_duration_seconds_count", "method")
    assert counts == {("stream.write",): 7, ("stream.append",): 1, ("streams.append",): 1, ("stream.get",): 1,
                      ("stream.version",): 1, ("ns.list",): 1}
    sums = after.since(before, "millrace_request_duration_seconds_sum", "method")
    assert 0 < sum(sums.values()) <= elapsed * 2 and all(value > 0 for value in sums.values())
    # Every append went to Postgres once, the one without a name never.
    assert sum(after.since(before, "millrace_batch_requests_sum").values()) == 8
    batches = sum(after.since(before, "millrace_batch_requests_count").values())
    assert 7 <= batches <= 8
    assert after.since(before, "millrace_batch_duration_seconds_count") == {(): batches}


def test_histograms_add_up(watched, own):
    own.write("a-1")
    metrics = Metrics(watched)
    for family in metrics.families:
        if family.type != "histogram":
            continue
        series = {}
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                labels = {name: value for name, value in sample.labels.items() if name != "le"}
                series.setdefault(tuple(labels.items()), []).append((float(sample.labels["le"]), sample.value))
        for labels, buckets in series.items():
            assert buckets == sorted(buckets) and [value for _, value in buckets] == sorted(value
                                                                                            for _, value in buckets)
            assert buckets[-1][0] == float("inf")
            assert buckets[-1][1] == metrics(family.name + "_count", **dict(labels))
            observed = metrics(family.name + "_sum", **dict(labels))
            lowest, below, last = 0, 0, 0
            for bound, value in buckets:
                lowest += (value - last) * below
                below, last = (bound if bound != float("inf") else below), value
            assert observed >= lowest * 0.999
    assert metrics("millrace_request_duration_seconds_count", method="stream.write") > 0


def test_errors_before_any_method_are_counted_by_status(watched, own):
    before = Metrics(watched)
    own.request("GET", "/nowhere")
    own.request("GET", "/rpc")
    own.request("PUT", "/health")
    own.request("GET", "/health")
    with watched.connect() as raw:
        raw.sendall(b"GARBAGE\r\n\r\n")
        assert b" 400 " in raw.recv(1000)
    assert Metrics(watched).since(before, "millrace_http_requests_total", "path", "code") == {
        ("other", "404"): 1, ("/rpc", "405"): 1, ("/health", "405"): 1, ("/health", "200"): 1, ("other", "400"): 1}


def test_bytes_and_connections_are_those_of_the_clients(watched):
    before = Metrics(watched)
    sockets = [watched.connect() for _ in range(5)]
    request = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
    sent = received = 0
    for each in sockets:
        each.sendall(request)
        sent += len(request)
        received += len(each.recv(10000))
    after = Metrics(watched)
    assert after("millrace_http_received_bytes_total") - before("millrace_http_received_bytes_total") == sent
    assert after("millrace_http_sent_bytes_total") - before("millrace_http_sent_bytes_total") == received
    assert after("millrace_http_connections") - before("millrace_http_connections") == 5
    assert after("millrace_http_connections_accepted_total") - before("millrace_http_connections_accepted_total") == 5
    for each in sockets:
        each.close()
    find(watched, lambda metrics: metrics("millrace_http_connections") == before("millrace_http_connections"),
         "the end of connections")


def test_who_is_turned_away_is_counted(start):
    server = start("--test-mode", "--workers", "1", "--max-connections", "2", *ADMIN)
    sockets = [server.connect() for _ in range(3)]
    assert b" 503 " in sockets[2].recv(1000)
    metrics = Metrics(server)
    assert metrics("millrace_http_connections_rejected_total") == 1
    assert not any(metrics.all("millrace_http_requests_total").values()) and "request failed" not in server.text
    for each in sockets:
        each.close()


# Subscriptions, imports, exports

def test_the_lag_of_a_subscriber_that_does_not_read(watched, own):
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", watched.port))
    raw.settimeout(30)
    raw.sendall(f"GET /subscribe?token={own.token}&all=true&messages=true HTTP/1.0\r\n\r\n".encode())
    assert b"200" in raw.recv(15)
    calm = find(watched, lambda metrics: metrics("millrace_subscriptions", state="following") == 1,
                "a subscription that follows")
    assert calm("millrace_subscription_max_lag_positions") == 0
    big = {"type": "T", "data": {"text": "x" * 20000}}
    written = 0

    def behind(metrics):
        return metrics("millrace_subscriptions",
                       state="draining") == 1 and metrics("millrace_subscription_max_lag_positions") >= 100

    def write_on():
        nonlocal written
        own.call("stream.append", "a-1", [big] * 100)
        written += 100
        metrics = Metrics(watched)
        return metrics if behind(metrics) else None
    late = wait_until(write_on, "a subscription that is behind")
    assert late("millrace_subscription_max_lag_positions") <= written
    assert late("millrace_subscriptions", state="following") == 0
    seen = b""
    while seen.count(b"event: ") < written and len(seen) < 1e9:
        seen += raw.recv(1 << 20)
    calm = find(watched, lambda metrics: metrics("millrace_subscriptions", state="following") == 1,
                "the subscription to follow again")
    assert calm("millrace_subscription_max_lag_positions") == 0
    raw.close()
    find(watched, lambda metrics: sum(metrics.all("millrace_subscriptions").values()) == 0,
         "the end of the subscription")


def test_exports_and_imports_that_run(watched, own):
    record = {
        "id": new_id(), "stream": "a-1", "type": "T", "pos": 0, "gpos": 1, "data": {}, "meta": None,
        "time": "2026-01-01T00:00:00Z"
    }
    before = Metrics(watched)
    raw = watched.connect()
    raw.sendall(f"POST /import?token={own.token} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    find(watched, lambda metrics: metrics("millrace_imports_running") == 1, "an import that runs")
    line = (json.dumps(record) + "\n").encode()
    raw.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(line), line))
    done = b""
    while b'"done":true' not in done:
        more = raw.recv(10000)
        assert more, done
        done += more
    raw.close()
    after = find(watched, lambda metrics: metrics("millrace_imports_running") == 0, "the end of the import")
    assert after("millrace_messages_imported_total") - before("millrace_messages_imported_total") == 1

    for _ in range(20):
        own.call("stream.append", "a-2", [{"type": "T", "data": {"text": "x" * 10000}}] * 100)
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", watched.port))
    raw.sendall(f"GET /export?token={own.token} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    find(watched, lambda metrics: metrics("millrace_exports_running") == 1, "an export that runs")
    raw.close()
    find(watched, lambda metrics: metrics("millrace_exports_running") == 0, "the end of the export")


# Postgres

def test_an_open_appending_transaction_shows_by_namespace(cluster, start):
    server = start("--database", cluster.conninfo(), *ADMIN)
    name = "we\"ird\\name\n{é}"
    connection = cluster.connect()
    sql(connection, "SELECT millrace.create_namespace(%s)", name)
    assert Metrics(server)("millrace_append_transactions") == 0
    assert Metrics(server)("millrace_append_transaction_max_age_seconds") == 0
    sql(connection, "SELECT set_config('millrace.namespace', %s, false)", name)
    hold_stream(connection, "a-1")
    held = find(server, lambda metrics: metrics.all("millrace_namespace_append_transaction_max_age_seconds"),
                "an old transaction")
    assert list(held.all("millrace_namespace_append_transaction_max_age_seconds")) == [(("namespace", name),)]
    assert held("millrace_append_transactions") == 1
    assert 1 <= held("millrace_namespace_append_transaction_max_age_seconds", namespace=name) < 30
    assert held("millrace_append_transaction_max_age_seconds") == held(
        "millrace_namespace_append_transaction_max_age_seconds", namespace=name)
    sql(connection, "COMMIT")
    find(server, lambda metrics: metrics("millrace_append_transactions") == 0, "the commit")


def test_requests_that_wait_are_in_the_queue(cluster, start):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, *ADMIN, token=ZERO_TOKEN)
    holder = hold_stream(cluster.connect(), "s")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.client().write, "s", {"text": "x" * 1000})
        waiting = find(server, lambda metrics: metrics("millrace_locked_appends_total") >= 1,
                       "an append that is set aside")
        assert waiting("millrace_queue_requests") == 1
        assert 1000 < waiting("millrace_queue_bytes") < 2000
        assert waiting("millrace_postgres_connections", role="locked") <= 1
        sql(holder, "COMMIT")
        answer.result()
    done = find(server, lambda metrics: metrics("millrace_queue_requests") == 0, "an empty queue")
    assert done("millrace_queue_bytes") == 0


def test_a_restart_of_postgres_is_counted_and_the_metrics_answer_meanwhile(cluster, start):
    server = start("--database", cluster.conninfo(), "--workers", "2", *ADMIN)
    before = Metrics(server)
    assert before("millrace_postgres_reconnects_total", role="append") == 0
    assert before("millrace_postgres_connections", role="append") == 2
    assert server.admin().request("GET", "/ready").status == 200
    cluster.stop()
    away = find(server, lambda metrics: metrics("millrace_workers_ready") == 0, "the loss of the database")
    began = time.monotonic()
    away = Metrics(server)
    assert time.monotonic() - began < 0.9, "it waited for a database that is known to be away"
    assert away("millrace_scrape_postgres_success") == 0
    assert "millrace_append_transactions" not in away.text.replace("millrace_append_transactions_", "")
    assert away("millrace_postgres_connections", role="append") == 0
    assert server.admin().request("GET", "/ready").status == 503
    assert server.admin().request("GET", "/live").status == 200
    cluster.start()
    back = find(server, lambda metrics: metrics("millrace_postgres_reconnects_total", role="append") == 2,
                "both connections", 60)
    assert back("millrace_postgres_connections", role="append") == 2
    find(server, lambda metrics: metrics("millrace_scrape_postgres_success") == 1, "Postgres to answer")
    wait_until(lambda: server.admin().request("GET", "/ready").status == 200, "all connections")


def sessions(server, cluster):
    """The process ids of the sessions that a server opens when it starts, when all are there."""
    def connected(metrics):
        return [metrics("millrace_postgres_connections", role=role) for role in ("append", "read")]
    workers = Metrics(server)("millrace_workers")
    find(
        server, lambda metrics: connected(metrics) == [workers, 2 * workers] and metrics(
            "millrace_scrape_postgres_success") == 1, "all of its sessions")
    return [
        row[0] for row in sql(cluster.connect(), "SELECT pid FROM pg_stat_activity WHERE application_name = 'millrace'")
    ]


def test_a_postgres_that_hangs_costs_a_second_and_blocks_nothing(cluster, start):
    server = start("--database", cluster.conninfo(), *ADMIN)
    pids = sessions(server, cluster)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool:
            began = time.monotonic()
            scrape = pool.submit(Metrics, server)
            assert server.admin().request("GET", "/live").status == 200
            assert time.monotonic() - began < 0.9
            assert scrape.result()("millrace_scrape_postgres_success") == 0
            assert time.monotonic() - began < 5
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    find(server, lambda metrics: metrics("millrace_scrape_postgres_success") == 1, "Postgres to answer")


# Starting and stopping

def test_ready_turns_503_while_the_last_requests_are_answered(cluster):
    server = Server("--database", cluster.conninfo(), "--token", ZERO_TOKEN, *ADMIN, token=ZERO_TOKEN)
    admin = server.admin()
    wait_until(lambda: admin.request("GET", "/ready").status == 200, "all connections")
    holder = hold_stream(cluster.connect(), "s")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.client().write, "s")
        find(server, lambda metrics: metrics("millrace_queue_requests") == 1, "a request in flight")
        server.terminate()
        wait_until(lambda: Client(admin.port).request("GET", "/ready").status == 503, "the end of readiness")
        assert Client(admin.port).request("GET", "/live").status == 200
        assert not answer.done()
        assert Metrics(server)("millrace_queue_requests") == 1
        sql(holder, "COMMIT")
        assert answer.result()["position"] == 1
    server.stop()


def test_a_scrape_under_way_does_not_keep_the_server_from_stopping(cluster):
    server = Server("--database", cluster.conninfo(), *ADMIN)
    pids = [
        row[0] for row in sql(cluster.connect(), "SELECT pid FROM pg_stat_activity WHERE application_name = 'millrace'")
    ]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        sockets = [socket.create_connection(("127.0.0.1", server.admin().port)) for _ in range(3)]
        for each in sockets:
            each.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        sockets[0].close()
        server.terminate()
        server.stop()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        for each in sockets:
            each.close()


def test_no_server_is_ready_on_a_standby(cluster, folder, start):
    from store import Cluster
    first = Server("--database", cluster.conninfo(), "--token", ZERO_TOKEN, *ADMIN, token=ZERO_TOKEN)
    first.stop()
    standby = Cluster(folder + "/standby").copy_of(cluster).start()
    try:
        server = Server("--database", standby.conninfo(), *ADMIN, token=ZERO_TOKEN, wait=False)
        wait_until(lambda: "admin listener" in server.text, "the admin listener")
        # It answers while the start still waits for a database that takes writes.
        assert server.admin().request("GET", "/ready").status == 503
        assert server.admin().request("GET", "/live").status == 200
        assert Metrics(server)("millrace_workers_ready") == 0
        server.stop()
    finally:
        standby.stop("immediate")


# Tokens

def test_no_token_is_in_the_metrics_or_the_log():
    server = Server("--test-mode", "--log-level", "debug", *ADMIN)
    token = token_for("secret " + new_id())
    secret = token.rsplit("_", 1)[1]
    client = server.client(token)
    client.write("a-1")
    client.request("GET", f"/subscribe/{token}?token={token}")
    client.request("GET", f"/{token}", headers={"X-Request-Id": token})
    client.request("GET", f"/x/{secret}%5F{secret.upper()}")
    client.refused(token, token)
    client.refused("stream.write", token, {"type": token, "data": token})
    wait_until(lambda: server.text.count(" request ") >= 5, "the log")
    text = Metrics(server).text
    server.stop()
    for each in (text, server.text):
        assert secret not in each and secret.upper() not in each
