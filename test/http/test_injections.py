"""Text that would be SQL, HTTP or JSON: it is stored and found literally, or refused, and never run."""
import hashlib
import json
import re
from urllib.parse import quote

import pytest

from store import Server, new_id, sql, token_for


VERSION = '["sys.version"]'
INJECTIONS = [
    "'", '"', "\\", "''", "\\'", "';DROP TABLE messages;--", '";DROP SCHEMA millrace CASCADE;--',
    "'); SELECT pg_sleep(20);--", "$$;DROP TABLE messages;$$", "$1", "$1$", "%s%I%L%1$s%n", "{a,b}", '{"a"', '"},{"',
    "NULL", "a\\", "E'\\x27'", "'||(SELECT 1)||'", "/*", "*/ OR TRUE --", "_", "%", "*", ".*", "a,b", "a\tb\nc\r\n",
    "\x01\x7f", "＇; DROP TABLE messages; --", "\u2028\ufeff", "x' AND pg_terminate_backend(pg_backend_pid())::text='",
    "millrace_default.messages", "../../etc/passwd", "${HOME}`id`", "\\u0000", "&token=x#?"
]


class Fingerprint:
    """All that there is in a database, but for one namespace."""

    def __init__(self, connection, without):
        self.connection, self.without = connection, without
        self.before = self.take()

    def take(self):
        registry = sql(
            self.connection, "SELECT name, schema, token_hash, description, metadata FROM millrace.namespaces "
            "WHERE name <> %s ORDER BY name", self.without)
        own = sql(self.connection, "SELECT schema FROM millrace.namespaces WHERE name = %s", self.without)
        relations = sql(
            self.connection, "SELECT nspname::text, relname::text, relkind::text, relacl::text FROM pg_class "
            "JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE nspname !~ '^pg_(toast|temp)' AND nspname <> ALL (%s) ORDER BY 1, 2", [row[0] for row in own])
        functions = sql(self.connection,
                        "SELECT pronamespace::regnamespace::text, count(*) FROM pg_proc GROUP BY 1 ORDER BY 1")
        roles = sql(self.connection, "SELECT rolname::text, rolsuper, rolcanlogin FROM pg_roles ORDER BY 1")
        settings = sql(self.connection, "SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting ORDER BY 1, 2")
        counts = [(row[1], sql(self.connection, f'SELECT count(*), max(global_position) FROM "{row[1]}".messages'))
                  for row in registry]
        return [registry, relations, functions, roles, settings, counts]

    def require_unchanged(self):
        assert self.take() == self.before


@pytest.fixture(scope="module")
def victim():
    """A server of one's own: others would change what must not change."""
    server = Server("--test-mode")
    client = server.client(token_for("bystander"))
    for n in range(5):
        client.write(f"precious-{n}", {"n": n})
    client.close()
    yield server
    client = server.client(token_for("bystander"))  # the first one would have been idle for too long
    assert [message[5] for message in client.call("category.get", "")] == [{"n": n} for n in range(5)]
    assert client.call("ns.info", "bystander")["messageCount"] == 5
    server.stop()


@pytest.fixture
def attacker(victim):
    name = "attacker " + new_id()
    client = victim.client(token_for(name))
    client.call("sys.version")
    connection = victim.postgres()
    client.write("probe", {})
    fingerprint = Fingerprint(connection, name)
    yield client
    fingerprint.require_unchanged()
    connection.close()
    client.close()


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_of_a_message_is_stored_and_found_literally(attacker, text):
    stream, type, data = text + "-" + text, text, {text: [text]}
    category = stream[:stream.index("-")]
    attacker.write(stream, data, type, {text: text, "correlationStreamName": stream})
    attacker.write("other-1", {}, "Other")
    message = attacker.call("stream.get", stream, {"types": [text]})
    assert [(found[1], found[4], found[5][text]) for found in message] == [(type, data, text)]
    assert attacker.call("stream.get", stream, {"types": ["Other"]}) == []
    assert attacker.call("stream.last", stream, {"type": text})[4] == data
    assert attacker.call("stream.last", "other-1", {"type": text}) is None
    assert attacker.call("stream.version", stream) == 0
    found = attacker.call("category.get", category, {"correlation": category, "types": [text, "Other"],
                                                     "consumerGroup": {"member": 0, "size": 1}})
    assert [part[1] for part in found] == [stream]
    assert attacker.call("category.get", "other", {"correlation": text}) == []
    assert stream in [listed["stream"] for listed in attacker.call("ns.streams", {"prefix": text})]
    assert all(listed["stream"].startswith(text) for listed in attacker.call("ns.streams", {"prefix": text}))
    after = [listed["stream"] for listed in attacker.call("ns.streams", {"cursor": text})]
    assert after == sorted((name for name in {stream, "other-1", "probe"} if name.encode() > text.encode()),
                           key=str.encode)
    assert {"category": category, "streamCount": 1, "messageCount": 1} in attacker.call("ns.categories")
    # No other stream than these was touched.
    assert {listed["stream"] for listed in attacker.call("ns.streams")} == {stream, "other-1", "probe"}


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_of_messages_that_are_appended_together_is_stored_and_found_literally(attacker, text):
    message = {"type": text, "data": {text: text}, "metadata": {text: [text]}}
    attacker.call("stream.append", text, [message, message], {"expectedVersion": -1})
    attacker.call(
        "streams.append",
        [{"stream": text + "2", "messages": [message]}, {"stream": text, "messages": [message], "expectedVersion": 1}])
    for stream, count in ((text, 3), (text + "2", 1)):
        assert [found[1:] for found in fields(attacker.call("stream.get", stream))
                ] == [(text, {text: text}, {text: [text]})] * count
    assert {listed["stream"] for listed in attacker.call("ns.streams")} == {text, text + "2", "probe"}


