#!/usr/bin/python3
"""Data flows one way: the rooms of sidecar/ and what each may include, and the layers of extension/.

Also checks that every version test is in extension/compat.h, that the program looks at the system's clocks in
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
    "access": ["db", "base"],  # whose request it is
    "methods": ["access", "db", "base"],  # what a call means
    "rpc": ["methods", "base"],  # envelopes
    "live": ["http", "db", "access", "base"],  # endless replies
    "bulk": ["http", "db", "access", "base"],  # large replies
    "front": ["live", "bulk", "rpc", "methods", "access", "db", "http", "net", "base"],  # which path is whose
    "cli": ["http/client.h", "access", "base"],  # the commands
    "serve": ["front", "db", "net", "access", "base"],  # process, threads, private Postgres
    "admin": ["serve", "front", "live", "methods", "db", "http", "base"],  # for operators
}

# What the extension and the program say together, which every room may include.
SHARED = "extension/protocol.h"

# Includes that are not allowed and are there, each with what will end it.  One that is gone is taken out of here.
OWED = {
    ("admin/files.c", "net/tls.h"): "serve says what there is to say of the certificate",
    ("admin/metrics.c", "libpq-fe.h"): "db/calls.h has a statement for the transactions that append",
    ("serve/bootstrap.c", "libpq-fe.h"): "the sessions of the start move into db",
    ("serve/bootstrap_session.h", "libpq-fe.h"): "the sessions of the start move into db",
}

# What only db may include: libpq, and what tells how a statement is written.
LIBPQ = "libpq-fe.h"
DB_ONLY = ["db/internal.h", "db/statement.h"]

# From the top down; the families of one level stand beside each other.  A file belongs to the family
# that has its name or its beginning up to an underscore: message_db_condition.c is `message_db`.  It may include its
# own family and what is below it.
EXTENSION = [
    ["millrace"],
    ["scan"],
    ["message_db"],
    ["api frame"],
    ["jsonin", "jsonout"],
    ["append uuid7", "import", "read"],
    ["prefix"],
    ["store insert storecategory storeindex storelock storeowner storesnapshot storetrigger storewhole"],
    ["names"],
    ["jsonbytes", "md5"],
    ["errors", "compat"],
    ["protocol"],
]


def includes_of(path):
    return re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.M)


def includes_libpq(path):
    return re.search(r'^\s*#\s*include\s*[<"]libpq', path.read_text(), re.M) is not None


def sources_of(sidecar):
    """Every C file of the program, as ROOM/FILE; main.c stands above all rooms."""
    return sorted(str(path.relative_to(sidecar)) for room in ROOMS for path in (sidecar / room).glob("*.[ch]"))


def is_allowed(room, header):
    if header in [LIBPQ, *DB_ONLY]:
        return room == "db"  # so not main.c either
    return any(header == place or header.startswith(place + "/") for place in [room, *ROOMS[room]])


def wrong_includes(sidecar):
    """Includes within sidecar/ that are not allowed and not owed, and what is owed no longer."""
    owed = set(OWED)
    for path in sorted(sidecar.glob("*.[ch]")):
        if path.name != "main.c":
            yield f"sidecar/{path.name} is in no room"
    for folder in sorted({path.parent.name for path in sidecar.glob("*/*.[ch]")} - {*ROOMS, "preload"}):
        yield f"sidecar/{folder} is no room: add it to test/layers.py and to sidecar/Makefile"
    for name in ["main.c", *sources_of(sidecar)]:
        room = name.split("/")[0]
        libpq = [LIBPQ] if includes_libpq(sidecar / name) else []
        for header in [*includes_of(sidecar / name), *libpq]:
            if header == SHARED:
                continue
            if header != LIBPQ and not (sidecar / header).exists():
                yield f'sidecar/{name} includes "{header}": an include says the room, "base/buf.h"'
            elif (name, header) in owed:
                owed.discard((name, header))
            elif (room in ROOMS or header == LIBPQ) and not is_allowed(room, header):
                yield f"sidecar/{name} includes {header}, which {room} may not use"
    for name, header in sorted(owed):
        yield f"sidecar/{name} does not include {header} any more: take it out of OWED in test/layers.py"
    for (name, header) in OWED:
        if is_allowed(name.split("/")[0], header):
            yield f"sidecar/{name} may include {header}: take it out of OWED in test/layers.py"


def place_of(stem, layers):
    """The level (0 = top) and the family of a file, None when it is in no family."""
    for level, families in enumerate(layers):
        for family in families:
            if any(stem == name or stem.startswith(name + "_") for name in family.split()):
                return level, family
    return None


def upward_includes(extension, layers):
    headers = {path.name for path in extension.glob("*.h")}
    for path in sorted(extension.glob("*.[ch]")):
        place = place_of(path.stem, layers)
        if place is None:
            yield f"extension/{path.name} is in no layer: add it to test/layers.py"
            continue
        for header in includes_of(path):
            included = place_of(Path(header).stem, layers) if header in headers else None
            if included and included != place and included[0] <= place[0]:
                yield f"extension/{path.name} includes {header}, which is not below it"


def version_tests_elsewhere(extension):
    for path in sorted(extension.glob("*.[ch]")):
        if path.name != "compat.h" and "PG_VERSION_NUM" in path.read_text():
            yield f"extension/{path.name} tests PG_VERSION_NUM: that belongs into compat.h"


def clocks_elsewhere(sidecar):
    for name in ["main.c", *sources_of(sidecar)]:
        looks = re.search(r"\b(clock_gettime|gettimeofday|time)\s*\((?!void)", code_of(sidecar / name))
        if looks and name != "base/clock.c":
            yield f"sidecar/{name} looks at a clock of the system: that belongs into base/clock.c"


def other_http(sidecar):
    """libevent's reads what is ambiguous in a way of its own."""
    for name in ["main.c", *sources_of(sidecar)]:
        if re.search(r"\bevhttp|event2/http", code_of(sidecar / name)):
            yield f"sidecar/{name} uses libevent's HTTP: the program's own is in sidecar/http"


def code_of(path):
    """Without comments and strings."""
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
              *upward_includes(extension, EXTENSION), *version_tests_elsewhere(extension), *orphaned_outputs(root)]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT))
