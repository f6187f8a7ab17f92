"""The alerts and the dashboard that are shipped, on what real servers tell.

What a server told, before and after something happened to it, becomes a history of minutes, and Prometheus's promtool
says which alerts fire in it.  Each fires once, and none on a busy server that is well.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from certificates import Authority
from store import ROOT, ZERO_TOKEN, Server, new_id, sql, token_for, wait_until
from test_metrics import ADMIN, MESSAGE, Metrics, find, sessions
from write_load import hold_stream

PACKAGING = ROOT / "sidecar" / "packaging"
ALERTS = PACKAGING / "alerts.yaml"
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")
INTERVAL = 15  # seconds between two scrapes
DASHBOARD = json.loads((PACKAGING / "dashboard.json").read_text())

with_promtool = pytest.mark.skipif(PROMTOOL is None, reason="NO PROMTOOL: test/deps.sh --alerts, or PROMTOOL=FILE")


def scraped(server, slow=False):
    """A scrape as a dictionary of series: text in PromQL's notation to value.

    How long commits take is the machine's matter, so without `slow` a history has no such series.
    """
    series = {}
    for (name, labels), value in Metrics(server).samples.items():
        if name == "millrace_batch_duration_seconds_bucket" and not slow:
            continue
        pairs = [*labels, ("instance", "one"), ("job", "millrace")]
        series[name + "{" + ",".join(f"{label}={json.dumps(text)}" for label, text in pairs) + "}"] = value
    return series


def history(*parts):
    """Input series from (scrape, minutes) pairs; a scrape of None is one that got no answer."""
    scrapes = [scrape for scrape, minutes in parts for _ in range(int(minutes * 60 / INTERVAL))]
    names = {name for scrape in scrapes for name in scrape or ()}
    series = {name: ["_" if scrape is None else scrape.get(name, "_") for scrape in scrapes] for name in names}
    series['up{instance="one",job="millrace"}'] = [int(scrape is not None) for scrape in scrapes]
    return [{"series": name, "values": " ".join(map(str, values))}
            for name, values in series.items()], len(scrapes) * INTERVAL


def fires(folder, *parts):
    """Which alerts fire at any time of the history: {name}."""
    series, seconds = history(*parts)
    alerts = re.findall(r"alert: (\w+)", ALERTS.read_text())
    ever = 'max by (alertname) (max_over_time(ALERTS{alertstate="firing",alertname="%s"}[1d]))'
    # Each is said not to fire; promtool tells where that is wrong.
    tests = {
        "rule_files": [str(ALERTS)], "evaluation_interval": f"{INTERVAL}s", "tests": [{
            "interval": f"{INTERVAL}s", "input_series": series,
            "promql_expr_test": [{"expr": ever % alert, "eval_time": f"{seconds}s", "exp_samples": []}
                                 for alert in alerts]
        }]
    }
    file = f"{folder}/history.yaml"
    with open(file, "w") as out:
        json.dump(tests, out)
    done = subprocess.run([PROMTOOL, "test", "rules", file], capture_output=True, text=True)
    told = done.stdout + done.stderr
    fired = set(re.findall(r'got:.*alertname=\\?"(\w+)\\?"', told))
    assert (done.returncode != 0) == bool(fired), told
    return fired


@pytest.fixture(scope="module")
def watched():
    server = Server("--test-mode", "--workers", "1", "--queue-requests", "5", *ADMIN)
    connection = server.postgres()
    sql(connection, "SELECT millrace.create_namespace('consumers')")
    sql(connection, "SELECT millrace.create_consumer('billing', namespace => 'consumers')")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def calm(watched):
    """What a server tells to which nothing has happened yet."""
    return scraped(watched)


@pytest.fixture(scope="module")
def durable():
    """A server with a data directory and a certificate, which has more to tell of."""
    folder = tempfile.mkdtemp(prefix="m-")
    own = Authority(folder).issue("own", days=30)
    server = Server("--data-dir", folder + "/data", "--token", ZERO_TOKEN, *ADMIN, token=ZERO_TOKEN, tls=own)
    yield server, own
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def own(watched, calm):
    name = "alerts " + new_id()
    client = watched.client(token_for(name))
    client.namespace = name
    yield client
    client.close()


def schema(connection, client):
    """The schema of a client's namespace."""
    return sql(connection, "SELECT millrace.namespace_schema(%s)", client.namespace)[0][0]


