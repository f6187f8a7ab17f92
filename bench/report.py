"""Writes RESULTS.md and the plot from what was measured."""
from measure import shown

HEAD = """# Figures

Written by `make bench`; [README.md](README.md) says how to repeat it. Each figure is the median of several
runs in which both sides took turns on one machine, so compare within a table, not between days. Everything runs on the
same cores: load generator, server and Postgres.
"""


def checks_of(results):
    return [check for part in results.values() for row in part["rows"] for check in row["checks"]]


def met(check):
    return check["value"] >= check["at_least"] if "at_least" in check else check["value"] <= check["at_most"]


def key_figures(results):
    """What the last line of the bench says."""
    checks = checks_of(results)
    missed = [check["name"] for check in checks if not met(check)]
    return {"targets": len(checks), "met": len(checks) - len(missed), "missed": missed,
            "skipped": [name for name, part in results.items() if part.get("skipped")],
            "figures": {check["name"]: check["value"] for check in checks}}


def last_line(results, names):
    """The key figures, and by its name each of the figures that parts have; null where it was not measured."""
    found = {name: value for part in results.values() for name, value in part.get("figures", {}).items()}
    return {**key_figures(results), **{name: rounded(found.get(name)) for name in names}}


def rounded(value):
    return None if value is None else round(value, 3)


def line(cells):
    return "| " + " | ".join(cells) + " |\n"


def table(columns, rows):
    return line(columns) + line(["---"] * len(columns)) + "".join(line(row) for row in rows)


def limit(check):
    return f"at least {check['at_least']:,}" if "at_least" in check else f"at most {check['at_most']:,}"


def described(check):
    """The limit, with what it is about where a row has several."""
    return (check["name"].rsplit(": ", 1)[1] + " " if ": " in check["name"] else "") + limit(check)


def verdict(row):
    """The cells `target` and `met` of a row."""
    return [
        "; ".join(map(described, row["checks"])),
        "; ".join("yes" if met(check) else "**no**" for check in row["checks"])
    ]


def section(part):
    machine = part["machine"]
    text = f"\n## {part['title']}\n\n{part['about']}\n\n"
    if part.get("skipped"):
        text += f"**Skipped: {part['skipped']}.**\n\n"
    if part["rows"]:
        text += table([*part["columns"], "target", "met"],
                      [[*map(shown, row["cells"]), *verdict(row)] for row in part["rows"]])
    quick = " A quick run: one short measurement each." if part["quick"] else ""
    return text + (
        f"\n{part['date']}, commit {machine['commit']}, {machine['cores']} cores ({machine['cpu']}), "
        f"{machine['memory_gib']} GiB, PostgreSQL {machine['postgres']}, "
        f"one fdatasync {machine['fdatasync_ms']:.2f} ms; medians of {part['rounds']} runs "
        f"of {shown(part['each_seconds'])} s.{quick}\n"
    )


def summary(results):
    checks = checks_of(results)
    missed = [check for check in checks if not met(check)]
    text = f"\n{len(checks) - len(missed)} of {len(checks)} targets are met.\n"
    if missed:
        rows = [[check["name"], shown(check["value"]), limit(check)] for check in missed]
        text += "\nMissed:\n\n" + table(["what", "measured", "target"], rows)
    return text


def write(results, folder):
    """The plot is left out, loudly, where there is no matplotlib."""
    try:
        import plot
        plot.write(results, folder / "results.svg")
        picture = "\n![The figures below as bars](results.svg)\n"
    except ModuleNotFoundError as error:
        print(f"*** NO PLOT: {error}; test/deps.sh --bench installs it ***", flush=True)
        picture = ""
    (folder / "RESULTS.md").write_text(HEAD + summary(results) + picture + "".join(map(section, results.values())))
