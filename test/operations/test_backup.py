"""Backup and restore as sidecar/README.md describes them, step by step."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from store import PG_BIN, ROOT, ZERO_TOKEN, sql, token_for, wait_until

SALES = token_for("sales")


def run(program, *arguments):
    done = subprocess.run([f"{PG_BIN}/{program}", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, f"{program}: {done.stderr}"


def fill(server):
    """Two namespaces with their own tokens, of which the test knows what must come back."""
    server.client().call("ns.create", "sales", {"token": SALES})
    for client in (server.client(), server.client(SALES)):
        for n in range(20):
            client.write(f"account-{n % 5}", {"n": n}, metadata={"m": n})


def content(server):
    return [server.client(token).call("category.get", "account") for token in (ZERO_TOKEN, SALES)]


def check_goes_on(server):
    for token in (ZERO_TOKEN, SALES):
        client = server.client(token)
        head = client.call("category.get", "account")[-1][4]
        answer = client.write("account-1", {"n": "next"}, expectedVersion=3)
        assert answer["position"] == 4 and answer["globalPosition"] > head


@pytest.fixture
def serve(folder, start):
    """Starts a server on a data directory below the test's folder."""
    return lambda name, *more: start("--data-dir", f"{folder}/{name}", "--token", ZERO_TOKEN, *more, token=ZERO_TOKEN)


def socket_of(folder, name):
    return ["-h", f"{folder}/{name}/run", "-U", "postgres"]


def test_a_dump_of_the_private_postgres_is_restored_into_a_new_data_directory(folder, serve, start):
    server = serve("old")
    fill(server)
    before = content(server)
    run("pg_dump", *socket_of(folder, "old"), "-Fc", "-f", f"{folder}/millrace.dump", "postgres")
    server.stop()
    new = start("--data-dir", f"{folder}/new")
    run("psql", *socket_of(folder, "new"), "-c", "DROP SCHEMA millrace, millrace_default CASCADE")
    run("pg_restore", *socket_of(folder, "new"), "-d", "postgres", "--exit-on-error", f"{folder}/millrace.dump")
    new.stop()
    new = start("--data-dir", f"{folder}/new", token=ZERO_TOKEN)
    assert content(new) == before
    check_goes_on(new)


def test_a_dump_of_a_database_is_restored_into_another_database(cluster, start):
    for name in ("events", "restored"):
        sql(cluster.connect(), f"CREATE DATABASE {name}")
    server = start("--database", cluster.conninfo("events"), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    fill(server)
    before = content(server)
    run("pg_dump", "-d", cluster.conninfo("events"), "-Fc", "-f", cluster.folder / "dump")
    run("pg_restore", "--exit-on-error", "-d", cluster.conninfo("restored"), cluster.folder / "dump")
    restored = start("--database", cluster.conninfo("restored"), token=ZERO_TOKEN)
    assert content(restored) == before
    check_goes_on(restored)


def test_a_copy_of_the_data_directory_of_a_stopped_server_is_a_backup(folder, serve):
    server = serve("data")
    fill(server)
    before = content(server)
    server.stop()
    shutil.copytree(f"{folder}/data", f"{folder}/copy",
                    ignore=lambda path, names: [name for name in names if name.startswith(".s.")])
    copy = serve("copy")
    assert content(copy) == before
    check_goes_on(copy)


def base_backup(folder, source, target):
    """The lock file says that the directory is one of Millrace."""
    Path(f"{folder}/{target}").mkdir(mode=0o700)
    Path(f"{folder}/{target}/millrace.lock").touch()
    run("pg_basebackup", *socket_of(folder, source), "-D", f"{folder}/{target}/pg", "--checkpoint=fast", "--no-sync")


def test_a_base_backup_is_a_data_directory(folder, serve):
    server = serve("data")
    fill(server)
    before = content(server)
    base_backup(folder, "data", "backup")
    server.client().write("account-1", {"n": "after the backup"})
    restored = serve("backup")
    assert content(restored) == before
    check_goes_on(restored)


@pytest.mark.root
def test_a_base_backup_by_root_is_given_away_as_documented(folder, serve):
    os.chmod(folder, 0o755)
    server = serve("data")
    fill(server)
    before = content(server)
    commands = re.findall(r"^    ((?:install -d -m 700|pg_basebackup -h|chown -R) .*)$",
                          (ROOT / "sidecar/README.md").read_text(), re.M)
    assert len(commands) == 3
    script = "\n".join(commands).replace("/backup/millrace",
                                         f"{folder}/backup").replace("/var/lib/millrace", f"{folder}/data")
    subprocess.run(["bash", "-ec", script], env={**os.environ, "PATH": f"{PG_BIN}:{os.environ['PATH']}"}, check=True)
    restored = serve("backup")
    assert content(restored) == before
    check_goes_on(restored)


def append_to(path, *lines):
    with open(path, "a") as file:
        file.writelines(line + "\n" for line in lines)


def test_a_base_backup_and_the_archived_log_bring_back_any_moment(folder, serve):
    serve("data").stop()
    wal = Path(f"{folder}/wal")
    wal.mkdir()
    append_to(f"{folder}/data/pg/postgresql.conf", "archive_mode = on",
              f"archive_command = 'test ! -f {wal}/%f && cp %p {wal}/%f'")
    server = serve("data")
    base_backup(folder, "data", "backup")
    fill(server)
    before = content(server)
    ((moment,),) = sql(server.postgres(), "SELECT now()::text")
    server.client().call("ns.delete", "sales")
    server.stop()  # Archives the log to its end.
    append_to(f"{folder}/backup/pg/postgresql.conf", f"restore_command = 'cp {wal}/%f %p'",
              f"recovery_target_time = '{moment}'", "recovery_target_action = promote", "archive_mode = off")
    Path(f"{folder}/backup/pg/recovery.signal").touch()
    restored = serve("backup")
    wait_until(lambda: sql(restored.postgres(), "SELECT NOT pg_is_in_recovery()") == [(True, )],
               "the end of the recovery")
    assert content(restored) == before
    check_goes_on(restored)
