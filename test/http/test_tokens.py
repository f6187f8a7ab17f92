"""Tokens with rights, a name and an expiry: what each may do, how one replaces another, when one ends."""
import json
import re
import threading
import time
from datetime import datetime, timedelta, timezone

import psycopg2
import pytest

from clock import Clock
from every_call import ADMINISTRATIVE, METHODS
from importing import line
from store import ROOT, ZERO_TOKEN, new_id, sql, token_for, wait_until
from subscriber import Subscriber

RIGHTS = ["read", "append", "remove", "administer"]

# The right that each method needs, by what this page says it lets its holder do; no right: any token.
NEEDED = {
    "read": [
        "stream.get", "stream.last", "stream.version", "stream.head", "category.get", "query.get", "message.get",
        "messages.search", "position.at", "streams.recent", "ns.info", "ns.streams", "ns.categories", "ns.types",
        "sys.stats", "consumer.next", "consumer.settle", "consumer.extend", "consumer.list", "consumer.info",
        "consumer.streams", "consumer.claims", "ns.retention", "ns.removals"
    ],
    "append": [
        "stream.write", "stream.append", "streams.append", "consumer.create", "consumer.delete", "consumer.move",
        "consumer.unpark", "consumer.skip", "consumer.reset", "consumer.pause", "consumer.resume"
    ],
    "remove": ["messages.remove", "ns.setRetention", "ns.sweep", "message.redact", "stream.truncate",
               "stream.remove", "stream.close"],
    "administer": ["ns.tokens", "ns.createToken", "ns.revokeToken", "stream.reopen"],
}
ENDPOINTS = {
    "/subscribe?all=true": ("GET", "read"), "/export": ("GET", "read"), "/import": ("POST", "append"),
    "/import?force=true": ("POST", "append")
}


def later(seconds=0, **span):
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds, **span)).isoformat()


@pytest.fixture
def namespace(secured, admin):
    name = "tokens " + new_id()
    admin.call("ns.create", name)
    yield name
    admin.call("ns.delete", name)


@pytest.fixture
def make(secured, admin, namespace):
    """Makes a token of the namespace with these rights, and a client for it."""
    clients = []

    def make(*rights, name=None, **options):
        made = admin.call("ns.createToken", namespace, name or new_id(), {"rights": list(rights), **options})
        clients.append(secured.client(made["token"]))
        clients[-1].name = made["name"]
        return clients[-1]

    yield make
    for each in clients:
        each.close()


# Rights


def test_every_method_of_the_document_is_in_the_table_of_this_test(admin):
    methods = {each["name"]: each for each in admin.call("rpc.discover")["methods"]}
    needed = {name: right for right, names in NEEDED.items() for name in names}
    assert {name: each["x-right"] for name, each in methods.items() if "x-right" in each} == needed
    others = {name for name, each in methods.items() if {"name": "administrator"} in each["tags"]}
    assert set(methods) - set(needed) - others == {"sys.version", "sys.health", "rpc.discover"}


@pytest.mark.parametrize("right", RIGHTS)
def test_a_token_may_do_what_its_right_says_and_nothing_else(make, admin, namespace, right):
    client = make(right)
    admin_like = make(*RIGHTS)
    admin_like.write("mine-1")
    before = admin_like.call("category.get", "")
    for name in METHODS:
        arguments = [namespace if each == "NAME" else each for each in METHODS[name]]
        needs = next((r for r, names in NEEDED.items() if name in names), None)
        reply = client.post([name, *arguments])
        if needs == right or needs is None and name not in ADMINISTRATIVE:
            assert reply.status == 200 or b"is not closed" in reply.body, (name, reply.body)
        else:
            assert (reply.status, reply.error["code"]) == (403, "AUTH_UNAUTHORIZED"), name
        if reply.status == 403 and needs:
            assert reply.error["message"] == f"{name} needs the right to {needs}, which this token does not have"
            assert reply.error["details"] == {"right": needs}
    for path, (method, needs) in ENDPOINTS.items():
        if needs == right and path.startswith("/subscribe"):
            continue  # which lasts; see below
        reply = client.request(method, path, b"" if method == "POST" else None)
        assert reply.status == (200 if needs == right else 403), path
        if needs != right:
            assert reply.error["message"].startswith(path.partition("?")[0] + f" needs the right to {needs}")
    if right not in ("append", "remove"):
        assert admin_like.call("category.get", "") == before


