"""Connections over TLS: clients that do otherwise, the end, bytes that wait, and the commands."""
import http.client
import json
import os
import socket
import ssl
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

from certificates import Authority
from store import MILLRACE, new_id, sql, token_for, wait_until
from tls_client import HEALTH, MESSAGE, connect, is_served


@pytest.fixture
def client(secret):
    client = secret.client(token_for("tls " + new_id()))
    yield client
    client.close()


# Clients that do otherwise


def test_plain_http_is_told_that_this_is_https(secret):
    connection = http.client.HTTPConnection("127.0.0.1", secret.port, timeout=30)
    connection.request("POST", "/rpc", b"x" * 100000)
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]["message"]) == (400,
                                                                                  "this port speaks https, not http")
    assert connection.sock is None or connection.sock.recv(10) == b""


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x01\x00\x04abcd", b"\x00" * 1000, b"SSH-2.0-x\r\n", b"\xfe" * 500, b""])
def test_what_is_no_tls_is_closed_and_harms_no_other_connection(secret, garbage):
    with socket.create_connection(("127.0.0.1", secret.port), timeout=30) as wire:
        try:
            wire.sendall(garbage)
            wire.shutdown(socket.SHUT_WR)
            while wire.recv(1000):
                pass
        except OSError:
            pass  # it was closed before all was sent
    assert is_served(secret)


