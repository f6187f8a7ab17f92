"""GET /export?query=...: what matches a query over types and tags."""
import gzip
import json
import socket
import threading
from urllib.parse import urlencode

import pytest

from deciding import Open, drop_tag_index, matches, message, tagged
from subscriber import connect_to_namespace


def export(client, query, headers=None, **parameters):
    text = query if isinstance(query, str) else json.dumps(query)
    return client.request("GET", "/export?" + urlencode({"query": text, **parameters}), headers=headers)


def positions(client, query, **parameters):
    reply = export(client, query, **parameters)
    assert reply.status == 200, reply.body
    return [json.loads(line)["gpos"] for line in reply.body.splitlines()]


BAD = [("{", "query must be JSON"), ("[]", "object"), ("{}", "items"), ("null", "object"), ("\0", "query"),
       ('{"items":[]}', "must not be empty"), ('{"items":[{"tags":[7]}]}', "string"),
       ('{"items":[{"tags":["\\u0000"]}]}', "query must be JSON"), (json.dumps(tagged("x" * 17000)), "16384")]


@pytest.mark.parametrize("query,said", BAD, ids=range(len(BAD)))
def test_what_is_no_query_is_refused(decider, query, said):
    reply = export(decider, query)
    assert (reply.status, reply.error["code"]) == (400, "INVALID_REQUEST")
    assert said in reply.error["message"] and "query" in reply.error["message"]


def test_without_the_index_it_is_refused_but_for_all_messages(client):
    client.write("s-1")
    assert "millrace.index_tags()" in export(client, tagged("a")).error["message"]
    assert positions(client, {"all": True}) == [1]


def test_it_is_what_matches_and_the_other_parameters_narrow_it(decider):
    everything = []
    for n in range(60):
        type, tags = "TU"[n % 2], list("ab"[:n % 3])
        decider.call("stream.write", f"{'xy'[n % 4 < 2]}-{n % 5}", message(*tags, type=type))
        everything.append((n + 1, type, tags, "xy"[n % 4 < 2]))
    time = json.loads(export(decider, {"all": True}).body.splitlines()[30])["time"]
    for query in (tagged("a"), tagged("a", "b"), tagged(types=["U"]), tagged("b", types=["T", "V"]), tagged("none"),
                  {"items": [{"tags": ["b"]}, {"types": ["U"]}]}, {"all": True}):
        want = [each for each in everything if matches(query, *each[1:3])]
        assert positions(decider, query) == [each[0] for each in want]
        assert positions(decider, query, categories="x,z") == [each[0] for each in want if each[3] == "x"]
        assert positions(decider, query, since=time) == [each[0] for each in want if each[0] > 30]
        assert positions(decider, query, until=time) == [each[0] for each in want if each[0] <= 30]
    zipped = export(decider, tagged("a"), {"Accept-Encoding": "gzip"})
    assert gzip.decompress(zipped.body) == export(decider, tagged("a")).body
    assert json.loads(export(decider, tagged("a"), format="cloudevents").body.splitlines()[0])["type"] == "U"
    empty = export(decider, "")  # an empty parameter is none
    assert len(empty.body.splitlines()) == 60


@pytest.mark.parametrize("how", ["commit", "rollback"])
def test_it_ends_below_a_match_in_doubt_and_at_nothing_else(server, decider, how):
    decider.call("stream.write", "s-1", message("a", "b"))
    held = Open(connect_to_namespace(server), "a")
    decider.call("stream.write", "s-1", message("a", "b"))
    assert (positions(decider, tagged("a")), positions(decider, tagged("b"))) == ([1], [1, 3])
    held.end(how)
    assert positions(decider, tagged("a")) == ([1, 2, 3] if how == "commit" else [1, 3])


def test_it_is_a_prefix_in_many_pages_while_writes_go_on(server, decider, others):
    stop = threading.Event()

    def write(client, name):
        while not stop.is_set():
            client.call("stream.append", name, [message("a", data={"x": "x" * 2000}), message("b"), message("a", "b")])

    def roll_back():
        while not stop.is_set():
            Open(connect_to_namespace(server), "a").end("rollback")

    threads = [threading.Thread(target=write, args=(others(), f"s-{n}")) for n in range(3)]
    threads.append(threading.Thread(target=roll_back))
    for thread in threads:
        thread.start()
    try:
        seen = []
        for _ in range(8):
            found = positions(decider, tagged("a"))
            assert found == sorted(set(found)) and found[:len(seen)] == seen
            seen = found
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    everything = decider.call("category.get", "", {"batchSize": -1})
    assert positions(decider, tagged("a")) == [each[4] for each in everything if "a" in each[6]["tags"]]


def test_an_export_whose_index_is_dropped_is_cut(server, decider):
    batch = [message("a", data={"x": "x" * 100_000})] * 20
    for _ in range(20):  # 40 MB, more than sockets hold
        decider.call("stream.append", "s-1", batch)
    query = urlencode({"query": json.dumps(tagged("a")), "token": decider.token})
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(f"GET /export?{query} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        stream = connection.makefile("rb")
        assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
        drop_tag_index(server)
        body = stream.read()
    assert 1000 < len(body) < 40_000_000 and not body.endswith(b"0\r\n\r\n")
