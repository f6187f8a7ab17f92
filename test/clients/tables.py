"""The tables of sidecar/CLIENTS.md: what they say, and what a run found.

A table is between the lines `<!-- NAME -->` and `<!-- end -->`.  What a run tried is exchanged, other rows stay.
"""
import re
import time


def part(text, name):
    """Where the table is, without its markers."""
    found = re.search(rf"(?s)<!-- {name} -->\n(.*?)<!-- end -->", text)
    return found.span(1)


def rows(text, name):
    """Its rows by the client's name, each by the column's."""
    begin, end = part(text, name)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text[begin:end].splitlines()
             if line.startswith("|")]
    return {line[0]: dict(zip(lines[0], line)) for line in lines[2:]}


def table(columns, rows):
    lines = [columns, ["---"] * len(columns), *[[row.get(column, "") for column in columns] for row in rows]]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def update(text, name, clients, parts, cells):
    """The page with what was found, and where it differs from what the page said: (client, column, said, found)."""
    columns = ["client", "version", *parts, "set this", "tried"]
    before, differences, after = rows(text, name), [], []
    for client in clients:
        row = before.get(client.name, {})
        if client.name in cells:
            for column in parts:
                if row.get(column) != cells[client.name][column]:
                    differences.append((client.name, column, row.get(column, "nothing"), cells[client.name][column]))
            setting = client.setting if "with setting" in cells[client.name].values() else ""
            row = {**cells[client.name], "client": client.name, "version": client.version, "set this": setting,
                   "tried": time.strftime("%Y-%m-%d")}
        if row:
            after.append(row)
    begin, end = part(text, name)
    return text[:begin] + table(columns, after) + text[end:], differences
