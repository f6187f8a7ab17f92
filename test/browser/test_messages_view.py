"""The page's views of messages: streams, categories, one message with all its digits."""
import json
import re

import pytest

from stock import DIGITS, LARGE, MARKUP, SCRIPT, fill, write_large

ROWS = ".canvas [role=row]"


def rows(page):
    return [row.split("\n") for row in page.texts(ROWS)]


def first(page):
    """What the first row that is seen begins with."""
    return page.js("""
        const box = (document.querySelector('.rows') || document.body).getBoundingClientRect();
        const seen = [...document.querySelectorAll('.canvas [role=row]:not(.absent)')]
            .filter(row => row.getBoundingClientRect().bottom > box.top + 1)
            .sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top);
        return seen.length ? seen[0].innerText.split('\\n')[0].replace(/,/g, '') : null""")


def open_message(visit, stocked, stream):
    """The page of a stream's last message."""
    id = stocked.client.call("stream.last", stream)[0]
    page = visit(stocked.sign_in("message", id=id))
    page.wait_for(".facts")
    return page


# ---- a namespace, its streams ------------------------------------------------------------------------------

def test_streams_that_changed_lately_come_first_and_by_themselves(page, stocked):
    page.wait(lambda: rows(page), "streams")
    stocked.client.write("lately-1")
    page.wait(lambda: rows(page)[0][0] == "lately-1", "a stream that has just changed")
    stocked.client.write("lately-2")
    page.wait(lambda: [row[0] for row in rows(page)[:2]] == ["lately-2", "lately-1"], "another one")
    page.wait(lambda: page.js("return [...document.querySelectorAll('.plot path:last-child')].map("
                              "path => path.getTotalLength() > 0)") == [True, True], "plots of rate and lag")


def test_streams_are_listed_by_prefix_and_opened(visit, stocked):
    page = visit(stocked.sign_in("streams", prefix="parcel"))
    page.wait(lambda: [row[0] for row in rows(page)] == ["parcel-7"], "the one stream")
    page.type("main input", "account-1")
    page.wait(lambda: len(rows(page)) > 20 and all(row[0].startswith("account-1") for row in rows(page)), "others")
    assert "prefix=account-1" in page.url
    page.click(ROWS + " a", "account-101")
    page.wait_text("account-101", "h1")


def test_categories_are_counted_on_a_click_and_not_before(visit, stocked, chromium):
    page = visit(stocked.sign_in("streams"))
    page.wait(lambda: rows(page), "streams")
    assert not [body for _, _, body in chromium.requests() if "ns.categories" in body]
    page.click("button", "Count categories")
    page.wait(lambda: ["account", "200", "2,000"] in rows(page), "a category with its numbers")
    page.click(ROWS + " a", "account")
    page.wait_text("account", "h1")


def test_a_list_of_any_length_is_read_as_it_is_scrolled(visit, stocked):
    page = visit(stocked.sign_in("streams", prefix="account"))
    page.wait(lambda: rows(page), "streams")
    assert len(rows(page)) < 80, "only the rows that are seen exist"
    page.js("document.querySelector('.rows').scrollTop = 1e6")
    page.wait(lambda: any(row[0] == "account-99" for row in rows(page)), "the last one")


# ---- a stream, a category ------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def long(stocked):
    """A stream of 20,000 messages."""
    fill(stocked.cluster.connect(), "long-1", 20000)
    return "long-1"


def test_a_stream_begins_with_the_newest_and_moves_to_both_ends(visit, stocked, long):
    page = visit(stocked.sign_in("stream", name=long))
    page.wait(lambda: first(page) == "19999", "the newest")
    places = page.js("return [...document.querySelectorAll('.moves button')].map(b => b.getBoundingClientRect().left)")
    page.click("[aria-label=Oldest]")
    page.wait(lambda: any(row[0] == "0" for row in rows(page)), "the oldest")
    page.click("[aria-label=Newer]")
    page.wait(lambda: first(page) and int(first(page)) > 30, "newer ones")
    page.click("[aria-label=Newest]")
    page.wait(lambda: first(page) == "19999", "the newest again")
    page.click("[aria-label=Older]")
    page.wait(lambda: first(page) and 19900 < int(first(page)) < 19999, "older ones")
    assert places == page.js(
        "return [...document.querySelectorAll('.moves button')].map(b => b.getBoundingClientRect().left)")


