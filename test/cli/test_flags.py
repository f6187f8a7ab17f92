"""Every way to write a flag, and the program without the word serve."""
import re
import subprocess
from contextlib import contextmanager

import pytest

from store import MILLRACE, PG_BIN, ZERO_TOKEN, Client, Program, wait_until

COMMANDS = [["serve"], ["export"], ["import"], ["consume"], []]


def run(*arguments, **variables):
    env = {"MILLRACE_PG_BINDIR": PG_BIN, **variables}
    return subprocess.run([MILLRACE, *arguments], capture_output=True, text=True, timeout=60, env=env)


def settings(command):
    """Name and the word for the value ("" for a switch) of each flag."""
    shown = run("help", *(command or ["serve"])).stdout
    return re.findall(r"^  --([\w-]+) ([A-Z][A-Z:,]*)?", shown, re.M)


def value_for(name, word):
    return {"log-level": "error", "log-format": "json", "ui": "off"
            }.get(name) or {"N": "7", "SECONDS": "7", "MILLISECONDS": "7", "BYTES": "1M"}.get(word, "x")


def refuses(arguments, *words):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stdout
    assert done.stderr.startswith("millrace: ") and done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: "".join(command) or "no word")
def test_each_flag_is_taken_in_each_way(command):
    every = settings(command)
    assert len(every) >= 8
    for dashes in "-", "--":
        for name, word in every:
            flag, value = dashes + name, value_for(name, word)
            for way in ([f"{flag}={value}"], [flag, value]) if word else (
                [flag], *([f"{flag}={on}"]
                          for on in ("true", "false", "TRUE", "False", "t", "f", "1", "0", "on", "off"))):
                if name == "max-body":
                    way = [*way, "--max-header", "64k"]
                done = run(*command, *way, "--help")
                assert (done.returncode, done.stderr) == (0, ""), way
                assert done.stdout.startswith(f"millrace {''.join(command) or 'serve'}: "), way


@pytest.mark.parametrize("command", COMMANDS[:4], ids=lambda command: command[0])
@pytest.mark.parametrize("dashes", ["-", "--"])
def test_a_bad_value_is_told_with_its_flag(command, dashes):
    for name, word in settings(command):
        if word in ("N", "SECONDS", "MILLISECONDS", "BYTES"):
            refuses([*command, f"{dashes}{name}", "7x"], f"--{name}: \"7x\" is not a whole number")
            refuses([*command, f"{dashes}{name}=-8"], f"--{name}: -8 is out of range")
        elif not word:
            refuses([*command, f"{dashes}{name}=maybe"], f"--{name}: \"maybe\" is neither true nor false")
            refuses([*command, f"{dashes}{name}="], f"--{name}: \"\" is neither true nor false")
        elif name in ("log-level", "log-format"):
            refuses([*command, f"{dashes}{name}=loud"], f"--{name}: \"loud\" is none of ")


def test_a_switch_is_what_its_value_says(server, client):
    client.write("account-1")
    for value, compressed in ("=true", True), ("=T", True), ("=false", False), ("=F", False), ("", True):
        done = subprocess.run(
            [MILLRACE, "export", "-url", f"http://localhost:{server.port}", f"--token={client.token}", f"-gzip{value}"],
            capture_output=True, check=True, timeout=60)
        assert done.stdout.startswith(b"\x1f\x8b") == compressed


@pytest.mark.parametrize("arguments, words", [
    (["-prot", "1"], ["no flag -prot", "did you mean --port?"]),
    (["--prot=1"], ["no flag --prot", "did you mean --port?"]),
    (["serve", "-nonsense"], ["no flag -nonsense", "`millrace help serve` lists them all"]),
    (["export", "-outptu=x"], ["no flag -outptu", "did you mean --output?"]),
    (["serve", "---port", "1"], ["no flag ---port"]),
    (["serve", "-"], ['unexpected argument "-"']),
    (["serve", "--"], ['unexpected argument "--"']),
    (["--test-mode", "serve"], ['unexpected argument "serve"', "the command comes first: millrace serve"]),
    (["-test-mode", "true"], ['unexpected argument "true"']),
    (["-port"], ["--port wants a value: --port N"]),
    (["-=1"], ["no flag -;"]),
])
def test_what_is_no_flag_is_named(arguments, words):
    refuses(arguments, *words)


@pytest.mark.parametrize(
    "way", [["-db-url", "postgres://events"], ["--db-url=postgres://events"], ["-db-url=x"], ["--db-url"]])
@pytest.mark.parametrize("command", [[], ["serve"]], ids=["no word", "serve"])
def test_the_database_flag_of_eventodb_is_answered_with_ours(command, way):
    refuses([*command, *way], f"there is no flag {way[0].split('=')[0]}",
            "--database takes a PostgreSQL connection string or URI")


def test_help_and_version_have_one_dash_or_two():
    for word in "-h", "-help", "--help":
        assert run(word).stdout == run("help").stdout != ""
        for command in "serve", "export", "import", "consume":
            assert run(command, word).stdout == run("help", command).stdout != ""
    for word in "-version", "--version":
        assert run(word).stdout == run("version").stdout != ""


def test_no_argument_at_all_shows_how_to_use_it():
    done = run()
    assert (done.returncode, done.stdout) == (2, "") and "Usage:" in done.stderr and "millrace serve" in done.stderr


@contextmanager
def started(*arguments):
    program = Program([MILLRACE, *arguments], {"MILLRACE_PG_BINDIR": PG_BIN, "PATH": "/usr/bin:/bin"})
    try:
        def port():
            assert program.process.poll() is None, program.text
            return re.search(r"listening on http://\S+?:(\d+)", program.text)
        yield int(wait_until(port, "the line `listening on`", 90).group(1)), program
    finally:
        program.process.terminate()
        assert program.wait() == 0


# As EventoDB's start scripts and tests spawn it.
@pytest.mark.parametrize(
    "arguments",
    [["--test-mode", "--port=0", f"--token={ZERO_TOKEN}"], ["-test-mode", "-port", "0", "-token", ZERO_TOKEN],
     ["-test-mode=true", "-port=0", "-log-level=info"]], ids=["two dashes", "one dash", "switch with a value"])
def test_flags_alone_start_a_server(arguments):
    with started(*arguments) as (port, program):
        client = Client(port, ZERO_TOKEN)
        assert client.write("account-1") == {"position": 0, "globalPosition": 1}
        with open(f"/proc/{program.process.pid}/cmdline") as shown:
            assert ZERO_TOKEN not in shown.read()
        client.close()
