"""The prepared cluster that new stores begin with: used only when it is whole, ours alone and of this version; an
identity for each store."""
import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import store
from store import PG_BIN, ZERO_TOKEN, Cluster, Server, sql, temporary_folder, wait_until


def archives(cache):
    return sorted(Path(cache).glob("cluster-*"))


def work(cache):
    return list(Path(cache).glob("work-*"))


def wait_for_archive(cache):
    return wait_until(lambda: not work(cache) and archives(cache), "a prepared cluster", 240)[0]


def log_of(server):
    """What the Postgres of a running server says."""
    return (Path(os.readlink(f"/proc/{server.postmaster()}/cwd")).parent / "postgres.log").read_text(errors="replace")


def is_from_initdb(server):
    return "Data page checksums are enabled" in log_of(server)


def identity(data):
    """The identifier and the nonce of a stopped store."""
    report = subprocess.run([f"{PG_BIN}/pg_controldata", f"{data}/pg"], check=True, capture_output=True, text=True,
                            env={**os.environ, "LC_ALL": "C"}).stdout
    return [
        re.search(label + r":\s+(\S+)", report).group(1)
        for label in ("Database system identifier", "Mock authentication nonce")
    ]


@pytest.fixture(scope="module")
def prepared():
    """A folder with a prepared cluster; tests copy it."""
    cache = temporary_folder()
    server = Server("--test-mode", "--cluster-cache", cache)
    try:
        wait_for_archive(cache)
    finally:
        server.stop()
    yield cache
    shutil.rmtree(cache)


@pytest.fixture
def cache(prepared, folder):
    return shutil.copytree(prepared, folder + "/cache")


def rewrite(archive, change):
    """Changes an archive as its maker would: the checksum is right."""
    head, rest = archive.read_bytes().split(b"\n", 1)
    rest = change(rest)
    archive.write_bytes(head.rsplit(b" ", 1)[0] + b" " + hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)


def check_tables(postgres):
    """All of the database's tables and indexes."""
    sql(postgres, "CREATE EXTENSION amcheck")
    sql(postgres, "SELECT bt_index_check(i.indexrelid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
                  " WHERE c.relam = (SELECT oid FROM pg_am WHERE amname = 'btree') AND c.relpersistence = 'p'")
    assert sql(postgres,
               "SELECT count(*) FROM pg_class c, LATERAL verify_heapam(c.oid) WHERE c.relkind IN ('r', 'm', 't')") == [
                   (0, )
               ]


# Beginning with it

def test_stores_that_begin_with_it_are_whole_and_have_identities_of_their_own(cache, folder, start):
    identities = []
    for name in ("first", "second"):
        data = f"{folder}/{name}"
        server = start("--data-dir", data, "--token", ZERO_TOKEN, "--cluster-cache", cache, token=ZERO_TOKEN)
        assert not is_from_initdb(server)
        assert server.client().write("s") == {"position": 0, "globalPosition": 1}
        postgres = server.postgres()
        if sql(postgres, "SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'"):  # a Python package has none
            check_tables(postgres)
        assert sql(postgres, "SELECT now() - created_at < interval '1 minute' FROM millrace.namespaces") == [(True,)]
        sql(postgres, "CREATE DATABASE another")
        server.stop()
        subprocess.run([f"{PG_BIN}/pg_checksums", "--check", "-D", f"{data}/pg"], check=True, capture_output=True)
        assert not (Path(data) / "pg" / "millrace.new").exists()
        identities.append(identity(data))
    assert identities[0][0] != identities[1][0] and identities[0][1] != identities[1][1]
    again = start("--data-dir", folder + "/first", "--cluster-cache", cache, token=ZERO_TOKEN)
    assert again.client().write("s")["position"] == 1


def test_its_identity_is_in_no_store(prepared, cache, folder, start):
    """The cluster that was prepared had one, too."""
    archive = archives(prepared)[0].read_bytes()
    text, data = archive.split(b"\n\n", 2)[1:]
    offset, size = map(int, re.search(rb"f (\d+) (\d+) \d+ global/pg_control\n", text + b"\n").groups())
    control = data[offset:offset + size]
    start("--data-dir", folder + "/data", "--cluster-cache", cache).stop()
    number, nonce = identity(folder + "/data")
    assert number != str(int.from_bytes(control[:8], "little")) and bytes.fromhex(nonce) not in control


