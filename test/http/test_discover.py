"""rpc.discover and /openrpc.json: the document is OpenRPC, and says what the table of methods, the server and
README.md say.
"""
import copy
import json
import re
import threading
from pathlib import Path

import jsonschema
import psycopg2
import pytest

from every_call import MANUAL
from store import ZERO_TOKEN, Server, new_id, sql, token_for, wait_until

META_SCHEMA = json.loads((Path(__file__).parent / "openrpc" / "meta-schema.json").read_text())
EXAMPLE_ID = "0192a1de-4b3c-7e21-9f00-3a5b6c7d8e9f"
# Whose default depends on another option, so that the document tells none.
DEPENDENT = {("stream.get", "position"), ("category.get", "position"), ("query.get", "position"),
             ("consumer.create", "onPoison")}
# Whose options are checked by Postgres.
FROM_POSTGRES = ("consumer.", "ns.setRetention", "ns.sweep", "ns.removals")
NOT_KNOWN = re.compile(r" is not known|has no \"")


@pytest.fixture(scope="module")
def own():
    """A server whose namespace default these tests have for themselves."""
    server = Server("--test-mode")
    connection = server.postgres()
    sql(connection, "SELECT millrace.index_tags('default')")
    connection.close()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def ask(own):
    client = own.client()
    yield client
    client.close()


@pytest.fixture(scope="module")
def document(ask):
    return ask.request("GET", "/openrpc.json").json


@pytest.fixture(scope="module")
def methods(document):
    return {method["name"]: method for method in document["methods"]}


def rpc2(client, method, params):
    return client.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).json


def resolved(document, schema):
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def errors_of(document, schema, value):
    """What is wrong with a value by a schema of the document."""
    whole = {"components": document["components"], "allOf": [schema]}
    return [error.message for error in jsonschema.Draft7Validator(whole).iter_errors(value)]


def complete(document):
    """The document, in which no object of a result may have a member that it does not say."""
    document = copy.deepcopy(document)

    def close(node):
        if isinstance(node, dict):
            if "properties" in node and node.get("type") == "object":
                node["additionalProperties"] = False
            for each in node.values():
                close(each)
        elif isinstance(node, list):
            for each in node:
                close(each)

    close(document)
    return document


# What it is

def test_it_is_openrpc(document):
    # What it takes from the schema of schemas, which is checked by itself.
    elsewhere = r'\{"\$ref": "https://meta.json-schema.tools[^"]*"\}'
    schema = json.loads(re.sub(elsewhere, "{}", json.dumps(META_SCHEMA)))
    assert "json-schema.tools" not in json.dumps(schema["definitions"])
    assert [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(document)] == []
    for method in document["methods"]:
        for each in [*method["params"], method["result"]]:
            jsonschema.Draft7Validator.check_schema(each["schema"])


def test_every_reference_leads_somewhere_and_every_type_is_referred_to(document):
    found = set(re.findall(r'"\$ref": "#/components/(\w+/\w+)"', json.dumps(document)))
    assert found == {f"{part}/{name}" for part in ("schemas", "errors") for name in document["components"][part]}


def test_rpc_discover_and_the_path_answer_the_same_to_everybody(document, own, ask):
    assert ask.call("rpc.discover") == document
    assert rpc2(ask, "rpc.discover", {})["result"] == document
    other = own.client(token_for("other"))
    assert other.call("rpc.discover") == document
    assert ask.request("GET", "/openrpc.json?v=1").json == document
    assert document["info"]["version"] == ask.call("sys.version")
    other.close()


# The table (test/unit/test_discover.c has its names), README.md

def test_it_has_the_rights_and_the_arguments_of_the_table(methods, own, ask):
    other = own.client(token_for("other"))
    for name, method in methods.items():
        told = re.search(r"known are (.+)", refusal(rpc2(ask, name, {"unheardOf": 1})) or "")
        assert (told[1].split(", ") if told else []) == [each["name"] for each in method["params"]], name
        answer = rpc2(other, name, {"unheardOf": 1})
        refused = answer["error"].get("data", {}).get("code") == "AUTH_UNAUTHORIZED"
        tags = [each["name"] for each in method["tags"]]
        assert tags == [name.partition(".")[0], *(["administrator"] if refused else [])], name
    other.close()


