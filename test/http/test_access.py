"""Who gets at what: every token against every method and endpoint, and tokens that show up nowhere."""
import json
import re
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from every_call import ADMINISTRATIVE, MANUAL, MESSAGE, METHODS, exercise, subscribe
from store import MILLRACE, ZERO_TOKEN, Client, Server, new_id, sql, token_for, wait_until

ENDPOINTS = {"/subscribe?category=mine": "GET", "/export": "GET", "/import": "POST", "/import?force=true": "POST"}


def test_the_matrix_names_every_method_of_the_manual():
    others = r"^### (?!consumer)([a-z]+\.[a-zA-Z]+)$"
    assert set(re.findall(others, MANUAL, re.M)) == set(METHODS)


# Tokens against methods and endpoints


class Tenant:
    """A namespace with a secret in it."""

    def __init__(self, server, admin, prefix):
        self.name = f"{prefix} {new_id()}"
        self.secret = "secret of " + self.name
        self.token = admin.call("ns.create", self.name)["token"]
        self.client = server.client(self.token)
        self.client.write("mine-1", {"secret": self.secret})

    def snapshot(self):
        return self.client.call("category.get", "", {"batchSize": -1})


@pytest.fixture(scope="module")
def tenants(secured):
    admin = secured.client()
    made = [Tenant(secured, admin, "a"), Tenant(secured, admin, "b")]
    admin.close()
    yield made
    admin = secured.client()  # the first one was idle for so long that the server may have closed it
    for tenant in made:
        admin.call("ns.delete", tenant.name)
        tenant.client.close()
    admin.close()


@pytest.fixture(scope="module")
def strangers(secured):
    """Tokens that open nothing, each with status and code."""
    admin = secured.client()
    gone = "gone " + new_id()
    dead = admin.call("ns.create", gone)["token"]
    admin.call("ns.delete", gone)
    replaced = "replaced " + new_id()
    old = admin.call("ns.create", replaced)["token"]
    database = secured.postgres()
    sql(database, "SELECT millrace.set_namespace_token(%s, repeat('0', 64))", replaced)
    sql(database, "SELECT millrace.create_namespace(%s)", tokenless := "tokenless " + new_id())
    database.close()
    time.sleep(1.1)  # as long as an old answer is believed
    yield {
        "none": (None, 401, "AUTH_REQUIRED"),
        "malformed": ("ns_nonsense", 401, "AUTH_INVALID_TOKEN"),
        "of a deleted namespace": (dead, 403, "AUTH_UNAUTHORIZED"),
        "of no namespace": (token_for("never was"), 403, "AUTH_UNAUTHORIZED"),
        "another secret": (token_for("default"), 403, "AUTH_UNAUTHORIZED"),
        "one that was replaced": (old, 403, "AUTH_UNAUTHORIZED"),
        "of a namespace without one": (token_for(tokenless), 403, "AUTH_UNAUTHORIZED"),
        "the hash": ("0" * 64, 401, "AUTH_INVALID_TOKEN"),
    }
    admin.call("ns.delete", replaced)
    admin.call("ns.delete", tokenless)
    admin.close()


STRANGERS = [
    "none", "malformed", "of a deleted namespace", "of no namespace", "another secret", "one that was replaced",
    "of a namespace without one", "the hash"
]

FORMS = ["header", "query", "query before a good header"]


def send(server, method, path, body, token, form):
    client = server.client("")
    client.token = None
    headers = {}
    if token is not None and form == "header":
        headers["Authorization"] = f"Bearer {token}"
    elif token is not None:
        path += ("&" if "?" in path else "?") + "token=" + quote(token, safe="")
        if form == "query before a good header":
            headers["Authorization"] = f"Bearer {ZERO_TOKEN}"
    try:
        return client.request(method, path, body, headers)
    finally:
        client.close()


def envelope(method, arguments, kind):
    if kind == "array":
        return json.dumps([method, *arguments])
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": arguments}
    return json.dumps(request if kind == "object" else [request, request])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("who", STRANGERS)
