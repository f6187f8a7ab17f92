"""Two servers in front of the three machines: `app1` knows them all, `app2` has an HAProxy that does."""
import subprocess
from dataclasses import dataclass
from pathlib import Path

from documented import documented
from machines import PASSWORD, kill

from store import ZERO_TOKEN, Client, Server, wait_until

NAMES = ["app1", "app2"]
PLACES = {"app1": "host=db1,db2,db3", "app2": "host=127.0.0.1 port=5000"}
PORT = 8080


@dataclass
class Way:
    """A namespace by one of the servers: what callers need."""
    name: str
    host: str
    token: str
    port: int = PORT

    def client(self, timeout=60):
        return Client(self.port, self.token, timeout, host=self.host)


class Proxy:
    """HAProxy beside a server."""

    def __init__(self, folder, network, name):
        configuration = Path(folder) / "haproxy.cfg"
        configuration.write_text(documented("A server needs none: it finds"))
        configuration.chmod(0o644)
        with (Path(folder) / "haproxy.log").open("ab") as output:
            self.process = subprocess.Popen(
                [*network.inside(name), "/usr/sbin/haproxy", "-db", "-f", str(configuration)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)

    def stop(self):
        kill(self.process.pid)
        self.process.wait()


class Servers:
    def __init__(self, folder, network, options=()):
        self.folder, self.network, self.options = folder, network, options
        self.addresses = {name: network.addresses[name] for name in NAMES}
        self.proxy, self.programs = None, {}

    def start(self):
        self.proxy = Proxy(self.folder, self.network, "app2")
        for name in NAMES:
            self.programs[name] = Server(
                "--database", f"{PLACES[name]} dbname=events user=millrace password={PASSWORD} connect_timeout=2",
                "--listen", "0.0.0.0", "--port", str(PORT), "--token", ZERO_TOKEN, "--admin-listen", "", *self.options,
                token=ZERO_TOKEN, before=self.network.inside(name), wait=False)
        for name, program in self.programs.items():
            wait_until(lambda: f":{PORT}" in program.text or program.process.poll() is not None, f"server {name}", 90)
            assert program.process.poll() is None, f"{name} ended:\n{program.text}"

    def ways(self, token=ZERO_TOKEN):
        return [Way(name, address, token) for name, address in self.addresses.items()]

    def create(self, namespace):
        """Makes a namespace with an index of tags, and returns the ways to it."""
        client = self.ways()[0].client()
        token = client.call("ns.create", namespace, {"tags": True})["token"]
        client.close()
        return self.ways(token)

    def delete(self, namespace):
        client = self.ways()[0].client()
        client.call("ns.delete", namespace)
        client.close()

    def check_alive(self):
        for name, program in self.programs.items():
            assert program.process.poll() is None, f"{name} ended with {program.process.returncode}:\n{program.text}"

    def tail(self, lines=25):
        return "\n".join(f"-- {name}\n" + "".join(program.output[-lines:]) for name, program in self.programs.items())

    def stop(self):
        if self.proxy:
            self.proxy.stop()
        for name, program in self.programs.items():
            program.kill()
            (Path(self.folder) / f"{name}.log").write_text(program.text)
