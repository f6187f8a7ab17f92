#!/usr/bin/python3
"""No line too wide, no file or function too long.

- C, shell and Makefiles have 110 columns, with a tab for four; Python has 120, texts of SQL in it included.
- A paragraph of Markdown is one line, or lines of at most 120 columns.  Tables, code and targets of links are free.
- A file of C or Python has at most 500 lines, unless a line of its first comment begins with "Over 500 lines:" and
  says why.
- A function of C has at most 50 lines, from brace to brace.

SQL files are free: what psql prints of them is in the expected outputs.

Prints what is wrong; exit code 1 if anything is.  `lines.py FOLDER` looks at the sources in another folder.
"""
import re
import sys
from pathlib import Path

from references import ROOT, texts

WIDTH, PYTHON_WIDTH, PROSE_WIDTH = 110, 120, 120
FILE_LINES, FUNCTION_LINES = 500, 50
REASON = re.compile(r"^\W*Over 500 lines: *\w", re.M)


def kind_of(path):
    """What a file is written in; None if it has no rules here."""
    kinds = {".c": "C", ".h": "C", ".py": "Python", ".sh": "shell", ".md": "Markdown"}
    if path.name == "Makefile":
        return "make"
    return "shell" if path.parts[-2:] == (".ci", "run") else kinds.get(path.suffix)


def wide_lines(text, width):
    for number, line in enumerate(text.splitlines(), 1):
        if len(line.expandtabs(4)) > width:
            yield number, f"{len(line.expandtabs(4))} columns, {width} are allowed"


def paragraphs_of(text):
    """The paragraphs of a page, each with the number of its first line: also items of lists, no tables, no code."""
    in_code, start, lines = False, 0, []
    for number, line in enumerate([*text.splitlines(), ""], 1):
        fence = line.lstrip().startswith("```")
        free = in_code or fence or not line.strip() or re.match(r"\||#", line) or (not lines and line[:4] == " " * 4)
        if lines and (free or re.match(r"\s*([-*+]|\d+\.) ", line)):
            yield start, lines
            lines = []
        if not free:
            start, lines = start if lines else number, [*lines, line]
        in_code ^= fence


def wide_prose(text):
    for start, lines in paragraphs_of(text):
        for number, line in enumerate(lines, start):
            shown = re.sub(r"\]\([^)]*\)", "]()", line)
            if len(lines) > 1 and len(shown) > PROSE_WIDTH:
                yield number, f"{len(shown)} columns in a paragraph that is broken, {PROSE_WIDTH} are allowed"


def head_of(text, kind):
    """The first comment or docstring."""
    found = re.search(r"/\*.*?\*/" if kind == "C" else r'""".*?"""', text, re.S)
    return found[0] if found else ""


def long_file(text, kind):
    lines = text.count("\n")
    if lines > FILE_LINES and not REASON.search(head_of(text, kind)):
        yield lines, f"{lines} lines, {FILE_LINES} are allowed: split it by subject, or say why not in its head"


def long_functions(text):
    """Layout by clang-format has the braces of a function, and of nothing else that ends so, in the first column."""
    start = 0
    for number, line in enumerate(text.splitlines(), 1):
        if line == "{":
            start = number
        elif line == "}" and number - start + 1 > FUNCTION_LINES:
            yield start, f"a function of {number - start + 1} lines, {FUNCTION_LINES} are allowed"


def faults_of(text, kind):
    if kind == "Markdown":
        yield from wide_prose(text)
        return
    yield from wide_lines(text, PYTHON_WIDTH if kind == "Python" else WIDTH)
    if kind in ("C", "Python"):
        yield from long_file(text, kind)
    if kind == "C":
        yield from long_functions(text)


def main(root):
    faults = [f"{path.relative_to(root)}:{number}: {fault}" for path, text in texts(root) if kind_of(path)
              for number, fault in faults_of(text, kind_of(path))]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT))