def sections():
    """Of each method the part of README.md about it."""
    found = {}
    for part in re.split(r"^##+ ", MANUAL, flags=re.M)[1:]:
        title, _, text = part.partition("\n")
        for name in title.split(", "):
            if re.fullmatch(r"[a-z]+\.\w+", name):
                found[name] = text
    return found


def options_of(document, method):
    """The options of a method, by name."""
    for each in method["params"]:
        if each["name"] == "options":
            return resolved(document, each["schema"])["properties"]
    return {}


def tabulated(section):
    """The options in the tables of a section, by name: what stands in the column `default`, or None."""
    found = {}
    for table in re.findall(r"^\| option \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", section, re.M):
        for row in table.splitlines():
            cells = [cell.strip() for cell in row.strip("|").split("|")]
            for name in re.findall(r"`(\w+)`", cells[0]):
                found.setdefault(name, cells[1] if len(cells) > 2 and name in cells[0].split("`")[1] else None)
    return found


def test_the_reference_has_every_method_and_every_option_and_no_others(document, methods):
    assert set(sections()) == set(methods)
    for name, section in sections().items():
        options = options_of(document, methods[name])
        for option in options:
            assert re.search(rf'["`]{option}["`]', section) or f"options.{option}`" in section, (name, option)
        if "### " + name + "\n" in MANUAL and tabulated(section):
            assert set(tabulated(section)) == set(options), name
        for option, default in tabulated(section).items():
            if (name, option) in DEPENDENT or not re.fullmatch(r'[\d-]+|`"\w*"`', default or ""):
                continue
            told = resolved(document, options[option]).get("default")
            assert told == json.loads(default.strip("`")), (name, option)


def test_the_reference_has_the_errors_of_every_method(methods):
    for name, method in methods.items():
        told = set(re.findall(r"[A-Z]+(?:_[A-Z]+)+", method["errors"][-1].get("message", "")))
        common = {"AUTH_UNAUTHORIZED", "RATE_LIMITED", "BACKEND_UNAVAILABLE", "BACKEND_ERROR"}
        assert "message" not in method["errors"][-1] or common < told
        for code in told - common:
            assert f"| `{code}`" in MANUAL, (name, code)


# The server

def unpark(client):
    """A consumer with a parked stream."""
    client.call("consumer.reset", "billing")
    claim = client.call("consumer.next", "billing", {"waitMs": 0})
    first = claim["messages"][0]
    client.call("consumer.settle", "billing", {"claim": claim["claim"], "failed": [
        {"stream": first[1], "position": first[3], "error": "no such account", "park": True}]})
    client.call("consumer.next", "billing", {"waitMs": 0})


def prepare(client, name, params):
    """Makes what the example of a method is about; returns its arguments as they are here."""
    client.call("stream.write", "account-1", {"type": "Deposited", "data": {"amount": 10}, "tags": ["account:1"]},
                {"id": EXAMPLE_ID})
    client.call("consumer.create", "billing", {"category": "account"})
    if name == "consumer.move":
        client.post(["consumer.delete", "digest"])
        client.call("consumer.create", "digest", {"ordering": "manual"})
    elif name in ("consumer.settle", "consumer.extend"):
        client.call("consumer.reset", "billing")
        params["options"]["claim"] = client.call("consumer.next", "billing", {"waitMs": 0})["claim"]
    elif name in ("consumer.streams", "consumer.unpark", "consumer.skip"):
        unpark(client)
    elif name in ("consumer.next", "consumer.claims"):
        client.call("consumer.reset", "billing")
        if name == "consumer.claims":
            client.call("consumer.next", "billing", {"waitMs": 0})
    elif name in ("ns.createToken", "ns.tokens", "ns.revokeToken"):
        client.post(["ns.revokeToken", "default", "billing"])
        if name != "ns.createToken":
            client.call("ns.createToken", "default", "billing", {"rights": ["read"]})
    elif name in ("ns.create", "ns.delete"):
        client.post([{"ns.create": "ns.delete", "ns.delete": "ns.create"}[name], "sales"])
    return params


def assert_as_full(example, answer, where):
    """Whether the answer has something where the example has: of an empty list no schema can be tried."""
    assert type(example) is type(answer) or {type(example), type(answer)} == {int, float}, where
    if isinstance(example, list):
        assert bool(example) <= bool(answer), where
    elif isinstance(example, dict) and "openrpc" not in example:
        for key, value in example.items():
            if value is not None and answer.get(key) is not None:
                assert_as_full(value, answer[key], (where, key))


