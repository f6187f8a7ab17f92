"""Crowds of clients, and what to look at meanwhile."""
import contextlib
import os
import resource
import socket
import threading
import time
from pathlib import Path


def allow_files(count):
    """Raises the limit of open files of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= count, f"open files are limited to {hard} (ulimit -Hn), {count} are needed"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


def growth(server, before):
    """How much more than before it held at most, MB.  The sanitizers keep what was freed, and say nothing about
    that."""
    return 0 if "ASAN_OPTIONS" in os.environ else server.memory("VmHWM") - before


def cpu_seconds(server):
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


@contextlib.contextmanager
def connections(server, count, request=b"", answered=True):
    """Many connections; each sends the request, if there is one, and reads the answer's beginning before the next is
    made.

    All requests at once would be the crowd that --buffer-bytes rejects, as soon as the server is slower than we are.
    """
    wires = []
    try:
        for _ in range(count):
            wires.append(server.connect())
            if request:
                wires[-1].sendall(request)
            if request and answered:
                beginning = wires[-1].recv(65536)
                assert beginning.startswith(b"HTTP/1.1 200"), beginning
        yield wires
    finally:
        for wire in wires:
            wire.close()


class Health(threading.Thread):
    """Asks /health all the time, on a connection of its own and, in turns, on a new one."""

    REQUEST = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"

    def __init__(self, server):
        super().__init__()
        self.server, self.stopped, self.seconds, self.failures = server, False, [], []

    def __enter__(self):
        self.kept = self.server.connect()
        self.start()
        return self

    def __exit__(self, *_):
        self.stopped = True
        self.join()
        self.kept.close()

    def run(self):
        while not self.stopped:
            for new in (False, True):
                self.ask(new)
            time.sleep(0.01)

    def ask(self, new):
        began = time.monotonic()
        try:
            wire = self.server.connect() if new else self.kept
            wire.settimeout(30)
            wire.sendall(self.REQUEST)
            answer = wire.recv(4096)
            if new:
                wire.close()
            if not answer.endswith(b'{"status":"ok"}'):
                self.failures.append(answer)
        except OSError as error:
            self.failures.append(error)
        self.seconds.append(time.monotonic() - began)

    def quantile(self, part):
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(part * len(self.seconds)))]


def shut_down(wire):
    """Whether the other side has closed."""
    wire.settimeout(0)
    try:
        while part := wire.recv(65536):
            pass
        return part == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        wire.settimeout(socket.getdefaulttimeout())
