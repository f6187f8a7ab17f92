"""The server in a container: its limits, its volumes, its process 1."""
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from store import ZERO_TOKEN, Server, sql, wait_until

MB = 1 << 20


# What it may use

def own_group(controller):
    """The folder of this process's control group, of whichever version has the controller."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return Path(f"/sys/fs/cgroup/{controllers}{path}")
        if controllers == "" and Path(f"/sys/fs/cgroup{path}/{controller}.max").exists():
            return Path(f"/sys/fs/cgroup{path}")
    return None


@pytest.fixture
def limited(folder):
    """A control group of 320 MB below our own; words that start a program in it."""
    parent = own_group("memory")
    group = parent and parent / f"millrace-test-{os.getpid()}"
    try:
        group.mkdir()
    except (AttributeError, OSError) as error:
        pytest.skip(f"no control group can be made: {error}")
    limit = next((group / name for name in ("memory.max", "memory.limit_in_bytes") if (group / name).exists()), None)
    try:
        if limit is None:
            pytest.skip("groups limit no memory here")
        limit.write_text(str(320 * MB))
        os.chmod(folder, 0o755)
        yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text(), "the end of what was in the group")
        group.rmdir()


@pytest.mark.root
def test_a_containers_memory_decides_how_much_postgres_takes(limited, folder, start):
    server = start("--data-dir", folder + "/data", "--token", ZERO_TOKEN, token=ZERO_TOKEN, before=limited)
    assert re.search(r"may use 320 MB of memory and [\d.]+ processors", server.text)
    assert sql(server.postgres(), "SHOW shared_buffers") == [("80MB",)]
    data = {"text": "x" * 100_000}
    for number in range(200):
        server.client().write(f"s-{number % 7}", data)
    server.stop()


# Its volume

def as_user(uid, *groups):
    """Words that start a program as a user that has no entry in /etc/passwd."""
    others = "--groups=" + ",".join(map(str, groups)) if groups else "--clear-groups"
    return ("setpriv", f"--reuid={uid}", f"--regid={uid}", others)


NOBODYS = 54321  # a number without a name


@pytest.mark.parametrize("there", ["lost+found/", ".snapshot/", ".gitkeep"])
def test_a_new_volume_is_empty_but_for_what_is_in_every_one(folder, start, there):
    data = Path(folder) / "data"
    data.mkdir()
    (data / there).mkdir(mode=0o500) if there.endswith("/") else (data / there).touch()
    for _ in range(2):
        server = start("--data-dir", data, "--token", ZERO_TOKEN, token=ZERO_TOKEN)
        server.client().write("s")
        server.stop()
    assert (data / there).exists()


@pytest.mark.parametrize("there", ["lost", "lost+found.txt", "pg/"])
def test_a_folder_with_anything_else_in_it_is_left_alone(folder, there):
    data = Path(folder) / "data"
    (data / "lost+found").mkdir(parents=True)
    (data / there).mkdir() if there.endswith("/") else (data / there).touch()
    server = Server("--data-dir", data, wait=False)
    assert server.wait() == 1
    assert "is neither empty nor one of Millrace" in server.text
    assert len(os.listdir(data)) == 2


@pytest.fixture
def roots_folder():
    """One below which only root has a folder, as a prepared cluster needs it."""
    folder = tempfile.mkdtemp(prefix="millrace-", dir="/var/tmp")
    os.chmod(folder, 0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.root
def test_a_user_without_a_name_can_start_it_and_root_after_him(roots_folder, start):
    data, cache = roots_folder + "/data", roots_folder + "/cache"
    for each in (data, cache):
        os.mkdir(each, 0o700)
        os.chown(each, NOBODYS, NOBODYS)
    arguments = ("--data-dir", data, "--token", ZERO_TOKEN, "--cluster-cache", cache)
    # A Postgres with sanitizers minds what is loaded before them.
    sanitizer = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
    server = start(*arguments, token=ZERO_TOKEN, before=as_user(NOBODYS), variables=sanitizer)
    server.client().write("s")
    wait_until(lambda: list(Path(cache).glob("cluster-*")), "a prepared cluster", 120)
    assert b"LD_PRELOAD" not in Path(f"/proc/{server.postmaster()}/environ").read_bytes()
    server.stop()
    server = start(*arguments, token=ZERO_TOKEN)
    assert Path(f"/proc/{server.postmaster()}").stat().st_uid == NOBODYS
    assert server.client().write("s")["position"] == 1
    server.stop()


@pytest.mark.root
def test_a_volume_of_root_that_a_group_may_write(folder, start):
    """As Kubernetes gives it to a pod with fsGroup: at the first mount, and at later ones, when all in it was given to
    the group."""
    group, data = 54322, folder + "/data"
    os.chmod(folder, 0o755)
    os.mkdir(data)
    os.chown(data, 0, group)
    os.chmod(data, 0o2775)
    for number in range(2):
        server = start("--data-dir", data, "--token", ZERO_TOKEN, token=ZERO_TOKEN, before=as_user(NOBODYS, group))
        assert server.client().write("s")["position"] == number
        server.stop()
        assert Path(data + "/pg").stat().st_mode & 0o777 == 0o700
        subprocess.run(["chmod", "-R", "g+rwX", data], check=True)
        subprocess.run(["chgrp", "-R", str(group), data], check=True)


@pytest.mark.root
@pytest.mark.parametrize("mode, groups, words", [(0o2775, (), "belongs to another user (uid 0)"),
                                                 (0o777, (54322, ), "is open to all users")])
def test_a_volume_that_it_may_not_write_or_every_user_may_is_refused(folder, mode, groups, words):
    os.chmod(folder, 0o755)
    os.mkdir(folder + "/data")
    os.chown(folder + "/data", 0, 54322)
    os.chmod(folder + "/data", mode)
    server = Server("--data-dir", folder + "/data", wait=False, before=as_user(NOBODYS, *groups))
    assert server.wait() == 1
    assert words in server.text and os.listdir(folder + "/data") == []


# As its first process

def first_process(server):
    """The program that unshare started."""
    return int(Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text())


def children(pid):
    """Of each child, by its number: its state."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            found[child] = Path(f"/proc/{child}/stat").read_text().rsplit(") ", 1)[1][0]
        except OSError:
            pass
    return found


