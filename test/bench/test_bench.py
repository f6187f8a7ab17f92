"""The bench, at its shortest: what it writes is whole, and says what was measured."""
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from importlib.util import find_spec
from pathlib import Path

import pytest

from store import MILLRACE, PG_BIN, ROOT, temporary_folder

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


def bench(folder, *arguments, **variables):
    """Runs it, and returns its last line and all it printed."""
    env = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS / 'message_db'}", **variables}
    env = {name: value for name, value in env.items() if value is not None}
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


def without_git():
    """An environment that names no repository, and no settings of git."""
    named = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**named, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}


@pytest.fixture
def copied(tmp_path):
    """A copy of the bench and of the folder of tests beside it; asks the bench, and returns what it prints."""
    shutil.copytree(ROOT / "bench", tmp_path / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TESTS, tmp_path / "test", ignore=shutil.ignore_patterns("build*", "__pycache__"))

    def ask(code):
        told = subprocess.run([sys.executable, "-c", f"import bench; {code}"], cwd=tmp_path / "bench", check=True,
                              env=without_git(), capture_output=True, text=True)
        return told.stdout.split()

    return ask


def test_every_part_is_the_benchs_own_and_can_be_measured(tmp_path, copied):
    """Also where the folder of tests, which is beside it, has files of the same names."""
    for module in (tmp_path / "bench").glob("*.py"):
        (tmp_path / "test" / module.name).touch()
    files = copied("print(*{part.__file__ for part in bench.PARTS.values() if part.measure})")
    assert {str(Path(file).parent) for file in files} == {str(tmp_path / "bench")}


@pytest.mark.skipif(not shutil.which("git"), reason="there is no git")
def test_what_a_run_writes_is_no_change_of_the_commit_that_is_measured(tmp_path, copied):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *words], cwd=tmp_path, check=True,
                       env=without_git())

    def write(text, *names):
        for name in names:
            (tmp_path / "bench" / name).write_text(text)

    written = "RESULTS.md", "results.json", "results.svg"
    write("before", *written, "load.c")
    git("init", "--quiet")
    git("add", "bench")
    git("commit", "--quiet", "--message", "all")
    write("anew", *written)
    [named] = copied("print(bench.commit())")
    assert re.fullmatch("[0-9a-f]{10}", named)
    write("anew", "load.c")
    assert copied("print(bench.commit())") == [named + "-dirty"]


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


def quick(folder, *arguments, **variables):
    return bench(folder, "--quick", "--seconds", "0.2", *arguments, **variables)


def test_the_last_line_has_each_figure_and_null_for_what_was_not_measured(folder):
    key, _ = bench(folder, "--report")
    for name in ("durable_1_latency", "durable_10_ops", "durable_64_ops", "cpu_per_op_1", "cpu_per_op_10",
                 "cpu_per_op_64", "testmode_1_ops", "eventodb_pebble_10", "eventodb_pebble_1_test", "import",
                 "category_get", "category_get_message_db", "disk_turns", "disk_random", "allocated_10", "queue_100",
                 "conditional_1"):
        assert key[name] is None, name
    stored = {**results(folder), "disk": {**EARLIER, "figures": {"disk_turns": 0.95123, "disk_random": None}}}
    before = Path(folder, "results.json").read_text()
    try:
        Path(folder, "results.json").write_text(json.dumps(stored))
        key, _ = bench(folder, "--report")
        assert (key["disk_turns"], key["disk_random"]) == (0.951, None)
    finally:
        Path(folder, "results.json").write_text(before)
        bench(folder, "--report")


def test_bytes_on_disk_are_those_of_a_message(tmp_path):
    key, _ = quick(tmp_path, "--only", "disk")
    part = results(tmp_path)["disk"]
    assert len(part["rows"]) == 5
    for what, ours, theirs, ratio, table, *indexes in (row["cells"] for row in part["rows"]):
        assert 380 < table < ours - sum(indexes) < table + 50, what  # the rest is the index of categories
        least = 0.4 if what.startswith("orders") else 0.8  # which are long enough to be compressed
        assert part.get("skipped") or least < ratio < 1 and abs(ours / theirs - ratio) < 0.01, what
    assert key["disk_turns"] == (None if part.get("skipped") else pytest.approx(part["rows"][0]["cells"][3], abs=0.001))


def test_a_store_grows_to_the_size_that_was_asked_for(tmp_path):
    bench(tmp_path, "--quick", "--only", "growth", "--to", "20000")
    rows = [row["cells"] for row in results(tmp_path)["growth-to"]["rows"]]
    assert [messages for _, messages, *_ in rows] == [20000] * 5
    for what, _, rate, p50, p99, bytes_ in rows:
        assert 0 <= p50 <= p99 and 400 < bytes_ < 900, what
    assert all(row[2] > 0 for row in rows if "one client" in row[0])  # each of those has two answers at least


