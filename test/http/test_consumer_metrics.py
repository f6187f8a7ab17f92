"""What /metrics tells of consumers."""
import time

from store import new_id, sql, token_for
from test_metrics import ADMIN, Metrics, find

GAUGES = ["ceiling_position", "floor_position", "lag_messages", "lag_seconds", "in_flight_messages",
          "oldest_claim_age_seconds", "retrying_streams", "parked_streams"]
COUNTERS = ["claims", "settled_claims", "failed_messages", "expired_claims", "fenced_claims"]


def gauges(metrics, namespace, consumer="billing"):
    return {name: metrics("millrace_consumer_" + name, namespace=namespace, consumer=consumer) for name in GAUGES}


def counters(metrics):
    return [int(metrics(f"millrace_consumer_{name}_total")) for name in COUNTERS]


def risen(server, before):
    return [now - then for now, then in zip(counters(Metrics(server)), before)]


def open_server(cluster, start, *more):
    return start("--database", cluster.conninfo(), "--test-mode", "--without-authentication", "--listen", "127.0.0.1",
                 *ADMIN, *more)


def test_how_a_consumer_is_doing(cluster, start):
    server = open_server(cluster, start, "--workers", "2")
    name = "we\"ird\\name\n{é}"
    client, consumer = server.client(token_for(name)), "a \"consumer\"\\\n"
    assert Metrics(server)("millrace_consumers_shown") == 0 and counters(Metrics(server)) == [0] * 5
    for n in range(5):
        client.write(f"account-{n}")
    client.call("consumer.create", consumer, {"category": "account"})
    calm = gauges(Metrics(server), name, consumer)
    assert 0 <= calm.pop("lag_seconds") < 60
    assert calm == {"ceiling_position": 0, "floor_position": 0, "lag_messages": 5, "in_flight_messages": 0,
                    "oldest_claim_age_seconds": 0, "retrying_streams": 0, "parked_streams": 0}
    claim = client.call("consumer.next", consumer, {"max": 4})["claim"]
    busy = gauges(Metrics(server), name, consumer)
    assert 0 <= busy.pop("oldest_claim_age_seconds") < 60 and 0 <= busy.pop("lag_seconds") < 60
    assert busy == {"ceiling_position": 4, "floor_position": 0, "lag_messages": 5, "in_flight_messages": 4,
                    "retrying_streams": 0, "parked_streams": 0}
    client.call("consumer.settle", consumer, {
        "claim": claim, "failed": [{"stream": "account-1", "position": 0, "park": True},
                                   {"stream": "account-2", "position": 0, "delayMs": 3600000}]})
    claim = client.call("consumer.next", consumer)["claim"]
    client.call("consumer.next", consumer, {
        "waitMs": 0, "settle": [{"claim": claim}, {"claim": claim}, {"claim": 1 << 50}]})
    after = gauges(Metrics(server), name, consumer)
    assert 0 < after.pop("lag_seconds") < 60
    assert after == {"ceiling_position": 5, "floor_position": 1, "lag_messages": 1, "in_flight_messages": 0,
                     "oldest_claim_age_seconds": 0, "retrying_streams": 1, "parked_streams": 1}
    for state, call in (("running", None), ("paused", "consumer.pause"), ("running", "consumer.resume")):
        if call:
            client.call(call, consumer)
        metrics = Metrics(server)
        assert {one: metrics("millrace_consumer_state", namespace=name, consumer=consumer, state=one)
                for one in ("running", "paused", "stopped")} == {
                    one: one == state for one in ("running", "paused", "stopped")}
    assert metrics("millrace_consumers_shown") == 1 and metrics("millrace_consumers_left_out") == 0
    client.call("consumer.delete", consumer)
    assert not Metrics(server).all("millrace_consumer_state")


