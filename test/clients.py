#!/usr/bin/python3
"""Tries the clients that people bring on a real server, and compares with what sidecar/CLIENTS.md says of them.

    clients.py [--only NAME] [--table events|calls|peers] [--build FOLDER]

--only: those whose name or ecosystem holds that word; --table: those of one table.  --build: where the libraries are
installed, and stay; else it is a temporary folder.  Writes what it found into the page.  The last line is JSON; exit
code 1 when a cell differs from the page's, or something could not be tried.

`make test-clients` runs it.
"""
import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent / "clients"))

import building  # noqa: E402
import calls  # noqa: E402
import libraries  # noqa: E402
import peers  # noqa: E402
import events  # noqa: E402
import tables  # noqa: E402
import run  # noqa: E402
from stage import Stage  # noqa: E402

PAGE = run.ROOT / "sidecar" / "CLIENTS.md"
TABLES = {
    "events": (libraries.STREAMS, events.attempt, list(events.SCENARIOS)),
    "calls": (libraries.CALLS, calls.attempt, calls.PARTS),
    "peers": (libraries.PEERS, peers.attempt, peers.PARTS),
}


def tell(text):
    print(text.replace("\n", " "), flush=True)


def build(chosen, folder):
    """How programs of an ecosystem are run; what can't be built is said, and not tried."""
    commands, failed = {}, []
    for ecosystem in dict.fromkeys(client.ecosystem for clients in chosen.values() for client in clients):
        began = time.monotonic()
        try:
            commands[ecosystem] = building.build(ecosystem, folder)
            tell(f"{ecosystem}: built in {time.monotonic() - began:.0f} s")
        except Exception as error:
            print(f"{ecosystem}: cannot be built: {error}", flush=True)
            failed.append(ecosystem)
    return commands, failed


def attempt(chosen, commands, folder):
    """Tries them, and writes the page.  Returns the cells and how many differ."""
    stage, found, differences = Stage(folder), [], 0
    try:
        for name, (clients, attempt, parts) in TABLES.items():
            able = [client for client in chosen.get(name, ()) if client.ecosystem in commands]
            if not able:
                continue
            cells = attempt(stage, commands, able, tell)
            found += [cell for row in cells.values() for cell in row.values()]
            text, differing = tables.update(PAGE.read_text(), name, clients, parts, cells)
            PAGE.write_text(text)
            differences += len(differing)
            for client, part, said, now in differing:
                tell(f"DIFFERS: {client}, {part}: the page says {said!r}, found {now!r}")
    finally:
        stage.end()
    return found, differences


def main():
    parser = argparse.ArgumentParser(description="Clients that people bring.")
    parser.add_argument("--only", default="")
    parser.add_argument("--table", choices=TABLES)
    parser.add_argument("--build", type=Path)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, run.stop)
    chosen = {name: [client for client in clients if arguments.only in f"{client.name} {client.ecosystem}"]
              for name, (clients, _, _) in TABLES.items() if arguments.table in (None, name)}
    folder, began = Path(tempfile.mkdtemp(prefix="millrace-clients-", dir="/tmp")), time.monotonic()
    folder.chmod(0o755)
    os.environ["TMPDIR"] = str(folder)
    try:
        commands, failed = build(chosen, arguments.build or folder)
        cells, differences = attempt(chosen, commands, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    words = "works", "with setting", "without data", "no", "has none"
    count = {word.replace(" ", "_"): cells.count(word) for word in words}
    print(json.dumps({"cells": len(cells), **count, "differ": differences, "not_built": failed,
                      "seconds": round(time.monotonic() - began)}))
    return 1 if differences or failed or not cells else 0


if __name__ == "__main__":
    sys.exit(main())
