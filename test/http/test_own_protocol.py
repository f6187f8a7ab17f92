"""Appends and reads reach Postgres without libpq where they can, and by libpq where they can't: all is the same."""
import random
import shutil
import socket
import struct
import threading
from pathlib import Path

import pytest
from store import RpcError, ZERO_TOKEN, new_id, sql

SYNC = b"S\0\0\0\x04"
CALL = b"F\0\0\0\x10\0\0\x07\xea\0\1\0\1\0\0\0\1"  # of pg_backend_pid()
DESCRIBE = b"D\0\0\0\x06P\0"  # of what is answered, which only libpq asks for


class Relay:
    """Passes bytes on between clients and a cluster's socket, from the server `step` bytes at a time."""

    def __init__(self, cluster, step=65536, hangs_up_on=None):
        self.target, self.step, self.hangs_up_on = f"{cluster.folder}/.s.PGSQL.5432", step, hangs_up_on
        self.hung_up, self.sent, self.sockets = 0, [], []  # what each connection sent
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
        sent = bytearray()
        self.sent.append(sent)
        while data := self._receive(client):
            sent += data
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

    def sent_about(self, stream):
        """What each connection sent from where it first named the stream: others may still be set up by libpq."""
        return [sent[sent.index(stream.encode()):] for sent in self.sent if stream.encode() in sent]

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


def message(letter, body):
    return letter + struct.pack(">I", 4 + len(body)) + body


BETWEEN = (message(b"N", b"SNOTICE\0C00000\0M" + 7_000 * b"long " + b"\0\0") + message(b"S", b"application_name\0x\0") +
           message(b"A", struct.pack(">I", 1) + b"channel\0payload\0"))
ENDED = message(b"E", b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0")


class Meddler(Relay):
    """Hands each message of the server, from when the session is ready, to a function that says what to pass on in its
    place, and whether the connection goes on."""

    def __init__(self, cluster, meddle, **options):
        self.meddle = meddle
        super().__init__(cluster, **options)
        self.database += " sslmode=disable gssencmode=disable"

    def _to_client(self, server, client):
        left, ready = b"", False
        while data := self._receive(server):
            left += data
            while len(left) > 5 and len(left) > (size := struct.unpack(">I", left[1:5])[0]):
                one, left = left[:1 + size], left[1 + size:]
                passed, goes_on = self.meddle(one) if ready else (one, True)
                ready = ready or one[:1] == b"Z"
                try:
                    for at in range(0, len(passed), self.step):
                        client.sendall(passed[at:at + self.step])
                except OSError:
                    goes_on = False
                if not goes_on:
                    self._end(client, server)
                    return
        self._end(client, server)


@pytest.fixture
def relay(shared_cluster):
    made = []

    def make(meddle=None, **options):
        made.append(Meddler(shared_cluster, meddle, **options) if meddle else Relay(shared_cluster, **options))
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
    sent = through.sent_about(use(serve(start, through.database).client()))
    assert any(CALL in each for each in through.sent)
    assert len(sent) == 2 and not any(DESCRIBE in each for each in sent), "appends and reads have one each"


def test_what_comes_between_answers_is_passed_over(relay, start):
    through = relay(lambda one: (BETWEEN + one, True), step=5000)
    sent = through.sent_about(use(serve(start, through.database).client()))
    assert len(sent) == 2 and not any(DESCRIBE in each for each in sent)


class Spoiler:
    """Lets most of what is answered to statements through, and spoils it in each way in which a connection may end."""

    WAYS = ("cut", "ended", "length", "letter")

    def __init__(self, seed):
        self.dice, self.lock, self.done = random.Random(seed), threading.Lock(), set()

    def __call__(self, one):
        with self.lock:
            how = self.dice.choice(self.WAYS + ("passed",) * 100) if one[:1] in b"2DCV" else "passed"
            self.done.add(how)
            if how == "cut":
                return one[:self.dice.randrange(len(one))], False
            if how == "ended":
                return ENDED, False
            if how == "length":
                one = one[:1] + struct.pack(">I", self.dice.choice([0, 3, 1 << 31, (1 << 32) - 1])) + one[5:]
            if how == "letter":
                one = self.dice.choice([b"1", b"G", b"K", b"R", b"d", b"v", b"\xff"]) + one[1:]
            return one, True


def write_all(client, stream, stored, count):
    """Appends by ids of one's own and the version that the one before has left, again where it is not known."""
    for position in range(count):
        id, answer = new_id(), None
        while answer is None:
            try:
                answer = client.write(stream, {"n": position * 7 % 3000 * "x"}, id=id, expectedVersion=position - 1)
            except RpcError as error:
                assert error.status == 503
        assert answer["position"] == position
        stored.append((id, stream, position))


def test_what_is_acknowledged_is_stored_once_however_answers_end(shared_cluster, relay, start):
    spoiler, stored, spoils = Spoiler(1), [], threading.Event()
    server = serve(start, relay(lambda one: spoiler(one) if spoils.is_set() else (one, True)).database)
    streams = [f"s-{new_id()}" for _ in range(4)]
    threads = [threading.Thread(target=write_all, args=(server.client(), stream, stored, 60)) for stream in streams]
    spoils.set()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stored) == 4 * 60 and spoiler.done > set(spoiler.WAYS), spoiler.done
    rows = sql(shared_cluster.connect(), "SELECT id::text, stream_name, position FROM millrace_default.messages "
                                         "WHERE stream_name = ANY (%s)", streams)
    assert sorted(rows) == sorted(stored)


@pytest.mark.parametrize("unanswered", [SYNC, CALL])
def test_where_a_sync_alone_or_a_call_is_not_answered_libpq_does_all(relay, start, unanswered):
    through = relay(hangs_up_on=unanswered)
    client = serve(start, through.database).client(timeout=30)
    sent = through.sent_about(use(client))
    assert through.hung_up >= 1, "it was tried without libpq first"
    assert any(DESCRIBE in each for each in sent)


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
