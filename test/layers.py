#!/usr/bin/python3
"""Data flows one way: a file includes only what is below it (DESIGN.md, "Layout").

Checks the includes of sidecar/ and extension/, that every version test is in extension/compat.h, that the program looks at
the system's clocks in clock.c only, and that every expected output belongs to a test.  Prints what is wrong; exit code 1 if anything is.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# From the top down; the families of one level stand beside each other.  A file belongs to the family
# that has its name or its beginning up to an underscore: db_batch.c is `db`.  It may include its own
# family and what is below it.
LAYERS = {
    "sidecar": [
        ["main"],
        ["admin"],
        ["bootstrap", "cli", "embedded", "notify", "worker"],
        ["service"],
        ["import", "export", "subscribe"],
        ["http"],
        ["rpc"],
        ["methods"],
        ["auth", "feed"],
        ["db"],
        ["errors", "token", "uuid", "listener", "tls", "descriptors"],
        ["allocations", "config", "cors", "hosts", "json", "stats", "timestamp", "url_query", "names", "sse", "spelling", "quota"],
        ["log"],
        ["buf", "clock", "hex", "machine", "pool", "slice", "version"],
    ],
    "extension": [
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
    ],
}


def place_of(stem, layers):
    """The level (0 = top) and the family of a file, None when it is in no family."""
    for level, families in enumerate(layers):
        for family in families:
            if any(stem == name or stem.startswith(name + "_") for name in family.split()):
                return level, family
    return None


def includes_of(path):
    return re.findall(r'^\s*#\s*include\s+"([^"/]+)\.h"', path.read_text(), re.M)


def upward_includes(folder, layers):
    headers = {path.stem for path in (ROOT / folder).glob("*.h")}
    for path in sorted((ROOT / folder).glob("*.[ch]")):
        place = place_of(path.stem, layers)
        if place is None:
            yield f"{folder}/{path.name} is in no layer: add it to test/layers.py"
            continue
        for stem in includes_of(path):
            included = place_of(stem, layers) if stem in headers else None
            if included and included != place and included[0] <= place[0]:
                yield f"{folder}/{path.name} includes {stem}.h, which is not below it"


def version_tests_elsewhere():
    for path in sorted((ROOT / "extension").glob("*.[ch]")):
        if path.name != "compat.h" and "PG_VERSION_NUM" in path.read_text():
            yield f"extension/{path.name} tests PG_VERSION_NUM: that belongs into compat.h"


def clocks_elsewhere():
    for path in sorted((ROOT / "sidecar").glob("*.[ch]")):
        if path.stem != "clock" and re.search(r"\b(clock_gettime|gettimeofday|time)\s*\((?!void)", code_of(path)):
            yield f"sidecar/{path.name} looks at a clock of the system: that belongs into clock.c"


def code_of(path):
    """Without comments and strings."""
    return re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"', "", path.read_text(), flags=re.S)


def orphaned_outputs():
    for inputs, outputs, suffix in (("sql", "expected", ".sql"), ("test/isolation", "test/isolation/expected", ".spec")):
        tests = {path.stem for path in (ROOT / inputs).glob("*" + suffix)}
        outs = {path.stem for path in (ROOT / outputs).glob("*.out")}
        for stem in sorted(outs):
            if stem not in tests and re.sub(r"_\d$", "", stem) not in tests:
                yield f"{outputs}/{stem}.out belongs to no test"
        for stem in sorted(tests - outs):
            yield f"{inputs}/{stem}{suffix} has no expected output"


def main():
    faults = [fault for folder, layers in LAYERS.items() for fault in upward_includes(folder, layers)]
    faults += version_tests_elsewhere()
    faults += clocks_elsewhere()
    faults += orphaned_outputs()
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
