"""Keeping less, at its full size: sweeps beside load, archives that are killed, secrets that are to be gone.

The last line is JSON: removed, longest_transaction_ms, append_p99_ratio and growth_bytes (sweeps.py), archive_kills,
missing and twice (archive.py), secrets_found (erasure.py).  The exit code is 1 where one of them is not as it must be.
"""
import argparse
import importlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

# What each part tells, and what is not allowed.
PARTS = {
    "sweeps": {"removed": None, "longest_transaction_ms": 100, "append_p99_ratio": 1.5, "growth_bytes": 0},
    "archive": {"archive_kills": None, "missing": 0, "twice": 0},
    "erasure": {"secrets_found": 0},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1000000, help="that are swept, each round")
    parser.add_argument("--only", choices=PARTS, help="this part alone")
    arguments = parser.parse_args()
    told, broken = {}, []
    for part, limits in PARTS.items():
        if (arguments.only and part != arguments.only) or not (HERE / f"{part}.py").exists():
            continue
        options = {"messages": arguments.messages} if part == "sweeps" else {}
        found = importlib.import_module(part).run(**options)
        print(part, json.dumps(found), flush=True)
        told.update({name: found[name] for name in limits if name in found})
        broken += [name for name, most in limits.items() if most is not None and found.get(name, most) > most]
    if broken:
        print("not as it must be:", ", ".join(broken))
    print(json.dumps(told))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
