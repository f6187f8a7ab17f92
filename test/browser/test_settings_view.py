"""The page's settings of a namespace: its tokens, what sweeps remove, what was removed."""
import pytest

from store import sql, token_for


@pytest.fixture
def tenant(stocked):
    """A namespace of its own with two streams of 10 messages: (name, client of its first token)."""
    token = token_for("tenant")
    stocked.client.call("ns.create", "tenant", {"token": token})
    client = stocked.server.client(token)
    client.call("streams.append", [{"stream": f"meter-{n}", "messages": [{"type": "Read", "data": {}}] * 10}
                                   for n in range(2)])
    yield client
    client.close()
    stocked.client.call("ns.delete", "tenant")


def rows(page, label):
    return [row.split("\n") for row in page.texts(f"[role=grid][aria-label='{label}'] .canvas [role=row]")]


def open_settings(visit, stocked):
    page = visit(stocked.sign_in("settings", name="tenant"))
    page.wait(lambda: rows(page, "Tokens"), "tokens")
    return page


def names(stocked):
    return [one["name"] for one in stocked.client.call("ns.tokens", "tenant")]


# ---- tokens -------------------------------------------------------------------------------------------------

def test_a_token_is_made_and_shown_once(visit, stocked, tenant):
    page = open_settings(visit, stocked)
    assert [row[:2] for row in rows(page, "Tokens")] == [["first", "read, append"]] and not page.all(".changes")
    page.allow_changes()
    assert not page.can_change(), "it has no name"
    page.type("[name=name]", "of a dashboard")
    page.click("[name=append]")
    page.type("[name=expires]", "soon")
    assert not page.can_change(), "soon is no time"
    page.type("[name=expires]", "2099-01-31 08:00")
    page.click("[aria-label='Change tokens'] button", "Do it")
    page.wait(lambda: ["of a dashboard", "read, append"] in [row[:2] for row in rows(page, "Tokens")], "the new token")
    token = page.text(".made code")
    assert stocked.server.client(token).call("stream.version", "meter-0") == 9
    assert stocked.client.call("ns.tokens", "tenant")[1]["expiresAt"].startswith("2099-01-3")
    page.choose(".changes select", "revoke")
    page.wait(lambda: token not in page.text("body"), "the token to be gone")


def test_a_token_is_revoked_when_its_name_is_typed(visit, stocked, tenant):
    token = stocked.client.call("ns.createToken", "tenant", "old one", {"rights": ["read"]})["token"]
    page = open_settings(visit, stocked)
    page.allow_changes()
    page.choose(".changes select", "revoke")
    page.choose("[name=chosen]", "old one")
    page.type("[name=confirm]", "old")
    assert not page.can_change()
    assert names(stocked) == ["first", "old one"]
    page.change("old one")
    page.wait_text("Revoked: old one")
    page.wait(lambda: len(rows(page, "Tokens")) == 1, "the other one")
    assert names(stocked) == ["first"]
    assert stocked.server.client(token).refused("stream.version", "meter-0").status == 401


def test_a_token_that_expired_is_marked(visit, stocked, tenant):
    options = {"rights": ["read"], "expiresAt": "2099-01-01T00:00:00Z"}
    stocked.client.call("ns.createToken", "tenant", "of last year", options)
    sql(stocked.cluster.connect(), "UPDATE millrace.tokens SET expires_at = now() - interval '1 year', "
        "created_at = now() - interval '2 years' WHERE name = 'of last year'")
    page = open_settings(visit, stocked)
    page.wait(lambda: any("expired" in "".join(row) for row in rows(page, "Tokens")), "the mark")


@pytest.mark.parametrize("rights, sees", [(["read", "administer"], True), (["read", "append", "remove"], False)])
def test_tokens_are_for_those_who_may_administer_their_own_namespace(visit, stocked, tenant, rights, sees):
    token = stocked.client.call("ns.createToken", "tenant", "mine", {"rights": rights})["token"]
    page = visit(stocked.address("settings", "#token=" + token))
    if sees:
        page.wait(lambda: len(rows(page, "Tokens")) == 2, "tokens")
        page.wait(lambda: "Settings" in page.texts("nav a"), "the view's link")
        assert not rows(page, "What sweeps remove") and "Removed lately" not in page.text()
    else:
        page.wait_text("needs the right to administer", ".trouble")
        assert "Settings" not in page.texts("nav a")
    assert "Server" not in page.texts("nav a")


