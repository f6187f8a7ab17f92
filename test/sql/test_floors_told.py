"""Floors of which others have not been told yet: a commit is seen a moment before (stall.c makes it a long one)."""
import os
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sweeping import append

from store import sql, wait_until

HEADERS = subprocess.run([os.environ.get("PG_CONFIG", "pg_config"), "--includedir-server"], check=True,
                         capture_output=True, text=True).stdout.strip()
LAST = b"\2" + struct.pack(">I", 1) + b"\2" + struct.pack(">q", 1000)  # "millrace":"last" of an export

# By ids, as an archive does: it remembers none of them, of which the others would be told.
REMOVE = "SELECT millrace.remove_messages(ARRAY(SELECT id FROM millrace.read_stream('a-1')))"


@pytest.fixture
def stalled(another, folder):
    """A session whose commits stop while a file is there, and the file."""
    library, file = f"{folder}/stall.so", Path(folder) / "stall"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", f"-I{HEADERS}", "-o", library,
                    Path(__file__).with_name("stall.c")], check=True)
    session = another()
    sql(session, f"LOAD '{library}'; SET stall.file = '{file}'")
    file.touch()
    yield session, file


def test_no_version_is_used_twice_where_the_first_floor_is_seen_and_not_told(connection, another, stalled, namespace):
    """A removal that sees it must not take it for known: a session that looked before believes that there is none."""
    first, file = stalled
    watcher, remover, appender = another(), another(), another()
    append(connection, "a-1", 2)
    append(appender, "b-1", 3)
    pids = [sql(each, "SELECT pg_backend_pid()")[0][0] for each in (remover, appender)]

    def waits(pid):
        return sql(watcher, "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted", pid) != []

    with ThreadPoolExecutor(3) as pool:
        try:
            bringing = pool.submit(sql, first, "SELECT millrace.import_batch(%s, %s)", namespace, LAST)
            wait_until(lambda: sql(watcher, f"SELECT 1 FROM millrace_{namespace}.stream_floors"), "the floor is seen")
            removal = pool.submit(sql, remover, REMOVE)
            wait_until(lambda: removal.done() or waits(pids[0]), "the removal is done, or waits to know that all know")
            repeated = pool.submit(append, appender, "a-1")
            wait_until(lambda: repeated.done() or waits(pids[1]), "the append is done, or waits for the removal")
            assert not bringing.done()
        finally:
            file.unlink()
        assert [row[0] for row in repeated.result()] == [2]
        removal.result()
