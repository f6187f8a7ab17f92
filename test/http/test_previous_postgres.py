"""What a Postgres before left behind, in whatever language it speaks."""
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg2
import pytest
from installation import installed
from store import ZERO_TOKEN, Cluster, sql, wait_until

GERMAN = "de_DE.UTF-8"
MAJOR = re.search(r"\d+", installed("version").name).group()


@pytest.fixture
def other_program():
    """A living program of our own user that is no Postgres."""
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    assert process.poll() is None, "it was ended"
    process.kill()
    process.wait()


def renumber(path, content, pid):
    Path(path).write_text("\n".join([str(pid), *content.splitlines()[1:]]) + "\n")


@pytest.mark.parametrize("kill", [False, True], ids=["files", "killed"])
def test_lock_files_that_name_another_living_program_end_no_start(folder, start, other_program, kill):
    data = folder + "/data"
    files = [data + "/pg/postmaster.pid", data + "/run/.s.PGSQL.5432.lock"]
    server = start("--data-dir", data, "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    server.client().write("s")
    content = {path: Path(path).read_text() for path in files}
    if kill:
        postmaster = server.postmaster()
        server.process.kill()
        os.kill(postmaster, signal.SIGKILL)
        server.wait()
        wait_until(lambda: not is_used(data), "the end of what is left")
        server.stop = lambda: None
    else:
        server.stop()
    for path, text in content.items():
        renumber(path, text, other_program.pid)
    server = start("--data-dir", data, token=ZERO_TOKEN)
    assert server.client().write("s")["position"] == 1
    assert Path(files[0]).read_text().splitlines()[0] == str(server.postmaster())


@pytest.mark.parametrize("content", ["", "\n", "0\n/elsewhere\n", "nonsense"],
                         ids=["empty", "a line feed", "no number", "no lock file"])
def test_a_lock_file_that_names_no_process_ends_no_start(folder, start, content):
    """What a machine that lost its power may leave of it."""
    data = folder + "/data"
    server = start("--data-dir", data, "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    server.client().write("s")
    server.stop()
    for path in (data + "/pg/postmaster.pid", data + "/run/.s.PGSQL.5432.lock"):
        Path(path).write_text(content)
        shutil.chown(path, os.stat(data).st_uid, os.stat(data).st_gid)
    server = start("--data-dir", data, token=ZERO_TOKEN)
    assert server.client().write("s")["position"] == 1


def is_used(data):
    """Whether any process works there."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == data + "/pg":
                return True
        except OSError:
            pass
    return False


@pytest.fixture
def german(installation, folder, monkeypatch):
    """A PostgreSQL that can say everything in German."""
    wanted = f"de/LC_MESSAGES/postgres-{MAJOR}.mo"
    catalogue = next(
        (place / wanted for place in (installed("localedir"), Path("/usr/share/locale")) if (place / wanted).exists()),
        None)
    if catalogue is None:
        pytest.skip("no German messages")
    target = installation.inside(installed("localedir")) / wanted
    if not target.exists():
        target.parent.mkdir(parents=True)
        shutil.copy(catalogue, target)
    os.mkdir(folder + "/locales")
    done = subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", f"{folder}/locales/{GERMAN}"],
                          capture_output=True)
    if not Path(f"{folder}/locales/{GERMAN}").exists():
        pytest.skip(f"no German locale can be made: {done.stderr}")
    monkeypatch.setenv("LOCPATH", folder + "/locales")
    return installation


def error_of(connection):
    with pytest.raises(psycopg2.Error) as caught:
        sql(connection, "SELECT 1/0")
    return caught.value.pgerror


def test_a_german_postgres_is_waited_for_as_an_english_one(german, folder, start):
    data = folder + "/data"
    arguments = ("--data-dir", data, "--pg-bindir", german.bin, "--cluster-cache", "", "--token", ZERO_TOKEN)
    start(*arguments).stop()
    with open(data + "/pg/postgresql.conf", "a") as settings:
        settings.write(f"lc_messages = '{GERMAN}'\n")
    server = start(*arguments, token=ZERO_TOKEN)
    server.client().write("s")
    connection = server.postgres()
    assert "Division durch Null" in error_of(connection)
    backend, postmaster = connection.info.backend_pid, server.postmaster()
    os.kill(backend, signal.SIGSTOP)
    server.process.kill()
    os.kill(postmaster, signal.SIGKILL)
    server.wait()
    server.stop = lambda: None
    try:
        again = start(*arguments, token=ZERO_TOKEN, wait=False)
        # It may name another one of its processes, which died a moment later than the rest.
        wait_until(lambda: "waiting for the PostgreSQL (pid " in again.text or again.process.poll() is not None,
                   "what it waits for")
        assert again.process.poll() is None and not again._listening(), again.text
    finally:
        os.kill(backend, signal.SIGKILL)
    again.port = int(wait_until(again._listening, "the start", 60).group(1))
    assert again.client().write("s")["position"] == 1


def test_a_german_database_is_answered_for_as_an_english_one(german, folder, start):
    cluster = Cluster(folder + "/own", [f"lc_messages={GERMAN}"], bin=german.bin).create().start()
    try:
        server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
        client = server.client()
        client.write("s-1")
        conflict = client.refused("stream.write", "s-1", {"type": "T", "data": {}}, {"expectedVersion": 7})
        assert (conflict.status, conflict.code, conflict.details) == (409, "STREAM_VERSION_CONFLICT",
                                                                      {"expected": 7, "actual": 0})
        admin = cluster.connect()
        assert "Division durch Null" in error_of(admin)
        sql(admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'millrace'")
        assert client.write("s-1")["position"] == 1
        cluster.stop("immediate")
        cluster.start()
        assert client.write("s-1")["position"] == 2
        assert len(client.call("stream.get", "s-1")) == 3
        server.stop()
        server = start("--database", cluster.conninfo(), token=ZERO_TOKEN)
        assert len(server.client().call("stream.get", "s-1")) == 3
    finally:
        cluster.stop("immediate")
