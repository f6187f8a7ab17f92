"""What the page takes away: the content of messages, streams and their beginnings, and how that is shown."""
import itertools

import pytest

from store import token_for

NUMBERS = itertools.count()
GONE = "content was taken away"


@pytest.fixture
def stream(stocked):
    """A stream of this test, of 10 messages with data of their own."""
    name = f"trial-{next(NUMBERS)}"
    stocked.client.call("stream.append", name, [{"type": "Named", "data": {"secret": f"Ada {n}"}, "tags": [name]}
                                                for n in range(10)])
    return name


def rows(page):
    return [row.split("\n") for row in page.texts(".canvas [role=row]")]


# ---- messages -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("keeps", [True, False])
def test_a_message_loses_its_content_and_keeps_its_place(visit, stocked, stream, keeps):
    before = stocked.client.call("stream.last", stream)
    page = visit(stocked.sign_in("message", id=before[0]))
    page.wait_text("Ada 9")
    assert not page.all(".changes") and not page.all(".banner")
    page.allow_changes()
    for part in ("Data and metadata go", "Id, stream, type, positions and time stay"):
        page.wait_text(part, ".changes")
    assert not page.can_change()
    if not keeps:
        page.click("[name=keepTags]")
    page.type("[name=confirm]", stream + "x")
    assert not page.can_change()
    page.change(stream)
    page.wait_text("content was taken away", ".banner")
    assert "Ada" not in page.text() and (stream in page.texts(".tag")) == keeps
    after = stocked.client.call("stream.last", stream)
    assert (after[0], after[4]) == (before[0], {}) and after[5].get("tags") == ([stream] if keeps else None)
    page.show(stocked.server.port, "stream", {"name": stream})
    page.wait(lambda: GONE in rows(page)[0] and not any(GONE in row for row in rows(page)[1:]), "one without content")


def test_a_message_stays_as_it_is_where_the_token_may_not_remove(visit, stocked, stream):
    token = stocked.client.call("ns.createToken", "default", stream, {"rights": ["read", "append"]})["token"]
    page = visit(stocked.address("message", "#token=" + token, id=stocked.client.call("stream.last", stream)[0]))
    page.wait_text("Ada 9")
    page.allow_changes()
    page.change(stream)
    page.wait_text("needs the right to remove", ".changes .trouble")
    assert "Ada 9" in page.text() and stocked.client.call("stream.last", stream)[4] == {"secret": "Ada 9"}
    stocked.client.call("ns.revokeToken", "default", stream)


@pytest.fixture
def tagged(stocked):
    """A client of a namespace with 2500 messages with one tag and another one, whose token may read and remove."""
    stocked.client.call("ns.create", "tagged", {"token": token_for("tagged"), "tags": True})
    token = stocked.client.call("ns.createToken", "tagged", "eraser", {"rights": ["read", "append", "remove"]})["token"]
    client = stocked.server.client(token)
    for _ in range(5):
        client.call("stream.append", "person-7", [
            {"type": "Named", "data": {"secret": "Ada"}, "tags": ["person:7"]}] * 500)
    client.call("stream.append", "person-8", [{"type": "Named", "data": {"secret": "Bob"}, "tags": ["person:8"]}])
    yield client
    client.close()
    stocked.client.call("ns.delete", "tagged")


def secrets(client, stream):
    return sum(message[4] != {} for message in client.call("stream.get", stream, {"batchSize": 10000}))


def search(visit, stocked, client, **asked):
    page = visit(stocked.address("search", "#token=" + client.token, **asked))
    page.wait(lambda: "found" in page.text(".progress"), "the end of the search")
    return page


def test_all_messages_with_a_tag_lose_their_content(visit, stocked, tagged):
    page = search(visit, stocked, tagged, tags="person:7")
    page.wait_text("Ada")
    page.allow_changes()
    page.wait_text("of messages of any type", ".changes")
    assert not page.can_change()
    page.change("person:7")
    page.wait_text("Taken away: 2,500; none is left up to", ".changes")
    page.wait(lambda: rows(page) and all(GONE in row for row in rows(page)), "rows without content")
    assert (secrets(tagged, "person-7"), secrets(tagged, "person-8")) == (0, 1)


def test_only_a_search_by_one_tag_alone_can_take_content_away(visit, stocked, tagged):
    page = search(visit, stocked, tagged, tags="person:8")
    assert page.all("[role=switch]")
    page.allow_changes()
    for asked in ({"tags": "person:7, person:8"}, {"tags": "person:8", "types": "Named"}, {"types": "Named"}):
        page.go(stocked.address("search", **asked))
        page.wait(lambda: "found" in page.text(".progress"), "the end of the search")
        assert not page.all("[role=switch]") and not page.all(".changes"), asked