def test_a_token_of_default_that_may_only_read_is_no_administrators(visit, stocked):
    token = stocked.client.call("ns.createToken", "default", "reader", {"rights": ["read"]})["token"]
    page = visit(stocked.address("", "#token=" + token))
    page.wait_for(".canvas .row")
    page.wait(lambda: page.texts("nav a") == ["Overview", "Streams", "Messages", "Search", "Consumers"], "the links")
    stocked.client.call("ns.revokeToken", "default", "reader")


def test_the_namespaces_of_the_server_lead_to_their_settings(visit, stocked, tenant):
    page = visit(stocked.sign_in("admin"))
    page.click("[aria-label=Namespaces] .canvas a", "tenant")
    page.wait_text("tenant", "h1")
    page.wait(lambda: rows(page, "Tokens"), "its tokens")


# ---- what is kept -------------------------------------------------------------------------------------------

KEPT = "[aria-label='Change what is kept']"


def policies(stocked):
    return stocked.client.call("ns.retention", "tenant")


def test_a_policy_is_set_changed_and_removed(visit, stocked, tenant):
    page = open_settings(visit, stocked)
    page.wait_text("Nothing: all is kept.")
    page.allow_changes()
    page.type("[name=category]", "meter")
    page.type("[name=age]", "90 days")
    page.type(KEPT + " [name=confirm]", "meter")
    assert not page.can_change(KEPT), "90 days is none that it reads"
    page.type("[name=age]", "90 d")
    page.type("[name=hold]", "archive, digest")
    page.click(KEPT + " button", "Do it")
    page.wait_text("Swept from now on: meter")
    page.wait(lambda: rows(page, "What sweeps remove"), "the policy")
    assert rows(page, "What sweeps remove")[0][:2] == ["meter", "90 d"]
    (policy,) = policies(stocked)
    assert (policy["maxAgeMs"], policy["hold"], policy["forget"]) == (90 * 86400000, ["archive", "digest"], False)
    page.type("[name=category]", "meter")
    page.wait(lambda: page.js("return document.querySelector('[name=hold]').value") == "archive, digest", "what it has")
    page.type("[name=most]", "5")
    page.change("meter", KEPT)
    page.wait(lambda: policies(stocked)[0].get("maxCount") == 5, "the other policy")
    assert policies(stocked)[0]["maxAgeMs"] == 90 * 86400000 and policies(stocked)[0]["hold"] == ["archive", "digest"]
    page.choose(KEPT + " select", "keep")
    page.choose("select[name=category]", "meter")
    page.change("meter", KEPT)
    page.wait_text("Kept from now on: meter")
    page.wait_text("Nothing: all is kept.")
    assert policies(stocked) == []


def open_sweeps(visit, stocked):
    """The settings where three messages of a stream are kept, about to sweep."""
    stocked.client.call("ns.setRetention", "tenant", "meter", {"maxCount": 3})
    page = open_settings(visit, stocked)
    page.wait(lambda: rows(page, "What sweeps remove"), "the policy")
    page.allow_changes()
    return page.choose(KEPT + " select", "sweep")


def test_a_sweep_removes_now_and_what_it_removed_is_shown(visit, stocked, tenant):
    page = open_sweeps(visit, stocked)
    page.change("tenant", KEPT)
    page.wait_text("Removed:")
    page.wait(lambda: any(row[0] == "meter" for row in rows(page, "Removed lately")), "the removal")
    assert len(tenant.call("stream.get", "meter-0")) == len(tenant.call("stream.get", "meter-1")) == 3


def test_who_holds_a_sweep_is_named_and_forced_to_go_on(visit, stocked, tenant):
    tenant.call("consumer.create", "slow", {"category": "meter"})
    page = open_sweeps(visit, stocked)
    page.change("tenant", KEPT)
    page.wait_text("slow", KEPT + " .trouble")
    assert len(tenant.call("stream.get", "meter-0")) == 10
    sql(stocked.cluster.connect(), "SELECT millrace.sweep_step('tenant', 100, false, true)")  # as the server does
    page.go(page.url)
    page.wait(lambda: ["by slow at 0"] == [row[-1] for row in rows(page, "What sweeps remove")], "who holds it")
    page.allow_changes()
    page.choose(KEPT + " select", "sweep")
    page.click(KEPT + " [name=forced]")
    page.change("tenant", KEPT)
    page.wait_text("had to go on: slow", KEPT)
    assert len(tenant.call("stream.get", "meter-0")) == 3
