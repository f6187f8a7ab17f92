#!/usr/bin/python3
"""Two profiles of `make profile-baseline` side by side.

    make profile-compare BASELINE=profiles/20261124_070000 OPTIMIZED=profiles/20261124_073000
"""
import json
import sys
from pathlib import Path

ROWS = 15


def change(before, after):
    if before == after:
        return "0.0 %"
    return f"{(after - before) / before * 100:+.1f} %" if before else "new"


def table(title, unit, rows):
    """rows: name, before, after, format."""
    lines = [f"\n| {title} | {unit}baseline | optimized | difference |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {name} | {before:{form}} | {after:{form}} | {change(before, after)} |"
                              for name, before, after, form in rows])


def pairs(before, after, factor=(1, 1), form=".2f"):
    """The functions that are largest on either side, by name."""
    names = sorted(before.keys() | after.keys(),
                   key=lambda name: -max(before.get(name, 0) * factor[0],
                                         after.get(name, 0) * factor[1]))
    return [(name, before.get(name, 0) * factor[0], after.get(name, 0) * factor[1], form) for name in names[:ROWS]]


def read(folder):
    try:
        return json.loads((Path(folder) / "summary.json").read_text())
    except (OSError, ValueError) as error:
        sys.exit(f"profile_compare: {folder} is not a folder of make profile-baseline: {error}")


def compare(before, after):
    def both(name, get, form):
        return name, get(before), get(after), form

    latency = [both(f"latency, {name} (ms)", lambda s, name=name: s["load"][name], ".3f")
               for name in ("avg_latency", "p50", "p95", "p99", "max")]
    yield table("the load", "", [
        both("operations/s", lambda s: s["load"]["throughput"], ".0f"), *latency,
        both("errors", lambda s: s["load"]["errors"], ".0f"),
        both("CPU of the server (us per operation)", lambda s: s["cpu"]["us_per_operation"], ".1f"),
        both("of it JSON (us)", lambda s: s["cpu"]["json_share"] * s["cpu"]["us_per_operation"], ".2f"),
        both("allocated (bytes per operation)", lambda s: s["allocations"]["bytes_per_operation"], ".0f"),
        both("of it JSON (bytes)", lambda s: s["allocations"]["json_bytes_per_operation"], ".1f"),
        both("allocations per operation", lambda s: s["allocations"]["per_operation"], ".2f"),
        both("resident memory (kB)", lambda s: s["rss_kb"], ".0f"),
        both("in use after the load (bytes)", lambda s: s["heap"]["bytes"], ".0f"),
        both("WAL (bytes per message)", lambda s: s["wal_bytes_per_message"], ".0f")])
    yield table(
        "allocated by", "bytes per operation: ",
        pairs(*({name: site[0]
                 for name, site in s["allocations"]["sites"].items()} for s in (before, after)), form=".1f"))
    yield table(
        "CPU in", "us per operation: ",
        pairs(before["cpu"]["functions"], after["cpu"]["functions"],
              (before["cpu"]["us_per_operation"], after["cpu"]["us_per_operation"])))


def main(arguments):
    if len(arguments) != 2:
        sys.exit(__doc__.strip())
    for part in compare(*map(read, arguments)):
        print(part)


if __name__ == "__main__":
    main(sys.argv[1:])