def test_every_example_is_what_its_schemas_say_and_what_the_server_answers(document, methods, ask):
    for name, method in methods.items():
        closed = complete(document)
        result = next(each for each in closed["methods"] if each["name"] == name)["result"]["schema"]
        example = method["examples"][0]
        params = {each["name"]: each["value"] for each in example["params"]}
        for each in method["params"]:
            if each["required"] or each["name"] in params:
                assert errors_of(document, each["schema"], params[each["name"]]) == [], name
        assert errors_of(closed, result, example["result"]["value"]) == [], name
        params = prepare(ask, name, params)
        by_name = rpc2(ask, name, params)
        assert "result" in by_name, (name, by_name)
        assert errors_of(closed, result, by_name["result"]) == [], (name, by_name["result"])
        params = prepare(ask, name, params)
        by_position = rpc2(ask, name, list(params.values()))
        assert errors_of(closed, result, by_position["result"]) == [], (name, by_position)
        assert_as_full(example["result"]["value"], by_name["result"], name)


def test_who_blocks_is_told_by_the_schema(document, own, ask):
    """What the example has not: sessions that block."""
    schema = next(each for each in complete(document)["methods"] if each["name"] == "sys.blocked")["result"]["schema"]
    holder, waiter = own.postgres(), own.postgres()
    pid = sql(waiter, "SELECT pg_backend_pid()")[0][0]
    holder.autocommit = False
    append = "SELECT millrace.append('held-1', 'T', '{}')"
    sql(holder, append)
    waiting = threading.Thread(target=sql, args=(waiter, append))
    waiting.start()
    try:
        told = wait_until(lambda: (lambda told: told if told["waiting"] and told["readers"] else None)
                          (ask.call("sys.blocked")), "one that waits for another")
        assert errors_of(complete(document), schema, told) == []
        assert told["waiting"][0]["pid"] == pid and told["waiting"][0]["blockedBy"]
    finally:
        holder.rollback()
        waiting.join()
        holder.close()
        waiter.close()


def sample(document, schema):
    """A value of a schema, as small as may be."""
    schema = resolved(document, schema)
    if "anyOf" in schema:
        return sample(document, schema["anyOf"][0])
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        properties = schema.get("properties", {})
        return {key: sample(document, properties[key]) for key in schema.get("required", [])}
    if kind == "array":
        return [sample(document, schema["items"])]
    if kind == "string":
        return {"uuid": new_id(), "date-time": "2026-11-23T03:18:09Z"}.get(schema.get("format"), "account-1")
    return {"integer": max(schema.get("minimum", 1), 0), "number": 1.5, "boolean": True, None: 1}[kind]


def wrong(schema):
    """Values that a schema does not allow, and one that it just does, of each kind."""
    if "anyOf" in schema:
        return [{"no": 1}, True], []
    if "type" not in schema:
        return [], []
    kind = schema["type"]
    bad, good = {"string": [{}, 7], "integer": ["1", 1.5, {}], "boolean": ["true", 1], "array": ["x", {}],
                 "object": ["x", 1]}[kind], []
    for bound, step in (("minimum", -1), ("maximum", 1)):
        if bound in schema:
            bad, good = [*bad, schema[bound] + step], [*good, schema[bound]]
    if "enum" in schema:
        bad, good = [*bad, "other"], schema["enum"]
    if kind == "string":
        bad += ["x" * (schema["maxLength"] + 1)] if schema.get("maxLength") else []
        bad += [""] if schema.get("minLength") else []
    return bad, good


def members(document, schema, value, path=()):
    """The members of all objects in arguments: (path, schema, an object with all that it must have)."""
    schema = resolved(document, schema)
    if schema.get("type") == "array" and isinstance(schema.get("items"), dict):
        yield from members(document, schema["items"], sample(document, schema["items"]), (*path, 0))
    for key, each in schema.get("properties", {}).items():
        yield (*path, key), resolved(document, each)
        yield from members(document, each, sample(document, each), (*path, key))