def fields(messages):
    return [(found[0], found[1], found[4], found[5]) for found in messages]


# Every argument that is no free text, with the text in its place.
NO_TEXT = [["stream.write", "s", {"type": "T", "data": {}}, {"id": ...}],
           ["stream.write", "s", {"type": "T", "data": {}}, {"expectedVersion": ...}],
           ["stream.write", "s", {"type": "T", "data": ...}],
           ["stream.write", "s", {"type": "T", "data": {}, "metadata": ...}], ["stream.write", "s", ...],
           ["stream.write", "s", {"type": "T", "data": {}}, ...], ["stream.append", "s", ...],
           ["stream.append", "s", [...]], ["stream.append", "s", [{"type": "T", "data": {}, "id": ...}]],
           ["stream.append", "s", [{"type": "T", "data": {}}], {"expectedVersion": ...}], ["streams.append", ...],
           ["streams.append", [...]],
           ["streams.append", [{"stream": "s", "messages": [{"type": "T", "data": {}, "id": ...}]}]],
           ["streams.append", [{"stream": "s", "messages": [{"type": "T", "data": {}}], "expectedVersion": ...}]],
           ["stream.get", "s", {"position": ...}], ["stream.get", "s", {"globalPosition": ...}],
           ["stream.get", "s", {"batchSize": ...}], ["stream.get", "s", {"types": ...}], ["stream.get", "s", ...],
           ["stream.last", "s", ...], ["category.get", "c", {"position": ...}],
           ["category.get", "c", {"globalPosition": ...}], ["category.get", "c", {"batchSize": ...}],
           ["category.get", "c", {"types": ...}], ["category.get", "c", {"consumerGroup": ...}],
           ["category.get", "c", {"consumerGroup": {"member": ..., "size": 2}}],
           ["category.get", "c", {"consumerGroup": {"member": 0, "size": ...}}], ["ns.streams", {"limit": ...}],
           ["ns.streams", ...]]


