"""TLS on the public listener: certificates, keys, versions and ciphers.  `run.py --tls` repeats the tests of HTTP."""
import os
import pty
import re
import signal
import ssl
import subprocess
import time

import pytest

from certificates import Certificate, openssl
from store import MILLRACE, ROOT, Server, new_id, token_for, wait_until
from tls_client import HEALTH, connect, is_served


@pytest.fixture
def client(secret):
    client = secret.client(token_for("tls " + new_id()))
    yield client
    client.close()


def refusal(*arguments):
    """What a server says that does not start."""
    server = Server("--test-mode", *map(str, arguments), wait=False)
    try:
        assert server.wait(60) == 2, server.text
        return server.text
    finally:
        server.kill()


# Certificate and key


def test_one_flag_without_the_other_is_refused(certificate):
    assert "--tls-cert needs --tls-key" in refusal("--tls-cert", certificate.file)
    assert "--tls-key needs --tls-cert" in refusal("--tls-key", certificate.key)


def test_a_file_that_cannot_be_used_ends_the_start_with_flag_file_and_reason(authority, certificate, tmp_path):
    other = authority.issue("other")
    nothing, words, locked = tmp_path / "nothing.pem", tmp_path / "words.pem", tmp_path / "locked.key"
    words.write_text("not a certificate\n")
    openssl("ec", "-in", certificate.key, "-aes256", "-passout", "pass:secret", "-out", locked)
    for cert, key, *said in ((nothing, certificate.key, f"--tls-cert {nothing}: No such file"),
                             (certificate.file, nothing,
                              f"--tls-key {nothing}: No such file"), (tmp_path, certificate.key,
                                                                      f"--tls-cert {tmp_path}: Is a directory"),
                             (words, certificate.key, f"--tls-cert {words}: there is no PEM certificate in it"),
                             (certificate.file, words, f"--tls-key {words}: there is no private key in it"),
                             (certificate.key, certificate.key,
                              f"--tls-cert {certificate.key}: there is no PEM certificate"),
                             (certificate.file, other.key, f"--tls-key {other.key}: is not the key of the certificate",
                              str(certificate.file)), (certificate.file, locked,
                                                       f"--tls-key {locked}: the key has a passphrase")):
        text = refusal("--tls-cert", cert, "--tls-key", key)
        assert all(part in text for part in said), text
        assert "listening" not in text and "PRIVATE" not in text


def test_what_is_doubtful_is_warned_of(start, authority):
    old = authority.issue("old", days=0)  # ends when it begins
    old.key.chmod(0o644)
    text = start("--test-mode", tls=old).text
    assert f"--tls-cert {old.file}: the certificate has expired" in text
    assert f"--tls-key {old.key}: every user of this machine can read the key" in text


def test_a_private_key_that_is_private_is_not_warned_of(secret):
    warnings = [line for line in secret.text.splitlines() if " warning " in line and "no admin listener" not in line]
    assert warnings == [] and "listening on https://" in secret.text


def test_the_chain_is_sent_and_verifies(secret):
    assert is_served(secret)


def test_an_rsa_key_will_do(start, authority):
    assert is_served(start("--test-mode", tls=authority.issue("rsa", algorithm=("rsa", "rsa_keygen_bits:2048"))))


def test_the_certificate_that_the_readme_makes_is_one_that_clients_accept(start, tmp_path):
    command = re.search(r"^    openssl req -x509 .*?[^\\]\n", (ROOT / "sidecar/README.md").read_text(),
                        re.M | re.S).group()
    subprocess.run(["bash", "-ec", command], cwd=tmp_path, check=True, capture_output=True)
    made = Certificate(tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "cert.pem")
    assert is_served(start("--test-mode", tls=made), made.context())


# What is spoken


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken_with_forward_secrecy(secret, version):
    context = secret.tls.context()
    context.minimum_version = context.maximum_version = version
    with connect(secret, context) as wire:
        wire.sendall(HEALTH)
        assert wire.recv(1000).startswith(b"HTTP/1.1 200")
        name = wire.cipher()[0]
    assert name.startswith("TLS_") or re.match("ECDHE-.*(GCM|CHACHA20)", name)


def s_client(server, *arguments, input=""):
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-servername", "localhost", *arguments]
    done = subprocess.run(command, input=input, capture_output=True, text=True, timeout=30)
    return done.stdout + done.stderr