def test_all_rights_of_a_namespace_are_none_in_another(make, admin):
    client, other = make(*RIGHTS), "other " + new_id()
    admin.call("ns.create", other)
    named = [name for names in NEEDED.values() for name in names if "NAME" in METHODS.get(name, ())]
    assert {"ns.setRetention", "ns.retention", "ns.sweep", "ns.removals", "ns.info", "ns.tokens"} <= set(named)
    for name in named:
        for foreign in (other, "default", "none such"):
            error = client.refused(name, *[foreign if each == "NAME" else each for each in METHODS[name]])
            assert (error.status, error.code) == (403, "AUTH_UNAUTHORIZED"), (name, foreign)
            assert "its own namespace only" in error.message, (name, foreign)
    admin.call("ns.delete", other)


def test_a_reader_works_for_a_consumer_and_makes_none(make):
    writer, reader = make("append"), make("read")
    writer.write("job-1")
    assert reader.refused("consumer.create", "worker", {"category": "job"}).details == {"right": "append"}
    writer.call("consumer.create", "worker", {"category": "job"})
    claim = reader.call("consumer.next", "worker", {"waitMs": 0})
    assert [message[1] for message in claim["messages"]] == ["job-1"], claim
    reader.call("consumer.settle", "worker", {"claim": claim["claim"]})
    assert reader.call("consumer.info", "worker")["lag"] == 0
    assert reader.refused("consumer.reset", "worker", {"position": 0}).details == {"right": "append"}
    assert writer.refused("consumer.next", "worker", {"waitMs": 0}).details == {"right": "read"}


def test_a_reader_subscribes(secured, make, admin, namespace):
    reader, writer = make("read"), make("append")
    subscriber = Subscriber(secured, reader.token, all="true").ready()
    writer.write("s-1")
    assert subscriber.wait_for(1)
    subscriber.close()


def test_each_call_of_a_batch_is_judged_by_itself(make):
    reader = make("read")
    calls = [("stream.write", ["a-1", {"type": "T", "data": {}}]), ("stream.version", ["a-1"]), ("ns.tokens", ["x"]),
             ("sys.version", [])]
    body = [{"jsonrpc": "2.0", "id": n, "method": method, "params": params} for n, (method, params) in enumerate(calls)]
    answers = sorted(reader.request("POST", "/rpc", json.dumps(body)).json, key=lambda each: each["id"])
    assert answers[0]["error"]["data"] == {"code": "AUTH_UNAUTHORIZED", "details": {"right": "append"}}
    assert answers[1]["result"] is None
    assert answers[2]["error"]["data"]["details"] == {"right": "administer"}
    assert "result" in answers[3]


def test_what_a_namespace_comes_with_reads_appends_and_imports_also_by_force(secured, admin, namespace):
    own = secured.client(admin.call("ns.create", other := "other " + new_id())["token"])
    own.write("s-1")
    assert b'"done":true' in own.request("POST", "/import?force=true", line(1, stream="i-1").encode()).body
    assert [each[1] for each in own.call("category.get", "")] == ["i-1"]
    assert own.refused("ns.tokens", other).details == {"right": "administer"}
    assert admin.call("ns.tokens", other) == [{
        "name": "first", "rights": ["read", "append"], "expiresAt": None, "expired": False, "createdAt": None
    }]
    admin.call("ns.delete", other)
    own.close()


def test_a_token_of_namespace_default_is_the_administrators_only_with_the_right_to_administer(secured, admin):
    made = [admin.call("ns.createToken", "default", new_id(), {"rights": rights})
            for rights in (["read", "append", "remove"], ["administer"])]
    plain, full = [secured.client(each["token"]) for each in made]
    for name in ADMINISTRATIVE - set(NEEDED["remove"]):
        assert plain.post([name, *METHODS[name]]).status == 403
    assert plain.call("stream.version", "nothing") is None
    assert plain.refused("ns.info", "none such").code == "AUTH_UNAUTHORIZED"
    assert full.call("ns.create", "made by it")["namespace"] == "made by it"
    assert full.call("ns.createToken", "made by it", "t", {"rights": ["read"]})
    assert full.refused("stream.version", "nothing").details == {"right": "read"}
    full.call("ns.delete", "made by it")
    for each in made:
        admin.call("ns.revokeToken", "default", each["name"])
    plain.close()
    full.close()


