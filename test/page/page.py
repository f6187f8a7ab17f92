#!/usr/bin/python3
"""How fast the page is, and what it costs a server.

    page.py [--messages 1000000] [--seconds 30] [--rounds 3] [--screenshots FOLDER]

A server with an embedded, durable Postgres, a stream of that many messages, and Chromium with an empty cache: the first
paint and the first rows, jumps anywhere in the stream, 60 rows a second for `--seconds`, axe-core on each view in light
and dark, what the server holds for an open page, and the load of bench/README.md without and with ten open pages, in
turns.  Chromium runs on the same machine, with the least priority while there is load.  The last line is JSON.  Exit
code 1 when a row was dropped or axe-core found something.

`make test-page` runs it; by itself it needs MILLRACE, LOAD (bench/load) and a user that is not root.
"""
import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path[1:1] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent.parent / "browser")]

import chromium as driven  # noqa: E402
from stock import VIEWS, fill, stock  # noqa: E402
from store import ZERO_TOKEN, Server, temporary_folder  # noqa: E402

LOAD = os.environ.get("LOAD", str(Path(__file__).resolve().parent.parent.parent / "bench" / "load"))
STREAM = "million-1"
TARGETS = {"first_paint_ms": 300, "jump_ms": 100}  # at most
PAINTS = 11
JUMPS = 100
RATE = 60  # rows a second
OPEN = [("", {})] * 6 + [("consumers", {}), ("consumers", {"name": "worker"}), ("admin", {}), ("streams", {})]


def yield_processor(process):
    """The browser's own work is another machine's elsewhere: it gets what the server and the load leave.  Where
    sessions share the processors as groups (sched_autogroup), the group has to yield."""
    os.setpriority(os.PRIO_PROCESS, process, 19)
    group = Path(f"/proc/{process}/autogroup")
    if group.exists():
        try:
            group.write_text("19")
        except OSError:  # a process that has ended, or a group that was told a moment ago
            pass


# Whether the rows that are seen are all here, and which one is the first.
JUMP = """
window.shown = () => {
    const box = (document.querySelector('.rows') || document.body).getBoundingClientRect();
    const seen = [...document.querySelectorAll('.canvas [role=row]')].filter(row => {
        const {top, bottom} = row.getBoundingClientRect();
        return bottom > box.top && top < box.bottom;
    });
    return seen.length > 5 && !seen.some(row => row.classList.contains('absent')) && seen[0].ariaRowIndex;
};
window.jump = act => new Promise((done, failed) => {
    const before = shown(), began = performance.now();
    const look = () => {
        const now = shown();
        if (now && now !== before) done(performance.now() - began);
        else if (performance.now() - began > 20000) failed(Error('no rows'));
        else requestAnimationFrame(look);
    };
    act();
    requestAnimationFrame(look);
})
"""

DRAWN = """
window.drawn = new Set();
new MutationObserver(() => document.querySelectorAll('.canvas [role=row]:not(.absent)').forEach(row =>
    drawn.add(Number(row.innerText.split('\\n')[0].replace(/,/g, ''))))
).observe(document.querySelector('main'), {childList: true, subtree: true, characterData: true});
"""

ROWS_AT = """
new MutationObserver((_, observer) => {
    if (document.querySelector('.canvas .row')) {
        window.rowsAt = performance.now();
        observer.disconnect();
    }
}).observe(document, {childList: true, subtree: true});
"""

HIDE = """
Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});
document.dispatchEvent(new Event('visibilitychange'))
"""


