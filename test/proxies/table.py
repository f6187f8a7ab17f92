"""Rows for the table of sidecar/README.md: what each proxy that is installed does with calls, events, imports and
exports.

Each is tried as little configured as it may be, and where it has any with the settings that the class names.
"""
import json
import re
import shutil
import statistics
import time

import certificates
from parts import HAProxy, Nginx, Part, program
from store import ZERO_TOKEN, Client, Server, new_id, temporary_folder, token_for, wait_until

CALLS = 100
IMPORTED = 12000  # messages, 6 MB
EVENT = 5         # s for an event to arrive
LASTS = 20        # s that a subscription must live; its pings come every 15
HEADINGS = ("in front", "calls", "keep-alive", "an event arrives after", "import of 6 MB", "export",
            f"a subscription of {LASTS} s", "set")


class Other(Part):
    """A proxy with a configuration in one file; `settings` is what the server needs, put in where the text says
    SETTINGS."""

    settings, file, text, flags = "", "configuration", "", ()

    def __init__(self, folder, certificate, server_port, bare=False):
        super().__init__(folder)
        self.server_port = server_port
        values = {
            "SETTINGS": "" if bare else self.settings, "PORT": self.port, "SERVER": server_port, "FOLDER": self.folder,
            "CERTIFICATE": certificate.file, "KEY": certificate.key
        }
        self.values = {name: str(value) for name, value in values.items()}
        self.configuration = self.write(self.file, self.filled(self.text))

    def filled(self, text):
        return re.sub("|".join(self.values), lambda found: self.values[found.group()], text)

    def arguments(self):
        return [self.filled(flag).replace("FILE", str(self.configuration)) for flag in self.flags]


class Apache(Other):
    binary, version_flag = "apache2", "-v"
    flags = ("-D", "FOREGROUND", "-f", "FILE")
    text = """ServerRoot FOLDER
ServerName localhost
Listen 127.0.0.1:PORT
PidFile FOLDER/pid
ErrorLog FOLDER/error.log
DefaultRuntimeDir FOLDER
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
ProxyPass / http://127.0.0.1:SERVER/
"""


class Caddy(Other):
    binary, version_flag = "caddy", "version"
    flags = ("run", "--adapter", "caddyfile", "--config", "FILE")
    settings = "flush_interval -1"
    text = """{
    admin off
    auto_https off
    storage file_system FOLDER
}
http://127.0.0.1:PORT {
    reverse_proxy 127.0.0.1:SERVER {
        SETTINGS
    }
}
"""


class Envoy(Other):
    binary = "envoy"
    flags = ("-c", "FILE", "--disable-hot-restart", "--concurrency", "2", "-l", "error")
    file = "envoy.yaml"
    settings = ", timeout: 0s"
    text = """static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: PORT}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: events
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: "/"}, route: {cluster: millraceSETTINGS}}]}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: millrace
    type: STATIC
    load_assignment:
      cluster_name: millrace
      endpoints:
      - lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: SERVER}}}}]
"""


class Traefik(Other):
    binary, version_flag = "traefik", "version"
    file = "routes.yaml"
    flags = ("--entrypoints.events.address=127.0.0.1:PORT", "--providers.file.filename=FILE", "--log.level=ERROR",
             "--global.checknewversion=false", "--global.sendanonymoususage=false")
    text = """http:
  routers: {all: {rule: "PathPrefix(`/`)", entryPoints: [events], service: millrace}}
  services: {millrace: {loadBalancer: {servers: [{url: "http://127.0.0.1:SERVER"}]}}}
"""


class Varnish(Other):
    binary, version_flag = "varnishd", "-V"
    flags = ("-F", "-n", "FOLDER/work", "-a", "127.0.0.1:PORT", "-f", "FILE")
    settings = "sub vcl_recv { return (pass); }"
    text = """vcl 4.1;
backend millrace { .host = "127.0.0.1"; .port = "SERVER"; }
SETTINGS
"""


