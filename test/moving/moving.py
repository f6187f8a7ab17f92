#!/usr/bin/python3
"""A large namespace goes to another cluster while it is written and followed.

    moving.py [--messages 1000000] [--writers 8] [--rate 50] [--readers 4] [--back]

Two clusters and a directory.  One process of PostgreSQL brings what is written to the copy, so writers that take all
of the processors would leave it behind; they rest.  The namespace has so many messages when `millrace move --start`
copies it; meanwhile writers append with ids of their own, and send one again of which they had no answer, and readers
follow all of it by position.  Who is refused asks the directory where the namespace is, as SQL clients do.  Then
--switch, and with --back --reverse and all of it again; at last both clusters, of which one follows the other, are
compared row by row, and --finish.

The last line is JSON: messages, appended, pause_ms (the longest append), waited_ms (as the program says it), lost,
twice, skipped, read_twice, differ, copy_seconds.  Exit code 1 where anything is wrong, or a pause was 2 s or longer.
"""
import argparse
import json
import shutil
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psycopg2

sys.path[1:1] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

from clusters import ASK_AGAIN, USERS, Clusters, User  # noqa: E402
from store import sql, temporary_folder, wait_until  # noqa: E402

NAMESPACE = "large"
MANY = """SELECT count(*) FROM millrace.append_messages('old-' || %s, ARRAY(
    SELECT ROW('T', jsonb_build_object('n', n, 'text', repeat('x', 200)), NULL, NULL)::millrace.new_message
    FROM generate_series(1, 1000) n), namespace => 'large')"""
EVERY = "SELECT global_position FROM millrace_large.messages ORDER BY 1"
DIGEST = """SELECT count(*), max(global_position), sum(hashtextextended(m::text, 0)) FROM millrace_large.messages m"""


class Reader(threading.Thread):
    """Follows all messages by position from where it begins, wherever they are."""

    def __init__(self, clusters, position):
        super().__init__()
        self.clusters, self.position, self.first = clusters, position, position
        self.seen, self.stopped, self.error, self.connection = [], False, None, None

    def run(self):
        try:
            while not self.stopped:
                self.read()
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def read(self):
        try:
            if not self.connection:
                self.connection = self.clusters.connect(self.clusters.where(NAMESPACE))
            rows = sql(self.connection, "SELECT global_position FROM millrace.read_all(%s, namespace => %s)",
                       self.position, NAMESPACE)
        except psycopg2.Error as error:
            if error.pgcode not in ASK_AGAIN:
                raise
            self.connection, rows = None, []
        self.seen += [row[0] for row in rows]
        self.position = self.seen[-1] + 1 if self.seen else self.position
        if not rows:
            time.sleep(0.01)


def fill(clusters, messages):
    connection = clusters.connect("a")
    for number in range(messages // 1000):
        sql(connection, MANY, number)
    return connection


def step(clusters, *arguments):
    began = time.monotonic()
    said = clusters.moved(NAMESPACE, *arguments)
    print(f"{' '.join(arguments)}: {time.monotonic() - began:.1f} s: {said.strip()}", flush=True)
    return time.monotonic() - began, [int(part.split(" ms")[0]) for part in said.split("waited for ")[1:]]


def move(clusters, back, figures):
    """Leaves the namespace on "b", and the old one following."""
    waited = []
    for again in range(2 if back else 1):
        figures["copy_seconds"] = round(step(clusters, "--to", "b", "--start")[0], 1)
        waited += step(clusters, "--switch")[1]
        if back and not again:
            time.sleep(2)
            waited += step(clusters, "--reverse")[1]
    time.sleep(2)
    figures["waited_ms"] = max(waited)


def digest(clusters, name):
    return sql(clusters.connect(name), DIGEST)[0]


def judge(clusters, writers, readers, figures):
    where = clusters.where(NAMESPACE)
    rows = sql(clusters.connect(where), USERS, NAMESPACE)
    stored = Counter(row[0] for row in rows)
    acknowledged = {row for writer in writers for row in writer.stored}
    every = [row[0] for row in sql(clusters.connect(where), EVERY)]
    figures.update(
        messages=len(every), appended=len(acknowledged), pause_ms=round(1000 * max(writer.pause for writer in writers)),
        lost=len(acknowledged - set(rows)), twice=sum(count - 1 for count in stored.values()),
        skipped=sum(len(set(p for p in every if p >= r.first) - set(r.seen)) for r in readers),
        read_twice=sum(len(r.seen) - len(set(r.seen)) for r in readers),
        out_of_order=sum(r.seen != sorted(r.seen) for r in readers),
        errors=[str(thread.error) for thread in [*writers, *readers] if thread.error])
    try:
        wait_until(lambda: digest(clusters, "a") == digest(clusters, "b"), "both are the same", 120)
        figures["differ"] = 0
    except AssertionError:
        figures["differ"] = 1


def run(arguments, clusters):
    figures = {}
    clusters.create(NAMESPACE)
    connection = fill(clusters, arguments.messages)
    ((head,),) = sql(connection, "SELECT millrace.head(%s)", NAMESPACE)
    writers = [User(clusters, NAMESPACE, number + 1, 1 / arguments.rate) for number in range(arguments.writers)]
    readers = [Reader(clusters, head + 1) for _ in range(arguments.readers)]
    for thread in [*writers, *readers]:
        thread.start()
    try:
        move(clusters, arguments.back, figures)
    finally:
        for writer in writers:
            writer.stopped = True
        for writer in writers:
            writer.join()
        ((head,),) = sql(clusters.connect(clusters.where(NAMESPACE)), "SELECT millrace.head(%s)", NAMESPACE)
        try:
            wait_until(lambda: all(reader.error or reader.position > head for reader in readers), "the readers")
        finally:
            for reader in readers:
                reader.stopped = True
    judge(clusters, writers, readers, figures)
    step(clusters, "--finish")
    figures["left_over"] = len(clusters.left_over())
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--messages", type=int, default=1000000)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--rate", type=int, default=50, help="of each writer, a second")
    parser.add_argument("--readers", type=int, default=4)
    parser.add_argument("--back", action="store_true")
    arguments = parser.parse_args()
    folder = temporary_folder()
    clusters = Clusters(folder)
    try:
        figures = run(arguments, clusters)
    finally:
        clusters.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(figures))
    wrong = ("lost", "twice", "skipped", "read_twice", "out_of_order", "differ", "left_over", "errors")
    return 1 if any(figures[name] for name in wrong) or figures["pause_ms"] >= 2000 else 0


if __name__ == "__main__":
    sys.exit(main())
