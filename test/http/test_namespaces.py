"""ns.* and sys.*"""
import datetime
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from store import RpcError, new_id, sql, token_for

MESSAGE = {"type": "Tested", "data": {}}


def invalid(error, *words):
    assert (error.status, error.code) == (400, "INVALID_REQUEST"), error
    for word in words:
        assert word in error.message, error.message


@pytest.fixture
def name(admin):
    """The name of a namespace that a test may make; it is deleted afterwards."""
    name = "made " + new_id()
    yield name
    admin.post(["ns.delete", name])


def is_time(text):
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,5}[1-9])?Z", text), text
    return datetime.datetime.fromisoformat(text[:19])


# Refused

@pytest.mark.parametrize("method", ["ns.create", "ns.delete", "ns.info"])
@pytest.mark.parametrize("name", ['""', "1", "null", "[]", "{}", r'"a\u0000"'])
def test_a_namespace_name_must_be_a_non_empty_string(admin, method, name):
    invalid(admin.refused_body(f'["{method}",{name}]'))


@pytest.mark.parametrize("name", ["x" * 201, "ü" * 101])
def test_a_namespace_name_has_at_most_200_bytes(admin, name):
    invalid(admin.refused("ns.create", name))


@pytest.mark.parametrize("options, word", [("null", ""), ("1", ""), ('"x"', ""), ("[]", ""),
                                           ('{"description":null}', "description"),
                                           ('{"description":1}', "description"), ('{"metadata":null}', "metadata"),
                                           ('{"metadata":[]}', "metadata"), ('{"metadata":"x"}', "metadata"),
                                           ('{"metadata":1}', "metadata"), ('{"token":null}', "token"),
                                           ('{"token":1}', "token"), ('{"token":"nonsense"}', "token"),
                                           ('{"token":"%s"}' % token_for("another"), "token"),
                                           ('{"token":"%s0"}' % token_for("refused"), "token")])
def test_bad_options_of_a_new_namespace_are_refused(admin, options, word):
    invalid(admin.refused_body(f'["ns.create","refused",{options}]'), word)
    assert admin.refused("ns.info", "refused").code == "NAMESPACE_NOT_FOUND"


@pytest.mark.parametrize("options, word", [("null", ""), ("1", ""), ("[]", ""), ('{"limit":0}', "limit"),
                                           ('{"limit":1001}', "limit"), ('{"limit":-1}', "limit"),
                                           ('{"limit":1.5}', "limit"), ('{"limit":"1"}', "limit"),
                                           ('{"limit":null}', "limit"), ('{"prefix":1}', "prefix"),
                                           ('{"prefix":null}', "prefix"), ('{"cursor":1}', "cursor"),
                                           ('{"cursor":null}', "cursor")])
def test_bad_options_of_a_list_of_streams_are_refused(client, options, word):
    invalid(client.refused_body(f'["ns.streams",{options}]'), word)


# Create, describe, delete

def test_a_new_namespace(secured, admin, name):
    made = admin.call("ns.create", name, {"description": "for a test", "metadata": {"a": 1}})
    assert set(made) == {"namespace", "token", "createdAt"} and made["namespace"] == name
    created = is_time(made["createdAt"])
    assert abs(created - datetime.datetime.utcnow()) < datetime.timedelta(seconds=60)
    about = admin.call("ns.info", name)
    assert about == {
        "namespace": name, "description": "for a test", "createdAt": made["createdAt"], "messageCount": 0,
        "streamCount": 0, "lastActivity": None, "head": 0, "limits": None
    }
    assert secured.client(made["token"]).call("category.get", "") == []


def test_a_token_of_ones_own(secured, admin, name):
    token = token_for(name)
    assert admin.call("ns.create", name, {"token": token})["token"] == token
    assert secured.client(token).write("s")["position"] == 0
    assert secured.client(token_for(name)).refused("stream.version", "s").status == 403