def test_who_administers_a_namespace_manages_its_tokens_and_no_others(secured, make, admin, namespace):
    keeper = make("administer")
    made = keeper.call("ns.createToken", namespace, "by the keeper", {"rights": ["read"]})
    assert secured.client(made["token"]).call("stream.version", "s") is None
    assert [each["name"] for each in keeper.call("ns.tokens", namespace)] == ["first", keeper.name, "by the keeper"]
    assert keeper.call("ns.revokeToken", namespace, "by the keeper")["name"] == "by the keeper"
    for call in (["ns.tokens"], ["ns.createToken", "x", {"rights": ["read"]}], ["ns.revokeToken", "first"]):
        for other in ("default", "none such"):
            error = keeper.refused(call[0], other, *call[1:])
            assert (error.status, error.code) == (403, "AUTH_UNAUTHORIZED")
            assert error.message == "this token is for its own namespace only"


# What is refused

TOO_LONG = "x" * 201


@pytest.mark.parametrize("name, options, message", [
    ("t", {"rights": ["write"]}, 'right "write" is not known'),
    ("t", {"rights": ["read", "Read"]}, 'right "Read" is not known'),
    ("t", {"rights": []}, "a token without rights is of no use"),
    ("t", {"rights": "read"}, 'options.rights must be an array of strings, not "read"'),
    ("t", {"rights": ["read", 1]}, "options.rights must be an array of strings, not 1"),
    ("t", {}, "options.rights is required"),
    ("t", None, "options must be an object, not null"),
    ("t", {"rights": ["read"], "expires": later(60)}, "options.expires is not known"),
    ("t", {"rights": ["read"], "expiresAt": "2020-01-01T00:00:00Z"}, "is in the past"),
    ("t", {"rights": ["read"], "expiresAt": "tomorrow"}, "options.expiresAt must be a time"),
    ("t", {"rights": ["read"], "expiresAt": None}, "options.expiresAt must not be null"),
    ("t", {"rights": ["read"], "token": "ns_x"}, "options.token must be a well-formed token for the namespace"),
    ("t", {"rights": ["read"], "token": token_for("x")}, "options.token must be a well-formed token for the namespace"),
    ("", {"rights": ["read"]}, "name must not be empty"),
    (TOO_LONG, {"rights": ["read"]}, "name is too long: 201 bytes, at most 200 are allowed"),
    (1, {"rights": ["read"]}, "name must be a string, not 1"),
])
def test_a_bad_argument_is_named_with_its_value(admin, namespace, name, options, message):
    before = admin.call("ns.tokens", namespace)
    error = admin.refused("ns.createToken", namespace, name, options)
    assert (error.status, error.code) == (400, "INVALID_REQUEST")
    assert message in error.message
    assert admin.call("ns.tokens", namespace) == before


def test_names_and_tokens_are_not_used_twice(admin, namespace):
    token = token_for(namespace)
    assert admin.call("ns.createToken", namespace, "a", {"rights": ["read"], "token": token})["token"] == token
    for name, options in (("a", {}), ("a", {"token": token}), ("b", {"token": token}), ("first", {})):
        error = admin.refused("ns.createToken", namespace, name, {"rights": ["append"], **options})
        assert (error.status, error.code) == (409, "TOKEN_EXISTS"), error.message
        assert token not in error.message and token[-64:] not in error.message
    other = admin.call("ns.create", "other " + new_id())
    error = admin.refused("ns.createToken", other["namespace"], "a", {"rights": ["read"], "token": other["token"]})
    assert (error.status, error.code) == (409, "TOKEN_EXISTS")
    assert admin.call("ns.createToken", other["namespace"], "a", {"rights": ["read"]}), "names are a namespace's own"
    admin.call("ns.delete", other["namespace"])