def client_hello():
    """The first bytes of a handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


@pytest.mark.parametrize("first, pause", [(b"", None), (client_hello()[:100], None), (client_hello(), None),
                                          (client_hello()[:-1], 0.1)],
                         ids=["nothing", "half of it", "no answer", "byte by byte"])
def test_a_slow_handshake_is_cut_off(hasty, first, pause):
    wire = socket.create_connection(("127.0.0.1", hasty.port), timeout=10)
    began = time.monotonic()
    if pause is None:
        wire.sendall(first)
    else:
        threading.Thread(target=trickle, args=(wire, first, pause), daemon=True).start()
    try:
        while wire.recv(10000):
            pass
    except ConnectionResetError:
        pass
    assert time.monotonic() - began < 5
    wire.close()


def trickle(wire, data, pause):
    try:
        for n in range(len(data)):
            wire.sendall(data[n:n + 1])
            time.sleep(pause)
    except OSError:
        pass


def test_a_connection_too_many_is_closed_unless_another_is_idle(start, certificate):
    server = start("--test-mode", "--workers", "1", "--max-connections", "2", tls=certificate)
    first, second = connect(server), connect(server)
    for wire in first, second:
        wire.sendall(HEALTH[:10])
    with pytest.raises((OSError, ssl.SSLError)):
        connect(server)
    first.sendall(HEALTH[10:])
    assert first.recv(1000).startswith(b"HTTP/1.1 200")
    wait_until(lambda: can_connect(server), "the first one is idle for a second")
    assert first.recv(1000) == b""
    second.sendall(HEALTH[10:])
    assert second.recv(1000).startswith(b"HTTP/1.1 200")


def can_connect(server):
    try:
        return is_served(server)
    except OSError:
        return False


def test_handshakes_that_are_given_up_leave_nothing_behind(secret):
    descriptors = Path(f"/proc/{secret.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    for n in range(100):
        with socket.create_connection(("127.0.0.1", secret.port), timeout=30) as wire:
            wire.sendall(client_hello()[:n * 6])
            if n % 2:
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: len(list(descriptors.iterdir())) <= before + 2, "all descriptors to be closed")
    assert is_served(secret)


# The end of a connection


def test_the_end_is_announced(secret):
    for request in (b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"GET /health HTTP/1.0\r\n\r\n",
                    b"nonsense\r\n\r\n"):
        with connect(secret, suppress_ragged_eofs=False) as wire:
            wire.sendall(request)
            while wire.recv(1000):
                pass  # without the announcement this would be an error


def test_a_reply_that_was_cut_has_no_announced_end(start, certificate):
    server = start("--test-mode", "--workers", "1", tls=certificate)
    client = server.client()
    client.call("stream.append", "big-1", [{"type": "T", "data": {"x": "a" * 1000}}] * 30000)
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    wire = certificate.context().wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False)
    wire.sendall(f"GET /export?token={token_for('default')} HTTP/1.0\r\n\r\n".encode())
    assert wire.recv(15) == b"HTTP/1.1 200 OK"
    admin = server.postgres()
    schema = sql(admin, "SELECT schema FROM millrace.namespaces WHERE name = 'default'")[0][0]
    sql(admin, f'DROP TABLE "{schema}".messages')
    admin.close()
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        while wire.recv(1 << 20):
            pass
    wire.close()


def test_a_client_that_shut_its_side_still_gets_its_answer(secret, client):
    body = json.dumps(["stream.write", "s", MESSAGE])
    with secret.connect() as wire:
        wire.sendall(
            f"POST /rpc?token={client.token} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        wire.shutdown(socket.SHUT_WR)
        assert wire.recv(1000).startswith(b"HTTP/1.1 200")


# Bytes that wait


def test_requests_that_come_in_one_record_are_all_answered(secret, client):
    request = (f"POST /rpc?token={client.token} HTTP/1.1\r\nHost: x\r\n"
               "Content-Length: 15\r\n\r\n[\"sys.version\"]").encode()
    with secret.connect() as wire:
        wire.sendall(request * 500)  # records of 16 KiB, far more than a receive takes at once
        stream = wire.makefile("rb")
        for _ in range(500):
            assert b" 200 " in stream.readline()
            stream.read(int(http.client.parse_headers(stream)["Content-Length"]))


def test_a_request_that_comes_in_a_record_a_byte(secret, client):
    body = json.dumps(["stream.write", "s", MESSAGE])
    with secret.connect() as wire:
        head = f"POST /rpc?token={client.token} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        for byte in (head + body).encode():
            wire.sendall(bytes([byte]))
        assert wire.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_long_answer_reaches_a_slow_reader_whole(secret, client):
    text = "".join(chr(33 + n % 90) for n in range(999_983))
    for n in range(12):
        client.write("long", {"n": n, "text": text})
    raw = socket.create_connection(("127.0.0.1", secret.port), timeout=30)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20000)
    wire = secret.tls.context().wrap_socket(raw, server_hostname="localhost")
    body = b'["stream.get","long",{"batchSize":-1}]'
    wire.sendall(f"POST /rpc?token={client.token} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() +
                 body)
    time.sleep(0.5)  # the socket is full by now, in the middle of a record
    response = http.client.HTTPResponse(wire)
    response.begin()
    messages = json.loads(response.read())
    assert [message[4]["n"] for message in messages] == list(range(12))
    assert all(message[4]["text"] == text for message in messages)
    wire.close()


def test_a_long_request_is_taken_whole(client):
    text = "x" * 20_000_000
    client.write("long", {"text": text})
    assert client.call("stream.last", "long")[4]["text"] == text


def test_an_idle_connection_keeps_no_buffers(start, certificate):
    server = start("--test-mode", "--workers", "1", tls=certificate)
    if "ASAN_OPTIONS" in os.environ:
        pytest.skip("the sanitizer keeps what was freed")

    context = certificate.context()

    def open_some(count):
        wires = [connect(server, context) for _ in range(count)]
        for wire in wires:
            wire.sendall(HEALTH)
            assert wire.recv(1000).startswith(b"HTTP/1.1 200")
        return wires

    wires = open_some(100)
    before = server.memory()
    wires += open_some(300)
    print("kB for an idle TLS connection:", (server.memory() - before) * 1024 / 300)
    assert (server.memory() - before) * 1024 < 300 * IDLE_KB
    for wire in wires:
        wire.close()


# OpenSSL 3.0: 20, with the buffers 54; 3.6: 34, of which 6 for keys that withstand quantum computers, and 56.
IDLE_KB = 44


# The commands


def run(*arguments, input=b"", token=None):
    env = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE")}
    if token is not None:
        env["MILLRACE_TOKEN"] = token
    done = subprocess.run([MILLRACE, *map(str, arguments)], input=input, capture_output=True, env=env, timeout=60)
    return done.returncode, done.stdout, done.stderr.decode()


def test_export_and_import_speak_https(secret, client):
    client.call("stream.append", "s-1", [{"type": "T", "data": {"n": n, "x": "y" * 300}} for n in range(20000)])
    trust = ["--ca-file", secret.tls.authority]
    for host in ("localhost", "127.0.0.1"):
        code, export, said = run("export", "--url", f"https://{host}:{secret.port}", *trust, token=client.token)
        assert (code, said, export.count(b"\n")) == (0, "", 20000)
    other = token_for("tls " + new_id())
    secret.client(other).call("stream.version", "x")  # makes the namespace
    assert run("import", "--url", f"https://localhost:{secret.port}/", *trust, input=export,
               token=other) == (0, b"", "")
    assert run("export", "--url", f"https://localhost:{secret.port}", *trust, token=other)[1] == export


def test_the_commands_trust_no_server_that_is_not_vouched_for(secret, start, authority, tmp_path):
    elsewhere = start("--test-mode", tls=authority.issue("elsewhere", names="DNS:elsewhere.example"))
    stranger = Authority(tmp_path).root.file
    for arguments, reason in (([f"https://localhost:{secret.port}"], "unable to get local issuer certificate"),
                              ([f"https://localhost:{secret.port}", "--ca-file",
                                stranger], "unable to get local issuer certificate"),
                              ([f"https://localhost:{elsewhere.port}", "--ca-file",
                                authority.root.file], "hostname mismatch"),
                              ([f"https://127.0.0.1:{elsewhere.port}", "--ca-file",
                                authority.root.file], "IP address mismatch"),
                              ([f"https://localhost:{secret.port}", "--ca-file", tmp_path / "none"],
                               "No such file"), ([f"https://localhost:{secret.port}", "--ca-file",
                                                  authority.root.key], "no PEM certificate")):
        code, out, said = run("export", "--url", *arguments, token=token_for("x"))
        wrong = 2 if reason in ("No such file", "no PEM certificate") else 1
        assert (code, out) == (wrong, b"") and reason in said, said
        assert said.count("\n") == 1
        code, _, said = run("import", "--url", *arguments, input=b"{}\n", token=token_for("x"))
        assert code == wrong and reason in said


def test_a_reply_whose_end_is_not_announced_is_not_taken_for_whole(certificate, tmp_path):
    """Without a length only the end of the connection can tell the end, and that anybody on the way can make."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file, certificate.key)
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(announced):
        raw, _ = listener.accept()
        with context.wrap_socket(raw, server_side=True) as wire:
            wire.recv(10000)
            wire.sendall(b"HTTP/1.1 200 OK\r\n\r\n{}\n")
            if announced:
                wire.unwrap()

    for announced, code in ((True, 0), (False, 1)):
        thread = threading.Thread(target=answer, args=(announced,), daemon=True)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        got, _, said = run("export", "--url", url, "--ca-file", certificate.authority, "--output", tmp_path / str(code),
                           token=token_for("x"))
        assert got == code, said
        assert (tmp_path / str(code)).exists() == announced
        thread.join(30)
    listener.close()
