"""Appends on condition over HTTP that depend on what is not committed yet, or that take long to decide."""
import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from deciding import Open, message, positions, tagged, unless
from store import ZERO_TOKEN, sql, wait_until


@pytest.fixture
def doubtful(cluster, start):
    """A server of its own with one worker, whose namespace default has the index, and the cluster."""
    def make(*arguments):
        server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--workers", "1", *arguments,
                       token=ZERO_TOKEN)
        sql(cluster.connect(), "SELECT millrace.index_tags('default')")
        return server

    return make


def waits_for_a_transaction(cluster):
    ((count,),) = sql(cluster.connect(),
                      "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted")
    return count


@pytest.mark.parametrize("how", ["commit", "rollback"])
def test_a_condition_in_doubt_waits_and_holds_up_no_other(cluster, doubtful, how):
    server = doubtful()
    held = Open(cluster.connect(), "t")
    client = server.client(timeout=20)
    with ThreadPoolExecutor(2) as pool:
        body = ["stream.write", "s", message("t"), {"condition": unless(tagged("t"))}]
        waits = pool.submit(server.client().post, body)
        wait_until(lambda: waits_for_a_transaction(cluster), "a condition that waits")
        for n in range(20):
            other = {"condition": unless(tagged(f"u {n}"))}
            assert client.call("stream.write", "other", message(f"u {n}"), other)["position"] == n
            assert client.call("stream.write", "without", message("v"))["position"] == n
        follows = pool.submit(server.client().post, ["stream.write", "s", message()])
        assert not waits.done()
        held.end(how)
        reply, behind = waits.result(), follows.result()
        if how == "rollback":
            assert reply.status == 200 and (reply.json["position"], behind.json["position"]) == (0, 1)
        else:
            assert (reply.status, reply.error["code"]) == (409, "APPEND_CONDITION_FAILED")
            assert reply.error["details"] == {"after": 0, "position": 1, "stream": "open", "type": "Open"}
            assert behind.json["position"] == 0


def test_those_behind_one_in_doubt_keep_their_order(cluster, doubtful):
    server = doubtful()
    held = Open(cluster.connect(), "t")
    batch = [{"jsonrpc": "2.0", "id": n, "method": "stream.write", "params": [stream, message(), *options]}
             for n, (stream, options) in enumerate([("s", [{"condition": unless(tagged("t"))}]), ("s", []), ("r", []),
                                                    ("s", [{"condition": unless(tagged("u"))}])])]
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(server.client().post, batch)
        wait_until(lambda: waits_for_a_transaction(cluster), "a condition that waits")
        wait_until(lambda: server.client().call("stream.version", "r") == 0, "the one that waits for nobody")
        held.end("rollback")
        answers = {each["id"]: each for each in waits.result().json}
    assert [answers[n]["result"]["position"] for n in (0, 1, 3)] == [0, 1, 2]


def test_a_condition_in_doubt_beyond_the_retry_window_is_503(cluster, doubtful):
    server = doubtful("--retry-window", "1")
    held = Open(cluster.connect(), "t")
    reply = server.client().post(["stream.write", "s", message("t"), {"condition": unless(tagged("t"))}])
    assert (reply.status, reply.error["code"]) == (503, "BACKEND_UNAVAILABLE")
    assert "condition" in reply.error["message"] and int(reply.headers["Retry-After"]) >= 1
    held.end("rollback")
    assert server.client().call("stream.write", "s", message("t"), {"condition": unless(tagged("t"))})["position"] == 0


def test_a_condition_in_doubt_holds_when_the_other_is_killed(cluster, doubtful):
    """All sessions end with it, the waiting one too: its request goes again."""
    server = doubtful()
    held = Open(cluster.connect(), "t")
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(server.client().call, "stream.write", "s", message("t"), {"condition": unless(tagged("t"))})
        wait_until(lambda: waits_for_a_transaction(cluster), "a condition that waits")
        os.kill(held.connection.get_backend_pid(), signal.SIGKILL)
        assert waits.result()["position"] == 0
    assert positions(server.client()) == [waits.result()["globalPosition"]]


def test_a_condition_with_a_long_way_is_looked_at_aside(cluster, doubtful):
    """Over 10,000 entries of two tags that no message has both of; what came with it is not held up."""
    server = doubtful("--admin-listen", "127.0.0.1:0")
    sql(cluster.connect(), """SELECT count(millrace.append_messages('a-' || n, ARRAY(SELECT
        ('T', '{}', jsonb_build_object('tags', ARRAY[chr(97 + m % 2)]), NULL)::millrace.new_message
        FROM generate_series(1, 1000) AS m))) FROM generate_series(1, 10) AS n""")
    long, short = {"condition": unless(tagged("a", "b"))}, {"condition": unless(tagged("a", "b"), 9990)}

    def write(*calls):
        batch = [{"jsonrpc": "2.0", "id": n, "method": "stream.write", "params": list(call)}
                 for n, call in enumerate(calls)]
        answers = {each["id"]: each for each in server.client().post(batch).json}
        return [answers[n].get("result", answers[n].get("error", {}).get("data")) for n in range(len(calls))]

    def set_aside():
        metrics = server.admin().request("GET", "/metrics").body.decode()
        return re.search(r"^millrace_locked_appends_total (\d+)", metrics, re.M)[1]

    written = write(["s", message(), short], ["s", message("c"), long], ["r", message()], ["s", message()])
    assert [each["position"] for each in written] == [0, 1, 0, 2]
    assert written[2]["globalPosition"] < written[1]["globalPosition"], "the one that waits for nobody"
    assert set_aside() == "2", "the long one, and the one of its stream behind it"
    last = write(["s", message("a", "b"), long])[0]["globalPosition"]
    refused = write(["r", message(), long], ["r", message(), short], ["r", message()])
    assert [each.get("code") for each in refused] == ["APPEND_CONDITION_FAILED"] * 2 + [None]
    assert refused[0]["details"] == {"after": 0, "position": last, "stream": "s", "type": "T"}


def test_where_the_way_is_long_no_later_match_stands_for_the_first(cluster, doubtful):
    """An item's steps end before its match, which lies below that of another item."""
    server = doubtful()
    sql(cluster.connect(), """SELECT millrace.append_messages('a', ARRAY(SELECT
        ('T', '{}', jsonb_build_object('tags', CASE WHEN m = 2999 THEN '["a", "b"]' WHEN m = 3000 THEN '["c"]'
            ELSE to_jsonb(ARRAY[chr(97 + m % 2)]) END), NULL)::millrace.new_message
        FROM generate_series(1, 3000) AS m))""")
    either = {"items": tagged("c")["items"] + tagged("a", "b")["items"]}
    refused = server.client().post(["stream.write", "s", message(), {"condition": unless(either)}])
    assert refused.error["details"] == {"after": 0, "position": 2999, "stream": "a", "type": "T"}


def test_a_reader_is_told_the_head_below_what_is_in_doubt(cluster, doubtful):
    server = doubtful()
    client = server.client()
    client.call("stream.write", "s", message("t"))
    held = Open(cluster.connect(), "t")
    client.call("stream.write", "s", message("t"))
    for direction in ("forward", "backward"):
        answer = client.call("query.get", tagged("t"), {"direction": direction})
        assert ([each[4] for each in answer["messages"]], answer["head"]) == ([1], 1)
    assert client.call("query.get", tagged("u"))["head"] == 3
    held.end("commit")
    answer = client.call("query.get", tagged("t"))
    assert ([each[4] for each in answer["messages"]], answer["head"]) == ([1, 2, 3], 3)