def test_what_is_not_there_is_not_found(admin, namespace):
    for call in (["ns.tokens"], ["ns.createToken", "t", {"rights": ["read"]}], ["ns.revokeToken", "t"]):
        error = admin.refused(call[0], "none such", *call[1:])
        assert (error.status, error.code) == (404, "NAMESPACE_NOT_FOUND")
    error = admin.refused("ns.revokeToken", namespace, "t")
    assert (error.status, error.code, error.message) == (404, "TOKEN_NOT_FOUND",
                                                         f'token "t" of namespace "{namespace}" does not exist')


def test_a_namespace_has_a_thousand_tokens_at_most_and_those_that_were_revoked_make_room(secured, admin, namespace):
    database = secured.postgres()
    sql(
        database, "SELECT millrace.create_token(n::text, '{read}', encode(sha256(%s || n::text::bytea), 'hex'),"
        " NULL, %s) FROM generate_series(1, 1000) n", namespace.encode(), namespace)
    error = admin.refused("ns.createToken", namespace, "t", {"rights": ["read"]})
    assert (error.status, error.message) == (400, f'namespace "{namespace}" has 1000 tokens already')
    admin.call("ns.revokeToken", namespace, "500")
    assert admin.call("ns.createToken", namespace, "t", {"rights": ["read"]})
    assert len(admin.call("ns.tokens", namespace)) == 1001


# The answer


def test_a_token_is_told_once_and_listed_without_it(secured, admin, namespace):
    expires = later(days=90)
    name = "ünïcode \"name\""
    made = admin.call("ns.createToken", namespace, name, {"rights": ["remove", "read"], "expiresAt": expires})
    assert list(made) == ["namespace", "token", "name", "rights", "expiresAt", "createdAt"]
    assert made["rights"] == ["read", "remove"] and made["name"] == name
    assert datetime.fromisoformat(made["expiresAt"]) == datetime.fromisoformat(expires)
    listed = admin.post(["ns.tokens", namespace])
    told = {key: made[key] for key in ("name", "rights", "expiresAt", "createdAt")}
    assert listed.json[1] == told | {"expired": False}
    assert made["token"][-64:].encode() not in listed.body
    for table in sql(secured.postgres(), "SELECT t::text FROM millrace.tokens t"):
        assert made["token"][-64:] not in str(table)


def test_a_token_is_in_no_export(admin, secured, make):
    client = make("read", "append")
    client.write("s-1")
    assert client.token[-64:].encode() not in client.request("GET", "/export").body


# Revoking, expiry


def test_a_revoked_token_is_refused_at_once_on_every_worker_and_its_name_is_free(folder, start):
    server = start("--data-dir", folder + "/data", "--token", ZERO_TOKEN, "--workers", "3", token=ZERO_TOKEN)
    admin = server.client()
    for n in range(3):
        token = admin.call("ns.createToken", "default", "short", {"rights": ["read"]})["token"]
        clients = [server.client(token) for _ in range(12)]
        for client in clients:
            client.call("stream.version", "s")
        revoked = admin.call("ns.revokeToken", "default", "short")
        assert admin.call("ns.revokeToken", "default", "short") == revoked, "the same again"
        for client in clients:
            reply = client.post(["stream.version", "s"])
            assert (reply.status, reply.error["code"]) == (401, "AUTH_INVALID_TOKEN")
            assert reply.error["message"] == "the token was revoked at " + revoked["revokedAt"]
            assert reply.headers["WWW-Authenticate"].startswith("Bearer")
        assert [each["name"] for each in admin.call("ns.tokens", "default")] == ["first"]


def test_the_token_that_a_namespace_comes_with_is_revoked_too(secured, admin):
    made = admin.call("ns.create", "without " + new_id())
    first = secured.client(made["token"])
    first.write("s")
    assert admin.call("ns.revokeToken", made["namespace"], "first")["revokedAt"]
    assert first.refused("stream.version", "s").code == "AUTH_UNAUTHORIZED"
    assert admin.call("ns.tokens", made["namespace"]) == []
    assert admin.refused("ns.revokeToken", made["namespace"], "first").code == "TOKEN_NOT_FOUND"
    admin.call("ns.delete", made["namespace"])


