"""A short form of `make test-crash`: kills at random moments under load, and a history without a fault."""
import random

import pytest
from crash import Totals, torment
from victims import Embedded, OnCluster

KILLS = 3
CLIENTS = 20


@pytest.mark.parametrize("make", [Embedded, OnCluster])
def test_what_was_acknowledged_before_a_kill_is_there_once_and_no_request_fails(make, folder):
    seed, totals = random.randrange(1000000), Totals()
    print(f"seed {seed}")
    victim = make(folder)
    try:
        torment(victim, KILLS, CLIENTS, seed, totals)
    finally:
        victim.stop()
    print(totals.json())
    assert totals.problems == []
    assert totals.acknowledged > 500
