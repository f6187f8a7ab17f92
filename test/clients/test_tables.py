"""What a run finds is compared with the page, and written into it; the page has all clients in their versions."""
import pytest

import libraries
import tables
from store import ROOT

PARTS = ["first", "second"]
PAGE = """before

<!-- calls -->
| client | version | first | second | set this | tried |
| --- | --- | --- | --- | --- | --- |
| jayson | 1 | works | no |  | 2026-01-02 |
| pjrpc | 1 | no | no |  | 2026-01-02 |
<!-- end -->

after
"""


@pytest.fixture
def clients():
    return [client for client in libraries.CALLS if client.name in ("jayson", "pjrpc", "jsonrpcclient")]


def test_a_cell_that_is_as_the_page_says_is_no_difference(clients):
    text, differences = tables.update(PAGE, "calls", clients, PARTS, {"jayson": {"first": "works", "second": "no"}})
    assert differences == []
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    rows = tables.rows(text, "calls")
    assert list(rows) == ["pjrpc", "jayson"], "in the order of the list; who is not tried and not there has no row"
    assert rows["pjrpc"]["tried"] == "2026-01-02" != rows["jayson"]["tried"]
    assert rows["jayson"]["version"] != "1"


def test_each_cell_that_differs_is_named_and_written(clients):
    found = {"jayson": {"first": "no", "second": "no"}, "jsonrpcclient": {"first": "with setting", "second": "works"}}
    text, differences = tables.update(PAGE, "calls", clients, PARTS, found)
    assert differences == [("jsonrpcclient", "first", "nothing", "with setting"),
                           ("jsonrpcclient", "second", "nothing", "works"), ("jayson", "first", "works", "no")]
    rows = tables.rows(text, "calls")
    assert rows["jayson"]["first"] == "no" and rows["jayson"]["set this"] == ""
    assert rows["jsonrpcclient"]["set this"] == "do not parse the empty 204"


@pytest.mark.parametrize("name, clients", [("events", libraries.STREAMS), ("calls", libraries.CALLS),
                                           ("peers", libraries.PEERS)])
def test_the_page_has_every_client_in_the_version_that_is_tried(name, clients):
    rows = tables.rows((ROOT / "sidecar" / "CLIENTS.md").read_text(), name)
    assert {client.name: client.version for client in clients} == {
        client: row["version"] for client, row in rows.items()
    }
