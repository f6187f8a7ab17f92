"""The server that clients are tried on: it can be ended and started again on its port, beside a Postgres that stays."""
import os
import subprocess
import time
import urllib.request

import run
from store import ZERO_TOKEN, Cluster, Server, free_port, sql


class OpenCluster(Cluster):
    """One that listens on a port, of another user when we are root."""

    def __init__(self, folder):
        self.port = free_port()
        super().__init__(folder, ["listen_addresses=127.0.0.1", f"port={self.port}"])

    def create(self):
        self.folder.mkdir()
        run.give_away(self.folder)
        return super().create()

    def _run(self, program, *arguments, check=True):
        done = subprocess.run([f"{self.bin}/{program}", *map(str, arguments)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, cwd=self.folder,
                              **run.unprivileged())
        assert not check or done.returncode == 0, f"{program} ended with {done.returncode}"

    def conninfo(self, database="postgres"):
        return f"host=127.0.0.1 port={self.port} user=tester dbname={database}"


class Stage:
    def __init__(self, folder):
        self.cluster = OpenCluster(folder / "postgres").create().start()
        self.port, self.server, self.trials = free_port(), None, 0
        self.start()

    def start(self, *flags):
        self.server = Server("--port", str(self.port), "--database", self.cluster.conninfo(), "--token", ZERO_TOKEN,
                             "--workers", "1", "--admin-listen", "127.0.0.1:0", *flags, token=ZERO_TOKEN)

    def restart(self, end, *flags):
        """As with a new version of the program: for a second nobody listens."""
        end()
        time.sleep(1)
        self.start(*flags)

    def metric(self, name):
        """Summed over its labels."""
        text = self.server.admin().request("GET", "/metrics").body.decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    def namespace(self):
        """A new one: its name and its token."""
        self.trials += 1
        name = f"trial{self.trials:03}"
        return name, self.server.client().call("ns.create", name)["token"]

    def rpc(self):
        return f"http://127.0.0.1:{self.port}/rpc"

    def subscription(self, category):
        return f"http://127.0.0.1:{self.port}/subscribe?category={category}&messages=true&ids=true"

    def events(self, category, count):
        """What a subscriber is to get: (id, length of the data) of the first so many events."""
        request = urllib.request.Request(self.subscription(category), headers={"Authorization": f"Bearer {ZERO_TOKEN}"})
        found = []
        with urllib.request.urlopen(request, timeout=60) as lines:
            for line in lines:
                if line.startswith(b"id: "):
                    id = line[4:].decode().strip()
                elif line.startswith(b"data: "):
                    found.append((id, len(line.rstrip(b"\n")) - 6))
                    if len(found) == count:
                        return found

    def message_db(self):
        """The address of a database with the functions of Message DB."""
        admin = self.cluster.connect()
        sql(admin, "CREATE ROLE message_store LOGIN")
        sql(admin, "CREATE DATABASE message_store")
        owner = self.cluster.connect("message_store")
        sql(owner, "CREATE EXTENSION millrace")
        sql(owner, "SELECT millrace.install_message_db()")
        for connection in admin, owner:
            connection.close()
        return f"postgresql://message_store@127.0.0.1:{self.cluster.port}/message_store"

    def end(self):
        if self.server:
            self.server.kill()
        self.cluster.stop("immediate")


def environment():
    """What the programs of clients are given."""
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "NODE_NO_WARNINGS": "1", "NO_PROXY": "127.0.0.1"}
