"""Settings that contradict each other, settings that must not be seen, and what of the environment counts."""
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from store import MILLRACE, PG_BIN, Client, Server, new_id, sql, wait_until, without_tokens


def environment(**variables):
    """That of a user that has set nothing of ours or of libpq's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "MILLRACE"))}
    return {**kept, "MILLRACE_PG_BINDIR": PG_BIN, **variables}


def serve(*arguments, **variables):
    """A start that is to fail."""
    return subprocess.run([MILLRACE, "serve", "--port", "0", *map(str, arguments)], capture_output=True, text=True,
                          timeout=60, env=environment(**variables))


# A database without tokens, or another one than was meant

DATABASE = "host=/nowhere"


@pytest.mark.parametrize(
    "arguments, variables, words",
    [(["--test-mode", "--database", DATABASE], {}, ["--test-mode and --database", "without a token"]),
     (["--database", DATABASE], {"MILLRACE_TEST_MODE": "1"}, ["MILLRACE_TEST_MODE and --database"]),
     (["--test-mode"], {"MILLRACE_DATABASE": DATABASE}, ["--test-mode and MILLRACE_DATABASE"]),
     ([], {"MILLRACE_DATABASE": DATABASE, "MILLRACE_TEST_MODE": "1"}, ["MILLRACE_TEST_MODE and MILLRACE_DATABASE"]),
     (["--test-mode", "--database", DATABASE], {"MILLRACE_WITHOUT_AUTHENTICATION": "1", "MILLRACE_LISTEN": "127.0.0.1"
                                                }, ["without a token"]),
     (["--test-mode", "--database", DATABASE, "--without-authentication"], {}, ["loopback", "all addresses"]),
     (["--test-mode", "--database", DATABASE, "--without-authentication", "--listen", "0.0.0.0"
       ], {}, ["loopback", "0.0.0.0"]),
     (["--test-mode", "--database", DATABASE, "--without-authentication", "--listen", "::"], {}, ["loopback", "::"]),
     (["--test-mode", "--database", DATABASE, "--without-authentication", "--listen", ""], {}, ["--listen is empty"]),
     (["--without-authentication", "--database", DATABASE], {}, ["only for --test-mode with --database"]),
     (["--without-authentication", "--test-mode"], {}, ["only for --test-mode with --database"]),
     (["--test-mode", "--data-dir", "/nowhere"], {}, ["--test-mode and --data-dir", "which one is meant"]),
     (["--data-dir", "/nowhere"], {"MILLRACE_TEST_MODE": "1"}, ["MILLRACE_TEST_MODE and --data-dir"]),
     ([], {"MILLRACE_TEST_MODE": "1", "MILLRACE_DATA_DIR": "/nowhere"}, ["MILLRACE_TEST_MODE and MILLRACE_DATA_DIR"]),
     (["--database", DATABASE, "--data-dir", "/nowhere"], {}, ["--database and --data-dir", "which one is meant"]),
     (["--data-dir", "/nowhere"], {"MILLRACE_DATABASE": DATABASE}, ["MILLRACE_DATABASE and --data-dir"]), ])
def test_settings_that_mean_different_databases_end_the_start_with_both(arguments, variables, words):
    done = serve(*arguments, **variables)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


def test_a_data_directory_that_a_package_names_gives_way_to_what_was_asked_for(cluster, folder, start):
    variables = {"MILLRACE_DATA_DIR": folder + "/data"}
    assert start("--database", cluster.conninfo(), variables=variables).client()
    start("--test-mode", variables=variables).client().write("s")
    assert not os.path.exists(folder + "/data")


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_database_is_served_without_tokens_where_that_is_said_twice(cluster, start, listen):
    arguments = without_tokens(cluster)
    server = start(*arguments[:-1], listen)
    assert "everybody on this machine can read, write and delete" in server.text
    if listen in ("127.0.0.1", "localhost"):
        stream = "s-" + new_id()
        assert Client(server.port).write(stream)["position"] == 0
        assert sql(cluster.connect(), "SELECT count(*) FROM millrace_default.messages") == [(1,)]


# The administrator's token

TOKEN = re.compile(r"ns_ZGVmYXVsdA_[0-9a-f]{64}")


def test_a_first_start_that_fails_at_the_admin_port_loses_no_token(folder, start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = serve("--data-dir", folder + "/data", "--admin-listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 2 and "--admin-listen" in done.stderr
    assert not os.path.exists(folder + "/data"), "that shows before a cluster is made"
    server = start("--data-dir", folder + "/data")
    assert server.client(TOKEN.search(server.text).group()).write("s")["position"] == 0


def test_a_token_that_could_not_be_shown_does_not_count(folder, start):
    with open("/dev/full", "w") as full:
        done = subprocess.run([MILLRACE, "serve", "--port", "0", "--data-dir", folder + "/data"], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=120, env=environment())
    assert done.returncode == 1 and "could not show the token" in done.stderr and "No space left" in done.stderr
    server = start("--data-dir", folder + "/data")
    assert server.client(TOKEN.search(server.text).group()).write("s")["position"] == 0


def test_a_start_that_is_cut_short_has_shown_the_token_before_it_counts(cluster, start):
    database = cluster.connect()
    sql(database, "CREATE EXTENSION millrace")
    sql(database, "SELECT millrace.ensure_namespace('default')")
    holder = cluster.connect()
    holder.autocommit = False
    sql(holder, "LOCK TABLE millrace.namespaces IN SHARE MODE")  # it can be read, and nothing stored
    server = Server("--database", cluster.conninfo(), wait=False)
    try:
        shown = wait_until(lambda: TOKEN.search(server.text), "the token").group()
        wait_until(
            lambda: sql(database, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == [(1, )],
            "a server that stores it")
        assert sql(database, "SELECT token_hash FROM millrace.namespaces") == [(None,)]
    finally:
        server.kill()
    holder.commit()  # now the token may be stored or not
    again = start("--database", cluster.conninfo())
    made = TOKEN.search(again.text)
    assert again.client(made.group() if made else shown).write("s")["position"] == 0


# libpq's environment

def postmaster(server):
    try:
        return server.postmaster()
    except AssertionError:
        return None


@pytest.mark.parametrize(
    "variables",
    [{"PGHOSTADDR": "127.0.0.1"}, {"PGSERVICE": "nowhere"}, {"PGREQUIREPEER": "nobody-else"},
     {"PGCHANNELBINDING": "require"}, {"PGOPTIONS": "-c default_transaction_read_only=on -c datestyle=German"
                                       }, {"PGDATA": "/nowhere", "PGPORT": "1", "PGUSER": "x", "PGDATABASE": "x"}, {
                                           "PGTARGETSESSIONATTRS": "standby", "PGSSLMODE": "verify-full",
                                           "PGCLIENTENCODING": "LATIN1", "LC_ALL": "de_DE.UTF-8", "LANGUAGE": "de"
                                       }], ids=lambda variables: " ".join(variables))
def test_the_private_postgres_takes_nothing_from_libpqs_variables(start, variables):
    server = start("--test-mode", variables=variables)
    assert server.client().write("s", {"text": "\u00fc"}) == {"position": 0, "globalPosition": 1}
    assert server.client().call("stream.last", "s")[4] == {"text": "\u00fc"}
    assert sql(server.postgres(), "SELECT count(*) FROM millrace_default.messages") == [(1,)]
    os.kill(server.postmaster(), signal.SIGKILL)
    wait_until(lambda: "starting it again" in server.text, "its end")
    wait_until(lambda: server.client().post(["stream.write", "s", {"type": "T", "data": {}}]).status == 200,
               "the PostgreSQL that is started again")
    shown = Path(f"/proc/{wait_until(lambda: postmaster(server), 'it')}/environ").read_bytes()
    assert not [name for name in variables if name.startswith("PG") and name.encode() + b"=" in shown]


def test_libpqs_variables_keep_their_meaning_for_a_database_of_ones_own(cluster, start):
    server = start("--database", "dbname=postgres", variables={"PGHOST": str(cluster.folder), "PGUSER": "tester"})
    server.client(TOKEN.search(server.text).group()).write("s")
    assert sql(cluster.connect(), "SELECT count(*) FROM millrace_default.messages") == [(1,)]


# The password of a database

def test_every_way_to_give_a_password_hides_it_from_other_processes(cluster, start, folder):
    password = "hidden-" + new_id()
    conninfo = cluster.conninfo() + " password=" + password
    file = Path(folder) / "database"
    file.write_text(conninfo + "\n")
    for arguments, variables in ((["--database", conninfo], {}), (["--database=" + conninfo],
                                                                  {}), ([], {"MILLRACE_DATABASE": conninfo}),
                                 (["--database-file", file], {}), ([], {"MILLRACE_DATABASE_FILE": str(file)}),
                                 (["--database", "host=/nowhere", "--database",
                                   conninfo], {"MILLRACE_DATABASE": conninfo})):
        server = start("--workers", "1", *arguments, variables={"KEPT": "kept", **variables})
        process = Path(f"/proc/{server.process.pid}")
        shown = process.joinpath("cmdline").read_bytes() + process.joinpath("environ").read_bytes()
        assert password.encode() not in shown and b"host=" not in shown, shown
        assert b"--workers" in shown and b"KEPT=kept" in shown, "only what is secret is hidden"
        assert password not in server.text
        server.stop()
    assert sql(cluster.connect(), "SELECT count(*) FROM millrace.namespaces") == [(1,)]


def test_a_database_file_with_nothing_but_a_password_is_named_and_not_shown(tmp_path):
    file = tmp_path / "database"
    file.write_text("s3cret\n")
    done = serve("--database-file", file)
    assert done.returncode == 2 and f"--database-file {file} is not a connection string" in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize("content, reason", [(None, "No such file"), ("", "not one line"), ("a\nb\n", "not one line"),
                                             ("x" * 5000, "not one line")],
                         ids=["none", "empty", "two lines", "too long"])
def test_a_database_file_that_is_not_one_line_ends_the_start_with_a_reason(tmp_path, content, reason):
    file = tmp_path / "database"
    if content is not None:
        file.write_text(content)
    done = serve("--database-file", file)
    assert done.returncode == 2 and f"--database-file {file}" in done.stderr and reason in done.stderr
    assert content is None or len(content) < 5 or content not in done.stderr


@pytest.mark.parametrize("arguments, variables, words", [
    (["--database", DATABASE, "--database-file", "FILE"], {}, ["--database and --database-file", "which one is meant"]),
    ([], {"MILLRACE_DATABASE": DATABASE, "MILLRACE_DATABASE_FILE": "FILE"
          }, ["MILLRACE_DATABASE and MILLRACE_DATABASE_FILE"]),
    ([], {"MILLRACE_TOKEN": "x", "MILLRACE_TOKEN_FILE": "FILE"}, ["MILLRACE_TOKEN and MILLRACE_TOKEN_FILE"]),
    (["--database-file", "FILE", "--data-dir", "/nowhere"], {}, ["--database-file and --data-dir"]),
    (["--database-file", "FILE", "--test-mode"], {}, ["--test-mode and --database-file", "without a token"]),
])
def test_a_secret_and_its_file_are_one_too_many(tmp_path, arguments, variables, words):
    file = tmp_path / "database"
    file.write_text(DATABASE)
    done = serve(*(file if each == "FILE" else each for each in arguments),
                 **{name: str(file) if value == "FILE" else value for name, value in variables.items()})
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


def test_of_a_secret_and_its_file_the_flag_is_meant(cluster, start, tmp_path):
    file = tmp_path / "database"
    file.write_text(cluster.conninfo())
    start("--database", cluster.conninfo(), variables={"MILLRACE_DATABASE_FILE": "/nowhere"}).stop()
    start("--database-file", file, variables={"MILLRACE_DATABASE": DATABASE}).stop()


# The environment's variables

def refusal(*arguments, **variables):
    """What a start says that gets as far as its listener, for which there is no address."""
    done = subprocess.run([MILLRACE, "serve", "--test-mode", "--listen", "nowhere.invalid", *arguments],
                          capture_output=True, text=True, timeout=60, env=environment(**variables))
    assert done.returncode != 0
    return done.stderr


@pytest.mark.parametrize("link", ["tcp://10.96.0.12:8080", "udp://10.96.0.12:8080", "sctp://[fd00::c]:8080"])
def test_the_port_that_kubernetes_tells_of_a_service_called_millrace_is_none(link, start):
    assert "nowhere.invalid" in refusal(MILLRACE_PORT=link)
    start("--test-mode",
          variables={"MILLRACE_PORT": link, "MILLRACE_SERVICE_HOST": "10.96.0.12", "MILLRACE_PORT_8080_TCP": link})
    for other in "tcp:8080", "8080tcp://", "http://10.96.0.12:8080":
        assert f'MILLRACE_PORT: "{other}" is not a whole number' in refusal(MILLRACE_PORT=other)
    assert "MILLRACE_WORKERS" in refusal(MILLRACE_WORKERS=link)


def test_flags_win_over_variables_that_make_no_sense(start):
    server = start(
        "--test-mode", "--workers", "1", "--log-level", "error", "--max-body", "1M", "--retry-window", "7",
        "--admin-listen", "none", variables={
            "MILLRACE_PORT": "x", "MILLRACE_WORKERS": "many", "MILLRACE_LOG_LEVEL": "loud", "MILLRACE_MAX_BODY": "-1",
            "MILLRACE_RETRY_WINDOW": "9999999", "MILLRACE_TEST_MODE": "perhaps", "MILLRACE_ADMIN_LISTEN": "x"
        })
    assert server.client().write("s")["position"] == 0


def test_an_empty_variable_is_none(start):
    names = re.findall(r"^  --([a-z-]+)",
                       subprocess.run([MILLRACE, "help", "serve"], capture_output=True, text=True, check=True).stdout,
                       re.M)
    empty = {"MILLRACE_" + name.upper().replace("-", "_"): "" for name in names if name != "pg-bindir"}
    assert len(empty) > 30
    server = start(variables={**empty, "MILLRACE_TEST_MODE": "1"})
    assert "listening on http://[::]:" in server.text and server.client().write("s")["position"] == 0
    assert not os.path.exists("millrace-data")


@pytest.mark.parametrize("name", [
    "database", "database-file", "data-dir", "listen", "token", "token-file", "new-token-file", "tls-cert", "pg-bindir"
])
def test_an_empty_flag_is_refused(name):
    """As $X where there is no X: libpq would take an empty connection string for another database."""
    for flag in ([f"--{name}="], [f"--{name}", ""]):
        done = serve(*flag)
        assert (done.returncode, done.stdout) == (2, "") and f"--{name} is empty" in done.stderr


def test_none_is_a_word_for_what_there_may_be_none_of(start, folder):
    quiet = start("--test-mode", "--log-level", "debug",
                  variables={"MILLRACE_ADMIN_LISTEN": "none", "MILLRACE_CLUSTER_CACHE": "none"})
    assert "admin listener" not in quiet.text and not os.path.exists("none")


# The exit code

@pytest.mark.parametrize("arguments, word", [(["--token", "nonsense"], "--token"),
                                             (["--token-file", "/nowhere"], "/nowhere"),
                                             (["--admin-listen", "nonsense"], "--admin-listen"),
                                             (["--tls-cert", "/nowhere"], "--tls-key"),
                                             (["--tls-cert", "/nowhere", "--tls-key", "/nowhere"], "/nowhere"),
                                             (["--pg-bindir", "/nowhere"], "/nowhere"),
                                             (["--database", "nonsense"], "--database"),
                                             (["--database", "postgres://[x"], "--database"),
                                             (["--database", "hots=x"], "hots"),
                                             (["--database", "host=x password=very secret"], "not shown"),
                                             (["--database", "postgres://me:secret@[x"], "not shown"),
                                             (["--database-file", "/nowhere"], "/nowhere")])
def test_settings_that_are_wrong_are_exit_code_2(arguments, word, folder):
    where = [] if arguments[0].startswith("--database") else ["--data-dir", folder + "/data"]
    done = serve(*where, *arguments)
    assert done.returncode == 2 and word in done.stderr and "secret" not in done.stderr and not os.path.exists(folder +
                                                                                                               "/data")


def test_what_may_be_right_the_next_time_is_exit_code_1(server, folder):
    assert serve("--database", f"host={folder} dbname=none", "--retry-window", "0").returncode == 1
    assert serve("--test-mode", "--port", server.port).returncode == 1


def test_help_says_where_the_settings_are():
    shown = subprocess.run([MILLRACE, "help"], capture_output=True, text=True, check=True).stdout
    assert "millrace help serve" in shown and "all its settings" in shown
