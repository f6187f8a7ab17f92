"""The page's view for the administrator."""
import threading

import pytest

from store import sql, token_for, wait_until


@pytest.fixture
def holder(stocked):
    """A session that has appended to held-1 and does not commit."""
    connection = stocked.cluster.connect()
    connection.autocommit = False
    cursor = connection.cursor()
    cursor.execute("SET application_name = 'forgotten'; SELECT millrace.append('held-1', 'T', '{}')")
    yield connection
    connection.close()


def test_server_namespaces_and_connections_are_shown(visit, stocked):
    page = visit(stocked.sign_in("admin"))
    page.wait_text("connection")
    page.wait(lambda: "Version" in page.text(".facts"), "the server")
    assert "0." in page.text(".facts")
    page.wait(lambda: any(row.startswith("default") for row in page.texts("[aria-label=Namespaces] .canvas .row")),
              "the namespace")
    page.wait(lambda: any("/rpc" in row for row in page.texts("[aria-label=Connections] .canvas .row")),
              "the page's own connection")
    page.wait(lambda: "subscription" in page.text("[aria-label=Connections] h2"), "the number of subscriptions")


def test_who_holds_readers_back_is_named_and_the_line_to_copy_ends_it(visit, stocked, holder):
    page = visit(stocked.sign_in("admin"))
    page.wait_text("forgotten", ".banner")
    statement = page.text(".statement code")
    assert statement == f"SELECT pg_terminate_backend({holder.info.backend_pid})"
    page.allow_clipboard()
    page.click(".statement button", "Copy")
    page.wait_text("Copied", ".statement")
    assert page.evaluate("navigator.clipboard.readText()") == statement
    sql(stocked.cluster.connect(), statement)
    page.wait_text("Nobody.")


def test_the_overview_says_that_readers_are_held_back_and_by_whom(visit, stocked, holder):
    page = visit(stocked.sign_in())
    page.wait_text("Readers are held back", ".banner")
    page.wait_text(f"pg_terminate_backend({holder.info.backend_pid})", ".banner")
    holder.rollback()
    page.wait(lambda: not page.all(".banner"), "the end of the banner")


def test_who_waits_for_a_stream_is_shown_with_whom_it_waits_for(visit, stocked, holder):
    waiting = stocked.cluster.connect()
    thread = threading.Thread(target=sql, args=(waiting, "SELECT millrace.append('held-1', 'T', '{}')"))
    thread.start()
    page = visit(stocked.sign_in("admin"))
    page.wait(lambda: any(f"process {waiting.info.backend_pid}" in text and "stream" in text and
                          f"process {holder.info.backend_pid}" in text for text in page.texts(".banner")), "the wait")
    holder.rollback()
    thread.join()
    page.wait_text("Nobody.")
    waiting.close()


def test_a_prepared_transaction_is_rolled_back_by_the_line_to_copy(visit, stocked, holder):
    sql(holder, "PREPARE TRANSACTION 'left over'")
    page = visit(stocked.sign_in("admin"))
    page.wait_text("left over", ".banner")
    sql(stocked.cluster.connect(), page.text(".statement code"))
    page.wait_text("Nobody.")


def test_a_snapshot_has_everything_but_tokens(visit, stocked, holder):
    page = visit(stocked.sign_in("admin"))
    page.click("button", "Take one")
    page.wait_for("textarea")
    text = page.js("return document.querySelector('textarea').value")
    for part in ("Millrace 0.", "namespace=default", "consumer=worker", "forgotten", "pg_terminate_backend",
                 "path=/rpc"):
        assert part in text
    assert "ns_" not in text
    page.allow_clipboard()
    page.click("[aria-label=Snapshot] button", "Copy")
    wait_until(lambda: page.evaluate("navigator.clipboard.readText()") == text, "the copy")


def test_others_than_the_administrator_have_no_such_view(visit, stocked):
    token = token_for("tenant")
    stocked.client.call("ns.create", "tenant", {"token": token})
    page = visit(stocked.address("admin", "#token=" + token))
    page.wait_for(".trouble")
    assert "Server" not in page.texts("nav a")
    page.go(stocked.address())
    page.wait_text("tenant", "h1")
    stocked.client.call("ns.delete", "tenant")
