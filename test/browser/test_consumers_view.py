"""The page's view of consumers: what it shows, and what it takes to change one."""
import itertools
import re
from collections import namedtuple

import pytest

from stock import MARKUP
from store import wait_until

Consumer = namedtuple("Consumer", "name first second third")
NUMBERS = itertools.count()


@pytest.fixture
def consumer(stocked):
    """A consumer of this test: of three streams of two messages each, the first is parked at 0, the second at 1."""
    name = f"consumer of a test {next(NUMBERS)}"
    category = name.replace(" ", "_")
    client = stocked.client
    client.call("streams.append", [{"stream": f"{category}-{n}", "messages": [{"type": "Asked", "data": {}}] * 2}
                                   for n in range(3)])
    client.call("consumer.create", name, {"category": category})
    claim = client.call("consumer.next", name, {"waitMs": 0})
    client.call("consumer.settle", name, {"claim": claim["claim"], "failed": [
        {"stream": f"{category}-{n}", "position": n, "error": "no", "park": True} for n in range(2)]})
    client.call("consumer.next", name, {"waitMs": 0})
    yield Consumer(name, *(f"{category}-{n}" for n in range(3)))
    client.call("consumer.delete", name)


def parked(stocked, name):
    return [one["stream"] for one in stocked.client.call("consumer.streams", name, {"parked": True})]


def test_all_consumers_are_shown_with_their_lag_and_one_is_opened(visit, stocked):
    page = visit(stocked.sign_in("consumers"))
    page.wait_text("far-behind")
    rows = {row.split("\n")[0]: row for row in page.texts(".canvas [role=row]")}
    assert "2,000" in rows["far-behind"]
    assert rows["worker"].endswith("2"), "two streams are parked"
    assert MARKUP in rows
    page.click(".canvas a", "worker")
    page.wait_text("host-2")
    assert page.url.endswith("/ui/consumers?name=worker")
    text = page.text()
    for part in ("no such job " + MARKUP, "came too late", "ease\n12 h"):
        assert part in text
    assert re.search(r"again in 5\d min", text)


def test_lag_is_followed_and_its_trend_drawn(visit, stocked, consumer):
    page = visit(stocked.sign_in("consumers", name=consumer.name))
    page.wait_text(consumer.second)
    before = stocked.client.call("consumer.info", consumer.name)["lag"]
    for _ in range(7):
        stocked.client.write(consumer.third)
    page.wait(lambda: f"{before + 7}" in page.text("dd"), "the new lag")
    page.wait(lambda: "grows by" in page.text("dd"), "what it does")
    assert page.js("return document.querySelector('.plot path:last-child').getTotalLength() > 0")


def test_nothing_can_be_changed_before_the_switch_and_the_name(visit, stocked, consumer):
    page = visit(stocked.sign_in("consumers", name=consumer.name))
    page.wait_text(consumer.second)
    assert not page.all(".changes") and not page.all("[type=checkbox][aria-label^=Choose]")
    page.allow_changes()
    page.choose(".changes select", "pause")
    assert not page.can_change()
    page.type("[name=confirm]", consumer.name[:-1])
    assert not page.can_change()
    page.keys("\ue007")  # Enter
    assert stocked.client.call("consumer.info", consumer.name)["state"] == "running"
    page.type("[name=confirm]", consumer.name)
    assert page.can_change()
    page.click("[role=switch]")
    page.wait(lambda: not page.all(".changes"), "changes to be hidden again")


def test_pausing_and_resuming_ask_for_the_name_each_time(visit, stocked, consumer):
    page = visit(stocked.sign_in("consumers", name=consumer.name))
    page.allow_changes()
    page.choose(".changes select", "pause")
    page.change(consumer.name)
    page.wait_text("Now paused")
    assert stocked.client.call("consumer.info", consumer.name)["state"] == "paused"
    page.choose(".changes select", "resume")
    assert page.js("return document.querySelector('[name=confirm]').value") == ""
    page.change(consumer.name)
    page.wait_text("Now running")
    assert stocked.client.call("consumer.info", consumer.name)["state"] == "running"


