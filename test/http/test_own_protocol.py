"""Appends and reads reach Postgres without libpq where they can, and by libpq where they can't: all is the same."""
import shutil
import socket
import threading
from pathlib import Path

import pytest
from store import ZERO_TOKEN, new_id

SYNC = b"S\0\0\0\x04"
DESCRIBE = b"D\0\0\0\x06P\0"  # of what is answered, which only libpq asks for


class Relay:
    """Passes bytes on between clients and a cluster's socket, from the server `step` bytes at a time."""

    def __init__(self, cluster, step=65536, hangs_up_on=None):
        self.target, self.step, self.hangs_up_on = f"{cluster.folder}/.s.PGSQL.5432", step, hangs_up_on
        self.hung_up, self.sent, self.sockets = 0, bytearray(), []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.database = f"host=127.0.0.1 port={self.listener.getsockname()[1]} user=tester dbname=postgres"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.target)
            self.sockets += [client, server]
            threading.Thread(target=self._to_server, args=(client, server), daemon=True).start()
            threading.Thread(target=self._to_client, args=(server, client), daemon=True).start()

    def _to_server(self, client, server):
        while data := self._receive(client):
            self.sent += data
            if data == self.hangs_up_on:
                self.hung_up += 1
                break
            try:
                server.sendall(data)
            except OSError:
                break
        self._end(client, server)

    def _to_client(self, server, client):
        while data := self._receive(server):
            try:
                for at in range(0, len(data), self.step):
                    client.sendall(data[at:at + self.step])
            except OSError:
                break
        self._end(client, server)

    @staticmethod
    def _receive(source):
        try:
            return source.recv(65536)
        except OSError:
            return b""

    @staticmethod
    def _end(*sockets):
        for each in sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self._end(self.listener, *self.sockets)
        for each in (self.listener, *self.sockets):
            each.close()


@pytest.fixture
def relay(shared_cluster):
    made = []

    def make(**options):
        made.append(Relay(shared_cluster, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def serve(start, database):
    return start("--database", database, "--token", ZERO_TOKEN, "--workers", "1", "--read-connections", "1",
                 token=ZERO_TOKEN)


def use(client):
    """What both kinds of statements answer: values, none, many, large ones, errors, and again values."""
    stream, id = "s-" + new_id(), new_id()
    assert client.write(stream, id=id)["position"] == 0
    refused = client.refused("stream.write", stream, {"type": "A", "data": {}}, {"expectedVersion": 7})
    assert refused.code == "STREAM_VERSION_CONFLICT"
    assert client.call("stream.write", stream, {"type": "B", "data": {"text": "x" * 300_000}})["position"] == 1
    messages = client.call("stream.get", stream)
    assert [message[2] for message in messages] == [0, 1] and messages[0][0] == id
    assert len(messages[1][4]["text"]) == 300_000
    assert client.call("stream.last", "s-" + new_id()) is None
    assert client.call("stream.version", stream) == 1
    assert client.refused("query.get", [{"tag": 1}]).code == "INVALID_REQUEST", "which Postgres says"
    assert client.call("message.get", id)[0] == id
    return stream


def test_an_answer_is_read_however_it_is_cut(relay, start):
    through = relay(step=7)
    use(serve(start, through.database).client())
    assert b"millrace_append" in through.sent and DESCRIBE not in through.sent.split(b"millrace_append")[-1]


def test_where_a_sync_alone_is_not_answered_libpq_does_all(relay, start):
    through = relay(hangs_up_on=SYNC)
    client = serve(start, through.database).client(timeout=30)
    use(client)
    assert through.hung_up >= 2, "appends and reads tried it without libpq first"
    assert DESCRIBE in bytes(through.sent).split(b"millrace_append\0")[-1]


def test_libpq_encrypts(cluster, certificate, folder, start):
    for name, path in (("server.crt", certificate.file), ("server.key", certificate.key)):
        Path(shutil.copy(path, f"{folder}/{name}")).chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    cluster.settings += ["listen_addresses=127.0.0.1", f"port={port}", "ssl=on", f"ssl_cert_file={folder}/server.crt",
                         f"ssl_key_file={folder}/server.key"]
    cluster.stop()
    cluster.start()
    client = serve(start, f"host=127.0.0.1 port={port} user=tester dbname=postgres sslmode=require").client()
    use(client)