def leave_orphan(pid):
    """A process there whose parent ends before it does."""
    subprocess.run(["nsenter", "--target", str(pid), "--pid", "sh", "-c", "sleep 0.5 & exit"], check=True,
                   stdout=subprocess.DEVNULL)


@pytest.mark.root
@pytest.mark.parametrize("database", [False, True], ids=["private", "own"])
def test_as_the_first_process_it_leaves_no_zombies(folder, start, database):
    if subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True).returncode != 0:
        pytest.skip("no process namespace can be made")
    os.chmod(folder, 0o755)
    own = start("--data-dir", folder + "/data", "--token", ZERO_TOKEN, token=ZERO_TOKEN) if database else None
    arguments = ("--database",
                 f"host={folder}/data/run user=postgres dbname=postgres") if database else ("--data-dir",
                                                                                            folder + "/data")
    server = Server(*arguments, "--token", ZERO_TOKEN, token=ZERO_TOKEN,
                    before=("unshare", "--pid", "--fork", "--mount-proc"))
    pid = first_process(server)
    try:
        before = len(children(pid))
        leave_orphan(pid)
        wait_until(lambda: len(children(pid)) > before, "the orphan")
        wait_until(lambda: len(children(pid)) == before, "its end")
        if not database:
            postmaster = next(child for child in children(pid)
                              if b"postgres" in Path(f"/proc/{child}/cmdline").read_bytes())
            subprocess.run(["kill", "-KILL", postmaster], check=True)
            wait_until(lambda: "starting it again" in server.text, "the end of Postgres")
            server.client().write("s")
            wait_until(lambda: len(children(pid)) == 1 and "Z" not in children(pid).values(), "one child, Postgres")
    finally:
        subprocess.run(["kill", "-TERM", str(pid)], check=True)
        assert server.wait() == 0
    if own:
        own.stop()