def test_bytes_a_message_of_a_growing_store_count_what_was_appended_while_it_was_measured(copied):
    before, after = map(float, copied("""
from growth_to import FILL, SETTINGS, Growing
from measure import durable_postgres, sql
with durable_postgres(*SETTINGS) as cluster:
    growing = Growing(cluster, None)
    growing.fill(30000)
    print(growing.bytes_a_message())
    sql(growing.connection, FILL.format(first=30000, last=59999))
    print(growing.bytes_a_message())""")[-2:])
    assert 400 < before < 900 and 0.9 < after / before < 1.3


def test_a_size_is_of_growth_alone(tmp_path):
    with pytest.raises(AssertionError, match="--to is of --only growth"):
        quick(tmp_path, "--only", "wal", "--to", "20000")


def test_the_build_before_is_skipped_loudly_where_there_is_no_repository(tmp_path):
    key, printed = quick(tmp_path, "--only", "builds", GIT_DIR=str(tmp_path))
    assert "*** NOT COMPARED WITH THE BUILD BEFORE: there is no repository with commit" in printed
    assert key["skipped"] == ["builds"] and key["durable_10_ops"] is None
    assert "**Skipped: there is no repository with commit" in report_of(tmp_path)


# ---- EventoDB ------------------------------------------------------------------------------------------

# The place of Go, which copies the "source", and of the program: our own server, which is told what it would be.
GO = """#!/bin/sh -e
[ "$1 $2" = "build -o" ]
cp "$4/main.go" "$3"
"""
PROGRAM = f"""#!/bin/sh -e
for flag in "$@"; do
    case $flag in
        --db-url=pebble://*) store="--data-dir ${{flag#--db-url=pebble://}}" ;;
        --db-url=postgres://*) store="--database ${{flag#--db-url=}}" ;;
        --test-mode) store=--test-mode ;;
        --port=*) port=$flag ;;
        --token=*) token=$flag ;;
    esac
done
export MILLRACE_PG_BINDIR={PG_BIN}
exec {MILLRACE} serve "$port" "$token" $store
"""


@pytest.fixture
def eventodb(tmp_path):
    """A checkout and a Go that are none: variables of the bench, and where the program is."""
    folder = Path(temporary_folder())
    (folder / "bin").mkdir()
    (folder / "cmd" / "eventodb").mkdir(parents=True)
    (folder / "bin" / "go").write_text(GO)
    (folder / "bin" / "go").chmod(0o755)
    (folder / "go.mod").write_text("module eventodb\n")
    program = folder / "cmd" / "eventodb" / "main.go"
    program.write_text(PROGRAM)
    yield {"EVENTODB": str(folder), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}, program
    shutil.rmtree(folder)


def test_eventodb_is_measured_on_both_of_its_stores_and_in_test_mode(tmp_path, eventodb):
    key, _ = bench(tmp_path, "--quick", "--only", "eventodb", **eventodb[0])
    part = results(tmp_path)["eventodb"]
    assert "skipped" not in part, part["skipped"]
    assert [row["cells"][:2] for row in part["rows"]] == [[f"durable, EventoDB on {store}", workers]
                                                          for store in ("Pebble", "Postgres")
                                                          for workers in (1, 10, 64)] + [["both in test mode", 1]]
    # Beside a load one of them may have no answer within its second; its ratio is a figure all the same.
    ours, theirs = (sum(row["cells"][side] for row in part["rows"]) for side in (2, 3))
    assert ours > 0 and theirs > 0
    assert key["eventodb_pebble_10"] is not None and key["eventodb_pebble_1_test"] is not None


@pytest.mark.parametrize("program, reason", [
    (None, "no checkout of it was given: EVENTODB=folder make bench"),
    ("", "it can't be built"),
    ("#!/bin/sh\necho no such flag\nexit 3\n", "EventoDB does not run on Pebble: it ended with 3: no such flag"),
])
def test_eventodb_is_skipped_loudly(tmp_path, eventodb, program, reason):
    variables, place = eventodb
    if program is None:
        variables = {"EVENTODB": None}
    elif program:
        place.write_text(program)
    else:
        place.unlink()
    key, printed = quick(tmp_path, "--only", "eventodb", **variables)
    assert "*** NOT COMPARED WITH EVENTODB: " in printed and reason in printed
    assert key["skipped"] == ["eventodb"] and key["eventodb_pebble_10"] is key["eventodb_pebble_1_test"] is None
    assert "**Skipped: " in report_of(tmp_path) and reason in report_of(tmp_path)


def test_a_folder_that_is_no_checkout_of_eventodb_is_said_to_be_none(tmp_path):
    _, printed = quick(tmp_path, "--only", "eventodb", EVENTODB=str(tmp_path))
    assert f"{tmp_path} is no checkout of it: there is no go.mod" in printed