# The files

@with_promtool
def test_the_rules_are_well_formed():
    done = subprocess.run([PROMTOOL, "check", "rules", ALERTS], capture_output=True, text=True)
    assert done.returncode == 0 and re.search(r"SUCCESS: \d+ rules found", done.stdout), done.stdout + done.stderr


def test_every_alert_is_described():
    described = re.findall(r"^\| `(Millrace\w+)` \| .+ \| .+ \|$", (ROOT / "sidecar/README.md").read_text(), re.M)
    assert described == re.findall(r"alert: (\w+)", ALERTS.read_text())


def expressions():
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def test_every_metric_that_an_alert_or_the_dashboard_names_is_in_a_scrape(watched, durable, calm):
    there = {name.split("{")[0] for name in [*scraped(watched, slow=True), *scraped(durable[0])]} | {"up"}
    texts = expressions() + re.findall(r"expr: (.+?)\n +(?:for|labels):", ALERTS.read_text(), re.S)
    named = {name for text in texts for name in re.findall(r"\b(?:millrace|process)_\w+|\bup\b", text)}
    assert len(expressions()) >= 20 and len(named) > 20
    assert named <= there
    for text in texts:
        for name, labels in re.findall(r"\b((?:millrace|process)_\w+)\{(.*?)\}", text):
            for label, value in re.findall(r'(\w+)=~?"(.*?)"', labels):
                for one in value.split("|"):
                    assert label in ("instance", "job") or any(
                        series.startswith(name + "{") and f'{label}="{one}"' in series for series in calm), (name, one)


