"""Tokens, and what each of them may do."""
import base64
import hashlib
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from store import ZERO_TOKEN, Server, new_id, sql, token_for, wait_until
from test_metrics import ADMIN, Metrics

DIGITS = "0" * 64
MESSAGE = {"type": "Tested", "data": {}}
MALFORMED = [
    "nonsense", "ns_", "ns__", "ns_ZGVmYXVsdA", "ns_ZGVmYXVsdA_", "ns_ZGVmYXVsdA_" + DIGITS[1:],
    "ns_ZGVmYXVsdA_" + DIGITS + "0", "ns_ZGVmYXVsdA_" + "g" + DIGITS[1:], "ns__" + DIGITS, "ns_ZGVmYXVsdA==_" + DIGITS,
    "ns_!!!!_" + DIGITS, "NS_ZGVmYXVsdA_" + DIGITS, "xx_ZGVmYXVsdA_" + DIGITS, "ns_Z_" + DIGITS,
    "ns_ZGVmYXVsdA-" + DIGITS, "_" * 70, "ns_" * 5000
]


def ask(server, headers=None, path="/rpc", method="POST", body=b'["sys.version"]'):
    client = server.client()
    client.token = None
    reply = client.request(method, path, body, headers)
    client.close()
    return reply


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": ""}, {"Authorization": " "}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer"},
     {"Authorization": "Bearer "}, {"Authorization": ZERO_TOKEN}, {"Authorization": "Token " + ZERO_TOKEN}])
def test_without_a_token_authentication_is_required(secured, headers):
    reply = ask(secured, headers)
    assert (reply.status, reply.error["code"]) == (401, "AUTH_REQUIRED")
    assert reply.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("token", MALFORMED)
def test_a_malformed_token_is_invalid(secured, token):
    reply = ask(secured, bearer(token))
    assert (reply.status, reply.error["code"]) == (401, "AUTH_INVALID_TOKEN")


def test_an_unknown_namespace_and_a_wrong_token_get_the_same_answer(secured):
    unknown = ask(secured, bearer(token_for("none such")))
    wrong = ask(secured, bearer(token_for("default")))
    assert (unknown.status, unknown.error["code"]) == (403, "AUTH_UNAUTHORIZED")
    assert (wrong.status, wrong.body) == (403, unknown.body)


def test_the_right_token_opens(secured):
    assert ask(secured, bearer(ZERO_TOKEN)).status == 200


def test_the_hash_of_a_token_is_that_of_the_specification(secured):
    hash = "6fefedfc989ca8bea8ce1b63672607c06fbd0d8b3c0667164cf4f5a02911fb52"
    assert hashlib.sha256(ZERO_TOKEN.encode()).hexdigest() == hash
    assert sql(secured.postgres(), "SELECT * FROM millrace.namespace_token_hash('default')") == [(hash,)]


def test_a_token_in_the_query_wins_over_the_header(secured):
    assert ask(secured, {}, f"/rpc?token={ZERO_TOKEN}").status == 200
    assert ask(secured, bearer("nonsense"), f"/rpc?a=b&token={ZERO_TOKEN}").status == 200
    assert ask(secured, bearer(ZERO_TOKEN), "/rpc?token=nonsense").status == 401
    assert ask(secured, bearer(ZERO_TOKEN), f"/rpc?token={token_for('default')}").status == 403


def test_an_empty_token_in_the_query_leaves_it_to_the_header(secured):
    assert ask(secured, bearer(ZERO_TOKEN), "/rpc?token=").status == 200
    assert ask(secured, {}, "/rpc?token=").error["code"] == "AUTH_REQUIRED"


def test_the_query_is_decoded(secured):
    everything = "".join(f"%{ord(byte):02X}" for byte in ZERO_TOKEN)
    assert ask(secured, {}, f"/rpc?token={everything}").status == 200
    assert ask(secured, {}, f"/rpc?token={ZERO_TOKEN.replace('_', '%5f')}").status == 200
    assert ask(secured, {}, f"/rpc?token=+{ZERO_TOKEN}").error["code"] == "AUTH_INVALID_TOKEN"
    assert ask(secured, {}, f"/rpc?token={ZERO_TOKEN}%00").error["code"] == "AUTH_INVALID_TOKEN"
    assert ask(secured, {}, f"/rpc?token={ZERO_TOKEN}%zz").error["code"] == "AUTH_INVALID_TOKEN"