def with_text(value, text):
    if value is ...:
        return text
    if isinstance(value, list):
        return [with_text(each, text) for each in value]
    return {key: with_text(each, text) for key, each in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("call", NO_TEXT, ids=lambda call: json.dumps(call, default=lambda _: "...")[:60])
def test_text_where_none_belongs_is_refused(attacker, call):
    for text in INJECTIONS:
        error = attacker.refused(*with_text(call, text))
        assert (error.status, error.code) == (400, "INVALID_REQUEST"), (text, error)
    assert [listed["stream"] for listed in attacker.call("ns.streams")] == ["probe"]


@pytest.mark.parametrize("field", ["id", "pos", "gpos", "data", "meta", "time"])
def test_text_where_none_belongs_is_refused_in_an_import(attacker, field):
    record = {
        "id": new_id(), "stream": "s", "type": "T", "pos": 0, "gpos": 1000, "data": {}, "meta": None,
        "time": "2024-01-02T03:04:05Z"
    }
    for text in INJECTIONS:
        reply = attacker.request("POST", "/import", json.dumps({**record, field: text}).encode())
        assert json.loads(reply.body.split(b"data: ")[-1])["error"].startswith("INVALID_"), (text, reply.body)
    assert attacker.call("stream.version", "s") is None


def test_text_where_none_belongs_is_refused_in_a_url_and_a_header(attacker):
    for text in INJECTIONS:
        for path in ("/import?force=", "/subscribe?stream=s&position=", "/subscribe?category=c&consumer=0&size=",
                     "/subscribe?category=c&size=2&consumer=", "/subscribe?all=", "/subscribe?stream=s&ids=",
                     "/subscribe?stream=s&messages=", "/export?since=", "/export?until="):
            reply = attacker.request("POST" if "import" in path else "GET", path + quote(text, safe=""),
                                     b"" if "import" in path else None)
            assert reply.status == 400, path + text
        if text.isprintable() and text.isascii():
            reply = attacker.request("GET", "/subscribe?stream=s", None, {"Last-Event-ID": text})
            assert reply.status == 400, text


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_of_an_import_and_an_export_is_taken_literally(attacker, text):
    stream = text + "-1"
    category = stream[:stream.index("-")]
    line = json.dumps({
        "id": new_id(), "stream": stream, "type": text, "pos": 7, "gpos": 1000, "data": {text: text},
        "meta": {text: text}, "time": "2024-01-02T03:04:05Z"
    })
    reply = attacker.request("POST", "/import", line.encode())
    assert b'"done":true,"imported":1' in reply.body, reply.body
    reply = attacker.request("GET", "/export?categories=" + quote(category, safe=""))
    found = [json.loads(each) for each in reply.body.splitlines()]
    if "," in category:
        assert found == []  # two names
    else:
        assert [(each["stream"], each["type"], each["data"], each["meta"])
                for each in found] == [(stream, text, {text: text}, {text: text})]
    for query in ("since", "until"):
        assert attacker.request("GET", f"/export?{query}=" + quote(text, safe="")).status == 400
    assert json.loads(
        attacker.request("POST", "/import",
                         line.replace("2024",
                                      text.replace('"', "").replace("\\", "") +
                                      "x").encode()).body.split(b"data: ")[-1])["error"].startswith("INVALID_")


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_of_a_subscription_is_taken_literally(victim, attacker, text):
    stream = text + "-1"
    attacker.write(stream, {})
    for query in ("stream=" + quote(stream, safe=""), "category=" + quote(stream[:stream.index("-")], safe="")):
        with victim.connect() as wire:
            wire.sendall(f"GET /subscribe?{query}&token={attacker.token} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            received = b""
            while b"event: poke" not in received:
                part = wire.recv(65536)
                assert part, received
                received += part
        assert json.dumps(stream, ensure_ascii=False).encode() in received or json.loads(
            re.search(rb"data: (\{.*\})", received).group(1))["stream"] == stream
    for parameter in ("position", "consumer", "size", "all"):
        reply = attacker.request("GET", f"/subscribe?category=c&{parameter}={quote(text + 'x', safe='')}")
        assert reply.status == 400


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_of_a_namespace_is_taken_literally(victim, text):
    admin = victim.client(token_for("default"))
    connection = victim.postgres()
    name = text + " " + new_id()
    fingerprint = Fingerprint(connection, name)
    token = token_for(name)
    assert admin.call("ns.create", name,
                      {"description": text, "token": token, "metadata": {text: text}})["namespace"] == name
    assert sql(connection, "SELECT description, metadata FROM millrace.namespaces WHERE name = %s",
               name) == [(text, {text: text})]
    assert admin.refused("ns.create", name).code == "NAMESPACE_EXISTS"
    client = victim.client(token)
    client.write("s-1", {})
    client.request("POST", "/import?force=true", b"")
    client.write("s-2", {})
    assert client.call("ns.info", name)["description"] == text
    assert name in [listed["namespace"] for listed in admin.call("ns.list")]
    fingerprint.require_unchanged()
    assert admin.call("ns.delete", name)["messagesDeleted"] == 1
    assert admin.refused("ns.info", name).code == "NAMESPACE_NOT_FOUND"
    for call in (["ns.delete", text], ["ns.info", text]):
        assert admin.refused(*call).code == "NAMESPACE_NOT_FOUND"
    for options in ({"token": text}, {"token": token + text}, {"metadata": text}, text):
        assert admin.refused("ns.create", name, options).code == "INVALID_REQUEST"
    fingerprint.require_unchanged()
    connection.close()
    client.close()
    admin.close()


def test_a_token_is_only_ever_a_token(secured):
    digest = hashlib.sha256(b"x").hexdigest()
    for text in [
            *INJECTIONS, digest, "ns_" + "'" * 10 + "_" + "0" * 64, "ns_ZGVmYXVsdA_' OR 1=1",
            *map(token_for, INJECTIONS),
            token_for("default' --"),
            token_for('default"')
    ]:
        client = secured.client("")
        client.token = None
        reply = client.request("POST", "/rpc?token=" + quote(text, safe=""), VERSION)
        assert reply.status in (401, 403), text
        if text.isprintable() and text.isascii():
            assert client.request("POST", "/rpc", VERSION,
                                  {"Authorization": f"Bearer {text}"}).status in (401, 403), text
        client.close()


@pytest.mark.parametrize(
    "query",
    ["stream=%ff", "stream=%00", "stream=a%00b", "stream=%ed%a0%80", "category=%c0%af", "category=%f4%90%80%80"])
def test_a_query_that_is_no_text_for_postgres_is_refused(victim, attacker, query):
    reply = attacker.request("GET", f"/subscribe?{query}")
    assert reply.status == 400, reply.body
    if query.startswith("category"):
        assert attacker.request("GET", "/export?categories=" + query.split("=")[1]).status == 400