class Measured:
    def __init__(self, arguments):
        self.arguments = arguments
        self.folder = temporary_folder()
        self.server = Server("--data-dir", self.folder + "/data", "--token", ZERO_TOKEN, token=ZERO_TOKEN)
        self.browser = driven.Chromium(self.folder, apart=True)
        self.order = stock(self.server)
        began = time.monotonic()
        fill(self.server.postgres(), STREAM, arguments.messages)
        print(f"{arguments.messages} messages in {time.monotonic() - began:.0f} s", flush=True)

    def close(self):
        self.browser.close()
        self.server.stop()
        shutil.rmtree(self.folder)

    def address(self, place="", parameters=None):
        return driven.address(self.server.port, place, parameters, "#token=" + ZERO_TOKEN)

    def open(self, place="", parameters=None, **look):
        return self.browser.open(self.address(place, parameters), **look)

    # ---- what a user sees ----

    def first_paint(self):
        """Medians of the first paint and the first rows of the overview, with nothing cached."""
        paints, rows = [], []
        for _ in range(PAINTS):
            page = self.browser.open("about:blank")
            page.cdp("Network.clearBrowserCache")
            page.cdp("Page.addScriptToEvaluateOnNewDocument", source=ROWS_AT)
            page.go(self.address())
            page.wait(lambda: page.js("return window.rowsAt"), "rows")
            paints.append(page.js("return performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            rows.append(page.js("return window.rowsAt"))
            page.close()
        return {"first_paint_ms": round(statistics.median(paints)), "first_rows_ms": round(statistics.median(rows))}

    def jumps(self):
        """The median and the longest of many jumps in the long stream: by the scrollbar, a screen, and to its ends."""
        page = self.open("stream", {"name": STREAM})
        page.wait(lambda: page.js(JUMP + "; return shown()"), "the stream's rows")
        random.seed(7)
        acts = ["const e = document.querySelector('.rows'); e.scrollTop = %f * e.scrollHeight" % random.random()
                for _ in range(JUMPS)]
        for at, label in zip(range(5, JUMPS, 10), ["Oldest", "Newer", "Newest", "Older"] * JUMPS):
            acts[at] = f"document.querySelector('[aria-label={label}]').click()"
        took = [page.evaluate(f"jump(() => {{ {act} }})") for act in acts]
        page.close()
        return {"jump_ms": round(statistics.median(took)), "longest_jump_ms": round(max(took))}

    def live(self):
        """How many of 60 rows a second the table lacks when it is looked through afterwards, or never drew."""
        client, page = self.server.client(), self.open("stream", {"name": "live-1"})
        client.write("live-1")
        page.wait_text("0", ".canvas .row")
        page.js(DRAWN)
        began, count = time.monotonic(), self.arguments.seconds * RATE
        for n in range(1, count):
            time.sleep(max(0, began + n / RATE - time.monotonic()))
            client.write("live-1", {"n": n})
        page.wait(lambda: page.js("return drawn.has(arguments[0])", count - 1), "the last row")
        undrawn = count - page.js("return drawn.size")
        for row in range(0, count, 10):
            page.js("document.querySelector('.rows').scrollTop = arguments[0] * 30", row)
            page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        dropped = count - page.js("return drawn.size")
        page.close()
        return {"dropped": dropped, "undrawn": undrawn}

    def accessibility(self):
        """Violations over all views, and pictures of them."""
        source, missing = driven.fetch_axe(self.folder)
        if missing:
            print(missing)
        found = []
        for dark in (False, True):
            for width in (1280, 375):
                page = self.open(width=width, dark=dark)
                page.wait_for(".canvas .row")
                for place, parameters in VIEWS:
                    if place == "message":
                        parameters = {"id": self.order[1]}
                    page.show(self.server.port, place, parameters)
                    found += [f"{place}: {violation}" for violation in page.axe(source)] if source else []
                    page.picture(self.arguments.screenshots, place, parameters, width, dark)
                page.close()
        print(*sorted(set(found)), sep="\n")
        return {"axe": len(set(found)) if source else None}

    # ---- what it costs ----

    def open_pages(self):
        """Ten open pages, and what the server holds for each."""
        before = self.server.memory()
        pages = [self.open(place, parameters) for place, parameters in OPEN]
        for page in pages:
            page.wait_for("main h1")
        time.sleep(5)  # pages at work
        return pages, {"memory_per_page_kb": round((self.server.memory() - before) * 1024 / len(pages))}

    def load(self):
        """Requests a second of bench/load."""
        results = Path(self.folder) / "results.json"
        subprocess.run([
            LOAD, "--url", f"http://127.0.0.1:{self.server.port}", "--token", ZERO_TOKEN, "--output", results,
            "--warmup", "1", "--workers", "64", "--duration", str(self.arguments.load_seconds)
        ], capture_output=True, check=True)
        return json.loads(results.read_text())["throughput"]

    def beside_load(self, pages):
        """The load without the pages and with them, in turns."""
        alone, beside, asked = [], [], 0
        for process in self.browser.processes():
            yield_processor(process)
        for turn in range(self.arguments.rounds):
            for seen in ((False, True), (True, False))[turn % 2]:
                for page in pages:
                    page.js(HIDE, not seen)
                before = len(self.browser.requests())
                (beside if seen else alone).append(self.load())
                asked += len(self.browser.requests()) - before if seen else 0
        print("alone", alone, "with pages", beside, flush=True)
        alone, beside = statistics.median(alone), statistics.median(beside)
        return {"load_alone": round(alone), "load_with_pages": round(beside), "load_ratio": round(beside / alone, 3),
                "asked_by_pages_per_s": round(asked / self.arguments.rounds / (self.arguments.load_seconds + 1))}


def main():
    parser = argparse.ArgumentParser(description="How fast the page is, and what it costs a server.")
    parser.add_argument("--messages", type=int, default=1000000)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--load-seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--screenshots")
    arguments = parser.parse_args()
    if not driven.FOUND:
        sys.exit(driven.MISSING)
    measured, result = Measured(arguments), {}
    try:
        for part in (measured.first_paint, measured.jumps, measured.live, measured.accessibility):
            result.update(part())
            print(result, flush=True)
        pages, memory = measured.open_pages()
        result.update(memory)
        result.update(measured.beside_load(pages))
    finally:
        measured.close()
    for name, most in TARGETS.items():
        if result[name] > most:
            print(f"missed: {name} is {result[name]}, at most {most}")
    print(json.dumps(result))
    return 1 if result["dropped"] or result["axe"] else 0


if __name__ == "__main__":
    sys.exit(main())