def test_any_position_of_a_stream_is_reached_by_address_and_by_scrolling(visit, stocked, long):
    page = visit(stocked.sign_in("stream", name=long, at=1234))
    page.wait(lambda: any(row[0] == "1,234" for row in rows(page)), "the position")
    page.js("const e = document.querySelector('.rows'); e.scrollTop = e.scrollHeight / 2")
    page.wait(lambda: first(page) and 9500 < int(first(page)) < 10500, "the middle")
    assert len(page.all(ROWS)) < 100, "only the rows that are seen exist"


def test_a_category_goes_to_the_oldest_and_back_and_is_filtered_by_type(visit, stocked):
    page = visit(stocked.sign_in("category", name="account"))
    page.wait(lambda: any("account-199" in row for row in rows(page)), "the newest")
    page.click("[aria-label=Oldest]")
    page.wait(lambda: first(page) == "100", "the oldest hundred")
    page.js("document.querySelector('.rows').scrollTop = 1e6")
    page.wait(lambda: any("account-0" in row and "Opened" in row for row in rows(page)), "the oldest")
    page.click("[aria-label=Newest]")
    page.wait(lambda: any("account-199" in row for row in rows(page)), "the newest again")
    page.click("[aria-label=Older]")
    page.wait(lambda: any("account-187" in row for row in rows(page)), "older ones")
    page.type(".types", "Opened\ue007")
    page.wait(lambda: rows(page) and all("Opened" in row for row in rows(page)), "only that type")
    assert "types=Opened" in page.url


# ---- a message -----------------------------------------------------------------------------------------------

def test_no_digit_is_lost(visit, stocked):
    page = open_message(visit, stocked, "digits-1")
    for value in re.findall(r"[\d.]{15,}", DIGITS):
        page.wait_text(value)
    page.click(".json button", "Raw")
    page.wait(lambda: json.loads(page.text(".json pre"), parse_float=str, parse_int=str) ==
              json.loads(DIGITS, parse_float=str, parse_int=str), "the text with all digits")
    page.go(stocked.address("stream", name="digits-1"))
    page.wait(lambda: "12345678901234567890123456789" in page.text(ROWS), "all digits in the table")


def test_a_message_is_copied_as_json_curl_and_sql(visit, stocked):
    page = open_message(visit, stocked, "digits-1")
    page.allow_clipboard()

    def copied(label):
        page.click(".title button", label)
        page.wait_text("Copied")
        text = page.evaluate("navigator.clipboard.readText()")
        page.wait(lambda: label in page.texts(".title button"), "the button's label again")
        return text

    message = json.loads(copied("Copy JSON"), parse_float=str, parse_int=str)
    assert message["stream"] == "digits-1" and message["data"] == json.loads(DIGITS, parse_float=str, parse_int=str)
    assert message["id"] in copied("curl")
    sql = copied("SQL")
    with stocked.cluster.connect().cursor() as cursor:
        cursor.execute(sql)
        assert message["id"] in map(str, cursor.fetchone())


def test_what_a_message_came_from_and_what_it_caused_are_linked(visit, stocked):
    page = visit(stocked.sign_in("message", id=stocked.order[1]))
    page.wait_text("Charged", "h1")
    page.wait(lambda: any("Packed" in row for row in rows(page)), "what it caused")
    page.click(".facts a", stocked.order[0])
    page.wait_text("Placed", "h1")
    page.wait(lambda: any("Charged" in row for row in rows(page)), "what that caused")
    page.go(stocked.address("message", id=stocked.order[2]))
    page.wait_text("Packed", "h1")
    page.js("document.querySelector('.facts a[href*=search]').click()")
    page.wait_text("4 found")