class Lighttpd(Other):
    binary, version_flag = "lighttpd", "-v"
    flags = ("-D", "-f", "FILE")
    settings = "server.stream-response-body = 2\nserver.stream-request-body = 2"
    text = """server.modules = ("mod_proxy")
server.bind = "127.0.0.1"
server.port = PORT
server.document-root = "FOLDER"
server.errorlog = "FOLDER/error.log"
server.upload-dirs = ("FOLDER")
proxy.server = ("" => (("host" => "127.0.0.1", "port" => SERVER)))
SETTINGS
"""


class Stunnel(Other):
    binary, version_flag = "stunnel4", "-version"
    flags = ("FILE",)
    text = """foreground = yes
pid =
[events]
accept = 127.0.0.1:PORT
connect = 127.0.0.1:SERVER
cert = CERTIFICATE
key = KEY
"""

    def __init__(self, folder, certificate, server_port, bare=False):
        super().__init__(folder, certificate, server_port, bare)
        self.tls = certificate


class Squid(Other):
    binary, version_flag = "squid", "-v"
    flags = ("-N", "-f", "FILE")
    settings = "login=PASSTHRU"
    text = """http_port 127.0.0.1:PORT accel defaultsite=localhost
cache_peer 127.0.0.1 parent SERVER 0 no-query originserver SETTINGS
http_access allow all
cache deny all
visible_hostname localhost
pid_filename none
access_log none
cache_log FOLDER/cache.log
coredump_dir FOLDER
shutdown_lifetime 1 seconds
"""


OTHERS = (Apache, Caddy, Envoy, Traefik, Varnish, Lighttpd, Stunnel, Squid)


