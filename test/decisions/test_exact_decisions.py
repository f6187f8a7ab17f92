"""A short form of `make test-decisions`."""
import random
from pathlib import Path

import pytest
from decisions import World, is_right


@pytest.mark.parametrize("unconditional", [False, True])
def test_decisions_by_sql_and_http_are_exact_beside_kills(folder, unconditional):
    """Without conditions they are not, and that is seen."""
    seed = random.randrange(1000000)
    print(f"seed {seed}")
    world = World(Path(folder), unconditional)
    try:
        world.run(2 if unconditional else 6, not unconditional, seed)
        result = world.judge()
    finally:
        world.stop()
    print(result, *world.errors[:5], sep="\n")
    assert result["appended"] > 50
    assert result["violations"] > 0 if unconditional else is_right(result)
