"""Records to import, and clients of /import: a whole body at once, and one that sends piece by piece."""
import http.client
import json
import re

from store import new_id

DONE = re.compile(rb'data: \{"done":true,"imported":(\d+),"elapsed":"\d+\.\d+s"\}\n\n')


def record(n, **fields):
    """A record as /import reads it, with what `fields` changes; a field that is ... is left out."""
    made = {
        "id": new_id(), "stream": "imported-1", "type": "Imported", "pos": n - 1, "gpos": n, "data": {"n": n},
        "meta": None, "time": "2024-01-02T03:04:05.678901Z"
    }
    made.update(fields)
    return {key: value for key, value in made.items() if value is not ...}


def line(n, **fields):
    """A record as a line of a body, without its end."""
    return json.dumps(record(n, **fields), ensure_ascii=False)


def lines(first, last, **fields):
    """The records of these numbers, each with its end of line."""
    return "".join(line(n, **fields) + "\n" for n in range(first, last + 1))


def post(client, body, path="/import", **headers):
    """Sends a whole body; in the headers' names _ stands for -."""
    body = body.encode() if isinstance(body, str) else body
    return client.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})


def events(reply):
    """The events of a reply, whose framing is checked."""
    assert reply.status == 200 and reply.headers["Content-Type"] == "text/event-stream"
    body = reply.body if isinstance(reply.body, bytes) else reply.body.encode()
    assert body.endswith(b"\n\n") and b"\r" not in body and b"\n\n\n" not in body and not body.startswith(b"\n")
    parts = body[:-2].split(b"\n\n")
    assert all(part.startswith(b"data: {") and b"\n" not in part for part in parts)
    return [json.loads(part[6:]) for part in parts]


def imported(client, body, path="/import", **headers):
    """Imports what must succeed, and returns how many messages that were."""
    found = events(post(client, body, path, **headers))
    assert found[-1].get("done") is True, found[-1]
    return found[-1]["imported"]


def refused(client, body, path="/import", **headers):
    """Imports what must fail, and returns the last event."""
    found = events(post(client, body, path, **headers))
    assert set(found[-1]) == {"error", "message", "line"} and found[-1]["message"], found[-1]
    assert not any("error" in event or "done" in event for event in found[:-1])
    return found[-1]


def stored(client, **options):
    """All messages of the namespace, as category.get answers them."""
    return client.call("category.get", "", {"batchSize": -1, **options})


class Wire:
    """A raw connection that speaks chunks both ways."""

    def __init__(self, server, token):
        self.socket = server.connect()
        self.stream = self.socket.makefile("rb")
        self.token = token

    def start(self, *headers, path="/import"):
        head = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.token}", *headers, "", ""]
        self.socket.sendall("\r\n".join(head).encode())

    def chunk(self, data):
        data = data.encode() if isinstance(data, str) else data
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self):
        self.socket.sendall(b"0\r\n\r\n")

    def head(self):
        status = int(self.stream.readline().split()[1])
        return status, http.client.parse_headers(self.stream)

    def chunks(self):
        """The reply's chunks, each as it was framed."""
        while True:
            size = int(self.stream.readline(), 16)
            data = self.stream.read(size)
            assert self.stream.read(2) == b"\r\n"
            if size == 0:
                return
            yield data

    def close(self):
        self.socket.close()
