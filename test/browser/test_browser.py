"""A real browser's EventSource.  Needs Chromium, which `make deps` does not install because of its size."""
import json
import os
import shutil
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from store import ZERO_TOKEN, Server, wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None,
                                reason="NO BROWSER: apt-get install chromium, to test with a real EventSource")

# Every event goes back to the test, with the number of its place: requests may overtake each other.
PAGE = """<!doctype html><title>subscriber</title><script>
let sent = 0;
function tell(what) { fetch('/told', {method: 'POST', body: JSON.stringify({n: sent++, ...what})}); }
const source = new EventSource(URL_OF_THE_TEST);
source.onopen = () => tell({type: 'open'});
source.onerror = () => tell({type: 'error', state: source.readyState});
for (const type of ['poke', 'message'])
    source.addEventListener(type, event => tell({type, data: JSON.parse(event.data), id: event.lastEventId}));
</script>"""


class Browser:
    """Chromium on one page that subscribes; what the page tells is in `told`, in order."""

    def __init__(self, folder, url):
        self.received, browser = {}, self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._answer(200 if self.path == "/" else 404, PAGE.replace("URL_OF_THE_TEST", json.dumps(url)))

            def do_POST(self):
                what = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                browser.received[what["n"]] = what
                self._answer(200, "")

            def _answer(self, status, text):
                self.send_response(status)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.process = subprocess.Popen([
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", f"--user-data-dir={folder}/profile",
            f"http://127.0.0.1:{self.server.server_port}/"
        ], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"HOME": folder, "PATH": "/usr/bin:/bin"},
                                        start_new_session=True)

    @property
    def told(self):
        return [self.received[n] for n in sorted(self.received)]

    def of(self, type):
        return [what for what in self.told if what["type"] == type]

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)  # with its helpers; the profile is thrown away
        self.process.wait(20)
        self.server.shutdown()
        self.server.server_close()


def test_an_event_source_gets_pokes_and_resumes_after_a_restart_with_none_missing(folder):
    arguments = ["--data-dir", folder + "/data", "--token", ZERO_TOKEN]
    server = Server(*arguments, token=ZERO_TOKEN)
    port, browser = server.port, None
    try:
        for n in range(5):
            server.client().write(f"seen-{n}")
        browser = Browser(folder, f"http://127.0.0.1:{port}/subscribe?category=seen&ids=true&token={ZERO_TOKEN}")
        wait_until(lambda: len(browser.of("poke")) == 5, "pokes of what was there", 60)
        for n in range(5):
            server.client().write("seen-0")
        wait_until(lambda: len(browser.of("poke")) == 10, "live pokes")
        server.stop()
        wait_until(lambda: browser.of("error"), "an end that the browser noticed")
        server = Server(*arguments, "--port", str(port), token=ZERO_TOKEN)
        for n in range(5):
            server.client().write("seen-1")
        wait_until(lambda: len(browser.of("poke")) >= 15, "a reconnection", 60)
        server.client().write("seen-last")
        wait_until(lambda: browser.of("poke")[-1]["data"]["stream"] == "seen-last", "the last poke")
        stored = server.client().call("category.get", "seen")
        pokes = browser.of("poke")
        assert [poke["data"] for poke in pokes] == [{"stream": m[1], "position": m[3], "globalPosition": m[4]}
                                                    for m in stored]
        assert [poke["id"] for poke in pokes] == [str(m[4]) for m in stored]
        assert len(browser.of("open")) == 2 and not [what for what in browser.of("error") if what["state"] == 2]
    finally:
        if browser:
            browser.close()
        server.stop()


def test_whole_messages_arrive_in_on_message(folder):
    server = Server("--test-mode", "--cors-origin", "*")
    browser = None
    try:
        browser = Browser(folder, f"http://127.0.0.1:{server.port}/subscribe?stream=s&messages=true")
        wait_until(lambda: browser.of("open"), "an open subscription", 60)
        server.client().write("s", {"text": "line\nfeed, Größe, 日本"})
        wait_until(lambda: browser.of("message"), "a message")
        assert browser.of("message")[0]["data"] == server.client().call("category.get", "s")[0]
    finally:
        if browser:
            browser.close()
        server.stop()