def test_older_versions_and_ciphers_without_forward_secrecy_are_refused(secret):
    assert "alert protocol version" in s_client(secret, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    assert "alert handshake failure" in s_client(secret, "-tls1_2", "-cipher", "AES128-GCM-SHA256:AES256-SHA")
    assert "Cipher is ECDHE" in s_client(secret, "-tls1_2")


def test_renegotiation_is_refused(secret):
    command = ["stdbuf", "-o0", "openssl", "s_client", "-connect", f"127.0.0.1:{secret.port}", "-tls1_2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True) as program:
        read_until(program, "Verify return code")
        program.stdin.write("R\n")
        program.stdin.flush()
        assert "no renegotiation" in read_until(program, "no renegotiation")
        program.kill()


def read_until(program, word):
    text = ""
    while word not in text:
        line = program.stdout.readline()
        assert line, f"the end came before {word}: {text}"
        text += line
    return text


def test_keys_may_be_changed_on_the_way(secret):
    command = ["stdbuf", "-o0", "openssl", "s_client", "-connect", f"127.0.0.1:{secret.port}", "-tls1_3", "-crlf"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True) as program:
        read_until(program, "Verify return code")
        for _ in range(3):
            program.stdin.write("K\n")  # new keys, and the server's as well
            program.stdin.flush()
            read_until(program, "KEYUPDATE")
            program.stdin.write("GET /health HTTP/1.1\nHost: x\n\n")
            program.stdin.flush()
            read_until(program, "HTTP/1.1 200 OK")
        program.kill()


def test_http_1_1_is_agreed_on_and_others_are_not(secret):
    context = secret.tls.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with connect(secret, context) as wire:
        assert wire.selected_alpn_protocol() == "http/1.1"
    assert "no application protocol" in s_client(secret, "-alpn", "h2")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed_whichever_worker_gets_the_connection(secret, version):
    context = secret.tls.context()
    context.minimum_version = context.maximum_version = version
    session = None
    for n in range(20):
        with connect(secret, context, session) as wire:
            wire.sendall(HEALTH)
            assert wire.recv(1000).startswith(b"HTTP/1.1 200")
            assert wire.session_reused == (n > 0)
            session = wire.session


# New certificates


@pytest.fixture
def renewed(authority, certificate, start, tmp_path):
    """A server whose files may be written to."""
    own = authority.issue("own")
    for name in ("file", "key"):
        path = tmp_path / f"own-{name}"
        path.write_bytes(getattr(own, name).read_bytes())
        path.chmod(0o600)
        setattr(own, name, path)
    assert own.der  # as it is before anything happens to the file
    own.server = start("--test-mode", "--workers", "2", tls=own)
    return own


def shown(server):
    with connect(server) as wire:
        return wire.getpeercert(binary_form=True)


def hang_up(server, said):
    before = server.text.count("SIGHUP")
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: server.text.count("SIGHUP") > before, "an answer to SIGHUP")
    assert said in server.text[server.text.rindex("SIGHUP"):]


def test_sighup_gives_new_connections_the_new_certificate(renewed, authority):
    server, new = renewed.server, authority.issue("new")
    client = server.client()
    client.write("s")
    assert shown(server) == renewed.der
    renewed.file.write_bytes(new.file.read_bytes())
    renewed.key.write_bytes(new.key.read_bytes())
    hang_up(server, "new connections get the certificate")
    for _ in range(8):
        assert shown(server) == new.der
    assert client.write("s")["position"] == 1, "the old connection goes on"


def test_metrics_tell_when_the_certificate_ends_and_whether_it_was_read_again(authority, start, tmp_path):
    names = ("certificate_expiry_timestamp", "last_reload_success_timestamp")
    own, longer, file = authority.issue("short", days=1), authority.issue("long", days=2), tmp_path / "file"
    file.write_bytes(own.file.read_bytes())
    own.file = file
    began = time.time()
    server = start("--test-mode", "--admin-listen", "127.0.0.1:0", tls=own)

    def told():
        text = server.admin().request("GET", "/metrics").body.decode()
        return [
            float(re.search(rf"^millrace_tls_{name}(?:_seconds)? (\S+)$", text, re.M).group(1))
            for name in (*names, "last_reload_successful")
        ]

    expiry, loaded, good = told()
    assert abs(expiry - began - 86400) < 300 and began - 1 <= loaded <= time.time() and good == 1
    file.write_bytes(b"nothing")
    hang_up(server, "the certificate stays what it was")
    assert told() == [expiry, loaded, 0]
    file.write_bytes(longer.file.read_bytes())
    own.key.write_bytes(longer.key.read_bytes())
    hang_up(server, "new connections get the certificate")
    assert told()[0] - expiry > 80000 and told()[1] >= loaded and told()[2] == 1


@pytest.mark.parametrize("file, broken, reason", [("file", b"", "there is no PEM certificate"),
                                                  ("file", None, "No such file"),
                                                  ("key", b"nothing", "there is no private key"),
                                                  ("key", None, "No such file"),
                                                  ("key", "other", "is not the key of the certificate")])
def test_a_broken_new_file_leaves_the_old_certificate_and_is_complained_about(renewed, authority, file, broken, reason):
    server, path = renewed.server, getattr(renewed, file)
    path.unlink()
    if broken is not None:
        path.write_bytes(authority.issue("another").key.read_bytes() if broken == "other" else broken)
    hang_up(server, f"the certificate stays what it was: --tls-{'cert' if file == 'file' else 'key'} {path}: {reason}")
    assert re.search("^.* error .*SIGHUP", server.text, re.M)
    assert shown(server) == renewed.der and is_served(server)


def test_a_server_without_tls_survives_sighup(server):
    if server.tls is not None:
        pytest.skip("every server speaks TLS here")
    hang_up(server, "nothing to read again")
    assert server.client().request("GET", "/health").status == 200


def test_a_server_whose_terminal_is_closed_stops():
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(MILLRACE, [MILLRACE, "serve", "--test-mode", "--port", "0", "--admin-listen", ""])
    shown = b""
    while b"listening on" not in shown:
        shown += os.read(terminal, 4096)
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0
