#!/usr/bin/python3
"""No files call each other in a circle, and nothing calls upwards: by the symbols of the built objects (nm -g).

A file stands above another whose function or table it names, however it came by the declaration.  Run after `make`.
Prints what is wrong; exit code 1 if anything is.
"""
import subprocess
import sys
from collections import defaultdict

from layers import OWED, PARTS, ROOT, is_allowed, sources_of

# The circles that there are.  One that is smaller or gone is made so in here.
CIRCLES = {
    "sidecar": [],
    "extension": [],
}
ROOMS_IN_CIRCLES = {"sidecar": [], "extension": []}


def objects_of(part):
    """The object of each source of a part, by the source's name without .c."""
    built = ROOT / part / ("build" if part == "sidecar" else "")
    return {name[:-2]: built / f"{name[:-2]}.o" for name in sources_of(ROOT / part) if name.endswith(".c")}


def uses_of(objects):
    """Which file names symbols of which others: {name: {name: one of the symbols}}."""
    names = {str(path): name for name, path in objects.items()}
    listed = subprocess.run(["nm", "-g", "-P", "-A", *names], check=True, capture_output=True, text=True).stdout
    symbols = [(names[line.split(": ")[0]], *line.split(": ")[1].split()[:2]) for line in listed.splitlines()]
    home = {symbol: name for name, symbol, kind in symbols if kind not in "Uwv"}
    uses = defaultdict(dict)
    for name, symbol, kind in sorted(symbols):
        if kind in "Uwv" and home.get(symbol, name) != name:
            uses[name].setdefault(home[symbol], symbol)
    return uses


def reached_from(start, uses):
    """What a file uses, and what that uses in turn."""
    reached, ahead = set(), [start]
    while ahead:
        more = set(uses.get(ahead.pop(), ())) - reached
        reached |= more
        ahead += more
    return reached


def circles_of(uses):
    """Sets of names each of which reaches all others of its set, the largest first."""
    reached = {name: reached_from(name, uses) for name in uses}
    circles = {frozenset(other for other in reached[name] if name in reached.get(other, ()))
               for name in uses if name in reached[name]}
    return sorted(circles, key=lambda circle: (-len(circle), sorted(circle)))


def between_rooms(uses):
    """The same of rooms; the one file above them is a room, too."""
    rooms = defaultdict(dict)
    for name, used in uses.items():
        for other, symbol in used.items():
            if name.split("/")[0] != other.split("/")[0]:
                rooms[name.split("/")[0]].setdefault(other.split("/")[0], symbol)
    return rooms


def wrong_circles(found, owed, what):
    owed = [frozenset(circle.split()) for circle in owed]
    for circle in found:
        if circle not in owed:
            yield f"{what} that use each other in a circle: {' '.join(sorted(circle))}"
    for circle in owed:
        if circle not in found:
            yield f"no circle, or not of all of them: {' '.join(sorted(circle))}; say so in test/circles.py"


def upward_uses(part, uses):
    owed = {(name, header[:-2]) for name, header in OWED}
    for name, used in uses.items():
        room = name.split("/")[0]
        for other, symbol in used.items():
            if room in PARTS[part][0] and not is_allowed(part, room, other + ".h") and (name + ".c", other) not in owed:
                yield f"{part}/{name}.c uses {symbol} of {other}.c, which {room} may not"


def faults():
    for part, owed in CIRCLES.items():
        objects = objects_of(part)
        missing = [path for path in objects.values() if not path.exists()]
        if missing:
            yield f"{missing[0].relative_to(ROOT)} is missing: this looks at what `make` has built"
            continue
        uses = uses_of(objects)
        yield from wrong_circles(circles_of(uses), owed, f"files of {part}")
        yield from wrong_circles(circles_of(between_rooms(uses)), ROOMS_IN_CIRCLES[part], f"rooms of {part}")
        yield from upward_uses(part, uses)


def main():
    found = list(faults())
    for fault in found:
        print(fault)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
