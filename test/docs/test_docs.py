"""What the documents show is true: their examples are run, and the output is compared.

A fenced block `sh` is run by bash, with the server and the token of the document's own; `sql` by psql, in a database of
the document's own; in the order of the document. A block `json`, `text` or without a language right behind it is its
output.  Ids, times and tokens may differ. What must not be run stands in indented blocks.
"""
import json
import os
import re
import shutil
import subprocess

import pytest

from store import MILLRACE, PG_BIN, ROOT, ZERO_TOKEN, Cluster, Server, need_library, temporary_folder

DOCUMENTS = ["README.md", "extension/README.md", "sidecar/README.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
# What differs from run to run, and what is written in its place.
VARYING = [(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>"),
           (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"), (r"ns_([\w-]+)_[0-9a-f]{64}", r"<token of \1>"),
           (r'"connections":\d+', '"connections":1'), (r'"workers":\d+', '"workers":1'),
           (r'("(?:claim|lagMs|oldestClaimMs|retryInMs|ageMs|expiresInMs|uptimeMs)": ?)\d+', r"\g<1>0")]


class Example:
    def __init__(self, document, text, command, output):
        line = text.count("\n", 0, command.start()) + 1
        self.place, self.language, self.code = f"{document}:{line}", command.group(1), command.group(2)
        directly = output and output.group(1) in ("", "json", "text") and not text[command.end():output.start()].strip()
        self.kind, self.output = output.groups() if directly else (None, None)


def examples(document):
    text = (ROOT / document).read_text()
    blocks = list(FENCE.finditer(text))
    return [Example(document, text, block, following) for block, following in zip(blocks, blocks[1:] + [None])
            if block.group(1) in ("sh", "sql")]


EXAMPLES = [example for document in DOCUMENTS for example in examples(document)]


def run_sh(codes):
    """Runs all commands in one shell; returns the output of each."""
    if not codes:
        return []
    folder = temporary_folder()
    server = Server("--data-dir", folder + "/data", "--admin-listen", "")
    try:
        token = re.search(r"ns_ZGVmYXVsdA_[0-9a-f]{64}", server.text).group()
        script = "".join(code + "printf '\\0'\n" for code in codes).replace("localhost:8080",
                                                                            f"localhost:{server.port}")
        done = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              cwd=folder, timeout=60,
                              env={**os.environ, "TOKEN": token, "MILLRACE_URL": f"http://localhost:{server.port}",
                                   "PATH": f"{os.path.dirname(MILLRACE)}:{os.environ['PATH']}"})
        return done.stdout.split("\0")
    finally:
        server.stop()
        shutil.rmtree(folder)


def run_sql(codes):
    """Runs all statements in one session, as a reader does; returns the output of each."""
    if not codes:
        return []
    folder = temporary_folder()
    cluster = Cluster(folder + "/pg", settings=["wal_level=logical"]).create().start()
    try:
        psql = [f"{PG_BIN}/psql", "-X", "-q", "-P", "footer=off", "-d", cluster.conninfo()]
        script = "".join(code + "\\echo the-next-example\n" for code in codes)
        done = subprocess.run(psql, input=script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=60)
        return done.stdout.split("the-next-example\n")
    finally:
        cluster.stop("immediate")
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def outputs():
    """What every example put out, by its place; a document is run when it is first asked for."""
    known = {}

    def output(example):
        document = example.place.split(":")[0]
        if example.place not in known:
            for language, run in (("sh", run_sh), ("sql", run_sql)):
                mine = [each for each in EXAMPLES if each.place.split(":")[0] == document and each.language == language]
                known.update(zip((each.place for each in mine), run([each.code for each in mine])))
        return known[example.place]

    return output


def test_no_two_documents_append_to_the_same_stream():
    """Who follows one on the store of another would get other positions than it shows."""
    streams = {}
    for document in ("README.md", "sidecar/README.md"):
        for example in examples(document):
            if example.language == "sh":
                for stream in re.findall(
                        r'"(?:stream\.write|stream\.append)", "([^"]+)"|"stream": "([^"]+)", "messages"', example.code):
                    streams.setdefault(max(stream), set()).add(document)
    assert len(streams) > 3 and [stream for stream, documents in streams.items() if len(documents) > 1] == []


def without_varying(text):
    for pattern, name in VARYING:
        text = re.sub(pattern, name, text)
    return text


def lines(text):
    return [line.rstrip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.place)
def test_the_example(example, outputs):
    if re.search("replication_slot|logical_slot", example.code):
        need_library("test_decoding")
    output = without_varying(outputs(example))
    if example.kind is None:
        assert "ERROR" not in output and '"error"' not in output, output
    elif example.kind == "json":
        assert json.loads(output) == json.loads(without_varying(example.output))
    else:
        assert lines(output) == lines(without_varying(example.output))


def test_the_grants_for_your_own_postgresql_are_enough(cluster, start):
    """The SQL of sidecar/README.md makes database `events` and a role that a server can do everything with."""
    for example in EXAMPLES:
        if example.place.startswith("sidecar/") and example.language == "sql":
            subprocess.run([f"{PG_BIN}/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d",
                            cluster.conninfo()], input=example.code, text=True, check=True)
    client = start("--database", f"host={cluster.folder} dbname=events user=millrace", "--token", ZERO_TOKEN,
                   token=ZERO_TOKEN).client()
    assert client.write("account-1")["position"] == 0 and len(client.call("category.get", "account")) == 1
    client.call("ns.create", "sales")
    assert [each["namespace"] for each in client.call("ns.list")] == ["default", "sales"]
    assert client.call("ns.delete", "sales")["messagesDeleted"] == 0


def test_every_flag_is_documented_with_its_default():
    """Rows like | `--port N` | `MILLRACE_PORT` | 8080 | ... |, in the order of --help.  What is too dangerous to be
    left about has no variable."""
    shown = subprocess.run([MILLRACE, "serve", "--help"], capture_output=True, text=True, check=True).stdout
    flags = re.findall(r"^  --([\w-]+)(?: [A-Z:]+)? .*?(?:\(default: ([^/();]+)(?:;.*)?\))?$", shown, re.M)
    rows = re.findall(r"^\| `--([\w-]+)(?: [A-Z:]+)?` \| `?(\w+)`? \| (.*?) \|",
                      (ROOT / "sidecar/README.md").read_text(), re.M)
    assert [name for name, _, _ in rows] == [name for name, _ in flags]
    for (name, variable, default), (_, real) in zip(rows, flags):
        assert variable == ("none" if name == "without-authentication" else "MILLRACE_" +
                            name.upper().replace("-", "_"))
        assert not real or default == real, name
