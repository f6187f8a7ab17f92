"""The commands export, import, version and help."""
import gzip
import json
import os
import pty
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from store import MILLRACE, Listener, new_id, token_for, wait_until


def line(n, **fields):
    return json.dumps({
        "id": new_id(), "stream": "s-1", "type": "T", "pos": n - 1, "gpos": n, "data": {"n": n}, "meta": None,
        "time": "2024-01-02T03:04:05.000006Z", **fields
    }) + "\n"


def lines(first, last, **fields):
    return "".join(line(n, **fields) for n in range(first, last + 1))


class Cli:
    """Runs the program with a server's URL and token in the environment."""

    def __init__(self, port, token):
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("MILLRACE", "PG"))}
        self.env.update(MILLRACE_URL=f"http://127.0.0.1:{port}", MILLRACE_TOKEN=token or "")
        if token is None:
            del self.env["MILLRACE_TOKEN"]

    def run(self, *arguments, input=b"", **env):
        input = input.encode() if isinstance(input, str) else input
        done = subprocess.run([MILLRACE, *map(str, arguments)], input=input, capture_output=True,
                              env={**self.env, **env}, timeout=60)
        done.errors = done.stderr.decode()
        return done

    def ok(self, *arguments, **options):
        done = self.run(*arguments, **options)
        assert (done.returncode, done.errors) == (0, ""), "quiet in a pipe"
        return done.stdout

    def start(self, *arguments, **options):
        return subprocess.Popen([MILLRACE, *map(str, arguments)], env=self.env, stderr=subprocess.PIPE, **options)

    def on_terminal(self, *arguments, answer=b""):
        """Runs on a terminal: exit code and all that was shown."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(MILLRACE, [MILLRACE, *map(str, arguments)], self.env)
        shown = b""
        while True:
            try:
                part = os.read(terminal, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
            if answer and b"[y/N]" in shown:
                os.write(terminal, answer)
                answer = b""
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


@pytest.fixture
def cli(server, client):
    client.call("stream.version", "x")  # makes the namespace
    return Cli(server.port, client.token)


@pytest.fixture
def other(server):
    token = token_for("test " + new_id())
    client = server.client(token)
    client.call("stream.version", "x")
    client.close()
    return Cli(server.port, token)


class Canned(Listener):
    """A server that answers anything with the same bytes, and then hangs up or waits."""

    def __init__(self, answer, wait=False):
        self.answer, self.wait, self.requests, self.kept = answer, wait, [], []
        super().__init__()

    def serve(self, connection):
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65536)
        self.requests.append(request)
        connection.sendall(self.answer)
        if self.wait:
            self.kept.append(connection)
            return
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
        connection.close()


@pytest.fixture
def canned():
    servers = []

    def make(answer, **options):
        servers.append(Canned(answer, **options))
        return Cli(servers[-1].port, "token"), servers[-1]

    yield make
    for server in servers:
        server.close()


OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


# ---- export and import ---------------------------------------------------------------------------------------------


def test_a_round_trip_through_files(cli, other, folder):
    text = lines(1, 2500, data={"x": "ü😀", "big": 12345678901234567890123})
    cli.ok("import", input=text)
    cli.ok("export", "--output", f"{folder}/out")
    assert [json.loads(each) for each in Path(folder, "out").read_text().splitlines()
            ] == [json.loads(each) for each in text.splitlines()]
    other.ok("import", "--input", f"{folder}/out")
    assert other.ok("export") == cli.ok("export", "--output", "-") == Path(folder, "out").read_bytes()
    assert os.listdir(folder) == ["out"]


def test_a_round_trip_through_a_pipe_and_gzip(cli, other, folder):
    cli.ok("import", "--input", "-", input=gzip.compress(lines(1, 1200).encode()), MILLRACE_GZIP="true")
    with cli.start("export", "--gzip", stdout=subprocess.PIPE) as export:
        with other.start("import", "--gzip", stdin=export.stdout) as importing:
            assert importing.wait(30) == 0
        assert export.wait(30) == 0
    assert other.ok("export") == cli.ok("export")
    assert gzip.decompress(cli.ok("export", "--gzip")) == cli.ok("export")


def test_categories_and_times_choose(cli):
    cli.ok(
        "import", input=line(1, stream="a-1", time="2024-01-01T00:00:00Z") +
        line(2, stream="b-1", time="2024-02-01T00:00:00Z") + line(3, stream="ü&c-1", time="2024-03-01T00:00:00Z"))
    for arguments, wanted in ((["--categories", "a,b"], [1, 2]), (["--categories=ü&c"], [3]),
                              (["--since", "2024-02-01"], [2, 3]), (["--until=2024-02-01T01:00:00+01:00"], [1]),
                              (["--since", "2024-01-15", "--until", "2024-02-15"], [2]), (["--categories",
                                                                                           "none"], [])):
        assert [json.loads(each)["gpos"] for each in cli.ok("export", *arguments).splitlines()] == wanted, arguments


def test_a_query_chooses(cli, server):
    admin = server.client(token_for("default"))
    tagged = Cli(server.port, admin.call("ns.create", "tagged " + new_id(), {"tags": True})["token"])
    tagged.ok("import", input="".join(line(n, meta={"tags": ["a&b"] * (n % 2)}) for n in range(1, 6)))
    query = '{"items":[{"tags":["a&b"]}]}'
    for arguments in (["--query", query], ["--query", query, "--gzip"]):
        text = tagged.ok("export", *arguments)
        text = gzip.decompress(text) if "--gzip" in arguments else text
        assert [json.loads(each)["gpos"] for each in text.splitlines()] == [1, 3, 5]
    for one, wrong, said in ((tagged, "{", "query"), (cli, query, "index_tags"), (tagged, '{"items":[]}', "empty")):
        refused = one.run("export", "--query", wrong)
        assert refused.returncode == 1 and said in refused.stderr.decode() and not refused.stdout


def test_flags_beat_the_environment(cli, server):
    cli.ok("export", MILLRACE_URL=f"http://127.0.0.1:{server.port}/", MILLRACE_CATEGORIES="a")
    assert cli.run("export", MILLRACE_URL="http://127.0.0.1:1").returncode == 1
    cli.ok("export", "--url", cli.env["MILLRACE_URL"], MILLRACE_URL="http://127.0.0.1:1")
    cli.ok("export", "--token", cli.env["MILLRACE_TOKEN"], MILLRACE_TOKEN="x")


@pytest.mark.parametrize("host", ["localhost", "[::1]"])
def test_other_ways_to_name_the_server(cli, server, host):
    cli.ok("export", "--url", f"http://{host}:{server.port}")


def test_an_existing_file_is_replaced_with_its_rights_kept(cli, folder):
    target = Path(folder, "real")
    target.write_text("old")
    target.chmod(0o640)
    Path(folder, "link").symlink_to("real")
    cli.ok("import", input=lines(1, 2))
    cli.ok("export", "--output", f"{folder}/link")
    assert Path(folder, "link").is_symlink() and target.read_text().count("\n") == 2
    assert target.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(folder)) == ["link", "real"]


def test_what_is_no_file_is_written_as_it_is(cli, folder):
    cli.ok("export", "--output", "/dev/null")
    assert Path("/dev/null").is_char_device()


# ---- failures --------------------------------------------------------------------------------------------


def fails(done, *words, code=1):
    assert done.returncode == code and done.errors.startswith("millrace: ") and done.errors.count(
        "\n") == 1, done.errors
    for word in words:
        assert word in done.errors
    return done


def test_a_broken_line_is_named_and_what_came_before_stays(cli):
    fails(cli.run("import", input=lines(1, 1500) + "{\n" + lines(1501, 9000)), "line 1501: INVALID_JSON: ")
    assert cli.ok("export").count(b"\n") == 1000
    fails(cli.run("import", input=lines(1, 5)), "line 1: POSITION_EXISTS: ")
    fails(cli.run("import", input=line(5000, data=[])), 'line 1: INVALID_RECORD: "data" must be an object')


def test_the_servers_refusals_are_told(cli, secured):
    fails(Cli(secured.port, None).run("export"), "AUTH_REQUIRED: ")
    fails(Cli(secured.port, "nonsense").run("import", input=lines(1, 50000)), "AUTH_INVALID_TOKEN: ")
    fails(Cli(secured.port, token_for("x")).run("import", input=lines(1, 50000)), "AUTH_UNAUTHORIZED: ")
    fails(cli.run("export", "--since", "yesterday"), "INVALID_REQUEST: since ")


def test_a_failed_export_leaves_nothing(cli, canned, folder):
    target = Path(folder, "out")
    target.write_text("old")
    for answer, word in ((OK + chunk(b"x\n"), "not complete"), (OK + b"zz\r\n", "malformed"),
                         (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx\n",
                          "not complete"), (b"HTTP/1.1 502 Bad\r\nContent-Length: 2\r\n\r\nno",
                                            "502"), (b"SSH-2.0\r\n\r\n", "HTTP"), (b"", "before its reply"),
                         (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "compressed")):
        fails(canned(answer)[0].run("export", "--output", target), word)
        assert target.read_text() == "old" and os.listdir(folder) == ["out"]
    squeezed = gzip.compress(b"x\n" * 1000)
    head = OK.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    fails(
        canned(head + chunk(squeezed[:-4]) + b"0\r\n\r\n")[0].run("export", "--gzip", "--output", target),
        "ends too early")
    fails(canned(head + chunk(b"nonsense") + b"0\r\n\r\n")[0].run("export", "--gzip", "--output", target), "damaged")
    fails(canned(OK + chunk(b"x\n") + b"0\r\n\r\n")[0].run("export", "--gzip", "--output", target), "did not compress")
    assert target.read_text() == "old" and os.listdir(folder) == ["out"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_export_leaves_nothing(canned, folder, number):
    one, _ = canned(OK + chunk(b"x\n" * 100), wait=True)
    with one.start("export", "--output", f"{folder}/out") as process:
        wait_until(lambda: os.listdir(folder) and os.stat(f"{folder}/{os.listdir(folder)[0]}").st_size == 200,
                   "the temporary file")
        assert os.listdir(folder) != ["out"]
        process.send_signal(number)
        assert process.wait(10) == -number
    assert os.listdir(folder) == []


def test_an_output_that_cannot_be_written_fails(cli, folder):
    cli.ok("import", input=lines(1, 2000))
    fails(cli.run("export", "--output", f"{folder}/none/out"), "none/out", "No such file")
    fails(cli.run("export", "--output", folder), folder)
    fails(cli.run("export", "--output", "/dev/full"), "/dev/full", "No space")


def test_an_import_that_ends_without_done_fails(canned):
    for answer in (OK + b"0\r\n\r\n", OK + chunk(b'data: {"imported":1000,"gpos":1}\n\n') + b"0\r\n\r\n",
                   OK + chunk(b'data: {"imported":1000,"gpos":1}\n\n'), b""):
        fails(
            canned(answer)[0].run("import", input=lines(1, 3)),
            "not complete, 1000 messages" if b"1000" in answer else "not complete, 0 messages")


def test_events_may_come_cut_anywhere(canned):
    event = b'data: {"error":"INVALID_JSON","message":"bad \\u00fc","line":7}\n\n'
    answer = OK + b"".join(chunk(event[i:i + 1]) for i in range(len(event))) + b"0\r\n\r\n"
    fails(canned(answer)[0].run("import", input=""), "line 7: INVALID_JSON: bad ü")


def test_an_error_stops_a_sender_that_waits_for_its_input(cli):
    with cli.start("import", "--progress", stdin=subprocess.PIPE) as process:
        process.stdin.write(b"broken\n")
        process.stdin.flush()
        assert process.wait(10) == 1
        assert b"line 1: INVALID_JSON" in process.stderr.read()


@pytest.mark.parametrize("url, word", [("https://", "URL"), ("x", "URL"), ("http://", "URL"), ("http://a:b@c", "URL"),
                                       ("http://[::1", "URL"), ("http://localhost:1", "refused"),
                                       ("http://no.such.host.invalid", "cannot find"), ("http://x:1234567", "URL")])
def test_a_bad_url_is_told(cli, url, word):
    fails(cli.run("export", "--url", url), word, code=2 if word == "URL" else 1)


def test_an_input_that_cannot_be_read_fails_before_anything_is_deleted(cli, folder):
    cli.ok("import", input=lines(1, 3))
    fails(cli.run("import", "--force", "--yes", "--input", f"{folder}/none"), "No such file")
    fails(cli.run("import", "--force", "--yes", "--input", folder), "directory")
    fails(cli.run("import", "--force", "--yes", input=gzip.compress(b"x")), "say --gzip")
    assert cli.ok("export").count(b"\n") == 3


# ---- force and terminals ---------------------------------------------------------------------------------


def test_force_asks_on_a_terminal_and_nowhere_else(cli, folder):
    Path(folder, "in").write_text(lines(1, 2))
    cli.ok("import", input=lines(1, 5))
    fails(cli.run("import", "--force", "--input", f"{folder}/in"), "--yes", code=2)
    fails(cli.run("import", "--force", "--input", f"{folder}/in", MILLRACE_YES="true"), "--yes", code=2)
    code, shown = cli.on_terminal("import", "--force", "--input", f"{folder}/in", answer=b"n\n")
    assert code == 1 and "nothing was deleted" in shown and 'namespace "test ' in shown
    assert cli.ok("export").count(b"\n") == 5
    code, shown = cli.on_terminal("import", "--force", "--input", f"{folder}/in", answer=b"y\n")
    assert code == 0 and "imported 2 messages" in shown
    assert cli.ok("export").count(b"\n") == 2
    cli.ok("import", "--force", "--yes", input=lines(1, 1))
    assert cli.ok("export").count(b"\n") == 1


def test_counts_are_shown_on_a_terminal(cli, folder):
    cli.ok("import", input=lines(1, 2500))
    code, shown = cli.on_terminal("export", "--output", f"{folder}/out")
    assert code == 0 and re.search(r"\rexported 2500 messages in \d+\.\d s\r\n$", shown)
    code, shown = cli.on_terminal("export", "--gzip", "--output", f"{folder}/out")
    assert code == 0 and "exported 2500 messages" in shown
    code, shown = cli.on_terminal("import", "--gzip", "--force", "--yes", "--input", f"{folder}/out")
    assert code == 0 and shown.endswith("\n") and "imported 2500 messages" in shown


# ---- usage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command, flags",
                         [("export", ["url", "token", "categories", "query", "since", "until", "gzip", "output"]),
                          ("import", ["url", "token", "input", "gzip", "progress", "force", "yes"]),
                          ("serve", ["port", "data-dir"])])
def test_help_names_every_flag(cli, command, flags):
    text = cli.ok(command, "--help").decode()
    assert text == cli.ok("help", command).decode()
    assert all(f"  --{flag}" in text for flag in flags) and "Exit status:" in text and "Examples:" in text
    assert max(map(len, text.splitlines())) <= 110


def test_help_names_every_command(cli):
    text = cli.ok("help").decode()
    assert all(f"millrace {command}" in text for command in ("serve", "export", "import", "version", "help"))
    assert re.fullmatch(rb"millrace \d+\.\d+\.\d+\n", cli.ok("version"))


@pytest.mark.parametrize("arguments, word", [(["export", "--input", "x"], "no flag --input"),
                                             (["import", "--outptu"], "no flag"), (["export", "x"], "unexpected"),
                                             (["export", "--outputt", "x"], "did you mean --output"),
                                             (["exprt"], "no command"), (["help", "x"], "no command"),
                                             (["export", "--since"], "wants a value"),
                                             (["export", "--gzip=maybe"], "neither true nor false")])
def test_wrong_usage_is_told(cli, arguments, word):
    fails(cli.run(*arguments), word, code=2)
