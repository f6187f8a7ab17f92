"""More clients, requests and bytes than the server may hold: what is too much is refused, and all others are served."""
import contextlib
import os
import re
import resource
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import store
from crowd import Health, allow_files, connections, cpu_seconds, growth, shut_down
from store import ZERO_TOKEN, sql, wait_until

HOST = "Host: x\r\nAuthorization: Bearer " + ZERO_TOKEN + "\r\n"
SUBSCRIBE = f"GET /subscribe?all=true HTTP/1.1\r\n{HOST}\r\n".encode()
MB = 1024 * 1024


def post(body, length=None):
    length = len(body) if length is None else length
    return f"POST /rpc HTTP/1.1\r\n{HOST}Content-Length: {length}\r\n\r\n{body}".encode()


def statuses(received):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def read_answers(wire, count):
    received = b""
    while len(statuses(received)) < count:
        part = wire.recv(65536)
        assert part, received[-300:]
        received += part
    return statuses(received)


def files(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def clients(server):
    """The server's connections with its clients; those with Postgres come and go by themselves."""
    rows = [line.split() for table in ("tcp", "tcp6") for line in open(f"/proc/{server.process.pid}/net/{table}")]
    accepted = {
        f"socket:[{row[9]}]"
        for row in rows if row[1].endswith(f":{server.port:04X}") and not row[2].endswith(":0000")
    }
    links = set()
    for file in os.listdir(f"/proc/{server.process.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            links.add(os.readlink(f"/proc/{server.process.pid}/fd/{file}"))
    return accepted & links


# Requests


def test_ten_times_more_requests_than_may_wait_are_refused_at_once_and_cost_no_memory(start):
    server = start("--test-mode", "--workers", "1", "--queue-requests", "30", token=ZERO_TOKEN)
    write = post('["stream.write","s-%d",{"type":"T","data":{"text":"%s"}}]' % (os.getpid() % 10, "x" * 300))
    server.client().write("s")
    before, depth = server.memory(), 20
    with connections(server, 300) as wires, Health(server) as health, ThreadPoolExecutor(300) as pool:
        for wire in wires:
            wire.sendall(write * depth)
        answers = [
            status for statuses in pool.map(lambda wire: read_answers(wire, depth), wires) for status in statuses
        ]
    began = time.monotonic()
    assert server.client().write("s")["position"] == 1 and time.monotonic() - began < 0.5, "recovered at once"
    assert set(answers) == {200, 503}
    assert answers.count(503) > len(answers) / 10
    assert server.client().call("stream.version", f"s-{os.getpid() % 10}") == answers.count(200) - 1
    assert health.failures == [] and max(health.seconds) < 1
    assert growth(server, before) < 30


# Connections


def test_thousands_of_idle_connections_cost_little_and_hinder_no_request(start):
    server, count = start("--test-mode", "--buffer-bytes", "10M", "--max-body", "2M", token=ZERO_TOKEN), 4000
    allow_files(count + 200)
    server.client().write("s")
    before = server.memory()
    with connections(server, count, post('["sys.version"]' + " " * 20000)):
        assert growth(server, before) < count * 10 / 1024  # 10 kB each
        with Health(server) as health:
            client = server.client()
            for _ in range(50):
                client.write("s")
        assert health.failures == [] and max(health.seconds) < 1


def test_an_idle_connection_gives_the_room_of_a_large_request_back(start):
    server = start("--test-mode", "--workers", "1", token=ZERO_TOKEN)
    server.client().write("s")
    before = server.memory()
    with connections(server, 60, post('["sys.version"]' + " " * MB)):
        assert "ASAN_OPTIONS" in os.environ or server.memory() - before < 60, "not 2 MB each"


def test_beyond_the_limit_of_connections_a_client_is_told_so_until_another_leaves(start):
    server = start("--test-mode", "--workers", "1", "--max-connections", "20", token=ZERO_TOKEN)
    with connections(server, 20, SUBSCRIBE) as wires:
        assert len(clients(server)) == 20
        reply = server.client().request("GET", "/health")
        assert (reply.status, reply.error["code"], reply.headers["Connection"]) == (503, "OVERLOADED", "close")
        assert int(reply.headers["Retry-After"]) >= 1
        with connections(server, 100) as more:
            wait_until(lambda: all(map(shut_down, more)), "the end of all others")
            assert len(clients(server)) - 20 <= 64, "those that were told so are bounded too"
            wait_until(lambda: len(clients(server)) <= 20, "the end of waiting for them to close")
        wires[7].close()
        wait_until(lambda: server.client().request("GET", "/health").status == 200, "room for another")


def test_the_connection_that_is_idle_for_longest_makes_room_for_a_new_one(start):
    server = start("--test-mode", "--workers", "1", "--max-connections", "20", token=ZERO_TOKEN)
    with connections(server, 10, SUBSCRIBE) as busy, connections(server, 10, Health.REQUEST) as idle:
        def answered():
            client = server.client()
            reply = client.request("GET", "/health")
            client.close()
            return reply.status == 200

        wait_until(answered, "an answer to a new client")
        assert [shut_down(wire) for wire in idle] == [True] + [False] * 9
        assert not any(map(shut_down, busy))


# Descriptors


@pytest.fixture
def limited(folder, monkeypatch):
    """Makes servers start with these limits of open files."""
    program = store.MILLRACE

    def limit(soft, hard):
        script = folder + "/millrace"
        with open(script, "w") as file:
            file.write(f'#!/bin/sh\nulimit -Sn {soft} && ulimit -Hn {hard} && exec "{program}" "$@"\n')
        os.chmod(script, 0o755)
        monkeypatch.setattr(store, "MILLRACE", script)

    return limit


def test_the_limit_of_open_files_is_raised_to_what_the_connections_need(limited, start):
    limited(100, 5000)
    server = start("--test-mode", "--workers", "2", "--max-connections", "1000", token=ZERO_TOKEN)
    soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    assert 2 * 1000 < soft < hard == 5000
    allow_files(1000)
    with connections(server, 600, Health.REQUEST):
        assert server.client().write("s")["position"] == 0


def test_clients_never_take_the_descriptors_that_postgres_needs(limited, start):
    limited(400, 400)
    server = start("--test-mode", "--workers", "1", token=ZERO_TOKEN)
    assert "open files are limited to 400" in server.text
    client = server.client()
    client.write("s")
    connection = server.postgres()
    with connections(server, 240, SUBSCRIBE, answered=False):
        wait_until(lambda: server.client().request("GET", "/health").status == 503, "the limit")
        sql(
            connection,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        assert client.write("s")["position"] == 1
        assert client.call("stream.version", "s") == 1
    connection.close()
    assert "cannot accept" not in server.text


def test_without_descriptors_the_server_accepts_no_client_and_neither_spins_nor_ends(start):
    server = start("--test-mode", "--workers", "1", token=ZERO_TOKEN)
    client = server.client()
    client.write("s")
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (files(server), limits[1]))
    with connections(server, 50, Health.REQUEST, answered=False) as wires:
        wait_until(lambda: "cannot accept" in server.text, "a word in the log")
        began, before = time.monotonic(), cpu_seconds(server)
        while time.monotonic() - began < 1.5:
            assert client.write("s")
            time.sleep(0.05)
        assert cpu_seconds(server) - before < 0.4
        assert server.text.count("cannot accept") == 1
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
        assert all(wire.recv(4096).startswith(b"HTTP/1.1 200") for wire in wires)


# Bytes


def test_requests_that_would_take_too_much_memory_are_refused_and_others_go_on(start):
    server = start("--test-mode", "--workers", "1", "--buffer-bytes", "4M", "--max-body", "1900k", token=ZERO_TOKEN)
    client = server.client()
    client.write("s")
    before = server.memory()
    # A megabyte each; the last byte never comes.
    message = '["stream.write","large",{"type":"T","data":{"text":"%s"}}]' % ("x" * MB)
    with connections(server, 40) as wires:
        def send(wire):
            try:
                wire.sendall(post(message)[:-1])
            except ConnectionError:
                pass

        with ThreadPoolExecutor(40) as pool:
            list(pool.map(send, wires))
        refused = []
        for wire in wires:
            wire.settimeout(0.2)
            try:
                refused.append(wire.recv(4096))
            except (TimeoutError, ConnectionResetError):
                pass
        assert len(refused) > 30
        for answer in refused:
            assert answer.startswith(b"HTTP/1.1 503 ") and b"Retry-After: " in answer and b'"OVERLOADED"' in answer
        assert client.write("s")["position"] == 1, "a small one"
        assert growth(server, before) < 12
    wait_until(lambda: client.post(message).status == 200, "room for a large one")
    assert client.call("stream.version", "large") == 0


def test_clients_that_do_not_read_are_let_go_when_their_answers_take_too_much_memory(start):
    server = start("--test-mode", "--workers", "1", "--buffer-bytes", "4M", "--max-body", "1900k", token=ZERO_TOKEN)
    client = server.client()
    for _ in range(16):  # more than the kernel takes for a client
        client.write("s", {"text": "x" * 500_000})
    before = server.memory()
    wires = []
    try:
        for _ in range(200):
            wires.append(socket.socket())
            wires[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wires[-1].connect(("127.0.0.1", server.port))
            wires[-1].sendall(post('["stream.get","s"]'))
        assert len(client.call("stream.get", "s")) == 16, "one that reads"
        wait_until(lambda: files(server) < 60, "the end of most")
        assert growth(server, before) < 80
        assert len(client.call("stream.get", "s")) == 16
    finally:
        for wire in wires:
            wire.close()


def test_a_client_that_does_not_read_a_long_answer_costs_a_page_of_it(start):
    server = start("--test-mode", "--workers", "1", token=ZERO_TOKEN)
    client = server.client()
    for _ in range(10):
        client.call("stream.append", "s", [{"type": "T", "data": {"text": "x" * 1000}}] * 3000)
    before = server.memory()
    with connections(server, 5, post('["stream.get","s",{"batchSize":-1}]')):
        assert len(client.call("stream.get", "s", {"batchSize": -1})) == 30000, "one that reads, behind them"
        assert growth(server, before) < 30, "not 30 MB each"


def test_results_of_batches_that_take_too_much_memory_are_overloaded_and_small_ones_are_not(start):
    server = start("--test-mode", "--workers", "1", "--buffer-bytes", "4M", "--max-body", "1900k", token=ZERO_TOKEN)
    client = server.client()
    client.write("s", {"text": "x" * 300_000})

    def ask(count):
        calls = [{"jsonrpc": "2.0", "id": n, "method": "stream.get", "params": ["s"]} for n in range(count)]
        write = {"jsonrpc": "2.0", "id": count, "method": "stream.write", "params": ["t", {"type": "T", "data": {}}]}
        return client.post([*calls, write]).json

    for _ in range(5):
        assert all("result" in answer for answer in ask(5)), "1.5 MB"
    answers = ask(30)
    assert {answer["error"]["data"]["code"] for answer in answers if "error" in answer} == {"OVERLOADED"}
    assert sum("result" in answer for answer in answers) >= 10 and "result" in answers[-1]
    assert all("result" in answer for answer in ask(5)), "afterwards"


def test_a_client_that_reads_nothing_of_its_answer_is_cut_off_after_a_while(start):
    server = start("--test-mode", "--workers", "1", "--idle-timeout", "1", token=ZERO_TOKEN)

    client = server.client()
    for _ in range(16):  # more than the kernel takes for a client
        client.write("s", {"text": "x" * 500_000})
    assert client.call("stream.version", "s") == 15
    client.close()
    wait_until(lambda: not clients(server), "the end of the other connection")
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.connect(("127.0.0.1", server.port))
        wire.sendall(post('["stream.get","s"]'))
        wait_until(lambda: len(clients(server)) == 1, "a new connection")
        wait_until(lambda: not clients(server), "its end")
        # What the kernel had taken already still comes, as fast as it is read, and then the end.
        wait_until(lambda: shut_down(wire), "the end on the client's side")


def test_a_client_that_waits_for_us_is_not_cut_off_however_long_it_takes(start):
    server = start("--test-mode", "--workers", "1", "--idle-timeout", "1", token=ZERO_TOKEN)
    client = server.client()
    client.write("s")
    holder = server.postgres()
    holder.autocommit = False
    sql(holder, "SELECT millrace.append('s', 'Held', '{}')")
    with ThreadPoolExecutor(1) as pool, server.connect() as idle:
        answer = pool.submit(client.write, "s")
        wait_until(lambda: shut_down(idle), "the end of an idle connection")
        with server.connect() as idle:
            wait_until(lambda: shut_down(idle), "the end of one that is younger than the request")
        holder.commit()
        holder.close()
        assert answer.result()["position"] == 2