def test_what_is_in_it_is_no_part_of_postgres(cache, folder, start):
    """What PostgreSQL takes for its own, by the OID, no dump has."""
    dumps = []
    for options in (("--cluster-cache", cache), ("--cluster-cache", "")):
        server = start("--data-dir", f"{folder}/{len(dumps)}", "--token", ZERO_TOKEN, *options)
        assert sql(
            server.postgres(),
            "SELECT min(d.objid) >= 16384, min(e.oid) >= 16384 FROM pg_depend d "
            "JOIN pg_extension e ON d.refobjid = e.oid "
            "WHERE d.deptype = 'e' AND e.extname = 'millrace'") == [(True, True)]
        dump = subprocess.run(
            [f"{PG_BIN}/pg_dump", "-h", f"{folder}/{len(dumps)}/run", "-U", "postgres", "--schema-only", "postgres"],
            check=True, capture_output=True, text=True).stdout
        assert "CREATE EXTENSION IF NOT EXISTS millrace" in dump
        dumps.append(re.sub(r"(?m)^\\(un)?restrict .*", "", dump))
    assert dumps[0] == dumps[1]


def test_a_store_that_began_with_it_has_backups_and_standbys(cache, folder, start):
    server = start("--data-dir", folder + "/data", "--token", ZERO_TOKEN, "--cluster-cache", cache, token=ZERO_TOKEN)
    assert not is_from_initdb(server)
    standby = Cluster(folder + "/standby")
    standby.folder.mkdir()
    socket = str(Path(os.readlink(f"/proc/{server.postmaster()}/cwd")).parent / "run")
    standby._run("pg_basebackup", "-D", standby.data, "-d", f"host={socket} user=postgres dbname=postgres", "-R",
                 "--no-sync", "--checkpoint=fast")
    standby.settings.append("max_locks_per_transaction=256")
    standby.start()
    try:
        server.client().write("s")
        position = sql(server.postgres(), "SELECT pg_current_wal_lsn()")[0][0]
        connection = Cluster.connect(
            type("", (),
                 {"conninfo": lambda self, database: f"host={standby.folder} user=postgres dbname={database}"})(),
            "postgres")
        wait_until(lambda: sql(connection, "SELECT pg_last_wal_replay_lsn() >= %s", position) == [(True, )],
                   "the standby", 60)
        assert sql(connection, "SELECT count(*) FROM millrace_default.messages") == [(1,)]
    finally:
        standby.stop("immediate")


def test_servers_that_start_at_once_share_nothing(cache, folder, start):
    def begin(number):
        server = Server("--data-dir", f"{folder}/{number}", "--token", ZERO_TOKEN, "--cluster-cache", cache,
                        token=ZERO_TOKEN)
        server.client().write("s")
        assert not is_from_initdb(server)
        server.stop()
        return identity(f"{folder}/{number}")

    with ThreadPoolExecutor(4) as pool:
        identities = list(pool.map(begin, range(4)))
    assert len({each[0] for each in identities}) == len({each[1] for each in identities}) == 4


# What must not be used

