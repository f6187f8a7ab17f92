"""Archives, and what exports say of messages that are gone."""
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from importing import imported, line, refused
from store import MILLRACE, ROOT, ZERO_TOKEN, Server, new_id, sql, token_for, wait_until

sys.path.append(str(Path(__file__).resolve().parent.parent / "retention"))

import archive  # noqa: E402


@pytest.fixture(scope="module")
def own():
    server = Server("--test-mode", "--workers", "1", token=ZERO_TOKEN)
    yield server
    server.stop()


@pytest.fixture
def category(own):
    """A client of namespace default, and a category of its own."""
    client = own.client()
    yield client, "kept" + new_id().replace("-", "")
    client.close()


def export(client, query=""):
    reply = client.request("GET", "/export" + query)
    assert reply.status == 200, reply.body
    return reply.body


def run(own, *arguments, token=ZERO_TOKEN, command="archive"):
    return subprocess.run([MILLRACE, command, "--url", f"http://127.0.0.1:{own.port}", *map(str, arguments)],
                          env={**os.environ, "MILLRACE_TOKEN": token}, capture_output=True, text=True, check=False)


def archived(own, category, file, *arguments, before="2100-01-01"):
    return run(own, "--category", category, "--before", before, "--output", file, *arguments)


def fill(client, category, streams=5, messages=4):
    for n in range(messages):
        for stream in range(streams):
            client.write(f"{category}-{stream}", {"n": n, "text": "ü\\\"😀"}, metadata={"tags": ["a"]})


# ---- archives ------------------------------------------------------------------------------------------------------


def test_it_ends_at_the_first_message_that_is_not_before_the_time(own, category, tmp_path):
    client, name = category
    gpos = client.call("stream.head")["head"]
    times = ["2024-01-01T00:00:00Z", "2024-03-01T00:00:00Z", "2024-02-01T00:00:00Z"]
    imported(client, "\n".join(line(gpos + n, stream=f"{name}-1", pos=n, time=time) for n, time in enumerate(times, 1)))
    done = archived(own, name, tmp_path / "a", before="2024-02-15")
    assert done.returncode == 0 and done.stdout == f"{tmp_path}/a: 1 messages\n"
    head, first, tail = map(json.loads, (tmp_path / "a").read_text().splitlines())
    assert head == {"millrace": "archive", "category": name, "before": "2024-02-15"}
    assert first["time"] == times[0] and tail["messages"] == 1
    body = b"".join((tmp_path / "a").read_bytes().splitlines(True)[:-1])
    assert tail == {"millrace": "archived", "messages": 1, "sha256": hashlib.sha256(body).hexdigest()}


def test_what_is_removed_comes_back_where_it_was(own, category, tmp_path):
    client, name = category
    fill(client, name)
    before = export(client)
    assert archived(own, name, tmp_path / "a", "--remove").stdout == f"{tmp_path}/a: 20 messages, 20 removed\n"
    assert export(client, f"?categories={name}") == b"" and client.call("stream.version", f"{name}-1") == 3
    assert archived(own, name, tmp_path / "a", "--remove").stdout == f"{tmp_path}/a: 20 messages, 0 removed\n"
    assert run(own, "--input", tmp_path / "a", command="import").returncode == 0
    assert export(client) == before


def test_a_compressed_one_is_the_same(own, category, tmp_path):
    client, name = category
    fill(client, name)
    client.write(f"{name}-long", {"text": "x" * 200000})
    before = export(client)
    assert archived(own, name, tmp_path / "a").returncode == 0
    assert archived(own, name, tmp_path / "a.gz", "--gzip", "--remove").stdout == \
        f"{tmp_path}/a.gz: 21 messages, 21 removed\n"
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == (tmp_path / "a").read_bytes()
    assert export(client, f"?categories={name}") == b""
    assert archived(own, name, tmp_path / "a.gz", "--remove").stdout == f"{tmp_path}/a.gz: 21 messages, 0 removed\n"
    assert "say --gzip" in run(own, "--input", tmp_path / "a.gz", command="import").stderr
    assert run(own, "--input", tmp_path / "a.gz", "--gzip", command="import").returncode == 0
    assert export(client) == before