def test_a_token_that_opens_nothing_opens_no_method_and_no_endpoint(secured, tenants, strangers, who, form):
    token, status, code = strangers[who]
    before = [tenant.snapshot() for tenant in tenants]
    answers = set()
    for method, arguments in METHODS.items():
        for kind in ("array", "object", "batch"):
            reply = send(secured, "POST", "/rpc", envelope(method, arguments, kind), token, form)
            answers.add((reply.status, reply.error["code"], reply.body))
    for path, method in ENDPOINTS.items():
        reply = send(secured, method, path, b"" if method == "POST" else None, token, form)
        answers.add((reply.status, reply.error["code"], reply.body))
    assert len(answers) == 1, "the answer tells nothing of what was asked"
    ((got, said, body),) = answers
    assert (got, said) == (status, code)
    if code == "AUTH_UNAUTHORIZED":
        assert body == send(secured, "POST", "/rpc", "[]", token_for("x"),
                            "header").body, "nor of which of the two was wrong"
    assert [tenant.snapshot() for tenant in tenants] == before


@pytest.mark.parametrize("kind", ["array", "object"])
@pytest.mark.parametrize("form", FORMS)
def test_a_tenant_may_call_what_is_its_own_and_nothing_administrative(secured, tenants, kind, form):
    mine, other = tenants
    before = other.snapshot()
    for method, arguments in METHODS.items():
        arguments = [mine.name if argument == "NAME" else argument for argument in arguments]
        reply = send(secured, "POST", "/rpc", envelope(method, arguments, kind), mine.token, form)
        if kind == "array":
            assert reply.status == (403 if method in ADMINISTRATIVE else 200), (method, reply.body)
        elif method in ADMINISTRATIVE:
            assert reply.json["error"]["data"]["code"] == "AUTH_UNAUTHORIZED", reply.body
        else:
            assert "result" in reply.json, (method, reply.body)
        assert other.secret.encode() not in reply.body and other.name.encode() not in reply.body
    assert other.snapshot() == before


@pytest.mark.parametrize(
    "call",
    [["ns.info", "OTHER"], ["ns.info", "default"], ["ns.info", "none such"], ["ns.delete", "OTHER"],
     ["ns.delete", "OWN"], ["ns.create", "OTHER"], ["ns.create", "new", {"token": token_for("new")}], ["ns.list"]])
def test_a_tenant_learns_nothing_of_others_and_changes_nothing(secured, tenants, admin, call):
    mine, other = tenants
    names = {"OTHER": other.name, "OWN": mine.name}
    error = mine.client.refused(
        *[names.get(argument, argument) if isinstance(argument, str) else argument for argument in call])
    assert (error.status, error.code) == (403, "AUTH_UNAUTHORIZED")
    assert other.name not in error.message
    assert other.secret in json.dumps(other.snapshot())
    assert "new" not in [listed["namespace"] for listed in admin.call("ns.list")]


def test_the_administrator_may_call_everything(secured, admin):
    for method, arguments in METHODS.items():
        reply = send(secured, "POST", "/rpc",
                     envelope(method, ["default" if a == "NAME" else a for a in arguments], "array"), ZERO_TOKEN,
                     "header")
        assert reply.status == 200, (method, reply.body)


def test_the_same_names_in_two_namespaces_are_two_streams(tenants):
    mine, other = tenants
    id = new_id()
    for tenant in tenants:
        at = tenant.client.call("stream.write", "same-1", {"type": tenant.name, "data": {"of": tenant.name}},
                                {"id": id, "expectedVersion": -1})
        assert at["position"] == 0
    for tenant in tenants:
        assert [(m[0], m[1], m[4])
                for m in tenant.client.call("stream.get", "same-1")] == [(id, tenant.name, {"of": tenant.name})]
        assert tenant.client.call("stream.last", "same-1")[1] == tenant.name
        assert tenant.client.call("stream.version", "same-1") == 0
        assert {m[2] for m in tenant.client.call("category.get", "same")} == {tenant.name}
        assert {"category": "same", "streamCount": 1, "messageCount": 1} in tenant.client.call("ns.categories")


