"""The extension in a folder that is none of the server's, where `make -C extension install prefix=...` has put it."""
import re
import subprocess

import pytest

from store import PG_BIN, ROOT, Cluster, sql

ELSEWHERE = ROOT / "elsewhere"
VERSION = int(
    re.search(r"\d+",
              subprocess.run([f"{PG_BIN}/postgres", "--version"], capture_output=True, text=True,
                             check=True).stdout).group())


def test_what_prefix_names_gets_all_files_and_nothing_else_does():
    files = sorted(str(path.relative_to(ELSEWHERE)) for path in ELSEWHERE.rglob("*") if path.is_file())
    assert [files[0], files[-1]] == ["lib/postgresql/millrace.so", "share/postgresql/extension/millrace.control"]
    assert len(files) >= 3 and all(name.startswith("share/postgresql/extension/millrace--") for name in files[1:-1])


@pytest.mark.skipif(VERSION < 18, reason="PostgreSQL looks for extensions elsewhere since 18: extension_control_path")
def test_the_extension_works_from_elsewhere(folder):
    cluster = Cluster(folder + "/pg").create()
    with (cluster.data / "postgresql.conf").open("a") as settings:  # without $system, so that no other can be found
        settings.write(
            f"extension_control_path = '{ELSEWHERE}/share/postgresql'\n"
            f"dynamic_library_path = '{ELSEWHERE}/lib/postgresql:$libdir'\n"
        )
    cluster.start()
    try:
        connection = cluster.connect()
        sql(connection, "CREATE EXTENSION millrace")
        sql(connection, "SELECT millrace.create_namespace('default')")
        assert sql(connection, "SELECT * FROM millrace.append('account-123', 'Deposited', '{}')") == [(0, 1)]
        assert sql(connection, "SELECT type FROM millrace.read_stream('account-123')") == [("Deposited",)]
        (pid,), = sql(connection, "SELECT pg_backend_pid()")
        with open(f"/proc/{pid}/maps") as maps:
            loaded = {line.split(maxsplit=5)[5].strip() for line in maps if "millrace" in line and ".so" in line}
        assert loaded == {f"{ELSEWHERE}/lib/postgresql/millrace.so"}
        sql(connection, "CREATE DATABASE other")
        other = cluster.connect("other")
        sql(other, "CREATE EXTENSION millrace")
        sql(other, "SELECT millrace.install_message_db()")
        assert sql(
            other,
            "SELECT message_store.write_message(gen_random_uuid()::varchar, 'account-123', 'Deposited', '{}')") == [
                (0, )
            ]
        sql(other, "DROP EXTENSION millrace CASCADE")
    finally:
        cluster.stop()
