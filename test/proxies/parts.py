"""nginx, HAProxy and pgbouncer as processes of the test's own, with the configurations that sidecar/README.md shows."""
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from store import ROOT, free_port, wait_until

README = Path(os.environ.get("MILLRACE_README", ROOT / "sidecar" / "README.md"))
PLACES = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"  # an ordinary user's PATH has no sbin


def program(name):
    """The path of a program, or None where it is not installed."""
    return shutil.which(name, path=PLACES)


def documented(before):
    """The indented block of sidecar/README.md behind the line that begins with `before`."""
    block = re.search(rf"^{re.escape(before)}(?s:.*?)\n\n((?: {{4}}.*\n|\n)+)", README.read_text(), re.M)
    assert block, f"no example behind {before!r} in {README}"
    return re.sub(r"^ {4}", "", block.group(1), flags=re.M)


def replaced(text, old, new):
    assert old in text, f"{old!r} is not in the example of {README}:\n{text}"
    return text.replace(old, new)


class Part:
    """A program that listens on a port, and that can be killed and started again."""

    binary, version_flag, tls = None, "--version", None

    def __init__(self, folder):
        self.folder, self.port, self.process = Path(folder) / self.name, free_port(), None
        self.folder.mkdir()
        self.log = self.folder / "output"

    @property
    def name(self):
        return type(self).__name__.lower()

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def version(self):
        done = subprocess.run([program(self.binary), self.version_flag], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        return re.search(r"\d+(\.\d+)+", done.stdout).group()

    def listens(self):
        assert self.process.poll(
        ) is None, f"{self.name} ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}"
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            return True
        except OSError:
            return False

    def start(self):
        with self.log.open("a") as output:
            self.process = subprocess.Popen([program(self.binary), *map(str, self.arguments())],
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                            cwd=self.folder, start_new_session=True)
        wait_until(self.listens, f"{self.name} to listen", 60)
        return self

    def end(self, how=signal.SIGKILL):
        """With -9 all of its processes: nginx's workers outlive their master, and go on listening."""
        if self.process is None or self.process.poll() is not None:
            return
        if how == signal.SIGKILL:
            os.killpg(self.process.pid, how)
        else:
            self.process.send_signal(how)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Nginx(Part):
    binary, version_flag = "nginx", "-v"

    def __init__(self, folder, certificate, server_port):
        super().__init__(folder)
        self.tls = certificate
        shown = documented("For nginx, which then speaks TLS")
        shown = replaced(shown, "server 127.0.0.1:8080;", f"server 127.0.0.1:{server_port};")
        shown = replaced(
            shown, "listen 443 ssl;",
            f"listen 127.0.0.1:{self.port} ssl; ssl_certificate {certificate.file}; "
            f"ssl_certificate_key {certificate.key};"
        )
        paths = "".join(f"    {kind}_temp_path temp;\n"
                        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        self.configuration = self.write("nginx.conf", f"""daemon off;
pid nginx.pid;
error_log error.log warn;
worker_processes 2;
events {{ }}
http {{
    access_log off;
{paths}{shown}}}
""")

    def arguments(self):
        return ["-p", self.folder, "-e", "error.log", "-c", self.configuration]


class HAProxy(Part):
    binary, version_flag = "haproxy", "-v"

    def __init__(self, folder, server_port):
        super().__init__(folder)
        shown = documented("For HAProxy")
        shown = replaced(shown, "bind :443 ssl crt /etc/haproxy/events.pem", f"bind 127.0.0.1:{self.port}")
        self.configuration = self.write("haproxy.cfg", replaced(shown, "127.0.0.1:8080", f"127.0.0.1:{server_port}"))

    def arguments(self):
        return ["-db", "-f", self.configuration]


class PgBouncer(Part):
    """Between `millrace serve` and a Cluster."""

    binary = "pgbouncer"

    def __init__(self, folder, cluster):
        super().__init__(folder)
        self.configuration = self.write("pgbouncer.ini", f"""[databases]
postgres = host={cluster.folder} user=tester
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = any
pool_mode = session
default_pool_size = 60
logfile = {self.folder}/log
log_connections = 0
log_disconnections = 0
""")

    def arguments(self):
        return ["-q", self.configuration]

    def conninfo(self):
        return f"host=127.0.0.1 port={self.port} user=tester dbname=postgres"
