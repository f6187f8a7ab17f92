"""What happens while a page is looked at: messages arrive, the server goes away."""
import threading
import time

import pytest

from store import ZERO_TOKEN, Server, free_port, wait_until

# Every position that a row of the table has ever shown, noted as it is drawn.
COLLECT = """
window.drawn = new Set();
new MutationObserver(() => {
    for (const row of document.querySelectorAll('.canvas [role=row]:not(.absent)'))
        drawn.add(Number(row.innerText.split('\\n')[0].replace(/,/g, '')));
}).observe(document.querySelector('main'), {childList: true, subtree: true, characterData: true});
"""


class Load:
    """Writes to streams of category `live` until it is stopped."""

    def __init__(self, stocked, streams, rate):
        self.stocked, self.streams, self.rate, self.over = stocked, streams, rate, threading.Event()
        self.written = dict.fromkeys(streams, -1)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        client, began, count = self.stocked.server.client(), time.monotonic(), 0
        while not self.over.wait(max(0, began + count / self.rate - time.monotonic())):
            stream = self.streams[count % len(self.streams)]
            self.written[stream] = client.write(stream, {"n": count})["position"]
            count += 1
        client.close()

    def stop(self):
        self.over.set()
        self.thread.join()


@pytest.fixture
def load(stocked):
    loads = []

    def begin(*streams, rate=60):
        loads.append(Load(stocked, streams, rate))
        return loads[-1]

    yield begin
    for one in loads:
        one.stop()


def top(page):
    """The position in the first row."""
    rows = page.texts(".canvas [role=row]:not(.absent)")
    return max((int(row.split("\n")[0].replace(",", "")) for row in rows), default=-1)


def test_rows_of_a_stream_arrive_live_and_none_is_left_out(visit, stocked, load):
    stocked.client.write("live-1")
    page = visit(stocked.sign_in("stream", name="live-1"))
    page.wait(lambda: top(page) == 0, "the first row")
    page.js(COLLECT)
    writing = load("live-1")
    page.wait(lambda: writing.written["live-1"] > 100, "a hundred messages")
    writing.stop()
    page.wait(lambda: top(page) == writing.written["live-1"], "the last row")
    assert page.js("return document.querySelectorAll('.canvas [role=row]').length") < 100
    drawn = set(page.js("return [...drawn]"))
    for step in range(0, writing.written["live-1"], 10):
        page.js("document.querySelector('.rows').scrollTop = arguments[0] * 30", step)
        page.js("return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.wait(lambda: set(page.js("return [...drawn]")) >= set(range(writing.written["live-1"] + 1)), "every row")
    assert len(drawn) > 20, "rows were drawn as they came"


def test_rows_of_a_category_arrive_live_and_a_pause_keeps_them(visit, stocked, load):
    page = visit(stocked.sign_in("category", name="both"))
    page.wait_text("No messages")
    writing = load("both-1", "both-2")
    page.wait(lambda: len(page.texts(".canvas [role=row]")) > 10, "rows")
    page.click(".live", "Live")
    page.wait_text("new", ".live")
    held = page.texts(".canvas [role=row]")
    before = sum(writing.written.values())
    page.wait(lambda: sum(writing.written.values()) > before + 60, "more messages")
    assert page.texts(".canvas [role=row]") == held, "rows that are looked at stay"
    writing.stop()
    written = sum(writing.written.values()) + 2
    page.click(".live")
    page.wait_text("Live", ".live")
    page.wait(lambda: page.js("return document.querySelector('[role=grid]').ariaRowCount") == str(written + 1),
              f"all {written}, those that came in the pause too")


def test_a_hidden_tab_has_no_connection(visit, stocked):
    def subscriptions():
        return stocked.client.call("sys.connections")["subscriptions"]

    stocked.client.write("hidden-1")
    wait_until(lambda: subscriptions() == 0, "no subscription")
    page = visit(stocked.sign_in("stream", name="hidden-1"))
    wait_until(lambda: subscriptions() == 1, "its subscription")
    hide = """Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});
              document.dispatchEvent(new Event('visibilitychange'))"""
    page.js(hide, True)
    wait_until(lambda: subscriptions() == 0, "no subscription")
    stocked.client.write("hidden-1")
    page.js(hide, False)
    page.wait(lambda: top(page) == 1, "what came meanwhile")


def test_a_restart_of_the_server_is_said_and_rows_go_on_where_they_were(visit, stocked):
    port = free_port()
    arguments = ["--database", stocked.cluster.conninfo(), "--token", ZERO_TOKEN, "--port", str(port)]
    server = Server(*arguments, token=ZERO_TOKEN)
    try:
        server.client().write("restarted-1")
        page = visit(f"http://127.0.0.1:{port}/ui/stream?name=restarted-1#token={ZERO_TOKEN}")
        page.wait(lambda: top(page) == 0, "the first row")
        server.stop()
        page.wait_text("Reconnecting", ".live")
        stocked.client.write("restarted-1")
        server = Server(*arguments, token=ZERO_TOKEN)
        page.wait(lambda: top(page) == 1, "what came while the server was away")
        page.wait_text("Live", ".live")
        server.client().write("restarted-1")
        page.wait(lambda: top(page) == 2, "what comes afterwards")
    finally:
        server.stop()


def test_the_overview_goes_on_after_a_restart(visit, stocked):
    port = free_port()
    arguments = ["--database", stocked.cluster.conninfo(), "--token", ZERO_TOKEN, "--port", str(port)]
    server = Server(*arguments, token=ZERO_TOKEN)
    try:
        page = visit(f"http://127.0.0.1:{port}/ui/#token={ZERO_TOKEN}")
        page.wait_for(".canvas .row")
        server.stop()
        page.wait_for(".trouble")
        server = Server(*arguments, token=ZERO_TOKEN)
        page.wait(lambda: not page.all(".trouble"), "the end of the trouble")
        server.client().write("afterwards-1")
        page.wait_text("afterwards-1")
    finally:
        server.stop()
