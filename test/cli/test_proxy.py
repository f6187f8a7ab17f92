"""The commands by way of an HTTP proxy, which http_proxy, https_proxy and no_proxy name."""
import base64
import os
import select
import socket
import subprocess

import pytest

from store import MILLRACE, Listener, new_id, token_for


class Proxy(Listener):
    """Takes whole URLs and CONNECT, whatever host they name, to one port of this machine; keeps the heads that it
    got."""

    def __init__(self, target, refuse=b""):
        self.target, self.refuse, self.heads = target, refuse, []
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"

    def serve(self, client):
        with client:
            got = b""
            while b"\r\n\r\n" not in got:
                part = client.recv(65536)
                if not part:
                    return
                got += part
            head, rest = got.split(b"\r\n\r\n", 1)
            self.heads.append(head.decode())
            if self.refuse:
                client.sendall(self.refuse)
                return
            method, target, _ = head.split(b"\r\n")[0].split()
            with socket.create_connection(("127.0.0.1", self.target)) as server:
                if method == b"CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    path = b"/" + target.split(b"/", 3)[3]
                    server.sendall(head.replace(target, path, 1) + b"\r\n\r\n" + rest)
                self._copy(client, server)

    @staticmethod
    def _copy(client, server):
        other = {client: server, server: client}
        while True:
            for ready in select.select(list(other), [], [])[0]:
                try:
                    part = ready.recv(65536)
                    other[ready].sendall(part)
                except OSError:
                    return
                if not part:
                    return


def run(*arguments, input=b"", **variables):
    env = {
        name: value
        for name, value in os.environ.items() if not name.startswith("MILLRACE") and not name.lower().endswith("_proxy")
    }
    done = subprocess.run([MILLRACE, *map(str, arguments)], input=input, capture_output=True, env={**env, **variables},
                          timeout=60)
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.fixture
def proxy(server):
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


# Nobody but the proxy can find this host.
URL = "http://events.invalid:8080"


def test_export_and_import_go_by_way_of_the_proxy(proxy, server, client):
    client.call("stream.append", "s-1", [{"type": "T", "data": {"n": n}} for n in range(3000)])
    code, export, said = run("export", "--url", URL + "/", "--token", client.token, http_proxy=proxy.url)
    assert (code, said, export.count(b"\n")) == (0, "", 3000)
    assert proxy.heads[0].startswith("GET http://events.invalid:8080/export HTTP/1.1\r\nHost: events.invalid:8080\r\n")
    other = token_for("proxy " + new_id())
    server.client(other).call("stream.version", "x")  # makes the namespace
    assert run("import", "--url", URL, "--token", other, input=export, http_proxy=proxy.url)[0] == 0
    assert proxy.heads[1].startswith(
        "POST http://events.invalid:8080/import HTTP/1.1\r\n") and "Proxy-Authorization" not in proxy.heads[1]
    assert run("export", "--url", URL, "--token", other, all_proxy=proxy.url[7:] + "/")[1] == export


def test_https_goes_through_a_tunnel(start, tmp_path):
    from certificates import Authority
    authority = Authority(tmp_path)
    secret = start("--test-mode", tls=authority.issue("events", names="DNS:events.invalid,IP:127.0.0.1"))
    token = token_for("proxy " + new_id())
    secret.client(token).write("s-1")
    proxy = Proxy(secret.port)
    for name in "https_proxy", "HTTPS_PROXY":
        code, export, said = run("export", "--url", "https://events.invalid", "--ca-file", authority.root.file,
                                 "--token", token, **{name: proxy.url.replace("//", "//me:p%40ss@")})
        assert (code, said, export.count(b"\n")) == (0, "", 1)
        head = proxy.heads.pop()
        assert head.startswith("CONNECT events.invalid:443 HTTP/1.1\r\n") and token not in head
        assert "Proxy-Authorization: Basic " + base64.b64encode(b"me:p@ss").decode() in head
    proxy.close()


@pytest.mark.parametrize(
    "variables",
    [{"no_proxy": "events.invalid"}, {"NO_PROXY": "a, .invalid"}, {"no_proxy": "*"}, {"no_proxy": "x,invalid"}],
    ids=lambda variables: " ".join(variables.values()))
def test_a_host_that_is_excepted_is_asked_itself(proxy, variables):
    code, _, said = run("export", "--url", URL, "--token", "x", http_proxy=proxy.url, **variables)
    assert code == 1 and "cannot find " + URL in said and proxy.heads == []


def test_what_names_no_proxy_for_this_server(proxy, client, server):
    for variables in {"HTTP_PROXY": proxy.url}, {"https_proxy": proxy.url}, {"http_proxy": ""}:
        assert "cannot find " + URL in run("export", "--url", URL, "--token", "x", **variables)[2]
    code, _, said = run("export", "--url", URL, "--token", client.token, http_proxy=proxy.url,
                        no_proxy="vents.invalid, events, 127.0.0.1")
    assert (code, said, len(proxy.heads)) == (0, "", 1)
    for host in "localhost", "127.0.0.1":  # a server on this machine
        assert run("export", "--url", f"http://{host}:{server.port}", "--token", client.token,
                   http_proxy="http://nowhere.invalid:1")[0] == 0


@pytest.mark.parametrize(
    "value", ["socks5://127.0.0.1:1", "https://127.0.0.1:1", "http://me:secret@", "http://a/path", "http://x:1234567"])
def test_a_proxy_that_makes_no_sense_is_a_wrong_setting(value):
    code, out, said = run("export", "--url", URL, "--token", "x", http_proxy=value)
    assert (code, out) == (2, b"") and "http_proxy is not a URL like" in said and "secret" not in said


def test_what_a_proxy_refuses_is_told(server):
    proxy = Proxy(server.port, refuse=b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    code, _, said = run("export", "--url", "https://events.invalid", "--token", "x", https_proxy=proxy.url)
    assert code == 1 and "the proxy 127.0.0.1:" in said and "407 Proxy Authentication Required" in said
    code, _, said = run("export", "--url", URL, "--token", "x", http_proxy=proxy.url)
    assert code == 1 and "407" in said
    proxy.close()
    code, _, said = run("export", "--url", URL, "--token", "x", http_proxy=proxy.url)
    assert code == 1 and "cannot connect to the proxy 127.0.0.1:" in said