def test_a_namespace_exists_once(admin, name):
    admin.call("ns.create", name)
    error = admin.refused("ns.create", name)
    assert (error.status, error.code) == (409, "NAMESPACE_EXISTS")
    assert admin.refused("ns.create", "default").code == "NAMESPACE_EXISTS"


def test_of_many_who_create_one_name_one_wins(secured, admin, name):
    clients = [secured.client() for _ in range(10)]
    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(lambda client: client.post(["ns.create", name]).status, clients))
    assert sorted(statuses) == [200] + [409] * 9


def test_dozens_are_created_used_and_deleted_at_once(secured, admin):
    names = [f"many {new_id()}" for _ in range(40)]

    def life(name):
        client = secured.client()
        used = secured.client(client.call("ns.create", name)["token"])
        for n in range(5):
            used.write(f"s-{n}")
        return client.call("ns.delete", name)["messagesDeleted"]

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(life, names)) == [5] * 40
    assert not set(names) & {each["namespace"] for each in admin.call("ns.list")}


@pytest.mark.parametrize("first, second", [("a b", "a_b"), ("A", "a"), ("x" * 199 + "1", "x" * 199 + "2"),
                                           ("a-b", "a.b"), ("ä", "a\u0308"), ("x" * 63, "x" * 64), ("a", "a ")])
def test_two_names_never_share_a_schema(secured, admin, first, second):
    clients = [secured.client(admin.call("ns.create", name)["token"]) for name in (first, second)]
    clients[0].write("s")
    assert clients[1].call("stream.get", "s") == []
    schemas = sql(secured.postgres(), "SELECT DISTINCT schema FROM millrace.namespaces WHERE name IN (%s, %s)", first,
                  second)
    assert len(schemas) == 2
    for name in (first, second):
        admin.call("ns.delete", name)


def test_a_deleted_namespace_tells_its_true_count(secured, admin, name):
    client = secured.client(admin.call("ns.create", name)["token"])
    client.call("stream.append", "s", [MESSAGE] * 123)
    deleted = admin.call("ns.delete", name)
    assert set(deleted) == {"namespace", "deletedAt", "messagesDeleted"}
    assert (deleted["namespace"], deleted["messagesDeleted"]) == (name, 123)
    is_time(deleted["deletedAt"])
    for method in ("ns.delete", "ns.info"):
        error = admin.refused(method, name)
        assert (error.status, error.code) == (404, "NAMESPACE_NOT_FOUND")


def test_a_deleted_name_can_be_created_again_at_once(secured, admin, name):
    for _ in range(5):
        client = secured.client(admin.call("ns.create", name)["token"])
        assert client.write("s") == {"position": 0, "globalPosition": 1}
        assert admin.call("ns.delete", name)["messagesDeleted"] == 1


def test_the_default_namespace_cannot_be_deleted(admin):
    invalid(admin.refused("ns.delete", "default"), "default")


def test_a_namespace_is_deleted_under_load_without_harm(secured, admin, name):
    token = admin.call("ns.create", name)["token"]

    def write(n):
        client = secured.client(token)
        for _ in range(2000):
            reply = client.post(["stream.write", f"s-{n}", MESSAGE])
            if reply.status != 200:
                return reply.error["code"]

    with ThreadPoolExecutor(9) as pool:
        writers = [pool.submit(write, n) for n in range(8)]
        reader = secured.client(token)
        while reader.call("ns.info", name)["messageCount"] < 100:
            pass
        admin.call("ns.delete", name)
        assert {writer.result() for writer in writers} <= {"NAMESPACE_NOT_FOUND", "AUTH_UNAUTHORIZED"}
    assert admin.call("ns.info", "default")


