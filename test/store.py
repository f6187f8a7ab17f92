"""What the tests start and talk to: the program, a Postgres of one's own, an HTTP client."""
import base64
import http.client
import json
import os
import pwd
import re
import secrets
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from pathlib import Path

import psycopg2
import pytest

import certificates

ROOT = Path(__file__).resolve().parent.parent
MILLRACE = os.environ.get("MILLRACE", str(ROOT / "sidecar" / "millrace"))
PG_BIN = subprocess.run([os.environ.get("PG_CONFIG", "pg_config"), "--bindir"], check=True, capture_output=True,
                        text=True).stdout.strip()
ZERO_TOKEN = "ns_ZGVmYXVsdA_" + "0" * 64
# Of a server whose memory is measured: elsewhere what is freed is written to (run.py), which takes as much again.
PLAIN_MEMORY = {"GLIBC_TUNABLES": ""}


def token_for(namespace):
    """A new well-formed token."""
    name = base64.urlsafe_b64encode(namespace.encode()).decode().rstrip("=")
    return f"ns_{name}_{secrets.token_hex(32)}"


def wait_until(condition, what, seconds=30):
    """Waits for a condition, not for a time; returns its first true value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited {seconds} s in vain for: {what}")


class RpcError(Exception):
    def __init__(self, status, body, headers):
        super().__init__(f"{status} {body}")
        error = body["error"]
        self.status, self.code, self.message = status, error["code"], error["message"]
        self.details, self.headers, self.body = error.get("details"), headers, body


class Reply:
    def __init__(self, response):
        self.body = response.read()
        self.status, self.headers = response.status, response.headers

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]


class Client:
    """One keep-alive connection with one token."""

    def __init__(self, port, token=None, timeout=60, tls=None, host="127.0.0.1"):
        self.port, self.token = port, token
        if tls is None:
            self.connection = http.client.HTTPConnection(host, port, timeout=timeout)
        else:
            self.connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=tls.context())

    def close(self):
        self.connection.close()

    def headers(self):
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def request(self, method, path, body=None, headers=None):
        self.connection.request(method, path, body, {**self.headers(), **(headers or {})})
        return Reply(self.connection.getresponse())

    def post(self, body):
        """Posts a body to /rpc as it is; what is not text or bytes is sent as JSON."""
        if not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        return self.request("POST", "/rpc", body, {"Content-Type": "application/json"})

    def call(self, *array):
        """The array form: the result, or RpcError."""
        reply = self.post(list(array))
        if reply.status != 200:
            raise RpcError(reply.status, reply.json, reply.headers)
        return reply.json

    def refused(self, *array):
        """The array form, where an error is expected: returns it."""
        return self.refused_body(list(array))

    def refused_body(self, body):
        reply = self.post(body)
        assert reply.status >= 400, f"accepted: {reply.body[:500]}"
        assert reply.headers["Content-Type"] == "application/json"
        return RpcError(reply.status, reply.json, reply.headers)

    def write(self, stream, data=None, type="Tested", metadata=None, **options):
        message = {"type": type, "data": {} if data is None else data}
        if metadata is not None:
            message["metadata"] = metadata
        return self.call("stream.write", stream, message, *([options] if options else []))


class Program:
    """A process whose output is kept, and that is ended with SIGTERM."""

    def __init__(self, command, env=None):
        self.output = []
        self.process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, errors="replace", env=env)
        self.threads = [threading.Thread(target=self._collect, args=(stream,), daemon=True)
                        for stream in (self.process.stdout, self.process.stderr)]
        for thread in self.threads:
            thread.start()

    def _collect(self, stream):
        for line in stream:
            self.output.append(line)

    @property
    def text(self):
        return "".join(self.output)

    def wait(self, seconds=60):
        code = self.process.wait(seconds)
        for thread in self.threads:
            thread.join(5)
        return code


class Server(Program):
    """`millrace serve` on a free port; with a certificate, over TLS."""

    host = "127.0.0.1"

    def __init__(self, *arguments, wait=True, token=None, tls=None, variables=None, program=None, before=()):
        self.tls = tls or (certificates.common_certificate() if certificates.EVERYWHERE else None)
        if self.tls:
            arguments += tuple(self.tls.flags())
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "MILLRACE"))}
        env["MILLRACE_PG_BINDIR"] = PG_BIN
        # Which tests write into their own requests.
        env["MILLRACE_ALLOWED_HOSTS"] = "x, y, h, test, again, events.example, events.invalid"
        env.update(variables or {})
        super().__init__([*before, program or MILLRACE, "serve", "--port", "0", *arguments], env)
        self.token, self.port, self.terminated = token, None, False
        if wait:
            try:
                self.port = int(wait_until(self._listening, "the line `listening on`", 90).group(1))
            except BaseException:
                self.kill()
                raise

    def _listening(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.text}")
        return re.search(r"listening on https?://\S+?:(\d+)", self.text)

    def client(self, token=None, timeout=60):
        return Client(self.port, token or self.token, timeout, self.tls)

    def connect(self):
        return self.wrap(socket.create_connection(("127.0.0.1", self.port), timeout=30))

    def wrap(self, connected):
        """Begins TLS on a connected socket, if the server speaks it."""
        return connected if self.tls is None else self.tls.context().wrap_socket(connected, server_hostname="localhost")

    def admin(self):
        """A client of the admin listener, for a server that was started with --admin-listen 127.0.0.1:0."""
        return Client(int(wait_until(lambda: re.search(r"admin listener on http://127\.0\.0\.1:(\d+)", self.text),
                                     "the admin listener").group(1)))

    def memory(self, what="VmRSS"):
        """What the server's own process holds in MiB, Postgres not included; with VmHWM the most that it ever held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(what + r":\s+(\d+) kB", status).group(1)) / 1024

    def refuses_connections(self):
        """Whether it has stopped listening; TLS is not begun, whose failures say something else."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=30).close()
            return False
        except ConnectionError:
            return True

    # The embedded Postgres

    def postmaster(self):
        """Process id of the embedded Postgres."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for child in children:
            try:
                command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):  # one that prepared something has ended
                continue
            if command[0].endswith((b"postgres", b"postmaster")):
                return int(child)
        raise AssertionError("no embedded Postgres runs")

    def postgres(self):
        """A connection to the embedded Postgres, each statement its own transaction."""
        folder = Path(os.readlink(f"/proc/{self.postmaster()}/cwd"))
        lines = (folder / "postmaster.pid").read_text().splitlines()
        connection = psycopg2.connect(host=lines[4], port=lines[3], user="postgres", dbname="postgres")
        connection.autocommit = True
        return connection

    def stop(self):
        """Ends the server as an operator would, once: a second signal means at once.  The exit code must be 0."""
        self.terminate()
        try:
            code = self.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not stop:\n{self.text[-3000:]}")
        assert code == 0, f"the server ended with {code}:\n{self.text[-6000:]}"

    def terminate(self):
        if self.process.poll() is None and not self.terminated:
            self.process.send_signal(signal.SIGTERM)
        self.terminated = True

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.wait()


