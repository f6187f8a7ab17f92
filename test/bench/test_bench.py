"""The bench, at its shortest: what it writes is whole, and says what was measured."""
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree
from importlib.util import find_spec
from pathlib import Path

import pytest

from store import ROOT, temporary_folder

TESTS = Path(__file__).resolve().parent.parent
EARLIER = {
    "title": "Growth", "about": "of another day", "columns": ["what", "cost"], "date": "2001-02-03 04:05 UTC",
    "quick": False, "rounds": 3, "each_seconds": 4, "machine": {
        "cores": 1, "cpu": "an old one", "memory_gib": 1, "postgres": "13.0", "fdatasync_ms": 9.0,
        "commit": "0123456789"
    }, "rows": [{
        "cells": ["append", 1.21, 1, 1.21], "checks": [{"name": "growth, append", "value": 1.21, "at_most": 1.2}]
    }]
}


def bench(folder, *arguments):
    """Runs it, and returns its last line and all it printed."""
    env = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS / 'message_db'}"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "bench.py"), "--folder", folder, *arguments], env=env,
        capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stdout


@pytest.fixture(scope="module")
def folder():
    """One short run of two parts, beside a part of an earlier day."""
    folder = temporary_folder()
    Path(folder, "results.json").write_text(json.dumps({"growth": EARLIER}))
    bench(folder, "--quick", "--seconds", "0.2", "--only", "load", "--only", "wal")
    yield folder
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    os.rmdir(folder)


def results(folder):
    return json.loads(Path(folder, "results.json").read_text())


def report_of(folder):
    return Path(folder, "RESULTS.md").read_text()


def test_every_worker_count_was_measured_durable_and_not_and_got_answers_without_errors(folder):
    rows = [row["cells"] for row in results(folder)["load"]["rows"]]
    assert [tuple(row[:2]) for row in rows] == [(kind, workers) for kind in ("yes", "no")
                                                for workers in (1, 10, 64, 256)]
    for durable, workers, throughput, average, p50, p99, errors, memory in rows:
        assert throughput > 0 and errors == 0 and memory >= 1
        # A closed loop: no worker waits for two answers.
        assert 0 < p50 <= p99 and average * throughput <= 1010 * workers


def test_wal_of_a_message_is_its_own_size_and_no_multiple_of_it(folder):
    part = results(folder)["wal"]
    assert len(part["rows"]) == (3 if part.get("skipped") else 4)
    for what, bytes_, without_images in (row["cells"] for row in part["rows"]):
        assert 300 < without_images < 3000 and without_images < bytes_, what


def test_a_part_that_was_not_measured_stays_as_it_was(folder):
    assert results(folder)["growth"] == EARLIER
    assert list(results(folder)) == ["load", "wal", "growth"]


def test_the_report_has_a_whole_table_for_each_part_with_its_date(folder):
    text = report_of(folder)
    parts = re.split(r"^## ", text, flags=re.M)[1:]
    assert len(parts) == 3 and "2001-02-03 04:05 UTC, commit 0123456789" in parts[2]
    for part in parts[:2]:
        lines = [line.count("|") for line in part.splitlines() if line.startswith("|")]
        assert len(lines) >= 5 and len(set(lines)) == 1


def test_a_missed_target_is_called_missed_and_a_met_one_met(folder):
    key, _ = bench(folder, "--report")
    assert "growth, append" in key["missed"] and key["figures"]["growth, append"] == 1.21
    assert "| append | 1.21 | 1 | 1.21 | at most 1.2 | **no** |" in report_of(folder)
    stored = results(folder)
    stored["growth"]["rows"][0]["checks"][0]["value"] = 1.2
    try:
        Path(folder, "results.json").write_text(json.dumps(stored))
        again, _ = bench(folder, "--report")
        assert "growth, append" not in again["missed"] and again["met"] == key["met"] + 1
        assert "| at most 1.2 | yes |" in report_of(folder)
    finally:
        stored["growth"] = EARLIER
        Path(folder, "results.json").write_text(json.dumps(stored))


def test_the_report_is_written_anew_without_measuring(folder):
    bench(folder, "--report")
    before = report_of(folder)
    os.unlink(Path(folder, "RESULTS.md"))
    bench(folder, "--report")
    assert report_of(folder) == before


def test_the_plot_is_a_picture_with_the_figures_in_it(folder):
    if not find_spec("matplotlib"):
        pytest.skip("python3-matplotlib is not installed: test/deps.sh --bench")
    picture = Path(folder, "results.svg")
    assert xml.etree.ElementTree.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert "The load over HTTP" in picture.read_text() and "](results.svg)" in report_of(folder)