class Trial:
    """One proxy before one server, in a namespace of its own."""

    def __init__(self, server, proxy):
        name = "trial " + new_id()
        self.server, self.proxy, self.token = server, proxy, token_for(name)
        server.client().call("ns.create", name, {"token": self.token})
        self.direct, self.through = server.client(self.token), self.client()
        wait_until(self.healthy, "/health", 20)
        self.silent = self.client(LASTS)

    def healthy(self):
        probe = self.client()
        try:
            return probe.request("GET", "/health").status == 200
        except OSError:
            return False
        finally:
            probe.close()

    def client(self, timeout=30):
        return Client(self.proxy.port, self.token, timeout, self.proxy.tls)

    def accepted(self):
        text = self.server.admin().request("GET", "/metrics").body.decode()
        return int(
            float(re.search(r"^millrace_http_connections_accepted_total(?:{[^}]*})? (\S+)$", text, re.M).group(1)))

    def calls(self):
        """All answers right, on one connection of the client's."""
        before, wires = self.accepted(), set()
        for n in range(CALLS // 2):
            assert self.through.write("a-1", {"n": n})["position"] == n
            wires.add(self.through.connection.sock)
            assert len(self.through.call("stream.get", "a-1")) == n + 1
            assert self.through.refused("stream.write", "a-1", {"type": "T", "data": {}},
                                        {"expectedVersion": -1}).status == 409 if n == 0 else True
        self.kept = "yes" if self.accepted() - before < CALLS // 10 else "no"
        return "yes" if len(wires) == 1 and None not in wires else f"yes, {len(wires)} connections"

    def events(self):
        """How long after its append an event is there, the subscription being silent."""
        times = []
        subscriber = self.client(EVENT)
        subscriber.connection.request("GET", "/subscribe?category=event&ids=true", None, subscriber.headers())
        response, got = subscriber.connection.getresponse(), b""
        assert response.status == 200, response.read()
        for n in range(5):
            time.sleep(0.3)
            began = time.monotonic()
            position = self.direct.write("event-1")["globalPosition"]
            while f'"globalPosition":{position}'.encode() not in got:
                more = response.read1(1 << 16)
                assert more, "the subscription ended"
                got += more
            times.append(time.monotonic() - began)
        subscriber.close()
        return f"{1000 * statistics.median(times):.0f} ms"

    def lasts(self):
        """A subscription to what doesn't come, but for pings."""
        self.silent.connection.request("GET", "/subscribe?category=silence", None, self.silent.headers())
        response, began = self.silent.connection.getresponse(), time.monotonic()
        while time.monotonic() < began + LASTS:
            got = response.read1(1 << 16)
            if not got:
                return f"no: ended after {time.monotonic() - began:.0f} s"
            if b"ping" in got and time.monotonic() > began + LASTS - 6:
                break
        time.sleep(max(0, began + LASTS - time.monotonic()))
        self.direct.write("silence-1")
        return "yes" if b"event: poke" in response.read1(1 << 16) else "no"

    def bring_in(self):
        lines = [
            json.dumps({
                "id": new_id(), "stream": f"moved-{n % 50}", "type": "T", "pos": n // 50, "gpos": n + 1,
                "data": {"pad": "y" * 350}, "meta": None, "time": "2024-01-02T03:04:05Z"
            }) for n in range(IMPORTED)
        ]
        body = "\n".join(lines).encode()
        reply = self.through.request("POST", "/import?force=true", body, {"Content-Type": "application/x-ndjson"})
        assert b'"done":true' in reply.body, f"{reply.status} {reply.body[-100:]}"
        return "yes"

    def take_out(self):
        """The second one, with its token in the URL, is not what a cache has kept of the first."""
        for _ in range(2):
            self.direct.write("b-1")
            through = Client(self.proxy.port, None, 30, self.proxy.tls).request("GET",
                                                                                f"/export?token={self.token}").body
            if self.direct.request("GET", "/export").body != through:
                return "no: from a cache" if through else "no: nothing"
        through, direct = (client.request("GET", "/export").body
                           for client in (self.client(), self.server.client(self.token)))
        assert through == direct and len(direct) > 1 << 20, f"{len(through)} of {len(direct)} bytes"
        return "yes"

    def attempt(self, what):
        try:
            return what()
        except Exception as error:  # shown in the table
            self.through.close()
            return "no: " + re.sub(r"\s+", " ", str(error) or type(error).__name__)[:90]

    def row(self):
        calls = self.attempt(self.calls)
        return [
            calls,
            getattr(self, "kept", ""), *map(self.attempt, (self.events, self.bring_in, self.take_out, self.lasts))
        ]


def tried(server, make, name, setting):
    folder = temporary_folder()
    proxy = None
    try:
        proxy = make(folder)
        proxy.start()
        row = Trial(server, proxy).row()
        print("|", " | ".join([f"{name} {proxy.version()}", *row, setting]), "|", flush=True)
    except Exception as error:  # one that doesn't start is a row, too
        print(f"| {name} | {error!r:.600} |", flush=True)
    finally:
        if proxy:
            proxy.end()
        shutil.rmtree(folder, ignore_errors=True)


def main(names):
    certificate = certificates.common_certificate()
    folder = temporary_folder()
    server = Server("--data-dir", folder + "/data", "--token", ZERO_TOKEN, "--admin-listen", "127.0.0.1:0", "--listen",
                    "127.0.0.1", token=ZERO_TOKEN)
    print("|", " | ".join(HEADINGS), "|")
    print("|" + "---|" * len(HEADINGS), flush=True)
    try:
        for name, make in (("nginx", lambda folder: Nginx(folder, certificate, server.port)),
                           ("HAProxy", lambda folder: HAProxy(folder, server.port))):
            if program(name.lower()) and (not names or name in names):
                tried(server, make, name, "as above")
        for kind in OTHERS:
            if program(kind.binary) and (not names or kind.__name__ in names):
                for bare in (True, False) if kind.settings else (True,):
                    tried(server, lambda folder, kind=kind, bare=bare: kind(folder, certificate, server.port, bare),
                          kind.__name__, "" if bare else "`" + kind.settings.replace("\n", "`, `").strip(", ") + "`")
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
        certificates.forget_common_certificate()
    return 0