def test_a_token_goes_with_its_namespace(secured, admin):
    name = "goes " + new_id()
    admin.call("ns.create", name)
    client = secured.client(admin.call("ns.createToken", name, "t", {"rights": ["read"]})["token"])
    assert client.call("stream.version", "s") is None
    admin.call("ns.delete", name)
    assert client.refused("stream.version", "s").code == "AUTH_UNAUTHORIZED"
    admin.call("ns.create", name)
    assert client.refused("stream.version", "s").code == "AUTH_UNAUTHORIZED"
    assert [each["name"] for each in admin.call("ns.tokens", name)] == ["first"]
    admin.call("ns.delete", name)


def test_a_token_is_good_until_it_expires_and_then_says_when(secured, make, admin, namespace):
    expires = later(seconds=1.5)
    client = make("read", name="short", expiresAt=expires)
    end = datetime.fromisoformat(expires)
    good, last = 0, client.post(["stream.version", "s"])
    while last.status == 200:
        good += 1
        asked = datetime.now(timezone.utc)
        assert (asked - end).total_seconds() < 5, "it is good for ever"
        last = client.post(["stream.version", "s"])
        assert last.status != 200 or (asked - end).total_seconds() < 0.1, "it is good hardly longer"
    assert good and (datetime.now(timezone.utc) - end).total_seconds() > -0.01, "and not shorter"
    assert (last.status, last.error["code"]) == (401, "AUTH_INVALID_TOKEN")
    assert re.fullmatch(r"the token expired at [-0-9]+T[0-9:.]+Z", last.error["message"])
    listed = {each["name"]: each for each in admin.call("ns.tokens", namespace)}["short"]
    assert listed["expired"] and datetime.fromisoformat(listed["expiresAt"]) == datetime.fromisoformat(expires)
    assert admin.refused("ns.createToken", namespace, "short", {"rights": ["read"]}).code == "TOKEN_EXISTS"


def test_what_is_known_of_a_token_is_believed_for_a_second_and_not_beyond_its_end(folder, cluster, start):
    clock = Clock(folder)
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--workers", "1", token=ZERO_TOKEN,
                   variables=clock.variables)
    admin, database = server.client(), cluster.connect()
    kept = server.client(admin.call("ns.createToken", "default", "kept", {"rights": ["read"]})["token"])
    lasting = server.client(
        admin.call("ns.createToken", "default", "lasting", {"rights": ["read"], "expiresAt": later(hours=1)})["token"])
    clock.stop()

    def passes(seconds):
        clock.set(3, clock.get(3) + int(seconds * 1e9))

    for client in (kept, lasting):
        assert client.call("stream.version", "s") is None
    sql(database, "UPDATE millrace.tokens SET revoked_at = now()")  # behind the server's back
    for client in (kept, lasting):
        assert client.call("stream.version", "s") is None, "no time has passed"
    passes(0.9)
    assert kept.call("stream.version", "s") is None
    passes(0.2)
    assert kept.post(["stream.version", "s"]).status == 401
    sql(database, "UPDATE millrace.tokens SET revoked_at = NULL, expires_at = clock_timestamp() + interval '500 ms'")
    assert kept.call("stream.version", "s") is None
    passes(0.6)  # less than what is believed, more than the token has
    assert sql(database, "SELECT pg_sleep(greatest(0, extract(epoch FROM max(expires_at) - clock_timestamp())))"
               " FROM millrace.tokens")
    assert "expired" in kept.post(["stream.version", "s"]).error["message"]


@pytest.mark.parametrize("end", ["revoked", "expired", "revoked elsewhere", "may read no more"])
def test_a_subscription_ends_with_its_token(secured, make, admin, namespace, end):
    options = {"expiresAt": later(seconds=1.5)} if end == "expired" else {}
    reader, other, writer = make("read", **options), make("read"), make("append")
    subscriber = Subscriber(secured, reader.token, all="true").ready()
    bystander = Subscriber(secured, other.token, all="true").ready()
    began = time.monotonic()
    if end == "revoked":
        admin.call("ns.revokeToken", namespace, reader.name)
    elif end != "expired":
        what = "revoked_at = now()" if end == "revoked elsewhere" else "rights = '{append}'"
        sql(secured.postgres(), f"UPDATE millrace.tokens SET {what} WHERE name = %s", reader.name)
    subscriber.ends()
    assert time.monotonic() - began < 4
    writer.write("s-1")
    assert bystander.wait_for(1) and subscriber.events == []
    subscriber.close()
    bystander.close()