@pytest.mark.parametrize("damage", [
    lambda data: data[:-1], lambda data: data[:-9], lambda data: data[:len(data) // 2], lambda data: data[:10],
    lambda data: data[:40] + b"\0\0\0" + data[43:],
    lambda data: gzip.compress(gzip.decompress(data).replace(b'"n": 1', b'"n": 9')),
    lambda data: gzip.compress(b"".join(gzip.decompress(data).splitlines(True)[:-1])),
    lambda data: data + gzip.compress(b"{}\n")])
def test_a_compressed_one_that_is_damaged_removes_nothing(own, category, tmp_path, damage):
    client, name = category
    fill(client, name, streams=2)
    archived(own, name, tmp_path / "a", "--gzip")
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(damage(data))
    done = archived(own, name, tmp_path / "a", "--gzip", "--remove")
    assert done.returncode == 1 and str(tmp_path / "a") in done.stderr, done
    assert len(export(client, f"?categories={name}").splitlines()) == 8


def test_a_message_that_was_changed_since_is_named_and_stays(own, category, tmp_path):
    client, name = category
    fill(client, name, streams=2)
    archived(own, name, tmp_path / "a")
    changed = client.call("stream.get", f"{name}-1")[2][0]
    with own.postgres() as database:
        sql(database, "UPDATE millrace_default.messages SET data = '{}' WHERE id = %s", changed)
    before = export(client)
    done = archived(own, name, tmp_path / "a", "--remove")
    assert done.returncode == 1 and "MESSAGE_ID_CONFLICT" in done.stderr and changed in done.stderr
    assert export(client) == before


def test_what_is_not_the_first_of_its_stream_stays(own, category):
    client, name = category
    fill(client, name, streams=1)
    lines = export(client, f"?categories={name}").splitlines()
    second = {"id": json.loads(lines[1])["id"], "sha256": hashlib.sha256(lines[1]).hexdigest()}
    error = client.refused("messages.remove", [second])
    assert (error.status, error.code) == (400, "INVALID_REQUEST") and name in error.message
    assert len(export(client, f"?categories={name}").splitlines()) == 4


@pytest.mark.parametrize("content, said", [
    (b"", "not an archive"), (b"{}\n", "not an archive"), (b"hello\n", "not a whole JSON"),
    (b'{"millrace":"archive","category":"other","before":"2100-01-01"}\n', "another archive"),
    (b'{"millrace":"archive","category":"CATEGORY","before":"2099-01-01"}\n', "another archive"),
    (b'{"millrace":"archive","category":"CATEGORY","before":"2100-01-01"}\n', "not whole"),
    (b'{"millrace":"archive","category":"CATEGORY","before":"2100-01-01"}\n{"millrace":"archived","messages":0}\n',
     "not whole")])
def test_another_file_is_left_alone(own, category, tmp_path, content, said):
    client, name = category
    fill(client, name, streams=1, messages=1)
    content = content.replace(b"CATEGORY", name.encode())
    (tmp_path / "a").write_bytes(content)
    done = archived(own, name, tmp_path / "a", "--remove")
    assert done.returncode == 1 and said in done.stderr, done.stderr
    assert (tmp_path / "a").read_bytes() == content and client.call("stream.version", f"{name}-0") == 0
    assert len(client.call("stream.get", f"{name}-0")) == 1


@pytest.mark.parametrize("damage, said", [
    (lambda lines: lines[:-1], "cut"), (lambda lines: lines[:2] + lines[3:], "changed"),
    (lambda lines: [lines[0], lines[1].replace(b'"n": 0', b'"n": 9'), *lines[2:]], "changed"),
    (lambda lines: lines[1:], "not begun"), (lambda lines: lines[:-1] + lines, "not ended")])
def test_an_archive_that_is_not_what_was_written_is_not_imported(own, category, tmp_path, damage, said):
    client, name = category
    fill(client, name, streams=1)
    archived(own, name, tmp_path / "a", "--remove")
    before = export(client)
    lines = (tmp_path / "a").read_bytes().splitlines(True)
    error = refused(client, b"".join(damage(lines)))
    assert error["error"] == "INVALID_RECORD" and said in error["message"], error
    assert export(client) == before


def test_several_archives_are_imported_together(own, category, tmp_path):
    client, name = category
    files = []
    for part in "ab":
        fill(client, name + part, streams=1)
        archived(own, name + part, tmp_path / part, "--remove")
        files.append((tmp_path / part).read_bytes())
    assert imported(client, b"".join(files)) == 8


@pytest.mark.parametrize("arguments, said", [
    (("--before", "2024-01-01", "--output", "f"), "which category"), (("--category", "a", "--output", "f"), "--before"),
    (("--category", "a", "--before", "soon", "--output", "f"), "--before must be a time"),
    (("--category", "a", "--before", "2024-01-01"), "--output"),
    (("--category", "a", "--before", "2024-01-01", "--output", "-"), "--output"),
    (("--category", "a-1", "--before", "2024-01-01", "--output", "f"), "dash"),
    (("--category", "a", "--before", "2024-01-01", "--output", "f", "--force"), "--force")])
def test_wrong_usage_is_named(own, tmp_path, arguments, said):
    done = run(own, *arguments)
    assert done.returncode == 2 and said in done.stderr, done.stderr


@pytest.mark.parametrize("messages, said", [
    (None, "messages"), ({}, "messages"), ([1], "messages[0]"), ([{}], "messages[0].id"),
    ([{"id": "x"}], "messages[0].id"),
    ([{"id": new_id(), "sha256": "00"}], "messages[0].sha256"), ([{"id": new_id(), "sha256": "g" * 64}], "sha256"),
    ([{"id": new_id(), "sha256": "0" * 64, "more": 1}], "more"),
    ([{"id": new_id(), "sha256": "0" * 64}] * 1001, "1000")])
def test_what_is_to_be_removed_is_checked(category, messages, said):
    error = category[0].refused("messages.remove", messages)
    assert (error.status, error.code) == (400, "INVALID_REQUEST") and said in error.message


def test_killed_at_random_it_loses_nothing_and_does_nothing_twice():
    counts = archive.run(kills=3, messages=2000)
    assert counts == {"archive_kills": 3, "missing": 0, "twice": 0, "changed": 0}


def test_its_token_needs_the_rights_to_read_and_to_remove(secured, admin, tmp_path):
    name = "tenant " + new_id()
    tenant = secured.client(admin.call("ns.create", name)["token"])
    fill(tenant, "kept", streams=1)
    for rights, code in ((["read"], 1), (["remove"], 1), (["read", "remove"], 0)):
        token = admin.call("ns.createToken", name, "+".join(rights), {"rights": rights})["token"]
        done = run(secured, "--category", "kept", "--before", "2100-01-01", "--output",
                   tmp_path / "+".join(rights), "--remove", token=token)
        assert done.returncode == code and ("AUTH_UNAUTHORIZED" in done.stderr) == bool(code), done
    assert tenant.call("stream.get", "kept-0") == []
    tenant.close()


def leave_out(folder):
    """Runs the manual's filter for a person's messages."""
    command = re.search(r"^ +jq .*?visits.ndjson > rest.ndjson$", (ROOT / "sidecar" / "README.md").read_text(),
                        re.M | re.S)
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    subprocess.run(command[0], shell=True, cwd=folder, check=True)


def test_the_manuals_filter_takes_a_person_out_of_an_archive_and_changes_no_number(own, category, tmp_path):
    client, name = category
    client.post(f'''["stream.append", "{name}-1", [
        {{"type": "A", "data": {{"n": 12345678901234567890123, "x": 1.10}}, "metadata": {{"tags": ["person:1"]}}}},
        {{"type": "B", "data": {{}}, "metadata": {{"tags": ["order:1", "person:17"]}}}},
        {{"type": "C", "data": {{"tags": ["person:17"]}}, "metadata": {{"tags": 17}}}},
        {{"type": "D", "data": {{"of": "person:17"}}}}]]''')
    before = client.call("stream.get", f"{name}-1")
    assert archived(own, name, tmp_path / "visits.ndjson", "--remove").returncode == 0
    leave_out(tmp_path)
    assert "12345678901234567890123, \"x\": 1.10" in (tmp_path / "rest.ndjson").read_text()
    imported(client, (tmp_path / "rest.ndjson").read_bytes())
    assert client.call("stream.get", f"{name}-1") == [before[0], *before[2:]]


def test_the_manuals_filter_leaves_versions_and_all_other_messages_in_an_export(server, client, copy, tmp_path):
    for metadata in ({"tags": ["person:17"]}, {"tags": {"a": "person:17"}}, {"tags": "person:17"}, {}, None):
        client.write("a-1", metadata=metadata)
    for stream in ("b-1", "c-1"):
        client.write(stream)
    remove(server, client, "b-1", "c-1")
    (tmp_path / "visits.ndjson").write_bytes(export(client))
    leave_out(tmp_path)
    imported(copy, (tmp_path / "rest.ndjson").read_bytes())
    assert [each[2] for each in copy.call("stream.get", "a-1")] == [1, 2, 3, 4]
    assert copy.write("b-1") == {"position": 1, "globalPosition": 8}


def test_what_was_removed_before_a_redacted_message_is_kept_as_the_manual_says(own, category, tmp_path):
    """The second thousand has a message that was redacted: the first is in the file alone."""
    client, name = category
    client.call("stream.append", f"{name}-1", [{"type": "T", "data": {"n": n}} for n in range(1000)])
    for tags in (["person:17"], ["person:1"]):
        client.write(f"{name}-1", {"secret": True}, metadata={"tags": tags})
    assert archived(own, name, tmp_path / "visits.ndjson").returncode == 0
    redacted = client.call("stream.get", f"{name}-1", {"position": 1000})[0][0]
    client.call("message.redact", {"ids": [redacted]}, {"keepTags": False})
    done = archived(own, name, tmp_path / "visits.ndjson", "--remove")
    assert done.returncode == 1 and redacted in done.stderr
    assert f"1000 messages are in {tmp_path}/visits.ndjson alone" in done.stderr
    filter_ = re.search(r"millrace archive [^\n]* --output left.ndjson --remove\n( +jq -nrR .*?removed.ndjson)$",
                        (ROOT / "sidecar" / "README.md").read_text(), re.M | re.S).group(1)
    assert archived(own, name, tmp_path / "left.ndjson", "--remove").returncode == 0
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    subprocess.run(filter_, shell=True, cwd=tmp_path, check=True)
    assert "secret" not in (tmp_path / "removed.ndjson").read_text()
    for file in ("removed.ndjson", "left.ndjson"):
        imported(client, (tmp_path / file).read_bytes())
    back = client.call("stream.get", f"{name}-1", {"batchSize": 2000})
    assert [each[2] for each in back] == list(range(1002)) and back[1000][0] == redacted
    assert [each[4] for each in back[-2:]] == [{}, {"secret": True}]


# ---- what exports say of messages that are gone --------------------------------------------------------------------


@pytest.fixture
def copy(server):
    client = server.client(token_for("copy " + new_id()))
    yield client
    client.close()


def remove(server, client, *streams, forget=False):
    with server.postgres() as database:
        for stream in streams:
            sql(database, "SELECT millrace.remove_stream(%s, forget => %s, namespace => %s)", stream, forget,
                name_of(client))


def name_of(client):
    return client.call("sys.stats")["namespace"]


def test_versions_and_the_last_position_outlive_export_and_import(server, client, copy):
    for stream in ("a-1", "a-1", "b-1", "a-1", "c-1"):
        client.write(stream)
    remove(server, client, "a-1", "c-1")
    floor = hashlib.sha256(b"a-1").hexdigest()[:32]
    lines = [json.loads(each) for each in export(client).splitlines()]
    assert {"millrace": "floor", "stream": floor, "version": 2, "closed": False, "restored": False} in lines
    assert lines[-1] == {"millrace": "last", "gpos": 5} and len(lines) == 4
    assert imported(copy, export(client)) == 1
    assert export(copy) == export(client)
    assert copy.call("stream.version", "a-1") == 2
    assert copy.write("a-1", expectedVersion=2) == {"position": 3, "globalPosition": 6}


def test_closed_streams_stay_closed_in_a_copy(server, client, copy):
    """By their last message, whose type only the store and an import may write, and by their floor."""
    with server.postgres() as database:
        for stream in ("a-1", "b-1"):
            client.write(stream)
            sql(database, "SELECT millrace.close_stream(%s, namespace => %s)", stream, name_of(client))
    remove(server, client, "b-1")
    assert imported(copy, export(client)) == 2
    assert export(copy) == export(client)
    for stream in ("a-1", "b-1"):
        assert copy.refused("stream.write", stream, {"type": "T", "data": {}}).code == "STREAM_CLOSED", stream


def test_the_last_position_outlives_a_stream_that_is_forgotten_twice_over(server, client, copy):
    client.write("a-1")
    remove(server, client, "a-1", forget=True)
    assert export(client) == b'{"millrace":"last","gpos":1}\n'
    third = server.client(token_for("third " + new_id()))
    imported(copy, export(client))
    imported(third, export(copy))
    assert third.write("a-1") == {"position": 0, "globalPosition": 2}
    third.close()


def test_parts_of_a_namespace_have_no_such_lines(server, client):
    client.write("a-1")
    client.write("b-1")
    remove(server, client, "b-1")
    for query in ("?categories=a", "?since=2000-01-01", "?until=2100-01-01", "?before=2100-01-01",
                  "?format=cloudevents"):
        assert len(export(client, query).splitlines()) == 1, query
    assert len(export(client).splitlines()) == 3


def test_many_floors_come_in_pages(server, client, copy):
    client.write("last-1")
    with server.postgres() as database:
        for first in range(0, 6000, 1000):
            client.call("streams.append", [{"stream": f"many-{n}", "messages": [{"type": "T", "data": {}}]}
                                           for n in range(first, first + 1000)])
        sql(database, "SELECT millrace.remove_stream('many-' || n, namespace => %s) FROM generate_series(0, 5999) n",
            name_of(client))
    body = export(client)
    assert body.count(b'"floor"') == len(set(body.splitlines())) - 2 == 6000 and body.count(b"\n") == 6002
    # Compressed it comes in pages of 256 kB.
    client.connection.request("GET", "/export", headers={**client.headers(), "Accept-Encoding": "gzip"})
    reply = client.connection.getresponse()
    assert gzip.decompress(reply.read(len(body))) == body and reply.read(1) == b""
    assert imported(copy, body) == 1 and export(copy) == body


def floor_line(version, closed=False, restored=False):
    return json.dumps({"millrace": "floor", "stream": hashlib.sha256(b"a-1").hexdigest()[:32], "version": version,
                       "closed": closed, "restored": restored}, separators=(",", ":")) + "\n"


@pytest.mark.parametrize("there, brought, left", [
    ((5,), (3,), (5,)), ((3,), (5,), (5,)),
    ((5,), (3, True), (5,)), ((5, True), (3,), (5, True)), ((3, True), (5,), (5,)), ((3,), (5, True), (5, True)),
    ((5, False, True), (3,), (5, False, True)), ((5, False, True), (7, True), (7, True, True)),
    ((5,), (3, False, True), (5, False, True))])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_floor_that_is_there_only_rises(client, there, brought, left, at_once):
    """In one batch, too; whether messages were brought back is kept of both, whether it is closed of the higher."""
    parts = [floor_line(*there), floor_line(*brought)]
    for body in ["".join(parts)] if at_once else parts:
        imported(client, body)
    assert export(client).decode().splitlines(keepends=True)[0] == floor_line(*left)
    assert client.call("stream.version", "a-1") == left[0]


@pytest.mark.parametrize("there", [0, 2])
def test_a_floor_that_is_brought_while_it_is_written_is_the_higher_one(server, client, there):
    """The import waits for the removal, of a stream that was removed before or was not."""
    database, watcher, name = server.postgres(), server.postgres(), name_of(client)
    for count in (there, 5):
        sql(database, "COMMIT; BEGIN; SELECT millrace.append('a-1', 'T', '{}', namespace => %s) "
            "FROM generate_series(1, %s)", name, count)
        sql(database, "SELECT millrace.remove_stream('a-1', namespace => %s)", name)
    with ThreadPoolExecutor(1) as pool:
        bringing = pool.submit(imported, client, floor_line(3))
        try:
            wait_until(lambda: bringing.done() or sql(
                watcher, "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = "
                "(SELECT format('%%I.stream_floors', schema)::regclass FROM millrace.namespaces WHERE name = %s)",
                name), "the import waits")
        finally:
            sql(database, "COMMIT")
        bringing.result()
    database.close()
    watcher.close()
    assert client.call("stream.version", "a-1") == there + 4


@pytest.mark.parametrize("mark, said", [
    ('{"millrace":"floor","stream":"00","version":1,"closed":false,"restored":false}', "hexadecimal"),
    ('{"millrace":"floor","stream":"%032d","version":-1,"closed":false,"restored":false}' % 7, "version"),
    ('{"millrace":"floor","stream":"%032d","version":9223372036854775807,"closed":false,"restored":false}' % 7,
     "version"),
    ('{"millrace":"floor","stream":"%032d","version":1,"closed":0,"restored":false}' % 7, "closed"),
    ('{"millrace":"floor","stream":"%032d","version":1,"closed":true}' % 7, "restored"),
    ('{"millrace":"last"}', "gpos"), ('{"millrace":"last","gpos":0}', "gpos"), ('{"millrace":"first"}', "floor"),
    ('{"millrace":7}', "floor"), ('{"millrace":"last","gpos":9223372036854775807}', "range"),
    ('{"id":"x","millrace":"last","gpos":1}', "UUID")])
def test_a_line_that_is_wrong_is_named(client, mark, said):
    error = refused(client, line(1) + "\n" + mark + "\n")
    assert error["error"] == "INVALID_RECORD" and error["line"] == 2 and said in error["message"], error


def test_a_stream_removed_while_it_is_exported_keeps_its_version(server, client, copy):
    """A reader that takes its time: what it has of the stream is less than the floor."""
    for n in range(200):
        client.write("a-1", {"text": "x" * 100000, "n": n})
    client.connection.request("GET", "/export", headers=client.headers())
    reply = client.connection.getresponse()
    body = reply.read(100000)
    other = server.client(client.token)
    remove(server, other, "a-1")
    body += reply.read()
    messages = body.count(b'{"id"')
    assert messages < 200 and b'"version":199,"closed":false,"restored":true' in body
    imported(copy, body)
    assert copy.call("stream.version", "a-1") == 199 and copy.write("a-1")["position"] == 200


def test_what_a_consumer_has_not_read_stays_unless_it_is_forced(own, category, tmp_path):
    client, name = category
    fill(client, name)
    client.call("consumer.create", name, {"category": name})
    done = archived(own, name, tmp_path / "a", "--remove")
    assert done.returncode == 1 and "RETENTION_HELD" in done.stderr and f'consumer "{name}"' in done.stderr
    assert len(export(client, f"?categories={name}").splitlines()) == 20
    claim = client.call("consumer.next", name)
    client.call("consumer.settle", name, {"claim": claim["claim"]})
    fill(client, name, messages=1)
    assert archived(own, name, tmp_path / "a", "--remove").returncode == 0
    assert archived(own, name, tmp_path / "b", "--remove").returncode == 1
    assert archived(own, name, tmp_path / "b", "--remove", "--force").returncode == 0
    assert export(client, f"?categories={name}") == b""
    client.write(f"{name}-1", {"n": 9})
    assert [message[5] for message in client.call("consumer.next", name)["messages"]] == [{"n": 9}]
    client.call("consumer.delete", name)
