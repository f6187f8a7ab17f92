"""A headless Chromium, driven by Debian's chromium-driver, and axe-core from the npm registry."""
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from store import wait_until

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
except ImportError:
    webdriver = None

MISSING = "NO BROWSER: apt-get install chromium chromium-driver python3-selenium, to test the page"
FOUND = CHROMIUM and DRIVER and webdriver

PATIENCE = int(os.environ.get("PATIENCE", "60"))  # seconds that a page has for anything

AXE = "axe-core@4.14.1"
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

# What goes wrong in a page, noted before any script of its own runs.
WATCH = """
window.faults = [];
addEventListener('securitypolicyviolation', e => faults.push(`CSP ${e.violatedDirective} ${e.blockedURI}`));
addEventListener('error', e => faults.push(`error ${e.message} ${e.filename}:${e.lineno}`));
addEventListener('unhandledrejection', e => faults.push(`rejection ${e.reason && e.reason.stack || e.reason}`));
window.alert = text => faults.push(`alert ${text}`);
"""


def address(port, place="", parameters=None, fragment=""):
    """Where a view is."""
    query = "?" + urlencode(parameters, quote_via=quote) if parameters else ""
    return f"http://127.0.0.1:{port}/ui/{place}{query}{fragment}"


class Chromium:
    """One Chromium; each page is a window of its own, so that all of them are visible.

    apart: in a session of its own, and so in a group of its own where sessions share the processors (sched_autogroup).
    """

    def __init__(self, folder, apart=False):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                     "--disable-background-networking", "--disable-component-update", "--disable-sync",
                     "--force-color-profile=srgb", "--hide-scrollbars", f"--user-data-dir={folder}/profile",
                     "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        options.add_experimental_option("perfLoggingPrefs", {"enableNetwork": True, "enablePage": False})
        # /usr/bin/chromium wants a HOME that it can write to.
        driver = DRIVER
        if apart:
            driver = Path(folder) / "driver"
            driver.write_text(f'#!/bin/sh\nexec setsid {DRIVER} "$@"\n')
            driver.chmod(0o755)
        service = Service(str(driver), env={**os.environ, "HOME": str(folder)})
        self.driver = webdriver.Chrome(service=service, options=options)
        self.driver.set_script_timeout(120)
        self.driver.set_page_load_timeout(120)
        self.first = self.current = self.driver.current_window_handle
        self.asked, self.spare = [], None

    def open(self, url, width=1280, height=800, dark=False):
        """Opens a page in a window that has no token of another one's."""
        page, self.spare = self.spare or Page(self), None  # a new window takes long
        return page.look(width, height, dark).go(url)

    def requests(self):
        """What has been asked for over the network, as (method, URL, body)."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                request = message["params"]["request"]
                self.asked.append((request["method"], request["url"], request.get("postData", "")))
            elif message["method"] == "Network.webSocketCreated":
                self.asked.append(("WEBSOCKET", message["params"]["url"], ""))
        self.asked = [request for request in self.asked if request[1].startswith(("http", "ws"))]
        return self.asked

    def processes(self):
        """All processes of it."""
        found, children = [], [self.driver.service.process.pid]
        while children:
            process = children.pop()
            found.append(process)
            try:
                for task in Path(f"/proc/{process}/task").iterdir():
                    children += map(int, (task / "children").read_text().split())
            except OSError:  # it has ended
                continue
        return found

    def close(self):
        self.driver.quit()


class Page:
    """A window.  What is asked of it brings it to the front of the driver first, not of the screen."""

    def __init__(self, browser):
        browser.driver.switch_to.new_window("window")
        self.browser, self.driver = browser, browser.driver
        self.handle = browser.current = self.driver.current_window_handle
        self.cdp("Page.enable")
        self.cdp("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        self.cdp("Emulation.setFocusEmulationEnabled", enabled=True)
        self.earlier = []  # faults of documents before

    def here(self):
        if self.browser.current != self.handle:
            self.driver.switch_to.window(self.handle)
            self.browser.current = self.handle
        return self.driver

    def cdp(self, command, **parameters):
        return self.here().execute_cdp_cmd(command, parameters)

    def look(self, width=1280, height=800, dark=False):
        """Sets size and colour scheme."""
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.cdp("Emulation.setEmulatedMedia",
                 features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        return self

    def go(self, url):
        self.earlier += self.js("return window.faults || []")
        self.here().get(url)
        return self

    def close(self):
        """Forgets all about the page, and keeps the window for the next one, if there is none yet."""
        if self.browser.spare is None:
            self.js("sessionStorage.clear(); localStorage.clear()")
            self.slow_down(0)
            self.go("about:blank")
            self.earlier, self.browser.spare = [], self
            return
        self.here().close()
        self.driver.switch_to.window(self.browser.first)
        self.browser.current = self.browser.first

    @property
    def url(self):
        return self.here().current_url

    @property
    def faults(self):
        return self.earlier + self.js("return window.faults || []")

    def js(self, script, *arguments):
        return self.here().execute_script(script, *arguments)

    def evaluate(self, expression):
        """The value of an expression, also of a promise; no policy of the page applies."""
        done = self.cdp("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def all(self, selector):
        return self.here().find_elements("css selector", selector)

    def text(self, selector="main"):
        """What an element shows; nothing where there is none."""
        return self.js("const e = document.querySelector(arguments[0]); return e ? e.innerText : ''", selector)

    def texts(self, selector):
        return self.js("return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)", selector)

    def wait(self, condition, what, seconds=PATIENCE):
        def said():
            return f"{what}; at {self.url} the page shows\n{(self.text('body') or '')[:1500]}\nfaults: {self.faults}"
        try:
            return wait_until(condition, what, seconds)
        except AssertionError:
            raise AssertionError(f"waited {seconds} s in vain for: {said()}") from None

    def wait_for(self, selector, seconds=PATIENCE):
        return self.wait(lambda: self.all(selector), f"an element {selector}", seconds)[0]

    def wait_text(self, text, selector="main", seconds=PATIENCE):
        return self.wait(lambda: text in (self.text(selector) or ""), f"{text!r} in {selector}", seconds)

    def click(self, selector, text=None):
        """Clicks on the first element of the selector that shows the text, or is nearest to it."""
        def found():
            return self.js("""
                const [selector, text] = arguments;
                const all = [...document.querySelectorAll(selector)].filter(e => !e.disabled && e.checkVisibility());
                const found = text === null ? all[0] : all.find(e => e.innerText.trim() === text) ||
                    all.find(e => e.innerText.includes(text));
                if (found) found.scrollIntoView({block: 'nearest'});
                if (found) found.click();
                return Boolean(found)""", selector, text)
        self.wait(found, f"{selector} with {text!r} to click on")
        return self

    def type(self, selector, text):
        """Types into a field in place of what it holds."""
        field = self.wait_for(selector)
        self.js("arguments[0].focus(); arguments[0].select()", field)
        field.send_keys(text)
        return self

    def choose(self, selector, value):
        """Chooses one of the options of a <select>."""
        self.wait_for(selector)
        self.js("""const select = document.querySelector(arguments[0]);
                   select.value = arguments[1];
                   select.dispatchEvent(new Event('change', {bubbles: true}))""", selector, value)
        return self

    def allow_changes(self):
        return self.click("[role=switch]").wait_for(".changes")

    def can_change(self, form=".changes"):
        """Whether the button of a form is one to press."""
        return not self.js("return document.querySelector(arguments[0] + ' button.danger').disabled", form)

    def change(self, name, form=".changes"):
        """Types the name of what is changed, and does it."""
        self.type(form + " [name=confirm]", name)
        return self.click(form + " button", "Do it")

    def keys(self, *keys):
        """Presses keys where the focus is."""
        self.here().switch_to.active_element.send_keys(*keys)
        return self

    def slow_down(self, ms):
        """Each request takes so much longer; 0: none."""
        self.cdp("Network.enable")
        self.cdp("Network.emulateNetworkConditions", offline=False, latency=ms, downloadThroughput=-1,
                 uploadThroughput=-1)

    def allow_clipboard(self):
        self.cdp("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])

    def show(self, port, place, parameters):
        """Goes to a view as a link does, and waits for what it shows."""
        self.js("history.pushState(null, '', arguments[0]); dispatchEvent(new PopStateEvent('popstate'))",
                address(port, place, parameters))
        self.wait(lambda: self.all(".canvas .row") or self.all(".facts"), f"the content of {place} {parameters}")
        self.wait(lambda: "…" not in self.texts("main p[role=status]"), "the end of waiting")
        if self.all("[role=switch]"):
            self.allow_changes()

    def picture(self, folder, place, parameters, width, dark):
        """Puts what is seen into a file of the folder, if there is one."""
        if folder:
            name = "-".join([place or "overview", *parameters][:2])
            self.here().save_screenshot(f"{folder}/{name}-{width}-{'dark' if dark else 'light'}.png")

    def axe(self, source):
        """Violations of accessibility rules, a line each."""
        if not self.js("return Boolean(window.axe)"):
            self.evaluate(source + ";0")
        found = json.loads(self.evaluate(
            "axe.run(document, {resultTypes: ['violations'], runOnly: " + json.dumps(RULES) + "})"
            ".then(r => JSON.stringify(r.violations))"))
        return [f"{rule['id']}: {rule['help']}: {node['html'][:200]}: {node['failureSummary']}"
                for rule in found for node in rule["nodes"]]


def fetch_axe(folder):
    """axe.min.js, as a text; or why it can't be had, as the second of two."""
    if os.environ.get("AXE"):
        return check_axe(Path(os.environ["AXE"]).read_bytes()), None
    if not shutil.which("npm"):
        return None, f"NOT JUDGED BY AXE: npm is not installed, so {AXE} can't be fetched"
    try:
        done = subprocess.run(["npm", "pack", AXE, "--silent"], cwd=folder, capture_output=True, text=True,
                              env={**os.environ, "HOME": str(folder)}, timeout=120)
    except subprocess.TimeoutExpired:
        return None, f"NOT JUDGED BY AXE: {AXE} did not come within two minutes"
    if done.returncode != 0:
        return None, f"NOT JUDGED BY AXE: {AXE} can't be fetched: {done.stderr.strip()[-300:]}"
    shutil.unpack_archive(Path(folder) / done.stdout.split()[-1], folder, "gztar")
    return check_axe((Path(folder) / "package" / "axe.min.js").read_bytes()), None


def check_axe(source):
    assert hashlib.sha256(source).hexdigest() == AXE_SHA256, f"another axe.min.js than that of {AXE}"
    return source.decode()


def need_browser():
    if not FOUND:
        pytest.skip(MISSING)
