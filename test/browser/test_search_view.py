"""The page's view of searches."""
import json

import pytest

from store import token_for, wait_until


def search(page, **fields):
    for name, value in fields.items():
        page.type(f"[name={name}]", value)
    page.keys("\ue007")  # Enter
    return page


def found(page):
    return page.texts(".canvas [role=row]")


def test_a_value_at_a_path_is_found_and_the_address_finds_it_again(visit, stocked):
    page = visit(stocked.sign_in("search"))
    search(page, path="data.owner.name", value="Owner 17")
    page.wait_text("all of them seen")
    assert page.text(".progress").startswith("1 found")
    assert "account-17" in found(page)[0]
    page.go(page.url)
    page.wait_text("1 found")
    page.click(".canvas [role=gridcell]:first-child a")
    page.wait_text("account: 17")
    assert "/ui/message?id=" in page.url


@pytest.mark.parametrize("value, count", [("7", 4), ('"7"', 0), ("seven", 0)])
def test_a_number_is_none_of_the_texts(visit, stocked, value, count):
    page = visit(stocked.sign_in("search", path="data.order", value=value))
    page.wait_text("all of them seen")
    assert page.text(".progress").startswith(f"{count} found")


def test_a_number_keeps_its_digits(visit, stocked):
    page = visit(stocked.sign_in("search"))
    search(page, path="data.big", value="12345678901234567890123456789")
    page.wait_text("1 found")
    assert "digits-1" in found(page)[0]
    search(page, value="12345678901234567890123456788")
    page.wait_text("0 found")


def test_types_time_and_stream_narrow_it_down(visit, stocked):
    page = visit(stocked.sign_in("search"))
    search(page, types="Charged, Packed,Nothing")
    page.wait_text("2 found in")
    page.js("""const select = document.querySelector('[name=in]');
               select.value = 'stream'; select.dispatchEvent(new Event('change', {bubbles: true}))""")
    search(page, name="parcel-7")
    page.wait_text("1 found in")
    search(page, since="2999-01-01")
    page.wait_text("0 found in")
    assert "since=2999-01-01" in page.url


@pytest.mark.parametrize("field, value", [("since", "yesterday"), ("path", '["data"'), ("path", "other.x")])
def test_what_cannot_be_searched_for_is_said(visit, stocked, field, value):
    page = visit(stocked.sign_in("search"))
    search(page, **{field: value})
    page.wait_for(".trouble")


@pytest.fixture
def tagged(stocked):
    """A namespace with an index of tags, as its token."""
    token = token_for("tagged")
    stocked.client.call("ns.create", "tagged", {"token": token, "tags": True})
    client = stocked.server.client(token)
    for n in range(250):
        client.call("stream.write", f"seat-{n}", {"type": "Booked" if n % 2 else "Freed", "data": {"n": n},
                                                  "tags": ["course:c1", f"seat:{n}", "a, b"]})
    yield token
    client.close()
    stocked.client.call("ns.delete", "tagged")


def test_tags_and_types_are_found_by_their_index(visit, stocked, tagged):
    page = visit(stocked.address("search", "#token=" + tagged))
    search(page, tags="course:c1")
    page.wait_text("250 found")
    page.wait_text("these are all")
    assert "seat-249" in found(page)[0]
    search(page, types="Booked")
    page.wait_text("125 found")
    search(page, tags="course:c1, seat:8", types=" ")
    page.wait_text("1 found")
    search(page, path="data.n", value="8")
    page.wait_text("with types alone", ".trouble")


def test_a_messages_tags_are_links_to_what_else_has_them(visit, stocked, tagged):
    page = visit(stocked.address("stream", "#token=" + tagged, name="seat-7"))
    page.click(".canvas a")
    page.wait_for(".tag")
    assert page.texts(".tag") == ["course:c1", "seat:7", "a, b"]
    page.click(".tag", "a, b")
    page.wait_text("250 found")


def test_without_an_index_of_tags_the_page_says_how_to_get_one(visit, stocked):
    page = visit(stocked.sign_in("search", tags="course:c1"))
    page.wait_text("SELECT millrace.index_tags()", ".trouble")


def test_a_scan_stops_at_a_thousand_and_goes_on_where_it_was(visit, stocked, chromium):
    page = visit(stocked.sign_in("search", types="Deposited", order="oldest"))
    page.wait(lambda: "Go on" in page.texts(".progress button"), "a scan that stopped by itself")
    assert page.text(".progress").startswith("1,000 found")
    page.click(".progress button", "Go on")
    page.wait_text("1,200 found")
    page.wait_text("all of them seen")
    asked = [json.loads(body)[1] for _, url, body in chromium.requests() if "messages.search" in body]
    positions = [options.get("position", 0) for options in asked]
    assert len(positions) >= 6 and positions == sorted(set(positions)), "nothing is looked at twice"


def test_a_scan_is_stopped_and_goes_on(visit, stocked):
    page = visit(stocked.sign_in("search"))
    page.wait_for("[name=types]")
    page.slow_down(400)
    search(page, types="Deposited")
    page.wait(lambda: page.text(".progress").startswith("200 found"), "progress")
    page.click(".progress button", "Stop")
    page.wait(lambda: "Go on" in page.texts(".progress button"), "the end of the scan")
    stopped = page.text(".progress")
    assert "now at" in stopped and "1,200" not in stopped
    page.slow_down(0)
    asked = []
    wait_until(lambda: asked.append(0) or len(asked) > 50 or page.text(".progress") != stopped, "nothing more")
    assert page.text(".progress") == stopped
    page.click(".progress button", "Go on")
    page.wait(lambda: "Go on" in page.texts(".progress button") or "all of them" in page.text(".progress"), "the rest")