def test_taking_content_away_is_stopped_between_two_calls(visit, stocked, tagged):
    page = search(visit, stocked, tagged, tags="person:7")
    page.allow_changes()
    page.slow_down(1500)
    page.change("person:7")
    page.click(".changes button", "Stop")
    page.wait_text("there are more", ".changes")
    assert 0 < secrets(tagged, "person-7") < 2500


# ---- streams ------------------------------------------------------------------------------------------------

def open_stream(visit, stocked, name):
    page = visit(stocked.sign_in("stream", name=name))
    page.wait(lambda: rows(page), "rows")
    return page


def test_the_oldest_messages_of_a_stream_go_and_it_says_where_it_begins(visit, stocked, stream):
    page = open_stream(visit, stocked, stream)
    assert "begins at" not in page.text(".title")
    page.allow_changes()
    page.choose(".changes select", "truncate")
    page.type("[name=before]", "7x")
    page.type("[name=confirm]", stream)
    assert not page.can_change(), "7x is no position"
    page.type("[name=before]", "7")
    page.change(stream)
    page.wait_text("Removed: 7", ".changes")
    page.wait_text("3 messages, begins at 7", ".title")
    page.wait(lambda: [row[0] for row in rows(page)] == ["9", "8", "7"], "what is left")
    stocked.client.write(stream)
    page.wait(lambda: rows(page)[0][0] == "10", "one that comes live")


def test_a_stream_that_is_closed_says_so_and_is_opened_again(visit, stocked, stream):
    page = open_stream(visit, stocked, stream)
    assert "closed" not in page.text(".title")
    page.allow_changes()
    page.choose(".changes select", "close")
    page.change(stream)
    page.wait_text("Closed at 10", ".changes")
    page.wait_text("closed", ".title")
    page.wait(lambda: "millrace.closed" in rows(page)[0], "its last message")
    assert stocked.client.refused("stream.write", stream, {"type": "T", "data": {}}).code == "STREAM_CLOSED"
    page.go(stocked.address("stream", name=stream))
    page.wait_text("closed", ".title")
    page.allow_changes()
    page.choose(".changes select", "reopen")
    page.change(stream)
    page.wait(lambda: "closed" not in page.text(".title"), "a stream that is open")
    stocked.client.write(stream)
    page.wait(lambda: rows(page)[0][0] == "12", "one that comes live")


def test_a_stream_that_another_one_closes_says_so_by_itself(visit, stocked, stream):
    page = open_stream(visit, stocked, stream)
    stocked.client.call("stream.close", stream)
    page.wait_text("closed", ".title")
    stocked.client.call("stream.reopen", stream)
    page.wait(lambda: "closed" not in page.text(".title"), "a stream that is open")


@pytest.mark.parametrize("forgets", [False, True])
def test_a_stream_is_removed_with_or_without_its_version(visit, stocked, stream, forgets):
    page = open_stream(visit, stocked, stream)
    page.allow_changes()
    page.choose(".changes select", "remove")
    if forgets:
        page.click("[name=forget]")
    page.change(stream)
    page.wait_text("Removed: 10", ".changes")
    page.wait_text("There is no such stream" if forgets else "All its messages were removed")
    assert stocked.client.call("stream.version", stream) == (None if forgets else 9)
    stocked.client.write(stream, {"after": 1})
    page.wait(lambda: rows(page) and rows(page)[0][0] == ("0" if forgets else "10"), "one that comes live")
    page.wait(lambda: "after" in rows(page)[0][2], "its data")
    page.go(stocked.address("stream", name=stream))
    page.wait(lambda: len(rows(page)) == 1, "the one row")


def test_a_stream_that_has_grown_meanwhile_is_not_removed(visit, stocked, stream):
    page = visit(stocked.sign_in())
    page.cdp("Network.enable")
    page.cdp("Network.setBlockedURLs", urls=["*/subscribe*"])  # so it does not see what comes
    page.go(stocked.address("stream", name=stream))
    page.wait(lambda: rows(page), "rows")
    stocked.client.write(stream)
    page.allow_changes()
    page.choose(".changes select", "remove")
    page.change(stream)
    page.wait_text("is at version 10", ".changes .trouble")
    assert len(stocked.client.call("stream.get", stream)) == 11
    page.cdp("Network.setBlockedURLs", urls=[])