@pytest.mark.parametrize("form", ["header", "query"])
def test_subscriptions_exports_and_imports_are_of_the_tokens_namespace(secured, tenants, form):
    mine, other = tenants
    body = send(secured, "GET", "/export", None, mine.token, form).body
    assert mine.secret.encode() in body and other.secret.encode() not in body
    before = other.snapshot()
    record = {
        "id": new_id(), "stream": "imported-" + form, "type": "T", "pos": 0, "gpos": 1000 + len(form), "data": {},
        "meta": None, "time": "2024-01-02T03:04:05Z"
    }
    reply = send(secured, "POST", "/import", json.dumps(record), mine.token, form)
    assert b'"done":true,"imported":1' in reply.body
    assert mine.client.call("stream.version", "imported-" + form) == 0
    assert other.snapshot() == before
    with secured.connect() as wire:
        head = f"Authorization: Bearer {mine.token}\r\n" if form == "header" else ""
        query = "" if form == "header" else f"&token={mine.token}"
        wire.sendall(f"GET /subscribe?all=true{query} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
        received = b""
        while b": ready" not in received:
            received += wire.recv(65536)
        other.client.write("other-1")
        mark = mine.client.write(f"mark-{form}")
        while f'"stream":"mark-{form}"'.encode() not in received:
            part = wire.recv(65536)
            assert part, received
            received += part
        assert b"other-1" not in received and mark["position"] == 0


def test_a_forced_import_empties_the_tokens_namespace_only(secured, admin, tenants):
    tenant = Tenant(secured, admin, "emptied")
    before = [each.snapshot() for each in tenants]
    assert b'"done":true' in send(secured, "POST", "/import?force=true", b"", tenant.token, "header").body
    assert tenant.snapshot() == [] and [each.snapshot() for each in tenants] == before
    admin.call("ns.delete", tenant.name)


# Tokens are to be seen nowhere


def secrets_of(*tokens):
    """What must not be found: the tokens and their secret halves."""
    return [part.encode() for token in tokens for part in (token, token[-64:])]


@pytest.mark.parametrize("format", ["text", "json"])
def test_tokens_are_in_no_log_no_error_no_process_list_no_metrics_and_no_sql(cluster, format):
    database = cluster.connect()
    for setting in ("log_statement = 'all'", "log_min_duration_statement = 0", "log_parameter_max_length = -1",
                    "log_parameter_max_length_on_error = -1", "log_min_messages = 'debug1'"):
        sql(database, "ALTER SYSTEM SET " + setting)
    sql(database, "SELECT pg_reload_conf()")
    token, tenant, wrong = token_for("default"), token_for("tenant"), token_for("default")
    server = Server("--database", cluster.conninfo(), "--token", token, "--log-level", "debug", "--log-format", format,
                    "--admin-listen", "127.0.0.1:0", "--retry-window", "5", token=token)
    seen = []
    try:
        admin = server.client(timeout=60)
        made = admin.call("ns.create", "made for the test")["token"]
        tokens = secrets_of(token, tenant, wrong, made)
        assert admin.call("ns.create", "tenant", {"token": tenant})["token"] == tenant
        assert exercise(admin) == {}
        subscribe(server, token, admin)
        assert exercise(server.client(tenant), "tenant", admin=False) == {}
        # What goes wrong says why, and not with what.
        for reply in (admin.post(["ns.create", "again",
                                  {"token": tenant}]), admin.post(["ns.create", "again", {"token": tenant + "0"}]),
                      admin.post(["ns.create", "again",
                                  {"token": [tenant]}]), admin.post(["ns.create", "tenant", {"token": tenant}]), *[
                                      send(server, method, path, b"[" if method == "POST" else None, each, form)
                                      for each in (wrong, wrong[1:], token, made) for form in FORMS
                                      for method, path in (("POST", "/rpc"), ("GET", "/rpc"), ("GET", "/nothing"),
                                                           ("GET", "/export?since=x"), ("POST", "/import?force=x"),
                                                           ("GET", "/subscribe?stream="), ("OPTIONS", "/rpc"))
                                  ]):
            seen.append(reply.body + str(reply.headers).encode())
            assert reply.status >= 200
        with server.connect() as wire:  # too long a head, with the token in it
            wire.sendall(f"GET /rpc?token={token} HTTP/1.1\r\nX: {'x' * 70000}".encode())
            seen.append(wire.recv(10000))
        seen.append(str(sql(database, "SELECT * FROM pg_stat_activity")).encode())
        seen.append(str(sql(database, "SELECT * FROM pg_prepared_statements")).encode())
        seen.append(str(sql(database, "SELECT * FROM millrace.namespaces")).encode())
        cluster.stop("immediate")  # what the server says to that is logged, too
        cluster.start()
        wait_until(lambda: admin.post(["stream.write", "s", MESSAGE]).status == 200, "writes after the restart")
        port = int(re.search(r"admin listener .*:(\d+)", server.text).group(1))
        for path in ("/live", "/ready", "/metrics", f"/metrics?token={token}", "/debug/vars", "/"):
            seen.append(Client(port).request("GET", path).body)
        process = Path(f"/proc/{server.process.pid}")
        seen.append(process.joinpath("cmdline").read_bytes() + process.joinpath("environ").read_bytes())
        seen += [thread.joinpath("comm").read_bytes() for thread in process.joinpath("task").iterdir()]
    finally:
        server.stop()
    seen.append(server.text.encode())
    log = (cluster.folder / "log").read_bytes()
    assert b"millrace.append_batch" in log and b"set_namespace_token" in log, "Postgres logged what it was asked"
    for n, text in enumerate([*seen, log]):
        assert not [secret for secret in tokens if secret in text], f"{n}: {text[:3000]}"
    assert (b'"message":' in seen[-1]) == (format == "json")


def arguments_and_environment(process):
    return Path(f"/proc/{process.pid}/cmdline").read_bytes() + Path(f"/proc/{process.pid}/environ").read_bytes()


@pytest.mark.parametrize("way",
                         ["--token T", "--token=T", "MILLRACE_TOKEN", "--token-file", "MILLRACE_TOKEN_FILE", "twice"])
def test_every_way_to_give_a_token_works_and_hides_it_from_other_processes(folder, way):
    token = token_for("default")
    file = Path(folder) / "token"
    file.write_text(token + "\n")
    arguments = {
        "--token T": ["--token", token], "--token=T": ["--token=" + token], "--token-file": ["--token-file",
                                                                                             str(file)],
        "twice": ["--token", token_for("default"), "--token", token]
    }.get(way, [])
    variables = {"MILLRACE_TOKEN": {"MILLRACE_TOKEN": token}, "MILLRACE_TOKEN_FILE": {"MILLRACE_TOKEN_FILE": str(file)},
                 "twice": {"MILLRACE_TOKEN": token_for("default")}}.get(way, {})
    server = Server("--data-dir", folder + "/data", *arguments, token=token, variables={"KEPT": "kept", **variables})
    try:
        assert server.client().call("sys.version")
        shown = arguments_and_environment(server.process)
        given = [token, *arguments, *variables.values()]
        assert not [text for text in given if re.search("[0-9a-f]{64}", text) and text[-64:].encode() in shown], shown
        assert b"--data-dir" in shown and b"KEPT=kept" in shown, "only what is secret is hidden"
        postmaster = Path(f"/proc/{server.postmaster()}/environ").read_bytes()
        assert token.encode() not in postmaster
    finally:
        server.stop()


def test_the_commands_hide_it_too(server, tmp_path):
    token = token_for("hidden " + new_id())
    file = tmp_path / "token"
    file.write_text(token)
    server.client(token).write("s-1")
    url = f"http{'s' if server.tls else ''}://127.0.0.1:{server.port}"
    trust = ["--ca-file", str(server.tls.authority)] if server.tls else []
    with subprocess.Popen([MILLRACE, "import", "--url", url, *trust, "--token", token],
                          stdin=subprocess.PIPE) as program:
        wait_until(lambda: b"x" * len(token) in arguments_and_environment(program), "the token to be hidden")
        assert token.encode() not in arguments_and_environment(program)
        program.stdin.close()
        assert program.wait(30) == 0
    done = subprocess.run([MILLRACE, "export", "--url", url, *trust, "--token-file", file], capture_output=True,
                          timeout=30)
    assert done.returncode == 0 and b'"stream":"s-1"' in done.stdout


@pytest.mark.parametrize("content, reason", [(None, "No such file"), ("", "not one line"), ("\n", "not one line"),
                                             ("a\nb\n", "not one line"), ("a\0b", "not one line"),
                                             ("x" * 5000, "not one line"),
                                             ("nonsense", "is not a token for namespace default")])
def test_a_token_file_that_holds_no_token_ends_the_start_with_a_reason(tmp_path, content, reason):
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    done = subprocess.run([MILLRACE, "serve", "--test-mode", "--token-file", file], capture_output=True, text=True,
                          timeout=30)
    assert done.returncode == 2 and reason in done.stderr and (content is None or len(content) < 5
                                                               or content not in done.stderr)


def test_two_tokens_are_refused(tmp_path):
    file = tmp_path / "token"
    file.write_text(ZERO_TOKEN)
    done = subprocess.run([MILLRACE, "serve", "--test-mode", "--token-file", file, "--token", ZERO_TOKEN],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "which one is meant" in done.stderr and ZERO_TOKEN not in done.stderr
