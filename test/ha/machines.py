"""The three machines with a Postgres, each with its etcd, its Patroni and a small disk; as sidecar/GROWING.md says."""
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import psycopg2
from documented import documented, replaced
from network import run

from store import PG_BIN, sql, wait_until

NAMES = ["db1", "db2", "db3"]
DISK = "600m"
PASSWORD = "CHANGE-ME"  # as it stands there
WHOLE = 120             # s, until all three work together again
# Not in what is documented: the machines of this test are small, and so are their disks.
SMALL = {"shared_buffers": "64MB", "max_wal_size": "128MB", "min_wal_size": "64MB", "max_connections": 100,
         "log_min_messages": "log", "log_line_prefix": "'%m [%p] %b '"}


def descendants(pid):
    """A process and all below it."""
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        below = []
    return [pid, *(each for child in below for each in descendants(int(child)))]


def kill(pid, number=signal.SIGKILL):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class Machine:
    def __init__(self, folder, network, name, asynchronous):
        self.folder, self.network, self.name = Path(folder) / name, network, name
        self.address, self.disk = network.addresses[name], self.folder / "disk"
        self.data, self.programs = self.disk / "data", {}
        self.folder.mkdir()
        # Not on the disk of who runs this, on which etcd would wait for others.
        run("mount", "-t", "tmpfs", "-o", "size=1g,uid=postgres,gid=postgres,mode=755", "none", self.folder)
        self.disk.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={DISK},uid=postgres,mode=755", "none", self.disk)
        self.followed = self.folder / "followed.sh"
        self.followed.write_text(documented("`/etc/patroni/followed.sh`"))
        self.followed.chmod(0o755)
        self.settings = self.folder / "patroni.yml"
        self.settings.write_text(self.patroni(asynchronous))

    def __repr__(self):
        return self.name

    # Its programs

    def patroni(self, asynchronous):
        text = documented("`/etc/patroni/config.yml` of `db1`")
        text = replaced(text, "name: db1", f"name: {self.name}").replace(
            "connect_address: db1:", f"connect_address: {self.name}:")
        text = replaced(text, "/var/lib/postgresql/15/events", str(self.data))
        text = replaced(text, "/usr/lib/postgresql/15/bin", PG_BIN)
        text = replaced(text, "      parameters:\n", "      parameters:\n" + "".join(
            f"        {name}: {value}\n" for name, value in SMALL.items()))
        text = replaced(text, "/etc/patroni/followed.sh", str(self.followed))
        text = replaced(text, "wal_keep_size: 1GB", "wal_keep_size: 128MB")
        # Two of these tests may run at once, and their sockets are files.
        text = replaced(text, "\npostgresql:\n", f"\npostgresql:\n  pgpass: {self.folder}/pgpass\n  parameters:\n"
                        f"    unix_socket_directories: {self.folder}\n")
        if asynchronous:
            text = text.replace("synchronous_mode: true", "synchronous_mode: false").replace(
                "synchronous_mode_strict: true", "synchronous_mode_strict: false")
        return text

    def etcd(self):
        """The environment of its etcd."""
        text = documented("`/etc/default/etcd` of `db1`")
        text = replaced(text, "ETCD_NAME=db1", f"ETCD_NAME={self.name}")
        text = re.sub(r"(_URLS=http://)db1", rf"\g<1>{self.name}", text)
        text = replaced(text, "/var/lib/etcd/events", f"{self.folder}/etcd")
        return dict(line.split("=", 1) for line in text.split())

    def start(self, program, command, **variables):
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8", **variables}
        with (self.folder / f"{program}.log").open("ab") as output:
            self.programs[program] = subprocess.Popen(
                [*self.network.inside(self.name), *command], stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, cwd=self.folder, env=environment, start_new_session=True)

    def start_etcd(self):
        self.start("etcd", ["etcd", "--heartbeat-interval=250", "--election-timeout=2500"], **self.etcd())

    def start_patroni(self):
        self.start("patroni", ["patroni", str(self.settings)])

    def stop_patroni(self):
        """As `systemctl stop patroni` does: it stops Postgres, and lets the lock go."""
        self.programs["patroni"].terminate()

    def postmaster(self):
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def runs(self):
        """Whether its Postgres does, whatever it thinks that it is."""
        try:
            os.kill(self.postmaster(), 0)
            return True
        except (OSError, ValueError, IndexError):
            return False

    def kill(self):
        """Patroni and Postgres, at once."""
        doomed = [self.programs["patroni"].pid, *descendants(self.postmaster())]
        for pid in doomed:
            kill(pid)
        self.programs["patroni"].wait()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in doomed[1:]), f"the end of {self}")

    # What it says

    def api(self, method, path, body=None):
        """Patroni's REST API: (status, answer); (None, None): nobody is there."""
        connection = http.client.HTTPConnection(self.address, 8008, timeout=30)
        try:
            connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
            reply = connection.getresponse()
            text = reply.read()
        except (OSError, http.client.HTTPException):
            return None, None
        finally:
            connection.close()
        try:
            return reply.status, json.loads(text)
        except ValueError:
            return reply.status, text.decode(errors="replace")

    def leads(self):
        """Whether it believes that it is the leader."""
        return self.api("GET", "/primary")[0] == 200

    def connect(self, database="events", **options):
        connection = psycopg2.connect(host=self.address, port=5432, user="postgres", password=PASSWORD,
                                      dbname=database, connect_timeout=5, **options)
        connection.autocommit = True
        return connection

    def sql(self, statement, *arguments, database="events"):
        connection = self.connect(database)
        try:
            return sql(connection, statement, *arguments)
        finally:
            connection.close()

    # Its disk

    def free_bytes(self):
        status = os.statvfs(self.disk)
        return status.f_bavail * status.f_bsize

    def fill(self):
        """To the last byte."""
        ballast = os.open(self.disk / "ballast", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while True:
                    os.write(ballast, b"x" * size)
        os.close(ballast)

    def make_room(self):
        (self.disk / "ballast").unlink(missing_ok=True)

    def tail(self, lines=25):
        """The end of its log, for who looks for a fault."""
        return "\n".join((self.folder / "patroni.log").read_text(errors="replace").splitlines()[-lines:])


class Trio:
    """The three of them."""

    def __init__(self, folder, network, asynchronous):
        self.synchronous = not asynchronous
        self.machines = [Machine(folder, network, name, asynchronous) for name in NAMES]

    def start(self):
        for machine in self.machines:
            machine.start_etcd()
        for machine in self.machines:
            machine.start_patroni()
        wait_until(self.whole, "three machines that work together", WHOLE)
        leader = self.leader()
        leader.sql("CREATE DATABASE events", database="postgres")
        leader.sql(f"CREATE ROLE millrace LOGIN PASSWORD '{PASSWORD}'")
        leader.sql("ALTER DATABASE events OWNER TO millrace")
        leader.sql("CREATE EXTENSION millrace")
        return self

    def leader(self, among=None):
        """The one that leads, or None."""
        return next((machine for machine in among or self.machines if machine.leads()), None)

    def others(self, *machines):
        return [each for each in self.machines if each not in machines]

    def synchronous_standby(self):
        """As Patroni keeps it in etcd, and would promote; with asynchronous replication any."""
        _, cluster = self.leader().api("GET", "/cluster")
        wanted = "sync_standby" if self.synchronous else "replica"
        names = [member["name"] for member in cluster["members"] if member["role"] == wanted]
        return next((machine for machine in self.machines if machine.name in names), None)

    def whole(self):
        """One leads, and two follow it closely enough to take over."""
        leader = self.leader()
        if leader is None:
            return False
        try:
            near = leader.sql("SELECT application_name FROM pg_stat_replication WHERE state = 'streaming' AND"
                              " pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) < 1e6", database="postgres")
            return ({name for name, in near} == {machine.name for machine in self.others(leader)}
                    and self.may_fail(leader))
        except psycopg2.Error:
            return False

    def may_fail(self, leader):
        """Whether another would be promoted: Patroni names a standby in etcd, and it is one to Postgres, too."""
        chosen = self.synchronous_standby()
        return chosen is not None and (not self.synchronous or leader.sql(
            "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming' AND"
            " sync_state = 'sync')", chosen.name, database="postgres")[0][0])

    def wait_until_whole(self):
        wait_until(self.whole, "three machines that work together", WHOLE)

    def stop(self):
        for program in ("patroni", "etcd"):
            for machine in self.machines:
                process = machine.programs.get(program)
                if process is None:
                    continue
                for pid in descendants(process.pid):
                    kill(pid)
                process.wait()
        for machine in self.machines:
            if machine.runs():  # Patroni starts it as no child of its own
                for pid in descendants(machine.postmaster()):
                    kill(pid)
