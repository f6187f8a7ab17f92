#!/usr/bin/python3
"""Data flows one way: the rooms of sidecar/ and of extension/, and what each may include.

Also checks that every version test is in extension/base/compat.h, that the program looks at the system's clocks in
base/clock.c only and has no HTTP but its own, and that every expected output belongs to a test.  Prints what is wrong;
exit code 1 if anything is.

`layers.py FOLDER` looks at the sources in another folder.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The rooms of sidecar/, from the bottom up, and what a file in each may include besides its own room: all of a room,
# or one header of it.  What is not said here is not allowed.
ROOMS = {
    "base": [],  # bytes, words, settings
    "net": ["base"],  # sockets, TLS
    "http": ["net", "base"],  # HTTP/1.1, both sides; knows not what it serves
    "db": ["base"],  # the only libpq at run time
    "places": ["db", "base"],  # at which cluster a namespace is
    "access": ["places", "db", "base"],  # whose request it is
    "methods": ["access", "places", "db", "base"],  # what a call means
    "rpc": ["methods", "places", "base"],  # envelopes
    "live": ["http", "db", "places", "access", "base"],  # endless replies
    "bulk": ["http", "db", "places", "access", "base"],  # large replies
    "front": ["live", "bulk", "rpc", "methods", "access", "places", "db", "http", "net", "base"],  # which path is whose
    "cli": ["http/client.h", "access", "base"],  # the commands
    "move": ["db", "base"],  # a namespace to another cluster
    "serve": ["front", "places", "db", "http/http.h", "net", "access", "base"],  # process, threads, private Postgres
    "admin": ["serve", "front", "live", "methods", "places", "db", "http", "base"],  # for operators
}

# What the extension and the program share, which every room of both may include.
SHARED = ["protocol.h", "hex.h"]

# Includes that are not allowed and are there, each with what will end it.  One that is gone is taken out of here.
OWED = {
}

# What only db may include: libpq, and what tells how a statement is written.
LIBPQ = "libpq-fe.h"
DB_ONLY = [f"db/{name}.h" for name in ("internal", "shared", "conn", "batcher", "pool", "site", "statement")]

# What writes the bodies of replies, which http leaves to its handlers.
NOT_HTTP = ["base/errors.h", "base/json.h"]

# The same of extension/.
EXTENSION = {
    "base": [],  # names and bytes, what differs between versions of PostgreSQL
    "tags": ["base"],  # the index on tags and types, an access method
    "store": ["tags", "base"],  # the table of a namespace: the only part that opens relations and takes locks
    "core": ["store", "tags", "base"],  # what a message goes through
    "json": ["core", "store", "base"],  # JSON text and jsonb
    "consumer": ["core", "store", "base"],  # durable readers and their claims
    "retention": ["consumer", "core", "store", "base"],  # truncating, removing, closing, redacting
    "api": ["retention", "consumer", "json", "core", "store", "tags", "base"],  # the SQL functions
    "message_db": ["api", "json", "core", "store", "base"],  # the functions of Message DB
    "scan": ["message_db", "api", "json", "core", "store", "base"],  # reading functions in FROM
}

# By the part's folder: its rooms, the file above them all, what every room may include.
PARTS = {"sidecar": (ROOMS, "main.c", [f"extension/{name}" for name in SHARED]),
         "extension": (EXTENSION, "millrace.c", SHARED)}


def includes_of(path):
    return re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.M)


def includes_libpq(path):
    return re.search(r'^\s*#\s*include\s*[<"]libpq', path.read_text(), re.M) is not None


def sources_of(folder):
    """Every C file of a part, as ROOM/FILE, and the one above all rooms."""
    rooms, top, shared = PARTS[folder.name]
    return [top, *sorted(str(path.relative_to(folder)) for room in rooms for path in (folder / room).glob("*.[ch]"))]


def is_allowed(part, room, header):
    rooms, top, shared = PARTS[part]
    if part == "sidecar" and header in [LIBPQ, *DB_ONLY]:
        return room == "db"  # so not main.c either
    if part == "sidecar" and header in NOT_HTTP and room == "http":
        return False
    return room == top or any(header == place or header.startswith(place + "/") for place in [room, *rooms[room]])


def lost_files(folder):
    """Files and folders that are in no room."""
    rooms, top, shared = PARTS[folder.name]
    for path in sorted(folder.glob("*.[ch]")):
        if path.name not in (top, *shared):
            yield f"{folder.name}/{path.name} is in no room"
    for name in sorted({path.parent.name for path in folder.glob("*/*.[ch]")} - {*rooms, "preload"}):
        yield f"{folder.name}/{name} is no room: add it to test/layers.py and to {folder.name}/Makefile"


def wrong_includes(folder):
    """Includes within a part that are not allowed and not owed, and what is owed no longer."""
    part, shared = folder.name, PARTS[folder.name][2]
    headers = {path.name for path in folder.glob("*/*.h")}
    owed = set(OWED if part == "sidecar" else ())
    yield from lost_files(folder)
    for name in sources_of(folder):
        room = name.split("/")[0]
        libpq = [LIBPQ] if part == "sidecar" and includes_libpq(folder / name) else []
        for header in [*includes_of(folder / name), *libpq]:
            if header in shared:
                continue
            if header != LIBPQ and not (folder / header).exists():
                if part == "sidecar" or header in headers:  # Postgres's own are included in the same way
                    yield f'{part}/{name} includes "{header}": an include says the room, "base/buf.h"'
            elif (name, header) in owed:
                owed.discard((name, header))
            elif not is_allowed(part, room, header):
                yield f"{part}/{name} includes {header}, which {room} may not use"
    for name, header in sorted(owed):
        yield f"{part}/{name} does not include {header} any more: take it out of OWED in test/layers.py"
    for name, header in OWED if part == "sidecar" else ():
        if is_allowed(part, name.split("/")[0], header):
            yield f"{part}/{name} may include {header}: take it out of OWED in test/layers.py"


def version_tests_elsewhere(extension):
    for name in sources_of(extension):
        if name != "base/compat.h" and "PG_VERSION_NUM" in (extension / name).read_text():
            yield f"extension/{name} tests PG_VERSION_NUM: that belongs into base/compat.h"


def clocks_elsewhere(sidecar):
    for name in sources_of(sidecar):
        looks = re.search(r"\b(clock_gettime|gettimeofday|time)\s*\((?!void)", code_of(sidecar / name))
        if looks and name != "base/clock.c":
            yield f"sidecar/{name} looks at a clock of the system: that belongs into base/clock.c"


def other_http(sidecar):
    """Uses of libevent's HTTP, which reads ambiguous requests in a way of its own."""
    for name in sources_of(sidecar):
        if re.search(r"\bevhttp|event2/http", code_of(sidecar / name)):
            yield f"sidecar/{name} uses libevent's HTTP: the program's own is in sidecar/http"


def code_of(path):
    """A file's text without comments and strings."""
    return re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"', "", path.read_text(), flags=re.S)


def orphaned_outputs(root):
    for inputs, outputs, suffix in (("sql", "expected", ".sql"),
                                    ("test/isolation", "test/isolation/expected", ".spec")):
        tests = {path.stem for path in (root / inputs).glob("*" + suffix)}
        outs = {path.stem for path in (root / outputs).glob("*.out")}
        for stem in sorted(outs):
            if stem not in tests and re.sub(r"_\d$", "", stem) not in tests:
                yield f"{outputs}/{stem}.out belongs to no test"
        for stem in sorted(tests - outs):
            yield f"{inputs}/{stem}{suffix} has no expected output"


def main(root):
    sidecar, extension = root / "sidecar", root / "extension"
    faults = [*wrong_includes(sidecar), *clocks_elsewhere(sidecar), *other_http(sidecar),
              *wrong_includes(extension), *version_tests_elsewhere(extension), *orphaned_outputs(root)]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT))
