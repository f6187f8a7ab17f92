"""How the web page at /ui/ is served; what it does is in test/browser."""
import gzip
import hashlib
import os
import pty
import re
import select
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from store import MILLRACE, PG_BIN, ROOT, ZERO_TOKEN, Server, wait_until

UI = ROOT / "sidecar" / "ui"
MAX_BYTES = 65536  # of all files, compressed
FILES = sorted(str(path.relative_to(UI)) for path in UI.rglob("*") if path.suffix in (".html", ".css", ".js"))
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'")
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".js": "text/javascript; charset=utf-8"}
# By its name: the package, and the file in it.
VENDORED = {"preact.js": ("htm@3.1.1", "preact/standalone.module.js"), "LICENSE.htm": ("htm@3.1.1", "LICENSE")}


@pytest.fixture(scope="module")
def public(secured):
    client = secured.client()
    client.token = None
    return client


def get(client, path, method="GET", **headers):
    return client.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_answered_without_a_token_and_in_both_codings_alike(public, name):
    zipped = get(public, "/ui/" + name, Accept_Encoding="gzip")
    plain = get(public, "/ui/" + name)
    assert zipped.status == plain.status == 200
    assert zipped.headers["Content-Encoding"] == "gzip" and plain.headers["Content-Encoding"] is None
    assert gzip.decompress(zipped.body) == plain.body
    assert plain.headers["Content-Type"] == TYPES[Path(name).suffix]
    assert plain.headers["Content-Security-Policy"] == POLICY
    assert plain.headers["Cache-Control"] == "no-cache" and plain.headers["Vary"] == "Accept-Encoding"
    assert plain.headers["ETag"] == zipped.headers["ETag"]
    if name.startswith("vendor/"):
        assert plain.body == (UI / name).read_bytes()


def test_the_files_together_are_small(public):
    sizes = {name: len(get(public, "/ui/" + name, Accept_Encoding="gzip").body) for name in FILES}
    assert sum(sizes.values()) <= MAX_BYTES, sizes


@pytest.mark.parametrize("path", ["/ui", "/ui/", "/ui/streams", "/ui/stream?name=a%2Fb.js", "/ui/no/such/view"])
def test_an_address_of_a_view_is_answered_with_the_page(public, path):
    reply = get(public, path)
    assert reply.status == 200 and reply.body == (UI / "index.html").read_bytes()


@pytest.mark.parametrize("path", ["/ui/nothing.js", "/ui/../rpc.js", "/ui/vendor/preact.js/x.js", "/ui.html", "/uix",
                                  "/ui/%2e%2e/rpc", "/ui/%2E", "/ui/%73treams"])
def test_what_looks_like_a_file_and_is_none_is_not_found(public, path):
    reply = get(public, path)
    assert reply.status == 404 and reply.error["code"] == "NOT_FOUND"


def test_who_has_a_file_is_told_so_and_gets_no_body(public):
    etag = get(public, "/ui/app.js").headers["ETag"]
    for given in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        reply = get(public, "/ui/app.js", If_None_Match=given)
        assert (reply.status, reply.body) == (304, b""), given
        assert reply.headers["ETag"] == etag and reply.headers["Content-Length"] is None
    assert get(public, "/ui/app.js", If_None_Match=get(public, "/ui/api.js").headers["ETag"]).status == 200


def test_head_is_answered_and_other_methods_are_not(public):
    head = get(public, "/ui/", method="HEAD")
    assert (head.status, head.body) == (200, b"") and int(head.headers["Content-Length"]) > 500
    reply = get(public, "/ui/", method="POST")
    assert reply.status == 405 and reply.headers["Allow"] == "GET, HEAD"


def test_without_the_page_there_is_nothing(request):
    server = Server("--test-mode", "--ui", "off")
    request.addfinalizer(server.stop)
    client = server.client()
    assert [get(client, path).status for path in ("/ui", "/ui/", "/ui/app.js", "/ui/streams")] == [404] * 4
    assert get(client, "/health").status == 200


def test_a_setting_that_is_neither_on_nor_off_is_refused():
    run = subprocess.run([MILLRACE, "serve", "--ui", "maybe"], capture_output=True, text=True, timeout=30)
    assert run.returncode == 2 and '"maybe"' in run.stderr and "on|off" in run.stderr


# ---- the address that a start prints ------------------------------------------------------------------------

def start_on_a_terminal(*arguments):
    """What a start prints up to the page's address, to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([MILLRACE, "serve", "--port", "0", "--admin-listen", "none", *arguments], stdout=theirs,
                               stderr=subprocess.DEVNULL, env={**os.environ, "MILLRACE_PG_BINDIR": PG_BIN})
    os.close(theirs)
    text, end = "", time.monotonic() + 60
    try:
        while "/ui/" not in text or not text.endswith("\n"):
            assert time.monotonic() < end, text
            if select.select([ours], [], [], 1)[0]:
                text += os.read(ours, 65536).decode()
    finally:
        process.terminate()
        process.wait(60)
        os.close(ours)
    return text


@pytest.mark.parametrize("arguments", [[], ["--token", ZERO_TOKEN]], ids=["made", "given"])
def test_a_terminal_is_shown_an_address_that_signs_in(folder, arguments):
    text = start_on_a_terminal("--data-dir", folder + "/data", *arguments)
    token = ZERO_TOKEN if arguments else re.search(r"^    (ns_\S+)", text, re.M).group(1)
    assert re.search(r"http://localhost:\d+/ui/#token=" + token + r"\s", text), text


def test_a_file_gets_the_address_without_the_token(folder):
    server = Server("--data-dir", folder + "/data", "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    try:
        assert wait_until(lambda: re.search(r"http://localhost:\d+/ui/\s", server.text), "the address")
        assert "#token" not in server.text and ZERO_TOKEN not in server.text
    finally:
        server.stop()


def test_test_mode_needs_no_token_in_the_address():
    assert "#token" not in start_on_a_terminal("--test-mode")


# ---- files of others ----------------------------------------------------------------------------------------

def test_files_of_others_are_those_that_are_written_down():
    lines = [line.split("  ") for line in (UI / "vendor/SHA256SUMS").read_text().splitlines()]
    assert sorted(name for _, name in lines) == sorted(VENDORED)
    for digest, name in lines:
        assert hashlib.sha256((UI / "vendor" / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.skipif(shutil.which("npm") is None,
                    reason="NO NPM: apt-get install npm, to compare files with the registry's")
def test_files_of_others_are_those_of_the_registry(tmp_path):
    for package in sorted({package for package, _ in VENDORED.values()}):
        packed = subprocess.run(["npm", "pack", "--silent", package], cwd=tmp_path, capture_output=True, text=True,
                                timeout=120, env={**os.environ, "HOME": str(tmp_path)})
        if packed.returncode:
            pytest.skip(f"NO REGISTRY: npm pack {package}: {packed.stderr.strip()[:200]}")
        with tarfile.open(tmp_path / packed.stdout.strip()) as archive:
            for name, (of, path) in VENDORED.items():
                if of == package:
                    theirs = archive.extractfile("package/" + path).read()
                    assert theirs == (UI / "vendor" / name).read_bytes(), name