def test_token_then_method_then_body(secured):
    assert ask(secured, {}, method="GET", body=None).error["code"] == "AUTH_REQUIRED"
    assert ask(secured, bearer("nonsense"), method="GET", body=None).error["code"] == "AUTH_INVALID_TOKEN"
    assert ask(secured, bearer(token_for("default")), body=b"{").error["code"] == "AUTH_UNAUTHORIZED"
    assert ask(secured, bearer(ZERO_TOKEN), method="GET", body=None).status == 405
    assert ask(secured, bearer(ZERO_TOKEN), body=b"[").status == 400


@pytest.mark.parametrize("name",
                         ["???>", "???", "a_b", "ÿþý", "_", "with space", "x" * 200, "ü" * 100, "a'b\"c\\d", "."])
def test_names_of_any_kind_have_tokens(secured, admin, name):
    made = admin.call("ns.create", name)
    encoded = base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")
    assert re.fullmatch(f"ns_{re.escape(encoded)}_[0-9a-f]{{64}}", made["token"])
    client = secured.client(made["token"])
    assert client.call("stream.write", "s", MESSAGE) == {"position": 0, "globalPosition": 1}
    assert client.call("ns.info", name)["namespace"] == name
    admin.call("ns.delete", name)


@pytest.fixture
def plain(secured, admin):
    """A client of a namespace that is not the administrator's."""
    name = "plain " + new_id()
    client = secured.client(admin.call("ns.create", name)["token"])
    client.name = name
    return client


@pytest.mark.parametrize("call", [["ns.create", "x"], ["ns.delete", "x"], ["ns.delete", "default"], ["ns.list"],
                                  ["ns.info", "default"], ["ns.info", "none such"]])
def test_a_plain_token_may_not_administer(plain, call):
    error = plain.refused(*call)
    assert (error.status, error.code) == (403, "AUTH_UNAUTHORIZED")


def test_a_plain_token_may_not_delete_its_own_namespace(plain):
    assert plain.refused("ns.delete", plain.name).status == 403


def test_a_plain_token_may_ask_about_its_own_namespace(plain):
    plain.write("a-1")
    assert plain.call("ns.info", plain.name)["messageCount"] == 1
    assert [each["stream"] for each in plain.call("ns.streams")] == ["a-1"]
    assert [each["category"] for each in plain.call("ns.categories")] == ["a"]


def test_namespaces_do_not_see_each_other(secured, admin, plain):
    plain.write("secret-1")
    assert admin.call("stream.get", "secret-1") == []
    assert admin.call("stream.version", "secret-1") is None
    other = secured.client(admin.call("ns.create", "other " + new_id())["token"])
    assert other.call("category.get", "") == []


def test_one_id_may_be_used_in_two_namespaces(secured, admin, plain):
    id = new_id()
    assert plain.write("s", id=id)["position"] == 0
    other = secured.client(admin.call("ns.create", "other " + new_id())["token"])
    assert other.write("t", id=id)["position"] == 0


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_deleted_namespaces_token_is_dead_at_once_on_every_worker(start, folder, workers):
    server = start("--data-dir", folder + "/data", "--token", ZERO_TOKEN, "--workers", workers, token=ZERO_TOKEN)
    admin = server.client()
    for _ in range(3):
        token = admin.call("ns.create", "short")["token"]
        clients = [server.client(token) for _ in range(12)]
        for client in clients:
            client.write("s")
        assert admin.call("ns.delete", "short")["messagesDeleted"] == 12
        for client in clients:
            assert client.refused("stream.get", "s").code == "AUTH_UNAUTHORIZED"
        again = admin.call("ns.create", "short")["token"]
        for client in clients:
            assert client.refused("stream.get", "s").code == "AUTH_UNAUTHORIZED"
        assert server.client(again).call("stream.get", "s") == []
        admin.call("ns.delete", "short")


# The first start, and later ones


