"""Certificates for the tests, made by the openssl command, and sockets that speak TLS."""
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path

NAMES = "DNS:localhost,IP:127.0.0.1,IP:::1"
# As RFC 5280 has it, which Python checks since 3.13.
SIGNS_OTHERS = ("basicConstraints=critical,CA:true", "keyUsage=critical,keyCertSign,cRLSign")
KEYS = ("subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid")


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Certificate:
    """A certificate's file, its key's, and that of the authority that signed it."""

    def __init__(self, file, key, authority):
        self.file, self.key, self.authority = file, key, authority

    def flags(self):
        return ["--tls-cert", str(self.file), "--tls-key", str(self.key)]

    def context(self):
        """For a client that trusts the authority that signed it."""
        context = ssl.create_default_context(cafile=self.authority)
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # whatever the version
        context.sslsocket_class = HalfClosing
        return context

    @cached_property
    def der(self):
        """The certificate as bytes of DER, which is how a client's socket shows it."""
        return ssl.PEM_cert_to_DER_cert(self.file.read_text().split("-----END CERTIFICATE-----")[0] +
                                        "-----END CERTIFICATE-----")


class HalfClosing(ssl.SSLSocket):
    """A TLS socket that can still receive when its own side is shut, as programs in other languages can."""

    def shutdown(self, how):
        socket.socket.shutdown(self, how)


class Authority:
    """Signs certificates through another one, so that a server needs a chain."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.root = self._make("root", None, SIGNS_OTHERS)
        self.middle = self._make("middle", self.root, SIGNS_OTHERS)

    def _make(self, name, signer, extensions, algorithm=("ec", "ec_paramgen_curve:P-256"), days=2):
        certificate = Certificate(self.folder / f"{name}.pem", self.folder / f"{name}.key", self.folder / "root.pem")
        request = ["req", "-x509"] if signer is None else ["req", "-new"]
        signed = ["-days", days, "-addext", extensions[1]] if signer is None else []  # the other one is there by itself
        out = certificate.file if signer is None else self.folder / f"{name}.csr"
        openssl(*request, "-newkey", algorithm[0], "-pkeyopt", algorithm[1], "-nodes", "-keyout", certificate.key,
                "-out", out, "-subj", f"/CN={name}", *signed)
        if signer is not None:
            (self.folder / f"{name}.ext").write_text("\n".join((*extensions, *KEYS)))
            openssl("x509", "-req", "-in", out, "-CA", signer.file, "-CAkey", signer.key, "-CAcreateserial", "-days",
                    days, "-extfile", self.folder / f"{name}.ext", "-out", certificate.file)
        certificate.key.chmod(0o600)
        return certificate

    def issue(self, name, names=NAMES, **options):
        """A server's certificate with its chain behind it."""
        certificate = self._make(name, self.middle, (f"subjectAltName={names}",), **options)
        certificate.file.write_text(certificate.file.read_text() + self.middle.file.read_text())
        return certificate


_common = None


def common_certificate():
    """The certificate that all servers of this process may use."""
    global _common
    if _common is None:
        folder = tempfile.mkdtemp(prefix="m-tls-")
        _common = Authority(folder).issue("server")
    return _common


def forget_common_certificate():
    global _common
    if _common is not None:
        shutil.rmtree(_common.file.parent)
    _common = None


# With `run.py --tls` every server of the tests has a certificate.
EVERYWHERE = bool(os.environ.get("MILLRACE_TEST_TLS"))
