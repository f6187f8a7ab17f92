"""What a systemd unit relies on: notifications, and a first token that is in no log."""
import os
import re
import socket
import stat

import pytest

from store import Server, wait_until


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
        server.port = int(wait_until(lambda: re.search(r"listening on http://\S+?:(\d+)", server.text), "its port").group(1))
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
    assert path in server.text and "ns_" not in server.text
    assert server.client(token.strip()).write("a-1")["position"] == 0
    server.stop()
    server = start(*arguments)
    assert open(path).read() == token
    assert server.client(token.strip()).write("a-1")["position"] == 1


def test_a_token_that_can_not_be_written_down_does_not_count(folder, start):
    data = ["--data-dir", f"{folder}/data", "--new-token-file"]
    server = Server(*data, f"{folder}/missing/token", wait=False)
    assert server.wait() == 1
    assert f"could not write the token of namespace default to {folder}/missing/token: No such file or directory" in server.text
    start(*data, f"{folder}/token")
    assert os.path.exists(f"{folder}/token")