def test_the_list_of_namespaces(secured, admin, name):
    client = secured.client(admin.call("ns.create", name, {"description": "listed"})["token"])
    for _ in range(3):
        client.write("s")
    listed = {each["namespace"]: each for each in admin.call("ns.list")}
    assert "default" in listed
    assert set(listed[name]) == {"namespace", "description", "createdAt", "messageCount"}
    assert listed[name]["description"] == "listed"
    is_time(listed[name]["createdAt"])
    assert isinstance(listed[name]["messageCount"], int)


def test_the_description_of_a_namespace_counts_exactly(secured, admin, name):
    client = secured.client(admin.call("ns.create", name)["token"])
    client.call("stream.append", "a-1", [MESSAGE] * 5)
    client.call("stream.append", "b-1", [MESSAGE] * 2)
    about = client.call("ns.info", name)
    assert (about["messageCount"], about["streamCount"]) == (7, 2)
    assert about["lastActivity"] == client.call("stream.last", "b-1")[6]


# ns.streams, ns.categories

def streams(client, **options):
    return [each["stream"] for each in client.call("ns.streams", *([options] if options else []))]


def test_streams_are_listed_in_byte_order(client):
    names = ["b-1", "a-2", "a-1", "a-10", "A", "a", "é", "~", "a_1", "z z"]
    for name in names:
        client.write(name)
    assert streams(client) == sorted(names, key=str.encode)


def test_a_listed_stream_has_version_and_last_activity(client):
    client.call("stream.append", "a-1", [MESSAGE] * 4)
    assert client.call("ns.streams") == [{
        "stream": "a-1", "version": 3, "lastActivity": client.call("stream.last", "a-1")[6]
    }]


def test_a_prefix_is_exact_in_its_bytes(client):
    for name in ("a%b", "a_b", "aXb", "a%", "A%b", "a", "ä"):
        client.write(name)
    assert streams(client, prefix="a%") == ["a%", "a%b"]
    assert streams(client, prefix="a_") == ["a_b"]
    assert streams(client, prefix="a") == ["a", "a%", "a%b", "aXb", "a_b"]
    assert streams(client, prefix="none") == []
    assert streams(client, prefix="") == streams(client)


def test_streams_are_listed_in_pages(client):
    names = [f"s-{n:04d}" for n in range(250)]
    client.call("streams.append", [{"stream": name, "messages": [MESSAGE]} for name in names])
    assert streams(client) == names[:100]
    assert streams(client, limit=1000) == names
    seen, cursor = [], {}
    while page := streams(client, limit=60, prefix="s-", **cursor):
        seen += page
        cursor = {"cursor": page[-1]}
    assert seen == names
    assert streams(client, cursor="s-0247x") == names[248:]


def test_categories_are_counted(client):
    for name in ("a-1", "a-1", "a-2", "b", "b", "c-1-2", "a", "-x"):
        client.write(name)
    counted = {each["category"]: (each["streamCount"], each["messageCount"]) for each in client.call("ns.categories")}
    assert counted == {"a": (3, 4), "b": (1, 2), "c": (1, 1), "": (1, 1)}


def test_an_empty_namespace_lists_nothing(client):
    assert client.call("ns.streams") == [] and client.call("ns.categories") == []


# sys.*

def test_the_version_starts_with_three_numbers(client):
    assert re.match(r"\d+\.\d+\.\d+", client.call("sys.version"))


def test_health_tells_backend_and_connections(client):
    client.write("s")
    health = client.call("sys.health")
    assert set(health) == {"status", "backend", "connections"}
    assert (health["status"], health["backend"]) == ("ok", "postgres") and health["connections"] >= 1


def test_what_was_refused_by_the_administrators_namespace_is_the_same_in_both_envelopes(admin):
    reply = admin.post({"jsonrpc": "2.0", "method": "ns.info", "params": {"namespace": "none such"}, "id": 1}).json
    assert reply["error"]["data"]["code"] == "NAMESPACE_NOT_FOUND"
    try:
        admin.call("ns.info", "none such")
    except RpcError as error:
        assert error.status == 404
