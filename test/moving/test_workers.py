"""What a move says where PostgreSQL has no worker for it."""
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from clusters import two_clusters  # noqa: E402


@pytest.fixture
def clusters():
    yield from two_clusters(["max_logical_replication_workers=1"])


def test_a_copy_that_no_worker_is_free_for_says_so(clusters):
    name = clusters.create_another()
    process = clusters.move(name, "--to", "b", "--start", wait=False)
    line = process.stdout.readline()
    assert re.search(r"; no worker is free for it there, max_logical_replication_workers is 1$", line), line
    process.terminate()
    process.communicate(timeout=60)