def put(document, schema, value, path, last):
    """The value with `last` at the path; what is missing on the way is made."""
    if not path:
        return last
    schema = resolved(document, schema)
    inner = schema["items"] if path[0] == 0 else schema["properties"].get(path[0], {"type": "object"})
    value = copy.deepcopy(value)
    if path[0] == 0:
        value = value or [sample(document, inner)]
        value[0] = put(document, inner, value[0], path[1:], last)
    else:
        before = value.get(path[0])
        value[path[0]] = put(document, inner, sample(document, inner) if before is None and path[1:] else before,
                             path[1:], last)
    return value


def calls(document, method):
    """(params, path, schema) for each argument and each member in it, with a place for a value."""
    base = {each["name"]: each["value"] for each in method["examples"][0]["params"]}
    for argument in method["params"]:
        name, schema = argument["name"], argument["schema"]
        value = base.get(name, sample(document, schema))
        yield base, name, schema, value, (), resolved(document, schema)
        for path, inner in members(document, schema, value):
            yield base, name, schema, value, path, inner


def refusal(answer):
    """The message with which arguments were refused; None: they were not."""
    error = answer.get("error")
    return error["message"] if error and error["code"] == -32602 else None


UNCALLED = {"ns.delete", "consumer.delete"}  # what they would do is not to be done here


def test_what_the_schemas_forbid_is_refused_and_what_they_allow_is_not(document, methods, ask):
    prepare(ask, "", {})
    for name, method in methods.items():
        for base, argument, schema, value, path, inner in calls(document, method):
            bad, good = wrong(inner)
            for each in bad:
                params = {**base, argument: put(document, schema, value, path, each)}
                assert errors_of(document, schema, params[argument]) != [], (name, path, each)
                assert refusal(rpc2(ask, name, params)) is not None, (name, argument, path, each)
            for each in good if name not in UNCALLED else []:
                params = {**base, argument: put(document, schema, value, path, each)}
                if "waitMs" in str(path) or name == "consumer.next":
                    params[argument] = {**params[argument], "waitMs": 0} if argument == "options" else value
                answer = rpc2(ask, name, params)
                assert not (refusal(answer) and path and str(path[-1]) in refusal(answer)), (name, path, each, answer)
        rpc2(ask, "ns.setLimits", ["default"])


def test_no_refusal_speaks_of_the_arguments_of_sql(document, methods, ask):
    prepare(ask, "", {})
    odd = ["", "a-1", "x" * 3000, "2000-01-01T00:00:00Z", -2, 0, 2**63 - 1, 10**30, 1.5, True, None, [], [None], {}]
    told = []
    for name in set(methods) - UNCALLED:
        for base, argument, schema, value, path, inner in calls(document, methods[name]):
            for each in odd if path or name != "consumer.next" else []:
                params = {**base, argument: put(document, schema, value, path, each)}
                if name == "consumer.next" and path[0] != "waitMs":
                    params[argument] = {**params[argument], "waitMs": 0}
                message = rpc2(ask, name, params).get("error", {}).get("message", "")
                told += [(message, name, path, each)] if re.search(r"[a-z]_[a-z]|=>", message) else []
        rpc2(ask, "ns.setLimits", ["default"])
    assert told == []


def test_members_that_no_schema_has_are_refused_and_those_that_one_has_are_known(document, methods, ask):
    prepare(ask, "", {})
    for name, method in methods.items():
        assert NOT_KNOWN.search(refusal(rpc2(ask, name, {"unheardOf": 1})) or ""), name
        for base, argument, schema, value, path, inner in calls(document, method):
            if "properties" in inner:
                assert inner["additionalProperties"] is False, (name, argument, path)
                params = {**base, argument: put(document, schema, value, (*path, "unheardOf"), 1)}
                message = refusal(rpc2(ask, name, params))
                assert message and NOT_KNOWN.search(message), (name, argument, path, message)
                told = re.search(r"(?:known are|It has) ([\w, ]+)", message)
                assert told or path or name.startswith(FROM_POSTGRES), (name, message)
                if told:
                    assert set(told[1].split(", ")) == set(inner["properties"]), (name, argument, path)
            if path and name not in UNCALLED:
                params = {**base, argument: put(document, schema, value, path, sample(document, inner))}
                message = refusal(rpc2(ask, name, params))
                assert not message or not NOT_KNOWN.search(message), (name, argument, path, message)
        rpc2(ask, "ns.setLimits", ["default"])


