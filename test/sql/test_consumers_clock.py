"""Consumers when the clock of Postgres's machine jumps."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

from store import Cluster, sql
from test_consumers import append, create, is_lost, next_claim, settle


@pytest.fixture
def jumping(folder, monkeypatch):
    """A Postgres with namespace `n`, and what sets its clock to so many seconds beside the machine's."""
    library, setting = f"{folder}/wall_clock.so", f"{folder}/wall_clock"
    source = Path(__file__).parent.parent / "wall_clock.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    Path(setting).write_bytes(bytes(8))
    monkeypatch.setenv("TEST_WALL_CLOCK", setting)
    cluster = Cluster(folder + "/pg").create()
    monkeypatch.setenv("LD_PRELOAD", library)
    cluster.start()
    monkeypatch.delenv("LD_PRELOAD")
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('n')")

    def jump(seconds):
        with open(setting, "r+b") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))

    yield connection, jump
    cluster.stop("immediate")


@pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="the sanitizer wants to be loaded first")
def test_the_clock_jumps(jumping):
    connection, jump = jumping
    create(connection)
    for number in range(3):
        append(connection, f"a-{number}")
    first, second = (next_claim(connection, 1, "30 s")[0] for _ in range(2))
    jump(3600)
    claim, messages = next_claim(connection, 100, "30 s")
    assert [message[2] for message in messages] == [1, 1, 1], "no attempt is counted"
    assert is_lost(connection, first) and is_lost(connection, second), "who is robbed is told"
    jump(0)
    append(connection, "a-9")
    assert next_claim(connection, 1, "30 s")[1] == [("a-9", 0, 1)], "the others go on"
    assert next_claim(connection) == (None, []), "a lease may last longer"
    settle(connection, claim)


@pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="the sanitizer wants to be loaded first")
def test_after_the_clock_went_back_leases_last_no_longer(jumping):
    connection, jump = jumping
    create(connection)
    append(connection, "a-1")
    before, _ = next_claim(connection, 1, "30 s")
    settle(connection, before)
    jump(-3600)
    append(connection, "a-1")
    claim, _ = next_claim(connection, 1, "30 s")
    assert claim > before
    assert sql(connection, "SELECT lease_until < clock_timestamp() + interval '30 s' FROM "
        "millrace.consumer_claims_open") == [(True,)]
    jump(-3500)
    assert next_claim(connection) == (None, []) and is_lost(connection, claim)