# Rotation


def test_a_token_is_rotated_on_two_servers_without_a_request_refused(cluster, start):
    first = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--workers", "2", token=ZERO_TOKEN)
    second = start("--database", cluster.conninfo(), "--workers", "2", token=ZERO_TOKEN)
    admin = first.client()
    current = [admin.call("ns.create", "app")["token"]]
    stop, refused, counts = threading.Event(), [], []

    def work(server, n):
        token, client, count = None, None, 0
        while not stop.is_set():
            if token != current[0]:
                token, client = current[0], server.client(current[0])
            for call in (["stream.write", f"s-{n}", {"type": "T", "data": {}}], ["stream.version", f"s-{n}"]):
                reply = client.post(call)
                count += 1
                if reply.status != 200:
                    refused.append((call[0], reply.status, reply.body))
            seen[n] = token
        counts.append(count)

    seen = {}
    threads = [threading.Thread(target=work, args=(server, n)) for n, server in enumerate([first, second] * 3)]
    for thread in threads:
        thread.start()
    name = "first"
    try:
        for round in range(4):
            made = admin.call("ns.createToken", "app", f"round {round}", {"rights": ["read", "append"]})
            current[0] = made["token"]
            wait_until(lambda: len(seen) == 6 and set(seen.values()) == {made["token"]}, "all to use the new token")
            admin.call("ns.revokeToken", "app", name)
            name = made["name"]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert refused == [] and sum(counts) > 100
    assert [each["name"] for each in admin.call("ns.tokens", "app")] == ["round 3"]


def test_another_server_refuses_a_revoked_token_within_a_second(cluster, start):
    first = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--workers", "1", token=ZERO_TOKEN)
    second = start("--database", cluster.conninfo(), "--workers", "1", token=ZERO_TOKEN)
    admin = first.client()
    client = second.client(admin.call("ns.createToken", "default", "t", {"rights": ["read"]})["token"])
    assert client.call("stream.version", "s") is None, "it works there at once"
    admin.call("ns.revokeToken", "default", "t")
    revoked = time.monotonic()
    wait_until(lambda: client.post(["stream.version", "s"]).status == 401, "the refusal", 5)
    assert time.monotonic() - revoked < 1.5


def test_the_administrator_rotates_the_first_token_and_a_restart_makes_no_other(folder, start):
    server = start("--data-dir", folder + "/data", "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    token = server.client().call("ns.createToken", "default", "new", {"rights": RIGHTS})["token"]
    client = server.client(token)
    client.call("ns.revokeToken", "default", "first")
    assert server.client().refused("ns.list").code == "AUTH_UNAUTHORIZED"
    server.stop()
    server = start("--data-dir", folder + "/data", token=token)
    assert "ns_ZGVmYXVsdA_" not in server.text, "no token was made"
    assert server.client().call("ns.list")
    server.client().call("ns.revokeToken", "default", "new")
    server.stop()
    server = start("--data-dir", folder + "/data", wait=True)
    assert len(set(re.findall(r"ns_ZGVmYXVsdA_[0-9a-f]{64}", server.text))) == 1, "nobody could administer it"


# Test mode


def test_in_test_mode_no_token_is_looked_up_and_each_has_all_rights_of_its_namespace(server):
    name = "free " + new_id()
    client = server.client(token_for(name))
    client.write("s-1")
    made = client.call("ns.createToken", name, "t", {"rights": ["read"]})
    limited = server.client(made["token"])
    assert limited.write("s-1")["position"] == 1
    client.call("ns.revokeToken", name, "t")
    assert limited.write("s-1")["position"] == 2
    assert client.refused("ns.list").code == "AUTH_UNAUTHORIZED"
    assert client.refused("ns.tokens", "default").code == "AUTH_UNAUTHORIZED"


def test_the_manual_says_the_right_of_each_method():
    manual = (ROOT / "sidecar" / "README.md").read_text()
    table = re.search(r"### Rights\n(.*?)\n### ", manual, re.S).group(1)
    for right, names in NEEDED.items():
        row = next(each for each in table.splitlines() if each.startswith(f"| `{right}` |"))
        for name in names:
            assert f"`{name}`" in row or f"`{name.partition('.')[0]}.*`" in row, (right, name)