class Listener:
    """Accepts connections on a free port; serve(connection), of a subclass, runs in a thread of its own for each."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)  # ends accept, too
        self.listener.close()


def free_port():
    """A port that nothing listens on, for programs that must be told one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def without_tokens(cluster):
    """Flags of a server that works on that Postgres and takes requests without a token."""
    return "--database", cluster.conninfo(), "--test-mode", "--without-authentication", "--listen", "127.0.0.1"


class Cluster:
    """A Postgres of one's own, in a folder, reached by a Unix socket."""

    def __init__(self, folder, settings=(), bin=PG_BIN):
        self.folder, self.bin = Path(folder), bin
        self.data = self.folder / "data"
        self.settings = ["fsync=off", "listen_addresses=", f"unix_socket_directories={self.folder}",
                         "max_connections=100", *settings]

    def create(self):
        self.folder.mkdir(exist_ok=True)
        self._run("initdb", "-D", self.data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        return self

    def elsewhere(self):
        """The same data, reached by another folder's socket."""
        folder = self.folder / "elsewhere"
        folder.mkdir(exist_ok=True)
        cluster = Cluster(self.folder, bin=self.bin)
        cluster.settings = [each for each in self.settings if not each.startswith("unix_socket_directories=")]
        cluster.settings.append(f"unix_socket_directories={folder}")
        cluster.conninfo = lambda database="postgres": f"host={folder} user=tester dbname={database}"
        return cluster

    def copy_of(self, primary):
        """Makes this cluster a streaming standby of another one."""
        self.folder.mkdir(exist_ok=True)
        self._run("pg_basebackup", "-D", self.data, "-d", primary.conninfo("postgres"), "-R", "--no-sync",
                  "--checkpoint=fast")
        return self

    def start(self):
        options = " ".join(f"-c {setting}" for setting in self.settings)
        self._run("pg_ctl", "start", "-w", "-D", self.data, "-l", self.folder / "log", "-o", options)
        return self

    def stop(self, mode="fast"):
        self._run("pg_ctl", "stop", "-w", "-D", self.data, "-m", mode, check=False)

    def _run(self, program, *arguments, check=True):
        done = subprocess.run([f"{self.bin}/{program}", *map(str, arguments)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
                              stderr=subprocess.STDOUT, text=True)
        log = self.folder / "log"
        said = done.stdout or log.exists() and log.read_text()[-3000:]
        assert not check or done.returncode == 0, f"{program}: {said}"

    def conninfo(self, database="postgres"):
        return f"host={self.folder} user=tester dbname={database}"

    def connect(self, database="postgres"):
        connection = psycopg2.connect(self.conninfo(database))
        connection.autocommit = True
        return connection


def need_library(name):
    """Skips the test where the server has no such library: the wheels lack contrib's, wal2json is a package of its
    own."""
    folder = subprocess.run([f"{PG_BIN}/pg_config", "--pkglibdir"], capture_output=True, text=True,
                            check=True).stdout.strip()
    if not os.path.exists(f"{folder}/{name}.so"):
        pytest.skip(f"this PostgreSQL has no {name}.so")


def sql(connection, statement, *arguments):
    """Runs one statement and returns its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments or None)
        return cursor.fetchall() if cursor.description else []


def make_synchronous(cluster):
    """From now on commits wait for a standby that there is not: when the checkpointer has heard of it, not before."""
    look, probe, heard = cluster.connect(), cluster.connect(), threading.Event()
    sql(look, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    sql(look, "SELECT pg_reload_conf()")

    def commit():
        while not heard.is_set():
            sql(probe, "SELECT pg_logical_emit_message(true, 'probe', '')")
    thread = threading.Thread(target=commit)
    thread.start()
    pid = probe.info.backend_pid
    waits = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'SyncRep'"
    try:
        wait_until(lambda: sql(look, waits, pid), "a commit that waits for a standby")
    finally:
        heard.set()
        sql(look, "SELECT pg_cancel_backend(%s)", pid)
        thread.join()


def error_code(connection, statement, *arguments):
    """The SQLSTATE of a statement's error; None where it has none."""
    try:
        sql(connection, statement, *arguments)
    except psycopg2.Error as error:
        return error.pgcode
    return None


def new_id():
    return str(uuid.uuid4())


def drop_root():
    """Makes this process another user's when it is root's: Postgres refuses root."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)


def temporary_folder():
    """A folder with a short name (a Unix socket's path has at most 107 bytes)."""
    return tempfile.mkdtemp(prefix="m-")
