"""The page itself: token, keys, light and dark, what it asks for and how it looks."""
import os
import re

import pytest

from stock import VIEWS
from store import token_for

SCREENSHOTS = os.environ.get("SCREENSHOTS")  # a folder that they are put into


def selected(page):
    return page.js("const row = document.querySelector('[aria-selected=true]:is(.row)'); return row && row.innerText")


# ---- the token ----------------------------------------------------------------------------------------------

def test_a_token_in_the_fragment_is_taken_out_of_the_address_at_once(visit, stocked):
    page = visit(stocked.sign_in("consumers"))
    page.wait_text("worker")
    assert page.url == stocked.address("consumers")
    history = page.cdp("Page.getNavigationHistory")["entries"]
    assert not [entry["url"] for entry in history if "token" in entry["url"]]
    page.go(stocked.address("streams"))
    page.wait_text("account-1")
    other = visit(stocked.address("streams"))
    other.wait_for("#token")
    assert "account" not in other.text(), "another tab has no token"


def test_without_a_token_it_is_asked_for_and_a_wrong_one_is_refused(visit, stocked, chromium):
    page = visit(stocked.address("stream", name="account-1"))
    page.type("#token", token_for("default"))
    page.click("main button")
    page.wait_text("no longer takes this token")
    page.type("#token", stocked.server.token + "\ue007")
    page.wait_text("account-1", "h1")
    page.wait_for(".canvas .row")
    stored = page.js("return JSON.stringify([localStorage, document.cookie, history.state])")
    assert stocked.server.token not in stored
    assert page.js("return sessionStorage.token") == stocked.server.token


def test_an_expired_token_is_asked_for_again_and_the_view_is_where_it_was(visit, stocked):
    old, new = token_for("expires"), token_for("expires")
    stocked.client.call("ns.create", "expires", {"token": old})
    page = visit(stocked.address("streams", "#token=" + old))
    page.wait_text("No streams")
    stocked.client.call("ns.delete", "expires")
    stocked.client.call("ns.create", "expires", {"token": new})
    stocked.server.client(new).write("found-again")
    page.type("main input", "found")
    page.wait_text("no longer takes this token")
    page.type("#token", new + "\ue007")
    page.wait_text("found-again")
    assert "/ui/streams?" in page.url
    stocked.client.call("ns.delete", "expires")


# ---- keys ---------------------------------------------------------------------------------------------------

def test_keys_find_move_open_and_go(visit, stocked):
    page = visit(stocked.sign_in("stream", name="account-1"))
    page.wait_for(".canvas .row")
    page.keys("j")
    page.wait(lambda: selected(page), "a row")
    begin = selected(page)
    page.keys("j")
    page.wait(lambda: selected(page) != begin, "the next row")
    page.keys("k")
    page.wait(lambda: selected(page) == begin, "the first row")
    page.keys("j", "o")
    page.wait_for(".facts")
    assert "/ui/message?id=" in page.url
    for key, title in (("s", "Streams"), ("f", "Search"), ("c", "Consumers"), ("a", "Server"), ("m", "Messages"),
                       ("n", "Namespace")):
        page.keys("g", key)
        page.wait_text(title, "h1")
    page.keys("?")
    page.wait_text("Keys", "dialog")
    page.keys("\ue00c")  # Escape
    page.wait(lambda: not page.all("dialog"), "the end of the help")
    page.keys("/", "parcel-7")
    page.wait(lambda: page.js("return document.activeElement.id") == "box", "the box")
    page.keys("\ue007")
    page.wait_text("parcel-7", "h1")


def test_keys_that_are_typed_into_a_field_are_text(visit, stocked):
    page = visit(stocked.sign_in("search"))
    page.type("[name=path]", "gjk?/")
    assert page.js("return document.querySelector('[name=path]').value") == "gjk?/"
    assert not page.all("dialog") and page.url.endswith("/search")


# ---- looks --------------------------------------------------------------------------------------------------

def test_light_and_dark_follow_the_system_or_are_chosen_and_remembered(visit, stocked):
    def is_dark():
        numbers = re.findall(r"[\d.]+", page.js("return getComputedStyle(document.body).backgroundColor"))
        return float(numbers[0]) < 100

    page = visit(stocked.sign_in("consumers"))
    page.wait_for("main h1")
    assert not is_dark()
    page.look(dark=True)
    page.wait(is_dark, "dark, as the system")
    page.click("header button[aria-label*=dark]")
    page.wait(lambda: not is_dark(), "light, as chosen")
    page.go(stocked.address("consumers"))
    page.wait_for("main h1")
    assert not is_dark(), "not remembered"
    page.click("header button[aria-label*=dark]")
    page.look(dark=False)
    page.wait(is_dark, "dark, as chosen")
    page.js("localStorage.clear()")


@pytest.mark.parametrize("width, dark", [(1280, False), (1280, True), (375, False), (375, True)])
def test_every_view_is_accessible_and_fits(visit, stocked, axe, width, dark):
    page = visit(stocked.sign_in(), width=width, dark=dark)
    page.wait_for(".canvas .row")
    wrong = []
    for place, parameters in VIEWS:
        page.show(stocked.server.port, place, parameters or ({"id": stocked.order[1]} if place == "message" else {}))
        wrong += [f"{place} {parameters}: {violation}" for violation in page.axe(axe)]
        if page.js("""return [document.documentElement, document.querySelector('main')]
                      .some(element => element.scrollWidth > element.clientWidth)"""):
            wrong.append(f"{place} {parameters} is too wide")
        page.picture(SCREENSHOTS, place, parameters, width, dark)
    assert not wrong
