"""A client of /subscribe that is read by hand, and what its tests append."""
import json
import re
import socket
import time
from urllib.parse import urlencode

from store import sql

READY = b": ready\n\n"
PING = b": ping\n"


def poke(stream, position, global_position):
    """The bytes of a poke."""
    name = json.dumps(stream, ensure_ascii=False)
    data = f'{{"stream":{name},"position":{position},"globalPosition":{global_position}}}'
    return f"event: poke\ndata: {data}\n\n".encode()


class Subscriber:
    """A connection to /subscribe, read when its test asks for it."""

    def __init__(self, server, token=None, headers=None, version="1.1", method="GET", receive_buffer=None,
                 **parameters):
        query = urlencode({**parameters, **({"token": token} if token else {})})
        lines = [
            f"{method} /subscribe?{query} HTTP/{version}", "Host: test",
            *(f"{k}: {v}" for k, v in (headers or {}).items())
        ]
        self.raw, self.ended = bytearray(), False
        self.chunks, self.parsed = [], 0  # the complete chunks so far; the last is empty when the reply ended
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", server.port))
        self.socket = server.wrap(self.socket)
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def close(self):
        self.socket.close()

    def read(self, seconds=30):
        """Reads what there is, waiting for the first byte of it."""
        self.socket.settimeout(seconds)
        got = self.socket.recv(1 << 20)
        self.raw += got
        self.ended = self.ended or not got
        if "chunked" in self.head:
            self._parse_chunks()

    def _parse_chunks(self):
        self.parsed = self.parsed or self.raw.index(b"\r\n\r\n") + 4
        while (line := self.raw.find(b"\r\n", self.parsed)) >= 0:
            end = line + 2 + int(self.raw[self.parsed:line], 16)
            if len(self.raw) < end + 2:
                return
            assert self.raw[end:end + 2] == b"\r\n"
            self.chunks.append(bytes(self.raw[line + 2:end]))
            self.parsed = end + 2

    def read_until(self, condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            assert not self.ended, f"ended too early: {self.raw[-500:]}"
            try:
                self.read(max(0.01, end - time.monotonic()))
            except (TimeoutError, socket.timeout):
                raise AssertionError(f"waited {seconds} s in vain, last: {self.raw[-500:]}")
        return self

    def read_to_end(self, seconds=30):
        end = time.monotonic() + seconds
        while not self.ended:
            self.read(max(0.01, end - time.monotonic()))
        return self

    @property
    def head(self):
        end = self.raw.find(b"\r\n\r\n")
        return self.raw[:max(end, 0)].decode()

    @property
    def body(self):
        return bytes(self.raw).partition(b"\r\n\r\n")[2]

    @property
    def events(self):
        return [chunk for chunk in self.chunks if chunk and not chunk.startswith(b":")]

    def wait_for(self, count, seconds=30):
        """Waits for so many events and returns them all."""
        return self.read_until(lambda: len(self.chunks) >= count and len(self.events) >= count, seconds).events

    def ready(self):
        return self.read_until(lambda: READY in self.raw)

    def ends(self, seconds=5):
        """Waits for the last chunk."""
        return self.read_until(lambda: self.chunks and self.chunks[-1] == b"", seconds)

    def positions(self):
        return global_positions(self.raw)


def global_positions(text):
    return [int(number) for number in re.findall(rb'"globalPosition":(\d+)', text)]


def append(client, stream, count, data=None):
    """Appends messages, a thousand at a time."""
    for done in range(0, count, 1000):
        client.call("stream.append", stream, [{"type": "T", "data": data or {}}] * min(1000, count - done))


def connect_to_namespace(server):
    """A connection to the embedded Postgres whose appends go to the namespace that was created last."""
    connection = server.postgres()
    name = sql(connection, "SELECT name FROM millrace.namespaces ORDER BY created_at DESC LIMIT 1")[0][0]
    sql(connection, "SELECT set_config('millrace.namespace', %s, false)", name)
    return connection
