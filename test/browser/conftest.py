"""A browser, a server with data for it to show, and pages, of which nothing may go wrong unseen."""
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import chromium as driven  # noqa: E402
from stock import stock  # noqa: E402
from store import ZERO_TOKEN, Cluster, Server, temporary_folder  # noqa: E402


@pytest.fixture(scope="session")
def chromium():
    driven.need_browser()
    folder = temporary_folder()
    chromium = driven.Chromium(folder)
    yield chromium
    chromium.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def axe():
    """axe-core, which judges pages."""
    folder = temporary_folder()
    source, missing = driven.fetch_axe(folder)
    shutil.rmtree(folder)
    if missing:
        pytest.skip(missing)
    return source


class Stocked:
    """A server with the data of stock.py, and its Postgres."""

    def __init__(self):
        self.folder = temporary_folder()
        self.cluster = Cluster(self.folder + "/pg", ["max_prepared_transactions=5"]).create().start()
        self.server = Server("--database", self.cluster.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
        self.order = stock(self.server)
        self.connection = self.server.client()

    @property
    def client(self):
        """A client with a new connection: an idle one is closed after a while."""
        self.connection.close()
        return self.connection

    def address(self, place="", fragment="", **parameters):
        return driven.address(self.server.port, place, parameters, fragment)

    def sign_in(self, place="", **parameters):
        """An address that takes the token with it, as the one that a start prints."""
        return self.address(place, "#token=" + self.server.token, **parameters)

    def stop(self):
        self.connection.close()
        self.server.stop()
        self.cluster.stop("immediate")
        shutil.rmtree(self.folder)


@pytest.fixture(scope="session")
def stocked():
    stocked = Stocked()
    yield stocked
    stocked.stop()


@pytest.fixture
def unhindered():
    """Faults that the test expects, by what their texts hold."""
    return []


@pytest.fixture
def visit(chromium, stocked, unhindered):
    """Opens pages, and looks after the test at what went wrong in them and at all that was asked for."""
    pages = []
    chromium.requests()
    chromium.asked = []

    def open_page(address, **look):
        pages.append(chromium.open(address, **look))
        return pages[-1]

    yield open_page
    faults = [fault for page in pages for fault in page.faults
              if not any(expected in fault for expected in unhindered)]
    for page in pages:
        page.close()
    requests = chromium.requests()
    assert not faults
    assert requests
    assert not [url for _, url, _ in requests if urlsplit(url).hostname != "127.0.0.1"], "another host is asked"
    assert not [url for _, url, _ in requests if "ns_" in url], "a token is sent in an address"


@pytest.fixture
def page(visit, stocked):
    """A page that is signed in, and shows the overview."""
    page = visit(stocked.sign_in())
    page.wait_for("main h1")
    return page