def test_consumers_have_the_options_that_the_database_knows(document, methods, own, ask):
    """Which the program does not tell: it hands them on."""
    prepare(ask, "", {})
    connection = own.postgres()
    for name, method in methods.items():
        kind, _, action = name.partition(".")
        if kind == "consumer" and action != "next":
            with pytest.raises(psycopg2.Error) as error:
                sql(connection, "SELECT millrace.json_consumer('default', %s, 'billing', '{\"unheardOf\": 1}')", action)
            known = re.fullmatch(r"It has ([\w, ]*)\.", error.value.diag.message_hint)
            assert set(filter(None, known[1].split(", "))) == set(options_of(document, method)), name
    connection.close()


def test_arguments_that_must_be_there_are_missed_and_the_others_are_not(document, methods, ask):
    for name, method in methods.items():
        for argument in method["params"]:
            params = prepare(ask, name, {each["name"]: each["value"] for each in method["examples"][0]["params"]})
            answer = rpc2(ask, name, {key: value for key, value in params.items() if key != argument["name"]})
            assert (refusal(answer) is not None) == argument["required"], (name, argument["name"], answer)
            whole = params.get(argument["name"])
            if isinstance(whole, dict) and "anyOf" not in resolved(document, argument["schema"]):
                required = resolved(document, argument["schema"]).get("required", [])
                least = {key: whole[key] for key in required}
                params = prepare(ask, name, {**params, argument["name"]: least})
                if name != "consumer.next":  # which would wait
                    assert refusal(rpc2(ask, name, params)) is None, name
                for key in required:
                    less = {each: value for each, value in params[argument["name"]].items() if each != key}
                    assert refusal(rpc2(ask, name, {**params, argument["name"]: less})), (name, key)


# HTTP

def test_it_needs_no_token_and_is_not_sent_to_who_has_it(secured):
    client = secured.client()
    client.token = None
    first = client.request("GET", "/openrpc.json")
    assert first.status == 200 and first.headers["Content-Type"] == "application/json"
    assert first.headers["Cache-Control"] == "no-cache"
    tag = first.headers["ETag"]
    assert re.fullmatch(r'W/"[0-9a-f]{16}"', tag)
    for wanted in (tag, tag[2:], f'"other", {tag}', "*"):
        again = client.request("GET", "/openrpc.json", headers={"If-None-Match": wanted})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag), wanted
        assert again.headers["Content-Length"] is None and again.headers["Content-Type"] is None
        assert again.headers["Cache-Control"] == "no-cache"
    for other in ('"other"', tag[:-2], ""):
        again = client.request("GET", "/openrpc.json", headers={"If-None-Match": other})
        assert (again.status, again.body) == (200, first.body), other
    assert client.request("GET", "/openrpc.json").body == first.body  # the connection goes on
    client.close()


def test_head_and_other_methods_and_paths(own, ask):
    whole = ask.request("GET", "/openrpc.json")
    head = ask.request("HEAD", "/openrpc.json")
    assert (head.status, head.body) == (200, b"")
    assert {key: head.headers[key] for key in ("ETag", "Content-Length", "Content-Type")} == {
        key: whole.headers[key] for key in ("ETag", "Content-Length", "Content-Type")}
    assert ask.request("HEAD", "/openrpc.json", headers={"If-None-Match": head.headers["ETag"]}).status == 304
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        reply = ask.request(method, "/openrpc.json", "{}")
        assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")
    assert ask.request("GET", "/openrpc.json/").status == 404


def test_pages_that_may_call_rpc_may_read_it(start):
    server = start("--test-mode", "--cors-origin", "https://app.example")
    client = server.client()
    reply = client.request("GET", "/openrpc.json", headers={"Origin": "https://app.example"})
    assert reply.headers["Access-Control-Allow-Origin"] == "https://app.example"
    again = client.request("GET", "/openrpc.json", headers={"If-None-Match": reply.headers["ETag"]})
    assert (again.status, again.headers["Access-Control-Allow-Origin"]) == (304, "https://app.example")
    client.close()


def test_tokens_do_not_change_it(secured, admin):
    other = secured.client()
    other.token = None
    assert admin.token == ZERO_TOKEN
    assert admin.request("GET", "/openrpc.json").body == other.request("GET", "/openrpc.json").body
    assert json.dumps(admin.call("rpc.discover")) == json.dumps(other.request("GET", "/openrpc.json").json)
    other.close()