def test_a_token_is_not_let_in_by_what_was_asked_about_it_before_it_died(cluster, start):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--workers", "1", *ADMIN, token=ZERO_TOKEN)
    admin, connection = server.client(), cluster.connect()
    old = admin.call("ns.create", "victim")["token"]
    # Or questions about the administrator's token would wait behind the first one.
    wait_until(lambda: Metrics(server)("millrace_postgres_connections", role="read") == 2, "both connections for reads")
    sql(
        connection,
        """CREATE OR REPLACE FUNCTION millrace.token_rights(token_hash text, namespace text, OUT rights text[],
            OUT expires_at timestamptz, OUT refusal text, OUT state text, OUT epoch bigint, OUT moved_to text)
            RETURNS SETOF record LANGUAGE plpgsql AS $$
        DECLARE found boolean := EXISTS (SELECT FROM millrace.namespaces n WHERE n.name = $2 AND n.token_hash = $1);
        BEGIN
        IF $2 = 'victim' THEN PERFORM pg_advisory_xact_lock_shared(42); END IF;
        IF found THEN rights := millrace.first_rights($2); RETURN NEXT; END IF; END $$""")
    sql(connection, "SELECT pg_advisory_lock(42)")

    def asked():
        return sql(connection, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'")[0][0]

    with ThreadPoolExecutor(2) as pool:
        pool.submit(server.client(old).post, ["stream.version", "s"])
        wait_until(lambda: asked() == 1, "the first question")
        admin.call("ns.delete", "victim")
        admin.call("ns.create", "victim")
        late = pool.submit(server.client(old).post, ["stream.version", "s"])
        for _ in range(50):
            if asked() == 2:
                break
            sql(connection, "SELECT pg_sleep(0.01)")
        sql(connection, "SELECT pg_advisory_unlock(42)")
        assert late.result().status == 403


def test_a_generated_token_is_printed_once_with_a_curl_line_that_works(folder, start):
    server = Server("--data-dir", folder + "/data")
    try:
        line = wait_until(lambda: re.search(r"^.*\b(curl .*)\n", server.text, re.M), "a curl line").group(1)
        tokens = set(re.findall(r"ns_ZGVmYXVsdA_[0-9a-f]{64}", server.text))
        assert len(tokens) == 1
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0 and '"position":0' in done.stdout, f"{line}\n{done.stdout}\n{done.stderr}"
        server.token = tokens.pop()
        assert len(server.client().call("category.get", "")) == 1
    finally:
        server.stop()
    again = start("--data-dir", folder + "/data", token=server.token)
    wait_until(lambda: "--token" in again.text, "how to set a new token")
    assert "ns_ZGVmYXVsdA_" not in again.text
    assert len(again.client().call("category.get", "")) == 1, "the data is still there"


def test_the_token_flag_sets_the_token_on_later_starts_too(folder):
    first, second = token_for("default"), token_for("default")
    for token, dead in ((first, second), (second, first), (second, first)):
        server = Server("--data-dir", folder + "/data", "--token", token, token=token)
        try:
            assert server.client().call("sys.version")
            assert server.client(dead).refused("sys.version").status == 403
        finally:
            server.stop()


@pytest.mark.parametrize("token", ["nonsense", "", token_for("other")])
def test_a_token_that_is_not_for_default_ends_the_start(folder, token):
    server = Server("--data-dir", folder + "/data", "--token", token, wait=False)
    try:
        assert server.wait(60) not in (0, -6, -11)
        assert "token" in server.text
    finally:
        server.kill()


# Test mode


def test_in_test_mode_bad_credentials_mean_default(server):
    for headers in ({}, {"Authorization": "Basic x"}, {"Authorization": "Bearer "}, bearer("nonsense"), bearer("ns_x")):
        reply = ask(server, headers, body=b'["ns.info","default"]')
        assert reply.status == 200 and reply.json["namespace"] == "default"


def test_in_test_mode_a_token_makes_the_namespace_it_names(server):
    name = "made by token " + new_id()
    client = server.client(token_for(name))
    client.write("s")
    assert server.client(token_for(name)).call("stream.version", "s") == 0, "no hash is checked"
    assert server.client().call("ns.info", name)["messageCount"] == 1


def test_in_test_mode_many_first_requests_make_one_namespace(server):
    from concurrent.futures import ThreadPoolExecutor
    token = token_for("made by many " + new_id())
    with ThreadPoolExecutor(20) as pool:
        written = list(pool.map(lambda n: server.client(token).write("s"), range(20)))
    assert sorted(each["position"] for each in written) == list(range(20))
