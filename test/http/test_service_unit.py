"""What the systemd unit relies on: notifications, a first token that is in no log, settings that exist; and the manual
page."""
import os
import re
import shutil
import socket
import stat
import subprocess

import pytest

from store import MILLRACE, ROOT, Server, wait_until

PACKAGING = ROOT / "sidecar/packaging"


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def words(text):
    return re.findall(r"[\w.:/=-]*\w", text)


@pytest.fixture(params=["a path", "an abstract name"])
def manager(request, folder, monkeypatch):
    """The socket of a service manager that listens, in NOTIFY_SOCKET."""
    name = f"{folder}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name if request.param == "a path" else "\0" + name)
        manager.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", name if request.param == "a path" else "@" + name)
        yield manager


def test_the_service_manager_hears_of_us_and_not_of_our_postgres(manager):
    """Debian's postgres tells NOTIFY_SOCKET that it is ready, too, and it would be first."""
    server = Server("--test-mode", wait=False)
    try:
        assert manager.recv(1000) == b"READY=1"
        server.port = int(
            wait_until(lambda: re.search(r"listening on http://\S+?:(\d+)", server.text), "its port").group(1))
        assert server.client().write("a-1")["position"] == 0
    finally:
        server.stop()
    assert manager.recv(1000) == b"STOPPING=1"
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(1000)


def test_the_first_token_is_in_the_file_that_was_asked_for_and_not_in_the_output(folder, start):
    path = f"{folder}/token"
    arguments = ["--data-dir", f"{folder}/data", "--new-token-file", path]
    server = start(*arguments)
    token = open(path).read()
    assert re.fullmatch(r"ns_ZGVmYXVsdA_[0-9a-f]{64}\n", token)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert path in server.text and "ns_" not in server.text.replace(folder, "")  # whose name is random
    assert server.client(token.strip()).write("a-1")["position"] == 0
    server.stop()
    server = start(*arguments)
    assert open(path).read() == token
    assert server.client(token.strip()).write("a-1")["position"] == 1


def test_a_token_that_can_not_be_written_down_does_not_count(folder, start):
    data = ["--data-dir", f"{folder}/data", "--new-token-file"]
    server = Server(*data, f"{folder}/missing/token", wait=False)
    assert server.wait() == 1
    assert (f"could not write the token of namespace default to {folder}/missing/token: "
            "No such file or directory") in server.text
    assert not os.path.exists(f"{folder}/data/pg"), "that shows before a cluster is made"
    start(*data, f"{folder}/token")
    assert os.path.exists(f"{folder}/token")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
def test_systemd_finds_no_fault_in_the_unit(folder):
    path = f"{folder}/millrace.service"
    with open(path, "w") as unit:
        unit.write((PACKAGING / "debian/millrace.service").read_text().replace("/usr/bin/millrace", MILLRACE))
    assert "millrace.service" not in output("systemd-analyze", "verify", "--man=no", path)


@pytest.mark.parametrize("file", ["debian/millrace.service", "millrace.conf"])
def test_the_settings_of_the_service_are_settings_of_serve(file):
    names = re.findall(r"MILLRACE_[A-Z_]+(?==)", (PACKAGING / file).read_text())
    flags = re.findall(r"^  (--[a-z-]+)", output(MILLRACE, "serve", "--help"), re.M)
    assert len(names) >= 2
    assert {"--" + name[9:].lower().replace("_", "-") for name in names} - {"--name"} <= set(flags)


@pytest.mark.parametrize("command", ["serve", "export", "import"])
def test_the_manual_page_has_every_word_of_the_help(command):
    page = output(PACKAGING / "manpage.sh", MILLRACE)
    section = re.search(rf"^\.SH MILLRACE {command.upper()}\n(.*?)^\.SH", page, re.M | re.S).group(1)
    shown = re.sub(r"^\.[a-zA-Z]+ ?|\\&", "", section, flags=re.M).replace("\\e", "\\").replace("\\-", "-")
    assert words(shown) == words(output(MILLRACE, command, "--help").split("\n", 1)[1])
