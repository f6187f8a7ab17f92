"""What the README's configuration of nginx changes on the way; skipped where there is no nginx (test/deps.sh
--proxies)."""
import http.client
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from store import new_id, wait_until

NGINX = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
README = Path(__file__).parents[2] / "sidecar" / "README.md"

pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx")


def configuration(upstream, port, folder):
    """The README's text, in clear and on the test's ports."""
    text = re.search(r"For nginx, .*?\n\n(    upstream .*?\n    }\n)\n", README.read_text(), re.S).group(1)
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{upstream}")
    text = re.sub(r"listen 443 ssl;.*", f"listen 127.0.0.1:{port};", text)
    paths = "".join(f"    {what}_temp_path {folder}/{what};\n"
                    for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return (f"daemon off;\npid {folder}/pid;\nerror_log {folder}/log;\nevents {{}}\nhttp {{\n"
            f"    access_log off;\n{paths}{text}}}\n")


@pytest.fixture
def nginx(server, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    conf = Path(folder, "nginx.conf")
    conf.write_text(configuration(server.port, port, folder))
    with subprocess.Popen([NGINX, "-e", f"{folder}/log", "-p", folder, "-c", conf]) as process:
        def answers():
            with socket.socket() as one:
                return one.connect_ex(("127.0.0.1", port)) == 0
        try:
            wait_until(answers, "nginx")
            yield port
        finally:
            process.terminate()


def test_an_import_of_many_megabytes_passes(client, nginx):
    client.call("stream.version", "x")
    record = '{"id":"%s","stream":"i-1","type":"T","pos":%d,"gpos":%d,"data":{"x":"%s"},"meta":null,' \
             '"time":"2024-01-02T03:04:05Z"}\n'
    body = "".join(record % (new_id(), n, n + 1, "x" * 4000) for n in range(5000)).encode()
    assert len(body) > 16 << 20
    connection = http.client.HTTPConnection("127.0.0.1", nginx, timeout=120)
    connection.request("POST", "/import", body, {"Authorization": f"Bearer {client.token}"})
    events = connection.getresponse().read()
    connection.close()
    assert b'"done":true,"imported":5000,' in events, events[-300:]
