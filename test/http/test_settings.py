"""Settings that contradict each other, settings that must not be seen, and what of the environment counts."""
import os
import subprocess

import pytest

from store import MILLRACE, PG_BIN, Client, new_id, sql, without_tokens


def environment(**variables):
    """That of a user who has set nothing of ours or of libpq's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "MILLRACE"))}
    return {**kept, "MILLRACE_PG_BINDIR": PG_BIN, **variables}


def serve(*arguments, **variables):
    """A start that is to fail."""
    return subprocess.run([MILLRACE, "serve", "--port", "0", *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          env=environment(**variables))


# A database without tokens, or another one than was meant

DATABASE = "host=/nowhere"


@pytest.mark.parametrize("arguments, variables, words", [
    (["--test-mode", "--database", DATABASE], {}, ["--test-mode and --database", "without a token"]),
    (["--database", DATABASE], {"MILLRACE_TEST_MODE": "1"}, ["MILLRACE_TEST_MODE and --database"]),
    (["--test-mode"], {"MILLRACE_DATABASE": DATABASE}, ["--test-mode and MILLRACE_DATABASE"]),
    ([], {"MILLRACE_DATABASE": DATABASE, "MILLRACE_TEST_MODE": "1"}, ["MILLRACE_TEST_MODE and MILLRACE_DATABASE"]),
    (["--test-mode", "--database", DATABASE], {"MILLRACE_WITHOUT_AUTHENTICATION": "1", "MILLRACE_LISTEN": "127.0.0.1"}, ["without a token"]),
    (["--test-mode", "--database", DATABASE, "--without-authentication"], {}, ["loopback", "all addresses"]),
    (["--test-mode", "--database", DATABASE, "--without-authentication", "--listen", "0.0.0.0"], {}, ["loopback", "0.0.0.0"]),
    (["--test-mode", "--database", DATABASE, "--without-authentication", "--listen", "::"], {}, ["loopback", "::"]),
    (["--test-mode", "--database", DATABASE, "--without-authentication", "--listen", ""], {}, ["loopback", "all addresses"]),
    (["--without-authentication", "--database", DATABASE], {}, ["only for --test-mode with --database"]),
    (["--without-authentication", "--test-mode"], {}, ["only for --test-mode with --database"]),
    (["--test-mode", "--data-dir", "/nowhere"], {}, ["--test-mode and --data-dir", "which one is meant"]),
    (["--data-dir", "/nowhere"], {"MILLRACE_TEST_MODE": "1"}, ["MILLRACE_TEST_MODE and --data-dir"]),
    ([], {"MILLRACE_TEST_MODE": "1", "MILLRACE_DATA_DIR": "/nowhere"}, ["MILLRACE_TEST_MODE and MILLRACE_DATA_DIR"]),
    (["--database", DATABASE, "--data-dir", "/nowhere"], {}, ["--database and --data-dir", "which one is meant"]),
    (["--data-dir", "/nowhere"], {"MILLRACE_DATABASE": DATABASE}, ["MILLRACE_DATABASE and --data-dir"]),
])
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
