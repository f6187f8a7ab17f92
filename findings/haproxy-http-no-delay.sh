#!/bin/bash
# HAProxy 2.6 (Debian 12: 2.6.12-1+deb12u4) holds back a small chunk of an answer for 200 ms, with its default
# settings.
#
# First guess: it passes at once what comes, as it does not buffer answers; a server-sent event through it is
#   as fast as without it.
# Behaviour: an event that comes alone, in a chunk of its own, arrives 200 ms later: HAProxy expects more of
#   the answer, and tells the kernel so (MSG_MORE), which then waits for a full segment, 200 ms at most.
#   `option http-no-delay` ends that.
# Output seen (ms of the median of nine events, each 0.5 s behind the one before, rounded to 100):
#   by default: 200
#   with http-no-delay: 0
# Consequence: a measurement of the latency of events behind HAProxy measures this.
#
# Needs haproxy and Python.  Exit code 1: it is no longer so.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat >try.py <<'END_PY'
import http.client
import os
import socket
import statistics
import subprocess
import threading
import time

EVENTS, PAUSE = 9, 0.5


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answer(listener, sent):
    """One answer, whose chunks come one by one."""
    wire, _ = listener.accept()
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wire.recv(65536)
    wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for n in range(EVENTS):
        time.sleep(PAUSE)
        sent.append(time.monotonic())
        wire.sendall(b"9\r\ndata: %d\n\n\r\n" % n)
    wire.sendall(b"0\r\n\r\n")
    wire.close()


def delay(option):
    listener, port = socket.create_server(("127.0.0.1", 0)), free_port()
    with open("haproxy.cfg", "w") as file:
        file.write(f"""defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    {option}
listen events
    bind 127.0.0.1:{port}
    server one 127.0.0.1:{listener.getsockname()[1]}
""")
    proxy = subprocess.Popen(["haproxy", "-db", "-q", "-f", "haproxy.cfg"],
                             env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"})
    try:
        sent, seen, client = [], [], http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        threading.Thread(target=answer, args=(listener, sent), daemon=True).start()
        for _ in range(500):
            try:
                client.connect()
                break
            except OSError:
                time.sleep(0.02)
        client.request("GET", "/")
        response = client.getresponse()
        while response.read1(65536):
            seen.append(time.monotonic())
        return round(1000 * statistics.median(later - earlier for earlier, later in zip(sent, seen)), -2)
    finally:
        proxy.kill()
        proxy.wait()


print(f"by default: {delay(''):.0f}")
print(f"with http-no-delay: {abs(delay('option http-no-delay')):.0f}")
END_PY
timeout 120 python3 try.py | tee seen
sed -n '/^# Output seen/,/^# Consequence/s/^#   //p' "$here" | diff - seen