def test_what_a_message_causes_later_appears_by_itself(visit, stocked):
    stocked.client.write("cause-1")
    id = stocked.client.call("stream.last", "cause-1")[0]
    page = visit(stocked.sign_in("message", id=id))
    page.wait_text("Nothing.")
    stocked.client.write("effect-1", {}, "Followed", {"causationId": id})
    page.wait(lambda: any("Followed" in row for row in rows(page)), "what it caused")


def test_previous_and_next_stay_in_the_stream(visit, stocked):
    page = visit(stocked.sign_in("message", id=stocked.order[2]))
    page.wait_text("Packed", "h1")
    page.click("button", "Next →")
    page.wait_text("Sent", "h1")
    page.click("button", "Next →")
    page.wait(lambda: page.js("return [...document.querySelectorAll('button')].find(b => "
                              "b.innerText === 'Next →').disabled"), "the end of the stream")
    page.click("button", "← Previous")
    page.wait_text("Packed", "h1")


def test_a_message_that_is_not_there_is_said(visit, stocked):
    page = visit(stocked.sign_in("message", id="00000000-0000-4000-8000-000000000000"))
    page.wait_text("There is no message with this id")
    page.go(stocked.address("message", id="nonsense"))
    page.wait_for(".trouble")


def test_a_message_of_5_mb_is_shown_and_all_of_it_is_there(visit, stocked):
    write_large(stocked.client)
    page = open_message(visit, stocked, "large-1")
    assert page.js("return document.querySelectorAll('*').length") < 3000
    page.click("summary", "rows")
    page.click(".more", "more")
    page.click(".json button", "Raw")
    page.wait(lambda: len(page.text(".json pre")) > 100000, "the text")
    page.click(".more", "more characters")
    page.wait(lambda: page.js("return document.querySelector('.json pre').textContent.length") > LARGE * 0.9,
              "all of it")


def test_markup_in_names_types_and_data_stays_text(visit, stocked):
    def open_all():
        return page.js("""const closed = document.querySelectorAll('details:not([open]) > summary');
                          closed.forEach(summary => summary.click());
                          return closed.length === 0""")

    page = visit(stocked.sign_in("stream", name=MARKUP + "-1"))
    page.wait_text(MARKUP + "-1", "h1")
    page.wait(lambda: SCRIPT in page.text(ROWS), "the type")
    page.click(ROWS + " a")
    page.wait_text(SCRIPT, "h1")
    page.wait(open_all, "no branch that is closed")
    text = page.text()
    assert text.count(MARKUP) >= 3 and SCRIPT in text
    page.click(".json button", "Raw")
    page.wait(lambda: MARKUP in page.text(".json pre"), "the raw text")
    for place, parameters in (("streams", {"prefix": "<"}), ("category", {"name": MARKUP}), ("", {}),
                              ("search", {"path": "data.nested", "value": "[]", "types": SCRIPT})):
        page.go(stocked.address(place, **parameters))
        page.wait_for("main h1")
        page.wait(lambda: page.all(ROWS) or "0 found" in page.text(), "its content")
    assert not page.js("return document.querySelectorAll('main img, main script, main iframe').length")


def test_one_box_takes_a_stream_an_id_a_position_and_a_time(page, stocked):
    def take(text, option):
        page.type("#box", text)
        page.click("#offers [role=option]", option)

    take("parcel-7", "parcel-7")
    page.wait_text("parcel-7", "h1")
    take(stocked.order[0], "Message")
    page.wait_text("Placed", "h1")
    message = stocked.client.call("stream.get", "account-50")[0]
    take(str(message[3]), "Position")
    page.wait(lambda: first(page) == str(message[3]), "the position")
    take(message[6], "Time")
    page.wait(lambda: "at=" in page.url and first(page) is not None, "a page of that time")
    reached = stocked.client.call("position.at", message[6])["position"]
    page.wait(lambda: first(page) == str(reached), "the first message of that time")