def test_chosen_streams_are_unparked_and_no_others(visit, stocked, consumer):
    assert parked(stocked, consumer.name) == [consumer.first, consumer.second]
    page = visit(stocked.sign_in("consumers", name=consumer.name))
    page.wait_text(consumer.second)
    page.allow_changes()
    page.choose(".changes select", "unpark")
    assert not page.can_change()
    page.click(f"[aria-label='Choose {consumer.second}']")
    page.change(consumer.name)
    page.wait_text("Unparked: 1")
    assert parked(stocked, consumer.name) == [consumer.first]


def test_the_message_at_the_head_of_a_stream_is_skipped(visit, stocked, consumer):
    page = visit(stocked.sign_in("consumers", name=consumer.name))
    page.wait_text(consumer.first)
    page.allow_changes()
    page.choose(".changes select", "skip")
    page.click(f"[aria-label='Choose {consumer.first}']")
    page.change(consumer.name)
    page.wait_text("Skipped: 1")
    assert consumer.first not in parked(stocked, consumer.name)
    page.wait(lambda: any(consumer.first in row and "waits" in row for row in page.texts(".canvas [role=row]")),
              "its next message to wait")


@pytest.mark.parametrize("to", ["start", "end", "position", "time"])
def test_a_consumer_begins_anew_where_it_is_told(visit, stocked, consumer, to):
    message = stocked.client.call("category.get", consumer.first.split("-")[0], {"batchSize": 2})[1]
    page = visit(stocked.sign_in("consumers", name=consumer.name))
    page.allow_changes()
    page.choose(".changes select", "reset")
    page.choose("[name=to]", to)
    if to == "position":
        page.type("[name=at]", "12x")
        page.type("[name=confirm]", consumer.name)
        assert not page.can_change(), "12x is no position"
        page.type("[name=at]", str(message[4]))
    elif to == "time":
        page.type("[name=at]", message[7])
    page.change(consumer.name)
    page.wait_text("Begins anew at")
    head = stocked.client.call("sys.stats")["head"]
    expected = {"start": 0, "end": head, "position": message[4] - 1}
    info = stocked.client.call("consumer.info", consumer.name)
    if to == "time":
        expected["time"] = stocked.client.call("position.at", message[7])["position"] - 1
    assert info["floor"] == expected[to]
    assert not parked(stocked, consumer.name)


def test_parked_streams_stay_parked_on_request(visit, stocked, consumer):
    page = visit(stocked.sign_in("consumers", name=consumer.name))
    page.allow_changes()
    page.choose(".changes select", "reset")
    page.click(".changes label", "leave parked streams parked")
    page.change(consumer.name)
    page.wait_text("Begins anew at start")
    assert parked(stocked, consumer.name) == [consumer.first, consumer.second]


def test_the_position_of_a_manual_consumer_is_moved_and_an_error_is_shown(visit, stocked):
    client = stocked.client
    client.call("consumer.create", "by hand", {"category": "account", "ordering": "manual"})
    page = visit(stocked.sign_in("consumers", name="by hand"))
    page.allow_changes()
    page.choose(".changes select", "move")
    page.type("[name=at]", "20")
    page.change("by hand")
    page.wait_text("Now at 20")
    assert client.call("consumer.info", "by hand")["ceiling"] == 20
    page.wait_text("from 20 to")
    client.call("consumer.delete", "by hand")
    page.type("[name=at]", "21")
    page.change("by hand")
    page.wait_text("does not exist", ".changes .trouble")


def test_a_claim_appears_with_its_member_and_goes(visit, stocked, consumer):
    page = visit(stocked.sign_in("consumers", name=consumer.name))
    page.wait_text("Nobody works for it")
    stocked.client.write(consumer.third)
    claim = stocked.client.call("consumer.next", consumer.name, {"waitMs": 0, "member": "host-7"})["claim"]
    page.wait_text("host-7")
    assert str(claim) in page.text()
    stocked.client.call("consumer.settle", consumer.name, {"claim": claim})
    page.wait_text("Nobody works for it")
    wait_until(lambda: stocked.client.call("consumer.info", consumer.name)["claims"] == 0, "no claim")