@with_promtool
def test_every_query_of_the_dashboard_is_one(folder):
    rules = [{"record": f"panel:{i}", "expr": re.sub(r"\$__rate_interval", "5m", text)}
             for i, text in enumerate(expressions())]
    with open(f"{folder}/panels.yaml", "w") as out:
        json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, out)
    done = subprocess.run([PROMTOOL, "check", "rules", f"{folder}/panels.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_counter_is_there_before_it_counts(calm):
    for method in ("stream.write", "category.get", "ns.list"):
        for code in ("OK", "OVERLOADED", "BACKEND_ERROR", "BACKEND_UNAVAILABLE", "INTERNAL_ERROR"):
            assert calm[
                f'millrace_requests_total{{code="{code}",method="{method}",instance="one",job="millrace"}}'] == 0
    for path in ("/rpc", "/import", "/export", "/subscribe", "other"):
        for status in ("200", "400", "503"):
            assert calm[
                f'millrace_http_requests_total{{code="{status}",path="{path}",instance="one",job="millrace"}}'] == 0


# What fires

@with_promtool
def test_nothing_fires_on_a_busy_server_that_is_well(watched, calm, own, folder):
    subscription = watched.connect()
    subscription.sendall(f"GET /subscribe?token={own.token}&all=true HTTP/1.0\r\n\r\n".encode())
    for _ in range(20):
        own.write("a-1")
        own.refused("stream.write", "a-1", MESSAGE, {"expectedVersion": 77})
        own.refused_body("{")
        own.call("stream.get", "a-1")
    reconnects = scraped(watched)['millrace_postgres_reconnects_total{role="append",instance="one",job="millrace"}']
    sql(watched.postgres(),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'millrace'")
    find(
        watched, lambda metrics: metrics("millrace_postgres_reconnects_total", role="append") > reconnects and metrics(
            "millrace_workers_ready") == 1, "the connection")
    after = scraped(watched)
    subscription.close()
    # Another program, of another job, has nearly all its descriptors open.
    other = {'process_open_fds{instance="two",job="other"}': 99, 'process_max_fds{instance="two",job="other"}': 100}
    # A transaction that is open for a while, a database that is away for a scrape, a restart of the server.
    age = 'millrace_append_transaction_max_age_seconds{instance="one",job="millrace"}'
    assert after[age] == 0
    away = {**after, 'millrace_workers_ready{instance="one",job="millrace"}': 0}
    assert fires(folder, (calm, 5), ({**after, **other}, 10), ({**after, age: 30}, .5), (away, .25), (after, 5),
                 (None, .5), (calm, 10)) == set()


@with_promtool
def test_errors(watched, calm, own, folder):
    own.write("a-1")
    connection = watched.postgres()
    sql(connection, f'DROP TABLE "{schema(connection, own)}".messages')
    assert own.refused("stream.get", "a-1").code == "BACKEND_ERROR"
    assert fires(folder, (calm, 10), (scraped(watched), 10)) == {"MillraceErrors"}


@with_promtool
def test_overload(watched, calm, own, folder):
    own.write("a-1")
    before, holder = scraped(watched), watched.postgres()
    sql(holder, "BEGIN")
    sql(holder, "SELECT millrace.append('a-1', 'Held', '{}', namespace => %s)", own.namespace)
    with ThreadPoolExecutor(20) as pool:
        answers = [
            pool.submit(lambda: watched.client(own.token).post(["stream.write", "a-1", MESSAGE]).status)
            for _ in range(20)
        ]
        wait_until(lambda: any(each.done() for each in answers), "a refused request")
        sql(holder, "ROLLBACK")
        assert {each.result() for each in answers} == {200, 503}
    after = scraped(watched)
    assert fires(folder, (before, 10), (after, 10)) == {"MillraceOverloaded", "MillraceUnavailable"}


@with_promtool
def test_a_transaction_that_stays_open(watched, own, folder):
    age = 'millrace_append_transaction_max_age_seconds{instance="one",job="millrace"}'
    own.write("a-1")
    holder = watched.postgres()
    hold_stream(holder, "held-1")
    held = wait_until(lambda: (lambda scrape: scrape[age] > 0 and scrape)(scraped(watched)), "its age")
    sql(holder, "ROLLBACK")
    # It grows older from scrape to scrape.
    assert fires(folder, *[({**held, age: held[age] + i * INTERVAL}, INTERVAL / 60) for i in range(4)]) == set()
    assert fires(folder, *[({**held, age: held[age] + i * INTERVAL}, INTERVAL / 60)
                           for i in range(6)]) == {"MillraceReadersHeldBack"}


@with_promtool
def test_a_subscriber_that_does_not_read(watched, own, folder):
    lag = 'millrace_subscription_max_lag_positions{instance="one",job="millrace"}'
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", watched.port))
    raw.sendall(f"GET /subscribe?token={own.token}&all=true&messages=true HTTP/1.0\r\n\r\n".encode())
    scrapes = []

    def write_on():
        own.call("stream.append", "a-1", [{"type": "T", "data": {"text": "x" * 20000}}] * 100)
        scrapes.append(scraped(watched))
        return scrapes[-1][lag] > 1000
    wait_until(write_on, "a subscription that is behind")
    raw.close()
    behind = [scrape for scrape in scrapes if scrape[lag] > 100]
    assert len(behind) >= 5
    slow = [(scrape, 15 / len(behind)) for scrape in behind]
    assert fires(folder, *slow) == {"MillraceSlowSubscriber"}
    # It catches up.
    assert fires(folder, *[({lag: scrape[lag]}, minutes) for scrape, minutes in reversed(slow)]) == set()


@pytest.fixture
def consuming(own):
    """Makes a consumer and two messages; returns its first claim."""
    made = []

    def make(name, **options):
        for stream in (name + "-1", name + "-2"):
            own.write(stream)
        own.call("consumer.create", name, {"category": name, **options})
        made.append(name)
        return own.call("consumer.next", name)["claim"]
    yield make
    for each in made:
        own.call("consumer.delete", each)


@with_promtool
@pytest.mark.parametrize("options, expected", [({}, {"MillraceConsumerParked"}), ({
    "maxParked": 1
}, {"MillraceConsumerParked", "MillraceConsumerStopped"})])
def test_a_consumer_that_gave_up_a_stream_and_one_that_stopped(watched, own, consuming, folder, options, expected):
    claim = consuming("poison", **options)
    before = scraped(watched)
    own.call("consumer.settle", "poison", {
        "claim": claim,
        "failed": [{"stream": "poison-1", "position": 0, "error": "poison", "park": True}]
    })
    own.call("consumer.next", "poison", {"waitMs": 0})
    assert fires(folder, (before, 5)) == set()
    assert fires(folder, (before, 5), (scraped(watched), 3)) == expected
    assert "MillraceConsumerParked" not in fires(folder, (before, 5), (scraped(watched), .5), (before, 3))


@with_promtool
def test_a_consumer_that_is_behind(watched, own, consuming, folder):
    def series(name):
        return (f'millrace_consumer_{name}{{consumer="late",namespace="{own.namespace}",'
                'instance="one",job="millrace"}')
    consuming("late")
    told, age, messages = scraped(watched), series("lag_seconds"), series("lag_messages")
    assert 0 < told[age] < 300 and told[messages] == 2
    aging = [({**told, age: told[age] % 10 + minute * 60}, 1) for minute in range(14)]
    assert fires(folder, *aging[:9]) == set()
    assert fires(folder, *aging) == {"MillraceConsumerBehind"}
    many = {**told, messages: 1001}
    assert fires(folder, (told, 5), (many, 4), (told, 5)) == set()
    assert fires(folder, (told, 5), (many, 14)) == {"MillraceConsumerBehind"}


@with_promtool
def test_slow_commits(watched, own, folder):
    own.write("a-1")
    connection = watched.postgres()
    sql(connection,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END'")
    sql(
        connection,
        f'CREATE TRIGGER slow AFTER INSERT ON "{schema(connection, own)}".messages FOR EACH ROW EXECUTE FUNCTION slow()'
    )
    scrapes = [scraped(watched, slow=True)]
    for _ in range(8):
        own.write("a-1")
        scrapes.append(scraped(watched, slow=True))
    assert fires(folder, *[(scrape, 1) for scrape in scrapes]) == {"MillraceSlowCommits"}
    # As many that took 50 ms.
    buckets = [name for name in scrapes[0] if name.startswith("millrace_batch_duration_seconds_bucket")]
    all_of_them = next(name for name in buckets if '"+Inf"' in name)
    fast = [{
        **scrape, **{
            name: scrape[all_of_them] if float(re.search('le="(.+?)"', name).group(1)) >= 0.05 else 0
            for name in buckets
        }
    } for scrape in scrapes]
    assert fires(folder, *[(scrape, 1) for scrape in fast]) == set()


@with_promtool
def test_connections_that_are_lost_again_and_again(watched, folder):
    def reconnects():
        return Metrics(watched)("millrace_postgres_reconnects_total", role="append")
    before, first, connection = scraped(watched), reconnects(), watched.postgres()
    for i in range(4):
        wait_until(
            lambda: sql(connection,
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'millrace'")
            and reconnects() > first + i, "the next connection")
    find(watched,
         lambda metrics: metrics("millrace_workers_ready") == 1 and metrics("millrace_scrape_postgres_success") == 1,
         "the last one")
    assert fires(folder, (before, 12), (scraped(watched), 12)) == {"MillraceReconnecting"}


@with_promtool
def test_a_database_that_is_away_and_a_server_that_is(cluster, start, folder):
    server = start("--database", cluster.conninfo(), *ADMIN)
    before = scraped(server)
    cluster.stop()
    find(server, lambda metrics: metrics("millrace_workers_ready") == 0, "the loss of the database")
    away = scraped(server)
    assert fires(folder, (before, 5), (away, 5)) == {"MillraceNotReady", "MillraceMetricsMissing"}
    assert fires(folder, (before, 5), (None, 5)) == {"MillraceDown"}


@with_promtool
def test_json_rpc_calls_that_failed_for_want_of_a_database(cluster, start, folder):
    """HTTP's status is 200."""
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--retry-window", "1", *ADMIN,
                   token=ZERO_TOKEN)
    client = server.client()
    client.write("s")
    before = scraped(server)
    cluster.stop()
    reply = client.post({"jsonrpc": "2.0", "id": 1, "method": "stream.version", "params": ["s"]})
    assert reply.status == 200 and reply.json["error"]["data"]["code"] == "BACKEND_UNAVAILABLE"
    cluster.start()
    find(
        server, lambda metrics: metrics("millrace_workers_ready") == metrics("millrace_workers") and metrics(
            "millrace_scrape_postgres_success") == 1, "the database")
    assert fires(folder, (before, 10), (scraped(server), 10)) == {"MillraceUnavailable"}


@with_promtool
def test_a_postgres_that_hangs(cluster, start, folder):
    server = start("--database", cluster.conninfo(), *ADMIN)
    pids = sessions(server, cluster)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        hangs = scraped(server)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    find(server, lambda metrics: metrics("millrace_scrape_postgres_success") == 1, "Postgres to answer")
    assert "MillraceMetricsMissing" in fires(folder, (hangs, 5))


@with_promtool
def test_descriptors(start, folder):
    server = start("--test-mode", *ADMIN)
    open_fds = int(Metrics(server)("process_open_fds"))
    before = scraped(server)
    subprocess.run(["prlimit", f"--pid={server.process.pid}", f"--nofile={open_fds + 5}:"], check=True)
    assert fires(folder, (before, 5), (scraped(server), 5)) == {"MillraceDescriptors"}


def changed(scrape, name, value):
    found = [series for series in scrape if series.startswith(name + "{")]
    assert len(found) == 1
    return {**scrape, found[0]: value}


@with_promtool
def test_a_disk_that_is_nearly_full(durable, folder):
    server, _ = durable
    size, free = Metrics(server)("millrace_disk_size_bytes"), Metrics(server)("millrace_disk_free_bytes")
    assert 0 < free < size
    before = changed(scraped(server), "millrace_disk_free_bytes", size * 0.5)
    assert fires(folder, (before, 5)) == set()
    assert fires(folder, (before, 5), (changed(before, "millrace_disk_free_bytes", size * 0.09), 5)) == {"MillraceDisk"}


@with_promtool
def test_a_certificate_that_ends_soon_and_one_that_cannot_be_read(durable, folder):
    server, own = durable
    scrape, name = scraped(server), "millrace_tls_certificate_expiry_timestamp_seconds"
    left = Metrics(server)(name) - time.time()
    assert 29 * 86400 < left <= 30 * 86400 + 300
    # A history begins at 0.
    assert fires(folder, (changed(scrape, name, left), 5)) == set()
    assert fires(folder, (changed(scrape, name, left - 17 * 86400), 5)) == {"MillraceCertificateEnds"}
    own.file.write_bytes(b"nothing")
    server.process.send_signal(signal.SIGHUP)
    find(server, lambda metrics: metrics("millrace_tls_last_reload_successful") == 0, "the attempt to read it")
    failed = changed(scraped(server), name, left)
    assert fires(folder, (scrape, 5), (failed, 5)) == {"MillraceCertificateNotRead"}