def test_what_went_through_this_server_is_counted(start):
    server = start("--test-mode", "--workers", "2", *ADMIN)
    client = server.client(token_for("counted " + new_id()))
    client.call("consumer.create", "billing", {})
    for n in range(4):
        client.write(f"account-{n}")
    before = counters(Metrics(server))
    assert client.call("consumer.next", "billing", {"max": 2})["claim"]
    claim = client.call("consumer.next", "billing", {"max": 1, "leaseMs": 1000})["claim"]
    assert risen(server, before) == [2, 0, 0, 0, 0]
    again = client.call("consumer.next", "billing", {"max": 1, "settle": [
        {"claim": claim, "failed": [{"stream": "account-2", "position": 0, "delayMs": 0}]}, {"claim": claim}]})
    assert again["lost"] == [claim] and risen(server, before) == [3, 1, 1, 0, 1]
    client.call("consumer.settle", "billing", {"claim": again["claim"], "failed": [
        {"stream": "account-2", "position": 0, "delayMs": 0}]})
    assert client.refused("consumer.settle", "billing", {"claim": claim, "failed": []}).code == "CLAIM_LOST"
    assert client.refused("consumer.extend", "billing", {"claim": claim}).code == "CLAIM_LOST"
    assert risen(server, before) == [3, 2, 2, 0, 3]
    client.call("consumer.next", "billing", {"leaseMs": 1000})
    answer = client.call("consumer.next", "billing", {"waitMs": 30000})
    assert answer["claim"] and risen(server, before) == [5, 2, 2, 1, 3]


def test_only_so_many_are_told_of(cluster, start):
    server = open_server(cluster, start)
    for namespace in ("b", "a", "c"):
        client = server.client(token_for(namespace))
        for n in range(45):
            client.call("consumer.create", f"c-{n:02}", {})
    metrics = Metrics(server)
    shown = sorted((dict(labels)["namespace"], dict(labels)["consumer"])
                   for labels in metrics.all("millrace_consumer_lag_messages"))
    assert 0 < len(shown) <= 100 and metrics("millrace_consumers_shown") == len(shown)
    assert shown == [(namespace, f"c-{n:02}") for namespace in "abc" for n in range(45)][:len(shown)]
    assert metrics("millrace_consumers_left_out") == 1
    find(server, lambda metrics: metrics("millrace_consumers_shown") == 100, "a hundred")


def test_one_that_cannot_be_told_of_does_not_hide_the_others(cluster, start):
    server = open_server(cluster, start)
    for namespace in ("broken", "whole"):
        client = server.client(token_for(namespace))
        client.write("account-1")
        client.call("consumer.create", "billing", {})
    look = cluster.connect()
    schema = sql(look, "SELECT millrace.namespace_schema('broken')")[0][0]
    sql(look, f'ALTER TABLE "{schema}".consumer_streams RENAME COLUMN attempts TO others')
    metrics = find(server, lambda metrics: metrics("millrace_scrape_postgres_success") == 1, "a scrape")
    assert gauges(metrics, "whole")["lag_messages"] == 1
    assert [dict(labels)["namespace"] for labels in metrics.all("millrace_consumer_lag_messages")] == ["whole"]


def test_a_scrape_is_quick_where_consumers_are_far_behind(cluster, start):
    server = open_server(cluster, start, "--workers", "1")
    client = server.client(token_for("far"))
    client.write("account-0")
    connection = cluster.connect()
    sql(connection, "SELECT set_config('millrace.namespace', 'far', false)")
    sql(connection, "SELECT count(millrace.append('account-' || n % 50, 'T', '{}')) FROM generate_series(1, 20000) n")
    for n in range(100):
        client.call("consumer.create", f"c-{n:02}", {"category": "account"})

    def quick():
        began = time.monotonic()
        metrics = Metrics(server)
        assert metrics("millrace_scrape_silent_workers") == 0 or time.monotonic() - began > 0.9
        shown = metrics("millrace_consumers_shown") if "millrace_consumers_shown" in metrics.text else 0
        return shown and time.monotonic() - began < 0.9 and metrics("millrace_consumer_lag_messages", namespace="far",
                                                                    consumer="c-00") == 10000
    assert any(quick() for _ in range(10))
    assert Metrics(server)("millrace_scrape_postgres_success") == 1