def cut_in_half(archive):
    os.truncate(archive, archive.stat().st_size // 2)


def empty(archive):
    os.truncate(archive, 0)


def flip(where):
    def change(archive):
        bytes_ = bytearray(archive.read_bytes())
        bytes_[where(len(bytes_))] ^= 4
        archive.write_bytes(bytes_)
    return change


@pytest.mark.parametrize("damage", [
    cut_in_half, empty,
    flip(lambda size: size - 5000),
    flip(lambda size: size // 2),
    flip(lambda size: 30),
    flip(lambda size: 300)
], ids=["half", "empty", "end", "middle", "checksum", "key"])
def test_a_damaged_one_is_noticed_and_made_anew(cache, start, damage):
    archive = archives(cache)[0]
    whole = archive.stat().st_size
    damage(archive)
    server = start("--test-mode", "--cluster-cache", cache)
    assert is_from_initdb(server)
    assert "is damaged, and removed" in server.text
    server.client().write("s")
    archive = wait_for_archive(cache)
    assert abs(archive.stat().st_size - whole) < 1024 * 1024
    assert not is_from_initdb(start("--test-mode", "--cluster-cache", cache))


@pytest.mark.parametrize("line", [b"millrace ", b"option --encoding", b"version ", b"extension ", b"file "])
def test_one_of_another_version_is_replaced(cache, start, line):
    archive = archives(cache)[0]
    rewrite(archive, lambda rest: rest.replace(b"\n" + line, b"\n" + line + b"9", 1))
    before = archive.stat().st_ino
    server = start("--test-mode", "--cluster-cache", cache)
    assert is_from_initdb(server)
    wait_until(lambda: archives(cache)[0].stat().st_ino != before, "another one", 240)
    wait_for_archive(cache)
    assert not is_from_initdb(start("--test-mode", "--cluster-cache", cache))


def test_the_version_is_what_the_programs_say(folder, start):
    programs = Path(folder + "/bin")
    programs.mkdir()
    for program in Path(PG_BIN).iterdir():
        (programs / program.name).symlink_to(program)

    def say(version):
        script = programs / "pg_resetwal"
        script.unlink()
        script.write_text(
            f'#!/bin/sh\n[ "$1" != --version ] || exec echo "pg_resetwal (PostgreSQL) {version}"\n'
            f'exec {PG_BIN}/pg_resetwal "$@"\n'
        )
        script.chmod(0o755)

    arguments = ("--test-mode", "--cluster-cache", folder + "/cache", "--pg-bindir", str(programs))
    say("15.98")
    server = start(*arguments)
    wait_for_archive(folder + "/cache")
    server.stop()
    assert not is_from_initdb(start(*arguments))
    say("15.99")
    assert is_from_initdb(start(*arguments))


def test_one_that_was_made_while_postgres_was_replaced_is_not_kept(folder, start):
    """It may be of both versions, and the older one may come back."""
    programs = Path(folder + "/bin")
    programs.mkdir()
    for program in Path(PG_BIN).iterdir():
        (programs / program.name).symlink_to(program)
    version, script = Path(folder + "/version"), programs / "pg_resetwal"
    version.write_text("15.98")
    version.chmod(0o666)
    script.unlink()
    script.write_text(f'#!/bin/sh\n[ "$1" != --version ] || exec echo "pg_resetwal (PostgreSQL) $(cat {version})"\n'
                      f'printf 15.99 > {version} && exec {PG_BIN}/pg_resetwal "$@"\n')
    script.chmod(0o755)
    arguments, cache = ("--test-mode", "--cluster-cache", folder + "/cache", "--pg-bindir",
                        str(programs)), folder + "/cache"
    server = start(*arguments)
    wait_until(lambda: version.read_text() == "15.99" and not work(cache), "the end of the making", 240)
    assert "while it was made" in server.text
    assert not archives(cache)
    start(*arguments)
    wait_for_archive(cache)


def test_a_stop_does_not_wait_for_the_making(folder, start):
    """initdb heeds a signal between its steps only, and its programs go on without it."""
    programs, started, cache = Path(folder + "/bin"), Path(folder + "/started"), folder + "/cache"
    programs.mkdir()
    for program in "postgres", "pg_resetwal":
        (programs / program).symlink_to(f"{PG_BIN}/{program}")
    script = programs / "initdb"
    script.write_text(f'#!/bin/sh\ncase "$*" in *work-*) ;; *) exec {PG_BIN}/initdb "$@" ;; esac\n'
                      f"trap '' TERM\nsh -c 'echo $$ > {started}; sleep 600; :'; :\n")
    script.chmod(0o755)
    server = start("--test-mode", "--cluster-cache", cache, "--pg-bindir", str(programs))
    step = wait_until(lambda: started.exists() and started.read_text().strip(), "a step of initdb", 240)
    server.stop()
    assert not work(cache), "what makes it was given no time to end by itself"
    wait_until(lambda: not os.path.exists(f"/proc/{step}"), "the end of the step")


@pytest.mark.parametrize("open_up", [
    lambda cache: cache.chmod(0o777), lambda cache: cache.chmod(0o770), lambda cache: cache.parent.chmod(0o777),
    lambda cache: archives(cache)[0].chmod(0o666)
], ids=["folder", "group", "above", "archive"])
def test_one_that_others_can_write_is_refused(cache, folder, start, open_up):
    cache = Path(cache)
    open_up(cache)
    try:
        server = start("--test-mode", "--cluster-cache", str(cache))
        assert is_from_initdb(server)
        assert "can be written by another user" in server.text
    finally:
        Path(folder).chmod(0o700)


def test_one_that_is_a_link_to_elsewhere_is_refused(cache, folder, start):
    archive = archives(cache)[0]
    shutil.move(archive, folder + "/elsewhere")
    archive.symlink_to(folder + "/elsewhere")
    assert is_from_initdb(start("--test-mode", "--cluster-cache", cache))


def test_a_pipe_in_its_place_holds_up_no_start(cache, start):
    archive = archives(cache)[0]
    archive.unlink()
    os.mkfifo(archive, 0o600)
    server = start("--test-mode", "--cluster-cache", cache)
    assert is_from_initdb(server) and "is not used: it belongs to" in server.text
    wait_until(lambda: archive.is_file(), "another in its place", 240)


def test_a_folder_in_its_place_is_named_in_the_log(cache, start):
    archive = archives(cache)[0]
    archive.unlink()
    (archive / "something").mkdir(parents=True)
    server = start("--test-mode", "--cluster-cache", cache)
    assert is_from_initdb(server)
    wait_until(lambda: "could not rename" in server.text, "why none is prepared", 240)
    wait_until(lambda: not work(cache), "the end of the making")


def test_a_relative_folder_of_a_current_folder_that_was_deleted_is_no_obstacle(folder, monkeypatch, start):
    script, program, gone = Path(folder + "/millrace"), store.MILLRACE, folder + "/gone"
    script.write_text(f'#!/bin/sh\nmkdir "{gone}" && cd "{gone}" && rmdir "{gone}" && exec "{program}" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(store, "MILLRACE", str(script))
    server = start("--test-mode", "--cluster-cache", "cache")
    assert is_from_initdb(server) and "--cluster-cache cache is not used: No such file or directory" in server.text


def test_one_that_postgres_does_not_start_on_is_made_anew(cache, folder, start):
    def add_nonsense(rest):
        key, index, data = rest.split(b"\n\n", 2)
        offset, size = map(int, re.search(rb"f (\d+) (\d+) \d+ postgresql.conf\n", index + b"\n").groups())
        return b"\n\n".join([key, index, data[:offset] + b"nonsense = on\n#" + data[offset + 15:]])

    rewrite(archives(cache)[0], add_nonsense)
    before = archives(cache)[0].stat().st_ino
    server = start("--data-dir", folder + "/data", "--token", ZERO_TOKEN, "--cluster-cache", cache, token=ZERO_TOKEN)
    assert "cannot be used, initdb makes one" in server.text and "nonsense" in server.text
    server.client().write("s")
    wait_until(lambda: archives(cache)[0].stat().st_ino != before, "another one", 240)
    server.stop()
    again = start("--data-dir", folder + "/data", "--cluster-cache", cache, token=ZERO_TOKEN)
    assert again.client().call("stream.version", "s") == 0


# Making it

def test_two_that_make_it_at_once_leave_one(folder, start):
    cache = folder + "/cache"
    with ThreadPoolExecutor(2) as pool:
        servers = list(pool.map(lambda _: start("--test-mode", "--cluster-cache", cache), range(2)))
    wait_for_archive(cache)
    for server in servers:
        server.client().write("s")
        assert "could not prepare" not in server.text
        server.stop()
    assert len(archives(cache)) == 1 and not work(cache)
    assert not is_from_initdb(start("--test-mode", "--cluster-cache", cache))


def test_a_server_that_stops_while_it_makes_one_leaves_nothing(folder, start, installation):
    cache, initdb = folder + "/cache", installation.bin / "initdb"
    initdb.rename(installation.bin / "quick")
    initdb.write_text(
        f"#!/bin/sh\ncase \"$*\" in *{cache}/work-*) touch {folder}/making; exec sleep 1000 ;; esac\n"
        f"exec {installation.bin}/quick \"$@\"\n"
    )
    initdb.chmod(0o755)
    server = start("--test-mode", "--cluster-cache", cache, "--pg-bindir", installation.bin)
    wait_until(lambda: os.path.exists(folder + "/making") and work(cache), "the making", 60)
    server.stop()
    assert not work(cache) and not archives(cache)


@pytest.mark.parametrize("stage", ["pg", "archive"])
def test_what_a_killed_server_was_making_is_removed(folder, start, stage):
    cache = folder + "/cache"
    server = Server("--test-mode", "--cluster-cache", cache, variables={"TMPDIR": folder})
    if stage == "pg":
        wait_until(lambda: list(Path(cache).glob("work-*/pg/base")), "the making", 120)
        server.kill()
    else:
        # As it is when the end comes while the archive is written.
        wait_for_archive(cache)
        server.kill()
        left = Path(cache) / "work-1"
        left.mkdir()
        shutil.move(archives(cache)[0], left / "archive")
    assert work(cache) and not archives(cache)
    server = start("--test-mode", "--cluster-cache", cache)
    assert is_from_initdb(server)
    wait_for_archive(cache)
    assert not is_from_initdb(start("--test-mode", "--cluster-cache", cache))


def test_no_more_than_four_are_kept(cache, start):
    for number in range(6):
        old = Path(cache) / f"cluster-{number:016x}"
        old.write_bytes(b"of another PostgreSQL")
        os.utime(old, (1000 + number, 1000 + number))
    [archive] = [each for each in archives(cache) if each.stat().st_size > 1000]
    archive.unlink()
    start("--test-mode", "--cluster-cache", cache)
    wait_until(lambda: archive.exists() and len(archives(cache)) == 4, "those that were used last", 240)
    assert not (Path(cache) / "cluster-0000000000000002").exists() and (Path(cache) /
                                                                        "cluster-0000000000000003").exists()


# Where it is

def test_the_default_is_the_users_cache(folder, start):
    assert os.geteuid() != 0
    for variables, cache in (({"XDG_CACHE_HOME": folder + "/xdg"}, "/xdg/millrace"),
                             ({"XDG_CACHE_HOME": "", "HOME": folder}, "/.cache/millrace")):
        server = start("--test-mode", variables=variables)
        wait_for_archive(folder + cache)
        assert (Path(folder + cache).stat().st_mode & 0o777) == 0o700
        server.stop()


def test_it_can_be_switched_off(folder, start):
    server = start("--test-mode", "--cluster-cache", "", variables={"XDG_CACHE_HOME": folder, "HOME": folder})
    assert is_from_initdb(server)
    server.client().write("s")
    server.stop()
    assert os.listdir(folder) == []


def test_a_read_only_folder_is_read(cache, start):
    Path(cache).chmod(0o500)
    try:
        assert not is_from_initdb(start("--test-mode", "--cluster-cache", cache))
    finally:
        Path(cache).chmod(0o700)


def test_a_read_only_empty_folder_and_no_folder_are_no_obstacle(folder, start):
    empty_folder = Path(folder + "/cache")
    empty_folder.mkdir(mode=0o500)
    for variables in ({"MILLRACE_CLUSTER_CACHE": str(empty_folder)}, {"MILLRACE_CLUSTER_CACHE": "/proc/nothing"},
                      {"HOME": "/proc/nothing", "XDG_CACHE_HOME": ""}):
        server = start("--test-mode", variables=variables)
        assert is_from_initdb(server)
        server.client().write("s")
        server.stop()
    assert os.listdir(empty_folder) == []


@pytest.mark.root
def test_root_keeps_it_for_the_user_who_runs_postgres(folder, start):
    os.chmod(folder, 0o755)
    cache = folder + "/cache"
    server = start("--test-mode", "--cluster-cache", cache)
    owner = Path(f"/proc/{server.postmaster()}").stat().st_uid
    archive = wait_for_archive(cache)
    assert owner == archive.stat().st_uid == Path(cache).stat().st_uid != 0
    server.stop()
    assert not is_from_initdb(start("--test-mode", "--cluster-cache", cache))


# What is not durable yet

def test_a_cluster_that_was_never_finished_is_made_anew(cache, folder, start):
    data = folder + "/data"
    start("--data-dir", data, "--token", ZERO_TOKEN, "--cluster-cache", cache).stop()
    first = identity(data)
    (Path(data) / "pg" / "millrace.new").touch()
    server = start("--data-dir", data, "--token", ZERO_TOKEN, "--cluster-cache", cache, token=ZERO_TOKEN)
    assert "making it anew" in server.text
    assert server.client().write("s")["position"] == 0
    server.stop()
    assert identity(data) != first


def test_a_first_start_that_is_killed_at_any_moment_can_be_repeated(cache, folder):
    for number in range(8):
        arguments = ("--data-dir", f"{folder}/{number}", "--token", ZERO_TOKEN, "--cluster-cache", cache)
        server = Server(*arguments, wait=False)
        time.sleep(0.04 * number)  # the moment
        server.process.send_signal(signal.SIGKILL)
        server.wait()
        server = Server(*arguments, token=ZERO_TOKEN)
        try:
            assert server.client().write("s")["position"] == 0
        finally:
            server.stop()
        subprocess.run([f"{PG_BIN}/pg_checksums", "--check", "-D", f"{folder}/{number}/pg"], check=True,
                       capture_output=True)
